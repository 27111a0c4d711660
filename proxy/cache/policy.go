package cache

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// An answer is the head of what an upstream said, and what is known of the request that it answers.
type answer struct {
	status     int
	header     http.Header
	authorized bool // the request had an Authorization
	asked, got time.Time
}

// terms is how long and on what terms an answer may be used.
type terms struct {
	lifetime       time.Duration // from when it was made
	age            time.Duration // that it had when it came
	got            time.Time
	revalidate     bool          // it may never be used without asking
	mustRevalidate bool          // it may not be used when it is too old, whatever happens
	while, ifError time.Duration // how long it may be used all the same; 0 is not at all
	without        []string      // the fields that are not kept
}

// store decides whether an answer may be kept (RFC 9111 section 3), and on what terms. why says what keeps it from that.
func (p *policy) store(a answer) (t terms, why string) {
	switch {
	case a.status < 200 || a.status == http.StatusPartialContent || a.status == http.StatusNotModified ||
		a.status == http.StatusRequestedRangeNotSatisfiable || a.status > 599:
		return t, "status"
	case streams(a.header):
		return t, "stream"
	case len(a.header["Trailer"]) > 0:
		return t, "trailers"
	case len(a.header["Set-Cookie"]) > 0 && p.setCookie == SetCookiePass:
		return t, "set-cookie"
	}
	if names, ok := parseVary(a.header["Vary"]); !ok || slices.ContainsFunc(names, ownWord) {
		return t, "vary"
	}
	d, isTargeted := targeted(a.header["Cdn-Cache-Control"])
	if !isTargeted {
		d = parseDirectives(a.header["Cache-Control"])
	}
	if a.authorized && !d.public && !d.mustRevalidate && d.sharedMaxAge == absent {
		return t, "authorization" // RFC 9111 section 3.5
	}
	t = terms{got: a.got, age: initialAge(a), without: d.fields}
	explicit, said := lifetime(a, d, isTargeted)
	if p.cloudFront {
		why = p.cloudFrontTerms(&t, a, d, explicit, said)
	} else {
		why = p.terms(&t, a, d, explicit, said)
	}
	if why != "" {
		return terms{}, why
	}
	if p.setCookie == SetCookieStrip { // whatever else is said of what is not kept
		t.without = append(t.without, "Set-Cookie")
	}
	p.staleTerms(&t, d)
	if t.lifetime <= t.age && t.while == 0 && t.ifError == 0 && !validates(a.header) {
		return terms{}, "stale"
	}
	return t, ""
}

// terms is what RFC 9111 makes of an answer.
func (p *policy) terms(t *terms, a answer, d directives, explicit time.Duration, said bool) (why string) {
	switch {
	case d.noStore && !(d.mustUnderstand && understood(a.status)):
		return "no-store"
	case d.mustUnderstand && !understood(a.status):
		return "must-understand"
	case d.private:
		return "private"
	}
	t.revalidate = d.noCache
	switch {
	case said:
		t.lifetime = explicit
	case a.status >= http.StatusBadRequest && p.errorTTL > 0 && byErrorTTL(a.status):
		t.lifetime = p.errorTTL
	case a.status < http.StatusBadRequest && p.ttl > 0 && (heuristic(a.status) || redirects(a.status)):
		t.lifetime = p.ttl
	case !heuristic(a.status) && !d.public:
		return "status"
	case p.heuristic:
		if modified, ok := dateOf(a.header, "Last-Modified", a.got); ok {
			t.lifetime = min(max(a.date().Sub(modified)/10, 0), maxHeuristic)
		}
	}
	if a.status < http.StatusBadRequest && !d.noCache {
		t.lifetime = max(t.lifetime, p.minTTL)
	}
	t.lifetime = min(t.lifetime, p.maxTTL)
	return ""
}

