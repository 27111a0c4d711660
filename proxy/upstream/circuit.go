package upstream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// maxCircuit bounds every number of a CircuitConfig.
const maxCircuit = 1_000_000

// CircuitConfig bounds what an upstream is given to do at a time; a request beyond that is refused at once with 503, or waits
// for its turn. A WebSocket counts for as long as it lasts.
type CircuitConfig struct {
	// MaxRequests is how many requests may be under way in all; default no bound.
	MaxRequests int `yaml:"max_requests"`
	// MaxEndpointRequests is how many may be under way at one endpoint. Over HTTP/1.1 each has a connection, so that it is
	// also how many connections there are at most. Default no bound.
	MaxEndpointRequests int `yaml:"max_endpoint_requests"`
	// MaxPending is how many requests beyond those wait until another one is over, for connect_timeout at most; default none.
	MaxPending int `yaml:"max_pending"`
}

func (c CircuitConfig) validate(report func(field, msg string)) {
	for _, n := range []struct {
		field string
		count int
	}{{"max_requests", c.MaxRequests}, {"max_endpoint_requests", c.MaxEndpointRequests}, {"max_pending", c.MaxPending}} {
		if n.count < 0 || n.count > maxCircuit {
			report(n.field, fmt.Sprintf("want 1 to %d, got %d", maxCircuit, n.count))
		}
	}
	if c.MaxPending > 0 && c.MaxRequests == 0 && c.MaxEndpointRequests == 0 {
		report("max_pending", "nothing can wait without a bound: want max_requests or max_endpoint_requests beside it")
	}
}

// circuit bounds the requests of a pool.
type circuit struct {
	all, each int64 // bounds; 0 for none
	pending   int
	*crowd
}

// crowd is who is in a circuit. The pool that a reload puts in the place of another one has it from that one.
type crowd struct {
	active  atomic.Int64
	waiting atomic.Int64

	mu    sync.Mutex
	queue []chan struct{} // the first one is served first
}

func newCircuit(c *CircuitConfig) *circuit {
	if c == nil {
		return nil
	}
	return &circuit{all: int64(c.MaxRequests), each: int64(c.MaxEndpointRequests), pending: c.MaxPending, crowd: &crowd{}}
}

// enter counts a request at an endpoint, unless there is no room for it. leave is for its end.
func (p *Pool) enter(ep *endpoint) bool {
	k := p.circuit
	if k == nil {
		ep.outstanding.Add(1)
		return true
	}
	if n := k.active.Add(1); k.all > 0 && n > k.all {
		k.active.Add(-1)
		return false
	}
	if n := ep.outstanding.Add(1); k.each > 0 && n > k.each {
		ep.outstanding.Add(-1)
		k.active.Add(-1)
		return false
	}
	return true
}

func (p *Pool) leave(ep *endpoint) {
	ep.outstanding.Add(-1)
	if k := p.circuit; k != nil {
		k.active.Add(-1)
		if k.waiting.Load() > 0 {
			k.wake()
		}
	}
}

// wake lets the first of those that wait try again.
func (k *crowd) wake() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) > 0 {
		close(k.queue[0])
		k.queue = k.queue[1:]
		k.waiting.Store(int64(len(k.queue)))
	}
}

// join takes a place in the queue: at its end, or at its front for one that has waited in vain. It is nil if the queue
// is full.
func (k *circuit) join(front bool) chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !front && len(k.queue) >= k.pending {
		return nil
	}
	turn := make(chan struct{})
	if front {
		k.queue = append([]chan struct{}{turn}, k.queue...)
	} else {
		k.queue = append(k.queue, turn)
	}
	k.waiting.Store(int64(len(k.queue)))
	return turn
}

// quit gives a place up. One that has been called passes that on, for whoever is next.
func (k *crowd) quit(turn chan struct{}) {
	k.mu.Lock()
	for i, t := range k.queue {
		if t == turn {
			k.queue = append(k.queue[:i], k.queue[i+1:]...)
			k.waiting.Store(int64(len(k.queue)))
			k.mu.Unlock()
			return
		}
	}
	k.mu.Unlock()
	k.wake()
}

// await calls try whenever there may be room, until it has success. It is false without any: the queue is full, the time
// is over, or the client has left.
func (k *circuit) await(ctx context.Context, timeout time.Duration, try func() bool) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for front := false; ; front = true {
		turn := k.join(front)
		if turn == nil {
			return false
		}
		if try() { // what was there before the place was taken calls nobody
			k.quit(turn)
			return true
		}
		select {
		case <-turn:
		case <-timer.C:
			k.quit(turn)
			return false
		case <-ctx.Done():
			k.quit(turn)
			return false
		}
	}
}
