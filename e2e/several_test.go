package e2e

import (
	"fmt"
	"html"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// staffHost is for one of the providers only.
const staffHost = "staff.example.test"

// A pair is a site with two providers: the staff's is a user pool, and the partners' one that others wrote.
type pair struct {
	*site
	partners *provider
}

const pairRoutes = `
  - {match: [` + appHost + `/staff/*, ` + staffHost + `/any/*], to: u, require: signed-in, waf: off}
  - {match: ` + appHost + `/partners/*, to: u, require: {provider: partners}, waf: off}
  - {match: ` + appHost + `/pay/*, to: u, require: {provider: partners, max_age: 15m}, waf: off}
  - {match: ` + appHost + `/vault/*, to: u, require: {provider: partners, acr: [urn:example:gold]}, waf: off}
  - {match: ` + appHost + `, to: u, require: {provider: [staff, partners]}, waf: off}
`

// pairLogin is the login section of both; without partners it is that of the staff alone.
func pairLogin(poolURL, partners string) string {
	text := `
secret: a-secret-of-the-tests-of-two-providers-0123456789
login:
  providers:
    staff:
      title: Our staff
      hosts: [` + staffHost + `, ` + appHost + `]
      cognito:
        user_pool: ` + poolID + `
        domain: ` + poolURL + `
        endpoint: ` + poolURL + `
        client_id: ` + clientID + `
        client_secret: ${env:CLIENT_SECRET}
        identity_provider: COGNITO
`
	if partners == "" {
		return text
	}
	return text + `
    partners:
      title: Partner companies
      oidc:
        issuer: ` + partners + `
        client_id: gatehouse-ES256
        client_secret: ${env:OIDC_SECRET}
        scopes: [openid, email, profile, roles, offline_access]
        extra_params: {prompt: consent}
      groups_claim: roles
`
}

func startPair(t *testing.T) *pair {
	t.Helper()
	spec := pairSpec(t)
	s := newSite(t, spec)
	s.pool = startPool(t, append(s.poolArgs(spec), "--callback=https://"+staffHost+"/oauth2/idpresponse", "--logout=https://"+staffHost+"/oauth2/signed_out")...)
	p := &pair{s, startProvider(t, 600)}
	s.write(s.fileText(spec, pairLogin(s.pool.url, p.partners.url)))
	s.run(spec)
	return p
}

func pairSpec(t *testing.T) siteSpec {
	return siteSpec{upstream: startEcho(t), routes: pairRoutes, env: []string{"OIDC_SECRET=" + oidcSecret}}
}

func (p *pair) browser() *browser {
	p.t.Helper()
	return newBrowser(p.t, p.addr, p.pool.url, p.partners.url)
}

// asPaula signs in with the partners' provider and returns what the upstream saw.
func (p *pair) asPaula(b *browser, path string) (*http.Response, string) {
	p.t.Helper()
	return p.partners.travel(b, p.base+path, "paula", "")
}

var buttonLink = regexp.MustCompile(`<a class="button" href="([^"]*)">([^<]*)</a>`)

// buttons are the links of a page of ours, by what they say.
func buttons(page string) map[string]string {
	found := map[string]string{}
	for _, m := range buttonLink.FindAllStringSubmatch(page, -1) {
		found[html.UnescapeString(m[2])] = html.UnescapeString(m[1])
	}
	return found
}

func TestTwoProviders(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	t.Run("people choose", p.testChoice)
	t.Run("a host chooses", p.testHost)
	t.Run("a route of the other", p.testOther)
	t.Run("codes are not mixed up", p.testMixUp)
	t.Run("a route asks for a recent sign-in", p.testMaxAge)
	t.Run("a route asks for what the provider does not confirm", p.testVault)
	t.Run("one is taken away", p.testTakenAway)
}

func (p *pair) testChoice(t *testing.T) {
	b := p.browser()
	resp, page := b.follow(p.base + "/app/x?y=1")
	choices := buttons(page)
	if resp.StatusCode != http.StatusOK || len(choices) != 2 {
		t.Fatalf("got %s with %v, want two choices\n%s", resp.Status, choices, page)
	}
	resp, page = b.signIn(p.base+choices["Our staff"], "alice")
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Path != "/app/x?y=1" {
		t.Fatalf("staff: got %s at %s", resp.Status, resp.Request.URL)
	}
	data := readEcho(t, page).Header.Get("X-Amzn-Oidc-Data")
	if got := segment(t, data, 0); got["client"] != clientID || got["iss"] != p.pool.url+"/"+poolID {
		t.Errorf("staff: assertion of client %v and issuer %v", got["client"], got["iss"])
	}
	b = p.browser()
	resp, page = p.asPaula(b, choices["Partner companies"])
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "paula" || readEcho(t, page).Path != "/app/x?y=1" {
		t.Fatalf("partners: got %s at %s\n%s", resp.Status, resp.Request.URL, page)
	}
	data = readEcho(t, page).Header.Get("X-Amzn-Oidc-Data")
	if got := segment(t, data, 0); got["client"] != "gatehouse-ES256" || got["iss"] != p.partners.url {
		t.Errorf("partners: assertion of client %v and issuer %v", got["client"], got["iss"])
	}
	if resp, _ := b.open(p.base + "/oauth2/sign_out"); !strings.HasPrefix(resp.Header.Get("Location"), p.partners.url+"/session/end?") {
		t.Errorf("partners: signed out to %s", resp.Header.Get("Location"))
	}
}

func (p *pair) testHost(t *testing.T) {
	for _, address := range []string{"https://" + staffHost + "/any/x", p.base + "/staff/x"} {
		resp, page := p.browser().open(address)
		if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || !strings.HasPrefix(to, p.pool.url+"/oauth2/authorize?") ||
			!strings.Contains(to, "identity_provider=COGNITO") {
			t.Errorf("%s: got %s to %q, want straight to the pool\n%s", address, resp.Status, to, page)
		}
	}
	b := p.browser()
	if resp, page := b.signIn("https://"+staffHost+"/any/x", "alice"); resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s\n%s", resp.Status, page)
	}
	if resp, _ := b.open("https://" + staffHost + "/oauth2/sign_out"); !strings.HasPrefix(resp.Header.Get("Location"), p.pool.url+"/logout?") {
		t.Errorf("signed out to %s", resp.Header.Get("Location"))
	}
}

