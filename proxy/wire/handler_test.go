package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// 100 Continue is for clients whose body is wanted: a handler that answers without it keeps the client from sending it.
func TestServerSendsNo100ContinueForAnAnswer(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/own":
			w.WriteHeader(http.StatusContinue)
			_, _ = io.Copy(io.Discard, r.Body)
		case "/hint":
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.Copy(io.Discard, r.Body)
		}
		w.WriteHeader(http.StatusTeapot)
	}), Options{})
	for path, want := range map[string][]string{"/": {"418 "}, "/own": {"100 ", "418 "}, "/hint": {"103 ", "100 ", "418 "}} {
		c := f.dial(t, "https")
		br := bufio.NewReader(c)
		send(t, c, "POST "+path+" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		var got []string
		for len(got) < len(want) {
			if got = append(got, next(t, br)); strings.HasPrefix(got[len(got)-1], "100") {
				send(t, c, "ok")
			}
		}
		equal(t, got, want...)
		if path == "/" { // nobody knows whether the body comes after all
			if _, err := br.ReadByte(); err != io.EOF {
				t.Errorf("after an answer without the body: %v, want the connection closed", err)
			}
		}
	}
}

func TestHTTP10GetsNo100Continue(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	c := f.dial(t, "http")
	send(t, c, "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok")
	equal(t, answers(t, c), "200 POST / ok")
}

// Handlers that take long have their client watched, and get it back with what it has sent meanwhile.
func TestWatchingLosesNothing(t *testing.T) {
	t.Parallel()
	watched := make(chan struct{})
	var f *front
	f = newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			_, _ = io.Copy(io.Discard, r.Body)
			if f.sweepTwice(); !f.watching() {
				t.Error("nobody watches")
			}
			watched <- struct{}{}
			<-watched
			if err := r.Context().Err(); err != nil {
				t.Errorf("the context has ended: %v", err)
			}
		}
		echo(w, r)
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		for _, rest := range []string{"", get, get + post + "Content-Length: 20000\r\n\r\n" + strings.Repeat("x", 20_000), "GET / HT"} {
			c := f.dial(t, scheme)
			br := bufio.NewReader(c)
			send(t, c, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok")
			<-watched
			send(t, c, rest)
			watched <- struct{}{}
			equal(t, []string{next(t, br)}, "200 POST /slow")
			if rest == "" {
				rest = get
				send(t, c, get)
			}
			if strings.HasPrefix(rest, "GET / HTTP") {
				equal(t, []string{next(t, br)}, "200 GET /")
			}
			if strings.Contains(rest, "POST") {
				equal(t, []string{next(t, br)}, "200 POST / "+strings.Repeat("x", 20_000))
			}
			if rest == "GET / HT" {
				send(t, c, "TP/1.1\r\nHost: a\r\n\r\n")
				equal(t, []string{next(t, br)}, "200 GET /")
			}
			_ = c.Close()
		}
	}
}

// sweepTwice has the server look for handlers that take long until it has found those that run now.
func (s *Server) sweepTwice() {
	s.sweepOnce()
	s.sweepOnce()
}

// watching reports whether any connection is watched.
func (s *Server) watching() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		if c := l.http1; c != nil {
			c.mu.Lock()
			watched := c.watching != nil
			c.mu.Unlock()
			if watched {
				return true
			}
		}
	}
	return false
}

// A handler that has not read its body reads from the client itself, and nobody else may.
func TestNobodyWatchesBesideTheBody(t *testing.T) {
	t.Parallel()
	var f *front
	f = newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if f.sweepTwice(); f.watching() {
			t.Error("the client is watched while its body is to be read")
		}
		echo(w, r)
	}), Options{})
	c := f.dial(t, "http")
	send(t, c, post+"Content-Length: 4\r\nConnection: close\r\n\r\nbo")
	send(t, c, "dy")
	equal(t, answers(t, c), "200 POST / body")
}

