package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// busy is a timeout that a client of these tests meets when it means to, also on a machine that has much else
// to do.
const busy = 500 * time.Millisecond

func TestPace(t *testing.T) {
	t.Parallel()
	o := Options{}.withDefaults()
	type step struct {
		waited time.Duration
		n      int
	}
	for name, tt := range map[string]struct {
		steps []step
		want  time.Duration
	}{
		"nothing yet":                 {nil, 10 * time.Second},
		"waiting uses the grace up":   {[]step{{4 * time.Second, 0}}, 6 * time.Second},
		"bytes give time back":        {[]step{{4 * time.Second, 1000}}, 8 * time.Second},
		"a fast start earns nothing":  {[]step{{0, 1 << 20}, {9 * time.Second, 1}}, time.Second + 2*time.Millisecond},
		"a byte now and then is slow": {[]step{{4 * time.Second, 1}, {4 * time.Second, 1}}, 2*time.Second + 4*time.Millisecond},
		"the minimum rate lasts":      {[]step{{30 * time.Second, 15_000}, {30 * time.Second, 15_000}}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p pace
			for _, s := range tt.steps {
				p.account(&o, s.waited, s.n)
			}
			if got := p.allow(&o, 0); got != tt.want {
				t.Errorf("allow = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestServerEndsSlowHeads(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{ReadHeaderTimeout: busy})
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, scheme)
			send(t, c, "GET / HT")
			equal(t, answers(t, c), "408 "+errHeadTimeout.Error())

			c = f.dial(t, scheme)
			send(t, c, get+"GET / HT")
			equal(t, answers(t, c), "200 GET /", "408 "+errHeadTimeout.Error())
		})
	}
}

func TestServerEndsIdleConnectionsSilently(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{ReadHeaderTimeout: busy, IdleTimeout: busy})
	c := f.dial(t, "http")
	equal(t, answers(t, c))
	c = f.dial(t, "http")
	send(t, c, get)
	equal(t, answers(t, c), "200 GET /")
}

func TestServerEndsSlowBodies(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{BodyGrace: 50 * time.Millisecond})
	for _, framing := range []string{"Content-Length: 9\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n9\r\nhe"} {
		for _, scheme := range []string{"http", "https"} {
			c := f.dial(t, scheme)
			send(t, c, post+framing)
			equal(t, answers(t, c), "408 "+errBodyTooSlow.Error())
		}
	}
	body, pipe := io.Pipe()
	defer func() { _ = pipe.Close() }()
	resp, err := f.client(t, true).Post("https://"+f.tls, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("HTTP/2: status %d, want 408", resp.StatusCode)
	}
}

func TestServerEndsSlowReaders(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat("x", 64<<10))
		for {
			if _, err := w.Write(chunk); err != nil {
				ended <- err
				return
			}
		}
	}), Options{BodyGrace: 50 * time.Millisecond, MinRate: 100 << 20})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		if tc, ok := c.(*net.TCPConn); ok {
			_ = tc.SetReadBuffer(4096)
		}
		send(t, c, get)
		if err := <-ended; err == nil {
			t.Error("the handler's write did not fail")
		}
		await(t, func() bool { return f.open() == 0 })
		if n, err := io.Copy(io.Discard, c); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes were still there to be sent, and then %v", scheme, n, err)
		}
	}
}

// How much a handler writes at once does not count: who takes none of it has no longer than for a little.
func TestServerEndsSlowReadersOfOneLongWrite(t *testing.T) {
	t.Parallel()
	ended := make(chan time.Duration, 1)
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		content, start := make([]byte, 64<<20), time.Now()
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		var err error
		if r.URL.Path == "/copy" {
			_, err = io.Copy(w, struct{ io.Reader }{bytes.NewReader(content)})
		} else {
			_, err = w.Write(content)
		}
		if err == nil {
			t.Errorf("%s: the handler's write did not fail", r.URL)
		}
		ended <- time.Since(start)
	}), Options{BodyGrace: 50 * time.Millisecond, MinRate: 1 << 20})
	for _, scheme := range []string{"http", "https"} {
		for _, path := range []string{"/", "/copy"} {
			c := f.dial(t, scheme)
			send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if got := <-ended; got > 10*time.Second { // at the minimum rate all of it would take a minute
				t.Errorf("%s %s: it took %v, want little", scheme, path, got)
			}
		}
	}
	resp, err := f.client(t, true).Get("https://" + f.tls + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := <-ended; got > 10*time.Second {
		t.Errorf("HTTP/2: it took %v, want little", got)
	}
}

