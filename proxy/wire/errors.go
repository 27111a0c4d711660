package wire

import (
	"errors"
	"fmt"
	"net/http"
)

// ErrTooManyConnections is reported to Options.OnError for a connection that was closed because
// Options.MaxConns others were open.
var ErrTooManyConnections = errors.New("accept: connection limit reached")

// errLate is the error of writes to an answer whose handler has returned.
var errLate = errors.New("write after the handler has returned")

// An Error says why a byte stream was refused. It holds nothing that the client sent.
type Error struct {
	Status int    // 400, 408, 414, 417, 431, 501 or 505
	Reason string // what was read and what would have been accepted
}

func (e *Error) Error() string { return "request stream: " + e.Reason }

// HTTPStatus is the status that answers the stream.
func (e *Error) HTTPStatus() int { return e.Status }

// A HandshakeError is a TLS handshake that failed. The peer is given to Options.OnError beside it.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return "tls handshake: " + e.Err.Error() }

func (e *HandshakeError) Unwrap() error { return e.Err }

// A panicError is a panic of a handler, or of what serves a connection.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

func bad(reason string) *Error { return &Error{http.StatusBadRequest, reason} }

// Refusals of a head.
var (
	errBareLF        = bad("line ends in a bare LF, want CRLF")
	errLeadingBytes  = bad("request does not begin with a method")
	errRequestLine   = bad("request line is not METHOD SP target SP HTTP-version")
	errMethod        = bad("method is not a token")
	errTargetByte    = bad("request target has a byte outside visible ASCII")
	errTargetForm    = bad("request target is none of origin, absolute, authority or asterisk form")
	errTargetEscape  = bad("request target has a broken percent escape in its path")
	errVersion       = &Error{http.StatusHTTPVersionNotSupported, "HTTP version is not 1.0 or 1.1"}
	errLineTooLong   = &Error{http.StatusRequestURITooLong, "request line is longer than 16 KiB"}
	errHeadTooLong   = &Error{http.StatusRequestHeaderFieldsTooLarge, "request head is longer than allowed"}
	errTooManyFields = &Error{http.StatusRequestHeaderFieldsTooLarge, "request head has more than 256 fields"}
	errFold          = bad("field line begins with white space (obs-fold)")
	errFieldName     = bad("field name is not a token followed by a colon")
	errFieldValue    = bad("field value has a control byte")
	errLookAlike     = bad("field name looks like Content-Length or Transfer-Encoding")
	errNoHost        = bad("HTTP/1.1 request has no Host")
	errManyHosts     = bad("request has several Host fields")
	errHost          = bad("Host is not a host name or address with an optional port")
	errTwoHosts      = bad("Host is not the host of the request target")
	errLength        = bad("Content-Length is not a single number below 2^63")
	errManyLengths   = bad("request has several Content-Length fields")
	errManyCodings   = bad("request has several Transfer-Encoding fields")
	errCoding        = &Error{http.StatusNotImplemented, "Transfer-Encoding is not chunked alone"}
	errLastCoding    = &Error{http.StatusBadRequest, "Transfer-Encoding does not end with chunked"}
	errCodingOn10    = bad("HTTP/1.0 request has Transfer-Encoding")
	errBothFramings  = bad("request has both Content-Length and Transfer-Encoding")
	errExpect        = &Error{http.StatusExpectationFailed, "Expect is not 100-continue"}
	errTrailerField  = bad("Trailer names a field that may not be one")
	errHeadTimeout   = &Error{http.StatusRequestTimeout, "request head did not arrive in time"}
)

// Refusals of a body.
var (
	errChunkSize      = bad("chunk size is not a hexadecimal number below 2^63")
	errChunkExtension = bad("chunk extension is malformed or too long")
	errChunkOverhead  = bad("chunks carry too little data for their framing")
	errChunkEnd       = bad("chunk data is not followed by CRLF")
	errTrailerTooLong = bad("trailer section is longer than 2 KiB")
	errTrailerMayNot  = bad("trailer section has a field that may not be a trailer")
	errTruncated      = bad("request body ended early")
	errBodyTooSlow    = &Error{http.StatusRequestTimeout, "request body arrives below the minimum rate"}
)
