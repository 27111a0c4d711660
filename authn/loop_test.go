package authn

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// forgetful is a browser that refuses to keep some cookies.
type forgetful struct {
	http.CookieJar
	drop func(*http.Cookie) bool
}

func (j forgetful) SetCookies(u *url.URL, cookies []*http.Cookie) {
	var kept []*http.Cookie
	for _, c := range cookies {
		if !j.drop(c) {
			kept = append(kept, c)
		}
	}
	j.CookieJar.SetCookies(u, kept)
}

func (b *browser) drops(drop func(*http.Cookie) bool) { b.Jar = forgetful{b.Jar, drop} }

// rounds navigates until it is not redirected any more, and counts the visits of the provider.
func (b *browser) rounds(target string) (a *reply, rounds int) {
	b.s.t.Helper()
	for range 40 {
		a = b.visit(target)
		if a.location == "" {
			return a, rounds
		}
		if strings.Contains(a.location, "/oauth2/authorize") {
			rounds++
		}
		target = a.location
	}
	b.s.t.Fatalf("redirected for ever, at last to %s", target)
	return nil, 0
}

func isShard(c *http.Cookie) bool { return !strings.HasSuffix(c.Name, "-login") }

func TestALoopEndsWithAPageThatSaysWhy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		spoil  func(s *stack, b *browser)
		rounds int
		status int
		reason string
		say    string
	}{
		{"no cookie comes back", func(_ *stack, b *browser) { b.Jar = nil }, 2, 400, ReasonCookieLost, "did not send our cookie back"},
		{"the session does not come back", func(_ *stack, b *browser) { b.drops(isShard) }, 3, 400, ReasonCookieLost, "did not send our cookie back"},
		{"one shard of two does not come back", func(s *stack, b *browser) {
			s.set(func() { s.userinfo["picture"] = noise(5000) })
			b.drops(func(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "-1") })
		}, 3, 400, ReasonLoop, "only a part of it came"},
		{"sessions are ended at once", func(s *stack, b *browser) {
			s.onLogin = func(id string) {
				s.sessions.revoke(Revocation{Key: sessionKey(id), Before: whenever, Until: s.clock.now().Unix() + 3600})
			}
		}, 3, 400, ReasonLoop, "ends your session at once"},
		{"our clock is behind", func(s *stack, _ *browser) {
			s.set(func() {
				s.idClaims = func(c object2) { c["iat"] = s.clock.now().Unix() + 7260; c["exp"] = s.clock.now().Unix() + 9999 }
			})
		}, 1, 401, ReasonClock, "2h1m behind that of the sign-in service"},
		{"our clock is ahead", func(s *stack, _ *browser) {
			s.set(func() {
				s.idClaims = func(c object2) { c["iat"] = s.clock.now().Unix() - 7200; c["exp"] = s.clock.now().Unix() - 3600 }
			})
		}, 1, 401, ReasonClock, "2h0m ahead of that of the sign-in service"},
		{"a token that is dead on arrival is no clock", func(s *stack, _ *browser) {
			s.set(func() { s.idClaims = func(c object2) { c["exp"] = s.clock.now().Unix() - 3600 } })
		}, 1, 401, ReasonInvalidIDToken, "Signing in did not work"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			b := s.browser()
			tt.spoil(s, b)
			a, rounds := b.rounds("/page?x=1")
			if a.status != tt.status || s.lastReason() != tt.reason || !strings.Contains(a.body, tt.say) {
				t.Errorf("got %d %s, want %d %s and %q:\n%s", a.status, s.lastReason(), tt.status, tt.reason, tt.say, a.body)
			}
			if rounds != tt.rounds {
				t.Errorf("visits of the provider: got %d, want %d", rounds, tt.rounds)
			}
			// A person may try again, and it ends again.
			if a, rounds := b.rounds("/oauth2/sign_in?rd=/page"); a.status != tt.status || rounds > maxRounds {
				t.Errorf("trying again: got %d after %d visits of the provider, want %d after %d at most", a.status, rounds, tt.status, maxRounds)
			}
		})
	}
}

