package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is one named upstream: its endpoints and their idle connections. It outlives a reload; handlers are made of it
// per route. It is safe for concurrent use. Close it when nothing uses it any more.
type Pool struct {
	name            string
	connectTimeout  time.Duration
	responseTimeout time.Duration
	idleTimeout     time.Duration
	maxIdle         int
	preserveHost    bool
	via             bool
	http2           bool
	now             func() time.Time // for what is kept between requests: idle connections, avoided endpoints

	least  bool          // choose the endpoint with the fewest requests under way
	hash   *hashKey      // choose by this; nil if not
	checks *checker      // nil without health checks
	slow   time.Duration // how long the share of a new endpoint grows; 0 if it does not
	tls    *tls.Config   // of https endpoints, but for the name

	minimum minimum // endpoints that must be well for the others to be left out
	passive passive
	retries *retries
	circuit *circuit // nil without bounds
	stats   *stats

	names *names // nil without endpoints that are names

	turn   atomic.Uint64
	others atomic.Uint64 // requests without a turn
	plan   atomic.Pointer[plan]
	closed atomic.Bool

	mu       sync.Mutex
	delay    time.Duration // how long requests at an endpoint that goes may last
	members  []member      // never changed in place: plans have it
	changed  func(Health)
	kept     map[*endpoint]bool // have gone to the pool that succeeds this one
	running  bool               // Start has been called, and neither Retire nor Close since
	watchers map[*endpoint]context.CancelFunc
	checking sync.WaitGroup

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
		http2:        cfg.Protocol == HTTP2,
		least:        cfg.Balance == LeastOutstanding,
		now:          now,
		watchers:     map[*endpoint]context.CancelFunc{},
		retries:      newRetries(cfg.Retry),
		circuit:      newCircuit(cfg.Circuit),
		stats:        &stats{},
	}
	if p.maxIdle == 0 {
		p.maxIdle = defaultMaxIdle
	}
	var err [8]error
	p.connectTimeout, err[0] = parseTimeout(cfg.ConnectTimeout, defaultConnectTimeout)
	p.responseTimeout, err[1] = parseTimeout(cfg.ResponseTimeout, defaultResponseTimeout)
	p.idleTimeout, err[2] = parseTimeout(cfg.IdleTimeout, defaultIdleTimeout)
	p.tls, err[3] = cfg.TLS.config()
	p.slow, err[4] = parseSpan(cfg.SlowStart, 0, minSlowStart, maxSlowStart)
	p.delay, err[5] = parseSpan(cfg.DeregistrationDelay, defaultDelay, 0, maxDelay)
	p.minimum, err[6] = parseMinimum(cfg.MinHealthy)
	p.passive, err[7] = newPassive(cfg.Passive)
	if err := errors.Join(err[:]...); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	if cfg.Balance == Hash {
		var err error
		if p.hash, err = parseHash(cfg.Hash); err != nil {
			return nil, fmt.Errorf("upstream %s: hash: %w", name, err)
		}
	}
	if p.http2 {
		p.tls.NextProtos = []string{"h2"}
	}
	if cfg.Health != nil {
		var err error
		if p.checks, err = newChecker(*cfg.Health); err != nil {
			return nil, fmt.Errorf("upstream %s: health: %w", name, err)
		}
	}
	if err := p.begin(cfg.Endpoints); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	return p, nil
}

// begin gives the pool its endpoints, but for those that names stand for.
func (p *Pool) begin(endpoints []string) error {
	n := &names{resolver: &resolver{config: "/etc/resolv.conf", port: "53"}, least: minRefresh, retry: retryRefresh, done: make(chan struct{})}
	for _, s := range endpoints {
		of, ok, err := parseName(s)
		if !ok {
			of.spec, err = parseSpec(s)
		}
		if err != nil {
			return err
		}
		of.http2 = p.http2
		if !ok {
			n.fixed = append(n.fixed, of.spec)
			continue
		}
		n.all = append(n.all, of)
	}
	p.replace(n.fixed)
	if len(n.all) > 0 {
		n.last, n.asked = make([][]spec, len(n.all)), make([]bool, len(n.all))
		p.names = n
	}
	return nil
}

