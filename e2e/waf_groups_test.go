package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGroupsAndRulesOnCount: what a group does is the route's to say; what counts is told of by every witness.
func TestGroupsAndRulesOnCount(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "aws.json")
	spec := siteSpec{
		upstream: startEcho(t),
		top:      "waf: {groups: [core, sqli]}\nevents: {waf_log: {format: aws, file: " + log + "}}",
		routes: `
  - {name: counting, match: ` + appHost + `/counting, to: u, require: nothing, waf: {groups: {sqli: count}}}
  - {name: single, match: ` + appHost + `/single, to: u, require: nothing, waf: {rules: {942100: count}}}
  - {name: dropped, match: ` + appHost + `/dropped, to: u, require: nothing, waf: {groups: {sqli: off}}}
  - {name: blocking, match: ` + appHost + `, to: u, require: nothing}
`,
	}
	s := startOpen(t, spec)

	sql, xss := "?q=SELECT+name+FROM+recipes+WHERE+kind+%3D+%27soup%27", "?q=%3Csvg+onload%3Dalert(1)%3E"
	last := ""
	for _, h2 := range []bool{false, true} {
		c := newClient(t, s.addr, h2)
		for path, want := range map[string]int{
			"/x" + sql: 403, "/x" + xss: 403,
			"/counting" + sql: 200, "/counting" + xss: 403,
			"/single" + sql: 200, "/single" + xss: 403,
			"/dropped" + sql: 200, "/dropped" + xss: 403,
		} {
			resp, _ := fetch(t, c, s.base+path, "")
			if resp.StatusCode != want {
				t.Errorf("HTTP/2 %v: %s: got %s, want %d", h2, path, resp.Status, want)
			}
		}
		resp, _ := fetch(t, c, s.base+"/counting"+sql, "")
		last = resp.Header.Get("X-Request-Id")
	}
	e := s.eventWithID(last)
	waf, _ := e["waf"].(map[string]any)
	text, _ := json.Marshal(waf)
	if waf["verdict"] != "pass" || waf["score"] != 0.0 || waf["counted"] != 5.0 || !bytes.Contains(text, []byte(`"counted":true`)) ||
		!bytes.Contains(text, []byte(`"groups":["core","sqli:count"]`)) {
		t.Errorf("event: got %s, want a match that only counted", text)
	}
	why := runToEnd(t, "", nil, "why", last, "--admin", s.addrs["admin"])
	if why.code != 0 || !strings.Contains(why.stdout, "942100  (+5, on count)  query.q") ||
		!strings.Contains(why.stdout, "With it on block the score were 5.") || strings.Contains(why.stdout, "exclude") {
		t.Errorf("why: got %+v, want that it was counted", why)
	}
	tune := runToEnd(t, "", nil, "waf", "tune", "--admin", s.addrs["admin"])
	if tune.code != 0 || !strings.Contains(tune.stdout, "in 4 the rule was on count and decided nothing") {
		t.Errorf("tune: got %+v, want what was counted", tune)
	}
	records, err := os.ReadFile(log)
	if err != nil || !bytes.Contains(records, []byte(`{"ruleId":"942100","action":"COUNT","overriddenAction":"BLOCK"`)) {
		t.Errorf("AWS's log: got %s, %v, want a counted rule", records, err)
	}

	events := writeFile(t, "events.log", s.lines(last))
	strict := writeFile(t, "strict.yaml", strings.ReplaceAll(s.text, "sqli: count", "sqli: block"))
	replay := runToEnd(t, "", nil, "waf", "replay", events, "-c", strict)
	if replay.code != 0 || !strings.Contains(replay.stdout, last+"  pass → block") || !strings.Contains(replay.stdout, "not on count any more: 942100") {
		t.Errorf("replay without count: got %+v", replay)
	}
	lax := writeFile(t, "lax.yaml", strings.ReplaceAll(s.text, "waf: {groups: [core, sqli]}", "waf: {groups: {core: count, sqli: count, known-bad-inputs: off, linux: off, posix: off, windows: off, php: off}}"))
	replay = runToEnd(t, "", nil, "waf", "replay", events, "-c", lax)
	if replay.code != 0 || !strings.Contains(replay.stdout, "block → ") || !strings.Contains(replay.stdout, "on count: 942100") {
		t.Errorf("replay with count: got %+v", replay)
	}
}

// TestGroupsThatAreWrong: every mistake at its place, with what would be accepted.
func TestGroupsThatAreWrong(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "gatehouse.yaml", `listen: {https: ":443"}
tls: {local: true}
upstreams: {u: "http://127.0.0.1:8080"}
waf:
  groups: {core: blok, sql: count}
  rules: {942100: counts, 1: off, x: off, 942199-942100: off}
routes:
  - {match: app.example.test, to: u, require: nothing, waf: {groups: [core, sqly]}}
`)
	got := runToEnd(t, "", nil, "check", "-c", file)
	for _, want := range []string{
		`:5:18: waf.groups.core: want "block", "count" or "off", got "blok": did you mean "block"?`,
		`:5:24: waf.groups.sql: unknown group "sql": did you mean "sqli"?`,
		`:6:19: waf.rules.942100: unknown action "counts" (want block, count or off)`,
		`waf.rules.1: no detection rule has such an id`,
		`waf.rules.x: "x" is no rule id`,
		`waf.rules.942199-942100: "942199-942100" ends before it begins`,
		`routes[0].waf.groups[1]: unknown group "sqly"`,
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("got %s, want %q in it", got.stderr, want)
		}
	}
	if got.code == 0 {
		t.Error("got 0, want a failure")
	}
}

// TestExclusionsThatDoNothing: each is a Problem at its place; at the top only if no route has a use for it.
func TestExclusionsThatDoNothing(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "gatehouse.yaml", `listen: {https: ":443"}
tls: {local: true}
upstreams: {u: "http://127.0.0.1:8080"}
waf:
  groups: [core, sqli]
  exclude:
    - {rule: 942421}
    - {rule: 933100}
    - {rule: 942100, target: header.Referrer}
routes:
  - {match: app.example.test/php, to: u, require: nothing, waf: {groups: [php]}}
  - {match: app.example.test/off, to: u, require: nothing, waf: {mode: off, exclude: [{rule: 944100}]}}
  - {match: app.example.test, to: u, require: nothing, waf: {exclude: [{rule: 942100, target: query.q}, {rule: 944100}, {tag: attack-sqli, target: files}]}}
`)
	got := runToEnd(t, "", nil, "check", "-c", file)
	for _, want := range []string{
		`:7:14: waf.exclude[0].rule: rule 942421 does not run: it belongs to paranoia 4, and this is 1`,
		`:9:30: waf.exclude[2].target: rule 942100 does not read header.Referrer: did you mean "header.Referer"?`,
		`routes[2].waf.exclude[1].rule: rule 944100 does not run: no group that it belongs to is on (known-bad-inputs)`,
		`routes[2].waf.exclude[2].target: no rule that this is about reads files`,
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("got %s, want %q in it", got.stderr, want)
		}
	}
	if got.code == 0 || strings.Count(got.stderr, "gatehouse.yaml:") != 4 {
		t.Errorf("got %d and %s, want four Problems", got.code, got.stderr)
	}
}
