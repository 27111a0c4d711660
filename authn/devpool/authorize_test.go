package devpool_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/devpool"
)

const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B

func TestAuthorizeRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, test := range []struct {
		name  string
		query url.Values
		want  string // error=…, in the redirect to the client
	}{
		{"no response type", query("response_type", "-"), "invalid_request"},
		{"response type id_token", query("response_type", "id_token"), "invalid_request"},
		{"implicit, not allowed", query("response_type", "token"), "unauthorized_client"},
		{"challenge without method", query("code_challenge", challenge), "invalid_request"},
		{"method without challenge", query("code_challenge_method", "S256"), "invalid_request"},
		{"method plain", query("code_challenge", challenge, "code_challenge_method", "plain"), "invalid_request"},
		{"short challenge", query("code_challenge", "abc", "code_challenge_method", "S256"), "invalid_request"},
		{"unknown prompt", query("prompt", "maybe"), "invalid_request"},
		{"prompt none and login", query("prompt", "none login"), "invalid_request"},
		{"prompt none with nobody signed in", query("prompt", "none"), "login_required"},
		{"scope the client has not", query("scope", "openid orders/read"), "invalid_scope"},
		{"another identity provider", query("identity_provider", "Google"), "invalid_request"},
		{"identity provider by identifier", query("idp_identifier", "example.com"), "invalid_request"},
		{"relative resource", query("resource", "/api"), "invalid_request"},
		{"state twice", url.Values{"client_id": {webID}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"a", "b"}}, "invalid_request"},
		{"the login page checks too", query("scope", "nope", "at", "/login"), "invalid_scope"},
		{"the login page with prompt none", query("prompt", "none", "at", "/login"), "login_required"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := "/oauth2/authorize"
			if at := test.query.Get("at"); at != "" {
				path = at
			}
			u := b.location(b.get(path + "?" + test.query.Encode()))
			got, _, _ := strings.Cut(u.Fragment+u.RawQuery, "&")
			if want := "error=" + test.want; got != want || !strings.HasPrefix(u.String(), callback) {
				t.Errorf("got %s, want %s at %s", u, want, callback)
			}
			if got, want := u.Query().Get("state"), test.query.Get("state"); u.Fragment == "" && got != want {
				t.Errorf("state: got %q, want %q", got, want)
			}
		})
	}
}

func TestWrongClientOrRedirectURIIsToldToThePersonOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, q := range map[string]url.Values{
		"unknown client":       query("client_id", "nobody"),
		"no client":            query("client_id", "-"),
		"no redirect URI":      query("redirect_uri", "-"),
		"trailing slash":       query("redirect_uri", callback+"/"),
		"upper-case host":      query("redirect_uri", "https://APP.example.com/oauth2/idpresponse"),
		"added query":          query("redirect_uri", callback+"?x"),
		"added fragment":       query("redirect_uri", callback+"#x"),
		"default port":         query("redirect_uri", "https://app.example.com:443/oauth2/idpresponse"),
		"localhost, not asked": query("redirect_uri", "https://localhost:8443/cb"),
		"redirect URI twice":   {"client_id": {webID}, "redirect_uri": {callback, callback}, "response_type": {"code"}},
		"sign-out URL":         query("redirect_uri", signedOut),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := b.get("/oauth2/authorize?" + q.Encode())
			if got := res.Header.Get("Location"); !strings.HasPrefix(got, "/error?error=redirect_mismatch&client_id=") {
				t.Fatalf("got %d to %q, want the error page", res.StatusCode, got)
			}
			page := b.get(res.Header.Get("Location"))
			if page.StatusCode != http.StatusBadRequest || !strings.Contains(page.body, "redirect_mismatch") {
				t.Errorf("error page: got %d %s", page.StatusCode, page.body)
			}
		})
	}
}

func TestStateThatIsJSONGetsAnEmptyPage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	res := b.get("/oauth2/authorize?" + query("state", `{"a":1}`).Encode())
	if res.StatusCode != http.StatusBadRequest || res.body != "" {
		t.Errorf("got %d %q, want 400 and nothing", res.StatusCode, res.body)
	}
}

func TestAnyLocalhostOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.InsecureAnyLocalhost = true })
	for target, want := range map[string]bool{
		"https://localhost:8443/oauth2/idpresponse": true,
		"https://localhost/cb":                      true,
		callback:                                    true,
		"http://localhost:8443/cb":                  false,
		"https://localhost.example.com/cb":          false,
		"https://localhost@example.com/cb":          false,
		"https://user@localhost/cb":                 false,
		"https://localhost:8443/cb#x":               false,
		`https://localhost:8443\@example.com/cb`:    false,
		"https://localhost:8443":                    true,
		"//localhost:8443/cb":                       false,
		"https:localhost":                           false,
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			res := b.get("/oauth2/authorize?" + query("redirect_uri", target).Encode())
			if got := strings.HasPrefix(res.Header.Get("Location"), "/login?"); got != want {
				t.Errorf("got %q, want allowed %v", res.Header.Get("Location"), want)
			}
		})
	}
}

