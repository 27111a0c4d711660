package headers

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"
)

// A KeySource has the keys of an assertion: those that a file names, those that are derived from a
// secret, or those that the instances of a fleet keep in a store.
type KeySource interface {
	// KeysAt returns the keys that count at now. Requests wait for it, so it answers from memory. It
	// is safe for concurrent use. An error keeps the identity from being signed and the request from
	// being sent.
	//
	// A key has to be in the set for KeyCacheTime before it signs for the first time, and for as long
	// after it signed for the last time: verifiers may use a set that they fetched so long ago.
	KeysAt(now time.Time) (*KeySet, error)
}

// KeyCacheTime is how long verifiers may use the keys that they have fetched.
const KeyCacheTime = time.Hour

// A KeySet is the keys that are published at one time, of which the first signs. It is immutable and
// safe for concurrent use.
type KeySet struct {
	keys      []*signingKey
	documents map[string]document // by path
}

// NewKeySet returns the set of a key that signs and of others that are published beside it: the ones
// that signed before, and the ones that will. All are of P-256, and none is there twice.
func NewKeySet(signs *ecdsa.PrivateKey, others ...*ecdsa.PublicKey) (*KeySet, error) {
	first, err := newSigningKey(signs)
	if err != nil {
		return nil, err
	}
	keys := []*signingKey{first}
	for _, public := range others {
		key, err := newPublicKey(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return newKeySet(keys)
}

func newKeySet(keys []*signingKey) (*KeySet, error) {
	switch {
	case len(keys) == 0 || keys[0].private == nil:
		return nil, errors.New("want a private key first, which signs")
	case len(keys) > maxSharedKeys:
		return nil, fmt.Errorf("want at most %d keys, got %d", maxSharedKeys, len(keys))
	}
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if seen[key.kid] {
			return nil, fmt.Errorf("the key %s is there twice", key.kid)
		}
		seen[key.kid] = true
	}
	return &KeySet{keys: keys, documents: documents(keys)}, nil
}

// A KeyInfo is what people are told about one key of a set.
type KeyInfo struct {
	ID     string // the kid
	Signs  bool
	Origin string // where it is from; "" when its source does not say
}

// List returns the keys of the set, the one that signs first.
func (s *KeySet) List() []KeyInfo {
	list := make([]KeyInfo, len(s.keys))
	for i, key := range s.keys {
		list[i] = KeyInfo{ID: key.kid, Signs: i == 0, Origin: key.origin}
	}
	return list
}

// newKeySource returns the keys that cfg names, or the ones derived from secret when it names none.
func newKeySource(cfg AssertionConfig, secret []byte) (KeySource, error) {
	if cfg.Shared() {
		return nil, errors.New("source: the keys are those of a fleet, which only its instances know")
	}
	if len(cfg.Keys) > 0 {
		return loadKeys(cfg.Keys)
	}
	if cfg.Rotate != "" {
		return newRotatingKeys(secret, rotatePeriod(cfg.Rotate))
	}
	private, err := deriveKey(secret, "")
	if err != nil {
		return nil, err
	}
	key, err := newSigningKey(private)
	if err != nil {
		return nil, err
	}
	key.origin = "derived from the secret"
	return newFixedKeys([]*signingKey{key})
}

// fixedKeys are the same at any time.
type fixedKeys struct{ set *KeySet }

func newFixedKeys(keys []*signingKey) (KeySource, error) {
	set, err := newKeySet(keys)
	return fixedKeys{set}, err
}

func (k fixedKeys) KeysAt(time.Time) (*KeySet, error) { return k.set, nil }

// loadKeys reads the entries of AssertionConfig.Keys. It reports everything that is wrong with them.
func loadKeys(sources []string) (KeySource, error) {
	var keys []*signingKey
	var problems []error
	seen := make(map[string]int)
	for i, source := range sources {
		found, err := readKeys(source)
		if err != nil {
			problems = append(problems, fmt.Errorf("keys[%d]: %w", i, err))
			continue
		}
		for _, key := range found {
			if first, ok := seen[key.kid]; ok {
				problems = append(problems, fmt.Errorf("keys[%d]: the same key as in keys[%d]", i, first))
				continue
			}
			seen[key.kid] = i
			key.origin = fmt.Sprintf("keys[%d]", i)
			if !IsInlineKey(source) {
				key.origin += " " + source
			}
			keys = append(keys, key)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if keys[0].private == nil {
		return nil, errors.New("keys[0]: want a private key first, which signs; got a public one")
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("keys: want at most %d keys, got %d", maxKeys, len(keys))
	}
	return newFixedKeys(keys)
}
