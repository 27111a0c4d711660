package authn

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/authn/identity"
)

// Logout is what a hook learns of a sign-out. SessionID and Subject are empty when nobody was signed
// in, or when it is the provider that says so and names neither. Err says that the refresh token could
// not be revoked; the session is over all the same.
type Logout struct {
	SessionID  string
	Subject    string
	Everywhere bool // all sessions of the subject that there were
	Err        error
}

// EndpointOptions are the surroundings of the endpoints. The zero value is fine.
type EndpointOptions struct {
	// Cookies returns the cookies of a request, duplicates included; nil reads the Cookie header.
	Cookies func(*http.Request) []*http.Cookie
	// RequestID is shown on error pages.
	RequestID func(*http.Request) string
	// OnLogin is told of every login that succeeded.
	OnLogin func(context.Context, *identity.Identity)
	// OnLogout is told of every sign-out.
	OnLogout func(context.Context, Logout)
	// OnError is told why an endpoint answered with an error page.
	OnError func(context.Context, error)
	// OnRefresh is told of every call to the token endpoint that renews a session.
	OnRefresh func(context.Context, Refresh)
}

// endpoints are the pages of signing in and out.
type endpoints struct {
	providers Providers
	sessions  *Sessions
	opts      EndpointOptions
}

// Endpoints returns the handlers of signing in and out by their path: the callback, sign-in,
// sign-out, the pages after them, what scripts learn of the session, and where providers other than Cognito
// tell of sign-outs. They answer by themselves, errors included, and set their own Content-Security-Policy.
func Endpoints(ps Providers, s *Sessions, opts EndpointOptions) map[string]http.Handler {
	if opts.Cookies == nil {
		opts.Cookies = (*http.Request).Cookies
	}
	e, set := &endpoints{providers: ps, sessions: s, opts: opts}, ps.paths()
	handlers := map[string]http.Handler{
		set.callback:  http.HandlerFunc(e.callback),
		set.signIn:    http.HandlerFunc(e.signIn),
		set.signOut:   http.HandlerFunc(e.signOut),
		signedOutPath: http.HandlerFunc(e.signedOut),
		signedInPath:  http.HandlerFunc(e.signedIn),
		SessionPath:   http.HandlerFunc(e.session),
		SessionScript: script(),
	}
	if slices.ContainsFunc(ps, func(p *Provider) bool { return !p.set.cognito }) {
		handlers[BackchannelPath] = http.HandlerFunc(e.backchannel)
		handlers[frontchannelPath] = http.HandlerFunc(e.frontchannel)
	}
	return handlers
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	page{Title: "That does not work here", Text: []string{"This address takes " + strings.Join(methods, " and ") + " only."}}.
		write(w, r, http.StatusMethodNotAllowed)
	return false
}

// tooEarly refuses a browser that loads a link before it is followed: that must sign nobody in or out. It
// asks again when the link is.
func (e *endpoints) tooEarly(w http.ResponseWriter, r *http.Request) bool {
	if !ahead(r) {
		return false
	}
	e.fail(w, r, fail(ReasonBadRequest, http.StatusServiceUnavailable, "This address is not loaded ahead of time.",
		"loaded ahead of time"), nil)
	return true
}

// signIn begins a login and comes back to rd. The old session ends with the same answer, so that
// nobody looks at a sign-in page while still signed in (attack case O17).
func (e *endpoints) signIn(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if e.tooEarly(w, r) {
		return
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		e.fail(w, r, fail(ReasonBadRequest, http.StatusBadRequest, "Open this address in a window.",
			"sign-in: not a navigation"), nil)
		return
	}
	host := canonicalHost(r.Host)
	in, err := readSignIn(r.URL.RawQuery)
	if err != nil {
		e.fail(w, r, err, nil)
		return
	}
	back := e.returnPath(r.URL.RawQuery)
	sess, err := e.sessions.read(e.providers, host, e.opts.Cookies(r), e.sessions.now())
	signedIn := err == nil && sess != nil
	if signedIn && strayed(r, host) {
		// A link on another site ends nobody's session, and neither does a reload in a browser that
		// does not say where it comes from: who is signed in goes to the page.
		redirect(w, r, back)
		return
	}
	at := e.choices(in.providers, host)
	if len(at) > 1 {
		e.choose(w, r, at, host, back, in.want)
		return
	}
	location, cookie, err := e.sessions.begin(r, at[0], back, e.opts.Cookies(r),
		beginning{all: e.providers, want: in.want, again: signedIn})
	if err != nil {
		if cookie != "" {
			w.Header().Add("Set-Cookie", cookie)
		}
		e.fail(w, r, err, nil)
		return
	}
	if !in.want.any() { // whoever only confirms who they are stays signed in until they have
		e.sessions.forget(e.providers, host, e.opts.Cookies(r))
		for _, line := range e.sessions.clear {
			w.Header().Add("Set-Cookie", line)
		}
	}
	w.Header().Add("Set-Cookie", cookie)
	redirect(w, r, location)
}

// returnPath reads rd. Our own endpoints are no place to come back to: signing in would sign out,
// or never end.
func (e *endpoints) returnPath(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil || len(values["rd"]) != 1 {
		return "/"
	}
	return e.notOurs(SafeReturn(values["rd"][0]))
}

