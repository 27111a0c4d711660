package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain fails if a goroutine of this package is left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := ownGoroutines(); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines left over:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// ownGoroutines returns the stacks that run code of this package, but for the test's main one, after giving those
// that are on their way out time to end.
func ownGoroutines() string {
	var left []string
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = left[:0]
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "gatehouse/proxy/upstream") && !strings.Contains(g, "upstream.TestMain") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}

// rawUpstream answers each connection with serve, which gets the number of the connection, from 1. It returns the
// endpoint. The connection is closed when serve returns.
func rawUpstream(t testing.TB, serve func(n int, c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveRaw(t, ln, serve)
	return "http://" + ln.Addr().String()
}

func serveRaw(t testing.TB, ln net.Listener, serve func(n int, c net.Conn, br *bufio.Reader)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// readRequest reads one request with its body; nil at the end of the connection.
func readRequest(br *bufio.Reader) *http.Request {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// answering is a raw upstream that answers each request with the same bytes, and closes after them if they say so.
func answering(t testing.TB, answer string) string {
	return rawUpstream(t, func(_ int, c net.Conn, br *bufio.Reader) {
		for readRequest(br) != nil {
			io.WriteString(c, answer)
			if !strings.Contains(answer, "keep-alive") {
				return
			}
		}
	})
}

// rig is a front before a pool.
type rig struct {
	*httptest.Server
	pool    *Pool
	client  *http.Client
	results chan Result
}

// deny answers as the gateway would, with the reason where a test can see it.
func deny(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	var coded interface{ HTTPStatus() int }
	if errors.As(err, &coded) {
		status = coded.HTTPStatus()
	}
	var e *Error
	if errors.As(err, &e) {
		w.Header().Set("X-Reason", string(e.Reason))
	}
	w.WriteHeader(status)
	io.WriteString(w, "denied")
}

func newRig(t testing.TB, proto string, cfg Config, opts Options) *rig {
	t.Helper()
	pool, err := NewPool("test", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newRigOf(t, proto, pool, opts)
}

func newRigOf(t testing.TB, proto string, pool *Pool, opts Options) *rig {
	t.Helper()
	f := &rig{pool: pool, results: make(chan Result, 1000)}
	if opts.Deny == nil {
		opts.Deny = deny
	}
	opts.Observe = func(_ context.Context, r Result) { f.results <- r }
	f.Server = httptest.NewUnstartedServer(pool.Handler(opts))
	if proto == "http2" {
		f.EnableHTTP2 = true
		f.StartTLS()
	} else {
		f.Start()
	}
	f.client = f.Client()
	f.client.Transport.(*http.Transport).DisableCompression = true
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		f.Close()
		pool.Close()
	})
	return f
}

// do sends a request and returns the answer with its body read.
func (f *rig) do(t testing.TB, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(got)
}

// both runs a test with an HTTP/1.1 and an HTTP/2 client.
func both(t *testing.T, test func(t *testing.T, proto string)) {
	for _, proto := range []string{"http1", "http2"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			test(t, proto)
		})
	}
}

// A way is the version of HTTP that a test's upstream is spoken to in.
type way string

// ways runs a test with a client and an upstream of each version.
func ways(t *testing.T, test func(t *testing.T, proto string, to way)) {
	for _, to := range []way{HTTP1, HTTP2} {
		t.Run("to "+string(to), func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, proto string) { test(t, proto, to) })
		})
	}
}

// config is a pool of an upstream of HTTP/1.1. In HTTP/2 a bridge stands before it, which has a connection of its own for
// each stream, and passes on what it can of how an answer ends.
func (to way) config(t testing.TB, up string) Config {
	t.Helper()
	if to == HTTP1 {
		return endpoints(up)
	}
	no := false
	pool, err := NewPool("bridge", Config{Endpoints: []string{up}, MaxIdle: 1, Via: &no})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Endpoints: []string{h2Upstream(t, pool.Handler(Options{Deny: deny}), pool.Close)}, Protocol: HTTP2}
}

// h2Upstream is an upstream of HTTP/2 with prior knowledge, and nothing else.
func h2Upstream(t testing.TB, h http.Handler, after ...func() error) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		for _, f := range after {
			f()
		}
	})
	return s.URL
}

func endpoints(s ...string) Config { return Config{Endpoints: s} }

