package gate

import (
	"encoding/hex"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// A mask says which of the bytes that matter to transformations occur in a text.
type mask uint32

const (
	hasPercent mask = 1 << iota
	hasPlus
	hasAmpersand
	hasBackslash
	hasUpper
	hasNUL
	hasSpace   // blank, tab, line feed, vertical tab, form feed, carriage return
	hasControl // a space that is no blank
	hasRun     // two blanks in a row
	hasGap     // a blank before a slash or an opening parenthesis
	hasHigh    // not ASCII
	hasSlash
	hasDot
	hasStar
	hasQuote // single or double
	hasCaret
	hasComma // or semicolon
	hasParen
	hasDash
	hasHash
	hasColon

	always mask = 1 << 31 // no text stays what it is
)

var maskOf = func() (t [256]mask) {
	for b := range 256 {
		switch {
		case b >= utf8.RuneSelf:
			t[b] = hasHigh
		case b >= 'A' && b <= 'Z':
			t[b] = hasUpper
		}
	}
	t['%'], t['+'], t['&'], t['\\'], t[0] = hasPercent, hasPlus, hasAmpersand, hasBackslash, hasNUL
	t['/'], t['.'], t['*'], t['^'], t['('] = hasSlash, hasDot, hasStar, hasCaret, hasParen
	t['-'], t['#'], t[':'], t['\''], t['"'], t[','], t[';'] = hasDash, hasHash, hasColon, hasQuote, hasQuote, hasComma, hasComma
	for _, b := range "\t\n\v\f\r" {
		t[b] = hasSpace | hasControl
	}
	t[' '] = hasSpace
	return t
}()

func maskFor(s string) (m mask) {
	for i := range len(s) {
		m |= maskOf[s[i]]
	}
	if m&hasSpace != 0 {
		if strings.Contains(s, "  ") {
			m |= hasRun
		}
		if m&hasSlash != 0 && strings.Contains(s, " /") || m&hasParen != 0 && strings.Contains(s, " (") {
			m |= hasGap
		}
	}
	return m
}

// A transform is one of the engine's transformations, as the gate does it. It must make of every text
// what the engine makes of it; a test compares them.
type transform struct {
	name string // in lower case
	// touches are the bytes without which a text stays what it is.
	touches mask
	do      func(string) string
	// reports is do as the engine's transformation says that it has done it: it says of some texts that they are what
	// they were, although it has changed them. Nil if that does not happen.
	reports func(string) string
}

// asReported ends the names of what reported returns.
const asReported = " as reported"

// reported is t as a directive with multiMatch has it, which goes by what t says: what is said to be the same
// is left as it was.
func (t transform) reported() transform {
	return transform{name: t.name + asReported, touches: t.touches, do: t.reports}
}

// transforms are those that are known, by their names. BestFit is that of Options.
func transforms(bestFit string) map[string]transform {
	list := []transform{
		{name: "base64decode", touches: always, do: base64Decode},
		{name: "cmdline", touches: hasUpper | hasQuote | hasBackslash | hasCaret | hasControl | hasRun | hasGap | hasComma, do: cmdLine},
		{name: "compresswhitespace", touches: hasControl | hasRun | hasHigh, do: compressWhitespace},
		{name: "cssdecode", touches: hasBackslash, do: cssDecode},
		{name: "escapeseqdecode", touches: hasBackslash, do: escapeSeqDecode},
		{name: "hexencode", touches: always, do: func(s string) string { return hex.EncodeToString([]byte(s)) }},
		{name: "htmlentitydecode", touches: hasAmpersand, do: html.UnescapeString, reports: changedLength},
		{name: "jsdecode", touches: hasBackslash, do: jsDecode},
		{name: "length", touches: always, do: func(s string) string { return strconv.Itoa(len(s)) }},
		{name: "lowercase", touches: hasUpper | hasHigh, do: strings.ToLower},
		{name: "normalisepath", touches: hasSlash | hasDot, do: normalizePath},
		{name: "normalisepathwin", touches: hasSlash | hasDot | hasBackslash | hasColon | hasSpace, do: normalizePathWin},
		{name: "normalizepath", touches: hasSlash | hasDot, do: normalizePath},
		{name: "normalizepathwin", touches: hasSlash | hasDot | hasBackslash | hasColon | hasSpace, do: normalizePathWin},
		{name: "removecommentschar", touches: hasStar | hasDash | hasHash, do: removeCommentsChar},
		{name: "removenulls", touches: hasNUL, do: func(s string) string { return strings.ReplaceAll(s, "\x00", "") }},
		{name: "removewhitespace", touches: hasSpace | hasHigh, do: removeWhitespace, reports: spaceRemoved},
		{name: "replacecomments", touches: hasStar, do: replaceComments},
		{name: "urldecodeuni", touches: hasPercent | hasPlus, do: func(s string) string { return urlDecodeUni(s, bestFit) }},
		{name: "utf8tounicode", touches: hasHigh, do: utf8ToUnicode},
	}
	byName := make(map[string]transform, len(list))
	for _, t := range list {
		byName[t.name] = t
	}
	return byName
}

// room is where a transformation makes its text. Most values fit, and then only those that do change cost an
// allocation.
type room [256]byte

// take is an empty slice with room for n bytes.
func (r *room) take(n int) []byte {
	if n > len(r) {
		return make([]byte, 0, n)
	}
	return r[:0]
}

// made is out as a string, which is s itself if nothing has changed.
func made(s string, out []byte) string {
	if string(out) == s {
		return s
	}
	return string(out)
}

func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	default:
		return -1
	}
}

