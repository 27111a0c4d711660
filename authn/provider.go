package authn

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// Provider is the identity provider of one login section: Cognito or an OpenID provider. It is safe
// for concurrent use.
type Provider struct {
	set     settings
	mark    mark
	client  *http.Client
	timeout time.Duration // of one call
	now     func() time.Time
	live    atomic.Pointer[connection]
	access  *TokenIssuer // of the access tokens that others bring
	// down is the Unix time until which refreshes are not tried, after one that got no answer; 0
	// when the last one did.
	down atomic.Int64
	// away is the Unix time from which it may be asked again whether the provider is there, after
	// such a refresh; 0 when nothing says that it is not.
	away atomic.Int64

	idTokenClaims bool
}

// connection is what discovery found. It is immutable but for the keys.
type connection struct {
	oauth      oauth2.Config
	userinfo   string // "" when there is none
	revocation string
	endSession string
	keys       *keySet
	verifier   *oidc.IDTokenVerifier
	issParam   bool // the provider always sends iss with the code (RFC 9207)
}

// ProviderOptions are the surroundings of a Provider. The zero value is fine.
type ProviderOptions struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Roots are the only authorities trusted when the configuration names no CA file; nil is the
	// system's.
	Roots *x509.CertPool
	// Timeout is how long one call to the provider may take; 0 is 5 s, as with ALB.
	Timeout time.Duration
	// IDTokenClaims makes the claims of an identity those of the ID token instead of userinfo's.
	// Userinfo is asked all the same: it may be the only one that knows the e-mail address and the
	// groups, and rules that ask for those do not depend on what is asserted. Rules on claims do.
	IDTokenClaims bool
}

// NewProvider returns the provider of a configuration in the single form. It is not connected.
func NewProvider(cfg Config, opts ProviderOptions) (*Provider, error) {
	return NewNamedProvider(NamedConfig{Config: cfg}, opts)
}

