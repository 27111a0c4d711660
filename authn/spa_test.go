package authn

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// asks are the header fields of a page's script that asks for its session.
var asks = []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin", "Accept", "application/json"}

type stateAnswer struct {
	SignedIn  bool   `json:"signed_in"`
	Account   string `json:"account"`
	ExpiresIn int64  `json:"expires_in"`
	RenewIn   *int64 `json:"renew_in"`
	LoginURL  string `json:"login_url"`
	PopupURL  string `json:"popup_url"`
}

func (s *stack) state(method string, cookies []*http.Cookie, headers ...string) (stateAnswer, *reply) {
	s.t.Helper()
	a := s.request(method, SessionPath, cookies, headers...)
	var state stateAnswer
	if err := json.Unmarshal([]byte(a.body), &state); err != nil || a.status != 200 {
		s.t.Fatalf("%s: got %d %q (%v), want 200 and JSON", method, a.status, a.body, err)
	}
	return state, a
}

func TestSessionState(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	alice := s.login("alice").own()
	s.clock.advance(10 * time.Minute)
	state, a := s.state("GET", alice, with(asks, "Referer", s.gw.URL+"/board?week=3")...)
	if !state.SignedIn || state.ExpiresIn != 42600 || state.RenewIn == nil || *state.RenewIn != 3000 {
		t.Errorf("got %s, want 42600 s of the session and 3000 s of the access token left", a.body)
	}
	if state.LoginURL != "/oauth2/sign_in?rd=%2Fboard%3Fweek%3D3" || state.PopupURL != "/oauth2/sign_in?rd=%2Foauth2%2Fsigned_in" {
		t.Errorf("addresses: got %s", a.body)
	}
	if strings.Contains(a.body, "alice") || a.header.Get("Cache-Control") != "no-store" ||
		a.header.Get("Cross-Origin-Resource-Policy") != "same-origin" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %s with %v, want nobody named and nothing stored", a.body, a.header)
	}
	for name, cookies := range map[string][]*http.Cookie{
		"nobody": nil, "junk": {{Name: "__Host-gatehouse-0", Value: "1abcdefgh1AAAA"}},
	} {
		state, a := s.state("GET", cookies, asks...)
		if state.SignedIn || state.Account != "" || state.RenewIn != nil || state.LoginURL != "/oauth2/sign_in?rd=%2F" || len(a.cookies) > 0 {
			t.Errorf("%s: got %s with %d cookies, want signed out and no login begun", name, a.body, len(a.cookies))
		}
	}
	again, _ := s.state("GET", s.login("alice").own(), asks...)
	bob, _ := s.state("GET", s.login("bob").own(), asks...)
	if again.Account != state.Account || bob.Account == state.Account || state.Account == "" {
		t.Errorf("accounts: got %q, %q and for bob %q", state.Account, again.Account, bob.Account)
	}
	if a := s.request("HEAD", SessionPath, alice, asks...); a.status != 200 || a.body != "" {
		t.Errorf("HEAD: got %d %q", a.status, a.body)
	}
}

