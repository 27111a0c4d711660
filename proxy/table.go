package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A compiledRoute is a Route with its chain built.
type compiledRoute struct {
	Route
	matcher *Matcher
	admits  findings
	chain   http.Handler
}

// A table finds the route of a request. It is immutable once built and its look-ups do not allocate.
type table struct {
	exact    map[string]*hostTable
	wildcard map[string]*hostTable // by the name after "*."
	any      *hostTable
	wild     []*wildPlace    // the most specific first
	ordered  []*orderedRoute // by priority
	fields   []string        // headers that conditions ask for, in lower case
	bounded  []*Matcher      // those with expressions, which are not asked about long texts

	folded *table // the same with paths in lower case, for sameCase
	mixed  bool   // a path of the table has capitals
}

// A hostTable is the part of the table for one host pattern.
type hostTable struct {
	exact  map[string]*methodTable
	prefix map[string]*methodTable // without the trailing "/*"; "" takes all
	depth  int                     // segments of the deepest prefix, so that a long path costs no more than the table
}

// A wildPlace is a place that has to be tried.
type wildPlace struct {
	host, path *pattern
	*methodTable
}

// An orderedRoute is a route with a priority.
type orderedRoute struct {
	*compiledRoute
	matcher  *Matcher
	none     *Refusal // the 405, where all but the method matches
	distinct bool     // in a folded table, as that of a methodTable
}

// A methodTable has the routes for one host and path pattern.
type methodTable struct {
	where []conditionalRoute // those that ask for most first
	named []methodRoute
	any   *compiledRoute // of a Match without Methods
	allow string
	none  *Refusal // the 405 of this place

	host, path *pattern
	rank       int  // the lower, the more specific; of a table with wild places
	gateway    bool // the routes are the gateway's own

	distinct bool // in a folded table: several places that differ only in case
}

// A conditionalRoute has conditions beside host, path and method.
type conditionalRoute struct {
	*compiledRoute
	rivals []*compiledRoute // ask for other values of the same header or parameter
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
	for i, rt := range routes {
		if rt.matcher = NewMatcher(rt.Match); rt.matcher == nil {
			continue // reported by NewGeneration
		}
		for _, n := range rt.matcher.where.headers {
			t.fields = append(t.fields, strings.ToLower(n.name))
		}
		if rt.matcher.bounded() {
			t.bounded = append(t.bounded, rt.matcher)
		}
		t.mixed = t.mixed || rt.matcher.path.kind == kindExpression || foldable(rt.Match.Path)
		if rt.Priority > 0 {
			t.ordered = append(t.ordered, &orderedRoute{compiledRoute: rt, matcher: rt.matcher, none: methodRefusal(TakenMethods(rt.Match.Methods))})
			continue
		}
		problems = append(problems, clashes(rt, routes[:i])...)
		for _, host := range rt.matcher.hosts {
			method, other := t.place(host, rt.matcher.path).add(rt)
			if other == nil || clash[[2]*compiledRoute{other, rt}] {
				continue
			}
			clash[[2]*compiledRoute{other, rt}] = true
			problems = append(problems, describeConflict(other, rt, method))
		}
	}
	slices.SortStableFunc(t.ordered, func(a, b *orderedRoute) int { return a.Priority - b.Priority })
	places := t.places()
	for _, mt := range places {
		mt.finish()
	}
	t.rank(places)
	t.folded = t.fold()
	return t, errors.Join(problems...)
}

// clashes returns the conflicts of rt with earlier routes that maps cannot find.
func clashes(rt *compiledRoute, earlier []*compiledRoute) []error {
	var problems []error
	for _, other := range earlier {
		if other.matcher == nil || other.Priority > 0 || sameGroup(other, rt) || !other.matcher.Special() && !rt.matcher.Special() {
			continue
		}
		if why := rt.matcher.Clash(other.matcher); why != "" {
			problems = append(problems, fmt.Errorf("route %q (%s) can match the same requests as route %q (%s): %s; a priority would say which comes first",
				rt.Name, rt.Match, other.Name, other.Match, why))
		}
	}
	return problems
}

