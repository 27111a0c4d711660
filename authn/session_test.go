package authn

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn/identity"
)

// noise is text that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)[:n]
}

// carry returns the session cookies of a browser by shard, and a way to make requests with others.
func carry(t *testing.T, s *stack, cookies []*http.Cookie) *reply {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.gw.URL+"/page", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	for _, c := range cookies {
		r.Header.Add("Cookie", c.Name+"="+c.Value)
	}
	b := s.browser()
	b.Jar = nil
	return b.send(r)
}

func TestLargeSessionsAreSharded(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	picture := noise(9000)
	s.set(func() { s.userinfo["picture"] = picture })
	b, u := s.begun("/page")
	a := b.visit(u.String())
	set := 0
	for _, line := range a.header.Values("Set-Cookie") {
		if len(line) >= 4096+120 || len(strings.SplitN(line, ";", 2)[0]) > 4096 {
			t.Errorf("a cookie of %d bytes", len(line))
		}
		for _, want := range []string{"; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Max-Age="} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: want %q", line[:40], want)
			}
		}
		if strings.Contains(strings.ToLower(line), "domain") {
			t.Errorf("%s: a __Host- cookie has no Domain", line[:40])
		}
		if strings.HasPrefix(line, "__Host-gatehouse-") && !strings.Contains(line, "-login=") && !strings.Contains(line, "Max-Age=0") {
			set++
		}
	}
	if set < 3 {
		t.Errorf("shards: got %d, want at least 3", set)
	}
	cookies := b.shards()
	if a := carry(t, s, cookies); a.status != 200 || a.body != "alice" {
		t.Fatalf("all shards: got %d %s", a.status, a.body)
	}
	for i := range cookies {
		without := append(append([]*http.Cookie(nil), cookies[:i]...), cookies[i+1:]...)
		if a := carry(t, s, without); a.status != 302 {
			t.Errorf("without %s: got %d, want 302", cookies[i].Name, a.status)
		}
	}
}

func TestIDTokenGivesWayWhenASessionIsTooLarge(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC)
	s.set(func() {
		s.userinfo["picture"] = noise(9800)
		s.idClaims = func(c object2) { c["picture"] = noise(6000) }
	})
	b := s.login("alice")
	a := b.visit("/oauth2/sign_out")
	if q := mustURL(t, a.location).Query(); q.Has("id_token_hint") || q.Get("client_id") != testClient {
		t.Errorf("sign-out: got %v, want the client alone", q)
	}
	// Without anything to leave out, the login is refused.
	s.set(func() {
		s.handle["token"] = func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			answer := s.tokens(s.codes[r.FormValue("code")], true)
			answer["refresh_token"] = noise(8000)
			writeJSON(w, 200, answer)
		}
	})
	b, u := s.begun("/page")
	if a := b.visit(u.String()); a.status != 500 || s.lastReason() != ReasonTooLarge {
		t.Errorf("too large for four cookies: got %d %s, want 500", a.status, s.lastReason())
	}
}

func TestEveryCorruptionGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.userinfo["picture"] = noise(5000) })
	alice, other := s.login("alice").own(), s.login("alice").own()
	if len(alice) < 2 {
		t.Fatalf("shards: got %d, want at least 2", len(alice))
	}
	with := func(change func([]*http.Cookie) []*http.Cookie) []*http.Cookie {
		var list []*http.Cookie
		for _, c := range alice {
			list = append(list, &http.Cookie{Name: c.Name, Value: c.Value})
		}
		return change(list)
	}
	flip := func(shard, at int) []*http.Cookie {
		return with(func(c []*http.Cookie) []*http.Cookie {
			b := []byte(c[shard].Value)
			if at < 0 {
				at += len(b)
			}
			if b[at]++; b[at] == 'z'+1 || b[at] == '9'+1 || b[at] == 'Z'+1 {
				b[at] = 'A'
			}
			c[shard].Value = string(b)
			return c
		})
	}
	cases := map[string][]*http.Cookie{
		"version": flip(0, 0), "generation": flip(0, 3), "count": flip(0, 9), "date": flip(0, 12),
		"signature": flip(0, 40), "text": flip(0, 900), "end of a shard": flip(0, -1), "last byte": flip(1, -1),
		"one shard of another generation": with(func(c []*http.Cookie) []*http.Cookie { c[1].Value = other[1].Value; return c }),
		"cut off":                         with(func(c []*http.Cookie) []*http.Cookie { c[1].Value = c[1].Value[:20]; return c }),
		"a shard too many": with(func(c []*http.Cookie) []*http.Cookie {
			return append(c, &http.Cookie{Name: "__Host-gatehouse-3", Value: c[1].Value})
		}),
		"planted before": with(func(c []*http.Cookie) []*http.Cookie {
			return append([]*http.Cookie{{Name: c[0].Name, Value: "evil"}}, c...)
		}),
		"the same twice": with(func(c []*http.Cookie) []*http.Cookie { return append(c, c[0]) }),
		"empty twin":     with(func(c []*http.Cookie) []*http.Cookie { return append(c, &http.Cookie{Name: c[0].Name}) }),
		"rubbish":        {{Name: "__Host-gatehouse-0", Value: "ATTACKERCHOSEN"}},
		"not base64":     {{Name: "__Host-gatehouse-0", Value: "1AAAAAAAA1%%%%"}},
	}
	answer := func(a *reply) http.Header {
		h := a.header.Clone()
		h.Del("Date")
		h.Del("Location")
		for i, line := range h["Set-Cookie"] {
			name, value, _ := strings.Cut(line, "=")
			_, attrs, _ := strings.Cut(value, ";")
			h["Set-Cookie"][i] = name + attrs
		}
		return h
	}
	want := answer(carry(t, s, cases["rubbish"]))
	if n := len(want["Set-Cookie"]); n != maxShards+1 {
		t.Errorf("cookies set: got %d, want the shards deleted and a login begun", n)
	}
	for name, cookies := range cases {
		a := carry(t, s, cookies)
		if a.status != 302 || a.body != "" {
			t.Errorf("%s: got %d %q, want 302", name, a.status, a.body)
		}
		if diff := cmp.Diff(answer(a), want); diff != "" {
			t.Errorf("%s: the answer differs (-got +want):\n%s", name, diff)
		}
	}
	if a := carry(t, s, alice); a.status != 200 {
		t.Errorf("the session itself: got %d, want 200", a.status)
	}
}

