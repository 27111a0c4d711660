package cache

import (
	"context"
	"encoding/binary"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxWaiters bounds the requests that wait for one fetch. More go to the upstream by themselves.
	maxWaiters = 1024
	// maxWait is how long they wait for its head. An upstream that hangs on one connection may answer on another.
	maxWait = 5 * time.Second
	// maxBackground bounds the fetches that nobody waits for. Over it, what is too old is served and stays so.
	maxBackground = 64
	// maxLoading bounds the files that are being read.
	maxLoading = 4
	// markFor is how long requests for what could not be kept do not wait for each other.
	markFor = 10 * time.Second
	// maxMarks is how many targets are known for that.
	maxMarks = 4096
)

// A Cache keeps the answers of all routes that ask for it. It is safe for concurrent use.
type Cache struct {
	store     *store
	disk      *disk // nil without one
	maxObject int64
	now       func() time.Time

	starting   sync.Once
	onError    func(error)
	ctx        context.Context //nolint:containedctx // of the fetches, which belong to no request
	stop       context.CancelFunc
	fetches    sync.WaitGroup
	background chan struct{}
	loading    chan struct{}

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight   // that others may join
	all     map[*flight]struct{} // those, and the others
	flying  atomic.Int64         // bytes of bodies that are on their way
	marks   [maxMarks]mark
}

// A mark says that an answer for a target could not be kept a moment ago.
type mark struct {
	key   resourceKey
	until int64 // nanoseconds since 1970
}

