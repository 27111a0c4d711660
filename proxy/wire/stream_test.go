package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stall opens an HTTP/2 connection whose streams may be sent no byte, opens one stream on it, and answers
// pings for as long as the server lives with it. It returns the code with which the server ends the stream.
func (f *front) stall(t *testing.T, endStream bool, fields ...string) http2.ErrCode {
	t.Helper()
	c, err := tls.Dial("tcp", f.tls, &tls.Config{RootCAs: f.roots, ServerName: "a.test", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	send(t, c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	err = errors.Join(
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: endStream}),
	)
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("the stream was not ended: %v", err)
		}
		switch fm := frame.(type) {
		case *http2.RSTStreamFrame:
			return fm.ErrCode
		case *http2.PingFrame:
			if !fm.IsAck() {
				_ = fr.WritePing(true, fm.Data)
			}
		}
	}
}

func TestServerEndsStreamsWhoseClientTakesNoAnswer(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"large": 1 << 20, "small enough to be written when the handler has returned": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, answer(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, strings.Repeat("x", size))
			}), Options{BodyGrace: 50 * time.Millisecond, MinRate: 100 << 20})
			f.stall(t, true, ":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/")
			await(t, func() bool { return f.handlers.Load() == 0 })
		})
	}
}

// A stream that is declared empty and stays open is a slow body too.
func TestServerEndsStreamsThatSendNothing(t *testing.T) {
	t.Parallel()
	got := make(chan error, 1)
	f := newFront(t, answer(func(_ http.ResponseWriter, r *http.Request) {
		_, err := r.Body.Read(make([]byte, 1))
		got <- err
	}), Options{BodyGrace: 50 * time.Millisecond})
	f.stall(t, false, ":method", "POST", ":scheme", "https", ":authority", "a.test", ":path", "/", "content-length", "0")
	if err := <-got; !errors.Is(err, errBodyTooSlow) {
		t.Errorf("got %v, want %v", err, errBodyTooSlow)
	}
}

// A lateWriter is net/http's writer for HTTP/2 in one respect: after the handler it is nobody's, and touching it
// ends the process.
type lateWriter struct {
	http.ResponseWriter
	deadlines chan time.Time
}

func (w lateWriter) SetReadDeadline(at time.Time) error  { w.deadlines <- at; return nil }
func (w lateWriter) SetWriteDeadline(at time.Time) error { w.deadlines <- at; return nil }

// The timer of a read may fire at the moment at which the handler returns.
func TestStreamTouchesNoWriterAfterItsHandler(t *testing.T) {
	t.Parallel()
	w := lateWriter{httptest.NewRecorder(), make(chan time.Time, 4)}
	s := newStream(w, httptest.NewRequest("POST", "/", strings.NewReader("x")), new(Options{BodyGrace: time.Hour}.withDefaults()))
	s.expireRead()
	s.expireWrite()
	s.leave()
	if got := len(w.deadlines); got != 3 {
		t.Errorf("%d deadlines set before the end, want 3: one each, and one for what is still to be written", got)
	}
	s.expireRead()
	s.expireWrite()
	if got := len(w.deadlines); got != 3 {
		t.Errorf("%d deadlines set, want none after the handler", got-3)
	}
}

func TestStreamBodyReportsTheClientsSlowness(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("x"), failing{os.ErrDeadlineExceeded}))
	s := newStream(lateWriter{httptest.NewRecorder(), make(chan time.Time, 4)}, r, new(Options{}.withDefaults()))
	s.expireRead()
	if _, err := io.ReadAll(r.Body); !errors.Is(err, errBodyTooSlow) {
		t.Errorf("got %v, want %v", err, errBodyTooSlow)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
