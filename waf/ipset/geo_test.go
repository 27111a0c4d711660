package ipset

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew")

// A writer makes databases of the MaxMind DB format 2.0, https://maxmind.github.io/MaxMind-DB/.
type writer struct {
	nodes []([2]int) // what a bit leads to: a node, 0 for nothing, or -1-n for the nth of data
	data  bytes.Buffer
}

func (w *writer) put(prefix string, record any) {
	if w.nodes == nil {
		w.nodes = [][2]int{{}}
	}
	p := netip.MustParsePrefix(prefix)
	raw, bits := p.Addr().As16(), p.Bits()
	if p.Addr().Is4() {
		raw, bits = [16]byte{12: raw[12], 13: raw[13], 14: raw[14], 15: raw[15]}, bits+96
	}
	at := 0
	for i := range bits {
		side := int(raw[i/8] >> (7 - i%8) & 1)
		if i == bits-1 {
			w.nodes[at][side] = -1 - w.data.Len()
			encode(&w.data, record)
			return
		}
		if w.nodes[at][side] == 0 {
			w.nodes = append(w.nodes, [2]int{})
			w.nodes[at][side] = len(w.nodes) - 1
		}
		at = w.nodes[at][side]
	}
}

// encode writes text, numbers, lists and mappings of fewer than 29 entries.
func encode(b *bytes.Buffer, v any) {
	control := func(kind, size int) {
		if kind <= 7 {
			b.WriteByte(byte(kind<<5 | size))
			return
		}
		b.Write([]byte{byte(size), byte(kind - 7)})
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		b.WriteString(v)
	case uint16:
		control(5, 2)
		b.Write([]byte{byte(v >> 8), byte(v)})
	case uint32:
		control(6, 4)
		b.Write([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	case []any:
		control(11, len(v))
		for _, item := range v {
			encode(b, item)
		}
	case map[string]any:
		control(7, len(v))
		var keys []string
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			encode(b, key)
			encode(b, v[key])
		}
	}
}

func (w *writer) bytes(kind string) []byte {
	var out bytes.Buffer
	for _, node := range w.nodes {
		for _, to := range node {
			switch {
			case to == 0:
				to = len(w.nodes)
			case to < 0:
				to = len(w.nodes) + 16 - 1 - to
			}
			out.Write([]byte{byte(to >> 16), byte(to >> 8), byte(to)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(w.data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	encode(&out, map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint32(1_790_000_000),
		"database_type": kind, "description": map[string]any{"en": "test"}, "ip_version": uint16(6), "languages": []any{"en"},
		"node_count": uint32(len(w.nodes)), "record_size": uint16(24),
	})
	return out.Bytes()
}

// countries and systems are small databases of documentation addresses (RFC 5737, 3849), and of loopback.
func countries() []byte {
	var w writer
	us := map[string]any{"country": map[string]any{"iso_code": "US"}, "subdivisions": []any{map[string]any{"iso_code": "VA"}}}
	w.put("192.0.2.0/24", us)
	w.put("198.51.100.0/24", map[string]any{"country": map[string]any{"iso_code": "DE"}})
	w.put("203.0.113.0/25", map[string]any{"registered_country": map[string]any{"iso_code": "FR"}})
	w.put("203.0.113.128/25", map[string]any{"continent": map[string]any{"code": "EU"}})
	w.put("2001:db8::/32", map[string]any{"country": map[string]any{"iso_code": "JP"}})
	return w.bytes("Test-City")
}

func systems() []byte {
	var w writer
	w.put("192.0.2.0/24", map[string]any{"autonomous_system_number": uint32(64496)})
	w.put("2001:db8::/32", map[string]any{"autonomous_system_number": uint32(64497)})
	return w.bytes("Test-ASN")
}

// The databases are in testdata too, for tests of the program.
func TestDatabasesOfOtherTests(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{"testdata/country.mmdb": countries(), "testdata/asn.mmdb": systems()} {
		if *update {
			if err := os.WriteFile(name, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s is not what the test makes (%v): run go test ./waf/ipset -update", name, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	geo, err := NewGeo(countries(), systems())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr   string
		want   Place
		system uint32
	}{
		{"192.0.2.44", Place{"US", "US-VA"}, 64496},
		{"::ffff:192.0.2.44", Place{"US", "US-VA"}, 64496},
		{"198.51.100.1", Place{"DE", ""}, 0},
		{"203.0.113.1", Place{"FR", ""}, 0},
		{"203.0.113.200", Place{"XX", ""}, 0},
		{"10.0.0.1", Place{"XX", ""}, 0},
		{"2001:db8::1", Place{"JP", ""}, 64497},
		{"2001:db8::1%eth0", Place{"JP", ""}, 64497},
		{"fe80::1", Place{"XX", ""}, 0},
	} {
		addr := netip.MustParseAddr(tt.addr)
		if got := geo.Place(addr); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.addr, got, tt.want)
		}
		if got := geo.System(addr); got != tt.system {
			t.Errorf("%s: got AS%d, want AS%d", tt.addr, got, tt.system)
		}
	}
	if got := geo.Place(netip.Addr{}); got.Country != Unknown {
		t.Errorf("no address: got %v, want an unknown country", got)
	}
}

func TestDatabasesThatAreMissing(t *testing.T) {
	t.Parallel()
	var none *Geo
	addr := netip.MustParseAddr("192.0.2.1")
	if none.HasCountries() || none.HasSystems() || none.Place(addr).Country != Unknown || none.System(addr) != 0 {
		t.Error("the nil Geo knows something")
	}
	only, err := NewGeo(nil, systems())
	if err != nil || only.HasCountries() || !only.HasSystems() || only.Place(addr).Country != Unknown {
		t.Errorf("a database of systems alone: %v, %+v", err, only)
	}
	for name, content := range map[string][]byte{"empty": {}, "text": []byte("not a database"), "cut": countries()[100:200]} {
		if _, err := NewGeo(content, nil); err == nil {
			t.Errorf("%s: is taken for a database", name)
		}
	}
	for key, databases := range map[string][2][]byte{"country": {systems(), systems()}, "asn": {countries(), countries()}} {
		_, err := NewGeo(databases[0], databases[1])
		if bad, ok := errors.AsType[*DatabaseError](err); !ok || bad.Key != key || !strings.Contains(err.Error(), "is a database of another kind") {
			t.Errorf("a database of another kind as %s: got %v", key, err)
		}
	}
	if _, err := NewGeo(nil, nil); err == nil {
		t.Error("no database at all is taken")
	}
}

// FuzzGeo: whatever is in a file, a lookup ends and does not panic.
func FuzzGeo(f *testing.F) {
	f.Add(countries())
	f.Fuzz(func(_ *testing.T, content []byte) {
		geo, err := NewGeo(content, content)
		if err != nil {
			return
		}
		for _, addr := range []string{"192.0.2.1", "2001:db8::1", "255.255.255.255"} {
			geo.Place(netip.MustParseAddr(addr))
			geo.System(netip.MustParseAddr(addr))
		}
	})
}
