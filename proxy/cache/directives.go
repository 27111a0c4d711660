package cache

import (
	"net/textproto"
	"strings"
)

// absent is the value of a directive that is not there, or has no argument where one may be left out.
const absent = -1

// maxDelta is where longer times end (RFC 9111 section 1.2.2), in seconds: 68 years.
const maxDelta = 1 << 31

// maxNames bounds the field names that a directive or Vary may list. More are taken for all of them.
const maxNames = 32

// directives is what Cache-Control says, in a request or in an answer.
type directives struct {
	noStore, noCache, private, public                               bool
	mustRevalidate, proxyRevalidate, mustUnderstand, onlyIfCached   bool
	maxAge, sharedMaxAge, whileRevalidate, ifError, minFresh, stale int64 // seconds, or absent

	fields   []string // of no-cache and private with an argument, which is about these fields only
	maxStale bool     // max-stale is there; stale is absent where it says any time
}

// parseDirectives reads the lines of a Cache-Control field. A time that is not one is none: what it would have allowed is not
// (RFC 9111 section 4.2.1). Of a directive that is there twice the stricter counts.
func parseDirectives(lines []string) directives {
	d := directives{
		maxAge: absent, sharedMaxAge: absent, whileRevalidate: absent, ifError: absent, minFresh: absent, stale: absent,
	}
	for _, line := range lines {
		for line != "" {
			var name, value string
			var has bool
			name, value, has, line = nextDirective(line)
			d.add(name, value, has)
		}
	}
	return d
}

// nextDirective takes the first directive off a line. A comma in a quoted text is no end of it.
func nextDirective(line string) (name, value string, has bool, rest string) {
	end, quoted := len(line), false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			end = i
		}
		if end == i {
			break
		}
	}
	part := line[:end]
	if end < len(line) {
		rest = line[end+1:]
	}
	name, value, has = strings.Cut(trim(part), "=")
	if has && trim(name) != name {
		value = "" // no white space may be there; what only allows something allows nothing then
	}
	return trim(name), value, has, rest
}

func (d *directives) add(name, value string, has bool) {
	switch strings.ToLower(name) {
	case "no-store":
		d.noStore = true
	case "no-cache":
		d.noCache = !d.aboutFields(value, has) || d.noCache
	case "private":
		d.private = !d.aboutFields(value, has) || d.private
	case "public":
		d.public = true
	case "must-revalidate":
		d.mustRevalidate = true
	case "proxy-revalidate":
		d.proxyRevalidate = true
	case "must-understand":
		d.mustUnderstand = true
	case "only-if-cached":
		d.onlyIfCached = true
	case "max-age":
		setLeast(&d.maxAge, value)
	case "s-maxage":
		setLeast(&d.sharedMaxAge, value)
	case "stale-while-revalidate":
		setLeast(&d.whileRevalidate, value)
	case "stale-if-error":
		setLeast(&d.ifError, value)
	case "min-fresh":
		if n := parseDelta(value); n > d.minFresh {
			d.minFresh = n
		}
	case "max-stale":
		d.maxStale = true
		if has {
			setLeast(&d.stale, value)
		}
	}
}

// aboutFields reports whether an argument names fields, and keeps them.
func (d *directives) aboutFields(value string, has bool) bool {
	value = unquote(trim(value))
	if !has || value == "" {
		return false
	}
	var names []string
	for part := range strings.SplitSeq(value, ",") {
		name := textproto.CanonicalMIMEHeaderKey(trim(part))
		if name == "" {
			continue
		}
		if !isToken(name) || len(d.fields)+len(names) == maxNames {
			return false // and then it is about all of them
		}
		names = append(names, name)
	}
	d.fields = append(d.fields, names...)
	return len(names) > 0
}

// setLeast sets a time to the least that has been said of it.
func setLeast(to *int64, value string) {
	n := max(parseDelta(value), 0)
	if *to == absent || n < *to {
		*to = n
	}
}

// parseDelta reads a number of seconds, as a token or a quoted text; absent for what is none.
func parseDelta(s string) int64 {
	s = unquote(s)
	if s == "" {
		return absent
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return absent
		}
		n = min(n*10+int64(s[i]-'0'), maxDelta)
	}
	return n
}

// unquote takes the quotes off a quoted text, without looking for what is escaped in it: no value here may have that.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// trim takes optional white space off both ends (RFC 9110 section 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }

// isToken reports a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// targeted reads CDN-Cache-Control (RFC 9213), which is a dictionary of structured fields: what breaks its grammar, or gives a
// directive a value of another type, makes nothing of the field count. ok is false then, and where there is none.
func targeted(lines []string) (d directives, ok bool) {
	if len(lines) == 0 {
		return d, false
	}
	members, ok := parseDictionary(strings.Join(lines, ","))
	if !ok || len(members) == 0 {
		return d, false
	}
	d = parseDirectives(nil)
	for _, m := range members {
		switch m.name {
		case "max-age", "s-maxage", "stale-while-revalidate", "stale-if-error":
			if m.kind != itemInteger {
				return directives{}, false
			}
			d.add(m.name, m.text, true)
		case "no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand":
			if m.kind != itemBoolean {
				return directives{}, false
			}
			if m.text == "1" {
				d.add(m.name, "", false)
			}
		}
	}
	return d, true
}
