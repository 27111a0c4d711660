package authn

// Config is how people sign in. Exactly one of Cognito, OIDC and Providers is set.
type Config struct {
	// Cognito signs in through an Amazon Cognito user pool.
	Cognito *CognitoConfig `yaml:"cognito"`
	// OIDC signs in through any other OpenID provider.
	OIDC *OIDCConfig `yaml:"oidc"`
	// Providers are several ways to sign in, by name, where one is not enough. A host or a route says
	// which of them it takes; with more than one people choose on a page, where they stand in the order
	// of their names.
	Providers map[string]ProviderConfig `yaml:"providers"`
	// Session is the login kept by cookie: its name, life and keys.
	Session SessionConfig `yaml:"session"`
	// Callback is the path of the redirect URI; default /oauth2/idpresponse, as ALB has it.
	Callback string `yaml:"callback"`
	// SignIn is the path, on every host that has a signed-in route, that begins a sign-in and returns
	// to the path in its parameter rd; default /oauth2/sign_in.
	SignIn string `yaml:"sign_in"`
	// SignOut is the path, on the same hosts, that ends the session here and at the provider; default
	// /oauth2/sign_out.
	SignOut string `yaml:"sign_out"`
	// AfterSignOut is the absolute URL that the provider returns to; default https://HOST/oauth2/signed_out.
	AfterSignOut string `yaml:"after_sign_out"`
	// GroupsClaim names the claim that holds groups; default cognito:groups with Cognito, groups elsewhere.
	GroupsClaim string `yaml:"groups_claim"`
	// Tokens says which bearer tokens routes with `require: token` take.
	Tokens TokenConfig `yaml:"tokens"`
}

// CognitoConfig names a user pool and its app client.
type CognitoConfig struct {
	// Region is the AWS region of the pool, such as eu-west-1; default what user_pool begins with.
	Region string `yaml:"region"`
	// UserPool is the pool's id, such as eu-west-1_AbC123. Required.
	UserPool string `yaml:"user_pool"`
	// Domain is where the pool signs people in: https://auth.example.com, or the prefix of an
	// amazoncognito.com name. Required.
	Domain string `yaml:"domain"`
	// ClientID is the id of the pool's app client. Required.
	ClientID string `yaml:"client_id"`
	// ClientSecret is the app client's secret, as ${file:/path} or ${env:NAME}. The keys of sessions and
	// assertions are derived from it where no other secret is set.
	ClientSecret string `yaml:"client_secret"`
	// Scopes are asked for at sign-in; default openid, email, profile. The app client must allow them.
	Scopes []string `yaml:"scopes"`
	// Endpoint replaces https://cognito-idp.REGION.amazonaws.com, for a VPC endpoint or a development pool.
	Endpoint string `yaml:"endpoint"`
	// CA is a PEM file of roots for the pool's endpoints; default the system's.
	CA string `yaml:"ca"`
	// ExtraParams are added to the authorize URL; 10 at most.
	ExtraParams map[string]string `yaml:"extra_params"`
	// Issuer is the form of the issuer that the pool is set to: "original" (the default,
	// https://cognito-idp.REGION.amazonaws.com/POOL) or "updated"
	// (https://issuer-cognito-idp.REGION.amazonaws.com/POOL). Tokens of the other one are refused.
	Issuer string `yaml:"issuer"`
	// IdentityProvider is where the pool sends people at once, such as Google, SignInWithApple or the
	// name that the pool gave a SAML or OIDC provider; COGNITO is the pool itself. Default: the pool asks.
	IdentityProvider string `yaml:"identity_provider"`
	// IDPIdentifier chooses the same by an identifier of that provider, often a domain of e-mail addresses.
	IDPIdentifier string `yaml:"idp_identifier"`
	// Lang is the language of the pool's pages, such as de or pt-BR; default what the browser asks for.
	Lang string `yaml:"lang"`
	// LoginHint is the user name that the pool's page begins with, for a host that belongs to one tenant.
	LoginHint string `yaml:"login_hint"`
}

// ProviderConfig is one of several providers. Exactly one of Cognito and OIDC is set.
type ProviderConfig struct {
	// Title is what people read on the page where they choose; default the name.
	Title string `yaml:"title"`
	// Hosts are the hosts, exact or *.example.com, that sign in here and, unless others name them too,
	// nowhere else; default those that no provider names.
	Hosts []string `yaml:"hosts"`
	// Cognito signs in through an Amazon Cognito user pool.
	Cognito *CognitoConfig `yaml:"cognito"`
	// OIDC signs in through any other OpenID provider.
	OIDC *OIDCConfig `yaml:"oidc"`
	// GroupsClaim names the claim that holds groups; default cognito:groups with Cognito, groups elsewhere.
	GroupsClaim string `yaml:"groups_claim"`
	// Tokens says which of its bearer tokens routes with `require: token` take.
	Tokens TokenConfig `yaml:"tokens"`
}

// OIDCConfig names an OpenID provider with a discovery document.
type OIDCConfig struct {
	// Issuer is the provider's URL, exactly as its tokens name it in "iss"; the discovery document is at
	// ISSUER/.well-known/openid-configuration. Required.
	Issuer string `yaml:"issuer"`
	// ClientID is the id that the provider gave this client. Required.
	ClientID string `yaml:"client_id"`
	// ClientSecret is the client's secret, as ${file:/path} or ${env:NAME}; left out only with
	// auth_method: none. The keys of sessions and assertions are derived from it where no other secret is set.
	ClientSecret string `yaml:"client_secret"`
	// Scopes are asked for at sign-in; default openid, email, profile.
	Scopes []string `yaml:"scopes"`
	// CA is a PEM file of roots for the provider's endpoints; default the system's.
	CA string `yaml:"ca"`
	// ExtraParams are added to the authorize URL; 10 at most.
	ExtraParams map[string]string `yaml:"extra_params"`
	// AuthMethod is "client_secret_basic" (the default), "client_secret_post" or "none".
	AuthMethod string `yaml:"auth_method"`
}

// SessionConfig is the login kept by cookie.
type SessionConfig struct {
	// Cookie is the base name; shards are NAME-0 … NAME-3. Default __Host-gatehouse.
	Cookie string `yaml:"cookie"`
	// Timeout is the absolute life of a session; default 12h. ALB's is 168h.
	Timeout string `yaml:"timeout"`
	// Keys encrypt and sign the cookie: the first seals, the others still open. Each at least 32
	// bytes. Without any they are derived from the file's secret.
	Keys []string `yaml:"keys"`
	// SameSite is "lax" (the default), "strict" or "none".
	SameSite string `yaml:"same_site"`
	// OnProviderDown is "serve" (the default: the session lives on until its own end) or "refuse" (503).
	OnProviderDown string `yaml:"on_provider_down"`
}

// TokenConfig says which bearer tokens are taken. They come from the same issuer as logins.
type TokenConfig struct {
	// ClientIDs are further Cognito app clients whose access tokens are taken, beside the login's own.
	ClientIDs []string `yaml:"client_ids"`
	// Audience is required of tokens of a generic provider: one of these must be in "aud".
	Audience []string `yaml:"audience"`
}
