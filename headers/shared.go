package headers

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

const (
	// maxSharedKeys bounds what a fleet publishes: several instances may have made a key for one time, and
	// each may have one of its own.
	maxSharedKeys = 64
	// maxSharedEntry is longer than any entry that is sealed here.
	maxSharedEntry = 256
)

// SharedKeys are keys that the instances of a fleet tell each other of. What they say of them is sealed with
// the secret: whoever can read the place where they leave it learns no key, and whoever can write there adds
// none. They are safe for concurrent use.
type SharedKeys interface {
	KeySource
	// Offer calls put with each entry that the others are to have, under a name that no other entry has, and
	// until when.
	Offer(now time.Time, put func(name string, entry []byte, until time.Time))
	// Learn takes the entries of all instances, those of this one among them, and returns how many of them
	// are damaged. Those of instances with another secret are left alone.
	Learn(now time.Time, entries [][]byte) (damaged int)
}

// Shared says whether the keys are those of a fleet, which NewSharedKeys makes.
func (c AssertionConfig) Shared() bool { return c.Source == sourceFleet || c.Source == sourceInstance }

// NewSharedKeys returns the keys of a fleet that cfg asks for. They sign without having been told of others;
// Learn comes first where there may be some.
func NewSharedKeys(cfg AssertionConfig, secret []byte) (SharedKeys, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("assertion: seal the keys of the fleet: want a secret of at least %d bytes, got %d", minSecret, len(secret))
	}
	box, err := newEntryBox(secret)
	if err != nil {
		return nil, fmt.Errorf("assertion: %w", err)
	}
	switch cfg.Source {
	case sourceFleet:
		return newFleetKeys(box, cfg.Rotate), nil
	case sourceInstance:
		return newInstanceKeys(box, secret)
	}
	return nil, fmt.Errorf("assertion: source: want fleet or instance, got %q", cfg.Source)
}

// An entryBox seals what instances tell each other.
type entryBox struct {
	aead cipher.AEAD
	mark string // what entries of this secret begin with
}

func newEntryBox(secret []byte) (entryBox, error) {
	const markSize, keySize = 8, 32
	derived, err := hkdf.Key(sha256.New, secret, nil, "gatehouse keys of a fleet AES-256-GCM v1", markSize+keySize)
	if err != nil {
		return entryBox{}, fmt.Errorf("derive the key of the fleet: %w", err)
	}
	block, err := aes.NewCipher(derived[markSize:])
	if err != nil {
		return entryBox{}, fmt.Errorf("derive the key of the fleet: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return entryBox{aead, string(derived[:markSize])}, err
}

// The first byte of what is sealed says what it is about.
const (
	entryFleet    = 'f'
	entryInstance = 'i'
)

var errEntry = errors.New("not an entry of this fleet")

func (b entryBox) seal(kind byte, content []byte) []byte {
	return b.aead.Seal([]byte(b.mark), nil, append([]byte{kind}, content...), nil)
}

// open returns what an entry of this kind says, or nil for one of another kind or of another secret, as there
// are while a secret is replaced on one instance after the other.
func (b entryBox) open(kind byte, entry []byte) (content []byte, err error) {
	sealed, ours := bytes.CutPrefix(entry, []byte(b.mark))
	if !ours {
		return nil, nil
	}
	if len(entry) > maxSharedEntry {
		return nil, errEntry
	}
	plain, err := b.aead.Open(nil, nil, sealed, nil)
	switch {
	case err != nil || len(plain) == 0:
		return nil, errEntry
	case plain[0] != kind:
		return nil, nil
	}
	return plain[1:], nil
}

// randomBytes are bytes that nobody else has.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b
}
