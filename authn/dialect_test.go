package authn

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rs384 signs with an algorithm that API Gateway takes and ALB does not.
func rs384(t *testing.T, payload object2) string {
	t.Helper()
	input := encode(head("alg", "RS384")) + "." + encode(payload)
	sum := sha512.Sum384([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, testKeys().k1, crypto.SHA384, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(sig)
}

// anyAlgorithm is an issuer whose keys do for every algorithm, so that what is refused the dialect refuses.
func anyAlgorithm(t *testing.T) *op {
	t.Helper()
	o := newOP(t, newClock(), false)
	k1 := rsaJWK("k1", testKeys().k1, nil)
	delete(k1, "alg")
	o.jwks = []map[string]any{k1, ecJWK("ec1", testKeys().ec)}
	o.discovery = object2{"id_token_signing_alg_values_supported": []string{"RS256", "RS384", "ES256"}}
	return o
}

// TestJWTValidationOfALB has section 1.14 of the specification.
func TestJWTValidationOfALB(t *testing.T) {
	t.Parallel()
	o := anyAlgorithm(t)
	issuer := issuerOf(t, o, func(c *TokenIssuerConfig) {
		c.Audience = nil
		c.Claims = []ClaimConfig{
			{Name: "client_id", Format: FormatString, Values: []string{"app"}},
			{Name: "roles", Format: FormatArray, Values: []string{"dev", "ops"}},
			{Name: "scp2", Format: FormatSpaces, Values: []string{"a", "b"}},
		}
	})
	tokens := Tokens{Issuers: []*TokenIssuer{issuer}, Compat: CompatALB}
	now := o.clock.now().Unix()
	f := forge{now, object2{
		"iss": o.issuer(), "exp": now + 600, "client_id": "app", "roles": []string{"x", "ops"}, "scp2": "b a c", "scope": "orders.read orders.write",
	}}
	k := testKeys().k1
	ec := encode(object2{"alg": "ES256", "kid": "ec1"}) + "." + encode(f.good)
	for _, tt := range []struct {
		name, authorization string
		status              int
		reason              string
	}{
		{"iss and exp are enough", "Bearer " + mint(k, head(), f.good), 200, ""},
		{"an ID token", "Bearer " + mint(k, head(), f.payload("token_use", "id", "nonce", "x", "sub", "alice")), 200, ""},
		{"any typ", "Bearer " + mint(k, head("typ", "other+jwt"), f.good), 200, ""},
		{"nbf and iat that hold", "Bearer " + mint(k, head(), f.payload("nbf", now-1, "iat", now-1)), 200, ""},
		{"RS384", "Bearer " + rs384(t, f.good), 401, ReasonTokenSignature},
		{"ES256", "Bearer " + ec + "." + b64(signEC(testKeys().ec, ec)), 401, ReasonTokenSignature},
		{"another key", "Bearer " + mint(testKeys().evil, head(), f.good), 401, ReasonTokenSignature},
		{"none", "", 401, ReasonTokenAbsent},
		{"Basic", "Basic YTpi", 401, ReasonTokenAbsent},
		{"without Bearer", mint(k, head(), f.good), 401, ReasonTokenAbsent},
		{"rubbish", "Bearer a.b", 401, ReasonTokenFormat},
		{"exp absent", "Bearer " + mint(k, head(), f.payload("exp", nil)), 401, ReasonClaimAbsent},
		{"iss absent", "Bearer " + mint(k, head(), f.payload("iss", nil)), 401, ReasonClaimAbsent},
		{"exp a text", "Bearer " + mint(k, head(), f.payload("exp", "tomorrow")), 401, ReasonClaimFormat},
		{"expired", "Bearer " + mint(k, head(), f.payload("exp", now-60)), 401, ReasonClaimValue},
		{"iss of another", "Bearer " + mint(k, head(), f.payload("iss", "https://other.example.com")), 401, ReasonClaimValue},
		{"nbf later", "Bearer " + mint(k, head(), f.payload("nbf", now+300)), 401, ReasonClaimValue},
		{"iat later", "Bearer " + mint(k, head(), f.payload("iat", now+300)), 401, ReasonClaimValue},
		{"client_id absent", "Bearer " + mint(k, head(), f.payload("client_id", nil)), 401, ReasonClaimAbsent},
		{"client_id other", "Bearer " + mint(k, head(), f.payload("client_id", "other")), 401, ReasonClaimValue},
		{"roles a text", "Bearer " + mint(k, head(), f.payload("roles", "ops")), 401, ReasonClaimFormat},
		{"roles other", "Bearer " + mint(k, head(), f.payload("roles", []string{"x"})), 401, ReasonClaimValue},
		{"one of the values", "Bearer " + mint(k, head(), f.payload("scp2", "a")), 401, ReasonClaimValue},
		{"one of the scopes", "Bearer " + mint(k, head(), f.payload("scope", "orders.read")), 401, ReasonClaimValue},
		{"a member twice", "Bearer " + mint(k, head(), strings.Replace(`{"client_id":"x","client_id":"app"}`, "{", `{"iss":"`+o.issuer()+`","exp":9999999999,`, 1)), 401, ReasonTokenFormat},
	} {
		for try := range 2 {
			w := asked(t, tokens, Rule{Scopes: []string{"orders.read", "orders.write"}}, tt.authorization)
			if got := w.Header().Get("Reason"); w.Code != tt.status || got != tt.reason {
				t.Errorf("%s, try %d: got %d %s, want %d %s", tt.name, try+1, w.Code, got, tt.status, tt.reason)
			}
		}
	}
}

func TestKeysThatALBCannotHave(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
		reason string
	}{
		"an error":       {status(500), 562, ReasonKeysFailed},
		"no JSON":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, 562, ReasonKeysInvalid},
		"2 MiB of keys":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(longText(2 << 20))) }, 500, ReasonKeysTooLarge},
		"no answer ever": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 500, ReasonKeysTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := anyAlgorithm(t)
			roots := o.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			issuer, err := NewTokenIssuer(TokenIssuerConfig{Issuer: o.issuer(), Audience: []string{testAPI}}, ProviderOptions{
				Now: o.clock.now, Roots: roots, Timeout: time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := issuer.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.set(func() { o.handle[".well-known/jwks.json"] = tt.answer })
			o.clock.advance(time.Minute)
			now := o.clock.now().Unix()
			token := mint(testKeys().evil, head("kid", "new"), object2{"iss": o.issuer(), "aud": testAPI, "exp": now + 60})
			w := asked(t, Tokens{Issuers: []*TokenIssuer{issuer}, Compat: CompatALB}, Rule{}, "Bearer "+token)
			if got := w.Header().Get("Reason"); w.Code != tt.status || got != tt.reason {
				t.Errorf("got %d %s, want %d %s", w.Code, got, tt.status, tt.reason)
			}
		})
	}
}

