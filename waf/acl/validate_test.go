package acl

import (
	"strings"
	"testing"

	"gatehouse/waf/ipset"
)

func TestProblems(t *testing.T) {
	t.Parallel()
	res := Resources{Addresses: map[string]*ipset.Set{"office": {}}}
	when := func(s Statement) []Rule { return []Rule{{Name: "r", Action: ActionBlock, When: &s}} }
	for name, tt := range map[string]struct {
		rules []Rule
		want  string // a line each
	}{
		"nothing wrong":     {[]Rule{{Name: "a", Action: ActionBlock}}, ""},
		"no name":           {[]Rule{{Action: ActionBlock}}, `rules[0].name: want 1 to 128 letters, digits, dashes and underscores, got ""`},
		"one name twice":    {[]Rule{{Name: "a", Action: ActionBlock}, {Name: "a", Action: ActionCount}}, `rules[1].name: another rule is named "a": events tell rules apart by their names`},
		"the default":       {[]Rule{{Name: DefaultRule, Action: ActionBlock}}, "rules[0].name: is what events call the default"},
		"unknown action":    {[]Rule{{Name: "a", Action: "captcha"}}, `rules[0].action: want one of block, allow, count, `},
		"says nothing":      {when(Statement{}), "rules[0].when: says nothing: leave when out to match every request"},
		"matches nothing":   {when(Statement{Path: &Match{}}), "rules[0].when.path: says nothing: want is, starts_with,"},
		"empty text":        {when(Statement{Path: &Match{Contains: Texts{""}}}), "rules[0].when.path.contains[0]: is empty, which every value has: present says so"},
		"no texts":          {when(Statement{Path: &Match{Is: Texts{}}}), "rules[0].when.path.is: the list is empty, so nothing matches: leave the key out"},
		"look-ahead":        {when(Statement{Path: &Match{Regex: Texts{"(?=a)"}}}), "rules[0].when.path.regex[0]: error parsing regexp: invalid or unsupported Perl syntax: `(?=` (look-around"},
		"too long":          {when(Statement{Path: &Match{Regex: Texts{strings.Repeat("a", 2000)}}}), "rules[0].when.path.regex[0]: want at most 1024 bytes, got 2000"},
		"unknown set":       {when(Statement{Path: &Match{RegexSet: Texts{"bots"}}}), `rules[0].when.path.regex_set[0]: no set is named "bots" (pattern_sets: )`},
		"unknown addresses": {when(Statement{IP: &Source{In: Texts{"ofice"}}}), `rules[0].when.ip.in[0]: no set is named "ofice" (ip_sets: office)`},
		"no address":        {when(Statement{IP: &Source{In: Texts{"10.0.0.1/8"}}}), "rules[0].when.ip.in[0]: 10.0.0.1/8 has bits beyond its length: want 10.0.0.0/8"},
		"no database":       {when(Statement{Country: &Source{In: Texts{"DE"}}}), "rules[0].when.country: needs a database of countries: want geo.country at the top, the path of a .mmdb file"},
		"no country":        {when(Statement{Country: &Source{In: Texts{"de"}}}), `rules[0].when.country.in[0]: want a country of ISO 3166-1 such as DE, or XX where it is not known, got "de": did you mean "DE"?`},
		"no code":           {when(Statement{Country: &Source{In: Texts{"DE", "UK"}}}), `rules[0].when.country.in[1]: want a country of ISO 3166-1 such as DE, or XX where it is not known, got "UK": did you mean "GB"?`},
		"no such country":   {when(Statement{Country: &Source{In: Texts{"ZZ"}}}), `where it is not known, got "ZZ"`},
		"no header":         {when(Statement{IP: &Source{In: Texts{"office"}, Position: "last"}}), "rules[0].when.ip: invalid and position are about an address in a header: want header too"},
		"no transformation": {when(Statement{Path: &Match{Is: Texts{"/"}, Transform: Texts{"lower"}}}), `rules[0].when.path.transform[0]: unknown transformation "lower" (want any of none, base64_decode,`},
		"out of place":      {when(Statement{Path: &Match{Is: Texts{"/"}, Scope: "all"}}), "rules[0].when.path.scope: is for headers, cookies and json"},
		"no size":           {when(Statement{Body: &Match{Size: "8KiB"}}), `rules[0].when.body.size: want a comparison with a number of bytes such as ">8KiB", "<=100" or "!=0", got "8KiB"`},
		"no pointer":        {when(Statement{JSON: &Match{Present: true, Pointers: Texts{"a"}}}), `rules[0].when.json.pointers[0]: want a JSON pointer such as /user/name, got "a"`},
		"no label":          {when(Statement{Label: Texts{"a b"}}), `rules[0].when.label[0]: want a label such as`},
		"too deep":          {when(*nest(20)), "is nested more than 16 levels deep"},
		"two places":        {[]Rule{{Name: "a", Action: ActionInspect}, {Name: "b", Action: ActionInspect}}, "rules: a and b both say where the rule groups come in: they run once"},
		"status":            {[]Rule{{Name: "a", Action: ActionBlock, Respond: &Response{Status: 418}}}, "rules[0].respond.status: want one of 200 201"},
		"content type":      {[]Rule{{Name: "a", Action: ActionBlock, Respond: &Response{Headers: map[string]string{"content-type": "x"}}}}, "rules[0].respond.headers.content-type: comes from content_type of the body that is named"},
		"connection":        {[]Rule{{Name: "a", Action: ActionBlock, Respond: &Response{Headers: map[string]string{"Transfer-Encoding": "x"}}}}, "rules[0].respond.headers.Transfer-Encoding: is about the connection, and not to be set"},
		"splitting":         {[]Rule{{Name: "a", Action: ActionBlock, Respond: &Response{Headers: map[string]string{"A": "x\r\nb: c"}}}}, "rules[0].respond.headers.A: want a value of printable ASCII characters, at most 255"},
		"no answer":         {[]Rule{{Name: "a", Action: ActionBlock, Respond: &Response{Body: "x"}}}, `rules[0].respond.body: no answer is named "x" (acl.answers: )`},
		"answer of allow":   {[]Rule{{Name: "a", Action: ActionAllow, Respond: &Response{}}}, "rules[0].respond: is the answer of a rule that blocks"},
		"inserting":         {[]Rule{{Name: "a", Action: ActionBlock, Insert: map[string]string{"x": "y"}}}, "rules[0].insert: only rules that allow, count or challenge pass requests on"},
		"inserting ill":     {[]Rule{{Name: "a", Action: ActionCount, Insert: map[string]string{"x_y": "y"}}}, "rules[0].insert.x_y: want the name of a header: letters, digits and dashes, at most 64"},
		"label of a rule":   {[]Rule{{Name: "a", Action: ActionCount, Labels: []string{"a:"}}}, "rules[0].labels[0]: want parts of letters"},
	} {
		var got []string
		ValidateRules(Config{Rules: tt.rules}, RouteConfig{}, res, func(field, msg string) { got = append(got, field+": "+msg) })
		if all := strings.Join(got, "\n"); tt.want == "" && all != "" || !strings.Contains(all, tt.want) {
			t.Errorf("%s: got %q, want %q", name, all, tt.want)
		}
	}
}

