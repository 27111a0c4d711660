package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// admissionGateway has a public and an admin subtree on gw.test, a WebDAV route, and a strict everything-else.
func admissionGateway(t testing.TB, h http.Handler, events chan *Event) *Gateway {
	t.Helper()
	opts := Options{Observe: func(e *Event) {
		if events != nil {
			events <- e
		}
	}}
	return newGateway(t, opts,
		Route{Name: "public", Match: Match{Hosts: []string{"gw.test"}, Path: "/public/*"}, Handler: h},
		Route{Name: "admin", Match: Match{Hosts: []string{"gw.test"}, Path: "/admin/*", Methods: []string{"GET", "POST"}}, Handler: h},
		Route{Name: "dav", Match: Match{Hosts: []string{"gw.test"}, Path: "/dav/*", Methods: []string{"PROPFIND", "MOVE", "GET"}}, Handler: h},
		Route{Name: "open", Match: Match{Hosts: []string{"gw.test"}, Path: "/open/*"}, Handler: h, Admit: Admit{
			EncodedSlash: true, Semicolon: true, DoubleSlash: true, Backslash: true, EncodedReserved: true,
		}},
		Route{Name: "v10", Match: Match{Path: "/v10/*"}, Handler: h},
	)
}

func TestAdmissionOverHTTP1(t *testing.T) {
	t.Parallel()
	const host = "Host: gw.test\r\n"
	get := func(target string, fields ...string) string {
		return "GET " + target + " HTTP/1.1\r\n" + host + strings.Join(fields, "") + "\r\n"
	}
	many := func(n int) string { return "/public/?" + strings.Repeat("a=x&", n-1) + "a=x" }
	tests := []struct {
		name   string
		raw    string
		status int
		route  string // of the Event; "" if refused before
		uri    string // what reached the handler, "" if nothing
	}{
		{"plain", get("/public/x"), 200, "public", "/public/x"},
		{"encoded letters are decoded for matching and forwarding", get("/%61dmin/panel"), 200, "admin", "/admin/panel"},
		{"double encoding passes unchanged", get("/public/a/%252e%252e/b"), 200, "public", "/public/a/%252e%252e/b"},
		{"double encoding that leads to another route", get("/public/%252e%252e/admin"), 400, "", ""},
		{"escapes in lower case", get("/public/%c3%a9"), 200, "public", "/public/%C3%A9"},
		{"query byte for byte", get("/public/?a=1;b=2&c=%zz&d=|{}"), 200, "public", "/public/?a=1;b=2&c=%zz&d=|{}"},
		{"empty query", get("/public/x?"), 200, "public", "/public/x?"},
		{"absolute form", get("http://gw.test/public/x?y"), 200, "public", "/public/x?y"},
		{"absolute form without path", get("HTTPS://GW.test?y"), 404, "", ""},
		{"1000 parameters", get(many(1000)), 200, "public", many(1000)},
		{"1001 parameters", get(many(1001)), 400, "", ""},
		{"host in capitals with dot and port", "GET /public/x HTTP/1.1\r\nHost: GW.Test.:8080\r\n\r\n", 200, "public", "/public/x"},

		{"encoded slash", get("/public/a%2fb"), 400, "", ""},
		{"encoded slash in capitals before admin", get("/ADMIN%2fpanel"), 400, "", ""},
		{"backslash", get(`/public/a\b`), 400, "", ""},
		{"encoded backslash", get("/public%5c..%5cadmin"), 400, "", ""},
		{"dot segments", get("/public/../admin"), 400, "", ""},
		{"encoded dot segments", get("/public/%2e%2e/admin"), 400, "", ""},
		{"dot segments with a parameter", get("/public/..;/admin"), 400, "", ""},
		{"path parameter", get("/admin;x=1/panel"), 400, "", ""},
		{"NUL", get("/admin%00.css"), 400, "", ""},
		{"control byte", get("/public/%0d%0a"), 400, "", ""},
		{"not UTF-8", get("/public/%ff"), 400, "", ""},
		{"double slash", get("//admin/users"), 400, "", ""},
		{"fragment", get("/admin#x"), 400, "", ""},
		{"fragment in query", get("/public/?a#x"), 400, "", ""},
		{"encoded #", get("/public/secret%23/endpoint"), 400, "", ""},
		{"encoded ?", get("/admin%3f.css"), 400, "", ""},
		{"prefix that ends in dots", get("/api../admin"), 400, "", ""},
		{"target of 17 KB", get("/public/" + strings.Repeat("a", 17<<10)), 414, "", ""},
		{"GET *", get("*"), 400, "", ""},
		{"authority as target", get("gw.test:80"), 400, "", ""},
		{"other scheme", get("ftp://gw.test/public/x"), 400, "", ""},
		{"userinfo in absolute form", get("http://u:p@gw.test/public/x"), 400, "", ""},
		{"no such path", get("/nowhere"), 404, "", ""},

		{"opted-out spellings", get("/open/a%2fb;c//d%5Ce%23"), 200, "open", "/open/a%2Fb;c//d%5Ce%23"},
		{"opted-out spelling that leaves the route", get("/open%2f"), 400, "", ""},
		{"opted-out slash before another route", get("/open/%2fadmin"), 200, "open", "/open/%2Fadmin"},
		{"opted-out semicolon that another route would read", get("/open;/x"), 400, "", ""},

		{"lower-case method", "get /public/x HTTP/1.1\r\n" + host + "\r\n", 400, "", ""},
		{"unknown method", "FOO /public/x HTTP/1.1\r\n" + host + "\r\n", 400, "", ""},
		{"registered method no route names", "PROPFIND /public/x HTTP/1.1\r\n" + host + "\r\n", 405, "", ""},
		{"registered method a route names", "PROPFIND /dav/x HTTP/1.1\r\n" + host + "\r\n", 200, "dav", "/dav/x"},
		{"method of another route", "DELETE /admin/x HTTP/1.1\r\n" + host + "\r\n", 405, "", ""},
		{"HEAD is covered by GET", "HEAD /admin/x HTTP/1.1\r\n" + host + "\r\n", 200, "admin", "/admin/x"},
		{"CONNECT", "CONNECT admin.internal:80 HTTP/1.1\r\n" + host + "\r\n", 405, "", ""},
		{"TRACE", "TRACE /public/x HTTP/1.1\r\n" + host + "\r\n", 405, "", ""},
		{"PRI", "PRI * HTTP/1.1\r\n" + host + "\r\n", 400, "", ""},
		{"HTTP/1.2", "GET /public/x HTTP/1.2\r\n" + host + "\r\n", 505, "", ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 204, "", ""},
		{"Max-Forwards 0", "OPTIONS /public/x HTTP/1.1\r\n" + host + "Max-Forwards: 0\r\n\r\n", 204, "public", ""},
		{"Max-Forwards junk", "OPTIONS /public/x HTTP/1.1\r\n" + host + "Max-Forwards: x\r\n\r\n", 400, "public", ""},

		{"empty host", "GET /public/x HTTP/1.1\r\nHost:\r\n\r\n", 400, "", ""},
		{"host with userinfo", "GET /public/x HTTP/1.1\r\nHost: gw.test:80@evil.test\r\n\r\n", 400, "", ""},
		{"host with a strange port", "GET /public/x HTTP/1.1\r\nHost: gw.test:8x\r\n\r\n", 400, "", ""},
		{"two hosts", "GET /public/x HTTP/1.1\r\nHost: gw.test\r\nHost: evil.test\r\n\r\n", 400, "", ""},
		{"other host", "GET /public/x HTTP/1.1\r\nHost: other.test\r\n\r\n", 404, "", ""},
		{"HTTP/1.0 without host where none is needed", "GET /v10/x HTTP/1.0\r\n\r\n", 200, "v10", "/v10/x"},
		{"HTTP/1.0 without host where one is", "GET /public/x HTTP/1.0\r\n\r\n", 404, "", ""},

		{"two Authorization", get("/public/x", "Authorization: Bearer a\r\n", "Authorization: Bearer b\r\n"), 400, "", ""},
		{"two Content-Type", get("/public/x", "Content-Type: a/b\r\n", "Content-Type: c/d\r\n"), 400, "", ""},
		{"two values of a list", get("/public/x", "X-Tenant: a\r\n", "X-Tenant: b\r\n"), 200, "public", "/public/x"},
		{"obs-text", get("/public/x", "X-Tenant: blocked\xff\r\n"), 400, "", ""},
		{"UTF-8 in a header", get("/public/x", "X-Tenant: é\r\n"), 400, "", ""},
		{"UTF-8 in a cookie", get("/public/x", "Cookie: a=é\r\n"), 200, "public", "/public/x"},
		{"Latin-1 in a cookie", get("/public/x", "Cookie: a=\xe9\r\n"), 400, "", ""},
		{"framing header with underscore", get("/public/x", "Transfer_Encoding: chunked\r\n"), 400, "", ""},
		{"odd Expect", get("/public/x", "Expect: y 100-continue\r\n"), 417, "", ""},
		{"h2c", get("/public/x", "Connection: Upgrade, HTTP2-Settings\r\n", "Upgrade: h2c\r\n", "HTTP2-Settings: AAMAAABk\r\n"), 400, "", ""},
		{"unknown upgrade", get("/public/x", "Connection: Upgrade\r\n", "Upgrade: foo\r\n"), 400, "", ""},
		{"two upgrades", get("/public/x", "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Upgrade: h2c\r\n"), 400, "", ""},
		{"upgrade without connection option", get("/public/x", "Upgrade: foo\r\n"), 200, "public", "/public/x"},
		{"WebSocket by POST", "POST /public/x HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 400, "", ""},
		{"31 forwarded addresses", get("/public/x", "X-Forwarded-For: "+strings.Repeat("192.0.2.1, ", 30)+"192.0.2.1\r\n"), 400, "", ""},
		{"body over the limit", "POST /public/x HTTP/1.1\r\n" + host + "Content-Length: 104857601\r\n\r\n", 413, "public", ""},

		{"MOVE inside its route", "MOVE /dav/a HTTP/1.1\r\n" + host + "Destination: http://gw.test/dav/%62\r\n\r\n", 200, "dav", "/dav/a"},
		{"MOVE without Destination", "MOVE /dav/a HTTP/1.1\r\n" + host + "\r\n", 400, "dav", ""},
		{"MOVE into another route", "MOVE /dav/a HTTP/1.1\r\n" + host + "Destination: /admin/a\r\n\r\n", 400, "dav", ""},
		{"MOVE to another host", "MOVE /dav/a HTTP/1.1\r\n" + host + "Destination: http://other.test/dav/a\r\n\r\n", 400, "dav", ""},
		{"MOVE with dot segments", "MOVE /dav/a HTTP/1.1\r\n" + host + "Destination: /dav/../admin/a\r\n\r\n", 400, "dav", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, events := new(recorderHandler), make(chan *Event, 1)
			s := serveTCP(t, admissionGateway(t, h, events))
			a := exchangeRaw(t, s, tt.raw)
			if a.status != tt.status {
				t.Errorf("status: got %d %s, want %d", a.status, a.body, tt.status)
			}
			got := h.take()
			if tt.uri == "" && len(got) != 0 || tt.uri != "" && (len(got) != 1 || got[0].uri != tt.uri) {
				t.Errorf("handler saw %+v, want %q", got, tt.uri)
			}
			for _, g := range got {
				if path, _, _ := strings.Cut(g.uri, "?"); g.escaped != path || g.event.Path != path {
					t.Errorf("readings differ: RequestURI %q, EscapedPath %q, Event %q", g.uri, g.escaped, g.event.Path)
				}
			}
			if a.header.Get("X-Request-Id") == "" {
				return // net/http answered by itself
			}
			if e := <-events; e.Route != tt.route || e.Status != tt.status || e.ID != a.header.Get("X-Request-Id") {
				t.Errorf("event: got route %q status %d id %q", e.Route, e.Status, e.ID)
			}
		})
	}
}

