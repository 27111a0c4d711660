package headers

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// SecurityConfig is the response headers of a route.
type SecurityConfig struct {
	// Preset is "strict" (the default), "aws-managed" (CloudFront's managed SecurityHeadersPolicy) or "off".
	Preset string `yaml:"preset"`
	// Set replaces a header's value, whatever the preset and the upstream say.
	Set map[string]string `yaml:"set"`
	// Keep names headers of the preset for which the upstream's own value, if it sent one, stands.
	Keep []string `yaml:"keep"`
	// Remove names headers that never reach the client, beside Server and X-Powered-By.
	Remove []string `yaml:"remove"`
}

// AssertionConfig is how the identity is told to upstreams.
type AssertionConfig struct {
	// Signer is the "signer" field of the assertion's header: an ELB ARN that the app expects.
	Signer string `yaml:"signer"`
	// Keys are PEM files of P-256 keys: the first private key signs, all are published, public keys
	// too. Without any, the key is derived from the file's secret. An entry that has
	// "-----BEGIN" in it is the PEM itself, as a secret reference resolves to it.
	Keys []string `yaml:"keys"`
	// Source is where keys come from that Keys does not name. "secret" (the default) derives one from the
	// file's secret, for all instances. "fleet" makes them at random and keeps them in the fleet's store, sealed
	// with the secret. "instance" derives one for each start of each instance, and the instances publish each
	// other's: they tell their names in the fleet's store. Changing it, or the secret, changes all keys at once.
	Source string `yaml:"source"`
	// Rotate replaces the key that is derived or the fleet's after this time, from 24h to 8784h. The keys before
	// and after are published as well, and all instances agree. Default: never; with source fleet, 720h.
	Rotate string `yaml:"rotate"`
	// ClaimsFrom is where the claims come from: "userinfo" (the default, as ALB has it) or "id_token",
	// without what that token says about itself. Rules on claims see the same ones.
	ClaimsFrom string `yaml:"claims_from"`
	// Audience is the "aud" of the token. Default: none, as ALB has it. Where applications must not
	// take each other's tokens, give each route one of its own.
	Audience string `yaml:"audience"`
	// Padding is "padded" (the default, as ALB has it) or "unpadded" (RFC 7515).
	Padding string `yaml:"padding"`
	// AccessToken sends x-amzn-oidc-accesstoken: "send" (the default) or "omit".
	AccessToken string `yaml:"access_token"`
	// Claims maps a claim to a plain header, such as {email: X-Auth-Email}. The headers are stripped
	// on the way in. An e-mail address goes out only when the provider says that it is verified.
	Claims map[string]string `yaml:"claims"`
	// InsecureUnverifiedEmail sends a mapped e-mail claim although nobody has verified it.
	InsecureUnverifiedEmail bool `yaml:"insecure_unverified_email"`
	// Pass names identity headers of other gateways, such as X-Auth-User, that clients may send.
	// They are stripped otherwise. The x-amzn- headers and those of Claims cannot be passed.
	Pass []string `yaml:"pass"`
}

// RouteAssertionConfig is what a route says over AssertionConfig.
type RouteAssertionConfig struct {
	// Audience is the "aud" of the route's tokens.
	Audience string `yaml:"audience"`
	// Padding is "padded" or "unpadded".
	Padding string `yaml:"padding"`
	// AccessToken is "send" or "omit".
	AccessToken string `yaml:"access_token"`
	// Claims maps further claims to plain headers on this route. They are stripped on the way in of
	// every route.
	Claims map[string]string `yaml:"claims"`
}

const (
	presetStrict     = "strict"
	presetAWSManaged = "aws-managed"
	presetOff        = "off"

	paddingPadded   = "padded"
	paddingUnpadded = "unpadded"

	sourceSecret   = "secret"
	sourceFleet    = "fleet"
	sourceInstance = "instance"

	claimsUserinfo = "userinfo"
	claimsIDToken  = "id_token"

	// maxAudience is longer than any URL that names an application.
	maxAudience = 255

	accessTokenSend = "send"
	accessTokenOmit = "omit"

	// defaultSigner has the shape that verifiers demand of an ALB's name; its account is nobody's.
	defaultSigner = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/gatehouse/0000000000000000"
)

// signerARN is what aws-jwt-verify 5.2 requires of the "signer" field before it looks up a key.
var signerARN = regexp.MustCompile(`^arn:(?:aws|aws-cn|aws-us-gov):elasticloadbalancing:[a-z]{2}-(?:gov-)?[a-z]+-\d:[!-~]+$`)

