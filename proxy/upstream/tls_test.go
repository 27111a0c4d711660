package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyPair makes a certificate with a name and its key, in PEM.
func keyPair(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t, "gateway")
	stranger, strangersKey := keyPair(t, "stranger")
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM([]byte(cert))
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.TLS.PeerCertificates[0].Subject.CommonName+" "+tls.VersionName(r.TLS.Version))
	}))
	up.EnableHTTP2 = true
	up.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trust}
	up.StartTLS()
	t.Cleanup(up.Close)
	ca := caFile(t, up.Certificate())
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for name, content := range map[string]string{certFile: cert, keyFile: key} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, protocol string
		tls            TLS
		status         int
		want           string
	}{
		{"of files", HTTP1, TLS{Cert: certFile, Key: keyFile}, 200, "HTTP/1.1 gateway TLS 1.3"},
		{"of files, over HTTP/2", HTTP2, TLS{Cert: certFile, Key: keyFile, MinVersion: "1.3"}, 200, "HTTP/2.0 gateway TLS 1.3"},
		{"of secrets", HTTP1, TLS{Cert: cert, Key: key}, 200, "HTTP/1.1 gateway TLS 1.3"},
		{"one that is not trusted", HTTP1, TLS{Cert: stranger, Key: strangersKey}, 502, ""},
		{"one that is not trusted, over HTTP/2", HTTP2, TLS{Cert: stranger, Key: strangersKey}, 502, ""},
		{"none", HTTP1, TLS{}, 502, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.tls.CA = ca
			f := newRig(t, "http1", Config{Endpoints: []string{up.URL}, Protocol: tt.protocol, TLS: tt.tls}, Options{})
			res, body := f.do(t, "GET", "/", nil)
			if res.StatusCode != tt.status || tt.status == 200 && body != tt.want {
				t.Errorf("got %d %q (%s), want %d %q", res.StatusCode, body, res.Header.Get("X-Reason"), tt.status, tt.want)
			}
		})
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.NotFoundHandler())
	up.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	up.StartTLS()
	t.Cleanup(up.Close)
	for version, want := range map[string]int{"": 404, "1.2": 404, "1.3": 502} {
		f := newRig(t, "http1", Config{Endpoints: []string{up.URL}, TLS: TLS{CA: caFile(t, up.Certificate()), MinVersion: version}}, Options{})
		res, _ := f.do(t, "GET", "/", nil)
		if res.StatusCode != want {
			t.Errorf("min_version %q: got %d %s, want %d", version, res.StatusCode, res.Header.Get("X-Reason"), want)
		}
	}
}

func TestTLSValidate(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t, "a")
	_, other := keyPair(t, "b")
	for _, tt := range []struct {
		name string
		tls  TLS
		want []string
	}{
		{"a pair", TLS{Cert: cert, Key: key}, nil},
		{"a certificate without its key", TLS{Cert: cert}, []string{"tls.cert"}},
		{"a key without its certificate", TLS{Key: key}, []string{"tls.key"}},
		{"the key of another", TLS{Cert: cert, Key: other}, []string{"tls.key"}},
		{"changed over", TLS{Cert: key, Key: cert}, []string{"tls.cert"}},
		{"two certificates", TLS{Cert: cert, Key: cert}, []string{"tls.key"}},
		{"files that are not there", TLS{Cert: "/nonexistent", Key: "/nonexistent"}, []string{"tls.cert"}},
		{"all at once", TLS{CA: "/nonexistent", Cert: cert, MinVersion: "1.1"}, []string{"tls.ca", "tls.min_version", "tls.cert"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			Config{Endpoints: []string{"https://a"}, TLS: tt.tls}.Validate(func(field, msg string) {
				got = append(got, field)
				if secret := strings.Split(key, "\n")[1]; strings.Contains(msg, secret) {
					t.Errorf("the message has the key: %s", msg)
				}
			})
			if !slices.Equal(got, tt.want) {
				t.Errorf("got problems at %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAReloadWithAnotherCertificateMakesNewConnections(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t, "a")
	other, otherKey := keyPair(t, "b")
	pool := func(tls TLS) *Pool {
		p, err := NewPool("x", Config{Endpoints: []string{"https://a"}, TLS: tls})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	one := pool(TLS{Cert: cert, Key: key})
	for _, tt := range []struct {
		tls  TLS
		same bool
	}{
		{TLS{Cert: cert, Key: key}, true},
		{TLS{Cert: other, Key: otherKey}, false},
		{TLS{}, false},
		{TLS{Cert: cert, Key: key, MinVersion: "1.3"}, false},
	} {
		if got := pool(tt.tls).sameWay(one); got != tt.same {
			t.Errorf("got %t, want %t", got, tt.same)
		}
	}
}

func TestHealthOverHTTP2(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for name, cfg := range map[string]Config{
		"h2c": {Endpoints: []string{h2Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				w.WriteHeader(500)
			}
		}))}},
		"h2": {Endpoints: []string{secure.URL}, TLS: TLS{CA: caFile(t, secure.Certificate())}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Protocol, cfg.Health = HTTP2, &HealthConfig{Path: "/"}
			p, err := NewPool("x", cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			ep := p.members[0].endpoint
			client := p.checks.client(ep)
			defer client.CloseIdleConnections()
			if err := p.checks.check(t.Context(), client, ep); err != nil {
				t.Error(err)
			}
		})
	}
}
