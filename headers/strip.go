package headers

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// ownPrefixes are the header families that only the gateway may send: the identity that it signed,
// what it learnt from the client's certificate and handshake, and its firewall's verdict. AWS lets a
// client's own pass where it sets none; stripping them everywhere breaks no correct application.
var ownPrefixes = [...]string{"x_amzn_oidc_", "x_amzn_mtls_", "x_amzn_tls_", "x_amzn_waf_"}

// foreignPrefixes and foreignNames are the headers in which other gateways tell an application who
// is calling. An application that moved here may still believe them, so a client may not send
// them, unless AssertionConfig.Pass says so. All are folded.
var (
	foreignPrefixes = [...]string{
		"cf_access_",                 // Cloudflare Access
		"oidc_access_token",          // mod_auth_openidc; with -expires
		"oidc_claim_",                // the same: one for each claim
		"oidc_id_token",              // the same; with -payload
		"shib_",                      // Shibboleth, with ShibUseHeaders
		"ssl_client_",                // nginx and Apache: the client's certificate
		"tailscale_user_",            // tailscale serve
		"x_anonymous_consumer",       // Kong
		"x_apigateway_api_userinfo",  // Google API Gateway
		"x_appengine_user_",          // App Engine
		"x_auth_request_",            // oauth2-proxy behind auth_request
		"x_authenticated_",           // Kong and home-grown gateways: -User, -UserId, -Groups
		"x_authentik_",               // authentik
		"x_consumer_",                // Kong
		"x_credential_",              // the same
		"x_endpoint_api_userinfo",    // Google Cloud Endpoints
		"x_forwarded_client_cert",    // Envoy
		"x_forwarded_tls_client_",    // Traefik: -cert and -cert-info
		"x_goog_authenticated_user_", // Google's Identity-Aware Proxy
		"x_goog_iap_",                // the same, signed
		"x_middleware_subrequest",    // Next.js: skips its own checks (CVE-2025-29927); with -id
		"x_ms_client_principal",      // Azure App Service: the object, -id, -name, -idp
		"x_ms_token_",                // the same: provider tokens
		"x_pomerium_",                // Pomerium
		"x_ssl_client_",              // HAProxy and others: the client's certificate
		"x_vouch_",                   // Vouch Proxy
		"x_webauth_",                 // Grafana's auth proxy: -user, -name, -email, -role, -groups
	}
	foreignNames = [...]string{
		"remote_email", "remote_groups", "remote_name", "remote_user", // Authelia, Apache, CGI itself
		"x_remote_email", "x_remote_group", "x_remote_groups", "x_remote_user",
		"x_auth_email", "x_auth_groups", "x_auth_user", "x_auth_username",
		"x_forwarded_access_token", "x_forwarded_email", "x_forwarded_groups", "x_forwarded_preferred_username", "x_forwarded_user", // oauth2-proxy
		"x_arr_clientcert", "x_client_cert", "x_client_dn", "x_client_verify", // IIS, HAProxy: the client's certificate
		"x_gateway_identity",
		"x_jwt_assertion", "x_userinfo", // WSO2; Kong's OpenID Connect
	}
)

// isForeignIdentity reports whether a folded name is one of other gateways' identity headers.
func isForeignIdentity(folded string) bool {
	return slices.Contains(foreignNames[:], folded) ||
		slices.ContainsFunc(foreignPrefixes[:], func(prefix string) bool { return strings.HasPrefix(folded, prefix) })
}

// A stripper deletes the headers that clients may not send. It is immutable.
type stripper struct {
	rules [256]stripRules // by the folded first byte of the name
	pass  []string
}

type stripRules struct {
	prefixes []string // folded; Pass does not except these
	foreign  []string // folded prefixes; Pass excepts
	names    []string // folded, whole names
}

// NewStripper returns what deletes from a client's request every header that only the gateway may
// send: x-amzn-oidc-, -mtls-, -tls- and -waf-, the headers that cfg or one of the routes maps a claim
// to, and the identity headers of other gateways, in every spelling that an application may take for
// them. It deletes malformed names too. It is for every request of every route, whether somebody can
// sign in or not, and for trailers as well; it allocates nothing and is safe for concurrent use.
func NewStripper(cfg AssertionConfig, routes ...RouteAssertionConfig) (func(http.Header), error) {
	if err := problems("assertion", cfg.Validate); err != nil {
		return nil, err
	}
	claims := slices.Collect(maps.Values(cfg.Claims))
	for _, route := range routes {
		if err := problems("assertion", route.over(cfg).Validate); err != nil {
			return nil, err
		}
		claims = slices.AppendSeq(claims, maps.Values(route.Claims))
	}
	return newStripper(cfg.Pass, claims).strip, nil
}

// newStripper takes the names that clients may send and those of mapped claims.
func newStripper(pass, claims []string) *stripper {
	s := &stripper{}
	for _, name := range pass {
		s.pass = append(s.pass, foldName(name))
	}
	for _, prefix := range ownPrefixes {
		rules := &s.rules[prefix[0]]
		rules.prefixes = append(rules.prefixes, prefix)
	}
	for _, prefix := range foreignPrefixes {
		rules := &s.rules[prefix[0]]
		rules.foreign = append(rules.foreign, prefix)
	}
	for _, name := range foreignNames {
		if !slices.Contains(s.pass, name) {
			rules := &s.rules[name[0]]
			rules.names = append(rules.names, name)
		}
	}
	for _, name := range claims {
		folded := foldName(name)
		rules := &s.rules[folded[0]]
		if !slices.Contains(rules.names, folded) {
			rules.names = append(rules.names, folded)
		}
	}
	return s
}

// strip deletes from h, whatever the spelling of its keys. A key that is not a token of RFC 9110 is
// deleted too: no honest client sends one, and there is no telling what folds it to what ('ß' is
// 'SS' in upper case to Python, 'ſ' is 'S' and the Kelvin sign is 'k' to many).
func (s *stripper) strip(h http.Header) {
	for name := range h {
		if s.forged(name) {
			delete(h, name)
		}
	}
}

func (s *stripper) forged(name string) bool {
	if !isToken(name) {
		return true
	}
	rules := &s.rules[fold[name[0]]]
	for _, prefix := range rules.prefixes {
		if foldsTo(name, prefix) {
			return true
		}
	}
	for _, own := range rules.names {
		if len(name) == len(own) && foldsTo(name, own) {
			return true
		}
	}
	for _, prefix := range rules.foreign {
		if foldsTo(name, prefix) {
			return !s.passes(name)
		}
	}
	return false
}

func (s *stripper) passes(name string) bool {
	for _, pass := range s.pass {
		if len(name) == len(pass) && foldsTo(name, pass) {
			return true
		}
	}
	return false
}
