package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// The handshake of RFC 6455 section 1.3.
const (
	wsRequest = "GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	wsAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)

func TestWebSocketEcho(t *testing.T) {
	t.Parallel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}, OriginPatterns: []string{"*"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, b); err != nil {
				return
			}
		}
	})
	for _, secure := range []bool{false, true} {
		up := httptest.NewUnstartedServer(echo)
		cfg := Config{}
		if secure {
			up.StartTLS()
			cfg.TLS.InsecureSkipVerify = true
		} else {
			up.Start()
		}
		t.Cleanup(up.Close)
		cfg.Endpoints = []string{up.URL}
		f := newRig(t, "http1", cfg, Options{WebSocket: true})
		c, _, err := websocket.Dial(t.Context(), f.URL, &websocket.DialOptions{HTTPClient: f.client, Subprotocols: []string{"echo"}})
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadLimit(1 << 20)
		if c.Subprotocol() != "echo" {
			t.Errorf("subprotocol: got %q", c.Subprotocol())
		}
		for _, n := range []int{0, 1, 125, 70000, 1 << 19} {
			want := strings.Repeat("x", n)
			if err := c.Write(t.Context(), websocket.MessageText, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != want {
				t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
			t.Errorf("close: %v", err)
		}
		if r := <-f.results; !r.Upgraded || r.Status != 101 || r.Err != nil {
			t.Errorf("result: got %+v", r)
		}
		if n := idle(f.pool); n != 0 {
			t.Errorf("idle connections: got %d, want 0", n)
		}
	}
}

func TestWebSocketHoldsEarlyBytesUntilThe101(t *testing.T) {
	t.Parallel()
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil || r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("upstream: got %+v, %v", r, err)
			return
		}
		if br.Buffered() > 0 {
			t.Error("upstream got bytes before its 101")
		}
		io.WriteString(c, wsAnswer+"Set-Cookie: a=1\r\n\r\nearly answer ")
		io.Copy(c, br)
	})
	f := newRig(t, "http1", endpoints(up), Options{WebSocket: true, Response: func(_ *http.Request, h http.Header) { h.Del("Set-Cookie") }})
	c, br := f.rawDial(t)
	io.WriteString(c, wsRequest+"\r\nearly question ")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Connection") != "Upgrade" || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Set-Cookie") != "" {
		t.Fatalf("got %+v, %v", res, err)
	}
	io.WriteString(c, "late question")
	c.(*net.TCPConn).CloseWrite() // the half close reaches the upstream, whose end reaches us
	if got, err := io.ReadAll(br); err != nil || string(got) != "early answer early question late question" {
		t.Errorf("got %q, %v", got, err)
	}
	<-f.results
}

