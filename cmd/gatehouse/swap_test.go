package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coder/websocket"

	"gatehouse/configs"
)

// swaps is how often TestSwapsUnderLoad replaces the configuration.
const swaps = 200

// swapConfig is the i-th configuration: neighbours differ in a route, a limit and an upstream, and each ten
// from the next in the WAF, whose engine takes longest to build.
func swapConfig(i int, stateDir, upstream, other, pool string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `listen: {https: "127.0.0.1:0", admin: "off"}
tls: {local: true}
state_dir: %s
waf: {groups: [windows], threshold: %d}
secret: 0123456789abcdef0123456789abcdef
login:
  cognito:
    region: eu-west-1
    user_pool: eu-west-1_DevPool01
    domain: %[3]s
    endpoint: %[3]s
    client_id: %[4]s
    client_secret: %[5]s
limits: {many: {rate: %[6]d/1s}}
upstreams:
  u: {endpoints: [%[7]s], response_timeout: %[8]ds}
  other: %[9]s
routes:
`, stateDir, 100+i/10%2, pool, devClientID, devSecret, 1_000_000+i%2, upstream, 60+i%2, other)
	if i%2 == 1 {
		b.WriteString("  - {match: localhost/extra/*, to: other, require: nothing}\n")
	}
	b.WriteString("  - {match: localhost, to: u, require: optional, limit: many}\n")
	return b.String()
}

// swapUpstream answers with its name and what it was sent, and echoes WebSocket messages below /ws.
func swapUpstream(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echoMessages(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s ", name, r.Method)
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func echoMessages(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, msg, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, msg) != nil {
			return
		}
	}
}

// A swapBench is a front door in this process whose configuration the test replaces.
type swapBench struct {
	*process
	t    *testing.T
	text atomic.Pointer[string]
	addr string
}

func startSwapBench(t *testing.T, text string) *swapBench {
	t.Helper()
	s := &swapBench{t: t}
	s.text.Store(&text)
	load := func() (*configs.Config, error) {
		fsys := fstest.MapFS{"gatehouse.yaml": {Data: []byte(*s.text.Load())}}
		return configs.Load(fsys, "gatehouse.yaml", configs.LoadOptions{})
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	s.process = newProcess(&environment{stdout: io.Discard, stderr: io.Discard, getenv: os.LookupEnv}, processOptions{
		load: load, quiet: true, sockets: &sockets{}, ready: func(at addresses) { s.addr = at.HTTPS.String() },
	})
	s.cfg = cfg
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// swap replaces the configuration and returns the generation and parts that serve afterwards.
func (s *swapBench) swap(text string) *assembled {
	s.text.Store(&text)
	s.reload(s.t.Context())
	return s.current
}

// client speaks one protocol to the front door.
func (s *swapBench) client(h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols, MaxIdleConnsPerHost: 8,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.addr)
		},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// exchange sends one request and wants it answered in full by the upstream called name.
func exchange(c *http.Client, method, path, body, name string) error {
	req, err := http.NewRequest(method, "https://localhost"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if want := name + " " + method + " " + body; resp.StatusCode != http.StatusOK || string(got) != want {
		return fmt.Errorf("%s %s: got %s %.80q, want 200 %.80q", method, path, resp.Status, got, want)
	}
	return nil
}

// load sends requests of both kinds over both protocols until stop is closed, and returns how many of
// each were answered.
func (s *swapBench) load(stop <-chan struct{}) (wait func() map[string]int64) {
	counts := map[string]*atomic.Int64{}
	var running sync.WaitGroup
	long := "\x00" + strings.Repeat("not for the WAF\n", 4<<10) // more than is read before forwarding begins
	for _, h2 := range []bool{false, true} {
		client := s.client(h2)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			count := new(atomic.Int64)
			counts[fmt.Sprintf("%s over HTTP/2 %t", method, h2)] = count
			running.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					body := ""
					switch {
					case method == http.MethodPost && n%2 == 0:
						body = long
					case method == http.MethodPost:
						body = "short"
					}
					if err := exchange(client, method, "/page", body, "u"); err != nil {
						s.t.Errorf("request %d: %v", n, err)
						return
					}
					count.Add(1)
				}
			})
		}
	}
	return func() map[string]int64 {
		running.Wait()
		got := map[string]int64{}
		for name, n := range counts {
			got[name] = n.Load()
		}
		return got
	}
}

// dial opens a WebSocket through the front door.
func (s *swapBench) dial() *websocket.Conn {
	s.t.Helper()
	conn, resp, err := websocket.Dial(s.t.Context(), "wss://localhost/ws", &websocket.DialOptions{HTTPClient: s.client(false)})
	if err != nil {
		s.t.Fatalf("websocket: %v, %v", err, resp)
	}
	return conn
}

