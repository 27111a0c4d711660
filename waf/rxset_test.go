package waf

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/corazawaf/coraza/v3"

	"gatehouse/waf/gate"
	"gatehouse/waf/rx"
)

// setPatterns are the arguments of every @rx that the engine loads at paranoia 4.
func setPatterns(t testing.TB) []string {
	t.Helper()
	rules, err := loadRules(Config{Paranoia: 4}.normal(), "")
	if err != nil {
		t.Fatal(err)
	}
	begin := regexp.MustCompile(`"!?@rx `)
	var out []string
	for _, d := range directives(rules.text) {
		at := begin.FindStringIndex(d)
		if at == nil {
			continue
		}
		rest := d[at[1]:]
		end := 0
		for ; rest[end] != '"'; end++ {
			if rest[end] == '\\' {
				end++
			}
		}
		out = append(out, strings.TrimSpace(strings.ReplaceAll(rest[:end], `\"`, `"`)))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) < 230 {
		t.Fatalf("patterns: got %d, want those of the whole set", len(out))
	}
	return out
}

// A setPattern is one of them, in both ways.
type setPattern struct {
	expr string
	re   *regexp.Regexp
	rx   *rx.Pattern
}

func compileSet(t testing.TB) (list []setPattern, bytes []string) {
	t.Helper()
	for _, arg := range setPatterns(t) {
		expr := gate.RxFlags + arg
		if gate.OverBytes(expr) {
			bytes = append(bytes, arg)
			continue
		}
		p, err := rx.Compile(expr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, setPattern{expr, regexp.MustCompile(expr), p})
	}
	return list, bytes
}

// each calls f for some of the patterns, on two goroutines.
func each(list []setPattern, f func(p setPattern)) {
	var wg sync.WaitGroup
	jobs := make(chan setPattern)
	for range 2 {
		wg.Go(func() {
			for p := range jobs {
				f(p)
			}
		})
	}
	for _, p := range list {
		jobs <- p
	}
	close(jobs)
	wg.Wait()
}

// Every expression of the set says of every payload in its tests what package regexp says.
func TestEveryPatternOnEveryPayload(t *testing.T) {
	t.Parallel()
	list, _ := compileSet(t)
	all := payloads()
	step := max(1, len(all)/some(len(all)))
	var compared atomic.Int64
	each(list, func(p setPattern) {
		for i := 0; i < len(all); i += step {
			compared.Add(1)
			if got, want := p.rx.Match(all[i], nil), p.re.MatchString(all[i]); got != want {
				t.Errorf("%.60q in %q: got %v, want %v", p.expr, all[i], got, want)
			}
		}
	})
	t.Logf("%d comparisons of %d patterns", compared.Load(), len(list))
}

// The set has an expression or two over bytes. Coraza matches them with another package.
func TestPatternsOverBytes(t *testing.T) {
	t.Parallel()
	_, exprs := compileSet(t)
	if len(exprs) == 0 {
		t.Error("there are none")
	}
	list := append([]string{"", "\xbc", "\xbcscript\xbe", "¼script¾", "<a\xbe", "\xff\xfe", "¾", "+ADw-script+AD4-"}, payloads()...)
	step := len(list) / some(len(list))
	for _, expr := range exprs {
		p, err := rx.CompileBytes(expr)
		if err != nil {
			t.Fatal(err)
		}
		built, err := coraza.NewWAF(coraza.NewWAFConfig().WithDirectives(
			`SecRule ARGS_GET "@rx ` + strings.ReplaceAll(expr, `"`, `\"`) + `" "id:1,phase:1,pass,log,t:none"`))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(list); i += step {
			tx := built.NewTransaction()
			tx.AddGetRequestArgument("x", list[i])
			tx.ProcessRequestHeaders()
			want := len(tx.MatchedRules()) > 0
			if err := tx.Close(); err != nil {
				t.Fatal(err)
			}
			if got := p.Match(list[i], nil); got != want {
				t.Errorf("%q in %q: got %v, want %v", expr, list[i], got, want)
			}
		}
	}
}

// letters are the texts that an expression is made of.
func letters(expr string) (out []string) {
	var walk func(re *syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			s := string(re.Rune)
			out = append(out, s, strings.ToUpper(s), s[:len(s)/2+1])
		case syntax.OpCharClass:
			for i := 0; i+1 < len(re.Rune) && i < 40; i += 2 {
				out = append(out, string(re.Rune[i]), string(re.Rune[i+1]))
			}
		}
		for _, sub := range re.Sub {
			walk(sub)
		}
	}
	if re, err := syntax.Parse(expr, syntax.Perl); err == nil {
		walk(re)
	}
	return append(out, " ", "a", "1", "\n", "é", "\xff")
}

