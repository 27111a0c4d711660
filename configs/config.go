package configs

import (
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/cognitoapi"
	"gatehouse/headers"
	"gatehouse/internal/awslog"
	"gatehouse/internal/fleet"
	"gatehouse/proxy"
	"gatehouse/proxy/cache"
	"gatehouse/proxy/certs"
	"gatehouse/proxy/clientcert"
	"gatehouse/proxy/compress"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/ratelimit"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
	"gatehouse/waf/acl"
	"gatehouse/waf/challenge"
	"gatehouse/waf/ipset"
)

// Config is one configuration file as it takes effect: references resolved, defaults and the
// switches of compat filled in, the sections of a route merged over those at the top. It holds
// secrets; printing or marshalling it gives what Redacted gives. It is immutable after Load and
// safe for concurrent use.
type Config struct {
	// Listen says where connections are taken. Required.
	Listen Listen `yaml:"listen"`
	// TLS says where certificates come from.
	TLS certs.Config `yaml:"tls"`
	// Login is how people sign in. Without it routes can require nothing or, with tokens, a bearer token.
	Login *authn.Config `yaml:"login"`
	// Tokens says whose bearer tokens routes take beside the login's own.
	Tokens authn.TokensConfig `yaml:"tokens"`
	// Secret is the master secret from which the keys of sessions and assertions are derived, 32
	// characters at least. Default: the client_secret of a login with one provider, so that a single
	// secret is enough; changing that one then ends every session.
	Secret string `yaml:"secret"`
	// WAF is what every route's engine starts from: a mode ("block", "count", "off") or a mapping.
	WAF waf.Config `yaml:"waf"`
	// WAFBudget bounds what the engines of all routes do together, and for each client.
	WAFBudget waf.BudgetConfig `yaml:"waf_budget"`
	// ACL is rules of your own, as the web ACLs of AWS WAF have them: who is blocked, allowed, counted.
	ACL acl.Config `yaml:"acl"`
	// IPSets are sets of addresses, which rules name: a list, or a mapping.
	IPSets map[string]ipset.SetConfig `yaml:"ip_sets"`
	// Geo says where addresses are looked up whose country or autonomous system a rule asks for.
	Geo ipset.GeoConfig `yaml:"geo"`
	// Challenge is how much work rules and limits with the action challenge ask of browsers.
	Challenge challenge.Config `yaml:"challenge"`
	// Limits are the rate limits that routes name.
	Limits map[string]ratelimit.Config `yaml:"limits"`
	// Upstreams are where routes forward to: a URL, a list of URLs, or a mapping. Required unless no route
	// forwards.
	Upstreams map[string]upstream.Config `yaml:"upstreams"`
	// Origins are directories of files, and private buckets, that routes go to, by name: the path of a directory, or a mapping.
	Origins map[string]origin.Config `yaml:"origins"`
	// Cache is what routes with a cache keep their answers in.
	Cache cache.StoreConfig `yaml:"cache"`
	// CognitoAPI are proxies of a user pool's API, by name: browsers call the pool through them as if their app client
	// had no secret. Routes name them in to, as they name upstreams.
	CognitoAPI map[string]cognitoapi.Config `yaml:"cognito_api"`
	// Headers are the response headers every route starts from: a preset or a mapping.
	Headers headers.SecurityConfig `yaml:"headers"`
	// Compress is "on" to compress the answers of routes that require nothing, no client certificate either, and say nothing else, or a
	// mapping. Default off.
	Compress compress.Config `yaml:"compress"`
	// Assertion is how the identity is told to upstreams.
	Assertion headers.AssertionConfig `yaml:"assertion"`
	// ClientCertificates say of which hosts the clients are asked for a certificate, and who vouches for it.
	ClientCertificates []clientcert.Config `yaml:"client_certificates"`
	// TrustedProxies are addresses and CIDRs of proxies in front whose X-Forwarded-For is believed.
	// Default: none.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// Compat is "aws" to behave as the AWS front door does where that differs from this program's
	// own defaults. Values that the file sets stand. It sets
	// login.session.cookie to AWSELBAuthSessionCookie, login.session.timeout to 168h, the login's
	// scopes to openid alone, assertion.padding to padded, insecure_skip_verify of https upstreams
	// that say nothing about tls, and compat of every route. What AWS and this program do alike
	// needs no switch: on_unauthenticated: deny answers 401 without a session and sends an expired
	// one to sign in; the headers, the callback path and the key endpoint are ALB's.
	Compat string `yaml:"compat"`
	// Events are what is written beside the event lines, which always go to standard output.
	Events Events `yaml:"events"`
	// StateDir holds certificates, the local CA, the ACME account and, so that a restart brings nobody
	// back, who has signed out. Default: $STATE_DIRECTORY (systemd), else gatehouse in the user's state
	// directory.
	StateDir string `yaml:"state_dir"`
	// Fleet is the store that several instances share: who has signed out, and refreshes under way. Default:
	// none, and each works alone.
	Fleet *fleet.Config `yaml:"fleet"`
	// Drain is how long requests may take to end after SIGTERM; default 30s.
	Drain Duration `yaml:"drain"`
	// Routes say what is matched, who may come in and where it goes. Required.
	Routes []Route `yaml:"routes"`

	loaded *loaded
}

