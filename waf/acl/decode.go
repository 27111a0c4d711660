package acl

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// percentDecode decodes %HH, and with unicode %uHHHH too, and makes spaces of "+". What is no escape stays. Of %uHHHH a
// full-width form is its ASCII character, and everything else its lower byte, as ModSecurity has it.
func percentDecode(s string, unicode bool) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case unicode && hexAt(s, i, "%u", 4), unicode && hexAt(s, i, "%U", 4):
			out = append(out, fold16(s[i+2:i+6]))
			i += 5
		case hexAt(s, i, "%", 2):
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

// hexAt reports whether prefix and n hexadecimal digits stand at i.
func hexAt(s string, i int, prefix string, n int) bool {
	from := i + len(prefix)
	if !strings.HasPrefix(s[i:], prefix) || from+n > len(s) {
		return false
	}
	return only(s[from:from+n], isHex)
}

// fold16 is the byte that four hexadecimal digits stand for: full-width forms (U+FF01 to U+FF5E) are ASCII.
func fold16(digits string) byte {
	high := unhex(digits[0])<<4 | unhex(digits[1])
	low := unhex(digits[2])<<4 | unhex(digits[3])
	if high == 0xff && low > 0 && low < 0x5f {
		return low + 0x20
	}
	return low
}

// base64Decode decodes Base64 of the standard alphabet, with padding or without it. What is no Base64 stays.
func base64Decode(s string) string {
	text := strings.TrimRight(s, "=")
	if b, err := base64.RawStdEncoding.Strict().DecodeString(text); err == nil && len(s)-len(text) <= 2 {
		return string(b)
	}
	return s
}

// base64DecodeExt decodes what is Base64 in s and leaves out the rest. The first padding ends it.
func base64DecodeExt(s string) string {
	kept := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c == '=' {
			break
		}
		if isWordByte(c) && c != '_' || c == '+' || c == '/' {
			kept = append(kept, c)
		}
	}
	if len(kept)%4 == 1 {
		kept = kept[:len(kept)-1]
	}
	b, err := base64.RawStdEncoding.DecodeString(string(kept))
	if err != nil { // nothing is left that could be wrong
		return s
	}
	return string(b)
}

// cssDecode decodes the escapes of CSS: up to six hexadecimal digits, of which the last four count and give their lower byte, with
// one space behind them; a backslash before a line break goes with it, and one before anything else goes alone.
func cssDecode(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		n := 0
		for n < 6 && i+1+n < len(s) && isHex(s[i+1+n]) {
			n++
		}
		switch {
		case n > 0:
			digits := "0000" + s[i+1:i+1+n]
			out = append(out, fold16(digits[len(digits)-4:]))
			if i += n; i+1 < len(s) && isBlank(s[i+1]) {
				i++
			}
		case i+1 < len(s) && s[i+1] == '\n':
			i++
		case i+1 < len(s):
			i++
			out = append(out, s[i])
		}
	}
	return string(out)
}

// simpleEscape is what a backslash and c stand for in C and JavaScript.
func simpleEscape(c byte) (byte, bool) {
	i := strings.IndexByte("abfnrtv", c)
	if i < 0 {
		return c, false
	}
	return "\a\b\f\n\r\t\v"[i], true
}

// unescape replaces what begins with a backslash and is an escape: of that, escape gives the byte that it stands for, and its length.
// Length 0 is no escape, of which the backslash stays.
func unescape(s string, escape func(s string) (c byte, n int)) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c, n := s[i], 1
		if c == '\\' && i+1 < len(s) {
			if of, length := escape(s[i:]); length > 0 {
				c, n = of, length
			}
		}
		out = append(out, c)
		i += n
	}
	return string(out)
}

