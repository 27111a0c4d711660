package waf

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"

	"gatehouse/waf/gate"
	"gatehouse/waf/rx"
)

// The operators that we add to Coraza. Their names are our own, so that the library's stay what they are.
const (
	matcherOperator = "gatehouseRx"   // @rx, by an automaton
	sqliOperator    = "gatehouseSQLi" // @detectSQLi, metered
	xssOperator     = "gatehouseXSS"  // @detectXSS, metered
	gateOperator    = "gatehouseGate" // judges a phase when it begins
	keepOperator    = "gatehouseKeep" // keeps what transformations have made of a value
)

// register makes the operators known to Coraza, which keeps them in a map of the process that takes no
// lock: it must happen once, and before the first engine is built.
var register = sync.OnceFunc(func() {
	plugins.RegisterOperator(matcherOperator, newMatcher)
	plugins.RegisterOperator(sqliOperator, newSQLi)
	plugins.RegisterOperator(xssOperator, newXSS)
	plugins.RegisterOperator(gateOperator, newGateRule)
	plugins.RegisterOperator(keepOperator, newKeeper)
	for _, name := range apart() {
		plugins.RegisterTransformation(name, func(s string) (string, bool, error) { return s, false, nil })
	}
})

// apart names the transformations by which rules are kept apart. The Core Rule Set has some 500 directives;
// two that share one are no worse off than without.
func apart() []string {
	names := make([]string, 1024)
	for i := range names {
		names[i] = "gatehouse" + strconv.Itoa(i)
	}
	return names
}

// A root is the directory of an engine's rules. It is also the one thing of ours that Coraza hands to an
// operator when it is made, so it says which engine that is for.
type root struct {
	fs.FS
	patterns *gate.Patterns
	requests *sync.Map // of *inspection, by transaction
	kept     *string
}

func rootOf(options plugintypes.OperatorOptions) (*root, error) {
	r, ok := options.Root.(*root)
	if !ok {
		return nil, errors.New("waf: the operator belongs to no engine of ours")
	}
	return r, nil
}

// inspection is the inspection that a transaction belongs to, or nil.
func (r *root) inspection(tx plugintypes.TransactionState) *inspection {
	if v, ok := r.requests.Load(tx); ok {
		return v.(*inspection)
	}
	return nil
}

// A matcher is @rx: an automaton says whether there is a match, and package regexp where, if somebody
// wants to know.
type matcher struct {
	root    *root
	pattern *rx.Pattern
	find    func() *regexp.Regexp
}

func newMatcher(options plugintypes.OperatorOptions) (plugintypes.Operator, error) {
	root, err := rootOf(options)
	if err != nil {
		return nil, err
	}
	p, err := root.patterns.Rx(options.Arguments)
	if err != nil {
		return nil, fmt.Errorf("@rx %s: %w", options.Arguments, err)
	}
	return &matcher{root, p, sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(gate.RxFlags + options.Arguments) // rx has compiled it too
	})}, nil
}

// Evaluate implements plugintypes.Operator.
func (m *matcher) Evaluate(tx plugintypes.TransactionState, value string) bool {
	var meter *rx.Meter
	in := m.root.inspection(tx)
	if in != nil {
		meter = in.meter
		if in.stopped {
			return false
		}
		meter.Spend(evaluateWork)
	}
	matches := m.pattern.Match(value, meter)
	if meter != nil && meter.Exhausted() {
		in.stop()
		return false // the request is refused in any case
	}
	if !matches {
		return false
	}
	if meter != nil {
		meter.Spend(matchWork)
	}
	if tx.Capturing() {
		if meter != nil {
			meter.Spend(len(value) * captureWork)
		}
		const most = 9 // TX.0 to TX.8
		at := m.find().FindStringSubmatchIndex(value)
		for i := 0; i < len(at)/2 && i < most; i++ {
			text := ""
			if at[2*i] >= 0 {
				text = value[at[2*i]:at[2*i+1]]
			}
			tx.CaptureField(i, text)
		}
	}
	return true
}

// A detector is @detectSQLi or @detectXSS, which charge for what they do.
type detector struct {
	root *root
	find func(value string, m *rx.Meter) (found bool, what string)
}

