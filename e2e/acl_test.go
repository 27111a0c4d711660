package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// aclTop is a web ACL of each kind of statement and action. Tests say by X-Forwarded-For where they are.
const aclTop = `
trusted_proxies: [127.0.0.1]
events: {waf_log: {format: aws, file: %[1]s}}
ip_sets:
  office: [192.0.2.0/24, "2001:db8::/32"]
  scanners: {file: %[2]s}
geo: {country: %[3]s, asn: %[4]s}
acl:
  answers:
    slow-down: {content_type: json, content: '{"error":"slow down"}'}
  pattern_sets:
    tools: ["(?i)sqlmap", "(?i)nikto"]
  rules:
    - {name: scanners, when: {ip: scanners}, action: block}
    - {name: probes, when: {path: {starts_with: [/wp-, /phpmyadmin], transform: lowercase}, not: {ip: office}}, action: block, labels: [probe]}
    - {name: monitor, when: {header: {x-monitor: s3cr3t}}, action: allow, insert: {monitor: "yes"}}
    - {name: eager, when: {header: {user-agent: {regex_set: tools}}}, action: block, respond: {status: 429, headers: {Retry-After: "30"}, body: slow-down}}
    - {name: embargo, when: {path: {starts_with: /shop/}, country: [FR]}, action: block}
    - {name: behind-cdn, when: {path: {starts_with: /cdn/}, ip: {in: [203.0.113.0/24], header: X-Viewer, invalid: match}}, action: block}
    - {name: not-home, when: {path: {starts_with: /home/}, not: {country: [US, JP]}}, action: block}
    - {name: uploads, when: {path: {starts_with: /upload}, body: {size: ">1MiB"}}, action: block, respond: {status: 413}}
    - {name: query, when: {json: {is: is_admin, scope: keys}}, action: block}
    - {name: cats, when: {header: {x-pet: {word: cat}}}, action: block}
    - {name: mark, when: {arg: {debug: {present: true}}}, action: count, labels: [debug], insert: {debug: "1"}}
    - {name: groups, when: {not: {path: {starts_with: /trusted/}}}, action: inspect}
    - {name: after, when: {label: 942100}, action: block, respond: {status: 404}}
`

const aclRoutes = `
  - {match: ` + appHost + `/count/*, to: u, require: nothing, acl: count}
  - {match: ` + appHost + `/quiet/*, to: u, require: nothing, acl: "off", waf: off}
  - {match: ` + appHost + `/learn/*, to: u, require: nothing, waf: count}
  - {match: ` + appHost + `/aws/*, to: u, require: nothing, compat: aws}
  - {match: ` + appHost + `/big/*, to: u, require: nothing, waf: {body_limit: 128KiB}}
  - {match: ` + appHost + `/stream/*, to: u, require: nothing, waf: {body: headers}}
  - match: ` + appHost + `/closed/*
    to: u
    require: nothing
    acl:
      default: block
      rules: [{name: known, when: {header: {x-key: open}}, action: allow}]
  - {match: ` + appHost + `, to: u, require: nothing}
`

func startACL(t *testing.T) (s *site, log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "aws-waf-logs.json")
	scanners := writeFile(t, "scanners.txt", "# seen last week\n198.51.100.7\n")
	database := func(name string) string {
		path, err := filepath.Abs("../waf/ipset/testdata/" + name + ".mmdb")
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	top := fmt.Sprintf(aclTop, log, scanners, database("country"), database("asn"))
	return startOpen(t, siteSpec{upstream: startEcho(t), routes: aclRoutes, top: top}), log
}

// An asked is one request of a web ACL's tests and what is to become of it.
type asked struct {
	name   string
	method string // default GET, or POST with a body
	path   string
	from   string // default 198.18.0.1
	fields []string
	body   string
	status int
	rule   string // that decided; "" if none of the file's did
	answer string
}

func (a asked) request(t *testing.T, base string) *http.Request {
	t.Helper()
	method, from := a.method, a.from
	if method == "" {
		method = http.MethodGet
		if a.body != "" {
			method = http.MethodPost
		}
	}
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+a.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if from == "" {
		from = "198.18.0.1"
	}
	req.Header.Set("X-Forwarded-For", from)
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "test")
	for i := 0; i+1 < len(a.fields); i += 2 {
		req.Header.Set(a.fields[i], a.fields[i+1])
	}
	return req
}

