package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/tuning"
)

const adminToken = "0123456789abcdef0123456789abcdef"

func TestCheckAdmin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, host, token string
		header            []string // name, value
		want              string   // in the error; "" for an answer
	}{
		{"an operator on the machine", "localhost:9901", "", nil, ""},
		{"the loopback address", "127.0.0.1:9901", "", nil, ""},
		{"another loopback address", "127.8.9.1", "", nil, ""},
		{"the loopback address of IPv6", "[::1]:9901", "", nil, ""},
		{"the same without a port", "[::1]", "", nil, ""},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:9901", "", nil, ""},
		{"capitals", "LOCALHOST", "", nil, ""},
		{"typed into a browser's address bar", "localhost:9901", "", []string{"Sec-Fetch-Site", "none"}, ""},
		{"a link within", "localhost:9901", "", []string{"Sec-Fetch-Site", "same-origin"}, ""},
		{"a name that is bound to us", "evil.test:9901", "", nil, "host"},
		{"a name that only looks local", "localhost.evil.test", "", nil, "host"},
		{"no host", "", "", nil, "host"},
		{"an address of the network", "10.0.0.1:9901", "", nil, "host"},
		{"the unspecified address", "0.0.0.0:9901", "", nil, "host"},
		{"a page's script", "localhost:9901", "", []string{"Origin", "https://evil.test"}, "web pages"},
		{"a page without an origin", "localhost:9901", "", []string{"Origin", "null"}, "web pages"},
		{"an empty origin", "localhost:9901", "", []string{"Origin", ""}, "web pages"},
		{"an image in a page", "localhost:9901", "", []string{"Sec-Fetch-Site", "cross-site"}, "web pages"},
		{"a page on another port", "localhost:9901", "", []string{"Sec-Fetch-Site", "same-site"}, "web pages"},
		{"the token", "metrics.internal:9901", adminToken, []string{"Authorization", "Bearer " + adminToken}, ""},
		{"no token", "localhost:9901", adminToken, nil, "token"},
		{"another token", "localhost:9901", adminToken, []string{"Authorization", "Bearer " + adminToken[1:] + "0"}, "token"},
		{"the beginning of the token", "localhost:9901", adminToken, []string{"Authorization", "Bearer " + adminToken[:31]}, "token"},
		{"the token by another scheme", "localhost:9901", adminToken, []string{"Authorization", "Basic " + adminToken}, "token"},
		{"a page's script with the token", "localhost:9901", adminToken, []string{"Origin", "https://evil.test", "Authorization", "Bearer " + adminToken}, "web pages"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = tt.host
		for i := 0; i < len(tt.header); i += 2 {
			r.Header.Set(tt.header[i], tt.header[i+1])
		}
		err := checkAdmin(r, tt.token)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want an error about %s", tt.name, err, tt.want)
		case err != nil && strings.Contains(err.Error(), adminToken[:8]):
			t.Errorf("%s: the token is in the error", tt.name)
		}
	}
}

// adminAnswer asks an admin handler whose readiness is ready.
func adminAnswer(method, path string, ready error) *httptest.ResponseRecorder {
	h := newAdmin(adminOptions{
		metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
		samples: tuning.NewSamples(1, 1),
		ready:   func() error { return ready },
		notes:   func() []string { return []string{"generation g"} },
		token:   func() string { return "" },
	})
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAdminAnswers(t *testing.T) {
	t.Parallel()
	draining := errors.New("draining")
	for _, tt := range []struct {
		method, path string
		ready        error
		status       int
		body         string
	}{
		{"GET", "/healthz", nil, 200, "ok\n"},
		{"GET", "/healthz", draining, 200, "ok\n"},
		{"GET", "/readyz", nil, 200, "ready\ngeneration g\n"},
		{"HEAD", "/readyz", nil, 200, "ready\ngeneration g\n"}, // the server leaves the body out
		{"GET", "/readyz", draining, 503, "not ready: draining\n"},
		{"GET", "/metrics", nil, 200, "metrics"},
		{"GET", "/samples", nil, 200, `{"kept":0,"forgotten":0}` + "\n"},
		{"DELETE", "/samples", nil, 405, "Method Not Allowed\n"},
		{"POST", "/metrics", nil, 405, "Method Not Allowed\n"},
		{"GET", "/", nil, 404, "404 page not found\n"},
		{"GET", "/debug/pprof/", nil, 404, "404 page not found\n"},
	} {
		w := adminAnswer(tt.method, tt.path, tt.ready)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s %s: got %d %q, want %d %q", tt.method, tt.path, w.Code, w.Body, tt.status, tt.body)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s %s: Cache-Control: got %q", tt.method, tt.path, got)
		}
	}
}

func TestHealthReadsTheTokenFromAFile(t *testing.T) {
	t.Parallel()
	h := newAdmin(adminOptions{ready: func() error { return nil }, notes: func() []string { return nil }, metrics: http.NotFoundHandler(), samples: tuning.NewSamples(1, 1), token: func() string { return adminToken }})
	s := httptest.NewServer(h)
	defer s.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(adminToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	env := &environment{stdout: &out}
	address := strings.TrimPrefix(s.URL, "http://")
	if err := (&healthCommand{adminAccess: adminAccess{Admin: address, TokenFile: file}}).Run(t.Context(), env); err != nil || out.String() != "ready\n" {
		t.Errorf("got %q, %v, want ready", out.String(), err)
	}
	err := (&healthCommand{adminAccess: adminAccess{Admin: address, TokenFile: file + "x"}}).Run(t.Context(), env)
	if err == nil || !strings.Contains(err.Error(), file+"x") {
		t.Errorf("without the file: got %v, want an error that names it", err)
	}
}
