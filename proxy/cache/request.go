package cache

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A request is a request for what may be kept.
type request struct {
	policy *policy
	r      *http.Request // the client's
	target target
	key    resourceKey
	asks   directives
}

// passes says why a request is none for the cache, or "". Such a request goes to the upstream as it came.
func (p *policy) passes(r *http.Request, identified bool) string {
	h := r.Header
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "method"
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return "body" // which an upstream may look at, and which is in no key
	case len(h["Upgrade"]) > 0:
		return "upgrade"
	case len(h["If-Match"]) > 0 || len(h["If-Unmodified-Since"]) > 0:
		return "precondition"
	case identified && !p.shared:
		return "identity"
	}
	return ""
}

// request reads a request that passes for one of the cache.
func (p *policy) request(r *http.Request, scheme string) *request {
	q := &request{policy: p, r: r, target: target{scheme, r.Host, r.URL.EscapedPath(), p.filterQuery(r.URL.RawQuery)}}
	q.key = q.target.key()
	if lines := r.Header["Cache-Control"]; len(lines) > 0 {
		q.asks = parseDirectives(lines)
	} else {
		q.asks = directives{maxAge: absent, minFresh: absent, stale: absent}
		q.asks.noCache = strings.EqualFold(one(r.Header, "Pragma"), "no-cache") // RFC 9111 section 5.4
	}
	return q
}

// says returns what the upstream is told of a field, as variants are told apart by it.
func (q *request) says(name string) string {
	switch {
	case name == "Cookie":
		cookies := q.policy.filterCookies(q.r.Header["Cookie"])
		if cookies == "" {
			return "-"
		}
		return "+" + cookies
	case !q.policy.sends(name):
		return "-"
	}
	return selecting(q.r.Header, name)
}

// sends reports whether the upstream gets a field of a request, cookies aside.
func (p *policy) sends(name string) bool {
	switch name {
	case "Range", "If-Range", "If-None-Match", "If-Modified-Since", "Expect", "Upgrade", "Connection", "Te":
		return false // the cache answers these itself, or they are about a connection
	case "Cache-Control", "Pragma":
		return p.obey
	case "Accept-Encoding", "Traceparent", "Tracestate", "X-Request-Id", "X-Amzn-Trace-Id":
		return true
	case "Authorization":
		return slices.Contains(p.headers, name) || !p.drop && !p.shared
	}
	return !p.drop || slices.Contains(p.headers, name)
}

// header is what the upstream gets of the fields of a request.
func (q *request) header() http.Header {
	from := q.r.Header
	h := make(http.Header, len(from)+2)
	for key, values := range from {
		if key != "Cookie" && q.policy.sends(key) {
			h[key] = values
		}
	}
	if lines := from["Accept-Encoding"]; len(lines) > 0 {
		delete(h, "Accept-Encoding")
		if takes := codings(lines); takes != "" {
			h["Accept-Encoding"] = []string{takes}
		}
	}
	if cookies := q.policy.filterCookies(from["Cookie"]); cookies != "" {
		h["Cookie"] = []string{cookies}
	}
	return h
}

// forward makes r, a copy of the client's request or one detached from it, what the upstream gets.
func (q *request) forward(r *http.Request) *http.Request {
	out := *r
	out.Header = q.header()
	if q.target.query != q.r.URL.RawQuery || q.r.URL.ForceQuery { // "/a?" has the key of "/a"
		u := *q.r.URL
		u.RawQuery, u.ForceQuery = q.target.query, false
		out.URL = &u
		out.RequestURI = u.RequestURI()
	}
	out.Body = http.NoBody
	return &out
}

// filterQuery leaves of a query what is in the key, in its order. What cannot be read is left in.
func (p *policy) filterQuery(raw string) string {
	switch p.query {
	case QueryAll:
		return raw
	case QueryNone:
		return ""
	}
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		named := err == nil && slices.Contains(p.queryNames, plain)
		if part != "" && (err != nil || named == (p.query == QueryOnly)) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// filterCookies leaves of the cookies those that are in the key, in their order.
func (p *policy) filterCookies(lines []string) string {
	if len(p.cookies) == 0 || len(lines) == 0 {
		return ""
	}
	all := strings.Join(lines, "; ")
	if p.cookies[0] == "*" {
		return all
	}
	var kept []string
	for part := range strings.SplitSeq(all, ";") {
		part = trim(part)
		name, _, _ := strings.Cut(part, "=")
		if slices.Contains(p.cookies, trim(name)) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "; ")
}
