package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// renewalGrace is how long the result of a refresh answers requests that still carry the old
	// cookie: those that were on their way when it was renewed. Cognito's own grace for a rotated
	// refresh token is at most 60 s.
	renewalGrace = 60 * time.Second
	// downtime is how long nobody tries again after a provider that did not answer.
	downtime = 5 * time.Second
	// maxRenewals bounds the results that are kept, in bytes of session.
	maxRenewals = 32 << 20
)

// Refresh is what a hook learns of a refresh. Err is nil when it succeeded.
type Refresh struct {
	SessionID string
	Subject   string
	Err       error
}

// renewals sees to it that a refresh token is redeemed once, however many requests want it: with
// rotation a second attempt would end the login.
type renewals struct {
	mu      sync.Mutex
	flights map[renewalKey]*renewal
	done    *cache[renewalKey, *renewal]
}

// renewalKey is a hash of session, refresh token, host and client. Two sessions never share one
// (attack case O49).
type renewalKey [sha256.Size]byte

// renewal is one refresh. Everything but finished is written before finished is closed.
type renewal struct {
	finished chan struct{}
	until    int64 // Unix time to which the result counts
	sess     *session
	cookies  []string
	err      error
	told     bool // by another instance, which made the call
}

func newRenewals() *renewals {
	return &renewals{
		flights: make(map[renewalKey]*renewal),
		done:    newCache[renewalKey, *renewal](maxRenewals),
	}
}

// enter returns the renewal that counts for a session, and whether the caller has to run it.
func (rs *renewals) enter(key renewalKey, old *session, now int64) (r *renewal, lead bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r, ok := rs.flights[key]; ok {
		return r, false
	}
	if r, ok := rs.done.get(key); ok && now < r.until && (r.err != nil || r.sess.after(old)) {
		return r, false
	}
	r = &renewal{finished: make(chan struct{}), err: errors.New("refresh: interrupted")}
	rs.flights[key] = r
	return r, true
}

// after says whether a session is what an older one has become, and not that one. Its access token may end earlier.
func (s *session) after(old *session) bool {
	return s.expires > old.expires || s.renewed > old.renewed || s.refresh != old.refresh
}

func (rs *renewals) leave(key renewalKey, r *renewal) {
	rs.mu.Lock()
	delete(rs.flights, key)
	weight := 512
	if r.sess != nil {
		weight += r.sess.weight() * 2 // and its cookies
	}
	rs.done.put(key, r, weight)
	rs.mu.Unlock()
	close(r.finished)
}

// latest follows a session to what it became by refreshes that are still remembered.
func (s *Sessions) latest(p *Provider, host string, sess *session) *session {
	for range 8 {
		r, ok := s.renewal.done.get(s.renewalKey(p, host, sess))
		if !ok || r.sess == nil || !r.sess.after(sess) {
			break
		}
		sess = r.sess
	}
	return sess
}

func (s *Sessions) renewalKey(p *Provider, host string, sess *session) renewalKey {
	var b []byte
	for _, part := range []string{sess.name, sess.refresh, host, p.set.issuer, p.set.clientID, p.set.name} {
		b = appendText(b, part) // with its length, so that no two lists read the same
	}
	return sha256.Sum256(b)
}

