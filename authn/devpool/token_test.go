package devpool_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/devpool"
)

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B

// form returns a correct code exchange, changed by pairs as [query] does it.
func codeForm(code string, pairs ...string) url.Values {
	f := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}}
	for i := 0; i < len(pairs); i += 2 {
		if f.Set(pairs[i], pairs[i+1]); pairs[i+1] == "-" {
			f.Del(pairs[i])
		}
	}
	return f
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	basic := []string{webID, webSecret}
	for _, test := range []struct {
		name string
		form func(code string) url.Values
		user []string
		want tokenAnswer
	}{
		{"no client", func(c string) url.Values { return codeForm(c) }, nil, tokenAnswer{Error: "invalid_client"}},
		{"unknown client", func(c string) url.Values { return codeForm(c) }, []string{"x", "y"}, tokenAnswer{Error: "invalid_client"}},
		{"wrong secret", func(c string) url.Values { return codeForm(c) }, []string{webID, "x"}, tokenAnswer{Error: "invalid_client"}},
		{"no secret", func(c string) url.Values { return codeForm(c, "client_id", webID) }, nil, tokenAnswer{Error: "invalid_client"}},
		{"secrets in two ways", func(c string) url.Values { return codeForm(c, "client_id", webID, "client_secret", webSecret) }, basic, tokenAnswer{Error: "invalid_request"}},
		{"two clients", func(c string) url.Values { return codeForm(c, "client_id", spaID) }, basic, tokenAnswer{Error: "invalid_request"}},
		{"a public client with a secret", func(c string) url.Values { return codeForm(c) }, []string{spaID, "x"}, tokenAnswer{Error: "invalid_client"}},
		{"no grant type", func(c string) url.Values { return codeForm(c, "grant_type", "-") }, basic, tokenAnswer{Error: "invalid_request"}},
		{"password grant", func(c string) url.Values { return codeForm(c, "grant_type", "password") }, basic, tokenAnswer{Error: "unsupported_grant_type"}},
		{"no code", func(c string) url.Values { return codeForm(c, "code", "-") }, basic, tokenAnswer{Error: "invalid_request"}},
		{"unknown code", func(c string) url.Values { return codeForm(c + "x") }, basic, tokenAnswer{Error: "invalid_grant"}},
		{"code of another client", func(c string) url.Values { return codeForm(c, "client_id", spaID) }, nil, tokenAnswer{Error: "invalid_grant"}},
		{"no redirect URI", func(c string) url.Values { return codeForm(c, "redirect_uri", "-") }, basic, tokenAnswer{Error: "invalid_request"}},
		{"another redirect URI", func(c string) url.Values { return codeForm(c, "redirect_uri", "myapp:/done") }, basic, tokenAnswer{Error: "unauthorized_client", Description: "invalid_redirect"}},
		{"verifier that nobody asked for", func(c string) url.Values { return codeForm(c, "code_verifier", verifier) }, basic, tokenAnswer{Error: "invalid_grant"}},
		{"a parameter twice", func(c string) url.Values {
			return mergeForms(codeForm(c), url.Values{"code": {c, c}})
		}, basic, tokenAnswer{Error: "invalid_request"}},
		{"too long", func(c string) url.Values { return codeForm(c, "x", strings.Repeat("x", 64<<10)) }, basic, tokenAnswer{Error: "invalid_request"}},
		{"no refresh token", func(string) url.Values { return url.Values{"grant_type": {"refresh_token"}} }, basic, tokenAnswer{Error: "invalid_request"}},
		{"unknown refresh token", func(string) url.Values {
			return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}
		}, basic, tokenAnswer{Error: "invalid_grant"}},
		{"client credentials of a client for people", func(string) url.Values {
			return url.Values{"grant_type": {"client_credentials"}}
		}, basic, tokenAnswer{Error: "unauthorized_client"}},
		{"client credentials of a public client", func(string) url.Values {
			return url.Values{"grant_type": {"client_credentials"}, "client_id": {spaID}}
		}, nil, tokenAnswer{Error: "unauthorized_client"}},
		{"client credentials with a wrong scope", func(string) url.Values {
			return url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
		}, []string{jobID, jobSecret}, tokenAnswer{Error: "invalid_scope"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			res := b.post("/oauth2/token", test.form(b.code("alice", query())), test.user...)
			if got := decode[tokenAnswer](t, res.body); res.StatusCode != http.StatusBadRequest || got != test.want {
				t.Errorf("got %d %s, want 400 %+v", res.StatusCode, res.body, test.want)
			}
			h := res.Header
			if h.Get("X-Amz-Cognito-Request-Id") == "" || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("header: got %v, want a request id, any origin, no-store", h)
			}
		})
	}
}

