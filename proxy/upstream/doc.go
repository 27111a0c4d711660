// Package upstream forwards requests to a pool of HTTP/1.1 endpoints on the handler's own goroutine.
//
// There is no goroutine per connection and none per request without a body: the handler writes the request, reads the
// answer's head and copies its body. A request body that is not small is sent by one goroutine, which the handler
// always waits for. Everything that net/http's Transport and ReverseProxy do for a gateway between them is done here:
// hop-by-hop fields, framing, 1xx, Expect, trailers, upgrades, cancellation, retries and the health of idle connections.
package upstream
