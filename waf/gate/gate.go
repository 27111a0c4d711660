package gate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/corazawaf/coraza/v3/types/variables"

	"gatehouse/waf/rx"
)

// Options say what the gate has to know of the program around it.
type Options struct {
	// Lists is where @pmFromFile finds its lists, which is the engine's own root.
	Lists fs.FS
	// BestFit is what the engine's urlDecodeUni makes of the code points from 0x80 to 0xffff, a byte each.
	BestFit string
	// Accompanies reports the ids of rules that only add up what others have found. They run whenever
	// another one does, and never because of themselves. Nil: none.
	Accompanies func(id int) bool
	// Extern names the keys of TX, in lower case, that the program itself sets.
	Extern []string
	// Matcher is the name under which the engine knows the operator that takes the place of @rx.
	Matcher string
	// Apart names transformations that change nothing, in the engine's spelling. Each link begins with one of
	// its own, because the engine keeps what transformations have made of a value under the name of what made
	// it, and finds it again by the value's name and its place among the others, which is another one at each
	// look. Rules with equal transformations took one value of a repeated name for another. Optional.
	Apart []string
	// SQLi and XSS are those of the operators that take the places of @detectSQLi and @detectXSS.
	SQLi, XSS string
	// KeepLogs keeps what rules say for a log, which the engine would work out at every match.
	KeepLogs bool
	// Patterns shares what is compiled with other gates. Optional.
	Patterns *Patterns
}

// A Gate knows the rules of one engine. It is immutable and safe for concurrent use.
type Gate struct {
	text   string
	preset map[string]string
	blind  bool      // there is something that it does not know
	byID   []*judged // those of phase 2, and of later ones, which stay
	links  int
	phases [3]phase // 1 and 2 are used
	pool   sync.Pool
	nodes  int // the most that a group has
}

// A judged is a rule as far as the gate is concerned.
type judged struct {
	rule       *rule
	accompany  bool // it runs with any other
	narrows    bool // all it does is to keep others from running or reading
	first      int  // the number of its first link
	reads      []reading
	decisive   []int      // links without which it does nothing that anybody sees
	conditions []*dynamic // of its links that read what other rules set
}

// A dynamic is a target in TX that other rules may set.
type dynamic struct {
	link    int
	setters []*judged
	unset   bool // whether the link holds while nobody has set it
}

// New reads directives, one in each string, and prepares to judge requests by them. The error names the
// directive that cannot be read.
func New(directives []string, opts Options) (*Gate, error) {
	if opts.Accompanies == nil {
		opts.Accompanies = func(int) bool { return false }
	}
	if opts.Patterns == nil {
		opts.Patterns = NewPatterns()
	}
	read, err := read(directives)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	read = nameSkips(read)
	kept, consts := fold(read, opts.Extern, transforms(opts.BestFit))
	b := newBuilder(kept, consts, opts)
	b.forget(read)
	b.follow()
	b.delay()
	g := &Gate{preset: consts.values, blind: b.blind}
	if err := b.build(g); err != nil {
		return nil, err
	}
	g.text = b.text()
	g.pool.New = func() any { return newJudgement(g) }
	return g, nil
}

// Directives are the rules that are left to the engine: those that read nothing of the request have been
// run, @rx has the other operator's name, and what is only for a log is gone.
func (g *Gate) Directives() string { return g.text }

// A builder makes the tests of a Gate.
type builder struct {
	opts       Options
	consts     *constants
	rules      []*rule
	transforms map[string]transform
	patterns   *Patterns
	foreign    bool // some rule depends on how far another one got before it failed
	blind      bool // there are directives of which nothing is known
	removed    map[int]bool
	opaque     map[int]bool                    // rules that another directive has changed
	fewer      map[variables.RuleVariable]bool // of which an action may take targets away for one request
	changing   map[variables.RuleVariable]bool // which an action may set
	judged     []*judged
	byRule     map[*rule]*judged
	// derivations are those that begin at a link.
	derivations map[*link]*derivation
	sources     [3]map[string]*source
	sizes       map[string]*source // what is only measured
	groups      []*group
	apart       int // how many links have been written apart
}

