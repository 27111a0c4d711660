package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestShutdownDrainsRequestsAndClosesIdleConnections(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 2), make(chan struct{})
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-release
		}
		echo(w, r)
	}), Options{})
	idle := f.dial(t, "https")
	br := bufio.NewReader(idle)
	send(t, idle, get)
	_ = next(t, br)

	statuses := make(chan string, 2)
	for _, h2 := range []bool{false, true} {
		go func() {
			resp, err := f.client(t, h2).Get("https://" + f.tls + "/slow")
			if err != nil {
				statuses <- err.Error()
				return
			}
			_ = resp.Body.Close()
			statuses <- resp.Status
		}()
	}
	<-entered
	<-entered
	done := make(chan error)
	go func() { done <- f.Shutdown(soon(t)) }()
	if got, err := br.ReadByte(); err != io.EOF {
		t.Errorf("idle connection: read %q, %v; want EOF", got, err)
	}
	if c, err := net.Dial("tcp", f.tls); err == nil {
		_ = c.Close()
		t.Error("a connection was accepted while the server shuts down")
	}
	close(release)
	for range 2 {
		if got := <-statuses; got != "200 OK" {
			t.Errorf("request in flight: %s, want 200 OK", got)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := f.Stats(); got.Serving != 0 || got.Handshaking != 0 || got.Upgraded != 0 {
		t.Errorf("open connections: %+v, want none", got)
	}
}

// Who is answered while the server shuts down hears that its connection ends, and a connection that has just been made
// may still send the request that it was made for.
func TestShutdownAnswersWhoIsThere(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
		echo(w, r)
	}), Options{})
	slow, fresh := f.dial(t, "https"), f.dial(t, "http")
	await(t, func() bool { return f.Stats().Serving == 2 })
	send(t, slow, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"+get)
	<-entered
	done := make(chan error)
	go func() { done <- f.Shutdown(soon(t)) }()
	await(t, f.closing.Load)
	close(release)
	send(t, fresh, get)
	for _, c := range []net.Conn{slow, fresh} {
		got, err := io.ReadAll(c)
		if !strings.Contains(string(got), "\r\nConnection: close\r\n") || strings.Count(string(got), "HTTP/1.1") != 1 || err != nil {
			t.Errorf("got %q, %v, want one answer that says that it is the last", got, err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownWaitsForUpgradedConnections(t *testing.T) {
	t.Parallel()
	for _, graceful := range []bool{true, false} {
		f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
			c, brw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "x")
			_, _ = io.Copy(io.Discard, brw)
		}), Options{})
		c := f.dial(t, "https")
		send(t, c, "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\n")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if got := f.Stats().Upgraded; got != 1 {
			t.Errorf("%d upgraded connections, want 1", got)
		}
		ctx, cancel := context.WithCancel(soon(t))
		done := make(chan error)
		go func() { done <- f.Shutdown(ctx) }()
		await(t, f.closing.Load)
		want := error(nil)
		if graceful {
			_ = c.Close()
		} else {
			cancel()
			want = context.Canceled
		}
		if err := <-done; !errors.Is(err, want) {
			t.Errorf("Shutdown: %v, want %v", err, want)
		}
		if got := f.handlers.Load(); got != 0 {
			t.Errorf("%d handlers run after Shutdown, want 0", got)
		}
		cancel()
	}
}

// A connection that was taken over is its new owner's, also when the handler has returned.
func TestShutdownLeavesTakenConnectionsAlone(t *testing.T) {
	t.Parallel()
	taken := make(chan net.Conn, 1)
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		taken <- c
	}), Options{})
	c := f.dial(t, "https")
	send(t, c, get)
	nc := <-taken
	await(t, func() bool { return f.handlers.Load() == 0 })
	done := make(chan error)
	go func() { done <- f.Shutdown(soon(t)) }()
	await(t, f.closing.Load)
	_, _ = io.WriteString(nc, "x")
	_ = nc.Close()
	if got, err := io.ReadAll(c); string(got) != "x" || err != nil {
		t.Errorf("got %q, %v, want what the owner wrote", got, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownSendsGoAway(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	c, err := tls.Dial("tcp", f.tls, &tls.Config{RootCAs: f.roots, ServerName: "a.test", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	send(t, c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var settings map[http2.SettingID]uint32
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("no GOAWAY before: %v", err)
		}
		switch fm := frame.(type) {
		case *http2.SettingsFrame:
			if fm.IsAck() {
				go func() { _ = f.Shutdown(soon(t)) }()
				continue
			}
			settings = make(map[http2.SettingID]uint32)
			_ = fm.ForeachSetting(func(s http2.Setting) error { settings[s.ID] = s.Val; return nil })
		case *http2.GoAwayFrame:
			if fm.ErrCode != http2.ErrCodeNo {
				t.Errorf("GOAWAY with %v, want NO_ERROR", fm.ErrCode)
			}
			if got := settings[http2.SettingMaxConcurrentStreams]; got != 100 {
				t.Errorf("%d streams allowed, want 100", got)
			}
			if got := settings[http2.SettingMaxFrameSize]; got != 16384 {
				t.Errorf("frames of %d bytes allowed, want 16384", got)
			}
			return
		}
	}
}

// Not parallel: it counts goroutines of this package.
func TestShutdownLeavesNoGoroutine(t *testing.T) {
	before := ours()
	f := newFront(t, answer(echo), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		send(t, c, get)
		_ = next(t, bufio.NewReader(c))
		_ = f.dial(t, scheme) // never speaks
	}
	silent, err := net.Dial("tcp", f.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = f.Shutdown(ctx)
	await(t, func() bool { return ours() <= before })
}

// ours counts goroutines that run code of this package or of net/http's server.
func ours() (n int) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "wire.(*Server)") || strings.Contains(g, "net/http.(*conn)") {
			n++
		}
	}
	return n
}

func TestServeAfterShutdown(t *testing.T) {
	t.Parallel()
	s := NewServer(answer(echo), Options{})
	if err := s.Shutdown(soon(t)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	ln := listen(t)
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve: %v, want %v", err, http.ErrServerClosed)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want the listener closed", err)
	}
}
