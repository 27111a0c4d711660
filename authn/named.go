package authn

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTitle     = 60
	maxLoginHint = 128 // Cognito's limit of a user name
)

// A NamedConfig is the configuration of one provider, with what all have in common. Name is "" where
// there is one only.
type NamedConfig struct {
	Name   string
	Title  string
	Hosts  []string
	Config Config // in the single form
}

// Each returns the configuration of every provider, by name.
func (c Config) Each() []NamedConfig {
	if len(c.Providers) == 0 {
		return []NamedConfig{{Config: c}}
	}
	var list []NamedConfig
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		p := c.Providers[name]
		single := c
		single.Providers = nil
		single.Cognito, single.OIDC, single.GroupsClaim, single.Tokens = p.Cognito, p.OIDC, p.GroupsClaim, p.Tokens
		list = append(list, NamedConfig{Name: name, Title: p.Title, Hosts: p.Hosts, Config: single})
	}
	return list
}

func (n NamedConfig) resolve(report func(field, msg string)) settings {
	s := n.Config.resolve(report)
	n.resolveName(&s, report)
	return s
}

func (n NamedConfig) resolveName(s *settings, report func(field, msg string)) {
	s.name, s.title = n.Name, n.Title
	if s.title == "" {
		s.title = n.Name
	}
	if utf8.RuneCountInString(s.title) > maxTitle || strings.TrimSpace(s.title) != s.title || !printable(s.title) {
		report("title", fmt.Sprintf("want a text of at most %d printable characters, got %q", maxTitle, clip(s.title, 200)))
	}
	for i, host := range n.Hosts {
		name := strings.TrimPrefix(host, "*.")
		if !hostNamePattern.MatchString(name) || strings.Contains(name, ":") {
			report(fmt.Sprintf("hosts[%d]", i), fmt.Sprintf("want a host such as app.example.com or *.example.com, got %q", host))
		}
		s.hosts = append(s.hosts, strings.ToLower(strings.TrimSuffix(host, ".")))
	}
}

// printable says whether s is a line of text that people can read.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// resolveAll resolves every provider, and reports what they cannot be together.
func (c Config) resolveAll(report func(field, msg string)) {
	if c.Providers == nil {
		c.resolve(report)
		return
	}
	c.resolvePaths(report)
	if c.Cognito != nil || c.OIDC != nil {
		report("providers", `cannot stand beside "cognito" or "oidc": give that one a name here`)
	}
	if n := len(c.Providers); n == 0 || n > maxProviders {
		report("providers", fmt.Sprintf("want 1 to %d providers, got %d", maxProviders, n))
		return
	}
	if c.GroupsClaim != "" {
		report("groups_claim", "each of several providers has its own: say it below providers")
	}
	if len(c.Tokens.ClientIDs)+len(c.Tokens.Audience) > 0 {
		report("tokens", "each of several providers has its own: say them below providers")
	}
	titles := make(map[string]string)
	for _, n := range c.Each() {
		section := func(field, msg string) { report(join("providers."+n.Name, field), msg) }
		s := settings{groupsClaim: n.Config.GroupsClaim, audience: n.Config.Tokens.Audience}
		n.resolveName(&s, section)
		resolveProvider(&s, n.Config.Cognito, n.Config.OIDC, n.Config.Tokens, section)
		if other, ok := titles[s.title]; ok {
			section("title", fmt.Sprintf("%q is that of %s already: people could not tell them apart", s.title, other))
		}
		titles[s.title] = n.Name
		if s.clientSecret == "" && s.clientID != "" && len(c.Providers) > 1 {
			kind := "oidc"
			if s.cognito {
				kind = "cognito"
			}
			section(kind+".client_secret", "beside other providers a client needs one: all come back to one address, "+
				"and a code that the wrong one gets to see is worth nothing without it (RFC 9700 section 4.4)")
		}
	}
}

// issuerHost is the part before the region.
func (c *CognitoConfig) issuerHost(report func(field, msg string)) string {
	switch c.Issuer {
	case "", "original":
		return "cognito-idp"
	case "updated":
		if c.Endpoint != "" {
			report("issuer", "is what endpoint says: leave one of them out")
		}
		return "issuer-cognito-idp"
	}
	report("issuer", fmt.Sprintf("want original or updated, got %q", c.Issuer))
	return "cognito-idp"
}

// resolveHints adds the parameters that have keys of their own.
func (c *CognitoConfig) resolveHints(s *settings, report func(field, msg string)) {
	if c.IdentityProvider != "" && c.IDPIdentifier != "" {
		report("idp_identifier", "set either identity_provider or idp_identifier, not both")
	}
	for _, hint := range []struct {
		name, value, want string
		ok                bool
	}{
		{"identity_provider", c.IdentityProvider, "the name of a provider in the pool, of at most 32 characters without blanks", len(c.IdentityProvider) <= 32 && validScope(c.IdentityProvider)},
		{"idp_identifier", c.IDPIdentifier, "an identifier of a provider in the pool, of at most 40 letters, digits, blanks and _+=.@-", identifierPattern.MatchString(c.IDPIdentifier)},
		{"lang", c.Lang, "a language such as de or pt-BR", langPattern.MatchString(c.Lang)},
		{"login_hint", c.LoginHint, "a user name of at most 128 printable characters", len(c.LoginHint) <= maxLoginHint && printable(c.LoginHint)},
	} {
		if hint.value == "" {
			continue
		}
		if !hint.ok {
			report(hint.name, fmt.Sprintf("want %s, got %q", hint.want, clip(hint.value, 200)))
		}
		if _, ok := c.ExtraParams[hint.name]; ok {
			report("extra_params", fmt.Sprintf("%q is said by a key of its own already", hint.name))
		}
		s.extra = append(s.extra, param{hint.name, hint.value})
	}
}
