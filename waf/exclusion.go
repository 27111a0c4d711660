package waf

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// An Exclusion switches a rule off, or keeps it from reading one target.
type Exclusion struct {
	// Rule is a rule id, as events name it. Exactly one of rule and group is set.
	Rule int `yaml:"rule"`
	// Group is a rule group's name, as in groups.
	Group string `yaml:"group"`
	// Target limits the exclusion to one argument, header or cookie by name, or to the body:
	// "query.id", "form.x", "json.items.*.name", "header.x", "cookie.y", "body". A * stands for one
	// step of a JSON path or a part of a name. Default: everything that the rule reads. In events query.id
	// is the variable ARGS_GET with the key id, and form.x and json.x are ARGS_POST.
	Target string `yaml:"target"`
}

// targetKinds says which of the engine's variables one kind of target stands for. A value and its
// name go together: the exclusion is about what has exactly that name.
func targetKinds() map[string][]string {
	return map[string][]string{
		"query":  {"ARGS_GET", "ARGS_GET_NAMES"},
		"form":   {"ARGS_POST", "ARGS_POST_NAMES"},
		"json":   {"ARGS_POST", "ARGS_POST_NAMES"},
		"header": {"REQUEST_HEADERS", "REQUEST_HEADERS_NAMES"},
		"cookie": {"REQUEST_COOKIES", "REQUEST_COOKIES_NAMES"},
	}
}

// bodyVariables are all the engine's variables that come out of a body.
const bodyVariables = "!REQUEST_BODY|!ARGS_POST|!ARGS_POST_NAMES|!XML|!FILES|!FILES_NAMES|!MULTIPART_PART_HEADERS"

const wantTarget = "want query.NAME, form.NAME, json.PATH, header.NAME, cookie.NAME or body"

// targetName is what a name in a target may look like. Blanks, quotes, |, / and , mean something to
// the rule language and so cannot be named.
var targetName = regexp.MustCompile(`^[A-Za-z0-9_.$@~+:\[\]*-]{1,200}$`)

func (x Exclusion) validate(known map[int]crsRule, report func(field, msg string)) {
	switch {
	case x.Rule == 0 && x.Group == "":
		report("", "says neither what rule nor what group (want one of them)")
	case x.Rule != 0 && x.Group != "":
		report("", "names both a rule and a group (want one of them)")
	case x.Group != "":
		if msg := checkGroup(x.Group); msg != "" {
			report("group", msg)
		}
	default:
		if _, ok := known[x.Rule]; !ok {
			report("rule", fmt.Sprintf("no detection rule has the id %d (want one from an event, such as 942100)", x.Rule))
		}
	}
	if _, err := x.variables(); err != nil {
		report("target", err.Error())
	} else if x.Target != "" && (x.Group == responseGroup || isAnswerRule(x.Rule)) {
		report("target", "rules that read answers have no targets (want none)")
	}
}

// variables is the target in the rule language: the list of variables to leave out. It is "" for the
// whole rule.
func (x Exclusion) variables() (string, error) {
	if x.Target == "" {
		return "", nil
	}
	if x.Target == "body" {
		return bodyVariables, nil
	}
	kind, name, ok := strings.Cut(x.Target, ".")
	vars := targetKinds()[kind]
	if !ok || vars == nil {
		return "", fmt.Errorf("unknown target %q (%s)", x.Target, wantTarget)
	}
	if !targetName.MatchString(name) {
		return "", fmt.Errorf("name %q in the target cannot be excluded (want letters, digits and _.$@~+:[]*-)", name)
	}
	if kind == "json" {
		name = "json." + name
	}
	if strings.Contains(name, "*") {
		name = globKey(name, kind == "json")
	}
	out := make([]string, len(vars))
	for i, v := range vars {
		out[i] = "!" + v + ":" + name
	}
	return strings.Join(out, "|"), nil
}

// globKey turns a name with * into the rule language's regular expression for keys. In a JSON path a *
// does not go over a dot.
func globKey(name string, path bool) string {
	star := ".*"
	if path {
		star = "[^.]*"
	}
	parts := strings.Split(name, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(strings.ToLower(p)) // the engine compares with the key in lower case
	}
	return "/^" + strings.Join(parts, star) + "$/"
}

