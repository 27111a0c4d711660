package main

import (
	"net/http"

	"gatehouse/proxy"
	"gatehouse/waf"
)

// inspectFor returns the WAF guard of a route that takes people of these providers. Where exclusions are for some
// people only, each request goes to the engine that whoever sends it is inspected by.
func (a *assembler) inspectFor(cfg waf.Config, providers []string) ([]func(http.Handler) http.Handler, error) {
	variants := cfg.Variants()
	guards := make([]func(http.Handler) http.Handler, len(variants.Configs))
	for set, cfg := range variants.Configs {
		one, err := a.inspect(cfg, variants.For(set))
		if err != nil || len(one) == 0 {
			return nil, err
		}
		guards[set] = one[0]
	}
	if len(guards) == 1 || a.sessions == nil {
		return guards[:1], nil
	}
	return []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
		inspected := make([]http.Handler, len(guards))
		for set, guard := range guards {
			inspected[set] = guard(next)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inspected[variants.Of(a.knownGroups(r, providers))].ServeHTTP(w, r)
		})
	}}, nil
}

// knownGroups are the groups of whoever sends a request, as far as that is known before anybody signs in: none in doubt.
// A page of somebody else's, or a link in a mail, makes the browser of an editor send what its author wants, with
// the editor's session. So the browser has to say that the request comes from the application's own page.
func (a *assembler) knownGroups(r *http.Request, providers []string) []string {
	if site := r.Header["Sec-Fetch-Site"]; len(site) != 1 || site[0] != "same-origin" {
		return nil
	}
	if id := a.sessions.Peek(r, a.logins, providers, proxy.OwnCookies(r)); id != nil {
		return id.Groups
	}
	return nil
}
