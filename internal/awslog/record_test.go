package awslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// differs says where v has not the form of shape. A key with ? may be missing, and one with ~ null; a list has members of one form; null in
// a record stands where AWS writes it for objects and lists.
func differs(path string, shape, v any) (found []string) {
	switch shape := shape.(type) {
	case map[string]any:
		if v == nil {
			return nil
		}
		object, ok := v.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T, want an object", path, v)}
		}
		known := map[string]bool{}
		for key, member := range shape {
			name, optional := strings.CutPrefix(key, "?")
			name, nullable := strings.CutPrefix(name, "~")
			known[name] = true
			value, has := object[name]
			if has && nullable && value == nil {
				continue
			}
			if !has && !optional {
				found = append(found, path+"."+name+": is missing")
			}
			if has {
				found = append(found, differs(path+"."+name, member, value)...)
			}
		}
		for name := range object {
			if !known[name] {
				found = append(found, path+"."+name+": AWS has no such field")
			}
		}
	case []any:
		list, ok := v.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %T, want a list", path, v)}
		}
		for _, member := range list {
			if len(shape) == 0 {
				return []string{path + ": want it empty"}
			}
			found = append(found, differs(path+"[]", shape[0], member)...)
		}
	default:
		if fmt.Sprintf("%T", shape) != fmt.Sprintf("%T", v) {
			found = append(found, fmt.Sprintf("%s: %T, want %T", path, v, shape))
		}
	}
	return found
}

func request(matches ...Match) *Request {
	return &Request{
		Time: time.UnixMilli(1763633741777), ID: "88ca9e69e24f77711e7c9553c5170c6f", Client: "203.0.113.9", Scheme: "https", Proto: "HTTP/1.1",
		Method: "GET", Host: "app.example.com", Path: "/search", Agent: "curl/8.6.0", Cause: ScoreRule, Threshold: 5, Paranoia: 1, Matches: matches,
	}
}

// decode returns the record of r, which must have AWS's form.
func decode(t *testing.T, cfg Config, r *Request) map[string]any {
	t.Helper()
	line, err := cfg.encode(r)
	if err != nil || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("got %q, %v, want one line", line, err)
	}
	text, err := os.ReadFile("testdata/shape.json")
	if err != nil {
		t.Fatal(err)
	}
	var shape, got any
	if err := json.Unmarshal(text, &shape); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if found := differs("", shape, got); len(found) > 0 {
		t.Errorf("%s\n%s", strings.Join(found, "\n"), line)
	}
	return got.(map[string]any)
}

func TestRecordsHaveTheFormOfAWS(t *testing.T) {
	t.Parallel()
	sql, xss := Match{942100, "ARGS_GET", "id", 5, false}, Match{941100, "ARGS_POST", "json.a", 5, false}
	accept, alone := Match{920300, "REQUEST_HEADERS", "accept", 2, false}, Match{200002, "REQBODY_ERROR", "", 5, false}
	for _, tt := range []struct {
		name                string
		refused, would      bool
		cause               int
		matches             []Match
		action, rule, kind  string
		terminating, others string // in its group
		detail              string
	}{
		{"blocked", true, false, ScoreRule, []Match{sql}, "BLOCK", "sqli", "MANAGED_RULE_GROUP", "sqli:942100", "", "SQL_INJECTION QUERY_STRING REDACTED"},
		{"blocked by the second", true, false, ScoreRule, []Match{accept, xss, sql}, "BLOCK", "core", "MANAGED_RULE_GROUP", "core:941100", "core:920300/BLOCK sqli:942100/BLOCK", "XSS UNKNOWN REDACTED"},
		{"a rule that decides alone", true, false, 200002, []Match{sql, alone}, "BLOCK", "inspection", "MANAGED_RULE_GROUP", "inspection:200002", "sqli:942100/BLOCK", ""},
		{"one rule at two places", true, false, ScoreRule, []Match{sql, {942100, "ARGS_GET", "q", 5, false}}, "BLOCK", "sqli", "MANAGED_RULE_GROUP", "sqli:942100", "", "SQL_INJECTION QUERY_STRING REDACTED"},
		{"counted", false, true, ScoreRule, []Match{sql}, "ALLOW", "Default_Action", "REGULAR", "", "sqli:942100/BLOCK", ""},
		{"below the threshold", false, false, 0, []Match{accept}, "ALLOW", "Default_Action", "REGULAR", "", "core:920300/", ""},
	} {
		r := request(tt.matches...)
		r.Refused, r.WouldRefuse, r.Cause = tt.refused, tt.would, tt.cause
		got := decode(t, Config{Format: "aws"}, r)
		if got["action"] != tt.action || got["terminatingRuleId"] != tt.rule || got["terminatingRuleType"] != tt.kind {
			t.Errorf("%s: got %v by %v (%v), want %s by %s (%s)", tt.name, got["action"], got["terminatingRuleId"], got["terminatingRuleType"], tt.action, tt.rule, tt.kind)
		}
		var terminating, others []string
		for _, g := range got["ruleGroupList"].([]any) {
			group := g.(map[string]any)
			name := strings.TrimPrefix(group["ruleGroupId"].(string), "Gatehouse#")
			if rule, ok := group["terminatingRule"].(map[string]any); ok {
				terminating = append(terminating, name+":"+rule["ruleId"].(string))
			}
			for _, rule := range group["nonTerminatingMatchingRules"].([]any) {
				over, _ := rule.(map[string]any)["overriddenAction"].(string)
				others = append(others, name+":"+rule.(map[string]any)["ruleId"].(string)+"/"+over)
			}
		}
		if strings.Join(terminating, " ") != tt.terminating || strings.Join(others, " ") != tt.others {
			t.Errorf("%s: got %v and %v, want %q and %q", tt.name, terminating, others, tt.terminating, tt.others)
		}
		detail := ""
		for _, d := range got["terminatingRuleMatchDetails"].([]any) {
			m := d.(map[string]any)
			detail += fmt.Sprint(m["conditionType"], " ", m["location"], " ", m["matchedData"].([]any)[0])
		}
		if detail != tt.detail {
			t.Errorf("%s: got the details %q, want %q", tt.name, detail, tt.detail)
		}
	}
}

