package authn

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testAPI = "https://api.example.com"

// issuerOf returns o as an issuer of tokens that has been reached.
func issuerOf(t *testing.T, o *op, change ...func(*TokenIssuerConfig)) *TokenIssuer {
	t.Helper()
	issuer := newIssuerOf(t, o, change...)
	if err := issuer.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return issuer
}

func newIssuerOf(t *testing.T, o *op, change ...func(*TokenIssuerConfig)) *TokenIssuer {
	t.Helper()
	cfg := TokenIssuerConfig{Issuer: o.issuer(), Audience: []string{testAPI}}
	for _, f := range change {
		f(&cfg)
	}
	roots := o.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	issuer, err := NewTokenIssuer(cfg, ProviderOptions{Now: o.clock.now, Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(issuer.Close)
	return issuer
}

// asked is what a gate without a login answers to a request with this Authorization header.
func asked(t *testing.T, tokens Tokens, rule Rule, authorization string) *httptest.ResponseRecorder {
	t.Helper()
	rule.Mode = ModeToken
	gate := NewGate(nil, nil, rule, GateOptions{
		Tokens: tokens, RequestID: func(*http.Request) string { return "req-1" },
		Deny: func(w http.ResponseWriter, _ *http.Request, err error) {
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("refused with %v, want an Error", err)
				return
			}
			w.Header().Set("Reason", e.Reason)
			w.WriteHeader(e.Status)
		},
	})
	r := httptest.NewRequest("GET", "https://api.example.test/orders", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	gate.Wrap(http.HandlerFunc(app)).ServeHTTP(w, r)
	return w
}

func TestHostileTokensOfAnIssuer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*TokenIssuerConfig)
		es256  bool
	}{
		{"by discovery", func(*TokenIssuerConfig) {}, true},
		{"by jwks_uri", func(c *TokenIssuerConfig) {
			c.JWKSURI, c.Algorithms = c.Issuer+"/.well-known/jwks.json", []string{"RS256", "ES256"}
		}, true},
		{"RS256 alone", func(c *TokenIssuerConfig) { c.JWKSURI = c.Issuer + "/.well-known/jwks.json" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t, newClock(), false)
			o.discovery = object2{"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}}
			weakKeys(&stack{op: o, t: t})
			other := newOP(t, o.clock, false)
			tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, o, tt.change), issuerOf(t, other)}}
			now := o.clock.now().Unix()
			f := forge{now, object2{
				"iss": o.issuer(), "sub": "alice", "aud": testAPI, "exp": now + 600, "iat": now, "scope": "orders.read",
			}}
			k := testKeys().k1
			nested, _ := json.Marshal(mint(k, head(), f.good))
			list := append(f.tokens(t, tt.es256),
				hostile{"typ at+jwt", mint(k, head("typ", "at+jwt"), f.good), "accept"},
				hostile{"aud list", mint(k, head(), f.payload("aud", []string{"x", testAPI})), "accept"},
				hostile{"aud other", mint(k, head(), f.payload("aud", "https://other.example.com")), "reject"},
				hostile{"aud absent", mint(k, head(), f.payload("aud", nil)), "reject"},
				hostile{"aud list without us", mint(k, head(), f.payload("aud", []string{"x", testAPI + "/"})), "reject"},
				hostile{"aud of numbers", mint(k, head(), f.payload("aud", []int{1})), "reject"},
				hostile{"exp absent", mint(k, head(), f.payload("exp", nil)), "reject"},
				hostile{"expired", mint(k, head(), f.payload("exp", now-60)), "reject"},
				hostile{"nbf later", mint(k, head(), f.payload("nbf", now+300)), "reject"},
				hostile{"iat later", mint(k, head(), f.payload("iat", now+300)), "reject"},
				hostile{"iss of nobody", mint(k, head(), f.payload("iss", "https://evil.example.com")), "reject"},
				hostile{"iss absent", mint(k, head(), f.payload("iss", nil)), "reject"},
				hostile{"iss with a slash", mint(k, head(), f.payload("iss", o.issuer()+"/")), "reject"},
				hostile{"iss a list", mint(k, head(), f.payload("iss", []string{o.issuer()})), "reject"},
				hostile{"nested", mint(k, head("cty", "JWT"), nested), "reject"},
				hostile{"ID token of Cognito", mint(k, head(), f.payload("token_use", "id")), "reject"},
				hostile{"ID token", mint(k, head(), f.payload("nonce", "x")), "reject"},
				hostile{"logout token", mint(k, head(), f.payload("events", object2{"http://schemas.openid.net/event/backchannel-logout": object2{}})), "reject"},
			)
			before := o.count(".well-known/jwks.json")
			for range 2 { // the second time from what is remembered
				for _, h := range list {
					id, err := tokens.verify(t.Context(), h.token, dialectOwn, nil, "")
					judge(t, h, err)
					if err == nil && h.want == "accept" && id.Subject != "alice" {
						t.Errorf("%s: sub is %q, want alice", h.name, id.Subject)
					}
				}
			}
			if n := o.count(".well-known/jwks.json") - before; n > 1 {
				t.Errorf("fetches of the keys: got %d, want one at most within the interval", n)
			}
			if n := other.count(".well-known/jwks.json"); n != 1 {
				t.Errorf("fetches of the other issuer's keys: got %d, want only the first", n)
			}
		})
	}
}

