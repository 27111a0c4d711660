package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestResponseHookRunsOnceBeforeTheHeadWhoeverAnswers(t *testing.T) {
	t.Parallel()
	calls := map[string]int{}
	hook := func(name string) func(http.Header) {
		return func(h http.Header) {
			calls[name]++
			h.Set("X-Hook", name)
			h.Set("Content-Security-Policy", "hook")
			h.Del("Server")
		}
	}
	gw := newGateway(t, Options{Response: hook("default")},
		Route{Name: "explicit", Match: Match{Path: "/explicit"}, Response: hook("explicit"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "x")
			w.Header().Set("X-Request-Id", "upstream's")
			w.Header().Set("Content-Security-Policy", "upstream's")
			w.WriteHeader(201)
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "x")
		})},
		Route{Name: "write", Match: Match{Path: "/write"}, Response: hook("write"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
		})},
		Route{Name: "flush", Match: Match{Path: "/flush"}, Response: hook("flush"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
		})},
		Route{Name: "silent", Match: Match{Path: "/silent"}, Response: hook("silent"), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
		Route{Name: "deny", Match: Match{Path: "/deny"}, Response: hook("deny"), Handler: denier(errNoRoute)},
		Route{Name: "own", Match: Match{Path: "/own"}, Response: hook("own"), Gateway: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", "mine")
		})},
	)
	tests := []struct {
		path, hook string
		status     int
		csp        string
	}{
		{"/explicit", "explicit", 201, "hook"},
		{"/write", "write", 200, "hook"},
		{"/flush", "flush", 200, "hook"},
		{"/silent", "silent", 200, "hook"},
		{"/deny", "deny", 404, "default-src 'none'; frame-ancestors 'none'"},
		{"/own", "own", 200, "mine"},
		{"/nowhere", "default", 404, "default-src 'none'; frame-ancestors 'none'"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		gw.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		h := w.Result().Header
		if w.Code != tt.status || h.Get("X-Hook") != tt.hook {
			t.Errorf("%s: got %d, hook %q", tt.path, w.Code, h.Get("X-Hook"))
		}
		if calls[tt.hook] != 1 {
			t.Errorf("%s: hook %s ran %d times, want 1", tt.path, tt.hook, calls[tt.hook])
		}
		if got := h.Get("Content-Security-Policy"); got != tt.csp {
			t.Errorf("%s: CSP: got %q, want %q", tt.path, got, tt.csp)
		}
		if ids := h["X-Request-Id"]; len(ids) != 1 || len(ids[0]) != 32 {
			t.Errorf("%s: X-Request-Id: got %q", tt.path, ids)
		}
	}
}

// A linesRecorder takes lines, as the server's own writer does.
type linesRecorder struct {
	*httptest.ResponseRecorder
	take func(status int, lines []byte)
}

func (w linesRecorder) WriteHeaderLines(status int, lines []byte) {
	w.take(status, lines)
	w.WriteHeader(status)
}

