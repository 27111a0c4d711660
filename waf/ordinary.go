package waf

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// What keeps the Core Rule Set from refusing what ordinary people and programs send, where that can be had without a hole.
// ../docs/waf.md (Bodies) argues each; ../e2e/testdata/ordinary has the requests.

// An amendment changes the text of one of the set's directives.
type amendment struct{ old, now string }

// amendments are by id.
var amendments = map[int]amendment{
	// A file may be called O'Brien.pdf. The rule is against readers that take ' for a quotation mark; names that are not
	// in double quotes may not begin with one (unquote), so that no reader does.
	920120: {`[^\"';=\x5c]`, `[^\";=\x5c]`},
	// Attributes name namespaces, as that of XHTML in every feed. The rule looks for names of attributes in markup; markup
	// in an attribute's value is found by 941100 and 941160.
	941130: {"|XML://@*", ""},
	// A quotation mark that follows at once ends a quotation of the word, as in "select" goods or `SELECT`-free.
	942190: {"(?:all|(?:distin|sele)ct))\\b[\\s\\x0b]*[^\\s\\x0b])", "(?:all|(?:distin|sele)ct))\\b(?:[\\s\\x0b]+[^\\s\\x0b]|[^\\s\\x0b\\\"'`]))"},
}

// amend is the directive d of the rule id as it is loaded.
func amend(id int, d string) string {
	if a, ok := amendments[id]; ok {
		return strings.Replace(d, a.old, a.now, 1)
	}
	return d
}

// An unread is a target that some rules do not read.
type unread struct {
	rules  []int
	target string
}

// unreadTargets is what is left out of rules without anybody's asking.
func unreadTargets() []unread {
	// Of code, by a browser that was kept from running it; nobody shows it to anybody but as text.
	samples := []int{934100, 941100, 941110, 941120, 941130, 941140, 941160, 941170, 941180, 941210, 941230, 941310, 941350, 941360, 941370, 941390, 941400}
	return []unread{
		// A quotation mark and a semicolon anywhere behind it, and no more, in what should be of many signs. Whole
		// statements are what the other rules look for.
		{[]int{942540}, "!ARGS_POST:/pass/|!ARGS_POST:/pwd/"},
		{samples, "!ARGS_POST:json.csp-report.script-sample"},
		{samples, `!ARGS_POST:/^json\.[0-9]+\.body\.sample$/`},
	}
}

// unreadDirectives are unreadTargets for the rules that are loaded.
func unreadDirectives(loaded []crsRule) string {
	var b strings.Builder
	for _, u := range unreadTargets() {
		for _, r := range loaded {
			if slices.Contains(u.rules, r.id) {
				fmt.Fprintf(&b, "SecRuleUpdateTargetById %d \"%s\"\n", r.id, u.target)
			}
		}
	}
	return b.String()
}

// The rules that know four parameters of types.
const (
	contentTypeRule = 920470
	acceptRule      = 920600
)

// typeRules are those of the two whose field has nothing worse than parameters that they do not know (RFC 9110 section
// 8.3.1), as those of JSON:API, OData and media types with codecs.
func typeRules(h http.Header) (harmless []int) {
	if types := h["Content-Type"]; len(types) == 1 && strings.Contains(types[0], ";") && plainType(types[0]) {
		harmless = append(harmless, contentTypeRule)
	}
	if accepts := h["Accept"]; len(accepts) == 1 && strings.Contains(accepts[0], `="`) && plainTypes(accepts[0]) {
		harmless = append(harmless, acceptRule)
	}
	return harmless
}

// plainTypes reports whether s is a list of what plainType takes.
func plainTypes(s string) bool {
	from, quoted := 0, false
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '"':
			quoted = !quoted
		case i == len(s), s[i] == ',' && !quoted:
			if !plainType(s[from:i]) {
				return false
			}
			from = i + 1
		}
	}
	return !quoted
}

// plainType reports whether s is a media type with parameters of which every reader makes the same: each once, none in
// pieces or another charset, and no sign in a value that means something to anybody.
func plainType(s string) bool {
	name, _, _ := strings.Cut(s, ";")
	kind, sub, found := strings.Cut(strings.Trim(name, " \t"), "/")
	if !found || !isToken(kind) || !isToken(sub) {
		return false
	}
	params, ok := splitParams("x" + s[len(name):]) // a type is no token
	if !ok || strings.Contains(s, "= ") || strings.Contains(s, " =") || strings.Contains(s, "\t") {
		return false // the grammar has no blanks there, and readers differ
	}
	for i, p := range params {
		if strings.Contains(p.name, "*") || !p.quoted && !isToken(p.value) || strings.Trim(p.value, plainValue) != "" ||
			slices.ContainsFunc(params[:i], func(q param) bool { return q.name == p.name }) {
			return false
		}
		if p.name == "charset" && !slices.Contains([]string{"utf-8", "utf8", "us-ascii", "iso-8859-1"}, strings.ToLower(p.value)) {
			return false
		}
	}
	return true
}

// plainValue are the signs that the values of parameters may have.
const plainValue = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~+:/?#=&@, "

// withoutImages is the JSON document b, of which each value that is a picture as a data URL is replaced by the head of
// one. What rules would find in Base64 are words that are none; what is in a picture, none reads.
func withoutImages(b []byte) []byte {
	var out []byte
	done := 0
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(`"data:image`))
		if i < 0 {
			break
		}
		start := from + i
		from = start + 1
		// A quotation mark behind one of these begins a value or a name: one that ends a text has another sign behind it.
		before := bytes.TrimRight(b[done:start], " \t\r\n")
		if len(before) == 0 || bytes.IndexByte([]byte(":,["), before[len(before)-1]) < 0 {
			continue
		}
		end := start + 1 + imageURL(b[start+1:])
		if end == start+1 || end == len(b) || b[end] != '"' {
			continue
		}
		out = append(append(out, b[done:start]...), `"data:image`...)
		done, from = end, end
	}
	if done == 0 {
		return b
	}
	return append(out, b[done:]...)
}

// imageURL is the length of a data URL with the beginning of a picture at the beginning of b, 0 if there is none. In JSON
// some writers put a backslash before each slash.
func imageURL(b []byte) int {
	n := 0
	take := func(s string) bool {
		for i := range len(s) {
			if s[i] == '/' && n < len(b) && b[n] == '\\' {
				n++
			}
			if n == len(b) || b[n] != s[i] {
				return false
			}
			n++
		}
		return true
	}
	for _, head := range []string{
		"data:image/png;base64,iVBORw0KGgo", "data:image/jpeg;base64,/9j/", "data:image/jpg;base64,/9j/",
		"data:image/gif;base64,R0lGOD", "data:image/webp;base64,UklGR",
	} {
		n = 0
		if !take(head) {
			continue
		}
		for n < len(b) && (isAlnum(b[n]) || bytes.IndexByte([]byte(`+/=\`), b[n]) >= 0) {
			if b[n] == '\\' && (n+1 == len(b) || b[n+1] != '/') {
				break
			}
			n++
		}
		return n
	}
	return 0
}

// withoutImage is value, or the head of a data URL if it is a picture as one and nothing else.
func withoutImage(value string) string {
	if strings.HasPrefix(value, "data:image/") && !strings.Contains(value, `\`) && imageURL([]byte(value)) == len(value) {
		return "data:image"
	}
	return value
}