// nest is a statement of n levels.
func nest(n int) *Statement {
	s := &Statement{Method: is("GET")}
	for range n {
		s = &Statement{Not: s}
	}
	return s
}

func TestSectionProblems(t *testing.T) {
	t.Parallel()
	var got []string
	Config{
		Mode: "on", Default: "deny", BodyLimit: "1GiB", PatternSets: map[string][]string{"a b": {"("}, "none": {}},
		Answers: map[string]Body{"x": {ContentType: "xml"}, "y": {Content: strings.Repeat("a", 5000)}},
	}.Validate(func(field, _ string) { got = append(got, field) })
	want := "mode default answers.x.content_type answers.x.content answers.y.content pattern_sets.a b pattern_sets.a b[0] pattern_sets.none body_limit"
	if all := strings.Join(got, " "); all != want {
		t.Errorf("got %s, want %s", all, want)
	}
}

func TestLints(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		top   Config
		route RouteConfig
		want  string
	}{
		"none": {Config{Rules: []Rule{{Name: "a", When: &Statement{Path: is("/A")}, Action: ActionBlock}, {Name: "b", Action: ActionAllow}}}, RouteConfig{}, ""},
		"shadowed": {
			Config{Rules: []Rule{{Name: "all", Action: ActionAllow}, {Name: "b", Action: ActionBlock}}},
			RouteConfig{Rules: []Rule{{Name: "c", Action: ActionCount}}},
			"rules[1]: b is never evaluated: all before it decides about every request\nroute.rules[0]: c is never evaluated: all before it decides about every request",
		},
		"not shadowed by priority": {
			Config{Rules: []Rule{{Name: "all", Action: ActionAllow, Priority: 9}}}, RouteConfig{Rules: []Rule{{Name: "c", Action: ActionCount}}}, "",
		},
		"upper case": {
			Config{Rules: []Rule{{Name: "a", When: &Statement{Path: &Match{Contains: Texts{"/A"}, Transform: Texts{"lowercase"}}}, Action: ActionBlock}}},
			RouteConfig{},
			"rules[0].when: a never matches",
		},
		"no path": {
			Config{Rules: []Rule{{Name: "a", When: &Statement{Any: []*Statement{{Path: is("x")}, {Path: &Match{StartsWith: Texts{"admin"}}}}}, Action: ActionBlock}}},
			RouteConfig{},
			"rules[0].when: a never matches",
		},
		"small letters": {
			Config{Rules: []Rule{{Name: "a", When: &Statement{Method: is("get")}, Action: ActionBlock}, {Name: "b", When: &Statement{Method: is("GET")}, Action: ActionBlock}}},
			RouteConfig{},
			"rules[0].when: a never matches",
		},
		"a label that nothing puts": {
			Config{Rules: []Rule{
				{Name: "a", When: &Statement{Label: Texts{"bot"}}, Action: ActionBlock},
				{Name: "b", When: &Statement{Path: is("/")}, Labels: []string{"bot", "known:good"}, Action: ActionCount},
				{Name: "c", When: &Statement{Label: Texts{"bot", "nothing"}}, Action: ActionBlock},
				{Name: "d", When: &Statement{LabelNamespace: Texts{"known"}}, Action: ActionBlock},
				{Name: "e", When: &Statement{Not: &Statement{Label: Texts{"nothing"}}}, Action: ActionCount},
				{Name: "f", When: &Statement{Label: Texts{"gatehouse:rule:bots"}}, Action: ActionBlock},
			}},
			RouteConfig{},
			"rules[0].when: a never matches: no rule before it puts the label bot\nrules[5].when: f never matches: no rule before it puts the label gatehouse:rule:bots",
		},
		"labels of others": {
			Config{Rules: []Rule{
				{Name: "a", When: &Statement{Label: Texts{"awswaf:managed:token:absent"}}, Action: ActionCount},
				{Name: "b", When: &Statement{Label: Texts{"absent"}}, Action: ActionCount},
				{Name: "c", When: &Statement{Label: Texts{"US"}}, Action: ActionCount},
				{Name: "d", When: &Statement{LabelNamespace: Texts{"awswaf:clientip:geo"}}, Action: ActionCount},
				{Name: "e", When: &Statement{Label: Texts{"942100"}}, Action: ActionCount},
			}},
			RouteConfig{},
			"",
		},
		"labels of the groups": {
			Config{Rules: []Rule{
				{Name: "a", When: &Statement{LabelNamespace: Texts{"gatehouse:waf:sqli"}}, Action: ActionBlock},
				{Name: "b", Action: ActionInspect},
				{Name: "c", When: &Statement{LabelNamespace: Texts{"gatehouse:waf:sqli"}}, Action: ActionBlock},
			}},
			RouteConfig{},
			"rules[0].when: a never matches: the rule groups inspect after it, unless a rule before it has the action inspect",
		},
		"a label of the top": {
			Config{Rules: []Rule{{Name: "a", When: &Statement{Path: is("/")}, Labels: []string{"bot"}, Action: ActionCount}}},
			RouteConfig{Rules: []Rule{{Name: "b", When: &Statement{Label: Texts{"bot"}}, Action: ActionBlock}}},
			"",
		},
		"nothing is inspected": {
			Config{Default: DefaultBlock, Rules: []Rule{{Name: "a", When: &Statement{Path: is("/")}, Action: ActionAllow}}},
			RouteConfig{},
			"default: blocks what no rule allows, and what a rule allows the rule groups do not inspect: a rule with action inspect before the others has them inspect it",
		},
	} {
		var got []string
		Lint(tt.top, tt.route, Resources{}, func(field, msg string) { got = append(got, field+": "+msg) })
		if all := strings.Join(got, "\n"); all != tt.want {
			t.Errorf("%s: got %q, want %q", name, all, tt.want)
		}
	}
}

