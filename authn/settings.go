package authn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Defaults of the paths. The callback's is ALB's, which is in the allow-list of every app client
// that moves here.
const (
	defaultCallback = "/oauth2/idpresponse"
	defaultSignIn   = "/oauth2/sign_in"
	defaultSignOut  = "/oauth2/sign_out"
	signedOutPath   = "/oauth2/signed_out"
)

const (
	defaultCookie  = "__Host-gatehouse"
	defaultTimeout = 12 * time.Hour
	maxTimeout     = 365 * 24 * time.Hour
	minKeyLength   = 32
	maxExtraParams = 10 // as ALB's AuthenticationRequestExtraParams
)

var (
	poolPattern     = regexp.MustCompile(`^[a-z0-9-]+_[A-Za-z0-9]+$`)
	regionPattern   = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
	prefixPattern   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	hostNamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?$`)
	cookiePattern   = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$`)
	// Of ProviderIdentifiers in the API of Cognito, and of the parameter lang.
	identifierPattern = regexp.MustCompile(`^[\w +=.@-]{1,40}$`)
	langPattern       = regexp.MustCompile(`^[a-z]{2,3}(-[A-Z]{2})?$`)

	pathPattern = regexp.MustCompile(`^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$`)
)

// reservedParams are the parameters of the authorize URL that are ours alone.
func reservedParam(name string) bool {
	switch name {
	case "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
		"code_challenge", "code_challenge_method", "request", "request_uri":
		return true
	}
	return false
}

// Validate reports everything that is wrong with the configuration. field is the path below this
// section; "" is the section itself. It reads no file and does no network.
func (c Config) Validate(report func(field, msg string)) {
	c.resolveAll(report)
	c.Session.Validate(func(field, msg string) { report(join("session", field), msg) })
}

// Validate reports everything that is wrong with the section.
func (c SessionConfig) Validate(report func(field, msg string)) { c.resolve(report) }

func join(section, field string) string {
	if field == "" {
		return section
	}
	return section + "." + field
}

// settings is a Config with its defaults filled in and everything parsed. It is immutable.
type settings struct {
	name         string // "" where there is one provider only
	title        string // for people
	hosts        []string
	cognito      bool
	issuer       string
	domain       string // Cognito: origin of the hosted pages, without a slash at the end
	clientID     string
	clientSecret string
	authStyle    oauth2.AuthStyle
	scopes       []string
	extra        []param
	ca           string

	callback, signIn, signOut string
	afterSignOut              string
	groupsClaim               string
	clients                   []string
	audience                  []string
}

type param struct{ name, value string }

// accessTokens is what the access tokens of the same issuer must be like.
func (s *settings) accessTokens() issuerSettings {
	set := issuerSettings{
		issuer: s.issuer, cognito: s.cognito, clientID: s.clientID, audience: s.audience, groupsClaim: s.groupsClaim,
	}
	if s.cognito {
		set.clients = s.clients
	}
	return set
}

// resolve is resolveAll for the single form.
func (c Config) resolve(report func(field, msg string)) settings {
	s := c.resolvePaths(report)
	s.groupsClaim, s.audience = c.GroupsClaim, c.Tokens.Audience
	resolveProvider(&s, c.Cognito, c.OIDC, c.Tokens, report)
	return s
}

// resolvePaths is what all providers have in common.
func (c Config) resolvePaths(report func(field, msg string)) settings {
	s := settings{
		callback:     path(report, "callback", c.Callback, defaultCallback),
		signIn:       path(report, "sign_in", c.SignIn, defaultSignIn),
		signOut:      path(report, "sign_out", c.SignOut, defaultSignOut),
		afterSignOut: c.AfterSignOut,
	}
	paths := []string{s.callback, s.signIn, s.signOut, signedOutPath, signedInPath, SessionPath, SessionScript, BackchannelPath, frontchannelPath}
	for i, p := range paths {
		if slices.Index(paths, p) != i {
			report("", fmt.Sprintf("callback, sign_in and sign_out: want different paths, and none that is taken already, got %q twice", p))
			break
		}
	}
	if c.AfterSignOut != "" {
		if _, err := secureURL(c.AfterSignOut); err != nil {
			report("after_sign_out", err.Error())
		}
	}
	return s
}

