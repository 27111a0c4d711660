package waf

import (
	"fmt"
	"slices"
	"strings"
)

// A Whom says whose requests an exclusion is for.
type Whom struct {
	// Groups names groups of the login: a person in one of them is meant.
	Groups []string `yaml:"groups"`
}

// maxConditions bounds how many different groups of people the exclusions of one engine are for: there is an engine for
// each set of those whose conditions hold.
const maxConditions = 3

func (w *Whom) validate(report func(field, msg string)) {
	if w == nil {
		return
	}
	if len(w.Groups) == 0 {
		report("for", "says not for whom (want groups: [NAME]; without for the exclusion is for everybody)")
	}
	for i, name := range w.Groups {
		if name == "" || strings.TrimSpace(name) != name {
			report(fmt.Sprintf("for.groups[%d]", i), fmt.Sprintf("want the name of a group without blanks around it, got %q", name))
		}
	}
}

// covers reports whether w means a person of these groups.
func (w *Whom) covers(groups []string) bool {
	return slices.ContainsFunc(w.Groups, func(name string) bool { return slices.Contains(groups, name) })
}

func (w *Whom) normal() *Whom {
	if w == nil {
		return nil
	}
	groups := slices.Clone(w.Groups)
	slices.Sort(groups)
	return &Whom{slices.Compact(groups)}
}

// conditions are the different people that exclusions of c are for, each once.
func (c Config) conditions() (list []*Whom) {
	for _, x := range c.Exclude {
		if w := x.For.normal(); w != nil && !slices.ContainsFunc(list, func(o *Whom) bool { return slices.Equal(o.Groups, w.Groups) }) {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *Whom) int { return slices.Compare(a.Groups, b.Groups) })
	return list
}

// Variants are what a Config means for different people. An engine of its own inspects what each of them sends, so that
// exclusions for some cost nothing for the others, and no rule decides about who somebody is.
type Variants struct {
	// Configs have no exclusion that is for some people only. The first is for everybody.
	Configs    []Config
	conditions []*Whom
}

// Variants returns those of c: 1, or 2, 4 or 8.
func (c Config) Variants() Variants {
	v := Variants{conditions: c.conditions()}
	if len(v.conditions) > maxConditions {
		v.conditions = nil // Validate has refused it; nobody has more than everybody has
	}
	for set := range 1 << len(v.conditions) {
		one := c
		one.Exclude = nil
		for _, x := range c.Exclude {
			if x.For == nil || v.holds(set, x.For.normal()) {
				x.For = nil
				one.Exclude = append(one.Exclude, x)
			}
		}
		v.Configs = append(v.Configs, one)
	}
	return v
}

func (v Variants) holds(set int, w *Whom) bool {
	for i, c := range v.conditions {
		if slices.Equal(c.Groups, w.Groups) {
			return set&(1<<i) != 0
		}
	}
	return false
}

// Of is the index in Configs of what a person of these groups is inspected by.
func (v Variants) Of(groups []string) (set int) {
	for i, w := range v.conditions {
		if w.covers(groups) {
			set |= 1 << i
		}
	}
	return set
}

// For names the groups whose exclusions Configs[set] has.
func (v Variants) For(set int) (groups []string) {
	for i, w := range v.conditions {
		if set&(1<<i) != 0 {
			groups = append(groups, w.Groups...)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}
