package waf

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"gatehouse/internal/suggest"
)

// A numbered is one directive with the line on which it begins.
type numbered struct {
	line int
	text string
}

// numberedDirectives is directives with their lines. The second result is the line of a directive without an end.
func numberedDirectives(text string) (out []numbered, open int) {
	var b strings.Builder
	start, n := 0, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if b.Len() == 0 {
			start = n
		}
		if more, ok := strings.CutSuffix(line, `\`); ok {
			b.WriteString(more)
			continue
		}
		b.WriteString(line)
		out = append(out, numbered{start, b.String()})
		b.Reset()
	}
	if b.Len() > 0 {
		return out, start
	}
	return out, 0
}

// owned are the directives that decide what is the program's, and what to use instead.
func owned() map[string]string {
	const body, answers, log, files = "waf.body_limit, waf.limits and waf.oversize say how much of a body is read",
		"answers are read by the group leakages, with waf.response_limit",
		"events, samples and events.waf_log record what the WAF finds",
		"no request makes a file"
	return map[string]string{
		"secruleengine":                 "waf.mode says whether rules decide, and waf.groups and waf.rules what they do",
		"secrequestbodyaccess":          body,
		"secrequestbodylimit":           body,
		"secrequestbodynofileslimit":    body,
		"secrequestbodyinmemorylimit":   body,
		"secrequestbodylimitaction":     body,
		"secrequestbodyjsondepthlimit":  "waf.limits.nesting says how deep a document may be",
		"secargumentslimit":             "waf.limits.values says how many there may be",
		"secresponsebodyaccess":         answers,
		"secresponsebodylimit":          answers,
		"secresponsebodylimitaction":    answers,
		"secresponsebodymimetype":       answers,
		"secresponsebodymimetypesclear": answers,
		"secauditengine":                log,
		"secauditlog":                   log,
		"secdatadir":                    files,
		"sectmpdir":                     files,
		"secuploaddir":                  files,
		"secuploadfilelimit":            files,
		"secuploadfilemode":             files,
		"secuploadkeepfiles":            files,
		"include":                       "every .conf file of the directory is read",
		"secrulescript":                 "no rule runs a program",
		"secremoterules":                "rules come from this directory alone",
		"secremoterulesfailaction":      "rules come from this directory alone",
		"secrxprefilter":                "it loses matches",
		"secserversignature":            "answers have no Server header",
		"secruleremovebymsg":            "use SecRuleRemoveById or waf.exclude",
		"secruleupdatetargetbymsg":      "use SecRuleUpdateTargetById or waf.exclude",
		"secruleupdateactionbyid":       "waf.rules says what single rules do",
	}
}

// taken are the directives that are.
func taken() []string {
	return []string{
		"SecRule", "SecAction", "SecMarker", "SecDefaultAction", "SecComponentSignature", "SecCollectionTimeout",
		"SecRuleRemoveById", "SecRuleRemoveByTag", "SecRuleUpdateTargetById", "SecRuleUpdateTargetByTag",
	}
}

// What a rule may not say.
var (
	ruleAction1  = regexp.MustCompile(`(?i)[",]\s*(exec|setenv|proxy):`)
	ruleCtl      = regexp.MustCompile(`(?i)[",]\s*ctl:'?([a-z]+)`)
	rulePhase    = regexp.MustCompile(`(?i)[",]\s*phase:'?([a-z0-9]+)`)
	ruleOperator = regexp.MustCompile(`(?i)"!?@(inspectfile|rbl|geolookup|gsblookup|fuzzyhash)\b`)
	ownSetting   = regexp.MustCompile(`(?i)setvar:'?!?tx\.((?:blocking_|detection_|executing_)?paranoia_level|(?:in|out)bound_anomaly_score_threshold|early_blocking|reporting_level|gatehouse_[a-z_]*)\b`)
)

// ctls are what a rule of the operator's may change for one request.
func ctls() []string {
	return []string{"ruleremovebyid", "ruleremovebytag", "ruleremovebymsg", "ruleremovetargetbyid", "ruleremovetargetbytag", "ruleremovetargetbymsg"}
}

// A rulesChecker looks at the files of a directory.
type rulesChecker struct {
	compiles bool // rules are compiled too
	problems rulesProblems
	seen     map[int]string // where a rule's id was
	source   *source
}

// check says what is wrong with the rules. whole tells that the Core Rule Set is among them.
// With compiles, rules are compiled as well, which takes half a second for a whole set.
func (s *source) check(whole, compiles bool) rulesProblems {
	c := &rulesChecker{seen: map[int]string{}, source: s, compiles: compiles}
	if whole {
		for _, f := range s.crs {
			c.file(f, kindCRS)
		}
	}
	for _, f := range s.setup {
		c.file(f, kindSetup)
	}
	for _, f := range slices.Concat(s.before, s.own) {
		c.file(f, kindOwn)
	}
	sort.SliceStable(c.problems, func(i, j int) bool {
		a, b := c.problems[i], c.problems[j]
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) < 0
	})
	if n := len(c.problems); n > maxRulesProblems {
		c.problems = append(c.problems[:maxRulesProblems], RulesProblem{Msg: fmt.Sprintf("%d more problems are not shown", n-maxRulesProblems)})
	}
	return c.problems
}

// The kinds of files.
const (
	kindOwn = iota
	kindCRS
	kindSetup
)

func (c *rulesChecker) report(f ruleFile, line int, directive, format string, args ...any) {
	c.problems = append(c.problems, RulesProblem{f.name, line, directive, fmt.Sprintf(format, args...)})
}

func (c *rulesChecker) file(f ruleFile, kind int) {
	list, open := numberedDirectives(f.text)
	if open > 0 {
		c.report(f, open, "", "the file ends within this directive: its last line ends with a backslash")
	}
	told := map[int]bool{} // lines of rules of which something is said already
	var rules []numbered   // whole ones, chains together
	chained := false
	for _, d := range list {
		name, _, _ := strings.Cut(d.text, " ")
		if !c.directive(f, d, name, kind) || !strings.EqualFold(name, "SecRule") && !strings.EqualFold(name, "SecAction") {
			chained = false
			continue
		}
		known := len(c.problems)
		c.actions(f, d, kind)
		if chained {
			rules[len(rules)-1].text += "\n" + d.text
		} else {
			c.head(f, d, kind)
			rules = append(rules, d)
		}
		if len(c.problems) > known {
			told[rules[len(rules)-1].line] = true
		}
		chained = ruleChains.MatchString(d.text)
	}
	if chained {
		c.report(f, rules[len(rules)-1].line, "SecRule", "the chain ends without its last rule")
		told[rules[len(rules)-1].line] = true
	}
	c.compile(f, slices.DeleteFunc(rules, func(r numbered) bool { return told[r.line] }), kind)
}

// directive reports whether one may stand in a file.
func (c *rulesChecker) directive(f ruleFile, d numbered, name string, kind int) bool {
	why := owned()[strings.ToLower(name)]
	switch {
	case strings.EqualFold(name, "SecDefaultAction"):
		if !strings.Contains(d.text, "pass") || disrupted.MatchString(d.text) {
			c.report(f, d.line, name, "only pass is taken: the score decides, and rules of your own say deny by themselves")
			return false
		}
	case strings.HasPrefix(strings.ToLower(name), "secauditlog"), strings.HasPrefix(strings.ToLower(name), "secdebug"), why != "":
		if why == "" {
			why = owned()["secauditlog"]
		}
		c.report(f, d.line, name, "is not taken here: %s", why)
		return false
	case !slices.ContainsFunc(taken(), func(t string) bool { return strings.EqualFold(t, name) }):
		c.report(f, d.line, clipText(name), "unknown directive%s (want one of %s)", suggest.DidYouMean(name, taken()), strings.Join(taken(), ", "))
		return false
	case kind == kindSetup && !strings.EqualFold(name, "SecAction") && !strings.HasPrefix(strings.ToLower(name), "seccoll") && !strings.HasPrefix(strings.ToLower(name), "seccomp"):
		c.report(f, d.line, name, "settings are SecAction (rules go into a file of another name)")
		return false
	}
	return true
}

func clipText(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// head looks at what the first directive of a rule says for all of it.
func (c *rulesChecker) head(f ruleFile, d numbered, kind int) {
	m := ruleID.FindStringSubmatch(d.text)
	if m == nil {
		c.report(f, d.line, clipText(d.text), "the rule has no id")
		return
	}
	id, err := strconv.Atoi(m[1])
	what := "rule " + m[1]
	switch {
	case err != nil || id <= 0 || id >= maxID:
		c.report(f, d.line, what, "want an id from 1 to %d", maxID-1)
		return
	case id >= 190000 && id < 191000 || id >= 200000 && id < 200100 || id >= 890000 && id < 900000:
		c.report(f, d.line, what, "the id is one of Gatehouse's own (190000-190999, 200000-200099, 890000-899999)")
	case kind == kindOwn && id >= 900000 && id < 1000000:
		c.report(f, d.line, what, "the id is one of the Core Rule Set's (900000-999999; want one from 1 to 189999, or 1000000 and more)")
	case kind != kindOwn && (id < 900000 || id >= 1000000):
		c.report(f, d.line, what, "want an id of the Core Rule Set's (900000-999999)")
	}
	at := fmt.Sprintf("%s:%d", f.name, d.line)
	if other := c.seen[id]; other != "" {
		c.report(f, d.line, what, "the id is taken by the rule in %s", other)
	}
	c.seen[id] = at
	if p := rulePhase.FindStringSubmatch(d.text); kind == kindOwn && p != nil && !slices.Contains([]string{"1", "2", "request"}, strings.ToLower(p[1])) {
		c.report(f, d.line, what, "phase %s is after the request (want 1 or 2; answers are read by the group leakages)", p[1])
	}
}

// actions looks at what one directive of a rule does and asks.
func (c *rulesChecker) actions(f ruleFile, d numbered, kind int) {
	what := "rule"
	if m := ruleID.FindStringSubmatch(d.text); m != nil {
		what += " " + m[1]
	}
	if m := ruleAction1.FindStringSubmatch(d.text); m != nil {
		c.report(f, d.line, what, "the action %s is not taken: a request runs no program and changes nothing of this one", strings.ToLower(m[1]))
	}
	if m := ruleOperator.FindStringSubmatch(d.text); m != nil {
		c.report(f, d.line, what, "the operator @%s is not taken: it would read files, or ask others, for each request", m[1])
	}
	if kind == kindCRS {
		return
	}
	for _, m := range ruleCtl.FindAllStringSubmatch(d.text, -1) {
		if !slices.Contains(ctls(), strings.ToLower(m[1])) {
			c.report(f, d.line, what, "ctl:%s is not taken: routes say what is inspected (waf: off, groups, exclude, body_limit)", m[1])
		}
	}
	if m := ownSetting.FindStringSubmatch(d.text); m != nil {
		c.report(f, d.line, what, "tx.%s is set by waf.paranoia and waf.threshold", strings.ToLower(m[1]))
	}
}

// compile has the engine read rules: first all, and if it does not like one, one by one.
func (c *rulesChecker) compile(f ruleFile, rules []numbered, kind int) {
	if !c.compiles || kind == kindSetup || len(rules) == 0 {
		return
	}
	var all []string
	for _, r := range rules {
		all = append(all, r.text)
	}
	if c.tries(strings.Join(all, "\n")) == nil {
		return
	}
	for _, r := range rules {
		if err := c.tries(r.text); err != nil {
			id := ruleID.FindStringSubmatch(r.text)
			c.report(f, r.line, "rule "+id[1], "%s", engineError(err))
		}
	}
}

// tries compiles rules as an engine would.
func (c *rulesChecker) tries(text string) (err error) {
	register()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the engine cannot read it: %v", p)
		}
	}()
	var b strings.Builder
	for _, r := range operatorRules(text) {
		b.WriteString(r.text + "\n")
	}
	e := &Engine{close: func() error { return nil }}
	e.bounds = Config{}.normal().bounds()
	if err := e.compile(c.source.lists, b.String(), variant{}); err != nil {
		return err
	}
	return e.close()
}

