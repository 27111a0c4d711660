package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/proxy"
	"gatehouse/waf"
)

// lint returns what is allowed and probably not meant.
func lint(c *Config, d *decoder) Problems {
	var out Problems
	say := func(path, format string, args ...any) {
		out = append(out, d.src.problem(path, fmt.Sprintf(format, args...)))
	}
	for _, path := range d.src.expand.literal {
		say(path, "this secret stands in the file: ${env:NAME} or ${file:/path} keeps it out of backups and reviews")
	}
	lintSections(c, d, say)
	for i, p := range c.TrustedPrefixes() {
		if p.Bits() == 0 {
			say(fmt.Sprintf("trusted_proxies[%d]", i), "trusts everybody: any client can claim any address")
		}
	}
	for i, p := range c.Listen.ProxyProtocol.Prefixes() {
		if p.Bits() == 0 {
			say(fmt.Sprintf("listen.proxy_protocol.from[%d]", i), "believes everybody: any client can claim any address")
		}
	}
	for name, up := range c.Upstreams {
		if up.TLS.InsecureSkipVerify {
			why := ""
			if !d.src.has("upstreams." + name + ".tls") {
				why = " (by compat: aws)"
			}
			say("upstreams."+name, "certificates of this upstream are not verified%s: anybody on the way can be it; tls.ca names its roots", why)
		}
	}
	lintUnused(c, say)
	c.lintWAFRules(d, say)
	c.lintACL(say)
	lintTokens(c, d, say)
	for i := range c.Routes {
		lintRoute(c, i, d, say)
	}
	c.lintOrder(d, say)
	return out.Sorted()
}

func lintSections(c *Config, d *decoder, say func(path, format string, args ...any)) {
	if c.Login == nil && len(c.Tokens.Issuers) == 0 && d.src.has("assertion") {
		say("assertion", "does nothing: without a login there is no identity to assert")
	}
	for _, p := range c.logins() {
		if p.OIDC == nil || !isCognitoIssuer(p.OIDC.Issuer) {
			continue
		}
		say(p.path+".oidc.issuer", "is a Cognito user pool, which signs out and makes access tokens in ways of its own: use login.cognito")
	}
	if c.WAF.Body == waf.BodyHeaders {
		say("waf.body", "no body is inspected on any route that does not say otherwise: say it on the routes that take uploads")
	}
	if c.TLS.ACME != nil && c.Listen.HTTP == "" && !strings.HasSuffix(c.Listen.HTTPS, ":443") {
		say("tls.acme", "the authority must reach port 80 or 443 of this host: listen.http is not opened and listen.https is not on 443")
	}
	if strings.HasPrefix(c.StateDir, "/tmp/") && !d.src.has("state_dir") {
		say("", "state_dir is %s, which is lost with the machine: set state_dir or $STATE_DIRECTORY", c.StateDir)
	}
}

// lintUnused tells of upstreams and limits that no route names.
func lintUnused(c *Config, say func(path, format string, args ...any)) {
	to, limited := map[string]bool{}, map[string]bool{}
	for _, r := range c.Routes {
		to[r.To] = true
		for name := range r.Split {
			to[name] = true
		}
		for _, name := range r.Limit {
			limited[name] = true
		}
	}
	for name, up := range c.Upstreams {
		if to[name] && up.Failover != "" {
			to[up.Failover] = true
		}
	}
	for name := range c.Upstreams {
		if !to[name] {
			say("upstreams."+name, "no route goes here")
		}
	}
	for name := range c.Origins {
		if !to[name] {
			say("origins."+name, "no route goes here")
		}
	}
	for name := range c.CognitoAPI {
		if !to[name] {
			say("cognito_api."+name, "no route goes here")
		}
	}
	for name := range c.Limits {
		if !limited[name] {
			say("limits."+name, "no route names this limit, so nothing is limited by it")
		}
	}
}

// lintWAFRules tells of what is said about rules that do not run: at the top, if they run on no route.
func (c *Config) lintWAFRules(d *decoder, say func(path, format string, args ...any)) {
	engines, idle, why := 0, map[string]int{}, map[string]string{}
	consider := func(engine waf.Config) {
		if engine.Mode == waf.ModeOff {
			return
		}
		engines++
		engine.Rules = c.WAF.Rules
		engine.IdleRules(func(key, msg string) {
			idle[key]++
			why[key] = msg
		})
	}
	consider(c.WAF)
	for i, r := range c.Routes {
		if r.WAF == nil {
			continue // as the top
		}
		consider(*r.WAF)
		engine := *r.WAF
		engine.IdleRules(func(key, msg string) {
			if path := fmt.Sprintf("routes[%d].waf.rules.%s", i, key); d.src.has(path) {
				say(path, "%s", msg)
			}
		})
	}
	for key, n := range idle {
		if n == engines {
			say("waf.rules."+key, "%s", why[key])
		}
	}
}

// adminWords are path segments behind which people keep what is not for everybody.
func adminWords() []string {
	return []string{"admin", "administrator", "wp-admin", "manage", "management", "console", "dashboard", "internal", "actuator", "debug", "metrics", "phpmyadmin", "_admin", "backoffice"}
}