func mergeForms(a, b url.Values) url.Values {
	for k, v := range b {
		a[k] = v
	}
	return a
}

func TestProofKeyOfACode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		verifier string
		status   int
	}{
		{verifier, 200},
		{"-", 400},
		{strings.ToUpper(verifier), 400},
		{verifier[:42], 400},
		{challenge, 400},
	} {
		b := newBench(t)
		code := b.code("alice", query("code_challenge", challenge, "code_challenge_method", "S256"))
		res := b.post("/oauth2/token", codeForm(code, "code_verifier", test.verifier), webID, webSecret)
		if res.StatusCode != test.status {
			t.Errorf("verifier %q: got %d %s, want %d", test.verifier, res.StatusCode, res.body, test.status)
		}
	}
}

func TestCodeIsGoodOnceAndForFiveMinutes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	exchange := func(code string) int { return b.post("/oauth2/token", codeForm(code), webID, webSecret).StatusCode }

	code := b.code("alice", query())
	b.clock.move(5*time.Minute - time.Second)
	if got, again := exchange(code), exchange(code); got != 200 || again != 400 {
		t.Errorf("before five minutes: got %d and again %d, want 200 and 400", got, again)
	}
	code = b.code("alice", query())
	b.clock.move(5 * time.Minute)
	if got := exchange(code); got != 400 {
		t.Errorf("after five minutes: got %d, want 400", got)
	}
	code = b.code("alice", query("prompt", "login"))
	if got, again := b.post("/oauth2/token", codeForm(code, "redirect_uri", "x"), webID, webSecret), exchange(code); got.StatusCode != 400 || again != 400 {
		t.Errorf("after a failed exchange: got %d and %d, want 400 twice", got.StatusCode, again)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.Clients[0].Secret = "a+b/c%&=ü" })
	secret := "a+b/c%&=ü"
	escaped := base64.StdEncoding.EncodeToString([]byte(webID + ":" + url.QueryEscape(secret)))
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/oauth2/token", strings.NewReader(codeForm(b.code("alice", query())).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	req.Header.Set("Authorization", "basic "+escaped)
	if res := b.do(req); res.StatusCode != http.StatusOK {
		t.Errorf("basic, form-encoded: got %d %s", res.StatusCode, res.body)
	}
	form := codeForm(b.code("alice", query()), "client_id", webID, "client_secret", secret)
	if res := b.post("/oauth2/token", form); res.StatusCode != http.StatusOK {
		t.Errorf("post: got %d %s", res.StatusCode, res.body)
	}
	code := b.code("alice", query("client_id", spaID, "scope", "openid"))
	if res := b.post("/oauth2/token", codeForm(code, "client_id", spaID)); res.StatusCode != http.StatusOK {
		t.Errorf("public client: got %d %s", res.StatusCode, res.body)
	}
}