// noise is what the engine and we say around an error about one rule.
var noise = regexp.MustCompile(`(?i)^(?:waf: |rules: |gate: |invalid waf config from string: |failed to compile the directive "[a-z]+": |failed to readfile: )+`)

// noList is what the engine says of a list that it does not find: the path is one it made up.
var noList = regexp.MustCompile(`open (\S+): (?:invalid argument|file does not exist|no such file or directory)`)

func engineError(err error) string {
	if m := noList.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Sprintf("there is no list %q (lists are files *.data of this directory, named without a path)", path.Base(m[1]))
	}
	msg, _, _ := strings.Cut(noise.ReplaceAllString(err.Error(), ""), " in SecRule ")
	if strings.Contains(msg, "file does not exist") || strings.Contains(msg, "no such file") || strings.Contains(msg, "invalid argument") || strings.Contains(msg, "not a valid") {
		msg += " (lists are files *.data of this directory, named without a path)"
	}
	return msg
}

// CheckRules reports everything that is wrong with a directory of rules. Validate reports what a look at the
// files shows; this compiles every rule too. An engine of rules that do not compile cannot be made.
func CheckRules(dir string, report func(field, msg string)) {
	if _, err := readRulesDir(dir, true); err != nil {
		reportRules(err, report)
	}
}

