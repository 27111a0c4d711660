package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A clock is a time that a test passes.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Unix(1000, 0).UnixNano())
	return c
}

func (c *clock) read() time.Time      { return time.Unix(0, c.now.Load()) }
func (c *clock) pass(d time.Duration) { c.now.Add(int64(d)) }
func (c *clock) pool(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p, err := newPool("x", cfg, c.read)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// fickle is an upstream that answers what it is told to, and then closes if that is no whole answer. It counts requests.
func fickle(t testing.TB) (endpoint string, answer *atomic.Value, asked *atomic.Int32) {
	t.Helper()
	answer, asked = &atomic.Value{}, &atomic.Int32{}
	answer.Store(okAnswer)
	return rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			asked.Add(1)
			said := answer.Load().(string)
			if said == "silence" {
				br.ReadByte()
				return
			}
			io.WriteString(c, said)
			if !strings.Contains(said, "keep-alive") {
				return
			}
		}
	}), answer, asked
}

const unavailable = "HTTP/1.1 503 x\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"

func TestEndpointsWhoseRequestsFailAreLeftOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, reason string }{
		{"status", unavailable, "status 503"},
		{"no answer", "", "closed_before_response"},
		{"half an answer", "HTTP/1.1 200 OK\r\nCont", "closed_before_response"},
		{"malformed", "HTTP/1.1 200 OK\r\nA b\r\n\r\n", "malformed_response"},
		{"silence", "silence", "response_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bad, answer, asked := fickle(t)
			good, _, _ := fickle(t)
			answer.Store(tt.answer)
			c := newClock()
			p := c.pool(t, Config{Endpoints: []string{bad, good}, ResponseTimeout: "1s", Passive: &PassiveConfig{Failures: 2}})
			told := make(chan Health, 8)
			p.Start(func(h Health) { told <- h })
			f := newRigOf(t, "http1", p, Options{})
			// bads asks so many times and returns how many of that the bad one got.
			bads := func(n int) int32 {
				before := asked.Load()
				for range n {
					f.do(t, "GET", "/", nil)
				}
				return asked.Load() - before
			}
			address := strings.TrimPrefix(bad, "http://")
			if n := bads(4); n != 2 {
				t.Errorf("two each: got %d for the bad one", n)
			}
			if h := <-told; h != (Health{"x", address, false, tt.reason}) {
				t.Errorf("got %+v", h)
			}
			c.pass(29 * time.Second)
			if n := bads(4); n != 0 {
				t.Errorf("left out: got %d", n)
			}
			c.pass(time.Second)
			if n := bads(4); n != 1 {
				t.Errorf("after 30 s: got %d, want one that tries", n)
			}
			c.pass(59 * time.Second)
			if n := bads(4); n != 0 {
				t.Errorf("in vain, so for twice as long: got %d", n)
			}
			answer.Store(okAnswer)
			c.pass(time.Second)
			if n := bads(5); n != 3 {
				t.Errorf("it does well again: got %d of 5", n)
			}
			if h := <-told; h != (Health{"x", address, true, ""}) {
				t.Errorf("got %+v", h)
			}
			if len(p.Ailing()) != 0 || p.Stats().Ejections != 2 {
				t.Errorf("got %q ailing, %+v", p.Ailing(), p.Stats())
			}
		})
	}
}

func TestFailuresMustFollowEachOther(t *testing.T) {
	t.Parallel()
	up, answer, asked := fickle(t)
	other, _, _ := fickle(t)
	p := newClock().pool(t, Config{Endpoints: []string{up, other}, Passive: &PassiveConfig{Failures: 2, Status: "503"}})
	f := newRigOf(t, "http1", p, Options{})
	for i := range 10 {
		answer.Store([]string{unavailable, okAnswer, strings.Replace(unavailable, "503", "500", 1)}[i%3])
		f.do(t, "GET", "/", nil)
		f.do(t, "GET", "/", nil)
	}
	if n := asked.Load(); n != 10 {
		t.Errorf("got %d of 20 requests, want 10", n)
	}
}

func TestOnlyAShareOfThePoolIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ endpoints, share, want int }{{4, 50, 2}, {5, 50, 2}, {3, 10, 1}, {1, 50, 1}, {4, 100, 4}} {
		now := time.Unix(1000, 0)
		weights := []int{1, 1, 1, 1, 1}[:tt.endpoints]
		p := poolOf(t, Config{Passive: &PassiveConfig{Failures: 1, MaxEjected: tt.share}}, &now, weights...)
		for _, m := range p.plan.Load().all {
			p.answered(m.endpoint, 500)
		}
		if got := len(p.Ailing()); got != tt.want {
			t.Errorf("%d endpoints, %d%%: got %d left out, want %d", tt.endpoints, tt.share, got, tt.want)
		}
		now = now.Add(maxEject) // nobody has come yet to try them out
		for _, m := range p.current(now).fit {
			p.answered(m.endpoint, 500)
		}
		if got := len(p.Ailing()); got != tt.want {
			t.Errorf("%d endpoints, %d%%, when the time is over: got %d left out, want %d", tt.endpoints, tt.share, got, tt.want)
		}
	}
}

func TestOneRequestAtATimeTriesAnEndpointOut(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{}, &now, 1, 1)
	a := p.plan.Load().all[0].endpoint
	p.broke(a, &Error{Reason: ReasonRefused})
	now = now.Add(avoidFor)
	first := p.rotation(now, nil, nil)
	if ep, _ := first.next(); ep != a {
		t.Fatalf("got %s, want a", ep.name)
	}
	for range 4 {
		second := p.rotation(now, nil, nil)
		if ep, _ := second.next(); ep == a {
			t.Error("while that is under way: want b")
		}
	}
	first.endTrial() // it said nothing
	third := p.rotation(now, nil, nil)
	if ep, _ := third.next(); ep != a {
		t.Errorf("after that: got %s, want a", ep.name)
	}
	// The body of the third one never ends.
	now = now.Add(p.connectTimeout + p.responseTimeout)
	fourth := p.rotation(now, nil, nil)
	if ep, _ := fourth.next(); ep != a {
		t.Errorf("after as long as a request may take: got %s, want a", ep.name)
	}
	third.endTrial()
	fifth := p.rotation(now, nil, nil)
	if ep, _ := fifth.next(); ep == a {
		t.Error("while the fourth is under way: want b")
	}
}

// A client that sends its body slowly holds the place of the one request that tries an endpoint out for no longer than that.
func TestASlowClientKeepsNoEndpointOut(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		c := newClock()
		url, said, _ := fickle(t)
		said.Store(unavailable)
		other, _, _ := fickle(t)
		p := c.pool(t, Config{Endpoints: []string{url, other}, Passive: &PassiveConfig{Failures: 1}})
		entered := make(chan struct{}, 10)
		f := newRigOf(t, proto, p, Options{Out: func(in *http.Request, _ http.Header) error {
			entered <- struct{}{}
			return nil
		}})
		f.do(t, "GET", "/", nil)
		<-entered
		said.Store(okAnswer)
		c.pass(defaultEject)
		body, rest := io.Pipe()
		over := make(chan struct{})
		go func() {
			defer close(over)
			f.do(t, "POST", "/", body)
		}()
		io.WriteString(rest, "x")
		<-entered
		for p.plan.Load().all[0].trial.Load() == 0 {
			runtime.Gosched()
		}
		c.pass(p.connectTimeout + p.responseTimeout)
		f.do(t, "GET", "/", nil)
		if got := p.Ailing(); len(got) > 0 {
			t.Errorf("not well yet: %v", got)
		}
		rest.Close()
		<-over
	})
}

