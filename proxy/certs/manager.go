package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// Options connect a Manager to the process around it.
type Options struct {
	// HTTP and HTTPS are the addresses (host:port, the port not 0) of the listeners that serve HTTPChallenge
	// or RedirectHandler, and TLSConfig. They must be listening before Manage is called. Without HTTP the
	// HTTP-01 challenge is not offered, without HTTPS TLS-ALPN-01 is not.
	HTTP, HTTPS string
	// PublicPort is the port of https URLs in redirects; 0 is that of HTTPS for clients that name the port of
	// HTTP, and 443 for all others.
	PublicPort int
	// OnError is told of a certificate that could not be read, obtained or renewed; the one that was served
	// before is still served. It must not block.
	OnError func(err error)
	// OnObtained is told of a certificate that ACME gave. A first one is served by then.
	OnObtained func(host string, renewed bool)
}

// A Manager owns the certificates of the process. It is safe for concurrent use.
type Manager struct {
	opts     Options
	stateDir string
	version  uint16
	cache    *certmagic.Cache
	logger   *zap.Logger
	stop     context.CancelFunc
	stopped  context.Context
	closing  sync.Once

	work sync.WaitGroup // names being obtained

	manage sync.Mutex // one Manage or Reconfigure at a time

	mu        sync.RWMutex
	config    Config
	files     *fileSet
	local     *localCA
	acme      *authority
	hosts     hostSet // of Manage
	listed    []string
	addresses []net.IP                             // of Manage, for the local authority
	managed   map[string]context.CancelFunc        // ACME names
	old       map[string][]certmagic.SubjectIssuer // of authorities that a reload replaced, still served
	fresh     map[string]bool                      // ACME names with a first certificate that no handshake gets yet
	clients   func(host string, base *tls.Config) *tls.Config
}

