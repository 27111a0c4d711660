package tuning

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestGroupsSayWhatTheirExclusionWouldDo(t *testing.T) {
	t.Parallel()
	var tune Tuning
	route := "app"
	add := func(id, client, verdict string, matches ...Match) {
		rec := &Record{ID: id, Client: client, Route: route, Time: time.Unix(int64(len(id)), 0)}
		rec.WAF = &WAF{Mode: "block", Verdict: verdict, Threshold: 5, Matches: matches}
		for _, m := range matches {
			rec.WAF.Score += m.Score
		}
		tune.Add(rec)
	}
	search, header := at(942100, "ARGS_GET", "q", 5), at(920300, "REQUEST_HEADERS", "accept", 2)
	route = "app (2)" // another match of the route
	add("a1", "192.0.2.1", "block", search)
	route = "app"
	add("a2", "192.0.2.2", "block", search)
	add("a3", "192.0.2.2", "count", search)
	add("suspect", "192.0.2.3", "block", search, header)
	add("attack", "192.0.2.3", "block", search, at(941100, "ARGS_GET", "q", 5))
	add("fine", "192.0.2.4", "pass", header)
	add("no rule", "192.0.2.4", "pass")

	got := tune.Groups()
	want := []Group{
		{
			Rule: 942100, Route: "app", Target: "query.q", Variable: "ARGS_GET", Exclude: Exclusion{942100, "query.q"},
			Requests: 5, Blocked: 4, Counted: 1, Clients: 3, LetsThrough: 4, Elsewhere: 2, Suspects: 1, OtherRules: []int{920300, 941100},
			First: time.Unix(2, 0), Last: time.Unix(7, 0), Examples: []string{"suspect", "a1", "a2"},
		},
		{
			Rule: 920300, Route: "app", Target: "header.Accept", Variable: "REQUEST_HEADERS", Exclude: Exclusion{920300, "header.Accept"},
			Requests: 2, Blocked: 1, Passed: 1, Clients: 2, Elsewhere: 1, OtherRules: []int{942100}, First: time.Unix(4, 0), Last: time.Unix(7, 0),
		},
		{
			Rule: 941100, Route: "app", Target: "query.q", Variable: "ARGS_GET", Exclude: Exclusion{941100, "query.q"},
			Requests: 1, Blocked: 1, Clients: 1, Elsewhere: 1, OtherRules: []int{942100}, First: time.Unix(6, 0), Last: time.Unix(6, 0),
		},
	}
	if diff := cmp.Diff(got, want, cmpopts.IgnoreUnexported(Group{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("groups (-got +want)\n%s", diff)
	}
	if tune.Matched != 6 || tune.Refused != 5 {
		t.Errorf("got %d matched, %d refused, want 6 and 5", tune.Matched, tune.Refused)
	}
}

// A client that matches one rule under a new name each time fills no memory.
func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	var tune Tuning
	for i := range maxGroups + 10 {
		rec := matched(fmt.Sprint(i), 942100)
		rec.WAF.Matches[0].Key = fmt.Sprint("k", i)
		tune.Add(&rec)
	}
	if n := len(tune.Groups()); n != maxGroups || tune.Left != 10 {
		t.Errorf("got %d groups, %d left, want %d and 10", n, tune.Left, maxGroups)
	}
}