// A request that was under way when its endpoint was left out does not bring it back.
func TestAnAnswerFromBeforeBringsNobodyBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{Passive: &PassiveConfig{Failures: 1}}, &now, 1, 1)
	all := p.plan.Load().all
	p.answered(all[0].endpoint, 500)
	p.answered(all[0].endpoint, 200)
	if got := turns(p, 4); got != "bbbb" {
		t.Errorf("got %s, want b alone", got)
	}
	all[1].unwell.Store(true)
	p.replan()
	p.answered(all[0].endpoint, 200) // all get requests, and it does well
	if got := turns(p, 4); got != "aaaa" {
		t.Errorf("b is unwell, and a is not: got %s", got)
	}
}

func TestTheTimeThatAnEndpointIsLeftOut(t *testing.T) {
	t.Parallel()
	ep := newEndpoint(specs(1)[0].address, nil)
	now := time.Unix(1000, 0)
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		ep.eject(now, 30*time.Second)
		if got := time.Unix(0, ep.avoidUntil.Load()).Sub(now); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		now = now.Add(want + time.Second)
	}
	now = now.Add(5 * time.Minute) // it was well for longer than it was left out
	ep.eject(now, 30*time.Second)
	if got := time.Unix(0, ep.avoidUntil.Load()).Sub(now); got != 30*time.Second {
		t.Errorf("after a time without failures: got %s, want 30s", got)
	}
}

func TestMinHealthy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		minimum   string
		well, all int
		want      int // how many get requests
	}{
		{"", 1, 4, 1},
		{"", 0, 4, 4},
		{"2", 2, 4, 2},
		{"2", 1, 4, 4},
		{"50%", 2, 4, 2},
		{"50%", 2, 5, 5},
		{"100%", 3, 3, 3},
		{"9", 3, 3, 3},
	} {
		now := time.Unix(1000, 0)
		p := poolOf(t, Config{MinHealthy: tt.minimum}, &now, []int{1, 1, 1, 1, 1}[:tt.all]...)
		for _, m := range p.plan.Load().all[tt.well:] {
			m.unwell.Store(true)
		}
		p.replan()
		if got := len(p.plan.Load().fit); got != tt.want {
			t.Errorf("%q, %d of %d are well: got %d with requests, want %d", tt.minimum, tt.well, tt.all, got, tt.want)
		}
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for _, method := range []string{"GET", "POST"} {
			c := newClock()
			main := newLateUpstream(t)
			second, _, _ := fickle(t)
			p := c.pool(t, Config{Endpoints: []string{main.url}})
			p.name = "main"
			spare := c.pool(t, Config{Endpoints: []string{second}})
			spare.name = "spare"
			f := newRigOf(t, proto, p, Options{Failover: spare})
			ask := func(want string, attempts int) {
				t.Helper()
				res, _ := f.do(t, method, "/", strings.NewReader("x"))
				r := <-f.results
				if res.StatusCode != 200 || r.Upstream != want || r.Attempts != attempts || r.Failover != (want == "spare") {
					t.Errorf("got %d, %+v; want an answer of %s in %d attempts", res.StatusCode, r, want, attempts)
				}
			}
			ask("spare", 2) // nothing was sent to the one that refused
			ask("spare", 1)
			c.pass(avoidFor)
			ask("spare", 2) // one request tries
			ask("spare", 1)
			main.listen(t)
			ask("spare", 1)
			c.pass(2 * avoidFor)
			ask("main", 1)
			ask("main", 1)
			if n := p.Stats().Failovers; n != 5 {
				t.Errorf("failovers: got %d, want 5", n)
			}
		}
	})
}

// However many endpoints refuse, the last attempt is for the other upstream; and nothing keeps those from being left out.
func TestFailoverComesBeforeTheLastAttempt(t *testing.T) {
	t.Parallel()
	good, _, _ := fickle(t)
	spare := newClock().pool(t, Config{Endpoints: []string{good}})
	var dead []string
	for range 6 {
		dead = append(dead, refusing(t))
	}
	p := newClock().pool(t, Config{Endpoints: dead, Passive: &PassiveConfig{Failures: 1}})
	f := newRigOf(t, "http1", p, Options{Failover: spare})
	for i, want := range []int{3, 3, 3, 1, 1} {
		res, _ := f.do(t, "POST", "/", strings.NewReader("x"))
		if r := <-f.results; res.StatusCode != 200 || r.Attempts != want {
			t.Errorf("request %d: got %d in %d attempts, want 200 in %d", i, res.StatusCode, r.Attempts, want)
		}
	}
}

