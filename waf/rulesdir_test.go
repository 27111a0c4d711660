package waf

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

// writeRules writes files of rules into a directory of their own.
func writeRules(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newerSet is a directory as people unpack a release of the set: the files of 4.25, of which one finds something more, and
// settings beside them.
func newerSet(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(coreruleset.FS, crsDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(coreruleset.FS, name)
		files["rules/"+filepath.Base(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	setup, err := fs.ReadFile(coreruleset.FS, "@crs-setup.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	files["crs-setup.conf"] = string(setup) + `
SecAction "id:900200,phase:1,pass,t:none,nolog,setvar:'tx.allowed_methods=GET HEAD POST'"
`
	const level2 = `SecRule TX:DETECTION_PARANOIA_LEVEL "@lt 2"`
	scanners := files["rules/REQUEST-913-SCANNER-DETECTION.conf"]
	files["rules/REQUEST-913-SCANNER-DETECTION.conf"] = strings.Replace(scanners, level2, `
SecRule REQUEST_HEADERS:User-Agent "@rx ^brandnew" \
    "id:913990,phase:1,block,t:none,msg:'New here',severity:'CRITICAL',\
    setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}'"
`+level2, 1)
	files["README.md"] = "not read"
	return files
}

// rulesProblemsOf are those that check tells.
func rulesProblemsOf(dir string) (out []string) {
	CheckRules(dir, func(field, msg string) { out = append(out, field+": "+msg) })
	return out
}

func TestANewerRuleSet(t *testing.T) {
	t.Parallel()
	cfg := Config{RulesDir: writeRules(t, newerSet(t))}
	if got := append(problems(cfg), rulesProblemsOf(cfg.RulesDir)...); got != nil {
		t.Fatalf("got %v, want no problem", got)
	}
	cfg.Exclude = []Exclusion{{Rule: 913990, Target: "header.User-Agent"}}
	if got := problems(cfg); got != nil {
		t.Fatalf("an exclusion of a rule of the set: got %v, want no problem", got)
	}
	excluded := newTestEngine(t, cfg, "")
	cfg.Exclude = nil
	e := newTestEngine(t, cfg, "")
	brandnew := sample{header: map[string]string{"User-Agent": "brandnew/1"}}
	for _, tt := range []struct {
		name string
		s    sample
		want int
	}{
		{"what the set finds", sample{target: "/?id=" + escaped(union)}, http.StatusForbidden},
		{"what it finds more", brandnew, http.StatusForbidden},
		{"what its settings say", sample{method: http.MethodPut}, http.StatusForbidden},
		{"what rules of ours find", sample{target: "/WEB-INF/web.xml"}, http.StatusForbidden},
		{"what is ordinary", sample{target: "/?q=shoes"}, http.StatusOK},
	} {
		if v := e.check(tt.s.request()); verdictOf(v) != tt.want {
			t.Errorf("%s: got %d by %v, want %d", tt.name, verdictOf(v), ids(v.result), tt.want)
		}
	}
	if v := excluded.check(brandnew.request()); verdictOf(v) != http.StatusOK {
		t.Errorf("excluded: got %d, want 200", verdictOf(v))
	}
}

const ownFile = `# Rules of a shop.
SecRule REQUEST_HEADERS:X-Partner "@streq banned" \
    "id:1001,phase:1,deny,status:451,t:none,msg:'A partner who may not'"

SecRule ARGS_GET:coupon "@pmFromFile coupons.data" \
    "id:1002,phase:2,block,t:none,t:lowercase,msg:'A coupon that was stolen',severity:'CRITICAL',\
    setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}'"

SecRule REQUEST_FILENAME "@beginsWith /search" \
    "id:1003,phase:1,pass,nolog,t:none,ctl:ruleRemoveTargetById=942100;ARGS_GET:q"

SecRule ARGS_GET:a "@rx ^x$" "id:1004,phase:2,deny,status:403,t:none,msg:'A chain',chain"
    SecRule ARGS_GET:b "@rx ^y$" "t:none"

SecRuleRemoveById 941100-941199
SecRuleUpdateTargetById 942190 "!ARGS:free"
`

func TestRulesOfTheOperator(t *testing.T) {
	t.Parallel()
	dir := writeRules(t, map[string]string{"shop.conf": ownFile, "coupons.data": "stolen1\nstolen2\n"})
	e := newTestEngine(t, Config{RulesDir: dir}, "")
	count := newTestEngine(t, Config{RulesDir: dir, Groups: Groups{"core", "sqli", "custom:count"}}, "")
	off := newTestEngine(t, Config{RulesDir: dir, Groups: Groups{"core", "sqli", "custom:off"}}, "")
	single := newTestEngine(t, Config{RulesDir: dir, Rules: map[string]string{"1001": "count"}, Exclude: []Exclusion{{Rule: 1002, Target: "query.coupon"}}}, "")
	banned := sample{header: map[string]string{"X-Partner": "banned"}}
	coupon := sample{target: "/?coupon=Stolen1"}
	for _, tt := range []struct {
		name  string
		e     *Engine
		s     sample
		want  int
		match int
	}{
		{"a rule that refuses by itself", e, banned, 451, 1001},
		{"a rule that scores, with a list", e, coupon, 403, 1002},
		{"a coupon that is not on the list", e, sample{target: "/?coupon=mine"}, 200, 0},
		{"a chain", e, sample{target: "/?a=x&b=y"}, 403, 1004},
		{"half a chain", e, sample{target: "/?a=x&b=z"}, 200, 0},
		{"a rule of the set beside them", e, sample{target: "/?id=" + escaped(union)}, 403, 942100},
		{"counted", count, banned, 200, 1001},
		{"counted, scoring", count, coupon, 200, 1002},
		{"off", off, banned, 200, 0},
		{"a single one on count", single, banned, 200, 1001},
		{"excluded", single, coupon, 200, 0},
	} {
		v := tt.e.check(tt.s.request())
		if verdictOf(v) != tt.want || (tt.match > 0) != slices.Contains(ids(v.result), tt.match) {
			t.Errorf("%s: got %d by %v, want %d and %d", tt.name, verdictOf(v), ids(v.result), tt.want, tt.match)
		}
	}
	if v := e.check((sample{target: "/search?q=" + escaped("SELECT name FROM recipes WHERE kind = 'soup'")}).request()); verdictOf(v) != 200 {
		t.Errorf("a target that a rule takes away: got %d by %v, want 200", verdictOf(v), ids(v.result))
	}
	for _, m := range e.check((sample{target: "/?q=" + escaped("<script>alert(1)</script>")}).request()).result.Matches {
		if m.RuleID >= 941100 && m.RuleID < 941200 {
			t.Errorf("rule %d runs, want it to be removed", m.RuleID)
		}
	}
}

// The gate leaves out rules of the operator's only if they would have done nothing.
func TestGatedAndStockAgreeOnRulesOfTheOperator(t *testing.T) {
	t.Parallel()
	dir := writeRules(t, map[string]string{"shop.conf": ownFile, "coupons.data": "stolen1\nstolen2\n"})
	p := newPair(t, "own rules", Config{RulesDir: dir, Paranoia: 2, Groups: Groups{"core", "sqli:count"}}, "")
	for i, s := range []sample{
		{header: map[string]string{"X-Partner": "banned"}},
		{target: "/?coupon=Stolen1&a=x&b=y"},
		{target: "/?a=x&b=z"},
		{target: "/search?q=" + escaped(union) + "&free=" + escaped(union)},
		{target: "/?q=" + escaped("<script>alert(1)</script>")},
	} {
		if d := p.differ(s.request); d != "" {
			t.Errorf("request %d: %s", i, d)
		}
	}
	compare(t, p, max(some(100), 10), func(n int) *http.Request { return generate(77, uint64(n)) })
}

func TestProblemsOfRules(t *testing.T) {
	t.Parallel()
	rule := func(rest string) string { return "\n\nSecRule ARGS \"@rx x\" \"" + rest + "\"\n" }
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"nothing", nil, []string{`has no .conf file`}},
		{"directives of the program's", map[string]string{"a.conf": "\nSecRuleEngine Off\nSecRequestBodyLimit 10\nSecAuditLog /tmp/x\nSecDebugLog /tmp/y\nInclude /etc/passwd\nSecDefaultAction \"phase:1,deny\"\nSecUploadKeepFiles On\n"}, []string{
			`a.conf:2: SecRuleEngine: is not taken here: waf.mode says whether rules decide`, `a.conf:3: SecRequestBodyLimit: is not taken here: waf.body_limit`,
			`a.conf:4: SecAuditLog: is not taken here: events`, `a.conf:5: SecDebugLog: is not taken`, `a.conf:6: Include: is not taken here: every .conf file`,
			`a.conf:7: SecDefaultAction: only pass is taken`, `a.conf:8: SecUploadKeepFiles: is not taken`,
		}},
		{"an unknown directive", map[string]string{"a.conf": "SecRul ARGS \"@rx x\" \"id:1\"\n"}, []string{`a.conf:1: SecRul: unknown directive: did you mean "SecRule"?`}},
		{"what a rule may not do", map[string]string{"a.conf": rule("id:1,phase:2,pass,exec:/bin/true") + rule("id:2,phase:2,pass,ctl:ruleEngine=Off") + rule("id:3,phase:4,deny") +
			rule("id:4,phase:1,pass,setvar:tx.paranoia_level=1") + "SecRule FILES \"@inspectFile /bin/x\" \"id:5,phase:2,deny\"\nSecRule REMOTE_ADDR \"@rbl x.example\" \"id:6,phase:1,deny\"\n"}, []string{
			`a.conf:3: rule 1: the action exec is not taken`, `a.conf:6: rule 2: ctl:ruleEngine is not taken`, `a.conf:9: rule 3: phase 4 is after the request`,
			`a.conf:12: rule 4: tx.paranoia_level is set by waf.paranoia`, `a.conf:13: rule 5: the operator @inspectFile is not taken`, `a.conf:14: rule 6: the operator @rbl is not taken`,
		}},
		{"ids", map[string]string{"a.conf": rule("id:1,phase:2,pass") + rule("phase:2,pass"), "b.conf": rule("id:1,phase:2,pass") + rule("id:190100,phase:2,pass") + rule("id:942100,phase:2,pass") + rule("id:899000,phase:2,pass")}, []string{
			`a.conf:6: SecRule ARGS`, `the rule has no id`, `b.conf:3: rule 1: the id is taken by the rule in a.conf:3`, `b.conf:6: rule 190100: the id is one of Gatehouse's own`,
			`b.conf:9: rule 942100: the id is one of the Core Rule Set's`, `b.conf:12: rule 899000: the id is one of Gatehouse's own`,
		}},
		{"what the engine does not know", map[string]string{"a.conf": "SecRule ARGS \"@nosuch x\" \"id:1,phase:2,deny\"\nSecRule NO_SUCH \"@rx x\" \"id:2,phase:2,deny\"\nSecRule ARGS \"@rx x\" \"id:3,phase:2,deny,t:nosuch\"\n" +
			"SecRule ARGS \"@rx (\" \"id:4,phase:2,deny\"\nSecRule ARGS \"@pmFromFile missing.data\" \"id:5,phase:2,deny\"\nSecRule ARGS \"@pmFromFile /etc/passwd\" \"id:6,phase:2,deny\"\n" +
			"SecRule ARGS \"@pmFromFile ../x.data\" \"id:7,phase:2,deny\"\nSecRule ARGS \"@rx x\" \"id:8,phase:2,nosuch\"\nSecRule ARGS @rx\n"}, []string{
			`a.conf:1: rule 1:`, `nosuch`, `a.conf:2: rule 2:`, `NO_SUCH`, `a.conf:3: rule 3:`, `a.conf:4: rule 4:`, `a.conf:5: rule 5:`, `missing.data`, `a.conf:6: rule 6:`, `a.conf:7: rule 7:`, `a.conf:8: rule 8:`,
		}},
		{"files without an end", map[string]string{"a.conf": "SecRule ARGS \"@rx x\" \\\n \"id:1,phase:2,deny,chain\"\n\nSecRule ARGS \\\n"}, []string{`a.conf:4: the file ends within this directive`, `a.conf:1: SecRule: the chain ends without its last rule`}},
		{"settings that are ours", map[string]string{"crs-setup.conf": "SecAction \"id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level=4\"\n", "a.conf": rule("id:1,phase:2,pass")}, []string{`crs-setup.conf:1: rule 900000: tx.blocking_paranoia_level is set by waf.paranoia and waf.threshold`}},
		{"half a set", map[string]string{"rules/REQUEST-901-INITIALIZATION.conf": "SecAction \"id:901000,phase:1,pass\"\n"}, []string{`there is no REQUEST-949-*.conf`}},
		{"no text", map[string]string{"a.conf": "SecAction\x00"}, []string{`a.conf: has a NUL byte`}},
		{"a huge file", map[string]string{"a.conf": strings.Repeat("# x\n", 2<<20)}, []string{`a.conf: has 8388608 bytes (want at most 4 MiB)`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(rulesProblemsOf(writeRules(t, tt.files)), "\n")
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("got\n%s\nwant %q in it", got, want)
				}
			}
		})
	}
}

