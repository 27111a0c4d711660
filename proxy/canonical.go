package proxy

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxTarget bounds the request target in bytes. It is an ALB's limit for a request line.
	maxTarget = 16 << 10
	// maxArguments bounds query parameters. Coraza's SecArgumentsLimit is the same, so nothing passes here that is not read there.
	maxArguments = 1000
)

// findings says which spellings a path has that upstreams read in more than one way and that a route may admit by name.
type findings uint8

const (
	foundEncodedSlash findings = 1 << iota
	foundBackslash
	foundSemicolon
	foundReserved
	foundDoubleSlash
)

// refusal returns the reason to refuse f, which is not zero.
func (f findings) refusal() *Refusal {
	switch {
	case f&foundEncodedSlash != 0:
		return errEncodedSlash
	case f&foundBackslash != 0:
		return errBackslash
	case f&foundSemicolon != 0:
		return errSemicolon
	case f&foundReserved != 0:
		return errReserved
	default:
		return errDoubleSlash
	}
}

// A canonPath is the one spelling of a path. Escaped is what is forwarded: escapes in upper case, unreserved characters
// never escaped, everything a path cannot hold escaped (RFC 3986, sections 3.3 and 6.2.2). Path is Escaped decoded once.
type canonPath struct {
	escaped, path string
	found         findings
}

// canonicalPath returns the canonical form of raw, the path of a request target without its query. It refuses what no
// route may admit: a relative path, a fragment, control bytes raw or encoded (the encoded tab excepted, which RFC 3986
// allows and no known reader treats specially), blanks, broken escapes, invalid UTF-8 and dot segments under any reading.
// It is idempotent, decodes exactly once and does not allocate for a path that is canonical already and has no escapes.
func canonicalPath(raw string) (canonPath, error) {
	c, err := decodedPath(raw)
	if err != nil {
		return canonPath{}, err
	}
	if hasDotSegment(c.path) {
		return canonPath{}, errDotSegment
	}
	for mask := findings(1); mask <= c.found; mask++ {
		if mask&^c.found == 0 && hasDotSegment(reading(c.escaped, mask)) {
			return canonPath{}, errDotSegment
		}
	}
	return c, nil
}

// decodedPath is canonicalPath without the look for dot segments.
func decodedPath(raw string) (canonPath, error) {
	if raw == "" || raw[0] != '/' {
		return canonPath{}, errTargetForm
	}
	c := canonPath{escaped: raw, path: raw}
	for i := 0; i < len(raw); i++ {
		if !plainPathByte(raw[i]) {
			var err error
			if c, err = rewritePath(raw, i); err != nil {
				return canonPath{}, err
			}
			break
		}
	}
	if strings.Contains(c.escaped, "//") {
		c.found |= foundDoubleSlash
	}
	c.findEmptySegments()
	return c, nil
}

// findEmptySegments adds to the findings the empty segments that only some combination of readings has.
func (c *canonPath) findEmptySegments() {
	for mask := findings(1); mask <= c.found && mask < foundDoubleSlash; mask++ {
		if mask&^c.found == 0 && strings.Contains(reading(c.escaped, mask), "//") {
			c.found |= foundDoubleSlash
			return
		}
	}
}

// rewritePath does the work of canonicalPath for a path whose bytes up to from are plain.
func rewritePath(raw string, from int) (canonPath, error) {
	var found findings
	var escaped, path strings.Builder
	escaped.Grow(len(raw) + 16)
	path.Grow(len(raw))
	escaped.WriteString(raw[:from])
	path.WriteString(raw[:from])
	for i := from; i < len(raw); i++ {
		b, encoded := raw[i], false
		switch {
		case b == '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return canonPath{}, errEscape
			}
			b, encoded = unhex(raw[i+1])<<4|unhex(raw[i+2]), true
			i += 2
		case b == '#':
			return canonPath{}, errFragment
		case b == ' ':
			return canonPath{}, errSpace
		case b == '?':
			return canonPath{}, errTargetForm
		}
		if b < ' ' && (b != '\t' || !encoded) || b == 0x7f {
			return canonPath{}, errControl
		}
		found |= finding(b, encoded)
		path.WriteByte(b)
		if unreserved(b) || !encoded && (plainPathByte(b) || b == ';') {
			escaped.WriteByte(b)
			continue
		}
		escaped.WriteByte('%')
		escaped.WriteByte(upperHex[b>>4])
		escaped.WriteByte(upperHex[b&15])
	}
	if !utf8.ValidString(path.String()) {
		return canonPath{}, errUTF8
	}
	return canonPath{escaped: escaped.String(), path: path.String(), found: found}, nil
}

