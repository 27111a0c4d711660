package authn

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// newPair returns a stack whose people sign in at two providers: staff is a user pool, partners an
// OpenID provider.
func newPair(t *testing.T) (s *stack, partners *op) {
	t.Helper()
	s = &stack{t: t, op: newOP(t, newClock(), true)}
	partners = newOP(t, s.clock, false)
	partners.user = "paula"
	s.cfg = Config{Providers: map[string]ProviderConfig{
		"staff": {Title: "Our staff", Cognito: &CognitoConfig{
			UserPool: testPool, Domain: s.srv.URL, Endpoint: s.srv.URL, ClientID: testClient, ClientSecret: testSecret,
			IdentityProvider: "Google", Lang: "de",
		}},
		"partners": {OIDC: &OIDCConfig{Issuer: partners.srv.URL, ClientID: testClient, ClientSecret: testSecret}, Tokens: TokenConfig{Audience: []string{"https://api.example.com"}}},
	}}
	s.several = s.named(s.cfg)
	for _, p := range s.several {
		if err := p.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.sessions, err = NewSessions(SessionConfig{}, []byte(strings.Repeat("k", 32)), SessionsOptions{Now: s.clock.now}); err != nil {
		t.Fatal(err)
	}
	s.gw = httptest.NewTLSServer(s.pairHandler())
	t.Cleanup(s.gw.Close)
	return s, partners
}

// named makes the providers of a configuration. All test servers have the same certificate.
func (s *stack) named(cfg Config) Providers {
	s.t.Helper()
	roots := s.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	var ps Providers
	for _, n := range cfg.Each() {
		p, err := NewNamedProvider(n, ProviderOptions{Now: s.clock.now, Roots: roots})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(p.Close)
		ps = append(ps, p)
	}
	return ps
}

func (s *stack) pairHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.handler())
	for path, rule := range map[string]Rule{
		"/staff/":    {Providers: []string{"staff"}},
		"/partners/": {Providers: []string{"partners"}},
		"/maybe/":    {Mode: ModeAllow, Providers: []string{"partners"}},
		"/strict/":   {Mode: ModeDeny, Providers: []string{"partners"}},
		"/token/":    {Mode: ModeToken, Providers: []string{"staff"}},
		"/tokens/":   {Mode: ModeToken},
	} {
		mux.Handle(path, s.gate(rule).Wrap(http.HandlerFunc(app)))
	}
	return mux
}

var pageLink = regexp.MustCompile(`<a class="button" href="([^"]*)">([^<]*)</a>`)

// links are the buttons of a page by their text.
func links(body string) map[string]string {
	found := make(map[string]string)
	for _, m := range pageLink.FindAllStringSubmatch(body, -1) {
		found[html.UnescapeString(m[2])] = html.UnescapeString(m[1])
	}
	return found
}

func (s *stack) lastError(t *testing.T) *Error {
	t.Helper()
	s.mu2.Lock()
	defer s.mu2.Unlock()
	if len(s.errs) == 0 {
		t.Fatal("nothing was refused")
	}
	var e *Error
	if !errors.As(s.errs[len(s.errs)-1], &e) {
		t.Fatalf("refused with %v", s.errs[len(s.errs)-1])
	}
	return e
}

func TestWhichProvidersARouteTakes(t *testing.T) {
	t.Parallel()
	provider := func(name string, hosts ...string) *Provider {
		return &Provider{set: settings{name: name, hosts: hosts}}
	}
	ps := Providers{
		provider("a", "a.example.com", "*.tenant.example.com"), provider("b"), provider("c"),
		provider("d", "d.example.com", "both.tenant.example.com"),
	}
	for _, tt := range []struct {
		names, host, want string
	}{
		{"", "a.example.com", "a"},
		{"", "a.example.com:8443", "a"},
		{"", "x.tenant.example.com", "a"},
		{"", "x.y.tenant.example.com:1", "a"},
		{"", "both.tenant.example.com", "a d"},
		{"", "tenant.example.com", "b c"},
		{"", "xtenant.example.com", "b c"},
		{"", "a.example.com.evil.test", "b c"},
		{"", "[::1]:8443", "b c"},
		{"", "[::1]", "b c"},
		{"", "", "b c"},
		{"d", "a.example.com", "d"},
		{"a c", "elsewhere.test", "a c"},
		{"gone", "a.example.com", ""},
	} {
		var got []string
		for _, p := range ps.taken(strings.Fields(tt.names), tt.host) {
			got = append(got, p.set.name)
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("route of %q on %q: takes %q, want %q", tt.names, tt.host, g, tt.want)
		}
	}
	only := Providers{provider("a", "a.example.com")}
	if len(only.taken(nil, "b.example.com")) != 0 {
		t.Error("the provider of one host is taken on another")
	}
}

