package waf

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestLimitsOfEachType(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Limits: Limits{
		Form: "1KiB", JSON: "2KiB", XML: "3KiB", Multipart: "4KiB", Text: "5KiB", Other: "6KiB", Values: 20, Nesting: 5,
	}}, "")
	field := func(n int) string {
		return multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\n" + fill("x", n))
	}
	file := func(n int) string {
		return multipartBody("Content-Disposition: form-data; name=\"a\"; filename=\"a.bin\"\r\n\r\n" + fill("x", n))
	}
	tests := map[string]struct {
		sample
		want  int
		limit string
	}{
		"a form":                  {typed(typeForm, "a="+fill("x", 1000)), 200, ""},
		"a long form":             {typed(typeForm, "a="+fill("x", 1100)), 413, LimitBody},
		"JSON":                    {typed(typeJSON, `{"a":"`+fill("x", 1500)+`"}`), 200, ""},
		"long JSON":               {typed(typeJSON, `{"a":"`+fill("x", 2100)+`"}`), 413, LimitBody},
		"XML":                     {typed(typeXML, "<a>"+fill("x", 2500)+"</a>"), 200, ""},
		"long XML":                {typed(typeXML, "<a>"+fill("x", 3100)+"</a>"), 413, LimitBody},
		"a field":                 {typed(multipartType, field(3500)), 200, ""},
		"a long field":            {typed(multipartType, field(4100)), 413, LimitBody},
		"a file":                  {typed(multipartType, file(900<<10)), 200, ""},
		"a long file":             {typed(multipartType, file(1<<20)), 413, LimitBody},
		"text":                    {typed(typeText, fill("x", 4500)), 200, ""},
		"long text":               {typed(typeText, fill("x", 5500)), 413, LimitBody},
		"an image":                {typed("image/png", "\x89PNG\x00"+fill("\x00\xff", 100<<10)), 200, ""},
		"text that says image":    {typed("image/png", fill("x", 7000)), 413, LimitBody},
		"a character that is cut": {typed("image/png", fill("é", 7000)), 413, LimitBody},
		"values":                  {typed(typeForm, times(20, "&", func(i int) string { return fmt.Sprintf("a%d=b", i) })), 200, ""},
		"many values":             {typed(typeForm, times(21, "&", func(i int) string { return fmt.Sprintf("a%d=b", i) })), 400, ""},
		"many values of JSON":     {typed(typeJSON, "["+times(21, ",", func(int) string { return "1" })+"]"), 400, ""},
		"many values of XML":      {typed(typeXML, "<a>"+strings.Repeat("<b>c</b>", 21)+"</a>"), 400, ""},
		"many attributes":         {typed(typeXML, "<a "+times(21, " ", func(i int) string { return fmt.Sprintf(`b%d="c"`, i) })+"/>"), 400, ""},
		"values of XML":           {typed(typeXML, "<a>"+strings.Repeat("<b>c</b>", 20)+"</a>"), 200, ""},
		"many empty elements":     {typed(typeXML, "<a>"+strings.Repeat("<b/>", 300)+"</a>"), 400, ""},
		"deep XML":                {typed(typeXML, strings.Repeat("<a>", 6)+"b"+strings.Repeat("</a>", 6)), 400, ""},
		"XML as deep as may be":   {typed(typeXML, strings.Repeat("<a>", 5)+"b"+strings.Repeat("</a>", 5)), 200, ""},
		"deep JSON":               {typed(typeJSON, strings.Repeat("[", 6)+"1"+strings.Repeat("]", 6)), 400, ""},
		"many parts":              {typed(multipartType, multipartBody(slices.Repeat([]string{"Content-Disposition: form-data; name=\"a\"\r\n\r\nb"}, 21)...)), 400, ""},
		"many headers of a part":  {typed(multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"\r\n"+times(33, "\r\n", func(i int) string { return fmt.Sprintf("X-%d: y", i) })+"\r\n\r\nb")), 400, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := e.check(tt.request())
			if got := verdictOf(v); got != tt.want || v.result.Limit != tt.limit {
				t.Errorf("got %d %q (%v), want %d %q", got, v.result.Limit, v.err, tt.want, tt.limit)
			}
			if limited, ok := errors.AsType[*Limited](v.err); tt.limit != "" && (!ok || limited.Limit != tt.limit) {
				t.Errorf("error: got %v", v.err)
			}
		})
	}
}

