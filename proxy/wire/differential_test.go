package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A talk is what came of a stream: the requests that a handler got, as it read them, and what the client was sent.
type talk struct {
	requests []string
	results  []string // what the handler made of each
	methods  []string
	refused  bool // the last that was read had two readings
	sent     string
}

// behaviours are what handlers do with a request, in one order or another.
func behaviours() []func(w http.ResponseWriter, body io.Reader) string {
	read := func(body io.Reader) string {
		b, err := io.ReadAll(body)
		return fmt.Sprintf("%q %v", b, err != nil)
	}
	flush := func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
	return []func(w http.ResponseWriter, body io.Reader) string{
		func(w http.ResponseWriter, body io.Reader) string {
			got := read(body)
			_, _ = io.WriteString(w, got)
			return got
		},
		func(w http.ResponseWriter, _ io.Reader) string {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no")
			return ""
		},
		func(w http.ResponseWriter, body io.Reader) string {
			n, err := body.Read(make([]byte, 1))
			_, _ = io.WriteString(w, "one")
			return fmt.Sprint(n, err != nil && err != io.EOF)
		},
		func(w http.ResponseWriter, body io.Reader) string {
			_, _ = io.WriteString(w, "first")
			flush(w)
			_, _ = io.ReadAll(body) // that the body broke off is an error here only, if the server has found out before the handler
			_, _ = io.WriteString(w, "last")
			return ""
		},
		func(w http.ResponseWriter, _ io.Reader) string {
			w.WriteHeader(http.StatusNoContent)
			return ""
		},
		func(w http.ResponseWriter, body io.Reader) string {
			_ = body.(io.Closer).Close()
			w.Header().Set("Content-Length", "10000")
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
			return ""
		},
		func(w http.ResponseWriter, body io.Reader) string {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.WriteString(w, "first")
			flush(w)
			got := read(body)
			_, _ = io.WriteString(w, got)
			return got
		},
		func(w http.ResponseWriter, body io.Reader) string {
			w.Header().Set("Content-Length", "5")
			got := read(body)
			_, _ = io.WriteString(w, "abc") // less than promised
			return got
		},
		func(w http.ResponseWriter, _ io.Reader) string {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusNotModified)
			return ""
		},
		func(w http.ResponseWriter, _ io.Reader) string {
			_, _ = io.WriteString(w, "broken off")
			flush(w)
			panic(http.ErrAbortHandler)
		},
		func(w http.ResponseWriter, _ io.Reader) string { return "" },
	}
}

// handler takes down what it gets and behaves in the given way.
func (k *talk) handler(kind byte) http.HandlerFunc {
	all := behaviours()
	behave := all[int(kind)%len(all)]
	return func(w http.ResponseWriter, r *http.Request) {
		k.methods = append(k.methods, r.Method)
		seen := fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Proto, " ", r.Host, " ", r.URL, " ", r.Header, r.ContentLength, r.TransferEncoding, r.Close)
		k.requests = append(k.requests, seen)
		k.results = append(k.results, "")
		k.results[len(k.results)-1] = behave(w, r.Body)
	}
}

// here has the server of this package answer a stream.
func here(stream string, step int, kind byte) *talk {
	k := &talk{}
	h := k.handler(kind)
	c := &tape{bytes: []byte(stream), step: step}
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Violation(r); err != nil {
			deny(w, err)
			return
		}
		h(w, r)
	}), Options{})
	l := s.admit(c)
	newConn(l, l).serve()
	_ = s.Shutdown(context.Background())
	k.refused = s.Stats().Violations > 0
	k.sent = string(c.out)
	return k
}

// there has net/http's server answer it.
func there(stream string, step int, kind byte) *talk {
	k := &talk{}
	c := &taped{tape: tape{bytes: []byte(stream), step: step}, ended: make(chan struct{})}
	ln := &queue{addr: c.LocalAddr(), conns: make(chan net.Conn, 1), done: make(chan struct{})}
	ln.push(c)
	s := &http.Server{Handler: k.handler(kind), ErrorLog: discard(), DisableGeneralOptionsHandler: true, ReadHeaderTimeout: time.Hour, MaxHeaderBytes: defaultMaxHeaderBytes}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(ln) })
	<-c.ended
	_ = ln.Close()
	serving.Wait()
	k.sent = string(c.out)
	return k
}

// A taped is a tape that tells when it has been closed, or will be after net/http has waited for half a second.
type taped struct {
	tape
	once  sync.Once
	ended chan struct{}
}

func (c *taped) Close() error {
	c.once.Do(func() { close(c.ended) })
	return nil
}

func (c *taped) CloseWrite() error { return c.Close() }

