// Package proxy is the data path: it admits a request, finds its route and runs it through the route's guards.
//
// A [Gateway] holds one [Generation], an immutable route table with the guard chains built. A request belongs to the
// generation it entered with until it ends. Admission refuses what two parsers could read differently and rewrites the
// rest to one reading: after it r.URL, r.RequestURI, r.Host and r.Header agree, and guards, log and upstream see the same
// request. Each request has one [Event], which is also the only value this package puts into its context.
package proxy
