package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestStrayReturnAddresses signs in with a hostile return address and looks where the person lands.
func TestStrayReturnAddresses(t *testing.T) {
	t.Parallel()
	f := startFixture(t, "waf: off") // it refuses some of these addresses before they are read
	for id, rd := range map[string]string{
		"O02": `/\evil.test`, "O03": "/%09/evil.test", "O04": "/%5cevil.test", "O05": "/.//evil.test", "O06": "/..//evil.test",
		"O07": "https://" + appHost + "@evil.test/", "O10": "javascript:alert(1)", "O11": "https://" + appHost + "%0d%0aSet-Cookie:x=1",
		"no slash": "evil.test", "two slashes": "//evil.test", "tab": "/\t/evil.test", "three": "///evil.test",
	} {
		t.Run(id, func(t *testing.T) {
			b := newBrowser(t, f.addr, f.pool.url)
			resp, page := b.signIn("https://"+appHost+"/oauth2/sign_in?rd="+url.QueryEscape(rd), "alice")
			// The fixture has no route for "/": 404 there is where the person should be.
			if got := resp.Request.URL.String(); got != "https://"+appHost+"/" {
				t.Errorf("landed at %s (%s), want https://%s/\n%s", got, resp.Status, appHost, page)
			}
		})
	}
	t.Run("a page of our own is returned to", func(t *testing.T) {
		b := newBrowser(t, f.addr, f.pool.url)
		resp, _ := b.signIn("https://"+appHost+"/oauth2/sign_in?rd="+url.QueryEscape("/app/deep?x=1&y=2"), "alice")
		if got, want := resp.Request.URL.String(), "https://"+appHost+"/app/deep?x=1&y=2"; got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("landed at %s (%s), want %s", got, resp.Status, want)
		}
	})
}

