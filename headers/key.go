package headers

import (
	"bytes"
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
	// maxKeyFile bounds a key file; a P-256 key in PEM has about 250 bytes.
	maxKeyFile = 64 << 10
	// maxKeys bounds what is published: verifiers that read the key set keep all of it.
	maxKeys = 16
	// signatureSize is R||S of P-256 (RFC 7518, section 3.4).
	signatureSize = 64
)

// A signingKey is a P-256 key and the names it is published under.
type signingKey struct {
	private *ecdsa.PrivateKey // nil for a key that is only published
	kid     string            // a UUID, as aws-jwt-verify requires of an ALB's key
	pem     []byte            // SubjectPublicKeyInfo
	point   []byte            // 0x04 || X || Y
	origin  string            // for people: where the key is from
}

// NewKey makes a key for AssertionConfig.Keys: the private key in PEM (PKCS #8), which is a secret, and
// the kid that it will have.
func NewKey() (private []byte, kid string, err error) {
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("make a key: %w", err)
	}
	key, err := newSigningKey(made)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		return nil, "", fmt.Errorf("encode the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), key.kid, nil
}

// IsInlineKey reports whether an entry of AssertionConfig.Keys is a key, with text before it or without,
// and not the name of its file. It is a secret then.
func IsInlineKey(source string) bool {
	return strings.Contains(source, pemBegin)
}

// pemBegin is what every block of PEM begins with (RFC 7468, section 2).
const pemBegin = "-----BEGIN "

// readKeys returns the keys of one entry of AssertionConfig.Keys.
func readKeys(source string) ([]*signingKey, error) {
	if IsInlineKey(source) {
		return parseKeys([]byte(source))
	}
	file, err := os.Open(source)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("%s: want at most %d bytes, got more", source, maxKeyFile)
	}
	keys, err := parseKeys(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return keys, nil
}

// parseKeys takes every key of content: private ones in SEC 1 or PKCS #8, and public ones, which are
// only published. OpenSSL writes a block of curve parameters before a key of SEC 1. Anything else is
// refused, and so is a block that cannot be read: a key that somebody believes to be published, and
// is not, fails every verifier.
func parseKeys(content []byte) ([]*signingKey, error) {
	blocks := begins(content)
	var keys []*signingKey
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		blocks--
		if block.Type == "EC PARAMETERS" {
			continue
		}
		key, err := parseKey(block)
		if err != nil {
			return nil, err
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("want at most %d keys, got more", maxKeys)
		}
		keys = append(keys, key)
	}
	switch {
	case blocks != 0:
		return nil, errors.New("a block of PEM cannot be read")
	case len(keys) == 0:
		return nil, errors.New("want a P-256 private key in PEM (EC PRIVATE KEY or PRIVATE KEY), found none")
	}
	return keys, nil
}

// begins counts the lines that begin a block of PEM.
func begins(content []byte) (n int) {
	for line := range bytes.Lines(content) {
		if bytes.HasPrefix(line, []byte(pemBegin)) {
			n++
		}
	}
	return n
}

func parseKey(block *pem.Block) (*signingKey, error) {
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("want an unencrypted private key, got an encrypted one")
	default:
		return nil, errors.New("want EC PRIVATE KEY, PRIVATE KEY or PUBLIC KEY, got another block of PEM")
	}
	if err != nil {
		return nil, fmt.Errorf("parse %s: not valid", block.Type)
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return newSigningKey(key)
	case *ecdsa.PublicKey:
		return newPublicKey(key)
	default:
		return nil, fmt.Errorf("want a P-256 key, got %T", key)
	}
}

// deriveKey makes the key that every instance with this secret has: HKDF-SHA256 (RFC 5869) until a
// scalar is in range, which is the first one but for two in 2^33. The label says which of the keys it
// is; the one that is never rotated has none.
func deriveKey(secret []byte, label string) (*ecdsa.PrivateKey, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("derive the signing key: want a secret of at least %d bytes, got %d", minSecret, len(secret))
	}
	for counter := range 16 {
		info := fmt.Sprintf("gatehouse x-amzn-oidc-data ES256 v1 %s%d", label, counter)
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
	key, err := newPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	key.private = private
	return key, nil
}

// newPublicKey returns a key that is published and cannot sign.
func newPublicKey(public *ecdsa.PublicKey) (*signingKey, error) {
	if public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("want a P-256 key, got %s", public.Curve.Params().Name)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	return &signingKey{
		kid:   keyID(der),
		pem:   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		point: point,
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
