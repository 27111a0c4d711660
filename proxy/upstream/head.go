package upstream

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// maxHead bounds a response head, and a trailer section, in bytes.
const maxHead = 64 << 10

// head is the start of a response, and what it says about the body.
type head struct {
	status int
	minor  int // of HTTP/1.x
	kind   bodyKind
	length int64 // with bodySized
	keep   bool  // the connection may be used again after this response
}

// bodyKind is how the end of a response body is found (RFC 9112 section 6.3).
type bodyKind uint8

const (
	bodyNone      bodyKind = iota
	bodySized              // Content-Length
	bodyChunked            // Transfer-Encoding: chunked
	bodyUntilEOF           // the upstream closes the connection
	bodyTunnelled          // 101: there is no HTTP any more
)

// headEnd returns the length of the head at the start of b, its empty line included, or -1 if b does not hold all of
// it yet. The bytes before from have been looked at by an earlier call.
func headEnd(b []byte, from int) int {
	// An end may straddle from by up to three bytes.
	i := max(from-3, 0)
	for {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		if i < len(b) && b[i] == '\n' {
			return i + 1
		}
		if i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
			return i + 2
		}
	}
}

// cannotBeHead reports early that b, the first bytes of a response, do not start an HTTP/1 status line, so that an
// upstream that speaks another protocol is not waited for.
func cannotBeHead(b []byte) bool {
	const start = "HTTP/1."
	n := min(len(b), len(start))
	return string(b[:n]) != start[:n]
}

// parseHead reads a whole response head, its empty line included, into h. The strings of h share s. A line may end
// in LF alone (RFC 9112 section 2.2); a CR anywhere else, an obs-fold, and a name that is no token are refused.
func parseHead(s string, h http.Header) (head, error) {
	line, rest, _ := cutLine(s)
	hd, err := parseStatusLine(line)
	if err != nil {
		return hd, err
	}
	return hd, parseFields(rest, h)
}

// cutLine splits s after its first line and takes the line's end off.
func cutLine(s string) (line, rest string, ok bool) {
	i := strings.IndexByte(s, '\n')
	if i < 0 {
		return s, "", false
	}
	line, rest = s[:i], s[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest, true
}

// parseStatusLine reads "HTTP/1.x NNN reason" (RFC 9112 section 4). The reason may be absent with its space.
func parseStatusLine(line string) (head, error) {
	var hd head
	const versions = "HTTP/1."
	if len(line) < len(versions)+1 || line[:len(versions)] != versions || (line[7] != '0' && line[7] != '1') {
		return hd, malformed("status line: want HTTP/1.0 or HTTP/1.1, got %.16q", line)
	}
	hd.minor = int(line[7] - '0')
	if len(line) < 12 || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') {
		return hd, malformed("status line: want a three-digit code, got %.24q", line)
	}
	for _, c := range []byte(line[9:12]) {
		if c < '0' || c > '9' {
			return hd, malformed("status line: want a three-digit code, got %.24q", line)
		}
		hd.status = hd.status*10 + int(c-'0')
	}
	if hd.status < 100 {
		return hd, malformed("status line: want a code from 100, got %d", hd.status)
	}
	if !validValue(line[12:]) {
		return hd, malformed("status line: control character in the reason")
	}
	return hd, nil
}

// parseFields reads field lines up to the empty line into h, with canonical keys.
func parseFields(s string, h http.Header) error {
	values := make([]string, 0, strings.Count(s, "\n"))
	for {
		line, rest, ok := cutLine(s)
		if !ok {
			return malformed("field section: want an empty line at its end")
		}
		if line == "" {
			return nil
		}
		s = rest
		key, value, err := parseField(line)
		if err != nil {
			return err
		}
		if prior, ok := h[key]; ok {
			h[key] = append(prior, value)
			continue
		}
		values = append(values, value)
		h[key] = values[len(values)-1 : len(values) : len(values)]
	}
}

// parseField reads one field line. White space between name and colon is removed, as RFC 9112 section 5.1 asks of a
// proxy for responses.
func parseField(line string) (key, value string, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return "", "", malformed("field section: folded line") // RFC 9112 section 5.2
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return "", "", malformed("field section: line without a colon")
	}
	name = trimRight(name)
	if !validToken(name) {
		return "", "", malformed("field name: want a token, got %.40q", name)
	}
	value = trim(value)
	if !validValue(value) {
		return "", "", malformed("field %.40s: control character in the value", name)
	}
	return textproto.CanonicalMIMEHeaderKey(name), value, nil
}

// frame decides how the body of the response to a request with the given method ends, and whether the connection
// outlives it. What two readers could frame differently is refused (RFC 9112 section 6.3).
func (hd *head) frame(method string, h http.Header) error {
	te, cl := h["Transfer-Encoding"], h["Content-Length"]
	length := int64(-1)
	if len(cl) > 0 {
		var err error
		if length, err = parseLength(cl); err != nil {
			return err
		}
	}
	if len(te) > 0 {
		switch {
		case len(cl) > 0:
			return malformed("framing: both Content-Length and Transfer-Encoding")
		case hd.minor == 0:
			return malformed("framing: Transfer-Encoding in HTTP/1.0")
		case len(te) != 1 || !strings.EqualFold(te[0], "chunked"):
			return malformed("framing: transfer coding: want chunked, got %.40q", te)
		}
	}
	hd.keep = keepAlive(hd.minor, h["Connection"])
	switch {
	case hd.status == http.StatusSwitchingProtocols:
		hd.kind, hd.keep = bodyTunnelled, false
	case method == http.MethodHead, hd.status < 200, hd.status == http.StatusNoContent, hd.status == http.StatusNotModified:
		hd.kind = bodyNone
	case len(te) > 0:
		hd.kind = bodyChunked
	case length >= 0:
		hd.kind, hd.length = bodySized, length
	default:
		hd.kind, hd.keep = bodyUntilEOF, false
	}
	return nil
}

func keepAlive(minor int, connection []string) bool {
	if len(connection) == 0 {
		return minor == 1
	}
	if hasToken(connection, "close") {
		return false
	}
	return minor == 1 || hasToken(connection, "keep-alive")
}

// parseLength reads the values of Content-Length: decimal digits, repeated values equal.
func parseLength(values []string) (int64, error) {
	length := int64(-1)
	for _, v := range values {
		for {
			part, rest, more := strings.Cut(v, ",")
			n, err := parseDecimal(trim(part))
			if err != nil {
				return 0, err
			}
			if length >= 0 && n != length {
				return 0, malformed("framing: Content-Length: want one value, got %d and %d", length, n)
			}
			length = n
			if !more {
				break
			}
			v = rest
		}
	}
	return length, nil
}

func parseDecimal(s string) (int64, error) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, malformed("framing: Content-Length: want digits, got %.40q", s)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, malformed("framing: Content-Length: want a 63-bit number, got %.40q", s)
	}
	return n, nil
}
