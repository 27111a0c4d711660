package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What an application says by mistake does not leave a route that asks for its answers to be inspected, and the
// record says what it was.
func TestLeaksAreKeptBackOnRoutesThatAskForIt(t *testing.T) {
	t.Parallel()
	const leak = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version"
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Debug", "on")
		_, _ = io.WriteString(w, "<p>hello</p>")
		if strings.Contains(r.URL.Path, "leak") {
			_, _ = io.WriteString(w, leak)
		}
		if strings.Contains(r.URL.Path, "long") {
			_, _ = io.WriteString(w, strings.Repeat("x", 4<<20))
		}
	}))
	defer up.Close()
	var out bytes.Buffer
	o := newObserver(&out)
	h := serveFile(t, fmt.Sprintf(`upstreams: {app: %q}
routes:
  - {match: app.test/plain/*, to: app, require: nothing, waf: block}
  - {match: app.test/counted/*, to: app, require: nothing, waf: {mode: count, groups: [leakages]}}
  - {match: app.test/*, to: app, require: nothing, waf: {mode: block, groups: [leakages]}}
`, up.URL), o)
	type waf struct {
		Verdict  string
		Rules    []int
		Response struct {
			Verdict string
			Score   int
		}
	}
	answer := func(verdict string, score int) (w waf) {
		w.Verdict = "pass"
		if score > 0 {
			w.Rules = []int{951230}
		}
		w.Response.Verdict, w.Response.Score = verdict, score
		return w
	}
	for _, tt := range []struct {
		path   string
		status int
		want   waf
		guards map[string]string
	}{
		{"/", 200, answer("pass", 0), map[string]string{"waf": "pass"}},
		{"/leak", 403, answer("block", 5), map[string]string{"waf": "pass", "waf_response": "block"}},
		{"/long/leak", 403, answer("block", 5), map[string]string{"waf": "pass", "waf_response": "block"}},
		{"/counted/leak", 200, answer("count", 5), map[string]string{"waf": "pass", "waf_response": "count"}},
		{"/plain/leak", 200, waf{Verdict: "pass"}, map[string]string{"waf": "pass"}},
	} {
		out.Reset()
		w := ask(h, "GET", "https://app.test"+tt.path)
		var record struct {
			Status int
			WAF    waf
			Guards map[string]string
			Denied string
		}
		if err := json.Unmarshal(out.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.status || record.Status != tt.status || (record.Denied != "") != (tt.status == 403) {
			t.Errorf("%s: got %d, %+v, want %d", tt.path, w.Code, record, tt.status)
		}
		if leaked := strings.Contains(w.Body.String(), leak) || w.Header().Get("X-Debug") != ""; leaked && tt.status != 200 {
			t.Errorf("%s: the refusal has something of the answer: %v %.200s", tt.path, w.Header(), w.Body)
		}
		if diff := cmp.Diff(record.WAF, tt.want); diff != "" {
			t.Errorf("%s: waf (-got +want)\n%s", tt.path, diff)
		}
		if diff := cmp.Diff(record.Guards, tt.guards); diff != "" {
			t.Errorf("%s: guards (-got +want)\n%s", tt.path, diff)
		}
	}
	if got := series(t, o)["gatehouse_waf_responses_total"]; got != 3 {
		t.Errorf("series of gatehouse_waf_responses_total: got %d, want 3", got)
	}
}
