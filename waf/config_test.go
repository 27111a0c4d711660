package waf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func problems(c Config) []string {
	var out []string
	c.Validate(func(field, msg string) { out = append(out, field+": "+msg) })
	return out
}

func TestValidateReportsEverythingWrong(t *testing.T) {
	t.Parallel()
	got := problems(Config{
		Mode:      "on",
		Paranoia:  5,
		Threshold: -1,
		Groups:    []string{"core", "sql", "leakages"},
		BodyLimit: "1 MB",
		Oversize:  "drop",

		ResponseLimit: "100B",
		Exclude: []Exclusion{
			{},
			{Rule: 942100, Group: "sqli"},
			{Rule: 949110},
			{Rule: 920340},
			{Rule: 959100},
			{Rule: 951110, Target: "body"},
			{Rule: 951110},
			{Group: "leakages", Target: "query.x"},
			{Group: "leakages"},
			{Group: "sql"},
			{Rule: 942100, Target: "args.x"},
			{Rule: 942100, Target: "query."},
			{Rule: 942100, Target: `query.x" "id:1`},
			{Rule: 942100, Target: "header.x|ARGS"},
			{Rule: 942421, Target: "cookie._ga"},
			{Rule: 200005},
			{Rule: 190100, Target: "header.X-Rewrite-Url"},
			{Rules: "942100-942199", Target: "query"},
			{Rules: "942100"},
			{Rules: "1-2"},
			{Rules: "9-1"},
			{Tag: "attack-sqli"},
			{Tag: "attack-none"},
			{Tag: "attack-sqli", Group: "sqli", Rules: "1-2"},
		},
	})
	const accepted = "(want any of core, known-bad-inputs, sqli, linux, posix, windows, php, wordpress, admin-protection, size-restrictions, custom, leakages)"
	want := []string{
		`mode: unknown mode "on" (want block, count or off)`,
		`paranoia: 5 is not a paranoia level (want 1 to 4)`,
		`threshold: -1 is not a score (want 1 or more; 5 is one critical rule)`,
		`body_limit: "1 MB" is not a size (want a number with B, KB, KiB, MB, MiB, GB or GiB, such as 1MiB)`,
		`response_limit: "100B" is out of range (want 1KiB to 1MiB)`,
		`oversize: unknown answer to a long body "drop" (want reject or partial)`,
		`groups[1]: unknown group "sql": did you mean "sqli"? ` + accepted,
		`exclude[0]: says not what it is about (want one of rule, rules, tag and group)`,
		`exclude[1]: names group and rule (want one of them)`,
		`exclude[2].rule: no detection rule has the id 949110 (want one from an event, such as 942100)`,
		`exclude[3].rule: no detection rule has the id 920340 (want one from an event, such as 942100)`,
		`exclude[4].rule: no detection rule has the id 959100 (want one from an event, such as 942100)`,
		`exclude[5].target: rules that read answers have no targets (want none)`,
		`exclude[7].target: rules that read answers have no targets (want none)`,
		`exclude[9].group: unknown group "sql": did you mean "sqli"? ` + accepted,
		`exclude[10].target: unknown target "args.x": did you mean "query.x" or "form.x"? (want query.NAME, form.NAME, json.PATH, header.NAME, cookie.NAME, body, files, path, query or uri)`,
		`exclude[11].target: name "" in the target cannot be excluded (want letters, digits and _.$@~+:[]*-)`,
		`exclude[12].target: name "x\" \"id:1" in the target cannot be excluded (want letters, digits and _.$@~+:[]*-)`,
		`exclude[13].target: name "x|ARGS" in the target cannot be excluded (want letters, digits and _.$@~+:[]*-)`,
		`exclude[19].rules: no detection rule has an id from 1-2 (want a range such as 942100-942199)`,
		`exclude[20].rules: "9-1" ends before it begins (want FIRST-LAST)`,
		`exclude[22].tag: no detection rule has the tag "attack-none" (want one such as attack-sqli)`,
		`exclude[23]: names group and rules and tag (want one of them)`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("problems (-got +want)\n%s", diff)
	}
	if got := problems(Config{}); got != nil {
		t.Errorf("zero value: got %v, want no problem", got)
	}
}

