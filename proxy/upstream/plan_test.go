package upstream

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// poolOf is a pool of endpoints a, b, c and so on with these weights, at a time of the test's.
func poolOf(t testing.TB, cfg Config, now *time.Time, weights ...int) *Pool {
	t.Helper()
	cfg.Endpoints = []string{"http://first"}
	p, err := newPool("x", cfg, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.replace(specs(weights...))
	return p
}

func specs(weights ...int) []spec {
	var out []spec
	for i, w := range weights {
		host := string(rune('a' + i))
		out = append(out, spec{address{scheme: "http", network: "tcp", dial: host + ":80", host: host, name: host}, w})
	}
	return out
}

// turns are the first choices of n requests.
func turns(p *Pool, n int) string {
	var out strings.Builder
	for range n {
		r := p.rotation(p.now(), nil, nil)
		ep, _ := r.next()
		out.WriteString(ep.addr.name)
	}
	return out.String()
}

func TestWeights(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for _, weights := range [][]int{{1}, {2, 2}, {5, 1, 1}, {3, 2, 1}, {100, 1}, {7, 50, 300, 4}, {1000, 999, 1}, {10, 20, 30}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			t.Parallel()
			total, common := 0, uint64(0)
			for _, w := range weights {
				total, common = total+w, gcd(uint64(w), common)
			}
			total /= int(common)
			p := poolOf(t, Config{}, &now, weights...)
			turns(p, total/3) // the share is exact over any range of that length
			got := turns(p, total)
			for i, w := range weights {
				host, share := string(rune('a'+i)), w/int(common)
				if n := strings.Count(got, host); n != share {
					t.Errorf("%s: got %d of %d turns, want %d", host, n, total, share)
				}
				// Spread evenly, an endpoint waits total/share turns. Three times that is what the golden section promises.
				longest := 0
				for _, others := range strings.Split(got+got, host) {
					longest = max(longest, len(others))
				}
				if limit := 3 * (total/share + 1); longest > limit {
					t.Errorf("%s: waits %d turns, want at most %d: %.200s", host, longest, limit, got)
				}
			}
		})
	}
}

func TestTheSharesOfThoseThatAreLeftKeepTheirProportion(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{}, &now, 3, 4, 1)
	p.plan.Load().all[1].unwell.Store(true)
	p.replan()
	if got := turns(p, 8); strings.Count(got, "a") != 6 || strings.Count(got, "c") != 2 {
		t.Errorf("b is unwell: got %s, want three a for each c", got)
	}
}

func TestLeastOutstandingByWeight(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{Balance: LeastOutstanding}, &now, 2, 1)
	var got [2]int
	for range 30 {
		r := p.rotation(now, nil, nil)
		ep, _ := r.next()
		ep.outstanding.Add(1) // none is ever answered
		got[ep.addr.name[0]-'a']++
	}
	if got != [2]int{20, 10} {
		t.Errorf("requests under way: got %v, want 20 and 10", got)
	}
}

func BenchmarkTurn(b *testing.B) {
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		name    string
		cfg     Config
		weights []int
	}{
		{"alike", Config{}, []int{1, 1, 1, 1}},
		{"weighted", Config{}, []int{5, 3, 1, 1}},
		{"least", Config{Balance: LeastOutstanding}, []int{1, 1, 1, 1}},
	} {
		p := poolOf(b, tt.cfg, &now, tt.weights...)
		b.Run(tt.name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := p.rotation(now, nil, nil)
					if ep, _ := r.next(); ep == nil {
						b.Fatal("no endpoint")
					}
				}
			})
		})
	}
}