// Listen is the addresses of the process, each "host:port", ":port", or "unix:/path" where said.
type Listen struct {
	// HTTPS serves the routes. Required.
	HTTPS string `yaml:"https"`
	// HTTP answers ACME challenges and redirects to HTTPS, nothing else. Default: not opened.
	HTTP string `yaml:"http"`
	// Admin serves health, readiness and metrics; "unix:/path" or "off" too. Default 127.0.0.1:9901.
	Admin string `yaml:"admin"`
	// AdminToken is the bearer token that Admin wants, 32 characters at least. Required where Admin
	// can be reached from other machines.
	AdminToken string `yaml:"admin_token"`
	// Keys serves the assertion's public keys without TLS, for upstreams in a private network.
	// Default: not opened; the keys are on every host of HTTPS too.
	Keys string `yaml:"keys"`
	// Connections is how many connections HTTPS takes at once; default 10000.
	Connections int `yaml:"connections"`
	// HeaderTimeout bounds the time from a request's first byte to the end of its head; default 10s.
	HeaderTimeout Duration `yaml:"header_timeout"`
	// IdleTimeout bounds the time between two requests on a connection; default 60s, as ALB has it.
	IdleTimeout Duration `yaml:"idle_timeout"`
	// ProxyProtocol says which load balancers in front name the client at the beginning of each connection to
	// HTTPS and HTTP, in version 1 or 2 of the PROXY protocol. Default: none.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
}

// ProxyProtocol says which load balancers name the client at the beginning of each connection.
type ProxyProtocol struct {
	// From are their addresses and CIDRs, such as those of an NLB's subnets. Their connections must begin with a header, and
	// whom it names is the client everywhere. Required.
	From []string `yaml:"from"`
	// Others is what happens to connections from elsewhere: "refuse", the default, closes them, "direct" serves them as
	// what they are, without a header.
	Others string `yaml:"others"`
}

// Events says what of requests is written in the form of another program.
type Events struct {
	// WAFLog is "aws" for a record in the form of AWS WAF's logs for each request that a rule matched, on standard output, or
	// a mapping.
	WAFLog awslog.Config `yaml:"waf_log"`
}

