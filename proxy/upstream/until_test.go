package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

var errSessionOver = errors.New("session over")

// A session is what Options.Until is given for.
type session struct {
	end      context.CancelCauseFunc
	ctx      context.Context
	asked    atomic.Int32
	released chan struct{}
}

func newSession(t *testing.T) *session {
	s := &session{released: make(chan struct{}, 8)}
	s.ctx, s.end = context.WithCancelCause(t.Context())
	t.Cleanup(func() { s.end(nil) })
	return s
}

func (s *session) until(*http.Request) (context.Context, func()) {
	s.asked.Add(1)
	return s.ctx, func() { s.released <- struct{}{} }
}

// TestAWebSocketEndsWithItsSession is attack case O61.
func TestAWebSocketEndsWithItsSession(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		gone := make(chan error, 1)
		up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"*"}})
			if err != nil {
				return
			}
			defer c.CloseNow()
			for {
				kind, b, err := c.Read(r.Context())
				if err != nil {
					gone <- err
					return
				}
				if err := c.Write(r.Context(), kind, b); err != nil {
					return
				}
			}
		}))
		cfg := Config{}
		if secure {
			up.StartTLS()
			cfg.TLS.InsecureSkipVerify = true
		} else {
			up.Start()
		}
		t.Cleanup(up.Close)
		cfg.Endpoints = []string{up.URL}
		s := newSession(t)
		f := newRig(t, "http1", cfg, Options{WebSocket: true, Until: s.until})
		c, _, err := websocket.Dial(t.Context(), f.URL, &websocket.DialOptions{HTTPClient: f.client})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
		s.end(errSessionOver)
		_, _, err = c.Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation || closed.Reason != endReason {
			t.Errorf("client: got %v, want close code 1008", err)
		}
		if err := <-gone; websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			t.Errorf("upstream: got %v, want its connection cut", err)
		}
		if r := <-f.results; !r.Upgraded || !r.Ended || r.Err != nil {
			t.Errorf("result: got %+v, want an upgrade that was ended", r)
		}
		<-s.released
	}
}

// webSocket opens one over a raw connection; the upstream goes on with serve.
func (s *session) webSocket(t *testing.T, serve func(c net.Conn, br *bufio.Reader)) (*rig, net.Conn, *bufio.Reader) {
	t.Helper()
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			io.WriteString(c, wsAnswer+"\r\n")
			serve(c, br)
		}
	})
	f := newRig(t, "http1", endpoints(up), Options{WebSocket: true, Until: s.until})
	c, br := f.rawDial(t)
	io.WriteString(c, wsRequest+"\r\n")
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("got %+v, %v", res, err)
	}
	return f, c, br
}

func TestACloseFrameWaitsForTheEndOfAFrame(t *testing.T) {
	t.Parallel()
	whole := frame(0x82, 300, false)
	for _, cut := range []int{1, 3, 4, 5, len(whole) - 1} {
		s := newSession(t)
		ended := make(chan struct{})
		f, client, br := s.webSocket(t, func(c net.Conn, br *bufio.Reader) {
			c.Write(whole[:cut])
			<-ended
			c.Write(whole[cut:])
			br.ReadByte()
		})
		got := make([]byte, cut)
		if _, err := io.ReadFull(br, got); err != nil {
			t.Fatal(err)
		}
		s.end(errSessionOver)
		close(ended)
		rest, err := io.ReadAll(br)
		if want := append(bytes.Clone(whole[cut:]), closeFrame(policyViolation, endReason)...); err != nil || !bytes.Equal(rest, want) {
			t.Errorf("cut at %d: got %d bytes, %v; want the rest of the frame and a close frame", cut, len(rest), err)
		}
		client.Close()
		<-f.results
	}
}

func TestAFrameThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	part := frame(0x82, 300, false)[:100]
	f, _, br := s.webSocket(t, func(c net.Conn, br *bufio.Reader) {
		c.Write(part)
		br.ReadByte()
	})
	if _, err := io.ReadFull(br, make([]byte, len(part))); err != nil {
		t.Fatal(err)
	}
	s.end(errSessionOver)
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("client: got %q, want the end: anything else would be a part of the frame", rest)
	}
	if r := <-f.results; !r.Ended {
		t.Errorf("result: got %+v, want it ended", r)
	}
}

func TestNothingFollowsACloseFrame(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	bye := closeFrame(1000, "bye")
	f, client, br := s.webSocket(t, func(c net.Conn, br *bufio.Reader) {
		c.Write(bye)
		br.ReadByte()
	})
	if _, err := io.ReadFull(br, make([]byte, len(bye))); err != nil {
		t.Fatal(err)
	}
	s.end(errSessionOver)
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		t.Errorf("client: got %q, %v; want the end", rest, err)
	}
	client.Close()
	<-f.results
}

// TestAClientThatGoesOnTalking sends all the time: none of it may cost it the close frame.
func TestAClientThatGoesOnTalking(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	f, c, br := s.webSocket(t, func(_ net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) })
	talking := make(chan struct{})
	go func() {
		defer close(talking)
		for b := frame(0x82, 1000, true); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	s.end(errSessionOver)
	want := closeFrame(policyViolation, endReason)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(br, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("client: got %q, %v; want a close frame", got, err)
	}
	c.Close()
	<-talking
	<-f.results
}

func TestAStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		for name, head := range map[string]string{
			"server-sent events": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
			"chunks":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n",
			"a length":           "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
		} {
			s := newSession(t)
			up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
				if readRequest(br) != nil {
					io.WriteString(c, head+"data: hello\n")
					br.ReadByte()
				}
			})
			f := newRig(t, proto, to.config(t, up), Options{Until: s.until})
			res, err := f.client.Get(f.URL + "/events")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, len("data: hello\n"))); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			s.end(errSessionOver)
			if rest, err := io.ReadAll(res.Body); err == nil || len(rest) > 0 {
				t.Errorf("%s: got %q, %v; want it broken off", name, rest, err)
			}
			res.Body.Close()
			var e *Error
			if r := <-f.results; !errors.As(r.Err, &e) || e.Reason != ReasonEnded || !errors.Is(e, errSessionOver) || !r.Ended {
				t.Errorf("%s: result: got %+v, want reason %q", name, r, ReasonEnded)
			}
			<-s.released
			if n := idle(f.pool); n != 0 {
				t.Errorf("%s: idle connections: got %d, want 0", name, n)
			}
		}
	})
}

func TestUntilIsAskedForAnswersThatLast(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for name, tt := range map[string]struct {
			answer string
			asked  int32
		}{
			"short": {okAnswer, 0},
			"long":  {"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + strings.Repeat("x", 4_000_000), 1},
		} {
			s := newSession(t)
			f := newRig(t, proto, endpoints(answering(t, tt.answer)), Options{Until: s.until})
			res, body := f.do(t, "GET", "/", nil)
			if res.StatusCode != 200 || !strings.HasSuffix(tt.answer, body) {
				t.Errorf("%s: got %s and %d bytes", name, res.Status, len(body))
			}
			if got := s.asked.Load(); got != tt.asked {
				t.Errorf("%s: asked %d times, want %d", name, got, tt.asked)
			}
			for range tt.asked {
				<-s.released
			}
			<-f.results
		}
	})
}

func TestAStreamWithoutASession(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		if readRequest(br) != nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst ")
			<-more
			io.WriteString(c, "second")
		}
	})
	nobody := func(*http.Request) (context.Context, func()) { return nil, func() {} }
	f := newRig(t, "http1", endpoints(up), Options{Until: nobody})
	res, err := f.client.Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, len("first "))); err != nil {
		t.Fatal(err)
	}
	close(more)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "second" {
		t.Errorf("got %q, %v", rest, err)
	}
}
