package configs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"gatehouse/authn"
)

// conditionKeys are the keys that ask something of whoever is there, of sessions and of tokens.
func conditionKeys(more ...string) []string {
	return append([]string{"claims", "email_domains", "expr", "groups"}, more...)
}

// condition takes one of conditionKeys; false is another key.
func (r *Require) condition(d *decoder, p pair, path string) bool {
	switch p.key {
	case "groups":
		r.Groups = d.someTexts(p.value, path)
	case "claims":
		r.Claims = d.claims(p.value, path)
	case "email_domains":
		r.EmailDomains, _ = d.texts(p.value, path)
		if p.value.kind == kindList && len(p.value.items) == 0 {
			d.reportf(p.value, path, "the list is empty: name one at least, or leave the key out")
		}
	case "expr":
		r.Expr = d.expression(p.value, path)
	default:
		return false
	}
	return true
}

// conditional says whether r asks more than to be somebody.
func (r *Require) conditional() bool {
	return len(r.Groups)+len(r.Scopes)+len(r.Claims)+len(r.EmailDomains) > 0 || r.Expr != ""
}

// claims takes a mapping from the names of claims to a value or a list of values.
func (d *decoder) claims(n *node, path string) map[string][]string {
	return d.valuesOf(n, path, "a claim", "{department: [sales, support]}")
}

// valuesOf takes a mapping from what has a name to a value or a list of values.
func (d *decoder) valuesOf(n *node, path, what, example string) map[string][]string {
	want := fmt.Sprintf("want a mapping from %s to its values, as in %s", what, example)
	if n.kind != kindMap {
		d.reportf(n, path, "%s, got %s", want, n.said())
		return nil
	}
	if len(n.pairs) == 0 {
		d.reportf(n, path, "is empty: %s", want)
		return nil
	}
	all := map[string][]string{}
	for _, p := range n.pairs {
		at := join(path, p.key)
		d.mark(p.value, at, at)
		if p.key == "" {
			d.report(p.pos, path, "want the name of "+what)
			continue
		}
		all[p.key] = d.values(p.value, at, what)
	}
	return all
}

// values takes one value or a list: texts, numbers and booleans, as JSON writes them.
func (d *decoder) values(n *node, path, what string) []string {
	items := []*node{n}
	if n.kind == kindList {
		items = n.items
		if len(items) == 0 {
			d.reportf(n, path, "the list is empty: want at least one value that %s may have", strings.Replace(what, "a ", "the ", 1))
		}
	}
	var values []string
	for i, item := range items {
		at := path
		if n.kind == kindList {
			at = fmt.Sprintf("%s[%d]", path, i)
			d.mark(item, at, at)
		}
		switch item.kind {
		case kindText:
			if s, ok := d.text(item, at); ok {
				values = append(values, s)
			}
		case kindNumber, kindBool:
			if !json.Valid([]byte(item.text)) {
				d.reportf(item, at, "want a number or a boolean as JSON writes it, or text in quotes, got %s", item.said())
			}
			values = append(values, item.text)
		default:
			d.reportf(item, at, "want text, a number or a boolean, or a list of those, got %s", item.said())
		}
	}
	return values
}

// expression takes a CEL expression. What is wrong with it is reported where it stands in the file.
func (d *decoder) expression(n *node, path string) string {
	s, ok := d.text(n, path)
	if !ok {
		return ""
	}
	if strings.TrimSpace(s) == "" {
		d.reportf(n, path, `want a CEL expression, such as "'admins' in identity.groups || request.method == 'GET'", got %s`, n.said())
		return ""
	}
	authn.CheckExpression(s, func(line, column int, msg string) {
		d.report(d.within(n, s, line, column), path, msg)
	})
	return s
}

// within returns the place in the file of a line and a column of a text, as far as it can be told:
// else the place of the whole.
func (d *decoder) within(n *node, text string, line, column int) pos {
	if line == 1 && !strings.ContainsRune(n.raw, '\n') {
		if i := strings.Index(n.raw, strings.TrimSpace(text)); i >= 0 {
			return pos{n.line, n.col + len([]rune(n.raw[:i])) + column - 1}
		}
	}
	lines := strings.Split(text, "\n") // of a block
	at := n.line + line
	if n.raw != "" || line > len(lines) || at > len(d.src.masked) {
		return n.pos
	}
	there := d.src.masked[at-1]
	i := strings.Index(there, lines[line-1])
	if i < 0 || lines[line-1] == "" {
		return n.pos
	}
	return pos{at, len([]rune(there[:i])) + column}
}

// conditionsYAML returns the conditions of q as the file would say them.
func (q Require) conditionsYAML() yaml.MapSlice {
	out := yaml.MapSlice{}
	add := func(key string, list []string) {
		if len(list) > 0 {
			out = append(out, yaml.MapItem{Key: key, Value: list})
		}
	}
	add("groups", q.Groups)
	add("scopes", q.Scopes)
	if len(q.Claims) > 0 {
		claims := yaml.MapSlice{}
		for _, name := range keys(q.Claims) {
			claims = append(claims, yaml.MapItem{Key: name, Value: q.Claims[name]})
		}
		out = append(out, yaml.MapItem{Key: "claims", Value: claims})
	}
	add("email_domains", q.EmailDomains)
	if q.Expr != "" {
		out = append(out, yaml.MapItem{Key: "expr", Value: q.Expr})
	}
	return out
}

// lintConditions says which conditions on an e-mail address nobody can be expected to meet.
func (c *Config) lintConditions(i int, say func(path, format string, args ...any)) {
	q := c.Routes[i].Require
	parts := c.logins()
	if len(q.EmailDomains) == 0 || len(parts) == 0 {
		return
	}
	path := fmt.Sprintf("routes[%d].require.email_domains", i)
	if q.Who == RequireToken {
		path = fmt.Sprintf("routes[%d].require.token.email_domains", i)
		if !slices.ContainsFunc(parts, func(p loginPart) bool { return p.Cognito == nil }) {
			say(path, "Cognito's access tokens have no e-mail address unless a trigger of the pool adds email and email_verified: without it nobody passes")
		}
		return
	}
	unasked := func(p loginPart) bool {
		return p.OIDC != nil && len(p.OIDC.Scopes) > 0 && !slices.Contains(p.OIDC.Scopes, "email")
	}
	if !slices.ContainsFunc(parts, func(p loginPart) bool { return !unasked(p) }) {
		say(path, "the login does not ask for the scope email, so that the provider may tell no address: without one nobody passes")
	}
}
