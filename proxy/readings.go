package proxy

import (
	"fmt"
	"math/bits"
	pathpkg "path"
	"strings"
	"unicode/utf8"
)

// maxKinds bounds the kinds of spellings with more than one reading in one path; see sameRoute. Three have eight combinations.
const maxKinds = 3

// admitPath finds the route for a path and refuses the path if an upstream could read it as one of another route: by giving a
// spelling that the route admits its special meaning, by ignoring letter case, or by decoding twice. What is forwarded is the
// literal reading all the same.
func (t *table) admitPath(q *lookup, path canonPath) (*compiledRoute, error) {
	if err := t.checkLengths(q, path.escaped); err != nil {
		return nil, err
	}
	q.path = path.path
	rt, err := t.match(q)
	if err != nil {
		if path.found != 0 {
			return nil, path.found.refusal()
		}
		return nil, err
	}
	if refused := path.found &^ rt.admits; refused != 0 {
		return nil, refused.refusal()
	}
	if path.found == 0 && !t.sameCase(rt, q) {
		return nil, errLetterCase
	}
	if path.found != 0 && !t.sameRoute(rt, *q, path) {
		return nil, errReadings
	}
	if !rt.Admit.DoubleEncoding && strings.Contains(path.escaped, "%25") {
		// Dot segments and bytes of the second decoding are no reason by themselves: a literal "%2e" is a legal name.
		twice, err := decodedPath(asTarget(path.path))
		if err == nil && !t.sameRoute(rt, *q, twice) {
			return nil, errReadings
		}
	}
	return rt, nil
}

// asTarget returns a decoded path as a request target that decodes once more: what a target cannot hold is encoded, and so is a
// "%" that begins no escape.
func asTarget(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])), c == ' ', c == '\t', c == '?', c == '#':
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// sameRoute reports whether rt is the route of path under every combination of its readings, with and without the dot segments
// of each resolved. Where routes have to be tried one by one, a path with more kinds of spellings than maxKinds is not looked
// into: its combinations would cost too much.
func (t *table) sameRoute(rt *compiledRoute, q lookup, path canonPath) bool {
	if len(t.wild)+len(t.ordered) > 0 && bits.OnesCount(uint(path.found)) > maxKinds {
		return false
	}
	same := func(read string) bool {
		q.path = read
		other, _ := t.match(&q)
		return alike(other, rt) && t.sameCase(rt, &q)
	}
	for mask := findings(0); mask <= path.found; mask++ {
		if mask&^path.found != 0 {
			continue
		}
		read := reading(path.escaped, mask)
		if !same(read) || hasDotSegment(read) && !same(resolveDots(read)) {
			return false
		}
	}
	return true
}

// alike reports whether it is the same for a request which of two routes takes it.
func alike(a, b *compiledRoute) bool { return a == b || a != nil && sameGroup(a, b) }

// resolveDots returns where a path leads. Like the check for them it takes a dot among blanks for a dot.
func resolveDots(read string) string {
	segments := strings.Split(read, "/")
	for i, segment := range segments {
		switch name := strings.Map(dropBlanks, segment); name {
		case ".", "..":
			segments[i] = name
		}
	}
	return pathpkg.Clean(strings.Join(segments, "/"))
}

func dropBlanks(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}

// sameCase reports whether rt is also the route of path for an upstream that ignores letter case, and blanks and dots where they
// cannot be seen, as Windows and some frameworks do. Routes that differ only in that were told apart on purpose, and then so are
// their requests.
func (t *table) sameCase(rt *compiledRoute, q *lookup) bool {
	if rt.Admit.LetterCase || t.folded == nil || !t.mixed && !foldable(q.path) {
		return true
	}
	folded := *q
	folded.path = foldPath(q.path)
	other, distinct, _ := t.folded.seek(&folded)
	return alike(other, rt) || distinct
}

