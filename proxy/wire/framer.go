package wire

import "bytes"

// Limits of a head.
const (
	maxRequestLine = 16 << 10 // ALB's limit
	maxFields      = 256      // browsers send under 40; each field costs every rule of the WAF
	maxTrailer     = 2 << 10  // a checksum and a signature, and the last-chunk line
)

type state uint8

const (
	inHead    state = iota // at or inside a request head
	inLength               // inside a body with Content-Length
	inChunk                // at a chunk-size line
	inData                 // inside chunk data
	inDataEnd              // at the CRLF behind chunk data
	inTrailer              // behind the last-chunk line, which the trailer section begins with
	held                   // behind a request that asks for an upgrade: nothing is read
)

// A framer reads a stream of HTTP/1 requests. It holds no bytes: step is called with those that were not used yet and
// says how many of them are. The zero value, with maxHead set, is at the start of a stream.
type framer struct {
	state   state
	maxHead int
	into    *exchange // takes what a head and a trailer section say, if it is there

	// The pending unit is a head, a chunk-size line or a trailer section. The bytes given to step begin
	// with it.
	line    int // where its current line begins
	scanned int // how far line ends have been searched

	left   int64 // bytes left of the body or the chunk
	excess int64 // framing bytes of chunks above their allowance
	blank  bool  // one empty line before this head was dropped
	head   facts
}

// facts is what a head says about itself that framing depends on.
type facts struct {
	fields   int
	http10   bool
	connect  bool
	upgrade  bool
	host     bool
	target   span // the authority of an absolute target, within the unit
	chunked  bool
	length   bool
	bodySize int64
}

// A span is a part of the pending unit.
type span struct{ from, to int }

// step reads b, which begins with what earlier calls did not use: a unit, or a piece of content. The first n bytes are
// used; the skip bytes behind them must be dropped. If both are 0 and the state has not changed, more is needed. An
// error is final; the state then tells whether it lies in a head or in a body.
func (f *framer) step(b []byte) (n, skip int, err *Error) {
	switch f.state {
	case inHead:
		if b[0] == '\r' || f.line == 0 && f.scanned == 0 {
			if skip, err = f.start(b); skip > 0 || err != nil {
				return 0, skip, err
			}
		}
		n, err = f.scanHead(b)
	case inLength, inData:
		n = int(min(f.left, int64(len(b))))
		f.took(n)
	case inChunk:
		n, err = f.scanChunk(b)
	case inDataEnd:
		n, err = f.scanDataEnd(b)
	case inTrailer:
		n, err = f.scanTrailer(b)
	case held:
	}
	return n, 0, err
}

// start looks at the first byte of a head. RFC 9112 section 2.2 has a server ignore at least one empty line
// in front of a request; it ignores exactly one.
func (f *framer) start(b []byte) (skip int, err *Error) {
	switch {
	case b[0] != '\r' && !isToken[b[0]]:
		return 0, errLeadingBytes
	case b[0] != '\r' || len(b) == 1:
		return 0, nil
	case b[1] != '\n' || f.blank:
		return 0, errLeadingBytes
	}
	f.blank, f.line, f.scanned = true, 0, 0
	return 2, nil
}

// nextLine finds the next whole line of the pending unit, without its CRLF.
func (f *framer) nextLine(b []byte) (line []byte, ok bool, err *Error) {
	i := bytes.IndexByte(b[f.scanned:], '\n')
	if i < 0 {
		f.scanned = len(b)
		return nil, false, nil
	}
	end := f.scanned + i
	if end == f.line || b[end-1] != '\r' {
		return nil, false, errBareLF
	}
	line = b[f.line : end-1]
	f.line, f.scanned = end+1, end+1
	return line, true, nil
}

func (f *framer) endUnit() (n int) {
	n = f.line
	f.line, f.scanned = 0, 0
	return n
}

// scanHead returns the head's length when all of it is in b and good, 0 when more is needed.
func (f *framer) scanHead(b []byte) (int, *Error) {
	for {
		first := f.line == 0
		line, ok, err := f.nextLine(b)
		if err != nil {
			return 0, err
		}
		if first && (ok && len(line) > maxRequestLine || !ok && len(b) > maxRequestLine) {
			return 0, errLineTooLong
		}
		if f.scanned > f.maxHead {
			return 0, errHeadTooLong
		}
		switch {
		case !ok:
			return 0, nil
		case first:
			err = f.requestLine(line)
		case len(line) == 0:
			if err := f.endHead(); err != nil {
				return 0, err
			}
			return f.endUnit(), nil
		default:
			err = f.field(line, b[f.head.target.from:f.head.target.to])
		}
		if err != nil {
			return 0, err
		}
	}
}

// endHead decides the framing of the body, RFC 9112 section 6.3, refusing what that section lets a server
// repair.
func (f *framer) endHead() *Error {
	h := &f.head
	switch {
	case !h.host && !h.http10:
		return errNoHost
	case h.chunked && h.http10:
		return errCodingOn10
	case h.chunked && h.length:
		return errBothFramings
	case h.chunked:
		f.state, f.excess = inChunk, 0
	case h.bodySize > 0:
		f.state, f.left = inLength, h.bodySize
	}
	if f.into != nil {
		f.into.end(f)
	}
	if f.state == inHead {
		f.endMessage()
	}
	return nil
}

// took follows content that was used.
func (f *framer) took(n int) {
	if f.left -= int64(n); f.left == 0 {
		f.endData()
	}
}

// endData follows the last byte of a body with Content-Length, or of a chunk.
func (f *framer) endData() {
	if f.state == inData {
		f.state = inDataEnd
		return
	}
	f.endMessage()
}

func (f *framer) endMessage() {
	f.state = inHead
	if f.head.upgrade || f.head.connect {
		f.state = held
	}
	f.head = facts{}
	f.blank = false
}

// inBody reports whether the stream stands inside a request's body.
func (f *framer) inBody() bool { return f.state != inHead && f.state != held }

// inContent reports whether it stands inside the content of one.
func (f *framer) inContent() bool { return f.state == inLength || f.state == inData }
