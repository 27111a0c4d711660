package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const (
	demoKid    = "7e5e83e9-6f4b-4070-b64b-443ebae49b73"
	demoSigner = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/edge/50dc6c495c0c9188"
)

var errUnknownDemoKey = errors.New("unknown key")

// demoGate signs assertions as the gateway does, and is the clock too.
type demoGate struct {
	key *ecdsa.PrivateKey
	now time.Time
}

func newDemoGate(t *testing.T) *demoGate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &demoGate{key: key, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
}

func (g *demoGate) find(_ context.Context, kid string) (*ecdsa.PublicKey, error) {
	if kid != demoKid {
		return nil, errUnknownDemoKey
	}
	return &g.key.PublicKey, nil
}

func (g *demoGate) app(t *testing.T) http.Handler {
	t.Helper()
	app, err := newDemoApp(demoOptions{
		Key: g.find, Signer: demoSigner, Now: func() time.Time { return g.now }, Tick: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// sign makes an assertion, with ALB's padding or without.
func (g *demoGate) sign(t *testing.T, header, claims map[string]any, enc *base64.Encoding) string {
	t.Helper()
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return enc.EncodeToString(raw)
	}
	input := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, g.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + enc.EncodeToString(sig)
}

func (g *demoGate) header() map[string]any {
	return map[string]any{"typ": "JWT", "kid": demoKid, "alg": "ES256", "signer": demoSigner, "exp": g.now.Unix() + 120}
}

func (g *demoGate) claims() map[string]any {
	return map[string]any{
		"sub": "b0bb0b0b", "username": "bob", "name": "Bob <b>", "email": "bob@example.com",
		"email_verified": "true", "exp": g.now.Unix() + 120,
	}
}

// request returns a request as the gateway forwards bob's.
func (g *demoGate) request(t *testing.T, method, target string, body io.Reader) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, body)
	r.Header.Set("X-Amzn-Oidc-Data", g.sign(t, g.header(), g.claims(), base64.URLEncoding))
	access := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"b0bb0b0b","cognito:groups":["users","admins"]}`))
	r.Header.Set("X-Amzn-Oidc-Accesstoken", "e30."+access+".c2ln")
	r.Header.Set("X-Request-Id", "req-1")
	return r
}

func serveDemo(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestDemoAppVerifiesTheAssertion(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	other := newDemoGate(t)
	app := g.app(t)
	// with changes a map by pairs; nil takes a member away.
	with := func(m map[string]any, name string, value any) map[string]any {
		if m[name] = value; value == nil {
			delete(m, name)
		}
		return m
	}
	good := g.sign(t, g.header(), g.claims(), base64.URLEncoding)
	parts := strings.Split(good, ".")
	for _, test := range []struct {
		name, token string
		want        string // in the error; "" when it is believed
	}{
		{"padded, as ALB sends it", good, ""},
		{"without padding", g.sign(t, g.header(), g.claims(), base64.RawURLEncoding), ""},
		{"none", "", "there is none"},
		{"two parts", parts[0] + "." + parts[1], "want 3 parts"},
		{"another key", other.sign(t, g.header(), g.claims(), base64.URLEncoding), "not the gateway's"},
		{"claims of another token", parts[0] + "." + base64.URLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2], "not the gateway's"},
		{"no signature", parts[0] + "." + parts[1] + ".", "want 64 bytes"},
		{"zero signature", parts[0] + "." + parts[1] + "." + base64.URLEncoding.EncodeToString(make([]byte, 64)), "not the gateway's"},
		{"alg none", g.sign(t, with(g.header(), "alg", "none"), g.claims(), base64.URLEncoding), "want ES256"},
		{"alg HS256", g.sign(t, with(g.header(), "alg", "HS256"), g.claims(), base64.URLEncoding), "want ES256"},
		{"kid that is a path", g.sign(t, with(g.header(), "kid", "../x"), g.claims(), base64.URLEncoding), "want a UUID"},
		{"unknown kid", g.sign(t, with(g.header(), "kid", strings.Replace(demoKid, "7", "8", 1)), g.claims(), base64.URLEncoding), "unknown key"},
		{"another signer", g.sign(t, with(g.header(), "signer", "arn:x"), g.claims(), base64.URLEncoding), "signer"},
		{"expired", g.sign(t, g.header(), with(g.claims(), "exp", g.now.Unix()), base64.URLEncoding), "ended at"},
		{"no exp", g.sign(t, g.header(), with(g.claims(), "exp", nil), base64.URLEncoding), "exp"},
		{"exp as text", g.sign(t, g.header(), with(g.claims(), "exp", "4102444800"), base64.URLEncoding), "exp"},
		{"no subject", g.sign(t, g.header(), with(g.claims(), "sub", nil), base64.URLEncoding), "sub"},
		{"header that is not JSON", "e30x." + parts[1] + "." + parts[2], "assertion header"},
		{"not base64", "!." + parts[1] + "." + parts[2], "assertion header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/app", nil)
			if test.token != "" {
				r.Header.Set("X-Amzn-Oidc-Data", test.token)
			}
			w := serveDemo(app, r)
			if test.want == "" && w.Code != http.StatusOK {
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			if test.want != "" && w.Code != http.StatusUnauthorized {
				t.Errorf("got %d, want 401", w.Code)
			}
			if test.want != "" && test.want != "there is none" && !strings.Contains(w.Body.String(), strings.ReplaceAll(test.want, "'", "&#39;")) {
				t.Errorf("got %s, want %q in it", w.Body, test.want)
			}
		})
	}
}

// TestDemoAppBelievesALBsOwnFormat uses a token that aws-jwt-verify's AlbJwtVerifier accepted.
func TestDemoAppBelievesALBsOwnFormat(t *testing.T) {
	t.Parallel()
	const (
		public = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEy0N61bnjrSv0AVk12MpYQDeRydfIrHXk7UD4xEUYNc1isFDzwZ61aUqFTrU2nwV/0UTFr2JSrK2JtQ4syvOqPg=="
		issuer = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_ExAmPlE"
		header = `{"typ":"JWT","kid":"` + demoKid + `","alg":"ES256","iss":"` + issuer + `","client":"1example23456789","signer":"` + demoSigner + `","exp":4102444800}`
		claims = `{"sub":"21f782e8-6bd2-4363-9134-0ce990b8c873","email_verified":"true","email":"jane@example.com","username":"jane","exp":4102444800,"iss":"` + issuer + `"}`
		sig    = "fZuf1Fgfdt3BekQJkUZCaB8SpQ2foaP2DpxoxVpku_ZfuVXNd8-ZQ5zlAWBZZ-b4ma3mFT7z0bThqw9K893OQA=="
	)
	keys := http.NewServeMux()
	keys.HandleFunc("GET /"+demoKid, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n", public)
	})
	srv := httptest.NewServer(keys)
	defer srv.Close()
	app, err := newDemoApp(demoOptions{Key: demoKeysFrom(srv.Client(), srv.URL+"/")})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/hello", nil)
	enc := base64.URLEncoding.EncodeToString
	r.Header.Set("X-Amzn-Oidc-Data", enc([]byte(header))+"."+enc([]byte(claims))+"."+sig)
	w := serveDemo(app, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"username": "jane"`) {
		t.Errorf("got %d %s, want jane", w.Code, w.Body)
	}
}