func TestCodeIsAddedToTheRedirectURI(t *testing.T) {
	t.Parallel()
	for redirectURI, want := range map[string]string{
		callback:                         callback + "?code=",
		"https://app.example.com/cb?x=1": "https://app.example.com/cb?x=1&code=",
		"myapp:/done":                    "myapp:/done?code=",
	} {
		b := newBench(t)
		if got := b.signIn("alice", query("redirect_uri", redirectURI)).String(); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want it to start with %s", got, want)
		}
	}
}

func TestPoolKeepsItsOwnSessionForAnHour(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := part(t, b.tokens("alice", query()).ID, 1)
	goesToLogin := func(pairs ...string) bool {
		return strings.HasPrefix(b.get("/oauth2/authorize?"+query(pairs...).Encode()).Header.Get("Location"), "/login?")
	}

	b.clock.move(59 * time.Minute)
	if goesToLogin() || goesToLogin("prompt", "none") {
		t.Error("after 59 minutes: got the login page, want a code without asking")
	}
	if !goesToLogin("prompt", "login") || !goesToLogin("prompt", "select_account") {
		t.Error("prompt=login: got a code, want the login page")
	}
	again := part(t, b.tokens("bob", query()).ID, 1)
	if again["auth_time"] != first["auth_time"] || again["cognito:username"] != "alice" {
		t.Errorf("silent sign-in: got %v at %v, want alice at %v", again["cognito:username"], again["auth_time"], first["auth_time"])
	}
	b.clock.move(time.Minute)
	if !goesToLogin() {
		t.Error("after an hour: got a code, want the login page: a silent sign-in does not extend the session")
	}
}

func TestPromptLoginMakesANewSession(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tokens("alice", query())
	b.clock.move(time.Minute)
	claims := part(t, b.tokens("bob", query("prompt", "login")).ID, 1)
	if claims["cognito:username"] != "bob" || claims["auth_time"] != float64(b.clock.Now().Unix()) {
		t.Errorf("got %v at %v, want bob, now", claims["cognito:username"], claims["auth_time"])
	}
}

func TestLoginPage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	res := b.get("/login?" + query("login_hint", `a"<b>`).Encode())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("got %d, want 200", res.StatusCode)
	}
	for _, want := range []string{
		"Reports", `value="a&#34;&lt;b&gt;"`, "Development pool", `for="username"`, `for="password"`,
		`<input type="hidden" name="password" value="carol">`, "e-mail not verified", `lang="en"`,
	} {
		if !strings.Contains(res.body, want) {
			t.Errorf("login page: want %s in it", want)
		}
	}
	_, style, _ := strings.Cut(res.body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self' https://app.example.com"
	if got := res.Header.Get("Content-Security-Policy"); got != want {
		t.Errorf("Content-Security-Policy:\n got %s\nwant %s", got, want)
	}
	if strings.Contains(res.body, "<script") || strings.Contains(res.body, " style=") {
		t.Error("login page: want neither script nor style attribute")
	}
}

func TestLoginPageRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(b *bench, form url.Values)
		status int
		text   string
	}{
		{"wrong password", func(_ *bench, f url.Values) { f.Set("password", "x") }, 400, "Incorrect username or password."},
		{"unknown user", func(_ *bench, f url.Values) { f.Set("username", "x"); f.Set("password", "") }, 400, "Incorrect username or password."},
		{"no token", func(_ *bench, f url.Values) { f.Del("_csrf") }, 403, "did not come from"},
		{"token that is not base64", func(_ *bench, f url.Values) { f.Set("_csrf", "!") }, 403, "did not come from"},
		{"token of another browser", func(b *bench, f url.Values) {
			other := newBench(b.t)
			f.Set("_csrf", other.csrf(other.get("/login?"+query().Encode())))
		}, 403, "did not come from"},
		{"no cookie", func(b *bench, _ url.Values) { b.http.Jar = nil }, 403, "did not come from"},
		{"open for too long", func(b *bench, _ url.Values) { b.clock.move(5*time.Minute + time.Second) }, 400, "Something went wrong"},
		{"continue without a session", func(_ *bench, f url.Values) { f.Set("continue", "1") }, 400, "has ended"},
		{"too much", func(_ *bench, f url.Values) { f.Set("username", strings.Repeat("x", 20<<10)) }, 400, "could not be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			login := "/login?" + query().Encode()
			form := url.Values{"_csrf": {b.csrf(b.get(login))}, "username": {"alice"}, "password": {"alice"}}
			test.change(b, form)
			res := b.post(login, form)
			if res.StatusCode != test.status || !strings.Contains(res.body, test.text) {
				t.Errorf("got %d %s, want %d with %q", res.StatusCode, res.body, test.status, test.text)
			}
			if strings.Contains(res.Header.Get("Set-Cookie"), "cognito=") {
				t.Error("got a session, want none")
			}
		})
	}
}

