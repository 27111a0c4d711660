package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn/devpool"
)

const (
	poolAPIClient  = "4example23456789"
	poolAPISecret  = "only-gatehouse-knows-this-secret-0123456789"
	poolAPIKey     = "AKIDEXAMPLE"
	poolAPIKeyPart = "the-secret-half-of-an-access-key-01234567"
)

// A poolSession is one run of the library that browsers sign in to a user pool with.
type poolSession struct {
	Endpoint string `json:"endpoint"`
	Pool     string `json:"pool"`
	Client   string `json:"client"`
	Codes    string `json:"codes"`
	Name     string `json:"name"`
	Only     string `json:"only,omitempty"`
}

// run returns what came of each step.
func (s poolSession) run(t *testing.T, env ...string) map[string]string {
	t.Helper()
	if _, err := os.Stat("testdata/pool-client/node_modules/amazon-cognito-identity-js"); err != nil {
		t.Fatalf("the library is not installed (%v): run ./.ci/test, or npm ci --prefix e2e/testdata/pool-client --ignore-scripts", err)
	}
	input, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", "testdata/pool-client/session.mjs")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node, which ./.ci/test installs: %v\n%s", err, stderr.String())
	}
	var steps map[string]string
	if err := json.Unmarshal(out, &steps); err != nil {
		t.Fatalf("steps: %v\n%s", err, out)
	}
	return steps
}