// resolveProvider is what each provider has for itself.
func resolveProvider(s *settings, cognito *CognitoConfig, oidc *OIDCConfig, tokens TokenConfig, report func(field, msg string)) {
	notEmpty(report, "tokens.audience", tokens.Audience)
	notEmpty(report, "tokens.client_ids", tokens.ClientIDs)
	switch {
	case cognito != nil && oidc != nil:
		report("", `set either "cognito" or "oidc", not both`)
	case cognito != nil:
		cognito.resolve(s, func(field, msg string) { report(join("cognito", field), msg) })
	case oidc != nil:
		oidc.resolve(s, func(field, msg string) { report(join("oidc", field), msg) })
	default:
		report("", `nobody can sign in: want "cognito" or "oidc"`)
	}
	s.clients = append([]string{s.clientID}, tokens.ClientIDs...)
	if len(tokens.ClientIDs) > 0 && cognito == nil {
		report("tokens.client_ids", `only Cognito's tokens name a client; want "audience" here`)
	}
}

// notEmpty reports the entries of a list that are: such a one is in no token.
func notEmpty(report func(field, msg string), field string, list []string) {
	for i, s := range list {
		if s == "" {
			report(fmt.Sprintf("%s[%d]", field, i), "is empty")
		}
	}
}

func (c *CognitoConfig) resolve(s *settings, report func(field, msg string)) {
	s.cognito = true
	s.clientID, s.clientSecret, s.ca = c.ClientID, c.ClientSecret, c.CA
	s.authStyle = oauth2.AuthStyleInHeader
	if c.ClientSecret == "" {
		s.authStyle = oauth2.AuthStyleInParams // a public client names itself in the body
	}
	if s.groupsClaim == "" {
		s.groupsClaim = "cognito:groups"
	}
	if !poolPattern.MatchString(c.UserPool) {
		report("user_pool", fmt.Sprintf("want a pool id such as eu-west-1_AbC123, got %q", c.UserPool))
	}
	region, _, _ := strings.Cut(c.UserPool, "_")
	if c.Region != "" {
		region = c.Region
	}
	switch of, _, _ := strings.Cut(c.UserPool, "_"); {
	case c.Endpoint != "":
	case !regionPattern.MatchString(region):
		report("region", fmt.Sprintf("want a region such as eu-west-1, got %q", region))
	case region != of && poolPattern.MatchString(c.UserPool):
		report("region", fmt.Sprintf("want %q, with which the pool's id begins, or nothing, got %q", of, region))
	}
	base := "https://" + c.issuerHost(report) + "." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		base += ".cn"
	}
	if c.Endpoint != "" {
		base = strings.TrimSuffix(c.Endpoint, "/")
		if _, err := secureURL(base); err != nil {
			report("endpoint", err.Error())
		}
	}
	s.issuer = base + "/" + c.UserPool
	s.domain = cognitoDomain(c.Domain, region, report)
	resolveClient(s, c.Scopes, c.ExtraParams, report)
	c.resolveHints(s, report)
}

// cognitoDomain takes https://auth.example.com, auth.example.com, or the prefix of an
// amazoncognito.com name.
func cognitoDomain(domain, region string, report func(field, msg string)) string {
	switch {
	case strings.Contains(domain, "://"):
		u, err := secureURL(domain)
		if err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
			err = fmt.Errorf("want no path, got %q", domain)
		}
		if err != nil {
			report("domain", err.Error())
			return ""
		}
		return u.Scheme + "://" + u.Host
	case prefixPattern.MatchString(domain):
		return "https://" + domain + ".auth." + region + ".amazoncognito.com"
	case hostNamePattern.MatchString(domain):
		return "https://" + domain
	}
	report("domain", fmt.Sprintf("want https://auth.example.com or the prefix of an amazoncognito.com name, got %q", domain))
	return ""
}

func (c *OIDCConfig) resolve(s *settings, report func(field, msg string)) {
	s.issuer, s.clientID, s.clientSecret, s.ca = c.Issuer, c.ClientID, c.ClientSecret, c.CA
	if s.groupsClaim == "" {
		s.groupsClaim = "groups"
	}
	if u, err := secureURL(c.Issuer); err != nil {
		report("issuer", err.Error())
	} else if u.RawQuery != "" {
		report("issuer", "want no query (OpenID Connect Discovery 1.0 section 3)")
	}
	switch c.AuthMethod {
	case "", "client_secret_basic":
		s.authStyle = oauth2.AuthStyleInHeader
	case "client_secret_post", "none":
		s.authStyle = oauth2.AuthStyleInParams
	default:
		report("auth_method", fmt.Sprintf("want client_secret_basic, client_secret_post or none, got %q", c.AuthMethod))
	}
	switch {
	case c.AuthMethod == "none" && c.ClientSecret != "":
		report("client_secret", "want none with auth_method none")
	case c.AuthMethod != "none" && c.ClientSecret == "":
		report("client_secret", "missing; a client without one sets auth_method: none")
	}
	resolveClient(s, c.Scopes, c.ExtraParams, report)
}

