package tuning

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/waf"
)

// A Plan is the WAF of one route of a configuration that is not running.
type Plan struct {
	Route string
	cfg   waf.Config // effective
	finds *waf.Filter
}

// NewPlan compiles no engine.
func NewPlan(route string, cfg waf.Config) (*Plan, error) {
	p := &Plan{Route: route, cfg: cfg.Effective()}
	if p.cfg.Mode == waf.ModeOff {
		return p, nil
	}
	var err error
	p.finds, err = waf.NewFilter(cfg)
	return p, err
}

// A Change is what a Plan says of one recorded request.
type Change struct {
	Was, Becomes Verdict
	// Low and High bound the score that the recorded matches still give.
	Low, High int
	// Why says what makes the difference, or what leaves Becomes Unknown.
	Why []string
	// Assumes is what Becomes depends on and events do not say; "" for nothing.
	Assumes string
}

// maxRemembered bounds what odd lines can fill the memory with.
const maxRemembered = 64

// A Replay judges recorded requests by plans. It is not safe for concurrent use.
type Replay struct {
	recorded map[string]*waf.Filter // by what records say that their engine loaded
}

// Judge says what becomes of rec on the route of p. Events hold what matched and not the request, so that what takes
// away is known, and what adds is not.
func (r *Replay) Judge(rec *Record, p *Plan) (Change, error) {
	if rec.WAF == nil {
		c := Change{Becomes: Unknown, Why: []string{"it was not inspected, and would be"}}
		if p.cfg.Mode == waf.ModeOff {
			c = Change{Becomes: Passes}
		}
		c.Was = Passes
		return c, nil
	}
	c := Change{Was: rec.Said()}
	reason := rec.Unread()
	if reason != "" && rec.Denied != "" {
		c.Was = Refuses
	}
	if p.cfg.Mode == waf.ModeOff {
		c.Becomes, c.Why = Passes, []string{"the WAF is off"}
		return c, nil
	}
	if reason != "" {
		c.Becomes, c.Low, c.High = Unknown, rec.WAF.Score, rec.WAF.Score
		c.Why = []string{"not because of a rule: " + reason}
		return c, nil
	}
	adds, err := r.adds(rec, p)
	if err != nil {
		return c, err
	}
	out := rec.Judge(func(m Match) bool { return p.finds.Finds(m.found()) && !p.finds.Counts(m.Rule) }, p.cfg.Threshold)
	if rules, score := rec.countedBefore(p); len(rules) > 0 {
		out.Low, out.High = out.Low+score, max(out.High+score, rec.WAF.Score+rec.WAF.Counted)
		if why := "not on count any more: " + strings.Join(rules, ", "); out.Low >= p.cfg.Threshold {
			out.Verdict, adds = Refuses, nil
			c.Why = append(c.Why, why)
		} else if out.High >= p.cfg.Threshold {
			adds = append(adds, why)
		}
	}
	c.Low, c.High, c.Becomes = out.Low, out.High, out.Verdict
	switch {
	case out.Verdict == Refuses && p.cfg.Mode == waf.ModeCount:
		c.Becomes = Counts
	case out.Verdict == Passes && len(adds) > 0:
		c.Becomes, c.Why = Unknown, adds
		return c, nil
	case out.Verdict == Unknown:
		c.Why = []string{out.Reason}
		return c, nil
	}
	c.Why = append(c.Why, r.differences(rec, p)...)
	if out.Verdict == Refuses && slices.ContainsFunc(rec.WAF.Matches, func(m Match) bool { return p.finds.Depends(m.found()) }) {
		c.Assumes = "that whoever sent it is in none of the groups that an exclusion is for"
	}
	if rec.WAF.Exclusions > 0 && out.Verdict == Passes {
		c.Assumes = fmt.Sprintf("that the new file keeps the %s that it was inspected with", several(rec.WAF.Exclusions, "exclusion"))
	}
	return c, nil
}

