package gate

import (
	"bufio"
	"bytes"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/corazawaf/libinjection-go"

	"gatehouse/waf/rx"
)

// A predicate is an operator of which everything but the value is known. It says what the operator says
// before it is negated; once the meter is exhausted it may say anything.
type predicate func(value string, m *rx.Meter) bool

// predicateFor is the predicate of an operator, or nil if it is not known. Arg has its constants filled
// in and no other macros.
func predicateFor(name, arg string) predicate {
	switch strings.ToLower(name) {
	case "eq", "ge", "gt", "le", "lt", "streq":
		return func(v string, _ *rx.Meter) bool { return compare(name, v, arg) }
	case "within":
		return func(v string, _ *rx.Meter) bool { return strings.Contains(arg, v) }
	case "contains":
		return func(v string, _ *rx.Meter) bool { return strings.Contains(v, arg) }
	case "beginswith":
		return func(v string, _ *rx.Meter) bool { return strings.HasPrefix(v, arg) }
	case "endswith":
		return func(v string, _ *rx.Meter) bool { return strings.HasSuffix(v, arg) }
	case "unconditionalmatch":
		return func(string, *rx.Meter) bool { return true }
	case "nomatch":
		return func(string, *rx.Meter) bool { return false }
	case "validateutf8encoding":
		return func(v string, _ *rx.Meter) bool { return !utf8.ValidString(v) }
	case "validatebyterange":
		return byteRange(arg)
	case "detectsqli":
		return detectSQLi
	case "detectxss":
		return detectXSS
	}
	return nil
}

func detectSQLi(v string, m *rx.Meter) bool {
	found, _ := DetectSQLi(v, m)
	return found
}

// DetectSQLi says what @detectSQLi says, and what it found. Once the meter is exhausted it says anything.
func DetectSQLi(v string, m *rx.Meter) (found bool, fingerprint string) {
	if isOneToken(v) {
		return false, ""
	}
	if m != nil && !spend(m, sqliWork(v)) {
		return true, ""
	}
	return libinjection.IsSQLi(v)
}

func detectXSS(v string, m *rx.Meter) bool { return DetectXSS(v, m) }

// DetectXSS says what @detectXSS says. Once the meter is exhausted it says anything.
func DetectXSS(v string, m *rx.Meter) bool {
	// A tag, a comment and a document type begin with one of these, and an attribute's value with the other.
	// libinjection finds an attack in nothing else.
	if strings.IndexByte(v, '<') < 0 && strings.IndexByte(v, '=') < 0 {
		return false
	}
	if m != nil && !spend(m, xssWork(v)) {
		return true
	}
	return libinjection.IsXSS(v)
}

// isOneToken reports texts that SQL reads as one word or one number. The shortest phrase of which
// libinjection says that it is an attack has two tokens. A word may have dots in it, if what stands before them
// is no keyword: "json" is none, and it is what the names of JSON's values begin with.
func isOneToken(v string) bool {
	if v == "" {
		return true
	}
	v, named := strings.CutPrefix(v, "json.")
	digits, letters := false, false
	for i := range len(v) {
		switch b := v[i]; {
		case b >= '0' && b <= '9':
			digits = true
			if !letters && !named {
				continue
			}
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b == '_':
			letters = true
			if digits && i > 0 && !named && v[0] <= '9' {
				return false // a number with a word behind it
			}
		case b == '.' && named:
		default:
			return false
		}
	}
	return true
}

// byteRange is @validateByteRange: some byte is in none of the ranges.
func byteRange(arg string) predicate {
	var valid [256]bool
	for part := range strings.SplitSeq(arg, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.ParseUint(from, 10, 8)
		if err != nil {
			return nil
		}
		high := low
		if isRange {
			if high, err = strconv.ParseUint(to, 10, 8); err != nil {
				return nil
			}
		}
		for b := low; b <= high; b++ {
			valid[b] = true
		}
	}
	return func(v string, _ *rx.Meter) bool {
		for i := range len(v) {
			if !valid[v[i]] {
				return true
			}
		}
		return false
	}
}

// RxFlags are those that the engine puts before every expression but those over bytes.
const RxFlags = "(?sm)"

// OverBytes reports whether the engine takes an expression to be over bytes: it has escapes that are no
// UTF-8 together. Such expressions have no flags added, and every byte is a character to them.
func OverBytes(expr string) bool {
	decoded := make([]byte, 0, len(expr))
	for i := 0; i < len(expr); i++ {
		if b, size, ok := byteEscape(expr[i:]); ok {
			decoded = append(decoded, b)
			i += size - 1
			continue
		}
		decoded = append(decoded, expr[i])
	}
	return !utf8.Valid(decoded)
}

// byteEscape reads \xHH or \x{HH} at the beginning of s. The engine does not take four bytes at the very
// end for one, nor a brace that holds more or fewer than two digits.
func byteEscape(s string) (b byte, size int, ok bool) {
	if len(s) < 4 || s[0] != '\\' || s[1] != 'x' {
		return 0, 0, false
	}
	digits, size := s[2:], 4
	if len(s) >= 6 && s[2] == '{' {
		if end := strings.IndexByte(s, '}'); end >= 0 {
			digits, size = s[3:], end+1
		}
	}
	r, ok := hexNumber(digits, 2)
	return byte(r), size, ok
}

// hasFolding finds what CompileBytes might read otherwise than the engine.
var hasFolding = regexp.MustCompile(`\(\?[a-zA-Z-]*i|\\[pP]|[^\x00-\x7f]`)

// A phraseList is the phrases of @pm or @pmFromFile.
type phraseList []string

// phrases reads what the operator looks for, or nil if that is not known.
func phrases(name, arg string, lists fs.FS) phraseList {
	switch strings.ToLower(name) {
	case "pm":
		return strings.Split(strings.ToLower(arg), " ")
	case "pmfromfile", "pmf":
		b, err := fs.ReadFile(lists, arg)
		if err != nil {
			return nil
		}
		var out phraseList
		lines := bufio.NewScanner(bytes.NewReader(b))
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
				out = append(out, strings.ToLower(line))
			}
		}
		if lines.Err() != nil {
			return nil
		}
		return out
	}
	return nil
}

// expression matches at least what contains one of the phrases in whatever case: it folds beyond ASCII
// too, which the operator does not. It is "" if there is no such expression.
func (l phraseList) expression() string {
	quoted := make([]string, len(l))
	for i, phrase := range l {
		if phrase == "" || !utf8.ValidString(phrase) {
			return ""
		}
		quoted[i] = regexp.QuoteMeta(phrase)
	}
	return "(?i)(?:" + strings.Join(quoted, "|") + ")"
}
