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
func bearerToken(h http.Header, d dialect) (string, *Error) {
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
		if d == dialectAPIGateway || d.rest() {
			return values[0], nil
		}
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

// bearer returns the identity that an access token of this provider proves.
func (p *Provider) bearer(ctx context.Context, raw string) (*identity.Identity, error) {
	id, err := Tokens{Logins: Providers{p}}.verify(ctx, raw, dialectOwn, nil, "")
	if err != nil {
		return nil, dialectOwn.refusal(err)
	}
	return id, nil
}

// Tokens says whose bearer tokens a route takes, and how it reads them. The zero value takes none.
type Tokens struct {
	// Issuers are those whose tokens are taken.
	Issuers []*TokenIssuer
	// Logins are providers whose access tokens are taken too, as far as the rule and the host allow.
	Logins Providers
	// Compat is whose manners are kept: one of the Compat constants, "" for our own.
	Compat string
}

// at returns the i-th of those that might be asked about a token, or nil where the route does not take
// its tokens.
func (t Tokens) at(i int, providers []string, host string) *TokenIssuer {
	if i < len(t.Issuers) {
		return t.Issuers[i]
	}
	p := t.Logins[i-len(t.Issuers)]
	if len(t.Logins) > 1 && !t.Logins.takes(p, providers, host) {
		return nil
	}
	return p.access
}

func (t Tokens) count() int { return len(t.Issuers) + len(t.Logins) }

// verify returns the identity that a token proves to the issuer that it names. That name is believed of
// nobody: it says whose keys, algorithms and audience the token has to stand up to, and which keys are
// not fetched for a token of somebody else.
func (t Tokens) verify(ctx context.Context, raw string, d dialect, providers []string, host string) (*identity.Identity, error) {
	if len(raw) > maxToken {
		return nil, fault(faultMalformed, "want at most %d bytes, got %d", maxToken, len(raw))
	}
	key := tokenKey{dialect: d, sum: sumToken(raw)}
	for i := range t.count() {
		if issuer := t.at(i, providers, host); issuer != nil {
			if id := issuer.remembered(ctx, key); id != nil {
				return id, nil
			}
		}
	}
	name := claimedIssuer(raw)
	err := fault(faultIssuer, "iss: %q is not taken here", clip(name, 200))
	for i := range t.count() {
		issuer := t.at(i, providers, host)
		if issuer == nil || issuer.set.issuer != name && t.count() > 1 {
			continue
		}
		var id *identity.Identity // a login's providers may be several clients of one issuer
		if id, err = issuer.verify(ctx, raw, key); err == nil {
			return id, nil
		}
	}
	return nil, err
}

func sumToken(raw string) [sha256.Size]byte {
	var buf [2048]byte // on the stack; an ordinary token fits
	return sha256.Sum256(append(buf[:0], raw...))
}

// payloadSegment is the middle of a token.
func payloadSegment(raw string) string {
	_, rest, _ := strings.Cut(raw, ".")
	segment, _, _ := strings.Cut(rest, ".")
	return segment
}

// claimedIssuer returns what a token says its issuer is, unverified.
func claimedIssuer(raw string) string {
	payload, err := decodeSegment(payloadSegment(raw))
	if err != nil {
		return ""
	}
	members, err := parseObject(payload)
	if err != nil {
		return ""
	}
	issuer, _ := members.text("iss")
	return issuer
}

// checkFor tells an access token that was made for us from every other token of the same issuer.
func (t *TokenIssuer) checkFor(cl *claims, d dialect) error {
	if len(t.set.clients)+len(t.set.audience)+len(t.set.claims) == 0 && !t.set.anyAudience {
		return fault(faultAudience, "aud: nothing is configured that says which tokens are for us") // attack case O40
	}
	if cl.members.has("cnf") {
		return fault(faultValue, "cnf: tokens that are bound to a key are not supported") // RFC 9449 section 7.2
	}
	if cl.members.has("events") {
		return fault(faultValue, "a logout token is not an access token")
	}
	aud, err := cl.members.list("aud")
	if err != nil {
		return fault(faultForm, "%w", err)
	}
	if d == dialectOwn {
		if err := t.checkUse(cl); err != nil {
			return err
		}
	}
	switch {
	case d == dialectAPIGateway:
		err = t.checkAPIGatewayAudience(cl, aud)
	case d.rest():
		err = t.checkREST(cl, aud, d)
	default:
		err = t.checkAudience(cl, aud)
	}
	if err != nil {
		return err
	}
	for _, claim := range t.set.claims {
		if err := claim.check(cl); err != nil {
			return err
		}
	}
	return nil
}

// checkUse wants an access token, by all the signs that there are of another one. Cognito's always say
// what they are for; whoever else says so is believed too.
func (t *TokenIssuer) checkUse(cl *claims) error {
	switch cl.header.typ {
	case "", "jwt", "at+jwt": // RFC 9068 section 4
	default:
		return fault(faultValue, "typ: %q is not an access token", clip(cl.header.typ, 40))
	}
	if use, _ := cl.members.text("token_use"); use != "access" && (t.set.cognito || cl.members.has("token_use")) {
		return fault(faultValue, `token_use: want "access", got %q`, clip(use, 40))
	}
	if !t.set.cognito && (cl.members.has("nonce") || cl.members.has("at_hash") || cl.members.has("c_hash")) {
		return fault(faultValue, "an ID token is not an access token")
	}
	return nil
}

// ofCognito says whether a token is of Cognito's making.
func (t *TokenIssuer) ofCognito(cl *claims) bool { return t.set.cognito || cl.members.has("token_use") }

// checkAudience: Cognito's access tokens name the client in client_id; aud is there only with resource
// binding.
func (t *TokenIssuer) checkAudience(cl *claims, aud []string) error {
	if len(t.set.clients) > 0 {
		if client, _ := cl.members.text("client_id"); client == "" || !slices.Contains(t.set.clients, client) {
			return fault(faultAudience, "client_id: %q is not taken here", clip(client, 100))
		}
		if len(aud) == 0 && t.ofCognito(cl) {
			return nil
		}
	}
	if len(t.set.audience) > 0 && !intersects(aud, t.set.audience) {
		return fault(faultAudience, "aud: want one of %q, got %q", t.set.audience, clip(strings.Join(aud, " "), 200))
	}
	return nil
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return s != "" && slices.Contains(b, s) })
}

func (t *TokenIssuer) identity(cl *claims, raw string, d dialect) (*identity.Identity, error) {
	cognito := t.ofCognito(cl)
	groupsClaim, nameClaim := t.set.groupsClaim, "preferred_username"
	if cognito {
		nameClaim = "username"
	}
	switch {
	case groupsClaim != "":
	case cognito:
		groupsClaim = "cognito:groups"
	default:
		groupsClaim = "groups"
	}
	groups, err := cl.members.list(groupsClaim)
	if err != nil {
		return nil, fault(faultForm, "%w", err)
	}
	id := &identity.Identity{
		Issuer: t.set.issuer, ClientID: t.set.clientID, Subject: cl.subject,
		Groups: groups, Scopes: tokenScopes(cl.members),
		ACR: cl.acr(), Expires: cl.expires.Add(d.leeway()),
		AccessToken: raw, Claims: cl.raw,
	}
	for _, name := range []string{"client_id", "azp"} {
		if client, ok := cl.members.text(name); ok && (name == "client_id" || t.set.clientID == "") {
			id.ClientID = client
			break
		}
	}
	id.Username, _ = cl.members.text(nameClaim)
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
