package waf

import (
	"fmt"
	"testing"
)

// What an exclusion covers of recorded matches is what it hides from the engine: the same samples as for the engine.
func TestFilterAgreesWithTheEngine(t *testing.T) {
	t.Parallel()
	plain := newTestEngine(t, Config{}, "")
	samples := []sample{
		{target: "/?id=" + escaped(union)},
		{target: "/?ID=" + escaped(union) + "&q=" + escaped("<script>alert(1)</script>")},
		{target: "/?items[0]=" + escaped(union)},
		{header: map[string]string{"Content-Type": "application/json"}, body: `{"items":[{"name":"` + union + `"}],"q":"` + union + `"}`},
		{header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: "id=" + escaped(union)},
		{header: map[string]string{"Cookie": "id=" + union}},
		{header: map[string]string{"X-Forwarded-Host": union}},
	}
	for _, cfg := range []Config{
		{Exclude: []Exclusion{{Rule: 942100, Target: "query.id"}}},
		{Exclude: []Exclusion{{Rule: 942100}}},
		{Exclude: []Exclusion{{Group: "sqli"}}},
		{Exclude: []Exclusion{{Group: "sqli", Target: "json.Items.*.name"}}},
		{Exclude: []Exclusion{{Group: "sqli", Target: "query.items[*]"}}},
		{Exclude: []Exclusion{{Group: "sqli", Target: "form.id"}, {Group: "sqli", Target: "cookie.ID"}}},
		{Exclude: []Exclusion{{Group: "sqli", Target: "body"}}},
		{Exclude: []Exclusion{{Group: "core"}}},
		{Groups: []string{"core"}},
		{Groups: []string{"sqli"}},
	} {
		filter, err := NewFilter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		engine := newTestEngine(t, cfg, "")
		for i, s := range samples {
			want, kept := map[string]bool{}, map[string]bool{}
			for _, m := range engine.check(s.request()).result.Matches {
				want[fmt.Sprint(m.RuleID, m.Variable, m.Key)] = true
			}
			for _, m := range plain.check(s.request()).result.Matches {
				if filter.Finds(m) {
					kept[fmt.Sprint(m.RuleID, m.Variable, m.Key)] = true
				}
				if TargetOf(m.RuleID, m.Variable, m.Key) != m.Target {
					t.Errorf("%+v: got target %q", m, TargetOf(m.RuleID, m.Variable, m.Key))
				}
				for _, x := range cfg.Exclude {
					if x.Covers(m) && filter.Finds(m) {
						t.Errorf("%+v covers %+v, and the filter finds it", x, m)
					}
				}
			}
			if fmt.Sprint(want) != fmt.Sprint(kept) {
				t.Errorf("%+v, sample %d: kept %v, the engine finds %v", cfg, i, kept, want)
			}
		}
	}
}

func TestTargetOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	for _, tt := range [][3]string{{"", "", ""}, {"NO_SUCH", "x", ""}, {"ARGS_GET", "a b", ""}, {"ARGS_GET", "a*", ""}, {"ARGS_GET", "a", "query.a"}, {"REQUEST_URI", "", ""}, {"REQUEST_HEADERS", "X-A", ""}, {"REQUEST_HEADERS", "Referer", "header.Referer"}} {
		if got := TargetOf(942100, tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s:%s: got %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
}
