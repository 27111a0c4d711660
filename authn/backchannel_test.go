package authn

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// withSIDs makes the provider name its sessions: sid-1 is that of the first login, and so on.
func withSIDs(s *stack) {
	withOIDC(s)
	n := 0
	s.idClaims = func(c object2) {
		n++
		c["sid"] = fmt.Sprint("sid-", n)
	}
}

// logoutClaims are those of a logout token that is right, with changes.
func (s *stack) logoutClaims(change ...any) object2 {
	now := s.clock.now().Unix()
	good := object2{
		"iss": s.op.issuer(), "aud": testClient, "iat": now, "exp": now + 120, "jti": rand.Text(),
		"events": object2{logoutEvent: object2{}}, "sub": "alice",
	}
	return forge{good: good}.payload(change...)
}

func (s *stack) logoutToken(change ...any) string {
	return mint(s.signKey, head("typ", "logout+jwt"), s.logoutClaims(change...))
}

// tell brings a logout token as the provider does.
func (s *stack) tell(token string) *reply {
	s.t.Helper()
	return s.post(BackchannelPath, url.Values{"logout_token": {token}}.Encode(), "application/x-www-form-urlencoded")
}

func (s *stack) post(path, body, kind string) *reply {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.gw.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	b := s.browser()
	b.Jar = nil
	return b.send(r)
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// signedIn says whether these cookies still open the page.
func (s *stack) signedIn(t *testing.T, cookies []*http.Cookie) bool {
	t.Helper()
	a := carry(t, s, cookies)
	if a.status != 200 && a.status != 302 {
		t.Errorf("page: got %d %s", a.status, a.body)
	}
	return a.status == 200
}

func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change []any
		left   []int // which of the sessions sid-1 and sid-2 of alice, and sid-3 of bob, live on
	}{
		{"a session", []any{"sid", "sid-2", "sub", nil}, []int{1, 3}},
		{"a session of a subject", []any{"sid", "sid-1", "sub", "alice"}, []int{2, 3}},
		{"a subject", []any{"sub", "alice"}, []int{3}},
		{"a session that we do not know", []any{"sid", "sid-9", "sub", nil}, []int{1, 2, 3}},
		{"a subject that we do not know", []any{"sub", "carol"}, []int{1, 2, 3}},
		{"without exp", []any{"exp", nil, "sid", "sid-1"}, []int{2, 3}},
		{"for several clients", []any{"aud", []string{"other", testClient}, "azp", testClient}, []int{3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kept := &shelf{}
			s := newStack(t, withSIDs, withLedger(kept, nil))
			var cookies [][]*http.Cookie
			for _, user := range []string{"alice", "alice", "bob"} {
				cookies = append(cookies, s.login(user).own())
			}
			s.clock.advance(time.Second)
			if a := s.tell(s.logoutToken(tt.change...)); a.status != 200 || a.header.Get("Cache-Control") != "no-store" || a.body != "" {
				t.Fatalf("got %d %q %q, want 200 that is not stored", a.status, a.header.Get("Cache-Control"), a.body)
			}
			for _, what := range []string{"at once", "after a restart"} {
				for i := range cookies {
					if got, want := s.signedIn(t, cookies[i]), slices.Contains(tt.left, i+1); got != want {
						t.Errorf("%s: session %d is signed in: %t, want %t", what, i+1, got, want)
					}
				}
				s.restart(t, kept)
			}
			s.clock.advance(time.Second)
			if !s.signedIn(t, s.login("alice").own()) {
				t.Error("a later login is not signed in")
			}
		})
	}
}

// TestALogoutOfASessionEndsThoseThatNameNone: a token that names a session of the provider may mean one
// of ours that does not know of which it is.
func TestALogoutOfASessionEndsThoseThatNameNone(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC)
	alice, bob := s.login("alice").own(), s.login("bob").own()
	s.clock.advance(time.Second)
	if a := s.tell(s.logoutToken("sid", "sid-1")); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if s.signedIn(t, alice) || !s.signedIn(t, bob) {
		t.Error("want alice signed out and bob not")
	}
}