func TestDemoKeysAreFetchedOnceAndChecked(t *testing.T) {
	t.Parallel()
	marshal := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	g := newDemoGate(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string][]byte{
		"good": marshal(&g.key.PublicKey), "p384": marshal(&p384.PublicKey), "rsa": marshal(&rsaKey.PublicKey),
		"text": []byte("hello"), "broken": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
	}
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, ok := answers[strings.TrimPrefix(r.URL.Path, "/keys/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body)
	}))
	defer srv.Close()
	find := demoKeysFrom(srv.Client(), srv.URL+"/keys")
	for range 3 {
		if key, err := find(t.Context(), "good"); err != nil || !key.Equal(&g.key.PublicKey) {
			t.Fatalf("got %v, %v; want the key", key, err)
		}
	}
	if got := calls.Load(); got != 1 {
		t.Errorf("calls: got %d, want 1", got)
	}
	for _, kid := range []string{"p384", "rsa", "text", "broken", "unknown"} {
		if key, err := find(t.Context(), kid); err == nil {
			t.Errorf("%s: got %v, want an error", kid, key)
		}
	}
}

func TestDemoPages(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	app := g.app(t)
	for _, test := range []struct {
		path   string
		signed bool
		status int
		want   []string
	}{
		{"/", false, 200, []string{"Try an attack", "/?id=1%27%20OR%201=1--", "Sign in", "did not come through the gateway"}},
		{"/", true, 200, []string{"Bob &lt;b&gt;", `href="/oauth2/sign_out"`, "req-1"}},
		{"/app", true, 200, []string{"bob@example.com", "admins", "b0bb0b0b", demoSigner, "12:02:00 UTC", "X-Amzn-Oidc-Data", `action="/app/echo"`}},
		{"/app", false, 401, []string{"Not signed in"}},
		{"/admin", true, 200, []string{"Admins only", "admins"}},
		{"/admin", false, 401, nil},
		{"/app/live", true, 200, []string{"/static/demo.js"}},
		{"/app/live", false, 401, nil},
		{"/public", false, 200, []string{"does not know who you are"}},
		{"/public", true, 200, []string{"said all the same"}},
		{"/nowhere/<x>", true, 404, []string{"/nowhere/&lt;x&gt;"}},
		{"/static/demo.css", false, 200, []string{"color-scheme"}},
		{"/static/demo.js", false, 200, []string{"EventSource"}},
		{"/static/icon.svg", false, 200, []string{"<svg"}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", (&url.URL{Path: test.path}).String(), nil)
		if test.signed {
			r = g.request(t, "GET", r.URL.String(), nil)
		}
		w := serveDemo(app, r)
		if w.Code != test.status {
			t.Errorf("%s signed in %v: got %d, want %d", test.path, test.signed, w.Code, test.status)
		}
		for _, want := range test.want {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s signed in %v: want %q in it", test.path, test.signed, want)
			}
		}
		if !strings.HasPrefix(test.path, "/static/") {
			checkDemoPolicy(t, test.path, w.Body.String())
		}
	}
}

