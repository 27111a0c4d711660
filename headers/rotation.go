package headers

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// minRotate keeps a key published for a day after its last signature, so that whoever looks into
	// yesterday's tokens still finds it, and leaves room for KeyCacheTime and clocks that differ.
	minRotate = 24 * time.Hour
	maxRotate = 366 * 24 * time.Hour
)

// rotatingKeys derives a key for every period of time from a secret, so that all instances that share
// the secret agree without a word. The keys of the periods before and after are published too: a
// verifier with a cached set, or an instance whose clock is off by less than a period, meets no
// key that it does not know.
type rotatingKeys struct {
	secret []byte
	period int64 // in seconds
	last   atomic.Pointer[periodKeys]
}

// periodKeys is the set of one period.
type periodKeys struct {
	number int64 // of the period, counted from 1970
	set    *KeySet
}

func newRotatingKeys(secret []byte, period time.Duration) (*rotatingKeys, error) {
	k := &rotatingKeys{secret: secret, period: int64(period / time.Second)}
	_, err := k.KeysAt(time.Unix(0, 0)) // says now what is wrong with the secret
	return k, err
}

// KeysAt implements KeySource. Requests that come first in a period derive the set at the same time,
// and equally.
func (k *rotatingKeys) KeysAt(now time.Time) (*KeySet, error) {
	number := now.Unix() / k.period
	if last := k.last.Load(); last != nil && last.number == number {
		return last.set, nil
	}
	var keys []*signingKey
	for _, n := range [...]int64{number, number + 1, number - 1} {
		key, err := k.key(n)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	set, err := newKeySet(keys)
	if err != nil {
		return nil, err
	}
	k.last.Store(&periodKeys{number, set})
	return set, nil
}

// key derives the key of one period.
func (k *rotatingKeys) key(number int64) (*signingKey, error) {
	private, err := deriveKey(k.secret, fmt.Sprintf("every %d s, %d, ", k.period, number))
	if err != nil {
		return nil, err
	}
	key, err := newSigningKey(private)
	if err != nil {
		return nil, err
	}
	key.origin = "derived from the secret, " + periodWords(number, k.period)
	return key, nil
}

// periodWords says when a period of so many seconds is.
func periodWords(number, period int64) string {
	from := func(n int64) string { return time.Unix(n*period, 0).UTC().Format("2006-01-02T15:04:05Z") }
	return "for " + from(number) + " to " + from(number+1)
}

// rotatePeriod is the length of AssertionConfig.Rotate; 0 when it is not one that can be taken.
func rotatePeriod(rotate string) time.Duration {
	period, err := time.ParseDuration(rotate)
	if err != nil || period < minRotate || period > maxRotate || period%time.Second != 0 {
		return 0
	}
	return period
}
