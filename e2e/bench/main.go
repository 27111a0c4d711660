// Bench compares what a request costs in Gatehouse and in nginx: CPU time of the whole process tree for each
// request, in turns that are interleaved, because machines drift. It is no test: it takes minutes and wants a
// machine to itself. On Debian it needs the packages nginx and wrk, and for the firewalls libnginx-mod-http-modsecurity.
//
// The other proxies are compared if they are there: the packages haproxy, caddy and apache2. HTTP/2 needs nghttp2-client.
//
//	go run ./e2e/bench
//	go run ./e2e/bench -rounds 9 -only W2 -also before=/tmp/gatehouse-before
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	rounds   int
	turn     time.Duration
	conns    int
	only     string
	binaries []binary
}

// A binary is a build of Gatehouse.
type binary struct{ name, path string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 5, "how many turns each contender gets")
	flag.DurationVar(&s.turn, "turn", 4*time.Second, "how long a turn lasts")
	flag.IntVar(&s.conns, "c", 16, "connections of the client")
	flag.StringVar(&s.only, "only", "", "run the workloads whose name begins like this")
	flag.Func("also", "name=binary of another build of Gatehouse to run beside this one; may be repeated", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("want name=binary")
		}
		s.binaries = append(s.binaries, binary{name, path})
		return nil
	})
	proxyAt := flag.String("reverse-proxy", "", "be httputil.ReverseProxy at this address, for a comparison that runs")
	proxyDir := flag.String("dir", "", "with -reverse-proxy: where its certificate is")
	proxyTo := flag.String("to", "", "with -reverse-proxy: its upstream")
	flag.Parse()
	if *proxyAt != "" {
		return reverseProxy(ctx, *proxyAt, *proxyDir, *proxyTo)
	}
	for tool, debian := range map[string]string{"nginx": "nginx", "wrk": "wrk", "h2load": "nghttp2-client"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: install the Debian package %s", err, debian)
		}
	}
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	own := filepath.Join(dir, "gatehouse")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", own, "gatehouse/cmd/gatehouse").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	s.binaries = append([]binary{{"gatehouse", own}}, s.binaries...)
	f := &field{dir: dir}
	defer f.close()
	if err := f.open(ctx, s.binaries); err != nil {
		return err
	}
	all := f.workloads()
	inspects, err := f.openWAF(ctx, s.binaries)
	if err != nil {
		return err
	}
	if inspects {
		more, err := f.wafWorkloads()
		if err != nil {
			return err
		}
		all = append(all, more...)
	} else {
		fmt.Println("W6 is left out: it needs the Debian package libnginx-mod-http-modsecurity")
	}
	for _, w := range all {
		if strings.HasPrefix(w.name, s.only) {
			if err := w.compare(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// A workload is one request, sent to each contender in turn.
type workload struct {
	name, path string
	send       load
	script     string // of wrk, if the request is not a plain GET
	conns      int    // fewer than the flag says, for requests that take long
	contenders []contender
}

// A contender answers a workload's request.
type contender struct {
	name    string
	front   *front
	headers []string
}

// compare runs the turns and prints a row for each contender. The ratio is the median of the ratios of single
// rounds to the first contender, so that what a machine does from one round to the next cancels out.
func (w *workload) compare(ctx context.Context, s settings) error {
	costs := make([][]time.Duration, len(w.contenders))
	for round := -1; round < s.rounds; round++ {
		for i, c := range w.contenders {
			turn := s.turn
			if round < 0 {
				turn = 2 * time.Second // to warm up
			}
			cost, err := c.cost(ctx, w, turn, cmp.Or(w.conns, s.conns))
			if err != nil {
				return fmt.Errorf("%s: %s: %w", w.name, c.name, err)
			}
			if round >= 0 {
				costs[i] = append(costs[i], cost)
			}
		}
	}
	fmt.Printf("%s\n", w.name)
	for i, c := range w.contenders {
		ratios := make([]float64, s.rounds)
		for round := range ratios {
			ratios[round] = float64(costs[i][round]) / float64(costs[0][round])
		}
		fmt.Printf("  %-32s %7.1f µs  %5.2f  (%.2f to %.2f)\n", c.name, float64(median(costs[i]))/float64(time.Microsecond),
			median(ratios), slices.Min(ratios), slices.Max(ratios))
	}
	return nil
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// cost has requests sent for a turn and returns the CPU time of one.
func (c *contender) cost(ctx context.Context, w *workload, turn time.Duration, conns int) (time.Duration, error) {
	before, err := treeTime(c.front.pid)
	if err != nil {
		return 0, err
	}
	n, err := w.send(ctx, c, w, turn, conns)
	if err != nil {
		return 0, err
	}
	after, err := treeTime(c.front.pid)
	if err != nil {
		return 0, err
	}
	return (after - before) / time.Duration(n), nil
}
