package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A tape is a peer that sends what is on it, step bytes at a time, and takes what it is sent.
type tape struct {
	bytes   []byte
	at      int
	step    int
	endless bool // it begins again at its end
	out     []byte
}

func (c *tape) Read(p []byte) (int, error) {
	if c.at == len(c.bytes) {
		if !c.endless {
			return 0, io.EOF
		}
		c.at = 0
	}
	n := copy(p[:min(len(p), c.step)], c.bytes[c.at:])
	c.at += n
	return n, nil
}

func (c *tape) Write(p []byte) (int, error) {
	if !c.endless {
		c.out = append(c.out, p...)
	}
	return len(p), nil
}

func (*tape) Close() error                     { return nil }
func (*tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*tape) SetDeadline(time.Time) error      { return nil }
func (*tape) SetReadDeadline(time.Time) error  { return nil }
func (*tape) SetWriteDeadline(time.Time) error { return nil }

// replay has h answer what is on a tape, and returns the answers.
func replay(h http.HandlerFunc, stream string, step int) string {
	c := &tape{bytes: []byte(stream), step: step}
	s := NewServer(answer(h), Options{})
	l := s.admit(c)
	newConn(l, l).serve()
	_ = s.Shutdown(context.Background())
	return string(c.out)
}

// The handler gets the same requests, however their bytes arrive and are asked for.
func TestConnReadsInEverySize(t *testing.T) {
	t.Parallel()
	stream := "\r\n" + head500 + post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n" +
		"\r\n" + post + "Content-Length: 5\r\n\r\nhello" + get
	for _, step := range []int{1, 2, 3, 100, 499, 502, 4096} {
		for _, size := range []int{1, 2, 16, 4096} {
			var got strings.Builder
			replay(func(_ http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(&got, "%s %s %d ", r.Method, r.RequestURI, len(r.Header))
				p := make([]byte, size)
				for {
					n, err := r.Body.Read(p)
					got.Write(p[:n])
					if err != nil {
						fmt.Fprintf(&got, " %v %v\n", err, r.Trailer)
						return
					}
				}
			}, stream, step)
			want := "GET /app/index.html?tab=1 8  EOF map[]\n" +
				"POST / 0 hello EOF map[X:[y]]\nPOST / 1 hello EOF map[]\nGET / 0  EOF map[]\n"
			if got.String() != want {
				t.Errorf("packets of %d, reads of %d: got %q, want %q", step, size, got.String(), want)
			}
		}
	}
}

func TestServerSends100Continue(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		send(t, c, post+"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != http.StatusContinue {
			t.Fatalf("answer %v, %v; want 100", resp, err)
		}
		send(t, c, "ok")
		equal(t, []string{next(t, br)}, "200 POST / ok")
	}
}

// A pipelined head that is incomplete while the first request is answered costs that request nothing.
func TestServerWaitsForAPipelinedHead(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			close(entered)
			<-release
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
		}
		echo(w, r)
	}), Options{})
	c := f.dial(t, "https")
	br := bufio.NewReader(c)
	send(t, c, "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HT")
	<-entered
	send(t, c, "TP/1.1\r\nHost: a")
	close(release)
	first := next(t, br)
	send(t, c, ".test\r\n\r\n")
	equal(t, []string{first, next(t, br)}, "200 GET /1", "200 GET /2")
}

// The context of a request ends when its client goes, also while a pipelined head is incomplete.
func TestServerNoticesTheClientsGoing(t *testing.T) {
	t.Parallel()
	entered, gone := make(chan struct{}), make(chan struct{})
	f := newFront(t, answer(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(gone)
	}), Options{})
	c := f.dial(t, "http")
	send(t, c, get+"GET / HT")
	<-entered
	_ = c.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the context is still open 10 s after the client went")
	}
}

// BenchmarkServer compares a keep-alive request over plain TCP with net/http's server.
func BenchmarkServer(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	ended, cancel := context.WithCancel(b.Context())
	cancel()
	for _, bench := range []struct {
		name  string
		serve func(net.Listener) (stop func())
	}{
		{"wire", func(ln net.Listener) func() {
			s := NewServer(handler, Options{})
			go func() { _ = s.Serve(ln) }()
			return func() { _ = s.Shutdown(ended) }
		}},
		{"net-http", func(ln net.Listener) func() {
			s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
			go func() { _ = s.Serve(ln) }()
			return func() { _ = s.Close() }
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer bench.serve(ln)()
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			p := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.WriteString(c, head500); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
