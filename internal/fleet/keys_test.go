package fleet

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// said is a Keys that says one thing and notes what it hears.
type said struct {
	name, text string
	until      time.Time

	mu    sync.Mutex
	heard []string
	grown chan struct{}
}

func says(name, text string) *said {
	return &said{name: name, text: text, until: time.Now().Add(time.Hour), grown: make(chan struct{}, 1)}
}

func (k *said) Offer(_ time.Time, put func(name string, entry []byte, until time.Time)) {
	put(k.name, []byte(k.text), k.until)
}

func (k *said) Learn(_ time.Time, entries [][]byte) (damaged int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = nil
	for _, entry := range entries {
		if k.heard = append(k.heard, string(entry)); string(entry) == "damaged" {
			damaged++
		}
	}
	select {
	case k.grown <- struct{}{}:
	default:
	}
	return damaged
}

// hears waits until k has heard exactly want.
func (k *said) hears(t *testing.T, want ...string) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		k.mu.Lock()
		got := slices.Sorted(slices.Values(k.heard))
		k.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-k.grown:
		case <-limit.C:
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
}

func TestKeysReachEveryInstance(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.join(t.TempDir()), s.join(t.TempDir())
	a.becomes(t, true)
	b.becomes(t, true)
	one, two := says("one", "of a"), says("two", "of b")
	a.ShareKeys(one)
	one.hears(t, "of a") // at once: before it signs
	b.ShareKeys(two)
	two.hears(t, "of a", "of b")
	one.hears(t, "of a", "of b")

	// A store that has lost everything is told again.
	s.kill()
	a.becomes(t, false)
	b.becomes(t, false)
	three := says("three", "of a again")
	a.ShareKeys(three) // does not wait
	s.start()
	three.hears(t, "of a again", "of b")
	two.hears(t, "of a again", "of b")
}

func TestKeysAreForgottenAndBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := s.join(t.TempDir())
	a.becomes(t, true)
	client, err := redis.DialContext(t.Context(), "unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	for i := range 2 * maxStoredKeys {
		name := fmt.Sprint("stranger ", i)
		if _, err := client.Do("HSET", "gatehouse:keys", name, "damaged"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Do("ZADD", "gatehouse:keyends", time.Now().Unix()+60, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Do("HSET", "gatehouse:keys", "long", make([]byte, maxKeyEntry+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do("ZADD", "gatehouse:keyends", "1e12", "long"); err != nil {
		t.Fatal(err)
	}
	gone := says("gone", "over")
	gone.until = time.Now().Add(-time.Second)
	a.ShareKeys(gone)
	one := says("one", "of a")
	a.ShareKeys(one)
	one.mu.Lock()
	defer one.mu.Unlock()
	if len(one.heard) > maxStoredKeys || !slices.Contains(one.heard, "of a") || slices.Contains(one.heard, "over") || slices.ContainsFunc(one.heard, func(s string) bool { return len(s) > maxKeyEntry }) {
		t.Errorf("heard %d entries, want at most %d with its own and without what is over or too long", len(one.heard), maxStoredKeys)
	}
	if n, err := redis.Int(client.Do("HLEN", "gatehouse:keys")); err != nil || n > maxStoredKeys {
		t.Errorf("%d entries are left in the store, want at most %d", n, maxStoredKeys)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events[EventKeyDamaged] == 0 {
		t.Error("damaged entries are not counted")
	}
}
