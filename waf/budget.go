package waf

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// BudgetConfig bounds what all engines of a process do together. The zero value has the defaults.
type BudgetConfig struct {
	// Client is how much of a core may be busy with the requests of one client in the long run, in percent; default
	// 25. A client is an IPv4 address or the /64 of an IPv6 address. One that goes over it gets 429.
	Client int `yaml:"client"`
	// Burst is how long a core may be busy with the requests of a client that has been quiet; default "2s".
	Burst string `yaml:"burst"`
	// Concurrent is how many requests are inspected at once, of clients that have asked for little and as many of those
	// that have asked for much; default as many as there are cores. The others wait.
	Concurrent int `yaml:"concurrent"`
	// Wait is how long they wait at the most before they get 503; default "1s".
	Wait string `yaml:"wait"`
	// Memory is how much of request bodies is held at once, for inspection and until the application has read it;
	// default "256MiB". A client may have a quarter of it. What goes over it gets 503.
	Memory string `yaml:"memory"`
}

const (
	// A page of fifty small requests costs a core some 5 ms: a quarter of a core is fifty such pages a second, from
	// one address.
	defaultClientShare = 25
	maxClientShare     = 100_000
	defaultClientBurst = 2 * time.Second
	maxConcurrent      = 1024
	defaultWait        = time.Second
	maxWait            = 30 * time.Second
	defaultMemory      = 256 << 20
	minMemory          = 1 << 20
	maxMemory          = 1 << 40

	// clientTurns and allTurns are how many requests may wait or be inspected, of one client and in all, for each one
	// that is inspected at once. A page may send a hundred requests at once over HTTP/2, which take some 100 µs each;
	// of those that take the longest, 40 ms, the wait ends most.
	clientTurns = 64
	allTurns    = 256
	// clientMemory is the part of the memory that a client may have.
	clientMemory = 4
	// maxClients bounds the table at about 4 MB.
	maxClients    = 32 << 10
	clientShards  = 16
	clientSample  = 16
	clientNetwork = 64 // RFC 6177: what one customer has at least
	// requestWork is what any request costs beside what the meter counts.
	requestWork = 50_000
	// busyRetry is when to try again where that is not known.
	busyRetry = time.Second
)

// Validate reports everything that is wrong with c.
func (c BudgetConfig) Validate(report func(field, msg string)) {
	if c.Client < 0 || c.Client > maxClientShare {
		report("client", fmt.Sprintf("%d is out of range (want 1 to %d percent of a core)", c.Client, maxClientShare))
	}
	if _, err := parseSpan(c.Burst, defaultClientBurst, 100*time.Millisecond, time.Hour); err != nil {
		report("burst", err.Error())
	}
	if c.Concurrent < 0 || c.Concurrent > maxConcurrent {
		report("concurrent", fmt.Sprintf("%d is out of range (want 1 to %d)", c.Concurrent, maxConcurrent))
	}
	if _, err := parseSpan(c.Wait, defaultWait, time.Millisecond, maxWait); err != nil {
		report("wait", err.Error())
	}
	if _, err := parseMemory(c.Memory); err != nil {
		report("memory", err.Error())
	}
}

// parseSpan reads a time between two others; def is that of the empty text.
func parseSpan(s string, def, low, high time.Duration) (time.Duration, error) {
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time (want one such as %s)", s, def)
	}
	if d < low || d > high {
		return 0, fmt.Errorf("%q is out of range (want %s to %s)", s, low, high)
	}
	return d, nil
}

func parseMemory(s string) (int64, error) {
	if s == "" {
		return defaultMemory, nil
	}
	n, err := parseSize(s)
	if err == nil && (n < minMemory || n > maxMemory) {
		err = fmt.Errorf("%q is out of range (want 1MiB to 1024GiB)", s)
	}
	return n, err
}

// A Budget is what engines share: turns, the memory of bodies, and what each client has had. It holds at most 32,768
// clients, starts no goroutine, and is safe for concurrent use.
type Budget struct {
	share   float64       // of a core, for each client
	window  time.Duration // in which a burst comes back
	wait    time.Duration
	lanes   [2]lane      // of light clients, and of the others
	places  int          // in each lane
	memory  atomic.Int64 // left
	most    int64        // memory of one client
	begun   time.Time
	now     func() time.Time
	seed    maphash.Seed
	clients [clientShards]clientShard
}

