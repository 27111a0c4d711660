package authn

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn/identity"
)

// Whose manners a route has with bearer tokens.
const (
	// CompatALB are those of an Application Load Balancer's jwt-validation.
	CompatALB = "aws"
	// CompatAPIGateway are those of the JWT authorizer of an API Gateway's HTTP API.
	CompatAPIGateway = "api-gateway"
	// CompatRESTAPI are those of the Cognito authorizer of an API Gateway's REST API.
	CompatRESTAPI = "api-gateway-rest"
)

// A dialect is what the Compat constants differ in: which tokens are taken and how a refusal looks. What
// is never a difference is that tokens are read strictly and by the keys of their own issuer alone.
type dialect uint8

const (
	dialectOwn dialect = iota
	dialectALB
	dialectAPIGateway
	dialectRESTID     // of a REST API, on a route without scopes
	dialectRESTAccess // and on one with scopes
)

// rest says whether it is the dialect of a REST API.
func (d dialect) rest() bool { return d == dialectRESTID || d == dialectRESTAccess }

// dialect returns that of a route that wants scopes.
func (t Tokens) dialect(scopes []string) (dialect, error) {
	switch t.Compat {
	case "":
		return dialectOwn, nil
	case CompatALB:
		return dialectALB, nil
	case CompatAPIGateway:
		return dialectAPIGateway, nil
	case CompatRESTAPI:
		if len(scopes) > 0 {
			return dialectRESTAccess, nil
		}
		return dialectRESTID, nil
	}
	return 0, fail(ReasonUnhandled, http.StatusInternalServerError, "", "tokens: unknown compat %q", t.Compat)
}

// check returns the identity of the request's token. In AWS's dialects the token has the scopes then; in
// our own they are looked at with the rest of the rule.
func (t Tokens) check(r *http.Request, scopes, providers []string) (*identity.Identity, error) {
	d, err := t.dialect(scopes)
	if err != nil {
		return nil, err
	}
	raw, refusal := bearerToken(r.Header, d)
	if refusal != nil {
		if d == dialectALB && refusal.Status == http.StatusUnauthorized {
			refusal.Reason = ReasonTokenAbsent
		}
		if d.rest() {
			refusal.Challenge = ""
		}
		return nil, refusal
	}
	id, err := t.verify(r.Context(), raw, d, providers, canonicalHost(r.Host))
	if err != nil {
		return nil, d.refusal(err)
	}
	switch {
	case len(scopes) == 0, d == dialectOwn:
	case d != dialectALB && !intersects(id.Scopes, scopes): // any one of them will do
		return nil, d.scopeRefusal(scopes)
	case d == dialectALB && !containsAll(id.Scopes, scopes): // as of a claim of space-separated values
		return nil, d.scopeRefusal(scopes)
	}
	return id, nil
}

// takesAlgorithm narrows what the issuer's configuration takes.
func (d dialect) takesAlgorithm(alg string) bool {
	switch d {
	case dialectALB, dialectRESTID, dialectRESTAccess:
		return alg == "RS256"
	case dialectAPIGateway:
		return alg == "RS256" || alg == "RS384" || alg == "RS512"
	}
	return true
}

// leeway is how far our clock and the issuer's may differ. API Gateway documents none.
func (d dialect) leeway() time.Duration {
	if d == dialectAPIGateway || d.rest() {
		return 0
	}
	return skew
}

// parseClaims reads the payload of an access token. AWS wants iss and exp alone and looks at the other
// times where they are; we want to know who it is and since when.
func (d dialect) parseClaims(payload []byte) (*claims, error) {
	members, err := parseObject(payload)
	if err != nil {
		return nil, fault(faultMalformed, "payload: %w", err)
	}
	required := []string{"iss", "exp"}
	if d == dialectOwn {
		required = append(required, "sub", "iat")
	}
	for _, name := range required {
		if !members.has(name) {
			return nil, fault(faultMissing, "%s: missing", name)
		}
	}
	c := &claims{raw: payload, members: members}
	if members.has("sub") {
		if c.subject, err = subject(members); err != nil {
			return nil, fault(faultForm, "%w", err)
		}
	}
	for _, name := range []string{"exp", "iat", "nbf"} {
		at, ok := members.seconds(name)
		if !ok && members.has(name) {
			return nil, fault(faultForm, "%s: want a time", name)
		}
		switch {
		case !ok:
		case name == "exp":
			c.expires = time.Unix(at, 0)
		case name == "iat":
			c.issued = time.Unix(at, 0)
		}
	}
	return c, nil
}

