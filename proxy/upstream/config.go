package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Defaults of Config.
const (
	defaultConnectTimeout  = 10 * time.Second // a dial that takes longer is a dead host: SYN retries are at 1, 3 and 7 s
	defaultResponseTimeout = 60 * time.Second // as ALB's idle timeout and nginx's proxy_read_timeout
	defaultIdleTimeout     = 55 * time.Second // below the 60 s at which most application servers close a connection
	defaultMaxIdle         = 256
)

// How an endpoint is chosen.
const (
	RoundRobin       = "round_robin"
	LeastOutstanding = "least_outstanding"
)

// Versions of HTTP that an endpoint is spoken to in.
const (
	HTTP1 = "http1"
	HTTP2 = "http2"
)

// Config is one named upstream of the file.
type Config struct {
	// Endpoints are "http://host:port", "https://host:port" or "unix:///path/to.sock"; one at least, all of one scheme. One
	// with " weight=3" behind it gets three times the requests of one without; 1 to 1000.
	//
	// "dns://app.internal:8080" is all addresses of a name, A and AAAA, and "srv://_http._tcp.app.internal" all servers of a
	// service, with the weights of the best priority; "dns+https://" and "srv+https://" with TLS. They are asked for again when
	// their TTL is over, after 5 s to 5 min; one that cannot be asked for keeps what it had. A name in "http://app.internal"
	// is one endpoint, which the system finds for each new connection.
	Endpoints []string `yaml:"endpoints"`
	// Protocol is "http1" (the default) for HTTP/1.1, or "http2", which gRPC needs: by ALPN with https endpoints, else with
	// prior knowledge (h2c). There are no WebSockets over it: a handshake is forwarded as an ordinary request.
	Protocol string `yaml:"protocol"`
	// TLS says how the certificate of an https endpoint is verified. Verification is on.
	TLS TLS `yaml:"tls"`
	// ConnectTimeout bounds dialling and the TLS handshake; default 10s.
	ConnectTimeout string `yaml:"connect_timeout"`
	// ResponseTimeout bounds the wait for the response head and between two reads of its body; default 60s.
	ResponseTimeout string `yaml:"response_timeout"`
	// IdleTimeout is how long an unused connection may be used again; default 55s. Keep it below the upstream's own.
	IdleTimeout string `yaml:"idle_timeout"`
	// PreserveHost sends the client's Host (the default, as ALB does); "false" sends the endpoint's.
	PreserveHost *bool `yaml:"preserve_host"`
	// MaxIdle is how many idle connections are kept per endpoint; default 256. With http2 it is how many there may be at
	// all, each with as many requests at a time as the endpoint allows: a request that finds no room waits for at most
	// connect_timeout.
	MaxIdle int `yaml:"max_idle"`
	// Balance is how an endpoint is chosen: "round_robin" (the default), or "least_outstanding", the one with the fewest
	// requests under way for its weight, or "hash", the same one for the same key as long as it is well and has no more than
	// its share and a quarter under way.
	Balance string `yaml:"balance"`
	// Hash is the key of "balance: hash": "address" of the client (IPv6 by /64), "path", "identity", "header:NAME" or
	// "cookie:NAME". Requests without one take turns.
	Hash string `yaml:"hash"`
	// Sticky binds clients to endpoints by a cookie.
	Sticky *StickyConfig `yaml:"sticky"`
	// SlowStart is how long the share of an endpoint that is new, or well again, takes to grow to what its weight says, in a
	// line, while others have theirs: 30s to 15m; default 0s, at once.
	SlowStart string `yaml:"slow_start"`
	// DeregistrationDelay is how long requests and WebSockets may last at an endpoint that is taken out, by a reload or by
	// DNS: up to 1h; default 5m, as with an ALB.
	DeregistrationDelay string `yaml:"deregistration_delay"`
	// Health has each endpoint asked whether it is well.
	Health *HealthConfig `yaml:"health"`
	// Passive has endpoints left out by how their requests end. Without it, one that cannot be connected to is left out for 5 s,
	// and for longer if that was of no use.
	Passive *PassiveConfig `yaml:"passive"`
	// MinHealthy is how many endpoints, or which share of them such as "50%", must be well for the others to get no requests;
	// with fewer, all get them, as with an ALB's unhealthy_state_routing. Default 1.
	MinHealthy string `yaml:"min_healthy"`
	// Failover names the upstream that has the requests while fewer than min_healthy endpoints of this one are well. Its own
	// failover is not asked.
	Failover string `yaml:"failover"`
	// Retry bounds second attempts.
	Retry *RetryConfig `yaml:"retry"`
	// Circuit bounds what is under way at a time.
	Circuit *CircuitConfig `yaml:"circuit"`
	// Via sends "Via: 1.1 gatehouse" to the upstream, as RFC 9110 section 7.6.3 asks of a gateway; default true.
	// nginx does not compress answers to requests with a Via unless gzip_proxied says so.
	Via *bool `yaml:"via"`
}

