package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/authn"
	"gatehouse/proxy"
)

// fullEvent is an Event in which everything says something.
func fullEvent() *proxy.Event {
	e := &proxy.Event{
		ID: "0af7651916cd43dd8448eb211c80319c", TraceID: "1af7651916cd43dd8448eb211c80319c", Start: time.Unix(1, 0),
		Route: "app", Generation: "g1", Proto: "HTTP/2.0", TLSVersion: "TLS 1.3", Scheme: "https", Method: "GET",
		Host: "app.test", Path: "/a%20b", UserAgent: "line one\nline \"two\" \xff",
		Peer: netip.MustParseAddr("10.0.0.1"), ClientIP: netip.MustParseAddr("192.0.2.1"),
		Status: 502, BytesIn: 3, BytesOut: 5, Duration: 1234567 * time.Nanosecond, Subject: "alice", Certificate: &proxy.CertificateRecord{Subject: "CN=c", Issuer: "CN=ca", Serial: "01"}, Session: "s1",
		WAF: proxy.WAFRecord{
			Mode: "block", Verdict: "block", Score: 10, Cause: 949110, Rules: []int{942100}, Threshold: 5, Paranoia: 1,
			Limit: "work", Response: proxy.WAFResponse{Verdict: "pass", Score: 3},
			Groups: []string{"core", "sqli:count"}, RuleActions: []string{"942100:count"}, Counted: 5, Exclusions: 2, ExclusionsFor: []string{"editors"}, Matches: []proxy.WAFMatch{
				{RuleID: 942100, Message: "SQL", Variable: "ARGS_GET", Key: "id", Severity: 5},
				{RuleID: 942100, Message: "SQL", Variable: "ARGS_GET", Key: "q", Severity: 5, Counted: true},
			},
		},
		Rules: proxy.RulesRecord{
			Mode: "block", Rule: "probes", Action: "block", Status: 429, Matched: []proxy.RuleMatch{{Rule: "mark", Action: "count"}},
			Labels: []string{"gatehouse:rule:probe"}, Inserted: []proxy.RuleHeader{{Name: "X-Amzn-Waf-Mark", Value: "1"}}, Token: "accepted",
		},
		Limit: proxy.LimitRecord{Name: "api", Verdict: "pass"},
		Cache: proxy.CacheRecord{Verdict: "miss", Why: "no-store", Age: time.Minute},
		Upstream: proxy.UpstreamRecord{
			Name: "u", Address: "http://10.0.0.2:80", Connect: time.Millisecond, TTFB: 2 * time.Millisecond, Attempts: 2,
		},
		GRPC: "13", Denied: &proxy.PanicError{Stack: []byte("main.go:1")}, Upgraded: true, Aborted: true,
	}
	e.Note("limit", "pass")
	e.Note("waf", "block")
	e.Note("limit", "count")
	return e
}

// flatten lists the fields of a JSON value, nested ones behind a dot and those in lists behind "[].".
func flatten(prefix string, v any, into map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			flatten(strings.TrimPrefix(prefix+"."+name, "."), member, into)
		}
	case []any:
		for _, member := range v {
			if _, object := member.(map[string]any); !object {
				into[prefix] = v
				return
			}
			flatten(prefix+"[]", member, into)
		}
	default:
		into[prefix] = v
	}
}

// documented returns the rows of the page's tables whose first cell is a name in backticks, without those
// backticks, by that name.
func documented(t *testing.T, section string) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "## "+section+"\n")
	if !ok {
		t.Fatalf("docs/events.md has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	rows := map[string][]string{}
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, "`", ""), "| \n"), " | ")
		rows[cells[0]] = cells[1:]
	}
	return rows
}

func TestARecordIsOneLineWithTheDocumentedFields(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	newObserver(&out).request(fullEvent())
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 || !bytes.HasSuffix(out.Bytes(), []byte("}\n")) {
		t.Fatalf("got %d lines, want 1:\n%s", n, out.String())
	}
	var record map[string]any
	if err := json.Unmarshal(out.Bytes(), &record); err != nil {
		t.Fatal(err)
	}
	if record["msg"] != "request" || record["level"] != "INFO" || record["time"] == nil {
		t.Errorf("got %v, want a time, INFO and request", record)
	}
	if diff := cmp.Diff(record["guards"], any(map[string]any{"limit": "pass, count", "waf": "block"})); diff != "" {
		t.Errorf("guards (-got +want)\n%s", diff)
	}
	for _, name := range []string{"time", "level", "msg"} {
		delete(record, name)
	}
	record["guards"] = "see above"
	fields := map[string]any{}
	flatten("", record, fields)
	got, want := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(documented(t, "Request record")))
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("fields (-written +documented)\n%s", diff)
	}
	for name, want := range map[string]any{
		"ms": 1.234, "upstream.first_byte_ms": 2.0, "upstream.connect_ms": 1.0, "in": 3.0, "out": 5.0, "status": 502.0,
		"client": "192.0.2.1", "peer": "10.0.0.1", "path": "/a%20b", "upgraded": true,
	} {
		if fields[name] != want {
			t.Errorf("%s: got %v, want %v", name, fields[name], want)
		}
	}
}