// A Route says what is matched, who may come in, and where it goes.
type Route struct {
	// Name is the route's name in events and metrics; default its first match.
	Name string `yaml:"name"`
	// Match is "host/path", a list of those, or a mapping with host, path, methods, headers, query and source. Required.
	Match Matches `yaml:"match"`
	// Priority, from 1 to 50000, has the route asked before all without one, and before those with a higher number: the
	// first that matches in everything takes the request, as with the rules of an ALB's listener. Default: none, and the more
	// specific match decides.
	Priority int `yaml:"priority"`
	// To names the upstream, the directory in origins, or the proxy in cognito_api. Required without split, redirect
	// and respond.
	To string `yaml:"to"`
	// Split divides requests among upstreams, instead of to: their names with weights from 0 to 999, as in
	// {blue: 9, green: 1}. Each request is decided by itself.
	Split map[string]int `yaml:"split"`
	// Redirect sends clients elsewhere, instead of to: an address, or a mapping.
	Redirect *origin.RedirectConfig `yaml:"redirect"`
	// Respond answers with what stands here, instead of to.
	Respond *origin.RespondConfig `yaml:"respond"`
	// Require says who may come in: "nothing", "optional", "signed-in", "token", or a mapping with
	// groups, claims, email_domains, expr, provider, acr, max_age, prompt, on_unauthenticated or token.
	// Required.
	Require Require `yaml:"require"`
	// ClientCertificate is whom the route lets in of those with a verified certificate: DNS names, URIs or e-mail addresses of
	// which its subjectAltName must have one, or its subject as events show it. Such as could be taken for one of another kind do not
	// count. One or a list. Default all.
	ClientCertificate Names `yaml:"client_certificate"`
	// Cache keeps answers for those who ask for the same: {} for as long as the answers say, or a mapping. Default: nothing is
	// kept.
	Cache *cache.Config `yaml:"cache"`
	// Limit names the limits that apply: one name or a list.
	Limit Names `yaml:"limit"`
	// WAF is a mode or a mapping, merged over the one at the top. After Load it is the whole of it.
	WAF *waf.Config `yaml:"waf"`
	// ACL is rules for this route, beside those at the top: a mode or a mapping.
	ACL acl.RouteConfig `yaml:"acl"`
	// Headers is a preset or a mapping, merged over the one at the top. After Load it is the whole of it.
	Headers *headers.SecurityConfig `yaml:"headers"`
	// Compress is "on" or "off", or a mapping. Default the one at the top for routes that require nothing, no client certificate either,
	// and off for others. Types add to those at the top.
	Compress compress.Config `yaml:"compress"`
	// Assertion is merged over the one at the top. After Load it is the whole of what a route can say.
	Assertion *headers.RouteAssertionConfig `yaml:"assertion"`
	// StripPrefix is a path prefix that is taken off before forwarding, such as "/admin".
	StripPrefix string `yaml:"strip_prefix"`
	// RestorePrefix puts strip_prefix back into the Location, Content-Location and Refresh of answers, where they lead to this
	// host, and into the Path of cookies, for applications that do not look at X-Forwarded-Prefix; default false.
	RestorePrefix bool `yaml:"restore_prefix"`
	// Rewrite sends the upstream another host, path or query than the client's, as the transforms of an ALB's rule do: a
	// mapping with host, path or url.
	Rewrite *proxy.RewriteConfig `yaml:"rewrite"`
	// Admit lets requests in that have more than one reading and are refused by default.
	Admit Admit `yaml:"admit"`
	// MaxBody is the largest request body, such as "10MiB"; default 100MiB.
	MaxBody Size `yaml:"max_body"`
	// WebSocket relays WebSocket upgrades, after every guard has passed; default true.
	WebSocket *bool `yaml:"websocket"`
	// Compat is "aws" or "off"; default the one at the top. aws sets waf.body_limit to 8KiB and
	// waf.oversize to partial where neither the route nor the top says either: AWS WAF on an ALB
	// does not see the rest of a body. On routes with require: token, aws is ALB's jwt-validation (RS256;
	// iss and exp are required, a scope that is missing is 401, and keys that cannot be had are 500 or
	// 562), and "api-gateway" is the JWT authorizer of an HTTP API (RS256 to RS512; audience and
	// client_ids are one list, of which aud decides where there is one; any one of the scopes is enough; no
	// leeway for clocks; a token without "Bearer" is taken; its answers). "api-gateway-rest" is the Cognito
	// authorizer of a REST API: ID tokens where the route has no scopes, access tokens with any one of them
	// where it has some, and 401 to all others. With all three, as with AWS, the upstream gets the token and
	// no assertion.
	Compat string `yaml:"compat"`
	// Operations are those of the API that pass, where to names a proxy in cognito_api: one name or a list. Default all that
	// the proxy lets through.
	Operations Names `yaml:"operations"`
}

// Admit names what is let in. Each is false, refused, by default. It converts to proxy.Admit.
type Admit struct {
	// EncodedSlash lets %2F stand in a path.
	EncodedSlash bool `yaml:"encoded_slash"`
	// Backslash lets "\" and %5C stand in a path; %5C is forwarded.
	Backslash bool `yaml:"backslash"`
	// Semicolon lets ";" parameters stand in a path.
	Semicolon bool `yaml:"semicolon"`
	// DoubleSlash lets "//" stand in a path.
	DoubleSlash bool `yaml:"double_slash"`
	// EncodedReserved lets %3F and %23 stand in a path.
	EncodedReserved bool `yaml:"encoded_reserved"`
	// LetterCase says that the upstream tells /Admin and "/admin." from /admin, so that a path is not refused
	// because another route would match it in other letters, or without blanks and dots at the ends of names.
	LetterCase bool `yaml:"letter_case"`
	// DoubleEncoding says that the upstream decodes a path once only, so that a path is not refused
	// because another route would match it decoded twice.
	DoubleEncoding bool `yaml:"double_encoding"`
}

// A Match is one thing that a route matches. It converts to proxy.Match.
type Match struct {
	// Hosts are exact names, *.example.com, names with * and ? anywhere, or regular expressions behind a ~; empty means any.
	Hosts []string
	// Path is "" or "/*" for all, "/a" for exactly that, "/a/*" for /a and all below it, a path with * and ? anywhere, or a
	// regular expression behind a ~.
	Path string
	// Methods are what is taken; empty means all, and GET covers HEAD.
	Methods []string
	// Headers are headers and the values of which each must have one.
	Headers map[string][]string
	// Query are parameters and the values of which each must have one.
	Query map[string][]string
	// Source are addresses and CIDRs, in one of which the client's address must be.
	Source []string
}

// Matches is what a route matches, each entry by itself.
type Matches []Match

