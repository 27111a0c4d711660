package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

func TestBadAnswersOverHTTP2(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for _, tt := range []struct {
			name   string
			answer func(p *h2Peer, id uint32)
			reason Reason
		}{
			{"Connection", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "connection", "close") }, ReasonMalformed},
			{"Transfer-Encoding", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "transfer-encoding", "chunked") }, ReasonMalformed},
			{"Upgrade", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "upgrade", "websocket") }, ReasonMalformed},
			{"a name in upper case", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "X-A", "1") }, ReasonMalformed},
			{"a name that is no token", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "x a", "1") }, ReasonMalformed},
			{"a line break in a value", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "x-a", "1\r\nx-b: 2") }, ReasonMalformed},
			{"a NUL in a value", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "x-a", "1\x00") }, ReasonMalformed},
			{"no status", func(p *h2Peer, id uint32) { p.head(id, true, "x-a", "1") }, ReasonMalformed},
			{"a status of letters", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "abc") }, ReasonMalformed},
			{"a status of two digits", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "20") }, ReasonMalformed},
			{"a status with a sign", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "+200") }, ReasonMalformed},
			{"a status of four digits", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "2000") }, ReasonMalformed},
			{"a status below 100", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "099") }, ReasonMalformed},
			{"101", func(p *h2Peer, id uint32) { p.head(id, false, ":status", "101") }, ReasonMalformed},
			{"a request's pseudo field", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", ":path", "/") }, ReasonMalformed},
			{"a length that is no number", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "content-length", "+5") }, ReasonMalformed},
			{"two lengths", func(p *h2Peer, id uint32) {
				p.head(id, true, ":status", "200", "content-length", "5", "content-length", "6")
			}, ReasonMalformed},
			{"informational responses without end", func(p *h2Peer, id uint32) {
				for range 1000 {
					p.head(id, false, ":status", "103", "link", "x")
				}
			}, ReasonMalformed},
			{"an informational response that ends the stream", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "103") }, ReasonMalformed},
			{"data before the head", func(p *h2Peer, id uint32) { p.data(id, true, "hello") }, ReasonMalformed},
			{"a value over 64 KiB", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "x-a", strings.Repeat("a", 70<<10)) }, ReasonMalformed},
			{"a head over 64 KiB", func(p *h2Peer, id uint32) {
				p.head(id, true, ":status", "200", "x-a", strings.Repeat("a", 50<<10), "x-b", strings.Repeat("a", 50<<10))
			}, ReasonHeadTooLarge},
			{"many fields", func(p *h2Peer, id uint32) {
				p.head(id, true, append([]string{":status", "200"}, slices.Repeat([]string{"x-a", ""}, 3000)...)...)
			}, ReasonHeadTooLarge},
			{"a reset", func(p *h2Peer, id uint32) { p.fr.WriteRSTStream(id, http2.ErrCodeInternal) }, ReasonNoResponse},
			{"refusals without end", func(p *h2Peer, id uint32) { p.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, ReasonNoResponse},
			{"the end of the connection", func(p *h2Peer, _ uint32) { p.c.Close() }, ReasonNoResponse},
			{"GOAWAY and the end", func(p *h2Peer, id uint32) { p.fr.WriteGoAway(id, http2.ErrCodeInternal, nil); p.c.Close() }, ReasonNoResponse},
			{"GOAWAY without end", func(p *h2Peer, id uint32) { p.fr.WriteGoAway(id-1, http2.ErrCodeNo, nil) }, ReasonNoResponse},
			{"a compression error", func(p *h2Peer, id uint32) {
				p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true, EndStream: true})
			}, ReasonMalformed},
			{"a frame that is too large", func(p *h2Peer, id uint32) {
				p.fr.AllowIllegalWrites = true
				p.fr.WriteRawFrame(http2.FrameData, 0, id, make([]byte, 1<<20))
			}, ReasonMalformed},
			{"a push", func(p *h2Peer, id uint32) {
				p.fr.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true, BlockFragment: []byte{0x88}})
			}, ReasonMalformed},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				f := newRig(t, proto, answersH2(t, tt.answer), Options{})
				for range 2 {
					res, _ := f.do(t, "POST", "/", strings.NewReader("x"))
					if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != 502 || got != tt.reason {
						t.Errorf("got %d %s (%v), want 502 %s", res.StatusCode, got, (<-f.results).Err, tt.reason)
					}
				}
			})
		}
	})
}