// hostileLogouts are logout tokens that must change nothing.
func (s *stack) hostileLogouts(t *testing.T) map[string]string {
	keys := testKeys()
	now := s.clock.now().Unix()
	list := map[string]string{
		"alg none":        encode(head("alg", "none", "kid", nil)) + "." + encode(s.logoutClaims()) + ".",
		"alg none, typed": encode(head("alg", "none", "typ", "logout+jwt")) + "." + encode(s.logoutClaims()) + "." + b64([]byte("x")),
		"HS256 with the public key": hs256(publicPEM(t, &keys.k1.PublicKey), head("alg", "HS256", "typ", "logout+jwt"),
			s.logoutClaims()),
		"HS256 with the secret":       hs256([]byte(testSecret), head("alg", "HS256"), s.logoutClaims()),
		"another's key":               mint(keys.k2, head("kid", "k1"), s.logoutClaims()),
		"an ID token's type":          mint(keys.k1, head("typ", "id+jwt"), s.logoutClaims()),
		"an access token's type":      mint(keys.k1, head("typ", "at+jwt"), s.logoutClaims()),
		"a type that is no text":      mint(keys.k1, head("typ", 1), s.logoutClaims()),
		"crit":                        mint(keys.k1, head("crit", []string{"exp"}), s.logoutClaims()),
		"empty":                       "",
		"no token":                    "hello",
		"cut":                         strings.TrimRight(s.logoutToken(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
		"too long":                    s.logoutToken("x", strings.Repeat("a", maxToken)),
		"another member of that name": mint(keys.k1, head(), strings.Replace(string(jsonOf(t, s.logoutClaims())), "{", `{"sub":"bob",`, 1)),
	}
	for name, change := range map[string][]any{
		"wrong aud":               {"aud", "other"},
		"no aud":                  {"aud", nil},
		"several aud without azp": {"aud", []string{testClient, "other"}},
		"wrong iss":               {"iss", "https://other.example.com"},
		"no iss":                  {"iss", nil},
		"an iss that is longer":   {"iss", s.op.issuer() + "/"},
		"nonce":                   {"nonce", "n"},
		"a nonce that is a list":  {"nonce", []any{}},
		"no events":               {"events", nil},
		"events is a list":        {"events", []string{logoutEvent}},
		"events is a text":        {"events", logoutEvent},
		"another event":           {"events", object2{"http://schemas.openid.net/event/other": object2{}}},
		"the event is no object":  {"events", object2{logoutEvent: true}},
		"the event is null":       {"events", map[string]any{logoutEvent: nil}},
		"no jti":                  {"jti", nil},
		"an empty jti":            {"jti", ""},
		"a jti that is a number":  {"jti", 7},
		"a jti without end":       {"jti", strings.Repeat("j", 300)},
		"neither sid nor sub":     {"sub", nil},
		"an empty sub":            {"sub", ""},
		"an empty sid":            {"sid", ""},
		"a sid that is a list":    {"sid", []string{"sid-1"}},
		"a sid without end":       {"sid", strings.Repeat("s", 300)},
		"no iat":                  {"iat", nil},
		"iat is a text":           {"iat", fmt.Sprint(now)},
		"an old iat":              {"iat", now - 400, "exp", nil},
		"an old iat with exp":     {"iat", now - 400, "exp", now + 100},
		"issued in the future":    {"iat", now + 100},
		"expired":                 {"exp", now - 100},
		"exp is a text":           {"exp", "never"},
		"not yet":                 {"nbf", now + 100},
		"nbf is a text":           {"nbf", "later"},
	} {
		list[name] = mint(keys.k1, head("typ", "logout+jwt"), s.logoutClaims(change...))
	}
	return list
}

// TestHostileLogoutTokens is attack case O54.
func TestHostileLogoutTokens(t *testing.T) {
	t.Parallel()
	s := newStack(t, withSIDs)
	cookies := s.login("alice").own()
	s.clock.advance(time.Second)
	for name, token := range s.hostileLogouts(t) {
		a := s.tell(token)
		if a.status != 400 || a.header.Get("Cache-Control") != "no-store" || !strings.Contains(a.body, `"error":"invalid_request"`) {
			t.Errorf("%s: got %d %q %s, want 400 in JSON that is not stored", name, a.status, a.header.Get("Cache-Control"), a.body)
		}
		if !s.signedIn(t, cookies) {
			t.Fatalf("%s signed alice out", name)
		}
	}
	for _, err := range s.errs {
		if strings.Contains(err.Error(), "eyJ") {
			t.Errorf("an error holds a token: %v", err)
		}
	}
}

func TestAReplayedLogoutToken(t *testing.T) {
	t.Parallel()
	s := newStack(t, withSIDs)
	s.login("alice")
	token := s.logoutToken()
	if a := s.tell(token); a.status != 200 {
		t.Fatalf("first: got %d %s", a.status, a.body)
	}
	s.clock.advance(time.Second)
	cookies := s.login("alice").own()
	s.clock.advance(time.Second)
	if a := s.tell(token); a.status != 400 {
		t.Errorf("again: got %d, want 400", a.status)
	}
	if !s.signedIn(t, cookies) {
		t.Error("the later login was signed out")
	}
	s.clock.advance(logoutAge + skew + time.Second)
	if a := s.tell(token); a.status != 400 {
		t.Errorf("when nobody remembers it: got %d, want 400", a.status)
	}
}

func TestLogoutTokensComeInAForm(t *testing.T) {
	t.Parallel()
	s := newStack(t, withSIDs)
	cookies := s.login("alice").own()
	s.clock.advance(time.Second)
	const form = "application/x-www-form-urlencoded"
	token := "logout_token=" + s.logoutToken()
	for _, tt := range []struct{ name, path, body, kind string }{
		{"twice", "", token + "&" + token, form},
		{"in the query", "?" + token, "", form},
		{"as text", "", token, "text/plain"},
		{"without a type", "", token, ""},
		{"as JSON", "", `{"logout_token":"x"}`, "application/json"},
		{"malformed", "", token + "&%", form},
		{"too long", "", token + "&more=" + strings.Repeat("m", maxLogoutBody), form},
		{"under another name", "", "token=" + token, form},
	} {
		if a := s.post(BackchannelPath+tt.path, tt.body, tt.kind); a.status != 400 {
			t.Errorf("%s: got %d, want 400", tt.name, a.status)
		}
	}
	if a := s.browser().visit(BackchannelPath + "?" + token); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: got %d %q, want 405", a.status, a.header.Get("Allow"))
	}
	if !s.signedIn(t, cookies) {
		t.Error("one of them signed alice out")
	}
	if a := s.post(BackchannelPath, "more=1&"+token, form+"; charset=utf-8"); a.status != 200 || s.signedIn(t, cookies) {
		t.Errorf("beside something else: got %d, want 200 and alice signed out", a.status)
	}
}

func TestNobodyIsToldOfLogoutsAtCognito(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies := s.login("alice").own()
	s.clock.advance(time.Second)
	if s.tell(s.logoutToken()); !s.signedIn(t, cookies) {
		t.Error("Cognito sends no logout tokens, and this one signed alice out")
	}
}

func TestLogoutTokensWithoutTheProvider(t *testing.T) {
	t.Parallel()
	s := newStack(t, withSIDs)
	s.provider.live.Store(nil)
	if a := s.tell(s.logoutToken()); a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "temporarily_unavailable") {
		t.Errorf("got %d %v %s, want 503 with Retry-After", a.status, a.header, a.body)
	}
}

