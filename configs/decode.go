package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gatehouse/headers"
	"gatehouse/internal/awslog"
	"gatehouse/internal/suggest"
	"gatehouse/proxy/compress"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
	"gatehouse/waf/acl"
	"gatehouse/waf/ipset"
)

// A source is a file's text and where each value of the configuration stands in it.
type source struct {
	name   string
	masked []string         // the lines, secrets hidden
	places map[string]place // by path as policies report it
	expand *expander
}

// A place is where a value stands, and the path under which people know it: upstreams.app where a
// policy says upstreams.app.endpoints[0].
type place struct {
	pos
	shown string
}

// at returns the place of path, or of the nearest thing that holds it.
func (s *source) at(path string) place {
	shown := path
	for p := path; ; p = parent(p) {
		if found, ok := s.places[p]; ok {
			if p == path {
				shown = found.shown
			} else {
				shown = join(found.shown, strings.TrimPrefix(path[len(p):], "."))
			}
			return place{found.pos, shown}
		}
		if p == "" {
			return place{pos{1, 1}, path}
		}
	}
}

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func (s *source) problem(path, msg string) Problem {
	found := s.at(path)
	return s.problemAt(found.pos, found.shown, msg)
}

func (s *source) problemAt(at pos, path, msg string) Problem {
	p := Problem{
		File: s.name, Line: at.line, Col: at.col,
		Path: clip(s.expand.scrub(path), 300), Msg: clip(maskAddresses(s.expand.scrub(msg)), 1000),
	}
	if at.line >= 1 && at.line <= len(s.masked) {
		p.Source = s.expand.scrubLiterals(s.masked[at.line-1])
	}
	return p
}

// A decoder fills Go values from nodes and collects what does not fit.
type decoder struct {
	src      *source
	problems Problems
	reported map[string]bool   // paths that have a Problem already
	refs     map[string]string // path → the text that holds references
	bare     map[string]*node  // path → a number, or true or false, where text is wanted
}

// maxProblems bounds what is reported of one file; a person fixes the first ones and asks again.
const maxProblems = 500

func (d *decoder) report(at pos, path, msg string) {
	if len(d.problems) >= maxProblems {
		return
	}
	d.reported[path] = true
	d.problems = append(d.problems, d.src.problemAt(at, path, msg))
}

func (d *decoder) reportf(n *node, path, format string, args ...any) {
	d.report(n.pos, path, fmt.Sprintf(format, args...))
}

// mark remembers that path stands at n. shown is the path for people.
func (d *decoder) mark(n *node, path, shown string) { d.src.places[path] = place{n.pos, shown} }

