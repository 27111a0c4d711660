package proxy

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPathPatterns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern  string
		yes, not []string
	}{
		{"/img/*", []string{"/img", "/img/", "/img/a/b"}, []string{"/imgs", "/Img/a", "/x/img/a"}},
		{"/img*", []string{"/img", "/imgs/a"}, []string{"/im", "/Img"}},
		{"/*.jpg", []string{"/a.jpg", "/a/b.jpg", "/.jpg"}, []string{"/a.jpeg", "/a.jpg/", "/a.JPG"}},
		{"*.jpg", []string{"/a.jpg", "/a/b.jpg"}, []string{"/a.jpeg"}},
		{"*/img/?", []string{"/img/a", "/x/img/é"}, []string{"/img/", "/img/ab"}},
		{"/*/admin/*", []string{"/t/admin", "/t/u/admin/x"}, []string{"/admin", "/admin/x", "/t/administrator"}},
		{"/a/**/b", []string{"/a//b", "/a/x/y/b"}, []string{"/a/b", "/a/x/bc"}},
		{"/?*?", []string{"/ab", "/abc"}, []string{"/a", "/"}},
		{`/a\*b`, []string{"/a*b"}, []string{"/axb", `/a\*b`}},
		{"/café?", []string{"/cafés", "/caféé"}, []string{"/café", "/cafes"}},
		{"~^/v[0-9]+/", []string{"/v1/", "/v22/a"}, []string{"/v/", "/x/v1/", "/V1/"}},
		{"~/v[0-9]+$", []string{"/v1", "/x/v1"}, []string{"/v1/"}},
		{"", []string{"/", "/a"}, nil},
	}
	for _, tt := range tests {
		p, err := newPath(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for _, s := range tt.yes {
			if !p.match(s) {
				t.Errorf("%s does not match %s", tt.pattern, s)
			}
		}
		for _, s := range tt.not {
			if p.match(s) {
				t.Errorf("%s matches %s", tt.pattern, s)
			}
		}
	}
}

func TestHostPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ pattern, yes, not string }{
		{"*.example.com", "a.b.example.com", "example.com"},
		{"App-??.example.com", "app-eu.example.com", "app-e.example.com"},
		{"app.*.example.com", "app.eu.west.example.com", "app.example.com"},
		{"*.*.example.com", "a.b.example.com", "a.example.com"},
		{`~^APP-[0-9]+\.example\.com$`, "app-12.example.com", "app-x.example.com"},
	} {
		p, err := newHost(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		if !p.match(tt.yes) || p.match(tt.not) {
			t.Errorf("%s: %s %v, %s %v", tt.pattern, tt.yes, p.match(tt.yes), tt.not, p.match(tt.not))
		}
	}
}

// Of two patterns one of which includes the other, the included one is tried first.
func TestPatternsCompare(t *testing.T) {
	t.Parallel()
	paths := []string{
		"/a", "/a/*", "/a*", "/a?", "/a?*", "/*a", "/*a*", "/*/a", "/*/a/*", "/*/a*", "*/a/*", "/a/b", "/a/b/*", "/a/*/b", "/a/*b", "/*", "/?",
		"~^/a", "~^/a/", "~^/a/b$", "~a", "/ab", "/ab*", "/a*b", "/a*b*", "*.a", "/x", "~^/x/",
	}
	for _, a := range paths {
		for _, b := range paths {
			p, err := newPath(a)
			if err != nil {
				t.Fatal(err)
			}
			q, err := newPath(b)
			if err != nil {
				t.Fatal(err)
			}
			if p.includes(q) && !p.meets(q) {
				t.Errorf("%s includes %s and does not meet it", a, b)
			}
			if a != b && p.includes(q) && q.compare(p) >= 0 {
				t.Errorf("%s includes %s and is tried before it", a, b)
			}
		}
	}
	for _, tt := range []struct {
		a, b            string
		includes, meets bool
	}{
		{"/a/*", "/a/x/y", true, true},
		{"/a/*", "/a*", false, true},
		{"/a*", "/a/*", true, true},
		{"/*.css", "/admin/*", false, true},
		{"/*.css", "/*.js", false, false},
		{"/api/*", "~^/api/v[12]/", true, true},
		{"/api/*", "~^/web/", false, false},
		{"/api/*", "~(?i)^/api/", false, true},
		{"/api/*", "~^/(?i)API/", false, true},
		{"/api/*", "~(?i)^/WEB/", false, true}, // for all that is known
		{"/api/*", "~v[12]", false, true},
		{"~^/v[12]$", "/v1", true, true},
		{"~^/v[12]$", "/v3", false, false},
		{"/*", "~v[12]", true, true},
		{"/*/a/*", "/x/a", true, true},
		{"/a?", "/a*", false, true},
		{"/a*", "/a?", true, true},
	} {
		a, err := newPath(tt.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := newPath(tt.b)
		if err != nil {
			t.Fatal(err)
		}
		if a.includes(b) != tt.includes || a.meets(b) != tt.meets || b.meets(a) != tt.meets {
			t.Errorf("%s and %s: includes %v, meets %v", tt.a, tt.b, a.includes(b), a.meets(b))
		}
	}
}

func TestAnchored(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]bool{"^/a": true, "(^/a)b": true, `\A/a`: true, "/a": false, "^/a|/b": false, "(?m)^/a": false} {
		if got := anchored(expr); got != want {
			t.Errorf("%s: got %v, want %v", expr, got, want)
		}
	}
}

