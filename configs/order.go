package configs

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"gatehouse/headers"
	"gatehouse/proxy"
)

// maxPriority is that of an ALB's rule.
const maxPriority = 50000

// A candidate is one match of one route, compiled.
type candidate struct {
	route, match int
	priority     int
	*proxy.Matcher
}

// candidates are the matches of all routes that are valid.
func (c *Config) candidates() []*candidate {
	var all []*candidate
	for i, r := range c.Routes {
		for j, m := range r.Match {
			if matcher := proxy.NewMatcher(proxy.Match(m)); matcher != nil {
				all = append(all, &candidate{i, j, r.Priority, matcher})
			}
		}
	}
	return all
}

// checkOrder reports routes of which nobody can say which comes first: two with one priority, and two without whose patterns or
// conditions cross.
func (c *Config) checkOrder(d *decoder) {
	taken := map[int]int{}
	for i, r := range c.Routes {
		at := fmt.Sprintf("routes[%d].priority", i)
		other, twice := taken[r.Priority]
		switch {
		case !d.src.has(at):
			continue
		case r.Priority < 1 || r.Priority > maxPriority:
			d.fault(at, fmt.Sprintf("want a number from 1 to %d, got %d", maxPriority, r.Priority))
		case twice:
			d.fault(at, fmt.Sprintf("is that of routes[%d] on line %d: want another number, the lower the sooner", other, d.lineOf(other)))
		}
		taken[r.Priority] = i
	}
	c.checkStripped(d)
	all := c.candidates()
	for n, b := range all {
		for _, a := range all[:n] {
			if a.route == b.route || a.priority > 0 || b.priority > 0 || !a.Special() && !b.Special() {
				continue
			}
			if why := b.Clash(a.Matcher); why != "" {
				d.fault(d.matchPath(b.route, b.match), fmt.Sprintf("can match the same requests as routes[%d] on line %d: %s; priority on one of them would say which comes first",
					a.route, d.lineOf(a.route), why))
			}
		}
	}
}

// checkStripped reports conditions on headers that clients may not send: they are gone before a route is looked for.
func (c *Config) checkStripped(d *decoder) {
	var routes []headers.RouteAssertionConfig
	for _, r := range c.Routes {
		if r.Assertion != nil {
			routes = append(routes, *r.Assertion)
		}
	}
	strip, err := headers.NewStripper(c.Assertion, routes...)
	if err != nil {
		return // reported with the assertion
	}
	for i, r := range c.Routes {
		for j, m := range r.Match {
			for name := range m.Headers {
				h := http.Header{name: {""}}
				if strip(h); len(h) == 0 {
					d.fault(d.matchPath(i, j)+".headers."+name, "no route can see this header: it is taken out of requests, because only a gateway may send it")
				}
			}
		}
	}
}

// lineOf is the line of a route's match.
func (d *decoder) lineOf(route int) int { return d.src.at(fmt.Sprintf("routes[%d].match", route)).line }

// before reports whether a is asked before b by priority.
func (a *candidate) before(b *candidate) bool {
	return a.priority > 0 && (b.priority == 0 || a.priority < b.priority)
}

// lintOrder tells of routes that others leave nothing to, of requests that reach a laxer route for want of a condition, and of
// expressions that match more than they seem to.
func (c *Config) lintOrder(d *decoder, say func(path, format string, args ...any)) {
	all := c.candidates()
	methods := c.methods()
	for _, b := range all {
		path := d.matchPath(b.route, b.match)
		for _, expr := range b.Unanchored() {
			say(path, "%q matches in the middle too: begin it with ^ if it should not", expr)
		}
		for _, a := range all {
			if a.route != b.route && a.before(b) && a.Covers(b.Matcher) {
				say(path, "can never be reached: routes[%d] on line %d has a priority and takes all of it", a.route, d.lineOf(a.route))
				break
			}
		}
		switch m := c.Routes[b.route].Match[b.match]; {
		case b.Optional():
			c.lintOptional(all, b, "leaves out the headers or parameters that this asks for", d, say)
		case b.priority > 0:
			m.Methods = slices.DeleteFunc(slices.Clone(methods), b.Takes)
			if len(m.Methods) == 0 {
				continue
			}
			open := *b
			open.Matcher = proxy.NewMatcher(proxy.Match(m))
			c.lintOptional(all, &open, "uses a method that this does not take", d, say)
		}
	}
}

// methods are those that some route takes.
func (c *Config) methods() []string {
	var all []string
	for _, r := range c.Routes {
		for _, m := range r.Match {
			all = append(all, proxy.TakenMethods(m.Methods)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// lintOptional tells where requests go whose sender does what is said, and that alone keeps them from b.
func (c *Config) lintOptional(all []*candidate, b *candidate, does string, d *decoder, say func(path, format string, args ...any)) {
	path := d.matchPath(b.route, b.match)
	here, wider := false, -1
	for _, a := range b.inTurn(all) {
		if b.priority == 0 && !a.SamePlace(b.Matcher) {
			if a.Plain() && wider < 0 && a.Covers(b.Matcher) {
				wider = a.route
			}
			continue
		}
		here = here || !a.Optional()
		if c.Routes[a.route].Require.strictness() < c.Routes[b.route].Require.strictness() {
			say(path, "whoever %s comes to routes[%d] on line %d, which requires less: nobody is kept out by it",
				does, a.route, d.lineOf(a.route))
			return
		}
		if a.Plain() && a.Covers(b.Matcher) {
			return // nothing is left for others
		}
	}
	if b.priority == 0 && !here && wider >= 0 {
		say(path, "requests for this host and path without these headers or parameters are answered 404, and do not come to routes[%d] on line %d: a route for the same host and path without them, or a priority here, would change that",
			wider, d.lineOf(wider))
	}
}

// inTurn returns what may be asked after b about the same requests: by priority, then what is at the same place, then the rest.
func (b *candidate) inTurn(all []*candidate) []*candidate {
	var after []*candidate
	for _, a := range all {
		if a.route != b.route && !a.before(b) && a.Meets(b.Matcher) {
			after = append(after, a)
		}
	}
	place := func(a *candidate) int {
		switch {
		case a.priority > 0:
			return a.priority
		case a.SamePlace(b.Matcher):
			return maxPriority + 1
		}
		return maxPriority + 2
	}
	slices.SortStableFunc(after, func(a, o *candidate) int { return cmp.Compare(place(a), place(o)) })
	return after
}

// strictness orders requirements by how much they ask.
func (r Require) strictness() int {
	switch r.Who {
	case RequireNothing:
		return 0
	case RequireOptional:
		return 1
	}
	if r.conditional() {
		return 3
	}
	return 2
}
