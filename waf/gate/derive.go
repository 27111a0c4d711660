package gate

import (
	"regexp"
	"slices"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// Some rules take a value apart in their first link, put a piece of it into TX, and test that in the
// next: is this extension allowed, is this content type? The first link matches ordinary requests, so
// only the second one decides, and the gate has to do what both do.

// A derivation is the second link of such a rule.
type derivation struct {
	link     int
	captures func(string) []string // as the first link's operator makes them
	sets     []setting
	targets  []target
	steps    []transform
	holds    predicate
	negated  bool
	seenBy   []*regexp.Regexp // keys that other rules read
}

// wholeLine matches every text as a whole, in a mode in which . is any character.
const wholeLine = "^.*$"

// derive makes the derivation that begins at the k-th link of a rule, or nil.
func (b *builder) derive(j *judged, k int) *derivation {
	if k+1 == len(j.rule.links) {
		return nil
	}
	first, second := &j.rule.links[k], &j.rule.links[k+1]
	if !first.captures || first.multi || second.multi || first.op.negated || !strings.EqualFold(first.op.name, "rx") || OverBytes(RxFlags+first.op.arg) {
		return nil
	}
	d := &derivation{link: j.first + k + 1, sets: first.sets, targets: second.targets, negated: second.op.negated}
	groups := 0
	if first.op.arg == wholeLine {
		d.captures = func(s string) []string { return []string{s} }
	} else {
		re, err := regexp.Compile(RxFlags + first.op.arg)
		if err != nil {
			return nil
		}
		groups = re.NumSubexp()
		d.captures = re.FindStringSubmatch
	}
	for _, s := range first.sets {
		if s.remove || !fillable(s.key, groups) || !fillable(s.value, groups) {
			return nil
		}
	}
	for _, t := range second.targets {
		if t.variable != variables.TX || t.count || len(t.except) > 0 || t.findsCaptures() || !b.ownOnly(j, t) {
			return nil
		}
	}
	var ok bool
	if d.steps, ok = b.pipeline(second); !ok {
		return nil
	}
	arg, ok := b.argument(second)
	if !ok {
		return nil
	}
	t := b.newTest(d.link, second, arg)
	if t == nil {
		return nil
	}
	d.holds = t.holds
	return d
}

// fillable reports that a template has no macros but the first link's captures.
func fillable(t template, groups int) bool {
	for _, p := range t {
		if !p.macro {
			continue
		}
		if n, ok := captured(p.tx); !ok || n > min(groups, 8) {
			return false
		}
	}
	return true
}

// ownOnly reports that nothing but the rule itself, in its first link, sets what a target reads.
func (b *builder) ownOnly(j *judged, t target) bool {
	reads := func(key template) bool {
		return t.pattern != nil && mayMatch(t.pattern, key) || t.pattern == nil && key.mayBe(t.key)
	}
	for _, other := range b.judged {
		for i, l := range other.rule.links {
			if other == j && i == 0 {
				continue
			}
			for _, s := range l.sets {
				if reads(s.key) {
					return false
				}
			}
		}
	}
	for key := range b.consts.values {
		if reads(template{{text: key}}) {
			return false
		}
	}
	for _, key := range b.opts.Extern {
		if reads(template{{text: key}}) {
			return false
		}
	}
	return true
}

// derive tests what the first link puts into TX when it matches a text.
func (j *Judgement) derive(d *derivation, text string) {
	if j.hits[d.link] {
		return
	}
	if !spend(j.meter, len(text)*captureWork) {
		return
	}
	captures := d.captures(text)
	for _, s := range d.sets {
		key := strings.ToLower(fillCaptures(s.key, captures))
		if slices.ContainsFunc(d.seenBy, func(re *regexp.Regexp) bool { return re.MatchString(key) }) {
			j.hits[d.link] = true
			return
		}
		if !d.reads(key) {
			continue
		}
		value := fillCaptures(s.value, captures)
		if value != "" && (value[0] == '+' || value[0] == '-') {
			j.hits[d.link] = true // the engine takes it for a sum
			return
		}
		if d.holds(apply(d.steps, value), j.meter) != d.negated {
			j.hits[d.link] = true
			return
		}
	}
}

func (d *derivation) reads(key string) bool {
	for _, t := range d.targets {
		if t.pattern != nil && t.pattern.MatchString(key) || t.pattern == nil && t.key == key {
			return true
		}
	}
	return false
}

func fillCaptures(t template, captures []string) string {
	var b strings.Builder
	for _, p := range t {
		if !p.macro {
			b.WriteString(p.text)
			continue
		}
		if n, _ := captured(p.tx); n < len(captures) {
			b.WriteString(captures[n])
		}
	}
	return b.String()
}
