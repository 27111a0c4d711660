package upstream

import "encoding/binary"

// Opcodes and status codes of RFC 6455 sections 5.2 and 7.4.1.
const (
	opClose         = 0x8
	finalClose      = 0x80 | opClose
	goingAway       = 1001
	policyViolation = 1008
)

// frames follows one direction of a WebSocket, to know where a frame may be put in between (RFC 6455 section 5.2).
// It judges nothing: what is no WebSocket is relayed as it is.
type frames struct {
	head   [14]byte
	have   int    // bytes of the head that have passed
	left   uint64 // bytes of the payload that have not
	closed bool   // a close frame has begun: nothing may follow it
}

// between reports whether everything that has passed was whole.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

// pass lets b through.
func (f *frames) pass(b []byte) {
	for len(b) > 0 {
		b = b[f.step(b):]
	}
}

// step lets through what b has of one frame, and returns how much that is.
func (f *frames) step(b []byte) (n int) {
	for n < len(b) && f.left == 0 {
		f.head[f.have] = b[n]
		f.have++
		n++
		if f.have < f.headSize() {
			continue
		}
		f.have, f.left = 0, f.length()
		f.closed = f.closed || f.head[0]&0xf == opClose
		if f.left == 0 {
			return n
		}
	}
	some := min(uint64(len(b)-n), f.left)
	f.left -= some
	return n + int(some)
}

// headSize is the size of the head, as far as is known by now.
func (f *frames) headSize() int {
	if f.have < 2 {
		return 2
	}
	size := 2
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 { // masked
		size += 4
	}
	return size
}

func (f *frames) length() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// closeFrame is a close frame of a server, which does not mask (section 5.1).
func closeFrame(code uint16, reason string) []byte {
	b := []byte{finalClose, byte(2 + len(reason))}
	return append(binary.BigEndian.AppendUint16(b, code), reason...)
}
