package main

import (
	"context"
	"net/http"

	"gatehouse/authn"
	"gatehouse/authn/identity"
	"gatehouse/proxy"
)

// until ends answers that last longer than the session of their request.
func (a *assembler) until(in *http.Request) (ctx context.Context, release func()) {
	if id := identity.FromContext(in.Context()); id == nil || id.SessionID == "" {
		return nil, func() {}
	}
	return a.sessions.Watch(in, a.logins, proxy.OwnCookies(in))
}

// deleted ends the session of a user whom the application signs out as it would behind an ALB: by deleting
// the cookies. There the old ones stay good; here they are refused from then on, and the refresh token is
// revoked.
func (a *assembler) deleted(in *http.Request, names []string) {
	if len(names) == 0 {
		return
	}
	event := proxy.EventFrom(in.Context())
	event.Note("cookie", "expired")
	if out := a.sessions.SignOut(in, a.logins, proxy.OwnCookies(in), names); out.SessionID != "" {
		a.signedOut(in.Context(), out)
	}
}

// signedOut records the end of a session.
func (a *assembler) signedOut(ctx context.Context, out authn.Logout) {
	event, verdict := proxy.EventFrom(ctx), "signed out"
	if out.Everywhere {
		verdict = "signed out everywhere"
	}
	if event.Subject == "" {
		event.Subject, event.Session = out.Subject, out.SessionID
	}
	event.Note("login", verdict)
	a.observer.login("logout", out.Err)
}
