package certs

import (
	"crypto/tls"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
)

// Config says where certificates come from. Without any source the HTTPS listener cannot start.
type Config struct {
	// ACME obtains certificates by HTTP-01 and TLS-ALPN-01 for the exact host names of the routes.
	ACME *ACME `yaml:"acme"`
	// Certificates are certificate files. The one that fits the client's server name is shown.
	Certificates []File `yaml:"certificates"`
	// Local makes certificates from a certificate authority that Gatehouse keeps in the state
	// directory. For development: no browser trusts it until it is installed by hand.
	Local bool `yaml:"local"`
	// MinVersion is "1.2" (the default) or "1.3".
	MinVersion string `yaml:"min_version"`
}

// ACME obtains certificates by HTTP-01 and TLS-ALPN-01 for the exact host names of the routes.
type ACME struct {
	// Email is where the authority writes when something is wrong with a certificate.
	Email string `yaml:"email"`
	// CA is the directory URL; default Let's Encrypt.
	CA string `yaml:"ca"`
	// CARoots is a PEM file with the roots to trust when talking to CA; default the system's.
	CARoots string `yaml:"ca_roots"`
	// Storage is the directory for account, keys and certificates; default STATE/acme.
	Storage string `yaml:"storage"`
	// Hosts are names to manage beside those of the routes.
	Hosts []string `yaml:"hosts"`
}

// File is a certificate chain and its key, both PEM. They are read again when they change.
type File struct {
	// Cert is a PEM file: the certificate first, then the intermediates. Read again when it changes. Required.
	Cert string `yaml:"cert"`
	// Key is the PEM file of its private key. Required.
	Key string `yaml:"key"`
}

// Validate reports everything that is wrong with c and needs no file or network to be seen. field is the YAML
// path below this section. That no source is configured is not wrong by itself; New refuses it.
func (c Config) Validate(report func(field, msg string)) {
	if _, err := minVersion(c.MinVersion); err != nil {
		report("min_version", err.Error())
	}
	if c.Local && c.ACME != nil {
		report("local", "a local authority beside acme: want one of them")
	}
	for i, f := range c.Certificates {
		if f.Cert == "" {
			report(fmt.Sprintf("certificates[%d].cert", i), "missing: want the path of a PEM file with the chain")
		}
		if f.Key == "" {
			report(fmt.Sprintf("certificates[%d].key", i), "missing: want the path of a PEM file with the private key")
		}
	}
	if c.ACME != nil {
		c.ACME.validate(report)
	}
}

func (a *ACME) validate(report func(field, msg string)) {
	if a.Email != "" {
		if addr, err := mail.ParseAddress(a.Email); err != nil || addr.Address != a.Email {
			report("acme.email", fmt.Sprintf("%q is not an e-mail address: want one like ops@example.com", a.Email))
		}
	}
	if a.CA != "" {
		if u, err := url.Parse(a.CA); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			report("acme.ca", fmt.Sprintf("%q is not the URL of an ACME directory: want https://host/path", a.CA))
		}
	}
	for i, host := range a.Hosts {
		if msg := notIssuable(host); msg != "" {
			report(fmt.Sprintf("acme.hosts[%d]", i), msg)
		}
	}
}

func (c Config) empty() bool { return c.ACME == nil && len(c.Certificates) == 0 && !c.Local }

// equal compares what decides how certificates are obtained, not for which hosts.
func (a *ACME) equal(b *ACME) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Email == b.Email && a.CA == b.CA && a.CARoots == b.CARoots && a.Storage == b.Storage
}

func minVersion(s string) (uint16, error) {
	switch s {
	case "", "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("unknown TLS version %q: want \"1.2\" or \"1.3\"", s)
}

// check is Validate for constructors.
func (c Config) check() error {
	var first error
	c.Validate(func(field, msg string) {
		if first == nil {
			first = fmt.Errorf("tls.%s: %s", field, msg)
		}
	})
	if first == nil && c.empty() {
		first = fmt.Errorf("tls: no source of certificates: want acme, certificates or local")
	}
	return first
}

// clone returns a copy that shares nothing with c.
func (c Config) clone() Config {
	c.Certificates = slices.Clone(c.Certificates)
	if c.ACME != nil {
		a := *c.ACME
		a.Hosts = slices.Clone(a.Hosts)
		c.ACME = &a
	}
	return c
}
