package acl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/waf/ipset"
)

// testResources are the sets and databases of the tests.
func testResources(t testing.TB) Resources {
	t.Helper()
	office, err := ipset.New([]string{"192.0.2.0/24", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	var databases [2][]byte
	for i, name := range []string{"country", "asn"} {
		if databases[i], err = os.ReadFile("../ipset/testdata/" + name + ".mmdb"); err != nil {
			t.Fatal(err)
		}
	}
	geo, err := ipset.NewGeo(databases[0], databases[1])
	if err != nil {
		t.Fatal(err)
	}
	return Resources{Addresses: map[string]*ipset.Set{"office": office}, Geo: geo, Countries: true, Systems: true}
}

// clientOf takes the client's address from the request's RemoteAddr.
func clientOf(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr()
}

func newACL(t testing.TB, top Config, opts Options) *ACL {
	t.Helper()
	opts.ClientIP = clientOf
	if opts.Deny == nil {
		opts.Deny = func(w http.ResponseWriter, _ *http.Request, err error) {
			var with interface{ HTTPStatus() int }
			if !errors.As(err, &with) {
				t.Errorf("%v has no status", err)
			}
			http.Error(w, err.Error(), with.HTTPStatus())
		}
	}
	a, err := New(top, RouteConfig{}, testResources(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// request is "METHOD target" with header fields, a blank line and a body, from an address.
func request(t testing.TB, from, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	line, fields, _ := strings.Cut(head, "\n")
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, target, nil)
	if body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	for field := range strings.SplitSeq(fields, "\n") {
		if name, value, ok := strings.Cut(field, ": "); ok {
			r.Header.Add(name, value)
		}
	}
	if r.Header.Get("Transfer-Encoding") != "" {
		r.Header.Del("Transfer-Encoding")
		r.ContentLength = -1
	}
	if r.Header.Get("X-Proto") == "2" {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	}
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 4711).String()
	return r
}

func is(texts ...string) *Match { return &Match{Is: texts} }

func TestStatements(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 9<<10)
	type S = Statement
	for name, tt := range map[string]struct {
		when     S
		yes, not []string // requests; "ADDRESS " may stand in front
	}{
		"method": {S{Method: is("POST")}, []string{"POST /"}, []string{"GET /"}},
		"exact path": {
			S{Path: is("/a", "/b c")}, []string{"GET /a", "GET /b%20c", "GET /a?x"}, []string{"GET /a/", "GET /A", "GET /ab"},
		},
		"path as it is sent":   {S{Path: &Match{Contains: Texts{"%20"}, Transform: Texts{"none"}}}, []string{"GET /b%20c"}, []string{"GET /bc"}},
		"beginning of a path":  {S{Path: &Match{StartsWith: Texts{"/wp-"}}}, []string{"GET /wp-login.php", "GET /%77p-x"}, []string{"GET /x/wp-", "GET /WP-x"}},
		"path in any case":     {S{Path: &Match{StartsWith: Texts{"/wp-"}, Transform: Texts{"lowercase"}}}, []string{"GET /WP-x"}, []string{"GET /x"}},
		"end of a path":        {S{Path: &Match{EndsWith: Texts{".php", ".asp"}}}, []string{"GET /a.asp"}, []string{"GET /a.phpx"}},
		"all of a match":       {S{Path: &Match{StartsWith: Texts{"/a"}, EndsWith: Texts{"z"}}}, []string{"GET /a/z"}, []string{"GET /a", "GET /z"}},
		"word":                 {S{Query: &Match{Word: Texts{"cat"}}}, []string{"GET /?a-cat.", "GET /?cat", "GET /?concat+cat"}, []string{"GET /?concat", "GET /?cat_1", "GET /?cats", "GET /"}},
		"query is decoded":     {S{Query: &Match{Contains: Texts{"<script"}}}, []string{"GET /?q=%3Cscript"}, []string{"GET /?q=%253Cscript"}},
		"query as it is sent":  {S{Query: &Match{Contains: Texts{"%3C"}, Transform: Texts{"NONE"}}}, []string{"GET /?q=%3C"}, []string{"GET /?q=<"}},
		"argument":             {S{Arg: map[string]*Match{"Id": is("7")}}, []string{"GET /?a=1&id=7", "GET /?ID=1&iD=7", "GET /?%69d=%37"}, []string{"GET /?xid=7", "GET /?id=77", "GET /", "GET /?id"}},
		"empty argument":       {S{Arg: map[string]*Match{"id": {Size: "=0"}}}, []string{"GET /?id", "GET /?id="}, []string{"GET /?id=1", "GET /?a"}},
		"all arguments":        {S{Args: is("x")}, []string{"GET /?a=1&b=x"}, []string{"GET /?x=1", "GET /?a=xx"}},
		"one argument has all": {S{Args: &Match{Contains: Texts{"a"}, EndsWith: Texts{"b"}}}, []string{"GET /?p=ab"}, []string{"GET /?p=a&q=b"}},
		"header": {
			S{Header: map[string]*Match{"x-key": is("b")}}, []string{"GET /\nX-Key: a\nX-Key: b", "GET /\nx-kEY: b"}, []string{"GET /\nX-Key: ab", "GET /"},
		},
		"header that is missing":    {S{Not: &S{Header: map[string]*Match{"user-agent": {Present: true}}}}, []string{"GET /"}, []string{"GET /\nUser-Agent: x"}},
		"host":                      {S{Header: map[string]*Match{"host": {StartsWith: Texts{"example."}}}}, []string{"GET /"}, []string{"GET http://other.test/"}},
		"length":                    {S{Header: map[string]*Match{"content-length": is("3")}}, []string{"POST /\n\nabc"}, []string{"POST /\n\nabcd", "GET /"}},
		"headers":                   {S{Headers: &Match{Contains: Texts{"${jndi:"}}}, []string{"GET /\nX-A: ok\nX-B: a${jndi:x"}, []string{"GET /\nX-A: ok", "GET /?${jndi:"}},
		"names of headers":          {S{Headers: &Match{StartsWith: Texts{"x-"}, Scope: "keys", Transform: Texts{"lowercase"}}}, []string{"GET /\nX-A: a"}, []string{"GET /\nA: x-"}},
		"some headers":              {S{Headers: &Match{Contains: Texts{"a"}, Only: Texts{"x-a"}}}, []string{"GET /\nX-A: a"}, []string{"GET /\nX-B: a"}},
		"other headers":             {S{Headers: &Match{Contains: Texts{"q"}, Except: Texts{"X-A", "host"}}}, []string{"GET /\nX-B: q"}, []string{"GET /\nX-A: q"}},
		"headers that are large":    {S{Headers: &Match{Contains: Texts{"zz"}, Oversize: "match"}}, []string{"GET /\nX-A: " + long}, []string{"GET /\nX-A: a"}},
		"headers not that large":    {S{Headers: &Match{Contains: Texts{"zz"}, Oversize: "no_match"}}, []string{"GET /\nX-A: zz"}, []string{"GET /\nX-A: zz\nX-B: " + long}},
		"beginning of headers":      {S{Headers: &Match{Contains: Texts{"zz"}, Oversize: "continue"}}, []string{"GET /\nX-A: zz\nX-B: " + long}, []string{"GET /\nX-A: " + long + "\nX-B: zz"}},
		"all of headers":            {S{Headers: &Match{Contains: Texts{"zz"}}}, []string{"GET /\nX-A: " + long + "\nX-B: zz"}, []string{"GET /"}},
		"cookie":                    {S{Cookie: map[string]*Match{"a": is("1")}}, []string{"GET /\nCookie: b=2; a=1", "GET /\nCookie: a=2;a=1"}, []string{"GET /\nCookie: A=1", "GET /\nCookie: xa=1", "GET /"}},
		"cookies":                   {S{Cookies: &Match{Contains: Texts{"<"}}}, []string{"GET /\nCookie: a=1; b=x<y"}, []string{"GET /\nCookie: <=1", "GET /"}},
		"names of cookies":          {S{Cookies: &Match{Is: Texts{"debug"}, Scope: "all"}}, []string{"GET /\nCookie: debug"}, []string{"GET /\nCookie: Debug"}},
		"body":                      {S{Body: &Match{Contains: Texts{"attack"}}}, []string{"POST /\n\nan attack"}, []string{"POST /\n\nnone", "POST /", "GET /?attack"}},
		"body decoded":              {S{Body: &Match{Contains: Texts{"<a"}, Transform: Texts{"url_decode", "lowercase"}}}, []string{"POST /\n\nq=%3CA"}, []string{"POST /\n\nq=%253CA"}},
		"body beyond the limit":     {S{Body: &Match{Contains: Texts{"attack"}}}, []string{"POST /\n\nattack" + long}, []string{"POST /\n\n" + long + "attack"}},
		"body over the limit":       {S{Body: &Match{Contains: Texts{"attack"}, Oversize: "match"}}, []string{"POST /\n\n" + long}, []string{"POST /\n\nx"}},
		"body not over the limit":   {S{Body: &Match{Contains: Texts{"attack"}, Oversize: "no_match"}}, []string{"POST /\n\nattack"}, []string{"POST /\n\nattack" + long}},
		"size of a body":            {S{Body: &Match{Size: ">8KiB"}}, []string{"POST /\n\n" + long}, []string{"POST /\n\nx", "GET /"}},
		"no body":                   {S{Body: &Match{Size: "=0"}}, []string{"GET /"}, []string{"POST /\n\nx"}},
		"a stream":                  {S{Body: &Match{Contains: Texts{"attack"}}}, nil, []string{"POST /\nContent-Type: application/grpc+proto\nX-Proto: 2\n\n\x00\x00\x00\x00\x06attack"}},
		"no stream in HTTP/1.1":     {S{Body: &Match{Contains: Texts{"attack"}}}, []string{"POST /\nContent-Type: application/grpc+proto\n\nattack", "POST /\nUpgrade: x\n\nattack"}, nil},
		"a stream that is too long": {S{Body: &Match{Contains: Texts{"x"}, Oversize: "match"}}, []string{"POST /\nContent-Type: application/grpc\nX-Proto: 2\n\na"}, nil},
		"json":                      {S{JSON: is("x")}, []string{`POST /` + "\n\n" + `{"a":[1,{"b":"x"}]}`, "POST /\n\n\"x\"", "POST /\n\n{} [\"\\u0078\"]"}, []string{`POST /` + "\n\n" + `{"x":"y"}`, "POST /\n\nx", "GET /"}},
		"json numbers":              {S{JSON: is("1e3", "true", "null")}, []string{"POST /\n\n[1e3]", "POST /\n\n[true]", "POST /\n\n[null]"}, []string{"POST /\n\n[1000]"}},
		"json twice":                {S{JSON: is("x")}, []string{`POST /` + "\n\n" + `{"a":"x","a":"y"}`, `POST /` + "\n\n" + `{"a":"y","a":"x"}`}, nil},
		"json keys":                 {S{JSON: &Match{Is: Texts{"__proto__"}, Scope: "keys"}}, []string{`POST /` + "\n\n" + `{"a":{"__proto__":1}}`}, []string{`POST /` + "\n\n" + `{"a":"__proto__"}`}},
		"json pointers":             {S{JSON: &Match{Contains: Texts{"x"}, Pointers: Texts{"/a/0/b~1c", "/d"}}}, []string{`POST /` + "\n\n" + `{"a":[{"b/c":"x"}]}`, `POST /` + "\n\n" + `{"d":{"e":["x"]}}`}, []string{`POST /` + "\n\n" + `{"a":[0,{"b/c":"x"}],"x":"x"}`}},
		"no json":                   {S{JSON: &Match{Is: Texts{"zz"}, Invalid: "match"}}, []string{"POST /\n\n{\"a\":1", "POST /\n\nhello"}, []string{"POST /\n\n{}", "GET /", "POST /\n\n1 2"}},
		"no json is text":           {S{JSON: &Match{Contains: Texts{"zz"}, Invalid: "text"}}, []string{"POST /\n\n{zz"}, []string{"POST /\n\n{\"zz\":1}"}},
		"json before an error":      {S{JSON: is("x")}, []string{`POST /` + "\n\n" + `{"a":"x",`}, []string{`POST /` + "\n\n" + `{"a" "x"`}},
		"json that is deep":         {S{JSON: is("x")}, []string{"POST /\n\n" + strings.Repeat("[", 3000) + `"x"` + strings.Repeat("]", 3000)}, nil},
		"json behind what is deep":  {S{JSON: &Match{Is: Texts{"x"}, Pointers: Texts{"/b/1"}}}, []string{"POST /\n\n" + `{"a":` + strings.Repeat("[", 3000) + strings.Repeat("]", 3000) + `,"b":["y","x"]}`}, []string{"POST /\n\n" + `{"b":[["x"],{"1":"y"}]}`}},
		"json in other encodings":   {S{JSON: &Match{Is: Texts{"x"}, Pointers: Texts{"/a"}}}, []string{"POST /\n\n\ufeff{\"a\":\"x\"}", "POST /\n\n\xff\xfe{\x00\"\x00a\x00\"\x00:\x00\"\x00x\x00\"\x00}\x00", "POST /\n\n\x00{\x00\"\x00a\x00\"\x00:\x00\"\x00x\x00\"\x00}", "POST /\n\n\x1e{}\n\x1e{\"a\":\"x\"}\n"}, nil},
		"regex":                     {S{Path: &Match{Regex: Texts{`^/v[0-9]+/`}}}, []string{"GET /v12/a"}, []string{"GET /vx/"}},
		"cookies with blanks":       {S{Cookie: map[string]*Match{"a": is("b")}}, []string{"GET /\nCookie: c=d; a =b", "GET /\nCookie: a= b ;c=d", "GET /\nCookie: c=d;\ta\t=\tb\t;c=d"}, []string{"GET /\nCookie: a =c"}},
		"a size that is not known":  {S{Body: &Match{Size: ">1MiB"}}, []string{"POST /\nTransfer-Encoding: chunked\n\n" + strings.Repeat("x", 9000), "POST /\nContent-Type: application/grpc\nX-Proto: 2\nTransfer-Encoding: chunked\n\n\x00\x00\x00\x00\x01x"}, []string{"POST /\n\n" + strings.Repeat("x", 9000), "POST /\nTransfer-Encoding: chunked\n\nx"}},
		"or is said to be small":    {S{Body: &Match{Size: ">1MiB", Oversize: "no_match"}}, nil, []string{"POST /\nTransfer-Encoding: chunked\n\n" + strings.Repeat("x", 9000)}},
		"regex set":                 {S{Header: map[string]*Match{"user-agent": {RegexSet: Texts{"bots"}}}}, []string{"GET /\nUser-Agent: SQLMap/1"}, []string{"GET /\nUser-Agent: Firefox"}},
		"sqli":                      {S{Args: &Match{SQLi: "low"}}, []string{"GET /?id=1%27+OR+%271%27=%271", "GET /?id=1+UNION+SELECT+1,2"}, []string{"GET /?id=O%27Brien", "GET /?q=select+a+plan"}},
		"sqli, and what looks so":   {S{Args: &Match{SQLi: "high"}}, []string{"GET /?id=1%27+OR+%271%27=%271", "GET /?id=x+and+extractvalue(1,2)"}, []string{"GET /?id=O%27Brien", "GET /?q=this+and+that"}},
		"xss":                       {S{Args: &Match{XSS: true}}, []string{"GET /?q=%3Cscript%3Ealert(1)%3C/script%3E"}, []string{"GET /?q=a+%3C+b"}},
		"size":                      {S{Path: &Match{Size: ">3"}}, []string{"GET /abc"}, []string{"GET /ab"}},
		"address in a set":          {S{IP: &Source{In: Texts{"office"}}}, []string{"192.0.2.9 GET /", "::ffff:192.0.2.44 GET /", "2001:db8::1 GET /"}, []string{"198.51.100.1 GET /"}},
		"address":                   {S{IP: &Source{In: Texts{"198.51.100.1", "203.0.113.0/24"}}}, []string{"198.51.100.1 GET /", "203.0.113.9 GET /"}, []string{"192.0.2.9 GET /"}},
		"not in a country":          {S{Not: &S{Country: &Source{In: Texts{"DE", "US"}}}}, []string{"203.0.113.1 GET /"}, []string{"192.0.2.9 GET /", "198.51.100.1 GET /"}},
		"unknown country":           {S{Country: &Source{In: Texts{"XX"}}}, []string{"10.0.0.1 GET /"}, []string{"192.0.2.9 GET /"}},
		"autonomous system":         {S{ASN: &Source{In: Texts{"64496", "AS64497"}}}, []string{"192.0.2.9 GET /", "2001:db8::1 GET /"}, []string{"198.51.100.1 GET /"}},
		"address in a header": {
			S{IP: &Source{In: Texts{"office"}, Header: "X-Forwarded-For"}},
			[]string{"GET /\nX-Forwarded-For: 192.0.2.1, 10.0.0.1", "GET /\nX-Forwarded-For: 192.0.2.1:99"},
			[]string{"192.0.2.1 GET /\nX-Forwarded-For: 10.0.0.1, 192.0.2.1", "GET /\nX-Forwarded-For: junk", "GET /"},
		},
		"last address":  {S{IP: &Source{In: Texts{"office"}, Header: "X-F", Position: "last"}}, []string{"GET /\nX-F: 10.0.0.1\nX-F: [2001:db8::1]:80"}, []string{"GET /\nX-F: 192.0.2.1, 10.0.0.1"}},
		"any address":   {S{IP: &Source{In: Texts{"office"}, Header: "X-F", Position: "any"}}, []string{"GET /\nX-F: 10.0.0.1, 192.0.2.1, 10.0.0.2"}, []string{"GET /\nX-F: 10.0.0.1, 10.0.0.2", "GET /\nX-F: 192.0.2.1" + strings.Repeat(", 10.0.0.1", 10)}},
		"invalid":       {S{IP: &Source{In: Texts{"office"}, Header: "X-F", Invalid: "match"}}, []string{"GET /\nX-F: junk"}, []string{"GET /"}},
		"not a header":  {S{Not: &S{IP: &Source{In: Texts{"office"}, Header: "X-F"}}}, []string{"GET /\nX-F: 10.0.0.1"}, []string{"GET /", "GET /\nX-F: 192.0.2.1"}},
		"country there": {S{Country: &Source{In: Texts{"DE"}, Header: "X-F", Invalid: "match"}}, []string{"GET /\nX-F: 198.51.100.1", "GET /\nX-F: x"}, []string{"198.51.100.1 GET /", "GET /\nX-F: 192.0.2.1"}},
		"all":           {S{All: []*S{{Method: is("GET")}, {Path: is("/a")}}}, []string{"GET /a"}, []string{"GET /", "POST /a"}},
		"any":           {S{Any: []*S{{Method: is("PUT")}, {Path: is("/a")}}}, []string{"GET /a", "PUT /"}, []string{"GET /"}},
		"all keys of a mapping": {
			S{Method: is("GET"), Path: is("/a"), Not: &S{IP: &Source{In: Texts{"office"}}}}, []string{"GET /a"}, []string{"POST /a", "GET /b", "192.0.2.1 GET /a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newACL(t, Config{
				BodyLimit: "8KiB", PatternSets: map[string][]string{"bots": {"(?i)nikto", "(?i)sqlmap"}},
				Rules: []Rule{{Name: "r", When: &tt.when, Action: ActionBlock}},
			}, Options{})
			ask := func(text string, want bool) {
				t.Helper()
				from, rest, ok := strings.Cut(text, " ")
				if _, err := netip.ParseAddr(from); err != nil || !ok {
					from, rest = "198.18.0.1", text
				}
				w, reached := httptest.NewRecorder(), false
				guard := a.Around(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					reached = true
					_, body, _ := strings.Cut(text, "\n\n")
					if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
						t.Errorf("%.60q: the upstream got a body of %d bytes (%v), want %d", text, len(got), err, len(body))
					}
				}))
				guard.ServeHTTP(w, request(t, from, rest))
				if reached == want || want != (w.Code == http.StatusForbidden) {
					t.Errorf("%.60q: got %d, want a match %t", text, w.Code, want)
				}
			}
			for _, text := range tt.yes {
				ask(text, true)
			}
			for _, text := range tt.not {
				ask(text, false)
			}
		})
	}
}

