package upstream

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// digest is an upstream that answers with the framing, the length and a digest of the body it got.
func digest(t testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%v %d %x", r.TransferEncoding, r.ContentLength, sha256.Sum256(b))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestUploads(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		f := newRig(t, proto, to.config(t, digest(t)), Options{})
		for _, size := range []int{1, smallBody - 1, smallBody, smallBody + 1, bigBuffer, 3<<20 + 7} {
			body := strings.Repeat("abcdefg", size/7+1)[:size]
			sum := sha256.Sum256([]byte(body))
			t.Run(fmt.Sprintf("%d bytes with a length", size), func(t *testing.T) {
				if _, got := f.do(t, "POST", "/", strings.NewReader(body)); got != fmt.Sprintf("[] %d %x", size, sum) {
					t.Errorf("got %s, want %d %x", got, size, sum)
				}
			})
			t.Run(fmt.Sprintf("%d bytes without", size), func(t *testing.T) {
				if _, got := f.do(t, "POST", "/", io.MultiReader(strings.NewReader(body))); got != fmt.Sprintf("[chunked] -1 %x", sum) {
					t.Errorf("got %s, want chunked %x", got, sum)
				}
			})
		}
		for range 12 {
			<-f.results
		}
		if r := func() Result { f.do(t, "GET", "/", nil); return <-f.results }(); !r.Reused {
			t.Error("a connection that took uploads: want it reused")
		}
	})
}

func TestABodyOfUnknownLengthOfAGet(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		f := newRig(t, proto, to.config(t, digest(t)), Options{})
		for _, tt := range []struct{ body, want string }{
			{"", fmt.Sprintf("[] 0 %x", sha256.Sum256(nil))},
			{"abc", fmt.Sprintf("[] 3 %x", sha256.Sum256([]byte("abc")))},
			{strings.Repeat("a", smallBody+5), fmt.Sprintf("[chunked] -1 %x", sha256.Sum256([]byte(strings.Repeat("a", smallBody+5))))},
		} {
			if _, got := f.do(t, "GET", "/", io.MultiReader(strings.NewReader(tt.body))); got != tt.want {
				t.Errorf("%d bytes: got %s, want %s", len(tt.body), got, tt.want)
			}
		}
	})
}

func TestAnAnswerBeforeTheBody(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		for _, keep := range []string{"keep-alive", "close"} {
			t.Run(keep, func(t *testing.T) {
				up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
					if r, err := http.ReadRequest(br); err == nil {
						io.CopyN(io.Discard, r.Body, 100) // what the client has sent, or closing would take the answer from it
					}
					io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: "+keep+"\r\n\r\nbig")
					br.ReadByte() // hold on, and take nothing more
				})
				f := newRig(t, proto, to.config(t, up), Options{})
				pr, pw := io.Pipe() // a client that sends a little and then waits
				defer pw.Close()
				go io.WriteString(pw, strings.Repeat("a", 100))
				req, err := http.NewRequestWithContext(t.Context(), "POST", f.URL, pr)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = 1 << 20
				res, err := f.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "big" || res.StatusCode != 413 {
					t.Errorf("got %d %q, %v", res.StatusCode, body, err)
				}
				if proto == "http1" && !res.Close {
					t.Error("want Connection: close: the rest of the body would be the next request")
				}
				<-f.results
				if n := idle(f.pool); n != 0 {
					t.Errorf("idle connections: got %d, want 0", n)
				}
			})
		}
	})
}

func TestTheRestOfABodyIsNoRequest(t *testing.T) {
	t.Parallel()
	up := rawUpstream(t, func(n int, c net.Conn, br *bufio.Reader) {
		if n > 1 {
			t.Error("upstream got a second connection")
		}
		http.ReadRequest(br)
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		br.ReadByte()
	})
	f := newRig(t, "http1", endpoints(up), Options{})
	c, br := f.rawDial(t)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 403 || !res.Close {
		t.Fatalf("got %+v, %v; want 403 and close", res, err)
	}
	io.WriteString(c, "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n")
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("client got %q, want the end", rest)
	}
}

