package waf

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDisruptiveActions(t *testing.T) {
	t.Parallel()
	const rules = `
SecRule REQUEST_URI "@streq /deny" "id:1001,phase:1,deny,status:451"
SecRule REQUEST_URI "@streq /odd" "id:1002,phase:1,deny,status:200"
SecRule REQUEST_URI "@streq /dropme" "id:1003,phase:1,drop"
SecRule REQUEST_URI "@streq /moved" "id:1004,phase:1,redirect:https://example.org/elsewhere,status:307"
SecRule REQUEST_URI "@streq /found" "id:1005,phase:2,redirect:/here"
`
	var mu sync.Mutex
	var last Result
	e := newTestEngineWith(t, Config{}, Options{
		Deny: denyPlain,
		OnResult: func(_ context.Context, r Result) {
			mu.Lock()
			defer mu.Unlock()
			last = r
		},
	}, rules)
	f := newFront(t, e)
	tests := []struct {
		target   string
		want     int
		location string
		cause    int
	}{
		{"/deny", 451, "", 1001},
		{"/odd", http.StatusForbidden, "", 1002},
		{"/moved", http.StatusTemporaryRedirect, "https://example.org/elsewhere", 1004},
		{"/found", http.StatusFound, "/here", 1005},
	}
	for _, srv := range []*httptest.Server{f.h1, f.h2} {
		client := srv.Client()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		for _, tt := range tests {
			res, err := client.Get(srv.URL + tt.target)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != tt.want || res.Header.Get("Location") != tt.location {
				t.Errorf("%s: got %d to %q, want %d to %q", tt.target, res.StatusCode, res.Header.Get("Location"), tt.want, tt.location)
			}
			mu.Lock()
			if !last.Blocked || last.Cause != tt.cause || last.Status != tt.want {
				t.Errorf("%s: result got %+v, want blocked by %d with %d", tt.target, last, tt.cause, tt.want)
			}
			mu.Unlock()
		}
		if res, err := client.Post(srv.URL+"/dropme", "text/plain", strings.NewReader("x")); err == nil {
			res.Body.Close()
			t.Errorf("/dropme: got %d, want the connection closed", res.StatusCode)
		}
	}
	if seen := f.bodies(); len(seen) != 0 {
		t.Errorf("reached the handler %d times, want never", len(seen))
	}
}

// Count mode must change nothing that the client sees.
func TestCountModeIsTransparent(t *testing.T) {
	t.Parallel()
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Length", fmt.Sprint(len(b)))
		w.Header().Add("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(b)
	})
	var mu sync.Mutex
	var last Result
	e := newTestEngineWith(t, Config{Mode: ModeCount}, Options{
		Deny: denyPlain,
		OnResult: func(_ context.Context, r Result) {
			mu.Lock()
			defer mu.Unlock()
			last = r
		},
	}, "")
	bare, counted := httptest.NewServer(app), httptest.NewServer(e.Wrap(app))
	defer bare.Close()
	defer counted.Close()
	answer := func(srv *httptest.Server, s sample) (string, http.Header) {
		in := s.request()
		req, err := http.NewRequest(in.Method, srv.URL+in.RequestURI, strings.NewReader(s.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = in.Header
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Header.Del("Date")
		return res.Status + "\n" + string(b), res.Header
	}
	for i, tt := range attacks() {
		if raceEnabled && i%4 != 0 {
			continue // every rule is slow under the race detector
		}
		without, wantHeader := answer(bare, tt.attack)
		with, gotHeader := answer(counted, tt.attack)
		if with != without {
			t.Errorf("%s: got %.80q, want %.80q", tt.name, with, without)
		}
		if diff := cmp.Diff(gotHeader, wantHeader); diff != "" {
			t.Errorf("%s: header (-got +want)\n%s", tt.name, diff)
		}
		want := tt.want
		if want == 0 {
			want = http.StatusForbidden
		}
		mu.Lock()
		if last.Blocked || last.Status != want || last.Cause == 0 || last.Mode != ModeCount {
			t.Errorf("%s: result got %+v, want one that would have refused with %d", tt.name, last, want)
		}
		mu.Unlock()
	}
}

func TestOffIsNextItself(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Mode: ModeOff}, "")
	next := http.NotFoundHandler()
	if got := fmt.Sprintf("%p", e.Wrap(next)); got != fmt.Sprintf("%p", next) {
		t.Error("Wrap: got a new handler, want next")
	}
}

// The first event of a stream is with the client before the handler returns.
func TestStreamedAnswersAreNotHeldBack(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{ModeBlock, ModeCount} {
		for _, tr := range transports() {
			e := newTestEngine(t, Config{Mode: mode}, "")
			done := make(chan struct{})
			h := e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: one\n\n")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				<-done
			}))
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = tr.http2
			srv.StartTLS()
			res, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(res.Body).ReadString('\n')
			if err != nil || line != "data: one\n" {
				t.Errorf("%s over %s: got %q, %v, want the first event", mode, tr.name, line, err)
			}
			close(done)
			res.Body.Close()
			srv.Close()
		}
	}
}

