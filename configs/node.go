package configs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFile is the largest file that is read: 1 MiB is some ten thousand routes.
	maxFile = 1 << 20
	// maxDepth is how deep the file may nest. The language itself needs seven levels; the bound
	// keeps the parser's recursion off the end of the stack.
	maxDepth = 64
	// maxEntries is how many keys one mapping may have, and how many entries one list in brackets:
	// the parser's time grows with their square.
	maxEntries = 10000
)

type kind string

// The kinds of a node, named as they are told to people.
const (
	kindNull   kind = "nothing"
	kindBool   kind = "true or false"
	kindNumber kind = "a number"
	kindText   kind = "text"
	kindMap    kind = "a mapping"
	kindList   kind = "a list"
)

// pos is a place in the file: line and column, from 1, in characters.
type pos struct{ line, col int }

// A node is one value of the file. It is what the rest of the package knows of YAML.
type node struct {
	pos
	kind  kind
	text  string // of a text: its value; of a number or a bool: as written
	raw   string // as written, with quotes, where the value is on one line
	pairs []pair // of a mapping, in order, duplicates left out
	items []*node
}

// said names what n is in a message. It shows a scalar's value: not for secrets.
func (n *node) said() string {
	switch n.kind {
	case kindBool:
		return n.text
	case kindNumber:
		return "the number " + n.text
	case kindText:
		return fmt.Sprintf("%q", clip(n.text, 80))
	}
	return string(n.kind)
}

// clip returns at most n characters of s.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n]) + "…"
}

// A pair is a key of a mapping and its value.
type pair struct {
	pos
	key   string
	value *node
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	for _, p := range n.pairs {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// Inside "${…}" the characters that mean something to YAML are put away while the parser runs, so
// that a reference needs no quotes in a flow mapping: {client_secret: ${file:/run/secrets/x}}. The
// substitutes are noncharacters, which a file may not contain; one for one keeps the columns. So is
// the colon inside a text, which the parser takes for that of a mapping inside brackets: [http://a:80].
const (
	plainMarks  = "{}[],#&*:"
	hiddenMarks = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4\ufdd5\ufdd6\ufdd7\ufdd8"
)

func hideReferences(s string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(hideColons(s))
			return b.String()
		}
		end := referenceEnd(s[i:])
		if end < 0 {
			b.WriteString(hideColons(s[:i+2]))
			s = s[i+2:]
			continue
		}
		b.WriteString(hideColons(s[:i]))
		b.WriteString(swapMarks(s[i:i+end], plainMarks, hiddenMarks))
		s = s[i+end:]
	}
}