// A logout token that cannot be checked for want of its key is asked for again, not refused for good.
func TestLogoutTokensWithoutTheKeys(t *testing.T) {
	t.Parallel()
	s := newStack(t, withSIDs)
	cookies := s.login("alice").own()
	s.set(func() {
		s.signKey, s.signKid = testKeys().evil, "k3"
		s.handle[".well-known/jwks.json"] = status(500)
	})
	s.clock.advance(refetchInterval)
	token := mint(testKeys().evil, head("typ", "logout+jwt", "kid", "k3"), s.logoutClaims())
	if a := s.tell(token); a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "temporarily_unavailable") {
		t.Errorf("got %d %v %s, want 503 with Retry-After", a.status, a.header, a.body)
	}
	s.set(func() {
		delete(s.handle, ".well-known/jwks.json")
		s.jwks = []map[string]any{rsaJWK("k3", testKeys().evil, nil)}
	})
	s.clock.advance(refetchInterval)
	if a := s.tell(token); a.status != 200 || s.signedIn(t, cookies) {
		t.Errorf("with the keys: got %d %s, want 200 and alice signed out", a.status, a.body)
	}
}

func TestFrontChannelLogout(t *testing.T) {
	t.Parallel()
	kept := &shelf{}
	s := newStack(t, withSIDs, withLedger(kept, nil))
	first, second := s.login("alice").own(), s.login("alice").own()
	s.clock.advance(time.Second)
	frame := func(query url.Values) *reply {
		return s.browser().visit(frontchannelPath+"?"+query.Encode(), "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")
	}
	iss := s.op.issuer()
	for name, query := range map[string]url.Values{
		"nothing":     {},
		"no sid":      {"iss": {iss}},
		"no iss":      {"sid": {"sid-1"}},
		"another iss": {"iss": {"https://other.example.com"}, "sid": {"sid-1"}},
		"two":         {"iss": {iss}, "sid": {"sid-1", "sid-2"}},
		"an endless":  {"iss": {iss}, "sid": {strings.Repeat("s", maxSID+1)}},
	} {
		if a := frame(query); a.status != 400 {
			t.Errorf("%s: got %d, want 400", name, a.status)
		}
	}
	if !s.signedIn(t, first) || !s.signedIn(t, second) {
		t.Fatal("one of them signed alice out")
	}
	a := frame(url.Values{"iss": {iss}, "sid": {"sid-1"}})
	csp := a.header.Get("Content-Security-Policy")
	if a.status != 200 || a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Frame-Options") != "" ||
		!strings.Contains(csp, "frame-ancestors "+s.srv.URL) || strings.Contains(csp, "*") {
		t.Errorf("got %d %v, want 200 that the provider alone may frame", a.status, a.header)
	}
	if len(kept.list) != 0 {
		t.Error("what anybody could have claimed was kept")
	}
	if s.signedIn(t, first) || !s.signedIn(t, second) {
		t.Error("want the first session ended and the second not")
	}
	s.restart(t, kept)
	if s.signedIn(t, first) || !s.signedIn(t, second) {
		t.Error("after a restart: want the first session ended and the second not")
	}
	if a := s.browser().visit("/oauth2/signed_out"); !strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Error("another page may be framed")
	}
}

