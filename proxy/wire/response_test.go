package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wireAnswer is what a raw client makes of an answer.
type wireAnswer struct {
	line    string
	fields  []string
	body    string
	trailer []string
}

// exchangeRaw sends a request, reads its answers up to the final one, and tries whether the connection takes another.
func exchangeRaw(t *testing.T, addr, stream, method string) (got []wireAnswer, kept bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	send(t, c, stream)
	br := bufio.NewReader(c)
	for {
		head, err := br.Peek(len("HTTP/1.1 200"))
		if err != nil {
			return got, false
		}
		line := string(head)
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		body, err := io.ReadAll(resp.Body)
		a := wireAnswer{line: line, body: string(body), fields: lines(resp.Header), trailer: lines(resp.Trailer)}
		a.fields = append(a.fields, fmt.Sprint(resp.TransferEncoding, resp.ContentLength, resp.Close, err))
		got = append(got, a)
		if resp.StatusCode >= 200 {
			break
		}
	}
	_, _ = io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	_, err = br.Peek(1)
	return got, err == nil
}

// lines lists fields as text, without what differs between any two answers.
func lines(h http.Header) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(h)) {
		values := h[key]
		if key == "Date" && strings.HasSuffix(h.Get(key), " GMT") {
			values = []string{"now"}
		}
		out = append(out, fmt.Sprintf("%s: %q", key, values))
	}
	return out
}

// answering is one handler for each path.
func answering() map[string]http.HandlerFunc {
	sized := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", n)) }
	}
	status := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	fields := func(body string, fields ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(fields); i += 2 {
				w.Header().Add(fields[i], fields[i+1])
			}
			_, _ = io.WriteString(w, body)
		}
	}
	flushing := func(parts ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, part := range parts {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	return map[string]http.HandlerFunc{
		"/empty": func(http.ResponseWriter, *http.Request) {}, "/1": sized(1), "/2047": sized(2047), "/2048": sized(2048), "/2049": sized(2049),
		"/8192": sized(8192), "/9000": sized(9000), "/100000": sized(100_000),
		"/204": status(204, ""), "/204-body": status(204, "x"), "/304": status(304, ""), "/404": status(404, "no"), "/299": status(299, "x"),
		"/999": status(999, ""), "/205": status(205, ""), "/503": status(503, ""),
		"/html": fields("<!doctype html>x"), "/json": fields("{}", "Content-Type", "application/json"),
		"/zip": fields("PK\x03\x04", "Content-Encoding", "gzip"), "/bin": fields("\x00\x01\x02"),
		"/length": fields("hello", "Content-Length", "5"), "/short": fields("hell", "Content-Length", "5"),
		"/long":  fields("hello!", "Content-Length", "5"),
		"/close": fields("x", "Connection", "close"), "/keep": fields("x", "Connection", "keep-alive"),
		"/identity": fields("x", "Transfer-Encoding", "identity"),
		"/chunked":  fields("x", "Transfer-Encoding", "chunked"), "/date": fields("x", "Date", "yesterday"),
		"/lines": fields("x", "X", "a\r\nb: c", "Y", " \td ", "bad name", "x", "Z", "1", "Z", "2"),
		"/304-fields": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		},
		"/untyped": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<html>")
		},
		"/flush": flushing("a", "bc", strings.Repeat("d", 5000)), "/flush-nothing": flushing(""), "/flush-one": flushing("x"),
		"/pieces": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 5000 {
				fmt.Fprintf(w, "%d ", i)
			}
		},
		"/mixed": func(w http.ResponseWriter, _ *http.Request) {
			for _, n := range []int{1, 3000, 20, 9000, 70_000, 5, 8190, 8180, 8170, 1} {
				_, _ = w.Write(bytes.Repeat([]byte{byte('a' + n%26)}, n))
			}
		},
		"/sized-mixed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "82021")
			for _, n := range []int{1, 3000, 20, 9000, 70_000} {
				_, _ = w.Write(bytes.Repeat([]byte{byte('a' + n%26)}, n))
			}
		},
		"/sized-big": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9000")
			_, _ = io.WriteString(w, "<html>"+strings.Repeat("x", 8994))
		},
		"/copy": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.MultiReader(strings.NewReader(strings.Repeat("y", 5000)), strings.NewReader("z")))
		},
		"/after": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", "before")
			w.WriteHeader(200)
			w.Header().Set("X", "after")
		},
		"/twice": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
		},
		"/hint": func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMinor == 0 {
				return // net/http sends them to HTTP/1.0 too
			}
			w.Header().Set("Link", "</x>")
			w.WriteHeader(103)
			w.Header().Del("Link")
			w.WriteHeader(102)
			_, _ = io.WriteString(w, "x")
		},
		"/trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum, X-None")
			_, _ = io.WriteString(w, "x")
			w.Header().Set("X-Sum", "1")
		},
		"/late": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		},
		"/read": func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		},
		"/read-after": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, err := r.Body.Read(make([]byte, 1))
			fmt.Fprint(w, err)
		},
		"/close-body": func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			_, err := r.Body.Read(make([]byte, 1))
			fmt.Fprint(w, err)
		},
		"/deadline": func(w http.ResponseWriter, _ *http.Request) {
			err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
			fmt.Fprint(w, err)
		},
	}
}

