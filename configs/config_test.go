package configs

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"gatehouse/headers"
	"gatehouse/proxy"
	"gatehouse/waf"
)

// Both are what assemble does with them; that they convert is checked by the compiler.
var (
	_ = proxy.Admit(Admit{})
	_ = proxy.Match(Match{})
)

const tenLines = `listen: {https: ":443", http: ":80"}
tls: {acme: {email: ops@example.com}}
login:
  cognito: {region: eu-west-1, user_pool: eu-west-1_AbC123, domain: https://auth.example.com, client_id: 1example23456789, client_secret: ${file:/run/secrets/cognito}}
upstreams:
  app: http://10.0.1.10:8080
routes:
  - {match: app.example.com, to: app, require: signed-in}
`

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, err := loadText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAPrintedConfigurationShowsNoSecret(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, tenLines)
	if got, want := c.Login.Cognito.ClientSecret, "cognito-secret-from-a-file-of-secrets"; got != want {
		t.Fatalf("client secret: got %q, want %q", got, want)
	}
	if got, want := c.Secret, c.Login.Cognito.ClientSecret; got != want {
		t.Fatalf("secret: got %q, want the client's, %q", got, want)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for how, text := range map[string]string{
		"%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", *c), "%#v": fmt.Sprintf("%#v", c), "%s": fmt.Sprintf("%s", *c),
		"%x": fmt.Sprintf("%x", c), "a struct that holds it": fmt.Sprintf("%+v", struct{ C *Config }{c}),
		"JSON": string(asJSON), "YAML": string(asYAML), "Redacted": string(c.Redacted()),
	} {
		if secret := leaked(text); secret != "" {
			t.Errorf("%s shows %q:\n%s", how, secret, text)
		}
		if !strings.Contains(text, "10.0.1.10") && how != "a struct that holds it" {
			t.Errorf("%s shows nothing of the configuration:\n%s", how, text)
		}
	}
}

func TestLoadFileTakesRelativeFilesFromItsDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cognito.secret", strings.Repeat("s", 40)+"\n")
	text := strings.ReplaceAll(tenLines, "/run/secrets/cognito", "cognito.secret")
	text = strings.ReplaceAll(text, "{acme: {email: ops@example.com}}", "{certificates: [{cert: tls.crt, key: /abs/tls.key}]}")
	write("gatehouse.yaml", text)
	file := filepath.Join(dir, "gatehouse.yaml")
	c, err := LoadFile(file, LoadOptions{Env: testEnv})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Secret, strings.Repeat("s", 40); got != want {
		t.Errorf("secret: got %q, want %q", got, want)
	}
	if got, want := c.TLS.Certificates[0].Cert, filepath.Join(dir, "tls.crt"); got != want {
		t.Errorf("cert: got %q, want %q", got, want)
	}
	if got, want := c.TLS.Certificates[0].Key, "/abs/tls.key"; got != want {
		t.Errorf("key: got %q, want %q", got, want)
	}

	// Not every file is a secret: a directory, and what grows without end.
	for ref, want := range map[string]string{dir: "not a regular file", "/dev/zero": "not a regular file"} {
		write("gatehouse.yaml", strings.ReplaceAll(text, "cognito.secret", ref))
		_, err := LoadFile(file, LoadOptions{Env: testEnv})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), file+":4:") {
			t.Errorf("a reference to %s: got %v, want %q with the place", ref, err, want)
		}
	}
	if _, err := LoadFile(filepath.Join(dir, "missing.yaml"), LoadOptions{}); err == nil || !strings.Contains(err.Error(), "missing.yaml: cannot be read") {
		t.Errorf("a file that is not there: got %v", err)
	}
}

func TestProblemOfAPathHasItsPlace(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, tenLines)
	for path, want := range map[string]string{
		"listen.http":                "gatehouse.yaml:1:31: listen.http: x",
		"upstreams.app.endpoints[0]": "gatehouse.yaml:6:8: upstreams.app: x",
		"routes[0].to":               "gatehouse.yaml:8:34: routes[0].to: x",
		"routes[0].waf.mode":         "gatehouse.yaml:8:5: routes[0].waf.mode: x",
		"login.session":              "gatehouse.yaml:4:3: login.session: x",
		"drain":                      "gatehouse.yaml:1:1: drain: x",
		"":                           "gatehouse.yaml:1:1: x",
	} {
		got, _, _ := strings.Cut(c.Problem(path, "x").Error(), "\n")
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestTrustedPrefixes(t *testing.T) {
	t.Parallel()
	c := &Config{TrustedProxies: []string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "::ffff:192.0.2.2", "::ffff:10.0.0.0/104", "::ffff:0:0/96"}}
	want := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"),
		netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0"),
	}
	for name, got := range map[string][]netip.Prefix{
		"trusted_proxies": c.TrustedPrefixes(), "proxy_protocol": ProxyProtocol{From: c.TrustedProxies}.Prefixes(),
	} {
		if diff := cmp.Diff(got, want, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-got +want):\n%s", name, diff)
		}
	}
}

