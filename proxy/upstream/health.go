package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Defaults of HealthConfig.
const (
	defaultHealthInterval = 10 * time.Second
	defaultHealthTimeout  = 5 * time.Second // ALB's
	minHealthInterval     = time.Second
	defaultHealthCount    = 2
	maxHealthCount        = 10
	// maxHealthBody bounds what is read of an answer before its connection is closed.
	maxHealthBody = 64 << 10
)

// healthAgent names the checks in an application's log.
const healthAgent = "Gatehouse-HealthChecker/1"

// HealthConfig has each endpoint asked whether it is well. One that is not is tried after all others; if none is well, all
// are tried, as with an ALB: checks that are wrong about everything must not take a site down.
type HealthConfig struct {
	// Path is what is asked for, with GET, such as "/healthz". Required, unless there is GRPC.
	Path string `yaml:"path"`
	// GRPC asks by grpc.health.v1 instead, for the service with this name; "" is the server as a whole. It takes protocol: http2.
	GRPC *string `yaml:"grpc"`
	// Interval is the time between two checks of an endpoint; default 10s, at least 1s.
	Interval string `yaml:"interval"`
	// Timeout bounds one check; default 5s.
	Timeout string `yaml:"timeout"`
	// Status are the answers of one that is well: numbers and ranges such as "200,204" or "200-399", which is the default.
	Status string `yaml:"status"`
	// Healthy is how many checks in a row must go well until an endpoint counts as well again; default 2. One is enough for an
	// endpoint that is new.
	Healthy int `yaml:"healthy"`
	// Unhealthy is how many checks in a row must fail until an endpoint counts as unwell; default 2.
	Unhealthy int `yaml:"unhealthy"`
	// Host is the Host field of the checks; default the endpoint's.
	Host string `yaml:"host"`
}

func (c HealthConfig) validate(protocol string, report func(field, msg string)) {
	switch {
	case c.GRPC == nil:
	case protocol != HTTP2:
		report("grpc", "want protocol: http2 on the upstream")
	case c.Path != "" || c.Status != "":
		report("grpc", "path and status are not for checks by gRPC: remove them")
	case len(*c.GRPC) > maxService || !utf8.ValidString(*c.GRPC):
		report("grpc", fmt.Sprintf("want the name of a service of at most %d bytes", maxService))
	}
	if c.GRPC == nil && (!strings.HasPrefix(c.Path, "/") || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' })) {
		report("path", fmt.Sprintf(`want the path of a check such as "/healthz", encoded as it is sent, got %q`, c.Path))
	}
	if d, err := parseTimeout(c.Interval, defaultHealthInterval); err != nil {
		report("interval", err.Error())
	} else if d < minHealthInterval {
		report("interval", fmt.Sprintf("want at least %s, got %s", minHealthInterval, d))
	}
	if _, err := parseTimeout(c.Timeout, defaultHealthTimeout); err != nil {
		report("timeout", err.Error())
	}
	if _, err := parseStatuses(c.Status); err != nil {
		report("status", err.Error())
	}
	for _, n := range []struct {
		field string
		count int
	}{{"healthy", c.Healthy}, {"unhealthy", c.Unhealthy}} {
		if n.count < 0 || n.count > maxHealthCount {
			report(n.field, fmt.Sprintf("want 1 to %d, got %d", maxHealthCount, n.count))
		}
	}
	if c.Host != "" && !validHost(c.Host) {
		report("host", fmt.Sprintf("want a host name, got %q", c.Host))
	}
}

// statuses are ranges of statuses, both ends included.
type statuses [][2]int

func parseStatuses(s string) (statuses, error) {
	if s == "" {
		s = "200-399"
	}
	var out statuses
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || low < 200 || high > 599 || low > high {
			return nil, fmt.Errorf(`want statuses from 200 to 599 such as "200,204" or "200-399", got %q`, s)
		}
		out = append(out, [2]int{low, high})
	}
	return out, nil
}

