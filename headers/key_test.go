package headers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func encodePEM(t *testing.T, kind string, key any) string {
	t.Helper()
	var der []byte
	var err error
	if private, ok := key.(*ecdsa.PrivateKey); ok && kind == "EC PRIVATE KEY" {
		der, err = x509.MarshalECPrivateKey(private)
	} else {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func generate(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	p256 := generate(t, elliptic.P256())
	sec1, pkcs8 := encodePEM(t, "EC PRIVATE KEY", p256), encodePEM(t, "PRIVATE KEY", p256)
	parameters := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	for name, content := range map[string]string{"SEC 1": sec1, "PKCS #8": pkcs8, "after parameters": parameters + sec1, "after text": "# ours\n" + pkcs8} {
		keys, err := parseKeys([]byte(content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(keys) != 1 || !keys[0].private.Equal(p256) {
			t.Errorf("%s: other keys", name)
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty":       "",
		"P-384":       encodePEM(t, "PRIVATE KEY", generate(t, elliptic.P384())),
		"RSA":         encodePEM(t, "PRIVATE KEY", rsaKey),
		"encrypted":   "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"certificate": sec1 + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"cut off":     sec1 + pkcs8[:len(pkcs8)-10],
		"17 keys":     manyKeys(t, 17),
		"broken":      "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
		"parameters":  parameters,
	} {
		if _, err := parseKeys([]byte(content)); err == nil {
			t.Errorf("%s: accepted, want an error", name)
		}
	}
}

func manyKeys(t *testing.T, n int) string {
	t.Helper()
	var all strings.Builder
	for range n {
		all.WriteString(encodePEM(t, "PRIVATE KEY", generate(t, elliptic.P256())))
	}
	return all.String()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestDerivedKeyIsThatOfTheSecret(t *testing.T) {
	t.Parallel()
	one := must(deriveKey([]byte(strings.Repeat("a", 32)), ""))
	if again := must(deriveKey([]byte(strings.Repeat("a", 32)), "")); !one.Equal(again) {
		t.Error("the same secret gives two keys")
	}
	if other := must(deriveKey([]byte(strings.Repeat("b", 32)), "")); one.Equal(other) {
		t.Error("two secrets give one key")
	}
	if _, err := deriveKey([]byte(strings.Repeat("a", 31)), ""); err == nil {
		t.Error("a secret of 31 bytes is taken")
	}
	// Written down, because a changed derivation would make every application refetch keys on an upgrade.
	const want = "76094336-fb59-888c-a42b-6bb2701c7757"
	if got := must(newSigningKey(one)).kid; got != want {
		t.Errorf("kid %s, want %s", got, want)
	}
}

func TestKeyIDIsWhatVerifiersLookUp(t *testing.T) {
	t.Parallel()
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for range 20 {
		if kid := must(newSigningKey(generate(t, elliptic.P256()))).kid; !uuid.MatchString(kid) {
			t.Errorf("kid %q is not a UUID of version 8", kid)
		}
	}
}

func TestKeysFromFilesFirstSignsAllArePublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := generate(t, elliptic.P256()), generate(t, elliptic.P256())
	file := filepath.Join(dir, "one.pem")
	if err := os.WriteFile(file, []byte(encodePEM(t, "EC PRIVATE KEY", one)), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := NewAssertion(AssertionConfig{Keys: []string{file, "\n" + encodePEM(t, "PRIVATE KEY", two)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, &one.PublicKey, tokenFor(t, a, alice(), noon))

	recorder := httptest.NewRecorder()
	a.Keys().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/jwks.json", nil))
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(recorder.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0].ID != must(newSigningKey(one)).kid || set.Keys[1].ID != must(newSigningKey(two)).kid {
		t.Errorf("key set %+v, want both in order", set)
	}
	for name, keys := range map[string][]string{"twice": {file, file}, "missing": {filepath.Join(dir, "none.pem")}, "a directory": {dir}} {
		if _, err := NewAssertion(AssertionConfig{Keys: keys}, nil); err == nil || !strings.Contains(err.Error(), "keys[") {
			t.Errorf("%s: error %v, want one that names the entry", name, err)
		}
	}
}

func TestAFileMayHoldSeveralKeys(t *testing.T) {
	t.Parallel()
	signs, next, old := generate(t, elliptic.P256()), generate(t, elliptic.P256()), generate(t, elliptic.P256())
	oldPublic := string(must(newSigningKey(old)).pem)
	file := filepath.Join(t.TempDir(), "keys.pem")
	content := encodePEM(t, "PRIVATE KEY", signs) + encodePEM(t, "EC PRIVATE KEY", next) + oldPublic
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := NewAssertion(AssertionConfig{Keys: []string{file}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, &signs.PublicKey, tokenFor(t, a, alice(), noon))
	set, err := a.KeysAt(noon)
	if err != nil {
		t.Fatal(err)
	}
	want := []KeyInfo{
		{must(newSigningKey(signs)).kid, true, "keys[0] " + file},
		{must(newSigningKey(next)).kid, false, "keys[0] " + file},
		{must(newSigningKey(old)).kid, false, "keys[0] " + file},
	}
	if diff := cmp.Diff(set.List(), want); diff != "" {
		t.Errorf("keys (-got +want):\n%s", diff)
	}
	if got := fetch(a, noon, "/"+want[2].ID).Body.String(); got != oldPublic {
		t.Errorf("the old key is published as %q, want %q", got, oldPublic)
	}
	for name, keys := range map[string][]string{
		"public first": {oldPublic, file}, "public only": {oldPublic}, "the same, public": {file, oldPublic},
		"too large": {string(bytes.Repeat([]byte("# "), maxKeyFile)) + content},
	} {
		if name == "too large" {
			large := filepath.Join(t.TempDir(), "large.pem")
			if err := os.WriteFile(large, []byte(keys[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			keys = []string{large}
		}
		if _, err := NewAssertion(AssertionConfig{Keys: keys}, nil); err == nil || !strings.Contains(err.Error(), "keys[") {
			t.Errorf("%s: error %v, want one that names the entry", name, err)
		}
	}
}

func TestKeysEndpoint(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	kid := signingKeyOf(t, a).kid
	tests := []struct {
		method, path string
		status       int
		contentType  string
		cache        string
		body         []byte
	}{
		{"GET", "/" + kid, 200, "text/plain; charset=utf-8", "public, max-age=3600", signingKeyOf(t, a).pem},
		{"HEAD", "/" + kid, 200, "text/plain; charset=utf-8", "public, max-age=3600", nil},
		{"GET", "/jwks.json", 200, "application/json", "public, max-age=3600", jwks(keysOf(t, a))},
		{"GET", "/.well-known/jwks.json", 200, "application/json", "public, max-age=3600", jwks(keysOf(t, a))},
		{"GET", "/" + strings.ToUpper(kid), 404, "text/plain; charset=utf-8", "no-store", []byte("unknown key\n")},
		{"GET", "/" + kid + "/", 404, "text/plain; charset=utf-8", "no-store", []byte("unknown key\n")},
		{"GET", "/00000000-0000-4000-8000-000000000000", 404, "text/plain; charset=utf-8", "no-store", []byte("unknown key\n")},
		{"GET", "/../" + kid, 404, "text/plain; charset=utf-8", "no-store", []byte("unknown key\n")},
		{"GET", "/%3Cscript%3E", 404, "text/plain; charset=utf-8", "no-store", []byte("unknown key\n")},
		{"GET", "/", 404, "text/plain; charset=utf-8", "no-store", []byte("unknown key\n")},
		{"POST", "/" + kid, 405, "text/plain; charset=utf-8", "no-store", []byte("method not allowed\n")},
		{"OPTIONS", "/jwks.json", 405, "text/plain; charset=utf-8", "no-store", []byte("method not allowed\n")},
	}
	for _, tt := range tests {
		recorder := httptest.NewRecorder()
		a.Keys().ServeHTTP(recorder, httptest.NewRequest(tt.method, tt.path, nil))
		h := recorder.Header()
		if recorder.Code != tt.status || h.Get("Content-Type") != tt.contentType || h.Get("Cache-Control") != tt.cache || !bytes.Equal(recorder.Body.Bytes(), tt.body) {
			t.Errorf("%s %s: %d %q %q %q, want %d %q %q %q", tt.method, tt.path, recorder.Code, h.Get("Content-Type"), h.Get("Cache-Control"), recorder.Body,
				tt.status, tt.contentType, tt.cache, tt.body)
		}
		if got := h.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s %s: X-Content-Type-Options %q, want nosniff", tt.method, tt.path, got)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n"))
	der, err := x509.MarshalPKCS8PrivateKey(must(deriveKey([]byte(strings.Repeat("f", 32)), "")))
	if err != nil {
		f.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	public := must(newSigningKey(must(deriveKey([]byte(strings.Repeat("g", 32)), "")))).pem
	f.Add(private)
	f.Add(slices.Concat(private, public))
	f.Add(slices.Concat([]byte("# text\n"), public, private, []byte("-----BEGIN ")))
	f.Fuzz(func(t *testing.T, content []byte) {
		keys, err := parseKeys(content)
		if err != nil {
			if keys != nil {
				t.Errorf("keys %v with error %v", keys, err)
			}
			return
		}
		if len(keys) == 0 || len(keys) > maxKeys || len(keys) > begins(content) {
			t.Fatalf("%d keys of %d blocks", len(keys), begins(content))
		}
		for _, key := range keys {
			again, err := parseKeys(key.pem)
			if err != nil || len(again) != 1 || again[0].kid != key.kid || again[0].private != nil {
				t.Errorf("what is published reads as %v, %v, want the public key %s", again, err, key.kid)
			}
		}
	})
}
