package authn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// maxForwarded is how large userinfo and access token may be together; ALB's limit is 11 K
	// bytes (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html).
	maxForwarded = 11 << 10
	// assumedLife stands in for expires_in, which RFC 6749 section 5.1 only recommends.
	assumedLife = time.Hour
	// revokeTimeout is how long signing out may wait for the provider.
	revokeTimeout = 3 * time.Second
)

// tokens is what the token endpoint answered, verified.
type tokens struct {
	access  string
	refresh string
	idRaw   string
	id      *idToken  // nil when a refresh brought none
	scopes  []string  // nil when the answer names none
	expires time.Time // of the access token
}

// exchange redeems an authorization code and verifies the ID token.
func (p *Provider) exchange(ctx context.Context, c *connection, host, code string, login *pendingLogin) (*tokens, error) {
	conf := c.oauth
	conf.RedirectURL = p.redirectURI(host)
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), p.timeout)
	defer cancel()
	tok, err := conf.Exchange(ctx, code, oauth2.VerifierOption(login.verifierText()))
	if err != nil {
		return nil, tokenError(err)
	}
	t, err := p.readTokens(ctx, c, tok, login.nonceText())
	if err == nil && t.id == nil {
		err = fail(ReasonInvalidIDToken, http.StatusUnauthorized, publicTryAgain, "the token endpoint sent no ID token")
	}
	return t, err
}

// renew redeems a refresh token. See loginOver for what its errors mean.
func (p *Provider) renew(ctx context.Context, c *connection, refresh string) (*tokens, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), p.timeout)
	defer cancel()
	tok, err := c.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		return nil, tokenError(err)
	}
	return p.readTokens(ctx, c, tok, "")
}

func (p *Provider) readTokens(ctx context.Context, c *connection, tok *oauth2.Token, nonce string) (*tokens, error) {
	if !strings.EqualFold(tok.Type(), "Bearer") {
		return nil, fail(ReasonInvalidTokenResponse, http.StatusBadGateway, publicTryAgain,
			"token_type: want Bearer, got %q", clip(tok.TokenType, 40))
	}
	if !headerSafe(tok.AccessToken) {
		return nil, fail(ReasonInvalidTokenResponse, http.StatusBadGateway, publicTryAgain, "access_token: not printable")
	}
	t := &tokens{access: tok.AccessToken, refresh: tok.RefreshToken}
	life := time.Duration(tok.ExpiresIn) * time.Second
	if life <= 0 {
		life = assumedLife
	}
	t.expires = p.now().Add(life)
	if scope, ok := tok.Extra("scope").(string); ok && scope != "" {
		t.scopes = strings.Fields(scope)
	}
	raw, _ := tok.Extra("id_token").(string)
	if raw == "" {
		return t, nil
	}
	id, err := p.verifyIDToken(ctx, c, raw, nonce, tok.AccessToken)
	// Nothing is known against a token whose key cannot be had. Where it only was not asked for, whoever signs in
	// can try again; a session would be over.
	if away, ok := errors.AsType[*keysError](err); ok && (nonce == "" || !errors.Is(away, errUnknownKey)) {
		e := fail(ReasonProviderUnavailable, http.StatusServiceUnavailable, publicTryAgain, "ID token: %w", away)
		e.RetryAfter = retryAfter
		return nil, e
	}
	if err != nil && nonce != "" {
		return nil, freshTokenError(err)
	}
	if err != nil {
		return nil, fail(ReasonInvalidIDToken, http.StatusUnauthorized, publicTryAgain, "ID token: %w", err)
	}
	t.idRaw, t.id = raw, id
	return t, nil
}

// loginOver says whether an error of a refresh means that the provider no longer stands by the login,
// rather than that it could not be asked. Claims that are too large are among those, as at a login: people
// can make them so, and would keep what they were allowed before.
func loginOver(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Reason == ReasonTooLarge)
}

// headerSafe says whether a token can be sent in a header as it is.
func headerSafe(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}

const publicTryAgain = "Signing in did not work. Please try again."

// tokenError translates what oauth2 says. Its own errors quote the answer and are not kept.
func tokenError(err error) *Error {
	var retrieve *oauth2.RetrieveError
	if errors.As(err, &retrieve) {
		code, status := clip(retrieve.ErrorCode, 60), 0
		if retrieve.Response != nil {
			status = retrieve.Response.StatusCode
		}
		if code == "invalid_grant" {
			return fail(ReasonInvalidGrant, http.StatusUnauthorized, publicTryAgain, "token endpoint: %s", code)
		}
		e := fail(ReasonTokenFailed, http.StatusBadGateway, publicTryAgain, "token endpoint: status %d %s", status, code)
		if status >= 500 || status == http.StatusTooManyRequests {
			e.Status, e.RetryAfter = http.StatusServiceUnavailable, retryAfter
		}
		return e
	}
	if unreachable(err) {
		e := fail(ReasonTokenTimeout, http.StatusServiceUnavailable, publicTryAgain, "token endpoint: %s", networkError(err))
		e.RetryAfter = retryAfter
		return e
	}
	return fail(ReasonInvalidTokenResponse, http.StatusBadGateway, publicTryAgain, "token endpoint: malformed answer")
}

