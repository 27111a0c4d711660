package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestWrongCommandLines: exit code 2, and a line that says what was meant to stand there.
func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"chekc":                                `unexpected argument chekc, did you mean "check"?`,
		"--version":                            `unknown flag --version, did you mean "version"?`,
		"check gatehouse.yaml":                 `unexpected argument gatehouse.yaml, did you mean "-c gatehouse.yaml"?`,
		"run gatehouse.yaml":                   `unexpected argument gatehouse.yaml, did you mean "-c gatehouse.yaml"?`,
		"dev --upstream 127.0.0.1:3000":        `--upstream: want a URL such as http://127.0.0.1:3000, got "127.0.0.1:3000"`,
		"dev --upstream localhost:3000":        `--upstream: want a URL such as http://127.0.0.1:3000, got "localhost:3000"`,
		"check -c testdata/is-not-there.yaml":  "testdata/is-not-there.yaml: cannot be read: no such file or directory",
		"run --config=testdata/not-there.yaml": "testdata/not-there.yaml: cannot be read: no such file or directory",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			env := &environment{stdout: &stdout, stderr: &stderr, getenv: func(string) (string, bool) { return "", false }}
			if got := execute(t.Context(), strings.Fields(line), env); got != exitProblems {
				t.Errorf("exit code: got %d, want %d", got, exitProblems)
			}
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("stderr: got %q, want %q in it", &stderr, want)
			}
		})
	}
}
