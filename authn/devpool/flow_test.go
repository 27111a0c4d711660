package devpool_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"gatehouse/authn/devpool"
)

// relyingParty is go-oidc and x/oauth2 as a gateway would set them up.
func relyingParty(t *testing.T, b *bench) (context.Context, *oidc.Provider, *oauth2.Config) {
	t.Helper()
	ctx := oidc.ClientContext(t.Context(), b.http)
	provider, err := oidc.NewProvider(ctx, b.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	return ctx, provider, &oauth2.Config{
		ClientID: webID, ClientSecret: webSecret, Endpoint: provider.Endpoint(), RedirectURL: callback,
		Scopes: []string{"openid", "email", "profile"},
	}
}

func TestCodeFlowOfARealClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, provider, conf := relyingParty(t, b)
	verifier := oauth2.GenerateVerifier()
	authURL := conf.AuthCodeURL("a+b/c=", oauth2.S256ChallengeOption(verifier), oidc.Nonce("n-1"))

	login := b.location(b.get(authURL))
	page := b.get(login.String())
	form := query("_csrf", b.csrf(page), "username", "bob", "password", "bob")
	back := b.location(b.post(login.String(), form)).Query()
	if got, want := back.Get("state"), "a+b/c="; got != want {
		t.Errorf("state: got %q, want %q", got, want)
	}

	token, err := conf.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if left := token.Expiry.Sub(b.clock.Now()); left > time.Hour+time.Minute || left < 59*time.Minute {
		t.Errorf("expiry: got %v from now, want about an hour", left)
	}
	rawID, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: webID, Now: b.clock.Now}).Verify(ctx, rawID)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	if id.Nonce != "n-1" {
		t.Errorf("nonce: got %q, want n-1", id.Nonce)
	}
	info, err := provider.UserInfo(ctx, conf.TokenSource(ctx, token))
	if err != nil {
		t.Fatal(err)
	}
	if info.Subject != id.Subject || !info.EmailVerified || info.Email != "bob@example.com" {
		t.Errorf("userInfo: got %+v, want bob's", info)
	}
	checkClaims(t, b, rawID, token.AccessToken)
}

// checkClaims compares the claims of bob's tokens, all of them.
func checkClaims(t *testing.T, b *bench, rawID, rawAccess string) {
	t.Helper()
	now := float64(b.clock.Now().Unix())
	id, access := part(t, rawID, 1), part(t, rawAccess, 1)
	uuids := map[string]any{}
	for _, name := range []string{"origin_jti", "event_id"} {
		uuids[name] = access[name]
		if !uuid.MatchString(fmt.Sprint(access[name])) {
			t.Errorf("%s: want a UUID, got %v", name, access[name])
		}
	}
	if access["jti"] == id["jti"] {
		t.Error("jti: want two, got one")
	}
	sub, groups := "b0bb0b0b-1f6e-4c55-8d21-6f3f0a7d2c10", []any{"users", "admins"}
	want := map[string]any{
		"at_hash": id["at_hash"], "sub": sub, "cognito:groups": groups, "email_verified": true, "iss": b.Issuer(),
		"cognito:username": "bob", "nonce": "n-1", "origin_jti": uuids["origin_jti"], "aud": webID,
		"event_id": uuids["event_id"], "token_use": "id", "auth_time": now, "exp": now + 3600, "iat": now,
		"jti": id["jti"], "email": "bob@example.com", "name": "Bob Builder", "custom:department": "Operations",
	}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Errorf("ID token, -want +got:\n%s", diff)
	}
	want = map[string]any{
		"sub": sub, "cognito:groups": groups, "iss": b.Issuer(), "version": 2.0, "client_id": webID,
		"origin_jti": uuids["origin_jti"], "event_id": uuids["event_id"], "token_use": "access",
		"scope": "email openid profile", "auth_time": now, "exp": now + 3600, "iat": now, "jti": access["jti"], "username": "bob",
	}
	if diff := cmp.Diff(want, access); diff != "" {
		t.Errorf("access token, -want +got:\n%s", diff)
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestTokensAreSignedByTwoKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tokens := b.tokens("alice", query())
	jwks := decode[jose.JSONWebKeySet](t, b.get("/eu-west-1_DevPool01/.well-known/jwks.json").body)
	if got, want := len(jwks.Keys), 2; got != want {
		t.Fatalf("keys: got %d, want %d", got, want)
	}
	for i, raw := range []string{tokens.ID, tokens.Access} {
		key := jwks.Keys[i]
		if want := (map[string]any{"kid": key.KeyID, "alg": "RS256"}); !cmp.Equal(part(t, raw, 0), want) {
			t.Errorf("header: got %v, want %v", part(t, raw, 0), want)
		}
		if !strings.Contains(key.KeyID, "+") || !strings.Contains(key.KeyID, "/") || !strings.HasSuffix(key.KeyID, "=") {
			t.Errorf("kid: want standard base64 with + / and =, got %q", key.KeyID)
		}
		jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(key); err != nil {
			t.Errorf("token %d: %v", i, err)
		}
	}
	if jwks.Keys[0].KeyID == jwks.Keys[1].KeyID {
		t.Error("kid: want two, got one")
	}
}

