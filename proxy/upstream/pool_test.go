package upstream

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"

// refusing is an endpoint at which nobody listens.
func refusing(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func TestRetries(t *testing.T) {
	t.Parallel()
	// Each connection answers its first request. The second one is read and then dies, as when the upstream's idle
	// timeout strikes while the request is on its way.
	for _, tt := range []struct {
		name, method string
		body         io.Reader
		second       string // what the dying connection still says
		status       int
		attempts     int
	}{
		{"GET is sent again", "GET", nil, "", 200, 2},
		{"HEAD is sent again", "HEAD", nil, "", 200, 2},
		{"PUT with a body that is at hand is sent again", "PUT", strings.NewReader("abc"), "", 200, 2},
		{"DELETE is sent again", "DELETE", nil, "", 200, 2},
		{"POST is not", "POST", strings.NewReader("abc"), "", 502, 1},
		{"POST without a body is not", "POST", nil, "", 502, 1},
		{"PATCH is not", "PATCH", nil, "", 502, 1},
		{"PUT with a body that went through is not", "PUT", io.MultiReader(strings.NewReader("abc")), "", 502, 1},
		{"nothing is after a byte of an answer", "GET", nil, "H", 502, 1},
		{"nothing is after a 1xx", "GET", nil, "HTTP/1.1 103 x\r\n\r\n", 502, 1},
		{"nothing is after a malformed answer", "GET", nil, "HTTP/9.9 200 OK\r\n\r\n", 502, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			up := rawUpstream(t, func(n int, c net.Conn, br *bufio.Reader) {
				for i := 1; readRequest(br) != nil; i++ {
					if n == 1 && i == 2 {
						io.WriteString(c, tt.second)
						return
					}
					io.WriteString(c, strings.TrimSuffix(okAnswer, "ok"))
					if tt.method != "HEAD" || n == 1 {
						io.WriteString(c, "ok")
					}
				}
			})
			f := newRig(t, "http1", endpoints(up), Options{})
			f.do(t, "GET", "/", nil)
			if r := <-f.results; r.Attempts != 1 || r.Reused || r.Connect <= 0 {
				t.Errorf("first: got %+v", r)
			}
			res, _ := f.do(t, tt.method, "/", tt.body)
			r := <-f.results
			if res.StatusCode != tt.status || r.Attempts != tt.attempts {
				t.Errorf("got %d in %d attempts (%v), want %d in %d", res.StatusCode, r.Attempts, r.Err, tt.status, tt.attempts)
			}
			if r.Reused != (tt.attempts == 1) {
				t.Errorf("reused: got %t: a retry goes over a new connection", r.Reused)
			}
		})
	}
}

func TestAFreshConnectionThatDiesIsNotRetried(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) {
		conns.Add(1)
		readRequest(br)
	})
	f := newRig(t, "http1", endpoints(up), Options{})
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 502 || conns.Load() != 1 {
		t.Errorf("got %d over %d connections, want 502 over 1", res.StatusCode, conns.Load())
	}
}

func TestIdleConnectionsAreLookedAtBeforeUse(t *testing.T) {
	t.Parallel()
	const poison = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 6\r\n\r\npoison"
	for _, secure := range []bool{false, true} {
		for _, tt := range []struct {
			name  string
			with  string // sent together with the first answer
			after string // sent once that answer was relayed
			close bool
		}{
			{name: "closed", close: true},
			{name: "bytes that nobody asked for", after: poison},
			{name: "one byte", after: "H"},
			{name: "bytes in the answer's wake", with: poison},
			{name: "bytes before the end", after: poison, close: true},
		} {
			t.Run(fmt.Sprintf("%s, TLS %t", tt.name, secure), func(t *testing.T) {
				t.Parallel()
				idle, done := make(chan struct{}), make(chan struct{})
				serve := func(n int, c net.Conn, br *bufio.Reader) {
					if n > 1 {
						for readRequest(br) != nil {
							io.WriteString(c, okAnswer)
						}
						return
					}
					readRequest(br)
					io.WriteString(c, okAnswer+tt.with)
					<-idle
					io.WriteString(c, tt.after)
					if tt.close {
						c.Close()
					}
					close(done)
					io.Copy(io.Discard, br)
				}
				var up string
				cfg := Config{}
				if secure {
					up = tlsUpstream(t, serve)
					cfg.TLS.InsecureSkipVerify = true
				} else {
					up = rawUpstream(t, serve)
				}
				cfg.Endpoints = []string{up}
				f := newRig(t, "http1", cfg, Options{})
				f.do(t, "POST", "/", nil)
				close(idle)
				<-done
				res, body := f.do(t, "POST", "/", nil) // not to be retried: it must not be sent in vain
				<-f.results
				if r := <-f.results; res.StatusCode != 200 || body != "ok" || r.Reused || r.Attempts != 1 {
					t.Errorf("got %d %q (%+v), want 200 ok over a new connection", res.StatusCode, body, r)
				}
				f.do(t, "POST", "/", nil)
				if r := <-f.results; !r.Reused {
					t.Error("a quiet connection: want it reused")
				}
			})
		}
	}
}