func lintRoute(c *Config, i int, d *decoder, say func(path, format string, args ...any)) {
	r := c.Routes[i]
	if r.WAF.Mode != "off" && r.WAF.Body != waf.BodyHeaders && r.WAF.Oversize == awsOversize {
		field := "waf.oversize"
		if own := fmt.Sprintf("routes[%d].waf.oversize", i); d.src.has(own) {
			field = own
		} else if own := fmt.Sprintf("routes[%d].compat", i); !d.src.has(field) && d.src.has(own) {
			field = own
		} else if !d.src.has(field) { // said once for all routes
			field = "compat"
		}
		say(field, "only the first %s of a body is inspected, and the rest passes unseen: waf.body_limit and waf.oversize change that", cmp.Or(r.WAF.BodyLimit, "128KiB"))
	}
	if at := fmt.Sprintf("routes[%d].assertion", i); !c.Asserts(r) && d.src.has(at) {
		say(at, "does nothing: the route tells its upstream nobody's identity")
	}
	c.lintConditions(i, say)
	if r.Cache != nil && !r.Cache.SharedByEveryone && r.Require.Who != RequireNothing && r.Require.Who != RequireOptional {
		say(fmt.Sprintf("routes[%d].cache", i), "keeps nothing: everybody on this route is somebody, and what is answered to somebody is kept only with shared_by_everyone")
	}
	for j, m := range r.Match {
		path := d.matchPath(i, j)
		if why := unreachable(c, m); why != "" {
			say(path, "can never be reached: %s", why)
		}
		switch {
		case looksLikeExpression(m.Path):
			say(path, "matches the path %q literally: a regular expression begins with ~", m.Path)
		case !strings.HasPrefix(m.Path, "~") && (strings.Contains(m.Path, "/{") || strings.Contains(m.Path, "/:")):
			say(path, "matches the path %q literally: * stands for any characters", m.Path)
		}
		for _, host := range m.Hosts {
			if kind, ok := strings.CutPrefix(host, "*."); ok && slices.Contains(fileKinds(), kind) {
				say(path, "%q stands for hosts: one for paths stands in a mapping, as in {path: %q}", host, host)
			}
		}
		if r.Require.Who != RequireNothing && r.Require.Who != RequireOptional || len(m.Source) > 0 {
			continue
		}
		for _, segment := range strings.Split(m.Path, "/") {
			if slices.Contains(adminWords(), strings.ToLower(strings.Trim(segment, "*?~^$"))) {
				say(path, "%q looks like a place for operators, and the route lets anybody in", segment)
				break
			}
		}
	}
}

// fileKinds are ends of files that are no top-level domains.
func fileKinds() []string {
	return []string{"css", "gif", "html", "ico", "jpeg", "jpg", "js", "json", "pdf", "php", "png", "svg", "txt", "webp", "woff2", "xml"}
}

// looksLikeExpression reports whether a path has what regular expressions have and paths have not: RFC 3986
// gives none of these characters to paths, but for the "$" and "+", which hardly stand where they would mean something.
func looksLikeExpression(path string) bool {
	return !strings.HasPrefix(path, "~") &&
		(strings.ContainsAny(strings.ReplaceAll(path, `\*`, ""), `^[]|\`) || strings.HasSuffix(path, "$") || strings.HasSuffix(path, ".+"))
}

// unreachable says why no request can ever match m, or "".
func unreachable(c *Config, m Match) string {
	acmeOnly := c.TLS.ACME != nil && len(c.TLS.Certificates) == 0
	if acmeOnly && len(m.Hosts) > 0 && !slices.ContainsFunc(m.Hosts, func(h string) bool { return certified(c, h) }) {
		return fmt.Sprintf("ACME by HTTP-01 and TLS-ALPN-01 gives no certificate for %s; exact names in tls.acme.hosts would do", strings.Join(m.Hosts, ", "))
	}
	localOnly := c.TLS.ACME == nil && len(c.TLS.Certificates) == 0
	if localOnly && len(m.Hosts) > 0 && !slices.ContainsFunc(m.Hosts, localName) {
		return fmt.Sprintf("tls.local makes no certificate for %s: it does for names, and for wildcards in the first label", strings.Join(m.Hosts, ", "))
	}
	return ""
}

// localName reports whether the local authority makes certificates for the names of a host.
func localName(host string) bool {
	_, rest, _ := strings.Cut(host, ".")
	return exactHost(host) || !strings.HasPrefix(host, "~") && exactHost(rest)
}

// certified reports whether ACME obtains a certificate that a client of host could be shown.
func certified(c *Config, host string) bool {
	if exactHost(host) {
		return true
	}
	under := func(h string) bool { return exactHost(h) && proxy.HostIncludes(host, h) }
	if slices.ContainsFunc(c.TLS.ACME.Hosts, under) {
		return true
	}
	for _, r := range c.Routes {
		for _, m := range r.Match {
			if slices.ContainsFunc(m.Hosts, under) {
				return true
			}
		}
	}
	return false
}