// TestIssuersKeepTheirKeysApart is attack case O48: keys with the same id, tokens that say the other issuer's
// name, and the second try.
func TestIssuersKeepTheirKeysApart(t *testing.T) {
	t.Parallel()
	clk := newClock()
	a, b := newOP(t, clk, false), newOP(t, clk, false)
	keys := testKeys()
	a.jwks = []map[string]any{rsaJWK("k1", keys.k1, nil)}
	b.jwks, b.signKey = []map[string]any{rsaJWK("k1", keys.k2, nil)}, keys.k2
	ia, ib := issuerOf(t, a), issuerOf(t, b)
	onlyA, onlyB := Tokens{Issuers: []*TokenIssuer{ia}}, Tokens{Issuers: []*TokenIssuer{ib}}
	both := Tokens{Issuers: []*TokenIssuer{ia, ib}}
	ofA, ofB := a.access("alice", nil), b.access("bob", nil)
	// What each issuer's key says in the other's name.
	aAsB := a.access("mallory", func(c object2) { c["iss"] = b.issuer() })
	bAsA := b.access("mallory", func(c object2) { c["iss"] = a.issuer() })
	for try := range 3 {
		for _, tt := range []struct {
			name   string
			tokens Tokens
			token  string
			want   int
		}{
			{"a at both", both, ofA, 200},
			{"b at both", both, ofB, 200},
			{"a at a", onlyA, ofA, 200},
			{"a at b", onlyB, ofA, 401},
			{"b at a", onlyA, ofB, 401},
			{"a's key in b's name at both", both, aAsB, 401},
			{"a's key in b's name at a", onlyA, aAsB, 401},
			{"a's key in b's name at b", onlyB, aAsB, 401},
			{"b's key in a's name at both", both, bAsA, 401},
			{"b's key in a's name at b", onlyB, bAsA, 401},
			{"nobody's at both", both, mint(keys.evil, head(), object2{"iss": "https://evil.example.com", "sub": "x", "aud": testAPI}), 401},
			{"of nobody taken", Tokens{Issuers: []*TokenIssuer{}}, ofA, 401},
		} {
			if w := asked(t, tt.tokens, Rule{}, "Bearer "+tt.token); w.Code != tt.want {
				t.Errorf("%s, try %d: got %d, want %d", tt.name, try+1, w.Code, tt.want)
			}
		}
	}
}

// A login that says nothing of tokens takes none but Cognito's for its own client (attack case O40).
func TestLoginWithoutAnAudienceTakesNoTokens(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC)
	for _, aud := range []any{nil, testClient, testAPI, ""} {
		token := s.access("alice", func(c object2) {
			if c["aud"] = aud; aud == nil {
				delete(c, "aud")
			}
		})
		for _, compat := range []string{"", CompatALB, CompatAPIGateway} {
			if w := asked(t, Tokens{Logins: Providers{s.provider}, Compat: compat}, Rule{}, "Bearer "+token); w.Code != 401 {
				t.Errorf("aud %v, %q: got %d, want 401", aud, compat, w.Code)
			}
		}
	}
}

func TestAnyAudience(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	issuer := issuerOf(t, o, func(c *TokenIssuerConfig) { c.Audience, c.InsecureAnyAudience = nil, true })
	token := "Bearer " + o.access("alice", func(c object2) { c["aud"] = "https://other.example.com" })
	for _, compat := range []string{"", CompatALB, CompatAPIGateway} {
		if w := asked(t, Tokens{Issuers: []*TokenIssuer{issuer}, Compat: compat}, Rule{}, token); w.Code != 200 {
			t.Errorf("%q: got %d, want 200", compat, w.Code)
		}
	}
}

