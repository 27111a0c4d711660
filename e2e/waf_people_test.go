package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestExclusionsForSomePeople: what editors may send, nobody else may, nor a page of somebody else's through an editor's
// browser. alice is in users, bob in users and admins.
func TestExclusionsForSomePeople(t *testing.T) {
	t.Parallel()
	spec := siteSpec{
		upstream: startEcho(t),
		routes: `
  - name: posts
    match: ` + appHost + `
    to: u
    require: signed-in
    waf:
      exclude:
        - {rule: 942100, target: form.body, for: {groups: [admins]}}
        - {rule: 942100, target: form.note, for: {groups: [users, others]}}
`,
	}
	s := startSite(t, spec)
	alice, bob := s.signIn("alice", "/"), s.signIn("bob", "/")
	post := func(cookies, field, text string, sites ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/posts", strings.NewReader(url.Values{field: {text}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Cookie", cookies)
		for _, site := range sites {
			req.Header.Add("Sec-Fetch-Site", site)
		}
		resp, _ := send(t, newClient(t, s.addr, true), req)
		return resp.StatusCode, resp.Header.Get("X-Request-Id")
	}
	const sql, script = "SELECT name FROM recipes WHERE kind = 'soup'", "<svg onload=alert(1)>"
	ours, theirs := bob.cookies(s.base+"/"), alice.cookies(s.base+"/")
	for _, tt := range []struct {
		name, cookies, field, text string
		sites                      []string
		want                       int
	}{
		{"an editor", ours, "body", sql, []string{"same-origin"}, 200},
		{"an editor, of the other exclusion too", ours, "note", sql, []string{"same-origin"}, 200},
		{"another field", ours, "title", sql, []string{"same-origin"}, 403},
		{"another attack", ours, "body", script, []string{"same-origin"}, 403},
		{"from somebody else's page", ours, "body", sql, []string{"cross-site"}, 403},
		{"from a neighbour's page", ours, "body", sql, []string{"same-site"}, 403},
		{"from a link in a mail", ours, "body", sql, []string{"none"}, 403},
		{"from no page", ours, "body", sql, nil, 403},
		{"from two pages", ours, "body", sql, []string{"same-origin", "cross-site"}, 400},
		{"somebody else", theirs, "body", sql, []string{"same-origin"}, 403},
		{"somebody else, whom another exclusion is for", theirs, "note", sql, []string{"same-origin"}, 200},
		{"nobody", "", "body", sql, []string{"same-origin"}, 403},
		{"a session that was changed", ours[:len(ours)-6] + "AAAAAA", "body", sql, []string{"same-origin"}, 403},
		{"two sessions", theirs + "; " + ours, "body", sql, []string{"same-origin"}, 403},
	} {
		status, id := post(tt.cookies, tt.field, tt.text, tt.sites...)
		if status != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, status, tt.want)
		}
		if tt.name == "an editor" {
			waf, _ := json.Marshal(s.eventWithID(id)["waf"])
			if !strings.Contains(string(waf), `"exclusions_for":["admins","others","users"]`) || !strings.Contains(string(waf), `"exclusions":2`) {
				t.Errorf("event: got %s, want whom the exclusions are for", waf)
			}
		}
	}
	if resp, _ := bob.follow(s.base + "/oauth2/sign_out"); resp.StatusCode >= 500 {
		t.Fatalf("sign out: %s", resp.Status)
	}
	if status, _ := post(ours, "body", sql, "same-origin"); status != 403 {
		t.Errorf("an editor who has signed out: got %d, want 403", status)
	}

	events := writeFile(t, "events.log", s.lines(func() string { _, id := post(theirs, "body", sql, "same-origin"); return id }()))
	replay := runToEnd(t, "", []string{"CLIENT_SECRET=0123456789abcdef0123456789abcdef"}, "waf", "replay", events, "-c", s.file)
	if replay.code != 0 || strings.Contains(replay.stdout, "block → pass") {
		t.Errorf("replay: got %+v, want nothing to pass that was refused", replay)
	}
}

// TestExclusionsForPeopleThatAreWrong has the Problems of for.
func TestExclusionsForPeopleThatAreWrong(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "gatehouse.yaml", `listen: {https: ":443"}
tls: {local: true}
upstreams: {u: "http://127.0.0.1:8080"}
routes:
  - match: app.example.test
    to: u
    require: nothing
    waf:
      exclude:
        - {rule: 942100, for: {groups: [a]}}
        - {rule: 942100, for: {groups: [b]}}
        - {rule: 942100, for: {groups: [c]}}
        - {rule: 942100, for: {groups: [d]}}
        - {rule: 942100, for: {}}
        - {rule: 942100, for: {groups: [" e"]}}
`)
	got := runToEnd(t, "", nil, "check", "-c", file)
	for _, want := range []string{
		`:10:`, `routes[0].waf.exclude[0].for: nobody is known here: it needs a login`,
		`routes[0].waf.exclude[4].for: says not for whom (want groups: [NAME]; without for the exclusion is for everybody)`,
		`routes[0].waf.exclude[5].for.groups[0]: want the name of a group without blanks around it, got " e"`,
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("got %s, want %q in it", got.stderr, want)
		}
	}
	text := strings.Join(slices.DeleteFunc(strings.Split(got.stderr, "\n"), func(l string) bool { return !strings.Contains(l, "gatehouse.yaml:") }), "\n")
	if got.code == 0 {
		t.Errorf("got 0 and %s, want a failure", text)
	}
}
