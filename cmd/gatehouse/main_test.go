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
		"version now":                          `unexpected argument now`,
		"keys":                                 `expected one of "new", "list"`,
		"keys nwe":                             `unexpected argument nwe, did you mean "new"?`,
		"keys -x":                              `unknown flag -x: the command comes first, one of "new", "list"`,
		"serve":                                `unexpected argument serve, want one of "run", "check", "dev", "pool", "why", "waf", "cache", "health", "keys", "version"`,
		"why":                                  `why: want REQUEST-ID`,
		"why 12":                               `why: want the id of a request, 32 hexadecimal digits, got "12"`,
		"why a b":                              `why: want one REQUEST-ID, got "a", "b"`,
		"waf":                                  `expected one of "tune", "replay"`,
		"waf replay -c x":                      `waf replay: want EVENTS`,
		"waf tune --since yesterday":           `--since: want a duration, got "yesterday"`,
		"waf tune --since -1h":                 `--since and --top: want 0 or more`,
		"waf replay - -c testdata/no.yaml":     "testdata/no.yaml: cannot be read: no such file or directory",
		"-c gatehouse.yaml run":                `unknown flag -c: the command comes first, one of "run", "check"`,
		"run --confg x":                        `unknown flag --confg, did you mean "--config"?`,
		"run -qx":                              `unknown flag -x, want one of "-h", "-c", "-q"`,
		"run -c":                               `--config: want a value, got none`,
		"run --quiet=maybe":                    `--quiet: want a bool, got "maybe"`,
		"run gatehouse.yaml -q":                `unexpected argument gatehouse.yaml, did you mean "-c gatehouse.yaml"?`,
		"run -qctestdata/not-there.yaml":       "testdata/not-there.yaml: cannot be read: no such file or directory",
		"pool --access-ttl soon":               `--access-ttl: want a duration, got "soon"`,
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

// TestHelp: what every command and flag is for can be asked in all the usual ways.
func TestHelp(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"--help":             {"Usage: gatehouse <command>", "  keys list     List the keys"},
		"-h":                 {"Usage: gatehouse <command>", "  run           Run the front door."},
		"help":               {"Usage: gatehouse <command>"},
		"keys --help":        {"Usage: gatehouse keys <command>", "  keys new    Make a new key"},
		"run --help":         {"Usage: gatehouse run [flags]", `-c, --config=file   The configuration file. Default:`, `/etc/gatehouse/gatehouse.yaml.`},
		"help run":           {"Usage: gatehouse run [flags]"},
		"keys new -h":        {"Usage: gatehouse keys new [flags]", "-o, --out=file"},
		"health --help":      {"Default: 127.0.0.1:9901.", "GATEHOUSE_ADMIN_TOKEN"},
		"why --help":         {"Usage: gatehouse why REQUEST-ID [flags]", "--events=file"},
		"waf --help":         {"Usage: gatehouse waf <command>", "  waf tune"},
		"waf replay -h":      {"Usage: gatehouse waf replay EVENTS [flags]", "-c, --config=file"},
		"pool --help --nope": {"--access-ttl=duration    Life of access tokens. Default: 1h0m0s."},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			env := &environment{stdout: &stdout, stderr: &stderr, getenv: func(string) (string, bool) { return "token-of-the-environment", true }}
			if got := execute(t.Context(), strings.Fields(line), env); got != 0 || stderr.Len() > 0 {
				t.Errorf("got exit code %d and %q, want 0 and nothing on standard error", got, &stderr)
			}
			for _, part := range want {
				if !strings.Contains(stdout.String(), part) {
					t.Errorf("got %s\nwant %q in it", &stdout, part)
				}
			}
			for text := range strings.Lines(stdout.String()) {
				if len(text) > usageWidth+1 {
					t.Errorf("a line of %d columns, want at most %d: %s", len(text)-1, usageWidth, text)
				}
			}
			if strings.Contains(stdout.String(), "token-of-the-environment") {
				t.Error("help prints the token")
			}
		})
	}
}
