package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswerHead(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		up := answering(t, "HTTP/1.1 200 OK\r\nServer: app\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\nConnection: keep-alive, X-Hop, content-length\r\nX-Hop: 1\r\n"+
			"Keep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\nSet-Cookie: up=1\r\nSet-Cookie: up=2\r\nX-Frame-Options: none\r\nContent-Length: 2, 2\r\n\r\nok")
		pool, err := NewPool("x", to.config(t, up))
		if err != nil {
			t.Fatal(err)
		}
		h := pool.Handler(Options{Deny: deny, Response: func(r *http.Request, h http.Header) {
			if r.URL.Path != "/p" {
				t.Errorf("Response: got path %s", r.URL.Path)
			}
			h.Set("X-Frame-Options", "DENY")
			h.Set("Transfer-Encoding", "chunked")
			h.Set("Content-Length", "77")
		}})
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "gw=1")
			w.Header().Set("Server", "gateway")
			w.Header().Set("X-Gateway", "1")
			h.ServeHTTP(w, r)
		}))
		if s.EnableHTTP2 = proto == "http2"; s.EnableHTTP2 {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(func() { s.Close(); pool.Close() })
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/p", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "ok" {
			t.Errorf("body: got %q, %v", body, err)
		}
		want := http.Header{
			"Server": {"app"}, "Date": {"Sat, 21 Nov 2026 08:00:00 GMT"}, "Set-Cookie": {"gw=1", "up=1", "up=2"},
			"X-Frame-Options": {"DENY"}, "X-Gateway": {"1"}, "Content-Length": {"2"},
		}
		if diff := cmp.Diff(res.Header, want); diff != "" {
			t.Errorf("header (-got +want):\n%s", diff)
		}
		if n := idle(pool); to == HTTP1 && n != 1 {
			t.Errorf("idle connections: got %d, want 1", n)
		}
	})
}

func TestAnswersWithoutABody(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		for _, tt := range []struct{ name, method, answer, length string }{
			{"HEAD keeps the length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", "5"},
			{"HEAD of a chunked answer", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", ""},
			{"304 has none", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", ""},
			{"204 has none", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				f := newRig(t, proto, to.config(t, answering(t, tt.answer)), Options{})
				for i := range 2 {
					res, body := f.do(t, tt.method, "/", nil)
					if got := res.Header.Get("Content-Length"); body != "" || got != tt.length {
						t.Errorf("got %q, length %q; want length %q", body, got, tt.length)
					}
					if r := <-f.results; r.Reused != (i > 0) || r.Err != nil {
						t.Errorf("result: got %+v", r)
					}
				}
			})
		}
	})
}

func TestBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	var chunks strings.Builder
	for i := 0; i < len(big); {
		n := min(1+i%70000, len(big)-i)
		fmt.Fprintf(&chunks, "%x\r\n%s\r\n", n, big[i:i+n])
		i += n
	}
	ways(t, func(t *testing.T, proto string, to way) {
		for _, tt := range []struct{ name, answer string }{
			{"sized", fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", len(big), big)},
			{"chunked", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks.String() + "0\r\n\r\n"},
			{"until the end", "HTTP/1.0 200 OK\r\n\r\n" + big},
		} {
			t.Run(tt.name, func(t *testing.T) {
				f := newRig(t, proto, to.config(t, answering(t, tt.answer)), Options{})
				for i := range 3 {
					if _, got := f.do(t, "GET", "/", nil); got != big {
						t.Fatalf("got %d bytes, want %d", len(got), len(big))
					}
					if r := <-f.results; r.Reused != (i > 0 && (to == HTTP2 || tt.name != "until the end")) {
						t.Errorf("request %d: reused: got %t", i, r.Reused)
					}
				}
			})
		}
	})
}

func TestTruncatedAnswerAbortsTheClient(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for name, answer := range map[string]string{
			"short of its length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
			"chunked without end": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
			"a bad chunk":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
			"a bad trailer":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx y: z\r\n\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				f := newRig(t, proto, endpoints(answering(t, answer)), Options{})
				req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := f.client.Do(req)
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				if err == nil {
					t.Error("got a whole answer, want an error")
				}
				if r := <-f.results; r.Err == nil {
					t.Errorf("result: got %+v, want an error", r)
				}
				if n := idle(f.pool); n != 0 {
					t.Errorf("idle connections: got %d, want 0", n)
				}
			})
		}
	})
}

