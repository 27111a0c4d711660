package ipset

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxEntries bounds one set at about 50 MB. AWS WAF takes 10,000.
const maxEntries = 1 << 20

// A Set is addresses and networks of both families. It is immutable and safe for concurrent use. The zero Set is empty.
type Set struct {
	ranges []span // in order, none touching the next
}

// A span is the addresses from first to last.
type span struct{ first, last netip.Addr }

// New returns the set of all that entries name: addresses, and networks such as 10.0.0.0/8. The error names the first entry
// that is neither.
func New(entries []string) (*Set, error) {
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("want at most %d entries, got %d", maxEntries, len(entries))
	}
	spans := make([]span, 0, len(entries))
	for _, entry := range entries {
		prefix, err := ParsePrefix(entry)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span{prefix.Addr(), lastOf(prefix)})
	}
	return &Set{merge(spans)}, nil
}

// Parse returns the set in the content of a file, an entry a line, with or without a comment that begins with "#" or ";", and
// of more entries. The error names the line.
func Parse(content []byte, more ...string) (*Set, error) {
	set, err := New(more)
	if err != nil {
		return nil, err
	}
	spans := set.ranges
	lines := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		if i := strings.IndexAny(text, "#;"); i >= 0 {
			text = text[:i]
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		prefix, err := ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(spans) == maxEntries {
			return nil, fmt.Errorf("line %d: want at most %d entries", n, maxEntries)
		}
		spans = append(spans, span{prefix.Addr(), lastOf(prefix)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading lines: %w", err)
	}
	return &Set{merge(spans)}, nil
}

// ParsePrefix reads an address or a network. An IPv4 address in the form of IPv6 is the IPv4 address (RFC 4291, section
// 2.5.5.2). A network with bits beyond its length, one of length 0, which is everybody, and a zone are errors.
func ParsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("want an address, or a network such as 10.0.0.0/8, got %.80q", s)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	switch {
	case prefix.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("%s is every address", s)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: want %s", s, prefix.Masked())
	}
	return prefix, nil
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b) // 4 or 16 bytes, as they came
	return last
}

// merge puts spans in order, and those that touch together.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.first.Compare(b.first) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].first.BitLen() == s.first.BitLen() && touches(out[n-1].last, s.first) {
			if out[n-1].last.Less(s.last) {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}

// touches reports whether a span that ends with last goes on with next, or has it.
func touches(last, next netip.Addr) bool {
	return !last.Less(next) || last.Next() == next
}

// Contains reports whether addr is in s. An IPv4 address in the form of IPv6 is the IPv4 address; a zone says nothing. An
// invalid address is in no set. It allocates nothing.
func (s *Set) Contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if s == nil || !addr.IsValid() {
		return false
	}
	i, found := slices.BinarySearchFunc(s.ranges, addr, func(r span, a netip.Addr) int { return r.first.Compare(a) })
	if found {
		return true
	}
	return i > 0 && s.ranges[i-1].last.BitLen() == addr.BitLen() && !s.ranges[i-1].last.Less(addr)
}

// Empty reports whether no address is in s.
func (s *Set) Empty() bool { return s == nil || len(s.ranges) == 0 }
