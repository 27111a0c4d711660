package devpool

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxTokenForm bounds the body of a token or revoke request, in bytes.
const maxTokenForm = 64 << 10

// An oauthError is a refusal of the token or revoke endpoint.
type oauthError struct {
	status      int // 0 means 400
	code        string
	description string
}

func (e *oauthError) Error() string { return e.code }

// refuse returns an error that is answered with 400.
func refuse(code string) error { return &oauthError{code: code} }

// writeOAuthError answers err as {"error":…}, with an error_description where Cognito has one.
func writeOAuthError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*oauthError](err)
	if !ok {
		e = &oauthError{status: http.StatusInternalServerError, code: "server_error"}
	}
	if e.status == 0 {
		e.status = http.StatusBadRequest
	}
	body := object{{"error", e.code}}
	if e.description != "" {
		body = body.with("error_description", e.description)
	}
	writeJSON(w, e.status, body)
}

// A tokenForm is the body of a token or revoke request together with the client credentials.
type tokenForm struct {
	values           url.Values
	clientID, secret string
}

// readForm reads a request of the token or revoke endpoint.
func readForm(r *http.Request) (*tokenForm, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxTokenForm+1))
	if err != nil || len(body) > maxTokenForm {
		return nil, refuse(errInvalidRequest)
	}
	return parseForm(r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(body))
}

// parseForm decides what a token request says. Each parameter may be sent once (RFC 6749 section
// 3.2), and credentials in one way only (section 2.3).
func parseForm(contentType, authorization, body string) (*tokenForm, error) {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, refuse(errInvalidRequest)
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, refuse(errInvalidRequest)
	}
	for _, v := range values {
		if len(v) > 1 {
			return nil, refuse(errInvalidRequest)
		}
	}
	f := &tokenForm{values: values, clientID: values.Get("client_id"), secret: values.Get("client_secret")}
	if authorization == "" {
		return f, nil
	}
	id, secret, ok := parseBasic(authorization)
	switch {
	case !ok:
		return nil, refuse(errInvalidClient)
	case f.secret != "" || (f.clientID != "" && f.clientID != id):
		return nil, refuse(errInvalidRequest)
	}
	f.clientID, f.secret = id, secret
	return f, nil
}

// parseBasic reads client credentials from an Authorization header. RFC 6749 section 2.3.1 wants
// both form-encoded before base64; clients that do not do that are understood too, as long as no
// "%" or "+" is in their credentials.
func parseBasic(authorization string) (id, secret string, ok bool) {
	scheme, encoded, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	id, secret, ok = strings.Cut(string(raw), ":")
	if !ok || id == "" {
		return "", "", false
	}
	if id, err = url.QueryUnescape(id); err != nil {
		return "", "", false
	}
	if secret, err = url.QueryUnescape(secret); err != nil {
		return "", "", false
	}
	return id, secret, true
}

// client returns the client that the form proves to come from.
func (p *Pool) client(f *tokenForm) (*Client, error) {
	c := p.clients[f.clientID]
	if c == nil || !p.takesSecret(c, f.secret) {
		return nil, refuse(errInvalidClient)
	}
	return c, nil
}

func (p *Pool) serveToken(w http.ResponseWriter, r *http.Request) {
	t, err := p.exchange(r)
	if err != nil {
		writeOAuthError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, t)
}

func (p *Pool) exchange(r *http.Request) (*tokens, error) {
	f, err := readForm(r)
	if err != nil {
		return nil, err
	}
	c, err := p.client(f)
	if err != nil {
		return nil, err
	}
	grantType := f.values.Get("grant_type")
	switch grantType {
	case "authorization_code", "refresh_token", "client_credentials":
		p.count(EndpointToken + ":" + grantType)
	case "":
		return nil, refuse(errInvalidRequest)
	default:
		return nil, refuse(errUnsupportedGrantType)
	}
	if p.currentFaults().InvalidGrant {
		return nil, refuse(errInvalidGrant)
	}
	switch grantType {
	case "authorization_code":
		return p.exchangeCode(c, f)
	case "refresh_token":
		return p.exchangeRefresh(c, f)
	}
	return p.clientCredentials(c, f)
}