func TestAnUpstreamThatDoesNotSpeakHTTP2(t *testing.T) {
	t.Parallel()
	plain := answering(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	for _, tt := range []struct {
		name   string
		cfg    Config
		reason []Reason
	}{
		{"without TLS", Config{Endpoints: []string{plain}, Protocol: HTTP2}, []Reason{ReasonMalformed, ReasonNoResponse}},
		{"by ALPN", Config{Endpoints: []string{secure.URL}, Protocol: HTTP2, TLS: TLS{CA: caFile(t, secure.Certificate())}}, []Reason{ReasonTLS}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "http1", tt.cfg, Options{})
			res, _ := f.do(t, "GET", "/", nil)
			if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != 502 || !slices.Contains(tt.reason, got) {
				t.Errorf("got %d %s (%v), want 502 %v", res.StatusCode, got, (<-f.results).Err, tt.reason)
			}
		})
	}
}

func TestAnAnswerThatEndsBadlyOverHTTP2(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for _, tt := range []struct {
			name   string
			answer func(p *h2Peer, id uint32)
		}{
			{"short of its length", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200", "content-length", "9")
				p.data(id, true, "hello")
			}},
			{"nothing of its length", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "content-length", "9") }},
			{"short of a length said twice", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200", "content-length", "9", "content-length", "9")
				p.data(id, true, "hello")
			}},
			{"longer than its length", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200", "content-length", "3")
				p.data(id, true, "hello")
			}},
			{"longer than a length said twice", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200", "content-length", "3", "content-length", "3")
				p.data(id, true, "hello")
			}},
			{"a reset", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200")
				p.data(id, false, "hello")
				p.fr.WriteRSTStream(id, http2.ErrCodeInternal)
			}},
			{"the end of the connection", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200")
				p.data(id, false, "hello")
				p.c.Close()
			}},
			{"a trailer section with a pseudo field", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200")
				p.head(id, true, ":status", "200")
			}},
			{"a second head", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200")
				p.head(id, false, "x-a", "1")
			}},
			{"a trailer section over 64 KiB", func(p *h2Peer, id uint32) {
				p.head(id, false, ":status", "200")
				p.head(id, true, "x-a", strings.Repeat("a", 70<<10))
				p.fr.WriteRSTStream(id, http2.ErrCodeInternal)
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				f := newRig(t, proto, answersH2(t, tt.answer), Options{})
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
					t.Errorf("got a whole answer, %s, want an error", res.Status)
				}
				var e *Error
				if r := <-f.results; !errors.As(r.Err, &e) {
					t.Errorf("result: got %+v, want an error", r)
				}
			})
		}
	})
}