// FuzzJSON: a document is gone through to its end whatever it is, and JSON is taken for JSON.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":[1,{"b/c":"x"}],"a":null}`, "/a/0")
	f.Add(`[[[[[[`, "")
	f.Fuzz(func(t *testing.T, text, pointer string) {
		segments, ok := parsePointer(pointer)
		if !ok {
			return
		}
		seen, all := 0, 0
		some := jsonWalk{pointers: [][]string{segments}, keys: true, values: true, each: func(string) bool { seen++; return false }}
		every := jsonWalk{keys: true, values: true, each: func(string) bool { all++; return false }}
		some.walk(text)
		if found, _ := every.walk(text); found || seen > all {
			t.Errorf("%q: %d of %d", text, seen, all)
		}
	})
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"1024": 1 << 10, "2048B": 2 << 10, "8KiB": 8 << 10, "1MiB": 1 << 20,
		"1023": 0, "1025KiB": 0, "2MiB": 0, "64KB": 0, "KiB": 0, "-8KiB": 0, "18014398509482048KiB": 0, // as many bytes as 64 bits have, and 64KiB
	} {
		if n, err := parseBodyLimit(text); (err == nil) != (want > 0) || err == nil && n != want {
			t.Errorf("%s: got %d, %v, want %d", text, n, err, want)
		}
	}
}
