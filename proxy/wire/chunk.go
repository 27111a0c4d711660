package wire

import (
	"bytes"
	"math"
)

// Limits of the framing of chunks.
const (
	// maxChunkLine bounds a chunk-size line with its extensions. Nobody is known to use extensions.
	maxChunkLine = 256
	// Each chunk may cost this much framing beside twice its data, as net/http counts it; what is above adds
	// up to at most maxExcess, half of what net/http allows.
	chunkAllowance = 16
	maxExcess      = 8 << 10
)

// scanChunk reads a chunk-size line. The last one, of size 0, is not used: it belongs to the trailer section, which
// is judged as a whole.
func (f *framer) scanChunk(b []byte) (int, *Error) {
	line, ok, err := f.nextLine(b)
	if err != nil {
		return 0, err
	}
	if f.scanned > maxChunkLine {
		return 0, errChunkExtension
	}
	if !ok {
		if !chunkStart(b) {
			return 0, errChunkSize
		}
		return 0, nil
	}
	size, err := chunkSize(line)
	if err != nil {
		return 0, err
	}
	f.excess = max(0, f.excess+int64(len(line))+2-chunkAllowance-2*min(size, maxExcess))
	if f.excess > maxExcess {
		return 0, errChunkOverhead
	}
	if size == 0 {
		f.state = inTrailer
		return 0, nil
	}
	f.state, f.left = inData, size
	return f.endUnit(), nil
}

// chunkStart refuses an unfinished line that cannot become a chunk size, so that a client that waits for an
// answer gets one.
func chunkStart(b []byte) bool {
	return hexValue[b[0]] >= 0
}

// chunkSize reads 1*16HEXDIG and any extensions, RFC 9112 section 7.1.
func chunkSize(line []byte) (int64, *Error) {
	var size uint64
	i := 0
	for ; i < len(line) && hexValue[line[i]] >= 0; i++ {
		size = size<<4 | uint64(hexValue[line[i]])
	}
	if i == 0 || i > 16 || size > math.MaxInt64 {
		return 0, errChunkSize
	}
	if i < len(line) && line[i] != ';' {
		return 0, errChunkSize
	}
	return int64(size), checkExtensions(line[i:])
}

// checkExtensions reads *( ";" token [ "=" ( token / quoted-string ) ] ), RFC 9112 section 7.1.1. The "bad
// white space" of that section is refused. Extensions are dropped.
func checkExtensions(b []byte) *Error {
	for len(b) > 0 {
		n := tokenLen(b[1:])
		if b[0] != ';' || n == 0 {
			return errChunkExtension
		}
		b = b[1+n:]
		if len(b) == 0 || b[0] != '=' {
			continue
		}
		if n = tokenLen(b[1:]); n == 0 {
			n = quotedLen(b[1:])
		}
		if n == 0 {
			return errChunkExtension
		}
		b = b[1+n:]
	}
	return nil
}

func tokenLen(b []byte) int {
	for i, c := range b {
		if !isToken[c] {
			return i
		}
	}
	return len(b)
}

// quotedLen is the length of the quoted-string that b begins with, or 0.
func quotedLen(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
			if i == len(b) || anyControl(b[i:i+1]) {
				return 0
			}
		case c < 0x20 && c != '\t' || c == 0x7f:
			return 0
		}
	}
	return 0
}

func (f *framer) scanDataEnd(b []byte) (int, *Error) {
	if b[0] != '\r' || len(b) > 1 && b[1] != '\n' {
		return 0, errChunkEnd
	}
	if len(b) == 1 {
		return 0, nil
	}
	f.state = inChunk
	return 2, nil
}

// scanTrailer reads the trailer section behind the last-chunk line.
func (f *framer) scanTrailer(b []byte) (int, *Error) {
	for {
		line, ok, err := f.nextLine(b)
		if err != nil {
			return 0, err
		}
		if f.scanned > maxTrailer {
			return 0, errTrailerTooLong
		}
		if !ok {
			return 0, nil
		}
		if len(line) == 0 {
			f.endMessage()
			return f.endUnit(), nil
		}
		name, value, err := splitField(line)
		if err != nil {
			return 0, err
		}
		if forbiddenTrailer(name) || looksLikeFraming(name) {
			return 0, errTrailerMayNot
		}
		if f.into != nil {
			f.into.trailer(name, value)
		}
	}
}

// checkTrailerNames reads the value of a Trailer field: names that may be trailers.
func checkTrailerNames(value []byte) *Error {
	for len(value) > 0 {
		name, rest, _ := bytes.Cut(value, []byte(","))
		name = trimBlank(name)
		if !allToken(name) || forbiddenTrailer(name) || looksLikeFraming(name) {
			return errTrailerField
		}
		value = rest
	}
	return nil
}

// forbiddenTrailer lists the fields of RFC 9110 section 6.5.1 that change framing, routing, authentication or
// the reading of the content when they come too late, and those by which a gateway speaks about a client.
func forbiddenTrailer(name []byte) bool {
	for _, prefix := range []string{"content-", "if-", "proxy-", "x-forwarded-", "x-amzn-", "sec-"} {
		if len(name) > len(prefix) && is(name[:len(prefix)], prefix) {
			return true
		}
	}
	for _, field := range []string{
		"host", "transfer-encoding", "trailer", "connection", "keep-alive", "upgrade", "te", "expect",
		"authorization", "cookie", "set-cookie", "cache-control", "max-forwards", "pragma", "range", "date",
		"age", "expires", "location", "retry-after", "vary", "warning", "forwarded", "via", "origin", "x-real-ip",
	} {
		if is(name, field) {
			return true
		}
	}
	return false
}
