package wire

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A tape is a peer that sends the same bytes again and again.
type tape struct {
	net.Conn
	bytes []byte
	at    int
	step  int
}

func (c *tape) Read(p []byte) (int, error) {
	if c.at == len(c.bytes) {
		c.at = 0
	}
	n := copy(p[:min(len(p), c.step)], c.bytes[c.at:])
	c.at += n
	return n, nil
}

func (c *tape) SetReadDeadline(time.Time) error { return nil }

func newTape(stream string, step int) *conn {
	s := NewServer(nil, Options{})
	l := newLink(&tape{bytes: []byte(stream), step: step}, s)
	return newConn(l, l)
}

func TestConnDoesNotAllocate(t *testing.T) {
	chunked := post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	for name, tt := range map[string]struct {
		stream string
		step   int
	}{
		"a head at once":          {head500, 4096},
		"a head in two packets":   {head500, 300},
		"heads in odd packets":    {head500 + get, 333},
		"a chunked body":          {chunked, 4096},
		"a chunked body in bytes": {chunked, 7},
	} {
		c, p := newTape(tt.stream, tt.step), make([]byte, 4096)
		if got := testing.AllocsPerRun(200, func() {
			if _, err := c.Read(p); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations a read, want 0", name, got)
		}
	}
}

// What the conn hands on is what the framer releases, however the bytes arrive and are asked for.
func TestConnReadsInEverySize(t *testing.T) {
	t.Parallel()
	stream := "\r\n" + head500 + post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n" +
		"\r\n" + post + "Content-Length: 5\r\n\r\nhello" + get
	want := bytes.ReplaceAll([]byte(stream), []byte("\r\n\r\n\r\nPOST"), []byte("\r\n\r\nPOST"))[2:]
	for _, step := range []int{1, 2, 3, 100, 499, 502, 4096} {
		for _, size := range []int{1, 2, 16, 4096} {
			c := newTape(stream, step)
			got := make([]byte, 0, len(want))
			for p := make([]byte, size); len(got) < len(want); {
				n, err := c.Read(p[:min(size, len(want)-len(got))])
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p[:n]...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("packets of %d, reads of %d: got %q", step, size, got)
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

func BenchmarkConn(b *testing.B) {
	c, p := newTape(head500, 4096), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServer compares a keep-alive request over plain TCP with net/http alone.
func BenchmarkServer(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for _, bench := range []struct {
		name  string
		serve func(net.Listener) (stop func())
	}{
		{"wire", func(ln net.Listener) func() {
			s := NewServer(handler, Options{})
			go func() { _ = s.Serve(ln) }()
			return func() { _ = s.http.Close(); s.closeLinks(func(*link) bool { return true }) }
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
