package upstream

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An answer gets back the prefix that was taken off its request.
func TestRestorePrefix(t *testing.T) {
	t.Parallel()
	const client, internal = "app.test", "internal.test:8080"
	for _, tt := range []struct{ field, value, want string }{
		{"Location", "/a?b#c", "/x/a?b#c"},
		{"Location", "/", "/x/"},
		{"Location", "/x", "/x"},
		{"Location", "/x/a", "/x/a"},
		{"Location", "/x?a", "/x?a"},
		{"Location", "/xa", "/x/xa"},
		{"Location", "a/b", "a/b"},
		{"Location", "?a", "?a"},
		{"Location", "https://app.test/a", "https://app.test/x/a"},
		{"Location", "HTTPS://APP.TEST", "HTTPS://APP.TEST/x/"},
		{"Location", "http://app.test?a", "http://app.test/x/?a"},
		{"Location", "//app.test/a", "//app.test/x/a"},
		{"Location", "http://internal.test:8080/a", "https://app.test/x/a"},
		{"Location", "https://app.test/x/a", "https://app.test/x/a"},
		{"Location", "https://other.test/a", "https://other.test/a"},
		{"Location", "https://app.test@other.test/a", "https://app.test@other.test/a"},
		{"Location", "https://app.test:8443/a", "https://app.test:8443/a"},
		{"Location", "https:app.test/a", "https:app.test/a"},
		{"Location", "mailto:a@app.test//a", "mailto:a@app.test//a"},
		{"Location", "https://app.test\\@other.test", "https://app.test/x/\\@other.test"},
		{"Location", "//other.test/a", "//other.test/a"},
		{"Location", "///other.test/a", "///other.test/a"},
		{"Location", "/\\other.test/a", "/x/\\other.test/a"},
		{"Location", "", ""},
		{"Content-Location", "/a", "/x/a"},
		{"Refresh", "5; url=/a", "5; url=/x/a"},
		{"Refresh", "0;URL='https://app.test/a'", "0;URL='https://app.test/x/a'"},
		{"Refresh", "0, url=\"/a\" x", "0, url=\"/x/a\" x"},
		{"Refresh", "5", "5"},
		{"Refresh", "\xff\xff\xff\xffurl=", "\xff\xff\xff\xffurl="}, // longer in lower case
		{"Refresh", "\u023a\u023a\u023a\u023a\u023aurl=/a", "\u023a\u023a\u023a\u023a\u023aurl=/a"},
		{"Refresh", "5; url=", "5; url="},
		{"Refresh", "5; url=https://other.test/?url=/a", "5; url=https://other.test/?url=/a"},
		{"Refresh", "5; /?url=/a", "5; /?url=/a"},
		{"Set-Cookie", "a=1", "a=1"},
		{"Set-Cookie", "a=/; Path=/; HttpOnly", "a=/; Path=/x; HttpOnly"},
		{"Set-Cookie", "a=1; path = /b ;Path=/", "a=1; path =/x/b;Path=/x"},
		{"Set-Cookie", "a=1; Path=/x/b", "a=1; Path=/x/b"},
		{"Set-Cookie", "a=1; Path=/xb", "a=1; Path=/x/xb"},
		{"Set-Cookie", "a=1; Path=", "a=1; Path="},
		{"Set-Cookie", "a=1; Path=b", "a=1; Path=b"},
		{"Set-Cookie", "__host-a=1; Path=/; Secure", "__host-a=1; Path=/; Secure"},
		{"X-Location", "/a", "/a"},
	} {
		var host, path string
		app := func(w http.ResponseWriter, r *http.Request) {
			host, path = r.Host, r.URL.Path+"@"+r.Header.Get("X-Forwarded-Prefix")
			w.Header()[tt.field] = []string{tt.value}
		}
		opts := Options{
			StripPrefix: "/x", RestorePrefix: true,
			Rewrite: func(in *http.Request) (string, string, string, error) {
				return in.URL.EscapedPath(), in.URL.RawQuery, internal, nil
			},
			Scheme: func(*http.Request) string { return "https" },
		}
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/x/there", nil)
		r.Host = client
		r.Header.Set("X-Forwarded-Prefix", "/evil")
		answered(t, app, opts).ServeHTTP(w, r)
		if got := w.Header()[tt.field]; !slices.Equal(got, []string{tt.want}) || host != internal || path != "/there@/x" {
			t.Errorf("%s: %s: got %q, want %q; the upstream saw %s%s", tt.field, tt.value, got, tt.want, host, path)
		}
	}
}

// What Rewrite says is what the upstream is sent, and an error of it sends nothing.
func TestRewriteDecidesTheTarget(t *testing.T) {
	t.Parallel()
	var got []string
	app := func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Host+" "+r.RequestURI+" "+r.Header.Get("X-Forwarded-Host"))
	}
	for _, tt := range []struct {
		path, query, host string
		err               error
		status            int
	}{
		{"/b%20c", "d=e", "", nil, 200},
		{"/", "", "internal.test", nil, 200},
		{"", "", "", nil, 400},
		{"b", "", "", nil, 400},
		{"/b c", "", "", nil, 400},
		{"/b", "c d", "", nil, 400},
		{"/b\r\n", "", "", nil, 400},
		{"/b", "", "", http.ErrNotSupported, 500},
	} {
		opts := Options{Rewrite: func(*http.Request) (string, string, string, error) { return tt.path, tt.query, tt.host, tt.err }}
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/a?x", nil)
		r.Host = "app.test"
		answered(t, app, opts).ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%q ? %q: got %d, want %d", tt.path, tt.query, w.Code, tt.status)
		}
	}
	if diff := cmp.Diff(got, []string{"app.test /b%20c?d=e app.test", "internal.test / app.test"}); diff != "" {
		t.Errorf("upstream saw (-got +want):\n%s", diff)
	}
}

// answered returns the handler of a pool whose one endpoint is app.
func answered(t testing.TB, app http.HandlerFunc, opts Options) http.Handler {
	t.Helper()
	s := httptest.NewServer(app)
	t.Cleanup(s.Close)
	pool, err := NewPool("app", endpoints(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	opts.Deny = deny
	return pool.Handler(opts)
}
