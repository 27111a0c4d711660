package proxy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxPattern bounds the patterns of a Match, in bytes. ALB has 128 and CloudFront 255.
	maxPattern = 255
	// maxProgram bounds the instructions of a compiled regular expression: RE2 takes time in proportion to them and to the text.
	maxProgram = 500
	// maxSteps bounds the product of both: anybody can send a long text, before any limit counts it. It is some 25 ms at worst.
	maxSteps = 1 << 19
)

// expressionMark begins a pattern that is a regular expression.
const expressionMark = "~"

// A glob is a text in which "*" stands for any number of characters, "/" and "." among them, and "?" for one, as in the
// conditions of an ALB's rules and the path patterns of CloudFront. "\*", "\?" and "\\" stand for themselves. It is in normal
// form: of neighbouring wildcards the "?" come first, and then one "*".
type glob []rune

const (
	anyOne  rune = -1
	anyMany rune = -2
)

// parseGlob reads a glob, its ASCII letters in lower case if fold says so.
func parseGlob(s string, fold bool) (glob, error) {
	var g glob
	for i := 0; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		i += width
		if fold && 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		switch r {
		case '*':
			r = anyMany
		case '?':
			r = anyOne
		case '\\':
			if i == len(s) || strings.IndexByte(`*?\`, s[i]) < 0 {
				return nil, errors.New(`a backslash stands before *, ? or \ only`)
			}
			r = rune(s[i])
			i++
		}
		many := len(g) > 0 && g[len(g)-1] == anyMany
		switch {
		case many && r == anyMany:
		case many && r == anyOne:
			g[len(g)-1] = anyOne
			g = append(g, anyMany)
		default:
			g = append(g, r)
		}
	}
	return g, nil
}

// literal returns the only text that g matches, if there is only one.
func (g glob) literal() (string, bool) {
	for _, r := range g {
		if r < 0 {
			return "", false
		}
	}
	return string(g), true
}

// match reports whether g matches all of s. Fold compares ASCII letters without their case: g must be in lower case then. It
// takes time in proportion to the length of s, times that of g at worst, and does not allocate.
func (g glob) match(s string, fold bool) bool {
	p, star, mark := 0, -1, 0
	for i := 0; i < len(s); {
		r, width := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, width = utf8.DecodeRuneInString(s[i:])
		} else if fold && 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		switch {
		case p < len(g) && g[p] == anyMany:
			if star, mark = p, i; p+1 == len(g) {
				return true
			}
			p++
		case p < len(g) && (g[p] == r || g[p] == anyOne):
			p++
			i += width
		case star >= 0:
			_, width = utf8.DecodeRuneInString(s[mark:])
			mark += width
			i, p = mark, star+1
		default:
			return false
		}
	}
	for p < len(g) && g[p] == anyMany {
		p++
	}
	return p == len(g)
}

// includes reports whether g matches everything that other does.
func (g glob) includes(other glob) bool {
	// Other is read as a text in which a wildcard is a character of its own that only a wildcard as wide can match.
	p, star, mark := 0, -1, 0
	for i := 0; i < len(other); {
		switch {
		case p < len(g) && g[p] == anyMany:
			star, mark = p, i
			p++
		case p < len(g) && other[i] != anyMany && (g[p] == other[i] || g[p] == anyOne):
			p++
			i++
		case star >= 0:
			mark++
			i, p = mark, star+1
		default:
			return false
		}
	}
	for p < len(g) && g[p] == anyMany {
		p++
	}
	return p == len(g)
}

// meets reports whether g and other match some text both.
func (g glob) meets(other glob) bool {
	for i := 0; i < len(g) && i < len(other) && g[i] != anyMany && other[i] != anyMany; i++ {
		if g[i] != other[i] && g[i] != anyOne && other[i] != anyOne {
			return false // as most do in a long list of routes
		}
	}
	// row[j] says whether the rest of g from i on and the rest of other from j on can be the same text.
	below, row := make([]bool, len(other)+1), make([]bool, len(other)+1)
	for i := len(g); i >= 0; i-- {
		for j := len(other); j >= 0; j-- {
			inG, inOther := i < len(g), j < len(other)
			switch {
			case !inG && !inOther:
				row[j] = true
			case inG && g[i] == anyMany:
				row[j] = below[j] || inOther && row[j+1]
			case inOther && other[j] == anyMany:
				row[j] = row[j+1] || inG && below[j]
			default:
				row[j] = inG && inOther && (g[i] == other[j] || g[i] == anyOne || other[j] == anyOne) && below[j+1]
			}
		}
		below, row = row, below
	}
	return below[0]
}

// What a pattern is. Of two that are equally specific otherwise, the lower kind is the more specific.
const (
	kindExact = iota
	kindExpression
	kindPrefix // of a path, on a segment boundary
	kindBelow  // the same with wildcards before it
	kindGlob
	kindAny
)

// A pattern is one compiled host, path or value of a Match. It is immutable.
type pattern struct {
	kind  int
	text  string // of kindExact, and of kindPrefix without the "/*"; otherwise as the file has it
	globs []glob // together match all that the pattern does, and what else they match is only for kindExpression
	re    *regexp.Regexp
	most  int // bytes of a text that re may be asked about
	fold  bool
	id    string // the same for patterns that are the same
}

// newPattern compiles a glob, or a regular expression behind a "~".
func newPattern(s string, fold bool) (*pattern, error) {
	if len(s) > maxPattern {
		return nil, fmt.Errorf("want at most %d bytes, got %d", maxPattern, len(s))
	}
	if expr, ok := strings.CutPrefix(s, expressionMark); ok {
		return newExpression(expr, fold)
	}
	g, err := parseGlob(s, fold)
	if err != nil {
		return nil, err
	}
	p := &pattern{kind: kindGlob, text: s, globs: []glob{g}, fold: fold}
	if text, ok := g.literal(); ok {
		p.kind, p.text = kindExact, text
	}
	p.id = fmt.Sprint(p.kind, " ", []rune(g))
	return p, nil
}

// newExpression compiles a regular expression of RE2. Like those of ALB's rules it matches anywhere in a text, unless it says
// otherwise with ^ and $.
func newExpression(expr string, fold bool) (*pattern, error) {
	flags := syntax.Perl
	text := expr
	if fold {
		flags |= syntax.FoldCase
		text = "(?i)" + expr
	}
	tree, err := syntax.Parse(expr, flags)
	if err != nil {
		return nil, fmt.Errorf("want a regular expression of RE2: %w", err)
	}
	tree = tree.Simplify()
	program, err := syntax.Compile(tree)
	if err != nil || len(program.Inst) > maxProgram {
		return nil, errors.New("the regular expression is too large: want fewer or smaller repetitions")
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("want a regular expression of RE2: %w", err)
	}
	reach, err := parseGlob(escapeGlob(leadOf(tree, fold))+"*", fold)
	return &pattern{
		kind: kindExpression, text: expr, globs: []glob{reach}, re: re, most: maxSteps / len(program.Inst), fold: fold, id: expressionMark + text,
	}, err
}

// leadOf returns what every match of an anchored expression begins with, as far as that is easily told. Letters of any case count
// only where case does not.
func leadOf(tree *syntax.Regexp, fold bool) string {
	if tree.Op != syntax.OpConcat || len(tree.Sub) < 2 || tree.Sub[0].Op != syntax.OpBeginText {
		return ""
	}
	lead := tree.Sub[1]
	if lead.Op != syntax.OpLiteral || lead.Flags&syntax.FoldCase != 0 && !fold {
		return ""
	}
	return string(lead.Rune)
}

func escapeGlob(s string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, `\`, `\\`).Replace(s)
}

// anchored reports whether an expression matches from the beginning of a text only.
func anchored(expr string) bool {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return true // reported elsewhere
	}
	for tree.Op == syntax.OpCapture || tree.Op == syntax.OpConcat && len(tree.Sub) > 0 {
		tree = tree.Sub[0]
	}
	return tree.Op == syntax.OpBeginText
}

// anything is the pattern of every text.
func anything() *pattern { return &pattern{kind: kindAny, globs: []glob{{anyMany}}, id: "*"} }

// match reports whether p matches s. It does not allocate.
func (p *pattern) match(s string) bool {
	switch p.kind {
	case kindAny:
		return true
	case kindExact:
		return s == p.text || p.fold && p.globs[0].match(s, true)
	case kindPrefix:
		return strings.HasPrefix(s, p.text) && (len(s) == len(p.text) || s[len(p.text)] == '/')
	case kindExpression:
		return p.re.MatchString(s)
	}
	for _, g := range p.globs {
		if g.match(s, p.fold) {
			return true
		}
	}
	return false
}

// includes reports whether p certainly matches everything that other does.
func (p *pattern) includes(other *pattern) bool {
	if p.id == other.id || p.kind == kindAny {
		return true
	}
	if p.kind == kindExpression {
		return other.kind == kindExact && p.match(other.text)
	}
	for _, o := range other.globs {
		if !slices.ContainsFunc(p.globs, func(g glob) bool { return g.includes(o) }) {
			return false
		}
	}
	return true
}

// meets reports whether p and other may both match some text.
func (p *pattern) meets(other *pattern) bool {
	switch {
	case other.kind == kindExact:
		return p.match(other.text)
	case p.kind == kindExact:
		return other.match(p.text)
	}
	return slices.ContainsFunc(p.globs, func(g glob) bool {
		return slices.ContainsFunc(other.globs, func(o glob) bool { return g.meets(o) })
	})
}

// compare orders patterns so that one that includes another comes after it.
func (p *pattern) compare(other *pattern) int {
	a, b := p.weight(), other.weight()
	return slices.Compare(a[:], b[:])
}

// weight is what compare goes by: the more literal characters the better, then the longer the shortest text, then the fewer "*".
func (p *pattern) weight() [4]int {
	if p.kind == kindAny {
		return [4]int{1, 0, 0, p.kind}
	}
	literals, shortest, stars := 0, 0, 0
	for _, r := range p.globs[0] {
		switch r {
		case anyMany:
			stars++
		case anyOne:
			shortest++
		default:
			literals++
			shortest++
		}
	}
	if p.kind == kindPrefix || p.kind == kindBelow {
		stars++
	}
	return [4]int{-literals, -shortest, stars, p.kind}
}

// newHost compiles a host of a Match, which hostPattern or newPattern takes.
func newHost(s string) (*pattern, error) {
	if !wildHost(s) {
		name, wildcard, err := hostPattern(s)
		if err != nil {
			return nil, err
		}
		if wildcard {
			return newPattern("*."+name, true)
		}
		return newPattern(name, true)
	}
	if expr, ok := strings.CutPrefix(s, expressionMark); ok && expr == "" {
		return nil, fmt.Errorf("host %q: want a regular expression behind the ~", s)
	} else if !ok {
		if strings.Trim(s, "*?.") == "" {
			return nil, fmt.Errorf("host %q: leave hosts empty to match any host", s)
		}
		if _, _, err := splitHost(strings.NewReplacer("*", "x", "?", "x").Replace(s)); err != nil || strings.Contains(s, ":") {
			return nil, fmt.Errorf("host %q: want a name such as %q, in which * stands for any characters and ? for one, and no port", s, "app-*.example.com")
		}
		s = strings.TrimSuffix(s, ".")
	}
	p, err := newPattern(s, true)
	if err != nil {
		return nil, fmt.Errorf("host %q: %w", s, err)
	}
	return p, nil
}

// wildHost reports hosts that are found by trying them: those with wildcards elsewhere than in "*.example.com", and expressions.
func wildHost(s string) bool {
	name, _ := strings.CutPrefix(s, "*.")
	return strings.HasPrefix(s, expressionMark) || s != "*" && strings.ContainsAny(name, "*?")
}

// newPath compiles a path of a Match, which pathPattern or newPattern takes.
func newPath(s string) (*pattern, error) {
	s = collapseStars(s)
	if !wildPath(s) {
		text, prefix, err := pathPattern(s)
		switch {
		case err != nil:
			return nil, err
		case prefix && text == "":
			return anything(), nil
		}
		return plainPattern(text, prefix), nil
	}
	if expr, ok := strings.CutPrefix(s, expressionMark); ok {
		p, err := newPattern(s, false)
		switch {
		case expr == "":
			return nil, fmt.Errorf("path %q: want a regular expression behind the ~", s)
		case err != nil:
			return nil, fmt.Errorf("path %q: %w", s, err)
		case !p.globs[0].meets(glob{'/', anyMany}):
			return nil, fmt.Errorf("path %q: no request can have it: paths begin with a slash", s)
		}
		return p, nil
	}
	if s[0] == '*' && !strings.HasPrefix(s, "*/") {
		s = "/" + s // as CloudFront has it: *.jpg is /*.jpg
	}
	example := strings.NewReplacer(`\*`, "*", `\?`, "%3F", "*", "x", "?", "x").Replace(s)
	if example[0] == 'x' { // */img
		example = "/" + example
	}
	switch _, query, found := strings.Cut(strings.ReplaceAll(s, `\?`, ""), "?"); {
	case found && strings.Contains(query, "="):
		return nil, fmt.Errorf("path %q: ? stands for one character; what the query must have goes into query", s)
	case strings.Contains(example, "%") && !strings.Contains(example, "%3F"), strings.ContainsAny(example, "#;\\"):
		return nil, fmt.Errorf("path %q: want plain text without %%, #, ; and backslash; requests are decoded before they are matched", s)
	}
	c, err := canonicalPath(strings.ReplaceAll(example, " ", "%20"))
	if err != nil || c.found != 0 {
		return nil, fmt.Errorf("path %q: no request can have it: want a leading slash, and no empty or dot segments", s)
	}
	p, err := newPattern(s, false)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", s, err)
	}
	if g := p.globs[0]; strings.HasSuffix(s, "/*") {
		p.kind, p.globs = kindBelow, []glob{g[:len(g)-2], g}
	}
	return p, nil
}

// plainPattern is the pattern of an exact path or of a prefix that is not empty.
func plainPattern(text string, prefix bool) *pattern {
	g := glob([]rune(text))
	p := &pattern{kind: kindExact, text: text, globs: []glob{g}}
	if prefix {
		p.kind = kindPrefix
		p.globs = append(p.globs, append(slices.Clone(g), '/', anyMany))
	}
	p.id = fmt.Sprint(p.kind, " ", []rune(g))
	return p
}

// wildPath reports paths that are found by trying them: those with wildcards elsewhere than in a "/*" at their end, and
// expressions.
func wildPath(s string) bool {
	text := strings.TrimSuffix(s, "/*")
	return s != "*" && (strings.HasPrefix(s, expressionMark) || strings.ContainsAny(text, "*?"))
}

// collapseStars makes one star of several, which mean the same.
func collapseStars(s string) string {
	if strings.HasPrefix(s, expressionMark) {
		return s
	}
	for strings.Contains(s, "**") && !strings.Contains(s, `\`) {
		s = strings.ReplaceAll(s, "**", "*")
	}
	return s
}
