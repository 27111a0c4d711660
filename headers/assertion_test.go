package headers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse/authn/identity"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func alice() *identity.Identity {
	return &identity.Identity{
		Issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC123", ClientID: "1example23456789", Subject: "alice-sub",
		Username: "alice", Email: "alice@example.com", EmailVerified: true, Groups: []string{"admins", "users"},
		SessionID: "session-1", AccessToken: "at.alice.1",
		Claims: []byte(`{"sub":"alice-sub","email_verified":"true","email":"alice@example.com","username":"alice"}`),
	}
}

// verify checks a token as an application with a padding-tolerant decoder does, and returns its
// header and payload as they were signed.
func verify(t *testing.T, key *ecdsa.PublicKey, token string) (header, payload string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token has %d parts, want 3", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(strings.TrimRight(part, "=")); err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
	}
	if len(decoded[2]) != 64 {
		t.Fatalf("signature has %d bytes, want 64", len(decoded[2]))
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(decoded[2][:32]), new(big.Int).SetBytes(decoded[2][32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		t.Fatal("signature does not verify")
	}
	return string(decoded[0]), string(decoded[1])
}

func keysOf(t *testing.T, a *Assertion) []*signingKey {
	t.Helper()
	set, err := a.KeysAt(noon)
	if err != nil {
		t.Fatal(err)
	}
	return set.keys
}

func signingKeyOf(t *testing.T, a *Assertion) *signingKey {
	t.Helper()
	return keysOf(t, a)[0]
}

type albVector struct {
	KeySeed   string `json:"key_seed"`
	PublicKey string `json:"public_key"`
	KID       string `json:"kid"`
	Signer    string `json:"signer"`
	Issuer    string `json:"issuer"`
	Client    string `json:"client"`
	Subject   string `json:"subject"`
	Claims    string `json:"claims"`
	Exp       int64  `json:"exp"`
	Padded    string `json:"padded"`
	Unpadded  string `json:"unpadded"`
}

// vectorKey is the vector's private key in PEM.
func vectorKey(t *testing.T, seed string) string {
	t.Helper()
	scalar := sha256.Sum256([]byte(seed))
	scalar[0] &= 0x7f
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestAssertionMatchesALB(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/alb-assertion.json")
	if err != nil {
		t.Fatal(err)
	}
	var vector albVector
	if err := json.Unmarshal(content, &vector); err != nil {
		t.Fatal(err)
	}
	for padding, want := range map[string]string{"": vector.Padded, "padded": vector.Padded, "unpadded": vector.Unpadded} {
		t.Run("padding "+padding, func(t *testing.T) {
			t.Parallel()
			a, err := NewAssertion(AssertionConfig{Signer: vector.Signer, Padding: padding, Keys: []string{vectorKey(t, vector.KeySeed)}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(signingKeyOf(t, a).pem); got != vector.PublicKey {
				t.Errorf("public key:\n%s\nwant:\n%s", got, vector.PublicKey)
			}
			signingKeyOf(t, a).kid = vector.KID // AWS names its keys at random
			id := &identity.Identity{Issuer: vector.Issuer, ClientID: vector.Client, Subject: vector.Subject, Claims: []byte(vector.Claims)}
			h := make(http.Header)
			if err := a.Set(h, id, time.Unix(vector.Exp-120, 0)); err != nil {
				t.Fatal(err)
			}
			got := h.Get("x-amzn-oidc-data")
			public := &signingKeyOf(t, a).private.PublicKey
			verify(t, public, got)
			verify(t, public, want)
			// Signatures are randomised; everything that is signed is not.
			gotSigned, gotSignature := cutLast(got)
			wantSigned, wantSignature := cutLast(want)
			if gotSigned != wantSigned || len(gotSignature) != len(wantSignature) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func cutLast(token string) (signed, signature string) {
	dot := strings.LastIndexByte(token, '.')
	return token[:dot], token[dot+1:]
}

func TestSetWritesTheThreeHeaders(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	h := http.Header{"X-Amzn-Oidc-Data": {"forged"}, "X-Amzn-Oidc-Identity": {"forged", "twice"}, "Accept": {"*/*"}}
	if err := a.Set(h, alice(), noon); err != nil {
		t.Fatal(err)
	}
	header, payload := verify(t, &signingKeyOf(t, a).private.PublicKey, h.Get("x-amzn-oidc-data"))
	wantHeader := fmt.Sprintf(`{"typ":"JWT","kid":"%s","alg":"ES256","iss":"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC123",`+
		`"client":"1example23456789","signer":"arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/gatehouse/0000000000000000",`+
		`"exp":1795262520}`, signingKeyOf(t, a).kid)
	if header != wantHeader {
		t.Errorf("header %s\nwant   %s", header, wantHeader)
	}
	wantPayload := `{"sub":"alice-sub","email_verified":"true","email":"alice@example.com","username":"alice",` +
		`"exp":1795262520,"iss":"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC123"}`
	if payload != wantPayload {
		t.Errorf("payload %s\nwant    %s", payload, wantPayload)
	}
	h.Del("x-amzn-oidc-data")
	want := http.Header{"X-Amzn-Oidc-Identity": {"alice-sub"}, "X-Amzn-Oidc-Accesstoken": {"at.alice.1"}, "Accept": {"*/*"}}
	if diff := cmp.Diff(h, want); diff != "" {
		t.Errorf("headers (-got +want):\n%s", diff)
	}
}

func TestSetWithoutIdentityOnlyDeletes(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}})
	h := http.Header{
		"X-Amzn-Oidc-Data": {"x"}, "X-Amzn-Oidc-Identity": {"x"}, "X-Amzn-Oidc-Accesstoken": {"x"}, "X-Mail": {"x"},
		"X-Amzn-Mtls-Clientcert-Subject": {"the gateway's own"},
	}
	if err := a.Set(h, nil, noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, http.Header{"X-Amzn-Mtls-Clientcert-Subject": {"the gateway's own"}}); diff != "" {
		t.Errorf("headers (-got +want):\n%s", diff)
	}
}

func TestUnpaddedAssertionVerifiesWithGoJose(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Padding: "unpadded", AccessToken: "omit"})
	h := make(http.Header)
	if err := a.Set(h, alice(), noon); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(h.Get("x-amzn-oidc-data"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks(keysOf(t, a)), &set); err != nil {
		t.Fatal(err)
	}
	keys := set.Key(jws.Signatures[0].Protected.KeyID)
	if len(keys) != 1 {
		t.Fatalf("the key set has %d keys for the token's kid, want 1", len(keys))
	}
	if _, err := jws.Verify(keys[0].Key); err != nil {
		t.Error(err)
	}
	if got := h["X-Amzn-Oidc-Accesstoken"]; got != nil {
		t.Errorf("access token %q is sent, want it omitted", got)
	}
}

func TestSetRefusesWhatItCannotSign(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Claims: map[string]string{"name": "X-Name", "groups": "X-Groups"}})
	tests := map[string]func(id *identity.Identity){
		"no subject":                  func(id *identity.Identity) { id.Subject = "" },
		"subject with a line break":   func(id *identity.Identity) { id.Subject = "alice\r\nX-Admin: 1" },
		"subject beyond ASCII":        func(id *identity.Identity) { id.Subject = "älice" },
		"subject with blank at end":   func(id *identity.Identity) { id.Subject = "alice-sub " },
		"subject of 256 bytes":        func(id *identity.Identity) { id.Subject = strings.Repeat("a", 256) },
		"another subject in claims":   func(id *identity.Identity) { id.Claims = []byte(`{"sub":"mallory"}`) },
		"no subject in claims":        func(id *identity.Identity) { id.Claims = []byte(`{}`) },
		"subject that is no string":   func(id *identity.Identity) { id.Claims = []byte(`{"sub":["alice-sub"]}`) },
		"no claims":                   func(id *identity.Identity) { id.Claims = nil },
		"claims that are no object":   func(id *identity.Identity) { id.Claims = []byte(`["sub"]`) },
		"claims with bytes after":     func(id *identity.Identity) { id.Claims = append(id.Claims, '}') },
		"claims cut off":              func(id *identity.Identity) { id.Claims = id.Claims[:len(id.Claims)-1] },
		"claims not UTF-8":            func(id *identity.Identity) { id.Claims = []byte("{\"sub\":\"alice-sub\",\"x\":\"\xff\"}") },
		"claims too large":            func(id *identity.Identity) { id.Claims = append(id.Claims, make([]byte, maxClaims)...) },
		"a member twice":              func(id *identity.Identity) { id.Claims = []byte(`{"sub":"alice-sub","a":1,"\u0061":2}`) },
		"AUD without aud":             func(id *identity.Identity) { id.Claims = []byte(`{"sub":"alice-sub","AUD":"b"}`) },
		"SUB beside sub":              func(id *identity.Identity) { id.Claims = []byte(`{"sub":"alice-sub","SUB":"root"}`) },
		"no issuer":                   func(id *identity.Identity) { id.Issuer = "" },
		"no client":                   func(id *identity.Identity) { id.ClientID = "" },
		"access token with a blank":   func(id *identity.Identity) { id.AccessToken = "a b" },
		"mapped claim with line feed": func(id *identity.Identity) { id.Claims = []byte(`{"sub":"alice-sub","name":"a\nb"}`) },
		"mapped group with a comma":   func(id *identity.Identity) { id.Groups = []string{"a,admins"} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := alice()
			change(id)
			h := http.Header{"X-Amzn-Oidc-Data": {"forged"}, "X-Name": {"forged"}}
			for range 2 { // the second time the failure must not be a cached success
				if err := a.Set(h, id, noon); err == nil {
					t.Error("Set succeeded, want an error")
				} else if strings.ContainsAny(err.Error(), "\r\n") || id.AccessToken != "" && strings.Contains(err.Error(), id.AccessToken) {
					t.Errorf("error %q shows what it must not", err)
				}
			}
			if len(h) != 0 {
				t.Errorf("headers %q are left, want none", h)
			}
		})
	}
}

func TestPayloadKeepsTheirBytesAndOurMembers(t *testing.T) {
	t.Parallel()
	const ours = `"exp":1,"iss":"https://i"}`
	tests := []struct{ claims, want string }{
		{`{}`, `{` + ours},
		{`{"a":1}`, `{"a":1,` + ours},
		{"{ \"a\" : \"\\u00e9 é\" ,\n \"b\" : {\"exp\":2,\"c\":[1, 2]}\n}\n", "{ \"a\" : \"\\u00e9 é\" ,\n \"b\" : {\"exp\":2,\"c\":[1, 2]}\n," + ours},
		{`{"exp":99,"a":1}`, `{"a":1,` + ours},
		{`{"a":1,"exp":99,"b":1e2,"iss":"other"}`, `{"a":1,"b":1e2,` + ours},
		{`{"exp":99,"iss":"other"}`, `{` + ours},
		{`{"aud":"another application","a":1}`, `{"a":1,` + ours},
		{`{"\u0065xp":99,"a":"}"}`, `{"a":"}",` + ours},
	}
	for _, tt := range tests {
		members, err := parseMembers([]byte(tt.claims))
		if err != nil {
			t.Errorf("%s: %v", tt.claims, err)
			continue
		}
		if got := string(payload(members, "https://i", "", "1")); got != tt.want {
			t.Errorf("payload of %q\n got %q\nwant %q", tt.claims, got, tt.want)
		}
	}
}

func TestMappedClaims(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{Claims: map[string]string{
		"email": "X-Mail", "cognito:groups": "X-Groups", "name": "X-Name", "custom:list": "X-List", "n": "X-Number", "b": "X-Bool", "none": "X-None",
		"null": "X-Null", "empty": "X-Empty", "empties": "X-Empties",
	}})
	id := alice()
	id.Claims = []byte(`{"sub":"alice-sub","email":"alice@example.com","name":"Zoë <z>","custom:list":["a","b c",3,true],"n":1.50,"b":false,"null":null,"empty":"","empties":[]}`)
	h := http.Header{"X-None": {"forged"}, "X-Null": {"forged"}, "X-Empty": {"forged"}, "X-Empties": {"forged"}}
	if err := a.Set(h, id, noon); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dataHeader, identityHeader, accessTokenHeader} {
		h.Del(name)
	}
	want := http.Header{
		"X-Mail": {"alice@example.com"}, "X-Groups": {"admins,users"}, "X-Name": {"Zoë <z>"}, "X-List": {"a,b c,3,true"},
		"X-Number": {"1.50"}, "X-Bool": {"false"},
	}
	if diff := cmp.Diff(h, want); diff != "" {
		t.Errorf("headers (-got +want):\n%s", diff)
	}
}

