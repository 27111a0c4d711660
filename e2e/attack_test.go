package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The fixture of the attack cases: three hosts, four kinds of route, one upstream that records.
const (
	appHost    = "app.example.test"
	tenantHost = "b.tenant.example.test"
)

const attackConfig = `
listen: {https: "127.0.0.1:0", admin: "127.0.0.1:0"}
tls: {local: true}
%s
assertion: {signer: "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/edge/50dc6c495c0c9188"}
upstreams: {u: %s}
routes:
  - {match: app.example.test/public/*, to: u, require: nothing}
  - {match: app.example.test/plain/*, to: u, require: nothing, waf: off}
  - {match: app.example.test/once/*, to: u, require: nothing, waf: off, admit: {double_encoding: true}}
  - {match: app.example.test/app/*, to: u, require: signed-in}
  - {match: app.example.test/ws, to: u, require: signed-in}
  - {match: app.example.test/admin/*, to: u, require: {groups: [admins]}}
  - {match: app.example.test/api/*, to: u, require: token}
  - {match: admin.example.test, to: u, require: {groups: [admins]}}
  - {match: b.tenant.example.test, to: u, require: signed-in}
`

// A fixture is the program with its pool and upstream, and what a signed-in person holds.
type fixture struct {
	gate    *program
	addr    string
	pool    *pool
	backend *backend
	alice   string // Cookie header of a session in group users
	spare   string // another session of alice
	bob     string // … in group admins
	token   string // alice's access token
}

// startFixture starts it with further lines of configuration.
func startFixture(t *testing.T, lines ...string) *fixture {
	t.Helper()
	f := &fixture{backend: startBackend(t)}
	callbacks := []string{}
	for _, host := range []string{appHost, "admin.example.test", tenantHost} {
		callbacks = append(callbacks, "--callback=https://"+host+"/oauth2/idpresponse", "--logout=https://"+host+"/oauth2/signed_out")
	}
	f.pool = startPool(t, callbacks...)
	config := writeFile(t, "gatehouse.yaml", fmt.Sprintf(attackConfig, strings.Join(append(lines, f.pool.login()), "\n"), f.backend.url()))
	f.gate = launch(t, []string{"run", "-c", config}, []string{"CLIENT_SECRET=" + clientSecret}, "https", "admin")
	f.addr = f.gate.addrs["https"]
	f.alice, f.token = f.session(t, "alice")
	f.spare, _ = f.session(t, "alice")
	f.bob, _ = f.session(t, "bob")
	return f
}

