package configs

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"gatehouse/headers"
	"gatehouse/internal/suggest"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
)

// validator is what every section that another package owns can do.
type validator interface {
	Validate(report func(field, msg string))
}

// check reports everything that is wrong with c beyond its shape.
func (c *Config) check(d *decoder) {
	c.checkSections(d)
	c.checkListen(d)
	c.checkSecret(d)
	c.checkTLS(d)
	for i, s := range c.TrustedProxies {
		if _, err := parsePrefix(s); err != nil {
			d.fault(fmt.Sprintf("trusted_proxies[%d]", i), err.Error())
		}
	}
	if len(c.Upstreams) == 0 && (len(c.Routes) == 0 || slices.ContainsFunc(c.Routes, forwards)) && len(c.Origins) == 0 && len(c.CognitoAPI) == 0 {
		d.fault("upstreams", `required: name where routes go to, as in {app: "http://10.0.1.10:8080"}`)
	}
	if len(c.Routes) == 0 {
		d.fault("routes", `required: want at least one route, as in {match: app.example.com, to: app, require: signed-in}`)
	}
	for i := range c.Routes {
		c.checkRoute(d, i)
	}
	c.checkNames(d)
	c.checkConflicts(d)
	c.checkOrder(d)
	c.checkOwnPaths(d)
}

// fault reports a Problem at path, unless what stands there has one already: the first is the
// cause of what follows.
func (d *decoder) fault(path, msg string) {
	for p := path; p != ""; p = parent(p) {
		if d.reported[p] {
			return
		}
	}
	if !d.reportedBelow(path) {
		d.faultAlways(path, msg)
	}
}

func (d *decoder) reportedBelow(path string) bool {
	for p := range d.reported {
		if strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			return true
		}
	}
	return false
}

func (d *decoder) faultAlways(path, msg string) {
	found := d.src.at(path)
	d.report(found.pos, found.shown, msg)
}

// section validates one section of the file.
func (d *decoder) section(path string, section validator) {
	section.Validate(func(field, msg string) {
		at := path
		if field != "" {
			at = join(path, field)
		}
		for p := at; p != ""; p = parent(p) {
			if d.reported[p] || d.reported[d.src.at(p).shown] {
				return
			}
			if p == path {
				break
			}
		}
		d.faultAlways(at, msg)
	})
}

func (c *Config) checkSections(d *decoder) {
	d.section("tls", c.TLS)
	if c.Login != nil {
		d.section("login", *c.Login)
	}
	c.checkTokens(d)
	c.checkClientCertificates(d)
	c.checkWAF(d)
	c.checkIdle(d)
	d.section("waf_budget", c.WAFBudget)
	c.checkACL(d)
	for name, limit := range c.Limits {
		d.section("limits."+name, limit)
	}
	for name, up := range c.Upstreams {
		d.section("upstreams."+name, up)
		if up.Sticky != nil {
			c.checkSticky(d, name, "upstreams."+name+".sticky")
		}
		others := slices.DeleteFunc(keys(c.Upstreams), func(other string) bool { return other == name })
		if up.Failover != "" && !slices.Contains(others, up.Failover) {
			d.fault("upstreams."+name+".failover", fmt.Sprintf("want another upstream, got %q%s (upstreams: %s)", up.Failover, suggest.DidYouMean(up.Failover, others), listed(others)))
		} else if other := c.Upstreams[up.Failover]; up.Failover != "" && (up.Protocol == upstream.HTTP2) != (other.Protocol == upstream.HTTP2) {
			d.fault("upstreams."+name+".failover", fmt.Sprintf("want an upstream with the same protocol: a request for %q may not be one for %q", name, up.Failover))
		}
	}
	for name, at := range c.Origins {
		d.section("origins."+name, at)
		if _, taken := c.Upstreams[name]; taken {
			d.fault("origins."+name, "an upstream has this name already: a route could mean either")
		}
	}
	d.section("cache", c.Cache)
	for name, api := range c.CognitoAPI {
		d.section("cognito_api."+name, api)
		if slices.Contains(append(keys(c.Upstreams), keys(c.Origins)...), name) {
			d.fault("cognito_api."+name, "an upstream or an origin has this name already: a route could mean either")
		}
	}
	if c.Fleet != nil {
		d.section("fleet", *c.Fleet)
	}
	d.section("events.waf_log", c.Events.WAFLog)
	d.section("headers", c.Headers)
	d.section("compress", c.Compress)
	for i, r := range c.Routes {
		d.section(fmt.Sprintf("routes[%d].compress", i), r.Compress)
	}
	d.section("assertion", c.Assertion)
	if c.Assertion.Shared() && c.Fleet == nil {
		d.fault("assertion.source", fmt.Sprintf("%s needs the store that the instances share: want fleet at the top", c.Assertion.Source))
	}
}

