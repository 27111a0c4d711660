package authn

import (
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// relyingPartyTests are the tests of the OpenID Foundation's suite that mean something for a gateway with
// a code flow, by the last part of their name.
func relyingPartyTests() map[string]func(*testing.T) {
	keys := testKeys()
	accepts := func(spoil func(*stack)) func(*testing.T) {
		return func(t *testing.T) { newConformanceStack(t, spoil).testLogin("") }
	}
	refuses := func(reason string, spoil func(*stack)) func(*testing.T) {
		return func(t *testing.T) { newConformanceStack(t, spoil).testLogin(reason) }
	}
	bent := func(sign func(string) []byte) func(string) []byte {
		return func(input string) []byte { return flipped(sign(input)) }
	}
	rs256 := func(in string) []byte { return signRSA(keys.k1, in) }
	es256 := func(in string) []byte { return signEC(keys.ec, in) }
	return map[string]func(*testing.T){
		"":                    testCodeFlow,
		"client-secret-basic": testClientSecretBasic,
		"form-post-error":     testProviderRefuses,

		"idtoken-sig-rs256":        accepts(signed(nil, rs256)),
		"idtoken-sig-none":         refuses(ReasonInvalidIDToken, signed(object2{"alg": "none", "kid": nil}, func(string) []byte { return nil })),
		"invalid-sig-rs256":        refuses(ReasonInvalidIDToken, signed(nil, bent(rs256))),
		"invalid-sig-es256":        refuses(ReasonInvalidIDToken, signed(object2{"alg": "ES256", "kid": "ec"}, bent(es256))),
		"invalid-sig-hs256":        refuses(ReasonInvalidIDToken, signed(object2{"alg": "HS256", "kid": nil}, bent(mac))),
		"invalid-athash":           refuses(ReasonInvalidIDToken, claim("at_hash", "77QmUPtjPfzWtF2AnpK9RQ")),
		"invalid-aud":              refuses(ReasonInvalidIDToken, claim("aud", "other")),
		"missing-aud":              refuses(ReasonInvalidIDToken, claim("aud", nil)),
		"invalid-iss":              refuses(ReasonInvalidIDToken, claim("iss", "https://other.example.com")),
		"missing-iat":              refuses(ReasonInvalidIDToken, claim("iat", nil)),
		"missing-sub":              refuses(ReasonInvalidIDToken, claim("sub", nil)),
		"nonce-invalid":            refuses(ReasonInvalidIDToken, claim("nonce", "other")),
		"nonce-unless-code-flow":   testNonceIsFresh,
		"kid-absent-single-jwks":   accepts(published(rsaJWK("k1", keys.k1, nil))),
		"kid-absent-multiple-jwks": refuses(ReasonInvalidIDToken, published(rsaJWK("k1", keys.k1, nil), rsaJWK("k2", keys.k2, nil))),

		"userinfo-invalid-sub":   refuses(ReasonInvalidUserinfo, func(s *stack) { s.userinfo = object2{"sub": "mallory"} }),
		"userinfo-signed":        testSignedUserinfo,
		"userinfo-bearer-header": testUserinfoHeader,
		"scope-userinfo-claims":  testScopeClaims,

		"refresh-token":                testRefreshToken,
		"refresh-token-invalid-issuer": refreshRefused(claim("iss", "https://other.example.com")),
		"refresh-token-invalid-sub":    refreshRefused(claim("sub", "mallory")),

		"discovery-issuer-mismatch":                testIssuerMismatch,
		"discovery-openid-config":                  testDiscoveredAddresses,
		"discovery-jwks-uri-keys":                  testDiscoveredAddresses,
		"signing-key-rotation":                     testKeyRotation,
		"signing-key-rotation-just-before-signing": accepts(rotateKeys),

		"rp-init-logout":             testLogoutAtProvider,
		"rp-init-logout-other-state": testAfterLogout("?state=of-another", http.StatusBadRequest, "Signing out did not work"),
		"rp-init-logout-no-state":    testAfterLogout("", http.StatusOK, "You are signed out"),

		"rp-backchannel-rpinitlogout":             logoutAccepted,
		"rp-backchannel-rpinitlogout-alg-none":    logoutRefused("alg none"),
		"rp-backchannel-rpinitlogout-no-event":    logoutRefused("no events"),
		"rp-backchannel-rpinitlogout-with-nonce":  logoutRefused("nonce"),
		"rp-backchannel-rpinitlogout-wrong-alg":   logoutRefused("HS256 with the secret"),
		"rp-backchannel-rpinitlogout-wrong-aud":   logoutRefused("wrong aud"),
		"rp-backchannel-rpinitlogout-wrong-event": logoutRefused("another event"),
		"rp-backchannel-rpinitlogout-wrong-iss":   logoutRefused("wrong iss"),
		"rp-frontchannel-opinitlogout":            frontchannelLogout,
		"rp-frontchannel-rpinitlogout":            frontchannelLogout,
	}
}

// notForUs are the tests that do not apply, and why.
func notForUs() map[string]string {
	return map[string]string{
		"aggregated-claims":        "claims are passed on as they are; what is in them is the application's to read",
		"distributed-claims":       "claims are passed on as they are; what is in them is the application's to read",
		"missing-athash":           "is for flows that bring an access token along the browser",
		"invalid-chash":            "is for flows that bring an ID token along the browser",
		"missing-chash":            "is for flows that bring an ID token along the browser",
		"mtls-endpoint-aliases":    "no client authentication by certificate",
		"request-uri-signed-none":  "no request objects",
		"request-uri-signed-rs256": "no request objects",
		"userinfo-bearer-body":     "the token goes in the header, which every provider has to take",
		"discovery-webfinger-acct": "the issuer is configured, not found by what people type",
		"discovery-webfinger-url":  "the issuer is configured, not found by what people type",
		"dynamic-registration":     "the client is configured",
		"session-management":       "no check_session iframe: browsers have stopped sending the cookies that it reads",
	}
}

func TestRelyingParty(t *testing.T) {
	t.Parallel()
	for name, run := range relyingPartyTests() {
		t.Run(suiteName(name), func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

const suite = "oidcc-client-test"

func suiteName(name string) string { return strings.TrimSuffix(suite+"-"+name, "-") }

// Each test of the suite is either here or does not apply, and nothing else is.
func TestRelyingPartyListIsWhole(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/relying-party-tests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			want = append(want, line)
		}
	}
	var got []string
	for name := range relyingPartyTests() {
		got = append(got, suiteName(name))
	}
	for name, why := range notForUs() {
		if got = append(got, suiteName(name)); why == "" {
			t.Errorf("%s: no reason", name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(got, want); diff != "" || len(want) != 56 {
		t.Errorf("tests of the suite: %d, each once (-got +want):\n%s", len(want), diff)
	}
}

func asPublished(*stack) {}

// record keeps what requests to an endpoint hold, forms parsed.
func (s *stack) record(endpoint string, serve http.HandlerFunc) *[]*http.Request {
	var seen []*http.Request
	s.set(func() {
		s.handle[endpoint] = func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseForm(); err != nil {
				s.t.Error(err)
			}
			s.set(func() { seen = append(seen, r) })
			serve(w, r)
		}
	})
	return &seen
}

func testCodeFlow(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	a := s.browser().visit("/page")
	q := mustURL(t, a.location).Query()
	if a.status != 302 || q.Get("response_type") != "code" || q.Has("response_mode") || len(q["client_id"]) != 1 {
		t.Errorf("authorization request: got %d %q, want the code flow", a.status, a.location)
	}
	if b := s.login("alice"); b.visit("/page").body != "alice" || s.count("token") != 1 || s.count("userinfo") != 1 {
		t.Errorf("want alice's page after one call each, got %v", s.calls)
	}
}

// The secret is in the header, encoded (RFC 6749 section 2.3.1), and nowhere else.
func testClientSecretBasic(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	seen := s.record("token", s.op.token)
	s.login("alice")
	r := (*seen)[0]
	id, secret, _ := r.BasicAuth()
	if id != testClient || secret != url.QueryEscape(testSecret) || secret == testSecret {
		t.Errorf("Basic: got %q and %q, want client and secret, encoded", id, secret)
	}
	if r.Form.Has("client_secret") || r.Form.Has("client_id") || r.Form.Get("grant_type") != "authorization_code" {
		t.Errorf("form: got %v, want neither client nor secret", r.Form)
	}
}

// An error of the provider is a page, not another try; answers by form, which nobody asked for, are none.
func testProviderRefuses(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	b, u := s.begun("/page")
	q := u.Query()
	q.Del("code")
	q.Set("error", "login_required")
	u.RawQuery = q.Encode()
	if a := b.visit(u.String()); a.status != 401 || a.location != "" || s.lastReason() != ReasonProviderError || s.count("token") != 0 {
		t.Errorf("got %d to %q %s, want a page with 401", a.status, a.location, s.lastReason())
	}
	resp, err := b.PostForm(s.gw.URL+u.Path, q)
	if err != nil {
		t.Fatal(err)
	}
	if a := readReply(t, resp); a.status != 405 || a.location != "" || len(a.cookies) != 0 {
		t.Errorf("by form: got %d to %q, want 405", a.status, a.location)
	}
}

func testNonceIsFresh(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	b := s.browser()
	seen := make(map[string]bool)
	for range 3 {
		q := mustURL(t, b.visit("/page").location).Query()
		for _, name := range []string{"nonce", "state", "code_challenge"} {
			v := q.Get(name)
			if len(v) < 22 || seen[v] {
				t.Errorf("%s: got %q, want 128 bits that were not there before", name, v)
			}
			seen[v] = true
		}
	}
}

func testSignedUserinfo(t *testing.T) {
	keys := testKeys()
	jwt := func(change func(c object2)) func(*stack) {
		return func(s *stack) {
			s.signInfo = func(c object2) string {
				c["iss"], c["aud"] = s.issuer(), testClient
				change(c)
				return mint(keys.k1, object2{"alg": "RS256", "kid": "k1"}, c)
			}
		}
	}
	for name, tt := range map[string]struct {
		spoil  func(*stack)
		reason string
	}{
		"right":          {jwt(func(object2) {}), ""},
		"without iss":    {jwt(func(c object2) { delete(c, "iss"); delete(c, "aud") }), ""},
		"iss of another": {jwt(func(c object2) { c["iss"] = "https://other.example.com" }), ReasonInvalidUserinfo},
		"iss no text":    {jwt(func(c object2) { c["iss"] = 1 }), ReasonInvalidUserinfo},
		"aud of another": {jwt(func(c object2) { c["aud"] = []string{"other"} }), ReasonInvalidUserinfo},
		"aud no text":    {jwt(func(c object2) { c["aud"] = 1 }), ReasonInvalidUserinfo},
		"sub of another": {jwt(func(c object2) { c["sub"] = "mallory" }), ReasonInvalidUserinfo},
		"over":           {jwt(func(c object2) { c["exp"] = 1700000000 }), ReasonInvalidUserinfo},
		"key of another": {func(s *stack) {
			s.signInfo = func(c object2) string { return mint(keys.evil, object2{"alg": "RS256", "kid": "k1"}, c) }
		}, ReasonInvalidUserinfo},
		"alg none": {func(s *stack) {
			s.signInfo = func(c object2) string { return encode(object2{"alg": "none"}) + "." + encode(c) + "." }
		}, ReasonInvalidUserinfo},
		"not signed at all": {func(s *stack) { s.signInfo = func(object2) string { return `{"sub":"alice"}` } }, ReasonInvalidUserinfo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newConformanceStack(t, tt.spoil).testLogin(tt.reason)
		})
	}
}

func testUserinfoHeader(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	seen := s.record("userinfo", s.serveUserinfo)
	b := s.login("alice")
	r, access := (*seen)[0], b.who().AccessToken
	if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+access || r.Method != http.MethodGet || len(r.Form) != 0 {
		t.Errorf("userinfo request: got %s %q with %v, want the token of the login in the header alone", r.Method, got, r.Form)
	}
}

func testScopeClaims(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	s.set(func() {
		s.userinfo = object2{"name": "Alice Ä", "email_verified": true, "address": object2{"country": "IE"}, "phone_number": "+353"}
	})
	b := s.browser()
	if got := mustURL(t, b.visit("/page").location).Query().Get("scope"); got != "openid email profile" {
		t.Errorf("scope: got %q, want what is configured", got)
	}
	id := s.login("alice").who()
	members, err := parseObject(id.Claims)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"name": `"Alice Ä"`, "address": `{"country":"IE"}`, "phone_number": `"+353"`} {
		if got := string(members[name]); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if id.Email != "alice@example.com" || !id.EmailVerified {
		t.Errorf("email: got %q %t, want what userinfo says", id.Email, id.EmailVerified)
	}
}

func testRefreshToken(t *testing.T) {
	s := newConformanceStack(t, func(s *stack) { s.rotate = true })
	b := s.login("alice")
	first := b.who().AccessToken
	tokens, infos := s.record("token", s.op.token), s.record("userinfo", s.serveUserinfo)
	spent := make(map[string]bool)
	for round := range 3 {
		s.clock.advance(2 * time.Hour)
		if a := b.visit("/page"); a.status != 200 || a.body != "alice" {
			t.Fatalf("round %d: got %d %q, want alice's page", round, a.status, a.body)
		}
		access := b.who().AccessToken
		r := (*tokens)[round]
		refresh := r.Form.Get("refresh_token")
		if r.Form.Get("grant_type") != "refresh_token" || refresh == "" || spent[refresh] || r.Form.Has("client_secret") {
			t.Errorf("round %d: got %v, want a refresh token that was not used before", round, r.Form)
		}
		spent[refresh] = true
		if got := (*infos)[round].Header.Get("Authorization"); access == first || got != "Bearer "+access {
			t.Errorf("round %d: userinfo was asked with %q, want the new access token", round, got)
		}
		first = access
	}
	if len(*tokens) != 3 {
		t.Errorf("calls to the token endpoint: got %d, want 3", len(*tokens))
	}
}

// refreshRefused refreshes with an ID token that is spoilt: the session is over, for its old cookie too.
func refreshRefused(spoil func(*stack)) func(*testing.T) {
	return func(t *testing.T) {
		s := newConformanceStack(t, func(s *stack) { s.rotate = true })
		b := s.login("alice")
		cookies := b.own()
		spoil(s)
		s.clock.advance(2 * time.Hour)
		for range 2 {
			if a := carry(t, s, cookies); a.status != 302 || len(live(a.cookies)) != 1 || len(a.cookies) != maxShards+1 {
				t.Errorf("got %d and %d cookies, want 302, every shard deleted and a login begun", a.status, len(a.cookies))
			}
		}
		if s.count("token") != 2 || s.refreshed[0].Err == nil {
			t.Errorf("got %d calls, %+v; want one refresh that failed", s.count("token"), s.refreshed)
		}
	}
}

func testIssuerMismatch(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	s.set(func() { s.discovery = object2{"issuer": s.srv.URL + "/"} }) // even by a slash (RFC 8414 section 3.3)
	p, err := NewProvider(s.cfg, ProviderOptions{Now: s.clock.now, Roots: s.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := p.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "issuer") || p.Ready() {
		t.Errorf("got %v, ready %t; want the metadata refused", err, p.Ready())
	}
	// One that was reached before stays as it was.
	if err := s.provider.Connect(t.Context()); err == nil || !s.provider.Ready() {
		t.Errorf("again: got %v, ready %t; want the new metadata refused and the old kept", err, s.provider.Ready())
	}
	s.testLogin("")
}

// Every address is the one of the metadata.
func testDiscoveredAddresses(t *testing.T) {
	s := newConformanceStack(t, func(s *stack) {
		base := s.srv.URL + "/elsewhere/"
		s.op.discovery = object2{
			"jwks_uri": base + "keys", "authorization_endpoint": base + "auth?tenant=1", "token_endpoint": base + "t",
			"userinfo_endpoint": base + "me", "revocation_endpoint": base + "rev", "end_session_endpoint": base + "bye",
		}
		for path, name := range map[string]string{
			"keys": ".well-known/jwks.json", "auth": "authorize", "t": "token", "me": "userinfo", "rev": "revoke", "bye": "logout",
		} {
			s.handle["elsewhere/"+path] = func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path = "/" + name
				s.op.ServeHTTP(w, r)
			}
		}
	})
	s.set(func() { s.calls = make(map[string]int) })
	if err := s.provider.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := s.login("alice")
	b.visit(b.visit("/oauth2/sign_out").location)
	for _, path := range []string{"keys", "auth", "t", "me", "rev", "bye"} {
		if s.count("elsewhere/"+path) != 1 {
			t.Errorf("%s: got %d calls, want 1", path, s.count("elsewhere/"+path))
		}
	}
}

func testKeyRotation(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	s.login("alice")
	fetched := s.count(".well-known/jwks.json")
	rotateKeys(s)
	s.testLogin("")
	s.testLogin("")
	if got := s.count(".well-known/jwks.json") - fetched; got != 1 {
		t.Errorf("fetches of the keys: got %d, want 1", got)
	}
}

func testLogoutAtProvider(t *testing.T) {
	s := newConformanceStack(t, asPublished)
	b := s.login("alice")
	cookies := b.own()
	a := b.visit("/oauth2/sign_out")
	to := mustURL(t, a.location)
	q := to.Query()
	if to.Path != "/logout" || q.Get("post_logout_redirect_uri") != s.gw.URL+signedOutPath || q.Get("client_id") != testClient {
		t.Errorf("end of session: got %q, want the provider's endpoint and the way back", a.location)
	}
	cl, err := decodeSegment(strings.Split(q.Get("id_token_hint")+"..", ".")[1])
	if err != nil || !strings.Contains(string(cl), `"sub":"alice"`) {
		t.Errorf("id_token_hint: got %q, %v, want the ID token of the login", cl, err)
	}
	if back := b.follow(a.location); back.status != 200 || !strings.Contains(back.body, "You are signed out") {
		t.Errorf("back here: got %d %s", back.status, back.body)
	}
	if a := carry(t, s, cookies); a.status != 302 {
		t.Errorf("the old cookie: got %d, want 302", a.status)
	}
}

// testAfterLogout comes back from the provider, with a state that is not ours or without. The former is
// nobody's sign-out; the latter is tolerated. The session is over either way.
func testAfterLogout(query string, status int, text string) func(*testing.T) {
	return func(t *testing.T) {
		s := newConformanceStack(t, asPublished)
		b := s.login("alice")
		cookies := b.own()
		if q := mustURL(t, b.visit("/oauth2/sign_out").location).Query(); q.Get("state") == "" {
			t.Error("no state was sent")
		}
		a := b.visit(signedOutPath + query)
		if a.status != status || !strings.Contains(a.body, text) || strings.Contains(a.body, "of-another") || len(a.cookies) != 0 {
			t.Errorf("got %d, %d cookies, %s; want %d and %q", a.status, len(a.cookies), a.body, status, text)
		}
		if a := carry(t, s, cookies); a.status != 302 {
			t.Errorf("the old cookie: got %d, want 302", a.status)
		}
	}
}
