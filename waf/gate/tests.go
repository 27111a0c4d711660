package gate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"weak"

	"github.com/corazawaf/coraza/v3/collection"
	"github.com/corazawaf/coraza/v3/types/variables"

	"gatehouse/waf/rx"
)

// A test is what one link asks of a value.
type test struct {
	link    int
	negated bool
	holds   predicate
	expr    string // of a regular expression that holds wherever holds does; "" if there is none
	derive  *derivation
}

// says is the answer with the negation.
func (t *test) says(v string, m *rx.Meter) bool { return t.holds(v, m) != t.negated }

// newTest makes the test of a link, or nil if its operator is not known.
func (b *builder) newTest(number int, l *link, arg string) *test {
	t := &test{link: number, negated: l.op.negated}
	switch name := strings.ToLower(l.op.name); name {
	case "rx":
		if t.expr, t.holds = b.patterns.expression(arg); t.holds == nil {
			return nil
		}
	case "pm", "pmfromfile", "pmf":
		if l.op.negated {
			return nil // the expression holds more often than the operator
		}
		if t.expr = phrases(name, arg, b.opts.Lists).expression(); t.expr == "" {
			return nil
		}
		p, err := b.patterns.compile(t.expr)
		if err != nil {
			return nil
		}
		t.holds = p.Match
	default:
		t.holds = predicateFor(name, arg)
	}
	if t.holds == nil {
		return nil
	}
	return t
}

// Patterns shares compiled expressions among gates and engines with the same rules, for as long as one of
// them holds on to them. It is safe for concurrent use.
type Patterns struct {
	mu    sync.Mutex
	known map[string]weak.Pointer[rx.Pattern]
	swept int // how many there were after the last sweep
}

// NewPatterns is an empty set of them.
func NewPatterns() *Patterns { return &Patterns{known: map[string]weak.Pointer[rx.Pattern]{}} }

func (p *Patterns) take(key string, compile func() (*rx.Pattern, error)) (*rx.Pattern, error) {
	p.mu.Lock()
	known := p.known[key].Value()
	p.mu.Unlock()
	if known != nil {
		return known, nil
	}
	compiled, err := compile()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.known[key].Value(); known != nil { // somebody else's, meanwhile
		return known, nil
	}
	if len(p.known) > 2*p.swept {
		maps.DeleteFunc(p.known, func(_ string, w weak.Pointer[rx.Pattern]) bool { return w.Value() == nil })
		p.swept = max(len(p.known), 64)
	}
	p.known[key] = weak.Make(compiled)
	return compiled, nil
}

func (p *Patterns) compile(expr string) (*rx.Pattern, error) {
	return p.take(expr, func() (*rx.Pattern, error) { return rx.Compile(expr) })
}

// manyExprs is how many expressions a union has whose states are worth being made when it is built.
const manyExprs = 20

// union is several expressions in one, with the states that ordinary values visit.
func (p *Patterns) union(exprs []string) (*rx.Pattern, error) {
	return p.take(strings.Join(exprs, "\x00"), func() (*rx.Pattern, error) {
		u, err := rx.Union(exprs)
		if err == nil {
			warm(u)
			if len(exprs) >= manyExprs {
				noisy(u)
			}
		}
		return u, err //nolint:wrapcheck // rx says what it is about
	})
}

// Rx is the pattern that says what the engine's @rx says with an argument. It is an error if there is none.
func (p *Patterns) Rx(arg string) (*rx.Pattern, error) { return p.compile(RxFlags + arg) }

// expression is the predicate of @rx, and the expression with which it can be united with others.
func (p *Patterns) expression(arg string) (string, predicate) {
	if OverBytes(RxFlags + arg) {
		if hasFolding.MatchString(arg) {
			return "", nil
		}
		compiled, err := rx.CompileBytes(arg)
		if err != nil {
			return "", nil
		}
		return "", compiled.Match
	}
	compiled, err := p.Rx(arg)
	if err != nil {
		return "", nil
	}
	return RxFlags + arg, compiled.Match
}

// A phase is what is tested before the rules of one phase run.
type phase struct {
	sources []*source
	rules   []*judged
}

