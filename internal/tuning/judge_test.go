package tuning

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func at(rule int, variable, key string, score int) Match {
	return Match{Rule: rule, Variable: variable, Key: key, Score: score}
}

func TestWhatAnExclusionLeaves(t *testing.T) {
	t.Parallel()
	q, form := at(942100, "ARGS_GET", "q", 5), at(942100, "ARGS_POST", "q", 5)
	three, alone := at(920300, "REQUEST_HEADERS", "Accept", 3), at(200002, "REQBODY_ERROR", "", 5)
	many := make([]Match, maxRecorded)
	for i := range many {
		many[i] = q
	}
	for _, tt := range []struct {
		name     string
		mode     string
		score    int
		matches  []Match
		gone     Exclusion
		want     Verdict
		low, hih int
	}{
		{"the only match", "block", 5, []Match{q}, Exclusion{942100, "query.q"}, Passes, 0, 0},
		{"the same in other letters", "block", 5, []Match{q}, Exclusion{942100, "query.Q"}, Passes, 0, 0},
		{"another place", "block", 5, []Match{q}, Exclusion{942100, "query.id"}, Refuses, 5, 5},
		{"one of two places", "block", 10, []Match{q, form}, Exclusion{942100, "query.q"}, Refuses, 5, 5},
		{"the rule altogether", "block", 10, []Match{q, form}, Exclusion{Rule: 942100}, Passes, 0, 0},
		{"what is left is below the threshold", "block", 8, []Match{q, three}, Exclusion{942100, "query.q"}, Passes, 3, 3},
		{"two fields of one name, all of them gone", "block", 10, []Match{q}, Exclusion{942100, "query.q"}, Passes, 0, 0},
		{"two fields of one name, or two headers", "block", 11, []Match{q, three}, Exclusion{942100, "query.q"}, Unknown, 3, 6},
		{"more than is recorded", "block", 500, many, Exclusion{942100, "query.q"}, Unknown, 0, 180},
		{"some were only counted, nobody knows which", "block", 5, []Match{q, form}, Exclusion{942100, "query.q"}, Unknown, 0, 5},
		{"a rule that decides alone stays", "block", 5, []Match{alone, q}, Exclusion{942100, "query.q"}, Refuses, 5, 5},
		{"a rule that decides alone is gone", "block", 0, []Match{alone}, Exclusion{Rule: 200002}, Unknown, 0, maxScore},
		{"the same where the others ran", "count", 0, []Match{alone}, Exclusion{Rule: 200002}, Passes, 0, 0},
		{"nothing matched", "block", 0, nil, Exclusion{Rule: 942100}, Passes, 0, 0},
	} {
		rec := &Record{ID: "x", WAF: &WAF{Mode: tt.mode, Verdict: "block", Score: tt.score, Threshold: 5, Matches: tt.matches}}
		got := rec.Judge(func(m Match) bool { return !tt.gone.Covers(m) }, 5)
		if got.Verdict != tt.want || got.Low != tt.low || got.High != tt.hih || (got.Reason != "") != (tt.want == Unknown) {
			t.Errorf("%s: got %+v, want %s from %d to %d", tt.name, got, tt.want, tt.low, tt.hih)
		}
	}
}

// The score of an answer is not that of its request.
func TestAnswersAreJudgedByThemselves(t *testing.T) {
	t.Parallel()
	leak, other := at(951100, "RESPONSE_BODY", "", 5), at(953100, "RESPONSE_BODY", "", 5)
	accept := at(920300, "REQUEST_HEADERS", "Accept", 2)
	for _, tt := range []struct {
		name    string
		matches []Match
		gone    Exclusion
		want    Verdict
		needs   []Exclusion
	}{
		{"the only match", []Match{accept, leak}, Exclusion{Rule: 951100}, Passes, []Exclusion{{Rule: 951100}}},
		{"nothing of it", []Match{accept, leak}, Exclusion{Rule: 920300}, Refuses, []Exclusion{{Rule: 951100}}},
		{"one of two", []Match{accept, leak, other}, Exclusion{Rule: 951100}, Unknown, []Exclusion{{Rule: 951100}, {Rule: 953100}}},
	} {
		rec := &Record{ID: "x", Denied: "waf: refused by rule 959100", WAF: &WAF{
			Mode: "block", Verdict: "pass", Score: 2, Threshold: 5, Matches: tt.matches, Response: &Response{Verdict: "block", Score: 5},
		}}
		if got := rec.Judge(func(m Match) bool { return !tt.gone.Covers(m) }, 5); got.Verdict != tt.want || got.Low != 2 && tt.gone.Rule != 920300 {
			t.Errorf("%s: got %+v, want %s", tt.name, got, tt.want)
		}
		if rec.Said() != Refuses || rec.Decider() != ByWAF || rec.Unread() != "" {
			t.Errorf("%s: got %s by %s, %q, want it refused by the WAF", tt.name, rec.Said(), rec.Decider(), rec.Unread())
		}
		if diff := cmp.Diff(rec.Needs(), tt.needs); diff != "" {
			t.Errorf("%s: exclusions (-got +want)\n%s", tt.name, diff)
		}
	}
	limited := &Record{ID: "x", Denied: "waf: x", WAF: &WAF{Mode: "block", Verdict: "limit", Limit: "work", Threshold: 5}}
	if limited.Said() != Passes || limited.Unread() == "" || limited.Decider() != ByWAF || limited.Needs() != nil {
		t.Errorf("a limit: got %s, %q, %s, %v", limited.Said(), limited.Unread(), limited.Decider(), limited.Needs())
	}
}

