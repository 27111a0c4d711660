package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/waf"
)

// serveText serves a file's routes without a listener.
func serveText(t *testing.T, rest string) http.Handler {
	t.Helper()
	return serveConfig(t, loadText(t, rest))
}

func serveConfig(t *testing.T, cfg *configs.Config) http.Handler {
	t.Helper()
	a, err := assemble(cfg, nil, newObserver(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.parts.release)
	gateway := new(proxy.Gateway)
	gateway.Swap(a.generation)
	return gateway
}

func ask(h http.Handler, method, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w
}

const loginText = `tls: {local: true}
login: {oidc: {issuer: "https://login.test", client_id: c, client_secret: 0123456789abcdef0123456789abcdef}, tokens: {audience: [api]}}
routes:
  - {match: private.test/only, to: app, require: signed-in}
  - {match: api.test/only, to: app, require: token}
  - {match: public.test/only, to: app, require: nothing}
`

func TestOwnRoutesAreWhereSomebodyCanSignIn(t *testing.T) {
	t.Parallel()
	h := serveText(t, loginText)
	for _, tt := range []struct {
		method, url string
		want        []int
	}{
		{"GET", "https://private.test/oauth2/idpresponse", []int{400}}, // nobody was sent to sign in
		{"GET", "https://private.test" + keysPrefix + "/jwks.json", []int{200}},
		{"GET", "https://api.test" + keysPrefix + "/jwks.json", []int{200}},
		{"HEAD", "https://api.test" + keysPrefix + "/jwks.json", []int{200}},
		{"POST", "https://api.test" + keysPrefix + "/jwks.json", []int{405}},
		{"GET", "https://private.test" + keysPrefix + "/nosuchkey", []int{404}},
		{"GET", "https://private.test/oauth2/session", []int{200}},
		{"GET", "https://private.test/oauth2/session.js", []int{200}},
		{"GET", "https://private.test/oauth2/signed_in", []int{200}},
		{"PUT", "https://private.test/oauth2/session", []int{405}},
		{"GET", "https://public.test/oauth2/session.js", []int{404}},
		{"GET", "https://public.test/oauth2/idpresponse", []int{404}},
		{"GET", "https://public.test" + keysPrefix + "/jwks.json", []int{404}},
		{"GET", "https://other.test" + keysPrefix + "/jwks.json", []int{404, 421}},
	} {
		if got := ask(h, tt.method, tt.url).Code; !slices.Contains(tt.want, got) {
			t.Errorf("%s %s: got %d, want %d", tt.method, tt.url, got, tt.want)
		}
	}
}

func TestOwnRoutesAreWhereAPriorityBringsTheSignInTo(t *testing.T) {
	t.Parallel()
	h := serveText(t, `tls: {local: true}
login: {oidc: {issuer: "https://login.test", client_id: c, client_secret: 0123456789abcdef0123456789abcdef}}
routes:
  - {match: {path: /account/*}, priority: 1, to: app, require: signed-in}
  - {match: {host: "*.shops.test", path: /till/*}, priority: 2, to: app, require: signed-in}
  - {match: {host: one.narrow.test, path: /desk/*}, priority: 3, to: app, require: signed-in}
  - {match: [open.test, a.shops.test, "*.narrow.test"], respond: {status: 418}, require: nothing}
`)
	for _, url := range []string{
		"https://open.test/oauth2/idpresponse", "https://a.shops.test/oauth2/idpresponse",
		"https://b.shops.test/oauth2/idpresponse", "https://one.narrow.test/oauth2/idpresponse",
	} {
		if got := ask(h, "GET", url).Code; got != 400 { // nobody was sent to sign in
			t.Errorf("%s: got %d, want the callback's 400", url, got)
		}
	}
	if got := ask(h, "GET", "https://open.test/other").Code; got != 418 {
		t.Errorf("another path: got %d, want 418 of its own route", got)
	}
}

func TestThePublishedKeysAreTheAssertions(t *testing.T) {
	t.Parallel()
	w := ask(serveText(t, loginText), "GET", "https://private.test"+keysPrefix+"/jwks.json")
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("got %s, %v, want a set with a key", w.Body, err)
	}
	for _, key := range set.Keys {
		if key["kty"] != "EC" || key["d"] != nil {
			t.Errorf("got a key of type %v, private part %v, want the public half of one on a curve", key["kty"], key["d"] != nil)
		}
	}
}