// What goes over the wire is what net/http's server sends for the same handler, whatever the request was.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	t.Parallel()
	handlers := answering()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handlers[r.URL.Path](w, r) })
	f := newFront(t, answer(h.ServeHTTP), Options{})
	ln := listen(t)
	theirs := &http.Server{Handler: h, ErrorLog: discard(), ReadHeaderTimeout: time.Minute}
	go func() { _ = theirs.Serve(ln) }()
	t.Cleanup(func() { _ = theirs.Close() })
	body := strings.Repeat("b", 300<<10)
	for path := range handlers {
		for _, rest := range []string{
			"GET %s HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n", "GET %s HTTP/1.0\r\n\r\n",
			"GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HEAD %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 307200\r\n\r\n" + body,
			"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		} {
			method, _, _ := strings.Cut(rest, " ")
			stream := fmt.Sprintf(rest, path)
			t.Run(stream[:min(len(stream), 90)], func(t *testing.T) {
				t.Parallel()
				want, wantKept := exchangeRaw(t, ln.Addr().String(), stream, method)
				got, kept := exchangeRaw(t, f.plain, stream, method)
				if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
					t.Errorf("got\n%.2000s\nnet/http sends\n%.2000s", g, w)
				}
				if kept != wantKept {
					t.Errorf("connection kept: got %v, net/http: %v", kept, wantKept)
				}
			})
		}
	}
}

// A file goes from the kernel to the kernel, and no further than its length was announced.
func TestFilesAreCopiedUpToTheirLength(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	content := strings.Repeat("0123456789", 30_000)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFront(t, answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/serve" {
			http.ServeFile(w, r, name)
			return
		}
		file, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = file.Close() }()
		w.Header().Set("Content-Length", "100000")
		w.WriteHeader(http.StatusOK)
		if n, err := io.Copy(w, file); n != 100_000 || !errors.Is(err, http.ErrContentLength) {
			t.Errorf("copied %d, %v, want 100000 and %v", n, err, http.ErrContentLength)
		}
	}), Options{})
	for _, scheme := range []string{"http", "https"} {
		c := f.dial(t, scheme)
		br := bufio.NewReader(c)
		for _, path := range []string{"/serve", "/more"} {
			want := content
			if path == "/more" {
				if want = content[:100_000]; scheme == "https" {
					continue // there is no kernel in between: a Write that is too long is refused
				}
			}
			send(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if got := next(t, br); got != "200 "+want {
				t.Errorf("%s: got %d bytes, want %d", path, len(got), len(want))
			}
		}
	}
}

// FuzzAnswer has a handler write in pieces as the input says. What comes out is what went in, in one answer.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{10, 20, 30}, uint16(0), byte(0))
	f.Add([]byte{255, 128, 3, 254, 3, 64, 0, 200}, uint16(8000), byte(1))
	f.Add([]byte{130, 131, 2, 132, 250, 1}, uint16(9000), byte(2))
	f.Add([]byte{3, 3, 90, 91, 251}, uint16(30), byte(4))
	f.Fuzz(func(t *testing.T, pieces []byte, fields uint16, kind byte) {
		if len(pieces) > 50 {
			return
		}
		var want bytes.Buffer
		content := strings.Repeat("0123456789abcdef", 2048)
		size := func(piece byte) int { return int(piece) * int(piece) / 4 }
		total := 0
		for _, piece := range pieces {
			total += size(piece)
		}
		sized, head, request := kind&1 > 0, kind&2 > 0, get
		method := http.MethodGet
		if head {
			method, request = http.MethodHead, strings.Replace(get, "GET", "HEAD", 1)
		}
		if kind&4 > 0 {
			request = strings.Replace(request, "1.1", "1.0", 1)
		}
		out := replay(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", int(fields)))
			if sized {
				w.Header().Set("Content-Length", strconv.Itoa(total))
			}
			for i, piece := range pieces {
				part := content[i : i+size(piece)]
				want.WriteString(part)
				var err error
				switch piece % 4 {
				case 0:
					_, err = w.Write([]byte(part))
				case 1:
					_, err = io.WriteString(w, part)
				case 2:
					_, err = io.Copy(w, struct{ io.Reader }{strings.NewReader(part)})
				case 3:
					_, err = w.Write([]byte(part))
					err = errors.Join(err, http.NewResponseController(w).Flush())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}, request, 4096)
		br := bufio.NewReader(strings.NewReader(out))
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !head && !bytes.Equal(got, want.Bytes()) || len(resp.Header.Get("X")) != int(fields) || br.Buffered() > 0 {
			t.Errorf("got %d bytes, %v, and %d behind them, want %d", len(got), err, br.Buffered(), want.Len())
		}
	})
}
