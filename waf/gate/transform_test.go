package gate

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
)

// A probe is Coraza with one directive that looks at a value through transformations and keeps what it sees.
type probe struct {
	waf  coraza.WAF
	seen []string
}

// probeRoot tells the operator which probe it is for.
type probeRoot struct {
	fs.FS
	probe *probe
}

type probeOperator struct{ *probe }

func (o probeOperator) Evaluate(_ plugintypes.TransactionState, value string) bool {
	o.seen = append(o.seen, value)
	return false
}

// registerProbe must be over before Coraza is built anywhere: it keeps operators in a map without a lock.
var registerProbe = sync.OnceFunc(func() {
	plugins.RegisterOperator("gateProbe", func(options plugintypes.OperatorOptions) (plugintypes.Operator, error) {
		return probeOperator{options.Root.(probeRoot).probe}, nil
	})
})

func newProbe(t testing.TB, actions string) *probe {
	t.Helper()
	registerProbe()
	p := &probe{}
	var err error
	p.waf, err = coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(probeRoot{fstest.MapFS{}, p}).WithDirectives(
		`SecRule ARGS_GET "@gateProbe" "id:1,phase:1,pass,nolog,t:none,` + actions + `"`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// see is what the directive sees of a value: one text, or several with multiMatch.
func (p *probe) see(t testing.TB, value string) []string {
	t.Helper()
	p.seen = nil
	tx := p.waf.NewTransaction()
	tx.AddGetRequestArgument("x", value)
	tx.ProcessRequestHeaders()
	if err := tx.Close(); err != nil {
		t.Fatal(err)
	}
	return p.seen
}

// bestFitForTest asks Coraza for its table.
func bestFitForTest(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for r := 0x80; r <= 0xffff; r++ {
		fmt.Fprintf(&b, "%%u%04x", r)
	}
	return newProbe(t, "t:urlDecodeUni").see(t, b.String())[0]
}

// chains are the transformations that the Core Rule Set makes one behind the other, and some that it does not.
func chains() []string {
	return []string{
		"utf8toUnicode urlDecodeUni htmlEntityDecode jsDecode cssDecode removeNulls",
		"utf8toUnicode urlDecodeUni htmlEntityDecode jsDecode cssDecode lowercase removeNulls",
		"utf8toUnicode urlDecodeUni htmlEntityDecode jsDecode cssDecode removeNulls removeWhitespace",
		"utf8toUnicode urlDecodeUni normalizePathWin", "utf8toUnicode urlDecodeUni removeNulls cmdLine",
		"urlDecodeUni jsDecode removeWhitespace base64Decode urlDecodeUni jsDecode removeWhitespace",
		"urlDecodeUni jsDecode base64Decode urlDecodeUni jsDecode replaceComments",
		"urlDecodeUni replaceComments removeWhitespace", "urlDecodeUni jsDecode htmlEntityDecode", "lowercase urlDecodeUni htmlEntityDecode jsDecode",
		"htmlEntityDecode compressWhitespace", "escapeSeqDecode compressWhitespace", "urlDecodeUni compressWhitespace",
		"cmdLine normalizePath", "normalizePath cmdLine", "normalizePath urlDecodeUni", "lowercase removeWhitespace", "urlDecodeUni removeCommentsChar",
		"htmlEntityDecode lowercase", "lowercase length", "removeWhitespace lowercase length", "cssDecode escapeSeqDecode hexEncode",
		"normalizePathWin htmlEntityDecode normalizePathWin", "base64Decode hexEncode base64Decode", "removeNulls utf8toUnicode removeWhitespace",
	}
}

// A comparison has Coraza do what the gate does: a probe for each transformation and each chain.
type comparison struct {
	known  map[string]transform
	names  []string
	probes map[string]*probe // by the names of the transformations; with a star for multiMatch
}

func newComparison(t testing.TB) *comparison {
	t.Helper()
	c := &comparison{known: transforms(bestFitForTest(t)), probes: map[string]*probe{}}
	for name := range c.known {
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
	c.names = append(c.names, chains()...)
	for _, name := range c.names {
		actions := "t:" + strings.ReplaceAll(name, " ", ",t:")
		c.probes[name] = newProbe(t, actions)
		c.probes[name+"*"] = newProbe(t, actions+",multiMatch")
	}
	return c
}

// check compares what the gate makes of a value with what Coraza makes of it.
func (c *comparison) check(t testing.TB, value string) {
	t.Helper()
	for _, name := range c.names {
		steps := strings.Fields(strings.ToLower(name))
		got := value
		several := []string{value}
		for i, step := range steps {
			tr := c.known[step]
			before := got
			got = tr.do(got)
			if i == 0 && len(steps) == 1 && tr.touches&(maskFor(value)|always) == 0 && got != before {
				t.Fatalf("%s of %q: %q, although none of its bytes are touched", name, value, got)
			}
			if tr.reports != nil {
				tr = tr.reported()
			}
			several = append(several, tr.do(several[i]))
		}
		want := c.probes[name].see(t, value)
		if len(want) != 1 || want[0] != got {
			t.Fatalf("%s of %q: got %q, want %q", name, value, got, want)
		}
		if len(steps) == 1 && c.known[name].touches&(maskFor(value)|always) == 0 && want[0] != value {
			t.Fatalf("%s of %q: Coraza makes %q of it, although none of its bytes are touched", name, value, want)
		}
		for _, text := range c.probes[name+"*"].see(t, value) {
			if !slices.Contains(several, text) {
				t.Fatalf("%s with multiMatch of %q: Coraza sees %q, which is none of %q", name, value, text, several)
			}
		}
	}
}

// tokens are what texts are made of whose decoding is easily got wrong.
func tokens() []string {
	return []string{
		"a", "Z", "0", "7", "8", "9", "f", "F", "x", "u", "U", "n", "t", "\\", "\\\\", "\\x", "\\X4", "\\x41", "\\u", "\\u0041", "\\uff1c", "\\uFF01", "\\uff00", "\\uff5f",
		"\\u{", "\\u{41}", "\\u{0ff1c}", "\\u{1234567}", "\\u{}", "}", "\\377", "\\400", "\\777", "\\0", "\\08", "\\a", "\\?", "\\\n", "\\41 ", "\\00041\t", "\\ff1c", "\\d800 ", "\\110000 ",
		"%", "%%", "%4", "%41", "%zz", "%u", "%u00", "%u0041", "%U0041", "%uff1c", "%uFF5e", "%uff5f", "%u0130", "%u2215", "%u00zz", "%u0", "+", "%2b", "%25", "%00",
		"&", "&amp;", "&lt", "&LT;", "&lt;", "&notit;", "&nLt;", "&#0", "&#60", "&#x3c;", "&#X3C", "&#1114112;", "&#128;", "&#", "&#x", ";", "&quot;", "&nbsp;",
		"/", "//", "/.", "/..", "/../", "./", ".", "..", "...", "/ ", " /", ". ", "C:", "c:\\", ":", "::$DATA", "a.", "a/b:c",
		"/*", "*/", "*", "/**/", "<!--", "-->", "--", "-", "#", "<", "!", ">", "(", " (", ",", "^", "'", "\"", "`",
		" ", "  ", "\t", "\n", "\r", "\v", "\f", "\x00", "\x7f", "\x80", "\x85", "\xa0", "\xff", "\xc2", "\xe2\x80", "\xc2\x85", "\xc2\xa0", "\u2028", "\u3000", "é", "\u0130", "\u212a", "\u017f", "ß", "你", "😀", "\ufffd", "\xed\xa0\x80",
		"QUJD", "QQ==", "QUI=", "=", "\r\n", "-_", "YTph",
	}
}

func TestTransformationsAreTheEngines(t *testing.T) {
	t.Parallel()
	c := newComparison(t)
	list := tokens()
	c.check(t, "")
	for i, s := range list {
		if i%5 > 0 && raceEnabled {
			continue
		}
		c.check(t, s)
		c.check(t, s+s)
		c.check(t, "a"+s+"b")
	}
	n := 3000
	if raceEnabled || testing.Short() {
		n = 100
	}
	r := rand.New(rand.NewPCG(11, 12))
	for range n {
		var b strings.Builder
		for range 1 + r.IntN(8) {
			b.WriteString(list[r.IntN(len(list))])
		}
		c.check(t, b.String())
	}
}

// Every code point that %uXXXX, \uXXXX and the others can write is decoded alike, those below 0x80 too.
func TestEveryCodePointIsDecodedAlike(t *testing.T) {
	t.Parallel()
	known := transforms(bestFitForTest(t))
	for name, format := range map[string]string{
		"urldecodeuni": "%%u%04x", "jsdecode": `\u%04x`, "cssdecode": `\%x `, "htmlentitydecode": "&#%d;",
	} {
		var b strings.Builder
		for r := range 0x11000 {
			fmt.Fprintf(&b, format, r)
		}
		if got, want := known[name].do(b.String()), newProbe(t, "t:"+name).see(t, b.String())[0]; got != want {
			t.Errorf("%s: the texts differ", name)
		}
	}
	var b strings.Builder
	for r := range rune(0x11000) {
		b.WriteRune(r)
	}
	for _, name := range []string{"utf8tounicode", "lowercase", "removewhitespace", "compresswhitespace"} {
		if got, want := known[name].do(b.String()), newProbe(t, "t:"+name).see(t, b.String())[0]; got != want {
			t.Errorf("%s: the texts differ", name)
		}
	}
}

func FuzzTransformations(f *testing.F) {
	for i, s := range tokens() {
		if i%10 == 0 || !raceEnabled {
			f.Add(s)
		}
	}
	c := newComparison(f)
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < 2000 {
			c.check(t, s)
		}
	})
}
