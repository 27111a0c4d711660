package authn

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRevocationsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRevocations(10)
	key := func(n byte) RevocationKey { return RevocationKey{n} }
	covered := func(n byte) bool { return r.cover(&sessionKeys{key(n)}, 1) }
	r.add(Revocation{Key: key(99), Before: whenever, Until: 5}, 10)
	if covered(99) {
		t.Error("a session that has ended by itself was kept")
	}
	for i := range byte(20) {
		r.add(Revocation{Key: key(i + 1), Before: whenever, Until: int64(100 + i)}, 10)
	}
	if len(r.by) != 10 || len(r.queue) != 10 {
		t.Errorf("size: got %d and %d, want 10", len(r.by), len(r.queue))
	}
	if covered(10) || !covered(11) || !covered(20) {
		t.Error("the sessions that end soonest should have given way")
	}
	r.add(Revocation{Key: key(11), Before: whenever, Until: 500}, 10)
	r.add(Revocation{Key: key(50), Before: whenever, Until: 500}, 115)
	if covered(15) || !covered(17) || !covered(50) || !covered(11) {
		t.Error("sessions that have ended should have been forgotten first, and no others")
	}
}

func TestARevocationEndsWhatBeganBefore(t *testing.T) {
	t.Parallel()
	r := newRevocations(10)
	keys := newSessionKeys("https://op", "name", "alice", "sid-1")
	if !r.add(Revocation{Key: subjectKey("https://op", "alice"), Before: 100, Until: 1000}, 1) {
		t.Error("the first was no news")
	}
	if r.add(Revocation{Key: subjectKey("https://op", "alice"), Before: 90, Until: 900}, 1) {
		t.Error("an earlier one was news")
	}
	if !r.cover(&keys, 99) || r.cover(&keys, 100) {
		t.Error("want what began before the instant to be ended, and nothing else")
	}
	for name, other := range map[string]sessionKeys{
		"another's":                  newSessionKeys("https://op", "name", "bob", ""),
		"of another provider":        newSessionKeys("https://other", "name", "alice", ""),
		"the same letters, moved":    newSessionKeys("https://opa", "name", "lice", ""),
		"of a session named like it": newSessionKeys("https://op", "alice", "x", "alice"),
	} {
		if r.cover(&other, 1) {
			t.Errorf("a session %s was ended", name)
		}
	}
}

// shelf is a Ledger as another process would find it.
type shelf struct {
	mu   sync.Mutex
	list []Revocation
	err  error
}

func (l *shelf) Append(r Revocation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.list = append(l.list, r)
	}
	return l.err
}

func (l *shelf) Load(take func(Revocation)) error {
	for _, r := range l.list {
		take(r)
	}
	return l.err
}

// withLedger gives the stack's sessions a ledger.
func withLedger(l Ledger, onError func(error)) stackOption {
	return func(s *stack) { s.ledger, s.ledgerError = l, onError }
}