func TestPeopleChooseBetweenSeveralProviders(t *testing.T) {
	t.Parallel()
	s, _ := newPair(t)
	b := s.browser()
	away := b.visit("/app/x?y=1&z=%20")
	if away.status != http.StatusFound || len(away.cookies) != 0 {
		t.Fatalf("got %d to %q with %v, want the chooser and no login begun", away.status, away.location, away.cookies)
	}
	a := b.visit(away.location)
	if a.status != http.StatusOK || a.location != "" || !strings.Contains(a.body, "<h1>Choose how to sign in</h1>") {
		t.Fatalf("chooser: got %d to %q\n%s", a.status, a.location, a.body)
	}
	if len(a.cookies) != 0 {
		t.Errorf("the chooser set %v: no login has begun", a.cookies)
	}
	choices := links(a.body)
	if len(choices) != 2 || choices["Our staff"] == "" || choices["partners"] == "" {
		t.Fatalf("choices: got %v", choices)
	}
	for title, want := range map[string]string{"Our staff": "alice", "partners": "paula"} {
		b := s.browser()
		start := b.visit(choices[title])
		if hint := mustURL(t, start.location).Query().Get("identity_provider"); hint != map[string]string{"Our staff": "Google"}[title] {
			t.Errorf("%s: identity_provider %q", title, hint)
		}
		if a := b.visit(b.visit(start.location).location); a.location != "/app/x?y=1&z=%20" {
			t.Errorf("%s: comes back to %q: %s", title, a.location, a.body)
		}
		if a := b.visit("/app/x"); a.body != want {
			t.Errorf("%s: the application sees %q, want %q", title, a.body, want)
		}
	}
	if again := b.visit("/app/x", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"); again.status != http.StatusUnauthorized {
		t.Errorf("script: got %d", again.status)
	} else {
		var answer struct {
			LoginURL string `json:"login_url"`
		}
		if err := json.Unmarshal([]byte(again.body), &answer); err != nil {
			t.Fatal(err)
		}
		page := b.visit(answer.LoginURL)
		if got := links(page.body); page.status != 200 || len(got) != 2 || !strings.Contains(got["partners"], "rd=%2Fapp%2Fx") {
			t.Errorf("login_url %s: got %d and %v", answer.LoginURL, page.status, got)
		}
	}
	if a := s.browser().visit("/staff/x"); a.status != 302 || !strings.HasPrefix(a.location, s.srv.URL) {
		t.Errorf("a route of one provider: got %d to %q, want straight to it", a.status, a.location)
	}
}

func TestASessionOfAnotherProviderIsToldSo(t *testing.T) {
	t.Parallel()
	s, partners := newPair(t)
	b := s.browser()
	if a := b.follow("/staff/x"); a.body != "alice" {
		t.Fatalf("login: got %d %q", a.status, a.body)
	}
	if a := b.visit("/partners/x?y=1"); a.status != http.StatusForbidden || a.location != "" || len(a.cookies) != 0 {
		t.Fatalf("session of staff on a route of partners: got %d to %q with %v", a.status, a.location, a.cookies)
	}
	e := s.lastError(t)
	label, href := e.Action()
	if e.Reason != ReasonOtherProvider || e.Account() != "alice@example.com" || !strings.Contains(e.Public(), "Our staff") ||
		label != "Sign in with partners" {
		t.Errorf("refusal: got %s %q of %q, offering %q", e.Reason, e.Public(), e.Account(), label)
	}
	if a := b.visit("/partners/x", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"); a.status != http.StatusUnauthorized ||
		!strings.Contains(a.body, "provider=partners") {
		t.Errorf("script: got %d %s", a.status, a.body)
	}
	if a := b.visit("/maybe/x"); a.body != "nobody" {
		t.Errorf("route that takes anybody: sees %q, want nobody", a.body)
	}
	if a := b.visit("/strict/x"); a.status != http.StatusUnauthorized || a.location != "" {
		t.Errorf("route that denies: got %d to %q", a.status, a.location)
	}
	if a := b.visit("/staff/x"); a.body != "alice" {
		t.Errorf("the session's own route: got %d %q", a.status, a.body)
	}
	if a := b.follow(href); a.body != "paula" || partners.count("token") != 1 {
		t.Errorf("after the offer: got %d %q", a.status, a.body)
	}
	if a := b.visit("/staff/x"); a.status != http.StatusForbidden {
		t.Errorf("the other way round: got %d, want 403", a.status)
	}
}

// TestMixUp delivers the code of one provider with the state of another (RFC 9700 section 4.4).
func TestMixUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, issuer string
		calls        int // of the token endpoint of the provider that the state belongs to
		reason       string
	}{
		{"without iss", "", 1, ReasonInvalidGrant},
		{"with the iss of the code's", "staff", 0, ReasonInvalidState},
		{"with the iss of the state's", "partners", 1, ReasonInvalidGrant},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, partners := newPair(t)
			b := s.browser()
			code := mustURL(t, b.visit(b.visit("/staff/x").location).location).Query().Get("code")
			state := mustURL(t, b.visit("/partners/x").location).Query().Get("state")
			q := url.Values{"code": {code}, "state": {state}}
			if iss := map[string]string{"staff": s.issuer(), "partners": partners.issuer()}[tt.issuer]; iss != "" {
				q.Set("iss", iss)
			}
			a := b.visit("/oauth2/idpresponse?" + q.Encode())
			if a.status != http.StatusUnauthorized || s.lastError(t).Reason != tt.reason {
				t.Errorf("got %d %s, want 401 %s", a.status, s.lastError(t).Reason, tt.reason)
			}
			if got := partners.count("token"); got != tt.calls {
				t.Errorf("token endpoint of the state's provider: called %d times, want %d", got, tt.calls)
			}
			if got := s.count("token"); got != 0 {
				t.Errorf("token endpoint of the code's provider: called %d times", got)
			}
			if retry := links(a.body)["Try again"]; !strings.Contains(retry, "provider=partners") {
				t.Errorf("try again: got %q", retry)
			}
		})
	}
}