func TestRequestsOverHTTP2(t *testing.T) {
	t.Parallel()
	heads := make(chan *http2.MetaHeadersFrame, 1)
	cfg := framed(t, nil, func(_ int, p *h2Peer) {
		for f := p.request(); f != nil; f = p.request() {
			heads <- f
			p.head(f.StreamID, true, ":status", "204")
		}
	})
	for _, tt := range []struct {
		name, raw string
		opts      Options
		want      string
	}{
		{
			"what the upstream is told of the client",
			"GET /p HTTP/1.1\r\nHost: app.test\r\n\r\n",
			Options{},
			"GET /p app.test|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
		{
			"hop-by-hop fields end here, but TE: trailers",
			"GET /p HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, X-Hop, te\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip, trailers\r\nTrailer: X\r\n" +
				"Proxy-Connection: x\r\nProxy-Authorization: x\r\nUpgrade: foo\r\nHTTP2-Settings: x\r\nX-End: 1\r\nUser-Agent: u\r\n\r\n",
			Options{},
			"GET /p app.test|te: trailers|user-agent: u|via: 1.1 gatehouse|x-end: 1|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
		{
			"a path and a query go byte for byte",
			"GET /a%2Fb/%7euser/c?x=1;y=%zz&& HTTP/1.1\r\nHost: app.test\r\n\r\n",
			Options{},
			"GET /a%2Fb/%7euser/c?x=1;y=%zz&& app.test|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
		{
			"a path that begins with two slashes is no host",
			"GET //evil.test/p? HTTP/1.1\r\nHost: app.test\r\n\r\n",
			Options{},
			"GET //evil.test/p? app.test|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
		{
			"Out has the last word",
			"GET /p HTTP/1.1\r\nHost: app.test\r\nX-Id: mallory\r\nx-id: mallory\r\n\r\n",
			Options{Out: func(_ *http.Request, out http.Header) error { out.Set("X-Id", "alice"); return nil }},
			"GET /p app.test|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http|x-id: alice",
		},
		{
			"a POST without a body says so",
			"POST /p HTTP/1.1\r\nHost: app.test\r\n\r\n",
			Options{},
			"POST /p app.test|content-length: 0|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
		{
			"a WebSocket handshake is an ordinary request",
			"GET /p HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
			Options{WebSocket: true},
			"GET /p app.test|sec-websocket-version: 13|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
		{
			"OPTIONS *",
			"OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n",
			Options{},
			"OPTIONS * app.test|via: 1.1 gatehouse|x-forwarded-for: 127.0.0.1|x-forwarded-host: app.test|x-forwarded-port: PORT|x-forwarded-proto: http",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newRig(t, "http1", cfg, tt.opts)
			f.Config.DisableGeneralOptionsHandler = true
			if res, _ := f.send(t, tt.raw); res.StatusCode != 204 {
				t.Fatalf("got %d (%v), want 204", res.StatusCode, (<-f.results).Err)
			}
			h := <-heads
			_, port, _ := net.SplitHostPort(f.Listener.Addr().String())
			var lines []string
			for _, field := range h.RegularFields() {
				lines = append(lines, field.Name+": "+field.Value)
			}
			slices.Sort(lines)
			got := strings.Join(append([]string{h.PseudoValue("method") + " " + h.PseudoValue("path") + " " + h.PseudoValue("authority")}, lines...), "|")
			if want := strings.ReplaceAll(tt.want, "PORT", port); got != want {
				t.Errorf("upstream saw\n%s, want\n%s", got, want)
			}
		})
	}
}

func TestNothingIsSentOverHTTP2OfARequestThatIsRefused(t *testing.T) {
	t.Parallel()
	cfg := framed(t, nil, func(_ int, p *h2Peer) {
		if f := p.request(); f != nil {
			t.Errorf("upstream got %v", f.Fields)
		}
	})
	for name, out := range map[string]func(http.Header){
		"framing":                   func(h http.Header) { h["content-length"] = []string{"5"} },
		"Te":                        func(h http.Header) { h["TE"] = []string{"gzip"} },
		"a line break":              func(h http.Header) { h.Set("X-A", "b\r\nX-C: d") },
		"a pseudo field":            func(h http.Header) { h[":path"] = []string{"/admin"} },
		"a name that is not a name": func(h http.Header) { h["X A"] = []string{"d"} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newRig(t, "http1", cfg, Options{Out: func(_ *http.Request, h http.Header) error { out(h); return nil }})
			if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 500 && res.StatusCode != 400 {
				t.Errorf("got %d, want 400 or 500", res.StatusCode)
			}
		})
	}
}

func TestTrailersOverHTTP2(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		f := newRig(t, proto, answersH2(t, func(p *h2Peer, id uint32) {
			p.head(id, false, ":status", "200", "trailer", "X-Known, Content-Length")
			p.data(id, false, "ok")
			p.head(id, true, "x-known", "1", "x-unknown", "2", "x-unknown", "3", "set-cookie", "no", "content-length", "7", "transfer-encoding", "chunked",
				"connection", "close", "host", "evil")
		}), Options{})
		res, body := f.do(t, "GET", "/", nil)
		if body != "ok" {
			t.Errorf("body: got %q", body)
		}
		if diff := cmp.Diff(res.Trailer, http.Header{"X-Known": {"1"}, "X-Unknown": {"2", "3"}}); diff != "" {
			t.Errorf("trailer (-got +want):\n%s", diff)
		}
	})
}

func TestInformationalResponsesOverHTTP2(t *testing.T) {
	t.Parallel()
	f := newRig(t, "http1", answersH2(t, func(p *h2Peer, id uint32) {
		p.head(id, false, ":status", "103", "link", "</a.css>", "set-cookie", "early=1")
		p.head(id, false, ":status", "100")
		p.head(id, false, ":status", "200", "content-length", "2")
		p.data(id, true, "ok")
	}), Options{})
	c, br := f.rawDial(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	all, err := io.ReadAll(br)
	if want := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"; err != nil || !strings.HasPrefix(string(all), want) {
		t.Errorf("got %q, %v, want it to start with %q", all, err, want)
	}
}

func TestExpectContinueOverHTTP2(t *testing.T) {
	t.Parallel()
	const request = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
	t.Run("the upstream's word is passed on", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", answersH2(t, func(p *h2Peer, id uint32) {
			p.head(id, false, ":status", "100")
			if d, ok := p.read().(*http2.DataFrame); !ok || string(d.Data()) != "hello" || !d.StreamEnded() {
				t.Errorf("upstream got %v", d)
			}
			p.head(id, true, ":status", "204")
		}), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, request)
		if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		io.WriteString(c, "hello")
		all, err := io.ReadAll(br)
		if err != nil || !strings.HasPrefix(string(all), "\r\nHTTP/1.1 204 ") {
			t.Errorf("got %q, %v", all, err)
		}
	})
	t.Run("a refusal needs no body", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", answersH2(t, func(p *h2Peer, id uint32) {
			p.head(id, false, ":status", "401", "content-length", "2")
			p.data(id, true, "no")
			if d, ok := p.read().(*http2.DataFrame); ok {
				t.Errorf("upstream got %q", d.Data())
			}
		}), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, request)
		all, err := io.ReadAll(br)
		if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 401 ") || !strings.Contains(string(all), "Connection: close\r\n") || !strings.HasSuffix(string(all), "\r\n\r\nno") {
			t.Errorf("got %q, %v", all, err)
		}
	})
}

