package devpool

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Error codes of the authorize and token endpoints.
const (
	errInvalidRequest       = "invalid_request"
	errInvalidClient        = "invalid_client"
	errInvalidGrant         = "invalid_grant"
	errInvalidScope         = "invalid_scope"
	errUnauthorizedClient   = "unauthorized_client"
	errUnsupportedGrantType = "unsupported_grant_type"
	errUnsupportedTokenType = "unsupported_token_type"
	errLoginRequired        = "login_required"
)

// errJSONState is the refusal of a state that is JSON: Cognito answers 400 with an empty page.
var errJSONState = errors.New("state: want an opaque value, got JSON")

// A mismatchError means that nobody can be told by a redirect, because the client or its redirect
// URI is unknown.
type mismatchError struct{ clientID, redirectURI string }

func (e *mismatchError) Error() string {
	return "client or redirect URI: want a registered pair, got " + e.clientID
}

// An authorizeError goes back to the client by redirect.
type authorizeError struct{ code, description string }

func (e *authorizeError) Error() string { return e.code + ": " + e.description }

// An authRequest is a checked authorization request.
type authRequest struct {
	client       *Client
	redirectURI  string
	responseType string // "code" or "token"
	scopes       []string
	state        string
	nonce        string
	challenge    string
	prompt       string // "", "none", "login", "select_account" or "consent"
	loginHint    string
	resource     string
}

// parseAuthorize checks the parameters of /oauth2/authorize and /login. With an [authorizeError] it
// returns as much of the request as the redirect needs.
func (p *Pool) parseAuthorize(q url.Values) (*authRequest, error) {
	req := &authRequest{
		client:       p.clients[q.Get("client_id")],
		redirectURI:  q.Get("redirect_uri"),
		responseType: q.Get("response_type"),
		state:        q.Get("state"),
		nonce:        q.Get("nonce"),
		challenge:    q.Get("code_challenge"),
		prompt:       q.Get("prompt"),
		loginHint:    q.Get("login_hint"),
		resource:     q.Get("resource"),
	}
	if req.client == nil || len(q["client_id"]) != 1 || len(q["redirect_uri"]) != 1 ||
		!p.allowed(req.client.CallbackURLs, req.redirectURI) {
		return nil, &mismatchError{q.Get("client_id"), req.redirectURI}
	}
	if strings.HasPrefix(req.state, "{") && json.Valid([]byte(req.state)) {
		return nil, errJSONState
	}
	return req, req.check(q)
}

// once are the parameters that may be sent one time only (RFC 6749 section 3.1).
func once() []string {
	return []string{
		"response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		"prompt", "login_hint", "lang", "resource", "identity_provider", "idp_identifier",
	}
}

// challengePattern is a SHA-256 digest in base64url.
var challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

func (req *authRequest) check(q url.Values) error {
	invalid := func(description string) error { return &authorizeError{errInvalidRequest, description} }
	for _, name := range once() {
		if len(q[name]) > 1 {
			return invalid(name + " is sent twice")
		}
	}
	switch {
	case req.responseType == "token" && !req.client.Implicit:
		return &authorizeError{errUnauthorizedClient, "the client may not use the implicit grant"}
	case req.responseType != "code" && req.responseType != "token":
		return invalid("response_type must be code or token")
	}
	switch method := q.Get("code_challenge_method"); {
	case (req.challenge == "") != (method == ""):
		return invalid("code_challenge and code_challenge_method go together")
	case method != "" && method != "S256":
		return invalid("code_challenge_method must be S256")
	case req.challenge != "" && !challengePattern.MatchString(req.challenge):
		return invalid("code_challenge must be a SHA-256 digest in base64url")
	}
	if !slices.Contains([]string{"", "none", "login", "select_account", "consent"}, req.prompt) {
		return invalid("prompt must be none, login, select_account or consent")
	}
	if idp := q.Get("identity_provider"); (idp != "" && idp != "COGNITO") || q.Get("idp_identifier") != "" {
		return invalid("the pool has no other identity provider")
	}
	if u, err := url.Parse(req.resource); req.resource != "" && (err != nil || !u.IsAbs() || u.Fragment != "") {
		return invalid("resource must be an absolute URI without a fragment")
	}
	return req.checkScopes(q.Get("scope"))
}

func (req *authRequest) checkScopes(scope string) error {
	req.scopes = strings.Fields(scope)
	if len(req.scopes) == 0 {
		req.scopes = slices.Clone(req.client.Scopes)
	}
	for _, s := range req.scopes {
		if !slices.Contains(req.client.Scopes, s) {
			return &authorizeError{errInvalidScope, "the client may not ask for one of the scopes"}
		}
	}
	slices.Sort(req.scopes)
	req.scopes = slices.Compact(req.scopes)
	return nil
}

