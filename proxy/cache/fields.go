package cache

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// parseDate reads an HTTP date in one of its three forms (RFC 9110 section 5.6.7), letter case aside. Of a year in two digits
// it is the one that is not more than 50 years ahead of now.
func parseDate(s string, now time.Time) (time.Time, bool) {
	switch rest, gmt := cutGMT(s); {
	case gmt && len(rest) == len("Mon, 02 Jan 2006 15:04:05"):
		t, err := time.Parse("Mon, 02 Jan 2006 15:04:05", rest)
		return t, err == nil
	case gmt:
		t, err := time.Parse("Monday, 02-Jan-06 15:04:05", rest)
		if err == nil && t.After(now.AddDate(50, 0, 0)) {
			t = t.AddDate(-100, 0, 0)
		}
		return t, err == nil && strings.HasSuffix(rest, t.Format(" 15:04:05"))
	case len(s) == len(time.ANSIC):
		t, err := time.Parse(time.ANSIC, s)
		return t, err == nil
	}
	return time.Time{}, false
}

func cutGMT(s string) (string, bool) {
	const zone = " GMT"
	if len(s) < len(zone) || !strings.EqualFold(s[len(s)-len(zone):], zone) {
		return s, false
	}
	return s[:len(s)-len(zone)], true
}

// dateOf returns the date in a field that has one value.
func dateOf(h http.Header, key string, now time.Time) (t time.Time, ok bool) {
	if lines := h[key]; len(lines) == 1 {
		return parseDate(lines[0], now)
	}
	return time.Time{}, false
}

// parseAge reads Age: the first member of the first line, and nothing that is no number (RFC 9111 section 5.1).
func parseAge(lines []string) time.Duration {
	if len(lines) == 0 {
		return 0
	}
	first, _, _ := strings.Cut(lines[0], ",")
	first = trim(first)
	if len(first) > 0 && first[0] == '"' {
		return 0
	}
	return seconds(max(parseDelta(first), 0))
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// parseVary returns the fields that an answer depends on, sorted and each once. ok is false where it depends on more than can
// be told: "*", what is no name, or more than maxNames.
func parseVary(lines []string) (names []string, ok bool) {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			name := textproto.CanonicalMIMEHeaderKey(trim(part))
			switch {
			case name == "" || slices.Contains(names, name):
			case name == "*" || !isToken(name) || len(names) == maxNames:
				return nil, false
			default:
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, true
}

// selecting returns what a request says in a field that answers depend on, as it is compared: lines joined, without the white
// space around members, and for languages without letter case. A field that is not there is told from one that is empty.
func selecting(h http.Header, name string) string {
	lines, ok := h[name]
	if !ok {
		return "-"
	}
	if name == "Accept-Encoding" {
		return "+" + codings(lines)
	}
	var b strings.Builder
	b.WriteByte('+')
	for i, line := range lines {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, part := 0, ""; j >= 0; {
			part, line, j = cutMember(line)
			b.WriteString(trim(part))
			if j >= 0 {
				b.WriteByte(',')
			}
		}
	}
	if name == "Accept-Language" {
		return strings.ToLower(b.String())
	}
	return b.String()
}

// cutMember cuts a list at its first comma; where is negative if there is none.
func cutMember(s string) (member, rest string, where int) {
	where = strings.IndexByte(s, ',')
	if where < 0 {
		return s, "", where
	}
	return s[:where], s[where+1:], where
}

// codings is what Accept-Encoding comes down to: of those that origins commonly have, the ones that the client takes. It is
// sent in place of what the client said, so that there are few variants of an answer.
func codings(lines []string) string {
	var takes, refuses [len(knownCodings)]bool
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			coding, weight, _ := strings.Cut(part, ";")
			for i, known := range knownCodings {
				if strings.EqualFold(trim(coding), known) {
					takes[i] = true
					refuses[i] = refuses[i] || refused(weight)
				}
			}
		}
	}
	var names []string
	for i, known := range knownCodings {
		if takes[i] && !refuses[i] {
			names = append(names, known)
		}
	}
	return strings.Join(names, ", ")
}

var knownCodings = [...]string{"gzip", "br", "zstd"}

// refused reports a weight of zero (RFC 9110 section 12.4.2).
func refused(weight string) bool {
	weight, _, _ = strings.Cut(weight, ";")
	q, value, _ := strings.Cut(weight, "=")
	value = trim(value)
	return strings.EqualFold(trim(q), "q") && strings.Trim(value, "0.") == "" && value != ""
}

// matchesTag reports whether If-None-Match names an entity tag, by the weak comparison (RFC 9110 section 8.8.3.2).
func matchesTag(lines []string, tag string) bool {
	if tag == "" {
		return false
	}
	want := opaque(tag)
	for _, line := range lines {
		for line = strings.TrimLeft(line, " \t,"); line != ""; line = strings.TrimLeft(line, " \t,") {
			var one string
			if one, line = nextTag(line); one == "*" || opaque(one) == want {
				return true
			}
		}
	}
	return false
}

// nextTag takes an entity tag off a list. One without quotes ends at a comma.
func nextTag(s string) (tag, rest string) {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if start < len(s) && s[start] == '"' {
		if end := strings.IndexByte(s[start+1:], '"'); end >= 0 {
			end += start + 2
			return s[:end], s[end:]
		}
	}
	tag, rest, _ = strings.Cut(s, ",")
	return trim(tag), rest
}

func opaque(tag string) string { return strings.TrimPrefix(tag, "W/") }

// one returns the only line of a field; "" where there are none or several.
func one(h http.Header, key string) string {
	if lines := h[key]; len(lines) == 1 {
		return lines[0]
	}
	return ""
}

// tagsOf returns the surrogate keys of an answer: those of Surrogate-Key are divided by spaces, those of Cache-Tag by commas.
func tagsOf(h http.Header) (tags []string) {
	split := func(key string, in func(r rune) bool) {
		for _, line := range h[key] {
			for _, tag := range strings.FieldsFunc(line, in) {
				if tag = trim(tag); tag != "" && len(tags) < maxTags && !slices.Contains(tags, tag) {
					tags = append(tags, strings.Clone(tag))
				}
			}
		}
	}
	split("Surrogate-Key", func(r rune) bool { return r == ' ' || r == '\t' })
	split("Cache-Tag", func(r rune) bool { return r == ',' })
	return tags
}

// maxTags bounds the surrogate keys of one answer.
const maxTags = 256
