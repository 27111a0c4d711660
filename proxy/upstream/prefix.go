package upstream

import "strings"

// restorePrefix puts back into the answer's fields the prefix that was taken off the request's path.
func (x *exchange) restorePrefix() {
	prefix := strings.TrimSuffix(x.h.opts.StripPrefix, "/")
	if prefix == "" {
		return
	}
	for _, name := range [...]string{"Location", "Content-Location"} {
		for i, v := range x.in[name] {
			x.in[name][i] = x.restoreAddress(v, prefix)
		}
	}
	for i, v := range x.in["Refresh"] {
		x.in["Refresh"][i] = x.restoreRefresh(v, prefix)
	}
	for i, v := range x.in["Set-Cookie"] {
		x.in["Set-Cookie"][i] = restoreCookie(v, prefix)
	}
}

// restoreAddress puts prefix before the path of an address that leads to the client's host or to the one that was sent, which
// becomes the client's. An address without a host and a path from the root is relative to the client's and stays.
func (x *exchange) restoreAddress(address, prefix string) string {
	lead, path := "", address
	if strings.HasPrefix(address, "//") || !strings.HasPrefix(address, "/") {
		scheme, rest, found := strings.Cut(address, "//")
		if !found || scheme != "" && !strings.EqualFold(scheme, "https:") && !strings.EqualFold(scheme, "http:") {
			return address
		}
		end := strings.IndexAny(rest, "/?#\\")
		if end < 0 {
			end = len(rest)
		}
		host := rest[:end]
		switch path = rest[end:]; {
		case host == "" || x.r.Host == "":
			return address
		case strings.EqualFold(host, x.r.Host):
			lead = scheme + "//" + host
		case x.endpoint() != nil && strings.EqualFold(host, x.sentHost(x.endpoint())):
			own, _ := x.entrance()
			lead = own + "://" + x.r.Host
		default:
			return address
		}
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
	}
	if below(path, prefix) {
		return lead + path
	}
	return lead + prefix + path
}

// below reports whether an address that begins with a path is on or below prefix.
func below(address, prefix string) bool {
	rest, ok := strings.CutPrefix(address, prefix)
	return ok && (rest == "" || strings.IndexByte("/?#", rest[0]) >= 0)
}

// restoreRefresh is restoreAddress for "5; url=/path", which may be quoted.
func (x *exchange) restoreRefresh(value, prefix string) string {
	rest := strings.TrimLeft(value, "0123456789.;, \t")
	if len(rest) < len("url=") || !strings.EqualFold(rest[:len("url=")], "url=") {
		return value
	}
	at := len(value) - len(rest) + len("url=")
	for at < len(value) && (value[at] == ' ' || value[at] == '\t') {
		at++
	}
	end := len(value)
	if at < end && (value[at] == '"' || value[at] == '\'') {
		quote := value[at]
		at++
		if i := strings.IndexByte(value[at:], quote); i >= 0 {
			end = at + i
		}
	}
	return value[:at] + x.restoreAddress(value[at:end], prefix) + value[end:]
}

// restoreCookie puts prefix before each Path of a cookie. A cookie without one is for the client's own path already.
func restoreCookie(line, prefix string) string {
	if len(line) >= len("__Host-") && strings.EqualFold(line[:len("__Host-")], "__Host-") {
		return line // it must have Path=/ (RFC 6265bis section 4.1.3.2)
	}
	parts := strings.Split(line, ";")
	for i, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		if !strings.EqualFold(strings.Trim(name, " \t"), "path") {
			continue
		}
		path := strings.Trim(value, " \t")
		switch {
		case !strings.HasPrefix(path, "/") || below(path, prefix):
		case path == "/":
			parts[i+1] = name + "=" + prefix
		default:
			parts[i+1] = name + "=" + prefix + path
		}
	}
	return strings.Join(parts, ";")
}