func newSQLi(options plugintypes.OperatorOptions) (plugintypes.Operator, error) {
	root, err := rootOf(options)
	return &detector{root, gate.DetectSQLi}, err
}

func newXSS(options plugintypes.OperatorOptions) (plugintypes.Operator, error) {
	root, err := rootOf(options)
	return &detector{root, func(v string, m *rx.Meter) (bool, string) { return gate.DetectXSS(v, m), "" }}, err
}

// Evaluate implements plugintypes.Operator.
func (d *detector) Evaluate(tx plugintypes.TransactionState, value string) bool {
	var meter *rx.Meter
	in := d.root.inspection(tx)
	if in != nil {
		if in.stopped {
			return false
		}
		meter = in.meter
		meter.Spend(evaluateWork)
	}
	found, what := d.find(value, meter)
	if in.exhausted() {
		in.stop()
		return false // the request is refused in any case
	}
	if !found {
		return false
	}
	if in != nil {
		meter.Spend(matchWork)
	}
	if what != "" {
		tx.CaptureField(0, what)
	}
	return true
}

// evaluateWork is what the engine does around each call of an operator.
const evaluateWork = 100

// captureWork is what package regexp costs for each byte, in a meter's units.
const captureWork = 100

// A gateRule is the first rule of a phase. It leaves out those of the phase that can do nothing, and holds
// if that is all of them.
type gateRule struct {
	root  *root
	phase int
}

func newGateRule(options plugintypes.OperatorOptions) (plugintypes.Operator, error) {
	root, err := rootOf(options)
	if err != nil {
		return nil, err
	}
	phase, err := strconv.Atoi(options.Arguments)
	if err != nil {
		return nil, fmt.Errorf("waf: phase %q: %w", options.Arguments, err)
	}
	return &gateRule{root, phase}, nil
}

// Evaluate implements plugintypes.Operator.
func (g *gateRule) Evaluate(tx plugintypes.TransactionState, _ string) bool {
	in := g.root.inspection(tx)
	if in == nil {
		return false // every rule runs
	}
	return in.enter(g.phase)
}

// A keeper keeps the value that it is asked about. It never holds.
type keeper struct{ root *root }

func newKeeper(options plugintypes.OperatorOptions) (plugintypes.Operator, error) {
	root, err := rootOf(options)
	if err != nil {
		return nil, err
	}
	return &keeper{root}, nil
}

// Evaluate implements plugintypes.Operator.
func (k *keeper) Evaluate(_ plugintypes.TransactionState, value string) bool {
	*k.root.kept = value
	return false
}

// transformed is what Coraza's transformations, as in "t:lowercase,t:urlDecodeUni", make of a value.
func transformed(steps, value string) (string, error) {
	register()
	r := &root{FS: ownRules, kept: new(string)}
	built, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(r).WithDirectives(
		`SecRule ARGS_GET "@` + keepOperator + `" "id:1,phase:1,pass,nolog,t:none,` + steps + `"`))
	if err != nil {
		return "", fmt.Errorf("waf: transformations: %w", err)
	}
	tx := built.NewTransaction()
	tx.AddGetRequestArgument("x", value)
	tx.ProcessRequestHeaders()
	if err := tx.Close(); err != nil {
		return "", fmt.Errorf("waf: transformations: %w", err)
	}
	return *r.kept, nil
}

// bestFit is what Coraza's urlDecodeUni makes of each code point of %uXXXX from 0x80 on, a byte each. It has
// a table of its own for that, which cannot be read but can be asked.
var bestFit = sync.OnceValues(func() (string, error) {
	const first, last = 0x80, 0xffff
	var b strings.Builder
	for r := first; r <= last; r++ {
		fmt.Fprintf(&b, "%%u%04x", r)
	}
	bytes, err := transformed("t:urlDecodeUni", b.String())
	if err == nil && len(bytes) != last-first+1 {
		err = fmt.Errorf("waf: urlDecodeUni made %d bytes of %d code points", len(bytes), last-first+1)
	}
	return bytes, err
})
