package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reverseProxy is the yardstick: the standard library's proxy, tuned.
func reverseProxy(target string) http.Handler {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(u)
			pr.SetXForwarded()
			pr.Out.Host = pr.In.Host
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256, MaxIdleConns: 256, DisableCompression: true},
		BufferPool: &bufferPool{},
	}
}

type bufferPool struct{ p sync.Pool }

func (b *bufferPool) Get() []byte {
	if v, ok := b.p.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}
func (b *bufferPool) Put(p []byte) { b.p.Put(&p) }

// cheapUpstream answers every request on a keep-alive connection with the same bytes, with as little work as it can:
// what is measured is the proxy.
func cheapUpstream(b testing.TB, size int) string {
	answer := []byte("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\nServer: app\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Cache-Control: no-cache\r\nEtag: \"abc\"\r\nContent-Length: " + itoa(size) + "\r\n\r\n" + strings.Repeat("x", size))
	return rawUpstream(b, func(_ int, c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}
	})
}

func itoa(n int) string {
	return string(appendInt(nil, n))
}

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// BenchmarkProxy compares the handlers behind the same server, over plain HTTP/1.1 and over TLS, with the process's
// CPU time per request. "direct" answers without an upstream; the difference from "floor" is a proxy's own cost.
func BenchmarkProxy(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		target := cheapUpstream(b, size)
		page := strings.Repeat("x", size)
		pool, err := NewPool("bench", Config{Endpoints: []string{target}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { pool.Close() })
		for _, proxy := range []struct {
			name string
			h    http.Handler
		}{
			{"direct", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Header().Set("Content-Length", itoa(size))
				io.WriteString(w, page)
			})},
			{"floor", forwardBlindly(b, target, size)},
			{"gatehouse", pool.Handler(Options{Deny: deny})},
			{"reverseproxy", reverseProxy(target)},
		} {
			for _, secure := range []bool{false, true} {
				name := proxy.name + "/" + itoa(size>>10) + "KiB/plain"
				if secure {
					name = proxy.name + "/" + itoa(size>>10) + "KiB/tls"
				}
				b.Run(name, func(b *testing.B) { benchServer(b, proxy.h, secure) })
			}
		}
	}
}

// forwardBlindly sends the same request over one connection and reads the answer without looking at it: the least
// that any proxy can do.
func forwardBlindly(b *testing.B, target string, size int) http.Handler {
	c, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	request := []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	buf := make([]byte, 128<<10)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := c.Write(request); err != nil {
			panic(err)
		}
		n := 0
		for n < size {
			m, err := c.Read(buf[n:])
			if err != nil {
				panic(err)
			}
			n += m
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", itoa(size))
		w.Write(buf[n-size : n])
	})
}

func benchServer(b *testing.B, h http.Handler, secure bool) {
	s := httptest.NewUnstartedServer(h)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	defer s.Close()
	var d net.Dialer
	c, err := d.DialContext(context.Background(), "tcp", s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	request := []byte("GET /app/page?id=1 HTTP/1.1\r\nHost: app.example.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\nCookie: a=1; b=2\r\n\r\n")
	br := bufio.NewReaderSize(c, 64<<10)
	roundTrip := func() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		length := 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				for _, d := range bytes.TrimSpace(v) {
					length = length*10 + int(d-'0')
				}
			}
			if len(line) == 2 {
				break
			}
		}
		if length == 0 {
			b.Fatal("no Content-Length")
		}
		if _, err := br.Discard(length); err != nil {
			b.Fatal(err)
		}
	}
	roundTrip()
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		roundTrip()
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
