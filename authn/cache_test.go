package authn

import "testing"

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

func (c *cache[K, V]) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
