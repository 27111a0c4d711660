// Package upstream forwards requests to a pool of endpoints, in HTTP/1.1 on the handler's own goroutine.
//
// There is no goroutine per connection and none per request without a body: the handler writes the request, reads the
// answer's head and copies its body. A request body that is not small is sent by one goroutine, which the handler
// always waits for. Everything that net/http's Transport and ReverseProxy do for a gateway between them is done here:
// hop-by-hop fields, framing, 1xx, Expect, trailers, upgrades, cancellation, retries and the health of idle connections.
//
// A pool of HTTP/2 endpoints goes the same way up to the frames, which net/http writes and reads: what the client may not
// decide, what an upstream may not answer, and what is said of both in a Result are one.
package upstream
