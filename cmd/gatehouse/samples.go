package main

import (
	"encoding/json"
	"net/http"

	"gatehouse/internal/awslog"
	"gatehouse/internal/tuning"
	"gatehouse/proxy"
	"gatehouse/waf"
)

// sampleOf is what a sample keeps of an event: what its record says, so that both are read by the same commands.
func sampleOf(e *proxy.Event) tuning.Record {
	rec := tuning.Record{
		Time: e.Start.Add(e.Duration), ID: e.ID, Route: e.Route, Generation: e.Generation, Client: address(e.ClientIP),
		Method: e.Method, Host: e.Host, Path: e.Path, Status: e.Status,
	}
	if verdicts := e.Verdicts(); len(verdicts) > 0 {
		rec.Guards = map[string]string{}
		for _, a := range verdictAttr(verdicts).Value.Group() {
			rec.Guards[a.Key] = a.Value.String()
		}
	}
	if r := &e.Rules; hasRules(r) {
		rec.Rules = &tuning.Rules{Mode: r.Mode, Rule: r.Rule, Action: r.Action, Status: r.Status, Labels: r.Labels, Token: r.Token}
		for _, m := range r.Matched {
			rec.Rules.Matched = append(rec.Rules.Matched, tuning.RuleMatch(m))
		}
		for _, h := range r.Inserted {
			rec.Rules.Inserted = append(rec.Rules.Inserted, h.Name)
		}
	}
	if w := &e.WAF; w.Verdict != "" {
		rec.WAF = &tuning.WAF{
			Mode: w.Mode, Verdict: w.Verdict, Score: w.Score, Threshold: w.Threshold, Paranoia: w.Paranoia,
			Groups: w.Groups, Rules: w.RuleActions, Counted: w.Counted, Exclusions: w.Exclusions, For: w.ExclusionsFor, Cause: w.Cause, Limit: w.Limit,
		}
		if a := w.Response; a.Verdict != "" {
			rec.WAF.Response = &tuning.Response{Verdict: a.Verdict, Score: a.Score}
		}
		for _, m := range w.Matches {
			rec.WAF.Matches = append(rec.WAF.Matches, tuning.Match{
				Rule: m.RuleID, Message: m.Message, Variable: m.Variable, Key: m.Key, Score: m.Severity, Counted: m.Counted,
			})
		}
	}
	if e.Limit.Name != "" {
		rec.Limit = &tuning.Limit{Name: e.Limit.Name, Verdict: e.Limit.Verdict}
	}
	if e.Denied != nil {
		rec.Denied = e.Denied.Error()
	}
	return rec
}

// serveSamples answers /samples and /samples/ID of the admin listener.
func serveSamples(samples *tuning.Samples) http.Handler {
	answer := func(w http.ResponseWriter, status int, v any) {
		text, err := json.Marshal(v)
		if err != nil { // times of this century, numbers and what was JSON before: it cannot fail
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(text, '\n'))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /samples", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, samples.List(false))
	})
	mux.HandleFunc("GET /samples/{id}", func(w http.ResponseWriter, r *http.Request) {
		if found := samples.Get(r.PathValue("id")); found != nil {
			answer(w, http.StatusOK, found)
			return
		}
		answer(w, http.StatusNotFound, samples.List(true))
	})
	return mux
}

// awsRequest is what a record in AWS's form tells of an event.
func awsRequest(e *proxy.Event) *awslog.Request {
	r := &awslog.Request{
		Time: e.Start, ID: e.ID, Client: address(e.ClientIP), Scheme: e.Scheme, Proto: e.Proto, Method: e.Method, Host: e.Host,
		Path: e.Path, Agent: e.UserAgent, BodySize: e.BytesIn, Refused: e.WAF.Verdict == "block", WouldRefuse: e.WAF.Verdict == "count",
		Cause: e.WAF.Cause, Threshold: e.WAF.Threshold, Paranoia: e.WAF.Paranoia,
	}
	if rules := &e.Rules; hasRules(rules) {
		r.Rule, r.Action, r.Status, r.Labels, r.Token = rules.Rule, rules.Action, rules.Status, rules.Labels, rules.Token
		for _, m := range rules.Matched {
			r.Counted = append(r.Counted, awslog.Counted(m))
		}
		for _, h := range rules.Inserted {
			r.Inserted = append(r.Inserted, awslog.Header(h))
		}
	}
	for _, m := range e.WAF.Matches {
		if waf.ReadsAnswers(m.RuleID) {
			continue // which AWS WAF does not
		}
		r.Matches = append(r.Matches, awslog.Match{Rule: m.RuleID, Variable: m.Variable, Key: m.Key, Score: m.Severity, Counted: m.Counted})
	}
	return r
}
