package acl

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"gatehouse/waf/ipset"
)

// maxSet bounds a set of patterns. AWS takes 10.
const maxSet = 500

// Validate reports everything that is wrong with c. A section cannot say which sets there are: see ValidateRules.
func (c Config) Validate(report func(field, msg string)) {
	validateModes(c.Mode, c.Default, report)
	c.validateAnswers(report)
	for _, name := range slices.Sorted(maps.Keys(c.PatternSets)) {
		path := "pattern_sets." + name
		set := newCompiler(c, Resources{}, report)
		if !isRuleName(name) {
			report(path, "a name is 1 to 128 letters, digits, dashes and underscores")
		}
		if n := len(c.PatternSets[name]); n == 0 || n > maxSet {
			report(path, fmt.Sprintf("want 1 to %d regular expressions, got %d", maxSet, n))
		}
		for i, p := range c.PatternSets[name] {
			set.pattern(fmt.Sprintf("%s[%d]", path, i), p)
		}
	}
	if c.BodyLimit != "" {
		if _, err := parseBodyLimit(c.BodyLimit); err != nil {
			report("body_limit", err.Error())
		}
	}
}

// Validate reports what is wrong with c but for its rules.
func (c RouteConfig) Validate(report func(field, msg string)) {
	validateModes(c.Mode, c.Default, report)
}

func validateModes(mode, def string, report func(field, msg string)) {
	if !slices.Contains([]string{"", ModeBlock, ModeCount, ModeOff}, mode) {
		report("mode", fmt.Sprintf("unknown mode %q (want block, count or off)", mode))
	}
	if !slices.Contains([]string{"", DefaultAllow, DefaultBlock}, def) {
		report("default", fmt.Sprintf("unknown default %q (want allow or block)", def))
	}
}

// ValidateRules reports everything that is wrong with the rules of a route together with those at the top. A field of the
// route's begins with "route.". Of res only what there is is looked at.
func ValidateRules(top Config, route RouteConfig, res Resources, report func(field, msg string)) {
	top.BodyLimit = ""
	compile(top, route, res, report)
}

// Lint tells of rules that do nothing, in the order in which they are evaluated. A field of the route's begins with "route.".
func Lint(top Config, route RouteConfig, res Resources, say func(field, msg string)) {
	c := newCompiler(top, res, func(string, string) {})
	type placed struct {
		rule
		path string
	}
	var all []placed
	for i, r := range c.rules("rules", top.Rules) {
		all = append(all, placed{r, fmt.Sprintf("rules[%d]", i)})
	}
	for i, r := range c.rules("route.rules", route.Rules) {
		all = append(all, placed{r, fmt.Sprintf("route.rules[%d]", i)})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].priority < all[j].priority })
	ender, o := "", outlook{labels: res.Labels, inspected: res.Inspects}
	for _, r := range all {
		if ender != "" {
			say(r.path, fmt.Sprintf("%s is never evaluated: %s before it decides about every request", r.name, ender))
			continue
		}
		if r.when == nil && len(r.forwards) == 0 && (r.action == ActionAllow || r.action == ActionBlock) {
			ender = r.name
		}
		if r.when != nil {
			if is, why := o.never(r.when); is {
				say(r.path+".when", fmt.Sprintf("%s never matches%s", r.name, why))
			}
		}
		o.labels = append(o.labels, r.labels...)
		o.inspected = o.inspected || r.action == ActionInspect
	}
	if ender == "" && cmp.Or(route.Default, top.Default) == DefaultBlock {
		inspects := slices.ContainsFunc(all, func(r placed) bool { return r.action == ActionInspect })
		if !inspects {
			say("default", "blocks what no rule allows, and what a rule allows the rule groups do not inspect: a rule with action inspect before the others has them inspect it")
		}
	}
}

// An outlook is what a request can have on it when a rule is evaluated.
type outlook struct {
	labels    []string // that rules before may have put
	inspected bool     // the rule groups may have
}

// never reports statements that are true of no request, as far as one can see, and where it is not plain from the statement, why.
func (o outlook) never(s statement) (is bool, why string) {
	switch s := s.(type) {
	case allOf:
		for _, part := range s {
			if is, why := o.never(part); is {
				return true, why
			}
		}
		return false, ""
	case anyOf:
		for _, part := range s {
			if is, why = o.never(part); !is {
				return false, ""
			}
		}
		return true, why
	case labelIs:
		return o.noneOf(s.keys, s.is)
	case methodIs:
		return impossible(s.match) || lowerMethod(s.match), ""
	case pathIs:
		return impossible(s.match) || nowhere(s.match), ""
	case queryIs:
		return impossible(s.match), ""
	case argIs:
		return impossible(s.match), ""
	case headerIs:
		return impossible(s.match), ""
	case *addressIn:
		return len(s.sets) > 0 && !slices.ContainsFunc(s.sets, func(set *ipset.Set) bool { return !set.Empty() }), ""
	}
	return false, ""
}

