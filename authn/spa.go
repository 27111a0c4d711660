package authn

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Where applications that run in the browser learn of the session. The paths are constants, since
// their pages name them.
const (
	// SessionPath answers what is known of the session, in JSON.
	SessionPath = "/oauth2/session"
	// SessionScript is the script that asks there.
	SessionScript = "/oauth2/session.js"
	// signedInPath is where a sign-in in a window of its own ends.
	signedInPath = "/oauth2/signed_in"
)

// sessionScript is the same for everybody: what it needs to know it asks for.
//
//go:embed session.js
var sessionScript string

// script serves the script. It may be stored: its tag changes with it.
func script() http.Handler {
	sum := sha256.Sum256([]byte(sessionScript))
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allow(w, r, http.MethodGet, http.MethodHead) {
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(sessionScript))
	})
}

// sessionState is what a page may know of its session. It does not say who is signed in: Account
// only tells whether it is still the same person.
type sessionState struct {
	SignedIn bool   `json:"signed_in"`
	Account  string `json:"account,omitempty"`
	// ExpiresIn is how many seconds are left until somebody has to sign in again.
	ExpiresIn int64 `json:"expires_in"`
	// RenewIn is how many seconds are left until the access token is renewed, which requests do by
	// themselves; it is missing where that cannot be done.
	RenewIn *int64 `json:"renew_in,omitempty"`
	// LoginURL signs in and comes back to the page that asks; PopupURL is for a window that closes.
	LoginURL string `json:"login_url"`
	PopupURL string `json:"popup_url"`
}

// session answers what is known of the session and begins no login. A POST renews the access token
// when half of its life is over.
func (e *endpoints) session(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	host := canonicalHost(r.Host)
	if !e.samePage(r, host) {
		writeAnswer(w, r, http.StatusForbidden, map[string]any{"error": "another site asks", "status": http.StatusForbidden})
		return
	}
	now := e.sessions.now()
	sess, err := e.sessions.read(e.providers, host, e.opts.Cookies(r), now)
	if err != nil {
		sess = nil
	}
	if sess != nil && r.Method == http.MethodPost && sess.halfway(now.Unix()) {
		sess = e.renewed(w, r, host, sess)
	}
	set := e.providers.paths()
	state := sessionState{
		LoginURL: withQuery(set.signIn, []param{{"rd", openerOf(r, host)}}),
		PopupURL: withQuery(set.signIn, []param{{"rd", signedInPath}}),
	}
	if sess != nil {
		state.SignedIn, state.Account = true, accountOf(sess, host)
		state.ExpiresIn = sess.end - now.Unix()
		if sess.refresh != "" {
			left := max(sess.expires-now.Unix(), 0)
			state.RenewIn = &left
		}
	}
	writeAnswer(w, r, http.StatusOK, state)
}

// renewed is the session after a refresh; nil when that ended it. Without an answer of the provider
// it stays as it is.
func (e *endpoints) renewed(w http.ResponseWriter, r *http.Request, host string, sess *session) *session {
	next, cookies, err := e.sessions.renew(r.Context(), e.providers.of(sess), host, sess, e.opts.OnRefresh)
	switch {
	case e.sessions.over(sess), loginOver(err):
		next, cookies = nil, e.sessions.clear
	case err != nil:
		return sess
	}
	for _, line := range cookies {
		w.Header().Add("Set-Cookie", line)
	}
	return next
}

// halfway says whether a page may ask for another access token. One that asks all the time gets one
// a few times an hour.
func (s *session) halfway(now int64) bool {
	return s.refresh != "" && now-s.renewed >= (s.expires-s.renewed)/2
}

// samePage says whether a page of this host asks, or a person who typed the address.
func (e *endpoints) samePage(r *http.Request, host string) bool {
	if r.Method == http.MethodPost {
		return ownRequest(r, host)
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		return !crossOrigin(r, host)
	}
	return false
}

// openerOf is the page that asks, to come back to, when it says so.
func openerOf(r *http.Request, host string) string {
	if back := pageOf(r, host); !strings.HasPrefix(back, SessionPath) {
		return back
	}
	return "/"
}

// accountOf is the same for the same person on the same host, and says nothing else.
func accountOf(sess *session, host string) string {
	b := append([]byte("account"), sess.provider[:]...)
	sum := sha256.Sum256(appendText(appendText(b, host), sess.subject))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func writeAnswer(w http.ResponseWriter, r *http.Request, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(append(body, '\n'))
	}
}

// signedIn is the last page of a window that was opened to sign in. Its script tells the others of
// this origin, and closes it.
func (e *endpoints) signedIn(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	page{
		Title: "You are signed in", Text: []string{"You can close this window and go on where you were."},
		Script: SessionScript, Done: true,
	}.write(w, r, http.StatusOK)
}