// renew returns the session with a new access token, and the cookies to set. The request that comes
// first makes the call; it does so to the end even if its client goes away, because the others wait
// for it and the refresh token may be good for one use only. Those others wait no longer than their
// own context.
func (s *Sessions) renew(ctx context.Context, p *Provider, host string, old *session, hook func(context.Context, Refresh)) (*session, []string, error) {
	key := s.renewalKey(p, host, old)
	r, lead := s.renewal.enter(key, old, s.now().Unix())
	if lead {
		func() {
			defer s.renewal.leave(key, r)
			s.runShared(context.WithoutCancel(ctx), p, host, old, key, r)
		}()
		s.revokeLate(ctx, p, old, r)
		if hook != nil && !r.told {
			hook(ctx, Refresh{old.name, old.subject, r.err})
		}
		return r.sess, r.cookies, r.err
	}
	select {
	case <-r.finished:
		return r.sess, r.cookies, r.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// revokeLate revokes the refresh token of a renewal whose session was signed out while it was under way.
// The result is remembered by now: a sign-out that comes later finds the token there.
func (s *Sessions) revokeLate(ctx context.Context, p *Provider, old *session, r *renewal) {
	if r.err != nil || r.sess.refresh == old.refresh || !s.over(old) {
		return
	}
	if c, err := p.connected(); err == nil {
		p.revoke(ctx, c, r.sess.refresh) // the session is over whatever comes of it
	}
}

// run makes the calls and fills r in.
func (s *Sessions) run(ctx context.Context, p *Provider, host string, old *session, r *renewal) {
	r.sess, r.cookies, r.err = s.refreshed(ctx, p, host, old)
	s.date(old, r)
}

// date says how long what came of a refresh counts.
func (s *Sessions) date(old *session, r *renewal) {
	now := s.now().Unix()
	switch {
	case r.err == nil:
		r.until = now + int64(renewalGrace/time.Second)
	case loginOver(r.err):
		r.until = old.end
	default:
		r.until = now + int64(downtime/time.Second)
	}
}

func (s *Sessions) refreshed(ctx context.Context, p *Provider, host string, old *session) (*session, []string, error) {
	c, err := p.connected()
	if err != nil {
		return nil, nil, err
	}
	if !p.tries(s.now().Unix()) {
		return nil, nil, ErrProviderUnavailable
	}
	t, err := p.renew(ctx, c, old.refresh)
	p.tried(err, s.now().Unix())
	if err != nil {
		return nil, nil, err
	}
	if s.over(old) { // signed out meanwhile
		return nil, nil, errors.Join(errSignedOut, p.revoke(ctx, c, t.refresh))
	}
	if t.id != nil && t.id.subject != old.subject {
		return nil, nil, fail(ReasonInvalidIDToken, http.StatusUnauthorized, publicTryAgain,
			"refresh: the ID token is somebody else's") // OpenID Connect Core 1.0 section 12.2
	}
	claims, err := s.claimsAgain(ctx, p, c, t, old)
	if err == nil {
		err = checkForwarded(p.asserted(c, t, claims), t.access)
	}
	if err != nil {
		return nil, nil, err
	}
	next := *old
	if err := next.take(p, c, t, claims); err != nil {
		return nil, nil, err
	}
	next.finish(p)
	cookies, err := s.write(p, host, &next)
	if err != nil {
		return nil, nil, err
	}
	return &next, cookies, nil
}

// errSignedOut is a refresh that came too late.
var errSignedOut = fail(ReasonInvalidGrant, http.StatusUnauthorized, "", "refresh: the session has been signed out")

// tries says whether a refresh may be tried now. After one that got no answer nobody tries for a
// while, and then one does, for all.
func (p *Provider) tries(now int64) bool {
	until := p.down.Load()
	if until == 0 {
		return true
	}
	return now >= until && p.down.CompareAndSwap(until, now+int64(downtime/time.Second))
}

// tried takes note of how a refresh went. A refusal is an answer.
func (p *Provider) tried(err error, now int64) {
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		p.down.Store(now + int64(downtime/time.Second))
		p.away.CompareAndSwap(0, now)
		return
	}
	p.down.Store(0)
	p.away.Store(0)
}

// claimsAgain reads userinfo after a refresh. Only an answer that denies the login ends it, or one that is
// too large; when there is no answer, or one that cannot be read, the claims stay as they were, because the
// refresh token may have been rotated and giving up would lose the session. nil means as they were.
func (s *Sessions) claimsAgain(ctx context.Context, p *Provider, c *connection, t *tokens, old *session) ([]byte, error) {
	if c.userinfo == "" {
		if t.id == nil {
			return nil, nil
		}
		return t.id.raw, nil
	}
	claims, err := p.userinfo(ctx, c, t.access, old.subject)
	if loginOver(err) {
		return nil, err
	}
	if err != nil {
		return nil, nil
	}
	return claims, nil
}