// The statements and actions of a web ACL, through the listener, over both versions of HTTP and with chunked bodies.
func TestWebACL(t *testing.T) {
	t.Parallel()
	s, _ := startACL(t)
	sql, form := "?id=1%27+OR+%271%27=%271", []string{"Content-Type", "application/x-www-form-urlencoded"}
	jsonType := []string{"Content-Type", "application/json"}
	big := strings.Repeat("a", 1<<20+1)
	late := "a=" + strings.Repeat("x", 9000) + "&id=1' OR '1'='1"
	for _, tt := range []asked{
		{name: "nothing matches", path: "/", status: 200},
		{name: "a set in a file", path: "/", from: "198.51.100.7", status: 403, rule: "scanners"},
		{name: "an address that is v4 in v6", path: "/", from: "::ffff:198.51.100.7", status: 403, rule: "scanners"},
		{name: "a path", path: "/wp-login.php", status: 403, rule: "probes"},
		{name: "a path that is encoded", path: "/%57%50-login.php", status: 403, rule: "probes"},
		{name: "a path from the office", path: "/wp-login.php", from: "192.0.2.9", status: 200},
		{name: "a path from the office over v6", path: "/wp-login.php", from: "2001:db8::9", status: 200},
		{name: "allow ends evaluation", path: "/" + sql, fields: []string{"X-Monitor", "s3cr3t"}, status: 200, rule: "monitor"},
		{name: "an answer of the file's own", path: "/", fields: []string{"User-Agent", "SQLmap/1.7"}, status: 429, rule: "eager", answer: `{"error":"slow down"}`},
		{name: "a country", path: "/shop/", from: "203.0.113.1", status: 403, rule: "embargo"},
		{name: "another country", path: "/shop/", from: "192.0.2.1", status: 200},
		{name: "not a country", path: "/home/", from: "203.0.113.1", status: 403, rule: "not-home"},
		{name: "not a country that is", path: "/home/", from: "2001:db8::1", status: 200},
		{name: "a header without which the rule is left out", path: "/cdn/", status: 200},
		{name: "an address in a header", path: "/cdn/", fields: []string{"X-Viewer", "203.0.113.5, 10.0.0.1"}, status: 403, rule: "behind-cdn"},
		{name: "another address in it", path: "/cdn/", fields: []string{"X-Viewer", "10.0.0.1"}, status: 200},
		{name: "no address in it", path: "/cdn/", fields: []string{"X-Viewer", "junk"}, status: 403, rule: "behind-cdn"},
		{name: "a size", path: "/upload", body: big, fields: form, status: 413, rule: "uploads"},
		{name: "json", path: "/", body: `{"a":{"is\u005fadmin":1}}`, fields: jsonType, status: 403, rule: "query"},
		{name: "json without it", path: "/", body: `{"a":"is_admin"}`, fields: jsonType, status: 200},
		{name: "an attack in a body that rules have read", path: "/", body: `{"q":"1' OR '1'='1"}`, fields: jsonType, status: 403},
		{name: "an attack beyond what AWS looks at", path: "/aws/x", body: late, fields: form, status: 200},
		{name: "the same where more is looked at", path: "/big/x", body: late, fields: form, status: 403},
		{name: "a body that streams", path: "/stream/x", body: `{"is_admin":1}`, fields: jsonType, status: 200},
		{name: "a word", path: "/", fields: []string{"X-Pet", "a-cat."}, status: 403, rule: "cats"},
		{name: "a part of a word", path: "/", fields: []string{"X-Pet", "concat"}, status: 200},
		{name: "what the groups find", path: "/" + sql, status: 403},
		{name: "the groups leave out", path: "/trusted/" + sql, status: 200},
		{name: "counting refuses nothing", path: "/count/wp-x", status: 200},
		{name: "count rule and count mode", path: "/count/?debug", from: "198.51.100.7", status: 200},
		{name: "off", path: "/quiet/x", from: "198.51.100.7", status: 200},
		{name: "the WAF counts", path: "/learn/" + sql, from: "198.51.100.7", status: 200},
		{name: "the default blocks", path: "/closed/x", status: 403, rule: "Default_Action"},
		{name: "a rule of the route allows", path: "/closed/x", fields: []string{"X-Key", "open"}, status: 200, rule: "known"},
		{name: "the top's come first", path: "/closed/x", from: "198.51.100.7", fields: []string{"X-Key", "open"}, status: 403, rule: "scanners"},
	} {
		s.clients(t, func(t *testing.T, c *http.Client) {
			for _, chunked := range []bool{false, true} {
				req := tt.request(t, s.base)
				if chunked && tt.body == "" {
					continue
				} else if chunked {
					req.ContentLength = -1
				}
				resp, body := send(t, c, req)
				if resp.StatusCode != tt.status || tt.answer != "" && body != tt.answer {
					t.Errorf("%s: got %s %.200q, want %d %s", tt.name, resp.Status, body, tt.status, tt.answer)
				}
				if tt.status == http.StatusOK && tt.body != "" && readEcho(t, body).Bytes != int64(len(tt.body)) {
					t.Errorf("%s: the upstream got %d bytes, want %d", tt.name, readEcho(t, body).Bytes, len(tt.body))
				}
				if tt.status != http.StatusOK && tt.answer == "" && tt.rule != "" && tt.status != 413 {
					var deny struct {
						ID string `json:"request_id"`
					}
					if err := json.Unmarshal([]byte(body), &deny); err != nil || deny.ID == "" {
						t.Fatalf("%s: got %q, want the JSON of refusals", tt.name, body)
					}
					if got, _ := s.eventWithID(deny.ID)["rules"].(map[string]any); got["rule"] != tt.rule || got["action"] != "block" {
						t.Errorf("%s: the event says %v, want %s", tt.name, got, tt.rule)
					}
				}
			}
		})
	}
}

