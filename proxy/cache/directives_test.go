package cache

import (
	"slices"
	"strings"
	"testing"
)

func TestCacheControl(t *testing.T) {
	t.Parallel()
	none := directives{maxAge: absent, sharedMaxAge: absent, whileRevalidate: absent, ifError: absent, minFresh: absent, stale: absent}
	with := func(change func(d *directives)) directives {
		d := none
		change(&d)
		return d
	}
	for line, want := range map[string]directives{
		"":                                  none,
		"max-age=60":                        with(func(d *directives) { d.maxAge = 60 }),
		"MAX-AGE=60 , No-Cache":             with(func(d *directives) { d.maxAge, d.noCache = 60, true }),
		`max-age="60"`:                      with(func(d *directives) { d.maxAge = 60 }),
		"max-age=003600":                    with(func(d *directives) { d.maxAge = 3600 }),
		"max-age=99999999999999999999999":   with(func(d *directives) { d.maxAge = maxDelta }),
		"max-age=-1":                        with(func(d *directives) { d.maxAge = 0 }),
		"max-age=60.0":                      with(func(d *directives) { d.maxAge = 0 }),
		"max-age='60'":                      with(func(d *directives) { d.maxAge = 0 }),
		"max-age =60":                       with(func(d *directives) { d.maxAge = 0 }),
		"max-age= 60":                       with(func(d *directives) { d.maxAge = 0 }),
		"max-age":                           with(func(d *directives) { d.maxAge = 0 }),
		"max-age=60, max-age=5":             with(func(d *directives) { d.maxAge = 5 }),
		"no-store =x":                       with(func(d *directives) { d.noStore = true }),
		`extension="max-age=60, no-store"`:  none,
		`e="a\", no-store", s-maxage=1`:     with(func(d *directives) { d.sharedMaxAge = 1 }),
		`private="set-cookie, x-a", public`: with(func(d *directives) { d.fields, d.public = []string{"Set-Cookie", "X-A"}, true }),
		`private="", no-cache="not a name"`: with(func(d *directives) { d.private, d.noCache = true, true }),
		`no-cache=x-a`:                      with(func(d *directives) { d.fields = []string{"X-A"} }),
		"max-stale, min-fresh=5":            with(func(d *directives) { d.maxStale, d.minFresh = true, 5 }),
		"max-stale=9, only-if-cached":       with(func(d *directives) { d.maxStale, d.stale, d.onlyIfCached = true, 9, true }),
		"must-revalidate,proxy-revalidate":  with(func(d *directives) { d.mustRevalidate, d.proxyRevalidate = true, true }),
		"stale-while-revalidate=3, must-understand, stale-if-error=4,": with(func(d *directives) {
			d.whileRevalidate, d.ifError, d.mustUnderstand = 3, 4, true
		}),
	} {
		got := parseDirectives([]string{line})
		fields := slices.Equal(got.fields, want.fields)
		got.fields, want.fields = nil, nil
		if !fields || !equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", line, got, want)
		}
	}
}

// equal compares directives without their fields.
func equal(a, b directives) bool {
	return a.noStore == b.noStore && a.noCache == b.noCache && a.private == b.private && a.public == b.public &&
		a.mustRevalidate == b.mustRevalidate && a.proxyRevalidate == b.proxyRevalidate && a.mustUnderstand == b.mustUnderstand &&
		a.onlyIfCached == b.onlyIfCached && a.maxAge == b.maxAge && a.sharedMaxAge == b.sharedMaxAge &&
		a.whileRevalidate == b.whileRevalidate && a.ifError == b.ifError && a.minFresh == b.minFresh && a.stale == b.stale &&
		a.maxStale == b.maxStale
}

func TestTargetedCacheControlIsAStructuredField(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int64{
		"max-age=60":                       60,
		"max-age=60;a=1;b, foo":            60,
		`a="b, c", max-age=60`:             60,
		"a=(1 2 \"x\");q=0.5, max-age=60":  60,
		"max-age=1, max-age=60":            60,
		"a=:aGVsbG8=:, b=?0, max-age=60":   60,
		"a=@1659578233, b=*t/x, max-age=0": 0,
		"max-age=60, &&&&":                 absent,
		`max-age="60"`:                     absent,
		"max-age=60.5":                     absent,
		"max-age =60":                      absent,
		"MAX-AGE=60":                       absent,
		"max-age=60,":                      absent,
		"max-age=60, a=(1 2":               absent,
		"max-age=1234567890123456":         absent,
		"max-age=60, b=?2":                 absent,
		"":                                 absent,
	} {
		d, ok := targeted([]string{line})
		if got := d.maxAge; ok != (want != absent) || ok && got != want {
			t.Errorf("%s: got %d and %t, want %d", line, got, ok, want)
		}
	}
	if _, ok := targeted(nil); ok {
		t.Error("a field that is not there counts")
	}
}

func FuzzCacheControl(f *testing.F) {
	for _, line := range []string{
		"max-age=60, s-maxage=1", `private="a, b", no-cache="\"", x=(1 2);q=?1, :aa:`, `"`, "a=(", "max-age=\"60", `\`, `x="\`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		d := parseDirectives([]string{line})
		for _, n := range [...]int64{d.maxAge, d.sharedMaxAge, d.whileRevalidate, d.ifError, d.minFresh, d.stale} {
			if n < absent || n > maxDelta {
				t.Errorf("a time of %d seconds", n)
			}
		}
		if len(d.fields) > maxNames {
			t.Errorf("%d fields", len(d.fields))
		}
		if !strings.Contains(line, `"`) && strings.Contains(","+strings.ToLower(line)+",", ",no-store,") && !d.noStore {
			t.Error("no-store is lost")
		}
		targeted([]string{line})
	})
}
