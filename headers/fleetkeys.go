package headers

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// defaultFleetRotate is how long a key of the fleet signs: nobody has to be asked before it is replaced.
const defaultFleetRotate = 30 * 24 * time.Hour

// fleetKeys are random keys that a fleet has in common, one for each period of time. Whichever instance finds
// that there is none for this period or the next makes one. Two may do so at once, or apart while they do not
// hear of each other: then both keys are published, and the one that was made first signs.
type fleetKeys struct {
	box    entryBox
	period int64 // in seconds

	mu   sync.Mutex
	held []fleetKey // in the order of compareFleetKeys

	last atomic.Pointer[periodKeys]
}

// A fleetKey is one key of one period.
type fleetKey struct {
	number int64 // of the period, counted from 1970
	made   int64 // in seconds
	key    *signingKey
	entry  []byte
}

// compareFleetKeys orders keys so that the first of a period is the one that signs.
func compareFleetKeys(a, b fleetKey) int {
	return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.made, b.made), cmp.Compare(a.key.kid, b.key.kid))
}

func newFleetKeys(box entryBox, rotate string) *fleetKeys {
	period := cmp.Or(rotatePeriod(rotate), defaultFleetRotate)
	return &fleetKeys{box: box, period: int64(period / time.Second)}
}

// KeysAt implements KeySource. An instance that has heard of no key for this time makes one.
func (k *fleetKeys) KeysAt(now time.Time) (*KeySet, error) {
	number := now.Unix() / k.period
	if last := k.last.Load(); last != nil && last.number == number {
		return last.set, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ensureLocked(number, now); err != nil {
		return nil, err
	}
	set, err := newKeySet(k.publishedLocked(number))
	if err != nil {
		return nil, err
	}
	k.last.Store(&periodKeys{number, set})
	return set, nil
}

// Offer implements SharedKeys. It makes the next key a period before it signs.
func (k *fleetKeys) Offer(now time.Time, put func(name string, entry []byte, until time.Time)) {
	number := now.Unix() / k.period
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range [...]int64{number, number + 1} {
		if k.ensureLocked(n, now) != nil {
			return // KeysAt says why
		}
	}
	for _, held := range k.held {
		put(held.key.kid, held.entry, time.Unix((held.number+2)*k.period, 0))
	}
}

// Learn implements SharedKeys.
func (k *fleetKeys) Learn(now time.Time, entries [][]byte) (damaged int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	number := now.Unix() / k.period
	for _, entry := range entries {
		content, err := k.box.open(entryFleet, entry)
		if err == nil && content != nil {
			err = k.learnLocked(number, entry, content)
		}
		if err != nil {
			damaged++
		}
	}
	k.held = slices.DeleteFunc(k.held, func(held fleetKey) bool { return !nearPeriod(held.number, number) })
	return damaged
}

// nearPeriod says whether a key of a period is of use in another: the one before, for tokens that it signed,
// the one after, and one more for clocks that differ.
func nearPeriod(n, now int64) bool { return now-1 <= n && n <= now+2 }

// learnLocked takes the key of one entry, if it is new and of this time.
func (k *fleetKeys) learnLocked(now int64, entry, content []byte) error {
	if len(content) != 3*8+32 {
		return errEntry
	}
	period, number, made := int64(binary.BigEndian.Uint64(content)), int64(binary.BigEndian.Uint64(content[8:])), int64(binary.BigEndian.Uint64(content[16:]))
	if period != k.period || !nearPeriod(number, now) || slices.ContainsFunc(k.held, func(h fleetKey) bool { return bytes.Equal(h.entry, entry) }) {
		return nil // of before the file changed, say
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), content[24:])
	if err != nil {
		return errEntry
	}
	return k.holdLocked(number, made, private, entry)
}

// ensureLocked makes the key of a period that has none.
func (k *fleetKeys) ensureLocked(number int64, now time.Time) error {
	if slices.ContainsFunc(k.held, func(h fleetKey) bool { return h.number == number }) {
		return nil
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	scalar, err := private.Bytes()
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	var content []byte
	for _, n := range [...]int64{k.period, number, now.Unix()} {
		content = binary.BigEndian.AppendUint64(content, uint64(n))
	}
	return k.holdLocked(number, now.Unix(), private, k.box.seal(entryFleet, append(content, scalar...)))
}

func (k *fleetKeys) holdLocked(number, made int64, private *ecdsa.PrivateKey, entry []byte) error {
	key, err := newSigningKey(private)
	if err != nil {
		return err
	}
	key.origin = "of the fleet, " + periodWords(number, k.period)
	held := fleetKey{number, made, key, entry}
	at, there := slices.BinarySearchFunc(k.held, held, compareFleetKeys)
	if there {
		return nil
	}
	k.held = slices.Insert(k.held, at, held)
	k.last.Store(nil)
	return nil
}

// publishedLocked returns the keys of a period, the one that signs first.
func (k *fleetKeys) publishedLocked(number int64) []*signingKey {
	var first, rest []*signingKey
	for _, held := range k.held {
		switch {
		case !nearPeriod(held.number, number):
		case held.number == number && first == nil:
			first = append(first, held.key)
		default:
			rest = append(rest, held.key)
		}
	}
	return append(first, rest[:min(len(rest), maxSharedKeys-1)]...)
}
