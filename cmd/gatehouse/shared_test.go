package main

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// closings counts how often each part was closed.
type closings struct {
	mu    sync.Mutex
	count map[*string]int
}

func (c *closings) close(p *string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[p]++
}

func TestPartsAreSharedByDigestAndClosedOnce(t *testing.T) {
	t.Parallel()
	closed := &closings{count: map[*string]int{}}
	built := 0
	take := func(s, prev shelf[*string], digest string) *string {
		t.Helper()
		p, err := s.take(digest, prev, func() (*string, error) { built++; return new(digest), nil }, closed.close)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second, third := shelf[*string]{}, shelf[*string]{}, shelf[*string]{}
	a, b := take(first, nil, "a"), take(first, nil, "b")
	if again := take(first, nil, "a"); again != a || built != 2 {
		t.Errorf("the same digest in one generation: got another part, %d were built, want 2", built)
	}
	if kept := take(second, first, "a"); kept != a {
		t.Error("the same digest in the next generation: got another part")
	}
	c := take(second, first, "c")
	first.release()
	if closed.count[a] != 0 || closed.count[b] != 1 || closed.count[c] != 0 {
		t.Errorf("after the first generation: got closings %v, want one of b alone", closed.count)
	}
	if back := take(third, second, "b"); back == b {
		t.Error("a closed part came back")
	}
	_ = take(third, second, "a")
	second.release()
	third.release()
	if closed.count[a] != 1 || closed.count[b] != 1 || closed.count[c] != 1 || built != 4 {
		t.Errorf("at the end: got closings %v of %d parts, want one of each of 4", closed.count, built)
	}
}

func TestAPartThatCannotBeBuiltIsNotKept(t *testing.T) {
	t.Parallel()
	s := shelf[int]{}
	boom := errors.New("boom")
	if _, err := s.take("d", nil, func() (int, error) { return 0, boom }, nil); !errors.Is(err, boom) {
		t.Errorf("got %v, want the builder's error", err)
	}
	if len(s) != 0 {
		t.Errorf("got %d parts on the shelf, want none", len(s))
	}
	if got, err := s.take("d", nil, func() (int, error) { return 7, nil }, nil); got != 7 || err != nil {
		t.Errorf("the next try: got %d, %v", got, err)
	}
	s.release() // a part without a closer
}

func TestReleasesMayComeTogether(t *testing.T) {
	t.Parallel()
	closed := &closings{count: map[*string]int{}}
	var generations []shelf[*string]
	var prev shelf[*string]
	for i := range 20 {
		s := shelf[*string]{}
		for _, digest := range []string{"kept", fmt.Sprint(i / 2)} {
			if _, err := s.take(digest, prev, func() (*string, error) { return new(digest), nil }, closed.close); err != nil {
				t.Fatal(err)
			}
		}
		generations, prev = append(generations, s), s
	}
	var all sync.WaitGroup
	for _, s := range generations {
		all.Go(s.release)
	}
	all.Wait()
	if len(closed.count) != 11 {
		t.Errorf("got %d parts closed, want 11", len(closed.count))
	}
	for p, n := range closed.count {
		if n != 1 {
			t.Errorf("%s was closed %d times", *p, n)
		}
	}
}
