package tuning

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	// maxGroups bounds what names that clients choose can make of groups.
	maxGroups = 4096
	// maxKept bounds the ids, rules and clients of one group.
	maxKept = 1000
	// maxShown is how many ids of requests a group names.
	maxShown = 3
)

// A Group is all requests that one rule matched at one place of one route, and what its exclusion would do.
type Group struct {
	Rule    int    `json:"rule"`
	Message string `json:"message"`
	Route   string `json:"route"`
	// Target is the place as an exclusion names it; "" where one can only name the rule, and Variable then says
	// where the first match was.
	Target   string    `json:"target,omitempty"`
	Variable string    `json:"variable"`
	Exclude  Exclusion `json:"exclude"`

	Requests int `json:"requests"`
	Blocked  int `json:"blocked"`
	Counted  int `json:"counted"` // would have been blocked
	Passed   int `json:"passed"`
	OnCount  int `json:"on_count,omitempty"` // of all these, while the rule was on count and decided nothing
	Clients  int `json:"clients"`            // at most 1000 are told apart

	// LetsThrough are requests that were blocked or counted and that would pass with this exclusion alone.
	LetsThrough int `json:"lets_through"`
	// Unknown are those of which what was recorded leaves it open.
	Unknown int `json:"unknown"`
	// Elsewhere are requests that were matched elsewhere too, and Suspects those of LetsThrough among them, which
	// are likely attacks. OtherRules are the rules that matched elsewhere.
	Elsewhere  int   `json:"elsewhere"`
	Suspects   int   `json:"suspects"`
	OtherRules []int `json:"other_rules,omitempty"`

	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Examples are ids of requests that the exclusion lets through, suspects first.
	Examples []string `json:"examples,omitempty"`

	clients  map[string]bool
	suspects []string
	ordinary []string
}

type groupKey struct {
	rule          int
	route, target string
}

// A Tuning collects records and groups their matches. The zero value is ready.
type Tuning struct {
	// Matched counts the requests with a match, Refused those that were blocked or would have been.
	Matched, Refused int
	// Left counts matches that are in no group, because there were too many groups.
	Left int

	groups map[groupKey]*Group
}

// Add takes one record in.
func (t *Tuning) Add(rec *Record) {
	if rec.WAF == nil || len(rec.WAF.Matches) == 0 {
		return
	}
	t.Matched++
	if rec.refused() {
		t.Refused++
	}
	var seen []Exclusion
	for _, m := range rec.WAF.Matches {
		if covered(m, seen) {
			continue
		}
		x := m.exclusion()
		seen = append(seen, x)
		if g := t.group(rec, m, x); g != nil {
			g.add(rec, x)
			if m.Counted {
				g.OnCount++
			}
		} else {
			t.Left++
		}
	}
}

func (t *Tuning) group(rec *Record, m Match, x Exclusion) *Group {
	route := FileRoute(rec.Route)
	key := groupKey{x.Rule, route, strings.ToLower(x.Target)} // as the engine compares names
	if g := t.groups[key]; g != nil {
		return g
	}
	if len(t.groups) == maxGroups {
		return nil
	}
	if t.groups == nil {
		t.groups = map[groupKey]*Group{}
	}
	g := &Group{
		Rule: m.Rule, Message: m.Message, Route: route, Target: x.Target, Variable: m.Variable, Exclude: x,
		First: rec.Time, Last: rec.Time, clients: map[string]bool{},
	}
	t.groups[key] = g
	return g
}

func (g *Group) add(rec *Record, x Exclusion) {
	g.Requests++
	if len(g.clients) < maxKept {
		g.clients[rec.Client] = true
	}
	if rec.Time.Before(g.First) {
		g.First = rec.Time
	}
	if rec.Time.After(g.Last) {
		g.Last = rec.Time
	}
	elsewhere := false
	for _, m := range rec.WAF.Matches {
		if x.Covers(m) {
			continue
		}
		elsewhere = true
		if len(g.OtherRules) < maxKept && !slices.Contains(g.OtherRules, m.Rule) {
			g.OtherRules = append(g.OtherRules, m.Rule)
		}
	}
	if elsewhere {
		g.Elsewhere++
	}
	switch rec.Said() {
	case Refuses:
		g.Blocked++
	case Counts:
		g.Counted++
	default:
		g.Passed++
		return
	}
	switch rec.Judge(func(m Match) bool { return !x.Covers(m) }, rec.WAF.Threshold).Verdict {
	case Unknown:
		g.Unknown++
	case Passes:
		g.LetsThrough++
		list := &g.ordinary
		if elsewhere {
			g.Suspects++
			list = &g.suspects
		}
		if len(*list) < maxShown {
			*list = append(*list, rec.ID)
		}
	}
}

// Groups returns them, most requests first, and among equals what lets most through.
func (t *Tuning) Groups() []Group {
	list := make([]Group, 0, len(t.groups))
	for _, g := range t.groups {
		out := *g
		out.Clients = len(g.clients)
		slices.Sort(out.OtherRules)
		both := slices.Concat(g.suspects, g.ordinary)
		out.Examples = both[:min(len(both), maxShown)]
		list = append(list, out)
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return cmp.Or(
			cmp.Compare(b.Requests, a.Requests), cmp.Compare(b.LetsThrough, a.LetsThrough), cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Route, b.Route), cmp.Compare(a.Target, b.Target),
		) < 0
	})
	return list
}
