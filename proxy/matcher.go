package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// A Matcher is a compiled Match. It is immutable and safe for concurrent use.
type Matcher struct {
	hosts   []*pattern // one that takes all, if the Match names none
	path    *pattern
	methods []string
	taken   []string // by those methods
	where   conditions
	wild    bool
}

// NewMatcher compiles m. It returns nil if Validate reports anything.
func NewMatcher(m Match) *Matcher {
	valid := true
	c := newMatcher(m, func(string, string) { valid = false })
	if !valid {
		return nil
	}
	return c
}

// newMatcher compiles what is right of m and reports the rest. Methods are not looked at.
func newMatcher(m Match, report func(field, msg string)) *Matcher {
	c := &Matcher{methods: m.Methods, taken: TakenMethods(m.Methods), where: newConditions(m, report)}
	for i, h := range m.Hosts {
		p, err := newHost(h)
		if err != nil {
			report(index("hosts", i), err.Error())
			continue
		}
		c.hosts = append(c.hosts, p)
		c.wild = c.wild || wildHost(h)
	}
	if len(m.Hosts) == 0 {
		c.hosts = []*pattern{anything()}
	}
	var err error
	if c.path, err = newPath(m.Path); err != nil {
		report("path", err.Error())
		c.path = anything()
	}
	c.wild = c.wild || wildPath(collapseStars(m.Path))
	return c
}

// Special reports whether m has wildcards other than "*.example.com" and "/a/*", expressions, or conditions.
func (m *Matcher) Special() bool { return m.wild || !m.where.none() }

// Optional reports whether a client chooses by headers or parameters of its own whether m takes its request.
func (m *Matcher) Optional() bool { return len(m.where.headers)+len(m.where.query) > 0 }

// Clash says what is the matter if requests exist that routes with m and other, both without a priority, would have an equal
// right to; otherwise it returns "".
func (m *Matcher) Clash(other *Matcher) string {
	for _, a := range m.hosts {
		for _, b := range other.hosts {
			if !a.meets(b) || !m.path.meets(other.path) {
				continue
			}
			switch {
			case a.id != b.id && a.includes(b) != b.includes(a):
			case a.id != b.id:
				return "neither host is more specific"
			case m.path.id != other.path.id && m.path.includes(other.path) != other.path.includes(m.path):
			case m.path.id != other.path.id:
				return "neither path is more specific"
			default:
				if why := m.clashInPlace(other); why != "" {
					return why
				}
			}
		}
	}
	return ""
}

// clashInPlace is Clash for the same host and path.
func (m *Matcher) clashInPlace(other *Matcher) string {
	if m.where.none() && other.where.none() {
		if len(m.methods) == 0 && len(other.methods) == 0 || slices.ContainsFunc(m.methods, func(s string) bool { return slices.Contains(other.methods, s) }) {
			return "the same host, path and method"
		}
		return ""
	}
	if !m.sharesMethod(other) || m.where.apart(&other.where) {
		return ""
	}
	switch narrower, wider := m.narrower(other), other.narrower(m); {
	case narrower && wider:
		return "the same host, path and conditions"
	case narrower, wider, m.where.exclusive(&other.where):
		return ""
	}
	return "the conditions of both can hold"
}

// narrower reports whether m, at the same place, takes nothing that other does not.
func (m *Matcher) narrower(other *Matcher) bool {
	return m.where.implies(&other.where) && all(m.taken, func(s string) bool { return slices.Contains(other.taken, s) })
}

func (m *Matcher) sharesMethod(other *Matcher) bool {
	return slices.ContainsFunc(m.taken, func(s string) bool { return slices.Contains(other.taken, s) })
}

// Takes reports whether m takes method.
func (m *Matcher) Takes(method string) bool { return takes(m.methods, method) }

// TakenMethods are the methods that a Match with these takes.
func TakenMethods(methods []string) []string {
	if len(methods) == 0 {
		return strings.Split(standardMethods, ", ")
	}
	if slices.Contains(methods, "GET") {
		return append([]string{"HEAD"}, methods...)
	}
	return methods
}

