package upstream

import (
	"errors"
	"io"
	"sync"
	"time"
)

// errStopped ends the reading of a body that nobody waits for any more. It is not shown to anybody.
var errStopped = errors.New("the request is over")

// h2Body is a request body on its way into an HTTP/2 stream. The transport reads it on a goroutine of its own and may
// close it at any time, upon which a Read returns at once. The client is read by another goroutine, which the handler
// stops and waits for: to end a read of the client while the answer is still to come would end the request with it.
type h2Body struct {
	src    io.Reader // nil for one that is all in prefix
	prefix []byte    // comes first
	sized  bool
	remain int64         // of a sized body: what is to come from src
	buf    []byte        // for what comes from src
	hold   chan struct{} // closed by the handler when the body may be read; nil if it may at once
	wanted chan struct{} // closed when the upstream wants it; nil without hold

	chunks chan chunk    // from the pump
	next   chan struct{} // to it: buf is free
	unread chunk         // what Read has not taken yet
	shut   chan struct{} // the transport will not read any more
	stop   chan struct{} // the handler wants no more of the client
	over   chan struct{} // the pump has ended

	mu      sync.Mutex
	asked   bool
	closed  bool // shut is closed
	stopped bool // stop is closed
	pumping bool // the pump has been started
	reading bool // it reads the client
	whole   bool // the client's body has been read to its end
	since   time.Time
	failed  *Error
}

// chunk is some of a body.
type chunk struct {
	p   []byte
	err error
}

func newH2Body(src io.Reader, prefix []byte) *h2Body {
	return &h2Body{
		src: src, prefix: prefix, whole: src == nil, since: time.Now(), shut: make(chan struct{}), stop: make(chan struct{}),
		over: make(chan struct{}), chunks: make(chan chunk), next: make(chan struct{}, 1),
	}
}

// Read is for the transport.
func (b *h2Body) Read(p []byte) (int, error) {
	if !b.letGo() {
		return 0, errStopped
	}
	if n, err, done := b.readPrefix(p); done {
		return n, err
	}
	if len(b.unread.p) == 0 && b.unread.err == nil {
		b.fetch()
		select {
		case b.unread = <-b.chunks:
		case <-b.shut:
			return 0, errStopped
		}
	}
	n := copy(p, b.unread.p)
	if b.unread.p = b.unread.p[n:]; len(b.unread.p) > 0 {
		return n, nil
	}
	return n, b.unread.err
}

// letGo waits until the body may be read, and reports whether it is to be.
func (b *h2Body) letGo() bool {
	if b.hold != nil {
		if !b.asked {
			b.asked = true
			close(b.wanted)
		}
		select {
		case <-b.hold:
		case <-b.shut:
		}
	}
	select {
	case <-b.shut:
		return false
	default:
		return true
	}
}

// readPrefix copies from memory that is the handler's until it has stopped the body.
func (b *h2Body) readPrefix(p []byte) (n int, err error, done bool) { //nolint:revive // the error is the reader's, not ours
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errStopped, true
	}
	if len(b.prefix) == 0 {
		return 0, io.EOF, b.src == nil
	}
	n = copy(p, b.prefix)
	if b.prefix = b.prefix[n:]; len(b.prefix) == 0 && b.src == nil {
		err = io.EOF
	}
	return n, err, true
}

// fetch has the pump read once more.
func (b *h2Body) fetch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pumping:
		b.next <- struct{}{}
	case !b.stopped:
		b.pumping = true
		go b.pump()
	}
}

// pump reads the client, whenever it is asked to, until the end or until the handler stops it.
func (b *h2Body) pump() {
	defer close(b.over)
	for {
		c := b.readClient()
		select {
		case b.chunks <- c:
		case <-b.stop:
			return
		}
		if c.err != nil {
			return
		}
		select {
		case <-b.next:
		case <-b.stop:
			return
		}
	}
}

func (b *h2Body) readClient() chunk {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		return chunk{nil, errStopped}
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.readSource()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading, b.since = false, time.Now()
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.whole, err = true, io.EOF
	case b.stopped:
		err = errStopped // the handler has ended the read
	default:
		b.failed = clientBodyError(err)
	}
	return chunk{b.buf[:n], err}
}

// readSource reads once. It fails if the body is not what was announced.
func (b *h2Body) readSource() (int, error) {
	room := b.buf
	if b.sized && int64(len(room)) > b.remain {
		room = room[:b.remain]
	}
	n, err := b.src.Read(room)
	b.remain -= int64(n)
	switch {
	case !b.sized:
	case errors.Is(err, io.EOF) && b.remain > 0:
		err = io.ErrUnexpectedEOF
	case err == nil && b.remain == 0:
		// Readers around the body may act at its end.
		var one [1]byte
		extra := 0
		if extra, err = b.src.Read(one[:]); extra > 0 {
			err = errors.New("body is longer than its Content-Length")
		} else if err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// Close is for the transport, which will not read any more.
func (b *h2Body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeLocked()
	return nil
}

func (b *h2Body) closeLocked() {
	if !b.closed {
		b.closed = true
		close(b.shut)
	}
}

// end is for the handler: neither the client nor any memory of the handler's is read after it. A read of the client that
// is under way is ended by unblock.
func (b *h2Body) end(unblock func()) {
	b.mu.Lock()
	b.closeLocked()
	if !b.stopped {
		b.stopped = true
		close(b.stop)
		if b.reading {
			unblock()
		}
	}
	pumping := b.pumping
	b.mu.Unlock()
	if pumping {
		<-b.over
	}
}

// failure is why the client's body could not be read; nil if it could.
func (b *h2Body) failure() *Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// rest reports whether the client may have more of it to send.
func (b *h2Body) rest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.whole
}

// untouched reports whether the request can be sent again: nothing of the client's has been read for it.
func (b *h2Body) untouched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.pumping
}

// silentSince is since when the upstream has had nothing of the client's to wait for. ok is false while it has.
func (b *h2Body) silentSince() (t time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since, !b.reading
}
