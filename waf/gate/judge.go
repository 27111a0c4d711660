package gate

import (
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/collection"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"gatehouse/waf/rx"
)

type match = types.MatchData

// Variables are what the engine has read of a request.
type Variables interface {
	Collection(v variables.RuleVariable) collection.Collection
}

// A Remover leaves rules out for one request.
type Remover interface {
	RemoveRuleByID(id int)
	RemoveRuleByIDRange(first, last int)
}

// A Judgement is about one request. It is not safe for concurrent use.
type Judgement struct {
	gate  *Gate
	meter *rx.Meter
	hits  []bool  // by link
	cands []bool  // by rule, of all phases that were judged
	any   [3]bool // by phase: a rule may do something
	idle  [3]bool // none would even leave out others

	outs  []string // by node
	masks []mask
	seen  []scan
}

// A scan is a text that a union has looked at.
type scan struct {
	text  string
	union int
	hit   bool
}

func newJudgement(g *Gate) *Judgement {
	return &Judgement{
		gate: g, hits: make([]bool, g.links), cands: make([]bool, g.links),
		outs: make([]string, g.nodes), masks: make([]mask, g.nodes),
	}
}

// Begin begins to judge a request. The meter is charged for the work; once it is exhausted, nothing that
// is said of the request holds.
func (g *Gate) Begin(m *rx.Meter) *Judgement {
	j := g.pool.Get().(*Judgement)
	j.meter = m
	return j
}

// End gives j back. It is not to be used afterwards.
func (j *Judgement) End() {
	clear(j.hits)
	clear(j.cands)
	clear(j.outs) // nothing of a request is kept
	clear(j.seen)
	j.seen = j.seen[:0]
	j.any, j.idle = [3]bool{}, [3]bool{}
	j.meter = nil
	j.gate.pool.Put(j)
}

// Phase judges the rules of a phase, 1 or 2, by what the engine knows of the request just before they
// run. It reports whether some may do something. Rules that only leave out others are none of them, but are to
// run if there are some in this phase or the next.
func (j *Judgement) Phase(n int, vars Variables) bool {
	p := &j.gate.phases[n]
	j.idle[n] = !j.gate.blind
	for _, s := range p.sources {
		j.look(s, vars.Collection(s.variable))
	}
	for _, r := range p.rules {
		if r.accompany {
			continue
		}
		for _, d := range r.conditions {
			if !j.hits[d.link] && (d.unset || j.anySet(d)) {
				j.hits[d.link] = true
			}
		}
		can := true
		for _, link := range r.decisive {
			if !j.hits[link] {
				can = false
				break
			}
		}
		j.cands[r.first] = can
		j.any[n] = j.any[n] || can && !r.narrows
		j.idle[n] = j.idle[n] && !can
	}
	j.any[n] = j.any[n] || j.gate.blind
	return j.any[n]
}

func (j *Judgement) anySet(d *dynamic) bool {
	for _, s := range d.setters {
		if j.cands[s.first] {
			return true
		}
	}
	return false
}

// Idle reports that no rule of a phase that has been judged can do anything, nor leave out rules of the next.
func (j *Judgement) Idle(n int) bool { return j.idle[n] }

// Silent reports that no rule that has been judged can do anything.
func (j *Judgement) Silent() bool { return !j.any[1] && !j.any[2] }

// Remove leaves out the rules of a phase that can do nothing. Those of phase 2 are left out in ranges of
// ids, which may have rules of phase 1 between them: it is called for phase 2 when phase 1 is over.
func (j *Judgement) Remove(n int, from Remover) {
	if n == 1 {
		for _, r := range j.gate.phases[1].rules {
			if !j.stays(n, r) {
				from.RemoveRuleByID(r.rule.id)
			}
		}
		return
	}
	first, last := 0, 0 // of a run of rules that go
	for _, r := range j.gate.byID {
		switch {
		case r.rule.phase == 2 && !j.stays(n, r):
			if first == 0 {
				first = r.rule.id
			}
			last = r.rule.id
		case first != 0:
			from.RemoveRuleByIDRange(first, last)
			first = 0
		}
	}
	if first != 0 {
		from.RemoveRuleByIDRange(first, last)
	}
}

// stays reports that a rule of a phase is left in.
func (j *Judgement) stays(n int, r *judged) bool {
	if j.gate.blind {
		return true
	}
	if n == 2 && j.Silent() {
		return false // there is nothing left that could be narrowed or added up
	}
	return j.cands[r.first] || r.accompany && !j.Silent()
}

