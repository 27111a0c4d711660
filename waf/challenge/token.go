package challenge

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// What a token is of a request, as the labels of AWS WAF have it behind "awswaf:managed:token:".
const (
	Accepted       = "accepted"
	Absent         = "absent"
	Expired        = "rejected:expired"
	DomainMismatch = "rejected:domain_mismatch"
	Invalid        = "rejected:invalid"
)

const (
	// seedLife is how long a browser has for its work. In that time a solution can be sent again, by the same client to the same
	// host, for another token.
	seedLife = 5 * time.Minute
	// puzzles is how many pieces the work has. Many small ones take about the same time for everybody, one large one does not.
	puzzles     = 16
	puzzleBits  = 4 // the logarithm of it
	sealedSize  = 1 + 1 + 8 + 8 + 8 + 8 + 16
	kindSeed    = 's'
	kindToken   = 't'
	addressBits = 64 // of an IPv6 address: what one customer has at least (RFC 6177)
)

// A client is whom a seed or a token is made for.
type client struct {
	host  string
	addr  netip.Addr
	agent string
}

// A sealer makes seeds and tokens, and knows its own. Instances with one secret know each other's.
type sealer struct{ key []byte }

func newSealer(secret []byte) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse challenge v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	return &sealer{key}, nil
}

// digest is the beginning of an HMAC of parts under a label, none of which another way of cutting them can make.
func (s *sealer) digest(label string, size int, parts ...string) []byte {
	h := hmac.New(sha256.New, s.key)
	var length [8]byte
	for _, part := range append([]string{label}, parts...) {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)[:size]
}

// host and person are what a client is in a sealed text: nobody can read an address or a User-Agent out of it.
func (s *sealer) host(c client) []byte { return s.digest("host", 8, strings.ToLower(c.host)) }

func (s *sealer) person(c client) []byte { return s.digest("client", 8, network(c.addr), c.agent) }

// network is the address of a client, or what of it stays the same for a while.
func network(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(addressBits); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// seal is kind, difficulty, expiry, a random number, host and client, with a mac of all that.
func (s *sealer) seal(kind byte, difficulty int, expires time.Time, c client) string {
	b := make([]byte, 0, sealedSize)
	b = append(b, kind, byte(difficulty))
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	b = append(b, make([]byte, 8)...)
	rand.Read(b[len(b)-8:]) // never fails (crypto/rand)
	b = append(b, s.host(c)...)
	b = append(b, s.person(c)...)
	b = append(b, s.digest("mac", 16, string(b))...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// open says what a sealed text is to a client now, and its difficulty. Whatever somebody sends costs at most three hashes.
func (s *sealer) open(kind byte, text string, c client, now time.Time) (state string, difficulty int) {
	if len(text) != base64.RawURLEncoding.EncodedLen(sealedSize) {
		return Invalid, 0
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || b[0] != kind {
		return Invalid, 0
	}
	body := b[:len(b)-16]
	if !hmac.Equal(b[len(b)-16:], s.digest("mac", 16, string(body))) {
		return Invalid, 0
	}
	switch {
	case !hmac.Equal(body[18:26], s.host(c)):
		return DomainMismatch, 0
	case !hmac.Equal(body[26:34], s.person(c)):
		return Invalid, 0
	case now.Unix() >= int64(binary.BigEndian.Uint64(body[2:10])):
		return Expired, 0
	}
	return Accepted, int(b[1])
}

// solved reports whether numbers are the work for a seed: for each piece, one whose hash with the seed's begins with so many
// zero bits.
func solved(seed string, difficulty int, numbers []uint64) bool {
	if len(numbers) != puzzles {
		return false
	}
	sum := sha256.Sum256([]byte(seed))
	prefix := fmt.Sprintf("%x", sum[:16])
	for i, n := range numbers {
		piece := sha256.Sum256([]byte(prefix + "." + strconv.Itoa(i) + "." + strconv.FormatUint(n, 10)))
		if bits.LeadingZeros32(binary.BigEndian.Uint32(piece[:4])) < difficulty-puzzleBits {
			return false
		}
	}
	return true
}
