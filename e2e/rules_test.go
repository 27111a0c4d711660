package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// rulesRoutes are for who they say. In the pool alice is in Field work and bob in Operations and an
// admin; nobody has verified carol's address.
const rulesRoutes = `
  - {match: ` + appHost + `/department/*, to: u, require: {claims: {"custom:department": [Operations, Sales]}}, waf: off}
  - {match: ` + appHost + `/mail/*, to: u, require: {email_domains: [example.com]}, waf: off}
  - {match: ` + appHost + `/elsewhere/*, to: u, require: {email_domains: [example.org, "*.example.com"]}, waf: off}
  - match: ` + appHost + `/expression/*
    to: u
    require:
      expr: |
        request.client.in_cidr("127.0.0.0/8") &&
          ("admins" in identity.groups || request.query.as == [identity.username])
    waf: off
  - {match: ` + appHost + `/missing/*, to: u, require: {expr: "identity.claims.clearance > 3"}, waf: off}
  - {match: ` + appHost + `/api/scope/*, to: u, require: {token: {scopes: [orders.write]}}, waf: off}
  - {match: ` + appHost + `/api/person/*, to: u, require: {token: {claims: {username: bob}, expr: '"openid" in identity.scopes'}}, waf: off}
  - {match: ` + appHost + `, to: u, require: signed-in, waf: off}
`

var anotherAccount = regexp.MustCompile(`<a href="([^"]+)">Sign out and use another account</a>`)

// TestRulesSayWho opens the pages of rulesRoutes as people and as programs.
func TestRulesSayWho(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t), routes: rulesRoutes})
	for _, tt := range []struct {
		path   string
		pass   []string
		reason string // of the others
	}{
		{"/department/x", []string{"bob"}, "AuthForbidden"},
		{"/mail/x", []string{"alice", "bob"}, "AuthEmailNotVerified"},
		{"/elsewhere/x", nil, "AuthForbidden"},
		{"/expression/x?as=nobody", []string{"bob"}, "AuthForbidden"},
		{"/expression/x?as=carol", []string{"bob", "carol"}, "AuthForbidden"},
		{"/expression/x?as=carol&as=carol", []string{"bob"}, "AuthForbidden"},
		{"/expression/x", []string{"bob"}, "AuthForbidden"},
		{"/missing/x", nil, "AuthForbidden"},
	} {
		for _, user := range []string{"alice", "bob", "carol"} {
			pass := strings.Contains(" "+strings.Join(tt.pass, " ")+" ", " "+user+" ")
			b := s.signIn(user, "/")
			resp, page := b.open(s.base + tt.path)
			if pass != (resp.StatusCode == http.StatusOK) {
				t.Errorf("%s as %s: got %s, want pass %t\n%s", tt.path, user, resp.Status, pass, page)
				continue
			}
			if pass {
				continue
			}
			link := anotherAccount.FindStringSubmatch(page)
			if resp.StatusCode != http.StatusForbidden || !strings.Contains(page, user+"@example.com") || link == nil {
				t.Errorf("%s as %s: got %s, want 403, the account, and another one to use\n%s", tt.path, user, resp.Status, page)
			}
			s.clients(t, func(t *testing.T, c *http.Client) {
				resp, body := fetch(t, c, s.base+tt.path, b.cookies(s.base), "Accept", "application/json")
				var got struct {
					Account, Reason string
					SignOut         string `json:"sign_out"`
				}
				if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != http.StatusForbidden ||
					got.Account != user+"@example.com" || got.Reason != tt.reason || !strings.HasPrefix(got.SignOut, "/oauth2/sign_out?") {
					t.Errorf("%s as %s: got %s %s, want 403, the account and %s", tt.path, user, resp.Status, body, tt.reason)
				}
			})
		}
	}
}

// TestRulesOfTokens shows what RFC 6750 has a client told.
func TestRulesOfTokens(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t), routes: rulesRoutes})
	for _, tt := range []struct {
		user, path string
		status     int
		challenge  string
		reason     string
	}{
		{"bob", "/api/person/x", 200, "", ""},
		{"alice", "/api/person/x", 403, `Bearer realm="gatehouse"`, "AuthForbidden"},
		{"bob", "/api/scope/x", 403, `error="insufficient_scope", scope="orders.write"`, "AuthInsufficientScope"},
	} {
		resp, page := s.signIn(tt.user, "/").open(s.base + "/token")
		token := readEcho(t, page).Header.Get("X-Amzn-Oidc-Accesstoken")
		if resp.StatusCode != http.StatusOK || token == "" {
			t.Fatalf("no access token of %s: %s\n%s", tt.user, resp.Status, page)
		}
		s.clients(t, func(t *testing.T, c *http.Client) {
			resp, body := fetch(t, c, s.base+tt.path, "", "Authorization", "Bearer "+token)
			challenge := resp.Header.Get("WWW-Authenticate")
			if resp.StatusCode != tt.status || !strings.Contains(challenge, tt.challenge) {
				t.Errorf("%s to %s: got %s %q, want %d %q\n%s", tt.user, tt.path, resp.Status, challenge, tt.status, tt.challenge, body)
			}
			if tt.status == http.StatusOK {
				return
			}
			var got struct{ Account, Reason, Error string }
			if err := json.Unmarshal([]byte(body), &got); err != nil || got.Account != tt.user || got.Reason != tt.reason || strings.Contains(body, token) {
				t.Errorf("%s to %s: got %s, want the account and %s", tt.user, tt.path, body, tt.reason)
			}
		})
	}
}

