package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/internal/awslog"
	"gatehouse/internal/tuning"
	"gatehouse/proxy"
	"gatehouse/proxy/cache"
	"gatehouse/proxy/clientcert"
	"gatehouse/proxy/upstream"
	"gatehouse/proxy/wire"
	"gatehouse/waf/acl"
)

// An observer turns what happens into JSON lines and metrics. It is the only thing that writes either, so
// this file is the place to check that nothing leaves that opens a door: no query, cookie, token, code or
// header value of a request is in a record.
type observer struct {
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  metrics
	// quiet leaves out the record of requests that went well.
	quiet atomic.Bool
	// samples are what operators ask about: requests that were refused or that a rule matched.
	samples *tuning.Samples
	// wafLog has the records in AWS's form; it writes none unless the file says so.
	wafLog awslog.Log
	stdout io.Writer // of the whole process, one record at a time
	// misproxied is when it was last said that a connection began wrongly, in seconds of Unix time.
	misproxied atomic.Int64
}

// metrics are labelled by what the operator wrote (route, limit, upstream) and by small fixed sets, never
// by what a client sent.
type metrics struct {
	endpoints   *upstreamHealth
	requests    *prometheus.CounterVec
	denied      *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	received    *prometheus.CounterVec
	sent        *prometheus.CounterVec
	rules       *prometheus.CounterVec
	waf         *prometheus.CounterVec
	wafAnswers  *prometheus.CounterVec
	wafRules    *prometheus.CounterVec
	wafLimited  *prometheus.CounterVec
	limits      *prometheus.CounterVec
	upstream    *prometheus.HistogramVec
	logins      *prometheus.CounterVec
	connections *prometheus.CounterVec
	certs       *prometheus.CounterVec
	reloadOK    prometheus.Gauge
	reloadTime  prometheus.Gauge
	provider    *prometheus.GaugeVec
	fleet       *prometheus.GaugeVec
	fleetEvents *prometheus.CounterVec
	cache       *prometheus.CounterVec
	kept        *cacheContent
}

// latencyBuckets reach from a local answer to a slow upstream, in seconds.
var latencyBuckets = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newObserver(w io.Writer) *observer {
	stdout := &lineWriter{w: w}
	o := &observer{
		log:      slog.New(slog.NewJSONHandler(stdout, nil)),
		stdout:   stdout,
		registry: prometheus.NewRegistry(),
		samples:  tuning.NewSamples(tuning.MaxSamples, tuning.MaxSamplesBytes),
	}
	o.metrics = newMetrics(o.registry)
	return o
}

