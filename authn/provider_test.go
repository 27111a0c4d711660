package authn

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		misbehave func(s *stack)
		want      string
	}{
		"another issuer":    {func(s *stack) { s.discovery = object2{"issuer": "https://evil.test"} }, `issuer: want`},
		"no document":       {func(s *stack) { s.handle[".well-known/openid-configuration"] = status(404) }, "404"},
		"a redirect":        {func(s *stack) { s.handle[".well-known/openid-configuration"] = status(302) }, "discovery"},
		"plain http":        {func(s *stack) { s.discovery = object2{"token_endpoint": "http://example.com/token"} }, "token_endpoint: want an https URL"},
		"no keys address":   {func(s *stack) { s.discovery = object2{"jwks_uri": ""} }, "jwks_uri: missing"},
		"no keys":           {func(s *stack) { s.jwks = nil }, "no key that can verify"},
		"only useless keys": {func(s *stack) { s.jwks = []map[string]any{{"kty": "oct", "k": "AA"}} }, "no key that can verify"},
		"keys not JSON": {func(s *stack) {
			s.handle[".well-known/jwks.json"] = func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("x")) }
		}, "malformed JSON"},
		"a document of 2 MiB": {func(s *stack) { s.discovery = object2{"x": longText(2 << 20)} }, "larger than"},
		"keys of 2 MiB":       {func(s *stack) { s.jwks[0]["x"] = longText(2 << 20) }, "larger than"},
		"an error of 1 MB": {func(s *stack) {
			s.handle[".well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write([]byte(longText(1 << 20))) }
		}, "500"},
		"a provider that hangs": {func(s *stack) {
			s.handle[".well-known/openid-configuration"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, withOIDC)
			roots := s.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			p, err := NewProvider(s.cfg, ProviderOptions{Roots: roots})
			if err != nil {
				t.Fatal(err)
			}
			s.set(func() { tt.misbehave(s) })
			err = p.Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.srv.URL) || len(err.Error()) > 600 {
				t.Errorf("got %v, want it to name the provider and say %q", err, tt.want)
			}
			if p.Ready() {
				t.Error("ready all the same")
			}
			// What works keeps working when connecting again fails.
			if err := s.provider.Connect(t.Context()); err == nil || !s.provider.Ready() {
				t.Errorf("connecting again: got %v, ready %t", err, s.provider.Ready())
			}
		})
	}
}

func TestConnectHonoursItsContext(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.provider.Connect(ctx); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v", err)
	}
}

func TestCAFromAFile(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC)
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := s.cfg
	oidc := *cfg.OIDC
	cfg.OIDC = &oidc
	for _, tt := range []struct {
		ca   string
		want string
	}{{file, ""}, {filepath.Join(dir, "none.pem"), "ca: "}, {os.DevNull, "want PEM"}} {
		oidc.CA = tt.ca
		p, err := NewProvider(cfg, ProviderOptions{})
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", tt.ca, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Connect(t.Context()); err != nil {
			t.Errorf("with the CA: %v", err)
		}
	}
	oidc.CA = ""
	p, err := NewProvider(cfg, ProviderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the CA: got %v, want it refused", err)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"", "client_secret_basic", "client_secret_post"} {
		s := newStack(t, withOIDC, withConfig(func(c *Config) {
			if c.OIDC != nil {
				c.OIDC.AuthMethod = method
			}
		}))
		s.login("alice")
		if basic := s.lastToken.Get("Authorization") != ""; basic != (method != "client_secret_post") {
			t.Errorf("%q: Basic %t", method, basic)
		}
	}
}

func TestExtraParams(t *testing.T) {
	t.Parallel()
	s := newStack(t, withConfig(func(c *Config) {
		if c.Cognito != nil {
			c.Cognito.ExtraParams = map[string]string{"prompt": "login", "lang": "de & fr"}
		}
	}))
	if a := s.browser().visit("/x"); !strings.HasSuffix(a.location, "&lang=de%20%26%20fr&prompt=login") {
		t.Errorf("got %s", a.location)
	}
}

