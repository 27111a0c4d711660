package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A must is a requirement that RFC 9110 or RFC 9112 has of an intermediary, and what shows that it is met.
type must struct {
	section string // "9110 7.6.1"
	what    string
	raw     string                    // the request in HTTP/1.1; its path is put in for PATH, the host for HOST
	also    bool                      // HTTP/2 can say it too
	reply   string                    // the upstream's, after which it closes; default 200 with the body "ok"
	status  int                       // what the client gets; 0 is no complete answer
	unsent  bool                      // nothing reaches the upstream
	sent    func(r seenRequest) error // what the upstream gets
	got     func(a wholeAnswer) error // what the client gets beside the status
}

// A wholeAnswer is everything that came back on one connection or stream.
type wholeAnswer struct {
	answer
	raw   string // HTTP/1.1 only
	whole bool   // the message is complete
}

// A scriptedUpstream answers a request by its path and closes the connection.
type scriptedUpstream struct {
	ln net.Listener

	mu      sync.Mutex
	replies map[string]string
	seen    map[string]seenRequest
}

func startScripted(t *testing.T) *scriptedUpstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	u := &scriptedUpstream{ln: ln, replies: map[string]string{}, seen: map[string]seenRequest{}}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go u.serve(conn)
		}
	}()
	return u
}

func (u *scriptedUpstream) serve(conn net.Conn) {
	defer conn.Close()
	req, err := readSeen(bufio.NewReader(conn))
	if err != nil {
		return
	}
	path, _, _ := strings.Cut(req.target(), "?")
	u.mu.Lock()
	u.seen[path] = req
	reply, found := u.replies[path]
	u.mu.Unlock()
	if !found {
		reply = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	}
	_, _ = io.WriteString(conn, reply)
}

// expect sets what is answered for a path and forgets what was sent for it.
func (u *scriptedUpstream) expect(path, reply string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.seen, path)
	if reply != "" {
		u.replies[path] = reply
	}
}

func (u *scriptedUpstream) received(path string) (seenRequest, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, found := u.seen[path]
	return r, found
}

const (
	head11 = " PATH HTTP/1.1\r\nHost: HOST\r\n"
	ok200  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	two    = "Content-Length: 2\r\n\r\nok"
)

// absent is what a hop must not have been told.
func absent(names ...string) func(seenRequest) error {
	return func(r seenRequest) error {
		for _, name := range names {
			if v := r.values(name); len(v) > 0 {
				return fmt.Errorf("the upstream gets %s: %q", name, v)
			}
		}
		return nil
	}
}

// with is what it must have been told, once and with this value.
func with(name, value string) func(seenRequest) error {
	return func(r seenRequest) error {
		if v := r.values(name); !slices.Equal(v, []string{value}) {
			return fmt.Errorf("%s that the upstream gets: got %q, want %q", name, v, value)
		}
		return nil
	}
}

// fieldIs is what the client must have been told; no values is nothing.
func fieldIs(name string, values ...string) func(wholeAnswer) error {
	return func(a wholeAnswer) error {
		if v := a.header.Values(name); !slices.Equal(v, values) {
			return fmt.Errorf("%s that the client gets: got %q, want %q", name, v, values)
		}
		return nil
	}
}

func bodyIs(want string) func(wholeAnswer) error {
	return func(a wholeAnswer) error {
		if a.body != want {
			return fmt.Errorf("body: got %q, want %q", a.body, want)
		}
		return nil
	}
}

// rawHas and rawLacks look at an HTTP/1.1 answer as it was written.
func rawHas(part string) func(wholeAnswer) error {
	return func(a wholeAnswer) error {
		if a.raw != "" && !strings.Contains(strings.ToLower(a.raw), part) {
			return fmt.Errorf("want %q in %.300q", part, a.raw)
		}
		return nil
	}
}

func rawLacks(part string) func(wholeAnswer) error {
	return func(a wholeAnswer) error {
		if strings.Contains(strings.ToLower(a.raw), part) {
			return fmt.Errorf("want no %q in %.300q", part, a.raw)
		}
		return nil
	}
}

func allOf[T any](checks ...func(T) error) func(T) error {
	return func(v T) error {
		for _, check := range checks {
			if err := check(v); err != nil {
				return err
			}
		}
		return nil
	}
}