// A lineWriter keeps records apart that are written at once.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func newMetrics(registry *prometheus.Registry) metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gatehouse", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "gatehouse", Name: name, Help: help})
	}
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "gatehouse", Name: name, Help: help, Buckets: latencyBuckets[:],
		}, labels)
	}
	m := metrics{
		requests:    counter("requests_total", "Answers to clients.", "route", "class"),
		denied:      counter("denied_total", "Requests that Gatehouse refused.", "route", "status"),
		duration:    seconds("request_duration_seconds", "From the request's arrival to the end of its answer.", "route"),
		received:    counter("received_bytes_total", "Bytes of request bodies.", "route"),
		sent:        counter("sent_bytes_total", "Bytes of response bodies.", "route"),
		rules:       counter("rule_matches_total", "Matches of the rules of the file.", "rule", "action"),
		waf:         counter("waf_requests_total", "Requests that the WAF inspected.", "route", "verdict"),
		wafAnswers:  counter("waf_responses_total", "Answers that the WAF inspected.", "route", "verdict"),
		wafRules:    counter("waf_rule_matches_total", "Matches of WAF rules.", "rule"),
		wafLimited:  counter("waf_limited_total", "Requests over a limit of the WAF.", "route", "limit"),
		limits:      counter("limit_decisions_total", "Decisions of limits.", "limit", "verdict"),
		upstream:    seconds("upstream_first_byte_seconds", "From forwarding a request to the first byte of its answer.", "upstream"),
		logins:      counter("login_events_total", "Sign-ins, refreshes, sign-outs and their failures.", "event"),
		connections: counter("connection_errors_total", "Connections that ended before a request was read.", "kind"),
		certs:       counter("certificate_events_total", "What happened to certificates.", "event"),
		reloadOK:    gauge("config_last_reload_success", "1 if the newest load of the configuration took effect."),
		reloadTime:  gauge("config_last_reload_timestamp_seconds", "When the newest load of the configuration was tried."),
		provider: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "gatehouse", Name: "provider_up", Help: "1 once the OpenID provider's metadata has been read.",
		}, []string{"issuer"}),
		fleet: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "gatehouse", Name: "fleet_up", Help: "1 while the store of the fleet answers, 0 while this instance works alone.",
		}, nil),
		endpoints: &upstreamHealth{
			prometheus.NewDesc("gatehouse_upstream_endpoints", "Endpoints, by what checks and requests say of them.", []string{"upstream", "health"}, nil),
			prometheus.NewDesc("gatehouse_upstream_events_total", "What became of requests before an endpoint had them.", []string{"upstream", "event"}, nil),
			func() []*upstream.Pool { return nil },
		},
		fleetEvents: counter("fleet_events_total", "What passed between instances.", "event"),
		cache:       counter("cache_requests_total", "What the cache did about requests.", "route", "verdict"),
		kept: &cacheContent{
			prometheus.NewDesc("gatehouse_cache_bytes", "What the cache keeps, and what it may.", []string{"of"}, nil),
			prometheus.NewDesc("gatehouse_cache_objects", "Answers that the cache keeps.", nil, nil),
			prometheus.NewDesc("gatehouse_cache_evictions_total", "Answers that gave way to others.", nil, nil),
			func() []*cache.Cache { return nil },
		},
	}
	registry.MustRegister(
		m.requests, m.denied, m.duration, m.received, m.sent, m.rules, m.waf, m.wafAnswers, m.wafRules, m.wafLimited, m.limits, m.upstream, m.logins,
		m.connections, m.certs, m.reloadOK, m.reloadTime, m.provider, m.endpoints, m.fleet, m.fleetEvents, m.cache, m.kept,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// handler serves the metrics.
func (o *observer) handler() http.Handler {
	return promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{})
}

// request writes the record of one request and counts it.
func (o *observer) request(e *proxy.Event) {
	o.count(e)
	ruled := hasRules(&e.Rules)
	if e.Denied != nil || len(e.WAF.Matches) > 0 || ruled {
		o.samples.Add(sampleOf(e))
	}
	if (len(e.WAF.Matches) > 0 || ruled) && o.wafLog.On() {
		if r := awsRequest(e); len(r.Matches) > 0 || ruled {
			o.failed("WAF log", o.wafLog.Write(r))
		}
	}
	if o.quiet.Load() && e.Denied == nil && len(e.WAF.Rules) == 0 && !ruled && e.Status < http.StatusInternalServerError {
		return
	}
	o.log.LogAttrs(context.Background(), slog.LevelInfo, "request", eventAttrs(e)...)
}

func (o *observer) count(e *proxy.Event) {
	m, route := &o.metrics, routeLabel(e)
	m.requests.WithLabelValues(route, statusClass(e.Status)).Inc()
	if !e.Upgraded {
		m.duration.WithLabelValues(route).Observe(e.Duration.Seconds())
	}
	m.received.WithLabelValues(route).Add(float64(e.BytesIn))
	m.sent.WithLabelValues(route).Add(float64(e.BytesOut))
	if e.Denied != nil {
		m.denied.WithLabelValues(route, strconv.Itoa(deniedStatus(e))).Inc()
	}
	if e.WAF.Verdict != "" {
		m.waf.WithLabelValues(route, e.WAF.Verdict).Inc()
	}
	if e.WAF.Limit != "" {
		m.wafLimited.WithLabelValues(route, e.WAF.Limit).Inc()
	}
	if e.WAF.Response.Verdict != "" {
		m.wafAnswers.WithLabelValues(route, e.WAF.Response.Verdict).Inc()
	}
	for _, id := range e.WAF.Rules {
		m.wafRules.WithLabelValues(strconv.Itoa(id)).Inc()
	}
	if e.Cache.Verdict != "" {
		m.cache.WithLabelValues(route, e.Cache.Verdict).Inc()
	}
	if e.Upstream.TTFB > 0 {
		m.upstream.WithLabelValues(e.Upstream.Name).Observe(e.Upstream.TTFB.Seconds())
	}
}

