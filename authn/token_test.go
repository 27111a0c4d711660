package authn

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile is one token of the corpus. The corpus is made anew for every run, with keys of our own.
type hostile struct {
	name  string
	token string
	want  string // accept, reject or either
}

// forge knows the payload that is right and makes everything else of it.
type forge struct {
	now  int64
	good object2
}

func (f forge) payload(change ...any) object2 {
	p := maps.Clone(f.good)
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == nil {
			delete(p, change[i].(string))
		} else {
			p[change[i].(string)] = change[i+1]
		}
	}
	return p
}

func head(more ...any) object2 {
	h := object2{"alg": "RS256", "kid": "k1"}
	for i := 0; i < len(more); i += 2 {
		if h[more[i].(string)] = more[i+1]; more[i+1] == nil {
			delete(h, more[i].(string))
		}
	}
	return h
}

func hs256(key []byte, h, payload any) string {
	input := encode(h) + "." + encode(payload)
	m := hmac.New(sha256.New, key)
	m.Write([]byte(input))
	return input + "." + b64(m.Sum(nil))
}

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (f forge) tokens(t *testing.T, es256 bool) []hostile {
	list := f.algorithms(t, es256)
	list = append(list, f.keys(t)...)
	list = append(list, f.forms()...)
	list = append(list, f.headers()...)
	return append(list, f.claims()...)
}

func (f forge) algorithms(t *testing.T, es256 bool) []hostile {
	keys, p := testKeys(), f.good
	ec := func(sig func(input string) []byte, kid string) string {
		input := encode(object2{"alg": "ES256", "kid": kid}) + "." + encode(p)
		return input + "." + b64(sig(input))
	}
	goodEC := "reject"
	if es256 {
		goodEC = "accept"
	}
	list := []hostile{
		{"good RS256 k1", mint(keys.k1, head(), p), "accept"},
		{"good RS256 k2", mint(keys.k2, head("kid", "k2"), p), "accept"},
		{"good ES256", ec(func(in string) []byte { return signEC(keys.ec, in) }, "ec1"), goodEC},
		{"ES256 evil key", ec(func(in string) []byte { return signEC(keys.evilEC, in) }, "ec1"), "reject"},
		{"ES256 r=s=0", ec(func(string) []byte { return make([]byte, 64) }, "ec1"), "reject"},
		{"ES256 padded", ec(func(in string) []byte { return append(signEC(keys.ec, in), 0) }, "ec1"), "reject"},
		{"ES256 DER", ec(func(in string) []byte {
			sig := signEC(keys.ec, in)
			der, _ := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
			return der
		}, "ec1"), "reject"},
	}
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "none ", "", nil, []string{"RS256"}, 256, "HS256", "dir", "RSA1_5"} {
		list = append(list,
			hostile{fmt.Sprintf("alg %v unsigned", alg), encode(head("alg", alg)) + "." + encode(p) + ".", "reject"},
			hostile{fmt.Sprintf("alg %v signed", alg), mint(keys.k1, head("alg", alg), p), "reject"})
	}
	null := `{"alg":null,"kid":"k1"}`
	list = append(list, hostile{"alg null", mint(keys.k1, null, p), "reject"})
	pemKey := publicPEM(t, &keys.k1.PublicKey)
	jwk, _ := json.Marshal(rsaJWK("k1", keys.k1, nil))
	for name, key := range map[string][]byte{
		"RSA public PEM": pemKey, "PEM without newline": bytes.TrimSpace(pemKey), "modulus": keys.k1.N.Bytes(), "JWK": jwk,
		"nothing": {}, "client id": []byte(testClient), "client secret": []byte(testSecret), "secret": []byte("secret"),
		"EC public PEM": publicPEM(t, &keys.ec.PublicKey),
	} {
		list = append(list, hostile{"HS256 keyed with " + name, hs256(key, head("alg", "HS256"), p), "reject"})
	}
	input := encode(head("alg", "RS384")) + "." + encode(p)
	sum := sha512.Sum384([]byte(input))
	sig, _ := rsa.SignPKCS1v15(rand.Reader, keys.k1, crypto.SHA384, sum[:])
	list = append(list, hostile{"RS384", input + "." + b64(sig), "reject"})
	input = encode(head("alg", "PS256")) + "." + encode(p)
	sum2 := sha256.Sum256([]byte(input))
	sig, _ = rsa.SignPSS(rand.Reader, keys.k1, crypto.SHA256, sum2[:], nil)
	return append(list, hostile{"PS256", input + "." + b64(sig), "reject"})
}

