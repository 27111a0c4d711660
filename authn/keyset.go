package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// refetchInterval is the least time between two fetches of the keys, so that tokens with
	// invented key ids cost the provider nothing.
	refetchInterval = 10 * time.Second
	// keyLife is when the keys are fetched again although every id is known, so that a key that
	// the provider has withdrawn stops working here too.
	keyLife = time.Hour
	// staleInterval is the least time between two such fetches while they fail: each holds up the
	// request that makes it, and there is nothing that it waits for.
	staleInterval = time.Minute
	// maxKeyAge is how long keys stay good that the provider has not shown again: an outage passes
	// unnoticed, and keys that somebody keeps us from seeing withdrawn do not work for ever.
	maxKeyAge  = 7 * 24 * time.Hour
	maxKeys    = 100
	minRSABits = 2048
)

// keySet is the provider's public keys. It is an oidc.KeySet. It is safe for concurrent use, makes
// at most one request at a time, and keeps what it has when the provider is away.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time
	algs   []jose.SignatureAlgorithm

	mu      sync.Mutex
	keys    []publicKey
	sum     [sha256.Size]byte // of the set as it was sent
	tried   time.Time         // of the last fetch
	failed  error             // of the last fetch; nil when it succeeded
	flight  chan struct{}     // closed when the fetch under way is over; nil when none is
	fetched atomic.Int64      // of the last fetch that succeeded, as Unix nanoseconds
	fetches atomic.Uint64     // counts those that are over
	// generation counts the sets that differ. What an earlier one has verified is verified again.
	generation atomic.Uint64
}

// A keysError says that the keys cannot be had, so that it is open whether a token is good.
type keysError struct {
	reason string // as an Application Load Balancer calls it
	err    error
}

func (e *keysError) Error() string { return e.err.Error() }
func (e *keysError) Unwrap() error { return e.err }

type publicKey struct {
	id  string
	alg string // "" when the set does not say
	key any
}

