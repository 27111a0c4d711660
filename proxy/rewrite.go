package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"regexp/syntax"
	"strings"
)

const (
	// maxReplacement bounds both parts of a Replacement, in bytes, as an ALB's transform.
	maxReplacement = 1024
	// maxRewriteProgram bounds the instructions of its expression; see maxProgram.
	maxRewriteProgram = 2000
)

// RewriteConfig says what an upstream is sent instead of the client's host, path and query, as the transforms of an ALB's rule do.
// The route was chosen, and the request inspected and authorised, by what the client sent.
type RewriteConfig struct {
	// Host is applied to the host, without its port.
	Host *Replacement `yaml:"host"`
	// Path is applied to the path as it is sent, in which a blank is %20. The query stays.
	Path *Replacement `yaml:"path"`
	// URL is applied to the path with the query behind it, as an ALB's url-rewrite; instead of path.
	URL *Replacement `yaml:"url"`
}

// A Replacement puts a text in place of what a regular expression matches first. What it does not match stays as it is.
type Replacement struct {
	// Regex is a regular expression of RE2, at most 1024 bytes. It matches anywhere unless it says ^ and $. Required.
	Regex string `yaml:"regex"`
	// Replace is the text; $1 is the first group, $0 all that matched, $$ a dollar.
	Replace string `yaml:"replace"`
}

// Validate reports everything that is wrong with c.
func (c RewriteConfig) Validate(report func(field, msg string)) {
	if c.Host == nil && c.Path == nil && c.URL == nil {
		report("", "want host, path or url, each with regex and replace")
	}
	if c.Path != nil && c.URL != nil {
		report("url", "path is there already: want one of them")
	}
	for _, part := range []struct {
		field string
		*Replacement
	}{{"host", c.Host}, {"path", c.Path}, {"url", c.URL}} {
		if part.Replacement == nil {
			continue
		}
		r, field, err := part.compile()
		if err != nil {
			report(part.field+"."+field, err.Error())
		} else if msg := unfit(part.field, r.pieces); msg != "" {
			report(part.field+".replace", msg)
		}
	}
}

// unfit says what of the text can be in no result, so that each request would be answered 500.
func unfit(field string, pieces []string) string {
	for _, text := range pieces {
		back := strings.IndexByte(text, '\\') + 1
		switch {
		case back > 0 && back < len(text) && '0' <= text[back] && text[back] <= '9':
			return `want $1 for the first group, not \1`
		case field == "host":
			if strings.Trim(text, hostBytes) != "" {
				return "want of a host and its port no more than letters, digits and .-_:[]"
			}
		case strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }):
			return "want no blanks and control characters: a blank is %20"
		case strings.Contains(text, "#"):
			return "want no #: only browsers have what stands behind it"
		case field == "path" && strings.Contains(text, "?"):
			return "want no query, which stays as it is: url instead of path makes both"
		}
	}
	return ""
}

// hostBytes are what splitHost takes.
const hostBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

// A replacer is a compiled Replacement: the text in pieces, before each of which but the first stands a group.
type replacer struct {
	re     *regexp.Regexp
	most   int // bytes of a text that re may be asked about; see maxSteps
	pieces []string
	groups []int
}

// compile returns the replacer, or the field that is wrong.
func (c *Replacement) compile() (r *replacer, field string, err error) {
	if c.Regex == "" || len(c.Regex) > maxReplacement {
		return nil, "regex", fmt.Errorf("want a regular expression of 1 to %d bytes, got %d", maxReplacement, len(c.Regex))
	}
	tree, err := syntax.Parse(c.Regex, syntax.Perl)
	if err != nil {
		return nil, "regex", fmt.Errorf("want a regular expression of RE2: %w", err)
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil || len(program.Inst) > maxRewriteProgram {
		return nil, "regex", errors.New("the regular expression is too large: want fewer or smaller repetitions")
	}
	r = &replacer{most: maxSteps / len(program.Inst)}
	if r.re, err = regexp.Compile(c.Regex); err != nil {
		return nil, "regex", fmt.Errorf("want a regular expression of RE2: %w", err)
	}
	if len(c.Replace) > maxReplacement {
		return nil, "replace", fmt.Errorf("want at most %d bytes, got %d", maxReplacement, len(c.Replace))
	}
	if err := r.parse(c.Replace); err != nil {
		return nil, "replace", err
	}
	return r, "", nil
}

// parse reads the text. Digits belong to the group's number as long as there is such a group: with one group, $10 is the first
// and a "0", as people mean it. regexp.Expand would look for a group that is called so.
func (r *replacer) parse(s string) error {
	for {
		text, rest, found := strings.Cut(s, "$")
		r.pieces = append(r.pieces, text)
		switch {
		case !found:
			return nil
		case strings.HasPrefix(rest, "$"):
			r.pieces[len(r.pieces)-1] += "$"
			r.groups, s = append(r.groups, -1), rest[1:]
			continue
		}
		group, n := 0, 0
		for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
			next := group*10 + int(rest[n]-'0')
			if n > 0 && next > r.re.NumSubexp() {
				break
			}
			group = next
			n++
		}
		if n == 0 || group > r.re.NumSubexp() {
			return fmt.Errorf("want $1 for the first of the %d groups, $0 for all that matches, or $$ for a dollar", r.re.NumSubexp())
		}
		r.groups, s = append(r.groups, group), rest[n:]
	}
}

