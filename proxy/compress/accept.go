package compress

import "strings"

// A weight is a qvalue in thousandths (RFC 9110 section 12.4.2). unsaid is none.
type weight int

const unsaid weight = -1

// negotiate returns the first of codings that the client likes best, and not less than an answer as it is; "" for none. What cannot be
// read of the fields is not accepted. Without fields nothing is: whoever says nothing may not know any coding.
func negotiate(fields []string, codings []coding) string {
	best, chosen := weight(0), ""
	plain := weightOf(fields, "identity", "identity")
	for _, c := range codings {
		w := weightOf(fields, c.name, c.alias)
		if w == unsaid {
			w = weightOf(fields, "*", "*")
		}
		if w > best && w >= plain {
			best, chosen = w, c.name
		}
	}
	return chosen
}

// weightOf returns the weight of a coding, which has two names. Of several the lowest counts.
func weightOf(fields []string, name, alias string) weight {
	found := unsaid
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			coding, params, weighted := strings.Cut(part, ";")
			coding = strings.Trim(coding, " \t")
			if !strings.EqualFold(coding, name) && !strings.EqualFold(coding, alias) {
				continue
			}
			w := weight(1000)
			if weighted {
				w = parseWeight(params)
			}
			if found == unsaid || w < found {
				found = w
			}
		}
	}
	return found
}

// parseWeight reads ";q=0.123" behind its semicolon. What is none weighs nothing.
func parseWeight(params string) weight {
	q := strings.Trim(params, " \t")
	if len(q) < 3 || len(q) > 7 || q[0]|0x20 != 'q' || q[1] != '=' || q[2] != '0' && q[2] != '1' {
		return 0
	}
	w := weight(q[2]-'0') * 1000
	if len(q) == 3 {
		return w
	}
	if q[3] != '.' {
		return 0
	}
	scale := weight(100)
	for _, c := range []byte(q[4:]) {
		if c < '0' || c > '9' {
			return 0
		}
		w += weight(c-'0') * scale
		scale /= 10
	}
	if w > 1000 {
		return 0
	}
	return w
}
