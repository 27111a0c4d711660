package waf

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"gatehouse/waf/payload"
)

const (
	// firstBuffer is what a body gets to begin with: most forms and API calls fit. It grows with what
	// has come, not with what Content-Length promises, so that a promise costs nothing.
	firstBuffer = 8 << 10
	// keptBuffer is the largest buffer that is kept for the next request.
	keptBuffer = 64 << 10
	// bodySlack is how much more Coraza may be given than the body limit.
	bodySlack = 16
)

// errReleased is what reading a body gives after its request is over.
var errReleased = errors.New("waf: body read after the request was over")

// A body replays what was inspected and then reads on. Read and Close may be called by another
// goroutine than the handler's, as http.Transport does, and after the handler has returned.
type body struct {
	mu   sync.Mutex
	buf  *[]byte // from pool; nil once released
	off  int
	rest io.ReadCloser // what was not inspected
	pool *sync.Pool
	turn turn
	held int64 // of the turn's memory
	lent bool  // buf is whoever's who has read the body before, and stays theirs
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.buf == nil {
		b.mu.Unlock()
		return 0, errReleased
	}
	if b.off < len(*b.buf) {
		n := copy(p, (*b.buf)[b.off:])
		b.off += n
		b.mu.Unlock()
		return n, nil
	}
	rest := b.rest
	b.mu.Unlock()
	if rest == nil {
		return 0, io.EOF
	}
	// Not under the lock: this may wait for the client as long as the client likes.
	return rest.Read(p)
}

// Close implements io.Closer. Whatever was not read is left to the server, as with the request's own
// body.
func (b *body) Close() error {
	b.mu.Lock()
	rest := b.rest
	b.mu.Unlock()
	b.release()
	if rest == nil {
		return nil
	}
	return rest.Close()
}

// release gives the buffer back. Reading fails from then on. It may be called on nil and more than
// once.
func (b *body) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil {
		return
	}
	if !b.lent && cap(*b.buf) <= keptBuffer {
		*b.buf = (*b.buf)[:0]
		b.pool.Put(b.buf)
	}
	b.buf = nil
	b.turn.free(b.held)
	b.held = 0
}

// bytes is what was read for inspection.
func (b *body) bytes() []byte { return *b.buf }

// Inspected returns what was read of the body, and whether that is all of it, to whoever looks at it after the engine, so that it
// need not be read once more. It must not be changed, nor kept beyond the request.
func (b *body) Inspected() (beginning []byte, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil {
		return nil, false
	}
	return *b.buf, b.rest == nil
}

// readBody reads up to limit bytes of src, unless somebody has read all of it before. It reports whether there was more than that.
func readBody(src io.ReadCloser, limit int, pool *sync.Pool, t turn) (b *body, more bool, err error) {
	if known, ok := src.(interface{ Inspected() ([]byte, bool) }); ok {
		if beginning, whole := known.Inspected(); whole && len(beginning) <= limit {
			return &body{buf: &beginning, pool: pool, lent: true}, false, nil
		}
	}
	buf := pool.Get().(*[]byte)
	b = &body{buf: buf, pool: pool, turn: t}
	for {
		if len(*buf) == cap(*buf) {
			// The first buffer is free: a request costs about as much without a body.
			grown := make([]byte, len(*buf), min(2*cap(*buf), limit+1))
			if !t.hold(int64(cap(grown)) - b.held) {
				b.rest = src
				return b, false, noMemory()
			}
			b.held = int64(cap(grown))
			*buf = append(grown[:0], *buf...)
		}
		// One byte over the limit tells a body that ends there from one that goes on.
		room := (*buf)[len(*buf):min(cap(*buf), limit+1)]
		n, err := src.Read(room)
		*buf = (*buf)[:len(*buf)+n]
		switch {
		case len(*buf) > limit:
			b.rest = src
			return b, true, nil
		case err == io.EOF: // the plain one only: wrapped, it is an error
			return b, false, nil
		case err != nil:
			return b, false, err
		}
	}
}

// framed is a body of gRPC, which passes as it comes.
func framed(src io.ReadCloser, pool *sync.Pool) *body {
	refusal := &Failure{Reason: "body is not gRPC", Status: http.StatusBadRequest}
	return &body{buf: pool.Get().(*[]byte), rest: payload.Framed(src, refusal), pool: pool}
}

// readFailure is the refusal of a request whose body could not be read.
func readFailure(ctx context.Context, err error) error {
	if limited, ok := errors.AsType[*Limited](err); ok {
		return limited
	}
	reason, status := payload.ReadFailure(ctx, err)
	return &Failure{Reason: reason, Status: status, Err: err}
}
