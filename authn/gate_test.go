package authn

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/identity"
)

// The kinds of request that a browser or a program makes.
var (
	navigate  = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html,*/*;q=0.8"}
	oldBrowse = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}
	fetch     = []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin", "Accept", "text/html"}
	program   = []string{"Accept", "*/*"}
	upgrade   = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
)

func with(headers []string, more ...string) []string {
	return append(append([]string(nil), headers...), more...)
}

func (s *stack) request(method, path string, cookies []*http.Cookie, headers ...string) *reply {
	s.t.Helper()
	r, err := http.NewRequest(method, s.gw.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	b := s.browser()
	b.Jar = nil
	return b.send(r)
}

func TestGate(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	alice := s.login("alice").own()
	junk := []*http.Cookie{{Name: "__Host-gatehouse-0", Value: "1abcdefgh1AAAA"}}
	login := "/oauth2/authorize"
	tests := []struct {
		name    string
		method  string
		path    string
		cookies []*http.Cookie
		headers []string
		status  int
		body    string // contained
		to      string // Location contains
	}{
		{"navigation", "GET", "/app/page", nil, navigate, 302, "", login},
		{"navigation of an old browser", "GET", "/app", nil, oldBrowse, 302, "", login},
		{"HEAD navigation", "HEAD", "/app", nil, navigate, 302, "", login},
		{"form", "POST", "/app", nil, navigate, 303, "", login},
		{"prefetch", "GET", "/app", nil, with(navigate, "Sec-Purpose", "prefetch;prerender"), 401, "unauthenticated", ""},
		{"script", "GET", "/app?x=1", nil, fetch, 401, `"login_url":"/oauth2/sign_in?rd=%2Fapp%3Fx%3D1"`, ""},
		{"old script", "GET", "/app", nil, with(oldBrowse, "X-Requested-With", "XMLHttpRequest"), 401, "login_url", ""},
		{"program", "GET", "/app", nil, program, 401, "login_url", ""},
		{"program that posts", "POST", "/app", nil, oldBrowse, 401, `rd=%2F"`, ""},
		{"delete", "DELETE", "/app", nil, navigate, 401, "login_url", ""},
		{"preflight", "OPTIONS", "/app", nil, with(fetch, "Origin", "https://x.test"), 401, "login_url", ""},
		{"signed in", "GET", "/app", alice, fetch, 200, "alice", ""},
		{"junk cookie", "GET", "/app", junk, navigate, 302, "", login},
		{"junk cookie of a script", "GET", "/app", junk, fetch, 401, "login_url", ""},
		{"bearer junk is nobody", "GET", "/app", nil, with(navigate, "Authorization", "Bearer junk"), 302, "", login},
		{"basic is nobody", "GET", "/app", nil, with(fetch, "Authorization", "Basic YTpi"), 401, "login_url", ""},
		{"token in the query", "GET", "/app?access_token=junk&token=junk", nil, navigate, 302, "", login},

		{"allow, nobody", "GET", "/allow/x", nil, navigate, 200, "nobody", ""},
		{"allow, junk", "GET", "/allow/x", junk, navigate, 200, "nobody", ""},
		{"allow, signed in", "GET", "/allow/x", alice, navigate, 200, "alice", ""},

		{"deny, nobody", "GET", "/deny/x", nil, navigate, 401, "AuthUnauthenticated", ""},
		{"deny, session that ended", "GET", "/deny/x", junk, navigate, 302, "", login},
		{"deny, session that ended, script", "GET", "/deny/x", junk, fetch, 401, "login_url", ""},
		{"deny, signed in", "GET", "/deny/x", alice, navigate, 200, "alice", ""},

		{"group, nobody", "GET", "/admin/x", nil, navigate, 302, "", login},
		{"group, another", "GET", "/admin/x", alice, navigate, 403, ReasonForbidden, ""},

		{"WebSocket without session", "GET", "/app/ws", nil, upgrade, 401, "login_url", ""},
		{"WebSocket without session from elsewhere", "GET", "/app/ws", nil, with(upgrade, "Origin", "https://evil.test"), 401, "", ""},
		{"WebSocket from elsewhere", "GET", "/app/ws", alice, with(upgrade, "Origin", "https://evil.test"), 403, ReasonCrossOrigin, ""},
		{"WebSocket from a file", "GET", "/app/ws", alice, with(upgrade, "Origin", "null"), 403, ReasonCrossOrigin, ""},
		{"WebSocket of two origins", "GET", "/app/ws", alice, with(upgrade, "Origin", s.gw.URL, "Origin", "https://evil.test"), 403, ReasonCrossOrigin, ""},
		{"WebSocket from another port", "GET", "/app/ws", alice, with(upgrade, "Origin", "https://127.0.0.1:1"), 403, ReasonCrossOrigin, ""},
		{"WebSocket from plain http", "GET", "/app/ws", alice, with(upgrade, "Origin", strings.Replace(s.gw.URL, "https", "http", 1)), 403, ReasonCrossOrigin, ""},
		{"WebSocket of a program", "GET", "/app/ws", alice, upgrade, 200, "alice", ""},
		{"WebSocket from here", "GET", "/app/ws", alice, with(upgrade, "Origin", s.gw.URL), 200, "alice", ""},
		{"allow, WebSocket from elsewhere with a session", "GET", "/allow/ws", alice, with(upgrade, "Origin", "https://evil.test"), 403, ReasonCrossOrigin, ""},

		{"token route, a session", "GET", "/api/x", alice, fetch, 401, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := s.request(tt.method, tt.path, tt.cookies, tt.headers...)
			if a.status != tt.status || !strings.Contains(a.body, tt.body) || !strings.Contains(a.location, tt.to) || (tt.to == "") != (a.location == "") {
				t.Errorf("got %d %q to %q, want %d with %q to %q", a.status, a.body, a.location, tt.status, tt.body, tt.to)
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate (RFC 9110 section 15.5.2)")
			}
			begun := false
			for _, c := range a.cookies {
				begun = begun || strings.HasSuffix(c.Name, "-login")
			}
			if begun != (tt.to != "") {
				t.Errorf("a login was begun: %t, want %t", begun, tt.to != "")
			}
			if tt.to != "" && a.header.Get("Cache-Control") != "no-store" {
				t.Error("a redirect that may be stored")
			}
		})
	}
}