// A source is a part of the request whose values are tested.
type source struct {
	name     string
	variable variables.RuleVariable
	key      string
	pattern  *regexp.Regexp
	counts   []countTest
	uses     []use
	group    *group
}

// A countTest is a test of how many values there are.
type countTest struct {
	*test
	except []exception
	steps  []transform
}

// A use is a test of a source's values.
type use struct {
	test   *test
	steps  []transform
	multi  bool
	except []exception
	before []int // with multi, the nodes whose texts it has been made of before, which are often equal
}

func (s *source) add(t *test, steps []transform, multi bool, except []exception) {
	s.uses = append(s.uses, use{test: t, steps: steps, multi: multi, except: except})
}

func (b *builder) source(phase int, t target) *source {
	key := t.key
	if t.pattern != nil {
		key = "/" + t.pattern.String()
	}
	name := t.variable.Name() + ":" + key
	s := b.sources[phase][name]
	if s == nil {
		s = &source{name: name, variable: t.variable, key: t.key, pattern: t.pattern}
		b.sources[phase][name] = s
	}
	return s
}

// find is what the engine finds there, without exceptions.
func (s *source) find(col collection.Collection) []match {
	keyed, isKeyed := col.(collection.Keyed)
	switch {
	case s.pattern != nil && isKeyed:
		return keyed.FindRegex(s.pattern)
	case s.key != "" && isKeyed:
		return keyed.FindString(s.key)
	case s.pattern != nil, s.key != "":
		return nil // as in the engine
	default:
		return col.FindAll()
	}
}

// A group is the tests that several sources have in common.
type group struct {
	touches mask // what some transformation changes
	nodes   []node
	unions  []union // the first one asks for all that is unitable
}

// A union is some of the unitable tests of a group.
type union struct {
	exprs    []string      // until they are united
	patterns []*rx.Pattern // together they match what one of these matches, if not more
}

// A node is a text that transformations make of a value. The first one is the value itself.
type node struct {
	parent int
	transform
	work   int    // of the transformation, for each byte
	twins  []twin // the nodes before it that make the same of other texts, which are often equal
	union  int    // the one of the group's that a text is shown that nothing before it has been
	within uint64 // the unions that ask for all that is united here, a bit each
	united []use  // tested only where the union matches
	alone  []use
}

type twin struct{ node, parent int }

// group makes the groups of a phase's sources.
func (b *builder) group(p *phase) {
	known := map[string]*group{}
	for _, s := range p.sources {
		key := s.signature()
		g := known[key]
		if g == nil {
			g = b.newGroup(s.uses)
			known[key] = g
			b.groups = append(b.groups, g)
		}
		s.group = g
	}
}