func TestTLSWithoutCloseNotifyIsATruncation(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{true, false} {
		up := tlsUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
			if !whole {
				c.(*tls.Conn).NetConn().Close() // as somebody in between could
			}
		})
		f := newRig(t, "http1", Config{Endpoints: []string{up}, TLS: TLS{InsecureSkipVerify: true}}, Options{})
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		res, err := f.client.Do(req)
		if err == nil {
			body, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if (err == nil) != whole || (whole && string(body) != "hello") {
			t.Errorf("close_notify %t: got %q, %v", whole, body, err)
		}
	}
}

func TestInformationalResponses(t *testing.T) {
	t.Parallel()
	answer := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nSet-Cookie: early=1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Final: 1\r\n\r\nok"
	t.Run("HTTP/1.1 sees them before the answer", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", endpoints(answering(t, answer)), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		all, err := io.ReadAll(br)
		if err != nil {
			t.Fatal(err)
		}
		if want := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"; !strings.HasPrefix(string(all), want) || strings.Contains(string(all), "Hop") {
			t.Errorf("got %q, want it to start with %q", all, want)
		}
	})
	t.Run("HTTP/1.0 does not", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", endpoints(answering(t, answer)), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(br)
		if err != nil || !strings.HasPrefix(string(all), "HTTP/1.0 200 OK\r\n") {
			t.Errorf("got %q, %v", all, err)
		}
	})
	t.Run("the gateway's own fields stay for the answer", func(t *testing.T) {
		t.Parallel()
		pool, err := NewPool("x", endpoints(answering(t, answer)))
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		w := &informational{ResponseRecorder: httptest.NewRecorder()}
		w.Header().Set("X-Gateway", "1")
		pool.Handler(Options{Deny: deny}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://x/", nil))
		if diff := cmp.Diff(w.seen, []http.Header{{"Link": {"</a.css>"}}}); diff != "" {
			t.Errorf("1xx (-got +want):\n%s", diff)
		}
		if h := w.Result().Header; h.Get("X-Gateway") != "1" || h.Get("Link") != "" || h.Get("X-Final") != "1" {
			t.Errorf("final: got %v", h)
		}
	})
}

// informational keeps the headers of 1xx responses.
type informational struct {
	*httptest.ResponseRecorder
	seen []http.Header
}

func (w *informational) WriteHeader(code int) {
	if code < 200 {
		w.seen = append(w.seen, w.Header().Clone())
		return
	}
	w.ResponseRecorder.WriteHeader(code)
}

func TestTrailersAreRelayed(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		f := newRig(t, proto, to.config(t, answering(t, "HTTP/1.1 200 OK\r\nTrailer: X-Known, Content-Length\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"+
			"2\r\nok\r\n0\r\nX-Known: 1\r\nX-Unknown: 2\r\nX-Unknown: 3\r\nSet-Cookie: no\r\n\r\n")), Options{})
		for range 2 {
			res, body := f.do(t, "GET", "/", nil)
			if body != "ok" {
				t.Errorf("body: got %q", body)
			}
			if diff := cmp.Diff(res.Trailer, http.Header{"X-Known": {"1"}, "X-Unknown": {"2", "3"}}); diff != "" {
				t.Errorf("trailer (-got +want):\n%s", diff)
			}
		}
	})
}

func TestServerSentEventsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		for _, framing := range []string{"Transfer-Encoding: chunked", "X-None: 1", "Content-Length: 26"} {
			t.Run(framing, func(t *testing.T) {
				step := make(chan struct{})
				frame := func(s string) string {
					if strings.HasPrefix(framing, "Transfer") {
						return fmt.Sprintf("%x\r\n%s\r\n", len(s), s)
					}
					return s
				}
				up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
					readRequest(br)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"+framing+"\r\n\r\n")
					<-step
					io.WriteString(c, frame("data: first\n\n"))
					<-step
					io.WriteString(c, frame("data: other\n\n"))
					if strings.HasPrefix(framing, "Transfer") {
						io.WriteString(c, "0\r\n\r\n")
					}
				})
				f := newRig(t, proto, to.config(t, up), Options{})
				req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := f.client.Do(req) // the head alone
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				buf := make([]byte, 13)
				for _, want := range []string{"data: first\n\n", "data: other\n\n"} {
					step <- struct{}{}
					if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != want {
						t.Fatalf("got %q, %v; want %q", buf, err, want)
					}
				}
			})
		}
	})
}