func (c *Config) checkListen(d *decoder) {
	if c.Listen.HTTPS == "" {
		d.fault("listen.https", `required: the address that serves the routes, such as ":443"`)
	}
	if token := c.Listen.AdminToken; token != "" && len(token) < MinSecret {
		d.fault("listen.admin_token", fmt.Sprintf("too short: want at least %d characters, got %d", MinSecret, len(token)))
	}
	if exposed(c.Listen.Admin) && c.Listen.AdminToken == "" {
		d.fault("listen.admin_token", fmt.Sprintf("required: other machines can reach %s; or keep listen.admin on loopback", c.Listen.Admin))
	}
	c.checkProxyProtocol(d)
	seen := map[string]string{}
	for _, l := range []struct{ path, addr string }{
		{"listen.https", c.Listen.HTTPS},
		{"listen.http", c.Listen.HTTP},
		{"listen.admin", c.Listen.Admin},
		{"listen.keys", c.Listen.Keys},
	} {
		if l.addr == "" {
			continue
		}
		if msg := checkAddress(l.addr, l.path == "listen.admin"); msg != "" {
			d.fault(l.path, msg)
			continue
		}
		if other, taken := seen[l.addr]; taken && !strings.HasSuffix(l.addr, ":0") {
			d.fault(l.path, fmt.Sprintf("%s listens on %s already", other, l.addr))
		}
		seen[l.addr] = l.path
	}
}

func (c *Config) checkProxyProtocol(d *decoder) {
	const path = "listen.proxy_protocol"
	if d.src.has(path) && len(c.Listen.ProxyProtocol.From) == 0 {
		d.fault(path+".from", "required: the addresses and CIDRs of the load balancers, such as those of an NLB's subnets: [10.0.1.0/24, 10.0.2.0/24]")
	}
	for i, s := range c.Listen.ProxyProtocol.From {
		if _, err := parsePrefix(s); err != nil {
			d.fault(fmt.Sprintf("%s.from[%d]", path, i), err.Error())
		}
	}
}