func TestLoopPagesOfTheGate(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	host := canonicalHost(mustURL(t, s.gw.URL).Host)
	now := s.clock.now()
	b := s.login("alice")
	line, err := s.sessions.setPending(host, loginCookie{trail: trail{rounds: maxRounds, since: now.Unix()}})
	if err != nil {
		t.Fatal(err)
	}
	login, err := http.ParseSetCookie(line)
	if err != nil {
		t.Fatal(err)
	}
	shard := b.shards()[0]
	junk := &http.Cookie{Name: shard.Name, Value: "1abcdefgh1AAAA"}
	t.Run("two cookies of one name", func(t *testing.T) {
		a := s.request("GET", "/page", []*http.Cookie{login, junk, shard}, navigate...)
		if a.status != 400 || s.lastReason() != ReasonLoop {
			t.Errorf("got %d %s, want 400 %s", a.status, s.lastReason(), ReasonLoop)
		}
		for _, c := range a.cookies {
			if c.MaxAge > 0 {
				t.Errorf("%s is set, want nothing but deletions, so that trying again counts from the start", c.Name)
			}
		}
	})
	t.Run("another server's clock", func(t *testing.T) {
		later := s.request("GET", "/page", []*http.Cookie{login, b.shards()[0]}, navigate...)
		if later.status != 200 {
			t.Fatalf("got %d, want the page: there is a session", later.status)
		}
		s.clock.advance(13 * time.Hour)
		moved, err := s.sessions.setPending(host, loginCookie{trail: trail{rounds: maxRounds, since: s.clock.now().Unix()}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := http.ParseSetCookie(moved)
		if err != nil {
			t.Fatal(err)
		}
		a := s.request("GET", "/page", []*http.Cookie{again, b.shards()[0]}, navigate...)
		if a.status != 500 || s.lastReason() != ReasonClock {
			t.Errorf("got %d %s, want 500 %s", a.status, s.lastReason(), ReasonClock)
		}
	})
	t.Run("a script is told as ever", func(t *testing.T) {
		if a := s.request("GET", "/page", []*http.Cookie{login}, fetch...); a.status != 401 || !strings.Contains(a.body, "login_url") {
			t.Errorf("got %d %s, want 401 and login_url", a.status, a.body)
		}
	})
	t.Run("after a minute it is no loop", func(t *testing.T) {
		s.clock.advance(trailLife)
		if a := s.request("GET", "/page", []*http.Cookie{login}, navigate...); a.status != 302 {
			t.Errorf("got %d, want 302", a.status)
		}
	})
}

// With SameSite=Strict nobody has a session who comes from another site.
func TestLinksFromElsewhereAreNoLoop(t *testing.T) {
	t.Parallel()
	s := newStack(t, withConfig(func(c *Config) { c.Session.SameSite = "strict" }))
	b := s.browser()
	b.drops(isShard)
	for i := range 2 * maxRounds {
		a := b.visit("/page", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site")
		if a.status != 302 {
			t.Fatalf("link %d: got %d, want 302", i, a.status)
		}
		if a = b.visit(b.visit(a.location).location); a.status != 200 || !strings.Contains(a.body, "Signed in") {
			t.Fatalf("callback %d: got %d %s", i, a.status, a.body)
		}
	}
	if a := b.visit("/page", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"); a.status != 400 || s.lastReason() != ReasonCookieLost {
		t.Errorf("from our own page: got %d %s, want 400 %s", a.status, s.lastReason(), ReasonCookieLost)
	}
}

func TestACallbackOnAnotherHost(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	_, u := s.begun("/page")
	for _, host := range []string{"www.app.example", `<b>"x"`} {
		r, err := http.NewRequest(http.MethodGet, u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		a := serve(s, r)
		if a.status != 400 || s.lastReason() != ReasonCallbackHost || !strings.Contains(a.body, "began on "+u.Host) {
			t.Errorf("%s: got %d %s, want 400 %s and the host it began on:\n%s", host, a.status, s.lastReason(), ReasonCallbackHost, a.body)
		}
		if strings.Contains(a.body, "<b>") || !strings.Contains(a.body, "Request: req-1") || !strings.Contains(a.body, ReasonCallbackHost) {
			t.Errorf("%s: want the host escaped, the request id and the reason:\n%s", host, a.body)
		}
	}
	if n := s.count("token"); n != 0 {
		t.Errorf("calls to the token endpoint: got %d, want 0", n)
	}
}

// serve answers a request without a connection: Go's client refuses to send some of them.
func serve(s *stack, r *http.Request) *reply {
	w := httptest.NewRecorder()
	r.RequestURI = r.URL.RequestURI()
	s.gw.Config.Handler.ServeHTTP(w, r)
	return readReply(s.t, w.Result())
}

func TestALoginOfAServerWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b, u := s.begun("/page")
	s.clock.advance(-time.Hour)
	a := b.visit(u.String())
	if a.status != 500 || s.lastReason() != ReasonClock || !strings.Contains(a.body, "1h0m behind that of the server") {
		t.Errorf("got %d %s, want 500 %s:\n%s", a.status, s.lastReason(), ReasonClock, a.body)
	}
}

// TestTwentyTabs opens twenty pages signed out. Whichever way the answers cross, each tab ends on its
// own page after somebody has signed in in any one of them.
func TestTwentyTabs(t *testing.T) {
	t.Parallel()
	const tabs, first = 20, 7
	for name, together := range map[string]bool{"one after the other": false, "all at once": true} {
		for _, way := range []string{"/tab/%d", "/tab/%d?" + strings.Repeat("with-a-long-way=back&", 40)} {
			t.Run(fmt.Sprintf("%s, to a way of %d bytes", name, len(way)), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				b := s.browser()
				asked := make([]string, tabs)
				for i := range tabs {
					if together {
						// No request has a cookie yet, and each answer replaces that of the one before.
						jar, err := cookiejar.New(nil)
						if err != nil {
							t.Fatal(err)
						}
						b.Jar = jar
					}
					asked[i] = b.visit(fmt.Sprintf(way, i)).location
					if n := cookieHeader(b); len(b.own()) != 1 || n >= 4096 {
						t.Fatalf("tab %d: %d cookies of %d bytes, want 1 below 4096", i, len(b.own()), n)
					}
					jar := s.sessions.pending(canonicalHost(mustURL(t, s.gw.URL).Host), b.own())
					if n := len(jar.logins); n < 1 || n > maxPending {
						t.Fatalf("tab %d: %d logins under way, want 1 to %d", i, n, maxPending)
					}
				}
				// Somebody signs in in a tab whose login is not in the cookie any more; the provider
				// then signs the others in by itself.
				s.clock.advance(time.Second)
				order := []int{first}
				for i := range tabs {
					order = append(order, i)
				}
				var session string
				for n, i := range order {
					code := b.visit(asked[i]).location
					a := b.follow(code)
					if want := fmt.Sprintf(way, i); a.status != 200 || a.body != "alice" || b.last != s.gw.URL+want {
						t.Errorf("tab %d, as number %d: got %d %q at %s, want alice at %s", i, n, a.status, a.body, b.last, want)
					}
					if n == 0 {
						session = b.shards()[0].Value
					}
				}
				if b.shards()[0].Value != session {
					t.Error("a tab that came later replaced the session that the others use")
				}
			})
		}
	}
}

func cookieHeader(b *browser) (n int) {
	for _, c := range b.own() {
		n += len(c.Name) + len(c.Value) + len("; =")
	}
	return n
}

// A provider that signs everybody in without asking, as when a window of twenty tabs is restored.
func TestTwentyTabsOfARestoredWindow(t *testing.T) {
	t.Parallel()
	const tabs = 20
	s := newStack(t)
	b := s.browser()
	at := make([]string, tabs)
	for i := range tabs {
		at[i] = fmt.Sprintf("/tab/%d", i)
	}
	// All tabs take one step at a time, each with the cookies that the one before left.
	for range 10 {
		for i := range tabs {
			if a := b.visit(at[i]); a.location != "" {
				at[i] = a.location
			}
		}
	}
	for i := range tabs {
		if a := b.visit(at[i]); a.status != 200 || at[i] != fmt.Sprintf("/tab/%d", i) {
			t.Errorf("tab %d: got %d at %s, want its own page", i, a.status, at[i])
		}
	}
}

// What a tab wanted is known to every instance that has the secret, not only to the one that it asked.
func TestALateTabOnAnotherInstance(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b, u := s.begun("/page?x=1")
	other, err := NewSessions(s.cfg.Session, []byte(strings.Repeat("k", 32)), SessionsOptions{Now: s.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	s.sessions = other
	s.gw.Config.Handler = s.handler()
	if got := other.wanted(other.openTicket(u.Query().Get("state"))); got != "/page?x=1" {
		t.Errorf("wanted: got %q, want /page?x=1", got)
	}
	b.Jar, err = cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := b.follow(u.String()); a.status != 200 || a.body != "alice" || b.last != s.gw.URL+"/page?x=1" {
		t.Errorf("got %d %q at %s, want alice on the page", a.status, a.body, b.last)
	}
}

// Attack: a link with a code of the attacker's own account. It must never sign anybody in with it.
func TestACodeOfAnotherBrowserIsNeverRedeemed(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.user = "mallory" })
	_, u := s.begun("/page")
	s.set(func() { s.user = "alice" })
	for _, headers := range [][]string{
		navigate, oldBrowse, fetch, with(navigate, "Sec-Fetch-Site", "cross-site"),
	} {
		victim := s.browser()
		a := victim.visit(u.String(), headers...)
		if isNavigation := headers[1] != "cors"; isNavigation != (a.status == 302) || !isNavigation && a.status != 401 {
			t.Errorf("%v: got %d, want a new login for a navigation and 401 for the rest", headers, a.status)
		}
		if len(victim.shards()) > 0 {
			t.Errorf("%v: a session was made", headers)
		}
		if a.status != 302 {
			continue
		}
		if a := victim.follow(a.location); a.status != 200 || a.body != "alice" {
			t.Errorf("%v: got %d %q, want the victim's own login", headers, a.status, a.body)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.codes) == 0 {
		t.Error("the attacker's code was redeemed")
	}
}

// A sign-in page that was open for longer than its cookie lives.
func TestALoginThatTookAnHour(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b, u := s.begun("/page")
	s.clock.advance(time.Hour)
	if a := b.follow(u.String()); a.status != 200 || a.body != "alice" || b.last != s.gw.URL+"/page" {
		t.Errorf("got %d %q at %s, want alice on the page", a.status, a.body, b.last)
	}
	if n := s.count("token"); n != 1 {
		t.Errorf("codes redeemed: got %d, want that of the login begun anew only", n)
	}
}

// A browser without Fetch Metadata that reloads the sign-in address loses no session by it.
func TestAReloadOfTheSignInAddress(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	if a := b.visit("/oauth2/sign_in?rd=/board", oldBrowse...); a.status != 302 || a.location != "/board" {
		t.Errorf("got %d to %q, want 302 to the page", a.status, a.location)
	}
	if a := b.visit("/page"); a.status != 200 {
		t.Errorf("afterwards: got %d, want the session to live", a.status)
	}
	a := b.visit("/oauth2/sign_in?rd=/board", with(oldBrowse, "Referer", s.gw.URL+"/page")...)
	if a.status != 302 || !strings.Contains(a.location, "/oauth2/authorize") {
		t.Errorf("a link on our own page: got %d to %q, want a login", a.status, a.location)
	}
	if a := s.browser().visit("/oauth2/sign_in?rd=/board", oldBrowse...); !strings.Contains(a.location, "/oauth2/authorize") {
		t.Errorf("signed out: got %d to %q, want a login", a.status, a.location)
	}
}

func TestProviderDownAfterTheSession(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	cookies := s.login("alice").own()
	gone := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	s.set(func() {
		for _, endpoint := range []string{"token", "userinfo", ".well-known/jwks.json", "authorize"} {
			s.handle[endpoint] = gone
		}
	})
	s.clock.advance(11 * time.Hour)
	if a := carry(t, s, cookies); a.status != 200 {
		t.Fatalf("while the session is valid: got %d, want 200", a.status)
	}
	s.clock.advance(time.Hour)
	before := s.count(".well-known/jwks.json")
	for _, headers := range [][]string{navigate, fetch, navigate} {
		a := s.request("GET", "/page", cookies, headers...)
		if a.status != 503 || a.header.Get("Retry-After") != "5" || a.location != "" {
			t.Errorf("%v: got %d to %q, Retry-After %q, want 503 and 5", headers[:2], a.status, a.location, a.header.Get("Retry-After"))
		}
	}
	if n := s.count(".well-known/jwks.json") - before; n != 1 {
		t.Errorf("asked the provider %d times whether it is there, want once", n)
	}
	s.set(func() { clear(s.handle) })
	if a := s.request("GET", "/page", cookies, navigate...); a.status != 503 {
		t.Errorf("within the pause: got %d, want 503", a.status)
	}
	s.clock.advance(downtime)
	if a := s.request("GET", "/page", cookies, navigate...); a.status != 302 || !strings.Contains(a.location, "/oauth2/authorize") {
		t.Errorf("when it is back: got %d to %q, want a login", a.status, a.location)
	}
}

// With a provider that rotates, a refresh token that comes twice is a theft: it ends the login.
func TestAnOldCookieAfterItsGrace(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.rotate = true })
	b := s.login("alice")
	old := b.shards()
	s.clock.advance(2 * time.Hour)
	if a := b.visit("/page"); a.status != 200 {
		t.Fatalf("refresh: got %d", a.status)
	}
	before := s.count("token")
	s.clock.advance(renewalGrace + time.Second)
	for i := range 5 {
		a := s.request("GET", "/page", old, navigate...)
		if a.status != 302 || !strings.Contains(a.location, "/oauth2/authorize") {
			t.Errorf("request %d with the old cookie: got %d to %q, want a login", i, a.status, a.location)
		}
	}
	if n := s.count("token") - before; n != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", n)
	}
	// The browser that was renewed is not asked for anything by that.
	if a := b.visit("/page"); a.status != 200 || s.count("token")-before != 1 {
		t.Errorf("the renewed session: got %d after %d calls, want 200 after 1", a.status, s.count("token")-before)
	}
}

