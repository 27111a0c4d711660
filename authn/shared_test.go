package authn

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchange is a Shared as two instances would find it.
type exchange struct {
	mu      sync.Mutex
	results map[[32]byte][]byte
	keeps   []time.Duration
	err     error
	spoil   func([]byte) []byte
}

func (x *exchange) Begin(_ context.Context, key [32]byte, _ time.Duration) ([]byte, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	result, ok := x.results[key]
	if ok && x.spoil != nil {
		result = x.spoil(bytes.Clone(result))
	}
	return result, !ok && x.err == nil, x.err
}

func (x *exchange) Finish(key [32]byte, result []byte, keep time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if result != nil {
		x.results[key] = result
	}
	x.keeps = append(x.keeps, keep)
}

func withShared(x Shared) stackOption { return func(s *stack) { s.shared = x } }

// again replaces the sessions by those of another instance, which knows nothing of the first.
func (s *stack) again() {
	s.t.Helper()
	var err error
	opts := SessionsOptions{Now: s.clock.now, Ledger: s.ledger, OnError: s.ledgerError, Shared: s.shared}
	if s.sessions, err = NewSessions(s.cfg.Session, []byte(strings.Repeat("k", 32)), opts); err != nil {
		s.t.Fatal(err)
	}
}

// elsewhere answers a request with these cookies as another instance would.
func (s *stack) elsewhere(cookies []*http.Cookie) (Decision, error) {
	s.t.Helper()
	s.again()
	r, err := http.NewRequest(http.MethodGet, s.gw.URL+"/page", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return s.gate(Rule{}).Check(r)
}

func TestInstancesShareARefresh(t *testing.T) {
	t.Parallel()
	x := &exchange{results: map[[32]byte][]byte{}}
	s := newStack(t, withShared(x))
	s.set(func() { s.rotate = true })
	cookies := s.login("alice").own()
	s.clock.advance(2 * time.Hour)
	before := s.count("token")
	for range 3 {
		d, err := s.elsewhere(cookies)
		if err != nil || d.Identity == nil || d.Identity.Subject != "alice" {
			t.Fatalf("got %+v, %v, want alice", d.Identity, err)
		}
	}
	if got := s.count("token") - before; got != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", got)
	}
	if len(s.refreshed) != 1 {
		t.Errorf("hook: got %d refreshes, want 1", len(s.refreshed))
	}
	for _, result := range x.results {
		for token := range s.refreshes {
			if strings.Contains(string(result), token) {
				t.Error("a token left the process in clear")
			}
		}
	}
	if len(x.keeps) != 1 || x.keeps[0] != renewalGrace {
		t.Errorf("kept for %v, want once, for %v", x.keeps, renewalGrace)
	}
}

// As within one instance, a token that lives shorter than the one before is newer all the same.
func TestInstancesShareARefreshForAShorterLife(t *testing.T) {
	t.Parallel()
	s := newStack(t, withShared(&exchange{results: map[[32]byte][]byte{}}))
	s.set(func() {
		s.rotate = true
		s.answer = func(a object2, first bool) {
			if !first {
				a["expires_in"] = 5
			}
		}
	})
	cookies := s.login("alice").own()
	s.clock.advance(time.Hour - 10*time.Second)
	before := s.count("token")
	for i := range 3 {
		if d, err := s.elsewhere(cookies); err != nil || d.Identity == nil || s.count("token")-before != 1 {
			t.Errorf("request %d: got %+v, %v after %d calls, want alice after 1", i, d.Identity, err, s.count("token")-before)
		}
	}
}

func TestInstancesShareARefusal(t *testing.T) {
	t.Parallel()
	x := &exchange{results: map[[32]byte][]byte{}}
	s := newStack(t, withShared(x))
	cookies := s.login("alice").own()
	s.set(func() { s.refreshes = map[string]*grant{} })
	s.clock.advance(2 * time.Hour)
	before := s.count("token")
	for range 3 {
		if d, _ := s.elsewhere(cookies); d.Identity != nil {
			t.Errorf("got %s, want nobody", d.Identity.Subject)
		}
	}
	if got := s.count("token") - before; got != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", got)
	}
	if len(x.keeps) != 1 || x.keeps[0] != sharedRefusal {
		t.Errorf("kept for %v, want once, for %v", x.keeps, sharedRefusal)
	}
}

// Whatever the store says or does, a session is renewed, by whom it belongs to.
func TestAStoreCannotRefuseOrForge(t *testing.T) {
	t.Parallel()
	for name, misbehave := range map[string]func(x *exchange){
		"down":    func(x *exchange) { x.err = http.ErrServerClosed },
		"altered": func(x *exchange) { x.spoil = func(b []byte) []byte { b[len(b)/2] ^= 1; return b } },
		"empty":   func(x *exchange) { x.spoil = func([]byte) []byte { return nil } },
		"another's": func(x *exchange) {
			x.spoil = func(own []byte) []byte {
				for _, result := range x.results {
					if !bytes.Equal(result, own) {
						return result
					}
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &exchange{results: map[[32]byte][]byte{}}
			s := newStack(t, withShared(x))
			alice, bob := s.login("alice").own(), s.login("bob").own()
			s.clock.advance(2 * time.Hour)
			for _, cookies := range [][]*http.Cookie{bob, alice} {
				if d, err := s.elsewhere(cookies); err != nil || d.Identity == nil {
					t.Fatalf("before: %v", err)
				}
			}
			before := s.count("token")
			misbehave(x)
			d, err := s.elsewhere(alice)
			if err != nil || d.Identity == nil || d.Identity.Subject != "alice" {
				t.Fatalf("got %+v, %v, want alice", d.Identity, err)
			}
			if got := s.count("token") - before; got != 1 {
				t.Errorf("calls to the token endpoint: got %d, want 1", got)
			}
		})
	}
}

func FuzzParseShared(f *testing.F) {
	f.Add(appendShared(&renewal{err: errSignedOut}))
	f.Add(appendShared(&renewal{sess: &session{subject: "alice", expires: 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		sess, refusal, err := parseShared(b)
		if err == nil && (sess == nil) == (refusal == nil) {
			t.Error("want a session or a refusal")
		}
		if refusal != nil && (refusal.Status < 400 || refusal.Status > 599) {
			t.Errorf("status: got %d", refusal.Status)
		}
	})
}