// exposed reports whether the address of the admin listener can be reached from other machines.
func exposed(admin string) bool {
	if admin == "" || admin == ListenOff || strings.HasPrefix(admin, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(admin)
	if err != nil || host == "localhost" {
		return false // no address at all, which is told apart from this
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !addr.IsLoopback()
}

// checkAddress says what is wrong with the address of a listener, or "".
func checkAddress(addr string, admin bool) string {
	want := `want "host:port" or ":port"`
	if admin {
		want = `want "host:port", ":port", "unix:/path" or "off"`
		if addr == ListenOff {
			return ""
		}
		if path, ok := strings.CutPrefix(addr, "unix:"); ok {
			if !strings.HasPrefix(path, "/") || len(path) > 107 {
				return "want an absolute path of at most 107 bytes after unix:"
			}
			return ""
		}
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Sprintf("%s, got %q", want, addr)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || strings.Trim(port, "0123456789") != "" || (n == 0 && port != "0") {
		return fmt.Sprintf("%s with a port from 0 to 65535, got %q", want, addr)
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Sprintf("%s with an IP address or localhost as the host, got %q", want, addr)
		}
	}
	return ""
}

// checkSecret makes sure that there are keys for sessions and assertions, and that they hold.
func (c *Config) checkSecret(d *decoder) {
	if c.Secret != "" && len(c.Secret) < MinSecret {
		d.fault("secret", fmt.Sprintf("too short: want at least %d characters, as `openssl rand -base64 48` prints them, got %d", MinSecret, len(c.Secret)))
	}
	if c.Login == nil || d.src.has("secret") {
		return
	}
	if len(c.Login.Session.Keys) > 0 && len(c.Assertion.Keys) > 0 {
		return
	}
	secret, path := c.clientSecret()
	switch {
	case len(c.Login.Providers) > 1:
		d.fault("login.providers", "several providers share the keys of sessions and assertions: want secret at the top, or login.session.keys and assertion.keys")
	case d.src.has(path):
		if secret != "" && len(secret) < MinSecret {
			d.fault(path, fmt.Sprintf("too short to derive keys from: want at least %d characters, got %d; or secret at the top, or login.session.keys and assertion.keys", MinSecret, len(secret)))
		}
	case path != "":
		d.fault("login", "no secret to derive the keys of sessions and assertions from: want client_secret, or secret at the top, or login.session.keys and assertion.keys")
	}
}

func (c *Config) checkTLS(d *decoder) {
	if c.Listen.HTTPS == "" {
		return // said already
	}
	if c.TLS.ACME == nil && len(c.TLS.Certificates) == 0 && !c.TLS.Local {
		d.fault("tls", "no certificate for listen.https: want acme, certificates or local")
		return
	}
	if c.TLS.ACME == nil || len(c.TLS.Certificates) > 0 || len(c.TLS.ACME.Hosts) > 0 {
		return
	}
	for _, r := range c.Routes {
		for _, m := range r.Match {
			if slices.ContainsFunc(m.Hosts, exactHost) {
				return
			}
		}
	}
	if len(c.Routes) > 0 {
		d.fault("tls.acme", "no host name to obtain a certificate for: no route matches an exact host; name them in hosts")
	}
}

// parsePrefix reads an address or a CIDR. Those of IPv4 within IPv6, as a socket for both writes them, are IPv4's, as peers are.
func parsePrefix(s string) (netip.Prefix, error) {
	if s == "cloudfront" || s == "cloudflare" {
		return netip.Prefix{}, fmt.Errorf("the published ranges of %s are not available in this version: write the CIDRs", s)
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		if p != p.Masked() {
			return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: want %s", s, p.Masked())
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("want an address or a CIDR such as 10.0.0.0/8, got %q", s)
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// checkRoute checks what one route says by itself and what it names.
func (c *Config) checkRoute(d *decoder, i int) {
	r := &c.Routes[i]
	path := fmt.Sprintf("routes[%d]", i)
	if d.reported[path] {
		return // no route at all
	}
	if !d.src.has(path + ".match") {
		d.faultAlways(path+".match", `required: what the route matches, "host/path"; "*" matches everything`)
	}
	if !d.src.has(path + ".require") {
		d.faultAlways(path+".require", `required: say who may come in: "nothing" (anybody), "optional", "signed-in", "token", {groups: [...]} or {token: {scopes: [...]}}`)
	}
	c.checkTo(d, r, path)
	c.checkOperations(d, r, path)
	r.Require.check(d, path+".require")
	c.checkProviders(d, r, path)
	c.checkRouteTokens(d, r, path)
	for j, name := range r.Limit {
		at := fmt.Sprintf("%s.limit[%d]", path, j)
		limit, ok := c.Limits[name]
		switch {
		case !ok:
			known := keys(c.Limits)
			d.fault(at, fmt.Sprintf("no limit is named %q%s (limits: %s)", name, suggest.DidYouMean(name, known), listed(known)))
		case limit.By == "identity" && r.Require.Who == RequireNothing:
			d.fault(at, fmt.Sprintf("%s counts by identity, but the route requires nothing, so there is none: want a limit by address", name))
		case slices.Index(r.Limit, name) < j:
			d.fault(at, fmt.Sprintf("%q is named twice", name))
		}
	}
	if who := r.Require.Who; who != "" && who != RequireNothing && who != RequireToken && c.Login == nil && !d.reported["login"] {
		d.fault(path+".require", fmt.Sprintf("%s needs somebody to ask who people are: there is no login", r.Require.Who))
	}
	for _, p := range c.tokenParts(r) {
		d.fault(p.path+".tokens.audience", fmt.Sprintf(`required: %s takes access tokens, and without a name that must be in their "aud" none is taken`, path))
	}
	if p := r.StripPrefix; p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || !plainPath(p)) {
		d.fault(path+".strip_prefix", fmt.Sprintf(`want a path such as "/admin", without a "/" at its end, got %q`, p))
	}
	c.checkRewrite(d, r, path)
	c.checkCache(d, r, path+".cache")
	c.checkHeaders(d, path+".headers", r.Headers)
	c.checkAssertion(d, path+".assertion", r.Assertion)
}

// checkRewrite checks what of a request and its answer is changed on the way.
func (c *Config) checkRewrite(d *decoder, r *Route, path string) {
	if r.RestorePrefix && r.StripPrefix == "" {
		d.fault(path+".restore_prefix", "there is nothing to put back: want strip_prefix beside it")
	}
	_, directory := c.Origins[r.To]
	_, api := c.CognitoAPI[r.To]
	local := !forwards(*r) || directory || api
	if r.RestorePrefix && local {
		d.fault(path+".restore_prefix", "does nothing: the route does not go to an upstream")
	}
	if r.Rewrite == nil {
		return
	}
	d.section(path+".rewrite", *r.Rewrite)
	switch {
	case local:
		d.fault(path+".rewrite", "does nothing: the route does not go to an upstream")
	case r.StripPrefix != "" && (r.Rewrite.Path != nil || r.Rewrite.URL != nil):
		d.fault(path+".rewrite", "the route has strip_prefix, which changes the path too: want one of them")
	}
}

// plainPath reports whether p is a path in its only spelling: nothing encoded, no dot segments.
func plainPath(p string) bool {
	u, err := url.Parse(p)
	return err == nil && u.Host == "" && u.RawQuery == "" && u.Fragment == "" && u.EscapedPath() == p &&
		!strings.ContainsAny(p, "%;*?#") && !strings.Contains(p, "//") && !slices.ContainsFunc(strings.Split(p, "/"), isDots)
}

func isDots(segment string) bool { return segment == "." || segment == ".." }

// forwards reports whether a route goes to a server, and does not answer by itself.
func forwards(r Route) bool { return r.Redirect == nil && r.Respond == nil }

func (c *Config) checkTo(d *decoder, r *Route, path string) {
	if r.Redirect != nil {
		d.section(path+".redirect", *r.Redirect)
		if r.StripPrefix == "" && r.Redirect.Returns() {
			d.fault(path+".redirect.to", "leads back to the same address: want another host or path")
		}
	}
	if r.Respond != nil {
		d.section(path+".respond", *r.Respond)
	}
	said := slices.DeleteFunc([]string{"to", "split", "redirect", "respond"}, func(key string) bool { return !d.src.has(join(path, key)) })
	if len(said) > 1 {
		d.fault(join(path, said[1]), fmt.Sprintf("the route has %q already: want one of them", said[0]))
		return
	}
	c.checkSplit(d, r, path+".split")
	known := slices.Concat(keys(c.Upstreams), keys(c.Origins), keys(c.CognitoAPI))
	named := func(section string) bool { return r.To != "" && d.src.has(section+"."+r.To) }
	switch {
	case slices.Contains(known, r.To), named("upstreams"), named("origins"), named("cognito_api"):
	case len(said) == 0:
		d.faultAlways(path+".to", fmt.Sprintf("required: the name of an upstream (upstreams: %s), or split, redirect or respond", listed(known)))
	case said[0] != "to":
	case strings.Contains(r.To, "://"):
		d.fault(path+".to", "want the name of an upstream, got a URL: give it a name in upstreams and name it here")
	default:
		d.fault(path+".to", fmt.Sprintf("no upstream is named %q%s (upstreams: %s)", r.To, suggest.DidYouMean(r.To, known), listed(known)))
	}
}

// checkSticky makes sure that the cookie of an upstream has a key, and no other use.
func (c *Config) checkSticky(d *decoder, name, path string) {
	if len(c.Secret) < MinSecret {
		d.fault(path, fmt.Sprintf("the cookie is encrypted with a key that is derived from secret, at the top: want at least %d characters there", MinSecret))
	}
	cookie := c.Upstreams[name].Sticky.CookieName(name)
	for _, other := range keys(c.Upstreams) {
		if s := c.Upstreams[other].Sticky; s != nil && other < name && s.CookieName(other) == cookie {
			d.fault(path+".cookie", fmt.Sprintf("the upstream %q has the cookie %q already: a client of both would be bound to neither", other, cookie))
		}
	}
	if c.Login != nil && c.Login.Session.Cookie != "" && strings.HasPrefix(cookie, c.Login.Session.Cookie) {
		d.fault(path+".cookie", fmt.Sprintf("%q is a name of the cookies of sessions", cookie))
	}
}

// maxWeight is that of an ALB's target group.
const maxWeight = 999

func (c *Config) checkSplit(d *decoder, r *Route, path string) {
	total, known := 0, keys(c.Upstreams)
	for name, weight := range r.Split {
		if !slices.Contains(known, name) && !d.src.has("upstreams."+name) {
			d.fault(path+"."+name, fmt.Sprintf("no upstream is named %q%s (upstreams: %s)", name, suggest.DidYouMean(name, known), listed(known)))
		}
		if weight < 0 || weight > maxWeight {
			d.fault(path+"."+name, fmt.Sprintf("want a weight from 0 to %d, got %d", maxWeight, weight))
		}
		total += max(weight, 0)
	}
	if d.src.has(path) && total == 0 && !d.reportedBelow(path) {
		d.fault(path, "sends requests nowhere: want a weight above 0")
	}
}

// checkWAF validates the section at the top and those of the routes. No field of it depends on
// another, so that a route's own part is all there is to check. Exclusions are checked all at once,
// because the engine reads its rules to know what can be excluded.
func (c *Config) checkWAF(d *decoder) {
	sections, paths := []waf.Config{c.WAF}, []string{"waf"}
	for i, r := range c.Routes {
		if r.WAF != nil {
			sections, paths = append(sections, *r.WAF), append(paths, fmt.Sprintf("routes[%d].waf", i))
		}
	}
	all, origin := map[string]waf.Config{}, map[string][]string{} // by directory of rules
	for i, section := range sections {
		own := section.RulesDir
		section.RulesDir = cmp.Or(own, c.WAF.RulesDir)
		one := all[section.RulesDir]
		for j, x := range section.Exclude {
			one.Exclude = append(one.Exclude, x)
			origin[section.RulesDir] = append(origin[section.RulesDir], fmt.Sprintf("%s.exclude[%d]", paths[i], j))
		}
		all[section.RulesDir] = one
		section.Exclude = nil
		if len(section.Rules) == 0 { // which are known by what is in the directory
			section.RulesDir = own
		}
		if own != "" { // all that is wrong there has one place in this file
			waf.CheckRules(own, func(field, msg string) { d.faultAlways(join(paths[i], field), msg) })
			d.section(paths[i], section)
		} else {
			d.section(paths[i], inheriting{section})
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		one := all[dir]
		one.RulesDir = dir
		one.Validate(func(field, msg string) {
			var i int
			if _, err := fmt.Sscanf(field, "exclude[%d]", &i); err == nil && i < len(origin[dir]) {
				_, rest, _ := strings.Cut(field, "]")
				d.fault(origin[dir][i]+rest, msg)
			}
		})
	}
}

// An inheriting is a section whose directory of rules is that at the top, where it is told of.
type inheriting struct{ waf.Config }

func (c inheriting) Validate(report func(field, msg string)) {
	c.Config.Validate(func(field, msg string) {
		if field != "rules_dir" {
			report(field, msg)
		}
	})
}

// checkIdle reports exclusions that do nothing. One at the top does nothing if it does so on every route, and for
// what Gatehouse answers itself.
func (c *Config) checkIdle(d *decoder) {
	type place struct{ field, msg string }
	idle := make([][]place, len(c.WAF.Exclude))
	engines := 0
	consider := func(engine waf.Config) {
		if engine.Mode == waf.ModeOff {
			return
		}
		engines++
		engine.Exclude = c.WAF.Exclude
		engine.Idle(func(i int, field, msg string) { idle[i] = append(idle[i], place{field, msg}) })
	}
	consider(c.WAF)
	for i, r := range c.Routes {
		if r.WAF == nil {
			continue // as the top
		}
		engine := mergeWAF(c.WAF, *r.WAF)
		consider(engine)
		engine.Exclude = r.WAF.Exclude
		engine.Idle(func(j int, field, msg string) {
			d.fault(fmt.Sprintf("routes[%d].waf.exclude[%d].%s", i, j, field), msg)
		})
	}
	c.checkWhom(d, "waf", c.WAF)
	for i, r := range c.Routes {
		if r.WAF != nil {
			c.checkWhom(d, fmt.Sprintf("routes[%d].waf", i), *r.WAF)
		}
	}
	for i, list := range idle {
		if len(list) > 0 && len(list) == engines {
			d.fault(fmt.Sprintf("waf.exclude[%d].%s", i, list[0].field), list[0].msg)
		}
	}
}

// checkWhom reports exclusions that are for people whom nobody knows, and too many of them together.
func (c *Config) checkWhom(d *decoder, path string, section waf.Config) {
	for i, x := range section.Exclude {
		if x.For != nil && c.Login == nil {
			d.fault(fmt.Sprintf("%s.exclude[%d].for", path, i), "nobody is known here: it needs a login")
		}
	}
	merged := mergeWAF(c.WAF, section)
	forSome := slices.ContainsFunc(merged.Exclude, func(x waf.Exclusion) bool { return x.For != nil })
	if forSome && len(merged.Variants().Configs) == 1 {
		d.fault(path+".exclude", "is for too many different lists of groups (want at most 3: name groups together, or make routes of their own)")
	}
}

// checkHeaders validates what a route says over the section at the top: by itself, and merged, where
// the merger says something new.
func (c *Config) checkHeaders(d *decoder, path string, over *headers.SecurityConfig) {
	if over == nil {
		return
	}
	said := map[string]bool{}
	say := func(_, msg string) { said[msg] = true }
	c.Headers.Validate(say)
	d.section(path, *over)
	over.Validate(say)
	mergeHeaders(c.Headers, *over).Validate(func(field, msg string) {
		if !said[msg] { // an index counts in the merged list, which the file does not have
			field, _, _ = strings.Cut(field, "[")
			d.fault(join(path, field), msg)
		}
	})
}

// checkAssertion does the same for a route's assertion.
func (c *Config) checkAssertion(d *decoder, path string, over *headers.RouteAssertionConfig) {
	if over == nil {
		return
	}
	said := map[string]bool{}
	say := func(_, msg string) { said[msg] = true }
	c.Assertion.Validate(say)
	d.section(path, *over)
	over.Validate(say)
	c.Assertion.WithRoute(*over).Validate(func(field, msg string) {
		if !said[msg] {
			d.fault(join(path, field), msg)
		}
	})
}

// has reports whether the file has something at path.
func (s *source) has(path string) bool {
	_, ok := s.places[path]
	return ok
}

func keys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkNames makes sure that route names are labels and unique.
func (c *Config) checkNames(d *decoder) {
	seen := map[string]int{}
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d].name", i)
		if !d.src.has(path) {
			continue
		}
		if !isRouteName(r.Name) {
			d.fault(path, fmt.Sprintf("want 1 to 128 printable characters without quotes and backslashes, got %q", r.Name))
			continue
		}
		if first, ok := seen[r.Name]; ok {
			d.fault(path, fmt.Sprintf("routes[%d] on line %d has this name already", first, d.src.at(fmt.Sprintf("routes[%d].name", first)).line))
			continue
		}
		seen[r.Name] = i
	}
}

// isRouteName reports whether s can be a route's name: it is a label of metrics and a field of events.
func isRouteName(s string) bool {
	bad := func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || r == '\\' }
	return s != "" && len(s) <= 128 && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, bad)
}
