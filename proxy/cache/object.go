package cache

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A target is the address that an answer is for, as the gateway reads it.
type target struct{ scheme, host, path, query string }

// A resourceKey names everything that is kept for one target.
type resourceKey [sha256.Size]byte

func (t target) key() resourceKey {
	b := make([]byte, 0, 512)
	for _, s := range [...]string{t.scheme, t.host, t.path, t.query} {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, ':')
		b = append(b, s...)
	}
	return sha256.Sum256(b)
}

// clone returns a copy that keeps nothing else in memory: what a target is made of are parts of a request line, which may be long.
func (t target) clone() target {
	return target{strings.Clone(t.scheme), strings.Clone(t.host), strings.Clone(t.path), strings.Clone(t.query)}
}

// An object is an answer that is kept. What is not guarded never changes.
type object struct {
	target target
	policy string // that of the route it was kept for
	names  []string
	values []string // what the request said in names: see selecting
	status int
	header http.Header
	body   []byte
	terms  terms
	tags   []string
	size   int64
	etag   string

	key resourceKey

	// Guarded by store.mu.
	prev, next *object
	in         *queue // nil for one that is not kept any more
	uses       uint8
	readers    int
}

// again returns a copy that is not kept, of what never changes.
func (o *object) again() *object {
	return &object{
		target: o.target, policy: o.policy, names: o.names, values: o.values, status: o.status, header: o.header, body: o.body,
		terms: o.terms, tags: o.tags, size: o.size, etag: o.etag, key: o.key,
	}
}

// objectOverhead is what an object takes beside its texts and its body, in bytes, roughly.
const objectOverhead = 1 << 10

// finish computes what is derived from the rest.
func (o *object) finish() *object {
	o.key = o.target.key()
	o.etag = one(o.header, "Etag")
	o.size = objectOverhead + int64(cap(o.body))
	for _, s := range [...]string{o.target.scheme, o.target.host, o.target.path, o.target.query} {
		o.size += int64(len(s))
	}
	for key, values := range o.header {
		o.size += int64(len(key)) + 64
		for _, v := range values {
			o.size += int64(len(v)) + 16
		}
	}
	for _, list := range [...][]string{o.names, o.values, o.tags} {
		for _, s := range list {
			o.size += int64(len(s)) + 16
		}
	}
	return o
}

// answers reports whether an object is what a request asks for, on a route with this policy.
func (o *object) answers(policy string, q *request) bool {
	if o.policy != policy {
		return false
	}
	for i, name := range o.names {
		if q.says(name) != o.values[i] {
			return false
		}
	}
	return true
}

// selectors returns the fields that decide between variants: those of the key, those that the answer names, and the coding
// where an answer that is coded says nothing of it.
func (p *policy) selectors(answer http.Header) []string {
	vary, _ := parseVary(answer["Vary"])
	names := slices.Concat(p.headers, vary)
	if len(p.cookies) > 0 {
		names = append(names, "Cookie")
	}
	if len(answer["Content-Encoding"]) > 0 {
		names = append(names, "Accept-Encoding")
	}
	slices.Sort(names)
	return slices.Compact(names)
}
