package rx

import (
	"maps"
	"regexp/syntax"
	"slices"
	"sync/atomic"
	"unicode/utf8"
)

// A state is where the program may be, all of its threads at once. Where a match may begin anywhere, the
// threads that begin here are in every state and go without saying: for a union of hundreds of
// expressions they are most of all.
type state struct {
	insts []uint32 // ascending
	kind  kind     // of the rune before, where the program asks for it
}

// A beginning is where the threads that begin at a place are behind the rune that follows.
type beginning struct {
	insts   []uint32
	matches bool
}

// A cache is the states that have been made. It is guarded by the Pattern's lock, but for start, which
// never changes. State i has its row at (i+1)*stride.
type cache struct {
	start  uint32
	states []state
	index  map[string]uint32 // state to row
	rows   []atomic.Uint32   // of what is kept; nobody stores into them
	insts  int               // of the states' sets, less those of what is kept
}

func (c *cache) clone() *cache {
	return &cache{start: c.start, states: slices.Clone(c.states), index: maps.Clone(c.index)}
}

// scratch is what making a state needs, guarded by the Pattern's lock.
type scratch struct {
	mark   []uint32 // instruction to the round in which it was seen
	round  uint32
	stack  []uint32
	next   []uint32
	merged []uint32
	cross  []uint32
	key    []byte
	work   int // since the last look

	start        []uint32 // the threads that begin at a place
	startMatches bool
	implied      []bool       // by instruction: it is in start, and start in every state
	beginnings   []*beginning // by kind and class, once they are needed
}

func newScratch(insts int) scratch { return scratch{mark: make([]uint32, insts)} }

// newRound forgets which instructions were seen.
func (s *scratch) newRound() {
	s.round++
	if s.round == 0 { // after 2^32 rounds
		clear(s.mark)
		s.round = 1
	}
}

// reset begins anew, with what is kept.
func (p *Pattern) reset() {
	if p.kept != nil {
		states := max(len(p.cache.states), 2*len(p.kept.states)) // as many as there were
		p.cache = p.kept.clone()
		t := p.grow(nil, states)
		copy(t.rows, p.kept.rows)
		p.table.Store(t)
		return
	}
	p.cache = &cache{index: map[string]uint32{}}
	t := p.grow(nil, 8)
	switch {
	case p.anchored:
		p.cache.start = p.intern(p.start, kindBegin)
	case p.startMatches:
		p.cache.start = matched
	default:
		p.cache.start = p.intern(nil, kindBegin)
	}
	p.table.Store(t)
}

// begins prepares the threads that begin at a place.
func (p *Pattern) begins() {
	p.newRound()
	p.start = p.follow(nil, p.begin, 0, false)
	slices.Sort(p.start)
	p.startMatches = p.ends(p.start)
	p.implied = make([]bool, len(p.insts))
	if p.anchored {
		return
	}
	for _, pc := range p.start {
		p.implied[pc] = true
	}
	p.beginnings = make([]*beginning, 4*(p.classes.n+1))
}

// ends reports that a thread has come to the end of a match.
func (p *Pattern) ends(insts []uint32) bool {
	return slices.ContainsFunc(insts, func(pc uint32) bool { return p.insts[pc].op == opMatch })
}

// beginning is that of a place behind a rune of a kind and before one of a class.
func (p *Pattern) beginning(k kind, class uint32) *beginning {
	if !p.looks {
		k = kindOther
	}
	at := &p.beginnings[int(k)*(p.classes.n+1)+int(class)]
	if *at == nil {
		p.next = p.next[:0]
		matches := p.threads(p.start, k, class)
		p.next = slices.DeleteFunc(p.next, func(pc uint32) bool { return p.implied[pc] })
		slices.Sort(p.next)
		*at = &beginning{slices.Clone(p.next), matches}
	}
	return *at
}

// fewBytes is how many bytes are looked for, one behind the other, sooner than to go through a text.
const fewBytes = 3

