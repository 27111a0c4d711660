package configs

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/headers"
	"gatehouse/internal/suggest"
	"gatehouse/proxy"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
)

// Every form that is not a plain struct, list or text is decoded here: what the file may say in
// short, and what it then means.

// upstream takes a URL, a list of URLs, or a mapping.
func (d *decoder) upstream(n *node, c *upstream.Config, path string) {
	switch n.kind {
	case kindText:
		d.src.places[path+".endpoints[0]"] = place{n.pos, path}
		d.src.places[path+".endpoints"] = place{n.pos, path}
		if s, ok := d.text(n, path); ok {
			c.Endpoints = []string{s}
			d.aliasRef(path+".endpoints[0]", path)
		}
	case kindList:
		d.src.places[path+".endpoints"] = place{n.pos, path}
		for i, item := range n.items {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.mark(item, at, at)
			d.src.places[fmt.Sprintf("%s.endpoints[%d]", path, i)] = place{item.pos, at}
			if s, ok := d.text(item, at); ok {
				c.Endpoints = append(c.Endpoints, s)
				d.aliasRef(fmt.Sprintf("%s.endpoints[%d]", path, len(c.Endpoints)-1), at)
			}
		}
	case kindMap:
		d.structure(n, reflect.ValueOf(c).Elem(), path)
	default:
		d.reportf(n, path, "want a URL, a list of URLs, or a mapping with endpoints, got %s", n.said())
	}
}

// aliasRef makes the reference at path known under the path of the field that it fills.
func (d *decoder) aliasRef(field, path string) {
	if ref, ok := d.refs[path]; ok {
		d.refs[field] = ref
	}
}

// waf takes a mode or a mapping.
func (d *decoder) waf(n *node, c *waf.Config, path string) {
	d.short(n, reflect.ValueOf(c).Elem(), path, "mode")
}

// groups takes a list of names, or a mapping from names to what they do.
func (d *decoder) groups(n *node, g *waf.Groups, path string) {
	if n.kind == kindList && len(n.items) == 0 || n.kind == kindMap && len(n.pairs) == 0 {
		d.reportf(n, path, "names no group, which would change nothing: leave the key out, or switch the WAF off with mode: off")
		return
	}
	if n.kind != kindMap {
		*g, _ = d.texts(n, path)
		return
	}
	*g = waf.Groups{}
	for _, p := range n.pairs {
		at := join(path, p.key)
		d.mark(p.value, at, at)
		if msg := waf.CheckGroup(p.key); msg != "" {
			d.report(p.pos, at, msg)
			continue
		}
		if s, ok := d.text(p.value, at); ok {
			d.enum(p.value, s, at, waf.Actions())
			entry := fmt.Sprintf("%s[%d]", path, len(*g))
			d.src.places[entry] = place{p.value.pos, at}
			d.reported[entry] = d.reported[at]
			*g = append(*g, p.key+":"+s)
		}
	}
}

// headers takes a preset or a mapping.
func (d *decoder) headers(n *node, c *headers.SecurityConfig, path string) {
	d.short(n, reflect.ValueOf(c).Elem(), path, "preset")
}

// short fills the struct v from a mapping, or from a text that stands for its field key alone.
func (d *decoder) short(n *node, v reflect.Value, path, key string) {
	want := accepted(v.Type(), key)
	if n.kind == kindMap {
		d.structure(n, v, path)
		return
	}
	if n.kind != kindText {
		d.reportf(n, path, "want a mapping, or %s, got %s", oneOf(want), n.said())
		return
	}
	d.src.places[join(path, key)] = place{n.pos, path}
	if s, ok := d.text(n, path); ok {
		d.enum(n, s, path, want)
		d.aliasRef(join(path, key), path)
		v.Field(fieldNames(v.Type())[key]).SetString(s)
	}
}

// orText fills the struct v from a mapping, or its field key from a text.
func (d *decoder) orText(n *node, v reflect.Value, path, key string) {
	if n.kind != kindText {
		d.structure(n, v, path)
		return
	}
	d.src.places[join(path, key)] = place{n.pos, path}
	if s, ok := d.text(n, path); ok {
		d.aliasRef(join(path, key), path)
		v.Field(fieldNames(v.Type())[key]).SetString(s)
	}
}