func sameGroup(a, b *compiledRoute) bool { return a.Group != "" && a.Group == b.Group }

// rank numbers the places by how specific they are, if some have to be tried.
func (t *table) rank(places []*methodTable) {
	if len(t.wild) == 0 {
		return
	}
	slices.SortStableFunc(places, func(a, b *methodTable) int {
		return cmp.Or(a.host.compare(b.host), a.path.compare(b.path))
	})
	for i, m := range places {
		m.rank = i
	}
	slices.SortStableFunc(t.wild, func(a, b *wildPlace) int { return a.rank - b.rank })
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

// place returns the methodTable of a host and a path, making it if it is missing.
func (t *table) place(host, path *pattern) *methodTable {
	h := t.hostTable(host)
	if h == nil || path.kind != kindAny && path.kind != kindExact && path.kind != kindPrefix {
		for _, w := range t.wild {
			if w.host.id == host.id && w.path.id == path.id {
				return w.methodTable
			}
		}
		w := &wildPlace{host, path, &methodTable{host: host, path: path}}
		t.wild = append(t.wild, w)
		return w.methodTable
	}
	text := path.text
	in := h.exact
	if path.kind != kindExact {
		in = h.prefix
		h.depth = max(h.depth, strings.Count(text, "/"))
	}
	if in[text] == nil {
		in[text] = &methodTable{host: host, path: path}
	}
	return in[text]
}

// hostTable returns the part of t for a host, making it if it is missing, or nil if the host has to be tried.
func (t *table) hostTable(host *pattern) *hostTable {
	in, name := t.exact, host.text
	switch host.kind {
	case kindAny:
		if t.any == nil {
			t.any = newHostTable()
		}
		return t.any
	case kindExact:
	case kindGlob:
		if wildHost(host.text) {
			return nil
		}
		in, name = t.wildcard, name[len("*."):]
	default:
		return nil
	}
	if in[name] == nil {
		in[name] = newHostTable()
	}
	return in[name]
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
	for _, w := range t.wild {
		all = append(all, w.methodTable)
	}
	return all
}

// add enters rt. If another route has one of its methods already, it returns that method and the other route.
func (m *methodTable) add(rt *compiledRoute) (method string, other *compiledRoute) {
	m.gateway = rt.Gateway
	if !rt.matcher.Plain() {
		m.where = append(m.where, conditionalRoute{compiledRoute: rt})
		return "", nil
	}
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

// finish computes Allow and the 405, and puts the routes with conditions in order.
func (m *methodTable) finish() {
	var allow []string
	for _, n := range m.named {
		allow = append(allow, TakenMethods([]string{n.method})...)
	}
	if m.any != nil {
		allow = append(allow, TakenMethods(nil)...)
	}
	for _, c := range m.where {
		allow = append(allow, TakenMethods(c.Match.Methods)...)
	}
	m.none = methodRefusal(allow)
	m.allow = m.none.allow
	m.orderConditions()
}

// orderConditions puts a route before those that ask for less, and notes its rivals.
func (m *methodTable) orderConditions() {
	var sorted []conditionalRoute
	for rest := m.where; len(rest) > 0; {
		i := max(0, slices.IndexFunc(rest, func(c conditionalRoute) bool {
			return !slices.ContainsFunc(rest, func(o conditionalRoute) bool {
				return o.compiledRoute != c.compiledRoute && o.matcher.narrower(c.matcher)
			})
		}))
		sorted = append(sorted, rest[i])
		rest = slices.Delete(slices.Clone(rest), i, i+1)
	}
	for i := range sorted {
		for _, o := range sorted[i+1:] {
			if !sorted[i].matcher.narrower(o.matcher) && !sameGroup(sorted[i].compiledRoute, o.compiledRoute) {
				sorted[i].rivals = append(sorted[i].rivals, o.compiledRoute)
			}
		}
	}
	m.where = sorted
}

// methodRefusal is the 405 of a place where methods are allowed.
func methodRefusal(methods []string) *Refusal {
	methods = slices.Sorted(slices.Values(methods))
	return &Refusal{
		status: http.StatusMethodNotAllowed, reason: "method not in route", public: sayMethod,
		allow: strings.Join(slices.Compact(methods), ", "),
	}
}

// match returns the route of a request.
func (t *table) match(q *lookup) (*compiledRoute, error) {
	rt, _, err := t.seek(q)
	return rt, err
}

// seek returns the route of a request, and whether in a folded table it stands for several.
func (t *table) seek(q *lookup) (rt *compiledRoute, distinct bool, err error) {
	m := t.find(q.host, q.path)
	var none *Refusal
	if len(t.ordered) > 0 && (m == nil || !m.gateway) {
		for _, o := range t.ordered {
			switch {
			case !o.matcher.match(q):
			case takes(o.Match.Methods, q.method):
				return o.compiledRoute, o.distinct, nil
			case none == nil:
				none = o.none
			}
		}
	}
	switch {
	case m != nil:
		rt, err = m.route(q)
		return rt, m.distinct, err
	case none != nil:
		return nil, false, none
	}
	return nil, false, errNoRoute
}

// dropAliases deletes headers that a CGI-like application takes for one that conditions ask for: X_Beta for X-Beta. A client
// could show it to the application that way and hide it from the table.
func (t *table) dropAliases(h http.Header) {
	if len(t.fields) == 0 {
		return
	}
	for name := range h {
		var buf [64]byte
		if folded, spelling := foldName(&buf, name); spelling == aliasName && slices.Contains(t.fields, string(folded)) {
			delete(h, name)
		}
	}
}

// checkLengths refuses a path or a header that would keep the expressions for its host busy. To take it for one that does not
// match could lead to a route that requires less.
func (t *table) checkLengths(q *lookup, path string) error {
	for _, m := range t.bounded {
		if err := m.tooLong(path, q.header); err != nil && m.hasHost(q.host) {
			return err
		}
	}
	return nil
}

// allowed are the methods at the place of a request whose route is rt.
func (t *table) allowed(q *lookup, rt *compiledRoute) string {
	if m := t.find(q.host, q.path); m != nil && rt.Priority == 0 {
		return m.allow
	}
	return methodRefusal(TakenMethods(rt.Match.Methods)).allow
}

// find returns the place of host and path, or nil.
func (t *table) find(host, path string) *methodTable {
	m := t.indexed(host, path)
	for _, w := range t.wild {
		if m != nil && w.rank > m.rank {
			break
		}
		if (host != "" || w.host.kind == kindAny) && w.host.match(host) && w.path.match(path) {
			return w.methodTable
		}
	}
	return m
}

// indexed returns the place of host and path among those that need not be tried, or nil.
func (t *table) indexed(host, path string) *methodTable {
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

// route returns the route for a request. A route that asks for more comes before one that asks for less, and one that names the
// method before one that takes any.
func (m *methodTable) route(q *lookup) (*compiledRoute, error) {
	allowed := len(m.named) > 0 || m.any != nil
	for i := range m.where {
		c := &m.where[i]
		q.asked(&c.matcher.where)
		if !c.matcher.where.hold(q) {
			continue
		}
		allowed = true
		if !takes(c.Match.Methods, q.method) {
			continue
		}
		for _, r := range c.rivals {
			q.asked(&r.matcher.where)
			if r.matcher.where.hold(q) && takes(r.Match.Methods, q.method) {
				return nil, errRivals
			}
		}
		return c.compiledRoute, nil
	}
	if !allowed {
		return nil, errConditions
	}
	return m.plain(q.method)
}

// plain returns the route for method among those without conditions.
func (m *methodTable) plain(method string) (*compiledRoute, error) {
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
