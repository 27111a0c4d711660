package tuning

import (
	"strings"
	"testing"

	"gatehouse/waf"
)

func TestReplay(t *testing.T) {
	t.Parallel()
	block := func() *Record { rec := matched("x", 942100); return &rec }
	with := func(change func(*Record)) *Record { rec := block(); change(rec); return rec }
	sqli := []waf.Exclusion{{Rule: 942100, Target: "query.q"}}
	for _, tt := range []struct {
		name         string
		rec          *Record
		cfg          waf.Config
		was, becomes Verdict
		why          string // in it; "" for nothing
		assumes      string
	}{
		{"the same file", block(), waf.Config{}, "block", "block", "", ""},
		{"the exclusion", block(), waf.Config{Exclude: sqli}, "block", "pass", "excluded: 942100 at query.q", ""},
		{"an exclusion of the group", block(), waf.Config{Exclude: []waf.Exclusion{{Group: "sqli"}}}, "block", "pass", "excluded: 942100 at query.q", ""},
		{"another exclusion", block(), waf.Config{Exclude: []waf.Exclusion{{Rule: 942100, Target: "query.id"}}}, "block", "block", "", ""},
		{"fewer groups", block(), waf.Config{Groups: []string{"core"}}, "block", "pass", "not loaded: 942100", ""},
		{"off", block(), waf.Config{Mode: "off"}, "block", "pass", "the WAF is off", ""},
		{"count", block(), waf.Config{Mode: "count"}, "block", "count", "mode count instead of block", ""},
		{"a higher threshold", block(), waf.Config{Threshold: 6}, "block", "pass", "threshold 6 instead of 5", ""},
		{
			"a lower threshold", with(func(r *Record) { r.WAF.Verdict, r.WAF.Score, r.WAF.Matches[0].Score = "pass", 3, 3 }),
			waf.Config{Threshold: 3},
			"pass", "block", "threshold 3 instead of 5", "",
		},
		{
			"from count to block", with(func(r *Record) { r.WAF.Mode, r.WAF.Verdict = "count", "count" }),
			waf.Config{},
			"count", "block", "mode block instead of count", "",
		},
		{"a raised paranoia and what was refused", block(), waf.Config{Paranoia: 2}, "block", "block", "", ""},
		{
			"a raised paranoia and what passed", with(func(r *Record) { r.WAF.Verdict, r.WAF.Score, r.WAF.Matches = "pass", 0, nil }),
			waf.Config{Paranoia: 3},
			"pass", "unknown", "paranoia 3 instead of 1 runs", "",
		},
		{"a raised paranoia with the exclusion", block(), waf.Config{Paranoia: 2, Exclude: sqli}, "block", "unknown", "that did not run", ""},
		{"a lower paranoia", with(func(r *Record) {
			r.WAF.Paranoia, r.WAF.Matches[0].Rule, r.WAF.Matches[0].Variable = 3, 920273, "ARGS_GET" // of level 4
		}), waf.Config{}, "block", "pass", "not loaded: 920273", ""},
		{
			"a new group", with(func(r *Record) { r.WAF.Groups = []string{"sqli"} }),
			waf.Config{Groups: []string{"sqli", "php"}, Exclude: sqli},
			"block", "unknown", "another choice of groups runs", "",
		},
		{
			"linux is within posix and core", with(func(r *Record) { r.WAF.Groups = []string{"core", "posix", "sqli"} }),
			waf.Config{Groups: []string{"core", "linux", "sqli"}, Exclude: sqli},
			"block", "pass", "excluded", "",
		},
		{
			"exclusions that are kept", with(func(r *Record) { r.WAF.Exclusions = 1 }),
			waf.Config{Exclude: sqli},
			"block", "pass", "excluded", "keeps the 1 exclusion that",
		},
		{
			"exclusions that are gone", with(func(r *Record) { r.WAF.Exclusions, r.WAF.Verdict, r.WAF.Score = 2, "pass", 0 }),
			waf.Config{Exclude: sqli},
			"pass", "unknown", "some are gone", "",
		},
		{"an event that says little", with(func(r *Record) { r.WAF.Paranoia = 0 }), waf.Config{Exclude: sqli}, "block", "unknown", "which rules ran", ""},
		{
			"an answer that leaked, without the group", with(func(r *Record) {
				r.WAF.Verdict, r.WAF.Score, r.WAF.Groups, r.WAF.Response = "pass", 0, []string{"leakages", "sqli"}, &Response{"block", 5}
				r.WAF.Matches = []Match{at(951100, "RESPONSE_BODY", "", 5)}
			}),
			waf.Config{Groups: []string{"sqli"}},
			"block", "pass", "not loaded: 951100", "",
		},
		{"a group for answers", with(func(r *Record) { r.WAF.Verdict, r.WAF.Score, r.WAF.Matches = "pass", 0, nil }), waf.Config{Groups: []string{"leakages"}}, "pass", "unknown", "another choice of groups runs", ""},
		{
			"a limit of the WAF", with(func(r *Record) {
				r.WAF.Verdict, r.WAF.Limit, r.WAF.Score, r.WAF.Matches = "limit", "work", 0, nil
				r.Denied = "waf: over"
			}),
			waf.Config{},
			"block", "unknown", "over a limit of the WAF: work", "",
		},
		{
			"a limit of the WAF in count mode", with(func(r *Record) {
				r.WAF.Mode, r.WAF.Verdict, r.WAF.Limit, r.WAF.Score, r.WAF.Matches = "count", "count", "work", 0, nil
			}),
			waf.Config{},
			"count", "unknown", "over a limit of the WAF: work", "",
		},
		{"not inspected", &Record{ID: "x"}, waf.Config{}, "pass", "unknown", "not inspected", ""},
		{"not inspected, and off", &Record{ID: "x"}, waf.Config{Mode: "off"}, "pass", "pass", "", ""},
		{
			"a body that is too long", with(func(r *Record) {
				r.WAF.Verdict, r.WAF.Score, r.WAF.Matches, r.Denied = "pass", 0, nil, "waf: request body is longer than is inspected"
			}),
			waf.Config{},
			"block", "unknown", "request body is longer than is inspected", "",
		},
		{
			"refused before the rules ran", with(func(r *Record) { r.WAF.Score, r.WAF.Matches[0].Rule = 0, 200002 }),
			waf.Config{Exclude: []waf.Exclusion{{Rule: 200002}}},
			"block", "unknown", "before the others", "",
		},
	} {
		plan, err := NewPlan("app", tt.cfg)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got, err := new(Replay).Judge(tt.rec, plan)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		why := strings.Join(got.Why, "; ")
		if got.Was != tt.was || got.Becomes != tt.becomes || !strings.Contains(why, tt.why) || tt.why == "" && why != "" ||
			!strings.Contains(got.Assumes, tt.assumes) || tt.assumes == "" && got.Assumes != "" {
			t.Errorf("%s: got %+v\nwant %s to %s because of %q", tt.name, got, tt.was, tt.becomes, tt.why)
		}
	}
}