func TestSessionStateIsForPagesOfThisHost(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	alice := s.login("alice").own()
	s.clock.advance(2 * time.Hour)
	for _, tt := range []struct {
		name    string
		method  string
		headers []string
		status  int
	}{
		{"its page", "GET", asks, 200},
		{"a person", "GET", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, 200},
		{"a program", "GET", program, 200},
		{"an old browser", "GET", []string{"Origin", s.gw.URL}, 200},
		{"another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, 403},
		{"a sibling", "GET", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"another site in an old browser", "GET", []string{"Origin", "https://evil.test"}, 403},
		{"another site that renews", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"another site that renews, in an old browser", "POST", []string{"Origin", "https://evil.test"}, 403},
		{"a form of another site", "POST", []string{"Referer", "https://evil.test/"}, 403},
	} {
		before := s.count("token")
		a := s.request(tt.method, SessionPath, alice, tt.headers...)
		if a.status != tt.status || len(a.cookies) > 0 || strings.Contains(a.body, "account") != (tt.status == 200) {
			t.Errorf("%s: got %d %s with %d cookies, want %d", tt.name, a.status, a.body, len(a.cookies), tt.status)
		}
		if n := s.count("token") - before; n != 0 {
			t.Errorf("%s: %d calls to the token endpoint, want 0", tt.name, n)
		}
	}
}

func TestAPageRenewsTheAccessToken(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.rotate = true })
	b := s.login("alice")
	calls := func() int { return s.count("token") - 1 }
	renew := func() stateAnswer {
		t.Helper()
		state, a := s.state("POST", b.own(), asks...)
		b.Jar.SetCookies(mustURL(t, s.gw.URL), a.cookies)
		return state
	}
	s.clock.advance(29 * time.Minute)
	if state := renew(); calls() != 0 || *state.RenewIn != 31*60 {
		t.Errorf("before half of its life: %d calls, %d s left; want 0 and 1860", calls(), *state.RenewIn)
	}
	s.clock.advance(time.Minute)
	if state := renew(); calls() != 1 || *state.RenewIn != 3600 || !state.SignedIn {
		t.Errorf("after half of its life: %d calls, %d s left; want 1 and 3600", calls(), *state.RenewIn)
	}
	if state := renew(); calls() != 1 || *state.RenewIn != 3600 {
		t.Errorf("at once again: %d calls, %d s left; want no other", calls(), *state.RenewIn)
	}
	s.clock.advance(2 * time.Hour)
	s.set(func() { s.handle["token"] = status(500) })
	if state := renew(); !state.SignedIn || *state.RenewIn != 0 {
		t.Errorf("with the provider down: got %+v, want the session as it is", state)
	}
	s.set(func() { clear(s.handle); clear(s.refreshes) })
	s.clock.advance(downtime)
	if state := renew(); state.SignedIn || len(b.shards()) > 0 {
		t.Errorf("after invalid_grant: got %+v and %d shards, want signed out", state, len(b.shards()))
	}
	s.mu2.Lock()
	defer s.mu2.Unlock()
	if n := len(s.refreshed); n != 3 {
		t.Errorf("the hook: told of %d refreshes, want 3", n)
	}
}

func TestSessionScript(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	a := s.request("GET", SessionScript, nil)
	if a.status != 200 || a.body != sessionScript || len(a.body) >= 4096 {
		t.Fatalf("got %d and %d bytes, want the script in less than 4096", a.status, len(a.body))
	}
	for name, want := range map[string]string{
		"Content-Type": "text/javascript; charset=utf-8", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "public, max-age=3600",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	tag := a.header.Get("ETag")
	if again := s.request("GET", SessionScript, nil, "If-None-Match", tag); again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("with its tag %s: got %d and %d bytes, want 304", tag, again.status, len(again.body))
	}
	if a := s.request("POST", SessionScript, nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d, want 405", a.status)
	}
	for _, bad := range []string{"eval(", "new Function", "innerHTML", "document.write", "style.", "http://"} {
		if strings.Contains(a.body, bad) {
			t.Errorf("the script has %q, which a strict policy or a reader would stumble over", bad)
		}
	}
}

// The window that somebody signs in in ends on a page of ours, and that page is no place for others to
// lead to without a login.
func TestPopupLogin(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.browser()
	state, _ := s.state("GET", nil, asks...)
	a := b.follow(state.PopupURL)
	if a.status != 200 || !strings.Contains(a.body, `<script src="/oauth2/session.js" defer data-done></script>`) ||
		a.header.Get("Content-Security-Policy") != scriptCSP {
		t.Errorf("got %d at %s: %s", a.status, b.last, a.body)
	}
	if len(b.shards()) == 0 {
		t.Error("nobody is signed in")
	}
	for _, rd := range []string{SessionPath, SessionScript, "/oauth2/sign_in"} {
		b := s.browser()
		if a := b.visit(b.visit(b.visit("/oauth2/sign_in?rd=" + rd).location).location); a.location != "/" {
			t.Errorf("rd=%s: came back to %q, want /", rd, a.location)
		}
	}
}
