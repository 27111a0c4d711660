package authn

import (
	"testing"
	"time"
)

// Peek knows whom a gate would know by the cookies alone, and renews nothing.
func TestPeek(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	calls := s.count("token")
	peek := func(takes ...string) string {
		if id := s.sessions.Peek(b.request(), s.providers(), takes, b.own()); id != nil {
			return id.Username
		}
		return ""
	}
	if got := peek(); got != "alice" {
		t.Errorf("a session: got %q, want alice", got)
	}
	if got := s.sessions.Peek(b.request(), s.providers(), nil, nil); got != nil {
		t.Errorf("no cookies: got %+v, want nobody", got)
	}
	if got := peek("another"); got != "" {
		t.Errorf("a session of a provider that is not taken: got %q, want nobody", got)
	}
	s.clock.advance(2 * time.Hour) // beyond the access token, within the session
	if got := peek(); got != "" || s.count("token") != calls {
		t.Errorf("an access token that has run out: got %q after %d calls, want nobody after %d", got, s.count("token"), calls)
	}
	if got := b.who(); got == nil || s.count("token") != calls+1 {
		t.Errorf("the gate: got %+v after %d calls, want it to renew the session", got, s.count("token"))
	}
}
