package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// TestMalformedRequestsOfTheRuleSetsSuite plays those tests of the Core Rule Set's regression suite that admission refuses
// before a rule reads them, with the 400 that all of them want but 920290-4, which wants the rule. waf plays the others.
func TestMalformedRequestsOfTheRuleSetsSuite(t *testing.T) {
	t.Parallel()
	backend := startBackend(t)
	gate := launch(t, []string{"run", "-c", writeFile(t, "gatehouse.yaml", fmt.Sprintf(`
listen: {https: "127.0.0.1:0", admin: "off"}
tls: {local: true}
state_dir: %s
upstreams: {u: %q}
routes:
  - {match: localhost, to: u, require: nothing}
`, t.TempDir(), backend.url()))}, nil, "https")
	const rest = "User-Agent: OWASP CRS test agent\r\nAccept: text/html;q=0.9,*/*;q=0.8\r\n\r\n"
	for id, raw := range map[string]string{
		"920100-8": "GET /get/index.html:80?I=Like&Apples=Today#tag HTTP/1.1\r\nHost: localhost\r\n",
		"920270-4": "GET /?test=test1 HTTP/1.1\r\nHost: localhost%00\r\n",
		"920274-1": "GET /get?test=test1 HTTP/1.1\r\nHost: localhost%1F\r\n",
		"920290-1": "GET / HTTP/1.1\r\nHost: \r\n",
		"920290-4": "GET / HTTP/1.0\r\nHost:\r\n",
		"920610-2": "GET /#fragment HTTP/1.1\r\nHost: localhost\r\n",
	} {
		if got := sendRaw(t, gate.addrs["https"], "localhost", raw+rest); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", id, got.status)
		}
	}
	if seen := backend.drain(); len(seen) > 0 {
		t.Errorf("the upstream saw %d requests, want none", len(seen))
	}
}
