package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp/syntax"
	"strings"
	"time"
	"unicode"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"gatehouse/authn/identity"
	"gatehouse/internal/suggest"
)

const (
	// maxExpression bounds the text of an expression, and with it what reading it can cost. A rule
	// that needs more is a program.
	maxExpression      = 4096
	maxExpressionNodes = 2000 // that its macros become
	maxExpressionDepth = 64
	// maxExpressionLoops is how deep all, exists, filter and map may stand in each other.
	maxExpressionLoops = 2
	// maxRegex bounds a compiled regular expression, in instructions: Go's run in linear time, but [a-z]{1000}
	// is a program of its size.
	maxRegex = 2000
	// expressionCost bounds one evaluation, in CEL's units: about one for each step and each ten
	// bytes of text looked at. The largest is some milliseconds; an ordinary rule takes 10 to 100.
	expressionCost = 50_000
	// interruptEvery is how many rounds of a loop pass between two looks at the context.
	interruptEvery = 100
)

// inCIDR is the function that tests an address against a network.
const inCIDR = "in_cidr"

// expressionVariables are the names that an expression may use. Each is resolved when it is looked
// at and not before: a rule that does not mention request.headers pays nothing for them.
func expressionVariables() []*decls.VariableDecl {
	texts := cel.ListType(cel.StringType)
	return []*decls.VariableDecl{
		decls.NewVariable("identity.subject", cel.StringType),
		decls.NewVariable("identity.username", cel.StringType),
		decls.NewVariable("identity.email", cel.StringType),
		decls.NewVariable("identity.email_verified", cel.BoolType),
		decls.NewVariable("identity.groups", texts),
		decls.NewVariable("identity.scopes", texts),
		decls.NewVariable("identity.issuer", cel.StringType),
		decls.NewVariable("identity.client_id", cel.StringType),
		decls.NewVariable("identity.auth_time", cel.TimestampType),
		decls.NewVariable("identity.claims", cel.MapType(cel.StringType, cel.DynType)),
		decls.NewVariable("request.method", cel.StringType),
		decls.NewVariable("request.host", cel.StringType),
		decls.NewVariable("request.path", cel.StringType),
		decls.NewVariable("request.query", cel.MapType(cel.StringType, texts)),
		decls.NewVariable("request.headers", cel.MapType(cel.StringType, cel.StringType)),
		decls.NewVariable("request.client", cel.StringType),
		decls.NewVariable("request.time", cel.TimestampType),
	}
}

// expressionNames says in a message what expressionVariables says to CEL.
const expressionNames = "known are identity.subject, username, email, email_verified, groups, scopes, issuer, client_id, auth_time and claims, " +
	"request.method, host, path, query, headers, client and time, and ADDRESS.in_cidr(\"10.0.0.0/8\")"

// An expression is a CEL expression over an identity and a request, compiled and type-checked. It
// is safe for concurrent use.
type expression struct {
	source  string
	program cel.Program
}

// CheckExpression compiles a CEL expression and reports what is wrong with it, with the line and the
// column in it, both from 1.
func CheckExpression(source string, report func(line, column int, msg string)) {
	compileExpression(source, report)
}

// compileExpression returns nil when it has reported something.
func compileExpression(source string, report func(line, column int, msg string)) *expression {
	if len(source) > maxExpression {
		report(1, 1, fmt.Sprintf("want an expression of at most %d bytes, got %d", maxExpression, len(source)))
		return nil
	}
	env, err := expressionEnv()
	if err != nil {
		report(1, 1, err.Error())
		return nil
	}
	checked, issues := env.Compile(source)
	for _, e := range issues.Errors() {
		// CEL counts columns from 0, and has -1 for what has no place.
		line, column := max(e.Location.Line(), 1), max(e.Location.Column()+1, 1)
		msg := strings.TrimSuffix(e.Message, " (in container '')")
		if strings.HasPrefix(msg, "undeclared reference") {
			name := nameAt(source, line, column)
			msg = fmt.Sprintf("undeclared reference to %q%s (%s)", name, suggest.DidYouMean(name, variableNames()), expressionNames)
		}
		report(line, column, "CEL: "+clip(msg, 600))
	}
	if issues.Err() != nil {
		return nil
	}
	if got := checked.OutputType(); !got.IsExactType(cel.BoolType) {
		report(1, 1, fmt.Sprintf("want an expression of type bool, got %s: compare it with something", got))
		return nil
	}
	program, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostLimit(expressionCost),
		cel.InterruptCheckFrequency(interruptEvery),
	)
	if err != nil {
		report(1, 1, "CEL: "+clip(err.Error(), 600))
		return nil
	}
	return &expression{source, program}
}

func variableNames() []string {
	var names []string
	for _, v := range expressionVariables() {
		names = append(names, v.Name())
	}
	return names
}

// nameAt returns the name that stands at a place of an expression, with one field of it.
func nameAt(source string, line, column int) string {
	for ; line > 1; line-- {
		_, source, _ = strings.Cut(source, "\n")
	}
	rest := []rune(source)
	rest = rest[min(column-1, len(rest)):]
	dots := 0
	for i, r := range rest {
		if r == '.' {
			dots++
		}
		if dots > 1 || r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			rest = rest[:i]
			break
		}
	}
	return clip(string(rest), 60)
}

func expressionEnv() (*cel.Env, error) {
	return cel.NewEnv(
		cel.VariableDecls(expressionVariables()...),
		cel.Function(inCIDR, cel.MemberOverload("string_in_cidr", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(addressInCIDR))),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.ASTValidators(
			literalsOnly{}, sizeLimit{},
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(maxExpressionLoops),
		),
	)
}

