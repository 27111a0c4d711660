package wire

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A front is a server under test with one plain and one TLS listener.
type front struct {
	*Server
	plain, tls string
	roots      *x509.CertPool

	mu     sync.Mutex
	errors []error
	peers  []net.Addr
}

// answer refuses violations as assemble has it done and gives the rest to h.
func answer(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Violation(r); err != nil {
			deny(w, err)
			return
		}
		h(w, r)
	})
}

func deny(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	var e *Error
	if errors.As(err, &e) {
		status = e.HTTPStatus()
		err = e
	}
	http.Error(w, err.Error(), status)
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		deny(w, err)
		return
	}
	fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
}

func newFront(t *testing.T, h http.Handler, opts Options) *front {
	t.Helper()
	f := &front{}
	opts.OnError = func(peer net.Addr, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.peers, f.errors = append(f.peers, peer), append(f.errors, err)
	}
	f.Server = NewServer(h, opts)
	plain, secure := listen(t), listen(t)
	f.plain, f.tls = plain.Addr().String(), secure.Addr().String()
	cert, roots := certificate(t)
	f.roots = roots
	var serving sync.WaitGroup
	serving.Go(func() { _ = f.Serve(plain) })
	serving.Go(func() {
		_ = f.ServeTLS(secure, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1", acmeTLS}})
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = f.Shutdown(ctx)
		serving.Wait()
	})
	return f
}

func (f *front) reported() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]error(nil), f.errors...)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.test"}, DNSNames: []string{"a.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// dial connects to the plain or the TLS listener, there with HTTP/1.
func (f *front) dial(t *testing.T, scheme string) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	if scheme == "https" {
		c, err = tls.Dial("tcp", f.tls, &tls.Config{RootCAs: f.roots, ServerName: "a.test", NextProtos: []string{"http/1.1"}})
	} else {
		c, err = net.Dial("tcp", f.plain)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// client speaks only the given protocol version.
func (f *front) client(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	tr := &http.Transport{
		Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: f.roots, ServerName: "a.test"},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func send(t *testing.T, c net.Conn, stream string) {
	t.Helper()
	if _, err := io.WriteString(c, stream); err != nil {
		t.Fatal(err)
	}
}

// answers reads every response until the server closes.
func answers(t *testing.T, c net.Conn) (got []string) {
	t.Helper()
	br := bufio.NewReader(c)
	for {
		if _, err := br.Peek(1); err == io.EOF {
			return got
		}
		got = append(got, next(t, br))
	}
}

func next(t *testing.T, br *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(body)))
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("answers\n%q, want\n%q", got, want)
	}
}

func TestServerAnswersNoRequestByItself(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for _, c := range []struct {
		scheme, host string
		h2           bool
	}{{"http", f.plain, false}, {"https", f.tls, false}, {"https", f.tls, true}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, c.scheme+"://"+c.host, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "*"
		resp, err := f.client(t, c.h2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := "OPTIONS * "; err != nil || string(got) != want {
			t.Errorf("OPTIONS * over %s, HTTP/2 %t: got %q, %v, want %q of the handler", c.scheme, c.h2, got, err, want)
		}
	}
}

func TestServerAnswersRequestsBeforeAViolation(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, scheme)
			send(t, c, post+"Content-Length: 2\r\n\r\nok"+"GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n"+
				"GET /3 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+get)
			equal(t, answers(t, c), "200 POST / ok", "200 GET /2", "400 "+errBothFramings.Error())
		})
	}
}

func TestServerAnswersAViolationInABody(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for _, scheme := range []string{"http", "https"} {
		for tail, want := range map[string]*Error{
			"5\r\nhello\r\nx\r\n":                errChunkSize,
			"5\r\nhelloworld":                    errChunkEnd,
			"5\r\nhello\r\n0\r\nHost: b\r\n\r\n": errTrailerMayNot,
			"0\r\n\n" + get:                      errBareLF,
		} {
			t.Run(scheme+" "+want.Reason, func(t *testing.T) {
				t.Parallel()
				c := f.dial(t, scheme)
				send(t, c, post+"Transfer-Encoding: chunked\r\n\r\n"+tail)
				equal(t, answers(t, c), "400 "+want.Error())
			})
		}
	}
}

func TestServerClosesWhenAHandlerIgnoresAViolationInABody(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") }), Options{})
	c := f.dial(t, "http")
	send(t, c, post+"Transfer-Encoding: chunked\r\n\r\nx\r\n"+get)
	equal(t, answers(t, c), "200 done")
}

func TestServerTellsATruncatedBody(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	for _, framing := range []string{"Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		c := f.dial(t, "http")
		send(t, c, post+framing)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		equal(t, answers(t, c), "400 "+errTruncated.Error())
	}
}

