package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

const challengeTop = `
secret: 0123456789abcdef0123456789abcdef
challenge: {difficulty: %d}
trusted_proxies: [127.0.0.1]
limits: {busy: {rate: 2/1h, action: challenge}}
acl:
  rules:
    - {name: bots, when: {path: {starts_with: /bots/}, label: "awswaf:managed:token:absent"}, action: block}
    - {name: forgers, when: {path: {starts_with: /bots/}, label: "token:rejected"}, action: block, respond: {status: 401}}
    - {name: browsers, when: {not: {path: {starts_with: [/open, /busy]}}}, action: challenge, insert: {browser: "yes"}}
`

// A client from elsewhere that asks for localhost is an attack to the WAF; rules do without it.
const challengeRoutes = `
  - {match: %[1]s/busy, to: u, require: nothing, limit: busy, waf: off}
  - {match: %[1]s, to: u, require: nothing, waf: off}
  - {match: other.localhost, to: u, require: nothing, waf: off}
`

// startShop is an upstream with a page, a form and an API. It answers with what it got.
func startShop(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api" {
			fmt.Fprintf(w, "cookies %q, browser %q", r.Header.Get("Cookie"), r.Header.Get("X-Amzn-Waf-Browser"))
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><title>Shop</title><h1>%s %s</h1><p id="said">%s</p><form method="post" action="/order"><input name="say"><button>Order</button></form>`,
			r.Method, r.URL.Path, r.FormValue("say"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func startChallenging(t *testing.T, difficulty int) *site {
	t.Helper()
	s := startOpen(t, siteSpec{host: "localhost", upstream: startShop(t), top: fmt.Sprintf(challengeTop, difficulty), routes: fmt.Sprintf(challengeRoutes, "localhost")})
	_, port, _ := strings.Cut(s.addr, ":")
	s.base = "https://localhost:" + port
	return s
}

// A browser does the work without anybody's help, once: the page, the site's scripts and its forms then work.
func TestChallengeInABrowser(t *testing.T) {
	t.Parallel()
	s := startChallenging(t, 18)
	w := openWindow(t, filepath.Join(s.state, "local-ca", "root.pem"), s.addr)
	w.expect(http.StatusAccepted, s.base+"/cakes", chromedp.Navigate(s.base+"/cakes"))
	w.arrives("GET /cakes")
	api := `fetch("/api").then(async r => r.status + " " + r.headers.get("x-amzn-waf-action") + " " + await r.text())`
	if got := await[string](w, api); got != `200 null cookies "", browser "yes"` {
		t.Errorf("a script with a token: got %s", got)
	}
	_, kept := w.cookies(s.base)
	if len(kept) != 1 || !kept[0].HTTPOnly || !kept[0].Secure || kept[0].SameSite != "Lax" || !strings.HasPrefix(kept[0].Name, "__Host-") {
		t.Errorf("the cookie is %+v", kept)
	}

	w.forgetCookies()
	if got := await[string](w, api); !strings.HasPrefix(got, `202 challenge {"action":"challenge"`) {
		t.Errorf("a script without a token: got %s", got)
	}
	w.expect(http.StatusAccepted, s.base+"/order",
		chromedp.SendKeys(chromedp.CSS("input"), "two cakes"), chromedp.Click(chromedp.CSS("button")))
	w.until(`!document.querySelector("button").hidden`)
	if got := w.text("#state"); !strings.Contains(got, "has not been taken yet") {
		t.Errorf("a form: got %q", got)
	}
	w.do(chromedp.Click(chromedp.CSS("button")))
	w.arrives("GET /cakes")
	if got := evaluate[string](w, `document.querySelector("input").value`); got != "two cakes" {
		t.Errorf("back at the form it says %q", got)
	}
	evaluate[int](w, `setTimeout(() => document.querySelector("form button").click())`)
	w.arrives("POST /order")
	if got := w.text("#said"); got != "two cakes" {
		t.Errorf("a form that is sent again: got %q", got)
	}
	w.assertNoComplaints()
	if strings.Contains(s.output(), "GatehouseToken") || strings.Contains(s.output(), kept[0].Value) {
		t.Error("the token is in the log")
	}
}

// TestChallengePage is what a person sees meanwhile.
func TestChallengePage(t *testing.T) {
	t.Parallel()
	s := startChallenging(t, 26)
	w := openWindow(t, filepath.Join(s.state, "local-ca", "root.pem"), s.addr)
	w.expect(http.StatusAccepted, s.base+"/", chromedp.Navigate(s.base+"/"))
	if got := w.text("main"); !strings.HasPrefix(got, "One moment") || !requestID.MatchString(got) {
		t.Errorf("the page says %q", got)
	}
	w.until(`document.querySelector("progress").value > 0`)
	w.picture("challenge", pictureHeight)
	w.assertNoComplaints()
}

// arrives waits until the window has gone on to a page with this heading. The page itself tells. One that goes away before
// it has told may never answer, so it is asked for a while only, and then the one that has come after it.
func (w *window) arrives(heading string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, browserTimeout)
	defer cancel()
	there := fmt.Sprintf(`document.readyState === "complete" && document.querySelector("h1")?.innerText === %q`, heading)
	for {
		asked, enough := context.WithTimeout(ctx, browserTimeout/20)
		_, err := chromedp.Run(asked, chromedp.Poll[bool](there))
		enough()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			w.t.Fatalf("want the page %q, got one %s", heading, w.describe())
		}
	}
}

var pageSeed = regexp.MustCompile(`data-seed="([^"]+)" data-bits="(\d+)" data-pieces="(\d+)"`)

