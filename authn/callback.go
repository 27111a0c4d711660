package authn

import (
	"errors"
	"net/http"
	"net/url"
	"time"
)

// maxParam bounds each parameter of the callback.
const maxParam = 8 << 10

// answerParams is what the provider sent back (RFC 6749 section 4.1.2).
type answerParams struct {
	code, state, iss  string
	err, errorMessage string
}

// readAnswer refuses what has two readings before anything else looks at it (attack case O14).
func readAnswer(query string) (answerParams, *Error) {
	const public = "The answer of the sign-in service cannot be read."
	values, err := url.ParseQuery(query)
	if err != nil {
		return answerParams{}, fail(ReasonBadRequest, http.StatusBadRequest, public, "callback: malformed query")
	}
	var a answerParams
	for name, field := range map[string]*string{
		"code": &a.code, "state": &a.state, "iss": &a.iss, "error": &a.err, "error_description": &a.errorMessage,
	} {
		list := values[name]
		if len(list) > 1 || len(list) == 1 && len(list[0]) > maxParam {
			return answerParams{}, fail(ReasonBadRequest, http.StatusBadRequest, public, "callback: %s: want one, got %d", name, len(list))
		}
		if len(list) == 1 {
			*field = list[0]
		}
	}
	return a, nil
}

// callback ends a login. The order of the checks is ALB's; the code is spent last.
func (e *endpoints) callback(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet) {
		return
	}
	host := canonicalHost(r.Host)
	if host == "" {
		e.fail(w, r, fail(ReasonMissingHost, http.StatusUnauthorized, publicTryAgain, "callback: no Host"), nil)
		return
	}
	a, refusal := readAnswer(r.URL.RawQuery)
	if refusal != nil {
		e.fail(w, r, refusal, nil)
		return
	}
	jar := e.sessions.pending(host, e.opts.Cookies(r))
	ticket, index := e.sessions.openTicket(a.state), -1
	if ticket != nil {
		index = jar.logins.find(ticket.state)
	}
	if index >= 0 && (jar.logins[index].expired(e.sessions.now()) || e.providers.begun(&jar.logins[index]) == nil) {
		index = -1 // the latter when a reload took the provider away
	}
	switch {
	case a.err != "":
		e.providerError(w, r, host, a, jar, index)
		return
	case a.state == "":
		refusal = fail(ReasonMissingState, http.StatusBadRequest, publicTryAgain, "callback: no state")
	case a.code == "":
		refusal = fail(ReasonMissingCode, http.StatusBadRequest, publicTryAgain, "callback: no code")
	case index < 0:
		if !e.late(w, r, host, ticket) {
			e.startOver(w, r, host, ticket, jar)
		}
		return
	}
	if refusal != nil {
		e.fail(w, r, refusal, e.tryAgain(e.sessions.wanted(ticket)))
		return
	}
	e.finish(w, r, host, a, ticket, jar, index)
}

// startOver answers a callback whose login is not under way in this browser, and where nobody is signed
// in: its cookie gave way to later tabs, or the sign-in page was open for longer than the cookie
// lives. The code is not redeemed, since it may be that of another browser. But the provider knows
// who is there by now, so a new login to the same page ends at once. The ticket counts how often
// that is tried.
func (e *endpoints) startOver(w http.ResponseWriter, r *http.Request, host string, t *ticket, jar loginCookie) {
	back := e.sessions.wanted(t)
	err := error(stateRefusal(jar.present, jar.opened))
	var p *Provider
	if t != nil {
		p = e.providers.marked(t.provider)
	}
	if p != nil && navigation(r) {
		err = e.mayTryAgain(host, t, jar)
	}
	if err == nil {
		var location, cookie string
		location, cookie, err = e.sessions.begin(r, p, back, e.opts.Cookies(r), beginning{all: e.providers, rounds: t.rounds + 1})
		if cookie != "" {
			w.Header().Add("Set-Cookie", cookie)
		}
		if err == nil {
			redirect(w, r, location)
			return
		}
	}
	e.fail(w, r, err, e.tryAgain(back))
}

