package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// machineToken is an access token that the app client of a pool has got for itself.
func machineToken(t *testing.T, pool string) string {
	t.Helper()
	form := strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pool+"/oauth2/token", form)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(clientID, clientSecret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, body := send(t, direct(t), req)
	var answer struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Access == "" {
		t.Fatalf("the pool gave no token: %s %v", resp.Status, err)
	}
	return answer.Access
}

// apiSite is a front door before an API: nobody signs in, and two pools issue tokens. Their clients have the
// same id.
func apiSite(t *testing.T, first, second string) *site {
	t.Helper()
	spec := siteSpec{
		upstream: startEcho(t),
		top: fmt.Sprintf("secret: ${env:GATEHOUSE_SECRET}\ntokens:\n  issuers:\n    first: {issuer: %q, client_ids: [%s]}\n    second: {issuer: %q, jwks_uri: %q, client_ids: [%s]}\n",
			first+"/"+poolID, clientID, second+"/"+poolID, second+"/"+poolID+"/.well-known/jwks.json", clientID),
		env: []string{"GATEHOUSE_SECRET=" + strings.Repeat("0123456789abcdef", 4)},
		routes: `
  - {match: "` + appHost + `/first", to: u, require: {token: {issuers: [first]}}, waf: off}
  - {match: "` + appHost + `/second", to: u, require: {token: {issuers: [second]}}, waf: off}
  - {match: "` + appHost + `/both", to: u, require: token, waf: off}
  - {match: "` + appHost + `/scope", to: u, require: {token: {scopes: [no.such]}}, waf: off}
  - {match: "` + appHost + `/alb", to: u, require: {token: {issuers: [first]}}, waf: off, compat: aws}
  - {match: "` + appHost + `/http-api", to: u, require: {token: {issuers: [first]}}, waf: off, compat: api-gateway}
`,
	}
	s := startOpen(t, spec)
	return s
}

func TestTokensOfSeveralIssuersWithoutALogin(t *testing.T) {
	t.Parallel()
	first, second := startPool(t), startPool(t)
	s := apiSite(t, first.url, second.url)
	one, two := machineToken(t, first.url), machineToken(t, second.url)
	s.clients(t, func(t *testing.T, c *http.Client) {
		for _, tt := range []struct {
			path, authorization string
			status              int
			issuer              string // in what the upstream gets; "" for no assertion
		}{
			{"/first", "Bearer " + one, 200, first.url},
			{"/second", "Bearer " + two, 200, second.url},
			{"/both", "Bearer " + one, 200, first.url},
			{"/both", "Bearer " + two, 200, second.url},
			{"/second", "Bearer " + one, 401, ""}, // attack case O48: taken at /first, and remembered there
			{"/first", "Bearer " + two, 401, ""},
			{"/scope", "Bearer " + one, 403, ""},
			{"/both", "", 401, ""},
			{"/both", one, 401, ""},
			{"/alb", "Bearer " + one, 200, ""},
			{"/alb", "Bearer " + two, 401, ""},
			{"/http-api", one, 200, ""},
			{"/http-api", "Bearer " + two, 401, ""},
		} {
			for try := range 2 {
				more := []string{"Authorization", tt.authorization}
				resp, body := fetch(t, c, s.base+tt.path, "", more...)
				if resp.StatusCode != tt.status {
					t.Errorf("%s, try %d: got %s, want %d\n%s", tt.path, try+1, resp.Status, tt.status, body)
					continue
				}
				if tt.status == 200 {
					testForwarded(t, readEcho(t, body), tt.authorization, tt.issuer)
				}
			}
		}
		resp, body := fetch(t, c, s.base+"/http-api", "", "Authorization", "Bearer a.b.c")
		want := `Bearer scope="" error="invalid_token" error_description="unable to decode the token"`
		if body != `{"message":"Unauthorized"}` || resp.Header.Get("WWW-Authenticate") != want || resp.Header.Get("Apigw-Requestid") != resp.Header.Get("X-Request-Id") {
			t.Errorf("API Gateway's answer: got %q and %v", body, resp.Header)
		}
		if resp, body := fetch(t, c, s.base+"/.gatehouse/keys/.well-known/jwks.json", ""); resp.StatusCode != 200 || !strings.Contains(body, `"keys"`) {
			t.Errorf("the assertion's keys: got %s\n%s", resp.Status, body)
		}
		if resp, _ := fetch(t, c, s.base+"/oauth2/sign_in", "", navigating()...); resp.StatusCode != http.StatusNotFound {
			t.Errorf("sign-in without a login: got %s, want 404", resp.Status)
		}
	})
	if out := s.output(); strings.Contains(out, one) || strings.Contains(out, two) {
		t.Error("a token is in the log")
	}
}

// testForwarded checks what an upstream gets with a token: the token, and who it is by our word unless the
// route keeps AWS's manners.
func testForwarded(t *testing.T, seen echo, authorization, issuer string) {
	t.Helper()
	if got := seen.Header.Get("Authorization"); got != authorization {
		t.Errorf("%s: the token was not forwarded as it came", seen.Path)
	}
	data := seen.Header.Get("X-Amzn-Oidc-Data")
	if issuer == "" {
		if data != "" || seen.Subject != "" || seen.Header.Get("X-Amzn-Oidc-Accesstoken") != "" {
			t.Errorf("%s: got an assertion, want none", seen.Path)
		}
		return
	}
	if seen.Subject != clientID || seen.Header.Get("X-Amzn-Oidc-Accesstoken") != strings.TrimPrefix(authorization, "Bearer ") {
		t.Errorf("%s: got the subject %q, want %s with its token", seen.Path, seen.Subject, clientID)
	}
	if got := segment(t, data, 0)["iss"]; got != issuer+"/"+poolID {
		t.Errorf("%s: iss of the assertion: got %v, want that of %s", seen.Path, got, issuer)
	}
}

func TestStartsBeforeAnIssuerOfTokens(t *testing.T) {
	t.Parallel()
	first := startPool(t)
	port, listen := reserveSocket(t, "pool")
	second := "http://" + port.addr
	s := apiSite(t, first.url, second)
	line := s.message("issuer of tokens not reached, its tokens are answered with 503 until it is", 0)
	if line["issuer"] != second+"/"+poolID {
		t.Errorf("event: got %v, want the issuer %s", line, second)
	}
	if status, body := s.admin("/readyz"); status != http.StatusOK || !strings.Contains(body, second+"/"+poolID+" not reached yet") {
		t.Errorf("readyz: got %d %q, want 200 and a note", status, body)
	}
	token := machineToken(t, first.url)
	s.clients(t, func(t *testing.T, c *http.Client) {
		resp, body := fetch(t, c, s.base+"/second", "", "Authorization", "Bearer "+token)
		s.deniedID(t, resp, body, http.StatusServiceUnavailable)
		if resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if resp, body := fetch(t, c, s.base+"/both", "", "Authorization", "Bearer "+token); resp.StatusCode != http.StatusOK {
			t.Errorf("a token of the issuer that is there: got %s\n%s", resp.Status, body)
		}
	})
	listen()
	launchOn(t, []string{"pool", "--client-secret", clientSecret, "--control"}, nil, port)
	s.message("issuer of tokens reached", 1) // the first was reached at once
	resp, body := fetch(t, newClient(t, s.addr, false), s.base+"/second", "", "Authorization", "Bearer "+machineToken(t, second))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("once it is there: got %s, want 200\n%s", resp.Status, body)
	}
}