// TestSessionAttacks plays what an attacker does with cookies.
func TestSessionAttacks(t *testing.T) {
	t.Parallel()
	f := startFixture(t)
	page := "https://" + appHost + "/app/"

	t.Run("O16 an id chosen by the attacker does not survive the login", func(t *testing.T) {
		planted := strings.SplitN(f.bob, "=", 2)
		b := newBrowser(t, f.addr, f.pool.url)
		u, _ := url.Parse(page)
		b.client.Jar.SetCookies(u, []*http.Cookie{{Name: planted[0], Value: "ATTACKERCHOSEN", Path: "/", Secure: true}})
		if resp, body := b.signIn(page, "alice"); resp.StatusCode != http.StatusOK {
			t.Fatalf("sign in: %s\n%s", resp.Status, body)
		}
		if strings.Contains(b.cookies(page), "ATTACKERCHOSEN") {
			t.Error("the planted cookie is still there after the login")
		}
	})

	t.Run("O16 a session of the attacker's own ends with the login that it is planted before", func(t *testing.T) {
		planted, _ := f.session(t, "bob")
		b := newBrowser(t, f.addr, f.pool.url)
		resp, _ := b.open(page)
		u, _ := url.Parse(page)
		for part := range strings.SplitSeq(planted, "; ") {
			name, value, _ := strings.Cut(part, "=")
			b.client.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
		}
		if resp, body := b.signIn(resp.Header.Get("Location"), "alice"); resp.StatusCode != http.StatusOK {
			t.Fatalf("sign in: %s\n%s", resp.Status, body)
		}
		if strings.Contains(b.cookies(page), planted) {
			t.Error("the planted session is still in the browser")
		}
		if got := sendRaw(t, f.addr, appHost, get("/app/", "Cookie: "+planted)); got.status != http.StatusUnauthorized {
			t.Errorf("the planted session: got %d, want 401", got.status)
		}
	})

	t.Run("O18 two cookies of one name are nobody's", func(t *testing.T) {
		name, _, _ := strings.Cut(f.alice, "=")
		for _, lines := range [][]string{
			{"Cookie: " + name + "=evil; " + f.alice},
			{"Cookie: " + f.alice + "; " + name + "=evil"},
			{"Cookie: " + f.alice + "; " + name + "="},
			{"Cookie: " + f.bob + "; " + f.alice},
			{"Cookie: " + f.alice + "; " + f.alice},
		} {
			raw := get("/app/", append(lines, "Accept: text/html")...)
			fields, _ := toH2(raw)
			for proto, got := range map[string]answer{
				"HTTP/1.1": sendRaw(t, f.addr, appHost, raw), "HTTP/2": sendH2(t, f.addr, appHost, fields, ""),
			} {
				if got.status != http.StatusFound || !expires(got.header, strings.TrimSuffix(name, "-0")) {
					t.Errorf("%s in %s: got %d with Set-Cookie %q, want 302 and the session expired", lines, proto, got.status, got.header["Set-Cookie"])
				}
			}
		}
	})

	t.Run("O21 every corruption looks the same", func(t *testing.T) {
		name, value, _ := strings.Cut(f.alice, "=")
		var first answer
		for i := 0; i < len(value); i += 1 + len(value)/40 {
			bent := []byte(value)
			bent[i] = rotate(bent[i])
			got := sendRaw(t, f.addr, appHost, get("/app/", "Cookie: "+name+"="+string(bent)))
			if i == 0 {
				first = got
			}
			if got.status != http.StatusUnauthorized || withoutID(got) != withoutID(first) {
				t.Fatalf("byte %d: got %d %s\nwant %d %s", i, got.status, withoutID(got), first.status, withoutID(first))
			}
		}
	})

	t.Run("O26 two hundred unfinished logins leave a small cookie", func(t *testing.T) {
		b := newBrowser(t, f.addr, f.pool.url)
		var tabs []string
		for n := range 200 {
			resp, _ := b.open(fmt.Sprintf("%s%d", page, n))
			if resp.StatusCode != http.StatusFound {
				t.Fatalf("navigation %d: %s", n, resp.Status)
			}
			tabs = append(tabs, resp.Header.Get("Location"))
		}
		if got := b.cookies(page); len(got) > 4096 || strings.Count(got, "; ") > 5 {
			t.Errorf("Cookie: %d bytes, %q", len(got), got)
		}
		if resp, body := b.signIn(page+"last", "alice"); resp.StatusCode != http.StatusOK {
			t.Errorf("the last tab cannot finish: %s\n%s", resp.Status, body)
		}
		for _, n := range []int{0, 1, 57, 120, 194, 198} {
			if resp, body := b.follow(tabs[n]); resp.StatusCode != http.StatusOK || resp.Request.URL.String() != fmt.Sprintf("%s%d", page, n) {
				t.Errorf("tab %d: got %s of %s, want its own page\n%s", n, resp.Status, resp.Request.URL, body)
			}
		}
	})

	t.Run("H25 an upstream sets no cookie of ours", func(t *testing.T) {
		name, _, _ := strings.Cut(f.alice, "=")
		f.backend.answer = func(seenRequest) string {
			return "HTTP/1.1 200 OK\r\nSet-Cookie: " + name + "=ATTACKER; Path=/; Secure\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\nok"
		}
		defer func() { f.backend.answer = nil }()
		got := sendRaw(t, f.addr, appHost, get("/public/"))
		if cookies := strings.Join(got.header["Set-Cookie"], "\n"); strings.Contains(cookies, "ATTACKER") || !strings.Contains(cookies, "theirs=1") {
			t.Errorf("Set-Cookie: got %q, want theirs=1 alone", cookies)
		}
	})
}

// rotate returns another byte of the base64url alphabet.
func rotate(b byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[(strings.IndexByte(alphabet, b)+1)%len(alphabet)]
}

// withoutID is an answer as text, less what differs between any two answers.
func withoutID(a answer) string {
	id := a.header.Get("X-Request-Id")
	h := a.header.Clone()
	for _, name := range []string{"Date", "X-Request-Id"} {
		h.Del(name)
	}
	var b strings.Builder
	h.Write(&b)
	return b.String() + strings.ReplaceAll(a.body, id, "ID")
}

