package authn

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// begun is a browser that has come back from the provider, but for the callback itself.
func (s *stack) begun(page string) (b *browser, callback *url.URL) {
	s.t.Helper()
	b = s.browser()
	a := b.visit(b.visit(page).location)
	u, err := url.Parse(a.location)
	if err != nil || u.Query().Get("code") == "" {
		s.t.Fatalf("authorize: got %q", a.location)
	}
	return b, u
}

func (s *stack) lastReason() string {
	s.mu2.Lock()
	defer s.mu2.Unlock()
	var e *Error
	if len(s.errs) == 0 || !errors.As(s.errs[len(s.errs)-1], &e) {
		return ""
	}
	return e.Reason
}

func TestCallbackRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(s *stack, b *browser, q url.Values)
		status int
		reason string
		tokens int // calls to the token endpoint
	}{
		{"no state", func(_ *stack, _ *browser, q url.Values) { q.Del("state") }, 400, ReasonMissingState, 0},
		{"no code", func(_ *stack, _ *browser, q url.Values) { q.Del("code") }, 400, ReasonMissingCode, 0},
		{"state twice", func(_ *stack, _ *browser, q url.Values) { q.Add("state", "x") }, 400, ReasonBadRequest, 0},
		{"code twice", func(_ *stack, _ *browser, q url.Values) { q.Add("code", "x") }, 400, ReasonBadRequest, 0},
		{"error twice", func(_ *stack, _ *browser, q url.Values) { q["error"] = []string{"a", "b"} }, 400, ReasonBadRequest, 0},
		{"huge code", func(_ *stack, _ *browser, q url.Values) { q.Set("code", longText(maxParam+1)) }, 400, ReasonBadRequest, 0},
		{"other state", func(_ *stack, _ *browser, q url.Values) { q.Set("state", "AAAAAAAAAAAAAAAAAAAAAA") }, 401, ReasonInvalidState, 0},
		{"no cookie and another state", func(_ *stack, b *browser, q url.Values) {
			b.Jar = nil
			q.Set("state", "AAAAAAAAAAAAAAAAAAAAAA")
		}, 401, ReasonMissingLoginCookie, 0},
		{"state without its ticket", func(_ *stack, _ *browser, q url.Values) {
			q.Set("state", strings.Split(q.Get("state"), ".")[0])
		}, 401, ReasonInvalidState, 0},
		{"state with another's ticket", func(s *stack, _ *browser, q url.Values) {
			_, other := s.begun("/other")
			id, _, _ := strings.Cut(q.Get("state"), ".")
			_, ticket, _ := strings.Cut(other.Query().Get("state"), ".")
			q.Set("state", id+"."+ticket)
		}, 401, ReasonInvalidState, 0},
		{"wrong iss", func(_ *stack, _ *browser, q url.Values) { q.Set("iss", "https://evil.test") }, 401, ReasonInvalidState, 0},
		{"access denied", func(_ *stack, _ *browser, q url.Values) { q.Set("error", "access_denied") }, 403, ReasonProviderError, 0},
		{"login required", func(_ *stack, _ *browser, q url.Values) { q.Set("error", "login_required") }, 401, ReasonProviderError, 0},
		{"server error", func(_ *stack, _ *browser, q url.Values) { q.Set("error", "server_error") }, 502, ReasonProviderError, 0},
		{"spent code", func(s *stack, _ *browser, q url.Values) { s.set(func() { delete(s.codes, q.Get("code")) }) }, 401, ReasonInvalidGrant, 1},
		{"token endpoint 500", replace("token", 500, ""), 503, ReasonTokenFailed, 1},
		{"token endpoint 403", replace("token", 403, "{}"), 502, ReasonTokenFailed, 1},
		{"token endpoint redirects", replace("token", 307, ""), 502, ReasonTokenFailed, 1},
		{"token endpoint not JSON", replace("token", 200, "<html>"), 502, ReasonInvalidTokenResponse, 1},
		{"token endpoint without tokens", replace("token", 200, "{}"), 502, ReasonInvalidTokenResponse, 1},
		{"token endpoint without ID token", replace("token", 200, `{"access_token":"x","token_type":"Bearer"}`), 401, ReasonInvalidIDToken, 1},
		{"token endpoint with a DPoP token", replace("token", 200, `{"access_token":"x","token_type":"DPoP"}`), 502, ReasonInvalidTokenResponse, 1},
		{"access token with a line break", replace("token", 200, `{"access_token":"x\ny","token_type":"Bearer"}`), 502, ReasonInvalidTokenResponse, 1},
		{"token endpoint sends 2 MiB", replace("token", 200, `{"access_token":"`+longText(2<<20)+`"}`), 502, ReasonInvalidTokenResponse, 1},
		{"token endpoint hangs up", hangUp("token"), 503, ReasonTokenTimeout, 1},
		{"wrong nonce", idClaim("nonce", "other"), 401, ReasonInvalidIDToken, 1},
		{"no nonce", idClaim("nonce", nil), 401, ReasonInvalidIDToken, 1},
		{"wrong at_hash", idClaim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), 401, ReasonInvalidIDToken, 1},
		{"userinfo 500", replace("userinfo", 500, ""), 502, ReasonUserinfoFailed, 1},
		{"userinfo 401", replace("userinfo", 401, ""), 401, ReasonUserinfoFailed, 1},
		{"userinfo hangs up", hangUp("userinfo"), 503, ReasonUserinfoTimeout, 1},
		{"userinfo not JSON", replace("userinfo", 200, "nothing"), 502, ReasonInvalidUserinfo, 1},
		{"userinfo with sub twice", replace("userinfo", 200, `{"sub":"alice","sub":"admin"}`), 502, ReasonInvalidUserinfo, 1},
		{"userinfo of somebody else", replace("userinfo", 200, `{"sub":"bob"}`), 401, ReasonInvalidUserinfo, 1},
		{"userinfo of 2 MiB", replace("userinfo", 200, `{"sub":"alice","x":"`+longText(2<<20)+`"}`), 500, ReasonTooLarge, 1},
		{"userinfo of 12 KB", replace("userinfo", 200, `{"sub":"alice","x":"`+longText(12<<10)+`"}`), 500, ReasonTooLarge, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			b, u := s.begun("/page")
			q := u.Query()
			tt.change(s, b, q)
			u.RawQuery = q.Encode()
			a := b.visit(u.String())
			if a.status != tt.status || s.lastReason() != tt.reason {
				t.Errorf("got %d %s (%v), want %d %s", a.status, s.lastReason(), s.errs, tt.status, tt.reason)
			}
			if n := s.count("token"); n != tt.tokens {
				t.Errorf("calls to the token endpoint: got %d, want %d", n, tt.tokens)
			}
			if !strings.Contains(a.body, `href="/oauth2/sign_in`) || a.header.Get("Content-Security-Policy") != PageCSP {
				t.Errorf("the page offers no way to try again, or has no policy: %s", a.body)
			}
			if (a.status == 503) != (a.header.Get("Retry-After") == "5") && a.status != 502 {
				t.Errorf("Retry-After: got %q with %d", a.header.Get("Retry-After"), a.status)
			}
			for _, c := range a.cookies {
				if s.sessions.shardIndex(c.Name) >= 0 {
					t.Errorf("a session was made: %s", c.Name)
				}
			}
		})
	}
}