// session signs user in and returns the cookies and the access token.
func (f *fixture) session(t *testing.T, user string) (cookies, token string) {
	t.Helper()
	b := newBrowser(t, f.addr, f.pool.url)
	resp, page := b.signIn("https://"+appHost+"/app/", user)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("sign in as %s: %s\n%s", user, resp.Status, page)
	}
	for _, seen := range f.backend.drain() {
		for _, v := range seen.values("x-amzn-oidc-accesstoken") {
			token = v
		}
	}
	var parts []string
	for part := range strings.SplitSeq(b.cookies("https://"+appHost+"/app/"), "; ") {
		if !strings.HasPrefix(part, loginCookie) { // which remembers the login for a minute
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; "), token
}

// fill puts the session cookies and the token in the places of a raw request.
func (f *fixture) fill(raw string) string {
	return strings.NewReplacer("$ALICE", f.alice, "$SPARE", f.spare, "$BOB", f.bob, "$AT", f.token).Replace(raw)
}

// An attack is one hostile request and what must become of it.
type attack struct {
	id, what string
	raw      string // HTTP/1.1, with $ALICE, $SPARE, $BOB and $AT
	statuses []int  // any of these
	h1       bool   // says nothing in HTTP/2
	// see judges what reached the upstream; nil means that nothing may.
	see func(t *testing.T, seen []seenRequest)
	// back judges the answer beyond its status.
	back func(t *testing.T, a answer)
}

var (
	refused    = []int{400}
	notFound   = []int{404}
	forbidden  = []int{403}
	signInFor  = []int{302, 401}
	noEntry    = []int{302, 400, 401, 403, 404}
	ok         = []int{200}
	refusedWAF = []int{400, 403}
)

// get is a request for target at the app's host with further header lines.
func get(target string, lines ...string) string {
	return request("GET", target, "", lines...)
}

func request(method, target, body string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, appHost)
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// asAlice is the header line of her session.
const asAlice = "Cookie: $ALICE"

// none checks that no request reached the upstream with a field that folds to one of names holding value.
func none(value string, names ...string) func(*testing.T, []seenRequest) {
	return func(t *testing.T, seen []seenRequest) {
		t.Helper()
		for _, req := range seen {
			for _, name := range names {
				if slices.Contains(req.values(name), value) {
					t.Errorf("the upstream saw %s: %s", name, value)
				}
			}
		}
	}
}

// one checks that exactly one request reached the upstream, for target.
func one(target string) func(*testing.T, []seenRequest) {
	return func(t *testing.T, seen []seenRequest) {
		t.Helper()
		if len(seen) != 1 || seen[0].target() != target {
			t.Errorf("upstream: got %q, want one request for %s", seen, target)
		}
	}
}

// both runs several checks.
func both(checks ...func(*testing.T, []seenRequest)) func(*testing.T, []seenRequest) {
	return func(t *testing.T, seen []seenRequest) {
		t.Helper()
		for _, check := range checks {
			check(t, seen)
		}
	}
}

// identityNames are the headers by which an upstream knows who is there.
var identityNames = [...]string{"x-amzn-oidc-identity", "x-amzn-oidc-data", "x-amzn-oidc-accesstoken"}

func pathAttacks() []attack {
	return []attack{
		{id: "P02", what: "encoded #", raw: get("/public/secret%23/endpoint"), statuses: refused},
		{id: "P03", what: "raw fragment", raw: get("/admin#x"), statuses: refused},
		{id: "P04", what: "dot segments", raw: get("/public/../admin"), statuses: noEntry},
		{id: "P05", what: "encoded dot segments", raw: get("/public/%2e%2e/admin"), statuses: noEntry},
		{id: "P07", what: "encoded backslash", raw: get("/public%5c..%5cadmin"), statuses: refused},
		{id: "P09", what: "dots before a path parameter", raw: get("/public/..;/admin"), statuses: refused},
		{id: "P10", what: "path parameter on the protected segment", raw: get("/admin;x=1/panel", asAlice), statuses: refusedWAF},
		{id: "P11", what: "leading double slash", raw: get("//admin/users"), statuses: refused},
		{id: "P12", what: "double encoding is not decoded twice", raw: get("/once/%252e%252e/admin"), statuses: ok, see: one("/once/%252e%252e/admin")},
		{id: "P12", what: "double encoding that leads to another rule", raw: get("/plain/%252e%252e/admin"), statuses: refused},
		{id: "P13", what: "NUL", raw: get("/admin%00.css"), statuses: refused},
		{id: "P14", what: "encoded question mark", raw: get("/admin%3f.css"), statuses: refused},
		{id: "P16", what: "other case and encoded slash", raw: get("/ADMIN%2fpanel"), statuses: refused},
		{id: "P17", what: "dots after a prefix", raw: get("/api../admin"), statuses: []int{400, 404}},
		{id: "P18", what: "dots for a rewrite to join", raw: get("/v1../admin"), statuses: []int{400, 404}},
		{id: "P19", what: "encoded letters", raw: get("/%61dmin/panel", asAlice), statuses: forbidden},
		{id: "P20", what: "prefix without a segment boundary", raw: get("/publicsecret"), statuses: notFound},
		{id: "P21", what: "literal asterisk", raw: get("/admin/*", asAlice), statuses: forbidden},
		{id: "P22", what: "lower-case method", raw: request("get", "/admin", ""), statuses: []int{400, 501}},
		{id: "P23", what: "HEAD is decided as GET", raw: request("HEAD", "/admin", "", asAlice), statuses: forbidden},
		{id: "P24", what: "a health checker's user agent opens nothing", raw: get("/app/secret", "User-Agent: GoogleHC/1.0"), statuses: signInFor},
		{id: "P25", what: "the gateway's own prefix as a trampoline", raw: get("/.gatehouse/../admin"), statuses: refused},
		{id: "P28", what: "encoded slash in a rule's look-alike", raw: get("/foo%2fbarbaz"), statuses: refused},
		{
			id: "P29", what: "a preflight brings no forged identity",
			raw:      request("OPTIONS", "/admin", "", "Origin: https://evil.test", "Access-Control-Request-Method: GET", "X-Amzn-Oidc-Identity: admin"),
			statuses: []int{200, 204, 302, 401, 403}, see: none("admin", identityNames[:]...),
		},
	}
}

func headerAttacks() []attack {
	return []attack{
		{
			id: "H03", what: "prefix header", raw: get("/app/", asAlice, "X-Forwarded-Prefix: //evil.test"),
			statuses: ok, see: none("//evil.test", "x-forwarded-prefix"),
		},
		{
			id: "H04", what: "forged client address", raw: get("/app/", asAlice, "X-Forwarded-For: 10.0.0.1"),
			statuses: ok, see: func(t *testing.T, seen []seenRequest) {
				if len(seen) != 1 || !slices.Equal(seen[0].values("x-forwarded-for"), []string{"127.0.0.1"}) {
					t.Errorf("upstream: got %q, want X-Forwarded-For: 127.0.0.1 alone", seen)
				}
			},
		},
		{
			id: "H06", what: "headers that override the URL", raw: get("/public/x", "X-Original-URL: /admin", "X-Rewrite-URL: /admin"),
			statuses: ok, see: none("/admin", "x-original-url", "x-rewrite-url"),
		},
		{
			id: "H08", what: "identity headers on a public route",
			raw:      get("/public/x", "X-Amzn-Oidc-Identity: forged", "X-Amzn-Oidc-Data: forged", "X-Amzn-Oidc-Accesstoken: forged"),
			statuses: ok, see: both(one("/public/x"), none("forged", identityNames[:]...)),
		},
		{
			id: "H09", what: "identity header with underscores", raw: get("/app/", asAlice, "X_Amzn_Oidc_Identity: admin"),
			statuses: []int{200, 400}, see: none("admin", "x-amzn-oidc-identity"),
		},
		{id: "H12", what: "space before the colon", raw: get("/app/", asAlice, "X-Amzn-Oidc-Identity : admin"), statuses: refused, h1: true},
		{
			id: "H13", what: "Connection names the identity header", h1: true,
			raw:      get("/app/", asAlice, "Connection: close, x-amzn-oidc-identity"),
			statuses: ok, see: func(t *testing.T, seen []seenRequest) {
				if len(seen) != 1 || len(seen[0].values("x-amzn-oidc-identity")) != 1 {
					t.Errorf("upstream: got %q, want the identity of alice", seen)
				}
			},
		},
		{
			id: "H14", what: "Connection names what the policies read", h1: true,
			raw:      get("/app/", asAlice, "Connection: cookie, x-forwarded-for"),
			statuses: ok, see: func(t *testing.T, seen []seenRequest) {
				if len(seen) != 1 || !slices.Equal(seen[0].values("x-forwarded-for"), []string{"127.0.0.1"}) {
					t.Errorf("upstream: got %q, want the client's address", seen)
				}
			},
		},
		{id: "H19", what: "a byte outside ASCII in a header", raw: get("/app/", asAlice, "X-Tenant: blocked\xff"), statuses: []int{200, 400}, see: func(*testing.T, []seenRequest) {}},
		{
			id: "H20", what: "two values of one header", raw: get("/app/", asAlice, "X-Tenant: a", "X-Tenant: b"),
			statuses: ok, see: func(t *testing.T, seen []seenRequest) {
				if len(seen) != 1 || !slices.Equal(seen[0].values("x-tenant"), []string{"a", "b"}) {
					t.Errorf("upstream: got %q, want both values", seen)
				}
			},
		},
		{
			id: "H22", what: "client certificate headers without a certificate",
			raw:      get("/app/", asAlice, "Ssl-Client-Verify: SUCCESS", "Ssl-Client-Subject-Dn: CN=admin", "X-Forwarded-Client-Cert: Hash=1"),
			statuses: ok, see: func(t *testing.T, seen []seenRequest) {
				none("SUCCESS", "ssl-client-verify")(t, seen)
				none("CN=admin", "ssl-client-subject-dn")(t, seen)
				none("Hash=1", "x-forwarded-client-cert")(t, seen)
			},
		},
		{
			id: "H24", what: "our cookie stays here, the application's passes", raw: get("/app/", "Cookie: other=1; $ALICE; z=2"),
			statuses: ok, see: func(t *testing.T, seen []seenRequest) {
				if len(seen) != 1 || !slices.Equal(seen[0].values("cookie"), []string{"other=1; z=2"}) {
					t.Errorf("upstream: got %q, want Cookie: other=1; z=2", seen)
				}
			},
		},
		{
			id: "H28", what: "a framework's internal header", raw: get("/app/", asAlice, "x-middleware-subrequest: middleware:middleware"),
			statuses: []int{200, 403}, see: none("middleware:middleware", "x-middleware-subrequest"),
		},
	}
}

func loginAttacks() []attack {
	return []attack{
		{id: "O12", what: "callback without state", raw: get("/oauth2/idpresponse?code=abc"), statuses: refused},
		{id: "O14", what: "protocol parameter sent twice", raw: get("/oauth2/idpresponse?code=x&state=y&state=z"), statuses: refused},
		{
			id: "O17", what: "the sign-in page ends the old session", raw: get("/oauth2/sign_in", "Cookie: $SPARE", "Sec-Fetch-Mode: navigate", "Accept: text/html"),
			statuses: []int{200, 302, 303}, back: func(t *testing.T, a answer) {
				if !expires(a.header, sessionName(t, a.header)) {
					t.Errorf("Set-Cookie: got %q, want the session's shards expired", a.header["Set-Cookie"])
				}
			},
		},
		{id: "O24", what: "a bearer token is no session", raw: get("/app/", "Authorization: Bearer junk"), statuses: signInFor},
		{id: "O25", what: "a token in the query is no credential", raw: get("/app/?access_token=junk&token=junk", "Accept: text/html", "Sec-Fetch-Mode: navigate"), statuses: []int{302}},
		{id: "O23", what: "a session replayed on another host", raw: "GET /app/ HTTP/1.1\r\nHost: " + tenantHost + "\r\n" + asAlice + "\r\nAccept: text/html\r\n\r\n", statuses: []int{302}},
		{
			id: "O28", what: "a navigation is sent to sign in", raw: get("/app/page", "Accept: text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
			statuses: []int{302}, back: func(t *testing.T, a answer) {
				location := a.header.Get("Location")
				for _, want := range []string{"/oauth2/authorize?", "code_challenge_method=S256", "code_challenge=", "state=", "nonce="} {
					if !strings.Contains(location, want) {
						t.Errorf("Location: got %q, want %s in it", location, want)
					}
				}
			},
		},
		{id: "O36", what: "alg none", raw: get("/api/x", "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."), statuses: []int{401}},
		{id: "O44", what: "a megabyte of dots", raw: get("/api/x", "Authorization: Bearer "+strings.Repeat(".", 60<<10)), statuses: []int{400, 401, 431}},
		{id: "O45", what: "an encrypted token", raw: get("/api/x", "Authorization: Bearer eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ciLCJlbmMiOiJBMTI4R0NNIiwicDJjIjoyMTQ3NDgzNjQ3LCJwMnMiOiJhYSJ9.aa.aa.aa.aa"), statuses: []int{401}},
		{id: "O47", what: "two Authorization headers", raw: get("/api/x", "Authorization: Bearer bad", "Authorization: Bearer $AT"), statuses: refused},
		{id: "O41", what: "a good access token, for comparison", raw: get("/api/x", "Authorization: Bearer $AT"), statuses: ok, see: one("/api/x")},
		{
			id: "O56", what: "markup in the provider's error", raw: get("/oauth2/idpresponse?error=x&error_description=%3Cscript%3Ealert(1)%3C/script%3E", "Accept: text/html", "Sec-Fetch-Mode: navigate"),
			statuses: []int{400, 401, 403}, back: func(t *testing.T, a answer) {
				if strings.Contains(a.body, "<script") {
					t.Errorf("the page has the script in it:\n%s", a.body)
				}
				if !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") || a.header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("headers of the page: got %q", a.header)
				}
			},
		},
		{id: "O58", what: "host in another case", raw: "GET / HTTP/1.1\r\nHost: ADMIN.Example.Test\r\n" + asAlice + "\r\n\r\n", statuses: noEntry},
		{id: "O59", what: "WebSocket without a session", raw: get("/ws", webSocket...), statuses: []int{401}, h1: true},
		{id: "O60", what: "WebSocket from another site", raw: get("/ws", append([]string{asAlice, "Origin: https://evil.test"}, webSocket...)...), statuses: forbidden, h1: true},
	}
}

var webSocket = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}

