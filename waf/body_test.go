package waf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestNextReadsTheBodyByteForByte(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{BodyLimit: "64KiB", Oversize: OversizePartial}, "")
	f := newFront(t, e)
	for _, size := range []int{1, firstBuffer - 1, firstBuffer, firstBuffer + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300 << 10} {
		body := strings.Repeat("The quick brown fox. ", size/21+1)[:size]
		for _, tr := range transports() {
			got, echo := f.send(t, tr, sample{header: map[string]string{"Content-Type": "image/png"}, body: "\x00" + body})
			if got != http.StatusOK || echo != "\x00"+body {
				t.Errorf("%d bytes over %s: got %d and %d bytes back, want 200 and the same bytes", size+1, tr.name, got, len(echo))
			}
		}
	}
}

func TestBodyOverTheLimit(t *testing.T) {
	t.Parallel()
	long := "a=" + strings.Repeat("x", 2000)
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	tests := []struct {
		name string
		cfg  Config
		body string
		want int
	}{
		{"is refused", Config{BodyLimit: "1KiB"}, long, http.StatusRequestEntityTooLarge},
		{"passes when counting", Config{BodyLimit: "1KiB", Mode: ModeCount}, long, http.StatusOK},
		{"of exactly the limit passes", Config{BodyLimit: "1KiB"}, long[:1024], http.StatusOK},
		{"passes when partial", Config{BodyLimit: "1KiB", Oversize: OversizePartial}, long, http.StatusOK},
		{"has its beginning inspected", Config{BodyLimit: "1KiB", Oversize: OversizePartial}, "b=" + escaped(union) + "&" + long, http.StatusForbidden},
		{"has its rest uninspected", Config{BodyLimit: "1KiB", Oversize: OversizePartial}, long + "&b=" + escaped(union), http.StatusOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, newTestEngine(t, tt.cfg, ""))
			for _, tr := range transports() {
				got, _ := f.send(t, tr, sample{header: form, body: tt.body})
				if got != tt.want {
					t.Errorf("%s: got %d, want %d", tr.name, got, tt.want)
				}
				if seen := f.bodies(); len(seen) != 0 && tt.want != http.StatusOK {
					t.Errorf("%s: reached the handler", tr.name)
				}
			}
		})
	}
}

func TestCountingRecordsALongBody(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{BodyLimit: "1KiB", Mode: ModeCount}, "")
	for name, tt := range map[string]struct {
		body string
		want Result
	}{
		"harmless": {"a=" + strings.Repeat("x", 2000), Result{Mode: ModeCount, Status: http.StatusRequestEntityTooLarge, Limit: LimitBody}},
		"attack":   {"a=" + escaped(union) + "&b=" + strings.Repeat("x", 2000), Result{Mode: ModeCount, Status: http.StatusForbidden, Cause: 949110, Score: 20, Limit: LimitBody}},
	} {
		v := e.check(sample{header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: tt.body}.request())
		v.body.release()
		v.result.Matches, v.result.Rules = nil, nil
		if diff := cmp.Diff(v.result, tt.want); diff != "" || v.err != nil {
			t.Errorf("%s: %v (-got +want)\n%s", name, v.err, diff)
		}
	}
}

func TestCutDocumentIsNotTakenForABrokenOne(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{BodyLimit: "1KiB", Oversize: OversizePartial}, "")
	long := strings.Repeat("x", 2000)
	tests := []struct {
		name, kind, body string
		want             int
	}{
		{"json", "application/json", `{"a":"` + long + `"}`, http.StatusOK},
		{"json with an attack", "application/json", `{"b":"` + union + `","a":"` + long + `"}`, http.StatusForbidden},
		{"json broken before the cut", "application/json", `{"b":,"a":"` + long + `"}`, http.StatusBadRequest},
		{"xml", "text/xml", `<a><b>` + long + `</b></a>`, http.StatusOK},
		{"xml broken before the cut", "text/xml", `<a><b </c><b>` + long + `</b></a>`, http.StatusBadRequest},
		{"multipart", multipartType, multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"a.jpg\"\r\n\r\n" + long), http.StatusOK},
		{"multipart with an attack", multipartType, multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"a.php\"\r\n\r\n" + long), http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := e.check(sample{header: map[string]string{"Content-Type": tt.kind}, body: tt.body}.request())
			defer v.body.release()
			if got := verdictOf(v); got != tt.want {
				t.Errorf("got %d, want %d (%+v)", got, tt.want, v.result.Matches)
			}
		})
	}
}

