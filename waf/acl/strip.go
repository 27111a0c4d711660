package acl

import (
	"net/http"
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
			r.When.eachHeader(func(name string) {
				named[foldName(name)], spelled[http.CanonicalHeaderKey(name)] = true, true
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

// eachHeader calls f with the name of each header that s is about.
func (s *Statement) eachHeader(f func(name string)) {
	if s == nil {
		return
	}
	for name := range s.Header {
		f(name)
	}
	if s.Headers != nil {
		for _, name := range s.Headers.Only {
			f(name)
		}
	}
	for _, source := range []*Source{s.IP, s.Country, s.ASN} {
		if source != nil && source.Header != "" {
			f(source.Header)
		}
	}
	for _, list := range [][]*Statement{s.All, s.Any, {s.Not}} {
		for _, part := range list {
			part.eachHeader(f)
		}
	}
}