// exclusionDirectives compiles the exclusions for the rules that are loaded.
func exclusionDirectives(list []Exclusion, loaded []crsRule) (string, error) {
	// A rule may be under both kinds. Once it is removed there is nothing to update.
	var updates, removals strings.Builder
	for _, x := range list {
		vars, err := x.variables()
		if err != nil {
			return "", fmt.Errorf("exclude: %w", err)
		}
		for _, r := range loaded {
			if !x.covers(r) {
				continue
			}
			if vars == "" {
				fmt.Fprintf(&removals, "SecRuleRemoveById %d\n", r.id)
			} else {
				fmt.Fprintf(&updates, "SecRuleUpdateTargetById %d \"%s\"\n", r.id, vars)
			}
		}
	}
	return updates.String() + removals.String(), nil
}

func (x Exclusion) covers(r crsRule) bool {
	if x.Rule != 0 {
		return x.Rule == r.id
	}
	g, ok := findGroup(x.Group)
	return ok && g.has(r)
}

// Covers reports whether x keeps m from being found: it is about m's rule, and about the place or about all.
func (x Exclusion) Covers(m Match) bool {
	r := crsRule{id: m.RuleID}
	if x.Group != "" {
		r = knownRules()[m.RuleID]
	}
	return r.id == m.RuleID && x.covers(r) && x.reads(m)
}

// reads reports whether the target of x is where m was found. Names are compared as the engine does, in lower case.
func (x Exclusion) reads(m Match) bool {
	vars, err := x.variables()
	if err != nil || vars == "" {
		return err == nil
	}
	for v := range strings.SplitSeq(vars, "|") {
		name, key, keyed := strings.Cut(strings.TrimPrefix(v, "!"), ":")
		switch {
		case name != m.Variable:
		case !keyed:
			return true
		case strings.HasPrefix(key, "/"):
			glob, err := regexp.Compile(strings.Trim(key, "/"))
			return err == nil && glob.MatchString(strings.ToLower(m.Key))
		default:
			return strings.EqualFold(key, m.Key)
		}
	}
	return false
}

// A Filter says which of the matches that were recorded an engine of another Config finds again. It knows nothing
// of what that engine finds beside them. It is safe for concurrent use.
type Filter struct {
	loaded  map[int]crsRule
	counted map[int]bool
	exclude []Exclusion
}

// NewFilter compiles no engine. cfg must be valid.
func NewFilter(cfg Config) (*Filter, error) {
	f := &Filter{loaded: map[int]crsRule{}, counted: map[int]bool{}, exclude: cfg.Exclude}
	for _, load := range []func(Config, string) (ruleSet, error){loadRules, loadAnswerRules} {
		rules, err := load(cfg.normal(), "")
		if err != nil {
			return nil, fmt.Errorf("waf: %w", err)
		}
		for _, r := range rules.loaded {
			f.loaded[r.id] = r
		}
		maps.Copy(f.counted, rules.counted)
	}
	return f, nil
}

// Finds reports whether m is found again: its rule is loaded, and no exclusion covers it.
func (f *Filter) Finds(m Match) bool {
	r, ok := f.loaded[m.RuleID]
	if !ok {
		return false
	}
	for _, x := range f.exclude {
		if x.covers(r) && x.reads(m) {
			return false
		}
	}
	return true
}

// Counts reports whether the rule is on count: what it finds is recorded and decides nothing.
func (f *Filter) Counts(rule int) bool { return f.counted[rule] }

// Loads reports whether the engine has the rule at all.
func (f *Filter) Loads(rule int) bool {
	_, ok := f.loaded[rule]
	return ok
}

// Beyond counts the rules that f has decide and old does not load, of whose matches nothing can have been recorded.
func (f *Filter) Beyond(old *Filter) (n int) {
	for id := range f.loaded {
		if !old.Loads(id) && !f.counted[id] {
			n++
		}
	}
	return n
}
