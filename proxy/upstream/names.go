package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How often a name is asked for again, whatever its TTL says.
const (
	minRefresh   = 5 * time.Second
	maxRefresh   = 5 * time.Minute
	retryRefresh = 5 * time.Second // after a failure
	lookupTime   = 15 * time.Second
)

// name is an endpoint of the configuration that stands for those which DNS says.
type name struct {
	spec         // what they have in common; dial has the port, "" for a service
	service bool // SRV
	text    string
}

// names follows the names of a pool. It is nil for a pool without any.
type names struct {
	all      []name
	fixed    []spec // the endpoints that are no names
	resolver *resolver
	least    time.Duration // between two questions
	retry    time.Duration // after a failure

	mu     sync.Mutex // orders changes of the pool's endpoints
	last   [][]spec   // what each stands for; kept while it cannot be asked for
	asked  []bool     // it has been asked for
	done   chan struct{}
	closed bool // done is
	stop   context.CancelFunc
}

// parseName reads "dns://app.internal:8080", "srv://_http._tcp.app.internal", and both with "+https" in their scheme. ok is
// false for an endpoint that is no name.
func parseName(s string) (n name, ok bool, err error) {
	at, options, _ := strings.Cut(s, " ")
	scheme, rest, _ := strings.Cut(at, "://")
	kind, over, _ := strings.Cut(scheme, "+")
	if kind != "dns" && kind != "srv" {
		return n, false, nil
	}
	if over == "" {
		over = "http"
	}
	if over != "http" && over != "https" {
		return n, true, fmt.Errorf("unsupported scheme %q (want %s, %s+http or %s+https)", scheme, kind, kind, kind)
	}
	n.text = at
	if n.service = kind == "srv"; !n.service {
		if n.spec, err = parseSpec(over + "://" + strings.TrimSpace(rest+" "+options)); err == nil && net.ParseIP(n.spec.name) != nil {
			err = errors.New("want a name, which is asked for again, got an address")
		}
		return n, true, err
	}
	u, uerr := url.Parse(over + "://" + rest)
	if uerr != nil || u.Port() != "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" ||
		!validHost(u.Host) || !strings.Contains(u.Hostname(), ".") {
		return n, true, fmt.Errorf(`want "srv://_http._tcp.app.internal", whose records have the ports, got %q`, at)
	}
	if options != "" {
		return n, true, errors.New("want no weight: the records have them")
	}
	n.spec = spec{address: address{scheme: over, network: "tcp", dial: at, host: u.Hostname(), name: u.Hostname()}, weight: 1}
	return n, true, nil
}

// parseSource reads an endpoint that is a name, or one that is not.
func parseSource(s string) (spec, error) {
	if n, ok, err := parseName(s); ok {
		return n.spec, err
	}
	return parseSpec(s)
}

// wait blocks until every name has been asked for once, or the time is over.
func (n *names) wait(ctx context.Context, timeout time.Duration) {
	select {
	case <-n.done:
		return
	default:
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-n.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// startLocked begins to follow the names of p, until halt.
func (n *names) startLocked(p *Pool) {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	for i := range n.all {
		p.checking.Go(func() { n.follow(ctx, p, i) })
	}
}

// follow asks for a name whenever its records have run out.
func (n *names) follow(ctx context.Context, p *Pool, i int) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	well := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		lookup, cancel := context.WithTimeout(ctx, lookupTime)
		found, ttl, err := n.lookup(lookup, n.all[i])
		cancel()
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errNoName) {
			found = nil // that is an answer
		}
		if err == nil || errors.Is(err, errNoName) {
			n.know(p, i, found)
			ttl = min(max(ttl, n.least), maxRefresh)
		} else {
			n.know(p, i, n.last[i]) // what was known holds
			ttl = n.retry
		}
		if is := err == nil; is != well && p.changed != nil {
			h := Health{Upstream: p.name, Address: n.all[i].text, Well: is}
			if err != nil {
				h.Reason = err.Error()
			}
			p.changed(h)
			well = is
		}
		timer.Reset(ttl - rand.N(ttl/10+1)) // before the TTL is over, and not with everybody else
	}
}

// know gives the pool the endpoints that a name stands for.
func (n *names) know(p *Pool, i int, found []spec) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.asked[i] || !slices.Equal(n.last[i], found) {
		n.last[i], n.asked[i] = found, true
		p.replace(n.wantedLocked())
	}
	if !n.closed && !slices.Contains(n.asked, false) {
		n.closed = true
		close(n.done)
	}
}

// wantedLocked is the endpoints that all of them stand for, each once.
func (n *names) wantedLocked() []spec {
	want := slices.Clone(n.fixed)
	seen := make(map[string]bool, len(want))
	for _, s := range want {
		seen[s.dial] = true
	}
	for _, list := range n.last {
		for _, s := range list {
			if !seen[s.dial] {
				seen[s.dial] = true
				want = append(want, s)
			}
		}
	}
	return want
}

func (n *names) lookup(ctx context.Context, of name) (found []spec, ttl time.Duration, err error) {
	if of.service {
		targets, ttl, err := n.resolver.service(ctx, of.name)
		for _, t := range targets {
			port := strconv.Itoa(int(t.port))
			for _, a := range t.addrs {
				s := of.spec
				s.dial, s.name, s.host, s.weight = net.JoinHostPort(a.String(), port), t.name, net.JoinHostPort(t.name, port), t.weight
				found = append(found, s)
			}
		}
		return found[:min(len(found), maxRecords)], ttl, err
	}
	addrs, ttl, err := n.resolver.addresses(ctx, of.name)
	_, port, _ := net.SplitHostPort(of.dial)
	for _, a := range addrs {
		s := of.spec
		s.dial = net.JoinHostPort(a.String(), port)
		found = append(found, s)
	}
	return found[:min(len(found), maxRecords)], ttl, err
}

// inheritFrom takes over what the names of prev stand for, so that a reload forgets nobody.
func (n *names) inheritFrom(p *Pool, prev *names) {
	prev.mu.Lock()
	defer prev.mu.Unlock()
	for i := range n.all {
		for j := range prev.all {
			if prev.asked[j] && n.all[i].spec == prev.all[j].spec && n.all[i].service == prev.all[j].service {
				n.know(p, i, prev.last[j])
			}
		}
	}
}