// New returns an empty cache for a StoreConfig that Validate accepts. Close it.
func New(cfg StoreConfig) *Cache {
	memory, _ := parseSize(cfg.Memory, defaultMemory)
	object, _ := parseSize(cfg.MaxObject, memory/8)
	c := &Cache{
		store: newStore(memory), maxObject: object, now: time.Now,
		background: make(chan struct{}, maxBackground), loading: make(chan struct{}, maxLoading), flights: make(map[string]*flight),
		all: make(map[*flight]struct{}),
	}
	if cfg.Disk != nil {
		size, _ := parseSize(cfg.Disk.Size, 0)
		c.disk = newDisk(cfg.Disk.Directory, size, func() time.Time { return c.now() }, c.failed)
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Start reads what earlier processes have kept on the disk, once. onError is told when something cannot be read or written there:
// that is then kept in memory only. It is for before the cache serves.
func (c *Cache) Start(onError func(error)) {
	c.starting.Do(func() {
		c.onError = onError
		if c.disk != nil {
			if err := c.disk.start(); err != nil {
				c.failed(err)
			}
		}
	})
}

func (c *Cache) failed(err error) {
	if c.onError != nil {
		c.onError(err)
	}
}

// Close ends the fetches that are under way and waits for them. Handlers of a closed cache pass everything on.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.fetches.Wait()
	return nil
}

// Stats returns what the cache holds.
func (c *Cache) Stats() Stats { return c.store.stats() }

// find returns what is kept for a request, or nil.
func (c *Cache) find(policy string, q *request) *object {
	if o := c.inMemory(policy, q); o != nil || c.disk == nil || !c.disk.has(q.key) {
		return o
	}
	c.loading <- struct{}{} // few at once: what is read is not counted before it is in the store
	defer func() { <-c.loading }()
	if o := c.inMemory(policy, q); o != nil {
		return o // another request has loaded it
	}
	o := c.disk.find(policy, q)
	if o == nil || !c.store.put(o) {
		return nil
	}
	if !c.disk.holds(o) {
		c.store.remove(o) // it was purged while it was read: files go before what is in memory
	}
	return o
}

func (c *Cache) inMemory(policy string, q *request) *object {
	for _, o := range c.store.variants(q.key) {
		if o.answers(policy, q) {
			return o
		}
	}
	return nil
}

// remove takes out an object.
func (c *Cache) remove(o *object) {
	if c.disk != nil {
		c.disk.remove(o)
	}
	c.store.remove(o)
}

// reserve takes room for n bytes of a body that is on its way, a quarter of the memory at most.
func (c *Cache) reserve(n int64) bool {
	if c.flying.Add(n) > c.store.limit/4 {
		c.flying.Add(-n)
		return false
	}
	return true
}

func (c *Cache) unreserve(n int64) { c.flying.Add(-n) }

func (c *Cache) markAt(key resourceKey) *mark {
	return &c.marks[binary.BigEndian.Uint16(key[:])%maxMarks]
}

// mark remembers, or forgets, that what is at key cannot be kept.
func (c *Cache) mark(key resourceKey, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.markAt(key)
	switch {
	case on:
		*m = mark{key, c.now().Add(markFor).UnixNano()}
	case m.key == key:
		*m = mark{}
	}
}

func (c *Cache) marked(key resourceKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.markAt(key)
	return m.key == key && m.until > c.now().UnixNano()
}

// start makes a flight, under a name unless that is "", or returns the one that has it. It is nil if the cache is closed.
// It reports whether the caller is the one that it was made for.
func (c *Cache) start(name string, build func() *flight) (f *flight, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	if f = c.flights[name]; f != nil && name != "" && f.join() {
		return f, false
	}
	f = build()
	if name != "" {
		c.flights[name] = f
		f.name = name
	}
	c.all[f] = struct{}{}
	c.fetches.Add(1)
	return f, true
}

// shut lets no more requests join a flight.
func (c *Cache) shut(f *flight) {
	c.mu.Lock()
	c.shutLocked(f)
	c.mu.Unlock()
}

func (c *Cache) shutLocked(f *flight) {
	if f.name != "" && c.flights[f.name] == f {
		delete(c.flights, f.name)
	}
}

// landed forgets a flight that is over.
func (c *Cache) landed(f *flight) {
	c.mu.Lock()
	c.shutLocked(f)
	delete(c.all, f)
	c.mu.Unlock()
}

// void has fetches that are under way keep nothing, and nobody join them any more.
func (c *Cache) void(which func(f *flight) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.all {
		if which(f) {
			f.mu.Lock()
			f.voided = true
			f.mu.Unlock()
			c.shutLocked(f)
		}
	}
}

// Options are what a route's handler needs beside its Config. Deny is required.
type Options struct {
	// Policy tells what is kept for one route from what is kept for others: routes whose answers may differ for the same
	// address need different ones, and so does a route whose destination changes.
	Policy string
	// Deny answers a request that could not be answered, with the error that Fail was given.
	Deny func(http.ResponseWriter, *http.Request, error)
	// Identified reports whether somebody is known to ask: nobody, if it is nil.
	Identified func(*http.Request) bool
	// Scheme is what the client used, "https" or "http"; https if it is nil.
	Scheme func(*http.Request) string
	// Detach returns a request like r whose context outlives the client, and tells nothing of who it is. Default: one with
	// an empty context.
	Detach func(r *http.Request) *http.Request
	// Fetched is called on the client's goroutine with its request and what Detach made of it, once the fetch that it had
	// caused is over.
	Fetched func(r, fetched *http.Request)
	// Observe is called once for each request, before its answer begins.
	Observe func(r *http.Request, res Result)
}

// Result is what the cache did about a request.
type Result struct {
	Verdict string        // one of the Verdict constants
	Age     time.Duration // of the answer, if it was kept
	Why     string        // of VerdictPass, or why the answer of VerdictMiss was not kept; from a small set
}

// What the cache did.
const (
	VerdictHit         = "hit"
	VerdictStale       = "stale"       // too old, and served all the same
	VerdictRevalidated = "revalidated" // the upstream said that it is still good
	VerdictMiss        = "miss"
	VerdictCollapsed   = "collapsed" // a miss that had its answer from the fetch of another request
	VerdictPass        = "pass"      // not for the cache
	VerdictError       = "error"     // the upstream failed, or only-if-cached found nothing
)