func TestRefusalAnswersAllowAndClose(t *testing.T) {
	t.Parallel()
	s := serveTCP(t, admissionGateway(t, new(recorderHandler), nil))
	a := exchangeRaw(t, s, "DELETE /admin/x HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	if got, want := a.header.Get("Allow"), "GET, HEAD, POST"; got != want {
		t.Errorf("Allow: got %q, want %q", got, want)
	}
	if a.closed {
		t.Error("a 405 closed the connection")
	}
	if a := exchangeRaw(t, s, "GET /public/ HTTP/1.1\r\nHost: gw.test\r\nContent_Length: 1\r\n\r\n"); !a.closed {
		t.Error("a framing violation left the connection open")
	}
}

func TestAdmissionPutsHeadersInOrder(t *testing.T) {
	t.Parallel()
	const prefix = "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n"
	tests := []struct {
		name   string
		fields string
		want   map[string]string // "" means absent
	}{
		{
			"connection options cannot delete what policies read",
			"Connection: close, cookie, Authorization, x-forwarded-for, host, content-type, X-Mine\r\nCookie: a=1\r\nAuthorization: b\r\nX-Mine: c\r\nX-Other: d\r\n",
			map[string]string{"Connection": "", "Cookie": "a=1", "Authorization": "b", "X-Mine": "", "X-Other": "d"},
		},
		{
			"hop-by-hop headers go",
			"HTTP2-Settings: x\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nProxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nTE: gzip, trailers;q=0.5\r\n",
			map[string]string{"Http2-Settings": "", "Keep-Alive": "", "Proxy-Connection": "", "Proxy-Authorization": "", "Upgrade": "", "Te": "trailers"},
		},
		{"TE named by Connection", "TE: trailers\r\nConnection: TE\r\n", map[string]string{"Te": "trailers", "Connection": ""}},
		{"TE without trailers", "TE: gzip\r\n", map[string]string{"Te": ""}},
		{
			"a WebSocket keeps its upgrade",
			"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n",
			map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"},
		},
		{
			"claims of proxies that nobody trusts",
			"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: //evil\r\nForwarded: for=1\r\nX-Real-IP: 1.2.3.4\r\nCF-Connecting-IP: 1.2.3.4\r\nCloudFront-Viewer-Country: FR\r\n",
			map[string]string{
				"X-Forwarded-For": "", "X-Forwarded-Proto": "", "X-Forwarded-Prefix": "", "Forwarded": "", "X-Real-Ip": "",
				"Cf-Connecting-Ip": "", "Cloudfront-Viewer-Country": "",
			},
		},
		{"the client's request id is replaced", "X-Request-Id: mine\r\n", map[string]string{"X-Request-Id": "<id>"}},
		{"aliases of headers that stay", "Sec_Fetch_Mode: navigate\r\nContent.Encoding: gzip\r\nX!Any: 1\r\nX_App: 1\r\n", map[string]string{"Sec_fetch_mode": "", "Content.encoding": "", "X!any": "", "X_app": "1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := new(recorderHandler)
			s := serveTCP(t, admissionGateway(t, h, nil))
			a := exchangeRaw(t, s, prefix+tt.fields+"\r\n")
			got := h.take()
			if len(got) != 1 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			for name, want := range tt.want {
				if want == "<id>" {
					want = a.header.Get("X-Request-Id")
				}
				if g := strings.Join(got[0].header[name], "|"); g != want {
					t.Errorf("%s: got %q, want %q", name, g, want)
				}
			}
		})
	}
}

