package acl

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"

	"gatehouse/waf/payload"
)

// firstBuffer is what a body gets to begin with. It grows with what has come, not with what Content-Length promises.
const firstBuffer = 4 << 10

// errNoMemory says that too much of bodies is held already.
var errNoMemory = errors.New("no memory for the body: too much is held already")

// readBody reads the beginning of a body. It is read once for all rules.
func (a *ACL) readBody(r *http.Request, client netip.Addr) *body {
	b := &body{free: func() {}}
	if r.Body == nil || r.Body == http.NoBody {
		return b
	}
	if a.opts.Stream {
		b.more = true // all of it
		return b
	}
	if isGRPC(r) {
		// It passes as it comes, and as nothing else: who says so only not to be read gets no further than here.
		b.more, b.rest = true, payload.Framed(r.Body, &Failure{Reason: "the body is not gRPC", Status: http.StatusBadRequest})
		return b
	}
	if known, ok := r.Body.(interface{ Inspected() ([]byte, bool) }); ok {
		if beginning, whole := known.Inspected(); whole || len(beginning) >= a.bodyLimit {
			b.buf, b.more = beginning[:min(len(beginning), a.bodyLimit)], !whole || len(beginning) > a.bodyLimit
			return b // who has read it replays it
		}
	}
	b.rest, b.begun = r.Body, true
	held := int64(0)
	b.free = func() { a.opts.free(client, held) }
	buf := []byte(nil)
	for {
		if len(buf) == cap(buf) {
			size := min(max(2*cap(buf), firstBuffer), a.bodyLimit+1)
			if !a.opts.hold(client, int64(size)-held) {
				b.err = &Failure{Reason: "body not read", Status: http.StatusServiceUnavailable, Err: errNoMemory}
				break
			}
			held = int64(size)
			buf = append(make([]byte, 0, size), buf...)
		}
		// One byte over the limit tells a body that ends there from one that goes on.
		n, err := r.Body.Read(buf[len(buf):min(cap(buf), a.bodyLimit+1)])
		buf = buf[:len(buf)+n]
		if len(buf) > a.bodyLimit {
			b.more = true
			break
		}
		if err == io.EOF { //nolint:errorlint // the plain one only: wrapped, it is an error
			break
		}
		if err != nil {
			reason, status := payload.ReadFailure(r.Context(), err)
			b.err = &Failure{Reason: reason, Status: status, Err: err}
			break
		}
	}
	b.buf = buf
	return b
}

// isGRPC reports bodies that may be the client's half of a conversation, and are not to be held back until some of them has come.
// In HTTP/1.1 there is no gRPC, and who says so wants not to be read.
func isGRPC(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && r.ProtoMajor >= 2 && payload.IsGRPC(media)
}

// A Failure is the error of a request whose body a rule wants and cannot have. It is a refusal in every mode.
type Failure struct {
	Reason string
	Status int
	Err    error // may be nil
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Err == nil {
		return "rules: " + f.Reason
	}
	return "rules: " + f.Reason + ": " + f.Err.Error()
}

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Err }

// HTTPStatus is the status of the answer: the cause's own if it has one.
func (f *Failure) HTTPStatus() int { return f.Status }
