package waf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Exclusion switches rules off, or keeps them from reading one target. Exactly one of Rule, Rules, Tag and Group
// says which rules.
type Exclusion struct {
	// Rule is a rule id, as events name it.
	Rule int `yaml:"rule"`
	// Rules is a range of rule ids, such as 942100-942199.
	Rules string `yaml:"rules"`
	// Tag is a tag of rules, such as attack-sqli.
	Tag string `yaml:"tag"`
	// Group is a rule group's name, as in groups.
	Group string `yaml:"group"`
	// Target limits the exclusion to one argument, header or cookie by name, or to a part of the request:
	// "query.id", "form.x", "json.items.*.name", "header.x", "cookie.y", "body", "files", "path", "query", or "uri",
	// which is path and query together where a rule reads them so. A * stands for one step of a JSON path or a part
	// of a name. Default: everything that the rule reads. In events query.id is the variable ARGS_GET with
	// the key id, and form.x and json.x are ARGS_POST.
	Target string `yaml:"target"`
	// For says whose requests it is for: those with a session whose groups are known to have one of these, and that
	// the application's own pages have sent (Sec-Fetch-Site: same-origin). Default: everybody's.
	For *Whom `yaml:"for"`
}

// Equal reports whether x and y say the same in the same words.
func (x Exclusion) Equal(y Exclusion) bool {
	same := (x.For == nil) == (y.For == nil) && slices.Equal(x.whom(), y.whom())
	x.For, y.For = nil, nil
	return same && x == y
}

func (x Exclusion) whom() []string {
	if x.For == nil {
		return nil
	}
	return x.For.Groups
}

