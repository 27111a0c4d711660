package waf

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A backstage is a server in both protocols whose answers an engine inspects.
type backstage struct {
	servers map[string]*httptest.Server
	mu      sync.Mutex
	results []Result
}

var leaks = map[string]string{
	"a MySQL error":        "<p>You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version</p>",
	"PHP source":           "<?php\n$password = 'secret';\n?>",
	"a Java stack trace":   "java.lang.NullPointerException\n\tat com.example.Main.main(Main.java:5)",
	"an ASP.NET exception": "<title>HttpUnhandledException: An unexpected error occurred.</title>",
	"a directory listing":  "<html><title>Index of /files</title><h1>Index of /files</h1>>[To Parent Directory]</a><br>",
}

const mysqlLeak = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version"

func newBackstage(t *testing.T, cfg Config, upstream http.HandlerFunc) *backstage {
	t.Helper()
	b := &backstage{servers: map[string]*httptest.Server{}}
	cfg.Groups = []string{"php", responseGroup}
	guarded := newTestEngineWith(t, cfg, Options{Deny: denyAnswer, OnResult: b.keep}, "").Wrap(upstream)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				panic(http.ErrAbortHandler) // which the server does not log
			}
		}()
		guarded.ServeHTTP(w, r)
	})
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		srv := httptest.NewUnstartedServer(h)
		srv.EnableHTTP2 = proto == "HTTP/2"
		srv.StartTLS()
		srv.Client().Transport.(*http.Transport).DisableCompression = true
		t.Cleanup(srv.Close)
		b.servers[proto] = srv
	}
	return b
}

// denyAnswer is denyPlain, and like the proxy's gives up if a part of the answer was sent.
func denyAnswer(w http.ResponseWriter, r *http.Request, err error) {
	if w.Header().Get("Content-Type") != "" {
		panic(http.ErrAbortHandler)
	}
	denyPlain(w, r, err)
}

func (b *backstage) keep(_ context.Context, r Result) {
	if r.Answer {
		b.mu.Lock()
		b.results = append(b.results, r)
		b.mu.Unlock()
	}
}

// take is what was found in answers so far.
func (b *backstage) take() []Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.results
	b.results = nil
	return r
}

// each runs a test in both protocols.
func (b *backstage) each(t *testing.T, f func(t *testing.T, srv *httptest.Server)) {
	t.Helper()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) { f(t, b.servers[proto]) })
	}
}

func ask(t *testing.T, srv *httptest.Server, method, target string, header ...string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, srv.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "app.example.test"
	r.Header = browser()
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return srv.Client().Do(r)
}

// get asks for a whole answer.
func get(t *testing.T, srv *httptest.Server, target string, header ...string) (*http.Response, string) {
	t.Helper()
	res, err := ask(t, srv, http.MethodGet, target, header...)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func pack(t testing.TB, coding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "deflate":
		w, _ = flate.NewWriter(&b, flate.DefaultCompression)
	default:
		return []byte(text)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func page(n int) string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\"><head><title>Orders</title></head><body>\n")
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "<p class=\"row\">Order %d of 12&nbsp;%%, sent on Monday &ndash; see <a href=\"/orders/%d\">there</a>.</p>\n", i, i*7919)
	}
	return b.String()[:n]
}

