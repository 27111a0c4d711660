package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A recorder keeps what the hooks were told.
type recorder struct {
	mu       sync.Mutex
	errors   []error
	obtained chan string
}

func newRecorder() *recorder { return &recorder{obtained: make(chan string, 16)} }

func (r *recorder) options() Options {
	return Options{
		OnError: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.errors = append(r.errors, err)
		},
		OnObtained: func(host string, _ bool) { r.obtained <- host },
	}
}

func (r *recorder) reported() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]error(nil), r.errors...)
}

func newManager(t *testing.T, cfg Config, dir string, opts Options) *Manager {
	t.Helper()
	m, err := New(cfg, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// writePair makes a self-signed certificate for names in dir.
func writePair(t *testing.T, dir, base string, names ...string) File {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := File{filepath.Join(dir, base+".pem"), filepath.Join(dir, base+"-key.pem")}
	write(t, f.Cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, f.Key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return f
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// chosen is the first name of the certificate that m serves to a client that asks for name.
func chosen(t *testing.T, m *Manager, name string, now time.Time) string {
	t.Helper()
	c, err := m.certificate(&tls.ClientHelloInfo{ServerName: name}, now)
	switch {
	case err != nil:
		return err.Error()
	case c == nil:
		return "none"
	case len(c.Leaf.DNSNames) == 0:
		return c.Leaf.IPAddresses[0].String()
	}
	return c.Leaf.DNSNames[0]
}

func TestFilesAreChosenByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, Config{Certificates: []File{
		writePair(t, dir, "wild", "*.example.test"),
		writePair(t, dir, "app", "App.example.test", "www.example.test"),
		writePair(t, dir, "other", "other.test"),
	}}, dir, Options{})
	for name, want := range map[string]string{
		"app.example.test":     "App.example.test",
		"APP.example.TEST":     "App.example.test",
		"app.example.test.":    "App.example.test",
		"www.example.test":     "App.example.test",
		"b.example.test":       "*.example.test",
		"a.b.example.test":     "none",
		"example.test":         "none",
		"other.test":           "other.test",
		"evil.test":            "none",
		"localhost":            "none",
		"":                     "*.example.test",
		"*.example.test":       "*.example.test",
		"test":                 "none",
		".example.test":        "*.example.test",
		"app.example.test.x..": "none",
	} {
		if got := chosen(t, m, name, time.Now()); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

func TestUnknownNamesFailTheHandshake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, Config{Certificates: []File{writePair(t, dir, "a", "a.test")}}, dir, Options{})
	ln := listen(t)
	serveTLS(t, ln, m.TLSConfig)
	for _, proto := range []string{"h2", acmeTLS} {
		_, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: "b.test", NextProtos: []string{proto}})
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: %v, want the alert unrecognized_name", proto, err)
		}
	}
}

func TestTLSConfigTakesModernSuitesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, Config{Certificates: []File{writePair(t, dir, "a", "a.test")}}, dir, Options{})
	ln := listen(t)
	serveTLS(t, ln, m.TLSConfig)
	for name, tt := range map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"TLS 1.3":             {&tls.Config{}, true},
		"TLS 1.2":             {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.1":             {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"CBC":                 {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		"post-quantum only":   {&tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, true},
		"P-521 only":          {&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}, false},
		"an unknown protocol": {&tls.Config{NextProtos: []string{"spdy/3"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.client.ServerName, tt.client.InsecureSkipVerify = "a.test", true //nolint:gosec // the certificate is not what is tested
			c, err := tls.Dial("tcp", ln.Addr().String(), tt.client)
			if (err == nil) != tt.ok {
				t.Errorf("handshake: %v, want success %v", err, tt.ok)
			}
			if err == nil {
				_ = c.Close()
			}
		})
	}
	if got := newManager(t, Config{Local: true, MinVersion: "1.3"}, dir, Options{}).TLSConfig().MinVersion; got != tls.VersionTLS13 {
		t.Errorf("min_version 1.3: got %x", got)
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	dir, rec := t.TempDir(), newRecorder()
	f := writePair(t, dir, "a", "a.test", "first.test")
	m := newManager(t, Config{Certificates: []File{f}}, dir, rec.options())
	now := time.Now()
	older := now.Add(-time.Hour)
	if err := os.Chtimes(f.Cert, older, older); err != nil {
		t.Fatal(err)
	}
	if err := m.files.refresh(time.Now(), true); err != nil {
		t.Fatal(err)
	}

	writePair(t, dir, "a", "b.test")
	if got := chosen(t, m, "b.test", time.Now()); got != "none" {
		t.Errorf("within %v of the last look: got %s, want none", checkEvery, got)
	}
	if got := chosen(t, m, "b.test", time.Now().Add(checkEvery)); got != "b.test" {
		t.Errorf("after a change: got %s, want b.test", got)
	}
	if got := chosen(t, m, "a.test", time.Now()); got != "none" {
		t.Errorf("a name that went: got %s, want none", got)
	}
	if errs := rec.reported(); len(errs) > 0 {
		t.Errorf("reported %v, want nothing", errs)
	}
}

