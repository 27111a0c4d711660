package proxy

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
)

// A lookup is what of a request routes are matched by. Path is decoded, host canonical without port, or empty.
type lookup struct {
	host, path, method string
	header             http.Header
	query              string
	client             netip.Addr

	vary string // the headers that routes were looked for by, as in Vary
}

// asked notes that a route is looked for by the headers of c. It allocates only if they are not those that were noted before.
func (q *lookup) asked(c *conditions) {
	switch {
	case c.vary == "" || hasNames(q.vary, c.vary):
	case q.vary == "":
		q.vary = c.vary
	default:
		q.vary += ", " + c.vary
	}
}

// hasNames reports whether names stand in list, in one piece. Both have ", " between names.
func hasNames(list, names string) bool {
	for at := 0; ; at++ {
		i := strings.Index(list[at:], names)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(names)
		if (at == 0 || list[at-1] == ' ') && (end == len(list) || list[end] == ',') {
			return true
		}
	}
}

// conditions are what a Match asks for beside host, path and method. All must hold.
type conditions struct {
	headers []namedValues
	query   []namedValues
	source  []netip.Prefix
	vary    string // the names of headers, as in Vary
}

// namedValues ask for one of values: of the header name, or of a parameter whose name key matches.
type namedValues struct {
	name   string
	key    *pattern
	values []*pattern
}

// newConditions compiles the conditions of m and reports what is wrong with them.
func newConditions(m Match, report func(field, msg string)) conditions {
	var c conditions
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		field := "headers." + name
		if err := checkHeaderCondition(name); err != nil {
			report(field, err.Error())
			continue
		}
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if slices.ContainsFunc(c.headers, func(n namedValues) bool { return n.name == canonical }) {
			report(field, "is named twice: capitals make no other header")
		}
		c.headers = append(c.headers, namedValues{name: canonical, values: newValues(m.Headers[name], field, report)})
	}
	for i, n := range c.headers {
		if i > 0 {
			c.vary += ", "
		}
		c.vary += n.name
	}
	for _, name := range slices.Sorted(maps.Keys(m.Query)) {
		field := "query." + name
		key, err := newPattern(name, true)
		if err != nil || strings.HasPrefix(name, expressionMark) {
			report(field, "want the name of a parameter, in which * stands for any characters and ? for one")
			continue
		}
		values := newValues(m.Query[name], field, report)
		if slices.ContainsFunc(values, func(p *pattern) bool { return p.kind == kindExpression }) {
			report(field, "want values with * and ?, as ALB has them: expressions are for headers, hosts and paths")
		}
		c.query = append(c.query, namedValues{name: strings.ToLower(name), key: key, values: values})
	}
	for i, s := range m.Source {
		p, err := parseSource(s)
		if err != nil {
			report(fmt.Sprintf("source[%d]", i), err.Error())
			continue
		}
		c.source = append(c.source, p)
	}
	c.source = unmapPrefixes(c.source)
	return c
}

func newValues(texts []string, field string, report func(field, msg string)) []*pattern {
	var values []*pattern
	for i, s := range texts {
		p, err := newPattern(s, true)
		if err != nil {
			report(fmt.Sprintf("%s[%d]", field, i), err.Error())
			continue
		}
		values = append(values, p)
	}
	if len(texts) == 0 {
		report(field, `want at least one value; "*" stands for any`)
	}
	return values
}

// checkHeaderCondition says why no route can ask for a header.
func checkHeaderCondition(name string) error {
	var buf [64]byte
	folded, spelling := foldName(&buf, name)
	switch {
	case spelling == badName:
		return errors.New("want the name of a header, without wildcards")
	case len(name) > len(buf): // dropAliases finds no other spellings
		return fmt.Errorf("want the name of a header of at most %d bytes, got %d", len(buf), len(name))
	}
	switch class := classify(folded); {
	case string(folded) == "host":
		return errors.New("want host beside headers instead")
	case spelling != plainName:
		return errors.New("want the name of a header in letters, digits and hyphens")
	case class == fieldDropped || class == fieldHop || class == fieldFraming:
		return errors.New("no route can see this header: it is taken out of requests, because clients may not send it or it is about the connection")
	}
	return nil
}