// What is no file, or lies elsewhere, is told of, and nothing waits for it.
func TestFilesOfRulesThatAreNone(t *testing.T) {
	t.Parallel()
	dir := writeRules(t, map[string]string{"a.conf": "SecAction \"id:1,phase:1,pass\"\n"})
	outside := writeRules(t, map[string]string{"x.conf": "SecRuleEngine Off\n"})
	for name, make := range map[string]func(string) error{
		"pipe.conf":   func(p string) error { return syscall.Mkfifo(p, 0o644) },
		"link.conf":   func(p string) error { return os.Symlink(filepath.Join(outside, "x.conf"), p) },
		"loop.conf":   func(p string) error { return os.Symlink("loop.conf", p) },
		"folder.conf": func(p string) error { return os.Mkdir(p, 0o755) },
		"null.data":   func(p string) error { return os.Symlink("/dev/zero", p) },
	} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(problems(Config{RulesDir: dir}), "\n")
	for _, want := range []string{"pipe.conf: is no regular file", "link.conf: path escapes from parent", "loop.conf: ", "folder.conf: is no regular file", "null.data: path escapes from parent"} {
		if !strings.Contains(got, "rules_dir: "+want) {
			t.Errorf("got\n%s\nwant %q in it", got, want)
		}
	}
	inside := writeRules(t, map[string]string{"real/a.txt": "SecAction \"id:1,phase:1,pass\"\n"})
	if err := os.Symlink("real/a.txt", filepath.Join(inside, "a.conf")); err != nil {
		t.Fatal(err)
	}
	if got := problems(Config{RulesDir: inside}); got != nil {
		t.Errorf("a link within the directory: got %v, want no problem", got)
	}
	pipe := filepath.Join(outside, "pipe")
	for _, p := range []string{pipe, filepath.Join(inside, "rules")} {
		if err := syscall.Mkfifo(p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := problems(Config{RulesDir: pipe}); len(got) != 1 || !strings.Contains(got[0], "rules_dir: is no directory but p") {
		t.Errorf("a pipe for the directory: got %v", got)
	}
	if got := problems(Config{RulesDir: inside}); len(got) != 1 || !strings.Contains(got[0], "rules_dir: rules: is no directory but p") {
		t.Errorf("a pipe in the directory: got %v", got)
	}
	if got := problems(Config{RulesDir: filepath.Join(inside, "none")}); len(got) != 1 || !strings.Contains(got[0], "cannot be read: no such file or directory") {
		t.Errorf("no directory: got %v", got)
	}
}

func TestTheDigestCoversRules(t *testing.T) {
	t.Parallel()
	dir := writeRules(t, map[string]string{"a.conf": "SecRule ARGS \"@pmFromFile l.data\" \"id:1,phase:2,deny\"\n", "l.data": "one\n"})
	cfg := Config{RulesDir: dir}
	seen := []string{Config{}.Digest(), cfg.Digest()}
	for name, text := range map[string]string{"l.data": "two\n", "a.conf": "SecAction \"id:1,phase:1,pass\"\n", "b.conf": "SecAction \"id:2,phase:1,pass\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, cfg.Digest())
	}
	slices.Sort(seen)
	if n := len(slices.Compact(seen)); n != 5 {
		t.Errorf("got %d digests, want 5", n)
	}
	if got := fmt.Sprint(RuleFiles(dir)); got != "["+dir+"/ "+dir+"/rules/]" {
		t.Errorf("files: got %s", got)
	}
}
