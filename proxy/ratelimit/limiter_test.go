package ratelimit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newTestLimiter(t testing.TB, cfg Config) *Limiter {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAllow(t *testing.T) {
	t.Parallel()
	type step struct {
		at    time.Duration
		ok    bool
		retry time.Duration
	}
	tests := map[string]struct {
		cfg   Config
		steps []step
	}{
		"burst, then the rate": {Config{Rate: "2/10s"}, []step{
			{0, true, 0},
			{0, true, 0},
			{0, false, 5 * time.Second},
			{4 * time.Second, false, time.Second},
			{5 * time.Second, true, 0},
			{5 * time.Second, false, 5 * time.Second},
		}},
		"refusals cost nothing": {Config{Rate: "1/10s"}, []step{
			{0, true, 0},
			{time.Second, false, 9 * time.Second},
			{2 * time.Second, false, 8 * time.Second},
			{10 * time.Second, true, 0},
		}},
		"never more than the burst": {Config{Rate: "10/1s", Burst: 1}, []step{
			{0, true, 0},
			{0, false, 100 * time.Millisecond},
			{time.Hour, true, 0},
			{time.Hour, false, 100 * time.Millisecond},
		}},
		"a burst larger than the rate": {Config{Rate: "1/1h", Burst: 3}, []step{
			{0, true, 0},
			{0, true, 0},
			{0, true, 0},
			{0, false, time.Hour},
		}},
		"a clock that goes back gives nothing": {Config{Rate: "1/10s"}, []step{
			{10 * time.Second, true, 0},
			{0, false, 10 * time.Second},
			{10 * time.Second, false, 10 * time.Second},
			{19 * time.Second, false, time.Second},
			{20 * time.Second, true, 0},
		}},
		"count mode decides all the same": {Config{Rate: "1/10s", Mode: "count"}, []step{
			{0, true, 0},
			{0, false, 10 * time.Second},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newTestLimiter(t, tt.cfg)
			for i, s := range tt.steps {
				ok, retry := l.Allow(NameKey("alice"), noon.Add(s.at))
				if ok != s.ok || retry != s.retry {
					t.Errorf("step %d: %v, retry after %v; want %v, %v", i, ok, retry, s.ok, s.retry)
				}
			}
			if ok, _ := l.Allow(NameKey("bob"), noon); !ok {
				t.Error("another key is limited too")
			}
		})
	}
}

func TestZeroKeyIsNeverLimited(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, Config{Rate: "1/1h"})
	for range 10 {
		if ok, _ := l.Allow(NameKey(""), noon); !ok {
			t.Fatal("limited")
		}
	}
	if got := l.buckets(); got != 0 {
		t.Errorf("%d buckets, want none", got)
	}
}

// TestNoWindowHasMoreThanBurstAndRate drives random limits at random times, also out of order, and
// looks at every stretch between two allowed requests.
func TestNoWindowHasMoreThanBurstAndRate(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{Rate: fmt.Sprintf("%d/%ds", 1+random.IntN(50), 1+random.IntN(100)), Burst: 1 + random.IntN(50)}
		l := newTestLimiter(t, cfg)
		var allowed []time.Time
		now, latest := noon, time.Time{}
		for range 600 {
			switch random.IntN(10) {
			case 0:
				now = now.Add(time.Duration(random.Int64N(int64(20 * time.Second))))
			case 1:
				now = now.Add(-time.Duration(random.Int64N(int64(time.Second))))
			default:
				now = now.Add(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
			}
			if now.After(latest) {
				latest = now
			}
			ok, retry := l.Allow(NameKey("k"), now)
			if ok {
				allowed = append(allowed, latest)
				continue
			}
			if retry <= 0 {
				t.Fatalf("%+v: refused with retry after %v", cfg, retry)
			}
		}
		for i, from := range allowed {
			for j := i; j < len(allowed); j++ {
				most := float64(l.burst) + float64(l.limit)*allowed[j].Sub(from).Seconds() + 1e-6
				if got := float64(j - i + 1); got > most {
					t.Fatalf("seed %d, %+v: %v requests in %v, want at most %v", seed, cfg, got, allowed[j].Sub(from), most)
				}
			}
		}
	}
}

// TestRetryAfterIsWhenTheNextRequestIsAllowed holds the promise to the nanosecond, and that it is
// not a longer one than needed.
func TestRetryAfterIsWhenTheNextRequestIsAllowed(t *testing.T) {
	t.Parallel()
	for _, rate := range []string{"1/1s", "3/7s", "20/5m", "600/1m", "1/24h", "1000000/1s", "7/13h"} {
		l := newTestLimiter(t, Config{Rate: rate, Burst: 1})
		now := noon
		for range 100 {
			if ok, _ := l.Allow(NameKey("k"), now); !ok {
				t.Fatalf("%s: refused after the time that it asked for", rate)
			}
			_, retry := l.Allow(NameKey("k"), now)
			if early := now.Add(retry - 10*time.Nanosecond); early.After(now) {
				if ok, _ := l.Allow(NameKey("k"), early); ok {
					t.Fatalf("%s: allowed 10 ns before the time that it asked for", rate)
				}
			}
			now = now.Add(retry)
		}
	}
}

