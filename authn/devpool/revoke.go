package devpool

import (
	"errors"
	"net/http"
	"strings"
)

// serveRevoke ends a refresh token and every other token of its sign-in (RFC 7009, with Cognito's
// answers).
func (p *Pool) serveRevoke(w http.ResponseWriter, r *http.Request) {
	if err := p.revoke(r); err != nil {
		writeOAuthError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

func (p *Pool) revoke(r *http.Request) error {
	f, err := readForm(r)
	var c *Client
	if err == nil {
		c, err = p.client(f)
	}
	if err != nil {
		if e, ok := errors.AsType[*oauthError](err); ok && e.code == errInvalidClient {
			e.status = http.StatusUnauthorized // here, unlike at the token endpoint
		}
		return err
	}
	token := f.values.Get("token")
	switch {
	case token == "" || c.NoRevocation:
		return refuse(errInvalidRequest)
	case strings.Count(token, ".") == 2: // a signed JWT, so not a refresh token
		return refuse(errUnsupportedTokenType)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rt := p.store.refresh[hash(token)]
	switch {
	case rt == nil: // unknown or revoked long ago
		return nil
	case rt.grant.client != c: // RFC 7009 section 2.1
		return refuse(errInvalidRequest)
	}
	rt.grant.revoked = true
	return nil
}
