package authn

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func mustExpression(t testing.TB, source string) *expression {
	t.Helper()
	x := compileExpression(source, func(line, column int, msg string) { t.Errorf("%s: %d:%d: %s", source, line, column, msg) })
	if x == nil {
		t.FailNow()
	}
	return x
}

// aliceAsks is a request of alice's.
func aliceAsks(target string, headers ...string) *facts {
	r := httptest.NewRequest("GET", target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return &facts{
		request: r, host: canonicalHost(r.Host), id: person(), now: time.Unix(1_700_000_600, 0),
		client: func(*http.Request) netip.Addr { return netip.MustParseAddr("10.1.2.3") },
	}
}

func TestExpression(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		source string
		want   bool
	}{
		{`true`, true},
		{`false`, false},
		{`identity.subject == "sub-1" && identity.username == "alice"`, true},
		{`identity.email == "alice@example.com" && identity.email_verified`, true},
		{`"staff" in identity.groups && !("admins" in identity.groups)`, true},
		{`identity.scopes.exists(s, s.startsWith("orders."))`, true},
		{`identity.scopes == ["openid", "orders.read"]`, true},
		{`identity.issuer == "https://issuer.test" && identity.client_id == "client1"`, true},
		{`identity.auth_time == timestamp("2023-11-14T22:13:20Z")`, true},
		{`request.time - identity.auth_time <= duration("10m")`, true},
		{`request.time - identity.auth_time < duration("10m")`, false},
		{`identity.claims.department == "sales"`, true},
		{`identity.claims["custom:plan"] in ["gold", "silver"]`, true},
		{`identity.claims.level >= 5 && identity.claims.half < 1`, true},
		{`identity.claims.big == 9007199254740993`, true},
		{`identity.claims.big == 9007199254740992`, false},
		{`identity.claims.roles.exists(r, r == "b")`, true},
		{`identity.claims.nested.x[0] == "y"`, true},
		{`has(identity.claims.department) && !has(identity.claims.team)`, true},
		{`has(identity.claims.team) && identity.claims.team == "x"`, false},
		{`request.method == "GET" && request.host == "app.example.com"`, true},
		{`request.path == "/a b/c"`, true},
		{`request.path.matches("^/a .*/c$")`, true},
		{`"x" in request.query && request.query.x == ["1", "2"]`, true},
		{`"3" in request.query.x`, false},
		{`has(request.query.y)`, false},
		{`request.headers["x-list"] == "a, b"`, true},
		{`has(request.headers.cookie) || has(request.headers.authorization) || "proxy-authorization" in request.headers`, false},
		{`"X-List" in request.headers`, false},
		{`request.client == "10.1.2.3"`, true},
		{`request.client.in_cidr("10.0.0.0/8")`, true},
		{`request.client.in_cidr("10.0.0.0/16") || request.client.in_cidr("2001:db8::/32")`, false},
		{`"2001:db8::1".in_cidr("2001:db8::/32")`, true},
		{`"::ffff:10.1.2.3".in_cidr("10.0.0.0/8")`, true},

		// What cannot be evaluated is not true.
		{`identity.claims.team == "x"`, false},
		{`!(identity.claims.team == "x")`, false},
		{`identity.claims.department > 5`, false},
		{`identity.claims.department.x == 5`, false},
		{`request.query.z[0] == "1"`, false},
		{`request.query.x[7] == "1"`, false},
		{`request.query.x[0].in_cidr("10.0.0.0/8")`, false},
		{`1 / int(request.query.zero[0]) == 1`, false},
		{`int(request.path) == 1`, false},
		{`identity.claims.staff || identity.claims.team`, true},
		{`(identity.claims.department ? true : true)`, false},
	} {
		f := aliceAsks("https://APP.example.com:8443/a%20b/c?x=1&x=2&zero=0",
			"X-List", "a", "X-List", "b", "Cookie", "a=b", "Authorization", "Bearer x", "Proxy-Authorization", "Basic x")
		if err := mustExpression(t, tt.source).holds(t.Context(), f); (err == nil) != tt.want {
			t.Errorf("%s: got %v, want %t", tt.source, err, tt.want)
		}
	}
}

