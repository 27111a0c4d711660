package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// runCommandLine runs one command line in this process.
func runCommandLine(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := &environment{stdout: &out, stderr: &errs, getenv: func(string) (string, bool) { return "", false }}
	code = execute(t.Context(), args, env)
	return code, out.String(), errs.String()
}

// keysConfig writes a configuration with this section for the assertion.
func keysConfig(t *testing.T, assertion string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	text := fmt.Sprintf(`listen: {https: "127.0.0.1:0"}
tls: {local: true}
secret: 0123456789abcdef0123456789abcdef
login: {oidc: {issuer: "https://id.example.com", client_id: x, client_secret: yyyyyyyyyyyyyyyyyyyy}}
assertion: %s
upstreams: {u: "http://127.0.0.1:1"}
routes:
  - {match: app.example.test, to: u, require: signed-in}
`, assertion)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var uuidLine = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n$`)

func TestKeysNewThenList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.pem"), filepath.Join(dir, "two.pem")

	code, stdout, kidOne := runCommandLine(t, "keys", "new")
	if code != 0 || !strings.HasPrefix(stdout, "-----BEGIN PRIVATE KEY-----\n") || !uuidLine.MatchString(kidOne) {
		t.Fatalf("keys new: %d, %d bytes on standard output, %q on standard error", code, len(stdout), kidOne)
	}
	if err := os.WriteFile(one, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, kidTwo := runCommandLine(t, "keys", "new", "-o", two)
	if code != 0 || stdout != "" || !uuidLine.MatchString(kidTwo) || kidOne == kidTwo {
		t.Fatalf("keys new -o: %d %q %q", code, stdout, kidTwo)
	}
	info, err := os.Stat(two)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key's file: %v, %v, want it for its owner alone", info, err)
	}
	before, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCommandLine(t, "keys", "new", "-o", two); code != exitFailed || !strings.Contains(stderr, "exists") {
		t.Errorf("keys new over a key: %d %q, want a refusal", code, stderr)
	}
	if after, err := os.ReadFile(two); err != nil || !bytes.Equal(before, after) {
		t.Errorf("keys new changed a key that was there: %v", err)
	}

	code, stdout, stderr := runCommandLine(t, "keys", "list", "-c", keysConfig(t, fmt.Sprintf("{keys: [%s, %s]}", two, one)))
	want := [][]string{{"KID", "USE", "KEY"}, {strings.TrimSpace(kidTwo), "signs", "keys[0]", two}, {strings.TrimSpace(kidOne), "published", "keys[1]", one}}
	if got := fields(stdout); code != 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("keys list: %d %q\n got %q\nwant %q", code, stderr, got, want)
	}
}

// fields are the words of each line.
func fields(text string) (lines [][]string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

func TestKeysListOfDerivedKeys(t *testing.T) {
	t.Parallel()
	for assertion, uses := range map[string]string{"{}": "signs", "{rotate: 24h}": "signs published published"} {
		code, stdout, stderr := runCommandLine(t, "keys", "list", "-c", keysConfig(t, assertion))
		var got []string
		for _, line := range fields(stdout)[1:] {
			got = append(got, line[1])
			if !strings.Contains(strings.Join(line, " "), "derived from the secret") {
				t.Errorf("%s: %q does not say where the key is from", assertion, line)
			}
		}
		if code != 0 || strings.Join(got, " ") != uses {
			t.Errorf("%s: %d %q %q, want %s", assertion, code, stderr, got, uses)
		}
	}
}

func TestKeysListSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	file := keysConfig(t, "{keys: [not-there.pem]}")
	if code, _, stderr := runCommandLine(t, "keys", "list", "-c", file); code != exitProblems || !strings.Contains(stderr, file+":5:") || !strings.Contains(stderr, "not-there.pem") {
		t.Errorf("a key that is not there: %d %q, want its place", code, stderr)
	}
	text, err := os.ReadFile(keysConfig(t, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open.yaml")
	public := regexp.MustCompile(`(?m)^login:.*$`).ReplaceAllString(strings.Replace(string(text), "signed-in", "nothing", 1), "")
	if err := os.WriteFile(open, []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCommandLine(t, "keys", "list", "-c", open); code != exitFailed || !strings.Contains(stderr, "no key is published") {
		t.Errorf("a file without a login: %d %q", code, stderr)
	}
	for assertion, code := range map[string]int{
		"{source: fleet}": exitProblems, // there is no fleet
		"{source: fleet}\nfleet: {store: \"unix:///nowhere/valkey.sock\"}": exitFailed,
	} {
		got, stdout, stderr := runCommandLine(t, "keys", "list", "-c", keysConfig(t, assertion))
		if got != code || stdout != "" || !strings.Contains(stderr, "fleet") {
			t.Errorf("%s: %d %q %q, want %d", assertion, got, stdout, stderr, code)
		}
	}
}