// firstBytes lists the bytes behind which something may have begun, or is nil if they are more than few.
func (p *Pattern) firstBytes() []byte {
	if p.anchored || p.looks || p.startMatches {
		return nil
	}
	begins := func(class uint8) bool {
		b := p.beginning(kindOther, uint32(class))
		return b.matches || len(b.insts) > 0
	}
	first := []byte{}
	for b := range 256 {
		class := p.classes.ascii[b%utf8.RuneSelf]
		switch {
		case b >= utf8.RuneSelf && p.bytes:
			class = p.classes.above(rune(b))
		case b >= utf8.RuneSelf:
			continue
		}
		if begins(class) {
			if first = append(first, byte(b)); len(first) > fewBytes {
				return nil
			}
		}
	}
	if !p.bytes && slices.ContainsFunc(p.classes.of, begins) {
		return nil // characters of several bytes
	}
	return first
}

// grow is a table of the cache with room for more states, that has the entries of old.
func (p *Pattern) grow(old *table, states int) *table {
	t := &table{cache: p.cache, rows: make([]atomic.Uint32, (states+1)*int(p.stride))}
	if old != nil {
		copy(t.rows, old.rows) // nobody else stores into them: that takes the Pattern's lock
	}
	return t
}

// The work of finding a state, in a Meter's units: so much for each, for each instruction visited, for each one that
// has just begun, for each one kept, which is hashed, and for a state that is new, whose row is made, and copied when
// the table grows.
const (
	stepWork  = 400
	visitWork = 8
	mergeWork = 2
	keepWork  = 4
	newWork   = 2000
)

