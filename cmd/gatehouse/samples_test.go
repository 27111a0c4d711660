package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/awslog"
	"gatehouse/internal/tuning"
	"gatehouse/proxy"
)

// A sample and the line of its event are one thing to who reads them.
func TestASampleIsItsEvent(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*proxy.Event{
		"everything": fullEvent(), "a refusal": {ID: "x", Denied: &proxy.PanicError{}},
	} {
		var out bytes.Buffer
		o := newObserver(&out)
		o.request(e)
		line, err := tuning.Parse(bytes.TrimSpace(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		sample, err := tuning.Parse(o.samples.Get(e.ID))
		if err != nil {
			t.Fatal(err)
		}
		sample.Time, line.Time = e.Start, e.Start // a line has that of its writing
		if diff := cmp.Diff(sample, line); diff != "" {
			t.Errorf("%s (-sample +line)\n%s", name, diff)
		}
	}
}

func TestSamplesAreWhatOperatorsAskAbout(t *testing.T) {
	t.Parallel()
	o := newObserver(&bytes.Buffer{})
	o.request(&proxy.Event{ID: "well", Status: 200})
	o.request(&proxy.Event{ID: "passed", Status: 200, WAF: proxy.WAFRecord{
		Mode: "block", Verdict: "pass", Score: 3, Matches: []proxy.WAFMatch{{RuleID: 920300, Severity: 3}},
	}})
	o.request(&proxy.Event{ID: "denied", Status: 429, Denied: &proxy.PanicError{}})
	for id, want := range map[string]bool{"well": false, "passed": true, "denied": true} {
		if got := o.samples.Get(id) != nil; got != want {
			t.Errorf("%s: got a sample %t, want %t", id, got, want)
		}
	}
}

// The samples are for whom the rest of the listener is.
func TestAdminServesSamples(t *testing.T) {
	t.Parallel()
	o := newObserver(&bytes.Buffer{})
	o.request(fullEvent())
	h := newAdmin(adminOptions{
		metrics: http.NotFoundHandler(), samples: o.samples, ready: func() error { return nil },
		notes: func() []string { return nil }, token: func() string { return "" },
	})
	ask := func(path, host string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = host
		if len(header) == 2 {
			r.Header.Set(header[0], header[1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("/samples", "localhost")
	var list tuning.Listing
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Kept != 1 || len(list.Samples) != 1 {
		t.Fatalf("got %s, %v, want one sample", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: got %q", got)
	}
	if !strings.Contains(w.Body.String(), `"exclude":{"rule":942100,"target":"query.id"}`) {
		t.Errorf("got %s, want the exclusion of each match", w.Body)
	}
	if w := ask("/samples/"+fullEvent().ID, "localhost"); w.Code != 200 || !strings.Contains(w.Body.String(), `"path":"/a%20b"`) {
		t.Errorf("one: got %d %s", w.Code, w.Body)
	}
	if w := ask("/samples/nope", "localhost"); w.Code != 404 || !strings.HasPrefix(w.Body.String(), `{"kept":1,"forgotten":0,"oldest":`) {
		t.Errorf("an unknown one: got %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/samples", "/samples/" + fullEvent().ID} {
		if w := ask(path, "evil.test"); w.Code != 403 || strings.Contains(w.Body.String(), "942100") {
			t.Errorf("%s by another name: got %d %s, want 403", path, w.Code, w.Body)
		}
		if w := ask(path, "localhost", "Origin", "https://evil.test"); w.Code != 403 || strings.Contains(w.Body.String(), "942100") {
			t.Errorf("%s from a page: got %d %s, want 403", path, w.Code, w.Body)
		}
	}
}

// A record in AWS's form beside the events is no event to who reads them, and has nothing that they may not have.
func TestRecordsOfAWSOnStandardOutput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := newObserver(&out)
	log, err := awslog.Open(awslog.Config{Format: "aws"}, o.stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.wafLog.Use(log); err != nil {
		t.Fatal(err)
	}
	o.request(fullEvent())
	o.request(&proxy.Event{ID: "well", Status: 200, WAF: proxy.WAFRecord{Mode: "block", Verdict: "pass"}})
	var ids []string
	s, err := tuning.Read(&out, func(rec *tuning.Record) { ids = append(ids, rec.ID) })
	if err != nil || s.Lines != 3 || s.Others != 1 || s.Damaged != 0 || len(ids) != 2 {
		t.Errorf("got %+v, %v, %v, want two events and one record", s, ids, err)
	}
}
