package acl

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/suggest"
	"gatehouse/waf/ipset"
)

const (
	maxRules      = 500  // of a route, with those at the top
	maxStatements = 2000 // in all of them
	maxNesting    = 16
	maxText       = 1024 // bytes of a text to look for; AWS takes 200
	maxPattern    = 1024 // bytes of a regular expression; AWS takes 200
	maxTransforms = 10   // as AWS
	maxLabel      = 1024 // bytes, as AWS
)

// The values of keys.
const (
	fallbackMatch   = "match"
	fallbackNoMatch = "no_match"
	fallbackText    = "text"
	positionFirst   = "first"
	positionLast    = "last"
	positionAny     = "any"
	scopeKeys       = "keys"
	scopeValues     = "values"
	scopeAll        = "all"
)

// Resources are what rules name beside what their own section has.
type Resources struct {
	Addresses          map[string]*ipset.Set
	Geo                *ipset.Geo // may be nil while the configuration is checked
	Countries, Systems bool       // there is a database for them
	Patterns           *Patterns  // that the rules of all routes share, so that each is compiled once; may be nil
	// For Lint alone: labels that rules elsewhere may put, and whether one of them has the rule groups inspect.
	Labels   []string
	Inspects bool
}

// A rule is a compiled Rule.
type rule struct {
	name     string
	priority int
	when     statement // nil is always
	forwards []string  // the headers without which the rule is left out
	action   string
	respond  *response
	insert   []header
	labels   []string
}

type header struct{ name, value string }

// A response is a compiled Response.
type response struct {
	status  int
	headers []header
	body    string
	kind    string // its Content-Type
}

// A compiler makes rules of their configuration and reports what is wrong with it.
type compiler struct {
	top       Config
	resources Resources
	report    func(field, msg string)
	names     map[string]bool
	count     int      // statements
	forwards  []string // of the rule at hand
}

func newCompiler(top Config, res Resources, report func(field, msg string)) *compiler {
	if res.Patterns == nil {
		res.Patterns = &Patterns{}
	}
	return &compiler{top: top, resources: res, report: report, names: map[string]bool{}}
}

// rules compiles a list of them, whose place in the file is path.
func (c *compiler) rules(path string, list []Rule) []rule {
	var out []rule
	for i, r := range list {
		out = append(out, c.rule(fmt.Sprintf("%s[%d]", path, i), r))
	}
	if len(c.names) > maxRules {
		c.report(path, fmt.Sprintf("want at most %d rules, with those at the top, got %d", maxRules, len(c.names)))
	}
	return out
}

func (c *compiler) rule(path string, r Rule) rule {
	out := rule{name: r.Name, priority: r.Priority, action: r.Action}
	switch {
	case !isRuleName(r.Name):
		c.report(path+".name", fmt.Sprintf("want 1 to 128 letters, digits, dashes and underscores, got %q", r.Name))
	case c.names[r.Name]:
		c.report(path+".name", fmt.Sprintf("another rule is named %q: events tell rules apart by their names", r.Name))
	case r.Name == DefaultRule:
		c.report(path+".name", "is what events call the default")
	}
	c.names[r.Name] = true
	actions := Actions()
	if !slices.Contains(actions, r.Action) {
		c.report(path+".action", fmt.Sprintf("want one of %s, got %q", strings.Join(actions, ", "), r.Action))
	}
	c.forwards = nil
	if r.When != nil {
		out.when = c.statement(path+".when", r.When, 0)
	}
	out.forwards = c.forwards
	out.respond = c.respond(path+".respond", r)
	out.insert = c.insert(path+".insert", r)
	for i, label := range r.Labels {
		if !isLabel(label) {
			c.report(fmt.Sprintf("%s.labels[%d]", path, i), fmt.Sprintf("want parts of letters, digits, dashes and underscores with colons between them, got %q", label))
		}
		out.labels = append(out.labels, labelPrefix+label)
	}
	return out
}

