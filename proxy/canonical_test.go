package proxy

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw     string
		escaped string
		path    string // same as escaped if empty
		found   findings
		err     error
	}{
		{raw: "/", escaped: "/"},
		{raw: "/a/b.c-d_e~f", escaped: "/a/b.c-d_e~f"},
		{raw: "/a!$&'()*+,=:@[]", escaped: "/a!$&'()*+,=:@[]"},
		{raw: "/%61dmin/panel", escaped: "/admin/panel"},
		{raw: "/public/%252e%252e/admin", escaped: "/public/%252e%252e/admin", path: "/public/%2e%2e/admin"},
		{raw: "/%25%32%65", escaped: "/%252e", path: "/%2e"},
		{raw: "/caf%c3%a9", escaped: "/caf%C3%A9", path: "/café"},
		{raw: "/café", escaped: "/caf%C3%A9", path: "/café"},
		{raw: "/%40%3a%2C", escaped: "/%40%3A%2C", path: "/@:,"},
		{raw: "/a%20b", escaped: "/a%20b", path: "/a b"},
		{raw: "/\"<>^`{|}", escaped: "/%22%3C%3E%5E%60%7B%7C%7D", path: "/\"<>^`{|}"},
		{raw: "/path-%09-uri", escaped: "/path-%09-uri", path: "/path-\t-uri"},
		{raw: "/...hidden/.well-known/a..b", escaped: "/...hidden/.well-known/a..b"},
		{raw: "/wait...", escaped: "/wait..."},

		{raw: "/a%2fb", escaped: "/a%2Fb", path: "/a/b", found: foundEncodedSlash},
		{raw: `/a\b`, escaped: "/a%5Cb", path: `/a\b`, found: foundBackslash},
		{raw: "/a%5cb", escaped: "/a%5Cb", path: `/a\b`, found: foundBackslash},
		{raw: "/a;x=1/b", escaped: "/a;x=1/b", found: foundSemicolon},
		{raw: "/a%3bx", escaped: "/a%3Bx", path: "/a;x", found: foundSemicolon},
		{raw: "//a", escaped: "//a", found: foundDoubleSlash},
		{raw: "/a%2f/b", escaped: "/a%2F/b", path: "/a//b", found: foundEncodedSlash | foundDoubleSlash},
		{raw: "/a/;x/b", escaped: "/a/;x/b", found: foundSemicolon | foundDoubleSlash},
		{raw: "/a%3f.css", escaped: "/a%3F.css", path: "/a?.css", found: foundReserved},
		{raw: "/a%23b", escaped: "/a%23b", path: "/a#b", found: foundReserved},

		{raw: "", err: errTargetForm},
		{raw: "a", err: errTargetForm},
		{raw: "/a#b", err: errFragment},
		{raw: "/a b", err: errSpace},
		{raw: "/a\tb", err: errControl},
		{raw: "/a%00.css", err: errControl},
		{raw: "/a%0a", err: errControl},
		{raw: "/a%7F", err: errControl},
		{raw: "/a%zz", err: errEscape},
		{raw: "/a%2", err: errEscape},
		{raw: "/a%u002e", err: errEscape},
		{raw: "/a%ff", err: errUTF8},
		{raw: "/%c0%ae%c0%ae/admin", err: errUTF8},
		{raw: "/..", err: errDotSegment},
		{raw: "/a/../b", err: errDotSegment},
		{raw: "/a/./b", err: errDotSegment},
		{raw: "/a/.", err: errDotSegment},
		{raw: "/a/%2e%2E/b", err: errDotSegment},
		{raw: "/a/.%2e/b", err: errDotSegment},
		{raw: "/a/..%2fb", err: errDotSegment},
		{raw: "/a%2f..%2fb", err: errDotSegment},
		{raw: "/a/..;/b", err: errDotSegment},
		{raw: "/a/..;x=1/b", err: errDotSegment},
		{raw: "/a/.;/b", err: errDotSegment},
		{raw: "/a/..%3b/b", err: errDotSegment},
		{raw: `/a\..\b`, err: errDotSegment},
		{raw: "/a%5c..%5cb", err: errDotSegment},
		{raw: "/a/..%23/b", err: errDotSegment},
		{raw: "/a/..%3fx", err: errDotSegment},
		{raw: "/a/..%20/b", err: errDotSegment},
		{raw: "/a/.%09./b", err: errDotSegment},
		{raw: "/api../admin", err: errDotSegment},
		{raw: "/v1../admin", err: errDotSegment},
	}
	for _, tt := range tests {
		t.Run(tt.raw, func(t *testing.T) {
			t.Parallel()
			got, err := canonicalPath(tt.raw)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error: got %v, want %v", err, tt.err)
			}
			want := canonPath{tt.escaped, tt.path, tt.found}
			if want.path == "" {
				want.path = tt.escaped
			}
			if err == nil && got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestReadingGivesOnlyTheMaskedSpellingsTheirMeaning(t *testing.T) {
	t.Parallel()
	const in = "/a%2Fb;p=1/c%5Cd//e%3Ff"
	tests := []struct {
		mask findings
		want string
	}{
		{0, `/a%2Fb;p=1/c\d//e?f`},
		{foundEncodedSlash, `/a/b;p=1/c\d//e?f`},
		{foundSemicolon, `/a%2Fb/c\d//e?f`},
		{foundBackslash, `/a%2Fb;p=1/c/d//e?f`},
		{foundDoubleSlash, `/a%2Fb;p=1/c\d/e?f`},
		{foundReserved, `/a%2Fb;p=1/c\d//e`},
		{foundEncodedSlash | foundBackslash | foundSemicolon | foundReserved | foundDoubleSlash, "/a/b/c/d/e"},
	}
	for _, tt := range tests {
		if got := reading(in, tt.mask); got != tt.want {
			t.Errorf("mask %05b: got %q, want %q", tt.mask, got, tt.want)
		}
	}
}

func TestCheckQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		query string
		err   error
	}{
		{"", nil},
		{"a=1&b=2", nil},
		{"a=1;b=2", nil},
		{"q=100%", nil},
		{"q=%zz&x[]={|}^`\\\"<>", nil},
		{"q=é", nil},
		{strings.Repeat("a&", 999) + "a", nil},
		{strings.Repeat("a&", 1000) + "a", errQueryArguments},
		{strings.Repeat("a;", 1000) + "a", errQueryArguments},
		{"a b", errQueryBytes},
		{"a\x00", errQueryBytes},
		{"a\x7f", errQueryBytes},
		{"a\xff", errQueryBytes},
		{"a#b", errFragment},
	}
	for _, tt := range tests {
		if err := checkQuery(tt.query); !errors.Is(err, tt.err) {
			t.Errorf("checkQuery(%.40q): got %v, want %v", tt.query, err, tt.err)
		}
	}
}