// NewBudget returns a budget of which nothing is used. The error names what is wrong with c.
func NewBudget(c BudgetConfig) (*Budget, error) {
	var wrong error
	c.Validate(func(field, msg string) { wrong = cmp.Or(wrong, fmt.Errorf("waf budget: %s: %s", field, msg)) })
	if wrong != nil {
		return nil, wrong
	}
	burst, _ := parseSpan(c.Burst, defaultClientBurst, 0, maxWait*1000) // Validate has seen them
	wait, _ := parseSpan(c.Wait, defaultWait, 0, maxWait)
	memory, _ := parseMemory(c.Memory)
	b := &Budget{
		share:  float64(cmp.Or(c.Client, defaultClientShare)) / 100,
		wait:   wait,
		places: cmp.Or(c.Concurrent, runtime.GOMAXPROCS(0)),
		most:   memory / clientMemory,
		now:    time.Now,
		seed:   maphash.MakeSeed(),
	}
	for i := range b.lanes {
		b.lanes[i].turns = make(chan struct{}, b.places)
	}
	b.window = time.Duration(float64(burst) / b.share)
	b.begun = b.now()
	b.memory.Store(memory)
	for i := range b.clients {
		b.clients[i].index = map[netip.Addr]*client{}
	}
	return b, nil
}

// A lane has places for those that are inspected at once. Clients that have asked for little do not wait for the ones
// that have asked for much.
type lane struct {
	turns  chan struct{}
	queued atomic.Int64
}

// What a client may have asked for and still be light: this part of its burst, and so many requests at once.
const (
	lightBurst = 8
	lightTurns = 4
)

// A clientShard is a part of the clients.
type clientShard struct {
	mu    sync.Mutex
	index map[netip.Addr]*client
	_     [64]byte
}

// A client is what one has had, guarded by its shard's lock.
type client struct {
	full  time.Duration // since the budget began: when its bucket will be full again
	turns int           // requests that wait or are inspected
	held  int64         // bytes of bodies
}

