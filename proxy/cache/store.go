package cache

import (
	"encoding/binary"
	"slices"
	"sync"
)

// maxVariants bounds the answers that are kept of one target. The oldest gives way.
const maxVariants = 64

// maxUses is where uses stop being counted.
const maxUses = 3

// A store keeps objects in a bounded number of bytes. It evicts by S3-FIFO (Yang et al., SOSP 2023): new objects go through a
// small queue, and most of them leave it without having been asked for again; the others move to the main queue, as do those
// that come back soon after they left. It is safe for concurrent use.
type store struct {
	limit int64

	mu        sync.Mutex
	resources map[resourceKey][]*object // newest first; a list is replaced, never changed
	small     queue
	main      queue
	gone      ghosts
	pinned    int64 // bytes of objects that are not kept any more and still being sent
	evicted   int64 // how many were
}

func newStore(limit int64) *store {
	s := &store{limit: limit, resources: make(map[resourceKey][]*object)}
	s.small.init()
	s.main.init()
	s.gone.at = make(map[uint64]struct{})
	return s
}

// A queue is a list of objects, newest at the front.
type queue struct {
	root  object // its next is the newest, its prev the oldest
	bytes int64
	len   int
}

func (q *queue) init() { q.root.next, q.root.prev = &q.root, &q.root }

func (q *queue) push(o *object) {
	o.in, o.prev, o.next = q, &q.root, q.root.next
	o.prev.next, o.next.prev = o, o
	q.bytes += o.size
	q.len++
}

func (q *queue) remove(o *object) {
	o.prev.next, o.next.prev = o.next, o.prev
	o.in, o.prev, o.next = nil, nil, nil
	q.bytes -= o.size
	q.len--
}

func (q *queue) oldest() *object {
	if q.root.prev == &q.root {
		return nil
	}
	return q.root.prev
}

// ghosts remember which objects were evicted from the small queue without having been used, by a part of their key's hash.
type ghosts struct {
	at   map[uint64]struct{}
	ring []uint64
	next int
}

// maxGhosts bounds them: 16 bytes each, and more than 64 MiB of small objects.
const maxGhosts = 1 << 16

func (g *ghosts) add(key resourceKey) {
	id := binary.BigEndian.Uint64(key[:])
	if _, ok := g.at[id]; ok {
		return
	}
	if len(g.ring) < maxGhosts {
		g.ring = append(g.ring, id)
	} else {
		delete(g.at, g.ring[g.next])
		g.ring[g.next] = id
		g.next = (g.next + 1) % maxGhosts
	}
	g.at[id] = struct{}{}
}

func (g *ghosts) has(key resourceKey) bool {
	_, ok := g.at[binary.BigEndian.Uint64(key[:])]
	return ok
}

// variants returns what is kept of a target. The caller must not change it.
func (s *store) variants(key resourceKey) []*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resources[key]
}

// use counts a use of an object, whose body stays counted until done is called: also of one that is not kept any more, or never was.
func (s *store) use(o *object) {
	s.mu.Lock()
	if o.readers++; o.readers == 1 && o.in == nil {
		s.pinned += o.size
	}
	if o.uses < maxUses {
		o.uses++
	}
	s.mu.Unlock()
}

func (s *store) done(o *object) {
	s.mu.Lock()
	if o.readers--; o.readers == 0 && o.in == nil {
		s.pinned -= o.size
	}
	s.mu.Unlock()
}

// put keeps an object in the place of those that answer the same requests. It reports false if there is no room for it, for
// as long as clients are being sent what was evicted.
func (s *store) put(o *object) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.resources[o.key]
	kept := make([]*object, 1, len(old)+1)
	kept[0] = o
	uses := uint8(0)
	for _, other := range old {
		if other.policy == o.policy && slices.Equal(other.names, o.names) && slices.Equal(other.values, o.values) || len(kept) == maxVariants {
			uses = max(uses, other.uses)
			s.drop(other)
			continue
		}
		kept = append(kept, other)
	}
	if o.size > s.limit/2 || !s.makeRoom(o.size) {
		s.setVariants(o.key, slices.DeleteFunc(kept, func(k *object) bool { return k.in == nil }))
		return false
	}
	kept = slices.DeleteFunc(kept, func(k *object) bool { return k != o && k.in == nil }) // evicted just now
	s.setVariants(o.key, kept)
	if o.uses = uses; uses > 0 || s.gone.has(o.key) {
		s.main.push(o)
	} else {
		s.small.push(o)
	}
	return true
}

func (s *store) setVariants(key resourceKey, list []*object) {
	if len(list) == 0 {
		delete(s.resources, key)
		return
	}
	s.resources[key] = list
}

// makeRoom evicts until n bytes fit.
func (s *store) makeRoom(n int64) bool {
	for s.small.bytes+s.main.bytes+s.pinned+n > s.limit {
		if !s.evict() {
			return false
		}
	}
	return true
}

// evict takes one object out, or gives those that were used another turn until one was not. It reports false if there is none.
func (s *store) evict() bool {
	for {
		o := s.small.oldest()
		if o == nil || s.small.bytes < s.limit/10 && s.main.len > 0 {
			o = s.main.oldest()
		}
		switch {
		case o == nil:
			return false
		case o.in == &s.small && o.uses > 1:
			s.small.remove(o)
			o.uses = 0
			s.main.push(o)
		case o.in == &s.small:
			s.gone.add(o.key)
			s.removeLocked(o)
			s.evicted++
			return true
		case o.uses > 0:
			s.main.remove(o)
			o.uses--
			s.main.push(o)
		default:
			s.removeLocked(o)
			s.evicted++
			return true
		}
	}
}

// drop takes an object out of its queue.
func (s *store) drop(o *object) {
	if o.in == nil {
		return
	}
	o.in.remove(o)
	if o.readers > 0 {
		s.pinned += o.size
	}
}

// removeLocked takes an object out.
func (s *store) removeLocked(o *object) {
	s.drop(o)
	left := slices.DeleteFunc(slices.Clone(s.resources[o.key]), func(other *object) bool { return other == o })
	s.setVariants(o.key, left)
}

// remove takes out an object.
func (s *store) remove(o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.in != nil {
		s.removeLocked(o)
	}
}

// removeKey takes out everything that is kept of a target and returns how many objects that was.
func (s *store) removeKey(key resourceKey) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.resources[key]
	for _, o := range list {
		s.drop(o)
	}
	delete(s.resources, key)
	return len(list)
}

// removeIf takes out the objects that match and returns how many. Those that come while it works may stay. Nobody waits while it
// matches, which may take long.
func (s *store) removeIf(match func(o *object) bool) (n int) {
	s.mu.Lock()
	all := make([]*object, 0, s.small.len+s.main.len)
	for _, q := range [...]*queue{&s.small, &s.main} {
		for o := q.root.next; o != &q.root; o = o.next {
			all = append(all, o)
		}
	}
	s.mu.Unlock()
	for _, o := range all {
		if match(o) {
			s.remove(o)
			n++
		}
	}
	return n
}

// Stats is what a cache holds and has done.
type Stats struct {
	Objects int
	Bytes   int64 // those of objects that were evicted and are still being sent included
	Limit   int64
	Evicted int64 // objects, ever
}

func (s *store) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Objects: s.small.len + s.main.len, Bytes: s.small.bytes + s.main.bytes + s.pinned, Limit: s.limit, Evicted: s.evicted,
	}
}