// reservedRequest are request headers that no claim may be written to, because the gateway or the
// protocol gives them their meaning. Names are folded.
var reservedRequest = [...]string{
	"accept_encoding", "authorization", "connection", "content_encoding", "content_length", "content_type", "cookie",
	"expect", "forwarded", "host", "http2_settings", "keep_alive", "max_forwards", "proxy_authenticate", "proxy_authorization",
	"proxy_connection", "range", "te", "trailer", "transfer_encoding", "upgrade", "via",
	"x_forwarded_for", "x_forwarded_host", "x_forwarded_port", "x_forwarded_prefix", "x_forwarded_proto", "x_real_ip",
}

// reservedResponse are response headers that a policy may neither set nor remove: framing, and what
// the answer itself depends on. CloudFront refuses nearly the same (Developer Guide, "Headers that
// you can't add or remove").
var reservedResponse = [...]string{
	"Connection", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Date", "Keep-Alive", "Location",
	"Proxy-Authenticate", "Proxy-Connection", "Set-Cookie", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate",
}

// Validate reports everything that is wrong with c. The field is the path below the section.
func (c SecurityConfig) Validate(report func(field, msg string)) {
	fields, ok := presetFields(c.Preset)
	if !ok {
		report("preset", fmt.Sprintf("want strict, aws-managed or off, got %q", c.Preset))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		field := "set." + name
		checkResponseName(field, name, report)
		switch value := c.Set[name]; {
		case value == "":
			report(field, "want a value; to take the header away name it in remove")
		case !isFieldValue(value):
			report(field, "want printable ASCII without blanks at its ends")
		}
	}
	seen := canonicalSet(slices.Collect(maps.Keys(c.Set)))
	if len(seen) < len(c.Set) {
		report("set", "names one header in two spellings")
	}
	for i, name := range c.Keep {
		field := fmt.Sprintf("keep[%d]", i)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case seen[canonical]:
			report(field, fmt.Sprintf("%s is in set too; want it in one of them", name))
		case ok && !slices.ContainsFunc(fields, func(f presetField) bool { return f.name == canonical }):
			report(field, fmt.Sprintf("the preset does not set %s; want one of %s", name, presetNames(fields)))
		}
	}
	for i, name := range c.Remove {
		field := fmt.Sprintf("remove[%d]", i)
		checkResponseName(field, name, report)
		if seen[http.CanonicalHeaderKey(name)] {
			report(field, fmt.Sprintf("%s is in set too; want it in one of them", name))
		}
	}
}

// Validate reports everything that is wrong with c, except what only reading a key file can show.
// The field is the path below the section.
func (c AssertionConfig) Validate(report func(field, msg string)) {
	if c.Signer != "" && !signerARN.MatchString(c.Signer) {
		report("signer", fmt.Sprintf("want a load balancer's ARN such as %s, got %q", defaultSigner, c.Signer))
	}
	if c.Rotate != "" && rotatePeriod(c.Rotate) == 0 {
		report("rotate", fmt.Sprintf("want whole seconds from 24h to 8784h, such as 720h, got %q", c.Rotate))
	}
	switch {
	case c.Rotate == "":
	case len(c.Keys) > 0:
		report("rotate", "is for the key that is derived from the secret; want it without keys")
	case c.Source == sourceInstance:
		report("rotate", "does nothing with source instance, where each start of an instance has another key")
	}
	switch c.Source {
	case "", sourceSecret:
	case sourceFleet, sourceInstance:
		if len(c.Keys) > 0 {
			report("source", "keys names the keys already; want one of them")
		}
	default:
		report("source", fmt.Sprintf("want secret, fleet or instance, got %q", c.Source))
	}
	switch c.ClaimsFrom {
	case "", claimsUserinfo, claimsIDToken:
	default:
		report("claims_from", fmt.Sprintf("want userinfo or id_token, got %q", c.ClaimsFrom))
	}
	c.Route().validate(report)
	for i, key := range c.Keys {
		field := fmt.Sprintf("keys[%d]", i)
		if key == "" {
			report(field, "want a file name, got nothing")
		} else if IsInlineKey(key) {
			if _, err := parseKeys([]byte(key)); err != nil {
				report(field, err.Error())
			}
		}
	}
	c.validateClaims(report)
	for i, name := range c.Pass {
		if !isForeignIdentity(foldName(name)) {
			report(fmt.Sprintf("pass[%d]", i), fmt.Sprintf("%s is not an identity header of another gateway; only those can be passed", name))
		}
	}
}

