package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/cognitoapi"
	"gatehouse/authn/identity"
	"gatehouse/configs"
	"gatehouse/headers"
	"gatehouse/internal/awslog"
	"gatehouse/proxy"
	"gatehouse/proxy/cache"
	"gatehouse/proxy/clientcert"
	"gatehouse/proxy/compress"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/ratelimit"
	"gatehouse/proxy/upstream"
	"gatehouse/proxy/wire"
	"gatehouse/waf"
	"gatehouse/waf/acl"
	"gatehouse/waf/challenge"
	"gatehouse/waf/ipset"
)

// keysPrefix is where the assertion's public keys are on every host.
const keysPrefix = "/.gatehouse/keys"

// loginLimit bounds what one address may ask of the sign-in endpoints: every callback can cost a call to
// the provider. An office behind one address signs in well below two a second.
func loginLimit() ratelimit.Config { return ratelimit.Config{Rate: "120/1m"} }

// sessionLimit bounds what the scripts of one address may ask of the session, which costs no call but once
// in half the life of an access token.
func sessionLimit() ratelimit.Config { return ratelimit.Config{Rate: "1200/1m"} }

// logoutLimit bounds the logout tokens of one address, which is that of the provider: it signs a whole company out from
// there, and most send no token again. One costs a check of its signature at the most.
func logoutLimit() ratelimit.Config { return ratelimit.Config{Rate: "6000/1m"} }

// An assembled is a generation with what it needs beside the routes.
type assembled struct {
	generation *proxy.Generation
	parts      *parts
	hosts      []string           // exact host names, for certificates
	keys       http.Handler       // the assertion's public keys; nil without an assertion
	sharedKeys headers.SharedKeys // the assertion's, where they are those of a fleet; else nil
	clients    *clientcert.Set    // whose certificates handshakes ask for; nil for nobody's
	wafLog     *awslog.Output     // records in AWS's form; nil without them. The process opens it
}

// parts are what the next generation takes over when it is configured alike, by digest.
type parts struct {
	engines    shelf[*waf.Engine]
	budgets    shelf[*waf.Budget]
	limiters   shelf[*ratelimit.Limiter]
	pools      shelf[*upstream.Pool]
	providers  shelf[*authn.Provider]
	issuers    shelf[*authn.TokenIssuer]
	assertions shelf[*headers.Assertion]
	clients    shelf[*clientcert.Policy]
	encoders   shelf[*compress.Compressor]
	buckets    shelf[*origin.Bucket]
	sharedKeys shelf[headers.SharedKeys]
	poolAPIs   shelf[*cognitoapi.Proxy]
	geo        shelf[*ipset.Geo]
	caches     shelf[*cache.Cache]
	sessions   *authn.Sessions
	sessionsOf string // digest
	// ledger outlasts all generations; nil keeps revocations in memory only, as check does.
	ledger authn.Ledger
	shared authn.Shared // the same; nil without a fleet
	// patterns are those of the WAF's rules, which nearly all engines share. They outlast generations too.
	patterns *waf.Patterns
}

func newParts() *parts {
	return &parts{
		engines: shelf[*waf.Engine]{}, budgets: shelf[*waf.Budget]{}, limiters: shelf[*ratelimit.Limiter]{}, pools: shelf[*upstream.Pool]{},
		providers: shelf[*authn.Provider]{}, issuers: shelf[*authn.TokenIssuer]{}, assertions: shelf[*headers.Assertion]{},
		sharedKeys: shelf[headers.SharedKeys]{}, clients: shelf[*clientcert.Policy]{}, encoders: shelf[*compress.Compressor]{}, buckets: shelf[*origin.Bucket]{}, poolAPIs: shelf[*cognitoapi.Proxy]{}, geo: shelf[*ipset.Geo]{}, caches: shelf[*cache.Cache]{}, patterns: &waf.Patterns{},
	}
}

// release gives up what this generation held. Parts that no generation holds any more are closed.
func (p *parts) release() {
	p.engines.release()
	p.budgets.release()
	p.limiters.release()
	p.pools.release()
	p.providers.release()
	p.issuers.release()
	p.assertions.release()
	p.clients.release()
	p.encoders.release()
	p.buckets.release()
	p.sharedKeys.release()
	p.poolAPIs.release()
	p.geo.release()
	p.caches.release()
}

