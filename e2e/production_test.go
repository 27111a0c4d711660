package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// A pebble is an ACME server for which every name resolves to this machine.
type pebble struct {
	url, roots string         // directory; PEM file of the roots for talking to it
	issued     *x509.CertPool // roots of what it issues
}

// startPebble validates HTTP-01 at http and TLS-ALPN-01 at https.
func startPebble(t *testing.T, http, https socket) *pebble {
	t.Helper()
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	validator := va.New(logger, http.port(t), https.port(t), false, startDNS(t), store)
	front := wfe.New(logger, store, validator, authority, []string{"pebble.test"}, false, false, 0, 0)
	srv := httptest.NewTLSServer(front.Handler())
	t.Cleanup(srv.Close)

	p := &pebble{url: srv.URL + wfe.DirectoryPath, issued: x509.NewCertPool()}
	p.issued.AppendCertsFromPEM(authority.GetRootCert(0).PEM())
	p.roots = writeFile(t, "pebble.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	return p
}

func (s socket) port(t *testing.T) int {
	t.Helper()
	_, text, _ := strings.Cut(s.addr, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startDNS answers every question for an address with 127.0.0.1.
func startDNS(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}
			answer.Answer = []dns.RR{&dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(answer)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ActivateAndServe()
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// productionFile is the example of the documentation, changed only where it names a machine: the pool,
// the authority, the secret's place and the upstream.
func productionFile(t *testing.T, poolURL string, acme *pebble, upstream string) string {
	t.Helper()
	raw, err := os.ReadFile("../configs/examples/production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), "\n"); n > 10 {
		t.Errorf("the production file has %d lines, want 10 at most", n)
	}
	text := string(raw)
	for _, change := range []struct{ old, new string }{
		{"email: ops@example.com", "email: ops@example.com, ca: \"" + acme.url + "\", ca_roots: " + acme.roots},
		{"domain: https://auth.example.com", "domain: \"" + poolURL + "\", endpoint: \"" + poolURL + "\""},
		{"/run/secrets/cognito", writeFile(t, "cognito", clientSecret+"\n")},
		{"http://10.0.1.10:8080", upstream},
	} {
		if strings.Count(text, change.old) != 1 {
			t.Fatalf("the production file has no single %q:\n%s", change.old, text)
		}
		text = strings.Replace(text, change.old, change.new, 1)
	}
	return writeFile(t, "production.yaml", text)
}

const productionHost = "app.example.com"

func TestTheProductionFile(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"HTTP-01", "TLS-ALPN-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			testProduction(t, challenge)
		})
	}
}

func testProduction(t *testing.T, challenge string) {
	sockets := []socket{openSocket(t, "https"), openSocket(t, "http"), openSocket(t, "admin")}
	// Where the other challenge would be answered, nobody listens: only this one can succeed.
	nobody, _ := reserveSocket(t, "nobody")
	acme := startPebble(t, sockets[1], nobody)
	if challenge == "TLS-ALPN-01" {
		acme = startPebble(t, nobody, sockets[0])
	}
	p := startPool(t, "--pool-id=eu-west-1_AbC123", "--callback=https://"+productionHost+"/oauth2/idpresponse",
		"--logout=https://"+productionHost+"/oauth2/signed_out")
	gate := launchOn(t, []string{"run", "-c", productionFile(t, p.url, acme, startEcho(t))}, nil, sockets...)
	event := gate.message("certificate obtained", 0)
	if event["host"] != productionHost || event["renewed"] != false {
		t.Errorf("event: got %v, want a certificate for %s", event, productionHost)
	}

	b := newBrowser(t, gate.addrs["https"], p.url)
	b.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: acme.issued}
	resp, page := b.signIn("https://"+productionHost+"/hello?a=b", "alice")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("sign in: got %s, want 200\n%s", resp.Status, page)
	}
	if got := readEcho(t, page); got.Subject != aliceSub || got.Path != "/hello?a=b" {
		t.Errorf("the application saw %s asking for %s, want alice and the page she opened", got.Subject, got.Path)
	}
	if resp.TLS == nil || len(resp.TLS.VerifiedChains) == 0 {
		t.Error("the certificate was not verified")
	}
	testPort80(t, gate.addrs["http"])
}

// testPort80 checks what plain HTTP answers.
func testPort80(t *testing.T, addr string) {
	t.Helper()
	c := direct(t)
	for _, tt := range []struct {
		method, host, target string
		status               int
		location             string
	}{
		{"GET", productionHost, "/a/b?c=d&e", 301, "https://" + productionHost + "/a/b?c=d&e"},
		{"HEAD", productionHost, "/", 301, "https://" + productionHost + "/"},
		{"POST", productionHost, "/", 403, ""},
		{"GET", "evil.example", "/", 421, ""},
		{"GET", productionHost, "/.well-known/acme-challenge/nothing", 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+addr+tt.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		resp, _ := send(t, c, req)
		if resp.StatusCode != tt.status || resp.Header.Get("Location") != tt.location {
			t.Errorf("%s http://%s%s: got %s to %q, want %d to %q", tt.method, tt.host, tt.target, resp.Status, resp.Header.Get("Location"), tt.status, tt.location)
		}
	}
}
