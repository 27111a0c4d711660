package waf

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/corazawaf/coraza/v3/experimental"
)

// The gate reads whatever rules there are, not only those of the set. These are written so that leaving one
// out, or not running one, would be seen.
func TestTheGateKeepsTheMeaningOfRules(t *testing.T) {
	t.Parallel()
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	get := func(targets ...string) (out []sample) {
		for _, target := range targets {
			out = append(out, sample{target: target})
		}
		return out
	}
	tests := []struct {
		name     string
		rules    string
		requests []sample
	}{
		{
			"a count of what another rule takes away", `
SecRule REQUEST_METHOD "@streq GET" "id:100001,phase:1,pass,nolog,t:none,ctl:ruleRemoveTargetById=100002;ARGS_GET:foo"
SecRule &ARGS_GET:foo "@eq 0" "id:100002,phase:1,pass,log,t:none"
SecRule &ARGS_GET "@lt 2" "id:100003,phase:2,pass,log,t:none,tag:'x'"
SecRule ARGS_GET:bar "@rx ^b" "id:100004,phase:1,pass,nolog,t:none,ctl:ruleRemoveTargetByTag=x;ARGS_GET:bar"
SecRule ARGS_GET:bar "!@rx ^c" "id:100005,phase:2,pass,log,t:none,tag:'x'"`,
			get("/?foo=1", "/", "/?foo=1&bar=b", "/?foo=1&bar=c", "/?foo=1&x=1&bar=b"),
		},
		{
			"captures found by a pattern", `
SecRule ARGS_GET "@rx ^(a)(b)" "id:100001,phase:2,pass,log,capture,t:none,chain"
  SecRule TX:/^[0-9]$/ "@streq b" "t:none"
SecRule ARGS_GET "@rx ^(c)(d)" "id:100002,phase:2,pass,log,capture,t:none,chain"
  SecRule TX:2 "@streq d" "t:none"`,
			get("/?a=ab", "/?a=ac", "/?a=cd"),
		},
		{
			"captures of another rule", `
SecRule ARGS_GET:a "@rx ^(x+)" "id:100001,phase:2,pass,nolog,capture,t:none,chain"
  SecRule ARGS_GET:b "@streq never" "t:none"
SecRule TX:1 "@streq xx" "id:100002,phase:2,pass,log,t:none"
SecRule ARGS_GET:a "!@rx ^(y+)" "id:100003,phase:2,pass,nolog,capture,t:none"
SecRule TX:1 "@streq yy" "id:100004,phase:2,pass,log,t:none"`,
			get("/?a=xx", "/?a=x", "/?a=yy", "/?a=xx&b=never"),
		},
		{
			"the whole of TX", `
SecRule ARGS_GET:a "@rx ." "id:100001,phase:2,pass,nolog,t:none,setvar:tx.mine=here-%{MATCHED_VAR},chain"
  SecRule ARGS_GET:b "@streq never" "t:none"
SecRule TX "@streq here-x" "id:100002,phase:2,pass,log,t:none"
SecRule &TX "@gt 0" "id:100003,phase:2,pass,log,t:none"`,
			get("/?a=x", "/?a=y", "/"),
		},
		{
			"a variable that an action sets", `
SecRule ARGS_GET:a "@streq xml" "id:100001,phase:1,pass,nolog,t:none,ctl:requestBodyProcessor=XML"
SecRule REQBODY_PROCESSOR "@streq XML" "id:100002,phase:1,pass,log,t:none"
SecRule REQBODY_PROCESSOR "@streq XML" "id:100003,phase:2,pass,log,t:none"`,
			get("/?a=xml", "/?a=x", "/"),
		},
		{
			"what a transformation says of itself", `
SecRule ARGS_GET "@rx ^a&nlt;" "id:100001,phase:2,pass,log,t:none,t:htmlEntityDecode,t:lowercase,multiMatch"
SecRule ARGS_GET "@rx ^a&#0" "id:100002,phase:2,pass,log,t:none,t:htmlEntityDecode,t:lowercase,multiMatch"
SecRule ARGS_GET "@rx ^a\xff" "id:100003,phase:2,pass,log,t:none,t:removeWhitespace,t:lowercase,multiMatch"
SecRule ARGS_GET "@streq 2" "id:100004,phase:2,pass,log,t:none,t:removeWhitespace,t:length,multiMatch"
SecRule ARGS_GET "@streq 4" "id:100005,phase:2,pass,log,t:none,t:removeWhitespace,t:length"`,
			get("/?a=A%26nLt;%26nLt;%26lt", "/?a=A%26%230", "/?a=A%FF", "/?a=a%20", "/?a=aa"),
		},
		{
			"what transformations make alike", `
SecRule ARGS_GET "@rx ^ab$" "id:100001,phase:2,pass,log,t:none,t:removeWhitespace,multiMatch"
SecRule ARGS_GET "@rx ^a b$" "id:100002,phase:2,pass,log,t:none,t:compressWhitespace,t:lowercase,multiMatch"
SecRule ARGS_GET "@rx ^ab$" "id:100003,phase:2,pass,log,t:none,t:lowercase,t:removeWhitespace"
SecRule ARGS_GET "!@rx ^(?:ab|a b|A B)$" "id:100004,phase:2,pass,log,t:none,t:removeWhitespace,t:lowercase,multiMatch"
SecRule ARGS_GET "@rx ^(?:A B|ab)$" "id:100005,phase:2,pass,log,t:none,t:cmdLine,t:compressWhitespace,t:removeWhitespace"
SecRule ARGS_GET "@rx ^a[(]b$" "id:100006,phase:2,pass,log,t:none,t:cmdLine,t:normalizePathWin"
SecRule ARGS_GET "@detectSQLi" "id:100007,phase:2,pass,log,t:none,t:base64Decode,t:urlDecodeUni,t:removeNulls,multiMatch"
SecRule ARGS_GET|!ARGS_GET:x "@rx ^1 or 1=1$" "id:100008,phase:2,pass,log,t:none,t:base64Decode,t:urlDecodeUni,multiMatch"`,
			get("/?a=ab", "/?a=a+b", "/?a=A++B", "/?a=a%09b", "/?a=a+(b", "/?a=a+/b", "/?a=A+B&x=ab", "/?a=1+or+1%3d1", "/?x=1+or+1%3d1",
				"/?a=MSBvciAxPTE", "/?a=MSVlciAxPTE", "/?a=MSUyMG9yJTIwMT0x&x=MSBvciAxPTE"),
		},
		{
			"keys found by alternatives", `
SecRule ARGS_GET "@rx x" "id:100001,phase:2,pass,nolog,t:none,setvar:'tx.zz_%{MATCHED_VAR}=1'"
SecRule TX:/^ab|zz/ "@eq 1" "id:100002,phase:2,pass,log,t:none"
SecRule TX:/^zz_x1/ "@eq 1" "id:100003,phase:2,pass,log,t:none"
SecRule TX:/(?i)^ZZ_/ "@eq 1" "id:100004,phase:2,pass,log,t:none"`,
			get("/?a=x1", "/?a=x2", "/?a=y"),
		},
		{
			"the last match of another rule", `
SecRule ARGS_GET:a "@rx ^s" "id:100001,phase:2,pass,nolog,t:none,chain"
  SecRule ARGS_GET:b "@streq never" "t:none"
SecRule ARGS_GET:c "@streq %{MATCHED_VAR}" "id:100002,phase:2,pass,log,t:none"
SecRule MATCHED_VAR "@streq secret" "id:100003,phase:2,pass,log,t:none"
SecRule MATCHED_VARS "@rx ." "id:100004,phase:2,pass,log,t:none"`,
			get("/?a=secret&c=secret", "/?a=x&c=secret", "/?a=secret", "/"),
		},
		{
			"variables of rules", `
SecRule ARGS_GET:a "@rx ." "id:100001,phase:1,pass,nolog,t:none,setvar:tx.m=%{MATCHED_VAR},setvar:tx.n=+2"
SecAction "id:100002,phase:1,pass,nolog,t:none,setvar:tx.n=+1,setvar:tx.method=%{REQUEST_METHOD}"
SecRule TX:m "@rx ^x" "id:100003,phase:1,pass,log,t:none"
SecRule TX:n "@eq 3" "id:100004,phase:2,pass,log,t:none"
SecRule TX:method "@streq GET" "id:100005,phase:2,pass,log,t:none"
SecRule &TX:m "@eq 0" "id:100006,phase:2,pass,log,t:none"
SecRule TX:nobody "!@eq 1" "id:100007,phase:2,pass,log,t:none"
SecRule &TX:nobody "@eq 0" "id:100008,phase:2,pass,log,t:none"
SecRule &TX:m "@eq 0" "id:100010,phase:2,pass,log,t:none"
SecRule TX:m "!@rx ^x" "id:100011,phase:2,pass,log,t:none"`,
			get("/?a=x", "/?a=y", "/", "/?a=x&b=1"),
		},
		{
			"a variable of a rule that fails", `
SecRule ARGS_GET:a "@rx ^x" "id:100001,phase:2,pass,nolog,t:none,setvar:tx.first=1,setvar:tx.list_%{MATCHED_VAR}=1,chain"
  SecRule ARGS_GET:b "@streq y" "t:none"
SecRule TX:first "@eq 1" "id:100002,phase:2,pass,log,t:none"
SecRule TX:/^list_x/ "@eq 1" "id:100003,phase:2,pass,log,t:none"`,
			get("/?a=x", "/?a=x&b=y", "/?b=y", "/?a=xz"),
		},
		{
			"skips", `
SecRule ARGS_GET:a "@streq 1" "id:100001,phase:2,pass,nolog,t:none,skip:1"
SecRule ARGS_GET:b "@rx ." "id:100002,phase:2,pass,log,t:none"
SecRule ARGS_GET:b "@rx ." "id:100003,phase:2,pass,log,t:none,skipAfter:END-X"
SecRule ARGS_GET:c "@rx ." "id:100004,phase:2,pass,log,t:none"
SecMarker END-X
SecRule ARGS_GET:c "@rx ." "id:100005,phase:2,pass,log,t:none"
SecRule &ARGS_GET:d "@eq 0" "id:100006,phase:1,pass,log,t:none,skipAfter:END-Y"
SecRule ARGS_GET:d "@rx ." "id:100007,phase:1,pass,log,t:none"
SecRule ARGS_GET:d "@rx ." "id:100008,phase:2,pass,log,t:none"
SecMarker END-Y`,
			get("/?a=1&b=1&c=1", "/?a=2&b=1&c=1", "/?a=1&c=1", "/?c=1&d=1", "/?a=1&d=1"),
		},
		{
			"rules that switch off others", `
SecRule ARGS_GET:off "@streq id" "id:100001,phase:1,pass,nolog,t:none,ctl:ruleRemoveById=100010"
SecRule ARGS_GET:off "@streq range" "id:100002,phase:1,pass,nolog,t:none,ctl:ruleRemoveById=100010-100011"
SecRule ARGS_GET:off "@streq tag" "id:100003,phase:1,pass,nolog,t:none,ctl:ruleRemoveByTag=mine"
SecRule ARGS_GET:off "@streq engine" "id:100004,phase:1,pass,log,t:none,ctl:ruleEngine=Off"
SecRule ARGS_GET:off "@streq detect" "id:100005,phase:1,pass,log,t:none,ctl:ruleEngine=DetectionOnly"
SecRule ARGS_GET:off "@streq allow" "id:100006,phase:1,allow,log,t:none"
SecRule ARGS_GET:off "@streq phase" "id:100007,phase:1,allow:phase,log,t:none"
SecRule ARGS_GET:off "@streq target" "id:100008,phase:1,pass,nolog,t:none,ctl:ruleRemoveTargetById=100010;ARGS_GET:a"
SecRule ARGS_GET:a "@streq b" "id:100010,phase:2,deny,status:418,log,t:none,tag:'mine'"
SecRule ARGS_GET "@streq b" "id:100011,phase:2,pass,log,t:none,tag:'mine'"
SecRule ARGS_GET:a "@streq b" "id:100012,phase:1,pass,log,t:none"`,
			get("/?a=b", "/?a=b&off=id", "/?a=b&off=range", "/?a=b&off=tag", "/?a=b&off=engine", "/?a=b&off=detect", "/?a=b&off=allow", "/?a=b&off=phase", "/?a=b&off=target", "/?off=allow"),
		},
		{
			"targets", `
SecRule ARGS_GET|!ARGS_GET:x|&ARGS_GET "@rx ^[13]$" "id:100001,phase:2,pass,log,t:none"
SecRule ARGS_GET:/^Foo/ "@rx ." "id:100002,phase:2,pass,log,t:none"
SecRule ARGS_GET:Foo "@rx ." "id:100003,phase:2,pass,log,t:none"
SecRule ARGS_GET_NAMES:Foo "@rx ." "id:100004,phase:2,pass,log,t:none"
SecRule ARGS_GET|!ARGS_GET:/^Foo/ "@rx q" "id:100005,phase:2,pass,log,t:none"
SecRule ARGS_NAMES|!ARGS_NAMES:foo "@rx oo" "id:100006,phase:2,pass,log,t:none"
SecRule ARGS:foo|ARGS_COMBINED_SIZE "@rx ^(?:q|12)$" "id:100007,phase:2,pass,log,t:none"
SecRule REQUEST_HEADERS:/^X-/|!REQUEST_HEADERS:/B$/ "@rx q" "id:100008,phase:2,pass,log,t:none"
SecRule REQUEST_HEADERS_NAMES "@streq X-Aq" "id:100009,phase:2,pass,log,t:none"
SecRule REQUEST_COOKIES:/^S/|REQUEST_COOKIES_NAMES "!@rx ^[sq]" "id:100010,phase:2,pass,log,t:none"
SecRule ARGS_GET|!ARGS_GET "@rx ." "id:100011,phase:2,pass,log,t:none"
SecRule REQUEST_BODY|ARGS_POST "@rx q" "id:100012,phase:2,pass,log,t:none"
SecRule &ARGS_POST:/^F/ "@gt 1" "id:100013,phase:2,pass,log,t:none"
SecRule TIME_YEAR "@gt 2000" "id:100014,phase:2,pass,log,t:none"
SecRule REMOTE_ADDR "@ipMatch 192.0.2.0/24" "id:100015,phase:2,pass,log,t:none"
SecRule SERVER_NAME|REQUEST_LINE|REQUEST_BASENAME "@contains q" "id:100016,phase:2,pass,log,t:none"
SecRule UNIQUE_ID|DURATION|ENV:PATH "@unconditionalMatch" "id:100017,phase:2,pass,log,t:none"`,
			append(get("/", "/?x=1", "/?x=3&y=1", "/?foo=q", "/?Foo=q", "/?FOO1=q&a=q", "/?foo=123456789", "/q?a=b&c=d&e=f"),
				sample{target: "/", header: map[string]string{"X-A": "q", "X-B": "q"}},
				sample{target: "/", header: map[string]string{"X-B": "q", "X-Aq": "1"}},
				sample{target: "/", header: map[string]string{"Cookie": "sid=a; q=b"}},
				sample{target: "/", header: map[string]string{"Cookie": "SID=q; a=b"}},
				sample{header: form, body: "foo=q&FOO=1"},
				sample{header: form, body: "f=1"}),
		},
		{
			"severities", `
SecRule ARGS_GET:a "@streq b" "id:100001,phase:2,pass,log,t:none,severity:2"
SecRule HIGHEST_SEVERITY "@le 2" "id:100002,phase:2,pass,log,t:none"
SecRule HIGHEST_SEVERITY "@eq 255" "id:100003,phase:2,pass,log,t:none"
SecRule RULE:id "@eq 100004" "id:100004,phase:2,pass,log,t:none"`,
			get("/?a=b", "/?a=c", "/"),
		},
		{
			"spellings", `
SecRule ARGS_GET "@streq A" "id:100001,phase:request,pass,log,t:none,t:lowercase,t:none"
SecRule ARGS_GET "@streq a" "id:100002,pass,log,t:none,t:lowercase,t:None"
SecRule ARGS_GET "^b+$" "id:100003,phase:2,pass,log,t:none"
SecRule ARGS_GET "!^[ab]+$" "id:100004,phase:2,pass,log,t:none"
SecRule ARGS_GET "@rx \"q\"" "id:100005,phase:2,pass,log,t:none,msg:'a, \'b\', c'"
SecRule ARGS_GET "@pm foo Bar" "id:100006,phase:2,pass,log,t:none,t:urlDecode,t:trim"
SecRule ARGS_GET "@pm foo Bar" "id:100007,phase:2,pass,log,t:none"
SecRule ARGS_GET "!@pm foo Bar" "id:100008,phase:2,pass,log,t:none"
SecRule ARGS_GET "@within %{tx.list}" "id:100009,phase:2,pass,log,t:none"
SecAction "id:100010,phase:1,pass,nolog,t:none,setvar:'tx.list=x y z'"
SecRule ARGS_GET "@strmatch needle" "id:100011,phase:2,pass,log,t:none"
SecRule ARGS_GET "@validateByteRange 32-126" "id:100012,phase:2,pass,log,t:none"
SecRule ARGS_GET "!@validateUrlEncoding" "id:100013,phase:2,pass,log,t:none"
SecRule ARGS_GET "@noMatch" "id:100014,phase:2,pass,log,t:none"
SecRule ARGS_GET "!@noMatch" "id:100015,phase:2,pass,log,t:none"`,
			get("/?a=A", "/?a=a", "/?a=bb", "/?a=%22q%22", "/?a=xBARx", "/?a=fo", "/?a=y%20z", "/?a=needles", "/?a=%01", "/?a=%25zz", "/?a=", "/"),
		},
		{
			"directives about other rules", `
SecRule ARGS_GET "@streq a" "id:100001,phase:2,pass,log,t:none,tag:'one'"
SecRule ARGS_GET "@streq a" "id:100002,phase:2,pass,log,t:none"
SecRule ARGS_GET "@streq a" "id:100003,phase:2,pass,log,t:none"
SecRule ARGS_GET "@streq a" "id:100004,phase:2,pass,log,t:none,tag:'two'"
SecRuleUpdateTargetById 100001 "!ARGS_GET:x"
SecRuleUpdateTargetById 100002 "REQUEST_HEADERS:X-A"
SecRuleUpdateTargetById 100003 "!ARGS_GET:/^x/"
SecRuleRemoveByTag two`,
			append(get("/?a=a", "/?x=a", "/?xy=a"), sample{target: "/", header: map[string]string{"X-A": "a"}}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			modes := []string{ModeBlock, ModeCount}
			if raceEnabled {
				modes = modes[:1] // an engine takes a second to build
			}
			for _, mode := range modes {
				p := newPair(t, mode, Config{Mode: mode, Groups: []string{"php"}}, tt.rules+"\n")
				some := false
				for _, s := range tt.requests {
					if d := p.differ(func() *http.Request { return s.request() }); d != "" {
						t.Errorf("%s, %s %s, gated (-) and alone (+): %s", mode, s.target, s.header, d)
					}
					some = some || len(inspect(p.alone, s.request()).IDs) > 0
				}
				if !some {
					t.Error("no rule matched any request")
				}
			}
		})
	}
}

