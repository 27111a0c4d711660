package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A route divides its requests among upstreams.
func TestSplit(t *testing.T) {
	t.Parallel()
	app := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	file := writeFile(t, "gatehouse.yaml", `
listen: {https: ":443", admin: off}
tls: {local: true}
state_dir: `+t.TempDir()+`
waf: off
upstreams: {blue: `+app("blue")+`, green: `+app("green")+`}
routes:
  - {match: localhost, split: {blue: 1, green: 1}, require: nothing}
  - {match: localhost/only/*, split: {blue: 999, green: 0}, require: nothing}
`)
	p := start(t, []string{"run", "-c", file}, "https")
	c := newClient(t, p.addrs["https"], true)
	count := func(path string) map[string]int {
		got := map[string]int{}
		for range 200 {
			_, body := fetch(t, c, "https://localhost"+path, "")
			got[body]++
		}
		return got
	}
	// Who draws fairly leaves one out in one of 2^199 runs.
	if got := count("/"); got["blue"] == 0 || got["green"] == 0 || got["blue"]+got["green"] != 200 {
		t.Errorf("got %v", got)
	}
	if got := count("/only/a"); got["blue"] != 200 {
		t.Errorf("weight 0: got %v", got)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
