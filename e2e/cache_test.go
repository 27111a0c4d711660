package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A cache through the whole program: behind the guards, beside the login, through a reload.
func TestACacheInFrontOfAnApplication(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		w.Header().Set("Cache-Control", "public, max-age=600")
		fmt.Fprintf(w, "answer %d to %q", n, r.Header.Get("X-Amzn-Oidc-Identity")+r.Header.Get("Cookie"))
	}))
	t.Cleanup(app.Close)
	s := startSite(t, siteSpec{upstream: app.URL, routes: strings.ReplaceAll(`
  - {match: HOST/private/*, to: u, require: signed-in, cache: {}}
  - {match: HOST/shared/*, to: u, require: signed-in, cache: {shared_by_everyone: true}}
  - {match: HOST, to: u, require: nothing, cache: {ttl: 1h}}
`, "HOST", appHost)})
	cookies := s.signIn("alice", "/private/").cookies(s.base)
	for _, h2 := range []bool{false, true} {
		c := newClient(t, s.addr, h2)
		ask := func(path, cookies string) (*http.Response, string) {
			t.Helper()
			return fetch(t, c, s.base+path, cookies)
		}
		path := fmt.Sprintf("/page-%t", h2)
		first, body := ask(path, "session=secret")
		if !strings.HasSuffix(body, `to ""`) {
			t.Errorf("the application was told %s", body)
		}
		second, again := ask(path, "")
		if again != body || second.Header.Get("X-Cache") != "Hit from gatehouse" || second.Header.Get("Age") == "" {
			t.Errorf("the second got %q and %v, want %q from the cache", again, second.Header, body)
		}
		if a, b := first.Header.Get("X-Request-Id"), second.Header.Get("X-Request-Id"); a == b {
			t.Errorf("two requests have the id %s", a)
		}
		if second.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Error("without the security headers")
		}
		event := s.eventWithID(second.Header.Get("X-Request-Id"))
		if record, _ := event["cache"].(map[string]any); record["verdict"] != "hit" || event["upstream"] != nil {
			t.Errorf("the event says %v and %v", event["cache"], event["upstream"])
		}
		event = s.eventWithID(first.Header.Get("X-Request-Id"))
		if record, _ := event["upstream"].(map[string]any); record["name"] != "u" {
			t.Errorf("the event of the first says %v", event["upstream"])
		}
		if resp, _ := ask(path+"?q=1'%20OR%201=1--", ""); resp.StatusCode != http.StatusForbidden {
			t.Errorf("an attack: got %s, want 403", resp.Status)
		}
		if resp, _ := ask(path+"?x=1", ""); resp.Header.Get("X-Cache") != "Miss from gatehouse" {
			t.Errorf("another query: got %v", resp.Header)
		}

		// What somebody is told is for nobody else, and what is for everybody was told to nobody.
		_, one := ask("/private/a", cookies)
		_, other := ask("/private/a", cookies)
		if one == other || strings.HasSuffix(one, `to ""`) {
			t.Errorf("what somebody is told: got %q and %q", one, other)
		}
		_, one = ask(fmt.Sprintf("/shared/%t", h2), cookies)
		_, other = ask(fmt.Sprintf("/shared/%t", h2), cookies)
		if one != other || !strings.HasSuffix(one, `to ""`) {
			t.Errorf("what everybody is told: got %q and %q", one, other)
		}
		for _, path := range []string{"/shared/part", "/shared/part?" + path} {
			if _, part := fetch(t, c, s.base+path, cookies, "Range", "bytes=0-"); !strings.HasSuffix(part, `to ""`) {
				t.Errorf("a part of what everybody is told: got %q", part)
			}
		}
		if resp, body := ask(fmt.Sprintf("/shared/%t", h2), ""); resp.StatusCode == http.StatusOK || strings.Contains(body, "answer") {
			t.Errorf("somebody who may not come in got %s %q", resp.Status, body)
		}
	}

	c := newClient(t, s.addr, true)
	_, before := fetch(t, c, s.base+"/page-true", "")
	s.write(s.text + "  - {match: new.example.test, to: u, require: nothing}\n")
	s.reload(t, reloaded)
	if _, after := fetch(t, c, s.base+"/page-true", ""); after != before {
		t.Errorf("after a reload got %q, want %q", after, before)
	}
	app.Close() // nothing answers any more
	if resp, after := fetch(t, c, s.base+"/page-true", ""); after != before {
		t.Errorf("without the application got %s %q, want %q", resp.Status, after, before)
	}
	if resp, _ := fetch(t, c, s.base+"/other", ""); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("what is not kept: got %s, want 502", resp.Status)
	}
}