// TestJWTAuthorizerOfAPIGateway has sections 5.1, 5.2 and 5.9 of the specification.
func TestJWTAuthorizerOfAPIGateway(t *testing.T) {
	t.Parallel()
	o := anyAlgorithm(t)
	issuer := issuerOf(t, o, func(c *TokenIssuerConfig) { c.Audience, c.ClientIDs = []string{testAPI}, []string{"app"} })
	tokens := Tokens{Issuers: []*TokenIssuer{issuer}, Compat: CompatAPIGateway}
	now := o.clock.now().Unix()
	f := forge{now, object2{"iss": o.issuer(), "exp": now + 600, "client_id": "app", "token_use": "access", "scope": "orders/read"}}
	k := testKeys().k1
	ec := encode(object2{"alg": "ES256", "kid": "ec1"}) + "." + encode(f.good)
	invalid := func(description string) string {
		return `Bearer scope="" error="invalid_token" error_description="` + description + `"`
	}
	const noAudience = "the token does not have a valid audience"
	scopes := []string{"orders/read", "orders/write"}
	for _, tt := range []struct {
		name, authorization string
		scopes              []string
		status              int
		challenge           string
	}{
		{"1: client_id is listed and there is no aud", "Bearer " + mint(k, head(), f.good), nil, 200, ""},
		{"2: client_id is listed and aud is not", "Bearer " + mint(k, head(), f.payload("aud", "https://other.example.com")), nil, 401, invalid(noAudience)},
		{"aud decides", "Bearer " + mint(k, head(), f.payload("aud", testAPI, "client_id", "other")), nil, 200, ""},
		{"client_id is not listed", "Bearer " + mint(k, head(), f.payload("client_id", "other")), nil, 401, invalid(noAudience)},
		{"neither", "Bearer " + mint(k, head(), f.payload("client_id", nil)), nil, 401, invalid(noAudience)},
		{"3: an ID token without scopes", "Bearer " + mint(k, head(), f.payload("aud", "app", "client_id", nil, "token_use", "id", "scope", nil)), nil, 200, ""},
		{"3: an ID token where scopes are wanted", "Bearer " + mint(k, head(), f.payload("aud", "app", "client_id", nil, "token_use", "id", "scope", nil)), scopes, 403, `Bearer scope="orders/read orders/write" error="insufficient_scope" error_description="the token does not have the required scopes"`},
		{"4: ES256", "Bearer " + ec + "." + b64(signEC(testKeys().ec, ec)), nil, 401, invalid("the token has an invalid signature")},
		{"RS384", "Bearer " + rs384(t, f.good), nil, 200, ""},
		{"5: without Bearer", mint(k, head(), f.good), nil, 200, ""},
		{"one of the scopes", "Bearer " + mint(k, head(), f.good), scopes, 200, ""},
		{"one of the scopes in scp", "Bearer " + mint(k, head(), f.payload("scope", nil, "scp", []string{"x", "orders/write"})), scopes, 200, ""},
		{"none of the scopes", "Bearer " + mint(k, head(), f.payload("scope", "orders/reader")), scopes, 403, `Bearer scope="orders/read orders/write" error="insufficient_scope" error_description="the token does not have the required scopes"`},
		{"no token", "", nil, 401, "Bearer"},
		{"rubbish", "Basic YTpi", nil, 401, invalid("unable to decode the token")},
		{"another key", "Bearer " + mint(testKeys().evil, head(), f.good), nil, 401, invalid("the token has an invalid signature")},
		{"another issuer", "Bearer " + mint(k, head(), f.payload("iss", "https://other.example.com")), nil, 401, invalid("the token does not have a valid issuer")},
		{"expired this second", "Bearer " + mint(k, head(), f.payload("exp", now)), nil, 401, invalid("the token has expired")},
		{"exp absent", "Bearer " + mint(k, head(), f.payload("exp", nil)), nil, 401, invalid("the token has invalid claims")},
		{"nbf in a second", "Bearer " + mint(k, head(), f.payload("nbf", now+1)), nil, 401, invalid("the token has invalid claims")},
		{"iat in a second", "Bearer " + mint(k, head(), f.payload("iat", now+1)), nil, 401, invalid("the token has invalid claims")},
		{"alg none", "Bearer " + encode(head("alg", "none")) + "." + encode(f.good) + ".", nil, 401, invalid("unable to decode the token")},
	} {
		for try := range 2 {
			w := asked(t, tokens, Rule{Scopes: tt.scopes}, tt.authorization)
			if got := w.Header().Get("WWW-Authenticate"); w.Code != tt.status || got != tt.challenge {
				t.Errorf("%s, try %d: got %d %q, want %d %q", tt.name, try+1, w.Code, got, tt.status, tt.challenge)
			}
			want := map[int]string{200: w.Body.String(), 401: `{"message":"Unauthorized"}`, 403: `{"message":"Forbidden"}`}[tt.status]
			if w.Code != 200 && (w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Apigw-Requestid") != "req-1") {
				t.Errorf("%s: got %q and %v", tt.name, w.Body, w.Header())
			}
		}
	}
}