func TestLoginURLIsThePageOfTheScript(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for referer, want := range map[string]string{
		s.gw.URL + "/board?week=3": "/oauth2/sign_in?rd=%2Fboard%3Fweek%3D3",
		"https://evil.test/x":      "/oauth2/sign_in?rd=%2Fapi-of-page",
		s.gw.URL + "//evil.test":   "/oauth2/sign_in?rd=%2F",
	} {
		a := s.request("GET", "/api-of-page", nil, with(fetch, "Referer", referer)...)
		var got struct {
			Error    string
			Status   int
			LoginURL string `json:"login_url"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.LoginURL != want || got.Error != "unauthenticated" || got.Status != 401 {
			t.Errorf("from %s: got %s, want %s", referer, a.body, want)
		}
	}
}

func TestForbiddenNamesTheAccount(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	r := httptest.NewRequest("GET", s.gw.URL+"/admin/x", nil)
	for _, c := range s.login("alice").own() {
		r.AddCookie(c)
	}
	_, err := s.gate(Rule{Groups: []string{"admins"}}).Check(r)
	var e *Error
	if !errors.As(err, &e) || e.HTTPStatus() != 403 || e.Account() != "alice@example.com" || !strings.Contains(e.Public(), "alice@example.com") {
		t.Fatalf("got %v", err)
	}
	if f := e.Fields(); f["account"] != e.Account() || f["sign_out"] != "/oauth2/sign_out?sign_in=%2Fadmin%2Fx" || f["reason"] != ReasonForbidden {
		t.Errorf("fields: got %v", f)
	}
	if label, href := e.Action(); label == "" || href != "/oauth2/sign_out?sign_in=%2Fadmin%2Fx" {
		t.Errorf("action: got %q %q", label, href)
	}
	if _, err := s.gate(Rule{Scopes: []string{"admin"}}).Check(r); !errors.As(err, &e) || e.HTTPStatus() != 403 {
		t.Errorf("scope: got %v, want 403", err)
	}
	if d, err := s.gate(Rule{Groups: []string{"x", "users"}, Scopes: []string{"email"}}).Check(r); err != nil || d.Identity.Subject != "alice" {
		t.Errorf("any of the groups: got %v", err)
	}
	if _, err := s.gate(Rule{Mode: "open"}).Check(r); err == nil {
		t.Error("an unknown mode lets people pass")
	}
	nobody := httptest.NewRequest("GET", s.gw.URL+"/x", nil)
	if _, err := s.gate(Rule{Mode: ModeAllow, Groups: []string{"admins"}}).Check(nobody); err == nil {
		t.Error("allow with a group lets nobody pass as if they were in it")
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for _, pool := range []bool{true, false} {
		s := newStack(t, func(s *stack) { s.op.pool = pool },
			withConfig(func(c *Config) {
				if pool {
					c.Tokens.ClientIDs = []string{"machine"}
				} else {
					c.Tokens.Audience = []string{"https://api.example.com"}
				}
			}))
		good := s.access("alice", nil)
		tests := []struct {
			name      string
			headers   []string
			status    int
			challenge string
		}{
			{"good", []string{"Authorization", "Bearer " + good}, 200, ""},
			{"scheme in lower case", []string{"Authorization", "bearer " + good}, 200, ""},
			{"none", nil, 401, "Bearer"},
			{"basic", []string{"Authorization", "Basic YTpi"}, 401, "Bearer"},
			{"only the scheme", []string{"Authorization", "Bearer"}, 401, `Bearer error="invalid_token"`},
			{"junk", []string{"Authorization", "Bearer junk"}, 401, `Bearer error="invalid_token"`},
			{"two in one", []string{"Authorization", "Bearer " + good + " " + good}, 401, `Bearer error="invalid_token"`},
			{"two headers", []string{"Authorization", "Bearer x", "Authorization", "Bearer " + good}, 400, `Bearer error="invalid_request"`},
			{"expired", []string{"Authorization", "Bearer " + s.access("alice", func(c object2) { c["exp"] = 1 })}, 401, `Bearer error="invalid_token"`},
			{"without the scope", []string{"Authorization", "Bearer " + s.access("alice", func(c object2) { c["scope"] = "orders.reader" })}, 403, `Bearer error="insufficient_scope", scope="orders.read"`},
			{"scp", []string{"Authorization", "Bearer " + s.access("alice", func(c object2) { delete(c, "scope"); c["scp"] = []string{"a", "orders.read"} })}, 200, ""},
			{"of another client", []string{"Authorization", "Bearer " + s.access("alice", func(c object2) { c["client_id"], c["aud"] = "other", "other" })}, 401, `Bearer error="invalid_token"`},
		}
		if pool {
			tests = append(tests, struct {
				name      string
				headers   []string
				status    int
				challenge string
			}{"of a further client", []string{"Authorization", "Bearer " + s.access("machine", func(c object2) { c["client_id"] = "machine" })}, 200, ""})
		}
		for _, tt := range tests {
			for _, try := range []string{"first", "second"} {
				a := s.request("GET", "/api/orders", nil, tt.headers...)
				if got := a.header.Get("WWW-Authenticate"); a.status != tt.status || got != tt.challenge {
					t.Errorf("Cognito %t, %s, %s time: got %d %q, want %d %q", pool, tt.name, try, a.status, got, tt.status, tt.challenge)
				}
			}
		}
		s.clock.advance(2 * time.Hour)
		if a := s.request("GET", "/api/orders", nil, "Authorization", "Bearer "+good); a.status != 401 {
			t.Errorf("after it has expired: got %d, want 401 although it was remembered", a.status)
		}
	}
}

func TestBearerIdentity(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	raw := s.access("alice", func(c object2) { c["email"], c["email_verified"] = "a@example.com", false })
	id, err := s.provider.bearer(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if id.Username != "alice" || id.SessionID != "" || id.AccessToken != raw || id.EmailVerified || len(id.Groups) != 1 ||
		!strings.Contains(string(id.Claims), `"token_use":"access"`) || len(id.Scopes) != 3 {
		t.Errorf("got %+v", id)
	}
	again, err := s.provider.bearer(t.Context(), raw)
	if err != nil || again != id {
		t.Error("the second time it was verified anew")
	}
}

func TestTokenOfOneProviderIsNotTakenByAnother(t *testing.T) {
	t.Parallel()
	a, b := newStack(t), newStack(t)
	token := a.access("alice", nil)
	if _, err := a.provider.bearer(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := b.provider.bearer(t.Context(), token); err == nil {
			t.Fatal("taken")
		}
	}
}

func TestWithoutProvider(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies, was := s.login("alice").own(), s.gw.URL
	var err error
	if s.provider, err = NewProvider(s.cfg, ProviderOptions{Now: s.clock.now}); err != nil {
		t.Fatal(err)
	}
	if s.provider.Ready() {
		t.Error("ready without Connect")
	}
	s.gw = httptest.NewTLSServer(s.handler())
	t.Cleanup(s.gw.Close)
	for _, tt := range []struct {
		path   string
		header []string
		status int
	}{
		{"/app", navigate, 503},
		{"/app", fetch, 401},
		{"/allow/x", navigate, 200},
		{"/deny/x", navigate, 401},
		{"/api/x", []string{"Authorization", "Bearer a.b.c"}, 503},
		{"/oauth2/sign_in", navigate, 503},
		{"/oauth2/signed_out", navigate, 200},
	} {
		a := s.request("GET", tt.path, nil, tt.header...)
		if a.status != tt.status || (tt.status == 503) != (a.header.Get("Retry-After") == "5") {
			t.Errorf("%s: got %d, Retry-After %q, want %d", tt.path, a.status, a.header.Get("Retry-After"), tt.status)
		}
	}
	// A session that exists needs no provider.
	r := httptest.NewRequest("GET", was+"/app", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	if w.Code != 200 || w.Body.String() != "alice" {
		t.Errorf("a session: got %d %q, want 200 alice", w.Code, w.Body)
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	for _, pool := range []bool{true, false} {
		s := newStack(t, func(s *stack) { s.op.pool = pool; s.op.rotate = true })
		b := s.login("alice")
		stolen := b.own()
		s.clock.advance(2 * time.Hour)
		b.visit("/app") // rotates the refresh token
		a := b.visit("/oauth2/sign_out", with(navigate, "Sec-Fetch-Site", "same-origin")...)
		if a.status != 302 || !strings.HasPrefix(a.location, s.srv.URL+"/logout?") {
			t.Fatalf("got %d to %q", a.status, a.location)
		}
		if n := len(b.own()); n != 0 {
			t.Errorf("cookies left: %d", n)
		}
		q := mustURL(t, a.location).Query()
		after := s.gw.URL + "/oauth2/signed_out"
		if pool && (q.Get("client_id") != testClient || q.Get("logout_uri") != after || len(q) != 2) {
			t.Errorf("Cognito: got %v", q)
		}
		if !pool && (q.Get("post_logout_redirect_uri") != after || strings.Count(q.Get("id_token_hint"), ".") != 2) {
			t.Errorf("OpenID: got %v", q)
		}
		if a := b.follow(a.location); a.status != 200 || !strings.Contains(a.body, "signed out") {
			t.Errorf("afterwards: got %d %s", a.status, a.body)
		}
		// The refresh token that was revoked is the last one, also for the cookie from before.
		if len(s.revoked) != 1 || !strings.HasPrefix(s.revoked[0], "refresh-alice-") || s.refreshes[s.revoked[0]] == nil {
			t.Errorf("revoked: got %q", s.revoked)
		}
		if a := carry(t, s, stolen); a.status != 302 {
			t.Errorf("the old cookie: got %d, want 302", a.status)
		}
		if len(s.logouts) != 1 || s.logouts[0].Subject != "alice" || s.logouts[0].Err != nil {
			t.Errorf("hook: got %+v", s.logouts)
		}
	}
}

func TestSignOutWorksWithoutTheProvider(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	s.set(func() { s.handle["revoke"] = status(500) })
	a := b.visit("/oauth2/sign_out")
	if a.status != 302 || len(b.own()) != 0 || len(s.logouts) != 1 || s.logouts[0].Err == nil {
		t.Errorf("got %d, %d cookies, %+v", a.status, len(b.own()), s.logouts)
	}
	if a := b.visit("/oauth2/sign_out"); a.status != 302 || s.logouts[1].SessionID != "" {
		t.Errorf("signed out twice: got %d, %+v", a.status, s.logouts)
	}
}

func TestSignOutAsksWhenItWasNotMeant(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies := s.login("alice").own()
	origin := s.gw.URL
	for _, tt := range []struct {
		name    string
		method  string
		headers []string
		asks    bool
	}{
		{"link on another site", "GET", with(navigate, "Sec-Fetch-Site", "cross-site"), true},
		{"link on a sibling", "GET", with(navigate, "Sec-Fetch-Site", "same-site"), true},
		{"image", "GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors"}, true},
		{"form on another site", "POST", with(navigate, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"), true},
		{"old browser, form on another site", "POST", []string{"Origin", "https://evil.test"}, true},
		{"old browser, link on another site", "GET", []string{"Referer", "https://evil.test/"}, true},
		{"old browser, no Referer", "GET", oldBrowse, true},
		{"HEAD", "HEAD", with(navigate, "Sec-Fetch-Site", "none"), true},
		{"old browser, link here", "GET", []string{"Referer", origin + "/x"}, false},
		{"old browser, form here", "POST", []string{"Origin", origin}, false},
		{"typed", "GET", with(navigate, "Sec-Fetch-Site", "none"), false},
		{"program", "POST", nil, false},
	} {
		before := len(s.logouts)
		a := s.request(tt.method, "/oauth2/sign_out", cookies, tt.headers...)
		if asked := a.status == 200; asked != tt.asks || (len(s.logouts) == before) != tt.asks {
			t.Errorf("%s: got %d, asks %t, want %t", tt.name, a.status, asked, tt.asks)
		}
		if tt.asks && tt.method != "HEAD" && !strings.Contains(a.body, `href="/oauth2/sign_out"`) {
			t.Errorf("%s: no way to sign out: %s", tt.name, a.body)
		}
	}
}

func TestSignInTakesSafeReturnsOnly(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for query, want := range map[string]string{
		"rd=/app?x=1":                    "/app?x=1",
		"rd=%2Fapp%3Fx%3D1%26y":          "/app?x=1&y",
		"":                               "/",
		"rd=/a&rd=/b":                    "/",
		`rd=/\evil.test`:                 "/",
		"rd=/%09/evil.test":              "/",
		"rd=/%5cevil.test":               "/",
		"rd=https://app.test%0d%0aX:y":   "/",
		"rd=/oauth2/sign_out":            "/",
		"rd=/oauth2/sign%255Fout?x":      "/",
		"rd=/oauth2/idpresponse?error=x": "/",
		"rd=/oauth2/sign_in?rd=/app":     "/",
		"rd=%zz":                         "/",
	} {
		b := s.browser()
		a := b.visit("/oauth2/sign_in?" + query)
		if a.status != 302 {
			t.Fatalf("%s: got %d", query, a.status)
		}
		if got := b.visit(b.visit(a.location).location).location; got != want {
			t.Errorf("%s: came back to %q, want %q", query, got, want)
		}
	}
	alice := s.login("alice").own()
	for site, want := range map[string]string{"cross-site": "/app", "same-site": "/app", "same-origin": "authorize", "none": "authorize"} {
		// The last ones end the session, so each has its own.
		cookies := alice
		if want != "/app" {
			cookies = s.login("alice").own()
		}
		a := s.request("GET", "/oauth2/sign_in?rd=/app", cookies, with(navigate, "Sec-Fetch-Site", site)...)
		if a.status != 302 || !strings.Contains(a.location, want) || (len(a.cookies) == 0) != (want == "/app") {
			t.Errorf("while signed in, %s: got %d to %q, want %q", site, a.status, a.location, want)
		}
	}
	if a := s.request("GET", "/oauth2/sign_in", nil, fetch...); a.status != 400 || len(a.cookies) != 0 {
		t.Errorf("by a script: got %d, want 400", a.status)
	}
	if a := s.request("POST", "/oauth2/sign_in", nil, navigate...); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, want 405", a.status)
	}
}

func TestPagesAreSelfContained(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, path := range []string{"/oauth2/signed_out", "/oauth2/sign_out", "/oauth2/idpresponse", "/oauth2/idpresponse?error=x"} {
		a := s.request("GET", path, nil, oldBrowse...)
		_, style, _ := strings.Cut(a.body, "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		if hash := styleHash(style); hash != PageStyleHash {
			t.Errorf("%s: the style's hash is %s, PageStyleHash is %s", path, hash, PageStyleHash)
		}
		script := `<script src="/oauth2/session.js" defer></script>`
		policy := PageCSP
		if strings.Contains(a.body, script) {
			policy = scriptCSP
		}
		for _, bad := range []string{"<script", "http://", "https://", " style=", " onclick", "ZgotmplZ"} {
			if strings.Contains(strings.Replace(a.body, script, "", 1), bad) {
				t.Errorf("%s: the page has %q", path, bad)
			}
		}
		for _, want := range []string{`<html lang="en">`, "<h1>", "<main>", "viewport"} {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s: the page lacks %q", path, want)
			}
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: headers: %v", path, a.header)
		}
	}
	if a := s.request("GET", "/oauth2/idpresponse", nil, oldBrowse...); !strings.Contains(a.body, "req-1") {
		t.Error("an error page lacks the request id")
	}
	if a := s.request("GET", "/oauth2/idpresponse", nil, oldBrowse...); strings.Contains(a.body, "<p>Signing in did not work") ||
		!strings.Contains(a.body, "<p>Please try again.</p>") {
		t.Errorf("the text repeats the heading: %s", a.body)
	}
}

// Not parallel: it counts allocations.
func TestWarmRequestsAllocateNothing(t *testing.T) {
	s := newStack(t)
	cookies := s.login("alice").own()
	token := "Bearer " + s.access("alice", nil)
	opts := GateOptions{Cookies: func(*http.Request) []*http.Cookie { return cookies }}
	r := httptest.NewRequest("GET", s.gw.URL+"/app", nil)
	r.Header.Set("Authorization", token)
	for name, rule := range map[string]Rule{
		"session": {Groups: []string{"users"}, Scopes: []string{"email"}},
		"token":   {Mode: ModeToken, Scopes: []string{"orders.read"}},
	} {
		g := NewGate(s.providers(), s.sessions, rule, opts)
		allocs := testing.AllocsPerRun(1000, func() {
			if d, err := g.Check(r); err != nil || d.Identity == nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: Check allocates %v times, want 0", name, allocs)
		}
		h := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if identity.FromContext(r.Context()) == nil {
				t.Fatal("no identity")
			}
		}))
		w := httptest.NewRecorder()
		if allocs := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); allocs > 2 {
			t.Errorf("%s: Wrap allocates %v times, want the context and the request only", name, allocs)
		}
	}
}
