package devpool

import (
	"net/http"
	"slices"
	"strings"
)

// The two refusals of userInfo. Neither WWW-Authenticate has a scheme before "error=", which is what
// Cognito sends and RFC 9110 section 11.6.1 does not allow.
const (
	badUserInfoRequest = `error="invalid_request", error_description="Bad OAuth2 request at UserInfo Endpoint"`
	badUserInfoToken   = `error="invalid_token", error_description="Access token is expired, disabled, or deleted, or the user has globally signed out."`
)

func (p *Pool) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", badUserInfoRequest)
		writeOAuthError(w, &oauthError{
			code: errInvalidRequest, description: "Bad OAuth2 request at UserInfo Endpoint",
		})
		return
	}
	info, ok := p.userInfo(token)
	if !ok {
		w.Header().Set("WWW-Authenticate", badUserInfoToken)
		writeOAuthError(w, &oauthError{
			status: http.StatusUnauthorized, code: "invalid_token",
			description: "Access token is expired, disabled, or deleted, or the user has globally signed out.",
		})
		return
	}
	writeJSON(w, http.StatusOK, info.override(p.currentFaults().UserInfo))
}

// userInfo returns the claims that an access token from the token endpoint opens. It knows the token
// by its hash, so that a token with wrong claims or an old key still finds its user.
func (p *Pool) userInfo(token string) (object, bool) {
	p.mu.Lock()
	at := p.store.access[hash(token)]
	ok := at != nil && p.opts.Now().Before(at.expires) && !at.grant.revoked && slices.Contains(at.grant.scopes, "openid")
	p.mu.Unlock()
	if !ok {
		return nil, false
	}
	u, ok := p.user(at.grant.username)
	if !ok {
		return nil, false
	}
	info := append(object{{"sub", u.Sub}}, attributes(at.grant, u, true)...)
	return info.with("username", u.Username), true
}