// TestHeadersOnlyProxiesMaySendAreDeletedInEverySpelling covers each name in the spellings that a CGI mapping folds together.
func TestHeadersOnlyProxiesMaySendAreDeletedInEverySpelling(t *testing.T) {
	t.Parallel()
	names := []string{
		"Forwarded", "Proxy", "Client-IP", "True-Client-IP", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-ProxyUser-Ip",
		"Fastly-Client-IP", "X-Azure-ClientIP", "CF-Connecting-IP", "CloudFront-Viewer-Address", "X-Forwarded", "X-Forwarded-For",
		"X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Server",
		"X-Forwarded-Uri", "X-Forwarded-Client-Cert", "X-Forwarded-Anything", "X-Original-URL", "X-Original-Host", "X-Original-Remote-Addr",
		"X-Original-Method", "X-Rewrite-URL", "X-Host", "X-HTTP-Host-Override", "X-HTTP-Method-Override", "X-HTTP-Method",
		"X-Method-Override", "X-Envoy-Internal", "X-Envoy-External-Address", "X-Envoy-Original-Path", "X-Accel-Redirect",
		"X-Sendfile", "X-Sendfile-Type", "X-Middleware-Subrequest", "X-Remote-User", "Remote-User", "Ssl-Client-Verify",
		"Ssl-Client-Subject-Dn", "X-SSL-Client-Cert", "X-Client-Cert", "X-Arr-ClientCert", "Client-Cert", "X-Amzn-Mtls-Clientcert",
		"Content-Security-Policy", "Front-End-Https", "X-Script-Name", "X-Request-Id",
	}
	spell := []func(string) string{
		func(s string) string { return s },
		strings.ToLower,
		strings.ToUpper,
		func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		func(s string) string { return strings.ReplaceAll(s, "-", ".") },
		func(s string) string { return strings.Replace(strings.ToLower(s), "-", "_", 1) },
		func(s string) string { return strings.Replace(s, "-", "!", 1) + "~" },
	}
	for _, name := range names {
		for _, f := range spell {
			h := http.Header{http.CanonicalHeaderKey(f(name)): {"v"}, "X-App": {"v"}}
			x := &exchange{gen: &Generation{}}
			if err := x.resolveClient(h, false); err != nil {
				t.Fatal(err)
			}
			if _, err := checkFields(h, false); err != nil {
				t.Fatalf("%s: %v", f(name), err)
			}
			if len(h) != 1 {
				t.Errorf("%s survived: %v", f(name), h)
			}
		}
	}
	for _, name := range []string{"X-Request ed", "X-Óidc", "X-A\x00", "", "X-A:", "Xſ"} {
		if _, err := checkFields(http.Header{name: {"v"}}, false); !errors.Is(err, errFieldName) {
			t.Errorf("name %q: got %v, want %v", name, err, errFieldName)
		}
	}
}