// Rules are left out in ranges of ids. A rule about the answer between them is none of those.
func TestRulesAboutTheAnswerAreNotLeftOut(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Groups: []string{"php"}}, `
SecRule ARGS_GET "@streq a" "id:100001,phase:2,pass,log,t:none"
SecRule RESPONSE_STATUS "@eq 200" "id:100002,phase:3,pass,log,t:none"
SecRule ARGS_GET "@streq b" "id:100003,phase:2,pass,log,t:none"
SecRule ARGS_GET "@streq c" "id:100004,phase:2,pass,log,t:none"
`)
	tx := e.waf.NewTransactionWithOptions(experimental.Options{Context: context.Background()}).(transaction)
	var v verdict
	in := e.begin(tx)
	e.run(tx, in, sample{target: "/?x=c"}.request(), &v)
	e.end(in, &v)
	tx.ProcessResponseHeaders(http.StatusOK, "HTTP/1.1")
	var got []int
	for _, m := range tx.MatchedRules() {
		got = append(got, m.Rule().ID())
	}
	if !slices.Contains(got, 100004) || !slices.Contains(got, 100002) {
		t.Errorf("rules: got %v, want 100004 and 100002 among them", got)
	}
	if err := tx.Close(); err != nil {
		t.Error(err)
	}
}
