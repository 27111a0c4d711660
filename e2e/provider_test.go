package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reserveSocket takes a port on which nothing listens, so that connections are refused; listen opens it.
func reserveSocket(t *testing.T, name string) (s socket, listen func()) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s = socket{name: name, file: os.NewFile(uintptr(fd), name)}
	t.Cleanup(func() { s.file.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = "127.0.0.1:" + strconv.Itoa(at.(*syscall.SockaddrInet4).Port)
	return s, func() {
		if err := syscall.Listen(fd, 128); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartsBeforeItsProvider(t *testing.T) {
	t.Parallel()
	port, listen := reserveSocket(t, "pool")
	spec := siteSpec{upstream: startEcho(t)}
	s := newSite(t, spec)
	s.pool = &pool{url: "http://" + port.addr}
	s.write(s.fileText(spec, s.pool.login()))
	s.run(spec)
	issuer := s.pool.url + "/" + poolID

	line := s.message("provider not reached, sign-in answers 503 until it is", 0)
	if got, _ := line["error"].(string); line["issuer"] != issuer || !strings.Contains(got, "connection refused") {
		t.Errorf("event: got %v, want issuer %s and why", line, issuer)
	}
	if status, body := s.admin("/readyz"); status != http.StatusOK || !strings.Contains(body, issuer+" not reached yet") {
		t.Errorf("readyz: got %d %q, want 200 and a note", status, body)
	}
	s.clients(t, func(t *testing.T, c *http.Client) { s.testWithoutProvider(t, c) })

	listen()
	s.pool.program = launchOn(t, append([]string{"pool", "--client-secret", clientSecret, "--control"}, s.poolArgs(spec)...), nil, port)
	s.message("provider reached", 0)
	s.signIn("alice", "/")
	if got := s.messages("ready"); got != 1 {
		t.Errorf("starts: got %d, want 1", got)
	}
}

// testWithoutProvider checks what works and what does not while nobody can sign in.
func (s *site) testWithoutProvider(t *testing.T, c *http.Client) {
	t.Helper()
	if resp, body := fetch(t, c, s.base+"/public/x", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("public route: got %s, want 200\n%s", resp.Status, body)
	}
	resp, page := fetch(t, c, s.base+"/private", "", navigating()...)
	id := s.deniedID(t, resp, page, http.StatusServiceUnavailable)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("navigation: no Retry-After")
	}
	if resp.Header.Get("Set-Cookie") != "" {
		t.Error("navigation: a login was begun that cannot end")
	}
	event := s.eventWithID(id)
	if got, _ := event["denied"].(string); !strings.Contains(got, "provider") {
		t.Errorf("event: denied %q, want it to name the provider", got)
	}
	resp, body := fetch(t, c, s.base+"/private", "", "Sec-Fetch-Mode", "cors", "Accept", "application/json")
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusServiceUnavailable || !json.Valid([]byte(body)) {
		t.Errorf("script: got %s, want JSON with 401 or 503\n%s", resp.Status, body)
	}
}

// deniedID checks a refusal's status and returns its request id, which the client must see.
func (s *site) deniedID(t *testing.T, resp *http.Response, body string, want int) string {
	t.Helper()
	if resp.StatusCode != want {
		t.Fatalf("%s: got %s, want %d\n%s", resp.Request.URL.Path, resp.Status, want, body)
	}
	id := resp.Header.Get("X-Request-Id")
	if id == "" || !strings.Contains(body, id) {
		t.Fatalf("request id %q: want it in the header and in the page\n%s", id, body)
	}
	return id
}

// TestADiscoveryThatFails starts against a pool that is there and misbehaves.
func TestADiscoveryThatFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]string{
		"discovery answers 500":         `{"endpoints": {"discovery": {"status": 500}}}`,
		"discovery answers without end": `{"endpoints": {"discovery": {"huge": true}}}`,
		"discovery does not answer":     `{"endpoints": {"discovery": {"delay": "1h"}}}`,
		"keys answer 500":               `{"endpoints": {"jwks": {"status": 500}}}`,
		"keys answer without end":       `{"endpoints": {"jwks": {"huge": true}}}`,
		"keys are reset":                `{"endpoints": {"jwks": {"reset": true}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := siteSpec{upstream: startEcho(t)}
			s := newSite(t, spec)
			s.pool = startPool(t, s.poolArgs(spec)...)
			s.pool.faults(t, fault)
			s.write(s.fileText(spec, s.pool.login()))
			s.run(spec)
			s.message("provider not reached, sign-in answers 503 until it is", 0)
			s.testWithoutProvider(t, newClient(t, s.addr, true))
			s.pool.faults(t, `{}`)
			s.message("provider reached", 0)
			s.signIn("alice", "/")
		})
	}
}

// TestALoginThatTheProviderSpoils signs in while one endpoint of the pool misbehaves.
func TestALoginThatTheProviderSpoils(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	s.signIn("alice", "/")
	for _, tt := range []struct {
		name, faults string
		want         int
	}{
		{"token answers 500", `{"endpoints": {"token": {"status": 500}}}`, 503},
		{"token answers 429", `{"endpoints": {"token": {"status": 429}}}`, 503},
		{"token is reset", `{"endpoints": {"token": {"reset": true}}}`, 503},
		{"token answers without end", `{"endpoints": {"token": {"huge": true}}}`, 502},
		{"token does not answer", `{"endpoints": {"token": {"delay": "1h"}}}`, 503},
		{"userinfo answers 500", `{"endpoints": {"userinfo": {"status": 500}}}`, 502},
		{"userinfo answers without end", `{"endpoints": {"userinfo": {"huge": true}}}`, 500},
		{"userinfo does not answer", `{"endpoints": {"userinfo": {"delay": "1h"}}}`, 503},
		{"userinfo is of another", `{"userinfo": {"sub": "` + bobSub + `"}}`, 401},
		{"the code is refused", `{"invalid_grant": true}`, 401},
		{"the nonce is wrong", `{"wrong_nonce": true}`, 401},
		{"the key is unknown", `{"unknown_key": true}`, 401},
		{"the token has no signature", `{"alg_none": true}`, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.pool.faults(t, tt.faults)
			b := s.browser()
			started := time.Now()
			resp, page := b.signIn(s.base+"/", "alice")
			if took := time.Since(started); took > 15*time.Second { // one call has 5 s
				t.Errorf("took %v, want it bounded", took)
			}
			id := s.deniedID(t, resp, page, tt.want)
			if got := resp.Header.Get("Retry-After") != ""; got != (tt.want == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After: got %v, want it with 503 only", got)
			}
			if strings.Contains(b.cookies(s.base), sessionCookie) {
				t.Error("a session came of it")
			}
			if event := s.eventWithID(id); event["denied"] == nil || event["path"] != "/oauth2/idpresponse" {
				t.Errorf("event: got %v, want the callback and why it failed", event)
			}
		})
	}
	s.pool.faults(t, `{}`)
	s.signIn("alice", "/")
	s.testNothingLeaks(t)
}

// testNothingLeaks checks that no secret is in the program's output, and that the goroutines of what was
// abandoned end.
func (s *site) testNothingLeaks(t *testing.T) {
	t.Helper()
	if strings.Contains(s.output(), clientSecret) || strings.Contains(s.output(), "code=") {
		t.Error("the program's output holds a secret")
	}
	const most = 80 // listeners, pools, a few idle connections; each spoilt login would add two or more
	for deadline := time.Now().Add(ioTimeout); ; until(t, time.Now().Add(100*time.Millisecond)) {
		n, err := strconv.ParseFloat(s.metric("go_goroutines"), 64)
		if err == nil && n < most {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines: got %v (%v), want fewer than %d", n, err, most)
		}
	}
}
