package devpool_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"gatehouse/authn/devpool"
)

func setFaults(t *testing.T, p *devpool.Pool, f devpool.Faults) {
	t.Helper()
	if err := p.SetFaults(f); err != nil {
		t.Fatal(err)
	}
}

// TestFaultsOfIDTokens says what go-oidc makes of each fault. It accepts three of them, which is why
// a gateway has checks of its own.
func TestFaultsOfIDTokens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		faults devpool.Faults
		want   string // in go-oidc's error; "" when it accepts the token
		claim  string
		value  any
	}{
		{"none", devpool.Faults{}, "", "token_use", "id"},
		{"wrong nonce", devpool.Faults{WrongNonce: true}, "", "nonce", "not-the-nonce-that-was-sent"},
		{"no subject", devpool.Faults{NoSubject: true}, "", "sub", nil},
		{"access token", devpool.Faults{AccessTokenID: true}, "", "token_use", "access"},
		{"wrong issuer", devpool.Faults{WrongIssuer: true}, "issued by a different provider", "", nil},
		{"wrong audience", devpool.Faults{WrongAudience: true}, "expected audience", "aud", "another-client"},
		{"expired", devpool.Faults{Expired: true}, "token is expired", "", nil},
		{"no algorithm", devpool.Faults{AlgNone: true}, "unexpected signature algorithm", "", nil},
		{"unknown key", devpool.Faults{UnknownKey: true}, "failed to verify", "", nil},
		{"wrong key", devpool.Faults{WrongKey: true}, "failed to verify", "", nil},
		{"bad signature", devpool.Faults{BadSignature: true}, "failed to verify", "", nil},
		{"any claim", devpool.Faults{IDClaims: map[string]any{"azp": "evil", "iat": nil}}, "", "azp", "evil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			ctx, provider, _ := relyingParty(t, b)
			setFaults(t, b.Pool, test.faults)
			raw := b.tokens("alice", query("nonce", "n")).ID
			_, err := provider.Verifier(&oidc.Config{ClientID: webID, Now: b.clock.Now}).Verify(ctx, raw)
			if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
			if got := part(t, raw, 1)[test.claim]; test.claim != "" && got != test.value {
				t.Errorf("%s: got %v, want %v", test.claim, got, test.value)
			}
			setFaults(t, b.Pool, devpool.Faults{})
			raw = b.tokens("alice", query("nonce", "n")).ID
			if _, err := provider.Verifier(&oidc.Config{ClientID: webID, Now: b.clock.Now}).Verify(ctx, raw); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

func TestWrongAtHash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, provider, _ := relyingParty(t, b)
	setFaults(t, b.Pool, devpool.Faults{WrongAtHash: true})
	tokens := b.tokens("alice", query())
	id, err := provider.Verifier(&oidc.Config{ClientID: webID, Now: b.clock.Now}).Verify(ctx, tokens.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(tokens.Access); err == nil {
		t.Error("at_hash: got no error, want one")
	}
}

func TestFaultsOfAccessTokensAndUserInfo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	setFaults(t, b.Pool, devpool.Faults{
		AccessClaims: map[string]any{"client_id": "other", "username": nil},
		UserInfo:     map[string]any{"sub": "mallory"},
	})
	tokens := b.tokens("alice", query())
	claims := part(t, tokens.Access, 1)
	if _, ok := claims["username"]; ok || claims["client_id"] != "other" {
		t.Errorf("access token: got %v", claims)
	}
	if got := decode[map[string]any](t, b.userInfo("Bearer "+tokens.Access).body)["sub"]; got != "mallory" {
		t.Errorf("userInfo: sub: got %v, want mallory", got)
	}
}

func TestInvalidGrantFault(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tokens := b.tokens("alice", query())
	setFaults(t, b.Pool, devpool.Faults{InvalidGrant: true})
	status, got := b.token("grant_type", "refresh_token", "refresh_token", tokens.Refresh)
	if status != 400 || got.Error != "invalid_grant" {
		t.Errorf("got %d %+v, want 400 invalid_grant", status, got)
	}
	setFaults(t, b.Pool, devpool.Faults{})
	if status, _ := b.token("grant_type", "refresh_token", "refresh_token", tokens.Refresh); status != 200 {
		t.Errorf("after the fault: got %d, want 200", status)
	}
}

func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, provider, _ := relyingParty(t, b)
	verifier := provider.Verifier(&oidc.Config{ClientID: webID, Now: b.clock.Now})
	old := b.tokens("alice", query())
	if err := b.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(ctx, b.tokens("alice", query()).ID); err != nil {
		t.Errorf("new token: %v", err)
	}
	if _, err := verifier.Verify(ctx, old.ID); err == nil {
		t.Error("old token: got no error, want one")
	}
	if got := b.userInfo("Bearer " + old.Access).StatusCode; got != 200 {
		t.Errorf("userInfo: got %d, want 200", got)
	}
}

