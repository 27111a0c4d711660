// Package wire serves HTTP on connections, so that a stream of bytes has one reading.
//
// HTTP/1 is served by a loop of its own. It reads request heads and the framing of bodies by the letter of RFC 9112,
// once, and makes of what it has read the http.Request that net/http would have made; what can be read in two ways is
// refused, and the policies and the upstream never see a byte of it. Handlers find what net/http's server offers them,
// with these differences. The fields of an answer have no order. Bytes that were refused come to the handler as a
// request that stands for them, see Violation, so that they leave an answer and a record like any other. And a client
// that goes while the handler does not read or write is noticed within two tenths of a second after the handler has been
// running for one, and not at once: most handlers have answered by then, and to watch for them all is dear.
//
// HTTP/2 connections go to net/http as they are; their framing is binary.
package wire
