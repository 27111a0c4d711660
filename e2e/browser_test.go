package e2e

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// A laptop is `gatehouse dev` and a browser window in front of it.
type laptop struct {
	*program
	*window
	base, pool string
}

func startLaptop(t *testing.T, args ...string) *laptop {
	t.Helper()
	state := t.TempDir()
	p := start(t, append([]string{"dev", "--state-dir", state}, args...), "https", "admin", "pool")
	_, port, _ := strings.Cut(p.addrs["https"], ":")
	w := openWindow(t, filepath.Join(state, "local-ca", "root.pem"), p.addrs["https"])
	return &laptop{p, w, "https://localhost:" + port, "http://" + p.addrs["pool"]}
}

var requestID = regexp.MustCompile(`Request\s+(\S+)`)

// TestBrowser is the first quarter of an hour with Gatehouse: what a person does after `gatehouse dev`.
// It is one story, told in order: each step begins where the one before has ended.
func TestBrowser(t *testing.T) {
	t.Parallel()
	l := startLaptop(t)
	l.signInAsAlice(t)
	l.staysOutOfAdmin(t)
	l.keepsConnectionsOpen(t)
	l.isBlocked(t)
	l.signsOut(t)
	l.signInAsBob(t)
	l.assertNoComplaints()
}

func (l *laptop) signInAsAlice(t *testing.T) {
	t.Helper()
	l.expect(http.StatusOK, l.base, chromedp.Navigate(l.base))
	l.picture("home", pictureHeight)
	l.expect(http.StatusOK, l.pool, chromedp.Click(chromedp.CSS(".session a")))
	l.picture("sign-in", 830)
	l.expect(http.StatusOK, l.base+"/app",
		chromedp.SendKeys(chromedp.CSS("#username"), "alice"),
		chromedp.SendKeys(chromedp.CSS("#password"), "alice"),
		chromedp.Click(chromedp.CSS("#password ~ button")))
	for selector, want := range map[string]string{
		".verified": "Signature verified by this app", "#username": "alice", "#email": "alice@example.com", "#groups": "users",
	} {
		if got := l.text(selector); got != want {
			t.Errorf("%s: got %q, want %q", selector, got, want)
		}
	}
	l.picture("demo-app", 830)
}

func (l *laptop) staysOutOfAdmin(t *testing.T) {
	t.Helper()
	l.expect(http.StatusForbidden, l.base+"/admin", chromedp.Click(chromedp.CSS(`nav a[href="/admin"]`)))
	if got := l.text("main"); !strings.Contains(got, "alice@example.com") || !strings.Contains(got, "use another account") {
		t.Errorf("the page names neither the account nor a way out:\n%s", got)
	}
	l.picture("refused", pictureHeight)
}

func (l *laptop) keepsConnectionsOpen(t *testing.T) {
	t.Helper()
	l.expect(http.StatusOK, l.base+"/app/live", chromedp.Navigate(l.base+"/app/live"))
	l.do(chromedp.WaitVisible(chromedp.CSS("#events li:nth-child(2)"))) // the first could be all that ever gets through
	l.until(`document.querySelector("#socket-state").textContent === "Connected."`)
	l.do(chromedp.Click(chromedp.CSS("#socket-form button")), chromedp.WaitVisible(chromedp.CSS("#socket li:nth-child(2)")))
	if got, want := l.text("#socket"), "received: Hello, socket"; !strings.Contains(got, want) {
		t.Errorf("WebSocket: got %q, want %q", got, want)
	}
	l.picture("live", pictureHeight)
}

func (l *laptop) isBlocked(t *testing.T) {
	t.Helper()
	l.expect(http.StatusOK, l.base, chromedp.Click(chromedp.CSS("a.brand")))
	l.expect(http.StatusForbidden, l.base, chromedp.Click(chromedp.CSS(`.tries a[href^="/?id="]`)))
	l.picture("blocked", 500)
	id := requestID.FindStringSubmatch(l.text("main"))
	if id == nil {
		t.Fatalf("no request id on the page:\n%s", l.text("main"))
	}
	event := l.eventWithID(id[1])
	waf, _ := event["waf"].(map[string]any)
	rules, _ := waf["rules"].([]any)
	if waf["verdict"] != "block" || len(rules) == 0 {
		t.Errorf("the event of %s: got %v, want the verdict block with rules", id[1], event)
	}
}

func (l *laptop) signsOut(t *testing.T) {
	t.Helper()
	l.expect(http.StatusOK, l.base+"/app", chromedp.Navigate(l.base+"/app"))
	stolen, kept := l.cookies(l.base + "/app")
	if got := replay(t, l.addrs["https"], l.base+"/app", stolen); got != http.StatusOK {
		t.Fatalf("a copy of the session's cookies before signing out: got %d, want 200", got)
	}
	l.expect(http.StatusOK, l.base, chromedp.Click(chromedp.CSS(".session a")))
	if got := l.text("h1"); got != "You are signed out" {
		t.Fatalf("got %q at %s, want the page after signing out", got, l.location())
	}
	l.picture("signed-out", pictureHeight)
	l.expect(http.StatusOK, l.pool, chromedp.Navigate(l.base+"/app"))
	if got := l.text(".again"); got != "nothing matches" {
		t.Errorf("the pool still knows who was signed in: %q", got)
	}
	if got := replay(t, l.addrs["https"], l.base+"/app", stolen); got != http.StatusUnauthorized {
		t.Errorf("the old cookies replayed by a program: got %d, want 401", got)
	}
	l.putBack(kept)
	l.expect(http.StatusOK, l.pool, chromedp.Navigate(l.base+"/app"))
}

func (l *laptop) signInAsBob(t *testing.T) {
	t.Helper()
	l.expect(http.StatusOK, l.base+"/app", chromedp.Click(chromedp.CSS(`button[aria-label="Sign in as bob"]`)))
	l.expect(http.StatusOK, l.base+"/admin", chromedp.Click(chromedp.CSS(`nav a[href="/admin"]`)))
	if got := l.text("main"); !strings.Contains(got, "may be here") || !strings.Contains(got, "admins") {
		t.Errorf("the admin page: got %q", got)
	}
	l.picture("admin", pictureHeight)
}
