package configs

import (
	"regexp"
	"strings"

	"gatehouse/internal/suggest"
)

// masked is what is printed instead of a secret.
const masked = "<redacted>"

// keyOnLine finds a key and the colon behind it.
var keyOnLine = regexp.MustCompile(`["']?([\w-]+)["']?\s*:(?:\s+|$)`)

// wholeReference is a value that only points at a secret. It may be printed.
var wholeReference = regexp.MustCompile(`^\s*["']?\$\{[^{}]*(?:\$\{[^{}]*\}[^{}]*)?\}["']?\s*(?:[,}\]#]|$)`)

// anAddress is the value of listen.keys, which is no secret.
var anAddress = regexp.MustCompile(`^["']?[\w.\[\]-]{0,40}:\d{1,5}["']?\s*(?:[,}#]|$)`)

// addressPassword is the password of an address. None may have one, which is why one that has is printed.
// The second form is one without a scheme, which is why it is printed then.
var addressPassword = regexp.MustCompile(`(?:(://[^\s"':@]*:)[^\s"']*|(\b[\w.~%+-]+:)[^\s"'/@{}][^\s"'{}]*)@`)

// maskAddresses returns s with the passwords of addresses masked.
func maskAddresses(s string) string {
	return addressPassword.ReplaceAllString(s, "${1}${2}"+masked+"@")
}

// isSecretKey reports whether the value of key must not be printed. It is meant to find too much:
// misspelt keys too, because a misspelt key is what gets printed.
func isSecretKey(key string) bool {
	word := suggest.Canonical(key)
	for _, part := range []string{"secret", "passw", "passphrase", "private"} {
		if strings.Contains(word, part) {
			return true
		}
	}
	return word != "key" && suggest.Nearest(word, []string{"client_secret", "secret", "password", "keys", "admin_token", "session_token"}) != ""
}

// isList reports whether value is a list where key names a single key file: "keys" was meant.
func isList(key, value string) bool {
	return suggest.Canonical(key) == "key" && (value == "" || value[0] == '[')
}

// maskLines returns lines with everything masked that looks like a secret's value. It looks at the
// text and not at the YAML, because the lines of a file that is no YAML are printed too. It errs on
// the side of masking.
func maskLines(lines []string) []string {
	out := make([]string, len(lines))
	open := -1 // the indentation of a secret key whose value goes on below; -1 without one
	for i, line := range lines {
		indent := indentation(line)
		rest := line[indent:]
		if open >= 0 && (rest == "" || indent > open || (indent == open && strings.HasPrefix(rest, "-"))) {
			out[i] = maskContinuation(line)
			continue
		}
		out[i], open = maskValues(maskAddresses(line))
	}
	return out
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// maskContinuation hides a line that belongs to the value of a secret, except a lone reference.
func maskContinuation(line string) string {
	body := strings.TrimLeft(line, " \t-")
	if body == "" || wholeReference.MatchString(body) {
		return line
	}
	return line[:len(line)-len(body)] + masked
}

// maskValues hides the values of secret keys on one line. open is the indentation of a secret key
// whose value is not over at the end of the line, else -1.
func maskValues(line string) (out string, open int) {
	var b strings.Builder
	open = -1
	for at := 0; at < len(line); {
		m := keyOnLine.FindStringSubmatchIndex(line[at:])
		if m == nil {
			b.WriteString(line[at:])
			break
		}
		key, value := line[at+m[2]:at+m[3]], line[at+m[1]:]
		b.WriteString(line[at : at+m[1]])
		at += m[1]
		if !isSecretKey(key) && !isList(key, value) || wholeReference.MatchString(value) || key == "keys" && anAddress.MatchString(value) {
			continue
		}
		before := line[:at-(m[1]-m[2])]
		first := strings.Trim(before, " \t-?\"'") == ""
		n, ended := secretLength(value, first)
		if strings.Trim(value[:n], " |>+-0123456789") != "" || ended {
			b.WriteString(masked)
		} else {
			b.WriteString(value[:n])
		}
		if !ended {
			open = indentation(line)
			if first {
				open = len(strings.TrimRight(before, "\"'"))
			}
		}
		at += n
	}
	return b.String(), open
}

// secretLength says how many bytes at the start of s are the value of a secret key, and whether it
// surely ends there. wholeLine says that the key is the first of its line.
func secretLength(s string, wholeLine bool) (n int, ended bool) {
	switch {
	case s == "":
		return 0, false
	case s[0] == '"' || s[0] == '\'':
		return quotedLength(s)
	case s[0] == '[' && strings.Contains(s, "]"):
		return strings.LastIndexByte(s, ']') + 1, true
	case strings.ContainsRune("[{|>&!", rune(s[0])):
		return len(s), false
	case wholeLine:
		return len(s), false // a plain value may go on below
	}
	if i := strings.IndexAny(s, ",}]"); i >= 0 {
		return i, true
	}
	return len(s), false
}

func quotedLength(s string) (n int, ended bool) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[0] == '"' && s[i] == '\\':
			i++
		case s[i] == s[0] && s[0] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
		case s[i] == s[0]:
			return i + 1, true
		}
	}
	return len(s), false
}
