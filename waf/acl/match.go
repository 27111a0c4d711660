package acl

import (
	"strings"

	"gatehouse/waf/gate"
	"gatehouse/waf/rx"
)

// detectWork bounds what regular expressions and finding SQL injection and XSS in one request may take, in nanoseconds of a core: as
// much as the rule engine has for the whole request. What is left over when that is used up is taken for a match.
const detectWork = 40_000_000

// A match is a compiled Match.
type match struct {
	transforms []transform
	last       string // the name of the last of them
	texts      []textTest
	regexps    []*rx.Pattern // each of a list, of which one must match
	sqli       bool
	like       *rx.Pattern // what high sensitivity finds beside libinjection; nil with low
	xss        bool
	sizes      []sizeTest
}

// A textTest is true of values that one of the texts stands in, as constraint says.
type textTest struct {
	constraint constraint
	texts      []string
}

type constraint byte

const (
	exactly constraint = iota
	startsWith
	endsWith
	contains
	containsWord
)

// value reports whether s has all that m says.
func (m *match) value(v *view, s string) bool {
	for _, t := range m.transforms {
		s = t(s)
	}
	for i := range m.texts {
		if !m.texts[i].of(s) {
			return false
		}
	}
	for _, size := range m.sizes {
		if !size.of(int64(len(s))) {
			return false
		}
	}
	for _, list := range m.regexps {
		if !list.Match(s, v.work()) {
			return false
		}
	}
	if m.sqli && !v.isSQLi(s, m.like) {
		return false
	}
	return !m.xss || v.isXSS(s)
}

func (t *textTest) of(s string) bool {
	for _, text := range t.texts {
		found := false
		switch t.constraint {
		case exactly:
			found = s == text
		case startsWith:
			found = strings.HasPrefix(s, text)
		case endsWith:
			found = strings.HasSuffix(s, text)
		case contains:
			found = strings.Contains(s, text)
		case containsWord:
			found = hasWord(s, text)
		}
		if found {
			return true
		}
	}
	return false
}

// hasWord reports whether word stands in s with no letter, digit or underscore on either side: CONTAINS_WORD of AWS WAF.
func hasWord(s, word string) bool {
	if word == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(s[from:], word)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(word)
		if (begin == 0 || !isWordByte(s[begin-1])) && (end == len(s) || !isWordByte(s[end])) {
			return true
		}
		from = begin + 1
	}
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// likeSQL is what "high" finds beside libinjection: phrases that queries are made of, whatever stands around them.
const likeSQL = `(?i)\b(?:union\b[\s(/*]+(?:all\b[\s(/*]+|distinct\b[\s(/*]+)?select|select\b.{1,80}\bfrom|insert\s+into\b|delete\s+from|update\b.{1,40}\bset\b|drop\s+(?:table|database|view|schema)|(?:sleep|benchmark|pg_sleep|waitfor\s+delay|extractvalue|updatexml|load_file)\s*\(?|information_schema\b|xp_cmdshell\b)|['"]\s*(?:or|and)\b|\b(?:or|and)\b\s+['"(]?\w+['")]?\s*(?:=|<|>|like\b|is\b)|['"]\s*(?:--|#|;)`

func (v *view) isSQLi(s string, like *rx.Pattern) bool {
	found, _ := gate.DetectSQLi(s, v.work())
	return found || v.meter.Exhausted() || like != nil && like.Match(s, v.meter)
}

func (v *view) isXSS(s string) bool {
	return gate.DetectXSS(s, v.work()) || v.meter.Exhausted()
}

// work is the meter of what is found out about the request. A client that has had more than its part of the budget gets no more.
func (v *view) work() *rx.Meter {
	if v.meter == nil {
		v.meter = rx.NewMeter(detectWork)
		if begin := v.acl.opts.Begin; begin != nil && v.acl.mode != ModeCount {
			if v.failed = begin(v.client); v.failed != nil {
				v.meter, v.broke = rx.NewMeter(-1), true
			}
		}
	}
	return v.meter
}

// pay charges the client for it.
func (v *view) pay() {
	if v.meter != nil && !v.broke && v.acl.opts.End != nil {
		v.acl.opts.End(v.client, min(detectWork-v.meter.Left(), detectWork))
	}
}

// A sizeTest compares a number of bytes.
type sizeTest struct {
	op    string
	bytes int64
}

func (t sizeTest) of(n int64) bool {
	switch t.op {
	case "=":
		return n == t.bytes
	case "!=":
		return n != t.bytes
	case "<":
		return n < t.bytes
	case "<=":
		return n <= t.bytes
	case ">":
		return n > t.bytes
	default:
		return n >= t.bytes
	}
}
