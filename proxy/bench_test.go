package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
)

// nullWriter is a ResponseWriter that costs nothing.
type nullWriter struct{ h http.Header }

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(int)             {}

// A replay serves one browser request again and again. The server's own work, making the request and its header map, is
// done outside what is measured as far as possible: the map is refilled in place.
type replay struct {
	gw     *Gateway
	w      nullWriter
	r      http.Request
	u      url.URL
	fields http.Header
	header http.Header
}

func newReplay(t testing.TB, opts Options) *replay {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	gw := newGateway(t, opts,
		Route{Name: "api", Match: Match{Hosts: []string{"app.example.com"}, Path: "/api/*"}, Handler: handler},
		Route{Name: "app", Match: Match{Hosts: []string{"app.example.com"}}, Handler: handler},
		Route{Name: "tenants", Match: Match{Hosts: []string{"*.tenants.example.com"}}, Handler: handler},
	)
	r := httptest.NewRequest("GET", "/api/v1/orders?page=2&sort=date", nil)
	r.Host = "app.example.com"
	return &replay{
		gw: gw, w: nullWriter{http.Header{}}, r: *r, u: *r.URL, header: http.Header{},
		fields: http.Header{
			"User-Agent":      {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
			"Accept":          {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
			"Accept-Language": {"en-US,en;q=0.5"}, "Accept-Encoding": {"gzip, deflate, br, zstd"},
			"Referer": {"https://app.example.com/"}, "Cookie": {"theme=dark; lang=en"}, "Connection": {"keep-alive"},
			"Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"same-origin"}, "Priority": {"u=0, i"},
		},
	}
}

func (p *replay) serve() {
	clear(p.header)
	for k, v := range p.fields {
		p.header[k] = v
	}
	clear(p.w.h)
	u := p.u
	p.r.URL, p.r.Header = &u, p.header
	p.gw.ServeHTTP(&p.w, &p.r)
}

func BenchmarkServe(b *testing.B) {
	p := newReplay(b, Options{OwnCookie: func(name string) bool { return name == "__Host-gw" }})
	b.ReportAllocs()
	for b.Loop() {
		p.serve()
	}
}

func BenchmarkServeBehindTrustedProxy(b *testing.B) {
	p := newReplay(b, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	p.fields["X-Forwarded-For"] = []string{"203.0.113.9"}
	p.fields["X-Forwarded-Proto"] = []string{"https"}
	b.ReportAllocs()
	for b.Loop() {
		p.serve()
	}
}

// BenchmarkRefill is what BenchmarkServe spends on the test's own account.
func BenchmarkRefill(b *testing.B) {
	p := newReplay(b, Options{})
	p.gw = new(Gateway)
	b.ReportAllocs()
	for b.Loop() {
		clear(p.header)
		for k, v := range p.fields {
			p.header[k] = v
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	tab := matchTable(b, "root - - -", "a - *.w.test /a/b/*", "b GET app.test /a/*", "c - app.test /")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tab.match(&lookup{host: "app.test", path: "/a/b/c/d", method: "GET"})
	}
}

func BenchmarkCanonicalPath(b *testing.B) {
	for name, raw := range map[string]string{"plain": "/app/orders/2026-11/items.json", "escaped": "/app/%6frders/caf%c3%a9"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = canonicalPath(raw)
			}
		})
	}
}
