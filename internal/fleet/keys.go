package fleet

import (
	"context"
	"time"
)

const (
	// keysInterval is how often instances tell each other of their keys. A new one is told of an hour before
	// it is used.
	keysInterval = 2 * time.Second
	// maxStoredKeys bounds the entries in the store. There are a few for the whole fleet or one for each
	// start of an instance in three hours.
	maxStoredKeys = 256
	// maxKeyEntry is the length of the longest entry that is handed on.
	maxKeyEntry = 1 << 10
)

// EventKeyDamaged is an entry in the store that no instance of this fleet has sealed.
const EventKeyDamaged = "key damaged"

// Keys are what the instances of a fleet tell each other of the keys that they sign with. The store trusts no
// entry and knows no key: Keys seals what it offers, and opens what it learns.
type Keys interface {
	Offer(now time.Time, put func(name string, entry []byte, until time.Time))
	Learn(now time.Time, entries [][]byte) (damaged int)
}

// ShareKeys shares keys with the other instances from now on, in place of those before; with nil, none. It
// learns what the store has before it returns, unless the store is known not to answer.
func (s *Store) ShareKeys(keys Keys) {
	s.synced.Lock()
	defer s.synced.Unlock()
	if s.shares == keys {
		return
	}
	s.shares, s.exchanged = keys, time.Time{}
	if s.told != "down" {
		s.state(s.exchange(context.Background()))
	}
}

// exchange learns what others have told of their keys, and tells what they are to know.
func (s *Store) exchange(ctx context.Context) error {
	now := s.opts.Now()
	if age := now.Sub(s.exchanged); s.shares == nil || age >= 0 && age < keysInterval {
		return nil
	}
	if err := s.exchangeKeys(ctx, now, nil); err != nil {
		return err
	}
	var offers []any
	s.shares.Offer(now, func(name string, entry []byte, until time.Time) {
		offers = append(offers, name, entry, until.Unix())
	})
	if err := s.exchangeKeys(ctx, now, offers); err != nil {
		return err
	}
	s.exchanged = now
	return nil
}

// exchangeKeys puts offers into the store and learns what is there then.
func (s *Store) exchangeKeys(ctx context.Context, now time.Time, offers []any) error {
	answer, err := s.call(ctx, s.scripts.keys, []string{s.prefix + ":keys", s.prefix + ":keyends"},
		append([]any{now.Unix(), maxStoredKeys}, offers...)...)
	if err != nil {
		return err
	}
	entries, damaged := parseKeys(answer)
	for range damaged + s.shares.Learn(now, entries) {
		s.event(EventKeyDamaged)
	}
	return nil
}

// parseKeys reads what came from the store, which others can write to.
func parseKeys(answer []any) (entries [][]byte, damaged int) {
	for i, item := range answer {
		text, _ := item.(string)
		if i >= maxStoredKeys || text == "" || len(text) > maxKeyEntry {
			damaged++
			continue
		}
		entries = append(entries, []byte(text))
	}
	return entries, damaged
}
