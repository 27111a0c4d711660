package authn

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// parallel sends n requests with the same cookies at once.
func parallel(t *testing.T, s *stack, cookies []*http.Cookie, n int) []*reply {
	t.Helper()
	answers := make([]*reply, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = carry(t, s, cookies) })
	}
	wg.Wait()
	return answers
}

func TestOneRefreshForAllWhoWait(t *testing.T) {
	t.Parallel()
	for _, rotate := range []bool{true, false} {
		t.Run(fmt.Sprintf("rotation %t", rotate), func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.set(func() { s.rotate = rotate })
			cookies := s.login("alice").own()
			logins := s.count("token")
			s.clock.advance(2 * time.Hour)
			var renewed []*http.Cookie
			for _, a := range parallel(t, s, cookies, 50) {
				if a.status != 200 || a.body != "alice" {
					t.Fatalf("got %d %q, want 200 alice", a.status, a.body)
				}
				if renewed = a.cookies; len(renewed) != maxShards {
					t.Fatalf("cookies: got %d, want %d", len(renewed), maxShards)
				}
			}
			if n := s.count("token") - logins; n != 1 {
				t.Errorf("calls to the token endpoint: got %d, want 1", n)
			}
			// One that was on its way with the old cookie.
			s.clock.advance(renewalGrace - time.Second)
			if a := carry(t, s, cookies); a.status != 200 || s.count("token")-logins != 1 {
				t.Errorf("within the grace: got %d after %d calls, want 200 after 1", a.status, s.count("token")-logins)
			}
			// The new cookie is used as it is, and renewed in its turn.
			if a := carry(t, s, live(renewed)); a.status != 200 || len(a.cookies) != 0 || s.count("token")-logins != 1 {
				t.Errorf("the new cookie: got %d, %d cookies, %d calls", a.status, len(a.cookies), s.count("token")-logins)
			}
			s.clock.advance(2 * time.Hour)
			if a := carry(t, s, live(renewed)); a.status != 200 || s.count("token")-logins != 2 {
				t.Errorf("the new cookie two hours later: got %d after %d calls, want 200 after 2", a.status, s.count("token")-logins)
			}
			if len(s.refreshed) != 2 || s.refreshed[0].Err != nil || s.refreshed[0].Subject != "alice" {
				t.Errorf("hook: got %+v", s.refreshed)
			}
		})
	}
}

// live leaves out the cookies that an answer deletes.
func live(cookies []*http.Cookie) (out []*http.Cookie) {
	for _, c := range cookies {
		if c.MaxAge > 0 {
			out = append(out, c)
		}
	}
	return out
}

func TestRefreshTakesNewClaims(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	if a := b.visit("/admin/"); a.status != 403 {
		t.Fatalf("before: got %d, want 403", a.status)
	}
	s.set(func() { s.groups = []string{"admins"} })
	s.clock.advance(time.Hour)
	if a := b.visit("/admin/"); a.status != 200 {
		t.Errorf("after the refresh: got %d, want 200", a.status)
	}
}