// texts takes one text or a list of texts and returns them with their nodes.
func (d *decoder) texts(n *node, path string) (values []string, nodes []*node) {
	if n.kind == kindText {
		if s, ok := d.text(n, path); ok {
			return []string{s}, []*node{n}
		}
		return nil, nil
	}
	if n.kind != kindList {
		d.reportf(n, path, "want text or a list of texts, got %s", n.said())
		return nil, nil
	}
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.mark(item, at, at)
		if s, ok := d.text(item, at); ok {
			values, nodes = append(values, s), append(nodes, item)
		}
	}
	return values, nodes
}

func (names *Names) decode(d *decoder, n *node, path string) {
	*names, _ = d.texts(n, path)
}

func (m *Matches) decode(d *decoder, n *node, path string) {
	if n.kind != kindList {
		m.add(d, n, path)
		return
	}
	if len(n.items) == 0 {
		d.reportf(n, path, `matches nothing: want at least one "host/path"; "*" matches everything`)
	}
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.mark(item, at, at)
		m.add(d, item, at)
	}
}

func (m *Matches) add(d *decoder, n *node, path string) {
	switch n.kind {
	case kindText:
		s, ok := d.text(n, path)
		if !ok {
			return
		}
		match, err := parseMatch(s)
		if err != nil {
			d.reportf(n, path, "%s", err)
			return
		}
		d.match(match, path, map[string]*node{"": n})
		*m = append(*m, match)
	case kindMap:
		m.addMap(d, n, path)
	default:
		d.reportf(n, path, `want "host/path", a list of those, or a mapping with host, path, methods, headers, query and source, got %s`, n.said())
	}
}

// addMap takes {host, path, methods, source}, each one text or a list, and headers and query. Several paths make several matches.
func (m *Matches) addMap(d *decoder, n *node, path string) {
	keys := []string{"headers", "host", "methods", "path", "query", "source"}
	base, at := Match{}, map[string]*node{"": n}
	paths, pathNodes := []string{""}, []*node{n}
	for _, p := range n.pairs {
		sub := join(path, p.key)
		d.mark(p.value, sub, sub)
		var nodes []*node
		switch p.key {
		case "host":
			base.Hosts, nodes = d.texts(p.value, sub)
			if slices.Contains(base.Hosts, "*") {
				base.Hosts = nil // any host: the others say nothing more
			}
		case "methods":
			base.Methods, nodes = d.texts(p.value, sub)
		case "path":
			paths, pathNodes = d.texts(p.value, sub)
		case "source":
			base.Source, nodes = d.texts(p.value, sub)
		case "headers":
			base.Headers = d.asked(p.value, sub, "a header", "{X-Version: [beta, 2*]}", at)
			continue
		case "query":
			base.Query = d.asked(p.value, sub, "a parameter", "{version: [2, 3]}", at)
			continue
		default:
			d.unknownKey(p, path, keys)
			continue
		}
		if p.value.kind == kindList && len(p.value.items) == 0 {
			d.reportf(p.value, sub, "matches nothing: leave the key out to match every %s", strings.TrimSuffix(p.key, "s"))
		}
		at[p.key] = p.value
		for i, node := range nodes {
			at[fmt.Sprintf("%s[%d]", p.key, i)] = node
		}
	}
	for i, s := range paths {
		match := base
		match.Path, at["path"] = s, pathNodes[i]
		if s == "*" {
			match.Path = ""
		}
		d.match(match, path, at)
		*m = append(*m, match)
	}
}

// asked takes a mapping from headers or parameters to their values, and notes the nodes of both. Names without values are left
// out: that has been reported.
func (d *decoder) asked(n *node, path, what, example string, at map[string]*node) map[string][]string {
	values := d.valuesOf(n, path, what, example)
	for _, p := range n.pairs {
		field := path[strings.LastIndexByte(path, '.')+1:] + "." + p.key
		at[field] = p.value
		for i, item := range p.value.items {
			at[fmt.Sprintf("%s[%d]", field, i)] = item
		}
		if len(values[p.key]) == 0 {
			delete(values, p.key)
		}
	}
	return values
}