// value fills v, which is addressable, from n.
func (d *decoder) value(n *node, v reflect.Value, path string) {
	d.mark(n, path, path)
	switch target := v.Addr().Interface().(type) {
	case *upstream.Config:
		d.upstream(n, target, path)
		return
	case *waf.Config:
		d.waf(n, target, path)
		return
	case *origin.Config:
		d.orText(n, v, path, "directory")
		return
	case *origin.RedirectConfig:
		d.orText(n, v, path, "to")
		return
	case *waf.Groups:
		d.groups(n, target, path)
		return
	case *acl.RouteConfig:
		d.short(n, reflect.ValueOf(target).Elem(), path, "mode")
		return
	case *acl.Texts:
		*target = d.aclTexts(n, path)
		return
	case *acl.Match:
		d.texted(n, reflect.ValueOf(target).Elem(), path, "is")
		return
	case *acl.Source:
		d.texted(n, reflect.ValueOf(target).Elem(), path, "in")
		return
	case *ipset.SetConfig:
		d.texted(n, reflect.ValueOf(target).Elem(), path, "addresses")
		return
	case *compress.Config:
		d.short(n, reflect.ValueOf(target).Elem(), path, "mode")
		return
	case *awslog.Config:
		d.short(n, reflect.ValueOf(target).Elem(), path, "format")
		return
	case *headers.SecurityConfig:
		d.headers(n, target, path)
		return
	case interface {
		decode(d *decoder, n *node, path string)
	}:
		target.decode(d, n, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.String:
		if s, ok := d.text(n, path); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if d.want(n, path, kindBool) {
			v.SetBool(strings.EqualFold(n.text, "true"))
		}
	case reflect.Int:
		if d.want(n, path, kindNumber) {
			d.integer(n, v, path)
		}
	default:
		panic("configs: no way to decode " + v.Type().String())
	}
}

// want reports a node of another kind.
func (d *decoder) want(n *node, path string, k kind) bool {
	if n.kind == k {
		return true
	}
	switch {
	case isSecretKey(lastKey(path)):
		d.reportf(n, path, "want %s, got %s", k, n.kind)
	case strings.Contains(path, "waf.exclude["):
		d.reportf(n, path, "want %s, got %s%s", k, n.said(), wantExclusion(path, n))
	case k == kindList && n.kind == kindText:
		d.reportf(n, path, "want a list, got %s: write [%s]", n.said(), n.text)
	default:
		d.reportf(n, path, "want %s, got %s", k, n.said())
	}
	return false
}

// wantExclusion is the end of a message about something in an exclusion that is of another kind than is wanted.
func wantExclusion(path string, n *node) string {
	switch key := lastKey(path); {
	case strings.HasSuffix(path, "]") && n.kind == kindNumber:
		return ": write {rule: " + n.text + "}"
	case key == "rule" && n.kind == kindText:
		return ": a range goes into rules"
	case key == "rules" && n.kind == kindList:
		return ": write a range such as 942100-942199, or an entry with rule for each"
	case key == "for":
		return ": write {groups: [NAME]}"
	}
	return ""
}

func lastKey(path string) string {
	path, _, _ = strings.Cut(path[strings.LastIndexByte(path, '.')+1:], "[")
	return path
}

// maxInteger bounds every number of the file: no setting needs more, and it fits any int.
const maxInteger = 1 << 31

func (d *decoder) integer(n *node, v reflect.Value, path string) {
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || i < 0 || i >= maxInteger || (len(n.text) > 1 && n.text[0] == '0') {
		d.reportf(n, path, "want a whole number from 0, in decimal, got %s", n.text)
		return
	}
	v.SetInt(i)
}

// text returns the text of n with its references resolved.
func (d *decoder) text(n *node, path string) (string, bool) {
	if (n.kind == kindNumber || n.kind == kindBool) && !isSecretKey(lastKey(path)) {
		d.bare[path] = n
		return n.text, true
	}
	if !d.want(n, path, kindText) {
		return "", false
	}
	if !strings.Contains(n.text, "${") {
		if isSecretField(path) && !isFileName(path, n.text) {
			d.src.expand.literal = append(d.src.expand.literal, path)
			if len(n.text) >= minScrubbed {
				d.src.expand.resolved[n.text] = masked
			}
		}
		return n.text, true
	}
	s, errs := d.src.expand.expand(n.text)
	for _, e := range errs {
		at := n.pos
		if i := strings.Index(n.raw, n.text); i >= 0 && !strings.ContainsRune(n.raw, '\n') {
			at.col += len([]rune(n.raw[:i])) + len([]rune(n.text[:e.at]))
		}
		d.report(at, path, e.msg)
	}
	d.refs[path] = n.text
	return s, len(errs) == 0
}

// reportBare reports numbers, true and false where text is wanted. It comes last: of what would be wrong as a text too, something
// more useful has been said than to put it in quotes.
func (d *decoder) reportBare() {
	for path, n := range d.bare {
		if !d.reported[path] {
			d.reportf(n, path, "want text, got %s: put it in quotes, %q", n.said(), n.text)
		}
	}
}

// isFileName reports whether s, one of assertion.keys, names a file and is not the key itself.
func isFileName(path, s string) bool {
	return (strings.HasPrefix(path, "assertion.") || isUpstreamKey(path)) && !headers.IsInlineKey(s)
}

// isUpstreamKey reports whether path is that of a key which upstreams are shown a certificate with.
func isUpstreamKey(path string) bool {
	return strings.HasPrefix(path, "upstreams.") && strings.HasSuffix(path, ".tls.key")
}

// isSecretField reports whether the value at path is a secret. It knows the language, where
// isSecretKey guesses.
func isSecretField(path string) bool {
	switch lastKey(path) {
	case "client_secret", "secret", "previous_secret", "secret_access_key", "session_token", "admin_token":
		return true
	case "key":
		return isUpstreamKey(path)
	case "keys":
		return strings.HasPrefix(path, "login.session.") || strings.HasPrefix(path, "assertion.")
	}
	return false
}

// structure fills a struct from a mapping, by the fields' yaml names.
func (d *decoder) structure(n *node, v reflect.Value, path string) {
	if !d.want(n, path, kindMap) {
		return
	}
	names := fieldNames(v.Type())
	for _, p := range n.pairs {
		i, ok := names[p.key]
		if !ok {
			d.unknownKey(p, path, names.sorted())
			continue
		}
		at, want := join(path, p.key), accepted(v.Type(), p.key)
		if scalar := p.value.kind == kindNumber || p.value.kind == kindBool; scalar && want != nil && !slices.Contains(want, p.value.text) {
			d.reportf(p.value, at, "want %s, got %s", oneOf(want), p.value.said())
			continue
		}
		d.value(p.value, v.Field(i), at)
		if f := v.Field(i); f.Kind() == reflect.String {
			d.enum(p.value, f.String(), at, want)
		}
	}
}

func (d *decoder) unknownKey(p pair, path string, keys []string) {
	at := join(path, p.key)
	d.src.places[at] = place{p.pos, at}
	switch p.key {
	case "cors":
		d.report(p.pos, at, fmt.Sprintf("%s is not available in this version (keys here: %s)", p.key, listed(keys)))
		return
	}
	d.report(p.pos, at, fmt.Sprintf("unknown key%s (keys here: %s)", suggest.DidYouMean(p.key, keys), listed(keys)))
}

// enum reports a value that is not one of want. A nil want takes everything.
func (d *decoder) enum(n *node, got, path string, want []string) {
	if want == nil || d.reported[path] {
		return
	}
	for _, w := range want {
		if got == w {
			return
		}
	}
	d.reportf(n, path, "want %s, got %q%s", oneOf(want), got, suggest.DidYouMean(got, want))
}

// mapping fills a map from names to values. Where the values are sections, the names are ours and restricted.
func (d *decoder) mapping(n *node, v reflect.Value, path string) {
	if !d.want(n, path, kindMap) {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	named := v.Type().Elem().Kind() == reflect.Struct
	for _, p := range n.pairs {
		at := join(path, p.key)
		if named && !isName(p.key) {
			d.report(p.pos, at, "a name is 1 to 64 letters, digits, dashes and underscores")
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(p.value, elem, at)
		v.SetMapIndex(reflect.ValueOf(p.key), elem)
	}
}

// isName reports whether s can name an upstream or a limit: it becomes a label of metrics and part
// of the path of a Problem.
func isName(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 64
}

func (d *decoder) list(n *node, v reflect.Value, path string) {
	if !d.want(n, path, kindList) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}