// signs says whether the key is of the type that alg takes (RFC 7518 section 3.1, RFC 8037 section 3.1),
// and for it alone if the set says so. Where a token names no key, only those are in question.
func (k publicKey) signs(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return alg == "ES256"
		case elliptic.P384():
			return alg == "ES384"
		case elliptic.P521():
			return alg == "ES512"
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// VerifySignature returns the payload of a compact JWS that one of the provider's keys has signed
// with one of the allowed algorithms.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, k.algs)
	if err != nil {
		return nil, errors.New("malformed token")
	}
	head, err := parseHeader(jwt)
	if err != nil {
		return nil, err
	}
	candidates, err := k.find(ctx, head)
	if err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if payload, err := jws.Verify(c.key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("signature does not verify")
}

// find returns the keys that may have signed a token with this header. It fetches the set again
// when the id is unknown, within the interval.
func (k *keySet) find(ctx context.Context, head header) ([]publicKey, error) {
	found, stale := k.lookup(head)
	if len(found) > 0 && !stale {
		return found, nil
	}
	waitErr := k.refetch(ctx, len(found) == 0)
	if again, _ := k.lookup(head); len(again) > 0 {
		return again, nil
	}
	if waitErr == nil {
		waitErr = k.failure()
	}
	if waitErr != nil {
		return nil, fmt.Errorf("key %q is unknown, and %w", clip(head.kid, 40), waitErr)
	}
	return nil, fmt.Errorf("%w: %q", errUnknownKey, clip(head.kid, 40))
}

var errUnknownKey = errors.New("the key is unknown")

// doubt returns a keysError when it is open whether a token of the provider's own is good whose signature has
// not been verified: its key is unknown, and the set could not be had, or might not be asked for again since
// the fetches were so many. It returns nil for a token that is known to be bad.
func (k *keySet) doubt(ctx context.Context, raw string, fetches uint64) *keysError {
	_, err := k.VerifySignature(ctx, raw)
	if away, ok := errors.AsType[*keysError](err); ok {
		return away
	}
	if errors.Is(err, errUnknownKey) && k.fetches.Load() == fetches {
		return &keysError{ReasonKeysFailed, err}
	}
	return nil
}

// failure returns why the last fetch failed, or nil.
func (k *keySet) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// age is how long ago the provider has shown its keys.
func (k *keySet) age() time.Duration { return k.now().Sub(time.Unix(0, k.fetched.Load())) }

// confirm fetches the keys again when that is due, and says whether the set is still that of this
// generation: if so, what it has verified needs no second look. It costs nothing otherwise.
func (k *keySet) confirm(ctx context.Context, generation uint64) bool {
	if k.age() > keyLife {
		_ = k.refetch(ctx, false) // an outage is told where it matters
	}
	return k.generation.Load() == generation && k.age() <= maxKeyAge
}

func (k *keySet) lookup(head header) (found []publicKey, stale bool) {
	age := k.age()
	if age > maxKeyAge {
		return nil, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.keys {
		if c.signs(head.alg) && (!head.hasKid || c.id == head.kid) {
			found = append(found, c)
		}
	}
	if !head.hasKid && len(found) > 1 {
		found = nil // which one is anybody's guess
	}
	return found, age > keyLife
}

// first gets the set before there is anybody to ask for it. It does not count as one of the fetches that
// must be apart: a provider may change its keys right after.
func (k *keySet) first(ctx context.Context) error {
	k.mu.Lock()
	err := k.fetchLocked(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried = time.Time{}
	return err
}

// refetch gets the set unless that was done a moment ago. With wait it waits for a fetch that
// somebody else has under way.
func (k *keySet) refetch(ctx context.Context, wait bool) error {
	k.mu.Lock()
	if flight := k.flight; flight != nil {
		k.mu.Unlock()
		if !wait {
			return nil
		}
		select {
		case <-flight:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	interval := refetchInterval
	if !wait && k.failed != nil {
		interval = staleInterval
	}
	if since := k.now().Sub(k.tried); since >= 0 && since < interval {
		k.mu.Unlock()
		return nil
	}
	return k.fetchLocked(ctx)
}

// fetchLocked is called with the lock and returns without it. The fetch is not tied to the request
// that happened to need it, since others wait for it.
func (k *keySet) fetchLocked(ctx context.Context) error {
	flight := make(chan struct{})
	k.flight, k.tried = flight, k.now()
	k.mu.Unlock()

	var keys []publicKey
	var sum [sha256.Size]byte
	err := errors.New("fetching keys: interrupted")
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil {
			if k.fetched.Swap(k.now().UnixNano()) == 0 || sum != k.sum {
				k.keys, k.sum = keys, sum
				k.generation.Add(1)
			}
		}
		k.failed, k.flight = err, nil
		k.fetches.Add(1)
		close(flight)
	}()
	keys, sum, err = k.fetch(context.WithoutCancel(ctx))
	return err
}

func (k *keySet) fetch(ctx context.Context) (keys []publicKey, sum [sha256.Size]byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, sum, err
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	a, err := do(k.client, r)
	if err != nil {
		return nil, sum, &keysError{fetchReason(err), fmt.Errorf("fetching keys: %w", err)}
	}
	if a.status != http.StatusOK {
		return nil, sum, &keysError{ReasonKeysFailed, fmt.Errorf("fetching keys: %s: status %d", k.url, a.status)}
	}
	if keys, err = parseKeys(a.body); err != nil {
		return nil, sum, &keysError{ReasonKeysInvalid, fmt.Errorf("fetching keys: %s: %w", k.url, err)}
	}
	return keys, sha256.Sum256(a.body), nil
}

func fetchReason(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case tooLarge(err):
		return ReasonKeysTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return ReasonKeysTimeout
	}
	return ReasonKeysFailed
}

// parseKeys reads a JWK set (RFC 7517). Keys that are not for verifying signatures, not public, too
// weak, or of a kind we do not know are left out, as section 5 says.
func parseKeys(b []byte) ([]publicKey, error) {
	set, err := parseObject(b)
	if err != nil {
		return nil, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(set["keys"], &raw); err != nil {
		return nil, errors.New("no list of keys")
	}
	if len(raw) > maxKeys {
		return nil, fmt.Errorf("want at most %d keys, got %d", maxKeys, len(raw))
	}
	var keys []publicKey
	for _, r := range raw {
		if key, ok := parseKey(r); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key that can verify a signature")
	}
	return keys, nil
}

func parseKey(raw json.RawMessage) (publicKey, bool) {
	members, err := parseObject(raw)
	if err != nil {
		return publicKey{}, false
	}
	if use, ok := members.text("use"); members.has("use") && (!ok || use != "sig") {
		return publicKey{}, false
	}
	// go-jose does not look at key_ops (RFC 7517 section 4.3).
	if ops, err := members.list("key_ops"); err != nil || members.has("key_ops") && !slices.Contains(ops, "verify") {
		return publicKey{}, false
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil || !jwk.Valid() || !jwk.IsPublic() {
		return publicKey{}, false
	}
	switch key := jwk.Key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return publicKey{}, false
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return publicKey{}, false
	}
	return publicKey{id: jwk.KeyID, alg: jwk.Algorithm, key: jwk.Key}, true
}

// header is what matters of a JOSE header.
type header struct {
	alg    string
	kid    string
	hasKid bool
	typ    string
}

// parseHeader reads the header of a compact JWS strictly. It refuses what changes the meaning of
// the rest: "crit" in any form (RFC 7515 section 4.1.11; we understand no extension), "b64"
// (RFC 7797) and "zip".
func parseHeader(jwt string) (header, error) {
	segment, _, _ := strings.Cut(jwt, ".")
	b, err := decodeSegment(segment)
	if err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	members, err := parseObject(b)
	if err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if members.has(name) {
			return header{}, fmt.Errorf("header: %q is not supported", name)
		}
	}
	var h header
	var ok bool
	if h.alg, ok = members.text("alg"); !ok {
		return header{}, errors.New("header: no alg")
	}
	if h.kid, ok = members.text("kid"); !ok && members.has("kid") {
		return header{}, errors.New("header: kid is not a string")
	}
	h.hasKid = ok
	if h.typ, ok = members.text("typ"); !ok && members.has("typ") {
		return header{}, errors.New("header: typ is not a string")
	}
	h.typ = strings.TrimPrefix(strings.ToLower(h.typ), "application/")
	return h, nil
}