func TestAnEmptyRecordSaysOnlyWhatItKnows(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	newObserver(&out).request(&proxy.Event{ID: "x", Denied: errors.New("why")})
	var record map[string]any
	if err := json.Unmarshal(out.Bytes(), &record); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(record))
	want := []string{"client", "denied", "id", "in", "level", "method", "ms", "msg", "out", "proto", "status", "time"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("fields (-got +want)\n%s", diff)
	}
}

func TestQuietLeavesOutWhatWentWell(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		event proxy.Event
		want  bool
	}{
		{"a page", proxy.Event{Status: 200}, false},
		{"a page that is not there", proxy.Event{Status: 404}, false},
		{"a fault of the upstream", proxy.Event{Status: 500}, true},
		{"a refusal", proxy.Event{Status: 403, Denied: errors.New("why")}, true},
		{"a match that did not block", proxy.Event{Status: 200, WAF: proxy.WAFRecord{Rules: []int{1}}}, true},
	} {
		var out bytes.Buffer
		o := newObserver(&out)
		o.quiet.Store(true)
		o.request(&tt.event)
		if got := out.Len() > 0; got != tt.want {
			t.Errorf("%s: got a record %v, want %v", tt.name, got, tt.want)
		}
		if n := series(t, o)["gatehouse_requests_total"]; n != 1 {
			t.Errorf("%s: got %d series of gatehouse_requests_total, want it counted all the same", tt.name, n)
		}
	}
}

// series counts the series of each metric of ours.
func series(t *testing.T, o *observer) map[string]int {
	t.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "gatehouse_") {
			n[family.GetName()] = len(family.GetMetric())
		}
	}
	return n
}

// What a client can choose freely must not become a label: it could fill the memory of whoever scrapes.
func TestNoClientAddsSeries(t *testing.T) {
	t.Parallel()
	o := newObserver(&bytes.Buffer{})
	hostile := func(i int) *proxy.Event {
		e := fullEvent()
		junk := fmt.Sprint("junk", i)
		e.ID, e.TraceID, e.Method, e.Host, e.Path, e.UserAgent, e.Subject, e.Session = junk, junk, junk, junk, junk, junk, junk, junk
		e.ClientIP = netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 1, 1})
		e.WAF.Matches[0].Key, e.WAF.Matches[0].Variable = junk, junk
		e.Denied = errors.New(junk)
		return e
	}
	o.request(hostile(0))
	before := series(t, o)
	for i := range 1000 {
		o.request(hostile(i))
	}
	if diff := cmp.Diff(series(t, o), before); diff != "" {
		t.Errorf("series (-after +before)\n%s", diff)
	}
}

func TestAProviderThatIsGoneIsNotDown(t *testing.T) {
	t.Parallel()
	o := newObserver(&bytes.Buffer{})
	old, err := authn.NewTokenIssuer(authn.TokenIssuerConfig{Issuer: "https://old.test", Audience: []string{"api"}}, authn.ProviderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.provider(old, errors.New("no answer"), time.Second)
	o.providers(map[string]bool{"https://new.test": true})
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "gatehouse_provider_up" {
				got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if diff := cmp.Diff(got, map[string]float64{"https://new.test": 1}); diff != "" {
		t.Errorf("gatehouse_provider_up (-got +want)\n%s", diff)
	}
}

func TestStatusClass(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		0: "none", -1: "none", 99: "none", 100: "1xx", 101: "1xx", 200: "2xx", 304: "3xx", 499: "4xx", 599: "5xx", 600: "none",
	} {
		if got := statusClass(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	descs := make(chan *prometheus.Desc)
	go func() {
		newObserver(&bytes.Buffer{}).registry.Describe(descs)
		close(descs)
	}()
	name, labels := regexp.MustCompile(`fqName: "(gatehouse_[^"]*)"`), regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	got := map[string]string{}
	for desc := range descs {
		if match := name.FindStringSubmatch(desc.String()); match != nil {
			got[match[1]] = strings.ReplaceAll(labels.FindStringSubmatch(desc.String())[1], ",", ", ")
		}
	}
	want := map[string]string{}
	for name, cells := range documented(t, "Metrics") {
		want[name] = ""
		if len(cells) == 3 {
			want[name] = cells[1]
		}
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("metrics and their labels (-registered +documented)\n%s", diff)
	}
}
