package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chromedp/chromedp"
)

// A strangerApp is an application that has never heard of Gatehouse: a directory of files, and a cookie of
// its own.
type strangerApp struct {
	url string

	mu   sync.Mutex
	seen []http.Header
}

// borschLines make a file of more than a megabyte, which no buffer of ours holds.
const borschLines = 1 << 17

func startStrangerApp(t *testing.T) *strangerApp {
	t.Helper()
	a := &strangerApp{}
	changed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	files := fstest.MapFS{
		"index.html": {ModTime: changed, Data: []byte(`<!doctype html><title>Recipes</title><link rel="icon" href="data:,">` +
			`<link rel="stylesheet" href="site.css"><h1>Recipes</h1><p id="count"></p><a href="soups/">Soups</a><script src="site.js"></script>`)},
		"site.css":         {ModTime: changed, Data: []byte("h1 { color: rgb(1, 2, 3) }")},
		"site.js":          {ModTime: changed, Data: []byte(`document.getElementById("count").textContent = "3 recipes"`)},
		"soups/borsch.txt": {ModTime: changed, Data: []byte(strings.Repeat("beetroot\n", borschLines))},
	}
	server := http.FileServerFS(files)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.seen = append(a.seen, r.Header.Clone())
		a.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "recipes", Value: "kept", Path: "/"})
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

// received returns the headers of every request so far.
func (a *strangerApp) received() []http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

// TestDevUpstream puts dev in front of an application that was not written for it.
func TestDevUpstream(t *testing.T) {
	t.Parallel()
	app := startStrangerApp(t)
	l := startLaptop(t, "--upstream", app.url)

	if got := replay(t, l.addrs["https"], l.base+"/soups/borsch.txt", "recipes=kept"); got != http.StatusUnauthorized {
		t.Errorf("nobody signed in: got %d, want 401", got)
	}
	if got := app.received(); len(got) > 0 {
		t.Errorf("the application was asked before anybody had signed in: %v", got)
	}

	l.expect(http.StatusOK, l.pool, chromedp.Navigate(l.base+"/"))
	l.expect(http.StatusOK, l.base+"/", chromedp.Click(chromedp.CSS(`button[aria-label="Sign in as alice"]`)))
	if got, want := l.text("#count"), "3 recipes"; got != want {
		t.Errorf("its script: got %q, want %q", got, want)
	}
	if got, want := evaluate[string](l.window, "getComputedStyle(document.querySelector('h1')).color"), "rgb(1, 2, 3)"; got != want {
		t.Errorf("its style: got %q, want %q", got, want)
	}
	l.expect(http.StatusOK, l.base+"/soups/", chromedp.Click(chromedp.CSS("a")))
	l.assertNoComplaints()

	cookies, _ := l.cookies(l.base + "/")
	l.asksForPartsOfAFile(t, cookies)
	last := app.received()[len(app.received())-1]
	if got, want := last.Get("Cookie"), "recipes=kept"; got != want {
		t.Errorf("cookies that the application gets: got %q, want its own, %q", got, want)
	}
	if got := last.Get("X-Amzn-Oidc-Identity"); got == "" {
		t.Error("the application is not told who is there")
	}
	l.expect(http.StatusForbidden, l.base, chromedp.Navigate(l.base+"/?file=../../../etc/passwd"))
}

// asksForPartsOfAFile checks that what a file server can do arrives: ranges, validators, refusals.
func (l *laptop) asksForPartsOfAFile(t *testing.T, cookies string) {
	t.Helper()
	b := newBrowser(t, l.addrs["https"], "")
	b.client.Jar = nil // it sends the window's cookies
	ask := func(method, field, value string) (*http.Response, string) {
		req, err := http.NewRequest(method, l.base+"/soups/borsch.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookies)
		req.Header.Set("Sec-Fetch-Mode", "cors")
		req.Header.Set(field, value)
		return b.do(req)
	}
	resp, part := ask(http.MethodGet, "Range", "bytes=9-16")
	if resp.StatusCode != http.StatusPartialContent || part != "beetroot" {
		t.Errorf("a range: got %s %q, want 206 and %q", resp.Status, part, "beetroot")
	}
	if resp, _ := ask(http.MethodGet, "If-Modified-Since", resp.Header.Get("Last-Modified")); resp.StatusCode != http.StatusNotModified {
		t.Errorf("a file that is known: got %s, want 304", resp.Status)
	}
	whole := strings.Repeat("beetroot\n", borschLines)
	if resp, got := ask(http.MethodGet, "Accept", "*/*"); resp.StatusCode != http.StatusOK || got != whole {
		t.Errorf("the whole file: got %s and %d bytes, want %d", resp.Status, len(got), len(whole))
	}
	if resp, _ := ask(http.MethodHead, "Accept", "*/*"); resp.Header.Get("Content-Length") != fmt.Sprint(len(whole)) {
		t.Errorf("HEAD: got %s with the length %q, want %d", resp.Status, resp.Header.Get("Content-Length"), len(whole))
	}
}

// TestDevPrintsAFileToStartFrom checks what dev --print says against the command that a person tries next.
func TestDevPrintsAFileToStartFrom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := []string{"CLIENT_SECRET=" + clientSecret, "GATEHOUSE_SECRET=" + strings.Repeat("0123456789abcdef", 4)}
	for _, args := range [][]string{nil, {"--upstream", "http://127.0.0.1:3000"}} {
		printed := runToEnd(t, dir, nil, append([]string{"dev", "--print", "--state-dir", dir}, args...)...)
		if printed.code != 0 {
			t.Fatalf("dev --print %v: exit %d\n%s", args, printed.code, printed.stderr)
		}
		file := writeFile(t, "gatehouse.yaml", printed.stdout)
		if got := runToEnd(t, dir, secrets, "check", "--config", file); got.code != 0 {
			t.Errorf("check of dev --print %v: exit %d\n%s", args, got.code, got.stderr)
		}
	}
}
