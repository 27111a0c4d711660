package headers

import (
	"bytes"
	"hash/maphash"
	"slices"
	"sync"
	"time"
	"unique"

	"gatehouse/authn/identity"
)

const (
	// reuse is how long one signature serves a session. Of its 120 seconds at least 90 are left
	// then, more than any verifier's clock or queue asks for, and signing costs a request a
	// thousandth.
	reuse = 30 * time.Second
	// clockSkew is how far before a signature's own time it may be used: requests that read the
	// clock at the same moment reach the cache in any order.
	clockSkew = time.Second
	// maxSignatures bounds the bytes that the cache keeps alive: about 8,000 sessions within 30
	// seconds. Beyond it the oldest are signed again.
	maxSignatures = 32 << 20
	// signatureOverhead is what an entry holds beside its claims and tokens.
	signatureOverhead = 1024
)

// signatures is a bounded cache from session and route to what was signed for them. Nothing is shared
// between two identities: a hit needs equal claims, issuer, client and tokens, not only an equal session.
// It is safe for concurrent use.
type signatures struct {
	seed  maphash.Seed
	limit int

	mu      sync.RWMutex
	entries map[signatureKey]*signature
	queue   []*signature // in order of insertion, which is that of expiry; the live ones begin at head
	head    int
	size    int
}

type signatureKey struct {
	profile unique.Handle[string] // of the routes that say the same: no other gets what was signed for them
	session string
	bearer  uint64 // of the access token, for identities without a session
}

// A signature is the headers that were made for one identity. Once once has run they do not change.
type signature struct {
	key    signatureKey
	id     *identity.Identity
	at     time.Time
	size   int
	once   sync.Once
	fields []field
	err    error
}

func newSignatures(limit int) *signatures {
	return &signatures{seed: maphash.MakeSeed(), limit: limit, entries: make(map[signatureKey]*signature)}
}

// get returns the entry for the identity at now on routes of this profile, a new one when none can be
// used. The caller runs its once: everybody who asks meanwhile waits for the same signature.
func (c *signatures) get(profile unique.Handle[string], id *identity.Identity, now time.Time) *signature {
	key := signatureKey{profile: profile, session: id.SessionID}
	if key.session == "" {
		key.bearer = maphash.String(c.seed, id.AccessToken) ^ maphash.Bytes(c.seed, id.Claims)
	}
	c.mu.RLock()
	entry := c.entries[key]
	c.mu.RUnlock()
	if entry.serves(id, now) {
		return entry
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry := c.entries[key]; entry.serves(id, now) {
		return entry
	}
	entry = &signature{key: key, id: id, at: now, size: 3*len(id.Claims) + len(id.AccessToken) + signatureOverhead}
	c.evictLocked(now, entry.size)
	c.entries[key] = entry
	c.queue = append(c.queue, entry)
	c.size += entry.size
	return entry
}

// serves reports whether the entry may be used for the identity at now.
func (s *signature) serves(id *identity.Identity, now time.Time) bool {
	if s == nil {
		return false
	}
	age := now.Sub(s.at)
	return age < reuse && age > -clockSkew && (s.id == id || sameIdentity(s.id, id))
}

// forget removes an entry that could not be signed, so that the next request tries again, and so
// that failures do not crowd out signatures.
func (c *signatures) forget(entry *signature) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[entry.key] == entry {
		delete(c.entries, entry.key)
	}
	if last := len(c.queue) - 1; last >= c.head && c.queue[last] == entry {
		c.queue[last] = nil
		c.queue = c.queue[:last]
		c.size -= entry.size
	}
}

// evictLocked drops what has expired, and the oldest until size more bytes fit.
func (c *signatures) evictLocked(now time.Time, size int) {
	for c.head < len(c.queue) {
		oldest := c.queue[c.head]
		if now.Sub(oldest.at) < reuse && c.size+size <= c.limit {
			break
		}
		if c.entries[oldest.key] == oldest {
			delete(c.entries, oldest.key)
		}
		c.size -= oldest.size
		c.queue[c.head] = nil
		c.head++
	}
	if c.head > len(c.queue)/2 {
		c.queue = slices.Delete(c.queue, 0, c.head)
		c.head = 0
	}
}

// sameIdentity reports whether everything that goes into the headers is equal.
func sameIdentity(a, b *identity.Identity) bool {
	return a.SessionID == b.SessionID && a.Subject == b.Subject &&
		a.Issuer == b.Issuer && a.ClientID == b.ClientID &&
		a.AccessToken == b.AccessToken && a.Username == b.Username &&
		a.Email == b.Email && a.EmailVerified == b.EmailVerified &&
		slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Scopes, b.Scopes) &&
		bytes.Equal(a.Claims, b.Claims)
}