func TestFloodOfKeysIsBounded(t *testing.T) {
	l := newTestLimiter(t, Config{Rate: "20/5m"})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const floods = 150_000 // more than twice what fits; a million holds as well, but not in a moment
	for i := range floods {
		addr := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
		if ok, _ := l.Allow(AddressKey(addr), noon.Add(time.Duration(i)*time.Microsecond)); !ok {
			t.Fatal("a new key is limited")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := l.buckets(); got > defaultMaxKeys || got < defaultMaxKeys*9/10 {
		t.Errorf("%d buckets, want at most %d and most of them", got, defaultMaxKeys)
	}
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 32<<20 {
		t.Errorf("%d MB held after %d keys, want at most 32", got>>20, floods)
	}
	runtime.KeepAlive(l)
}

// TestFloodDoesNotReset holds that a key without tokens stays without them while an attacker sends
// ten times as many other keys as the limiter can hold.
func TestFloodDoesNotReset(t *testing.T) {
	t.Parallel()
	l, err := newLimiter(Config{Rate: "5/1h"}, 1024)
	if err != nil {
		t.Fatal(err)
	}
	victim := NameKey("victim")
	now := noon
	for range 5 {
		l.Allow(victim, now)
	}
	for i := range 10_240 {
		now = now.Add(time.Millisecond)
		l.Allow(NameKey(fmt.Sprint("flood ", i)), now)
	}
	if ok, _ := l.Allow(victim, now); ok {
		t.Error("a flood of keys gave the victim's bucket new tokens")
	}
	if got := l.buckets(); got > 1024 {
		t.Errorf("%d buckets, want at most 1024", got)
	}
}

func TestIdleBucketsGoFirst(t *testing.T) {
	t.Parallel()
	l, err := newLimiter(Config{Rate: "5/1s"}, shardCount) // one bucket in each shard
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		l.Allow(NameKey(fmt.Sprint(i)), noon.Add(time.Duration(i)*time.Second))
	}
	if got := l.buckets(); got != shardCount {
		t.Errorf("%d buckets, want %d", got, shardCount)
	}
	for i := range l.shards {
		if s := &l.shards[i]; len(s.index) != 1 || len(s.buckets) != 1 || s.index[s.buckets[0].key] != 0 {
			t.Errorf("shard %d: index %v does not match its bucket %v", i, s.index, s.buckets[0].key)
		}
	}
}

func TestConcurrentRequestsShareABucketExactly(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, Config{Rate: "100/1h"})
	var allowed atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			for i := range 20 {
				if ok, _ := l.Allow(NameKey("k"), noon.Add(time.Duration(i))); ok {
					allowed.Add(1)
				}
				l.Allow(NameKey(fmt.Sprint(i)), noon)
			}
		})
	}
	group.Wait()
	if got := allowed.Load(); got != 100 {
		t.Errorf("%d of 1000 requests allowed, want 100", got)
	}
}

func TestAllowAllocatesNothingForKnownKeys(t *testing.T) {
	l := newTestLimiter(t, Config{Rate: "3/1h"})
	v6, subject := netip.MustParseAddr("2001:db8::1"), "0cfd1d4e-3a0e-4b61-9df5-2f3a5d3c9a10"
	l.Allow(AddressKey(v6), noon)
	l.Allow(IdentityKey("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC123", subject), noon)
	got := testing.AllocsPerRun(100, func() {
		l.Allow(AddressKey(v6), noon)
		l.Allow(IdentityKey("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC123", subject), noon)
	})
	if got != 0 {
		t.Errorf("Allow allocates %v times, want 0", got)
	}
}

func BenchmarkAllow(b *testing.B) {
	addr := netip.MustParseAddr("2001:db8::1")
	b.Run("allowed", func(b *testing.B) {
		l := newTestLimiter(b, Config{Rate: "1000000/1s"})
		now := noon
		b.ReportAllocs()
		for b.Loop() {
			now = now.Add(time.Millisecond)
			l.Allow(AddressKey(addr), now)
		}
	})
	b.Run("refused", func(b *testing.B) {
		l := newTestLimiter(b, Config{Rate: "1/24h"})
		b.ReportAllocs()
		for b.Loop() {
			l.Allow(AddressKey(addr), noon)
		}
	})
	b.Run("flood of new keys", func(b *testing.B) {
		l, err := newLimiter(Config{Rate: "20/5m"}, 1024)
		if err != nil {
			b.Fatal(err)
		}
		var raw [16]byte
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			raw[4], raw[5], raw[6], raw[7] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
			raw[0] = 0x20
			l.Allow(AddressKey(netip.AddrFrom16(raw)), noon)
		}
	})
	b.Run("parallel keys", func(b *testing.B) {
		l := newTestLimiter(b, Config{Rate: "1000000/1s"})
		var next atomic.Uint32
		b.RunParallel(func(pb *testing.PB) {
			n := next.Add(1)
			key := AddressKey(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}))
			for pb.Next() {
				l.Allow(key, noon)
			}
		})
	})
}

// buckets returns how many keys have a bucket.
func (l *Limiter) buckets() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.buckets)
		s.mu.Unlock()
	}
	return n
}
