package compress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// text has more of it compressed than a server holds back to know its length.
var text = func() string {
	var b strings.Builder
	for sum := [32]byte{}; b.Len() < 64<<10; sum = sha256.Sum256(sum[:]) {
		fmt.Fprintf(&b, "%x\n", sum)
	}
	return b.String()
}()

// served asks a handler behind a Compressor over HTTP/1.1 or HTTP/2.
type served struct {
	t      *testing.T
	c      *Compressor
	server *httptest.Server
	client *http.Client
}

// each runs test over HTTP/1.1 and HTTP/2.
func each(t *testing.T, opts Options, h http.HandlerFunc, test func(t *testing.T, s *served)) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP 2 %t", h2), func(t *testing.T) {
			t.Parallel()
			s := &served{t: t, c: NewCompressor()}
			s.server = httptest.NewUnstartedServer(s.c.Wrap(opts)(h))
			s.server.EnableHTTP2 = h2
			s.server.StartTLS()
			t.Cleanup(s.server.Close)
			s.client = s.server.Client()
			s.client.Transport.(*http.Transport).DisableCompression = true
			test(t, s)
		})
	}
}

func (s *served) do(method string, fields ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func gunzip(t *testing.T, r io.Reader) string {
	t.Helper()
	zr, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// fields are those of an answer that say what its body is.
func fields(h http.Header) string {
	var got []string
	for _, name := range []string{"Content-Encoding", "Content-Length", "Vary", "Etag", "Accept-Ranges", "Content-Md5", "Digest", "Repr-Digest", "Content-Digest"} {
		if v, ok := h[name]; ok {
			got = append(got, name+": "+strings.Join(v, ", "))
		}
	}
	return strings.Join(got, "; ")
}

func TestWhatIsCompressed(t *testing.T) {
	t.Parallel()
	size := strconv.Itoa(len(text))
	const compressed = "Content-Encoding: gzip; Vary: Accept-Encoding"
	for _, c := range []struct {
		name, accept string
		status       int
		head         string // of the answer, fields by ";"
		body         string
		want         string
	}{
		{"a page", "gzip", 200, "Content-Type: text/html; charset=utf-8", text, compressed},
		{"with a length", "gzip", 200, "Content-Type: text/html|Content-Length: " + size, text, compressed},
		{"for a client that takes nothing", "", 200, "Content-Type: text/html|Content-Length: " + size, text, "Content-Length: " + size + "; Vary: Accept-Encoding"},
		{"for one that takes brotli", "br", 200, "Content-Type: text/html|Content-Length: " + size, text, "Content-Length: " + size + "; Vary: Accept-Encoding"},
		{"with fields about its bytes", "gzip", 200, `Content-Type: text/html|Etag: "a"|Accept-Ranges: bytes|Content-Md5: x|Digest: x|Repr-Digest: x|Content-Digest: x|Vary: Origin`, text, `Content-Encoding: gzip; Vary: Origin, Accept-Encoding; Etag: W/"a"`},
		{"with a weak tag", "gzip", 200, `Content-Type: text/html|Etag: W/"a"`, text, compressed + `; Etag: W/"a"`},
		{"with a tag that is none", "gzip", 200, `Content-Type: text/html|Etag: a`, text, compressed},
		{"that varies already", "gzip", 200, "Content-Type: text/html|Vary: Origin, accept-encoding", text, "Content-Encoding: gzip; Vary: Origin, accept-encoding"},
		{"that varies in all", "gzip", 200, "Content-Type: text/html|Vary: *", text, "Content-Encoding: gzip; Vary: *"},
		{"of JSON with a suffix", "gzip", 200, "Content-Type: application/problem+json", text, compressed},
		{"of a type of the file", "gzip", 200, "Content-Type: application/vnd.example", text, compressed},
		{"an error page", "gzip", 404, "Content-Type: text/html", text, compressed},
		{"of another status", "gzip", 500, "Content-Type: text/html|Content-Length: " + size, text, "Content-Length: " + size},
		{"a part", "gzip", 206, "Content-Type: text/html|Content-Range: bytes 0-9/99|Content-Length: " + size, text, "Content-Length: " + size},
		{"an image", "gzip", 200, "Content-Type: image/png|Content-Length: " + size, text, "Content-Length: " + size},
		{"an event stream", "gzip", 200, "Content-Type: text/event-stream|Content-Length: " + size, text, "Content-Length: " + size},
		{"gRPC", "gzip", 200, "Content-Type: application/grpc|Content-Length: " + size, text, "Content-Length: " + size},
		{"of no type", "gzip", 200, "Content-Type:|Content-Length: " + size, text, "Content-Length: " + size},
		{"encoded already", "gzip, br", 200, "Content-Type: text/html|Content-Encoding: br|Content-Length: " + size, text, "Content-Encoding: br; Content-Length: " + size},
		{"not to be transformed", "gzip", 200, "Content-Type: text/html|Cache-Control: public, no-transform|Content-Length: " + size, text, "Content-Length: " + size},
		{"small", "gzip", 200, "Content-Type: text/html|Content-Length: 5", "small", "Content-Length: 5"},
		{"small, of a length that was not said", "gzip", 200, "Content-Type: text/html", "small", "Content-Length: 5; Vary: Accept-Encoding"},
		{"empty", "gzip", 200, "Content-Type: text/html", "", "Content-Length: 0; Vary: Accept-Encoding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			each(t, Options{Types: []string{"application/vnd.example"}}, func(w http.ResponseWriter, _ *http.Request) {
				for field := range strings.SplitSeq(c.head, "|") {
					name, value, _ := strings.Cut(field, ":")
					w.Header()[name] = []string{strings.TrimSpace(value)}
					if value == "" {
						w.Header()[name] = nil
					}
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}, func(t *testing.T, s *served) {
				resp := s.do(http.MethodGet, "Accept-Encoding", c.accept)
				if got := fields(resp.Header); got != c.want {
					t.Errorf("got %s\nwant %s", got, c.want)
				}
				got := ""
				if resp.Header.Get("Content-Encoding") == "gzip" {
					got = gunzip(t, resp.Body)
				} else {
					b, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					got = string(b)
				}
				if got != c.body || resp.StatusCode != c.status {
					t.Errorf("got %d with %d bytes, want %d with %d", resp.StatusCode, len(got), c.status, len(c.body))
				}
				if len(s.c.places) > 0 {
					t.Error("an encoder is still in use")
				}
			})
		})
	}
}