func TestTokenAnswerLooksLikeCognitos(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	res := b.post("/oauth2/token", codeForm(b.code("alice", query("scope", "openid"))), webID, webSecret)
	if !strings.HasPrefix(res.body, `{"id_token":"eyJraWQi`) || !strings.HasSuffix(res.body, `,"expires_in":3600,"token_type":"Bearer"}`) {
		t.Errorf("got %s, want Cognito's members in Cognito's order", res.body)
	}
	got := decode[tokenAnswer](t, res.body)
	if !strings.HasPrefix(got.Refresh, "eyJjdHkiOiJKV1Qi") || strings.Count(got.Refresh, ".") != 4 || len(got.Refresh) < 1600 {
		t.Errorf("refresh token: want the look of an encrypted JWT of 1,700 characters, got %d %.20s", len(got.Refresh), got.Refresh)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	res := b.post("/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"orders/read"}}, jobID, jobSecret)
	got := decode[tokenAnswer](t, res.body)
	if got.ID != "" || got.Refresh != "" {
		t.Errorf("got %s, want an access token only", res.body)
	}
	claims := part(t, got.Access, 1)
	for name, want := range map[string]any{
		"sub": jobID, "client_id": jobID, "token_use": "access", "scope": "orders/read", "version": 2.0,
		"username": nil, "cognito:groups": nil, "origin_jti": nil, "event_id": nil, "aud": nil,
	} {
		if claims[name] != want {
			t.Errorf("%s: got %v, want %v", name, claims[name], want)
		}
	}
	if got := b.userInfo("Bearer " + got.Access).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("userInfo: got %d, want 401", got)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.tokens("alice", query("nonce", "n"))
	b.clock.move(time.Hour)
	b.PutUser(devpool.User{Username: "alice", Sub: "a", Groups: []string{"auditors"}})
	status, got := b.token("grant_type", "refresh_token", "refresh_token", first.Refresh)
	if status != 200 || got.Refresh != "" || got.ID == "" {
		t.Fatalf("got %d %+v, want new ID and access tokens and no refresh token", status, got)
	}
	was, is := part(t, first.ID, 1), part(t, got.ID, 1)
	if is["nonce"] != nil || is["auth_time"] != was["auth_time"] || is["origin_jti"] != was["origin_jti"] || is["iat"] == was["iat"] {
		t.Errorf("got %v after %v, want the same sign-in without its nonce", is, was)
	}
	if groups, _ := is["cognito:groups"].([]any); len(groups) != 1 || groups[0] != "auditors" {
		t.Errorf("groups: got %v, want those of now", groups)
	}
	if again, _ := b.token("grant_type", "refresh_token", "refresh_token", first.Refresh); again != 200 {
		t.Errorf("again: got %d, want 200", again)
	}
	b.clock.move(30*24*time.Hour - time.Hour)
	if late, _ := b.token("grant_type", "refresh_token", "refresh_token", first.Refresh); late != 400 {
		t.Errorf("after thirty days: got %d, want 400", late)
	}
}

func TestRefreshTokenRotation(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) {
		o.RotateRefresh, o.RotateGrace, o.RefreshTTL = true, 10*time.Second, time.Hour
	})
	refresh := func(token string) (int, string) {
		status, got := b.token("grant_type", "refresh_token", "refresh_token", token)
		if status != 200 && got.Error != "invalid_grant" {
			t.Errorf("got %+v, want invalid_grant", got)
		}
		return status, got.Refresh
	}
	first := b.tokens("alice", query()).Refresh
	b.clock.move(30 * time.Minute)
	status, second := refresh(first)
	if status != 200 || second == "" || second == first {
		t.Fatalf("got %d %.20q, want a new refresh token", status, second)
	}
	b.clock.move(10*time.Second - 1)
	if status, _ := refresh(first); status != 200 {
		t.Errorf("old one within the grace: got %d, want 200", status)
	}
	b.clock.move(1)
	if status, _ := refresh(first); status != 400 {
		t.Errorf("old one after the grace: got %d, want 400", status)
	}
	b.clock.move(30*time.Minute - 10*time.Second - 1)
	if status, _ := refresh(second); status != 200 {
		t.Errorf("new one until the first one's end: got %d, want 200", status)
	}
	b.clock.move(1)
	if status, _ := refresh(second); status != 400 {
		t.Errorf("new one after the first one's end: got %d, want 400", status)
	}
}

func TestConcurrentRefreshUnderRotationHasOneWinner(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.RotateRefresh = true })
	first := b.tokens("alice", query()).Refresh
	var wg sync.WaitGroup
	statuses := make([]int, 20)
	for i := range statuses {
		wg.Go(func() {
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first}}
			statuses[i] = b.post("/oauth2/token", form, webID, webSecret).StatusCode
		})
	}
	wg.Wait()
	won := 0
	for _, s := range statuses {
		if s == 200 {
			won++
		}
	}
	if won != 1 {
		t.Errorf("got %d winners in %v, want 1", won, statuses)
	}
	if got := b.Calls("token:refresh_token"); got != 20 {
		t.Errorf("calls: got %d, want 20", got)
	}
}

func TestUserInfoRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.Clients[0].Scopes = []string{"openid", "email"} })
	const (
		bad     = `error="invalid_request", error_description="Bad OAuth2 request at UserInfo Endpoint"`
		expired = `error="invalid_token", error_description="Access token is expired, disabled, or deleted, or the user has globally signed out."`
	)
	tokens := b.tokens("alice", query("scope", "openid"))
	withoutOpenID := b.tokens("alice", query("scope", "email"))
	if withoutOpenID.ID != "" {
		t.Error("without the scope openid: got an ID token, want none")
	}
	for _, test := range []struct {
		name, authorization string
		status              int
		authenticate        string
	}{
		{"nothing", "", 400, bad},
		{"basic", "Basic " + tokens.Access, 400, bad},
		{"no token", "Bearer ", 400, bad},
		{"garbage", "Bearer x", 401, expired},
		{"ID token", "Bearer " + tokens.ID, 401, expired},
		{"changed token", "Bearer " + tokens.Access[:len(tokens.Access)-8], 401, expired},
		{"no scope openid", "Bearer " + withoutOpenID.Access, 401, expired},
		{"good", "Bearer " + tokens.Access, 200, ""},
	} {
		res := b.userInfo(test.authorization)
		if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != test.status || got != test.authenticate {
			t.Errorf("%s: got %d %s, want %d %s", test.name, res.StatusCode, got, test.status, test.authenticate)
		}
	}
	b.clock.move(time.Hour)
	if got := b.userInfo("Bearer " + tokens.Access).StatusCode; got != 401 {
		t.Errorf("expired token: got %d, want 401", got)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tokens := b.tokens("alice", query())
	other := b.tokens("alice", query())
	for _, test := range []struct {
		name  string
		form  url.Values
		user  []string
		code  int
		error string
	}{
		{"wrong secret", url.Values{"token": {tokens.Refresh}}, []string{webID, "x"}, 401, "invalid_client"},
		{"broken credentials", url.Values{"token": {tokens.Refresh}}, []string{"", ""}, 401, "invalid_client"},
		{"no client", url.Values{"token": {tokens.Refresh}}, nil, 401, "invalid_client"},
		{"no token", url.Values{}, []string{webID, webSecret}, 400, "invalid_request"},
		{"access token", url.Values{"token": {tokens.Access}}, []string{webID, webSecret}, 400, "unsupported_token_type"},
		{"ID token", url.Values{"token": {tokens.ID}}, []string{webID, webSecret}, 400, "unsupported_token_type"},
		{"another client's", url.Values{"token": {tokens.Refresh}}, []string{jobID, jobSecret}, 400, "invalid_request"},
		{"revocation is off", url.Values{"token": {tokens.Refresh}, "client_id": {spaID}}, nil, 400, "invalid_request"},
		{"unknown token", url.Values{"token": {"x"}}, []string{webID, webSecret}, 200, ""},
	} {
		res := b.post("/oauth2/revoke", test.form, test.user...)
		if res.StatusCode != test.code || (test.code != 200 && decode[tokenAnswer](t, res.body).Error != test.error) || (test.code == 200 && res.body != "") {
			t.Errorf("%s: got %d %s, want %d %s", test.name, res.StatusCode, res.body, test.code, test.error)
		}
	}
	if got := b.userInfo("Bearer " + tokens.Access).StatusCode; got != 200 {
		t.Fatalf("after refused revocations: userInfo: got %d, want 200", got)
	}
	for range 2 {
		if res := b.post("/oauth2/revoke", url.Values{"token": {tokens.Refresh}}, webID, webSecret); res.StatusCode != 200 || res.body != "" {
			t.Errorf("got %d %q, want 200 and nothing", res.StatusCode, res.body)
		}
	}
	if got, _ := b.token("grant_type", "refresh_token", "refresh_token", tokens.Refresh); got != 400 {
		t.Errorf("refresh after revocation: got %d, want 400", got)
	}
	if got := b.userInfo("Bearer " + tokens.Access).StatusCode; got != 401 {
		t.Errorf("userInfo after revocation: got %d, want 401", got)
	}
	if got, _ := b.token("grant_type", "refresh_token", "refresh_token", other.Refresh); got != 200 {
		t.Errorf("another sign-in: got %d, want 200", got)
	}
}