func TestABrokenReplacementKeepsTheOldCertificate(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(t *testing.T, dir string, f File){
		"garbage": func(t *testing.T, _ string, f File) { write(t, f.Cert, "not PEM") },
		"another key": func(t *testing.T, dir string, f File) {
			f2 := writePair(t, dir, "x", "a.test")
			rename(t, f2.Key, f.Key)
		},
		"no file":       func(t *testing.T, _ string, f File) { rename(t, f.Cert, f.Cert+".gone") },
		"no name in it": func(t *testing.T, dir string, _ File) { writePair(t, dir, "a") },
		"an empty key":  func(t *testing.T, _ string, f File) { write(t, f.Key, "") },
		"a half-done one": func(t *testing.T, dir string, f File) {
			f2 := writePair(t, dir, "x", "b.test")
			rename(t, f2.Cert, f.Cert)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, rec := t.TempDir(), newRecorder()
			f := writePair(t, dir, "a", "a.test")
			m := newManager(t, Config{Certificates: []File{f}}, dir, rec.options())
			breakIt(t, dir, f)
			now := time.Now()
			for i := range 3 {
				if got := chosen(t, m, "a.test", now.Add(time.Duration(i+1)*checkEvery)); got != "a.test" {
					t.Errorf("look %d: got %s, want a.test", i, got)
				}
			}
			errs := rec.reported()
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), dir) {
				t.Errorf("reported %v, want one error that names the file", errs)
			}
			writePair(t, dir, "a", "b.test")
			if err := m.files.refresh(time.Now(), true); err != nil || chosen(t, m, "b.test", now) != "b.test" {
				t.Errorf("after the repair: %v, %s; want b.test", err, chosen(t, m, "b.test", now))
			}
		})
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestNewNamesTheFileThatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := writePair(t, dir, "a", "a.test"), writePair(t, dir, "b", "b.test")
	for name, tt := range map[string]struct {
		cfg  Config
		want []string
	}{
		"a key mismatch":  {Config{Certificates: []File{{a.Cert, b.Key}}}, []string{a.Cert, b.Key, "does not match"}},
		"missing files":   {Config{Certificates: []File{{dir + "/x", a.Key}, {dir + "/y", a.Key}}}, []string{dir + "/x", dir + "/y"}},
		"nothing":         {Config{}, []string{"no source of certificates"}},
		"a bad field":     {Config{Local: true, MinVersion: "1.1"}, []string{"tls.min_version"}},
		"missing roots":   {Config{ACME: &ACME{CARoots: dir + "/x"}}, []string{"acme.ca_roots", dir + "/x"}},
		"roots not PEM":   {Config{ACME: &ACME{CARoots: a.Key}}, []string{"acme.ca_roots", a.Key}},
		"acme unanswered": {Config{ACME: &ACME{}}, []string{"no listener answers"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := New(tt.cfg, dir, Options{})
			if err == nil {
				m.Close()
				t.Fatal("New succeeded")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("New: %v, want it to contain %q", err, want)
				}
			}
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	t.Parallel()
	var got []string
	Config{
		ACME: &ACME{
			Email: "Ops <ops@example.com>", CA: "http://ca.test/dir",
			Hosts: []string{"ok.example.com", "*.example.com", "a b", "10.0.0.1", "[::1]", "a..b"},
		},
		Certificates: []File{{"a", "b"}, {"", "b"}, {"a", ""}},
		Local:        true,
		MinVersion:   "1.1",
	}.Validate(func(field, _ string) { got = append(got, field) })
	want := []string{
		"min_version", "local", "certificates[1].cert", "certificates[2].key", "acme.email", "acme.ca",
		"acme.hosts[1]", "acme.hosts[2]", "acme.hosts[3]", "acme.hosts[4]", "acme.hosts[5]",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("fields (-got +want):\n%s", diff)
	}
	Config{ACME: &ACME{Email: "ops@example.com", CA: "https://ca.test/dir"}, MinVersion: "1.3"}.Validate(func(field, msg string) {
		t.Errorf("a good configuration: %s: %s", field, msg)
	})
}

func TestLocalAuthority(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	m := newManager(t, Config{Local: true}, dir, Options{})
	if err := m.Manage(t.Context(), []string{"app.example.test", "*.tenant.example.test", "192.0.2.7"}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, want := range map[string]string{
		"localhost":               "localhost",
		"a.localhost":             "a.localhost",
		"a.b.localhost":           "a.b.localhost",
		"app.example.test":        "app.example.test",
		"b.tenant.example.test":   "b.tenant.example.test",
		"a.b.tenant.example.test": "none",
		"evil.test":               "none",
		"a b.localhost":           "none",
		"*.tenant.example.test":   "none",
		"":                        "localhost",
	} {
		if got := chosen(t, m, name, now); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}

	roots := x509.NewCertPool()
	pemData, err := os.ReadFile(m.LocalRoot())
	if err != nil || !roots.AppendCertsFromPEM(pemData) {
		t.Fatal("root: ", err)
	}
	ln := listen(t)
	serveTLS(t, ln, m.TLSConfig)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "192.0.2.7", "app.example.test"} {
		c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v, want a certificate that the root vouches for", name, err)
			continue
		}
		leaf := c.ConnectionState().PeerCertificates[0]
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 90*24*time.Hour {
			t.Errorf("%s: valid for %v, want at most 90 days", name, life)
		}
		_ = c.Close()
	}
	info, err := os.Stat(filepath.Join(dir, "local-ca", "root-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v; want mode 0600", info.Mode(), err)
	}

	again := newManager(t, Config{Local: true}, dir, Options{})
	if got, err := os.ReadFile(again.LocalRoot()); err != nil || string(got) != string(pemData) {
		t.Errorf("the root changed over a restart (%v)", err)
	}
}

func TestLocalLeavesAreRenewedAndBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca, err := openLocalCA(filepath.Join(t.TempDir(), "local-ca"), now)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(name string, now time.Time) *tls.Certificate {
		c, err := ca.leaf(name, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := leaf("localhost", now)
	if leaf("localhost", now.Add(59*24*time.Hour)) != first {
		t.Error("minted again within 59 days")
	}
	if leaf("localhost", now.Add(61*24*time.Hour)) == first {
		t.Error("not minted again after 61 days")
	}
	for i := range maxLeaves + 10 {
		leaf(strings.Repeat("a", i%60+1)+"."+strings.Repeat("b", i/60+1)+".localhost", now)
	}
	if got := len(ca.leaves); got > maxLeaves {
		t.Errorf("%d leaves remembered, want at most %d", got, maxLeaves)
	}
}

func TestLocalAuthorityIsNeverOverwritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "local-ca")
	if _, err := openLocalCA(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := openLocalCA(dir, time.Now().Add(rootLife)); err == nil || !strings.Contains(err.Error(), "expires") {
		t.Errorf("an old root: %v, want an error that says so", err)
	}
	if err := os.Remove(filepath.Join(dir, "root-key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := openLocalCA(dir, time.Now()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a lost key: %v, want an error that names the directory", err)
	}
}

func TestManageSaysWhatNoSourceHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newManager(t, Config{Certificates: []File{writePair(t, dir, "a", "a.test", "*.b.test")}}, dir, Options{})
	err := m.Manage(t.Context(), []string{"a.test", "x.b.test", "*.b.test", "c.test", "*.c.test"})
	if err == nil || !strings.Contains(err.Error(), "for c.test") || !strings.Contains(err.Error(), "for *.c.test") ||
		strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("Manage: %v, want errors for c.test and *.c.test", err)
	}
}

func TestConfigSaysWhichHostsItCannotServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := Config{Certificates: []File{writePair(t, dir, "a", "a.test", "*.b.test")}}
	tests := []struct {
		name  string
		cfg   Config
		hosts []string
		want  string
	}{
		{"files have all", files, []string{"a.test", "x.b.test", "A.test."}, ""},
		{"files lack one", files, []string{"a.test", "c.test"}, "tls: no certificate for c.test: want it in certificates, or acme"},
		{"the local authority has all", Config{Local: true}, []string{"c.test"}, ""},
		{"acme has names", Config{ACME: &ACME{}}, []string{"c.test"}, ""},
		{"acme has no addresses", Config{ACME: &ACME{}}, []string{"10.0.0.1"}, "tls: no certificate for 10.0.0.1: an address, not a host name: want one like app.example.com"},
		{"no file", Config{Certificates: []File{{Cert: dir + "/none.pem", Key: dir + "/none.key"}}}, nil, "certificate file: stat " + dir + "/none.key: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := tt.cfg.Covers(tt.hosts); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReconfigureIsAllOrNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := writePair(t, dir, "a", "a.test"), writePair(t, dir, "b", "b.test")
	m := newManager(t, Config{Certificates: []File{a}}, dir, Options{})
	for _, bad := range []Config{
		{Certificates: []File{b, {b.Cert, a.Key}}},
		{Certificates: []File{b}, MinVersion: "1.3"},
		{Certificates: []File{b}, ACME: &ACME{}},
		{},
	} {
		if err := m.Reconfigure(bad); err == nil || chosen(t, m, "a.test", time.Now()) != "a.test" || chosen(t, m, "b.test", time.Now()) != "none" {
			t.Errorf("Reconfigure(%+v): %v, want an error and the old certificates", bad, err)
		}
	}
	if err := m.Reconfigure(Config{Certificates: []File{b}, Local: true}); err != nil {
		t.Fatal(err)
	}
	if got := chosen(t, m, "b.test", time.Now()) + chosen(t, m, "a.test", time.Now()) + chosen(t, m, "localhost", time.Now()); got != "b.testnonelocalhost" {
		t.Errorf("after Reconfigure: %s", got)
	}
}

func TestCloseEndsPendingObtains(t *testing.T) {
	t.Parallel()
	front := listen(t)
	silent := listen(t) // accepts, never answers
	m, err := New(Config{ACME: &ACME{CA: "https://" + silent.Addr().String() + "/dir"}}, t.TempDir(), Options{HTTP: front.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Manage(context.Background(), []string{"pending.example.test"}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if m.stopped.Err() == nil {
		t.Error("the context of pending work is still open")
	}
}

func FuzzHostOnly(f *testing.F) {
	for _, s := range []string{"a.test", "a.test:80", "[::1]:80", "a:b:c", "[", "*.a", ""} {
		f.Add(s)
	}
	set := newHostSet([]string{"a.test", "*.b.test"})
	f.Fuzz(func(t *testing.T, host string) {
		name := hostOnly(host)
		if set.has(name) && name != "a.test" && !strings.HasSuffix(name, ".b.test") {
			t.Errorf("%q is known as %q", host, name)
		}
	})
}
