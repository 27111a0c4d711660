package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func specOf(t testing.TB, endpoint string) spec {
	t.Helper()
	a, err := parseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return spec{a, 1}
}

// slowly is an upstream that says when a request has come, and answers it with name when it may.
func slowly(t testing.TB, name string) (endpoint string, arrived, answer chan struct{}) {
	t.Helper()
	arrived, answer = make(chan struct{}), make(chan struct{})
	return rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			r := readRequest(br)
			if r == nil {
				return
			}
			if r.URL.Path == "/slow" {
				arrived <- struct{}{}
				<-answer
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n"+name)
		}
	}), arrived, answer
}

func TestAnEndpointThatGoesGetsNoNewRequests(t *testing.T) {
	t.Parallel()
	a, arrived, answer := slowly(t, "a")
	b, _, _ := slowly(t, "b")
	f := newRig(t, "http1", endpoints(a), Options{})
	f.do(t, "GET", "/", nil)
	done := make(chan string, 1)
	go func() {
		_, body := f.do(t, "GET", "/slow", nil)
		done <- body
	}()
	<-arrived
	f.pool.replace([]spec{specOf(t, b)})
	for range 4 {
		if _, body := f.do(t, "GET", "/", nil); body != "b" {
			t.Errorf("a new request: got %q, want b", body)
		}
	}
	close(answer)
	if body := <-done; body != "a" {
		t.Errorf("the request that was under way: got %q, want a", body)
	}
	for range 6 {
		<-f.results
	}
	f.pool.replace(nil)
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 503 || res.Header.Get("X-Reason") != string(ReasonNoEndpoint) {
		t.Errorf("no endpoint is left: got %d %s", res.StatusCode, res.Header.Get("X-Reason"))
	}
}

func TestAnEndpointThatStaysKeepsItsConnections(t *testing.T) {
	t.Parallel()
	a, b := answering(t, okAnswer), answering(t, okAnswer)
	f := newRig(t, "http1", endpoints(a), Options{})
	f.do(t, "GET", "/", nil)
	f.pool.replace([]spec{specOf(t, b), specOf(t, a)})
	for range 2 {
		f.do(t, "GET", "/", nil)
	}
	<-f.results
	for range 2 {
		if r := <-f.results; r.Reused != ("http://"+r.Address == a) {
			t.Errorf("%s: reused %t", r.Address, r.Reused)
		}
	}
}

func TestRequestsAtAnEndpointThatGoesEndWithItsTime(t *testing.T) {
	t.Parallel()
	a, arrived, answer := slowly(t, "a")
	defer close(answer)
	f := newRig(t, "http1", endpoints(a), Options{})
	f.pool.delay = 0
	done := make(chan *http.Response, 1)
	go func() {
		res, _ := f.do(t, "GET", "/slow", nil)
		done <- res
	}()
	<-arrived
	f.pool.replace(nil)
	res := <-done
	if res.StatusCode != 502 || res.Header.Get("X-Reason") != string(ReasonDeregistered) {
		t.Errorf("got %d %s, want 502 deregistered", res.StatusCode, res.Header.Get("X-Reason"))
	}
	if r := <-f.results; r.Attempts != 1 {
		t.Errorf("got %d attempts, want 1", r.Attempts)
	}
}

// busyConn is a connection with a request under way; closed gets one when it is ended.
func busyConn(ep *endpoint) (c *conn, closed chan struct{}) {
	closed = make(chan struct{}, 1)
	c = &conn{ep: ep, sock: &sock{Conn: closing{closed: closed}}}
	ep.enter(c)
	return c, closed
}

type closing struct {
	net.Conn
	closed chan struct{}
}

func (c closing) Close() error {
	select {
	case c.closed <- struct{}{}:
	default:
	}
	return nil
}

func TestTheTimeOfAnEndpointThatGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ep := newEndpoint(specs(1)[0].address, nil)
		_, first := busyConn(ep)
		second, other := busyConn(ep)
		ep.drain(5 * time.Minute)
		<-time.After(5*time.Minute - time.Second)
		select {
		case <-first:
			t.Fatal("ended before the time is over")
		default:
		}
		ep.discard(second)
		<-other
		<-time.After(time.Second)
		synctest.Wait()
		select {
		case <-first:
		default:
			t.Error("the time is over: want the connection ended")
		}
		if _, late := busyConn(ep); len(late) != 1 {
			t.Error("a connection that is dialled after that: want it ended")
		}
	})
}

