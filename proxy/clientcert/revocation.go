package clientcert

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// checkEvery bounds how often it is looked whether the files have changed.
	checkEvery = 5 * time.Second
	// maxList bounds one file, in bytes, as ALB does.
	maxList = 50 << 20
)

// An issuer is who signs certificates and lists of those that are revoked: a name with a key.
type issuer struct{ name, key string }

func issuerOf(cert *x509.Certificate) issuer {
	return issuer{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}
}

// A revoked is what the lists of one issuer say together.
type revoked struct {
	serials map[string]struct{}
	until   time.Time // of the first list that is out of date
}

// lists are the revocation lists of a policy.
type lists struct {
	files   []string
	store   []*x509.Certificate
	onError func(error)

	mu      sync.Mutex
	stamps  []os.FileInfo // of when they were last tried
	checked time.Time
	reading bool
	changes int
	by      byIssuer
}

func newLists(files []string, store []*x509.Certificate, onError func(error)) (*lists, error) {
	l := &lists{files: files, store: store, onError: onError, checked: time.Now(), stamps: make([]os.FileInfo, len(files))}
	l.changedLocked()
	var err error
	l.by, err = l.readAll()
	return l, err
}

// refresh reads the files again if they have changed, and returns a number that changes with what they say. Of files that cannot
// be read, or are no lists of these issuers, what they said before holds, until it is out of date; and for all others while one
// reads them.
func (l *lists) refresh(now time.Time) int {
	if l.due(now) {
		l.readAgain()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes
}

// due reports whether the caller is to read the files again.
func (l *lists) due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.files) == 0 || l.reading || now.Sub(l.checked) < checkEvery {
		return false
	}
	l.checked = now
	l.reading = l.changedLocked()
	return l.reading
}

func (l *lists) readAgain() {
	by, err := l.readAll()
	l.mu.Lock()
	l.reading = false
	if err == nil {
		l.by = by
		l.changes++
	}
	l.mu.Unlock()
	if err != nil {
		l.onError(err)
	}
}

// changedLocked reports whether a file is another one than when it was last looked at.
func (l *lists) changedLocked() (changed bool) {
	for i, name := range l.files {
		info, err := os.Stat(name)
		if err != nil {
			info = nil
		}
		before := l.stamps[i]
		same := info == nil && before == nil
		if info != nil && before != nil {
			same = os.SameFile(info, before) && info.Size() == before.Size() && info.ModTime().Equal(before.ModTime())
		}
		l.stamps[i] = info
		changed = changed || !same
	}
	return changed
}

// readAll reads all files, or none.
func (l *lists) readAll() (byIssuer, error) {
	by := byIssuer{}
	var errs []error
	for _, name := range l.files {
		if err := l.read(name, by); err != nil {
			errs = append(errs, fmt.Errorf("revocation list %s: %w", name, err))
		}
	}
	return by, errors.Join(errs...)
}

func (l *lists) read(name string, by byIssuer) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxList+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxList:
		return fmt.Errorf("want at most %d bytes", maxList)
	case !bytes.Contains(data, []byte("-----BEGIN")):
		return l.add(data, by)
	}
	found := false
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "X509 CRL" {
			return fmt.Errorf("want X509 CRL, got %s", block.Type)
		}
		if err := l.add(block.Bytes, by); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return errors.New("want a list in PEM or DER")
	}
	return nil
}

// add takes what a list says for what its issuer says. A list that is only the changes to another, or about certificates of
// others, would be read wrongly, and is refused.
func (l *lists) add(der []byte, by byIssuer) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	partition := asn1.ObjectIdentifier{2, 5, 29, 28} // issuingDistributionPoint: several make up the whole, see below
	for _, ext := range list.Extensions {
		if ext.Critical && !ext.Id.Equal(partition) {
			return fmt.Errorf("critical extension %s is not understood", ext.Id)
		}
	}
	var from *x509.Certificate
	for _, cert := range l.store {
		if bytes.Equal(list.RawIssuer, cert.RawSubject) && list.CheckSignatureFrom(cert) == nil {
			from = cert
		}
	}
	switch {
	case from == nil:
		return errors.New("no certificate of the trust store has signed it")
	case list.NextUpdate.IsZero():
		return errors.New("says nothing of its next update")
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, ext := range entry.Extensions {
			if ext.Critical {
				return fmt.Errorf("critical extension %s of an entry is not understood", ext.Id)
			}
		}
	}
	by.add(issuerOf(from), list)
	return nil
}

// byIssuer is what the lists say.
type byIssuer map[issuer]*revoked

// add takes a list for one of an issuer's.
func (by byIssuer) add(from issuer, list *x509.RevocationList) {
	all := by[from]
	if all == nil {
		all = &revoked{serials: map[string]struct{}{}, until: list.NextUpdate}
		by[from] = all
	}
	if list.NextUpdate.Before(all.until) {
		all.until = list.NextUpdate
	}
	for _, entry := range list.RevokedCertificateEntries {
		all.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
}

// of returns what is said of an issuer's certificates: by its own lists, or else by those of its name, which an authority signs with
// its next key.
func (by byIssuer) of(cert *x509.Certificate) (said []*revoked) {
	if own := by[issuerOf(cert)]; own != nil {
		return []*revoked{own}
	}
	for from, list := range by {
		if from.name == string(cert.RawSubject) {
			said = append(said, list)
		}
	}
	return said
}

// check refuses a chain, the client's certificate first, with one that its issuer has revoked. It returns until when that is
// known; the zero time is always. Issuers without a list revoke nothing.
func (l *lists) check(chain []*x509.Certificate, now time.Time) (until time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, cert := range chain[:len(chain)-1] {
		for _, list := range l.by.of(chain[i+1]) {
			if !now.Before(list.until) {
				return until, &Refusal{ReasonList, fmt.Errorf("the revocation list of %s is out of date", distinguished(cert.RawIssuer))}
			}
			if _, ok := list.serials[string(cert.SerialNumber.Bytes())]; ok {
				return until, &Refusal{ReasonRevoked, fmt.Errorf("certificate %s of %s is revoked", serial(cert), distinguished(cert.RawIssuer))}
			}
			if until.IsZero() || list.until.Before(until) {
				until = list.until
			}
		}
	}
	return until, nil
}