func TestCancellationOverHTTP2(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for _, after := range []string{"the request", "the head", "some of the body"} {
			t.Run("after "+after, func(t *testing.T) {
				got, code := make(chan struct{}), make(chan http2.ErrCode, 1)
				f := newRig(t, proto, answersH2(t, func(p *h2Peer, id uint32) {
					if after != "the request" {
						p.head(id, false, ":status", "200")
					}
					if after == "some of the body" {
						p.data(id, false, "hello")
					}
					close(got)
					code <- p.reset(id)
				}), Options{})
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
				if c := <-code; c != http2.ErrCodeCancel {
					t.Errorf("upstream: got %v, want CANCEL", c)
				}
				<-over
				var e *Error
				if r := <-f.results; !errors.As(r.Err, &e) || e.Reason != ReasonClientGone {
					t.Errorf("result: got %+v, want %s", r, ReasonClientGone)
				}
			})
		}
	})
}

// A request that the upstream has not looked at is sent again, whatever its method, if its body can be.
func TestRequestsThatAreSentAgainOverHTTP2(t *testing.T) {
	t.Parallel()
	refuse := func(p *h2Peer, id uint32) { p.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) }
	late := func(p *h2Peer, id uint32) { // when some of the body has been read
		p.read()
		refuse(p, id)
	}
	goAway := func(p *h2Peer, _ uint32) { p.fr.WriteGoAway(0, http2.ErrCodeNo, nil) }
	for _, tt := range []struct {
		name, method, body string
		refuse             func(p *h2Peer, id uint32)
		status             int
	}{
		{"a refused POST", "POST", "hello", refuse, 200},
		{"a POST that came after GOAWAY", "POST", "hello", goAway, 200},
		{"a refused POST with a long body", "POST", strings.Repeat("a", 1<<20), late, 502},
		{"a POST that was reset otherwise", "POST", "hello", func(p *h2Peer, id uint32) { p.fr.WriteRSTStream(id, http2.ErrCodeInternal) }, 502},
		{"a POST on a connection that died", "POST", "hello", func(p *h2Peer, _ uint32) { p.c.Close() }, 502},
		{"a GET on a connection that was there and died", "GET", "", func(p *h2Peer, _ uint32) { p.c.Close() }, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			f := newRig(t, "http1", framed(t, nil, func(_ int, p *h2Peer) {
				for f := p.request(); f != nil; f = p.request() {
					if requests.Add(1) == 2 {
						tt.refuse(p, f.StreamID)
						continue
					}
					p.head(f.StreamID, true, ":status", "200")
				}
			}), Options{})
			f.do(t, "GET", "/", nil) // the second request comes on a connection that is there
			<-f.results
			var body io.Reader
			if tt.body != "" {
				body = strings.NewReader(tt.body)
			}
			res, _ := f.do(t, tt.method, "/", body)
			want := 2
			if tt.status != 200 {
				want = 1
			}
			if r := <-f.results; res.StatusCode != tt.status || r.Attempts != want {
				t.Errorf("got %d after %d attempts (%v), want %d after %d", res.StatusCode, r.Attempts, r.Err, tt.status, want)
			}
		})
	}
}

