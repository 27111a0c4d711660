package nowait

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection, the first of them as a Conn too.
func pair(t *testing.T) (c *Conn, nc, peer net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if nc, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if peer, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	if c, err = New(nc); err != nil {
		t.Fatal(err)
	}
	return c, nc, peer
}

func TestConnMovesMoreThanASocketHolds(t *testing.T) {
	t.Parallel()
	c, nc, peer := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		done <- errors.Join(err, nc.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(sent))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := peer.Write(sent)
		done <- errors.Join(err, peer.Close())
	}()
	if got, err = io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(sent))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestTryReadDoesNotWait(t *testing.T) {
	t.Parallel()
	c, _, peer := pair(t)
	var p [8]byte
	if n, err := c.TryRead(p[:]); n != 0 || err != ErrWouldBlock {
		t.Errorf("got %d, %v, want %v", n, err, ErrWouldBlock)
	}
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(p[:]); n != 1 || err != nil {
		t.Errorf("got %d, %v, want 1 byte", n, err)
	}
	peer.Close()
	if n, err := c.Read(p[:]); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v, want %v", n, err, io.EOF)
	}
	if n, err := c.TryRead(p[:]); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v, want %v", n, err, io.EOF)
	}
}

// What net/http, crypto/tls and our own code ask errors for.
func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	t.Parallel()
	past := time.Unix(1, 0)
	for name, tt := range map[string]struct {
		op      string
		do      func(c *Conn, nc, peer net.Conn) error
		want    error
		timeout bool
	}{
		"a read past its deadline": {"read", func(c *Conn, nc, _ net.Conn) error {
			nc.SetReadDeadline(past)
			_, err := c.Read(make([]byte, 8))
			return err
		}, os.ErrDeadlineExceeded, true},
		"a read that a deadline ends": {"read", func(c *Conn, nc, _ net.Conn) error {
			nc.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 8))
			return err
		}, os.ErrDeadlineExceeded, true},
		"a write that a deadline ends": {"write", func(c *Conn, nc, _ net.Conn) error {
			nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Write(make([]byte, 64<<20))
			return err
		}, os.ErrDeadlineExceeded, true},
		"a read of a closed connection": {"read", func(c *Conn, nc, _ net.Conn) error {
			nc.Close()
			_, err := c.Read(make([]byte, 8))
			return err
		}, net.ErrClosed, false},
		"a read that a close ends": {"read", func(c *Conn, nc, _ net.Conn) error {
			time.AfterFunc(time.Millisecond, func() { nc.Close() })
			_, err := c.Read(make([]byte, 8))
			return err
		}, net.ErrClosed, false},
		"a write to a closed connection": {"write", func(c *Conn, nc, _ net.Conn) error {
			nc.Close()
			_, err := c.Write(make([]byte, 8))
			return err
		}, net.ErrClosed, false},
		"a reset connection": {"read", func(c *Conn, _, peer net.Conn) error {
			peer.(*net.TCPConn).SetLinger(0)
			peer.Close()
			_, err := c.Read(make([]byte, 8))
			return err
		}, syscall.ECONNRESET, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.do(pair(t))
			var op *net.OpError
			if !errors.As(err, &op) || op.Op != tt.op || op.Net != "tcp" || op.Timeout() != tt.timeout || !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %q with %v", err, tt.op, tt.want)
			}
		})
	}
}

func TestNewWantsADescriptor(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := New(a); err == nil {
		t.Error("got a Conn of a pipe")
	}
}
