package authn

import (
	"crypto/sha256"
)

// Providers are the identity providers of one login section, one at least. All have the same paths.
// What belongs to one of them is never taken for another's: neither sessions, nor logins under way,
// nor tokens.
type Providers []*Provider

// paths are the settings that all have in common.
func (ps Providers) paths() *settings { return &ps[0].set }

// Callback returns the path of the redirect URI.
func (ps Providers) Callback() string { return ps.paths().callback }

// FromProvider says whether the endpoint at path takes what a provider says: the answer to a login, or
// that somebody has signed out there.
func (ps Providers) FromProvider(path string) bool {
	return path == ps.paths().callback || path == BackchannelPath || path == frontchannelPath
}

// mark tells providers apart in what is kept about them: by name, issuer and client, so that a name
// that is given to another one later finds nothing.
type mark [8]byte

func (s *settings) mark() (m mark) {
	var b []byte
	for _, part := range []string{s.name, s.issuer, s.clientID} {
		b = appendText(b, part) // with its length, so that no two lists read the same
	}
	sum := sha256.Sum256(b)
	copy(m[:], sum[:])
	return m
}

func (ps Providers) marked(m mark) *Provider {
	for _, p := range ps {
		if p.mark == m {
			return p
		}
	}
	return nil
}

// of returns the provider that vouches for a session, or nil when it is not there any more.
func (ps Providers) of(sess *session) *Provider { return ps.marked(sess.provider) }

// begun returns the provider at which a login was begun, or nil when it is not there any more.
func (ps Providers) begun(l *pendingLogin) *Provider { return ps.marked(l.provider) }
