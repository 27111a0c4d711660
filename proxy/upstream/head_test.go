package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, in string
		want             head
		fields           http.Header
	}{
		{"sized", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head{200, 1, bodySized, 5, true}, nil},
		{"chunked in any case", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked \r\n\r\n", head{200, 1, bodyChunked, 0, true}, nil},
		{"neither is until the end", "GET", "HTTP/1.1 200 OK\r\n\r\n", head{200, 1, bodyUntilEOF, 0, false}, nil},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", head{200, 1, bodySized, 0, false}, nil},
		{"HTTP/1.0 closes", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", head{200, 0, bodySized, 0, false}, nil},
		{"HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", head{200, 0, bodySized, 0, true}, nil},
		{"HEAD has no body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head{200, 1, bodyNone, 0, true}, nil},
		{"204 has no body", "GET", "HTTP/1.1 204 No Content\r\n\r\n", head{204, 1, bodyNone, 0, true}, nil},
		{"304 has no body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", head{304, 1, bodyNone, 0, true}, nil},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", head{200, 1, bodySized, 0, true}, nil},
		{"bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 1\n\n", head{200, 1, bodySized, 1, true}, nil},
		{"equal lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\n\r\n", head{200, 1, bodySized, 5, true}, nil},
		{"space before the colon is removed", "GET", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", head{200, 1, bodySized, 5, true}, nil},
		{
			"fields", "GET", "HTTP/1.1 204 x\r\nset-cookie: a\r\nSET-COOKIE:\tb \r\nX-Empty:\r\nx_y: \xff\r\n\r\n",
			head{204, 1, bodyNone, 0, true},
			http.Header{"Set-Cookie": {"a", "b"}, "X-Empty": {""}, "X_y": {"\xff"}},
		},
		{"a status of its own", "GET", "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", head{999, 1, bodySized, 0, true}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := make(http.Header)
			if n := headEnd([]byte(tt.in), 0); n != len(tt.in) {
				t.Errorf("headEnd: got %d, want %d", n, len(tt.in))
			}
			got, err := parseHead(tt.in, h)
			if err == nil {
				err = got.frame(tt.method, h)
			}
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
			if tt.fields != nil {
				if diff := cmp.Diff(h, tt.fields); diff != "" {
					t.Errorf("fields (-got +want):\n%s", diff)
				}
			}
		})
	}
}

// hostileHeads are answers that have no single reading, or none at all.
var hostileHeads = map[string]string{
	"another version":                  "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/2 in HTTP/1":                 "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.2":                         "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
	"lower-case http":                  "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"another protocol":                 "SSH-2.0-OpenSSH_9.6\r\n\r\n",
	"a TLS alert":                      "\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
	"no code":                          "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
	"a two-digit code":                 "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
	"a four-digit code":                "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
	"a signed code":                    "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
	"code 000":                         "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
	"two spaces before the code":       "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
	"a NUL in the reason":              "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
	"a CR in the reason":               "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
	"Content-Length and chunked":       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"two lengths":                      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
	"two lengths in one field":         "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
	"a signed length":                  "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
	"a negative length":                "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
	"a hexadecimal length":             "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
	"an empty length":                  "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
	"a length with a comma":            "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\nhello",
	"a length beyond 63 bits":          "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nhello",
	"an unknown transfer coding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"chunked twice":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
	"two Transfer-Encoding fields":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"xchunked":                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"an empty Transfer-Encoding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
	"chunked in HTTP/1.0":              "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"a folded field":                   "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
	"a folded first field":             "HTTP/1.1 200 OK\r\n X-A: b\r\nContent-Length: 0\r\n\r\n",
	"a field without a colon":          "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n",
	"an empty field name":              "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n",
	"a space in a field name":          "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
	"a NUL in a value":                 "HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
	"a CR in a value":                  "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n",
	"a control character in a value":   "HTTP/1.1 200 OK\r\nX-A: b\x01\r\nContent-Length: 0\r\n\r\n",
	"an upgrade that nobody asked for": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"informational responses for ever": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInformational+1),
	"an empty line first":              "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/0.9":                         "hello",
}

func TestHostileAnswersAreRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range hostileHeads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "http1", endpoints(answering(t, answer)), Options{})
			res, body := f.do(t, "GET", "/", nil)
			r := <-f.results
			if res.StatusCode != 502 || body != "denied" || res.Header.Get("X-Reason") != string(ReasonMalformed) {
				t.Errorf("got %d %q %s (%v), want 502 %s", res.StatusCode, body, res.Header.Get("X-Reason"), r.Err, ReasonMalformed)
			}
			if n := idle(f.pool); n != 0 {
				t.Errorf("idle connections: got %d, want 0", n)
			}
		})
	}
}

func TestOtherBadAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxHead)
	for _, tt := range []struct {
		name, answer string
		status       int
		reason       Reason
	}{
		{"nothing", "", 502, ReasonNoResponse},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 502, ReasonNoResponse},
		{"a head over 64 KiB", "HTTP/1.1 200 OK\r\nX-A: " + long + "\r\n\r\n", 502, ReasonHeadTooLarge},
		{"a head over 64 KiB in many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 10000) + "\r\n", 502, ReasonHeadTooLarge},
		{"a head of nearly 64 KiB", "HTTP/1.1 204 OK\r\nX-A: " + long[:maxHead-50] + "\r\n\r\n", 204, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "http1", endpoints(answering(t, tt.answer)), Options{})
			res, _ := f.do(t, "GET", "/", nil)
			if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != tt.status || got != tt.reason {
				t.Errorf("got %d %s, want %d %s", res.StatusCode, got, tt.status, tt.reason)
			}
		})
	}
}

// idle counts the idle connections of a pool.
func idle(p *Pool) int {
	n := 0
	for _, ep := range p.plan.Load().all {
		ep.mu.Lock()
		n += len(ep.idle)
		ep.mu.Unlock()
	}
	return n
}

func newBody(kind bodyKind, in io.Reader, size int) (*body, *stream) {
	s := &stream{src: in, buf: make([]byte, size)}
	return &body{s: s, kind: kind}, s
}

func readBody(b *body) ([]byte, error) {
	var all []byte
	for {
		p, err := b.next()
		all = append(all, p...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func TestChunkedBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in, want string
		ok             bool
	}{
		{"two chunks", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", true},
		{"upper and lower case", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", true},
		{"an extension", "5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "hello", true},
		{"padding as old servers write", "5  \r\nhello\r\n0 \r\n\r\n", "hello", true},
		{"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello", true},
		{"a trailer", "0\r\nX-Sum: 1\r\n\r\n", "", true},
		{"LF alone after the size", "5\nhello\r\n0\r\n\r\n", "", false},
		{"LF alone after the data", "5\r\nhello\n0\r\n\r\n", "hello", false},
		{"data longer than its size", "5\r\nhello!\r\n0\r\n\r\n", "hello", false},
		{"no size", "\r\nhello\r\n0\r\n\r\n", "", false},
		{"a signed size", "+5\r\nhello\r\n0\r\n\r\n", "", false},
		{"a prefixed size", "0x5\r\nhello\r\n0\r\n\r\n", "", false},
		{"a space first", " 5\r\nhello\r\n0\r\n\r\n", "", false},
		{"something behind the size", "5 x\r\nhello\r\n0\r\n\r\n", "", false},
		{"an overflowing size", "10000000000000005\r\nhello\r\n0\r\n\r\n", "", false},
		{"a huge size", "fffffffffffffff5\r\nhello\r\n0\r\n\r\n", "", false},
		{"a CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", "", false},
		{"an extension without end", "5;" + strings.Repeat("a", maxChunk) + "\r\nhello\r\n0\r\n\r\n", "", false},
		{"cut in the size", "5", "", false},
		{"cut in the data", "5\r\nhel", "hel", false},
		{"cut after the data", "5\r\nhello", "hello", false},
		{"cut before the last line", "5\r\nhello\r\n0\r\n", "hello", false},
		{"a trailer without a colon", "0\r\nX\r\n\r\n", "", false},
		{"a folded trailer", "0\r\nX: a\r\n b\r\n\r\n", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []int{1, 3, len(tt.in)} {
				b, _ := newBody(bodyChunked, &stepReader{tt.in, step}, smallBuffer)
				got, err := readBody(b)
				if string(got) != tt.want || (err == nil) != tt.ok {
					t.Errorf("%d bytes at a time: got %q, %v; want %q, ok %t", step, got, err, tt.want, tt.ok)
				}
			}
		})
	}
}

func TestManyTinyChunksWithExtensionsAreRefused(t *testing.T) {
	t.Parallel()
	b, _ := newBody(bodyChunked, strings.NewReader(strings.Repeat("1;"+strings.Repeat("e", 200)+"\r\nx\r\n", 1000)), smallBuffer)
	if got, err := readBody(b); err == nil || len(got) > 200 {
		t.Errorf("got %d bytes, %v; want an early error", len(got), err)
	}
	b, _ = newBody(bodyChunked, strings.NewReader(strings.Repeat("1\r\nx\r\n", 100000)+"0\r\n\r\n"), smallBuffer)
	if got, err := readBody(b); err != nil || len(got) != 100000 {
		t.Errorf("one byte per chunk: got %d bytes, %v", len(got), err)
	}
}

func TestTrailersThatWouldChangeTheReadingAreDropped(t *testing.T) {
	t.Parallel()
	in := "0\r\nX-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\nContent-Type: x\r\nHost: h\r\nGrpc-Status: 0\r\n\r\n"
	b, _ := newBody(bodyChunked, strings.NewReader(in), smallBuffer)
	if _, err := readBody(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.trailer, http.Header{"X-Sum": {"1"}, "Grpc-Status": {"0"}}); diff != "" {
		t.Errorf("trailer (-got +want):\n%s", diff)
	}
}

// stepReader gives step bytes at a time.
type stepReader struct {
	s    string
	step int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if r.s == "" {
		return 0, io.EOF
	}
	n := copy(p, r.s[:min(r.step, len(r.s))])
	r.s = r.s[n:]
	return n, nil
}

// FuzzResponseHead holds the parser against the standard library's: where both accept, they agree on the status, on
// the fields and on the framing.
func FuzzResponseHead(f *testing.F) {
	for _, s := range hostileHeads {
		f.Add(s, false)
	}
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a\r\n\r\nhello", false)
	f.Add("HTTP/1.0 200\nConnection: keep-alive\n\n", true)
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false)
	f.Fuzz(func(t *testing.T, in string, isHead bool) {
		n := headEnd([]byte(in), 0)
		if n < 0 {
			return
		}
		for i, seen := 1, 0; i <= n; i++ { // byte by byte finds the same end
			if got := headEnd([]byte(in[:i]), seen); got >= 0 {
				if got != n {
					t.Fatalf("headEnd byte by byte: got %d, want %d", got, n)
				}
				break
			}
			seen = i
		}
		method := "GET"
		if isHead {
			method = "HEAD"
		}
		h := make(http.Header)
		got, err := parseHead(in[:n], h)
		if err == nil {
			err = got.frame(method, h)
		}
		var typed *Error
		if err != nil {
			if !errors.As(err, &typed) || typed.HTTPStatus() != 502 {
				t.Fatalf("error %v: want an Error with status 502", err)
			}
			return
		}
		for key, values := range h {
			for _, v := range values {
				if !validToken(key) || !validValue(v) {
					t.Fatalf("field %q: %q passed", key, v)
				}
			}
		}
		want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(in)), &http.Request{Method: method})
		if err != nil {
			return // white space before a colon, for one
		}
		if got.status != want.StatusCode {
			t.Fatalf("status: got %d, want %d", got.status, want.StatusCode)
		}
		if got.kind == bodyTunnelled {
			return
		}
		switch {
		case got.kind == bodyChunked && len(want.TransferEncoding) != 1,
			got.kind == bodySized && want.ContentLength != got.length,
			got.kind == bodyUntilEOF && (want.ContentLength != -1 || len(want.TransferEncoding) > 0):
			t.Fatalf("framing: got %+v, want length %d, coding %q", got, want.ContentLength, want.TransferEncoding)
		case got.kind == bodyNone && method != "HEAD":
			if b, _ := io.ReadAll(want.Body); len(b) > 0 {
				t.Fatalf("framing: got no body, want %q", b)
			}
		}
		if got.keep && want.Close && got.minor == 1 {
			t.Fatalf("keep: got %t, want close", got.keep)
		}
	})
}