// TestAnotherAccountOfThePool: without leaving the pool first it would sign alice in again.
func TestAnotherAccountOfThePool(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t), routes: rulesRoutes})
	const path = "/expression/reports?year=2026&q=a%20b"
	b := s.signIn("alice", "/")
	old := b.cookies(s.base)
	resp, page := b.open(s.base + path)
	link := anotherAccount.FindStringSubmatch(page)
	if resp.StatusCode != http.StatusForbidden || link == nil {
		t.Fatalf("got %s, want 403 and another account to use\n%s", resp.Status, page)
	}
	resp, page = b.signIn(s.base+html.UnescapeString(link[1]), "bob")
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Path != path {
		t.Errorf("as bob: got %s of %s, want the page that alice may not open\n%s", resp.Status, resp.Request.URL, page)
	}
	s.clients(t, func(t *testing.T, c *http.Client) { s.testSignedOut(t, c, old) })
	if left := b.cookies(s.base); strings.Contains(left, "-switch") {
		t.Errorf("cookies: got %q, want none of the way", left)
	}
}

// TestAnotherAccountOfAnotherProvider does the same where the provider asks whether to sign out.
func TestAnotherAccountOfAnotherProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	spec := siteSpec{
		upstream: startEcho(t), env: []string{"CLIENT_SECRET=" + oidcSecret},
		routes: fmt.Sprintf(`
  - {match: %[1]s/board/*, to: u, require: {expr: "identity.subject == 'bob'"}, waf: off}
  - {match: %[1]s, to: u, require: signed-in, waf: off}
`, appHost),
	}
	s := newSite(t, spec)
	s.pool = &pool{url: p.url}
	s.write(s.fileText(spec, p.login("gatehouse-RS256")))
	s.run(spec)
	s.message("provider reached", 0)

	b, _ := s.signInAt(p, "alice", "/")
	resp, page := b.open(s.base + "/board/1?x=2")
	link := anotherAccount.FindStringSubmatch(page)
	if resp.StatusCode != http.StatusForbidden || link == nil || !strings.Contains(page, "alice@example.com") {
		t.Fatalf("got %s, want 403, the account and another one to use\n%s", resp.Status, page)
	}
	resp, page = b.follow(s.base + html.UnescapeString(link[1]))
	if got := resp.Request.URL.String(); !strings.HasPrefix(got, p.url+"/session/end") {
		t.Fatalf("got to %s, want the provider's question\n%s", got, page)
	}
	resp, page = p.travel(b, b.submit(resp, page, url.Values{"logout": {"yes"}}), "bob", "")
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "bob" || readEcho(t, page).Path != "/board/1?x=2" {
		t.Errorf("as bob: got %s of %s, want the page that alice may not open\n%s", resp.Status, resp.Request.URL, page)
	}
}

// TestBrowserUsesAnotherAccount goes the way in a real browser, which decides by itself what cookies cross
// from the pool's site to ours.
func TestBrowserUsesAnotherAccount(t *testing.T) {
	t.Parallel()
	l := startLaptop(t)
	signIn := func(user, page string, status int) {
		t.Helper()
		l.expect(status, l.base+page,
			chromedp.SendKeys(chromedp.CSS("#username"), user),
			chromedp.SendKeys(chromedp.CSS("#password"), user),
			chromedp.Click(chromedp.CSS("#password ~ button")))
	}
	l.expect(http.StatusOK, l.pool, chromedp.Navigate(l.base+"/admin?tab=2"))
	signIn("alice", "/admin?tab=2", http.StatusForbidden)
	l.expect(http.StatusOK, l.pool, chromedp.Click(chromedp.CSS(`main a[href^="/oauth2/sign_out"]`)))
	signIn("bob", "/admin?tab=2", http.StatusOK)
	if got := l.text("main"); !strings.Contains(got, "may be here") {
		t.Errorf("the admin page: got %q", got)
	}
	l.assertNoComplaints()
}
