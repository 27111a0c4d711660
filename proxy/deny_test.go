package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A richError says everything that Deny can use.
type richError struct{ status int }

func (richError) Error() string        { return "token abc is bad" }
func (e richError) HTTPStatus() int    { return e.status }
func (richError) Public() string       { return `<b>"Sign in" & come back</b>` }
func (richError) Header(h http.Header) { h.Set("Retry-After", "5") }
func (richError) Fields() map[string]string {
	return map[string]string{"login_url": "/login", "status": "overridden"}
}
func (richError) CloseConnection() bool { return true }
func denier(err error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "999")
		w.Header().Set("Etag", "x")
		w.Header().Set("Set-Cookie", "a=b")
		Deny(w, r, err)
	}
}

func TestDenyAnswersGRPCInItsOwnWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, media string
		proto               int
		err                 error
		code                string // "" for another answer
	}{
		{"unauthenticated", "POST", "application/grpc", 2, richError{401}, "16"},
		{"permission denied", "POST", "application/grpc", 2, richError{403}, "7"},
		{"no route", "POST", "application/grpc+proto", 2, errNoRoute, "12"},
		{"malformed", "POST", "Application/GRPC;x=y", 2, errControl, "13"},
		{"a limit", "POST", "application/grpc", 2, richError{429}, "14"},
		{"no upstream", "POST", "application/grpc", 3, richError{503}, "14"},
		{"too large", "POST", "application/grpc", 2, richError{413}, "8"},
		{"our own fault", "POST", "application/grpc", 2, errors.New("x"), "13"},
		{"another status", "POST", "application/grpc", 2, richError{418}, "2"},
		{"what the error says", "POST", "application/grpc", 2, fmt.Errorf("wrapped: %w", deadlineError{}), "4"},
		{"gRPC-Web", "POST", "application/grpc-web+proto", 2, richError{403}, ""},
		{"HTTP/1.1", "POST", "application/grpc", 1, richError{403}, ""},
		{"a GET", "GET", "application/grpc", 2, richError{403}, ""},
		{"the media type alone", "POST", "application/grpc", 2, richError{403}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var event *Event
			gw := newGateway(t, Options{Observe: func(e *Event) { event = e }}, Route{Name: "app", Handler: denier(tt.err)})
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/a.B/C", nil)
			r.Header.Set("Content-Type", tt.media)
			if tt.name != "the media type alone" {
				r.Header.Set("Te", "trailers")
			}
			r.ProtoMajor, r.ProtoMinor = tt.proto, 0
			if tt.proto == 1 {
				r.ProtoMinor = 1
			}
			w := httptest.NewRecorder()
			gw.ServeHTTP(w, r)
			h := w.Header()
			if got := h.Get("Grpc-Status"); got != tt.code || event.GRPC != tt.code {
				t.Fatalf("got code %q, in the event %q, want %q", got, event.GRPC, tt.code)
			}
			if tt.code == "" {
				if w.Code != StatusOf(tt.err) {
					t.Errorf("got %d, want %d", w.Code, StatusOf(tt.err))
				}
				return
			}
			if w.Code != 200 || h.Get("Content-Type") != "application/grpc" || w.Body.Len() > 0 || h.Get("Content-Length") != "" {
				t.Errorf("got %d %v %q, want 200 and no body", w.Code, h, w.Body)
			}
			if got := h.Get("Grpc-Message"); !strings.HasSuffix(got, " (request "+event.ID+")") || strings.ContainsAny(got, "\r\n") {
				t.Errorf("message: got %q", got)
			}
			if event.Denied == nil {
				t.Error("event: want the reason")
			}
		})
	}
	if got, want := grpcMessage("50% of\r\n\"ünits\""), `50%25 of%0D%0A"%C3%BCnits"`; got != want {
		t.Errorf("message: got %s, want %s", got, want)
	}
}

// deadlineError has a code of its own.
type deadlineError struct{}

func (deadlineError) Error() string   { return "late" }
func (deadlineError) HTTPStatus() int { return 504 }
func (deadlineError) GRPCCode() int   { return 4 }

func TestDenyAnswersJSONToPrograms(t *testing.T) {
	t.Parallel()
	var event *Event
	gw := newGateway(t, Options{Observe: func(e *Event) { event = e }},
		Route{Name: "app", Handler: denier(fmt.Errorf("wrapped: %w", richError{429}))})
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 429 || got["error"] != `<b>"Sign in" & come back</b>` || got["status"] != 429.0 || got["request_id"] != event.ID || got["login_url"] != "/login" {
		t.Errorf("got %d %v", w.Code, got)
	}
	h := w.Header()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Retry-After": "5", "Connection": "close",
		"Etag": "", "Set-Cookie": "a=b", "Content-Length": fmt.Sprint(w.Body.Len()), "X-Content-Type-Options": "nosniff",
	} {
		if g := h.Get(name); g != want {
			t.Errorf("%s: got %q, want %q", name, g, want)
		}
	}
	if _, ok := errors.AsType[richError](event.Denied); !ok || event.Status != 429 {
		t.Errorf("event: got %v, %d", event.Denied, event.Status)
	}
}