// clientOf is the network whose requests are counted together. Requests without an address are one client.
func clientOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if addr.Is6() {
		if prefix, err := addr.WithZone("").Prefix(clientNetwork); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

func (b *Budget) shard(key netip.Addr) *clientShard {
	return &b.clients[maphash.Comparable(b.seed, key)%clientShards]
}

// ofLocked returns the client of a key, and forgets another one if there are too many: of a sample the one that has had
// least, and none that is being served. The caller holds the lock.
func (s *clientShard) ofLocked(key netip.Addr) *client {
	c := s.index[key]
	if c != nil {
		return c
	}
	if len(s.index) >= maxClients/clientShards {
		var least *client
		var leastKey netip.Addr
		seen := 0
		for k, other := range s.index { // in no order
			if other.turns == 0 && other.held == 0 && (least == nil || other.full < least.full) {
				least, leastKey = other, k
			}
			if seen++; seen == clientSample && least != nil {
				break
			}
		}
		if least != nil {
			delete(s.index, leastKey)
		}
	}
	c = &client{}
	s.index[key] = c
	return c
}

// A turn is one request's part of a budget. The zero turn has no limits.
type turn struct {
	budget  *Budget
	key     netip.Addr
	lane    *lane
	entered bool
	counted bool // among the client's that wait or are inspected
	holds   bool // a place in the lane
}

// enter lets a client in, or says which limit it is over.
func (b *Budget) enter(addr netip.Addr) (turn, *Limited) {
	if b == nil {
		return turn{}, nil
	}
	key := clientOf(addr)
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := b.now().Sub(b.begun) // under the lock, so that no other request has been charged at a later time
	c := s.ofLocked(key)
	if limited := b.over(c, now); limited != nil {
		return turn{}, limited
	}
	if c.turns >= clientTurns*b.places {
		return turn{}, busy()
	}
	c.turns++
	l := &b.lanes[0]
	if c.full-now > b.window/lightBurst || c.turns > lightTurns {
		l = &b.lanes[1]
	}
	return turn{budget: b, key: key, lane: l, entered: true, counted: true}, nil
}

// over is the refusal of a client that has had more work done than it may; nil if it has not.
func (b *Budget) over(c *client, now time.Duration) *Limited {
	if over := c.full - now - b.window; over > 0 {
		return &Limited{Limit: LimitClient, Status: http.StatusTooManyRequests, RetryAfter: over}
	}
	return nil
}

// busy is the refusal of a request for which there is no place.
func busy() *Limited {
	return &Limited{Limit: LimitBusy, Status: http.StatusServiceUnavailable, RetryAfter: busyRetry}
}

// count counts the request among its client's again, or says that they are too many.
func (t *turn) count() *Limited {
	if t.counted {
		return nil
	}
	s := t.budget.shard(t.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.ofLocked(t.key)
	if c.turns >= clientTurns*t.budget.places {
		return busy()
	}
	c.turns++
	t.counted = true
	return nil
}

// begin waits for a place among those that are inspected at once. The error is a *Limited, or the context's.
func (t *turn) begin(ctx context.Context) error {
	l := t.lane
	if l == nil {
		return nil
	}
	if limited := t.count(); limited != nil {
		return limited
	}
	select {
	case l.turns <- struct{}{}:
		t.holds = true
		return nil
	default:
	}
	if l.queued.Add(1) > int64(allTurns*cap(l.turns)) {
		l.queued.Add(-1)
		return busy()
	}
	defer l.queued.Add(-1)
	timer := time.NewTimer(t.budget.wait)
	defer timer.Stop()
	select {
	case l.turns <- struct{}{}:
		t.holds = true
		return nil
	case <-timer.C:
		return busy()
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller says what it is
	}
}

// pause gives the place to another one, for as long as the client is waited for. However many of a client's requests
// send their bodies, they are none of those that wait.
func (t *turn) pause() {
	if t.holds {
		t.holds = false
		<-t.lane.turns
	}
	if t.counted {
		t.counted = false
		s := t.budget.shard(t.key)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ofLocked(t.key).turns--
	}
}

// end ends the turn and charges the client for the work. It may be called more than once.
func (t *turn) end(work int) {
	t.pause()
	b := t.budget
	if b == nil || !t.entered {
		return
	}
	t.entered = false
	s := b.shard(t.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.chargeLocked(s.ofLocked(t.key), work+requestWork)
}

// hold takes memory for a body, and reports whether there was enough of it.
func (t *turn) hold(n int64) bool {
	b := t.budget
	if b == nil {
		return true
	}
	if b.memory.Add(-n) < 0 {
		b.memory.Add(n)
		return false
	}
	s := b.shard(t.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.ofLocked(t.key)
	if c.held+n > b.most {
		b.memory.Add(n)
		return false
	}
	c.held += n
	return true
}

// free gives memory back.
func (t *turn) free(n int64) {
	b := t.budget
	if b == nil || n == 0 {
		return
	}
	b.memory.Add(n)
	s := b.shard(t.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ofLocked(t.key).held -= n
}

// Hold takes memory for what somebody else than an engine keeps of a client's body, and reports whether there was enough of it.
func (b *Budget) Hold(client netip.Addr, n int64) bool {
	t := turn{budget: b, key: clientOf(client)}
	return t.hold(n)
}

// Free gives memory back that Hold has taken.
func (b *Budget) Free(client netip.Addr, n int64) {
	t := turn{budget: b, key: clientOf(client)}
	t.free(n)
}

// Begin says whether a client may have work done that no engine does. The error is a *Limited.
func (b *Budget) Begin(client netip.Addr) error {
	key := clientOf(client)
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if limited := b.over(s.ofLocked(key), b.now().Sub(b.begun)); limited != nil {
		return limited
	}
	return nil
}

// End charges a client for such work.
func (b *Budget) End(client netip.Addr, work int) {
	key := clientOf(client)
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.chargeLocked(s.ofLocked(key), work)
}

// chargeLocked charges a client. The caller holds the lock of its shard.
func (b *Budget) chargeLocked(c *client, work int) {
	now := b.now().Sub(b.begun)
	c.full = max(c.full, now) + time.Duration(float64(time.Duration(work)*workTime)/b.share)
}

// noMemory is the refusal of a body for which there is no memory.
func noMemory() *Limited {
	return &Limited{Limit: LimitMemory, Status: http.StatusServiceUnavailable, RetryAfter: busyRetry}
}
