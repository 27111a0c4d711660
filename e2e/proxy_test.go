package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// guardedRoutes has a route for each protocol, so that the one's requests are not counted for the other.
const guardedRoutes = `
  - {match: app.example.test/HTTP/1.1/limited, to: u, require: nothing, limit: one}
  - {match: app.example.test/HTTP/2.0/limited, to: u, require: nothing, limit: two}
  - {match: app.example.test/private/*, to: u, require: signed-in, limit: many}
  - {match: app.example.test/admin/*, to: u, require: {groups: [admins]}, limit: many, strip_prefix: /admin}
  - {match: app.example.test/few/*, to: u, require: signed-in, limit: few}
  - {match: app.example.test/no-ws, to: u, require: nothing, websocket: false}
`

const guardedLimits = `
limits:
  one: {rate: 2/1h}
  two: {rate: 2/1h}
  few: {rate: 3/1h}
  many: {rate: 600/1m}
`

func TestALimitAnswers429(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t), top: guardedLimits, routes: guardedRoutes})
	s.clients(t, func(t *testing.T, c *http.Client) {
		address := s.base + "/" + t.Name()[strings.Index(t.Name(), "/")+1:] + "/limited"
		for i := range 2 {
			if resp, body := fetch(t, c, address, ""); resp.StatusCode != http.StatusOK {
				t.Fatalf("request %d: got %s, want 200\n%s", i, resp.Status, body)
			}
		}
		resp, body := fetch(t, c, address, "")
		id := s.deniedID(t, resp, body, http.StatusTooManyRequests)
		if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 3600 {
			t.Errorf("Retry-After: got %q, want seconds until the next request", resp.Header.Get("Retry-After"))
		}
		event := s.eventWithID(id)
		if limit, _ := event["limit"].(map[string]any); limit["verdict"] != "block" || event["upstream"] != nil {
			t.Errorf("event: got %v, want the limit's block and no upstream", event)
		}
	})
}

// startSocketEcho is an upstream that sends every WebSocket message back.
func startSocketEcho(t *testing.T) string {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		hello := r.Header.Get("X-Amzn-Oidc-Identity") + " " + r.URL.Path
		if conn.Write(r.Context(), websocket.MessageText, []byte(hello)) != nil {
			return
		}
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				conn.Close(websocket.StatusCode(4001), "seen")
				return
			}
			if conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(up.Close)
	return up.URL
}

// dialSocket opens a WebSocket with these cookies; status is that of the handshake's answer.
func (s *site) dialSocket(ctx context.Context, c *http.Client, path, cookies string, origin string) (conn *websocket.Conn, resp *http.Response, err error) {
	header := http.Header{"Cookie": {cookies}}
	if origin != "" {
		header.Set("Origin", origin)
	}
	return websocket.Dial(ctx, "wss://"+s.host+path, &websocket.DialOptions{
		HTTPClient: c, HTTPHeader: header, Subprotocols: []string{"echo"},
	})
}

func TestWebSocketsPassEveryGuard(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startSocketEcho(t), top: guardedLimits, routes: guardedRoutes})
	ctx, cancel := context.WithTimeout(t.Context(), ioTimeout)
	defer cancel()
	c := newClient(t, s.addr, false)
	c.Timeout = 0 // it would end the connection
	b := s.browser()
	b.signIn(s.base+"/private/", "alice") // the upstream answers 426 to a page; the session is what counts
	alice := b.cookies(s.base)

	for _, tt := range []struct {
		name, path, cookies, origin string
		want                        int
	}{
		{"nobody", "/private/ws", "", s.base, 401},
		{"a page of another site", "/private/ws", alice, "https://evil.example", 403},
		{"somebody in no group", "/admin/ws", alice, s.base, 403},
		{"an attack", "/private/ws?q=%3Cscript%3Ealert(1)%3C/script%3E", alice, s.base, 403},
		{"a route without", "/no-ws", alice, s.base, http.StatusUpgradeRequired}, // the application sees a GET
		{"no route", "/elsewhere", alice, s.base, 404},
	} {
		_, resp, err := s.dialSocket(ctx, c, tt.path, tt.cookies, tt.origin)
		if err == nil || resp == nil || resp.StatusCode != tt.want {
			t.Errorf("%s: got %v (%v), want %d", tt.name, resp, err, tt.want)
		}
	}
	for i := range 4 {
		conn, resp, err := s.dialSocket(ctx, c, "/few/ws", alice, s.base)
		if i < 3 && err != nil || i == 3 && (resp == nil || resp.StatusCode != http.StatusTooManyRequests) {
			t.Errorf("connection %d over a limit of 3: %v", i, err)
		}
		if err == nil {
			conn.CloseNow()
		}
	}
	s.testSocket(ctx, t, c, alice)
}