// mayTryAgain says why a login is not begun anew; nil is that it is.
func (e *endpoints) mayTryAgain(host string, t *ticket, jar loginCookie) error {
	now := e.sessions.now()
	switch early := time.Duration(t.begun-now.Unix()) * time.Second; {
	case t.host != host:
		return otherHost(t.host, host)
	case early > skew:
		return clockWrong(-early, "that of the server that sent you to sign in", "a login under way")
	case t.rounds > 0 && !jar.present:
		return cookieLost("of the login", host) // it was set with the answer just before
	case t.rounds+1 >= maxRounds && !jar.opened:
		return loop("Your browser sent our cookie back, but this server cannot open it: the servers behind this name do not "+
			"share one secret, or your browser sends two cookies under one name.", "the login cookie does not open")
	case t.rounds+1 >= maxRounds:
		return loop("Your browser sends back an older cookie than the one that it was given.", "the login cookie holds other logins")
	}
	return nil
}

func stateRefusal(present, opened bool) *Error {
	const public = "This sign-in was not begun in this browser, or it took longer than 15 minutes."
	switch {
	case !present:
		return fail(ReasonMissingLoginCookie, http.StatusUnauthorized, public, "callback: no login cookie")
	case !opened:
		return fail(ReasonInvalidLoginCookie, http.StatusUnauthorized, public, "callback: the login cookie does not open")
	}
	return fail(ReasonInvalidState, http.StatusUnauthorized, public, "callback: state is not that of a login under way")
}

// late handles a callback whose login is not under way any more. Somebody who is signed in by now,
// because they used the back button or finished in another tab, just goes to their page.
func (e *endpoints) late(w http.ResponseWriter, r *http.Request, host string, t *ticket) bool {
	sess, err := e.sessions.read(e.providers, host, e.opts.Cookies(r), e.sessions.now())
	if err != nil || sess == nil {
		return false
	}
	redirect(w, r, e.sessions.wanted(t))
	return true
}

// providerError shows what the provider refused. Its description is shown only to a browser that
// has this login under way: anybody can make a link with a text of their own.
func (e *endpoints) providerError(w http.ResponseWriter, r *http.Request, host string, a answerParams, jar loginCookie, index int) {
	refusal := fail(ReasonProviderError, http.StatusUnauthorized, "The sign-in service did not sign you in.",
		"callback: the provider answered %q", clip(a.err, 60))
	switch a.err {
	case "access_denied":
		refusal.Status = http.StatusForbidden
	case "server_error", "temporarily_unavailable":
		refusal.Status, refusal.RetryAfter = http.StatusBadGateway, retryAfter
	}
	if index < 0 {
		e.fail(w, r, refusal, nil)
		return
	}
	login := jar.logins[index]
	jar.logins = jar.logins.without(index)
	e.setPending(w, host, jar)
	e.fail(w, r, refusal, func(p *page) {
		p.Quote = clip(a.errorMessage, 200)
		e.anew(&login)(p)
	})
}

// tryAgain makes the link of an error page begin the login anew, to the same page.
func (e *endpoints) tryAgain(back string) func(*page) {
	return func(p *page) {
		if back = SafeReturn(back); back != "/" {
			p.Href = withQuery(e.providers.paths().signIn, []param{{"rd", back}})
		}
	}
}

// anew is tryAgain for a login that is known: it begins at the same provider and wants the same.
func (e *endpoints) anew(login *pendingLogin) func(*page) {
	at := e.providers.begun(login)
	if at == nil || len(e.providers) == 1 && !login.want.any() {
		return e.tryAgain(login.back)
	}
	return func(p *page) { p.Href = e.providers.signInPath(Providers{at}, SafeReturn(login.back), login.want) }
}

