package headers

import (
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
	// Keys are PEM files of P-256 private keys; the first signs, all are published. Without any,
	// the key is derived from the file's secret. An entry that begins with "-----BEGIN" is the PEM
	// itself, as a secret reference resolves to it.
	Keys []string `yaml:"keys"`
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

const (
	presetStrict     = "strict"
	presetAWSManaged = "aws-managed"
	presetOff        = "off"

	paddingPadded   = "padded"
	paddingUnpadded = "unpadded"

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
	for i, key := range c.Keys {
		field := fmt.Sprintf("keys[%d]", i)
		if key == "" {
			report(field, "want a file name, got nothing")
		} else if isInlinePEM(key) {
			if _, err := parseKey([]byte(key)); err != nil {
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
