package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCheckSaysEverythingThatIsWrong compares with a golden file that was written by hand.
func TestCheckSaysEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/check/mistakes.golden")
	if err != nil {
		t.Fatal(err)
	}
	got := runToEnd(t, "testdata/check", nil, "check", "-c", "mistakes.yaml")
	if diff := cmp.Diff(ended{2, "", string(want)}, got, cmp.AllowUnexported(ended{})); diff != "" {
		t.Errorf("check (-want +got):\n%s", diff)
	}
	if got := runToEnd(t, "testdata/check", nil, "run", "-c", "mistakes.yaml"); got.code != 2 || got.stderr != string(want) {
		t.Errorf("run says something else than check: exit code %d\n%s", got.code, got.stderr)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	good := writeFile(t, "gatehouse.yaml", `
listen: {https: "127.0.0.1:0"}
tls: {local: true}
state_dir: `+t.TempDir()+`
upstreams: {u: "http://127.0.0.1:1"}
routes:
  - {match: app.example.test, to: u, require: nothing}
`)
	for _, tt := range []struct {
		name, args     string
		code           int
		stdout, stderr string // each must be in it; "" wants nothing
	}{
		{"version", "version", 0, "WAF engine  github.com/corazawaf/coraza/v3 v3.", ""},
		{"help", "--help", 0, "Run the front door.", ""},
		{"a good file", "check -c " + good, 0, "1 route, no problems", ""},
		{"no file", "check -c no-such.yaml", 2, "", "no-such.yaml: cannot be read: no such file"},
		{"run without a file", "run -c no-such.yaml", 2, "", "no-such.yaml: cannot be read: no such file"},
		{"no command", "", 2, "Commands:", ""},
		{"an unknown command", "serve", 2, "", "serve"},
		{"an unknown flag", "run --confg x", 2, "", "--confg"},
		{"health of nobody", "health --admin 127.0.0.1:1", 1, "", "no answer from the admin listener 127.0.0.1:1"},
		{"health of no socket", "health --admin unix:/no/such.sock", 1, "", "no answer from the admin listener unix:/no/such.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := runToEnd(t, "", nil, strings.Fields(tt.args)...)
			if got.code != tt.code || !says(got.stdout, tt.stdout) || !says(got.stderr, tt.stderr) {
				t.Errorf("gatehouse %s: got %+v\nwant exit code %d, stdout with %q, stderr with %q", tt.args, got, tt.code, tt.stdout, tt.stderr)
			}
			for _, out := range []string{got.stdout, got.stderr} {
				if out != "" && !strings.HasSuffix(out, "\n") {
					t.Errorf("output does not end its last line: %q", out)
				}
			}
		})
	}
}

// says reports whether output has want, or is empty where nothing is wanted.
func says(output, want string) bool {
	return (output == "") == (want == "") && strings.Contains(output, want)
}

func TestHealthOfAReadyInstance(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	for _, args := range [][]string{{"health"}, {"health", "--live"}} {
		got := runToEnd(t, "", nil, append(args, "--admin", s.addrs["admin"])...)
		if got.code != 0 || got.stderr != "" || got.stdout == "" {
			t.Errorf("gatehouse %v: got %+v, want exit code 0", args, got)
		}
	}
}
