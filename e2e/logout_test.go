package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSignOutEndsEverything(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{pool: append([]string{"--rotate"}, shortLived...), upstream: startEcho(t)})
	s.clients(t, func(t *testing.T, c *http.Client) {
		b := s.signIn("alice", "/")
		// A second login that was begun and not finished leaves its cookie.
		resp, _ := fetch(t, c, s.base+"/page", "", navigating()...)
		old := cookiesAfter(b.cookies(s.base), resp)
		if !strings.Contains(old, "__Host-gatehouse-0=") || !strings.Contains(old, "__Host-gatehouse-login=") {
			t.Fatalf("cookies: got %q, want a session and a login", old)
		}
		revokes := s.pool.calls(t, "revoke")

		resp, body := fetch(t, c, s.base+"/oauth2/sign_out", old, navigating()...)
		if resp.StatusCode != http.StatusFound {
			t.Fatalf("sign-out: got %s, want 302\n%s", resp.Status, body)
		}
		s.testSignOutAnswer(t, resp, old)
		if got := s.pool.calls(t, "revoke") - revokes; got != 1 {
			t.Errorf("calls to the revocation endpoint: got %d, want 1", got)
		}
		s.clients(t, func(t *testing.T, c *http.Client) { s.testSignedOut(t, c, old) })

		// The pool's own session is over too: its page asks for the password again.
		if resp, page := b.follow(resp.Header.Get("Location")); resp.Request.URL.String() != s.base+"/oauth2/signed_out" {
			t.Errorf("after sign-out: got to %s (%s)\n%s", resp.Request.URL, resp.Status, page)
		}
		b.client.Jar.SetCookies(mustURL(t, s.base), resp.Cookies())
		if resp, page := b.follow(s.base + "/"); !formAction.MatchString(page) {
			t.Errorf("opening a page: got %s of %s, want the login form", resp.Status, resp.Request.URL)
		}
	})
}

// testSignOutAnswer checks the redirect and that no cookie of ours stays.
func (s *site) testSignOutAnswer(t *testing.T, resp *http.Response, old string) {
	t.Helper()
	to := mustURL(t, resp.Header.Get("Location"))
	want := url.Values{"client_id": {clientID}, "logout_uri": {s.base + "/oauth2/signed_out"}}
	if got := to.Scheme + "://" + to.Host + to.Path; got != s.pool.url+"/logout" || to.Query().Encode() != want.Encode() {
		t.Errorf("sign-out: got to %s, want /logout of the pool with client_id and logout_uri", to)
	}
	if left := cookiesAfter(old, resp); left != "" {
		t.Errorf("cookies after sign-out: got %q, want none", left)
	}
	cleared := map[string]bool{}
	for _, c := range resp.Cookies() {
		cleared[c.Name] = true
		if c.MaxAge >= 0 || c.Path != "/" || !c.Secure || !c.HttpOnly {
			t.Errorf("cookie %s: got %s, want it deleted as it was set", c.Name, c.Raw)
		}
	}
	for _, suffix := range []string{"-0", "-1", "-2", "-3", "-login"} {
		if !cleared["__Host-gatehouse"+suffix] {
			t.Errorf("cookie __Host-gatehouse%s is not deleted", suffix)
		}
	}
}

// testSignedOut checks that old cookies open nothing.
func (s *site) testSignedOut(t *testing.T, c *http.Client, old string) {
	t.Helper()
	if resp, body := fetch(t, c, s.base+"/page", old, navigating()...); resp.StatusCode != http.StatusFound {
		t.Errorf("old cookie, navigation: got %s, want 302\n%s", resp.Status, body)
	}
	if resp, body := fetch(t, c, s.base+"/page", old, "Sec-Fetch-Mode", "cors"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("old cookie, script: got %s, want 401\n%s", resp.Status, body)
	}
}

// TestSignOutRevokesTheRefreshToken asks an instance that knows nothing of the sign-out: what refuses the
// old cookie there is the pool, as soon as the access token in it has run out.
func TestSignOutRevokesTheRefreshToken(t *testing.T) {
	t.Parallel()
	spec := siteSpec{pool: shortLived, upstream: startEcho(t)}
	s := startSite(t, spec)
	c := newClient(t, s.addr, true)
	old := s.signIn("alice", "/").cookies(s.base)
	spare := s.signIn("alice", "/").cookies(s.base)
	if resp, _ := fetch(t, c, s.base+"/oauth2/sign_out", old, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	expire(t)
	spec.env = append(spec.env, "STATE_DIRECTORY="+t.TempDir())
	s.run(spec)
	c = newClient(t, s.addr, true)
	refreshes := s.pool.calls(t, "token:refresh_token")
	s.testSignedOut(t, c, old)
	if got := s.pool.calls(t, "token:refresh_token") - refreshes; got != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", got)
	}
	if resp, body := fetch(t, c, s.base+"/page", spare); resp.StatusCode != http.StatusOK {
		t.Errorf("another session of hers: got %s, want 200\n%s", resp.Status, body)
	}
}

