package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzLoad: Load never panics; what it refuses has Problems with places inside the file; what it
// takes can be printed and loaded again, and neither shows a secret.
func FuzzLoad(f *testing.F) {
	archives, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range archives {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(parseArchive(data).files["gatehouse.yaml"])
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Load(fstest.MapFS{"f.yaml": {Data: []byte(text)}}, "f.yaml", testOptions())
		if err != nil {
			checkProblems(t, text, err)
			return
		}
		for _, l := range c.Lints() {
			_ = l.Error()
		}
		printed := c.Redacted()
		if strings.Contains(string(printed), "cognito-secret") || strings.Contains(string(printed), "master-secret") {
			t.Errorf("the printed configuration shows a secret:\n%s", printed)
		}
		if len(c.loaded.src.expand.literal) > 0 {
			return // a masked secret is too short to load
		}
		again, err := Load(fstest.MapFS{"f.yaml": {Data: printed}}, "f.yaml", testOptions())
		if err != nil {
			t.Fatalf("the effective configuration does not load: %v\n%s", err, printed)
		}
		if got := again.Redacted(); string(got) != string(printed) {
			t.Errorf("the effective configuration changes when it is loaded:\n%s\nwas\n%s", got, printed)
		}
	})
}

func checkProblems(t *testing.T, text string, err error) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("got %T, want Problems", err)
	}
	for i, p := range problems {
		if p.Line < 0 || p.Line > strings.Count(text, "\n")+1 || p.Line > 0 && p.Col < 1 || p.Msg == "" {
			t.Errorf("got %+v, want a place in the file and a message", p)
		}
		if i > 0 && p.Line < problems[i-1].Line {
			t.Errorf("Problems are not in the order of lines: %d after %d", p.Line, problems[i-1].Line)
		}
	}
	for _, secret := range []string{"cognito-secret", "master-secret"} {
		if strings.Contains(err.Error(), secret) && !strings.Contains(text, secret) {
			t.Errorf("a Problem shows the secret %q:\n%v", secret, err)
		}
	}
}

// FuzzMaskLines: masking keeps the number of lines, whatever the text.
func FuzzMaskLines(f *testing.F) {
	f.Add("a: b\nclient_secret: hush\n")
	f.Add("{keys: [a,\n b], secret: 'it''s'}")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		if got := maskLines(lines); len(got) != len(lines) {
			t.Errorf("got %d lines, want %d", len(got), len(lines))
		}
	})
}
