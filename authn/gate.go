package authn

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatehouse/authn/identity"
)

// Modes of a Rule.
const (
	// ModeAuthenticate signs people in.
	ModeAuthenticate = "authenticate"
	// ModeAllow lets everybody pass, and says who it is when somebody is signed in.
	ModeAllow = "allow"
	// ModeDeny answers 401 to requests without a session. As with ALB, a browser whose session has
	// ended is sent to sign in instead.
	ModeDeny = "deny"
	// ModeToken wants a bearer access token and looks at no cookie.
	ModeToken = "token"
)

// Rule is who may pass. The zero value signs people in and then lets all of them pass. Of the
// conditions that are given all must hold.
type Rule struct {
	Mode   string   // one of the modes; "" is ModeAuthenticate, and an unknown one lets nobody pass
	Groups []string // any one of them; none means no group is asked for
	Scopes []string // all of them

	// Providers are the names of those who may vouch for the person or token; none means those for the
	// host.
	Providers []string
	// StepUp is what is asked of how and when the person signed in.
	StepUp StepUp

	// Claims are names of claims and the values of which each must have one; a claim that is a list
	// must have one among its members. They are those of the identity, which the application gets.
	Claims map[string][]string
	// EmailDomains are domains at one of which the e-mail address must be, and verified:
	// "example.com" itself, "*.example.com" those below it.
	EmailDomains []string
	// Expr is a CEL expression of type bool over identity and request that must be true.
	Expr string
}

// Validate reports what is wrong with the rule.
func (r Rule) Validate(report func(field, msg string)) {
	switch r.Mode {
	case "", ModeAuthenticate, ModeDeny, ModeToken:
	case ModeAllow:
		if r.conditional() {
			report("", "groups, scopes, claims, email_domains and expr want somebody signed in, and this lets everybody pass")
		}
	default:
		report("mode", fmt.Sprintf("want authenticate, allow, deny or token, got %q", r.Mode))
	}
	if r.Mode == ModeAllow && r.StepUp.any() {
		report("", "acr, max_age and prompt want somebody signed in, and this lets everybody pass")
	}
	if r.Mode == ModeToken && r.StepUp.Prompt != "" {
		report("prompt", "a token's client shows no page: want acr or max_age")
	}
	r.StepUp.Validate(report)
	for i, g := range r.Groups {
		if g == "" {
			report(fmt.Sprintf("groups[%d]", i), "want the name of a group")
		}
	}
	for i, s := range r.Scopes {
		if !validScope(s) {
			report(fmt.Sprintf("scopes[%d]", i), fmt.Sprintf("want one scope without blanks, got %q", s))
		}
	}
	r.validateConditions(report)
}

// GateOptions are the surroundings of a Gate. Deny is required.
type GateOptions struct {
	// Deny answers a request that is refused. Headers that belong to the refusal, such as
	// WWW-Authenticate and Retry-After, are set already.
	Deny func(http.ResponseWriter, *http.Request, error)
	// Cookies returns the cookies of a request, duplicates included; nil reads the Cookie header.
	Cookies func(*http.Request) []*http.Cookie
	// OnIdentity is told who makes a request, before it goes on.
	OnIdentity func(context.Context, *identity.Identity)
	// OnRefresh is told of every call to the token endpoint that renews a session.
	OnRefresh func(context.Context, Refresh)
	// OnRefuse is told why the gate answered by itself, with a redirect to the provider or with
	// 401 and the address of the sign-in; Deny is not called then.
	OnRefuse func(context.Context, error)
	// RequestID is put into answers that the gate writes itself.
	RequestID func(*http.Request) string
	// Now is the clock; nil is that of the sessions.
	Now func() time.Time
	// ClientIP is who makes a request, for expressions; nil leaves request.client empty.
	ClientIP func(*http.Request) netip.Addr
	// Tokens says whose bearer tokens are taken with ModeToken; when it names nobody, those of the
	// providers.
	Tokens Tokens
}

// Gate lets requests pass that satisfy a rule. It is safe for concurrent use.
type Gate struct {
	providers Providers
	sessions  *Sessions
	rule      Rule
	opts      GateOptions
	cond      *conditions // of the rule
	broken    error       // why there are none
}

