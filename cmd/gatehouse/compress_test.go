package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Compression stands around everything else: the WAF reads answers as they are, files that have a compressed one beside them are sent
// so, and routes that know who is there, or say off, are left alone.
func TestAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>Some page of some length, which is long enough.</p>\n", 400)
	leak := page + "ORA-01756: quoted string not properly terminated\n" + page
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		body := page
		if strings.HasSuffix(r.URL.Path, "/leak") {
			body = leak
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(up.Close)
	dir := t.TempDir()
	var better bytes.Buffer
	zw := gzip.NewWriter(&better)
	_, _ = io.WriteString(zw, "made when it was built: "+page)
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"plain.html": page, "built.html": page, "built.html.gz": better.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := serveFile(t, fmt.Sprintf(`compress: "on"
secret: 0123456789abcdef0123456789abcdef
upstreams: {app: %q}
origins: {files: %q}
tokens: {issuers: {a: {issuer: "https://issuer.test", audience: [app]}}}
routes:
  - {match: /files/*, to: files, require: nothing, strip_prefix: /files}
  - {match: /off/*, to: app, require: nothing, compress: "off"}
  - {match: /known/*, to: app, require: token}
  - {match: /watched/*, to: app, require: nothing, waf: {mode: block, groups: [leakages]}}
  - {match: /*, to: app, require: nothing}
`, up.URL, dir), newObserver(io.Discard))
	for _, h2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(h)
		server.EnableHTTP2 = h2
		server.StartTLS()
		t.Cleanup(server.Close)
		client := server.Client()
		client.Transport.(*http.Transport).DisableCompression = true
		for path, want := range map[string]string{
			"/":                  "200 gzip " + page,
			"/files/plain.html":  "200 gzip " + page,
			"/files/built.html":  "200 gzip made when it was built: " + page,
			"/off/":              "200  " + page,
			"/known/":            "401",
			"/watched/page":      "200 gzip " + page,
			"/watched/leak":      "403",
			"/leak":              "200 gzip " + leak,
			"/files/nothing.txt": "404",
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", "gzip")
			req.Header.Set("User-Agent", "test")
			req.Header.Set("Accept", "text/html")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var body io.Reader = resp.Body
			if resp.Header.Get("Content-Encoding") == "gzip" {
				if body, err = gzip.NewReader(resp.Body); err != nil {
					t.Fatal(err)
				}
			}
			text, err := io.ReadAll(body)
			resp.Body.Close()
			got := resp.Status[:3]
			if resp.StatusCode == http.StatusOK {
				got += " " + resp.Header.Get("Content-Encoding") + " " + string(text)
			}
			if err != nil || got != want || resp.StatusCode == http.StatusOK && resp.Header.Get("X-Content-Type-Options") == "" {
				t.Errorf("%s, HTTP/2 %t: got %.80q and %d bytes, %v, want %.80q and %d", path, h2, got, len(got), err, want, len(want))
			}
		}
	}
}