// routeLabel keeps requests that matched no route in one series.
func routeLabel(e *proxy.Event) string {
	if e.Route == "" {
		return "_none"
	}
	return e.Route
}

func statusClass(status int) string {
	switch {
	case status >= 100 && status < 600:
		return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
	default:
		return "none"
	}
}

// deniedStatus is the status that a refusal has, which gRPC says in a code of its own and answers with 200.
func deniedStatus(e *proxy.Event) int {
	if e.GRPC != "" {
		return proxy.StatusOf(e.Denied)
	}
	return e.Status
}

// eventAttrs is the record of one request. Fields that say nothing are left out.
func eventAttrs(e *proxy.Event) []slog.Attr {
	attrs := make([]slog.Attr, 0, 32)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	attrs = append(attrs, slog.String("id", e.ID))
	text("trace", e.TraceID)
	text("route", e.Route)
	text("generation", e.Generation)
	attrs = append(attrs, slog.String("client", address(e.ClientIP)))
	if e.Peer != e.ClientIP {
		text("peer", address(e.Peer))
	}
	attrs = append(attrs, slog.String("proto", e.Proto))
	text("tls", e.TLSVersion)
	attrs = append(attrs, slog.String("method", e.Method))
	text("host", e.Host)
	text("path", e.Path)
	text("agent", e.UserAgent)
	attrs = append(
		attrs, slog.Int("status", e.Status), slog.Int64("in", e.BytesIn), slog.Int64("out", e.BytesOut),
		slog.Float64("ms", milliseconds(e.Duration)),
	)
	text("grpc_status", e.GRPC)
	text("subject", e.Subject)
	text("session", e.Session)
	if c := e.Certificate; c != nil {
		attrs = append(attrs, slog.Group("certificate", "subject", c.Subject, "issuer", c.Issuer, "serial", c.Serial))
	}
	if v := e.Verdicts(); len(v) > 0 {
		attrs = append(attrs, verdictAttr(v))
	}
	if hasRules(&e.Rules) {
		attrs = append(attrs, rulesAttr(&e.Rules))
	}
	if e.WAF.Verdict != "" {
		attrs = append(attrs, wafAttr(&e.WAF))
	}
	if e.Limit.Name != "" {
		attrs = append(attrs, slog.Group("limit", "name", e.Limit.Name, "verdict", e.Limit.Verdict))
	}
	if e.Cache.Verdict != "" {
		attrs = append(attrs, cacheAttr(&e.Cache))
	}
	if e.Upstream.Name != "" {
		attrs = append(attrs, upstreamAttr(&e.Upstream))
	}
	if e.Upgraded {
		attrs = append(attrs, slog.Bool("upgraded", true))
	}
	if e.Aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if e.Denied != nil {
		attrs = append(attrs, slog.String("denied", e.Denied.Error()))
		if crash, ok := errors.AsType[*proxy.PanicError](e.Denied); ok {
			text("stack", string(crash.Stack))
		}
	}
	return attrs
}

