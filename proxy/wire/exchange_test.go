package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A reading is what one reader makes of a request.
type reading struct {
	Method, URI, Proto, Host, Body, Err string
	Major, Minor                        int
	URL                                 url.URL
	Header, Trailer                     http.Header
	Length                              int64
	Coding                              []string
	Close                               bool
}

func read(r *http.Request) reading {
	header := r.Header.Clone()
	body, err := io.ReadAll(r.Body)
	out := reading{
		Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, Body: string(body), Major: r.ProtoMajor, Minor: r.ProtoMinor,
		URL: *r.URL, Header: header, Trailer: r.Trailer, Length: r.ContentLength, Coding: r.TransferEncoding, Close: r.Close,
	}
	if err != nil {
		out.Err = "yes"
	}
	return out
}

// last reports whether no request of the same connection is answered after this one.
func (r *reading) last() bool {
	return r.Close || r.Err != "" || r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0
}

// FuzzRequest holds the loop to the reading of http.ReadRequest: each request that a handler gets is what that reads in
// its place, to the last field, and it gets all of them.
func FuzzRequest(f *testing.F) {
	for _, s := range append(streams(),
		"GET /a%2fb?x=%zz&y HTTP/1.1\r\nhost: A.test:80\r\nx: 1\r\nX: 2\r\ncookie: a=b\r\n\r\n",
		"GET //a/../b? HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
		"GET HTTP://a.test?q HTTP/1.0\r\nConnection: keep-alive, x\r\nPragma: no-cache\r\n\r\n"+get,
		"PROPFIND /\"[]| HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"+get,
		post+"Transfer-Encoding: chunked\r\nTrailer: a-b, c\r\n\r\n1\r\nx\r\n0\r\nA-B: 1\r\na-b: 2\r\nd: \t3 \r\n\r\n"+get,
		"GET /?a?b HTTP/1.0\r\n\r\n", "DELETE / HTTP/1.1\r\nHost:\t[::1] \r\n"+strings.Repeat("a:b\r\n", 30)+"\r\n",
	) {
		f.Add(s, uint8(7))
	}
	f.Fuzz(func(t *testing.T, stream string, step uint8) {
		var got []reading
		replay(func(_ http.ResponseWriter, r *http.Request) { got = append(got, read(r)) }, stream, 1+int(step))
		heads := 0
		released := release(&framer{maxHead: defaultMaxHeaderBytes}, stream, func(string) { heads++ })
		if n := len(got); n > heads || n < heads && (n == 0 || !got[n-1].last()) {
			t.Fatalf("%q: %d requests, the framer reads %d", stream, n, heads)
		}
		br := bufio.NewReader(strings.NewReader(released))
		for i, g := range got {
			r, err := http.ReadRequest(br)
			if err != nil {
				t.Fatalf("%q: request %d: ReadRequest: %v", stream, i, err)
			}
			want := read(r)
			if g.Err != "" { // how much of a broken body there was depends on who reads it
				g.Body, want.Body, want.Err, g.Trailer, want.Trailer = "", "", "yes", nil, nil
			}
			if g, want := fmt.Sprintf("%#v", g), fmt.Sprintf("%#v", want); g != want {
				t.Fatalf("%q: request %d: got\n%s, http.ReadRequest has\n%s", stream, i, g, want)
			}
		}
	})
}

// The header's values share memory; to add one to a field must not reach into the next.
func TestFieldsAreTheirOwn(t *testing.T) {
	t.Parallel()
	var got []string
	replay(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Add("A", "more")
		got = append(got, fmt.Sprint(r.Header))
	}, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nA: 3\r\nC: 4\r\n\r\n", 4096)
	equal(t, got, "map[A:[1 3 more] B:[2] C:[4]]")
}

func TestRequestsKnowTheirConnection(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
		fmt.Fprint(w, local, " ", server, " ", r.RemoteAddr, " ", r.TLS != nil && r.TLS.HandshakeComplete)
	}), Options{})
	for scheme, addr := range map[string]string{"http": f.plain, "https": f.tls} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		for range 2 {
			send(t, c, get)
			equal(t, []string{next(t, br)}, fmt.Sprint("200 ", addr, " true ", c.LocalAddr(), " ", scheme == "https"))
		}
	}
}

// What hangs on a request's context is told when the handler returns, and when the client goes.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	contexts := make(chan context.Context, 1)
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), violationKey{}, nil)
		if r.URL.Path != "/lazy" {
			if ctx.Err() != nil || ctx.Done() == nil {
				t.Error("the context has ended before its request")
			}
			contexts <- ctx
			return
		}
		contexts <- ctx
		_, _ = io.WriteString(w, "ok")
	}), Options{})
	c := f.dial(t, "http")
	br := bufio.NewReader(c)
	for _, path := range []string{"/", "/lazy"} {
		send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		_ = next(t, br)
		ctx := <-contexts
		called := make(chan struct{})
		context.AfterFunc(ctx, func() { close(called) })
		child, cancel := context.WithTimeout(ctx, time.Hour)
		<-called
		<-child.Done()
		cancel()
		if ctx.Err() != context.Canceled || context.Cause(child) != context.Canceled {
			t.Errorf("%s: got %v and %v, want %v", path, ctx.Err(), context.Cause(child), context.Canceled)
		}
	}
}
