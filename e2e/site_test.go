package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A siteSpec is what differs between the sites of the tests.
type siteSpec struct {
	pool     []string // further flags of the pool
	login    string   // further lines of the login section, indented by two
	top      string   // further sections
	listen   string   // further addresses
	upstream string   // what the upstream u is; default a recording backend
	routes   string   // default: everything is for who is signed in, but /public/*
	args     []string // further arguments of run
	env      []string
	sockets  []string // beside https and admin
	host     string   // default appHost
}

// A site is a front door with its pool, its upstream and its file.
type site struct {
	*program
	t       *testing.T
	host    string
	base    string // https://HOST
	addr    string // where base is
	pool    *pool
	backend *backend // nil when the spec has an upstream
	file    string
	state   string // its state directory
	text    string // of the file
}

const defaultRoutes = `
  - {match: %[1]s/public/*, to: u, require: nothing, waf: off}
  - {match: %[1]s, to: u, require: signed-in, waf: off}
`

// startSite starts all of it and waits until it is ready.
func startSite(t *testing.T, spec siteSpec) *site {
	t.Helper()
	s := newSite(t, spec)
	s.pool = startPool(t, s.poolArgs(spec)...)
	s.write(s.fileText(spec, s.pool.login()))
	s.run(spec)
	return s
}

// startOpen starts a site where nobody signs in: without a pool.
func startOpen(t *testing.T, spec siteSpec) *site {
	t.Helper()
	s := newSite(t, spec)
	s.write(s.fileText(spec, ""))
	s.run(spec)
	return s
}

// newSite prepares a site of which nothing runs but the upstream.
func newSite(t *testing.T, spec siteSpec) *site {
	t.Helper()
	s := &site{t: t, host: cmp.Or(spec.host, appHost), state: t.TempDir()}
	s.base = "https://" + s.host
	if spec.upstream == "" {
		s.backend = startBackend(t)
	}
	s.file = writeFile(t, "gatehouse.yaml", "")
	return s
}

func (s *site) poolArgs(spec siteSpec) []string {
	return append([]string{
		"--callback=" + s.base + "/oauth2/idpresponse", "--logout=" + s.base + "/oauth2/signed_out",
	}, spec.pool...)
}

// fileText is the site's configuration with this login section.
func (s *site) fileText(spec siteSpec, login string) string {
	if login != "" {
		login = strings.TrimRight(login, "\n") + "\n" + spec.login
	}
	upstream := spec.upstream
	if upstream == "" {
		upstream = s.backend.url()
	}
	routes := cmp.Or(spec.routes, fmt.Sprintf(defaultRoutes, s.host))
	return fmt.Sprintf("listen: {https: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"%s}\ntls: {local: true}\n%s\n%s\nupstreams:\n  u: %s\nroutes:%s\n",
		spec.listen, login, spec.top, upstream, "\n"+strings.Trim(routes, "\n"))
}

func (s *site) write(text string) {
	s.t.Helper()
	s.text = text
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) run(spec siteSpec) {
	s.t.Helper()
	env := append([]string{"CLIENT_SECRET=" + clientSecret, "STATE_DIRECTORY=" + s.state}, spec.env...)
	s.program = launch(s.t, append([]string{"run", "-c", s.file}, spec.args...), env, append([]string{"https", "admin"}, spec.sockets...)...)
	s.addr = s.addrs["https"]
}

// browser is a new one, for this site.
func (s *site) browser() *browser {
	s.t.Helper()
	return newBrowser(s.t, s.addr, s.pool.url)
}

// signIn signs somebody in and returns their browser, which has had the page at path.
func (s *site) signIn(user, path string) *browser {
	s.t.Helper()
	b := s.browser()
	if resp, page := b.signIn(s.base+path, user); resp.StatusCode != http.StatusOK {
		s.t.Fatalf("sign in as %s: %s\n%s", user, resp.Status, page)
	}
	return b
}

// direct returns a client that goes to the address it is given, and follows no redirect.
func direct(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: ioTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// admin returns what the admin listener answers.
func (p *program) admin(path string) (status int, body string) {
	p.t.Helper()
	resp, err := direct(p.t).Get("http://" + p.addrs["admin"] + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// metric returns the value of one line of the metrics, "" when there is none.
func (p *program) metric(series string) string {
	p.t.Helper()
	_, text := p.admin("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// message waits for an event with this msg, after the first n.
func (p *program) message(msg string, n int) map[string]any {
	p.t.Helper()
	return p.event(func(e map[string]any) bool {
		if e["msg"] != msg {
			return false
		}
		n--
		return n < 0
	})
}

// messages counts the events with this msg so far.
func (p *program) messages(msg string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e["msg"] == msg {
			n++
		}
	}
	return n
}

// An echo is what startEcho's upstream saw of a request.
type echo struct {
	Path, Subject, Body string
	Header              http.Header
	Bytes               int64
}

// startEcho is an upstream that answers with what it saw.
func startEcho(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(serveEcho))
	t.Cleanup(s.Close)
	return s.URL
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Header.Set("Host", r.Host)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(echo{
		Path: r.URL.RequestURI(), Subject: r.Header.Get("X-Amzn-Oidc-Identity"), Header: r.Header, Bytes: n,
	})
}

func readEcho(t *testing.T, body string) (e echo) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("echo: %v\n%s", err, body)
	}
	return e
}

// An ended is a command that has ended.
type ended struct {
	code           int
	stdout, stderr string
}

// runToEnd runs the program with exactly these arguments and environment until it ends by itself.
func runToEnd(t *testing.T, dir string, env []string, args ...string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		return ended{exit.ExitCode(), stdout.String(), stderr.String()}
	}
	return ended{0, stdout.String(), stderr.String()}
}

// clients runs a test as an HTTP/1.1 and as an HTTP/2 client of the site. The connection pool of one
// is not that of the other, and neither follows redirects or keeps cookies.
func (s *site) clients(t *testing.T, test func(t *testing.T, c *http.Client)) {
	t.Helper()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) { test(t, newClient(t, s.addr, proto == "HTTP/2.0")) })
	}
}

// fetch is one request with these cookies; more are pairs of further header fields.
func fetch(t *testing.T, c *http.Client, address, cookies string, more ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cookies != "" {
		req.Header.Set("Cookie", cookies)
	}
	for i := 0; i+1 < len(more); i += 2 {
		req.Header.Set(more[i], more[i+1])
	}
	return send(t, c, req)
}

func send(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, body, err := roundTrip(c, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// roundTrip is send for goroutines, which may not end the test.
func roundTrip(c *http.Client, req *http.Request) (*http.Response, string, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// navigating are the header fields of a person opening a page.
func navigating() []string {
	return []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none"}
}

// until waits for an instant: some things happen in another process only because time has passed.
func until(t *testing.T, at time.Time) {
	t.Helper()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// selfSigned is a certificate of nobody's authority.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