// A server that writes lines by itself gets them instead of what the hook would set, but for our own pages with a policy of
// their own, and for a connection that it takes none on.
func TestResponseLinesReplaceTheHookWhereTheServerTakesThem(t *testing.T) {
	t.Parallel()
	type taken struct {
		status int
		lines  string
	}
	var got []taken
	lines := func(name string) func(http.Header) []byte {
		return func(h http.Header) []byte {
			delete(h, "Server")
			if h.Get("X-Own") != "" {
				h.Set("X-Lines", name)
				return nil
			}
			return []byte("X-Lines: " + name + "\r\n")
		}
	}
	hook := func(h http.Header) { h.Set("X-Lines", "hook") }
	respond := func(fields ...string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "x")
			for _, name := range fields {
				w.Header().Set(name, "own")
			}
			w.WriteHeader(201)
		})
	}
	route := func(path string, own bool, h http.Handler) Route {
		return Route{Name: path, Match: Match{Path: path}, Response: hook, ResponseLines: lines(path), Gateway: own, Handler: h}
	}
	gw := newGateway(
		t, Options{
			Response: hook, ResponseLines: lines("default"),
		},
		route("/app", false, respond("Content-Security-Policy")), route("/all", false, respond("X-Own")),
		route("/page", true, respond("Content-Security-Policy")), route("/plain", true, respond()),
		Route{Name: "none", Match: Match{Path: "/none"}, Handler: respond()},
	)
	for _, tt := range []struct {
		path  string
		takes bool
		want  []taken
		field string
	}{
		{"/app", true, []taken{{201, "X-Lines: /app\r\n"}}, ""},
		{"/app", false, nil, "hook"},
		{"/all", true, nil, "/all"},
		{"/page", true, nil, "hook"},
		{"/plain", true, []taken{{201, "X-Lines: /plain\r\n"}}, ""},
		{"/nowhere", true, nil, "hook"}, // a page of Deny has a policy
		{"/none", true, nil, ""},
	} {
		got = nil
		w := httptest.NewRecorder()
		var server http.ResponseWriter = w
		if tt.takes {
			server = linesRecorder{w, func(status int, lines []byte) { got = append(got, taken{status, string(lines)}) }}
		}
		gw.ServeHTTP(server, httptest.NewRequest("GET", tt.path, nil))
		if !slices.Equal(got, tt.want) || w.Header().Get("X-Lines") != tt.field {
			t.Errorf("%s: got %v and %q, want %v and %q", tt.path, got, w.Header().Get("X-Lines"), tt.want, tt.field)
		}
	}
}

func TestInformationalAnswersPassExceptToHTTP10(t *testing.T) {
	t.Parallel()
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Request-Id", "upstream's")
		w.WriteHeader(201)
		w.WriteHeader(500)
	})})
	for _, s := range []*httptest.Server{serveTCP(t, gw), serveTLS(t, gw)} {
		var hints []int
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints = append(hints, code); return nil },
		})
		req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if len(hints) != 1 || hints[0] != 103 || res.StatusCode != 201 || res.Header.Get("X-Request-Id") == "upstream's" {
			t.Errorf("%s: got hints %v, status %d, id %q", res.Proto, hints, res.StatusCode, res.Header.Get("X-Request-Id"))
		}
	}
	if a := exchangeRaw(t, serveTCP(t, gw), "GET / HTTP/1.0\r\n\r\n"); a.status != 201 {
		t.Errorf("HTTP/1.0: got %d first, want 201", a.status)
	}
}

func TestResponseControllerWorksThroughTheRecorder(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 8)
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		errs <- rc.SetReadDeadline(time.Now().Add(time.Minute))
		errs <- rc.SetWriteDeadline(time.Now().Add(time.Minute))
		errs <- rc.Flush()
		if r.ProtoMajor == 1 {
			errs <- rc.EnableFullDuplex()
		} else if _, _, err := rc.Hijack(); err == nil {
			errs <- fmt.Errorf("hijacked an HTTP/2 stream")
		}
	})})
	for _, s := range []*httptest.Server{serveTCP(t, gw), serveTLS(t, gw)} {
		res, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestClientThatLeavesBeforeTheAnswerIsRecordedAs499(t *testing.T) {
	t.Parallel()
	var event *Event
	gw := newGateway(t, Options{Observe: func(e *Event) { event = e }}, Route{Name: "app", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if event.Status != statusClientGone || w.Body.Len() != 0 {
		t.Errorf("got %d, want 499", event.Status)
	}
}

func TestContextCarriesTheServersValuesAndCancellation(t *testing.T) {
	t.Parallel()
	type key struct{}
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if ctx.Value(key{}) != "v" || EventFrom(ctx) != EventFrom(r.Context()) || EventFrom(ctx).Route != "app" {
			t.Error("values are lost in a derived context")
		}
	})})
	r := httptest.NewRequest("GET", "/", strings.NewReader(""))
	gw.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), key{}, "v")))
}
