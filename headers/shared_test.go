package headers

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// A board is a place where the instances of a fleet leave entries; it forgets none.
type board map[string][]byte

// round is what an instance does every few seconds.
func (b board) round(keys SharedKeys, now time.Time) (damaged int) {
	damaged = keys.Learn(now, slices.Collect(maps.Values(b)))
	keys.Offer(now, func(name string, entry []byte, until time.Time) {
		if !until.After(now) {
			panic("an entry that is over already")
		}
		b[name] = slices.Clone(entry)
	})
	return damaged + keys.Learn(now, slices.Collect(maps.Values(b)))
}

var fleetSecret = []byte(strings.Repeat("secret of a fleet. ", 3))

func newShared(t testing.TB, source string) (SharedKeys, *Assertion) {
	t.Helper()
	cfg := AssertionConfig{Source: source}
	keys, err := NewSharedKeys(cfg, fleetSecret)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAssertionFrom(cfg, keys)
	if err != nil {
		t.Fatal(err)
	}
	return keys, a
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// meets fails the test when what one signs is not published by the other, or the two publish other keys.
func meets(t *testing.T, one, other *Assertion, now time.Time) {
	t.Helper()
	if kid := kidOf(t, one, now); fetch(other, now, "/"+kid).Code != 200 {
		t.Errorf("at %v: the other instance does not publish %s, which signs", now, kid)
	}
	if got, want := sorted(fetchSet(t, one, now)), sorted(fetchSet(t, other, now)); !slices.Equal(got, want) {
		t.Errorf("at %v: sets %v and %v, want the same", now, got, want)
	}
}

// month is how long a key of the fleet signs, in seconds.
const month = int64(defaultFleetRotate / time.Second)

func TestFleetKeysAreOneForAll(t *testing.T) {
	t.Parallel()
	store := board{}
	k1, one := newShared(t, sourceFleet)
	k2, two := newShared(t, sourceFleet)
	store.round(k1, noon)
	store.round(k2, noon.Add(time.Second))
	meets(t, one, two, noon.Add(time.Minute))
	first := kidOf(t, one, noon.Add(time.Minute))
	if got := kidOf(t, two, noon.Add(time.Minute)); got != first {
		t.Errorf("two instances sign with %s and %s, want one key", first, got)
	}
	turn := time.Unix((noon.Unix()/month+1)*month, 0)
	if got := kidOf(t, one, turn.Add(-1)); got != first {
		t.Errorf("before its time is over %s signs, want %s", got, first)
	}
	second := kidOf(t, one, turn)
	if second == first || kidOf(t, two, turn) != second {
		t.Error("the next key is not another one that both have")
	}
	if !slices.Contains(fetchSet(t, two, noon.Add(time.Minute)), second) {
		t.Error("the next key was not published before it signed")
	}
	// Who comes later, and who has been there all the time, agree still.
	k3, three := newShared(t, sourceFleet)
	for _, keys := range []SharedKeys{k3, k1, k2} {
		if damaged := store.round(keys, turn); damaged > 0 {
			t.Errorf("%d entries could not be read", damaged)
		}
	}
	meets(t, three, two, turn)
	if got := fetch(three, turn, "/"+first).Code; got != 200 {
		t.Errorf("the key before, a moment after it signed: %d, want it published", got)
	}
	store.round(k3, turn.Add(defaultFleetRotate))
	if got := fetch(three, turn.Add(defaultFleetRotate), "/"+first).Code; got != 404 {
		t.Errorf("the key before, a month after it signed: %d, want 404", got)
	}
	if derived := must(NewAssertion(AssertionConfig{}, fleetSecret)); slices.Contains(fetchSet(t, three, turn), kidOf(t, derived, turn)) {
		t.Error("a key is published that the secret alone gives")
	}
}

// No verifier that has fetched a set from any instance in the last hour meets a key that it does not know.
func TestFleetKeysRotateWithOverlap(t *testing.T) {
	t.Parallel()
	store := board{}
	k1, _ := newShared(t, sourceFleet)
	k2, two := newShared(t, sourceFleet)
	signed := map[string]bool{}
	for hour := range 62 * 24 {
		now := noon.Add(time.Duration(hour) * time.Hour)
		store.round(k1, now)
		store.round(k2, now)
		fetched := fetchSet(t, two, now)
		for _, at := range []time.Duration{-time.Minute - reuse, 0, KeyCacheTime - time.Minute} {
			set, err := k1.KeysAt(now.Add(at))
			if err != nil {
				t.Fatal(err)
			}
			kid := set.List()[0].ID
			if signed[kid] = true; !slices.Contains(fetched, kid) && hour > 0 {
				t.Fatalf("the set of %v lacks %s, which signs %v later", now, kid, at)
			}
		}
	}
	if len(signed) != 3 {
		t.Errorf("%d keys signed in 62 days, want 3", len(signed))
	}
}

// Instances that could not hear of each other have made two keys for one time.
func TestInstancesApartComeTogether(t *testing.T) {
	t.Parallel()
	store := board{}
	k1, one := newShared(t, sourceFleet)
	k2, two := newShared(t, sourceFleet)
	alone := kidOf(t, one, noon)
	store.round(k1, noon) // k1 has signed before it has heard of anybody
	if got := kidOf(t, one, noon); got != alone {
		t.Errorf("signs with %s after it has been heard, want %s still", got, alone)
	}
	kidOf(t, two, noon.Add(time.Hour)) // nor has k2
	for range 2 {
		store.round(k2, noon.Add(2*time.Hour))
		store.round(k1, noon.Add(2*time.Hour))
	}
	meets(t, one, two, noon.Add(2*time.Hour))
	if got := kidOf(t, two, noon.Add(2*time.Hour)); got != alone {
		t.Errorf("the second signs with %s, want %s, which was first", got, alone)
	}
}

func TestInstanceKeysArePublishedTogether(t *testing.T) {
	t.Parallel()
	store := board{}
	k1, one := newShared(t, sourceInstance)
	k2, two := newShared(t, sourceInstance)
	common := kidOf(t, must(NewAssertion(AssertionConfig{}, fleetSecret)), noon)
	if kidOf(t, one, noon) != common {
		t.Error("an instance that nobody knows yet signs with its own key")
	}
	var kids [2]string
	for now := noon; now.Before(noon.Add(3 * time.Hour)); now = now.Add(30 * time.Second) {
		for _, keys := range []SharedKeys{k1, k2, k1} {
			store.round(keys, now)
		}
		meets(t, one, two, now.Add(5*time.Second))
		fetched := fetchSet(t, two, now)
		kids = [2]string{kidOf(t, one, now), kidOf(t, two, now)}
		if now.Sub(noon) <= KeyCacheTime && kids[0] != common {
			t.Fatalf("after %v %s signs, which some verifier may not know", now.Sub(noon), kids[0])
		}
		if !slices.Contains(fetched, kids[0]) || !slices.Contains(fetched, common) {
			t.Fatalf("after %v the set lacks what signs", now.Sub(noon))
		}
	}
	if kids[0] == kids[1] || kids[0] == common || kids[1] == common {
		t.Errorf("after three hours %v sign, want each its own", kids)
	}
	now := noon.Add(3 * time.Hour)
	k3, three := newShared(t, sourceInstance) // k1 is gone now
	store.round(k3, now)
	if fetch(three, now, "/"+kids[0]).Code != 200 {
		t.Error("the key of an instance that has just gone is not published")
	}
	now = now.Add(instanceKeep + time.Minute)
	store.round(k3, now)
	if fetch(three, now, "/"+kids[0]).Code != 404 {
		t.Error("the key of an instance that has long gone is still published")
	}
}

// While the place where instances meet is not there, others may start that do not know us.
func TestAnInstanceAloneSignsWithTheCommonKey(t *testing.T) {
	t.Parallel()
	store := board{}
	k1, one := newShared(t, sourceInstance)
	common := kidOf(t, one, noon)
	now := noon
	for range 4 * 60 {
		store.round(k1, now)
		now = now.Add(30 * time.Second)
	}
	own := kidOf(t, one, now)
	if own == common {
		t.Fatal("after two hours its own key does not sign")
	}
	now = now.Add(2 * instanceLapse)
	if got := kidOf(t, one, now); got != common {
		t.Errorf("out of touch %s signs, want the common key", got)
	}
	store.round(k1, now)
	if got := kidOf(t, one, now.Add(time.Second)); got != common {
		t.Errorf("back in touch %s signs at once, want the common key for another hour", got)
	}
	for range 4 * 60 {
		store.round(k1, now)
		now = now.Add(30 * time.Second)
	}
	if got := kidOf(t, one, now); got != own {
		t.Errorf("after two more hours %s signs, want %s", got, own)
	}
}

// Whoever can write to the store adds no key.
func TestSharedEntriesAreSealed(t *testing.T) {
	t.Parallel()
	for _, source := range []string{sourceFleet, sourceInstance} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			ours, theirs := board{}, board{}
			keys, a := newShared(t, source)
			ours.round(keys, noon)
			before := fetchSet(t, a, noon)
			foreign, err := NewSharedKeys(AssertionConfig{Source: source}, []byte(strings.Repeat("x", 40)))
			if err != nil {
				t.Fatal(err)
			}
			theirs.round(foreign, noon)
			entries := slices.Collect(maps.Values(theirs))
			if damaged := keys.Learn(noon, entries); damaged != 0 {
				t.Errorf("%d entries of another secret count as damaged, want none", damaged)
			}
			entries = append(entries, nil, []byte("{}"), make([]byte, 1<<20))
			damaged := 0
			for name, entry := range ours {
				for i := range entry {
					bent := slices.Clone(entry)
					bent[i] ^= 1
					entries = append(entries, bent)
				}
				entries = append(entries, entry[:len(entry)-1], append(slices.Clone(entry), make([]byte, maxSharedEntry)...))
				entries = append(entries, []byte(name), []byte(hex.EncodeToString(entry)))
				damaged += len(entry) - 8 + 2 // but for those that look like another secret's
				if strings.Contains(string(entry), "instance") {
					t.Error("an entry is in clear")
				}
			}
			if got := keys.Learn(noon, entries); got != damaged {
				t.Errorf("%d entries are damaged, want %d", got, damaged)
			}
			if got := fetchSet(t, a, noon); !slices.Equal(got, before) {
				t.Errorf("set %v, want %v as before", got, before)
			}
		})
	}
}

