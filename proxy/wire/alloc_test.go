//go:build !race

package wire

import (
	"net/http"
	"testing"
)

// A request makes its exchange, two maps and the text of its fields. Everything else is the connection's and is used again.
func TestARequestAllocatesLittle(t *testing.T) {
	// Not parallel: it counts what the whole process allocates.
	body := make([]byte, 1024)
	length, kind := []string{"1024"}, []string{"text/plain"}
	lines := []byte(testLines)
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Content-Length"], h["Content-Type"] = length, kind
		w.(linesWriter).WriteHeaderLines(200, lines)
		_, _ = w.Write(body)
	}), Options{})
	l := s.admit(&tape{bytes: []byte(get), step: 4096, endless: true})
	c := newConn(l, l)
	s.sweeping.Store(true) // there is nothing to look for
	if got := testing.AllocsPerRun(200, func() {
		if !c.answer(c.next()) {
			t.Fatal("the connection has ended")
		}
		c.turn.Add(2)
	}); got > 6 {
		t.Errorf("allocations: got %v, want at most 6", got)
	}
}
