package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"gatehouse/authn"
	"gatehouse/internal/suggest"
	"gatehouse/proxy"
)

// A loginPart is one provider of the login section and where it stands in the file.
type loginPart struct {
	name, path string // "" and login where there is one provider only
	authn.ProviderConfig
}

// logins returns the providers of the login section, by name. What their pointers lead to may be changed.
func (c *Config) logins() []loginPart {
	if c.Login == nil {
		return nil
	}
	if c.Login.Providers == nil {
		return []loginPart{{path: "login", ProviderConfig: authn.ProviderConfig{
			Cognito: c.Login.Cognito, OIDC: c.Login.OIDC, Tokens: c.Login.Tokens,
		}}}
	}
	var parts []loginPart
	for _, name := range slices.Sorted(maps.Keys(c.Login.Providers)) {
		parts = append(parts, loginPart{name, "login.providers." + name, c.Login.Providers[name]})
	}
	return parts
}

// clientSecret returns the client secret that stands in for secret, and its path: that of the only
// provider. Of several none does.
func (c *Config) clientSecret() (secret, path string) {
	parts := c.logins()
	if len(parts) != 1 {
		return "", ""
	}
	switch p := parts[0]; {
	case p.Cognito != nil:
		return p.Cognito.ClientSecret, p.path + ".cognito.client_secret"
	case p.OIDC != nil:
		return p.OIDC.ClientSecret, p.path + ".oidc.client_secret"
	}
	return "", ""
}

// taken returns the providers that a route takes on a host of its match, which may be a pattern. all is
// false when there are hosts of that pattern on which it takes none.
func (c *Config) taken(r *Route, host string) (parts []loginPart, all bool) {
	var others []loginPart
	for _, p := range c.logins() {
		switch {
		case len(r.Require.Providers) > 0:
			if slices.Contains(r.Require.Providers, p.name) {
				parts, all = append(parts, p), true
			}
		case len(p.Hosts) == 0:
			others = append(others, p)
		case slices.ContainsFunc(p.Hosts, func(pattern string) bool { return covers(host)(canonicalHost(pattern)) }):
			parts = append(parts, p)
			all = all || slices.ContainsFunc(p.Hosts, func(pattern string) bool { return includes(canonicalHost(pattern), host) })
		}
	}
	if !all {
		parts, all = append(parts, others...), len(others) > 0
	}
	return parts, all
}

// includes reports whether every name that host stands for is one that pattern stands for.
func includes(pattern, host string) bool {
	return pattern == host || host != "*" && proxy.HostIncludes(pattern, host)
}

// checkProviders checks what a route says about who may sign in to it, and that somebody may.
func (c *Config) checkProviders(d *decoder, r *Route, path string) {
	if c.Login == nil || r.Require.Who == "" || r.Require.Who == RequireNothing {
		return
	}
	if _, login := c.TokenIssuers(r); r.Require.Who == RequireToken && !login {
		return // it takes none of the login's tokens
	}
	at := path + ".require"
	if r.Require.Who == RequireToken {
		at += ".token"
	}
	known := keys(c.Login.Providers)
	for i, name := range r.Require.Providers {
		field := fmt.Sprintf("%s.provider[%d]", at, i)
		switch {
		case c.Login.Providers == nil:
			d.fault(field, fmt.Sprintf("the login has one provider, and it has no name: want login.providers with %q in it, or no provider here", name))
		case !slices.Contains(known, name):
			d.fault(field, fmt.Sprintf("no provider is named %q%s (providers: %s)", name, suggest.DidYouMean(name, known), listed(known)))
		case slices.Index(r.Require.Providers, name) < i:
			d.fault(field, fmt.Sprintf("%q is named twice", name))
		}
	}
	for _, m := range r.Match {
		for _, host := range hostsOf(m) {
			parts, all := c.taken(r, host)
			others := r.Require.Who == RequireToken && len(c.Tokens.Issuers) > 0
			if !all && !others && len(c.Login.Providers) > 0 && len(r.Require.Providers) == 0 {
				d.fault(path+".require", fmt.Sprintf("nobody could sign in to every host of %q: each provider has hosts of its own; want one without hosts, or provider here", host))
			}
			if len(r.Require.StepUp.ACR) == 0 || r.Require.Who == RequireToken {
				continue
			}
			for _, p := range parts {
				if p.Cognito != nil {
					d.fault(at+".acr", fmt.Sprintf("%s is a Cognito user pool, which cannot be asked for acr: want max_age, or a provider that can", p.path))
				}
			}
		}
	}
}

// decodeLogin takes the keys of require that say who vouches for the person and how they signed in. It
// reports whether p is one of them.
func (r *Require) decodeLogin(d *decoder, p pair, path string) bool {
	switch p.key {
	case "provider":
		r.Providers = d.someTexts(p.value, path)
	case "acr":
		r.StepUp.ACR = d.someTexts(p.value, path)
	case "max_age":
		var age Duration
		age.decode(d, p.value, path)
		r.StepUp.MaxAge = time.Duration(age)
	case "prompt":
		if s, ok := d.text(p.value, path); ok {
			d.enum(p.value, s, path, authn.Prompts())
			r.StepUp.Prompt = s
		}
	default:
		return false
	}
	if p.value.kind == kindText { // one text stands for a list of it
		d.src.places[path+"[0]"] = place{p.value.pos, path}
	}
	return true
}

// loginYAML returns the keys of decodeLogin as the file would say them.
func (q Require) loginYAML() yaml.MapSlice {
	var out yaml.MapSlice
	if len(q.Providers) > 0 {
		out = append(out, yaml.MapItem{Key: "provider", Value: q.Providers})
	}
	if len(q.StepUp.ACR) > 0 {
		out = append(out, yaml.MapItem{Key: "acr", Value: q.StepUp.ACR})
	}
	if q.StepUp.MaxAge > 0 {
		out = append(out, yaml.MapItem{Key: "max_age", Value: Duration(q.StepUp.MaxAge).String()})
	}
	if q.StepUp.Prompt != "" {
		out = append(out, yaml.MapItem{Key: "prompt", Value: q.StepUp.Prompt})
	}
	return out
}

// tokenParts returns the providers without an audience whose tokens a route would have to take.
func (c *Config) tokenParts(r *Route) []loginPart {
	if _, login := c.TokenIssuers(r); !login {
		return nil
	}
	var parts []loginPart
	for _, m := range r.Match {
		for _, host := range hostsOf(m) {
			taken, _ := c.taken(r, host)
			for _, p := range taken {
				if p.OIDC != nil && len(p.Tokens.Audience) == 0 {
					parts = append(parts, p)
				}
			}
		}
	}
	return parts
}

// isCognitoIssuer knows the issuers of user pools, in both forms.
func isCognitoIssuer(issuer string) bool {
	return strings.Contains(issuer, "://cognito-idp.") || strings.Contains(issuer, "://issuer-cognito-idp.")
}