func TestExpressionWithoutFacts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		source string
		change func(*facts)
	}{
		"no address":         {`request.client.in_cidr("0.0.0.0/0")`, func(f *facts) { f.client = nil }},
		"an invalid address": {`request.client.in_cidr("0.0.0.0/0")`, func(f *facts) { f.client = func(*http.Request) netip.Addr { return netip.Addr{} } }},
		"a broken query":     {`has(request.query.x)`, func(f *facts) { f.request.URL.RawQuery = "x=1&y=%zz" }},
		"a query of two readings": {
			`has(request.query.x)`, func(f *facts) { f.request.URL.RawQuery = "x=1;y=2" },
		},
		"broken claims":   {`identity.claims.department == "sales"`, func(f *facts) { f.id.Claims = []byte(`{"department":"sales"`) }},
		"claims twice":    {`identity.claims.department == "sales"`, func(f *facts) { f.id.Claims = []byte(`{"department":"x","department":"sales"}`) }},
		"a number beyond": {`identity.claims.n > 0`, func(f *facts) { f.id.Claims = []byte(`{"n":1e999}`) }},
		"no claims":       {`identity.claims.department == "sales"`, func(f *facts) { f.id.Claims = nil }},
		"no auth_time":    {`identity.auth_time <= request.time`, func(f *facts) { f.id.AuthTimeStated = false }},
		"no groups":       {`identity.groups.size() > 0`, func(f *facts) { f.id.Groups = nil }},
	} {
		f := aliceAsks("https://app.example.com/?x=1")
		tt.change(f)
		if err := mustExpression(t, tt.source).holds(t.Context(), f); err == nil {
			t.Errorf("%s: holds", name)
		}
	}
}

func TestExpressionProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		source       string
		line, column int
		msg          string // contained
	}{
		{"", 1, 1, "CEL"},
		{"identity.group", 1, 1, `undeclared reference to "identity.group": did you mean "identity.groups"? (known are identity.subject, username`},
		{"identity.email_verified\n && admin", 2, 5, `undeclared reference to "admin" (known`},
		{"identity", 1, 1, "undeclared reference"},
		{"request.method == 'GET' &&\n  request.body == ''", 2, 3, "headers, client and time"},
		{"identity.subject", 1, 1, "type bool, got string"},
		{"identity.claims.admin", 1, 1, "type bool, got dyn"},
		{"identity.groups == 'x'", 1, 17, "no matching overload"},
		{"1 == 1 extra", 1, 8, "Syntax error"},
		{"request.path.matches(identity.email)", 1, 30, "in quotes"},
		{"matches(request.path, request.host)", 1, 30, "in quotes"},
		{"request.path.matches('a' + '(')", 1, 26, "in quotes"},
		{"request.path.matches('(')", 1, 22, "missing closing )"},
		{"request.path.matches('((a{100}){100}){100}')", 1, 22, "invalid repeat count"},
		{"request.path.matches('" + strings.Repeat("[a-z]{900}", 9) + "')", 1, 22, "at most 2000 instructions"},
		{"[" + strings.Repeat("1,", 2000) + "1] == []", 1, 4005, "at most 2000 parts"},
		{"request.client.in_cidr(request.host)", 1, 31, "in quotes"},
		{"request.client.in_cidr('10.0.0.0')", 1, 24, "want a network"},
		{"request.client.in_cidr('10.0.0.1/8')", 1, 24, "want a network"},
		{"duration('1 year') > duration('1s')", 1, 10, "duration"},
		{"[1].all(a, [1].all(b, [1].all(c, true)))", 1, 30, "nest"},
		{"'" + strings.Repeat("x", maxExpression) + "' == ''", 1, 1, "at most 4096 bytes"},
	} {
		type problem struct {
			line, column int
			msg          string
		}
		var got []problem
		if x := compileExpression(tt.source, func(line, column int, msg string) { got = append(got, problem{line, column, msg}) }); x != nil || len(got) == 0 {
			t.Errorf("%.60s: got %v, want a problem", tt.source, got)
			continue
		}
		p := got[0]
		if !strings.Contains(p.msg, tt.msg) || p.line != tt.line || p.column != tt.column {
			t.Errorf("%.60s: got %+v, want %d:%d %q", tt.source, p, tt.line, tt.column, tt.msg)
		}
	}
}

// TestHostileExpressions: what an operator writes by mistake, or a configuration that somebody else
// wrote, is refused at load or stopped while it runs, and never true.
func TestHostileExpressions(t *testing.T) {
	t.Parallel()
	hundred := "[" + strings.Repeat("1,", 99) + "1]"
	for name, source := range map[string]string{
		"parentheses":   strings.Repeat("(", 1500) + "true" + strings.Repeat(")", 1500),
		"lists":         strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + " == []",
		"selections":    "identity.claims" + strings.Repeat(".a", 1500) + " == 1",
		"conditionals":  strings.Repeat("true ? true : ", 250) + "true",
		"indices":       "[0]" + strings.Repeat("[0]", 1000) + " == 0",
		"a double loop": hundred + ".all(a, " + hundred + ".all(b, request.path.contains('/') && request.path.contains('/') && a + b > 0))",
		"concatenation": "[" + strings.Repeat("request.path+", 300) + "'']" + ".map(s, s + s + s + s + s + s).all(s, (s + s + s + s + s + s + s + s).size() > 0)",
		"a long text":   "[" + strings.Repeat("1,", 600) + "1].all(i, !request.headers['x-long'].contains('ba'))",
		"a regex":       "[" + strings.Repeat("1,", 600) + "1].all(i, !request.headers['x-long'].matches('(a*)*b'))",
	} {
		x := compileExpression(source, func(int, int, string) {})
		if x == nil {
			continue
		}
		f := aliceAsks("https://app.example.com/"+strings.Repeat("x", 1000), "X-Long", strings.Repeat("a", 30_000))
		if err := x.holds(t.Context(), f); err == nil {
			t.Errorf("%s: holds", name)
		}
	}
}

