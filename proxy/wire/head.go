package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// requestLine checks `METHOD SP target SP HTTP/1.x` with exactly one space at each place, RFC 9112 section 3.
func (f *framer) requestLine(line []byte) *Error {
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 {
		return errRequestLine
	}
	method, rest := line[:sp], line[sp+1:]
	if !allToken(method) {
		return errMethod
	}
	const version = len(" HTTP/1.1")
	if len(rest) <= version || rest[len(rest)-version] != ' ' {
		return errRequestLine
	}
	v := rest[len(rest)-version+1:]
	switch {
	case string(v) == "HTTP/1.1":
	case string(v) == "HTTP/1.0":
		f.head.http10 = true
	case string(v[:5]) == "HTTP/" && isDigit(v[5]) && v[6] == '.' && isDigit(v[7]):
		return errVersion
	default:
		return errRequestLine
	}
	f.head.connect = string(method) == "CONNECT"
	target := rest[:len(rest)-version]
	authority, err := checkTarget(string(method), target)
	if len(authority) > 0 {
		from := bytes.Index(line, []byte("://")) + len("://") // a method has no colon
		f.head.target = span{from, from + len(authority)}
	}
	if err == nil && f.into != nil {
		err = f.into.line(method, target, f.head.http10)
	}
	return err
}

// checkTarget admits the four forms of RFC 9112 section 3.2 as far as url.ParseRequestURI reads them the same way. It
// returns the authority of an absolute target.
func checkTarget(method string, t []byte) (authority []byte, err *Error) {
	for _, c := range t {
		if c <= ' ' || c >= 0x7f {
			return nil, errTargetByte
		}
	}
	switch {
	case method == "CONNECT":
		if c := bytes.LastIndexByte(t, ':'); c < 0 || !validHost(t) || !allDigits(t[c+1:]) {
			return nil, errTargetForm
		}
		return nil, nil
	case t[0] == '/':
		return nil, checkPath(t)
	case method == "OPTIONS" && string(t) == "*":
		return nil, nil
	}
	rest, ok := cutScheme(t)
	if !ok {
		return nil, errTargetForm
	}
	authority, path := rest, []byte(nil)
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if !validHost(authority) {
		return nil, errTargetForm
	}
	return authority, checkPath(path)
}

func cutScheme(t []byte) (rest []byte, ok bool) {
	for _, scheme := range []string{"http://", "https://"} {
		if len(t) > len(scheme) && is(t[:len(scheme)], scheme) {
			return t[len(scheme):], true
		}
	}
	return nil, false
}

// checkPath checks the percent escapes in front of the query.
func checkPath(p []byte) *Error {
	if q := bytes.IndexByte(p, '?'); q >= 0 {
		p = p[:q]
	}
	for {
		i := bytes.IndexByte(p, '%')
		if i < 0 {
			return nil
		}
		if len(p) < i+3 || hexValue[p[i+1]] < 0 || hexValue[p[i+2]] < 0 {
			return errTargetEscape
		}
		p = p[i+3:]
	}
}

// field checks one field line of a head. authority is that of an absolute target.
func (f *framer) field(line, authority []byte) *Error {
	name, value, err := splitField(line)
	if err == nil {
		err = f.checkField(name, value, authority)
	}
	if err == nil && f.into != nil {
		f.into.field(name, value)
	}
	return err
}

// checkField remembers what framing depends on.
func (f *framer) checkField(name, value, authority []byte) *Error {
	h := &f.head
	if h.fields++; h.fields > maxFields {
		return errTooManyFields
	}
	switch len(name) {
	case len("host"):
		if is(name, "host") {
			return h.setHost(value, authority)
		}
	case len("expect"):
		if is(name, "expect") && !h.http10 && !is(value, "100-continue") {
			return errExpect
		}
	case len("upgrade"):
		if is(name, "upgrade") {
			h.upgrade = true
		} else if is(name, "trailer") {
			return checkTrailerNames(value)
		}
	case len("content-length"):
		if is(name, "content-length") {
			return h.setLength(value)
		}
	case len("transfer-encoding"):
		if is(name, "transfer-encoding") {
			return h.setCoding(value)
		}
	}
	if looksLikeFraming(name) {
		return errLookAlike
	}
	return nil
}

// splitField checks the grammar of a field line, RFC 9110 section 5 and RFC 9112 section 5, and returns the
// value without the white space around it. Bytes above 0x7f pass in values (obs-text).
func splitField(line []byte) (name, value []byte, err *Error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !allToken(line[:colon]) {
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return nil, nil, errFold
		}
		return nil, nil, errFieldName
	}
	value = line[colon+1:]
	if hasControl(value) {
		return nil, nil, errFieldValue
	}
	return line[:colon], trimBlank(value), nil
}

