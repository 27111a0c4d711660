package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// admitted is a request as admission leaves it.
func admitted(t testing.TB, host, target string) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Request{Method: "GET", Host: host, URL: u, RequestURI: target}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	path := func(regex, replace string) RewriteConfig {
		return RewriteConfig{Path: &Replacement{regex, replace}}
	}
	url := func(regex, replace string) RewriteConfig { return RewriteConfig{URL: &Replacement{regex, replace}} }
	host := func(regex, replace string) RewriteConfig {
		return RewriteConfig{Host: &Replacement{regex, replace}}
	}
	for _, tt := range []struct {
		config RewriteConfig
		target string // of app.test:8443
		want   string // host path?query, or the error
	}{
		{path("^/api/(.*)$", "/v2/$1"), "/api/a%20b?x=1", " /v2/a%20b?x=1"},
		{path("^/api/(.*)$", "/v2/$1x"), "/api/a", " /v2/ax?"},
		{path("^/api/(.*)$", "/v2/$10"), "/api/a", " /v2/a0?"},
		{path("^/api/(.*)$", "/$$/$0"), "/api/a", "rewrite: the path can be read in more than one way"},
		{path("^/api(/.*)$", "/$$$1"), "/api/a", " /$/a?"},
		{path("^/other", "/x"), "/api/a?x", " /api/a?x"},
		{path("a", "b"), "/a/a", " /b/a?"},
		{path("^/(x)?api", "/[$1]"), "/api", " /[]?"},
		{path("^/api", ""), "/api/a", " /a?"},
		{path("é", "x"), "/%C3%A9", " /%C3%A9?"},
		{path("^/api", "/é ü"), "/api", "rewrite: the path can be read in more than one way"},
		{path("^/api", "/é"), "/api", " /%C3%A9?"},
		{url("^/item/([0-9]+)$", "/item?id=$1"), "/item/7", " /item?id=7"},
		{url("^/item/([0-9]+)\\?(.*)$", "/item?id=$1&$2"), "/item/7?a=b", " /item?id=7&a=b"},
		{url("^/item/([^/]+)$", "/item?id=$1"), "/item/7&admin=1+2%26", " /item?id=7%26admin%3D1%2B2%26"},
		{url("^/item/", "/item?id="), "/item/7&admin=1?x=1&y=2", " /item?id=7%26admin%3D1&x=1&y=2"},
		{url("^/item/([^?]*)", "/item?id=$1"), "/item/7?x=1", " /item?id=7&x=1"},
		{url("^/(a=b)/", "/$1/x/"), "/a=b/c?d=e", " /a=b/x/c?d=e"},
		{url("^(.*)\\?(.*)$", "$1?$2&x=1"), "/a&b?c=d", " /a&b?c=d&x=1"},
		{url("\\?.*$", ""), "/a?b=c", " /a?"},
		{host("^(.*)\\.test$", "$1.internal:8080"), "/a?b", "app.internal:8080 /a?b"},
		{host("^app", "APP-2"), "/", "app-2.test /?"},
		{host("^other", "x"), "/", " /?"},

		// Nothing that has two readings is made.
		{path("^/api", ""), "/api", "rewrite: the path can be read in more than one way"},
		{path("^/api", ""), "/apis", "rewrite: the path can be read in more than one way"},
		{path("^/a/(.*)$", "/$1"), "/a/", " /?"},
		{path("^/a/b(.*)$", "//evil.test$1"), "/a/b", "rewrite: the path can be read in more than one way"},
		{path("^/([^/]*)/(.*)$", "/$2/$1"), "/a/", "rewrite: the path can be read in more than one way"},
		{path("x", "."), "/a/.x/b", "rewrite: the path can be read in more than one way"},
		{path("x", "%2e"), "/a/.x/b", "rewrite: the path can be read in more than one way"},
		{path("x", "%2F"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("x", "\\"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("x", ";"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("x", "%"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("x", "?y"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("x", "#y"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("x", "%00"), "/ax", "rewrite: the path can be read in more than one way"},
		{path("%252e%25", "%2e%"), "/%252e%252e/a", "rewrite: the path can be read in more than one way"},
		{path("(?:%25){1}(..).*", "%$1%2e"), "/%252e", "rewrite: the path can be read in more than one way"},
		{path("x", "y\r\nHost: evil"), "/ax", "rewrite: the path can be read in more than one way"},
		{url("x", "?y z"), "/ax", "rewrite: the query has what no query can have"},
		{url("x", "?y#z"), "/ax", "rewrite: the query has what no query can have"},
		{host("app", "a/b"), "/", "rewrite: the host is none"},
		{host("app", "u@app"), "/", "rewrite: the host is none"},
		{host("app", "a\r\nb"), "/", "rewrite: the host is none"},
		{host("^.*$", ""), "/", "rewrite: the host is none"},
		{path("^(.*)$", strings.Repeat("$1", 500)), "/" + strings.Repeat("a", 500), "rewrite: the result is too long, or what it is made of for the expression"},
	} {
		w, err := NewRewrite(tt.config, Admit{})
		if err != nil {
			t.Errorf("%+v: %v", tt.config, err)
			continue
		}
		r := admitted(t, "app.test:8443", tt.target)
		before := *r.URL
		path, query, host, err := w.Target(r)
		got := host + " " + path + "?" + query
		if err != nil {
			got = err.Error()
		}
		if got != tt.want || *r.URL != before {
			t.Errorf("%s: got %q, want %q", tt.target, got, tt.want)
		}
	}
}

func TestRewriteMakesWhatTheRouteAdmits(t *testing.T) {
	t.Parallel()
	w, err := NewRewrite(RewriteConfig{Path: &Replacement{"^/a", "/b"}}, Admit{EncodedSlash: true})
	if err != nil {
		t.Fatal(err)
	}
	if path, _, _, err := w.Target(admitted(t, "h", "/a%2Fc")); path != "/b%2Fc" || err != nil {
		t.Errorf("got %q, %v", path, err)
	}
}

func TestRewriteConfigValidate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1025)
	for _, tt := range []struct {
		config RewriteConfig
		want   string
	}{
		{RewriteConfig{}, ": want host, path or url"},
		{RewriteConfig{Path: &Replacement{"a", ""}, URL: &Replacement{"a", ""}}, "url: path is there already"},
		{RewriteConfig{Path: &Replacement{"", "/"}}, "path.regex: of 1 to 1024 bytes"},
		{RewriteConfig{Path: &Replacement{long, "/"}}, "path.regex: of 1 to 1024 bytes"},
		{RewriteConfig{Path: &Replacement{"a", long}}, "path.replace: at most 1024 bytes"},
		{RewriteConfig{URL: &Replacement{"(", "/"}}, "url.regex: of RE2"},
		{RewriteConfig{URL: &Replacement{"(a{1,100}){1,100}", "/"}}, "url.regex: of RE2"},
		{RewriteConfig{URL: &Replacement{"a{900}b{900}c{900}", "/"}}, "url.regex: too large"},
		{RewriteConfig{Host: &Replacement{"(a)", "$2"}}, "host.replace: of the 1 groups"},
		{RewriteConfig{Host: &Replacement{"(a)", "$"}}, "host.replace: $$ for a dollar"},
		{RewriteConfig{Host: &Replacement{"(a)", "${1}"}}, "host.replace: $1 for the first"},
		{RewriteConfig{Path: &Replacement{"(a)(b)", "$1$2$0$$"}}, ""},
		{RewriteConfig{Path: &Replacement{"a", "/b?c=1"}}, "path.replace: url instead of path"},
		{RewriteConfig{Path: &Replacement{"a", "/b c"}}, "path.replace: a blank is %20"},
		{RewriteConfig{URL: &Replacement{"(a)", "/b#$1"}}, "url.replace: no #"},
		{RewriteConfig{URL: &Replacement{"(a)", `/b/\1`}}, "url.replace: want $1"},
		{RewriteConfig{URL: &Replacement{"(a)", "/é%20%2F;\\?b=$1&c?"}}, ""},
		{RewriteConfig{Host: &Replacement{"a", "https://b.test"}}, "host.replace: letters, digits"},
		{RewriteConfig{Host: &Replacement{"a", "b.test/"}}, "host.replace: letters, digits"},
		{RewriteConfig{Host: &Replacement{"(a)", "[::1]:80$1_B-"}}, ""},
	} {
		var got []string
		tt.config.Validate(func(field, msg string) { got = append(got, field+": "+msg) })
		field, msg, _ := strings.Cut(tt.want, ": ")
		if (tt.want == "") != (len(got) == 0) || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], field+": ") || !strings.Contains(got[0], msg)) {
			t.Errorf("%+v: got %q, want %q", tt.config, got, tt.want)
		}
	}
}

