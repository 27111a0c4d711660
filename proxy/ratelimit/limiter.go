package ratelimit

import (
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// defaultMaxKeys bounds a limiter at about 14 MB. AWS WAF tracks 10,000.
	defaultMaxKeys = 65536
	// shardCount keeps requests on several cores out of each other's way.
	shardCount = 16
	// evictionSample is how many buckets are looked at to find the one to give up. With 16, a bucket
	// stays in 97 cases of 100 when a fifth of the others are fuller.
	evictionSample = 16
)

// A Limiter allows each key Rate, in the long run, and Burst at once: a token bucket per key. Over
// any stretch of t seconds no key gets more than burst + rate×t requests. It is exact within the
// process, holds at most 65,536 buckets, and is safe for concurrent use. It starts no goroutine.
//
// When there are more keys, the fullest bucket of a sample is given up, and of equally full ones the
// one idle for longest: a bucket that has refilled is forgotten without loss, while one that is
// being held down stays. Who floods the limiter with keys therefore gains no fresh bucket for a key
// that is out of tokens, unless every other bucket is as empty.
type Limiter struct {
	limit  rate.Limit
	burst  int
	policy policy
	count  bool // decide, but let pass
	seed   maphash.Seed
	shards [shardCount]shard
}

// A shard is a part of the keys. Its buckets lie in one slice that grows to a fixed length.
type shard struct {
	mu      sync.Mutex
	index   map[Key]int32
	buckets []bucket
	max     int
	hand    int // where the next sample begins
	_       [64]byte
}

// A bucket is one key's tokens.
type bucket struct {
	key     Key
	last    time.Time // of the latest request
	limiter rate.Limiter
}

// New returns a limiter with every bucket full.
func New(cfg Config) (*Limiter, error) {
	return newLimiter(cfg, defaultMaxKeys)
}

func newLimiter(cfg Config, maxKeys int) (*Limiter, error) {
	var problems []string
	cfg.Validate(func(field, msg string) { problems = append(problems, field+": "+msg) })
	if problems != nil {
		return nil, fmt.Errorf("rate limit: %s", strings.Join(problems, "; "))
	}
	count, period, err := parseRate(cfg.Rate)
	if err != nil {
		return nil, fmt.Errorf("rate limit: %w", err)
	}
	l := &Limiter{
		limit:  rate.Limit(float64(count) / period.Seconds()),
		burst:  cfg.Burst,
		policy: policy{count: count, window: period},
		count:  cfg.Mode == modeCount,
		seed:   maphash.MakeSeed(),
	}
	if l.burst == 0 {
		l.burst = count
	}
	for i := range l.shards {
		l.shards[i].index = make(map[Key]int32)
		l.shards[i].max = maxKeys / shardCount
	}
	return l, nil
}

// Allow takes a token of key's bucket at now, and reports whether there was one. If not, retryAfter
// says when there will be. It decides in count mode too. For a known key it allocates nothing.
func (l *Limiter) Allow(key Key, now time.Time) (ok bool, retryAfter time.Duration) {
	if key.IsZero() {
		return true, 0
	}
	s := &l.shards[maphash.Comparable(l.seed, key)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bucketLocked(l, key, now)
	// Requests reach the lock in another order than they read the clock. x/time/rate would move its
	// clock back with an early one, and give the difference out twice.
	if now.Before(b.last) {
		now = b.last
	}
	b.last = now
	if b.limiter.AllowN(now, 1) {
		return true, 0
	}
	missing := 1 - b.limiter.TokensAt(now)
	return false, time.Duration(math.Ceil(missing / float64(l.limit) * float64(time.Second)))
}

// bucketLocked returns the bucket of key, a full one if it has none.
func (s *shard) bucketLocked(l *Limiter, key Key, now time.Time) *bucket {
	if i, ok := s.index[key]; ok {
		return &s.buckets[i]
	}
	var i int
	if len(s.buckets) < s.max {
		i = len(s.buckets)
		s.buckets = append(s.buckets, bucket{})
	} else {
		i = s.victimLocked(now)
		delete(s.index, s.buckets[i].key)
	}
	// They may be pieces of a request, which they would keep alive.
	key.scope, key.name = strings.Clone(key.scope), strings.Clone(key.name)
	s.index[key] = int32(i)
	b := &s.buckets[i]
	*b = bucket{key: key, last: now}
	b.fill(l)
	return b
}

// fill makes the bucket full: a limiter whose clock stands at the year 1 has had the time.
func (b *bucket) fill(l *Limiter) {
	b.limiter.SetBurstAt(time.Time{}, l.burst)
	b.limiter.SetLimitAt(time.Time{}, l.limit)
}

// victimLocked returns the fullest bucket of a sample, and of equally full ones the one that was
// used least recently.
func (s *shard) victimLocked(now time.Time) int {
	victim, most := -1, 0.0
	for range min(evictionSample, len(s.buckets)) {
		s.hand = (s.hand + 1) % len(s.buckets)
		b := &s.buckets[s.hand]
		tokens := b.limiter.TokensAt(now)
		if victim < 0 || tokens > most || tokens == most && b.last.Before(s.buckets[victim].last) {
			victim, most = s.hand, tokens
		}
	}
	return victim
}
