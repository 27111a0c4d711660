package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// DefaultMaxBody is the size of the largest request body that a route accepts if it does not say otherwise, in bytes. It is
// larger than any form and most uploads and small enough that a client cannot fill an upstream's disk with one request.
const DefaultMaxBody = 100 << 20

// A Route is a compiled rule: which requests it takes and what happens to them. NewGeneration copies it.
type Route struct {
	Name     string // unique in a generation; the metrics label
	Match    Match
	Priority int                               // 0 is none; see Match
	Group    string                            // routes of one group may clash: it is the same which of them takes a request
	Admit    Admit                             // opt-outs from admission
	Guards   []func(http.Handler) http.Handler // outermost first
	Handler  http.Handler                      // required
	Response func(h http.Header)               // called once per answer just before the final head is written, whoever answers
	// ResponseLines may do the same where the server's writer takes whole lines: those that it returns, if any, go into the
	// head as they are, and h has none of their fields.
	ResponseLines func(h http.Header) []byte
	MaxBody       int64 // bytes; 0 means DefaultMaxBody
	Gateway       bool  // answers come from Gatehouse itself and keep their own Content-Security-Policy
}

// A Match says which requests a route takes. The zero Match takes all.
//
// Routes with a Priority are asked first, the lowest number first and of equal numbers the first in the list, as the rules of an
// ALB's listener: the first that matches in everything takes the request. Routes with Gateway come before them.
//
// Among the others the most specific host decides first (exact, then the longest wildcard, then any), then the path (exact, then
// the longest prefix, then any), then the conditions (a route that asks for more comes first), then the method. Of two patterns
// the one that the other includes is the more specific; if neither includes the other and both can match the same request,
// NewGeneration refuses them. A less specific host is tried only if the more specific one has no path that matches. A path that
// matches owns its requests: if none of its routes has the method, the answer is 405, and if the conditions of none hold, 404,
// never a wider route. Two routes at one place may ask for different values of one header or parameter; a request that has both
// values is refused.
//
// Hosts, Path and the values of Headers may be regular expressions of RE2 behind a "~": they match anywhere, as those of ALB's
// rules do, unless they say ^ and $. Otherwise "*" stands for any characters and "?" for one, and a backslash takes that from
// them. Only paths are case-sensitive.
type Match struct {
	Hosts   []string // "app.example.com", "*.example.com", "app-??.example.com"; empty takes any host
	Path    string   // "" and "/*" take all paths, "/a" exactly /a, "/a/*" /a and everything below it; decoded, case-sensitive
	Methods []string // GET covers HEAD; empty takes GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS

	Headers map[string][]string // by name: one line of the header has one of the values
	Query   map[string][]string // by name, which may have wildcards: one such parameter, decoded, has one of the values
	Source  []string            // addresses and CIDRs of which one has the client's address, as trusted proxies report it
}

// Admit names the ambiguous spellings that a route lets through. Each defaults to refused. A request that uses one must
// belong to this route under every reading of its path; dot segments stay refused under every reading.
type Admit struct {
	EncodedSlash    bool // %2F
	Backslash       bool // \ and %5C; forwarded as %5C
	Semicolon       bool // ; and %3B: path parameters
	DoubleSlash     bool // empty segments
	EncodedReserved bool // %3F and %23

	// The other two are not about spellings but about routes: a request is refused if it would belong to another route for an
	// upstream that ignores letter case and what Windows drops from file names, or that decodes %25 twice. They say that the
	// route's upstream does not.
	LetterCase     bool
	DoubleEncoding bool
}

// findings returns the findings that a admits.
func (a Admit) findings() findings {
	var f findings
	for _, o := range []struct {
		on  bool
		bit findings
	}{
		{a.EncodedSlash, foundEncodedSlash},
		{a.Backslash, foundBackslash},
		{a.Semicolon, foundSemicolon},
		{a.DoubleSlash, foundDoubleSlash},
		{a.EncodedReserved, foundReserved},
	} {
		if o.on {
			f |= o.bit
		}
	}
	return f
}

// Validate reports everything that is wrong with m. Field is "hosts[i]", "path", "methods[i]", "headers.NAME", "query.NAME" or
// "source[i]".
func (m Match) Validate(report func(field, msg string)) {
	newMatcher(m, report)
	for i, method := range m.Methods {
		if err := checkMethodPattern(method); err != nil {
			report(index("methods", i), err.Error())
		} else if slices.Contains(m.Methods[:i], method) {
			report(index("methods", i), fmt.Sprintf("method %s is named twice", method))
		}
	}
}

func index(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

// String returns m as errors show it: "GET,POST app.example.com/api/*".
func (m Match) String() string {
	var b strings.Builder
	if len(m.Methods) > 0 {
		b.WriteString(strings.Join(m.Methods, ","))
		b.WriteByte(' ')
	}
	if len(m.Hosts) > 0 {
		b.WriteString(strings.Join(m.Hosts, ","))
	}
	if m.Path == "" {
		b.WriteString("/*")
	}
	b.WriteString(m.Path)
	if where := newMatcher(m, func(string, string) {}).where; !where.none() {
		b.WriteString(" with ")
		b.WriteString(where.String())
	}
	return b.String()
}

// hostPattern parses a host of a Match into its canonical name and whether it stands for the names below it.
func hostPattern(s string) (name string, wildcard bool, err error) {
	name, wildcard = strings.CutPrefix(s, "*.")
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is6() {
		name = "[" + name + "]"
	}
	host, port, err := splitHost(name)
	switch {
	case s == "*":
		return "", false, fmt.Errorf("host %q: leave hosts empty to match any host", s)
	case err != nil:
		return "", false, fmt.Errorf("host %q: want a name such as %q or %q", s, "app.example.com", "*.example.com")
	case port != "":
		return "", false, fmt.Errorf("host %q: want no port; routes match on every port that listens", s)
	}
	return host, wildcard, nil
}

// pathPattern parses the path of a Match into its text and whether it is a prefix. "" as a prefix matches all paths.
func pathPattern(s string) (path string, prefix bool, err error) {
	if s == "" {
		return "", true, nil
	}
	path, prefix = strings.CutSuffix(s, "/*")
	switch {
	case s[0] != '/':
		return "", false, fmt.Errorf("path %q: want a leading slash", s)
	case strings.Contains(path, "%"):
		return "", false, fmt.Errorf("path %q: want plain text, not percent-encoding; requests are decoded before they are matched", s)
	case strings.ContainsAny(path, "#;\\"):
		return "", false, fmt.Errorf("path %q: want a path without #, ; and backslash", s)
	}
	if path == "" {
		return "", true, nil
	}
	if strings.Contains(path, "//") || prefix && strings.HasSuffix(path, "/") {
		return "", false, fmt.Errorf("path %q: want no empty segments", s)
	}
	c, err := canonicalPath(strings.ReplaceAll(path, " ", "%20"))
	if err != nil || c.found != 0 {
		return "", false, fmt.Errorf("path %q: no request can have it: %w", s, err)
	}
	return c.path, prefix, nil
}
