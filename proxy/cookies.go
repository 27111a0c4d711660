package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// takeCookies takes the cookies that own claims out of h and returns them. The others stay byte for byte and in order; several
// Cookie headers become one (RFC 9113, section 8.2.3). It does not allocate if there is one header and nothing is claimed.
func takeCookies(h http.Header, own func(name string) bool) []*http.Cookie {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return nil
	}
	if own == nil {
		own = func(string) bool { return false }
	}
	claimed := false
	for _, line := range lines {
		for crumb := range strings.SplitSeq(line, ";") {
			name, _ := cutCookie(crumb)
			claimed = claimed || own(name)
		}
	}
	if !claimed {
		if len(lines) > 1 {
			h["Cookie"] = []string{strings.Join(lines, "; ")}
		}
		return nil
	}
	var taken []*http.Cookie
	var kept strings.Builder
	for _, line := range lines {
		for crumb := range strings.SplitSeq(line, ";") {
			if name, value := cutCookie(crumb); own(name) {
				taken = append(taken, &http.Cookie{Name: name, Value: value})
				continue
			}
			if crumb = strings.Trim(crumb, " \t"); crumb == "" {
				continue
			}
			if kept.Len() > 0 {
				kept.WriteString("; ")
			}
			kept.WriteString(crumb)
		}
	}
	if kept.Len() == 0 {
		delete(h, "Cookie")
	} else {
		h["Cookie"] = []string{kept.String()}
	}
	return taken
}

// cutCookie splits "name=value" and drops blanks around both. A crumb without "=" is a name.
func cutCookie(crumb string) (name, value string) {
	name, value, _ = strings.Cut(crumb, "=")
	return strings.Trim(name, " \t"), strings.Trim(value, " \t")
}

// keepPrivate makes an answer that sets or ends a cookie of the gateway one that nobody stores. An application that does not
// know of the session may call the same answer public, and a cache in front that believes it would give one person's session
// to everybody (RFC 9111, section 7.3). Cdn-Cache-Control and its like (RFC 9213) outrank Cache-Control and so go too.
// What sets cookies that are public, if that is not nil, stays as it is.
func keepPrivate(h http.Header, own, public func(name string) bool) {
	if own == nil || !slices.ContainsFunc(h["Set-Cookie"], func(line string) bool {
		pair, _, _ := strings.Cut(line, ";")
		name, _ := cutCookie(pair)
		return own(name) && (public == nil || !public(name))
	}) {
		return
	}
	for name := range h {
		switch {
		case name == "Expires", name == "Surrogate-Control", name == "X-Accel-Expires", strings.HasSuffix(name, "Cdn-Cache-Control"):
			delete(h, name)
		}
	}
	h["Cache-Control"] = []string{"no-store"}
}
