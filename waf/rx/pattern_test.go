package rx

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// patterns are those whose parts are easily got wrong: assertions, folding, invalid UTF-8, counts.
func patterns() []string {
	return []string{
		``, `a`, `^a$`, `(?sm)^a`, `(?sm)a$`, `\bfoo\b`, `\Bq`, `(?i)sleep\s*\(`, `(?s)\Aab`, `[^a-z]x`, `(?i)k+`, `x{2,3}y`,
		`(?:a|b)*c\z`, `(?m)^$`, `^$`, `(?s).{3}$`, `é+`, `[\x{80}-\x{ff}]b`, `\x{fffd}`, `a*`, `(?:^|[;&])id=`, `\b`, `\B`,
		`(?i)\bor\b.{0,10}=`, `a.c`, `(?s)a.c`, `(?m)a$\n^b`, `\pL+\d`, `[^\x00-\x7f]`, `(?i)ſ`, `(?i)[k-s]{3}`, `x|\bab|cd$`,
		`(?:(?:a{0,4}){0,4}b)`, `(a|ab)(c|bcd)(d*)`, `^(?:x|y)*$`, `\z`, `(?m:^)\s*$`, `$a`, `a\b`, `\w\b.`, `.\b\w`,
		`_.`, `_?;`, `(?:;|_|&)+a`, `[&=]|\d`, `é_`, `q$`, `_(?:$|a)`, `k`, `(?i)q_`,
	}
}

// alphabet is what inputs are made of.
func alphabet() []string {
	return []string{
		"a", "b", "c", "d", "k", "K", "\u212a", "x", "y", "q", "foo", " ", "\n", "\r", "é", "É", "\xff", "\xe2\x84", "sleep", "(", ";",
		"id=", "_", "&", "Sleep", "\u017f", "\ufffd", "\x00", "1", "or", "=", "\u0661", "你",
	}
}

func randomInput(r *rand.Rand, most int) string {
	letters := alphabet()
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(letters[r.IntN(len(letters))])
	}
	return b.String()
}

func mustCompile(tb testing.TB, expr string) *Pattern {
	tb.Helper()
	p, err := Compile(expr)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestMatchSaysWhatRegexpSays(t *testing.T) {
	t.Parallel()
	for _, expr := range patterns() {
		re, p := regexp.MustCompile(expr), mustCompile(t, expr)
		few := mustCompile(t, expr)
		few.max = 3 // forgets its states all the time
		r := rand.New(rand.NewPCG(1, 2))
		for range 4000 {
			s := randomInput(r, 8)
			want := re.MatchString(s)
			if got := p.Match(s, nil); got != want {
				t.Fatalf("%q in %q: got %v, want %v", expr, s, got, want)
			}
			if got := few.Match(s, nil); got != want {
				t.Fatalf("%q in %q, with 3 states: got %v, want %v", expr, s, got, want)
			}
		}
	}
}

func TestKeptStatesAnswerAlike(t *testing.T) {
	t.Parallel()
	for _, expr := range patterns() {
		re, p := regexp.MustCompile(expr), mustCompile(t, expr)
		r := rand.New(rand.NewPCG(3, 4))
		for range 50 {
			p.Match(randomInput(r, 6), nil)
		}
		p.Keep()
		var kept []uint32
		for i := range p.kept.rows {
			kept = append(kept, p.kept.rows[i].Load())
		}
		p.max = p.States() + 2
		for range 2000 {
			s := randomInput(r, 12)
			if got, want := p.Match(s, nil), re.MatchString(s); got != want {
				t.Fatalf("%q in %q: got %v, want %v", expr, s, got, want)
			}
		}
		for i, entry := range kept {
			if got := p.kept.rows[i].Load(); got != entry {
				t.Fatalf("%q: entry %d of what is kept: got %d, want %d as before", expr, i, got, entry)
			}
		}
	}
}

func TestUnionMatchesWhatOneOfItsPartsMatches(t *testing.T) {
	t.Parallel()
	exprs := []string{`(?i)\bselect\b`, `(?m)^x`, `a$`, `(?s)b.c`, `b.d`, `\x{fffd}`}
	u, err := Union(exprs)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		s := randomInput(r, 6)
		want := false
		for _, expr := range exprs {
			want = want || regexp.MustCompile(expr).MatchString(s)
		}
		if got := u.Match(s, nil); got != want {
			t.Fatalf("%q: got %v, want %v", s, got, want)
		}
	}
}