func TestAnswersWithLeaksAreRefused(t *testing.T) {
	t.Parallel()
	for _, coding := range []string{"", "gzip", "zlib", "deflate"} {
		b := newBackstage(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
			body := pack(t, coding, page(20<<10)+leaks[r.Header.Get("X-Leak")])
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Header().Set("Set-Cookie", "a=b")
			if coding != "" {
				w.Header().Set("Content-Encoding", map[string]string{"gzip": "gzip"}[coding])
				if coding != "gzip" {
					w.Header().Set("Content-Encoding", "deflate")
				}
			}
			_, _ = w.Write(body)
		})
		t.Run("coding "+coding, func(t *testing.T) {
			b.each(t, func(t *testing.T, srv *httptest.Server) {
				for name := range leaks {
					res, body := get(t, srv, "/", "X-Leak", name)
					if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Denied") != "waf: refused by rule 959100" || body != "" {
						t.Errorf("%s: got %d %v %.40q", name, res.StatusCode, res.Header, body)
					}
					if got := res.Header["Set-Cookie"]; got != nil {
						t.Errorf("%s: the refusal has the answer's fields: %v", name, res.Header)
					}
					results := b.take()
					if len(results) != 1 {
						t.Fatalf("%s: results: got %v, want one", name, results)
					}
					r := results[0]
					if !r.Answer || !r.Blocked || r.Score < 4 || r.Cause != 959100 || r.Status != 403 || len(r.Matches) == 0 || r.Matches[0].Variable != "RESPONSE_BODY" {
						t.Errorf("%s: result: got %+v", name, r)
					}
				}
			})
		})
	}
}

func TestCleanAnswersAreUnchanged(t *testing.T) {
	t.Parallel()
	type reply struct {
		kind, coding string
		size         int
		sized        bool
		body         []byte
	}
	var replies []reply
	whole, n := page(300<<10), 0
	for _, kind := range []string{"text/html; charset=utf-8", "application/json", "application/problem+json", "application/octet-stream", "image/svg+xml", ""} {
		for _, coding := range []string{"", "gzip", "zlib"} {
			for _, size := range []int{0, 1, 2000, 40 << 10, defaultResponseLimit - 1, defaultResponseLimit, defaultResponseLimit + 1, len(whole)} {
				if n++; (raceEnabled || testing.Short()) && n%5 != 0 {
					continue
				}
				body := pack(t, coding, whole[:size])
				replies = append(replies, reply{kind, coding, size, true, body}, reply{kind, coding, size, false, body})
			}
		}
	}
	for _, mode := range []string{ModeBlock, ModeCount} {
		b := newBackstage(t, Config{Mode: mode}, func(w http.ResponseWriter, r *http.Request) {
			i, _ := strconv.Atoi(r.URL.Query().Get("n"))
			p := replies[i]
			body := p.body
			w.Header()["Content-Type"] = nil
			if p.kind != "" {
				w.Header().Set("Content-Type", p.kind)
			}
			if p.coding != "" {
				w.Header().Set("Content-Encoding", strings.Replace(p.coding, "zlib", "deflate", 1))
			}
			if p.sized {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusAccepted)
			for len(body) > 0 {
				n := min(7001, len(body))
				if _, err := w.Write(body[:n]); err != nil {
					t.Error(err)
					return
				}
				body = body[n:]
			}
		})
		t.Run(mode, func(t *testing.T) {
			b.each(t, func(t *testing.T, srv *httptest.Server) {
				for i, p := range replies {
					res, body := get(t, srv, fmt.Sprintf("/?n=%d", i))
					what := fmt.Sprintf("%s, coding %q, %d bytes, sized %v", p.kind, p.coding, p.size, p.sized)
					if res.StatusCode != http.StatusAccepted || body != string(p.body) {
						t.Errorf("%s: got %d and %d bytes, want %d", what, res.StatusCode, len(body), len(p.body))
					}
					if got := res.Header.Get("Content-Type"); got != p.kind || res.Header.Get("Etag") != `"x"` {
						t.Errorf("%s: header: got %v", what, res.Header)
					}
					if p.sized && res.ContentLength != int64(len(p.body)) {
						t.Errorf("%s: Content-Length: got %d, want %d", what, res.ContentLength, len(p.body))
					}
				}
				for _, r := range b.take() {
					if r.Status != 0 || r.Score != 0 || r.Mode != mode {
						t.Errorf("result: got %+v, want nothing found", r)
					}
				}
			})
		})
	}
}

func TestCountModeOnlyRecordsLeaks(t *testing.T) {
	t.Parallel()
	want := page(3000) + mysqlLeak
	b := newBackstage(t, Config{Mode: ModeCount}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, want)
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		res, body := get(t, srv, "/")
		if res.StatusCode != http.StatusOK || body != want {
			t.Errorf("got %d and %d bytes, want all of them", res.StatusCode, len(body))
		}
		got := b.take()
		if len(got) != 1 || got[0].Blocked || got[0].Status != 403 || got[0].Cause != 959100 || got[0].Score != 5 || !slices.Equal(ids(got[0]), []int{951230}) {
			t.Errorf("results: got %+v", got)
		}
	})
}