// unions gives every group its unions. Those that ask nearly the same are made one that asks for all: it costs
// the same to look for some expressions more, and is one automaton to warm and to keep instead of several.
func (b *builder) unions() error {
	var unions []*union
	for _, g := range b.groups {
		for i := range g.unions {
			if len(g.unions[i].exprs) > 0 {
				unions = append(unions, &g.unions[i])
			}
		}
	}
	slices.SortStableFunc(unions, func(x, y *union) int { return cmp.Compare(len(y.exprs), len(x.exprs)) })
	type shared struct {
		exprs []string
		users []*union
	}
	var all []*shared
	for _, u := range unions {
		at := slices.IndexFunc(all, func(s *shared) bool {
			return len(u.exprs)*4 >= len(s.exprs)*3 && len(merge(s.exprs, u.exprs))*4 <= len(s.exprs)*5
		})
		if at < 0 {
			at = len(all)
			all = append(all, &shared{})
		}
		all[at].exprs = merge(all[at].exprs, u.exprs)
		all[at].users = append(all[at].users, u)
	}
	// They are most of what a start takes, so on as many processors as there are.
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() {
			var patterns []*rx.Pattern
			if patterns, errs[i] = b.unite(s.exprs); errs[i] != nil {
				return
			}
			for _, u := range s.users {
				u.patterns, u.exprs = patterns, nil
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func merge(x, y []string) []string {
	all := slices.Concat(x, y)
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *source) signature() string {
	var b strings.Builder
	for _, u := range s.uses {
		fmt.Fprintf(&b, "%p%v", u.test, u.multi)
		for _, x := range u.except {
			fmt.Fprintf(&b, ",%q,%v", x.key, x.pattern)
		}
		b.WriteByte(';')
	}
	return b.String()
}

func (b *builder) newGroup(uses []use) *group {
	g := &group{nodes: []node{{parent: -1}}}
	for _, u := range uses {
		at := 0
		path := []int{0}
		for _, step := range u.steps {
			if u.multi && step.reports != nil {
				step = step.reported()
			}
			at = g.child(at, step)
			path = append(path, at)
		}
		if !u.multi {
			path = path[len(path)-1:]
		}
		for i, n := range path {
			u.before = path[:i:i]
			if u.test.expr == "" || u.test.negated || u.test.derive != nil {
				g.nodes[n].alone = append(g.nodes[n].alone, u)
				continue
			}
			g.nodes[n].united = append(g.nodes[n].united, u)
		}
	}
	g.divide()
	return g
}

// mostUnions is how many unions node.within has room for.
const mostUnions = 64

// divide finds out which unions the group is to have. The text itself is shown to the one that asks for all. A
// transformation that changes it concerns few of them, and only those are asked about what it makes: their automaton
// is much smaller.
func (g *group) divide() {
	below := make([][]string, len(g.nodes)) // of the nodes behind each, and its own
	for i := len(g.nodes) - 1; i >= 0; i-- {
		below[i] = append(below[i], g.nodes[i].exprs()...)
		if i > 0 {
			parent := g.nodes[i].parent
			below[parent] = append(below[parent], below[i]...)
		}
	}
	all := merge(below[0], nil)
	g.unions = []union{{exprs: all}}
	byName := map[string][]string{}
	for i := range g.nodes {
		name := g.nodes[i].does()
		byName[name] = merge(byName[name], below[i])
	}
	known := map[string]int{}
	for i := range g.nodes {
		name := g.nodes[i].does()
		at, ok := known[name]
		if exprs := byName[name]; !ok && len(exprs)*4 < len(all) && len(g.unions) < mostUnions {
			at = len(g.unions)
			g.unions = append(g.unions, union{exprs: exprs})
		}
		known[name] = at
		g.nodes[i].union = at
	}
	for i := range g.nodes {
		n := &g.nodes[i]
		own := merge(n.exprs(), nil)
		for at, u := range g.unions {
			if len(merge(u.exprs, own)) == len(u.exprs) {
				n.within |= 1 << at
			}
		}
	}
}

// exprs are those of the tests that are united at the node.
func (n *node) exprs() (exprs []string) {
	for _, u := range n.united {
		exprs = append(exprs, u.test.expr)
	}
	return exprs
}

// does is what the node's transformation does, whatever it reports. It is empty for the value itself.
func (n *node) does() string { return strings.TrimSuffix(n.name, asReported) }

// unite makes as few unions as possible.
func (b *builder) unite(exprs []string) ([]*rx.Pattern, error) {
	if len(exprs) == 0 {
		return nil, nil
	}
	p, err := b.patterns.union(exprs)
	if err == nil {
		return []*rx.Pattern{p}, nil
	}
	if len(exprs) == 1 {
		return nil, fmt.Errorf("%w: %w", errUnion, err)
	}
	left, err := b.unite(exprs[:len(exprs)/2])
	if err != nil {
		return nil, err
	}
	right, err := b.unite(exprs[len(exprs)/2:])
	return append(left, right...), err
}

// child is the node that a transformation leads to.
func (g *group) child(parent int, t transform) int {
	for i := range g.nodes {
		if i > 0 && g.nodes[i].parent == parent && g.nodes[i].name == t.name {
			return i
		}
	}
	n := node{parent: parent, transform: t, work: stepWorkOf(t.name)}
	for i := range g.nodes {
		if i > 0 && g.nodes[i].name == t.name {
			n.twins = append(n.twins, twin{i, g.nodes[i].parent})
		}
	}
	g.nodes = append(g.nodes, n)
	g.touches |= t.touches
	return len(g.nodes) - 1
}