// testSocket talks over a connection that passed, and closes it.
func (s *site) testSocket(ctx context.Context, t *testing.T, c *http.Client, alice string) {
	t.Helper()
	conn, resp, err := s.dialSocket(ctx, c, "/private/ws", alice, s.base)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	if conn.Subprotocol() != "echo" {
		t.Errorf("subprotocol: got %q, want echo", conn.Subprotocol())
	}
	if _, hello, err := conn.Read(ctx); err != nil || string(hello) != aliceSub+" /private/ws" {
		t.Errorf("the application saw %q (%v), want alice", hello, err)
	}
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		message := strings.Repeat("x", size)
		if err := conn.Write(ctx, websocket.MessageBinary, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != message {
			t.Fatalf("a message of %d bytes came back with %d (%v)", size, len(got), err)
		}
	}
	id := resp.Header.Get("X-Request-Id")
	if err := conn.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("closing handshake: %v", err)
	}
	event := s.event(func(e map[string]any) bool { return e["upgraded"] == true && e["id"] == id })
	if event["subject"] != aliceSub || event["status"] != 101.0 {
		t.Errorf("event: got %v, want alice and 101", event)
	}
}

func TestServerSentEventsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	next := make(chan chan struct{}, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Path != "/private/stream" {
			return
		}
		more := make(chan struct{})
		next <- more
		io.WriteString(w, "data: first\n\n")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, "data: second\n\n")
	}))
	t.Cleanup(up.Close)
	s := startSite(t, siteSpec{upstream: up.URL, top: guardedLimits, routes: guardedRoutes})
	cookies := s.signIn("alice", "/private/").cookies(s.base)
	s.clients(t, func(t *testing.T, c *http.Client) {
		if resp, _ := fetch(t, c, s.base+"/private/stream", "", "Accept", "text/event-stream", "Sec-Fetch-Mode", "cors"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("without a session: got %s, want 401", resp.Status)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/private/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookies)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		more := <-next
		first := make([]byte, len("data: first\n\n"))
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: first\n\n" {
			t.Errorf("while the application waits: got %q (%v), want the first event", first, err)
		}
		close(more)
		if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "data: second\n\n" {
			t.Errorf("then: got %q (%v), want the second event", rest, err)
		}
	})
}

func TestAnUpstreamOverAUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "u") // short: a socket's path is limited to 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "app.sock"))
	if err != nil {
		t.Fatal(err)
	}
	up := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(serveEcho)}} //nolint:gosec // a test's own
	up.Start()
	t.Cleanup(up.Close)
	s := startSite(t, siteSpec{upstream: "unix://" + ln.Addr().String()})
	s.clients(t, func(t *testing.T, c *http.Client) {
		resp, body := fetch(t, c, s.base+"/public/x?y=z", "")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("got %s, want 200\n%s", resp.Status, body)
		}
		if got := readEcho(t, body); got.Path != "/public/x?y=z" || got.Header.Get("Host") != s.host {
			t.Errorf("the application saw %s at %s, want /public/x?y=z at %s", got.Path, got.Header.Get("Host"), s.host)
		}
	})
}

