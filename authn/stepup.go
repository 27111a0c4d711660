package authn

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn/identity"
)

const (
	// maxACRs and maxACRBytes bound what a rule may ask for: it travels in the login cookie, beside a
	// return path of maxReturn.
	maxACRs     = 8
	maxACRBytes = 512
	// minMaxAge leaves time to come back from the provider: with less, every answer were too old.
	minMaxAge = time.Minute
	maxMaxAge = maxTimeout
)

// StepUp is what a rule asks of how and when somebody signed in. The zero value asks nothing.
//
// A session that falls short begins a login that asks the provider for it (OpenID Connect Core 1.0
// section 3.1.2.1), and what comes back must live up to it. Cognito cannot be asked for acr, and
// takes prompt=login for max_age.
type StepUp struct {
	ACR    []string      // acr must be one of them; none means that any will do
	MaxAge time.Duration // how long ago the person may have proved who they are; 0 is any time
	Prompt string        // what logins that the rule begins send as prompt; of a session it asks nothing
}

// Validate reports what is wrong with it.
func (u StepUp) Validate(report func(field, msg string)) {
	if n := len(u.ACR); n > maxACRs {
		report("acr", fmt.Sprintf("want at most %d, got %d", maxACRs, n))
	}
	size := 0
	for i, acr := range u.ACR {
		size += len(acr)
		if !validScope(acr) || len(acr) > maxACR {
			report(fmt.Sprintf("acr[%d]", i), fmt.Sprintf("want one name without blanks and quotes, of at most %d bytes, got %q", maxACR, clip(acr, 200)))
		}
	}
	if size > maxACRBytes {
		report("acr", fmt.Sprintf("want at most %d bytes in all, got %d", maxACRBytes, size))
	}
	if u.MaxAge != 0 && (u.MaxAge < minMaxAge || u.MaxAge > maxMaxAge || u.MaxAge%time.Second != 0) {
		report("max_age", fmt.Sprintf("want whole seconds from 1m to 8760h, got %s", u.MaxAge))
	}
	if u.Prompt != "" && !slices.Contains(Prompts(), u.Prompt) {
		report("prompt", fmt.Sprintf("want %s, got %q", strings.Join(Prompts(), " or "), clip(u.Prompt, 60)))
	}
}

// Prompts are the values that [StepUp].Prompt takes. "none" is not among them: a login that may show
// nothing signs nobody in who is not.
func Prompts() []string { return []string{"login", "select_account", "consent"} }

// any says whether anything is asked for.
func (u StepUp) any() bool { return len(u.ACR) > 0 || u.MaxAge > 0 || u.Prompt != "" }

// lacks says what an identity falls short of, or "".
func (u StepUp) lacks(id *identity.Identity, now time.Time) string {
	switch {
	case len(u.ACR) > 0 && !slices.Contains(u.ACR, id.ACR):
		return "acr"
	case u.MaxAge > 0 && !id.AuthTimeStated:
		return "auth_time"
	case u.MaxAge > 0 && now.Sub(id.AuthTime) > u.MaxAge+skew:
		return "max_age"
	}
	return ""
}

// params are those of the authorize URL. They replace what extra_params says alike.
func (u StepUp) params(cognito bool) []param {
	prompt := u.Prompt
	var list []param
	switch {
	case u.MaxAge > 0 && cognito:
		prompt = cmp.Or(prompt, "login") // managed login knows no max_age
	case u.MaxAge > 0:
		list = append(list, param{"max_age", u.seconds()})
	}
	if len(u.ACR) > 0 {
		list = append(list, param{"acr_values", strings.Join(u.ACR, " ")})
	}
	if prompt != "" {
		list = append(list, param{"prompt", prompt})
	}
	return list
}

func (u StepUp) seconds() string { return strconv.FormatInt(int64(u.MaxAge/time.Second), 10) }

// query are the parameters by which the sign-in endpoint is asked for it.
func (u StepUp) query() []param { return u.params(false) }

// verify holds the ID token of a login against what was asked for. auth_time is required when
// max_age was sent (OpenID Connect Core 1.0 section 2), and acr must be one of those that were named.
func (u StepUp) verify(t *idToken, now time.Time) error {
	short := u.lacks(&identity.Identity{ACR: t.acr, AuthTime: t.authTime, AuthTimeStated: t.dated}, now)
	if short == "" {
		return nil
	}
	return fail(ReasonStepUp, http.StatusForbidden,
		"You are signed in, but the sign-in service did not confirm it as recently or as strongly as this page asks.",
		"ID token: %s", u.complaint(short, t.acr, now.Sub(t.authTime)))
}

// complaint is what the log reads.
func (u StepUp) complaint(short, acr string, age time.Duration) string {
	switch short {
	case "acr":
		return fmt.Sprintf("acr: want one of %q, got %q", u.ACR, acr)
	case "auth_time":
		return "auth_time: missing, and max_age was asked for"
	}
	return fmt.Sprintf("auth_time: want at most %s ago, got %s", u.MaxAge, age.Round(time.Second))
}

// refusal is that of a session that falls short: signing in again would help.
func (u StepUp) refusal(short string, id *identity.Identity, now time.Time) *Error {
	return &Error{
		Reason: ReasonStepUp, Status: http.StatusUnauthorized, Challenge: errUnauthenticated.Challenge,
		public: "This page wants you to confirm who you are.",
		err:    fmt.Errorf("session: %s", u.complaint(short, id.ACR, now.Sub(id.AuthTime))),
	}
}

// tokenRefusal is RFC 9470 section 3.
func (u StepUp) tokenRefusal(short string, id *identity.Identity, now time.Time) *Error {
	challenge := `Bearer error="insufficient_user_authentication", ` +
		`error_description="the access token was issued for a sign-in that is too old or too weak"`
	if len(u.ACR) > 0 {
		challenge += `, acr_values="` + strings.Join(u.ACR, " ") + `"`
	}
	if u.MaxAge > 0 {
		challenge += `, max_age="` + u.seconds() + `"`
	}
	return &Error{
		Reason: ReasonStepUp, Status: http.StatusUnauthorized, Challenge: challenge,
		public: "The access token was issued for a sign-in that is too old or too weak for this address.",
		err:    fmt.Errorf("token: %s", u.complaint(short, id.ACR, now.Sub(id.AuthTime))),
	}
}

func (u StepUp) append(b []byte) []byte {
	b = appendTexts(b, u.ACR)
	b = binary.AppendVarint(b, int64(u.MaxAge))
	return appendText(b, u.Prompt)
}

func (r *reader) stepUp() StepUp {
	return StepUp{ACR: r.texts(), MaxAge: time.Duration(r.int()), Prompt: r.text()}
}
