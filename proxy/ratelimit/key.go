package ratelimit

import (
	"crypto/sha256"
	"net/netip"
)

const (
	// ipv6Prefix is the network that one IPv6 customer has at least (RFC 6177): within it an address
	// costs nothing.
	ipv6Prefix = 64
	// maxName is the longest name that is kept as it is. A longer one is kept as its hash, so that
	// the memory of a full limiter is bounded whatever clients send.
	maxName = 64
)

// A Key says whose requests are counted together. It is comparable. The zero Key is nobody's: it is
// never limited.
type Key struct {
	addr  netip.Addr
	scope string
	name  string
}

// AddressKey returns the key of a client's address: itself for IPv4, also when it is written as
// IPv6, and its /64 network for IPv6, without the zone. An invalid address gives a key that all such
// requests share, so that it is no way around the limit. It allocates nothing.
func AddressKey(addr netip.Addr) Key {
	addr = addr.Unmap()
	switch {
	case !addr.IsValid():
		return Key{name: "\x00no address"}
	case addr.Is6():
		prefix, err := addr.WithZone("").Prefix(ipv6Prefix)
		if err != nil { // a valid IPv6 address has a /64
			return Key{name: "\x00no address"}
		}
		return Key{addr: prefix.Addr()}
	default:
		return Key{addr: addr}
	}
}

// NameKey returns the key of a name, such as an identity's subject; "" gives the zero Key. It
// allocates nothing for names of up to 64 bytes.
func NameKey(name string) Key {
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(name))
		name = "\x00sha256 " + string(sum[:])
	}
	return Key{name: name}
}

// IdentityKey returns the key of a subject at an issuer; an empty subject gives the zero Key. It
// allocates nothing for subjects of up to 64 bytes. The issuer is the operator's own and short.
func IdentityKey(issuer, subject string) Key {
	key := NameKey(subject)
	if !key.IsZero() {
		key.scope = issuer
	}
	return key
}

// IsZero reports whether k is nobody's.
func (k Key) IsZero() bool { return k == Key{} }
