package main

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const text = "42 (a (b) 7) S 40 42 42 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 100 1 1"
	id, parent, used, err := parseStat([]byte(text))
	if id != 42 || parent != 40 || used != 1750*time.Millisecond || err != nil {
		t.Errorf("got %d, %d, %v, %v", id, parent, used, err)
	}
	for _, bad := range []string{"", "42", ") 42 (", "42 (x) S 40", "x (y) S 40 42 42 0 -1 4194560 1 2 3 4 150 25 0"} {
		if _, _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}
