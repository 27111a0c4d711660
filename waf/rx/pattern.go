package rx

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Limits of one Pattern.
const (
	// tableBytes bounds the transitions that are kept. The union of all patterns of the Core Rule Set visits some
	// thousand states on ordinary input, of 600 bytes each, and some ten thousand on noise.
	tableBytes = 16 << 20
	// setInsts bounds the sets that the states stand for, of four bytes for an instruction and as many in the index. A
	// text that begins many matches and ends none has sets of hundreds.
	setInsts = 12 << 20 / 8
	// maxInsts bounds the program: a state is a set of its instructions.
	maxInsts = 200_000
)

// A Pattern is one regular expression, or the union of several, compiled to a deterministic automaton
// whose states are made when they are first needed. It tells whether there is a match and not where: that
// is all that most rules ask.
//
// A Pattern is safe for concurrent use. States are shared among all who match; making one takes a lock
// for the time of one step through the program. Nothing of an input is kept.
type Pattern struct {
	insts    []inst
	begin    uint32 // the first of them
	classes  *classes
	bytes    bool   // each byte is a character
	looks    bool   // there are empty-width assertions
	anchored bool   // a match can only begin at the beginning
	first    []byte // if not nil, the only bytes that are more to the start than one that it passes
	stride   uint32
	max      int // states

	table atomic.Pointer[table]

	mu    sync.Mutex
	cache *cache // of the table
	kept  *cache // what Keep has kept, or nil
	scratch
}

// A table is the transitions of a cache. An entry is the place of the next state's row, or one of the
// values below. Entries are set once; a row never moves while the cache lives.
type table struct {
	cache *cache
	rows  []atomic.Uint32
}

// Entries that are no row.
const (
	unknown uint32 = iota // not made yet
	dead                  // nothing that follows can match
	matched
	firstRow // rows begin here or above
)

// Compile reads an expression in the syntax of package regexp, and means the same by it.
func Compile(expr string) (*Pattern, error) {
	return compile(expr, syntax.Perl, false)
}

// CompileBytes is Compile for an expression over bytes: every byte of an input is one character, with
// the code point of its value.
func CompileBytes(expr string) (*Pattern, error) {
	return compile(expr, syntax.Perl, true)
}

// Union compiles expressions into one Pattern that matches what at least one of them matches.
func Union(exprs []string) (*Pattern, error) {
	all := &syntax.Regexp{Op: syntax.OpAlternate}
	for _, expr := range exprs {
		// Parsed alone, so that no flag of one reaches the next.
		re, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			return nil, fmt.Errorf("regular expression: %w", err)
		}
		all.Sub = append(all.Sub, re)
	}
	switch len(all.Sub) {
	case 0:
		return nil, errors.New("regular expression: a union of none")
	case 1:
		all = all.Sub[0]
	}
	return build(all, false)
}

func compile(expr string, flags syntax.Flags, bytes bool) (*Pattern, error) {
	re, err := syntax.Parse(expr, flags)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	return build(re, bytes)
}

func build(re *syntax.Regexp, bytes bool) (*Pattern, error) {
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	if len(prog.Inst) > maxInsts {
		return nil, fmt.Errorf("regular expression: %d instructions are more than %d", len(prog.Inst), maxInsts)
	}
	p := &Pattern{
		begin: uint32(prog.Start), //nolint:gosec // an instruction's number
		bytes: bytes, anchored: prog.StartCond()&syntax.EmptyBeginText != 0,
	}
	p.looks = slices.ContainsFunc(prog.Inst, func(in syntax.Inst) bool { return in.Op == syntax.InstEmptyWidth })
	var ok bool
	if p.insts, p.classes, ok = translate(prog, p.looks); !ok {
		return nil, errors.New("regular expression: it tells too many characters apart")
	}
	p.stride = uint32(max(p.classes.n+1, int(firstRow))) //nolint:gosec // at most 255
	p.max = max(tableBytes/4/int(p.stride), 64)
	p.scratch = newScratch(len(prog.Inst))
	p.begins()
	p.first = p.firstBytes()
	p.reset()
	return p, nil
}