// Actions are the values of Rule.Action.
func Actions() []string {
	return []string{ActionBlock, ActionAllow, ActionCount, ActionChallenge, ActionInspect}
}

// labelPrefix begins the labels that rules of the file put on requests.
const labelPrefix = "gatehouse:rule:"

// isRuleName reports names that can be labels of metrics and logs.
func isRuleName(s string) bool { return s != "" && len(s) <= 128 && only(s, isNameByte) }

func isNameByte(c byte) bool { return isWordByte(c) || c == '-' }

func only(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	if len(s) > maxLabel-len(labelPrefix) || strings.Count(s, ":") > 4 {
		return false
	}
	for part := range strings.SplitSeq(s, ":") {
		if part == "" || !only(part, isNameByte) {
			return false
		}
	}
	return true
}

// insert compiles the headers that the upstream gets.
func (c *compiler) insert(path string, r Rule) []header {
	if len(r.Insert) == 0 {
		return nil
	}
	if r.Action != ActionAllow && r.Action != ActionCount && r.Action != ActionChallenge {
		c.report(path, fmt.Sprintf("only rules that allow, count or challenge pass requests on: a rule with action %s inserts nothing", r.Action))
	}
	if len(r.Insert) > maxHeaders {
		c.report(path, fmt.Sprintf("want at most %d headers, got %d", maxHeaders, len(r.Insert)))
	}
	var out []header
	for _, name := range slices.Sorted(maps.Keys(r.Insert)) {
		value := r.Insert[name]
		switch {
		case !isToken(name) || len(name) > 64:
			c.report(path+"."+name, "want the name of a header: letters, digits and dashes, at most 64")
		case !isFieldValue(value):
			c.report(path+"."+name, "want a value of printable ASCII characters, at most 255")
		}
		name = http.CanonicalHeaderKey(InsertPrefix + name)
		if slices.ContainsFunc(out, func(h header) bool { return h.name == name }) {
			c.report(path, fmt.Sprintf("%s is named twice", name))
		}
		out = append(out, header{name, value})
	}
	return out
}

// isToken reports names that every reader of headers reads in one way: no underscores, which some take for dashes.
func isToken(s string) bool {
	return s != "" && only(s, func(c byte) bool { return c != '_' && isNameByte(c) })
}

func isFieldValue(s string) bool {
	return len(s) <= 255 && strings.TrimSpace(s) == s && only(s, func(c byte) bool { return c >= ' ' && c <= '~' })
}

