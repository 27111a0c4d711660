package cognitoapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/authn/cognitoapi"
)

func TestSecretHash(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ secret, client, username, want string }{
		{"someSecret", "someKey", "+46123456789", "IaGDgKDFGW4GZ/M+pkM2lX0gN/su2fC8n1H7zW+mIUE="},
		{"abcdef01234567890", "djc98u3jiedmi283eu928", "alice", "VbZB/jmJy2KXzFaBHZWkmme9gEGnQWA9X8Jd5WgA4mA="},
	} {
		if got := cognitoapi.SecretHash(v.secret, v.client, v.username); got != v.want {
			t.Errorf("%s: got %s, want %s", v.username, got, v.want)
		}
	}
}

func TestAPublicClientLivesThroughTheProxy(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	const name = `Zoë "O'Neil" <z+1@example.com> 😀`
	quoted, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	with := func(members string) string {
		return fmt.Sprintf(`{"ClientId":%q,"Username":%s%s}`, clientID, quoted, members)
	}
	b.call(t, "SignUp", with(`,"Password":"first-password","UserAttributes":[{"Name":"email","Value":"z@example.com"}]`)).want(t, 200, "")
	b.call(t, "ResendConfirmationCode", with("")).want(t, 200, "")
	b.call(t, "ConfirmSignUp", with(`,"ConfirmationCode":"wrong"`)).want(t, 400, "CodeMismatchException")
	b.call(t, "ConfirmSignUp", with(`,"ConfirmationCode":"`+b.pool.Code(name)+`"`)).want(t, 200, "")
	b.call(t, "ForgotPassword", with("")).want(t, 200, "")
	b.call(t, "ConfirmForgotPassword", with(`,"Password":"second-password","ConfirmationCode":"`+b.pool.Code(name)+`"`)).want(t, 200, "")

	signedIn := b.call(t, "InitiateAuth", fmt.Sprintf(
		`{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":%q,"AuthParameters":{"USERNAME":%s,"PASSWORD":"second-password"}}`, clientID, quoted,
	)).want(t, 200, "")
	refresh := signedIn.at("AuthenticationResult", "RefreshToken")
	refreshed := b.call(t, "InitiateAuth", fmt.Sprintf(
		`{"AuthFlow":"REFRESH_TOKEN_AUTH","ClientId":%q,"AuthParameters":{"REFRESH_TOKEN":%q,"DEVICE_KEY":null}}`, clientID, refresh,
	)).want(t, 200, "")
	b.call(t, "GetTokensFromRefreshToken", fmt.Sprintf(`{"ClientId":%q,"RefreshToken":%q}`, clientID, refresh)).want(t, 200, "")
	access := fmt.Sprintf(`{"AccessToken":%q}`, refreshed.at("AuthenticationResult", "AccessToken"))
	if got := b.call(t, "GetUser", access).want(t, 200, "").at("Username"); got != name {
		t.Errorf("user: got %q, want %q", got, name)
	}
	b.call(t, "RevokeToken", fmt.Sprintf(`{"ClientId":%q,"Token":%q}`, clientID, refresh)).want(t, 200, "")
	got := b.call(t, "GetUser", access).want(t, 400, "NotAuthorizedException")
	if got.header.Get("X-Amzn-Errortype") != "NotAuthorizedException:" || got.header.Get("Content-Type") != "application/x-amz-json-1.1" ||
		got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Amzn-Requestid") == "" {
		t.Errorf("headers: got %v", got.header)
	}
}

func TestAnAliasIsHashedAsTypedAndAnsweredByName(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	u := `{"AuthFlow":"USER_SRP_AUTH","ClientId":"` + clientID + `","AuthParameters":{"USERNAME":"ALICE@example.com","SRP_A":"2"}}`
	challenge := b.call(t, "InitiateAuth", u).want(t, 200, "")
	name := challenge.at("ChallengeParameters", "USER_ID_FOR_SRP")
	if name != "alice" {
		t.Fatalf("USER_ID_FOR_SRP: got %q, want alice", name)
	}
	answer := func(name string) string {
		return fmt.Sprintf(`{"ChallengeName":"PASSWORD_VERIFIER","ClientId":%q,"Session":%q,"ChallengeResponses":{"USERNAME":%q}}`,
			clientID, challenge.at("Session"), name)
	}
	// The hash is taken; what is not is the answer itself.
	if got := b.call(t, "RespondToAuthChallenge", answer(name)).want(t, 400, "NotAuthorizedException"); !strings.HasPrefix(got.at("message"), "Incorrect") {
		t.Errorf("message: got %q, want one about the password", got.at("message"))
	}
}