// A login that the provider takes back at every refresh ends with a page too (O30).
func TestInvalidGrantAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.life = 1 })
	b := s.login("alice")
	s.set(func() {
		s.handle["token"] = func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("grant_type") == "refresh_token" {
				writeJSON(w, 400, map[string]any{"error": "invalid_grant"})
				return
			}
			s.op.token(w, r)
		}
	})
	for i := range maxRounds - 1 {
		s.clock.advance(time.Second)
		if a, rounds := b.rounds("/page"); a.status != 200 || rounds != 1 {
			t.Fatalf("refusal %d: got %d after %d visits of the provider, want 200 after 1", i, a.status, rounds)
		}
	}
	s.clock.advance(time.Second)
	if a, rounds := b.rounds("/page"); a.status != 400 || rounds != 0 || s.lastReason() != ReasonLoop || !strings.Contains(a.body, "takes it back") {
		t.Errorf("at last: got %d %s after %d visits of the provider, want 400 %s\n%s", a.status, s.lastReason(), rounds, ReasonLoop, a.body)
	}
}

func FuzzTicket(f *testing.F) {
	s, err := NewSessions(SessionConfig{}, []byte(strings.Repeat("k", 32)), SessionsOptions{})
	if err != nil {
		f.Fatal(err)
	}
	l := newPendingLogin(&Provider{}, time.Unix(1, 0), "/page", StepUp{})
	if l.ticket, err = s.sealTicket(&l, "app.example.test", 1); err != nil {
		f.Fatal(err)
	}
	f.Add(l.stateText())
	f.Add(l.state.text())
	f.Add(".")
	f.Add(strings.Repeat("A", 22) + "." + l.ticket)
	f.Fuzz(func(t *testing.T, state string) {
		// Fuzzing processes have the same key, so the seed may be another one's login.
		if got := s.openTicket(state); got != nil && (got.host != "app.example.test" || got.back != "/page" || got.rounds != 1) {
			t.Fatalf("opened a ticket that was not made here: %+v", got)
		}
	})
}
