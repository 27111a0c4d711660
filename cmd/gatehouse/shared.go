package main

import (
	"sync"

	"gatehouse/proxy/upstream"
)

// A shared is a part that several generations may hold: an engine, a pool, a limiter. It is closed when
// the last generation that holds it has served its last request.
type shared[T any] struct {
	value T
	close func(T)

	mu   sync.Mutex
	refs int
}

// hold counts one more generation.
func (s *shared[T]) hold() {
	s.mu.Lock()
	s.refs++
	s.mu.Unlock()
}

// release counts one generation less and closes the part after the last.
func (s *shared[T]) release() {
	s.mu.Lock()
	s.refs--
	last := s.refs == 0
	s.mu.Unlock()
	if last && s.close != nil {
		s.close(s.value)
	}
}

// A shelf holds the parts of one kind that one generation uses, by the digest of what they were built from.
type shelf[T any] map[string]*shared[T]

// take returns the part with this digest: the one that this generation already has, else the one of the
// previous generation, else a new one.
func (s shelf[T]) take(digest string, prev shelf[T], build func() (T, error), closePart func(T)) (T, error) {
	if p, ok := s[digest]; ok {
		return p.value, nil
	}
	p, ok := prev[digest]
	if !ok {
		value, err := build()
		if err != nil {
			return value, err
		}
		p = &shared[T]{value: value, close: closePart}
	}
	p.hold()
	s[digest] = p
	return p.value, nil
}

func (s shelf[T]) release() {
	for _, p := range s {
		p.release()
	}
}

// succeedPools has upstreams that are configured anew go on with the endpoints that they keep, and takes those out that the
// next generation does not have.
func succeedPools(previous, next shelf[*upstream.Pool]) {
	retiring := map[string]*upstream.Pool{}
	for digest, old := range previous {
		if next[digest] == nil {
			retiring[old.value.Name()] = old.value
		}
	}
	for digest, pool := range next {
		name := pool.value.Name()
		if old := retiring[name]; old != nil && previous[digest] == nil {
			pool.value.Succeed(old)
			delete(retiring, name)
		}
	}
	for _, old := range retiring {
		old.Retire()
	}
}