func TestOfTwoSecretsTheOneThatWorksIsRemembered(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *cognitoapi.Config) { c.Clients[0].PreviousSecret = oldSecret })
	signIn := func(wantCalls int) {
		t.Helper()
		b.pool.ResetCalls()
		b.call(t, "InitiateAuth", signInAlice).want(t, 200, "")
		if got := b.pool.Calls("api:InitiateAuth"); got != wantCalls {
			t.Errorf("calls: got %d, want %d", got, wantCalls)
		}
	}
	b.pool.SetSecrets(clientID, oldSecret) // the new one is not there yet
	signIn(2)
	signIn(1)
	b.pool.SetSecrets(clientID, oldSecret, newSecret)
	signIn(1)
	b.pool.SetSecrets(clientID, newSecret) // the old one is gone
	signIn(2)
	signIn(1)

	// A refresh has the secret itself as its proof.
	token := b.call(t, "InitiateAuth", signInAlice).at("AuthenticationResult", "RefreshToken")
	b.pool.SetSecrets(clientID, oldSecret)
	refresh := fmt.Sprintf(`{"AuthFlow":"REFRESH_TOKEN_AUTH","ClientId":%q,"AuthParameters":{"REFRESH_TOKEN":%q}}`, clientID, token)
	b.call(t, "InitiateAuth", refresh).want(t, 200, "")
	signIn(1)
	if b.told() != "" {
		t.Errorf("told: got %q, want nothing", b.told())
	}

	b.pool.SetSecrets(clientID, "another-secret-altogether-0123456789")
	got := b.call(t, "InitiateAuth", signInAlice).want(t, 400, "NotAuthorizedException")
	if want := "Unable to verify secret hash for client " + clientID; got.at("message") != want {
		t.Errorf("message: got %q, want %q", got.at("message"), want)
	}
	if !strings.Contains(b.told(), "took no secret of client "+clientID) || strings.Contains(b.told(), oldSecret) || strings.Contains(b.told(), newSecret) {
		t.Errorf("told: got %q, want the client and no secret", b.told())
	}
}

func TestTheAdminVariantTellsThePoolOfTheViewer(t *testing.T) {
	t.Parallel()
	keys := &cognitoapi.AdminConfig{Credentials: "keys", AccessKeyID: keyID, SecretAccessKey: keySecret}
	b := newBench(t, func(c *cognitoapi.Config) { c.Admin = keys })
	lying := strings.Replace(signInAlice, "{", `{"UserContextData":{"IpAddress":"192.0.2.66","EncodedData":"device"},`, 1)
	b.call(t, "InitiateAuth", lying).want(t, 200, "")
	if got := b.pool.Calls("api:AdminInitiateAuth"); got != 1 {
		t.Errorf("calls of AdminInitiateAuth: got %d, want 1", got)
	}
	var context struct {
		IpAddress, ServerName, ServerPath, EncodedData string
		HttpHeaders                                    []map[string]string
	}
	if err := json.Unmarshal([]byte(b.pool.APIContext()), &context); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(context)
	want := "{" + viewerIP + " app.example.com /cognito device [map[headerName:User-Agent headerValue:a browser]]}"
	if got != want {
		t.Errorf("context: got %s, want %s", got, want)
	}
	answer := `{"ChallengeName":"PASSWORD_VERIFIER","ClientId":"` + clientID + `","Session":"none","ChallengeResponses":{"USERNAME":"alice"}}`
	if got := b.call(t, "RespondToAuthChallenge", answer).want(t, 400, "NotAuthorizedException"); got.at("message") != "Invalid session for the user." {
		t.Errorf("message: got %q, want that of the challenge", got.at("message"))
	}
}

