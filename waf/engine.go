package waf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"

	"gatehouse/waf/gate"
)

// Options are an engine's ties to the program around it.
type Options struct {
	// Deny answers a request that is refused; required. The error is a *Blocked or a *Failure and has
	// HTTPStatus. If a leak shows only after the head of an answer was sent, Deny is told all the same and
	// the answer is broken off.
	Deny func(http.ResponseWriter, *http.Request, error)
	// OnResult is called once for each inspected request, before the request goes on or is refused, and
	// once more for an answer that was inspected, when it is over or before it is refused; on the request's
	// goroutine. Optional.
	OnResult func(ctx context.Context, r Result)
	// ClientIP is the client's address. Without it the address of the peer is taken.
	ClientIP func(*http.Request) netip.Addr
	// Patterns shares compiled expressions with other engines. Without it the engine has its own.
	Patterns *Patterns
	// Budget bounds what engines do together, and for each client. Without it only each request is bounded.
	Budget *Budget
	// RequestID identifies the request to the engine. Without it the engine makes an id of its own.
	RequestID func(*http.Request) string
}

// An Engine inspects requests under one Config. It is immutable and safe for concurrent use.
type Engine struct {
	mode    string
	headers bool // bodies pass unseen
	partial bool // a longer body than bodyLimit passes
	reject  bool // it would not in block mode
	bounds  bounds
	opts    Options
	waf     experimental.WAFWithOptions
	gate    *gate.Gate   // nil if every rule is to run
	answers *answers     // nil if answers pass untouched
	counted map[int]bool // rules that decide nothing
	told    map[int]bool // rules of the operator that are recorded
	root    *root
	buffers *sync.Pool // of *[]byte
	close   func() error
}

// Patterns are compiled expressions that several engines share. The zero value is ready for use, by
// several goroutines at once.
type Patterns struct {
	once sync.Once
	list *gate.Patterns
}

func (p *Patterns) all() *gate.Patterns {
	if p == nil {
		return gate.NewPatterns()
	}
	p.once.Do(func() { p.list = gate.NewPatterns() })
	return p.list
}

// A stateful transaction is one whose variables can be read and set. The engine's own always are.
type transaction interface {
	types.Transaction
	plugintypes.TransactionState
	gate.Remover
}

// New builds the engine that cfg describes. It takes some hundred milliseconds and some tens of
// megabytes for the first engine, much less for further ones: keep engines with an equal
// Config.Digest. It needs a directory for temporary files that can be written to while it runs
// (os.TempDir), although no request ever makes a file. The error names every problem of cfg.
func New(cfg Config, opts Options) (*Engine, error) {
	return newEngine(cfg, opts, variant{})
}

// A variant is an engine that only tests build.
type variant struct {
	extra   string              // directives before the Core Rule Set
	arrange func(string) string // arranges the rules instead of the gate, which is left out
	logs    bool                // what is only for a log is kept
}

func newEngine(cfg Config, opts Options, how variant) (*Engine, error) {
	var problems []error
	cfg.Validate(func(field, msg string) {
		problems = append(problems, fmt.Errorf("waf: %s: %s", field, msg))
	})
	if opts.Deny == nil {
		problems = append(problems, errors.New("waf: Options.Deny is missing"))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	cfg = cfg.normal()
	e := &Engine{
		mode:    cfg.Mode,
		headers: cfg.Body == BodyHeaders,
		partial: cfg.Oversize == OversizePartial || cfg.Mode == ModeCount,
		reject:  cfg.Oversize == OversizeReject,
		opts:    opts,
		buffers: &sync.Pool{New: func() any { b := make([]byte, 0, firstBuffer); return &b }},
		close:   func() error { return nil },
	}
	if e.mode == ModeOff {
		return e, nil
	}
	e.bounds = cfg.bounds()
	if err := e.load(cfg, how); err != nil {
		return nil, err
	}
	return e, nil
}

// load compiles the rules.
func (e *Engine) load(cfg Config, how variant) error {
	register()
	rules, err := loadRules(cfg, how.extra)
	if err != nil {
		return fmt.Errorf("waf: %w", err)
	}
	e.counted, e.told = rules.counted, rules.told
	if err := e.compile(rules.source.lists, rules.text, how); err != nil {
		return err
	}
	if cfg.inspectsAnswers() {
		if e.answers, err = e.loadAnswers(cfg, how); err != nil {
			return errors.Join(err, e.close())
		}
	}
	// Compiling the patterns leaves about as much garbage as it leaves patterns. A front door may then
	// idle for hours; give the memory back now.
	debug.FreeOSMemory()
	return nil
}

// compile makes the engine's rules of their text.
func (e *Engine) compile(lists fs.FS, text string, how variant) error {
	var err error
	e.root = &root{FS: lists, patterns: e.opts.Patterns.all(), requests: new(sync.Map)}
	if how.arrange != nil {
		text = how.arrange(text)
	} else if text, err = e.buildGate(text, how.logs); err != nil {
		return fmt.Errorf("waf: %w", err)
	}
	mode := "SecRuleEngine On\n"
	if e.mode == ModeCount {
		mode = "SecRuleEngine DetectionOnly\n"
	}
	// Coraza takes a body that just reaches its limit for one that is over it, and a list of JSON
	// documents is inspected with a bracket on either side and a comma behind each.
	limit := 2*e.bounds.most() + bodySlack
	built, err := coraza.NewWAF(coraza.NewWAFConfig().
		WithRootFS(e.root).
		WithDirectives(mode + text).
		WithRequestBodyLimit(limit).
		WithRequestBodyInMemoryLimit(limit))
	if err != nil {
		return fmt.Errorf("waf: rules: %w", err)
	}
	var ok bool
	if e.waf, ok = built.(experimental.WAFWithOptions); !ok {
		return errors.New("waf: the rule engine takes no transaction options")
	}
	if c, ok := built.(io.Closer); ok {
		e.close = sync.OnceValue(c.Close)
	}
	return nil
}

// buildGate makes the gate for the rules, and arranges them for it.
func (e *Engine) buildGate(text string, logs bool) (string, error) {
	best, err := bestFit()
	if err != nil {
		return "", err
	}
	e.gate, err = gate.New(directives(text), gate.Options{
		Lists:       e.root.FS,
		BestFit:     best,
		Accompanies: isEvaluation,
		Extern:      []string{bodyCutVariable, docTypeVariable, javaObjectVariable},
		Matcher:     matcherOperator,
		Apart:       apart(),
		SQLi:        sqliOperator,
		XSS:         xssOperator,
		Patterns:    e.root.patterns,
		KeepLogs:    logs,
	})
	if err != nil {
		return "", fmt.Errorf("gate: %w", err)
	}
	return gateFirst + e.gate.Directives() + gateLast, nil
}

// The gate's own rules: first and last of both phases.
const (
	gateFirst = `SecRule REQUEST_METHOD "@` + gateOperator + ` 1" "id:890001,phase:1,pass,nolog,t:none,skipAfter:GATEHOUSE-END"
SecRule REQUEST_METHOD "@` + gateOperator + ` 2" "id:890002,phase:2,pass,nolog,t:none"
`
	gateLast = "SecMarker GATEHOUSE-END\n"
)

// Close gives back what the engine shares with others. Requests under way, and requests that still
// arrive, are inspected as before. It may be called more than once.
func (e *Engine) Close() error {
	err := e.close()
	if e.answers != nil {
		err = errors.Join(err, e.answers.engine.close())
	}
	if err != nil {
		return fmt.Errorf("waf: close: %w", err)
	}
	return nil
}
