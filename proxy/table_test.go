package proxy

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// matchTable builds a table from "name method,method host,host path" lines; "-" stands for nothing.
func matchTable(t testing.TB, lines ...string) *table {
	t.Helper()
	var routes []*compiledRoute
	for _, l := range lines {
		routes = append(routes, &compiledRoute{Route: lineRoute(l)})
	}
	tab, err := newTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func lineRoute(line string) Route {
	f := strings.Fields(line)
	list := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(s, ",")
	}
	path := f[3]
	if path == "-" {
		path = ""
	}
	return Route{Name: f[0], Match: Match{Methods: list(f[1]), Hosts: list(f[2]), Path: path}, Handler: http.NotFoundHandler()}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tab := matchTable(t,
		"root - - -",
		"app - app.test /*",
		"app-api - app.test /api/*",
		"app-api-get GET app.test /api/*",
		"app-api-v1 POST app.test /api/v1/*",
		"app-exact - app.test /api",
		"login - - /login",
		"wild - *.w.test /*",
		"wild-deep - *.x.w.test /*",
		"only GET,DELETE only.test /a/*",
		"head-a HEAD head.test /a",
		"head-b GET head.test /a",
		"dav PROPFIND,GET dav.test /*",
		"v6 - [::1] /*",
	)
	tests := []struct{ request, want string }{
		{"GET other.test /", "root"},
		{"GET - /x", "root"},
		{"GET app.test /", "app"},
		{"GET app.test /apix", "app"},
		{"GET app.test /api", "app-exact"},
		{"GET app.test /api/", "app-api-get"},
		{"POST app.test /api/", "app-api"},
		{"HEAD app.test /api/x", "app-api-get"},
		{"POST app.test /api/v1", "app-api-v1"},
		{"POST app.test /api/v1/a/b/c/d/e", "app-api-v1"},
		{"POST app.test /api/v10", "app-api"},
		{"GET app.test /api/v1/x", "405 POST"},
		{"GET other.test /login", "login"},
		{"GET other.test /login/", "root"},
		{"GET other.test /Login", "root"},
		{"GET app.test /login", "app"},
		{"GET a.w.test /", "wild"},
		{"GET a.b.w.test /", "wild"},
		{"GET a.x.w.test /", "wild-deep"},
		{"GET x.w.test /", "wild"},
		{"GET w.test /", "root"},
		{"GET aw.test /", "root"},
		{"GET only.test /a", "only"},
		{"POST only.test /a", "405 DELETE, GET, HEAD"},
		{"POST only.test /b", "root"},
		{"HEAD head.test /a", "head-a"},
		{"GET head.test /a", "head-b"},
		{"PROPFIND dav.test /x", "dav"},
		{"PROPFIND app.test /x", "405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"},
		{"MOVE dav.test /x", "405 GET, HEAD, PROPFIND"},
		{"GET [::1] /x", "v6"},
	}
	for _, tt := range tests {
		f := strings.Fields(tt.request)
		host := strings.TrimPrefix(f[1], "-")
		rt, err := tab.match(&lookup{host: host, path: f[2], method: f[0]})
		got := ""
		if rt != nil {
			got = rt.Name
		} else if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.status == 405 {
			got = "405 " + refusal.allow
		}
		if got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.request, got, err, tt.want)
		}
	}
	if _, err := matchTable(t, "a - - /a").match(&lookup{path: "/b", method: "GET"}); !errors.Is(err, errNoRoute) {
		t.Errorf("got %v, want %v", err, errNoRoute)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	tab := matchTable(t, "root - - -", "a - *.w.test /a/b/*", "b GET app.test /a/*")
	long := "/a/b/" + strings.Repeat("x/", 4000)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = tab.match(&lookup{host: "q.w.test", path: long, method: "GET"})
		_, _ = tab.match(&lookup{host: "app.test", path: "/a/x", method: "POST"})
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func TestNewGenerationReportsEverything(t *testing.T) {
	t.Parallel()
	_, err := NewGeneration("g", []Route{
		lineRoute("api GET,POST app.test,b.test /api/*"),
		lineRoute("api2 POST App.test. /api/*"),
		lineRoute("all - - -"),
		lineRoute("all2 - - /*"),
		lineRoute("same - a.test,A.test /"),
		{Name: "api", Handler: http.NotFoundHandler(), Match: Match{Path: "/q"}},
		{Match: Match{Path: "relative"}, MaxBody: -1},
	}, Options{})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		`route "api2" (POST App.test./api/*) matches the same requests as route "api" (GET,POST app.test,b.test/api/*): POST on the same host and path`,
		`route "all2" (/*) matches the same requests as route "all" (/*): any method`,
		`route "same" (a.test,A.test/) names the same host twice`,
		`route "api": name is used by two routes`,
		`routes[6]: want a name`,
		`want a handler`,
		`max body: want 0 or more bytes, got -1`,
		`path "relative": want a leading slash`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestMatchValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		match Match
		want  string // field: part of the message; "" if valid
	}{
		{Match{}, ""},
		{Match{Path: "/*"}, ""},
		{Match{Path: "/a b/ü/x@y"}, ""},
		{Match{Path: "/a/"}, ""},
		{Match{Hosts: []string{"a.test", "*.a.test", "::1", "[::1]", "192.0.2.1"}, Methods: []string{"GET", "PROPFIND", "QUERY"}}, ""},
		{Match{Path: "a"}, "path: leading slash"},
		{Match{Path: "*"}, "path: leading slash"},
		{Match{Path: "/a*"}, ""},
		{Match{Path: "/*/a"}, ""},
		{Match{Path: "/a%20b"}, "path: plain text"},
		{Match{Path: "/a?b"}, ""},
		{Match{Path: "/a?b=c"}, "path: goes into query"},
		{Match{Path: "/a;b"}, "path: without #, ;"},
		{Match{Path: "/*;b"}, "path: without %, #, ;"},
		{Match{Path: "/*//a"}, "path: no empty"},
		{Match{Path: "/*/../a"}, "path: no empty or dot segments"},
		{Match{Path: "/a%20?"}, "path: plain text"},
		{Match{Path: `/a\*b`}, ""},
		{Match{Path: `/*\b`}, "path: backslash"},
		{Match{Path: "*.jpg"}, ""},
		{Match{Path: "*/img/*"}, ""},
		{Match{Path: "~^/v[0-9]+/"}, ""},
		{Match{Path: "~"}, "path: behind the ~"},
		{Match{Path: "~^v1"}, "path: begin with a slash"},
		{Match{Path: "~("}, "path: regular expression of RE2"},
		{Match{Path: "~(?=a)"}, "path: regular expression of RE2"},
		{Match{Path: "~(a{1,200}){1,4}"}, "path: too large"},
		{Match{Path: "~" + strings.Repeat("a", 300)}, "path: at most 255 bytes"},
		{Match{Path: "/" + strings.Repeat("*a", 200)}, "path: at most 255 bytes"},
		{Match{Hosts: []string{"a.*.test", "app-??.test", "~^[a-z]+\\.test$", "*example.test"}}, ""},
		{Match{Hosts: []string{"?*"}}, "hosts[0]: leave hosts empty"},
		{Match{Hosts: []string{"a*.test:80"}}, "hosts[0]: no port"},
		{Match{Hosts: []string{"a* b.test"}}, "hosts[0]: want a name"},
		{Match{Hosts: []string{"~["}}, "hosts[0]: regular expression of RE2"},
		{Match{Headers: map[string][]string{"x-Version": {"1", "~^2\\."}, "User-Agent": {"*bot*"}, "Cookie": {"*beta=1*"}}}, ""},
		{Match{Headers: map[string][]string{"X-Version": {}}}, "headers.X-Version: at least one value"},
		{Match{Headers: map[string][]string{"X-Version": {"a", `\d`}}}, "headers.X-Version[1]: backslash"},
		{Match{Headers: map[string][]string{"X-V": {"a"}, "x-v": {"b"}}}, "headers.x-v: named twice"},
		{Match{Headers: map[string][]string{strings.Repeat("X", 64): {"a"}}}, ""},
		{Match{Headers: map[string][]string{strings.Repeat("X", 65): {"a"}}}, "headers." + strings.Repeat("X", 65) + ": at most 64 bytes, got 65"},
		{Match{Headers: map[string][]string{"X V": {"a"}}}, "headers.X V: name of a header"},
		{Match{Headers: map[string][]string{"Host": {"a"}}}, "headers.Host: want host beside"},
		{Match{Headers: map[string][]string{"X_V": {"a"}}}, "headers.X_V: letters, digits and hyphens"},
		{Match{Headers: map[string][]string{"X-Forwarded-For": {"a"}}}, "headers.X-Forwarded-For: no route can see"},
		{Match{Headers: map[string][]string{"Connection": {"a"}}}, "headers.Connection: no route can see"},
		{Match{Query: map[string][]string{"v": {"1", "2*"}, "*": {"x"}}}, ""},
		{Match{Query: map[string][]string{"v": {"~1"}}}, "query.v: want values with"},
		{Match{Query: map[string][]string{"~v": {"1"}}}, "query.~v: name of a parameter"},
		{Match{Source: []string{"10.0.0.0/8", "2001:db8::1"}}, ""},
		{Match{Source: []string{"10.0.0.1/8"}}, "source[0]: want 10.0.0.0/8"},
		{Match{Source: []string{"home"}}, "source[0]: an address or a CIDR"},
		{Match{Path: "//a"}, "path: no empty segments"},
		{Match{Path: "/a//*"}, "path: no empty segments"},
		{Match{Path: "/a/../b"}, "path: no request can have it"},
		{Match{Path: "/a\x00"}, "path: no request can have it"},
		{Match{Hosts: []string{"*"}}, "hosts[0]: leave hosts empty"},
		{Match{Hosts: []string{"a.test:80"}}, "hosts[0]: no port"},
		{Match{Hosts: []string{"https://a.test"}}, "hosts[0]: want a name"},
		{Match{Hosts: []string{""}}, "hosts[0]: want a name"},
		{Match{Methods: []string{"get"}}, "methods[0]: in capitals"},
		{Match{Methods: []string{"TRACE"}}, "methods[0]: refused on every route"},
		{Match{Methods: []string{"FOO"}}, "methods[0]: IANA registry"},
		{Match{Methods: []string{"GET", "GET"}}, "methods[1]: named twice"},
	}
	for _, tt := range tests {
		var got []string
		tt.match.Validate(func(field, msg string) { got = append(got, field+": "+msg) })
		field, msg, _ := strings.Cut(tt.want, ": ")
		switch {
		case tt.want == "" && len(got) > 0:
			t.Errorf("%+v: got %v, want none", tt.match, got)
		case tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], field+": ") || !strings.Contains(got[0], msg)):
			t.Errorf("%+v: got %v, want %q", tt.match, got, tt.want)
		}
	}
}