func TestRefreshThatEndsTheLogin(t *testing.T) {
	t.Parallel()
	for name, misbehave := range map[string]func(s *stack){
		"invalid_grant":         func(s *stack) { s.refreshes = map[string]*grant{} },
		"ID token of another":   func(s *stack) { s.idClaims = func(c object2) { c["sub"] = "mallory" } },
		"ID token of elsewhere": func(s *stack) { s.idClaims = func(c object2) { c["iss"] = "https://evil.test" } },
		"userinfo of another":   func(s *stack) { s.userinfo = map[string]any{"sub": "mallory"} },
		"userinfo says no":      func(s *stack) { s.handle["userinfo"] = status(401) },
		"ID token badly signed": func(s *stack) { s.signKey = testKeys().evil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			cookies := s.login("alice").own()
			logins := s.count("token")
			s.set(func() { misbehave(s) })
			s.clock.advance(2 * time.Hour)
			for range 3 {
				for _, a := range parallel(t, s, cookies, 5) {
					if a.status != 302 || len(live(a.cookies)) != 1 || len(a.cookies) != maxShards+1 {
						t.Fatalf("got %d and %d cookies, want 302, every shard deleted and a login begun", a.status, len(a.cookies))
					}
				}
				s.clock.advance(time.Minute)
			}
			if n := s.count("token") - logins; n != 1 {
				t.Errorf("calls to the token endpoint: got %d, want 1", n)
			}
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestProviderDownDuringRefresh(t *testing.T) {
	t.Parallel()
	for _, down := range []string{"serve", "refuse"} {
		for name, h := range map[string]http.HandlerFunc{
			"500": status(500), "429": status(429), "misconfigured": status(400),
			"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"rubbish":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		} {
			t.Run(down+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t, withConfig(func(c *Config) { c.Session.OnProviderDown = down }))
				alice, bob := s.login("alice").own(), s.login("bob").own()
				logins := s.count("token")
				s.set(func() { s.handle["token"] = h })
				s.clock.advance(2 * time.Hour)
				for range 3 {
					for _, cookies := range [][]*http.Cookie{alice, bob} {
						a := carry(t, s, cookies)
						want := 200
						if down == "refuse" {
							want = 503
						}
						if a.status != want || len(a.cookies) != 0 {
							t.Errorf("got %d and %d cookies, want %d and the session kept", a.status, len(a.cookies), want)
						}
						if want == 503 && a.header.Get("Retry-After") != "5" {
							t.Errorf("Retry-After: got %q, want 5", a.header.Get("Retry-After"))
						}
					}
				}
				want := 1 // for both sessions, when it is the provider's trouble
				if name == "misconfigured" || name == "rubbish" {
					want = 2
				}
				if n := s.count("token") - logins; n != want {
					t.Errorf("calls to the token endpoint: got %d, want %d", n, want)
				}
				// It comes back, and nobody has to sign in again.
				s.set(func() { delete(s.handle, "token") })
				s.clock.advance(downtime)
				if a := carry(t, s, alice); a.status != 200 || len(a.cookies) != maxShards {
					t.Errorf("afterwards: got %d and %d cookies, want 200 and a renewed session", a.status, len(a.cookies))
				}
			})
		}
	}
}

// The provider has begun to sign with another key and does not show it: whether its ID token is good is
// open, so nobody is signed out.
func TestKeysDownDuringRefresh(t *testing.T) {
	t.Parallel()
	for _, down := range []string{"serve", "refuse"} {
		t.Run(down, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, withConfig(func(c *Config) { c.Session.OnProviderDown = down }))
			cookies := s.login("alice").own()
			s.set(func() {
				s.signKey, s.signKid = testKeys().evil, "k3"
				s.handle[".well-known/jwks.json"] = status(500)
			})
			s.clock.advance(2 * time.Hour)
			want := map[string]int{"serve": 200, "refuse": 503}[down]
			for range 3 {
				if a := carry(t, s, cookies); a.status != want || len(a.cookies) != 0 {
					t.Errorf("got %d and %d cookies, want %d and the session kept", a.status, len(a.cookies), want)
				}
			}
			s.set(func() {
				delete(s.handle, ".well-known/jwks.json")
				s.jwks = []map[string]any{rsaJWK("k3", testKeys().evil, nil)}
			})
			s.clock.advance(refetchInterval)
			if a := carry(t, s, cookies); a.status != 200 || len(a.cookies) != maxShards {
				t.Errorf("afterwards: got %d and %d cookies, want 200 and a renewed session", a.status, len(a.cookies))
			}
		})
	}
}

// Somebody sends tokens with invented key ids, so that the keys may not be fetched again for a moment, and just
// then the provider begins to sign with another one.
func TestKeysNotAskedForDuringRefresh(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies := s.login("alice").own()
	s.clock.advance(2 * time.Hour)
	if _, err := s.provider.bearer(t.Context(), mint(testKeys().evil, head("kid", "invented"), s.payloadOf("alice"))); err == nil {
		t.Fatal("an invented key was taken")
	}
	s.set(func() {
		s.signKey, s.signKid = testKeys().evil, "k3"
		s.jwks = []map[string]any{rsaJWK("k3", testKeys().evil, nil)}
	})
	if a := carry(t, s, cookies); a.status != 200 || len(a.cookies) != 0 {
		t.Errorf("got %d and %d cookies, want 200 and the session kept", a.status, len(a.cookies))
	}
	s.clock.advance(refetchInterval)
	if a := carry(t, s, cookies); a.status != 200 || len(a.cookies) != maxShards {
		t.Errorf("afterwards: got %d and %d cookies, want 200 and a renewed session", a.status, len(a.cookies))
	}
	// A key that the provider does not have when it is asked is no key of its.
	s.set(func() { s.signKid = "k4" })
	s.clock.advance(2 * time.Hour)
	if a := carry(t, s, cookies); a.status != 302 {
		t.Errorf("with a key that is not published: got %d, want 302", a.status)
	}
}

func TestKeysDownDuringALogin(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b, callback := s.begun("/page")
	s.set(func() {
		s.signKey, s.signKid = testKeys().evil, "k3"
		s.handle[".well-known/jwks.json"] = status(500)
	})
	s.clock.advance(refetchInterval)
	a := b.visit(callback.String())
	if a.status != 503 || a.header.Get("Retry-After") != "5" || s.lastReason() != ReasonProviderUnavailable {
		t.Errorf("got %d, Retry-After %q, %s, want 503 and when to try again", a.status, a.header.Get("Retry-After"), s.lastReason())
	}
}

func TestServedUntilTheAbsoluteEndOnly(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies := s.login("alice").own()
	s.set(func() { s.handle["token"] = status(500) })
	s.clock.advance(12*time.Hour - time.Minute)
	if a := carry(t, s, cookies); a.status != 200 {
		t.Errorf("before the end: got %d, want 200", a.status)
	}
	s.clock.advance(time.Minute)
	if a := carry(t, s, cookies); a.status != 302 {
		t.Errorf("after the end: got %d, want 302", a.status)
	}
}

