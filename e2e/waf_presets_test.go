package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A presetCase is what a preset lets through that is refused without it, and attacks like it that it does not.
type presetCase struct {
	preset string
	good   []ruleRequest
	twins  []ruleRequest
}

func presetCases() []presetCase {
	const document = "query User($id: ID!, $first: Int = 10) {\n  user(id: $id) {\n    ...UserParts\n    posts(first: $first, orderBy: {field: CREATED_AT, direction: DESC}) {\n      edges { node { id title } cursor }\n    }\n  }\n}\n\nfragment UserParts on User {\n  id\n  name\n}"
	quoted := strings.ReplaceAll(document, "\n", `\n`)
	const sql, script = "1' UNION SELECT password FROM users-- -", "<script>alert(1)</script>"
	const blocks = `<!-- wp:paragraph -->\n<p>Hello <a href=\"https://example.com/\" target=\"_blank\">you</a>.</p>\n<!-- /wp:paragraph -->\n<!-- wp:html -->\n<iframe src=\"https://maps.example.com/embed\" style=\"border:0\" loading=\"lazy\"></iframe>\n<!-- /wp:html -->`
	form := func(values string) ruleRequest {
		return ruleRequest{path: "/x", kind: "application/x-www-form-urlencoded", body: values}
	}
	upload := partBody(`name="f"; filename="a.txt"`, strings.Repeat("All work and no play. ", 200_000))
	return []presetCase{
		{
			"graphql",
			[]ruleRequest{
				jsonBody(`{"operationName":"User","query":"` + quoted + `","variables":{"id":"17"}}`),
				jsonBody(`[{"query":"` + quoted + `","variables":{"id":"17"}}]`),
				toPath("/x?query=" + url.QueryEscape(document)),
			},
			[]ruleRequest{
				jsonBody(`{"query":"` + quoted + `","variables":{"id":"` + sql + `"}}`),
				jsonBody(`{"query":"{ user(id: \"` + sql + `\") { id } }"}`),
				jsonBody(`{"query":"{ user(name: \"<script>alert(1)</script>\") { id } }"}`),
				jsonBody(`{"filter":{"$where":"sleep(1)"},"query":"{ a }"}`),
			},
		},
		{
			"json-api",
			[]ruleRequest{
				toPath("/x?$filter=Price%20lt%2010.00%20and%20startswith(Name,%27O%27%27Brien%27)&$orderby=Name%20desc&$top=20"),
				jsonBody(`{"rows":[` + strings.Repeat(`"a",`, 3000) + `"z"]}`),
			},
			[]ruleRequest{
				toPath("/x?$filter=" + url.QueryEscape(sql)),
				jsonBody(`{"rows":[` + strings.Repeat(`"a",`, 3000) + `"` + sql + `"]}`),
				toPath("/x?user[$ne]=1"),
			},
		},
		{
			"uploads",
			[]ruleRequest{upload, {path: "/x", kind: "application/octet-stream", body: "\x00\x01\x02\xff", header: [2]string{"Content-Range", "bytes 0-3/100"}}},
			[]ruleRequest{
				partBody(`name="f"; filename="shell.php"`, "GIF89a"),
				partBody(`name="q"`, sql),
				{path: "/x", kind: "application/json", body: `{"a":"` + sql + `"}`, header: [2]string{"Content-Range", "bytes 0-3/100"}},
			},
		},
		{
			"wordpress",
			[]ruleRequest{
				jsonBody(`{"id":17,"title":"Don't panic","content":"` + blocks + `","status":"publish"}`),
				form("action=editpost&post_title=Here&content=" + url.QueryEscape(`<p>Hello</p><img src="/a.jpg" onload="x"><script>var a=1;</script>`)),
				jsonBody(`{"requests":[{"path":"/wp/v2/widgets","method":"POST","body":{"content":"<p>x</p><script>1</script>"}}]}`),
			},
			[]ruleRequest{
				form("author=Ann&comment=" + url.QueryEscape(script)),
				form("content=" + url.QueryEscape(sql)),
				jsonBody(`{"title":"` + script + `","content":"<p>x</p>"}`),
				toPath("/x?s=" + url.QueryEscape(script)),
			},
		},
	}
}

// TestPresets: each lets its own requests through, which are refused without it, and none of their twins.
func TestPresets(t *testing.T) {
	t.Parallel()
	spec := siteSpec{upstream: startEcho(t), top: "trusted_proxies: [127.0.0.1]"}
	var routes strings.Builder
	for _, c := range presetCases() {
		routes.WriteString("  - {match: " + c.preset + ".example.test, to: u, require: nothing, waf: {presets: [" + c.preset + "]}}\n")
	}
	spec.routes = routes.String() + "  - {match: " + appHost + ", to: u, require: nothing}"
	s := startOpen(t, spec)
	h1, h2 := newClient(t, s.addr, false), newClient(t, s.addr, true)
	for _, c := range presetCases() {
		for i, r := range c.good {
			if status, _ := s.play(h2, r, false); status < 400 {
				t.Errorf("%s: good[%d] without the preset: got %d, want a refusal", c.preset, i, status)
			}
			r.host = c.preset + ".example.test"
			if status, id := s.play(h1, r, false); status != http.StatusOK {
				t.Errorf("%s: good[%d]: got %d by %v, want 200", c.preset, i, status, s.rulesOf(id))
			}
		}
		for i, r := range c.twins {
			r.host = c.preset + ".example.test"
			for _, chunked := range []bool{false, true} {
				if status, id := s.play(h1, r, chunked); status != http.StatusForbidden || len(s.rulesOf(id)) == 0 {
					t.Errorf("%s: twins[%d], chunked %v: got %d, want 403", c.preset, i, chunked, status)
				}
			}
			if status, _ := s.play(h2, r, false); status != http.StatusForbidden {
				t.Errorf("%s: twins[%d], HTTP/2: got %d, want 403", c.preset, i, status)
			}
		}
	}

	file := writeFile(t, "gatehouse.yaml", strings.Replace(s.text, "presets: [graphql]", "presets: [grafql]", 1))
	if got := runToEnd(t, "", nil, "check", "-c", file); got.code == 0 || !strings.Contains(got.stderr, `routes[0].waf.presets[0]: unknown preset "grafql": did you mean "graphql"? (want any of graphql, json-api, uploads, wordpress)`) {
		t.Errorf("check: got %+v", got)
	}
}