// match reports what is wrong with one match. at holds the nodes of its fields.
func (d *decoder) match(m Match, path string, at map[string]*node) {
	for i, h := range m.Hosts {
		if slices.ContainsFunc(m.Hosts[:i], func(o string) bool { return canonicalHost(o) == canonicalHost(h) }) {
			n := at[fmt.Sprintf("host[%d]", i)]
			d.reportf(n, join(path, fmt.Sprintf("host[%d]", i)), "%q is named twice", h)
		}
	}
	proxy.Match(m).Validate(func(field, msg string) {
		field = strings.Replace(field, "hosts", "host", 1)
		n := at[field]
		for n == nil {
			field = parent(field)
			n = at[field]
		}
		d.report(n.pos, join(path, field), msg)
	})
}

// parseMatch reads "host/path": "app.example.com/static/*", "app.example.com", "/path/*" or "*".
func parseMatch(s string) (Match, error) {
	const want = `want "host/path", such as "app.example.com/static/*", "app.example.com", "/path/*" or "*"`
	if s == "" {
		return Match{}, fmt.Errorf("matches nothing: %s", want)
	}
	if strings.HasPrefix(s, "~") {
		return Match{}, fmt.Errorf("a regular expression stands in a mapping, as in {path: %q}", s)
	}
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return Match{}, fmt.Errorf("a match has no scheme, got %q: %s", scheme+"://", want)
	}
	host, path, ok := strings.Cut(s, "/")
	m := Match{}
	if ok {
		m.Path = "/" + path
	}
	if host != "" && host != "*" {
		m.Hosts = []string{host}
	}
	return m, nil
}

func (r *Require) decode(d *decoder, n *node, path string) {
	const forms = `"nothing", "optional", "signed-in", "token", {groups: [...]} or {token: {scopes: [...]}}`
	switch n.kind {
	case kindText:
		s, ok := d.text(n, path)
		if !ok {
			return
		}
		who := []string{RequireNothing, RequireOptional, RequireSignedIn, RequireToken}
		if !slices.Contains(who, s) {
			d.reportf(n, path, "want %s, got %q%s", forms, s, suggest.DidYouMean(s, who))
			return
		}
		*r = Require{Who: s}
		switch s {
		case RequireOptional:
			r.OnUnauthenticated = OnUnauthenticatedAllow
		case RequireSignedIn:
			r.OnUnauthenticated = OnUnauthenticatedAuthenticate
		}
	case kindMap:
		r.decodeMap(d, n, path)
	default:
		d.reportf(n, path, "want %s, got %s", forms, n.said())
	}
}

// decodeMap takes conditions and on_unauthenticated, which are about sessions, or {token: {...}} with
// conditions and scopes.
func (r *Require) decodeMap(d *decoder, n *node, path string) {
	if token := n.get("token"); token != nil {
		r.Who = RequireToken
		for _, p := range n.pairs {
			if p.key != "token" {
				d.report(p.pos, join(path, p.key), "cannot stand beside token: a route takes sessions or tokens; what is asked of tokens goes below token")
			}
		}
		r.decodeToken(d, token, join(path, "token"))
		return
	}
	*r = Require{Who: RequireSignedIn, OnUnauthenticated: OnUnauthenticatedAuthenticate}
	for _, p := range n.pairs {
		sub := join(path, p.key)
		d.mark(p.value, sub, sub)
		switch p.key {
		case "on_unauthenticated":
			if s, ok := d.text(p.value, sub); ok {
				d.enum(p.value, s, sub, onUnauthenticated())
				r.OnUnauthenticated = s
			}
		case "scopes":
			d.report(p.pos, sub, "only tokens have scopes: write {token: {scopes: [...]}}")
		default:
			if !r.decodeLogin(d, p, sub) && !r.condition(d, p, sub) {
				d.unknownKey(p, path, conditionKeys("acr", "max_age", "on_unauthenticated", "prompt", "provider", "token"))
			}
		}
	}
	if len(n.pairs) == 0 {
		d.reportf(n, path, "is empty: want groups, claims, email_domains, expr, on_unauthenticated or token")
	}
	if r.OnUnauthenticated == OnUnauthenticatedAllow {
		r.Who = RequireOptional
		if r.conditional() {
			d.report(n.pos, path, "groups, claims, email_domains and expr need somebody who is signed in: on_unauthenticated cannot be allow")
		}
	}
}

