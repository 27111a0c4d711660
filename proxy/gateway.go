package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// Options is what a Generation needs beside its routes. Every field may be left out.
type Options struct {
	// Observe gets each request's Event once, on the request's goroutine, when its answer is complete.
	Observe func(*Event)
	// TrustedProxies are the networks whose X-Forwarded-For and X-Forwarded-Proto are believed. None by default.
	TrustedProxies []netip.Prefix
	// StripHeaders deletes request headers that only the gateway may set. It runs on every admitted request before its route
	// is known, and on trailers.
	StripHeaders func(http.Header)
	// Connection decides whether a connection may carry a request for a host, lower case and without port; "" where the request
	// names none. It is asked about every admitted request before its route is known, and returns what is known of the client's
	// certificate, or nil. conn is nil without TLS. Default: every connection may, as long as the host is the one that it was
	// opened for.
	Connection func(conn *tls.ConnectionState, host string) (*CertificateRecord, error)
	// OwnCookie reports the cookies that belong to the gateway. Admission takes them out; see OwnCookies.
	OwnCookie func(name string) bool
	// PublicCookie reports those of them that tell nothing of anybody: an answer that sets one may be stored all the same. Nil is
	// none.
	PublicCookie func(name string) bool
	// Violation returns the reason why r stands for a byte stream that was refused before it became a request, or nil.
	Violation func(r *http.Request) error
	// Response and ResponseLines are those of a Route, for answers that belong to none.
	Response      func(h http.Header)
	ResponseLines func(h http.Header) []byte
	// Page is how refusals look in a browser.
	Page Page
}

// A Generation is one assembled configuration: the route table with its chains. It is immutable and safe for concurrent use.
type Generation struct {
	id    string
	table *table
	opts  Options

	// state counts the requests inside and has the retired bit once a Swap replaced the generation.
	state atomic.Int64
	once  sync.Once
	done  chan struct{}
}

// retired is the bit of Generation.state that says that no new request may enter.
const retired = 1 << 62

// NewGeneration compiles routes. Its error joins everything that is wrong: invalid routes, names used twice, and pairs of
// routes that match the same requests.
func NewGeneration(id string, routes []Route, opts Options) (*Generation, error) {
	var problems []error
	names := map[string]bool{}
	compiled := make([]*compiledRoute, 0, len(routes))
	for i, rt := range routes {
		label := fmt.Sprintf("route %q", rt.Name)
		switch {
		case rt.Name == "":
			label = fmt.Sprintf("routes[%d]", i)
			problems = append(problems, fmt.Errorf("%s: want a name", label))
		case names[rt.Name]:
			problems = append(problems, fmt.Errorf("%s: name is used by two routes", label))
		}
		names[rt.Name] = true
		if rt.Handler == nil {
			problems = append(problems, fmt.Errorf("%s: want a handler", label))
		}
		if rt.MaxBody < 0 {
			problems = append(problems, fmt.Errorf("%s: max body: want 0 or more bytes, got %d", label, rt.MaxBody))
		}
		if rt.Priority < 0 {
			problems = append(problems, fmt.Errorf("%s: priority: want a number above 0, or none, got %d", label, rt.Priority))
		}
		rt.Match.Validate(func(field, msg string) {
			problems = append(problems, fmt.Errorf("%s: %s: %s", label, field, msg))
		})
		compiled = append(compiled, compile(rt))
	}
	t, err := newTable(compiled)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, fmt.Errorf("generation %s: %w", id, err)
	}
	opts.TrustedProxies = unmapPrefixes(opts.TrustedProxies)
	return &Generation{id: id, table: t, opts: opts, done: make(chan struct{})}, nil
}

// compile builds the route's chain.
func compile(rt Route) *compiledRoute {
	if rt.MaxBody == 0 {
		rt.MaxBody = DefaultMaxBody
	}
	chain := rt.Handler
	for i := len(rt.Guards) - 1; i >= 0; i-- {
		chain = rt.Guards[i](chain)
	}
	return &compiledRoute{Route: rt, admits: rt.Admit.findings(), chain: chain}
}

// ID returns the generation's id.
func (g *Generation) ID() string { return g.id }

// Done returns a channel that is closed when another generation has taken over and the last request that entered with g has
// left, upgraded connections included. What only g used may be closed then.
func (g *Generation) Done() <-chan struct{} { return g.done }

// RouteOf returns the name of the route that takes requests with this method, host and escaped path, and without headers, query
// and address, or why none does. It runs nothing.
func (g *Generation) RouteOf(method, host, path string) (string, error) {
	canonical, err := canonicalPath(path)
	if err != nil {
		return "", err
	}
	rt, err := g.table.admitPath(&lookup{host: strings.ToLower(host), method: method}, canonical)
	if err != nil {
		return "", err
	}
	return rt.Name, nil
}

// enter counts a request in and reports false if g is retired.
func (g *Generation) enter() bool {
	if g.state.Add(1)&retired == 0 {
		return true
	}
	g.leave()
	return false
}

// leave counts a request out.
func (g *Generation) leave() {
	if g.state.Add(-1) == retired {
		g.finish()
	}
}

// retire lets no new request in.
func (g *Generation) retire() {
	if g.state.Or(retired) == 0 {
		g.finish()
	}
}

// finish closes done. A request that finds g retired counts itself in and out, so the count may reach zero again.
func (g *Generation) finish() { g.once.Do(func() { close(g.done) }) }

// A Gateway serves requests with the current Generation. The zero Gateway answers 503 until the first Swap.
type Gateway struct {
	current atomic.Pointer[Generation]
}

// Swap makes next current and returns the generation before it, or nil. It never waits: requests finish with the generation
// they entered with, see Generation.Done. A generation can be current once; Swap panics if next was replaced before.
func (g *Gateway) Swap(next *Generation) (previous *Generation) {
	if next.state.Load()&retired != 0 {
		panic(fmt.Sprintf("proxy: generation %s was replaced before and cannot be current again", next.id))
	}
	previous = g.current.Swap(next)
	if previous != nil && previous != next {
		previous.retire()
	}
	return previous
}

// Current returns the current generation, or nil before the first Swap.
func (g *Gateway) Current() *Generation { return g.current.Load() }

// ServeHTTP runs a request through the generation that is current now, to its end. A handler that takes over the connection
// must not return before it is done with it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gen := g.acquire()
	if gen == nil {
		Deny(w, r, errNoGeneration)
		return
	}
	defer gen.leave()
	gen.serve(w, r)
}

// acquire enters the current generation, or returns nil if there is none. It tries again only if a Swap came between.
func (g *Gateway) acquire() *Generation {
	for {
		gen := g.current.Load()
		if gen == nil || gen.enter() {
			return gen
		}
	}
}

// serve admits a request, finds its route and runs the chain.
func (g *Generation) serve(w http.ResponseWriter, r *http.Request) {
	x := newExchange(g, w, r)
	r = r.WithContext(x)
	defer x.finish(r)
	rt, err := x.admit(r)
	if err != nil {
		x.event.Note("admission", reasonOf(err))
		Deny(&x.rec, r, err)
		return
	}
	if rt == nil { // answered by admission itself
		return
	}
	rt.chain.ServeHTTP(&x.rec, r)
}

// reasonOf returns the label of an admission error.
func reasonOf(err error) string {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.reason
	}
	if errors.As(err, new(connectionError)) {
		return "connection"
	}
	return "violation"
}
