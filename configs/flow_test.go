package configs

import (
	"slices"
	"testing"
	"testing/fstest"
)

// A list of addresses is the first thing people write inside brackets.
func TestAddressesNeedNoQuotesInBrackets(t *testing.T) {
	t.Parallel()
	file := `
listen: {https: 127.0.0.1:8443, admin: unix:/run/admin.sock}
tls: {local: true}
upstreams:
  a: [http://127.0.0.1:8080, http://127.0.0.1:8081]
  b: {endpoints: [https://10.0.0.1:8443], tls: {insecure_skip_verify: true}}
  "c": {endpoints: ["http://quoted:1", 'http://single:2']}
routes: [{match: a.example.com, to: a, require: nothing}, {match: b.example.com, to: b, require: nothing}, {match: c.example.com, to: c, require: nothing}]
`
	cfg, err := Load(fstest.MapFS{"g.yaml": {Data: []byte(file)}}, "g.yaml", LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"a": {"http://127.0.0.1:8080", "http://127.0.0.1:8081"},
		"b": {"https://10.0.0.1:8443"},
		"c": {"http://quoted:1", "http://single:2"},
	} {
		if got := cfg.Upstreams[name].Endpoints; !slices.Equal(got, want) {
			t.Errorf("upstreams.%s: got %q, want %q", name, got, want)
		}
	}
	if cfg.Listen.HTTPS != "127.0.0.1:8443" || cfg.Listen.Admin != "unix:/run/admin.sock" {
		t.Errorf("listen: got %q and %q", cfg.Listen.HTTPS, cfg.Listen.Admin)
	}
}
