package waf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gatehouse/waf/gate"
)

// browser is what an ordinary client sends along.
func browser() http.Header {
	return http.Header{
		"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		"Accept":     {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
	}
}

// status is the status of a refusal.
func status(err error) int {
	var s interface{ HTTPStatus() int }
	if errors.As(err, &s) {
		return s.HTTPStatus()
	}
	return http.StatusInternalServerError
}

// denyPlain answers a refusal with its status and says so in a header.
func denyPlain(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("X-Denied", err.Error())
	w.WriteHeader(status(err))
}

func newTestEngine(t testing.TB, cfg Config, extra string) *Engine {
	t.Helper()
	return newTestEngineWith(t, cfg, Options{Deny: denyPlain}, extra)
}

func newTestEngineWith(t testing.TB, cfg Config, opts Options, extra string) *Engine {
	t.Helper()
	return newTestEngineAs(t, cfg, opts, variant{extra: extra})
}

// stock arranges rules as they stand in the set, and matcher with our operator in the place of @rx.
func stock(text string) string { return text }

func matchers(text string) string {
	list := directives(text)
	for i, d := range list {
		if !gate.OverBytes(d) {
			list[i] = strings.Replace(d, `"@rx `, `"@`+matcherOperator+" ", 1)
			list[i] = strings.Replace(list[i], `"!@rx `, `"!@`+matcherOperator+" ", 1)
		}
	}
	return strings.Join(list, "\n") + "\n"
}

func newTestEngineAs(t testing.TB, cfg Config, opts Options, how variant) *Engine {
	t.Helper()
	e, err := newEngine(cfg, opts, how)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// sample is one request of a table.
type sample struct {
	method string // default GET, or POST with a body
	target string // default /app/x
	header map[string]string
	body   string
}

func (s sample) request() *http.Request {
	method, target := s.method, s.target
	if method == "" {
		method = http.MethodGet
		if s.body != "" {
			method = http.MethodPost
		}
	}
	if target == "" {
		target = "/app/x"
	}
	var body io.Reader
	if s.body != "" {
		body = strings.NewReader(s.body)
	}
	r := httptest.NewRequest(method, target, body)
	r.Header = browser()
	for k, v := range s.header {
		r.Header[http.CanonicalHeaderKey(k)] = strings.Split(v, "\x00")
	}
	return r
}

// verdictOf is the status of the refusal, or 200.
func verdictOf(v verdict) int {
	if v.err != nil {
		return status(v.err)
	}
	return http.StatusOK
}

// ids lists the rules that matched.
func ids(r Result) []int {
	var out []int
	for _, m := range r.Matches {
		out = append(out, m.RuleID)
	}
	return out
}

// transports are the ways in which one request can come.
type transport struct {
	name    string
	http2   bool
	chunked bool
}

func transports() []transport {
	return []transport{
		{name: "HTTP/1.1 with Content-Length"},
		{name: "HTTP/1.1 chunked", chunked: true},
		{name: "HTTP/2", http2: true},
	}
}

// front is a server with the engine in front of a handler.
type front struct {
	h1, h2 *httptest.Server
	mu     sync.Mutex
	seen   []string // bodies that reached the handler
}

func newFront(t *testing.T, e *Engine) *front {
	t.Helper()
	f := &front{}
	h := e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		f.mu.Lock()
		f.seen = append(f.seen, string(b))
		f.mu.Unlock()
		_, _ = w.Write(b)
	}))
	f.h1 = httptest.NewServer(h)
	f.h2 = httptest.NewUnstartedServer(h)
	f.h2.EnableHTTP2 = true
	f.h2.StartTLS()
	t.Cleanup(f.h1.Close)
	t.Cleanup(f.h2.Close)
	return f
}

// bodies takes what has reached the handler so far.
func (f *front) bodies() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = nil
	return seen
}

// send plays s over one transport. It returns the status and the answer's body.
func (f *front) send(t *testing.T, tr transport, s sample) (int, string) {
	t.Helper()
	srv := f.h1
	if tr.http2 {
		srv = f.h2
	}
	in := s.request()
	var body io.Reader
	if s.body != "" {
		body = strings.NewReader(s.body)
		if tr.chunked {
			body = struct{ io.Reader }{body}
		}
	}
	out, err := http.NewRequestWithContext(context.Background(), in.Method, srv.URL+in.RequestURI, body)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = in.Header
	if s.header["Host"] == "" {
		out.Host = "app.example.test"
	}
	res, err := srv.Client().Do(out)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if want := map[bool]int{true: 2, false: 1}[tr.http2]; res.ProtoMajor != want {
		t.Fatalf("protocol: got HTTP/%d, want HTTP/%d", res.ProtoMajor, want)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// multipartBody writes parts, each given with its headers, between boundaries XyZ.
func multipartBody(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "--XyZ\r\n%s\r\n", p)
	}
	b.WriteString("--XyZ--\r\n")
	return b.String()
}

const multipartType = "multipart/form-data; boundary=XyZ"