// What comes after the limit passes, as the configuration says. What a limit cuts in two is not found.
func TestAnswersAreInspectedUpToTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	before := map[string]int{"at the limit": limit - len(mysqlLeak), "behind it": limit, "across it": limit - 10}
	b := newBackstage(t, Config{ResponseLimit: "64KiB"}, func(w http.ResponseWriter, r *http.Request) {
		body := page(before[r.Header.Get("X-Where")]) + mysqlLeak + page(100<<10)
		w.Header().Set("Content-Type", "text/plain")
		if coding := r.Header.Get("X-Coding"); coding != "" {
			w.Header().Set("Content-Encoding", coding)
			body = string(pack(t, coding, body))
		}
		_, _ = io.WriteString(w, body)
	})
	b.each(t, func(t *testing.T, srv *httptest.Server) {
		for where := range before {
			for _, coding := range []string{"", "gzip"} {
				header := []string{"X-Where", where}
				if coding != "" {
					header = append(header, "X-Coding", coding)
				}
				res, _ := get(t, srv, "/", header...)
				want := http.StatusOK
				if where == "at the limit" {
					want = http.StatusForbidden
				}
				if res.StatusCode != want {
					t.Errorf("%s, coding %q: got %d, want %d", where, coding, res.StatusCode, want)
				}
			}
		}
	})
}

func TestBodiesThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	whole := pack(t, "gzip", page(5000))
	broken := bytes.Clone(whole)
	broken[len(broken)/2] ^= 0xff
	bodies := map[string]struct {
		coding string
		body   []byte
		want   int
	}{
		"brotli":              {"br", []byte("x"), 502},
		"zstd":                {"zstd", []byte("x"), 502},
		"twice":               {"gzip, gzip", whole, 502},
		"plain text as gzip":  {"gzip", []byte(strings.Repeat(mysqlLeak, 10)), 502},
		"damaged":             {"gzip", broken, 502},
		"text behind the end": {"gzip", append(bytes.Clone(whole), mysqlLeak...), 502},
		"in two members":      {"gzip", append(bytes.Clone(whole), pack(t, "gzip", mysqlLeak)...), 403},
		"broken off":          {"gzip", whole[:len(whole)/2], 200},
		"nothing":             {"gzip", nil, 200},
		"identity":            {"identity", []byte("x"), 200},
	}
	for _, mode := range []string{ModeBlock, ModeCount} {
		b := newBackstage(t, Config{Mode: mode}, func(w http.ResponseWriter, r *http.Request) {
			c := bodies[r.Header.Get("X-Case")]
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Encoding", c.coding)
			_, _ = w.Write(c.body)
		})
		t.Run(mode, func(t *testing.T) {
			b.each(t, func(t *testing.T, srv *httptest.Server) {
				for name, c := range bodies {
					res, body := get(t, srv, "/", "X-Case", name)
					status, wouldBe := c.want, 0
					if mode == ModeCount {
						status = http.StatusOK
					}
					if c.want != http.StatusOK && (mode == ModeCount || c.want == 403) {
						wouldBe = c.want
					}
					if res.StatusCode != status || status == http.StatusOK && body != string(c.body) {
						t.Errorf("%s: got %d and %d bytes, want %d", name, res.StatusCode, len(body), status)
					}
					if got := b.take(); len(got) != 1 || got[0].Status != wouldBe {
						t.Errorf("%s: results: got %+v, want one with the status %d", name, got, wouldBe)
					}
				}
			})
		})
	}
}