func TestLoginAndIssuersTogether(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	partner := newOP(t, s.clock, false)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, partner)}, Logins: Providers{s.provider}}
	own, foreign := s.access("alice", nil), partner.access("bob", nil)
	for range 2 {
		for token, want := range map[string]string{own: "alice", foreign: "bob"} {
			if w := asked(t, tokens, Rule{Scopes: []string{"orders.read"}}, "Bearer "+token); w.Code != 200 || w.Body.String() != want {
				t.Errorf("got %d %q, want %s", w.Code, w.Body, want)
			}
		}
		if w := asked(t, Tokens{Issuers: tokens.Issuers}, Rule{}, "Bearer "+own); w.Code != 401 {
			t.Errorf("the login's where only the partner's are taken: got %d, want 401", w.Code)
		}
	}
}

func TestIssuerAbsentAtStart(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	o.handle[".well-known/jwks.json"] = status(500)
	issuer := newIssuerOf(t, o)
	if err := issuer.Connect(t.Context()); err == nil || issuer.Ready() || !strings.Contains(err.Error(), o.issuer()) {
		t.Fatalf("connecting: got %v, ready %t", err, issuer.Ready())
	}
	tokens := Tokens{Issuers: []*TokenIssuer{issuer}}
	token := "Bearer " + o.access("alice", nil)
	w := asked(t, tokens, Rule{}, token)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got %d %v, want 503 with Retry-After", w.Code, w.Header())
	}
	if w := asked(t, tokens, Rule{}, ""); w.Code != 401 {
		t.Errorf("without a token: got %d, want 401", w.Code)
	}
	o.set(func() { delete(o.handle, ".well-known/jwks.json") })
	if err := issuer.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := asked(t, tokens, Rule{}, token); w.Code != 200 {
		t.Errorf("once it is there: got %d, want 200", w.Code)
	}
}

func TestIssuerWithoutLoginEndpoints(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	o.discovery = object2{"authorization_endpoint": "", "token_endpoint": "", "userinfo_endpoint": ""}
	issuerOf(t, o)
	for name, d := range map[string]object2{"issuer: want": {"issuer": "https://evil.example.com"}, "jwks_uri: want an https URL": {"jwks_uri": "http://example.com/k"}} {
		o.set(func() { o.discovery = d })
		if err := newIssuerOf(t, o).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}

// TestKeysOutlastAnOutage: what is known works on, with remembered tokens and new ones; of what is not known
// nobody says that it is bad; and in the end even keys that nobody can confirm are let go.
func TestKeysOutlastAnOutage(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, o)}}
	life := func(d time.Duration) func(object2) {
		return func(c object2) { c["exp"] = o.clock.now().Add(d).Unix() }
	}
	old := "Bearer " + o.access("alice", life(30*24*time.Hour))
	if w := asked(t, tokens, Rule{}, old); w.Code != 200 {
		t.Fatalf("before: got %d", w.Code)
	}
	o.set(func() { o.handle[".well-known/jwks.json"] = status(500) })
	before := o.count(".well-known/jwks.json")
	for hour := range 48 {
		o.clock.advance(time.Hour)
		for name, token := range map[string]string{"remembered": old, "new": "Bearer " + o.access("alice", nil)} {
			if w := asked(t, tokens, Rule{}, token); w.Code != 200 {
				t.Fatalf("%s, hour %d: got %d, want 200", name, hour, w.Code)
			}
		}
	}
	if n := o.count(".well-known/jwks.json") - before; n == 0 || n > 48 {
		t.Errorf("attempts to fetch the keys in 48 hours with a request each: got %d, want some and one each at most", n)
	}
	unknown := "Bearer " + mint(testKeys().evil, head("kid", "new"), object2{
		"iss": o.issuer(), "sub": "alice", "aud": testAPI, "iat": o.clock.now().Unix(), "exp": o.clock.now().Unix() + 60,
	})
	for try := range 2 {
		if w := asked(t, tokens, Rule{}, unknown); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("a key that nobody can look for, try %d: got %d, want 503 with Retry-After", try+1, w.Code)
		}
	}
	o.clock.advance(maxKeyAge)
	for name, token := range map[string]string{"remembered": old, "new": "Bearer " + o.access("alice", nil)} {
		if w := asked(t, tokens, Rule{}, token); w.Code != 503 {
			t.Errorf("%s, after a week: got %d, want 503", name, w.Code)
		}
	}
	o.set(func() { delete(o.handle, ".well-known/jwks.json") })
	o.clock.advance(refetchInterval)
	if w := asked(t, tokens, Rule{}, old); w.Code != 200 {
		t.Errorf("when the keys are there again: got %d, want 200", w.Code)
	}
}

