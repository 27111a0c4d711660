package main

import "testing"

func TestGCPercentLeavesLargeHeapsAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		live uint64
		want int
	}{
		{"nothing measured yet", 0, 100},
		{"an almost empty heap", 1 << 20, 800},
		{"a gate at rest", 16 << 20, 300},
		{"half the floor", 32 << 20, 100},
		{"many connections", 1 << 30, 100},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