func TestFullDuplex(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			buf := make([]byte, 1)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					w.Write(buf)
					w.(http.Flusher).Flush()
				}
				if err != nil {
					return
				}
			}
		}))
		t.Cleanup(up.Close)
		f := newRig(t, proto, to.config(t, up.URL), Options{})
		pr, pw := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.URL, pr)
		if err != nil {
			t.Fatal(err)
		}
		go pw.Write([]byte("a"))
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		buf := make([]byte, 1)
		for _, c := range "abc" {
			if c != 'a' {
				pw.Write([]byte(string(c)))
			}
			if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != string(c) {
				t.Fatalf("got %q, %v; want %q", buf, err, c)
			}
		}
		pw.Close()
		if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
			t.Errorf("got %q, %v; want the end", rest, err)
		}
	})
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	const request = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
	head := func(br *bufio.Reader) bool {
		r, err := http.ReadRequest(br)
		return err == nil && r.Header.Get("Expect") == "100-continue"
	}
	t.Run("the upstream's word is passed on", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", endpoints(rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
			if !head(br) {
				t.Error("upstream: want Expect")
			}
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			body := make([]byte, 5)
			io.ReadFull(br, body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"+string(body))
		})), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, request)
		if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		br.ReadString('\n')
		io.WriteString(c, "hello")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" {
			t.Errorf("got %q, %v", body, err)
		}
	})
	t.Run("a refusal needs no body", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", endpoints(rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
			head(br)
			io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			if b, _ := io.ReadAll(br); len(b) > 0 {
				t.Errorf("upstream got %q", b)
			}
		})), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, request)
		all, err := io.ReadAll(br)
		if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 401 ") || !strings.HasSuffix(string(all), "\r\n\r\nno") {
			t.Errorf("got %q, %v", all, err)
		}
		if r := <-f.results; r.Err != nil || r.Status != 401 {
			t.Errorf("result: got %+v", r)
		}
	})
	t.Run("an upstream that does not know it gets the body after a while", func(t *testing.T) {
		t.Parallel()
		f := newRig(t, "http1", endpoints(rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
			head(br)
			body := make([]byte, 5)
			io.ReadFull(br, body)
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"+string(body))
		})), Options{})
		c, br := f.rawDial(t)
		io.WriteString(c, request)
		if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		io.WriteString(c, "hello")
		all, err := io.ReadAll(br)
		if err != nil || strings.Contains(string(all), "100 Continue") || !strings.HasSuffix(string(all), "hello") {
			t.Errorf("got %q, %v; want one 100 in all", all, err)
		}
	})
}

func TestExpectContinueOfAClient(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		for _, yes := range []bool{true, false} {
			if proto == "http2" && !yes {
				continue // net/http keeps the field to itself there and says 100 when the body is read
			}
			up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
				r, err := http.ReadRequest(br)
				if err != nil || (proto == "http1" && r.Header.Get("Expect") != "100-continue") {
					t.Errorf("upstream got %+v, %v", r, err)
					return
				}
				if !yes {
					io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
					io.Copy(io.Discard, br)
					return
				}
				io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
				b, _ := io.ReadAll(r.Body)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
			})
			f := newRig(t, proto, endpoints(up), Options{})
			f.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
			body := &failing{strings.NewReader("hello"), io.EOF}
			if !yes {
				body = &failing{strings.NewReader(""), errors.New("the body was read")}
			}
			req, err := http.NewRequestWithContext(t.Context(), "POST", f.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Expect", "100-continue")
			res, err := f.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if want := map[bool]string{true: "hello", false: "no"}[yes]; err != nil || string(got) != want {
				t.Errorf("got %d %q, %v; want %q", res.StatusCode, got, err, want)
			}
			if r := <-f.results; r.Err != nil {
				t.Errorf("result: got %+v", r)
			}
		}
	})
}

func TestALongHead(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, proto string) {
		f := newRig(t, proto, endpoints(digest(t)), Options{})
		for i := range 3 {
			res, _ := f.do(t, "GET", "/", nil, "X-Long", strings.Repeat("a", 50<<10))
			if r := <-f.results; res.StatusCode != 200 || r.Reused != (i > 0) {
				t.Errorf("got %d, %+v", res.StatusCode, r)
			}
		}
	})
}

func TestABodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, raw string
		status    int // 0: nobody is left
	}{
		{"a malformed chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", 400},
		{"short of its length, small", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello", 0},
		{"short of its length, big", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhello", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) {
				if readRequest(br) != nil {
					t.Error("upstream got a whole request")
				}
			})
			f := newRig(t, "http1", endpoints(up), Options{})
			c, br := f.rawDial(t)
			io.WriteString(c, tt.raw)
			c.(*net.TCPConn).CloseWrite()
			all, _ := io.ReadAll(br)
			if tt.status != 0 && (!strings.HasPrefix(string(all), fmt.Sprintf("HTTP/1.1 %d ", tt.status)) || !strings.Contains(string(all), "Connection: close")) {
				t.Errorf("got %q, want %d and close", all, tt.status)
			}
			var e *Error
			if r := <-f.results; !errors.As(r.Err, &e) || (e.Reason != ReasonClientBody && e.Reason != ReasonClientGone) {
				t.Errorf("result: got %v, want %s", r.Err, ReasonClientBody)
			}
			if n := idle(f.pool); n != 0 {
				t.Errorf("idle connections: got %d, want 0", n)
			}
		})
	}
}

// coded is an error with a status, as the filter below the server has.
type coded struct{}

func (coded) Error() string   { return "coded" }
func (coded) HTTPStatus() int { return 418 }

// failing is a body that ends in an error.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func TestABodysOwnStatusIsKept(t *testing.T) {
	t.Parallel()
	up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) })
	for _, tt := range []struct {
		name   string
		err    error
		length int64
		status int
	}{
		{"small", coded{}, 100, 418},
		{"sized", coded{}, 1 << 20, 418},
		{"chunked", fmt.Errorf("wrapped: %w", coded{}), -1, 418},
		{"too large", &http.MaxBytesError{Limit: 5}, -1, 413},
		{"anything else", errors.New("x"), -1, 400},
		{"shorter than announced", io.EOF, 1 << 20, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pool, err := NewPool("x", endpoints(up))
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://x/", &failing{strings.NewReader("hello"), tt.err})
			r.ContentLength = tt.length
			w := httptest.NewRecorder()
			pool.Handler(Options{Deny: deny}).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status: got %d, want %d", w.Code, tt.status)
			}
		})
	}
}

func TestALongerBodyThanAnnouncedIsRefused(t *testing.T) {
	t.Parallel()
	pool, err := NewPool("x", endpoints(digest(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "http://x/", strings.NewReader(strings.Repeat("a", 100000)))
	r.ContentLength = 50000
	w := httptest.NewRecorder()
	pool.Handler(Options{Deny: deny}).ServeHTTP(w, r)
	if w.Code != 400 {
		t.Errorf("status: got %d, want 400", w.Code)
	}
}

// That an HTTP/1 client sees such an answer and not a reset is for the server below: see proxy/wire.
func TestAnAnswerAfterTheUpstreamStoppedReading(t *testing.T) {
	t.Parallel()
	up := rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		io.WriteString(c, "HTTP/1.1 413 x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, br)
	})
	f := newRig(t, "http2", endpoints(up), Options{})
	res, body := f.do(t, "POST", "/", io.MultiReader(strings.NewReader(strings.Repeat("a", 8<<20))))
	if res.StatusCode != 413 || body != "big" {
		t.Errorf("got %d %q, want 413 big", res.StatusCode, body)
	}
}

func TestTheClientLeavingDuringAnUpload(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		got, ended := make(chan struct{}), make(chan error, 1)
		up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) {
			r, _ := http.ReadRequest(br)
			close(got)
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		})
		f := newRig(t, proto, to.config(t, up), Options{})
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw := io.Pipe()
		defer pw.Close()
		req, err := http.NewRequestWithContext(ctx, "POST", f.URL, pr)
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			if res, err := f.client.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		pw.Write([]byte("hello"))
		<-got
		cancel()
		pw.CloseWithError(io.ErrClosedPipe) // or net/http's client waits for its own body
		if err := <-ended; err == nil {
			t.Error("upstream got a whole body, want an error")
		}
		<-over
		if r := <-f.results; r.Err == nil {
			t.Errorf("result: got %+v, want an error", r)
		}
	})
}

func TestAnUpstreamThatTakesNoBody(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	up := rawUpstream(t, func(_ int, _ net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		<-stop
	})
	defer close(stop)
	f := newRig(t, "http1", Config{Endpoints: []string{up}, ResponseTimeout: "100ms"}, Options{})
	pr, pw := io.Pipe()
	go func() {
		b := make([]byte, 1<<20)
		for {
			if _, err := pw.Write(b); err != nil {
				return
			}
		}
	}()
	defer pr.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", f.URL, pr)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 504 {
		t.Errorf("got %d %s, want 504", res.StatusCode, res.Header.Get("X-Reason"))
	}
}