// From paranoia 2 on there is a rule about statuses, which reads every head.
func TestHeadsAreInspectedWhereRulesReadThem(t *testing.T) {
	t.Parallel()
	for paranoia, want := range map[int]int{1: 500, 2: 403} {
		b := newBackstage(t, Config{Paranoia: paranoia}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", r.URL.Query().Get("type"))
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "x")
		})
		b.each(t, func(t *testing.T, srv *httptest.Server) {
			for _, kind := range []string{"text/html", "image/png"} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					res, err := ask(t, srv, method, "/?type="+kind)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					if res.StatusCode != want {
						t.Errorf("paranoia %d, %s of %s: got %d, want %d", paranoia, method, kind, res.StatusCode, want)
					}
				}
			}
		})
	}
}

// The upstream is asked for what can be read.
func TestAcceptEncodingIsNarrowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ asked, want string }{
		{"gzip, deflate, br, zstd", "gzip"},
		{"br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip;q=0.8"},
		{"br, *;q=0.1", "gzip;q=0.1"},
		{"*", "gzip"},
		{"identity;q=0, GZIP", "identity;q=0, GZIP"},
		{"gzip", "gzip"},
		{"br", "identity"},
		{"", "identity"},
	} {
		if got := narrowCodings([]string{c.asked}); got != c.want {
			t.Errorf("%q: got %q, want %q", c.asked, got, c.want)
		}
	}
	if got := narrowCodings(nil); got != "identity" {
		t.Errorf("no field: got %q, want identity", got)
	}
	var asked string
	e := newTestEngine(t, Config{Groups: []string{"php", responseGroup}}, "")
	h := e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.Header.Get("Accept-Encoding") }))
	r := sample{header: map[string]string{"Accept-Encoding": "gzip, br"}}.request()
	h.ServeHTTP(httptest.NewRecorder(), r)
	if asked != "gzip" || r.Header.Get("Accept-Encoding") != "gzip, br" {
		t.Errorf("upstream: got %q, and %q is left of the request's own", asked, r.Header.Get("Accept-Encoding"))
	}
}

func TestTextTypes(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]bool{
		"text/html": true, "Text/Plain; charset=x": true, "application/json": true, "application/ld+json": true,
		"application/xhtml+xml": true, "application/javascript": true, "text/javascript": true, "": true, " ;": true,
		"application/x-httpd-php": true,
		"text/event-stream":       false, "image/svg+xml": false, "image/png": false, "application/grpc": false,
		"application/grpc+json": false, "application/octet-stream": false, "multipart/byteranges": false, "video/mp4": false,
	} {
		if got := isText(kind); got != want {
			t.Errorf("%q: got %v, want %v", kind, got, want)
		}
	}
}

// Where answers are not inspected the handler has the server's own writer.
func TestAnswersPassUntouchedUnlessAskedFor(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Groups: []string{"php"}}, "")
	w := httptest.NewRecorder()
	e.Wrap(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
		if got != http.ResponseWriter(w) {
			t.Errorf("writer: got %T, want the server's", got)
		}
	})).ServeHTTP(w, sample{}.request())
}

// A rule about answers can be left out like another.
func TestExclusionsOfAnswerRules(t *testing.T) {
	t.Parallel()
	for _, x := range []Exclusion{{Rule: 951230}, {Group: responseGroup}} {
		e := newTestEngine(t, Config{Groups: []string{"php", responseGroup}, Exclude: []Exclusion{x}}, "")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if got, err := e.answers.inspect(r, http.StatusOK, http.Header{}, []byte(mysqlLeak)); err != nil || got.Score != 0 {
			t.Errorf("%v: got %+v %v, want nothing found", x, got, err)
		}
	}
}

// A fault in the engine is a refusal.
func TestFaultsWhileAnAnswerIsInspected(t *testing.T) {
	t.Parallel()
	e := newTestEngineWith(t, Config{Groups: []string{"php", responseGroup}}, Options{Deny: denyPlain}, "")
	e.answers.engine.opts.RequestID = func(*http.Request) string { panic("a fault") }
	w := httptest.NewRecorder()
	e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	})).ServeHTTP(w, sample{}.request())
	if w.Code != http.StatusInternalServerError || w.Body.Len() > 0 {
		t.Errorf("got %d %q, want 500", w.Code, w.Body)
	}
}