func TestDenyAnswersAPageToPeople(t *testing.T) {
	t.Parallel()
	gw := newGateway(t, Options{Page: Page{Name: "A <b> C", Contact: "Write to <ops@example.com>"}}, Route{Name: "app", Handler: denier(richError{403})})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, r)
	page := w.Body.String()
	for _, want := range []string{
		"<html lang=\"en\">", "<title>403 Forbidden · A &lt;b&gt; C</title>", "&lt;b&gt;&#34;Sign in&#34; &amp; come back&lt;/b&gt;",
		w.Header().Get("X-Request-Id"), "<time datetime=", "&lt;ops@example.com&gt;", "prefers-color-scheme:dark",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for _, not := range []string{"<script", "token abc", "<b>", "src=", "href="} {
		if strings.Contains(page, not) {
			t.Errorf("page has %q", not)
		}
	}
	if got := w.Header().Get("Content-Security-Policy"); got != pageCSP {
		t.Errorf("CSP: got %q", got)
	}
}

// An actionError offers a way out.
type actionError struct{ label, href string }

func (actionError) Error() string                  { return "refused" }
func (actionError) HTTPStatus() int                { return 403 }
func (e actionError) Action() (label, href string) { return e.label, e.href }

func TestDenyOffersALinkOnThisHostOnly(t *testing.T) {
	t.Parallel()
	const page, program = "navigate", "cors"
	tests := []struct {
		name, mode  string
		label, href string
		want        string // the link as it is in the page; "" for none
	}{
		{"a path", page, "Sign out", "/oauth2/sign_out", `<a href="/oauth2/sign_out">Sign out</a>`},
		{"the root", page, "Home", "/", `<a href="/">Home</a>`},
		{"a query", page, "Sign in", "/in?rd=%2Fa&x=1", `<a href="/in?rd=%2Fa&amp;x=1">Sign in</a>`},
		{"markup in both", page, `<i>"Out"</i>`, `/"><script>`, `<a href="/&#34;&gt;&lt;script&gt;">&lt;i&gt;&#34;Out&#34;&lt;/i&gt;</a>`},
		{"a colon in the path", page, "Out", "/javascript:alert(1)", `<a href="/javascript:alert(1)">Out</a>`},
		{"no label", page, "", "/out", ""},
		{"no address", page, "Out", "", ""},
		{"a script", page, "Out", "javascript:alert(1)", ""},
		{"a relative path", page, "Out", "out", ""},
		{"another host", page, "Out", "https://evil.test/", ""},
		{"another host without a scheme", page, "Out", "//evil.test/", ""},
		{"another host by a backslash", page, "Out", `/\evil.test/`, ""},
		{"another host by a tab", page, "Out", "/\t/evil.test/", ""},
		{"another host by a line break", page, "Out", "/\n/evil.test/", ""},
		{"a blank", page, "Out", "/a b", ""},
		{"a byte beyond ASCII", page, "Out", "/\u00e9", ""},
		{"JSON has no links", program, "Sign out", "/oauth2/sign_out", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Sec-Fetch-Mode", tt.mode)
			w := httptest.NewRecorder()
			Deny(w, r, fmt.Errorf("wrapped: %w", actionError{tt.label, tt.href}))
			body := w.Body.String()
			if tt.want == "" && strings.Contains(body, "href") || !strings.Contains(body, tt.want) {
				t.Errorf("got %s\nwant the link %q", body, tt.want)
			}
		})
	}
}

func TestPageCSPHasTheHashOfThePageStyle(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(pageStyle))
	if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(pageCSP, want) {
		t.Errorf("pageCSP lacks %s: got %s", want, pageCSP)
	}
}

func TestDenyOverHTTP1AndHTTP2(t *testing.T) {
	t.Parallel()
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: denier(richError{403})})
	for name, s := range map[string]*httptest.Server{"HTTP/1.1": serveTCP(t, gw), "HTTP/2.0": serveTLS(t, gw)} {
		for _, method := range []string{"GET", "HEAD"} {
			req, err := http.NewRequest(method, s.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.Proto != name || res.StatusCode != 403 || (len(body) == 0) != (method == "HEAD") {
				t.Errorf("%s %s: got %s %d with %d bytes, %v", name, method, res.Proto, res.StatusCode, len(body), err)
			}
		}
	}
}

func TestDenyOutsideAGateway(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err    error
		status int
		public string
	}{
		{errors.New("secret"), 500, "Something went wrong on our side."},
		{richError{200}, 500, ""},
		{richError{999}, 500, ""},
		{errNoRoute, 404, errNoRoute.public},
		{&BodyError{413, errBodyLong}, 413, "What was sent is larger than is accepted here."},
		{&BodyError{408, errBodyLong}, 408, "The request took too long to arrive."},
		{statusError(401), 401, "Please sign in to see this."},
		{statusError(418), 418, "This request could not be accepted."},
		{statusError(502), 502, "The application behind this page did not answer properly. Please try again in a moment."},
		{statusError(504), 504, "The application behind this page took too long to answer. Please try again in a moment."},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		Deny(w, httptest.NewRequest("GET", "/", nil), tt.err)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.public) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: got %d %s", tt.err, w.Code, w.Body)
		}
	}
}

// A statusError has nothing but a status.
type statusError int

func (e statusError) Error() string   { return "secret" }
func (e statusError) HTTPStatus() int { return int(e) }

func TestNavigates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fields map[string]string
		want   bool
	}{
		{"browser", map[string]string{"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}, true},
		{"fetch that accepts HTML", map[string]string{"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, false},
		{"old browser", map[string]string{"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}, true},
		{"HTML with a parameter", map[string]string{"Accept": "application/json, Text/HTML;q=0.1"}, true},
		{"curl", map[string]string{"Accept": "*/*"}, false},
		{"nothing", nil, false},
		{"XMLHttpRequest", map[string]string{"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}, false},
		{"WebSocket", map[string]string{"Accept": "text/html", "Upgrade": "websocket"}, false},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		for k, v := range tt.fields {
			r.Header.Set(k, v)
		}
		if got := Navigates(r); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
