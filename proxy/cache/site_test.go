package cache

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A site is an application behind a cache, behind a server.
type site struct {
	t      *testing.T
	cache  *Cache
	server *httptest.Server
	seen   atomic.Int64 // requests of the application's
	clock  atomic.Int64 // nanoseconds after the epoch
	who    atomic.Bool  // clients are known

	mu      sync.Mutex
	last    *http.Request // that the application got
	results []Result
}

// newSite serves app behind a cache of a route with cfg, in HTTP/1.1 or HTTP/2.
func newSite(t *testing.T, proto string, store StoreConfig, cfg Config, app http.HandlerFunc) *site {
	t.Helper()
	for _, v := range []interface {
		Validate(report func(field, msg string))
	}{store, cfg} {
		v.Validate(func(field, msg string) { t.Fatalf("%s: %s", field, msg) })
	}
	s := &site{t: t, cache: New(store)}
	s.cache.now = s.now
	deny := func(w http.ResponseWriter, _ *http.Request, err error) {
		status := http.StatusBadGateway
		if e, ok := err.(interface{ HTTPStatus() int }); ok {
			status = e.HTTPStatus()
		}
		http.Error(w, "denied", status)
	}
	h := s.cache.Handler(cfg, Options{
		Policy: "p", Deny: deny, Identified: func(*http.Request) bool { return s.who.Load() },
		Observe: func(_ *http.Request, res Result) {
			s.mu.Lock()
			s.results = append(s.results, res)
			s.mu.Unlock()
		},
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.last = r.Clone(context.Background())
		s.mu.Unlock()
		s.seen.Add(1)
		app(w, r)
	}))
	s.server = httptest.NewUnstartedServer(h)
	s.server.EnableHTTP2 = proto == "HTTP/2.0"
	if !s.server.EnableHTTP2 {
		s.server.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	}
	s.server.StartTLS()
	client := s.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Transport.(*http.Transport).DisableCompression = true
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 100
	t.Cleanup(func() {
		s.server.Close()
		_ = s.cache.Close()
	})
	return s
}

func (s *site) now() time.Time { return epoch.Add(time.Duration(s.clock.Load())) }

// wait lets time pass.
func (s *site) wait(d time.Duration) { s.clock.Add(int64(d)) }

// app is the last request that the application got.
func (s *site) app() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *site) lastResult() Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.results[len(s.results)-1]
}

// A reply is an answer that has been read.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// do sends a request such as "GET /path", with lines of a header.
func (s *site) do(request string, lines ...string) reply {
	s.t.Helper()
	resp, err := s.try(s.t.Context(), request, lines...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), err}
}

func (s *site) try(ctx context.Context, request string, lines ...string) (*http.Response, error) {
	method, path, _ := strings.Cut(request, " ")
	r, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, nil)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ": ")
		if key == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(key, value)
	}
	return s.server.Client().Do(r)
}

// wants reports what a reply is not.
func (s *site) wants(what string, got reply, status int, body, marker string, requests int64) {
	s.t.Helper()
	if got.err != nil {
		s.t.Errorf("%s: %v", what, got.err)
	}
	if got.status != status || got.body != body {
		s.t.Errorf("%s: got %d %q, want %d %q", what, got.status, got.body, status, body)
	}
	if x := got.header.Get("X-Cache"); marker != "" && x != marker+" from gatehouse" {
		s.t.Errorf("%s: X-Cache: got %q, want %q", what, x, marker)
	}
	if n := s.seen.Load(); n != requests {
		s.t.Errorf("%s: the application has had %d requests, want %d", what, n, requests)
	}
}

// each runs a test in both protocols.
func each(t *testing.T, test func(t *testing.T, proto string)) {
	t.Helper()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			test(t, proto)
		})
	}
}

// says is an application that answers with a header and a body.
func says(body string, lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range lines {
			key, value, _ := strings.Cut(line, ": ")
			w.Header().Add(key, value)
		}
		_, _ = io.WriteString(w, body)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
