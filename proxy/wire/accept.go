package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// acmeTLS is the protocol of a TLS-ALPN-01 challenge: the handshake is all of it (RFC 8737).
const acmeTLS = "acme-tls/1"

// Serve accepts plain connections on ln and serves HTTP/1 on them. It blocks until Shutdown, then returns
// http.ErrServerClosed, or an error that ln gave. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	return s.serve(ln, func(l *link) net.Conn { return l })
}

// ServeTLS accepts TLS connections on ln with tc and serves HTTP/2 or HTTP/1, as ALPN decides. It returns as
// Serve does. tc is not changed and must not be afterwards.
func (s *Server) ServeTLS(ln net.Listener, tc *tls.Config) error {
	return s.serve(ln, func(l *link) net.Conn { return s.handshake(l, tc) })
}

// serve runs the accept loop. Each connection gets a goroutine that lasts until open has made of it what is served;
// nil means that nothing is left to serve. The one that serves it is another: a handshake leaves a deep stack behind.
func (s *Server) serve(ln net.Listener, open func(*link) net.Conn) error {
	queue := &queue{addr: ln.Addr(), conns: make(chan net.Conn), done: make(chan struct{})}
	if !s.listen(ln) {
		_ = ln.Close()
		return http.ErrServerClosed
	}
	defer s.serving.Done()
	s.serving.Go(func() { _ = s.http.Serve(queue) })
	defer func() { _ = queue.Close() }()
	for {
		nc, err := s.accept(ln)
		if err != nil {
			return err
		}
		l := s.admit(nc)
		if l == nil {
			_ = nc.Close()
			if !s.closing.Load() {
				s.opts.OnError(nc.RemoteAddr(), ErrTooManyConnections)
			}
			continue
		}
		s.serving.Go(func() {
			defer s.rescue(l)
			if !s.identify(l) {
				return
			}
			if nc := open(l); nc != nil {
				s.hand(nc, l, queue)
			}
		})
	}
}

// hand has an open connection served: by net/http, which takes it from the queue, if it speaks HTTP/2.
func (s *Server) hand(nc net.Conn, l *link, queue *queue) {
	l.setPaced(true)
	if t, ok := nc.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" {
		s.enter(l, serving)
		queue.push(nc)
		return
	}
	if c := newConn(nc, l); s.take(c) {
		go c.serve() // it ends with its connection, which Shutdown waits for
	}
}

// listen takes ln onto the books, and the accept loop that the caller runs.
func (s *Server) listen(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.listeners[ln] = struct{}{}
	s.serving.Add(1)
	return true
}

// accept waits out temporary errors, such as a lack of file descriptors.
func (s *Server) accept(ln net.Listener) (net.Conn, error) {
	for pause := acceptPauseMin; ; pause = min(2*pause, acceptPauseMax) {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			return nc, nil
		case s.closing.Load():
			return nil, http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return nil, err
		}
		s.opts.OnError(nil, err)
		time.Sleep(pause)
	}
}

// handshake performs the TLS handshake.
func (s *Server) handshake(l *link, tc *tls.Config) net.Conn {
	_ = l.SetDeadline(time.Now().Add(s.opts.HandshakeTimeout))
	c := tls.Server(l, tc)
	l.shaking = true
	err := c.Handshake()
	l.shaking = false
	s.releaseHandshake(l)
	if err != nil {
		s.failHandshake(l, err)
		return nil
	}
	_ = l.SetDeadline(time.Time{})
	if c.ConnectionState().NegotiatedProtocol == acmeTLS {
		_ = c.Close()
		return nil
	}
	return c
}

func (s *Server) failHandshake(l *link, err error) {
	var header tls.RecordHeaderError
	if errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader) {
		const answer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" +
			"Client sent an HTTP request to an HTTPS server.\n"
		_, _ = io.WriteString(l.Conn, answer)
		l.linger()
		err = errors.New("client sent an HTTP request to an HTTPS server")
	}
	peer := l.RemoteAddr()
	_ = l.Close()
	if s.closing.Load() || l.probe && hasLeft(err) {
		return
	}
	s.failedHandshakes.Add(1)
	s.opts.OnError(peer, &HandshakeError{err})
}

func looksLikeHTTP(header [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET"}, string(header[:]))
}

// takeHandshake takes one of the slots for a handshake that has read from its peer and computes now, until it reads again or
// writes: one that only waits takes none, so silent clients cannot use the slots up. It reports false if none became free
// in time.
func (s *Server) takeHandshake(l *link) bool {
	select {
	case s.handshakes <- struct{}{}:
		l.slot.Store(true)
		return true
	default:
	}
	timeout := time.NewTimer(s.opts.HandshakeTimeout)
	defer timeout.Stop()
	select {
	case s.handshakes <- struct{}{}:
		l.slot.Store(true)
		return true
	case <-timeout.C:
		return false
	}
}

func (s *Server) releaseHandshake(l *link) {
	if l.slot.CompareAndSwap(true, false) {
		<-s.handshakes
	}
}

// A queue is the listener from which net/http accepts connections for HTTP/2.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) push(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close()
	}
}

// Close is called by net/http and by the accept loop.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }
