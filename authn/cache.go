package authn

import "sync"

// cache is a map of bounded weight. It has two generations: when the young one holds half of the
// limit it becomes the old one, and what was old is forgotten. Whatever is used moves to the young
// one. It is safe for concurrent use; looking up a recent entry allocates nothing.
type cache[K comparable, V any] struct {
	mu     sync.RWMutex
	young  map[K]entry[V]
	old    map[K]entry[V]
	weight int
	half   int
}

type entry[V any] struct {
	value  V
	weight int
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{young: make(map[K]entry[V]), half: max(limit/2, 1)}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.RLock()
	e, ok := c.young[k]
	c.mu.RUnlock()
	if ok {
		return e.value, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok = c.old[k]; ok {
		c.putLocked(k, e)
		return e.value, true
	}
	var zero V
	return zero, false
}

func (c *cache[K, V]) put(k K, v V, weight int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(k, entry[V]{v, weight})
}

// add stores v unless k is there already, and reports whether it did. Otherwise it returns what is
// there.
func (c *cache[K, V]) add(k K, v V, weight int) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.young[k]; ok {
		return e.value, false
	}
	if e, ok := c.old[k]; ok {
		return e.value, false
	}
	c.putLocked(k, entry[V]{v, weight})
	return v, true
}

func (c *cache[K, V]) putLocked(k K, e entry[V]) {
	if was, ok := c.young[k]; ok {
		c.weight -= was.weight
	}
	if c.weight+e.weight > c.half && len(c.young) > 0 {
		c.old, c.young, c.weight = c.young, make(map[K]entry[V]), 0
	}
	delete(c.old, k)
	c.young[k] = e
	c.weight += e.weight
}