// New returns a manager that serves what is in cfg.Certificates and, if cfg.Local, mints; ACME starts with
// Manage. stateDir is where the local authority and, by default, ACME's account and certificates are kept.
// Every file must be readable and every key fit its certificate. The caller closes the manager.
func New(cfg Config, stateDir string, opts Options) (*Manager, error) {
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Manager{
		opts: opts, stateDir: stateDir,
		logger:  newLogger(opts.OnError),
		managed: make(map[string]context.CancelFunc),
		old:     make(map[string][]certmagic.SubjectIssuer),
		fresh:   make(map[string]bool),
		hosts:   make(hostSet),
	}
	m.version, _ = minVersion(cfg.MinVersion) // cfg is good
	m.stopped, m.stop = context.WithCancel(context.Background())
	m.cache = certmagic.NewCache(certmagic.CacheOptions{GetConfigForCert: m.magicFor, Logger: m.logger})
	if err := m.Reconfigure(cfg); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// magicFor tells the cache with what to renew a certificate: what is configured now.
func (m *Manager) magicFor(certmagic.Certificate) (*certmagic.Config, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.acme == nil {
		return nil, errors.New("acme is not configured any more")
	}
	return m.acme.magic, nil
}

// Reconfigure puts cfg in the place of the configuration, or returns an error and changes nothing. Files are
// read anew. Hosts stay managed if ACME's section is unchanged; Manage is to be called afterwards in any case.
// MinVersion cannot change: listeners have it in their TLS configuration.
func (m *Manager) Reconfigure(cfg Config) error {
	m.manage.Lock()
	defer m.manage.Unlock()
	cfg = cfg.clone()
	if err := cfg.check(); err != nil {
		return err
	}
	if v, _ := minVersion(cfg.MinVersion); v != m.version {
		return errors.New("tls.min_version: it has changed, and that needs a restart")
	}
	now := time.Now()
	files, err := loadFiles(cfg.Certificates, now, m.opts.OnError)
	if err != nil {
		return err
	}
	var local *localCA
	if cfg.Local {
		if local, err = openLocalCA(m.statePath("local-ca"), now); err != nil {
			return err
		}
	}
	acme := m.acme
	if !m.config.ACME.equal(cfg.ACME) {
		acme = nil
		if cfg.ACME != nil {
			if acme, err = m.newAuthority(*cfg.ACME); err != nil {
				return err
			}
		}
		if acme == nil {
			m.release(func(string) bool { return true })
		} else {
			m.supersede()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config, m.files, m.local, m.acme = cfg, files, local, acme
	return nil
}

// supersede ends what the authority until now was doing, and keeps its certificates in service until the
// next one has given its own: a new authority may be slow, or not there.
func (m *Manager) supersede() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, cancel := range m.managed {
		cancel()
		delete(m.managed, name)
		m.old[name] = append(m.old[name], certmagic.SubjectIssuer{Subject: name, IssuerKey: m.acme.issuer.IssuerKey()})
	}
}

// succeeded takes the certificates of earlier authorities for name out of service.
func (m *Manager) succeeded(acme *authority, name string) {
	m.mu.Lock()
	gone := slices.DeleteFunc(m.old[name], func(s certmagic.SubjectIssuer) bool { return s.IssuerKey == acme.issuer.IssuerKey() })
	delete(m.old, name)
	m.mu.Unlock()
	m.cache.RemoveManaged(gone)
}

// Manage makes hosts, and those of the configuration, the ones that have certificates: exact names and
// patterns like *.example.com. It returns at once; ACME obtains in the background, tries again with growing
// pauses until ctx, which should be the process's, or the manager ends, and reports failures to
// Options.OnError. Hosts that certificate files cover are not obtained. Names that were managed before and
// are not in hosts are let go. The error joins hosts for which no certificate can come from any source; the
// others are managed nevertheless.
func (m *Manager) Manage(ctx context.Context, hosts []string) error {
	m.manage.Lock()
	defer m.manage.Unlock()
	m.mu.RLock()
	acme, local, files := m.acme, m.local, m.files
	if acme != nil {
		hosts = slices.Concat(hosts, m.config.ACME.Hosts)
	}
	m.mu.RUnlock()
	set := newHostSet(hosts)
	want, err := issuable(set, files, acme != nil, local != nil)
	m.release(func(name string) bool { return !want.hasExactly(name) })

	m.mu.Lock()
	m.hosts, m.addresses = set, localAddresses(set)
	m.listed = sorted(want)
	m.mu.Unlock()
	if local != nil {
		local.forget()
	}
	for _, name := range m.listed {
		m.obtain(ctx, acme, name)
	}
	return err
}

// Covers returns an error that joins the hosts for which no certificate can come from any source of c, and the
// files that cannot be read: what New and Manage would say, without doing anything.
func (c Config) Covers(hosts []string) error {
	files, err := loadFiles(c.Certificates, time.Now(), func(error) {})
	if err != nil {
		return err
	}
	if c.ACME != nil {
		hosts = slices.Concat(hosts, c.ACME.Hosts)
	}
	want, err := issuable(newHostSet(hosts), files, c.ACME != nil, c.Local)
	errs := []error{err}
	if c.ACME != nil {
		_, err := readRoots(c.ACME.CARoots)
		errs = append(errs, err)
	}
	for _, name := range sorted(want) {
		if c.ACME.CA == "" && !certmagic.SubjectQualifiesForPublicCert(name) {
			errs = append(errs, fmt.Errorf("tls: no certificate for %s: Let's Encrypt gives none for such a name: want a public one, certificates, or acme.ca of a private authority", name))
		}
	}
	return errors.Join(errs...)
}

// issuable picks the names that ACME has to obtain. Names that no source has are errors.
func issuable(set hostSet, files *fileSet, acme, local bool) (hostSet, error) {
	want := make(hostSet)
	var errs []error
	for _, name := range sorted(set) {
		switch {
		case files.covers(name) || local:
		case !acme:
			errs = append(errs, fmt.Errorf("tls: no certificate for %s: want it in certificates, or acme", name))
		case notIssuable(name) != "":
			errs = append(errs, fmt.Errorf("tls: no certificate for %s: %s", name, notIssuable(name)))
		default:
			want[name] = struct{}{}
		}
	}
	return want, errors.Join(errs...)
}

func (s hostSet) hasExactly(name string) bool {
	_, ok := s[name]
	return ok
}

func sorted(s hostSet) []string {
	list := make([]string, 0, len(s))
	for name := range s {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// localAddresses are those of a development machine and any that hosts list.
func localAddresses(hosts hostSet) []net.IP {
	list := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, host := range sorted(hosts) {
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() {
			list = append(list, ip)
		}
	}
	return list
}

// obtain keeps name in the cache and renewed, unless that is being done already. What the storage has is in
// the cache when it returns: after a restart no handshake fails.
func (m *Manager) obtain(ctx context.Context, acme *authority, name string) {
	m.mu.Lock()
	if _, ok := m.managed[name]; ok {
		m.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	m.managed[name] = cancel
	m.mu.Unlock()
	unlink := context.AfterFunc(m.stopped, cancel)
	// Without one there is an error, and first obtains it.
	cert, cacheErr := acme.magic.CacheManagedCertificate(ctx, name)
	m.work.Go(func() {
		defer unlink()
		var err error
		if cacheErr != nil {
			cert, err = acme.first(ctx, name)
		}
		if err == nil {
			m.succeeded(acme, name)
			err = acme.renew(ctx, m.cache, name, cert)
		}
		if err != nil && ctx.Err() == nil {
			m.opts.OnError(fmt.Errorf("acme: %s: %w", name, err))
		}
	})
}

// release ends the management of names; what ACME's storage has of them stays.
func (m *Manager) release(which func(name string) bool) {
	var gone []certmagic.SubjectIssuer
	m.mu.Lock()
	for name, cancel := range m.managed {
		if which(name) {
			cancel()
			delete(m.managed, name)
			gone = append(gone, certmagic.SubjectIssuer{Subject: name})
		}
	}
	for name := range m.old {
		if which(name) {
			delete(m.old, name)
			gone = append(gone, certmagic.SubjectIssuer{Subject: name})
		}
	}
	m.mu.Unlock()
	m.cache.RemoveManaged(gone)
}

// LocalRoot is the path of the local authority's root certificate in PEM, for people to install; "" without
// one.
func (m *Manager) LocalRoot() string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.local == nil {
		return ""
	}
	return m.local.path
}

// Close ends what the manager does in the background and waits for its end. It must not be used afterwards, except that listeners
// may finish handshakes with its TLS configuration. Closing it again does nothing.
func (m *Manager) Close() {
	m.closing.Do(func() {
		m.stop()
		m.work.Wait()
		m.cache.Stop()
	})
}

func (m *Manager) statePath(name string) string { return filepath.Join(m.stateDir, name) }

// AskClients has handshakes done with what ask returns for the host that the client named, "" if it named none; nil is as ever.
// Challenges of ACME are not asked about.
func (m *Manager) AskClients(ask func(host string, base *tls.Config) *tls.Config) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clients = ask
}

// TLSConfig returns the configuration for the TLS listeners. It stays good when certificates and hosts
// change. Session ticket keys are crypto/tls's own, which rotates them daily.
func (m *Manager) TLSConfig() *tls.Config {
	tc := &tls.Config{
		MinVersion: m.version,
		// ECDHE with AEAD only. Go's defaults still have CBC suites, which give an attacker a padding oracle
		// to hope for and a lower grade with testssl. TLS 1.3's suites are not configurable and all AEAD.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384},
		NextProtos:       []string{"h2", "http/1.1", acmeTLS},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.certificate(hello, time.Now())
		},
	}
	tc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		m.mu.RLock()
		ask := m.clients
		m.mu.RUnlock()
		if ask == nil || isChallenge(hello) {
			return nil, nil
		}
		return ask(normal(hello.ServerName), tc), nil
	}
	return tc
}

// A view is what one handshake or request needs of the manager's state.
type view struct {
	cache     *certmagic.Cache
	files     *fileSet
	local     *localCA
	acme      *authority
	known     bool // the name is one of Manage's hosts
	managed   bool // ACME obtains it
	listed    []string
	addresses []net.IP
}

func (m *Manager) view(name string) view {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, managed := m.managed[name]
	managed = managed || len(m.old[name]) > 0
	return view{m.cache, m.files, m.local, m.acme, m.hosts.has(name), managed, m.listed, m.addresses}
}

// obtained is ACME's certificate for name, as soon as there is one.
func (v view) obtained(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	c, err := certmagic.DefaultCertificateSelector(hello, v.cache.AllMatchingCertificates(name))
	if err != nil {
		return nil
	}
	return &c.Certificate
}

// certificate chooses by the name that the client sent: files, ACME and the local authority for exactly that
// name, then files with a pattern. nil without an error makes crypto/tls answer unrecognized_name.
func (m *Manager) certificate(hello *tls.ClientHelloInfo, now time.Time) (*tls.Certificate, error) {
	name := normal(hello.ServerName)
	v := m.view(name)
	if isChallenge(hello) {
		if !v.managed {
			return nil, nil
		}
		return v.acme.magic.GetCertificate(hello)
	}
	_ = v.files.refresh(now, false) // errors go to the hook
	if name == "" {
		return v.unnamed(hello, now)
	}
	if c := v.files.find(hello, name); c != nil {
		return c, nil
	}
	if v.managed {
		if c := v.obtained(hello, name); c != nil {
			return c, nil
		}
	}
	if c := v.files.find(hello, wildcard(name)); c != nil {
		return c, nil
	}
	if v.local != nil && (v.known && validName(name) || isLocalhost(name)) {
		return v.local.leaf(name, nil, now)
	}
	return nil, nil
}

// unnamed serves clients that send no name, such as those that connect to an address: the first certificate
// there is.
func (v view) unnamed(hello *tls.ClientHelloInfo, now time.Time) (*tls.Certificate, error) {
	if c := v.files.first(); c != nil {
		return c, nil
	}
	for _, name := range v.listed {
		if c := v.obtained(hello, name); c != nil {
			return c, nil
		}
	}
	if v.local != nil {
		return v.local.leaf("", v.addresses, now)
	}
	return nil, nil
}
