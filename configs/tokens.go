package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/internal/suggest"
)

// TokenIssuers returns whose bearer tokens a route takes: the names of entries of tokens.issuers, and
// whether those of the login's providers. It is everybody unless the route says.
func (c *Config) TokenIssuers(r *Route) (names []string, login bool) {
	if r.Require.Who != RequireToken {
		return nil, false
	}
	if len(r.Require.Issuers) == 0 {
		return keys(c.Tokens.Issuers), c.Login != nil
	}
	for _, name := range r.Require.Issuers {
		if name == authn.LoginIssuer {
			login = c.Login != nil
		} else {
			names = append(names, name)
		}
	}
	return names, login
}

// TokenCompat returns whose manners a route has with bearer tokens, as authn.Tokens has it.
func (r *Route) TokenCompat() string {
	if r.Compat == compatOff {
		return ""
	}
	return r.Compat
}

// checkTokens checks the issuers of tokens against each other and the login.
func (c *Config) checkTokens(d *decoder) {
	d.section("tokens", c.Tokens)
	logins := map[string]string{}
	for _, p := range c.logins() {
		if issuer := p.Issuer(); issuer != "" {
			logins[authn.SameIssuer(issuer)] = p.path
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tokens.Issuers)) {
		if path, same := logins[authn.SameIssuer(c.Tokens.Issuers[name].Issuer)]; same {
			d.fault("tokens.issuers."+name+".issuer", fmt.Sprintf("is that of %s: its tokens are taken as %q, and %s.tokens says which", path, authn.LoginIssuer, path))
		}
	}
	if c.Login != nil || d.src.has("secret") || len(c.Assertion.Keys) > 0 {
		return
	}
	if i := slices.IndexFunc(c.Routes, c.Asserts); i >= 0 && len(c.Tokens.Issuers) > 0 {
		d.fault("tokens", fmt.Sprintf("no secret to derive the assertion's key from, by which routes[%d] tells its upstream who calls: want secret at the top, or assertion.keys", i))
	}
}

// checkRouteTokens checks what a route says about bearer tokens.
func (c *Config) checkRouteTokens(d *decoder, r *Route, path string) {
	if r.Require.Who != RequireToken {
		if r.Compat == authn.CompatAPIGateway || r.Compat == authn.CompatRESTAPI {
			d.fault(path+".compat", fmt.Sprintf("%s is about bearer tokens, and the route takes none: want require: token", r.Compat))
		}
		return
	}
	if c.Login == nil && len(c.Tokens.Issuers) == 0 && !d.reported["login"] && !d.reported["tokens"] && !d.reportedBelow("tokens") {
		d.fault(path+".require", "token needs somebody whose tokens are taken: there is neither a login nor tokens.issuers")
	}
	known := keys(c.Tokens.Issuers)
	if c.Login != nil {
		known = append(known, authn.LoginIssuer)
	}
	for i, name := range r.Require.Issuers {
		field := fmt.Sprintf("%s.require.token.issuers[%d]", path, i)
		switch {
		case name == authn.LoginIssuer && c.Login == nil:
			d.fault(field, fmt.Sprintf("there is no login whose tokens could be taken (issuers: %s)", listed(known)))
		case !slices.Contains(known, name):
			d.fault(field, fmt.Sprintf("no issuer is named %q%s (issuers: %s)", name, suggest.DidYouMean(name, known), listed(known)))
		case slices.Index(r.Require.Issuers, name) < i:
			d.fault(field, fmt.Sprintf("%q is named twice", name))
		}
	}
	if _, login := c.TokenIssuers(r); !login && len(r.Require.Providers) > 0 {
		d.fault(path+".require.token.provider", fmt.Sprintf("chooses among the login's tokens, and the route takes none of them: want %q in issuers too", authn.LoginIssuer))
	}
}

// Asserts reports whether a route tells its upstream who calls. As with AWS, tokens are forwarded as they
// are and nothing beside them where a route has AWS's manners.
func (c *Config) Asserts(r Route) bool {
	switch r.Require.Who {
	case "", RequireNothing:
		return false
	case RequireToken:
		compat := r.Compat
		if compat == "" {
			compat = c.Compat // before defaults are set
		}
		return compat == "" || compat == compatOff
	}
	return true
}

// lintTokens tells of routes that take more than their author may know, and of issuers that none takes.
func lintTokens(c *Config, d *decoder, say func(path, format string, args ...any)) {
	taken := map[string]bool{}
	for i := range c.Routes {
		r := &c.Routes[i]
		names, login := c.TokenIssuers(r)
		for _, name := range names {
			taken[name] = true
		}
		if login {
			names = append(names, authn.LoginIssuer)
		}
		if len(names) > 1 && len(r.Require.Issuers) == 0 {
			say(fmt.Sprintf("routes[%d].require", i), "takes the tokens of everybody in this file (%s), to whom one subject may be different people: issuers names those that are meant", strings.Join(names, ", "))
		}
	}
	for name, issuer := range c.Tokens.Issuers {
		path := "tokens.issuers." + name
		if !taken[name] {
			say(path, "no route takes these tokens")
		}
		if issuer.InsecureAnyAudience {
			say(path+".insecure_any_audience", "whoever has a token of this issuer may use it here, whomever it was made for")
		}
	}
}