func newBuilder(rules []*rule, consts *constants, opts Options) *builder {
	b := &builder{
		opts: opts, consts: consts, rules: rules, patterns: opts.Patterns,
		transforms: transforms(opts.BestFit), byRule: map[*rule]*judged{},
		sources:     [3]map[string]*source{{}, {}, {}},
		derivations: map[*link]*derivation{}, sizes: map[string]*source{}, removed: map[int]bool{}, opaque: map[int]bool{},
		fewer: map[variables.RuleVariable]bool{}, changing: map[variables.RuleVariable]bool{},
	}
	b.foreign = slices.ContainsFunc(rules, dependsOnFailures)
	for _, r := range rules {
		for i := range r.links {
			b.control(&r.links[i])
		}
	}
	return b
}

// control notes what the actions of a link do to variables when it matches.
func (b *builder) control(l *link) {
	for _, a := range l.actions {
		if a.name != "ctl" {
			continue
		}
		name, value, _ := strings.Cut(a.value, "=")
		switch name = strings.ToLower(name); {
		case strings.HasPrefix(name, "ruleremovetarget"):
			_, target, _ := strings.Cut(value, ";")
			target, _, _ = strings.Cut(target, ":")
			if v, err := variables.Parse(strings.TrimSpace(target)); err == nil {
				b.fewer[v] = true
			}
		case name == "requestbodyprocessor":
			b.changing[variables.ReqbodyProcessor] = true
		}
	}
}

// dependsOnFailures reports that a rule reads what another rule leaves behind even when it does not
// match as a whole: the values that its first links captured or matched.
func dependsOnFailures(r *rule) bool {
	captures := false
	for i := range r.links {
		l := &r.links[i]
		for _, key := range l.keysRead() {
			if _, ok := captured(key); ok && !captures && !l.captures {
				return true
			}
		}
		for _, p := range readTemplate(l.op.arg) {
			if i == 0 && p.macro && strings.HasPrefix(strings.ToLower(p.text), "matched_var") {
				return true
			}
		}
		for _, t := range l.targets {
			switch {
			case t.variable == variables.TX && !captures && t.findsCaptures():
				return true
			case isMatched(t.variable) && i == 0:
				return true
			}
		}
		captures = captures || l.captures
	}
	return false
}

// findsCaptures reports that a target in TX can be what an operator has captured.
func (t *target) findsCaptures() bool {
	for n := range 11 {
		key := strconv.Itoa(n)
		if t.pattern != nil && t.pattern.MatchString(key) || t.pattern == nil && (t.key == "" || t.key == key) {
			return true
		}
	}
	return false
}

// isMatched has the variables that are about the last match.
func isMatched(v variables.RuleVariable) bool {
	switch v {
	case variables.MatchedVar, variables.MatchedVars, variables.MatchedVarName, variables.MatchedVarsNames:
		return true
	}
	return false
}

// isFleeting has those that change while rules run.
func isFleeting(v variables.RuleVariable) bool {
	switch v {
	case variables.Rule, variables.HighestSeverity, variables.Duration, variables.Env, variables.Geo:
		return true
	}
	return isMatched(v)
}

func (b *builder) build(g *Gate) error {
	n := 0
	for _, r := range b.rules {
		if len(r.links) == 0 {
			continue
		}
		j := &judged{rule: r, first: n, accompany: b.opts.Accompanies(r.id), narrows: r.narrows(), reads: b.readings(r)}
		n += len(r.links)
		b.judged = append(b.judged, j)
		b.byRule[r] = j
	}
	g.links = n
	for i, j := range b.judged {
		if b.removed[j.rule.id] {
			continue
		}
		if !j.accompany && !b.opaque[j.rule.id] && (j.rule.phase == 1 || j.rule.phase == 2) {
			b.judge(i, j)
		}
	}
	for p := range g.phases {
		for _, s := range b.sources[p] {
			g.phases[p].sources = append(g.phases[p].sources, s)
		}
		slices.SortFunc(g.phases[p].sources, func(a, b *source) int { return strings.Compare(a.name, b.name) })
		b.group(&g.phases[p])
		for _, s := range g.phases[p].sources {
			g.nodes = max(g.nodes, len(s.group.nodes))
		}
	}
	for _, j := range b.judged {
		if p := j.rule.phase; (p == 1 || p == 2) && !b.removed[j.rule.id] {
			g.phases[p].rules = append(g.phases[p].rules, j)
		}
	}
	if err := b.unions(); err != nil {
		return err
	}
	g.byID = slices.DeleteFunc(slices.Clone(b.judged), func(j *judged) bool { return j.rule.phase == 1 || b.removed[j.rule.id] })
	slices.SortFunc(g.byID, func(a, b *judged) int { return cmp.Compare(a.rule.id, b.rule.id) })
	return nil
}