// Pages that a browser opens at once come without its cookie, and each is given another one.
func TestLoginPagesOpenedAtOnce(t *testing.T) {
	t.Parallel()
	for site, want := range map[string]int{"same-origin": 302, "same-site": 403, "cross-site": 403, "none": 403} {
		b := newBench(t)
		login := "/login?" + query().Encode()
		first := b.csrf(b.get(login))
		b.http.Jar = newBench(t).http.Jar
		b.get(login) // its cookie is what is left
		form := url.Values{"_csrf": {first}, "username": {"alice"}, "password": {"alice"}}
		req, err := http.NewRequestWithContext(t.Context(), "POST", b.absolute(login), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", site)
		if res := b.do(req); res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", site, res.StatusCode, want)
		}
	}
}

func TestContinueAsWhoeverIsSignedIn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tokens("alice", query())
	login := "/login?" + query("prompt", "select_account").Encode()
	page := b.get(login)
	if !strings.Contains(page.body, "Continue as alice") {
		t.Fatalf("login page: want an offer to continue, got %s", page.body)
	}
	u := b.location(b.post(login, url.Values{"_csrf": {b.csrf(page)}, "continue": {"1"}}))
	if u.Query().Get("code") == "" {
		t.Errorf("got %s, want a code", u)
	}
	login = "/login?" + query("prompt", "login").Encode()
	if page := b.get(login); strings.Contains(page.body, "Continue as") {
		t.Error("prompt=login: got an offer to continue, want none")
	}
}

func TestMethodsThatAnEndpointDoesNotHave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for path, allow := range map[string]string{
		"/oauth2/authorize": "GET", "/login": "GET, POST", "/oauth2/token": "POST, OPTIONS", "/logout": "GET",
		"/oauth2/userInfo": "GET, OPTIONS", "/oauth2/revoke": "POST, OPTIONS",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", b.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res := b.do(req); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != allow {
			t.Errorf("PUT %s: got %d, Allow %q; want 405, %q", path, res.StatusCode, res.Header.Get("Allow"), allow)
		}
	}
	if res := b.get("/nowhere"); res.StatusCode != http.StatusNotFound {
		t.Errorf("unknown path: got %d, want 404", res.StatusCode)
	}
	if res := b.get("/"); res.StatusCode != http.StatusOK || !strings.Contains(res.body, b.Issuer()) {
		t.Errorf("home page: got %d, want 200 with the issuer", res.StatusCode)
	}
}

func TestPagesOfAnyOriginMayReadTokenAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for path, want := range map[string]string{
		"/oauth2/token": "*", "/oauth2/revoke": "*", "/oauth2/userInfo": "*", "/oauth2/authorize": "",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", b.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.do(req).Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: Access-Control-Allow-Origin: got %q, want %q", path, got, want)
		}
	}
}

func TestCookiesAreSecureWhereThePoolIs(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]bool{"https://localhost:8444": true, "http://localhost:8444": false} {
		b := newBench(t, func(o *devpool.Options) { o.BaseURL = base })
		cookies := b.get("/login?" + query().Encode()).Cookies()
		if len(cookies) != 1 || cookies[0].Secure != want || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
			t.Errorf("%s: got %v, want one, Secure %v", base, cookies, want)
		}
	}
}

func TestErrorPageShowsWhatWouldBeAccepted(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.InsecureAnyLocalhost = true })
	page := b.get(b.get("/oauth2/authorize?" + query("redirect_uri", "https://evil.example/<b>").Encode()).Header.Get("Location"))
	for _, want := range []string{"https://evil.example/&lt;b&gt;", callback, "https://localhost:PORT/"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("want %q in %s", want, page.body)
		}
	}
	if got := page.Header.Get("Content-Security-Policy"); !strings.HasSuffix(got, "form-action 'none'") {
		t.Errorf("Content-Security-Policy: got %s, want no forms", got)
	}
}
