package origin

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deny answers as the gateway would, in short.
func deny(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	if e, ok := err.(interface{ HTTPStatus() int }); ok {
		status = e.HTTPStatus()
	}
	if e, ok := err.(interface{ Header(http.Header) }); ok {
		e.Header(w.Header())
	}
	w.WriteHeader(status)
	fmt.Fprint(w, "denied")
}

// site writes files and returns their directory. A name that ends with a slash is a directory, "a -> b" a link.
func site(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if from, to, link := strings.Cut(name, " -> "); link {
			if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func serve(t *testing.T, cfg Config, opts Options) *httptest.Server {
	t.Helper()
	cfg.Validate(func(field, msg string) { t.Fatalf("%s: %s", field, msg) })
	opts.Deny, opts.Navigates = deny, func(r *http.Request) bool { return r.Header.Get("Accept") == "text/html" }
	d, err := NewDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(d.Handler(opts))
	t.Cleanup(s.Close)
	return s
}

type answer struct {
	*http.Response
	text string
}

// ask sends a request and follows nothing. Fields are "Name: value".
func ask(t *testing.T, method, url string, fields ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := site(t, map[string]string{
		"index.html": "<h1>home</h1>", "app.3f2a.js": "let a", "docs/index.html": "docs", "docs/a b.txt": "a b", "empty/": "",
		".env": "secret", ".git/config": "secret", "docs/.htpasswd": "secret", ".well-known/security.txt": "contact",
		"out -> " + outside: "", "up -> ..": "", "in -> docs/a b.txt": "", "README": "read", "page.HTML": "page",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{Directory: dir}, Options{})
	for _, tt := range []struct {
		method, path string
		status       int
		text, kind   string
	}{
		{"GET", "/", 200, "<h1>home</h1>", "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "", "text/html; charset=utf-8"},
		{"GET", "/index.html", 200, "<h1>home</h1>", "text/html; charset=utf-8"},
		{"GET", "/app.3f2a.js", 200, "let a", "text/javascript; charset=utf-8"},
		{"GET", "/docs/", 200, "docs", "text/html; charset=utf-8"},
		{"GET", "/docs/a%20b.txt", 200, "a b", "text/plain; charset=utf-8"},
		{"GET", "/in", 200, "a b", "application/octet-stream"},
		{"GET", "/README", 200, "read", "application/octet-stream"},
		{"GET", "/page.HTML", 200, "page", "text/html; charset=utf-8"},
		{"GET", "/.well-known/security.txt", 200, "contact", "text/plain; charset=utf-8"},
		{"GET", "/docs", 301, "", ""},
		{"GET", "/empty", 404, "denied", ""},
		{"GET", "/empty/", 404, "denied", ""},
		{"GET", "/nothing", 404, "denied", ""},
		{"GET", "/index.html/", 404, "denied", ""},
		{"GET", "/.env", 404, "denied", ""},
		{"GET", "/.git/config", 404, "denied", ""},
		{"GET", "/docs/.htpasswd", 404, "denied", ""},
		{"GET", "/out", 404, "denied", ""},
		{"GET", "/up/", 404, "denied", ""},
		{"GET", "/pipe", 404, "denied", ""},
		{"GET", "/%2e%2e/secret.txt", 404, "denied", ""},
		{"GET", "/..%2fsecret.txt", 404, "denied", ""},
		{"GET", "/a%00b", 404, "denied", ""},
		{"GET", `/docs%5ca b.txt`, 404, "denied", ""},
		{"GET", "/" + strings.Repeat("a", 5000), 404, "denied", ""},
		{"POST", "/", 405, "denied", ""},
		{"DELETE", "/app.3f2a.js", 405, "denied", ""},
	} {
		got := ask(t, tt.method, s.URL+strings.ReplaceAll(tt.path, " ", "%20"))
		if got.StatusCode != tt.status || got.text != tt.text || tt.kind != "" && got.Header.Get("Content-Type") != tt.kind {
			t.Errorf("%s %.40s: got %d %q %q, want %d %q %q", tt.method, tt.path, got.StatusCode, got.text, got.Header.Get("Content-Type"), tt.status, tt.text, tt.kind)
		}
		if tt.status == 405 && got.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: got Allow %q", tt.method, tt.path, got.Header.Get("Allow"))
		}
	}
}

// A browser that is sent to the slash comes to the same directory on the same host, whatever its name.
func TestDirectoryWithoutItsSlash(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Directory: site(t, map[string]string{"docs/a:b/index.html": "here", "docs/\\x.example/index.html": "no"})}, Options{StripPrefix: "/site"})
	got := ask(t, "GET", s.URL+"/site/docs/a:b?x=1")
	at, err := got.Location()
	if err != nil || got.StatusCode != 301 || at.String() != s.URL+"/site/docs/a:b/?x=1" {
		t.Fatalf("got %d to %v %v", got.StatusCode, at, err)
	}
	if got := ask(t, "GET", at.String()); got.text != "here" {
		t.Errorf("got %d %q", got.StatusCode, got.text)
	}
	if got := ask(t, "GET", s.URL+"/other/docs/"); got.StatusCode != 404 {
		t.Errorf("a path that is not below the prefix: got %d", got.StatusCode)
	}
}

func TestConditionsAndRanges(t *testing.T) {
	t.Parallel()
	dir := site(t, map[string]string{"a.txt": "0123456789", "index.html": "home"})
	s := serve(t, Config{Directory: dir, CacheControl: "public, max-age=60"}, Options{})
	first := ask(t, "GET", s.URL+"/a.txt")
	etag := first.Header.Get("ETag")
	if etag == "" || first.Header.Get("Cache-Control") != "public, max-age=60" || first.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("got %v", first.Header)
	}
	if got := ask(t, "GET", s.URL+"/index.html").Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("a page: got Cache-Control %q", got)
	}
	if got := ask(t, "GET", s.URL+"/a.txt", "If-None-Match: "+etag); got.StatusCode != 304 || got.text != "" {
		t.Errorf("the same: got %d %q", got.StatusCode, got.text)
	}
	if got := ask(t, "GET", s.URL+"/a.txt", "Range: bytes=2-4"); got.StatusCode != 206 || got.text != "234" || got.Header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("a range: got %d %q", got.StatusCode, got.text)
	}
	if got := ask(t, "GET", s.URL+"/a.txt", "Range: bytes=2-4", `If-Range: "another"`); got.StatusCode != 200 || got.text != "0123456789" {
		t.Errorf("a range of another: got %d %q", got.StatusCode, got.text)
	}
	if got := ask(t, "GET", s.URL+"/a.txt", "Range: bytes=20-"); got.StatusCode != 416 {
		t.Errorf("a range beyond the end: got %d", got.StatusCode)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("9876543210"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, "GET", s.URL+"/a.txt", "If-None-Match: "+etag); got.StatusCode != 200 || got.text != "9876543210" {
		t.Errorf("changed: got %d %q", got.StatusCode, got.text)
	}
}

