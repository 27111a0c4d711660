package upstream

import (
	"errors"
	"fmt"
	"net/http"
)

// Reason says in one bounded word what went wrong: it may be a metrics label.
type Reason string

// The reasons of an Error, with the status that each has towards the client.
const (
	ReasonClosed         Reason = "pool_closed"             // 503: the pool was closed
	ReasonNoEndpoint     Reason = "no_endpoint"             // 503: the pool has no endpoint
	ReasonOverloaded     Reason = "overloaded"              // 503: the circuit has no room
	ReasonBusy           Reason = "endpoint_busy"           // 503: no stream of HTTP/2 was free within connect_timeout
	ReasonRefused        Reason = "connect_refused"         // 502: every endpoint refused the connection
	ReasonConnect        Reason = "connect_failed"          // 502: dialling failed otherwise
	ReasonTLS            Reason = "tls_failed"              // 502: the handshake or the certificate
	ReasonTLSTimeout     Reason = "tls_timeout"             // 502, as with an ALB: connected, but no handshake in time
	ReasonConnectTimeout Reason = "connect_timeout"         // 504
	ReasonWrite          Reason = "write_failed"            // 502: the request could not be sent
	ReasonNoResponse     Reason = "closed_before_response"  // 502: the connection ended before a response head
	ReasonTimeout        Reason = "response_timeout"        // 504: no head, or no further byte, within response_timeout
	ReasonDeadline       Reason = "grpc_deadline"           // 504, in gRPC DEADLINE_EXCEEDED: the client's grpc-timeout is over
	ReasonMalformed      Reason = "malformed_response"      // 502: the response has no single reading
	ReasonHeadTooLarge   Reason = "response_head_too_large" // 502: over 64 KiB
	ReasonTruncated      Reason = "truncated_response"      // the body ended early; the client's connection is aborted
	ReasonDeregistered   Reason = "deregistered"            // 502: the endpoint had gone, and its time to finish was over
	ReasonClientGone     Reason = "client_gone"             // 499: nobody is left to answer
	ReasonClientBody     Reason = "client_body"             // 400, or the status of the body's own error
	ReasonRequest        Reason = "bad_request"             // 400: the request cannot be forwarded as it is
	ReasonMethod         Reason = "method"                  // 405: CONNECT and TRACE are not forwarded
	ReasonEnded          Reason = "ended"                   // Options.Until ended the answer; the client's connection is aborted
	ReasonHook           Reason = "reserved_header"         // 500: Options.Out set a field that belongs to framing
)

// statusClientGone is nginx's code for a client that left; nobody receives it, the Event does.
const statusClientGone = 499

// Error is why a request was not forwarded, or its answer not relayed. It holds no value of any header or body.
type Error struct {
	Upstream string // the pool's name
	Address  string // the endpoint; "" if none was chosen
	Reason   Reason
	Err      error // the cause; may be nil

	status int // overrides the reason's
}

// Error is for the log; a client is shown the status alone.
func (e *Error) Error() string {
	s := "upstream " + e.Upstream
	if e.Address != "" {
		s += " at " + e.Address
	}
	s += ": " + string(e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// HTTPStatus is the status that the client is to see.
func (e *Error) HTTPStatus() int {
	if e.status != 0 {
		return e.status
	}
	switch e.Reason {
	case ReasonClosed, ReasonNoEndpoint, ReasonOverloaded, ReasonBusy:
		return http.StatusServiceUnavailable
	case ReasonConnectTimeout, ReasonTimeout, ReasonDeadline:
		return http.StatusGatewayTimeout
	case ReasonClientGone:
		return statusClientGone
	case ReasonClientBody, ReasonRequest:
		return http.StatusBadRequest
	case ReasonMethod:
		return http.StatusMethodNotAllowed
	case ReasonHook:
		return http.StatusInternalServerError
	}
	return http.StatusBadGateway
}

// GRPCCode is the code for a client that speaks gRPC; 0 for that of the status.
func (e *Error) GRPCCode() int {
	if e.Reason == ReasonDeadline {
		return grpcDeadlineExceeded
	}
	return 0
}

// clientBodyError wraps what reading the client's body returned. A status that the error has by itself is kept.
func clientBodyError(err error) *Error {
	e := &Error{Reason: ReasonClientBody, Err: err}
	var coded interface{ HTTPStatus() int }
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &coded):
		e.status = coded.HTTPStatus()
	case errors.As(err, &tooLarge):
		e.status = http.StatusRequestEntityTooLarge
	}
	return e
}

func malformed(format string, args ...any) *Error {
	return &Error{Reason: ReasonMalformed, Err: fmt.Errorf(format, args...)}
}

func badRequest(format string, args ...any) *Error {
	return &Error{Reason: ReasonRequest, Err: fmt.Errorf(format, args...)}
}
