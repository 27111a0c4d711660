package headers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// minSecret is the shortest secret that a key is derived from: as long as the key itself.
	minSecret = 32
	// maxKeyFile bounds what is read of a key file; a P-256 key in PEM has about 250 bytes.
	maxKeyFile = 64 << 10
	// signatureSize is R||S of P-256 (RFC 7518, section 3.4).
	signatureSize = 64
)

// A signingKey is a P-256 private key and the names it is published under.
type signingKey struct {
	private *ecdsa.PrivateKey
	kid     string // a UUID, as aws-jwt-verify requires of an ALB's key
	pem     []byte // SubjectPublicKeyInfo
	point   []byte // 0x04 || X || Y
}

// loadKeys returns the keys of cfg, or the one derived from secret when cfg names none.
func loadKeys(cfg AssertionConfig, secret []byte) ([]*signingKey, error) {
	if len(cfg.Keys) == 0 {
		private, err := deriveKey(secret)
		if err != nil {
			return nil, err
		}
		key, err := newSigningKey(private)
		return []*signingKey{key}, err
	}
	var keys []*signingKey
	var problems []error
	seen := make(map[string]int)
	for i, source := range cfg.Keys {
		key, err := readKey(source)
		if err != nil {
			problems = append(problems, fmt.Errorf("keys[%d]: %w", i, err))
			continue
		}
		if first, ok := seen[key.kid]; ok {
			problems = append(problems, fmt.Errorf("keys[%d]: the same key as keys[%d]", i, first))
			continue
		}
		seen[key.kid] = i
		keys = append(keys, key)
	}
	return keys, errors.Join(problems...)
}

// isInlinePEM reports whether an entry of AssertionConfig.Keys is a key and not the name of its file.
func isInlinePEM(source string) bool {
	return strings.HasPrefix(strings.TrimSpace(source), "-----BEGIN")
}

func readKey(source string) (*signingKey, error) {
	if isInlinePEM(source) {
		return parseKey([]byte(source))
	}
	file, err := os.Open(source)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	key, err := parseKey(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return key, nil
}

// parseKey takes the first private key of content, in SEC 1 or PKCS #8. OpenSSL writes a block of
// curve parameters before it.
func parseKey(content []byte) (*signingKey, error) {
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			return nil, errors.New("want a P-256 private key in PEM (EC PRIVATE KEY or PRIVATE KEY), found none")
		}
		content = rest
		var key any
		var err error
		switch block.Type {
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("want an unencrypted private key, got an encrypted one")
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("parse %s: not valid", block.Type)
		}
		private, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("want a P-256 key, got %T", key)
		}
		return newSigningKey(private)
	}
}

// deriveKey makes the key that every instance with this secret has: HKDF-SHA256 (RFC 5869) until a
// scalar is in range, which is the first one but for two in 2^33.
func deriveKey(secret []byte) (*ecdsa.PrivateKey, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("derive the signing key: want a secret of at least %d bytes, got %d", minSecret, len(secret))
	}
	for counter := range 16 {
		info := fmt.Sprintf("gatehouse x-amzn-oidc-data ES256 v1 %d", counter)
		scalar, err := hkdf.Key(sha256.New, secret, nil, info, 32)
		if err != nil {
			return nil, fmt.Errorf("derive the signing key: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("derive the signing key: no scalar in range")
}

func newSigningKey(private *ecdsa.PrivateKey) (*signingKey, error) {
	if private.Curve != elliptic.P256() {
		return nil, fmt.Errorf("want a P-256 key, got %s", private.Curve.Params().Name)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	return &signingKey{
		private: private,
		kid:     keyID(der),
		pem:     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		point:   point,
	}, nil
}

// keyID names a key by its SubjectPublicKeyInfo, so that every instance and every restart agree. It
// is a UUID of version 8 (RFC 9562, section 5.8), because aws-jwt-verify looks up no other kid.
func keyID(der []byte) string {
	sum := sha256.Sum256(der)
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

// sign returns R||S over the SHA-256 of message.
func (k *signingKey) sign(message []byte) (signature [signatureSize]byte, err error) {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return signature, fmt.Errorf("sign: %w", err)
	}
	r.FillBytes(signature[:signatureSize/2])
	s.FillBytes(signature[signatureSize/2:])
	return signature, nil
}