// notOurs returns back, or "/" when it is one of our own endpoints.
func (e *endpoints) notOurs(back string) string {
	p, _, _ := strings.Cut(back, "?")
	if plain, err := url.PathUnescape(p); err == nil {
		p = plain
	}
	switch set := e.providers.paths(); p {
	case set.callback, set.signIn, set.signOut, signedOutPath, SessionPath, SessionScript, BackchannelPath, frontchannelPath:
		return "/"
	}
	return back
}

// signOut ends the session. Since a link on another site could do that to people, a request that
// did not come from here gets a page that asks.
func (e *endpoints) signOut(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	if e.tooEarly(w, r) {
		return
	}
	host := canonicalHost(r.Host)
	next, everywhere := e.switching(r), wantsEverywhere(r)
	if r.Method == http.MethodHead || !ownRequest(r, host) || everywhere && !fromPage(r) {
		e.askToSignOut(w, r, host, next)
		return
	}
	out, p, idToken := e.end(r, host, everywhere)
	for _, line := range e.sessions.clear {
		w.Header().Add("Set-Cookie", line)
	}
	w.Header().Add("Set-Cookie", setCookie(e.sessions.set.cookie, "", 0, e.sessions.set.sameSite))
	w.Header().Add("Set-Cookie", e.sessions.switchCookie(next))
	if line, err := e.sessions.setPending(host, loginCookie{}); err == nil {
		w.Header().Add("Set-Cookie", line)
	}
	if e.opts.OnLogout != nil {
		e.opts.OnLogout(r.Context(), out)
	}
	location := ""
	if p != nil {
		location = p.signOutURL(p.live.Load(), host, idToken, e.logoutState(host))
	}
	if location == "" {
		location = signedOutPath
	}
	redirect(w, r, location)
}

// strayed says whether nothing shows that a sign-in was meant. Browsers without Fetch Metadata only
// have the Referer to show it.
func strayed(r *http.Request, host string) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	case "":
		return r.Header.Get("Sec-Fetch-Mode") == "" && navigation(r) && !ownRequest(r, host)
	}
	return false
}

// ownRequest says whether a request to sign out, or in again, was meant: a browser says that it came from a page
// of this host or was typed, or, when it says nothing, the Origin or the Referer do. A POST of a
// client that sends none of these is not a browser's.
func ownRequest(r *http.Request, host string) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return r.Header.Get("Sec-Fetch-Mode") != "no-cors"
	case "":
	default:
		return false
	}
	if len(r.Header["Origin"]) > 0 {
		return !crossOrigin(r, host)
	}
	if referer := r.Header.Get("Referer"); referer != "" {
		u, err := url.Parse(referer)
		return err == nil && u.Host != "" && canonicalHost(u.Host) == host
	}
	return r.Method == http.MethodPost
}

// end ends the session of a request, and returns the provider that has to forget it too: that of the
// session. Without one it is the only one that there is, or nil.
func (e *endpoints) end(r *http.Request, host string, everywhere bool) (out Logout, p *Provider, idToken string) {
	out, sess := e.sessions.signOut(r, e.providers, host, e.opts.Cookies(r), everywhere)
	if sess != nil {
		return out, e.providers.of(sess), sess.idToken
	}
	if len(e.providers) == 1 {
		p = e.providers[0]
	}
	return out, p, ""
}

func (e *endpoints) signedOut(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if back := e.switched(r); back != "" && navigation(r) {
		w.Header().Add("Set-Cookie", e.sessions.switchCookie(""))
		redirect(w, r, e.switchSignIn(back))
		return
	}
	host := canonicalHost(r.Host)
	text := "Your session on " + host + " has ended. You can close this window."
	switch e.returned(r.URL.RawQuery, host) {
	case returnedOurs:
		text = "Your session on " + host + " and the one at the sign-in service have ended. You can close this window."
	case returnedOther:
		e.fail(w, r, fail(ReasonBadRequest, http.StatusBadRequest,
			"This is not the end of a sign-out that was begun here. You may still be signed in.", "signed out: state is not ours"),
			func(p *page) {
				p.Title, p.Label, p.Href = "Signing out did not work", "Sign out", e.providers.paths().signOut
			})
		return
	}
	page{
		Title: "You are signed out", Text: []string{text}, Label: "Sign in again", Href: e.providers.paths().signIn,
		Script: SessionScript, // tells the other tabs
	}.write(w, r, http.StatusOK)
}

// fail answers with a page that says what went wrong and offers to try again.
func (e *endpoints) fail(w http.ResponseWriter, r *http.Request, err error, change func(*page)) {
	if e.opts.OnError != nil {
		e.opts.OnError(r.Context(), err)
	}
	p := page{Title: "Signing in did not work", Label: "Try again", Href: e.providers.paths().signIn}
	status := http.StatusInternalServerError
	var refusal *Error
	if errors.As(err, &refusal) {
		refusal.Header(w.Header())
		status, p.Reason = refusal.Status, refusal.Reason
		if refusal.public != "" {
			p.Text = []string{strings.TrimPrefix(refusal.public, p.Title+". ")}
		}
		if refusal.offer != "" {
			p.Label, p.Href = refusal.offer, refusal.offerHref
		}
	}
	if e.opts.RequestID != nil {
		p.RequestID = e.opts.RequestID(r)
	}
	if change != nil {
		change(&p)
	}
	p.write(w, r, status)
}