// TestUpgradeTail is case S10: what a client sends after an upgrade request reaches no upstream before
// that has agreed.
func TestUpgradeTail(t *testing.T) {
	t.Parallel()
	f := startFixture(t)
	conn := dialTLS(t, f.addr, appHost, "http/1.1")
	io.WriteString(conn, f.fill(get("/ws", append([]string{asAlice, "Origin: https://" + appHost}, webSocket...)...)+get("/admin")))
	r := bufio.NewReader(conn)
	if got := readAnswer(r, "GET"); got.status != http.StatusOK {
		t.Errorf("first answer: got %d, want the upstream's 200", got.status)
	}
	readAnswer(r, "GET")
	for i, req := range f.backend.drain() {
		if i > 0 || req.target() != "/ws" {
			t.Errorf("upstream: got %q", req.line)
		}
	}
}

// TestHTTP2Attacks sends what only HTTP/2 can say.
func TestHTTP2Attacks(t *testing.T) {
	t.Parallel()
	f := startFixture(t)
	base := func(method, path, authority string, more ...field) []field {
		return append([]field{{":method", method}, {":scheme", "https"}, {":authority", authority}, {":path", path}}, more...)
	}
	for _, c := range []struct {
		id     string
		fields []field
		body   string
	}{
		{"P27 path without a slash", base("POST", "admin.Svc/Delete", appHost), ""},
		{"S15 line break in a value", base("GET", "/public/", appHost, field{"x-a", "b\r\nX-Amzn-Oidc-Identity: admin"}), ""},
		{"S16 transfer-encoding", base("POST", "/public/", appHost, field{"transfer-encoding", "chunked"}), "0\r\n\r\n"},
		{"S19 host and authority disagree", base("GET", "/public/", appHost, field{"host", "admin.example.test"}), ""},
		{"T01 another host than the server name", base("GET", "/", "admin.example.test"), ""},
		{"path with a space", base("GET", "/public/ HTTP/1.1", appHost), ""},
		{"authority with a path", base("GET", "/public/", appHost+"/admin"), ""},
		{"authority with userinfo", base("GET", "/public/", "x@"+appHost), ""},
		{"two authorities", base("GET", "/public/", appHost, field{":authority", "evil.test"}), ""},
		{"connection", base("GET", "/public/", appHost, field{"connection", "x-amzn-oidc-identity"}), ""},
		{"content-length that lies", base("POST", "/public/", appHost, field{"content-length", "1"}), "three"},
		{"two content-lengths", base("POST", "/public/", appHost, field{"content-length", "5"}, field{"content-length", "6"}), "three"},
		{"upper-case name", base("GET", "/public/", appHost, field{"X-Upper", "1"}), ""},
		{"space in a name", base("GET", "/public/", appHost, field{"x amzn oidc data", "1"}), ""},
	} {
		t.Run(c.id, func(t *testing.T) {
			got := sendH2(t, f.addr, appHost, c.fields, c.body)
			if !got.reset && got.status/100 != 4 {
				t.Errorf("got status %d, want a refusal or a reset", got.status)
			}
			if seen := f.backend.drain(); len(seen) > 0 {
				t.Errorf("upstream: got %q, want nothing", seen)
			}
		})
	}
}