func TestCompressedFiles(t *testing.T) {
	t.Parallel()
	dir := site(t, map[string]string{
		"a.js": "plain", "a.js.br": "br", "a.js.gz": "gz", "old.js": "plain", "old.js.gz": "gz", "p.png": "plain", "p.png.gz": "gz",
	})
	if err := os.Chtimes(filepath.Join(dir, "old.js.gz"), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{Directory: dir}, Options{})
	for _, tt := range []struct{ path, accept, text, coding string }{
		{"/a.js", "gzip, deflate, br", "br", "br"},
		{"/a.js", "gzip", "gz", "gzip"},
		{"/a.js", "br;q=0, gzip;q=0.1", "gz", "gzip"},
		{"/a.js", "GZIP", "gz", "gzip"},
		{"/a.js", "gzip;q=zero", "plain", ""},
		{"/a.js", "*", "plain", ""},
		{"/a.js", "identity", "plain", ""},
		{"/old.js", "gzip", "plain", ""},
		{"/p.png", "gzip", "plain", ""},
	} {
		got := ask(t, "GET", s.URL+tt.path, "Accept-Encoding: "+tt.accept)
		if got.text != tt.text || got.Header.Get("Content-Encoding") != tt.coding || got.ContentLength != int64(len(tt.text)) {
			t.Errorf("%s for %q: got %q %q of length %d, want %q %q", tt.path, tt.accept, got.text, got.Header.Get("Content-Encoding"), got.ContentLength, tt.text, tt.coding)
		}
		if vary := got.Header.Get("Vary"); (vary == "Accept-Encoding") != strings.HasSuffix(tt.path, ".js") {
			t.Errorf("%s: got Vary %q", tt.path, vary)
		}
	}
	plain, small := ask(t, "GET", s.URL+"/a.js"), ask(t, "GET", s.URL+"/a.js", "Accept-Encoding: gzip")
	if plain.Header.Get("ETag") == small.Header.Get("ETag") {
		t.Error("two representations have one ETag")
	}
	if got := ask(t, "GET", s.URL+"/a.js", "Accept-Encoding: gzip", "Range: bytes=1-1"); got.text != "z" || got.StatusCode != 206 {
		t.Errorf("a range of the compressed form: got %d %q", got.StatusCode, got.text)
	}
}