// hideColons puts away the colons that are part of a text (YAML 1.2.2, section 7.3.3): those with
// something other than a blank behind them, unless they end a quoted key.
func hideColons(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == ':' && i > 0 && i+1 < len(s) && strings.IndexByte("\"' \t\n", s[i-1]) < 0 &&
			strings.IndexByte(" \t\r\n,]}", s[i+1]) < 0 {
			b.WriteString("\ufdd8")
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxReference bounds a reference, in bytes.
const maxReference = 1024

// referenceEnd returns the length of the reference that starts s, or -1 when it has no end. Blanks
// and quotes cannot stand in one, so that a forgotten brace does not swallow the rest of a line.
func referenceEnd(s string) int {
	depth := 0
	for i := 0; i < min(len(s), maxReference); i++ {
		switch {
		case strings.IndexByte(" \t\n\"'", s[i]) >= 0:
			return -1
		case strings.HasPrefix(s[i:], "${"):
			depth++
		case s[i] == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

func restoreReferences(s string) string { return swapMarks(s, hiddenMarks, plainMarks) }

func swapMarks(s, from, to string) string {
	target := []rune(to)
	return strings.Map(func(r rune) rune {
		at := 0
		for _, f := range from {
			if f == r {
				return target[at]
			}
			at++
		}
		return r
	}, s)
}

// A tree turns the text of a file into nodes and collects what is wrong with it as YAML.
type tree struct {
	report func(at pos, path, msg string)
	text   string
}

// parse returns the document's top node, or nil after it reported why there is none.
func (t *tree) parse(text string) (top *node) {
	t.text = text
	if !t.checkText(text) {
		return nil
	}
	hidden := hideReferences(text)
	if !t.checkTokens(lexer.Tokenize(hidden)) {
		return nil
	}
	// The parser has panicked on malformed input before; a configuration must not take the
	// process down at a reload.
	defer func() {
		if r := recover(); r != nil {
			t.report(pos{}, "", "this is not YAML: the parser gave up on it")
			top = nil
		}
	}()
	file, err := parser.ParseBytes([]byte(hidden), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		t.syntax(err)
		return nil
	}
	return t.document(file)
}

// checkText refuses what no editor shows and what this package gives a meaning of its own.
func (t *tree) checkText(text string) bool {
	line, col := 1, 0
	for i, r := range text {
		col++
		switch {
		case r == '\n':
			line, col = line+1, 0
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			t.report(pos{line, col}, "", "the file is not UTF-8")
			return false
		case r < ' ' && r != '\t', r == 0x7f, r >= 0x80 && r < 0xa0, r == 0x2028, r == 0x2029,
			r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe, r == '\ufeff':
			t.report(pos{line, col}, "", fmt.Sprintf("the character %U has no place in a configuration file", r))
			return false
		}
	}
	return true
}

// sizes counts the entries of the mappings and lists that are open.
type sizes struct {
	flow  [maxDepth + 1]int // by depth of brackets
	block []blockSize       // by indentation, outermost first
}

type blockSize struct{ col, keys int }

// line counts the line that tk starts as a key of the block that is at its column.
func (s *sizes) line(tk *token.Token) {
	if tk.Type == token.SequenceEntryType || tk.Type == token.CommentType {
		return
	}
	for len(s.block) > 0 && s.block[len(s.block)-1].col > tk.Position.Column {
		s.block = s.block[:len(s.block)-1]
	}
	if len(s.block) == 0 || s.block[len(s.block)-1].col < tk.Position.Column {
		s.block = append(s.block, blockSize{col: tk.Position.Column})
	}
	s.block[len(s.block)-1].keys++
}

func (s *sizes) over(depth int) bool {
	return s.flow[min(depth, maxDepth)] > maxEntries || len(s.block) > 0 && s.block[len(s.block)-1].keys > maxEntries
}

// checkTokens refuses what this language leaves out of YAML, and nesting without end.
func (t *tree) checkTokens(tokens token.Tokens) bool {
	ok, depth, dashes, line, seen := true, 0, 0, 0, false
	var size sizes
	refuse := func(tk *token.Token, msg string) {
		t.report(pos{tk.Position.Line, tk.Position.Column}, "", msg)
		ok = false
	}
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, dashes = tk.Position.Line, 0
			if depth == 0 {
				size.line(tk)
			}
		}
		switch tk.Type {
		case token.AnchorType, token.AliasType:
			refuse(tk, fmt.Sprintf(`anchors and aliases are not supported; a value that starts with %q needs quotes, as in "*.example.com"`, tk.Value))
		case token.MergeKeyType:
			refuse(tk, `merge keys ("<<") are not supported: write the keys out`)
		case token.TagType:
			refuse(tk, `tags are not supported; a value that starts with "!" needs quotes`)
		case token.DirectiveType:
			refuse(tk, `directives are not supported; a value that starts with "%" needs quotes`)
		case token.DocumentHeaderType:
			if seen {
				refuse(tk, "a second document starts here: one file holds one configuration")
				return false
			}
		case token.SequenceStartType, token.MappingStartType:
			depth++
			size.flow[min(depth, maxDepth)] = 0
		case token.CollectEntryType:
			size.flow[min(depth, maxDepth)]++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			dashes++
		}
		if depth < 0 { // the parser will say what is closed and was never opened
			depth = 0
		}
		if depth+dashes > maxDepth {
			refuse(tk, fmt.Sprintf("nested too deep: want at most %d levels", maxDepth))
			return false
		}
		if size.over(depth) {
			refuse(tk, fmt.Sprintf("too long: want at most %d entries in one mapping or list", maxEntries))
			return false
		}
		seen = seen || tk.Type != token.CommentType
	}
	return ok
}

// syntax reports the parser's one complaint, and tabs first, because they explain most of the rest.
func (t *tree) syntax(err error) {
	tabs := false
	for i, line := range strings.Split(t.text, "\n") {
		if at := strings.IndexByte(line[:indentation(line)], '\t'); at >= 0 {
			t.report(pos{i + 1, at + 1}, "", "a tab indents this line: YAML wants spaces")
			tabs = true
		}
	}
	if tabs {
		return
	}
	at, msg := pos{}, "cannot be parsed"
	var ye yaml.Error
	if errors.As(err, &ye) {
		msg = restoreReferences(ye.GetMessage())
		if tk := ye.GetToken(); tk != nil && tk.Position != nil {
			at = pos{tk.Position.Line, max(tk.Position.Column, 1)}
		}
	}
	t.report(at, "", "this is not YAML: "+msg+t.missingBlank(at.line))
}

// keyWithoutBlank is a line that would be "key: value" with a blank after the colon.
var keyWithoutBlank = regexp.MustCompile(`^\s*(?:- +)?[a-z_]+:[^\s:/]+\s*$`)

// missingBlank explains what the parser's complaint about a line does not say.
func (t *tree) missingBlank(line int) string {
	lines := strings.Split(t.text, "\n")
	if line < 1 || line > len(lines) || !keyWithoutBlank.MatchString(lines[line-1]) {
		return ""
	}
	return ": a blank is missing after the colon"
}

func (t *tree) document(file *ast.File) *node {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			t.report(position(doc.Body), "", "a second document starts here: one file holds one configuration")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		t.report(pos{}, "", "the file is empty: want at least listen, upstreams and routes")
		return nil
	}
	return t.convert(body, "", pos{1, 1}, 0)
}

func position(n ast.Node) pos {
	tk := n.GetToken()
	if tk == nil || tk.Position == nil {
		return pos{1, 1}
	}
	return pos{max(tk.Position.Line, 1), max(tk.Position.Column, 1)}
}

// convert makes a node of n. at is the place of its key, for values that have no place of their own.
func (t *tree) convert(n ast.Node, path string, at pos, depth int) *node {
	if depth > maxDepth {
		t.report(at, path, fmt.Sprintf("nested too deep: want at most %d levels", maxDepth))
		return &node{pos: at, kind: kindNull}
	}
	scalar := func(k kind, text string) *node {
		raw := strings.TrimSpace(n.GetToken().Origin)
		return &node{pos: position(n), kind: k, text: restoreReferences(text), raw: restoreReferences(raw)}
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return &node{pos: at, kind: kindNull}
	case *ast.BoolNode:
		return scalar(kindBool, n.Token.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return scalar(kindNumber, n.GetToken().Value)
	case *ast.StringNode:
		return scalar(kindText, n.Value)
	case *ast.LiteralNode:
		return &node{pos: position(n), kind: kindText, text: restoreReferences(n.Value.Value)}
	case *ast.MappingNode:
		return t.mapping(n.Values, n.IsFlowStyle, position(n), path, depth)
	case *ast.MappingValueNode:
		return t.mapping([]*ast.MappingValueNode{n}, false, position(n), path, depth)
	case *ast.SequenceNode:
		list := &node{pos: position(n), kind: kindList}
		for i, item := range n.Values {
			at := list.pos
			if i < len(n.Entries) && n.Entries[i] != nil && n.Entries[i].Start != nil {
				at = pos{n.Entries[i].Start.Position.Line, n.Entries[i].Start.Position.Column}
			}
			list.items = append(list.items, t.convert(item, fmt.Sprintf("%s[%d]", path, i), at, depth+1))
		}
		return list
	default:
		t.report(at, path, fmt.Sprintf("%s is not supported here", strings.ToLower(n.Type().String())))
		return &node{pos: at, kind: kindNull}
	}
}

func (t *tree) mapping(values []*ast.MappingValueNode, flow bool, at pos, path string, depth int) *node {
	m := &node{pos: at, kind: kindMap}
	first := map[string]pos{}
	for _, mv := range values {
		keyPos := position(mv.Key)
		var key string
		switch k := mv.Key.(type) {
		case *ast.StringNode:
			key = restoreReferences(k.Value)
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
			key = k.GetToken().Value
		default:
			t.report(keyPos, path, "this cannot be a key: want a word")
			continue
		}
		if before, dup := first[key]; dup {
			t.report(keyPos, join(path, key), fmt.Sprintf("given twice: first on line %d", before.line))
			continue
		}
		first[key] = keyPos
		m.pairs = append(m.pairs, pair{keyPos, key, t.convert(mv.Value, join(path, key), keyPos, depth+1)})
	}
	if !flow && len(m.pairs) > 0 {
		m.pos = m.pairs[0].pos
	}
	return m
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" || key == "" {
		return path + key
	}
	if strings.HasPrefix(key, "[") {
		return path + key
	}
	return path + "." + key
}
