package authn

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// refused is what somebody reads whom a rule refuses.
func (s *stack) refused(rule Rule, b *browser, path string) *Error {
	s.t.Helper()
	r := httptest.NewRequest("GET", s.gw.URL+path, nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	for _, c := range b.own() {
		r.AddCookie(c)
	}
	_, err := s.gate(rule).Check(r)
	e, ok := err.(*Error)
	if !ok || e.Status != 403 {
		s.t.Fatalf("%s: got %v, want 403", path, err)
	}
	return e
}

// TestAnotherAccount follows the link of a refusal: the provider's own session has to end before the
// next login begins, and the way leads back to the page.
func TestAnotherAccount(t *testing.T) {
	t.Parallel()
	const target = "/admin/x?tab=2&q=a%20b"
	for name, options := range map[string][]stackOption{
		"Cognito": nil,
		"OpenID":  {withOIDC},
		"OpenID without end_session_endpoint": {withOIDC, func(s *stack) {
			s.op.discovery = map[string]any{"end_session_endpoint": ""}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, options...)
			b := s.login("alice")
			stolen := b.own()
			label, href := s.refused(Rule{Groups: []string{"admins"}}, b, target).Action()
			if !strings.Contains(label, "another account") {
				t.Fatalf("label: got %q", label)
			}
			s.set(func() { s.user, s.groups = "bob", []string{"admins"} })
			var way []string
			asked := ""
			a := b.visit(href, with(navigate, "Sec-Fetch-Site", "same-origin")...)
			for range 10 {
				if a.location == "" {
					break
				}
				u := mustURL(t, a.location)
				way = append(way, u.Path)
				if u.Path == "/oauth2/authorize" {
					asked = u.Query().Get("prompt")
				}
				a = b.visit(a.location, with(navigate, "Sec-Fetch-Site", "cross-site")...)
			}
			want := []string{"/logout", "/oauth2/signed_out", "/oauth2/sign_in", "/oauth2/authorize", "/oauth2/idpresponse", "/admin/x"}
			if strings.Contains(name, "without") {
				want = want[1:]
			}
			if !slices.Equal(way, want) {
				t.Errorf("way: got %q, want %q", way, want)
			}
			if asked != "login" {
				t.Errorf("prompt: got %q, want login", asked)
			}
			if a.status != 200 || a.body != "bob" {
				t.Errorf("at last: got %d %q, want bob's page", a.status, a.body)
			}
			if a := carry(t, s, stolen); a.status != 302 {
				t.Errorf("the session from before: got %d, want a sign-in", a.status)
			}
			// The way is gone once only: signing out ends at the page that says so.
			if a := b.follow("/oauth2/sign_out"); !strings.Contains(a.body, "You are signed out") {
				t.Errorf("signing out afterwards: got %d %s", a.status, a.body)
			}
		})
	}
}

func TestPrompts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ asked, always, want string }{
		{"login", "consent", "login consent"},
		{"login", "login", "login"},
		{"login", "none", "login"},
		{"select_account", " login  consent ", "select_account login consent"},
	} {
		if got := prompts(tt.asked, tt.always); got != tt.want {
			t.Errorf("%q and %q: got %q, want %q", tt.asked, tt.always, got, tt.want)
		}
	}
}

func TestAnotherAccountComesBackToPagesOnly(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for given, want := range map[string]string{
		"/board?x=1":                   "/board?x=1",
		"//evil.test":                  "/",
		"https://evil.test/":           "/",
		`/\evil.test`:                  "/",
		"/oauth2/sign_out?sign_in=/":   "/",
		"/oauth2/signed_out":           "/",
		"/oauth2/sign%5fout":           "/",
		"/" + strings.Repeat("x", 4e3): "/",
	} {
		b := s.login("alice")
		b.visit("/oauth2/sign_out?sign_in=" + url.QueryEscape(given))
		a := b.visit("/oauth2/signed_out")
		u := mustURL(t, a.location)
		if got := u.Query().Get("rd"); a.status != 302 || u.Host != "" || u.Path != "/oauth2/sign_in" || got != want {
			t.Errorf("%.60s: got %d to %s, want %s", given, a.status, a.location, want)
		}
		if a := b.visit("/oauth2/signed_out"); a.status != 200 {
			t.Errorf("%.60s: the second time: got %d to %s, want the page", given, a.status, a.location)
		}
	}
}

func TestSignOutWithoutAnotherAccount(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	// From elsewhere it is asked for first, and the question keeps the way.
	a := b.visit("/oauth2/sign_out?sign_in=/board", with(navigate, "Sec-Fetch-Site", "cross-site")...)
	if a.status != 200 || !strings.Contains(a.body, `href="/oauth2/sign_out?sign_in=%2Fboard"`) || len(s.logouts) != 0 {
		t.Errorf("from elsewhere: got %d %s", a.status, a.body)
	}
	for _, query := range []string{"", "?sign_in=/a&sign_in=/b", "?sign_in=%zz"} {
		b.visit("/oauth2/sign_out?sign_in=/board") // begun, and not gone to its end
		b.visit("/oauth2/sign_out" + query)
		if a := b.visit("/oauth2/signed_out"); a.status != 200 {
			t.Errorf("sign-out%s: got %d to %s, want the page", query, a.status, a.location)
		}
	}
	name := s.sessions.switchName()
	for what, cookies := range map[string][]*http.Cookie{
		"twice":     {{Name: name, Value: "%2Fa"}, {Name: name, Value: "%2Fa"}},
		"malformed": {{Name: name, Value: "%zz"}},
		"empty":     {{Name: name, Value: ""}},
	} {
		if a := s.request("GET", "/oauth2/signed_out", cookies, navigate...); a.status != 200 {
			t.Errorf("%s: got %d to %s, want the page", what, a.status, a.location)
		}
	}
	if a := s.request("GET", "/oauth2/signed_out", []*http.Cookie{{Name: name, Value: "%2Fa"}}, fetch...); a.status != 200 {
		t.Errorf("a script: got %d to %s, want the page", a.status, a.location)
	}
	if !s.sessions.OwnCookie(name) || !s.sessions.OwnCookie(strings.ToLower(name)) {
		t.Error("an application gets the cookie to see")
	}
}
