package devpool

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
)

const keyBits = 2048

// A signingKey signs tokens with RS256.
type signingKey struct {
	kid     string
	private *rsa.PrivateKey
}

// keyring holds the pool's keys. Cognito signs ID and access tokens with different ones.
type keyring struct {
	id, access signingKey
	// stray is not in the key set; [Faults.UnknownKey] signs with it.
	stray signingKey
}

func (p *Pool) newKeyring(id, access *rsa.PrivateKey) (keyring, error) {
	var k keyring
	var err error
	if k.id, err = p.newKey(id); err != nil {
		return keyring{}, err
	}
	if k.access, err = p.newKey(access); err != nil {
		return keyring{}, err
	}
	return k, nil
}

// newKey wraps private, or a new key when that is nil.
func (p *Pool) newKey(private *rsa.PrivateKey) (signingKey, error) {
	if private == nil {
		var err error
		if private, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return signingKey{}, fmt.Errorf("devpool: make a signing key: %w", err)
		}
	}
	return signingKey{kid: p.keyID(), private: private}, nil
}

// keyID returns a key id in standard base64 that has a "+", a "/" and a "=" in it. Cognito's may
// have all three, and whoever puts one into a URL or a file name should find out here.
func (p *Pool) keyID() string {
	for {
		kid := base64.StdEncoding.EncodeToString(p.random(32))
		if strings.Contains(kid, "+") && strings.Contains(kid, "/") {
			return kid
		}
	}
}

// RotateKeys replaces both signing keys, and the key set with them. Tokens signed before can no
// longer be verified with the published keys; userInfo still takes them.
func (p *Pool) RotateKeys() error {
	next, err := p.newKeyring(nil, nil)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next.stray = p.keys.stray
	p.keys = next
	return nil
}

func (p *Pool) keyring() keyring {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys
}

// jwk is a public key with Cognito's members in Cognito's order.
type jwk struct {
	Alg string `json:"alg"`
	E   string `json:"e"`
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	N   string `json:"n"`
	Use string `json:"use"`
}

func (k signingKey) public() jwk {
	pub := &k.private.PublicKey
	return jwk{
		Alg: "RS256", Kid: k.kid, Kty: "RSA", Use: "sig",
		E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		N: base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
	}
}

func (p *Pool) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	k := p.keyring()
	writeJSON(w, http.StatusOK, map[string][]jwk{"keys": {k.id.public(), k.access.public()}})
}

// sign returns claims as a compact JWT. The header is {"kid":…,"alg":…} in that order and without
// "typ", as Cognito's is; go-jose would sort it.
func (k signingKey) sign(claims object) (string, error) {
	input, err := signingInput(object{{"kid", k.kid}, {"alg", "RS256"}}, claims)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("devpool: sign a token: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// signNone returns claims as an unsecured JWT (RFC 7519 section 6), for [Faults.AlgNone].
func signNone(claims object) (string, error) {
	input, err := signingInput(object{{"alg", "none"}}, claims)
	return input + ".", err
}

func signingInput(header, claims object) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("devpool: encode a token header: %w", err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("devpool: encode claims: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c), nil
}
