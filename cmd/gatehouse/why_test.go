package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/proxy"
)

// ran is what one command line printed.
type ran struct {
	code           int
	stdout, stderr string
}

// command runs a command line that does not end by itself only in an error.
func runLine(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &environment{
		stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, getenv: func(string) (string, bool) { return "", false },
	}
	code := execute(t.Context(), args, env)
	return ran{code, stdout.String(), stderr.String()}
}

// requestID is the nth request's.
func requestID(n int) string { return fmt.Sprintf("%032x", n) }

// blocked is the event of a request that rules refused.
func blockedEvent(n int, matches ...proxy.WAFMatch) *proxy.Event {
	e := &proxy.Event{
		ID: requestID(n), Start: time.Date(2026, 11, 28, 13, 0, n, 0, time.UTC), Route: "shop", Method: "GET", Host: "app.test", Path: "/search",
		Status: 403, Denied: fmt.Errorf("waf: refused by rule 949110"),
		WAF: proxy.WAFRecord{Mode: "block", Verdict: "block", Cause: 949110, Threshold: 5, Paranoia: 1, Matches: matches},
	}
	for _, m := range matches {
		e.WAF.Score += m.Severity
		e.WAF.Rules = append(e.WAF.Rules, m.RuleID)
	}
	e.Note("limit", "pass")
	e.Note("waf", "block")
	return e
}

func sqlAt(variable, key string) proxy.WAFMatch {
	return proxy.WAFMatch{RuleID: 942100, Message: "SQL Injection Attack Detected via libinjection", Variable: variable, Key: key, Severity: 5}
}

// serveEvents observes events; it returns their lines and the address of an admin listener that has their samples.
func serveEvents(t *testing.T, events ...*proxy.Event) (lines, admin string) {
	t.Helper()
	var out bytes.Buffer
	o := newObserver(&out)
	for _, e := range events {
		o.request(e)
	}
	s := httptest.NewServer(newAdmin(adminOptions{
		metrics: http.NotFoundHandler(), samples: o.samples, ready: func() error { return nil },
		notes: func() []string { return nil }, token: func() string { return "" },
	}))
	t.Cleanup(s.Close)
	return out.String(), strings.TrimPrefix(s.URL, "http://")
}

func TestWhy(t *testing.T) {
	t.Parallel()
	hostile := blockedEvent(2, sqlAt("ARGS_GET", "\x1b[2J\u202eq\nx"), proxy.WAFMatch{RuleID: 941100, Message: "XSS", Variable: "ARGS_POST", Key: "json.a[0]", Severity: 5})
	limited := &proxy.Event{ID: requestID(3), Route: "shop", Status: 429, Denied: fmt.Errorf("ratelimit: over"), Limit: proxy.LimitRecord{Name: "site", Verdict: "block"}}
	limited.Note("limit", "block")
	asked := &proxy.Event{ID: requestID(4), Route: "shop", Status: 302, Denied: fmt.Errorf("login: no session")}
	asked.Note("login", "asked")
	alone := blockedEvent(5, proxy.WAFMatch{RuleID: 200002, Message: "The request body cannot be parsed", Variable: "REQBODY_ERROR", Severity: 5})
	alone.WAF.Cause, alone.WAF.Score = 200002, 0
	second := blockedEvent(6, sqlAt("ARGS_GET", "id"))
	second.Route = "shop (2)"
	own := blockedEvent(7, sqlAt("ARGS_GET", "id"))
	own.Route = "gatehouse /oauth2/session app.test"
	counted := blockedEvent(8, sqlAt("ARGS_GET", "id"))
	counted.Denied, counted.Status, counted.WAF.Mode, counted.WAF.Verdict = nil, 200, "count", "count"
	lines, admin := serveEvents(t, blockedEvent(1, sqlAt("ARGS_GET", "id")), hostile, limited, asked, alone, second, own, counted)
	for _, tt := range []struct {
		n    int
		want []string
	}{
		{1, []string{
			"GET app.test/search from", `answered with 403 on the route "shop"`, "The WAF refused it: the score 5 reached the threshold 5.",
			"On its way: limit pass · waf block", "942100  +5  query.id  SQL Injection", "waf: {exclude: [{rule: 942100, target: query.id}]}",
			"The WAF would then have let it through, with a score of 0.",
		}},
		{2, []string{
			`ARGS_GET:\u001b[2J\u202eq\u000ax`, "        - {rule: 942100}\n", `        - {rule: 941100, target: "json.a[0]"}`,
			"off for the whole route", "2 rules matched, which is likely an attack",
		}},
		{3, []string{`The limit "site" refused it`}},
		{4, []string{"Nobody was signed in"}},
		{6, []string{`on the route "shop (2)"`, `add this to the route "shop":`}},
		{7, []string{"add this to the top of the file"}},
		{8, []string{"Gatehouse let it through. In block mode the WAF would have refused it.", "mode count", "waf: {exclude: [{rule: 942100, target: query.id}]}"}},
		{5, []string{"the rule 200002 refuses by itself", "let it through is not known: the rule refused it before the others had run"}},
	} {
		fromSamples := runLine(t, "", "why", requestID(tt.n), "--admin", admin)
		fromLines := runLine(t, lines, "why", requestID(tt.n), "--events", "-")
		for _, want := range tt.want {
			if fromSamples.code != 0 || !strings.Contains(fromSamples.stdout, want) {
				t.Errorf("%d: got %+v\nwant %q", tt.n, fromSamples, want)
			}
		}
		_, sampled, _ := strings.Cut(fromSamples.stdout, "\n") // the first line has the time
		_, read, _ := strings.Cut(fromLines.stdout, "\n")
		if diff := cmp.Diff(sampled, read); diff != "" {
			t.Errorf("%d: samples and lines differ (-samples +lines)\n%s", tt.n, diff)
		}
		if strings.ContainsAny(fromSamples.stdout, "\x1b\u202e") {
			t.Errorf("%d: control characters reach the terminal: %q", tt.n, fromSamples.stdout)
		}
	}
}

func TestWhyNotFound(t *testing.T) {
	t.Parallel()
	lines, admin := serveEvents(t, blockedEvent(1, sqlAt("ARGS_GET", "id")))
	file := filepath.Join(t.TempDir(), "events.log")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	old := httptest.NewServer(http.NotFoundHandler()) // another program
	defer old.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"no sample", []string{"--admin", admin}, []string{"no sample has the id", "1 request is kept since 2026-", "--events FILE"}},
		{"no event", []string{"--events", file}, []string{"events.log: no request has the id", "1 request from", "rotated away"}},
		{"an empty file", []string{"--events", "-"}, []string{"standard input has no event of a request among 0 lines"}},
		{"no file", []string{"--events", file + ".1"}, []string{"events.log.1: no such file"}},
		{"no listener", []string{"--admin", gone.Addr().String()}, []string{"no answer from the admin listener", "--admin names another", "--events reads"}},
		{"another program", []string{"--admin", strings.TrimPrefix(old.URL, "http://")}, []string{"keeps no samples"}},
	} {
		got := runLine(t, "", append([]string{"why", requestID(9)}, tt.args...)...)
		for _, want := range tt.want {
			if got.code != exitFailed || got.stdout != "" || !strings.Contains(got.stderr, want) {
				t.Errorf("%s: got %+v, want an error with %q", tt.name, got, want)
			}
		}
	}
}
