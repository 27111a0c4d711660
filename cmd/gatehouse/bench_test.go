package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/devpool"
	"gatehouse/proxy/certs"
)

// What a request costs through the whole chain, on one keep-alive connection of TLS 1.3 and HTTP/1.1,
// with an answer of 1 KB, and what it costs through net/http's own reverse proxy on the same listener
// code. The client and the upstream are in the same process and the same for all; ratios count.

const benchConfig = `
listen: {https: "127.0.0.1:0", admin: "off"}
tls: {local: true}
state_dir: %s
waf: %s
login:
  cognito:
    region: eu-west-1
    user_pool: eu-west-1_DevPool01
    domain: %s
    endpoint: %s
    client_id: %s
    client_secret: %s
upstreams: {u: %s}
routes:
  - {match: localhost/app/*, to: u, require: signed-in}
  - {match: localhost/kept/*, to: u, require: nothing, cache: {ttl: 1h}}
  - {match: localhost, to: u, require: nothing}
`

// benchUpstream answers every request with 1 KB, as cheaply as it can.
func benchUpstream(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveBench(conn, answer)
		}
	}()
	return "http://" + ln.Addr().String()
}

func serveBench(conn net.Conn, answer []byte) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 32<<10)
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
			if len(line) <= 2 {
				break
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// startBench runs a front door and returns its address and the Cookie header of a signed-in user.
func startBench(b *testing.B, waf, upstream string) (addr, cookies string) {
	b.Helper()
	pool := httptest.NewUnstartedServer(nil)
	base := "http://" + pool.Listener.Addr().String()
	p, err := devpool.New(devpool.Options{
		BaseURL: base, InsecureAnyLocalhost: true, Clients: []devpool.Client{{ID: devClientID, Secret: devSecret}},
	})
	if err != nil {
		b.Fatal(err)
	}
	pool.Config.Handler = p
	pool.Start()
	b.Cleanup(pool.Close)
	file := filepath.Join(b.TempDir(), "gatehouse.yaml")
	text := fmt.Sprintf(benchConfig, b.TempDir(), waf, base, base, devClientID, devSecret, upstream)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	addr = startProcess(b, file)
	return addr, benchSession(b, addr, base)
}

// startProcess runs `gatehouse run -q` on file until the test ends and returns the HTTPS address.
func startProcess(tb testing.TB, file string) string {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan addresses, 1), make(chan int, 1)
	var stderr bytes.Buffer
	env := &environment{stdout: io.Discard, stderr: &stderr, getenv: os.LookupEnv, ready: func(at addresses) { ready <- at }}
	go func() { ended <- execute(ctx, []string{"run", "-q", "-c", file}, env) }()
	select {
	case at := <-ready:
		tb.Cleanup(func() {
			cancel()
			<-ended
		})
		return at.HTTPS.String()
	case code := <-ended:
		cancel()
		tb.Fatalf("run: exit %d\n%s", code, stderr.String())
		return ""
	}
}

var benchCSRF = regexp.MustCompile(`name="_csrf" value="([^"]+)"`)

// benchSession signs alice in and returns her cookies.
func benchSession(b *testing.B, addr, pool string) string {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	page := "https://localhost:" + port + "/app/"
	client := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func(method, address string, form url.Values) (*http.Response, string) {
		req, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			b.Fatal(err)
		}
		return resp, string(body)
	}
	resp, body := get(http.MethodGet, page, nil)
	csrf := benchCSRF.FindStringSubmatch(body)
	if csrf == nil {
		b.Fatalf("no login page at %s: %s\n%s", resp.Request.URL, resp.Status, body)
	}
	login := pool + "/login?" + resp.Request.URL.RawQuery
	resp, body = get(http.MethodPost, login, url.Values{"username": {"alice"}, "password": {"alice"}, "_csrf": {csrf[1]}})
	if resp.StatusCode != http.StatusOK {
		b.Fatalf("sign in: %s\n%s", resp.Status, body)
	}
	u, _ := url.Parse(page)
	var parts []string
	for _, c := range jar.Cookies(u) {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}

// startBareProxy is httputil.ReverseProxy as one would tune it, behind TLS.
func startBareProxy(b *testing.B, upstream string) string {
	b.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		b.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
	}
	manager, err := certs.New(certs.Config{Local: true}, b.TempDir(), certs.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: proxy}
	b.Cleanup(func() {
		server.Close()
		manager.Close()
	})
	go func() {
		if err := server.Serve(tls.NewListener(ln, manager.TLSConfig())); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return ln.Addr().String()
}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// benchExchange sends one request again and again on one connection.
func benchExchange(b *testing.B, addr, request string) {
	b.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Minute))
	r, raw := bufio.NewReaderSize(conn, 32<<10), []byte(request)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(raw); err != nil {
			b.Fatal(err)
		}
		if err := skipAnswer(r); err != nil {
			b.Fatal(err)
		}
	}
}

// skipAnswer reads one answer, which must be 200, without keeping anything.
func skipAnswer(r *bufio.Reader) error {
	length, first := 0, true
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answer: %s", line)
		}
		first = false
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		if len(line) <= 2 {
			_, err := r.Discard(length)
			return err
		}
	}
}

const benchHeaders = "User-Agent: Mozilla/5.0 (bench)\r\nAccept: */*\r\nAccept-Language: en\r\n"

func benchGet(addr, path, cookies string) string {
	if cookies != "" {
		cookies = "Cookie: " + cookies + "\r\n"
	}
	return "GET " + path + " HTTP/1.1\r\n" + benchHost(addr) + benchHeaders + cookies + "\r\n"
}

// benchHost is the Host that a session of addr is bound to.
func benchHost(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return "Host: localhost:" + port + "\r\n"
}

func BenchmarkWhole(b *testing.B) {
	upstream := benchUpstream(b)
	b.Run("bare ReverseProxy", func(b *testing.B) {
		addr := startBareProxy(b, upstream)
		benchExchange(b, addr, benchGet(addr, "/", ""))
	})
	b.Run("proxy", func(b *testing.B) {
		addr, _ := startBench(b, "off", upstream)
		benchExchange(b, addr, benchGet(addr, "/", ""))
	})
	b.Run("cache", func(b *testing.B) {
		addr, _ := startBench(b, "off", upstream)
		benchExchange(b, addr, benchGet(addr, "/kept/", ""))
	})
	b.Run("session and assertion", func(b *testing.B) {
		addr, cookies := startBench(b, "off", upstream)
		benchExchange(b, addr, benchGet(addr, "/app/", cookies))
	})
	b.Run("WAF", func(b *testing.B) {
		addr, _ := startBench(b, "block", upstream)
		benchExchange(b, addr, benchGet(addr, "/", ""))
	})
	b.Run("WAF, session and assertion", func(b *testing.B) {
		addr, cookies := startBench(b, "block", upstream)
		benchExchange(b, addr, benchGet(addr, "/app/", cookies))
	})
	b.Run("everything, a form of 2 KB", func(b *testing.B) {
		addr, cookies := startBench(b, "block", upstream)
		var form strings.Builder
		for n := range 20 {
			fmt.Fprintf(&form, "field%d=%s&", n, strings.Repeat("some+ordinary+words+", 5))
		}
		body := strings.TrimSuffix(form.String(), "&")
		benchExchange(b, addr, fmt.Sprintf(
			"POST /app/ HTTP/1.1\r\n%s%sCookie: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			benchHost(addr), benchHeaders, cookies, len(body), body,
		))
	})
}