func TestFallback(t *testing.T) {
	t.Parallel()
	dir := site(t, map[string]string{"index.html": "app", "404.html": "no such page"})
	s := serve(t, Config{Directory: dir, Fallback: "index.html", NotFound: "404.html"}, Options{})
	for _, tt := range []struct {
		path, field string
		status      int
		text        string
	}{
		{"/orders/17", "Accept: text/html", 200, "app"},
		{"/orders/17", "Accept: application/json", 404, "no such page"},
		{"/app.9c1d.js", "Accept: text/html", 404, "no such page"},
		{"/.env", "Accept: text/html", 404, "no such page"},
	} {
		got := ask(t, "GET", s.URL+tt.path, tt.field)
		if got.StatusCode != tt.status || got.text != tt.text || got.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s with %s: got %d %q %q", tt.path, tt.field, got.StatusCode, got.text, got.Header.Get("Cache-Control"))
		}
	}
}

// A deployment turns a link to the next release; and one that is not there yet is no reason to end.
func TestDirectoryIsALinkThatTurns(t *testing.T) {
	t.Parallel()
	dir := site(t, map[string]string{"one/index.html": "one", "two/index.html": "two", "current -> one": ""})
	current := filepath.Join(dir, "current")
	s := serve(t, Config{Directory: current}, Options{})
	if got := ask(t, "GET", s.URL); got.text != "one" {
		t.Errorf("got %q", got.text)
	}
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, "GET", s.URL); got.StatusCode != 503 {
		t.Errorf("without the link: got %d", got.StatusCode)
	}
	if err := os.Symlink("two", current); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, "GET", s.URL); got.text != "two" {
		t.Errorf("after the link was turned: got %q", got.text)
	}
}

func TestValidateDirectory(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg    Config
		fields string
	}{
		"complete":           {Config{Directory: "/srv/www", Index: "a.html", Fallback: "a/b.html", NotFound: "index.html"}, ""},
		"nothing":            {Config{}, "directory"},
		"an index elsewhere": {Config{Directory: "/srv/www", Index: "../index.html"}, "index"},
		"a hidden index":     {Config{Directory: "/srv/www", Index: ".index"}, "index"},
		"a page outside":     {Config{Directory: "/srv/www", NotFound: "../404.html"}, "not_found"},
		"a page from above":  {Config{Directory: "/srv/www", Fallback: "/index.html"}, "fallback"},
		"a split header":     {Config{Directory: "/srv/www", CacheControl: "no-cache\r\nX: y"}, "cache_control"},
	} {
		var fields []string
		tt.cfg.Validate(func(field, _ string) { fields = append(fields, field) })
		if got := strings.Join(fields, " "); got != tt.fields {
			t.Errorf("%s: got problems at %q, want %q", name, got, tt.fields)
		}
	}
}

func TestDirectoryMustBeThere(t *testing.T) {
	t.Parallel()
	dir := site(t, map[string]string{"index.html": "", "a/b.html": ""})
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"no such directory":  {Config{Directory: filepath.Join(dir, "none")}, "directory: "},
		"a file":             {Config{Directory: filepath.Join(dir, "index.html")}, "directory: "},
		"no such fallback":   {Config{Directory: dir, Fallback: "app.html"}, "fallback: "},
		"a directory as one": {Config{Directory: dir, NotFound: "a"}, "not_found: "},
	} {
		if _, err := NewDirectory(tt.cfg); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// FuzzPath: whatever the path, nothing but the one public file is served.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/public.txt", "/../secret", "/public.txt/..", "/a/../public.txt", "//public.txt", "/./public.txt", "/.hidden", "/dir", "/dir/\x00", `/dir\..\secret`} {
		f.Add(p)
	}
	base := f.TempDir()
	dir := filepath.Join(base, "www")
	for name, content := range map[string]string{"www/public.txt": "public", "www/.hidden": "secret", "www/dir/.hidden": "secret", "secret": "secret"} {
		full := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	d, err := NewDirectory(Config{Directory: dir})
	if err != nil {
		f.Fatal(err)
	}
	h := d.Handler(Options{Deny: deny})
	f.Fuzz(func(t *testing.T, p string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.URL.Path, r.URL.RawPath = p, ""
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%q: got %d %q", p, w.Code, w.Body)
		}
	})
}
