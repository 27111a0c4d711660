package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	// oidcSecret has what RFC 6749 section 2.3.1 wants encoded.
	oidcSecret = `e2e: secret +/%25&="of" an OpenID client ~ 0123456789`
	// apiAudience is the resource whose access tokens the API routes take.
	apiAudience = "https://api.example.com/orders"
)

// A provider is an OpenID provider that others wrote, in a process of its own.
type provider struct{ url string }

// startProvider starts one whose access tokens live for ttl seconds.
func startProvider(t *testing.T, ttl int) *provider {
	t.Helper()
	if _, err := os.Stat("testdata/provider/node_modules/oidc-provider"); err != nil {
		t.Fatalf("the provider is not installed (%v): run ./.ci/test, or npm ci --prefix e2e/testdata/provider --ignore-scripts", err)
	}
	spec, err := json.Marshal(map[string]any{
		"secret": oidcSecret, "accessTTL": ttl,
		"redirect": "https://" + appHost + "/oauth2/idpresponse", "signedOut": "https://" + appHost + "/oauth2/signed_out",
	})
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("node", "testdata/provider/provider.mjs", string(spec))
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("node, which ./.ci/test installs: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close() // which ends it
		err := cmd.Wait()
		if err != nil || t.Failed() {
			t.Logf("provider: %v\n%s", err, stderr.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider did not start: %v", err)
	}
	return &provider{strings.TrimSpace(line)}
}

// calls returns how often a path of the provider has been called.
func (p *provider) calls(t *testing.T, path string) int {
	t.Helper()
	return callsOf(t, p.url)[path]
}

// login is the login section of a configuration for this provider. It hands out refresh tokens only to
// who asks for offline_access and for consent (OpenID Connect Core 1.0 section 11).
func (p *provider) login(client string) string {
	return `
login:
  oidc:
    issuer: ` + p.url + `
    client_id: ` + client + `
    client_secret: ${env:CLIENT_SECRET}
    scopes: [openid, email, profile, roles, offline_access]
    extra_params: {prompt: consent}
  groups_claim: roles
`
}

const oidcRoutes = `
  - {match: ` + appHost + `/api/*, to: u, require: {token: {scopes: [orders.read]}}, waf: off}
  - {match: ` + appHost + `/admin/*, to: u, require: {groups: [admins]}, waf: off}
  - {match: ` + appHost + `, to: u, require: signed-in, waf: off}
`

// startOIDCSite starts a site whose people sign in at p as the client whose ID tokens have this algorithm.
func startOIDCSite(t *testing.T, p *provider, algorithm string) *site {
	t.Helper()
	spec := siteSpec{
		upstream: startEcho(t), routes: oidcRoutes, env: []string{"CLIENT_SECRET=" + oidcSecret},
		login:  "  tokens: {audience: [\"" + apiAudience + "\", \"" + apiAudience + "/es256\"]}\n",
		listen: `, keys: "127.0.0.1:0"`, sockets: []string{"keys"}, top: "assertion: {signer: \"" + edgeARN + "\"}",
	}
	s := newSite(t, spec)
	s.pool = &pool{url: p.url}
	s.write(s.fileText(spec, p.login("gatehouse-"+algorithm)))
	s.run(spec)
	s.message("provider reached", 0)
	return s
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"/>`)

// submit sends the form of a page, as it is but for these further fields, and returns where that leads.
func (b *browser) submit(resp *http.Response, page string, more url.Values) string {
	b.t.Helper()
	action := formAction.FindStringSubmatch(page)
	if action == nil {
		b.t.Fatalf("no form at %s (%s):\n%s", resp.Request.URL, resp.Status, page)
	}
	target, err := resp.Request.URL.Parse(html.UnescapeString(action[1]))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, field := range hiddenField.FindAllStringSubmatch(page, -1) {
		more.Set(field[1], html.UnescapeString(field[2]))
	}
	req, err := http.NewRequest(http.MethodPost, target.String(), strings.NewReader(more.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, page = b.do(req)
	next, err := resp.Location()
	if err != nil {
		b.t.Fatalf("form to %s: %s, want a redirect\n%s", target, resp.Status, page)
	}
	return next.String()
}

// travel opens address, fills in the forms of the provider as user, and goes on until it comes to a page
// of another host or to one whose address begins with stop.
func (p *provider) travel(b *browser, address, user, stop string) (*http.Response, string) {
	b.t.Helper()
	for range 20 {
		if stop != "" && strings.HasPrefix(address, stop) {
			return nil, address
		}
		resp, page := b.open(address)
		switch next, err := resp.Location(); {
		case err == nil:
			address = next.String()
		case resp.StatusCode == http.StatusOK && strings.HasPrefix(address, p.url+"/interaction/"):
			address = b.submit(resp, page, url.Values{"login": {user}, "password": {"any"}})
		default:
			return resp, page
		}
	}
	b.t.Fatal("more than twenty steps")
	return nil, ""
}

// signInAt signs somebody in at p and returns their browser and what the upstream saw of the page at path.
func (s *site) signInAt(p *provider, user, path string) (*browser, echo) {
	s.t.Helper()
	b := s.browser()
	resp, page := p.travel(b, s.base+path, user, "")
	if resp.StatusCode != http.StatusOK || resp.Request.URL.String() != s.base+path {
		s.t.Fatalf("sign in as %s: got to %s (%s)\n%s\n%s", user, resp.Request.URL, resp.Status, page, s.output())
	}
	return b, readEcho(s.t, page)
}

// TestAnotherProviderSignsWithAnyAlgorithm signs in at a provider that we did not write, with ID tokens
// signed in every way that it announces and we know.
func TestAnotherProviderSignsWithAnyAlgorithm(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	for _, algorithm := range []string{"RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			s := startOIDCSite(t, p, algorithm)
			_, seen := s.signInAt(p, "alice", "/reports/1?x=%20")
			if seen.Subject != "alice" || seen.Path != "/reports/1?x=%20" {
				t.Errorf("upstream: got %s of %s, want the page of alice that was asked for", seen.Path, seen.Subject)
			}
			token := seen.Header.Get("X-Amzn-Oidc-Data")
			claims := segment(t, token, 1)
			delete(claims, "exp")
			want := map[string]any{
				"sub": "alice", "email": "alice@example.com", "email_verified": true, "name": "alice",
				"preferred_username": "alice", "roles": []any{"users", "admins"}, "iss": p.url,
			}
			if diff := cmp.Diff(claims, want); diff != "" {
				t.Errorf("claims (-got +want):\n%s", diff)
			}
			v := verification{
				Token: token, Keys: "http://" + s.addrs["keys"], ALB: edgeARN, Issuer: p.url, Client: "gatehouse-" + algorithm,
			}
			if got := v.verify(t); !got.OK {
				t.Errorf("AWS's verifier: %s", got.Error)
			}
		})
	}
}

func TestGroupsOfAnotherProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	for user, want := range map[string]int{"alice": http.StatusOK, "bob": http.StatusForbidden, "carol": http.StatusForbidden} {
		b, _ := s.signInAt(p, user, "/")
		if resp, page := b.open(s.base + "/admin/x"); resp.StatusCode != want {
			t.Errorf("%s: got %s, want %d\n%s", user, resp.Status, want, page)
		}
	}
}

// TestRefreshAtAnotherProvider renews a session several times over. Each refresh token is good once: a
// second use would end the login.
func TestRefreshAtAnotherProvider(t *testing.T) {
	t.Parallel()
	const ttl = 4
	p := startProvider(t, ttl)
	s := startOIDCSite(t, p, "ES256")
	b, first := s.signInAt(p, "alice", "/")
	c := newClient(t, s.addr, true)
	for round := range 2 {
		until(t, time.Now().Add((ttl+1)*time.Second))
		before, calls := b.cookies(s.base), p.calls(t, "/token")
		for i, r := range parallel(20, ask(t, c, s.base+"/page", before)) {
			if r.err != nil || r.status != http.StatusOK || readEcho(t, r.body).Subject != "alice" {
				t.Errorf("round %d, request %d: got %d %v, want alice's page\n%s", round, i, r.status, r.err, r.body)
			}
		}
		resp, page := b.open(s.base + "/page")
		seen := readEcho(t, page)
		if resp.StatusCode != http.StatusOK || b.cookies(s.base) == before {
			t.Errorf("round %d: got %s, want 200 and a renewed session", round, resp.Status)
		}
		if seen.Header.Get("X-Amzn-Oidc-Accesstoken") == first.Header.Get("X-Amzn-Oidc-Accesstoken") {
			t.Errorf("round %d: the access token is the old one", round)
		}
		if got := p.calls(t, "/token") - calls; got != 1 {
			t.Errorf("round %d: calls to the token endpoint: got %d, want 1", round, got)
		}
		if resp, _ := b.open(s.base + "/admin/x"); resp.StatusCode != http.StatusOK {
			t.Errorf("round %d: a page for a group: got %s, want 200", round, resp.Status)
		}
	}
	if got := p.calls(t, "grant.error"); got != 0 {
		t.Errorf("grants that the provider refused: got %d, want none", got)
	}
}

func TestSignOutAtAnotherProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	b, _ := s.signInAt(p, "alice", "/")
	old := b.cookies(s.base)

	// The provider remembers its own session: alice agrees again, and is not asked who she is.
	resp, page := b.follow(s.base + "/oauth2/sign_in?rd=/again")
	if !strings.Contains(page, `name="prompt" value="consent"`) {
		t.Fatalf("second sign-in: got %s, want the provider's consent form\n%s", resp.Request.URL, page)
	}
	resp, page = p.travel(b, b.submit(resp, page, url.Values{}), "nobody", "")
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "alice" {
		t.Fatalf("second sign-in: got %s, want alice's page\n%s", resp.Status, page)
	}
	current := b.cookies(s.base)

	resp, page = b.open(s.base + "/oauth2/sign_out")
	to := mustURL(t, resp.Header.Get("Location"))
	if got := to.Scheme + "://" + to.Host + to.Path; resp.StatusCode != http.StatusFound || got != p.url+"/session/end" {
		t.Fatalf("sign-out: got %s to %q, want 302 to end_session_endpoint\n%s", resp.Status, got, page)
	}
	if got := segment(t, to.Query().Get("id_token_hint"), 1)["sub"]; got != "alice" {
		t.Errorf("id_token_hint: got sub %v, want alice", got)
	}
	if got := p.calls(t, "/token/revocation"); got < 1 {
		t.Error("the refresh token was not revoked")
	}
	resp, page = b.follow(to.String())
	resp, page = b.follow(b.submit(resp, page, url.Values{"logout": {"yes"}}))
	at := resp.Request.URL
	if at.Scheme+"://"+at.Host+at.Path != s.base+"/oauth2/signed_out" || resp.StatusCode != http.StatusOK ||
		at.Query().Get("state") != to.Query().Get("state") || !strings.Contains(page, "and the one at the sign-in service have ended") {
		t.Errorf("after sign-out: got %s at %s, want the page of ours with the state that was sent\n%s", resp.Status, at, page)
	}
	s.clients(t, func(t *testing.T, c *http.Client) {
		s.testSignedOut(t, c, old)
		s.testSignedOut(t, c, current)
	})
	resp, page = b.follow(s.base + "/")
	if !strings.Contains(page, `name="prompt" value="login"`) {
		t.Errorf("opening a page: got %s of %s, want the provider's login form\n%s", resp.Status, resp.Request.URL, page)
	}
}

// TestBearerTokensOfAnotherProvider takes access tokens as RFC 9068 has them.
func TestBearerTokensOfAnotherProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	_, seen := s.signInAt(p, "alice", "/")
	person := p.codeFlow(t, s.browser(), "alice", apiAudience)
	for _, tt := range []struct {
		name, token string
		status      int
		subject     string
	}{
		{"a machine's", p.machine(t, apiAudience, "orders.read"), 200, "machine"},
		{"a machine's, signed with ES256", p.machine(t, apiAudience+"/es256", "orders.read"), 200, "machine"},
		{"a person's", person["access_token"], 200, "alice"},
		{"without the scope", p.machine(t, apiAudience, ""), 403, ""},
		{"for another audience", p.machine(t, "https://other.example.com/orders", "orders.read"), 401, ""},
		{"for a longer audience", p.machine(t, apiAudience+"/x", "orders.read"), 401, ""},
		{"for nobody in particular", p.machine(t, "", ""), 401, ""},
		{"that of a login", seen.Header.Get("X-Amzn-Oidc-Accesstoken"), 401, ""},
		{"an ID token", person["id_token"], 401, ""},
		{"none", "", 401, ""},
	} {
		s.clients(t, func(t *testing.T, c *http.Client) {
			more := []string{"Authorization", "Bearer " + tt.token}
			if tt.token == "" {
				if tt.name != "none" {
					t.Fatalf("%s: there is no token", tt.name)
				}
				more = nil
			}
			resp, body := fetch(t, c, s.base+"/api/orders", "", more...)
			if resp.StatusCode != tt.status {
				t.Errorf("%s: got %s, want %d\n%s", tt.name, resp.Status, tt.status, body)
			}
			if tt.subject != "" && readEcho(t, body).Subject != tt.subject {
				t.Errorf("%s: got the page of %s, want that of %s", tt.name, readEcho(t, body).Subject, tt.subject)
			}
			if challenge := resp.Header.Get("WWW-Authenticate"); (tt.status == 200) == strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("%s: challenge %q", tt.name, challenge)
			}
		})
	}
}

