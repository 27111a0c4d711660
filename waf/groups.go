package waf

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"gatehouse/internal/suggest"
)

// What a group or a rule does where it matches.
const (
	ActionBlock = "block" // it adds to the score, or refuses by itself
	ActionCount = "count" // it is evaluated and recorded, and decides nothing
	ActionOff   = "off"   // it does not run
)

// Actions lists what a group or a rule can be told to do, the strongest first.
func Actions() []string { return []string{ActionBlock, ActionCount, ActionOff} }

// A group is a part of the rules under the name that the AWS managed rule groups have made usual. Protocol
// errors and the refusals of unreadable bodies belong to every engine.
type group struct {
	name string
	// files are the first three digits of the Core Rule Set's files, which are also those of the rule ids.
	// Rules of our own say by their tags what groups they are in.
	files []string
	// platform keeps, of file 932, only the rules about it and those about both; "" keeps all.
	platform string
	// extra has the group run only where it is named: it costs or refuses what not everybody wants.
	extra bool
	// operator has the group be that of the operator's rules: whoever has some means them to run.
	operator bool
}

// responseGroup is the AWS-like name of the rules that read answers.
const responseGroup = "leakages"

// operatorGroup is that of the rules in Config.RulesDir that say of themselves nothing else.
const operatorGroup = "custom"

// groups lists every group, in the order in which they are named to people.
func groups() []group {
	return []group{
		{name: "core", files: []string{"911", "913", "920", "921", "922", "930", "931", "941", "943"}},
		{name: "known-bad-inputs", files: []string{"921", "934", "944"}},
		{name: "sqli", files: []string{"942"}},
		{name: "linux", files: []string{"930", "932"}, platform: "unix"},
		{name: "posix", files: []string{"932"}, platform: "unix"},
		{name: "windows", files: []string{"932"}, platform: "windows"},
		{name: "php", files: []string{"933"}},
		{name: "wordpress", extra: true},
		{name: "admin-protection", extra: true},
		{name: "size-restrictions", extra: true},
		{name: operatorGroup, operator: true},
		{name: responseGroup, files: []string{"950", "951", "952", "953", "954", "955", "956"}, extra: true},
	}
}

// GroupNames names every group.
func GroupNames() []string {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	return names
}

// findGroup is the group of a name.
func findGroup(name string) (group, bool) {
	all := groups()
	i := slices.IndexFunc(all, func(g group) bool { return g.name == name })
	if i < 0 {
		return group{}, false
	}
	return all[i], true
}

// isExtra reports whether a group runs only where it is named.
func isExtra(name string) bool {
	g, ok := findGroup(name)
	return ok && (g.extra || g.operator)
}

// Groups says what groups do. An entry is a group's name, which has it block, or NAME:ACTION. Where one of
// the names alone is that of a group that runs by default, the groups that have no entry are off. Otherwise
// the entries change what groups do by default: those that not everybody wants (leakages) are off, and
// the others block.
type Groups []string

// A GroupAction is what one group is told to do.
type GroupAction struct{ Group, Action string }

// splitGroup takes an entry apart.
func splitGroup(entry string) (name, action string) {
	name, action, ok := strings.Cut(entry, ":")
	if !ok {
		action = ActionBlock
	}
	return name, action
}

// lists reports that g names the groups that run, rather than to change what they do.
func (g Groups) lists() bool {
	return slices.ContainsFunc(g, func(entry string) bool { return !strings.Contains(entry, ":") && !isExtra(entry) })
}

// actions is what each group does by g, over what they do by top.
func (g Groups) actions(top map[string]string) map[string]string {
	out := map[string]string{}
	for _, one := range groups() {
		switch {
		case g.lists() && !one.operator:
			out[one.name] = ActionOff
		case top != nil:
			out[one.name] = top[one.name]
		case one.extra:
			out[one.name] = ActionOff
		default:
			out[one.name] = ActionBlock
		}
	}
	for _, entry := range g {
		name, action := splitGroup(entry)
		out[name] = action
	}
	return out
}

// Each is what every group does by g, in the order in which groups are named to people.
func (g Groups) Each() []GroupAction {
	actions := g.actions(nil)
	var out []GroupAction
	for _, one := range groups() {
		out = append(out, GroupAction{one.name, actions[one.name]})
	}
	return out
}

// Over is what g says over top, for a route over the top of the file.
func (g Groups) Over(top Groups) Groups {
	switch {
	case len(g) == 0:
		return top
	case g.lists() || len(top) == 0:
		return g
	}
	merged := g.actions(top.actions(nil))
	if maps.Equal(merged, g.actions(nil)) {
		return g
	}
	return written(merged)
}

// normal is g with everything said in one way.
func (g Groups) normal() Groups { return written(g.actions(nil)) }

// written is the one way to say what groups do: a list where one of them blocks that does so by default, and
// otherwise every group that does not do what it does by default.
func written(actions map[string]string) Groups {
	var list, changes Groups
	blocks := false
	for _, one := range groups() {
		action, usual := actions[one.name], ActionBlock
		if one.extra {
			usual = ActionOff
		}
		blocks = blocks || action == ActionBlock && !one.extra && !one.operator
		entry := one.name + ":" + action
		if action == ActionBlock {
			entry = one.name
		}
		if action != ActionOff && !one.operator || one.operator && action != usual {
			list = append(list, entry)
		}
		if action != usual {
			changes = append(changes, entry)
		}
	}
	if !blocks {
		list = changes
	}
	slices.Sort(list)
	return list
}

