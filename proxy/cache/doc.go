// Package cache is a shared HTTP cache (RFC 9111) for routes that ask for one: it stands behind every guard and before the
// upstream, so that nothing is served to somebody whom a guard would have refused.
//
// What it decides is in functions of their own (policy.go); what it keeps is bounded by bytes; and what a request says
// that is not part of the key of a route is, for cookies and identities, not told to the upstream, so that no answer can depend
// on it.
package cache
