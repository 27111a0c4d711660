package authn

import (
	"container/heap"
	"crypto/sha256"
	"math"
	"sync"
	"time"
)

// RevocationKey says whom a [Revocation] is about. It is a hash, so that where revocations are kept
// no name of a person and no id of a session can be read.
type RevocationKey [16]byte

// revocationKey hashes what a revocation is about. Each part goes in with its length.
func revocationKey(parts ...string) (key RevocationKey) {
	var b []byte
	for _, part := range parts {
		b = appendText(b, part)
	}
	sum := sha256.Sum256(b)
	copy(key[:], sum[:])
	return key
}

// What a key may stand for.
func sessionKey(name string) RevocationKey { return revocationKey("session", name) }

func subjectKey(issuer, subject string) RevocationKey {
	return revocationKey("subject", issuer, subject)
}

// sidKey is a session of the provider, by the "sid" of its ID tokens.
func sidKey(issuer, sid string) RevocationKey { return revocationKey("sid", issuer, sid) }

// sidlessKey is the sessions of a subject whose ID token named none of the provider's. A logout that
// names one ends these too, since it may be theirs.
func sidlessKey(issuer, subject string) RevocationKey {
	return revocationKey("without sid", issuer, subject)
}

// whenever, as Revocation.Before, covers every session.
const whenever = math.MaxInt64

// A Revocation ends sessions before their time: all with the key that began before an instant.
type Revocation struct {
	Key    RevocationKey
	Before int64 // Unix time in nanoseconds
	Until  int64 // Unix time in seconds when the last session that it ends would have ended by itself
}

// Ledger keeps revocations where they outlive the process, or where several instances find them. An
// implementation is safe for concurrent use. One that others write to as well hands what it hears of
// them to Sessions.Learn.
type Ledger interface {
	// Append keeps a revocation. When it returns nil, Load finds it in another process too.
	Append(Revocation) error
	// Load calls take with every revocation that still matters, in any order.
	Load(take func(Revocation)) error
}

// maxRevoked bounds the set of revocations, at some 100 bytes each. When it is full the one that
// matters for the shortest time is forgotten.
const maxRevoked = 1 << 17

// leastMemory is for how long revocations of a subject are kept at the least: sessions may have been
// made when the file allowed longer ones than today. It is ALB's timeout.
const leastMemory = 7 * 24 * time.Hour

// revocations is the set of revocations that matter. It is safe for concurrent use.
type revocations struct {
	mu    sync.RWMutex
	by    map[RevocationKey]revoked
	queue endQueue
	limit int
}

// revoked is a Revocation without its key.
type revoked struct{ before, until int64 }

func newRevocations(limit int) *revocations {
	return &revocations{by: make(map[RevocationKey]revoked), limit: limit}
}

// cover says whether a session with these keys that began then has been ended.
func (r *revocations) cover(keys *sessionKeys, began int64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range keys {
		if e, ok := r.by[keys[i]]; ok && began < e.before {
			return true
		}
	}
	return false
}

// add reports whether it has changed anything.
func (r *revocations) add(rev Revocation, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.by[rev.Key]
	if rev.Until <= now || known && was.before >= rev.Before && was.until >= rev.Until {
		return false
	}
	next := revoked{max(was.before, rev.Before), max(was.until, rev.Until)}
	if known {
		r.by[rev.Key] = next // its place in the queue is found out when its turn comes
		return true
	}
	for len(r.queue) > 0 && (r.queue[0].until <= now || len(r.queue) >= r.limit) {
		r.popLocked()
	}
	r.by[rev.Key] = next
	heap.Push(&r.queue, queued{rev.Key, next.until})
	return true
}

// popLocked forgets the first of the queue, or puts it where it belongs when it has been prolonged.
func (r *revocations) popLocked() {
	first := heap.Pop(&r.queue).(queued)
	if until := r.by[first.key].until; until > first.until {
		heap.Push(&r.queue, queued{first.key, until})
		return
	}
	delete(r.by, first.key)
}

type queued struct {
	key   RevocationKey
	until int64
}

// endQueue is a heap.Interface; what matters for the shortest time is first.
type endQueue []queued

func (q endQueue) Len() int           { return len(q) }
func (q endQueue) Less(i, j int) bool { return q[i].until < q[j].until }
func (q endQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *endQueue) Push(x any)        { *q = append(*q, x.(queued)) }

func (q *endQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// sessionKeys are the keys of the revocations that end a session: its own, its subject's, and that of
// the provider's session it came from.
type sessionKeys [3]RevocationKey

func newSessionKeys(issuer, name, subject, sid string) sessionKeys {
	keys := sessionKeys{sessionKey(name), subjectKey(issuer, subject), sidlessKey(issuer, subject)}
	if sid != "" {
		keys[2] = sidKey(issuer, sid)
	}
	return keys
}

// over says whether a session was ended before its time.
func (s *Sessions) over(sess *session) bool {
	if s.revoked.cover(&sess.keys, sess.began) {
		return true
	}
	if !s.claimed.cover(&sess.keys, sess.began) {
		return false
	}
	s.end(sess) // what was claimed of it concerns a session that exists, so it is worth keeping
	return true
}

// end ends one session.
func (s *Sessions) end(sess *session) {
	s.revoke(Revocation{Key: sess.keys[0], Before: whenever, Until: sess.end})
}

// endAll ends every session of a subject that began before now.
func (s *Sessions) endAll(issuer, subject string) {
	now := s.now()
	s.revoke(Revocation{Key: subjectKey(issuer, subject), Before: now.UnixNano(), Until: s.longest(now)})
}

// longest returns when the last session that exists now has ended by itself.
func (s *Sessions) longest(now time.Time) int64 {
	return now.Add(max(leastMemory, time.Duration(s.life.Load()))).Unix()
}

// revoke ends what rev covers, here at once and wherever the ledger is read. A ledger that fails takes
// nothing back: OnError is told, and the revocation holds as long as this process lives.
func (s *Sessions) revoke(rev Revocation) {
	if !s.revoked.add(rev, s.now().Unix()) {
		return
	}
	s.watches.end(rev)
	if s.ledger == nil {
		return
	}
	if err := s.ledger.Append(rev); err != nil && s.onError != nil {
		s.onError(err)
	}
}

// Learn takes revocations that were made elsewhere, such as by another instance. It does not append
// them to the ledger.
func (s *Sessions) Learn(revocations ...Revocation) {
	now := s.now().Unix()
	for _, rev := range revocations {
		if s.revoked.add(rev, now) {
			s.watches.end(rev)
		}
	}
}
