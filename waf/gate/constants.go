package gate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// Rule sets begin with rules that only prepare the collection TX: they read nothing of the request, so
// they do the same to every one. fold runs them once, here, and takes them out of the set.

// A constants is what the rules that were folded have left in TX.
type constants struct {
	values  map[string]string // keys in lower case
	dynamic []template        // keys that the other rules may set
	extern  []string          // keys that the program sets

	transforms map[string]transform
}

// isConstant reports that nothing but folded rules sets a key.
func (c *constants) isConstant(key string) bool {
	if _, ok := captured(key); ok || slices.Contains(c.extern, key) {
		return false
	}
	return !slices.ContainsFunc(c.dynamic, func(t template) bool { return t.mayBe(key) })
}

// mayBe reports whether the template, filled in somehow, can be the key.
func (t template) mayBe(key string) bool {
	if text, ok := t.constant(); ok {
		return strings.EqualFold(text, key)
	}
	return strings.HasPrefix(key, t.prefix())
}

// prefix is what every filled-in template begins with, in lower case.
func (t template) prefix() string {
	if len(t) == 0 || t[0].macro {
		return ""
	}
	return strings.ToLower(t[0].text)
}

// fold returns the rules that are left, and what the others did. Extern names the keys that the program
// itself sets.
func fold(rules []*rule, extern []string, known map[string]transform) ([]*rule, *constants) {
	c := &constants{values: map[string]string{}, extern: extern, transforms: known}
	for {
		// What one round takes out may have stood in the way of others.
		left := c.fold(rules)
		if len(left) == len(rules) {
			return left, c
		}
		rules = left
	}
}

func (c *constants) fold(rules []*rule) []*rule {
	foldable := map[*rule]bool{}
	for _, r := range rules {
		foldable[r] = r.preparesOnly()
	}
	// Whoever depends on what is not foldable is not foldable either, and so on.
	for changed := true; changed; {
		changed = false
		c.dynamic = nil
		for _, r := range rules {
			if !foldable[r] {
				c.dynamic = append(c.dynamic, r.keysSet()...)
			}
		}
		touched := newAccess() // by rules that are kept, up to here
		for _, r := range rules {
			if foldable[r] && (!c.knows(r) || touched.by(r)) {
				foldable[r], changed = false, true
			}
			if !foldable[r] {
				touched.add(r)
			}
		}
	}
	var kept []*rule
	skipTo := ""
	for _, r := range rules {
		switch {
		case r.marker != "":
			if r.marker == skipTo {
				skipTo = ""
			}
			kept = append(kept, r)
		case skipTo != "" && len(r.links) > 0 && r.phase == 1:
			// never reached
		case foldable[r]:
			skipTo = c.run(r)
		case c.never(r):
			// its first condition is false for every request
		default:
			kept = append(kept, r)
		}
	}
	return kept
}

// preparesOnly reports that a rule has the form of one that fold can run: it reads only TX, changes only
// TX, and does so under keys that stand there.
func (r *rule) preparesOnly() bool {
	if len(r.links) == 0 || r.phase != 1 {
		return false
	}
	for _, l := range r.links {
		if l.effects || l.disrupts || l.captures || l.multi || len(l.transforms) > 0 || l.has("skip") {
			return false
		}
		for _, t := range l.targets {
			if t.variable != variables.TX || t.key == "" || len(t.except) > 0 {
				return false
			}
		}
		for _, s := range l.sets {
			if _, ok := s.key.constant(); !ok || s.remove {
				return false
			}
		}
	}
	return true
}

