package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slow sends a request that is answered when the test wants it, and waits for it to arrive.
func (f *rig) slow(t *testing.T, arrived <-chan struct{}) (status <-chan int) {
	t.Helper()
	done := make(chan int, 1)
	go func() {
		res, _ := f.do(t, "GET", "/slow", nil)
		done <- res.StatusCode
	}()
	<-arrived
	return done
}

func overloaded(res *http.Response) bool {
	return res.StatusCode == 503 && res.Header.Get("X-Reason") == string(ReasonOverloaded)
}

func TestCircuit(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for _, tt := range []struct {
			name string
			cfg  CircuitConfig
			room int
		}{
			{"in all", CircuitConfig{MaxRequests: 3}, 3},
			{"for each endpoint", CircuitConfig{MaxEndpointRequests: 1}, 2},
			{"both", CircuitConfig{MaxRequests: 1, MaxEndpointRequests: 1}, 1},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				a, arrived, answer := slowly(t, "a")
				b, arrivedB, answerB := slowly(t, "b")
				go func() {
					for range arrivedB {
						arrived <- struct{}{}
					}
				}()
				t.Cleanup(func() { close(arrivedB) })
				f := newRig(t, proto, Config{Endpoints: []string{a, b}, Circuit: &tt.cfg}, Options{})
				var under []<-chan int
				for range tt.room {
					under = append(under, f.slow(t, arrived))
				}
				for range 3 {
					res, _ := f.do(t, "GET", "/", nil)
					if r := <-f.results; !overloaded(res) || r.Attempts != 0 {
						t.Errorf("no room: got %d %s, %+v", res.StatusCode, res.Header.Get("X-Reason"), r)
					}
				}
				if n := f.pool.Stats().Overloaded; n != 3 {
					t.Errorf("overloaded: got %d, want 3", n)
				}
				close(answer)
				close(answerB)
				for _, status := range under {
					if s := <-status; s != 200 {
						t.Errorf("under way: got %d", s)
					}
					<-f.results
				}
				for range 8 {
					if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 200 {
						t.Errorf("there is room again: got %d", res.StatusCode)
					}
					<-f.results
				}
			})
		}
	})
}

func TestRequestsWaitForRoom(t *testing.T) {
	t.Parallel()
	up, arrived, answer := slowly(t, "a")
	f := newRig(t, "http1", Config{Endpoints: []string{up}, ConnectTimeout: "1h", Circuit: &CircuitConfig{MaxRequests: 1, MaxPending: 2}}, Options{})
	first := f.slow(t, arrived)
	waiting := make(chan int, 2)
	for range 2 {
		go func() {
			res, _ := f.do(t, "POST", "/", strings.NewReader("x"))
			waiting <- res.StatusCode
		}()
	}
	queued(t, f.pool, 2)
	if res, _ := f.do(t, "GET", "/", nil); !overloaded(res) {
		t.Errorf("the queue is full: got %d", res.StatusCode)
	}
	close(answer)
	for _, status := range []<-chan int{first, waiting, waiting} {
		if s := <-status; s != 200 {
			t.Errorf("got %d, want 200", s)
		}
	}
}

