package waf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newTestBudget(t *testing.T, c BudgetConfig) (*Budget, *clock) {
	t.Helper()
	b, err := NewBudget(c)
	if err != nil {
		t.Fatal(err)
	}
	at := &clock{b.begun}
	b.now = at.now
	return b, at
}

func TestClientPaysForItsWork(t *testing.T) {
	t.Parallel()
	b, at := newTestBudget(t, BudgetConfig{Client: 10, Burst: "1s"})
	spend := func(addr string, work time.Duration) *Limited {
		turn, limited := b.enter(netip.MustParseAddr(addr))
		if limited == nil {
			turn.end(int(work / workTime))
			turn.end(int(work / workTime)) // once is enough
		}
		return limited
	}
	for range 10 {
		if limited := spend("192.0.2.1", 110*time.Millisecond); limited != nil {
			t.Fatalf("within the burst: got %v", limited)
		}
	}
	limited := spend("::ffff:192.0.2.1", 0)
	if limited == nil || limited.Limit != LimitClient || limited.Status != http.StatusTooManyRequests {
		t.Fatalf("over the burst: got %v, want a refusal with 429", limited)
	}
	h := http.Header{}
	limited.Header(h)
	if got := h.Get("Retry-After"); got != "2" { // 100 ms over, at a tenth of a core, and the requests themselves
		t.Errorf("Retry-After: got %q, want 2", got)
	}
	if limited := spend("192.0.2.2", 0); limited != nil {
		t.Errorf("another client: got %v", limited)
	}
	at.at = at.at.Add(limited.RetryAfter)
	if limited := spend("192.0.2.1", 0); limited != nil {
		t.Errorf("after the time that was said: got %v", limited)
	}
	spend("2001:db8::1", 3*time.Second)
	if spend("2001:db8::ffff", 0) == nil {
		t.Error("a neighbour in the same /64 is another client")
	}
	if spend("2001:db8:0:1::1", 0) != nil {
		t.Error("the next /64 is the same client")
	}
}

func TestClientsAreBounded(t *testing.T) {
	t.Parallel()
	b, _ := newTestBudget(t, BudgetConfig{})
	held, _ := b.enter(netip.MustParseAddr("203.0.113.1"))
	debtor, _ := b.enter(netip.MustParseAddr("203.0.113.2"))
	debtor.end(int(time.Minute / workTime))
	for i := range 3 * maxClients {
		turn, limited := b.enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		if limited != nil {
			t.Fatal(limited)
		}
		turn.end(0)
	}
	total := 0
	for i := range b.clients {
		total += len(b.clients[i].index)
	}
	if total > maxClients {
		t.Errorf("clients: got %d, want at most %d", total, maxClients)
	}
	if _, limited := b.enter(netip.MustParseAddr("203.0.113.2")); limited == nil {
		t.Error("a client in debt was forgotten")
	}
	held.end(0)
	for i := range b.clients {
		for key, c := range b.clients[i].index {
			if c.turns != 0 || c.held != 0 {
				t.Errorf("%v: got %d turns and %d bytes, want none", key, c.turns, c.held)
			}
		}
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := NewBudget(BudgetConfig{Concurrent: 1, Wait: "1s"})
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.MustParseAddr("192.0.2.1")
		first, _ := b.enter(addr)
		if err := first.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		second, _ := b.enter(addr)
		start := time.Now()
		err = second.begin(t.Context())
		if limited, ok := errors.AsType[*Limited](err); !ok || limited.Limit != LimitBusy || limited.Status != http.StatusServiceUnavailable || limited.RetryAfter == 0 {
			t.Errorf("got %v, want a refusal with 503 and Retry-After", err)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := second.begin(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("client gone: got %v", err)
		}
		time.AfterFunc(time.Second/2, first.pause)
		if err := second.begin(t.Context()); err != nil {
			t.Errorf("place given up: got %v", err)
		}
		second.end(0)
		// The first one waits for its client to send a body, and is none of those that the engine has to do with.
		for range clientTurns {
			if _, limited := b.enter(addr); limited != nil {
				t.Fatal(limited)
			}
		}
		if _, limited := b.enter(addr); limited == nil {
			t.Error("one client can take all the turns")
		}
		if err := first.begin(t.Context()); err == nil {
			t.Error("a body that has come goes before those that wait")
		}
		if _, limited := b.enter(netip.MustParseAddr("192.0.2.2")); limited != nil {
			t.Errorf("another client: got %v", limited)
		}
	})
}

// slow is a body that waits for its end to be let go.
type slow struct {
	io.Reader
	read    chan<- struct{} // is told that the end has come
	release <-chan struct{}
}

func (s slow) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		s.read <- struct{}{}
		<-s.release
	}
	return n, err
}

