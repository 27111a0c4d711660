package waf

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever comes, the request either reaches the handler with its body as it was sent, or is refused
// with a status; the engine never fails and nothing ends in an empty 200.
func FuzzConnector(f *testing.F) {
	f.Add("GET", "/?id=1%27", "X-Test", "a", "text/plain", "")
	f.Add("POST", "/a//b;c?x=%zz&=&&", "Cookie", "=a; \x01=b; c", "application/json", `{"a":[1,{"b":"\u0027"}]}`)
	f.Add("POST", "/", "Content-Type", "text/xml", "multipart/form-data; boundary=XyZ", multipartBody("Content-Disposition: form-data; name=a\r\n\r\nx"))
	f.Add("PUT", "*", "Content-Length", "7", "application/xml", `<a b="c">&#x27;<!DOCTYPE x></a>`)
	f.Add("PATCH", "http://x/y", "Transfer-Encoding", "chunked", "application/x-ndjson", "{}\n[]\n1\n\"")
	f.Add("DELETE", "/%00", "Range", "bytes=0-", "application/grpc", "\x00\x00\x00\x00\x01x")
	e := newTestEngine(f, Config{Paranoia: 2, BodyLimit: "4KiB"}, "")
	type reached struct{}
	h := e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		*r.Context().Value(reached{}).(*string) = string(b)
		w.WriteHeader(http.StatusAccepted)
	}))
	f.Fuzz(func(t *testing.T, method, target, name, value, contentType, body string) {
		got := "unread"
		r := httptest.NewRequestWithContext(context.WithValue(context.Background(), reached{}, &got), http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.RequestURI = method, target
		r.Header = http.Header{name: {value}, "Content-Type": {contentType}, "User-Agent": {"fuzz"}, "Accept": {"*/*"}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch {
		case w.Code == http.StatusAccepted && got != body:
			t.Fatalf("body: got %q, want %q", got, body)
		case w.Code != http.StatusAccepted && (w.Code < 400 || w.Code >= 500):
			t.Fatalf("status: got %d (%s), want the handler's or a refusal", w.Code, w.Header().Get("X-Denied"))
		}
	})
}

// Whatever comes, the gate changes nothing of what is found.
func FuzzGatedAndStockAgree(f *testing.F) {
	f.Add("GET", "/app/x?id=1%27+union+select+1&ID=2", "Cookie: sid=a; sid=<script>\r\nX-A: ${jndi:ldap://x}", "")
	f.Add("POST", "/a/../etc/passwd", "Content-Type: application/json", `{"id":["\u003cscript>",{"a":"/etc/passwd"}],"x":"%3Cimg"}`)
	f.Add("POST", "/", "Content-Type: application/x-www-form-urlencoded", "a=1&A=%uff1cscript%uff1e&=;cat+/etc/passwd&a=&nLt;")
	f.Add("PUT", "/x.php", "Content-Type: "+multipartType, multipartBody("Content-Disposition: form-data; name=\"f\"; filename=\"a.php\"\r\n\r\n<?php"))
	f.Add("POST", "/", "Content-Type: text/xml\r\nTransfer-Encoding: gzip", `<a b="1' or '1'='1">&#x27;</a>`)
	f.Add("OPTIONS", "/%c0%ae%25%u002f", "Range: bytes=1-2,3-4,5-6,7-8,9-10,11-12\r\nContent-Encoding: x", "=(){ :;}; echo")
	for n := range uint64(some(40)) {
		g := generator{rand.New(rand.NewPCG(17, n)), payloads()}
		head, body, _ := strings.Cut(string(g.request()), "\r\n\r\n")
		line, head, _ := strings.Cut(head, "\r\n")
		if words := strings.SplitN(line, " ", 3); len(words) == 3 && len(head)+len(body) < 3000 {
			f.Add(words[0], words[1], head, body)
		}
	}
	all := pairs(f, "everything, counting", "exclusions, blocking")
	f.Fuzz(func(t *testing.T, method, target, head, body string) {
		if len(target)+len(head)+len(body) > 4000 {
			return
		}
		raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: app.example.test\r\n%s\r\n\r\n%s", method, target, head, body)
		if !strings.Contains(strings.ToLower(head), "transfer-encoding:") {
			raw = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: app.example.test\r\nContent-Length: %d\r\n%s\r\n\r\n%s", method, target, len(body), head, body)
		}
		if readRequest([]byte(raw)) == nil {
			return
		}
		for _, p := range all {
			request := func() *http.Request { return readRequest([]byte(raw)) }
			if d := p.differ(request); d != "" {
				t.Fatalf("%s, gated (-) and alone (+): %s", p.name, d)
			}
		}
	})
}

func FuzzExclusionTarget(f *testing.F) {
	for _, s := range []string{"query.id", "json.a.*.b", "header.X-A", "cookie.a[b]", "body", "form.*", "query.[", "query./x/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if _, err := parseTarget(target); err != nil {
			return
		}
		rules := []crsRule{{id: 1001, text: `SecRule ARGS_GET|ARGS_POST|REQUEST_HEADERS|REQUEST_COOKIES|REQUEST_URI|REQUEST_FILENAME|FILES "@rx x" "id:1001"`}}
		text, err := exclusionDirectives([]Exclusion{{Rule: 1001, Target: target}}, rules)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(directives(text)); n != 1 {
			t.Fatalf("%q: got %d directives, want 1: %s", target, n, text)
		}
	})
}