// solve does the work of a page as its script does.
func solve(t *testing.T, page string) (solution string) {
	t.Helper()
	found := pageSeed.FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no challenge in\n%s", page)
	}
	zeros, _ := strconv.Atoi(found[2])
	pieces, _ := strconv.Atoi(found[3])
	sum := sha256.Sum256([]byte(found[1]))
	numbers := make([]uint64, pieces)
	for i := range numbers {
		for ; ; numbers[i]++ {
			piece := sha256.Sum256(fmt.Appendf(nil, "%x.%d.%d", sum[:16], i, numbers[i]))
			if zeroBits(piece[:4]) >= zeros {
				break
			}
		}
	}
	text, err := json.Marshal(map[string]any{"seed": found[1], "numbers": numbers})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// zeroBits counts the zero bits that some bytes begin with.
func zeroBits(b []byte) (n int) {
	for _, c := range b {
		if c != 0 {
			return n + bits.LeadingZeros8(c)
		}
		n += 8
	}
	return n
}

// sendWork sends a solution from an address and returns the answer and the token.
func (s *site) sendWork(t *testing.T, c *http.Client, from, solution string) (resp *http.Response, cookie string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/.gatehouse/challenge", strings.NewReader(solution))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", from)
	resp, _ = send(t, c, req)
	cookie, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	return resp, cookie
}

