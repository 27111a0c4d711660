package rx

import (
	"math"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// classes divides the runes into those that no instruction of a program tells apart. The end of the
// text is one more class, the last.
type classes struct {
	ascii  [utf8.RuneSelf]uint8
	latin  [latinEnd - utf8.RuneSelf]uint8 // the classes of the runes before latinEnd
	faulty uint8                           // the class of utf8.RuneError, which invalid UTF-8 reads as
	starts []rune                          // where the intervals above ASCII begin, ascending; the first is utf8.RuneSelf
	of     []uint8                         // the class of each of them
	rep    []rune                          // one rune of each class
	n      int                             // how many, without the end
	sets   []classSet
}

// latinEnd is behind the letters of the languages of Europe that are written in Latin letters.
const latinEnd = 0x180

// maxClasses leaves room for the end in a uint8.
const maxClasses = 254

// An inst is an instruction of a program, in less room than regexp/syntax has for it: a rule set has a
// hundred thousand of them.
type inst struct {
	op       op
	set      uint16 // of opRune, in classes.sets
	out, arg uint32 // where to go on; of opLook, arg is what is asserted
}

type op uint8

const (
	opFail op = iota
	opMatch
	opGo    // on at out
	opSplit // at out and at arg
	opLook
	opRune
)

// A classSet is a set of classes.
type classSet [4]uint64

func (s *classSet) has(class uint32) bool { return s[class/64]&(1<<(class%64)) != 0 }

// translate finds the classes of a program, and writes it with them. It reports false if there are too
// many. With looks, what the empty-width assertions look at is told apart too.
func translate(prog *syntax.Prog, looks bool) ([]inst, *classes, bool) {
	sets, cuts, setOf := runeSets(prog)
	if len(sets) > math.MaxUint16 {
		return nil, nil, false
	}
	c, ok := newClasses(sets, cuts, looks)
	if !ok {
		return nil, nil, false
	}
	insts := make([]inst, len(prog.Inst))
	for i, in := range prog.Inst {
		to := inst{out: in.Out, arg: in.Arg}
		switch in.Op {
		case syntax.InstMatch:
			to.op = opMatch
		case syntax.InstCapture, syntax.InstNop:
			to.op = opGo
		case syntax.InstAlt, syntax.InstAltMatch:
			to.op = opSplit
		case syntax.InstEmptyWidth:
			to.op = opLook
		case syntax.InstFail:
			to.op = opFail
		default:
			to.op, to.set = opRune, setOf[i]
		}
		insts[i] = to
	}
	return insts, c, true
}

// newClasses tells apart what one of the sets tells apart.
func newClasses(sets []*syntax.Inst, cuts []rune, looks bool) (*classes, bool) {
	if looks {
		cuts = append(cuts, '\n', '\n'+1, '0', '9'+1, 'A', 'Z'+1, '_', '_'+1, 'a', 'z'+1)
	}
	// Invalid UTF-8 reads as the replacement character, which is cut out so that both are one class.
	cuts = append(cuts, 0, utf8.RuneSelf, utf8.RuneError, utf8.RuneError+1)
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)

	c := &classes{}
	known := map[string]uint8{}
	signature := make([]byte, len(sets)/8+2)
	next := 0 // where in ascii
	for i, r := range cuts {
		if r > unicode.MaxRune {
			break
		}
		clear(signature)
		for j, in := range sets {
			if matchesRune(in, r) {
				signature[j/8] |= 1 << (j % 8)
			}
		}
		if looks {
			signature[len(signature)-1] = byte(kindOf(r))
		}
		class, ok := known[string(signature)]
		if !ok {
			if len(c.rep) == maxClasses {
				return nil, false
			}
			class = uint8(len(c.rep)) //nolint:gosec // at most maxClasses
			known[string(signature)] = class
			c.rep = append(c.rep, r)
		}
		end := rune(utf8.RuneSelf)
		if i+1 < len(cuts) {
			end = min(end, cuts[i+1])
		}
		for ; next < int(end); next++ {
			c.ascii[next] = class
		}
		if r >= utf8.RuneSelf {
			c.starts = append(c.starts, r)
			c.of = append(c.of, class)
		}
	}
	for i := range c.latin {
		c.latin[i] = c.find(rune(utf8.RuneSelf + i))
	}
	c.faulty = c.find(utf8.RuneError)
	c.n = len(c.rep)
	c.sets = make([]classSet, len(sets))
	for i, in := range sets {
		for class, r := range c.rep {
			if matchesRune(in, r) {
				c.sets[i][class/64] |= 1 << (class % 64)
			}
		}
	}
	return c, true
}

