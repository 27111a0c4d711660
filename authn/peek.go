package authn

import (
	"net/http"

	"gatehouse/authn/identity"
)

// Peek returns who a request's session says that makes it, for guards that run before anybody decides whether it may
// pass. The session is verified as a gate verifies it, and nothing is done beside: no call to the provider, no renewal, no
// cookie. Whatever is in doubt is nobody, which is nil: no session, one that has ended or whose access token has run
// out, or one of a provider that is not taken here (of takes, or without those of the host's). Whether the request may
// pass is still the gate's to say. Cookies are those of the request.
func (s *Sessions) Peek(r *http.Request, ps Providers, takes []string, cookies []*http.Cookie) *identity.Identity {
	host, now := canonicalHost(r.Host), s.now()
	sess, err := s.read(ps, host, cookies, now)
	if err != nil || sess == nil || sess.expires <= now.Unix() || !ps.takes(ps.of(sess), takes, host) {
		return nil
	}
	return sess.identity
}