func echoOnce(ctx context.Context, conn *websocket.Conn, msg string) error {
	if err := conn.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
		return err
	}
	_, got, err := conn.Read(ctx)
	if err == nil && string(got) != msg {
		err = fmt.Errorf("got %q, want %q", got, msg)
	}
	return err
}

// held returns how many parts of old, those of newest left out, some generation still holds.
func held[T any](old, newest shelf[T]) (n int) {
	for digest, part := range old {
		if newest[digest] == part {
			continue
		}
		part.mu.Lock()
		if part.refs != 0 {
			n++
		}
		part.mu.Unlock()
	}
	return n
}

func (p *parts) held(newest *parts) int {
	return held(p.engines, newest.engines) + held(p.limiters, newest.limiters) + held(p.pools, newest.pools) +
		held(p.providers, newest.providers) + held(p.issuers, newest.issuers) + held(p.assertions, newest.assertions)
}

// eventually waits for what nothing tells of.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("not within 30 s: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestSwapsUnderLoad is not parallel: it counts the goroutines of the process.
func TestSwapsUnderLoad(t *testing.T) {
	upstream, other := swapUpstream(t, "u"), swapUpstream(t, "other")
	pool := swapUpstream(t, "no pool at all: nobody signs in here")
	dir := t.TempDir()
	before := runtime.NumGoroutine()
	config := func(i int) string { return swapConfig(i, dir, upstream, other, pool) }
	s := startSwapBench(t, config(0))
	first := s.current

	conn := s.dial()
	stop := make(chan struct{})
	wait := s.load(stop)
	probe := s.client(true)
	generations := []*assembled{first}
	for i := 1; i <= swaps && !t.Failed(); i++ {
		if i%50 == 0 {
			s.refuse(config(i))
		}
		now := s.swap(config(i))
		if now == generations[len(generations)-1] {
			t.Fatalf("swap %d did not happen", i)
		}
		generations = append(generations, now)
		owner := [...]string{"u", "other"}[i%2]
		if err := exchange(probe, http.MethodGet, "/extra/x", "", owner); err != nil {
			t.Fatalf("after swap %d: %v", i, err)
		}
		if err := echoOnce(t.Context(), conn, fmt.Sprint("message ", i)); err != nil {
			t.Fatalf("websocket after swap %d: %v", i, err)
		}
	}
	close(stop)
	for name, n := range wait() {
		t.Logf("%s: %d requests", name, n)
		if n < swaps/4 {
			t.Errorf("%s: got %d requests, want %d at least", name, n, swaps/4)
		}
	}
	s.checkReleased(generations, conn)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for i, g := range generations {
		if n := g.parts.held(newParts()); n != 0 {
			t.Errorf("generation %d after the end: %d parts are still held", i, n)
		}
	}
	probe.CloseIdleConnections()
	eventually(t, "the goroutines of the front door end", func() bool { return runtime.NumGoroutine() <= before })
}

// refuse loads a file with a mistake, which must change nothing.
func (s *swapBench) refuse(good string) {
	s.t.Helper()
	current, cfg := s.current, s.cfg
	for _, bad := range []string{
		strings.Replace(good, "require: optional", "require: anything", 1),
		strings.Replace(good, "127.0.0.1:0", "127.0.0.1:1", 1),
		"{",
	} {
		if got := s.swap(bad); got != current || s.gateway.Current() != current.generation || s.cfg != cfg {
			s.t.Fatal("a file with a mistake changed what runs")
		}
	}
}

// checkReleased wants the parts of all generations closed but those of the newest, and those of the first
// while the WebSocket that entered with it is alive.
func (s *swapBench) checkReleased(generations []*assembled, conn *websocket.Conn) {
	s.t.Helper()
	first, last := generations[0], generations[len(generations)-1]
	for i, g := range generations[1 : len(generations)-1] {
		select {
		case <-g.generation.Done():
		case <-time.After(30 * time.Second):
			s.t.Fatalf("generation %d still has a request inside", i+1)
		}
	}
	select {
	case <-first.generation.Done():
		s.t.Error("the first generation is done although its WebSocket is alive")
	default:
	}
	if err := echoOnce(s.t.Context(), conn, "last words"); err != nil {
		s.t.Errorf("websocket after all swaps: %v", err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil && !errors.Is(err, net.ErrClosed) {
		s.t.Errorf("websocket: %v", err)
	}
	<-first.generation.Done()
	eventually(s.t, "only the newest generation holds parts", func() bool {
		return !slices.ContainsFunc(generations, func(g *assembled) bool { return g.parts.held(last.parts) != 0 })
	})
	if got := first.parts.held(newParts()); got == 0 || !maps.Equal(first.parts.providers, last.parts.providers) {
		s.t.Error("reloads that leave the login alone made a new provider")
	}
}