func TestAnUpstreamOverHTTPSIsVerified(t *testing.T) {
	t.Parallel()
	up, other := httptest.NewTLSServer(http.HandlerFunc(serveEcho)), httptest.NewUnstartedServer(nil)
	t.Cleanup(up.Close)
	other.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	other.StartTLS()
	t.Cleanup(other.Close)
	ca := func(s *httptest.Server) string {
		return writeFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	}
	port := up.URL[strings.LastIndex(up.URL, ":"):]
	for _, tt := range []struct {
		name, upstream string
		want           int
	}{
		{"its own authority", "{endpoints: [\"" + up.URL + "\"], tls: {ca: " + ca(up) + ", server_name: example.com}}", 200},
		{"its address in the certificate", "{endpoints: [\"" + up.URL + "\"], tls: {ca: " + ca(up) + "}}", 200},
		{"another name", "{endpoints: [\"" + up.URL + "\"], tls: {ca: " + ca(up) + ", server_name: other.test}}", 502},
		{"a name it has not", "{endpoints: [\"https://localhost" + port + "\"], tls: {ca: " + ca(up) + "}}", 502},
		{"another authority", "{endpoints: [\"" + up.URL + "\"], tls: {ca: " + ca(other) + "}}", 502},
		{"the system's authorities", up.URL, 502},
		{"none, by the operator's will", "{endpoints: [\"" + up.URL + "\"], tls: {insecure_skip_verify: true}}", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, siteSpec{upstream: tt.upstream})
			resp, body := fetch(t, newClient(t, s.addr, true), s.base+"/public/x", "")
			if resp.StatusCode == http.StatusOK && tt.want == http.StatusOK {
				return
			}
			event := s.eventWithID(s.deniedID(t, resp, body, tt.want))
			if denied, _ := event["denied"].(string); !strings.Contains(denied, "tls_failed") || strings.Contains(body, "x509") {
				t.Errorf("event: denied %q, want tls_failed; the client sees\n%s", denied, body)
			}
		})
	}
}

func TestClaimsInPlainHeaders(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{
		upstream: startEcho(t),
		top:      `assertion: {claims: {email: X-Auth-Email, "cognito:groups": X-Auth-Groups, name: X-Auth-Name}}`,
		routes: `
  - {match: app.example.test/public/*, to: u, require: nothing}
  - {match: app.example.test, to: u, require: signed-in}
`,
	})
	forged := []string{
		"X-Auth-Email", "root@example.com", "X_auth_email", "root@example.com", "X-Auth-Groups", "admins", "X-Auth-Name", "Root",
		"X-Amzn-Oidc-Identity", bobSub, "X-Amzn-Oidc-Data", "e30.e30.", "X-Amzn-Oidc-Accesstoken", "e30",
	}
	for _, tt := range []struct{ user, email, groups, name string }{
		{"alice", "alice@example.com", "users", "Alice Archer"},
		{"bob", "bob@example.com", "users,admins", "Bob Builder"},
		{"carol", "", "", "Carol Courier"}, // in no group, and nobody has verified her address
	} {
		cookies := s.signIn(tt.user, "/").cookies(s.base)
		s.clients(t, func(t *testing.T, c *http.Client) {
			_, body := fetch(t, c, s.base+"/page", cookies, forged...)
			got := readEcho(t, body).Header
			for name, want := range map[string]string{"X-Auth-Email": tt.email, "X-Auth-Groups": tt.groups, "X-Auth-Name": tt.name} {
				if values := strings.Join(got[name], "|"); values != want {
					t.Errorf("%s of %s: got %q, want %q", name, tt.user, values, want)
				}
			}
			if _, ok := got["X_auth_email"]; ok || got.Get("X-Amzn-Oidc-Data") == "e30.e30." {
				t.Errorf("what the client forged arrived: %v", got)
			}
		})
	}
	s.clients(t, func(t *testing.T, c *http.Client) {
		_, body := fetch(t, c, s.base+"/public/page", "", forged...)
		for name := range readEcho(t, body).Header {
			if strings.HasPrefix(foldName(name), "x_auth") || strings.HasPrefix(foldName(name), "x_amzn_oidc") {
				t.Errorf("public route: what the client forged arrived: %s", name)
			}
		}
	})
}

