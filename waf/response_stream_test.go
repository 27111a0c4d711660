package waf

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLongAnswersStream(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		var err error
		if r.URL.Path == "/from" {
			_, err = w.(io.ReaderFrom).ReadFrom(io.LimitReader(endless{}, size))
		} else {
			_, err = io.Copy(struct{ io.Writer }{w}, io.LimitReader(endless{}, size))
		}
		if err != nil {
			t.Error(err)
		}
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		for _, target := range []string{"/", "/from"} {
			res, err := ask(t, srv, http.MethodGet, target)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err != nil || n != size {
				t.Errorf("%s: got %d bytes, %v, want %d", target, n, err, size)
			}
		}
	})
}

// An endless is a text without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a' + byte(i%26)
	}
	return len(p), nil
}

func TestEventStreamsAreNotDelayed(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	for _, kind := range []string{"text/event-stream", "Text/Event-Stream; charset=utf-8"} {
		b := newBackstage(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for i := range 3 {
				fmt.Fprintf(w, "data: %d %s\n\n", i, mysqlLeak)
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				<-next // until the client has it
			}
		})
		b.each(t, func(t *testing.T, srv *httptest.Server) {
			res, err := ask(t, srv, http.MethodGet, "/")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			events := bufio.NewReader(res.Body)
			for i := range 3 {
				line, err := events.ReadString('\n')
				if want := fmt.Sprintf("data: %d %s\n", i, mysqlLeak); err != nil || line != want {
					t.Fatalf("event: got %q %v, want %q", line, err, want)
				}
				if _, err := events.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				next <- struct{}{}
			}
			if got := b.take(); got != nil {
				t.Errorf("results: got %v, want none", got)
			}
		})
	}
}

// A text that comes bit by bit is not held for ever: what was flushed is sent once it has waited for a moment.
// A leak that shows only then breaks the answer off.
func TestSlowAnswersAreSentOnAfterAMoment(t *testing.T) {
	t.Parallel()
	for _, coding := range []string{"", "gzip"} {
		next := make(chan struct{})
		b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			var out io.Writer = w
			flush := func() error { return nil }
			if coding == "gzip" {
				z := gzip.NewWriter(w)
				w.Header().Set("Content-Encoding", "gzip")
				defer z.Close()
				out, flush = z, z.Flush
			}
			say := func(text string) {
				_, _ = io.WriteString(out, text)
				if err := flush(); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
			}
			for i := range 2 {
				say(fmt.Sprintf("line %d\n", i))
				<-next
			}
			if r.URL.Path == "/leak" {
				say(mysqlLeak + "\n")
				say("more\n")
			}
		})
		t.Run("coding "+coding, func(t *testing.T) {
			b.each(t, func(t *testing.T, srv *httptest.Server) {
				for _, target := range []string{"/", "/leak"} {
					res, err := ask(t, srv, http.MethodGet, target)
					if err != nil {
						t.Fatal(err)
					}
					var body io.Reader = res.Body
					if coding == "gzip" {
						if body, err = gzip.NewReader(body); err != nil {
							t.Fatal(err)
						}
					}
					lines := bufio.NewReader(body)
					for i := range 2 {
						line, err := lines.ReadString('\n')
						if want := fmt.Sprintf("line %d\n", i); line != want {
							t.Fatalf("got %q %v, want %q", line, err, want)
						}
						next <- struct{}{}
					}
					rest, err := io.ReadAll(lines)
					if len(rest) > 0 || (err == nil) != (target == "/") {
						t.Errorf("%s: end: got %q %v", target, rest, err)
					}
					res.Body.Close()
					if got := b.take(); len(got) != 1 || got[0].Blocked != (target == "/leak") {
						t.Errorf("%s: results: got %+v", target, got)
					}
				}
			})
		})
	}
}

// A leak that is followed by nothing is not waited for.
func TestLeaksOfHandlersThatWaitAreRefused(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, mysqlLeak)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		if cause := context.Cause(r.Context()); !errors.As(cause, new(*Blocked)) {
			t.Errorf("cause: got %v, want *Blocked", cause)
		}
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		if res, body := get(t, srv, "/"); res.StatusCode != http.StatusForbidden || body != "" {
			t.Errorf("got %d %q, want 403", res.StatusCode, body)
		}
	})
}

func TestAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Etag", `"1"`)
		switch r.URL.Path {
		case "/304":
			w.WriteHeader(http.StatusNotModified)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/nothing":
		case "/length":
			w.Header().Set("Content-Length", "12345")
			w.WriteHeader(http.StatusOK)
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.WriteHeader(http.StatusCreated)
		}
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		for _, c := range []struct {
			method, target string
			status         int
			length         int64
		}{
			{http.MethodGet, "/304", 304, 0},
			{http.MethodGet, "/204", 204, 0},
			{http.MethodGet, "/nothing", 200, 0},
			{http.MethodHead, "/length", 200, 12345},
			{http.MethodHead, "/nothing", 200, -1},
			{http.MethodGet, "/hints", 201, 0},
		} {
			res, err := ask(t, srv, c.method, c.target)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || len(body) > 0 || res.StatusCode != c.status || res.ContentLength != c.length || res.Header.Get("Etag") != `"1"` {
				t.Errorf("%v: got %d, length %d, %v, %v", c, res.StatusCode, res.ContentLength, res.Header, err)
			}
			if res.Header.Get("Link") != "" {
				t.Errorf("%v: the early hints' field is in the answer", c)
			}
		}
	})
}