// The set stays one that verifiers can read, whatever the store has.
func TestSharedKeysAreBounded(t *testing.T) {
	t.Parallel()
	for _, source := range []string{sourceFleet, sourceInstance} {
		store := board{}
		for range 100 {
			keys, _ := newShared(t, source)
			if _, err := keys.KeysAt(noon); err != nil {
				t.Fatal(err)
			}
			keys.Offer(noon, func(name string, entry []byte, _ time.Time) { store[name] = entry })
		}
		keys, a := newShared(t, source)
		if damaged := store.round(keys, noon); damaged > 0 {
			t.Errorf("%s: %d damaged, want none", source, damaged)
		}
		set := fetchSet(t, a, noon)
		if len(set) != maxSharedKeys || !slices.Contains(set, kidOf(t, a, noon)) {
			t.Errorf("%s: %d keys, want %d with the one that signs", source, len(set), maxSharedKeys)
		}
	}
}

func FuzzSharedEntry(f *testing.F) {
	box := must(newEntryBox(fleetSecret))
	f.Add(byte(entryFleet), make([]byte, 56))
	f.Add(byte(entryInstance), make([]byte, 24))
	f.Add(byte(0), []byte{})
	f.Fuzz(func(t *testing.T, kind byte, content []byte) {
		for _, source := range []string{sourceFleet, sourceInstance} {
			keys, _ := newShared(t, source)
			keys.Learn(noon, [][]byte{box.seal(kind, content)})
			if _, err := keys.KeysAt(noon); err != nil {
				t.Errorf("%s: %v", source, err)
			}
		}
	})
}