// reportRules tells of everything that is wrong with a directory of rules.
func reportRules(err error, report func(field, msg string)) {
	if list, ok := errors.AsType[rulesProblems](err); ok {
		for _, p := range list {
			report("rules_dir", p.Error())
		}
		return
	}
	report("rules_dir", err.Error())
}

// operatorRules takes a file of the operator's apart.
func operatorRules(text string) []crsRule {
	rules := parseRules("", text)
	for i := range rules {
		r := &rules[i]
		r.operator = true
		if len(r.groups) == 0 {
			r.groups = []string{operatorGroup}
		}
	}
	return rules
}

// settings are the directives of a crs-setup.conf that set something.
func settings(text string) string {
	var b strings.Builder
	for _, d := range directives(text) {
		if name, _, _ := strings.Cut(d, " "); strings.EqualFold(name, "SecAction") {
			b.WriteString(d + "\n")
		}
	}
	return b.String()
}

// Directives about other rules.
var (
	removal   = regexp.MustCompile(`(?i)^SecRuleRemoveBy(Id|Tag)\s+(.+)$`)
	narrowing = regexp.MustCompile(`(?i)^SecRuleUpdateTargetBy(Id|Tag)\s+"?([^"\s]+)"?\s+"?([^"]+)"?$`)
)

