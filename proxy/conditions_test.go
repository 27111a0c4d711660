package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// route is a Route that answers with its name.
func route(name string, m Match, priority int) Route {
	return Route{Name: name, Match: m, Priority: priority, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })}
}

func values(pairs ...string) map[string][]string {
	m := map[string][]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = append(m[pairs[i]], pairs[i+1])
	}
	return m
}

// conditionRoutes are routes of each kind.
func conditionRoutes() []Route {
	return []Route{
		route("all", Match{}, 0),
		route("host", Match{Hosts: []string{"app-??.test"}}, 0),
		route("host expression", Match{Hosts: []string{`~^v[0-9]+\.test$`}}, 0),
		route("api", Match{Path: "/api/*"}, 0),
		route("api v1", Match{Path: "/api/*", Query: values("v", "1")}, 0),
		route("api v2", Match{Path: "/api/*", Query: values("v", "2")}, 0),
		route("api v1 beta", Match{Path: "/api/*", Query: values("v", "1"), Headers: values("X-Beta", "yes")}, 0),
		route("any key", Match{Path: "/key", Query: values("*", "*secret*")}, 0),
		route("mobile", Match{Path: "/ua", Headers: values("User-Agent", "*mobile*", "User-Agent", "~^curl/[0-9]")}, 0),
		route("desktop", Match{Path: "/ua"}, 0),
		route("cookie", Match{Path: "/cookie", Headers: values("Cookie", "*a=1*b=2*")}, 0),
		route("inside", Match{Path: "/in/*", Source: []string{"192.0.2.0/24", "::ffff:198.51.100.1"}}, 0),
		route("expression", Match{Path: "~^/item/[0-9]+$"}, 0),
		route("wild", Match{Path: "/page/*/edit"}, 0),
		route("wild post", Match{Path: "/form/*.cgi", Methods: []string{"POST"}}, 0),
		route("items", Match{Path: "/item/*"}, 0),
		route("first", Match{Path: "*.css"}, 10),
		route("second", Match{Path: "/style/*", Headers: values("X-Beta", "yes"), Methods: []string{"GET"}}, 20),
		route("third", Match{Path: "/style/*"}, 30),
		route("only post", Match{Hosts: []string{"post.test"}, Path: "/p", Methods: []string{"POST"}}, 40),
	}
}

// conditionCases are requests to conditionRoutes.
var conditionCases = []struct {
	method, url string
	header      string // "Name: value|Name: value"
	want        string // the route or the status
}{
	{"GET", "https://x.test/", "", "all"},
	{"GET", "https://app-eu.test/", "", "host"},
	{"GET", "https://app-eur.test/", "", "all"},
	{"GET", "https://v12.test/", "", "host expression"},
	{"GET", "https://v12.test/api/x", "", "host expression"},
	{"GET", "https://v.test/", "", "all"},
	{"GET", "https://x.test/api/x", "", "api"},
	{"GET", "https://x.test/api/x?v=1", "", "api v1"},
	{"GET", "https://x.test/api?a=&V=1&b", "", "api v1"},
	{"GET", "https://x.test/api?%76=%31", "", "api v1"},
	{"GET", "https://x.test/api?v=2", "X-Beta: yes", "api v2"},
	{"GET", "https://x.test/api?v=1", "X-Beta: YES", "api v1 beta"},
	{"GET", "https://x.test/api?v=1&v=2", "", "400"},
	{"GET", "https://x.test/api?v=1&v=2", "X-Beta: yes", "400"},
	{"GET", "https://x.test/api?v=1;v=2", "", "api"},
	{"GET", "https://x.test/api?vv=1", "", "api"},
	{"GET", "https://x.test/key?q=a+seCret+b", "", "any key"},
	{"GET", "https://x.test/key?q=secre", "", "404"},
	{"GET", "https://x.test/ua", "User-Agent: Some Mobile thing", "mobile"},
	{"GET", "https://x.test/ua", "User-Agent: CURL/8", "mobile"},
	{"GET", "https://x.test/ua", "User-Agent: other", "desktop"},
	{"GET", "https://x.test/cookie", "Cookie: a=1|Cookie: b=2", "cookie"},
	{"GET", "https://x.test/cookie", "Cookie: a=1", "404"},
	{"GET", "https://x.test/in/x", "X-Forwarded-For: 192.0.2.77", "inside"},
	{"GET", "https://x.test/in/x", "X-Forwarded-For: 198.51.100.1", "inside"},
	{"GET", "https://x.test/in/x", "X-Forwarded-For: 192.0.2.77, 203.0.113.9", "404"},
	{"GET", "https://x.test/in/x", "", "404"},
	{"GET", "https://x.test/item/7", "", "expression"},
	{"GET", "https://x.test/page/7/edit", "", "wild"},
	{"GET", "https://x.test/item/a", "", "items"},
	{"POST", "https://x.test/form/a/b.cgi", "", "wild post"},
	{"GET", "https://x.test/form/a.cgi", "", "405 POST"},
	{"GET", "https://x.test/api/a.css?v=1", "", "first"},
	{"GET", "https://x.test/style/a", "X-Beta: yes", "second"},
	{"HEAD", "https://x.test/style/a", "X-Beta: yes", "second"},
	{"POST", "https://x.test/style/a", "X-Beta: yes", "third"},
	{"GET", "https://x.test/style/a", "X_Beta: yes", "third"},
	{"GET", "https://post.test/p", "", "all"},
	{"GET", "https://x.test/item/%37", "", "expression"},
	{"GET", "https://x.test/ITEM/7", "", "400"},
	{"GET", "https://x.test/a.CSS", "", "400"},
	{"GET", "https://x.test/item/7.", "", "400"},
	{"GET", "https://x.test/%2569tem/7", "", "400"},
}