// token asks the token endpoint as client.
func (p *provider) token(t *testing.T, client string, form url.Values) map[string]string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(oidcSecret))
	resp, body := send(t, direct(t), req)
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("token endpoint: %s %v\n%s", resp.Status, err, body)
	}
	tokens := map[string]string{}
	for name, value := range answer {
		tokens[name] = fmt.Sprint(value)
	}
	return tokens
}

// machine is an access token of client credentials; without a resource it is opaque.
func (p *provider) machine(t *testing.T, resource, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if resource != "" {
		form.Set("resource", resource)
	}
	if scope != "" {
		form.Set("scope", scope)
	}
	return p.token(t, "machine", form)["access_token"]
}

// codeFlow is what another application of the same client gets that signs user in to use resource.
func (p *provider) codeFlow(t *testing.T, b *browser, user, resource string) map[string]string {
	t.Helper()
	const verifier = "a-verifier-of-no-less-than-forty-three-characters"
	const client, redirect = "gatehouse-RS256", "https://" + appHost + "/oauth2/idpresponse"
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {client}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid orders.read"},
		"resource": {resource}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	_, back := p.travel(b, p.url+"/auth?"+query.Encode(), user, redirect)
	code := mustURL(t, back).Query().Get("code")
	return p.token(t, client, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
		"resource": {resource},
	})
}
