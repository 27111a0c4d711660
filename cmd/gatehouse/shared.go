package main

import "sync"

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
