package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/tuning"
	"gatehouse/proxy"
)

func TestTune(t *testing.T) {
	t.Parallel()
	accept := proxy.WAFMatch{RuleID: 920300, Message: "Missing Accept", Variable: "REQUEST_HEADERS", Key: "accept", Severity: 2}
	script := proxy.WAFMatch{RuleID: 941100, Message: "XSS", Variable: "ARGS_GET", Key: "q", Severity: 5}
	lines, admin := serveEvents(
		t, blockedEvent(1, sqlAt("ARGS_GET", "q")), blockedEvent(2, sqlAt("ARGS_GET", "q"), accept),
		blockedEvent(3, sqlAt("ARGS_GET", "q"), script), &proxy.Event{ID: requestID(4), Status: 200},
	)
	for source, args := range map[string][]string{"samples": {"--admin", admin}, "lines": {"--events", "-"}} {
		got := runLine(t, lines, append([]string{"waf", "tune"}, args...)...)
		for _, want := range []string{
			"a rule matched 3, of which 3 were refused",
			"942100 at query.q on the route \"shop\"  SQL Injection", "3 requests from 1 client", "waf: {exclude: [{rule: 942100, target: query.q}]}",
			"would have let 2 of 3 through; 1 of these matched something else too (920300, 941100): likely an attack",
			"gatehouse why " + requestID(2) + ", " + requestID(1),
			"would have let 0 of 1 through; 1 matched something else too (942100)",
		} {
			if got.code != 0 || !strings.Contains(got.stdout, want) {
				t.Errorf("%s: got %+v\nwant %q", source, got, want)
			}
		}
		if strings.Index(got.stdout, "942100 at") > strings.Index(got.stdout, "920300 at") {
			t.Errorf("%s: got %s\nwant the most frequent first", source, got.stdout)
		}
		var list struct {
			Matched int
			Groups  []tuning.Group
		}
		got = runLine(t, lines, append([]string{"waf", "tune", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || list.Matched != 3 || len(list.Groups) != 3 || list.Groups[0].LetsThrough != 2 {
			t.Errorf("%s: got %+v, %v, want the same as JSON", source, got, err)
		}
	}
	if got := runLine(t, lines, "waf", "tune", "--top", "1", "--events", "-"); !strings.Contains(got.stdout, "2 groups more") {
		t.Errorf("--top 1: got %s", got.stdout)
	}
}

func TestTuneSince(t *testing.T) {
	t.Parallel()
	old, recent := blockedEvent(1, sqlAt("ARGS_GET", "old")), blockedEvent(2, sqlAt("ARGS_GET", "recent"))
	old.Start, recent.Start = time.Now().Add(-3*time.Hour), time.Now().Add(-time.Minute)
	_, admin := serveEvents(t, old, recent)
	got := runLine(t, "", "waf", "tune", "--since", "1h", "--admin", admin)
	if got.code != 0 || strings.Contains(got.stdout, "query.old") || !strings.Contains(got.stdout, "query.recent") ||
		!strings.Contains(got.stdout, ": 1 request of the last 1h0m0s, a rule matched 1") {
		t.Errorf("got %+v, want the last hour", got)
	}
}

func TestReplayCommand(t *testing.T) {
	t.Parallel()
	passed := blockedEvent(3)
	passed.Denied, passed.Status, passed.WAF.Verdict, passed.WAF.Cause = nil, 200, "pass", 0
	admin := blockedEvent(4, sqlAt("ARGS_GET", "q"))
	admin.Path, admin.Route = "/admin/x", "shop"
	lines, _ := serveEvents(t, blockedEvent(1, sqlAt("ARGS_GET", "q")), blockedEvent(2, sqlAt("ARGS_GET", "id")), passed, admin)
	file := func(routes string) string {
		path := filepath.Join(t.TempDir(), "new.yaml")
		text := "listen: {https: \":443\"}\ntls: {local: true}\nupstreams: {u: \"http://127.0.0.1:1\"}\nroutes:\n" + routes
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name, routes string
		want         []string
		not          []string
	}{
		{
			"the same", "  - {name: shop, match: app.test, to: u, require: nothing}\n",
			[]string{"4 requests, 0 never reached the WAF;", "0 change or may change, of 0 nothing is known, 4 stay"},
			[]string{"→"},
		},
		{
			"an exclusion on a route of its own",
			"  - {name: shop, match: app.test, to: u, require: nothing}\n  - {name: search, match: app.test/search, to: u, require: nothing, waf: {exclude: [{rule: 942100, target: query.q}]}}\n",
			[]string{
				requestID(1) + "  block → pass  GET app.test/search on the route \"search\", was \"shop\"  score 5 → 0  excluded: 942100 at query.q",
				"block → pass: 1", "1 change or may change, of 0 nothing is known, 3 stay",
			},
			[]string{requestID(2), requestID(4)},
		},
		{
			"a raised paranoia", "  - {name: shop, match: app.test, to: u, require: nothing, waf: {paranoia: 2}}\n",
			[]string{`not known of 1 request without a match, route "shop": paranoia 2 instead of 1 runs`, "of 1 nothing is known, 3 stay"},
			[]string{"→"},
		},
		{
			"off and count", "  - {name: shop, match: app.test, to: u, require: nothing, waf: count}\n  - {name: admin, match: app.test/admin/*, to: u, require: nothing, waf: off}\n",
			[]string{"block → count: 2", "block → pass: 1", "the WAF is off"},
			nil,
		},
		{
			"another host", "  - {name: shop, match: other.test, to: u, require: nothing}\n",
			[]string{"block → refused", "no route"},
			nil,
		},
	} {
		got := runLine(t, lines, "waf", "replay", "-", "-c", file(tt.routes))
		for _, want := range tt.want {
			if got.code != 0 || !strings.Contains(got.stdout, want) {
				t.Errorf("%s: got %+v\nwant %q", tt.name, got, want)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(got.stdout, not) {
				t.Errorf("%s: got %s\nwant no %q", tt.name, got.stdout, not)
			}
		}
	}
	if got := runLine(t, "no events\n", "waf", "replay", "-", "-c", file("  - {match: app.test, to: u, require: nothing}\n")); got.code != exitFailed ||
		!strings.Contains(got.stderr, "standard input has no event of a request among 1 line") {
		t.Errorf("no events: got %+v", got)
	}
}
