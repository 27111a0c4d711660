//go:build !race

package proxy

import (
	"net/http"
	"testing"
)

// TestAllocsOfServe pins the cost of the whole data path around a handler: the exchange, net/http's copy of the request for
// its context, and the string with the request's identifiers. The fourth is the test's own URL.
func TestAllocsOfServe(t *testing.T) {
	p := newReplay(t, Options{OwnCookie: func(name string) bool { return name == "__Host-gw" }, Response: func(http.Header) {}})
	if n := testing.AllocsPerRun(200, p.serve); n > 4 {
		t.Errorf("got %v allocations, want at most 4", n)
	}
}
