package waf

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroupsOverGroups(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		top, over Groups
		want      map[string]string // beside what is off
	}{
		{"by default", nil, nil, map[string]string{
			"core": "block", "known-bad-inputs": "block", "sqli": "block", "linux": "block", "posix": "block", "windows": "block", "php": "block",
		}},
		{"a list", nil, Groups{"core", "sqli"}, map[string]string{"core": "block", "sqli": "block"}},
		{"a mapping changes what it names", nil, Groups{"php:off", "sqli:count", "windows:off", "posix:off", "linux:off"}, map[string]string{
			"core": "block", "known-bad-inputs": "block", "sqli": "count",
		}},
		{"a mapping over a list", Groups{"core", "sqli"}, Groups{"sqli:count"}, map[string]string{"core": "block", "sqli": "count"}},
		{"one that leaves nothing that blocks", Groups{"core"}, Groups{"core:count"}, map[string]string{"core": "count"}},
		{"a list over a mapping", Groups{"core:count", "php:off"}, Groups{"php"}, map[string]string{"php": "block"}},
		{"a mapping over a mapping", Groups{"sqli", "core:count"}, Groups{"core:block", "php:count"}, map[string]string{
			"core": "block", "sqli": "block", "php": "count",
		}},
		{"answers beside what the top has", Groups{"core"}, Groups{"leakages"}, map[string]string{"core": "block", "leakages": "block"}},
		{"answers counted", Groups{"core", "leakages"}, Groups{"leakages:count"}, map[string]string{"core": "block", "leakages": "count"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			merged := tt.over.Over(tt.top)
			got := map[string]string{}
			for _, g := range merged.Each() {
				if g.Action != ActionOff && g.Group != operatorGroup {
					got[g.Group] = g.Action
				}
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("got (-) want (+)\n%s", diff)
			}
			once := merged.normal()
			if again := once.normal(); !slices.Equal(once, again) || !cmp.Equal(merged.Each(), once.Each()) {
				t.Errorf("normal: got %v, then %v, want the same as %v", once, again, merged)
			}
		})
	}
}

// What is on count is found and recorded, and decides nothing: other rules decide as if it were absent.
func TestCountDecidesNothing(t *testing.T) {
	t.Parallel()
	script := "<script>alert(1)</script>"
	inQuery := sample{target: "/?id=" + escaped(union)}
	both := sample{target: "/?id=" + escaped(union) + "&q=" + escaped(script)}
	sql := newTestEngine(t, Config{Groups: Groups{"sqli"}}, "").check(inQuery.request()).result
	xss := newTestEngine(t, Config{Groups: Groups{"core"}}, "").check(both.request()).result
	e := newTestEngine(t, Config{Groups: Groups{"core", "sqli:count"}}, "")

	v := e.check(inQuery.request())
	if verdictOf(v) != http.StatusOK || v.result.Score != 0 || v.result.Counted != sql.Score || sql.Score < 5 {
		t.Errorf("alone: got %d with score %d and %d counted, want 200, 0 and %d", verdictOf(v), v.result.Score, v.result.Counted, sql.Score)
	}
	if !slices.Equal(ids(v.result), ids(sql)) {
		t.Errorf("alone: got %v, want what the group finds, %v", ids(v.result), ids(sql))
	}
	for _, m := range v.result.Matches {
		if !m.Counted {
			t.Errorf("rule %d is not said to have been counted", m.RuleID)
		}
	}

	v = e.check(both.request())
	if verdictOf(v) != http.StatusForbidden || v.result.Score != xss.Score || v.result.Counted != sql.Score {
		t.Errorf("beside what blocks: got %d with score %d and %d counted, want 403, %d and %d",
			verdictOf(v), v.result.Score, v.result.Counted, xss.Score, sql.Score)
	}
	for _, m := range v.result.Matches {
		if want := m.RuleID/1000 == 942; m.Counted != want {
			t.Errorf("rule %d: counted %v, want %v", m.RuleID, m.Counted, want)
		}
	}
}