// A write of nothing sends nothing while an answer is held, not even a head.
func TestWritesOfNothingAreHeld(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusNotFound)
		if n, err := w.Write(nil); n != 0 || err != nil {
			t.Errorf("got %d, %v, want 0 and no error", n, err)
		}
		if r.URL.Path == "/leak" {
			_, _ = io.WriteString(w, mysqlLeak)
		}
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		for target, want := range map[string]int{"/": http.StatusNotFound, "/leak": http.StatusForbidden} {
			res, err := ask(t, srv, http.MethodGet, target)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s: got %d, want %d", target, res.StatusCode, want)
			}
		}
	})
}

func TestTrailersOfInspectedAnswers(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, page(len(r.URL.Path)*1000))
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", "2")
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		for _, target := range []string{"/", "/" + strings.Repeat("x", 300)} {
			res, body := get(t, srv, target)
			if len(body) != len(target)*1000 {
				t.Errorf("body: got %d bytes, want %d", len(body), len(target)*1000)
			}
			if diff := cmp.Diff(res.Trailer, http.Header{"X-Sum": {"1"}, "X-Late": {"2"}}); diff != "" {
				t.Errorf("trailers (-got +want)\n%s", diff)
			}
		}
	})
}

func TestPartsOfTextsPass(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.html", time.Time{}, strings.NewReader(page(5000)))
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		res, body := get(t, srv, "/", "Range", "bytes=10-19")
		if res.StatusCode != http.StatusPartialContent || body != page(5000)[10:20] {
			t.Errorf("got %d %q", res.StatusCode, body)
		}
		if got := b.take(); got != nil {
			t.Errorf("results: got %v, want none", got)
		}
	})
}

// What the handler began to answer when it panicked is not sent.
func TestPanicsWhileAnAnswerIsHeld(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		size := 5000
		if r.URL.Path == "/long" {
			size = 1 << 20
		}
		_, _ = io.WriteString(w, page(size))
		panic(http.ErrAbortHandler)
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		if res, err := ask(t, srv, http.MethodGet, "/"); err == nil {
			res.Body.Close()
			t.Errorf("got %d, want an error", res.StatusCode)
		}
		res, err := ask(t, srv, http.MethodGet, "/long")
		if err != nil {
			return // nothing had left the server's buffers yet
		}
		defer res.Body.Close()
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("the end of a long answer: got none, want an error")
		}
	})
}

// A handler that gives up because it cannot write gets its answer refused all the same. Another panic is its own.
func TestHandlersMayGiveUpWhenTheirAnswerIsRefused(t *testing.T) {
	t.Parallel()
	fault := errors.New("a fault")
	b := newBackstage(t, Config{ResponseLimit: "1KiB"}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for range 1000 {
			if _, err := io.WriteString(w, mysqlLeak); err != nil {
				if !errors.As(err, new(*Blocked)) {
					t.Errorf("write: got %v, want *Blocked", err)
				}
				if r.URL.Path == "/fault" {
					panic(fault)
				}
				panic(http.ErrAbortHandler)
			}
		}
		t.Error("every write succeeded")
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		if res, _ := get(t, srv, "/"); res.StatusCode != http.StatusForbidden {
			t.Errorf("got %d, want 403", res.StatusCode)
		}
		if res, err := ask(t, srv, http.MethodGet, "/fault"); err == nil {
			res.Body.Close()
			t.Errorf("fault: got %d, want an error", res.StatusCode)
		}
		if got := b.take(); len(got) < 2 { // the client may ask again where it got nothing
			t.Errorf("results: got %v, want one for each", got)
		}
	})
}

func TestHijackedConnectionsPass(t *testing.T) {
	t.Parallel()
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + mysqlLeak)
		_ = rw.Flush()
	})
	srv := b.servers["HTTP/1.1"]
	res, err := ask(t, srv, http.MethodGet, "/", "Connection", "Upgrade", "Upgrade", "x")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != mysqlLeak || res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("got %d %q %v", res.StatusCode, got, err)
	}
}

// A client that leaves does not leave anything behind.
func TestClientsThatLeaveWhileAnAnswerIsHeld(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "beginning")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		res, err := ask(t, srv, http.MethodGet, "/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("handler: got %v, want a cancelled context", err)
		}
	})
}

var _ interface {
	http.ResponseWriter
	http.Flusher
	http.Hijacker
	io.ReaderFrom
	FlushError() error
	Unwrap() http.ResponseWriter
} = (*answer)(nil)