// The end of a refused stream is not the client's going.
func TestServerKeepsTheContextOfAViolation(t *testing.T) {
	t.Parallel()
	f := newFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Violation(r) == nil {
			t.Error("the request is not a violation")
		}
		select {
		case <-r.Context().Done():
			t.Error("the context was cancelled")
		case <-time.After(50 * time.Millisecond): // nothing to wait for: this is the absence of an event
		}
		w.WriteHeader(http.StatusTeapot)
	}), Options{})
	c := f.dial(t, "http")
	send(t, c, "x\n")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	equal(t, answers(t, c), "418 ")
}

func TestViolationIsNilForOtherRequests(t *testing.T) {
	t.Parallel()
	var synthetic []string
	var mu sync.Mutex
	f := newFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if Violation(r) != nil {
			synthetic = append(synthetic, r.Host)
		}
	}), Options{})
	c := f.dial(t, "http")
	send(t, c, get+"bad\r\n")
	_ = answers(t, c)
	mu.Lock()
	hosts := synthetic
	mu.Unlock()
	if len(hosts) != 1 {
		t.Fatalf("%d violations, want 1", len(hosts))
	}
	c = f.dial(t, "http")
	send(t, c, "GET / HTTP/1.1\r\nHost: "+hosts[0]+"\r\nConnection: close\r\n\r\n")
	_ = answers(t, c)
	mu.Lock()
	defer mu.Unlock()
	if len(synthetic) != 1 {
		t.Error("a client's request counts as a violation because it knows the host of an old one")
	}
	if got := f.Stats().Violations; got != 1 {
		t.Errorf("Stats: %d violations, want 1", got)
	}
}

func TestServerDropsBytesBehindARefusedUpgrade(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	const upgrade = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, scheme)
			send(t, c, upgrade+get)
			equal(t, answers(t, c), "200 GET /ws")

			c = f.dial(t, scheme)
			br := bufio.NewReader(c)
			send(t, c, upgrade)
			first := next(t, br)
			send(t, c, "GET /2 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			equal(t, []string{first, next(t, br)}, "200 GET /ws", "200 GET /2")
		})
	}
}

// A hint is no answer: what comes behind it may still be meant for the protocol that was asked for.
func TestServerDropsBytesBetweenAHintAndARefusedUpgrade(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{})
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		<-sent
		echo(w, r)
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		send(t, c, "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		equal(t, []string{next(t, br)}, "103 ")
		send(t, c, "GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n")
		sent <- struct{}{}
		equal(t, []string{next(t, br)}, "200 GET /ws")
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Errorf("got %q behind it, want nothing", rest)
		}
	}
}

// A client may send its next request as soon as it has read the answer, while the handler still runs.
func TestServerKeepsARequestBehindARefusedUpgrade(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{}, 2)
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, r.URL.Path)
		if r.URL.Path == "/1" {
			_ = http.NewResponseController(w).Flush()
			<-sent
		}
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		send(t, c, "GET /1 HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		first := next(t, br)
		send(t, c, "GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n"+"GET /3 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		sent <- struct{}{}
		equal(t, []string{first, next(t, br), next(t, br)}, "200 /1", "200 /2", "200 /3")
	}
}

func TestServerPassesBytesRawToAnUpgrade(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		if n := brw.Reader.Buffered(); n != 0 {
			t.Errorf("%d bytes were given out before the upgrade, want 0", n)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.CopyN(c, brw, int64(len("early\n\x00late")))
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, scheme)
			send(t, c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly\n\x00")
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(resp, err)
			}
			send(t, c, "late")
			got, err := io.ReadAll(br)
			if string(got) != "early\n\x00late" || err != nil {
				t.Errorf("echoed %q, error %v; want %q", got, err, "early\n\x00late")
			}
		})
	}
}

func TestServerRefusesAFloodBehindAnUpgrade(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), Options{})
	c := f.dial(t, "http")
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\n"+strings.Repeat("x", 10*bufferSize))
	got, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(got), "HTTP/1.1 200") && len(got) != 0 {
		t.Errorf("answered %q, want the handler's or none", got)
	}
}

func TestServerReadsHeadsOfEverySize(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, len(r.Header.Get("X")))
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		for _, size := range []int{1, 4000, 4096, 5000, 8191, 8192, 20_000, 65_000} {
			send(t, c, "GET / HTTP/1.1\r\nHost: a.test\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n")
			if got, want := next(t, br), fmt.Sprint("200 ", size); got != want {
				t.Errorf("answered %q, want %q", got, want)
			}
		}
	}
}