func TestAdmitPathRefusesWhatAnotherRouteCouldMean(t *testing.T) {
	t.Parallel()
	tab, err := newTable([]*compiledRoute{
		{Route: lineRoute("root - - -")},
		{Route: lineRoute("admin GET - /admin/*")},
		{Route: lineRoute("Big - - /Big")},
		{Route: lineRoute("one - - /case/*")},
		{Route: lineRoute("two - - /Case/*")},
		{Route: Route{Name: "free", Match: Match{Hosts: []string{"free.test"}}, Admit: Admit{LetterCase: true, DoubleEncoding: true}}},
		{Route: Route{Name: "free-admin", Match: Match{Hosts: []string{"free.test"}, Path: "/admin/*"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host, raw string
		route     string
		err       error
	}{
		{"", "/Some/Where", "root", nil},
		{"", "/ADMIN", "", errLetterCase},
		{"", "/aDmin/x", "", errLetterCase},
		{"", "/adm%C4%B1n", "", errLetterCase}, // a dotless i, which is I in capitals
		{"", "/big", "", errLetterCase},
		{"", "/admin.", "", errLetterCase}, // the file admin to Windows, as are the next
		{"", "/admin%20", "", errLetterCase},
		{"", "/admin%20./x", "", errLetterCase},
		{"", "/%09admin%09/x", "", errLetterCase},
		{"", "/Big.", "", errLetterCase},
		{"", "/admin/x.", "admin", nil},
		{"", "/wait...", "root", nil},
		{"", "/.admin", "root", nil},
		{"", "/Big", "Big", nil},
		{"", "/case/x", "one", nil},
		{"", "/Case/x", "two", nil},
		{"", "/CASE/x", "root", nil},
		{"", "/a%252fb", "root", nil},
		{"", "/100%25", "root", nil},
		{"", "/%2561dmin", "", errReadings},
		{"", "/%2541dmin/%20x", "", errReadings},
		{"", "/%252fadmin", "", errReadings},
		{"", "/admin/%252fx", "admin", nil},
		{"", "/public/%252e%252e/admin", "", errReadings},
		{"", "/public/..%252fadmin", "", errReadings},
		{"", "/public/%2e%252e%255cadmin", "", errReadings},
		{"", "/public/%252e%252e;x/admin", "", errSemicolon},
		{"", "/public/%2520%252e.%2509%252fadmin/x", "", errReadings},
		{"", "/admin/%252e%252e/public", "", errReadings},
		{"", "/public/%252e%252e/other", "root", nil},
		{"", "/admin/a/%252e%252e/b", "admin", nil},
		{"", "/%252e%252e", "root", nil},
		{"free.test", "/ADMIN", "free", nil},
		{"free.test", "/admin.", "free", nil},
		{"free.test", "/%2561dmin", "free", nil},
		{"free.test", "/public/%252e%252e/admin", "free", nil},
	}
	for _, tt := range tests {
		c, err := canonicalPath(tt.raw)
		if err != nil {
			t.Fatalf("%s: %v", tt.raw, err)
		}
		rt, err := tab.admitPath(&lookup{host: tt.host, method: "GET"}, c)
		got := ""
		if rt != nil {
			got = rt.Name
		}
		if got != tt.route || !errors.Is(err, tt.err) {
			t.Errorf("%s%s: got %q, %v, want %q, %v", tt.host, tt.raw, got, err, tt.route, tt.err)
		}
	}
}
