package waf

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed rules/*.conf
var ownRules embed.FS

// crsDir is where the Core Rule Set's files lie in its module.
const crsDir = "@owasp_crs"

// A crsRule is one rule as the rule language has it: a directive, and the directives chained to it.
type crsRule struct {
	id       int
	file     string   // the first three digits of the file's name; "" for rules of our own
	level    int      // the paranoia level from which it runs
	platform string   // "unix" or "windows" if it is about one of them alone
	groups   []string // of a rule of our own, or of the operator's; others are in those of their file
	operator bool     // it is the operator's
	text     string
}

// Patterns for taking rule files apart.
var (
	ruleID        = regexp.MustCompile(`\bid:'?(\d+)`)
	ruleChains    = regexp.MustCompile(`[,"]chain(?:,|"$)`)
	ruleLevel     = regexp.MustCompile(`DETECTION_PARANOIA_LEVEL "@lt (\d)"`)
	ownGroup      = regexp.MustCompile(`tag:'gatehouse/([a-z-]+)'`)
	ownLevel      = regexp.MustCompile(`tag:'paranoia-level/([1-4])'`)
	updatedTarget = regexp.MustCompile(`^SecRuleUpdateTargetById (\d+) "?([^"]+)"?$`)
)

// fileNumber is 942 of @owasp_crs/REQUEST-942-APPLICATION-ATTACK-SQLI.conf.
func fileNumber(name string) string {
	_, rest, _ := strings.Cut(name, "-") // behind REQUEST or RESPONSE
	number, _, _ := strings.Cut(rest, "-")
	return number
}

// directives splits a rule file into directives, one string each: comments gone, continued lines
// joined.
func directives(text string) []string {
	list, _ := numberedDirectives(text)
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.text
	}
	return out
}

// parseRules takes a rule file apart. The rules that only skip a paranoia level are dropped: what is
// above the engine's level is not loaded at all.
func parseRules(file, text string) []crsRule {
	var out []crsRule
	level := 1
	chained := false
	for _, d := range directives(text) {
		if m := ruleLevel.FindStringSubmatch(d); m != nil {
			level, _ = strconv.Atoi(m[1]) // the pattern admits one digit
			continue
		}
		d = rewriteTargets(d)
		if chained {
			last := &out[len(out)-1]
			last.text += "\n" + d
		} else {
			r := crsRule{file: file, level: level, platform: platformOf(d)}
			if m := ruleID.FindStringSubmatch(d); m != nil {
				r.id, _ = strconv.Atoi(m[1])
			}
			r.text = amend(r.id, d)
			if strings.HasPrefix(d, "SecMarker") {
				r.level = 1
			}
			if file == "" {
				r.own(d)
			}
			out = append(out, r)
		}
		chained = ruleChains.MatchString(d)
	}
	return out
}

// own reads what a rule of our own says of itself in its tags.
func (r *crsRule) own(directive string) {
	for _, m := range ownGroup.FindAllStringSubmatch(directive, -1) {
		r.groups = append(r.groups, m[1])
	}
	if m := ownLevel.FindStringSubmatch(directive); m != nil {
		r.level, _ = strconv.Atoi(m[1]) // the pattern admits one digit
	}
}

func platformOf(directive string) string {
	unix := strings.Contains(directive, "tag:'platform-unix'")
	windows := strings.Contains(directive, "tag:'platform-windows'")
	multi := strings.Contains(directive, "tag:'platform-multi'")
	switch {
	case multi || unix == windows:
		return ""
	case unix:
		return "unix"
	default:
		return "windows"
	}
}

// rewriteTargets changes what a directive of the set reads. Attribute values of XML are read wherever
// its text is (the set does so from 4.28 on, GHSA-6jp8-c2w2-x7wr), and ARGS becomes its two parts, so
// that a match says whether the argument came in the query or in the body and an exclusion can name one
// of them.
func rewriteTargets(d string) string {
	if m := updatedTarget.FindStringSubmatch(d); m != nil {
		return fmt.Sprintf(`SecRuleUpdateTargetById %s "%s"`, m[1], rewriteVariables(m[2]))
	}
	rest, ok := strings.CutPrefix(d, "SecRule ")
	if !ok {
		return d
	}
	vars, rest, ok := strings.Cut(rest, " ")
	if !ok {
		return d
	}
	return "SecRule " + rewriteVariables(vars) + " " + rest
}

func rewriteVariables(vars string) string {
	hasAttributes := strings.Contains(vars, "XML://@*")
	var out []string
	for _, v := range splitVariables(vars) {
		sign, name, selector := "", v, ""
		if strings.HasPrefix(v, "!") {
			sign, name = "!", v[1:]
		}
		if before, after, ok := strings.Cut(name, ":"); ok {
			name, selector = before, ":"+after
		}
		switch {
		case name == "ARGS":
			out = append(out, sign+"ARGS_GET"+selector, sign+"ARGS_POST"+selector)
		case name == "ARGS_NAMES":
			out = append(out, sign+"ARGS_GET_NAMES"+selector, sign+"ARGS_POST_NAMES"+selector)
		case v == "XML:/*" && !hasAttributes:
			out = append(out, v, "XML://@*")
		default:
			out = append(out, v)
		}
	}
	return strings.Join(out, "|")
}

// splitVariables splits a list of variables at its bars, but not inside a regular expression.
func splitVariables(vars string) []string {
	var out []string
	start, inRegexp := 0, false
	for i := range len(vars) {
		switch {
		case vars[i] == '/' && i > 0 && vars[i-1] == ':' && !strings.HasPrefix(vars[start:], "XML:"):
			inRegexp = true
		case vars[i] == '/' && inRegexp && vars[i-1] != '\\':
			inRegexp = false
		case vars[i] == '|' && !inRegexp:
			out = append(out, vars[start:i])
			start = i + 1
		}
	}
	return append(out, vars[start:])
}

// A ruleSet is what an engine loads: directives in order, and the detection rules among them.
type ruleSet struct {
	text    string
	loaded  []crsRule
	counted map[int]bool // those among them that decide nothing
	told    map[int]bool // rules of the operator's whose matches are recorded
	decide  decider
	source  *source
}

func newRuleSet(c Config) (ruleSet, error) {
	src, err := c.source()
	return ruleSet{counted: map[int]bool{}, told: map[int]bool{}, decide: c.decider(), source: src}, err
}

// leftOut reports rules of the set that are not loaded.
//
// 920340 scores every body with a Content-Length and without a Content-Type, and so would refuse clean
// JSON, which the connector inspects as such, but not the same body in chunks. Rule 920640 scores what
// remains: untyped bodies that are only text.
//
// 901340 has the engine keep a body that no reader is chosen for. The connector chooses one for each.
func leftOut(id int) bool { return id == 920340 || id == 901340 }

// typeRule refuses types that are not in a list.
const typeRule = 920420

// bodyRules refuse a head because nobody could read the body that it announces: an unknown type or charset, or a content
// coding. They have no say where nobody reads it.
func bodyRules() []int { return []int{200011, typeRule, 920480} }

func aboutBody(id int) bool { return slices.Contains(bodyRules(), id) }

// isEvaluation has the rules that add up what others have found and decide.
func isEvaluation(id int) bool { return id >= 949000 && id < 950000 || id >= 959000 && id < 960000 }

// always are the files that every engine loads: initialisation, the blocking evaluation and the
// exceptions that come with the set.
func always(file string) bool {
	return file == "901" || file == "949" || file == "959" || file == "999"
}

// loadRules builds the directives for c, whose defaults are written out, with extra before those of the
// Core Rule Set.
func loadRules(c Config, extra string) (ruleSet, error) {
	rs, err := newRuleSet(c)
	if err != nil {
		return rs, err
	}
	var b strings.Builder
	own := func(name string) error {
		text, err := ownRules.ReadFile("rules/" + name)
		if err != nil {
			return fmt.Errorf("rule file: %w", err)
		}
		b.WriteString(rs.take("", string(text)))
		return nil
	}
	if err := own("base.conf"); err != nil {
		return rs, err
	}
	if err := own("setup.conf"); err != nil {
		return rs, err
	}
	limits := c.bounds()
	// Rules 200004 and 200005 refuse what goes over the arguments, since Coraza drops the rest, and 200002 what is
	// nested more deeply.
	fmt.Fprintf(&b, "SecArgumentsLimit %d\nSecRequestBodyJsonDepthLimit %d\n", limits.values, limits.depth)
	fmt.Fprintf(&b, "SecAction \"id:899000,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level=%d,"+
		"setvar:tx.detection_paranoia_level=%d,setvar:tx.inbound_anomaly_score_threshold=%d\"\n",
		c.Paranoia, c.Paranoia, c.Threshold)
	b.WriteString(allowedTypes())
	b.WriteString(extra)
	for _, f := range rs.source.setup {
		b.WriteString(settings(f.text))
	}
	for _, f := range rs.source.before {
		b.WriteString(rs.takeOperator(f.text))
	}
	for _, f := range rs.source.requests() {
		if fileNumber(f.name) == "949" {
			if err := own("gatehouse.conf"); err != nil {
				return rs, err
			}
			for _, f := range rs.source.own {
				b.WriteString(rs.takeOperator(f.text))
			}
		}
		b.WriteString(rs.take(fileNumber(f.name), f.text))
	}
	if c.Body == BodyHeaders {
		rs.loaded = slices.DeleteFunc(rs.loaded, func(r crsRule) bool { return aboutBody(r.id) })
	}
	excluded, err := exclusionDirectives(c.Exclude, rs.loaded)
	if err != nil {
		return rs, err
	}
	b.WriteString(unreadDirectives(rs.loaded))
	b.WriteString(excluded)
	if c.Body == BodyHeaders {
		for _, id := range bodyRules() {
			fmt.Fprintf(&b, "SecRuleRemoveById %d\n", id)
		}
	}
	rs.text = b.String()
	return rs, nil
}

// take adds the rules of a file that are wanted and returns their text.
func (rs *ruleSet) take(file, text string) string {
	var b strings.Builder
	for _, r := range parseRules(file, text) {
		rs.add(&b, r)
	}
	return b.String()
}

// add writes a rule if it is wanted.
func (rs *ruleSet) add(b *strings.Builder, r crsRule) {
	action := rs.wants(r)
	if action == ActionOff {
		return
	}
	if action == ActionCount && r.finds() {
		r.text = countedText(r.text)
		rs.counted[r.id] = true
	}
	b.WriteString(r.text)
	b.WriteByte('\n')
	if r.finds() {
		rs.loaded = append(rs.loaded, r)
	}
}

// finds reports whether r is one that finds something.
func (r crsRule) finds() bool { return r.operator && r.id > 0 || isDetection(r.id) }

// wants says what r does. An update of a rule is wanted if the rule was.
func (rs *ruleSet) wants(r crsRule) string {
	if m := updatedTarget.FindStringSubmatch(r.text); m != nil {
		id, _ := strconv.Atoi(m[1]) // the pattern admits digits only
		if slices.ContainsFunc(rs.loaded, func(l crsRule) bool { return l.id == id }) {
			return ActionBlock
		}
		return ActionOff
	}
	if leftOut(r.id) {
		return ActionOff
	}
	if always(r.file) || r.id == 0 {
		return ActionBlock
	}
	return rs.decide.of(r)
}

// countedScore is the key of TX in which rules add up that decide nothing.
const countedScore = "gatehouse_counted_score"

// What a rule does to decide: it adds to a score, or refuses by itself.
var (
	scored    = regexp.MustCompile(`(setvar:'?tx\.)(?:in|out)bound_anomaly_score_pl[1-4](=\+)`)
	disrupted = regexp.MustCompile(`([",]\s*)(?:block|deny|drop|allow(?::[a-z]+)?|redirect:[^,"]*)([\s]*[,"])`)
)

// countedText is the text of a rule that only counts: it adds to a score of its own and refuses nothing.
func countedText(text string) string {
	links := strings.Split(text, "\n")
	for i, link := range links {
		// The actions are what stands in the last quotes.
		body, ok := strings.CutSuffix(strings.TrimSpace(link), `"`)
		start := strings.LastIndex(body, `"`)
		for start > 0 && body[start-1] == '\\' {
			start = strings.LastIndex(body[:start], `"`)
		}
		if !ok || start < 0 {
			continue
		}
		actions := scored.ReplaceAllString(link[start:], "${1}"+countedScore+"${2}")
		links[i] = link[:start] + disrupted.ReplaceAllString(actions, "${1}pass${2}")
	}
	return strings.Join(links, "\n")
}

// isDetection reports whether the id is that of a rule that finds something.
func isDetection(id int) bool {
	return id >= 910000 && id < 949000 || isAnswerRule(id) || id >= 190000 && id < 191000 || id >= 200000 && id < 200100
}