func TestStateDir(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"systemd", map[string]string{"STATE_DIRECTORY": "/var/lib/gatehouse", "HOME": "/root"}, "/var/lib/gatehouse"},
		{"systemd with two", map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"},
		{"XDG", map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/home/me"}, "/x/gatehouse"},
		{"a relative XDG directory is none", map[string]string{"XDG_STATE_HOME": "x", "HOME": "/home/me"}, "/home/me/.local/state/gatehouse"},
		{"no home", map[string]string{"HOME": "/"}, filepath.Join(os.TempDir(), "gatehouse")},
	} {
		got := stateDir(func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok })
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMergeWAF(t *testing.T) {
	t.Parallel()
	top := waf.Config{Mode: "block", Paranoia: 2, Groups: []string{"core"}, Exclude: []waf.Exclusion{{Rule: 1}}}
	for _, tt := range []struct {
		name       string
		over, want waf.Config
	}{
		{"nothing said", waf.Config{}, top},
		{
			"single values replace",
			waf.Config{Mode: "count", Paranoia: 1, Threshold: 7, BodyLimit: "8KiB", Oversize: "partial"},
			waf.Config{Mode: "count", Paranoia: 1, Threshold: 7, Groups: []string{"core"}, BodyLimit: "8KiB", Oversize: "partial", Exclude: top.Exclude},
		},
		{
			"groups replace, exclusions add once",
			waf.Config{Groups: []string{"sqli"}, Exclude: []waf.Exclusion{{Rule: 1}, {Rule: 2}}},
			waf.Config{Mode: "block", Paranoia: 2, Groups: []string{"sqli"}, Exclude: []waf.Exclusion{{Rule: 1}, {Rule: 2}}},
		},
		{
			"the group that reads answers adds",
			waf.Config{Groups: []string{"leakages"}, ResponseLimit: "1MiB"},
			waf.Config{Mode: "block", Paranoia: 2, Groups: []string{"core", "leakages"}, ResponseLimit: "1MiB", Exclude: top.Exclude},
		},
	} {
		if diff := cmp.Diff(mergeWAF(top, tt.over), tt.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.name, diff)
		}
	}
}

func TestMergeHeaders(t *testing.T) {
	t.Parallel()
	top := headers.SecurityConfig{
		Preset: "strict", Set: map[string]string{"X-A": "1", "X-B": "1"},
		Keep: []string{"Content-Security-Policy"}, Remove: []string{"X-Gone"},
	}
	for _, tt := range []struct {
		name       string
		over, want headers.SecurityConfig
	}{
		{"nothing said", headers.SecurityConfig{}, top},
		{
			"another preset ends what is kept of the first",
			headers.SecurityConfig{Preset: "off"},
			headers.SecurityConfig{Preset: "off", Set: top.Set, Remove: top.Remove},
		},
		{
			"a set header is neither kept nor removed, in any spelling",
			headers.SecurityConfig{Set: map[string]string{"x-a": "2", "x-gone": "3", "content-security-policy": "4"}},
			headers.SecurityConfig{Preset: "strict", Set: map[string]string{"x-a": "2", "X-B": "1", "x-gone": "3", "content-security-policy": "4"}},
		},
		{
			"a removed or kept header is not set",
			headers.SecurityConfig{Remove: []string{"x-a"}, Keep: []string{"x-b"}},
			headers.SecurityConfig{Preset: "strict", Keep: []string{"Content-Security-Policy", "x-b"}, Remove: []string{"X-Gone", "x-a"}},
		},
	} {
		if diff := cmp.Diff(mergeHeaders(top, tt.over), tt.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.name, diff)
		}
	}
}

func TestExcerptKeepsTheCaretUnderItsColumn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, line string
		col        int
		under      string // the character above the caret
	}{
		{"at the start", "abc", 1, "a"},
		{"behind a tab", "\tabc", 2, "a"},
		{"behind wide characters", "ééabc", 3, "a"},
		{"in a long line", strings.Repeat("x", 300) + "a" + strings.Repeat("y", 300), 301, "a"},
		{"at the end of a long line", strings.Repeat("x", 300) + "a", 301, "a"},
	} {
		line, blanks := excerpt(tt.line, tt.col)
		if got := string([]rune(line)[len([]rune(blanks))]); got != tt.under {
			t.Errorf("%s: the caret is under %q, want %q: %q", tt.name, got, tt.under, line)
		}
		if n := len([]rune(line)); n > maxShown {
			t.Errorf("%s: %d characters are shown, want %d at most", tt.name, n, maxShown)
		}
	}
	if line, _ := excerpt("a\x1b[31m\u202eb", 1); strings.ContainsAny(line, "\x1b\u202e") {
		t.Errorf("control characters reach the terminal: %q", line)
	}
	if _, blanks := excerpt("ab", 99); len(blanks) != 2 {
		t.Errorf("a column behind the line: got %d blanks, want 2", len(blanks))
	}
}

func TestDurationsAndSizesPrintAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for text, n := range map[string]Size{"1B": 1, "1KiB": 1 << 10, "1025B": 1025, "100MiB": 100 << 20, "3GiB": 3 << 30, "0B": 0} {
		if got := n.String(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	for text, d := range map[string]Duration{"30s": Duration(DefaultDrain), "1h": 3600e9, "1h30m": 5400e9, "1m30s": 90e9, "100ms": 1e8} {
		if got := d.String(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
}
