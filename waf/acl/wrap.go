package acl

import (
	"context"
	"net/http"
	"strconv"
)

// evaluationKey is the context key of the evaluation of a request that rule groups inspect.
type evaluationKey struct{}

// Around returns the guard that evaluates a request by the rules before next sees it, with the guard that has the rule groups
// inspect it, which may be nil, where the rules say. A request that is refused never reaches next.
//
// Next gets a request whose body is byte for byte as it came. Headers that rules insert are in it, and only in it: neither rules
// nor rule groups see them.
func (a *ACL) Around(groups func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var inspected http.Handler // where nothing comes after the groups
		var between http.Handler   // where something does
		if groups != nil {
			inspected = groups(next)
			between = groups(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				e, _ := r.Context().Value(evaluationKey{}).(*evaluation)
				e.req = r
				a.proceed(w, r, e, next, nil, nil)
			}))
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e, _ := a.pool.Get().(*evaluation)
			*e = evaluation{}
			e.acl, e.req, e.client = a, r, a.opts.ClientIP(r)
			e.decision.Mode = a.mode
			defer a.finish(e, r)
			if a.tokens {
				a.askToken(e)
			}
			a.proceed(w, r, e, next, inspected, between)
		})
	}
}

// proceed does what is decided, or goes on to the rule groups and from there.
func (a *ACL) proceed(w http.ResponseWriter, r *http.Request, e *evaluation, next, inspected, between http.Handler) {
	switch a.decide(e) {
	case pass:
		a.report(e, r)
		next.ServeHTTP(w, e.request(r, e.decision.Inserted))
	case refuse:
		a.report(e, r)
		a.refuse(w, r, e)
	case challenge:
		a.report(e, r)
		a.opts.Challenger.Challenge(w, r, &Blocked{Rule: e.decision.Rule, Status: http.StatusForbidden})
	case inspect:
		switch {
		case inspected == nil:
			a.proceed(w, r, e, next, nil, nil) // there are no groups
		case e.next == len(a.rules) && !a.block && len(e.decision.Inserted) == 0:
			a.report(e, r)
			inspected.ServeHTTP(w, e.request(r, nil))
		default:
			r = e.request(r, nil)
			between.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), evaluationKey{}, e)))
		}
	case fail:
		a.report(e, r)
		a.opts.Deny(w, r, e.failed)
	}
}

// request is r with the body that was read in front of what was not, and with the headers that rules insert.
func (e *evaluation) request(r *http.Request, insert []Inserted) *http.Request {
	replace := e.body != nil && e.body.rest != nil && e.body.err == nil && !e.replaced
	if !replace && len(insert) == 0 {
		return r
	}
	r2 := *r
	if replace {
		r2.Body, e.replaced = e.body, true
	}
	// A client whose body was read has been told to go on (RFC 9110 section 10.1.1), so that nobody has to wait for the upstream's word.
	_, expects := r.Header["Expect"]
	met := expects && replace && e.body.begun
	if len(insert) > 0 || met {
		r2.Header = r.Header.Clone()
		if met {
			r2.Header.Del("Expect")
		}
		for _, h := range insert {
			r2.Header[h.Name] = []string{h.Value}
		}
	}
	return &r2
}

// report tells of the decision, once.
func (a *ACL) report(e *evaluation, r *http.Request) {
	if e.reported {
		return
	}
	e.reported = true
	if a.opts.OnDecision != nil {
		e.decision.Labels = e.labels
		a.opts.OnDecision(r.Context(), &e.decision)
	}
}

// finish ends an evaluation. What was not reported was refused by the rule groups.
func (a *ACL) finish(e *evaluation, r *http.Request) {
	a.report(e, r)
	e.pay()
	if e.body != nil {
		e.body.free()
	}
	a.pool.Put(e)
}

// refuse answers a request that a rule refuses.
func (a *ACL) refuse(w http.ResponseWriter, r *http.Request, e *evaluation) {
	blocked := &Blocked{Rule: e.decision.Rule, Status: http.StatusForbidden}
	if e.rule == nil || e.rule.respond == nil {
		a.opts.Deny(w, r, blocked)
		return
	}
	answer := e.rule.respond
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	for _, field := range answer.headers {
		h[field.name] = []string{field.value}
	}
	bodiless := answer.status == http.StatusNoContent || answer.status == http.StatusNotModified
	if !bodiless {
		if answer.body != "" {
			h.Set("Content-Type", answer.kind)
		}
		h.Set("Content-Length", strconv.Itoa(len(answer.body)))
	}
	w.WriteHeader(answer.status)
	if !bodiless && r.Method != http.MethodHead {
		_, _ = w.Write([]byte(answer.body)) // the client may have left; there is nobody to tell
	}
}

// AddLabels puts labels on the request of ctx, for the rules that come after the rule groups. Where there are none it does
// nothing.
func AddLabels(ctx context.Context, labels ...string) {
	e, ok := ctx.Value(evaluationKey{}).(*evaluation)
	if !ok {
		return
	}
	for _, label := range labels {
		e.addLabel(label)
	}
}