// setHost takes one Host. That of a request with an absolute target must be its authority (RFC 9112 section
// 3.2): the authority counts then, and a request has one host, not two.
func (h *facts) setHost(value, authority []byte) *Error {
	if h.host {
		return errManyHosts
	}
	h.host = true
	if !validHost(value) {
		return errHost
	}
	if len(authority) > 0 && !bytes.EqualFold(value, authority) {
		return errTwoHosts
	}
	return nil
}

// setLength takes digits only, below 2^63: no sign, no list, no repetition even of the same value, although
// RFC 9112 section 6.3 allows to fold those.
func (h *facts) setLength(value []byte) *Error {
	if h.length {
		return errManyLengths
	}
	h.length = true
	const maxDigits = 18 // 19 digits can exceed 2^63
	if len(value) > maxDigits || !allDigits(value) {
		return errLength
	}
	for _, c := range value {
		h.bodySize = h.bodySize*10 + int64(c-'0')
	}
	return nil
}

func (h *facts) setCoding(value []byte) *Error {
	if h.chunked {
		return errManyCodings
	}
	h.chunked = true
	if is(value, "chunked") {
		return nil
	}
	// RFC 9112 section 6.3: 400 if chunked is not last, because then nobody knows where the body ends; section 6.1: 501 for a
	// coding before it.
	last := value[bytes.LastIndexByte(value, ',')+1:]
	if is(bytes.Trim(last, " \t"), "chunked") {
		return errCoding
	}
	return errLastCoding
}

// validHost admits a registered name of letters, digits and "._-", an IPv4 address or an IPv6 address in
// brackets, with an optional port of one to five digits (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
func validHost(v []byte) bool {
	const longest = 253 + len(":65535")
	if len(v) == 0 || len(v) > longest {
		return false
	}
	if v[0] == '[' {
		end := bytes.IndexByte(v, ']')
		if end < 0 {
			return false
		}
		ip, err := netip.ParseAddr(string(v[1:end]))
		return err == nil && ip.Is6() && !ip.Is4In6() && ip.Zone() == "" && validPort(v[end+1:])
	}
	for i, c := range v {
		switch {
		case isDigit(c), 'a' <= c|0x20 && c|0x20 <= 'z', c == '.', c == '-', c == '_':
		case c == ':':
			return i > 0 && validPort(v[i:])
		default:
			return false
		}
	}
	return true
}

// validPort takes nothing, or a colon and a number.
func validPort(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	if v[0] != ':' || len(v) > len(":65535") || !allDigits(v[1:]) {
		return false
	}
	n := 0
	for _, c := range v[1:] {
		n = n*10 + int(c-'0')
	}
	return n <= 0xffff
}

// looksLikeFraming finds names that a lax reader may take for one of the two framing fields: the same letters
// with other bytes between or around them. The exact names never come here.
func looksLikeFraming(name []byte) bool {
	if len(name) < len("contentlength") {
		return false
	}
	switch name[0] | 0x20 {
	case 'c', 't':
	default:
		if 'a' <= name[0]|0x20 && name[0]|0x20 <= 'z' {
			return false
		}
	}
	return foldsTo(name, "contentlength") || foldsTo(name, "transferencoding")
}

// foldsTo compares the letters of name, and only those, with want.
func foldsTo(name []byte, want string) bool {
	i := 0
	for _, c := range name {
		c |= 0x20
		if c < 'a' || c > 'z' {
			continue
		}
		if i == len(want) || c != want[i] {
			return false
		}
		i++
	}
	return i == len(want)
}

// is compares an ASCII name with its lower-case form.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func allToken(b []byte) bool {
	for _, c := range b {
		if !isToken[c] {
			return false
		}
	}
	return true
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func trimBlank(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// hasControl finds bytes below 0x20 other than HTAB, and 0x7f. Eight bytes are looked at together: a word in
// which none of them can be is passed over.
func hasControl(b []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		low := (w - ones*0x20) & ^w & highs // a byte below 0x20; may also flag its neighbour
		del := w ^ ones*0x7f                // a byte equal to 0x7f is zero here
		del = (del - ones) & ^del & highs   // the usual test for a zero byte
		if low|del != 0 && anyControl(b[:8]) {
			return true
		}
		b = b[8:]
	}
	return anyControl(b)
}

func anyControl(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