// An answer that goes out behind its handler leaves nobody who watches: the loop reads the next head.
func TestNobodyWatchesBesideTheLoop(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		send(t, c, "GET /1 HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n")
		equal(t, []string{next(t, br)}, "200 GET /1")
		send(t, c, "GET /2 HT")
		<-time.After(4 * sweepEvery) // nothing to wait for: this is the absence of an event
		if f.watching() {
			t.Error("the client is watched while its next head is read")
		}
		send(t, c, "TP/1.1\r\nHost: a\r\n\r\n")
		equal(t, []string{next(t, br)}, "200 GET /2")
	}
}

// The client's going is noticed in a write, too, and ends the context.
func TestAFailedWriteEndsTheContext(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				_, again := w.Write(chunk)
				ended <- errors.Join(r.Context().Err(), again)
				return
			}
		}
	}), Options{})
	c := f.dial(t, "http")
	send(t, c, get)
	_ = c.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, http.ErrContentLength) {
		t.Errorf("got %v, want %v and the write's error", err, context.Canceled)
	}
}

func TestPanicsEndTheConnectionAndAreReported(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/whole":
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "ok")
		case "/part":
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "ok")
		case "/flushed":
			_, _ = io.WriteString(w, "ok")
			_ = http.NewResponseController(w).Flush()
		case "/loud":
			panic("loud")
		case "/exit":
			runtime.Goexit()
		}
		panic(http.ErrAbortHandler)
	}), Options{})
	for path, want := range map[string]string{"/": "", "/whole": "", "/part": "", "/flushed": "2\r\nok\r\n", "/loud": "", "/exit": ""} {
		c := f.dial(t, "https")
		send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"+get)
		got, err := io.ReadAll(c)
		if _, body, _ := strings.Cut(string(got), "\r\n\r\n"); body != want || err != nil || want == "" && len(got) > 0 {
			t.Errorf("%s: got %q, %v, want the body %q and no end of it", path, got, err, want)
		}
	}
	if errs := f.reported(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "panic: loud\ngoroutine") {
		t.Errorf("reported %v, want the loud panic and its stack", errs)
	}
}

// Where the end of the connection is the end of the body, there must be none that looks like it.
func TestAPanicIsNoEndOfABody(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		send(t, c, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
		if got, err := io.ReadAll(c); err == nil {
			t.Errorf("%s: got %q and an orderly end", scheme, got)
		}
	}
}

func TestMistakesOfHandlersAreReported(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/twice":
			w.WriteHeader(201)
			w.WriteHeader(500)
		case "/odd":
			w.Header().Set("Content-Length", "x")
			_, _ = w.Write([]byte("hello"))
		case "/hijacked":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			w.WriteHeader(200)
			_, werr := w.Write([]byte("x"))
			_, _, herr := http.NewResponseController(w).Hijack()
			if werr != http.ErrHijacked || herr != http.ErrHijacked || http.NewResponseController(w).Flush() != http.ErrHijacked {
				t.Errorf("got %v and %v, want %v", werr, herr, http.ErrHijacked)
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}), Options{})
	for path, want := range map[string]string{"/twice": "201 ", "/odd": "200 hello", "/hijacked": "200 "} {
		c := f.dial(t, "http")
		send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		equal(t, []string{next(t, bufio.NewReader(c))}, want)
	}
	await(t, func() bool { return len(f.reported()) == 4 })
	for _, want := range []string{"superfluous response.WriteHeader", "invalid Content-Length", "WriteHeader on hijacked", "Write on hijacked"} {
		found := false
		for _, err := range f.reported() {
			found = found || strings.Contains(err.Error(), want) && strings.Contains(err.Error(), "handler_test.go")
		}
		if !found {
			t.Errorf("reported %v, want %q and where", f.reported(), want)
		}
	}
}

// After a 101 the client speaks another protocol, which is not for the loop to read.
func TestNothingIsReadBehindA101(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }), Options{})
	c := f.dial(t, "http")
	send(t, c, get)
	br := bufio.NewReader(c)
	if got := next(t, br); got != "101 " {
		t.Errorf("got %q, want 101", got)
	}
	send(t, c, get)
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("got %q behind it, want nothing", rest)
	}
}