// Candidates are the ids of the rules of a phase that may do something.
func (j *Judgement) Candidates(n int) (ids []int) {
	for _, r := range j.gate.phases[n].rules {
		if j.cands[r.first] {
			ids = append(ids, r.rule.id)
		}
	}
	return ids
}

// Preset sets what the rules that read nothing of the request would have set.
func (g *Gate) Preset(tx collection.Map) {
	for key, value := range g.preset {
		tx.Set(key, []string{value})
	}
}

// look tests what a source has.
func (j *Judgement) look(s *source, col collection.Collection) {
	if col == nil {
		return
	}
	if single, ok := col.(collection.Single); ok && s.key == "" && s.pattern == nil && len(s.counts) == 0 {
		j.value(s.group, "", single.Get())
		return
	}
	found := s.find(col)
	for _, c := range s.counts {
		if !j.hits[c.link] {
			j.count(c, found)
		}
	}
	if len(s.uses) == 0 {
		return
	}
	for _, m := range found {
		j.value(s.group, m.Key(), m.Value())
	}
}

func (j *Judgement) count(c countTest, found []match) {
	n := 0
	for _, m := range found {
		if !excepted(c.except, m.Key()) {
			n++
		}
	}
	if c.says(apply(c.steps, strconv.Itoa(n)), j.meter) {
		j.hits[c.link] = true
	}
}

func excepted(except []exception, key string) bool {
	if len(except) == 0 {
		return false
	}
	key = strings.ToLower(key)
	for _, x := range except {
		if x.covers(key) {
			return true
		}
	}
	return false
}

// value tests one value, and what transformations make of it.
func (j *Judgement) value(g *group, key, v string) {
	if !j.begin(v) {
		return
	}
	j.seen = j.seen[:0]
	has := maskFor(v)
	plain := (has|always)&g.touches == 0
	for i := range g.nodes {
		n := &g.nodes[i]
		out := v
		if !plain {
			if i > 0 {
				if out, has = j.make(n); j.meter.Exhausted() {
					return
				}
			}
			j.outs[i], j.masks[i] = out, has
		}
		if len(n.united) > 0 && j.scan(g, n, out) {
			for k := range n.united {
				if u := &n.united[k]; !j.used(u, out, plain) {
					j.use(u, key, out)
				}
			}
		}
		for k := range n.alone {
			if u := &n.alone[k]; !j.used(u, out, plain) {
				j.use(u, key, out)
			}
		}
	}
}

// used reports that the test has been made of this very text before.
func (j *Judgement) used(u *use, text string, plain bool) bool {
	if plain {
		return len(u.before) > 0
	}
	for _, n := range u.before {
		if j.outs[n] == text {
			return true
		}
	}
	return false
}

// make is the text of a node, and its mask.
func (j *Judgement) make(n *node) (string, mask) {
	from, has := j.outs[n.parent], j.masks[n.parent]
	if n.touches&(has|always) == 0 {
		return from, has
	}
	for _, twin := range n.twins {
		if j.outs[twin.parent] == from {
			return j.outs[twin.node], j.masks[twin.node]
		}
	}
	if !spend(j.meter, stepCost(n, from, has)) {
		return from, has
	}
	to := n.do(from)
	if to == from {
		return from, has
	}
	return to, maskFor(to)
}

// use makes one test of a text.
func (j *Judgement) use(u *use, key, text string) {
	t := u.test
	if t.derive != nil {
		if t.says(text, j.meter) && !excepted(u.except, key) {
			j.hits[t.link] = true
			j.derive(t.derive, text)
		}
		return
	}
	if !j.hits[t.link] && t.says(text, j.meter) && !excepted(u.except, key) {
		j.hits[t.link] = true
	}
}

// scan reports whether one of the tests that are united at a node may hold for a text.
func (j *Judgement) scan(g *group, n *node, text string) bool {
	for i := range j.seen {
		if s := &j.seen[i]; n.within>>s.union&1 != 0 && s.text == text {
			return s.hit
		}
	}
	hit := false
	for _, p := range g.unions[n.union].patterns {
		if hit = p.Match(text, j.meter); hit {
			break
		}
	}
	j.seen = append(j.seen, scan{text, n.union, hit})
	return hit
}