// What is longer than is read, and binary, passes whole.
func TestLongBinaryPasses(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Limits: Limits{Other: "1KiB"}}, "")
	body := "\x00" + fill("abc", 300<<10)
	f := newFront(t, e)
	for _, tr := range transports() {
		s := typed("application/octet-stream", body)
		s.method = http.MethodPut
		if status, got := f.send(t, tr, s); status != http.StatusOK || got != body {
			t.Errorf("%s: got %d and %d bytes, want 200 and %d", tr.name, status, len(got), len(body))
		}
	}
}

func TestTooMuchWork(t *testing.T) {
	t.Parallel()
	hostile := typed(typeForm, "a="+fill("''", 100<<10))
	blocking := newTestEngine(t, Config{}, "")
	v := blocking.check(hostile.request())
	if got := verdictOf(v); got != http.StatusRequestEntityTooLarge || v.result.Limit != LimitWork {
		t.Errorf("block: got %d %q, want 413 %q", got, v.result.Limit, LimitWork)
	}
	counting := newTestEngine(t, Config{Mode: ModeCount}, "")
	v = counting.check(hostile.request())
	if v.err != nil || v.result.Limit != LimitWork || v.result.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("count: got %v %+v, want no error and the limit recorded", v.err, v.result)
	}
	b, err := io.ReadAll(v.body)
	if err != nil || string(b) != hostile.body {
		t.Errorf("count: got %d bytes (%v), want %d", len(b), err, len(hostile.body))
	}
}

func TestLimitsAreChecked(t *testing.T) {
	t.Parallel()
	bad := Config{Limits: Limits{Form: "x", JSON: "1", XML: "1GiB", Values: -1, Nesting: 1000, Work: "1h"}}
	var got []string
	bad.Validate(func(field, _ string) { got = append(got, field) })
	want := []string{"limits.form", "limits.json", "limits.xml", "limits.values", "limits.nesting", "limits.work"}
	if !slices.Equal(got, want) {
		t.Errorf("fields: got %q, want %q", got, want)
	}
}

// Whatever is sent, there is an answer, and it costs no more than is allowed.
func TestHostileBodies(t *testing.T) {
	// Not parallel: the figures are the process's.
	e := newTestEngine(t, Config{}, "")
	for name, s := range hostileBodies() {
		t.Run(name, func(t *testing.T) {
			var v verdict
			allocated := allocatedBy(func() {
				v = e.check(s.request())
				v.body.release()
			})
			switch got := verdictOf(v); got {
			case http.StatusOK, http.StatusForbidden, http.StatusBadRequest:
				if v.work > e.bounds.work {
					t.Errorf("work: got %d, want at most %d", v.work, e.bounds.work)
				}
			case http.StatusRequestEntityTooLarge:
			default:
				t.Errorf("got %d (%v)", got, v.err)
			}
			// With the states that it is the first to need, up to some 37 MB. The race detector has pools forget at
			// random, so the figure says nothing there.
			if allocated > 64<<20 && !raceEnabled {
				t.Errorf("allocated: got %d MB, want at most 64", allocated>>20)
			}
		})
	}
}

// What people send passes, with a sixth to spare, also if nobody has sent anything like it to the engine before. States
// are made by who first needs them, so each gets an engine of its own: otherwise chance would say who that is.
func TestOrdinaryBodiesPass(t *testing.T) {
	t.Parallel()
	for name, s := range ordinaryBodies() {
		e := newTestEngine(t, Config{}, "")
		v := e.check(s.request())
		v.body.release()
		if got := verdictOf(v); got != http.StatusOK || v.work > e.bounds.work*5/6 {
			t.Errorf("%s: got %d (%v) and %d units of work, want 200 and at most %d", name, got, v.err, v.work, e.bounds.work*5/6)
		}
	}
}