// Names is one name or a list of names.
type Names []string

// Who may come in.
const (
	RequireNothing  = "nothing"   // anybody; nobody is asked who they are
	RequireOptional = "optional"  // anybody; whoever is signed in is known to the upstream
	RequireSignedIn = "signed-in" // whoever has a session
	RequireToken    = "token"     // whoever bears an access token
)

// What happens to a request without a session where one is required.
const (
	OnUnauthenticatedAuthenticate = "authenticate" // sent to sign in
	OnUnauthenticatedDeny         = "deny"         // 401
	OnUnauthenticatedAllow        = "allow"        // let through as nobody
)

// Require says who may come in. The zero value is invalid: a route must say.
type Require struct {
	// Who is one of the Require constants.
	Who string
	// Groups are those of which a person must be in one; empty means any group or none.
	Groups []string
	// Scopes must all be in the token.
	Scopes []string
	// OnUnauthenticated is one of the OnUnauthenticated constants; "" for nothing and token.
	OnUnauthenticated string
	// Providers are the names of those who may vouch for the person; empty means those for the host.
	Providers []string
	// StepUp is what is asked of how and when the person signed in.
	StepUp authn.StepUp

	// Claims are names of claims and the values of which each must have one.
	Claims map[string][]string
	// EmailDomains are domains at one of which the verified e-mail address must be.
	EmailDomains []string
	// Expr is a CEL expression that must be true.
	Expr string
	// Issuers are the names of those whose tokens are taken; empty means everybody's.
	Issuers []string
}

// Size is a number of bytes.
type Size int64

// Duration is a length of time, written as Go writes it ("1m30s").
type Duration time.Duration

// Defaults that are decided here. Those of a section that another package configures are decided there.
const (
	DefaultAdmin       = "127.0.0.1:9901"
	ListenOff          = "off"            // the address of a listener that is not wanted
	OthersRefuse       = "refuse"         // of proxy_protocol
	OthersDirect       = "direct"         // the same
	DefaultConnections = 10000            // some 300 MB of buffers when all are in use
	DefaultDrain       = 30 * time.Second // less than the 90 s after which systemd kills, as the unit file says
	// The times of proxy/wire, said here so that the effective configuration shows them.
	DefaultHeaderTimeout = 10 * time.Second
	DefaultIdleTimeout   = 60 * time.Second
	DefaultMaxBody       = 100 << 20 // larger than any form and most uploads
	// MinSecret is the length from which a secret is taken to resist guessing offline.
	MinSecret = 32
)

// TrustedPrefixes returns TrustedProxies, parsed. A single address is a prefix of its full length.
func (c *Config) TrustedPrefixes() []netip.Prefix { return parsePrefixes(c.TrustedProxies) }

// Prefixes returns From, parsed as TrustedPrefixes are.
func (p ProxyProtocol) Prefixes() []netip.Prefix { return parsePrefixes(p.From) }

// Direct reports whether connections from elsewhere are served.
func (p ProxyProtocol) Direct() bool { return p.Others == OthersDirect }

func parsePrefixes(list []string) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		if p, err := parsePrefix(s); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// Files returns the absolute paths of files whose content is part of c, beside the configuration
// file itself, and with a slash at the end those of directories of rules: what ${file:…} references name, the keys of assertions,
// sets of addresses, databases of countries and trust stores.
func (c *Config) Files() []string {
	files := slices.Clone(c.loaded.src.expand.files)
	for _, key := range c.Assertion.Keys {
		if filepath.IsAbs(key) && !headers.IsInlineKey(key) {
			files = append(files, key)
		}
	}
	for _, r := range c.Routes {
		if r.WAF != nil && r.WAF.RulesDir != "" {
			files = append(files, waf.RuleFiles(r.WAF.RulesDir)...)
		}
	}
	for _, set := range c.IPSets {
		files = append(files, set.File)
	}
	files = append(files, c.Geo.Country, c.Geo.ASN)
	for _, up := range c.Upstreams {
		files = append(files, up.TLS.Files()...)
	}
	for _, each := range c.ClientCertificates {
		files = append(files, each.CA...)
	}
	for _, origin := range c.Origins {
		if origin.S3 != nil {
			files = append(files, origin.S3.CA)
		}
	}
	files = slices.DeleteFunc(files, func(name string) bool { return name == "" })
	slices.Sort(files)
	return slices.Compact(files)
}

// Lints returns what is allowed and probably not meant, in the order of the file.
func (c *Config) Lints() []Problem { return c.loaded.lints }

// Problem returns a Problem with the place of path in the file, for what turns out wrong only when
// the configuration is used. A path that the file does not have gets the place of what holds it.
func (c *Config) Problem(path, msg string) Problem { return c.loaded.src.problem(path, msg) }