func TestSignOutLeavesTheProviderOfTheSession(t *testing.T) {
	t.Parallel()
	s, partners := newPair(t)
	for path, want := range map[string]string{"/staff/x": s.srv.URL + "/logout?client_id=", "/partners/x": partners.srv.URL + "/logout?"} {
		b := s.browser()
		b.follow(path)
		if a := b.visit("/oauth2/sign_out"); !strings.HasPrefix(a.location, want) {
			t.Errorf("%s: signed out to %q, want %q", path, a.location, want)
		}
	}
	if a := s.browser().visit("/oauth2/sign_out"); a.location != signedOutPath {
		t.Errorf("without a session: got %q, want %q", a.location, signedOutPath)
	}
	if len(s.revoked) != 1 || len(partners.revoked) != 1 {
		t.Errorf("refresh tokens revoked: %d and %d, want each at its own provider", len(s.revoked), len(partners.revoked))
	}
}

func TestAProviderThatIsDownHindersNoOther(t *testing.T) {
	t.Parallel()
	s, _ := newPair(t)
	for _, p := range s.several {
		if p.set.name == "partners" {
			p.live.Store(nil) // as if it had not been reached
		}
	}
	b := s.browser()
	if a := b.visit("/partners/x"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("the one that is down: got %d", a.status)
	}
	if a := b.follow("/staff/x"); a.body != "alice" {
		t.Errorf("the other: got %d %q", a.status, a.body)
	}
}

// TestAProviderThatIsGone takes a provider away, as a reload does, and gives its name to another.
func TestAProviderThatIsGone(t *testing.T) {
	t.Parallel()
	s, _ := newPair(t)
	b := s.browser()
	b.follow("/partners/x")
	half := s.browser()
	begun := half.visit("/partners/x")
	cookies := func(b *browser) func(*http.Request) []*http.Cookie {
		return func(*http.Request) []*http.Cookie { return b.own() }
	}
	renamed := Config{Providers: map[string]ProviderConfig{"staff": s.cfg.Providers["staff"], "others": s.cfg.Providers["partners"]}}
	other := s.cfg.Providers["partners"]
	other.OIDC = &OIDCConfig{Issuer: s.srv.URL, ClientID: "another", ClientSecret: testSecret}
	replaced := Config{Providers: map[string]ProviderConfig{"staff": s.cfg.Providers["staff"], "partners": other}}
	removed := Config{Providers: map[string]ProviderConfig{"staff": s.cfg.Providers["staff"]}}
	for name, cfg := range map[string]Config{"renamed": renamed, "replaced": replaced, "removed": removed} {
		ps := s.named(cfg)
		r := httptest.NewRequest(http.MethodGet, s.gw.URL+"/app", nil)
		d, err := NewGate(ps, s.sessions, Rule{}, GateOptions{Cookies: cookies(b)}).Check(r)
		if !errors.Is(err, errUnauthenticated) || d.Identity != nil || len(d.Cookies) == 0 || !d.Login {
			t.Errorf("%s: got %v, %d cookies, login %t: want the session to end and a login to begin", name, err, len(d.Cookies), d.Login)
		}
		endpoints := Endpoints(ps, s.sessions, EndpointOptions{Cookies: cookies(half)})
		answer := httptest.NewRequest(http.MethodGet, half.visit(begun.location).location, nil)
		w := httptest.NewRecorder()
		endpoints["/oauth2/idpresponse"].ServeHTTP(w, answer)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), ReasonInvalidState) {
			t.Errorf("%s: a login that was under way: got %d %s", name, w.Code, w.Body)
		}
	}
}

