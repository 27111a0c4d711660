package acl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gatehouse/waf/rx"
)

// Patterns are compiled regular expressions. Each keeps up to 28 MB of what requests have had it find out, so the rules at the top do
// not have some for each route. The zero value is empty; it is safe for concurrent use.
type Patterns struct {
	mu      sync.Mutex
	known   map[string]*rx.Pattern
	checked map[string]error // what is wrong with an expression, if anything is
}

// check says what is wrong with an expression.
func (p *Patterns) check(expr string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err, known := p.checked[expr]
	if known {
		return err
	}
	_, err = regexp.Compile(expr)
	if p.checked == nil {
		p.checked = map[string]error{}
	}
	p.checked[expr] = err
	return err
}

// union is what matches where one of the expressions does.
func (p *Patterns) union(exprs []string) (*rx.Pattern, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := strings.Join(exprs, "\x00")
	if known := p.known[key]; known != nil {
		return known, nil
	}
	made, err := rx.Union(exprs)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says which expression
	}
	if p.known == nil {
		p.known = map[string]*rx.Pattern{}
	}
	p.known[key] = made
	return made, nil
}

// compiled leaves out what pattern reports. Of none it is what never matches.
func (c *compiler) compiled(path string, patterns []string) *rx.Pattern {
	var good []string
	for _, p := range patterns {
		if c.resources.Patterns.check(p) == nil {
			good = append(good, p)
		}
	}
	if len(good) == 0 {
		good = []string{`[^\x00-\x{10FFFF}]`}
	}
	out, err := c.resources.Patterns.union(good)
	if err != nil {
		c.report(path, err.Error())
	}
	return out
}

// sets are the patterns of sets.
func (c *compiler) sets(path string, names []string) *rx.Pattern {
	var all []string
	for i, name := range names {
		patterns, ok := c.top.PatternSets[name]
		if !ok {
			c.report(fmt.Sprintf("%s.regex_set[%d]", path, i), fmt.Sprintf("no set is named %q (pattern_sets: %s)", name, strings.Join(slices.Sorted(maps.Keys(c.top.PatternSets)), ", ")))
		}
		all = append(all, patterns...)
	}
	return c.compiled(path+".regex_set", all)
}