func TestRefusedAWSCredentialsAreNobodyElsesBusiness(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]cognitoapi.AdminConfig{
		"another key":    {Credentials: "keys", AccessKeyID: "AKIDOTHER", SecretAccessKey: keySecret},
		"another secret": {Credentials: "keys", AccessKeyID: keyID, SecretAccessKey: "wrong"},
	} {
		b := newBench(t, func(c *cognitoapi.Config) { c.Admin = &keys })
		got := b.call(t, "InitiateAuth", signInAlice).want(t, 502, "InternalErrorException")
		if strings.Contains(got.body, "security token") || strings.Contains(got.body, "signature") {
			t.Errorf("%s: the client learned %s", name, got.body)
		}
		if !strings.Contains(b.told(), "AWS credentials were refused") {
			t.Errorf("%s: told %q, want that the credentials were refused", name, b.told())
		}
	}
}

func TestTheAddressOfTheViewerIsNeverTheClientsToSay(t *testing.T) {
	t.Parallel()
	lying := strings.Replace(signInAlice, "{", `{"UserContextData":{"IpAddress":"192.0.2.66","EncodedData":"device"},`, 1)
	for _, propagate := range []bool{false, true} {
		b := newBench(t, func(c *cognitoapi.Config) { c.PropagateAddress = propagate })
		b.call(t, "InitiateAuth", lying).want(t, 200, "")
		want := `{"EncodedData":"device"}`
		if propagate {
			want = `{"EncodedData":"device","IpAddress":"` + viewerIP + `"}`
		}
		if got := b.pool.APIContext(); got != want {
			t.Errorf("propagate %v: got %s, want %s", propagate, got, want)
		}
	}
}

