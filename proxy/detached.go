package proxy

import (
	"context"
	"net/http"
)

// Detached returns a request like r for work that outlives its client, such as what a cache fetches for several: its context
// never ends, has an Event of its own that nobody observes, and nothing that guards put into that of r, such as an identity. The
// Event begins as r's with what admission said of the client. The headers are r's: whoever sends it on decides what of them may be
// sent.
func Detached(r *http.Request) *http.Request {
	from := exchangeFrom(r.Context())
	if from == nil {
		return r.WithContext(context.Background())
	}
	x := &exchange{
		Context: context.WithoutCancel(from.Context), gen: from.gen, route: from.route, event: from.event,
		trace: from.trace, http1: from.http1, http10: from.http10,
	}
	e := &x.event
	e.exchange = x
	e.Subject, e.Session, e.Denied = "", "", nil
	e.Rules, e.WAF, e.Limit, e.Upstream, e.Cache = RulesRecord{}, WAFRecord{}, LimitRecord{}, UpstreamRecord{}, CacheRecord{}
	e.Certificate = nil
	e.decided = 0
	r = r.WithContext(x)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		state := *r.TLS
		state.PeerCertificates, state.VerifiedChains = nil, nil
		r.TLS = &state
	}
	return r
}

// Fetched records in the Event of r what was recorded in that of what Detached made of it, once that is over: where it went, and
// what was noted on its way.
func Fetched(r, detached *http.Request) {
	to, from := EventFrom(r.Context()), EventFrom(detached.Context())
	to.Upstream = from.Upstream
	for _, v := range from.Verdicts() {
		to.Note(v.Guard, v.Verdict)
	}
}
