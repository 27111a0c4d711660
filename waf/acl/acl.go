package acl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"

	"gatehouse/waf/ipset"
)

const (
	defaultBodyLimit = 64 << 10 // the most that AWS WAF looks at
	minBodyLimit     = 1 << 10
	maxBodyLimit     = 1 << 20

	// DefaultRule is what decides where no rule does, as the logs of AWS WAF call it.
	DefaultRule = "Default_Action"
)

// Options are an ACL's ties to the program around it.
type Options struct {
	// Deny answers a request that is refused; required. The error is a *Blocked or a *Failure and has HTTPStatus.
	Deny func(http.ResponseWriter, *http.Request, error)
	// OnDecision is called once for each request, when it is decided about, on its goroutine. What it gets is taken back
	// when it returns. Optional.
	OnDecision func(ctx context.Context, d *Decision)
	// ClientIP is the client's address; required.
	ClientIP func(*http.Request) netip.Addr
	// Challenger is required where rules challenge, or ask for the labels of tokens.
	Challenger Challenger
	// BodyLimit replaces the default of Config.BodyLimit where it is less.
	BodyLimit int
	// Stream says that bodies pass without being held back: rules do not look at them.
	Stream bool
	// Hold takes memory for the beginning of a body, and reports whether there is enough; Free gives it back. Optional, both
	// or neither.
	Hold func(client netip.Addr, bytes int64) bool
	Free func(client netip.Addr, bytes int64)
	// Begin says whether a client may have what costs much done, regular expressions and the detection of attacks; the error, which
	// has HTTPStatus, refuses the request, except in count mode. End charges the client for that, in nanoseconds of a core. Optional,
	// both or neither.
	Begin func(client netip.Addr) error
	End   func(client netip.Addr, work int)
}

// A Challenger asks clients for a proof of work.
type Challenger interface {
	// Check says what proof r has: "accepted", "absent", or "rejected:" and why.
	Check(r *http.Request) string
	// Challenge answers r by asking for one, or as instead says where the client cannot be asked.
	Challenge(w http.ResponseWriter, r *http.Request, instead error)
}

func (o *Options) hold(client netip.Addr, n int64) bool { return o.Hold == nil || o.Hold(client, n) }

func (o *Options) free(client netip.Addr, n int64) {
	if o.Free != nil && n > 0 {
		o.Free(client, n)
	}
}

// An ACL is the rules of one route, compiled. It is immutable and safe for concurrent use.
type ACL struct {
	mode      string
	block     bool // what no rule decides about
	rules     []rule
	inspects  bool // a rule says where the rule groups come in
	tokens    bool // a rule asks for a proof of work, or whether there is one
	bodyLimit int
	geo       *ipset.Geo
	opts      Options
	pool      *sync.Pool // of *evaluation
}

