package acl

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gatehouse/waf/ipset"
)

// A statement is a compiled Statement, or a part of one.
type statement interface{ holds(v *view) bool }

type (
	allOf []statement
	anyOf []statement
	not   struct{ statement }
)

func (s allOf) holds(v *view) bool {
	for _, part := range s {
		if !part.holds(v) {
			return false
		}
	}
	return true
}

func (s anyOf) holds(v *view) bool {
	return slices.ContainsFunc(s, func(p statement) bool { return p.holds(v) })
}

func (s not) holds(v *view) bool { return !s.statement.holds(v) }

type (
	methodIs struct{ match *match }
	pathIs   struct {
		match   *match
		decoded bool
	}
	queryIs struct{ match *match }
	argIs   struct {
		name  string // "" is every argument
		match *match
	}
	headerIs struct {
		name  string
		match *match
	}
	cookieIs struct {
		name  string
		match *match
	}
)

func (s methodIs) holds(v *view) bool { return s.match.value(v, v.req.Method) }

func (s pathIs) holds(v *view) bool { return s.match.value(v, v.path(s.decoded)) }

func (s queryIs) holds(v *view) bool {
	return v.req.URL.RawQuery != "" && s.match.value(v, v.req.URL.RawQuery)
}

func (s argIs) holds(v *view) bool {
	if v.req.URL.RawQuery == "" {
		return false
	}
	return v.eachArg(s.name, func(value string) bool { return s.match.value(v, value) })
}

func (s headerIs) holds(v *view) bool {
	for _, value := range v.header(s.name) {
		if s.match.value(v, value) {
			return true
		}
	}
	return false
}

func (s cookieIs) holds(v *view) bool {
	return v.eachCookie(func(name, value string) bool { return name == s.name && s.match.value(v, value) })
}

// What AWS WAF looks at of headers and of cookies.
const (
	oversizeBytes = 8 << 10
	oversizeCount = 200
)

// A oversize is what is made of more than is looked at.
type oversize byte

const (
	oversizeNone     oversize = iota // all is looked at
	oversizeContinue                 // the beginning is
	oversizeMatch
	oversizeNoMatch
)

// pairsAre is about headers or cookies.
type pairsAre struct {
	cookies      bool
	only, except []string
	keys, values bool
	over         oversize
	match        *match
}

func (s *pairsAre) holds(v *view) bool {
	if s.over == oversizeMatch || s.over == oversizeNoMatch {
		if s.large(v) {
			return s.over == oversizeMatch
		}
	}
	count, size, found := 0, 0, false
	s.each(v, func(name, value string) bool {
		count, size = count+1, size+len(name)+len(value)
		if s.over == oversizeContinue && (count > oversizeCount || size > oversizeBytes) {
			return true
		}
		found = s.picks(name) && (s.keys && s.match.value(v, name) || s.values && s.match.value(v, value))
		return found
	})
	return found
}

// large reports more than AWS WAF looks at.
func (s *pairsAre) large(v *view) bool {
	count, size := 0, 0
	s.each(v, func(name, value string) bool {
		count, size = count+1, size+len(name)+len(value)
		return false
	})
	return count > oversizeCount || size > oversizeBytes
}

func (s *pairsAre) each(v *view, f func(name, value string) bool) {
	if s.cookies {
		v.eachCookie(f)
		return
	}
	for _, name := range v.fieldNames() {
		for _, value := range v.header(name) {
			if f(name, value) {
				return
			}
		}
	}
}

// picks reports whether a header or cookie is looked at. Names of headers have no case, those of cookies have one.
func (s *pairsAre) picks(name string) bool {
	is := func(other string) bool { return other == name }
	if !s.cookies {
		is = func(other string) bool { return strings.EqualFold(other, name) }
	}
	return (s.only == nil || slices.ContainsFunc(s.only, is)) && !slices.ContainsFunc(s.except, is)
}

// bodyIs is about the body as it was sent.
type bodyIs struct {
	match *match
	sizes []sizeTest // of the whole body
	read  bool       // sizes are not all
	over  oversize
}

func (s *bodyIs) holds(v *view) bool {
	if len(s.sizes) > 0 {
		n, known := v.bodySize()
		switch {
		case known:
		case s.over == oversizeMatch:
			return true
		case s.over == oversizeNoMatch:
			return false
		}
		if v.failed != nil || slices.ContainsFunc(s.sizes, func(size sizeTest) bool { return !size.of(n) }) {
			return false
		}
	}
	if !s.read {
		return true
	}
	text, more := v.readBody()
	switch {
	case v.failed != nil || text == "" && !more:
		return false
	case more && s.over == oversizeMatch:
		return true
	case more && s.over == oversizeNoMatch:
		return false
	}
	return s.match.value(v, text)
}