// An upgrade is inspected by its head, and the connection is handed over as it is.
func TestUpgradeIsInspectedAndPassedOn(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	srv := httptest.NewServer(e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	})))
	defer srv.Close()
	dial := func(target string) (net.Conn, *bufio.Reader, int) {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: app.example.test\r\nUser-Agent: t\r\nAccept: */*\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", target)
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, br, res.StatusCode
	}
	conn, br, code := dial("/ws")
	defer conn.Close()
	if code != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: got %d, want 101", code)
	}
	if _, err := io.WriteString(conn, union); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, len(union))
	if _, err := io.ReadFull(br, echo); err != nil || string(echo) != union {
		t.Errorf("echo: got %q, %v", echo, err)
	}
	conn2, _, code := dial("/ws?id=" + escaped(union))
	defer conn2.Close()
	if code != http.StatusForbidden {
		t.Errorf("upgrade with an attack: got %d, want 403", code)
	}
}

// The rules see the address that the program resolved, in a form that @ipMatch reads.
func TestAddressHasNeitherBracketsNorPort(t *testing.T) {
	t.Parallel()
	const rules = `SecRule REMOTE_ADDR "@ipMatch 2001:db8::/32,203.0.113.7" "id:1001,phase:1,deny"` + "\n"
	for _, tt := range []struct {
		remote string
		client string
		want   int
	}{
		{"[2001:db8::1]:4711", "", http.StatusForbidden},
		{"203.0.113.7:4711", "", http.StatusForbidden},
		{"[::ffff:203.0.113.7]:4711", "", http.StatusForbidden},
		{"[2001:db8::1%eth0]:4711", "", http.StatusForbidden},
		{"192.0.2.1:4711", "", http.StatusOK},
		{"192.0.2.1:4711", "2001:db8::7", http.StatusForbidden},
		{"@", "", http.StatusOK},
	} {
		opts := Options{Deny: denyPlain}
		if tt.client != "" {
			opts.ClientIP = func(*http.Request) netip.Addr { return netip.MustParseAddr(tt.client) }
		}
		e := newTestEngineWith(t, Config{Groups: []string{"php"}}, opts, rules)
		r := sample{}.request()
		r.RemoteAddr = tt.remote
		if got := verdictOf(e.check(r)); got != tt.want {
			t.Errorf("%s, client %q: got %d, want %d", tt.remote, tt.client, got, tt.want)
		}
	}
}

// The rules see Host and the authority of HTTP/2 alike.
func TestHostIsAHeaderToTheRules(t *testing.T) {
	t.Parallel()
	const rules = `SecRule REQUEST_HEADERS:Host "@streq app.example.test" "id:1001,phase:1,deny,status:418,chain"
  SecRule SERVER_NAME "@streq app.example.test" "t:none"` + "\n"
	f := newFront(t, newTestEngine(t, Config{Groups: []string{"php"}}, rules))
	for _, tr := range transports() {
		if got, _ := f.send(t, tr, sample{}); got != http.StatusTeapot {
			t.Errorf("%s: got %d, want 418", tr.name, got)
		}
	}
}

type panicking struct{ io.Reader }

func (panicking) Read([]byte) (int, error) { panic("secret of the engine") }

func TestFaultInTheEngineIsARefusal(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Mode: ModeCount}, "")
	r := sample{header: map[string]string{"Content-Type": "text/plain"}, body: "x"}.request()
	r.Body = io.NopCloser(panicking{})
	w := httptest.NewRecorder()
	e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached the handler") })).ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("got %d, want 500", w.Code)
	}
}

// Close may come while requests are under way, and requests may come after it.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	other := newTestEngine(t, Config{}, "")
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for i := range 20 {
				if i == 2 {
					started <- struct{}{}
				}
				for _, engine := range []*Engine{e, other} {
					v := engine.check(sample{target: "/app/x?id=" + escaped(union)}.request())
					if got := verdictOf(v); got != http.StatusForbidden {
						t.Errorf("attack: got %d, want 403", got)
					}
					v = engine.check(sample{header: map[string]string{"Content-Type": "application/json"}, body: `{"a":1}`}.request())
					if got := verdictOf(v); got != http.StatusOK {
						t.Errorf("benign: got %d, want 200", got)
					}
					v.body.release()
				}
			}
		})
	}
	<-started
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// The result names where, and an exclusion for it; never what.
func TestResultHasPlacesAndNoValues(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	v := e.check(sample{target: "/app/x?id=" + escaped(union)}.request())
	if v.result.Score != 20 || v.result.Cause != 949110 || v.result.Status != http.StatusForbidden {
		t.Errorf("got %+v, want score 20, cause 949110, status 403", v.result)
	}
	want := Match{
		RuleID: 942100, Message: "SQL Injection Attack Detected via libinjection",
		Variable: "ARGS_GET", Key: "id", Target: "query.id", Severity: 5,
	}
	if diff := cmp.Diff(v.result.Matches[0], want); diff != "" {
		t.Errorf("first match (-got +want)\n%s", diff)
	}
	if s := fmt.Sprintf("%+v %v", v.result, v.err); strings.Contains(s, "UNION") {
		t.Errorf("result shows the value: %s", s)
	}
	var many strings.Builder
	for i := range maxMatches {
		fmt.Fprintf(&many, "p%d=%s&", i, escaped("<script>"))
	}
	v = e.check(sample{target: "/?" + many.String()}.request())
	if got := len(v.result.Matches); got != maxMatches {
		t.Errorf("matches of a flood: got %d, want %d", got, maxMatches)
	}
}
