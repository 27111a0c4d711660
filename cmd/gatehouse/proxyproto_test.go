package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
)

// The client that a load balancer names in version 1 or 2 of the PROXY protocol is the one of limits, of rules, of the upstream
// and of the event, and the one that may be a trusted proxy.
func TestTheClientOfTheProxyProtocolIsTheClientEverywhere(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Port"))
	}))
	t.Cleanup(up.Close)
	text := `
listen:
  https: "127.0.0.1:0"
  http: "127.0.0.1:0"
  admin: "off"
  proxy_protocol: {from: [127.0.0.1]}
tls: {local: true}
waf: off
trusted_proxies: [198.51.100.0/24]
upstreams: {app: "` + up.URL + `"}
limits: {each: {rate: 1/1h}}
ip_sets: {banned: [203.0.113.66]}
acl: {rules: [{name: banned, when: {ip: banned}, action: block}]}
routes:
  - {match: localhost/limited, to: app, require: nothing, limit: each}
  - {match: localhost, to: app, require: nothing}
state_dir: ` + t.TempDir() + "\n"
	load := func() (*configs.Config, error) {
		return configs.Load(fstest.MapFS{"gatehouse.yaml": {Data: []byte(text)}}, "gatehouse.yaml", configs.LoadOptions{})
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	var events bytes.Buffer
	p := &testDoor{}
	p.process = newProcess(&environment{stdout: &events, stderr: io.Discard, getenv: os.LookupEnv}, processOptions{
		load: load, sockets: &sockets{}, ready: func(at addresses) { p.at = at },
	})
	p.cfg = cfg
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const first = "PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n"
	second := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x08\x0a\x00\x00\x01\x30\x39\x01\xbb" // 203.0.113.8
	banned := strings.Replace(first, "203.0.113.7", "203.0.113.66", 1)
	trusted := strings.Replace(first, "203.0.113.7", "198.51.100.1", 1)
	for _, tt := range []struct {
		header, path, xff string
		h2                bool
		want              string
	}{
		{first, "/limited", "", false, "200 203.0.113.7 443"},
		{first, "/limited", "", true, "429"},
		{second, "/limited", "", true, "200 203.0.113.8 443"},
		{first, "/", "192.0.2.1", true, "200 203.0.113.7 443"},
		{trusted, "/", "192.0.2.1", false, "200 192.0.2.1 443"},
		{banned, "/", "", false, "403"},
	} {
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // whom it names is what is asked
			ForceAttemptHTTP2: tt.h2,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, p.at.HTTPS.String())
				if err == nil {
					_, err = io.WriteString(c, tt.header)
				}
				return c, err
			},
		}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.xff != "" {
			req.Header.Set("X-Forwarded-For", tt.xff)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		client.CloseIdleConnections()
		answer := strings.TrimSpace(resp.Status[:3] + " " + string(got))
		if resp.StatusCode != http.StatusOK {
			answer = resp.Status[:3]
		}
		if err != nil || answer != tt.want {
			t.Errorf("%q for %s, HTTP/2 %t: got %q, %v, want %q", tt.header, tt.path, tt.h2, answer, err, tt.want)
		}
	}
	// Port 80 reads the header too: without, it would be a malformed request.
	c, err := net.Dial("tcp", p.at.HTTP.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, first+"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("port 80: got %v, %v", resp, err)
	}
	// Balancers that send no header are told of, once for all.
	for range 3 {
		c, err := net.Dial("tcp", p.at.HTTPS.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	if err := p.stop(); err != nil { // every event has been written then
		t.Fatal(err)
	}
	var clients, refused []string
	for line := range strings.Lines(events.String()) {
		var event struct{ Msg, Client, Peer, Error string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		if event.Msg == "connection closed" {
			refused = append(refused, event.Peer+" "+event.Error)
		}
		if event.Msg == "request" {
			clients = append(clients, strings.TrimSpace(event.Client+" "+event.Peer))
		}
	}
	if want := []string{"127.0.0.1 proxy protocol: the connection does not begin with a header"}; !slices.Equal(refused, want) {
		t.Errorf("told of %q, want %q", refused, want)
	}
	want := []string{"203.0.113.7", "203.0.113.7", "203.0.113.8", "203.0.113.7", "192.0.2.1 198.51.100.1", "203.0.113.66"}
	if diff := cmp.Diff(clients, want); diff != "" {
		t.Errorf("clients and peers of the events (-got +want)\n%s", diff)
	}
}
