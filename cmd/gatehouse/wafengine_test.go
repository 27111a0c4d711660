package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/tuning"
	"gatehouse/proxy"
	"gatehouse/waf"
)

// replayRequests are ordinary requests, mistakes of the rules, and attacks.
func replayRequests() map[string]func() *http.Request {
	get := func(query string) func() *http.Request {
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodGet, "/search?"+query, nil)
			r.Header.Set("User-Agent", "test")
			r.Header.Set("Accept", "*/*")
			return r
		}
	}
	post := func(kind, body string) func() *http.Request {
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/search", strings.NewReader(body))
			r.Header.Set("User-Agent", "test")
			r.Header.Set("Content-Type", kind)
			return r
		}
	}
	sql, xss, shell := url.QueryEscape("1' OR 1=1--"), url.QueryEscape("<svg onload=alert(1)>"), url.QueryEscape("; cat /etc/passwd")
	return map[string]func() *http.Request{
		"ordinary":           get("q=soup"),
		"SQL in q":           get("q=" + sql),
		"SQL in Q":           get("Q=" + sql),
		"SQL twice in q":     get("q=" + sql + "&q=" + sql),
		"SQL in q and id":    get("q=" + sql + "&id=" + sql),
		"XSS in q":           get("q=" + xss),
		"SQL and XSS":        get("q=" + sql + "&x=" + xss),
		"a shell command":    get("q=" + shell),
		"a quote and a bar":  get("q=" + url.QueryEscape("a' or b; -- c |")),
		"SQL in a form":      post("application/x-www-form-urlencoded", "q="+sql),
		"SQL in JSON":        post("application/json", `{"q":"1' OR 1=1--","a":[{"b":"<svg onload=alert(1)>"}]}`),
		"JSON that is none":  post("application/json", `{"q":"1' OR 1=1--`),
		"an unusual type":    post("application/x-odd", "q=1"),
		"no Accept, no type": post("", "q=1"),
		"SQL in a cookie": func() *http.Request {
			r := get("q=1")()
			r.Header.Set("Cookie", "q="+sql)
			return r
		},
	}
}

// replayConfigs are what is recorded with, and what is asked about.
func replayConfigs() map[string]waf.Config {
	sqlInQ := []waf.Exclusion{{Rule: 942100, Target: "query.q"}}
	return map[string]waf.Config{
		"the default":            {},
		"count":                  {Mode: waf.ModeCount},
		"a threshold of 10":      {Threshold: 10},
		"a threshold of 2":       {Threshold: 2},
		"an exclusion":           {Exclude: sqlInQ},
		"an exclusion in count":  {Mode: waf.ModeCount, Exclude: []waf.Exclusion{{Group: "sqli"}, {Rule: 200002}, {Group: "core", Target: "json.*"}}},
		"XSS and SQL without":    {Exclude: []waf.Exclusion{{Group: "core", Target: "query.*"}, {Group: "sqli", Target: "body"}}},
		"core alone":             {Groups: []string{"core"}},
		"linux and php":          {Groups: []string{"linux", "php"}, Threshold: 8},
		"paranoia 2":             {Paranoia: 2},
		"paranoia 3, counted":    {Paranoia: 3, Mode: waf.ModeCount},
		"paranoia 2 without 942": {Paranoia: 2, Exclude: []waf.Exclusion{{Group: "sqli"}}},
		"off":                    {Mode: waf.ModeOff},
	}
}

// results are what an engine finds, as its events are read back.
func results(t *testing.T, cfg waf.Config, patterns *waf.Patterns) map[string]*tuning.Record {
	t.Helper()
	var event *proxy.Event
	engine, err := waf.New(cfg, waf.Options{
		Deny: func(_ http.ResponseWriter, _ *http.Request, err error) { event.Denied = err },
		OnResult: func(_ context.Context, r waf.Result) {
			event.WAF = wafRecord(engineRecord(cfg), r)
		},
		Patterns: patterns,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	found := map[string]*tuning.Record{}
	h := engine.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	for name, request := range replayRequests() {
		event = &proxy.Event{ID: name, Method: http.MethodGet, Path: "/search", Route: "r"}
		h.ServeHTTP(httptest.NewRecorder(), request())
		s := tuning.NewSamples(1, 1<<20)
		s.Add(sampleOf(event))
		rec, err := tuning.Parse(s.Get(name))
		if err != nil {
			t.Fatal(err)
		}
		found[name] = rec
	}
	return found
}

// What replay says it knows is what the engine of the other configuration really does with the same request.
func TestReplayAgreesWithTheEngine(t *testing.T) {
	t.Parallel()
	patterns := &waf.Patterns{}
	recorded, plans := map[string]map[string]*tuning.Record{}, map[string]*tuning.Plan{}
	for name, cfg := range replayConfigs() {
		recorded[name] = results(t, cfg, patterns)
		plan, err := tuning.NewPlan("r", cfg)
		if err != nil {
			t.Fatal(err)
		}
		plans[name] = plan
	}
	var replay tuning.Replay
	known, changed, open := 0, 0, map[string]int{}
	for from := range recorded {
		for to, plan := range plans {
			for request, rec := range recorded[from] {
				change, err := replay.Judge(rec, plan)
				if err != nil {
					t.Fatal(err)
				}
				if change.Becomes == tuning.Unknown || change.Assumes != "" {
					open[fmt.Sprint(change.Why, change.Assumes)]++
					continue
				}
				known++
				if change.Becomes != change.Was {
					changed++
				}
				want := tuning.Passes
				if really := recorded[to][request]; really.WAF != nil {
					want = tuning.Verdict(really.WAF.Verdict)
				}
				if change.Becomes != want {
					t.Errorf("%s, recorded with %s: replay with %s says %s (%v), the engine %s\n%+v", request, from, to, change.Becomes, change.Why, want, rec.WAF)
				}
			}
		}
	}
	t.Logf("%d known, %d of them changed; open: %v", known, changed, open)
	if known < 1000 || changed < 300 {
		t.Errorf("got %d known and %d changed, want a test that says something", known, changed)
	}
}
