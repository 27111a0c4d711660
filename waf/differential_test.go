package waf

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/google/go-cmp/cmp"
)

// What an engine with a gate says of a request is what Coraza alone says. The two are asked the same here,
// and everything is compared that can be seen of an inspection.

// firstTransform is the first transformation of a directive that is not none.
var firstTransform = regexp.MustCompile(`([",]\s*)(t:(?:[a-mo-z]|no[a-mo-z])[A-Za-z0-9]*)`)

// separate arranges rules as they stand in the set, but for a transformation in front of each directive's own
// that does nothing. Without it Coraza takes one value of a repeated name for another, now and then, and would
// not even agree with itself: see gate.Options.Apart and TestRepeatedNamesAreInspectedOneByOne.
func separate(text string) string {
	names := apart()
	list := directives(text)
	for i, d := range list {
		if at := firstTransform.FindStringSubmatchIndex(d); at != nil && !strings.Contains(d, "multiMatch") {
			list[i] = d[:at[4]] + "t:" + names[i%len(names)] + "," + d[at[4]:]
		}
	}
	return strings.Join(list, "\n") + "\n"
}

// An outcome is what can be seen of an inspection.
type outcome struct {
	IDs      []int // of the rules that matched, but for those that only prepare or add up
	Refused  int   // the status of the refusal, or 0
	Location string
	Dropped  bool
	Result   Result // without its matches, which are bounded
	Matches  []string
}

// isBookkeeping has the rules that set up, add up and narrow: 920539 and 941010 only keep others from reading.
func isBookkeeping(id int) bool {
	return id >= 899000 && id < 902000 || id == 920539 || id == 941010 || isEvaluation(id) && id != 949110 && id != 949111 || id == 890001 || id == 890002
}

// inspect is what an engine makes of a request.
func inspect(e *Engine, r *http.Request) outcome {
	tx := e.waf.NewTransactionWithOptions(experimental.Options{Context: context.Background()}).(transaction)
	var v verdict
	in := e.begin(tx)
	e.run(tx, in, r, &v)
	e.end(in, &v)
	defer v.body.release()
	v.result.collect(tx, tx, e)
	o := outcome{Location: v.location, Dropped: v.drop, Result: v.result}
	if v.err != nil {
		o.Refused = status(v.err)
	}
	if len(v.result.Matches) < maxMatches {
		for _, m := range v.result.Matches {
			o.Matches = append(o.Matches, fmt.Sprintf("%+v", m))
		}
		slices.Sort(o.Matches)
	}
	o.Result.Matches = nil
	slices.Sort(o.Result.Rules)
	for _, m := range tx.MatchedRules() {
		if id := m.Rule().ID(); !isBookkeeping(id) {
			o.IDs = append(o.IDs, id)
		}
	}
	slices.Sort(o.IDs)
	if err := tx.Close(); err != nil {
		panic(err)
	}
	return o
}

// A pair is the same configuration with a gate and without.
type pair struct {
	name         string
	gated, alone *Engine
}

func newPair(t testing.TB, name string, cfg Config, extra string) *pair {
	t.Helper()
	opts := Options{Deny: denyPlain}
	cfg.Limits.Work = "10s" // Coraza alone has no limit
	return &pair{
		name:  name,
		gated: newTestEngineAs(t, cfg, opts, variant{extra: extra}),
		alone: newTestEngineAs(t, cfg, opts, variant{extra: extra, arrange: separate}),
	}
}

// differ is what the two say differently of a request, or nothing.
func (p *pair) differ(request func() *http.Request) string {
	gated, alone := inspect(p.gated, request()), inspect(p.alone, request())
	d := cmp.Diff(gated, alone)
	if d == "" {
		return ""
	}
	// Coraza looks at values in the order of a Go map. Where a rule captures something of each and its next
	// link reads what was captured last, chance decides. Whatever may come of it has to be alike.
	const most = 150
	one, other := map[string]bool{}, map[string]bool{}
	varies := false
	for range most {
		g, a := inspect(p.gated, request()), inspect(p.alone, request())
		varies = varies || !cmp.Equal(g, gated) || !cmp.Equal(a, alone)
		g.note(one)
		a.note(other)
		if varies && cmp.Equal(one, other) {
			return ""
		}
	}
	return d + fmt.Sprintf("in %d inspections, some of which varied (%v): %s", most, varies, cmp.Diff(one, other))
}

// note adds what has come of an inspection.
func (o outcome) note(seen map[string]bool) {
	seen[fmt.Sprint("refused with ", o.Refused, o.Location, o.Dropped)] = true
	for _, id := range o.IDs {
		seen[fmt.Sprint("rule ", id)] = true
	}
	for _, m := range o.Matches {
		seen[m] = true
	}
}

// repeated are requests with an attack in one of several values of one name.
func repeated() []sample {
	const union = "1' union select 1,2 from users-- -"
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	return []sample{
		{header: form, body: "a=1&a=2&a=3&a=" + escaped(union) + "&b=2&c=3&d=4"},
		{header: form, body: "a=" + escaped("<script>alert(1)</script>") + "&a=1&b=2&c=3"},
		{header: form, body: "=1&=" + escaped(union) + "&b=2&c=3"},
		{header: map[string]string{"Cookie": "a=1; a=2; a=3; a=" + union + "; b=1; c=2; d=3"}},
		{header: map[string]string{"X-Forwarded-For": "1\x00() { :; }; echo\x00${jndi:ldap://x/a}", "X-B": "2", "X-C": "3"}},
		{target: "/app/x?a=1&a=2&a=" + escaped(union) + "&b=2&c=3"},
		{target: "/app/x?=1&=2&=" + escaped(union) + "&b=2&c=3"},
	}
}

