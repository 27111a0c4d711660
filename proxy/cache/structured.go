package cache

import "strings"

// The types of an item that matter here (RFC 9651 section 3.3).
type itemKind uint8

const (
	itemOther itemKind = iota // what no directive has
	itemInteger
	itemBoolean
)

// A dictionaryMember is a member of a dictionary. Its text is the digits of an integer, "1" or "0" of a boolean.
type dictionaryMember struct {
	name, text string
	kind       itemKind
}

// maxMembers bounds the members of a dictionary; one with more is refused, as its receiver may (RFC 9651 section 4.2).
const maxMembers = 64

// parseDictionary reads a dictionary of structured fields (RFC 9651 section 4.2.2). Of members with one name the last counts.
func parseDictionary(s string) (members []dictionaryMember, ok bool) {
	p := structuredText{strings.TrimLeft(s, " ")}
	for p.rest != "" {
		m := dictionaryMember{kind: itemBoolean, text: "1"}
		if m.name, ok = p.key(); !ok {
			return nil, false
		}
		if p.take('=') {
			if m.kind, m.text, ok = p.member(); !ok {
				return nil, false
			}
		}
		if !p.parameters() {
			return nil, false
		}
		members = put(members, m)
		p.rest = strings.TrimLeft(p.rest, " \t")
		if p.rest == "" {
			return members, true
		}
		if len(members) > maxMembers || !p.take(',') {
			return nil, false
		}
		p.rest = strings.TrimLeft(p.rest, " \t")
		if p.rest == "" {
			return nil, false // a comma at the end
		}
	}
	return members, true
}

func put(members []dictionaryMember, m dictionaryMember) []dictionaryMember {
	for i := range members {
		if members[i].name == m.name {
			members[i] = m
			return members
		}
	}
	return append(members, m)
}

// A structuredText is what is left to read.
type structuredText struct{ rest string }

func (p *structuredText) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// span takes the bytes at the start that are in a set.
func (p *structuredText) span(in func(c byte) bool) string {
	n := 0
	for n < len(p.rest) && in(p.rest[n]) {
		n++
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlpha(c byte) bool { return isLower(c | 0x20) }

func (p *structuredText) key() (string, bool) {
	if p.rest == "" || !isLower(p.rest[0]) && p.rest[0] != '*' {
		return "", false
	}
	return p.span(func(c byte) bool { return isLower(c) || isDigit(c) || strings.IndexByte("_-.*", c) >= 0 }), true
}

// member takes an item or an inner list.
func (p *structuredText) member() (itemKind, string, bool) {
	if !p.take('(') {
		return p.item()
	}
	for {
		p.span(func(c byte) bool { return c == ' ' })
		if p.take(')') {
			return itemOther, "", true
		}
		if _, _, ok := p.item(); !ok || !p.parameters() {
			return 0, "", false
		}
		if p.rest == "" || p.rest[0] != ' ' && p.rest[0] != ')' {
			return 0, "", false
		}
	}
}

func (p *structuredText) parameters() bool {
	for p.take(';') {
		p.span(func(c byte) bool { return c == ' ' })
		if _, ok := p.key(); !ok {
			return false
		}
		if p.take('=') {
			if _, _, ok := p.item(); !ok {
				return false
			}
		}
	}
	return true
}

func (p *structuredText) item() (kind itemKind, text string, ok bool) {
	if p.rest == "" {
		return 0, "", false
	}
	switch c := p.rest[0]; {
	case c == '?':
		if len(p.rest) < 2 || p.rest[1] != '0' && p.rest[1] != '1' {
			return 0, "", false
		}
		text, p.rest = p.rest[1:2], p.rest[2:]
		return itemBoolean, text, true
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		return itemOther, "", p.quoted()
	case c == ':':
		p.take(':')
		p.span(func(c byte) bool { return isAlpha(c) || isDigit(c) || strings.IndexByte("+/=", c) >= 0 })
		return itemOther, "", p.take(':')
	case c == '@':
		p.take('@')
		kind, _, ok = p.number()
		return itemOther, "", ok && kind == itemInteger
	case c == '*' || isAlpha(c):
		p.span(func(c byte) bool { return c == ':' || c == '/' || isToken(string(c)) })
		return itemOther, "", true
	}
	return 0, "", false
}

// number takes an integer of up to 15 digits, or a decimal of up to 12 and 3.
func (p *structuredText) number() (itemKind, string, bool) {
	negative := p.take('-')
	whole := p.span(isDigit)
	if whole == "" || len(whole) > 15 {
		return 0, "", false
	}
	if p.take('.') {
		part := p.span(isDigit)
		return itemOther, "", len(whole) <= 12 && part != "" && len(part) <= 3
	}
	if negative {
		whole = "-" + whole
	}
	return itemInteger, whole, true
}

func (p *structuredText) quoted() bool {
	p.take('"')
	for p.rest != "" {
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case c == '"':
			return true
		case c == '\\':
			if !p.take('"') && !p.take('\\') {
				return false
			}
		case c < ' ' || c > '~':
			return false
		}
	}
	return false
}