func (p *pair) testOther(t *testing.T) {
	b := p.browser()
	b.signIn(p.base+"/staff/x", "alice")
	resp, page := b.open(p.base + "/partners/x")
	id := p.deniedID(t, resp, page, http.StatusForbidden)
	if !strings.Contains(page, "alice@example.com") || !strings.Contains(page, "Our staff") {
		t.Errorf("the page names neither the account nor its provider:\n%s", page)
	}
	if denied, _ := p.eventWithID(id)["denied"].(string); !strings.Contains(denied, "AuthOtherProvider") {
		t.Errorf("event: denied %q", denied)
	}
	offer := regexp.MustCompile(`href="(/oauth2/sign_in\?[^"]*)"`).FindStringSubmatch(page)
	if offer == nil {
		t.Fatalf("no way to the right provider:\n%s", page)
	}
	old := b.cookies(p.base)
	resp, page = p.asPaula(b, html.UnescapeString(offer[1]))
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "paula" || readEcho(t, page).Path != "/partners/x" {
		t.Errorf("after the offer: got %s at %s\n%s", resp.Status, resp.Request.URL, page)
	}
	p.clients(t, func(t *testing.T, c *http.Client) {
		if resp, body := fetch(t, c, p.base+"/staff/x", old, "Sec-Fetch-Mode", "cors"); resp.StatusCode != http.StatusUnauthorized ||
			!strings.Contains(body, `"login_url":"/oauth2/sign_in?`) {
			t.Errorf("the session from before: got %s, want 401 and where to sign in\n%s", resp.Status, body)
		}
	})
}

