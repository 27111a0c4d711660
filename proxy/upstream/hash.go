package upstream

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// Hash is the value of Config.Balance by which requests with the same key go to the same endpoint.
const Hash = "hash"

// What Config.Hash may name beside header:NAME and cookie:NAME.
const (
	hashAddress  = "address"
	hashPath     = "path"
	hashIdentity = "identity"
	hashHeader   = "header"
	hashCookie   = "cookie"
)

const (
	// hashLoad is how much more than its share an endpoint may have under way, as a factor: a key that everybody asks for goes to
	// others too, rather than take its endpoint down ("Consistent Hashing with Bounded Loads", Mirrokni and others, 2016).
	hashLoad = 1.25
	// hashFloor is what an endpoint may have under way whatever its share is: a few requests overload nobody.
	hashFloor = 8
)

// hashKey says what is hashed.
type hashKey struct{ kind, name string }

// parseHash reads Config.Hash.
func parseHash(s string) (*hashKey, error) {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case !named && (kind == hashAddress || kind == hashPath || kind == hashIdentity):
		return &hashKey{kind: kind}, nil
	case named && (kind == hashHeader || kind == hashCookie) && validToken(name):
		return &hashKey{kind, name}, nil
	}
	return nil, fmt.Errorf("want address, path, identity, header:NAME or cookie:NAME, got %q", s)
}

// of is the hash of a request's key; false if it has none.
func (k *hashKey) of(x *exchange) (uint64, bool) {
	key := ""
	switch k.kind {
	case hashAddress:
		return hashAddr(x.clientIP())
	case hashPath:
		key = x.path
	case hashIdentity:
		if x.h.opts.Subject != nil {
			key = x.h.opts.Subject(x.r)
		}
	case hashHeader:
		key = x.r.Header.Get(k.name)
	case hashCookie:
		key = cookieNamed(x.r.Header["Cookie"], k.name)
	}
	return hashString(key), key != ""
}

// hashAddr hashes an address; one of IPv6 by its /64, which is one household's or one host's.
func hashAddr(ip netip.Addr) (uint64, bool) {
	if !ip.IsValid() {
		return 0, false
	}
	if ip = ip.Unmap(); ip.Is4() {
		b := ip.As4()
		return hashBytes(b[:]), true
	}
	b := ip.As16()
	return hashBytes(b[:8]), true
}

// cookieNamed is the value of the first cookie with that name; "" if there is none.
func cookieNamed(lines []string, name string) string {
	for _, line := range lines {
		for crumb := range strings.SplitSeq(line, ";") {
			if key, value, _ := strings.Cut(crumb, "="); trim(key) == name {
				return trim(value)
			}
		}
	}
	return ""
}

// hashString is FNV-1a: the same in every instance and after every start, which is what matters here. Who looks for keys that
// meet at one endpoint gains nothing: its load is bounded.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func hashBytes(b []byte) uint64 { return hashString(string(b)) }

// mix spreads what two hashes differ in over all bits (the finaliser of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// hashed is the place in fit of the endpoint for a key: the one that the key and its name make the lowest draw for, among
// those that have room (rendezvous hashing). Where endpoints come and go, only their own keys move.
func (pl *plan) hashed(key uint64) int {
	total, weights := int64(1), 0
	for _, m := range pl.fit {
		total += m.outstanding.Load()
		weights += m.weight
	}
	best, lowest := 0, math.Inf(1)
	for i, m := range pl.fit {
		share := float64(total) * float64(m.weight) / float64(weights)
		if float64(m.outstanding.Load()+1) > max(math.Ceil(hashLoad*share), hashFloor) {
			continue
		}
		// An exponential draw: the lowest of several is each one's as often as its rate, which is the weight, says.
		u := (float64(mix(key^m.hash)>>11) + 0.5) / (1 << 53)
		if draw := -math.Log(u) / float64(m.weight); draw < lowest {
			best, lowest = i, draw
		}
	}
	return best
}