// unreachable says whether err means that no answer came at all.
func unreachable(err error) bool {
	var urlErr *url.Error
	var netErr net.Error
	return errors.As(err, &urlErr) || errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded)
}

// networkError is a url.Error without its URL, which may hold parameters.
func networkError(err error) string {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	return clip(err.Error(), 200)
}

// userinfo fetches the claims that are forwarded. They are the provider's bytes, and their sub is
// that of the ID token (OpenID Connect Core 1.0 section 5.3.2); where they come signed they are the payload.
// A provider without the endpoint gives the payload of its ID token.
func (p *Provider) userinfo(ctx context.Context, c *connection, access, wantSubject string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.userinfo, nil)
	if err != nil {
		return nil, fail(ReasonUnhandled, http.StatusInternalServerError, publicTryAgain, "userinfo: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+access)
	r.Header.Set("Accept", "application/json, application/jwt")
	a, err := do(p.client, r)
	switch {
	case tooLarge(err):
		return nil, fail(ReasonTooLarge, http.StatusInternalServerError, publicTryAgain, "userinfo: %w", errAnswerTooLarge)
	case err != nil:
		e := fail(ReasonUserinfoTimeout, http.StatusServiceUnavailable, publicTryAgain, "userinfo: %s", networkError(err))
		e.RetryAfter = retryAfter
		return nil, e
	case a.status == http.StatusUnauthorized:
		return nil, fail(ReasonUserinfoFailed, http.StatusUnauthorized, publicTryAgain, "userinfo: status %d", a.status)
	case a.status != http.StatusOK:
		return nil, fail(ReasonUserinfoFailed, http.StatusBadGateway, publicTryAgain, "userinfo: status %d", a.status)
	}
	body := a.body
	if media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); media == "application/jwt" {
		if body, err = p.signedUserinfo(ctx, c, string(bytes.TrimSpace(body))); err != nil {
			return nil, fail(ReasonInvalidUserinfo, http.StatusBadGateway, publicTryAgain, "userinfo: %w", err)
		}
	}
	return checkUserinfo(body, wantSubject)
}

// signedUserinfo returns the payload of a signed userinfo answer. It need not name issuer, audience and
// end, but where it does they have to be right: an answer made for another client is none for us.
func (p *Provider) signedUserinfo(ctx context.Context, c *connection, raw string) ([]byte, error) {
	if _, err := splitToken(raw); err != nil {
		return nil, err
	}
	payload, err := c.keys.VerifySignature(ctx, raw)
	if err != nil {
		return nil, err
	}
	members, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	if iss, ok := members.text("iss"); members.has("iss") && (!ok || iss != p.set.issuer) {
		return nil, fmt.Errorf("iss: want %q, got %s", p.set.issuer, clip(string(members["iss"]), 200))
	}
	aud, err := members.list("aud")
	if err != nil {
		return nil, err
	}
	if members.has("aud") && !slices.Contains(aud, p.set.clientID) {
		return nil, fmt.Errorf("aud: want %q, got %q", p.set.clientID, clip(strings.Join(aud, " "), 200))
	}
	if exp, ok := members.seconds("exp"); members.has("exp") && (!ok || p.now().After(time.Unix(exp, 0).Add(skew))) {
		return nil, errors.New("exp: the answer is too old")
	}
	return payload, nil
}

func checkUserinfo(body []byte, wantSubject string) ([]byte, error) {
	body = bytes.TrimSpace(body)
	members, err := parseObject(body)
	if err != nil {
		return nil, fail(ReasonInvalidUserinfo, http.StatusBadGateway, publicTryAgain, "userinfo: %w", err)
	}
	if sub, err := subject(members); err != nil || sub != wantSubject {
		return nil, fail(ReasonInvalidUserinfo, http.StatusUnauthorized, publicTryAgain, "userinfo: sub is not that of the ID token")
	}
	return body, nil
}

// checkForwarded bounds what will be sent upstream with every request.
func checkForwarded(claims []byte, access string) error {
	if n := len(claims) + len(access); n > maxForwarded {
		return fail(ReasonTooLarge, http.StatusInternalServerError,
			"Your account holds more data than this site can take. Please tell its operator.",
			"userinfo and access token: want at most %d bytes, got %d", maxForwarded, n)
	}
	return nil
}

// revoke makes a refresh token worthless (RFC 7009). It is bounded in time and not tied to the
// browser, which may be gone already.
func (p *Provider) revoke(ctx context.Context, c *connection, refresh string) error {
	if refresh == "" || c.revocation == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(revokeTimeout, p.timeout))
	defer cancel()
	form := url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}}
	if p.set.authStyle == oauth2.AuthStyleInParams {
		form.Set("client_id", p.set.clientID)
		if p.set.clientSecret != "" {
			form.Set("client_secret", p.set.clientSecret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.set.authStyle == oauth2.AuthStyleInHeader {
		r.SetBasicAuth(url.QueryEscape(p.set.clientID), url.QueryEscape(p.set.clientSecret))
	}
	a, err := do(p.client, r)
	if err != nil {
		return fmt.Errorf("revoke: %s", networkError(err))
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("revoke: status %d", a.status)
	}
	return nil
}
