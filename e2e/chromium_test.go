package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// screenshots is where the pictures of the README are written, when they are to be made anew:
//
//	go test ./e2e -run TestBrowser -screenshots "$PWD/docs/images"
var screenshots = flag.String("screenshots", "", "write the README's pictures into this `directory`")

// browserTimeout bounds one step in the browser, on a loaded machine with the race detector.
const browserTimeout = 60 * time.Second

// A window is one window of a real browser.
type window struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // what the browser said about the pages: errors and refusals by their policies
}

// openWindow starts Chromium with a profile of its own. It believes certificates that root has signed for a
// host at one of addrs, and no others.
func openWindow(t *testing.T, root string, addrs ...string) *window {
	t.Helper()
	dir := t.TempDir()
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(findChromium(t)), chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Env(
			"FONTCONFIG_FILE="+writeFile(t, "fonts.conf", pictureFonts), "XDG_CACHE_HOME="+dir, "XDG_CONFIG_HOME="+dir,
		),
		chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(keyHashes(t, root, addrs), ",")),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true),
		chromedp.WindowSize(pictureWidth, pictureHeight),
	}
	for _, name := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps",
		"disable-extensions", "disable-breakpad", "disable-dev-shm-usage", "metrics-recording-only",
	} {
		opts = append(opts, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stop)
	ctx, closeWindow := chromedp.NewContext(allocator)
	t.Cleanup(closeWindow)
	w := &window{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, w.heed); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	w.domain(audits.Enable)
	w.domain(log.Enable)
	w.domain(runtime.Enable)
	w.emulateScheme("light")
	return w
}

// findChromium returns the path of a browser that speaks the DevTools protocol.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("this test needs Chromium: on Debian or Ubuntu, sudo apt-get install chromium")
	return ""
}

// keyHashes connects to each address as localhost, verifying against the root certificate, and returns the
// hashes of the keys found there as Chromium wants them. The browser then takes these certificates and
// refuses all others, without anything being installed on the machine.
func keyHashes(t *testing.T, root string, addrs []string) []string {
	t.Helper()
	pem, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s: no certificate in it", root)
	}
	var hashes []string
	for _, addr := range addrs {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost"})
		if err != nil {
			t.Fatalf("the certificate at %s is not from %s: %v", addr, root, err)
		}
		sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
		conn.Close()
		hashes = append(hashes, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return hashes
}

// domain makes the browser send the events of a part of its protocol.
func (w *window) domain(enable cdp.Command[cdp.Empty, cdp.Empty]) {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, enable, cdp.Empty{}); err != nil {
		w.t.Fatalf("%s: %v", enable.Method, err)
	}
}

// heed keeps what the browser finds wrong: refusals by a page's policy, errors of scripts and of loading. That
// the answer to a navigation has an error status is among them; tests look at the status themselves. It runs
// on the goroutine that reads from the browser, so that it has seen what came before a step's end.
func (w *window) heed(event any) {
	switch e := event.(type) {
	case *audits.EventIssueAdded:
		if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			d := e.Issue.Details.ContentSecurityPolicyIssueDetails
			w.complain("policy: %s blocked %q", d.ViolatedDirective, d.BlockedURL)
		}
	case *log.EventEntryAdded:
		status := e.Entry.Source == log.EntrySourceNetwork && strings.Contains(e.Entry.Text, "the server responded with a status of 4")
		if e.Entry.Level == log.EntryLevelError && !status {
			w.complain("%s: %s: %s", e.Entry.Source, e.Entry.URL, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		w.complain("exception: %s: %s", e.ExceptionDetails.URL, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			w.complain("console.error with %d arguments", len(e.Args))
		}
	}
}

func (w *window) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complaints = append(w.complaints, fmt.Sprintf(format, args...))
}

// assertNoComplaints fails the test for everything that the browser complained about so far.
func (w *window) assertNoComplaints() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		w.t.Errorf("the browser complained: %s", c)
	}
}

// do runs steps in the window.
func (w *window) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		w.t.Fatalf("%v\n%s", err, w.describe())
	}
}

// describe says where the window is and what can be read there.
func (w *window) describe() string {
	ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
	defer cancel()
	at, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return "at " + at + ":\n" + text
}

// visit runs steps that lead to another page, such as a click on a link, and returns that page's status.
func (w *window) visit(steps ...chromedp.Action[chromedp.Void]) int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.describe())
	}
	return int(resp.Status)
}

// expect runs steps that lead to another page and fails unless it has this status and is below address.
func (w *window) expect(status int, address string, steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	got := w.visit(steps...)
	if at := w.location(); got != status || !strings.HasPrefix(at, address) {
		w.t.Fatalf("got %d at %s, want %d at %s\n%s", got, at, status, address, w.describe())
	}
}

