package headers

import "strings"

// fold maps each byte of a header name to what the widest known CGI mapping makes of it: Apache
// turns every byte that is not a letter or digit into '_', PHP does so with '.' and ' ', everybody
// with '-', and case is lost. Two names that fold alike may be one variable to an application
// (RFC 3875, section 4.1.18).
var fold = func() (table [256]byte) {
	for b := range table {
		switch {
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9':
			table[b] = byte(b)
		case 'A' <= b && b <= 'Z':
			table[b] = byte(b) + 'a' - 'A'
		default:
			table[b] = '_'
		}
	}
	return table
}()

// tokenByte says which bytes may stand in a header name (RFC 9110, section 5.6.2).
var tokenByte = func() (table [256]bool) {
	for b := range table {
		table[b] = b < 0x80 && fold[b] != '_' || b < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(b)) >= 0
	}
	return table
}()

// isToken reports whether name is a header name that RFC 9110 can spell.
func isToken(name string) bool {
	for i := range len(name) {
		if !tokenByte[name[i]] {
			return false
		}
	}
	return name != ""
}

// isPlainName reports whether name is of letters, digits and hyphens and begins with a letter, so
// that it survives every mapping in a form that nothing but its own spellings shares.
func isPlainName(name string) bool {
	for i := range len(name) {
		if b := name[i]; fold[b] == '_' && b != '-' {
			return false
		}
	}
	return name != "" && fold[name[0]] >= 'a'
}

// foldName returns name as an application behind CGI may read it.
func foldName(name string) string {
	folded := make([]byte, len(name))
	for i := range len(name) {
		folded[i] = fold[name[i]]
	}
	return string(folded)
}

// foldsTo reports whether name begins with something that folds to folded.
func foldsTo(name, folded string) bool {
	if len(name) < len(folded) {
		return false
	}
	for i := range len(folded) {
		if fold[name[i]] != folded[i] {
			return false
		}
	}
	return true
}

// isFieldValue reports whether value can stand in a header unchanged by anybody who reads it:
// printable ASCII, and no blank at either end.
func isFieldValue(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return value == "" || value[0] != ' ' && value[len(value)-1] != ' '
}
