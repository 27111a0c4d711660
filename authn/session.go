package authn

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"gatehouse/authn/identity"
)

// sessionVersion is what is written. Sessions of earlier versions are read as they are: what they lack
// stays empty.
const sessionVersion = 3

// maxSID bounds the name of a session of the provider's, which is kept in the cookie.
const maxSID = 255

// Flags of a session, as the cookie keeps them.
const (
	flagVerified = 1 << iota
	flagDated
	flagsKnown = 1<<iota - 1
)

// session is a login as the cookie keeps it. It is immutable once it is in use, and so is the
// identity that it stands for.
type session struct {
	id       [16]byte
	subject  string
	username string
	email    string
	verified bool // the e-mail address
	groups   []string
	scopes   []string
	acr      string // how the person proved who they are; "" when the provider does not say
	dated    bool   // authTime is the provider's word and not just when the ID token was issued
	authTime int64  // this and the following in Unix seconds
	start    int64
	end      int64 // absolute
	renewed  int64 // when the access token was issued to us
	expires  int64 // of the access token
	access   string
	refresh  string // "" when the provider gave none
	idToken  string // kept only where signing out needs it
	claims   []byte
	sid      string // the provider's session, where the ID token names it
	began    int64  // start, in nanoseconds

	keys     sessionKeys
	identity *identity.Identity
	name     string // of the id, in text
	provider mark   // that vouches for it
}

func (s *session) append(b []byte) []byte {
	b = append(b, sessionVersion)
	b = append(b, s.id[:]...)
	flags := byte(0)
	if s.verified {
		flags |= flagVerified
	}
	if s.dated {
		flags |= flagDated
	}
	b = append(b, flags)
	for _, t := range []int64{s.authTime, s.start, s.end, s.renewed, s.expires} {
		b = binary.AppendVarint(b, t)
	}
	b = appendTexts(b, s.groups)
	b = appendTexts(b, s.scopes)
	for _, t := range []string{s.subject, s.username, s.email, s.access, s.refresh, s.idToken, s.acr, string(s.claims)} {
		b = appendText(b, t)
	}
	b = appendText(b, s.sid)
	return binary.AppendVarint(b, s.began)
}

func parseSession(b []byte) (*session, error) {
	r := &reader{b: b}
	head := r.take(1)
	if r.err != nil || head[0] < 1 || head[0] > sessionVersion {
		return nil, errBinary
	}
	s := &session{}
	copy(s.id[:], r.take(uint64(len(s.id))))
	if flags := r.take(1); r.err == nil {
		if flags[0] > flagsKnown {
			return nil, errBinary
		}
		s.verified, s.dated = flags[0]&flagVerified != 0, flags[0]&flagDated != 0
	}
	for _, t := range []*int64{&s.authTime, &s.start, &s.end, &s.renewed, &s.expires} {
		*t = r.int()
	}
	s.groups = r.texts()
	s.scopes = r.texts()
	for _, t := range []*string{&s.subject, &s.username, &s.email, &s.access, &s.refresh, &s.idToken} {
		*t = r.text()
	}
	if head[0] >= 2 {
		s.acr = r.text()
	}
	s.claims = []byte(r.text())
	s.began = s.start * int64(time.Second)
	if head[0] >= 3 {
		s.sid, s.began = r.text(), r.int()
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if s.subject == "" {
		return nil, errBinary
	}
	return s, nil
}

// finish makes the identity that requests of the session carry.
func (s *session) finish(p *Provider) *session {
	s.provider = p.mark
	s.name = base64.RawURLEncoding.EncodeToString(s.id[:])
	s.keys = newSessionKeys(p.set.issuer, s.name, s.subject, s.sid)
	s.identity = &identity.Identity{
		Issuer: p.set.issuer, ClientID: p.set.clientID,
		Subject: s.subject, Username: s.username, Email: s.email, EmailVerified: s.verified,
		Groups: s.groups, Scopes: s.scopes, ACR: s.acr, AuthTimeStated: s.dated,
		AuthTime: time.Unix(s.authTime, 0), Expires: time.Unix(s.end, 0),
		SessionID: s.name, AccessToken: s.access, Claims: s.claims,
	}
	return s
}

// weight is what the session costs in memory, about.
func (s *session) weight() int {
	n := 512 + len(s.access) + len(s.refresh) + len(s.idToken) + 2*len(s.claims)
	for _, g := range s.groups {
		n += 16 + len(g)
	}
	return n
}

// due says whether the access token needs renewing: it has run out, or will within a tenth of its
// life and half a minute, so that the upstream does not get one that dies on the way.
func (s *session) due(now int64) bool {
	if s.refresh == "" {
		return false // lives until its absolute end, as with ALB
	}
	early := min((s.expires-s.renewed)/10, 30)
	return now >= s.expires-early
}

// take puts what a login or a refresh brought into the session. userinfo is nil when a refresh could not
// read it; what it said before counts on then.
func (s *session) take(p *Provider, c *connection, t *tokens, userinfo []byte) error {
	login, old := s.subject == "", *s
	s.access, s.refresh = t.access, t.refresh
	switch {
	case t.scopes != nil:
		s.scopes = t.scopes
	case login: // as asked (RFC 6749 section 5.1); after a refresh as before (section 6)
		s.scopes = p.set.scopes
	}
	s.expires, s.renewed = t.expires.Unix(), p.now().Unix()
	if t.id != nil {
		if login {
			// A refresh proves nothing anew: how and when somebody signed in stays what it was at the
			// login (OpenID Connect Core 1.0 section 12.2), whatever the new ID token says.
			s.authTime, s.dated, s.acr = t.id.authTime.Unix(), t.id.dated, t.id.acr
		}
		s.subject, s.username, s.groups = t.id.subject, t.id.username, t.id.groups
		s.email, _ = t.id.members.text("email")
		s.verified = t.id.members.flag("email_verified")
		if sid, ok := t.id.members.text("sid"); ok && len(sid) <= maxSID {
			s.sid = sid
		}
		if !p.set.cognito && c.endSession != "" {
			s.idToken = t.idRaw
		}
	}
	if claims := p.asserted(c, t, userinfo); claims != nil {
		s.claims = claims
	}
	if userinfo == nil {
		if t.id == nil {
			return nil
		}
		if p.idTokenClaims { // the claims are not those of userinfo, and cannot stand in for it
			s.email, s.verified = old.email, old.verified
			if !t.id.hasGroup {
				s.groups = old.groups
			}
			if s.username == "" {
				s.username = old.username
			}
			return nil
		}
		userinfo = s.claims
	}
	members, err := parseObject(userinfo)
	if err != nil {
		return err
	}
	if email, ok := members.text("email"); ok {
		s.email, s.verified = email, members.flag("email_verified")
	}
	s.verified = s.verified && s.email != ""
	if name, ok := members.text("preferred_username"); ok && s.username == "" {
		s.username = name
	}
	// Groups come from the ID token; a provider that puts them into userinfo only is served too.
	if t.id == nil || !t.id.hasGroup {
		if groups, err := members.list(p.set.groupsClaim); err == nil && members.has(p.set.groupsClaim) {
			s.groups = groups
		}
	}
	return nil
}