// jsonIs is about what JSON has.
type jsonIs struct {
	match        *match
	pointers     [][]string
	keys, values bool
	invalid      string // "", or one of the fallbacks
	over         oversize
}

func (s *jsonIs) holds(v *view) bool {
	text, more := v.readBody()
	switch {
	case v.failed != nil || text == "" && !more:
		return false
	case more && s.over == oversizeMatch:
		return true
	case more && s.over == oversizeNoMatch:
		return false
	}
	each := func(value string) bool { return s.match.value(v, value) }
	walk := jsonWalk{pointers: s.pointers, keys: s.keys, values: s.values, each: each}
	found, valid := walk.walk(v.jsonText())
	if found || valid || more {
		return found
	}
	switch s.invalid {
	case fallbackMatch:
		return true
	case fallbackText:
		return s.match.value(v, text)
	}
	return false
}

// labelIs is about a label, whole or its end, or about its beginning.
type labelIs struct {
	keys []string
	is   func(label, key string) bool // endsLabel or inNamespace
}

func (s labelIs) holds(v *view) bool {
	return slices.ContainsFunc(v.labels, func(label string) bool {
		return slices.ContainsFunc(s.keys, func(key string) bool { return s.is(label, key) })
	})
}

// endsLabel reports whether key is a label, or its end behind a colon.
func endsLabel(label, key string) bool {
	before, ok := strings.CutSuffix(label, key)
	return ok && (before == "" || strings.HasSuffix(before, ":"))
}

// inNamespace reports whether key, with a colon at its end, is the beginning of a label, or of what stands behind a colon in it.
func inNamespace(label, key string) bool {
	return strings.HasPrefix(label, key) || strings.Contains(label, ":"+key)
}

// A source gives the addresses that a statement is about.
type source struct {
	header   string // "" is the client's address
	invalid  bool   // what a header without an address is
	position string
}

// maxForwarded is how many addresses of a header are looked at with position any.
const maxForwarded = 10

// addresses are those of the request, in the order of position. None is a header that has none.
func (s *source) addresses(v *view, into []netip.Addr) []netip.Addr {
	if s.header == "" {
		return append(into, v.client)
	}
	values := v.header(s.header)
	if len(values) == 0 {
		return into // the rule is left out
	}
	parts := strings.Split(strings.Join(values, ","), ",")
	if s.position != positionAny {
		i := 0
		if s.position == positionLast {
			i = len(parts) - 1
		}
		parts = parts[i : i+1]
	}
	for _, part := range parts[max(0, len(parts)-maxForwarded):] {
		addr, ok := parseForwarded(part)
		if !ok {
			return into[:0]
		}
		into = append(into, addr)
	}
	return into
}

// parseForwarded reads one address of a header, with or without a port.
func parseForwarded(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		with, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = with.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// first is the address that countries and systems are those of.
func (s *source) first(v *view) (addr netip.Addr, ok bool) {
	var buf [1]netip.Addr
	addresses := s.addresses(v, buf[:0])
	if len(addresses) == 0 {
		return netip.Addr{}, false
	}
	return addresses[0], true
}

// label puts a label about that address on the request, as AWS WAF has them.
func (s *source) label(v *view, what, value string) {
	if s.header == "" {
		v.addLabel("awswaf:clientip:" + what + value)
		return
	}
	v.addLabel("awswaf:forwardedip:" + what + value)
}

type addressIn struct {
	source
	sets []*ipset.Set
}

func (s *addressIn) holds(v *view) bool {
	var buf [maxForwarded]netip.Addr
	addresses := s.addresses(v, buf[:0])
	if len(addresses) == 0 {
		return s.invalid
	}
	for _, addr := range addresses {
		for _, set := range s.sets {
			if set.Contains(addr) {
				return true
			}
		}
	}
	return false
}

type countryIn struct {
	source
	codes []string
}

func (s *countryIn) holds(v *view) bool {
	addr, ok := s.first(v)
	if !ok {
		return s.invalid
	}
	place := v.where(addr)
	s.label(v, "geo:country:", place.Country)
	if place.Region != "" {
		s.label(v, "geo:region:", place.Region)
	}
	return slices.Contains(s.codes, place.Country)
}

type systemIn struct {
	source
	numbers []uint32
}

func (s *systemIn) holds(v *view) bool {
	addr, ok := s.first(v)
	if !ok {
		return s.invalid
	}
	number := v.systemOf(addr)
	if number == 0 {
		return false
	}
	s.label(v, "asn:", strconv.FormatUint(uint64(number), 10))
	return slices.Contains(s.numbers, number)
}