func TestServerReadsBodies(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, n, " ", r.Trailer.Get("X-Sum"), " ", r.TLS != nil, " ", r.ProtoMajor)
	}), Options{})
	const size = 3 << 20
	for scheme, url := range map[string]string{"http": "http://" + f.plain, "https": "https://" + f.tls} {
		for _, h2 := range []bool{false, true} {
			if h2 && scheme == "http" {
				continue
			}
			for _, chunked := range []bool{false, true} {
				req, err := http.NewRequest("POST", url, strings.NewReader(strings.Repeat("x", size)))
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprint(size, "  ", scheme == "https", " 1")
				if chunked {
					req.ContentLength = -1
					req.Trailer = http.Header{"X-Sum": {"sum"}}
					want = fmt.Sprint(size, " sum ", scheme == "https", " 1")
				}
				if h2 {
					want = want[:len(want)-1] + "2"
				}
				resp, err := f.client(t, h2).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if string(got) != want || err != nil {
					t.Errorf("%s, HTTP/2 %v, chunked %v: %q, %v; want %q", scheme, h2, chunked, got, err, want)
				}
			}
		}
	}
}

func TestServerReportsWhatNoRequestStandsFor(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	c, err := net.Dial("tcp", f.tls)
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, get)
	got, err := io.ReadAll(c)
	if !strings.HasPrefix(string(got), "HTTP/1.0 400 Bad Request\r\n") || err != nil {
		t.Errorf("plain HTTP on the TLS port: %q, %v; want a 400", got, err)
	}
	local := c.LocalAddr().String()
	_ = c.Close()
	await(t, func() bool { return len(f.reported()) == 1 })
	var he *HandshakeError
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.As(f.errors[0], &he) || f.peers[0].String() != local {
		t.Errorf("reported %v of %v, want a HandshakeError of %v", f.errors[0], f.peers[0], local)
	}
}

// await polls for a state that another goroutine reaches soon.
func await(t *testing.T, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the state was not reached within 10 s")
		}
	}
}

func TestServerLimitsConnections(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{MaxConns: 1})
	c := f.dial(t, "http")
	br := bufio.NewReader(c)
	send(t, c, get)
	_ = next(t, br)
	over := f.dial(t, "http")
	if got, err := io.ReadAll(over); len(got) > 0 {
		t.Errorf("one connection too many: read %q, %v; want it closed", got, err)
	}
	await(t, func() bool { return len(f.reported()) == 1 })
	if got := f.Stats().Refused; got != 1 {
		t.Errorf("Stats: %d refused, want 1", got)
	}
	if errs := f.reported(); len(errs) != 1 || !errors.Is(errs[0], ErrTooManyConnections) {
		t.Errorf("reported %v, want %v", errs, ErrTooManyConnections)
	}
	send(t, c, get)
	equal(t, []string{next(t, br)}, "200 GET /")
}

func TestServerEndsAChallengeAfterTheHandshake(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	c, err := tls.Dial("tcp", f.tls, &tls.Config{RootCAs: f.roots, ServerName: "a.test", NextProtos: []string{acmeTLS}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("read %q, %v; want the connection closed", got, err)
	}
	await(t, func() bool { return f.Stats() == Stats{Accepted: 1} })
}

func TestServerRefusesHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(echo), Options{})
	c := f.dial(t, "http")
	send(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	equal(t, answers(t, c), "505 "+errVersion.Error())
}

// A client that sends all of its body before it reads sees the answer that came before the body was read.
func TestAnAnswerBeforeTheWholeBody(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		if r.URL.Path == "/interrupted" { // as an upload to an upstream is that has answered
			over := make(chan struct{})
			go func() {
				defer close(over)
				_, _ = io.Copy(io.Discard, r.Body)
			}()
			_ = rc.SetReadDeadline(time.Unix(1, 0))
			<-over
		}
		w.Header().Set("Connection", "close")
		http.Error(w, "too big", http.StatusRequestEntityTooLarge)
	}), Options{})
	body := strings.Repeat("a", 8<<20)
	for _, path := range []string{"/unread", "/interrupted"} {
		for name, framed := range map[string]string{
			"sized":   fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body),
			"chunked": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
		} {
			for _, scheme := range []string{"http", "https"} {
				t.Run(path[1:]+"/"+name+"/"+scheme, func(t *testing.T) {
					t.Parallel()
					c := f.dial(t, scheme)
					if _, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: a.test\r\n"+framed); err != nil {
						t.Fatalf("write: %v", err)
					}
					res, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatalf("read: %v", err)
					}
					if res.StatusCode != http.StatusRequestEntityTooLarge {
						t.Errorf("status: got %d, want 413", res.StatusCode)
					}
				})
			}
		}
	}
}
