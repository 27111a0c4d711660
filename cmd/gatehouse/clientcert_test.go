package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
)

// issueClient makes a certificate for name, of by or, for nil, of itself as an authority.
func issueClient(t *testing.T, by *tls.Certificate, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x03A5B1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, any(key)
	if by == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
	} else {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func writeAuthority(t *testing.T, path string, ca *tls.Certificate) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate[0]})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A certDoor is a front door that asks for certificates: verified on mtls.localhost, passed on on pass.localhost, none on
// open.localhost. Applications see what they are told.
type certDoor struct {
	*testDoor
	events bytes.Buffer // to be read when it has stopped
	ca     string
}

func startCertDoor(t *testing.T, ca *tls.Certificate) *certDoor {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told := []string{r.Host}
		for name := range r.Header {
			if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-amzn-mtls") {
				told = append(told, name)
			}
		}
		slices.Sort(told)
		_, _ = io.WriteString(w, strings.Join(append(told, r.Header.Get("X-Amzn-Mtls-Clientcert-Subject")), " "))
	}))
	t.Cleanup(up.Close)
	d := &certDoor{testDoor: &testDoor{}, ca: filepath.Join(t.TempDir(), "ca.pem")}
	writeAuthority(t, d.ca, ca)
	d.write(t, up.URL, "- {hosts: [mtls.localhost], ca: ["+d.ca+"]}")
	load := func() (*configs.Config, error) {
		return configs.Load(fstest.MapFS{"gatehouse.yaml": {Data: []byte(*d.text.Load())}}, "gatehouse.yaml", configs.LoadOptions{})
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	d.process = newProcess(&environment{stdout: &d.events, stderr: io.Discard, getenv: os.LookupEnv}, processOptions{
		load: load, sockets: &sockets{}, ready: func(at addresses) { d.at = at },
	})
	d.cfg = cfg
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// write sets the file, with the first entry of client_certificates.
func (d *certDoor) write(t *testing.T, upstream, entry string) {
	t.Helper()
	stateDir := t.TempDir()
	if d.process != nil {
		stateDir, upstream = d.cfg.StateDir, d.cfg.Upstreams["app"].Endpoints[0]
	}
	text := fmt.Sprintf(`
listen: {https: "127.0.0.1:0", admin: "off"}
tls: {local: true}
waf: off
state_dir: %s
upstreams: {app: %q}
client_certificates:
  %s
  - {hosts: [pass.localhost], mode: passthrough}
routes:
  - {match: mtls.localhost/ops/*, to: app, require: nothing, client_certificate: [CN=ops]}
  - {match: "mtls.localhost", to: app, require: nothing}
  - {match: "pass.localhost", to: app, require: nothing}
  - {match: "open.localhost", to: app, require: nothing}
`, stateDir, upstream, entry)
	d.text.Store(&text)
}

// clientConfig is that of a client that asks for a server's name, if it has one, with a certificate, if there is one.
func clientConfig(server string, cert *tls.Certificate, h2 bool, cache tls.ClientSessionCache) *tls.Config {
	cfg := &tls.Config{ServerName: server, InsecureSkipVerify: true, ClientSessionCache: cache} //nolint:gosec // it is the client who is judged
	cfg.NextProtos = []string{"http/1.1"}
	if h2 {
		cfg.NextProtos = []string{"h2"}
	}
	if cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return cfg
}

func (d *certDoor) client(t *testing.T, server string, cert *tls.Certificate, h2 bool, cache tls.ClientSessionCache) *http.Client {
	t.Helper()
	cfg := clientConfig(server, cert, h2, cache)
	tr := &http.Transport{ForceAttemptHTTP2: h2, DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, d.at.HTTPS.String())
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// alert connects and waits for the server's word. A client that wrote could find the connection reset before.
func (d *certDoor) alert(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	conn, err := tls.Dial("tcp", d.at.HTTPS.String(), cfg)
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil {
		return "none"
	}
	_, alert, _ := strings.Cut(err.Error(), "remote error: ")
	return alert
}

// askUpstream returns the status, or for 200 what the application was told.
func askUpstream(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Amzn-Mtls-Clientcert-Subject", "x_amzn_mtls_clientcert_subject", "X-Amzn-Mtls_Clientcert", "X-Amzn-Mtls-Clientcert"} {
		req.Header[name] = []string{"CN=forged"}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Status[:3]
	}
	return strings.TrimSpace(string(got))
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, other := issueClient(t, nil, "ca"), issueClient(t, nil, "other")
	good, ops, stranger := issueClient(t, ca, "good"), issueClient(t, ca, "ops"), issueClient(t, other, "stranger")
	d := startCertDoor(t, ca)
	const headers = "X-Amzn-Mtls-Clientcert-Issuer X-Amzn-Mtls-Clientcert-Leaf X-Amzn-Mtls-Clientcert-Serial-Number X-Amzn-Mtls-Clientcert-Subject X-Amzn-Mtls-Clientcert-Validity"
	for _, h2 := range []bool{false, true} {
		for _, tt := range []struct {
			name, server string
			cert         *tls.Certificate
			url, want    string
		}{
			{"verified", "mtls.localhost", good, "https://mtls.localhost/", headers + " mtls.localhost CN=good"},
			{"not asked", "open.localhost", good, "https://open.localhost/", "open.localhost"},
			{"passed on", "pass.localhost", stranger, "https://pass.localhost/", "X-Amzn-Mtls-Clientcert pass.localhost"},
			{"none to pass on", "pass.localhost", nil, "https://pass.localhost/", "pass.localhost"},
			{"one of the names", "mtls.localhost", ops, "https://mtls.localhost/ops/x", headers + " mtls.localhost CN=ops"},
			{"another name", "mtls.localhost", good, "https://mtls.localhost/ops/x", "403"},
			{"another host's connection", "open.localhost", good, "https://mtls.localhost/", "421"},
			{"one whose certificate is not judged", "pass.localhost", good, "https://mtls.localhost/", "421"},
			{"a connection for no host", "", good, "https://mtls.localhost/", "421"},
			{"a connection for no host, a host's own address", "", good, "https://mtls.localhost/.gatehouse/keys/x", "421"},
			{"a connection for no host, not asked", "", nil, "https://open.localhost/", "open.localhost"},
		} {
			if got := askUpstream(t, d.client(t, tt.server, tt.cert, h2, nil), tt.url); got != tt.want {
				t.Errorf("%s, HTTP/2 %t: got %q, want %q", tt.name, h2, got, tt.want)
			}
		}
	}
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		want string
	}{
		{"none", nil, "tls: certificate required"},
		{"of a stranger", stranger, "tls: unknown certificate authority"},
	} {
		if got := d.alert(t, clientConfig("mtls.localhost", tt.cert, true, nil)); got != tt.want {
			t.Errorf("%s: got the alert %q, want %q", tt.name, got, tt.want)
		}
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	refused, subjects := map[string]int{}, map[string]int{}
	for line := range strings.Lines(d.events.String()) {
		var event struct {
			Msg, Client, Reason, Denied string
			Certificate                 struct{ Subject, Issuer, Serial string }
			Guards                      struct{ Admission string }
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		if got := event.Guards.Admission; got == "violation" || got != "connection" && strings.HasPrefix(event.Denied, "client certificate: the connection") {
			t.Errorf("a connection without a certificate is %q for admission: %s", got, event.Denied)
		}
		if c := event.Certificate; c.Subject != "" {
			subjects[c.Subject+" "+c.Issuer+" "+c.Serial]++
		}
		if event.Msg == "client certificate refused" {
			refused[event.Client+" "+event.Reason]++
		}
	}
	if diff := cmp.Diff(refused, map[string]int{"127.0.0.1 ClientCertUntrusted": 1}); diff != "" {
		t.Errorf("refused (-got +want)\n%s", diff)
	}
	if diff := cmp.Diff(subjects, map[string]int{"CN=good CN=ca 03A5B1": 4, "CN=ops CN=ca 03A5B1": 2}); diff != "" {
		t.Errorf("certificates of events (-got +want)\n%s", diff)
	}
}

// What a reload changes holds for connections that are open, and for sessions that are resumed.
func TestClientCertificatesAfterAReload(t *testing.T) {
	t.Parallel()
	ca, other := issueClient(t, nil, "ca"), issueClient(t, nil, "other")
	good, stranger := issueClient(t, ca, "good"), issueClient(t, other, "stranger")
	d := startCertDoor(t, ca)
	d.stopped(t)
	for _, h2 := range []bool{false, true} {
		cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
		verified := d.client(t, "mtls.localhost", good, h2, cache)
		open := d.client(t, "open.localhost", good, h2, cache)
		want := func(name, got, want string) {
			t.Helper()
			if want == "200" && strings.Contains(got, ".localhost") {
				return
			}
			if got != want {
				t.Errorf("%s, HTTP/2 %t: got %q, want %s", name, h2, got, want)
			}
		}
		want("before", askUpstream(t, verified, "https://mtls.localhost/"), "200")
		want("before, another host", askUpstream(t, open, "https://open.localhost/"), "200")
		if cache.kept.Load() == 0 {
			t.Fatal("no session can be resumed: the test proves nothing")
		}

		// open.localhost is asked too: its connections were not, and its sessions were begun without.
		d.write(t, "", "- {hosts: [mtls.localhost, open.localhost], ca: ["+d.ca+"]}")
		d.reload(t.Context())
		want("a connection from before", askUpstream(t, open, "https://open.localhost/"), "421")
		open.CloseIdleConnections()
		want("a session from before, without a certificate", d.alert(t, clientConfig("open.localhost", nil, h2, cache)), "tls: certificate required")
		want("a session from before, with one", askUpstream(t, d.client(t, "open.localhost", good, h2, cache), "https://open.localhost/"), "200")

		// Another trust store.
		writeAuthority(t, d.ca, other)
		d.reload(t.Context())
		want("a connection that the old authority was good for", askUpstream(t, verified, "https://mtls.localhost/"), "403")
		verified.CloseIdleConnections()
		want("a session of the old authority", d.alert(t, clientConfig("mtls.localhost", good, h2, cache)), "tls: unknown certificate authority")
		want("the new authority", askUpstream(t, d.client(t, "mtls.localhost", stranger, h2, cache), "https://mtls.localhost/"), "200")

		writeAuthority(t, d.ca, ca)
		d.write(t, "", "- {hosts: [mtls.localhost], ca: ["+d.ca+"]}")
		d.reload(t.Context())
		want("as before", askUpstream(t, d.client(t, "mtls.localhost", good, h2, cache), "https://mtls.localhost/"), "200")

		// A trust store that cannot be read leaves what runs.
		if err := os.Remove(d.ca); err != nil {
			t.Fatal(err)
		}
		d.reload(t.Context())
		want("without a trust store", d.alert(t, clientConfig("mtls.localhost", stranger, h2, cache)), "tls: unknown certificate authority")
		writeAuthority(t, d.ca, ca)
	}
}

// A countingCache counts the sessions that it was given.
type countingCache struct {
	tls.ClientSessionCache
	kept atomic.Int32
}

func (c *countingCache) Put(key string, session *tls.ClientSessionState) {
	if session != nil {
		c.kept.Add(1)
	}
	c.ClientSessionCache.Put("any", session) // to be tried at every host
}

func (c *countingCache) Get(string) (*tls.ClientSessionState, bool) {
	return c.ClientSessionCache.Get("any")
}
