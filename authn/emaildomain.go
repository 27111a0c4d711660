package authn

import (
	"fmt"
	"strings"
	"unicode"
)

// maxEmail is the longest address that mail knows (RFC 5321 section 4.5.3.1.3), and then some.
const maxEmail = 320

// An emailDomain is one entry of Rule.EmailDomains: a domain, or with below everything under it.
type emailDomain struct {
	name  string // in lower case, such as "example.com"
	below bool   // written "*.example.com": the names below it and not it
}

// parseEmailDomain reads "example.com" or "*.example.com".
func parseEmailDomain(s string) (emailDomain, error) {
	const want = `want a domain such as "example.com", or "*.example.com" for those below it`
	name, below := strings.CutPrefix(s, "*.")
	switch {
	case strings.Contains(s, "@"):
		return emailDomain{}, fmt.Errorf("%s, without an @, got %q", want, clip(s, 100))
	case !isASCII(s):
		return emailDomain{}, fmt.Errorf(`%s; an international one in its ASCII form, "xn--…", got %q`, want, clip(s, 100))
	case !isDomain(name), !strings.Contains(name, "."):
		return emailDomain{}, fmt.Errorf("%s, got %q", want, clip(s, 100))
	}
	return emailDomain{strings.ToLower(name), below}, nil
}

// has says whether a domain, in lower case, is meant.
func (d emailDomain) has(domain string) bool {
	if !d.below {
		return domain == d.name
	}
	return strings.HasSuffix(domain, "."+d.name)
}

// domainOf returns the domain of an e-mail address, in lower case, or "" when mail systems could
// disagree about it: more than one @, quotes, comments, blanks, a trailing dot, letters outside
// ASCII. Who has such an address is let in by no rule on domains.
func domainOf(email string) string {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || len(email) > maxEmail || !isDomain(domain) || strings.ContainsAny(local, `"(),:;<>[]\`) {
		return ""
	}
	for _, r := range local {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar {
			return ""
		}
	}
	return strings.ToLower(domain)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isDomain says whether s is made of labels of letters, digits and inner dashes (RFC 5321 section
// 4.1.2): ASCII alone, so that no letter folds into another one.
func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}