// An assembler builds one generation. This file is the only one that knows every package, and the order
// of the guards is written here and nowhere else (ADR 0003).
type assembler struct {
	cfg       *configs.Config
	observer  *observer
	parts     *parts
	prev      *parts
	logins    authn.Providers // none without a login
	issuers   map[string]*authn.TokenIssuer
	sessions  *authn.Sessions
	assertion *headers.Assertion // nil without a login
	shared    headers.SharedKeys // the assertion's keys, where they are those of a fleet; else nil
	clients   *clientcert.Set    // whose certificates are asked for; nil for nobody's
	strip     func(http.Header)
	security  *headers.Security // of answers that are Gatehouse's own
	resources acl.Resources     // what rules name
	// challenger asks for a proof of work; nil where nothing says that it should.
	challenger *challenge.Challenger
	routes     []proxy.Route
	// stickyNames are the cookies that bind clients to endpoints.
	stickyNames []string
}

// assemble builds a whole generation beside the running one. Whatever fails leaves everything as it was.
// It starts nothing: no goroutine, no connection.
func assemble(cfg *configs.Config, prev *parts, obs *observer) (_ *assembled, err error) {
	if prev == nil {
		prev = newParts()
	}
	a := &assembler{cfg: cfg, observer: obs, parts: newParts(), prev: prev, stickyNames: stickyNames(cfg)}
	a.parts.ledger, a.parts.shared, a.parts.patterns = prev.ledger, prev.shared, prev.patterns
	defer func() {
		if err != nil {
			a.parts.release()
		}
	}()
	if err := a.identity(); err != nil {
		return nil, a.collect(nil, err)
	}
	if a.security, err = headers.NewSecurity(cfg.Headers); err != nil {
		return nil, a.collect(nil, at("headers", err))
	}
	if err := errors.Join(a.takeResources(), a.takeChallenger(), a.takeClients()); err != nil {
		return nil, a.collect(nil, err)
	}
	var problems configs.Problems
	for i := range cfg.Routes {
		problems = a.collect(problems, a.route(fmt.Sprintf("routes[%d]", i), &cfg.Routes[i]))
	}
	problems = a.collect(problems, a.ownRoutes())
	problems = a.collect(problems, a.challengeRoutes())
	problems = a.collect(problems, at("tls", cfg.TLS.Covers(a.hosts())))
	if len(problems) > 0 {
		return nil, problems.Sorted()
	}
	generation, err := proxy.NewGeneration(newGenerationID(), a.routes, a.options())
	if err != nil {
		return nil, err
	}
	out := &assembled{generation: generation, parts: a.parts, hosts: a.hosts(), sharedKeys: a.shared, clients: a.clients}
	if a.assertion != nil {
		out.keys = a.assertion.Keys()
	}
	return out, nil
}

// A misplaced is an error with the path of the value in the file that caused it.
type misplaced struct {
	path string
	err  error
}

func (e *misplaced) Error() string { return e.path + ": " + e.err.Error() }
func (e *misplaced) Unwrap() error { return e.err }

// at says which value of the file an error is about; nil stays nil.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return &misplaced{path, err}
}

// collect adds what err says, with its place in the file, unless it has been said before: two routes may
// share the upstream that cannot be built.
func (a *assembler) collect(problems configs.Problems, err error) configs.Problems {
	if err == nil {
		return problems
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, each := range joined.Unwrap() {
			problems = a.collect(problems, each)
		}
		return problems
	}
	problem := problemOf(a.cfg, err)
	if slices.Contains(problems, problem) {
		return problems
	}
	return append(problems, problem)
}

// problemOf gives an error that came up while the configuration was put to use the form of one that was
// found in the file.
func problemOf(cfg *configs.Config, err error) configs.Problem {
	if e, ok := errors.AsType[*misplaced](err); ok {
		section, _, _ := strings.Cut(e.path, ".")
		return cfg.Problem(e.path, strings.TrimPrefix(e.err.Error(), section+": "))
	}
	return cfg.Problem("", err.Error())
}