// allowed says whether target is one of list, byte for byte, or an https://localhost URL where the
// options take any of these.
func (p *Pool) allowed(list []string, target string) bool {
	if slices.Contains(list, target) {
		return true
	}
	if !p.opts.InsecureAnyLocalhost {
		return false
	}
	u, err := url.Parse(target)
	return err == nil && u.Scheme == "https" && u.Hostname() == "localhost" && u.User == nil &&
		u.Opaque == "" && !strings.Contains(target, "#") && !strings.Contains(target, `\`)
}

func (p *Pool) serveAuthorize(w http.ResponseWriter, r *http.Request) {
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
	s, ok := p.currentSession(r)
	switch {
	case ok && req.prompt != "login" && req.prompt != "select_account":
		p.finish(w, r, req, s)
	case req.prompt == "none":
		p.failAuthorize(w, r, req, &authorizeError{errLoginRequired, "nobody is signed in at the pool"})
	default:
		redirect(w, "/login?"+r.URL.RawQuery)
	}
}

// failAuthorize answers an error of parseAuthorize.
func (p *Pool) failAuthorize(w http.ResponseWriter, _ *http.Request, req *authRequest, err error) {
	if mismatch, ok := errors.AsType[*mismatchError](err); ok {
		redirect(w, "/error?error=redirect_mismatch&client_id="+url.QueryEscape(mismatch.clientID)+
			"&redirect_uri="+url.QueryEscape(mismatch.redirectURI))
		return
	}
	if e, ok := errors.AsType[*authorizeError](err); ok {
		params := "error=" + e.code + "&error_description=" + url.QueryEscape(e.description)
		redirect(w, req.answer(params))
		return
	}
	w.WriteHeader(http.StatusBadRequest) // a JSON state: an empty page
}

// answer returns the redirect URI with params and the state: in the query, or for the implicit grant
// in the fragment (RFC 6749 section 4.2.2).
func (req *authRequest) answer(params string) string {
	if req.state != "" {
		params += "&state=" + url.QueryEscape(req.state)
	}
	switch {
	case req.responseType == "token":
		return req.redirectURI + "#" + params
	case strings.Contains(req.redirectURI, "?"):
		return req.redirectURI + "&" + params
	}
	return req.redirectURI + "?" + params
}

// finish sends a signed-in person back to the client with a code, or with tokens.
func (p *Pool) finish(w http.ResponseWriter, r *http.Request, req *authRequest, s session) {
	g := &grant{
		client: req.client, username: s.username, scopes: req.scopes, resource: req.resource,
		nonce: req.nonce, authTime: s.authTime, originJTI: p.uuid(), eventID: p.uuid(),
	}
	if req.responseType == "token" {
		p.finishImplicit(w, r, req, g)
		return
	}
	code, now := p.uuid(), p.opts.Now()
	p.mu.Lock()
	p.store.sweep(now)
	p.store.codes[hash(code)] = &authCode{
		grant: g, redirectURI: req.redirectURI, challenge: req.challenge, expires: now.Add(codeTTL),
	}
	p.mu.Unlock()
	redirect(w, req.answer("code="+code))
}

func (p *Pool) finishImplicit(w http.ResponseWriter, r *http.Request, req *authRequest, g *grant) {
	t, err := p.issue(g, true)
	if err != nil {
		p.failAuthorize(w, r, req, &authorizeError{"server_error", "the tokens could not be made"})
		return
	}
	params := "access_token=" + t.Access
	if t.ID != "" {
		params = "id_token=" + t.ID + "&" + params
	}
	redirect(w, req.answer(params+"&token_type=Bearer&expires_in="+seconds(p.opts.AccessTTL)))
}

// redirect answers 302, as Cognito does after a POST too. It sets Location as it is: http.Redirect
// would rewrite a custom scheme's URL.
func redirect(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}

// The pool's cookies, named as Cognito's managed login names them.
const (
	sessionCookie = "cognito"
	csrfCookie    = "XSRF-TOKEN"
)

func (p *Pool) setCookie(w http.ResponseWriter, name, value string, maxAge time.Duration) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(maxAge / time.Second),
		HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteLaxMode,
	}
	if maxAge == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// currentSession returns who is signed in at the pool.
func (p *Pool) currentSession(r *http.Request) (session, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return session{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.store.sessions[hash(c.Value)]
	if !ok || !p.opts.Now().Before(s.expires) {
		return session{}, false
	}
	if _, ok := p.users[s.username]; !ok {
		return session{}, false
	}
	return *s, true
}

// startSession signs a user in at the pool for an hour and sets the cookie.
func (p *Pool) startSession(w http.ResponseWriter, username string) session {
	now := p.opts.Now()
	s := session{username: username, authTime: now, expires: now.Add(sessionTTL)}
	id := p.uuid() + p.uuid()
	p.mu.Lock()
	p.store.sweep(now)
	p.store.sessions[hash(id)] = &s
	p.mu.Unlock()
	p.setCookie(w, sessionCookie, id, sessionTTL)
	return s
}

// endSession forgets the pool's session of this browser.
func (p *Pool) endSession(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		p.mu.Lock()
		delete(p.store.sessions, hash(c.Value))
		p.mu.Unlock()
	}
	p.setCookie(w, sessionCookie, "", 0)
}