func (d dialect) checkTimes(c *claims, now time.Time) error {
	if !now.Before(c.expires.Add(d.leeway())) {
		return fault(faultExpired, "expired at %s", c.expires.UTC().Format(time.RFC3339))
	}
	latest := now.Add(d.leeway())
	if c.issued.After(latest) {
		return fault(faultValue, "issued in the future, at %s", c.issued.UTC().Format(time.RFC3339))
	}
	if nbf, ok := c.members.seconds("nbf"); ok && time.Unix(nbf, 0).After(latest) {
		return fault(faultValue, "not valid yet")
	}
	return nil
}

// checkAPIGatewayAudience: the one list is compared with aud, and with client_id only where there is no
// aud. An access token that is bound to a resource has both, and then it is aud that counts.
func (t *TokenIssuer) checkAPIGatewayAudience(cl *claims, aud []string) error {
	if len(t.set.audience)+len(t.set.clients) == 0 {
		return nil
	}
	field := "aud"
	if !cl.members.has("aud") {
		client, _ := cl.members.text("client_id")
		field, aud = "client_id", []string{client}
	}
	if !intersects(aud, t.set.audience) && !intersects(aud, t.set.clients) {
		return fault(faultAudience, "%s: %q is not taken here", field, clip(strings.Join(aud, " "), 200))
	}
	return nil
}

// checkREST wants an ID token on a route without scopes and an access token on one with them. Unlike the
// authorizer, which takes those of every client of its pool, it wants one of a client that is listed (attack case O40).
func (t *TokenIssuer) checkREST(cl *claims, aud []string, d dialect) error {
	want := "id"
	if d == dialectRESTAccess {
		want = "access"
	}
	if use, _ := cl.members.text("token_use"); use != want {
		return fault(faultValue, "token_use: want %q, got %q", want, clip(use, 40))
	}
	if len(t.set.audience)+len(t.set.clients) == 0 {
		return nil
	}
	client, _ := cl.members.text("client_id")
	if names := append(aud, client); !intersects(names, t.set.audience) && !intersects(names, t.set.clients) {
		return fault(faultAudience, "aud and client_id: %q is not taken here", clip(strings.Join(names, " "), 200))
	}
	return nil
}

// A faultKind is what is wrong with a token.
type faultKind uint8

const (
	faultMalformed faultKind = iota
	faultSignature
	faultMissing
	faultForm
	faultValue
	faultIssuer
	faultAudience
	faultExpired
)

// A tokenFault says why a token is refused.
type tokenFault struct {
	kind faultKind
	err  error
}

func (f *tokenFault) Error() string { return f.err.Error() }
func (f *tokenFault) Unwrap() error { return f.err }

func fault(kind faultKind, format string, args ...any) error {
	return &tokenFault{kind, fmt.Errorf(format, args...)}
}

// reason is ALB's name for it.
func (k faultKind) reason() string {
	switch k {
	case faultMalformed:
		return ReasonTokenFormat
	case faultSignature:
		return ReasonTokenSignature
	case faultMissing:
		return ReasonClaimAbsent
	case faultForm:
		return ReasonClaimFormat
	}
	return ReasonClaimValue
}

// description is API Gateway's.
func (k faultKind) description() string {
	switch k {
	case faultMalformed:
		return "unable to decode the token"
	case faultSignature:
		return "the token has an invalid signature"
	case faultIssuer:
		return "the token does not have a valid issuer"
	case faultAudience:
		return "the token does not have a valid audience"
	case faultExpired:
		return "the token has expired"
	}
	return "the token has invalid claims"
}