// TestAFloodOfFrontChannelLogouts displaces nothing but earlier ones of the kind.
func TestAFloodOfFrontChannelLogouts(t *testing.T) {
	t.Parallel()
	kept := &shelf{}
	s := newStack(t, withSIDs, withLedger(kept, nil))
	b := s.login("alice")
	old := b.own()
	b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin")
	for i := range maxClaimed + 10 {
		s.sessions.claim(sidKey(s.op.issuer(), fmt.Sprint("invented-", i)))
	}
	if s.signedIn(t, old) || len(kept.list) != 1 || len(s.sessions.claimed.by) != maxClaimed {
		t.Errorf("want alice signed out, one record kept and %d claims; got %d and %d", maxClaimed, len(kept.list), len(s.sessions.claimed.by))
	}
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*stack, *browser) *reply{
		"a form with the parameter": func(s *stack, b *browser) *reply {
			return s.postAs(b, "/oauth2/sign_out?everywhere=1", "", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		},
		"a form with the field": func(s *stack, b *browser) *reply {
			return s.postAs(b, "/oauth2/sign_out", "everywhere=1", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		},
		"the link on the page that asks": func(s *stack, b *browser) *reply {
			page := b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
			if !strings.Contains(page.body, `href="/oauth2/sign_out?everywhere=1"`) {
				s.t.Errorf("the page has no such link: %s", page.body)
			}
			return b.visit("/oauth2/sign_out?everywhere=1", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := &shelf{}
			s := newStack(t, withLedger(kept, nil))
			here, there, bob := s.login("alice"), s.login("alice").own(), s.login("bob").own()
			old := here.own()
			s.clock.advance(time.Second)
			if a := ask(s, here); a.status/100 != 3 || !strings.Contains(a.location, "/logout?") {
				t.Fatalf("got %d to %q, want to go to the provider", a.status, a.location)
			}
			// The access tokens are good; it is not the provider that refuses.
			for _, what := range []string{"at once", "after a restart"} {
				if s.signedIn(t, old) || s.signedIn(t, there) {
					t.Errorf("%s: want both sessions of alice ended", what)
				}
				if !s.signedIn(t, bob) {
					t.Errorf("%s: bob was signed out", what)
				}
				s.restart(t, kept)
			}
			if len(s.revoked) != 1 || !strings.HasPrefix(s.revoked[0], "refresh-alice-") {
				t.Errorf("revoked: got %q, want her refresh token", s.revoked)
			}
			if n := len(s.logouts); n != 1 || !s.logouts[0].Everywhere {
				t.Errorf("hook: got %+v, want one sign-out everywhere", s.logouts)
			}
			s.clock.advance(time.Nanosecond)
			if !s.signedIn(t, s.login("alice").own()) {
				t.Error("a later login is not signed in")
			}
		})
	}
}

func (s *stack) postAs(b *browser, path, body string, headers ...string) *reply {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.gw.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return b.send(r)
}

// TestALinkEndsNotAllSessions: a link in a mail comes from nowhere, as an address does that was typed.
func TestALinkEndsNotAllSessions(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	for name, site := range map[string]string{"from a mail": "none", "from another site": "cross-site", "from a neighbour": "same-site"} {
		a := b.visit("/oauth2/sign_out?everywhere=1", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate")
		if a.status != 200 || !strings.Contains(a.body, "Sign out on all devices") || len(a.cookies) != 0 {
			t.Errorf("%s: got %d, want the page that asks", name, a.status)
		}
	}
	if !s.signedIn(t, b.own()) {
		t.Error("alice was signed out")
	}
}

func TestComingBackFromTheProvidersSignOut(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC)
	b := s.login("alice")
	a := b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin")
	state := mustURL(t, a.location).Query().Get("state")
	if state == "" {
		t.Fatalf("no state: %q", a.location)
	}
	other := newStack(t, withOIDC)
	for _, tt := range []struct {
		name, query string
		status      int
		text        string
	}{
		{"with its state", "?state=" + state, 200, "and the one at the sign-in service have ended"},
		{"without", "", 200, "has ended"},
		{"with another", "?state=other", 400, "not the end of a sign-out that was begun here"},
		{"with two", "?state=" + state + "&state=" + state, 400, "not the end"},
		{"with another gateway's", "?state=" + mustURL(t, other.login("alice").visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin").location).Query().Get("state"), 400, "not the end"},
	} {
		if a := b.visit(signedOutPath + tt.query); a.status != tt.status || !strings.Contains(a.body, tt.text) {
			t.Errorf("%s: got %d %s, want %d and %q", tt.name, a.status, a.body, tt.status, tt.text)
		}
	}
	s.clock.advance(loginTimeout + time.Second)
	if a := b.visit(signedOutPath + "?state=" + state); a.status != 400 {
		t.Errorf("long after: got %d, want 400", a.status)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	// Each of these ends the sessions of alice, but not bob's and not one that begins later.
	for name, end := range map[string]func(s *stack, b *browser){
		"sign-out":             func(_ *stack, b *browser) { b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin") },
		"a back-channel token": func(s *stack, _ *browser) { s.tell(s.logoutToken("sid", "sid-1")) },
		"a subject's token":    func(s *stack, _ *browser) { s.tell(s.logoutToken()) },
		"the front channel":    func(s *stack, _ *browser) { s.sessions.claim(sidKey(s.op.issuer(), "sid-1")) },
		"everywhere, from another session": func(s *stack, _ *browser) {
			other := s.login("alice")
			s.postAs(other, "/oauth2/sign_out", "everywhere=1", "Sec-Fetch-Site", "same-origin")
		},
		"another instance": func(s *stack, _ *browser) {
			s.sessions.Learn(Revocation{Key: subjectKey(s.op.issuer(), "alice"), Before: s.clock.now().UnixNano(), Until: s.clock.now().Unix() + 100})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, withSIDs)
			b := s.login("alice")
			watch := func(cookies []*http.Cookie) (contextDone <-chan struct{}, cause func() error) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.gw.URL+"/ws", nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := s.sessions.Watch(r, s.providers(), cookies)
				t.Cleanup(stop)
				return ctx.Done(), func() error { return context.Cause(ctx) }
			}
			done, cause := watch(b.own())
			bob, _ := watch(s.login("bob").own())
			s.clock.advance(time.Second)
			end(s, b)
			select {
			case <-done:
			default:
				t.Fatal("alice's answer goes on")
			}
			if cause() != ErrSessionEnded {
				t.Errorf("cause: got %v, want %v", cause(), ErrSessionEnded)
			}
			s.clock.advance(time.Second)
			later, _ := watch(s.login("alice").own())
			for who, c := range map[string]<-chan struct{}{"bob's": bob, "the later": later} {
				select {
				case <-c:
					t.Errorf("%s answer was ended", who)
				default:
				}
			}
		})
	}
}

func TestWatchLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.gw.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if ctx, stop := s.sessions.Watch(r, s.providers(), nil); ctx != nil {
		t.Error("without a session: got a context")
	} else {
		stop()
	}
	b := s.login("alice")
	cookies := b.own()
	ctx, stop := s.sessions.Watch(r, s.providers(), cookies)
	if at, ok := ctx.Deadline(); !ok || time.Until(at) > defaultTimeout || time.Until(at) < defaultTimeout-time.Minute {
		t.Errorf("deadline: got %v, want the session's end", at)
	}
	stop()
	if n := len(s.sessions.watches.by); n != 0 {
		t.Errorf("watches: got %d, want 0", n)
	}
	b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin")
	ctx, stop = s.sessions.Watch(r, s.providers(), cookies)
	defer stop()
	if context.Cause(ctx) != ErrSessionEnded {
		t.Errorf("signed out before: got %v, want %v", context.Cause(ctx), ErrSessionEnded)
	}
}

// TestTheApplicationDeletesOurCookies is ALB's way to sign out.
func TestTheApplicationDeletesOurCookies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		deleted []string
		ends    bool
	}{
		{"the session", []string{"__Host-gatehouse-0", "__Host-gatehouse-1"}, true},
		{"a login under way", []string{"__Host-gatehouse-login"}, false},
		{"shards that are not there", []string{"__Host-gatehouse-3"}, false},
		{"nothing", nil, false},
	} {
		s := newStack(t)
		cookies := s.login("alice").own()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.gw.URL+"/bye", nil)
		if err != nil {
			t.Fatal(err)
		}
		out := s.sessions.SignOut(r, s.providers(), cookies, tt.deleted)
		if got := out.Subject == "alice"; got != tt.ends || s.signedIn(t, cookies) == tt.ends || len(s.revoked) == 1 != tt.ends {
			t.Errorf("%s: got %+v and %d refresh tokens revoked, want the session ended: %t", tt.name, out, len(s.revoked), tt.ends)
		}
	}
}

