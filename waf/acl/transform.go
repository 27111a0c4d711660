package acl

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// A transform makes a value comparable. It never fails, returns s itself where nothing is to be done, and never more than
// three times as much, or a digest.
type transform func(s string) string

// transformTable are the text transformations of AWS WAF under their names in lower case. A function returns it, because a table
// of functions could be changed.
func transformTable() []struct {
	name string
	do   transform
} {
	return []struct {
		name string
		do   transform
	}{
		{"none", nil},
		{"base64_decode", base64Decode},
		{"base64_decode_ext", base64DecodeExt},
		{"cmd_line", cmdLine},
		{"cmd_line_unix", cmdLineUnix},
		{"cmd_line_win", cmdLineWin},
		{"compress_white_space", compressWhiteSpace},
		{"css_decode", cssDecode},
		{"escape_seq_decode", escapeSeqDecode},
		{"hex_decode", hexDecode},
		{"html_entity_decode", htmlEntityDecode},
		{"js_decode", jsDecode},
		{"js_decode_ext", jsDecodeExt},
		{"lowercase", lowercase},
		{"md5", func(s string) string { sum := md5.Sum([]byte(s)); return string(sum[:]) }},
		{"normalize_path", normalizePath},
		{"normalize_path_win", func(s string) string { return normalizePath(strings.ReplaceAll(s, `\`, "/")) }},
		{"remove_comments_char", removeCommentsChar},
		{"remove_nulls", func(s string) string { return strings.ReplaceAll(s, "\x00", "") }},
		{"remove_whitespace", removeWhitespace},
		{"replace_comments", replaceComments},
		{"replace_nulls", func(s string) string { return strings.ReplaceAll(s, "\x00", " ") }},
		{"sha256", func(s string) string { sum := sha256.Sum256([]byte(s)); return string(sum[:]) }},
		{"sql_hex_decode", sqlHexDecode},
		{"trim", func(s string) string { return strings.TrimFunc(s, isBlankRune) }},
		{"trim_left", func(s string) string { return strings.TrimLeftFunc(s, isBlankRune) }},
		{"trim_right", func(s string) string { return strings.TrimRightFunc(s, isBlankRune) }},
		{"uppercase", uppercase},
		{"url_decode", decodeURL},
		{"url_decode_uni", func(s string) string { return percentDecode(s, true) }},
		{"utf8_to_unicode", utf8ToUnicode},
	}
}

// transformNamed returns a transformation by its name, as AWS writes it or in lower case. That of none is nil.
func transformNamed(name string) (do transform, ok bool) {
	for _, t := range transformTable() {
		if t.name == name || strings.EqualFold(t.name, name) {
			return t.do, true
		}
	}
	return nil, false
}

func transformNames() []string {
	var names []string
	for _, t := range transformTable() {
		names = append(names, t.name)
	}
	return names
}

// isBlank reports the white space of C's isspace.
func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isBlankRune(r rune) bool { return r < 0x80 && isBlank(byte(r)) }

func lowercase(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			return lowered(s)
		}
	}
	return s
}

func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func uppercase(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// compressWhiteSpace makes one space of each run of white space and no-break spaces, as Latin-1 and as UTF-8 have them.
func compressWhiteSpace(s string) string {
	return mapBlanks(s, func(out []byte) []byte {
		if len(out) > 0 && out[len(out)-1] == ' ' {
			return out
		}
		return append(out, ' ')
	})
}

func removeWhitespace(s string) string { return mapBlanks(s, func(out []byte) []byte { return out }) }

// mapBlanks returns s with blank called for each blank instead of it.
func mapBlanks(s string, blank func(out []byte) []byte) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\u00a0' || n == 1 && (s[i] == 0xa0 || isBlank(s[i])) {
			out = blank(out)
		} else {
			out = append(out, s[i:i+n]...)
		}
		i += n
	}
	return string(out)
}

// cmdLine undoes what shells ignore, as ModSecurity has it.
func cmdLine(s string) string {
	out := make([]byte, 0, len(s))
	blank := func() bool { return len(out) > 0 && out[len(out)-1] == ' ' }
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"', '\'', '^':
		case ' ', ',', ';', '\t', '\r', '\n':
			if !blank() {
				out = append(out, ' ')
			}
		case '/', '(':
			if blank() {
				out = out[:len(out)-1]
			}
			out = append(out, c)
		default:
			out = append(out, lowerByte(c))
		}
	}
	return string(out)
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// cmdLineUnix undoes what Unix shells ignore.
func cmdLineUnix(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\' || c == '"' || c == '\'':
		case isBlank(c):
			if len(out) > 0 && out[len(out)-1] != ' ' {
				out = append(out, ' ')
			}
		default:
			out = append(out, lowerByte(c))
		}
	}
	return strings.TrimSuffix(string(out), " ")
}

// cmdLineWin undoes what the shells of Windows ignore: carets before the end of a line go with it.
func cmdLineWin(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '^':
			if i+1 < len(s) && s[i+1] == '\r' {
				i++
			}
			if i+1 < len(s) && s[i+1] == '\n' {
				i++
			}
		case c == '"' || c == '\'' || c == '`':
		case isBlank(c):
			if len(out) > 0 && out[len(out)-1] != ' ' {
				out = append(out, ' ')
			}
		case c == '\\' && len(out) > 0 && out[len(out)-1] == '\\':
		default:
			out = append(out, lowerByte(c))
		}
	}
	return strings.TrimSuffix(string(out), " ")
}

// removeCommentsChar removes what comments begin and end with.
func removeCommentsChar(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		two := s[i:min(i+2, len(s))]
		switch {
		case two == "/*" || two == "*/" || two == "--":
			i++
		case s[i] == '#':
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

// replaceComments makes one space of each C comment. One that does not end goes to the end.
func replaceComments(s string) string {
	if !strings.Contains(s, "/*") {
		return s
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "/*")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteByte(' ')
		if _, s, found = strings.Cut(rest, "*/"); !found {
			return out.String()
		}
	}
}

// hexDecode decodes pairs of hexadecimal digits. What is no such string stays.
func hexDecode(s string) string {
	if b, err := hex.DecodeString(s); err == nil {
		return string(b)
	}
	return s
}

// sqlHexDecode decodes the hexadecimal strings of SQL, such as 0x414243.
func sqlHexDecode(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if i+4 <= len(s) && s[i] == '0' && (s[i+1] == 'x' || s[i+1] == 'X') && isHex(s[i+2]) && isHex(s[i+3]) {
			for i += 2; i+2 <= len(s) && isHex(s[i]) && isHex(s[i+1]); i += 2 {
				out = append(out, unhex(s[i])<<4|unhex(s[i+1]))
			}
			continue
		}
		out = append(out, s[i])
		i++
	}
	return string(out)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	default:
		return c - '0'
	}
}

// normalizePath removes what makes one path of several spellings: "//", "/./" and "/x/../". What leads above the beginning
// stays.
func normalizePath(s string) string {
	if !strings.Contains(s, "//") && !strings.Contains(s, "./") && !strings.HasSuffix(s, "/.") && !strings.HasSuffix(s, "..") && s != "." {
		return s
	}
	rooted, slash := strings.HasPrefix(s, "/"), strings.HasSuffix(s, "/")
	var out []string
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case part == "" || part == ".":
			slash = slash || part == "." && strings.HasSuffix(s, "/.")
		case part == ".." && len(out) > 0 && out[len(out)-1] != "..":
			out = out[:len(out)-1]
		case part == ".." && rooted:
		default:
			out = append(out, part)
		}
	}
	clean := strings.Join(out, "/")
	if strings.HasSuffix(s, "/..") {
		slash = true
	}
	if rooted {
		clean = "/" + clean
	}
	if slash && clean != "" && !strings.HasSuffix(clean, "/") {
		clean += "/"
	}
	return clean
}