// takeOperator adds the rules of a file of the operator's that are wanted. What it says about other rules becomes what it
// means for those that are loaded.
func (rs *ruleSet) takeOperator(text string) string {
	var b strings.Builder
	for _, r := range operatorRules(text) {
		name, _, _ := strings.Cut(r.text, " ")
		remove, narrow := removal.FindStringSubmatch(r.text), narrowing.FindStringSubmatch(r.text)
		switch {
		case strings.EqualFold(name, "SecDefaultAction"), strings.HasPrefix(strings.ToLower(name), "seccomp"), strings.HasPrefix(strings.ToLower(name), "seccoll"):
		case remove != nil:
			var gone []int
			for _, what := range strings.Fields(strings.Trim(remove[2], `"`)) {
				gone = append(gone, rs.meant(remove[1], what)...)
			}
			for _, id := range gone {
				fmt.Fprintf(&b, "SecRuleRemoveById %d\n", id)
			}
			rs.loaded = slices.DeleteFunc(rs.loaded, func(l crsRule) bool { return slices.Contains(gone, l.id) })
		case narrow != nil:
			for _, id := range rs.meant(narrow[1], narrow[2]) {
				fmt.Fprintf(&b, "SecRuleUpdateTargetById %d \"%s\"\n", id, rewriteVariables(narrow[3]))
			}
		default:
			if r.id > 0 && !strings.Contains(r.text, "nolog") {
				rs.told[r.id] = true
			}
			rs.add(&b, r)
		}
	}
	return b.String()
}

// meant are the loaded rules that an id, a range or a tag is about.
func (rs *ruleSet) meant(by, what string) (ids []int) {
	x := Exclusion{Rules: what}
	if strings.EqualFold(by, "tag") {
		x = Exclusion{Tag: strings.Trim(what, `'"`)}
	}
	for _, r := range rs.loaded {
		if x.covers(r) {
			ids = append(ids, r.id)
		}
	}
	return ids
}