func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	routes := `
  - {match: app.example.test/part/*, to: u, require: nothing, strip_prefix: /part}
  - {match: app.example.test, to: u, require: nothing}
`
	sent := []string{
		"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "evil.example",
		"X-Forwarded-Prefix", "/evil", "Forwarded", "for=192.0.2.7", "X-Forwarded-Port", "80", "X-Real-Ip", "192.0.2.7",
	}
	for _, tt := range []struct{ name, top, client, realIP, proto, port string }{
		{"no trusted proxy", "", "127.0.0.1", "", "https", ""},
		{"the peer is trusted", "trusted_proxies: [127.0.0.0/8]", "192.0.2.7", "192.0.2.7", "http", "80"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, siteSpec{upstream: startEcho(t), routes: routes + "  - {match: login.example.test, to: u, require: signed-in}\n", top: tt.top})
			s.clients(t, func(t *testing.T, c *http.Client) {
				resp, body := fetch(t, c, s.base+"/part/x", "", sent...)
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("got %s, want 200\n%s", resp.Status, body)
				}
				e := readEcho(t, body)
				if e.Path != "/x" {
					t.Errorf("path: got %s, want /x", e.Path)
				}
				_, port, _ := strings.Cut(s.addr, ":")
				for name, want := range map[string]string{
					"X-Forwarded-For": tt.client, "X-Forwarded-Proto": tt.proto, "X-Forwarded-Host": s.host,
					"X-Forwarded-Port": cmp.Or(tt.port, port), "X-Forwarded-Prefix": "/part", "Forwarded": "", "X-Real-Ip": tt.realIP, "Host": s.host,
				} {
					if got := strings.Join(e.Header[name], "|"); got != want {
						t.Errorf("%s: got %q, want %q", name, got, want)
					}
				}
				if event := s.eventWithID(resp.Header.Get("X-Request-Id")); event["client"] != tt.client {
					t.Errorf("event: client %v, want %s", event["client"], tt.client)
				}
			})
		})
	}
}

// TestALargeUploadIsStreamed sends 200 MB through routes whose WAF looks at a part of it, or at nothing.
func TestALargeUploadIsStreamed(t *testing.T) {
	t.Parallel()
	const size = 200 << 20
	// What matters is what is held, not what has not been collected yet.
	s := startSite(t, siteSpec{upstream: startEcho(t), env: []string{"GOGC=50"}, routes: `
  - {match: app.example.test/off, to: u, require: nothing, waf: off, max_body: 300MiB}
  - {match: app.example.test/partial, to: u, require: nothing, waf: {mode: block, body_limit: 64KiB, oversize: partial}, max_body: 300MiB}
  - {match: app.example.test/whole, to: u, require: nothing, waf: {mode: block, body_limit: 64KiB}, max_body: 300MiB}
  - {match: app.example.test/default, to: u, require: nothing, waf: off}
  - {match: login.example.test, to: u, require: signed-in}
`})
	s.clients(t, func(t *testing.T, c *http.Client) {
		c.Timeout = 0
		for _, tt := range []struct {
			path   string
			length int64 // announced; -1 is chunked, or nothing in HTTP/2
			want   int
		}{
			{"/off", size, 200},
			{"/partial", -1, 200},
			{"/whole", size, 413},
			{"/default", -1, 413},
		} {
			before := s.memory(t)
			resp, body := s.upload(t, c, tt.path, size, tt.length)
			if resp.StatusCode != tt.want {
				t.Errorf("%s, length %d: got %s, want %d\n%s", tt.path, tt.length, resp.Status, tt.want, body)
			} else if tt.want == http.StatusOK && readEcho(t, body).Bytes != size {
				t.Errorf("%s: %d bytes arrived, want %d", tt.path, readEcho(t, body).Bytes, size)
			}
			grown := s.memory(t) - before
			t.Logf("%s %s, length %d: the process grew by %d KiB", resp.Proto, tt.path, tt.length, grown>>10)
			if grown > 64<<20 {
				t.Errorf("%s: the process grew by %d MiB, want the upload streamed", tt.path, grown>>20)
			}
		}
	})
}

// upload sends size bytes; a refusal may come before they have all been taken.
func (s *site) upload(t *testing.T, c *http.Client, path string, size, length int64) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+path, io.LimitReader(letters{}, size))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", "application/octet-stream")
	return send(t, c, req)
}

// letters is an endless body that no rule has anything against.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// memory is the largest resident size of the program so far, in bytes.
func (p *program) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
