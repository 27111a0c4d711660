package authn

import (
	"fmt"
	"testing"
)

func TestCacheForgetsWhatIsNotUsed(t *testing.T) {
	t.Parallel()
	c := newCache[int, int](100)
	for i := range 1000 {
		c.put(i, i, 1)
		if _, ok := c.get(0); !ok {
			t.Fatalf("after %d entries: entry 0 is gone, although it is used all the time", i)
		}
		if n := c.len(); n > 102 {
			t.Fatalf("entries: got %d, want about 100 at most", n)
		}
	}
	if _, ok := c.get(500); ok {
		t.Error("entry 500 is still there")
	}
}

func TestCacheAddsOnce(t *testing.T) {
	t.Parallel()
	c := newCache[string, int](4)
	if v, first := c.add("a", 1, 1); v != 1 || !first {
		t.Errorf("first add: got %d %t", v, first)
	}
	c.add("b", 1, 1)
	c.add("c", 1, 1) // "a" is in the old generation now
	if v, first := c.add("a", 2, 1); v != 1 || first {
		t.Errorf("second add: got %d %t, want 1 false", v, first)
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRevocations(10)
	r.add("past", 5, 10)
	if r.has("past") {
		t.Error("a session that has ended by itself was kept")
	}
	for i := range 20 {
		r.add(fmt.Sprint(i), int64(100+i), 10)
	}
	if len(r.ends) != 10 || len(r.queue) != 10 {
		t.Errorf("size: got %d and %d, want 10", len(r.ends), len(r.queue))
	}
	if r.has("9") || !r.has("10") || !r.has("19") {
		t.Error("the sessions that end soonest should have given way")
	}
	r.add("new", 500, 115)
	if r.has("14") || !r.has("16") || !r.has("new") {
		t.Error("sessions that have ended should have been forgotten first")
	}
}

func (c *cache[K, V]) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
