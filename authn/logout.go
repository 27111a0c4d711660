package authn

import (
	"encoding/binary"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// maxForm bounds the form of a sign-out, which has one short field.
const maxForm = 1 << 10

// wantsEverywhere says whether a request to sign out is about all of somebody's sessions: everywhere=1
// in the query, or in the form of a POST.
func wantsEverywhere(r *http.Request) bool {
	if values, err := url.ParseQuery(r.URL.RawQuery); err == nil && values.Get("everywhere") == "1" {
		return true
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || r.Method != http.MethodPost ||
		kind != "application/x-www-form-urlencoded" {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil || len(body) > maxForm {
		return false
	}
	values, err := url.ParseQuery(string(body))
	return err == nil && values.Get("everywhere") == "1"
}

// fromPage says whether a request that ownRequest has let through came from a page of ours. One that
// came from nowhere may be a link in a mail: it may end a session, but not all of them.
func fromPage(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") != "none" }

// askToSignOut is the page of a request that did not come from here. next is where another account is wanted.
func (e *endpoints) askToSignOut(w http.ResponseWriter, r *http.Request, host, next string) {
	page{
		Title: "Sign out?", Text: []string{"You are about to sign out of " + host + "."},
		Label: "Sign out", Href: e.providers.signOutPath(next),
		OtherLabel: "Sign out on all devices", OtherHref: e.providers.paths().signOut + "?everywhere=1",
		QuietLabel: "Stay signed in", QuietHref: "/",
	}.write(w, r, http.StatusOK)
}

// SignOut ends the session that a request carries, here and at its provider, as the sign-out endpoint
// does, if one of the deleted cookies was a part of it. It is for an application that signs its users out by
// deleting our cookies.
func (s *Sessions) SignOut(r *http.Request, ps Providers, cookies []*http.Cookie, deleted []string) Logout {
	part := func(c *http.Cookie) bool {
		return c.Value != "" && s.shardIndex(c.Name) >= 0 && slices.Contains(deleted, c.Name)
	}
	if !slices.ContainsFunc(cookies, part) {
		return Logout{}
	}
	out, _ := s.signOut(r, ps, canonicalHost(r.Host), cookies, false)
	return out
}

// signOut revokes the session of a request, or all of its subject, and its refresh token at the
// provider. It returns the session, nil when there is none.
func (s *Sessions) signOut(r *http.Request, ps Providers, host string, cookies []*http.Cookie, everywhere bool) (Logout, *session) {
	sess, err := s.read(ps, host, cookies, s.now())
	if err != nil || sess == nil {
		return Logout{}, nil
	}
	p := ps.of(sess)
	s.end(sess)
	if everywhere {
		s.endAll(p.set.issuer, sess.subject)
	}
	sess = s.latest(p, host, sess) // a refresh may have rotated the token since
	out := Logout{SessionID: sess.name, Subject: sess.subject, Everywhere: everywhere}
	c, err := p.connected()
	if err == nil {
		err = p.revoke(r.Context(), c, sess.refresh)
	}
	out.Err = err
	return out, sess
}

// logoutState is what comes back from the provider with somebody who has signed out there. It says when
// that began, sealed for this host. "" is none.
func (e *endpoints) logoutState(host string) string {
	b := binary.AppendVarint(nil, e.sessions.now().Unix())
	state, err := e.sessions.seal.seal(logoutBinding(host), b)
	if err != nil {
		return ""
	}
	return state
}

func logoutBinding(host string) string { return "logout\n" + host }

// How somebody comes to the page after signing out.
const (
	returnedPlain = iota // without a state: from Cognito, or from nowhere in particular
	returnedOurs         // with the state of a sign-out that began a moment ago
	returnedOther        // with another
)

func (e *endpoints) returned(query, host string) int {
	values, err := url.ParseQuery(query)
	if err != nil || len(values["state"]) > 1 {
		return returnedOther
	}
	if len(values["state"]) == 0 {
		return returnedPlain
	}
	state := values["state"][0]
	if len(state) > maxParam {
		return returnedOther
	}
	b, err := e.sessions.seal.open(logoutBinding(host), state)
	if err != nil {
		return returnedOther
	}
	in := &reader{b: b}
	began := in.int()
	if age := e.sessions.now().Unix() - began; in.end() != nil || age < 0 || age > int64(loginTimeout/time.Second) {
		return returnedOther
	}
	return returnedOurs
}