// statement compiles what a mapping says: all of it.
func (c *compiler) statement(path string, s *Statement, depth int) statement {
	if depth > maxNesting {
		c.report(path, fmt.Sprintf("is nested more than %d levels deep", maxNesting))
		return allOf{}
	}
	if c.count++; c.count == maxStatements+1 {
		c.report(path, fmt.Sprintf("want at most %d statements in all rules", maxStatements))
	}
	var all allOf
	add := func(part statement) {
		if part != nil {
			all = append(all, part)
		}
	}
	// What costs least comes first.
	add(c.labels(path, s))
	if s.Method != nil {
		add(methodIs{c.match(path+".method", s.Method, kindText)})
	}
	if s.IP != nil {
		add(c.addresses(path+".ip", s.IP))
	}
	if s.Country != nil {
		add(c.countries(path+".country", s.Country))
	}
	if s.ASN != nil {
		add(c.systems(path+".asn", s.ASN))
	}
	if s.Path != nil {
		add(pathIs{c.match(path+".path", s.Path, kindPath), len(s.Path.Transform) == 0})
	}
	all = append(all, c.fields(path, s)...)
	all = append(all, c.bodies(path, s)...)
	all = append(all, c.nested(path, s, depth)...)
	if len(all) == 0 {
		c.report(path, "says nothing: leave when out to match every request")
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// nested compiles all, any and not.
func (c *compiler) nested(path string, s *Statement, depth int) (parts []statement) {
	list := func(key string, list []*Statement) []statement {
		var out []statement
		for i, part := range list {
			if part == nil {
				continue // a Problem already
			}
			out = append(out, c.statement(fmt.Sprintf("%s.%s[%d]", path, key, i), part, depth+1))
		}
		return out
	}
	if s.All != nil {
		parts = append(parts, allOf(list("all", s.All)))
	}
	if s.Any != nil {
		parts = append(parts, anyOf(list("any", s.Any)))
	}
	if s.Not != nil {
		parts = append(parts, not{c.statement(path+".not", s.Not, depth+1)})
	}
	return parts
}

// fields compiles what is about the query and about headers.
func (c *compiler) fields(path string, s *Statement) (parts []statement) {
	if s.Query != nil {
		parts = append(parts, queryIs{c.match(path+".query", s.Query, kindURL)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Arg)) {
		if m := s.Arg[name]; m != nil {
			parts = append(parts, argIs{name, c.match(path+".arg."+name, m, kindURL)})
		}
		if name == "" {
			c.report(path+".arg", "want the name of an argument; args are all of them")
		}
	}
	if s.Args != nil {
		parts = append(parts, argIs{"", c.match(path+".args", s.Args, kindURL)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		if !isFieldName(name) {
			c.report(path+".header", fmt.Sprintf("%q is no name of a header", name))
		}
		if m := s.Header[name]; m != nil {
			parts = append(parts, headerIs{http.CanonicalHeaderKey(name), c.match(path+".header."+name, m, kindText)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Cookie)) {
		if m := s.Cookie[name]; m != nil {
			parts = append(parts, cookieIs{name, c.match(path+".cookie."+name, m, kindText)})
		}
	}
	if s.Headers != nil {
		parts = append(parts, c.pairs(path+".headers", s.Headers, false))
	}
	if s.Cookies != nil {
		parts = append(parts, c.pairs(path+".cookies", s.Cookies, true))
	}
	return parts
}

func isFieldName(s string) bool {
	return s != "" && only(s, func(c byte) bool { return isNameByte(c) || strings.IndexByte("!#$%&'*+.^`|~", c) >= 0 })
}

func (c *compiler) pairs(path string, m *Match, cookies bool) statement {
	p := &pairsAre{cookies: cookies, only: m.Only, except: m.Except, match: c.match(path, m, kindPairs)}
	if m.Only != nil && m.Except != nil {
		c.report(path+".except", "cannot stand beside only")
	}
	p.keys, p.values = c.scope(path, m)
	p.over = c.oversize(path, m, oversizeNone)
	return p
}

func (c *compiler) scope(path string, m *Match) (inKeys, inValues bool) {
	switch m.Scope {
	case "", scopeValues:
		return false, true
	case scopeKeys:
		return true, false
	case scopeAll:
		return true, true
	}
	c.report(path+".scope", fmt.Sprintf("want keys, values or all, got %q", m.Scope))
	return false, false
}

func (c *compiler) oversize(path string, m *Match, none oversize) oversize {
	switch m.Oversize {
	case "":
		return none
	case "continue":
		return oversizeContinue
	case fallbackMatch:
		return oversizeMatch
	case fallbackNoMatch:
		return oversizeNoMatch
	}
	c.report(path+".oversize", fmt.Sprintf("want continue, match or no_match, got %q", m.Oversize))
	return none
}

// bodies compiles what is about the body.
func (c *compiler) bodies(path string, s *Statement) (parts []statement) {
	if m := s.Body; m != nil {
		compiled := c.match(path+".body", m, kindBody)
		b := &bodyIs{match: compiled, over: c.oversize(path+".body", m, oversizeContinue)}
		if len(compiled.transforms) == 0 {
			b.sizes, compiled.sizes = compiled.sizes, nil
		}
		b.read = len(b.sizes) == 0 || len(compiled.texts)+len(compiled.regexps)+len(compiled.sizes) > 0 || compiled.sqli || compiled.xss
		parts = append(parts, b)
	}
	if m := s.JSON; m != nil {
		j := &jsonIs{match: c.match(path+".json", m, kindJSON), invalid: m.Invalid, over: c.oversize(path+".json", m, oversizeContinue)}
		j.keys, j.values = c.scope(path+".json", m)
		for i, pointer := range m.Pointers {
			segments, ok := parsePointer(pointer)
			if !ok {
				c.report(fmt.Sprintf("%s.json.pointers[%d]", path, i), fmt.Sprintf("want a JSON pointer such as /user/name, got %q", pointer))
			}
			j.pointers = append(j.pointers, segments)
		}
		if !slices.Contains([]string{"", fallbackMatch, fallbackNoMatch, fallbackText}, m.Invalid) {
			c.report(path+".json.invalid", fmt.Sprintf("want match, no_match or text, got %q", m.Invalid))
		}
		parts = append(parts, j)
	}
	return parts
}

// labels compiles what is about labels.
func (c *compiler) labels(path string, s *Statement) statement {
	var parts allOf
	if s.Label != nil {
		for i, label := range s.Label {
			if label == "" || !only(label, func(b byte) bool { return isNameByte(b) || b == ':' }) || label[len(label)-1] == ':' {
				c.report(fmt.Sprintf("%s.label[%d]", path, i), fmt.Sprintf("want a label such as gatehouse:waf:sqli:942100, or its end, got %q", label))
			}
		}
		parts = append(parts, labelIs{s.Label, endsLabel})
	}
	if s.LabelNamespace != nil {
		var keys []string
		for i, key := range s.LabelNamespace {
			key = strings.TrimSuffix(key, ":")
			if key == "" || !only(key, func(b byte) bool { return isNameByte(b) || b == ':' }) {
				c.report(fmt.Sprintf("%s.label_namespace[%d]", path, i), fmt.Sprintf("want the beginning of labels, such as gatehouse:waf:sqli, got %q", key))
			}
			keys = append(keys, key+":")
		}
		parts = append(parts, labelIs{keys, inNamespace})
	}
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return parts[0]
	}
	return parts
}

// source compiles where addresses are taken from.
func (c *compiler) source(path string, s *Source, positions bool) source {
	out := source{invalid: s.Invalid == fallbackMatch, position: cmp.Or(s.Position, positionFirst)}
	if len(s.In) == 0 {
		c.report(path+".in", "required: want one at least")
	}
	if s.Header != "" {
		out.header = http.CanonicalHeaderKey(s.Header)
		c.forwards = append(c.forwards, out.header)
		if !isFieldName(s.Header) {
			c.report(path+".header", fmt.Sprintf("%q is no name of a header", s.Header))
		}
	} else if s.Invalid != "" || s.Position != "" {
		c.report(path, "invalid and position are about an address in a header: want header too")
	}
	if !slices.Contains([]string{"", fallbackMatch, fallbackNoMatch}, s.Invalid) {
		c.report(path+".invalid", fmt.Sprintf("want match or no_match, got %q", s.Invalid))
	}
	switch {
	case !slices.Contains([]string{positionFirst, positionLast, positionAny}, out.position):
		c.report(path+".position", fmt.Sprintf("want first, last or any, got %q", s.Position))
	case s.Position != "" && !positions:
		c.report(path+".position", "countries and ASNs are those of the first address")
	}
	return out
}

func (c *compiler) addresses(path string, s *Source) statement {
	out := &addressIn{source: c.source(path, s, true)}
	var inline []string
	for i, entry := range s.In {
		if set, ok := c.resources.Addresses[entry]; ok {
			out.sets = append(out.sets, set)
			continue
		}
		if _, err := ipset.ParsePrefix(entry); err != nil {
			msg := fmt.Sprintf("no ip_sets are named so, and %v", err)
			if strings.ContainsAny(entry, ".:/") {
				msg = err.Error()
			} else if known := slices.Sorted(maps.Keys(c.resources.Addresses)); len(known) > 0 {
				msg = fmt.Sprintf("no set is named %q (ip_sets: %s)", entry, strings.Join(known, ", "))
			}
			c.report(fmt.Sprintf("%s.in[%d]", path, i), msg)
			continue
		}
		inline = append(inline, entry)
	}
	if len(inline) > 0 {
		if set, err := ipset.New(inline); err == nil { // they have been parsed
			out.sets = append(out.sets, set)
		}
	}
	return out
}

func (c *compiler) countries(path string, s *Source) statement {
	out := &countryIn{source: c.source(path, s, false)}
	if !c.resources.Countries {
		c.report(path, "needs a database of countries: want geo.country at the top, the path of a .mmdb file")
	}
	for i, code := range s.In {
		if !isCountry(code) {
			c.report(fmt.Sprintf("%s.in[%d]", path, i), fmt.Sprintf("want a country of ISO 3166-1 such as DE, or XX where it is not known, got %q%s", code, meantCountry(code)))
		}
		out.codes = append(out.codes, code)
	}
	return out
}

func (c *compiler) systems(path string, s *Source) statement {
	out := &systemIn{source: c.source(path, s, false)}
	if !c.resources.Systems {
		c.report(path, "needs a database of autonomous systems: want geo.asn at the top, the path of a .mmdb file")
	}
	for i, text := range s.In {
		n, err := strconv.ParseUint(strings.TrimPrefix(text, "AS"), 10, 32)
		if err != nil || n == 0 {
			c.report(fmt.Sprintf("%s.in[%d]", path, i), fmt.Sprintf("want the number of an autonomous system such as 64496, got %q", text))
		}
		out.numbers = append(out.numbers, uint32(n))
	}
	return out
}

// A kind is what a Match may say where it stands.
type kind byte

const (
	kindText kind = iota
	kindPath
	kindURL
	kindPairs
	kindBody
	kindJSON
)

// match compiles a Match.
func (c *compiler) match(path string, m *Match, k kind) *match {
	out := &match{xss: m.XSS}
	said := m.Present || m.XSS || m.SQLi != "" || m.Size != ""
	for _, t := range []struct {
		key        string
		constraint constraint
		texts      Texts
	}{
		{"is", exactly, m.Is},
		{"starts_with", startsWith, m.StartsWith},
		{"ends_with", endsWith, m.EndsWith},
		{"contains", contains, m.Contains},
		{"word", containsWord, m.Word},
	} {
		if t.texts == nil {
			continue
		}
		said = true
		c.texts(path+"."+t.key, t.texts, t.constraint)
		out.texts = append(out.texts, textTest{t.constraint, t.texts})
	}
	for i, p := range m.Regex {
		said = true
		c.pattern(fmt.Sprintf("%s.regex[%d]", path, i), p)
	}
	if m.Regex != nil {
		out.regexps = append(out.regexps, c.compiled(path+".regex", m.Regex))
	}
	if m.RegexSet != nil {
		said = true
		out.regexps = append(out.regexps, c.sets(path, m.RegexSet))
	}
	if !said {
		c.report(path, "says nothing: want is, starts_with, ends_with, contains, word, regex, regex_set, sqli, xss, size or present")
	}
	switch m.SQLi {
	case "":
	case "low":
		out.sqli = true
	case "high":
		out.sqli, out.like = true, c.compiled(path+".sqli", []string{likeSQL})
	default:
		c.report(path+".sqli", fmt.Sprintf("want low or high, got %q", m.SQLi))
	}
	if m.Size != "" {
		size, err := parseSize(m.Size)
		if err != nil {
			c.report(path+".size", err.Error())
		}
		out.sizes = append(out.sizes, size)
	}
	out.transforms = c.transforms(path, m, k)
	if n := len(m.Transform); n > 0 {
		out.last = lowercase(m.Transform[n-1])
	}
	c.belongs(path, m, k)
	return out
}

// belongs reports keys that say nothing where they stand.
func (c *compiler) belongs(path string, m *Match, k kind) {
	for _, key := range []struct {
		name  string
		said  bool
		kinds []kind
		where string
	}{
		{"only", m.Only != nil, []kind{kindPairs}, "headers and cookies"},
		{"except", m.Except != nil, []kind{kindPairs}, "headers and cookies"},
		{"scope", m.Scope != "", []kind{kindPairs, kindJSON}, "headers, cookies and json"},
		{"oversize", m.Oversize != "", []kind{kindPairs, kindBody, kindJSON}, "headers, cookies, body and json"},
		{"pointers", m.Pointers != nil, []kind{kindJSON}, "json"},
		{"invalid", m.Invalid != "", []kind{kindJSON}, "json"},
	} {
		if key.said && !slices.Contains(key.kinds, k) {
			c.report(path+"."+key.name, "is for "+key.where)
		}
	}
}

func (c *compiler) texts(path string, texts Texts, constraint constraint) {
	if len(texts) == 0 {
		c.report(path, "the list is empty, so nothing matches: leave the key out")
	}
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case len(text) > maxText:
			c.report(at, fmt.Sprintf("want at most %d bytes, got %d", maxText, len(text)))
		case text == "" && constraint != exactly:
			c.report(at, "is empty, which every value has: present says so")
		}
	}
}

func (c *compiler) transforms(path string, m *Match, k kind) []transform {
	if len(m.Transform) == 0 {
		if k == kindURL {
			return []transform{decodeURL}
		}
		return nil
	}
	if len(m.Transform) > maxTransforms {
		c.report(path+".transform", fmt.Sprintf("want at most %d, got %d", maxTransforms, len(m.Transform)))
	}
	var out []transform
	for i, name := range m.Transform {
		switch t, ok := transformNamed(name); {
		case !ok:
			c.report(fmt.Sprintf("%s.transform[%d]", path, i), fmt.Sprintf("unknown transformation %q%s (want any of %s)", name, suggest.DidYouMean(name, transformNames()), strings.Join(transformNames(), ", ")))
		case t != nil:
			out = append(out, t)
		}
	}
	return out
}

// pattern reports what is wrong with a regular expression.
func (c *compiler) pattern(path, p string) {
	if len(p) > maxPattern {
		c.report(path, fmt.Sprintf("want at most %d bytes, got %d", maxPattern, len(p)))
		return
	}
	if err := c.resources.Patterns.check(p); err != nil {
		msg := err.Error()
		if e, ok := err.(*syntax.Error); ok && e.Code == syntax.ErrInvalidPerlOp { //nolint:errorlint // Compile returns it so
			msg += " (look-around and the like are not in RE2, as they are not in AWS WAF)"
		}
		c.report(path, msg)
	}
}

// parseSize reads a comparison such as ">8KiB".
func parseSize(s string) (sizeTest, error) {
	number := strings.TrimLeft(s, "<>=!")
	op := s[:len(s)-len(number)]
	if op == "==" {
		op = "="
	}
	bytes, ok := parseBytes(number)
	if !ok || !slices.Contains([]string{"=", "!=", "<", "<=", ">", ">="}, op) {
		return sizeTest{"=", -1}, fmt.Errorf(`want a comparison with a number of bytes such as ">8KiB", "<=100" or "!=0", got %q`, s)
	}
	return sizeTest{op, bytes}, nil
}

// parseBytes reads a number of bytes, with or without a unit.
func parseBytes(s string) (bytes int64, ok bool) {
	n, unit := strings.TrimSpace(s), int64(1)
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}} {
		if before, ok := strings.CutSuffix(n, u.name); ok {
			n, unit = strings.TrimSpace(before), u.bytes
			break
		}
	}
	count, err := strconv.ParseInt(n, 10, 64)
	if err != nil || count < 0 || count > 1<<31 {
		return 0, false
	}
	return count * unit, true
}