func TestBrokenEndpoints(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	jwks := "/eu-west-1_DevPool01/.well-known/jwks.json"
	setFaults(t, b.Pool, devpool.Faults{Endpoints: map[string]devpool.EndpointFault{
		devpool.EndpointJWKS: {Status: 503, Times: 2}, "*": {Status: 500},
	}})
	got := []int{b.get(jwks).StatusCode, b.get(jwks).StatusCode, b.get(jwks).StatusCode, b.get("/logout").StatusCode}
	if want := []int{503, 503, 500, 500}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := b.Calls(devpool.EndpointJWKS), 3; got != want {
		t.Errorf("calls: got %d, want %d", got, want)
	}
	if b.ResetCalls(); b.Calls(devpool.EndpointJWKS) != 0 {
		t.Error("calls: want 0 after a reset")
	}
	setFaults(t, b.Pool, devpool.Faults{Endpoints: map[string]devpool.EndpointFault{"jwks": {Reset: true}}})
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+jwks, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.http.Do(req); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("reset: got %v, want a connection reset", err)
	}
}

func TestResetOverHTTP2(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	setFaults(t, b.Pool, devpool.Faults{Endpoints: map[string]devpool.EndpointFault{"*": {Reset: true}}})
	srv := httptest.NewUnstartedServer(b.Pool)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL + "/logout")
	if err == nil {
		res.Body.Close()
		t.Errorf("got %d, want an error", res.StatusCode)
	}
}

