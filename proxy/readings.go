package proxy

import (
	pathpkg "path"
	"strings"
	"unicode/utf8"
)

// admitPath finds the route for a path and refuses the path if an upstream could read it as one of another route: by giving a
// spelling that the route admits its special meaning, by ignoring letter case, or by decoding twice. What is forwarded is the
// literal reading all the same.
func (t *table) admitPath(host string, path canonPath, method string) (*compiledRoute, error) {
	rt, err := t.match(host, path.path, method)
	if err != nil {
		if path.found != 0 {
			return nil, path.found.refusal()
		}
		return nil, err
	}
	if refused := path.found &^ rt.admits; refused != 0 {
		return nil, refused.refusal()
	}
	if path.found == 0 && !t.sameCase(rt, host, path.path, method) {
		return nil, errLetterCase
	}
	if path.found != 0 && !t.sameRoute(rt, host, path, method) {
		return nil, errReadings
	}
	if !rt.Admit.DoubleEncoding && strings.Contains(path.escaped, "%25") {
		// Dot segments and bytes of the second decoding are no reason by themselves: a literal "%2e" is a legal name.
		twice, err := decodedPath(asTarget(path.path))
		if err == nil && !t.sameRoute(rt, host, twice, method) {
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
// of each resolved.
func (t *table) sameRoute(rt *compiledRoute, host string, path canonPath, method string) bool {
	same := func(read string) bool {
		other, _ := t.match(host, read, method)
		return other == rt && t.sameCase(rt, host, read, method)
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
func (t *table) sameCase(rt *compiledRoute, host, path, method string) bool {
	if rt.Admit.LetterCase || t.folded == nil || !t.mixed && !foldable(path) {
		return true
	}
	m := t.folded.find(host, foldPath(path))
	if m == nil {
		return false
	}
	other, _ := m.route(method)
	return other == rt || m.distinct
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
	return f
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
