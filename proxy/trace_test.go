package proxy

import (
	"net/http"
	"regexp"
	"testing"
	"time"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestNewTrace(t *testing.T) {
	t.Parallel()
	now := time.Unix(0x63441c4a, 0)
	a, b := newTrace(now), newTrace(now)
	if a.id() == b.id() || a.traceID() == b.traceID() {
		t.Error("two requests share identifiers")
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(a.id()) {
		t.Errorf("id: got %q", a.id())
	}
	if !validTraceparent(a.parent()) || a.parent()[3:35] != a.traceID() {
		t.Errorf("traceparent: got %q", a.parent())
	}
	if want := regexp.MustCompile(`^Root=1-63441c4a-[0-9a-f]{24}$`); !want.MatchString(a.root()) {
		t.Errorf("root: got %q", a.root())
	}
	if a.root()[16:] != a.traceID()[8:] {
		t.Errorf("root %q and trace id %q differ", a.root(), a.traceID())
	}
}

func TestSetTrace(t *testing.T) {
	t.Parallel()
	x := &exchange{trace: newTrace(time.Unix(0x63441c4a, 0))}
	own, self := x.trace.root(), x.trace.self()
	const root = "Root=1-67891233-abcdef012345678912345678"
	tests := []struct {
		name   string
		in     http.Header
		size   int
		parent string // "" for ours
		state  string
		amzn   string
	}{
		{"nothing sent", http.Header{}, 0, "", "", own},
		{"valid traceparent", http.Header{"Traceparent": {traceparent}, "Tracestate": {"a=b"}}, 0, traceparent, "a=b", own},
		{"invalid traceparent", http.Header{"Traceparent": {"00-x"}, "Tracestate": {"a=b"}}, 0, "", "", own},
		{"two traceparents", http.Header{"Traceparent": {traceparent, traceparent}, "Tracestate": {"a=b"}}, 0, "", "", own},
		{"root", http.Header{"X-Amzn-Trace-Id": {root}}, 0, "", "", self + ";" + root},
		{"root and custom field", http.Header{"X-Amzn-Trace-Id": {root + ";CalledFrom=app"}}, 0, "", "", self + ";" + root + ";CalledFrom=app"},
		{"self is replaced", http.Header{"X-Amzn-Trace-Id": {"Self=1-67891233-abcdef012345678912345678;" + root}}, 0, "", "", self + ";" + root},
		{"no root", http.Header{"X-Amzn-Trace-Id": {"CalledFrom=app"}}, 0, "", "", own},
		{"junk", http.Header{"X-Amzn-Trace-Id": {"127.0.0.1"}}, 0, "", "", own},
		{"junk field", http.Header{"X-Amzn-Trace-Id": {root + ";/admin"}}, 0, "", "", own},
		{"two roots", http.Header{"X-Amzn-Trace-Id": {root + ";" + root}}, 0, "", "", own},
		{"short root", http.Header{"X-Amzn-Trace-Id": {"Root=1-67891233-abc"}}, 0, "", "", own},
		{"headers over 7 KB", http.Header{"X-Amzn-Trace-Id": {root}}, 7<<10 + 1, "", "", own},
	}
	for _, tt := range tests {
		x.setTrace(tt.in, tt.size)
		if tt.parent == "" {
			tt.parent = x.trace.parent()
		}
		if got := tt.in.Get("Traceparent"); got != tt.parent || len(tt.in["Traceparent"]) != 1 {
			t.Errorf("%s: traceparent: got %q, want %q", tt.name, got, tt.parent)
		}
		if x.event.TraceID != tt.parent[3:35] {
			t.Errorf("%s: event has trace id %q", tt.name, x.event.TraceID)
		}
		if got := tt.in.Get("Tracestate"); got != tt.state {
			t.Errorf("%s: tracestate: got %q, want %q", tt.name, got, tt.state)
		}
		if got := tt.in.Get("X-Amzn-Trace-Id"); got != tt.amzn {
			t.Errorf("%s: X-Amzn-Trace-Id: got %q, want %q", tt.name, got, tt.amzn)
		}
		if got := tt.in.Get("X-Request-Id"); got != x.trace.id() {
			t.Errorf("%s: X-Request-Id: got %q", tt.name, got)
		}
	}
}

func TestValidTraceparent(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		traceparent:                        true,
		"01" + traceparent[2:]:             true,
		"01" + traceparent[2:] + "-future": true,
		traceparent + "-x":                 false,
		"01" + traceparent[2:] + "x":       false,
		"ff" + traceparent[2:]:             false,
		"0A" + traceparent[2:]:             false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": false,
		"": false,
	} {
		if got := validTraceparent(s); got != want {
			t.Errorf("validTraceparent(%q): got %v, want %v", s, got, want)
		}
	}
}

func FuzzTraceHeaders(f *testing.F) {
	f.Add(traceparent, "Root=1-67891233-abcdef012345678912345678;A=b")
	f.Fuzz(func(t *testing.T, parent, amzn string) {
		x := &exchange{trace: newTrace(time.Unix(0, 0))}
		h := http.Header{"Traceparent": {parent}, "X-Amzn-Trace-Id": {amzn}}
		x.setTrace(h, 0)
		if !validTraceparent(h.Get("Traceparent")) {
			t.Fatalf("traceparent %q was kept", parent)
		}
		if got := h.Get("X-Amzn-Trace-Id"); amznFields(got) == "" {
			t.Fatalf("X-Amzn-Trace-Id %q became %q, which has no root", amzn, got)
		}
	})
}