// TestAdminListener plays cases X04 and X06: the admin listener answers no web page and no other path.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	f := startFixture(t)
	admin := f.gate.addrs["admin"]
	for _, c := range []struct {
		id, method, path, host string
		header                 map[string]string
		want                   int
	}{
		{"an operator", "GET", "/readyz", admin, nil, 200},
		{"liveness", "GET", "/healthz", "localhost", nil, 200},
		{"metrics", "GET", "/metrics", admin, nil, 200},
		{"X04 a page of another site", "POST", "/reload", admin, map[string]string{"Origin": "https://evil.test", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"X04 without an origin", "GET", "/metrics", admin, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"X06 a name that points here", "GET", "/metrics", "evil.test:9901", nil, 403},
		{"X06 another path", "GET", "/metricsX", admin, nil, 404},
		{"X06 a path below", "GET", "/metrics/x", admin, nil, 404},
	} {
		t.Run(c.id, func(t *testing.T) {
			req, err := http.NewRequest(c.method, "http://"+admin+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			for name, value := range c.header {
				req.Header.Set(name, value)
			}
			resp, err := direct(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.want {
				t.Errorf("got %s, want %d", resp.Status, c.want)
			}
		})
	}
	t.Run("X06 OPTIONS * under another name", func(t *testing.T) {
		conn, err := net.Dial("tcp", admin)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(ioTimeout))
		io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: evil.test\r\n\r\n")
		if got := readAnswer(bufio.NewReader(conn), "OPTIONS"); got.status != http.StatusForbidden {
			t.Errorf("got %d, want 403", got.status)
		}
	})
	t.Run("the front door has no admin paths", func(t *testing.T) {
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			if got := sendRaw(t, f.addr, appHost, get(path)); got.status != http.StatusNotFound {
				t.Errorf("%s: got %d, want 404", path, got.status)
			}
		}
	})
}

// TestRecords plays cases X07 and X08: a record is one JSON object whatever a client sends, and nothing
// that opens a door is in any of them.
func TestRecords(t *testing.T) {
	t.Parallel()
	f := startFixture(t)
	agent := `x","user":"admin`
	got := sendRaw(t, f.addr, appHost, f.fill(get("/app/?secret=QUERYSECRET", asAlice, "User-Agent: "+agent)))
	event := f.gate.eventWithID(got.header.Get("X-Request-Id"))
	if event["agent"] != agent || event["user"] != nil {
		t.Errorf("agent: got %q (user %v), want %q", event["agent"], event["user"], agent)
	}
	sendRaw(t, f.addr, appHost, f.fill(get("/oauth2/idpresponse?code=CODESECRET&state=STATESECRET", asAlice, "Authorization: Bearer $AT")))
	last := sendRaw(t, f.addr, appHost, f.fill(get("/api/x", "Authorization: Bearer $AT", "Cookie: a=COOKIESECRET")))
	f.gate.eventWithID(last.header.Get("X-Request-Id"))

	output := f.gate.output()
	_, session, _ := strings.Cut(f.alice, "=")
	for _, secret := range []string{"QUERYSECRET", "CODESECRET", "STATESECRET", "COOKIESECRET", session, f.token, clientSecret} {
		if strings.Contains(output, secret) {
			t.Errorf("the output has %.20s… in it", secret)
		}
	}
	if strings.Contains(output, "not json") {
		t.Errorf("a line is not JSON:\n%s", output)
	}
}

// TestEventsStream is case W32: the first event of a stream arrives while the upstream still writes.
func TestEventsStream(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"block", "count", "off", "{groups: [leakages]}", "{mode: count, groups: [leakages]}", "{body: headers}"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			more := make(chan struct{})
			stream := startStream(t, more)
			config := writeFile(t, "gatehouse.yaml", fmt.Sprintf(`
listen: {https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {local: true}
waf: %s
upstreams: {u: %s}
routes:
  - {match: %s, to: u, require: nothing}
`, mode, stream, appHost))
			gate := launch(t, []string{"run", "-c", config}, nil, "https", "admin")
			b := newBrowser(t, gate.addrs["https"], "")
			req, _ := http.NewRequest(http.MethodGet, "https://"+appHost+"/events", nil)
			req.Header.Set("Accept", "text/event-stream")
			resp, err := b.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			r := bufio.NewReader(resp.Body)
			timer := time.AfterFunc(ioTimeout, func() { resp.Body.Close() })
			defer timer.Stop()
			if line, err := r.ReadString('\n'); line != "data: first\n" {
				t.Fatalf("first line: got %q, %v", line, err)
			}
			close(more) // only now does the upstream go on
			rest, err := io.ReadAll(r)
			if err != nil || string(rest) != "\ndata: second\n\n" {
				t.Errorf("rest: got %q, %v", rest, err)
			}
		})
	}
}