func parseSource(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("want an address or a CIDR such as 10.0.0.0/8, got %q", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: want %s", s, p.Masked())
	}
	return p, nil
}

// none reports whether c asks for nothing.
func (c *conditions) none() bool { return len(c.headers)+len(c.query)+len(c.source) == 0 }

// hold reports whether the request meets all conditions.
func (c *conditions) hold(q *lookup) bool {
	if len(c.source) > 0 && !trusts(c.source, q.client) {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].inHeader(q.header) {
			return false
		}
	}
	for i := range c.query {
		if !c.query[i].inQuery(q.query) {
			return false
		}
	}
	return true
}

// inHeader reports whether one of the header's lines has one of the values.
func (n *namedValues) inHeader(h http.Header) bool {
	for _, line := range h[n.name] {
		if n.matchValue(line) {
			return true
		}
	}
	return false
}

// inQuery reports whether one of the parameters with the name has one of the values. Parameters are read as the WAF reads them:
// separated by "&", with "+" and percent-encoding decoded, and broken encoding left as it is.
func (n *namedValues) inQuery(query string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if n.key.match(decodeParameter(key)) && n.matchValue(decodeParameter(value)) {
			return true
		}
	}
	return false
}

func (n *namedValues) matchValue(s string) bool {
	for _, v := range n.values {
		if v.match(s) {
			return true
		}
	}
	return false
}

// decodeParameter decodes a name or a value of a query.
func decodeParameter(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

// implies reports whether what meets c certainly meets other too.
func (c *conditions) implies(other *conditions) bool {
	within := func(p netip.Prefix) bool {
		return slices.ContainsFunc(other.source, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
	}
	if len(other.source) > 0 && (len(c.source) == 0 || !all(c.source, within)) {
		return false
	}
	return impliesAll(c.headers, other.headers) && impliesAll(c.query, other.query)
}

func impliesAll(c, other []namedValues) bool {
	return all(other, func(o namedValues) bool {
		return slices.ContainsFunc(c, func(n namedValues) bool {
			return (o.key == nil && n.name == o.name || o.key != nil && o.key.includes(n.key)) && includesAll(o.values, n.values)
		})
	})
}

// includesAll reports whether each of inner is included in one of outer.
func includesAll(outer, inner []*pattern) bool {
	return all(inner, func(p *pattern) bool {
		return slices.ContainsFunc(outer, func(o *pattern) bool { return o.includes(p) })
	})
}

// all reports whether f holds for each of list.
func all[E any](list []E, f func(E) bool) bool {
	return !slices.ContainsFunc(list, func(e E) bool { return !f(e) })
}

// apart reports whether no client is in the sources of both c and other.
func (c *conditions) apart(other *conditions) bool {
	return len(c.source) > 0 && len(other.source) > 0 && !slices.ContainsFunc(c.source, func(p netip.Prefix) bool {
		return slices.ContainsFunc(other.source, p.Overlaps)
	})
}

// exclusive reports whether c and other ask for different values of one header or parameter. A request that repeats it may
// meet both all the same.
func (c *conditions) exclusive(other *conditions) bool {
	differ := func(a, b []namedValues) bool {
		return slices.ContainsFunc(a, func(n namedValues) bool {
			return slices.ContainsFunc(b, func(o namedValues) bool {
				return n.name == o.name && (n.key == nil || n.key.kind == kindExact) && !slices.ContainsFunc(n.values, func(v *pattern) bool {
					return slices.ContainsFunc(o.values, v.meets)
				})
			})
		})
	}
	return differ(c.headers, other.headers) || differ(c.query, other.query)
}

// String names what c asks for, without the values.
func (c *conditions) String() string {
	var parts []string
	for _, n := range c.headers {
		parts = append(parts, "header "+n.name)
	}
	for _, n := range c.query {
		parts = append(parts, "query "+n.name)
	}
	if len(c.source) > 0 {
		parts = append(parts, "source")
	}
	return strings.Join(parts, ", ")
}