// cloudFrontTerms is what CloudFront's rules make of one: "Managing how long content stays in the cache" and "How CloudFront
// caches HTTP 4xx and 5xx status codes from your origin", of its developer guide.
func (p *policy) cloudFrontTerms(t *terms, a answer, d directives, explicit time.Duration, said bool) (why string) {
	if max(p.minTTL, p.ttl, p.maxTTL) == 0 {
		return "no-store" // the policy CachingDisabled
	}
	refused := d.noStore || d.noCache || d.private
	if a.status >= http.StatusBadRequest {
		switch a.status {
		case 404, 410, 414, 501:
			if refused {
				return "no-store"
			}
		case 500, 502, 503, 504:
		case 400, 403, 405, 412, 415:
			if d.maxAge == absent && d.sharedMaxAge == absent {
				return "status"
			}
		default:
			return "status"
		}
		t.lifetime = min(max(p.errorTTL, explicit), p.maxTTL)
		return ""
	}
	switch {
	case refused && p.minTTL == 0:
		return "no-store"
	case refused:
		t.lifetime, t.without = p.minTTL, nil
	case said:
		t.lifetime = max(min(explicit, p.maxTTL), p.minTTL)
	default:
		t.lifetime = max(p.ttl, p.minTTL)
	}
	return ""
}

// staleTerms decides how long an answer may be used when it is too old (RFC 9111 section 4.2.4, RFC 5861).
func (p *policy) staleTerms(t *terms, d directives) {
	// s-maxage implies proxy-revalidate (RFC 9111 section 5.2.2.10).
	t.mustRevalidate = d.mustRevalidate || d.proxyRevalidate || d.sharedMaxAge != absent || d.noCache
	if t.mustRevalidate {
		return
	}
	t.while, t.ifError = p.whileRevalidate, p.ifError
	if d.whileRevalidate != absent {
		t.while = seconds(d.whileRevalidate)
	}
	if d.ifError != absent {
		t.ifError = seconds(d.ifError)
	}
	t.while, t.ifError = min(t.while, p.maxTTL), min(t.ifError, p.maxTTL)
}

// lifetime is what an answer says of its freshness (RFC 9111 section 4.2.1).
func lifetime(a answer, d directives, isTargeted bool) (_ time.Duration, said bool) {
	switch {
	case d.sharedMaxAge != absent:
		return seconds(d.sharedMaxAge), true
	case d.maxAge != absent:
		return seconds(d.maxAge), true
	case isTargeted || len(a.header["Expires"]) == 0:
		return 0, false
	}
	expires, ok := dateOf(a.header, "Expires", a.got)
	if !ok {
		return 0, true // what cannot be read is past (RFC 9111 section 5.3)
	}
	return min(max(expires.Sub(a.date()), 0), seconds(maxDelta)), true
}

// date is when an answer was made.
func (a answer) date() time.Time {
	if date, ok := dateOf(a.header, "Date", a.got); ok {
		return date
	}
	return a.got
}

// initialAge is how old an answer was when it came (RFC 9111 section 4.2.3).
func initialAge(a answer) time.Duration {
	return max(a.got.Sub(a.date()), parseAge(a.header["Age"])+a.got.Sub(a.asked), 0)
}

// validates reports whether an upstream can be asked whether an answer is still good.
func validates(h http.Header) bool { return one(h, "Etag") != "" || one(h, "Last-Modified") != "" }

// streams reports answers that are not meant to end, or that are no pages but calls.
func streams(h http.Header) bool {
	kind, _, _ := strings.Cut(one(h, "Content-Type"), ";")
	kind = strings.ToLower(trim(kind))
	return kind == "text/event-stream" || kind == "multipart/x-mixed-replace" || strings.HasPrefix(kind, "application/grpc")
}

