package wire

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSilentHandshakesDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for range 2 * maxHandshakes() {
		c, err := net.Dial("tcp", f.tls)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		send(t, c, "\x16\x03\x01\x02\x00")
	}
	await(t, func() bool { return f.Stats().Handshaking == 2*maxHandshakes() })
	c := f.dial(t, "https")
	send(t, c, get)
	equal(t, []string{next(t, bufio.NewReader(c))}, "200 GET /")
}

// A client that has the server ask for another key share first gets no more of it than one that has not.
func TestHandshakesThatAreRetriedComputeInTurn(t *testing.T) {
	t.Parallel()
	s := NewServer(answer(echo), Options{})
	ln := listen(t)
	cert, roots := certificate(t)
	var computing, most atomic.Int64
	tc := &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		n := computing.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-time.After(100 * time.Millisecond) // nothing to wait for: it is what takes long
		computing.Add(-1)
		return &cert, nil
	}}
	var running sync.WaitGroup
	running.Go(func() { _ = s.ServeTLS(ln, tc) })
	for range 3 * maxHandshakes() {
		running.Go(func() {
			c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "a.test"})
			if err != nil {
				t.Error(err)
				return
			}
			if !c.ConnectionState().HelloRetryRequest {
				t.Error("the handshake was not retried")
			}
			_ = c.Close()
		})
	}
	await(t, func() bool { return s.Stats().Accepted == uint64(3*maxHandshakes()) && s.open() == 0 })
	_ = s.Shutdown(soon(t))
	running.Wait()
	if got := most.Load(); got > int64(maxHandshakes()) {
		t.Errorf("%d handshakes computed at a time, want %d at most", got, maxHandshakes())
	}
}

// What serves one connection may panic without ending those of others.
func TestAPanicEndsOneConnection(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	ln := listen(t)
	go func() {
		_ = f.ServeTLS(ln, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("no certificate") }})
	}()
	if _, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: "a.test"}); err == nil {
		t.Error("the handshake was answered")
	}
	l := f.admit(&falling{})
	newConn(l, l).serve()
	await(t, func() bool { return f.open() == 0 })
	for i, want := range []string{"panic: no certificate\ngoroutine", "panic: fallen\ngoroutine"} {
		if errs := f.reported(); len(errs) != 2 || !strings.Contains(errs[i].Error(), want) {
			t.Errorf("reported %v, want %q", errs, want)
		}
	}
	c := f.dial(t, "https")
	send(t, c, get)
	equal(t, []string{next(t, bufio.NewReader(c))}, "200 GET /")
}

// falling is a connection whose reading panics.
type falling struct{ tape }

func (*falling) Read([]byte) (int, error) { panic("fallen") }

func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{HandshakeTimeout: 20 * time.Millisecond})
	c, err := net.Dial("tcp", f.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("read %q, %v; want the connection closed", got, err)
	}
	await(t, func() bool { return f.Stats().FailedHandshakes == 1 })
}