func TestConditionsOverHTTP(t *testing.T) {
	t.Parallel()
	vary := map[string]string{ // by route: the headers that others at its place ask for
		"api": "X-Beta", "api v1": "X-Beta", "api v2": "X-Beta", "api v1 beta": "X-Beta", "mobile": "User-Agent", "desktop": "User-Agent",
		"cookie": "Cookie", "second": "X-Beta", "third": "X-Beta",
	}
	seen := make(chan http.Header, 1)
	routes := conditionRoutes()
	third := routes[len(routes)-2].Handler
	routes[len(routes)-2].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.Header:
		default:
		}
		third.ServeHTTP(w, r)
	})
	gw := newGateway(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}, routes...)
	s := serveTLS(t, gw)
	for _, h2 := range []bool{false, true} {
		transport := &http.Transport{
			ForceAttemptHTTP2: h2,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // names of a test
		}
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
		}
		client := &http.Client{Transport: transport}
		for _, tt := range conditionCases {
			req, err := http.NewRequest(tt.method, tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(tt.header, "|") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					req.Header[name] = append(req.Header[name], value)
				}
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			got := string(body)
			if res.StatusCode != http.StatusOK {
				got = strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", res.Header.Get("Allow")))
			} else if tt.method == http.MethodHead {
				got = tt.want
			}
			if got != tt.want || h2 != (res.ProtoMajor == 2) {
				t.Errorf("%s %s %s over HTTP/%d: got %q, want %q", tt.method, tt.url, tt.header, res.ProtoMajor, got, tt.want)
			}
			if res.StatusCode == http.StatusOK && res.Header.Get("Vary") != vary[tt.want] {
				t.Errorf("%s %s: got Vary %q, want %q", tt.method, tt.url, res.Header.Get("Vary"), vary[tt.want])
			}
			if tt.want == "third" {
				if h := <-seen; len(h[http.CanonicalHeaderKey("X_Beta")]) > 0 {
					t.Errorf("an alias of a header that routes ask for came through: %v", h)
				}
			}
		}
		transport.CloseIdleConnections()
	}
}