// What rules of the file decided stands where AWS has what those of a web ACL did.
func TestRulesOfTheFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		r    Request
		want string
	}{
		{"blocked", Request{Rule: "probes", Action: "block", Status: 429, Labels: []string{"gatehouse:rule:probe"}}, "BLOCK probes REGULAR 429 [] [gatehouse:rule:probe] []"},
		{"allowed", Request{Rule: "monitor", Action: "allow", Inserted: []Header{{"X-Amzn-Waf-A", "1"}}}, "ALLOW monitor REGULAR <nil> [] [] [X-Amzn-Waf-A:1]"},
		{"counted", Request{Rule: "Default_Action", Action: "allow", Counted: []Counted{{"mark", "count"}, {"probes", "block"}, {"browsers", "challenge"}}}, "ALLOW Default_Action REGULAR <nil> [mark/COUNT probes/COUNT/BLOCK browsers/CHALLENGE] [] []"},
		{"challenged", Request{Rule: "browsers", Action: "challenge", Token: "rejected:expired"}, "CHALLENGE browsers REGULAR 202 [] [] [] TOKEN_EXPIRED"},
		{"refused by the groups", Request{Counted: []Counted{{"mark", "count"}}, Refused: true, Matches: []Match{{Rule: 942100, Variable: "ARGS_GET", Key: "id", Score: 5}}}, "BLOCK sqli MANAGED_RULE_GROUP <nil> [mark/COUNT] [gatehouse:waf:sqli:942100] []"},
	} {
		r := request()
		r.Matches, r.Refused = tt.r.Matches, tt.r.Refused
		r.Rule, r.Action, r.Status, r.Labels, r.Counted, r.Inserted, r.Token = tt.r.Rule, tt.r.Action, tt.r.Status, tt.r.Labels, tt.r.Counted, tt.r.Inserted, tt.r.Token
		got := decode(t, Config{}, r)
		var counted, labels, inserted []string
		for _, m := range got["nonTerminatingMatchingRules"].([]any) {
			rule := m.(map[string]any)
			text := fmt.Sprint(rule["ruleId"], "/", rule["action"])
			if over, ok := rule["overriddenAction"]; ok {
				text += fmt.Sprint("/", over)
			}
			counted = append(counted, text)
		}
		for _, l := range got["labels"].([]any) {
			labels = append(labels, l.(map[string]any)["name"].(string))
		}
		if list, ok := got["requestHeadersInserted"].([]any); ok {
			for _, h := range list {
				inserted = append(inserted, fmt.Sprint(h.(map[string]any)["name"], ":", h.(map[string]any)["value"]))
			}
		}
		text := fmt.Sprint(got["action"], " ", got["terminatingRuleId"], " ", got["terminatingRuleType"], " ", got["responseCodeSent"], " ", counted, " ", labels, " ", inserted)
		if c, ok := got["challengeResponse"].(map[string]any); ok {
			text += fmt.Sprint(" ", c["failureReason"])
		}
		if text != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, text, tt.want)
		}
	}
}