func TestWebSocketRefusals(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) string { return strings.Replace(wsRequest, old, with, 1) + "\r\n" }
	for _, tt := range []struct {
		name, request, answer string
		off                   bool
		status                int
		forwarded             string // the Upgrade that the upstream saw; "-" if it saw no request
	}{
		{"accepted", wsRequest + "\r\n", wsAnswer + "\r\n", false, 101, "websocket"},
		{"not asked for by the route", wsRequest + "\r\n", okAnswer, true, 200, ""},
		{"refused by the upstream", wsRequest + "\r\n", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", false, 403, "websocket"},
		{"a wrong accept", wsRequest + "\r\n", strings.Replace(wsAnswer, "s3p", "x3p", 1) + "\r\n", false, 502, "websocket"},
		{"two accepts", wsRequest + "\r\n", wsAnswer + "Sec-WebSocket-Accept: x\r\n\r\n", false, 502, "websocket"},
		{"no accept", wsRequest + "\r\n", "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", false, 502, "websocket"},
		{"another protocol in the 101", wsRequest + "\r\n", strings.Replace(wsAnswer, "websocket", "h2c", 1) + "\r\n", false, 502, "websocket"},
		{"a 101 without Connection", wsRequest + "\r\n", strings.Replace(wsAnswer, "Connection: Upgrade\r\n", "", 1) + "\r\n", false, 502, "websocket"},
		{"a 101 although it was not asked", wsRequest + "\r\n", wsAnswer + "\r\n", true, 502, ""},
		{"h2c", replace("WebSocket\r\nSec-WebSocket-V", "h2c\r\nSec-WebSocket-V"), okAnswer, false, 200, ""},
		{"two protocols", replace("Upgrade: WebSocket", "Upgrade: websocket, h2c"), okAnswer, false, 200, ""},
		{"no Connection: Upgrade", replace("keep-alive, Upgrade", "keep-alive"), okAnswer, false, 200, ""},
		{"HTTP/1.0", replace("HTTP/1.1", "HTTP/1.0"), okAnswer, false, 200, ""},
		{"POST", replace("GET", "POST"), "", false, 400, "-"},
		{"no key", replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), "", false, 400, "-"},
		{"a short key", replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), "", false, 400, "-"},
		{"two keys", wsRequest + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "", false, 400, "-"},
		{"another version", replace("Version: 13", "Version: 8"), "", false, 400, "-"},
		{"a body", wsRequest + "Content-Length: 5\r\n\r\nhello", "", false, 400, "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			saw := make(chan string, 1)
			up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
				if r, err := http.ReadRequest(br); err == nil {
					saw <- r.Header.Get("Upgrade")
					io.WriteString(c, tt.answer)
				}
			})
			f := newRig(t, "http1", endpoints(up), Options{WebSocket: !tt.off})
			c, br := f.rawDial(t)
			io.WriteString(c, tt.request)
			res, err := http.ReadResponse(br, nil)
			if err != nil || res.StatusCode != tt.status {
				t.Fatalf("got %+v, %v; want %d", res, err, tt.status)
			}
			c.Close()
			if tt.forwarded != "-" {
				if got := <-saw; got != tt.forwarded {
					t.Errorf("upstream saw Upgrade: %q, want %q", got, tt.forwarded)
				}
			} else if len(saw) > 0 {
				t.Error("upstream got a request")
			}
			<-f.results
		})
	}
}

func TestWebSocketEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(c, wsAnswer+"\r\n")
		br.ReadByte()
		close(ended)
	})
	pool, err := NewPool("x", endpoints(up))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	h := pool.Handler(Options{Deny: deny, WebSocket: true})
	ctx, logout := context.WithCancel(t.Context())
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
	defer front.Close()
	c, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, wsRequest+"\r\n")
	br := bufio.NewReader(c)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("got %+v, %v", res, err)
	}
	logout()
	<-ended
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("client got %q, want the end", rest)
	}
}

func TestWebSocketEndsWhenEitherSideFails(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"client", "upstream"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
				defer close(ended)
				http.ReadRequest(br)
				io.WriteString(c, wsAnswer+"\r\n")
				if side == "upstream" {
					c.(*net.TCPConn).SetLinger(0)
					return
				}
				br.ReadByte()
			})
			f := newRig(t, "http1", endpoints(up), Options{WebSocket: true})
			c, br := f.rawDial(t)
			io.WriteString(c, wsRequest+"\r\n")
			if side == "client" {
				if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
					t.Fatalf("got %+v, %v", res, err)
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			} else {
				io.ReadAll(br)
			}
			<-ended
			<-f.results
		})
	}
}

func TestWebSocketRetriesAStaleConnection(t *testing.T) {
	t.Parallel()
	up := rawUpstream(t, func(n int, c net.Conn, br *bufio.Reader) {
		for i := 1; ; i++ {
			r := readRequest(br)
			if r == nil || (n == 1 && i == 2) {
				return
			}
			if r.Header.Get("Upgrade") == "" {
				io.WriteString(c, okAnswer)
				continue
			}
			io.WriteString(c, wsAnswer+"\r\n")
			return
		}
	})
	f := newRig(t, "http1", endpoints(up), Options{WebSocket: true})
	f.do(t, "GET", "/", nil)
	c, br := f.rawDial(t)
	io.WriteString(c, wsRequest+"\r\n")
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("got %+v, %v", res, err)
	}
}
