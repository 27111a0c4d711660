package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A site without any server behind it: files, an address that has moved, one that is gone. The guards stand in front of all.
func TestRoutesThatGoToNoServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	www := filepath.Join(dir, "www")
	for name, text := range map[string]string{"www/index.html": "<h1>app</h1>", "www/app.js": "let a", "www/.hidden/a.txt": "secret", "secret": "secret"} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := writeFile(t, "gatehouse.yaml", `
listen: {https: ":443", admin: off}
tls: {local: true}
state_dir: `+filepath.Join(dir, "state")+`
origins:
  site: {directory: `+www+`, fallback: index.html}
routes:
  - {match: localhost, to: site, require: nothing}
  - {match: localhost/old/*, redirect: {to: "/#{path}?#{query}", status: 308}, strip_prefix: /old, require: nothing}
  - {match: localhost/gone, respond: {status: 410, body: "gone\n"}, require: nothing}
`)
	p := start(t, []string{"run", "-c", file}, "https")
	addr := p.addrs["https"]
	for _, h2 := range []bool{false, true} {
		c := newClient(t, addr, h2)
		for _, tt := range []struct {
			method, path string
			status       int
			body, more   string // more is a part of the Location
		}{
			{"GET", "/", 200, "<h1>app</h1>", ""},
			{"GET", "/app.js", 200, "let a", ""},
			{"HEAD", "/app.js", 200, "", ""},
			{"GET", "/orders/17", 200, "<h1>app</h1>", ""},
			{"GET", "/orders/by-script", 404, "request_id", ""},
			{"GET", "/.hidden/a.txt", 404, "request_id", ""},
			{"GET", "/..%2fsecret", 400, "request_id", ""},
			{"POST", "/app.js", 405, "request_id", ""},
			{"GET", "/app.js?q=1'%20OR%201=1--", 403, "request_id", ""},
			{"GET", "/old/a%20b?x=1", 308, "", "/a%20b?x=1"},
			{"POST", "/old/a", 308, "", "/a"},
			{"GET", "/gone", 410, "gone\n", ""},
		} {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, "https://localhost"+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.path == "/orders/17" {
				r.Header.Set("Accept", "text/html")
			}
			resp, body := send(t, c, r)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) || strings.Contains(body, "secret") || !strings.HasSuffix(resp.Header.Get("Location"), tt.more) {
				t.Errorf("HTTP/%d %s %s: got %d %q to %q, want %d %q", resp.ProtoMajor, tt.method, tt.path, resp.StatusCode, body, resp.Header.Get("Location"), tt.status, tt.body)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: without the security headers", tt.path)
			}
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