func (w *window) location() string {
	w.t.Helper()
	return evaluate[string](w, "location.href")
}

// text is what a person reads in the first element that matches.
func (w *window) text(selector string) string {
	w.t.Helper()
	return strings.TrimSpace(evaluate[string](w, fmt.Sprintf("document.querySelector(%q)?.innerText ?? 'nothing matches'", selector)))
}

func evaluate[T any](w *window, expression string) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		w.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits for an expression to become true.
func (w *window) until(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression)); err != nil {
		w.t.Fatalf("%s: %v\n%s", expression, err, w.describe())
	}
}

// cookies returns what the window would send to address, in a header and as the browser keeps it.
func (w *window) cookies(address string) (header string, kept []*network.Cookie) {
	w.t.Helper()
	got, err := chromedp.Call(w.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	if err != nil {
		w.t.Fatal(err)
	}
	var pairs []string
	for _, c := range got.Cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; "), got.Cookies
}

// putBack gives the window cookies that it had before.
func (w *window) putBack(kept []*network.Cookie) {
	w.t.Helper()
	for _, c := range kept {
		_, err := chromedp.Call(w.ctx, network.SetCookie, network.SetCookieParams{
			Name: c.Name, Value: c.Value, Domain: c.Domain, Path: c.Path, Secure: new(c.Secure), HTTPOnly: new(c.HTTPOnly), SameSite: c.SameSite,
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// emulateScheme makes the browser prefer pages that are light or dark.
func (w *window) emulateScheme(scheme string) {
	w.t.Helper()
	_, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Pictures are of this size in CSS pixels, and sharp on dense screens.
const (
	pictureWidth  = 1100
	pictureHeight = 760
	pictureScale  = 1.5
	// maxPicture keeps the README quick to load, in bytes.
	maxPicture = 150 << 10
)

// pictureFonts gives pictures a typeface that Debian's Chromium always brings along, whatever else is
// installed, so that they look the same wherever they are made.
const pictureFonts = `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<match target="pattern">
<test name="family" qual="all" compare="not_contains"><string>mono</string></test>
<edit name="family" mode="prepend" binding="strong"><string>Liberation Sans</string></edit>
</match>
<match target="pattern">
<test name="family" compare="contains"><string>mono</string></test>
<edit name="family" mode="prepend" binding="strong"><string>Liberation Mono</string></edit>
</match>
</fontconfig>`

// picture keeps the window as it is now, light and dark, with the test's artifacts. The pictures of the
// README also go where -screenshots says.
func (w *window) picture(name string, height int64) {
	w.t.Helper()
	w.do(chromedp.EmulateViewport(pictureWidth, height, chromedp.EmulateScale(pictureScale)))
	for _, scheme := range []string{"dark", "light"} {
		w.emulateScheme(scheme)
		ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
		shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		cancel()
		if err != nil {
			w.t.Fatalf("picture %s: %v", name, err)
		}
		writePicture(w.t, w.t.ArtifactDir(), name+"-"+scheme, shot)
		if *screenshots == "" || !slices.Contains([]string{"sign-in", "demo-app", "blocked"}, name) {
			continue
		}
		if shot, err = shrink(shot); err != nil {
			w.t.Fatalf("picture %s: %v", name, err)
		}
		if len(shot) > maxPicture {
			w.t.Errorf("picture %s, %s: want %d bytes at most, got %d", name, scheme, maxPicture, len(shot))
		}
		writePicture(w.t, *screenshots, name+"-"+scheme, shot)
	}
}

func writePicture(t *testing.T, dir, name string, shot []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

// shrink keeps the 256 most frequent colours of a PNG. Pages are of few colours; the others are on the edges
// of letters.
func shrink(raw []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	bounds, counts := from.Bounds(), map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(from.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	frequent := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range frequent[:min(len(frequent), 256)] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for c := range counts {
		index[c] = uint8(palette.Index(c))
	}
	to := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			to.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	err = encoder.Encode(&out, to)
	return out.Bytes(), err
}

// replay sends cookies as a program that has stolen them would, and returns the status.
func replay(t *testing.T, addr, address, cookies string) int {
	t.Helper()
	b := newBrowser(t, addr, "")
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookies)
	req.Header.Set("Sec-Fetch-Mode", "cors")
	resp, _ := b.do(req)
	return resp.StatusCode
}

// forgetCookies takes all cookies from the window.
func (w *window) forgetCookies() {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		w.t.Fatal(err)
	}
}
