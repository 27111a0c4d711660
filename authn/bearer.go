package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/authn/identity"
)

// bearerToken returns the one token of the Authorization header (RFC 6750 section 2.1). Tokens in
// the query, the body or a cookie are not looked at.
func bearerToken(h http.Header) (string, *Error) {
	values := h["Authorization"]
	if len(values) == 0 {
		return "", &Error{
			Reason: ReasonUnauthenticated, Status: http.StatusUnauthorized, Challenge: "Bearer",
			public: "This address wants an access token.", err: errors.New("no Authorization header"),
		}
	}
	if len(values) > 1 {
		return "", &Error{
			Reason: ReasonBadRequest, Status: http.StatusBadRequest, Challenge: `Bearer error="invalid_request"`,
			public: "There is more than one Authorization header.", err: errors.New("several Authorization headers"),
		}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &Error{
			Reason: ReasonUnauthenticated, Status: http.StatusUnauthorized, Challenge: "Bearer",
			public: "This address wants an access token.", err: errors.New("authorization is not Bearer"),
		}
	}
	return strings.Trim(token, " "), nil
}

func invalidToken(err error) *Error {
	return &Error{
		Reason: ReasonInvalidToken, Status: http.StatusUnauthorized, Challenge: `Bearer error="invalid_token"`,
		public: "The access token is not valid.", err: err,
	}
}

// insufficientScope is RFC 6750 section 3.1.
func insufficientScope(want []string) *Error {
	return &Error{
		Reason: ReasonScope, Status: http.StatusForbidden,
		Challenge: `Bearer error="insufficient_scope", scope="` + strings.Join(want, " ") + `"`,
		public:    "The access token lacks a scope that this address wants.",
		err:       fmt.Errorf("scopes: want %q", strings.Join(want, " ")),
	}
}

// bearer returns the identity that an access token proves. Verified tokens are remembered until
// they expire; the key covers the token and whose it is, so that a token taken by one provider is
// never taken by another (attack case O48).
func (p *Provider) bearer(ctx context.Context, raw string) (*identity.Identity, error) {
	c, err := p.connected()
	if err != nil {
		return nil, err
	}
	if len(raw) > maxToken {
		return nil, invalidToken(fmt.Errorf("want at most %d bytes, got %d", maxToken, len(raw)))
	}
	key := p.tokenKey(raw)
	now := p.now()
	if id, ok := p.tokens.get(key); ok && now.Before(id.Expires) {
		return id, nil
	}
	cl, err := c.verify(ctx, p.set.issuer, raw, now)
	if err != nil {
		return nil, invalidToken(err)
	}
	if err := p.checkAccessToken(cl); err != nil {
		return nil, invalidToken(err)
	}
	id, err := p.tokenIdentity(cl, raw)
	if err != nil {
		return nil, invalidToken(err)
	}
	p.tokens.put(key, id, len(raw)+len(id.Claims)+512)
	return id, nil
}

func (p *Provider) tokenKey(raw string) [sha256.Size]byte {
	var buf [2048]byte // on the stack; an ordinary token fits
	b := append(buf[:0], p.set.issuer...)
	b = append(b, 0)
	b = append(b, p.set.clientID...)
	b = append(b, 0)
	return sha256.Sum256(append(b, raw...))
}

// checkAccessToken tells an access token that was made for us from every other token of the same
// issuer.
func (p *Provider) checkAccessToken(cl *claims) error {
	switch cl.header.typ {
	case "", "jwt", "at+jwt": // RFC 9068 section 4
	default:
		return fmt.Errorf("typ: %q is not an access token", clip(cl.header.typ, 40))
	}
	if cl.members.has("cnf") {
		return errors.New("cnf: tokens that are bound to a key are not supported") // RFC 9449 section 7.2
	}
	if cl.members.has("events") {
		return errors.New("a logout token is not an access token")
	}
	aud, err := cl.members.list("aud")
	if err != nil {
		return err
	}
	if p.set.cognito {
		return p.checkCognitoToken(cl, aud)
	}
	if cl.members.has("nonce") || cl.members.has("at_hash") || cl.members.has("c_hash") {
		return errors.New("an ID token is not an access token")
	}
	if !intersects(aud, p.set.audience) {
		return fmt.Errorf("aud: want one of %q, got %q", p.set.audience, clip(strings.Join(aud, " "), 200))
	}
	return nil
}

// checkCognitoToken: Cognito's access tokens name the client in client_id; aud is there only with
// resource binding.
func (p *Provider) checkCognitoToken(cl *claims, aud []string) error {
	if use, _ := cl.members.text("token_use"); use != "access" {
		return fmt.Errorf(`token_use: want "access", got %q`, clip(use, 40))
	}
	if client, _ := cl.members.text("client_id"); !slices.Contains(p.set.clients, client) || client == "" {
		return fmt.Errorf("client_id: %q is not taken here", clip(client, 100))
	}
	if len(p.set.audience) > 0 && len(aud) > 0 && !intersects(aud, p.set.audience) {
		return fmt.Errorf("aud: want one of %q, got %q", p.set.audience, clip(strings.Join(aud, " "), 200))
	}
	return nil
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return s != "" && slices.Contains(b, s) })
}

func (p *Provider) tokenIdentity(cl *claims, raw string) (*identity.Identity, error) {
	groups, err := cl.members.list(p.set.groupsClaim)
	if err != nil {
		return nil, err
	}
	id := &identity.Identity{
		Issuer: p.set.issuer, ClientID: p.set.clientID, Subject: cl.subject,
		Groups: groups, Scopes: tokenScopes(cl.members),
		ACR: cl.acr(), Expires: cl.expires.Add(skew),
		AccessToken: raw, Claims: cl.raw,
	}
	if client, ok := cl.members.text("client_id"); ok {
		id.ClientID = client
	}
	name := "preferred_username"
	if p.set.cognito {
		name = "username"
	}
	id.Username, _ = cl.members.text(name)
	id.Email, _ = cl.members.text("email")
	id.EmailVerified = id.Email != "" && cl.members.flag("email_verified")
	id.AuthTime, id.AuthTimeStated = cl.authenticated()
	return id, nil
}

// tokenScopes reads scope (RFC 8693 section 4.2), or scp where some providers have it.
func tokenScopes(members object) []string {
	if s, ok := members.text("scope"); ok {
		return strings.Fields(s)
	}
	scopes, err := members.list("scp")
	if err != nil {
		return nil
	}
	if len(scopes) == 1 {
		return strings.Fields(scopes[0])
	}
	return scopes
}
