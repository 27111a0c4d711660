package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// statusBody is an error that a lower layer has given a status.
type statusBody struct{}

func (statusBody) Error() string   { return "chunk is malformed" }
func (statusBody) HTTPStatus() int { return 422 }

func TestBodyErrorsAreTheClients(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		in     io.Reader
		length int64
		gone   bool // the client's context is over
		status int  // 0: no error
		read   string
	}{
		{"whole", strings.NewReader("12345"), 5, false, 0, "12345"},
		{"unknown length", strings.NewReader("12345"), -1, false, 0, "12345"},
		{"at the limit", strings.NewReader("1234567890"), -1, false, 0, "1234567890"},
		{"over the limit", strings.NewReader("12345678901"), -1, false, 413, "1234567890"},
		{"over the limit byte by byte", iotest.OneByteReader(strings.NewReader("12345678901")), -1, false, 413, "1234567890"},
		{"shorter than declared", strings.NewReader("123"), 5, false, 400, "123"},
		{"longer than declared", strings.NewReader("123456"), 5, false, 400, "12345"},
		{"malformed", io.MultiReader(strings.NewReader("12"), iotest.ErrReader(errors.New("malformed chunked encoding"))), -1, false, 400, "12"},
		{"cut", iotest.ErrReader(io.ErrUnexpectedEOF), -1, false, 400, ""},
		{"too slow", iotest.ErrReader(os.ErrDeadlineExceeded), -1, false, 408, ""},
		{"client gone", iotest.ErrReader(io.ErrUnexpectedEOF), -1, true, 499, ""},
		{"status of its own", iotest.ErrReader(statusBody{}), -1, false, 422, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if tt.gone {
				cancel()
			}
			x := &exchange{Context: ctx, gen: &Generation{}}
			r := httptest.NewRequest("POST", "/", nil)
			r.Body, r.ContentLength = io.NopCloser(tt.in), tt.length
			if err := x.wrapBody(r, 10); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			if string(got) != tt.read {
				t.Errorf("read: got %q, want %q", got, tt.read)
			}
			if status := StatusOf(err); err == nil && tt.status != 0 || err != nil && status != tt.status {
				t.Errorf("got %v (%d), want %d", err, status, tt.status)
			}
			if _, again := r.Body.Read(make([]byte, 1)); err != nil && !errors.Is(again, err) {
				t.Errorf("second read: got %v, want %v", again, err)
			}
			if x.closing != (tt.status != 0) {
				t.Errorf("closing: got %v", x.closing)
			}
		})
	}
}

func TestTooLargeIsAMaxBytesError(t *testing.T) {
	t.Parallel()
	if e, ok := errors.AsType[*http.MaxBytesError](tooLarge(7)); !ok || e.Limit != 7 {
		t.Errorf("got %v", e)
	}
}

func TestReadAfterCloseIsTheHandlersMistake(t *testing.T) {
	t.Parallel()
	b := body{x: &exchange{Context: context.Background()}}
	if err := b.explain(http.ErrBodyReadAfterClose); !errors.Is(err, http.ErrBodyReadAfterClose) || StatusOf(err) != 500 {
		t.Errorf("got %v", err)
	}
}

func TestBodyLimitOverTheWire(t *testing.T) {
	t.Parallel()
	h := new(recorderHandler)
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: h, MaxBody: 4})
	tests := []struct {
		name, raw string
		status    int
	}{
		{"fits", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n1234", 200},
		{"declared too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345", 413},
		{"chunked too large", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", 413},
		{"malformed chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if a := exchangeRaw(t, serveTCP(t, gw), tt.raw); a.status != tt.status || a.closed != (tt.status != 200) {
				t.Errorf("got %d (closed %v), want %d", a.status, a.closed, tt.status)
			}
		})
	}
	s := serveTLS(t, gw)
	res, err := s.Client().Post(s.URL, "text/plain", io.MultiReader(strings.NewReader("12345")))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != 413 {
		t.Errorf("HTTP/2: got %s %d, want 413", res.Proto, res.StatusCode)
	}
}

func TestTrailersAreCleaned(t *testing.T) {
	t.Parallel()
	trailers := make(chan http.Header, 1)
	gw := newGateway(t, Options{StripHeaders: func(h http.Header) { h.Del("X-Identity") }},
		Route{Name: "app", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			trailers <- r.Trailer
		})})
	exchangeRaw(t, serveTCP(t, gw), "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Identity\r\n\r\n1\r\na\r\n0\r\n"+
		"X-Sum: 1\r\nX-Identity: admin\r\nCookie: a=b\r\nX-Forwarded-For: 1.1.1.1\r\nAuthorization: x\r\nX_Forwarded_For: 1\r\n\r\n")
	got := <-trailers
	if len(got) != 1 || got.Get("X-Sum") != "1" {
		t.Errorf("got %v, want X-Sum only", got)
	}
}

func TestTrailersAreBounded(t *testing.T) {
	t.Parallel()
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			Deny(w, r, err)
		}
	})})
	s := serveTLS(t, gw)
	for fields, want := range map[int]int{maxFields: http.StatusOK, maxFields + 1: http.StatusRequestHeaderFieldsTooLarge} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, io.NopCloser(strings.NewReader("a")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{}
		for i := range fields {
			req.Trailer.Set(fmt.Sprintf("X-%d", i), "1")
		}
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != want {
			t.Errorf("%d trailers: got %s over %s, want %d over HTTP/2", fields, resp.Status, resp.Proto, want)
		}
	}
}