func TestNewRefusesWhatValidateReports(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Mode: "on", Groups: []string{"x"}}, Options{})
	if err == nil {
		t.Fatal("got an engine, want an error")
	}
	for _, want := range []string{`mode: unknown mode "on"`, `groups[0]: unknown group "x"`, "Options.Deny is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error: got %q, want %q in it", err, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "512B": 512, "1KB": 1000, "1KiB": 1024, "2MB": 2_000_000, "1MiB": 1 << 20, "3GB": 3_000_000_000, "1GiB": 1 << 30,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "B", "-1", "+1", "1.5MiB", "1mib", "1MiBB", "1TB", " 1", "1 MiB", "9223372036854775807KiB", "99999999999999999999"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: got %d, want an error", s, got)
		}
	}
	for _, s := range []string{"1B", "65MiB"} {
		if got, err := parseBodyLimit(s, defaultBodyLimit); err == nil {
			t.Errorf("limit %q: got %d, want an error", s, got)
		}
	}
}

func TestDigestIsThatOfTheEngine(t *testing.T) {
	t.Parallel()
	same := []Config{
		{},
		{Mode: ModeBlock, Paranoia: 1, Threshold: 5, Oversize: OversizeReject, Limits: Limits{JSON: "256KiB", Values: 1000, Work: "0.04s"}},
		{Groups: []string{"php", "sqli", "core", "linux", "posix", "windows", "known-bad-inputs", "php"}},
		{ResponseLimit: "1MiB"}, // of answers that are not inspected
	}
	for i, c := range same {
		if got, want := c.Digest(), same[0].Digest(); got != want {
			t.Errorf("same[%d]: got %s, want %s", i, got, want)
		}
	}
	differ := []Config{
		{},
		{Mode: ModeCount},
		{Paranoia: 2},
		{Threshold: 6},
		{Groups: []string{"core"}},
		{Groups: []string{"leakages"}},
		{Groups: []string{"leakages"}, ResponseLimit: "1MiB"},
		{Groups: []string{"core", "leakages"}},
		{BodyLimit: "2MiB"},
		{Limits: Limits{XML: "1KiB"}},
		{Limits: Limits{Nesting: 8}},
		{Oversize: OversizePartial},
		{Exclude: []Exclusion{{Rule: 942100}}},
		{Exclude: []Exclusion{{Rule: 942100, Target: "query.x"}}},
	}
	seen := map[string]string{}
	for _, c := range differ {
		d, what := c.Digest(), fmt.Sprintf("%+v", c)
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", what, other)
		}
		seen[d] = what
	}
	a := Config{Exclude: []Exclusion{{Rule: 942100}, {Group: "php", Target: "body"}}}
	b := Config{Exclude: []Exclusion{{Group: "php", Target: "body"}, {Rule: 942100}, {Rule: 942100}}}
	if a.Digest() != b.Digest() {
		t.Error("the order of exclusions changes the digest")
	}
	if a.Exclude[0].Rule != 942100 {
		t.Error("Digest reordered its receiver's list")
	}
}

// Each list of groups more doubles the engines of a route.
func TestExclusionsAreForFewListsOfGroups(t *testing.T) {
	t.Parallel()
	var c Config
	for _, groups := range [][]string{{"a"}, {"b", "a"}, {"a", "b"}, {"c"}} { // two are one
		c.Exclude = append(c.Exclude, Exclusion{Rule: 942100, For: &Whom{groups}})
	}
	if got := problems(c); len(got) > 0 || len(c.Variants().Configs) != 8 {
		t.Errorf("three: got %v and %d engines, want none and 8", got, len(c.Variants().Configs))
	}
	c.Exclude = append(c.Exclude, Exclusion{Rule: 942100, For: &Whom{[]string{"d"}}})
	want := []string{"exclude: is for 4 different lists of groups (want at most 3: name groups together, or make routes of their own)"}
	if diff := cmp.Diff(problems(c), want); diff != "" {
		t.Errorf("four: got (-) want (+)\n%s", diff)
	}
	if got := c.Variants().Configs; len(got) != 1 || len(got[0].Exclude) > 0 {
		t.Errorf("four: got %+v, want nobody to have more than everybody", got)
	}
}
