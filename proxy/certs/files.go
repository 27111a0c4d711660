package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// checkEvery bounds how often a handshake looks whether the files have changed: often enough that a renewed
// certificate is served within seconds, seldom enough to cost nothing.
const checkEvery = 5 * time.Second

// A fileSet serves certificates from files and reads them again when they change. It is safe for concurrent
// use.
type fileSet struct {
	onError func(error)

	mu      sync.RWMutex
	checked time.Time
	pairs   []*pair
	byName  map[string][]*tls.Certificate // names and patterns, in the order of the configuration
}

// A pair is one entry of Config.Certificates as last read.
type pair struct {
	file   File
	tried  bool
	stamps [2]stamp // of the files when they were last tried, good or not
	cert   *tls.Certificate
}

// A stamp tells two states of a file apart. A file that was renamed into place is another one even when time
// and size are the same, as they can be within one tick of the file system's clock.
type stamp struct{ info os.FileInfo }

func (s stamp) equal(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == o.info
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

// loadFiles reads all files; each must be good.
func loadFiles(files []File, now time.Time, onError func(error)) (*fileSet, error) {
	s := &fileSet{onError: onError, checked: now}
	var errs []error
	for _, f := range files {
		p := &pair{file: f}
		if _, err := p.load(now); err != nil {
			errs = append(errs, err)
		}
		s.pairs = append(s.pairs, p)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.index()
	return s, nil
}

// load reads the files if they are not as they were when they were last tried. On an error the certificate
// that was there stays.
func (p *pair) load(now time.Time) (changed bool, err error) {
	var stamps [2]stamp
	var missing error
	for i, name := range []string{p.file.Cert, p.file.Key} {
		info, err := os.Stat(name)
		if err != nil {
			missing = fmt.Errorf("certificate file: %w", err)
			continue
		}
		stamps[i] = stamp{info}
	}
	if p.tried && stamps[0].equal(p.stamps[0]) && stamps[1].equal(p.stamps[1]) {
		return false, nil
	}
	p.tried, p.stamps = true, stamps
	if missing != nil {
		return false, missing
	}
	cert, err := tls.LoadX509KeyPair(p.file.Cert, p.file.Key)
	if err != nil {
		return false, fmt.Errorf("certificate %s with key %s: %w", p.file.Cert, p.file.Key, err)
	}
	switch leaf := cert.Leaf; {
	case len(names(&cert)) == 0:
		return false, fmt.Errorf("certificate %s: it names no host (subjectAltName)", p.file.Cert)
	case now.After(leaf.NotAfter) && p.cert != nil && now.Before(p.cert.Leaf.NotAfter):
		return false, fmt.Errorf("certificate %s: expired %s, the one before it is kept", p.file.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	p.cert = &cert
	return true, nil
}

func names(cert *tls.Certificate) []string {
	list := make([]string, 0, len(cert.Leaf.DNSNames))
	for _, name := range cert.Leaf.DNSNames {
		list = append(list, normal(name))
	}
	for _, ip := range cert.Leaf.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}

// refresh reads what has changed, unless that was done a moment ago and force is false. Errors go to the hook
// and are returned.
func (s *fileSet) refresh(now time.Time, force bool) error {
	s.mu.RLock()
	due := force || now.Sub(s.checked) >= checkEvery
	s.mu.RUnlock()
	if !due {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !force && now.Sub(s.checked) < checkEvery {
		return nil // another handshake was here first
	}
	s.checked = now
	var errs []error
	stale := false
	for _, p := range s.pairs {
		changed, err := p.load(now)
		if err != nil {
			s.onError(err)
			errs = append(errs, err)
		}
		stale = stale || changed
	}
	if stale {
		s.index()
	}
	return errors.Join(errs...)
}

// index rebuilds byName; the caller holds the lock or is the only one to know s.
func (s *fileSet) index() {
	s.byName = make(map[string][]*tls.Certificate)
	for _, p := range s.pairs {
		for _, name := range names(p.cert) {
			s.byName[name] = append(s.byName[name], p.cert)
		}
	}
}

// find returns the first certificate for exactly name, which may be a pattern, that the client supports, or
// the first of all when it supports none.
func (s *fileSet) find(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	certs := s.byName[name]
	for _, c := range certs {
		if len(certs) == 1 || hello.SupportsCertificate(c) == nil {
			return c
		}
	}
	if len(certs) > 0 {
		return certs[0]
	}
	return nil
}

// first is the certificate for clients that send no name; nil when there is none.
func (s *fileSet) first() *tls.Certificate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.pairs) == 0 {
		return nil
	}
	return s.pairs[0].cert
}

// covers reports whether a certificate names host or matches it.
func (s *fileSet) covers(host string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byName[host]) > 0 || len(s.byName[wildcard(host)]) > 0
}