func TestUnverifiedEmailIsNotTold(t *testing.T) {
	t.Parallel()
	for _, insecure := range []bool{false, true} {
		a := newTestAssertion(t, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}, InsecureUnverifiedEmail: insecure})
		id := alice()
		id.EmailVerified = false
		h := make(http.Header)
		if err := a.Set(h, id, noon); err != nil {
			t.Fatal(err)
		}
		if got := h.Get("X-Mail") != ""; got != insecure {
			t.Errorf("insecure_unverified_email %v: header is sent: %v, want %v", insecure, got, insecure)
		}
	}
}

func TestClaimValueRefusesTwoReadings(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`{"a":1}`, `["a","b,c"]`, `["a",""]`, `["a",["b"]]`, `["a",{}]`, `["a",null]`, `"a\u0000"`, `"a\u0085b"`, `"\ta"`, `"a "`, `"\u00a0a"`, `"a\r\nb"`, `["a\nb"]`,
	} {
		if got, err := rawValue(json.RawMessage(raw)); err == nil {
			t.Errorf("rawValue(%s) = %q, want an error", raw, got)
		}
	}
}

func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"a"}`, ` { "sub" : "a" , "exp" : 1 } `, `{"sub":"a","iss":{"exp":[]},"x":"\ud800"}`, `{"sub":"a","\u0073ub":"b"}`, `{,}`, `{"a":1,}`, `{"a"1}`, `{}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		members, err := parseMembers(claims)
		if err != nil {
			return
		}
		var theirs, ours map[string]json.RawMessage
		if err := json.Unmarshal(claims, &theirs); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", claims, err)
		}
		if err := json.Unmarshal(payload(members, "https://i", "", "1"), &ours); err != nil {
			t.Fatalf("payload of %q is not JSON: %v", claims, err)
		}
		delete(theirs, "aud")
		theirs["exp"], theirs["iss"] = json.RawMessage(`1`), json.RawMessage(`"https://i"`)
		if diff := cmp.Diff(ours, theirs); diff != "" {
			t.Errorf("payload of %q (-got +want):\n%s", claims, diff)
		}
		for _, m := range members {
			if value, err := rawValue(m.value); err == nil && strings.ContainsAny(value, "\r\n\x00") {
				t.Errorf("header value %q of %s", value, m.value)
			}
		}
	})
}