func TestFailoverByHealthChecks(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	a.status.Store(500)
	p, told := checked(t, Config{Endpoints: []string{a.URL}, Health: &HealthConfig{Path: "/health"}})
	spare, spareTold := checked(t, Config{Endpoints: []string{b.URL}, Health: &HealthConfig{Path: "/health"}})
	f := newRigOf(t, "http1", p, Options{Failover: spare})
	ask := func(when, want string) {
		t.Helper()
		if _, body := f.do(t, "GET", "/", nil); body != want {
			t.Errorf("%s: got %q, want %s", when, body, want)
		}
	}
	hear(t, told)
	ask("a is unwell", "b")
	b.status.Store(500)
	hear(t, spareTold)
	ask("both are", "a") // as without a failover: checks that are wrong take no site down
	b.status.Store(200)
	hear(t, spareTold)
	ask("b is well again", "b")
	a.status.Store(200)
	hear(t, told)
	ask("a is well again", "a")
}

// lateUpstream is one that does not listen yet.
type lateUpstream struct{ path, url string }

func newLateUpstream(t testing.TB) *lateUpstream {
	path := filepath.Join(t.TempDir(), "s")
	return &lateUpstream{path, "unix://" + path}
}

func (l *lateUpstream) listen(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("unix", l.path)
	if err != nil {
		t.Fatal(err)
	}
	serveRaw(t, ln, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			io.WriteString(c, okAnswer)
		}
	})
}

func TestValidatePassiveAndTheLike(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg    Config
		fields []string
	}{
		"complete": {Config{
			Passive:    &PassiveConfig{Failures: 3, Status: "500,502-504", Eject: "10s", MaxEjected: 30},
			Retry:      &RetryConfig{Attempts: 2, Budget: 10, Minimum: 5},
			Circuit:    &CircuitConfig{MaxRequests: 100, MaxEndpointRequests: 50, MaxPending: 10},
			MinHealthy: "50%",
		}, nil},
		"empty": {Config{Passive: &PassiveConfig{}, Retry: &RetryConfig{}, Circuit: &CircuitConfig{}}, nil},
		"wrong": {Config{
			Passive:    &PassiveConfig{Failures: -1, Status: "5xx", Eject: "0s", MaxEjected: 101},
			Retry:      &RetryConfig{Attempts: 11, Budget: 101, Minimum: -1},
			Circuit:    &CircuitConfig{MaxRequests: -1, MaxEndpointRequests: -1, MaxPending: -1},
			MinHealthy: "0",
		}, []string{
			"min_healthy", "passive.failures", "passive.status", "passive.eject", "passive.max_ejected", "retry.attempts", "retry.budget",
			"retry.minimum", "circuit.max_requests", "circuit.max_endpoint_requests", "circuit.max_pending",
		}},
		"too long":                {Config{Passive: &PassiveConfig{Eject: "6m"}, MinHealthy: "101%"}, []string{"min_healthy", "passive.eject"}},
		"a queue without a bound": {Config{Circuit: &CircuitConfig{MaxPending: 1}}, []string{"circuit.max_pending"}},
	} {
		tt.cfg.Endpoints = []string{"http://10.0.0.1"}
		var fields []string
		tt.cfg.Validate(func(field, _ string) { fields = append(fields, field) })
		if got, want := fmt.Sprint(fields), fmt.Sprint(tt.fields); got != want {
			t.Errorf("%s: got problems at %s, want %s", name, got, want)
		}
	}
}