// validate reports entries that name no group or no action.
func (g Groups) validate(report func(field, msg string)) {
	for i, entry := range g {
		name, action := splitGroup(entry)
		field := fmt.Sprintf("groups[%d]", i)
		if msg := CheckGroup(name); msg != "" {
			report(field, msg)
		} else if msg := checkAction(action); msg != "" {
			report(field, msg)
		}
	}
}

// CheckGroup says what is wrong with a group's name, or nothing.
func CheckGroup(name string) string {
	if slices.Contains(GroupNames(), name) {
		return ""
	}
	return fmt.Sprintf("unknown group %q%s (want any of %s)", name, suggest.DidYouMean(ours(name), GroupNames()), strings.Join(GroupNames(), ", "))
}

// ours is the name here of one of AWS's managed rule groups, and any other name as it is.
func ours(name string) string {
	aws, managed := strings.CutPrefix(name, "AWSManagedRules")
	if !managed {
		return name
	}
	switch aws = strings.TrimSuffix(aws, "RuleSet"); aws {
	case "Common":
		return "core"
	case "KnownBadInputs":
		return "known-bad-inputs"
	case "AdminProtection":
		return "admin-protection"
	case "Unix":
		return "posix"
	}
	return aws
}

// checkAction says what is wrong with what a group or a rule is told to do, or nothing.
func checkAction(action string) string {
	if slices.Contains(Actions(), action) {
		return ""
	}
	return fmt.Sprintf("unknown action %q (want block, count or off)", action)
}

// has reports whether a rule belongs to g.
func (g group) has(r crsRule) bool {
	if r.file == "" {
		return slices.Contains(r.groups, g.name)
	}
	if !slices.Contains(g.files, r.file) {
		return false
	}
	// Rules of file 932 that name no single platform, or both, belong to each.
	return g.platform == "" || r.file != "932" || r.platform == "" || r.platform == g.platform
}

// groupsOf names the groups of a rule.
func groupsOf(r crsRule) []string {
	var names []string
	for _, g := range groups() {
		if g.has(r) {
			names = append(names, g.name)
		}
	}
	return names
}

// A decider says what each rule does under one Config.
type decider struct {
	groups map[string]string
	rules  []ruleAction
	level  int
}

// A ruleAction is one entry of Config.Rules.
type ruleAction struct {
	ids    idRange
	action string
}

// decider is that of c, whose defaults are written out.
func (c Config) decider() decider {
	d := decider{groups: c.Groups.actions(nil), level: c.Paranoia}
	for key, action := range c.Rules {
		if ids, err := parseIDs(key); err == nil {
			d.rules = append(d.rules, ruleAction{ids, action})
		}
	}
	// The narrowest has the last word, and of two that are alike, which differ in their place, the later one.
	sort.Slice(d.rules, func(i, j int) bool {
		a, b := d.rules[i].ids, d.rules[j].ids
		return cmp.Or(b.size()-a.size(), a.first-b.first) < 0
	})
	return d
}

// of is what a rule does. A rule of several groups does the strongest of what they do. One that belongs to
// none, because no engine can do without it, blocks unless it is named itself.
func (d decider) of(r crsRule) string {
	action := ActionBlock
	if names := groupsOf(r); len(names) > 0 {
		if r.level > d.level {
			return ActionOff
		}
		action = ActionOff
		for _, name := range names {
			if slices.Index(Actions(), d.groups[name]) < slices.Index(Actions(), action) {
				action = d.groups[name]
			}
		}
		if action == ActionOff {
			return action
		}
	}
	for _, x := range d.rules {
		if x.ids.has(r.id) {
			action = x.action
		}
	}
	return action
}

// whyOff says why a rule that is off does not run, and what would have it run.
func (d decider) whyOff(r crsRule) string {
	names := groupsOf(r)
	switch on := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return d.groups[name] == ActionOff }); {
	case len(names) > 0 && len(on) == 0:
		return fmt.Sprintf("rule %d does not run: no group that it belongs to is on (%s)", r.id, strings.Join(names, ", "))
	case r.level > d.level:
		return fmt.Sprintf("rule %d does not run: it belongs to paranoia %d, and this is %d", r.id, r.level, d.level)
	default:
		return fmt.Sprintf("rule %d does not run: rules says off", r.id)
	}
}

// An idRange is the ids from first to last.
type idRange struct{ first, last int }

func (r idRange) has(id int) bool { return r.first <= id && id <= r.last }

func (r idRange) any(known map[int]crsRule) bool {
	for id := range known {
		if r.has(id) {
			return true
		}
	}
	return false
}

func (r idRange) size() int { return r.last - r.first }

// parseIDs reads "942100" or "942100-942199".
func parseIDs(s string) (idRange, error) {
	from, to, ranged := strings.Cut(s, "-")
	first, err := parseID(from)
	if err != nil {
		return idRange{}, err
	}
	if !ranged {
		return idRange{first, first}, nil
	}
	last, err := parseID(to)
	if err != nil {
		return idRange{}, err
	}
	if last <= first {
		return idRange{}, fmt.Errorf("%q ends before it begins (want FIRST-LAST)", s)
	}
	return idRange{first, last}, nil
}

const maxID = 1 << 31

func parseID(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n >= maxID || s[0] == '+' || s[0] == '0' {
		return 0, fmt.Errorf("%q is no rule id (want a number, such as 942100, or two, such as 942100-942199)", s)
	}
	return int(n), nil
}
