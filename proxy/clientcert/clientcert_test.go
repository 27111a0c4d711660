package clientcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A party has a certificate and its key.
type party struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var start = time.Now().Truncate(time.Second)

// issue makes a certificate of by, or of itself for nil; edit changes what it says.
func issue(t testing.TB, by *party, name string, ca bool, edit func(*x509.Certificate)) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: start.Add(-24 * time.Hour), NotAfter: start.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if ca {
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
	if edit != nil {
		edit(template)
	}
	if by == nil {
		by = &party{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{cert, key}
}

func write(t testing.TB, dir, name string, parties ...*party) string {
	t.Helper()
	var text []byte
	for _, p := range parties {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})...)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// revoke writes by's list of what it has revoked, as another file in the old one's place.
func revoke(t testing.TB, path string, by *party, until time.Time, edit func(*x509.RevocationList), gone ...*party) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: start.Add(-time.Hour), NextUpdate: until}
	for _, p := range gone {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.cert.SerialNumber, RevocationTime: start})
	}
	if edit != nil {
		edit(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, by.cert, by.key)
	if err != nil {
		t.Fatal(err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		t.Fatal(err)
	}
}

func policy(t testing.TB, cfg Config) *Policy {
	t.Helper()
	cfg.Hosts = []string{"a.test"}
	p, err := NewPolicy(cfg, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func reason(err error) string {
	if err != nil && ReasonOf(err) == "" {
		return err.Error()
	}
	return ReasonOf(err)
}

func TestCertificatesThatAreTaken(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", true, nil)
	first := issue(t, root, "first", true, nil)
	second := issue(t, first, "second", true, nil)
	third := issue(t, second, "third", true, nil)
	other := issue(t, nil, "root", true, nil) // the same name with another key
	narrow := issue(t, root, "narrow", true, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := issue(t, narrow, "below", true, nil)
	dir := t.TempDir()
	ca := write(t, dir, "ca.pem", root)
	both := write(t, dir, "both.pem", root, first)
	onlyFirst := write(t, dir, "first.pem", first)
	good := issue(t, root, "client", false, nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(9), NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, root.cert, &weak.PublicKey, root.key)
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg   Config
		chain []*party
		at    time.Duration
		want  string
	}{
		"of the root":                        {Config{CA: []string{ca}}, []*party{good}, 0, ""},
		"of an intermediate that is sent":    {Config{CA: []string{ca}}, []*party{issue(t, first, "c", false, nil), first}, 0, ""},
		"of one that is not sent":            {Config{CA: []string{ca}}, []*party{issue(t, first, "c", false, nil)}, 0, ReasonUntrusted},
		"of one that the store has":          {Config{CA: []string{both}}, []*party{issue(t, first, "c", false, nil)}, 0, ""},
		"of a store without roots":           {Config{CA: []string{onlyFirst}}, []*party{issue(t, first, "c", false, nil)}, 0, ""},
		"a chain of four":                    {Config{CA: []string{ca}}, []*party{issue(t, second, "c", false, nil), second, first}, 0, ""},
		"a chain of five":                    {Config{CA: []string{ca}}, []*party{issue(t, third, "c", false, nil), third, second, first}, 0, ReasonDepth},
		"a chain of three, two wanted":       {Config{CA: []string{ca}, Depth: 2}, []*party{issue(t, first, "c", false, nil), first}, 0, ReasonDepth},
		"deeper than the authority may":      {Config{CA: []string{ca}}, []*party{issue(t, below, "c", false, nil), below, narrow}, 0, ReasonDepth},
		"of another root of that name":       {Config{CA: []string{ca}}, []*party{issue(t, other, "c", false, nil)}, 0, ReasonUntrusted},
		"with the other root sent along":     {Config{CA: []string{ca}}, []*party{issue(t, other, "c", false, nil), other}, 0, ReasonUntrusted},
		"its own":                            {Config{CA: []string{ca}}, []*party{issue(t, nil, "c", false, nil)}, 0, ReasonUntrusted},
		"over":                               {Config{CA: []string{ca}}, []*party{good}, 25 * time.Hour, ReasonExpired},
		"not yet valid":                      {Config{CA: []string{ca}}, []*party{good}, -25 * time.Hour, ReasonEarly},
		"of a server":                        {Config{CA: []string{ca}}, []*party{issue(t, root, "c", false, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, 0, ReasonPurpose},
		"one that a client has signed":       {Config{CA: []string{ca}}, []*party{issue(t, good, "c", false, nil), good}, 0, ReasonUntrusted},
		"a short key":                        {Config{CA: []string{ca}}, []*party{{cert: short}}, 0, ReasonType},
		"more than headers hold":             {Config{CA: []string{ca}}, []*party{issue(t, root, "c", false, func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("a", maxChain)} })}, 0, ReasonSize},
		"more than headers hold, not judged": {Config{Mode: ModePassthrough}, []*party{issue(t, root, "c", false, func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("a", maxChain)} })}, 0, ReasonSize},
		"anything, not judged":               {Config{Mode: ModePassthrough}, []*party{issue(t, nil, "c", false, nil)}, 0, ""},
		"none, not judged":                   {Config{Mode: ModePassthrough}, nil, 0, ""},
		"none":                               {Config{CA: []string{ca}}, nil, 0, new(Misdirected).Error()},
	} {
		p := policy(t, c.cfg)
		var chain []*x509.Certificate
		for _, each := range c.chain {
			chain = append(chain, each.cert)
		}
		for range 2 { // the second time it may be remembered
			_, err := p.check(chain, start.Add(c.at))
			if got := reason(err); got != c.want {
				t.Errorf("%s: got %q (%v), want %q", name, got, err, c.want)
			}
		}
	}
}

// One that was good is judged again when it, or the list that it is not on, is over, and when the list changes.
func TestCertificatesAreJudgedAgain(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", true, nil)
	first := issue(t, root, "first", true, nil)
	client := issue(t, first, "client", false, nil)
	another := issue(t, first, "another", false, nil)
	dir := t.TempDir()
	leaves, authorities := filepath.Join(dir, "leaves.crl"), filepath.Join(dir, "authorities.crl")
	revoke(t, leaves, first, start.Add(time.Hour), nil, another)
	revoke(t, authorities, root, start.Add(2*time.Hour), nil)
	var told []error
	p, err := NewPolicy(Config{
		Hosts: []string{"a.test"}, CA: []string{write(t, dir, "ca.pem", first, root)}, CRL: []string{leaves, authorities},
	}, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	now := start
	expect := func(who *party, want string) {
		t.Helper()
		now = now.Add(2 * checkEvery)
		if _, err := p.check([]*x509.Certificate{who.cert, first.cert}, now); reason(err) != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	expect(client, "")
	expect(another, ReasonRevoked)
	revoke(t, leaves, first, start.Add(time.Hour), nil, client)
	expect(client, ReasonRevoked)
	expect(another, "")
	if err := os.WriteFile(leaves, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(client, ReasonRevoked)
	if len(told) != 1 || !strings.Contains(told[0].Error(), "leaves.crl") {
		t.Errorf("told of %v, want the damaged file", told)
	}
	revoke(t, leaves, first, start.Add(time.Hour), nil)
	expect(client, "")
	revoke(t, authorities, root, start.Add(2*time.Hour), nil, first)
	expect(client, ReasonRevoked)
	revoke(t, authorities, root, start.Add(2*time.Hour), nil)
	expect(client, "")
	now = start.Add(time.Hour)
	expect(client, ReasonList)
	revoke(t, leaves, first, start.Add(48*time.Hour), nil)
	expect(client, "")
	now = start.Add(2 * time.Hour)
	expect(client, ReasonList)
	revoke(t, authorities, root, start.Add(48*time.Hour), nil)
	expect(client, "")
	now = start.Add(25 * time.Hour)
	expect(client, ReasonExpired)
}

// A list that is long, or comes slowly, holds up who finds that it has changed, and nobody else.
func TestAListThatIsBeingReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := issue(t, nil, "root", true, nil)
	client := []*x509.Certificate{issue(t, root, "c", false, nil).cert}
	list, next := filepath.Join(dir, "crl.pem"), filepath.Join(dir, "next.pem")
	revoke(t, list, root, start.Add(time.Hour), nil)
	p := policy(t, Config{CA: []string{write(t, dir, "ca.pem", root)}, CRL: []string{list}})
	revoke(t, next, root, start.Add(time.Hour), nil, &party{cert: client[0]})
	text, err := os.ReadFile(next)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(list), syscall.Mkfifo(list, 0o600)); err != nil {
		t.Fatal(err)
	}
	later := start.Add(time.Minute)
	found := make(chan error)
	go func() {
		_, err := p.check(client, later)
		found <- err
	}()
	pipe, err := os.OpenFile(list, os.O_WRONLY, 0) // is there as soon as the other end is being read
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.check(client, later); err != nil {
		t.Errorf("while it is being read: %v", err)
	}
	if _, err := pipe.Write(text); err != nil {
		t.Fatal(err)
	}
	pipe.Close()
	if err := <-found; reason(err) != ReasonRevoked {
		t.Errorf("who found it: got %v", err)
	}
	if _, err := p.check(client, later); reason(err) != ReasonRevoked {
		t.Errorf("afterwards: got %v", err)
	}
}

func TestFilesThatAreNoTrustStoreOrListAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, stranger := issue(t, nil, "root", true, nil), issue(t, nil, "root", true, nil)
	ca := write(t, dir, "ca.pem", root)
	text := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	list := func(name string, by *party, edit func(*x509.RevocationList)) string {
		path := filepath.Join(dir, name)
		revoke(t, path, by, start.Add(time.Hour), edit)
		return path
	}
	delta := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	}
	for name, c := range map[string]struct {
		ca, crl []string
		want    string
	}{
		"no file":             {[]string{filepath.Join(dir, "none.pem")}, nil, "no such file"},
		"no certificate":      {[]string{text("empty.pem", "\n")}, nil, "got none"},
		"a key":               {[]string{text("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, nil, "want certificates only"},
		"a leaf":              {[]string{write(t, dir, "leaf.pem", issue(t, root, "leaf", false, nil))}, nil, "no certificate of an authority"},
		"a list of strangers": {[]string{ca}, []string{list("stranger.crl", stranger, nil)}, "no certificate of the trust store has signed it"},
		"a list of changes":   {[]string{ca}, []string{list("delta.crl", root, delta)}, "critical extension 2.5.29.27"},
		"no list":             {[]string{ca}, []string{filepath.Join(dir, "none.crl")}, "no such file"},
		"a certificate":       {[]string{ca}, []string{ca}, "want X509 CRL"},
	} {
		_, err := NewPolicy(Config{Hosts: []string{"a.test"}, CA: c.ca, CRL: c.crl}, func(error) {})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// The examples of AWS (ELB user guide, "Mutual authentication with TLS in Application Load Balancer").
func TestHeadersAreThoseOfALB(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", true, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "rootcamtls.com", OrganizationalUnit: []string{"rootCA"}, Organization: []string{"mTLS"}, Locality: []string{"Seattle"}, Province: []string{"Washington"}, Country: []string{"US"}}
		c.NotBefore, c.NotAfter = time.Date(2023, 9, 21, 1, 50, 17, 0, time.UTC), time.Date(2024, 9, 20, 1, 50, 17, 0, time.UTC)
	})
	client := issue(t, root, "", false, func(c *x509.Certificate) {
		c.SerialNumber = big.NewInt(0x03A5B1)
		c.Subject = pkix.Name{CommonName: "client_.com", OrganizationalUnit: []string{"client-3"}, Organization: []string{"mTLS"}, Province: []string{"Washington"}, Country: []string{"US"}}
		c.NotBefore, c.NotAfter = root.cert.NotBefore, root.cert.NotAfter
	})
	p := policy(t, Config{CA: []string{write(t, t.TempDir(), "ca.pem", root)}})
	cert, err := p.check([]*x509.Certificate{client.cert, root.cert}, time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	got := http.Header{}
	cert.Set(got)
	leaf := got.Get(headerLeaf)
	want := http.Header{
		"X-Amzn-Mtls-Clientcert-Serial-Number": {"03A5B1"},
		"X-Amzn-Mtls-Clientcert-Issuer":        {"CN=rootcamtls.com,OU=rootCA,O=mTLS,L=Seattle,ST=Washington,C=US"},
		"X-Amzn-Mtls-Clientcert-Subject":       {"CN=client_.com,OU=client-3,O=mTLS,ST=Washington,C=US"},
		"X-Amzn-Mtls-Clientcert-Validity":      {"NotBefore=2023-09-21T01:50:17Z;NotAfter=2024-09-20T01:50:17Z"},
		"X-Amzn-Mtls-Clientcert-Leaf":          {leaf},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("verified (-got +want)\n%s", diff)
	}
	if !strings.HasPrefix(leaf, "-----BEGIN%20CERTIFICATE-----%0AMII") || !strings.HasSuffix(leaf, "-----END%20CERTIFICATE-----%0A") {
		t.Errorf("leaf: got %s", leaf)
	}
	sameChain(t, leaf, client)

	cert, err = policy(t, Config{Mode: ModePassthrough}).check([]*x509.Certificate{client.cert, root.cert}, start)
	if err != nil {
		t.Fatal(err)
	}
	got = http.Header{}
	cert.Set(got)
	if len(got) != 1 {
		t.Errorf("passed: got %v", got)
	}
	sameChain(t, got.Get("X-Amzn-Mtls-Clientcert"), client, root)
}

// sameChain reads a header as AWS tells applications to.
func sameChain(t *testing.T, value string, want ...*party) {
	t.Helper()
	text, err := url.PathUnescape(value)
	if err != nil {
		t.Fatal(err)
	}
	rest := []byte(text)
	for _, p := range want {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || string(block.Bytes) != string(p.cert.Raw) {
			t.Errorf("%s is not the certificate of %s", value, p.cert.Subject)
			return
		}
	}
	if len(rest) > 0 {
		t.Errorf("%q follows the chain", rest)
	}
}

// Whatever an authority has signed as a name, it is one line of ASCII.
func TestNamesAreOneLine(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", true, nil)
	for name, want := range map[string]string{
		"plain":                     "CN=plain",
		"a, b+c=\"d\" <e>; \\f":     `CN=a\, b\+c=\"d\" \<e\>\; \\f`,
		"x\r\nX-Amzn-Oidc-Data: y":  `CN=x\0D\0AX-Amzn-Oidc-Data: y`,
		"Zoë":                       `CN=Zo\C3\AB`,
		"\x7f\x01":                  `CN=\7F\01`,
		" blank ":                   `CN=\ blank\20`,
		`back\ `:                    `CN=back\\\20`,
		"*.example.com,O=forged":    `CN=*.example.com\,O=forged`,
		strings.Repeat("long ", 50): "CN=" + strings.Repeat("long ", 49) + `long\20`,
	} {
		if got := distinguished(issue(t, root, name, false, nil).cert.RawSubject); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

// A name of one kind is none of another, whatever it looks like.
func TestNamesOfOneKindAreNoneOfAnother(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", true, nil)
	uri := func(s string) *url.URL { return &url.URL{Path: s} }
	client := issue(t, root, "c", false, func(c *x509.Certificate) {
		c.DNSNames = []string{"api.example.com", "*.example.com", "CN=admin", "a@example.com", "spiffe://example.com/a"}
		c.EmailAddresses = []string{"a@example.com", "api.example.org", "CN=admin@example.com", "spiffe://a@example.com"}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/b"}, uri("CN=admin,O=Example"), uri("b@example.com"), uri("www.example.com")}
	})
	want := []string{"api.example.com", "*.example.com", "a@example.com", "spiffe://example.com/b", "CN=c"}
	if diff := cmp.Diff(verified(client.cert).Names, want); diff != "" {
		t.Errorf("names (-got +want)\n%s", diff)
	}
}

// An authority that has changed its key says with the new one what it has revoked under the old.
func TestAListOfTheNewKeyIsAboutTheOld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := issue(t, nil, "root", true, nil)
	before, after := issue(t, root, "authority", true, nil), issue(t, root, "authority", true, nil)
	ca := write(t, dir, "ca.pem", root, before, after)
	gone, stays := issue(t, before, "gone", false, nil), issue(t, before, "stays", false, nil)
	list := filepath.Join(dir, "crl.pem")
	revoke(t, list, after, start.Add(time.Hour), nil, gone)
	expect := func(crl []string, p *party, want string) {
		t.Helper()
		if _, err := policy(t, Config{CA: []string{ca}, CRL: crl}).check([]*x509.Certificate{p.cert}, start); reason(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	expect([]string{list}, gone, ReasonRevoked)
	expect([]string{list}, stays, "")
	// One of its own says all.
	own := filepath.Join(dir, "own.pem")
	revoke(t, own, before, start.Add(time.Hour), nil)
	expect([]string{list, own}, gone, "")
}

// A request of HTTP/1.0 that names no host is held to the one that its connection was opened for, each time that somebody asks.
func TestWithoutAHostThatOfTheConnectionCounts(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, "root", true, nil)
	client := issue(t, root, "c", false, nil)
	s := NewSet(policy(t, Config{CA: []string{write(t, t.TempDir(), "ca.pem", root)}}))
	conn := &tls.ConnectionState{ServerName: "A.test", PeerCertificates: []*x509.Certificate{client.cert}}
	if cert, err := s.Check(conn, "", start); err != nil || cert == nil {
		t.Errorf("with a certificate: got %v, %v", cert, err)
	}
	conn.PeerCertificates = nil
	if _, err := s.Check(conn, "", start); err == nil {
		t.Error("without one: let in")
	}
}

func TestTheMostSpecificEntryDecides(t *testing.T) {
	t.Parallel()
	entry := func(hosts ...string) *Policy { return &Policy{hosts: hosts} }
	exact, below, deep, all := entry("a.example.com"), entry("*.example.com"), entry("*.b.example.com"), entry("*")
	s := NewSet(exact, below, deep, all)
	for host, want := range map[string]*Policy{
		"a.example.com": exact, "A.Example.COM.": exact, "c.example.com": below, "x.a.example.com": below, "x.b.example.com": deep,
		"b.example.com": below, "example.com": all, "": all, "192.0.2.1": all,
	} {
		if got := s.find(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
	if got := NewSet(exact, below).find("example.org"); got != nil {
		t.Errorf("another host: got %v", got)
	}
	var nobody *Set
	if nobody.Configure("a.example.com", &tls.Config{}) != nil {
		t.Error("the nil set asks")
	}
}

func TestValidateSaysWhatIsAccepted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"good":           {Config{Hosts: []string{"a.test", "*.b.test", "*"}, CA: []string{"ca.pem"}}, nil},
		"passed on":      {Config{Hosts: []string{"a.test"}, Mode: ModePassthrough}, nil},
		"nothing":        {Config{}, []string{"hosts", "ca"}},
		"odd names":      {Config{Hosts: []string{"A.test", "a*.test", "a.test:443", "*."}, CA: []string{"x"}}, []string{"hosts[0]", "hosts[1]", "hosts[2]", "hosts[3]"}},
		"too deep":       {Config{Hosts: []string{"a.test"}, CA: []string{"x"}, Depth: 5}, []string{"depth"}},
		"another mode":   {Config{Hosts: []string{"a.test"}, CA: []string{"x"}, Mode: "off"}, []string{"mode"}},
		"passed, judged": {Config{Hosts: []string{"a.test"}, Mode: ModePassthrough, CA: []string{"x"}}, []string{"ca"}},
	} {
		var got []string
		c.cfg.Validate(func(field, _ string) { got = append(got, field) })
		if diff := cmp.Diff(got, c.want); diff != "" {
			t.Errorf("%s (-got +want)\n%s", name, diff)
		}
	}
}