// literalsOnly wants regular expressions and networks to be written in the expression, so that they
// are checked once, at load, and no request brings its own.
type literalsOnly struct{}

// Name implements cel.ASTValidator.
func (literalsOnly) Name() string { return "gatehouse.literals" }

// Validate implements cel.ASTValidator.
func (literalsOnly) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		name := call.FunctionName()
		if name != overloads.Matches && name != inCIDR || len(call.Args()) == 0 {
			return
		}
		last := call.Args()[len(call.Args())-1]
		text, ok := "", last.Kind() == ast.LiteralKind
		if ok {
			text, ok = last.AsLiteral().Value().(string)
		}
		if !ok {
			issues.ReportErrorAtID(last.ID(), "%s wants a text in quotes here and nothing computed", name)
			return
		}
		var err error
		if name == inCIDR {
			_, err = parseCIDR(text)
		} else {
			err = checkRegex(text)
		}
		if err != nil {
			issues.ReportErrorAtID(last.ID(), "%s: %v", name, err)
		}
	}))
}

// checkRegex reports what keeps a pattern from being used.
func checkRegex(pattern string) error {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return err
	}
	if n := len(program.Inst); n > maxRegex {
		return fmt.Errorf("want a regular expression of at most %d instructions, got %d", maxRegex, n)
	}
	return nil
}

// sizeLimit bounds what the macros of an expression become.
type sizeLimit struct{}

// Name implements cel.ASTValidator.
func (sizeLimit) Name() string { return "gatehouse.size" }

// Validate implements cel.ASTValidator.
func (sizeLimit) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	nodes := 0
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(ast.Expr) { nodes++ }))
	if nodes > maxExpressionNodes {
		issues.ReportErrorAtID(a.Expr().ID(), "want an expression of at most %d parts, got %d", maxExpressionNodes, nodes)
	}
}

func parseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("want a network such as 10.0.0.0/8 without bits beyond its length, got %q", clip(s, 60))
	}
	return p, nil
}

func addressInCIDR(address, network ref.Val) ref.Val {
	a, okA := address.Value().(string)
	n, okN := network.Value().(string)
	if !okA || !okN {
		return types.MaybeNoSuchOverloadErr(address)
	}
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return types.NewErr("in_cidr: not an address")
	}
	prefix, err := parseCIDR(n)
	if err != nil {
		return types.NewErr("in_cidr: not a network")
	}
	return types.Bool(prefix.Contains(ip.Unmap().WithZone("")))
}

// holds evaluates the expression. Every way of not being true is an error, and what it says holds
// nothing of the request or of the claims.
func (x *expression) holds(ctx context.Context, f *facts) error {
	out, _, err := x.program.ContextEval(ctx, f)
	if err != nil {
		return x.explain(ctx, err)
	}
	switch out.Value() {
	case true:
		return nil
	case false:
		return errors.New("expr: is false")
	}
	return fmt.Errorf("expr: want true or false, got %s", out.Type().TypeName())
}

// explain says why an evaluation failed. CEL's own text may quote values of the request; a name is
// kept only when the operator wrote it.
func (x *expression) explain(ctx context.Context, err error) error {
	text := err.Error()
	switch key, missing := strings.CutPrefix(text, "no such key: "); {
	case ctx.Err() != nil:
		return fmt.Errorf("expr: %w", ctx.Err())
	case missing && strings.Contains(x.source, key):
		return fmt.Errorf("expr: no such key: %s", clip(key, 100))
	case missing:
		return errors.New("expr: no such key")
	case strings.Contains(text, "cost limit exceeded"):
		return fmt.Errorf("expr: takes more than %d steps", expressionCost)
	case strings.Contains(text, "no such overload"):
		return errors.New("expr: no such overload: a value has another type than the expression takes it for")
	}
	return errors.New("expr: cannot be evaluated for this request")
}

// facts are what an expression may look at: one request of one identity. It implements
// cel.Activation.
type facts struct {
	request *http.Request
	host    string
	id      *identity.Identity
	client  func(*http.Request) netip.Addr // nil: unknown
	now     time.Time

	claims, query, headers any // once they have been asked for
}

// Parent implements cel.Activation.
func (f *facts) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (f *facts) ResolveName(name string) (any, bool) {
	switch name {
	case "identity.subject":
		return f.id.Subject, true
	case "identity.username":
		return f.id.Username, true
	case "identity.email":
		return f.id.Email, true
	case "identity.email_verified":
		return f.id.EmailVerified, true
	case "identity.groups":
		return orNone(f.id.Groups), true
	case "identity.scopes":
		return orNone(f.id.Scopes), true
	case "identity.issuer":
		return f.id.Issuer, true
	case "identity.client_id":
		return f.id.ClientID, true
	case "identity.auth_time":
		if !f.id.AuthTimeStated { // a token's age would pass for a fresh login
			return types.NewErr("auth_time: the provider does not say"), true
		}
		return f.id.AuthTime, true
	case "identity.claims":
		return remembered(&f.claims, f.claimsMap), true
	case "request.method":
		return f.request.Method, true
	case "request.host":
		return withoutPort(f.host), true
	case "request.path":
		return f.request.URL.Path, true
	case "request.query":
		return remembered(&f.query, f.queryMap), true
	case "request.headers":
		return remembered(&f.headers, f.headerMap), true
	case "request.client":
		return f.clientText(), true
	case "request.time":
		return f.now, true
	}
	return nil, false
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func remembered(memo *any, build func() any) any {
	if *memo == nil {
		*memo = build()
	}
	return *memo
}