func (f forge) keys(t *testing.T) []hostile {
	keys, p := testKeys(), f.good
	list := []hostile{
		{"embedded jwk", mint(keys.evil, head("jwk", rsaJWK("evil", keys.evil, nil), "kid", "evil"), p), "reject"},
		{"embedded jwk with our kid", mint(keys.evil, head("jwk", rsaJWK("k1", keys.evil, nil)), p), "reject"},
		{"jku", mint(keys.evil, head("jku", "http://127.0.0.1:1/jwks.json", "kid", "evil"), p), "reject"},
		{"x5u", mint(keys.evil, head("x5u", "http://127.0.0.1:1/c.pem"), p), "reject"},
		{"x5c", mint(keys.evil, head("x5c", []string{base64.StdEncoding.EncodeToString([]byte("x"))}), p), "reject"},
		{"other key", mint(keys.evil, head(), p), "reject"},
		{"kid of the other key", mint(keys.k1, head("kid", "k2"), p), "reject"},
		{"kid of the EC key", mint(keys.k1, head("kid", "ec1"), p), "reject"},
		{"weak key", mint(keys.k1, head("kid", "weak"), p), "reject"},
		{"key for encryption", mint(keys.k1, head("kid", "enc"), p), "reject"},
		{"key with key_ops encrypt", mint(keys.k1, head("kid", "ops"), p), "reject"},
		{"kid absent", mint(keys.k1, head("kid", nil), p), "either"},
		{"kid number", mint(keys.k1, head("kid", 1), p), "either"},
	}
	for _, kid := range []string{
		"../../../../dev/null", "/dev/null", "k1' OR '1'='1", "k1\x00", "k1 ", "K1", "", "http://127.0.0.1:1/k", "| sleep 5",
		`{"a":1}`, longText(4000),
	} {
		list = append(list, hostile{fmt.Sprintf("kid %.20q", kid), mint(keys.k1, head("kid", kid), p), "reject"})
	}
	return list
}