// FuzzGlob holds matching, inclusion and meeting to what a plain regular expression says of the same texts.
func FuzzGlob(f *testing.F) {
	f.Add("/a*b?c", "/a*c", "/axbyc")
	f.Add(`\*?é*`, "*é", "*xé")
	f.Add("a*a*a*a*b", "*", "aaaaaaaaaaaaaaaaaaaaaa")
	f.Add("**?*", "?*", "K")
	f.Fuzz(func(t *testing.T, a, b, s string) {
		if len(a)+len(b)+len(s) > 300 || !validText(a) || !validText(b) || !validText(s) {
			return
		}
		for _, fold := range []bool{false, true} {
			g, err := parseGlob(a, fold)
			if err != nil {
				return
			}
			got := g.match(s, fold)
			if want := slowGlob(a, fold).MatchString(s); got != want {
				t.Fatalf("%q, %q, fold %v: got %v, want %v", a, s, fold, got, want)
			}
			other, err := parseGlob(b, fold)
			if err != nil {
				return
			}
			both := got && other.match(s, fold)
			if both && (!g.meets(other) || !other.meets(g)) {
				t.Fatalf("%q and %q both match %q, and do not meet", a, b, s)
			}
			if got && other.includes(g) && !both {
				t.Fatalf("%q includes %q, and does not match %q", b, a, s)
			}
			p, q := &pattern{kind: kindGlob, globs: []glob{g}}, &pattern{kind: kindGlob, globs: []glob{other}}
			if other.includes(g) && !slices.Equal(g, other) && p.compare(q) >= 0 {
				t.Fatalf("%q includes %q, and is tried before it", b, a)
			}
		}
	})
}

// FuzzExpression holds what is taken for certain about an expression to what it matches.
func FuzzExpression(f *testing.F) {
	f.Add("^/v[0-9]+/", "/v1/*", "/v1/a")
	f.Add("(?i)^/API/", "/api/*", "/api/x")
	f.Add("^/a|^/b", "/*", "/b")
	f.Add("^(/a){2}|", "*", "")
	f.Fuzz(func(t *testing.T, expr, text, s string) {
		if len(expr)+len(text)+len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e || r < ' ' }) {
			return
		}
		for _, fold := range []bool{false, true} {
			p, err := newPattern("~"+expr, fold)
			if err != nil {
				return
			}
			q, err := newPattern(text, fold)
			if err != nil || q.kind == kindExpression {
				return
			}
			if !p.match(s) {
				continue
			}
			if !p.globs[0].match(s, fold) {
				t.Fatalf("%q, fold %v, matches %q, which does not begin as it should", expr, fold, s)
			}
			if !q.match(s) && q.includes(p) || q.match(s) && (!q.meets(p) || !p.meets(q)) {
				t.Fatalf("%q and %q, fold %v, of %q: %v; includes %v, meets %v", expr, text, fold, s, q.match(s), q.includes(p), q.meets(p))
			}
		}
	})
}

// validText keeps to what requests and files have.
func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, '\uFFFD') }

// slowGlob is a glob as a regular expression.
func slowGlob(s string, fold bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s)^")
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			escaped = false
			b.WriteString(regexp.QuoteMeta(string(r)))
		case r == '\\':
			escaped = true
		case r == '*':
			b.WriteString(".*")
		case r == '?':
			b.WriteString(".")
		case fold && 'a' <= r|0x20 && r|0x20 <= 'z' && r < 0x80:
			b.WriteString("[" + strings.ToLower(string(r)) + strings.ToUpper(string(r)) + "]")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String())
}