// resolveClient is what both kinds have in common.
func resolveClient(s *settings, scopes []string, extra map[string]string, report func(field, msg string)) {
	if s.clientID == "" {
		report("client_id", "missing")
	}
	s.scopes = scopes
	if len(scopes) == 0 {
		s.scopes = []string{"openid", "email", "profile"}
	}
	if !slices.Contains(s.scopes, "openid") {
		report("scopes", `want "openid" among them: without it there is no ID token`)
	}
	for i, scope := range s.scopes {
		if !validScope(scope) {
			report(fmt.Sprintf("scopes[%d]", i), fmt.Sprintf("want one scope without blanks, got %q", scope))
		}
	}
	if len(extra) > maxExtraParams {
		report("extra_params", fmt.Sprintf("want at most %d, got %d", maxExtraParams, len(extra)))
	}
	for name, value := range extra {
		if name == "" || reservedParam(name) {
			report("extra_params", fmt.Sprintf("%q is not for you to set", name))
		}
		s.extra = append(s.extra, param{name, value})
	}
	sort.Slice(s.extra, func(i, j int) bool { return s.extra[i].name < s.extra[j].name })
}

// validScope is scope-token of RFC 6749 section 3.3.
func validScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

func path(report func(field, msg string), field, value, fallback string) string {
	if value == "" {
		return fallback
	}
	if !pathPattern.MatchString(value) {
		report(field, fmt.Sprintf("want a plain path such as %s, got %q", fallback, value))
	}
	return value
}

// secureURL parses an absolute https URL. http is taken for loopback hosts only, where nobody can
// listen in.
func secureURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, errors.New("missing")
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "":
		return nil, fmt.Errorf("want an https URL, got %q", clip(s, 200))
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("want an https URL (http only for a loopback address), got %q", clip(s, 200))
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// sessionSettings is a SessionConfig with its defaults filled in.
type sessionSettings struct {
	cookie   string
	timeout  time.Duration
	keys     []string
	sameSite string // as the attribute is written
	refuse   bool   // 503 while the provider is down
}

func (c SessionConfig) resolve(report func(field, msg string)) sessionSettings {
	s := sessionSettings{cookie: c.Cookie, timeout: defaultTimeout, keys: c.Keys, sameSite: "Lax"}
	if c.Cookie == "" {
		s.cookie = defaultCookie
	} else if !cookiePattern.MatchString(c.Cookie) {
		report("cookie", fmt.Sprintf("want a cookie name of at most 64 characters, got %q", c.Cookie))
	}
	if c.Timeout != "" {
		d, err := time.ParseDuration(c.Timeout)
		if err != nil || d < time.Second || d > maxTimeout {
			report("timeout", fmt.Sprintf("want a duration from 1s to 8760h such as 12h, got %q", c.Timeout))
		} else {
			s.timeout = d
		}
	}
	for i, key := range c.Keys {
		if len(key) < minKeyLength {
			report(fmt.Sprintf("keys[%d]", i), fmt.Sprintf("want at least %d bytes, got %d", minKeyLength, len(key)))
		}
	}
	switch c.SameSite {
	case "", "lax":
	case "strict":
		s.sameSite = "Strict"
	case "none":
		s.sameSite = "None"
	default:
		report("same_site", fmt.Sprintf("want lax, strict or none, got %q", c.SameSite))
	}
	switch c.OnProviderDown {
	case "", "serve":
	case "refuse":
		s.refuse = true
	default:
		report("on_provider_down", fmt.Sprintf("want serve or refuse, got %q", c.OnProviderDown))
	}
	return s
}

// check runs resolve and turns what it reports into one error.
func check[T any](resolve func(report func(field, msg string)) T) (T, error) {
	var errs []error
	s := resolve(func(field, msg string) {
		if field != "" {
			msg = field + ": " + msg
		}
		errs = append(errs, errors.New(msg))
	})
	return s, errors.Join(errs...)
}

// canonicalHost is how hosts are compared: lower case, no dot at the end, no default port.
func canonicalHost(host string) string {
	if isCanonical(host) {
		return host
	}
	host = strings.ToLower(host)
	if name, port, err := net.SplitHostPort(host); err == nil && port == "443" {
		host = name
		if strings.Contains(name, ":") {
			host = "[" + name + "]"
		}
	}
	return strings.TrimSuffix(host, ".")
}

// isCanonical spares the common case all work.
func isCanonical(host string) bool {
	for i := range len(host) {
		if c := host[i]; c >= 'A' && c <= 'Z' || c == ':' {
			return false
		}
	}
	return host == "" || host[len(host)-1] != '.'
}
