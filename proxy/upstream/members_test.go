package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