// restart makes the stack forget what a process that ends forgets.
func (s *stack) restart(t *testing.T, l Ledger) {
	t.Helper()
	fresh, err := NewSessions(s.cfg.Session, []byte(strings.Repeat("k", 32)), SessionsOptions{Now: s.clock.now, Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	*s.sessions = *fresh
}

func TestWhoHasSignedOutStaysSignedOut(t *testing.T) {
	t.Parallel()
	kept := &shelf{}
	s := newStack(t, withLedger(kept, nil))
	b, other := s.login("alice"), s.login("alice")
	old := b.own()
	b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin")
	for _, what := range []string{"at once", "after a restart"} {
		if a := carry(t, s, old); a.status != 302 {
			t.Errorf("%s: got %d, want 302 to sign in", what, a.status)
		}
		if a := carry(t, s, other.own()); a.status != 200 {
			t.Errorf("%s, another session: got %d, want 200", what, a.status)
		}
		s.restart(t, kept)
	}
	if len(kept.list) != 1 || strings.Contains(string(kept.list[0].Key[:]), "alice") {
		t.Errorf("kept: got %d records, want one that names nobody", len(kept.list))
	}
	s.restart(t, &shelf{})
	if a := carry(t, s, old); a.status != 200 {
		t.Errorf("without the ledger: got %d, want 200: nothing else can have refused it", a.status)
	}
	s.sessions.Learn(kept.list...)
	if a := carry(t, s, old); a.status != 302 {
		t.Errorf("learned from another instance: got %d, want 302", a.status)
	}
}

// A file that shortens the timeout must not bring back, at last, a session of before that was ended with all others.
func TestNoSessionOutlivesTheMemoryOfItsEnd(t *testing.T) {
	t.Parallel()
	kept := &shelf{}
	s := newStack(t, withLedger(kept, nil), withConfig(func(c *Config) { c.Session.Timeout = "720h" }))
	stolen, own := s.login("alice").own(), s.login("alice")
	s.cfg.Session.Timeout = "1h"
	s.restart(t, kept)
	s.clock.advance(time.Hour)
	if a := carry(t, s, stolen); a.status != 200 {
		t.Fatalf("a session of before: got %d, want 200", a.status)
	}
	own.visit("/oauth2/sign_out?everywhere=1", "Sec-Fetch-Site", "same-origin")
	for range 4 {
		if a := carry(t, s, stolen); a.status != 302 {
			t.Errorf("signed out everywhere, at %s: got %d, want 302 to sign in", s.clock.now(), a.status)
		}
		s.clock.advance(72 * time.Hour)
		s.restart(t, kept)
	}
}

func TestALedgerThatFails(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	var told []error
	s := newStack(t, withLedger(&shelf{}, func(err error) { told = append(told, err) }))
	b := s.login("alice")
	old := b.own()
	s.ledger.(*shelf).err = full
	if a := b.visit("/oauth2/sign_out", "Sec-Fetch-Site", "same-origin"); a.status != 302 {
		t.Errorf("sign-out: got %d, want 302", a.status)
	}
	if a := carry(t, s, old); a.status != 302 {
		t.Errorf("the old cookie: got %d, want 302 to sign in", a.status)
	}
	if !slices.Equal(told, []error{full}) {
		t.Errorf("told: got %v, want %v once", told, full)
	}
	if _, err := NewSessions(SessionConfig{}, []byte(strings.Repeat("k", 32)), SessionsOptions{Ledger: s.ledger}); !errors.Is(err, full) {
		t.Errorf("at the start: got %v, want %v", err, full)
	}
}

// TestSessionsOfEarlierVersions reads cookies as they were written before sessions knew the provider's,
// and before they knew how somebody had signed in.
func TestSessionsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	host := canonicalHost(mustURL(t, s.gw.URL).Host)
	start := s.clock.now().Unix()
	whole := &session{subject: "alice", start: start, end: start + 600, expires: start + 600, access: "a", claims: []byte("{}")}
	newest := whole.append(nil)
	second := newest[:len(newest)-2]                                                                             // no sid, and 0
	first := append(slices.Clone(second[:len(second)-len("\x00\x02{}")]), second[len(second)-len("\x02{}"):]...) // no acr
	for version, b := range map[byte][]byte{1: first, 2: second} {
		b[0] = version
		was, err := parseSession(b)
		if err != nil {
			t.Fatal(err)
		}
		if was.began != start*int64(time.Second) || was.sid != "" || was.subject != "alice" || string(was.claims) != "{}" {
			t.Errorf("version %d: got %+v", version, was)
		}
		value, err := s.sessions.seal.seal(s.provider.binding("session", s.sessions.set.cookie, host), b)
		if err != nil {
			t.Fatal(err)
		}
		shards, _ := split(value)
		if a := carry(t, s, []*http.Cookie{{Name: s.sessions.shardName(0), Value: shards[0]}}); a.status != 200 {
			t.Errorf("version %d: got %d, want 200", version, a.status)
		}
	}
	newest[0] = sessionVersion + 1
	if _, err := parseSession(newest); err == nil {
		t.Error("a session of a later version was read")
	}
}