func TestASizedAnswerIsFlushedWhenTheUpstreamPauses(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		goOn := make(chan struct{})
		up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			<-goOn
			io.WriteString(c, "world")
		})
		f := newRig(t, proto, to.config(t, up), Options{})
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		buf := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, buf); err != nil {
			t.Fatal(err)
		}
		close(goOn)
		if rest, err := io.ReadAll(res.Body); err != nil || string(buf)+string(rest) != "helloworld" {
			t.Errorf("got %q and %q, %v", buf, rest, err)
		}
	})
}

func TestTheClientLeavingEndsTheUpstreamsConnection(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		for _, head := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
			t.Run(fmt.Sprintf("after %.15q", head), func(t *testing.T) {
				got, ended := make(chan struct{}), make(chan error, 1)
				up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
					readRequest(br)
					io.WriteString(c, head)
					close(got)
					_, err := br.ReadByte()
					ended <- err
				})
				f := newRig(t, proto, to.config(t, up), Options{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, "GET", f.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				over := make(chan struct{})
				go func() {
					defer close(over)
					if res, err := f.client.Do(req); err == nil {
						io.ReadAll(res.Body)
						res.Body.Close()
					}
				}()
				<-got
				cancel()
				if err := <-ended; err == nil {
					t.Error("upstream read a byte, want the end")
				}
				<-over
				r := <-f.results
				var e *Error
				if !errors.As(r.Err, &e) || e.Reason != ReasonClientGone || e.HTTPStatus() != 499 {
					t.Errorf("result: got %+v, want %s", r, ReasonClientGone)
				}
			})
		}
	})
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	silent := func(head string) string {
		return rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, head)
			br.ReadByte()
		})
	}
	for _, tt := range []struct {
		name, head string
		status     int
	}{
		{"no head", "", 504},
		{"half a head", "HTTP/1.1 200", 504},
		{"only an early hint", "HTTP/1.1 103 x\r\n\r\n", 504},
		{"half a sized body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200},
		{"half a chunked body", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "http1", Config{Endpoints: []string{silent(tt.head)}, ResponseTimeout: "60ms"}, Options{})
			req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := f.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			_, err = io.ReadAll(res.Body)
			if res.StatusCode != tt.status || (err != nil) != (tt.status == 200) {
				t.Errorf("got %d, %v; want %d", res.StatusCode, err, tt.status)
			}
			var e *Error
			if r := <-f.results; !errors.As(r.Err, &e) || e.Reason != ReasonTimeout {
				t.Errorf("result: got %v, want %s", r.Err, ReasonTimeout)
			}
		})
	}
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		// A listener that does not answer a handshake.
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f := newRig(t, "http1", Config{Endpoints: []string{"https://" + ln.Addr().String()}, ConnectTimeout: "50ms"}, Options{})
		if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 502 || res.Header.Get("X-Reason") != string(ReasonTLSTimeout) {
			t.Errorf("got %d %s, want 502 tls_timeout", res.StatusCode, res.Header.Get("X-Reason"))
		}
	})
}

func TestAClosedPoolRefuses(t *testing.T) {
	t.Parallel()
	f := newRig(t, "http1", endpoints(echoHead(t)), Options{})
	f.do(t, "GET", "/", nil)
	f.pool.Close()
	if n := idle(f.pool); n != 0 {
		t.Errorf("idle connections: got %d, want 0", n)
	}
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 503 || res.Header.Get("X-Reason") != string(ReasonClosed) {
		t.Errorf("got %d %s, want 503", res.StatusCode, res.Header.Get("X-Reason"))
	}
}