func TestEdgeHeadersOfATrustedProxyStay(t *testing.T) {
	t.Parallel()
	h := http.Header{"Cf-Connecting-Ip": {"203.0.113.1"}, "Cf_connecting_ip": {"x"}, "Cloudfront-Viewer-Country": {"FR"}, "X-Forwarded-Host": {"x"}}
	if _, err := checkFields(h, true); err != nil {
		t.Fatal(err)
	}
	if len(h) != 2 || h.Get("Cf-Connecting-Ip") == "" || h.Get("Cloudfront-Viewer-Country") == "" {
		t.Errorf("got %v", h)
	}
}

func TestStripHeadersAndOwnCookies(t *testing.T) {
	t.Parallel()
	h := new(recorderHandler)
	gw := newGateway(t, Options{
		StripHeaders: func(h http.Header) { h.Del("X-Identity") },
		OwnCookie:    func(name string) bool { return strings.EqualFold(name, "__Host-gw") },
	}, Route{Name: "app", Handler: h})
	a := exchangeRaw(t, serveTCP(t, gw), "GET / HTTP/1.1\r\nHost: h\r\nX-Identity: admin\r\nCookie: other=1; __host-gw=A==; z=2; __Host-gw=B\r\n\r\n")
	got := h.take()
	if a.status != 200 || len(got) != 1 {
		t.Fatalf("got %d", a.status)
	}
	if g := got[0]; g.header.Get("X-Identity") != "" || g.header.Get("Cookie") != "other=1; z=2" {
		t.Errorf("headers: got %v", g.header)
	}
	if c := got[0].cookies; len(c) != 2 || c[0].Name != "__host-gw" || c[0].Value != "A==" || c[1].Value != "B" {
		t.Errorf("own cookies: got %v", c)
	}
}

