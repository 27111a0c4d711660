package upstream

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// alternating is the status of a patient whose first answer is bad, whose second is good, and so on.
const alternating = 0

// A patient is an application whose health a test decides.
type patient struct {
	*httptest.Server
	status atomic.Int32
	asked  atomic.Int64
	beat   chan struct{} // gets one for each check that somebody waits for
}

func newPatient(t *testing.T, name string) *patient {
	t.Helper()
	p := &patient{beat: make(chan struct{})}
	p.status.Store(http.StatusOK)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			n, status := p.asked.Add(1), int(p.status.Load())
			if status == alternating {
				status = []int{200, 500}[n%2]
			}
			select {
			case p.beat <- struct{}{}:
			default:
			}
			w.WriteHeader(status)
			return
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(p.Close)
	return p
}

// checked returns a pool whose checks follow each other at once, and what it tells of its endpoints.
func checked(t *testing.T, cfg Config) (*Pool, <-chan Health) {
	t.Helper()
	p, err := NewPool("app", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.checks.interval = time.Millisecond
	told := make(chan Health, 64)
	p.Start(func(h Health) { told <- h })
	return p, told
}

func hear(t *testing.T, told <-chan Health) Health {
	t.Helper()
	select {
	case h := <-told:
		return h
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is told of the endpoints")
		panic("not reached")
	}
}

// answers asks a pool n times and counts who answers.
func answers(t *testing.T, p *Pool, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	h := p.Handler(Options{Deny: func(w http.ResponseWriter, _ *http.Request, err error) { fmt.Fprint(w, err) }})
	for range n {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://app.example.com/", nil))
		got[w.Body.String()]++
	}
	return got
}

func TestEndpointsThatAreUnwellGetNoRequests(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	b.status.Store(500)
	p, told := checked(t, Config{Endpoints: []string{a.URL, b.URL}, Health: &HealthConfig{Path: "/health"}})
	address := strings.TrimPrefix(b.URL, "http://")
	if h := hear(t, told); h != (Health{"app", address, false, "status 500"}) {
		t.Fatalf("got %+v", h)
	}
	if got := answers(t, p, 10); got["a"] != 10 {
		t.Errorf("b is unwell: got %v", got)
	}
	if got := p.Ailing(); len(got) != 1 || got[0] != address {
		t.Errorf("ailing: got %v", got)
	}
	b.status.Store(204)
	if h := hear(t, told); h != (Health{"app", address, true, ""}) {
		t.Fatalf("got %+v", h)
	}
	if got := answers(t, p, 10); got["a"] != 5 || got["b"] != 5 {
		t.Errorf("both are well: got %v", got)
	}
}

// An endpoint that has been well is allowed one bad answer, and one that has not needs no second good one.
func TestOneBadAnswer(t *testing.T) {
	t.Parallel()
	a := newPatient(t, "a")
	a.status.Store(alternating)
	_, told := checked(t, Config{Endpoints: []string{a.URL}, Health: &HealthConfig{Path: "/health"}})
	if h := hear(t, told); h.Well { // the first answer is a bad one
		t.Fatalf("got %+v", h)
	}
	if h := hear(t, told); !h.Well {
		t.Fatalf("got %+v", h)
	}
	for range 10 {
		<-a.beat
	}
	select {
	case h := <-told:
		t.Errorf("every second answer is bad: got %+v", h)
	default:
	}
	a.status.Store(500)
	if h := hear(t, told); h.Well {
		t.Errorf("every answer is bad: got %+v", h)
	}
}

// When none is well, all are tried: checks that are wrong take no site down.
func TestNoEndpointIsWell(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	a.status.Store(404)
	b.status.Store(404)
	p, told := checked(t, Config{Endpoints: []string{a.URL, b.URL}, Health: &HealthConfig{Path: "/health"}})
	hear(t, told)
	hear(t, told)
	if got := answers(t, p, 10); got["a"]+got["b"] != 10 || got["a"] == 0 || got["b"] == 0 {
		t.Errorf("got %v", got)
	}
}

func TestChecksOfASocketAndOfNobody(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	host := make(chan string, 1)
	s := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case host <- r.Host + " " + r.UserAgent() + " " + r.URL.RawQuery:
		default:
		}
	})}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	p, told := checked(t, Config{Endpoints: []string{"unix://" + path}, Health: &HealthConfig{Path: "/health?deep", Host: "app.example.com", Unhealthy: 1}})
	if got := <-host; got != "app.example.com "+healthAgent+" deep" {
		t.Errorf("got %q", got)
	}
	s.Close()
	// A check may have been under way when the server went.
	reasons := []string{"dial: connect: no such file or directory", "dial: connect: connection refused", "no HTTP answer"}
	if h := hear(t, told); h.Well || !slices.Contains(reasons, h.Reason) {
		t.Errorf("got %+v", h)
	}
	p.Close()
	p.Start(nil) // does nothing any more
	p.Close()
}