// TestOneClientUnderTwoNames has two ways to sign in to the same client, which are two providers all the same.
func TestOneClientUnderTwoNames(t *testing.T) {
	t.Parallel()
	s, _ := newPair(t)
	b := s.browser()
	b.follow("/staff/x")
	ps := s.named(Config{Providers: map[string]ProviderConfig{
		"staff": s.cfg.Providers["staff"], "guests": func() ProviderConfig { p := s.cfg.Providers["staff"]; p.Title = "Guests"; return p }(),
	}})
	for name, want := range map[string]bool{"staff": true, "guests": false} {
		r := httptest.NewRequest(http.MethodGet, s.gw.URL+"/app", nil)
		opts := GateOptions{Cookies: func(*http.Request) []*http.Cookie { return b.own() }}
		d, err := NewGate(ps, s.sessions, Rule{Providers: []string{name}}, opts).Check(r)
		if got := err == nil && d.Identity != nil; got != want {
			t.Errorf("route of %s: takes the session %t, want %t (%v)", name, got, want, err)
		}
	}
}

func TestBearerTokensOfSeveralProviders(t *testing.T) {
	t.Parallel()
	s, partners := newPair(t)
	call := func(path, token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.gw.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		return s.browser().send(r).status
	}
	if got := call("/token/x", s.access("alice", nil)); got != 200 {
		t.Errorf("the route's provider: got %d, want 200", got)
	}
	if got := call("/token/x", partners.access("paula", nil)); got != 401 {
		t.Errorf("another provider: got %d, want 401", got)
	}
	if got := call("/tokens/x", partners.access("paula", nil)); got != 200 {
		t.Errorf("a route that takes both: got %d, want 200", got)
	}
	// The right issuer's name on what another signed: the same keys stand behind both here, so that only
	// the claims tell.
	if got := call("/token/x", partners.access("paula", func(c object2) { c["iss"] = s.issuer() })); got != 401 {
		t.Errorf("a token that only names the issuer: got %d, want 401", got)
	}
	if got := call("/token/x", "a.b.c"); got != 401 {
		t.Errorf("no token: got %d, want 401", got)
	}
}

func TestSignInLinksAskForNothingElse(t *testing.T) {
	t.Parallel()
	for query, ok := range map[string]bool{
		"":                           true,
		"rd=/a":                      true,
		"provider=a&provider=b":      true,
		"acr_values=urn:x:2+urn:x:3": true,
		"max_age=60&prompt=login":    true,
		"%zz":                        true, // it says nothing
		"max_age=59":                 false,
		"max_age=0":                  false,
		"max_age=-60":                false,
		"max_age=60.5":               false,
		"max_age=99999999999":        false,
		"max_age=60&max_age=90":      false,
		"prompt=none":                false,
		"prompt=login+consent":       false,
		"prompt=login&prompt=login":  false,
		"acr_values=" + strings.Repeat("x", maxACR+1): false,
		`acr_values="`:                    false,
		strings.Repeat("provider=a&", 17): false,
	} {
		if _, err := readSignIn(query); (err == nil) != ok {
			t.Errorf("%.60q: got %v, want it taken: %t", query, err, ok)
		}
	}
}

func FuzzSignInQuery(f *testing.F) {
	f.Add("rd=/a&provider=staff&acr_values=urn:x:2&max_age=900&prompt=login")
	f.Add("max_age=60&max_age=60")
	f.Add("acr_values=%00")
	f.Fuzz(func(t *testing.T, query string) {
		in, err := readSignIn(query)
		if err != nil {
			return
		}
		in.want.Validate(func(field, msg string) { t.Fatalf("%s: %s", field, msg) })
		c := loginCookie{logins: pendingLogins{{want: in.want}}}
		again, err := parsePending(c.append(nil))
		if err != nil {
			t.Fatalf("does not survive the login cookie: %v", err)
		}
		if got := again.logins[0].want; !slices.Equal(got.ACR, in.want.ACR) || got.MaxAge != in.want.MaxAge || got.Prompt != in.want.Prompt {
			t.Fatalf("after the login cookie: got %+v, want %+v", got, in.want)
		}
	})
}

func FuzzClaimedIssuer(f *testing.F) {
	f.Add("e30.eyJpc3MiOiJodHRwczovL2EifQ.c2ln")
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		if issuer := claimedIssuer(raw); len(issuer) > len(raw) {
			t.Fatalf("issuer of %d bytes in a token of %d", len(issuer), len(raw))
		}
	})
}