// verdictAttr names each guard once: a route may have two limits, and a JSON object with a name twice is read
// in two ways.
func verdictAttr(verdicts []proxy.Verdict) slog.Attr {
	group := make([]slog.Attr, 0, len(verdicts))
	for _, v := range verdicts {
		i := slices.IndexFunc(group, func(a slog.Attr) bool { return a.Key == v.Guard })
		if i < 0 {
			group = append(group, slog.String(v.Guard, v.Verdict))
			continue
		}
		group[i].Value = slog.StringValue(group[i].Value.String() + ", " + v.Verdict)
	}
	return slog.Attr{Key: "guards", Value: slog.GroupValue(group...)}
}

// hasRules reports whether a rule of the file matched. Labels alone say nothing: those of countries and tokens are on every request.
func hasRules(r *proxy.RulesRecord) bool {
	return len(r.Matched) > 0 || r.Rule != "" && (r.Rule != acl.DefaultRule || r.Action != acl.ActionAllow)
}

func rulesAttr(r *proxy.RulesRecord) slog.Attr {
	group := []slog.Attr{slog.String("mode", r.Mode)}
	if r.Rule != "" {
		group = append(group, slog.String("rule", r.Rule), slog.String("action", r.Action))
	}
	if r.Status != 0 {
		group = append(group, slog.Int("status", r.Status))
	}
	if len(r.Matched) > 0 {
		matched := make([]map[string]string, len(r.Matched))
		for i, m := range r.Matched {
			matched[i] = map[string]string{"rule": m.Rule, "action": m.Action}
		}
		group = append(group, slog.Any("matched", matched))
	}
	if len(r.Labels) > 0 {
		group = append(group, slog.Any("labels", r.Labels))
	}
	if r.Token != "" {
		group = append(group, slog.String("token", r.Token))
	}
	if len(r.Inserted) > 0 {
		inserted := make([]string, len(r.Inserted))
		for i, h := range r.Inserted {
			inserted[i] = h.Name
		}
		group = append(group, slog.Any("inserted", inserted))
	}
	return slog.Attr{Key: "rules", Value: slog.GroupValue(group...)}
}

func wafAttr(w *proxy.WAFRecord) slog.Attr {
	group := []slog.Attr{
		slog.String("mode", w.Mode), slog.String("verdict", w.Verdict), slog.Int("score", w.Score),
		slog.Int("threshold", w.Threshold), slog.Int("paranoia", w.Paranoia),
	}
	if w.Groups != nil {
		group = append(group, slog.Any("groups", w.Groups))
	}
	if w.RuleActions != nil {
		group = append(group, slog.Any("rule_actions", w.RuleActions))
	}
	if w.Counted > 0 {
		group = append(group, slog.Int("counted", w.Counted))
	}
	if w.Exclusions > 0 {
		group = append(group, slog.Int("exclusions", w.Exclusions))
	}
	if w.ExclusionsFor != nil {
		group = append(group, slog.Any("exclusions_for", w.ExclusionsFor))
	}
	if w.Cause != 0 {
		group = append(group, slog.Int("cause", w.Cause))
	}
	if w.Limit != "" {
		group = append(group, slog.String("limit", w.Limit))
	}
	if a := w.Response; a.Verdict != "" {
		group = append(group, slog.Group("response", "verdict", a.Verdict, "score", a.Score))
	}
	if len(w.Rules) > 0 {
		group = append(group, slog.Any("rules", w.Rules))
		matches := make([]map[string]any, len(w.Matches))
		for i, m := range w.Matches {
			matches[i] = map[string]any{"rule": m.RuleID, "message": m.Message, "variable": m.Variable, "key": m.Key, "score": m.Severity}
			if m.Counted {
				matches[i]["counted"] = true
			}
		}
		group = append(group, slog.Any("matches", matches))
	}
	return slog.Attr{Key: "waf", Value: slog.GroupValue(group...)}
}

func upstreamAttr(u *proxy.UpstreamRecord) slog.Attr {
	group := []slog.Attr{
		slog.String("name", u.Name), slog.String("address", u.Address), slog.String("protocol", u.Protocol), slog.Int("attempts", u.Attempts),
		slog.Bool("reused", u.Reused), slog.Float64("first_byte_ms", milliseconds(u.TTFB)),
	}
	if !u.Reused {
		group = append(group, slog.Float64("connect_ms", milliseconds(u.Connect)))
	}
	return slog.Attr{Key: "upstream", Value: slog.GroupValue(group...)}
}

