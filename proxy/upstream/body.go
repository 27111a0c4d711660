package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
)

const (
	smallBuffer = 8 << 10  // holds the head and the whole of a usual answer
	bigBuffer   = 64 << 10 // for bodies: four TLS records, one read of a loopback socket
	maxChunk    = 4 << 10  // bytes of one chunk-size line with its extensions
	maxOverhead = 16 << 10 // bytes of chunk extensions beyond the data received so far
)

// errTruncated is the end of a connection inside a message.
var errTruncated = errors.New("connection ended inside the message")

// errLineTooLong is a line that does not fit its bound.
var errLineTooLong = errors.New("line too long")

// stream is the receiving side of one connection during one exchange: what has arrived and is not used yet.
type stream struct {
	src  io.Reader
	buf  []byte
	r, w int
	full bool // the last read filled the buffer: more is waiting
}

// buffered returns what has arrived; it stays valid until the next call of more.
func (s *stream) buffered() []byte { return s.buf[s.r:s.w] }

// take uses up n buffered bytes.
func (s *stream) take(n int) []byte {
	p := s.buf[s.r : s.r+n]
	s.r += n
	return p
}

// more reads once from the connection. It moves what is buffered to the start of the buffer if there is no room
// behind it, and fails with errLineTooLong if the buffer is full.
func (s *stream) more() error {
	if s.r == s.w {
		s.r, s.w = 0, 0
	} else if s.w == len(s.buf) {
		if s.r == 0 {
			return errLineTooLong
		}
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	n, err := s.src.Read(s.buf[s.w:])
	s.w += n
	s.full = s.w == len(s.buf)
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line returns the next line with its CRLF, at most limit bytes. A LF that no CR precedes is refused.
func (s *stream) line(limit int) ([]byte, error) {
	seen := 0
	for {
		b := s.buffered()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			n := seen + i + 1
			if n > limit {
				return nil, malformed("chunked body: line over %d bytes", limit)
			}
			if n < 2 || b[n-2] != '\r' {
				return nil, malformed("chunked body: line ends in LF alone")
			}
			return s.take(n), nil
		}
		if seen = len(b); seen > limit {
			return nil, malformed("chunked body: line over %d bytes", limit)
		}
		if err := s.more(); err != nil {
			return nil, eofIsTruncation(err)
		}
	}
}

func eofIsTruncation(err error) error {
	if err == io.EOF { //nolint:errorlint // io.Reader's own EOF is never wrapped
		return errTruncated
	}
	return err
}

// body is the reader of one response body.
type body struct {
	s        *stream
	kind     bodyKind
	remain   int64 // bytes left of a sized body or of the current chunk
	inChunk  bool  // the CRLF after the current chunk's data is still to come
	overhead int64
	grow     func() // swaps the stream's buffer for a bigger one while it is empty
	trailer  http.Header
}

// next returns the bytes of the body that have arrived, reading once if none have. They are valid until the next
// call. The last call returns io.EOF, with or without bytes; any other error means that the body is not whole.
func (b *body) next() ([]byte, error) {
	switch b.kind {
	case bodySized:
		return b.nextSized()
	case bodyChunked:
		return b.nextChunked()
	case bodyUntilEOF:
		if err := b.ensure(); err != nil {
			return nil, err // io.EOF is the end
		}
		return b.s.take(len(b.s.buffered())), nil
	}
	return nil, io.EOF
}

// ensure sees to it that something is buffered.
func (b *body) ensure() error {
	if b.s.r < b.s.w {
		return nil
	}
	if b.s.full && len(b.s.buf) < bigBuffer && b.grow != nil {
		b.grow()
	}
	return b.s.more()
}

func (b *body) nextSized() ([]byte, error) {
	if b.remain == 0 {
		return nil, io.EOF
	}
	p, err := b.some()
	if err != nil {
		return nil, err
	}
	if b.remain == 0 {
		return p, io.EOF
	}
	return p, nil
}

// some returns bytes up to remain.
func (b *body) some() ([]byte, error) {
	if err := b.ensure(); err != nil {
		return nil, eofIsTruncation(err)
	}
	n := int(min(int64(len(b.s.buffered())), b.remain))
	b.remain -= int64(n)
	return b.s.take(n), nil
}

func (b *body) nextChunked() ([]byte, error) {
	if b.remain == 0 {
		if err := b.chunkHead(); err != nil {
			return nil, err
		}
		if b.remain == 0 {
			if err := b.readTrailer(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
	}
	return b.some()
}

// chunkHead reads the end of the chunk before, if there was one, and the size line of the next.
func (b *body) chunkHead() error {
	if b.inChunk {
		end, err := b.s.line(2)
		if err != nil {
			return err
		}
		if len(end) != 2 {
			return malformed("chunked body: want CRLF after the chunk's data")
		}
	}
	line, err := b.s.line(maxChunk)
	if err != nil {
		return err
	}
	size, err := parseChunkSize(line[:len(line)-2])
	if err != nil {
		return err
	}
	b.overhead = max(b.overhead+int64(len(line))-32-2*size, 0)
	if b.overhead > maxOverhead {
		return malformed("chunked body: too much chunk overhead")
	}
	b.remain, b.inChunk = size, true
	return nil
}

// parseChunkSize reads "1a" or "1a;ext=1", with optional white space behind the size (RFC 9112 section 7.1).
func parseChunkSize(line []byte) (int64, error) {
	var size int64
	i := 0
	for ; i < len(line); i++ {
		d, ok := hexDigit(line[i])
		if !ok {
			break
		}
		if size > 1<<58 {
			return 0, malformed("chunked body: chunk size: want less than 2^62")
		}
		size = size<<4 | int64(d)
	}
	if i == 0 || i > 16 {
		return 0, malformed("chunked body: chunk size: want 1 to 16 hexadecimal digits")
	}
	rest := bytes.TrimLeft(line[i:], " \t")
	if len(rest) > 0 && rest[0] != ';' {
		return 0, malformed("chunked body: chunk size: want a semicolon or the line's end behind it")
	}
	for _, c := range rest {
		if (c < ' ' && c != '\t') || c == 0x7f {
			return 0, malformed("chunked body: control character in a chunk extension")
		}
	}
	return size, nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// readTrailer reads the trailer section and the empty line at its end.
func (b *body) readTrailer() error {
	var section strings.Builder
	for {
		line, err := b.s.line(min(len(b.s.buf), maxHead-section.Len()))
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		section.Write(line)
	}
	if section.Len() == 0 {
		return nil
	}
	section.WriteString("\r\n")
	b.trailer = make(http.Header)
	if err := parseFields(section.String(), b.trailer); err != nil {
		return err
	}
	for key := range b.trailer {
		if !trailerAllowed(key) {
			delete(b.trailer, key)
		}
	}
	return nil
}

// trailerAllowed reports whether a field may stand in a trailer section: none that decides framing, routing,
// authentication or how the content is read (RFC 9110 section 6.5.1), and none that a browser acts upon.
func trailerAllowed(key string) bool {
	if hopByHop(key) || strings.HasPrefix(key, "Content-") || strings.HasPrefix(key, "Access-Control-") ||
		strings.HasPrefix(key, "Cross-Origin-") || strings.HasPrefix(key, "If-") {
		return key == "Content-Digest" || key == "Content-Md5"
	}
	switch key {
	case "Host", "Set-Cookie", "Cookie", "Authorization", "Www-Authenticate", "Location", "Cache-Control", "Expires",
		"Age", "Date", "Vary", "Range", "Expect", "Max-Forwards", "Pragma", "Retry-After", "Strict-Transport-Security",
		"X-Frame-Options", "Permissions-Policy", "Referrer-Policy", "Server":
		return false
	}
	return true
}
