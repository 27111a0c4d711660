package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// exampleSecrets are the secrets that the examples refer to, all of a real one's length.
func exampleOptions() LoadOptions {
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	return LoadOptions{
		Env: func(name string) (string, bool) {
			value, ok := map[string]string{
				"COGNITO_CLIENT_SECRET": secret, "OIDC_CLIENT_SECRET": secret, "STATE_DIRECTORY": "/var/lib/gatehouse",
			}[name]
			return value, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			switch name {
			case "/run/secrets/cognito", "/run/secrets/master":
				return []byte(secret + "\n"), nil
			}
			return nil, os.ErrNotExist
		},
	}
}

func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d examples, want 10: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			c, err := Load(os.DirFS("."), filepath.ToSlash(file), exampleOptions())
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(file) != "sidecar.yaml" { // compat: aws is linted, as it should be
				for _, l := range c.Lints() {
					t.Errorf("lint: %s", l.Error())
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := schemaProblems(t, string(text)); got != nil {
				t.Errorf("by the schema: %s", got)
			}
			hint := "# yaml-language-server: $schema=../schema.json\n"
			if filepath.Base(file) != "production.yaml" && !strings.HasPrefix(string(text), hint) {
				t.Errorf("does not start with %q", hint)
			}
			again, err := Load(fstest.MapFS{"e.yaml": {Data: c.Redacted()}}, "e.yaml", exampleOptions())
			if err != nil {
				t.Fatalf("the effective configuration does not load: %v", err)
			}
			if got, want := string(again.Redacted()), string(c.Redacted()); got != want {
				t.Errorf("the effective configuration changes when it is loaded:\n%s\nwas\n%s", got, want)
			}
		})
	}
}

func TestProductionExampleIsTenLines(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("examples/production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "\n"); got > 10 {
		t.Errorf("production.yaml has %d lines, want 10 at most: every document says so", got)
	}
}
