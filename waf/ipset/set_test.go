package ipset

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func TestContains(t *testing.T) {
	t.Parallel()
	set, err := New([]string{"192.0.2.44", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "::ffff:198.51.100.0/120", "203.0.113.0/25", "203.0.113.128/25"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"192.0.2.44": true, "192.0.2.43": false, "192.0.2.45": false, "::ffff:192.0.2.44": true, "::192.0.2.44": false,
		"10.0.0.0": true, "10.255.255.255": true, "9.255.255.255": false, "11.0.0.0": false,
		"2001:db8::": true, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff": true, "2001:db9::": false, "2001:db8::1%eth0": true,
		"198.51.100.7": true, "198.51.101.0": false, "203.0.113.127": true, "203.0.113.128": true, "203.0.114.0": false,
		"0.0.0.0": false, "255.255.255.255": false, "::": false,
	} {
		if got := set.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %t, want %t", addr, got, want)
		}
	}
	if set.Contains(netip.Addr{}) || (*Set)(nil).Contains(netip.MustParseAddr("10.0.0.1")) || (&Set{}).Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Error("no address, or no set, is in a set")
	}
	if set.Empty() || !(*Set)(nil).Empty() || !(&Set{}).Empty() {
		t.Error("Empty says the wrong thing")
	}
}

// A set says of every address what asking each of its networks says.
func TestContainsWhatItsNetworksContain(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var entries []string
		var prefixes []netip.Prefix
		for range r.IntN(12) {
			raw := [4]byte{10, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.IntN(256))}
			p := netip.PrefixFrom(netip.AddrFrom4(raw), 8+r.IntN(25)).Masked()
			entries, prefixes = append(entries, p.String()), append(prefixes, p)
		}
		set, err := New(entries)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			addr := netip.AddrFrom4([4]byte{byte(9 + r.IntN(3)), byte(r.IntN(3)), byte(r.IntN(5)), byte(r.IntN(256))})
			want := false
			for _, p := range prefixes {
				want = want || p.Contains(addr)
			}
			if got := set.Contains(addr); got != want {
				t.Fatalf("%s in %v: got %t, want %t", addr, entries, got, want)
			}
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	set, err := Parse([]byte("# ours\r\n192.0.2.1\n\n  10.0.0.0/8 ; the network\n2001:db8::/32#x\n"), "198.51.100.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"192.0.2.1", "10.1.2.3", "2001:db8::9", "198.51.100.1"} {
		if !set.Contains(netip.MustParseAddr(addr)) {
			t.Errorf("%s is not in the set", addr)
		}
	}
	for text, want := range map[string]string{
		"192.0.2.1\nexample.com\n": `line 2: want an address, or a network such as 10.0.0.0/8, got "example.com"`,
		"10.0.0.1/8":               "line 1: 10.0.0.1/8 has bits beyond its length: want 10.0.0.0/8",
		"0.0.0.0/0":                "line 1: 0.0.0.0/0 is every address",
		"::/0":                     "line 1: ::/0 is every address",
		"fe80::1%eth0":             "line 1: want an address",
		strings.Repeat("1", 70000): "reading lines",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s", text, err, want)
		}
	}
}

// FuzzParse: every line that is taken is in the set.
func FuzzParse(f *testing.F) {
	f.Add("192.0.2.0/24\n::1\n")
	f.Add("::ffff:10.0.0.0/104")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for line := range strings.Lines(text) {
			if p, err := ParsePrefix(strings.TrimSpace(line)); err == nil && !(set.Contains(p.Addr()) && set.Contains(lastOf(p))) {
				t.Errorf("%s is not in the set of %q", p, text)
			}
		}
	})
}

func BenchmarkContains(b *testing.B) {
	var entries []string
	for i := range 10_000 {
		entries = append(entries, fmt.Sprintf("10.%d.%d.0/25", i/256, i%256))
	}
	set, err := New(entries)
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.MustParseAddr("10.20.30.40")
	b.ReportAllocs()
	for b.Loop() {
		set.Contains(addr)
	}
}