type statusError int

func (s statusError) Error() string   { return fmt.Sprint("status ", int(s)) }
func (s statusError) HTTPStatus() int { return int(s) }

func TestUnreadableBodyIsRefusedInEveryMode(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"plain error", context.Background(), errors.New("broken"), http.StatusBadRequest},
		{"unexpected end", context.Background(), io.ErrUnexpectedEOF, http.StatusBadRequest},
		{"end in disguise", context.Background(), fmt.Errorf("chunk: %w", io.EOF), http.StatusBadRequest},
		{"error with a status", context.Background(), fmt.Errorf("wire: %w", statusError(421)), 421},
		{"error with a status that is none", context.Background(), statusError(200), http.StatusBadRequest},
		{"limit of the route", context.Background(), &http.MaxBytesError{Limit: 1}, http.StatusRequestEntityTooLarge},
		{"deadline", context.Background(), fmt.Errorf("read: %w", os.ErrDeadlineExceeded), http.StatusRequestTimeout},
		{"client gone", gone, errors.New("reset"), 499},
	}
	for _, mode := range []string{ModeBlock, ModeCount} {
		var results []Result
		var denied []error
		e := newTestEngineWith(t, Config{Mode: mode}, Options{
			Deny:     func(w http.ResponseWriter, _ *http.Request, err error) { denied = append(denied, err) },
			OnResult: func(_ context.Context, r Result) { results = append(results, r) },
		}, "")
		h := e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached the handler") }))
		for _, tt := range tests {
			results, denied = nil, nil
			r := sample{header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: "x"}.request()
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("a=1&"), iotest.ErrReader(tt.err)))
			r.ContentLength = -1
			h.ServeHTTP(httptest.NewRecorder(), r.WithContext(tt.ctx))
			if len(denied) != 1 || status(denied[0]) != tt.want {
				t.Errorf("%s, %s: denied %v, want once with %d", mode, tt.name, denied, tt.want)
				continue
			}
			var f *Failure
			if !errors.As(denied[0], &f) || !errors.Is(denied[0], tt.err) {
				t.Errorf("%s, %s: got %T, want a *Failure that wraps the cause", mode, tt.name, denied[0])
			}
			if len(results) != 1 || results[0].Blocked || results[0].Cause != 0 {
				t.Errorf("%s, %s: results %+v, want one that blocks nothing", mode, tt.name, results)
			}
		}
	}
}

// A client that resets its HTTP/2 stream in the middle of the body is no attacker.
func TestClientThatResetsItsStreamIsNotBlocked(t *testing.T) {
	t.Parallel()
	results := make(chan Result, 1)
	denied := make(chan error, 1)
	e := newTestEngineWith(t, Config{}, Options{
		Deny:     func(_ http.ResponseWriter, _ *http.Request, err error) { denied <- err },
		OnResult: func(_ context.Context, r Result) { results <- r },
	}, "")
	inspecting := e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	entered := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		inspecting.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	pr, pw := io.Pipe()
	defer pw.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	go func() {
		_, _ = io.WriteString(pw, "a=1&")
		<-entered // a stream that is reset before its handler began has no result
		cancel()
	}()
	if res, err := srv.Client().Do(req); err == nil {
		res.Body.Close()
		t.Fatal("got an answer, want an error")
	}
	if r := <-results; r.Blocked || r.Status != 0 {
		t.Errorf("result: got %+v, want nothing blocked", r)
	}
	if got := status(<-denied); got >= 500 || got == http.StatusForbidden {
		t.Errorf("status: got %d, want neither a refusal nor a fault", got)
	}
}

// No request makes a file, however large its body.
func TestNoTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir) // not parallel: the environment is the process's
	e := newTestEngine(t, Config{}, "")
	if err := os.Remove(dir); err != nil { // no file can be made, not even by root
		t.Fatal(err)
	}
	body := multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"a.jpg\"\r\n\r\n" + strings.Repeat("x", 900<<10))
	v := e.check(sample{header: map[string]string{"Content-Type": multipartType}, body: body}.request())
	defer v.body.release()
	if got := verdictOf(v); got != http.StatusOK {
		t.Errorf("got %d, want 200 (%v)", got, v.err)
	}
}

