package devpool

import (
	"crypto/sha256"
	"time"
)

// A grant is what one sign-in at one client led to. All tokens of it have its origin_jti, and
// revoking any refresh token of it ends it.
type grant struct {
	client    *Client
	username  string // empty for client_credentials
	scopes    []string
	resource  string
	nonce     string
	authTime  time.Time
	originJTI string
	eventID   string
	revoked   bool
	api       bool // given out by the API, which has ID tokens without the scope openid
}

// An authCode is an authorization code before it is spent.
type authCode struct {
	grant       *grant
	redirectURI string
	challenge   string // S256; empty when the client did not ask for PKCE
	expires     time.Time
}

// A session is a sign-in at the pool itself, found by the pool's own cookie.
type session struct {
	username string
	authTime time.Time
	expires  time.Time
}

type refreshToken struct {
	grant   *grant
	expires time.Time
	// usableUntil ends the token early once rotation has replaced it; zero before that.
	usableUntil time.Time
}

type accessToken struct {
	grant   *grant
	expires time.Time
}

// hashed is a secret as the store keeps it.
type hashed [sha256.Size]byte

func hash(secret string) hashed { return sha256.Sum256([]byte(secret)) }

// store is what the pool remembers. Its methods want the pool's lock held.
type store struct {
	codes     map[hashed]*authCode
	sessions  map[hashed]*session
	refresh   map[hashed]*refreshToken
	access    map[hashed]*accessToken
	nextSweep time.Time
}

func newStore() store {
	return store{
		codes:    make(map[hashed]*authCode),
		sessions: make(map[hashed]*session),
		refresh:  make(map[hashed]*refreshToken),
		access:   make(map[hashed]*accessToken),
	}
}

// sweep forgets what has expired, so that a pool that runs for weeks does not grow.
func (s *store) sweep(now time.Time) {
	if now.Before(s.nextSweep) {
		return
	}
	s.nextSweep = now.Add(sweepEvery)
	for k, v := range s.codes {
		if !now.Before(v.expires) {
			delete(s.codes, k)
		}
	}
	for k, v := range s.sessions {
		if !now.Before(v.expires) {
			delete(s.sessions, k)
		}
	}
	for k, v := range s.refresh {
		if !v.usable(now) {
			delete(s.refresh, k)
		}
	}
	for k, v := range s.access {
		if !now.Before(v.expires) {
			delete(s.access, k)
		}
	}
}

// usable says whether the refresh token is still good for an exchange.
func (t *refreshToken) usable(now time.Time) bool {
	return now.Before(t.expires) && !t.grant.revoked &&
		(t.usableUntil.IsZero() || now.Before(t.usableUntil))
}

// signOut revokes all grants and sessions of a user.
func (s *store) signOut(username string) {
	for k, v := range s.sessions {
		if v.username == username {
			delete(s.sessions, k)
		}
	}
	for k, v := range s.codes {
		if v.grant.username == username {
			delete(s.codes, k)
		}
	}
	for _, v := range s.refresh {
		if v.grant.username == username {
			v.grant.revoked = true
		}
	}
	for _, v := range s.access {
		if v.grant.username == username {
			v.grant.revoked = true
		}
	}
}
