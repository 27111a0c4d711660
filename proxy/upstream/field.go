package upstream

import (
	"net/textproto"
	"strings"
)

// tokenByte holds the characters of a token (RFC 9110 section 5.6.2): what a field name or a method is made of.
var tokenByte = [256]bool{
	'!': true, '#': true, '$': true, '%': true, '&': true, '\'': true, '*': true, '+': true, '-': true, '.': true,
	'^': true, '_': true, '`': true, '|': true, '~': true,
	'0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true, '8': true, '9': true,
	'a': true, 'b': true, 'c': true, 'd': true, 'e': true, 'f': true, 'g': true, 'h': true, 'i': true, 'j': true,
	'k': true, 'l': true, 'm': true, 'n': true, 'o': true, 'p': true, 'q': true, 'r': true, 's': true, 't': true,
	'u': true, 'v': true, 'w': true, 'x': true, 'y': true, 'z': true,
	'A': true, 'B': true, 'C': true, 'D': true, 'E': true, 'F': true, 'G': true, 'H': true, 'I': true, 'J': true,
	'K': true, 'L': true, 'M': true, 'N': true, 'O': true, 'P': true, 'Q': true, 'R': true, 'S': true, 'T': true,
	'U': true, 'V': true, 'W': true, 'X': true, 'Y': true, 'Z': true,
}

// validToken reports whether s is a token: not empty, and nothing but token characters.
func validToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// validValue reports whether s may be a field value: no control character but HTAB (RFC 9110 section 5.5).
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if len(s)-i >= 8 && allPrintable(s[i:i+8]) {
			i += 7
		} else if c := s[i]; (c < ' ' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return true
}

// allPrintable reports whether eight bytes are all printable ASCII. It may say no to some that are: it looks at them
// together, which matters for cookies and tokens of several thousand bytes.
func allPrintable(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	del := w ^ ones*0x7f // a byte equal to 0x7f is zero here
	return (w|(w-ones*' ')|(del-ones)&^del)&highs == 0
}

// validHost reports whether s is made of what a Host may hold: a name, an IPv4 address, or brackets, and a port.
func validHost(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("/?#@\\,\"<>^`{|}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// validTarget reports whether s can stand in a request line: no control character, no space, no '#'.
func validTarget(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// trim takes optional white space (RFC 9110 section 5.6.3) off both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return trimRight(s)
}

func trimRight(s string) string {
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// hasToken reports whether the comma-separated lists in values hold token, in any case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(trim(part), token) {
				return true
			}
		}
	}
	return false
}

// hopByHop reports whether a field belongs to one connection only (RFC 9110 section 7.6.1). The key is canonical.
func hopByHop(key string) bool {
	switch key {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authorization", "Http2-Settings":
		return true
	}
	return false
}

// listed adds the canonical names in Connection's values to names, but for those that keep says stay.
func listed(names []string, connection []string, keep func(key string) bool) []string {
	for _, v := range connection {
		if strings.EqualFold(v, "close") || strings.EqualFold(v, "keep-alive") {
			continue // nearly always
		}
		for part := range strings.SplitSeq(v, ",") {
			key := textproto.CanonicalMIMEHeaderKey(trim(part))
			if key != "" && !keep(key) {
				names = append(names, key)
			}
		}
	}
	return names
}

// keepInRequest reports whether a request field stays although the client lists it in Connection: taking one of
// these out on a client's word would change who the upstream thinks is asking, or what it thinks is asked.
func keepInRequest(key string) bool {
	switch key {
	case "Host", "Cookie", "Authorization", "Content-Length", "Content-Type", "Content-Encoding", "Forwarded", "Via",
		"Max-Forwards", "Origin", "Cache-Control":
		return true
	}
	return strings.HasPrefix(key, "X-Forwarded-") || strings.HasPrefix(key, "X-Amzn-") || strings.HasPrefix(key, "Sec-")
}

// keepInResponse is keepInRequest for the upstream's answer: only framing and what a cache or a browser relies on.
func keepInResponse(key string) bool {
	switch key {
	case "Content-Length", "Content-Type", "Content-Encoding", "Cache-Control", "Date", "Vary":
		return true
	}
	return false
}