// answersIn reads the answers to the first n requests of a talk.
func (k *talk) answersIn(t *testing.T, n int) (out []string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(k.sent))
	for i := 0; i < n; {
		if _, err := br.Peek(1); err != nil {
			break
		}
		resp, err := http.ReadResponse(br, &http.Request{Method: k.methods[i]})
		if err != nil {
			t.Fatalf("%q: %v", k.sent, err)
		}
		body, err := io.ReadAll(resp.Body)
		closing := resp.Close
		if i == n-1 { // what it says of the connection shows by what follows
			closing = false
			resp.Header.Del("Connection")
		}
		out = append(out, fmt.Sprint(resp.Proto, resp.Status, " ", lines(resp.Header), resp.TransferEncoding, resp.ContentLength, closing, string(body), err))
		if resp.StatusCode >= 200 {
			i++
		}
	}
	return out
}

// mayEnd reports whether nothing may be read behind a request here although net/http reads on: what comes before the answer
// to one that asked for another protocol, or after one over HTTP/1.0 that asked to go on in no token.
func (k *talk) mayEnd(i int) bool {
	r := k.requests[i]
	return strings.HasPrefix(r, "CONNECT ") || strings.Contains(r, "Upgrade:") || strings.Contains(r, " HTTP/1.0 ")
}

// differ says how two talks differ for no reason that is known.
func differ(t *testing.T, ours, theirs *talk) string {
	t.Helper()
	n := len(ours.requests)
	if n > len(theirs.requests) {
		return fmt.Sprintf("a request more than net/http's: %q", ours.requests[len(theirs.requests)])
	}
	if n < len(theirs.requests) && !ours.refused && (n == 0 || !ours.mayEnd(n-1)) {
		return fmt.Sprintf("a request less than net/http's, and nothing was refused: %q", theirs.requests[n])
	}
	for i, want := range theirs.requests[:n] {
		if got := ours.requests[i]; got != want {
			return fmt.Sprintf("request %d: got\n%s, net/http has\n%s", i, got, want)
		}
		if ours.refused && i == n-1 {
			break // it may have been refused in its body
		}
		if got, want := ours.results[i], theirs.results[i]; got != want {
			return fmt.Sprintf("handler %d: got\n%s, with net/http\n%s", i, got, want)
		}
	}
	got, want := ours.answersIn(t, n), theirs.answersIn(t, n)
	for i := range max(len(got), len(want)) {
		if ours.refused && i >= n-1 {
			break
		}
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("answer %d: got\n%.700q, net/http has\n%.700q", i, got, want)
		}
	}
	return ""
}

// withoutBlank is a stream without the empty lines in front of heads that are dropped here, and answered with 400 by net/http.
func withoutBlank(stream string) string {
	f := framer{maxHead: defaultMaxHeaderBytes}
	var out strings.Builder
	for used, seen := 0, 0; ; seen++ {
		for used < seen {
			before := f.state
			n, skip, err := f.scan([]byte(stream[used:seen]))
			out.WriteString(stream[used : used+n])
			if used += n + skip; err != nil || f.state == held {
				return out.String() + stream[used:]
			}
			if n+skip == 0 && f.state == before {
				break
			}
		}
		if seen == len(stream) {
			return out.String() + stream[used:]
		}
	}
}

// FuzzDifferential gives the same bytes to this server and to net/http's, with a handler that reads, answers and breaks off
// in some order. What reaches the handler and the client must be the same, but for this:
//   - where bytes have two readings, nothing more is read here;
//   - an empty line in front of a request is dropped, where net/http answers 400;
//   - nothing is read that comes between a request for another protocol and its answer;
//   - the last answer may say Connection: close where net/http only closes;
//   - HTTP/1.0 goes on if Connection has the token keep-alive, and not if a value that is no token begins with it.
func FuzzDifferential(f *testing.F) {
	for _, s := range append(streams(),
		"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"+get, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
		post+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"+get, post+"Connection: close\r\nContent-Length: 5\r\n\r\nhel",
		post+"Content-Length: 300000\r\n\r\n"+strings.Repeat("x", 300_000)+get,
		post+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 10)+"0\r\n\r\n"+get,
		post+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"+get,
	) {
		for kind := range behaviours() {
			f.Add(s, uint8(200), byte(kind))
		}
	}
	f.Fuzz(func(t *testing.T, stream string, step uint8, kind byte) {
		ours, theirs := here(stream, 1+int(step), kind), there(withoutBlank(stream), 1+int(step), kind)
		if d := differ(t, ours, theirs); d != "" {
			t.Fatalf("%q, kind %d: %s\nsent %.500q\ntheirs %.500q", stream, kind, d, ours.sent, theirs.sent)
		}
	})
}
