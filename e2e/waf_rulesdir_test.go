package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRulesOfTheOperator: a directory of rules beside the file refuses what they say; a reload takes changed ones and
// refuses broken ones whole, with file and line.
func TestRulesOfTheOperator(t *testing.T) {
	t.Parallel()
	spec := siteSpec{upstream: startEcho(t), top: "waf: {rules_dir: rules}", routes: `
  - {name: counting, match: ` + appHost + `/counting, to: u, require: nothing, waf: {groups: {custom: count}}}
  - {name: excluding, match: ` + appHost + `/excluding, to: u, require: nothing, waf: {exclude: [{rule: 1001, target: header.X-Partner}]}}
  - {name: single, match: ` + appHost + `/single, to: u, require: nothing, waf: {rules: {1001: count}}}
  - {name: rest, match: ` + appHost + `, to: u, require: nothing}
`}
	s := newSite(t, spec)
	dir := filepath.Join(filepath.Dir(s.file), "rules")
	file := filepath.Join(dir, "shop.conf")
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("SecRule REQUEST_HEADERS:X-Partner \"@streq banned\" \\\n    \"id:1001,phase:1,deny,status:451,t:none,msg:'A partner who may not'\"\n")
	s.write(s.fileText(spec, ""))
	s.run(spec)
	want := func(path, partner string, status int) string {
		t.Helper()
		id := ""
		for _, h2 := range []bool{false, true} {
			resp, _ := fetch(t, newClient(t, s.addr, h2), s.base+path, "", "X-Partner", partner)
			if resp.StatusCode != status {
				t.Errorf("%s from %s: got %s, want %d", path, partner, resp.Status, status)
			}
			id = resp.Header.Get("X-Request-Id")
		}
		return id
	}
	want("/x", "good", http.StatusOK)
	for _, path := range []string{"/counting", "/excluding", "/single"} {
		want(path, "banned", http.StatusOK)
	}
	id := want("/x", "banned", http.StatusUnavailableForLegalReasons)
	why := runToEnd(t, "", nil, "why", id, "--admin", s.addrs["admin"])
	if !strings.Contains(why.stdout, "the rule 1001 refuses by itself") || !strings.Contains(why.stdout, "A partner who may not") ||
		!strings.Contains(why.stdout, "exclude: [{rule: 1001") {
		t.Errorf("why: got %+v", why)
	}

	write("SecRule REQUEST_HEADERS:X-Partner \"@streq other\" \"id:1001,phase:1,deny,status:451,t:none,msg:'Another'\"\n")
	s.reload(t, reloaded)
	want("/x", "banned", http.StatusOK)
	want("/x", "other", http.StatusUnavailableForLegalReasons)

	write("\nSecRuleEngine Off\nSecRule ARGS \"@nosuch x\" \"id:1001,phase:2,deny\"\n")
	s.reload(t, refusedReload)
	want("/x", "other", http.StatusUnavailableForLegalReasons)
	check := runToEnd(t, "", nil, "check", "-c", s.file)
	if check.code == 0 || !strings.Contains(check.stderr, "waf.rules_dir: shop.conf:2: SecRuleEngine: is not taken here: waf.mode says whether rules decide") ||
		!strings.Contains(check.stderr, "waf.rules_dir: shop.conf:3: rule 1001: ") || strings.Count(check.stderr, "waf.rules_dir: ") != 2 {
		t.Errorf("check: got %+v, want the file and the line", check)
	}
}