// judge finds out which links of a rule can be tested without the engine, and adds their tests.
func (b *builder) judge(at int, j *judged) {
	r := j.rule
	derived := -1 // the link whose tests come from the one before it
	for k := range r.links {
		decided := k == derived
		if !decided {
			var next bool
			decided, next = b.test(at, j, k)
			if next {
				derived = k + 1
			}
		}
		if k > 0 && (b.foreign || !b.unseen(r, k)) {
			continue // what the links before it do is seen although the rule fails here
		}
		if l := &r.links[k]; b.foreign && l.captures && l.op.negated {
			continue // it captures when it does not match
		}
		if decided {
			j.decisive = append(j.decisive, j.first+k)
		}
	}
}

// narrows reports that a rule does nothing but to leave out other rules, or targets of theirs, and does not say
// so. While those do nothing, that does nothing either.
func (r *rule) narrows() bool {
	if !r.links[0].has("nolog") || r.links[0].has("log") {
		return false
	}
	for _, l := range r.links {
		if l.disrupts || len(l.sets) > 0 {
			return false
		}
		for _, a := range l.actions {
			if a.name == "ctl" && !strings.HasPrefix(strings.ToLower(a.value), "ruleremove") || a.name == "severity" {
				return false
			}
			if !harmlessActions[a.name] && a.name != "ctl" && a.name != "skipafter" {
				return false
			}
		}
	}
	return true
}

// unseen reports that nobody can tell whether the links before the k-th have matched, if the rule as a
// whole did not.
func (b *builder) unseen(r *rule, k int) bool {
	for i := range k {
		l := &r.links[i]
		if l.effects {
			return false
		}
		for _, s := range l.sets {
			named, patterns := b.readElsewhere(r, s.key)
			if s.remove || named {
				return false
			}
			if len(patterns) == 0 {
				continue
			}
			d := b.derivations[l]
			if d == nil {
				return false
			}
			d.seenBy = append(d.seenBy, patterns...) // it looks at each key that is set
		}
	}
	return true
}

// readElsewhere tells how another rule may read a key of TX: by its name, or by patterns.
func (b *builder) readElsewhere(own *rule, key template) (named bool, patterns []*regexp.Regexp) {
	for _, r := range b.rules {
		if r == own {
			continue
		}
		for i := range r.links {
			if slices.ContainsFunc(r.links[i].keysRead(), key.mayBe) {
				return true, nil
			}
			for _, t := range r.links[i].targets {
				switch {
				case t.variable != variables.TX:
				case t.pattern == nil && t.key == "":
					return true, nil // it reads all of them
				case t.pattern != nil && mayMatch(t.pattern, key):
					patterns = append(patterns, t.pattern)
				}
			}
		}
	}
	return false, patterns
}

