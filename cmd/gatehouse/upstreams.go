package main

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"gatehouse/authn/identity"
	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
	"gatehouse/waf/acl"
)

// pool returns the upstream with this name.
func (a *assembler) pool(name string) (*upstream.Pool, error) {
	cfg := a.cfg.Upstreams[name]
	return a.parts.pools.take(
		name+" "+digest(cfg, cfg.TLS.Files()...), a.prev.pools,
		func() (*upstream.Pool, error) { return upstream.NewPool(name, cfg) },
		func(p *upstream.Pool) { a.observer.failed("closing the upstream "+p.Name(), p.Close()) },
	)
}

// upstream returns the handler that forwards. What it sets on the way out is set last (ADR 0005).
func (a *assembler) upstream(rt *configs.Route, name string, assert func(in *http.Request, out http.Header) error) (http.Handler, error) {
	pool, err := a.pool(name)
	if err != nil {
		return nil, err
	}
	target, err := rewrite(rt)
	if err != nil {
		return nil, err
	}
	sticky, err := a.sticky(name)
	if err != nil {
		return nil, err
	}
	var failover *upstream.Pool
	if other := a.cfg.Upstreams[name].Failover; other != "" {
		if failover, err = a.pool(other); err != nil {
			return nil, err
		}
	}
	opts := upstream.Options{
		Deny: denyBehindCache, ClientIP: proxy.ClientIP, Scheme: clientScheme, Failover: failover, Subject: subject,
		Sticky: sticky, Cookies: proxy.OwnCookies,
		StripPrefix: rt.StripPrefix, RestorePrefix: rt.RestorePrefix, Rewrite: target,
		WebSocket: rt.WebSocket == nil || *rt.WebSocket,
		Out:       assert, Response: a.fromUpstream, Observe: recordUpstream, Until: a.until,
	}
	handler := pool.Handler(opts)
	if sticky == nil || rt.Cache == nil {
		return handler, nil
	}
	opts.Sticky = nil
	return forWhom{fetches: pool.Handler(opts), others: handler}, nil
}

// forWhom answers what the cache asks for apart from the rest: that has nobody's cookies, and nobody is to be bound by it.
type forWhom struct{ fetches, others http.Handler }

func (f forWhom) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if forCache(r) {
		f.fetches.ServeHTTP(w, r)
		return
	}
	f.others.ServeHTTP(w, r)
}

// sticky returns what binds clients to the endpoints of the upstream with this name; nil for none.
func (a *assembler) sticky(name string) (*upstream.Sticky, error) {
	cfg := a.cfg.Upstreams[name].Sticky
	if cfg == nil {
		return nil, nil
	}
	return upstream.NewSticky(name, *cfg, []byte(a.cfg.Secret))
}

// stickyNames are the names of the cookies that do so.
func stickyNames(cfg *configs.Config) (names []string) {
	for of, up := range cfg.Upstreams {
		if up.Sticky != nil {
			names = append(names, up.Sticky.CookieName(of))
		}
	}
	return names
}

func (a *assembler) stickyCookie(name string) bool { return slices.Contains(a.stickyNames, name) }

// succeedPools has upstreams that are configured anew go on with the endpoints that they keep. It returns those that the next
// generation does not have, which are to be retired when it has the requests.
func succeedPools(previous, next shelf[*upstream.Pool]) []*upstream.Pool {
	byName := map[string]*upstream.Pool{}
	var retiring []*upstream.Pool
	for digest, old := range previous {
		if next[digest] == nil {
			byName[old.value.Name()] = old.value
			retiring = append(retiring, old.value)
		}
	}
	for digest, pool := range next {
		if old := byName[pool.value.Name()]; old != nil && previous[digest] == nil {
			pool.value.Succeed(old)
		}
	}
	return retiring
}

// subject is who is signed in, or whose token it is.
func subject(r *http.Request) string {
	if id := identity.FromContext(r.Context()); id != nil {
		return id.Subject
	}
	return ""
}

func recordUpstream(ctx context.Context, r upstream.Result) {
	event := proxy.EventFrom(ctx)
	event.Upstream = proxy.UpstreamRecord{
		Name: r.Upstream, Address: r.Address, Connect: r.Connect, TTFB: r.FirstByte, Reused: r.Reused, Attempts: r.Attempts,
		Protocol: r.Protocol,
	}
	if r.GRPC != "" {
		event.GRPC = r.GRPC
	}
	if err, ok := errors.AsType[*upstream.Error](r.Err); ok && !refusedHere(err) && !refusedHere(context.Cause(ctx)) {
		event.Note("upstream", string(err.Reason))
	} else if r.Ended { // a WebSocket, which ends without an error
		event.Note("upstream", string(upstream.ReasonEnded))
	} else if r.Failover {
		event.Note("upstream", "failover")
	}
}

// refusedHere reports that the WAF refused the answer, or that it or a rule refused the body on its way: the upstream and
// the client have no part in that.
func refusedHere(err error) bool {
	return errors.As(err, new(*waf.Blocked)) || errors.As(err, new(*waf.Failure)) || errors.As(err, new(*acl.Failure))
}
