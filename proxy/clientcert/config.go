package clientcert

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Modes of a Config.
const (
	ModeVerify      = "verify"
	ModePassthrough = "passthrough"
)

// maxDepth is ALB's limit for the length of a chain.
const maxDepth = 4

// Config says what is asked of the clients of some hosts.
type Config struct {
	// Hosts are whose clients are asked: exact names, *.example.com for every name below example.com, and "*" for all hosts. The most
	// specific entry decides. Required.
	Hosts []string `yaml:"hosts"`
	// Mode is "verify", the default: nobody comes in without a certificate that the trust store vouches for; or "passthrough": a
	// certificate is asked for, not verified, and given to the upstream, which must judge it.
	Mode string `yaml:"mode"`
	// CA are the PEM files of the trust store: roots, and intermediates that clients need not send. Required to verify.
	CA []string `yaml:"ca"`
	// CRL are files of revocation lists, PEM or DER, each signed by a certificate of the trust store. They are read again when they
	// change. A list that is past its next update refuses every certificate of its issuer. An issuer without a list under its key has
	// that of its name.
	CRL []string `yaml:"crl"`
	// Depth is how many certificates a chain may have, the client's and the root's included; default and at most 4, as with ALB.
	Depth int `yaml:"depth"`
}

// hostPattern is what stands in Hosts. It is no check of names: what no route matches is told apart.
var hostPattern = regexp.MustCompile(`^(\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*)$`)

// Validate reports everything that is wrong with c and needs no file to be seen. field is the YAML path below the entry.
func (c Config) Validate(report func(field, msg string)) {
	if len(c.Hosts) == 0 {
		report("hosts", `required: whose clients are asked for certificates: names, "*.example.com", or "*" for all hosts`)
	}
	for i, host := range c.Hosts {
		if !hostPattern.MatchString(host) {
			report(fmt.Sprintf("hosts[%d]", i), fmt.Sprintf(`want a name in lower case, "*.example.com" or "*", got %q`, host))
		}
	}
	if !slices.Contains([]string{"", ModeVerify, ModePassthrough}, c.Mode) {
		report("mode", fmt.Sprintf("want %q or %q, got %q", ModeVerify, ModePassthrough, c.Mode))
	}
	if c.Depth < 0 || c.Depth > maxDepth {
		report("depth", fmt.Sprintf("want a number from 1 to %d, got %d", maxDepth, c.Depth))
	}
	if c.Mode != ModePassthrough {
		if len(c.CA) == 0 {
			report("ca", "required to verify: the PEM files of the authorities that vouch for clients")
		}
		return
	}
	for field, said := range map[string]bool{"ca": len(c.CA) > 0, "crl": len(c.CRL) > 0, "depth": c.Depth != 0} {
		if said {
			report(field, "does nothing with mode: passthrough, which verifies nothing")
		}
	}
}

// Verifies reports whether certificates are verified, and not only passed on.
func (c Config) Verifies() bool { return c.Mode != ModePassthrough }

// Covers reports whether an entry's host is, or takes in, another: the name or the pattern of a route.
func Covers(host, other string) bool {
	if host == "*" || host == other {
		return true
	}
	suffix, wildcard := strings.CutPrefix(host, "*")
	return wildcard && strings.HasSuffix(other, suffix)
}
