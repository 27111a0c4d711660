package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// newGateway returns a Gateway with one generation.
func newGateway(t testing.TB, opts Options, routes ...Route) *Gateway {
	t.Helper()
	gen, err := NewGeneration("test", routes, opts)
	if err != nil {
		t.Fatal(err)
	}
	gw := new(Gateway)
	gw.Swap(gen)
	return gw
}

// serveTCP serves gw over cleartext HTTP/1.1 on a free port.
func serveTCP(t testing.TB, gw http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(gw)
	s.Config.DisableGeneralOptionsHandler = true
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// serveTLS serves gw over TLS with HTTP/2.
func serveTLS(t testing.TB, gw http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(gw)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// An answer is what came back on a raw connection.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool // the server closed the connection after it
}

// exchangeRaw writes raw to a new connection and reads one answer.
func exchangeRaw(t testing.TB, s *httptest.Server, raw string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("answer to %.60q: %v", raw, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body), closed: res.Close}
	return a
}

// A seen is what reached the handler of a route.
type seen struct {
	method, uri, path, escaped, query, host string
	header                                  http.Header
	cookies                                 []*http.Cookie
	body                                    string
	bodyErr                                 error
	event                                   Event
}

// A recorderHandler keeps the requests that reach it.
type recorderHandler struct {
	mu  sync.Mutex
	all []seen
}

func (h *recorderHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	h.all = append(h.all, seen{
		r.Method, r.RequestURI, r.URL.Path, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, r.Header.Clone(), OwnCookies(r), string(body), err,
		*EventFrom(r.Context()),
	})
	h.mu.Unlock()
	if err != nil {
		Deny(w, r, err)
		return
	}
	fmt.Fprint(w, "ok")
}

// take returns what was seen since the last call.
func (h *recorderHandler) take() []seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all
	h.all = nil
	return all
}

func TestGatewayRunsGuardsOutermostFirst(t *testing.T) {
	t.Parallel()
	var order []string
	guard := func(name string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				order = append(order, name)
				next.ServeHTTP(w, r)
			})
		}
	}
	gw := newGateway(t, Options{}, Route{
		Name: "app", Guards: []func(http.Handler) http.Handler{guard("first"), guard("second")},
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { order = append(order, "handler") }),
	})
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got, want := strings.Join(order, " "), "first second handler"; got != want {
		t.Errorf("order: got %q, want %q", got, want)
	}
	if w.Code != 200 || w.Header().Get("X-Request-Id") == "" {
		t.Errorf("got %d with request id %q, want 200 with one", w.Code, w.Header().Get("X-Request-Id"))
	}
}

func TestGatewayWithoutGenerationAnswers503(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	new(Gateway).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want 503", w.Code)
	}
}

func TestEventTellsTheRequest(t *testing.T) {
	t.Parallel()
	var events []*Event
	gw := newGateway(t, Options{
		Observe:        func(e *Event) { events = append(events, e) },
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}, Route{Name: "app", Match: Match{Path: "/app/*"}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		EventFrom(r.Context()).Note("authn", "allow")
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "12345")
	})})
	r := httptest.NewRequest("POST", "/%61pp/x?token=secret", strings.NewReader("abc"))
	r.RemoteAddr = "192.0.2.7:1234"
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("User-Agent", strings.Repeat("u", 600))
	gw.ServeHTTP(httptest.NewRecorder(), r)
	gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/nowhere", nil))
	if len(events) != 2 {
		t.Fatalf("got %d events, want 2", len(events))
	}
	e := events[0]
	if e.Route != "app" || e.Generation != "test" || e.Status != 201 || e.BytesIn != 3 || e.BytesOut != 5 || e.Path != "/app/x" ||
		e.Host != "example.com" || e.Method != "POST" || e.Proto != "HTTP/1.1" || e.Scheme != "https" ||
		e.Peer != netip.MustParseAddr("192.0.2.7") || e.ClientIP != netip.MustParseAddr("203.0.113.9") ||
		len(e.UserAgent) != 512 || len(e.ID) != 32 || len(e.TraceID) != 32 || e.Denied != nil || e.Duration <= 0 {
		t.Errorf("event: got %+v", e)
	}
	if got := e.Verdicts(); len(got) != 1 || got[0] != (Verdict{"authn", "allow"}) {
		t.Errorf("verdicts: got %v", got)
	}
	if e := events[1]; e.Status != 404 || !errors.Is(e.Denied, errNoRoute) || e.Verdicts()[0] != (Verdict{"admission", "no route"}) {
		t.Errorf("event of a refusal: got %+v", e)
	}
}

func TestEventKeepsAtMostTwelveNotes(t *testing.T) {
	t.Parallel()
	e := EventFrom(context.Background())
	for range 20 {
		e.Note("g", "v")
	}
	if got := len(e.Verdicts()); got != maxVerdicts {
		t.Errorf("got %d, want %d", got, maxVerdicts)
	}
}