func TestTheCredentialsOfARole(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"t","Expiration":"2999-01-01T00:00:00Z"}`, keyID, keySecret)
	}
	mux.HandleFunc("GET /container", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "task" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		answer(w, r)
	})
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, "token")
	})
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "role") })
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/role", answer)
	metadata := httptest.NewServer(mux)
	t.Cleanup(metadata.Close)

	for name, env := range map[string]map[string]string{
		"container": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.URL + "/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "task"},
		"instance":  {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.URL},
	} {
		b := newBench(t, nil)
		server := httptest.NewServer(b.pool)
		t.Cleanup(server.Close)
		p, err := cognitoapi.New(cognitoapi.Config{
			UserPool: poolID, Endpoint: server.URL, Clients: []cognitoapi.ClientConfig{{ID: clientID, Secret: newSecret}},
			Admin: &cognitoapi.AdminConfig{Credentials: "role"},
		}, cognitoapi.Options{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		if got := serve(t, p, request(t, "InitiateAuth", signInAlice)); got.status != 200 {
			t.Errorf("%s: got %d %s, want 200", name, got.status, got.body)
		}
	}
	_, err := cognitoapi.New(cognitoapi.Config{
		UserPool: poolID, Clients: []cognitoapi.ClientConfig{{ID: clientID, Secret: newSecret}}, Admin: &cognitoapi.AdminConfig{Credentials: "role"},
	}, cognitoapi.Options{Env: func(name string) (string, bool) {
		return "http://192.0.2.1/", name == "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	}})
	if err == nil || !strings.Contains(err.Error(), "want https") {
		t.Errorf("credentials from elsewhere without TLS: got %v, want a refusal", err)
	}
}

func TestARouteLetsOnlyItsOperationsThrough(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *cognitoapi.Config) { c.Operations = []string{"InitiateAuth", "GetUser"} })
	b.call(t, "SignUp", `{}`).want(t, 400, "UnknownOperationException")
	narrow := b.proxy.Handler([]string{"GetUser", "SignUp"})
	serve(t, narrow, request(t, "InitiateAuth", signInAlice)).want(t, 400, "UnknownOperationException")
	serve(t, narrow, request(t, "SignUp", `{}`)).want(t, 400, "UnknownOperationException")
	serve(t, narrow, request(t, "GetUser", `{"AccessToken":"x"}`)).want(t, 400, "NotAuthorizedException")
	serve(t, b.proxy.Handler(nil), request(t, "InitiateAuth", signInAlice)).want(t, 200, "")
}

func TestOnlyPagesOfTheAppMayCall(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *cognitoapi.Config) { c.Origins = []string{"https://spa.example.net"} })
	for origin, allowed := range map[string]bool{
		"https://app.example.com": true, "https://spa.example.net": true,
		"http://app.example.com": false, "https://evil.example": false, "null": false, "https://app.example.com.evil.example": false, "": false,
		"https://spa.example.net/": false, "HTTPS://SPA.EXAMPLE.NET": false,
	} {
		for _, method := range []string{http.MethodOptions, http.MethodPost} {
			r := request(t, "InitiateAuth", signInAlice)
			r.Method = method
			r.Header.Set("Origin", origin)
			got := serve(t, b.proxy, r)
			want := map[bool]int{true: 200, false: 403}[allowed]
			if allowed && method == http.MethodOptions {
				want = 204
			}
			if got.status != want {
				t.Errorf("%s from %q: got %d, want %d", method, origin, got.status, want)
			}
			if echoed := got.header.Get("Access-Control-Allow-Origin"); (echoed == origin && origin != "") != allowed || got.header.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: allowed origin %q, vary %q", method, origin, echoed, got.header.Get("Vary"))
			}
		}
	}
	if got := b.pool.Calls("api:InitiateAuth"); got != 2 {
		t.Errorf("calls: got %d, want 2: what is refused never reaches the pool", got)
	}
}

func TestRequestsThatAreNotTheAPIs(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	large := `{"AccessToken":"` + strings.Repeat("x", 64<<10) + `"}`
	for name, tt := range map[string]struct {
		change func(*http.Request)
		body   string
		status int
		kind   string
	}{
		"a GET":                     {func(r *http.Request) { r.Method = "GET" }, "", 405, "MethodNotAllowedException"},
		"OPTIONS of no browser":     {func(r *http.Request) { r.Method = "OPTIONS" }, "", 405, "MethodNotAllowedException"},
		"a query":                   {func(r *http.Request) { r.URL.RawQuery = "Action=SignUp" }, signInAlice, 400, "InvalidParameterException"},
		"plain JSON":                {func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, signInAlice, 415, "SerializationException"},
		"plain text":                {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, signInAlice, 415, "SerializationException"},
		"another charset":           {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-7") }, signInAlice, 415, "SerializationException"},
		"two content types":         {func(r *http.Request) { r.Header.Add("Content-Type", "application/x-amz-json-1.1") }, signInAlice, 415, "SerializationException"},
		"no content type":           {func(r *http.Request) { r.Header.Del("Content-Type") }, signInAlice, 415, "SerializationException"},
		"a compressed body":         {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, signInAlice, 415, "SerializationException"},
		"no target":                 {func(r *http.Request) { r.Header.Del("X-Amz-Target") }, signInAlice, 400, "UnknownOperationException"},
		"two targets":               {func(r *http.Request) { r.Header.Add("X-Amz-Target", "x") }, signInAlice, 400, "UnknownOperationException"},
		"a body that breaks off":    {func(r *http.Request) { r.Body = http.MaxBytesReader(nil, r.Body, 10) }, signInAlice, 400, "SerializationException"},
		"too large for the route":   {func(r *http.Request) { r.Body = io.NopCloser(limited{413}) }, signInAlice, 413, "RequestEntityTooLargeException"},
		"too slow for the route":    {func(r *http.Request) { r.Body = io.NopCloser(limited{408}) }, signInAlice, 408, "SerializationException"},
		"too large, with a length":  {func(*http.Request) {}, large, 413, "RequestEntityTooLargeException"},
		"too large, in chunks":      {func(r *http.Request) { r.ContentLength = -1 }, large, 413, "RequestEntityTooLargeException"},
		"the charset of the API":    {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=UTF-8") }, signInAlice, 200, ""},
		"good, and without a limit": {func(r *http.Request) { r.ContentLength = -1 }, signInAlice, 200, ""},
	} {
		r := request(t, "InitiateAuth", tt.body)
		tt.change(r)
		got := serve(t, b.proxy, r)
		if got.status != tt.status || got.kind() != tt.kind {
			t.Errorf("%s: got %d %q, want %d %q", name, got.status, got.kind(), tt.status, tt.kind)
		}
	}
	if got := b.pool.Calls("api:InitiateAuth"); got != 2 {
		t.Errorf("calls: got %d, want 2: what is refused never reaches the pool", got)
	}
}

func TestAPoolThatMisbehaves(t *testing.T) {
	t.Parallel()
	hash := cognitoapi.SecretHash(newSecret, clientID, "alice")
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		status int
		kind   string
	}{
		"a page":           {func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") }, 502, "InternalErrorException"},
		"a list":           {func(w http.ResponseWriter) { fmt.Fprint(w, "[]") }, 502, "InternalErrorException"},
		"no type":          {func(w http.ResponseWriter) { w.WriteHeader(400); fmt.Fprint(w, "{}") }, 502, "InternalErrorException"},
		"an odd type":      {func(w http.ResponseWriter) { w.WriteHeader(400); fmt.Fprint(w, `{"__type":"a\r\nb"}`) }, 502, "InternalErrorException"},
		"a redirect":       {func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(307) }, 502, "InternalErrorException"},
		"without end":      {func(w http.ResponseWriter) { fmt.Fprint(w, `{"a":"`+strings.Repeat("x", 1<<20)+`"}`) }, 502, "InternalErrorException"},
		"cut off":          {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 502, "InternalErrorException"},
		"its own secret":   {func(w http.ResponseWriter) { fmt.Fprintf(w, `{"a":%q}`, newSecret) }, 502, "InternalErrorException"},
		"its hash, quoted": {func(w http.ResponseWriter) { w.WriteHeader(400); fmt.Fprint(w, echo(hash)) }, 502, "InternalErrorException"},
		"nothing":          {func(http.ResponseWriter) {}, 200, ""},
		"a namespace": {func(w http.ResponseWriter) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"__type":"com.amazonaws#LimitExceededException"}`)
		}, 400, "com.amazonaws#LimitExceededException"},
		"its own failure": {func(w http.ResponseWriter) { w.WriteHeader(500); fmt.Fprint(w, `{"__type":"InternalErrorException"}`) }, 500, "InternalErrorException"},
		"a cookie": {func(w http.ResponseWriter) {
			w.Header().Set("Set-Cookie", "a=b")
			w.Header().Set("Access-Control-Allow-Origin", "*")
			fmt.Fprint(w, "{}")
		}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tt.answer(w) }))
			t.Cleanup(server.Close)
			b := &bench{}
			got := serve(t, b.proxyTo(t, server.URL, nil), request(t, "InitiateAuth", signInAlice)).want(t, tt.status, tt.kind)
			if got.header.Get("Set-Cookie") != "" || got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Location") != "" {
				t.Errorf("headers of the pool came through: %v", got.header)
			}
			if said := got.body + b.told(); strings.Contains(said, newSecret) || strings.Contains(said, hash) {
				t.Errorf("a secret came through: %s", said)
			}
		})
	}
}

// echo is how the API quotes a value that it finds wrong, with an escape that JSON allows.
func echo(value string) string {
	return `{"__type":"InvalidParameterException","message":"Value '` + strings.ReplaceAll(value, "/", `\/`) + `' at 'secretHash'"}`
}

func TestAPoolThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // without which a server does not see the connection end
		cancel()                           // the client's patience ends while the pool thinks
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	b := &bench{}
	serve(t, b.proxyTo(t, server.URL, nil), request(t, "InitiateAuth", signInAlice).WithContext(ctx)).want(t, 504, "InternalErrorException")
	gone := httptest.NewServer(nil)
	gone.Close()
	serve(t, b.proxyTo(t, gone.URL, nil), request(t, "InitiateAuth", signInAlice)).want(t, 502, "InternalErrorException")
	if strings.Contains(b.told(), "alice") {
		t.Errorf("told: %s holds what the client sent", b.told())
	}
}

// limited is a body that the server stops reading, with a status.
type limited struct{ status int }

func (l limited) Read([]byte) (int, error) { return 0, l }
func (l limited) Error() string            { return "the route's limit" }
func (l limited) HTTPStatus() int          { return l.status }