// Validate reports what is wrong with c by itself. What is wrong with it over the section at the top
// is what the two merged report.
func (c RouteAssertionConfig) Validate(report func(field, msg string)) {
	c.over(AssertionConfig{}).Validate(report)
}

// validate is the part of Validate that the section at the top shares, but for claims.
func (c RouteAssertionConfig) validate(report func(field, msg string)) {
	if c.Audience != "" && (len(c.Audience) > maxAudience || !isVisible(c.Audience)) {
		report("audience", fmt.Sprintf("want at most %d visible ASCII characters such as https://orders.example.com, got %q", maxAudience, c.Audience))
	}
	switch c.Padding {
	case "", paddingPadded, paddingUnpadded:
	default:
		report("padding", fmt.Sprintf("want padded or unpadded, got %q", c.Padding))
	}
	switch c.AccessToken {
	case "", accessTokenSend, accessTokenOmit:
	default:
		report("access_token", fmt.Sprintf("want send or omit, got %q", c.AccessToken))
	}
}

// Route returns what a route that says nothing of its own has.
func (c AssertionConfig) Route() RouteAssertionConfig {
	return RouteAssertionConfig{Audience: c.Audience, Padding: c.Padding, AccessToken: c.AccessToken, Claims: c.Claims}
}

// FromIDToken says whether the claims are the ID token's instead of userinfo's.
func (c AssertionConfig) FromIDToken() bool { return c.ClaimsFrom == claimsIDToken }

// over returns top with what c is in place of it.
func (c RouteAssertionConfig) over(top AssertionConfig) AssertionConfig {
	top.Audience, top.Padding, top.AccessToken, top.Claims = c.Audience, c.Padding, c.AccessToken, c.Claims
	return top
}

// WithRoute returns c as a route has it that says over. Single values replace; claims add, and over
// has the last word about one.
func (c AssertionConfig) WithRoute(over RouteAssertionConfig) AssertionConfig {
	c.Audience = cmp.Or(over.Audience, c.Audience)
	c.Padding = cmp.Or(over.Padding, c.Padding)
	c.AccessToken = cmp.Or(over.AccessToken, c.AccessToken)
	if len(over.Claims) > 0 {
		claims := maps.Clone(over.Claims)
		for claim, header := range c.Claims {
			if _, ok := claims[claim]; !ok {
				claims[claim] = header
			}
		}
		c.Claims = claims
	}
	return c
}

func (c AssertionConfig) validateClaims(report func(field, msg string)) {
	usedBy := make(map[string]string, len(c.Claims))
	for _, claim := range slices.Sorted(maps.Keys(c.Claims)) {
		field, name := "claims."+claim, c.Claims[claim]
		folded := foldName(name)
		switch {
		case claim == "":
			report("claims", "want a claim's name, got nothing")
		case !isPlainName(name):
			report(field, fmt.Sprintf("want a header of letters, digits and hyphens such as X-Auth-Email, got %q", name))
		case strings.HasPrefix(folded, "x_amzn_"):
			report(field, fmt.Sprintf("%s is Gatehouse's own; want another header", name))
		case slices.Contains(reservedRequest[:], folded):
			report(field, fmt.Sprintf("%s has a meaning of its own in HTTP; want another header such as X-Auth-Email", name))
		case usedBy[folded] != "":
			report(field, fmt.Sprintf("%s already carries the claim %s; want one header for each claim", name, usedBy[folded]))
		case slices.ContainsFunc(c.Pass, func(pass string) bool { return foldName(pass) == folded }):
			report(field, fmt.Sprintf("%s is in pass too; a client could then forge it", name))
		}
		usedBy[folded] = claim
	}
}

func checkResponseName(field, name string, report func(field, msg string)) {
	switch {
	case !isToken(name):
		report(field, fmt.Sprintf("want a header name, got %q", name))
	case slices.Contains(reservedResponse[:], http.CanonicalHeaderKey(name)):
		report(field, fmt.Sprintf("%s belongs to the answer itself and cannot be set or removed", name))
	}
}

func canonicalSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[http.CanonicalHeaderKey(name)] = true
	}
	return set
}

// problems collects what validate reports into one error, or nil. The error's lines are "field: msg".
func problems(section string, validate func(report func(field, msg string))) error {
	var lines []string
	validate(func(field, msg string) { lines = append(lines, field+": "+msg) })
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", section, strings.Join(lines, "; "))
}