func (r *rule) keysSet() (keys []template) {
	for _, l := range r.links {
		for _, s := range l.sets {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// keysRead lists the keys of TX that a link depends on, without what it only says about itself.
func (l *link) keysRead() (keys []string) {
	for _, t := range l.targets {
		if t.variable == variables.TX && t.key != "" {
			keys = append(keys, t.key)
		}
	}
	texts := []template{readTemplate(l.op.arg)}
	for _, s := range l.sets {
		texts = append(texts, s.key, s.value)
		if k, ok := s.key.constant(); ok && len(s.value) > 0 && !s.value[0].macro && strings.ContainsRune("+-", rune(s.value[0].text[0])) {
			keys = append(keys, strings.ToLower(k)) // it adds to what is there
		}
	}
	for _, t := range texts {
		for _, p := range t {
			if p.tx != "" {
				keys = append(keys, p.tx)
			}
		}
	}
	return keys
}

// knows reports that everything a rule depends on is known here, and can be worked out.
func (c *constants) knows(r *rule) bool {
	for i := range r.links {
		l := &r.links[i]
		for _, key := range l.keysRead() {
			if !c.isConstant(key) {
				return false
			}
		}
		for _, t := range append([]template{readTemplate(l.op.arg)}, templates(l.sets)...) {
			for _, p := range t {
				if p.macro && p.tx == "" {
					return false
				}
			}
		}
		if len(l.targets) > 0 && !isNumeric(l.op.name) && !strings.EqualFold(l.op.name, "streq") {
			return false
		}
	}
	return true
}

func templates(sets []setting) (all []template) {
	for _, s := range sets {
		all = append(all, s.key, s.value)
	}
	return all
}

// An access is which keys of TX the rules that are kept have read or set so far.
type access struct {
	keys    map[string]bool
	sets    []template
	pattern bool   // some are read by a pattern, or all of them
	skips   string // the marker to which a rule may skip
	stop    bool   // a rule may switch off others
}

func newAccess() *access { return &access{keys: map[string]bool{}} }

var removesByID = regexp.MustCompile(`(?i)^ruleRemoveById=\d+$`)

func (a *access) add(r *rule) {
	if r.marker != "" && r.marker == a.skips {
		a.skips = ""
	}
	for i := range r.links {
		l := &r.links[i]
		for _, key := range l.keysRead() {
			a.keys[key] = true
		}
		for _, t := range l.targets {
			if t.variable == variables.TX && t.key == "" {
				a.pattern = true
			}
		}
		for _, s := range l.sets {
			a.sets = append(a.sets, s.key)
		}
		if l.skips != "" && r.phase != 3 {
			a.skips = l.skips
		}
		for _, x := range l.actions {
			switch x.name {
			case "ctl":
				name, _, _ := strings.Cut(strings.ToLower(x.value), "=")
				a.stop = a.stop || !removesByID.MatchString(x.value) && name != "forcerequestbodyvariable"
			case "skip", "allow", "exec":
				a.stop = true
			}
		}
	}
}

// by reports whether it matters to what was kept before that r runs at its place.
func (a *access) by(r *rule) bool {
	if a.stop || a.skips != "" || a.pattern {
		return true
	}
	for _, key := range r.keysSet() {
		text, _ := key.constant()
		text = strings.ToLower(text)
		if a.keys[text] || slices.ContainsFunc(a.sets, func(t template) bool { return t.mayBe(text) }) {
			return true
		}
	}
	return false
}

// run does what a folded rule does, and returns the marker that it skips to.
func (c *constants) run(r *rule) string {
	for i := range r.links {
		l := &r.links[i]
		if !c.holds(l) {
			return ""
		}
		for _, s := range l.sets {
			c.set(s)
		}
	}
	return r.links[0].skips
}

// holds evaluates a link that reads TX alone.
func (c *constants) holds(l *link) bool {
	if len(l.targets) == 0 {
		return true
	}
	arg := c.fill(readTemplate(l.op.arg))
	for _, t := range l.targets {
		value, ok := c.values[t.key]
		switch {
		case t.count:
			value = "0"
			if ok {
				value = "1"
			}
		case !ok:
			continue
		}
		for _, step := range l.transforms {
			value = c.transforms[step].do(value)
		}
		if compare(l.op.name, value, arg) != l.op.negated {
			return true
		}
	}
	return false
}

// fill fills constants in. A key that is not there leaves its name, as it does in the engine.
func (c *constants) fill(t template) string {
	var b strings.Builder
	for _, p := range t {
		value, ok := c.values[p.tx]
		if !p.macro || !ok {
			value = p.text
		}
		b.WriteString(value)
	}
	return b.String()
}

func (c *constants) set(s setting) {
	key, _ := s.key.constant()
	key = strings.ToLower(key)
	value := c.fill(s.value)
	if value != "" && (value[0] == '+' || value[0] == '-') {
		by, err := strconv.Atoi(value[1:])
		now, err2 := strconv.Atoi(c.values[key])
		if c.values[key] == "" {
			now, err2 = 0, nil
		}
		if (err == nil || len(value) == 1) && err2 == nil {
			if value[0] == '-' {
				by = -by
			}
			value = strconv.Itoa(now + by)
		}
	}
	c.values[key] = value
}

// never reports that a rule's first link reads constants alone and does not hold.
func (c *constants) never(r *rule) bool {
	if len(r.links) == 0 || r.phase == 0 {
		return false
	}
	l := r.links[0]
	if len(l.targets) == 0 || !isNumeric(l.op.name) || l.multi {
		return false
	}
	for _, step := range l.transforms {
		if _, ok := c.transforms[step]; !ok {
			return false
		}
	}
	for _, t := range l.targets {
		if t.variable != variables.TX || t.key == "" || len(t.except) > 0 {
			return false
		}
	}
	l.sets = nil
	one := &rule{phase: r.phase, links: []link{l}}
	return c.knows(one) && !c.holds(&l)
}

// isNumeric has the operators that compare numbers.
func isNumeric(name string) bool {
	switch strings.ToLower(name) {
	case "eq", "ge", "gt", "le", "lt":
		return true
	}
	return false
}

// compare is an operator of isNumeric, or streq. What is no number is 0.
func compare(name, value, arg string) bool {
	v, _ := strconv.Atoi(value)
	a, _ := strconv.Atoi(arg)
	switch strings.ToLower(name) {
	case "eq":
		return v == a
	case "ge":
		return v >= a
	case "gt":
		return v > a
	case "le":
		return v <= a
	case "lt":
		return v < a
	default:
		return value == arg
	}
}
