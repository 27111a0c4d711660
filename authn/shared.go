package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"time"
)

const (
	// sharedHold is how long an instance may take for a refresh before another one tries: the calls to
	// the token endpoint and to userinfo, each with its timeout, and some time to spare.
	sharedHold = 15 * time.Second
	// sharedRefusal is for how long other instances are told that a login is over. Each remembers it as
	// long as it lives.
	sharedRefusal = time.Hour
)

// Shared lets several instances redeem a refresh token once. What passes through it is sealed with the
// keys of the sessions. An implementation is safe for concurrent use.
type Shared interface {
	// Begin returns what another instance made of the refresh, waiting for it while it is being made, or
	// says that the caller is to make it and then to call Finish. Others wait no longer than hold. After
	// an error the caller makes it by itself, and tells nobody.
	Begin(ctx context.Context, key [32]byte, hold time.Duration) (result []byte, lead bool, err error)
	// Finish tells the others what came of it. A nil result lets one of them try.
	Finish(key [32]byte, result []byte, keep time.Duration)
}

// runShared fills r in with what another instance made of the refresh, or else makes the calls.
func (s *Sessions) runShared(ctx context.Context, p *Provider, host string, old *session, local renewalKey, r *renewal) {
	if s.shared == nil {
		s.run(ctx, p, host, old, r)
		return
	}
	key := sharedKey(local, old)
	waiting, cancel := context.WithTimeout(ctx, sharedHold)
	result, lead, err := s.shared.Begin(waiting, key, sharedHold)
	cancel()
	if err == nil && !lead && s.takeShared(p, host, old, key, result, r) {
		return
	}
	var told []byte
	var keep time.Duration
	if lead {
		defer func() { s.shared.Finish(key, told, keep) }()
	}
	s.run(ctx, p, host, old, r)
	told = s.sealShared(key, r)
	keep = min(time.Duration(r.until-s.now().Unix())*time.Second, sharedRefusal)
}

// sharedKey tells the refreshes of one session apart: a lasting refresh token is redeemed again and again.
func sharedKey(local renewalKey, old *session) renewalKey {
	b := binary.BigEndian.AppendUint64(local[:], uint64(old.renewed))
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(old.expires)))
}

// sharedName is what a shared result is bound to: it opens for this refresh only.
func sharedName(key renewalKey) string {
	return "refresh\n" + base64.RawURLEncoding.EncodeToString(key[:])
}

// sealShared returns what other instances are told, or nil when that is nothing.
func (s *Sessions) sealShared(key renewalKey, r *renewal) []byte {
	b := appendShared(r)
	if b == nil {
		return nil
	}
	value, err := s.seal.seal(sharedName(key), b)
	if err != nil {
		return nil
	}
	return []byte(value)
}

// takeShared fills r in with what another instance says, and reports whether that can be used.
func (s *Sessions) takeShared(p *Provider, host string, old *session, key renewalKey, result []byte, r *renewal) bool {
	b, err := s.seal.open(sharedName(key), string(result))
	if err != nil {
		return false
	}
	next, refusal, err := parseShared(b)
	if err != nil {
		return false
	}
	switch {
	case refusal != nil:
		r.sess, r.cookies, r.err = nil, nil, refusal
	case s.over(old): // signed out meanwhile
		r.sess, r.cookies, r.err = nil, nil, errSignedOut
	default:
		if next.id != old.id || next.subject != old.subject || !next.after(old) {
			return false
		}
		next.finish(p)
		cookies, err := s.write(p, host, next)
		if err != nil {
			return false
		}
		r.sess, r.cookies, r.err = next, cookies, nil
	}
	r.told = true
	s.date(old, r)
	return true
}

// What came of a refresh, as instances tell each other.
const (
	sharedVersion = 1
	sharedSession = 0
	sharedRefused = 1
)

// appendShared returns nil for an error that is not a refusal: another instance may do better.
func appendShared(r *renewal) []byte {
	if r.err == nil {
		return r.sess.append([]byte{sharedVersion, sharedSession})
	}
	var e *Error
	if !errors.As(r.err, &e) {
		return nil
	}
	b := binary.AppendUvarint([]byte{sharedVersion, sharedRefused}, uint64(e.Status))
	b = binary.AppendUvarint(b, uint64(max(e.RetryAfter, 0)/time.Second))
	return appendText(appendText(b, e.Reason), e.public)
}

func parseShared(b []byte) (*session, *Error, error) {
	if len(b) < 2 || b[0] != sharedVersion {
		return nil, nil, errBinary
	}
	switch b[1] {
	case sharedSession:
		sess, err := parseSession(b[2:])
		return sess, nil, err
	case sharedRefused:
		r := &reader{b: b[2:]}
		status, wait := r.uint(), r.uint()
		e := &Error{Reason: r.text(), public: r.text(), err: errElsewhere}
		if err := r.end(); err != nil {
			return nil, nil, err
		}
		if status < http.StatusBadRequest || status > 599 || wait > 3600 {
			return nil, nil, errBinary
		}
		e.Status, e.RetryAfter = int(status), time.Duration(wait)*time.Second
		return nil, e, nil
	}
	return nil, nil, errBinary
}

// errElsewhere is the cause of a refusal that another instance met.
var errElsewhere = errors.New("refresh: as another instance was told")