// groupLabels begins the labels of what the rule groups find.
const groupLabels = "gatehouse:waf:"

// noneOf reports keys of which no label can be one. Only names that cannot be those of other labels than the file's are judged:
// places, tokens and rules of the groups have labels too.
func (o outlook) noneOf(keys []string, matches func(label, key string) bool) (is bool, why string) {
	for _, key := range keys {
		of := strings.HasPrefix(key, groupLabels)
		switch {
		case slices.ContainsFunc(o.labels, func(label string) bool { return matches(label, key) }):
			return false, ""
		case of && o.inspected, !of && !strings.HasPrefix(key, labelPrefix) && !isPlainLabel(key):
			return false, ""
		case of:
			why = ": the rule groups inspect after it, unless a rule before it has the action inspect"
		default:
			why = fmt.Sprintf(": no rule before it puts the label %s", strings.TrimSuffix(key, ":"))
		}
	}
	return true, why
}

// isPlainLabel reports a key that can only be about a label of the file's: one word in small letters that is no part of other labels.
func isPlainLabel(key string) bool {
	other := []string{"accepted", "absent", "rejected", "expired", "domain_mismatch", "invalid", "waf", "gatehouse", "awswaf", "rule"}
	return !slices.Contains(other, key) && only(key, func(b byte) bool { return b >= 'a' && b <= 'z' || b == '_' || b == '-' })
}

// lowerMethod reports a match of methods in small letters: admission refuses those.
func lowerMethod(m *match) bool {
	return len(m.transforms) == 0 && slices.ContainsFunc(m.texts, func(t textTest) bool {
		return !slices.ContainsFunc(t.texts, func(text string) bool { return uppercase(text) == text })
	})
}

// impossible reports a match none of whose texts can be what its last transformation makes.
func impossible(m *match) bool {
	var fold transform
	switch m.last {
	case "lowercase", "cmd_line", "cmd_line_unix", "cmd_line_win":
		fold = lowercase
	case "uppercase":
		fold = uppercase
	default:
		return false
	}
	return slices.ContainsFunc(m.texts, func(t textTest) bool {
		return !slices.ContainsFunc(t.texts, func(text string) bool { return fold(text) == text })
	})
}

// nowhere reports a match of paths that begin with something else than every path does.
func nowhere(m *match) bool {
	return len(m.transforms) == 0 && slices.ContainsFunc(m.texts, func(t textTest) bool {
		return t.constraint <= startsWith && !slices.ContainsFunc(t.texts, func(text string) bool { return strings.HasPrefix(text, "/") })
	})
}

// Puts is what a list of rules may put on a request: labels, and those of the rule groups.
func Puts(list []Rule) (labels []string, inspects bool) {
	for _, r := range list {
		for _, label := range r.Labels {
			labels = append(labels, labelPrefix+label)
		}
		inspects = inspects || r.Action == ActionInspect
	}
	return labels, inspects
}

// UsesTokens reports whether rules ask for a proof of work, or whether there is one.
func UsesTokens(list []Rule) bool {
	about := func(labels Texts) bool {
		return slices.ContainsFunc(labels, func(l string) bool { return strings.Contains(l+":", "token:") })
	}
	return slices.ContainsFunc(list, func(r Rule) bool {
		asks := r.Action == ActionChallenge
		r.When.each(func(s *Statement) { asks = asks || about(s.Label) || about(s.LabelNamespace) })
		return asks
	})
}

// Names are what rules name, by the section of the file that has it.
type Names map[string][]string

// Add adds what a list of rules names.
func (n Names) Add(list []Rule) {
	for _, r := range list {
		r.When.each(n.statement)
		if r.Respond != nil {
			n["acl.answers"] = append(n["acl.answers"], r.Respond.Body)
		}
	}
}

func (n Names) statement(s *Statement) {
	for _, m := range slices.Concat(
		[]*Match{s.Method, s.Path, s.Query, s.Args, s.Headers, s.Cookies, s.Body, s.JSON},
		slices.Collect(maps.Values(s.Arg)), slices.Collect(maps.Values(s.Header)), slices.Collect(maps.Values(s.Cookie)),
	) {
		if m != nil {
			n["acl.pattern_sets"] = append(n["acl.pattern_sets"], m.RegexSet...)
		}
	}
	if s.IP != nil {
		n["ip_sets"] = append(n["ip_sets"], s.IP.In...)
	}
}