func TestHugeAnswerStopsWhenTheClientDoes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	setFaults(t, b.Pool, devpool.Faults{Endpoints: map[string]devpool.EndpointFault{"userinfo": {Huge: true}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+"/oauth2/userInfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.CopyN(io.Discard, res.Body, 8<<20)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("got %d after %d bytes: %v", res.StatusCode, n, err)
	}
}

func TestSlowEndpoint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	setFaults(t, b.Pool, devpool.Faults{Endpoints: map[string]devpool.EndpointFault{"jwks": {Delay: 7 * time.Second}}})
	synctest.Test(t, func(t *testing.T) {
		serve := func(ctx context.Context) (time.Duration, int) {
			start, w := time.Now(), httptest.NewRecorder()
			b.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/eu-west-1_DevPool01/.well-known/jwks.json", nil))
			return time.Since(start), w.Body.Len()
		}
		if took, n := serve(t.Context()); took != 7*time.Second || n == 0 {
			t.Errorf("got %d bytes after %v, want an answer after 7s", n, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if took, n := serve(ctx); took != time.Second || n != 0 {
			t.Errorf("client that leaves: got %d bytes after %v, want none after 1s", n, took)
		}
	})
}

func TestFaultsThatDoNotExist(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	setFaults(t, b.Pool, devpool.Faults{InvalidGrant: true})
	for _, f := range []map[string]devpool.EndpointFault{
		{"tokens": {}}, {"token": {Status: 99}}, {"token": {Delay: -1}}, {"token": {Times: -1}},
	} {
		if err := b.SetFaults(devpool.Faults{Endpoints: f}); err == nil {
			t.Errorf("%v: got no error, want one", f)
		}
	}
	if status, got := b.token("grant_type", "refresh_token", "refresh_token", "x"); status != 400 || got.Error != "invalid_grant" {
		t.Errorf("the faults before: want them kept, got %d %+v", status, got)
	}
}

func TestControlEndpoint(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *devpool.Options) { o.Control = true })
	send := func(body string) answer {
		req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/_faults", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return b.do(req)
	}
	const faults = `{"endpoints":{"token":{"delay":"1ms","status":500,"times":3}},"wrong_nonce":true,"id_claims":{"sub":null}}`
	if got := send(faults); got.StatusCode != 200 || got.body != faults {
		t.Errorf("got %d %s, want 200 %s", got.StatusCode, got.body, faults)
	}
	if got := b.get("/_faults").body; got != faults {
		t.Errorf("got %s, want %s", got, faults)
	}
	for range 3 {
		if got, _ := b.http.PostForm(b.url+"/oauth2/token", nil); got.StatusCode != 500 {
			t.Errorf("token: got %d, want 500", got.StatusCode)
		}
	}
	for _, bad := range []string{`{"wrong_nonse":true}`, `{"endpoints":{"token":{"status":1}}}`, `{"endpoints":{"token":{"delay":"soon"}}}`, `[`} {
		if got := send(bad); got.StatusCode != 400 {
			t.Errorf("%s: got %d, want 400", bad, got.StatusCode)
		}
	}
	keys := b.get("/eu-west-1_DevPool01/.well-known/jwks.json").body
	if got := send(`{"rotate_keys":true}`); got.StatusCode != 200 || got.body != "{}" {
		t.Errorf("rotate: got %d %s, want 200 {}", got.StatusCode, got.body)
	}
	if b.get("/eu-west-1_DevPool01/.well-known/jwks.json").body == keys {
		t.Error("keys: want new ones")
	}
	if got, want := b.get("/_calls").body, `{"jwks":2,"token":3}`; got != want {
		t.Errorf("calls: got %s, want %s", got, want)
	}
}

func TestControlEndpointIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"/_faults", "/_calls"} {
		if got := b.get(path).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, got)
		}
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	t.Parallel()
	good := devpool.Options{BaseURL: "http://localhost:8444", Clients: []devpool.Client{{ID: "a"}}}
	for want, change := range map[string]func(*devpool.Options){
		"base URL":              func(o *devpool.Options) { o.BaseURL = "localhost:8444" },
		"base URL: want":        func(o *devpool.Options) { o.BaseURL = "http://localhost/x" },
		"pool id":               func(o *devpool.Options) { o.PoolID = "../x" },
		"token life":            func(o *devpool.Options) { o.AccessTTL = -1 },
		"rotation grace":        func(o *devpool.Options) { o.RotateGrace = 2 * time.Minute },
		"clients: want":         func(o *devpool.Options) { o.Clients = nil },
		"clients[1]: want an":   func(o *devpool.Options) { o.Clients = append(o.Clients, o.Clients[0]) },
		"clients[0]: want abso": func(o *devpool.Options) { o.Clients = []devpool.Client{{ID: "a", CallbackURLs: []string{"/x"}}} },
		"users[0]":              func(o *devpool.Options) { o.Users = []devpool.User{{}} },
	} {
		o := good
		change(&o)
		if _, err := devpool.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error on %s", err, want)
		}
	}
}

// TestManyAtOnce signs in from many browsers while faults and keys change, for the race detector.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, _, conf := relyingParty(t, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			_ = b.SetFaults(devpool.Faults{WrongNonce: true, IDClaims: map[string]any{"x": 1}})
			b.PutUser(devpool.User{Username: "dave", Password: "dave"})
			b.Calls("token")
			_ = b.SetFaults(devpool.Faults{})
		}
	}()
	codes := make([]string, 30)
	for i := range codes {
		codes[i] = b.code("alice", query())
	}
	errs := make(chan error)
	for _, code := range codes {
		go func() {
			token, err := conf.Exchange(ctx, code)
			if err == nil {
				_, err = conf.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
			}
			errs <- err
		}()
	}
	for range codes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	<-done
}
