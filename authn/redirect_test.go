package authn

import (
	"bufio"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestSafeReturn(t *testing.T) {
	t.Parallel()
	for _, same := range []string{
		"/", "/a", "/a/", "/a/b?x=1&y=2", "/a?next=https://other.example/", "/100%25", "/caf%C3%A9", "/a:b", "/a;v=1",
		"/?q=%20", "/a?b//c", "/-._~!$&'()*+,;=:@",
	} {
		if got := SafeReturn(same); got != same {
			t.Errorf("SafeReturn(%q): got %q, want it unchanged", same, got)
		}
	}
	for _, doubtful := range []string{
		"", "a", "?x", "//evil.test", "///evil.test", `/\evil.test`, `\\evil.test`, "/\t/evil.test", "/\n/evil.test",
		"/%09/evil.test", "/%5cevil.test", "/%5Cevil.test", "/%2fevil.test", "/%2Fevil.test", "/%252fevil.test",
		"/%25252fevil.test", "/.//evil.test", "/..//evil.test", "/a/../b", "/a/%2e%2e/b", "/%2e/b", "/a//b",
		"https://app.example.test@evil.test/", "https://evil.test", "javascript:alert(1)", "data:text/html,x",
		"/a\r\nSet-Cookie: x=1", "/a%0d%0aSet-Cookie:x=1", "/a?b=%0d%0aX:y", "/a b", "/é", "/\u2028", "/a#b",
		"/a\x00", "/a%00", "/a?b\\c", "/" + strings.Repeat("a", maxReturn), "/%zz/../..//x", "/%", "/a%2",
	} {
		if got := SafeReturn(doubtful); got != "/" {
			t.Errorf("SafeReturn(%q): got %q, want /", doubtful, got)
		}
	}
}

// staysHere reads a Location as browsers do (WHATWG URL, special schemes): tabs and line breaks are
// dropped, a backslash is a slash, and two slashes at the front begin a host.
func staysHere(location string) bool {
	s := strings.Map(func(r rune) rune {
		if r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, location)
	s = strings.Trim(s, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x1b\x1f ")
	p, _, _ := strings.Cut(s, "?")
	p, _, _ = strings.Cut(p, "#")
	p = strings.ReplaceAll(p, `\`, "/")
	return strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "//")
}

func TestSafeReturnKeepsKnownAttacksOnTheHost(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/return-addresses.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	base, _ := url.Parse("https://gw.test/app/")
	n := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		var value string
		if err := json.Unmarshal(sc.Bytes(), &value); err != nil {
			t.Fatal(err)
		}
		n++
		plain, err := url.QueryUnescape(value)
		if err != nil {
			plain = value
		}
		for _, v := range []string{value, plain} {
			got := SafeReturn(v)
			u, err := base.Parse(got)
			if err != nil || u.Host != "gw.test" || u.Scheme != "https" || !staysHere(got) {
				t.Errorf("SafeReturn(%q): got %q, which leaves the host", v, got)
			}
		}
	}
	if n < 300 {
		t.Errorf("addresses read: got %d, want at least 300", n)
	}
}

func TestOwnReturn(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/files/a%2Fb?x=1":        "/files/a%2Fb?x=1", // a route may take escaped slashes
		"/a?b=%0d":                "/a?b=%0d",
		"//evil.test/":            "/",
		"/" + longText(maxReturn): "/",
	} {
		r := httptest.NewRequest("GET", "https://gw.test"+target, nil)
		if got := ownReturn(r); got != want {
			t.Errorf("ownReturn(%.60q): got %.60q, want %q", target, got, want)
		}
	}
}

func longText(n int) string { return strings.Repeat("a", n) }

func FuzzSafeReturn(f *testing.F) {
	for _, s := range []string{"/", "//evil", `/\evil`, "/%2f", "/a?b#c", "/\t/x", "/%25%32%66", "https://x"} {
		f.Add(s)
	}
	base, _ := url.Parse("https://gw.test/app/")
	f.Fuzz(func(t *testing.T, rd string) {
		got := SafeReturn(rd)
		u, err := base.Parse(got)
		if err != nil {
			t.Fatalf("SafeReturn(%q): %q does not parse: %v", rd, got, err)
		}
		if u.Host != "gw.test" || u.Scheme != "https" || !staysHere(got) || strings.ContainsAny(got, "\r\n\\\t") {
			t.Fatalf("SafeReturn(%q): got %q, which leaves the host", rd, got)
		}
		if again := SafeReturn(got); again != got {
			t.Fatalf("SafeReturn(%q): got %q, and then %q", rd, got, again)
		}
		// However often it is unescaped on the way, no host begins in it.
		p, _, _ := strings.Cut(got, "?")
		for range 4 {
			if p, err = url.PathUnescape(p); err != nil {
				break
			}
			if !staysHere(p) {
				t.Fatalf("SafeReturn(%q): got %q, which unescapes to %q", rd, got, p)
			}
		}
	})
}
