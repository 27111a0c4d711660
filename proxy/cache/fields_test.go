package cache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	want := time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC)
	for text, ok := range map[string]bool{
		"Thu, 18 Aug 2050 02:01:18 GMT":    true,
		"thu, 18 AUG 2050 02:01:18 gmt":    true,
		"Thursday, 18-Aug-50 02:01:18 GMT": true,
		"Thu Aug 18 02:01:18 2050":         true,
		"Thu, 18 Aug 2050 02:01:18 UTC":    false,
		"Thu, 18 Aug 2050 02:01:18 +0000":  false,
		"Thu, 18 Aug 50 02:01:18 GMT":      false,
		"Thu 18 Aug 2050 02:01:18 GMT":     false,
		"Thu,  18  Aug  2050 02:01:18 GMT": false,
		"Thu, 18-Aug-2050 02:01:18 GMT":    false,
		"Thu, 18 Aug 2050 02.01.18 GMT":    false,
		"Thu, 18 Aug 2050 2:01:18 GMT":     false,
		"Thursday, 18-Aug-50 2:01:18 GMT":  false,
		"Thu, 31 Feb 2050 02:01:18 GMT":    false,
		"0":                                false,
		"":                                 false,
		" GMT":                             false,
	} {
		got, is := parseDate(text, now)
		if is != ok || ok && !got.Equal(want) {
			t.Errorf("%q: got %v and %t, want %v and %t", text, got, is, want, ok)
		}
	}
	// RFC 9110 section 5.6.7: what seems to be more than 50 years ahead was in the past.
	if got, _ := parseDate("Sunday, 01-Jan-67 00:00:00 GMT", now.AddDate(-15, 0, 0)); got.Year() != 1967 {
		t.Errorf("got the year %d, want 1967", got.Year())
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "60": time.Minute, "60, old": time.Minute, "old, 60": 0, "-60": 0, "60.5": 0, `"60"`: 0, "": 0,
		"99999999999": maxDelta * time.Second,
	} {
		if got := parseAge([]string{text}); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	if got := parseAge([]string{"7200", "0"}); got != 2*time.Hour {
		t.Errorf("of two lines got %v, want the first", got)
	}
}

func TestVary(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"accept-encoding": "Accept-Encoding", "b, A,, b , ": "A B", "": "", "*": "no", "a, *": "no", ", *": "no", "a b": "no",
		strings.Repeat("a,", 100): "A",
	} {
		names, ok := parseVary([]string{text})
		if got := strings.Join(names, " "); ok != (want != "no") || ok && got != want {
			t.Errorf("%q: got %q and %t, want %q", text, got, ok, want)
		}
	}
	var many []string
	for i := range 40 {
		many = append(many, "x-"+strings.Repeat("a", i+1))
	}
	if _, ok := parseVary(many); ok {
		t.Error("40 names are taken")
	}
}

func TestFieldsThatDecideAreComparedByWhatTheyMean(t *testing.T) {
	t.Parallel()
	same := func(name string, a, b []string) bool {
		return selecting(http.Header{name: a}, name) == selecting(http.Header{name: b}, name)
	}
	for _, tt := range []struct {
		name string
		a, b []string
		want bool
	}{
		{"X-Foo", []string{"1,2"}, []string{"1 ,  2"}, true},
		{"X-Foo", []string{"1, 2"}, []string{"1", "2"}, true},
		{"X-Foo", []string{"1"}, []string{"2"}, false},
		{"X-Foo", []string{"a"}, []string{"A"}, false},
		{"Accept-Language", []string{"EN-gb, de"}, []string{"en-GB,de"}, true},
		{"Accept-Language", []string{"en, de"}, []string{"de, en"}, false}, // some applications take the first
		{"Accept-Encoding", []string{"gzip, deflate, br"}, []string{"br;q=1.0, gzip;q=0.8, *;q=0.1"}, true},
		{"Accept-Encoding", []string{"gzip;q=0, br"}, []string{"br"}, true},
		{"Accept-Encoding", []string{"gzip;q=0\t, br"}, []string{"br"}, true},
		{"Accept-Encoding", []string{"gzip ;\tQ=0.000 ;x=y, br"}, []string{"br"}, true},
		{"Accept-Encoding", []string{"gzip;q=0", "gzip, br"}, []string{"br"}, true}, // of several, the refusal
		{"Accept-Encoding", []string{"gzip;q=0.001, br"}, []string{"br"}, false},
		{"Accept-Encoding", []string{"gzip"}, []string{"br"}, false},
	} {
		if got := same(tt.name, tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %q and %q: got %t, want %t", tt.name, tt.a, tt.b, got, tt.want)
		}
	}
	if selecting(http.Header{}, "X-Foo") == selecting(http.Header{"X-Foo": {"-"}}, "X-Foo") || selecting(http.Header{}, "X-Foo") == selecting(http.Header{"X-Foo": {""}}, "X-Foo") {
		t.Error("a field that is not there is taken for one that is")
	}
}

