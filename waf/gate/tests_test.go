package gate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Whatever union a text is shown to, or was shown to before, asks for all that is united at its place: otherwise the
// silence of the union would say nothing.
func TestUnionsAskForWhatTheyAreTakenToAskFor(t *testing.T) {
	t.Parallel()
	known := transforms(strings.Repeat("?", 0x10000))
	var uses []use
	for i := range 120 {
		chain := strings.Fields(strings.ToLower(chains()[i%len(chains())]))
		u := use{test: &test{link: i, expr: fmt.Sprintf("e%d", i%70)}, multi: i%3 == 0}
		for _, name := range chain[:i%(len(chain)+1)] {
			u.steps = append(u.steps, known[name])
		}
		uses = append(uses, u)
	}
	g := (&builder{}).newGroup(uses)
	if len(g.unions) < 5 {
		t.Errorf("unions: got %d, want some for what transformations make", len(g.unions))
	}
	asked := 0
	for i, n := range g.nodes {
		asked += len(n.united)
		for _, at := range []int{0, n.union} {
			if n.within>>at&1 == 0 {
				t.Errorf("node %d: union %d is not among those that ask for all of it", i, at)
			}
		}
		for at, u := range g.unions {
			for _, expr := range n.exprs() {
				if n.within>>at&1 != 0 && !slices.Contains(u.exprs, expr) {
					t.Errorf("node %d: union %d does not ask for %s", i, at, expr)
				}
			}
		}
	}
	want := 0
	for _, u := range uses {
		if want++; u.multi {
			want += len(u.steps)
		}
	}
	if asked != want {
		t.Errorf("tests: got %d, want %d", asked, want)
	}
}
