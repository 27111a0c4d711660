package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestStatusesAndReasons has what an ALB answers when something is wrong with a target: section 2.12 of the specification, with a
// reason for each.
func TestStatusesAndReasons(t *testing.T) {
	t.Parallel()
	saying := func(answer string, reset bool) func(t *testing.T) Config {
		return func(t *testing.T) Config {
			return endpoints(rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
				if readRequest(br) == nil {
					return
				}
				io.WriteString(c, answer)
				if tc, ok := c.(*net.TCPConn); ok && reset {
					tc.SetLinger(0)
				}
			}))
		}
	}
	silent := func(scheme string) func(t *testing.T) Config {
		return func(t *testing.T) Config {
			up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) })
			return Config{Endpoints: []string{strings.Replace(up, "http", scheme, 1)}, ConnectTimeout: "1s", ResponseTimeout: "100ms"}
		}
	}
	for _, tt := range []struct {
		name   string
		cfg    func(t *testing.T) Config
		do     func(p *Pool) // before the request
		status int
		reason Reason
	}{
		{"no endpoint is registered", saying("", false), func(p *Pool) { p.replace(nil) }, 503, ReasonNoEndpoint},
		{"the pool is closed", saying("", false), func(p *Pool) { p.Close() }, 503, ReasonClosed},
		{"no room", func(t *testing.T) Config {
			cfg := saying("", false)(t)
			cfg.Circuit = &CircuitConfig{MaxRequests: 1}
			return cfg
		}, func(p *Pool) { p.enter(p.plan.Load().all[0].endpoint) }, 503, ReasonOverloaded},
		{"connection refused", func(t *testing.T) Config { return endpoints(refusing(t)) }, nil, 502, ReasonRefused},
		{"no socket", func(t *testing.T) Config { return endpoints("unix://" + t.TempDir() + "/none") }, nil, 502, ReasonRefused},
		{"every endpoint is left out and refuses", func(t *testing.T) Config { return endpoints(refusing(t), refusing(t)) }, func(p *Pool) {
			for _, m := range p.plan.Load().all {
				p.broke(m.endpoint, &Error{Reason: ReasonRefused})
			}
		}, 502, ReasonRefused},
		{"no connection in time", func(t *testing.T) Config {
			cfg := saying("", false)(t)
			cfg.ConnectTimeout = "1ns"
			return cfg
		}, nil, 504, ReasonConnectTimeout},
		{"no TLS in time", silent("https"), nil, 502, ReasonTLSTimeout},
		{"no TLS", func(t *testing.T) Config {
			up := rawUpstream(t, func(_ int, c net.Conn, _ *bufio.Reader) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
			return endpoints(strings.Replace(up, "http", "https", 1))
		}, nil, 502, ReasonTLS},
		{"a certificate of nobody's", func(t *testing.T) Config {
			return endpoints(tlsUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }))
		}, nil, 502, ReasonTLS},
		{"FIN for an answer", saying("", false), nil, 502, ReasonNoResponse},
		{"RST for an answer", saying("", true), nil, 502, ReasonNoResponse},
		{"the end in the middle of a head", saying("HTTP/1.1 200 OK\r\nA: b", false), nil, 502, ReasonNoResponse},
		{"no HTTP", saying("SSH-2.0-OpenSSH_9.6\r\n", false), nil, 502, ReasonMalformed},
		{"a malformed field", saying("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", false), nil, 502, ReasonMalformed},
		{"two lengths", saying("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false), nil, 502, ReasonMalformed},
		{"a head that is too large", saying("HTTP/1.1 200 OK\r\nA: "+strings.Repeat("b", maxHead)+"\r\n\r\n", false), nil, 502, ReasonHeadTooLarge},
		{"silence", silent("http"), nil, 504, ReasonTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, proto string) {
				f := newRig(t, proto, tt.cfg(t), Options{})
				if tt.do != nil {
					tt.do(f.pool)
				}
				res, _ := f.do(t, http.MethodPost, "/", strings.NewReader("x"))
				if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != tt.status || got != tt.reason {
					t.Errorf("got %d %s, want %d %s", res.StatusCode, got, tt.status, tt.reason)
				}
			})
		})
	}
}