func TestRoutesOnAnyHostHaveTheirOwnEndpoints(t *testing.T) {
	t.Parallel()
	h := serveText(t, `tls: {local: true}
login: {oidc: {issuer: "https://login.test", client_id: c, client_secret: 0123456789abcdef0123456789abcdef}}
routes: [{match: {path: /only}, to: app, require: optional}]
`)
	if got := ask(h, "GET", "https://whatever.test"+keysPrefix+"/jwks.json").Code; got != http.StatusOK {
		t.Errorf("got %d, want 200", got)
	}
}

// Every callback can cost a call to the provider.
func TestSignInEndpointsAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	h := serveText(t, loginText)
	codes := map[int]int{}
	for range 150 {
		codes[ask(h, "GET", "https://private.test/oauth2/idpresponse").Code]++
	}
	if codes[http.StatusTooManyRequests] < 20 || codes[http.StatusBadRequest] < 120 {
		t.Errorf("150 callbacks at once: got answers %v, want about 120 with 400 and the rest with 429", codes)
	}
	if got := ask(h, "GET", "https://private.test"+keysPrefix+"/jwks.json").Code; got != http.StatusOK {
		t.Errorf("the keys meanwhile: got %d, want 200", got)
	}
}

// A provider says who it is in every answer (RFC 9207), and its codes look like anything.
func TestTheAnswerOfAProviderIsNoAttack(t *testing.T) {
	t.Parallel()
	cfg := loadText(t, loginText)
	cfg.WAF = waf.Config{Paranoia: 4}
	h := serveConfig(t, cfg)
	for query, want := range map[string]int{
		"code=x&state=y&iss=http%3A%2F%2F127.0.0.1%3A8080":                          401,
		"code=x&state=y&iss=https%3A%2F%2Flogin.test%2Frealms%2Fa%3F":               401,
		"code=1%27%20OR%201%3D1--&state=y":                                          401,
		"error=access_denied&error_description=Don%27t%20select%20*%20from%20users": 403,
	} {
		w := ask(h, "GET", "https://private.test/oauth2/idpresponse?"+query)
		if w.Code != want || !strings.Contains(w.Body.String(), "/oauth2/sign_in") {
			t.Errorf("%s: got %d, want %d by the endpoint itself\n%s", query, w.Code, want, w.Body)
		}
	}
	if got := ask(h, "GET", "https://private.test/oauth2/sign_in?rd=/%3Fx%3D%3Cscript%3Ealert(1)%3C%2Fscript%3E").Code; got != http.StatusForbidden {
		t.Errorf("an attack on the sign-in page: got %d, want 403", got)
	}
}

func TestWithoutALoginNothingIsOurs(t *testing.T) {
	t.Parallel()
	h := serveText(t, "tls: {local: true}\nroutes: [{match: public.test/only, to: app, require: nothing}]\n")
	for _, path := range []string{"/oauth2/idpresponse", "/oauth2/sign_out", keysPrefix + "/jwks.json"} {
		if got := ask(h, "GET", "https://public.test"+path).Code; got != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, got)
		}
	}
}

// Tabs that ask for the session must not keep people from signing in.
func TestAskingForTheSessionHasALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	h := serveText(t, loginText)
	for range 200 {
		if got := ask(h, "GET", "https://private.test/oauth2/session").Code; got != http.StatusOK {
			t.Fatalf("the session: got %d, want 200", got)
		}
	}
	if got := ask(h, "GET", "https://private.test/oauth2/idpresponse").Code; got != http.StatusBadRequest {
		t.Errorf("the callback meanwhile: got %d, want 400 by the endpoint itself", got)
	}
}

// A provider that ends everybody's session sends a token for each, all from its own address, and most send none twice.
func TestAProviderMaySignManyPeopleOut(t *testing.T) {
	t.Parallel()
	h := serveText(t, loginText)
	for i := range 500 {
		if got := ask(h, "POST", "https://private.test/oauth2/backchannel_logout").Code; got != http.StatusBadRequest {
			t.Fatalf("token %d: got %d, want 400 by the endpoint itself", i, got)
		}
	}
}