func TestDiscoveryIsCognitosDocument(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want, err := os.ReadFile("testdata/openid-configuration.json")
	if err != nil {
		t.Fatal(err)
	}
	got := b.get("/eu-west-1_DevPool01/.well-known/openid-configuration").body
	got = strings.ReplaceAll(got, b.Issuer(), "ISSUER")
	got = strings.ReplaceAll(got, b.url, "DOMAIN")
	if diff := cmp.Diff(strings.TrimSpace(string(want)), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestClaimsFollowTheScopes(t *testing.T) {
	t.Parallel()
	type claims = map[string]any
	all := claims{"email": "bob@example.com", "email_verified": "true", "name": "Bob Builder", "custom:department": "Operations"}
	for _, test := range []struct {
		name, scope string
		want        claims
	}{
		{"openid alone shows everything", "openid", all},
		{"no scope means all scopes of the client", "", all},
		{"email", "openid email", claims{"email": "bob@example.com", "email_verified": "true"}},
		{"profile", "openid profile", claims{"name": "Bob Builder", "custom:department": "Operations"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tokens := b.tokens("bob", query("scope", test.scope))
			got := decode[claims](t, b.userInfo("Bearer "+tokens.Access).body)
			test.want = mergeClaims(test.want, claims{"sub": "b0bb0b0b-1f6e-4c55-8d21-6f3f0a7d2c10", "username": "bob"})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func mergeClaims(a, b map[string]any) map[string]any {
	m := map[string]any{}
	for _, from := range []map[string]any{a, b} {
		for k, v := range from {
			m[k] = v
		}
	}
	return m
}

func TestNobodyHasGroupsThatAreEmpty(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tokens := b.tokens("carol", query())
	for _, raw := range []string{tokens.ID, tokens.Access} {
		if got, ok := part(t, raw, 1)["cognito:groups"]; ok {
			t.Errorf("cognito:groups: got %v, want none", got)
		}
	}
	if got := part(t, tokens.ID, 1)["email_verified"]; got != false {
		t.Errorf("ID token: email_verified: got %v, want the boolean false", got)
	}
	if got := decode[map[string]any](t, b.userInfo("bearer "+tokens.Access).body)["email_verified"]; got != "false" {
		t.Errorf("userInfo: email_verified: got %v, want the string false", got)
	}
}

func TestAClientThatMayNotReadAllAttributesOfAScopeGetsInvalidGrant(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.Clients[0].ReadAttributes = []string{"email", "name"} })
	code := b.code("alice", query())
	status, got := b.token("grant_type", "authorization_code", "code", code, "redirect_uri", callback)
	if want := (tokenAnswer{Error: "invalid_grant"}); status != http.StatusBadRequest || got != want {
		t.Errorf("got %d %+v, want 400 %+v", status, got, want)
	}
	tokens := b.tokens("alice", query("scope", "openid"))
	if got, ok := part(t, tokens.ID, 1)["email_verified"]; ok {
		t.Errorf("email_verified: got %v, want none", got)
	}
}

func TestResourceBecomesTheAudienceOfTheAccessToken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tokens := b.tokens("alice", query("resource", "https://api.example.com/"))
	if got, want := part(t, tokens.Access, 1)["aud"], "https://api.example.com/"; got != want {
		t.Errorf("aud: got %v, want %v", got, want)
	}
}

func TestImplicitGrantAnswersInTheFragment(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	u := b.signIn("alice", query("client_id", spaID, "response_type", "token", "scope", "openid", "nonce", "n"))
	if u.RawQuery != "" || !strings.Contains(u.Fragment, "access_token=") || !strings.Contains(u.Fragment, "id_token=") {
		t.Errorf("got %s, want tokens in the fragment", u)
	}
}