func TestHeadAndNotModifiedSayWhatGetWould(t *testing.T) {
	t.Parallel()
	each(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("ETag", `"a"`)
		for _, tag := range strings.Split(r.Header.Get("If-None-Match"), ", ") { // as it should not be done
			if tag == `"a"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = io.WriteString(w, text)
	}, func(t *testing.T, s *served) {
		resp := s.do(http.MethodHead, "Accept-Encoding", "gzip")
		if got, want := fields(resp.Header), `Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`; got != want {
			t.Errorf("HEAD: got %s, want %s", got, want)
		}
		for asked, want := range map[string]string{
			`W/"a"`:           `304 Vary: Accept-Encoding; Etag: W/"a"`,
			`"b", W/"a"`:      `304 Vary: Accept-Encoding; Etag: W/"a"`,
			`"a"`:             `304 Etag: "a"`,
			`W/"b"`:           `200 Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`,
			`"xW/", "b"`:      `200 Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`,
			`"W/", "a`:        `200 Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`,
			`W/"a" W/"b"`:     `200 Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`,
			`*`:               `200 Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`,
			`W/"c",W/"a" , x`: `200 Content-Encoding: gzip; Vary: Accept-Encoding; Etag: W/"a"`,
		} {
			resp := s.do(http.MethodGet, "Accept-Encoding", "gzip", "If-None-Match", asked)
			if got := resp.Status[:3] + " " + fields(resp.Header); got != want {
				t.Errorf("If-None-Match: %s: got %s, want %s", asked, got, want)
			}
		}
	})
}

func TestWhatIsFlushedIsSent(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"text/plain", "text/event-stream"} {
		next := make(chan struct{})
		t.Run(kind, func(t *testing.T) {
			each(t, Options{Types: []string{"text/event-stream"}}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				w.Header().Set("Trailer", "X-Sum")
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n\n", i)
					if err := http.NewResponseController(w).Flush(); err != nil {
						return
					}
					select {
					case <-next:
					case <-r.Context().Done():
						return
					}
				}
				w.Header().Set("X-Sum", "3")
				w.Header().Set(http.TrailerPrefix+"X-More", "4")
			}, func(t *testing.T, s *served) {
				resp := s.do(http.MethodGet, "Accept-Encoding", "gzip")
				zr, err := gzip.NewReader(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					want := fmt.Sprintf("data: %d\n\n", i)
					got := make([]byte, len(want))
					if _, err := io.ReadFull(zr, got); err != nil || string(got) != want {
						t.Fatalf("got %q, %v, want %q", got, err, want)
					}
					next <- struct{}{}
				}
				if _, err := zr.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the last event: %v", err)
				}
				if _, err := io.ReadAll(resp.Body); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(resp.Trailer, http.Header{"X-Sum": {"3"}, "X-More": {"4"}}); diff != "" {
					t.Errorf("trailers (-got +want)\n%s", diff)
				}
			})
		})
	}
}

// An answer that breaks off must not look whole: neither to HTTP nor to who decompresses what came.
func TestABrokenAnswerHasNoEnd(t *testing.T) {
	t.Parallel()
	each(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, s *served) {
		resp := s.do(http.MethodGet, "Accept-Encoding", "gzip")
		b, err := io.ReadAll(resp.Body)
		if err == nil {
			t.Error("the answer ended well")
		}
		zr, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(zr)
		if !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != text {
			t.Errorf("got %d bytes and %v, want all that was flushed and no end", len(got), err)
		}
	})
}