func TestNothingIsLeftOfAnEndpointWithoutRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ep := newEndpoint(specs(1)[0].address, nil)
		c, _ := busyConn(ep)
		ep.drain(time.Hour)
		ep.discard(c)
		if ep.expiry != nil {
			t.Error("the timer: want it stopped with the last request")
		}
	})
}

// An endpoint that comes while others are well has to show that it is well first; then one good answer is enough.
func TestANewEndpointIsCheckedFirst(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	b.status.Store(500)
	p, told := checked(t, Config{Endpoints: []string{a.URL}, Health: &HealthConfig{Path: "/health", Healthy: 10}})
	<-a.beat
	p.replace([]spec{specOf(t, a.URL), specOf(t, b.URL)})
	if got := answers(t, p, 10); got["a"] != 10 {
		t.Errorf("before a check: got %v", got)
	}
	<-b.beat
	b.status.Store(200)
	if h := hear(t, told); !h.Well || h.Address != strings.TrimPrefix(b.URL, "http://") {
		t.Fatalf("got %+v", h)
	}
	if got := answers(t, p, 10); got["a"] != 5 || got["b"] != 5 {
		t.Errorf("after it: got %v", got)
	}
	p.replace([]spec{specOf(t, b.URL)})
	if got := answers(t, p, 10); got["b"] != 10 || p.Endpoints() != 1 {
		t.Errorf("a has gone: got %v, %d endpoints", got, p.Endpoints())
	}
}

// succeed makes the pool that takes f's place at a reload, and a front before it.
func succeed(t *testing.T, f *rig, cfg Config) *rig {
	t.Helper()
	next, err := NewPool("test", cfg)
	if err != nil {
		t.Fatal(err)
	}
	next.Succeed(f.pool)
	f.pool.Retire()
	next.Start(nil)
	return newRigOf(t, "http1", next, Options{WebSocket: true})
}

func TestAReloadKeepsWhatIsKnownOfEndpoints(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	b.status.Store(500)
	health := &HealthConfig{Path: "/health"}
	p, told := checked(t, Config{Endpoints: []string{a.URL, b.URL}, Health: health})
	hear(t, told)
	f := newRigOf(t, "http1", p, Options{})
	f.do(t, "GET", "/", nil)
	next := succeed(t, f, Config{Endpoints: []string{b.URL, a.URL}, Health: health, ResponseTimeout: "3s"})
	p.Close()
	if _, body := next.do(t, "GET", "/", nil); body != "a" {
		t.Errorf("b was unwell before: got an answer of %q, want a", body)
	}
	if r := <-next.results; !r.Reused {
		t.Error("the connection to a: want it used again")
	}
	if len(next.pool.Ailing()) != 1 {
		t.Errorf("ailing: got %q", next.pool.Ailing())
	}
	third := succeed(t, next, Config{Endpoints: []string{b.URL, a.URL}})
	if got := third.pool.Ailing(); len(got) != 0 {
		t.Errorf("without checks: got %q unwell, want none", got)
	}
}

func TestAReloadThatChangesHowConnectionsAreMadeMakesNewOnes(t *testing.T) {
	t.Parallel()
	up := tlsUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			io.WriteString(c, okAnswer)
		}
	})
	cfg := Config{Endpoints: []string{up}, TLS: TLS{InsecureSkipVerify: true}}
	f := newRig(t, "http1", cfg, Options{})
	f.do(t, "GET", "/", nil)
	same := succeed(t, f, cfg)
	same.do(t, "GET", "/", nil)
	if r := <-same.results; !r.Reused {
		t.Error("the same TLS: want the connection used again")
	}
	cfg.TLS.InsecureSkipVerify = false
	strict := succeed(t, same, cfg)
	if res, _ := strict.do(t, "GET", "/", nil); res.Header.Get("X-Reason") != string(ReasonTLS) {
		t.Errorf("the certificate is verified from now on: got %d %s", res.StatusCode, res.Header.Get("X-Reason"))
	}
}

