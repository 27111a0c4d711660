package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// rootLife: a developer installs the root once.
	rootLife = 10 * 365 * 24 * time.Hour
	// leafLife is below every limit that browsers set, and leafRenew leaves a month to spare.
	leafLife  = 90 * 24 * time.Hour
	leafRenew = 60 * 24 * time.Hour
	// backdate forgives clocks that run behind.
	backdate = time.Hour
	// maxLeaves bounds what clients can make us remember with names below .localhost.
	maxLeaves = 1024
)

// A localCA mints certificates for development. It is safe for concurrent use.
type localCA struct {
	path string // of the root's PEM file
	root *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// openLocalCA reads the authority in dir, or makes one there. The key is readable by its owner only.
func openLocalCA(dir string, now time.Time) (*localCA, error) {
	ca, err := readLocalCA(dir, now)
	if !errors.Is(err, os.ErrNotExist) {
		return ca, err
	}
	if _, serr := os.Stat(dir); serr == nil {
		return nil, fmt.Errorf("local authority: %w; remove %s to have a new one made", err, dir)
	}
	if err := createLocalCA(dir, now); err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	return readLocalCA(dir, now)
}

func readLocalCA(dir string, now time.Time) (*localCA, error) {
	path := filepath.Join(dir, "root.pem")
	pair, err := tls.LoadX509KeyPair(path, filepath.Join(dir, "root-key.pem"))
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	switch {
	case !ok || !pair.Leaf.IsCA:
		return nil, fmt.Errorf("local authority: %s is not one; remove %s to have a new one made", path, dir)
	case now.Add(leafLife).After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("local authority: %s expires %s; remove %s to have a new one made",
			path, pair.Leaf.NotAfter.Format(time.DateOnly), dir)
	}
	return &localCA{path: path, root: pair.Leaf, key: key, leaves: make(map[string]*tls.Certificate)}, nil
}

// createLocalCA writes root and key beside dir and renames, so that nobody sees half of it. When another
// process was faster, its authority stays.
func createLocalCA(dir string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // a name for the person who installs the root; empty is fine
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"Gatehouse development"}, CommonName: strings.TrimSpace("Gatehouse local CA " + host)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".local-ca-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := writePEM(filepath.Join(tmp, "root-key.pem"), "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(tmp, "root.pem"), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	var buf bytes.Buffer
	if err := pem.Encode(&buf, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), mode)
}

// serial is 127 random bits: positive, and unguessable as RFC 5280 readers expect.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// isLocalhost reports whether name is localhost or below it (RFC 6761 section 6.3).
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost") && validName(name)
}

// leaf returns a certificate for name, or for localhost and the addresses when name is "". It is minted again
// when a third of its life is left.
func (ca *localCA) leaf(name string, addresses []net.IP, now time.Time) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if c := ca.leaves[name]; c != nil && now.Before(c.Leaf.NotBefore.Add(leafRenew)) && !now.Before(c.Leaf.NotBefore) {
		return c, nil
	}
	c, err := ca.mint(name, addresses, now)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	if len(ca.leaves) >= maxLeaves {
		clear(ca.leaves)
	}
	ca.leaves[name] = c
	return c, nil
}

func (ca *localCA) mint(name string, addresses []net.IP, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"Gatehouse development"}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(leafLife - backdate),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{name},
	}
	if name == "" {
		template.DNSNames = []string{"localhost"}
		template.IPAddresses = addresses
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.root, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.root.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// forget drops the leaf without a name, because the addresses changed.
func (ca *localCA) forget() {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	delete(ca.leaves, "")
}
