package upstream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	notPEM := filepath.Join(t.TempDir(), "not.pem")
	if err := os.WriteFile(notPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want []string // fields reported
	}{
		{"one endpoint is enough", Config{Endpoints: []string{"http://127.0.0.1:8080"}}, nil},
		{"a port may be left out", Config{Endpoints: []string{"https://app.internal", "https://app2.internal/"}}, nil},
		{"IPv6", Config{Endpoints: []string{"http://[::1]:8080"}}, nil},
		{"a unix socket", Config{Endpoints: []string{"unix:///run/app.sock"}}, nil},
		{"no endpoint", Config{}, []string{"endpoints"}},
		{"no scheme", Config{Endpoints: []string{"10.0.0.1:8080"}}, []string{"endpoints[0]"}},
		{"a host for a scheme", Config{Endpoints: []string{"app:8080"}}, []string{"endpoints[0]"}},
		{"another scheme", Config{Endpoints: []string{"ftp://a"}}, []string{"endpoints[0]"}},
		{"mixed schemes", Config{Endpoints: []string{"http://a", "https://b", "unix:///c"}}, []string{"endpoints[1]", "endpoints[2]"}},
		{"twice the same", Config{Endpoints: []string{"http://a", "http://a:80"}}, []string{"endpoints[1]"}},
		{"a path", Config{Endpoints: []string{"http://a/base"}}, []string{"endpoints[0]"}},
		{"a query", Config{Endpoints: []string{"http://a?x"}}, []string{"endpoints[0]"}},
		{"a user", Config{Endpoints: []string{"http://u:p@a"}}, []string{"endpoints[0]"}},
		{"no host", Config{Endpoints: []string{"http://:80"}}, []string{"endpoints[0]"}},
		{"an empty port", Config{Endpoints: []string{"http://a:"}}, []string{"endpoints[0]"}},
		{"a port out of range", Config{Endpoints: []string{"http://a:70000"}}, []string{"endpoints[0]"}},
		{"a relative socket", Config{Endpoints: []string{"unix://run/app.sock"}}, []string{"endpoints[0]"}},
		{
			"durations",
			Config{Endpoints: []string{"http://a"}, ConnectTimeout: "10", ResponseTimeout: "-1s", IdleTimeout: "0s"},
			[]string{"connect_timeout", "response_timeout", "idle_timeout"},
		},
		{"a weight", Config{Endpoints: []string{"http://a weight=1000", "http://b weight=1"}}, nil},
		{
			"weights that are none",
			Config{Endpoints: []string{"http://a weight=0", "http://b weight=1001", "http://c weight=-1", "http://d weight", "http://e  x", "http://f weight=1 weight=2"}},
			[]string{"endpoints[0]", "endpoints[1]", "endpoints[2]", "endpoints[3]", "endpoints[4]", "endpoints[5]"},
		},
		{"twice the same with weights", Config{Endpoints: []string{"http://a weight=2", "http://a"}}, []string{"endpoints[1]"}},
		{"ALB's bounds", Config{Endpoints: []string{"http://a"}, SlowStart: "900s", DeregistrationDelay: "3600s"}, nil},
		{"ALB's other bounds", Config{Endpoints: []string{"http://a"}, SlowStart: "30s", DeregistrationDelay: "0s"}, nil},
		{"beyond them", Config{Endpoints: []string{"http://a"}, SlowStart: "29s", DeregistrationDelay: "3601s"}, []string{"slow_start", "deregistration_delay"}},
		{"far beyond them", Config{Endpoints: []string{"http://a"}, SlowStart: "901s", DeregistrationDelay: "-1s"}, []string{"slow_start", "deregistration_delay"}},
		{"HTTP/2", Config{Endpoints: []string{"http://a"}, Protocol: HTTP2}, nil},
		{"another version", Config{Endpoints: []string{"http://a"}, Protocol: "h2"}, []string{"protocol"}},
		{"negative max_idle", Config{Endpoints: []string{"http://a"}, MaxIdle: -1}, []string{"max_idle"}},
		{"tls for http", Config{Endpoints: []string{"http://a"}, TLS: TLS{ServerName: "x"}}, []string{"tls"}},
		{"a CA that is not there", Config{Endpoints: []string{"https://a"}, TLS: TLS{CA: "/nonexistent"}}, []string{"tls.ca"}},
		{"a CA that is none", Config{Endpoints: []string{"https://a"}, TLS: TLS{CA: notPEM}}, []string{"tls.ca"}},
		{"everything at once", Config{Endpoints: []string{"x"}, ConnectTimeout: "x", MaxIdle: -1}, []string{"endpoints[0]", "connect_timeout", "max_idle"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			tt.cfg.Validate(func(field, msg string) {
				got = append(got, field)
				if msg == "" {
					t.Errorf("%s: empty message", field)
				}
			})
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("fields reported (-got +want):\n%s", diff)
			}
			p, err := NewPool("x", tt.cfg)
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("NewPool: got error %v, want one: %t", err, len(tt.want) > 0)
			}
			if err == nil {
				p.Close()
				return
			}
			for _, field := range tt.want {
				if !strings.Contains(err.Error(), field) {
					t.Errorf("NewPool: error %q does not name %s", err, field)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	p, err := NewPool("x", Config{Endpoints: []string{"http://a"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.connectTimeout != 10*time.Second || p.responseTimeout != time.Minute || p.idleTimeout != 55*time.Second ||
		p.maxIdle != 256 || !p.preserveHost || !p.via || p.slow != 0 || p.delay != 5*time.Minute {
		t.Errorf("got %+v", p)
	}
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]address{
		"http://a":          {"http", "tcp", "a:80", "a", "a", false},
		"https://a:8443":    {"https", "tcp", "a:8443", "a:8443", "a", false},
		"http://[::1]:8080": {"http", "tcp", "[::1]:8080", "[::1]:8080", "::1", false},
		"unix:///run/a.s":   {"unix", "unix", "/run/a.s", "localhost", "", false},
	} {
		got, err := parseEndpoint(in)
		if err != nil || got != want {
			t.Errorf("parseEndpoint(%q): got %+v, %v; want %+v", in, got, err, want)
		}
	}
}