// An expression over bytes sees invalid UTF-8 as the bytes that it is.
func TestBytesAreCharacters(t *testing.T) {
	t.Parallel()
	p, err := CompileBytes(`\x{bc}[^\x{be}>]*[\x{be}>]|<[^\x{be}]*\x{be}`)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]bool{
		"\xbcscript\xbe": true, "\xbcscript>": true, "<a\xbe": true, "\xbc": false, "<a>": false,
		"\u00bcx>":                  true, // whose second byte it is
		"a plain text before \xbc>": true, "a plain text before <a": false, "ab <\xbd": false, "\xbe\xbe<\xbc\xbe": true,
		"¾": false, "<¾": true, "": false,
	} {
		if got := p.Match(s, nil); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

func TestWhatCannotBeCompiled(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{`(`, `a{2001}`, `(?<x`, `\8`} {
		if _, err := Compile(expr); err == nil {
			t.Errorf("Compile(%q): no error", expr)
		}
		if _, err := Union([]string{"a", expr}); err == nil {
			t.Errorf("Union(a, %q): no error", expr)
		}
	}
	if _, err := Union(nil); err == nil {
		t.Error("Union of none: no error")
	}
}

// hostile is an expression with far more states than are kept, and inputs that visit them: which of the
// last 20 characters were an a has to be remembered.
const hostile = `a[ab]{20}c`

func hostileInput(n int) string {
	r := rand.New(rand.NewPCG(7, 8))
	b := make([]byte, n)
	for i := range b {
		b[i] = "ab"[r.IntN(2)]
	}
	return string(b)
}

func TestStatesAreBounded(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, hostile)
	p.max = 500
	s := hostileInput(100_000)
	if p.Match(s, nil) {
		t.Error("matched what has no c")
	}
	if n := p.States(); n > p.max {
		t.Errorf("states: got %d, want at most %d", n, p.max)
	}
	if !p.Match(s+"a"+s[:20]+"c", nil) {
		t.Error("did not match behind 100,000 hostile characters")
	}
}

func TestAMeterEndsTheWork(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, hostile)
	m := NewMeter(1 << 20)
	s := hostileInput(1 << 19)
	if !p.Match(s, m) || !m.Exhausted() {
		t.Errorf("got %d units left of a million after half a million hostile bytes, want none and a match", m.Left())
	}
	// What is cheap is not ended by a meter of that size.
	m = NewMeter(1 << 20)
	if p.Match(strings.Repeat("x", 1<<18), m) || m.Exhausted() {
		t.Errorf("got %d units left of a million after a quarter of a million plain bytes", m.Left())
	}
}

// What making a state takes is charged for: for the state, and for each place in the program that it holds.
func TestMetersChargeForStates(t *testing.T) {
	t.Parallel()
	const perState, perPlace = 2400, 12
	for expr, places := range map[string]int{
		hostile: 1, `a[ab]{400}c`: 100, `^[ab]*[ab]{400}c`: 150, `(?:a[ab]{300}c)|(?:[ab]{2}b[ab]{300}d)`: 150,
	} {
		p := mustCompile(t, expr)
		s := hostileInput(1000)
		const allowed = 1 << 40
		m := NewMeter(allowed)
		before := p.States()
		p.Match(s, m)
		made := p.States() - before
		if made < 200 {
			t.Errorf("%s: %d states, want some hundred", expr, made)
		}
		if got, want := allowed-m.Left(), made*(perState+places*perPlace); got < want {
			t.Errorf("%s: %d units for %d states of %d places or more, want at least %d", expr, got, made, places, want)
		}
		// Once they are made, they cost next to nothing.
		m = NewMeter(allowed)
		p.Match(s, m)
		if got, want := allowed-m.Left(), byteWork*len(s)+callWork; got != want {
			t.Errorf("%s, again: got %d units, want %d", expr, got, want)
		}
	}
}

func TestConcurrentMatches(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{hostile, `(?i)\b(?:union|select)\b.{0,20}\bfrom\b`} {
		re, p := regexp.MustCompile(expr), mustCompile(t, expr)
		p.max = 200
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 9))
				for range 300 {
					s := randomInput(r, 30) + hostileInput(r.IntN(60))
					if got, want := p.Match(s, nil), re.MatchString(s); got != want {
						t.Errorf("%q in %q: got %v, want %v", expr, s, got, want)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	p := mustCompile(t, `(?i)\b(?:union|select)\b.{0,20}\bfrom\b`)
	m := NewMeter(1 << 40)
	const s = "the quick brown fox selects from the union of é and ü"
	p.Match(s, m)
	if n := testing.AllocsPerRun(100, func() { p.Match(s, m) }); n != 0 {
		t.Errorf("allocations: got %v, want 0", n)
	}
}

func FuzzMatch(f *testing.F) {
	for _, expr := range patterns() {
		f.Add(expr, "foo aab\n\xffé")
	}
	f.Add(hostile, "abababababababababababac")
	f.Fuzz(func(t *testing.T, expr, s string) {
		if len(expr) > 200 || len(s) > 2000 {
			return
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return
		}
		p, err := Compile(expr)
		if err != nil {
			return // too many characters are told apart
		}
		p.max = 16
		want := re.MatchString(s)
		for range 2 {
			if got := p.Match(s, nil); got != want {
				t.Fatalf("%q in %q: got %v, want %v", expr, s, got, want)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	const expr = `(?i)\b(?:union|select|insert|update|delete)\b.{0,20}\b(?:from|into|set)\b`
	s := strings.Repeat("an ordinary sentence about ordinary things, ", 20)
	p, re := mustCompile(b, expr), regexp.MustCompile(expr)
	b.Run("rx", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			p.Match(s, nil)
		}
	})
	b.Run("regexp", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			re.MatchString(s)
		}
	})
}