func streamAttacks() []attack {
	many := "a=x" + strings.Repeat("&a=x", 10000)
	return []attack{
		{id: "S03", what: "two transfer codings", raw: request("POST", "/public/", "", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n", statuses: []int{400, 501}, h1: true},
		{id: "S07", what: "transfer coding in HTTP/1.0", raw: "POST /public/ HTTP/1.0\r\nHost: " + appHost + "\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", statuses: refused, h1: true},
		{id: "S08", what: "two hosts", raw: get("/public/", "Host: evil.test"), statuses: refused, h1: true},
		{id: "S09", what: "userinfo in the host", raw: "GET /public/ HTTP/1.1\r\nHost: " + appHost + ":80@evil.test\r\n\r\n", statuses: refused},
		{id: "S11", what: "upgrade to h2c", raw: get("/public/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), statuses: []int{200, 400}, h1: true, see: none("h2c", "upgrade")},
		{id: "S12", what: "upgrade to something", raw: get("/public/", "Connection: Upgrade", "Upgrade: foo"), statuses: []int{200, 400}, h1: true, see: none("foo", "upgrade")},
		{id: "S13", what: "CONNECT", raw: "CONNECT admin.internal:80 HTTP/1.1\r\nHost: " + appHost + "\r\n\r\n", statuses: []int{400, 405, 501}, h1: true},
		{
			id: "S13", what: "OPTIONS * is a request like any other",
			raw: "OPTIONS * HTTP/1.1\r\nHost: " + appHost + "\r\n\r\n", statuses: []int{204},
			back: func(t *testing.T, a answer) {
				if a.header.Get("X-Request-Id") == "" || a.header.Get("Strict-Transport-Security") == "" {
					t.Errorf("headers: got %q, want a request id and the security headers", a.header)
				}
			},
		},
		{id: "S14", what: "TRACE", raw: request("TRACE", "/app/", "", asAlice), statuses: []int{405}},
		{id: "S20", what: "ten thousand parameters", raw: get("/public/?" + many + "&hidden=y"), statuses: []int{400, 414}},
		{
			id: "S21", what: "semicolon in the query", raw: get("/public/?a=1;b=2"), statuses: []int{200, 400},
			see: func(t *testing.T, seen []seenRequest) {
				if len(seen) > 0 {
					one("/public/?a=1;b=2")(t, seen)
				}
			},
		},
		{id: "X12", what: "a placeholder is not expanded", raw: get("/plain/?x={env.CLIENT_SECRET}&y=${env:CLIENT_SECRET}"), statuses: ok, see: one("/plain/?x={env.CLIENT_SECRET}&y=${env:CLIENT_SECRET}")},
		{id: "S23", what: "an odd expectation", raw: request("POST", "/public/", "a", "Expect: y 100-continue"), statuses: []int{417}},
		{id: "S24", what: "bare line feeds", raw: "GET /public/ HTTP/1.1\nHost: " + appHost + "\n\n", statuses: refused, h1: true},
		{id: "S25", what: "another minor version", raw: "GET /public/ HTTP/1.2\r\nHost: " + appHost + "\r\n\r\n", statuses: []int{400, 505}, h1: true},
		{id: "D07", what: "a header of 100 kB", raw: get("/public/", "X-Big: "+strings.Repeat("a", 100_000)), statuses: []int{0, 400, 431}},
		{id: "D15", what: "a million parameters", raw: get("/public/?a" + strings.Repeat("&a", 1_000_000)), statuses: []int{0, 400, 414, 431}},
	}
}

// play sends one attack, judges it and returns the status.
func (f *fixture) play(t *testing.T, a attack, send func(*testing.T, string) answer) int {
	t.Helper()
	f.backend.drain()
	got := send(t, f.fill(a.raw))
	refusal := !slices.Contains(a.statuses, http.StatusOK)
	if !slices.Contains(a.statuses, got.status) && !(got.reset && refusal) {
		t.Errorf("status: got %d, want one of %v\n%s", got.status, a.statuses, got.body)
	}
	if a.back != nil {
		a.back(t, got)
	}
	seen := f.backend.drain()
	if a.see != nil {
		a.see(t, seen)
	} else if len(seen) > 0 {
		t.Errorf("upstream: got %q, want nothing", seen)
	}
	return got.status
}

// TestAttacks plays the attack cases over raw sockets, in HTTP/1.1, with a body in chunks as well and, where the attack can be
// said in it, in HTTP/2. One fixture serves them all, one after another, because each looks at what reached the
// one upstream.
func TestAttacks(t *testing.T) {
	t.Parallel()
	f := startFixture(t)
	cases := slices.Concat(pathAttacks(), headerAttacks(), loginAttacks(), streamAttacks(), bodyAttacks())
	for _, a := range cases {
		verdicts := map[string]int{}
		t.Run(a.id+" "+a.what+" in HTTP 1", func(t *testing.T) {
			verdicts["HTTP/1.1"] = f.play(t, a, func(t *testing.T, raw string) answer { return sendRaw(t, f.addr, hostOf(raw), raw) })
		})
		if a.h1 {
			continue
		}
		if chunked := inChunks(a.raw); chunked != a.raw {
			t.Run(a.id+" "+a.what+" in chunks", func(t *testing.T) {
				verdicts["chunked"] = f.play(t, a, func(t *testing.T, raw string) answer { return sendRaw(t, f.addr, hostOf(raw), inChunks(raw)) })
			})
		}
		t.Run(a.id+" "+a.what+" in HTTP 2", func(t *testing.T) {
			verdicts["HTTP/2"] = f.play(t, a, func(t *testing.T, raw string) answer {
				fields, body := toH2(raw)
				return sendH2(t, f.addr, hostOf(raw), fields, body)
			})
		})
		if strings.HasPrefix(a.id, "W") {
			assertOneVerdict(t, a, verdicts)
		}
	}
}

// assertOneVerdict wants a request to have been answered alike however it came. A stream that is reset is as good as a 400.
func assertOneVerdict(t *testing.T, a attack, verdicts map[string]int) {
	t.Helper()
	for way, got := range verdicts {
		if want := verdicts["HTTP/1.1"]; cmp.Or(got, http.StatusBadRequest) != cmp.Or(want, http.StatusBadRequest) {
			t.Errorf("%s %s: got %d in %s, and %d in HTTP/1.1", a.id, a.what, got, way, want)
		}
	}
}

// hostOf is the server name that a client of this request would send in TLS.
func hostOf(raw string) string {
	_, rest, _ := strings.Cut(raw, "\nHost: ")
	host, _, _ := strings.Cut(rest, "\n")
	host = strings.ToLower(strings.TrimSpace(host))
	if name, _, found := strings.Cut(host, ":"); found {
		return name
	}
	return host
}

// toH2 says an HTTP/1.1 request in HTTP/2 fields.
func toH2(raw string) ([]field, string) {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	start := strings.SplitN(lines[0], " ", 3)
	fields := []field{{":method", start[0]}, {":scheme", "https"}, {":path", start[1]}}
	var rest []field
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch name = strings.ToLower(name); name {
		case "host":
			fields = append(fields, field{":authority", value})
		case "transfer-encoding", "connection":
		default:
			rest = append(rest, field{name, value})
		}
	}
	return append(fields, rest...), dechunk(head, body)
}

// dechunk takes the chunked coding off, which HTTP/2 does not have.
func dechunk(head, body string) string {
	if !strings.Contains(head, "Transfer-Encoding: chunked") {
		return body
	}
	var out strings.Builder
	for {
		size, rest, _ := strings.Cut(body, "\r\n")
		var n int
		fmt.Sscanf(size, "%x", &n)
		if n == 0 || n > len(rest) {
			return out.String()
		}
		out.WriteString(rest[:n])
		body = strings.TrimPrefix(rest[n:], "\r\n")
	}
}

// sessionName is the base name of the session cookie, read from the shard that a Set-Cookie names.
func sessionName(t *testing.T, h http.Header) string {
	t.Helper()
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if base, found := strings.CutSuffix(c.Name, "-0"); found {
			return base
		}
	}
	t.Fatalf("Set-Cookie: got %q, want a session shard", h["Set-Cookie"])
	return ""
}

// expires says whether every shard of the session called base is expired by h.
func expires(h http.Header, base string) bool {
	gone := 0
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if rest, found := strings.CutPrefix(c.Name, base+"-"); found && rest >= "0" && rest <= "3" && c.MaxAge < 0 {
			gone++
		}
	}
	return gone == 4
}
