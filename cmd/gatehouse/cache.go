package main

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"gatehouse/authn/identity"
	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/cache"
)

// denyBehindCache is proxy.Deny for what may stand behind a cache, which is told first: it may have another answer.
func denyBehindCache(w http.ResponseWriter, r *http.Request, err error) {
	if !cache.Fail(w, err) {
		proxy.Deny(w, r, err)
	}
}

// cached puts the cache before what answers a route, if the route asks for one.
func (a *assembler) cached(rt *configs.Route, handler http.Handler) (http.Handler, error) {
	if rt.Cache == nil {
		return handler, nil
	}
	store, err := a.parts.caches.take(
		digest(a.cfg.Cache), a.prev.caches,
		func() (*cache.Cache, error) { return cache.New(a.cfg.Cache), nil },
		func(c *cache.Cache) { a.observer.failed("closing the cache", c.Close()) },
	)
	if err != nil {
		return nil, err
	}
	cfg := *rt.Cache
	if a.cfg.Origins[rt.To].Fallback != "" { // a navigation gets the page where everybody else gets a 404: see proxy.Navigates
		cfg.Key.Headers = append(slices.Clip(cfg.Key.Headers), "Accept", "Sec-Fetch-Mode", "X-Requested-With")
	}
	return store.Handler(cfg, cache.Options{
		Policy: a.cachePolicy(rt), Deny: proxy.Deny, Identified: identified, Scheme: clientScheme,
		Detach: detached, Fetched: proxy.Fetched, Observe: a.observer.cache,
	}, handler), nil
}

// cachePolicy differs between routes that may answer differently, and changes with what a route answers from.
func (a *assembler) cachePolicy(rt *configs.Route) string {
	names := slices.Sorted(maps.Keys(rt.Split))
	if len(names) == 0 {
		names = []string{rt.To}
	}
	said := []any{rt.Name, rt.Cache, rt.Split, rt.StripPrefix, rt.RestorePrefix, rt.Rewrite}
	for _, name := range names {
		said = append(said, name, a.cfg.Upstreams[name], a.cfg.Origins[name])
	}
	return digest(said)
}

// fetchKey marks the context of a fetch of the cache's.
type fetchKey struct{}

// detached is proxy.Detached, marked.
func detached(r *http.Request) *http.Request {
	r = proxy.Detached(r)
	return r.WithContext(context.WithValue(r.Context(), fetchKey{}, true))
}

// forCache reports whether a request is a fetch of the cache's, which is nobody's.
func forCache(r *http.Request) bool { return r.Context().Value(fetchKey{}) != nil }

// identified reports whether somebody is known to ask: by a session, a token that was verified, or a client certificate.
func identified(r *http.Request) bool {
	return identity.FromContext(r.Context()) != nil || r.TLS != nil && len(r.TLS.PeerCertificates) > 0
}