// newGenerationID is short, and differs between instances and reloads.
func newGenerationID() string {
	var id [4]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// digest is the content of what a part is built from: configuration, and files it names.
func digest(v any, files ...string) string {
	h := sha256.New()
	// Configurations are structs of strings, numbers and lists: encoding them into a hash cannot fail.
	_ = json.NewEncoder(h).Encode(v)
	for _, name := range files {
		content, err := os.ReadFile(name)
		fmt.Fprintf(h, "%s %x %v\n", name, sha256.Sum256(content), err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (a *assembler) options() proxy.Options {
	opts := proxy.Options{
		Observe:        a.observer.request,
		TrustedProxies: a.cfg.TrustedPrefixes(),
		StripHeaders:   a.stripped(),
		Violation:      wire.Violation,
		Response:       a.security.Apply,
		ResponseLines:  a.security.Lines,
	}
	if a.sessions != nil || a.challenger != nil || len(a.stickyNames) > 0 {
		opts.OwnCookie, opts.PublicCookie = a.ownCookie, a.stickyCookie
	}
	if a.clients != nil {
		opts.Connection = a.connection
	}
	return opts
}

// identity builds what knows people: provider, sessions and assertion.
func (a *assembler) identity() error {
	var err error
	if a.strip, err = headers.NewStripper(a.cfg.Assertion, a.routeAssertions()...); err != nil {
		return at("assertion", err)
	}
	if err := a.takeIssuers(); err != nil {
		return err
	}
	if a.cfg.Login != nil || slices.ContainsFunc(a.cfg.Routes, a.cfg.Asserts) {
		if err := a.takeAssertion(); err != nil {
			return at("assertion", err)
		}
	}
	if a.cfg.Login == nil {
		a.parts.sessions, a.parts.sessionsOf = a.prev.sessions, a.prev.sessionsOf // for when there is one again
		return nil
	}
	return a.takeLogin(*a.cfg.Login)
}

func (a *assembler) takeAssertion() (err error) {
	if err := a.takeSharedKeys(); err != nil {
		return err
	}
	a.assertion, err = a.parts.assertions.take(
		digest(struct {
			Config headers.AssertionConfig
			Secret string
		}{a.cfg.Assertion, a.cfg.Secret}, a.cfg.Assertion.Keys...),
		a.prev.assertions,
		func() (*headers.Assertion, error) {
			if a.shared != nil {
				return headers.NewAssertionFrom(a.cfg.Assertion, a.shared)
			}
			return headers.NewAssertion(a.cfg.Assertion, []byte(a.cfg.Secret))
		}, nil,
	)
	return err
}

// takeSharedKeys keeps the keys of a fleet through reloads that change what else is said of the assertion.
func (a *assembler) takeSharedKeys() (err error) {
	if !a.cfg.Assertion.Shared() {
		return nil
	}
	a.shared, err = a.parts.sharedKeys.take(
		digest([]string{a.cfg.Assertion.Source, a.cfg.Assertion.Rotate, a.cfg.Secret}), a.prev.sharedKeys,
		func() (headers.SharedKeys, error) {
			return headers.NewSharedKeys(a.cfg.Assertion, []byte(a.cfg.Secret))
		}, nil,
	)
	return err
}

func (a *assembler) takeLogin(login authn.Config) error {
	for _, cfg := range login.Each() {
		provider, err := a.parts.providers.take(
			fmt.Sprintf("%s %t", digest(cfg, providerFiles(cfg.Config)...), a.cfg.Assertion.FromIDToken()), a.prev.providers,
			func() (*authn.Provider, error) {
				return authn.NewNamedProvider(cfg, authn.ProviderOptions{IDTokenClaims: a.cfg.Assertion.FromIDToken()})
			}, (*authn.Provider).Close,
		)
		if err != nil {
			return at("login", err)
		}
		a.logins = append(a.logins, provider)
	}
	if err := a.takeSessions(login.Session); err != nil {
		return at("login.session", err)
	}
	return nil
}

// routeAssertions are what the routes say of the assertion: a header that one of them maps a claim to is
// for no client to send, on any route.
func (a *assembler) routeAssertions() []headers.RouteAssertionConfig {
	var all []headers.RouteAssertionConfig
	for _, rt := range a.cfg.Routes {
		all = append(all, *rt.Assertion)
	}
	return all
}

func providerFiles(login authn.Config) []string {
	var files []string
	if login.Cognito != nil && login.Cognito.CA != "" {
		files = append(files, login.Cognito.CA)
	}
	if login.OIDC != nil && login.OIDC.CA != "" {
		files = append(files, login.OIDC.CA)
	}
	return files
}

// takeSessions keeps what the running sessions know even when their settings change: a reload must not
// bring back who has signed out.
func (a *assembler) takeSessions(cfg authn.SessionConfig) (err error) {
	secret := []byte(a.cfg.Secret)
	a.parts.sessionsOf = digest(struct {
		Config authn.SessionConfig
		Secret string
	}{cfg, a.cfg.Secret})
	switch {
	case a.prev.sessions == nil:
		a.sessions, err = authn.NewSessions(cfg, secret, authn.SessionsOptions{
			Ledger: a.parts.ledger, OnError: a.observer.revocationLost, Shared: a.parts.shared,
		})
	case a.prev.sessionsOf == a.parts.sessionsOf:
		a.sessions = a.prev.sessions
	default:
		a.sessions, err = a.prev.sessions.With(cfg, secret)
	}
	a.parts.sessions = a.sessions
	return err
}

// route compiles one route of the file into one proxy route for each of its matches.
func (a *assembler) route(place string, rt *configs.Route) error {
	guards, err := a.guards(place, rt)
	if err != nil {
		return err
	}
	assert, err := a.assert(rt)
	if err != nil {
		return at(place+".assertion", err)
	}
	handler, err := a.destination(rt, a.certified(assert))
	if err != nil {
		return err
	}
	if handler, err = a.cached(rt, handler); err != nil {
		return at("cache", err)
	}
	security, err := headers.NewSecurity(*rt.Headers)
	if err != nil {
		return at(place+".headers", err)
	}
	for i, m := range rt.Match {
		a.routes = append(a.routes, proxy.Route{
			Name: matchName(rt.Name, i), Match: proxy.Match(m), Priority: rt.Priority, Group: rt.Name,
			Admit: proxy.Admit(rt.Admit), Guards: guards, Handler: handler,
			Response: security.Apply, ResponseLines: security.Lines, MaxBody: int64(rt.MaxBody),
		})
	}
	return nil
}

// matchName names one match of a route in events.
func matchName(route string, i int) string {
	if i == 0 {
		return route
	}
	return fmt.Sprintf("%s (%d)", route, i+1)
}

// guards builds a route's guards, in the one order that there is: what compresses, so that all others see answers as they are,
// names of the client's certificate, limits by address, WAF, authenticate and authorise, limits by identity.
func (a *assembler) guards(place string, rt *configs.Route) ([]func(http.Handler) http.Handler, error) {
	var byAddress, byIdentity []func(http.Handler) http.Handler
	for _, name := range rt.Limit {
		guard, byID, err := a.limit(name, a.cfg.Limits[name])
		switch {
		case err != nil:
			return nil, at("limits."+name, err)
		case byID:
			byIdentity = append(byIdentity, guard)
		default:
			byAddress = append(byAddress, guard)
		}
	}
	rule, _ := rt.Require.Rule()
	inspect, err := a.inspection(place, a.wafOf(rt), rt.ACL, rule.Providers, true)
	if err != nil {
		return nil, err
	}
	return slices.Concat(a.compressed(rt), a.named(rt), byAddress, inspect, a.gate(rt), byIdentity), nil
}

func (a *assembler) limit(name string, cfg ratelimit.Config) (guard func(http.Handler) http.Handler, byIdentity bool, err error) {
	limiter, err := a.parts.limiters.take(
		name+" "+digest(cfg), a.prev.limiters, func() (*ratelimit.Limiter, error) { return ratelimit.New(cfg) }, nil,
	)
	if err != nil {
		return nil, false, err
	}
	key := func(r *http.Request) ratelimit.Key { return ratelimit.AddressKey(proxy.ClientIP(r)) }
	if cfg.By == ratelimit.ByIdentity {
		byIdentity, key = true, identityKey
	}
	var challenger ratelimit.Challenger
	if cfg.Action == ratelimit.ActionChallenge {
		challenger = a.challenger
	}
	return limiter.Wrap(key, ratelimit.WrapOptions{
		Name: name, Deny: proxy.Deny, Challenger: challenger,
		OnDecision: func(ctx context.Context, d ratelimit.Decision) {
			event := proxy.EventFrom(ctx)
			verdict := limitVerdict(d)
			event.Limit = proxy.LimitRecord{Name: name, Verdict: verdict}
			event.Note("limit", verdict)
			if d.Challenged {
				event.Refuse(&ratelimit.Exceeded{Limit: name, RetryAfter: d.RetryAfter})
			}
			a.observer.limit(name, verdict)
		},
	}), byIdentity, nil
}

// identityKey counts by who somebody is, and by address whoever is nobody.
func identityKey(r *http.Request) ratelimit.Key {
	if id := identity.FromContext(r.Context()); id != nil && id.Subject != "" { // AWS takes tokens without one
		return ratelimit.IdentityKey(id.Issuer, id.Subject)
	}
	return ratelimit.AddressKey(proxy.ClientIP(r))
}

// inspect returns the WAF guard, or none where it is off.
func (a *assembler) inspect(cfg waf.Config, whom []string) ([]func(http.Handler) http.Handler, error) {
	if cfg.Mode == waf.ModeOff {
		return nil, nil
	}
	budget, err := a.budget()
	if err != nil {
		return nil, err
	}
	engine, err := a.parts.engines.take(cfg.Digest()+" "+digest(a.cfg.WAFBudget)+fmt.Sprintf(" %q", whom), a.prev.engines, func() (*waf.Engine, error) {
		return waf.New(cfg, waf.Options{
			Deny: proxy.Deny, ClientIP: proxy.ClientIP, RequestID: proxy.RequestID, OnResult: recordWAF(cfg, whom),
			Patterns: a.parts.patterns, Budget: budget,
		})
	}, func(e *waf.Engine) { a.observer.failed("closing a WAF engine", e.Close()) })
	if err != nil {
		return nil, err
	}
	return []func(http.Handler) http.Handler{engine.Wrap}, nil
}

// budget is what all engines, and the rules that look at bodies, share.
func (a *assembler) budget() (*waf.Budget, error) {
	budget, err := a.parts.budgets.take(digest(a.cfg.WAFBudget), a.prev.budgets, func() (*waf.Budget, error) {
		return waf.NewBudget(a.cfg.WAFBudget)
	}, nil)
	return budget, at("waf_budget", err)
}

// recordWAF returns what tells the event of a request what an engine of cfg found in it and then, where answers are
// inspected, in the answer to it.
func recordWAF(cfg waf.Config, whom []string) func(context.Context, waf.Result) {
	engine := engineRecord(cfg)
	engine.ExclusionsFor = whom
	return func(ctx context.Context, r waf.Result) {
		event := proxy.EventFrom(ctx)
		verdict := wafVerdict(r)
		if !r.Answer {
			acl.AddLabels(ctx, wafLabels(r)...)
			event.WAF = wafRecord(engine, r)
			event.Note("waf", verdict)
			return
		}
		event.WAF = wafRecord(event.WAF, r)
		if verdict != "pass" {
			event.Note("waf_response", verdict)
		}
	}
}

// engineRecord is what all records of an engine of cfg say.
func engineRecord(cfg waf.Config) proxy.WAFRecord {
	effective := cfg.Effective()
	record := proxy.WAFRecord{Threshold: effective.Threshold, Paranoia: effective.Paranoia, Exclusions: len(effective.Exclude)}
	if !slices.Equal(effective.Groups, (waf.Config{}).Effective().Groups) {
		record.Groups = effective.Groups
	}
	for _, ids := range slices.Sorted(maps.Keys(effective.Rules)) {
		record.RuleActions = append(record.RuleActions, ids+":"+effective.Rules[ids])
	}
	return record
}

// wafRecord adds what r says to a record: to that of the engine, or for an answer to that of its request.
func wafRecord(record proxy.WAFRecord, r waf.Result) proxy.WAFRecord {
	if r.Answer {
		record.Response = proxy.WAFResponse{Verdict: wafVerdict(r), Score: r.Score}
	} else {
		record.Mode, record.Verdict, record.Score, record.Limit, record.Cause = r.Mode, wafVerdict(r), r.Score, r.Limit, r.Cause
		record.Counted = r.Counted
	}
	for _, id := range r.Rules {
		if !slices.Contains(record.Rules, id) {
			record.Rules = append(record.Rules, id)
		}
	}
	for _, m := range r.Matches {
		record.Matches = append(record.Matches, proxy.WAFMatch{
			RuleID: m.RuleID, Message: m.Message, Variable: m.Variable, Key: m.Key, Severity: m.Severity, Counted: m.Counted,
		})
	}
	return record
}

func wafVerdict(r waf.Result) string {
	switch {
	case r.Blocked:
		return "block"
	case r.Limit != "" && r.Mode == waf.ModeBlock:
		return "limit"
	case r.Status != 0:
		return "count"
	default:
		return "pass"
	}
}

// gate returns the guard that authenticates and authorises, or none on routes that require nothing.
func (a *assembler) gate(rt *configs.Route) []func(http.Handler) http.Handler {
	rule, guarded := rt.Require.Rule()
	if !guarded {
		return nil
	}
	opts := a.gateOptions()
	if opts.Tokens = a.tokens(rt); rule.Mode == authn.ModeToken {
		opts.OnRefuse = func(ctx context.Context, err error) { // in the manner of somebody else
			event := proxy.EventFrom(ctx)
			event.Denied = err
			event.Note("login", "deny")
		}
	}
	return []func(http.Handler) http.Handler{authn.NewGate(a.logins, a.sessions, rule, opts).Wrap}
}

func (a *assembler) gateOptions() authn.GateOptions {
	return authn.GateOptions{
		Deny: func(w http.ResponseWriter, r *http.Request, err error) {
			proxy.EventFrom(r.Context()).Note("login", "deny")
			proxy.Deny(w, r, err)
		},
		Cookies: proxy.OwnCookies, RequestID: proxy.RequestID, ClientIP: proxy.ClientIP,
		OnIdentity: func(ctx context.Context, id *identity.Identity) {
			event := proxy.EventFrom(ctx)
			event.Subject, event.Session = id.Subject, id.SessionID
			event.Note("login", "pass")
		},
		OnRefuse: func(ctx context.Context, err error) {
			event := proxy.EventFrom(ctx)
			event.Denied = err
			event.Note("login", "asked")
		},
		OnRefresh: func(_ context.Context, r authn.Refresh) { a.observer.login("refresh", r.Err) },
	}
}

// clientScheme is what the client used, as a trusted proxy in front says.
func clientScheme(r *http.Request) string { return proxy.EventFrom(r.Context()).Scheme }

// assert returns what tells the route's upstream who is there. A failure to sign keeps the request from being
// sent.
func (a *assembler) assert(rt *configs.Route) (func(in *http.Request, out http.Header) error, error) {
	if a.assertion == nil || !a.cfg.Asserts(*rt) { // nobody comes in whom we vouch for
		return func(*http.Request, http.Header) error { return nil }, nil
	}
	assertion, err := a.assertion.Route(*rt.Assertion)
	if err != nil {
		return nil, err
	}
	return func(in *http.Request, out http.Header) error {
		id := identity.FromContext(in.Context())
		if id == nil {
			return nil
		}
		return assertion.Set(out, id, time.Now())
	}, nil
}

// fromUpstream keeps cookies that are ours from being set by an application. One that deletes them, as
// an application behind an ALB does to sign out, passes.
func (a *assembler) fromUpstream(in *http.Request, h http.Header) {
	if len(a.stickyNames) > 0 && len(headers.FilterSetCookie(h, a.stickyCookie, time.Now()).Dropped) > 0 {
		proxy.EventFrom(in.Context()).Note("cookie", "dropped")
	}
	if a.sessions == nil && a.challenger == nil {
		return
	}
	changes := headers.FilterSetCookie(h, a.privateCookie, time.Now())
	if len(changes.Dropped) > 0 {
		proxy.EventFrom(in.Context()).Note("cookie", "dropped")
	}
	if a.sessions != nil {
		a.deleted(in, changes.Expired)
	}
}

func limitVerdict(d ratelimit.Decision) string {
	switch {
	case d.Allowed:
		return "pass"
	case d.Challenged:
		return "challenge"
	case d.Blocked:
		return "block"
	default:
		return "count"
	}
}