// Connections in HTTP/2 have their bounds from when they are made.
func TestAReloadChangesTheBoundsOfConnectionsOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"max_idle":         func(c *Config) { c.MaxIdle = 3 },
		"idle_timeout":     func(c *Config) { c.IdleTimeout = "1m" },
		"response_timeout": func(c *Config) { c.ResponseTimeout = "2s" },
		"nothing of that":  func(c *Config) { c.Balance = LeastOutstanding },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := answersH2(t, func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200") })
			f := newRig(t, "http1", cfg, Options{})
			f.do(t, "GET", "/", nil)
			change(&cfg)
			next := succeed(t, f, cfg)
			next.do(t, "GET", "/", nil)
			if r := <-next.results; r.Reused != (name == "nothing of that") || r.Err != nil {
				t.Errorf("the connection was used again: %t (%v)", r.Reused, r.Err)
			}
			if got := next.pool.plan.Load().all[0].h2.limit; got != next.pool.maxIdle {
				t.Errorf("connections at most: got %d, want %d", got, next.pool.maxIdle)
			}
		})
	}
}

func TestAWebSocketOutlastsAReloadAndEndsWithItsEndpoint(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"*"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
	t.Cleanup(up.Close)
	f := newRig(t, "http1", endpoints(up.URL), Options{WebSocket: true})
	c, _, err := websocket.Dial(t.Context(), f.URL, &websocket.DialOptions{HTTPClient: f.client})
	if err != nil {
		t.Fatal(err)
	}
	echo := func() {
		t.Helper()
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	echo()
	next := succeed(t, f, Config{Endpoints: []string{up.URL}, DeregistrationDelay: "0s"})
	f.pool.Close()
	echo()
	next.pool.Retire()
	_, _, err = c.Read(t.Context())
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusGoingAway || closed.Reason != goneReason {
		t.Errorf("got %v, want close code 1001", err)
	}
	if r := <-f.results; !r.Upgraded || !r.Ended || r.Err != nil {
		t.Errorf("result: got %+v, want an upgrade that was ended", r)
	}
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{SlowStart: "100s"}, &now, 1, 1)
	now = now.Add(time.Hour)
	// share is how many of 300 turns c gets.
	share := func() int { return strings.Count(turns(p, 300), "c") }
	p.replace(specs(1, 1, 1))
	last := 0
	for _, at := range []time.Duration{time.Second, 25 * time.Second, 50 * time.Second, 75 * time.Second, 99 * time.Second} {
		now = time.Unix(1000, 0).Add(time.Hour + at)
		// c has at/100 of a share while the others have one each.
		grown := at.Seconds() / 100
		want := 300 * grown / (2 + grown)
		got := share()
		if float64(got) < want-3 || float64(got) > want+3 || got <= last {
			t.Errorf("after %s: got %d of 300 turns, want about %.0f", at, got, want)
		}
		last = got
	}
	now = now.Add(time.Second)
	if got := share(); got != 100 {
		t.Errorf("after all of the time: got %d of 300 turns, want 100", got)
	}
	p.replace(specs(1, 1, 1)[2:])
	if got := share(); got != 300 {
		t.Errorf("alone: got %d of 300 turns, want all", got)
	}
}

// Where all are new, each has its share at once, as with an ALB.
func TestSlowStartIsForThoseThatComeLater(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{SlowStart: "30s"}, &now, 3, 1)
	if got := turns(p, 8); strings.Count(got, "a") != 6 {
		t.Errorf("got %s, want six a and two b", got)
	}
}

// An endpoint that is well again starts slowly, as one that is new.
func TestSlowStartAfterAnIllness(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	b.status.Store(500)
	p, told := checked(t, Config{Endpoints: []string{a.URL, b.URL}, Health: &HealthConfig{Path: "/health"}, SlowStart: "15m"})
	hear(t, told)
	b.status.Store(200)
	hear(t, told)
	if got := answers(t, p, 101); got["b"] != 1 {
		t.Errorf("b is well again: got %v, want one request of a hundred for it", got)
	}
}