func TestTheStrongestOfARulesGroupsDecides(t *testing.T) {
	t.Parallel()
	passwd := sample{target: "/?f=" + escaped("../../../etc/passwd")} // 930, of core and of linux
	for _, tt := range []struct {
		groups Groups
		want   int
	}{
		{Groups{"core:count", "linux:off", "posix:off"}, http.StatusOK},
		{Groups{"core:off", "linux:count", "posix:off"}, http.StatusOK},
		{Groups{"core:count", "linux:block"}, http.StatusForbidden},
		{Groups{"core:block", "linux:count"}, http.StatusForbidden},
	} {
		v := newTestEngine(t, Config{Groups: tt.groups}, "").check(passwd.request())
		if verdictOf(v) != tt.want || len(v.result.Matches) == 0 {
			t.Errorf("%v: got %d with %v, want %d and matches", tt.groups, verdictOf(v), ids(v.result), tt.want)
		}
	}
}

func TestSingleRulesCountOrAreOff(t *testing.T) {
	t.Parallel()
	attack := sample{target: "/?id=" + escaped(union)}
	unread := sample{header: map[string]string{"Content-Type": "application/json"}, body: "{"}
	all := newTestEngine(t, Config{}, "").check(attack.request()).result
	for _, tt := range []struct {
		name   string
		rules  map[string]string
		groups Groups
		score  int
		want   int
		unread int
	}{
		{"counted", map[string]string{"942100": "count"}, nil, all.Score - 5, http.StatusForbidden, 400},
		{"off", map[string]string{"942100": "off"}, nil, all.Score - 5, http.StatusForbidden, 400},
		{"a range", map[string]string{"942000-942999": "count"}, nil, 0, http.StatusOK, 400},
		{"one of a range", map[string]string{"942000-942999": "count", "942100": "block"}, nil, 5, http.StatusForbidden, 400},
		{"one of a group", map[string]string{"942100": "block"}, Groups{"sqli:count"}, 5, http.StatusForbidden, 400},
		{"what refuses by itself", map[string]string{"200002": "count"}, nil, all.Score, http.StatusForbidden, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newTestEngine(t, Config{Rules: tt.rules, Groups: tt.groups}, "")
			v := e.check(attack.request())
			if verdictOf(v) != tt.want || v.result.Score != tt.score {
				t.Errorf("got %d with score %d, want %d with %d", verdictOf(v), v.result.Score, tt.want, tt.score)
			}
			v = e.check(unread.request())
			if verdictOf(v) != tt.unread {
				t.Errorf("a body that cannot be read: got %d, want %d", verdictOf(v), tt.unread)
			}
			if tt.unread == 200 && (len(v.result.Matches) != 1 || !v.result.Matches[0].Counted) {
				t.Errorf("a body that cannot be read: got %+v, want the match, counted", v.result.Matches)
			}
		})
	}
}

// Whatever a rule does to decide, it does not do on count.
func TestNoRuleOnCountDecides(t *testing.T) {
	t.Parallel()
	all := map[string]string{"1-999999": "count"}
	for _, load := range []func(Config, string) (ruleSet, error){loadRules, loadAnswerRules} {
		set, err := load(Config{Paranoia: 4, Groups: Groups{"leakages"}, Rules: all}.normal(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range set.loaded {
			if !set.counted[r.id] {
				t.Errorf("rule %d is not on count", r.id)
			}
			if scored.MatchString(r.text) {
				t.Errorf("rule %d still adds to the score: %s", r.id, r.text)
			}
			for action := range strings.FieldsFuncSeq(r.text, func(c rune) bool { return c == ',' || c == '"' }) {
				if slices.Contains([]string{"block", "deny", "drop"}, action) {
					t.Errorf("rule %d still says %s: %s", r.id, action, r.text)
				}
			}
		}
	}
}