// foldable reports whether a path may change when it is folded.
func foldable(path string) bool {
	for i := 0; i < len(path); i++ {
		switch b := path[i]; {
		case 'A' <= b && b <= 'Z', b >= utf8.RuneSelf, b == ' ', b == '\t':
			return true
		case b == '.' && (i+1 == len(path) || path[i+1] == '/'):
			return true
		}
	}
	return false
}

// foldPath folds letter case both ways, so that letters such as the long s and the Kelvin sign fold to ASCII too, and takes
// blanks from the ends of segments and dots from their tails, which Windows drops from file names. A segment of nothing else
// stays.
func foldPath(path string) string {
	path = strings.ToLower(strings.ToUpper(path))
	if !foldable(path) {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name := strings.TrimRight(strings.TrimLeft(segment, " \t"), " \t."); name != "" {
			segments[i] = name
		}
	}
	return strings.Join(segments, "/")
}

// fold returns the table with its paths folded. Places that differ only in what is folded become one that is marked distinct.
func (t *table) fold() *table {
	f := &table{exact: map[string]*hostTable{}, wildcard: map[string]*hostTable{}}
	for name, h := range t.exact {
		f.exact[name] = h.fold()
	}
	for name, h := range t.wildcard {
		f.wildcard[name] = h.fold()
	}
	if t.any != nil {
		f.any = t.any.fold()
	}
	for _, w := range t.wild {
		f.wild = foldWild(f.wild, w)
	}
	for _, o := range t.ordered {
		f.ordered = foldOrdered(f.ordered, o)
	}
	return f
}

// foldWild adds a place with its path folded.
func foldWild(places []*wildPlace, w *wildPlace) []*wildPlace {
	folded := &wildPlace{w.host, foldPattern(w.path), w.methodTable}
	for _, o := range places {
		if o.host.id == folded.host.id && o.path.id == folded.path.id {
			both := *o.methodTable
			both.distinct = true
			o.methodTable = &both
			return places
		}
	}
	return append(places, folded)
}

// foldOrdered adds a route with its path folded. One that another differs from only in that is marked distinct.
func foldOrdered(routes []*orderedRoute, o *orderedRoute) []*orderedRoute {
	matcher := *o.matcher
	matcher.path = foldPattern(matcher.path)
	for _, other := range routes {
		if other.matcher.path.id == matcher.path.id && other.compiledRoute.matcher.path.id != o.matcher.path.id && other.matcher.SamePlace(&matcher) {
			other.distinct = true
		}
	}
	return append(routes, &orderedRoute{compiledRoute: o.compiledRoute, matcher: &matcher, none: o.none})
}

// foldPattern returns the pattern of the folded paths that p matches.
func foldPattern(p *pattern) *pattern {
	switch p.kind {
	case kindAny:
		return p
	case kindExact, kindPrefix:
		return plainPattern(foldPath(p.text), p.kind == kindPrefix)
	case kindExpression:
		folded, err := newExpression(p.text, true)
		if err != nil { // compiled without folding before
			return p
		}
		return folded
	}
	folded := *p
	folded.globs = nil
	for _, g := range p.globs {
		folded.globs = append(folded.globs, foldGlob(g))
	}
	folded.id = fmt.Sprint("folded ", folded.kind, folded.globs)
	return &folded
}

// foldGlob folds the letters of a glob. What foldPath drops from the ends of names stays: a wildcard may stand beside it.
func foldGlob(g glob) glob {
	folded := make(glob, 0, len(g))
	for _, r := range g {
		if r < 0 {
			folded = append(folded, r)
			continue
		}
		folded = append(folded, []rune(foldPath(string(r)))...)
	}
	return folded
}

func (h *hostTable) fold() *hostTable {
	f := newHostTable()
	f.depth = h.depth
	f.exact, f.prefix = foldPlaces(h.exact), foldPlaces(h.prefix)
	return f
}

func foldPlaces(places map[string]*methodTable) map[string]*methodTable {
	folded := make(map[string]*methodTable, len(places))
	for path, m := range places {
		key := foldPath(path)
		if folded[key] != nil {
			both := *folded[key]
			both.distinct = true
			folded[key] = &both
			continue
		}
		folded[key] = m
	}
	return folded
}