func cacheAttr(c *proxy.CacheRecord) slog.Attr {
	group := []slog.Attr{slog.String("verdict", c.Verdict)}
	if c.Why != "" {
		group = append(group, slog.String("why", c.Why))
	}
	if c.Age > 0 {
		group = append(group, slog.Int64("age_s", int64(c.Age/time.Second)))
	}
	return slog.Attr{Key: "cache", Value: slog.GroupValue(group...)}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// ready records where the process serves.
func (o *observer) ready(generation string, at addresses) {
	attrs := []any{"generation", generation}
	for _, l := range []struct {
		name string
		addr net.Addr
	}{{"https", at.HTTPS}, {"http", at.HTTP}, {"admin", at.Admin}, {"keys", at.Keys}} {
		if l.addr != nil {
			attrs = append(attrs, l.name, l.addr.String())
		}
	}
	o.log.Info("ready", attrs...)
	o.reloaded(nil)
}

// reloaded records whether the newest load of the configuration took effect.
func (o *observer) reloaded(err error) {
	o.metrics.reloadTime.SetToCurrentTime()
	if err == nil {
		o.metrics.reloadOK.Set(1)
		return
	}
	o.metrics.reloadOK.Set(0)
	o.log.Error("reload refused, the running configuration stays", "problems", err.Error())
}

// swapped records that a new generation serves.
func (o *observer) swapped(generation string) {
	o.reloaded(nil)
	o.log.Info("reloaded", "generation", generation)
}

// provider records an attempt to reach the OpenID provider.
func (o *observer) provider(r remote, err error, retry time.Duration) {
	issuer := r.Issuer()
	kind, instead := remoteWords(r)
	if err == nil {
		o.metrics.provider.WithLabelValues(issuer).Set(1)
		o.log.Info(kind+" reached", "issuer", issuer)
		return
	}
	o.metrics.provider.WithLabelValues(issuer).Set(0)
	o.log.Warn(kind+" not reached, "+instead+" until it is", "issuer", issuer, "error", err.Error(), "retry", retry.String())
}

// health records that an endpoint became well or unwell.
func (o *observer) health(h upstream.Health) {
	if h.Well {
		o.log.Info("upstream endpoint is well", "upstream", h.Upstream, "address", h.Address)
		return
	}
	o.log.Warn("upstream endpoint is unwell", "upstream", h.Upstream, "address", h.Address, "reason", h.Reason)
}

// upstreamHealth shows how many endpoints of each upstream are well, whenever somebody asks.
type upstreamHealth struct {
	desc   *prometheus.Desc
	events *prometheus.Desc
	pools  func() []*upstream.Pool
}

func (u *upstreamHealth) Describe(to chan<- *prometheus.Desc) {
	to <- u.desc
	to <- u.events
}

func (u *upstreamHealth) Collect(to chan<- prometheus.Metric) {
	for _, p := range u.pools() {
		unwell := len(p.Ailing())
		to <- prometheus.MustNewConstMetric(u.desc, prometheus.GaugeValue, float64(p.Endpoints()-unwell), p.Name(), "well")
		to <- prometheus.MustNewConstMetric(u.desc, prometheus.GaugeValue, float64(unwell), p.Name(), "unwell")
		stats := p.Stats()
		for _, e := range []struct {
			event string
			n     int64
		}{
			{"retry", stats.Retries},
			{"retry_refused", stats.RetriesRefused},
			{"overloaded", stats.Overloaded},
			{"ejected", stats.Ejections},
			{"failover", stats.Failovers},
			{"rebound", stats.Rebound},
		} {
			to <- prometheus.MustNewConstMetric(u.events, prometheus.CounterValue, float64(e.n), p.Name(), e.event)
		}
	}
}

// upstreams has the metrics show the health of the endpoints that pools returns. It is for before they are served.
func (o *observer) upstreams(pools func() []*upstream.Pool) { o.metrics.endpoints.pools = pools }

// providers leaves a series for each provider that the configuration has, by its issuer: one that is gone must
// not be reported as down for ever.
func (o *observer) providers(ready map[string]bool) {
	o.metrics.provider.Reset()
	for issuer, ok := range ready {
		up := 0.0
		if ok {
			up = 1
		}
		o.metrics.provider.WithLabelValues(issuer).Set(up)
	}
}

// cache records what the cache did about a request.
func (o *observer) cache(r *http.Request, res cache.Result) {
	proxy.EventFrom(r.Context()).Cache = proxy.CacheRecord{Verdict: res.Verdict, Why: res.Why, Age: res.Age}
}

// limit counts a decision of a limit. A request may meet several, of which its record has the last.
func (o *observer) limit(name, verdict string) { o.metrics.limits.WithLabelValues(name, verdict).Inc() }

// rule counts a match of a rule of the file.
func (o *observer) rule(name, action string) { o.metrics.rules.WithLabelValues(name, action).Inc() }

// login records what the login flow did that no request's own record says.
func (o *observer) login(event string, err error) {
	o.metrics.logins.WithLabelValues(event).Inc()
	if err != nil {
		o.log.Warn("login", "event", event, "error", err.Error())
	}
}

// revocationLost records that a sign-out is not kept beyond this process.
func (o *observer) revocationLost(err error) {
	o.metrics.logins.WithLabelValues("revocation lost").Inc()
	o.log.Error("revocation not kept", "error", err.Error())
}

// certificateFailed records a certificate that could not be read, obtained or renewed.
func (o *observer) certificateFailed(err error) {
	o.metrics.certs.WithLabelValues("failed").Inc()
	o.log.Warn("certificate", "error", err.Error())
}

// certificateObtained records a certificate that ACME gave.
func (o *observer) certificateObtained(host string, renewed bool) {
	o.metrics.certs.WithLabelValues("obtained").Inc()
	o.log.Info("certificate obtained", "host", host, "renewed", renewed)
}

// connection records a connection that ended before it made a request. Scanners do so all day: it is
// counted, not logged, unless it is likely to be a load balancer's, whose clients would all be turned away without a word: those are
// told of once a minute.
func (o *observer) connection(peer net.Addr, err error) {
	kind := "error"
	switch {
	case clientcert.ReasonOf(err) != "": // it is not scanners who have a certificate
		kind = "client_certificate"
		o.log.Warn("client certificate refused", "client", host(peer), "reason", clientcert.ReasonOf(err), "error", err.Error())
	case errors.As(err, new(*wire.HandshakeError)):
		kind = "handshake"
	case errors.Is(err, wire.ErrTooManyConnections):
		kind = "limit"
	case errors.As(err, new(*wire.Error)):
		kind = "violation"
	case errors.As(err, new(*wire.ProxyProtocolError)):
		kind = "proxy_protocol"
		now := time.Now().Unix()
		if last := o.misproxied.Load(); now-last >= 60 && o.misproxied.CompareAndSwap(last, now) {
			o.log.Warn("connection closed", "peer", host(peer), "error", err.Error())
		}
	}
	o.metrics.connections.WithLabelValues(kind).Inc()
}

// host is the address of a peer, without its port.
func host(peer net.Addr) string {
	if ap, ok := peer.(*net.TCPAddr); ok {
		return address(ap.AddrPort().Addr().Unmap())
	}
	return ""
}

func (o *observer) info(msg string, attrs ...any) { o.log.Info(msg, attrs...) }

func (o *observer) warn(msg string) { o.log.Warn(msg) }

// failed records that something of the process itself went wrong.
func (o *observer) failed(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		o.log.Error(what, "error", err.Error())
	}
}
