package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
)

// claim changes a claim of the ID token, or takes it out where value is nil.
func claim(name string, value any) func(*stack) {
	return func(s *stack) { idClaim(name, value)(s, nil, nil) }
}

// signed changes the header of the ID token, and its signature unless sign is nil.
func signed(head object2, sign func(input string) []byte) func(*stack) {
	return func(s *stack) {
		s.set(func() {
			s.idHead = func(h object2) {
				for name, value := range head {
					if h[name] = value; value == nil {
						delete(h, name)
					}
				}
			}
			s.idSign = sign
		})
	}
}

// published has the provider publish these keys, and name none in its ID tokens.
func published(set ...object2) func(*stack) {
	return func(s *stack) {
		s.jwks = set
		signed(object2{"kid": nil}, nil)(s)
	}
}

// TestConformance goes beyond what the OpenID Foundation's suite asks of a code flow (rp_test.go), each
// through a whole login. The reason is "" where the login has to succeed.
func TestConformance(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	anyAlg := func(kid string, key *rsa.PrivateKey) object2 {
		jwk := rsaJWK(kid, key, nil)
		delete(jwk, "alg")
		return jwk
	}
	for name, tt := range map[string]struct {
		spoil  func(*stack)
		reason string
	}{
		"ES256":                 {signed(object2{"alg": "ES256", "kid": "ec"}, func(in string) []byte { return signEC(keys.ec, in) }), ""},
		"HS256 with our secret": {signed(object2{"alg": "HS256", "kid": nil}, mac), ReasonInvalidIDToken},

		"iss absent":         {claim("iss", nil), ReasonInvalidIDToken},
		"exp absent":         {claim("exp", nil), ReasonInvalidIDToken},
		"nonce absent":       {claim("nonce", nil), ReasonInvalidIDToken},
		"at_hash absent":     {claim("at_hash", nil), ""},
		"userinfo of nobody": {func(s *stack) { replace("userinfo", 200, `{"email":"alice@example.com"}`)(s, nil, nil) }, ReasonInvalidUserinfo},

		// OpenID Connect Core 1.0 section 10.1: with several keys that could be it a kid is required.
		"kid absent, one key for RS256": {published(rsaJWK("k1", keys.k1, nil), ecJWK("ec", keys.ec)), ""},
		"kid absent, one RSA key":       {published(anyAlg("k1", keys.k1), ecJWK("ec", keys.ec)), ""},
		"kid absent, several RSA keys":  {published(anyAlg("k1", keys.k1), anyAlg("k2", keys.k2)), ReasonInvalidIDToken},
		"kid of a key of another type":  {signed(object2{"kid": "ec"}, nil), ReasonInvalidIDToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newConformanceStack(t, tt.spoil).testLogin(tt.reason)
		})
	}
}

// testLogin signs somebody in, which has to succeed, or to be refused for a reason that is not "".
func (s *stack) testLogin(reason string) {
	s.t.Helper()
	b, u := s.begun("/page")
	a := b.visit(u.String())
	if ok := a.status == 302 && a.location == "/page"; ok != (reason == "") || !ok && s.lastReason() != reason {
		s.t.Errorf("got %d %s (%v), want %q", a.status, s.lastReason(), s.errs, reason)
	}
}

// newConformanceStack spoils the provider after it has been reached, and connects again if its keys are
// others.
func newConformanceStack(t *testing.T, spoil func(*stack)) *stack {
	t.Helper()
	s := newStack(t, withOIDC, func(s *stack) {
		s.op.discovery = object2{"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}}
		s.op.jwks = []map[string]any{
			rsaJWK("k1", testKeys().k1, nil), rsaJWK("k2", testKeys().k2, nil), ecJWK("ec", testKeys().ec),
		}
	})
	spoil(s)
	if s.signKid == "k1" {
		if err := s.provider.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// rotateKeys has the provider sign with a key that nobody has seen.
func rotateKeys(s *stack) {
	s.set(func() {
		s.signKey, s.signKid = testKeys().evil, "k3"
		s.jwks = []map[string]any{rsaJWK("k3", testKeys().evil, nil)}
	})
}

func flipped(sig []byte) []byte {
	sig[len(sig)/2] ^= 1
	return sig
}

func mac(input string) []byte {
	m := hmac.New(sha256.New, []byte(testSecret))
	m.Write([]byte(input))
	return m.Sum(nil)
}

func TestKeysSignWithTheirOwnAlgorithms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  publicKey
		want string
	}{
		{publicKey{key: &rsa.PublicKey{}}, "RS256 RS384 RS512 PS256 PS384 PS512"},
		{publicKey{key: &rsa.PublicKey{}, alg: "PS256"}, "PS256"},
		{publicKey{key: &ecdsa.PublicKey{Curve: elliptic.P256()}}, "ES256"},
		{publicKey{key: &ecdsa.PublicKey{Curve: elliptic.P384()}}, "ES384"},
		{publicKey{key: &ecdsa.PublicKey{Curve: elliptic.P521()}}, "ES512"},
		{publicKey{key: &ecdsa.PublicKey{Curve: elliptic.P224()}}, ""},
		{publicKey{key: &ecdsa.PublicKey{Curve: elliptic.P256()}, alg: "RS256"}, ""},
		{publicKey{key: ed25519.PublicKey{}}, "EdDSA"},
	} {
		var got []string
		for alg := range strings.FieldsSeq("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA HS256 none") {
			if tt.key.signs(alg) {
				got = append(got, alg)
			}
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%T %q: got %q, want %q", tt.key.key, tt.key.alg, got, tt.want)
		}
	}
}
