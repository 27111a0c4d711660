package configs

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testEnv is the environment of every test file.
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{
		"COGNITO_SECRET": "cognito-secret-from-the-environment",
		"APP":            "http://10.9.8.7:8080",
		"EMPTY":          "",
		"DIR":            "/run/secrets",
		"BAD_DOMAIN":     "ht!tp:top-secret-domain",
		"HOME":           "/home/test",
		"SIZE":           "5 MiB",
	}[name]
	return value, ok
}

func testReadFile(name string) ([]byte, error) {
	text, ok := map[string]string{
		"/run/secrets/cognito": "cognito-secret-from-a-file-of-secrets\n",
		"/run/secrets/master":  "master-secret-from-a-file-0123456789\r\n",
		"/run/secrets/empty":   "\n",
		"/run/secrets/large":   strings.Repeat("x", maxSecretFile+1),
	}[name]
	switch {
	case name == "/run/secrets/forbidden":
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func testOptions() LoadOptions { return LoadOptions{Env: testEnv, ReadFile: testReadFile} }

func loadText(t testing.TB, text string) (*Config, error) {
	t.Helper()
	return Load(fstest.MapFS{"gatehouse.yaml": {Data: []byte(text)}}, "gatehouse.yaml", testOptions())
}

// TestLoadArchives loads gatehouse.yaml of every archive and compares what becomes of it: the
// Problems, or the effective configuration and the lints.
func TestLoadArchives(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			a := parseArchive(data)
			fsys := fstest.MapFS{}
			for name, text := range a.files {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got := outcome(Load(fsys, "gatehouse.yaml", testOptions()))
			if *update {
				a.set("want", got)
				if err := os.WriteFile(file, a.format(), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(got, a.files["want"]); diff != "" {
				t.Errorf("outcome (-got +want):\n%s", diff)
			}
			if secret := leaked(got); secret != "" {
				t.Errorf("the outcome shows the secret %q", secret)
			}
		})
	}
}

// leaked returns a secret of the tests that text shows. Literal secrets in archives hold "hush".
func leaked(text string) string {
	for _, secret := range []string{"hush", "cognito-secret", "master-secret", "top-secret"} {
		if strings.Contains(text, secret) {
			return secret
		}
	}
	return ""
}

func outcome(c *Config, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	b.Write(c.Redacted())
	for _, l := range c.Lints() {
		fmt.Fprintf(&b, "# lint: %s\n", strings.ReplaceAll(l.Error(), "\n", "\n# "))
	}
	return b.String()
}

func TestLoadErrorIsProblems(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "listen: {htps: ':443'}\n")
	var all Problems
	if !errors.As(err, &all) || len(all) == 0 {
		t.Fatalf("got %T, want Problems", err)
	}
	var one Problem
	if !errors.As(err, &one) || one.Path == "" && one.Line == 0 {
		t.Errorf("got %+v, want a single Problem with its place", one)
	}
}
