package authn

import (
	"net/http"
	"net/url"
	"time"
)

// Who is refused may want to be somebody else. That takes three steps, because signing in again
// alone would bring the same account back: the provider remembers it. Our session ends, the provider
// ends its own, and when the browser comes back from there a login begins that returns to the page.
// The page travels in a cookie: Cognito sends browsers only to a sign-out address that is listed,
// byte for byte (https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html).

const (
	// switchParam is the parameter of the sign-out address: the page to open as somebody else.
	switchParam = "sign_in"
	// switchTimeout is how long leaving the provider may take, a question there included.
	switchTimeout = 5 * time.Minute
)

// switchPath returns the address that signs out and then in again to come back to the page of r.
func (ps Providers) switchPath(r *http.Request, host string) string {
	back := pageOf(r, host)
	if navigation(r) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		back = SafeReturn(ownReturn(r))
	}
	return ps.signOutPath(back)
}

// signOutPath returns the address that signs out, and then in again for the page next unless that is "".
func (ps Providers) signOutPath(next string) string {
	if next == "" {
		return ps.paths().signOut
	}
	return withQuery(ps.paths().signOut, []param{{switchParam, next}})
}

func (s *Sessions) switchName() string { return s.set.cookie + "-switch" }

// switchCookie returns the Set-Cookie line that keeps the page; with "" it deletes it.
func (s *Sessions) switchCookie(back string) string {
	sameSite := "Lax" // Strict would keep it from coming back with the provider's redirect
	if s.set.sameSite == "None" {
		sameSite = "None"
	}
	if back == "" {
		return setCookie(s.switchName(), "", 0, sameSite)
	}
	return setCookie(s.switchName(), url.QueryEscape(back), switchTimeout, sameSite)
}

// switching returns the page that a sign-out is to be followed by, or "" for one that is the end of it.
func (e *endpoints) switching(r *http.Request) string {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(values[switchParam]) != 1 {
		return ""
	}
	return e.notOurs(SafeReturn(values[switchParam][0]))
}

// switched returns the page that the switch cookie keeps, or "". The cookie only says where to go
// on this host; it proves nothing.
func (e *endpoints) switched(r *http.Request) string {
	found := ""
	for _, c := range e.opts.Cookies(r) {
		if c.Name != e.sessions.switchName() || c.Value == "" {
			continue
		}
		if found != "" {
			return "" // twice: which of them is ours nobody can say
		}
		back, err := url.QueryUnescape(c.Value)
		if err != nil {
			return ""
		}
		found = e.notOurs(SafeReturn(back))
	}
	return found
}

// switchSignIn is where the login begins that follows a sign-out. The provider is asked to ask, in case
// that it still knows the last account, as one does that has no end_session_endpoint (OpenID Connect
// Core 1.0 section 3.1.2.1).
func (e *endpoints) switchSignIn(back string) string {
	return withQuery(e.providers.paths().signIn, []param{{"rd", back}, {"prompt", "login"}})
}