// queued waits until so many requests wait.
func queued(t *testing.T, p *Pool, n int64) {
	t.Helper()
	for p.circuit.waiting.Load() != n {
		select {
		case <-t.Context().Done():
			t.Fatal("not so many wait")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAClientThatLeavesTheQueueGivesUpItsPlace(t *testing.T) {
	t.Parallel()
	up, arrived, answer := slowly(t, "a")
	f := newRig(t, "http1", Config{Endpoints: []string{up}, ConnectTimeout: "1h", Circuit: &CircuitConfig{MaxRequests: 1, MaxPending: 1}}, Options{})
	first := f.slow(t, arrived)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", f.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		res, err := f.client.Do(r)
		if err == nil {
			res.Body.Close()
		}
		left <- err
	}()
	queued(t, f.pool, 1)
	leave()
	if err := <-left; err == nil {
		t.Fatal("the client has not left")
	}
	queued(t, f.pool, 0)
	if r := <-f.results; r.Err == nil || !strings.Contains(r.Err.Error(), string(ReasonClientGone)) {
		t.Errorf("got %v", r.Err)
	}
	close(answer)
	if s := <-first; s != 200 {
		t.Errorf("got %d", s)
	}
}

// An upstream without room is not down: what is known to be unwell, and the upstream to fail over to, get nothing of it.
func TestOverloadGoesNowhereElse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  CircuitConfig
	}{
		{"in all", CircuitConfig{MaxRequests: 1}},
		{"for each endpoint", CircuitConfig{MaxEndpointRequests: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			up, arrived, answer := slowly(t, "a")
			unwell, said, asked := fickle(t)
			said.Store(unavailable)
			spareURL, _, spared := fickle(t)
			spare := c.pool(t, Config{Endpoints: []string{spareURL}})
			p := c.pool(t, Config{Endpoints: []string{unwell, up}, Passive: &PassiveConfig{Failures: 1}, Circuit: &tt.cfg})
			f := newRigOf(t, "http1", p, Options{Failover: spare})
			f.do(t, "GET", "/", nil)
			first := f.slow(t, arrived)
			for range 3 {
				if res, _ := f.do(t, "GET", "/", nil); !overloaded(res) {
					t.Errorf("no room: got %d %s", res.StatusCode, res.Header.Get("X-Reason"))
				}
			}
			if asked.Load() != 1 || spared.Load() != 0 {
				t.Errorf("the unwell endpoint got %d requests and the other upstream %d, want 1 and 0", asked.Load(), spared.Load())
			}
			close(answer)
			if s := <-first; s != 200 {
				t.Errorf("got %d", s)
			}
		})
	}
}

func TestEveryWayOutGivesThePlaceBack(t *testing.T) {
	t.Parallel()
	silent := func(c net.Conn, br *bufio.Reader) { br.ReadByte() }
	says := func(s string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, _ *bufio.Reader) { io.WriteString(c, s) }
	}
	for _, tt := range []struct {
		name   string
		answer func(c net.Conn, br *bufio.Reader)
		opts   Options
		send   string // "" is a GET
		leave  bool   // the client leaves when the upstream has its request
	}{
		{name: "an answer", answer: says(okAnswer)},
		{name: "no answer", answer: says("")},
		{name: "a malformed one", answer: says("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")},
		{name: "one that breaks off", answer: says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")},
		{name: "silence", answer: silent},
		{name: "a client that leaves", answer: silent, leave: true},
		{name: "a client that leaves the answer", answer: func(c net.Conn, br *bufio.Reader) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
			br.ReadByte()
		}, leave: true},
		{
			name: "a client that leaves its body", answer: silent, leave: true,
			send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nab",
		},
		{
			name: "a body that is none", answer: silent,
			send: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		},
		{name: "a hook that refuses", answer: silent, opts: Options{Out: func(*http.Request, http.Header) error { return errors.New("no") }}},
		{name: "a hook that sets what it may not", answer: silent, opts: Options{Out: func(_ *http.Request, out http.Header) error {
			out["Connection"] = []string{"close"}
			return nil
		}}},
		{name: "a hook that panics", answer: says(okAnswer), opts: Options{Response: func(*http.Request, http.Header) { panic(http.ErrAbortHandler) }}},
		{
			name: "an upgrade that is none", answer: says("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), opts: Options{WebSocket: true},
			send: "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		},
		{
			name: "an upgrade", answer: says("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"), opts: Options{WebSocket: true},
			send: "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, to := range []way{HTTP1, HTTP2} {
				arrived := make(chan struct{}, 10)
				cfg := to.config(t, rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
					if _, err := http.ReadRequest(br); err == nil {
						arrived <- struct{}{}
						tt.answer(c, br)
					}
				}))
				cfg.Circuit, cfg.ResponseTimeout = &CircuitConfig{MaxRequests: 1}, "200ms"
				if tt.leave {
					cfg.ResponseTimeout = "1h"
				}
				f := newRig(t, "http1", cfg, tt.opts)
				c, br := f.rawDial(t)
				send := tt.send
				if send == "" {
					send = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
				}
				io.WriteString(c, send)
				if tt.leave {
					<-arrived
				} else {
					http.ReadResponse(br, nil)
				}
				c.Close()
				under := func() int64 { return f.pool.circuit.active.Load() + f.pool.plan.Load().all[0].outstanding.Load() }
				for under() != 0 {
					select {
					case <-t.Context().Done():
						t.Fatalf("to %s: its place is not free", to)
					case <-time.After(time.Millisecond):
					}
				}
			}
		})
	}
}

