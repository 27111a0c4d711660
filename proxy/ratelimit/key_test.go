package ratelimit

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddressKey(t *testing.T) {
	t.Parallel()
	key := func(addr string) Key { return AddressKey(netip.MustParseAddr(addr)) }
	same := [][2]string{
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"},
		{"fe80::1%eth0", "fe80::2%eth1"},
		{"fe80::1%eth0", "fe80::1"},
	}
	for _, pair := range same {
		if key(pair[0]) != key(pair[1]) {
			t.Errorf("%s and %s are counted apart", pair[0], pair[1])
		}
	}
	different := [][2]string{
		{"192.0.2.1", "192.0.2.2"},
		{"2001:db8:0:1::1", "2001:db8:0:2::1"},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.2"},
		{"::192.0.2.1", "192.0.2.1"},
	}
	for _, pair := range different {
		if key(pair[0]) == key(pair[1]) {
			t.Errorf("%s and %s are counted together", pair[0], pair[1])
		}
	}
	if none := AddressKey(netip.Addr{}); none.IsZero() || none == key("::") || none == key("0.0.0.0") {
		t.Errorf("a request without an address has the key %v, want one of its own", none)
	}
}

func TestNameKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 10_000)
	if again := strings.Clone(long); NameKey(long) != NameKey(again) || NameKey(long) == NameKey(long+"a") {
		t.Error("long names are not told apart")
	}
	if got := len(NameKey(long).name); got > maxName {
		t.Errorf("a key holds %d bytes, want at most %d", got, maxName)
	}
	if NameKey("a") == NameKey("b") || NameKey("a").IsZero() || !NameKey("").IsZero() {
		t.Error("short names are not told apart")
	}
	if NameKey("192.0.2.1") == AddressKey(netip.MustParseAddr("192.0.2.1")) {
		t.Error("a name can take an address's bucket")
	}
}

func TestIdentityKey(t *testing.T) {
	t.Parallel()
	key := IdentityKey("https://a", "alice")
	for name, other := range map[string]Key{
		"another issuer":  IdentityKey("https://b", "alice"),
		"another subject": IdentityKey("https://a", "bob"),
		"shifted":         IdentityKey("https://aa", "lice"),
		"a bare name":     NameKey("alice"),
	} {
		if key == other {
			t.Errorf("%s: counted together", name)
		}
	}
	if key.IsZero() || !IdentityKey("https://a", "").IsZero() {
		t.Error("nobody has a key, or somebody has none")
	}
}
