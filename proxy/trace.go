package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// maxTracedHeaders is the size of a request's headers in bytes above which X-Amzn-Trace-Id is replaced, as an ALB does.
const maxTracedHeaders = 7 << 10

// Offsets into trace.
const (
	traceParentAt = 32
	traceRootAt   = traceParentAt + 55
	traceLen      = traceRootAt + 40
)

// A trace holds the identifiers that one request is given, in one string: the request id (128 random bits), a traceparent and
// the Root of an X-Amzn-Trace-Id. The last two share one trace id, which begins with the time as X-Ray wants it.
type trace string

// newTrace draws the identifiers of a request that starts at now.
func newTrace(now time.Time) trace {
	var random [36]byte
	_, _ = rand.Read(random[:]) // it never fails, see crypto/rand
	var b [traceLen]byte
	hex.Encode(b[:], random[:16])

	// The flag "sampled" keeps applications tracing whose sampler follows its parent, which is OpenTelemetry's default.
	id := b[traceParentAt+3 : traceParentAt+35]
	sec := uint32(now.Unix())
	copy(b[traceParentAt:], "00-")
	hex.Encode(id, []byte{byte(sec >> 24), byte(sec >> 16), byte(sec >> 8), byte(sec)})
	hex.Encode(id[8:], random[16:28])
	b[traceParentAt+35] = '-'
	hex.Encode(b[traceParentAt+36:], random[28:])
	copy(b[traceParentAt+52:], "-01")

	copy(b[traceRootAt:], "Root=1-")
	copy(b[traceRootAt+7:], id[:8])
	b[traceRootAt+15] = '-'
	copy(b[traceRootAt+16:], id[8:])
	return trace(b[:])
}

func (t trace) id() string      { return string(t[:traceParentAt]) }
func (t trace) parent() string  { return string(t[traceParentAt:traceRootAt]) }
func (t trace) traceID() string { return string(t[traceParentAt+3 : traceParentAt+35]) }
func (t trace) root() string    { return string(t[traceRootAt:]) }

// self is root under the name that an ALB gives its own hop.
func (t trace) self() string { return "Self=" + string(t[traceRootAt+len("Root="):]) }

// setTrace gives the request its id and trace headers. A valid traceparent is taken over with its tracestate, an invalid or
// doubled one replaced and its tracestate dropped (W3C Trace Context, section 3.3). X-Amzn-Trace-Id follows the ALB: a client's
// Root and custom fields stay behind our Self; size is that of the request's headers in bytes.
func (x *exchange) setTrace(h http.Header, size int) {
	t := x.trace
	x.id[0] = t.id()
	h["X-Request-Id"] = x.id[:]

	if sent := h["Traceparent"]; len(sent) == 1 && validTraceparent(sent[0]) {
		x.event.TraceID = sent[0][3:35]
	} else {
		delete(h, "Tracestate")
		x.event.TraceID = t.traceID()
		x.traceparent[0] = t.parent()
		h["Traceparent"] = x.traceparent[:]
	}

	x.amznTrace[0] = t.root()
	if sent := h["X-Amzn-Trace-Id"]; len(sent) == 1 && size <= maxTracedHeaders {
		if kept := amznFields(sent[0]); kept != "" {
			x.amznTrace[0] = t.self() + ";" + kept
		}
	}
	h["X-Amzn-Trace-Id"] = x.amznTrace[:]
}

// validTraceparent reports a traceparent of version 00, or of a later version that begins like one.
func validTraceparent(s string) bool {
	if len(s) < 55 || len(s) > 512 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version := s[:2]
	if !lowerHex(version) || version == "ff" || version == "00" && len(s) != 55 || len(s) > 55 && s[55] != '-' {
		return false
	}
	trace, parent := s[3:35], s[36:52]
	return lowerHex(trace) && lowerHex(parent) && lowerHex(s[53:55]) &&
		strings.Trim(trace, "0") != "" && strings.Trim(parent, "0") != ""
}

func lowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isHex(s[i]) || 'A' <= s[i] && s[i] <= 'F' {
			return false
		}
	}
	return true
}

// amznFields returns the fields of a client's X-Amzn-Trace-Id without its Self, or "" if there is no well-formed Root or a field
// is not name=value.
func amznFields(s string) string {
	var kept []string
	root := false
	for field := range strings.SplitSeq(s, ";") {
		field = strings.Trim(field, " \t")
		name, value, ok := strings.Cut(field, "=")
		switch {
		case field == "":
			continue
		case !ok || !isToken(name) || value == "" || strings.ContainsAny(value, " \t,\""):
			return ""
		case strings.EqualFold(name, "Self"):
			continue
		case strings.EqualFold(name, "Root"):
			if root || !validXRay(value) {
				return ""
			}
			root = true
		}
		kept = append(kept, field)
	}
	if !root {
		return ""
	}
	return strings.Join(kept, ";")
}

// validXRay reports "1-" with 8 and 24 hexadecimal digits.
func validXRay(s string) bool {
	return len(s) == 35 && s[:2] == "1-" && s[10] == '-' && lowerHex(strings.ToLower(s[2:10]+s[11:]))
}
