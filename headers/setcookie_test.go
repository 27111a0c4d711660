package headers

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ownCookie is what authn's Sessions say of their cookies: any case, shards and all.
func ownCookie(name string) bool {
	return strings.HasPrefix(strings.ToLower(name), "__host-gw")
}

func TestFilterSetCookie(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		field            string
		dropped, expired string
	}{
		"another cookie":                    {"session=1; Path=/", "", ""},
		"another cookie with our name in":   {"a=__Host-gw=1", "", ""},
		"attributes alone":                  {"; __Host-gw=1", "", ""},
		"empty":                             {"", "", ""},
		"planted":                           {"__Host-gw=ATTACKER; Path=/; Secure", "__Host-gw", ""},
		"planted shard, other case":         {"__host-GW-0=x", "__host-GW-0", ""},
		"planted with blanks":               {" \t__Host-gw \t= x", "__Host-gw", ""},
		"planted behind a control byte":     {"\x01__Host-gw=x", "__Host-gw", ""},
		"planted without a name":            {"=__Host-gw=x", "__Host-gw", ""},
		"planted without a name, blanks":    {"= = __Host-gw=x", "__Host-gw", ""},
		"planted without =":                 {"__Host-gw; Path=/", "__Host-gw", ""},
		"expired by Max-Age 0":              {"__Host-gw-0=; Path=/; Max-Age=0", "", "__Host-gw-0"},
		"expired by Max-Age -1":             {"__Host-gw-0=; Path=/; max-age = -1; Secure", "", "__Host-gw-0"},
		"expired at the epoch":              {"__Host-gw-1=; expires=Thu, 01 Jan 1970 00:00:00 GMT", "", "__Host-gw-1"},
		"expired at the epoch, hyphens":     {"__Host-gw-1=x; Expires=Thu, 01-Jan-1970 00:00:00 GMT", "", "__Host-gw-1"},
		"expired at the epoch, short":       {"__Host-gw-1=x; Expires=Thu, 01-Jan-70 00:00:10 GMT", "", "__Host-gw-1"},
		"Max-Age outranks a future date":    {"__Host-gw=x; Expires=Fri, 01 Jan 2100 00:00:00 GMT; Max-Age=0", "", "__Host-gw"},
		"Max-Age 0 with a date of 0":        {"__Host-gw=x; Max-Age=0; Expires=0", "", "__Host-gw"},
		"Max-Age outranks a past date":      {"__Host-gw=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", "__Host-gw", ""},
		"last Max-Age counts in browsers":   {"__Host-gw=x; Max-Age=0; Max-Age=60", "__Host-gw", ""},
		"first Max-Age might":               {"__Host-gw=x; Max-Age=60; Max-Age=0", "__Host-gw", ""},
		"Max-Age that is no number":         {"__Host-gw=x; Max-Age=0x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "__Host-gw", ""},
		"Max-Age with a plus":               {"__Host-gw=x; Max-Age=+0", "__Host-gw", ""},
		"Max-Age empty":                     {"__Host-gw=x; Max-Age=", "__Host-gw", ""},
		"Max-Age beyond int64":              {"__Host-gw=x; Max-Age=-99999999999999999999", "__Host-gw", ""},
		"future date":                       {"__Host-gw=x; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "__Host-gw", ""},
		"one past date and one future":      {"__Host-gw=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "__Host-gw", ""},
		"date that nobody reads alike":      {"__Host-gw=x; Expires=yesterday", "__Host-gw", ""},
		"Max-Age in the value is no end":    {"__Host-gw=Max-Age=0", "__Host-gw", ""},
		"Max-Age quoted is no end":          {`__Host-gw=x; Max-Age="0"`, "__Host-gw", ""},
		"Max-Age behind a comma is no end":  {"__Host-gw=x, a=b, Max-Age=0", "__Host-gw", ""},
		"attribute that only ends alike":    {"__Host-gw=x; X-Max-Age=0", "__Host-gw", ""},
		"empty value alone is no end":       {"__Host-gw=; Path=/", "__Host-gw", ""},
		"date with a time zone of UTC":      {"__Host-gw=; Expires=Thu, 01 Jan 1970 00:00:00 UTC", "", "__Host-gw"},
		"date of asctime":                   {"__Host-gw=; Expires=Thu Jan  1 00:00:00 1970", "", "__Host-gw"},
		"date with another zone is no date": {"__Host-gw=; Expires=Thu, 01 Jan 1970 00:00:00 PST", "__Host-gw", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{"Set-Cookie": {"before=1", tt.field, "after=2"}}
			got := FilterSetCookie(h, ownCookie, noon)
			var want CookieChanges
			fields := []string{"before=1", tt.field, "after=2"}
			if tt.dropped != "" {
				want.Dropped = []string{tt.dropped}
				fields = []string{"before=1", "after=2"}
			}
			if tt.expired != "" {
				want.Expired = []string{tt.expired}
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("changes (-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(h["Set-Cookie"], fields); diff != "" {
				t.Errorf("fields (-got +want):\n%s", diff)
			}
		})
	}
}

func TestFilterSetCookieOfSeveral(t *testing.T) {
	t.Parallel()
	h := http.Header{"Set-Cookie": {"__Host-gw-0=x", "a=1", "__Host-gw-1=; Max-Age=0", "__Host-gw-2=x", "b=2"}}
	got := FilterSetCookie(h, ownCookie, noon)
	want := CookieChanges{Dropped: []string{"__Host-gw-0", "__Host-gw-2"}, Expired: []string{"__Host-gw-1"}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("changes (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(h["Set-Cookie"], []string{"a=1", "__Host-gw-1=; Max-Age=0", "b=2"}); diff != "" {
		t.Errorf("fields (-got +want):\n%s", diff)
	}
	h = http.Header{"Set-Cookie": {"__Host-gw-0=x"}}
	if FilterSetCookie(h, ownCookie, noon); len(h) != 0 {
		t.Errorf("%q is left of an answer that only planted", h)
	}
}

func TestFilterSetCookieAllocatesNothing(t *testing.T) {
	h := http.Header{"Set-Cookie": {"a=1; Path=/", "b=2; HttpOnly"}}
	none := func(string) bool { return false }
	if got := testing.AllocsPerRun(100, func() { FilterSetCookie(h, none, noon) }); got != 0 {
		t.Errorf("FilterSetCookie allocates %v times, want 0", got)
	}
}

// FuzzFilterSetCookie holds the filter against net/http's own reading: a field that is left must not
// be one that net/http takes for a living cookie of ours, and own cookies may leave only as deleted.
func FuzzFilterSetCookie(f *testing.F) {
	for _, seed := range []string{
		"__Host-gw=1", "=__Host-gw=1", "__Host-gw=; Max-Age=0", "a=1; __Host-gw=2", "__Host-gw=x; expires=Thu, 01-Jan-70 00:00:00 GMT; max-age=+1",
		"__Host-gw=x;Max-Age=00", " __Host-gw = x ; Max-Age = -0 ", "__Host-gw=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=Sun, 06 Nov 2094 08:49:37 GMT",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		h := http.Header{"Set-Cookie": {field}}
		got := FilterSetCookie(h, ownCookie, noon)
		if len(got.Dropped)+len(got.Expired) > 1 || len(h["Set-Cookie"]) != 1-len(got.Dropped) {
			t.Fatalf("%q: %+v with %q left", field, got, h)
		}
		for _, cookie := range (&http.Response{Header: h}).Cookies() {
			if !ownCookie(cookie.Name) {
				continue
			}
			if !slices.Equal(got.Expired, []string{cookie.Name}) {
				t.Errorf("%q leaves as %+v", field, got)
			}
			if cookie.MaxAge > 0 || cookie.MaxAge == 0 && cookie.Expires.After(noon) {
				t.Errorf("%q lives: %v", field, cookie)
			}
		}
	})
}