// hexNumber reads exactly n digits at the beginning of s.
func hexNumber(s string, n int) (rune, bool) {
	if len(s) < n {
		return 0, false
	}
	v := rune(0)
	for i := range n {
		d := hexDigit(s[i])
		if d < 0 {
			return 0, false
		}
		v = v<<4 | rune(d) //nolint:gosec // below 16
	}
	return v, true
}

// hexRun counts the digits at the beginning of s, at most six, and reads them.
func hexRun(s string) (n int, v rune) {
	for n < 6 && n < len(s) && hexDigit(s[n]) >= 0 {
		v = v<<4 | rune(hexDigit(s[n])) //nolint:gosec // below 16
		n++
	}
	return n, v
}

// isFullWidth reports the forms of ASCII that East Asian encodings have twice.
func isFullWidth(r rune) bool { return r >= 0xff01 && r <= 0xff5e }

// urlDecodeUni decodes %XX, + and IIS's %uXXXX, which stands for one byte.
func urlDecodeUni(s, bestFit string) string {
	var buf room
	out := buf.take(len(s))
	for i := 0; i < len(s); {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
			i++
		case s[i] != '%':
			out = append(out, s[i])
			i++
		case i+1 < len(s) && (s[i+1] == 'u' || s[i+1] == 'U'):
			r, ok := hexNumber(s[i+2:], 4)
			if !ok {
				out = append(out, s[i], s[i+1])
				i += 2
				continue
			}
			b := byte(r)
			if r >= utf8.RuneSelf {
				b = bestFit[r-utf8.RuneSelf]
			}
			out = append(out, b)
			i += 6
		default:
			r, ok := hexNumber(s[i+1:], 2)
			if !ok {
				out = append(out, '%')
				i++
				continue
			}
			out = append(out, byte(r))
			i += 3
		}
	}
	return made(s, out)
}

func utf8ToUnicode(s string) string {
	out := make([]byte, 0, len(s)+16)
	for _, r := range s {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		out = append(out, '%', 'u')
		for digits := rune(0x1000); digits > r; digits >>= 4 {
			out = append(out, '0')
		}
		out = strconv.AppendInt(out, int64(r), 16)
	}
	return made(s, out)
}

// simpleEscape is the control character that a letter behind a backslash stands for in C.
func simpleEscape(b byte) (byte, bool) {
	switch b {
	case 'a':
		return '\a', true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'v':
		return '\v', true
	}
	return 0, false
}

func isOctal(b byte) bool { return b >= '0' && b <= '7' }

// octalRun reads up to three digits at the beginning of s.
func octalRun(s string) (n, v int) {
	for n < 3 && n < len(s) && isOctal(s[n]) {
		v = v<<3 | int(s[n]-'0')
		n++
	}
	return n, v
}