func TestRevokingOneTokenOfARotationEndsAll(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.RotateRefresh, o.RotateGrace = true, time.Minute })
	first := b.tokens("alice", query())
	_, second := b.token("grant_type", "refresh_token", "refresh_token", first.Refresh)
	b.post("/oauth2/revoke", url.Values{"token": {first.Refresh}}, webID, webSecret)
	if got, _ := b.token("grant_type", "refresh_token", "refresh_token", second.Refresh); got != 400 {
		t.Errorf("successor: got %d, want 400", got)
	}
}

func TestSignedOutEverywhereAndRemovedUsers(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*bench){
		"signed out": func(b *bench) { b.SignOutEverywhere("alice") },
		"removed":    func(b *bench) { b.RemoveUser("alice") },
	} {
		b := newBench(t)
		tokens, code := b.tokens("alice", query()), b.code("alice", query())
		end(b)
		if got, _ := b.token("grant_type", "refresh_token", "refresh_token", tokens.Refresh); got != 400 {
			t.Errorf("%s: refresh: got %d, want 400", name, got)
		}
		if res := b.post("/oauth2/token", codeForm(code), webID, webSecret); res.StatusCode != 400 {
			t.Errorf("%s: code: got %d, want 400", name, res.StatusCode)
		}
		if got := b.userInfo("Bearer " + tokens.Access).StatusCode; got != 401 {
			t.Errorf("%s: userInfo: got %d, want 401", name, got)
		}
		if got := b.get("/oauth2/authorize?" + query().Encode()).Header.Get("Location"); !strings.HasPrefix(got, "/login?") {
			t.Errorf("%s: authorize: got %q, want the login page", name, got)
		}
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	again := "client_id=" + webID + "&redirect_uri=" + url.QueryEscape(callback) + "&response_type=code&state=s"
	for _, test := range []struct {
		name, query string
		status      int
		location    string // its beginning
		ended       bool
	}{
		{"to the sign-out URL", "client_id=" + webID + "&logout_uri=" + url.QueryEscape(signedOut), 302, signedOut, true},
		{"to the login page", again, 302, "/login?" + again, true},
		{"both: logout_uri wins", again + "&logout_uri=" + url.QueryEscape(signedOut), 302, signedOut, true},
		{"unknown client", "client_id=x&logout_uri=" + url.QueryEscape(signedOut), 400, "", false},
		{"no client", "logout_uri=" + url.QueryEscape(signedOut), 400, "", false},
		{"neither", "client_id=" + webID, 302, "/error?", false},
		{"URL that is not listed", "client_id=" + webID + "&logout_uri=" + url.QueryEscape(signedOut+"/"), 400, "", false},
		{"callback as sign-out URL", "client_id=" + webID + "&logout_uri=" + url.QueryEscape(callback), 400, "", false},
		{"twice", "client_id=" + webID + "&logout_uri=" + url.QueryEscape(signedOut) + "&logout_uri=x", 400, "", false},
		{"OpenID's parameters", "client_id=" + webID + "&post_logout_redirect_uri=" + url.QueryEscape(signedOut), 302, "/error?", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tokens := b.tokens("alice", query())
			res := b.get("/logout?" + test.query)
			if got := res.Header.Get("Location"); res.StatusCode != test.status || !strings.HasPrefix(got, test.location) || (test.location == signedOut && got != signedOut) {
				t.Errorf("got %d to %q, want %d to %q", res.StatusCode, got, test.status, test.location)
			}
			next := b.get("/oauth2/authorize?" + query().Encode()).Header.Get("Location")
			if got := strings.HasPrefix(next, "/login?"); got != test.ended {
				t.Errorf("session ended: got %v, want %v", got, test.ended)
			}
			if got, _ := b.token("grant_type", "refresh_token", "refresh_token", tokens.Refresh); got != 200 {
				t.Errorf("refresh token: got %d, want 200: signing out revokes nothing", got)
			}
		})
	}
}