func TestCanonicalPathDoesNotAllocateForPlainPaths(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = canonicalPath("/app/orders/2026-11/items.json") }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// upstreamReadings returns the paths that applications make of a forwarded path. They are written without the package's code:
// decode, cut path parameters, turn backslashes, cut at ? and #, merge slashes, resolve dot segments, in the combinations that
// servers are known for.
func upstreamReadings(t *testing.T, escaped string) []string {
	t.Helper()
	decoded, err := url.PathUnescape(escaped)
	if err != nil {
		t.Fatalf("upstream cannot decode %q: %v", escaped, err)
	}
	all := []string{decoded}
	for mask := range 8 {
		s := decoded
		if mask&1 != 0 {
			s = strings.ReplaceAll(s, `\`, "/")
		}
		if mask&2 != 0 {
			segments := strings.Split(s, "/")
			for i := range segments {
				segments[i], _, _ = strings.Cut(segments[i], ";")
			}
			s = strings.Join(segments, "/")
		}
		if mask&4 != 0 {
			if i := strings.IndexAny(s, "?#"); i >= 0 {
				s = s[:i]
			}
		}
		all = append(all, s, path.Clean("/"+s))
	}
	return all
}

// confusingTargets generates targets that lead to /admin by some reading: every spelling of a detour, alone and in pairs, in
// front of, inside and behind the protected segment.
func confusingTargets() []string {
	atoms := []string{
		"/", "//", ".", "..", "%2e", "%2e%2e", ".%2e", "%252e%252e", "%2f", "%252f", `\`, "%5c", "%255c", ";", "%3b", ";x=1", "..;",
		"%2e%2e%3b", "%00", "%09", "%20", "%0d", "%0a", "?", "%3f", "#", "%23", "%c0%af", "%e0%80%af", "%ff", "&", "%2561", "~", "*", "%u002f",
	}
	var targets []string
	for _, a := range atoms {
		for _, b := range append([]string{"", "/"}, atoms...) {
			targets = append(targets,
				"/"+a+b+"admin", "/"+a+b+"/admin", "/public/"+a+b+"/admin", "/public"+a+b+"admin", "/public/"+a+"/"+b+"/admin",
				"/admin"+a+b, "/admin/"+a+b, "/ad"+a+b+"min", "/public/x"+a+b+"/../admin", "/public/"+a+"admin"+b)
		}
	}
	return append(targets, "/%61dmin", "/%41dmin", "/a%64min/x", "/publicadmin", "/public/admin", "http://h/admin",
		"/ADMIN", "/aDmin/", "/%2541dmin", "/%2561dmin/%20x", "/%252fadmin", "/public%252f%252fadmin")
}

func TestNoReadingOfAnAdmittedPathReachesAdminUnseen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		public Admit
	}{
		{"strict", Admit{}},
		{"with every opt-out on the public route", Admit{
			EncodedSlash: true, Backslash: true, Semicolon: true, DoubleSlash: true, EncodedReserved: true,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tab, err := newTable([]*compiledRoute{
				{Route: Route{Name: "admin", Match: Match{Path: "/admin/*"}}},
				{Route: Route{Name: "public"}, admits: tt.public.findings()},
			})
			if err != nil {
				t.Fatal(err)
			}
			admitted := 0
			for _, target := range confusingTargets() {
				raw, _, _ := strings.Cut(target, "?")
				c, err := canonicalPath(raw)
				if err != nil {
					continue
				}
				rt, err := tab.admitPath(&lookup{method: "GET"}, c)
				if err != nil {
					continue
				}
				admitted++
				all := upstreamReadings(t, c.escaped)
				if twice, err := url.PathUnescape(c.path); err == nil {
					all = append(all, twice, path.Clean("/"+twice), path.Clean("/"+strings.ReplaceAll(twice, `\`, "/")))
				}
				for _, seen := range all {
					seen = strings.ToLower(seen)
					under := seen == "/admin" || strings.HasPrefix(seen, "/admin/")
					if under && rt.Name != "admin" {
						t.Errorf("%q: upstream reads %q but route %s was applied", target, seen, rt.Name)
					}
				}
			}
			if admitted < 100 {
				t.Errorf("only %d targets were admitted, so the test says nothing", admitted)
			}
		})
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, target := range confusingTargets()[:200] {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := canonicalPath(raw)
		if err != nil {
			return
		}
		again, err := canonicalPath(c.escaped)
		if err != nil || again != c {
			t.Fatalf("not idempotent: %q gives %+v, then %+v (%v)", raw, c, again, err)
		}
		for i := 0; i < len(c.escaped); i++ {
			if b := c.escaped[i]; b <= ' ' || b >= 0x7f || strings.IndexByte("\\#?\"<>^`{|}", b) >= 0 {
				t.Fatalf("%q: canonical form %q has byte %#x", raw, c.escaped, b)
			}
		}
		for _, seen := range upstreamReadings(t, c.escaped) {
			for segment := range strings.SplitSeq(strings.NewReplacer(" ", "", "\t", "").Replace(seen), "/") {
				if segment == "." || segment == ".." {
					t.Fatalf("%q: canonical form %q can be read as %q", raw, c.escaped, seen)
				}
			}
		}
		u, err := url.ParseRequestURI(c.escaped)
		if err != nil {
			t.Fatalf("url.ParseRequestURI(%q): %v", c.escaped, err)
		}
		if u.Path != c.path || u.EscapedPath() != c.escaped {
			t.Fatalf("net/url reads %q as %q, %q; want %q", c.escaped, u.Path, u.EscapedPath(), c.path)
		}
	})
}
