package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// Everybody waits for one dial: a client that leaves, or many that come and leave, must not end it for the others.
func TestAClientThatLeavesDoesNotEndTheDial(t *testing.T) {
	t.Parallel()
	dialled, let := make(chan struct{}, 10), make(chan struct{})
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	up.EnableHTTP2 = true
	up.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		dialled <- struct{}{}
		<-let
		return nil, nil
	}}
	up.StartTLS()
	t.Cleanup(up.Close)
	entered := make(chan context.Context, 10)
	f := newRig(t, "http1", Config{
		Endpoints: []string{up.URL}, Protocol: HTTP2, TLS: TLS{InsecureSkipVerify: true}, ConnectTimeout: "1m",
	}, Options{Out: func(in *http.Request, _ http.Header) error {
		entered <- in.Context()
		return nil
	}})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", f.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if res, err := f.client.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-dialled
	leave()
	<-left
	<-(<-entered).Done()
	close(let)
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 200 {
		t.Errorf("got %d, want 200", res.StatusCode)
	}
	for range 2 { // in either order
		var e *Error
		if r := <-f.results; r.Err != nil && (!errors.As(r.Err, &e) || e.Reason != ReasonClientGone) {
			t.Errorf("got %v", r.Err)
		}
	}
	if n := len(dialled); n != 0 {
		t.Errorf("dialled %d times more, want once in all", n)
	}
}

func TestStreamsAndConnections(t *testing.T) {
	t.Parallel()
	t.Run("requests share a connection", func(t *testing.T) {
		t.Parallel()
		const n = 50
		var conns atomic.Int64
		cfg := framed(t, nil, func(_ int, p *h2Peer) {
			conns.Add(1)
			for f := p.request(); f != nil; f = p.request() {
				if len(p.ids) < n {
					continue
				}
				for _, id := range p.ids {
					p.head(id, true, ":status", "200")
				}
			}
		})
		f := newRig(t, "http2", cfg, Options{})
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 200 {
					t.Errorf("got %d, want 200", res.StatusCode)
				}
			})
		}
		wg.Wait()
		if got := conns.Load(); got != 1 {
			t.Errorf("got %d connections for %d requests at once, want 1", got, n)
		}
	})
	t.Run("another connection takes what is over the limit of streams", func(t *testing.T) {
		t.Parallel()
		arrived, let := make(chan int), make(chan struct{})
		cfg := framed(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 1}}, func(n int, p *h2Peer) {
			for f := p.request(); f != nil; f = p.request() {
				arrived <- n
				<-let
				p.head(f.StreamID, true, ":status", "200")
			}
		})
		f := newRig(t, "http1", cfg, Options{})
		go func() { <-arrived; let <- struct{}{} }()
		f.do(t, "GET", "/", nil) // from here on the settings are known
		over := make(chan int, 2)
		for want := range 2 {
			go func() {
				res, _ := f.do(t, "GET", "/", nil)
				over <- res.StatusCode
			}()
			if got := <-arrived; got != want+1 {
				t.Errorf("request %d: got connection %d, want %d", want, got, want+1)
			}
		}
		for range 2 {
			let <- struct{}{}
			if got := <-over; got != 200 {
				t.Errorf("got %d, want 200", got)
			}
		}
	})
	t.Run("a request waits for a stream where there may be no other connection", func(t *testing.T) {
		t.Parallel()
		arrived, let := make(chan struct{}), make(chan struct{})
		cfg := framed(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 1}}, func(_ int, p *h2Peer) {
			for f := p.request(); f != nil; f = p.request() {
				arrived <- struct{}{}
				<-let
				p.head(f.StreamID, true, ":status", "200")
			}
		})
		cfg.MaxIdle = 1
		f := newRig(t, "http1", cfg, Options{})
		go func() { <-arrived; let <- struct{}{} }()
		f.do(t, "GET", "/", nil) // from here on the settings are known
		over := make(chan int, 2)
		for range 2 {
			go func() {
				res, _ := f.do(t, "GET", "/", nil)
				over <- res.StatusCode
			}()
		}
		<-arrived
		let <- struct{}{}
		<-arrived
		let <- struct{}{}
		for range 2 {
			if got := <-over; got != 200 {
				t.Errorf("got %d, want 200", got)
			}
		}
	})
	t.Run("but not for ever", func(t *testing.T) {
		t.Parallel()
		arrived, let := make(chan struct{}), make(chan struct{})
		cfg := framed(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 1}}, func(_ int, p *h2Peer) {
			for f := p.request(); f != nil; f = p.request() {
				arrived <- struct{}{}
				<-let
				p.head(f.StreamID, true, ":status", "200")
			}
		})
		cfg.MaxIdle, cfg.ConnectTimeout = 1, "50ms"
		f := newRig(t, "http1", cfg, Options{})
		go func() { <-arrived; let <- struct{}{} }()
		f.do(t, "GET", "/", nil)
		over := make(chan int, 1)
		go func() {
			res, _ := f.do(t, "GET", "/", nil)
			over <- res.StatusCode
		}()
		<-arrived
		res, _ := f.do(t, "GET", "/", nil)
		if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != 503 || got != ReasonBusy {
			t.Errorf("got %d %s, want 503 %s", res.StatusCode, got, ReasonBusy)
		}
		let <- struct{}{}
		if got := <-over; got != 200 {
			t.Errorf("the one before: got %d, want 200", got)
		}
	})
	t.Run("an idle connection is closed", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{})
		cfg := framed(t, nil, func(_ int, p *h2Peer) {
			for f := p.request(); f != nil; f = p.request() {
				p.head(f.StreamID, true, ":status", "200")
			}
			close(ended)
		})
		cfg.IdleTimeout = "20ms"
		f := newRig(t, "http1", cfg, Options{})
		f.do(t, "GET", "/", nil)
		<-ended
	})
	t.Run("the pool's end closes a connection after its last request", func(t *testing.T) {
		t.Parallel()
		arrived, let, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		cfg := framed(t, nil, func(_ int, p *h2Peer) {
			for f := p.request(); f != nil; f = p.request() {
				arrived <- struct{}{}
				<-let
				p.head(f.StreamID, true, ":status", "200")
			}
			close(ended)
		})
		f := newRig(t, "http1", cfg, Options{})
		over := make(chan int, 1)
		go func() {
			res, _ := f.do(t, "GET", "/", nil)
			over <- res.StatusCode
		}()
		<-arrived
		f.pool.Close()
		let <- struct{}{}
		if got := <-over; got != 200 {
			t.Errorf("got %d, want 200", got)
		}
		<-ended
	})
	t.Run("an endpoint that goes has its time to finish", func(t *testing.T) {
		t.Parallel()
		arrived := make(chan struct{})
		cfg := framed(t, nil, func(_ int, p *h2Peer) {
			for f := p.request(); f != nil; f = p.request() {
				close(arrived)
			}
		})
		f := newRig(t, "http1", cfg, Options{})
		f.pool.delay = 20 * time.Millisecond
		over := make(chan struct{})
		go func() {
			defer close(over)
			res, _ := f.do(t, "GET", "/", nil)
			if got := Reason(res.Header.Get("X-Reason")); res.StatusCode != 502 || got != ReasonDeregistered {
				t.Errorf("got %d %s, want 502 %s", res.StatusCode, got, ReasonDeregistered)
			}
		}()
		<-arrived
		f.pool.replace(nil)
		<-over
	})
}