func TestSessionIsBoundToHostAndClient(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies := s.login("alice").own()
	now := s.clock.now()
	host := canonicalHost(mustURL(t, s.gw.URL).Host)
	read := func(s2 *Sessions, p *Provider, host string) bool {
		sess, err := s2.read(Providers{p}, host, cookies, now)
		return err == nil && sess != nil
	}
	if !read(s.sessions, s.provider, host) {
		t.Fatal("the session does not open where it was made")
	}
	if read(s.sessions, s.provider, "b.tenant.example.test") {
		t.Error("the session opens on another host")
	}
	cfg := s.cfg
	cognito := *cfg.Cognito
	cognito.ClientID = "client2"
	cfg.Cognito = &cognito
	p2, err := NewProvider(cfg, ProviderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if read(s.sessions, p2, host) {
		t.Error("the session opens for another client")
	}
	// Mixed case is the same host (attack case O58).
	if got := canonicalHost("APP.Example.Test.:443"); got != "app.example.test" {
		t.Errorf("canonicalHost: got %q", got)
	}
}

func TestSessionKeysRotate(t *testing.T) {
	t.Parallel()
	k1, k2 := strings.Repeat("1", 32), strings.Repeat("2", 32)
	s := newStack(t, withConfig(func(c *Config) { c.Session.Keys = []string{k1} }))
	cookies := s.login("alice").own()
	host := canonicalHost(mustURL(t, s.gw.URL).Host)
	for _, tt := range []struct {
		keys []string
		want bool
	}{{[]string{k2, k1}, true}, {[]string{k2}, false}} {
		next, err := s.sessions.With(SessionConfig{Keys: tt.keys}, nil)
		if err != nil {
			t.Fatal(err)
		}
		sess, err := next.read(s.providers(), host, cookies, s.clock.now())
		if got := err == nil && sess != nil; got != tt.want {
			t.Errorf("keys %.1q: opens %t, want %t", tt.keys, got, tt.want)
		}
		if sess != nil {
			next.end(sess)
		}
	}
	if sess, _ := s.sessions.read(s.providers(), host, cookies, s.clock.now()); sess != nil {
		t.Error("a revocation was lost with a reload")
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	s := newStack(t, withConfig(func(c *Config) { c.Session.Timeout = "30m" }))
	b := s.login("alice")
	cookies := b.own()
	s.clock.advance(29 * time.Minute)
	if a := carry(t, s, cookies); a.status != 200 {
		t.Errorf("after 29 minutes: got %d, want 200", a.status)
	}
	s.clock.advance(time.Minute)
	if a := carry(t, s, cookies); a.status != 302 {
		t.Errorf("after 30 minutes: got %d, want 302", a.status)
	}
}

func TestStrictSameSiteBreaksTheChainOfRedirects(t *testing.T) {
	t.Parallel()
	s := newStack(t, withConfig(func(c *Config) { c.Session.SameSite = "strict" }))
	b, u := s.begun(`/page?x="1"&y='2'`)
	a := b.visit(u.String())
	if a.status != 200 || !strings.Contains(a.body, `http-equiv="refresh" content="0; url=/page?x=`) || strings.Contains(a.body, "ZgotmplZ") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	for _, line := range a.header.Values("Set-Cookie") {
		want := "SameSite=Strict"
		if strings.Contains(line, "-login=") {
			want = "SameSite=Lax"
		}
		if !strings.Contains(line, want) {
			t.Errorf("%.40s…: want %s", line, want)
		}
	}
}

func TestIdentityOfALogin(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() {
		s.userinfo["custom:dept"] = "Zürich"
		s.idClaims = func(c object2) { c["acr"] = "urn:cognito:loa:4" }
	})
	b := s.login("alice")
	sess, err := s.sessions.read(s.providers(), canonicalHost(mustURL(t, s.gw.URL).Host), b.own(), s.clock.now())
	if err != nil || sess == nil {
		t.Fatal(err)
	}
	got := *sess.identity
	if got.SessionID == "" || got.AccessToken == "" || !strings.Contains(string(got.Claims), `"custom:dept":"Zürich"`) {
		t.Errorf("identity: got %+v", got)
	}
	got.SessionID, got.AccessToken, got.Claims = "", "", nil
	start := s.clock.now().Truncate(time.Second)
	want := identity.Identity{
		Issuer: s.issuer(), ClientID: testClient, Subject: "alice", Username: "alice",
		Email: "alice@example.com", EmailVerified: true, Groups: []string{"users"},
		Scopes:   []string{"openid", "email", "profile"},
		AuthTime: start.Local(), Expires: start.Add(12 * time.Hour).Local(),
		AuthTimeStated: true, ACR: "urn:cognito:loa:4",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("identity (-got +want):\n%s", diff)
	}
}

func TestUnverifiedMailIsUnverified(t *testing.T) {
	t.Parallel()
	for _, v := range []any{"false", false, "yes", nil, 1} {
		s := newStack(t)
		s.set(func() { s.userinfo["email_verified"] = v })
		b := s.login("alice")
		sess, _ := s.sessions.read(s.providers(), canonicalHost(mustURL(t, s.gw.URL).Host), b.own(), s.clock.now())
		if sess == nil || sess.identity.EmailVerified {
			t.Errorf("email_verified %v: the address counts as verified", v)
		}
	}
}

func TestOwnCookie(t *testing.T) {
	t.Parallel()
	s, err := NewSessions(SessionConfig{}, []byte(strings.Repeat("k", 32)), SessionsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"__Host-gatehouse": true, "__Host-gatehouse-0": true, "__host-GATEHOUSE-3": true, "__Host-gatehouse-login": true,
		"__HOST-gatehouse-LOGIN": true, "__Host-gatehouse-9": true, "__Host-gatehouse-10": false, "__Host-gatehouse-x": false,
		"gatehouse-0": false, "__Host-gatehouseX": false, "": false, "session": false,
	} {
		if got := s.OwnCookie(name); got != want {
			t.Errorf("OwnCookie(%q): got %t, want %t", name, got, want)
		}
	}
}
