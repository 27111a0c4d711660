package gate

import (
	"strings"
	"unicode/utf8"

	"github.com/corazawaf/coraza/v3/types/variables"

	"gatehouse/waf/rx"
)

// What things cost, in a Meter's units: nanoseconds of a core of 2023. Where the cost of a byte depends on the byte,
// it is that of the worst.
const (
	// valueWork is what a value costs before anything is done with it.
	valueWork = 300
	// ruleWork is what a rule costs the engine before it reads anything, and readWork each value that it reads.
	ruleWork = 500
	readWork = 150
	// stepWork is what a transformation of a value costs the engine, whatever its length: its cache takes an entry
	// for each, and is hardly ever asked twice for the same one.
	stepWork = 350
	// captureWork is what a byte costs package regexp.
	captureWork = 100
	// highWork is what a byte beyond ASCII costs a transformation that reads characters.
	highWork = 15
)

// stepWorkOf is what a transformation costs for each byte.
func stepWorkOf(name string) int {
	switch name {
	case "none", "length":
		return 0
	case "lowercase", "removenulls", "base64decode", "utf8tounicode", "normalizepath", "normalisepath":
		return 2
	case "htmlentitydecode":
		return 4
	case "normalizepathwin", "normalisepathwin":
		return 8
	case "removecommentschar":
		return 30
	default:
		return 4
	}
}

// operatorWorkOf is what the engine's own operators cost for each byte. Those that the program has put in their
// places charge for themselves.
func operatorWorkOf(op operator) int {
	switch name := strings.ToLower(op.name); name {
	case "rx":
		if OverBytes(RxFlags + op.arg) {
			return 150 // the engine has another matcher for those
		}
		return 0
	case "pm", "pmf", "pmfromfile":
		return 30
	case "detectsqli", "detectxss", "unconditionalmatch", "nomatch", "eq", "ge", "gt", "le", "lt":
		return 0
	default:
		return 2
	}
}

// A reading is what one link of a rule reads.
type reading struct {
	source            *source
	value, byte, high int // the work of each value, each byte, and each byte beyond ASCII
}

// readings are those of a rule.
func (b *builder) readings(r *rule) (all []reading) {
	for i := range r.links {
		l := &r.links[i]
		work := reading{value: readWork, byte: operatorWorkOf(l.op), high: highWork * len(l.transforms)}
		for _, name := range l.transforms {
			work.value += stepWork
			work.byte += stepWorkOf(name)
		}
		if l.multi {
			work.byte += operatorWorkOf(l.op) * len(l.transforms)
		}
		for _, t := range l.targets {
			if t.count || t.variable == variables.TX || isFleeting(t.variable) {
				continue // few and short
			}
			work.source = b.measured(t)
			all = append(all, work)
		}
	}
	return all
}

// measured is the source of a target, to be measured only.
func (b *builder) measured(t target) *source {
	key := t.key
	if t.pattern != nil {
		key = "/" + t.pattern.String()
	}
	name := t.variable.Name() + ":" + key
	s := b.sizes[name]
	if s == nil {
		s = &source{name: name, variable: t.variable, key: t.key, pattern: t.pattern}
		b.sizes[name] = s
	}
	return s
}

// A size is how much a source has.
type size struct{ values, bytes, high int }

func (s *source) size(vars Variables) (n size) {
	col := vars.Collection(s.variable)
	if col == nil {
		return n
	}
	for _, m := range s.find(col) {
		v := m.Value()
		n.values++
		n.bytes += len(v)
		for i := range len(v) {
			if v[i] >= utf8.RuneSelf {
				n.high++
			}
		}
	}
	return n
}

// Charge charges the meter for what the engine will do with the rules of a phase that stay in.
func (j *Judgement) Charge(n int, vars Variables) {
	sizes := map[*source]size{}
	work := 0
	for _, r := range j.gate.phases[n].rules {
		if !j.stays(n, r) {
			continue
		}
		work += ruleWork
		for _, read := range r.reads {
			s, known := sizes[read.source]
			if !known {
				s = read.source.size(vars)
				sizes[read.source] = s
			}
			work += s.values*read.value + s.bytes*read.byte + s.high*read.high
		}
	}
	j.meter.Spend(work)
}

// What libinjection costs: each token in each reading, which it folds into the ones before. A word behind a word and a
// blank is cheap: five words that nothing joins are the end of a reading.
const (
	tokenWork = 90
	plainWork = 30
	tagWork   = 500 // of HTML
	attrWork  = 60
	htmlWork  = 10 // each byte, in all readings
)

// sqliWork is what libinjection does to a text at the most. It stops at the fifth token that it cannot fold, which is
// not known before.
func sqliWork(v string) int {
	work, escaped := 0, 0
	single, double, dashes := false, false, false
	last := byte(0) // before the token
	for i := 0; i < len(v); i++ {
		b := v[i]
		if isWordByte(b) {
			plain := i >= 2 && v[i-1] == ' ' && isWordByte(v[i-2]) || last == ','
			for i+1 < len(v) && isWordByte(v[i+1]) {
				i++
			}
			if last = 'a'; plain {
				work += plainWork
			} else {
				work += tokenWork
			}
			continue
		}
		last = b
		switch b {
		case ' ', '\n', '\r', '\t':
			continue
		case ',':
			work += plainWork
			continue
		case '\'', '"', '`':
			single, double = single || b == '\'', double || b == '"'
			if i > 0 && (v[i-1] == b || v[i-1] == '\\') {
				escaped++
			}
		case '-':
			dashes = dashes || i > 0 && v[i-1] == '-'
		case '#':
			dashes = true
		}
		work += tokenWork
	}
	readings := 1 // as it is, and begun in quotes, each once more where there may be a comment of MySQL
	if single {
		readings++
	}
	if dashes {
		readings *= 2
	}
	if double {
		readings++
	}
	// For each quote that it takes for escaped it looks for the rest of the text, from the beginning.
	return len(v) + (work+escaped*len(v))*readings
}

func isWordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b >= utf8.RuneSelf
}

// xssWork is what it does to one that may be HTML.
func xssWork(v string) int {
	return len(v)*htmlWork + strings.Count(v, "<")*tagWork + (strings.Count(v, "=")+strings.Count(v, " "))*attrWork
}

// begin charges for a value that is to be tested. It reports whether that can be afforded.
func (j *Judgement) begin(v string) bool {
	j.meter.Spend(len(v)/2 + valueWork)
	return !j.meter.Exhausted()
}

// spend charges for n units. It reports whether there are any left.
func spend(m *rx.Meter, n int) bool {
	m.Spend(n)
	return !m.Exhausted()
}

// stepCost is what it costs to transform a text.
func stepCost(n *node, text string, has mask) int {
	if has&hasHigh == 0 {
		return len(text) * n.work
	}
	return len(text) * (n.work + highWork)
}
