package proxy

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestWalkForwarded(t *testing.T) {
	t.Parallel()
	trusted := unmapPrefixes([]netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::ffff:172.16.0.0/108"),
	})
	tests := []struct {
		name   string
		values []string
		peer   string
		client string
		chain  string
	}{
		{"nobody is trusted", []string{"203.0.113.9"}, "198.51.100.1", "198.51.100.1", ""},
		{"no header", nil, "10.0.0.1", "10.0.0.1", ""},
		{"one hop", []string{"203.0.113.9"}, "10.0.0.1", "203.0.113.9", "203.0.113.9"},
		{"the client's own claim is left of what is believed", []string{"127.0.0.1, 203.0.113.9"}, "10.0.0.1", "203.0.113.9", "203.0.113.9"},
		{"two hops", []string{"1.1.1.1, 203.0.113.9, 10.9.9.9"}, "10.0.0.1", "203.0.113.9", "203.0.113.9, 10.9.9.9"},
		{"several headers are one list", []string{"1.1.1.1,203.0.113.9", "10.9.9.9"}, "10.0.0.1", "203.0.113.9", "203.0.113.9, 10.9.9.9"},
		{"all trusted", []string{"10.1.1.1, 10.2.2.2"}, "10.0.0.1", "10.1.1.1", "10.1.1.1, 10.2.2.2"},
		{"junk ends the walk", []string{"203.0.113.9, unknown, 10.2.2.2"}, "10.0.0.1", "10.2.2.2", "10.2.2.2"},
		{"an empty entry ends the walk", []string{"203.0.113.9,"}, "10.0.0.1", "10.0.0.1", ""},
		{"ports", []string{"203.0.113.9:443, [2001:db8::1]:80, [2001:db8::2]"}, "10.0.0.1", "203.0.113.9", "203.0.113.9, 2001:db8::1, 2001:db8::2"},
		{"mapped addresses", []string{"::ffff:203.0.113.9, ::ffff:172.16.1.1"}, "10.0.0.1", "203.0.113.9", "203.0.113.9, 172.16.1.1"},
		{"zone", []string{"fe80::1%eth0"}, "10.0.0.1", "10.0.0.1", ""},
		{"octal", []string{"010.0.0.1"}, "10.0.0.1", "10.0.0.1", ""},
		{"IPv4 in brackets", []string{"[203.0.113.9]"}, "10.0.0.1", "10.0.0.1", ""},
		{"30 entries", []string{strings.Repeat("10.0.0.2,", 29) + "10.0.0.2"}, "10.0.0.1", "10.0.0.2", strings.Repeat("10.0.0.2, ", 29) + "10.0.0.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			peer := netip.MustParseAddr(tt.peer)
			chain, err := walkForwarded(tt.values, peer, trusted)
			if err != nil {
				t.Fatal(err)
			}
			if got := chain.client(peer).String(); got != tt.client {
				t.Errorf("client: got %s, want %s", got, tt.client)
			}
			if got := chain.String(); got != tt.chain {
				t.Errorf("chain: got %q, want %q", got, tt.chain)
			}
		})
	}
	if _, err := walkForwarded([]string{strings.Repeat("10.0.0.2,", 30) + "x"}, netip.Addr{}, nil); !errors.Is(err, errForwardedLong) {
		t.Errorf("31 entries: got %v, want %v", err, errForwardedLong)
	}
}

func TestPeerAddr(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]netip.Addr{
		"192.0.2.1:80":          netip.MustParseAddr("192.0.2.1"),
		"[::ffff:192.0.2.1]:80": netip.MustParseAddr("192.0.2.1"),
		"[fe80::1%eth0]:80":     netip.MustParseAddr("fe80::1"),
		"@":                     {},
		"":                      {},
	} {
		if got := peerAddr(remote); got != want {
			t.Errorf("peerAddr(%q): got %v, want %v", remote, got, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:80"
	if got := ClientIP(r); got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("ClientIP outside a Gateway: got %v", got)
	}
}

func FuzzWalkForwarded(f *testing.F) {
	f.Add("1.1.1.1, 10.0.0.2", "[::1]:80")
	f.Add("unknown,,", "::ffff:10.0.0.1")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/1")}
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, a, b string) {
		chain, err := walkForwarded([]string{a, b}, peer, trusted)
		if err != nil {
			return
		}
		for i, addr := range chain.addrs[:chain.n] {
			if !addr.IsValid() || addr.Is4In6() || addr.Zone() != "" {
				t.Fatalf("%q, %q: entry %v", a, b, addr)
			}
			if i < chain.n-1 && !trusts(trusted, addr) {
				t.Fatalf("%q, %q: walked past %v, which nobody trusts", a, b, addr)
			}
		}
		again, err := walkForwarded([]string{chain.String()}, peer, trusted)
		if err != nil || chain.n > 0 && again.client(peer) != chain.client(peer) {
			t.Fatalf("%q, %q: rewritten chain %q gives another client", a, b, chain.String())
		}
	})
}