func TestUserinfoDownDuringRefreshKeepsTheClaims(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.rotate = true })
	b := s.login("alice")
	s.set(func() { s.handle["userinfo"] = status(500) })
	for range 3 {
		s.clock.advance(2 * time.Hour)
		if a := b.visit("/page"); a.status != 200 || a.body != "alice" {
			t.Fatalf("got %d %q, want 200 alice", a.status, a.body)
		}
	}
}

func TestNoRefreshTokenNoRefresh(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() {
		s.handle["token"] = func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			answer := s.tokens(s.codes[r.FormValue("code")], true)
			delete(answer, "refresh_token")
			writeJSON(w, 200, answer)
		}
	})
	b := s.login("alice")
	s.clock.advance(11 * time.Hour)
	if a := b.visit("/page"); a.status != 200 || s.count("token") != 1 {
		t.Errorf("got %d after %d calls, want 200 after 1", a.status, s.count("token"))
	}
}

func TestWaitingForARefreshEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	entered, release := make(chan struct{}), make(chan struct{})
	s.set(func() {
		s.handle["token"] = func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			s.op.token(w, r)
		}
	})
	s.clock.advance(2 * time.Hour)
	request := func(ctx context.Context) *http.Request {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.gw.URL+"/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.own() {
			r.AddCookie(c)
		}
		return r
	}
	g := s.gate(Rule{})
	// The first one's client goes away while the call is under way; the call is made to its end.
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if d, err := g.Check(request(ctx)); err != nil || d.Identity == nil {
			t.Errorf("the one that calls: got %v", err)
		}
	})
	<-entered
	cancel()
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := g.Check(request(gone)); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("one that waits and goes away: got %v", err)
	}
	wg.Go(func() {
		if d, err := g.Check(request(t.Context())); err != nil || d.Identity == nil {
			t.Errorf("one that waits: got %v", err)
		}
	})
	close(release)
	wg.Wait()
}

func TestSignOutDuringARefresh(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.rotate = true })
	b := s.login("alice")
	cookies := b.own()
	entered, release := make(chan struct{}), make(chan struct{})
	s.set(func() {
		s.handle["token"] = func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			s.op.token(w, r)
		}
	})
	s.clock.advance(2 * time.Hour)
	var wg sync.WaitGroup
	wg.Go(func() {
		if a := carry(t, s, cookies); a.status != 302 || len(live(a.cookies)) != 1 {
			t.Errorf("the request that renewed: got %d, want 302 and no session", a.status)
		}
	})
	<-entered
	b.visit("/oauth2/sign_out")
	close(release)
	wg.Wait()
	if len(s.revoked) != 2 || s.revoked[0] == s.revoked[1] {
		t.Errorf("revoked: got %q, want the old and the new refresh token", s.revoked)
	}
}

func TestSlowProvider(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or the server would not notice that the client has left
		<-r.Context().Done()
	}
	for _, endpoint := range []string{"token", "userinfo", "revoke"} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, func(s *stack) { s.timeout = 2 * time.Second })
			b, u := s.begun("/page")
			alice := s.login("alice")
			s.set(func() { s.handle[endpoint] = hang })
			if endpoint == "revoke" {
				if a := alice.visit("/oauth2/sign_out"); a.status != 302 || len(s.logouts) != 1 || s.logouts[0].Err == nil {
					t.Errorf("sign-out: got %d %+v, want 302 and an error for the hook", a.status, s.logouts)
				}
				return
			}
			if a := b.visit(u.String()); a.status != 503 || a.header.Get("Retry-After") != "5" {
				t.Errorf("callback: got %d %v, want 503", a.status, s.errs)
			}
			s.clock.advance(2 * time.Hour)
			if a := alice.visit("/page"); a.status != 200 {
				t.Errorf("refresh: got %d %v, want the session served", a.status, s.errs)
			}
		})
	}
}

func TestEverybodySeesThemselves(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.rotate, s.life = true, 100 })
	g := s.gate(Rule{})
	browsers := map[string][]*http.Cookie{"alice": s.login("alice").own(), "bob": s.login("bob").own()}
	var mu sync.Mutex
	for round := range 1000 {
		s.clock.advance(7 * time.Second)
		var wg sync.WaitGroup
		for _, user := range []string{"alice", "bob", "alice", "bob"} {
			wg.Go(func() {
				r, _ := http.NewRequest(http.MethodGet, s.gw.URL+"/page", nil)
				mu.Lock()
				for _, c := range browsers[user] {
					r.AddCookie(c)
				}
				mu.Unlock()
				d, err := g.Check(r)
				if err != nil || d.Identity.Subject != user {
					t.Errorf("round %d: %s sees %+v, %v", round, user, d.Identity, err)
					return
				}
				if len(d.Cookies) > 0 {
					mu.Lock()
					defer mu.Unlock()
					browsers[user] = nil
					for _, line := range d.Cookies {
						if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge > 0 {
							browsers[user] = append(browsers[user], c)
						}
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
	if n := s.count("token"); n < 100 {
		t.Errorf("refreshes: got %d, want at least 100", n)
	}
}
