package wire

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Server accepts connections, checks what comes over them and has one handler answer their requests over
// HTTP/1 and HTTP/2. There is one per process. It is safe for concurrent use.
type Server struct {
	opts       Options
	handler    http.Handler
	http       *http.Server
	handshakes chan struct{}     // slots for handshakes that compute
	buffers    sync.Pool         // of *[bufferSize]byte
	names      map[string]string // commonFields

	serving  sync.WaitGroup // accept loops, handshakes, net/http's accept loops and the sweep
	handlers atomic.Int64   // running now
	gone     chan struct{}  // a connection or a handler went; capacity 1
	closing  atomic.Bool
	over     chan struct{} // closed when closing is done
	sweeping atomic.Bool
	date     atomic.Pointer[date]

	mu        sync.Mutex
	closed    bool // over is closed
	links     map[*link]struct{}
	listeners map[net.Listener]struct{}
	counts    [phases]int

	accepted, refused, failedHandshakes, violations atomic.Uint64
}

// A phase is what a connection is doing.
type phase uint8

const (
	handshaking phase = iota
	serving
	upgraded
	phases
)

// NewServer returns a server that has h answer. h must ask Violation about each request first.
func NewServer(h http.Handler, opts Options) *Server {
	s := &Server{
		opts:       opts.withDefaults(),
		handler:    h,
		handshakes: make(chan struct{}, maxHandshakes()),
		names:      commonFields(),
		gone:       make(chan struct{}, 1),
		over:       make(chan struct{}),
		links:      make(map[*link]struct{}),
		listeners:  make(map[net.Listener]struct{}),
	}
	s.buffers.New = func() any { return new([bufferSize]byte) }
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout: s.opts.ReadHeaderTimeout,
		IdleTimeout:       s.opts.IdleTimeout,
		MaxHeaderBytes:    s.opts.MaxHeaderBytes,
		Protocols:         protocols,
		HTTP2:             http2Config(),
		// net/http answers OPTIONS * by itself otherwise: no host is looked at then, and no Event written.
		DisableGeneralOptionsHandler: true,
		// net/http takes its messages to nothing but a log.Logger.
		ErrorLog: log.New(errorWriter{s}, "", 0),
	}
	return s
}

// serveHTTP counts handlers, so that Shutdown can wait for those of upgraded connections too, and paces the
// streams of HTTP/2; requests over HTTP/1 are paced by the connection.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	defer s.leave()
	if r.ProtoMajor == 2 {
		stream := newStream(w, r, &s.opts)
		defer stream.leave()
		w = stream
	}
	s.handler.ServeHTTP(w, r)
}

// rescue ends a connection whose goroutine panics outside of a handler: in what is asked for a certificate, or by a mistake
// of ours. The others live on, as with net/http's server.
func (s *Server) rescue(l *link) {
	if v := recover(); v != nil {
		s.panicked(l, v)
		_ = l.Close()
	}
}

func (s *Server) panicked(l *link, value any) {
	stack := make([]byte, 64<<10)
	s.opts.OnError(l.RemoteAddr(), &panicError{value, stack[:runtime.Stack(stack, false)]})
}

func (s *Server) leave() {
	s.handlers.Add(-1)
	if s.closing.Load() {
		s.wake()
	}
}

func (s *Server) wake() {
	select {
	case s.gone <- struct{}{}:
	default:
	}
}

// errorWriter takes net/http's messages to the hook.
type errorWriter struct{ s *Server }

func (w errorWriter) Write(line []byte) (int, error) {
	w.s.opts.OnError(nil, errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// Stats is a snapshot of a server's connections.
type Stats struct {
	Handshaking, Serving, Upgraded int    // open now
	Accepted                       uint64 // since the start, as are those below
	Refused                        uint64 // over MaxConns
	FailedHandshakes               uint64
	Violations                     uint64 // refused byte streams
}

// Stats returns the current counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Handshaking:      s.counts[handshaking],
		Serving:          s.counts[serving],
		Upgraded:         s.counts[upgraded],
		Accepted:         s.accepted.Load(),
		Refused:          s.refused.Load(),
		FailedHandshakes: s.failedHandshakes.Load(),
		Violations:       s.violations.Load(),
	}
}

// admit takes a new connection onto the books; nil when there is no room for it or the server is closing.
func (s *Server) admit(nc net.Conn) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return nil
	}
	s.accepted.Add(1)
	if len(s.links) >= s.opts.MaxConns {
		s.refused.Add(1)
		return nil
	}
	l := newLink(nc, s)
	s.links[l] = struct{}{}
	s.counts[l.phase]++
	return l
}

func (s *Server) enter(l *link, p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enterLocked(l, p)
}

// enterLocked reports whether the connection is still open.
func (s *Server) enterLocked(l *link, p phase) bool {
	if _, open := s.links[l]; !open {
		return false
	}
	s.counts[l.phase]--
	l.phase = p
	s.counts[p]++
	return true
}

// take has c answer requests, and reports whether it still can.
func (s *Server) take(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.link.http1 = c
	return s.enterLocked(c.link, serving)
}

func (s *Server) forget(l *link) {
	s.releaseHandshake(l)
	s.mu.Lock()
	if _, open := s.links[l]; open {
		delete(s.links, l)
		s.counts[l.phase]--
	}
	s.mu.Unlock()
	s.wake()
}

func (s *Server) buffer(n int) []byte {
	if n > bufferSize {
		return make([]byte, n)
	}
	return s.buffers.Get().(*[bufferSize]byte)[:]
}

func (s *Server) recycle(b []byte) {
	if len(b) == bufferSize {
		s.buffers.Put((*[bufferSize]byte)(b))
	}
}

// Shutdown stops accepting, closes idle connections, lets running requests end (HTTP/2 clients are told by
// GOAWAY), then waits for upgraded connections. When ctx ends first it closes what is left and returns ctx's
// error. No goroutine of the server runs afterwards, unless a handler ignores for 5 s that its connection is
// closed.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopAccepting()
	fresh := time.AfterFunc(freshGrace, func() { s.closeLinks(func(l *link) bool { return l.turn() == 0 }) })
	defer fresh.Stop()
	err := s.http.Shutdown(ctx)
	if err == nil {
		err = s.await(ctx, func() bool { return s.open() == 0 })
	}
	s.closeLinks(func(*link) bool { return true }) // first: one that is closed does not linger
	_ = s.http.Close()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.over)
	}
	s.mu.Unlock()
	s.serving.Wait()
	closed, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	_ = s.await(closed, func() bool { return s.handlers.Load() == 0 })
	return err
}

// await waits for a condition that becomes true when connections or handlers go.
func (s *Server) await(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-s.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	s.closing.Store(true)
	listeners := s.listeners
	s.listeners = nil
	s.mu.Unlock()
	for ln := range listeners {
		_ = ln.Close()
	}
	s.closeLinks(func(l *link) bool {
		return l.phase == handshaking || l.phase == serving && l.turn() > 0 && l.turn()%2 == 0
	})
}

func (s *Server) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links)
}

func (s *Server) closeLinks(which func(*link) bool) {
	var chosen []*link
	s.mu.Lock()
	for l := range s.links {
		if which(l) {
			chosen = append(chosen, l)
		}
	}
	s.mu.Unlock()
	for _, l := range chosen {
		_ = l.Close()
	}
}
