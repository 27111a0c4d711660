package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	clientID     = "1example23456789"
	clientSecret = "e2e-secret-of-the-app-client-0123456789abcdef"
	poolID       = "eu-west-1_DevPool01"
)

// A pool is the development user pool in a process of its own.
type pool struct {
	*program
	url string
}

func startPool(t *testing.T, args ...string) *pool {
	t.Helper()
	p := launch(t, append([]string{"pool", "--client-secret", clientSecret, "--control"}, args...), nil, "pool")
	return &pool{p, "http://" + p.addrs["pool"]}
}

// calls returns how often an endpoint of the pool has been called.
func (p *pool) calls(t *testing.T, endpoint string) int {
	t.Helper()
	return callsOf(t, p.url)[endpoint]
}

// callsOf asks a provider of the tests how often each of its endpoints has been called.
func callsOf(t *testing.T, base string) map[string]int {
	t.Helper()
	resp, err := direct(t).Get(base + "/_calls")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var calls map[string]int
	if err := json.NewDecoder(resp.Body).Decode(&calls); err != nil {
		t.Fatal(err)
	}
	return calls
}

// faults makes the pool misbehave as the JSON says.
func (p *pool) faults(t *testing.T, faults string) {
	t.Helper()
	resp, err := direct(t).Post(p.url+"/_faults", "application/json", strings.NewReader(faults))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("faults %s: %s", faults, resp.Status)
	}
}

// login is the login section of a configuration for this pool.
func (p *pool) login() string {
	return `
login:
  cognito:
    region: eu-west-1
    user_pool: ` + poolID + `
    domain: ` + p.url + `
    endpoint: ` + p.url + `
    client_id: ` + clientID + `
    client_secret: ${env:CLIENT_SECRET}
`
}

// A browser is an HTTP client with cookies that sends what a browser sends when a person opens a page.
// Every host is at addr but those of providers.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T, addr string, providers ...string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if !slices.Contains(providers, "http://"+to) {
				to = addr
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// open sends one navigation and returns its answer without following it.
func (b *browser) open(address string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

func (b *browser) do(req *http.Request) (*http.Response, string) {
	b.t.Helper()
	for name, value := range map[string]string{
		"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "en", "User-Agent": "Mozilla/5.0 (e2e)",
		"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none",
	} {
		if req.Header.Get(name) == "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(body)
}

// follow opens address and goes where it is sent until an answer is no redirect.
func (b *browser) follow(address string) (*http.Response, string) {
	b.t.Helper()
	for range 10 {
		resp, body := b.open(address)
		if resp.StatusCode/100 != 3 {
			return resp, body
		}
		next, err := resp.Location()
		if err != nil {
			b.t.Fatal(err)
		}
		address = next.String()
	}
	b.t.Fatal("more than ten redirects")
	return nil, ""
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	csrfField  = regexp.MustCompile(`name="_csrf" value="([^"]+)"`)
)

// signIn opens a page that needs a login, signs in at the pool and returns the page.
func (b *browser) signIn(address, user string) (*http.Response, string) {
	b.t.Helper()
	resp, page := b.follow(address)
	action, csrf := formAction.FindStringSubmatch(page), csrfField.FindStringSubmatch(page)
	if action == nil || csrf == nil {
		b.t.Fatalf("no login form at %s (%s):\n%s", resp.Request.URL, resp.Status, page)
	}
	target, err := resp.Request.URL.Parse(strings.ReplaceAll(action[1], "&amp;", "&"))
	if err != nil {
		b.t.Fatal(err)
	}
	form := url.Values{"username": {user}, "password": {user}, "_csrf": {csrf[1]}}
	req, err := http.NewRequest(http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, page = b.do(req)
	if resp.StatusCode/100 != 3 {
		b.t.Fatalf("login as %s: %s\n%s", user, resp.Status, page)
	}
	next, err := resp.Location()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.follow(next.String())
}

// cookies is the Cookie header that the browser would send to address.
func (b *browser) cookies(address string) string {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	var parts []string
	for _, c := range b.client.Jar.Cookies(u) {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}