// step finds the entry that t lacks. It returns the table to go on with: t may be full, or forgotten.
func (p *Pattern) step(t *table, from, class uint32, m *Meter) (*table, uint32) {
	if m != nil && m.left < 0 {
		return t, matched
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st := t.cache.states[from/p.stride-1]
	if now := p.table.Load(); now.cache != t.cache {
		// The states were forgotten meanwhile: find the place of this one among the new ones.
		t = now
		from = p.place(st)
		t = p.table.Load()
	} else {
		t = now
	}
	if next := t.rows[from+class].Load(); next != unknown {
		return t, next
	}
	p.work = stepWork
	row := matched
	if !p.advance(st, class) {
		row = dead // behind the end
		if int(class) < p.classes.n {
			row = p.placeSet(p.next, kindOf(p.classes.rep[class]), &from, st)
		}
	}
	if m != nil {
		m.left -= p.work
	}
	t = p.table.Load()
	if p.kept != nil && &t.rows[0] == &p.kept.rows[0] {
		t = p.grow(t, len(p.cache.states))
		p.table.Store(t)
	}
	t.rows[from+class].Store(row)
	return t, row
}

// place is the row of a state of an earlier cache.
func (p *Pattern) place(st state) uint32 {
	var none uint32
	return p.placeSet(st.insts, st.kind, &none, state{})
}

// placeSet is the entry for a state, which it makes if need be. If there are too many it forgets them
// all first; *from is then set to the new row of the state st.
func (p *Pattern) placeSet(insts []uint32, k kind, from *uint32, st state) uint32 {
	if len(p.cache.states) >= p.max || p.cache.insts >= setInsts {
		own := slices.Clone(insts) // it may lie in scratch, which reset uses
		p.reset()
		if *from != 0 {
			*from = p.intern(st.insts, st.kind)
			p.fit()
		}
		insts = own
	}
	row := p.intern(insts, k)
	p.fit()
	return row
}

// fit makes room in the table for the states that there are.
func (p *Pattern) fit() {
	t := p.table.Load()
	if need := (len(p.cache.states) + 1) * int(p.stride); need > len(t.rows) || t.cache != p.cache {
		p.table.Store(p.grow(t, min(2*len(p.cache.states), p.max+2)))
	}
}

// intern is the entry for a set of instructions: an existing row, a new one, or none.
func (p *Pattern) intern(insts []uint32, k kind) uint32 {
	if !p.looks {
		k = kindOther
	}
	if len(insts) == 0 && p.anchored {
		return dead
	}
	if p.ends(insts) {
		return matched
	}
	p.key = append(p.key[:0], byte(k))
	last := uint32(0)
	for _, pc := range insts {
		// The distance to the one before, seven bits at a time.
		d := pc - last
		last = pc
		for ; d >= 0x80; d >>= 7 {
			p.key = append(p.key, byte(d)|0x80)
		}
		p.key = append(p.key, byte(d))
	}
	if row, ok := p.cache.index[string(p.key)]; ok {
		return row
	}
	p.work += newWork
	p.cache.states = append(p.cache.states, state{insts: slices.Clone(insts), kind: k})
	p.cache.insts += len(insts)
	row := uint32(len(p.cache.states)) * p.stride //nolint:gosec // below tableBytes
	p.cache.index[string(p.key)] = row
	return row
}

// advance puts into p.next where the program may be behind a rune of the class, or behind the end of the
// text. It reports that a match has ended before that.
func (p *Pattern) advance(st state, class uint32) (matches bool) {
	var begun *beginning
	if !p.anchored {
		if begun = p.beginning(st.kind, class); begun.matches {
			return true
		}
	}
	p.next = p.next[:0]
	if p.threads(st.insts, st.kind, class) {
		return true
	}
	if begun == nil {
		slices.Sort(p.next)
	} else {
		// Those that have just begun are most, and in order already.
		p.next = slices.DeleteFunc(p.next, func(pc uint32) bool { return p.implied[pc] })
		slices.Sort(p.next)
		p.merged = p.merged[:0]
		i := 0
		for _, pc := range begun.insts {
			if p.mark[pc] == p.round {
				continue // among the others
			}
			for ; i < len(p.next) && p.next[i] < pc; i++ {
				p.merged = append(p.merged, p.next[i])
			}
			p.merged = append(p.merged, pc)
		}
		p.merged = append(p.merged, p.next[i:]...)
		p.work += mergeWork * len(begun.insts)
		p.next, p.merged = p.merged, p.next
	}
	p.work += keepWork * len(p.next)
	return false
}

// threads adds to p.next where threads are behind a rune of the class. It reports that one of them has
// ended in a match before that.
func (p *Pattern) threads(from []uint32, k kind, class uint32) (matches bool) {
	end := int(class) == p.classes.n
	r := rune(-1)
	if !end {
		r = p.classes.rep[class]
	}
	if p.looks {
		// Now that both neighbours are known, the assertions between them are.
		p.newRound()
		p.cross = p.cross[:0]
		flags := syntax.EmptyOpContext(k.rune(), r)
		for _, pc := range from {
			p.cross = p.follow(p.cross, pc, flags, true)
		}
		if from = p.cross; p.ends(from) {
			return true
		}
	}
	p.newRound()
	if end {
		return false
	}
	for _, pc := range from {
		p.work += visitWork
		if in := &p.insts[pc]; in.op == opRune && p.classes.sets[in.set].has(class) {
			p.next = p.follow(p.next, in.out, 0, false)
		}
	}
	return false
}

// follow appends to set the instructions that take a rune, or end, which pc leads to without one. With
// resolve the assertions that flags satisfy are passed and the others are dead ends; without it they are
// kept in the set, until it is known what comes next.
func (p *Pattern) follow(set []uint32, pc uint32, flags syntax.EmptyOp, resolve bool) []uint32 {
	p.stack = append(p.stack[:0], pc)
	for len(p.stack) > 0 {
		pc := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		if p.mark[pc] == p.round {
			continue
		}
		p.mark[pc] = p.round
		p.work += visitWork
		in := &p.insts[pc]
		switch in.op {
		case opSplit:
			p.stack = append(p.stack, in.arg, in.out)
		case opGo:
			p.stack = append(p.stack, in.out)
		case opLook:
			switch {
			case !resolve:
				set = append(set, pc)
			case syntax.EmptyOp(in.arg)&^flags == 0: //nolint:gosec // the package's own encoding
				p.stack = append(p.stack, in.out)
			}
		case opFail:
		default:
			set = append(set, pc)
		}
	}
	return set
}