var inlineCode = regexp.MustCompile(`<style|<script(?:>| [^s])| style=| on[a-z]+=|javascript:|(?:src|href)="(?:https?:)?//`)

// checkDemoPolicy looks for what default-src 'self' would block.
func checkDemoPolicy(t *testing.T, path, body string) {
	t.Helper()
	if bad := inlineCode.FindString(body); bad != "" {
		t.Errorf("%s: got %q, which default-src 'self' does not allow", path, bad)
	}
}

func TestDemoPageHidesSecrets(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	r := g.request(t, "GET", "/app", nil)
	r.Header.Set("Cookie", "session="+strings.Repeat("s", 100))
	body := serveDemo(g.app(t), r).Body.String()
	for _, name := range []string{"X-Amzn-Oidc-Data", "X-Amzn-Oidc-Accesstoken", "Cookie"} {
		if strings.Contains(body, r.Header.Get(name)) {
			t.Errorf("%s: want only its beginning", name)
		}
	}
}

func TestDemoGroupsOfSomebodyElseAreNotShown(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	r := g.request(t, "GET", "/api/hello", nil)
	r.Header.Set("X-Amzn-Oidc-Accesstoken", "e30."+base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x","cognito:groups":["admins"]}`))+".x")
	if body := serveDemo(g.app(t), r).Body.String(); !strings.Contains(body, `"groups": []`) {
		t.Errorf("got %s, want no groups", body)
	}
}

func TestDemoGroupsOfABearerTokenAreSigned(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	claims := g.claims()
	claims["cognito:groups"] = []string{"auditors"}
	r := g.request(t, "GET", "/app", nil)
	r.Header.Set("X-Amzn-Oidc-Data", g.sign(t, g.header(), claims, base64.URLEncoding))
	body := serveDemo(g.app(t), r).Body.String()
	if !strings.Contains(body, ">auditors<") || strings.Contains(body, ">admins<") || strings.Contains(body, "as the access token says") {
		t.Errorf("got %s, want the signed group only", body)
	}
}

func TestDemoAPI(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	app := g.app(t)
	bad := g.request(t, "GET", "/api/hello", nil)
	bad.Header.Set("X-Amzn-Oidc-Data", "a.b.c")
	for _, test := range []struct {
		name   string
		r      *http.Request
		status int
		want   string
	}{
		{"signed in", g.request(t, "GET", "/api/hello", nil), 200, `"username": "bob"`},
		{"groups", g.request(t, "GET", "/api/hello", nil), 200, "\"groups\": [\n    \"users\",\n    \"admins\"\n  ]"},
		{"nobody", httptest.NewRequestWithContext(t.Context(), "GET", "/api/hello", nil), 200, `"hello": "stranger"`},
		{"not believed", bad, 401, `"error"`},
	} {
		w := serveDemo(app, test.r)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: got %d %s, want %d with %s", test.name, w.Code, w.Body, test.status, test.want)
		}
	}
}