// hostileTexts are texts in which p finds nothing, made of what it looks for: each begins as many matches as it
// can, and ends none, so that an automaton has to remember them all.
func hostileTexts(p *rx.Pattern, pieces []string, count, size int) (texts []string) {
	for n := range count {
		g := generator{Rand: rand.New(rand.NewPCG(13, uint64(n)))}
		var b strings.Builder
		last := ""
		for tries := 0; b.Len() < size && tries < size; tries++ {
			piece := pick(g, pieces...)
			if g.odds(30) {
				piece = strings.Repeat(piece, 1+g.IntN(6))
			}
			if len(last) > 200 {
				last = last[len(last)-200:]
			}
			if p.Match(last+piece, nil) {
				continue
			}
			last += piece
			b.WriteString(piece)
		}
		texts = append(texts, b.String())
	}
	return texts
}

// statesLimit is what one expression's states may take, with room for the sets that they stand for.
const statesLimit = 32 << 20

// The real expressions, attacked with texts made for each: memory stays bounded, the answers stay right, and a
// meter ends the work.
func TestStateExplosionOfTheSet(t *testing.T) {
	t.Parallel()
	list, _ := compileSet(t)
	if raceEnabled || testing.Short() {
		list = list[:5]
	}
	var total, states, most atomic.Int64
	each(list, func(p setPattern) {
		for _, s := range hostileTexts(p.rx, letters(p.expr), 24, 2000) {
			if got, want := p.rx.Match(s, nil), p.re.MatchString(s); got != want {
				t.Errorf("%.60q in %.200q: got %v, want %v", p.expr, s, got, want)
			}
			m := rx.NewMeter(2000 * 1000)
			p.rx.Match(s, m)
			if m.Exhausted() {
				t.Errorf("%.60q in %d bytes that it knows: took more than 1000 units a byte", p.expr, len(s))
			}
		}
		n := p.rx.Bytes()
		if n > statesLimit {
			t.Errorf("%.60q: %d bytes of %d states, want at most %d", p.expr, n, p.rx.States(), statesLimit)
		}
		total.Add(int64(n))
		states.Add(int64(p.rx.States()))
		for now := most.Load(); int64(n) > now && !most.CompareAndSwap(now, int64(n)); now = most.Load() {
		}
	})
	t.Logf("%d patterns: %d states, %d kB, at most %d kB for one", len(list), states.Load(), total.Load()>>10, most.Load()>>10)
}

// The union of all those that ordinary text does not match, which is what a gate asks first.
func TestUnionOfTheSet(t *testing.T) {
	t.Parallel()
	list, _ := compileSet(t)
	list = slices.DeleteFunc(list, func(p setPattern) bool {
		return slices.ContainsFunc([]string{"", "a", "text/html", "a%20b", "a\nb", "é"}, func(s string) bool { return p.rx.Match(s, nil) })
	})
	if raceEnabled || testing.Short() {
		list = list[:12]
	}
	var exprs, pieces []string
	for _, p := range list {
		exprs = append(exprs, p.expr)
		pieces = append(pieces, letters(p.expr)...)
	}
	union, err := rx.Union(exprs)
	if err != nil {
		t.Fatal(err)
	}
	all := payloads()
	step := max(1, len(all)/some(len(all)))
	for i := 0; i < len(all); i += step {
		want := slices.ContainsFunc(list, func(p setPattern) bool { return p.rx.Match(all[i], nil) })
		if got := union.Match(all[i], nil); got != want {
			t.Errorf("union of %d in %q: got %v, want %v", len(exprs), all[i], got, want)
		}
	}
	for _, s := range hostileTexts(union, pieces, some(400), 2000) {
		want := slices.ContainsFunc(list, func(p setPattern) bool { return p.rx.Match(s, nil) })
		if got := union.Match(s, nil); got != want {
			t.Errorf("union of %d in %q: got %v, want %v", len(exprs), s, got, want)
		}
	}
	if n := union.Bytes(); n > statesLimit {
		t.Errorf("%d bytes of %d states, want at most %d", n, union.States(), statesLimit)
	}
	t.Logf("union of %d: %d states, %d kB", len(exprs), union.States(), union.Bytes()>>10)

	// Whoever makes states pays for them.
	fresh, err := rx.Union(exprs)
	if err != nil {
		t.Fatal(err)
	}
	m := rx.NewMeter(20_000)
	for _, s := range hostileTexts(union, pieces, 20, 2000) {
		if matched := fresh.Match(s, m); matched != m.Exhausted() {
			t.Errorf("%d units left: got %v for a text without a match", m.Left(), matched)
		}
	}
	if n := fresh.States(); !m.Exhausted() || n > 200 {
		t.Errorf("20,000 units: got %d states and %d units left, want none left", n, m.Left())
	}
}
