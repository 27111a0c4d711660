package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn/identity"
)

const (
	testClient = "client1"
	testSecret = "s3cret+/ with blanks"
	testPool   = "eu-west-1_Test1"
)

// clock is the time of a whole test.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}
func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// testKeys are made once: RSA keys take a while.
var testKeys = sync.OnceValue(func() (keys struct {
	k1, k2, evil *rsa.PrivateKey
	ec, evilEC   *ecdsa.PrivateKey
},
) {
	var err error
	must := func(k *rsa.PrivateKey, e error) *rsa.PrivateKey {
		if e != nil {
			panic(e)
		}
		return k
	}
	keys.k1 = must(rsa.GenerateKey(rand.Reader, 2048))
	keys.k2 = must(rsa.GenerateKey(rand.Reader, 2048))
	keys.evil = must(rsa.GenerateKey(rand.Reader, 2048))
	if keys.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	if keys.evilEC, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	return keys
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(v any) string {
	switch v := v.(type) {
	case string:
		return b64([]byte(v))
	case []byte:
		return b64(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b64(b)
}

func signRSA(key *rsa.PrivateKey, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return sig
}

func signEC(key *ecdsa.PrivateKey, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		panic(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig
}

// mint makes a token; header and payload are JSON texts or things to marshal.
func mint(key *rsa.PrivateKey, head, payload any) string {
	input := encode(head) + "." + encode(payload)
	return input + "." + b64(signRSA(key, input))
}

func rsaJWK(kid string, key *rsa.PrivateKey, more map[string]any) map[string]any {
	jwk := map[string]any{
		"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig",
		"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	}
	maps.Copy(jwk, more)
	return jwk
}

func ecJWK(kid string, key *ecdsa.PrivateKey) map[string]any {
	x, y := make([]byte, 32), make([]byte, 32)
	key.X.FillBytes(x)
	key.Y.FillBytes(y)
	return map[string]any{"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": b64(x), "y": b64(y)}
}

// op is an OpenID provider that signs everybody in at once and can be made to misbehave. Its fields
// may be changed under mu.
type op struct {
	srv   *httptest.Server
	clock *clock
	pool  bool // Cognito's shapes

	mu        sync.Mutex
	calls     map[string]int
	codes     map[string]*grant
	refreshes map[string]*grant
	serial    int

	user       string
	groups     []string
	jwks       []map[string]any
	signKey    *rsa.PrivateKey
	signKid    string
	life       int // of access tokens, in seconds
	rotate     bool
	userinfo   map[string]any              // beside sub
	signInfo   func(claims object2) string // makes userinfo a JWT
	discovery  map[string]any              // replaces members
	answer     func(a object2, first bool) // changes what the token endpoint says; first is a login
	idClaims   func(c object2)             // changes the ID token's payload
	idToken    func() string               // replaces the ID token
	idHead     func(h object2)             // changes its header
	idSign     func(input string) []byte   // replaces its signature
	handle     map[string]http.HandlerFunc // replaces an endpoint
	lastToken  http.Header
	lastLogout url.Values
	revoked    []string
}

type object2 = map[string]any

type grant struct {
	user, nonce, challenge, redirect string
}

func newOP(t *testing.T, clk *clock, pool bool) *op {
	t.Helper()
	keys := testKeys()
	o := &op{
		clock: clk, pool: pool, calls: make(map[string]int),
		codes: make(map[string]*grant), refreshes: make(map[string]*grant),
		user: "alice", groups: []string{"users"}, life: 3600,
		signKey: keys.k1, signKid: "k1", handle: make(map[string]http.HandlerFunc),
		jwks:     []map[string]any{rsaJWK("k1", keys.k1, nil), rsaJWK("k2", keys.k2, nil)},
		userinfo: map[string]any{"email_verified": "true"},
	}
	o.srv = httptest.NewTLSServer(o)
	t.Cleanup(o.srv.Close)
	return o
}

func (o *op) issuer() string {
	if o.pool {
		return o.srv.URL + "/" + testPool
	}
	return o.srv.URL
}

func (o *op) set(f func()) { o.mu.Lock(); defer o.mu.Unlock(); f() }

func (o *op) count(endpoint string) int { o.mu.Lock(); defer o.mu.Unlock(); return o.calls[endpoint] }

func (o *op) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+testPool), "/")
	name = strings.ToLower(strings.TrimPrefix(name, "oauth2/"))
	o.mu.Lock()
	o.calls[name]++
	replace := o.handle[name]
	o.mu.Unlock()
	if replace != nil {
		replace(w, r)
		return
	}
	switch name {
	case ".well-known/openid-configuration":
		o.serveDiscovery(w)
	case ".well-known/jwks.json":
		o.mu.Lock()
		defer o.mu.Unlock()
		writeJSON(w, 200, map[string]any{"keys": o.jwks})
	case "authorize":
		o.authorize(w, r)
	case "token":
		o.token(w, r)
	case "userinfo":
		o.serveUserinfo(w, r)
	case "revoke":
		o.mu.Lock()
		defer o.mu.Unlock()
		o.revoked = append(o.revoked, r.FormValue("token"))
	case "logout":
		o.mu.Lock()
		defer o.mu.Unlock()
		o.lastLogout = r.URL.Query()
		http.Redirect(w, r, r.FormValue("logout_uri")+r.FormValue("post_logout_redirect_uri"), http.StatusFound)
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (o *op) serveDiscovery(w http.ResponseWriter) {
	base := o.srv.URL
	d := map[string]any{
		"issuer": o.issuer(), "jwks_uri": o.issuer() + "/.well-known/jwks.json",
		"authorization_endpoint": base + "/oauth2/authorize", "token_endpoint": base + "/oauth2/token",
		"userinfo_endpoint":                     base + "/oauth2/userInfo",
		"id_token_signing_alg_values_supported": []string{"RS256"},
	}
	if !o.pool {
		d["revocation_endpoint"] = base + "/oauth2/revoke"
		d["end_session_endpoint"] = base + "/logout"
	}
	o.mu.Lock()
	maps.Copy(d, o.discovery)
	o.mu.Unlock()
	writeJSON(w, 200, d)
}

func (o *op) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	o.mu.Lock()
	o.serial++
	code := fmt.Sprintf("code-%d", o.serial)
	user := o.user
	if hint := q.Get("login_hint"); hint != "" {
		user = hint
	}
	o.codes[code] = &grant{user, q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
	o.mu.Unlock()
	http.Redirect(w, r, q.Get("redirect_uri")+"?code="+code+"&state="+url.QueryEscape(q.Get("state")), http.StatusFound)
}

func (o *op) token(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lastToken = r.Header.Clone()
	id, secret, _ := r.BasicAuth()
	if id == "" {
		id, secret = url.QueryEscape(r.FormValue("client_id")), url.QueryEscape(r.FormValue("client_secret"))
	}
	if id != testClient || secret != url.QueryEscape(testSecret) {
		writeJSON(w, 400, map[string]any{"error": "invalid_client"})
		return
	}
	var g *grant
	switch r.FormValue("grant_type") {
	case "authorization_code":
		g = o.codes[r.FormValue("code")]
		delete(o.codes, r.FormValue("code"))
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if g != nil && (g.challenge != b64(sum[:]) || g.redirect != r.FormValue("redirect_uri")) {
			g = nil
		}
	case "refresh_token":
		g = o.refreshes[r.FormValue("refresh_token")]
		if o.rotate {
			delete(o.refreshes, r.FormValue("refresh_token"))
		}
	}
	if g == nil {
		writeJSON(w, 400, map[string]any{"error": "invalid_grant"})
		return
	}
	writeJSON(w, 200, o.tokens(g, r.FormValue("grant_type") == "authorization_code"))
}

func (o *op) tokens(g *grant, first bool) map[string]any {
	o.serial++
	access := o.accessLocked(g.user, nil)
	answer := map[string]any{"access_token": access, "expires_in": o.life, "token_type": "Bearer"}
	if first || o.rotate {
		refresh := fmt.Sprintf("refresh-%s-%d", g.user, o.serial)
		o.refreshes[refresh] = &grant{user: g.user}
		answer["refresh_token"] = refresh
	}
	answer["id_token"] = o.idLocked(g.user, g.nonce, access)
	if o.answer != nil {
		o.answer(answer, first)
	}
	return answer
}

func (o *op) idLocked(user, nonce, access string) string {
	if o.idToken != nil {
		return o.idToken()
	}
	sum := sha256.Sum256([]byte(access))
	c := map[string]any{
		"iss": o.issuer(), "sub": user, "aud": testClient, "exp": o.clock.now().Unix() + 3600,
		"iat": o.clock.now().Unix(), "auth_time": o.clock.now().Unix(), "at_hash": b64(sum[:16]),
		"token_use": "id", "cognito:username": user, "cognito:groups": o.groups, "groups": o.groups,
		"email": user + "@example.com", "email_verified": true,
	}
	if nonce != "" {
		c["nonce"] = nonce
	}
	if o.idClaims != nil {
		o.idClaims(c)
	}
	h := map[string]any{"alg": "RS256", "kid": o.signKid}
	if o.idHead != nil {
		o.idHead(h)
	}
	if o.idSign != nil {
		input := encode(h) + "." + encode(c)
		return input + "." + b64(o.idSign(input))
	}
	return mint(o.signKey, h, c)
}

func (o *op) access(user string, change func(object2)) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.accessLocked(user, change)
}

func (o *op) accessLocked(user string, change func(object2)) string {
	o.serial++
	c := map[string]any{
		"iss": o.issuer(), "sub": user, "exp": o.clock.now().Unix() + 3600, "iat": o.clock.now().Unix(),
		"scope": "openid email orders.read", "jti": fmt.Sprint(o.serial),
	}
	if o.pool {
		c["token_use"], c["client_id"], c["username"], c["cognito:groups"] = "access", testClient, user, o.groups
	} else {
		c["aud"], c["groups"] = "https://api.example.com", o.groups
	}
	if change != nil {
		change(c)
	}
	return mint(o.signKey, map[string]any{"alg": "RS256", "kid": o.signKid}, c)
}

func (o *op) serveUserinfo(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var c map[string]any
	json.Unmarshal(payload, &c)
	info := map[string]any{"sub": c["sub"], "email": fmt.Sprint(c["sub"], "@example.com")}
	o.mu.Lock()
	maps.Copy(info, o.userinfo)
	sign := o.signInfo
	o.mu.Unlock()
	if sign != nil {
		w.Header().Set("Content-Type", "application/jwt; charset=utf-8")
		io.WriteString(w, sign(info))
		return
	}
	writeJSON(w, 200, info)
}

// stack is a gateway in front of an application, and the provider that it signs people in with.
type stack struct {
	*op
	t         *testing.T
	cfg       Config
	provider  *Provider
	several   Providers // in place of provider
	sessions  *Sessions
	gw        *httptest.Server
	timeout   time.Duration // of the gateway's calls
	mu2       sync.Mutex
	errs      []error
	refreshed []Refresh
	logouts   []Logout
	logins    []string
	onLogin   func(sessionID string)

	ledger        Ledger
	ledgerError   func(error)
	shared        Shared
	idTokenClaims bool
}

type stackOption func(*stack)

func withOIDC(s *stack)                      { s.op.pool = false }
func withConfig(f func(*Config)) stackOption { return func(s *stack) { f(&s.cfg) } }

func newStack(t *testing.T, options ...stackOption) *stack {
	t.Helper()
	s := &stack{t: t, op: newOP(t, newClock(), true)}
	for _, o := range options {
		o(s) // the kind first: the configuration depends on it
	}
	change := s.cfg
	s.cfg = Config{Session: change.Session, Tokens: change.Tokens}
	if s.op.pool {
		s.cfg.Cognito = &CognitoConfig{
			Region: "eu-west-1", UserPool: testPool, Domain: s.srv.URL, Endpoint: s.srv.URL,
			ClientID: testClient, ClientSecret: testSecret,
		}
	} else {
		s.cfg.OIDC = &OIDCConfig{Issuer: s.srv.URL, ClientID: testClient, ClientSecret: testSecret}
	}
	for _, o := range options {
		o(s)
	}
	s.connect()
	return s
}

func (s *stack) connect() {
	s.t.Helper()
	var err error
	roots := s.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if s.provider, err = NewProvider(s.cfg, ProviderOptions{Now: s.clock.now, Roots: roots, Timeout: s.timeout, IDTokenClaims: s.idTokenClaims}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.provider.Close)
	opts := SessionsOptions{Now: s.clock.now, Ledger: s.ledger, OnError: s.ledgerError, Shared: s.shared}
	if s.sessions, err = NewSessions(s.cfg.Session, []byte(strings.Repeat("k", 32)), opts); err != nil {
		s.t.Fatal(err)
	}
	if err := s.provider.Connect(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.gw = httptest.NewTLSServer(s.handler())
	s.t.Cleanup(s.gw.Close)
}

func (s *stack) providers() Providers {
	if s.several != nil {
		return s.several
	}
	return Providers{s.provider}
}

func (s *stack) gate(rule Rule) *Gate {
	return NewGate(s.providers(), s.sessions, rule, GateOptions{
		Deny: func(w http.ResponseWriter, r *http.Request, err error) {
			status := 500
			if e, ok := err.(interface{ HTTPStatus() int }); ok {
				status = e.HTTPStatus()
			}
			s.note(func() { s.errs = append(s.errs, err) })
			text := err.Error()
			var e *Error
			if errors.As(err, &e) {
				text += "\n" + e.Public()
			}
			http.Error(w, text, status)
		},
		OnRefresh: func(_ context_, r Refresh) { s.note(func() { s.refreshed = append(s.refreshed, r) }) },
		OnRefuse:  func(_ context_, err error) { s.note(func() { s.errs = append(s.errs, err) }) },
	})
}

func (s *stack) note(f func()) { s.mu2.Lock(); defer s.mu2.Unlock(); f() }

// app is what stands behind the gate: it says who it sees.
func app(w http.ResponseWriter, r *http.Request) {
	id := identity.FromContext(r.Context())
	if id == nil {
		fmt.Fprint(w, "nobody")
		return
	}
	fmt.Fprint(w, id.Subject)
}

func (s *stack) handler() http.Handler {
	mux := http.NewServeMux()
	for path, h := range Endpoints(s.providers(), s.sessions, EndpointOptions{
		RequestID: func(*http.Request) string { return "req-1" },
		OnLogin: func(_ context_, id *identity.Identity) {
			s.note(func() { s.logins = append(s.logins, id.Subject) })
			if s.onLogin != nil {
				s.onLogin(id.SessionID)
			}
		},
		OnLogout:  func(_ context_, l Logout) { s.note(func() { s.logouts = append(s.logouts, l) }) },
		OnRefresh: func(_ context_, r Refresh) { s.note(func() { s.refreshed = append(s.refreshed, r) }) },
		OnError:   func(_ context_, err error) { s.note(func() { s.errs = append(s.errs, err) }) },
	}) {
		mux.Handle(path, h)
	}
	a := http.HandlerFunc(app)
	mux.Handle("/allow/", s.gate(Rule{Mode: ModeAllow}).Wrap(a))
	mux.Handle("/deny/", s.gate(Rule{Mode: ModeDeny}).Wrap(a))
	mux.Handle("/admin/", s.gate(Rule{Groups: []string{"admins", "root"}}).Wrap(a))
	mux.Handle("/api/", s.gate(Rule{Mode: ModeToken, Scopes: []string{"orders.read"}}).Wrap(a))
	mux.Handle("/", s.gate(Rule{}).Wrap(a))
	return mux
}

// browser is a client with a cookie jar that follows no redirect by itself.
type browser struct {
	*http.Client
	s    *stack
	last string // address of the last answer that was no redirect
}

func (s *stack) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s: s, Client: &http.Client{
		Transport:     s.gw.Client().Transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// visit navigates to a path of the gateway, or to an absolute address, once.
func (b *browser) visit(target string, headers ...string) *reply {
	b.s.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.s.gw.URL + target
	}
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		b.s.t.Fatal(err)
	}
	if len(headers) == 0 {
		headers = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none"}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return b.send(r)
}

func (b *browser) send(r *http.Request) *reply {
	b.s.t.Helper()
	resp, err := b.Do(r)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return readReply(b.s.t, resp)
}

// follow navigates until it is not redirected any more.
func (b *browser) follow(target string) *reply {
	b.s.t.Helper()
	for range 10 {
		a := b.visit(target)
		if a.location == "" {
			b.last = target
			if strings.HasPrefix(target, "/") {
				b.last = b.s.gw.URL + target
			}
			return a
		}
		target = a.location
	}
	b.s.t.Fatalf("redirected for ever, at last to %s", target)
	return nil
}

type reply struct {
	status   int
	body     string
	location string
	header   http.Header
	cookies  []*http.Cookie
}

func readReply(t *testing.T, resp *http.Response) *reply {
	t.Helper()
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := copyAll(&b, resp.Body); err != nil {
		t.Fatal(err)
	}
	return &reply{resp.StatusCode, b.String(), resp.Header.Get("Location"), resp.Header, resp.Cookies()}
}

// login signs somebody in and returns the browser.
func (s *stack) login(user string) *browser {
	s.t.Helper()
	s.set(func() { s.user = user })
	b := s.browser()
	if a := b.follow("/start"); a.status != 200 || a.body != user {
		s.t.Fatalf("login of %s: got %d %q (%v)", user, a.status, a.body, s.errs)
	}
	return b
}

// own returns the gateway's cookies of a browser, those of the session first.
func (b *browser) own() []*http.Cookie {
	u, _ := url.Parse(b.s.gw.URL)
	cookies := b.Jar.Cookies(u)
	slices.SortFunc(cookies, func(a, b *http.Cookie) int { return strings.Compare(a.Name, b.Name) })
	return cookies
}

// shards are the cookies of a browser's session.
func (b *browser) shards() []*http.Cookie {
	return slices.DeleteFunc(b.own(), func(c *http.Cookie) bool { return b.s.sessions.shardIndex(c.Name) < 0 })
}
