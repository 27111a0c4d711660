package proxy

import (
	"net/netip"
	"strconv"
	"strings"
)

// splitHost returns the host of an authority in lower case without port and without a trailing dot, and its port or "". It
// refuses userinfo, paths, an empty port, a port out of range, empty labels and every byte outside [A-Za-z0-9._-], which is
// stricter than RFC 3986's reg-name and what DNS and certificates can hold. An address in brackets is put in RFC 5952's form.
// It does not allocate for a host that is in this form already.
func splitHost(authority string) (host, port string, err error) {
	if authority == "" {
		return "", "", errHostAbsent
	}
	if authority[0] == '[' {
		return splitAddress(authority)
	}
	host = authority
	if i := strings.IndexByte(authority, ':'); i >= 0 {
		host, port = authority[:i], authority[i+1:]
		if !validPort(port) {
			return "", "", errHost
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return "", "", errHost
	}
	upper, previous := false, byte('.')
	for i := 0; i < len(host); i++ {
		b := host[i]
		switch {
		case 'A' <= b && b <= 'Z':
			upper = true
		case 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-' || b == '_':
		case b == '.' && previous != '.':
		default:
			return "", "", errHost
		}
		previous = b
	}
	if previous == '.' {
		return "", "", errHost
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, port, nil
}

// splitAddress is splitHost for "[address]" and "[address]:port".
func splitAddress(authority string) (host, port string, err error) {
	end := strings.IndexByte(authority, ']')
	if end < 0 {
		return "", "", errHost
	}
	addr, err := netip.ParseAddr(authority[1:end])
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", "", errHost
	}
	if rest := authority[end+1:]; rest != "" {
		if rest[0] != ':' || !validPort(rest[1:]) {
			return "", "", errHost
		}
		port = rest[1:]
	}
	return "[" + addr.String() + "]", port, nil
}

// validPort reports one to five digits between 1 and 65535.
func validPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