func TestNoMoreAreCompressedThanThereArePlaces(t *testing.T) {
	t.Parallel()
	each(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
	}, func(t *testing.T, s *served) {
		for range maxEncoders {
			s.c.places <- struct{}{}
		}
		resp := s.do(http.MethodGet, "Accept-Encoding", "gzip")
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != text || resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("got %d bytes, %v, %v", len(got), err, resp.Header)
		}
		<-s.c.places
		if resp := s.do(http.MethodGet, "Accept-Encoding", "gzip"); gunzip(t, resp.Body) != text {
			t.Error("with a place: got something else")
		}
	})
}

func TestUpgradesAndInformationalAnswersPass(t *testing.T) {
	t.Parallel()
	h := NewCompressor().Wrap(Options{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, brw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw")
			_ = brw.Flush()
			return
		}
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
	}))
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	ask := func(head string) string {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n"+head+"\r\n\r\n")
		got, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	if got := ask("Connection: upgrade\r\nUpgrade: x"); !strings.HasSuffix(got, "\r\n\r\nraw") {
		t.Errorf("upgrade: got %q", got)
	}
	got := ask("Connection: close")
	if early, final, _ := strings.Cut(got, "\r\n\r\n"); !strings.HasPrefix(early, "HTTP/1.1 103 ") || !strings.Contains(final, "Content-Encoding: gzip") {
		t.Errorf("103 and 200: got %q", got)
	}
}

func TestOnCompressIsTold(t *testing.T) {
	t.Parallel()
	var told []string
	h := NewCompressor().Wrap(Options{OnCompress: func(_ context.Context, coding string) { told = append(told, coding) }})(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, text)
		}))
	for _, accept := range []string{"gzip", "identity"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", accept)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if diff := cmp.Diff(told, []string{"gzip"}); diff != "" {
		t.Errorf("told (-got +want)\n%s", diff)
	}
}

// RFC 9110 section 12.5.3.
func TestNegotiate(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "GZIP": "gzip", "x-gzip": "gzip", "gzip, br": "gzip", "br": "", "*": "gzip", "*;q=0": "", "identity": "",
		"gzip;q=0": "", "gzip;q=0.0": "", "gzip;q=0.000": "", "gzip;q=0.001": "gzip", "gzip;Q=1": "gzip", "gzip ; q=0.5": "gzip", "gzip;q=1.000": "gzip",
		"gzip;q=0, *": "", "*;q=0, gzip": "gzip", "*;q=0.5": "gzip", "identity;q=0": "", "identity;q=0, gzip": "gzip", "identity;q=0, *": "gzip",
		"identity, gzip;q=0.5": "", "identity;q=0.5, gzip;q=0.5": "gzip", "identity;q=0.5, gzip;q=0.8": "gzip", "identity;q=0.5, *;q=0.2": "",
		"gzip;q=1.001": "", "gzip;q=2": "", "gzip;q=-1": "", "gzip;q=": "", "gzip;q=.5": "", "gzip;q=0.1234": "", "gzip;q=1,5": "gzip", "gzip;level=9": "",
		"gzip;q=0.5;x": "", "gzip;": "", "notgzip": "", "gzip2": "", "gzip gzip": "", "gzip, gzip;q=0": "", "gzip;q=0, gzip": "", ",,gzip,": "gzip",
		"gzip\t;\tq=1": "gzip", "gzip;q=1 000": "", "deflate, gzip;q=1.0, *;q=0.5": "gzip",
	} {
		if got := negotiate([]string{accept}, codings()); got != want {
			t.Errorf("%q: got %q, want %q", accept, got, want)
		}
		if got := negotiate(strings.Split(accept, ","), codings()); got != want {
			t.Errorf("%q in fields of their own: got %q, want %q", accept, got, want)
		}
	}
	if got := negotiate(nil, codings()); got != "" {
		t.Errorf("no field: got %q", got)
	}
	// Another coding is a row of the table, the best first.
	two := append([]coding{{name: "br", alias: "br"}}, codings()...)
	for accept, want := range map[string]string{"gzip, br": "br", "gzip, br;q=0.9": "gzip", "*": "br", "*, br;q=0": "gzip"} {
		if got := negotiate([]string{accept}, two); got != want {
			t.Errorf("%q of two: got %q, want %q", accept, got, want)
		}
	}
}

// FuzzNegotiate: whoever accepts nothing gets nothing, in whatever company, and no field makes a coding of others'.
func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"gzip", "gzip;q=0", "*;q=0.5, identity;q=0", "br, gzip;q=0.001", "x-gzip;q=1.000,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		got := negotiate([]string{accept}, codings())
		lower := strings.ToLower(accept)
		switch {
		case got != "" && got != "gzip":
			t.Fatalf("%q: got %q", accept, got)
		case got != "" && !strings.Contains(lower, "gzip") && !strings.Contains(lower, "*"):
			t.Fatalf("%q: got %q of nothing", accept, got)
		case negotiate([]string{accept + ", gzip;q=0"}, codings()) != "":
			t.Fatalf("%q: got gzip although it weighs nothing", accept)
		case negotiate([]string{accept, "gzip;q=0"}, codings()) != "":
			t.Fatalf("%q: got gzip although a second field refuses it", accept)
		}
	})
}
