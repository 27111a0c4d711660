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
	"net/netip"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// echoHead is an upstream that answers with the head it got, its lines sorted but for the first.
func echoHead(t testing.TB) string {
	return rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			var lines []string
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
				lines = append(lines, strings.TrimSuffix(line, "\r\n"))
			}
			sort.Strings(lines[1:])
			body := strings.Join(lines, "\n")
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
}

// send writes a raw request and reads the answer.
func (f *rig) send(t testing.TB, raw string) (*http.Response, string) {
	t.Helper()
	c, br := f.rawDial(t)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestEntrance(t *testing.T) {
	t.Parallel()
	says := func(scheme string) func(*http.Request) string { return func(*http.Request) string { return scheme } }
	for _, tt := range []struct {
		name, host   string
		tls          bool
		says         func(*http.Request) string
		scheme, port string
	}{
		{"the connection's own", "app.test", true, nil, "https", "8443"},
		{"the connection's own, without TLS", "app.test", false, nil, "http", "8443"},
		{"a proxy that agrees", "app.test", true, says("https"), "https", "8443"},
		{"TLS ended in front", "app.test", false, says("https"), "https", "443"},
		{"TLS ended in front, on a port", "app.test:444", false, says("https"), "https", "444"},
		{"an IPv6 host", "[2001:db8::1]", false, says("https"), "https", "443"},
		{"an IPv6 host and a port", "[2001:db8::1]:444", false, says("https"), "https", "444"},
		{"an empty port", "app.test:", false, says("https"), "https", "443"},
		{"TLS only behind the proxy", "app.test", true, says("http"), "http", "80"},
		{"nothing said", "app.test", true, says(""), "https", "8443"},
		{"nonsense", "app.test", false, says("gopher"), "http", "8443"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = tt.host
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{Port: 8443})))
		x := &exchange{r: r, h: &handler{opts: Options{Scheme: tt.says}}}
		if scheme, port := x.entrance(); scheme != tt.scheme || port != tt.port {
			t.Errorf("%s: got %s and port %s, want %s and %s", tt.name, scheme, port, tt.scheme, tt.port)
		}
	}
}