// TestCognitoAuthorizerOfARESTAPI has section 5.6 of the specification.
func TestCognitoAuthorizerOfARESTAPI(t *testing.T) {
	t.Parallel()
	o := anyAlgorithm(t)
	issuer := issuerOf(t, o, func(c *TokenIssuerConfig) { c.Audience, c.ClientIDs = []string{testAPI}, []string{"app"} })
	tokens := Tokens{Issuers: []*TokenIssuer{issuer}, Compat: CompatRESTAPI}
	now := o.clock.now().Unix()
	access := forge{now, object2{"iss": o.issuer(), "sub": "alice", "exp": now + 600, "client_id": "app", "token_use": "access", "scope": "orders/read"}}
	id := forge{now, object2{"iss": o.issuer(), "sub": "alice", "exp": now + 600, "aud": "app", "token_use": "id"}}
	k := testKeys().k1
	const unauthorized, expired = "Unauthorized", "The incoming token has expired"
	scopes := []string{"orders/read", "orders/write"}
	for _, tt := range []struct {
		name, authorization string
		scopes              []string
		message             string // of 401; "" for 200
	}{
		{"an ID token", mint(k, head(), id.good), nil, ""},
		{"with Bearer", "Bearer " + mint(k, head(), id.good), nil, ""},
		{"an access token without scopes", mint(k, head(), access.good), nil, unauthorized},
		{"an ID token where scopes are wanted", mint(k, head(), id.payload("scope", "orders/read")), scopes, unauthorized},
		{"an access token with one of the scopes", mint(k, head(), access.good), scopes, ""},
		{"an access token bound to a resource", mint(k, head(), access.payload("aud", "https://other.example.com")), scopes, ""},
		{"none of the scopes", mint(k, head(), access.payload("scope", "orders/reader")), scopes, unauthorized},
		{"an ID token for another client", mint(k, head(), id.payload("aud", "other")), nil, unauthorized},
		{"an access token of another client", mint(k, head(), access.payload("client_id", "other")), scopes, unauthorized},
		{"no token_use", mint(k, head(), id.payload("token_use", nil)), nil, unauthorized},
		{"RS384", rs384(t, id.good), nil, unauthorized},
		{"no token", "", nil, unauthorized},
		{"rubbish", "Basic YTpi", nil, unauthorized},
		{"another key", mint(testKeys().evil, head(), id.good), nil, unauthorized},
		{"another issuer", mint(k, head(), id.payload("iss", "https://other.example.com")), nil, unauthorized},
		{"expired", mint(k, head(), id.payload("exp", now)), nil, expired},
		{"expired and of another key", mint(testKeys().evil, head(), id.payload("exp", now)), nil, expired}, // which costs no look at the keys
	} {
		for try := range 2 {
			w := asked(t, tokens, Rule{Scopes: tt.scopes}, tt.authorization)
			if tt.message == "" {
				if w.Code != 200 {
					t.Errorf("%s, try %d: got %d %s, want 200", tt.name, try+1, w.Code, w.Body)
				}
				continue
			}
			h := w.Header()
			if w.Code != 401 || w.Body.String() != `{"message":"`+tt.message+`"}` || h.Get("WWW-Authenticate") != "" ||
				h.Get("X-Amzn-Errortype") != "UnauthorizedException" || h.Get("X-Amzn-Requestid") != "req-1" {
				t.Errorf("%s, try %d: got %d %s and %v, want 401 %q", tt.name, try+1, w.Code, w.Body, h, tt.message)
			}
		}
	}
	o.set(func() {
		o.handle[".well-known/jwks.json"] = status(500)
		o.signKey, o.signKid = testKeys().evil, "k9"
	})
	o.clock.advance(time.Minute)
	if w := asked(t, tokens, Rule{}, mint(testKeys().evil, head("kid", "k9"), id.good)); w.Code != 500 {
		t.Errorf("keys that cannot be had: got %d, want 500", w.Code)
	}
}

