package certs

import (
	"net"
	"net/netip"
	"strings"
)

// A hostSet holds host names and patterns like *.example.com, in their normal form.
type hostSet map[string]struct{}

func newHostSet(lists ...[]string) hostSet {
	s := make(hostSet)
	for _, list := range lists {
		for _, host := range list {
			if host = normal(host); host != "" {
				s[host] = struct{}{}
			}
		}
	}
	return s
}

// has reports whether name is in the set or matches a pattern of it. A star stands for exactly one label, as
// in certificates (RFC 9525 section 6.3).
func (s hostSet) has(name string) bool {
	if _, ok := s[name]; ok {
		return true
	}
	_, ok := s[wildcard(name)]
	return ok
}

// wildcard is the pattern that name matches, "" when it has one label.
func wildcard(name string) string {
	if _, rest, ok := strings.Cut(name, "."); ok {
		return "*." + rest
	}
	return ""
}

// normal lowers a host name and takes the root's dot off.
func normal(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// hostOnly takes the port off the Host of a request, and the brackets off an address.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return normal(strings.Trim(host, "[]"))
}

// notIssuable says why no certificate can be had for host by HTTP-01 or TLS-ALPN-01; "" when one can.
func notIssuable(host string) string {
	switch {
	case strings.Contains(host, "*"):
		return "a certificate for a wildcard needs a DNS challenge: want exact names, or the wildcard in certificates"
	case !validName(normal(host)):
		return "not a host name: want one like app.example.com"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "an address, not a host name: want one like app.example.com"
	}
	return ""
}

// validName admits labels of letters, digits, hyphens and underscores (RFC 1123 section 2.1, with the
// underscore that is found in the wild).
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