func TestNeedsIsTheFewestExclusions(t *testing.T) {
	t.Parallel()
	three := func(rule int, key string) Match { return at(rule, "ARGS_GET", key, 3) }
	for _, tt := range []struct {
		name    string
		score   int
		matches []Match
		want    []Exclusion
	}{
		{"one", 5, []Match{at(942100, "ARGS_GET", "q", 5)}, []Exclusion{{942100, "query.q"}}},
		{"one is enough", 8, []Match{three(920300, "a"), at(942100, "ARGS_GET", "q", 5)}, []Exclusion{{942100, "query.q"}}},
		{"several together", 9, []Match{three(1, "a"), three(2, "a"), three(3, "a")}, []Exclusion{{1, "query.a"}, {2, "query.a"}}},
		{"all", 10, []Match{at(942100, "ARGS_GET", "q", 5), at(941100, "ARGS_POST", "json.q", 5)}, []Exclusion{{942100, "query.q"}, {941100, "json.q"}}},
		{"a name and its value", 10, []Match{at(942100, "ARGS_GET", "q", 5), at(942100, "ARGS_GET_NAMES", "q", 5)}, []Exclusion{{942100, "query.q"}}},
		{"the whole of path and query", 5, []Match{at(930100, "REQUEST_URI_RAW", "", 5)}, []Exclusion{{930100, "uri"}}},
		{"no name to exclude", 5, []Match{at(911100, "REQUEST_METHOD", "", 5)}, []Exclusion{{911100, ""}}},
	} {
		rec := &Record{ID: "x", WAF: &WAF{Mode: "block", Verdict: "block", Score: tt.score, Threshold: 5, Matches: tt.matches}}
		if diff := cmp.Diff(rec.Needs(), tt.want); diff != "" {
			t.Errorf("%s (-got +want)\n%s", tt.name, diff)
		}
	}
	passed := matched("x", 942100)
	passed.WAF.Verdict = "pass"
	if got := passed.Needs(); got != nil {
		t.Errorf("a request that passed: got %v", got)
	}
}

func TestWhoDecided(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		rec  Record
		want Guard
	}{
		{"nobody", Record{Route: "a", Guards: map[string]string{"waf": "count", "limit": "count"}, WAF: &WAF{Verdict: "count"}}, NoGuard},
		{"admission", Record{Denied: "x", Guards: map[string]string{"admission": "encoded slash"}}, Admission},
		{"a limit", Record{Route: "a", Denied: "x", Guards: map[string]string{"limit": "pass, block"}}, ByLimit},
		{"the WAF", Record{Route: "a", Denied: "waf: refused by rule 949110", Guards: map[string]string{"limit": "count", "waf": "block"}, WAF: &WAF{Verdict: "block"}}, ByWAF},
		{"the WAF, that could not read", Record{Route: "a", Denied: "waf: request body could not be read", Guards: map[string]string{"waf": "pass"}, WAF: &WAF{Verdict: "pass"}}, ByWAF},
		{"login", Record{Route: "a", Denied: "x", Guards: map[string]string{"waf": "count", "login": "asked"}, WAF: &WAF{Verdict: "count"}}, ByLogin},
		{"a limit by identity", Record{Route: "a", Denied: "x", Guards: map[string]string{"login": "pass", "limit": "pass, block"}}, ByLimit},
		{"the upstream", Record{Route: "a", Denied: "x", Guards: map[string]string{"upstream": "connect_refused", "login": "pass"}}, Upstream},
		{"the routes", Record{Denied: "x", Guards: map[string]string{"admission": "no route"}}, ByTable},
		{"something else", Record{Route: "a", Denied: "panic"}, ByOther},
	} {
		if got := tt.rec.Decider(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