func onUnauthenticated() []string {
	return []string{OnUnauthenticatedAuthenticate, OnUnauthenticatedDeny, OnUnauthenticatedAllow}
}

func (r *Require) decodeToken(d *decoder, n *node, path string) {
	d.mark(n, path, path)
	if !d.want(n, path, kindMap) {
		return
	}
	for _, p := range n.pairs {
		sub := join(path, p.key)
		d.mark(p.value, sub, sub)
		switch p.key {
		case "scopes":
			r.Scopes = d.someTexts(p.value, sub)
		case "issuers":
			r.Issuers = d.someTexts(p.value, sub)
			if p.value.kind == kindText { // one text stands for a list of it
				d.src.places[sub+"[0]"] = place{p.value.pos, sub}
			}
		default:
			if !r.decodeLogin(d, p, sub) && !r.condition(d, p, sub) {
				d.unknownKey(p, path, conditionKeys("acr", "issuers", "max_age", "provider", "scopes"))
			}
		}
	}
}

// someTexts is texts that refuses an empty list and empty entries: "in one of these groups", of
// which there are none, would say nobody and mean anybody.
func (d *decoder) someTexts(n *node, path string) []string {
	values, nodes := d.texts(n, path)
	for i, v := range values {
		if strings.TrimSpace(v) != v || v == "" {
			d.reportf(nodes[i], path, "want a name without blanks around it, got %q", v)
		}
	}
	if n.kind == kindList && len(n.items) == 0 {
		d.reportf(n, path, "the list is empty: name one at least, or leave the key out")
	}
	return values
}

// sizeUnits are the units of a size, longest first.
func sizeUnits() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

func (s *Size) decode(d *decoder, n *node, path string) {
	const want = `want a size such as "10MiB" (B, KiB, MiB, GiB)`
	text := n.text
	if n.kind == kindText {
		var ok bool
		if text, ok = d.text(n, path); !ok {
			return
		}
	} else if n.kind != kindNumber {
		d.reportf(n, path, "%s, got %s", want, n.said())
		return
	}
	number, unit := text, int64(1)
	for _, u := range sizeUnits() {
		if before, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSpace(before), u.bytes
			break
		}
	}
	i, err := strconv.ParseInt(number, 10, 64)
	if err != nil || i <= 0 || i > math.MaxInt64/unit {
		d.reportf(n, path, "%s, got %q", want, text)
		return
	}
	*s = Size(i * unit)
}

// String writes s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// maxDuration bounds every time of the file.
const maxDuration = 30 * 24 * time.Hour

func (t *Duration) decode(d *decoder, n *node, path string) {
	if n.kind == kindNumber {
		d.reportf(n, path, `want a time with its unit, such as "%ss"`, n.text)
		return
	}
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	got, err := time.ParseDuration(s)
	if err != nil || got <= 0 || got > maxDuration {
		d.reportf(n, path, `want a time such as "30s" or "5m", more than 0 and at most %s, got %q`, Duration(maxDuration), s)
		return
	}
	*t = Duration(got)
}

// String writes t without units that are zero: 30s, 5m, 1h30m.
func (t Duration) String() string {
	s := time.Duration(t).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Rule is what r asks of the login's gate. guarded is false when nothing is asked.
func (r Require) Rule() (rule authn.Rule, guarded bool) {
	rule = authn.Rule{
		Mode: r.OnUnauthenticated, Groups: r.Groups, Scopes: r.Scopes, Providers: r.Providers, StepUp: r.StepUp,
		Claims: r.Claims, EmailDomains: r.EmailDomains, Expr: r.Expr,
	}
	switch r.Who {
	case RequireNothing:
		return authn.Rule{}, false
	case RequireToken:
		rule.Mode = authn.ModeToken
	case RequireOptional:
		rule.Mode = authn.ModeAllow
	}
	return rule, true
}

// check reports what the gate would refuse of r.
func (r Require) check(d *decoder, path string) {
	rule, guarded := r.Rule()
	if !guarded {
		return
	}
	if r.Who == RequireToken {
		path = join(path, "token")
	}
	rule.Validate(func(field, msg string) {
		switch field {
		case "":
			d.fault(path, msg)
		case "mode": // the file calls it so
			d.fault(join(path, "on_unauthenticated"), msg)
		default:
			d.fault(join(path, field), msg)
		}
	})
}
