// Package wire serves HTTP on connections whose bytes it has checked first, so that a stream has one reading.
//
// Between TLS (or TCP) and net/http stands a filter for HTTP/1. It reads request heads and the framing of
// bodies by the letter of RFC 9112 and holds a head back until it has read all of it, so that net/http, the
// policies and the upstream never see a byte of a message that can be read in two ways. HTTP/2 connections
// go to net/http as they are; their framing is binary.
package wire
