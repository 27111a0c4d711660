package upstream

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it; nothing is kept secret by it
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// tunnelBuffer is what one direction of a WebSocket holds, in bytes, for as long as it lasts.
const tunnelBuffer = 8 << 10

// How long the end of a WebSocket that Options.Until ends may take: the upstream to finish a frame that it has begun,
// the client to take the close frame and answer it, and all of it.
const (
	frameWait = time.Second
	closeWait = 3 * time.Second
	endWait   = 4 * time.Second
)

// What the close frame says then: that the session has ended, or that the endpoint has gone and its time to finish is over.
const (
	endReason  = "the session has ended"
	goneReason = "the server is going away"
)

// errEnded is why a direction stops then.
var errEnded = errors.New("ended by Options.Until")

// wantsWebSocket reports whether the request is a WebSocket handshake that this route relays (RFC 6455 section 4.1).
// A handshake that is not whole is refused rather than guessed at. Any other Upgrade is not relayed.
func (x *exchange) wantsWebSocket() (bool, error) {
	h := x.r.Header
	if !x.h.opts.WebSocket || x.r.ProtoMajor != 1 || x.r.ProtoMinor < 1 || len(h["Upgrade"]) == 0 {
		return false, nil
	}
	if up := h["Upgrade"]; len(up) != 1 || !strings.EqualFold(trim(up[0]), "websocket") || !hasToken(h["Connection"], "upgrade") {
		return false, nil
	}
	if x.r.Method != http.MethodGet {
		return false, badRequest("websocket: want method GET, got %s", x.r.Method)
	}
	if v := h["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		return false, badRequest("websocket: want one Sec-WebSocket-Version, 13")
	}
	key := h["Sec-Websocket-Key"]
	if len(key) != 1 {
		return false, badRequest("websocket: want one Sec-WebSocket-Key, got %d", len(key))
	}
	if nonce, err := base64.StdEncoding.Strict().DecodeString(key[0]); err != nil || len(nonce) != 16 {
		return false, badRequest("websocket: want a Sec-WebSocket-Key of 16 bytes in base64")
	}
	return true, nil
}

