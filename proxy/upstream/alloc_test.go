//go:build !race

package upstream

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAllocsOfGet(t *testing.T) {
	// Not parallel: it counts what the whole process allocates.
	pool, err := NewPool("x", endpoints(cheapUpstream(t, 1<<10)))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	h := pool.Handler(Options{Deny: deny})
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://app.test/p?q=1", nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Cookie", "a=1")
	w := &nullWriter{h: make(http.Header)}
	got := testing.AllocsPerRun(200, func() {
		clear(w.h)
		h.ServeHTTP(w, r)
	})
	if w.n != 1<<10 {
		t.Fatalf("got %d bytes", w.n)
	}
	// The client's address as text, the answer's head, its values.
	if got > 3 {
		t.Errorf("allocations: got %.0f, want at most 3", got)
	}
}