// NewGate returns a gate; there is one for each route and generation. Of the providers
// there is one at least, also those that the route does not take: their sessions are known here too.
// A rule that does not validate lets nobody pass.
// With ModeToken and issuers there need be neither providers nor sessions.
func NewGate(ps Providers, s *Sessions, rule Rule, opts GateOptions) *Gate {
	if opts.Cookies == nil {
		opts.Cookies = (*http.Request).Cookies
	}
	if opts.Now == nil && s != nil {
		opts.Now = s.now
	} else if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Tokens.Issuers == nil && opts.Tokens.Logins == nil {
		opts.Tokens.Logins = ps
	}
	g := &Gate{providers: ps, sessions: s, rule: rule, opts: opts}
	g.cond, g.broken = rule.compile()
	if rule.Mode == ModeToken && opts.Tokens.Compat != "" && g.broken == nil {
		g.cond.scopes = nil // a matter of the dialect, which has looked at them before
	}
	return g
}

// Decision is what a gate thinks of a request.
type Decision struct {
	// Identity is who makes the request; nil is nobody.
	Identity *identity.Identity
	// Cookies are Set-Cookie lines for the answer: a renewed session, or the end of one that is not
	// valid.
	Cookies []string
	// Login says that signing in would help.
	Login bool

	at   Providers // where
	told bool      // a person reads why before they are sent there
}

// Check decides about a request and writes nothing to the client. An error is a refusal, an *Error
// but for the context's own. It may call the provider, to renew an access token or to fetch keys.
func (g *Gate) Check(r *http.Request) (Decision, error) {
	switch g.rule.Mode {
	case "", ModeAuthenticate, ModeAllow, ModeDeny:
		return g.checkSession(r)
	case ModeToken:
		id, err := g.checkToken(r)
		return Decision{Identity: id}, err
	}
	return Decision{}, fail(ReasonUnhandled, http.StatusInternalServerError, "", "rule: unknown mode %q", g.rule.Mode)
}

func (g *Gate) checkToken(r *http.Request) (*identity.Identity, error) {
	id, err := g.opts.Tokens.check(r, g.rule.Scopes, g.rule.Providers)
	if err != nil {
		return nil, err
	}
	if refusal := g.authorize(r, canonicalHost(r.Host), id); refusal != nil {
		return nil, refusal
	}
	if now := g.opts.Now(); g.rule.StepUp.any() {
		if short := g.rule.StepUp.lacks(id, now); short != "" {
			return nil, g.rule.StepUp.tokenRefusal(short, id, now)
		}
	}
	return id, nil
}

func (g *Gate) checkSession(r *http.Request) (Decision, error) {
	host := canonicalHost(r.Host)
	sess, d, err := g.session(r, host)
	if err != nil {
		return d, err
	}
	if sess == nil {
		return g.nobody(d, host)
	}
	if !g.providers.takes(g.providers.of(sess), g.rule.Providers, host) {
		return g.elsewhere(r, d, sess, host)
	}
	if webSocket(r) && crossOrigin(r, host) {
		return d, errCrossOrigin
	}
	id := sess.identity
	if refusal := g.authorize(r, host, id); refusal != nil {
		return d, refusal
	}
	if now := g.opts.Now(); g.rule.StepUp.any() {
		if short := g.rule.StepUp.lacks(id, now); short != "" {
			d.Login, d.at = true, Providers{g.providers.of(sess)}
			return d, g.rule.StepUp.refusal(short, id, now)
		}
	}
	d.Identity = id
	return d, nil
}

// session reads the session of the request, and renews its access token when that is due. Without
// one it returns nil; the decision then has Cookies when cookies came that are none.
func (g *Gate) session(r *http.Request, host string) (*session, Decision, error) {
	now := g.opts.Now()
	sess, err := g.sessions.read(g.providers, host, g.opts.Cookies(r), now)
	if err != nil {
		return nil, Decision{Cookies: g.sessions.clear}, nil
	}
	if sess == nil || !sess.due(now.Unix()) {
		return sess, Decision{}, nil
	}
	next, cookies, err := g.sessions.renew(r.Context(), g.providers.of(sess), host, sess, g.opts.OnRefresh)
	switch {
	case g.sessions.over(sess), loginOver(err):
		return nil, Decision{Cookies: g.sessions.clear}, nil
	case err == nil:
		return next, Decision{Cookies: cookies}, nil
	case r.Context().Err() != nil:
		return nil, Decision{}, &Error{
			Reason: ReasonTokenTimeout, Status: http.StatusServiceUnavailable, RetryAfter: retryAfter,
			err: fmt.Errorf("waiting for a refresh: %w", err),
		}
	case g.sessions.set.refuse:
		return nil, Decision{}, &Error{
			Reason: ReasonProviderUnavailable, Status: http.StatusServiceUnavailable, RetryAfter: retryAfter,
			public: "Your session cannot be renewed at the moment. Please try again shortly.", err: err,
		}
	}
	return sess, Decision{}, nil
}