// inspecting stands for the rule groups: it finds what X-Engine says, and refuses where that is "refuse".
func inspecting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Inspected", "yes")
		switch found := r.Header.Get("X-Engine"); {
		case found == "refuse":
			w.WriteHeader(http.StatusTeapot)
			return
		case found != "":
			AddLabels(r.Context(), found)
		}
		if r.Header.Get("X-Amzn-Waf-Mark") != "" {
			w.Header().Set("Inspected", "what was inserted")
		}
		next.ServeHTTP(w, r)
	})
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	path := func(p string) *Statement { return &Statement{Path: &Match{StartsWith: Texts{p}}} }
	count := func(name string, when *Statement, labels ...string) Rule {
		return Rule{Name: name, When: when, Action: ActionCount, Labels: labels}
	}
	label := func(key string) *Statement { return &Statement{Label: Texts{key}} }
	insert := func(value string) map[string]string { return map[string]string{"mark": value} }
	for name, tt := range map[string]struct {
		top       Config
		request   string
		status    int
		inspected string // Inspected of the answer
		want      Decision
	}{
		"no rule matches": {
			Config{Rules: []Rule{{Name: "a", When: path("/x"), Action: ActionBlock}}}, "GET /", 200, "yes", Decision{},
		},
		"a label is seen by later rules": {
			Config{Rules: []Rule{count("a", path("/x"), "probe"), {Name: "b", When: label("probe"), Action: ActionBlock}}},
			"GET /x", 403, "",
			Decision{Rule: "b", Action: "block", Matched: []Matched{{"a", "count"}}, Labels: []string{"gatehouse:rule:probe"}},
		},
		"and not by earlier ones": {
			Config{Rules: []Rule{{Name: "b", When: label("probe"), Action: ActionBlock}, count("a", path("/x"), "probe")}},
			"GET /x", 200, "yes",
			Decision{Matched: []Matched{{"a", "count"}}, Labels: []string{"gatehouse:rule:probe"}},
		},
		"priorities put rules in order": {
			Config{Rules: []Rule{{Name: "b", Priority: 1, When: label("probe"), Action: ActionBlock}, count("a", path("/x"), "probe")}},
			"GET /x", 403, "",
			Decision{Rule: "b", Action: "block", Matched: []Matched{{"a", "count"}}, Labels: []string{"gatehouse:rule:probe"}},
		},
		"the first that decides": {
			Config{Rules: []Rule{{Name: "a", When: path("/x"), Action: ActionAllow}, {Name: "b", Action: ActionBlock}}},
			"GET /x", 200, "",
			Decision{Rule: "a", Action: "allow"},
		},
		"allow skips the rule groups": {
			Config{Rules: []Rule{{Name: "a", Action: ActionAllow}}}, "GET /\nX-Engine: refuse", 200, "", Decision{Rule: "a", Action: "allow"},
		},
		"the rule groups refuse": {
			Config{Rules: []Rule{count("a", nil)}}, "GET /\nX-Engine: refuse", 418, "yes", Decision{Matched: []Matched{{"a", "count"}}},
		},
		"what the rule groups find is a label": {
			Config{Rules: []Rule{{Name: "groups", Action: ActionInspect}, {Name: "a", When: label("sqli:942100"), Action: ActionBlock}}},
			"GET /\nX-Engine: gatehouse:waf:sqli:942100", 403, "yes",
			Decision{Rule: "a", Action: "block", Labels: []string{"gatehouse:waf:sqli:942100"}},
		},
		"a namespace": {
			Config{Rules: []Rule{{Name: "groups", Action: ActionInspect}, {Name: "a", When: &Statement{LabelNamespace: Texts{"waf:sqli"}}, Action: ActionBlock}}},
			"GET /\nX-Engine: gatehouse:waf:sqli:942100", 403, "yes",
			Decision{Rule: "a", Action: "block", Labels: []string{"gatehouse:waf:sqli:942100"}},
		},
		"a part of a word is no label": {
			Config{Rules: []Rule{{Name: "groups", Action: ActionInspect}, {Name: "a", When: label("li:942100"), Action: ActionBlock}}},
			"GET /\nX-Engine: gatehouse:waf:sqli:942100", 200, "yes",
			Decision{Rule: DefaultRule, Action: "allow", Labels: []string{"gatehouse:waf:sqli:942100"}},
		},
		"the groups inspect some": {
			Config{Rules: []Rule{{Name: "groups", When: path("/x"), Action: ActionInspect}}}, "GET /\nX-Engine: refuse", 200, "", Decision{Rule: DefaultRule, Action: "allow"},
		},
		"and others": {
			Config{Rules: []Rule{{Name: "groups", When: path("/x"), Action: ActionInspect}}}, "GET /x\nX-Engine: refuse", 418, "yes", Decision{},
		},
		"the default blocks": {
			Config{Default: DefaultBlock, Rules: []Rule{{Name: "a", When: path("/x"), Action: ActionAllow}}}, "GET /", 403, "", Decision{Rule: DefaultRule, Action: "block"},
		},
		"the default blocks after the groups": {
			Config{Default: DefaultBlock, Rules: []Rule{{Name: "groups", Action: ActionInspect}, {Name: "a", When: path("/x"), Action: ActionAllow}}},
			"GET /x", 200, "yes",
			Decision{Rule: "a", Action: "allow"},
		},
		"counting refuses nothing": {
			Config{Mode: ModeCount, Default: DefaultBlock, Rules: []Rule{{Name: "a", Action: ActionBlock, Labels: []string{"x"}}}},
			"GET /", 200, "yes",
			Decision{Mode: "count", Rule: DefaultRule, Action: "allow", Matched: []Matched{{"a", "block"}, {DefaultRule, "block"}}, Labels: []string{"gatehouse:rule:x"}},
		},
		"a header is inserted behind the groups": {
			Config{Rules: []Rule{{Name: "a", Action: ActionCount, Insert: insert("1")}, {Name: "b", Action: ActionCount, Insert: insert("2")}}},
			"GET /", 200, "yes",
			Decision{Rule: DefaultRule, Action: "allow", Matched: []Matched{{"a", "count"}, {"b", "count"}}, Inserted: []Inserted{{"X-Amzn-Waf-Mark", "2"}}},
		},
		"rules do not see it": {
			Config{Rules: []Rule{{Name: "a", Action: ActionCount, Insert: insert("1")}, {Name: "b", When: &Statement{Header: map[string]*Match{"x-amzn-waf-mark": {Present: true}}}, Action: ActionBlock}}},
			"GET /", 200, "yes",
			Decision{Rule: DefaultRule, Action: "allow", Matched: []Matched{{"a", "count"}}, Inserted: []Inserted{{"X-Amzn-Waf-Mark", "1"}}},
		},
		"labels of countries": {
			Config{Rules: []Rule{{Name: "geo", When: &Statement{Country: &Source{In: Texts{"DE"}}}, Action: ActionBlock}}},
			"GET /", 200, "yes",
			Decision{Labels: []string{"awswaf:clientip:geo:country:US", "awswaf:clientip:geo:region:US-VA"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []Decision
			a := newACL(t, tt.top, Options{OnDecision: func(_ context.Context, d *Decision) {
				kept := *d
				kept.Matched, kept.Labels = slices.Clone(d.Matched), slices.Clone(d.Labels)
				got = append(got, kept)
			}})
			var inserted string
			guard := a.Around(inspecting)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				inserted = r.Header.Get("X-Amzn-Waf-Mark")
			}))
			for range 2 { // the second with what the first has left
				w := httptest.NewRecorder()
				guard.ServeHTTP(w, request(t, "192.0.2.1", tt.request))
				if w.Code != tt.status || w.Header().Get("Inspected") != tt.inspected {
					t.Errorf("got %d, inspected %q, want %d, %q", w.Code, w.Header().Get("Inspected"), tt.status, tt.inspected)
				}
				for _, h := range tt.want.Inserted {
					if inserted != h.Value {
						t.Errorf("the upstream got %q, want %q", inserted, h.Value)
					}
				}
			}
			if tt.want.Mode == "" {
				tt.want.Mode = ModeBlock
			}
			if diff := cmp.Diff(got, []Decision{tt.want, tt.want}); diff != "" {
				t.Errorf("decisions (-got +want)\n%s", diff)
			}
		})
	}
}