func TestExpressionIsStopped(t *testing.T) {
	t.Parallel()
	x := mustExpression(t, "["+strings.Repeat("1,", 600)+"1].all(i, !request.headers['x-long'].contains('ba'))")
	f := aliceAsks("https://app.example.com/", "X-Long", strings.Repeat("a", 30_000))
	if err := x.holds(t.Context(), f); err == nil || !strings.Contains(err.Error(), fmt.Sprint(expressionCost)) {
		t.Errorf("over its cost: got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	x = mustExpression(t, "["+strings.Repeat("1,", 600)+"1].all(i, i > 0)")
	if err := x.holds(t.Context(), f); err != nil {
		t.Errorf("a loop in bounds: got %v", err)
	}
	if err := x.holds(ended, f); err == nil {
		t.Error("holds for a client that has gone")
	}
}

// TestExpressionErrorsQuoteNothing: what a refusal writes into the log holds nothing of the request.
func TestExpressionErrorsQuoteNothing(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`int(request.query.token[0]) == 1`,
		`timestamp(request.query.token[0]) < request.time`,
		`duration(request.query.token[0]) < duration("1s")`,
		`identity.claims[request.query.token[0]] == 1`,
		`request.headers[request.query.token[0]] == ""`,
		`request.query.token[0].in_cidr("10.0.0.0/8")`,
		`identity.claims.absent == 1`,
	} {
		err := mustExpression(t, source).holds(t.Context(), aliceAsks("https://app.example.com/?token=s3cr3t"))
		if err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: got %v", source, err)
		}
		if strings.Contains(source, "absent") && !strings.Contains(err.Error(), "no such key: absent") {
			t.Errorf("a claim that the rule names: got %v, want its name", err)
		}
	}
}

func TestExpressionBuildsWhatItMentions(t *testing.T) {
	t.Parallel()
	f := aliceAsks("https://app.example.com/?x=1")
	if err := mustExpression(t, `"staff" in identity.groups || request.headers.x == ""`).holds(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if f.headers != nil || f.query != nil || f.claims != nil {
		t.Errorf("built without need: %v %v %v", f.headers, f.query, f.claims)
	}
	if err := mustExpression(t, `request.query.x == ["1"] && request.query.size() == 1`).holds(t.Context(), f); err != nil || f.query == nil {
		t.Errorf("got %v", err)
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		`"staff" in identity.groups`, `identity.claims.roles.exists(r, r == "b")`, `request.path.matches("^/a")`,
		`request.client.in_cidr("10.0.0.0/8")`, `[1,2].map(x, x * 2).filter(y, y > 2) == [4]`, `{"a": identity.claims}.a.level == 5`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		problems := 0
		x := compileExpression(source, func(line, column int, msg string) {
			if problems++; line < 1 || column < 1 || msg == "" {
				t.Fatalf("a problem without a place: %d:%d %q", line, column, msg)
			}
		})
		if (x == nil) != (problems > 0) {
			t.Fatalf("compiled %t with %d problems", x != nil, problems)
		}
		if x != nil {
			_ = x.holds(t.Context(), aliceAsks("https://app.example.com/a?x=1", "X-A", "b")) // must come back
		}
	})
}

func BenchmarkExpression(b *testing.B) {
	p, s, cookies := sealedSession(b, "app.example.test")
	r := httptest.NewRequest("GET", "https://app.example.test/orders?id=5", nil)
	for name, rule := range map[string]Rule{
		"none":     {},
		"groups":   {Groups: []string{"users"}},
		"claims":   {Claims: map[string][]string{"sub": {"alice"}}},
		"identity": {Expr: `"users" in identity.groups && identity.email.endsWith("@example.com")`},
		"request":  {Expr: `request.method == "GET" && request.path.startsWith("/orders") && request.client.in_cidr("10.0.0.0/8")`},
		"query":    {Expr: `request.query.id == ["5"]`},
		"json":     {Expr: `identity.claims.email == "alice@example.com"`},
	} {
		g := NewGate(Providers{p}, s, rule, GateOptions{
			Cookies:  func(*http.Request) []*http.Cookie { return cookies },
			ClientIP: func(*http.Request) netip.Addr { return netip.MustParseAddr("10.1.2.3") },
		})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := g.Check(r); err != nil || d.Identity == nil {
					b.Fatal(err)
				}
			}
		})
	}
}