// Meets reports whether m and other may both match some request.
func (m *Matcher) Meets(other *Matcher) bool {
	return m.path.meets(other.path) && m.sharesMethod(other) && !m.where.apart(&other.where) && slices.ContainsFunc(m.hosts, func(a *pattern) bool {
		return slices.ContainsFunc(other.hosts, a.meets)
	})
}

// Covers reports whether m certainly matches every request that other does.
func (m *Matcher) Covers(other *Matcher) bool {
	return m.path.includes(other.path) && other.narrower(m) && all(other.hosts, func(b *pattern) bool {
		return slices.ContainsFunc(m.hosts, func(a *pattern) bool { return a.includes(b) })
	})
}

// SamePlace reports whether m and other have a host in common and the same path.
func (m *Matcher) SamePlace(other *Matcher) bool {
	return m.path.id == other.path.id && slices.ContainsFunc(m.hosts, func(a *pattern) bool {
		return slices.ContainsFunc(other.hosts, func(b *pattern) bool { return a.id == b.id })
	})
}

// HostsMeet reports whether two hosts of a Match, or "*" for any, may stand for the same name.
func HostsMeet(a, b string) bool {
	p, q := hostOrAny(a), hostOrAny(b)
	return p != nil && q != nil && p.meets(q)
}

// HostIncludes reports whether a host of a Match, or "*" for any, certainly stands for every name that host does.
func HostIncludes(pattern, host string) bool {
	p, q := hostOrAny(pattern), hostOrAny(host)
	return p != nil && q != nil && p.includes(q)
}

// hostOrAny returns nil for what is no host.
func hostOrAny(s string) *pattern {
	if s == "*" {
		return anything()
	}
	p, err := newHost(s)
	if err != nil {
		return nil
	}
	return p
}

// Plain reports whether a route with m takes its host and path whatever else a request has.
func (m *Matcher) Plain() bool { return m.where.none() }

// Unanchored returns the expressions of hosts and path that match in the middle of a text too.
func (m *Matcher) Unanchored() []string {
	var found []string
	for _, p := range append(m.hosts[:len(m.hosts):len(m.hosts)], m.path) {
		if p.kind == kindExpression && !anchored(p.text) {
			found = append(found, expressionMark+p.text)
		}
	}
	return found
}

// match reports whether everything of m but the method holds. The host comes first: see checkLengths.
func (m *Matcher) match(q *lookup) bool {
	if !m.hasHost(q.host) || !m.path.match(q.path) {
		return false
	}
	q.asked(&m.where)
	return m.where.hold(q)
}

// hasHost reports whether m takes requests for host, which may be "".
func (m *Matcher) hasHost(host string) bool {
	for _, h := range m.hosts {
		if h.kind == kindAny || host != "" && h.match(host) {
			return true
		}
	}
	return false
}

// bounded reports whether tooLong may find something.
func (m *Matcher) bounded() bool {
	return m.path.kind == kindExpression || slices.ContainsFunc(m.where.headers, func(n namedValues) bool {
		return slices.ContainsFunc(n.values, func(v *pattern) bool { return v.kind == kindExpression })
	})
}

// tooLong refuses what expressions of m may not be asked about.
func (m *Matcher) tooLong(path string, h http.Header) error {
	if m.path.kind == kindExpression && len(path) > m.path.most {
		return errTargetLong
	}
	for i := range m.where.headers {
		n := &m.where.headers[i]
		for _, v := range n.values {
			for _, line := range h[n.name] {
				if v.kind == kindExpression && len(line) > v.most {
					return errFieldLong
				}
			}
		}
	}
	return nil
}

// takes reports whether a Match with these methods takes method. GET covers HEAD.
func takes(methods []string, method string) bool {
	if len(methods) == 0 {
		return standardMethod(method)
	}
	for _, m := range methods {
		if m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return false
}
