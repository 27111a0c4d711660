package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"gatehouse/authn/identity"
)

// conditional says whether the rule asks for more than somebody.
func (r Rule) conditional() bool {
	return len(r.Groups)+len(r.Scopes)+len(r.Claims)+len(r.EmailDomains) > 0 || r.Expr != ""
}

// validateConditions reports what is wrong with claims, e-mail domains and the expression.
func (r Rule) validateConditions(report func(field, msg string)) {
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		if name == "" {
			report("claims", "want the name of a claim")
		}
		if len(r.Claims[name]) == 0 {
			report("claims."+name, "want at least one value that the claim may have")
		}
	}
	for i, s := range r.EmailDomains {
		if _, err := parseEmailDomain(s); err != nil {
			report(fmt.Sprintf("email_domains[%d]", i), err.Error())
		}
	}
	if r.Expr != "" {
		CheckExpression(r.Expr, func(line, column int, msg string) {
			report("expr", fmt.Sprintf("%s (line %d, column %d of the expression)", msg, line, column))
		})
	}
}

// conditions are a Rule's, compiled. All of them must hold. They are safe for concurrent use.
type conditions struct {
	groups  []string
	scopes  []string
	claims  []claimCondition
	domains []emailDomain
	expr    *expression
}

// A claimCondition wants a claim to have one of these values.
type claimCondition struct {
	name   string
	values []string
}

// compile returns the rule's conditions, or an error for a rule that does not validate.
func (r Rule) compile() (*conditions, error) {
	var errs []error
	r.Validate(func(field, msg string) { errs = append(errs, fmt.Errorf("%s: %s", field, msg)) })
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c := &conditions{groups: r.Groups, scopes: r.Scopes}
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		c.claims = append(c.claims, claimCondition{name, r.Claims[name]})
	}
	for _, s := range r.EmailDomains {
		d, err := parseEmailDomain(s)
		if err != nil {
			return nil, err
		}
		c.domains = append(c.domains, d)
	}
	if r.Expr != "" {
		c.expr = compileExpression(r.Expr, func(_, _ int, msg string) { errs = append(errs, errors.New(msg)) })
	}
	return c, errors.Join(errs...)
}

// A lack is the first condition that does not hold.
type lack struct {
	scope    bool // of the scopes
	unproved bool // an e-mail address would do that nobody has verified
	err      error
}

// lacks returns nil when everything holds of id but the expression, which wants a request too.
func (c *conditions) lacks(id *identity.Identity) *lack {
	if !containsAll(id.Scopes, c.scopes) {
		return &lack{scope: true, err: fmt.Errorf("want scopes %q", strings.Join(c.scopes, " "))}
	}
	if len(c.groups) > 0 && !intersects(id.Groups, c.groups) {
		return &lack{err: fmt.Errorf("want a group of %q, got groups %q", c.groups, clip(strings.Join(id.Groups, " "), 200))}
	}
	if l := c.lacksDomain(id); l != nil {
		return l
	}
	if err := c.lacksClaim(id); err != nil {
		return &lack{err: err}
	}
	return nil
}

// lacksDomain looks at the e-mail address, which counts only when the provider vouches for it
// (attack case O33): anybody can claim an address that nobody has verified.
func (c *conditions) lacksDomain(id *identity.Identity) *lack {
	if len(c.domains) == 0 {
		return nil
	}
	domain := domainOf(id.Email)
	if domain == "" || !slices.ContainsFunc(c.domains, func(d emailDomain) bool { return d.has(domain) }) {
		return &lack{err: fmt.Errorf("email: want another domain, got %q", clip(domain, 100))}
	}
	if !id.EmailVerified {
		return &lack{unproved: true, err: errors.New("email: nobody has verified it")}
	}
	return nil
}

func (c *conditions) lacksClaim(id *identity.Identity) error {
	if len(c.claims) == 0 {
		return nil
	}
	members, err := parseObject(id.Claims)
	if err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	for _, want := range c.claims {
		if !want.isIn(members) {
			return fmt.Errorf("claims: %s has none of the values wanted", want.name)
		}
	}
	return nil
}

// isIn says whether the claim, or a member of it when it is a list, has one of the values. Texts are
// compared as they are, booleans and numbers as they are written in JSON; what is neither, nested
// lists among it, equals nothing.
func (c claimCondition) isIn(members object) bool {
	raw, ok := members[c.name]
	if !ok {
		return false
	}
	if raw[0] != '[' {
		return c.equals(raw)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return false
	}
	return slices.ContainsFunc(list, c.equals)
}

func (c claimCondition) equals(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return false
	}
	switch raw[0] {
	case '"':
		var s string
		return json.Unmarshal(raw, &s) == nil && slices.Contains(c.values, s)
	case '{', '[', 'n':
		return false
	}
	return slices.Contains(c.values, string(raw))
}

// authorize returns why id may not make the request, or nil. It is the one place that decides it,
// for sessions and for tokens.
func (g *Gate) authorize(r *http.Request, host string, id *identity.Identity) *Error {
	if g.broken != nil {
		return fail(ReasonUnhandled, http.StatusInternalServerError, "", "rule: %w", g.broken)
	}
	l := g.cond.lacks(id)
	if l == nil && g.cond.expr != nil {
		f := &facts{request: r, host: host, id: id, client: g.opts.ClientIP, now: g.opts.Now()}
		if err := g.cond.expr.holds(r.Context(), f); err != nil {
			l = &lack{err: err}
		}
	}
	switch {
	case l == nil:
		return nil
	case g.rule.Mode == ModeToken:
		return g.forbiddenToken(id, l)
	default:
		return g.forbidden(r, host, id, l)
	}
}

// forbidden refuses somebody who is signed in, and offers to become somebody else.
func (g *Gate) forbidden(r *http.Request, host string, id *identity.Identity, l *lack) *Error {
	e := &Error{Reason: ReasonForbidden, Status: http.StatusForbidden, account: account(id), err: l.err}
	e.public = fmt.Sprintf("You are signed in as %s, and this account may not open this page.", e.account)
	if l.unproved {
		e.Reason = ReasonEmailNotVerified
		e.public = fmt.Sprintf("You are signed in as %s, and nobody has verified that this e-mail address is yours, which this page asks for.", e.account)
	}
	e.signOut = g.providers.switchPath(r, host)
	return e
}

// forbiddenToken refuses a token that is valid (RFC 6750 section 3.1). Only where scopes are lacking
// does it say so: a client that is told insufficient_scope asks for more of them, and with a group
// or a claim that would never end.
func (g *Gate) forbiddenToken(id *identity.Identity, l *lack) *Error {
	if l.scope {
		e := insufficientScope(g.cond.scopes)
		e.account = account(id)
		return e
	}
	e := &Error{
		Reason: ReasonForbidden, Status: http.StatusForbidden, Challenge: `Bearer realm="gatehouse"`,
		public: "The access token is valid, and its account may not use this address.", account: account(id), err: l.err,
	}
	if l.unproved {
		e.Reason = ReasonEmailNotVerified
	}
	return e
}
