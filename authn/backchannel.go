package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Where providers tell us that somebody has signed out there: OpenID Connect Back-Channel Logout 1.0
// and OpenID Connect Front-Channel Logout 1.0.
const (
	// BackchannelPath takes logout tokens: all that a provider sends come from its few addresses.
	BackchannelPath  = "/oauth2/backchannel_logout"
	frontchannelPath = "/oauth2/frontchannel_logout"
)

const (
	// logoutEvent is the member of "events" that makes a token a logout token (section 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutAge is how old a logout token may be. For so long its jti is remembered.
	logoutAge = 5 * time.Minute
	// maxLogoutTokens bounds that memory. Only what a provider has signed can enter it.
	maxLogoutTokens = 1 << 15
	// maxLogoutBody bounds the form that brings a logout token, percent-encoded as it may be.
	maxLogoutBody = 3 * maxToken
	// maxClaimed bounds the sessions of which somebody said by the front channel that they have
	// ended. Anybody may say so, hence they have a place of their own, where they displace each other only.
	maxClaimed = 1 << 14
)

// logoutToken is a verified one. One of sid and subject at least is not empty.
type logoutToken struct {
	issuer, subject, sid, id string
}

// logoutToken verifies a logout token of one of the providers.
func (ps Providers) logoutToken(ctx context.Context, raw string) (logoutToken, error) {
	issuer := claimedIssuer(raw)
	err := fmt.Errorf("iss: %q does not sign out here", clip(issuer, 200))
	for _, p := range ps {
		if p.set.cognito || p.set.issuer != issuer {
			continue
		}
		c, connErr := p.connected()
		if connErr != nil {
			err = connErr
			continue
		}
		var t logoutToken
		if t, err = p.verifyLogoutToken(ctx, c, raw); err == nil {
			return t, nil
		}
	}
	return logoutToken{}, err
}

// verifyLogoutToken checks a logout token as OpenID Connect Back-Channel Logout 1.0 section 2.6 asks. exp
// may be absent, as it was allowed to be in drafts of that text: its age is bounded anyway.
func (p *Provider) verifyLogoutToken(ctx context.Context, c *connection, raw string) (logoutToken, error) {
	head, err := splitToken(raw)
	if err != nil {
		return logoutToken{}, err
	}
	switch head.typ {
	case "", "jwt", "logout+jwt": // section 2.4 recommends the last; many providers type all their tokens alike
	default:
		return logoutToken{}, fmt.Errorf("typ: %q is not a logout token", clip(head.typ, 40))
	}
	payload, err := c.keys.VerifySignature(ctx, raw)
	if err != nil {
		return logoutToken{}, err
	}
	members, err := parseObject(payload)
	if err != nil {
		return logoutToken{}, fmt.Errorf("payload: %w", err)
	}
	cl := &claims{header: head, raw: payload, members: members}
	if iss, ok := members.text("iss"); !ok || iss != p.set.issuer {
		return logoutToken{}, fmt.Errorf("iss: want %q", p.set.issuer)
	}
	if err := cl.checkAudience(p.set.clientID); err != nil {
		return logoutToken{}, err
	}
	if err := cl.checkLogoutTimes(p.now()); err != nil {
		return logoutToken{}, err
	}
	return cl.logoutToken(p.set.issuer)
}

func (c *claims) checkLogoutTimes(now time.Time) error {
	iat, ok := c.members.seconds("iat")
	if !ok {
		return errors.New("iat: want a time")
	}
	switch age := now.Sub(time.Unix(iat, 0)); {
	case age > logoutAge+skew:
		return fmt.Errorf("issued %s ago, want %s at most", age.Round(time.Second), logoutAge)
	case age < -skew:
		return errors.New("issued in the future")
	}
	exp, ok := c.members.seconds("exp")
	if c.members.has("exp") && (!ok || now.After(time.Unix(exp, 0).Add(skew))) {
		return errors.New("exp: want a time that is not over")
	}
	nbf, ok := c.members.seconds("nbf")
	if c.members.has("nbf") && (!ok || time.Unix(nbf, 0).After(now.Add(skew))) {
		return errors.New("nbf: want a time that has come")
	}
	return nil
}

// logoutToken reads what only a logout token has.
func (c *claims) logoutToken(issuer string) (logoutToken, error) {
	t := logoutToken{issuer: issuer}
	var ok bool
	if c.members.has("nonce") {
		return t, errors.New("nonce: a logout token has none")
	}
	events, err := parseObject(c.members["events"])
	if err != nil {
		return t, errors.New("events: want an object")
	}
	if _, err := parseObject(events[logoutEvent]); err != nil {
		return t, errors.New("events: want the logout event, an object")
	}
	if t.id, ok = c.members.text("jti"); !ok || t.id == "" || len(t.id) > maxSubject {
		return t, errors.New("jti: want a text that is not empty")
	}
	if t.sid, ok = c.members.text("sid"); c.members.has("sid") && (!ok || t.sid == "" || len(t.sid) > maxSID) {
		return t, errors.New("sid: want a text that is not empty")
	}
	if c.members.has("sub") {
		if t.subject, err = subject(c.members); err != nil {
			return t, err
		}
	}
	if t.sid == "" && t.subject == "" {
		return t, errors.New("want sid or sub")
	}
	return t, nil
}

var errLogoutReplayed = errors.New("jti: this logout token was used before")