func TestClashes(t *testing.T) {
	t.Parallel()
	get, post := []string{"GET"}, []string{"POST"}
	beta, v2 := values("X-Beta", "yes"), values("v", "2")
	tests := []struct {
		name string
		a, b Match
		want string // in the error; "" for none
	}{
		{"paths that cross", Match{Path: "/*.css"}, Match{Path: "/admin/*"}, "neither path is more specific"},
		{"paths that cross on other hosts", Match{Hosts: []string{"a.test"}, Path: "/*.css"}, Match{Hosts: []string{"b.test"}, Path: "/admin/*"}, ""},
		{"a path in another", Match{Path: "/*/edit"}, Match{}, ""},
		{"an expression beside a prefix", Match{Path: "~v1"}, Match{Path: "/a/*"}, "neither path is more specific"},
		{"an anchored expression elsewhere", Match{Path: "~^/v1"}, Match{Path: "/a/*"}, ""},
		{"hosts that cross", Match{Hosts: []string{"a*.test"}}, Match{Hosts: []string{"*b.test"}, Path: "/x"}, "neither host is more specific"},
		{"hosts that cross with paths apart", Match{Hosts: []string{"a*.test"}, Path: "/y"}, Match{Hosts: []string{"*b.test"}, Path: "/x"}, ""},
		{"a host in another", Match{Hosts: []string{"a-*.test"}, Path: "/x"}, Match{Hosts: []string{"*.test"}}, ""},
		{"one condition more", Match{Headers: beta}, Match{}, ""},
		{"two conditions of which both can hold", Match{Headers: beta}, Match{Query: v2}, "the conditions of both can hold"},
		{"the same conditions", Match{Headers: beta}, Match{Headers: values("x-beta", "YES")}, "the same host, path and conditions"},
		{"other values", Match{Headers: beta}, Match{Headers: values("X-Beta", "no*")}, ""},
		{"values that cross", Match{Headers: values("X-Beta", "y*")}, Match{Headers: values("X-Beta", "*s")}, "the conditions of both can hold"},
		{"a value in another", Match{Headers: values("X-Beta", "y*")}, Match{Headers: beta}, ""},
		{"a condition and a method", Match{Headers: beta}, Match{Methods: post}, "the conditions of both can hold"},
		{"a condition and another method", Match{Headers: beta, Methods: get}, Match{Methods: post}, ""},
		{"networks apart", Match{Source: []string{"10.0.0.0/8"}}, Match{Source: []string{"192.0.2.0/24"}, Headers: beta}, ""},
		{"a network in another", Match{Source: []string{"10.1.0.0/16"}}, Match{Source: []string{"10.0.0.0/8"}}, ""},
		{"networks that cross", Match{Source: []string{"10.1.0.0/16", "192.0.2.1"}}, Match{Source: []string{"10.0.0.0/8"}}, "the conditions of both can hold"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, routes := range [][]Route{{route("a", tt.a, 0), route("b", tt.b, 0)}, {route("b", tt.b, 0), route("a", tt.a, 0)}} {
				_, err := NewGeneration("g", routes, Options{})
				switch {
				case tt.want == "" && err != nil:
					t.Errorf("got %v", err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"b"`)):
					t.Errorf("got %v, want %q", err, tt.want)
				}
				routes[0].Priority = 1
				if _, err := NewGeneration("g", routes, Options{}); err != nil {
					t.Errorf("with a priority: %v", err)
				}
			}
		})
	}
}

// The gateway's own routes come before those with a priority.
func TestOwnRoutesComeBeforePriorities(t *testing.T) {
	t.Parallel()
	own := route("own", Match{Path: "/oauth2/idpresponse"}, 0)
	own.Gateway = true
	gen, err := NewGeneration("g", []Route{own, route("all", Match{}, 1)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/oauth2/idpresponse": "own", "/oauth2/other": "all"} {
		if got, err := gen.RouteOf("GET", "app.test", path); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
}

// What would keep an expression busy is refused, and not taken for what does not match.
func TestTextsThatAreTooLongForAnExpression(t *testing.T) {
	t.Parallel()
	s := serveTCP(t, newGateway(t, Options{},
		route("path", Match{Hosts: []string{"path.test"}, Path: "~[a-z]{1,200}/edit$"}, 1),
		route("header", Match{Hosts: []string{"header.test"}, Headers: map[string][]string{"X-Long": {"~^a", "~[a-z]{1,200}!"}}}, 2),
		route("rest", Match{}, 0),
	))
	for _, tt := range []struct {
		host, target, header string
		want                 int
	}{
		{"path.test", "/" + strings.Repeat("a", 1000) + "/edit", "", 200},
		{"path.test", "/" + strings.Repeat("a", 15000), "", 414},
		{"other.test", "/" + strings.Repeat("a", 15000), strings.Repeat("a", 15000), 200},
		{"path.test", "/a?" + strings.Repeat("a", 15000), "", 200},
		{"header.test", "/", strings.Repeat("a", 1000) + "!", 200},
		{"header.test", "/", strings.Repeat("a", 15000), 431},
	} {
		raw := "GET " + tt.target + " HTTP/1.1\r\nHost: " + tt.host + "\r\nX-Other: " + strings.Repeat("a", 15000) + "\r\nX-Long: " + tt.header + "\r\n\r\n"
		if got := exchangeRaw(t, s, raw); got.status != tt.want {
			t.Errorf("%s with %d bytes of path and %d of header: got %d, want %d", tt.host, len(tt.target), len(tt.header), got.status, tt.want)
		}
	}
}

func TestVaryNamesEachHeaderOnce(t *testing.T) {
	t.Parallel()
	var q lookup
	for _, asked := range []string{"X-Beta-Two", "X-Beta", "A-X-Beta", "Accept, Cookie", "Cookie", "Accept", "X-Beta", "", "Two"} {
		q.asked(&conditions{vary: asked})
	}
	if want := "X-Beta-Two, X-Beta, A-X-Beta, Accept, Cookie, Two"; q.vary != want {
		t.Errorf("got %q, want %q", q.vary, want)
	}
}

// Which of the matches of one route takes a request is nobody's concern.
func TestMatchesOfOneRouteDoNotClash(t *testing.T) {
	t.Parallel()
	var routes []Route
	for i, m := range []Match{{Path: "/a/*"}, {Path: "/*.css"}, {Path: "/a/*", Query: values("v", "1")}, {Path: "/a/*", Headers: values("X", "1")}} {
		routes = append(routes, route(fmt.Sprint(i), m, 0))
		routes[i].Group = "one"
	}
	s := serveTCP(t, newGateway(t, Options{}, routes...))
	for _, target := range []string{"/A/x.css", "/a/b?v=1", "/a/b"} {
		if got := exchangeRaw(t, s, "GET "+target+" HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n"); got.status != http.StatusOK {
			t.Errorf("%s: got %d", target, got.status)
		}
	}
}

func TestRouteOfWithPriorityRefusesMethods(t *testing.T) {
	t.Parallel()
	gen, err := NewGeneration("g", []Route{
		route("post", Match{Path: "/p", Methods: []string{"POST"}}, 1),
		route("put", Match{Path: "/q", Methods: []string{"PUT"}}, 0),
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/p": "POST", "/q": "PUT"} {
		_, err := gen.RouteOf("GET", "app.test", path)
		if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.HTTPStatus() != http.StatusMethodNotAllowed || refusal.allow != want {
			t.Errorf("%s: got %v, want 405 with %s", path, err, want)
		}
	}
}

func TestMaxForwardsOnRouteWithPriority(t *testing.T) {
	t.Parallel()
	s := serveTCP(t, newGateway(t, Options{}, route("dav", Match{Path: "/dav/*", Methods: []string{"OPTIONS", "PROPFIND"}}, 1)))
	got := exchangeRaw(t, s, "OPTIONS /dav/a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
	if got.status != http.StatusNoContent && got.status != http.StatusOK || got.header.Get("Allow") != "OPTIONS, PROPFIND" {
		t.Errorf("got %d with Allow %q", got.status, got.header.Get("Allow"))
	}
}

func TestConditionsDoNotAllocate(t *testing.T) {
	var routes []*compiledRoute
	for _, r := range conditionRoutes() {
		routes = append(routes, &compiledRoute{Route: r})
	}
	tab, err := newTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"X-Beta": {"yes"}, "User-Agent": {"a Mobile"}}
	if n := testing.AllocsPerRun(100, func() {
		for _, q := range []lookup{
			{host: "app-eu.test", path: "/", method: "GET"},
			{host: "x.test", path: "/api/x", method: "GET", query: "a=1&v=1", header: header},
			{host: "x.test", path: "/ua", method: "GET", header: header},
			{host: "x.test", path: "/in/x", method: "GET", client: netip.MustParseAddr("192.0.2.1")},
			{host: "x.test", path: "/item/7", method: "GET"},
			{host: "x.test", path: "/style/7", method: "GET", header: header},
		} {
			if rt, err := tab.match(&q); rt == nil || rt.Name == "all" {
				t.Fatalf("%v: got %v, %v", q, rt, err)
			}
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// Of all places that match a request, the table takes one that every other includes, whatever order the routes have.
func TestTheMostSpecificPlaceIsFound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	hosts := []string{"", "a.x", "b.x", "*.x", "*.a.x", "a*.x", "?.x", "*x", "~^a", "~x$", "[::1]"}
	paths := []string{"", "/a", "/a/*", "/a/b", "/a/b/*", "/a*", "/*b", "/*/b", "/*/b/*", "/?", "*a", "~^/a", "~^/a/b", "~b"}
	requests := []string{"/", "/a", "/b", "/a/b", "/a/b/c", "/ab", "/x/b", "/x/b/a", "/a/x/b"}
	built := 0
	for range 1000 {
		var routes []*compiledRoute
		for range 2 + random.IntN(5) {
			m := Match{Path: pick(paths)}
			if h := pick(hosts); h != "" {
				m.Hosts = []string{h}
			}
			routes = append(routes, &compiledRoute{Route: route(m.String(), m, 0)})
		}
		tab, err := newTable(routes)
		if err != nil {
			continue
		}
		built++
		for _, host := range []string{"", "a.x", "b.x", "c.a.x", "ab.x", "[::1]"} {
			for _, path := range requests {
				q := lookup{host: host, path: path, method: "GET"}
				got, _ := tab.match(&q)
				for _, rt := range routes {
					if !rt.matcher.match(&q) {
						continue
					}
					if got == nil {
						t.Fatalf("%s%s: got none, want %s", host, path, rt.Name)
					}
					g, o := got.matcher, rt.matcher
					if same := g.hosts[0].id == o.hosts[0].id; !o.hosts[0].includes(g.hosts[0]) || same && !o.path.includes(g.path) {
						t.Fatalf("%s%s: got %s before %s", host, path, got.Name, rt.Name)
					}
				}
				if got != nil && !got.matcher.match(&q) {
					t.Fatalf("%s%s: got %s", host, path, got.Name)
				}
			}
		}
	}
	if built < 100 {
		t.Errorf("only %d tables had no conflict", built)
	}
}