// TestWithdrawnKeyEndsRememberedTokens: at the latest keyLife after the provider has withdrawn the key.
func TestWithdrawnKeyEndsRememberedTokens(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, o)}}
	token := "Bearer " + o.access("alice", func(c object2) { c["exp"] = o.clock.now().Unix() + 30*86400 })
	survivor := "Bearer " + mint(testKeys().k2, head("kid", "k2"), object2{
		"iss": o.issuer(), "sub": "bob", "aud": testAPI, "iat": o.clock.now().Unix(), "exp": o.clock.now().Unix() + 30*86400,
	})
	for _, token := range []string{token, survivor} {
		if w := asked(t, tokens, Rule{}, token); w.Code != 200 {
			t.Fatalf("before: got %d", w.Code)
		}
	}
	o.set(func() { o.jwks = o.jwks[1:] })
	o.clock.advance(keyLife + time.Second)
	for range 2 {
		if w := asked(t, tokens, Rule{}, token); w.Code != 401 {
			t.Errorf("an hour after its key was withdrawn: got %d, want 401 although the token was remembered", w.Code)
		}
		if w := asked(t, tokens, Rule{}, survivor); w.Code != 200 {
			t.Errorf("of the key that stays: got %d, want 200", w.Code)
		}
	}
}

// TestRotationInAFloodOfUnknownKeys counts the fetches that invented key ids cost the issuer.
func TestRotationInAFloodOfUnknownKeys(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, o)}}
	o.clock.advance(time.Minute)
	payload := func() object2 {
		now := o.clock.now().Unix()
		return object2{"iss": o.issuer(), "sub": "alice", "aud": testAPI, "iat": now, "exp": now + 600}
	}
	before := o.count(".well-known/jwks.json")
	flood := func() {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 25 {
					token := mint(testKeys().evil, head("kid", strings.Repeat("x", 1+i*25+j)), payload())
					if _, err := tokens.verify(t.Context(), token, dialectOwn, nil, ""); err == nil {
						t.Error("an invented key was taken")
					}
				}
			})
		}
		wg.Wait()
	}
	flood()
	if n := o.count(".well-known/jwks.json") - before; n != 1 {
		t.Errorf("fetches for 200 unknown keys within the interval: got %d, want 1", n)
	}
	o.set(func() {
		o.signKey, o.signKid = testKeys().evil, "k3"
		o.jwks = append(o.jwks, rsaJWK("k3", testKeys().evil, nil))
	})
	o.clock.advance(refetchInterval)
	flood()
	if w := asked(t, tokens, Rule{}, "Bearer "+o.access("alice", nil)); w.Code != 200 {
		t.Errorf("signed with the new key: got %d, want 200", w.Code)
	}
	if n := o.count(".well-known/jwks.json") - before; n != 2 {
		t.Errorf("fetches over two intervals: got %d, want 2", n)
	}
}

// A token that says itself that it is not good costs no fetch, whatever its key id.
func TestTokensOfOthersCostNoFetch(t *testing.T) {
	t.Parallel()
	o := newOP(t, newClock(), false)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, o)}}
	o.clock.advance(time.Minute)
	now := o.clock.now().Unix()
	good := object2{"iss": o.issuer(), "sub": "alice", "aud": testAPI, "iat": now, "exp": now + 600}
	before := o.count(".well-known/jwks.json")
	for name, change := range map[string][]any{
		"another issuer": {"iss", "https://other.example.com"}, "expired": {"exp", now - 3600}, "no exp": {"exp", nil}, "not yet": {"nbf", now + 3600},
	} {
		token := mint(testKeys().evil, head("kid", "unknown"), forge{now, good}.payload(change...))
		if _, err := tokens.verify(t.Context(), token, dialectOwn, nil, ""); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if n := o.count(".well-known/jwks.json") - before; n != 0 {
		t.Errorf("fetches: got %d, want none", n)
	}
}

func TestClaimsOfTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		claim ClaimConfig
		value any
		want  bool
	}{
		{ClaimConfig{Values: []string{"a", "b"}}, "b", true},
		{ClaimConfig{Values: []string{"a", "b"}}, []string{"x", "a"}, true},
		{ClaimConfig{Values: []string{"a", "b"}}, "a b", false},
		{ClaimConfig{Values: []string{"a"}}, nil, false},
		{ClaimConfig{Values: []string{"a"}}, 1, false},
		{ClaimConfig{Values: []string{"a"}}, []any{"a", 1}, false},
		{ClaimConfig{Values: []string{"a"}}, []string{}, false},
		{ClaimConfig{Format: FormatString, Values: []string{"a"}}, "a", true},
		{ClaimConfig{Format: FormatString, Values: []string{"a"}}, []string{"a"}, false},
		{ClaimConfig{Format: FormatArray, Values: []string{"a", "b"}}, []string{"b"}, true},
		{ClaimConfig{Format: FormatArray, Values: []string{"a"}}, "a", false},
		{ClaimConfig{Format: FormatSpaces, Values: []string{"a", "b"}}, "b x a", true},
		{ClaimConfig{Format: FormatSpaces, Values: []string{"a", "b"}}, "a x", false},
		{ClaimConfig{Format: FormatSpaces, Values: []string{"a"}}, []string{"a"}, false},
	} {
		tt.claim.Name = "c"
		members := object{}
		if tt.value != nil {
			raw, err := json.Marshal(tt.value)
			if err != nil {
				t.Fatal(err)
			}
			members["c"] = raw
		}
		if err := tt.claim.check(&claims{members: members}); (err == nil) != tt.want {
			t.Errorf("%+v of %v: got %v, want taken %t", tt.claim, tt.value, err, tt.want)
		}
	}
}

func TestTokensConfigValidate(t *testing.T) {
	t.Parallel()
	good := TokenIssuerConfig{Issuer: "https://id.example.com", Audience: []string{"api"}}
	of := func(change func(*TokenIssuerConfig)) map[string]TokenIssuerConfig {
		c := good
		change(&c)
		return map[string]TokenIssuerConfig{"a": c}
	}
	many := map[string]TokenIssuerConfig{}
	for i := range maxIssuers + 1 {
		c := good
		c.Issuer += strings.Repeat("/x", i)
		many[strings.Repeat("a", i+1)] = c
	}
	for _, tt := range []struct {
		name    string
		issuers map[string]TokenIssuerConfig
		want    []string
	}{
		{"good", of(func(*TokenIssuerConfig) {}), nil},
		{"a name with keys elsewhere", of(func(c *TokenIssuerConfig) { c.Issuer, c.JWKSURI = "accounts.example", "https://id.example.com/keys" }), nil},
		{"claims alone", of(func(c *TokenIssuerConfig) {
			c.Audience, c.Claims = nil, []ClaimConfig{{Name: "azp", Values: []string{"x"}}}
		}), nil},
		{"anybody's", of(func(c *TokenIssuerConfig) { c.Audience, c.InsecureAnyAudience = nil, true }), nil},
		{"for nobody", of(func(c *TokenIssuerConfig) { c.Audience = nil }), []string{"issuers.a"}},
		{"anybody's and ours", of(func(c *TokenIssuerConfig) { c.InsecureAnyAudience = true }), []string{"issuers.a.insecure_any_audience"}},
		{"no issuer", of(func(c *TokenIssuerConfig) { c.Issuer = "" }), []string{"issuers.a.issuer"}},
		{"a name without keys", of(func(c *TokenIssuerConfig) { c.Issuer = "accounts.example" }), []string{"issuers.a.issuer"}},
		{"plain http", of(func(c *TokenIssuerConfig) { c.JWKSURI = "http://example.com/keys" }), []string{"issuers.a.jwks_uri"}},
		{"secrets as keys", of(func(c *TokenIssuerConfig) { c.Algorithms = []string{"RS256", "HS256", "none"} }), []string{"issuers.a.algorithms[1]", "issuers.a.algorithms[2]"}},
		{"empty entries", of(func(c *TokenIssuerConfig) { c.Audience, c.ClientIDs = []string{""}, []string{"x", ""} }), []string{"issuers.a.audience[0]", "issuers.a.client_ids[1]"}},
		{"claims", of(func(c *TokenIssuerConfig) {
			c.Claims = []ClaimConfig{{}, {Name: "exp", Values: []string{"1"}}, {Name: "x", Format: "json", Values: []string{"1"}}, {Name: "x", Format: FormatString, Values: []string{"1", "2"}}}
		}), []string{"issuers.a.claims[0].name", "issuers.a.claims[0].values", "issuers.a.claims[1].name", "issuers.a.claims[2].format", "issuers.a.claims[3].values"}},
		{"the login's name", map[string]TokenIssuerConfig{"login": good}, []string{"issuers.login"}},
		{"one twice", map[string]TokenIssuerConfig{"a": good, "b": {Issuer: "HTTPS://ID.example.com/", Audience: []string{"x"}}}, []string{"issuers.b.issuer"}},
		{"too many", many, []string{"issuers"}},
	} {
		var got []string
		TokensConfig{Issuers: tt.issuers}.Validate(func(field, msg string) {
			if msg == "" {
				t.Errorf("%s: %s: no message", tt.name, field)
			}
			got = append(got, field)
		})
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s: fields (-got +want):\n%s", tt.name, diff)
		}
	}
}

