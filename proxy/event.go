package proxy

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// maxVerdicts bounds the guards whose verdict an Event keeps. The guard order has seven places; admission, the upstream and
// the answer take the rest.
const maxVerdicts = 12

// An Event is the record of one request. The pipeline fills it while the request runs and passes it to Options.Observe once,
// after the answer or the end of an upgraded connection. It is written by the request's goroutine only and is not safe for
// concurrent use; after Observe it never changes, so Observe may keep it.
type Event struct {
	ID      string    // the request id, 32 hexadecimal digits; also in X-Request-Id
	TraceID string    // the W3C trace id, the client's if its traceparent was valid
	Start   time.Time // when the request entered the Gateway

	Route      string // Route.Name, "" if none matched
	Generation string

	Proto      string // "HTTP/1.1", "HTTP/2.0"
	TLSVersion string // "TLS 1.3"; "" without TLS
	Scheme     string // "https" or "http": the client's, as a trusted proxy reports it
	Method     string
	Host       string // lower case, without port
	Path       string // the canonical path as forwarded, escaped, never the query; "" when the target was refused
	UserAgent  string // at most 512 bytes

	Peer     netip.Addr // the other end of the connection
	ClientIP netip.Addr // the client behind trusted proxies; Peer if there are none

	Status   int // of the final answer; 101 for an upgraded connection, 499 if the client left before one, 0 if it was cut off
	BytesIn  int64
	BytesOut int64 // body bytes; neither counts what an upgraded connection carries
	Duration time.Duration

	Subject string // who, once authenticated
	Session string

	Certificate *CertificateRecord // the client's, verified; nil without one

	Rules    RulesRecord
	WAF      WAFRecord
	Limit    LimitRecord
	Upstream UpstreamRecord
	Cache    CacheRecord

	GRPC     string // the status of a call of gRPC, in decimal, from the upstream or a refusal; "" if there was none
	Denied   error  // why the request was refused, the first reason if there are several
	Upgraded bool   // the connection left HTTP
	Aborted  bool   // the answer was cut off on purpose because it could not be completed

	verdicts [maxVerdicts]Verdict
	decided  int

	exchange *exchange
}

// A Verdict is what one guard decided.
type Verdict struct{ Guard, Verdict string }

// A CertificateRecord is what is known of a client's certificate. It is shared by many events.
type CertificateRecord struct {
	Subject, Issuer, Serial string
	Names                   []string // all that it is for, its subject included
}

// A RulesRecord is what the rules of the file made of the request.
type RulesRecord struct {
	Mode     string // "block", "count"; "" if there are none
	Rule     string // that decided
	Action   string // "allow", "block", "challenge"; "" if the WAF refused the request between them
	Status   int    // of an answer that the rule says
	Matched  []RuleMatch
	Labels   []string
	Inserted []RuleHeader
	Token    string // what the client's proof of work was: "accepted", "absent" or why it was rejected; "" if nothing asked
}

// A RuleMatch is a rule that matched and did not decide.
type RuleMatch struct{ Rule, Action string }

// A RuleHeader is a header that a rule gave the upstream.
type RuleHeader struct{ Name, Value string }

// A WAFRecord is what the WAF found.
type WAFRecord struct {
	Mode     string // "block", "count", "off"
	Verdict  string // "pass", "block", "count", "limit"
	Limit    string // the limit that the request goes over, if any
	Score    int
	Counted  int        // what rules on count would have added to it
	Rules    []int      // of the request, and behind them of the answer
	Matches  []WAFMatch // the same; those of the answer have a Variable that begins with RESPONSE_
	Response WAFResponse
	Cause    int // the rule that decided about the request; 0 if none did

	// What the engine was told, without which nobody can say later what another configuration would have done.
	Threshold, Paranoia int
	Groups              []string // nil for those that run by default; those that count as NAME:count; shared by many events
	RuleActions         []string // what single rules were told, as 942100:count; shared by many events
	Exclusions          int      // how many
	ExclusionsFor       []string // the groups of people that some of them are for; shared by many events
}

// A WAFResponse is what the WAF said of the answer. It is zero if the answer was not inspected.
type WAFResponse struct {
	Verdict string // as WAFRecord.Verdict
	Score   int
}

// A WAFMatch is one matched rule. It has no value the client sent.
type WAFMatch struct {
	RuleID                 int
	Message, Variable, Key string
	Severity               int
	Counted                bool // the rule is on count: it decided nothing
}

// A LimitRecord is the decision of the limit that decided last.
type LimitRecord struct{ Name, Verdict string }

// An UpstreamRecord is where the request went and how long that took.
type UpstreamRecord struct {
	Name, Address string
	Protocol      string // that it was spoken to in: "HTTP/1.1" or "HTTP/2.0"
	Connect, TTFB time.Duration
	Reused        bool
	Attempts      int
}

// A CacheRecord is what the cache did. It is zero on routes without one.
type CacheRecord struct {
	Verdict string        // "hit", "stale", "revalidated", "miss", "collapsed", "pass", "error"
	Why     string        // it passed, or was not kept; from a small set
	Age     time.Duration // of an answer that was kept
}

// Note records what a guard decided. Both strings must come from a bounded set. Notes after the twelfth are dropped.
func (e *Event) Note(guard, verdict string) {
	if e.decided < len(e.verdicts) {
		e.verdicts[e.decided] = Verdict{guard, verdict}
		e.decided++
	}
}

// Refuse records that Gatehouse answers the request itself because of err, with an answer that Deny does not write. That answer
// keeps its own Content-Security-Policy.
func (e *Event) Refuse(err error) {
	e.deny(err)
	if e.exchange != nil {
		e.exchange.local = true
	}
}

// Verdicts returns what Note recorded, in order. The caller must not change it.
func (e *Event) Verdicts() []Verdict { return e.verdicts[:e.decided] }

// eventKey is the context key of the Event.
type eventKey struct{}

// EventFrom returns the request's Event. Outside a Gateway it returns a new one that nobody observes, so hooks need no check.
func EventFrom(ctx context.Context) *Event {
	if e, ok := ctx.Value(eventKey{}).(*Event); ok {
		return e
	}
	return &Event{}
}

// ClientIP returns the client's address as admission resolved it, or that of the connection outside a Gateway. It is the zero
// Addr if the connection has no IP address, as on a unix socket.
func ClientIP(r *http.Request) netip.Addr {
	if x := exchangeFrom(r.Context()); x != nil {
		return x.event.ClientIP
	}
	return peerAddr(r.RemoteAddr)
}

// RequestID returns the request's id, or "" outside a Gateway.
func RequestID(r *http.Request) string { return EventFrom(r.Context()).ID }

// OwnCookies returns the cookies that Options.OwnCookie claimed and admission took out of the request, in the order they
// were sent, duplicates included, values as sent. The caller must not change it.
func OwnCookies(r *http.Request) []*http.Cookie {
	if x := exchangeFrom(r.Context()); x != nil {
		return x.cookies
	}
	return nil
}

// exchangeFrom returns the exchange that ctx belongs to, or nil outside a Gateway.
func exchangeFrom(ctx context.Context) *exchange {
	if e, ok := ctx.Value(eventKey{}).(*Event); ok {
		return e.exchange
	}
	return nil
}