func TestARecordSaysOfTheRequestWhatEventsMay(t *testing.T) {
	t.Parallel()
	r := request(Match{942100, "ARGS_GET", "id", 5, false})
	r.BodySize = 7
	got := decode(t, Config{WebACL: "arn:x", Source: "CF", SourceID: "EDFDVBD6EXAMPLE"}, r)
	want := map[string]any{
		"clientIp": "203.0.113.9", "country": "-", "uri": "/search", "args": "REDACTED", "httpVersion": "HTTP/1.1", "httpMethod": "GET",
		"requestId": r.ID, "fragment": "", "scheme": "https", "host": "app.example.com",
		"headers": []any{map[string]any{"name": "Host", "value": "app.example.com"}, map[string]any{"name": "User-Agent", "value": "curl/8.6.0"}},
	}
	if diff := cmp.Diff(got["httpRequest"], any(want)); diff != "" {
		t.Errorf("httpRequest (-got +want)\n%s", diff)
	}
	if got["webaclId"] != "arn:x" || got["httpSourceName"] != "CF" || got["httpSourceId"] != "EDFDVBD6EXAMPLE" || got["timestamp"] != 1763633741777.0 || got["requestBodySize"] != 7.0 {
		t.Errorf("got %v, want what the configuration says", got)
	}
}

func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	var many []Match
	for i := range 200 {
		many = append(many, Match{942000 + i, "ARGS_GET", "q", 5, false})
	}
	if n := len(decode(t, Config{}, request(many...))["labels"].([]any)); n != maxLabels {
		t.Errorf("got %d labels, want %d", n, maxLabels)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Format: "aws", Source: "CF"}, ""},
		{Config{Format: "json"}, `format: unknown format "json" (want aws)`},
		{Config{File: "x"}, "format: required (want aws)"},
		{Config{Format: "aws", Source: "cloudfront"}, `source: unknown source "cloudfront" (want one of ALB, APIGW, APPRUNNER, APPSYNC, CF, COGNITOIDP, VERIFIED_ACCESS)`},
	} {
		var got []string
		tt.cfg.Validate(func(field, msg string) { got = append(got, field+": "+msg) })
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.cfg, got, tt.want)
		}
	}
}

type failing struct{ n int }

func (f *failing) Write(b []byte) (int, error) { f.n++; return 0, os.ErrClosed }

func TestLogWritesWhereItIsTold(t *testing.T) {
	t.Parallel()
	var log Log
	var stdout bytes.Buffer
	file := filepath.Join(t.TempDir(), "aws-waf-logs.json")
	use := func(cfg Config) {
		t.Helper()
		out, err := Open(cfg, &stdout)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Use(out); err != nil {
			t.Fatal(err)
		}
	}
	write := func() {
		t.Helper()
		if err := log.Write(request()); err != nil {
			t.Error(err)
		}
	}
	write()
	if log.On() {
		t.Error("the zero Log is on")
	}
	use(Config{Format: "aws"})
	write()
	use(Config{Format: "aws", File: file})
	write()
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	write() // into the renamed one, until the reload
	use(Config{Format: "aws", File: file})
	write()
	use(Config{})
	write()
	for name, want := range map[string]int{file: 1, file + ".1": 2} {
		text, err := os.ReadFile(name)
		if err != nil || bytes.Count(text, []byte("\n")) != want {
			t.Errorf("%s: got %q, %v, want %d records", filepath.Base(name), text, err, want)
		}
	}
	if n := strings.Count(stdout.String(), "\n"); n != 1 {
		t.Errorf("standard output: got %d records, want 1", n)
	}
	if _, err := Open(Config{Format: "aws", File: filepath.Join(file, "x")}, nil); err == nil {
		t.Error("a file that cannot be opened: got no error")
	}
}

func TestAFullDiskIsToldOnce(t *testing.T) {
	t.Parallel()
	var log Log
	disk := &failing{}
	if err := log.Use(&Output{to: disk}); err != nil {
		t.Fatal(err)
	}
	told := 0
	for range 3 {
		if log.Write(request()) != nil {
			told++
		}
	}
	if told != 1 || disk.n != 3 {
		t.Errorf("told %d times of %d failures, want once of 3", told, disk.n)
	}
}

func TestLabelsNameTheGroupsOfRules(t *testing.T) {
	t.Parallel()
	for rule, want := range map[int]string{
		942100: "sqli", 941100: "core", 932230: "posix", 933100: "php", 944150: "known-bad-inputs", 951110: "leakages", 200002: "inspection",
		190100: "core", 190110: "sqli", 190300: "known-bad-inputs", 190400: "admin-protection", 190500: "wordpress", 190600: "size-restrictions",
		190700: "posix", 190800: "php", 1001: "custom", 1000001: "custom",
	} {
		if got := LabelOf(rule); got != fmt.Sprintf("gatehouse:waf:%s:%d", want, rule) {
			t.Errorf("rule %d: got %s, want the group %s", rule, got, want)
		}
	}
}
