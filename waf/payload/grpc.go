package payload

import (
	"encoding/binary"
	"io"
	"strings"
)

// IsGRPC reports a media type, without parameters, of gRPC over HTTP/2, whose messages come one by one for as long as the call lasts.
func IsGRPC(media string) bool {
	return media == "application/grpc" || strings.HasPrefix(media, "application/grpc+")
}

// A framed passes gRPC messages on and refuses anything else: five bytes, of which the first says
// whether the message is compressed (0 or 1) and the others how long it is, then the message
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message). A body
// that claims to be gRPC so as not to be read as text ends here.
type framed struct {
	src     io.ReadCloser
	refusal error
	head    [5]byte
	have    int    // bytes of head
	left    uint32 // bytes of the message to come
}

// Framed returns src as long as it is framed as gRPC is. Reading what is not fails with refusal.
func Framed(src io.ReadCloser, refusal error) io.ReadCloser {
	return &framed{src: src, refusal: refusal}
}

// Read implements io.Reader.
func (f *framed) Read(p []byte) (int, error) {
	n, err := f.src.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if f.left > 0 {
			step := min(uint64(f.left), uint64(len(rest)))
			f.left -= uint32(step)
			rest = rest[step:]
			continue
		}
		step := copy(f.head[f.have:], rest)
		f.have += step
		rest = rest[step:]
		if f.head[0] > 1 {
			return 0, f.refusal
		}
		if f.have == len(f.head) {
			f.left = binary.BigEndian.Uint32(f.head[1:])
			f.have = 0
		}
	}
	return n, err
}

// Close implements io.Closer.
func (f *framed) Close() error { return f.src.Close() }