// refusal is the answer to a token that is not good, or cannot be told to be.
func (d dialect) refusal(err error) error {
	var f *tokenFault
	if !errors.As(err, &f) {
		return d.unavailable(err)
	}
	e := invalidToken(err)
	switch d {
	case dialectALB:
		e.Reason = f.kind.reason()
	case dialectAPIGateway:
		e.Challenge = apiGatewayChallenge("", "invalid_token", f.kind.description())
	case dialectRESTID, dialectRESTAccess:
		e.Challenge = ""
	}
	return e
}

// unavailable is the answer while the issuer's keys cannot be had: nothing is known against the token.
func (d dialect) unavailable(err error) error {
	reason := ReasonKeysFailed
	var away *keysError
	if errors.As(err, &away) {
		reason = away.reason
	}
	e := &Error{
		Reason: ReasonProviderUnavailable, Status: http.StatusServiceUnavailable, RetryAfter: retryAfter,
		public: "Access tokens cannot be checked at the moment. Please try again shortly.", err: err,
	}
	switch d {
	case dialectALB:
		e.Reason, e.Status = reason, http.StatusInternalServerError
		if reason == ReasonKeysFailed || reason == ReasonKeysInvalid {
			e.Status = statusKeysFailed
		}
	case dialectAPIGateway:
		e.Status, e.RetryAfter = http.StatusUnauthorized, 0
		e.Challenge = apiGatewayChallenge("", "invalid_token", "OIDC discovery endpoint communication error")
	case dialectRESTID, dialectRESTAccess: // which calls it AUTHORIZER_FAILURE
		e.Status, e.RetryAfter = http.StatusInternalServerError, 0
	}
	return e
}

// statusKeysFailed is ALB's own.
const statusKeysFailed = 562

func (d dialect) scopeRefusal(want []string) *Error {
	e := insufficientScope(want)
	switch d {
	case dialectALB: // to which scope is a claim like others
		e.Reason, e.Status, e.Challenge = ReasonClaimValue, http.StatusUnauthorized, `Bearer error="invalid_token"`
	case dialectAPIGateway:
		e.Challenge = apiGatewayChallenge(strings.Join(want, " "), "insufficient_scope", "the token does not have the required scopes")
	case dialectRESTAccess:
		e.Status, e.Challenge = http.StatusUnauthorized, ""
	}
	return e
}

// apiGatewayChallenge is as the developer guide of API Gateway shows it. Scopes have no quotes
// (RFC 6749 section 3.3).
func apiGatewayChallenge(scope, code, description string) string {
	return `Bearer scope="` + scope + `" error="` + code + `" error_description="` + description + `"`
}

// asAPIGateway says whether refusals look as those of an API Gateway.
func (t Tokens) asAPIGateway() bool {
	return t.Compat == CompatAPIGateway || t.Compat == CompatRESTAPI
}

// answerAPIGateway writes a refusal as API Gateway does.
func (g *Gate) answerAPIGateway(w http.ResponseWriter, r *http.Request, e *Error) {
	g.told(r, e)
	rest := g.opts.Tokens.Compat == CompatRESTAPI
	message, kind := "Unauthorized", "UnauthorizedException"
	switch f, ok := errors.AsType[*tokenFault](error(e)); {
	case e.Status == http.StatusForbidden:
		message, kind = "Forbidden", "AccessDeniedException"
	case e.Status == http.StatusBadRequest:
		message, kind = "Bad Request", "BadRequestException"
	case e.Status >= http.StatusInternalServerError:
		message, kind = "Internal Server Error", "AuthorizerFailureException"
	case rest && ok && f.kind == faultExpired:
		message = "The incoming token has expired"
	}
	body := `{"message":"` + message + `"}`
	h := w.Header()
	e.Header(h)
	id := "Apigw-Requestid"
	if rest {
		id = "X-Amzn-Requestid"
		h.Set("X-Amzn-Errortype", kind)
	}
	if g.opts.RequestID != nil {
		h.Set(id, g.opts.RequestID(r))
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // the client may have left; there is nobody to tell
	}
}