// exchangeCode spends an authorization code. A code is gone after the first request that names it,
// whether that succeeds or not.
func (p *Pool) exchangeCode(c *Client, f *tokenForm) (*tokens, error) {
	code, redirectURI := f.values.Get("code"), f.values.Get("redirect_uri")
	if code == "" || redirectURI == "" {
		return nil, refuse(errInvalidRequest)
	}
	p.mu.Lock()
	ac := p.store.codes[hash(code)]
	delete(p.store.codes, hash(code))
	p.mu.Unlock()
	if err := ac.check(c, redirectURI, f.values.Get("code_verifier"), p.opts.Now()); err != nil {
		return nil, err
	}
	if !c.mayRead(ac.grant.scopes) {
		return nil, refuse(errInvalidGrant)
	}
	t, err := p.issue(ac.grant, true)
	if err != nil {
		return nil, err
	}
	t.Refresh = p.newRefreshToken(ac.grant, p.opts.Now().Add(p.opts.RefreshTTL))
	return t, nil
}

// verifierPattern is RFC 7636 section 4.1.
var verifierPattern = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

func (ac *authCode) check(c *Client, redirectURI, verifier string, now time.Time) error {
	switch {
	case ac == nil || ac.grant.client != c || !now.Before(ac.expires):
		return refuse(errInvalidGrant)
	case ac.redirectURI != redirectURI: // the misleading one
		return &oauthError{code: errUnauthorizedClient, description: "invalid_redirect"}
	case ac.challenge == "" && verifier == "":
		return nil
	case ac.challenge == "" || !verifierPattern.MatchString(verifier):
		return refuse(errInvalidGrant)
	}
	sum := sha256.Sum256([]byte(verifier))
	if !equal(base64.RawURLEncoding.EncodeToString(sum[:]), ac.challenge) {
		return refuse(errInvalidGrant)
	}
	return nil
}

// mayRead says whether the client may read every attribute of the scopes. Where it may not, Cognito
// refuses the code as if it were a wrong one.
func (c *Client) mayRead(scopes []string) bool {
	return !slices.Contains(scopes, "email") || (c.reads("email") && c.reads("email_verified"))
}

func (c *Client) reads(attribute string) bool {
	return c.ReadAttributes == nil || slices.Contains(c.ReadAttributes, attribute)
}

func (p *Pool) exchangeRefresh(c *Client, f *tokenForm) (*tokens, error) {
	raw := f.values.Get("refresh_token")
	if raw == "" {
		return nil, refuse(errInvalidRequest)
	}
	g, expires, err := p.spendRefresh(c, raw)
	if err != nil {
		return nil, err
	}
	t, err := p.issue(g, false)
	if err != nil {
		return nil, err
	}
	if p.opts.RotateRefresh {
		t.Refresh = p.newRefreshToken(g, expires)
	}
	return t, nil
}

// spendRefresh checks a refresh token and, under rotation, starts its grace period. It returns the
// token's end of life, which its successor inherits.
func (p *Pool) spendRefresh(c *Client, raw string) (*grant, time.Time, error) {
	now := p.opts.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	rt := p.store.refresh[hash(raw)]
	if rt == nil || rt.grant.client != c || !rt.usable(now) {
		return nil, time.Time{}, refuse(errInvalidGrant)
	}
	if _, ok := p.users[rt.grant.username]; !ok {
		return nil, time.Time{}, refuse(errInvalidGrant)
	}
	if p.opts.RotateRefresh && rt.usableUntil.IsZero() {
		rt.usableUntil = now.Add(p.opts.RotateGrace)
	}
	return rt.grant, rt.expires, nil
}

// newRefreshToken returns a token that looks like Cognito's, which is an encrypted JWT (RFC 7516) of
// about 1,700 characters: whoever keeps it in a cookie should meet its size here.
func (p *Pool) newRefreshToken(g *grant, expires time.Time) string {
	part := func(n int) string { return "." + base64.RawURLEncoding.EncodeToString(p.random(n)) }
	raw := base64.RawURLEncoding.EncodeToString([]byte(`{"cty":"JWT","enc":"A256GCM","alg":"RSA-OAEP"}`)) +
		part(256) + part(12) + part(940) + part(16)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store.sweep(p.opts.Now())
	p.store.refresh[hash(raw)] = &refreshToken{grant: g, expires: expires}
	return raw
}

// clientCredentials serves machines: a confidential client that has scopes of a resource server.
func (p *Pool) clientCredentials(c *Client, f *tokenForm) (*tokens, error) {
	custom := slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return !strings.Contains(s, "/") })
	if c.Secret == "" || len(custom) == 0 {
		return nil, refuse(errUnauthorizedClient)
	}
	scopes := strings.Fields(f.values.Get("scope"))
	if len(scopes) == 0 {
		scopes = custom
	}
	for _, s := range scopes {
		if !slices.Contains(custom, s) {
			return nil, refuse(errInvalidScope)
		}
	}
	return p.issue(&grant{client: c, scopes: scopes, authTime: p.opts.Now(), resource: f.values.Get("resource")}, false)
}

// seconds writes a duration as expires_in wants it.
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
