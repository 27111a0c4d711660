package upstream

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// frame is one of a WebSocket: first its first byte, n the size of its payload.
func frame(first byte, n int, masked bool) []byte {
	b := []byte{first}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if masked {
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, bytes.Repeat([]byte{0x88}, n)...) // what looks like the start of a close frame
}

func TestFramesKnowsWhereAFrameEnds(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{false, true} {
		var stream []byte
		ends := map[int]bool{0: true}
		for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 3} {
			stream = append(stream, frame(0x82, n, masked)...)
			ends[len(stream)] = true
		}
		for _, chunk := range []int{1, 2, 3, 7, 1000, len(stream)} {
			var f frames
			for at := 0; at < len(stream); {
				n := min(chunk, len(stream)-at)
				f.pass(stream[at : at+n])
				if at += n; f.between() != ends[at] {
					t.Fatalf("masked %t, by %d: after %d bytes: between frames: got %t, want %t", masked, chunk, at, f.between(), ends[at])
				}
			}
			if f.closed {
				t.Error("a payload was taken for a close frame")
			}
		}
	}
}

func TestFramesStepsToTheEndOfAFrame(t *testing.T) {
	t.Parallel()
	first, second := frame(0x02, 300, false), frame(0x88, 2, false)
	stream := append(bytes.Clone(first), second...)
	for at := range first {
		var f frames
		f.pass(stream[:at])
		if n := f.step(stream[at:]); n != len(first)-at || !f.between() || f.closed {
			t.Fatalf("from %d: got %d, want %d", at, n, len(first)-at)
		}
		if f.pass(second); !f.closed {
			t.Fatal("the close frame was not seen")
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame(0x81, 5, true), 3)
	f.Add(frame(0x82, 70000, false), 9)
	f.Add(bytes.Repeat([]byte{0xff}, 40), 11)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		var whole, parts frames
		whole.pass(b)
		cut := min(max(at, 0), len(b))
		parts.pass(b[:cut])
		parts.pass(b[cut:])
		if whole != parts {
			t.Fatalf("cut at %d: got %+v, want %+v", cut, parts, whole)
		}
		var steps frames
		for rest := b; len(rest) > 0; {
			n := steps.step(rest)
			if n <= 0 || n > len(rest) {
				t.Fatalf("a step of %d in %d bytes", n, len(rest))
			}
			rest = rest[n:]
		}
	})
}