// testMixUp delivers the code of each with the state of the other.
func (p *pair) testMixUp(t *testing.T) {
	callback := p.base + "/oauth2/idpresponse"
	b := p.browser()
	p.partners.travel(b, p.base+"/partners/x", "paula", callback) // signs in at the provider
	_, answer := p.partners.travel(b, p.base+"/partners/x", "paula", callback)
	theirs := mustURL(t, answer).Query()
	if theirs.Get("code") == "" || theirs.Get("iss") != p.partners.url {
		t.Fatalf("code %q, iss %q", theirs.Get("code"), theirs.Get("iss"))
	}
	calls := p.pool.calls(t, "token")
	for _, iss := range []string{"&iss=" + p.partners.url, ""} {
		resp, _ := b.open(p.base + "/staff/x")
		ours := mustURL(t, resp.Header.Get("Location")).Query().Get("state")
		resp, page := b.open(fmt.Sprintf("%s?code=%s&state=%s%s", callback, theirs.Get("code"), ours, iss))
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("their code with our state, iss %q: got %s, want 401\n%s", iss, resp.Status, page)
		}
		want := calls
		if iss == "" { // nothing told the two apart, and the code was worth nothing where the state led
			want++
		}
		if got := p.pool.calls(t, "token"); got != want {
			t.Errorf("iss %q: the pool's token endpoint was called %d times, want %d", iss, got-calls, want-calls)
		}
	}
	// Whose code it is still gets in: nothing of theirs has been spent at another.
	if resp, page := b.follow(answer); resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "paula" {
		t.Errorf("the code where it belongs: got %s\n%s", resp.Status, page)
	}
}

// testMaxAge: the provider says auth_time to those who send max_age, and not otherwise.
func (p *pair) testMaxAge(t *testing.T) {
	b := p.browser()
	p.asPaula(b, "/partners/x")
	before := b.cookies(p.base)
	resp, _ := b.open(p.base + "/pay/x")
	if q := mustURL(t, resp.Header.Get("Location")).Query(); resp.StatusCode != http.StatusFound || q.Get("max_age") != "900" {
		t.Fatalf("got %s to %s, want a login with max_age", resp.Status, resp.Header.Get("Location"))
	}
	resp, page := p.asPaula(b, "/pay/x")
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Path != "/pay/x" || b.cookies(p.base) == before {
		t.Fatalf("got %s at %s, want the page with another session\n%s", resp.Status, resp.Request.URL, page)
	}
	if resp, page := b.open(p.base + "/pay/y"); resp.StatusCode != http.StatusOK {
		t.Errorf("the next page: got %s\n%s", resp.Status, page)
	}
}

func (p *pair) testVault(t *testing.T) {
	b := p.browser()
	p.asPaula(b, "/partners/x")
	resp, page := p.asPaula(b, "/vault/x")
	if resp.StatusCode != http.StatusForbidden || !strings.HasPrefix(resp.Request.URL.String(), p.base+"/oauth2/idpresponse?") ||
		!strings.Contains(page, "AuthStepUpRequired") {
		t.Errorf("got %s at %s, want a page that says so\n%s", resp.Status, resp.Request.URL, page)
	}
	if resp, _ := b.open(p.base + "/partners/x"); resp.StatusCode != http.StatusOK {
		t.Errorf("the session from before: got %s, want it to go on", resp.Status)
	}
	resp, body := fetch(t, newClient(t, p.addr, true), p.base+"/vault/x", b.cookies(p.base), "Sec-Fetch-Mode", "cors")
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `"insufficient_user_authentication"`) ||
		!strings.Contains(body, "acr_values=urn%3Aexample%3Agold") {
		t.Errorf("script: got %s, want 401 and where to sign in\n%s", resp.Status, body)
	}
}

// testTakenAway is the last: the site has one provider from then on.
func (p *pair) testTakenAway(t *testing.T) {
	staff, paula := p.browser(), p.browser()
	staff.signIn(p.base+"/staff/x", "alice")
	p.asPaula(paula, "/partners/x")
	routes := "\n  - {match: [" + appHost + ", " + staffHost + "/any/*], to: u, require: signed-in, waf: off}\n"
	spec := pairSpec(t)
	spec.routes = routes
	p.write(p.fileText(spec, pairLogin(p.pool.url, "")))
	p.reload(t, reloaded)
	resp, page := paula.open(p.base + "/partners/x")
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || !strings.HasPrefix(to, p.pool.url+"/") {
		t.Errorf("the session of one that is gone: got %s to %q, want a login\n%s", resp.Status, to, page)
	}
	if got := paula.cookies(p.base); strings.Contains(got, "gatehouse-0=") {
		t.Errorf("its cookies are still there: %s", got)
	}
	if resp, page := staff.open(p.base + "/app/y"); resp.StatusCode != http.StatusOK {
		t.Errorf("a session of the other: got %s, want 200\n%s", resp.Status, page)
	}
}

