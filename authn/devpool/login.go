package devpool

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"time"
)

// maxLoginForm bounds the body of a posted login page, in bytes.
const maxLoginForm = 16 << 10

// Why a posted login page is not accepted.
var (
	errForgedForm  = errors.New("csrf token: want the one of this browser's page")
	errExpiredForm = errors.New("login page: it was open for too long")
)

func (p *Pool) serveLogin(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.failAuthorize(w, r, nil, &mismatchError{})
		return
	}
	req, err := p.parseAuthorize(query)
	if err != nil {
		p.failAuthorize(w, r, req, err)
		return
	}
	if r.Method == http.MethodPost {
		p.acceptLogin(w, r, req)
		return
	}
	if req.prompt == "none" {
		p.failAuthorize(w, r, req, &authorizeError{errLoginRequired, "nobody is signed in at the pool"})
		return
	}
	p.showLogin(w, r, req, http.StatusOK, "")
}

// showLogin writes the login page; problem is shown above the form.
func (p *Pool) showLogin(w http.ResponseWriter, r *http.Request, req *authRequest, status int, problem string) {
	page := loginPage{
		Client: req.client.Name, Action: "/login?" + r.URL.RawQuery, Hint: req.loginHint, Problem: problem,
		Users: p.listUsers(), CSRF: p.csrfToken(w, r), PoolID: p.opts.PoolID,
	}
	if s, ok := p.currentSession(r); ok && req.prompt != "login" {
		page.Current = s.username
	}
	p.pages.write(w, status, page, req.redirectURI)
}

// acceptLogin handles the posted login page: "continue" with the pool's session, or name and password.
func (p *Pool) acceptLogin(w http.ResponseWriter, r *http.Request, req *authRequest) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginForm)
	if err := r.ParseForm(); err != nil {
		p.showProblem(w, http.StatusBadRequest, "The form could not be read.")
		return
	}
	if err := p.checkCSRF(r); err != nil {
		if errors.Is(err, errExpiredForm) {
			p.showLogin(w, r, req, http.StatusBadRequest, "Something went wrong: this page was open for more than five minutes. Please sign in again.")
			return
		}
		p.showProblem(w, http.StatusForbidden, "This form did not come from this browser's own sign-in page. Go back, reload the page and try again.")
		return
	}
	if r.PostForm.Get("continue") != "" && req.prompt != "login" {
		if s, ok := p.currentSession(r); ok {
			p.finish(w, r, req, s)
			return
		}
		p.showLogin(w, r, req, http.StatusBadRequest, "That sign-in has ended. Please sign in again.")
		return
	}
	user, ok := p.authenticate(r.PostForm.Get("username"), r.PostForm.Get("password"))
	if !ok {
		p.showLogin(w, r, req, http.StatusBadRequest, "Incorrect username or password.")
		return
	}
	p.finish(w, r, req, p.startSession(w, user.Username))
}

var csrfPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// csrfToken returns the hidden field of a login page: the time it was made, and an HMAC over that
// and the browser's XSRF-TOKEN cookie, which it sets when there is none.
func (p *Pool) csrfToken(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(csrfCookie)
	if err != nil || !csrfPattern.MatchString(c.Value) {
		c = &http.Cookie{Value: base64.RawURLEncoding.EncodeToString(p.random(32))}
		p.setCookie(w, csrfCookie, c.Value, sessionTTL)
	}
	return base64.RawURLEncoding.EncodeToString(p.sealCSRF(c.Value, p.opts.Now()))
}

func (p *Pool) sealCSRF(cookie string, now time.Time) []byte {
	seconds := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	mac := hmac.New(sha256.New, p.csrfKey)
	mac.Write(seconds)
	mac.Write([]byte(cookie))
	return mac.Sum(seconds)
}

// checkCSRF checks the hidden field of a posted page against the cookie and its age against
// [loginTTL]. Of pages that a browser opened at once the cookie of one is left; the others are its own too
// when it says so.
func (p *Pool) checkCSRF(r *http.Request) error {
	c, err := r.Cookie(csrfCookie)
	if err != nil {
		return errForgedForm
	}
	got, err := base64.RawURLEncoding.DecodeString(r.PostForm.Get("_csrf"))
	if err != nil || len(got) != 8+sha256.Size {
		return errForgedForm
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(got)), 0)
	if !hmac.Equal(got, p.sealCSRF(c.Value, made)) && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return errForgedForm
	}
	if p.opts.Now().Sub(made) > loginTTL {
		return errExpiredForm
	}
	return nil
}