func (f forge) forms() []hostile {
	good := mint(testKeys().k1, head(), f.good)
	other := mint(testKeys().k1, head(), f.payload("sub", "admin"))
	part, evil := strings.Split(good, "."), strings.Split(other, ".")
	flip := []byte(good)
	if flip[len(flip)-20] == 'A' {
		flip[len(flip)-20] = 'B'
	} else {
		flip[len(flip)-20] = 'A'
	}
	// The last character of 256 bytes carries 2 bits of the signature and 4 that must be zero.
	stray := strings.IndexByte(alphabet, good[len(good)-1])
	jsonForm, _ := json.Marshal(map[string]any{
		"payload": part[1], "signatures": []any{map[string]any{"protected": part[0], "signature": part[2]}},
	})
	list := []hostile{
		{"one bit of the signature", string(flip), "reject"},
		{"signature empty", part[0] + "." + part[1] + ".", "reject"},
		{"signature absent", part[0] + "." + part[1], "reject"},
		{"signature cut", good[:len(good)-10], "reject"},
		{"payload swapped", part[0] + "." + evil[1] + "." + part[2], "reject"},
		{"header swapped", encode(head("kid", "k2")) + "." + part[1] + "." + part[2], "reject"},
		{"four parts", good + ".AAAA", "reject"},
		{"five parts", good + "..AAAA", "reject"},
		{"two tokens", good + "," + good, "reject"},
		{"padding", good + "==", "reject"},
		{"standard alphabet", part[0] + "." + part[1] + "." + strings.Repeat("+/", 171), "reject"},
		{"newline inside", good[:30] + "\n" + good[30:], "reject"},
		{"carriage return inside", good[:len(good)-3] + "\r" + good[len(good)-3:], "reject"},
		{"blank at the front", " " + good, "reject"},
		{"JSON serialisation", string(jsonForm), "reject"},
		{"empty", "", "reject"},
		{"dots", "..", "reject"},
		{"many dots", strings.Repeat(".", 1<<20), "reject"},
		{"rubbish", "a.b.c", "reject"},
		{"1 MB", longText(1 << 20), "reject"},
		{"stray bits at the end", good[:len(good)-1] + string(alphabet[stray|1]), "reject"},
		{"JWE", encode(object2{"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 1 << 31, "p2s": "x"}) + ".AAAA.AAAA.AAAA.AAAA", "reject"},
		{"padded to 17 kB", mint(testKeys().k1, head(), f.payload("x", longText(17<<10))), "reject"},
	}
	return list
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (f forge) headers() []hostile {
	k, p := testKeys().k1, f.good
	var squeezed bytes.Buffer
	w, _ := flate.NewWriter(&squeezed, 9)
	json.NewEncoder(w).Encode(p)
	w.Close()
	return []hostile{
		{"typ absent", mint(k, head(), p), "accept"},
		{"typ JWT", mint(k, head("typ", "JWT"), p), "accept"},
		{"typ logout+jwt", mint(k, head("typ", "logout+jwt"), p), "reject"},
		{"typ dpop+jwt", mint(k, head("typ", "dpop+jwt"), p), "reject"},
		{"typ secevent+jwt", mint(k, head("typ", "application/secevent+JWT"), p), "reject"},
		{"typ number", mint(k, head("typ", 1), p), "reject"},
		{"crit unknown", mint(k, head("crit", []string{"x"}, "x", 1), p), "reject"},
		{"crit empty", mint(k, head("crit", []string{}), p), "reject"},
		{"crit null", mint(k, `{"alg":"RS256","kid":"k1","crit":null}`, p), "reject"},
		{"crit names exp", mint(k, head("crit", []string{"exp"}, "exp", 1), p), "reject"},
		{"b64 false", mint(k, head("b64", false, "crit", []string{"b64"}), p), "reject"},
		{"b64 true", mint(k, head("b64", true), p), "reject"},
		{"zip DEF", mint(k, head("zip", "DEF"), squeezed.Bytes()), "reject"},
		{"cty JWT", mint(k, head("cty", "JWT"), p), "either"},
		{"alg twice", mint(k, `{"alg":"none","kid":"k1","alg":"RS256"}`, p), "reject"},
		{"kid twice", mint(k, `{"alg":"RS256","kid":"evil","kid":"k1"}`, p), "reject"},
		{"ALG beside alg", mint(k, `{"alg":"RS256","ALG":"none","kid":"k1"}`, p), "accept"},
		{"header is an array", mint(k, `["RS256"]`, p), "reject"},
	}
}

func (f forge) claims() []hostile {
	k := testKeys().k1
	text := func(s string) string {
		b, _ := json.Marshal(f.good)
		return strings.Replace(string(b), "{", "{"+s+",", 1)
	}
	of := func(want string, change ...any) func(name string) hostile {
		return func(name string) hostile { return hostile{name, mint(k, head(), f.payload(change...)), want} }
	}
	list := []hostile{
		{"sub twice", mint(k, head(), text(`"sub":"admin"`)), "reject"},
		{"sub twice by escape", mint(k, head(), text(`"s\u0075b":"admin"`)), "reject"},
		{"members twice inside", mint(k, head(), text(`"x":{"a":1,"a":2}`)), "reject"},
		{"SUB beside sub", mint(k, head(), text(`"SUB":"admin"`)), "accept"},
		{"payload is an array", mint(k, head(), `["sub"]`), "reject"},
		{"payload is cut", mint(k, head(), `{"sub":"alice"`), "reject"},
		{"payload is two objects", mint(k, head(), text(`"a":1`)+"{}"), "reject"},
		{"payload 5000 deep", mint(k, head(), text(`"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000))), "reject"},
		{"payload not UTF-8", mint(k, head(), text("\"x\":\"\xff\"")), "reject"},
		{"sub of half a pair", mint(k, head(), strings.Replace(text(`"a":1`), `"sub":"alice"`, `"sub":"\ud800"`, 1)), "reject"},
		{"exp 1e999", mint(k, head(), strings.Replace(text(`"a":1`), fmt.Sprintf(`"exp":%d`, f.now+600), `"exp":1e999`, 1)), "reject"},
	}
	for name, h := range map[string]func(string) hostile{
		"unknown claim": of("accept", "x", "y"), "exp float": of("accept", "exp", float64(f.now)+600.5),
		"exp past": of("reject", "exp", f.now-31), "exp long past": of("reject", "exp", f.now-3600),
		"exp absent": of("reject", "exp", nil), "exp string": of("reject", "exp", fmt.Sprint(f.now+600)),
		"exp negative": of("reject", "exp", -1), "exp zero": of("reject", "exp", 0), "exp object": of("reject", "exp", object2{}),
		"nbf future": of("reject", "nbf", f.now+61), "nbf near": of("accept", "nbf", f.now+20), "nbf string": of("reject", "nbf", "x"),
		"iat future": of("reject", "iat", f.now+61), "iat absent": of("reject", "iat", nil), "iat string": of("reject", "iat", "1"),
		"iat old":   of("accept", "iat", f.now-86400),
		"iss other": of("reject", "iss", "https://evil.test"), "iss slash": of("reject", "iss", f.good["iss"].(string)+"/"),
		"iss upper case": of("reject", "iss", strings.ToUpper(f.good["iss"].(string))), "iss absent": of("reject", "iss", nil),
		"iss prefix": of("reject", "iss", f.good["iss"].(string)+"x"), "iss array": of("reject", "iss", []any{f.good["iss"]}),
		"ISS instead of iss": of("reject", "iss", nil, "ISS", f.good["iss"]),
		"EXP instead of exp": of("reject", "exp", nil, "EXP", f.now+600), "SUB instead of sub": of("reject", "sub", nil, "SUB", "alice"),
		"sub absent": of("reject", "sub", nil), "sub empty": of("reject", "sub", ""), "sub number": of("reject", "sub", 1),
		"sub array": of("reject", "sub", []string{"alice"}), "sub CRLF": of("reject", "sub", "alice\r\nX: y"), "sub NUL": of("reject", "sub", "a\x00b"),
		"sub DEL": of("reject", "sub", "a\x7f"), "sub C1": of("reject", "sub", "a\u0085b"), "sub long": of("reject", "sub", longText(10<<10)),
		"sub not ASCII": of("either", "sub", "álïce"), "email CRLF": of("either", "email", "a\r\nb"),
		"aud object": of("reject", "aud", object2{"a": 1}), "aud numbers": of("reject", "aud", []int{1}), "events": of("reject", "events", object2{}),
		"groups number": of("reject", "cognito:groups", 5, "groups", 5), "groups object": of("reject", "cognito:groups", object2{}, "groups", object2{}),
	} {
		list = append(list, h(name))
	}
	return list
}

// idOnly are those that only an ID token can get wrong.
func (f forge) idOnly(nonce string) []hostile {
	k := testKeys().k1
	var list []hostile
	for _, tt := range []struct {
		name, want string
		change     []any
	}{
		{"aud array with us only", "accept", []any{"aud", []string{testClient}}},
		{"aud other", "reject", []any{"aud", "other"}},
		{"aud absent", "reject", []any{"aud", nil}},
		{"aud empty", "reject", []any{"aud", ""}},
		{"aud no one", "reject", []any{"aud", []string{}}},
		{"aud longer", "reject", []any{"aud", testClient + "x"}},
		{"AUD instead of aud", "reject", []any{"aud", nil, "AUD", testClient}},
		{"aud two without azp", "reject", []any{"aud", []string{testClient, "other"}}},
		{"aud two, azp other", "reject", []any{"aud", []string{testClient, "other"}, "azp", "other"}},
		{"aud two, azp us", "accept", []any{"aud", []string{testClient, "other"}, "azp", testClient}},
		{"azp other", "reject", []any{"azp", "other"}},
		{"azp number", "reject", []any{"azp", 1}},
		{"nonce other", "reject", []any{"nonce", "other"}},
		{"nonce absent", "reject", []any{"nonce", nil}},
		{"nonce empty", "reject", []any{"nonce", ""}},
		{"nonce array", "reject", []any{"nonce", []string{nonce}}},
		{"NONCE beside another nonce", "reject", []any{"nonce", "other", "NONCE", nonce}},
		{"at_hash wrong", "reject", []any{"at_hash", "AAAA"}},
		{"at_hash number", "reject", []any{"at_hash", 1}},
		{"at_hash absent", "accept", []any{"at_hash", nil}},
	} {
		list = append(list, hostile{tt.name, mint(k, head(), f.payload(tt.change...)), tt.want})
	}
	return append(list,
		hostile{"typ at+jwt", mint(k, head("typ", "at+jwt"), f.good), "reject"},
		hostile{"typ application/at+jwt", mint(k, head("typ", "application/at+JWT"), f.good), "reject"},
	)
}

// weakKeys puts keys into the set that must not be used.
func weakKeys(s *stack) {
	keys := testKeys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		s.t.Fatal(err)
	}
	s.jwks = append(s.jwks, ecJWK("ec1", keys.ec), rsaJWK("weak", weak, nil),
		rsaJWK("enc", keys.k1, map[string]any{"use": "enc"}), rsaJWK("ops", keys.k1, map[string]any{"key_ops": []string{"encrypt"}}),
		map[string]any{"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}, map[string]any{"kty": "OKP", "crv": "Ed448", "x": "AA"})
}

func TestHostileIDTokens(t *testing.T) {
	t.Parallel()
	for _, pool := range []bool{true, false} {
		t.Run(fmt.Sprintf("Cognito %t", pool), func(t *testing.T) {
			t.Parallel()
			s := newStack(t, func(s *stack) {
				s.op.pool = pool
				s.op.discovery = map[string]any{"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}}
			}, func(s *stack) { weakKeysOnce(s) })
			const nonce, access = "n-0S6_WzA2Mj", "access-token"
			sum := sha256.Sum256([]byte(access))
			now := s.clock.now().Unix()
			f := forge{now, object2{
				"iss": s.issuer(), "sub": "alice", "aud": testClient, "exp": now + 600, "iat": now, "nonce": nonce,
				"at_hash": b64(sum[:16]), "token_use": "id", "cognito:groups": []string{"users"}, "groups": []string{"users"},
			}}
			list := append(f.tokens(t, !pool), f.idOnly(nonce)...)
			if pool {
				list = append(list,
					hostile{"access token", mint(testKeys().k1, head(), f.payload("token_use", "access")), "reject"},
					hostile{"no token_use", mint(testKeys().k1, head(), f.payload("token_use", nil)), "reject"})
			}
			t.Logf("%d tokens", len(list))
			c := s.provider.live.Load()
			before := s.count(".well-known/jwks.json")
			for _, h := range list {
				id, err := s.provider.verifyIDToken(t.Context(), c, h.token, nonce, access)
				judge(t, h, err)
				if err == nil && h.want == "accept" && id.subject != "alice" {
					t.Errorf("%s: sub is %q, want alice", h.name, id.subject)
				}
			}
			if n := s.count(".well-known/jwks.json") - before; n > 1 {
				t.Errorf("fetches of the keys: got %d, want one at most within the interval", n)
			}
		})
	}
}

func weakKeysOnce(s *stack) {
	if len(s.jwks) == 2 {
		weakKeys(s)
	}
}

func judge(t *testing.T, h hostile, err error) {
	t.Helper()
	switch {
	case h.want == "accept" && err != nil:
		t.Errorf("%s: refused: %v", h.name, err)
	case h.want == "reject" && err == nil:
		t.Errorf("%s: accepted", h.name)
	}
	if err != nil && (len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n\x00")) {
		t.Errorf("%s: the error is too long or has control characters: %.700q", h.name, err)
	}
	if part := strings.Split(h.token, "."); err != nil && len(part) == 3 && len(part[1]) > 40 && strings.Contains(err.Error(), part[1][:40]) {
		t.Errorf("%s: the error quotes the token", h.name)
	}
}

func TestHostileBearerTokens(t *testing.T) {
	t.Parallel()
	for _, pool := range []bool{true, false} {
		t.Run(fmt.Sprintf("Cognito %t", pool), func(t *testing.T) {
			t.Parallel()
			s := newStack(t, func(s *stack) {
				s.op.pool = pool
				s.op.discovery = map[string]any{"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "none"}}
			}, weakKeysOnce, withConfig(func(c *Config) { c.Tokens.Audience = []string{"https://api.example.com"} }))
			now := s.clock.now().Unix()
			f := forge{now, object2{
				"iss": s.issuer(), "sub": "alice", "aud": "https://api.example.com", "client_id": testClient,
				"exp": now + 600, "iat": now, "token_use": "access", "scope": "orders.read", "cognito:groups": []string{"users"}, "groups": []string{"users"},
			}}
			k := testKeys().k1
			list := append(f.tokens(t, !pool),
				hostile{"typ at+jwt", mint(k, head("typ", "at+jwt"), f.good), "accept"},
				hostile{"aud other", mint(k, head(), f.payload("aud", "https://other.example.com")), "reject"},
				hostile{"aud of several", mint(k, head(), f.payload("aud", []string{"x", "https://api.example.com"})), "accept"},
				hostile{"bound to a key", mint(k, head(), f.payload("cnf", object2{"jkt": "x"})), "reject"})
			if pool {
				list = append(list,
					hostile{"no aud", mint(k, head(), f.payload("aud", nil)), "accept"},
					hostile{"client_id other", mint(k, head(), f.payload("client_id", "other")), "reject"},
					hostile{"client_id absent", mint(k, head(), f.payload("client_id", nil)), "reject"},
					hostile{"client_id empty", mint(k, head(), f.payload("client_id", "")), "reject"},
					hostile{"ID token", mint(k, head(), f.payload("token_use", "id", "aud", testClient)), "reject"},
					hostile{"machine", mint(k, head(), f.payload("sub", testClient, "username", nil)), "either"})
			} else {
				list = append(list,
					hostile{"no aud", mint(k, head(), f.payload("aud", nil)), "reject"},
					hostile{"aud empty", mint(k, head(), f.payload("aud", "")), "reject"},
					hostile{"ID token", mint(k, head(), f.payload("nonce", "x")), "reject"})
			}
			for range 2 { // the second time from the cache
				for _, h := range list {
					id, err := s.provider.bearer(t.Context(), h.token)
					judge(t, h, err)
					if err == nil && h.want == "accept" && id.Subject != "alice" {
						t.Errorf("%s: sub is %q, want alice", h.name, id.Subject)
					}
				}
			}
		})
	}
}

func TestParseObject(t *testing.T) {
	t.Parallel()
	o, err := parseObject([]byte(` { "a" : 1 , "A":[1,{"b":"}\"]"},[]], "s":"x\u0041", "f":"true", "g":true, "l":["x","y"], "e":{} } `))
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := o.text("s"); s != "xA" || !ok {
		t.Errorf("s: got %q", s)
	}
	if string(o["A"]) != `[1,{"b":"}\"]"},[]]` || string(o["a"]) != "1" || !o.flag("f") || !o.flag("g") || o.flag("s") {
		t.Errorf("members: got %q", o)
	}
	if l, err := o.list("l"); err != nil || len(l) != 2 {
		t.Errorf("l: got %q %v", l, err)
	}
	for _, bad := range []string{"", "{", "[]", "null", `"x"`, "{}{}", `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, `{"x":[{"a":1,"a":2}]}`, "{\"a\":\"\xff\"}", `{"a":01}`, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)} {
		if _, err := parseObject([]byte(bad)); err == nil {
			t.Errorf("parseObject(%.40q): accepted", bad)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]int64{"1": 1, "1.9": 1, "1e3": 1000, "0": 0, "-1": 0, "1e12": 0, `"1"`: 0, "null": 0, "{}": 0, "true": 0} {
		got, ok := object{"t": json.RawMessage(raw)}.seconds("t")
		if got != want || ok != (want != 0) {
			t.Errorf("seconds(%s): got %d %t, want %d", raw, got, ok, want)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	keys := testKeys()
	s.login("alice")
	s.set(func() {
		s.signKey, s.signKid = keys.evil, "k3"
		s.jwks = []map[string]any{rsaJWK("k3", keys.evil, nil)}
	})
	before := s.count(".well-known/jwks.json")
	s.clock.advance(refetchInterval)
	s.login("alice")
	if n := s.count(".well-known/jwks.json") - before; n != 1 {
		t.Errorf("fetches of the keys: got %d, want 1", n)
	}
	// The set cannot be had for a day: what is known keeps working.
	s.set(func() { s.handle[".well-known/jwks.json"] = status(500) })
	s.clock.advance(24 * time.Hour)
	s.login("alice")
	// A single key needs no kid.
	if _, err := s.provider.bearer(t.Context(), mint(keys.evil, `{"alg":"RS256"}`, s.payloadOf("alice"))); err != nil {
		t.Errorf("without kid: %v", err)
	}
}

func (s *stack) payloadOf(user string) object2 {
	now := s.clock.now().Unix()
	return object2{"iss": s.issuer(), "sub": user, "exp": now + 60, "iat": now, "token_use": "access", "client_id": testClient}
}

func TestWithdrawnKeyStopsWorking(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.set(func() { s.jwks = s.jwks[1:] })
	if _, err := s.provider.bearer(t.Context(), s.access("alice", nil)); err != nil {
		t.Errorf("within the hour: %v", err)
	}
	s.clock.advance(keyLife + time.Second)
	if _, err := s.provider.bearer(t.Context(), s.access("alice", nil)); err == nil {
		t.Error("a key that was withdrawn an hour ago still works")
	}
}

func TestUnknownKeysAreFetchedOnceForAll(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	keys := testKeys()
	entered, release := make(chan struct{}), make(chan struct{})
	s.clock.advance(refetchInterval)
	s.set(func() {
		s.signKey, s.signKid = keys.evil, "k3"
		s.jwks = append(s.jwks, rsaJWK("k3", keys.evil, nil))
		all := map[string]any{"keys": s.jwks}
		s.handle[".well-known/jwks.json"] = func(w http.ResponseWriter, _ *http.Request) {
			close(entered) // a second request would panic
			<-release
			writeJSON(w, 200, all)
		}
	})
	token := s.access("alice", nil)
	var wg sync.WaitGroup
	verify := func() {
		if _, err := s.provider.bearer(t.Context(), token); err != nil {
			t.Error(err)
		}
	}
	wg.Go(verify)
	<-entered
	for range 10 {
		wg.Go(verify)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.provider.bearer(gone, token); err == nil {
		t.Error("one that has gone away was served")
	}
	// A key that is known needs nobody to wait.
	if _, err := s.provider.bearer(gone, mint(keys.k1, head(), s.payloadOf("bob"))); err != nil {
		t.Errorf("with a known key: %v", err)
	}
	close(release)
	wg.Wait()
}

func TestAccessTokenHash(t *testing.T) {
	t.Parallel()
	const access = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y" // OpenID Connect Core 1.0 appendix A.3
	full := sha512.Sum512([]byte(access))
	mid := sha512.Sum384([]byte(access))
	for alg, hash := range map[string]string{
		"RS256": "77QmUPtjPfzWtF2AnpK9RQ", "ES256": "77QmUPtjPfzWtF2AnpK9RQ", "PS384": b64(mid[:24]), "ES512": b64(full[:32]), "EdDSA": b64(full[:32]),
	} {
		raw, _ := json.Marshal(hash)
		c := &claims{header: header{alg: alg}, members: object{"at_hash": raw}}
		if err := c.checkAccessTokenHash(access); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if err := c.checkAccessTokenHash(access + "x"); err == nil {
			t.Errorf("%s: the hash of another token was taken", alg)
		}
	}
}

func FuzzTokenPayload(f *testing.F) {
	f.Add([]byte(`{"sub":"alice","exp":1,"iat":1}`))
	f.Add([]byte(`{"sub":"a","SUB":"b","exp":1.5,"iat":1,"x":[{"a":"\ud83d\ude00"}]}`))
	f.Add([]byte(`{"sub":"a","s\u0075b":"b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseClaims(b)
		if err != nil {
			return
		}
		var loose map[string]json.RawMessage
		if err := json.Unmarshal(b, &loose); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if len(loose) != len(c.members) {
			t.Fatalf("members: got %d, encoding/json has %d", len(c.members), len(loose))
		}
		for name, raw := range loose {
			if !bytes.Equal(bytes.TrimSpace(raw), bytes.TrimSpace(c.members[name])) {
				t.Fatalf("%q: got %q, encoding/json has %q", name, c.members[name], raw)
			}
		}
		for _, r := range c.subject {
			if r < 0x20 || r == 0x7f {
				t.Fatalf("sub has a control character: %q", c.subject)
			}
		}
	})
}
