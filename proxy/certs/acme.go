package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// acmeTLS is the only protocol that a TLS-ALPN-01 validator offers (RFC 8737 section 3).
const acmeTLS = "acme-tls/1"

// An authority obtains certificates over ACME. Its certmagic.Config is replaced by a new authority, never
// changed.
type authority struct {
	config ACME
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer
}

// newAuthority sets certmagic up with nothing of its defaults' state. Challenges are offered only where a
// listener of ours answers them: certmagic finds the port taken, connects to it to be sure, and leaves it be.
func (m *Manager) newAuthority(cfg ACME) (*authority, error) {
	roots, err := readRoots(cfg.CARoots)
	if err != nil {
		return nil, err
	}
	storage := cfg.Storage
	if storage == "" {
		storage = m.statePath("acme")
	}
	template := certmagic.ACMEIssuer{
		CA:                      cfg.CA,
		Email:                   cfg.Email,
		Agreed:                  true,
		TrustedRoots:            roots,
		DisableHTTPChallenge:    m.opts.HTTP == "",
		DisableTLSALPNChallenge: m.opts.HTTPS == "",
		Logger:                  m.logger,
	}
	if template.CA == "" {
		template.CA = certmagic.LetsEncryptProductionCA
	}
	if err := m.setPorts(&template); err != nil {
		return nil, err
	}
	a := &authority{config: cfg}
	a.magic = certmagic.New(m.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: storage},
		Issuers: []certmagic.Issuer{}, // not nil: certmagic would make one from its defaults
		Logger:  m.logger,
		OnEvent: m.event,
	})
	a.issuer = certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// first obtains a certificate for name unless the storage has one, trying again with growing pauses until ctx
// ends, and puts it into the cache, which renews it from then on. It never uses certmagic's synchronous calls:
// those may ask a person at the terminal.
func (a *authority) first(ctx context.Context, name string) (certmagic.Certificate, error) {
	if err := a.magic.ObtainCertAsync(ctx, name); err != nil {
		return certmagic.Certificate{}, err
	}
	return a.magic.CacheManagedCertificate(ctx, name)
}

// renew replaces a cached certificate that is due already: the process may have been down when it became so.
func (a *authority) renew(ctx context.Context, cache *certmagic.Cache, name string, cert certmagic.Certificate) error {
	if !cert.NeedsRenewal(a.magic) {
		return nil
	}
	if err := a.magic.RenewCertAsync(ctx, name, false); err != nil {
		return err
	}
	if _, err := a.magic.CacheManagedCertificate(ctx, name); err != nil {
		return err
	}
	cache.Remove([]string{cert.Hash()}) // after the new one came in, so that no handshake is without
	return nil
}

func (m *Manager) setPorts(template *certmagic.ACMEIssuer) error {
	for _, l := range []struct {
		address string
		port    *int
	}{{m.opts.HTTP, &template.AltHTTPPort}, {m.opts.HTTPS, &template.AltTLSALPNPort}} {
		if l.address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(l.address)
		if err != nil {
			return fmt.Errorf("acme: listener address %q: %w", l.address, err)
		}
		if *l.port, err = strconv.Atoi(port); err != nil || *l.port == 0 {
			return fmt.Errorf("acme: listener address %q: want host:port with a port number", l.address)
		}
		template.ListenHost = host
	}
	if m.opts.HTTP == "" && m.opts.HTTPS == "" {
		return errors.New("acme: no listener answers a challenge: want an http or an https listener")
	}
	return nil
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("acme.ca_roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("acme.ca_roots: %s holds no PEM certificate", path)
	}
	return pool, nil
}

// isChallenge reports whether hello comes from a TLS-ALPN-01 validator.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeTLS
}

// event takes certmagic's good news; the bad comes through the logger. A first certificate is told when
// handshakes get it, which is a moment after it was obtained; one that is renewed has a predecessor until then.
func (m *Manager) event(_ context.Context, name string, data map[string]any) error {
	if m.opts.OnObtained == nil {
		return nil
	}
	switch name {
	case "cert_obtained":
		host, _ := data["identifier"].(string)
		if renewed, _ := data["renewal"].(bool); renewed {
			m.opts.OnObtained(host, true)
			return nil
		}
		m.mu.Lock()
		m.fresh[host] = true
		m.mu.Unlock()
	case "cached_managed_cert":
		hosts, _ := data["sans"].([]string)
		for _, host := range hosts {
			m.mu.Lock()
			fresh := m.fresh[host]
			delete(m.fresh, host)
			m.mu.Unlock()
			if fresh {
				m.opts.OnObtained(host, false)
			}
		}
	}
	return nil
}

// An errorCore is where certmagic logs to: errors become calls of the hook, all else is dropped.
type errorCore struct {
	onError func(error)
	host    string
}

func (c errorCore) Enabled(l zapcore.Level) bool { return l >= zapcore.ErrorLevel }

func (c errorCore) With(fields []zapcore.Field) zapcore.Core {
	if host := stringField(fields, "identifier", "subject"); host != "" {
		c.host = host
	}
	return c
}

// Check leaves out the ACME client's own account of a failure, which certmagic repeats with the host and the
// CA's reason.
func (c errorCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !strings.HasSuffix(e.LoggerName, "acme_client") {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write keeps the message, the host and the error of an entry; other fields may hold challenge tokens.
func (c errorCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	msg := "acme: "
	if host := stringField(fields, "identifier", "subject"); host != "" {
		msg += host + ": "
	} else if c.host != "" {
		msg += c.host + ": "
	}
	msg += e.Message
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			c.onError(fmt.Errorf("%s: %w", msg, err))
			return nil
		}
	}
	c.onError(errors.New(strings.TrimSpace(msg)))
	return nil
}

func (c errorCore) Sync() error { return nil }

func stringField(fields []zapcore.Field, keys ...string) string {
	for _, f := range fields {
		for _, key := range keys {
			if f.Key == key && f.Type == zapcore.StringType {
				return f.String
			}
		}
	}
	return ""
}

func newLogger(onError func(error)) *zap.Logger { return zap.New(errorCore{onError: onError}) }