// FuzzChunkedBody holds the chunk reader against the standard library's: what it accepts has the same content.
func FuzzChunkedBody(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n", 7)
	f.Add("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", 1)
	f.Add("0\r\n\r\nHTTP/1.1 200 OK\r\n", 100)
	f.Fuzz(func(t *testing.T, in string, step int) {
		if step < 1 {
			return
		}
		b, s := newBody(bodyChunked, &stepReader{in, step}, smallBuffer)
		got, err := readBody(b)
		if err != nil {
			return
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(in)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q, %v", got, want, err)
		}
		if rest := string(s.buffered()); !strings.Contains(in, rest) {
			t.Fatalf("left over: %q is no part of %q", rest, in)
		}
	})
}

// FuzzRequestHead: what is sent is read back as one request, the same that was to be sent.
func FuzzRequestHead(f *testing.F) {
	f.Add("GET", "/a", "q=1;x", "app.test", "X-A", "b", "")
	f.Add("POST", "/admin/%2Fx", "", "app.test:80", "X-A", "b\r\nX-B: c", "/admin")
	f.Add("GET /x HTTP/1.1\r\nX:", "//x", "a b", "a\r\nb", "Content-Length", "5", "/")
	f.Fuzz(func(t *testing.T, method, rawPath, query, host, key, value, prefix string) {
		u, err := url.Parse(rawPath)
		if err != nil || u.Scheme != "" || u.Host != "" {
			return
		}
		u.RawQuery = query
		r := &http.Request{Method: method, URL: u, Host: host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{key: {value}}}
		p, err := NewPool("x", endpoints("http://a"))
		if err != nil {
			t.Fatal(err)
		}
		x := p.exchange()
		x.begin(&handler{p: p, opts: Options{StripPrefix: prefix}}, nil, r)
		if err := x.prepare(); err != nil {
			return
		}
		if err := x.appendHead(p.plan.Load().all[0].endpoint); err != nil {
			return
		}
		br := bufio.NewReader(bytes.NewReader(x.wbuf))
		got, err := http.ReadRequest(br)
		if err != nil {
			if strings.Contains(host, "[") || strings.HasPrefix(key, ":") {
				return
			}
			t.Fatalf("sent %q: %v", x.wbuf, err)
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Fatalf("sent %q: a second request %q", x.wbuf, rest)
		}
		if got.Method != method || got.URL.RawQuery != query || got.RequestURI != x.path+map[bool]string{true: "?" + query}[x.mark] || got.ContentLength != 0 {
			t.Fatalf("sent %q: read %s %s, query %q", x.wbuf, got.Method, got.RequestURI, got.URL.RawQuery)
		}
	})
}
