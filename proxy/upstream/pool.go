package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// avoidFor is how long an endpoint that could not be connected to is tried last.
const avoidFor = 5 * time.Second

// Pool is one named upstream: its endpoints and their idle connections. It outlives a reload; handlers are made of it
// per route. It is safe for concurrent use. Close it when nothing uses it any more.
type Pool struct {
	name            string
	endpoints       []*endpoint
	connectTimeout  time.Duration
	responseTimeout time.Duration
	idleTimeout     time.Duration
	maxIdle         int
	preserveHost    bool
	via             bool
	now             func() time.Time // for what is kept between requests: idle connections, avoided endpoints

	least  bool     // choose the endpoint with the fewest requests under way
	checks *checker // nil without health checks

	turn      atomic.Uint64
	closed    atomic.Bool
	mu        sync.Mutex         // guards stop
	stop      context.CancelFunc // ends the checks; nil while there are none
	checking  sync.WaitGroup
	exchanges sync.Pool // *exchange
	big       sync.Pool // *[]byte of bigBuffer
}

// NewPool compiles cfg. It opens no connection. Its error joins everything that Validate reports.
func NewPool(name string, cfg Config) (*Pool, error) {
	return newPool(name, cfg, time.Now)
}

func newPool(name string, cfg Config, now func() time.Time) (*Pool, error) {
	var errs []error
	cfg.Validate(func(field, msg string) { errs = append(errs, fmt.Errorf("upstream %s: %s: %s", name, field, msg)) })
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p := &Pool{
		name:         name,
		maxIdle:      cfg.MaxIdle,
		preserveHost: cfg.PreserveHost == nil || *cfg.PreserveHost,
		via:          cfg.Via == nil || *cfg.Via,
		least:        cfg.Balance == LeastOutstanding,
		now:          now,
	}
	if p.maxIdle == 0 {
		p.maxIdle = defaultMaxIdle
	}
	var err [4]error
	var tc *tls.Config
	p.connectTimeout, err[0] = parseTimeout(cfg.ConnectTimeout, defaultConnectTimeout)
	p.responseTimeout, err[1] = parseTimeout(cfg.ResponseTimeout, defaultResponseTimeout)
	p.idleTimeout, err[2] = parseTimeout(cfg.IdleTimeout, defaultIdleTimeout)
	tc, err[3] = cfg.TLS.config()
	if err := errors.Join(err[:]...); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	if cfg.Health != nil {
		var err error
		if p.checks, err = newChecker(*cfg.Health); err != nil {
			return nil, fmt.Errorf("upstream %s: health: %w", name, err)
		}
	}
	for _, s := range cfg.Endpoints {
		a, err := parseEndpoint(s)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", name, err)
		}
		p.endpoints = append(p.endpoints, newEndpoint(a, tc))
	}
	return p, nil
}

func newEndpoint(a address, tc *tls.Config) *endpoint {
	ep := &endpoint{addr: a, name: a.String()}
	if a.scheme == "https" {
		ep.tls = tc.Clone()
		ep.tls.ClientSessionCache = tls.NewLRUClientSessionCache(32)
		if ep.tls.ServerName == "" {
			ep.tls.ServerName = strings.TrimSuffix(a.name, ".")
		}
	}
	return ep
}

// Name is the name that the pool was made with.
func (p *Pool) Name() string { return p.name }

// Close closes the idle connections and refuses new requests with 503. Exchanges that are under way end by
// themselves, health checks are over when it returns. It may be called again.
func (p *Pool) Close() error {
	p.closed.Store(true)
	p.mu.Lock()
	if p.stop != nil {
		p.stop()
	}
	p.mu.Unlock()
	p.checking.Wait()
	for _, ep := range p.endpoints {
		ep.shut()
	}
	return nil
}

// rotation is the order in which one request tries the endpoints: from its turn on, those that are not avoided
// first. Each endpoint comes once.
type rotation struct {
	p     *Pool
	now   time.Time
	start int
	i     int
	late  []*endpoint // avoided ones, kept for the end
}

func (p *Pool) rotation(now time.Time) rotation {
	r := rotation{p: p, now: now}
	if n := len(p.endpoints); n > 1 {
		r.start = int((p.turn.Add(1) - 1) % uint64(n)) //nolint:gosec // below n
		if p.least {
			r.start = p.idlest(r.start, now)
		}
	}
	return r
}

// idlest is the endpoint with the fewest requests under way, the first of them from start on; start if all are avoided.
func (p *Pool) idlest(start int, now time.Time) int {
	best, least := start, int64(math.MaxInt64)
	for i := range p.endpoints {
		at := (start + i) % len(p.endpoints)
		ep := p.endpoints[at]
		if n := ep.outstanding.Load(); n < least && !ep.avoided(now) {
			best, least = at, n
		}
	}
	return best
}

// next returns nil when every endpoint has been tried.
func (r *rotation) next() *endpoint {
	n := len(r.p.endpoints)
	for r.i < n {
		ep := r.p.endpoints[(r.start+r.i)%n]
		r.i++
		if n == 1 || !ep.avoided(r.now) {
			return ep
		}
		r.late = append(r.late, ep)
	}
	if len(r.late) == 0 {
		return nil
	}
	ep := r.late[0]
	r.late = r.late[1:]
	return ep
}