func TestTheQueue(t *testing.T) {
	t.Parallel()
	never := func() bool { return false }
	t.Run("waits no longer than it may", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			k := newCircuit(&CircuitConfig{MaxRequests: 1, MaxPending: 1})
			start := time.Now()
			if k.await(t.Context(), 10*time.Second, never) || time.Since(start) != 10*time.Second {
				t.Errorf("ended after %s", time.Since(start))
			}
			if k.waiting.Load() != 0 {
				t.Error("its place: want it given up")
			}
		})
	})
	t.Run("serves who comes first, first", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			k := newCircuit(&CircuitConfig{MaxRequests: 1, MaxPending: 10})
			room, order := 0, ""
			for _, name := range []string{"a", "b", "c"} {
				go k.await(t.Context(), time.Hour, func() bool {
					if room == 0 {
						return false
					}
					room--
					order += name
					return true
				})
				synctest.Wait()
			}
			for range 3 {
				k.wake() // in vain: somebody else took the room
				synctest.Wait()
				room++
				k.wake()
				synctest.Wait()
			}
			if order != "abc" {
				t.Errorf("got %q, want abc", order)
			}
		})
	})
	t.Run("passes on what comes to one that leaves", func(t *testing.T) {
		t.Parallel()
		k := newCircuit(&CircuitConfig{MaxRequests: 1, MaxPending: 2})
		first, second := k.join(false), k.join(false)
		k.wake()
		k.quit(first) // called, and gone meanwhile
		select {
		case <-second:
		default:
			t.Error("the next one: want it called")
		}
		for i, free := range []bool{true, true, false} {
			if got := k.join(false) != nil; got != free {
				t.Errorf("place %d: free %t, want %t", i, got, free)
			}
		}
	})
}

func TestRetryBudget(t *testing.T) {
	t.Parallel()
	k := newRetries(&RetryConfig{Budget: 20, Minimum: 1})
	now := time.Unix(1000, 0)
	allowed := func(requests uint64) (n int) {
		for k.allow(now, requests) {
			n++
		}
		return n
	}
	for _, tt := range []struct {
		name     string
		pass     time.Duration
		requests uint64
		want     int
	}{
		{"the minimum of ten seconds", 0, 5000, 10},
		{"a fifth of a hundred requests", time.Second, 5100, 20},
		{"of a hundred more", 8 * time.Second, 5200, 20},
		{"another ten seconds", time.Second, 5200, 10},
	} {
		now = now.Add(tt.pass)
		if got := allowed(tt.requests); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestTheBudgetBoundsRetries(t *testing.T) {
	t.Parallel()
	good := answering(t, okAnswer)
	p := newClock().pool(t, Config{
		Endpoints: []string{refusing(t), good}, Passive: &PassiveConfig{Failures: 1000}, Retry: &RetryConfig{Budget: 1, Minimum: 1},
	})
	f := newRigOf(t, "http1", p, Options{})
	got := map[int]int{}
	for range 40 {
		res, _ := f.do(t, "GET", "/", nil)
		got[res.StatusCode]++
	}
	// Every second request meets the one that refuses. Ten may try again; the others get what there is.
	if got[200] != 30 || got[502] != 10 {
		t.Errorf("got %v, want 30 answers and 10 refusals", got)
	}
	if s := p.Stats(); s.Retries != 10 || s.RetriesRefused != 10 {
		t.Errorf("got %+v", s)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]int{0: 3, 1: 1, 5: 5, 10: 6} {
		var urls []string
		for range 6 {
			urls = append(urls, refusing(t))
		}
		f := newRig(t, "http1", Config{Endpoints: urls, Retry: &RetryConfig{Attempts: attempts}}, Options{})
		res, _ := f.do(t, "GET", "/", nil)
		if r := <-f.results; res.StatusCode != 502 || r.Attempts != want {
			t.Errorf("%d: got %d in %d attempts, want %d", attempts, res.StatusCode, r.Attempts, want)
		}
	}
}