// TestASignOutNobodyAskedFor sends what pages of other sites can make a browser send.
func TestASignOutNobodyAskedFor(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	s.clients(t, func(t *testing.T, c *http.Client) {
		cookies := s.signIn("alice", "/").cookies(s.base)
		for name, header := range map[string][]string{
			"an image":               {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
			"an image of this host":  {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
			"a link":                 {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
			"a neighbour's link":     {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
			"a script":               {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", "https://evil.example"},
			"a link, old browser":    {"Referer", "https://evil.example/page", "Accept", "text/html"},
			"an image, older still":  {"Accept", "image/*"},
			"an origin that is null": {"Origin", "null"},
		} {
			resp, body := fetch(t, c, s.base+"/oauth2/sign_out", cookies, header...)
			if resp.StatusCode/100 == 3 || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s signed out: %s %v\n%s", name, resp.Status, resp.Header, body)
			}
		}
		if resp, _ := fetch(t, c, s.base+"/page", cookies); resp.StatusCode != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200: nobody has signed out", resp.Status)
		}
	})
}

// TestTheApplicationSignsOutAsBehindAnALB deletes the session cookies, which is all that an application
// behind an ALB can do, and then sends the browser to the pool.
func TestTheApplicationSignsOutAsBehindAnALB(t *testing.T) {
	t.Parallel()
	spec := siteSpec{top: "compat: aws"}
	s := newSite(t, spec)
	s.backend.answer = func(req seenRequest) string {
		switch req.target() {
		case "/app-logout":
			return "HTTP/1.1 302 Found\r\nLocation: /bye\r\nContent-Length: 0\r\n" +
				"Set-Cookie: AWSELBAuthSessionCookie-0=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure; HttpOnly\r\n" +
				"Set-Cookie: AWSELBAuthSessionCookie-1=; Max-Age=-1; Path=/; Secure; HttpOnly\r\n" +
				"Set-Cookie: AWSELBAuthSessionCookie-2=\"\"; Max-Age=0; Path=/\r\n" +
				"Set-Cookie: mine=1\r\n\r\n"
		case "/forge":
			return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: AWSELBAuthSessionCookie-0=forged; Path=/\r\n" +
				"Set-Cookie: awselbauthsessioncookie-0=forged; Path=/\r\nSet-Cookie: mine=2\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	}
	s.pool = startPool(t, s.poolArgs(spec)...)
	s.write(s.fileText(spec, s.pool.login()))
	s.run(spec)
	s.clients(t, func(t *testing.T, c *http.Client) {
		cookies := s.signIn("alice", "/").cookies(s.base)
		revokes := s.pool.calls(t, "revoke")
		resp, _ := fetch(t, c, s.base+"/forge", cookies)
		if got := strings.Join(resp.Header.Values("Set-Cookie"), "\n"); got != "mine=2" {
			t.Errorf("cookies of the application: got %q, want its own alone", got)
		}
		resp, body := fetch(t, c, s.base+"/app-logout", cookies)
		if resp.StatusCode != http.StatusFound || len(resp.Cookies()) != 4 {
			t.Fatalf("application's sign-out: got %s with %q, want 302 and its four cookies\n%s", resp.Status, resp.Header["Set-Cookie"], body)
		}
		left := cookiesAfter(cookies, resp)
		if strings.Contains(left, "AWSELBAuthSessionCookie-0") || !strings.Contains(left, "mine=1") {
			t.Errorf("cookies after that: got %q, want the application's own and no session", left)
		}
		if resp, _ := fetch(t, c, s.base+"/page", left, navigating()...); resp.StatusCode != http.StatusFound {
			t.Errorf("next navigation: got %s, want 302 to sign in", resp.Status)
		}
		// Behind an ALB a copy of the cookies would stay good.
		s.testSignedOut(t, c, cookies)
		if got := s.pool.calls(t, "revoke") - revokes; got != 1 {
			t.Errorf("calls to the revocation endpoint: got %d, want 1", got)
		}
	})
}

func mustURL(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