// tlsUpstream is rawUpstream behind TLS.
func tlsUpstream(t testing.TB, serve func(n int, c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS() // for its certificate
	cfg := s.TLS.Clone()
	cfg.NextProtos = nil
	s.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveRaw(t, tls.NewListener(ln, cfg), serve)
	return "https://" + ln.Addr().String()
}

func TestIdleConnectionsExpire(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	var conns atomic.Int32
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for readRequest(br) != nil {
			io.WriteString(c, okAnswer)
		}
	})
	pool, err := newPool("x", Config{Endpoints: []string{up}, MaxIdle: 3}, clock)
	if err != nil {
		t.Fatal(err)
	}
	f := newRigOf(t, "http1", pool, Options{})
	f.do(t, "GET", "/", nil)
	now.Add(54)
	f.do(t, "GET", "/", nil)
	if conns.Load() != 1 {
		t.Errorf("after 54 s: got %d connections, want 1", conns.Load())
	}
	now.Add(55)
	f.do(t, "GET", "/", nil)
	if conns.Load() != 2 || idle(pool) != 1 {
		t.Errorf("after 55 s: got %d connections, %d idle; want 2 and 1", conns.Load(), idle(pool))
	}
}

func TestTheNumberOfIdleConnectionsIsBounded(t *testing.T) {
	t.Parallel()
	const parallel = 8
	var arrived sync.WaitGroup
	arrived.Add(parallel)
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			arrived.Done()
			arrived.Wait() // all at once
			io.WriteString(c, okAnswer)
		}
	})
	f := newRig(t, "http1", Config{Endpoints: []string{up}, MaxIdle: 3}, Options{})
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() { f.do(t, "GET", "/", nil) })
	}
	wg.Wait()
	for range parallel {
		<-f.results
	}
	if n := idle(f.pool); n != 3 {
		t.Errorf("idle connections: got %d, want 3", n)
	}
}

func TestEndpointsTakeTurns(t *testing.T) {
	t.Parallel()
	var urls []string
	for i := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) }))
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	f := newRig(t, "http1", endpoints(urls...), Options{})
	got := ""
	for range 6 {
		_, body := f.do(t, "GET", "/", nil)
		got += body
	}
	if got != "012012" {
		t.Errorf("got %s, want 012012", got)
	}
}

func TestAnEndpointThatRefusesIsAvoidedForAWhile(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	now.Store(1000)
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	dead, alive := refusing(t), answering(t, okAnswer)
	pool, err := newPool("x", endpoints(dead, alive), clock)
	if err != nil {
		t.Fatal(err)
	}
	f := newRigOf(t, "http1", pool, Options{})
	for i, want := range []int{2, 1, 1, 1} {
		// POST: nothing was sent to the one that refused, so the other may have it.
		res, _ := f.do(t, "POST", "/", strings.NewReader("x"))
		if r := <-f.results; res.StatusCode != 200 || r.Attempts != want || "http://"+r.Address != alive {
			t.Errorf("request %d: got %d in %d attempts at %s, want 200 in %d", i, res.StatusCode, r.Attempts, r.Address, want)
		}
	}
	now.Add(int64(avoidFor / time.Second))
	if f.do(t, "GET", "/", nil); (<-f.results).Attempts != 2 {
		t.Error("after a while: want it tried again")
	}
}

func TestEndpointsThatAllRefuse(t *testing.T) {
	t.Parallel()
	f := newRig(t, "http1", endpoints(refusing(t), refusing(t)), Options{})
	for range 3 { // avoided ones are better than none
		res, _ := f.do(t, "GET", "/", nil)
		if r := <-f.results; res.StatusCode != 502 || res.Header.Get("X-Reason") != string(ReasonRefused) || r.Attempts != 2 {
			t.Errorf("got %d %s in %d attempts, want 502 in 2", res.StatusCode, res.Header.Get("X-Reason"), r.Attempts)
		}
	}
}

func TestRotationGivesEachEndpointOnce(t *testing.T) {
	t.Parallel()
	p, err := NewPool("x", endpoints("http://a", "http://b", "http://c"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	p.now = func() time.Time { return now }
	p.failed(p.plan.Load().all[1].endpoint, "test", true)
	for _, want := range []string{"a:80 c:80 b:80", "c:80 a:80 b:80", "a:80 c:80 b:80"} {
		var got []string
		for turn := p.rotation(now, nil, nil); ; {
			ep, _ := turn.next()
			if ep == nil {
				break
			}
			got = append(got, ep.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Id", r.Header.Get("X-Id"))
			fmt.Fprintf(w, "%s %s", r.URL.RawQuery, b)
		}))
		t.Cleanup(up.Close)
		f := newRig(t, proto, endpoints(up.URL), Options{})
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 30 {
					id := fmt.Sprintf("%d-%d", g, i)
					res, body := f.do(t, "POST", "/?"+id, strings.NewReader(strings.Repeat(id, 1+i*200)), "X-Id", id)
					if want := id + " " + strings.Repeat(id, 1+i*200); body != want || res.Header.Get("X-Id") != id {
						t.Errorf("%s: got %.40q %q", id, body, res.Header.Get("X-Id"))
					}
				}
			})
		}
		wg.Wait()
	})
}

// nullWriter keeps the header and counts the body of one answer.
type nullWriter struct {
	h http.Header
	n int
}

func (w *nullWriter) Header() http.Header { return w.h }
func (w *nullWriter) WriteHeader(int)     { w.n = 0 }
func (w *nullWriter) Write(p []byte) (int, error) {
	w.n += len(p)
	return len(p), nil
}
