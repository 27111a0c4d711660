package waf

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
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

// isBookkeeping has the rules that set up, add up and narrow. The gate runs them when they are needed.
func isBookkeeping(id int) bool {
	return id >= 900000 && id < 902000 || isEvaluation(id) && id != 949110 && id != 949111 || id == 890001 || id == 890002
}

// inspect is what an engine makes of a request.
func inspect(e *Engine, r *http.Request) outcome {
	tx := e.waf.NewTransactionWithOptions(experimental.Options{Context: context.Background()}).(transaction)
	var v verdict
	in := e.begin(tx)
	e.run(tx, in, r, &v)
	e.end(in, &v)
	defer v.body.release()
	v.result.collect(tx, tx)
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
	return &pair{
		name:  name,
		gated: newTestEngineAs(t, cfg, opts, variant{extra: extra}),
		alone: newTestEngineAs(t, cfg, opts, variant{extra: extra, arrange: separate}),
	}
}

// differ is what the two say differently of a request, or nothing.
func (p *pair) differ(request func() *http.Request) string {
	return cmp.Diff(inspect(p.gated, request()), inspect(p.alone, request()))
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
		for range 30 {
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
