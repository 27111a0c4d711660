package fleet

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"gatehouse/authn"
	"gatehouse/internal/ledger"
)

// patience is how long something may take on a loaded machine.
const patience = 30 * time.Second

// A server is a real redis-server that keeps nothing on disk.
type server struct {
	t      *testing.T
	socket string
	cmd    *exec.Cmd
}

func startServer(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // short: a socket's path is limited to 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, socket: filepath.Join(dir, "s")}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start(more ...string) {
	s.t.Helper()
	args := []string{"--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.socket)}
	s.cmd = exec.Command("redis-server", append(args, more...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// An instance is a Store with its ledger and what its Sessions would know.
type instance struct {
	*Store
	file   *ledger.File
	states chan bool

	mu      sync.Mutex
	learned []authn.Revocation
	events  map[string]int
	grown   chan struct{}
}

// join starts an instance whose ledger is below dir.
func (s *server) join(dir string) *instance {
	s.t.Helper()
	file, err := ledger.Open(filepath.Join(dir, "revocations"), ledger.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	i := &instance{file: file, states: make(chan bool, 64), events: map[string]int{}, grown: make(chan struct{}, 1)}
	i.Store, err = Open(Config{Store: "unix://" + s.socket}, Options{
		Ledger:  file,
		OnState: func(err error) { i.states <- err == nil },
		OnEvent: func(name string) { i.mu.Lock(); defer i.mu.Unlock(); i.events[name]++ },
		OnError: func(err error) { s.t.Error(err) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := i.Load(func(r authn.Revocation) { i.learn(r) }); err != nil {
		s.t.Fatal(err)
	}
	i.Start(i.learn)
	s.t.Cleanup(func() { i.leave() })
	return i
}

func (i *instance) leave() {
	i.Close()
	i.file.Close()
}

func (i *instance) learn(list ...authn.Revocation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.learned = append(i.learned, list...)
	select {
	case i.grown <- struct{}{}:
	default:
	}
}

func (i *instance) knows(r authn.Revocation) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.learned, r)
}

// learns waits until the instance knows r.
func (i *instance) learns(t *testing.T, r authn.Revocation) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !i.knows(r) {
		select {
		case <-i.grown:
		case <-limit.C:
			t.Fatalf("revocation %x has not been learned", r.Key)
		}
	}
}

// becomes waits until the store is up or down for the instance.
func (i *instance) becomes(t *testing.T, up bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case got := <-i.states:
			if got == up {
				return
			}
		case <-limit.C:
			t.Fatalf("the store has not become up: %t", up)
		}
	}
}

func revocation(n byte) authn.Revocation {
	return authn.Revocation{Key: authn.RevocationKey{n}, Before: time.Now().UnixNano(), Until: time.Now().Add(time.Hour).Unix()}
}

func TestRevocationsReachEveryInstance(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	a, b := s.join(dirs[0]), s.join(dirs[1])
	a.becomes(t, true)
	b.becomes(t, true)
	first, over := revocation(1), revocation(2)
	over.Until = time.Now().Add(-time.Minute).Unix()
	for _, r := range []authn.Revocation{over, first} {
		if err := a.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	b.learns(t, first)
	if b.knows(over) {
		t.Error("b has learned of what is over")
	}
	if a.knows(first) {
		t.Error("a was told what it had said")
	}
	// One that starts later knows before it serves.
	c := s.join(dirs[2])
	if !c.knows(first) {
		t.Error("a new instance does not know what was revoked before")
	}
	// What was learned outlasts the process and the store.
	c.leave()
	s.kill()
	if again := s.join(dirs[2]); !again.knows(first) {
		t.Error("an instance that starts without the store has forgotten what it had learned")
	}
}

func TestAStoreThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.join(t.TempDir()), s.join(t.TempDir())
	a.becomes(t, true)
	b.becomes(t, true)
	before, during := revocation(1), revocation(2)
	if err := a.Append(before); err != nil {
		t.Fatal(err)
	}
	b.learns(t, before)
	s.kill()
	a.becomes(t, false)
	b.becomes(t, false)
	if err := a.Append(during); err != nil {
		t.Fatalf("without the store: %v", err)
	}
	if b.knows(during) {
		t.Fatal("b knows without a store")
	}
	s.start() // empty
	b.learns(t, during)
	c := s.join(t.TempDir())
	c.learns(t, before)
	c.learns(t, during)
}

// A queue that is too long for the store's absence gives way to the ledger.
func TestALongAbsence(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.join(t.TempDir()), s.join(t.TempDir())
	b.becomes(t, true)
	a.becomes(t, true)
	s.kill()
	a.becomes(t, false)
	kept := revocation(1)
	if err := a.Append(kept); err != nil {
		t.Fatal(err)
	}
	last := revocation(2)
	for i := range maxQueue + 1 {
		last.Before = int64(i + 1)
		a.enqueue(newRecord(last))
	}
	a.Store.mu.Lock() // a has one of its own
	if n := len(a.queue); n > maxQueue {
		t.Errorf("queue: got %d, want at most %d", n, maxQueue)
	}
	a.Store.mu.Unlock()
	s.start()
	b.learns(t, kept)
	b.learns(t, last)
}

// The memory of what is known is bounded, and what is over gives way first.
func TestKnownIsBounded(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{Store: "unix:///nowhere"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.pool.Close()
	over, lasting := revocation(1), revocation(2)
	over.Until = 1
	for i := range int64(maxKnown) {
		over.Before = i + 1
		s.rememberLocked(newRecord(over))
	}
	s.rememberLocked(newRecord(lasting))
	if len(s.known) != 1 {
		t.Errorf("known: got %d, want the one that is not over", len(s.known))
	}
	for i := range int64(maxKnown) + 10 {
		lasting.Before = i + 1
		s.rememberLocked(newRecord(lasting))
		if len(s.known) > maxKnown {
			t.Fatalf("known: got %d, want at most %d", len(s.known), maxKnown)
		}
	}
}

func TestOneLeads(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var all []*instance
	for range 3 {
		i := s.join(t.TempDir())
		i.becomes(t, true)
		all = append(all, i)
	}
	key := [32]byte{1}
	var mu sync.Mutex
	leaders := 0
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() {
			result, lead, err := i.Begin(t.Context(), key, patience)
			if err != nil {
				t.Error(err)
				return
			}
			if lead {
				mu.Lock()
				leaders++
				mu.Unlock()
				i.Finish(key, []byte("the result"), time.Minute)
				return
			}
			if string(result) != "the result" {
				t.Errorf("got %q", result)
			}
		})
	}
	wg.Wait()
	if leaders != 1 {
		t.Errorf("leaders: got %d, want 1", leaders)
	}
}

func TestALeaderThatGivesUpOrDies(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.join(t.TempDir()), s.join(t.TempDir())
	a.becomes(t, true)
	b.becomes(t, true)
	key := [32]byte{2}
	begin := func(i *instance, hold time.Duration) (string, bool) {
		t.Helper()
		result, lead, err := i.Begin(t.Context(), key, hold)
		if err != nil {
			t.Fatal(err)
		}
		return string(result), lead
	}
	if _, lead := begin(a, patience); !lead {
		t.Fatal("a does not lead")
	}
	a.Finish(key, nil, time.Minute)
	if _, lead := begin(b, 100*time.Millisecond); !lead {
		t.Fatal("b does not lead after a gave up")
	}
	// b says nothing: its time runs out.
	if _, lead := begin(a, patience); !lead {
		t.Fatal("a does not lead after b's time")
	}
	// What b brings late counts, and does not end a's turn.
	b.Finish(key, []byte("late"), time.Minute)
	if result, lead := begin(b, patience); lead || result != "late" {
		t.Errorf("got %q, lead %t", result, lead)
	}
	c := a.pool.Get()
	defer c.Close()
	if n, err := redis.Int(c.Do("EXISTS", a.refreshKeys(key)[0])); err != nil || n != 1 {
		t.Errorf("a's lock: got %d %v, want it to stand", n, err)
	}
}

func TestARefreshDoesNotWaitForTheStore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.join(t.TempDir()), s.join(t.TempDir())
	a.becomes(t, true)
	b.becomes(t, true)
	key := [32]byte{3}
	if _, lead, err := a.Begin(t.Context(), key, patience); err != nil || !lead {
		t.Fatalf("got lead %t, %v", lead, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, lead, err := b.Begin(ctx, key, patience); !errors.Is(err, context.DeadlineExceeded) || lead {
		t.Errorf("a context that ends: got lead %t, %v", lead, err)
	}
	s.kill()
	if _, lead, err := b.Begin(t.Context(), key, patience); err == nil || lead {
		t.Errorf("without the store: got lead %t, no error", lead)
	}
	a.Finish(key, []byte("x"), time.Minute) // tells nobody
	if a.events[EventAlone] == 0 || b.events[EventAlone] == 0 {
		t.Error("neither counted that it was alone")
	}
}

// What somebody else has put into the store is left out, and what is around it counts.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.join(t.TempDir()), s.join(t.TempDir())
	a.becomes(t, true)
	b.becomes(t, true)
	good := revocation(1)
	for _, junk := range []any{"short", string(make([]byte, recordSize))} {
		if _, err := a.call(t.Context(), a.scripts.publish, a.keys(), 0, maxStored, junk, good.Until); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Append(good); err != nil {
		t.Fatal(err)
	}
	b.learns(t, good)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.events[EventDamaged] != 2 {
		t.Errorf("damaged: got %d, want 2", b.events[EventDamaged])
	}
}

// The rights that the README gives the user of the store are enough.
func TestTheRightsOfTheUser(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.kill()
	s.start(strings.Fields("--user default off --user gatehouse on >hush-hush-hush ~gatehouse:* +@connection +@read +@write +eval +evalsha -@dangerous")...)
	file, err := ledger.Open(filepath.Join(t.TempDir(), "revocations"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	states := make(chan bool, 64)
	i := &instance{states: states}
	i.Store, err = Open(Config{Store: "unix://gatehouse@" + s.socket, Password: "hush-hush-hush"}, Options{
		Ledger: file, OnState: func(err error) { states <- err == nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	i.Start(func(...authn.Revocation) {})
	i.becomes(t, true)
	if err := i.Append(revocation(1)); err != nil {
		t.Fatal(err)
	}
	if err := i.sync(t.Context()); err != nil {
		t.Errorf("sending: %v", err)
	}
	key := [32]byte{4}
	if _, lead, err := i.Begin(t.Context(), key, patience); err != nil || !lead {
		t.Fatalf("got lead %t, %v", lead, err)
	}
	i.Finish(key, []byte("the result"), time.Minute)
	if result, _, err := i.Begin(t.Context(), key, patience); err != nil || string(result) != "the result" {
		t.Errorf("got %q, %v", result, err)
	}
	one := says("one", "of a")
	if i.ShareKeys(one); !slices.Contains(one.heard, "of a") {
		t.Errorf("keys: heard %q", one.heard)
	}
}

func FuzzAnswers(f *testing.F) {
	b := newRecord(authn.Revocation{Key: authn.RevocationKey{1}, Before: 2, Until: 3})
	f.Add("epoch", int64(1), string(b[:]), "1", "result")
	f.Add("", int64(-1), "", "1e300", "lead")
	f.Fuzz(func(t *testing.T, epoch string, last int64, member, number, word string) {
		p, err := parsePage([]any{epoch, last, []any{member, number}})
		if err == nil && p.damaged == 0 {
			if r := p.records[0].revocation(); newRecord(r) != record([]byte(member)) || r.Until <= 0 {
				t.Errorf("%q was read as %+v", member, r)
			}
		}
		if err == nil && (p.epoch == "" || p.numbers[0] < 0) {
			t.Errorf("taken: %+v", p)
		}
		if _, result, err := parseBegin([]any{word, member}); err == nil && word != "result" && result != "" {
			t.Errorf("%q: a result %q", word, result)
		}
		entries, damaged := parseKeys([]any{member, last, word})
		if len(entries)+damaged != 3 || damaged == 0 || slices.ContainsFunc(entries, func(b []byte) bool { return len(b) == 0 || len(b) > maxKeyEntry }) {
			t.Errorf("keys: %q, %d damaged", entries, damaged)
		}
	})
}
