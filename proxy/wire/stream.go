package wire

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A stream paces one HTTP/2 request, of which a connection's deadlines say nothing: the body that its client
// sends, and the answer that it takes. A client that opens no window keeps a handler, and whatever that holds,
// for ever otherwise. Its reads and its writes are the handler's, one of each at a time.
type stream struct {
	http.ResponseWriter
	rc     *http.ResponseController
	opts   *Options
	body   io.ReadCloser
	reads  wait
	writes wait
	slow   atomic.Bool // a read took too long

	mu   sync.Mutex // held while a timer touches the ResponseWriter
	over bool       // the handler has returned: the ResponseWriter is nobody's, and to touch it is to crash
}

// A wait is the time that one direction has spent waiting, and what ends one that takes too long.
type wait struct {
	pace
	timer *time.Timer // made when it is needed
	late  func(*stream)
}

// bufferedAnswer is what net/http keeps of an HTTP/2 answer before it sends it, in bytes.
const bufferedAnswer = 4 << 10

// newStream puts itself around r's body if the client may be sending one. A length of 0 in a field says that
// there is none, and does not end the stream.
func newStream(w http.ResponseWriter, r *http.Request, opts *Options) *stream {
	s := &stream{
		ResponseWriter: w, rc: http.NewResponseController(w), opts: opts,
		reads: wait{late: (*stream).expireRead}, writes: wait{late: (*stream).expireWrite},
	}
	if _, declared := r.Header["Content-Length"]; declared || r.ContentLength != 0 {
		s.body = r.Body
		r.Body = streamBody{s}
	}
	return s
}

// Unwrap is for http.ResponseController.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Write fails when the client takes less than the minimum rate.
func (s *stream) Write(p []byte) (n int, err error) {
	for {
		piece, m := p[n:min(len(p), n+pacedPiece)], 0
		s.within(&s.writes, len(piece), func() int {
			m, err = s.ResponseWriter.Write(piece)
			return m
		})
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError is Flush for http.ResponseController.
func (s *stream) FlushError() (err error) {
	s.within(&s.writes, bufferedAnswer, func() int {
		err = s.rc.Flush()
		return 0
	})
	return err
}

// within lets io move n bytes, for no longer than the pace allows.
func (s *stream) within(w *wait, n int, io func() int) {
	start := time.Now()
	if allowed := w.allow(s.opts, n); w.timer == nil {
		w.timer = time.AfterFunc(allowed, func() { w.late(s) })
	} else {
		w.timer.Reset(allowed)
	}
	moved := io()
	w.timer.Stop()
	w.account(s.opts, time.Since(start), moved)
}

func (s *stream) expireRead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.slow.Store(true)
	_ = s.rc.SetReadDeadline(time.Unix(1, 0)) // ends the pending read
}

func (s *stream) expireWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	_ = s.rc.SetWriteDeadline(time.Unix(1, 0)) // resets the stream
}

// leave runs when the handler returns. What net/http still has to write then gets a deadline of its own.
func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, timer := range []*time.Timer{s.reads.timer, s.writes.timer} {
		if timer != nil {
			timer.Stop()
		}
	}
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.writes.allow(s.opts, bufferedAnswer)))
}

// A streamBody is the body of a stream's request.
type streamBody struct{ s *stream }

// Read fails with a 408 when the client sends less than the minimum rate.
func (b streamBody) Read(p []byte) (n int, err error) {
	s := b.s
	s.within(&s.reads, 0, func() int {
		n, err = s.body.Read(p)
		return n
	})
	if s.slow.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errBodyTooSlow
	}
	return n, err
}

func (b streamBody) Close() error { return b.s.body.Close() }
