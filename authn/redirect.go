package authn

import (
	"net/http"
	"net/url"
	"strings"
)

// maxReturn bounds a return path, which travels in a cookie.
const maxReturn = 2048

// SafeReturn returns rd when it is certain that a browser stays on this host with it, and "/"
// otherwise. What is certain: an absolute path of printable ASCII without "//", "\", dot segments,
// or a fragment, also after its escapes have been undone any number of times. A query may hold
// anything printable but "\" and "#".
func SafeReturn(rd string) string {
	if !plainPath(rd) || strings.ContainsRune(rd, '#') {
		return "/"
	}
	p, query, _ := strings.Cut(rd, "?")
	if !safePath(p) || hasEscapedControl(query) {
		return "/"
	}
	return rd
}

// plainPath is what a Location may be made of at the very least: one slash, then bytes that no
// browser drops, folds or reads as a slash.
func plainPath(s string) bool {
	if s == "" || len(s) > maxReturn || s[0] != '/' {
		return false
	}
	if len(s) > 1 && s[1] == '/' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c > 0x7e || c == '\\' {
			return false
		}
	}
	return true
}

// safePath looks at a path as it is and as it becomes when somebody downstream unescapes it, again
// and again.
func safePath(p string) bool {
	for round := range 8 {
		for i := range len(p) {
			if c := p[i]; c <= 0x20 || c == 0x7f || c == '\\' {
				return false
			}
		}
		for i, segment := range strings.Split(p, "/") {
			if segment == "." || segment == ".." || (segment == "" && i > 0 && i < strings.Count(p, "/")) {
				return false
			}
		}
		next, err := url.PathUnescape(p)
		if err != nil {
			return round > 0 // "/100%25" is fine, "/100%" was never a path
		}
		if next == p {
			return true
		}
		if strings.Count(next, "/") != strings.Count(p, "/") {
			return false
		}
		p = next
	}
	return false
}

func hasEscapedControl(query string) bool {
	for i := 0; i+2 < len(query); i++ {
		if query[i] == '%' && (query[i+1] == '0' || query[i+1] == '1') {
			return true
		}
	}
	return false
}

// ownReturn returns the address that a request came to, as far as a browser can come back to it.
// The router has already read it as a path of this host, so escapes may stand as they are.
func ownReturn(r *http.Request) string {
	s := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		s += "?" + r.URL.RawQuery
	}
	if !plainPath(s) {
		return "/"
	}
	return s
}

// withQuery adds parameters to an address that may have some already. Blanks become %20.
func withQuery(base string, params []param) string {
	var b strings.Builder
	b.WriteString(base)
	sep := byte('?')
	if strings.Contains(base, "?") {
		sep = '&'
	}
	for _, p := range params {
		b.WriteByte(sep)
		b.WriteString(escape(p.name))
		b.WriteByte('=')
		b.WriteString(escape(p.value))
		sep = '&'
	}
	return b.String()
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
