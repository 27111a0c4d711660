package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"gatehouse/authn/devpool"
	"gatehouse/configs"
	"gatehouse/proxy"
)

// A testDoor is a front door in the test's own process.
type testDoor struct {
	*process
	at   addresses
	text atomic.Pointer[string] // of the file
}

// startDoor starts a front door with a file of listen and the lines of rest.
func startDoor(t *testing.T, listen, rest string) *testDoor {
	t.Helper()
	p := &testDoor{}
	dir := t.TempDir()
	p.write(dir, listen, rest)
	load := func() (*configs.Config, error) {
		fsys := fstest.MapFS{"gatehouse.yaml": {Data: []byte(*p.text.Load())}}
		return configs.Load(fsys, "gatehouse.yaml", configs.LoadOptions{})
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	p.process = newProcess(&environment{stdout: io.Discard, stderr: io.Discard, getenv: os.LookupEnv}, processOptions{
		load: load, sockets: &sockets{}, ready: func(at addresses) { p.at = at },
	})
	p.cfg = cfg
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *testDoor) write(stateDir, listen, rest string) {
	text := fmt.Sprintf("listen: {https: \"127.0.0.1:0\", %s}\ntls: {local: true}\nstate_dir: %s\nwaf: off\ndrain: 1s\n"+
		"upstreams: {app: \"http://127.0.0.1:9\"}\nroutes:\n  - {match: localhost, to: app, require: nothing}\n%s", listen, stateDir, rest)
	p.text.Store(&text)
}

// stopped ends the process with the test.
func (p *testDoor) stopped(t *testing.T) *testDoor {
	t.Helper()
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return p
}

func TestTheAdminListenerWantsItsToken(t *testing.T) {
	t.Parallel()
	const first, second = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	p := startDoor(t, `admin: "127.0.0.1:0", admin_token: `+first, "").stopped(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(authorization string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.at.Admin.String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "localhost" // which anybody who reaches the listener can say
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Authorization %q: got %s, want %d", authorization, resp.Status, want)
		}
	}
	ask("", http.StatusForbidden)
	ask("Bearer "+first, http.StatusOK)
	ask("Bearer "+second, http.StatusForbidden)
	p.write(p.cfg.StateDir, `admin: "127.0.0.1:0", admin_token: `+second, "")
	p.reload(t.Context())
	ask("Bearer "+first, http.StatusForbidden)
	ask("Bearer "+second, http.StatusOK)

	health := func(token string) error {
		c := &healthCommand{adminAccess: adminAccess{Admin: p.at.Admin.String(), Token: token}}
		return c.Run(t.Context(), &environment{stdout: io.Discard})
	}
	if err := health(second); err != nil {
		t.Errorf("health with the token: %v", err)
	}
	if err := health(""); err == nil {
		t.Error("health without the token: got no error")
	}
}

// What comes on port 80 and is no request is told apart from a request for an unknown host.
func TestMalformedRequestsOnPort80(t *testing.T) {
	t.Parallel()
	p := startDoor(t, `http: "127.0.0.1:0", admin: "off"`, "").stopped(t)
	for request, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n":                                            http.StatusMovedPermanently,
		"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n":                                           http.StatusMisdirectedRequest,
		"GET / HTTP/1.1\nHost: localhost\n\n":                                                  http.StatusBadRequest,
		"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n":                                            http.StatusHTTPVersionNotSupported,
		"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": http.StatusBadRequest,
	} {
		conn, err := net.Dial("tcp", p.at.HTTP.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		resp.Body.Close()
		conn.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: got %s, want %d", request, resp.Status, want)
		}
	}
}

// A handler that never returns holds its generation for ever, and must not hold the process.
func TestStopEndsAlthoughAGenerationDoesNot(t *testing.T) {
	t.Parallel()
	p := startDoor(t, `admin: "off"`, "")
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	stuck, err := proxy.NewGeneration("stuck", []proxy.Route{{
		Name: "stuck", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release }),
	}}, proxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.activate(t.Context(), &assembled{generation: stuck, parts: newParts()})
	go func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		req.RequestURI, req.Host = "/", "localhost"
		p.gateway.ServeHTTP(discardWriter{}, req)
	}()
	<-entered
	p.reload(t.Context())
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A login that changes is ready when it begins to serve: nobody is answered 503 meanwhile.
func TestAReloadReachesANewProviderFirst(t *testing.T) {
	t.Parallel()
	var pool *devpool.Pool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pool.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	var err error
	if pool, err = devpool.New(devpool.Options{
		BaseURL: server.URL, PoolID: "eu-west-1_DevPool01", InsecureAnyLocalhost: true,
		Clients: []devpool.Client{{ID: devClientID, Secret: devSecret}},
	}); err != nil {
		t.Fatal(err)
	}
	p := startDoor(t, `admin: "off"`, "").stopped(t)
	p.write(p.cfg.StateDir, `admin: "off"`, fmt.Sprintf("login: {cognito: {user_pool: eu-west-1_DevPool01, domain: %[1]q, "+
		"endpoint: %[1]q, client_id: %[2]s, client_secret: %[3]s}}\n", server.URL, devClientID, devSecret))
	p.reload(t.Context())
	if len(p.current.parts.providers) != 1 {
		t.Fatalf("%d providers, want 1", len(p.current.parts.providers))
	}
	for _, provider := range p.current.parts.providers {
		if !provider.value.Ready() {
			t.Error("the provider was not reached before the new configuration serves")
		}
	}
}

// A discardWriter takes an answer for nobody.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return http.Header{} }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}