// What a match costs in a Meter's units: each byte in a state that exists, where the tables of many Patterns compete
// for the processor's caches, and the call.
const (
	byteWork = 3
	callWork = 30
)

// A Meter bounds the work of matches. Its unit is about a nanosecond. The
// zero Meter has none left. It is not safe for concurrent use.
type Meter struct {
	left int
}

// NewMeter allows for so much work.
func NewMeter(units int) *Meter { return &Meter{left: units} }

// Exhausted reports that more work was asked for than was allowed. What matches said since is not to be
// relied on.
func (m *Meter) Exhausted() bool { return m.left < 0 }

// Spend takes n units.
func (m *Meter) Spend(n int) { m.left -= n }

// Left is how many units are left; less than none once it is exhausted.
func (m *Meter) Left() int { return m.left }

// Match reports whether the expression matches somewhere in s. It says what regexp.MatchString says. If
// m is not nil it is charged for the work, and once it is exhausted Match says true without looking
// further.
func (p *Pattern) Match(s string, m *Meter) bool {
	if m != nil {
		m.left -= byteWork*len(s) + callWork
		if m.left < 0 {
			return true
		}
	}
	t := p.table.Load()
	state := t.cache.start
	if state < firstRow {
		return state == matched
	}
	if p.first != nil {
		i := p.skip(s)
		if i < 0 {
			return p.atEnd(t, state, m)
		}
		s = s[i:]
	}
	if p.bytes {
		return p.matchBytes(t, state, s, m)
	}
	for i := 0; i < len(s); {
		var class uint32
		if b := s[i]; b < utf8.RuneSelf {
			class = uint32(p.classes.ascii[b])
			i++
		} else {
			r, size := utf8.DecodeRuneInString(s[i:])
			class = uint32(p.classes.above(r))
			i += size
		}
		next := t.rows[state+class].Load()
		if next < firstRow {
			if next == unknown {
				t, next = p.step(t, state, class, m)
			}
			if next < firstRow {
				return next == matched
			}
		}
		state = next
	}
	return p.atEnd(t, state, m)
}

// skip is where the first byte is that leads away from the start, or -1.
func (p *Pattern) skip(s string) int {
	found := -1
	for _, b := range p.first {
		if i := strings.IndexByte(s, b); i >= 0 {
			found, s = i, s[:i]
		}
	}
	return found
}

func (p *Pattern) matchBytes(t *table, state uint32, s string, m *Meter) bool {
	for i := range len(s) {
		var class uint32
		if b := s[i]; b < utf8.RuneSelf {
			class = uint32(p.classes.ascii[b])
		} else {
			class = uint32(p.classes.above(rune(b)))
		}
		next := t.rows[state+class].Load()
		if next < firstRow {
			if next == unknown {
				t, next = p.step(t, state, class, m)
			}
			if next < firstRow {
				return next == matched
			}
		}
		state = next
	}
	return p.atEnd(t, state, m)
}

// atEnd reports whether the end of the text completes a match.
func (p *Pattern) atEnd(t *table, state uint32, m *Meter) bool {
	next := t.rows[state+uint32(p.classes.n)].Load() //nolint:gosec // at most 254
	if next == unknown {
		_, next = p.step(t, state, uint32(p.classes.n), m) //nolint:gosec // the same
	}
	return next == matched
}

// Keep keeps the states that have been made so far, whatever is matched later. States beyond them are
// forgotten when there are too many.
func (p *Pattern) Keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.cache.states) > p.max/2 {
		return // there would be too little room for the others
	}
	p.kept = p.cache.clone()
	// One copy serves until an entry is added: an idle front door needs no other, and no room for more states.
	t := p.grow(p.table.Load(), len(p.cache.states))
	p.kept.rows = t.rows
	p.table.Store(t)
}

// States is how many states there are.
func (p *Pattern) States() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.cache.states)
}

// Bytes is about how much memory the states take.
func (p *Pattern) Bytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.table.Load().rows) * 4
	for _, s := range p.cache.states {
		n += len(s.insts)*4*2 + 64
	}
	return n
}
