//go:build !race

package nowait

import "testing"

func TestConnDoesNotAllocate(t *testing.T) {
	// Not parallel: it counts what the whole process allocates.
	c, _, peer := pair(t)
	var p [64]byte
	if got := testing.AllocsPerRun(100, func() {
		if _, err := c.Write(p[:]); err != nil {
			t.Fatal(err)
		}
		_, _ = peer.Read(p[:])
		_, _ = peer.Write(p[:])
		if _, err := c.Read(p[:]); err != nil {
			t.Fatal(err)
		}
		_, _ = c.TryRead(p[:])
	}); got != 0 {
		t.Errorf("allocations: got %v, want 0", got)
	}
}