func TestProviderWithoutUserinfo(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC, func(s *stack) { s.op.discovery = object2{"userinfo_endpoint": ""} })
	b := s.login("alice")
	sess, err := s.sessions.read(s.providers(), canonicalHost(mustURL(t, s.gw.URL).Host), b.own(), s.clock.now())
	if err != nil || !strings.Contains(string(sess.claims), `"auth_time"`) || s.count("userinfo") != 0 {
		t.Errorf("want the ID token's claims, got %v", err)
	}
	s.clock.advance(2 * 3600e9)
	if a := b.visit("/x"); a.status != 200 {
		t.Errorf("after a refresh: got %d", a.status)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	cognito := CognitoConfig{UserPool: "eu-west-1_AbC123", Domain: "https://auth.example.com", ClientID: "c", ClientSecret: "s"}
	oidc := OIDCConfig{Issuer: "https://id.example.com", ClientID: "c", ClientSecret: "s"}
	of := func(change func(*CognitoConfig)) Config { c := cognito; change(&c); return Config{Cognito: &c} }
	ofOIDC := func(change func(*OIDCConfig)) Config { c := oidc; change(&c); return Config{OIDC: &c} }
	many := map[string]string{}
	for _, c := range "abcdefghijk" {
		many[string(c)] = "x"
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want []string // the fields
	}{
		{"Cognito", Config{Cognito: &cognito}, nil},
		{"OpenID", Config{OIDC: &oidc}, nil},
		{"nothing", Config{}, []string{""}},
		{"both", Config{Cognito: &cognito, OIDC: &oidc}, []string{""}},
		{"another region", of(func(c *CognitoConfig) { c.Region = "eu-west1" }), []string{"cognito.region"}},
		{"another region of an endpoint", of(func(c *CognitoConfig) { c.Region = "eu-west1"; c.Endpoint = "https://pool.example.com" }), nil},
		{"domain prefix", of(func(c *CognitoConfig) { c.Domain = "my-app" }), nil},
		{"domain name", of(func(c *CognitoConfig) { c.Domain = "auth.example.com" }), nil},
		{"development", of(func(c *CognitoConfig) { c.Domain = "http://localhost:9229"; c.Endpoint = "http://127.0.0.1:9229" }), nil},
		{"public client", of(func(c *CognitoConfig) { c.ClientSecret = "" }), nil},
		{"empty Cognito", Config{Cognito: &CognitoConfig{}}, []string{"cognito.user_pool", "cognito.region", "cognito.domain", "cognito.client_id"}},
		{"plain http", of(func(c *CognitoConfig) { c.Domain = "http://auth.example.com"; c.Endpoint = "http://10.0.0.1" }), []string{"cognito.endpoint", "cognito.domain"}},
		{"domain with a path", of(func(c *CognitoConfig) { c.Domain = "https://auth.example.com/x" }), []string{"cognito.domain"}},
		{"bad domain", of(func(c *CognitoConfig) { c.Domain = "no such" }), []string{"cognito.domain"}},
		{"scopes", of(func(c *CognitoConfig) { c.Scopes = []string{"email", "a b", ""} }), []string{"cognito.scopes", "cognito.scopes[1]", "cognito.scopes[2]"}},
		{"reserved parameter", of(func(c *CognitoConfig) { c.ExtraParams = map[string]string{"state": "x"} }), []string{"cognito.extra_params"}},
		{"many parameters", of(func(c *CognitoConfig) { c.ExtraParams = many }), []string{"cognito.extra_params"}},
		{"empty OpenID", Config{OIDC: &OIDCConfig{}}, []string{"oidc.issuer", "oidc.client_secret", "oidc.client_id"}},
		{"issuer", ofOIDC(func(c *OIDCConfig) { c.Issuer = "ftp://x" }), []string{"oidc.issuer"}},
		{"issuer with a query", ofOIDC(func(c *OIDCConfig) { c.Issuer += "?x" }), []string{"oidc.issuer"}},
		{"issuer with a user", ofOIDC(func(c *OIDCConfig) { c.Issuer = "https://a@b" }), []string{"oidc.issuer"}},
		{"method", ofOIDC(func(c *OIDCConfig) { c.AuthMethod = "magic" }), []string{"oidc.auth_method"}},
		{"none with a secret", ofOIDC(func(c *OIDCConfig) { c.AuthMethod = "none" }), []string{"oidc.client_secret"}},
		{"none", ofOIDC(func(c *OIDCConfig) { c.AuthMethod = "none"; c.ClientSecret = "" }), nil},
		{"client ids of OpenID", Config{OIDC: &oidc, Tokens: TokenConfig{ClientIDs: []string{"x"}}}, []string{"tokens.client_ids"}},
		{"audience", Config{OIDC: &oidc, Tokens: TokenConfig{Audience: []string{"api", ""}}}, []string{"tokens.audience[1]"}},
		{"empty client id", Config{Cognito: &cognito, Tokens: TokenConfig{ClientIDs: []string{""}}}, []string{"tokens.client_ids[0]"}},
		{"paths", Config{OIDC: &oidc, Callback: "x", SignIn: "/a?b", SignOut: "//x"}, []string{"callback", "sign_in", "sign_out"}},
		{"the same path twice", Config{OIDC: &oidc, SignIn: "/x", SignOut: "/x"}, []string{""}},
		{"after sign-out", Config{OIDC: &oidc, AfterSignOut: "http://example.com"}, []string{"after_sign_out"}},
		{"session", Config{OIDC: &oidc, Session: SessionConfig{
			Cookie: "a b", Timeout: "soon", Keys: []string{"short"}, SameSite: "x", OnProviderDown: "y",
		}}, []string{"session.cookie", "session.timeout", "session.keys[0]", "session.same_site", "session.on_provider_down"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			tt.cfg.Validate(func(field, msg string) {
				if msg == "" || strings.Contains(msg, "short") {
					t.Errorf("%s: message %q", field, msg)
				}
				got = append(got, field)
			})
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("fields (-got +want):\n%s", diff)
			}
			_, err := NewProvider(tt.cfg, ProviderOptions{})
			_, sessErr := NewSessions(tt.cfg.Session, make([]byte, 32), SessionsOptions{})
			if (err != nil || sessErr != nil) != (len(tt.want) > 0) {
				t.Errorf("New: got %v and %v", err, sessErr)
			}
		})
	}
	if _, err := NewSessions(SessionConfig{}, []byte("short"), SessionsOptions{}); err == nil {
		t.Error("a short secret was taken")
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ region, pool, endpoint, issuer, domain string }{
		{"", "eu-west-1_A", "", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A", "https://d.auth.eu-west-1.amazoncognito.com"},
		{"us-east-1", "us-east-1_A", "", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_A", "https://d.auth.us-east-1.amazoncognito.com"},
		{"us-east-1", "us-east-1_A", "https://localhost:1/", "https://localhost:1/us-east-1_A", "https://d.auth.us-east-1.amazoncognito.com"},
	} {
		p, err := NewProvider(Config{Cognito: &CognitoConfig{
			Region: tt.region, UserPool: tt.pool, Endpoint: tt.endpoint, Domain: "d", ClientID: "c",
		}}, ProviderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Issuer() != tt.issuer || p.set.domain != tt.domain || p.set.clientID != "c" {
			t.Errorf("got %s and %s, want %s and %s", p.Issuer(), p.set.domain, tt.issuer, tt.domain)
		}
	}
}

// TestCognitoHints has the keys that become parameters, and the issuer that a pool can be set to.
func TestCognitoHints(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg    CognitoConfig
		issuer string
		query  url.Values
	}{
		"a provider of the pool": {
			CognitoConfig{IdentityProvider: "Google", Lang: "pt-BR", Domain: "https://login.example.com/"},
			"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A",
			url.Values{"identity_provider": {"Google"}, "lang": {"pt-BR"}},
		},
		"its identifier": {
			CognitoConfig{IDPIdentifier: "example.com", LoginHint: "someone@example.com", Issuer: "updated", Domain: "login.example.com"},
			"https://issuer-cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A",
			url.Values{"idp_identifier": {"example.com"}, "login_hint": {"someone@example.com"}},
		},
	} {
		tt.cfg.UserPool, tt.cfg.ClientID = "eu-west-1_A", "c"
		p, err := NewProvider(Config{Cognito: &tt.cfg}, ProviderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Issuer() != tt.issuer {
			t.Errorf("%s: issuer %q, want %q", name, p.Issuer(), tt.issuer)
		}
		c := &connection{}
		c.cognitoEndpoints(p.set.domain)
		login := newPendingLogin(p, time.Unix(0, 0), "/", StepUp{})
		u := mustURL(t, p.authorizeURL(c, "app.example.com", &login))
		got := u.Query()
		for _, ours := range []string{
			"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		} {
			got.Del(ours)
		}
		if diff := cmp.Diff(got, tt.query); diff != "" || u.Host != "login.example.com" || u.Path != "/oauth2/authorize" {
			t.Errorf("%s: at %s%s (-got +want):\n%s", name, u.Host, u.Path, diff)
		}
	}
	cfg := CognitoConfig{UserPool: "eu-west-1_A", Domain: "d", ClientID: "c", Endpoint: "https://vpce.example.com", Issuer: "updated"}
	if _, err := NewProvider(Config{Cognito: &cfg}, ProviderOptions{}); err == nil || !strings.Contains(err.Error(), "cognito.issuer") {
		t.Errorf("issuer beside endpoint: got %v", err)
	}
}

// TestOneFormOfTheIssuerIsTaken gives a pool the tokens of the other one.
func TestOneFormOfTheIssuerIsTaken(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() {
		s.idClaims = func(c object2) { c["iss"] = "https://issuer-cognito-idp.eu-west-1.amazonaws.com/" + testPool }
	})
	if a := s.browser().follow("/start"); a.status != 401 || s.lastError(t).Reason != ReasonInvalidIDToken {
		t.Errorf("got %d, %v", a.status, s.lastError(t))
	}
}

func TestRuleValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule Rule
		want []string
	}{
		{Rule{}, nil},
		{Rule{Mode: ModeToken, Scopes: []string{"a"}, Groups: []string{"g"}}, nil},
		{Rule{Mode: "x"}, []string{"mode"}},
		{Rule{Mode: ModeAllow, StepUp: StepUp{MaxAge: time.Hour}}, []string{""}},
		{Rule{Mode: ModeToken, StepUp: StepUp{Prompt: "login"}}, []string{"prompt"}},
		{Rule{StepUp: StepUp{ACR: []string{"a b", ""}, MaxAge: time.Second, Prompt: "none"}}, []string{"acr[0]", "acr[1]", "max_age", "prompt"}},
		{Rule{StepUp: StepUp{MaxAge: time.Hour + time.Millisecond}}, []string{"max_age"}},
		{Rule{Mode: ModeAllow, Groups: []string{""}}, []string{"", "groups[0]"}},
		{Rule{Scopes: []string{"a b"}}, []string{"scopes[0]"}},
	} {
		var got []string
		tt.rule.Validate(func(field, _ string) { got = append(got, field) })
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%+v (-got +want):\n%s", tt.rule, diff)
		}
	}
}
