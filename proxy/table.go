package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A compiledRoute is a Route with its chain built.
type compiledRoute struct {
	Route
	admits findings
	chain  http.Handler
}

// A table finds the route of a request. It is immutable once built and its look-ups do not allocate.
type table struct {
	exact    map[string]*hostTable
	wildcard map[string]*hostTable // by the name after "*."
	any      *hostTable

	folded *table // the same with paths in lower case, for sameCase
	mixed  bool   // a path of the table has capitals
}

// A hostTable is the part of the table for one host pattern.
type hostTable struct {
	exact  map[string]*methodTable
	prefix map[string]*methodTable // without the trailing "/*"; "" takes all
	depth  int                     // segments of the deepest prefix, so that a long path costs no more than the table
}

// A methodTable has the routes for one host and path pattern.
type methodTable struct {
	named []methodRoute
	any   *compiledRoute // of a Match without Methods
	allow string
	none  *Refusal // the 405 of this place

	distinct bool // in a folded table: several places that differ only in case
}

type methodRoute struct {
	method string
	route  *compiledRoute
}

// newTable builds the table. Its error joins every conflict, each naming both routes.
func newTable(routes []*compiledRoute) (*table, error) {
	t := &table{exact: map[string]*hostTable{}, wildcard: map[string]*hostTable{}}
	var problems []error
	clash := map[[2]*compiledRoute]bool{}
	for _, rt := range routes {
		path, prefix, err := pathPattern(rt.Match.Path)
		if err != nil {
			continue // reported by NewGeneration
		}
		t.mixed = t.mixed || foldable(path)
		for _, ht := range t.hosts(rt.Match) {
			mt := ht.place(path, prefix)
			method, other := mt.add(rt)
			if other == nil || clash[[2]*compiledRoute{other, rt}] {
				continue
			}
			clash[[2]*compiledRoute{other, rt}] = true
			problems = append(problems, describeConflict(other, rt, method))
		}
	}
	for _, mt := range t.places() {
		mt.finish()
	}
	t.folded = t.fold()
	return t, errors.Join(problems...)
}

// describeConflict says which two routes match the same requests, as net/http's ServeMux does for patterns.
func describeConflict(a, b *compiledRoute, method string) error {
	if method == "" {
		method = "any method"
	}
	if a == b {
		return fmt.Errorf("route %q (%s) names the same host twice", a.Name, a.Match)
	}
	return fmt.Errorf("route %q (%s) matches the same requests as route %q (%s): %s on the same host and path, and neither is more specific",
		b.Name, b.Match, a.Name, a.Match, method)
}

// hosts returns the parts of t that m belongs to, making those that are missing.
func (t *table) hosts(m Match) []*hostTable {
	if len(m.Hosts) == 0 {
		if t.any == nil {
			t.any = newHostTable()
		}
		return []*hostTable{t.any}
	}
	var parts []*hostTable
	for _, h := range m.Hosts {
		name, wildcard, err := hostPattern(h)
		if err != nil {
			continue // reported by NewGeneration
		}
		in := t.exact
		if wildcard {
			in = t.wildcard
		}
		if in[name] == nil {
			in[name] = newHostTable()
		}
		parts = append(parts, in[name])
	}
	return parts
}

func newHostTable() *hostTable {
	return &hostTable{exact: map[string]*methodTable{}, prefix: map[string]*methodTable{}}
}

// places returns every methodTable of t.
func (t *table) places() []*methodTable {
	var all []*methodTable
	collect := func(h *hostTable) {
		for _, m := range h.exact {
			all = append(all, m)
		}
		for _, m := range h.prefix {
			all = append(all, m)
		}
	}
	for _, h := range t.exact {
		collect(h)
	}
	for _, h := range t.wildcard {
		collect(h)
	}
	if t.any != nil {
		collect(t.any)
	}
	return all
}

// place returns the methodTable of a path pattern, making it if it is missing.
func (h *hostTable) place(path string, prefix bool) *methodTable {
	in := h.exact
	if prefix {
		in = h.prefix
		h.depth = max(h.depth, strings.Count(path, "/"))
	}
	if in[path] == nil {
		in[path] = &methodTable{}
	}
	return in[path]
}

// add enters rt. If another route has one of its methods already, it returns that method and the other route.
func (m *methodTable) add(rt *compiledRoute) (method string, other *compiledRoute) {
	if len(rt.Match.Methods) == 0 {
		if m.any != nil {
			return "", m.any
		}
		m.any = rt
		return "", nil
	}
	for _, method := range rt.Match.Methods {
		i := slices.IndexFunc(m.named, func(n methodRoute) bool { return n.method == method })
		if i >= 0 {
			return method, m.named[i].route
		}
		m.named = append(m.named, methodRoute{method, rt})
	}
	return "", nil
}

// finish computes Allow and the 405.
func (m *methodTable) finish() {
	var allow []string
	for _, n := range m.named {
		allow = append(allow, n.method)
		if n.method == "GET" {
			allow = append(allow, "HEAD")
		}
	}
	if m.any != nil {
		allow = append(allow, strings.Split(standardMethods, ", ")...)
	}
	slices.Sort(allow)
	m.allow = strings.Join(slices.Compact(allow), ", ")
	m.none = &Refusal{status: http.StatusMethodNotAllowed, reason: "method not in route", public: sayMethod, allow: m.allow}
}

// match returns the route of a request. Host is canonical without port and may be empty, path is decoded.
func (t *table) match(host, path, method string) (*compiledRoute, error) {
	m := t.find(host, path)
	if m == nil {
		return nil, errNoRoute
	}
	return m.route(method)
}

// find returns the place of host and path, or nil.
func (t *table) find(host, path string) *methodTable {
	if host != "" {
		if h := t.exact[host]; h != nil {
			if m := h.find(path); m != nil {
				return m
			}
		}
		if len(t.wildcard) > 0 {
			for i := strings.IndexByte(host, '.'); i >= 0; i = strings.IndexByte(host, '.') {
				host = host[i+1:]
				if h := t.wildcard[host]; h != nil {
					if m := h.find(path); m != nil {
						return m
					}
				}
			}
		}
	}
	if t.any == nil {
		return nil
	}
	return t.any.find(path)
}

// find returns the most specific place for path, or nil.
func (h *hostTable) find(path string) *methodTable {
	if m := h.exact[path]; m != nil {
		return m
	}
	best := h.prefix[""]
	for depth, end := 0, 0; depth < h.depth && end < len(path); depth++ {
		next := strings.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
		if m := h.prefix[path[:end]]; m != nil {
			best = m
		}
	}
	return best
}

// route returns the route for method. A route that names the method comes before one that takes any.
func (m *methodTable) route(method string) (*compiledRoute, error) {
	for i := range m.named {
		if m.named[i].method == method {
			return m.named[i].route, nil
		}
	}
	if method == "HEAD" {
		for i := range m.named {
			if m.named[i].method == "GET" {
				return m.named[i].route, nil
			}
		}
	}
	if m.any != nil && standardMethod(method) {
		return m.any, nil
	}
	return nil, m.none
}