func TestPanicBecomesOneAnswer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		handler http.HandlerFunc
		status  int // 0: the connection is cut
	}{
		{"before the head", func(http.ResponseWriter, *http.Request) { panic("secret detail") }, 500},
		{"after the head", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
			panic("secret detail")
		}, 0},
		{"ErrAbortHandler", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		{"Deny after the head", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
			Deny(w, r, errors.New("late"))
		}, 0},
		{"after a hijack", func(w http.ResponseWriter, _ *http.Request) {
			_, _, _ = http.NewResponseController(w).Hijack()
			panic("secret detail")
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			events := make(chan *Event, 1)
			gw := newGateway(t, Options{Observe: func(e *Event) { events <- e }}, Route{Name: "app", Handler: tt.handler})
			s := serveTCP(t, gw)
			res, err := s.Client().Get(s.URL)
			e := <-events
			if tt.status == 0 {
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				if err == nil || !e.Aborted {
					t.Errorf("got a whole answer (aborted %v), want a cut connection", e.Aborted)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.status || strings.Contains(string(body), "secret") {
				t.Errorf("got %d %q, want %d without the detail", res.StatusCode, body, tt.status)
			}
			if p, ok := errors.AsType[*PanicError](e.Denied); !ok || p.Value != "secret detail" || len(p.Stack) == 0 {
				t.Errorf("denied: got %v, want the panic with its stack", e.Denied)
			}
		})
	}
}

func TestSwapReturnsThePreviousGenerationAndRetiresIt(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	old, err := NewGeneration("old", []Route{{Name: "a", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	next, err := NewGeneration("next", nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	gw := new(Gateway)
	if prev := gw.Swap(old); prev != nil {
		t.Errorf("first Swap: got %v, want nil", prev)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}()
	<-entered
	if prev := gw.Swap(next); prev != old || gw.Current() != next {
		t.Errorf("Swap: got %v with %v current", prev.ID(), gw.Current().ID())
	}
	select {
	case <-old.Done():
		t.Error("Done is closed although a request is inside")
	default:
	}
	close(release)
	<-finished
	<-old.Done()
	gw.Swap(next)
	select {
	case <-next.Done():
		t.Error("Done of the current generation is closed")
	default:
	}
	defer func() {
		if recover() == nil {
			t.Error("Swap accepted a retired generation")
		}
	}()
	gw.Swap(old)
}

func TestSwapUnderLoadFailsNoRequestAndKeepsUpgradedConnections(t *testing.T) {
	t.Parallel()
	const swaps, clients = 200, 4
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, EventFrom(r.Context()).Generation)
			return
		}
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			Deny(w, r, err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, brw)
	})
	var live atomic.Int64
	generation := func(i int) *Generation {
		gen, err := NewGeneration(fmt.Sprint(i), []Route{{Name: "a", Handler: echo}}, Options{Observe: func(*Event) { live.Add(1) }})
		if err != nil {
			t.Fatal(err)
		}
		return gen
	}
	gw := new(Gateway)
	first := generation(0)
	gw.Swap(first)
	s := serveTCP(t, gw)

	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(conn)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", res, err)
	}

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var served atomic.Int64
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				res, err := s.Client().Get(s.URL)
				if err != nil {
					t.Errorf("request: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					t.Errorf("got %d, want 200", res.StatusCode)
				}
				served.Add(1)
			}
		})
	}
	var retired []*Generation
	for i := 1; i <= swaps; i++ {
		for target := served.Load() + 1; served.Load() < target && !t.Failed(); {
			runtime.Gosched() // until the generation has served a request
		}
		retired = append(retired, gw.Swap(generation(i)))
		fmt.Fprint(conn, "ping\n")
		if line, err := br.ReadString('\n'); err != nil || line != "ping\n" {
			t.Fatalf("upgraded connection after swap %d: %q, %v", i, line, err)
		}
	}
	stop()
	wg.Wait()
	for _, gen := range retired[1:] {
		<-gen.Done()
	}
	select {
	case <-first.Done():
		t.Error("the upgraded connection's generation is done while it is alive")
	default:
	}
	conn.Close()
	<-first.Done()
}

func TestHTTP2ThroughTheGateway(t *testing.T) {
	t.Parallel()
	h := new(recorderHandler)
	s := serveTLS(t, newGateway(t, Options{}, Route{Name: "app", Handler: h}))
	res, err := s.Client().Post(s.URL+"/%61/b?x=1;y", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got := h.take()
	if res.ProtoMajor != 2 || res.StatusCode != 200 || len(got) != 1 {
		t.Fatalf("got %s %d and %d requests", res.Proto, res.StatusCode, len(got))
	}
	if g := got[0]; g.uri != "/a/b?x=1;y" || g.body != "body" || g.event.TLSVersion != tls.VersionName(tls.VersionTLS13) || g.event.Scheme != "https" {
		t.Errorf("got %+v", g)
	}
}