// NewNamedProvider returns one of several providers. It is not connected: a CA file is read, if there
// is one, and there is no network.
func NewNamedProvider(cfg NamedConfig, opts ProviderOptions) (*Provider, error) {
	set, err := check(cfg.resolve)
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	roots := opts.Roots
	if set.ca != "" {
		if roots, err = loadRoots(set.ca); err != nil {
			return nil, fmt.Errorf("login: %w", err)
		}
	}
	if opts.Timeout <= 0 {
		opts.Timeout = callTimeout
	}
	p := &Provider{
		set: set, mark: set.mark(), client: newClient(roots, opts.Timeout), timeout: opts.Timeout, now: opts.Now,
		idTokenClaims: opts.IDTokenClaims,
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.access = newTokenIssuer(set.accessTokens(), p.client, p.now, maxTokens)
	return p, nil
}

// Issuer returns the issuer as configured, which is also what every token must say.
func (p *Provider) Issuer() string { return p.set.issuer }

// Ready says whether Connect has succeeded.
func (p *Provider) Ready() bool { return p.live.Load() != nil }

// Close closes connections that are idle. The provider stays usable.
func (p *Provider) Close() { p.client.CloseIdleConnections() }

// Connect reads the provider's discovery document and its keys, once each. On success the provider
// is ready; on failure it stays what it was. The error names the address and holds no secret.
func (p *Provider) Connect(ctx context.Context) error {
	c, err := p.discover(oidc.ClientContext(ctx, p.client))
	if err != nil {
		return fmt.Errorf("provider %s: %w", p.set.issuer, err)
	}
	if err := c.keys.first(ctx); err != nil {
		return fmt.Errorf("provider %s: %w", p.set.issuer, err)
	}
	p.live.Store(c)
	p.access.keys.Store(c.keys)
	return nil
}

// metadata is what go-oidc leaves to us of a discovery document. Members are read by name and the
// rest is ignored: AWS says that some may be added at any time.
type metadata struct {
	JWKS       string   `json:"jwks_uri"`
	Revocation string   `json:"revocation_endpoint"`
	EndSession string   `json:"end_session_endpoint"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
	IssParam   bool     `json:"authorization_response_iss_parameter_supported"`
}

func (p *Provider) discover(ctx context.Context) (*connection, error) {
	op, err := oidc.NewProvider(ctx, p.set.issuer)
	if err != nil {
		return nil, discoveryError(p.set.issuer, err)
	}
	var m metadata
	if err := op.Claims(&m); err != nil {
		return nil, discoveryError(p.set.issuer, err)
	}
	c := &connection{
		userinfo: op.UserInfoEndpoint(), revocation: m.Revocation, endSession: m.EndSession, issParam: m.IssParam,
		oauth: oauth2.Config{
			ClientID: p.set.clientID, ClientSecret: p.set.clientSecret,
			Scopes: p.set.scopes, Endpoint: op.Endpoint(),
		},
	}
	if p.set.cognito {
		c.cognitoEndpoints(p.set.domain)
	}
	c.oauth.Endpoint.AuthStyle = p.set.authStyle
	algs := announcedAlgorithms(p.set.cognito, m.Algorithms)
	c.keys = &keySet{url: m.JWKS, client: p.client, now: p.now, algs: algs}
	c.verifier = oidc.NewVerifier(p.set.issuer, c.keys, &oidc.Config{
		SkipClientIDCheck:    true, // token.go looks at aud, azp and client_id itself
		SupportedSigningAlgs: algNames(algs),
		Now:                  func() time.Time { return p.now().Add(-skew) },
	})
	return c, c.check()
}

// cognitoEndpoints takes the endpoints from the pool's domain: old discovery documents lack
// revocation_endpoint and end_session_endpoint, and Cognito's /logout is not an OpenID
// end_session_endpoint (https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html).
func (c *connection) cognitoEndpoints(domain string) {
	c.oauth.Endpoint.AuthURL = domain + "/oauth2/authorize"
	c.oauth.Endpoint.TokenURL = domain + "/oauth2/token"
	c.userinfo = domain + "/oauth2/userInfo"
	c.revocation = domain + "/oauth2/revoke"
	c.endSession = domain + "/logout"
}

func (c *connection) check() error {
	required := map[string]string{
		"authorization_endpoint": c.oauth.Endpoint.AuthURL,
		"token_endpoint":         c.oauth.Endpoint.TokenURL,
		"jwks_uri":               c.keys.url,
	}
	for name, value := range map[string]string{
		"userinfo_endpoint": c.userinfo, "revocation_endpoint": c.revocation, "end_session_endpoint": c.endSession,
	} {
		if value != "" {
			required[name] = value
		}
	}
	for name, value := range required {
		if _, err := secureURL(value); err != nil {
			return fmt.Errorf("discovery: %s: %w", name, err)
		}
	}
	return nil
}

func algNames(algs []jose.SignatureAlgorithm) []string {
	names := make([]string, len(algs))
	for i, alg := range algs {
		names[i] = string(alg)
	}
	return names
}

// connected returns the connection, or ErrProviderUnavailable.
func (p *Provider) connected() (*connection, error) {
	if c := p.live.Load(); c != nil {
		return c, nil
	}
	return nil, ErrProviderUnavailable
}

// redirectURI is where the provider sends people back to: ALB's, on the host they came to.
func (p *Provider) redirectURI(host string) string { return "https://" + host + p.set.callback }

// authorizeURL returns the address of the provider's sign-in page. The parameters are in ALB's
// order, which some tests of migrated apps look at; blanks are %20.
func (p *Provider) authorizeURL(c *connection, host string, login *pendingLogin) string {
	step := login.want.params(p.set.cognito)
	params := append([]param{
		{"client_id", p.set.clientID},
		{"redirect_uri", p.redirectURI(host)},
		{"response_type", "code"},
		{"scope", strings.Join(p.set.scopes, " ")},
		{"state", login.stateText()},
		{"nonce", login.nonceText()},
		{"code_challenge", oauth2.S256ChallengeFromVerifier(login.verifierText())},
		{"code_challenge_method", "S256"},
	}, step...)
	for _, extra := range p.set.extra {
		i := slices.IndexFunc(params, func(s param) bool { return s.name == extra.name })
		switch {
		case i < 0:
			params = append(params, extra)
		case extra.name == "prompt" && !p.set.cognito:
			params[i].value = prompts(params[i].value, extra.value)
		}
	}
	return withQuery(c.oauth.Endpoint.AuthURL, params)
}

// prompts puts together what a login asks for and what all logins do: providers that give refresh
// tokens only after prompt=consent (OpenID Connect Core 1.0 section 11) would leave this one without.
// Cognito takes one value.
func prompts(asked, always string) string {
	list := []string{asked}
	for _, prompt := range strings.Fields(always) {
		if prompt != "none" && !slices.Contains(list, prompt) { // none stands alone
			list = append(list, prompt)
		}
	}
	return strings.Join(list, " ")
}

// signOutURL returns where a signed-out browser goes so that the provider forgets it too, or "". state
// comes back from an OpenID provider (OpenID Connect RP-Initiated Logout 1.0 section 2); Cognito knows none.
func (p *Provider) signOutURL(c *connection, host, idToken, state string) string {
	if c == nil || c.endSession == "" {
		return ""
	}
	after := p.set.afterSignOut
	if after == "" {
		after = "https://" + host + signedOutPath
	}
	if p.set.cognito {
		return withQuery(c.endSession, []param{{"client_id", p.set.clientID}, {"logout_uri", after}})
	}
	params := []param{{"client_id", p.set.clientID}, {"post_logout_redirect_uri", after}}
	if p.set.afterSignOut == "" && state != "" { // elsewhere nobody would know what it is
		params = append(params, param{"state", state})
	}
	if idToken != "" {
		params = append([]param{{"id_token_hint", idToken}}, params...)
	}
	return withQuery(c.endSession, params)
}
