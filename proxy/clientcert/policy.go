package clientcert

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxChain bounds what a client sends, in bytes: the headers that tell an upstream of it must fit into a head.
	maxChain = 16 << 10
	// maxKnown bounds how many certificates are remembered as good. Verifying one again takes some 100 µs.
	maxKnown = 4096
	// minRSA is the length of the shortest key that counts, in bits, as with ALB.
	minRSA = 2048
)

// A Policy is what is asked of the clients of some hosts. It is safe for concurrent use.
type Policy struct {
	hosts         []string
	depth         int            // 0: nothing is verified
	roots         *x509.CertPool // where chains end
	intermediates []*x509.Certificate
	anchors       *x509.CertPool // all of the trust store, for crypto/tls
	lists         *lists

	mu    sync.Mutex
	known map[[sha256.Size]byte]good
	at    int // the state of lists that known is about
}

// A good certificate was verified, and is good until it, or what it was verified by, may not be any more.
type good struct {
	cert  *Certificate
	until time.Time
}

// NewPolicy reads the trust store and the revocation lists. onError is told of lists that could not be read again; the ones
// before stay.
func NewPolicy(cfg Config, onError func(error)) (*Policy, error) {
	p := &Policy{hosts: cfg.Hosts, known: map[[sha256.Size]byte]good{}}
	if !cfg.Verifies() {
		return p, nil
	}
	p.depth = cmp.Or(cfg.Depth, maxDepth)
	p.roots, p.anchors = x509.NewCertPool(), x509.NewCertPool()
	var store []*x509.Certificate
	var errs []error
	for _, name := range cfg.CA {
		certs, err := readCertificates(name)
		store, errs = append(store, certs...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.sort(store)
	var err error
	p.lists, err = newLists(cfg.CRL, store, onError)
	return p, err
}

// sort tells the roots of a trust store from the intermediates. One whose issuer is not here is taken for a root: the file says
// that it is trusted.
func (p *Policy) sort(store []*x509.Certificate) {
	for _, cert := range store {
		p.anchors.AddCert(cert)
		issued := slices.ContainsFunc(store, func(by *x509.Certificate) bool {
			return !bytes.Equal(by.Raw, cert.Raw) && bytes.Equal(by.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(by) == nil
		})
		if issued && !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			p.intermediates = append(p.intermediates, cert)
		} else {
			p.roots.AddCert(cert)
		}
	}
}

func readCertificates(name string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("trust store: %w", err)
	}
	var certs []*x509.Certificate
	for len(strings.TrimSpace(string(data))) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("trust store %s: want certificates only, got %s", name, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("trust store %s: %w", name, err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("trust store %s: %s is no certificate of an authority", name, distinguished(cert.RawSubject))
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("trust store %s: want certificates in PEM, got none", name)
	}
	return certs, nil
}

// verifies reports whether p lets nobody in without a good certificate.
func (p *Policy) verifies() bool { return p.depth > 0 }

// configure returns what a handshake with a client of p's hosts is done with. No session is resumed, as with ALB: each connection
// shows its certificate.
func (p *Policy) configure(base *tls.Config) *tls.Config {
	tc := base.Clone()
	tc.GetConfigForClient = nil
	tc.SessionTicketsDisabled = true
	tc.ClientAuth = tls.RequestClientCert
	if p.verifies() { // by crypto/tls first, whose alerts tell a client more than ours can
		tc.ClientAuth, tc.ClientCAs = tls.RequireAndVerifyClientCert, p.anchors
	}
	tc.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := p.check(state.PeerCertificates, time.Now())
		return err
	}
	return tc
}

// check decides about the certificates of a connection, the client's first. It returns nil without any where none is required.
func (p *Policy) check(chain []*x509.Certificate, now time.Time) (*Certificate, error) {
	if len(chain) == 0 {
		if p.verifies() {
			return nil, &Misdirected{}
		}
		return nil, nil
	}
	size, hash := 0, sha256.New()
	for _, cert := range chain {
		size += len(cert.Raw)
		hash.Write(cert.Raw)
	}
	if size > maxChain {
		return nil, &Refusal{ReasonSize, fmt.Errorf("chain of %d bytes, want at most %d", size, maxChain)}
	}
	if !p.verifies() {
		return passed(chain), nil
	}
	at := p.lists.refresh(now)
	key := [sha256.Size]byte(hash.Sum(nil))
	if cert := p.remembered(key, at, now); cert != nil {
		return cert, nil
	}
	until, err := p.verify(chain, now)
	if err != nil {
		return nil, err
	}
	known := good{verified(chain[0]), until}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == at {
		p.known[key] = known
	}
	return known.cert, nil
}

// remembered returns a certificate that was found good by the same lists, or nil.
func (p *Policy) remembered(key [sha256.Size]byte, at int, now time.Time) *Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at != at || len(p.known) >= maxKnown {
		p.at = at
		clear(p.known)
	}
	if known, ok := p.known[key]; ok && now.Before(known.until) {
		return known.cert
	}
	return nil
}

// verify looks for one chain to the trust store that is good, and returns until when it is.
func (p *Policy) verify(chain []*x509.Certificate, now time.Time) (time.Time, error) {
	opts := x509.VerifyOptions{
		Roots: p.roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range p.intermediates {
		opts.Intermediates.AddCert(cert)
	}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	chains, err := chain[0].Verify(opts)
	if err != nil {
		return time.Time{}, &Refusal{reasonOf(err, now), err}
	}
	var first error
	for _, good := range chains {
		until, err := p.judge(good, now)
		if err == nil {
			return until, nil
		}
		first = cmp.Or(first, err)
	}
	return time.Time{}, first
}

// judge looks at what crypto/x509 does not: length, keys and revocation.
func (p *Policy) judge(chain []*x509.Certificate, now time.Time) (until time.Time, err error) {
	if len(chain) > p.depth {
		return until, &Refusal{ReasonDepth, fmt.Errorf("chain of %d certificates, want at most %d", len(chain), p.depth)}
	}
	until, err = p.lists.check(chain, now)
	if err != nil {
		return until, err
	}
	for _, cert := range chain {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
			return until, &Refusal{ReasonType, fmt.Errorf("RSA key of %d bits, want at least %d", key.N.BitLen(), minRSA)}
		}
		if cert.Version != 3 {
			return until, &Refusal{ReasonType, fmt.Errorf("certificate of version %d, want 3", cert.Version)}
		}
		if cert.NotAfter.Before(until) || until.IsZero() {
			until = cert.NotAfter
		}
	}
	return until, nil
}