func (s statuses) has(status int) bool {
	for _, r := range s {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// A Health is what became known of an endpoint.
type Health struct {
	Upstream, Address string
	Well              bool
	Reason            string // why it is not: a status, or an error without anything that the endpoint sent
}

// A checker asks the endpoints of a pool.
type checker struct {
	path, host         string
	grpc               *string // the service that is asked for; nil for HTTP
	interval, timeout  time.Duration
	status             statuses
	healthy, unhealthy int
}

func newChecker(c HealthConfig) (*checker, error) {
	k := &checker{path: c.Path, grpc: c.GRPC, host: c.Host, healthy: c.Healthy, unhealthy: c.Unhealthy}
	var err [3]error
	k.interval, err[0] = parseTimeout(c.Interval, defaultHealthInterval)
	k.timeout, err[1] = parseTimeout(c.Timeout, defaultHealthTimeout)
	k.status, err[2] = parseStatuses(c.Status)
	if k.healthy == 0 {
		k.healthy = defaultHealthCount
	}
	if k.unhealthy == 0 {
		k.unhealthy = defaultHealthCount
	}
	return k, errors.Join(err[:]...)
}

// Start begins to ask the endpoints whether they are well, until Close. It tells changed of each that becomes well or
// unwell, by checks or by its requests, from several goroutines. It does nothing when it is called again.
func (p *Pool) Start(changed func(Health)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running || p.closed.Load() {
		return
	}
	p.running, p.changed = true, changed
	for _, m := range p.members {
		if p.checks == nil {
			m.unwell.Store(false) // what checks before a reload said
		}
		p.superviseLocked(m.endpoint)
	}
	p.planLocked(p.now())
	if p.names != nil {
		p.names.startLocked(p)
	}
}

// superviseLocked has an endpoint checked for as long as it is in the pool.
func (p *Pool) superviseLocked(ep *endpoint) {
	if p.checks == nil || !p.running {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	p.watchers[ep] = stop
	changed := p.changed
	p.checking.Go(func() { p.watch(ctx, ep, changed) })
}

// halt ends the checks and waits for that.
func (p *Pool) halt() {
	p.mu.Lock()
	p.running = false
	for _, stop := range p.watchers {
		stop()
	}
	clear(p.watchers)
	if p.names != nil && p.names.stop != nil {
		p.names.stop()
	}
	p.mu.Unlock()
	p.checking.Wait()
}

// Endpoints returns how many endpoints the pool has.
func (p *Pool) Endpoints() int { return len(p.plan.Load().all) }

// Ailing returns the addresses of the endpoints that are not well, as checks or requests say.
func (p *Pool) Ailing() []string {
	var out []string
	for _, m := range p.plan.Load().all {
		if m.unwell.Load() || m.avoidUntil.Load() != 0 {
			out = append(out, m.name)
		}
	}
	return out
}

// watch checks one endpoint at its interval, a tenth more or less, so that many instances do not ask at the same moment.
func (p *Pool) watch(ctx context.Context, ep *endpoint, changed func(Health)) {
	client := p.checks.client(ep)
	defer client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var good, bad int
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := p.checks.check(ctx, client, ep)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		was := ep.unwell.Load()
		switch {
		case err == nil && was && (!ep.known.Load() || good >= p.checks.healthy):
			ep.newSince.Store(p.now().UnixNano())
			ep.unwell.Store(false)
		case err != nil && !was && (!ep.known.Load() || bad >= p.checks.unhealthy):
			ep.unwell.Store(true)
		}
		if err == nil {
			ep.known.Store(true)
		}
		is := ep.unwell.Load()
		if is != was {
			p.replan()
		}
		if is != was && changed != nil {
			h := Health{Upstream: p.name, Address: ep.name, Well: !is}
			if err != nil {
				h.Reason = err.Error()
			}
			changed(h)
		}
		timer.Reset(p.checks.interval*9/10 + rand.N(p.checks.interval/5+1))
	}
}

// client makes connections of its own: those of requests tell of themselves. net/http writes to the TLS configuration.
func (k *checker) client(ep *endpoint) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(ep.h2 == nil)
	protocols.SetHTTP2(ep.h2 != nil)
	protocols.SetUnencryptedHTTP2(ep.h2 != nil)
	return &http.Client{
		Timeout: k.timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: ep.tls.Clone(), MaxResponseHeaderBytes: maxHealthBody, Protocols: protocols,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, ep.addr.network, ep.addr.dial)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (k *checker) check(ctx context.Context, client *http.Client, ep *endpoint) error {
	if k.grpc != nil {
		return k.checkGRPC(ctx, client, ep)
	}
	resp, err := k.ask(ctx, client, ep, http.MethodGet, k.path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxHealthBody) // a body that breaks off is none of a check's business
	if !k.status.has(resp.StatusCode) {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// ask sends the request of a check.
func (k *checker) ask(ctx context.Context, client *http.Client, ep *endpoint, method, path string, body io.Reader) (*http.Response, error) {
	scheme := ep.addr.scheme
	if scheme == "unix" {
		scheme = "http"
	}
	r, err := http.NewRequestWithContext(ctx, method, scheme+"://"+ep.addr.host+path, body)
	if err != nil {
		return nil, errors.New("the check cannot be sent")
	}
	if k.host != "" {
		r.Host = k.host
	}
	r.Header.Set("User-Agent", healthAgent)
	if k.grpc != nil {
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Te", "trailers")
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, plainCause(err)
	}
	return resp, nil
}

// plainCause is an error of a check in words that do not depend on what was sent.
func plainCause(err error) error {
	var op *net.OpError
	switch {
	case isTimeout(err):
		return errors.New("timeout")
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	var invalid *tls.CertificateVerificationError
	if errors.As(err, &invalid) {
		return invalid
	}
	return errors.New("no HTTP answer")
}