// TestOneOfTwoProvidersIsDown starts while nobody can reach the partners' provider.
func TestOneOfTwoProvidersIsDown(t *testing.T) {
	t.Parallel()
	port, _ := reserveSocket(t, "partners")
	spec := pairSpec(t)
	s := newSite(t, spec)
	s.pool = startPool(t, s.poolArgs(spec)...)
	s.write(s.fileText(spec, pairLogin(s.pool.url, "http://"+port.addr)))
	s.run(spec)
	if line := s.message("provider reached", 0); line["issuer"] != s.pool.url+"/"+poolID {
		t.Errorf("reached %v", line["issuer"])
	}
	s.signIn("alice", "/staff/x")
	resp, page := s.browser().open(s.base + "/partners/x")
	s.deniedID(t, resp, page, http.StatusServiceUnavailable)
}

// TestChooserInABrowser is what a person sees of two providers.
func TestChooserInABrowser(t *testing.T) {
	t.Parallel()
	front := openSocket(t, "https")
	_, port, _ := strings.Cut(front.addr, ":")
	base := "https://localhost:" + port
	spec := siteSpec{upstream: startEcho(t), host: "localhost:" + port, routes: `
  - {match: localhost/partners/*, to: u, require: {provider: partners}, waf: off}
  - {match: localhost, to: u, require: signed-in, waf: off}
`}
	s := newSite(t, spec)
	s.pool = startPool(t, s.poolArgs(spec)...)
	partners := startProvider(t, 600)
	s.write(s.fileText(spec, strings.ReplaceAll(pairLogin(s.pool.url, partners.url), "hosts: ["+staffHost+", "+appHost+"]", "hosts: []")))
	s.program = launchOn(t, []string{"run", "-c", s.file},
		[]string{"CLIENT_SECRET=" + clientSecret, "OIDC_SECRET=" + oidcSecret, "STATE_DIRECTORY=" + s.state}, front, openSocket(t, "admin"))
	w := openWindow(t, filepath.Join(s.state, "local-ca", "root.pem"), front.addr)

	w.expect(http.StatusOK, base+"/oauth2/sign_in?rd=%2Fapp%2Fx%3Fy%3D1&", chromedp.Navigate(base+"/app/x?y=1"))
	if got := w.text("h1"); got != "Choose how to sign in" {
		t.Errorf("heading: got %q", got)
	}
	if got := evaluate[string](w, `document.querySelector("nav").getAttribute("aria-label") + ":" +
		[...document.querySelectorAll("nav li a")].map(a => a.innerText).join(",")`); got != "Ways to sign in:Partner companies,Our staff" {
		t.Errorf("choices: got %q", got)
	}
	w.picture("chooser", 620)
	w.expect(http.StatusOK, s.pool.url, chromedp.Click(chromedp.CSS(`nav li:last-child a`)))
	w.expect(http.StatusOK, base+"/app/x?y=1", chromedp.Click(chromedp.CSS(`button[aria-label="Sign in as alice"]`)))
	w.expect(http.StatusForbidden, base+"/partners/x", chromedp.Navigate(base+"/partners/x"))
	if got := w.text("main"); !strings.Contains(got, "alice@example.com") || !strings.Contains(got, "Sign in with Partner companies") {
		t.Errorf("the other provider's page: got %q", got)
	}
	w.picture("other-provider", 620)
	if got := evaluate[string](w, `document.querySelector('a[href^="/oauth2/sign_in?"]').search`); got != "?rd=%2Fpartners%2Fx&provider=partners" {
		t.Errorf("the way to it: got %q", got)
	}
	w.assertNoComplaints()
}
