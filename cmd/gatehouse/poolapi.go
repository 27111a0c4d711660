package main

import (
	"context"
	"net/http"
	"os"
	"slices"

	"gatehouse/authn/cognitoapi"
	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/waf"
)

// wafOf is what a route's requests are inspected by. CRS knows the Content-Type of a user pool's API as little as that of
// any other; the proxy takes this one and no other, and the body is read as the JSON that it is.
func (a *assembler) wafOf(rt *configs.Route) waf.Config {
	cfg := *rt.WAF
	if _, ok := a.cfg.CognitoAPI[rt.To]; ok {
		cfg.Exclude = append(slices.Clone(cfg.Exclude), waf.Exclusion{Rule: 920420})
	}
	return cfg
}

// poolAPI returns the proxy of a user pool's API for one route. Generations share a proxy, and with it what it knows of
// which secret works.
func (a *assembler) poolAPI(rt *configs.Route, cfg cognitoapi.Config) (http.Handler, error) {
	var files []string
	if cfg.CA != "" {
		files = append(files, cfg.CA)
	}
	api, err := a.parts.poolAPIs.take(rt.To+" "+digest(cfg, files...), a.prev.poolAPIs, func() (*cognitoapi.Proxy, error) {
		return cognitoapi.New(cfg, cognitoapi.Options{
			ClientIP: proxy.ClientIP, Scheme: clientScheme, Env: os.LookupEnv,
			OnError: func(ctx context.Context, err error) { proxy.EventFrom(ctx).Denied = err },
		})
	}, (*cognitoapi.Proxy).Close)
	if err != nil {
		return nil, err
	}
	return api.Handler(rt.Operations), nil
}