// 5.9, 8: keys that are known outlast their endpoint; there is no leeway for the clock, remembered or not.
func TestJWTAuthorizerInAnOutage(t *testing.T) {
	t.Parallel()
	o := anyAlgorithm(t)
	tokens := Tokens{Issuers: []*TokenIssuer{issuerOf(t, o)}, Compat: CompatAPIGateway}
	o.set(func() { o.handle[".well-known/jwks.json"] = status(500) })
	o.clock.advance(119 * time.Minute)
	token := "Bearer " + o.access("alice", func(c object2) { c["exp"] = o.clock.now().Unix() + 60 })
	for range 2 {
		if w := asked(t, tokens, Rule{}, token); w.Code != 200 {
			t.Errorf("a known key: got %d, want 200", w.Code)
		}
	}
	o.set(func() { o.signKey, o.signKid = testKeys().evil, "k9" })
	w := asked(t, tokens, Rule{}, "Bearer "+o.access("alice", nil))
	if w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), "OIDC discovery endpoint communication error") {
		t.Errorf("an unknown key: got %d %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	o.clock.advance(time.Minute)
	if w := asked(t, tokens, Rule{}, token); w.Code != 401 {
		t.Errorf("when the remembered token has expired: got %d, want 401", w.Code)
	}
}

// One token that two dialects read differently is remembered for each by itself.
func TestDialectsRememberApart(t *testing.T) {
	t.Parallel()
	o := anyAlgorithm(t)
	issuer := issuerOf(t, o)
	token := "Bearer " + o.access("alice", func(c object2) { c["token_use"], c["nonce"] = "id", "x" })
	for range 2 {
		for compat, want := range map[string]int{CompatALB: 200, CompatAPIGateway: 200, CompatRESTAPI: 200, "": 401, "azure": 500} {
			if w := asked(t, Tokens{Issuers: []*TokenIssuer{issuer}, Compat: compat}, Rule{}, token); w.Code != want {
				t.Errorf("%q: got %d, want %d", compat, w.Code, want)
			}
		}
	}
}

// What a dialect says of scopes does not loosen what sessions need.
func TestCompatLeavesSessionsAlone(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	gate := NewGate(Providers{s.provider}, s.sessions, Rule{Scopes: []string{"admin.write"}}, GateOptions{Tokens: Tokens{Compat: CompatALB}})
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.gw.URL+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.own() {
		r.AddCookie(c)
	}
	if d, err := gate.Check(r); err == nil || d.Identity != nil {
		t.Error("a session without the scope was let in")
	}
}
