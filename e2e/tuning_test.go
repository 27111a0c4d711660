package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// A search on a site that teaches SQL, and what stays an attack when it is let through.
const (
	goodSearch = "/search?q=" + "SELECT+name+FROM+recipes+WHERE+kind+%3D+%27soup%27"
	twinField  = "/search?id=" + "SELECT+name+FROM+recipes+WHERE+kind+%3D+%27soup%27"
	twinRule   = "/search?q=" + "%3Csvg+onload%3Dalert(1)%3E"
	twinRoute  = "/else?q=" + "SELECT+name+FROM+recipes+WHERE+kind+%3D+%27soup%27"
)

const tuningRoutes = `
  - {name: search, match: ` + appHost + `/search, to: u, require: nothing}
  - {name: rest, match: ` + appHost + `, to: u, require: nothing}
`

var (
	pastedExclusion = regexp.MustCompile(`(?m)^    (waf: \{exclude: \[.*\]\})$`)
	pageID          = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
)

// blockedID asks for a page that the WAF refuses, as a browser and as a program, and returns the id of the first.
func (s *site) blockedID(path string) string {
	s.t.Helper()
	c := newClient(s.t, s.addr, true)
	resp, page := fetch(s.t, c, s.base+path, "", "Accept", "text/html")
	id := pageID.FindString(page)
	if resp.StatusCode != http.StatusForbidden || id == "" {
		s.t.Fatalf("%s: got %s, want 403 and a page with the request's id\n%s", path, resp.Status, page)
	}
	resp, body := fetch(s.t, c, s.base+path, "", "Accept", "application/json")
	var answer struct {
		ID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != http.StatusForbidden || !pageID.MatchString(answer.ID) || answer.ID == id {
		s.t.Fatalf("%s: got %s %s, want 403 and an id of its own in the JSON", path, resp.Status, body)
	}
	return id
}

// lines are the events that the program has written, once that of the request id is among them.
func (s *site) lines(id string) string {
	s.t.Helper()
	s.eventWithID(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, e := range s.events {
		text, err := json.Marshal(e)
		if err != nil {
			s.t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	return b.String()
}

// TestTuningLoop is the README's: a blocked request, why, the exclusion pasted, the request passes, its twins do not.
func TestTuningLoop(t *testing.T) {
	t.Parallel()
	s := startOpen(t, siteSpec{upstream: startEcho(t), routes: tuningRoutes})

	id := s.blockedID(goodSearch)
	why := runToEnd(t, "", nil, "why", id, "--admin", s.addrs["admin"])
	pasted := pastedExclusion.FindStringSubmatch(why.stdout)
	if why.code != 0 || pasted == nil || !strings.Contains(why.stdout, `add this to the route "search"`) {
		t.Fatalf("why: got %+v, want the exclusion", why)
	}
	assertReadmeShows(t, why.stdout, pasted[1])

	twin := s.blockedID(twinField)
	s.blockedID(twinRule)
	last := s.blockedID(twinRoute)
	events := writeFile(t, "events.log", s.lines(last))
	if read := runToEnd(t, "", nil, "why", id, "--events", events); read.code != 0 || !strings.Contains(read.stdout, pasted[1]) {
		t.Errorf("why from event lines: got %+v, want the same exclusion", read)
	}
	tune := runToEnd(t, "", nil, "waf", "tune", "--events", events)
	if tune.code != 0 || !strings.Contains(tune.stdout, "942100 at query.q on the route \"search\"") || !strings.Contains(tune.stdout, "would have let 2 of 2 through; none matched anything else") {
		t.Errorf("tune: got %+v, want what the exclusion would do", tune)
	}

	s.write(strings.Replace(s.text, "/search, to: u, require: nothing}", "/search, to: u, require: nothing, "+pasted[1]+"}", 1))
	replay := runToEnd(t, "", nil, "waf", "replay", events, "-c", s.file)
	if replay.code != 0 || !strings.Contains(replay.stdout, id+"  block → pass") || !strings.Contains(replay.stdout, "block → pass: 2") || strings.Contains(replay.stdout, twin) {
		t.Errorf("replay: got %+v, want the search to pass and its twins to stay", replay)
	}

	s.reload(t, reloaded)
	resp, body := fetch(t, newClient(t, s.addr, true), s.base+goodSearch, "")
	if resp.StatusCode != http.StatusOK || readEcho(t, body).Path == "" {
		t.Errorf("with the exclusion: got %s, want the application's answer\n%s", resp.Status, body)
	}
	for _, path := range []string{twinField, twinRule, twinRoute} {
		s.blockedID(path)
	}
	s.assertNoValues(t)
}

// assertReadmeShows holds the README's loop to what the program says.
func assertReadmeShows(t *testing.T, why, exclusion string) {
	t.Helper()
	_, said, ok := strings.Cut(why, "\n\n") // behind the id, the time and the addresses
	if !ok || !strings.Contains(readme(t), said+"```\n") {
		t.Errorf("the README does not show this:\n%s", said)
	}
	if !strings.Contains(readme(t), "require: nothing, "+exclusion+"}") {
		t.Errorf("the README does not paste %s", exclusion)
	}
}

// assertNoValues looks for what was sent in what the samples and the events have.
func (s *site) assertNoValues(t *testing.T) {
	t.Helper()
	status, samples := s.admin("/samples")
	if status != http.StatusOK || !strings.Contains(samples, `"exclude":{"rule":942100,"target":"query.q"}`) {
		t.Fatalf("samples: got %d %s", status, samples)
	}
	for _, path := range []string{goodSearch, twinRule} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{samples, s.output()} {
			if strings.Contains(text, u.Query().Get("q")) || strings.Contains(text, u.RawQuery) {
				t.Errorf("a value of %s was kept", path)
			}
		}
	}
}