// endAt ends the sessions that a logout token names, once.
func (s *Sessions) endAt(t logoutToken) error {
	if _, first := s.logouts.add(revocationKey("jti", t.issuer, t.id), struct{}{}, 1); !first {
		return errLogoutReplayed
	}
	if t.sid == "" {
		s.endAll(t.issuer, t.subject)
		return nil
	}
	now := s.now()
	s.revoke(Revocation{Key: sidKey(t.issuer, t.sid), Before: now.UnixNano(), Until: s.longest(now)})
	if t.subject != "" {
		s.revoke(Revocation{Key: sidlessKey(t.issuer, t.subject), Before: now.UnixNano(), Until: s.longest(now)})
	}
	return nil
}

// backchannel takes a logout token from the provider itself.
func (e *endpoints) backchannel(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		e.refuseLogout(w, r, http.StatusMethodNotAllowed, errors.New("back-channel logout: not a POST"))
		return
	}
	t, err := e.takeLogoutToken(r)
	_, away := errors.AsType[*keysError](err)
	switch {
	case away, errors.Is(err, ErrProviderUnavailable):
		ErrProviderUnavailable.(*Error).Header(w.Header())
		e.refuseLogout(w, r, http.StatusServiceUnavailable, err)
		return
	case err != nil:
		e.refuseLogout(w, r, http.StatusBadRequest, fmt.Errorf("back-channel logout: %w", err))
		return
	}
	if e.opts.OnLogout != nil {
		e.opts.OnLogout(r.Context(), Logout{Subject: t.subject})
	}
	w.WriteHeader(http.StatusOK)
}

func (e *endpoints) takeLogoutToken(r *http.Request) (logoutToken, error) {
	raw, err := logoutForm(r)
	if err != nil {
		return logoutToken{}, err
	}
	t, err := e.providers.logoutToken(r.Context(), raw)
	if err != nil {
		return logoutToken{}, err
	}
	return t, e.sessions.endAt(t)
}

// logoutForm reads the one logout token of the body (section 2.5). The query is not looked at.
func logoutForm(r *http.Request) (string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", errors.New("want a form")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxLogoutBody+1))
	if err != nil || len(body) > maxLogoutBody {
		return "", fmt.Errorf("want a form of at most %d bytes", maxLogoutBody)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil || len(values["logout_token"]) != 1 {
		return "", errors.New("logout_token: want one")
	}
	return values["logout_token"][0], nil
}

// refuseLogout answers a provider as section 2.8 asks.
func (e *endpoints) refuseLogout(w http.ResponseWriter, r *http.Request, status int, err error) {
	if e.opts.OnError != nil {
		e.opts.OnError(r.Context(), err)
	}
	answer := struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{"invalid_request", "The logout token is not valid here."}
	if status == http.StatusServiceUnavailable {
		answer.Error, answer.Description = "temporarily_unavailable", "Logout tokens cannot be checked at the moment."
	}
	body, marshalErr := json.Marshal(answer)
	if marshalErr != nil {
		body = nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(append(body, '\n'))
	}
}

// frontchannel is opened by the provider's page in a frame. Browsers send no cookie of ours there, so
// what ends is what iss and sid name. Nobody has signed that: the sessions are noted where a flood of such
// requests displaces nothing else, and are revoked for good when one of them comes back.
func (e *endpoints) frontchannel(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	var iss, sid string
	if err == nil && len(values["iss"]) == 1 && len(values["sid"]) == 1 {
		iss, sid = values["iss"][0], values["sid"][0]
	}
	p := e.providers.signsOut(iss)
	if p == nil || sid == "" || len(sid) > maxSID {
		e.fail(w, r, fail(ReasonBadRequest, http.StatusBadRequest, "This address wants iss and sid of a session.",
			"front-channel logout: want one iss of ours and one sid"), func(p *page) { p.Title = "Signing out did not work" })
		return
	}
	if r.Method == http.MethodGet {
		e.sessions.claim(sidKey(iss, sid))
		if e.opts.OnLogout != nil {
			e.opts.OnLogout(r.Context(), Logout{})
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors "+p.origins())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		io.WriteString(w, "<!DOCTYPE html><title>Signed out</title>\n")
	}
}

// signsOut returns a provider with this issuer that may tell us of sign-outs, or nil.
func (ps Providers) signsOut(issuer string) *Provider {
	for _, p := range ps {
		if !p.set.cognito && p.set.issuer == issuer {
			return p
		}
	}
	return nil
}

// origins are where the provider's pages are from: its issuer, and where people sign out.
func (p *Provider) origins() string {
	list := []string{p.set.issuer}
	if c := p.live.Load(); c != nil && c.endSession != "" {
		list = append(list, c.endSession)
	}
	var origins []string
	for _, address := range list {
		u, err := url.Parse(address)
		if err != nil || strings.ContainsAny(u.Host, ";, ") {
			continue
		}
		if origin := u.Scheme + "://" + u.Host; len(origins) == 0 || origins[0] != origin {
			origins = append(origins, origin)
		}
	}
	return strings.Join(origins, " ")
}

// claim ends sessions on somebody's word.
func (s *Sessions) claim(key RevocationKey) {
	now := s.now()
	rev := Revocation{Key: key, Before: now.UnixNano(), Until: s.longest(now)}
	if s.claimed.add(rev, now.Unix()) {
		s.watches.end(rev)
	}
}
