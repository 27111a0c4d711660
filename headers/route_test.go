package headers

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
)

func routeOf(t testing.TB, a *Assertion, cfg RouteAssertionConfig) *Assertion {
	t.Helper()
	route, err := a.Route(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return route
}

// accepts reports whether an application that expects the audience takes the token.
func accepts(t *testing.T, a *Assertion, token, audience string) bool {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(&signingKeyOf(t, a).private.PublicKey, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Validate(jwt.Expected{AnyAudience: jwt.Audience{audience}, Time: noon}) == nil
}

// Attack case X13: application A replays the token it got to application B.
func TestATokenOfOneRouteIsNoneOfAnother(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Padding: "unpadded"})
	orders := routeOf(t, a, RouteAssertionConfig{Audience: "https://orders.example.com", Padding: "unpadded"})
	wiki := routeOf(t, a, RouteAssertionConfig{Audience: "wiki", Padding: "unpadded"})
	again := routeOf(t, a, RouteAssertionConfig{Audience: "wiki", Padding: "unpadded"})

	// The provider, too, may know applications by these names, and it is not asked.
	id := alice()
	id.Claims = []byte(`{"sub":"alice-sub","aud":["wiki","https://orders.example.com"]}`)
	for range 2 { // signed, and remembered
		ofOrders, ofWiki := tokenFor(t, orders, id, noon), tokenFor(t, wiki, id, noon)
		if !accepts(t, a, ofOrders, "https://orders.example.com") || !accepts(t, a, ofWiki, "wiki") {
			t.Error("an application does not take its own token")
		}
		if accepts(t, a, ofOrders, "wiki") || accepts(t, a, ofWiki, "https://orders.example.com") {
			t.Error("an application takes the token of another")
		}
		if token := tokenFor(t, a, id, noon); accepts(t, a, token, "wiki") {
			t.Error("a token without an audience is taken for one with it")
		}
		if tokenFor(t, again, id, noon) != ofWiki {
			t.Error("two routes that say the same sign twice")
		}
	}
}

func TestRoutesDifferInWhatTheySay(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}})
	plain := routeOf(t, a, RouteAssertionConfig{Padding: "unpadded", AccessToken: "omit", Claims: map[string]string{"username": "X-User"}})
	for range 2 {
		h := http.Header{"X-User": {"forged"}}
		if err := plain.Set(h, alice(), noon); err != nil {
			t.Fatal(err)
		}
		token := h.Get(dataHeader)
		if strings.Contains(token, "=") {
			t.Errorf("token %s is padded", token)
		}
		delete(h, dataHeader)
		if diff := cmp.Diff(h, http.Header{identityHeader: {"alice-sub"}, "X-User": {"alice"}}); diff != "" {
			t.Errorf("headers (-got +want):\n%s", diff)
		}
		h = make(http.Header)
		if err := a.Set(h, alice(), noon); err != nil {
			t.Fatal(err)
		}
		if h.Get("X-Mail") == "" || h.Get(accessTokenHeader) == "" || h.Get("X-User") != "" || !strings.HasSuffix(h.Get(dataHeader), "==") {
			t.Errorf("the other routes' headers are %v", h)
		}
	}
}

func TestAudienceStandsLastAndOnlyWhereConfigured(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Audience: `https://a.example/"x"`})
	_, payload := verify(t, &signingKeyOf(t, a).private.PublicKey, tokenFor(t, a, alice(), noon))
	if want := `"iss":"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC123","aud":"https://a.example/\"x\""}`; !strings.HasSuffix(payload, want) {
		t.Errorf("payload %s, want it to end in %s", payload, want)
	}
	without := newTestAssertion(t, AssertionConfig{})
	_, payload = verify(t, &signingKeyOf(t, without).private.PublicKey, tokenFor(t, without, alice(), noon))
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"aud", "iat", "nbf"} {
		if members[name] != nil {
			t.Errorf("payload has %s, which ALB's has not: %s", name, payload)
		}
	}
}

func TestMappedHeadersOfARouteAreStrippedOnAll(t *testing.T) {
	t.Parallel()
	strip := newTestStripper(t, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}}, RouteAssertionConfig{Claims: map[string]string{"name": "X-Display", "email": "X-Mail"}})
	h := http.Header{"X-Mail": {"forged"}, "X_display": {"forged"}, "X.Display": {"forged"}, "X-Other": {"1"}}
	strip(h)
	if diff := cmp.Diff(h, http.Header{"X-Other": {"1"}}); diff != "" {
		t.Errorf("headers (-got +want):\n%s", diff)
	}
	_, err := NewStripper(AssertionConfig{Pass: []string{"X-Auth-User"}}, RouteAssertionConfig{Claims: map[string]string{"name": "X-Auth-User"}})
	if err == nil {
		t.Error("a header that clients may send carries a claim on a route")
	}
}

func TestRouteAssertionConfigValidate(t *testing.T) {
	t.Parallel()
	cfg := RouteAssertionConfig{Audience: "two words", Padding: "yes", AccessToken: "no", Claims: map[string]string{"a": "Host"}}
	if diff := cmp.Diff(fieldsOf(cfg.Validate), []string{"audience", "padding", "access_token", "claims.a"}); diff != "" {
		t.Errorf("fields (-got +want):\n%s", diff)
	}
	if _, err := newTestAssertion(t, AssertionConfig{}).Route(cfg); err == nil {
		t.Error("Route takes what Validate reports")
	}
	if _, err := NewStripper(AssertionConfig{}, cfg); err == nil {
		t.Error("NewStripper takes what Validate reports")
	}
}

func TestARouteIsMergedOverTheTop(t *testing.T) {
	t.Parallel()
	top := AssertionConfig{Audience: "a", Padding: "padded", AccessToken: "omit", Claims: map[string]string{"email": "X-Mail", "name": "X-Name"}}
	got := top.WithRoute(RouteAssertionConfig{Audience: "b", Claims: map[string]string{"email": "X-Other", "n": "X-N"}}).Route()
	want := RouteAssertionConfig{Audience: "b", Padding: "padded", AccessToken: "omit", Claims: map[string]string{"email": "X-Other", "name": "X-Name", "n": "X-N"}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("merged (-got +want):\n%s", diff)
	}
	if len(top.Claims) != 2 || top.Claims["email"] != "X-Mail" {
		t.Errorf("merging changed the top: %v", top.Claims)
	}
}

func TestARouteAllocatesNothingForAKnownSession(t *testing.T) {
	a := routeOf(t, newTestAssertion(t, AssertionConfig{}), RouteAssertionConfig{Audience: "wiki", Claims: map[string]string{"email": "X-Mail"}})
	id, h := alice(), browserHeader()
	if err := a.Set(h, id, noon); err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(100, func() { _ = a.Set(h, id, noon) }); got != 0 {
		t.Errorf("Set allocates %v times, want 0", got)
	}
}