func TestViolationRefusesAndCloses(t *testing.T) {
	t.Parallel()
	gw := newGateway(t, Options{Violation: func(r *http.Request) error {
		if r.Host == "unguessable" {
			return badFraming("broken chunk")
		}
		return nil
	}}, Route{Name: "app", Handler: new(recorderHandler)})
	if a := exchangeRaw(t, serveTCP(t, gw), "GET / HTTP/1.1\r\nHost: unguessable\r\n\r\n"); a.status != 400 || !a.closed {
		t.Errorf("got %d (closed %v), want 400 and close", a.status, a.closed)
	}
}

func TestHostMustEqualServerName(t *testing.T) {
	t.Parallel()
	gw := newGateway(t, Options{}, Route{Name: "app", Handler: new(recorderHandler)})
	tests := []struct {
		sni, host string
		status    int
	}{
		{"app.example.com", "app.example.com", 200},
		{"app.example.com", "APP.Example.Com.:8443", 200},
		{"App.Example.com", "app.example.com", 200},
		{"", "anything.test", 200},
		{"app.example.com", "admin.example.com", 421},
		{"app.example.com", "192.0.2.1", 421},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.TLS = tt.host, &tls.ConnectionState{ServerName: tt.sni, Version: tls.VersionTLS13}
		w := httptest.NewRecorder()
		gw.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("SNI %q, host %q: got %d, want %d", tt.sni, tt.host, w.Code, tt.status)
		}
	}
}

