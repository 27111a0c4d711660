package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/proxy"
)

// checkConflicts reports routes that match the same requests equally well: which of them would win
// must not depend on the order of lines.
func (c *Config) checkConflicts(d *decoder) {
	type claim struct {
		route, match int
		methods      []string
	}
	claims := map[[2]string][]claim{}
	for i, r := range c.Routes {
		for j, m := range r.Match {
			if r.Priority > 0 || len(m.Headers)+len(m.Query)+len(m.Source) > 0 {
				continue // for checkOrder
			}
			for _, host := range hostsOf(m) {
				key := [2]string{host, cmp.Or(m.Path, "/*")}
				for _, other := range claims[key] {
					if !overlap(other.methods, m.Methods) {
						continue
					}
					d.conflict(i, j, other.route, key, m)
					break
				}
				claims[key] = append(claims[key], claim{i, j, m.Methods})
			}
		}
	}
}

func (d *decoder) conflict(route, match, other int, key [2]string, m Match) {
	path := d.matchPath(route, match)
	if other == route {
		d.faultAlways(path, fmt.Sprintf("the route matches this already: %s", describe(key[0], key[1], m.Methods)))
		return
	}
	first := d.src.at(fmt.Sprintf("routes[%d].match", other))
	d.faultAlways(path, fmt.Sprintf("matches the same requests as routes[%d] on line %d: %s", other, first.line, describe(key[0], key[1], m.Methods)))
}

func hostsOf(m Match) []string {
	if len(m.Hosts) == 0 {
		return []string{"*"}
	}
	hosts := make([]string, len(m.Hosts))
	for i, h := range m.Hosts {
		hosts[i] = canonicalHost(h)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func canonicalHost(h string) string {
	if strings.HasPrefix(h, "~") {
		return h
	}
	return strings.TrimSuffix(strings.ToLower(h), ".")
}

// exactHost reports hosts that stand for one name.
func exactHost(h string) bool { return !strings.ContainsAny(h, "*?~") }

// matchPath is the path of one match of a route: of its entry, if it is one of a list.
func (d *decoder) matchPath(route, match int) string {
	path := fmt.Sprintf("routes[%d].match", route)
	if at := fmt.Sprintf("%s[%d]", path, match); d.src.has(at) {
		return at
	}
	return path
}

// overlap reports whether two lists of methods have one in common that makes the routes equally
// specific: both lists empty, or neither.
func overlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(m string) bool { return slices.Contains(b, m) })
}

// describe writes a match as people write it.
func describe(host, path string, methods []string) string {
	s := host
	if path != "/*" || host == "*" && path != "/*" {
		s = strings.TrimPrefix(host, "*") + path
		if strings.HasPrefix(host, "*.") {
			s = host + path
		}
	}
	if len(methods) > 0 {
		s = strings.Join(methods, ",") + " " + s
	}
	return s
}

// checkOwnPaths reports routes on the paths that Gatehouse answers itself, on the hosts where it
// does: a route there would keep people from signing in, or could never be reached.
func (c *Config) checkOwnPaths(d *decoder) {
	if c.Login == nil {
		return
	}
	own := map[string]string{
		cmp.Or(c.Login.Callback, "/oauth2/idpresponse"): "login.callback",
		cmp.Or(c.Login.SignIn, "/oauth2/sign_in"):       "login.sign_in",
		cmp.Or(c.Login.SignOut, "/oauth2/sign_out"):     "login.sign_out",
		"/oauth2/signed_out":                            "the page after signing out",
		authn.SessionPath:                               "what applications ask about the session",
		authn.SessionScript:                             "the script that asks about the session",
		"/oauth2/signed_in":                             "the page after signing in",
		"/.gatehouse/keys/*":                            "the keys of the assertion",
		"/oauth2/backchannel_logout":                    "where a provider tells of sign-outs",
		"/oauth2/frontchannel_logout":                   "where a provider tells of sign-outs in a frame",
	}
	var login []string
	for _, r := range c.Routes {
		if r.Require.Who != RequireNothing {
			for _, m := range r.Match {
				login = append(login, hostsOf(m)...)
			}
		}
	}
	for i, r := range c.Routes {
		for j, m := range r.Match {
			name, ok := own[m.Path]
			if !ok || !slices.ContainsFunc(hostsOf(m), func(h string) bool { return slices.ContainsFunc(login, covers(h)) }) {
				continue
			}
			d.fault(d.matchPath(i, j), fmt.Sprintf("%s is Gatehouse's own on this host (%s): want another path, or move that one", m.Path, name))
		}
	}
}

// covers returns whether a pattern and host may stand for the same name.
func covers(host string) func(pattern string) bool {
	return func(pattern string) bool { return proxy.HostsMeet(pattern, host) }
}
