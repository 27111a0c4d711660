package main

import (
	"context"
	"maps"
	"slices"

	"gatehouse/authn"
	"gatehouse/configs"
)

// A remote is somebody whose metadata and keys have to be fetched before they are of use: a login's
// provider, or an issuer of tokens.
type remote interface {
	Issuer() string
	Ready() bool
	Connect(ctx context.Context) error
}

// remotes are those of a generation.
func (p *parts) remotes() []remote {
	var all []remote
	for _, provider := range p.providers {
		all = append(all, provider.value)
	}
	for _, issuer := range p.issuers {
		all = append(all, issuer.value)
	}
	return all
}

// remoteWords says what a remote is and what clients get while it cannot be reached.
func remoteWords(r remote) (kind, instead string) {
	if _, ok := r.(*authn.TokenIssuer); ok {
		return "issuer of tokens", "its tokens are answered with 503"
	}
	return "provider", "sign-in answers 503"
}

// takeIssuers builds those whose tokens are taken beside the login's.
func (a *assembler) takeIssuers() error {
	a.issuers = map[string]*authn.TokenIssuer{}
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Tokens.Issuers)) {
		cfg := a.cfg.Tokens.Issuers[name]
		var files []string
		if cfg.CA != "" {
			files = append(files, cfg.CA)
		}
		issuer, err := a.parts.issuers.take(
			digest(cfg, files...), a.prev.issuers,
			func() (*authn.TokenIssuer, error) { return authn.NewTokenIssuer(cfg, authn.ProviderOptions{}) },
			(*authn.TokenIssuer).Close,
		)
		if err != nil {
			return at("tokens.issuers."+name, err)
		}
		a.issuers[name] = issuer
	}
	return nil
}

// tokens is whose bearer tokens a route takes.
func (a *assembler) tokens(rt *configs.Route) authn.Tokens {
	names, login := a.cfg.TokenIssuers(rt)
	out := authn.Tokens{Compat: rt.TokenCompat()}
	for _, name := range names {
		out.Issuers = append(out.Issuers, a.issuers[name])
	}
	if login {
		out.Logins = a.logins
	}
	return out
}
