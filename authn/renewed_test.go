package authn

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/identity"
)

// request is one with the cookies of a browser.
func (b *browser) request() *http.Request {
	b.s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, b.s.gw.URL+"/page", nil)
	if err != nil {
		b.s.t.Fatal(err)
	}
	for _, c := range b.own() {
		r.AddCookie(c)
	}
	return r
}

// who returns whom a gate sees behind the cookies of a browser.
func (b *browser) who() *identity.Identity {
	b.s.t.Helper()
	d, err := b.s.gate(Rule{}).Check(b.request())
	if err != nil {
		b.s.t.Fatal(err)
	}
	return d.Identity
}

// A provider that grants less than was asked says so once. A refresh that names no scope has the scope of
// the login (RFC 6749 section 6), not the one that was asked for.
func TestRefreshDoesNotWidenTheScope(t *testing.T) {
	t.Parallel()
	s := newStack(t, withOIDC, withConfig(func(c *Config) {
		if c.OIDC != nil {
			c.OIDC.Scopes = []string{"openid", "orders.write"}
		}
	}))
	s.set(func() {
		s.answer = func(a object2, first bool) {
			if first {
				a["scope"] = "openid"
			}
		}
	})
	b := s.login("alice")
	s.clock.advance(2 * time.Hour)
	if got := b.who().Scopes; s.count("token") != 2 || !slices.Equal(got, []string{"openid"}) {
		t.Errorf("scopes after %d calls: got %q, want openid alone after 2", s.count("token"), got)
	}
}

// Where the provider's own session is about to end, tokens live shorter from one refresh to the next. Requests with the
// old cookie still share the one refresh: a second would redeem a token that was rotated away, which ends the login.
func TestRefreshForAShorterLifeIsSharedToo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() {
		s.rotate = true
		s.answer = func(a object2, first bool) {
			if !first {
				a["expires_in"] = 5
			}
		}
	})
	b := s.login("alice")
	old := b.own()
	s.clock.advance(time.Hour - 10*time.Second)
	for i := range 3 {
		if a := carry(t, s, old); a.status != 200 || s.count("token") != 2 {
			t.Errorf("request %d: got %d after %d calls, want 200 after 2", i, a.status, s.count("token"))
		}
	}
}

// A refresh authenticates nobody (OpenID Connect Core 1.0 section 12.2), whatever its ID token says of
// auth_time and of iat, which stands in for it.
func TestRefreshIsNoAuthentication(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(object2){
		"auth_time of the refresh": func(object2) {},
		"no auth_time":             func(c object2) { delete(c, "auth_time") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.set(func() { s.idClaims = change })
			b := s.login("alice")
			want := b.who().AuthTime
			s.clock.advance(2 * time.Hour)
			if got := b.who().AuthTime; s.count("token") != 2 || !got.Equal(want) {
				t.Errorf("auth time after %d calls: got %v, want %v after 2", s.count("token"), got, want)
			}
		})
	}
}

// Some providers tell groups and the address by userinfo alone. When that cannot be asked after a refresh,
// they are as they were.
func TestRefreshKeepsWhatOnlyUserinfoTells(t *testing.T) {
	t.Parallel()
	for name, fromIDToken := range map[string]bool{"claims of userinfo": false, "claims of the ID token": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testUserinfoOutage(t, newStack(t, withOIDC, func(s *stack) { s.idTokenClaims = fromIDToken }))
		})
	}
}

func testUserinfoOutage(t *testing.T, s *stack) {
	s.set(func() {
		s.userinfo = map[string]any{"groups": []string{"admins"}, "email": "alice@corp.example.com", "email_verified": true}
		s.idClaims = func(c object2) {
			delete(c, "groups")
			c["email"], c["email_verified"] = "old@example.com", false
		}
	})
	b := s.login("alice")
	s.set(func() { s.handle["userinfo"] = status(500) })
	s.clock.advance(2 * time.Hour)
	id := b.who()
	if s.count("token") != 2 || !slices.Equal(id.Groups, []string{"admins"}) || id.Email != "alice@corp.example.com" || !id.EmailVerified {
		t.Errorf("after %d calls: got %q %s %t, want the groups and the address of the login", s.count("token"), id.Groups, id.Email, id.EmailVerified)
	}

	// The ID token's word on groups counts whether or not userinfo answers.
	s.set(func() { s.idClaims = func(c object2) { c["groups"] = []string{} } })
	s.clock.advance(2 * time.Hour)
	if id := b.who(); len(id.Groups) != 0 {
		t.Errorf("groups: got %q, want none", id.Groups)
	}
}

// A sign-out that comes when the new refresh token is here but not yet anywhere else revokes it too.
func TestSignOutWhileARefreshAsksForClaims(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.rotate = true })
	b := s.login("alice")
	cookies := b.own()
	entered, release := make(chan struct{}), make(chan struct{})
	s.set(func() {
		s.handle["userinfo"] = func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-release
			s.serveUserinfo(w, r)
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
	s.set(func() {
		for token := range s.refreshes {
			if !slices.Contains(s.op.revoked, token) {
				t.Errorf("revoked: got %q, want %q among them", s.op.revoked, token)
			}
		}
	})
}

// A session that is signed out while its refresh fails is not served in spite of the provider.
func TestSignOutDuringARefreshThatFails(t *testing.T) {
	t.Parallel()
	for _, down := range []string{"serve", "refuse"} {
		t.Run(down, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, withConfig(func(c *Config) { c.Session.OnProviderDown = down }))
			b := s.login("alice")
			cookies := b.own()
			entered, release := make(chan struct{}), make(chan struct{})
			s.set(func() {
				s.handle["token"] = func(w http.ResponseWriter, _ *http.Request) {
					close(entered)
					<-release
					w.WriteHeader(http.StatusInternalServerError)
				}
			})
			s.clock.advance(2 * time.Hour)
			var wg sync.WaitGroup
			wg.Go(func() {
				if a := carry(t, s, cookies); a.status != 302 || len(live(a.cookies)) != 1 {
					t.Errorf("the request that was to renew: got %d, want 302 and no session", a.status)
				}
			})
			wg.Go(func() {
				a := s.request(http.MethodPost, SessionPath, cookies, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors")
				if a.status != 200 || !strings.Contains(a.body, `"signed_in":false`) || len(live(a.cookies)) != 0 {
					t.Errorf("the page that asked: got %d %s, want nobody signed in", a.status, a.body)
				}
			})
			<-entered
			b.visit("/oauth2/sign_out")
			close(release)
			wg.Wait()
		})
	}
}