// TestBrowsersUseAUserPoolWithoutItsSecret lives through a person's life in a user pool with the library that applications use,
// through the proxy of the pool's API and through its Admin variant, with the WAF on.
func TestBrowsersUseAUserPoolWithoutItsSecret(t *testing.T) {
	t.Parallel()
	var pool *devpool.Pool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pool.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	var err error
	pool, err = devpool.New(devpool.Options{
		BaseURL: server.URL, Clients: []devpool.Client{{ID: poolAPIClient, Secret: poolAPISecret}}, Control: true,
		AdminKeys: map[string]string{poolAPIKey: poolAPIKeyPart},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := startPoolAPI(t, server.URL)
	_, port, _ := strings.Cut(s.addr, ":")
	roots := "NODE_EXTRA_CA_CERTS=" + filepath.Join(s.state, "local-ca", "root.pem")

	for name, want := range map[string]struct {
		operation string
		viewer    toldViewer
	}{
		"cognito": {"api:InitiateAuth", toldViewer{IpAddress: "127.0.0.1"}},
		"admin":   {"api:AdminInitiateAuth", toldViewer{"127.0.0.1", "localhost:" + port, "/admin"}},
	} {
		pool.ResetCalls()
		session := poolSession{"https://localhost:" + port + "/" + name, poolID, poolAPIClient, server.URL + "/_codes", name, ""}
		if diff := cmp.Diff(lifeInAPool(name), session.run(t, roots)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if pool.Calls(want.operation) == 0 {
			t.Errorf("%s: no call of %s", name, want.operation)
		}
		// The last step is a sign-in, which tells the pool of the viewer in each variant's own way.
		var got toldViewer
		if err := json.Unmarshal([]byte(pool.APIContext()), &got); err != nil || got != want.viewer {
			t.Errorf("%s: the pool was told %s of the viewer (%v), want %+v", name, pool.APIContext(), err, want.viewer)
		}
	}

	// Whoever goes past Gatehouse lacks the secret.
	direct := poolSession{server.URL, poolID, poolAPIClient, server.URL + "/_codes", "direct", "sign up"}.run(t)
	want := "NotAuthorizedException: Client " + poolAPIClient + " is configured for secret but secret was not received"
	if got := direct["sign up"]; got != want {
		t.Errorf("past Gatehouse: got %q, want %q", got, want)
	}
	for _, secret := range []string{poolAPISecret, poolAPIKeyPart, "Passw0rd", "example.com"} {
		if strings.Contains(s.output(), secret) {
			t.Errorf("the program's output holds %q", secret)
		}
	}
}

// A toldViewer is what the pool is told of who calls, but for the header fields, which are the library's.
type toldViewer struct{ IpAddress, ServerName, ServerPath string }

// startPoolAPI starts a site that has the pool's API at /cognito, with a former secret as the first, and its Admin variant at
// /admin.
func startPoolAPI(t *testing.T, endpoint string) *site {
	t.Helper()
	api := func(more string) string {
		return fmt.Sprintf("{user_pool: %s, endpoint: %q, clients: [{id: %s, %s}], %s}", poolID, endpoint, poolAPIClient,
			`secret: not-there-yet-0123456789, previous_secret: "${env:POOL_SECRET}"`, more)
	}
	spec := siteSpec{
		host: "localhost", upstream: startEcho(t), env: []string{"POOL_SECRET=" + poolAPISecret, "AWS_SECRET=" + poolAPIKeyPart},
		top: "cognito_api:\n  plain: " + api("propagate_address: true") + "\n  admin: " +
			api("admin: {credentials: keys, access_key_id: "+poolAPIKey+`, secret_access_key: "${env:AWS_SECRET}"}`),
		routes: `
  - {match: localhost/cognito, to: plain, require: nothing}
  - {match: localhost/admin, to: admin, require: nothing}
  - {match: localhost/narrow, to: plain, require: nothing, operations: GetUser}
  - {match: localhost, to: u, require: nothing}
`,
	}
	s := startOpen(t, spec)
	return s
}

// TestWhatIsNotThePoolsAPIStopsHere sends what no library sends. The pool behind the proxy is not there, so that an answer of
// 502 says that a request would have reached it.
func TestWhatIsNotThePoolsAPIStopsHere(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	s := startPoolAPI(t, gone.URL)
	getUser := `{"AccessToken":"a"}`
	large := `{"AccessToken":"` + strings.Repeat("a", 64<<10) + `"}`
	s.clients(t, func(t *testing.T, c *http.Client) {
		for name, tt := range map[string]struct {
			path, operation, body string
			change                func(*http.Request)
			status                int
			kind                  string
		}{
			"a good one":              {"/cognito", "GetUser", getUser, nil, 502, "InternalErrorException"},
			"one of the route's":      {"/narrow", "GetUser", getUser, nil, 502, "InternalErrorException"},
			"one of another route's":  {"/narrow", "GlobalSignOut", getUser, nil, 400, "UnknownOperationException"},
			"an Admin operation":      {"/admin", "AdminInitiateAuth", `{}`, nil, 400, "UnknownOperationException"},
			"a member twice":          {"/cognito", "GetUser", `{"AccessToken":"a","AccessToken":"b"}`, nil, 400, "SerializationException"},
			"another client":          {"/cognito", "RevokeToken", `{"ClientId":"another","Token":"t"}`, nil, 400, "ResourceNotFoundException"},
			"a hash of its own":       {"/cognito", "SignUp", `{"ClientId":"` + poolAPIClient + `","Username":"a","SecretHash":"b"}`, nil, 400, "InvalidParameterException"},
			"too large, with length":  {"/cognito", "GetUser", large, nil, 413, "RequestEntityTooLargeException"},
			"too large, in chunks":    {"/cognito", "GetUser", large, func(r *http.Request) { r.ContentLength = -1 }, 413, "RequestEntityTooLargeException"},
			"from a page of its own":  {"/cognito", "GetUser", getUser, func(r *http.Request) { r.Header.Set("Origin", "https://localhost") }, 502, "InternalErrorException"},
			"from a page of another":  {"/cognito", "GetUser", getUser, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, "AccessDeniedException"},
			"a page's question":       {"/cognito", "", "", func(r *http.Request) { r.Method = "OPTIONS"; r.Header.Set("Origin", "https://localhost") }, 204, ""},
			"another page's question": {"/cognito", "", "", func(r *http.Request) { r.Method = "OPTIONS"; r.Header.Set("Origin", "null") }, 403, "AccessDeniedException"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
			req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+tt.operation)
			if tt.change != nil {
				tt.change(req)
			}
			resp, body := send(t, c, req)
			var got struct {
				Type string `json:"__type"`
			}
			if body != "" && json.Unmarshal([]byte(body), &got) != nil {
				t.Errorf("%s: want JSON, got %s", name, body)
			}
			if resp.StatusCode != tt.status || got.Type != tt.kind {
				t.Errorf("%s: got %d %q, want %d %q\n%s", name, resp.StatusCode, got.Type, tt.status, tt.kind, body)
			}
		}
	})
}

// lifeInAPool is what each step of the session comes to.
func lifeInAPool(name string) map[string]string {
	person := "Zoë O'Neil " + name
	return map[string]string{
		"sign up":                       "unconfirmed",
		"sign in unconfirmed":           "UserNotConfirmedException: User is not confirmed.",
		"resend":                        "done",
		"confirm wrongly":               "CodeMismatchException: Invalid verification code provided, please try again.",
		"confirm":                       "SUCCESS",
		"sign in by SRP":                person,
		"sign in by SRP, wrongly":       "NotAuthorizedException: Incorrect username or password.",
		"sign in by alias":              person,
		"sign in by password":           person,
		"sign in again":                 "done",
		"attributes":                    name + "@example.com",
		"refresh":                       "another token",
		"change password":               "SUCCESS",
		"forget password":               "done",
		"set password":                  "SUCCESS",
		"sign in with the old password": "NotAuthorizedException: Incorrect username or password.",
		"sign in with the new password": "done",
		"sign out":                      "done",
		"refresh after sign-out":        "NotAuthorizedException: Invalid Refresh Token",
		"sign in once more":             "done",
		"sign out everywhere":           "SUCCESS",
		"refresh after all":             "NotAuthorizedException: Invalid Refresh Token",
	}
}