func replace(endpoint string, status int, body string) func(*stack, *browser, url.Values) {
	return func(s *stack, _ *browser, _ url.Values) {
		s.set(func() {
			s.handle[endpoint] = func(w http.ResponseWriter, r *http.Request) {
				if status == 307 {
					w.Header().Set("Location", s.srv.URL+"/elsewhere")
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}
		})
	}
}

func hangUp(endpoint string) func(*stack, *browser, url.Values) {
	return func(s *stack, _ *browser, _ url.Values) {
		s.set(func() { s.handle[endpoint] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) } })
	}
}

func idClaim(name string, value any) func(*stack, *browser, url.Values) {
	return func(s *stack, _ *browser, _ url.Values) {
		s.set(func() {
			s.idClaims = func(c object2) {
				c[name] = value
				if value == nil {
					delete(c, name)
				}
			}
		})
	}
}

func TestCallbackIsGoodOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b, u := s.begun("/page?x=1")
	login := b.own()
	if a := b.visit(u.String()); a.location != "/page?x=1" {
		t.Fatalf("callback: got %d %s", a.status, a.body)
	}
	t.Run("who is signed in goes to their page", func(t *testing.T) {
		if a := b.visit(u.String()); a.status != 302 || a.location != "/page?x=1" {
			t.Errorf("got %d to %q, want 302 to the page", a.status, a.location)
		}
	})
	t.Run("a copy of the login cookie opens nothing", func(t *testing.T) {
		thief := s.browser()
		thief.Jar.SetCookies(mustURL(t, s.gw.URL), login)
		if a := thief.visit(u.String()); a.status != 401 || s.lastReason() != ReasonInvalidState {
			t.Errorf("got %d %s, want 401 %s", a.status, s.lastReason(), ReasonInvalidState)
		}
	})
	if n := s.count("token"); n != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", n)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestManyLoginsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.browser()
	var callbacks []string
	for i := range 200 {
		a := b.visit(fmt.Sprintf("/tab/%d?%s", i, strings.Repeat("filler=with-some-text&", i%40)))
		n := 0
		for _, c := range b.own() {
			n += len(c.Name) + len(c.Value) + 3
		}
		if len(b.own()) != 1 || n >= 4096 {
			t.Fatalf("after %d navigations: %d cookies of %d bytes, want 1 below 4096", i+1, len(b.own()), n)
		}
		callbacks = append(callbacks, b.visit(a.location).location)
	}
	for i := 195; i < 200; i++ {
		if a := b.visit(callbacks[i]); a.status != 302 || !strings.HasPrefix(a.location, fmt.Sprintf("/tab/%d", i)) {
			t.Errorf("tab %d: got %d to %q, want 302 to its page", i, a.status, a.location)
		}
	}
	if a := b.visit(callbacks[100]); a.status != 302 || !strings.HasPrefix(a.location, "/tab/100") {
		t.Errorf("a tab that gave way: got %d to %q, want 302 to its page since somebody is signed in", a.status, a.location)
	}
	stranger := s.browser()
	if a := stranger.visit(callbacks[100]); a.status != 302 || !strings.Contains(a.location, "/oauth2/authorize") {
		t.Errorf("in another browser: got %d to %q, want a login begun anew", a.status, a.location)
	}
}