func TestRequestHead(t *testing.T) {
	t.Parallel()
	no := false
	up := echoHead(t)
	host := strings.TrimPrefix(up, "http://")
	for _, tt := range []struct {
		name, raw string
		cfg       Config
		opts      Options
		want      []string // lines behind the request line; PORT is the front's
		line      string
	}{
		{
			name: "what the upstream is told of the client",
			raw:  "GET /p HTTP/1.1\r\nHost: app.test\r\n\r\n",
			want: []string{"Host: app.test", "Via: 1.1 gatehouse", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "the client's own words about it are dropped",
			raw: "GET /p HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n" +
				"X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: //evil\r\nX-Forwarded-Anything: x\r\nForwarded: for=1.1.1.1\r\n\r\n",
			want: []string{"Host: app.test", "Via: 1.1 gatehouse", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "hop-by-hop fields end here",
			raw: "GET /p HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, X-Hop , te\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\n" +
				"Proxy-Connection: x\r\nProxy-Authorization: x\r\nUpgrade: foo\r\nHTTP2-Settings: x\r\nX-End: 1\r\n\r\n",
			want: []string{"Host: app.test", "Via: 1.1 gatehouse", "X-End: 1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "a client cannot take out what names it",
			raw: "GET /p HTTP/1.1\r\nHost: app.test\r\nConnection: close, cookie, authorization, host, x-forwarded-for, x-amzn-oidc-identity\r\n" +
				"Cookie: a=1\r\nAuthorization: Bearer x\r\nX-Amzn-Oidc-Identity: alice\r\n\r\n",
			want: []string{"Authorization: Bearer x", "Cookie: a=1", "Host: app.test", "Via: 1.1 gatehouse", "X-Amzn-Oidc-Identity: alice", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "Out has the last word, a Connection that lists its field notwithstanding",
			raw:  "GET /p HTTP/1.1\r\nHost: app.test\r\nConnection: X-Id\r\nX-Id: mallory\r\n\r\n",
			opts: Options{Out: func(_ *http.Request, out http.Header) error {
				out.Set("X-Id", "alice")
				out.Set("X-Forwarded-Proto", "https")
				out.Del("Via")
				return nil
			}},
			want: []string{"Host: app.test", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: https", "X-Id: alice"},
		},
		{
			name: "the client's address is the gateway's to say",
			raw:  "GET /p HTTP/1.1\r\nHost: app.test\r\n\r\n",
			opts: Options{ClientIP: func(*http.Request) netip.Addr { return netip.MustParseAddr("::ffff:192.0.2.7") }},
			want: []string{"Host: app.test", "Via: 1.1 gatehouse", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "the endpoint's host and no Via",
			raw:  "GET /p HTTP/1.0\r\nHost: app.test\r\nVia: 1.0 other\r\n\r\n",
			cfg:  Config{PreserveHost: &no, Via: &no},
			want: []string{"Host: " + host, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "HTTP/1.0 without a Host",
			raw:  "GET /p HTTP/1.0\r\nVia: 1.0 other\r\n\r\n",
			want: []string{"Host: " + host, "Via: 1.0 other, 1.0 gatehouse", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "Max-Forwards is counted down for OPTIONS",
			raw:  "OPTIONS /p HTTP/1.1\r\nHost: app.test\r\nMax-Forwards: 5\r\n\r\n",
			line: "OPTIONS /p HTTP/1.1",
			want: []string{"Host: app.test", "Max-Forwards: 4", "Via: 1.1 gatehouse", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
		{
			name: "a prefix is taken off and named",
			raw:  "GET /p/x%2Fy?q HTTP/1.1\r\nHost: app.test\r\n\r\n",
			opts: Options{StripPrefix: "/p/"},
			line: "GET /x%2Fy?q HTTP/1.1",
			want: []string{"Host: app.test", "Via: 1.1 gatehouse", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Prefix: /p", "X-Forwarded-Proto: http"},
		},
		{
			name: "OPTIONS *",
			raw:  "OPTIONS * HTTP/1.1\r\nHost: app.test\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
			line: "OPTIONS * HTTP/1.1",
			want: []string{"Host: app.test", "Via: 1.1 gatehouse", "X-A: 1", "X-A: 2", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: app.test", "X-Forwarded-Port: PORT", "X-Forwarded-Proto: http"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Endpoints = []string{up}
			f := newRig(t, "http1", tt.cfg, tt.opts)
			if strings.HasPrefix(tt.raw, "OPTIONS *") {
				f.Config.DisableGeneralOptionsHandler = true
			}
			_, got := f.send(t, tt.raw)
			_, port, _ := net.SplitHostPort(f.Listener.Addr().String())
			if tt.line == "" {
				tt.line = "GET /p HTTP/1.1"
			}
			want := tt.line + "\n" + strings.ReplaceAll(strings.Join(tt.want, "\n"), "PORT", port)
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("upstream saw (-got +want):\n%s", diff)
			}
		})
	}
}

func TestStripPrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, prefix, want string }{
		{"/admin", "/admin", "/"},
		{"/admin/", "/admin", "/"},
		{"/admin/x", "/admin", "/x"},
		{"/admin/x/", "/admin/", "/x/"},
		{"/admin/a%2Fb", "/admin", "/a%2Fb"},
		{"/admin/...", "/admin", "/..."},
		{"/adminx", "/admin", ""},
		{"/other", "/admin", ""},
		{"/Admin/x", "/admin", ""},
		{"/admin//evil.test", "/admin", ""},
		{"/admin/%2Fevil.test", "/admin", ""},
		{"/admin/../x", "/admin", ""},
		{"/admin/%2e%2E/x", "/admin", ""},
		{"/admin/./x", "/admin", ""},
		{"/admin/x/..", "/admin", ""},
		{"/admin/x//y", "/admin", ""},
		{"/admin/%5Cevil.test", "/admin", ""},
	} {
		got, err := stripPrefix(tt.path, tt.prefix)
		var e *Error
		if got != tt.want || (err != nil) != (tt.want == "") || (err != nil && (!errors.As(err, &e) || e.HTTPStatus() != 400)) {
			t.Errorf("stripPrefix(%q, %q): got %q, %v; want %q", tt.path, tt.prefix, got, err, tt.want)
		}
	}
}

func TestNothingIsSentOfARequestThatIsRefused(t *testing.T) {
	t.Parallel()
	refused := errors.New("signing failed")
	for _, tt := range []struct {
		name   string
		edit   func(r *http.Request)
		out    func(*http.Request, http.Header) error
		status int
	}{
		{"Out fails", nil, func(*http.Request, http.Header) error { return refused }, 500},
		{"Out sets framing", nil, func(_ *http.Request, h http.Header) error { h["content-length"] = []string{"5"}; return nil }, 500},
		{"Out sets Transfer-Encoding", nil, func(_ *http.Request, h http.Header) error { h.Set("Transfer-Encoding", "chunked"); return nil }, 500},
		{"Out sets Host", nil, func(_ *http.Request, h http.Header) error { h.Set("Host", "x"); return nil }, 500},
		{"Out sets a line break", nil, func(_ *http.Request, h http.Header) error { h.Set("X-A", "b\r\nX-C: d"); return nil }, 400},
		{"Out sets a bad name", nil, func(_ *http.Request, h http.Header) error { h["X-A: b\r\nX-C"] = []string{"d"}; return nil }, 400},
		{"CONNECT", func(r *http.Request) { r.Method = "CONNECT" }, nil, 405},
		{"TRACE", func(r *http.Request) { r.Method = "TRACE" }, nil, 405},
		{"a method with a space", func(r *http.Request) { r.Method = "GET /x" }, nil, 400},
		{"a Host with a line break", func(r *http.Request) { r.Host = "a\r\nX: y" }, nil, 400},
		{"a Host with a path", func(r *http.Request) { r.Host = "a/b" }, nil, 400},
		{"an empty Host in HTTP/1.1", func(r *http.Request) { r.Host = "" }, nil, 400},
		{"a query with a space", func(r *http.Request) { r.URL.RawQuery = "a b" }, nil, 400},
		{"a query with a line break", func(r *http.Request) { r.URL.RawQuery = "a\r\nb" }, nil, 400},
		{"a query with a fragment", func(r *http.Request) { r.URL.RawQuery = "a#b" }, nil, 400},
		{"a path without a slash", func(r *http.Request) { r.URL.Path = "x" }, nil, 400},
		{"* for GET", func(r *http.Request) { r.URL.Path = "*" }, nil, 400},
		{"a header name that is none", func(r *http.Request) { r.Header["X A"] = []string{"b"} }, nil, 400},
		{"a NUL in a header", func(r *http.Request) { r.Header["X-A"] = []string{"b\x00"} }, nil, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) {
				if b, _ := io.ReadAll(br); len(b) > 0 {
					t.Errorf("upstream got %q", b)
				}
			})
			pool, err := NewPool("x", endpoints(up))
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://app.test/p", nil)
			if tt.edit != nil {
				tt.edit(r)
			}
			w := httptest.NewRecorder()
			pool.Handler(Options{Deny: deny, Out: tt.out}).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status: got %d, want %d", w.Code, tt.status)
			}
		})
	}
}

func TestOutCannotReachTheClientsRequest(t *testing.T) {
	t.Parallel()
	pool, err := NewPool("x", endpoints(echoHead(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://app.test/p", nil)
	r.Header["X-A"] = append(make([]string, 0, 8), "1")
	want := r.Header.Clone()
	h := pool.Handler(Options{Deny: deny, Out: func(_ *http.Request, out http.Header) error {
		out.Add("X-A", "2")
		out.Del("X-B")
		return nil
	}})
	h.ServeHTTP(httptest.NewRecorder(), r)
	if diff := cmp.Diff(r.Header, want); diff != "" || r.Header["X-A"][:2][1] != "" {
		t.Errorf("client's header changed (-got +want):\n%s", diff)
	}
}

func TestMaxForwardsZeroIsAnsweredHere(t *testing.T) {
	t.Parallel()
	f := newRig(t, "http1", endpoints("http://127.0.0.1:1"), Options{})
	if res, body := f.do(t, "OPTIONS", "/", nil, "Max-Forwards", "0"); res.StatusCode != 200 || body != "" {
		t.Errorf("got %d %q, want 200", res.StatusCode, body)
	}
}

// Every byte at every place of values around the eight bytes that are looked at together.
func TestValidValueSeesEveryByte(t *testing.T) {
	t.Parallel()
	for length := 1; length <= 25; length++ {
		for at := range length {
			for b := range 256 {
				v := []byte("abcdefghijklmnopqrstuvwxy"[:length])
				v[at] = byte(b)
				want := b >= ' ' && b != 0x7f || b == '\t'
				if got := validValue(string(v)); got != want {
					t.Fatalf("%q: got %v, want %v", v, got, want)
				}
			}
		}
	}
}
