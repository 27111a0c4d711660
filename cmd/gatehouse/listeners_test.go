package main

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"gatehouse/configs"
)

// What a reload cannot do to the listeners is a problem at its line, not silence.
func TestListenersChangeOnlyWithARestart(t *testing.T) {
	t.Parallel()
	load := func(listen string) *configs.Config {
		t.Helper()
		file := listen + `
tls: {local: true}
state_dir: /tmp/state
upstreams: {u: http://127.0.0.1:8080}
routes: [{match: localhost, to: u, require: nothing}]
`
		cfg, err := configs.Load(fstest.MapFS{"g.yaml": {Data: []byte(file)}}, "g.yaml", configs.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	running := load(`listen: {https: ":8443", http: ":8080", connections: 100, header_timeout: 5s, idle_timeout: 30s}`)
	for _, c := range []struct{ name, listen, want string }{
		{"nothing", `listen: {https: ":8443", http: ":8080", connections: 100, header_timeout: 5s, idle_timeout: 30s}`, ""},
		{"an address", `listen: {https: ":9443", http: ":8080", connections: 100, header_timeout: 5s, idle_timeout: 30s}`, "g.yaml:1:17: listen.https: changing it from \":8443\" needs a restart"},
		{"a listener less", `listen: {https: ":8443", connections: 100, header_timeout: 5s, idle_timeout: 30s}`, "listen.http: changing it from \":8080\" needs a restart"},
		{"connections", `listen: {https: ":8443", http: ":8080", connections: 200, header_timeout: 5s, idle_timeout: 30s}`, "listen.connections: changing it from \"100\" needs a restart"},
		{"a load balancer", `listen: {https: ":8443", http: ":8080", connections: 100, header_timeout: 5s, idle_timeout: 30s, proxy_protocol: {from: [10.0.0.1]}}`, "g.yaml:1:121: listen.proxy_protocol.from: changing it from \"\" needs a restart"},
		{"a time-out", `listen: {https: ":8443", http: ":8080", connections: 100, header_timeout: 5s, idle_timeout: 40s}`, "listen.idle_timeout: changing it from \"30s\" needs a restart"},
	} {
		err := unchangedListeners(running, load(c.listen))
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if _, ok := errors.AsType[configs.Problems](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}