// A transport may go on reading, or close, when the handler is long gone.
func TestBodyAfterTheRequestFailsInsteadOfShowingAnother(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	var kept io.ReadCloser
	h := e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { kept = r.Body }))
	h.ServeHTTP(httptest.NewRecorder(), sample{header: map[string]string{"Content-Type": "text/plain"}, body: "hello"}.request())
	if n, err := kept.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read: got %d bytes and %v, want an error that is not the end", n, err)
	}
	if err := kept.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestGRPCIsPassedFrameByFrame(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{BodyLimit: "1KiB"}, "")
	frame := func(flag byte, msg string) string {
		return string([]byte{flag, 0, 0, byte(len(msg) >> 8), byte(len(msg))}) + msg
	}
	long := frame(0, strings.Repeat("x", 5000)) + frame(1, "") + frame(0, "end")
	for _, tt := range []struct {
		name, body string
		ok         bool
	}{
		{"messages", long, true},
		{"json instead", `{"a":"` + union + `"}`, false},
		{"json after a message", frame(0, "x") + `{"a":1}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := sample{header: map[string]string{"Content-Type": "application/grpc+proto", "Te": "trailers"}, body: tt.body}.request()
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
			r.Body = io.NopCloser(iotest.OneByteReader(strings.NewReader(tt.body)))
			r.ContentLength = -1
			v := e.check(r)
			defer v.body.release()
			if v.err != nil {
				t.Fatal(v.err)
			}
			got, err := io.ReadAll(v.request(r).Body)
			if tt.ok && (err != nil || string(got) != tt.body) {
				t.Errorf("got %d bytes and %v, want all %d", len(got), err, len(tt.body))
			}
			if !tt.ok && (err == nil || status(err) != http.StatusBadRequest || bytes.Contains(got, []byte("{"))) {
				t.Errorf("got %q and %v, want an error with 400 before the text", got, err)
			}
		})
	}
}

// Names that differ in case alone are several values, and each of them is inspected.
func TestEverySpellingOfAFormFieldIsInspected(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	body := "ID=" + escaped(union)
	for i := range 64 {
		name := []byte("password")
		for bit := range name {
			if i>>bit&1 == 1 {
				name[bit] -= 'a' - 'A'
			}
		}
		body += "&" + string(name) + "=1"
	}
	for _, name := range []string{"PassworD", "pASSWORd", "id"} {
		s := sample{header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: name + "=" + escaped(union) + "&" + body}
		s.body = strings.Replace(s.body, "ID="+escaped(union), "ID=1", 1)
		for range max(some(20), 3) {
			v := e.check(s.request())
			v.body.release()
			if got := verdictOf(v); got != http.StatusForbidden {
				t.Fatalf("an attack in %s: got %d, want 403", name, got)
			}
		}
	}
}

func TestFormsAreDecodedAsFarAsTheyCan(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "", "a": "a", "a+b%20c": "a b c", "%zz%41%4": "%zzA%4", "%": "%", "%%41": "%A", "%e9%C3%a9": "\xe9é", "%u0041": "%u0041", "%+1%-1%_1%0x": "% 1%-1%_1%0x",
	} {
		if got := decodeForm(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

// read is a body that somebody has read before.
type read struct {
	io.ReadCloser
	text  []byte
	whole bool
}

func (r *read) Inspected() ([]byte, bool) { return r.text, r.whole }

// A body that has been read is not read, held or copied again, and its buffer stays whose it is.
func TestABodyIsReadOnce(t *testing.T) {
	t.Parallel()
	text := []byte("id=1")
	pool := &sync.Pool{New: func() any { b := make([]byte, 0, 3); return &b }}
	b, more, err := readBody(&read{text: text, whole: true}, 10, pool, turn{})
	if err != nil || more || &b.bytes()[0] != &text[0] {
		t.Fatalf("got %v, %t, %v, want the buffer that is there", b, more, err)
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "id=1" {
		t.Errorf("got %q, %v, want the body", got, err)
	}
	b.release()
	if got := pool.Get().(*[]byte); cap(*got) != 3 {
		t.Error("somebody else's buffer is in the pool")
	}
	for name, src := range map[string]*read{
		"a part":   {io.NopCloser(strings.NewReader("whole")), []byte("wh"), false},
		"too long": {io.NopCloser(strings.NewReader("whole")), []byte("whole, and more than is inspected"), true},
	} {
		b, _, err := readBody(src, 10, pool, turn{})
		if err != nil || string(b.bytes()) != "whole" {
			t.Errorf("%s: got %q, %v, want it read", name, b.bytes(), err)
		}
	}
}