func (e *endpoints) setPending(w http.ResponseWriter, host string, jar loginCookie) {
	if line, err := e.sessions.setPending(host, jar); err == nil {
		w.Header().Add("Set-Cookie", line)
	}
}

// finish redeems the code and makes the session.
func (e *endpoints) finish(w http.ResponseWriter, r *http.Request, host string, a answerParams, t *ticket, jar loginCookie, index int) {
	login, now := jar.logins[index], e.sessions.now()
	jar.logins = jar.logins.without(index).live(now)
	lines, sess, err := e.login(r, host, a, &login)
	if err != nil {
		if errors.Is(err, errUsed) && e.late(w, r, host, t) {
			return
		}
		e.setPending(w, host, jar)
		e.fail(w, r, err, e.anew(&login))
		return
	}
	if e.overtaken(r, host, &login, sess) {
		e.setPending(w, host, jar)
		redirect(w, r, login.back)
		return
	}
	// The session that this browser had before is over: its id does not live on (O16).
	if !e.sessions.forget(e.providers, host, e.opts.Cookies(r)) {
		jar.trail = jar.trail.next(now)
	}
	for _, line := range lines {
		w.Header().Add("Set-Cookie", line)
	}
	e.setPending(w, host, jar)
	if e.opts.OnLogin != nil {
		e.opts.OnLogin(r.Context(), sess.identity)
	}
	if e.sessions.set.sameSite == "Strict" {
		// A browser does not send a Strict cookie along the redirect of another site, so the way is
		// broken here by a page of ours.
		page{Title: "Signed in", Label: "Continue", Href: login.back, Refresh: login.back}.write(w, r, http.StatusOK)
		return
	}
	redirect(w, r, login.back)
}

// overtaken says that the same person has signed in in another tab since this login began. That
// session stays: requests of the other tabs are under way with it, and would come to a session that
// is over.
func (e *endpoints) overtaken(r *http.Request, host string, login *pendingLogin, sess *session) bool {
	other, err := e.sessions.read(e.providers, host, e.opts.Cookies(r), e.sessions.now())
	return err == nil && other != nil && other.start > login.started && !login.want.any() &&
		other.subject == sess.subject && other.provider == sess.provider
}

// login does steps 5 to 10 of ALB's list. Which provider it is says the login that was begun, and
// nothing that came back: the code of another is redeemed where it is worth nothing, since each of
// several has a client secret (RFC 9700 section 4.4).
func (e *endpoints) login(r *http.Request, host string, a answerParams, login *pendingLogin) ([]string, *session, error) {
	p, s := e.providers.begun(login), e.sessions
	c, err := p.connected()
	if err != nil {
		return nil, nil, err
	}
	if (a.iss != "" || c.issParam) && a.iss != p.set.issuer {
		return nil, nil, fail(ReasonInvalidState, http.StatusUnauthorized, publicTryAgain,
			"callback: iss: want %q, got %q (RFC 9207)", p.set.issuer, clip(a.iss, 200))
	}
	if !s.spend(login) {
		return nil, nil, errUsed
	}
	t, err := p.exchange(r.Context(), c, host, a.code, login)
	if err != nil {
		return nil, nil, err
	}
	if err := login.want.verify(t.id, s.now()); err != nil {
		return nil, nil, err
	}
	info := t.id.raw
	if c.userinfo != "" {
		if info, err = p.userinfo(r.Context(), c, t.access, t.id.subject); err != nil {
			return nil, nil, err
		}
	}
	if err := checkForwarded(p.asserted(c, t, info), t.access); err != nil {
		return nil, nil, err
	}
	sess, err := s.newSession(p, c, t, info)
	if err != nil {
		return nil, nil, err
	}
	lines, err := s.write(p, host, sess)
	return lines, sess, err
}

// errUsed is a callback that has been before.
var errUsed = fail(ReasonInvalidState, http.StatusUnauthorized,
	"This sign-in has been finished already.", "callback: state was used before")
