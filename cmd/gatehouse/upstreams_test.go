package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// stickyAnswer has what sets the cookie of an upstream that binds its clients.
func stickyAnswer(w *httptest.ResponseRecorder, prefix string) (pair string, lines []string) {
	for _, line := range w.Header()["Set-Cookie"] {
		if strings.HasPrefix(line, prefix) {
			pair, _, _ = strings.Cut(line, ";")
		}
		lines = append(lines, line)
	}
	return pair, lines
}

func askWith(h http.Handler, url, cookie string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, url, nil)
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStickyCookiesStayBetweenClientAndGateway(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"AWSALB=forged; Path=/", "theme=dark"}
		w.Header().Set("Cache-Control", "private, max-age=60")
		fmt.Fprint(w, r.Header["Cookie"])
	}))
	t.Cleanup(up.Close)
	h := serveFile(t, fmt.Sprintf(`secret: 0123456789abcdef0123456789abcdef
upstreams: {app: {endpoints: [%q], sticky: {cookie: AWSALB}}, plain: %[1]q}
routes:
- {match: app.test/plain/*, to: plain, require: nothing}
- {match: app.test/*, to: app, require: nothing}
`, up.URL), newObserver(&bytes.Buffer{}))
	w := ask(h, "GET", "https://app.test/")
	pair, lines := stickyAnswer(w, "AWSALB=")
	if len(lines) != 2 || pair == "" || pair == "AWSALB=forged" || w.Header().Get("Cache-Control") != "private, max-age=60" {
		t.Errorf("got Set-Cookie %q and Cache-Control %q: want ours for the application's, and its caching", lines, w.Header().Get("Cache-Control"))
	}
	for _, path := range []string{"/", "/plain/"} {
		w := askWith(h, "https://app.test"+path, "a=1; "+pair+"; b=2")
		if got := w.Body.String(); got != "[a=1; b=2]" {
			t.Errorf("%s: the application sees %s, want its own cookies alone", path, got)
		}
	}
}

// What the cache asks for is nobody's: it is kept although clients are bound, gives nobody the cookie of another, and takes no
// client away from its endpoint.
func TestTheCacheBindsNobody(t *testing.T) {
	t.Parallel()
	for _, setCookie := range []string{"pass", "strip", "store"} {
		t.Run(setCookie, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				w.Header().Set("Cache-Control", map[string]string{"/page": "max-age=60", "/mine": "private"}[r.URL.Path])
			}))
			t.Cleanup(up.Close)
			h := serveFile(t, fmt.Sprintf(`secret: 0123456789abcdef0123456789abcdef
upstreams: {app: {endpoints: [%q], sticky: {}}}
routes: [{match: app.test/*, to: app, require: nothing, cache: {set_cookie: %s}}]
`, up.URL, setCookie), newObserver(&bytes.Buffer{}))
			for range 3 {
				if w := ask(h, "GET", "https://app.test/page"); w.Code != 200 || len(w.Header()["Set-Cookie"]) > 0 {
					t.Errorf("got %d with Set-Cookie %q, want none", w.Code, w.Header()["Set-Cookie"])
				}
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("the upstream got %d requests, want 1", n)
			}
			if w := ask(h, "GET", "https://app.test/mine"); len(w.Header()["Set-Cookie"]) > 0 {
				t.Errorf("a fetch that is not kept: got Set-Cookie %q, want none", w.Header()["Set-Cookie"])
			}
			if w := ask(h, "POST", "https://app.test/mine"); len(w.Header()["Set-Cookie"]) != 1 {
				t.Errorf("a request that is not for the cache: got Set-Cookie %q, want one", w.Header()["Set-Cookie"])
			}
		})
	}
}

// A client that is bound to one of several upstreams stays there, whatever their weights.
func TestSplitKeepsClientsThatAreBound(t *testing.T) {
	t.Parallel()
	var urls []any
	for _, name := range []string{"blue", "green", "blue"} {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
		t.Cleanup(up.Close)
		urls = append(urls, up.URL)
	}
	const file = `secret: 0123456789abcdef0123456789abcdef
upstreams: {blue: {endpoints: [%q], sticky: {}}, green: {endpoints: [%q], sticky: {}}, old: {endpoints: [%q], sticky: {}}}
routes: [{match: app.test/*, split: {blue: %d, green: %d}, require: nothing}]
`
	serve := func(blue, green int) http.Handler {
		return serveFile(t, fmt.Sprintf(file, append(urls, blue, green)...), newObserver(&bytes.Buffer{}))
	}
	pair, _ := stickyAnswer(ask(serve(1, 0), "GET", "https://app.test/"), "gatehouse-sticky-blue=")
	mostly := serve(1, 999)
	for range 20 {
		if got := askWith(mostly, "https://app.test/", pair).Body.String(); got != "blue" {
			t.Fatalf("bound to blue: came to %s", got)
		}
	}
	if got := askWith(serve(0, 1), "https://app.test/", pair).Body.String(); got != "green" {
		t.Errorf("blue has no weight any more: came to %s", got)
	}
}

func TestFailoverIsRecorded(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(up.Close)
	var out bytes.Buffer
	h := serveFile(t, fmt.Sprintf(`upstreams: {app: {endpoints: ["unix:///nonexistent/socket"], failover: spare}, spare: %q}
routes: [{match: app.test/*, to: app, require: nothing}]
`, up.URL), newObserver(&out))
	if w := ask(h, "POST", "https://app.test/"); w.Code != http.StatusOK {
		t.Errorf("got %d", w.Code)
	}
	for _, want := range []string{`"upstream":"failover"`, `"name":"spare"`, `"attempts":2`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the record has no %s: %s", want, out.String())
		}
	}
}