// FuzzLogoutToken wants that whatever the claims are, a token that passes names somebody, and that nothing
// passes which lacks what makes a logout token.
func FuzzLogoutToken(f *testing.F) {
	const now = 1_800_000_000
	good := object2{
		"iss": "https://op", "aud": testClient, "iat": now, "exp": now + 120, "jti": "j",
		"events": object2{logoutEvent: object2{}}, "sub": "alice", "sid": "s",
	}
	f.Add(jsonOf(f, good))
	f.Add(jsonOf(f, forge{good: good}.payload("sub", nil)))
	f.Add(jsonOf(f, forge{good: good}.payload("nonce", "n")))
	f.Add(jsonOf(f, forge{good: good}.payload("events", object2{})))
	f.Fuzz(func(t *testing.T, payload []byte) {
		members, err := parseObject(payload)
		if err != nil {
			return
		}
		cl := &claims{raw: payload, members: members}
		if cl.checkLogoutTimes(time.Unix(now, 0)) != nil {
			return
		}
		token, err := cl.logoutToken("https://op")
		if err != nil {
			return
		}
		if token.sid == "" && token.subject == "" || token.id == "" || members.has("nonce") || !strings.Contains(string(members["events"]), "{") {
			t.Fatalf("passes: %+v of %s", token, payload)
		}
	})
}

