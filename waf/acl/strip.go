package acl

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// InsertPrefix begins the names of headers that rules insert, as AWS WAF has it.
const InsertPrefix = "x-amzn-waf-"

// NewStripper returns what deletes the headers by which a client could pretend that one of these rules had inserted them, and other
// spellings of headers that they look at: applications behind CGI, WSGI and the like take X_Tenant for X-Tenant, and a rule does
// not. A spelling that a rule has itself stays.
func NewStripper(lists ...[]Rule) func(http.Header) {
	named, spelled := map[string]bool{}, map[string]bool{}
	for _, list := range lists {
		for _, r := range list {
			r.When.each(func(s *Statement) {
				for _, name := range s.headers() {
					named[foldName(name)], spelled[http.CanonicalHeaderKey(name)] = true, true
				}
			})
		}
	}
	return func(h http.Header) {
		for name := range h {
			if !strings.ContainsAny(name, "_.") && !hasInsertPrefix(name) {
				continue
			}
			folded := foldName(name)
			if hasInsertPrefix(folded) || named[folded] && !spelled[http.CanonicalHeaderKey(name)] {
				delete(h, name)
			}
		}
	}
}

func hasInsertPrefix(name string) bool {
	return len(name) >= len(InsertPrefix) && strings.EqualFold(name[:len(InsertPrefix)], InsertPrefix)
}

// foldName is what the spellings of a header have in common.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
}

// headers are the names of headers that s is about by itself.
func (s *Statement) headers() []string {
	names := slices.Collect(maps.Keys(s.Header))
	if s.Headers != nil {
		names = append(names, s.Headers.Only...)
	}
	for _, source := range []*Source{s.IP, s.Country, s.ASN} {
		if source != nil && source.Header != "" {
			names = append(names, source.Header)
		}
	}
	return names
}

// each calls f with s and every statement in it.
func (s *Statement) each(f func(*Statement)) {
	if s == nil {
		return
	}
	f(s)
	for _, part := range slices.Concat(s.All, s.Any, []*Statement{s.Not}) {
		part.each(f)
	}
}
