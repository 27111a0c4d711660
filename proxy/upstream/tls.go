package upstream

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// TLS says how https endpoints are spoken to. Their certificates are verified.
type TLS struct {
	// CA is a PEM file of roots; default the system's.
	CA string `yaml:"ca"`
	// ServerName overrides the name that is verified and sent in SNI.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify accepts any certificate, as ALB does.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
	// Cert is what the endpoint is shown if it asks who calls: a PEM file with the certificate and, behind it, its
	// intermediates, or the PEM itself. Wants key.
	Cert string `yaml:"cert"`
	// Key is the private key of cert: a PEM file, or a reference to the PEM itself such as ${file:/run/secrets/key}.
	Key string `yaml:"key"`
	// MinVersion is "1.2" (the default) or "1.3".
	MinVersion string `yaml:"min_version"`
}

// Versions are what TLS.MinVersion may be.
func Versions() []string { return []string{"1.2", "1.3"} }

// IsInline reports whether the value of TLS.Cert or TLS.Key is the PEM itself, and not the name of a file.
func IsInline(value string) bool { return strings.Contains(value, "-----BEGIN ") }

// Files returns the names of the files that t is made of.
func (t TLS) Files() (names []string) {
	for _, name := range [...]string{t.CA, t.Cert, t.Key} {
		if name != "" && !IsInline(name) {
			names = append(names, name)
		}
	}
	return names
}

func (t TLS) validate(scheme string, report func(field, msg string)) {
	if t == (TLS{}) {
		return
	}
	if scheme != "" && scheme != "https" {
		report("tls", fmt.Sprintf("want https endpoints, got %s", scheme))
	}
	if _, err := t.roots(); err != nil {
		report("tls.ca", err.Error())
	}
	if t.InsecureSkipVerify && t.CA != "" {
		report("tls.insecure_skip_verify", "tls.ca has no effect beside it: remove one")
	}
	if t.MinVersion != "" && t.MinVersion != "1.2" && t.MinVersion != "1.3" {
		report("tls.min_version", fmt.Sprintf("want 1.2 or 1.3, got %q", t.MinVersion))
	}
	switch {
	case t.Cert == "" && t.Key != "":
		report("tls.key", "nothing to sign for: want tls.cert beside it")
	case t.Cert != "" && t.Key == "":
		report("tls.cert", "cannot be shown without its key: want tls.key beside it")
	case t.Cert != "":
		if field, err := t.pair(new(tls.Certificate)); err != nil {
			report("tls."+field, err.Error())
		}
	}
}

// config compiles t; the server name is set per endpoint.
func (t TLS) config() (*tls.Config, error) {
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		ServerName:         t.ServerName,
		RootCAs:            roots,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // the operator's choice, by a name that says so
	}
	if t.MinVersion == "1.3" {
		cfg.MinVersion = tls.VersionTLS13
	}
	if t.Cert == "" {
		return cfg, nil
	}
	var cert tls.Certificate
	if field, err := t.pair(&cert); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	// Whatever authorities the endpoint names: crypto/tls would show none at all to one that names another.
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// roots reads the CA file; nil for the system's.
func (t TLS) roots() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA file %s: want at least one PEM certificate, got none", t.CA)
	}
	return roots, nil
}

// pair reads the certificate and its key. Its errors name the field, and nothing of the key.
func (t TLS) pair(into *tls.Certificate) (field string, err error) {
	cert, err := content(t.Cert)
	if err != nil {
		return "cert", err
	}
	key, err := content(t.Key)
	if err != nil {
		return "key", err
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		*into = pair
		return "", nil
	case !bytes.Contains(cert, []byte("-----BEGIN CERTIFICATE-----")):
		return "cert", errors.New("want a certificate in PEM, got none")
	case !bytes.Contains(key, []byte("PRIVATE KEY-----")):
		return "key", errors.New("want a private key in PEM, got none")
	}
	return "key", fmt.Errorf("not the key of the certificate: %w", err)
}

// content is a value that is the PEM itself, or that of the file which it names.
func content(value string) ([]byte, error) {
	if IsInline(value) {
		return []byte(value), nil
	}
	return os.ReadFile(value)
}

// sameTLS reports whether connections of either configuration could be those of the other.
func sameTLS(a, b *tls.Config) bool {
	return a.ServerName == b.ServerName && a.InsecureSkipVerify == b.InsecureSkipVerify && a.RootCAs.Equal(b.RootCAs) &&
		a.MinVersion == b.MinVersion && sameCertificates(a.Certificates, b.Certificates)
}

func sameCertificates(a, b []tls.Certificate) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !slices.EqualFunc(a[i].Certificate, b[i].Certificate, bytes.Equal) {
			return false
		}
	}
	return true
}
