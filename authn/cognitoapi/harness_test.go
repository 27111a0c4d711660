package cognitoapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gatehouse/authn/cognitoapi"
	"gatehouse/authn/devpool"
)

const (
	poolID    = "eu-west-1_DevPool01"
	clientID  = "1example23456789"
	newSecret = "new-secret-of-the-app-client-0123456789"
	oldSecret = "old-secret-of-the-app-client-9876543210"
	keyID     = "AKIDEXAMPLE"
	keySecret = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
	viewerIP  = "203.0.113.7"
)

// A bench is a proxy in front of a pool.
type bench struct {
	pool  *devpool.Pool
	proxy *cognitoapi.Proxy

	mu   sync.Mutex
	errs []string // what OnError was told
}

// newBench starts a pool whose client has newSecret, and a proxy that change may configure otherwise.
func newBench(t *testing.T, change func(*cognitoapi.Config)) *bench {
	t.Helper()
	b := &bench{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.pool.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	var err error
	b.pool, err = devpool.New(devpool.Options{
		BaseURL: server.URL, PoolID: poolID, Clients: []devpool.Client{{ID: clientID, Secret: newSecret}},
		AdminKeys: map[string]string{keyID: keySecret},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.proxy = b.proxyTo(t, server.URL, change)
	return b
}

func (b *bench) proxyTo(t *testing.T, endpoint string, change func(*cognitoapi.Config)) *cognitoapi.Proxy {
	t.Helper()
	cfg := cognitoapi.Config{
		UserPool: poolID, Endpoint: endpoint, Clients: []cognitoapi.ClientConfig{{ID: clientID, Secret: newSecret}},
	}
	if change != nil {
		change(&cfg)
	}
	p, err := cognitoapi.New(cfg, cognitoapi.Options{OnError: func(_ context.Context, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errs = append(b.errs, err.Error())
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// told returns what OnError was told.
func (b *bench) told() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.errs, "\n")
}

// A reply is what a client gets.
type reply struct {
	status  int
	header  http.Header
	body    string
	members map[string]any
}

func (r reply) kind() string { return r.at("__type") }

// at returns a text inside the reply.
func (r reply) at(path ...string) string {
	var v any = r.members
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// request is a call as browsers make it.
func request(t *testing.T, operation, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://app.example.com/cognito", strings.NewReader(body))
	r.RemoteAddr = viewerIP + ":4711"
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
	r.Header.Set("User-Agent", "a browser")
	return r
}

func serve(t *testing.T, h http.Handler, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := reply{status: w.Code, header: w.Header(), body: w.Body.String()}
	if out.body != "" && json.Unmarshal([]byte(out.body), &out.members) != nil {
		t.Fatalf("answer: want JSON, got %q", out.body)
	}
	return out
}

func (b *bench) call(t *testing.T, operation, body string) reply {
	t.Helper()
	return serve(t, b.proxy, request(t, operation, body))
}

// want fails the test unless the reply is a success.
func (r reply) want(t *testing.T, status int, kind string) reply {
	t.Helper()
	if r.status != status || r.kind() != kind {
		t.Fatalf("got %d %q, want %d %q\n%s", r.status, r.kind(), status, kind, r.body)
	}
	return r
}

const signInAlice = `{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"` + clientID + `","AuthParameters":{"USERNAME":"alice","PASSWORD":"alice"}}`
