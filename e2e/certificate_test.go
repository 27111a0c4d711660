package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeCertificate writes a certificate for example.com and its key, and returns the tls section for it.
func writeCertificate(t *testing.T) string {
	t.Helper()
	pair := selfSigned(t)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	return fmt.Sprintf("certificates: [{cert: %s, key: %s}]", cert,
		writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))))
}

// hostsFile has one route for each host.
func hostsFile(t *testing.T, tls string, hosts ...string) string {
	t.Helper()
	text := `listen: {https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {` + tls + `}
state_dir: ` + filepath.Join(t.TempDir(), "state") + `
upstreams: {u: "` + startEcho(t) + `"}
routes:
`
	for _, host := range hosts {
		text += "  - {match: \"" + host + "/x\", to: u, require: nothing}\n"
	}
	return text
}

func TestAHostWithoutACertificateIsAProblem(t *testing.T) {
	t.Parallel()
	files := writeCertificate(t)
	for _, tt := range []struct{ name, tls, host, want string }{
		{"not in the files", files, "other.example.com", "no certificate for other.example.com: want it in certificates, or acme"},
		{"an address with acme", "acme: {email: ops@example.com}", "10.0.0.1", "no certificate for 10.0.0.1"},
		{"a name of no public authority", "acme: {email: ops@example.com}", "localhost", "no certificate for localhost: Let's Encrypt gives none"},
		{"roots that cannot be read", "acme: {ca_roots: no-such.pem}", "app.example.com", "no-such.pem: no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "gatehouse.yaml", hostsFile(t, tt.tls, "example.com", tt.host))
			for _, command := range []string{"check", "run"} {
				got := runToEnd(t, "", nil, command, "-c", path)
				if place := path + ":2:6: tls"; got.code != 2 || !strings.Contains(got.stderr, place) || !strings.Contains(got.stderr, tt.want) {
					t.Errorf("%s: got exit code %d and\n%s\nwant 2 and, at %s, %q", command, got.code, got.stderr, place, tt.want)
				}
			}
		})
	}
}

func TestAReloadForAHostWithoutACertificateIsRefused(t *testing.T) {
	t.Parallel()
	tls := writeCertificate(t)
	s := &site{t: t, host: "example.com", base: "https://example.com", state: t.TempDir()}
	s.file = writeFile(t, "gatehouse.yaml", "")
	s.write(hostsFile(t, tls, "example.com"))
	s.run(siteSpec{})
	if err := os.WriteFile(s.file, []byte(s.text+"  - {match: new.example.com, to: u, require: nothing}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if problems, _ := s.reload(t, refusedReload)["problems"].(string); !strings.Contains(problems, s.file+":2:") || !strings.Contains(problems, "new.example.com") {
		t.Errorf("problems: got %s, want one at line 2 that names the host", problems)
	}
	if resp, _ := fetch(t, newClient(t, s.addr, true), s.base+"/x", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards: got %s, want 200", resp.Status)
	}
}

func TestAWildcardHostIsServed(t *testing.T) {
	t.Parallel()
	s := &site{t: t, state: t.TempDir()}
	s.file = writeFile(t, "gatehouse.yaml", hostsFile(t, "local: true", "*.example.test"))
	s.run(siteSpec{sockets: nil})
	s.clients(t, func(t *testing.T, c *http.Client) {
		if resp, body := fetch(t, c, "https://any.example.test/x", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("got %s, want 200\n%s", resp.Status, body)
		}
	})
}