// adds says what an engine of p may find that the one of rec did not look for.
func (r *Replay) adds(rec *Record, p *Plan) (why []string, err error) {
	old, err := r.loadedBy(rec.WAF)
	if err != nil {
		return nil, err
	}
	if old == nil {
		why = append(why, "the event does not say which rules ran")
	} else if n := p.finds.Beyond(old); n > 0 {
		what := "another choice of groups"
		if p.cfg.Paranoia > rec.WAF.Paranoia {
			what = fmt.Sprintf("paranoia %d instead of %d", p.cfg.Paranoia, rec.WAF.Paranoia)
		}
		why = append(why, fmt.Sprintf("%s runs %s that did not run, and events do not hold the request", what, several(n, "rule")))
	}
	if rec.WAF.Response == nil && rec.WAF.Verdict == "block" && slices.Contains(p.cfg.Groups, "leakages") {
		why = append(why, "there was no answer to inspect")
	}
	if n := rec.WAF.Exclusions; n > len(p.cfg.Exclude) {
		why = append(why, fmt.Sprintf("it was inspected with %s, of which some are gone: what they hid is not in the event", several(n, "exclusion")))
	}
	return why, nil
}

// loadedBy is what the engine of a record loaded, or nil if the record does not say.
func (r *Replay) loadedBy(w *WAF) (*waf.Filter, error) {
	key := fmt.Sprint(w.Paranoia, w.Groups, w.Rules)
	if f, known := r.recorded[key]; known {
		return f, nil
	}
	cfg := waf.Config{Paranoia: w.Paranoia, Groups: w.Groups, Rules: w.actions()}
	valid := w.Paranoia > 0
	cfg.Validate(func(string, string) { valid = false })
	var f *waf.Filter
	if valid {
		var err error
		if f, err = waf.NewFilter(cfg); err != nil {
			return nil, err
		}
	}
	if r.recorded == nil || len(r.recorded) == maxRemembered {
		r.recorded = map[string]*waf.Filter{}
	}
	r.recorded[key] = f
	return f, nil
}

// actions is what single rules were told.
func (w *WAF) actions() map[string]string {
	out := map[string]string{}
	for _, entry := range w.Rules {
		ids, action, _ := strings.Cut(entry, ":")
		out[ids] = action
	}
	return out
}

// countedBefore are the rules that only counted and that p has decide, and what they add at least.
func (rec *Record) countedBefore(p *Plan) (rules []string, score int) {
	for _, m := range rec.WAF.Matches {
		if m.Counted && !waf.ReadsAnswers(m.Rule) && p.finds.Finds(m.found()) && !p.finds.Counts(m.Rule) {
			rules, score = add(rules, fmt.Sprint(m.Rule)), score+m.Score
		}
	}
	return rules, score
}

// differences says what of p makes another verdict out of the matches of rec.
func (r *Replay) differences(rec *Record, p *Plan) (why []string) {
	var places, rules, counted []string
	for _, m := range rec.WAF.Matches {
		switch {
		case m.Counted:
		case p.finds.Finds(m.found()) && p.finds.Counts(m.Rule):
			counted = add(counted, fmt.Sprint(m.Rule))
		case p.finds.Finds(m.found()):
		case p.finds.Loads(m.Rule):
			places = add(places, fmt.Sprintf("%d at %s", m.Rule, m.Place()))
		default:
			rules = add(rules, fmt.Sprint(m.Rule))
		}
	}
	if len(places) > 0 {
		why = append(why, "excluded: "+strings.Join(places, ", "))
	}
	if len(counted) > 0 {
		why = append(why, "on count: "+strings.Join(counted, ", "))
	}
	if len(rules) > 0 {
		why = append(why, "not loaded: "+strings.Join(rules, ", "))
	}
	if p.cfg.Threshold != rec.WAF.Threshold {
		why = append(why, fmt.Sprintf("threshold %d instead of %d", p.cfg.Threshold, rec.WAF.Threshold))
	}
	if p.cfg.Mode != rec.WAF.Mode {
		why = append(why, fmt.Sprintf("mode %s instead of %s", p.cfg.Mode, rec.WAF.Mode))
	}
	return why
}

func add(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// Place names where m was found in the words of the configuration, or, where it has none, in the engine's.
func (m Match) Place() string {
	if x := m.exclusion(); x.Target != "" {
		return x.Target
	}
	if m.Key != "" {
		return m.Variable + ":" + m.Key
	}
	return m.Variable
}

// several is "1 rule" or "2 rules".
func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
