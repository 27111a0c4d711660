//go:build !race

package waf

import (
	"runtime"
	"strings"
	"testing"
)

// What the connector adds to the engine's own allocations is bounded: a large body is not copied once
// more than it has to be, and a small request costs no buffer.
func TestAllocsOfConnector(t *testing.T) {
	// Not parallel: the figures are the process's.
	e := newTestEngine(t, Config{Groups: []string{"php"}}, "")
	bytesOf := func(s sample) uint64 {
		run := func() {
			v := e.check(s.request())
			v.body.release()
		}
		run()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			run()
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 10
	}
	binary := func(n int) sample {
		return sample{header: map[string]string{"Content-Type": "image/png"}, body: "\x00" + strings.Repeat("x", n)}
	}
	small, large := bytesOf(binary(10)), bytesOf(binary(60<<10))
	if extra := int64(large) - int64(small); extra > 200<<10 {
		t.Errorf("60 kB more of body: got %d bytes more, want at most 200 kB", extra)
	}
}

// An engine is small once it is loaded: a process has one for each policy.
func TestAllocsOfEngine(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e := newTestEngine(t, Config{}, "")
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 27<<20 {
		t.Errorf("heap: got %d MB, want at most 27", got>>20)
	}
	runtime.KeepAlive(e)
}
