//go:build !race

package wire

import (
	"net"
	"testing"
)

// nowhere is a peer that takes what it is sent.
type nowhere struct{ net.Conn }

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func TestHeadLinesDoNotAllocate(t *testing.T) {
	// Not parallel: it counts what the whole process allocates.
	c := newTape("", 1)
	c.Conn = nowhere{}
	head, lines := []byte("HTTP/1.1 200 OK\r\nX: y\r\n\r\n"), []byte(testLines)
	if got := testing.AllocsPerRun(200, func() {
		c.addFn(200, lines)
		if _, err := c.Write(head); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("allocations: got %v, want 0", got)
	}
}
