package wire

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

const testLines = "X-One: 1\r\nX-Two: a; b\r\n"

// linesWriter is how a handler finds out that the server takes lines.
type linesWriter interface {
	WriteHeaderLines(status int, lines []byte)
}

// withLines answers as path says, with testLines in the head where the server takes them.
func withLines(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	switch r.URL.Path {
	case "/hint":
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	case "/304":
		status = http.StatusNotModified
	case "/head":
		w.Header().Set("X-Long", strings.Repeat("x", 10<<10))
	case "/body":
		_, _ = io.Copy(io.Discard, r.Body) // 100 Continue
	}
	if lw, ok := w.(linesWriter); ok && r.URL.Path != "/plain" {
		lw.WriteHeaderLines(status, []byte(testLines))
	} else {
		w.WriteHeader(status)
	}
	switch r.URL.Path {
	case "/304":
	case "/flush":
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "hello")
	case "/long":
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
	default:
		_, _ = io.WriteString(w, "hello")
	}
}

func TestHeadLinesStandOnceInTheFinalHead(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(withLines), Options{})
	for _, name := range []string{"http", "https"} {
		conn := f.dial(t, name)
		r := bufio.NewReader(conn)
		for _, tt := range []struct {
			request string
			body    int
			lines   bool
		}{
			{"GET /", 5, true},
			{"GET /plain", 5, false},
			{"HEAD /", 0, true},
			{"GET /304", 0, true},
			{"GET /hint", 5, true},
			{"GET /flush", 5, true},
			{"GET /head", 5, true},
			{"GET /long", 100 << 10, true},
			{"POST /body", 5, true},
			{"GET /plain", 5, false},
			{"GET /", 5, true},
		} {
			method, path, _ := strings.Cut(tt.request, " ")
			req, err := http.NewRequest(method, "http://app.test"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			text := tt.request + " HTTP/1.1\r\nHost: app.test\r\n"
			if method == "POST" {
				text += "Content-Length: 1\r\nExpect: 100-continue\r\n\r\nx"
			} else {
				text += "\r\n"
			}
			send(t, conn, text)
			resp, err := http.ReadResponse(r, req)
			for err == nil && resp.StatusCode < 200 {
				if resp.Header["X-One"] != nil {
					t.Errorf("%s: %s: %d has the lines", name, tt.request, resp.StatusCode)
				}
				resp, err = http.ReadResponse(r, req)
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", name, tt.request, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			one, two := resp.Header["X-One"], resp.Header["X-Two"]
			if has := len(one) == 1 && one[0] == "1" && len(two) == 1 && two[0] == "a; b"; has != tt.lines || !has && len(one)+len(two) > 0 {
				t.Errorf("%s: %s: got %q and %q, want lines: %v", name, tt.request, one, two, tt.lines)
			}
			if len(body) != tt.body || err != nil || resp.Header.Get("Date") == "" {
				t.Errorf("%s: %s: got %d bytes, %v, %q", name, tt.request, len(body), err, resp.Header)
			}
		}
	}
}

func TestHeadLinesAreNotForHTTP2(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := w.(linesWriter); ok {
			w.WriteHeader(http.StatusTeapot)
		}
	}), Options{})
	resp, err := f.client(t, true).Get("https://" + f.tls)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Errorf("got %s %s", resp.Proto, resp.Status)
	}
}