// Coraza keeps the transformed values of a phase under the name of the value and its place in a list that has
// another order each time it is made. A name that stands in the request twice is then found in the place of
// its neighbour, and a rule looks at the harmless one of two values twice.
func TestRepeatedNamesAreInspectedOneByOne(t *testing.T) {
	t.Parallel()
	p := newPair(t, "counting", Config{Mode: ModeCount}, "")
	for i, s := range repeated() {
		want := inspect(p.alone, s.request())
		if len(want.IDs) < 2 {
			t.Errorf("request %d: got %v, want several rules", i, want.IDs)
		}
		for range max(some(30), 4) {
			if d := p.differ(s.request); d != "" {
				t.Errorf("request %d: %s", i, d)
				break
			}
			if d := cmp.Diff(inspect(p.alone, s.request()), want); d != "" {
				t.Errorf("request %d, Coraza with itself: %s", i, d)
				break
			}
		}
	}
}

// everyTarget excludes something of every kind.
func everyTarget() []Exclusion {
	return []Exclusion{
		{Rule: 942100, Target: "query.id"},
		{Group: "sqli", Target: "form.id"},
		{Group: "core", Target: "json.a.*"},
		{Group: "core", Target: "header.X-A"},
		{Group: "linux", Target: "cookie.sid"},
		{Group: "php", Target: "query.filter[*]"},
		{Rule: 930120, Target: "body"},
		{Rule: 920273, Target: "form.q"},
		{Rule: 921150, Target: "query.x"},
		{Rule: 941100},
		{Rule: 920300},
		{Group: "windows"},
	}
}

// pairs are configurations in which the gate has different rules to judge.
func pairs(t testing.TB, only ...string) []*pair {
	t.Helper()
	all := []struct {
		name string
		cfg  Config
	}{
		{"as it comes", Config{}},
		{"everything, counting", Config{Mode: ModeCount, Paranoia: 4, Groups: Groups{"wordpress", "admin-protection", "size-restrictions"}}},
		{"everything, blocking", Config{Paranoia: 4, Threshold: 20}},
		{"some groups", Config{Mode: ModeCount, Paranoia: 2, Groups: []string{"sqli", "php"}}},
		{"other groups", Config{Mode: ModeCount, Paranoia: 3, Groups: []string{"core", "windows"}, Threshold: 7}},
		{"the rest", Config{Paranoia: 4, Groups: []string{"known-bad-inputs", "linux", "posix"}}},
		{"exclusions", Config{Mode: ModeCount, Paranoia: 4, Exclude: everyTarget()}},
		{"exclusions, blocking", Config{Paranoia: 2, Exclude: everyTarget()}},
		{"some count", Config{Paranoia: 2, Groups: []string{"core:count", "sqli:count", "php:off"}, Rules: map[string]string{"942100": "block", "200002": "count", "941000-941999": "off"}}},
		{"short bodies", Config{Mode: ModeCount, Paranoia: 2, BodyLimit: "1KiB", Oversize: OversizePartial}},
	}
	var out []*pair
	for _, c := range all {
		if len(only) == 0 || slices.Contains(only, c.name) {
			out = append(out, newPair(t, c.name, c.cfg, ""))
		}
	}
	return out
}

// compare asks a pair about requests, on several goroutines.
func compare(t *testing.T, p *pair, count int, request func(n int) *http.Request) {
	t.Helper()
	var next, asked, failed atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for failed.Load() < 5 {
				n := int(next.Add(1)) - 1
				if n >= count {
					return
				}
				if request(n) == nil {
					continue
				}
				asked.Add(1)
				d := p.differ(func() *http.Request { return request(n) })
				if d == "" {
					continue
				}
				failed.Add(1)
				t.Errorf("request %d, gated (-) and alone (+): %s", n, d)
			}
		})
	}
	wg.Wait()
	if asked.Load() < int64(count)/2 {
		t.Errorf("of %d requests only %d could be asked", count, asked.Load())
	}
}

// some is n, or a hundredth of it where everything is slow.
func some(n int) int {
	if raceEnabled || testing.Short() {
		return max(n/100, 1)
	}
	return n
}

func TestGatedAndStockAgreeOnTheSuite(t *testing.T) {
	t.Parallel()
	requests, err := suiteRequests()
	if err != nil {
		t.Fatal(err)
	}
	count := some(len(requests))
	step := len(requests) / count
	for _, p := range pairs(t, "as it comes", "everything, counting") {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			compare(t, p, count, func(n int) *http.Request { return readRequest(requests[n*step]) })
		})
	}
}

func TestGatedAndStockAgreeOnGeneratedRequests(t *testing.T) {
	t.Parallel()
	var only []string
	if raceEnabled || testing.Short() {
		only = []string{"as it comes", "exclusions"}
	}
	for i, p := range pairs(t, only...) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			compare(t, p, max(some(200), 10), func(n int) *http.Request { return generate(uint64(i), uint64(n)) })
		})
	}
}