func TestMemoryOfBodies(t *testing.T) {
	t.Parallel()
	b, _ := newTestBudget(t, BudgetConfig{Memory: "1MiB", Concurrent: 1})
	var mu sync.Mutex
	var limits []string
	e := newTestEngineWith(t, Config{Limits: Limits{Other: "200KiB"}}, Options{Deny: denyPlain, Budget: b, OnResult: func(_ context.Context, r Result) {
		mu.Lock()
		defer mu.Unlock()
		limits = append(limits, r.Limit)
	}}, "")
	h := e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	send := func(client string, body io.Reader) int {
		r := typed("application/octet-stream", "").request()
		r.Method, r.Body, r.ContentLength, r.RemoteAddr = http.MethodPut, io.NopCloser(body), -1, client+":1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	var clients sync.WaitGroup
	var codes [4]int
	read, release := make(chan struct{}, len(codes)+1), make(chan struct{})
	content := strings.Repeat("\x00\x01", 70<<10)
	for i := range codes {
		clients.Go(func() {
			codes[i] = send(fmt.Sprintf("192.0.2.%d", i), slow{strings.NewReader(content), read, release})
		})
	}
	left := make(chan struct{})
	go func() {
		clients.Wait()
		close(left)
	}()
	for range codes {
		select {
		case <-read:
		case <-left:
			t.Fatalf("got %v before the bodies were over", codes)
		}
	}
	if got := send("192.0.2.0", strings.NewReader(content)); got != http.StatusServiceUnavailable {
		t.Errorf("one body more: got %d, want 503", got)
	}
	close(release)
	<-left
	if want := [4]int{200, 200, 200, 200}; codes != want {
		t.Errorf("got %v, want %v", codes, want)
	}
	if want := []string{LimitMemory, "", "", "", ""}; !slices.Equal(limits, want) {
		t.Errorf("limits: got %q, want %q", limits, want)
	}
	if got := b.memory.Load(); got != 1<<20 {
		t.Errorf("memory left: got %d, want all", got)
	}
}

// Who has asked for little does not wait for those who have asked for much.
func TestLightClientsGoFirst(t *testing.T) {
	t.Parallel()
	b, _ := newTestBudget(t, BudgetConfig{Concurrent: 1, Burst: "1s"})
	heavy := netip.MustParseAddr("192.0.2.1")
	first, _ := b.enter(heavy)
	first.end(int(200 * time.Millisecond / workTime))
	again, _ := b.enter(heavy)
	if err := again.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	light, _ := b.enter(netip.MustParseAddr("192.0.2.2"))
	if again.lane == light.lane {
		t.Error("both are in one lane")
	}
	if err := light.begin(t.Context()); err != nil {
		t.Error(err)
	}
}

// One hostile client is refused, another one does not notice.
func TestHostileClient(t *testing.T) {
	t.Parallel()
	b, at := newTestBudget(t, BudgetConfig{Client: 25, Burst: "200ms"})
	for _, mode := range []string{ModeBlock, ModeCount} {
		at.at = at.at.Add(time.Hour)
		var last Result
		e := newTestEngineWith(t, Config{Mode: mode}, Options{Deny: denyPlain, Budget: b, OnResult: func(_ context.Context, r Result) { last = r }}, "")
		h := e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		send := func(client string, s sample) *httptest.ResponseRecorder {
			r := s.request()
			r.RemoteAddr = client + ":1"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		for range 12 {
			send("192.0.2.1", hostileBodies()["json attack in 900"])
		}
		w := send("192.0.2.1", sample{})
		if want := map[string]int{ModeBlock: 429, ModeCount: 200}[mode]; w.Code != want || last.Limit != LimitClient || last.Status != 429 {
			t.Errorf("%s: got %d, %+v; want %d and the limit recorded", mode, w.Code, last, want)
		}
		if w := send("192.0.2.2", sample{}); w.Code != http.StatusOK || last.Limit != "" {
			t.Errorf("%s: another client: got %d %q, want 200", mode, w.Code, last.Limit)
		}
	}
}

func TestBudgetConfigIsChecked(t *testing.T) {
	t.Parallel()
	bad := BudgetConfig{Client: -1, Burst: "x", Concurrent: 5000, Wait: "1h", Memory: "1KB"}
	var got []string
	bad.Validate(func(field, _ string) { got = append(got, field) })
	if want := []string{"client", "burst", "concurrent", "wait", "memory"}; !slices.Equal(got, want) {
		t.Errorf("fields: got %q, want %q", got, want)
	}
	if _, err := NewBudget(bad); err == nil {
		t.Error("NewBudget takes what Validate refuses")
	}
}

// What others than engines do for a client counts with what they do.
func TestOtherWorkIsTheClients(t *testing.T) {
	t.Parallel()
	b, err := NewBudget(BudgetConfig{Client: 25, Burst: "2s"})
	if err != nil {
		t.Fatal(err)
	}
	begun := b.begun
	b.now = func() time.Time { return begun }
	addr, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	for n := range 25 {
		if err := b.Begin(addr); err != nil && n < 20 {
			t.Fatalf("request %d: %v", n, err)
		}
		b.End(netip.MustParseAddr("2001:db8::2"), int(100*time.Millisecond/workTime))
	}
	var limited *Limited
	if err := b.Begin(addr); !errors.As(err, &limited) || limited.Limit != LimitClient || limited.Status != 429 || limited.RetryAfter <= 0 {
		t.Errorf("after 2.5 s of work: got %v, want the client's limit", err)
	}
	if _, limited := b.enter(addr); limited == nil {
		t.Error("engines take what rules do not")
	}
	if err := b.Begin(other); err != nil {
		t.Errorf("another client: %v", err)
	}
	b.now = func() time.Time { return begun.Add(time.Minute) }
	if err := b.Begin(addr); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}