// jsDecode decodes the escapes of JavaScript. Each stands for one byte.
func jsDecode(s string) string {
	var buf room
	out := buf.take(len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			i++
			continue
		}
		rest := s[i+1:]
		if n, r := jsBraces(rest); n > 0 {
			b := byte(r)
			if isFullWidth(r) {
				b += 0x20
			}
			out = append(out, b)
			i += 1 + n
			continue
		}
		if r, ok := hexNumber(rest[1:], 4); ok && rest[0] == 'u' {
			b := byte(r)
			if r>>8 == 0xff && b > 0 && b < 0x5f {
				b += 0x20
			}
			out = append(out, b)
			i += 6
			continue
		}
		if r, ok := hexNumber(rest[1:], 2); ok && rest[0] == 'x' {
			out = append(out, byte(r))
			i += 4
			continue
		}
		if n, v := octalRun(rest); n > 0 {
			if v > 0xff { // three digits from 4 on: the third one is not part of it
				n, v = 2, v>>3
			}
			out = append(out, byte(v)) //nolint:gosec // at most 0xff
			i += 1 + n
			continue
		}
		b, ok := simpleEscape(rest[0])
		if !ok {
			b = rest[0]
		}
		out = append(out, b)
		i += 2
	}
	return made(s, out)
}

// jsBraces reads u{X…} at the beginning of s, with up to six digits, and how long it is.
func jsBraces(s string) (int, rune) {
	rest, ok := strings.CutPrefix(s, "u{")
	if !ok {
		return 0, 0
	}
	n, r := hexRun(rest)
	if n == 0 || n == len(rest) || rest[n] != '}' {
		return 0, 0
	}
	return n + 3, r
}

// cssDecode decodes the escapes of CSS, each to one code point.
func cssDecode(s string) string {
	var buf room
	out := buf.take(len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		i++
		if i == len(s) {
			break
		}
		n, r := hexRun(s[i:])
		switch {
		case n > 0:
			if r == 0 {
				r = utf8.RuneError
			}
			if isFullWidth(r) {
				r -= 0xfee0
			}
			out = utf8.AppendRune(out, r)
			i += n
			if i < len(s) && maskOf[s[i]]&hasSpace != 0 {
				i++
			}
		case s[i] == '\n':
			i++
		default:
			out = append(out, s[i])
			i++
		}
	}
	return made(s, out)
}

// escapeSeqDecode decodes the escapes of C.
func escapeSeqDecode(s string) string {
	var buf room
	out := buf.take(len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			i++
			continue
		}
		rest := s[i+1:]
		if b, ok := simpleEscape(rest[0]); ok {
			out = append(out, b)
			i += 2
			continue
		}
		if r, ok := hexNumber(rest[1:], 2); ok && (rest[0] == 'x' || rest[0] == 'X') {
			out = append(out, byte(r))
			i += 4
			continue
		}
		if n, v := octalRun(rest); n > 0 {
			out = append(out, byte(v)) //nolint:gosec // the low byte is what is meant
			i += 1 + n
			continue
		}
		out = append(out, rest[0])
		i += 2
	}
	return made(s, out)
}

// cmdLine undoes what shells let people put between the letters of a command.
func cmdLine(s string) string {
	var buf room
	out := buf.take(len(s))
	space := false // the last byte of out is a blank that stands for others
	for i := range len(s) {
		b := s[i]
		switch {
		case b == '"' || b == '\'' || b == '\\' || b == '^':
			continue
		case b == ' ' || b == ',' || b == ';' || b == '\t' || b == '\r' || b == '\n':
			if !space {
				out = append(out, ' ')
			}
			space = true
			continue
		case (b == '/' || b == '(') && space:
			out = out[:len(out)-1]
		case b >= 'A' && b <= 'Z':
			b += 'a' - 'A'
		}
		space = false
		out = append(out, b)
	}
	return made(s, out)
}

func normalizePath(s string) string {
	if s == "" || isCleanPath(s) {
		return s
	}
	clean := filepath.Clean(s)
	if clean == "." {
		return ""
	}
	if s[len(s)-1] == '/' {
		return clean + "/"
	}
	return clean
}

// isCleanPath reports that there is nothing in a path that normalizePath changes: no component is empty or begins
// with a dot. Of a slash alone it makes two.
func isCleanPath(s string) bool {
	if s[0] == '.' || s == "/" {
		return false
	}
	for rest := s; ; {
		i := strings.IndexByte(rest, '/') + 1
		if i == 0 || i == len(rest) {
			return true
		}
		if rest = rest[i:]; rest[0] == '/' || rest[0] == '.' {
			return false
		}
	}
}

