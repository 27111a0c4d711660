package headers

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// instanceRenew is how often an instance says that it is still there.
	instanceRenew = time.Minute
	// instanceLapse is how long an instance may not have seen its own entry and still believe that the others
	// have it.
	instanceLapse = time.Minute
	// instanceKeep is how long the key of an instance is published after its last word.
	instanceKeep = 3 * KeyCacheTime
	// instanceIDSize keeps ids of instances that start at once apart.
	instanceIDSize = 16
)

// instanceKeys are keys of which each instance derives one of its own from the secret and a name that it gives
// itself when it starts. The instances tell each other their names, so that each publishes the keys of all. An
// instance signs with its own once the others have had it for KeyCacheTime without a gap, and until then with
// the one that is derived from the secret alone, which all publish at any time.
type instanceKeys struct {
	box         entryBox
	secret      []byte
	id          string
	own, common *signingKey

	mu        sync.Mutex
	entry     []byte    // what is offered
	sealed    time.Time // when
	since     time.Time // since when the others have had the own key
	confirmed time.Time // when it was last seen among theirs
	others    map[string]otherInstance

	state atomic.Pointer[instanceState]
}

// An otherInstance is one that has told its name.
type otherInstance struct {
	key  *signingKey
	seen int64 // its last word, in seconds
}

// An instanceState is what requests read.
type instanceState struct {
	ownFrom, ownUntil time.Time // when the own key signs
	common, own       *KeySet
}

func newInstanceKeys(box entryBox, secret []byte) (*instanceKeys, error) {
	k := &instanceKeys{box: box, secret: secret, id: string(randomBytes(instanceIDSize)), others: map[string]otherInstance{}}
	var err error
	if k.common, err = k.derive("", "derived from the secret"); err != nil {
		return nil, err
	}
	if k.own, err = k.deriveOf(k.id); err != nil {
		return nil, err
	}
	k.own.origin = "of this instance"
	return k, k.publishLocked()
}

func (k *instanceKeys) derive(label, origin string) (*signingKey, error) {
	private, err := deriveKey(k.secret, label)
	if err != nil {
		return nil, err
	}
	key, err := newSigningKey(private)
	if err != nil {
		return nil, err
	}
	key.origin = origin
	return key, nil
}

func (k *instanceKeys) deriveOf(id string) (*signingKey, error) {
	name := hex.EncodeToString([]byte(id))
	return k.derive("instance "+name+", ", "of the instance "+name)
}

// KeysAt implements KeySource.
func (k *instanceKeys) KeysAt(now time.Time) (*KeySet, error) {
	state := k.state.Load()
	if !now.Before(state.ownFrom) && now.Before(state.ownUntil) {
		return state.own, nil
	}
	return state.common, nil
}

// Offer implements SharedKeys.
func (k *instanceKeys) Offer(now time.Time, put func(name string, entry []byte, until time.Time)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if age := now.Sub(k.sealed); k.entry == nil || age >= instanceRenew || age < 0 {
		k.entry, k.sealed = k.box.seal(entryInstance, binary.BigEndian.AppendUint64([]byte(k.id), uint64(now.Unix()))), now
	}
	put(hex.EncodeToString([]byte(k.id)), k.entry, k.sealed.Add(instanceKeep))
}

// Learn implements SharedKeys.
func (k *instanceKeys) Learn(now time.Time, entries [][]byte) (damaged int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, entry := range entries {
		content, err := k.box.open(entryInstance, entry)
		if err == nil && content != nil {
			err = k.learnLocked(now, content)
		}
		if err != nil {
			damaged++
		}
	}
	over := now.Add(-instanceKeep).Unix()
	maps.DeleteFunc(k.others, func(_ string, o otherInstance) bool { return o.seen <= over })
	if err := k.publishLocked(); err != nil { // a key that is there twice: not with ids that differ
		damaged++
	}
	return damaged
}

func (k *instanceKeys) learnLocked(now time.Time, content []byte) error {
	if len(content) != instanceIDSize+8 {
		return errEntry
	}
	id, seen := string(content[:instanceIDSize]), int64(binary.BigEndian.Uint64(content[instanceIDSize:]))
	if id == k.id {
		k.confirmLocked(now, time.Unix(seen, 0))
		return nil
	}
	if seen <= now.Add(-instanceKeep).Unix() {
		return nil
	}
	other, ok := k.others[id]
	if !ok {
		key, err := k.deriveOf(id)
		if err != nil {
			return err
		}
		other.key = key
	}
	other.seen = max(other.seen, seen)
	k.others[id] = other
	return nil
}

// confirmLocked takes note that the others can see the own key. After a gap one of them may have started
// without it.
func (k *instanceKeys) confirmLocked(now, seen time.Time) {
	if now.Sub(seen) > instanceRenew+instanceLapse {
		return // an older copy of what the others see
	}
	if k.since.IsZero() || now.Sub(k.confirmed) > instanceLapse || now.Before(k.confirmed) {
		k.since = now
	}
	k.confirmed = now
}

// publishLocked makes what requests read.
func (k *instanceKeys) publishLocked() error {
	others := slices.SortedFunc(maps.Values(k.others), func(a, b otherInstance) int {
		return cmp.Or(cmp.Compare(b.seen, a.seen), cmp.Compare(a.key.kid, b.key.kid))
	})
	state := &instanceState{}
	if !k.since.IsZero() {
		// An instance that looks for news as rarely as instanceLapse allows has it for KeyCacheTime then.
		state.ownFrom, state.ownUntil = k.since.Add(KeyCacheTime+instanceLapse), k.confirmed.Add(instanceLapse)
	}
	common, own := []*signingKey{k.common, k.own}, []*signingKey{k.own, k.common}
	for _, other := range others[:min(len(others), maxSharedKeys-2)] {
		common, own = append(common, other.key), append(own, other.key)
	}
	var err error
	if state.common, err = newKeySet(common); err != nil {
		return err
	}
	if state.own, err = newKeySet(own); err != nil {
		return err
	}
	k.state.Store(state)
	return nil
}