// What rules insert reaches the upstream, and nobody else can pretend it.
func TestWebACLInserts(t *testing.T) {
	t.Parallel()
	s, _ := startACL(t)
	s.clients(t, func(t *testing.T, c *http.Client) {
		forged := []string{"X-Amzn-Waf-Monitor", "forged", "x_amzn_waf_monitor", "forged", "X-Amzn-Waf-Other", "forged"}
		for path, want := range map[string]map[string]string{
			"/":       {},
			"/?debug": {"X-Amzn-Waf-Debug": "1"},
		} {
			_, body := send(t, c, asked{path: path, fields: forged}.request(t, s.base))
			got := map[string]string{}
			for name, values := range readEcho(t, body).Header {
				if strings.Contains(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "amzn-waf") {
					got[name] = strings.Join(values, ",")
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: the upstream got %v, want %v", path, got, want)
			}
		}
		_, body := send(t, c, asked{path: "/", fields: append(forged, "X-Monitor", "s3cr3t")}.request(t, s.base))
		if got := readEcho(t, body).Header["X-Amzn-Waf-Monitor"]; !slices.Equal(got, []string{"yes"}) {
			t.Errorf("the upstream got %q, want what the rule says", got)
		}
	})
}

// A decision is told by the event, by why, by the metrics and by the log in AWS's form.
func TestWebACLIsExplained(t *testing.T) {
	t.Parallel()
	s, log := startACL(t)
	c := newClient(t, s.addr, true)
	resp, page := send(t, c, asked{path: "/wp-login.php?debug=1", fields: navigating()}.request(t, s.base))
	id := pageID.FindString(page)
	if resp.StatusCode != http.StatusForbidden || id == "" {
		t.Fatalf("got %s, want the page of refusals\n%s", resp.Status, page)
	}
	s.eventWithID(id)
	why := runToEnd(t, "", nil, "why", id, "--admin", s.addrs["admin"])
	for _, want := range []string{`The rule "probes" of the file refused it (acl.rules).`, "On its way: rules block", "Labels: gatehouse:rule:probe"} {
		if why.code != 0 || !strings.Contains(why.stdout, want) {
			t.Errorf("why: got %+v, want %s", why, want)
		}
	}
	send(t, c, asked{path: "/?debug=1"}.request(t, s.base))
	counted := s.event(func(e map[string]any) bool { return e["path"] == "/" })
	countedID, _ := counted["id"].(string)
	why = runToEnd(t, "", nil, "why", countedID, "--admin", s.addrs["admin"])
	if !strings.Contains(why.stdout, "Gatehouse let it through.") || !strings.Contains(why.stdout, `The rule "mark" counted it.`) || !strings.Contains(why.stdout, "The upstream got: X-Amzn-Waf-Debug") {
		t.Errorf("why of what was counted: got %+v", why)
	}
	if got := s.metric(`gatehouse_rule_matches_total{action="block",rule="probes"}`); got != "1" {
		t.Errorf("the metric is %q, want 1", got)
	}
	var lines []string
	for _, rec := range readRecords(t, log) {
		lines = append(lines, rec.Action+" "+rec.TerminatingRuleID)
	}
	if got := strings.Join(lines, ", "); got != "BLOCK probes, ALLOW Default_Action" {
		t.Errorf("the log in AWS's form says %s", got)
	}
}

// A reload reads the files of sets anew, and one that cannot be read changes nothing.
func TestWebACLReloads(t *testing.T) {
	t.Parallel()
	list := writeFile(t, "list.txt", "198.51.100.7\n")
	spec := siteSpec{upstream: startEcho(t), routes: "\n  - {match: " + appHost + ", to: u, require: nothing}\n", top: `
trusted_proxies: [127.0.0.1]
ip_sets: {banned: {file: ` + list + `}}
acl: {rules: [{name: banned, when: {ip: banned}, action: block}]}
`}
	s := startOpen(t, spec)
	c := newClient(t, s.addr, true)
	ask := func(from string, want int) {
		t.Helper()
		if resp, _ := send(t, c, asked{path: "/", from: from}.request(t, s.base)); resp.StatusCode != want {
			t.Errorf("from %s: got %s, want %d", from, resp.Status, want)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask("198.51.100.7", http.StatusForbidden)
	ask("203.0.113.9", http.StatusOK)
	write("203.0.113.0/24\n")
	s.reload(t, reloaded)
	ask("198.51.100.7", http.StatusOK)
	ask("203.0.113.9", http.StatusForbidden)
	write("203.0.113.0/24\nexample.com\n")
	if problems, _ := s.reload(t, refusedReload)["problems"].(string); !strings.Contains(problems, "ip_sets.banned: ") || !strings.Contains(problems, "line 2: want an address") {
		t.Errorf("a list that cannot be read: got %q", problems)
	}
	ask("203.0.113.9", http.StatusForbidden)
}