// A handler that takes its time costs the client nothing, nor does an upgraded connection that is silent.
func TestServerDoesNotPaceSilence(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			time.Sleep(2 * busy)
			echo(w, r)
			return
		}
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "ready")
		line, err := brw.ReadString('\n')
		fmt.Fprint(c, line, err)
	}), Options{BodyGrace: busy, ReadHeaderTimeout: busy, IdleTimeout: busy})
	c := f.dial(t, "http")
	send(t, c, post+"Content-Length: 2\r\nConnection: close\r\n\r\nok")
	equal(t, answers(t, c), "200 POST / ok")

	c = f.dial(t, "http")
	send(t, c, "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\n")
	br := bufio.NewReader(c)
	if _, err := br.Discard(len("ready")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * busy) // silence is what is tested
	send(t, c, "hello\n")
	if got, err := io.ReadAll(br); string(got) != "hello\n<nil>" || err != nil {
		t.Errorf("read %q, %v; want the line", got, err)
	}
}

// Nor does one that copies from where it comes slowly.
func TestServerDoesNotPaceWhatIsCopied(t *testing.T) {
	t.Parallel()
	const parts, size = 6, 100
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(parts*size))
		w.WriteHeader(http.StatusOK)
		r, pipe := io.Pipe()
		go func() {
			for range parts {
				<-time.After(busy / 2) // nothing to wait for: it is what takes long
				_, _ = pipe.Write(make([]byte, size))
			}
			_ = pipe.Close()
		}()
		if n, err := io.Copy(w, r); n != parts*size || err != nil {
			t.Errorf("copied %d, %v, want %d", n, err, parts*size)
		}
	}), Options{BodyGrace: busy, MinRate: 10_000})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		send(t, c, get)
		if got := next(t, bufio.NewReader(c)); got != "200 "+strings.Repeat("\x00", parts*size) {
			t.Errorf("%s: got %d bytes", scheme, len(got))
		}
	}
}

func TestHandlersDeadlinesHold(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := io.ReadAll(r.Body)
		var e *Error
		var ne net.Error
		if errors.As(err, &e) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("body: %v, want the handler's own timeout", err)
		}
	}), Options{})
	c := f.dial(t, "http")
	send(t, c, post+"Content-Length: 2\r\n\r\n")
	equal(t, answers(t, c), "200 ")
}

// A deadline that was set for one wait and passes in another ends nothing.
func TestOldDeadlinesEndNothing(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{BodyGrace: busy})
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, scheme)
			br := bufio.NewReader(c)
			for range 2 {
				send(t, c, post+"Content-Length: 20000\r\n\r\n")
				send(t, c, strings.Repeat("x", 20_000))
				equal(t, []string{next(t, br)}, "200 POST / "+strings.Repeat("x", 20_000))
				<-time.After(2 * busy) // nothing to wait for: silence is what is tested
			}
			send(t, c, get)
			equal(t, []string{next(t, br)}, "200 GET /")
		})
	}
}

// At work, a connection does not set its deadlines for each wait.
func TestDeadlinesAreSetWhenTheyWouldBeLate(t *testing.T) {
	t.Parallel()
	c := &counting{tape: tape{bytes: []byte(strings.Repeat(get, 1000)), step: len(get)}}
	s := NewServer(answer(echo), Options{})
	l := s.admit(c)
	l.setPaced(true)
	newConn(l, l).serve()
	_ = s.Shutdown(t.Context())
	if c.deadlines > 10 {
		t.Errorf("%d deadlines set for 1000 requests, want a few", c.deadlines)
	}
}

// counting counts deadlines.
type counting struct {
	tape
	deadlines int
}

func (c *counting) SetReadDeadline(time.Time) error  { c.deadlines++; return nil }
func (c *counting) SetWriteDeadline(time.Time) error { c.deadlines++; return nil }
