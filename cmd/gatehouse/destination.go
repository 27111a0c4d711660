package main

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"

	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/upstream"
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
	if len(rt.Split) > 0 {
		return a.split(rt, assert)
	}
	handler, err := a.upstream(rt, rt.To, assert)
	return handler, at("upstreams."+rt.To, err)
}

// split returns what divides a route's requests among upstreams by their weights. A client that is bound to an endpoint of one of
// them stays there, as with a target group's stickiness on an ALB.
func (a *assembler) split(rt *configs.Route, assert func(in *http.Request, out http.Header) error) (http.Handler, error) {
	type share struct {
		below   int // takes draws below this
		handler http.Handler
		sticky  *upstream.Sticky
	}
	var shares []share
	total := 0
	for _, name := range slices.Sorted(maps.Keys(rt.Split)) {
		handler, err := a.upstream(rt, name, assert)
		if err != nil {
			return nil, at("upstreams."+name, err)
		}
		sticky, err := a.sticky(name)
		if err != nil {
			return nil, at("upstreams."+name+".sticky", err)
		}
		if rt.Split[name] == 0 {
			sticky = nil // it gets no requests, not even of those that it had
		}
		total += rt.Split[name]
		shares = append(shares, share{total, handler, sticky})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, s := range shares {
			if s.sticky != nil && s.sticky.Holds(r, proxy.OwnCookies(r)) {
				s.handler.ServeHTTP(w, r)
				return
			}
		}
		drawn := rand.IntN(total) //nolint:gosec // nobody gains by guessing it
		i, _ := slices.BinarySearchFunc(shares, drawn+1, func(s share, n int) int { return s.below - n })
		shares[i].handler.ServeHTTP(w, r)
	}), nil
}

// origin returns what answers a route that goes to no server; nil for others.
func (a *assembler) origin(rt *configs.Route) (http.Handler, error) {
	opts := origin.Options{Deny: denyBehindCache, Navigates: proxy.Navigates, StripPrefix: rt.StripPrefix, Scheme: clientScheme}
	switch cfg, ok := a.cfg.Origins[rt.To]; {
	case rt.Redirect != nil:
		return origin.NewRedirect(*rt.Redirect, opts)
	case rt.Respond != nil:
		return origin.NewRespond(*rt.Respond), nil
	case ok && cfg.S3 != nil:
		bucket, err := a.bucket(rt.To, cfg)
		if err != nil {
			return nil, at("origins."+rt.To+".s3", err)
		}
		opts.OnFetch = func(ctx context.Context, f origin.Fetch) {
			proxy.EventFrom(ctx).Upstream = proxy.UpstreamRecord{Name: rt.To, Address: f.Address, TTFB: f.FirstByte, Attempts: f.Attempts}
		}
		return bucket.Handler(opts), nil
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

// bucket returns a bucket, which generations share: it keeps connections, and the credentials of a role.
func (a *assembler) bucket(name string, cfg origin.Config) (*origin.Bucket, error) {
	var files []string
	if cfg.S3.CA != "" {
		files = append(files, cfg.S3.CA)
	}
	return a.parts.buckets.take(name+" "+digest(cfg, files...), a.prev.buckets, func() (*origin.Bucket, error) {
		return origin.NewBucket(cfg, os.LookupEnv)
	}, (*origin.Bucket).Close)
}

// rewrite returns what a route sends instead of the client's host, path and query; nil for none.
func rewrite(rt *configs.Route) (func(*http.Request) (path, query, host string, err error), error) {
	if rt.Rewrite == nil {
		return nil, nil
	}
	w, err := proxy.NewRewrite(*rt.Rewrite, proxy.Admit(rt.Admit))
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) (path, query, host string, err error) {
		if path, query, host, err = w.Target(r); err != nil {
			proxy.EventFrom(r.Context()).Note("rewrite", "refused")
		}
		return path, query, host, err
	}, nil
}