// musts are in the order of the documents. Those that need a client or an upstream that pauses stand in the packages:
// docs/protocols.md has them all.
var musts = []must{
	{section: "9110 5.5", what: "NUL in a value", raw: "GET" + head11 + "X-A: a\x00b\r\n\r\n", status: 400, unsent: true},
	{section: "9110 5.5", what: "CR in a value", raw: "GET" + head11 + "X-A: a\rb\r\n\r\n", status: 400, unsent: true},
	{section: "9110 5.5", what: "NUL in a value of an answer", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "X-A: a\x00b\r\n" + two, status: 502},
	{section: "9110 5.5", what: "CR in a value of an answer", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "X-A: a\rb\r\n" + two, status: 502},
	{
		section: "9110 6.5.1", what: "trailers are not merged into the head",
		raw:    "POST" + head11 + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Late: 1\r\n\r\n",
		status: 200, sent: absent("X-Late"),
	},
	{
		section: "9110 7.6.1", what: "fields of the hop, and those that Connection names",
		raw:    "GET" + head11 + "Connection: X-Hop, TE\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nX-End: 1\r\n\r\n",
		status: 200, sent: allOf(absent("Connection", "X-Hop", "TE", "Keep-Alive", "Proxy-Connection"), with("X-End", "1")),
	},
	{
		section: "9110 7.6.1", what: "the same of an answer", raw: "GET" + head11 + "\r\n", also: true,
		reply:  ok200 + "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-End: 1\r\n" + two,
		status: 200, got: allOf(fieldIs("X-Hop"), fieldIs("Keep-Alive"), fieldIs("Proxy-Connection"), fieldIs("X-End", "1"), bodyIs("ok")),
	},
	{section: "9110 7.6.2", what: "OPTIONS with Max-Forwards: 0 goes no further", raw: "OPTIONS" + head11 + "Max-Forwards: 0\r\n\r\n", also: true, status: 204, unsent: true},
	{section: "9110 7.6.2", what: "Max-Forwards counts down", raw: "OPTIONS" + head11 + "Max-Forwards: 3\r\n\r\n", also: true, status: 200, sent: with("Max-Forwards", "2")},
	{section: "9110 7.6.3", what: "Via", raw: "GET" + head11 + "Via: 1.0 before\r\n\r\n", status: 200, sent: with("Via", "1.0 before, 1.1 gatehouse")},
	{
		section: "9110 7.7", what: "the query and content stay as they are", raw: "GET" + strings.Replace(head11, "PATH", "PATH?b=%41&&a=%2f;+x", 1) + "\r\n", also: true,
		reply: ok200 + "Content-Encoding: gzip\r\nCache-Control: no-transform\r\n" + two, status: 200,
		sent: func(r seenRequest) error {
			if _, query, _ := strings.Cut(r.target(), "?"); query != "b=%41&&a=%2f;+x" {
				return fmt.Errorf("query: got %q", query)
			}
			return nil
		},
		got: allOf(bodyIs("ok"), fieldIs("Content-Encoding", "gzip")),
	},
	{section: "9110 8.6", what: "a Content-Length that is no number in an answer", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "Content-Length: 2, 3\r\n\r\nok", status: 502},
	{section: "9110 8.6", what: "no Content-Length in a 204", raw: "GET" + head11 + "\r\n", also: true, reply: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", status: 204, got: allOf(fieldIs("Content-Length"), bodyIs(""))},
	{section: "9110 9.3.2", what: "HEAD has no content and keeps the length", raw: "HEAD" + head11 + "\r\n", also: true, reply: ok200 + "Content-Length: 1234\r\n\r\n", status: 200, got: allOf(fieldIs("Content-Length", "1234"), bodyIs(""))},
	{section: "9110 9.3.6", what: "CONNECT opens no tunnel", raw: "CONNECT HOST:443 HTTP/1.1\r\nHost: HOST:443\r\n\r\n", status: 405, unsent: true},
	{section: "9110 9.3.8", what: "TRACE reflects nothing", raw: "TRACE" + head11 + "Cookie: a=1\r\n\r\n", also: true, status: 405, unsent: true, got: rawLacks("cookie: a=1")},
	{section: "9110 10.1.1", what: "HTTP/1.0 has no Expect", raw: "POST PATH HTTP/1.0\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", status: 200, sent: absent("Expect"), got: rawLacks("100 continue")},
	{
		section: "9110 11.6.1", what: "challenges stay as they are", raw: "GET" + head11 + "Authorization: Basic YTpi\r\n\r\n", also: true,
		reply:  "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Bearer realm=\"b\", error=\"x\"\r\n" + two,
		status: 401, sent: with("Authorization", "Basic YTpi"), got: fieldIs("Www-Authenticate", `Basic realm="a"`, `Bearer realm="b", error="x"`),
	},
	{
		section: "9110 13.2.1", what: "preconditions are the upstream's", raw: "GET" + head11 + "If-None-Match: W/\"a\", \"b\"\r\nIf-Modified-Since: Sat, 28 Nov 2026 10:00:00 GMT\r\n\r\n", also: true,
		reply: "HTTP/1.1 304 Not Modified\r\nETag: \"b\"\r\n\r\n", status: 304,
		sent: allOf(with("If-None-Match", `W/"a", "b"`), with("If-Modified-Since", "Sat, 28 Nov 2026 10:00:00 GMT")), got: allOf(fieldIs("Etag", `"b"`), bodyIs("")),
	},
	{
		section: "9110 14.2", what: "ranges are the upstream's", raw: "GET" + head11 + "Range: bytes=3-4\r\nIf-Range: \"b\"\r\n\r\n", also: true,
		reply: "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-4/9\r\n" + two, status: 206,
		sent: allOf(with("Range", "bytes=3-4"), with("If-Range", `"b"`)), got: allOf(fieldIs("Content-Range", "bytes 3-4/9"), bodyIs("ok")),
	},
	{
		section: "9110 15.2", what: "interim answers are passed on", raw: "GET" + head11 + "\r\n",
		reply: "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + ok200 + two, status: 200, got: allOf(rawHas("http/1.1 103 "), rawHas("link: </a.css>; rel=preload"), bodyIs("ok")),
	},
	{
		section: "9110 15.2", what: "but not to HTTP/1.0", raw: "GET PATH HTTP/1.0\r\nHost: HOST\r\n\r\n",
		reply: "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + ok200 + two, status: 200, got: allOf(rawLacks(" 103 "), bodyIs("ok")),
	},
	{section: "9110 15.2.2", what: "nobody asked for a 101", raw: "GET" + head11 + "\r\n", also: true, reply: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", status: 502},

	{section: "9112 2.2", what: "an empty line before the request", raw: "\r\nGET" + head11 + "\r\n", status: 200, got: bodyIs("ok")},
	{section: "9112 2.2", what: "white space before the first field", raw: "GET PATH HTTP/1.1\r\n X-A: 1\r\nHost: HOST\r\n\r\n", status: 400, unsent: true},
	{section: "9112 2.2", what: "CR alone in the request line", raw: "GET PATH\rX HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 400, unsent: true},
	{
		section: "9112 2.3", what: "the version is the gateway's own", raw: "GET PATH HTTP/1.0\r\nHost: HOST\r\n\r\n", status: 200,
		sent: func(r seenRequest) error {
			if !strings.HasSuffix(r.line, " HTTP/1.1") {
				return fmt.Errorf("request line: got %q", r.line)
			}
			return nil
		},
	},
	{section: "9112 3", what: "two spaces in the request line", raw: "GET  PATH HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 400, unsent: true},
	{section: "9112 3", what: "a target that is too long", raw: "GET PATH/" + strings.Repeat("a", 128<<10) + " HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 414, unsent: true},
	{section: "9112 3.2", what: "no Host", raw: "GET PATH HTTP/1.1\r\nX-A: 1\r\n\r\n", status: 400, unsent: true},
	{section: "9112 3.2", what: "two Hosts", raw: "GET PATH HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", status: 400, unsent: true},
	{section: "9112 3.2", what: "a Host that is none", raw: "GET PATH HTTP/1.1\r\nHost: HOST/x\r\n\r\n", status: 400, unsent: true},
	{
		section: "9112 3.2.2", what: "the absolute form, with its own host", raw: "GET https://HOSTPATH HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 200,
		sent: with("X-Forwarded-Host", appHost),
	},
	{section: "9112 3.2.2", what: "the absolute form, with another Host", raw: "GET https://HOSTPATH HTTP/1.1\r\nHost: other.example\r\n\r\n", status: 400, unsent: true},
	{section: "9112 5.1", what: "white space before a colon", raw: "GET" + head11 + "X-A : 1\r\n\r\n", status: 400, unsent: true},
	{section: "9112 5.1", what: "it is taken out of an answer", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "X-A : 1\r\n" + two, status: 200, got: allOf(fieldIs("X-A", "1"), rawLacks("x-a :"))},
	{section: "9112 5.2", what: "a folded line", raw: "GET" + head11 + "X-A: 1\r\n 2\r\n\r\n", status: 400, unsent: true},
	{section: "9112 5.2", what: "a folded line in an answer", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "X-A: 1\r\n 2\r\n" + two, status: 502},
	{section: "9112 6.1", what: "both lengths", raw: "POST" + head11 + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, unsent: true, got: rawHas("connection: close")},
	{section: "9112 6.1", what: "a coding that is not known", raw: "POST" + head11 + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", status: 501, unsent: true},
	{section: "9112 6.1", what: "chunked is not last", raw: "POST" + head11 + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", status: 400, unsent: true},
	{section: "9112 6.1", what: "Transfer-Encoding in HTTP/1.0", raw: "POST PATH HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, unsent: true},
	{section: "9112 6.1", what: "no Transfer-Encoding to HTTP/1.0", raw: "GET PATH HTTP/1.0\r\nHost: HOST\r\n\r\n", reply: ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", status: 200, got: allOf(rawLacks("transfer-encoding"), bodyIs("ok"))},
	{section: "9112 6.1", what: "both lengths in an answer", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", status: 502},
	{section: "9112 6.3", what: "two lengths", raw: "POST" + head11 + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", status: 400, unsent: true},
	{section: "9112 6.3", what: "a length with a sign", raw: "POST" + head11 + "Content-Length: +2\r\n\r\nab", status: 400, unsent: true},
	{section: "9112 6.3", what: "an answer that ends with its connection", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "\r\nall of it", status: 200, got: bodyIs("all of it")},
	{section: "9112 7.1", what: "extensions of chunks", raw: "POST" + head11 + "Transfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nab\r\n0\r\n\r\n", status: 200, sent: func(r seenRequest) error {
		if r.body != "ab" {
			return fmt.Errorf("body: got %q", r.body)
		}
		return nil
	}},
	{section: "9112 7.1", what: "the size of a chunk overflows", raw: "POST" + head11 + "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n", status: 400, unsent: true},
	{section: "9112 8", what: "an answer that breaks off", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "Content-Length: 60000\r\n\r\n" + strings.Repeat("x", 40000), status: 0},
	{section: "9112 8", what: "chunks that break off", raw: "GET" + head11 + "\r\n", also: true, reply: ok200 + "Transfer-Encoding: chunked\r\n\r\n9c40\r\n" + strings.Repeat("x", 40000) + "\r\n5\r\nab", status: 0},
	{section: "9112 9.3", what: "close is kept to", raw: "GET" + head11 + "Connection: close\r\n\r\nGET /second HTTP/1.1\r\nHost: HOST\r\n\r\n", status: 200, got: allOf(rawHas("connection: close"), bodyIs("ok"))},
	{section: "9112 9.3", what: "HTTP/1.0 does not persist by itself", raw: "GET PATH HTTP/1.0\r\nHost: HOST\r\n\r\nGET /second HTTP/1.0\r\nHost: HOST\r\n\r\n", status: 200, got: bodyIs("ok")},
}

// TestMusts has what RFC 9110 and 9112 demand of an intermediary, through the whole program.
func TestMusts(t *testing.T) {
	t.Parallel()
	u := startScripted(t)
	s := startOpen(t, siteSpec{
		upstream: "http://" + u.ln.Addr().String(),
		routes:   fmt.Sprintf("  - {match: %s, to: u, require: nothing, waf: off, headers: off}", appHost),
	})
	for i, m := range musts {
		for _, h2 := range []bool{false, true} {
			if h2 && !m.also {
				continue
			}
			way := map[bool]string{false: "HTTP1", true: "HTTP2"}[h2]
			t.Run(fmt.Sprintf("RFC%s/%s/%s", strings.ReplaceAll(m.section, " ", "section"), m.what, way), func(t *testing.T) {
				path := fmt.Sprintf("/%s/%d", way, i)
				u.expect(path, m.reply)
				raw := strings.NewReplacer("PATH", path, "HOST", s.host).Replace(m.raw)
				got := s.wholeAnswer(raw, h2)
				if m.status == 0 {
					if got.whole {
						t.Errorf("got %d with %d bytes as if that were all", got.status, len(got.body))
					}
				} else if got.status != m.status || !got.whole {
					t.Errorf("got %d (complete: %v), want %d: %.300q", got.status, got.whole, m.status, got.raw)
				}
				if m.got != nil {
					if err := m.got(got); err != nil {
						t.Error(err)
					}
				}
				sent, reached := u.received(path)
				if reached == m.unsent {
					t.Errorf("reached the upstream: got %v, want %v", reached, !m.unsent)
				}
				if m.sent != nil && reached {
					if err := m.sent(sent); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// wholeAnswer sends a request and reads until the connection or stream ends.
func (s *site) wholeAnswer(raw string, h2 bool) wholeAnswer {
	s.t.Helper()
	if h2 {
		fields, body := toH2(raw)
		a := sendH2(s.t, s.addr, s.host, fields, body)
		return wholeAnswer{answer: a, whole: a.ended}
	}
	conn := dialTLS(s.t, s.addr, s.host, "http/1.1")
	go func() { _, _ = io.WriteString(conn, raw) }()
	var a wholeAnswer
	var all strings.Builder
	method, _, _ := strings.Cut(strings.TrimLeft(raw, "\r\n"), " ")
	r := bufio.NewReader(io.TeeReader(conn, &all))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			a.raw = all.String()
			return a
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		_ = conn.CloseWrite() // of a connection that persists, this is the end; before the answer it would be a client that leaves
		// What follows would be the answer to something that nobody asked.
		_, rest := r.Peek(1)
		a.raw = all.String()
		a.status, a.header, a.body, a.whole = resp.StatusCode, resp.Header, string(body), err == nil && rest == io.EOF
		return a
	}
}