// That an upstream had not looked at a request says nothing of the next time that it was sent.
func TestARequestThatWasAnsweredIsNotSentAgainOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(p *h2Peer, id uint32){
		"badly":                    func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "connection", "close") },
		"with 1xx that may not be": func(p *h2Peer, id uint32) { p.head(id, false, ":status", "101") },
		"with two lengths": func(p *h2Peer, id uint32) {
			p.head(id, true, ":status", "200", "content-length", "1", "content-length", "2")
		},
		"with a head that is no head": func(p *h2Peer, id uint32) { p.head(id, true, ":status", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			f := newRig(t, "http1", answersH2(t, func(p *h2Peer, id uint32) {
				if requests.Add(1) == 1 {
					p.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)
					return
				}
				answer(p, id)
			}), Options{})
			res, _ := f.do(t, "POST", "/", strings.NewReader("hello"))
			if r := <-f.results; res.StatusCode != 502 || r.Attempts != 2 {
				t.Errorf("got %d in %d attempts (%v), want 502 in 2", res.StatusCode, r.Attempts, r.Err)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("the upstream got %d requests, want 2", n)
			}
		})
	}
}

func TestOneRequestDoesNotShowWhatAnotherHad(t *testing.T) {
	t.Parallel()
	sizes := make(chan uint32, 2)
	cfg := framed(t, nil, func(_ int, p *h2Peer) {
		p.fr.ReadMetaHeaders = nil
		for {
			switch f := p.read().(type) {
			case nil:
				return
			case *http2.HeadersFrame:
				sizes <- f.Length
				p.head(f.StreamID, true, ":status", "204")
			}
		}
	})
	f := newRig(t, "http1", cfg, Options{})
	for range 2 {
		f.do(t, "GET", "/", nil, "X-Secret", "correct horse battery staple")
	}
	if first, second := <-sizes, <-sizes; second < first-2 { // the first has a change of the table's size
		t.Errorf("the same request has %d bytes, then %d: it was compressed with what went before", first, second)
	}
}

func TestTimeoutsOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		answer     func(p *h2Peer, id uint32)
		status     int
	}{
		{"no head", "", func(*h2Peer, uint32) {}, 504},
		{"only an early hint", "", func(p *h2Peer, id uint32) { p.head(id, false, ":status", "103") }, 504},
		{"half a body", "", func(p *h2Peer, id uint32) { p.head(id, false, ":status", "200"); p.data(id, false, "hello") }, 200},
		{"no room for the request's body", strings.Repeat("a", 1<<20), func(*h2Peer, uint32) {}, 504},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var conns atomic.Int64
			cfg := framed(t, nil, func(_ int, p *h2Peer) {
				conns.Add(1)
				for f := p.request(); f != nil; f = p.request() {
					tt.answer(p, f.StreamID)
				}
			})
			cfg.ResponseTimeout = "60ms"
			f := newRig(t, "http1", cfg, Options{})
			for range 2 {
				req, err := http.NewRequestWithContext(t.Context(), "POST", f.URL, strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				res, err := f.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != tt.status || (err != nil) != (tt.status == 200) {
					t.Errorf("got %d, %v; want %d", res.StatusCode, err, tt.status)
				}
				var e *Error
				if r := <-f.results; !errors.As(r.Err, &e) || e.Reason != ReasonTimeout {
					t.Errorf("result: got %v, want %s", r.Err, ReasonTimeout)
				}
			}
			// A connection of which nothing came at all may be dead: the next request does not go there.
			if want := map[string]int64{"no head": 2, "no room for the request's body": 2}[tt.name]; want > 0 && conns.Load() != want {
				t.Errorf("connections: got %d, want %d", conns.Load(), want)
			}
		})
	}
}

func TestTLSEndpointsOverHTTP2(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.TLS.ServerName)
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	t.Cleanup(up.Close)
	for _, tt := range []struct {
		name   string
		tls    TLS
		status int
		reason Reason
	}{
		{"verified", TLS{CA: caFile(t, up.Certificate()), ServerName: "example.com"}, 200, ""},
		{"the wrong name", TLS{CA: caFile(t, up.Certificate()), ServerName: "other.test"}, 502, ReasonTLS},
		{"an unknown authority", TLS{}, 502, ReasonTLS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "http1", Config{Endpoints: []string{up.URL}, TLS: tt.tls, Protocol: HTTP2}, Options{})
			res, body := f.do(t, "GET", "/", nil)
			if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != tt.status || got != tt.reason {
				t.Errorf("got %d %s, want %d %s", res.StatusCode, got, tt.status, tt.reason)
			}
			if want := "HTTP/2.0 example.com"; tt.status == 200 && body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		})
	}
}

// A client that does not read stops its own stream, and nobody else on the connection.
func TestFlowControlOverHTTP2(t *testing.T) {
	t.Parallel()
	const big = 16 << 20
	f := newRig(t, "http1", Config{Endpoints: []string{h2Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			io.CopyN(w, zeros{}, big)
		}
	}))}, Protocol: HTTP2}, Options{})
	c, br := f.rawDial(t)
	io.WriteString(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := br.ReadString('\n'); err != nil { // it is on its way
		t.Fatal(err)
	}
	for range 20 {
		if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 200 {
			t.Fatalf("got %d, want 200", res.StatusCode)
		}
		if r := <-f.results; !r.Reused || r.Protocol != "HTTP/2.0" {
			t.Errorf("result: got %+v, want the same connection", r)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\n"), br)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != big {
		t.Errorf("got %d bytes, %v; want %d", n, err, big)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func BenchmarkHTTP2(b *testing.B) {
	for _, size := range []int{0, 10 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			body := make([]byte, size)
			pool, err := NewPool("x", Config{Protocol: HTTP2, Endpoints: []string{h2Upstream(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Write(body)
			}))}})
			if err != nil {
				b.Fatal(err)
			}
			defer pool.Close()
			h := pool.Handler(Options{Deny: deny})
			r := httptest.NewRequestWithContext(b.Context(), "GET", "http://x/", nil)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(&nullWriter{h: http.Header{}}, r)
			}
		})
	}
}
