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

// avoidFor is how long an endpoint that could not be connected to is tried last.
const avoidFor = 5 * time.Second

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
	now             func() time.Time // for what is kept between requests: idle connections, avoided endpoints

	least  bool          // choose the endpoint with the fewest requests under way
	checks *checker      // nil without health checks
	delay  time.Duration // how long requests at an endpoint that goes may last
	slow   time.Duration // how long the share of a new endpoint grows; 0 if it does not
	tls    *tls.Config   // of https endpoints, but for the name

	turn   atomic.Uint64
	plan   atomic.Pointer[plan]
	closed atomic.Bool

	mu       sync.Mutex
	members  []member // never changed in place: plans have it
	changed  func(Health)
	running  bool // Start has been called, and none of Succeed, Retire and Close since
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
		least:        cfg.Balance == LeastOutstanding,
		now:          now,
		watchers:     map[*endpoint]context.CancelFunc{},
	}
	if p.maxIdle == 0 {
		p.maxIdle = defaultMaxIdle
	}
	var err [6]error
	p.connectTimeout, err[0] = parseTimeout(cfg.ConnectTimeout, defaultConnectTimeout)
	p.responseTimeout, err[1] = parseTimeout(cfg.ResponseTimeout, defaultResponseTimeout)
	p.idleTimeout, err[2] = parseTimeout(cfg.IdleTimeout, defaultIdleTimeout)
	p.tls, err[3] = cfg.TLS.config()
	p.slow, err[4] = parseSpan(cfg.SlowStart, 0, minSlowStart, maxSlowStart)
	p.delay, err[5] = parseSpan(cfg.DeregistrationDelay, defaultDelay, 0, maxDelay)
	if err := errors.Join(err[:]...); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	if cfg.Health != nil {
		var err error
		if p.checks, err = newChecker(*cfg.Health); err != nil {
			return nil, fmt.Errorf("upstream %s: health: %w", name, err)
		}
	}
	specs := make([]spec, 0, len(cfg.Endpoints))
	for _, s := range cfg.Endpoints {
		sp, err := parseSpec(s)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", name, err)
		}
		specs = append(specs, sp)
	}
	p.replace(specs)
	return p, nil
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

// rotation is the order in which a request that comes now tries the endpoints. It has none for a pool without any.
func (p *Pool) rotation(now time.Time) rotation {
	pl := p.plan.Load()
	if now.UnixNano() >= pl.until {
		pl = p.overdue(now)
	}
	r := rotation{plan: pl}
	turn := p.turn.Add(1) - 1
	if len(pl.fit) > 1 {
		r.start = pl.turn(turn)
		if p.least {
			r.start = pl.idlest(r.start)
		}
	}
	return r
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
	pl := newPlan(p.members, now, p.slow)
	p.plan.Store(pl)
	return pl
}

// avoid prefers other endpoints to ep until the given time; the zero time takes that back.
func (p *Pool) avoid(ep *endpoint, until time.Time) {
	if ep.avoid(until) {
		p.replan()
	}
}