func normalizePathWin(s string) string {
	if s == "" {
		return s
	}
	has := maskFor(s)
	if last := s[len(s)-1]; has&(hasBackslash|hasColon|hasGap|hasDot) == 0 && last != ' ' && isCleanPath(s) {
		return s // no component ends with a blank or a dot
	}
	return trimComponents(cutStream(normalizePath(strings.ReplaceAll(s, `\`, "/"))))
}

// cutStream takes the name of an alternate data stream off the last component.
func cutStream(s string) string {
	drive := ""
	if len(s) >= 2 && s[1] == ':' && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z') {
		drive, s = s[:2], s[2:]
	}
	s, slash := strings.CutSuffix(s, "/")
	last := strings.LastIndexByte(s, '/') + 1
	if colon := strings.IndexByte(s[last:], ':'); colon >= 0 {
		s = s[:last+colon]
	}
	if slash {
		s += "/"
	}
	return drive + s
}

// trimComponents takes dots and blanks off the ends of components, which Windows does not see. Once one
// has some, components that consist of them are dropped; those of dots alone mean something.
func trimComponents(s string) string {
	parts := strings.Split(s, "/")
	trims := false
	for i, part := range parts {
		parts[i] = part
		if strings.Trim(part, ".") != "" && strings.TrimRight(part, ". ") != part {
			trims = true
		}
	}
	if !trims {
		return s
	}
	kept := parts[:0]
	for _, part := range parts {
		if strings.Trim(part, ".") != "" {
			if part = strings.TrimRight(part, ". "); part == "" {
				continue
			}
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "/")
}

func replaceComments(s string) string {
	var buf room
	out := buf.take(len(s))
	for rest := s; ; {
		before, after, found := strings.Cut(rest, "/*")
		out = append(out, before...)
		if !found {
			return made(s, out)
		}
		out = append(out, ' ')
		if _, rest, found = strings.Cut(after, "*/"); !found {
			return made(s, out)
		}
	}
}

func removeCommentsChar(s string) string {
	var buf room
	out := buf.take(len(s))
	for rest := s; rest != ""; {
		n := 0
		for _, sign := range []string{"/*", "*/", "<!--", "-->", "--", "#"} {
			if strings.HasPrefix(rest, sign) {
				n = len(sign)
				break
			}
		}
		if n == 0 {
			out = append(out, rest[0])
			n = 1
		}
		rest = rest[n:]
	}
	return made(s, out)
}

// isLatinSpace has the blanks of Latin-1.
func isLatinSpace(r rune) bool {
	return r == ' ' || r >= '\t' && r <= '\r' || r == 0x85 || r == 0xa0
}

// compressWhitespace makes one blank of each run of them. A byte 0xa0 that begins no character is one too.
func compressWhitespace(s string) string {
	var buf room
	out := buf.take(len(s))
	space := false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if isLatinSpace(r) || s[i] == 0xa0 {
			if !space {
				out = append(out, ' ')
			}
			space = true
		} else {
			space = false
			out = append(out, s[i:i+size]...)
		}
		i += size
	}
	return made(s, out)
}

// changedLength is html.UnescapeString, which the engine overlooks where the length stays the same.
func changedLength(s string) string {
	if decoded := html.UnescapeString(s); len(decoded) != len(s) {
		return decoded
	}
	return s
}

// spaceRemoved is removeWhitespace, which is overlooked where there is none, although it may have replaced invalid
// UTF-8.
func spaceRemoved(s string) string {
	if strings.IndexFunc(s, unicode.IsSpace) < 0 {
		return s
	}
	return removeWhitespace(s)
}

func removeWhitespace(s string) string {
	var buf room
	out := buf.take(len(s))
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if maskOf[b]&hasSpace == 0 {
				out = append(out, b)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if !unicode.IsSpace(r) {
			out = utf8.AppendRune(out, r) // invalid UTF-8 is replaced
		}
		i += size
	}
	return made(s, out)
}

// base64Decode decodes up to what is not base64. Line ends may be in between.
func base64Decode(s string) string {
	var buf room
	out := buf.take(len(s))
	n, v := 0, 0
	for i := range len(s) {
		if s[i] == '\r' || s[i] == '\n' {
			continue
		}
		d := int(base64Digits[s[i]])
		if d < 0 {
			break
		}
		v = v<<6 | d
		if n++; n == 4 {
			out = append(out, byte(v>>16), byte(v>>8), byte(v)) //nolint:gosec // one byte each
			n, v = 0, 0
		}
	}
	switch n {
	case 2:
		out = append(out, byte(v>>4)) //nolint:gosec // one byte
	case 3:
		out = append(out, byte(v>>10), byte(v>>2)) //nolint:gosec // one byte each
	}
	return made(s, out)
}

// base64Digits has the value of each digit, and -1 of what is none.
var base64Digits = func() (t [256]int8) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for b := range t {
		t[b] = -1
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = int8(i) //nolint:gosec // 63 at the most
	}
	return t
}()