// Name is the name that the pool was made with.
func (p *Pool) Name() string { return p.name }

// Close closes the idle connections and refuses new requests with 503. Exchanges that are under way end by
// themselves, health checks are over when it returns. It may be called again.
func (p *Pool) Close() error {
	p.mu.Lock()
	closed := p.closed.Swap(true)
	p.mu.Unlock()
	p.halt()
	if closed {
		return nil
	}
	for _, m := range p.plan.Load().all {
		m.release()
	}
	return nil
}

// rotation is the order in which the request of x tries the endpoints, of p and of the pool to fail over to, which may be nil.
// It has none if there are none.
func (p *Pool) rotation(now time.Time, failover *Pool, x *exchange) rotation {
	r := rotation{x: x, p: p, home: p, plan: p.current(now), then: failover}
	away := failover != nil && r.plan.open && !failover.current(now).open
	if len(r.plan.trials) > 0 && (away || !r.plan.open) {
		r.trial, r.patience = r.plan.pickTrial(now, p.connectTimeout+p.responseTimeout, x != nil && x.bound != 0)
	}
	if away {
		r.failover()
		return r
	}
	r.start = p.choose(r.plan, x)
	return r
}

// pickTrial is an endpoint that no request is trying out yet; nil if there is none. Other requests wait for what becomes of it until
// a time, and no longer: a client may take as long as it likes to send its body. A client that is bound elsewhere is not taken
// for that before none else has come for maxEject: it would lose what the application knows of it.
func (pl *plan) pickTrial(now time.Time, patience time.Duration, bound bool) (ep *endpoint, until int64) {
	for _, m := range pl.trials {
		if bound && now.UnixNano()-m.avoidUntil.Load() < int64(maxEject) {
			continue
		}
		before := m.trial.Load()
		if until := now.Add(patience).UnixNano(); before <= now.UnixNano() && m.trial.CompareAndSwap(before, until) {
			return m.endpoint, until
		}
	}
	return nil, 0
}

// choose counts a request and returns its place in the plan's fit. One that has its place by who asks takes nobody's turn.
func (p *Pool) choose(pl *plan, x *exchange) int {
	if at, ok := p.placed(pl, x); ok {
		p.others.Add(1)
		return at
	}
	turn := p.turn.Add(1) - 1
	if len(pl.fit) < 2 {
		return 0
	}
	start := pl.turn(turn)
	if p.least {
		return pl.idlest(start)
	}
	return start
}

// placed is the place of a request whose client is bound, or that has a key; false for others.
func (p *Pool) placed(pl *plan, x *exchange) (at int, ok bool) {
	if x == nil || len(pl.fit) == 0 {
		return 0, false
	}
	if x.bound != 0 {
		for i, m := range pl.fit {
			if m.hash == x.bound {
				return i, true
			}
		}
		p.stats.rebound.Add(1)
	}
	if p.hash != nil {
		if key, ok := p.hash.of(x); ok {
			return pl.hashed(key), true
		}
	}
	return 0, false
}

// current is the plan that holds now.
func (p *Pool) current(now time.Time) *plan {
	pl := p.plan.Load()
	if now.UnixNano() >= pl.until {
		return p.overdue(now)
	}
	return pl
}

// overdue makes the plan again. Requests that come at the same time go by the old one.
func (p *Pool) overdue(now time.Time) *plan {
	if !p.mu.TryLock() {
		return p.plan.Load()
	}
	defer p.mu.Unlock()
	return p.planLocked(now)
}

// replan makes the plan again because something has become known of an endpoint.
func (p *Pool) replan() {
	p.mu.Lock()
	p.planLocked(p.now())
	p.mu.Unlock()
}

func (p *Pool) planLocked(now time.Time) *plan {
	pl := newPlan(p.members, now, p.slow, p.minimum)
	p.plan.Store(pl)
	return pl
}
