package authn

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"
)

const (
	// loginTimeout is how long somebody may take at the provider; ALB's is 15 minutes too.
	loginTimeout = 15 * time.Minute
	// maxPending is how many logins may be under way in one browser. The oldest gives way, so
	// that a tab that reloads itself cannot fill the cookie.
	maxPending = 5
	// maxLoginCookie keeps the cookie below what browsers take (4,096 bytes with its name).
	maxLoginCookie = 3800

	pendingVersion = 2
)

// pendingLogin is a login that has gone to the provider and not come back.
type pendingLogin struct {
	state    loginState
	nonce    [16]byte
	verifier [32]byte
	provider mark  // that it was begun at
	started  int64 // Unix seconds
	back     string
	want     StepUp // of what comes back
	ticket   string // sealed; travels behind the state and is not kept
}

func newPendingLogin(p *Provider, now time.Time, back string, want StepUp) pendingLogin {
	l := pendingLogin{provider: p.mark, started: now.Unix(), back: back, want: want}
	rand.Read(l.state[:])
	rand.Read(l.nonce[:])
	rand.Read(l.verifier[:])
	return l
}

func (s loginState) text() string { return base64.RawURLEncoding.EncodeToString(s[:]) }

// stateText is the state parameter: what the cookie knows the login by, and its ticket.
func (l *pendingLogin) stateText() string { return l.state.text() + ticketMark + l.ticket }

func (l *pendingLogin) nonceText() string { return base64.RawURLEncoding.EncodeToString(l.nonce[:]) }

// verifierText is the PKCE verifier: 32 random octets in base64url (RFC 7636 section 4.1).
func (l *pendingLogin) verifierText() string {
	return base64.RawURLEncoding.EncodeToString(l.verifier[:])
}

func (l *pendingLogin) expired(now time.Time) bool {
	age := now.Unix() - l.started
	return age > int64(loginTimeout/time.Second) || age < -int64(skew/time.Second)
}

// pendingLogins are the logins under way in a browser, oldest first.
type pendingLogins []pendingLogin

// loginCookie is what the login cookie says. The zero value is that of a browser that sent none.
type loginCookie struct {
	logins  pendingLogins
	trail   trail
	present bool // it came
	opened  bool // it came once, and it is ours
}

// find returns the index of the login with this state, or -1, in a time that does not depend on
// how much of it is right.
func (p pendingLogins) find(state loginState) int {
	found := -1
	for i := range p {
		if subtle.ConstantTimeCompare(p[i].state[:], state[:]) == 1 {
			found = i
		}
	}
	return found
}

// without returns the logins but for one.
func (p pendingLogins) without(i int) pendingLogins {
	return append(append(pendingLogins(nil), p[:i]...), p[i+1:]...)
}

// live returns the logins that can still come back.
func (p pendingLogins) live(now time.Time) pendingLogins {
	var live pendingLogins
	for _, l := range p {
		if !l.expired(now) {
			live = append(live, l)
		}
	}
	return live
}

func (c *loginCookie) append(b []byte) []byte {
	b = append(b, pendingVersion, c.trail.rounds)
	b = binary.AppendVarint(b, c.trail.since)
	p := c.logins
	b = append(b, byte(len(p)))
	for i := range p {
		b = append(b, p[i].state[:]...)
		b = append(b, p[i].nonce[:]...)
		b = append(b, p[i].verifier[:]...)
		b = append(b, p[i].provider[:]...)
		b = binary.AppendVarint(b, p[i].started)
		b = appendText(b, p[i].back)
		b = p[i].want.append(b)
	}
	return b
}

func parsePending(b []byte) (c loginCookie, err error) {
	r := &reader{b: b}
	head := r.take(2)
	if r.err != nil || head[0] != pendingVersion {
		return loginCookie{}, errBinary
	}
	c.trail = trail{rounds: head[1], since: r.int()}
	count := r.take(1)
	if r.err != nil || count[0] > maxPending {
		return loginCookie{}, errBinary
	}
	for range count[0] {
		var l pendingLogin
		copy(l.state[:], r.take(uint64(len(l.state))))
		copy(l.nonce[:], r.take(uint64(len(l.nonce))))
		copy(l.verifier[:], r.take(uint64(len(l.verifier))))
		copy(l.provider[:], r.take(uint64(len(l.provider))))
		l.started = r.int()
		l.back = r.text()
		l.want = r.stepUp()
		c.logins = append(c.logins, l)
	}
	if err := r.end(); err != nil {
		return loginCookie{}, err
	}
	return c, nil
}

// sealPending seals as many logins as fit, the newest first of all. One always fits, since maxReturn
// bounds its path and maxACRBytes what it wants.
func (s *Sessions) sealPending(name string, c loginCookie) (string, error) {
	c.logins = c.logins[max(0, len(c.logins)-maxPending):]
	for {
		value, err := s.seal.seal(name, c.append(nil))
		if err != nil || len(value) <= maxLoginCookie || len(c.logins) <= 1 {
			return value, err
		}
		c.logins = c.logins[1:]
	}
}