// heuristic reports the status codes that may be kept although nothing says so (RFC 9110 section 15.1).
func heuristic(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// redirects reports those that TTL is for beside them: CloudFront's default TTL is for all answers that are no errors.
func redirects(status int) bool { return status == 302 || status == 303 || status == 307 }

// byErrorTTL reports the errors that ErrorTTL is for.
func byErrorTTL(status int) bool {
	switch status {
	case 404, 405, 410, 414, 500, 501, 502, 503, 504:
		return true
	}
	return false
}

// understood reports the status codes whose meaning for caches is known here (RFC 9111 section 5.2.2.3).
func understood(status int) bool {
	return http.StatusText(status) != "" && status != http.StatusPartialContent
}

// A use is what may be done with an answer that is kept.
type use uint8

const (
	useMiss       use = iota // nothing: there is none
	useFresh                 // serve it
	useStale                 // serve it, and fetch a new one
	useRevalidate            // ask the upstream whether it is still good
)

// use decides what may be done with an answer now (RFC 9111 section 4). d is what the client asks for; it counts only where the
// route obeys clients.
func (p *policy) use(t terms, d directives, now time.Time) use {
	age := t.ageAt(now)
	over := age - t.lifetime // how much too old
	if t.revalidate {
		return useRevalidate
	}
	if p.obey {
		if d.noCache || d.maxAge != absent && age > seconds(d.maxAge) || d.minFresh != absent && -over < seconds(d.minFresh) {
			return useRevalidate
		}
		if over >= 0 && d.maxStale && !t.mustRevalidate && (d.stale == absent || over <= seconds(d.stale)) {
			return useFresh
		}
	}
	switch {
	case over < 0:
		return useFresh
	case over < t.while:
		return useStale
	}
	return useRevalidate
}

// ageAt is how old an answer is (RFC 9111 section 4.2.3).
func (t terms) ageAt(now time.Time) time.Duration { return t.age + max(now.Sub(t.got), 0) }

// mayServeFailing reports whether an answer may be served although it is too old, because the upstream fails.
func (t terms) mayServeFailing(now time.Time) bool {
	return !t.mustRevalidate && t.ageAt(now)-t.lifetime < t.ifError
}

// fails reports the status codes that stale-if-error is about (RFC 5861 section 4).
func fails(status int) bool {
	switch status {
	case 500, 502, 503, 504:
		return true
	}
	return false
}

// ownWord reports request fields that the gateway sets behind the cache, and that say who asks or which request it is: what depends
// on them is for one client, although no request of a client's has them.
func ownWord(name string) bool {
	switch name {
	case "X-Forwarded-For", "Via", "X-Request-Id", "X-Amzn-Trace-Id", "Traceparent", "Tracestate":
		return true
	}
	return false
}

// keptHeader is what is kept of the fields of an answer (RFC 9111 section 3.1). Values are shared with from.
func keptHeader(from http.Header, without []string) http.Header {
	kept := make(http.Header, len(from))
	for key, values := range from {
		if !notKept(key) && !slices.Contains(without, key) && values != nil {
			kept[key] = values[:len(values):len(values)]
		}
	}
	return kept
}

// notKept reports fields that are about a connection, about this cache, or made anew for each answer.
func notKept(key string) bool {
	switch key {
	case "Connection", "Keep-Alive", "Te", "Transfer-Encoding", "Upgrade", "Trailer", "Proxy-Connection", "Proxy-Authenticate",
		"Proxy-Authentication-Info", "Proxy-Authorization", "Age", "X-Cache", "Cache-Status", "X-Request-Id",
		"Surrogate-Key", "Cache-Tag":
		return true
	}
	return false
}

// freshened is the header of an answer that a 304 says is still good (RFC 9111 section 3.2): what the 304 says replaces what
// was kept, but for what describes the body.
func freshened(kept, by http.Header, without []string) http.Header {
	h := make(http.Header, len(kept)+4)
	for key, values := range kept {
		h[key] = values
	}
	for key, values := range keptHeader(by, without) {
		switch key {
		case "Content-Length", "Content-Encoding", "Content-Range", "Content-Type", "Content-Md5", "Content-Digest", "Repr-Digest":
		default:
			h[key] = values
		}
	}
	return h
}