// tokens is a Challenger that believes X-Token.
type tokens struct{}

func (tokens) Check(r *http.Request) string {
	if state := r.Header.Get("X-Token"); state != "" {
		return state
	}
	return "absent"
}

func (tokens) Challenge(w http.ResponseWriter, _ *http.Request, instead error) {
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, instead.Error())
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	challenge := Rule{Name: "c", Action: ActionChallenge, When: &Statement{Path: is("/c")}}
	label := func(action, key string) Rule {
		return Rule{Name: action, Action: action, When: &Statement{Label: Texts{key}}}
	}
	for name, tt := range map[string]struct {
		mode    string
		rules   []Rule
		request string
		status  int
		want    string // Rule, Action, Token and Matched
	}{
		"without a token":      {"", []Rule{challenge}, "GET /c", 202, "c challenge absent []"},
		"with one":             {"", []Rule{challenge}, "GET /c\nX-Token: accepted", 404, "  accepted [{c challenge}]"},
		"with one that is old": {"", []Rule{challenge}, "GET /c\nX-Token: rejected:expired", 202, "c challenge rejected:expired []"},
		"counting":             {ModeCount, []Rule{challenge}, "GET /c", 404, "  absent [{c challenge}]"},
		"another page":         {"", []Rule{challenge}, "GET /", 404, "  absent []"},
		"a label":              {"", []Rule{label(ActionBlock, "awswaf:managed:token:absent")}, "GET /", 403, "block block absent []"},
		"a kind of label":      {"", []Rule{label(ActionBlock, "awswaf:managed:token:rejected")}, "GET /\nX-Token: rejected:invalid", 403, "block block rejected:invalid []"},
		"no such label":        {"", []Rule{label(ActionBlock, "awswaf:managed:token:absent")}, "GET /\nX-Token: accepted", 404, "  accepted []"},
	} {
		got := ""
		a := newACL(t, Config{Mode: tt.mode, Rules: tt.rules}, Options{Challenger: tokens{}, OnDecision: func(_ context.Context, d *Decision) {
			got = fmt.Sprint(d.Rule, " ", d.Action, " ", d.Token, " ", d.Matched)
		}})
		w := httptest.NewRecorder()
		a.Around(inspecting)(http.NotFoundHandler()).ServeHTTP(w, request(t, "198.18.0.1", tt.request))
		if w.Code != tt.status || got != tt.want {
			t.Errorf("%s: got %d %q, want %d %q", name, w.Code, got, tt.status, tt.want)
		}
	}
	_, err := New(Config{Rules: []Rule{challenge}}, RouteConfig{}, testResources(t), Options{ClientIP: clientOf, Deny: func(http.ResponseWriter, *http.Request, error) {}})
	if err == nil || !strings.Contains(err.Error(), "Options.Challenger") {
		t.Errorf("without a challenger: got %v", err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	a := newACL(t, Config{
		Answers: map[string]Body{"slow": {ContentType: "json", Content: `{"error":"slow down"}`}},
		Rules: []Rule{
			{Name: "slow", When: &Statement{Path: is("/slow")}, Action: ActionBlock, Respond: &Response{Status: 429, Headers: map[string]string{"retry-after": "30"}, Body: "slow"}},
			{Name: "away", When: &Statement{Path: is("/away")}, Action: ActionBlock, Respond: &Response{Status: 302, Headers: map[string]string{"Location": "https://example.com/"}}},
			{Name: "gone", When: &Statement{Path: is("/gone")}, Action: ActionBlock, Respond: &Response{Status: 204}},
		},
	}, Options{})
	guard := a.Around(nil)(http.NotFoundHandler())
	for target, want := range map[string]string{
		"GET /slow": "429 30  application/json 21 {\"error\":\"slow down\"}", "HEAD /slow": "429 30  application/json 21 ",
		"GET /away": "302  https://example.com/  0 ", "GET /gone": "204     ",
	} {
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, request(t, "192.0.2.1", target))
		h := w.Header()
		got := fmt.Sprintf("%d %s %s %s %s %s", w.Code, h.Get("Retry-After"), h.Get("Location"), h.Get("Content-Type"), h.Get("Content-Length"), w.Body)
		if got != want || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

// A body is read once, and what cannot be read is refused in every mode.
func TestBodiesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	held := int64(0)
	for name, tt := range map[string]struct {
		body   io.Reader
		room   int64
		status int
	}{
		"the client stops": {io.MultiReader(strings.NewReader("x"), failing{errors.New("reset")}), 1 << 20, 400},
		"too long":         {failing{&http.MaxBytesError{Limit: 1}}, 1 << 20, 413},
		"too slow":         {failing{os.ErrDeadlineExceeded}, 1 << 20, 408},
		"no memory":        {strings.NewReader("x"), 10, 503},
	} {
		for _, mode := range []string{ModeBlock, ModeCount} {
			a := newACL(t, Config{Mode: mode, Rules: []Rule{{Name: "a", When: &Statement{Not: &Statement{Body: &Match{Contains: Texts{"y"}}}}, Action: ActionAllow}}}, Options{
				Hold: func(_ netip.Addr, n int64) bool {
					if held+n > tt.room {
						return false
					}
					held += n
					return true
				},
				Free: func(_ netip.Addr, n int64) { held -= n },
			})
			r := request(t, "192.0.2.1", "POST /\n\nx")
			r.Body = io.NopCloser(tt.body)
			w := httptest.NewRecorder()
			a.Around(nil)(http.NotFoundHandler()).ServeHTTP(w, r)
			if w.Code != tt.status || held != 0 {
				t.Errorf("%s: got %d and %d bytes held, want %d and none", name, w.Code, held, tt.status)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestStrip(t *testing.T) {
	t.Parallel()
	h := http.Header{"X-Amzn-Waf-A": {"1"}, "x_amzn.WAF-b": {"2"}, "X-Amzn-Waf-": {"3"}, "X-Amzn-Trace-Id": {"4"}, "X-Amzn-Wafer": {"5"}}
	NewStripper()(h)
	if diff := cmp.Diff(h, http.Header{"X-Amzn-Trace-Id": {"4"}, "X-Amzn-Wafer": {"5"}}); diff != "" {
		t.Errorf("headers (-got +want)\n%s", diff)
	}
}

// Of a header that a rule looks at, applications get no spelling that it does not look at.
func TestStripOtherSpellings(t *testing.T) {
	t.Parallel()
	named := func(name string) map[string]*Match { return map[string]*Match{name: {Present: true}} }
	strip := NewStripper(
		[]Rule{{When: &Statement{Not: &Statement{Any: []*Statement{{Header: named("x-tenant")}, {Header: named("x_both")}}}}}, {}},
		[]Rule{{When: &Statement{Header: named("X-Both"), Headers: &Match{Only: Texts{"X-Only"}}, IP: &Source{Header: "X-From"}}}},
	)
	kept := http.Header{"X-Tenant": {"1"}, "X-Both": {"1"}, "X_both": {"1"}, "X_other": {"1"}, "X-Only": {"1"}}
	h := http.Header{"X_tenant": {"2"}, "x.TENANT": {"2"}, "X.both": {"2"}, "X_only": {"2"}, "X-From_": {"1"}, "X_from": {"2"}}
	for name, values := range kept {
		h[name] = values
	}
	kept["X-From_"] = []string{"1"}
	strip(h)
	if diff := cmp.Diff(h, kept); diff != "" {
		t.Errorf("headers (-got +want)\n%s", diff)
	}
}

// twenty is a web ACL of 20 rules of the usual kinds.
func twenty() Config {
	var rules []Rule
	for i := range 4 {
		n := fmt.Sprint(i)
		rules = append(rules,
			Rule{Name: "address" + n, When: &Statement{IP: &Source{In: Texts{"203.0.113.0/24"}}}, Action: ActionBlock},
			Rule{Name: "path" + n, When: &Statement{Path: &Match{StartsWith: Texts{"/wp-", "/phpmyadmin"}, Transform: Texts{"lowercase"}}}, Action: ActionBlock},
			Rule{Name: "agent" + n, When: &Statement{Header: map[string]*Match{"user-agent": {Contains: Texts{"sqlmap"}, Transform: Texts{"lowercase"}}}}, Action: ActionBlock},
			Rule{Name: "args" + n, When: &Statement{Args: &Match{SQLi: "low"}, Not: &Statement{IP: &Source{In: Texts{"office"}}}}, Action: ActionBlock},
			Rule{Name: "body" + n, When: &Statement{Body: &Match{XSS: true}, Method: is("POST")}, Action: ActionBlock},
		)
	}
	return Config{Rules: rules}
}

// A compiled rule costs nothing where what it looks at is not there.
func TestTwentyRulesAllocateNothing(t *testing.T) {
	a := newACL(t, twenty(), Options{OnDecision: func(context.Context, *Decision) {}})
	guard := a.Around(func(next http.Handler) http.Handler { return next })(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, w := request(t, "198.18.0.1", "GET /index.html\nUser-Agent: mozilla/5.0\nAccept: text/html"), httptest.NewRecorder()
	if n := testing.AllocsPerRun(100, func() { guard.ServeHTTP(w, r) }); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

func BenchmarkTwentyRules(b *testing.B) {
	a := newACL(b, twenty(), Options{OnDecision: func(context.Context, *Decision) {}})
	guard := a.Around(func(next http.Handler) http.Handler { return next })(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for name, text := range map[string]string{
		"small":     "GET /index.html\nUser-Agent: Mozilla/5.0\nAccept: text/html",
		"arguments": "GET /search?q=soup+and+bread&page=2\nUser-Agent: Mozilla/5.0\nAccept: text/html",
	} {
		b.Run(name, func(b *testing.B) {
			r, w := request(b, "198.18.0.1", text), httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				guard.ServeHTTP(w, r)
			}
		})
	}
}

// FuzzDecide: whatever a client sends, rules of every kind decide, and the upstream gets the body as it came.
func FuzzDecide(f *testing.F) {
	everything := &Statement{
		Any: []*Statement{
			{Path: &Match{Contains: Texts{"/never"}, Transform: Texts{"url_decode_uni", "normalize_path_win", "html_entity_decode"}}},
			{Args: &Match{SQLi: "high", Transform: Texts{"js_decode", "sql_hex_decode", "replace_comments"}}},
			{Headers: &Match{Word: Texts{"never"}, Scope: "all", Transform: Texts{"utf8_to_unicode", "cmd_line_win"}, Oversize: "continue"}},
			{Cookies: &Match{XSS: true, Scope: "all"}},
			{Body: &Match{Regex: Texts{"never+$"}, Transform: Texts{"base64_decode_ext", "css_decode"}}},
			{JSON: &Match{Is: Texts{"never"}, Scope: "all", Invalid: "text", Pointers: Texts{"", "/a"}}},
			{IP: &Source{In: Texts{"office"}, Header: "X-F", Position: "any"}},
			{Country: &Source{In: Texts{"DE"}}},
		},
	}
	a := newACL(f, Config{BodyLimit: "1KiB", Rules: []Rule{{Name: "r", When: everything, Action: ActionCount}}}, Options{})
	f.Add("a=1&b=%u0041", "x", "a=b; c", `{"a":["x"]}`, "192.0.2.1, ::1")
	f.Add("%", "\xff", ";;=", "[[[[", "junk")
	f.Fuzz(func(t *testing.T, query, field, cookie, body, forwarded string) {
		r := request(t, "192.0.2.1", "POST /")
		r.URL.RawQuery = query
		r.Header = http.Header{"X-A": {field}, "Cookie": {cookie}, "X-F": {forwarded}}
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), -1
		passed := false
		a.Around(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
				t.Errorf("the upstream got %q (%v), want %q", got, err, body)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
		if !passed {
			t.Error("a rule that counts has refused")
		}
	})
}

// Regular expressions are work that a client has a bound for, whatever they are and whatever it sends: no request takes more than the
// bound of one, and who has had too much is refused before anything is looked for.
func TestExpressionsAreBounded(t *testing.T) {
	t.Parallel()
	when := &Statement{Body: &Match{Regex: Texts{`(?i)(?:a|aa|b[ab]{2}){1,400}c`}}}
	rules := []Rule{{Name: "r", When: when, Action: ActionBlock}, {Name: "s", When: &Statement{Body: &Match{SQLi: "high"}}, Action: ActionBlock}}
	charged, over := 0, false
	opts := Options{
		Begin: func(netip.Addr) error {
			if over {
				return &Failure{Reason: "enough", Status: http.StatusTooManyRequests}
			}
			return nil
		},
		End: func(_ netip.Addr, work int) { charged += work },
	}
	noise, state := make([]byte, 60<<10), uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = "aabAB"[state>>16%5]
	}
	ask := func(mode, body string) int {
		w := httptest.NewRecorder()
		a := newACL(t, Config{Mode: mode, Rules: rules}, opts)
		a.Around(nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, request(t, "192.0.2.1", "POST /\n\n"+body))
		return w.Code
	}
	for name, body := range map[string]string{"short": "hello", "long": strings.Repeat("hello ", 10_000), "noise": string(noise), "words": strings.Repeat("select ", 9_000)} {
		charged = 0
		ask("", body)
		if charged == 0 || charged > detectWork {
			t.Errorf("%s: charged %d, want some and at most %d", name, charged, detectWork)
		}
		if want := http.StatusOK; (name == "short" || name == "long") && ask("", body) != want {
			t.Errorf("%s: is refused, want it to pass", name)
		}
	}
	charged, over = 0, true
	if got := ask("", string(noise)); got != http.StatusTooManyRequests || charged != 0 {
		t.Errorf("who has had too much: got %d and a charge of %d, want 429 and none", got, charged)
	}
	if got := ask(ModeCount, "hello"); got != http.StatusOK {
		t.Errorf("counting: got %d, want 200", got)
	}
}

// What refuses a request stays so whatever else its rules look at.
func TestARefusalOutlivesTheBody(t *testing.T) {
	t.Parallel()
	when := &Statement{Any: []*Statement{{Not: &Statement{Path: &Match{Regex: Texts{"x"}}}}, {Body: &Match{Contains: Texts{"attack"}}}}}
	a := newACL(t, Config{Rules: []Rule{{Name: "r", When: when, Action: ActionBlock}}}, Options{
		Begin: func(netip.Addr) error { return &Failure{Reason: "enough", Status: http.StatusTooManyRequests} },
		End:   func(netip.Addr, int) {},
	})
	w := httptest.NewRecorder()
	a.Around(nil)(http.NotFoundHandler()).ServeHTTP(w, request(t, "192.0.2.1", "POST /x\n\nhello"))
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("got %d, want 429", w.Code)
	}
}

// A client that waits for the word to send its body has had it when a rule has read that; else it is the upstream's to give.
func TestExpectations(t *testing.T) {
	t.Parallel()
	body := &Statement{Body: &Match{Contains: Texts{"attack"}}}
	for name, tt := range map[string]struct {
		when   *Statement
		fields string
		want   []string
	}{
		"a body that is read":   {body, "", nil},
		"one that is not":       {&Statement{Path: is("/other")}, "", []string{"100-continue"}},
		"one that is passed on": {body, "\nContent-Type: application/grpc\nX-Proto: 2", []string{"100-continue"}},
	} {
		a := newACL(t, Config{Rules: []Rule{{Name: "r", When: tt.when, Action: ActionBlock}}}, Options{})
		var got []string
		r := request(t, "192.0.2.1", "POST /\nExpect: 100-continue"+tt.fields+"\n\n\x00\x00\x00\x00\x00")
		a.Around(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header["Expect"] })).ServeHTTP(httptest.NewRecorder(), r)
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s: the upstream is expected to say (-got +want)\n%s", name, diff)
		}
		if r.Header.Get("Expect") == "" {
			t.Errorf("%s: the client's own request was changed", name)
		}
	}
}