// selectors names what says which rules x is about.
func (x Exclusion) selectors() []string {
	var out []string
	for name, set := range map[string]bool{"rule": x.Rule != 0, "rules": x.Rules != "", "tag": x.Tag != "", "group": x.Group != ""} {
		if set {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (x Exclusion) validate(known map[int]crsRule, report func(field, msg string)) {
	switch by := x.selectors(); {
	case len(by) == 0:
		report("", "says not what it is about (want one of rule, rules, tag and group)")
	case len(by) > 1:
		report("", fmt.Sprintf("names %s (want one of them)", strings.Join(by, " and ")))
	case x.Group != "":
		if msg := CheckGroup(x.Group); msg != "" {
			report("group", msg)
		}
	case x.Rules != "":
		if ids, err := parseIDs(x.Rules); err != nil {
			report("rules", err.Error())
		} else if !ids.any(known) {
			report("rules", fmt.Sprintf("no detection rule has an id from %s (want a range such as 942100-942199)", x.Rules))
		}
	case x.Tag != "":
		if !slices.ContainsFunc(slices.Collect(maps.Values(known)), x.covers) {
			report("tag", fmt.Sprintf("no detection rule has the tag %q (want one such as attack-sqli)", x.Tag))
		}
	default:
		if _, ok := known[x.Rule]; !ok {
			report("rule", fmt.Sprintf("no detection rule has the id %d (want one from an event, such as 942100)", x.Rule))
		}
	}
	x.For.validate(report)
	if x.Target == "" {
		return
	}
	if _, err := parseTarget(x.Target); err != nil {
		report("target", err.Error())
	} else if x.Group == responseGroup || isAnswerRule(x.Rule) {
		report("target", "rules that read answers have no targets (want none)")
	}
}

// exclusionDirectives compiles the exclusions for the rules that are loaded.
func exclusionDirectives(list []Exclusion, loaded []crsRule) (string, error) {
	// A rule may be under both kinds. Once it is removed there is nothing to update.
	var updates, removals strings.Builder
	for _, x := range list {
		if x.For != nil {
			continue // of a variant
		}
		var what target
		if x.Target != "" {
			var err error
			if what, err = parseTarget(x.Target); err != nil {
				return "", fmt.Errorf("exclude: %w", err)
			}
		}
		for _, r := range loaded {
			switch {
			case !x.covers(r):
			case x.Target == "":
				fmt.Fprintf(&removals, "SecRuleRemoveById %d\n", r.id)
			case r.reads(what):
				fmt.Fprintf(&updates, "SecRuleUpdateTargetById %d \"%s\"\n", r.id, what.negated())
			}
		}
	}
	return updates.String() + removals.String(), nil
}

// covers reports whether x is about r.
func (x Exclusion) covers(r crsRule) bool {
	switch {
	case x.Rule != 0:
		return x.Rule == r.id
	case x.Rules != "":
		ids, err := parseIDs(x.Rules)
		return err == nil && ids.has(r.id)
	case x.Tag != "":
		return r.tagged(x.Tag)
	}
	g, ok := findGroup(x.Group)
	return ok && g.has(r)
}

// tagged reports whether r has a tag, in any case, as the engine compares them.
func (r crsRule) tagged(tag string) bool {
	text, tag := strings.ToLower(r.text), strings.ToLower(tag)
	for _, form := range []string{"tag:'" + tag + "'", "tag:" + tag + ",", "tag:" + tag + `"`} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// Idle tells of the exclusions of c that do nothing: their rules do not run under c, or read nothing of their target.
// Field is that of the exclusion, and i its place in c.Exclude. What Validate reports is not told again.
func (c Config) Idle(report func(i int, field, msg string)) {
	if len(c.Exclude) == 0 || c.Mode == ModeOff {
		return
	}
	known, decide := c.known(), c.normal().decider()
	if known == nil {
		return
	}
	for i, x := range c.Exclude {
		wrong := false
		x.validate(known, func(string, string) { wrong = true })
		if wrong {
			continue
		}
		var about, running []crsRule
		for _, id := range slices.Sorted(maps.Keys(known)) {
			if r := known[id]; x.covers(r) {
				about = append(about, r)
				if decide.of(r) != ActionOff {
					running = append(running, r)
				}
			}
		}
		if len(running) == 0 {
			msg := decide.whyOff(about[0])
			switch {
			case x.Group != "" && decide.groups[x.Group] == ActionOff:
				msg = fmt.Sprintf("none of its rules runs: the group %s is off here", x.Group)
			case len(about) > 1:
				msg = "none of its rules runs: " + msg
			}
			report(i, x.selectors()[0], msg)
			continue
		}
		if x.Target == "" {
			continue
		}
		what, _ := parseTarget(x.Target) // validate has read it
		if !slices.ContainsFunc(running, func(r crsRule) bool { return r.reads(what) }) {
			report(i, "target", misses(x.Target, running))
		}
	}
}

// IdleRules tells of what c.Rules says about rules that do not run anyway, because their groups are off or they belong to a higher
// paranoia. What Validate reports is not told again.
func (c Config) IdleRules(say func(key, msg string)) {
	if len(c.Rules) == 0 || c.Mode == ModeOff {
		return
	}
	known, decide := c.known(), c.normal().decider()
	decide.rules = nil
	for _, key := range slices.Sorted(maps.Keys(c.Rules)) {
		ids, err := parseIDs(key)
		if err != nil || !ids.any(known) || c.Rules[key] == ActionOff {
			continue
		}
		why := ""
		for _, id := range slices.Sorted(maps.Keys(known)) {
			r := known[id]
			if !ids.has(id) {
				continue
			}
			if decide.of(r) != ActionOff {
				why = ""
				break
			}
			if why == "" {
				why = decide.whyOff(r)
			}
		}
		if why != "" {
			say(key, "does nothing: "+why)
		}
	}
}

// Covers reports whether x keeps m from being found: it is about m's rule, and about the place or about all.
func (x Exclusion) Covers(m Match) bool {
	r := crsRule{id: m.RuleID}
	if x.Rule == 0 {
		r = knownRules()[m.RuleID]
	}
	return r.id == m.RuleID && x.covers(r) && x.reads(m)
}

// reads reports whether the target of x is where m was found.
func (x Exclusion) reads(m Match) bool {
	if x.Target == "" {
		return true
	}
	what, err := parseTarget(x.Target)
	return err == nil && what.covers(m.Variable, m.Key)
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
	f := &Filter{loaded: map[int]crsRule{}, counted: map[int]bool{}, exclude: cfg.withPresets().Exclude}
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
		if x.For == nil && x.covers(r) && x.reads(m) {
			return false
		}
	}
	return true
}

// Depends reports whether an exclusion that is for some people only would keep m from being found, and it is found
// otherwise.
func (f *Filter) Depends(m Match) bool {
	return f.Finds(m) && slices.ContainsFunc(f.exclude, func(x Exclusion) bool {
		return x.For != nil && x.covers(f.loaded[m.RuleID]) && x.reads(m)
	})
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