// FuzzRewrite checks that whatever an operator writes and a client sends, the upstream is sent a canonical path without two
// readings, or nothing.
func FuzzRewrite(f *testing.F) {
	f.Add("^/api/(.*)$", "/$1", "/api/%2561?x=1", false)
	f.Add("x", "%2e%2e/$0;//", "/a/x", true)
	f.Add("(a)(b)?", "$2$1$$", "/ab/%C3%A9?é", true)
	f.Fuzz(func(t *testing.T, regex, replace, target string, whole bool) {
		path, query, _ := strings.Cut(target, "?")
		in, err := canonicalPath(path)
		if err != nil || in.found != 0 || checkQuery(query) != nil {
			return
		}
		r := &http.Request{Host: "app.test", URL: &url.URL{Path: in.path, RawPath: in.escaped, RawQuery: escapeQuery(query)}}
		c := RewriteConfig{Path: &Replacement{regex, replace}}
		if whole {
			c = RewriteConfig{URL: c.Path, Host: c.Path}
		}
		w, err := NewRewrite(c, Admit{})
		if err != nil {
			return
		}
		gotPath, gotQuery, host, err := w.Target(r)
		if err != nil {
			return
		}
		again, err := canonicalPath(gotPath)
		if err != nil || again.escaped != gotPath || again.found != 0 || checkQuery(gotQuery) != nil || len(gotPath)+len(gotQuery) > 3*maxTarget {
			t.Fatalf("%q %q of %q: got %q ? %q", regex, replace, target, gotPath, gotQuery)
		}
		if h, p, err := splitHost(host); host != "" && (err != nil || host != h && host != h+":"+p) {
			t.Fatalf("%q %q: got the host %q", regex, replace, host)
		}
	})
}
