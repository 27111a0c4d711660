package proxy

import (
	"errors"
	"strings"
	"testing"
)

func TestSplitHost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, host, port string
		err            error
	}{
		{"app.example.com", "app.example.com", "", nil},
		{"APP.Example.COM.:8443", "app.example.com", "8443", nil},
		{"a_b-c.test:1", "a_b-c.test", "1", nil},
		{"192.0.2.1:80", "192.0.2.1", "80", nil},
		{"[::1]", "[::1]", "", nil},
		{"[2001:DB8:0:0::1]:443", "[2001:db8::1]", "443", nil},
		{strings.Repeat("a", 253), strings.Repeat("a", 253), "", nil},

		{"", "", "", errHostAbsent},
		{".", "", "", errHost},
		{"..", "", "", errHost},
		{"a..b", "", "", errHost},
		{"a..", "", "", errHost},
		{".a", "", "", errHost},
		{"a:", "", "", errHost},
		{"a:0", "", "", errHost},
		{"a:65536", "", "", errHost},
		{"a:+80", "", "", errHost},
		{"a:8x", "", "", errHost},
		{"a:80:80", "", "", errHost},
		{"::1", "", "", errHost},
		{"user@a", "", "", errHost},
		{"a/b", "", "", errHost},
		{"a,b", "", "", errHost},
		{"a b", "", "", errHost},
		{"a%2e", "", "", errHost},
		{"*", "", "", errHost},
		{"é.test", "", "", errHost},
		{"[::1", "", "", errHost},
		{"[::1]x", "", "", errHost},
		{"[::1]:", "", "", errHost},
		{"[fe80::1%25eth0]", "", "", errHost},
		{"[192.0.2.1]", "", "", errHost},
		{"[v1.a]", "", "", errHost},
		{strings.Repeat("a", 254), "", "", errHost},
	}
	for _, tt := range tests {
		host, port, err := splitHost(tt.in)
		if host != tt.host || port != tt.port || !errors.Is(err, tt.err) {
			t.Errorf("splitHost(%q): got %q, %q, %v, want %q, %q, %v", tt.in, host, port, err, tt.host, tt.port, tt.err)
		}
	}
}

func FuzzSplitHost(f *testing.F) {
	for _, s := range []string{"a.b:80", "[::1]:443", "A.", "a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, port, err := splitHost(in)
		if err != nil {
			return
		}
		if again, _, err := splitHost(host); err != nil || again != host {
			t.Fatalf("not idempotent: %q gives %q, then %q (%v)", in, host, again, err)
		}
		for i := 0; i < len(host); i++ {
			if b := host[i]; b <= ' ' || b >= 0x7f || 'A' <= b && b <= 'Z' || strings.IndexByte("@/?#%\\,", b) >= 0 {
				t.Fatalf("%q gives host %q", in, host)
			}
		}
		if port != "" && !validPort(port) {
			t.Fatalf("%q gives port %q", in, port)
		}
	})
}