// finding returns what one decoded byte of a path means for its readings.
func finding(b byte, encoded bool) findings {
	switch {
	case b == '/' && encoded:
		return foundEncodedSlash
	case b == '\\':
		return foundBackslash
	case b == ';':
		return foundSemicolon
	case b == '?' || b == '#':
		return foundReserved
	}
	return 0
}

// reading returns the path as an upstream reads it that gives the spellings in mask their special meaning: an encoded slash
// and a backslash separate segments, a semicolon ends a segment's name, an encoded ? or # ends the path, empty segments are
// dropped. Spellings outside mask stand for themselves; an encoded slash stays "%2F". The argument is a canonical path.
func reading(escaped string, mask findings) string {
	out := make([]byte, 0, len(escaped))
	parameter := false
	for i := 0; i < len(escaped); i++ {
		b, encoded := escaped[i], false
		if b == '%' {
			b, encoded = unhex(escaped[i+1])<<4|unhex(escaped[i+2]), true
			i += 2
		}
		kind := finding(b, encoded)
		special := kind&mask != 0
		if special && kind == foundReserved {
			break
		}
		if special && kind == foundSemicolon {
			parameter = true
			continue
		}
		if special {
			b = '/'
		}
		if kind == foundEncodedSlash && !special {
			if !parameter {
				out = append(out, "%2F"...)
			}
			continue
		}
		if b == '/' {
			parameter = false
			if mask&foundDoubleSlash != 0 && len(out) > 0 && out[len(out)-1] == '/' {
				continue
			}
		}
		if !parameter {
			out = append(out, b)
		}
	}
	return string(out)
}

// hasDotSegment reports whether a decoded path has a segment that some file system or URL library takes for "." or "..",
// or that ends in exactly two dots: "/api../x" becomes "/../x" where a careless rewrite takes the prefix "/api" off.
// Blanks and tabs are ignored because Windows and the WHATWG URL parser drop them.
func hasDotSegment(path string) bool {
	if strings.IndexByte(path, '.') < 0 {
		return false
	}
	dots, other := 0, false
	for i := 0; i <= len(path); i++ {
		if i == len(path) || path[i] == '/' {
			if dots == 2 || dots > 0 && !other {
				return true
			}
			dots, other = 0, false
			continue
		}
		switch path[i] {
		case '.':
			dots++
		case ' ', '\t':
		default:
			dots, other = 0, true
		}
	}
	return false
}

// checkQuery refuses a raw query with a control byte, a blank, a "#", invalid UTF-8 or more than maxArguments parameters,
// counting both "&" and ";" as separators because upstreams differ. Everything else in ASCII is forwarded byte for byte: browsers
// send []{}|^` and people type "?q=100%", so broken percent-encoding is left to the WAF (rule 920220) and the application.
func checkQuery(query string) error {
	arguments, ascii := 1, true
	for i := 0; i < len(query); i++ {
		switch b := query[i]; {
		case b <= ' ' || b == 0x7f:
			return errQueryBytes
		case b == '#':
			return errFragment
		case b == '&' || b == ';':
			arguments++
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	if arguments > maxArguments {
		return errQueryArguments
	}
	if !ascii && !utf8.ValidString(query) {
		return errQueryBytes
	}
	return nil
}

// escapeQuery escapes what is not ASCII in a checked query, which a request line cannot hold. Over HTTP/2 some clients send it.
func escapeQuery(query string) string {
	first := strings.IndexFunc(query, func(r rune) bool { return r >= utf8.RuneSelf })
	if first < 0 {
		return query
	}
	var b strings.Builder
	b.WriteString(query[:first])
	for i := first; i < len(query); i++ {
		c := query[i]
		if c < utf8.RuneSelf {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// unreserved reports RFC 3986's unreserved characters, which mean the same encoded or not.
func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '.' || b == '_' || b == '~'
}

// plainPathByte reports bytes that stand for themselves in a path and need no thought: RFC 3986's pchar and "/" without
// ";" and "%", and the brackets that browsers send raw.
func plainPathByte(b byte) bool {
	if unreserved(b) {
		return true
	}
	switch b {
	case '/', '!', '$', '&', '\'', '(', ')', '*', '+', ',', '=', ':', '@', '[', ']':
		return true
	}
	return false
}

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}

// unhex returns the value of a hexadecimal digit.
func unhex(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	case b <= 'F':
		return b - 'A' + 10
	}
	return b - 'a' + 10
}