// replace returns s with its first match replaced, or false if s or the result would be too long. What was part of the path and comes
// to stand in the query is escaped there, so that it stays one value: "&admin=1" in a path makes no parameter. A query that
// comes to stand behind one of the text's goes on with "&".
func (r *replacer) replace(s string) (string, bool) {
	if len(s) > r.most {
		return "", false
	}
	at := r.re.FindStringSubmatchIndex(s)
	if at == nil {
		return s, true
	}
	w := rewriter{source: s, mark: strings.IndexByte(s, '?')}
	if w.mark < 0 {
		w.mark = len(s)
	}
	w.keep(0, at[0])
	for i, text := range r.pieces {
		if i > 0 && r.groups[i-1] >= 0 {
			w.keep(at[2*r.groups[i-1]], at[2*r.groups[i-1]+1])
		}
		w.asked = w.asked || strings.Contains(text, "?")
		if w.out = append(w.out, text...); len(w.out) > maxTarget {
			return "", false
		}
	}
	w.keep(at[1], len(s))
	return string(w.out), len(w.out) <= maxTarget
}

// A rewriter writes what becomes of source.
type rewriter struct {
	source string
	mark   int // where source's query begins, with its "?"
	out    []byte
	asked  bool // out has a "?"
}

// keep writes a part of source. A group that matched nothing is at -1.
func (w *rewriter) keep(from, to int) {
	for i := max(from, 0); i < to; i++ {
		c := w.source[i]
		switch {
		case w.asked && i < w.mark && (c == '&' || c == '=' || c == '+'):
			w.out = append(w.out, '%', upperHex[c>>4], upperHex[c&15])
			continue
		case i == w.mark && w.asked:
			c = '&'
		case i == w.mark:
			w.asked = true
		}
		w.out = append(w.out, c)
	}
}

// A Rewrite is a compiled RewriteConfig. It is immutable and safe for concurrent use.
type Rewrite struct {
	host, path, url *replacer
	admits          findings
}

// NewRewrite compiles c, which Validate accepts. The path that it makes may have what admit lets in.
func NewRewrite(c RewriteConfig, admit Admit) (*Rewrite, error) {
	w := &Rewrite{admits: admit.findings()}
	for _, part := range []struct {
		to   **replacer
		from *Replacement
	}{{&w.host, c.Host}, {&w.path, c.Path}, {&w.url, c.URL}} {
		if part.from == nil {
			continue
		}
		r, field, err := part.from.compile()
		if err != nil {
			return nil, fmt.Errorf("rewrite: %s: %w", field, err)
		}
		*part.to = r
	}
	return w, nil
}

// A RewriteError says that a rewritten request would have no single reading. Its reason is one of a few and has nothing of the
// request.
type RewriteError struct{ reason string }

// Error returns the reason.
func (e *RewriteError) Error() string { return "rewrite: " + e.reason }

// HTTPStatus returns 500, as ALB answers where a transform fails.
func (e *RewriteError) HTTPStatus() int { return http.StatusInternalServerError }

// Public returns the sentence for the client.
func (e *RewriteError) Public() string { return sayAddress }

// What is wrong with a rewritten request.
var (
	errRewriteLong  = &RewriteError{"the result is too long, or what it is made of for the expression"}
	errRewritePath  = &RewriteError{"the path can be read in more than one way"}
	errRewriteQuery = &RewriteError{"the query has what no query can have"}
	errRewriteHost  = &RewriteError{"the host is none"}
)

// Target returns what the upstream is sent for an admitted request: an escaped canonical path, a query, and the host where it
// was rewritten, otherwise "". It does not change r. An error is a *RewriteError, and then nothing may be sent.
func (w *Rewrite) Target(r *http.Request) (path, query, host string, err error) {
	path, query = r.URL.EscapedPath(), r.URL.RawQuery
	if w.host != nil {
		if host, err = w.newHost(r.Host); err != nil {
			return "", "", "", err
		}
	}
	switch {
	case w.path != nil:
		var ok bool
		if path, ok = w.path.replace(path); !ok {
			return "", "", "", errRewriteLong
		}
	case w.url != nil:
		full := path
		if query != "" || r.URL.ForceQuery {
			full += "?" + query
		}
		full, ok := w.url.replace(full)
		if !ok {
			return "", "", "", errRewriteLong
		}
		path, query, _ = strings.Cut(full, "?")
	default:
		return path, query, host, nil
	}
	canonical, err := canonicalPath(path)
	if err != nil || canonical.found&^w.admits != 0 {
		return "", "", "", errRewritePath
	}
	if checkQuery(query) != nil {
		return "", "", "", errRewriteQuery
	}
	return canonical.escaped, escapeQuery(query), host, nil
}

// newHost returns the host to send for the client's, or "" if that stays.
func (w *Rewrite) newHost(host string) (string, error) {
	host, _, err := splitHost(host)
	if err != nil {
		return "", nil // HTTP/1.0 without one
	}
	result, ok := w.host.replace(host)
	if !ok {
		return "", errRewriteLong
	}
	if result == host {
		return "", nil
	}
	name, port, err := splitHost(result)
	switch {
	case err != nil:
		return "", errRewriteHost
	case port != "":
		name += ":" + port
	}
	return name, nil
}