func TestEntityTags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		list, tag string
		want      bool
	}{
		{`"a"`, `"a"`, true},
		{`W/"a"`, `"a"`, true},
		{`"a"`, `W/"a"`, true},
		{`"x", "a,b" ,W/"c"`, `"a,b"`, true},
		{`"x", "a,b" ,W/"c"`, `"c"`, true},
		{`*`, `"a"`, true},
		{`*`, ``, false},
		{`"a`, `"a"`, false},
		{`w/"a"`, `"a"`, false},
		{`a`, `"a"`, false},
		{`"a", b`, `"b"`, false},
		{``, `"a"`, false},
		{`, ,`, `"a"`, false},
	} {
		if got := matchesTag([]string{tt.list}, tt.tag); got != tt.want {
			t.Errorf("%s in %s: got %t, want %t", tt.tag, tt.list, got, tt.want)
		}
	}
}

func TestSurrogateKeys(t *testing.T) {
	t.Parallel()
	got := tagsOf(http.Header{"Surrogate-Key": {"a  b", "c"}, "Cache-Tag": {"d, e f,a"}})
	if want := []string{"a", "b", "c", "d", "e f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var tooMany strings.Builder
	for i := range 2 * maxTags {
		tooMany.WriteString(strconv.Itoa(i) + ",")
	}
	if got := tagsOf(http.Header{"Cache-Tag": {tooMany.String()}}); len(got) != maxTags {
		t.Errorf("%d tags", len(got))
	}
}

func FuzzFields(f *testing.F) {
	for _, s := range []string{"Thu, 18 Aug 2050 02:01:18 GMT", "0, 5", "*, a", `W/"a", "b`, "gzip;q=0, br", "a=b&c=%zz", "a=1; b=2;"} {
		f.Add(s)
	}
	p := Config{Key: KeyConfig{Query: QueryExcept, QueryNames: []string{"a"}, Cookies: []string{"a"}}}.compile(1)
	f.Fuzz(func(t *testing.T, s string) {
		if age := parseAge([]string{s}); age < 0 || age > maxDelta*time.Second {
			t.Errorf("an age of %v", age)
		}
		parseDate(s, time.Unix(0, 0))
		parseVary([]string{s})
		matchesTag([]string{s}, `"a"`)
		for _, name := range []string{"X-Foo", "Accept-Language", "Accept-Encoding"} {
			once := selecting(http.Header{name: {s}}, name)
			if again := selecting(http.Header{name: {once[1:]}}, name); name != "X-Foo" && again != once {
				t.Errorf("%s: %q becomes %q, and that %q", name, s, once, again)
			}
		}
		once := p.filterQuery(s)
		if again := p.filterQuery(once); again != once {
			t.Errorf("query: %q becomes %q, and that %q", s, once, again)
		}
		if cookies := p.filterCookies([]string{s}); p.filterCookies([]string{cookies}) != cookies {
			t.Errorf("cookies: %q becomes %q", s, cookies)
		}
		tagsOf(http.Header{"Cache-Tag": {s}, "Surrogate-Key": {s}})
	})
}