// logoutAccepted and logoutRefused are tests of the OpenID Foundation's suite: somebody signs in, signs out
// at the provider, and the provider tells of it.
func logoutAccepted(t *testing.T) {
	s := newStack(t, withSIDs)
	cookies := s.login("alice").own()
	s.clock.advance(time.Second)
	if a := s.tell(s.logoutToken("sid", "sid-1")); a.status != 200 || s.signedIn(t, cookies) {
		t.Errorf("got %d, want 200 and alice signed out", a.status)
	}
}

func logoutRefused(name string) func(*testing.T) {
	return func(t *testing.T) {
		s := newStack(t, withSIDs)
		cookies := s.login("alice").own()
		s.clock.advance(time.Second)
		token, ok := s.hostileLogouts(t)[name]
		if !ok {
			t.Fatalf("there is no token %q", name)
		}
		if a := s.tell(token); a.status != 400 || !s.signedIn(t, cookies) {
			t.Errorf("got %d, want 400 and alice signed in", a.status)
		}
	}
}

// frontchannelLogout is a page of the provider with a frame of ours. It needs no cookie, and gets none.
func frontchannelLogout(t *testing.T) {
	s := newStack(t, withSIDs)
	cookies := s.login("alice").own()
	s.clock.advance(time.Second)
	frame := s.browser()
	var err error
	if frame.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	query := url.Values{"iss": {s.op.issuer()}, "sid": {"sid-1"}}
	if a := frame.visit(frontchannelPath + "?" + query.Encode()); a.status != 200 || s.signedIn(t, cookies) {
		t.Errorf("got %d, want 200 and alice signed out", a.status)
	}
}