// address is one endpoint as parsed: where to dial and what to call it.
type address struct {
	scheme  string // "http", "https" or "unix"
	network string // "tcp" or "unix"
	dial    string // "host:port" or a path
	host    string // the Host field when the client's is not preserved
	name    string // host without port: SNI and the verified name
	http2   bool
}

// String returns the form that Result.Address has: "host:port", or "unix:/path".
func (a address) String() string {
	if a.scheme == "unix" {
		return "unix:" + a.dial
	}
	return a.dial
}

// Validate reports everything that is wrong with c. It reads the CA file, and opens no connection.
func (c Config) Validate(report func(field, msg string)) {
	if len(c.Endpoints) == 0 {
		report("endpoints", `want at least one, such as "http://10.0.1.10:8080"`)
	}
	first := ""
	seen := make(map[string]int, len(c.Endpoints))
	for i, s := range c.Endpoints {
		field := "endpoints[" + strconv.Itoa(i) + "]"
		a, err := parseSource(s)
		if err != nil {
			report(field, err.Error())
			continue
		}
		if first == "" {
			first = a.scheme
		} else if a.scheme != first {
			report(field, fmt.Sprintf("scheme %q: want the scheme of the first endpoint, %q", a.scheme, first))
		}
		if j, dup := seen[a.String()]; dup {
			report(field, fmt.Sprintf("same address as endpoints[%d]", j))
			continue
		}
		seen[a.String()] = i
	}
	c.validateTimes(report)
	c.validateSpread(report)
	c.TLS.validate(first, report)
	if c.Protocol != "" && c.Protocol != HTTP1 && c.Protocol != HTTP2 {
		report("protocol", fmt.Sprintf("unknown version %q (want %s or %s)", c.Protocol, HTTP1, HTTP2))
	}
	if c.Health != nil {
		c.Health.validate(c.Protocol, func(field, msg string) { report("health."+field, msg) })
	}
	if c.MaxIdle < 0 {
		report("max_idle", fmt.Sprintf("want 0 (the default, %d) or more, got %d", defaultMaxIdle, c.MaxIdle))
	}
}

func (c Config) validateTimes(report func(field, msg string)) {
	for _, t := range []struct{ field, value string }{
		{"connect_timeout", c.ConnectTimeout},
		{"response_timeout", c.ResponseTimeout},
		{"idle_timeout", c.IdleTimeout},
	} {
		if _, err := parseTimeout(t.value, time.Second); err != nil {
			report(t.field, err.Error())
		}
	}
}

// parseTimeout reads a Go duration; "" is the default.
func parseTimeout(s string, def time.Duration) (time.Duration, error) {
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`want a duration such as "10s" or "500ms", got %q`, s)
	}
	if d <= 0 {
		return 0, fmt.Errorf("want more than zero, got %s", s)
	}
	return d, nil
}

// parseEndpoint reads one entry of Config.Endpoints.
func parseEndpoint(s string) (address, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return address{}, fmt.Errorf(`want "http://host:port", "https://host:port" or "unix:///path", got %q`, s)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return address{}, errors.New("want no user, query or fragment in an endpoint")
	}
	switch u.Scheme {
	case "http", "https":
		return parseTCP(u)
	case "unix":
		if u.Host != "" || !path.IsAbs(u.Path) || u.Path == "/" {
			return address{}, fmt.Errorf(`want "unix:///path/to.sock" (three slashes), got %q`, s)
		}
		return address{scheme: "unix", network: "unix", dial: u.Path, host: "localhost"}, nil
	}
	return address{}, fmt.Errorf("unsupported scheme %q (want http, https or unix)", u.Scheme)
}

func parseTCP(u *url.URL) (address, error) {
	if u.Path != "" && u.Path != "/" {
		return address{}, fmt.Errorf("want no path in an endpoint, got %q (strip_prefix on the route changes paths)", u.Path)
	}
	name, port := u.Hostname(), u.Port()
	if name == "" || !validHost(u.Host) || strings.HasSuffix(u.Host, ":") {
		return address{}, fmt.Errorf("want a host and an optional port, got %q", u.Host)
	}
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return address{}, fmt.Errorf("want a port from 1 to 65535, got %q", port)
	}
	return address{scheme: u.Scheme, network: "tcp", dial: net.JoinHostPort(name, port), host: u.Host, name: name}, nil
}
