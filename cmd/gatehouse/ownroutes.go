package main

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/identity"
	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/ratelimit"
	"gatehouse/waf/acl"
)

// ownPrefix begins the names, in events, of routes that Gatehouse answers itself.
const ownPrefix = "gatehouse "

// ownRoutes adds what Gatehouse answers itself: the sign-in endpoints and the assertion's keys, on every
// host that somebody can sign in to or bring a token to.
func (a *assembler) ownRoutes() error {
	if a.assertion == nil {
		return nil
	}
	endpoints := map[string]http.Handler{} // none where nobody signs in
	var guardsOf func(path string) []func(http.Handler) http.Handler
	if len(a.logins) > 0 {
		var err error
		if guardsOf, err = a.endpointGuards(); err != nil {
			return err
		}
		endpoints = authn.Endpoints(a.logins, a.sessions, a.endpointOptions())
	}
	keys := http.StripPrefix(keysPrefix, a.assertion.Keys())
	for _, hosts := range a.loginHosts() {
		suffix := ""
		if len(hosts) > 0 {
			suffix = " " + hosts[0]
		}
		for path, handler := range endpoints {
			a.routes = append(a.routes, proxy.Route{
				Name: ownPrefix + path + suffix, Match: proxy.Match{Hosts: hosts, Path: path}, Group: ownPrefix + path, Guards: guardsOf(path),
				Handler: handler, Response: a.security.Apply, ResponseLines: a.security.Lines, MaxBody: 64 << 10, Gateway: true,
			})
		}
		a.routes = append(a.routes, proxy.Route{
			Name: ownPrefix + "keys" + suffix, Group: ownPrefix + "keys",
			Match: proxy.Match{Hosts: hosts, Path: keysPrefix + "/*", Methods: []string{http.MethodGet}}, Handler: keys,
			Response: a.security.Apply, ResponseLines: a.security.Lines, Gateway: true,
		})
	}
	return nil
}

// endpointGuards returns the guards of the endpoint at a path. Those that take what a provider says, the callback
// and the two that hear of sign-outs, are not inspected by the rule groups. What a provider says looks like an
// attack now and then, and nobody could sign in or out: iss is an address (RFC 9207; rules 931100, 931130 and
// 934110), codes and tokens are noise, and descriptions of errors are prose. The endpoints read a few
// parameters of bounded length, verify, compare, escape or hand them back to the provider, and send nothing
// upstream. Two have limits of their own: each tab asks for the session when it is looked at, and that must
// keep nobody from signing in; and a provider that signs many people out comes from one address.
func (a *assembler) endpointGuards() (func(path string) []func(http.Handler) http.Handler, error) {
	limits := map[string]func(http.Handler) http.Handler{}
	for name, cfg := range map[string]ratelimit.Config{
		"sign-in endpoints": loginLimit(), "session endpoint": sessionLimit(), "logout tokens": logoutLimit(),
	} {
		limit, _, err := a.limit(name, cfg)
		if err != nil {
			return nil, err
		}
		limits[name] = limit
	}
	everybody := a.cfg.WAF.Variants().Configs[0]
	inspect, err := a.inspection("", everybody, acl.RouteConfig{}, nil, true)
	if err != nil {
		return nil, err
	}
	rules, err := a.inspection("", everybody, acl.RouteConfig{}, nil, false)
	if err != nil {
		return nil, err
	}
	guards := func(limit string, more ...func(http.Handler) http.Handler) []func(http.Handler) http.Handler {
		return append([]func(http.Handler) http.Handler{limits[limit]}, more...)
	}
	return func(path string) []func(http.Handler) http.Handler {
		switch {
		case path == authn.SessionScript:
			return nil // the same for everybody, and stored by browsers
		case path == authn.SessionPath:
			return guards("session endpoint", inspect...)
		case path == authn.BackchannelPath:
			return guards("logout tokens")
		case a.logins.FromProvider(path):
			return guards("sign-in endpoints", rules...)
		}
		return guards("sign-in endpoints", inspect...)
	}, nil
}

func (a *assembler) endpointOptions() authn.EndpointOptions {
	return authn.EndpointOptions{
		Cookies: proxy.OwnCookies, RequestID: proxy.RequestID,
		OnLogin: func(ctx context.Context, id *identity.Identity) {
			event := proxy.EventFrom(ctx)
			event.Subject, event.Session = id.Subject, id.SessionID
			event.Note("login", "signed in")
			a.observer.login("login", nil)
		},
		OnLogout:  a.signedOut,
		OnRefresh: func(_ context.Context, r authn.Refresh) { a.observer.login("refresh", r.Err) },
		OnError: func(ctx context.Context, err error) {
			proxy.EventFrom(ctx).Denied = err
			proxy.EventFrom(ctx).Note("login", "failed")
			a.observer.login("error", nil)
		},
	}
}

// loginHosts are the host lists of routes that look at who is there. A priority brings such a route to hosts that other routes
// name more closely, and there these would take what a provider sends back.
func (a *assembler) loginHosts() [][]string {
	asks := func(rt configs.Route) bool { return rt.Require.Who != configs.RequireNothing }
	var reach []string // hosts of those with a priority
	for _, hosts := range a.hostLists(func(rt configs.Route, _ string) bool { return rt.Priority > 0 && asks(rt) }) {
		reach = append(reach, cmp.Or(strings.Join(hosts, ""), "*"))
	}
	return a.hostLists(func(rt configs.Route, host string) bool {
		return asks(rt) || slices.ContainsFunc(reach, func(r string) bool { return proxy.HostsMeet(r, host) && !proxy.HostIncludes(host, r) })
	})
}

// hostLists are the lists of some hosts of routes, one host each; one empty list stands for any host, which some sees as "*".
func (a *assembler) hostLists(some func(rt configs.Route, host string) bool) [][]string {
	named := map[string]bool{}
	anyHost := false
	for _, rt := range a.cfg.Routes {
		for _, m := range rt.Match {
			anyHost = anyHost || len(m.Hosts) == 0 && some(rt, "*")
			for _, host := range m.Hosts {
				if !strings.HasPrefix(host, "~") {
					host = strings.ToLower(host)
				}
				if some(rt, host) {
					named[host] = true
				}
			}
		}
	}
	var lists [][]string
	for _, host := range slices.Sorted(maps.Keys(named)) {
		lists = append(lists, []string{host})
	}
	if anyHost {
		lists = append(lists, nil)
	}
	return lists
}

// hosts are the host names of all routes that certificates are needed for. Wildcards are among them only for the
// local authority, which can do what ACME cannot; certificate files may have each name below one. It makes certificates for
// names that differ in their first label, and none for other wildcards and for expressions.
func (a *assembler) hosts() []string {
	named := map[string]bool{}
	for _, rt := range a.cfg.Routes {
		for _, m := range rt.Match {
			for _, host := range m.Hosts {
				first, rest, _ := strings.Cut(strings.ToLower(host), ".")
				wild := strings.ContainsAny(first, "*?")
				switch {
				case strings.HasPrefix(host, "~"), strings.ContainsAny(rest, "*?"), wild && !a.cfg.TLS.Local:
				case wild:
					named["*."+rest] = true
				default:
					named[strings.ToLower(host)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(named))
}
