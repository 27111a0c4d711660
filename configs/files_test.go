package configs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/headers"
)

func TestFilesAreThoseThatTheConfigurationReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, _, err := headers.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"gatehouse.yaml": `
listen: {https: ":443"}
tls: {local: true}
secret: ${file:secrets/master}
login: {oidc: {issuer: "https://id.example.com", client_id: x, client_secret: "${file:` + dir + `/client}"}}
assertion: {keys: [keys/new.pem, "` + dir + `/old.pem", "${file:inline.pem}"]}
upstreams: {app: http://10.0.1.10:8080}
origins: {site: {s3: {bucket: assets, region: eu-west-1, ca: s3.pem}}}
client_certificates: [{hosts: ["*"], ca: [clients.pem]}]
routes:
  - {match: "*", to: app, require: signed-in}
  - {match: /site/, to: site, require: nothing}
`,
		"secrets/master": "0123456789abcdef0123456789abcdef\n", "client": "0123456789abcdef0123456789abcdef",
		"inline.pem": string(key),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := LoadFile(filepath.Join(dir, "gatehouse.yaml"), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{"client", "clients.pem", "inline.pem", "keys/new.pem", "old.pem", "s3.pem", "secrets/master"} {
		want = append(want, filepath.Join(dir, name))
	}
	if diff := cmp.Diff(cfg.Files(), want); diff != "" {
		t.Errorf("files (-got +want):\n%s", diff)
	}
}

// A key may stand in the file, or come from a reference, with text before it, as PEM has it (RFC 7468, section 2).
func TestAKeyIsNoFileNameWhateverStandsBeforeIt(t *testing.T) {
	t.Parallel()
	key, _, err := headers.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Split(string(key), "\n")[1]
	for _, before := range []string{"", "\n", "# made in November\n", "// made in November\n"} {
		text := before + string(key)
		for _, entry := range []string{strconv.Quote(text), "${env:KEY}"} {
			file := filepath.Join(t.TempDir(), "gatehouse.yaml")
			config := `
listen: {https: ":443"}
tls: {local: true}
secret: 0123456789abcdef0123456789abcdef
login: {oidc: {issuer: "https://id.example.com", client_id: x, client_secret: y}}
assertion: {keys: [` + entry + `]}
upstreams: {app: http://10.0.1.10:8080}
routes:
  - {match: "*", to: app, require: signed-in}
`
			if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := LoadFile(file, LoadOptions{Env: func(string) (string, bool) { return text, true }})
			if err != nil {
				t.Errorf("%q before the key: %v", before, err)
				continue
			}
			if got := cfg.Assertion.Keys[0]; got != text {
				t.Errorf("%q before the key: it is taken for a file's name", before)
			}
			if strings.Contains(string(cfg.Redacted()), body) {
				t.Errorf("%q before the key: it is shown", before)
			}
		}
	}
}
