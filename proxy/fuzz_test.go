package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzAdmission sends requests as net/http could hand them over and checks that what reaches a handler has one reading:
// r.RequestURI, r.URL and r.Host agree, only valid headers are left, and none that a client may not send.
func FuzzAdmission(f *testing.F) {
	f.Add("GET", "/a/%61?b=1;c", "App.Test.:80", "X-Forwarded_For", "1.1.1.1", "close, x-app", 1)
	f.Add("OPTIONS", "*", "h", "Max-Forwards", "0", "", 2)
	f.Add("GET", "http://h/%2e", "h", "Upgrade", "websocket", "Upgrade", 1)
	f.Add("MOVE", "/a", "h", "Destination", "http://h/%2e%2e", "", 1)
	f.Add("GET", "/A", "[::1]:1", "Cookie", "gw=1; a", "cookie", 2)
	opts := Options{
		StripHeaders: func(h http.Header) { h.Del("X-Identity") },
		OwnCookie:    func(name string) bool { return name == "gw" },
	}
	f.Fuzz(func(t *testing.T, method, target, host, name, value, connection string, major int) {
		u, err := url.ParseRequestURI(target)
		if err != nil && target != "*" {
			return // net/http answers by itself
		}
		if u == nil {
			u = &url.URL{Path: "*"}
		}
		r := &http.Request{
			Method: method, URL: u, RequestURI: target, Host: host, Proto: "HTTP/1.1", ProtoMajor: major, ProtoMinor: 1, RemoteAddr: "192.0.2.1:1",
			Header: http.Header{http.CanonicalHeaderKey(name): {value}, "Authorization": {"a"}, "X-Identity": {"admin"}}, Body: http.NoBody,
		}
		if connection != "" {
			r.Header["Connection"] = []string{connection}
		}
		var admitted *http.Request
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { admitted = r })
		gw := newGateway(t, opts,
			Route{Name: "all", Handler: handler},
			Route{Name: "open", Match: Match{Path: "/open/*", Methods: []string{"GET", "MOVE"}}, Handler: handler, Admit: Admit{
				EncodedSlash: true, Backslash: true, Semicolon: true, DoubleSlash: true, EncodedReserved: true, LetterCase: true, DoubleEncoding: true,
			}},
		)
		w := httptest.NewRecorder()
		gw.ServeHTTP(w, r)
		if admitted == nil {
			if w.Code < 200 || w.Code >= 200 && w.Code != 204 && w.Code < 400 || w.Code >= 500 && w.Code != http.StatusHTTPVersionNotSupported {
				t.Fatalf("%s %q: got %d", method, target, w.Code)
			}
			return
		}
		checkOneReading(t, admitted)
	})
}

// checkOneReading fails the test if two readings of an admitted request differ.
func checkOneReading(t *testing.T, r *http.Request) {
	t.Helper()
	if r.URL.RequestURI() != r.RequestURI || r.URL.Host != "" || r.URL.Scheme != "" || r.URL.Fragment != "" || r.URL.User != nil {
		t.Fatalf("r.URL %#v disagrees with RequestURI %q", r.URL, r.RequestURI)
	}
	if u, err := url.ParseRequestURI(r.RequestURI); err != nil || u.Path != r.URL.Path || u.RawQuery != r.URL.RawQuery {
		t.Fatalf("RequestURI %q parses as %#v (%v), r.URL is %#v", r.RequestURI, u, err, r.URL)
	}
	if h, _, err := splitHost(r.Host); err != nil || h != EventFrom(r.Context()).Host || strings.ToLower(r.Host) != r.Host {
		t.Fatalf("host %q is not canonical", r.Host)
	}
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path != EventFrom(r.Context()).Path {
		t.Fatalf("the Event has path %q of %q", EventFrom(r.Context()).Path, r.RequestURI)
	}
	for name, values := range r.Header {
		var buf [64]byte
		folded, spelling := foldName(&buf, name)
		mine := name == "X-Request-Id" || name == "Connection" || name == "Upgrade" || name == "Te"
		if spelling > aliasName || !mine && (classify(folded) == fieldDropped || classify(folded) == fieldEdge || classify(folded) == fieldHop) {
			t.Fatalf("header %q was admitted", name)
		}
		for _, v := range values {
			if err := checkValue(v, name == "Cookie"); err != nil {
				t.Fatalf("header %q has value %q: %v", name, v, err)
			}
		}
	}
	if r.Header.Get("X-Identity") != "" || r.Header.Get("Authorization") == "" {
		t.Fatalf("got headers %v", r.Header)
	}
	if c := r.Header.Get("Connection"); c != "" && (c != "Upgrade" || r.Header.Get("Upgrade") != "websocket" || r.ProtoMajor != 1) {
		t.Fatalf("got Connection %q with Upgrade %q", c, r.Header.Get("Upgrade"))
	}
}