// escapeSeqDecode decodes the escapes of ANSI C. What is no such escape stays as it is.
func escapeSeqDecode(s string) string {
	return unescape(s, func(s string) (c byte, n int) {
		switch plain, ok := simpleEscape(s[1]); {
		case ok:
			return plain, 2
		case strings.IndexByte(`\?'"`, s[1]) >= 0:
			return s[1], 2
		case hexAt(s, 0, `\x`, 2):
			return unhex(s[2])<<4 | unhex(s[3]), 4
		case isOctal(s[1]):
			n, value := octal(s[1:])
			return value, 1 + n
		}
		return 0, 0
	})
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

// octal reads up to three octal digits that are a byte.
func octal(s string) (n int, value byte) {
	total := 0
	for n < 3 && n < len(s) && isOctal(s[n]) && total*8+int(s[n]-'0') <= 0xff {
		total = total*8 + int(s[n]-'0')
		n++
	}
	return n, byte(total)
}

// jsDecode decodes the escapes of JavaScript. A backslash before anything else goes.
func jsDecode(s string) string { return decodeJS(s, false) }

// jsDecodeExt decodes those that stand for other characters by number, and \\ \/ \' \" alone of the rest, so that the
// paths of Windows stay.
func jsDecodeExt(s string) string { return decodeJS(s, true) }

func decodeJS(s string, careful bool) string {
	return unescape(s, func(s string) (c byte, n int) {
		plain, simple := simpleEscape(s[1])
		switch {
		case hexAt(s, 0, `\u`, 4):
			return fold16(s[2:6]), 6
		case hexAt(s, 0, `\x`, 2):
			return unhex(s[2])<<4 | unhex(s[3]), 4
		case isOctal(s[1]):
			n, value := octal(s[1:])
			return value, 1 + n
		case !careful && simple:
			return plain, 2
		case !careful || strings.IndexByte(`\/'"`, s[1]) >= 0:
			return s[1], 2
		}
		return 0, 0
	})
}

// utf8ToUnicode writes characters beyond ASCII as %uHHHH, those beyond U+FFFF with as many digits as they need. What is
// no UTF-8 stays.
func utf8ToUnicode(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if n == 1 {
			out = append(out, s[i])
		} else {
			out = fmt.Appendf(out, "%%u%04x", r)
		}
		i += n
	}
	return string(out)
}

// entities are the names that AWS WAF decodes, in lower case; they have no case.
var entities = map[string]string{
	"quot": `"`, "amp": "&", "lt": "<", "gt": ">", "nbsp": "\u00a0", "nonbreakingspace": "\u00a0", "newline": "\n", "tab": "\t",
	"lcub": "{", "lbrace": "{", "verbar": "|", "vert": "|", "verticalline": "|", "rcub": "}", "rbrace": "}", "excl": "!",
	"num": "#", "dollar": "$", "percent": "%", "percnt": "%", "apos": "'", "lpar": "(", "rpar": ")", "ast": "*", "midast": "*",
	"plus": "+", "comma": ",", "period": ".", "sol": "/", "colon": ":", "semi": ";", "equals": "=", "quest": "?", "tilde": "~",
	"diacriticaltilde": "~", "minus": "-", "lsqb": "[", "lbrack": "[", "bsol": `\`, "rsqb": "]", "rbrack": "]", "hat": "^",
	"lowbar": "_", "underbar": "_", "grave": "`", "diacriticalgrave": "`",
}

// maxEntity is the length of the longest name.
const maxEntity = 16

// htmlEntityDecode decodes &#xhhhh; and &#nnnn; with or without the semicolon, which browsers do without, and the named entities.
func htmlEntityDecode(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] == '&' {
			if text, n := entity(s[i:]); n > 0 {
				out = append(out, text...)
				i += n
				continue
			}
		}
		out = append(out, s[i])
		i++
	}
	return string(out)
}

// entity reads the entity that s begins with, and returns its length, or 0.
func entity(s string) (text string, n int) {
	if len(s) > 2 && s[1] == '#' {
		return numbered(s)
	}
	end := strings.IndexByte(s[:min(len(s), maxEntity+2)], ';')
	if end < 0 {
		return "", 0
	}
	text, ok := entities[lowercase(s[1:end])]
	if !ok {
		return "", 0
	}
	return text, end + 1
}

func numbered(s string) (text string, n int) {
	n, base, is := 2, rune(10), func(c byte) bool { return c >= '0' && c <= '9' }
	if s[2] == 'x' || s[2] == 'X' {
		n, base, is = 3, 16, isHex
	}
	from, value := n, rune(0)
	for n < len(s) && is(s[n]) {
		value = min(value*base+rune(unhex(s[n])), utf8.MaxRune+1)
		n++
	}
	if n == from || value > utf8.MaxRune {
		return "", 0
	}
	if n < len(s) && s[n] == ';' {
		n++
	}
	return string(value), n
}
