package authn

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Reasons of an [Error]. Those that begin with Auth are AWS's own, so that dashboards built on the
// access log of an Application Load Balancer keep their meaning
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html).
const (
	ReasonMissingHost          = "AuthMissingHostHeader"
	ReasonMissingState         = "AuthMissingStateParam"
	ReasonMissingCode          = "AuthMissingCodeParam"
	ReasonInvalidState         = "AuthInvalidStateParam"
	ReasonMissingLoginCookie   = "AuthMissingAWSALBAuthNonce"
	ReasonInvalidLoginCookie   = "AuthInvalidAWSALBAuthNonce"
	ReasonInvalidGrant         = "AuthInvalidGrantError"
	ReasonInvalidIDToken       = "AuthInvalidIdToken"
	ReasonInvalidTokenResponse = "AuthInvalidTokenResponse"
	ReasonInvalidUserinfo      = "AuthInvalidUserinfoResponse"
	ReasonTokenFailed          = "AuthTokenEpRequestFailed"
	ReasonTokenTimeout         = "AuthTokenEpRequestTimeout"
	ReasonUserinfoFailed       = "AuthUserinfoEpRequestFailed"
	ReasonUserinfoTimeout      = "AuthUserinfoEpRequestTimeout"
	ReasonTooLarge             = "AuthUserinfoResponseSizeExceeded"
	ReasonUnhandled            = "AuthUnhandledException"

	// ALB's of jwt-validation, for routes that have its manners.
	ReasonTokenAbsent    = "JWTHeaderNotPresent"
	ReasonTokenFormat    = "JWTRequestFormatInvalid"
	ReasonTokenSignature = "JWTSignatureValidationError"
	ReasonClaimAbsent    = "JWTClaimNotPresent"
	ReasonClaimFormat    = "JWTClaimFormatInvalid"
	ReasonClaimValue     = "JWTClaimValueInvalid"
	ReasonKeysTimeout    = "JWKSRequestTimeout"
	ReasonKeysTooLarge   = "JWKSResponseSizeExceeded"
	ReasonKeysFailed     = "JWKSRequestFailed"
	ReasonKeysInvalid    = "JWKSResponseInvalid"

	// These have no counterpart in AWS's list.
	ReasonBadRequest          = "AuthBadRequest"          // a parameter or header is repeated or malformed
	ReasonProviderError       = "AuthProviderError"       // the provider came back with error=
	ReasonProviderUnavailable = "AuthProviderUnavailable" // the provider cannot be reached
	ReasonUnauthenticated     = "AuthUnauthenticated"     // nobody is signed in
	ReasonForbidden           = "AuthForbidden"           // signed in, but not allowed
	ReasonCrossOrigin         = "AuthCrossOriginWebSocket"
	ReasonInvalidToken        = "AuthInvalidBearerToken"
	ReasonScope               = "AuthInsufficientScope"
	ReasonStepUp              = "AuthStepUpRequired"       // signed in, but too long ago or too weakly
	ReasonOtherProvider       = "AuthOtherProvider"        // signed in, but with a provider that is not taken here
	ReasonEmailNotVerified    = "AuthEmailNotVerified"     // signed in, and nobody vouches for the address
	ReasonCookieLost          = "AuthCookieNotReturned"    // the browser does not send our cookies back
	ReasonCallbackHost        = "AuthCallbackHostMismatch" // a sign-in came back to a host it was not begun on
	ReasonClock               = "AuthClockSkew"            // what is fresh is not valid: a clock is wrong
	ReasonLoop                = "AuthSignInLoop"           // sign-ins succeed, and the sessions do not last
)

// retryAfter is what clients are told to wait while the provider cannot be reached.
const retryAfter = 5 * time.Second

// Error is a refusal by this package. Its text is for the log and never holds a secret; what the
// client may read is Public.
type Error struct {
	Reason     string        // one of the Reason constants
	Status     int           // HTTP status
	RetryAfter time.Duration // when not zero, worth a Retry-After header
	Challenge  string        // when not empty, the WWW-Authenticate header

	public  string
	account string
	signOut string
	err     error

	offer, offerHref string // a link that is better than signing out
}

// Error returns the reason and the cause.
func (e *Error) Error() string {
	if e.err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.err.Error()
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.err }

// HTTPStatus returns the status that the client gets.
func (e *Error) HTTPStatus() int { return e.Status }

// Public returns a sentence that may be shown to the client. It is plain text and must be escaped.
func (e *Error) Public() string { return e.public }

// Account returns the e-mail address or name of the account that was refused, or "".
func (e *Error) Account() string { return e.account }

// Action returns a link worth offering with the refusal: its label and its path. Both are empty
// when there is none.
func (e *Error) Action() (label, href string) {
	switch {
	case e.offer != "":
		return e.offer, e.offerHref
	case e.signOut == "":
		return "", ""
	}
	return "Sign out and use another account", e.signOut
}

// Fields returns further members for an answer in JSON: the reason, the account that was refused,
// and where it can sign out.
func (e *Error) Fields() map[string]string {
	fields := map[string]string{"reason": e.Reason}
	if e.account != "" {
		fields["account"] = e.account
	}
	if e.signOut != "" {
		fields["sign_out"] = e.signOut
	}
	if e.offer != "" {
		fields["sign_in"] = e.offerHref
	}
	return fields
}

// Header puts the headers that go with the refusal on an answer: Retry-After and WWW-Authenticate.
func (e *Error) Header(h http.Header) {
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(e.RetryAfter/time.Second)))
	}
	if e.Challenge != "" {
		h.Set("WWW-Authenticate", e.Challenge)
	}
}

// ErrProviderUnavailable says that the provider has not been reached since the program started, so
// nobody can sign in and no token can be checked. Sessions that exist keep working.
var ErrProviderUnavailable error = &Error{
	Reason:     ReasonProviderUnavailable,
	Status:     http.StatusServiceUnavailable,
	RetryAfter: retryAfter,
	public:     "The sign-in service cannot be reached at the moment. Please try again shortly.",
	err:        errors.New("the provider has not been reached yet"),
}

var (
	errUnauthenticated = &Error{
		Reason: ReasonUnauthenticated, Status: http.StatusUnauthorized,
		Challenge: `Cookie realm="gatehouse"`,
		public:    "You are not signed in.",
	}
	errCrossOrigin = &Error{
		Reason: ReasonCrossOrigin, Status: http.StatusForbidden,
		public: "This WebSocket was opened by a page of another site.",
		err:    errors.New("the Origin of the WebSocket is not this host"),
	}
)

// fail builds an Error whose cause is formatted from the rest.
func fail(reason string, status int, public, format string, args ...any) *Error {
	return &Error{Reason: reason, Status: status, public: public, err: fmt.Errorf(format, args...)}
}

// clip bounds text that came from outside before it enters an error, and drops control bytes.
func clip(s string, limit int) string {
	out := make([]rune, 0, min(len(s), limit))
	for _, r := range s {
		if len(out) == limit {
			return string(out) + "…"
		}
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}
