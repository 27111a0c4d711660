package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// awsRecord is what tools for AWS WAF's logs read of a record.
type awsRecord struct {
	Action            string
	TerminatingRuleID string `json:"terminatingRuleId"`
	HTTPRequest       struct{ RequestID, URI, Args, ClientIP string }
}

// readRecords returns the records of a file, and that it has nothing that was sent as a value.
func readRecords(t *testing.T, path string) (list []awsRecord) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "recipes") || strings.Contains(string(text), "svg") {
		t.Errorf("a value is in the log:\n%s", text)
	}
	for line := range strings.Lines(string(text)) {
		var rec awsRecord
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		list = append(list, rec)
	}
	return list
}

// TestTheWAFLogOfAWS: the file is written beside the events, has their ids, and is opened anew at a reload.
func TestTheWAFLogOfAWS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "aws-waf-logs.json")
	spec := siteSpec{
		upstream: startEcho(t), routes: tuningRoutes,
		top: "events: {waf_log: {format: aws, file: " + file + ", web_acl: \"arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/edge/a1b2\"}}",
	}
	s := startOpen(t, spec)
	id := s.blockedID(goodSearch) // twice
	fetch(t, newClient(t, s.addr, true), s.base+"/search?q=soup", "")
	s.eventWithID(id)
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	s.reload(t, reloaded)
	again := s.blockedID(twinRule)
	s.eventWithID(again)

	for path, want := range map[string]struct{ id, rule string }{file + ".1": {id, "sqli"}, file: {again, "core"}} {
		list := readRecords(t, path)
		if len(list) == 0 {
			t.Fatalf("%s: no record", filepath.Base(path))
		}
		first := list[0]
		if len(list) > 2 || first.Action != "BLOCK" || first.TerminatingRuleID != want.rule || first.HTTPRequest.RequestID != want.id ||
			first.HTTPRequest.URI != "/search" || first.HTTPRequest.Args != "REDACTED" || first.HTTPRequest.ClientIP != "127.0.0.1" {
			t.Errorf("%s: got %+v, want the request %s blocked by %s", filepath.Base(path), list, want.id, want.rule)
		}
	}
	if found := runToEnd(t, "", nil, "why", again, "--admin", s.addrs["admin"]); found.code != 0 {
		t.Errorf("the id of the record finds no sample: %+v", found)
	}
	s.write(strings.Replace(s.text, file, filepath.Join(file, "below"), 1))
	if problems, _ := s.reload(t, refusedReload)["problems"].(string); !strings.Contains(problems, "events.waf_log.file: ") {
		t.Errorf("a file that cannot be opened: got %q", problems)
	}
}