// nobody decides about a request without a valid session. Whether cookies came that are none is all
// that it may tell apart: why they are none stays ours (attack case O21).
func (g *Gate) nobody(d Decision, host string) (Decision, error) {
	switch g.rule.Mode {
	case ModeAllow:
		if !g.rule.conditional() {
			return d, nil
		}
	case ModeDeny:
		d.Login, d.at = d.Cookies != nil, g.providers.taken(g.rule.Providers, host)
		return d, errUnauthenticated
	}
	d.Login, d.at = true, g.providers.taken(g.rule.Providers, host)
	return d, errUnauthenticated
}

// account is the name of an identity for people.
func account(id *identity.Identity) string {
	return clip(cmp.Or(id.Email, id.Username, id.Subject), 120)
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// Wrap returns a handler that lets next have the requests that may pass, with the identity in their
// context, and answers the others.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := g.Check(r)
		for _, line := range d.Cookies {
			w.Header().Add("Set-Cookie", line)
		}
		if err != nil {
			g.refuse(w, r, d, err)
			return
		}
		if d.Identity != nil {
			ctx := identity.NewContext(r.Context(), d.Identity)
			if g.opts.OnIdentity != nil {
				g.opts.OnIdentity(ctx, d.Identity)
			}
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, d Decision, err error) {
	switch {
	case d.Login && !navigation(r):
		down := d.at.awake(r.Context())
		if down == nil {
			g.told(r, err)
			g.askToLogin(w, r, d, err)
			return
		}
		err = down // an address to sign in at that does not load would help nobody
	case d.Login && !d.told:
		beginErr := g.begin(w, r, d, err)
		if beginErr == nil {
			return
		}
		err = beginErr
	}
	if e, ok := errors.AsType[*Error](err); ok {
		if g.rule.Mode == ModeToken && g.opts.Tokens.asAPIGateway() {
			g.answerAPIGateway(w, r, e)
			return
		}
		e.Header(w.Header())
	}
	g.opts.Deny(w, r, err)
}

// begin sends a browser to the provider, or to the chooser where there are several, which has headers of
// its own and not those of the route's pages. With an error no login has begun.
func (g *Gate) begin(w http.ResponseWriter, r *http.Request, d Decision, cause error) error {
	switch len(d.at) {
	case 0:
		return errNoProvider
	case 1:
		e, ok := errors.AsType[*Error](cause)
		location, cookie, err := g.sessions.begin(r, d.at[0], ownReturn(r), g.opts.Cookies(r),
			beginning{all: g.providers, want: g.rule.StepUp, again: ok && e.Reason == ReasonStepUp})
		if cookie != "" {
			w.Header().Add("Set-Cookie", cookie)
		}
		if err != nil {
			return err
		}
		g.told(r, cause)
		redirect(w, r, location)
	default:
		g.told(r, cause)
		redirect(w, r, g.providers.signInPath(d.at, SafeReturn(ownReturn(r)), g.rule.StepUp))
	}
	return nil
}

func (g *Gate) told(r *http.Request, err error) {
	if g.opts.OnRefuse != nil {
		g.opts.OnRefuse(r.Context(), err)
	}
}

// askToLogin answers a script: it can open the address in a window, but would get nowhere by
// following a redirect to another origin.
func (g *Gate) askToLogin(w http.ResponseWriter, r *http.Request, d Decision, cause error) {
	answer := struct {
		Error     string `json:"error"`
		Status    int    `json:"status"`
		LoginURL  string `json:"login_url"`
		RequestID string `json:"request_id,omitempty"`
	}{
		Error: "unauthenticated", Status: http.StatusUnauthorized,
		LoginURL: g.providers.signInPath(d.at, pageOf(r, canonicalHost(r.Host)), g.rule.StepUp),
	}
	if e, ok := errors.AsType[*Error](cause); ok && e.Reason == ReasonStepUp {
		answer.Error = "insufficient_user_authentication" // as RFC 9470 calls it
	}
	if g.opts.RequestID != nil {
		answer.RequestID = g.opts.RequestID(r)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		g.opts.Deny(w, r, err)
		return
	}
	errUnauthenticated.Header(w.Header())
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusUnauthorized)
	if r.Method != http.MethodHead {
		w.Write(append(body, '\n'))
	}
}

// redirect sends a browser elsewhere: 302 as ALB does, and 303 where 302 would leave open whether
// the method stays (RFC 9110 section 15.4.4). location is made of escaped parts only; should a
// line break have got into it all the same, nothing is sent.
func redirect(w http.ResponseWriter, r *http.Request, location string) {
	if strings.ContainsAny(location, "\r\n") {
		http.Error(w, "bad redirect", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		w.WriteHeader(http.StatusFound)
		return
	}
	w.WriteHeader(http.StatusSeeOther)
}
