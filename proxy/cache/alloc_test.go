//go:build !race

package cache

import (
	"net/http"
	"testing"
)

// What a hit costs is part of what the cache is for: the request as it is read, what tells variants apart, and the values of
// Age and Cache-Status.
func TestAllocationsOfAHit(t *testing.T) {
	c := New(StoreConfig{})
	defer c.Close()
	h, r := warm(t, c)
	w := &nullWriter{http.Header{}}
	const want = 6
	if got := testing.AllocsPerRun(100, func() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}); got > want {
		t.Errorf("a hit allocates %v times, want %d at most", got, want)
	}
}