// mayMatch reports whether a pattern of keys can match a key.
func mayMatch(pattern *regexp.Regexp, key template) bool {
	if text, ok := key.constant(); ok {
		return pattern.MatchString(strings.ToLower(text))
	}
	re, err := syntax.Parse(pattern.String(), syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText {
		return true
	}
	if re.Sub[1].Op != syntax.OpLiteral || re.Sub[1].Flags&syntax.FoldCase != 0 {
		return true
	}
	wants, has := string(re.Sub[1].Rune), key.prefix()
	return strings.HasPrefix(wants, has) || strings.HasPrefix(has, wants)
}

// test adds the tests of a link. It reports whether all that the link reads is tested, and whether the
// tests of the next one come with it.
func (b *builder) test(at int, j *judged, k int) (decided, derives bool) {
	l := &j.rule.links[k]
	if len(l.targets) == 0 {
		return false, false // it always matches
	}
	steps, ok := b.pipeline(l)
	if !ok {
		return false, false
	}
	arg, ok := b.argument(l)
	if !ok {
		return false, false
	}
	t := b.newTest(j.first+k, l, arg)
	if t == nil {
		return false, false
	}
	type place struct {
		source *source
		target target
	}
	var places []place
	var conditions []*dynamic
	for _, target := range l.targets {
		if target.count && b.fewer[target.variable] {
			return false, false // there may be fewer by then
		}
		switch d, ok := b.ownerOf(at, j, k, target); {
		case !ok:
			return false, false
		case d != nil:
			d.unset = target.count && t.says(apply(steps, "0"), rx.NewMeter(1<<20))
			conditions = append(conditions, d)
		default:
			places = append(places, place{b.source(j.rule.phase, target), target})
		}
	}
	if len(conditions) == 0 && !slices.ContainsFunc(l.targets, func(t target) bool { return t.count }) {
		if t.derive = b.derive(j, k); t.derive != nil {
			derives = true
			b.derivations[l] = t.derive
		}
	}
	for _, p := range places {
		if p.target.count {
			p.source.counts = append(p.source.counts, countTest{t, p.target.except, steps})
			continue
		}
		p.source.add(t, steps, l.multi, p.target.except)
	}
	j.conditions = append(j.conditions, conditions...)
	return true, derives
}

// pipeline is the transformations of a link, or false if one of them is not known.
func (b *builder) pipeline(l *link) (steps []transform, ok bool) {
	for _, name := range l.transforms {
		t, ok := b.transforms[name]
		if !ok {
			return nil, false
		}
		steps = append(steps, t)
	}
	return steps, true
}

func apply(steps []transform, s string) string {
	for _, step := range steps {
		s = step.do(s)
	}
	return s
}

// argument is the operator's, with constants filled in, or false if it has other macros.
func (b *builder) argument(l *link) (string, bool) {
	name := strings.ToLower(l.op.name)
	if name == "rx" || name == "pm" || name == "pmfromfile" || name == "pmf" || name == "validatebyterange" {
		return l.op.arg, true // the engine fills nothing in
	}
	t := readTemplate(l.op.arg)
	for _, p := range t {
		if p.macro && (p.tx == "" || !b.consts.isConstant(p.tx)) {
			return "", false
		}
	}
	return b.consts.fill(t), true
}

// ownerOf finds out who sets what a target reads. It is the request, if the result is nil; other rules,
// if it is not; and false if that cannot be said.
func (b *builder) ownerOf(at int, j *judged, k int, t target) (*dynamic, bool) {
	if isFleeting(t.variable) || b.changing[t.variable] {
		return nil, false
	}
	if t.variable != variables.TX {
		return nil, true
	}
	if t.findsCaptures() {
		return nil, false
	}
	d := &dynamic{link: j.first + k}
	for i, other := range b.judged {
		for _, s := range other.rule.keysSet() {
			if t.pattern != nil && !mayMatch(t.pattern, s) || t.pattern == nil && !s.mayBe(t.key) {
				continue
			}
			if other == j || other.accompany {
				return nil, false
			}
			if other.rule.phase < j.rule.phase || other.rule.phase == j.rule.phase && i < at {
				d.setters = append(d.setters, other)
			}
		}
	}
	if t.pattern != nil {
		// Constants that the pattern finds are there whenever rules run.
		for key := range b.consts.values {
			if t.pattern.MatchString(key) {
				return nil, false
			}
		}
		if len(d.setters) == 0 {
			return nil, false
		}
		return d, true
	}
	_, constant := b.consts.values[t.key]
	switch {
	case constant:
		return nil, false // fold has dealt with those that decide something
	case len(d.setters) > 0 && slices.Contains(b.opts.Extern, t.key):
		return nil, false
	case len(d.setters) > 0:
		return d, true
	default:
		return nil, true // the program's, or nobody's
	}
}

// delay moves rules of phase 1 that only keep rules of phase 2 from reading something to phase 2, where they
// find the same. Phase 1 then need not run for their sake.
func (b *builder) delay() {
	for i, r := range b.rules {
		if len(r.links) != 1 || r.phase != 1 || !r.narrows() || !readsTargetOnly(&r.links[0]) {
			continue
		}
		later := true
		for _, a := range r.links[0].actions {
			if a.name == "skipafter" {
				later = false
			}
			if a.name != "ctl" {
				continue
			}
			name, what, _ := strings.Cut(a.value, "=")
			tag, _, ok := strings.Cut(what, ";")
			later = later && ok && strings.EqualFold(name, "ruleRemoveTargetByTag") && b.onlyLater(i, tag)
		}
		if later {
			r.phase = 2
			for k, a := range r.links[0].actions {
				if a.name == "phase" {
					r.links[0].actions[k] = action{name: "phase", value: "2", text: "phase:2"}
				}
			}
		}
	}
}

// readsTargetOnly reports that a link reads nothing that changes between the phases.
func readsTargetOnly(l *link) bool {
	for _, t := range l.targets {
		switch t.variable {
		case variables.RequestFilename, variables.RequestBasename, variables.RequestURI, variables.RequestURIRaw,
			variables.RequestMethod, variables.RequestLine, variables.RequestProtocol, variables.QueryString:
		default:
			return false
		}
	}
	return !strings.Contains(l.op.arg, "%{")
}

// onlyLater reports that all rules with a tag stand behind the i-th rule, and run in phase 2.
func (b *builder) onlyLater(i int, tag string) bool {
	for k, r := range b.rules {
		for _, l := range r.links {
			for _, a := range l.actions {
				if a.name == "tag" && a.value == tag && (k < i || r.phase != 2) {
					return false
				}
			}
		}
	}
	return true
}

// forget takes out directives about rules that were folded: the engine would not find the rule.
func (b *builder) forget(all []*rule) {
	left := map[string]bool{}
	for _, r := range b.rules {
		left[strconv.Itoa(r.id)] = true
	}
	gone := map[string]bool{}
	for _, r := range all {
		if id := strconv.Itoa(r.id); len(r.links) > 0 && !left[id] {
			gone[id] = true
		}
	}
	b.rules = slices.DeleteFunc(b.rules, func(r *rule) bool {
		name, rest, _ := strings.Cut(r.plain, " ")
		id, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		name = strings.ToLower(name)
		return strings.HasPrefix(name, "secrule") && strings.HasSuffix(name, "byid") && gone[strings.Trim(id, `"`)]
	})
}

// follow does what directives say about rules that stand before them.
func (b *builder) follow() {
	for _, r := range b.rules {
		if len(r.links) > 0 {
			b.blind = b.blind || r.phase == 0 || r.id == 0 || slices.ContainsFunc(r.links, func(l link) bool { return l.has("skip") })
			continue
		}
		if r.marker != "" {
			continue
		}
		name, rest, _ := strings.Cut(r.plain, " ")
		fields := strings.Fields(rest)
		switch name = strings.ToLower(name); {
		case name == "secruleremovebyid":
			for _, f := range fields {
				if id, err := strconv.Atoi(strings.Trim(f, `"`)); err == nil { // a range removes more, which does no harm
					b.removed[id] = true
				}
			}
		case name == "secruleupdatetargetbyid" && len(fields) == 2:
			b.updateTargets(strings.Trim(fields[0], `"`), unquote(fields[1]))
		case strings.HasPrefix(name, "secruleremoveby"):
			// fewer rules than are judged
		case !harmlessDirectives[name]:
			b.blind = true
		}
	}
}

// harmlessDirectives are directives that add nothing that a rule reads, and no rules.
var harmlessDirectives = map[string]bool{
	"secdefaultaction": true, "secrequestbodyaccess": true, "secrequestbodylimitaction": true, "secrequestbodylimit": true,
	"secrequestbodyinmemorylimit": true, "secrequestbodynofileslimit": true, "secresponsebodyaccess": true, "secauditengine": true,
	"secrxprefilter": true, "secargumentslimit": true, "secrequestbodyjsondepthlimit": true, "seccomponentsignature": true,
	"secruleengine": true, "secdebugloglevel": true,
}

// updateTargets takes targets away from a rule. If it adds some, nothing is assumed of the rule any more.
func (b *builder) updateTargets(id, list string) {
	n, err := strconv.Atoi(id)
	if err != nil {
		b.blind = true
		return
	}
	for _, r := range b.rules {
		if r.id != n || len(r.links) == 0 {
			continue
		}
		before := len(r.links[0].targets)
		updated, err := addTargets(r.links[0].targets, list)
		if err != nil || len(updated) != before {
			b.opaque[n] = true
			return
		}
		r.links[0].targets = updated
	}
}

// errUnion says that patterns cannot be matched together.
var errUnion = errors.New("rules: patterns cannot be united")