// caFile writes the certificate of a TLS test server as a PEM file.
func caFile(t testing.TB, cert *x509.Certificate) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// rawDial opens a plain connection to the front.
func (f *rig) rawDial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

func TestProxyForwardsRequestAndAnswer(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, proto string, to way) {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Seen", fmt.Sprintf("%s %s %q len=%d te=%v", r.Method, r.RequestURI, body, r.ContentLength, r.TransferEncoding))
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "hello")
		}))
		t.Cleanup(up.Close)
		f := newRig(t, proto, to.config(t, up.URL), Options{})
		for _, tt := range []struct {
			name, method, path, body, want string
		}{
			{"a GET has no framing", "GET", "/a%2Fb/c?x=1;y=%zz&&", "", `GET /a%2Fb/c?x=1;y=%zz&& "" len=0 te=[]`},
			{"an empty query keeps its mark", "GET", "/p?", "", `GET /p? "" len=0 te=[]`},
			{"a small body has its length", "POST", "/p", "abc", `POST /p "abc" len=3 te=[]`},
			{"a POST without a body says so", "POST", "/p", "", `POST /p "" len=0 te=[]`},
			{"a DELETE without a body has no framing", "DELETE", "/p", "", `DELETE /p "" len=0 te=[]`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				res, got := f.do(t, tt.method, tt.path, body)
				if res.StatusCode != http.StatusTeapot || got != "hello" {
					t.Errorf("answer: got %d %q, want 418 hello", res.StatusCode, got)
				}
				if got := res.Header.Get("X-Seen"); got != tt.want {
					t.Errorf("upstream saw %s, want %s", got, tt.want)
				}
				if got := strings.Join(res.Header["Set-Cookie"], " "); got != "a=1 b=2" {
					t.Errorf("Set-Cookie: got %q", got)
				}
				r := <-f.results
				if r.Err != nil || r.Status != 418 || r.Attempts != 1 || r.FirstByte <= 0 || r.Upstream != "test" || (to == HTTP1 && "http://"+r.Address != up.URL) {
					t.Errorf("result: got %+v", r)
				}
			})
		}
	})
}

func TestTLSEndpoints(t *testing.T) {
	t.Parallel()
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.ServerName+" "+r.Host)
	}))
	t.Cleanup(up.Close)
	ca := caFile(t, up.Certificate())
	for _, tt := range []struct {
		name   string
		tls    TLS
		status int
		reason Reason
	}{
		{"verified by a CA file", TLS{CA: ca, ServerName: "example.com"}, 200, ""},
		{"an address in the certificate", TLS{CA: ca}, 200, ""},
		{"the wrong name", TLS{CA: ca, ServerName: "other.test"}, 502, ReasonTLS},
		{"an unknown authority", TLS{}, 502, ReasonTLS},
		{"verification skipped by name", TLS{InsecureSkipVerify: true}, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, "http1", Config{Endpoints: []string{up.URL}, TLS: tt.tls}, Options{})
			for i := range 3 {
				res, _ := f.do(t, "GET", "/", nil)
				r := <-f.results
				if res.StatusCode != tt.status || Reason(res.Header.Get("X-Reason")) != tt.reason {
					t.Errorf("got %d %s (%v), want %d %s", res.StatusCode, res.Header.Get("X-Reason"), r.Err, tt.status, tt.reason)
				}
				if want := tt.status == 200 && i > 0; r.Reused != want {
					t.Errorf("request %d: reused: got %t, want %t", i, r.Reused, want)
				}
			}
		})
	}
}

func TestUnixEndpoint(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	up := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) })}
	go up.Serve(ln)
	defer up.Close()
	no := false
	f := newRig(t, "http1", Config{Endpoints: []string{"unix://" + path}, PreserveHost: &no}, Options{})
	for range 2 {
		if res, got := f.do(t, "GET", "/", nil); res.StatusCode != 200 || got != "localhost" {
			t.Errorf("got %d %q, want 200 localhost", res.StatusCode, got)
		}
	}
	if <-f.results; !(<-f.results).Reused {
		t.Error("second request: want a reused connection")
	}
	up.Close()
	if res, _ := f.do(t, "GET", "/", nil); res.StatusCode != 502 || res.Header.Get("X-Reason") != string(ReasonRefused) {
		t.Errorf("socket gone: got %d %s, want 502 %s", res.StatusCode, res.Header.Get("X-Reason"), ReasonRefused)
	}
}
