package upstream

import (
	"math"
	"slices"
	"sort"
	"time"
)

// member is an endpoint as one pool has it.
type member struct {
	*endpoint
	weight int // 1 or more
}

// A plan is how a pool spreads its requests at one moment. It never changes: the pool makes another one whenever
// something becomes known of an endpoint, and when its time is over. So a request looks at no endpoint that is not for it.
type plan struct {
	all    []member
	fit    []member // get requests
	rest   []member // are tried after those
	trials []member // of rest: get one request, to see whether they are well again
	// open: so few are well that all get requests, as if they were.
	open bool
	// until is when something changes by itself, in Unix nanoseconds.
	until int64

	// The turns: sums are the weights of fit up to and with each, nil if all are alike. step takes a counter all over
	// them, so that turns of the same endpoint are apart from each other.
	sums []uint64
	step uint64
}

// newPlan decides which of the members get requests, and how many each; slow is how long the share of a new one grows.
func newPlan(all []member, now time.Time, slow time.Duration, least minimum) *plan {
	pl := &plan{all: all, until: math.MaxInt64}
	at := now.UnixNano()
	for _, m := range all {
		avoid, unwell := m.avoidUntil.Load(), m.unwell.Load()
		switch {
		case avoid > at:
			pl.until = min(pl.until, avoid)
		case avoid != 0 && !unwell:
			pl.trials = append(pl.trials, m)
		}
		if avoid != 0 || unwell {
			pl.rest = append(pl.rest, m)
		} else {
			pl.fit = append(pl.fit, m)
		}
	}
	if len(pl.fit) < least.of(len(all)) {
		pl.fit, pl.rest, pl.open = slices.Clone(all), nil, true
	}
	if slow > 0 {
		pl.ramp(at, slow)
	}
	pl.weigh()
	return pl
}

// rampSteps is in how many steps a share grows.
const rampSteps = 100

// ramp gives those that are new less than their share, if there are others.
func (pl *plan) ramp(now int64, slow time.Duration) {
	young := make([]int64, len(pl.fit)) // for how long; 0 for those that are not new
	ramping := 0
	for i, m := range pl.fit {
		if since := m.newSince.Load(); since != 0 && now-since < int64(slow) {
			young[i] = max(now-since, 1)
			ramping++
		}
	}
	if ramping == 0 || ramping == len(pl.fit) {
		return
	}
	pl.until = min(pl.until, now+int64(slow)/rampSteps)
	for i := range pl.fit {
		steps := int64(rampSteps)
		if young[i] > 0 {
			steps = max(rampSteps*young[i]/int64(slow), 1)
		}
		pl.fit[i].weight *= int(steps)
	}
}

// weigh makes the turns.
func (pl *plan) weigh() {
	common, alike := uint64(0), true
	for _, m := range pl.fit {
		common = gcd(uint64(m.weight), common) //nolint:gosec // from 1 on
		alike = alike && m.weight == pl.fit[0].weight
	}
	if alike {
		return
	}
	pl.sums = make([]uint64, len(pl.fit))
	total := uint64(0)
	for i, m := range pl.fit {
		total += uint64(m.weight) / common //nolint:gosec // from 1 on
		pl.sums[i] = total
	}
	// Multiples of a number without a common divisor meet each number below total once. Those of one near the golden section
	// are spread most evenly over any range: every endpoint gets exactly its share of total turns, and none gets it in a row.
	golden := uint64(float64(total) * (math.Sqrt(5) - 1) / 2)
	for d := uint64(0); ; d++ {
		if gcd(golden+d, total) == 1 {
			pl.step = golden + d
			return
		}
		if d < golden && gcd(golden-d, total) == 1 {
			pl.step = golden - d
			return
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// turn is the place in fit of the endpoint whose turn is the nth.
func (pl *plan) turn(n uint64) int {
	if pl.sums == nil {
		return int(n % uint64(len(pl.fit))) //nolint:gosec // below the length
	}
	total := pl.sums[len(pl.sums)-1]
	at := n % total * pl.step % total
	return sort.Search(len(pl.sums), func(i int) bool { return at < pl.sums[i] })
}

// idlest is the place in fit of the endpoint with the fewest requests under way for its weight, the first of them from
// start on.
func (pl *plan) idlest(start int) int {
	best, load, weight := start, int64(math.MaxInt64), int64(1)
	for i := range pl.fit {
		at := (start + i) % len(pl.fit)
		n, w := pl.fit[at].outstanding.Load()+1, int64(pl.fit[at].weight)
		if load == math.MaxInt64 || n*weight < load*w {
			best, load, weight = at, n, w
		}
	}
	return best
}

// rotation is the order in which one request tries the endpoints: one that is to show whether it is well again, those that
// are fit from its turn on, those of the failover pool, if it is well, and else the others first. Each endpoint comes once.
type rotation struct {
	x     *exchange // whose request it is
	p     *Pool
	plan  *plan
	start int
	i     int
	then  *Pool // the failover pool; nil if there is none, or it has its turn
	full  bool  // one of those that are fit has no room: that is no reason to ask those that are not, or the failover pool

	trial    *endpoint // of home
	patience int64     // until when others wait for what becomes of it
	tried    bool
	home     *Pool
}

// endTrial lets another request try the endpoint out, if this one has. It may be called again.
func (r *rotation) endTrial() {
	if r.trial != nil {
		r.trial.trial.CompareAndSwap(r.patience, 0)
	}
}

// next returns an endpoint and its pool, and nil when every one has been tried.
func (r *rotation) next() (*endpoint, *Pool) {
	if r.trial != nil && !r.tried {
		r.tried = true
		return r.trial, r.home
	}
	for {
		i, n := r.i, len(r.plan.fit)
		r.i++
		var ep *endpoint
		switch {
		case i < n:
			ep = r.plan.fit[(r.start+i)%n].endpoint
		case r.full:
			return nil, nil
		case r.spare(): // rather than what is known to be unwell
			continue
		case i-n < len(r.plan.rest):
			ep = r.plan.rest[i-n].endpoint
		case r.then != nil:
			r.failover()
			continue
		default:
			return nil, nil
		}
		if ep != r.trial {
			return ep, r.p
		}
	}
}

// spare goes on with the failover pool if there is one that is well.
func (r *rotation) spare() bool {
	if r.then == nil || r.then.current(r.then.now()).open {
		return false
	}
	r.failover()
	return true
}

// failover goes on with the failover pool.
func (r *rotation) failover() {
	p := r.then
	r.p, r.then, r.plan, r.i = p, nil, p.current(p.now()), 0
	r.start = p.choose(r.plan, r.x)
}