func TestLongReturnPathsFitTheLoginCookie(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.browser()
	path := func(n int) string { return "/" + url.QueryEscape(noise(n)) }
	for range 8 {
		b.visit(path(700))
	}
	jar := s.sessions.pending(canonicalHost(mustURL(t, s.gw.URL).Host), b.own())
	if n := len(b.own()[0].Value); !jar.opened || len(jar.logins) < 2 || len(jar.logins) >= maxPending || n > maxLoginCookie {
		t.Errorf("got %d logins in %d bytes, want as many as fit", len(jar.logins), n)
	}
	// One that is longer than any cookie goes back to the front page.
	a := b.visit(path(3 * maxReturn))
	if a := b.visit(b.visit(a.location).location); a.location != "/" {
		t.Errorf("came back to %q, want /", a.location)
	}
}

func TestErrorDescriptionIsEscaped(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b, u := s.begun("/page")
	q := url.Values{
		"state": u.Query()["state"], "error": {"access_denied"},
		"error_description": {"<script>alert(1)</script>" + strings.Repeat("z", 500)},
	}
	u.RawQuery = q.Encode()
	a := b.visit(u.String())
	if strings.Contains(a.body, "<script") || !strings.Contains(a.body, "&lt;script&gt;") || strings.Count(a.body, "z") > 250 {
		t.Errorf("page: %s", a.body)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("no X-Content-Type-Options")
	}
	stranger := s.browser().visit(u.String())
	if strings.Contains(stranger.body, "alert") {
		t.Error("a text was shown to a browser that began no login")
	}
}

func TestOldSessionEndsWithANewLogin(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	over := func(b *browser) bool {
		a := b.visit("/app")
		return a.status == 302 && strings.Contains(a.location, "/oauth2/authorize")
	}
	t.Run("through the sign-in page", func(t *testing.T) {
		b, thief := s.login("alice"), s.browser()
		thief.Jar.SetCookies(mustURL(t, s.gw.URL), b.own())
		a := b.visit("/oauth2/sign_in?rd=/app")
		if n := len(b.own()); a.status != 302 || n != 1 {
			t.Errorf("sign-in: got %d and %d cookies, want 302 and the login cookie", a.status, n)
		}
		if !over(thief) {
			t.Error("a copy of the old cookie still opens the session")
		}
		if a := b.visit(b.visit(a.location).location); a.location != "/app" {
			t.Errorf("callback: got %d to %q, want /app", a.status, a.location)
		}
	})
	t.Run("through a callback that carries the old cookie", func(t *testing.T) {
		old := s.login("alice")
		b, u := s.begun("/x")
		b.Jar.SetCookies(mustURL(t, s.gw.URL), old.shards())
		if a := b.visit(u.String()); a.status != 302 {
			t.Fatalf("callback: got %d %s", a.status, a.body)
		}
		if !over(old) {
			t.Error("the old session lives on")
		}
		if a := b.visit("/app"); a.status != 200 {
			t.Errorf("the new session: got %d, want 200", a.status)
		}
	})
}
