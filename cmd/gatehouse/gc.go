package main

import (
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

const (
	// heapFloor is how far the heap may always grow before it is collected. A gate holds some 12 MB; at
	// Go's default it would collect that ten times a second under load, which costs a tenth of a request.
	heapFloor = 64 << 20
	// defaultGCPercent is Go's own, and what holds once the live heap has reached half the floor: memory
	// stays proportional to what is in use.
	defaultGCPercent = 100
	// maxGCPercent keeps an almost empty heap from being left alone for ever.
	maxGCPercent = 800
)

// relaxGC lets small heaps grow to heapFloor between collections, and leaves large ones to Go's default. An
// operator who sets GOGC decides alone. It lasts as long as the process.
func relaxGC() {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	percent := debug.SetGCPercent(gcPercent(liveHeap()))
	afterEachGC(func() {
		if next := gcPercent(liveHeap()); next != percent {
			percent = next
			debug.SetGCPercent(next)
		}
	})
}

// gcPercent is the growth that lets a live heap of this size reach heapFloor, in steps of 50 so that it
// rarely changes: each change stops the world.
func gcPercent(live uint64) int {
	if live == 0 || live >= heapFloor/2 {
		return defaultGCPercent
	}
	percent := int((heapFloor - live) * 100 / live)
	return min(percent/50*50, maxGCPercent)
}

// liveHeap is what the last collection found in use, in bytes.
func liveHeap() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	if sample[0].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// afterEachGC calls f after every collection, on the runtime's cleanup goroutine.
func afterEachGC(f func()) {
	type tick struct{ _ [16]byte } // large enough to be an object of its own
	var arm func(struct{})
	arm = func(struct{}) {
		f()
		runtime.AddCleanup(new(tick), arm, struct{}{})
	}
	runtime.AddCleanup(new(tick), arm, struct{}{})
}
