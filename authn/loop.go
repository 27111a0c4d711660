package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// counts says whether a navigation without a session can be a step of a loop. With SameSite=Strict
// the session does not come along from other sites, and following three links from there is none.
func (s *Sessions) counts(r *http.Request) bool {
	return s.set.sameSite != "Strict" || r.Header.Get("Sec-Fetch-Site") != "cross-site"
}

// circling says why a browser that has just signed in several times comes without a session.
func (s *Sessions) circling(ps Providers, host, back string, cookies []*http.Cookie, now time.Time) error {
	shards := s.collect(cookies)
	var e *Error
	switch sess := s.open(ps, host, &shards); {
	case !shards.any:
		e = cookieLost("of the session", host)
	case shards.twice:
		e = loop("Your browser sends two different cookies of this site under one name, so neither can be believed. "+
			"Delete the cookies of "+clip(host, maxShownHost)+" and try again.", "a session cookie comes twice")
	case sess == nil:
		e = loop("Your browser sent our cookie back, but this server cannot open it: only a part of it came, or the servers "+
			"behind this name do not share one secret.", "the session cookie does not open")
	case now.Unix() >= sess.end:
		e = clockWrong(time.Duration(now.Unix()-sess.start)*time.Second, "the clock of the server that signed you in",
			"the session of a login that has just ended")
	case s.over(sess):
		e = loop("The sign-in service signs you in and then ends your session at once.", "the sessions are revoked")
	default:
		e = loop("The sign-in service signs you in, but takes it back when it is asked again.", "the sessions cannot be renewed")
	}
	return e.again(ps, back)
}

// again offers to sign in once more, which begins to count anew: there is a person in between.
func (e *Error) again(ps Providers, back string) *Error {
	e.offer, e.offerHref = "Try again", ps.paths().signIn
	if back = SafeReturn(back); back != "/" {
		e.offerHref = withQuery(e.offerHref, []param{{"rd", back}})
	}
	return e
}

func loop(public, why string) *Error {
	return fail(ReasonLoop, http.StatusBadRequest, "Signing in leads back to signing in, so we have stopped. "+public,
		"%d logins within a minute: %s", maxRounds, why)
}

func cookieLost(which, host string) *Error {
	return fail(ReasonCookieLost, http.StatusBadRequest,
		"Your browser did not send our cookie back, so signing in would never end. Allow cookies for "+clip(host, maxShownHost)+
			", and open it with https:// in the address. If cookies are allowed, a server in front of this one may be taking them away.",
		"the cookie %s did not come back", which)
}

// maxShownHost bounds host names in messages: theirs is 253 (RFC 1035), and a Host header is anything.
const maxShownHost = 100

// otherHost is the refusal of a sign-in that came back to a host which it was not begun on. Cookies
// stay with their host, so it could not be finished here.
func otherHost(began, came string) *Error {
	return fail(ReasonCallbackHost, http.StatusBadRequest,
		fmt.Sprintf("The sign-in began on %s and came back to %s. Both must be the same host: open this site under the name that it "+
			"redirects to.", clip(began, maxShownHost), clip(came, maxShownHost)),
		"callback: the login began on %q and came back to %q", clip(began, maxShownHost), clip(came, maxShownHost))
}

// clockWrong is the refusal of something that was made just now and is not valid now. ahead is how
// far our clock is before the other one; less than zero is behind.
func clockWrong(ahead time.Duration, other, what string) *Error {
	side := "ahead of"
	if ahead < 0 {
		side, ahead = "behind", -ahead
	}
	return fail(ReasonClock, http.StatusInternalServerError,
		fmt.Sprintf("The clock of this server is %s %s %s. One of them is wrong, and nobody can sign in until it is right.",
			roughly(ahead), side, other),
		"%s: our clock is %s %s the one that made it, want at most %s", what, roughly(ahead), side, skew)
}

// roughly writes a difference of clocks for people.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}

// A clockError is a token whose times do not fit our clock.
type clockError struct {
	ahead time.Duration // of our clock, measured by iat
	err   error
}

func (e *clockError) Error() string { return e.err.Error() }
func (e *clockError) Unwrap() error { return e.err }

// freshTokenError is the refusal of an ID token that has just been issued. When its times are what is
// wrong with it, one of the clocks is.
func freshTokenError(err error) *Error {
	if wrong, ok := errors.AsType[*clockError](err); ok {
		e := clockWrong(wrong.ahead, "that of the sign-in service", "a fresh ID token")
		e.Status, e.err = http.StatusUnauthorized, errors.Join(e.err, err)
		return e
	}
	return fail(ReasonInvalidIDToken, http.StatusUnauthorized, publicTryAgain, "ID token: %w", err)
}

// awake is Provider.awake of the first that is. Providers that have not been reached yet do not count.
func (ps Providers) awake(ctx context.Context) (err error) {
	for _, p := range ps {
		c := p.live.Load()
		if c == nil {
			continue
		}
		if err = p.awake(ctx, c); err == nil {
			return nil
		}
	}
	return err
}

// awake says whether it is of use to send somebody to the provider. After a refresh that got no
// answer, the first who wants to sign in asks for the keys, on behalf of all; until they come nobody
// is sent to a page that does not load.
func (p *Provider) awake(ctx context.Context, c *connection) error {
	until := p.away.Load()
	if until == 0 {
		return nil
	}
	now := p.now().Unix()
	if now < until || !p.away.CompareAndSwap(until, now+int64(downtime/time.Second)) {
		return errProviderDown
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if err := c.keys.first(ctx); err != nil {
		return errProviderDown
	}
	p.away.Store(0)
	return nil
}

var errProviderDown = &Error{
	Reason: ReasonProviderUnavailable, Status: http.StatusServiceUnavailable, RetryAfter: retryAfter,
	public: "The sign-in service cannot be reached at the moment. Please try again shortly.",
	err:    errors.New("the provider does not answer"),
}