func TestDemoEcho(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	app := g.app(t)
	post := func(body string) *httptest.ResponseRecorder {
		r := g.request(t, "POST", "/app/echo", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return serveDemo(app, r)
	}
	if w := post("message=%3Cscript%3E"); w.Code != 200 || !strings.Contains(w.Body.String(), "&lt;script&gt;") {
		t.Errorf("got %d %s, want the message, escaped", w.Code, w.Body)
	}
	if w := post("message=" + strings.Repeat("x", maxDemoForm)); w.Code != http.StatusBadRequest {
		t.Errorf("too long: got %d, want 400", w.Code)
	}
}

func TestDemoEvents(t *testing.T) {
	t.Parallel()
	g := newDemoGate(t)
	srv := httptest.NewServer(g.app(t))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/app/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = g.request(t, "GET", "/app/events", nil).Header
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines, n := bufio.NewScanner(res.Body), 0
	for n < 3 && lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: {") {
			n++
		}
	}
	if n != 3 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got %d events of %s, want 3", n, res.Header.Get("Content-Type"))
	}
	if w := serveDemo(g.app(t), httptest.NewRequestWithContext(t.Context(), "GET", "/app/events", nil)); w.Code != 401 {
		t.Errorf("nobody: got %d, want 401", w.Code)
	}
}

func TestDemoWebSocket(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(newDemoGate(t).app(t))
	defer srv.Close()
	c, res, err := websocket.Dial(t.Context(), srv.URL+"/ws", &websocket.DialOptions{HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("got %d, want 101", res.StatusCode)
	}
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		if err := c.Write(t.Context(), kind, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got, message, err := c.Read(t.Context()); err != nil || got != kind || string(message) != "hello" {
			t.Errorf("got %v %q %v, want %v hello", got, message, err, kind)
		}
	}
	_, res, err = websocket.Dial(t.Context(), srv.URL+"/ws", &websocket.DialOptions{HTTPClient: srv.Client(), HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
	if err == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: got %v, want 403", err)
	}
}

func TestDemoAppNeedsKeys(t *testing.T) {
	t.Parallel()
	if _, err := newDemoApp(demoOptions{}); err == nil {
		t.Error("got no error, want one")
	}
}