// The endpoint with the fewest requests under way gets the next one.
func TestLeastOutstanding(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		fmt.Fprint(w, "slow")
	}))
	t.Cleanup(slow.Close)
	quick := newPatient(t, "quick")
	p, err := NewPool("app", Config{Endpoints: []string{slow.URL, quick.URL}, Balance: LeastOutstanding})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	h := p.Handler(Options{Deny: func(w http.ResponseWriter, _ *http.Request, err error) { fmt.Fprint(w, err) }})
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "http://app.example.com/slow", nil))
	}()
	<-arrived
	if got := answers(t, p, 10); got["quick"] != 10 {
		t.Errorf("while one waits: got %v", got)
	}
	close(release)
	<-done
	if got := answers(t, p, 10); got["quick"] != 5 || got["slow"] != 5 {
		t.Errorf("when nobody waits: got %v", got)
	}
	for _, ep := range p.plan.Load().all {
		if n := ep.outstanding.Load(); n != 0 {
			t.Errorf("%s: %d requests are under way, want none", ep.name, n)
		}
	}
}

func TestValidateHealth(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg   HealthConfig
		field string
	}{
		"complete":            {HealthConfig{Path: "/health?deep=1", Interval: "5s", Timeout: "2s", Status: "200, 300-302", Healthy: 3, Unhealthy: 5, Host: "app.example.com"}, ""},
		"no path":             {HealthConfig{}, "health.path"},
		"a URL":               {HealthConfig{Path: "http://10.0.0.1/"}, "health.path"},
		"a fragment":          {HealthConfig{Path: "/#x"}, "health.path"},
		"too often":           {HealthConfig{Path: "/", Interval: "100ms"}, "health.interval"},
		"no duration":         {HealthConfig{Path: "/", Timeout: "5"}, "health.timeout"},
		"no status":           {HealthConfig{Path: "/", Status: "2xx"}, "health.status"},
		"an interim status":   {HealthConfig{Path: "/", Status: "100-200"}, "health.status"},
		"a range from behind": {HealthConfig{Path: "/", Status: "300-200"}, "health.status"},
		"too many":            {HealthConfig{Path: "/", Healthy: 11}, "health.healthy"},
		"gRPC over HTTP/1.1":  {HealthConfig{GRPC: new(string)}, "health.grpc"},
		"no host":             {HealthConfig{Path: "/", Host: "a b"}, "health.host"},
	} {
		var fields []string
		Config{Endpoints: []string{"http://10.0.0.1"}, Health: &tt.cfg}.Validate(func(field, _ string) { fields = append(fields, field) })
		if got := strings.Join(fields, " "); got != tt.field {
			t.Errorf("%s: got problems at %q, want %q", name, got, tt.field)
		}
	}
	var got string
	Config{Endpoints: []string{"http://10.0.0.1"}, Balance: "random"}.Validate(func(field, _ string) { got += field })
	if got != "balance" {
		t.Errorf("an unknown balance: got %q", got)
	}
}