// h2Status sends one HTTP/2 header block as it is and returns the status, or 0 if the stream or connection was reset.
func h2Status(t *testing.T, s *httptest.Server, fields [][2]string, data string) int {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(conn, conn)
	fr.AllowIllegalWrites = true
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	err = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: data == ""})
	if err == nil && data != "" {
		err = fr.WriteData(1, true, []byte(data))
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return 0
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			var status int
			_, _ = fmt.Sscan(f.PseudoValue("status"), &status)
			return status
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0
		}
	}
}

func TestAdmissionOverHTTP2(t *testing.T) {
	t.Parallel()
	// block returns a good GET with changes; an empty value takes a field away, an unknown name is added at the end.
	block := func(changes ...[2]string) [][2]string {
		fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "gw.test"}, {":path", "/public/d"}}
	next:
		for _, c := range changes {
			for i := range fields {
				if fields[i][0] == c[0] && c[0][0] == ':' {
					fields[i][1] = c[1]
					continue next
				}
			}
			fields = append(fields, c)
		}
		return fields
	}
	post := [2]string{":method", "POST"}
	many := func(n int, name string) (fields [][2]string) {
		for i := range n {
			fields = append(fields, [2]string{strings.ReplaceAll(name, "#", fmt.Sprint(i)), "1"})
		}
		return fields
	}
	tests := []struct {
		name   string
		fields [][2]string
		data   string
		uri    string // what reaches the handler
	}{
		{"plain", block(), "", "/public/d"},
		{"encoded letter", block([2]string{":path", "/%61dmin/x"}), "", "/admin/x"},
		{"cookie crumbs", block([2]string{"cookie", "a=1"}, [2]string{"cookie", "b=2"}), "", "/public/d"},
		{"body", block(post, [2]string{"content-length", "5"}), "AAAAA", "/public/d"},
		{"equal host field", block([2]string{"host", "GW.test"}), "", "/public/d"},
		{"as many fields as may be", block(many(256, "x-#")...), "", "/public/d"},
		{"query beyond ASCII", block([2]string{":path", "/public/d?a=1&é=ü%20/x"}), "", "/public/d?a=1&%C3%A9=%C3%BC%20/x"},
		{"many cookie crumbs", block(many(300, "cookie")...), "", "/public/d"},

		{"query not UTF-8", block([2]string{":path", "/public/d?a=\xe9"}), "", ""},
		{"framing field with two dashes", block(post, [2]string{"transfer--encoding", "chunked"}), "AAAAA", ""},
		{"framing field without a dash", block(post, [2]string{"contentlength", "3"}), "AAAAA", ""},
		{"framing field with a dash at its end", block(post, [2]string{"content-length-", "3"}), "AAAAA", ""},
		{"framing field in odd punctuation", block(post, [2]string{"transfer~encoding", "chunked"}), "AAAAA", ""},
		{"too many fields", block(many(257, "x-#")...), "", ""},
		{"too many fields of one name", block(many(257, "x")...), "", ""},
		{"path without slash", block([2]string{":path", "public/d"}), "", ""},
		{"path with space", block([2]string{":path", "/public/d HTTP/1.1"}), "", ""},
		{"path with tab", block([2]string{":path", "/public/d\tx"}), "", ""},
		{"path with fragment", block([2]string{":path", "/public/d#x"}), "", ""},
		{"path with dot segments", block([2]string{":path", "/public/../admin/x"}), "", ""},
		{"path asterisk", block([2]string{":path", "*"}), "", ""},
		{"absolute path", block([2]string{":path", "https://gw.test/public/d"}), "", ""},
		{"query with space", block([2]string{":path", "/public/d?a b"}), "", ""},
		{"authority with userinfo", block([2]string{":authority", "a@gw.test"}), "", ""},
		{"authority with path", block([2]string{":authority", "gw.test/evil"}), "", ""},
		{"authority that differs from host", block([2]string{"host", "other.test"}), "", ""},
		{"two hosts", block([2]string{"host", "gw.test"}, [2]string{"host", "gw.test"}), "", ""},
		{"value with leading blank", block([2]string{"x", " a"}), "", ""},
		{"value with trailing tab", block([2]string{"x", "a\t"}), "", ""},
		{"value with line feed", block([2]string{"x", "a\nb"}), "", ""},
		{"two lengths", block(post, [2]string{"content-length", "5"}, [2]string{"content-length", "6"}), "AAAAA", ""},
		{"length with plus", block(post, [2]string{"content-length", "+5"}), "AAAAA", ""},
		{"length with comma", block(post, [2]string{"content-length", "5, 6"}), "AAAAA", ""},
		{"negative length", block(post, [2]string{"content-length", "-1"}), "AAAAA", ""},
		{"empty length", block(post, [2]string{"content-length", ""}), "AAAAA", ""},
		{"length without body", block([2]string{"content-length", "50"}), "", ""},
		{"length zero with body", block(post, [2]string{"content-length", "0"}), "AAAAA", ""},
		{"transfer-encoding", block(post, [2]string{"transfer-encoding", "chunked"}), "AAAAA", ""},
		{"upgrade", block([2]string{"upgrade", "websocket"}, [2]string{"connection", "upgrade"}), "", ""},
		{"TRACE", block([2]string{":method", "TRACE"}), "", ""},
		{"CONNECT", [][2]string{{":method", "CONNECT"}, {":authority", "gw.test:443"}}, "", ""},
		{"lower-case method", block([2]string{":method", "get"}), "", ""},
		{"two Authorization", block([2]string{"authorization", "a"}, [2]string{"authorization", "b"}), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := new(recorderHandler)
			s := serveTLS(t, admissionGateway(t, h, nil))
			status := h2Status(t, s, tt.fields, tt.data)
			got := h.take()
			switch {
			case tt.uri != "" && (status != 200 || len(got) != 1 || got[0].uri != tt.uri || got[0].body != tt.data):
				t.Errorf("got %d and %+v, want %q", status, got, tt.uri)
			case tt.uri == "" && (len(got) != 0 || status != 0 && (status < 400 || status > 499)):
				t.Errorf("got %d and %+v, want a refusal", status, got)
			}
		})
	}
}

// Every byte at every place of values around the eight bytes that are looked at together.
func TestCheckValueSeesEveryByte(t *testing.T) {
	t.Parallel()
	for length := 1; length <= 25; length++ {
		for at := range length {
			for b := range 256 {
				v := []byte("abcdefghijklmnopqrstuvwxy"[:length])
				v[at] = byte(b)
				want := b >= ' ' && b < 0x7f || b == '\t'
				if (b == ' ' || b == '\t') && (at == 0 || at == length-1) {
					want = false
				}
				if got := checkValue(string(v), false) == nil; got != want {
					t.Fatalf("%q: got %v, want %v", v, got, want)
				}
			}
		}
	}
}