// What attackers do with seeds, work and tokens, through the listener.
func TestChallengeIsAttacked(t *testing.T) {
	t.Parallel()
	s := startChallenging(t, 10)
	const here, there = "192.0.2.1", "192.0.2.2"
	s.clients(t, func(t *testing.T, c *http.Client) {
		ask := func(path, from, cookies string, more ...string) (*http.Response, string) {
			t.Helper()
			return fetch(t, c, s.base+path, cookies, append([]string{"X-Forwarded-For", from}, more...)...)
		}
		resp, page := ask("/", here, "", navigating()...)
		if resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Amzn-Waf-Action") != "challenge" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "script-src 'sha256-") {
			t.Fatalf("a page: got %s %v", resp.Status, resp.Header)
		}
		solution := solve(t, page)
		if resp, cookie := s.sendWork(t, c, there, solution); resp.StatusCode != http.StatusForbidden || cookie != "" {
			t.Errorf("somebody else's work: got %s", resp.Status)
		}
		if resp, cookie := s.sendWork(t, c, here, strings.Replace(solution, `"numbers":[`, `"numbers":[7,`, 1)); resp.StatusCode != http.StatusForbidden || cookie != "" {
			t.Errorf("wrong work: got %s", resp.Status)
		}
		if resp, _ := s.sendWork(t, c, here, solution+strings.Repeat(" ", 1<<20)); resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("too much work: got %s", resp.Status)
		}
		resp, cookie := s.sendWork(t, c, here, solution)
		if resp.StatusCode != http.StatusNoContent || cookie == "" {
			t.Fatalf("work: got %s", resp.Status)
		}
		name, token, _ := strings.Cut(cookie, "=")
		for _, tt := range []struct {
			what, path, from, cookies string
			status                    int
		}{
			{"the token", "/api", here, cookie, 200},
			{"among others", "/api", here, "a=b; " + cookie + "; c=d", 200},
			{"no token", "/api", here, "", 202},
			{"from another address", "/api", there, cookie, 202},
			{"cut", "/api", here, cookie[:len(cookie)-1], 202},
			{"changed", "/api", here, name + "=" + strings.Map(swapCase, token), 202},
			{"too long", "/api", here, name + "=" + strings.Repeat("A", 4000), 202},
			{"empty", "/api", here, name + "=", 202},
			{"a rule that asks for absence", "/bots/x", here, "", 403},
			{"a rule that asks for forgery", "/bots/x", there, cookie, 401},
			{"and lets tokens pass", "/bots/x", here, cookie, 200},
			{"a rule that does not challenge", "/open", here, "", 200},
		} {
			resp, body := ask(tt.path, tt.from, tt.cookies)
			if resp.StatusCode != tt.status {
				t.Errorf("%s: got %s, want %d\n%s", tt.what, resp.Status, tt.status, body)
			}
			if tt.path == "/api" && tt.status == http.StatusOK && (strings.Contains(body, name) || !strings.Contains(body, `browser "yes"`)) {
				t.Errorf("%s: the upstream got %s", tt.what, body)
			}
		}
		elsewhere := strings.Replace(s.base, "localhost", "other.localhost", 1)
		if resp, _ := fetch(t, c, elsewhere+"/open", cookie, "X-Forwarded-For", here); resp.StatusCode != http.StatusOK {
			t.Fatalf("another host: got %s", resp.Status)
		}
		if resp, _ := fetch(t, c, elsewhere+"/api", cookie, "X-Forwarded-For", here); resp.StatusCode != http.StatusAccepted {
			t.Errorf("at another host: got %s, want to be asked for work", resp.Status)
		}
	})
}

func swapCase(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return r - 'a' + 'A'
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 'a'
	}
	return r
}

// A limit that challenges lets those pass that have given a proof of work, and tells the others how to.
func TestLimitChallenges(t *testing.T) {
	t.Parallel()
	s := startChallenging(t, 10)
	c := newClient(t, s.addr, true)
	ask := func(cookies string, more ...string) (*http.Response, string) {
		t.Helper()
		return fetch(t, c, s.base+"/busy", cookies, append([]string{"X-Forwarded-For", "192.0.2.7"}, more...)...)
	}
	for range 2 {
		if resp, _ := ask(""); resp.StatusCode != http.StatusOK {
			t.Fatalf("below the limit: got %s", resp.Status)
		}
	}
	resp, body := ask("")
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Amzn-Waf-Action") != "challenge" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("over the limit: got %s %v", resp.Status, resp.Header)
	}
	var answer struct {
		ID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.ID == "" {
		t.Fatalf("got %q, want JSON", body)
	}
	s.eventWithID(answer.ID)
	if why := runToEnd(t, "", nil, "why", answer.ID, "--admin", s.addrs["admin"]); !strings.Contains(why.stdout, `The limit "busy" asked the client for a proof of work`) {
		t.Errorf("why: got %+v", why)
	}
	_, page := ask("", navigating()...)
	_, cookie := s.sendWork(t, c, "192.0.2.7", solve(t, page))
	for range 3 {
		if resp, body := ask(cookie); resp.StatusCode != http.StatusOK {
			t.Errorf("with a token: got %s\n%s", resp.Status, body)
		}
	}
	if resp, _ := ask("", "Content-Type", "application/grpc"); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("gRPC: got %s", resp.Status)
	}
}
