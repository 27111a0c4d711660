package certs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRedirectHandler(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, Config{
		Certificates: []File{writePair(t, dir, "f", "file.test")}, ACME: &ACME{},
	}, dir, Options{HTTP: "127.0.0.1:1", PublicPort: 8443})
	m.hosts = newHostSet([]string{"app.test", "*.tenant.test", "2001:db8::1"}) // Manage would ask the CA
	for _, tt := range []struct {
		method, url, host string
		status            int
		location          string
	}{
		{"GET", "/", "app.test", 301, "https://app.test:8443/"},
		{"HEAD", "/", "app.test", 301, "https://app.test:8443/"},
		{"GET", "/a%2fb;c?d=%zz&e;f", "APP.test.:80", 301, "https://app.test:8443/a%2fb;c?d=%zz&e;f"},
		{"GET", "/?", "app.test", 301, "https://app.test:8443/?"},
		{"GET", "//evil.test/x", "app.test", 301, "https://app.test:8443//evil.test/x"},
		{"GET", "http://app.test/x", "app.test", 301, "https://app.test:8443/x"},
		{"GET", "/", "x.tenant.test", 301, "https://x.tenant.test:8443/"},
		{"GET", "/", "file.test", 301, "https://file.test:8443/"},
		{"GET", "/", "[2001:db8::1]:80", 301, "https://[2001:db8::1]:8443/"},
		{"GET", "/", "evil.test", 421, ""},
		{"GET", "/", "app.test@evil.test", 421, ""},
		{"GET", "/", "x.app.test", 421, ""},
		{"GET", "/", "a.b.tenant.test", 421, ""},
		{"GET", "/", "localhost", 421, ""},
		{"GET", "/", "", 421, ""},
		{"POST", "/", "app.test", 403, ""},
		{"OPTIONS", "/", "app.test", 403, ""},
		{"GET", challengePath + "abc", "app.test", 404, ""},
		{"GET", challengePath + "..%2f..%2fetc%2fpasswd", "app.test", 404, ""},
		{"GET", challengePath + "../../etc/passwd", "app.test", 404, ""},
		{"GET", challengePath + "abc=", "app.test", 404, ""},
		{"GET", challengePath, "app.test", 404, ""},
		{"POST", challengePath + "abc", "app.test", 404, ""},
	} {
		t.Run(tt.method+" "+tt.host+tt.url, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, tt.url, nil)
			r.Host = tt.host
			w := httptest.NewRecorder()
			m.RedirectHandler().ServeHTTP(w, r)
			if w.Code != tt.status || w.Header().Get("Location") != tt.location {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Header().Get("Location"), tt.status, tt.location)
			}
		})
	}
}

// TestRedirectToAnotherPort: a client that came to the very port that listens finds HTTPS on the port that
// listens. One that came to another port, or to 80, came through a mapping of ports that only its other end knows.
func TestRedirectToAnotherPort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, Config{Certificates: []File{writePair(t, dir, "f", "file.test")}}, dir,
		Options{HTTP: "127.0.0.1:8080", HTTPS: "127.0.0.1:8443"})
	for host, want := range map[string]string{
		"file.test:8080": "https://file.test:8443/",
		"file.test":      "https://file.test/",
		"file.test:80":   "https://file.test/",
		"file.test:9080": "https://file.test/",
		"file.test:":     "https://file.test/",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		m.RedirectHandler().ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

func TestHTTPChallengePassesOtherRequestsOn(t *testing.T) {
	t.Parallel()
	m := newManager(t, Config{Local: true}, t.TempDir(), Options{})
	h := m.HTTPChallenge(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") }))
	for _, path := range []string{"/", challengePath + "abc"} { // without ACME an upstream may answer its own
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if got := w.Body.String(); got != "next" {
			t.Errorf("%s: got %q, want the next handler's answer", path, got)
		}
	}
}