// New compiles the rules of a route: those at the top and its own. An ACL whose Mode is "off", or that has neither rules nor a
// default that blocks, is nil. The error names everything that is wrong.
func New(top Config, route RouteConfig, res Resources, opts Options) (*ACL, error) {
	var problems []error
	report := func(field, msg string) { problems = append(problems, fmt.Errorf("acl: %s: %s", field, msg)) }
	a := compile(top, route, res, report)
	if opts.Deny == nil || opts.ClientIP == nil {
		problems = append(problems, errors.New("acl: Options.Deny and Options.ClientIP are required"))
	}
	if a.tokens = UsesTokens(top.Rules) || UsesTokens(route.Rules); a.tokens && opts.Challenger == nil {
		problems = append(problems, errors.New("acl: Options.Challenger is required by the rules"))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if a.mode == ModeOff || len(a.rules) == 0 && !a.block {
		return nil, nil
	}
	if a.opts = opts; top.BodyLimit == "" && opts.BodyLimit > 0 {
		a.bodyLimit = min(a.bodyLimit, opts.BodyLimit)
	}
	a.pool = &sync.Pool{New: func() any { return new(evaluation) }}
	return a, nil
}

func compile(top Config, route RouteConfig, res Resources, report func(field, msg string)) *ACL {
	c := newCompiler(top, res, report)
	a := &ACL{mode: cmp.Or(route.Mode, top.Mode, ModeBlock), block: cmp.Or(route.Default, top.Default) == DefaultBlock, geo: res.Geo}
	a.rules = append(c.rules("rules", top.Rules), c.rules("route.rules", route.Rules)...)
	sort.SliceStable(a.rules, func(i, j int) bool { return a.rules[i].priority < a.rules[j].priority })
	seen := ""
	for i := range a.rules {
		if a.rules[i].action != ActionInspect {
			continue
		}
		if a.inspects {
			report("rules", fmt.Sprintf("%s and %s both say where the rule groups come in: they run once", seen, a.rules[i].name))
		}
		a.inspects, seen = true, a.rules[i].name
	}
	a.bodyLimit = defaultBodyLimit
	if top.BodyLimit != "" {
		limit, err := parseBodyLimit(top.BodyLimit)
		if err != nil {
			report("body_limit", err.Error())
		}
		a.bodyLimit = limit
	}
	return a
}

func parseBodyLimit(s string) (int, error) {
	n, ok := parseBytes(s)
	if !ok || n < minBodyLimit || n > maxBodyLimit {
		return defaultBodyLimit, fmt.Errorf("want a size from 1KiB to 1MiB, got %q", s)
	}
	return int(n), nil
}

// A Decision is what became of one request, as far as rules have a part in it.
type Decision struct {
	Mode string
	// Rule is the rule that decided, or Default_Action; Action is what it did: "allow", "block" or "challenge". Both are "" of a
	// request that the rule groups decide about, because no rule comes after them or because they refuse it.
	Rule, Action string
	// Status is that of an answer that a rule says; 0 without one.
	Status int
	// Matched are rules that matched and did not decide, in order.
	Matched []Matched
	Labels  []string
	// Token is what Challenger.Check says of the request; "" if no rule asks.
	Token string
	// Inserted are the headers that the upstream got.
	Inserted []Inserted
}

// Matched is a rule that did not decide. Action is what it says; one that blocks or challenges is here in count mode, and one that
// challenges when the client has given a proof.
type Matched struct{ Rule, Action string }

// Inserted is a header that the upstream gets.
type Inserted struct{ Name, Value string }

// Blocked is the error of a request that a rule refuses.
type Blocked struct {
	Rule   string
	Status int
}

// Error implements error.
func (b *Blocked) Error() string { return "rules: refused by " + b.Rule }

// HTTPStatus is the status of the answer.
func (b *Blocked) HTTPStatus() int { return b.Status }

// An evaluation is one request on its way through the rules.
type evaluation struct {
	view
	next      int // the rule that comes next
	inspected bool
	replaced  bool // the request has the body that was read
	reported  bool
	decision  Decision
	matched   [8]Matched // what Decision.Matched begins in
	rule      *rule      // that decided
}

// An outcome is what is to happen to a request now.
type outcome byte

const (
	pass outcome = iota
	refuse
	challenge
	inspect
	fail
)

// decide evaluates rules until one decides, or says that the rule groups are next. It writes nothing.
func (a *ACL) decide(e *evaluation) outcome {
	for e.next < len(a.rules) {
		r := &a.rules[e.next]
		e.next++
		if !a.applies(e, r) {
			continue
		}
		holds := r.when == nil || r.when.holds(&e.view)
		switch {
		case e.failed != nil:
			return fail
		case !holds:
			continue
		}
		for _, label := range r.labels {
			e.addLabel(label)
		}
		switch r.action {
		case ActionInspect:
			if !e.inspected {
				e.inspected = true
				return inspect
			}
		case ActionAllow:
			e.insert(r.insert)
			e.settle(r.name, ActionAllow, r)
			return pass
		case ActionBlock:
			if a.mode != ModeCount {
				e.settle(r.name, ActionBlock, r)
				return refuse
			}
			e.note(r)
		case ActionChallenge:
			if a.mode != ModeCount && e.decision.Token != tokenAccepted {
				e.settle(r.name, ActionChallenge, r)
				return challenge
			}
			e.note(r)
			e.insert(r.insert)
		default:
			e.note(r)
			e.insert(r.insert)
		}
	}
	return a.end(e)
}

// The labels of tokens are those of AWS WAF.
const (
	tokenPrefix   = "awswaf:managed:token:"
	tokenAccepted = "accepted"
)

// askToken finds out what proof of work the request has, and puts the labels that say so. One that was rejected has two, as with
// AWS WAF.
func (a *ACL) askToken(e *evaluation) {
	state := a.opts.Challenger.Check(e.req)
	e.decision.Token = state
	if kind, _, ok := strings.Cut(state, ":"); ok {
		e.addLabel(tokenPrefix + kind)
	}
	e.addLabel(tokenPrefix + state)
}

// applies reports whether a rule is evaluated at all: not if a header is missing that it takes addresses from.
func (a *ACL) applies(e *evaluation, r *rule) bool {
	for _, name := range r.forwards {
		if len(e.header(name)) == 0 {
			return false
		}
	}
	return true
}

// end decides about a request that no rule has decided about.
func (a *ACL) end(e *evaluation) outcome {
	switch {
	case a.block && a.mode != ModeCount:
		e.settle(DefaultRule, ActionBlock, nil)
		return refuse
	case !a.inspects && !e.inspected:
		e.inspected = true
		return inspect
	case a.block:
		e.decision.Matched = append(e.decision.Matched, Matched{DefaultRule, ActionBlock})
	}
	e.settle(DefaultRule, ActionAllow, nil)
	return pass
}

func (e *evaluation) settle(name, action string, r *rule) {
	e.decision.Rule, e.decision.Action, e.rule = name, action, r
	if r != nil && r.respond != nil {
		e.decision.Status = r.respond.status
	}
}

// note records a rule that matched and does not decide.
func (e *evaluation) note(r *rule) {
	if e.decision.Matched == nil {
		e.decision.Matched = e.matched[:0]
	}
	e.decision.Matched = append(e.decision.Matched, Matched{r.name, r.action})
}

// insert remembers headers. Of two with one name the later stays.
func (e *evaluation) insert(list []header) {
	for _, h := range list {
		i := slices.IndexFunc(e.decision.Inserted, func(o Inserted) bool { return o.Name == h.name })
		if i < 0 {
			e.decision.Inserted = append(e.decision.Inserted, Inserted{h.name, h.value})
			continue
		}
		e.decision.Inserted[i].Value = h.value
	}
}