// matchesRune is Inst.MatchRune for all instructions that take a rune.
func matchesRune(in *syntax.Inst, r rune) bool {
	switch in.Op {
	case syntax.InstRuneAny:
		return true
	case syntax.InstRuneAnyNotNL:
		return r != '\n'
	default:
		return in.MatchRune(r)
	}
}

// runeSets lists the distinct sets of runes that the program asks for, the runes at which one of them begins
// or ends, and which set an instruction has.
func runeSets(prog *syntax.Prog) (sets []*syntax.Inst, cuts []rune, setOf map[int]uint16) {
	seen := map[string]uint16{}
	setOf = make(map[int]uint16)
	var key []byte
	for i := range prog.Inst {
		in := &prog.Inst[i]
		switch in.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		default:
			continue
		}
		key = append(key[:0], byte(in.Op), byte(in.Arg))
		for _, r := range in.Rune {
			key = utf8.AppendRune(key, r)
		}
		set, ok := seen[string(key)]
		if !ok {
			set = uint16(len(sets)) //nolint:gosec // translate counts them
			seen[string(key)] = set
			sets = append(sets, in)
			cuts = append(cuts, bounds(in)...)
		}
		setOf[i] = set
	}
	return sets, cuts, setOf
}

// bounds are the runes at which in begins or ends to match.
func bounds(in *syntax.Inst) (cuts []rune) {
	if in.Op == syntax.InstRuneAnyNotNL {
		return []rune{'\n', '\n' + 1}
	}
	if len(in.Rune) == 1 {
		r := in.Rune[0]
		cuts = append(cuts, r, r+1)
		if syntax.Flags(in.Arg)&syntax.FoldCase != 0 { //nolint:gosec // the package's own encoding
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				cuts = append(cuts, f, f+1)
			}
		}
		return cuts
	}
	for i := 0; i+1 < len(in.Rune); i += 2 {
		cuts = append(cuts, in.Rune[i], in.Rune[i+1]+1)
	}
	return cuts
}

// above is the class of a rune that is not ASCII.
func (c *classes) above(r rune) uint8 {
	switch {
	case r < latinEnd:
		return c.latin[r-utf8.RuneSelf]
	case r == utf8.RuneError:
		return c.faulty
	default:
		return c.find(r)
	}
}

// find is above without the classes that are kept for it.
func (c *classes) find(r rune) uint8 {
	i, found := slices.BinarySearch(c.starts, r)
	if !found {
		i--
	}
	return c.of[i]
}

// A kind is what assertions have to know of the rune before them.
type kind uint8

const (
	kindBegin   kind = iota // there is none
	kindNewline             // it ends a line
	kindWord                // it belongs to a word, as \b has it
	kindOther
)

func kindOf(r rune) kind {
	switch {
	case r == '\n':
		return kindNewline
	case syntax.IsWordChar(r):
		return kindWord
	default:
		return kindOther
	}
}

// rune is one that is of the kind, for syntax.EmptyOpContext.
func (k kind) rune() rune {
	switch k {
	case kindBegin:
		return -1
	case kindNewline:
		return '\n'
	case kindWord:
		return 'a'
	default:
		return ' '
	}
}