// accepts verifies that the upstream's 101 answers this handshake.
func (x *exchange) accepts() error {
	if up := x.in["Upgrade"]; len(up) != 1 || !strings.EqualFold(up[0], "websocket") || !hasToken(x.in["Connection"], "upgrade") {
		return malformed("websocket: 101 without Upgrade: websocket")
	}
	sum := sha1.Sum([]byte(x.r.Header["Sec-Websocket-Key"][0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	want := base64.StdEncoding.EncodeToString(sum[:])
	if got := x.in["Sec-Websocket-Accept"]; len(got) != 1 || got[0] != want {
		return malformed("websocket: 101 with a wrong Sec-WebSocket-Accept")
	}
	return nil
}

// tunnel answers 101 and relays both directions until both have ended, one has failed, or the request's context ends.
// What the client sent before it saw the 101 goes to the upstream now, and not earlier: until here it could have been
// the next request.
func (x *exchange) tunnel() error {
	if err := x.accepts(); err != nil {
		return err
	}
	x.endToEnd(nil)
	x.hd.kind = bodyNone
	x.copyResponseHeader(nil)
	h := x.w.Header()
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	delete(h, "Content-Type")
	x.wrote = true
	x.w.WriteHeader(http.StatusSwitchingProtocols)
	client, rw, err := x.control().Hijack()
	if err != nil {
		return &Error{Reason: ReasonClientGone, Err: err}
	}
	defer client.Close()
	x.result.Upgraded = true
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	c := x.c
	stop := context.AfterFunc(x.ctx, func() {
		c.abort()
		client.Close()
	})
	defer stop()
	c.sock.SetDeadline(time.Time{})
	t := &tunnel{client: client, c: c, timeout: x.p.responseTimeout}
	if x.h.opts.Until != nil {
		ctx, release := x.h.opts.Until(x.r)
		defer t.until(x.ctx, ctx, release)()
	}
	c.ep.onExpiry(c, func() { t.end(goingAway) })
	t.run(early, x.s.buffered())
	x.result.Ended = t.ended()
	return nil
}

// tunnel is an upgraded connection.
type tunnel struct {
	client  net.Conn
	c       *conn
	timeout time.Duration
	half    atomic.Bool   // one direction has ended; the other may not be silent for ever
	ending  atomic.Uint32 // the status of the close frame once the end has begun, 0 before; see end
	down    frames        // from the upstream to the client
}

// until ends the WebSocket with ctx, which may be nil, unless that ends with the request. It returns what is to be
// called when it is over.
func (t *tunnel) until(request, ctx context.Context, release func()) (over func()) {
	if ctx == nil {
		return release
	}
	stop := context.AfterFunc(ctx, func() {
		if request.Err() == nil {
			t.end(policyViolation)
		}
	})
	return func() {
		stop()
		release()
	}
}

// end closes the WebSocket from the middle, from any goroutine: nothing of the client's goes to the upstream any
// more, the client gets what is left of a frame that it has the beginning of, and then a close frame with status.
func (t *tunnel) end(status uint16) {
	if !t.ending.CompareAndSwap(0, uint32(status)) {
		return
	}
	t.hurry()
	time.AfterFunc(endWait, t.cut)
}

// ended reports whether end has been called.
func (t *tunnel) ended() bool { return t.ending.Load() != 0 }

// hurry wakes up who reads, for end.
func (t *tunnel) hurry() {
	t.client.SetDeadline(time.Now().Add(closeWait))
	t.c.rw.SetReadDeadline(time.Now())
}

// cut ends both connections at once.
func (t *tunnel) cut() {
	t.c.abort()
	t.client.Close()
}

// toUpstream relays what the client has sent.
func (t *tunnel) toUpstream(b []byte) error {
	if t.ended() {
		return nil
	}
	_, err := t.c.rw.Write(b)
	if t.ended() {
		return nil // the upstream has been let go meanwhile; the client is still to hear why
	}
	return err
}

// toClient relays what the upstream has sent.
func (t *tunnel) toClient(b []byte) error {
	if !t.ended() {
		t.down.pass(b)
		_, err := t.client.Write(b)
		return err
	}
	if !t.down.between() {
		if _, err := t.client.Write(b[:t.down.step(b)]); err != nil {
			return err
		}
	}
	return t.goodbye()
}

// goodbye sends the close frame where it may stand, and reports whether that was here by errEnded.
func (t *tunnel) goodbye() error {
	if !t.down.between() {
		return nil
	}
	if !t.down.closed {
		status, reason := uint16(t.ending.Load()), endReason //nolint:gosec // what end was given
		if status == goingAway {
			reason = goneReason
		}
		if _, err := t.client.Write(closeFrame(status, reason)); err != nil {
			return err
		}
	}
	return errEnded
}

// run relays until both directions are over. fromClient and fromUpstream have arrived already.
func (t *tunnel) run(fromClient, fromUpstream []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.pipe(t.c.rw, t.client, t.toUpstream, t.closeUpstream, fromClient)
	}()
	t.pipe(t.client, t.c.rw, t.toClient, t.closeClient, fromUpstream)
	<-done
}

// pipe relays one direction, starting with what has arrived. At the end of src it closes the other side's writing
// half; after a failure it ends both.
func (t *tunnel) pipe(dst, src net.Conn, write func([]byte) error, closeWrite func() error, arrived []byte) {
	err := t.copy(src, write, arrived)
	if errors.Is(err, errEnded) {
		// The upstream is let go at once. The client is not: what it has sent and nobody has read would make the
		// system throw away what it has not read of ours. The other direction reads until the client closes.
		t.c.abort()
		if t.closeClient() == nil {
			return
		}
	}
	if errors.Is(err, io.EOF) {
		err = closeWrite()
	}
	if err != nil {
		t.cut()
		return
	}
	t.half.Store(true)
	t.patience(dst) // the other direction reads from dst
}

// patience bounds the silence of a side of which the other side has ended.
func (t *tunnel) patience(src net.Conn) {
	src.SetReadDeadline(time.Now().Add(t.timeout))
	if t.ended() {
		t.hurry()
	}
}

func (t *tunnel) copy(src net.Conn, write func([]byte) error, arrived []byte) error {
	if len(arrived) > 0 {
		if err := write(arrived); err != nil {
			return err
		}
	}
	buf := make([]byte, tunnelBuffer)
	waited := false
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if werr := write(buf[:n]); werr != nil {
				return werr
			}
			if t.half.Load() {
				t.patience(src)
			}
		}
		if err != nil && src == t.c.rw && !waited && isTimeout(err) && t.ended() {
			waited = true
			if err := t.goodbye(); err != nil {
				return err
			}
			src.SetReadDeadline(time.Now().Add(frameWait))
			continue
		}
		if err != nil {
			return err
		}
	}
}

func (t *tunnel) closeUpstream() error {
	if t.c.secure {
		return closeWrite(t.c.rw)
	}
	return closeWrite(t.c.sock.Conn)
}

func (t *tunnel) closeClient() error { return closeWrite(t.client) }

// closeWrite tells the peer that nothing more comes. A connection that cannot be half closed is an error, upon which
// both sides end.
func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.New("connection cannot be half closed")
}
