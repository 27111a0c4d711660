package headers

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newTestSecurity(t testing.TB, cfg SecurityConfig) *Security {
	t.Helper()
	s, err := NewSecurity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func strictHeader() http.Header {
	return http.Header{
		"Strict-Transport-Security": {"max-age=63072000; includeSubDomains"},
		"Content-Security-Policy": {"default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; " +
			"media-src 'self' data: blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"},
		"X-Content-Type-Options":       {"nosniff"},
		"X-Frame-Options":              {"SAMEORIGIN"},
		"Referrer-Policy":              {"strict-origin-when-cross-origin"},
		"Permissions-Policy":           {"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
	}
}

// with returns a copy of h with the pairs set; an empty value deletes.
func with(h http.Header, pairs ...string) http.Header {
	h = maps.Clone(h)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			delete(h, pairs[i])
		} else {
			h[pairs[i]] = []string{pairs[i+1]}
		}
	}
	return h
}

func TestSecurityApply(t *testing.T) {
	t.Parallel()
	aws := http.Header{
		"Strict-Transport-Security": {"max-age=31536000"},
		"X-Content-Type-Options":    {"nosniff"},
		"X-Frame-Options":           {"SAMEORIGIN"},
		"X-Xss-Protection":          {"1; mode=block"},
		"Referrer-Policy":           {"strict-origin-when-cross-origin"},
	}
	awsOrigin := http.Header{
		"Strict-Transport-Security": {"max-age=1"},
		"X-Content-Type-Options":    {"other"},
		"X-Frame-Options":           {"DENY"},
		"X-Xss-Protection":          {"0"},
		"Referrer-Policy":           {"no-referrer"},
		"Content-Type":              {"text/html"},
	}
	tests := map[string]struct {
		cfg          SecurityConfig
		answer, want http.Header
	}{
		"strict is the default":                                     {SecurityConfig{}, http.Header{}, strictHeader()},
		"strict replaces and does not add":                          {SecurityConfig{Preset: "strict"}, http.Header{"X-Frame-Options": {"DENY", "ALLOWALL"}, "Content-Security-Policy": {"default-src *"}}, strictHeader()},
		"strict removes who answers":                                {SecurityConfig{}, http.Header{"Server": {"x"}, "X-Powered-By": {"PHP"}, "X-Aspnet-Version": {"4"}, "X-Aspnetmvc-Version": {"5"}, "X-Generator": {"y"}}, strictHeader()},
		"keep lets the upstream's own stand":                        {SecurityConfig{Keep: []string{"content-security-policy"}}, http.Header{"Content-Security-Policy": {"default-src *"}}, with(strictHeader(), "Content-Security-Policy", "default-src *")},
		"keep without the upstream's own":                           {SecurityConfig{Keep: []string{"Content-Security-Policy"}}, http.Header{}, strictHeader()},
		"set outranks everybody":                                    {SecurityConfig{Set: map[string]string{"x-frame-options": "DENY", "X-Robots-Tag": "none", "Server": "gatehouse"}}, http.Header{"X-Robots-Tag": {"all"}, "Server": {"x"}}, with(strictHeader(), "X-Frame-Options", "DENY", "X-Robots-Tag", "none", "Server", "gatehouse")},
		"remove takes a preset's header too":                        {SecurityConfig{Remove: []string{"x-frame-options", "X-Debug"}}, http.Header{"X-Frame-Options": {"DENY"}, "X-Debug": {"1"}}, with(strictHeader(), "X-Frame-Options", "")},
		"aws-managed on a bare answer":                              {SecurityConfig{Preset: "aws-managed"}, http.Header{}, aws},
		"aws-managed lets the upstream's own stand but for nosniff": {SecurityConfig{Preset: "aws-managed"}, maps.Clone(awsOrigin), with(awsOrigin, "X-Content-Type-Options", "nosniff")},
		"off touches nothing":                                       {SecurityConfig{Preset: "off"}, maps.Clone(awsOrigin), awsOrigin},
		"off with set, remove":                                      {SecurityConfig{Preset: "off", Set: map[string]string{"X-A": "1"}, Remove: []string{"X-B"}}, http.Header{"X-B": {"2"}, "Server": {"s"}}, http.Header{"X-A": {"1"}, "Server": {"s"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestSecurity(t, tt.cfg)
			if diff := cmp.Diff(applyLines(t, s, tt.answer), tt.want); diff != "" {
				t.Errorf("headers with lines (-got +want):\n%s", diff)
			}
			for range 2 { // applying twice changes nothing
				s.Apply(tt.answer)
				if diff := cmp.Diff(tt.answer, tt.want); diff != "" {
					t.Errorf("headers (-got +want):\n%s", diff)
				}
			}
		})
	}
}

// applyLines returns what the client is sent of answer where the server writes lines.
func applyLines(t *testing.T, s *Security, answer http.Header) http.Header {
	t.Helper()
	h := maps.Clone(answer)
	lines := s.Lines(h)
	for line := range strings.SplitSeq(string(lines), "\r\n") {
		name, value, ok := strings.Cut(line, ": ")
		switch {
		case line == "":
			continue
		case !ok || name != http.CanonicalHeaderKey(name):
			t.Errorf("line %q", line)
		case len(h[name]) > 0:
			t.Errorf("%s is in the lines and in the headers", name)
		}
		h.Add(name, value)
	}
	if len(lines) > 0 && !strings.HasSuffix(string(lines), "\r\n") {
		t.Errorf("lines have no end: %q", lines)
	}
	return h
}

func TestSecurityLinesHaveNothingOfTheOperators(t *testing.T) {
	t.Parallel()
	s := newTestSecurity(t, SecurityConfig{Set: map[string]string{"Cache-Control": "no-store", "x-frame-options": "DENY"}})
	h := make(http.Header)
	lines := string(s.Lines(h))
	if h.Get("Cache-Control") == "" || !strings.Contains(lines, "X-Frame-Options: DENY\r\n") {
		t.Errorf("got %q and the lines %q", h, lines)
	}
}

func TestSecurityValuesAreNotShared(t *testing.T) {
	t.Parallel()
	s := newTestSecurity(t, SecurityConfig{})
	one, two := make(http.Header), make(http.Header)
	s.Apply(one)
	s.Apply(two)
	one.Add("Referrer-Policy", "unsafe-url")
	if got := two["Referrer-Policy"]; len(got) != 1 {
		t.Errorf("Add to one answer changed another: %q", got)
	}
}

func TestSecurityConfigValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  SecurityConfig
		want []string // fields
	}{
		"zero":                  {SecurityConfig{}, nil},
		"unknown preset":        {SecurityConfig{Preset: "lax", Keep: []string{"anything"}}, []string{"preset"}},
		"not a header name":     {SecurityConfig{Set: map[string]string{"X A": "1"}, Remove: []string{"Ä"}}, []string{"set.X A", "remove[0]"}},
		"framing":               {SecurityConfig{Set: map[string]string{"transfer-encoding": "chunked"}, Remove: []string{"set-cookie", "Content-Type"}}, []string{"set.transfer-encoding", "remove[0]", "remove[1]"}},
		"empty value":           {SecurityConfig{Set: map[string]string{"X-A": ""}}, []string{"set.X-A"}},
		"line break":            {SecurityConfig{Set: map[string]string{"X-A": "a\r\nSet-Cookie: b=1"}}, []string{"set.X-A"}},
		"two spellings":         {SecurityConfig{Set: map[string]string{"X-A": "1", "x-a": "2"}}, []string{"set"}},
		"keep what nobody sets": {SecurityConfig{Preset: "aws-managed", Keep: []string{"Content-Security-Policy"}}, []string{"keep[0]"}},
		"set and keep":          {SecurityConfig{Set: map[string]string{"X-Frame-Options": "DENY"}, Keep: []string{"x-frame-options"}}, []string{"keep[0]"}},
		"set and remove":        {SecurityConfig{Set: map[string]string{"X-A": "1"}, Remove: []string{"x-a"}}, []string{"remove[0]"}},
		"everything at once":    {SecurityConfig{Preset: "x", Set: map[string]string{"a": ""}, Remove: []string{""}}, []string{"preset", "set.a", "remove[0]"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(fieldsOf(tt.cfg.Validate), tt.want); diff != "" {
				t.Errorf("fields (-got +want):\n%s", diff)
			}
			if _, err := NewSecurity(tt.cfg); (err != nil) != (tt.want != nil) {
				t.Errorf("NewSecurity: %v, but Validate reports %q", err, tt.want)
			}
		})
	}
}

func fieldsOf(validate func(report func(field, msg string))) (fields []string) {
	validate(func(field, _ string) { fields = append(fields, field) })
	return fields
}

func TestApplyAllocatesNothing(t *testing.T) {
	s := newTestSecurity(t, SecurityConfig{})
	h := strictHeader()
	if got := testing.AllocsPerRun(100, func() { s.Apply(h) }); got != 0 {
		t.Errorf("Apply allocates %v times, want 0", got)
	}
	if got := testing.AllocsPerRun(100, func() { s.Lines(h) }); got != 0 {
		t.Errorf("Lines allocates %v times, want 0", got)
	}
}

func BenchmarkApply(b *testing.B) {
	s := newTestSecurity(b, SecurityConfig{})
	h := strictHeader()
	b.ReportAllocs()
	for b.Loop() {
		s.Apply(h)
	}
}