// FuzzBearerToken hands whole tokens to an issuer whose keys are known; none that the fuzzer makes can be
// signed, and whatever is read before the signature must not trip over them.
func FuzzBearerToken(f *testing.F) {
	keys := testKeys()
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	set := &keySet{now: now, algs: knownAlgorithms(), keys: []publicKey{{id: "k1", key: &keys.k1.PublicKey}}}
	set.fetched.Store(now().UnixNano())
	set.tried = now()
	issuer := newTokenIssuer(issuerSettings{issuer: "https://id.example.com", anyAudience: true}, nil, now, 1<<20)
	issuer.keys.Store(set)
	payload := object2{"iss": "https://id.example.com", "sub": "alice", "iat": now().Unix(), "exp": now().Unix() + 60}
	good := mint(keys.k1, head(), payload)
	f.Add(good, false)
	f.Add(good[:len(good)-2], true)
	f.Add(encode(head("alg", "none"))+"."+encode(payload)+".", true)
	f.Add("a.b.c", false)
	f.Fuzz(func(t *testing.T, raw string, several bool) {
		for _, d := range []dialect{dialectOwn, dialectALB, dialectAPIGateway} {
			tokens := Tokens{Issuers: []*TokenIssuer{issuer}}
			if several {
				tokens.Issuers = append(tokens.Issuers, newTokenIssuer(issuerSettings{issuer: "https://other.example.com"}, nil, now, 1<<10))
			}
			id, err := tokens.verify(context.Background(), raw, d, nil, "")
			if err == nil && id.Subject != "alice" {
				t.Fatalf("taken as %q", id.Subject)
			}
			if err != nil && d.refusal(err).(*Error).Status < 400 {
				t.Fatalf("refused with %v", d.refusal(err))
			}
		}
	})
}

// A token that has been seen costs one hash, however many issuers the route takes.
func TestRememberedTokensAllocateNothing(t *testing.T) {
	clk := newClock()
	a, b := newOP(t, clk, false), newOP(t, clk, false)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, a), issuerOf(t, b)}}
	for _, compat := range []string{"", CompatALB, CompatAPIGateway} {
		tokens.Compat = compat
		g := NewGate(nil, nil, Rule{Mode: ModeToken, Scopes: []string{"orders.read"}}, GateOptions{Tokens: tokens})
		r := httptest.NewRequest("GET", "https://api.example.test/", nil)
		r.Header.Set("Authorization", "Bearer "+b.access("bob", nil))
		allocs := testing.AllocsPerRun(1000, func() {
			if d, err := g.Check(r); err != nil || d.Identity == nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%q: Check allocates %v times, want 0", compat, allocs)
		}
	}
}

// BenchmarkToken is a token that has been seen, at a route that takes those of one issuer.
func BenchmarkToken(b *testing.B) {
	keys := testKeys()
	set := &keySet{now: time.Now, algs: knownAlgorithms(), keys: []publicKey{{id: "k1", key: &keys.k1.PublicKey}}}
	set.fetched.Store(time.Now().UnixNano())
	issuer := newTokenIssuer(issuerSettings{issuer: "https://id.example.com", anyAudience: true}, nil, time.Now, 1<<20)
	issuer.keys.Store(set)
	now := time.Now().Unix()
	r := httptest.NewRequest("GET", "https://api.example.test/", nil)
	r.Header.Set("Authorization", "Bearer "+mint(keys.k1, head(), object2{"iss": "https://id.example.com", "sub": "alice", "iat": now, "exp": now + 3000}))
	g := NewGate(nil, nil, Rule{Mode: ModeToken}, GateOptions{Tokens: Tokens{Issuers: []*TokenIssuer{issuer}}})
	check := func(b *testing.B) {
		if d, err := g.Check(r); err != nil || d.Identity == nil {
			b.Fatal(err)
		}
	}
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			clear(issuer.tokens.young)
			check(b)
		}
	})
}
