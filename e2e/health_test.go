package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// An endpoint that says it is unwell gets no requests, and an operator sees why.
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	var ill atomic.Bool
	ill.Store(true)
	instance := func(name string, mayBeIll bool) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" && mayBeIll && ill.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, name)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	one, two := instance("one", false), instance("two", true)
	file := writeFile(t, "gatehouse.yaml", `
listen: {https: ":443", admin: "127.0.0.1:9901"}
tls: {local: true}
state_dir: `+t.TempDir()+`
upstreams:
  app: {endpoints: [`+one+`, `+two+`], health: {path: /healthz, interval: 1s}}
routes:
  - {match: localhost, to: app, require: nothing}
`)
	p := start(t, []string{"run", "-c", file}, "https", "admin")
	c := newClient(t, p.addrs["https"], true)
	ask := func() (counts map[string]int) {
		counts = map[string]int{}
		for range 10 {
			_, body := fetch(t, c, "https://localhost/", "")
			counts[body]++
		}
		return counts
	}
	told := p.message("upstream endpoint is unwell", 0)
	if told["address"] != strings.TrimPrefix(two, "http://") || told["reason"] != "status 503" || told["upstream"] != "app" {
		t.Errorf("got %v", told)
	}
	if got := ask(); got["one"] != 10 {
		t.Errorf("two is unwell: got %v", got)
	}
	for series, want := range map[string]string{
		`gatehouse_upstream_endpoints{health="unwell",upstream="app"}`: "1",
		`gatehouse_upstream_endpoints{health="well",upstream="app"}`:   "1",
	} {
		if got := p.metric(series); got != want {
			t.Errorf("%s: got %s, want %s", series, got, want)
		}
	}
	if status, body := p.admin("/readyz"); status != 200 || !strings.Contains(body, "is unwell") {
		t.Errorf("/readyz: got %d %s", status, body)
	}
	ill.Store(false)
	p.message("upstream endpoint is well", 0)
	if got := ask(); got["one"] != 5 || got["two"] != 5 {
		t.Errorf("both are well: got %v", got)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
