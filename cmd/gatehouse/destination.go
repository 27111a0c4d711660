package main

import (
	"net/http"

	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/origin"
)

// destination returns what answers a route: an upstream, which is told by assert who is there, a user pool's API, or what
// the configuration says.
func (a *assembler) destination(rt *configs.Route, assert func(in *http.Request, out http.Header) error) (http.Handler, error) {
	if cfg, ok := a.cfg.CognitoAPI[rt.To]; ok {
		handler, err := a.poolAPI(rt, cfg)
		return handler, at("cognito_api."+rt.To, err)
	}
	if handler, err := a.origin(rt); handler != nil || err != nil {
		return handler, err
	}
	handler, err := a.upstream(rt, assert)
	return handler, at("upstreams."+rt.To, err)
}

// origin returns what answers a route that goes to no server; nil for others.
func (a *assembler) origin(rt *configs.Route) (http.Handler, error) {
	opts := origin.Options{Deny: proxy.Deny, StripPrefix: rt.StripPrefix}
	switch cfg, ok := a.cfg.Origins[rt.To]; {
	case rt.Redirect != nil:
		return origin.NewRedirect(*rt.Redirect, opts)
	case rt.Respond != nil:
		return origin.NewRespond(*rt.Respond), nil
	case ok:
		directory, err := origin.NewDirectory(cfg)
		if err != nil {
			return nil, at("origins."+rt.To, err)
		}
		files := directory.Handler(opts)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proxy.EventFrom(r.Context()).Upstream = proxy.UpstreamRecord{Name: rt.To}
			files.ServeHTTP(w, r)
		}), nil
	}
	return nil, nil
}