// A goroutine that outlives its handler reaches neither the connection nor the next request's answer.
func TestLateWritesGoNowhere(t *testing.T) {
	t.Parallel()
	var first http.ResponseWriter
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if first == nil {
			first = w
			return
		}
		_, werr := first.Write(bytes.Repeat([]byte("x"), 100))
		_, serr := io.WriteString(first, "x")
		ferr := http.NewResponseController(first).Flush()
		_, _, herr := http.NewResponseController(first).Hijack()
		if werr == nil || serr == nil || ferr == nil || herr == nil {
			t.Errorf("got %v, %v, %v and %v, want errors", werr, serr, ferr, herr)
		}
		first.WriteHeader(500)
		echo(w, r)
	}), Options{})
	c := f.dial(t, "http")
	br := bufio.NewReader(c)
	send(t, c, get+get)
	equal(t, []string{next(t, br), next(t, br)}, "200 ", "200 GET /")
}

func TestBodiesAreClosedAfterTheHandler(t *testing.T) {
	t.Parallel()
	bodies := make(chan io.Reader, 1)
	f := newFront(t, answer(func(_ http.ResponseWriter, r *http.Request) { bodies <- r.Body }), Options{})
	c := f.dial(t, "http")
	br := bufio.NewReader(c)
	send(t, c, post+"Content-Length: 4\r\n\r\nbody"+get)
	equal(t, []string{next(t, br)}, "200 ")
	if _, err := (<-bodies).Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("got %v, want %v", err, http.ErrBodyReadAfterClose)
	}
	equal(t, []string{next(t, br)}, "200 ")
}

// A deadline that a handler sets holds until it returns, and not for the next request.
func TestDeadlinesEndWithTheirRequest(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			rc := http.NewResponseController(w)
			if err := errors.Join(rc.SetReadDeadline(time.Now().Add(time.Hour)), rc.SetWriteDeadline(time.Now().Add(10*time.Second))); err != nil {
				t.Error(err)
			}
		}
		echo(w, r)
	}), Options{ReadHeaderTimeout: busy, IdleTimeout: busy})
	c := f.dial(t, "http")
	send(t, c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
	equal(t, answers(t, c), "200 GET /1") // until the server closes
}

// An idle connection costs one goroutine.
func TestIdleConnectionsHaveOneGoroutine(t *testing.T) {
	f := newFront(t, answer(echo), Options{})
	c := f.dial(t, "http")
	send(t, c, get)
	_ = next(t, bufio.NewReader(c))
	before := ours() // with what a server has, and the sweep
	const conns = 20
	var all []net.Conn
	for range conns {
		c := f.dial(t, "http")
		send(t, c, get)
		_ = next(t, bufio.NewReader(c))
		all = append(all, c)
	}
	await(t, func() bool { return ours() <= before+conns })
	for _, c := range all {
		_ = c.Close()
	}
	await(t, func() bool { return ours() <= before })
}

// The handler may read the body in one goroutine while it answers in another.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		var reading sync.WaitGroup
		lines := make(chan string)
		reading.Go(func() {
			defer close(lines)
			for s := bufio.NewScanner(r.Body); s.Scan(); {
				lines <- s.Text()
			}
		})
		for line := range lines {
			_, _ = io.WriteString(w, line+"!")
			_ = rc.Flush()
		}
		reading.Wait()
	}), Options{})
	c := f.dial(t, "https")
	br := bufio.NewReader(c)
	send(t, c, post+"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, p); err != nil || string(p) != "a!" {
		t.Fatalf("got %q, %v", p, err)
	}
	send(t, c, "2\r\nb\n\r\n0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "b!" {
		t.Errorf("got %q, %v", rest, err)
	}
	send(t, c, get)
	equal(t, []string{next(t, br)}, "200 ")
}
