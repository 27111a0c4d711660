package proxy

import "net/http"

// standardMethods is the Allow list of a refusal that happens before a route is known.
const standardMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// A Refusal is admission's or the route table's reason for not serving a request. It is immutable; the package's own are
// compared by identity. Reason is a short constant text without anything the client sent, fit for a log or a label.
type Refusal struct {
	status int
	reason string
	public string
	allow  string
	close  bool
}

// Error returns the reason with the layer that refused.
func (e *Refusal) Error() string { return "admission: " + e.reason }

// Reason returns the bare reason, one of a fixed set of strings.
func (e *Refusal) Reason() string { return e.reason }

// HTTPStatus returns the status of the answer.
func (e *Refusal) HTTPStatus() int { return e.status }

// Public returns the sentence for the client.
func (e *Refusal) Public() string { return e.public }

// CloseConnection reports whether the HTTP/1 connection ends with the answer, because what follows on it cannot be trusted
// to be a request.
func (e *Refusal) CloseConnection() bool { return e.close }

// Header adds Allow to a 405 (RFC 9110, section 15.5.6).
func (e *Refusal) Header(h http.Header) {
	if e.allow != "" {
		h.Set("Allow", e.allow)
	}
}

// Sentences for the client, shared by refusals. They name the class and never repeat input.
const (
	sayAddress = "The address of this request can be read in more than one way, so it was not forwarded."
	sayRequest = "This request is malformed, so it was not forwarded."
	sayMethod  = "This method is not allowed here."
	sayHost    = "This request does not say clearly which host it is for."
	sayUpgrade = "This protocol upgrade is not offered here."
)

// badAddress, badRequest and badFraming build the common refusals; badFraming also ends the connection.
func badAddress(reason string) *Refusal {
	return &Refusal{status: http.StatusBadRequest, reason: reason, public: sayAddress}
}

func badRequest(reason string) *Refusal {
	return &Refusal{status: http.StatusBadRequest, reason: reason, public: sayRequest}
}

func badFraming(reason string) *Refusal {
	return &Refusal{status: http.StatusBadRequest, reason: reason, public: sayRequest, close: true}
}

// Refusals of the request target (RFC 3986; RFC 9112, section 3.2).
var (
	errTargetForm     = badAddress("request target is not a path")
	errTargetLong     = &Refusal{status: http.StatusRequestURITooLong, reason: "request target is too long", public: "The address of this request is too long."}
	errFragment       = badAddress("fragment in request target")
	errControl        = badAddress("control byte in path")
	errSpace          = badAddress("blank in request target")
	errEscape         = badAddress("broken percent-encoding in path")
	errUTF8           = badAddress("path is not UTF-8")
	errDotSegment     = badAddress("dot segment in path")
	errEncodedSlash   = badAddress("encoded slash in path")
	errBackslash      = badAddress("backslash in path")
	errSemicolon      = badAddress("path parameter")
	errDoubleSlash    = badAddress("empty segment in path")
	errReserved       = badAddress("encoded ? or # in path")
	errReadings       = badAddress("readings of the path belong to different routes")
	errLetterCase     = badAddress("path belongs to another route if case, outer blanks or final dots are ignored")
	errAbsoluteForm   = badAddress("absolute request target is not http or https, or names another host")
	errQueryBytes     = badAddress("byte in query that a query cannot hold")
	errQueryArguments = badAddress("more than 1000 query parameters")
	errDestination    = badAddress("Destination leads to another route")
)

// Refusals of host, method and protocol.
var (
	errHost       = &Refusal{status: http.StatusBadRequest, reason: "invalid host", public: sayHost}
	errHostTwice  = &Refusal{status: http.StatusBadRequest, reason: "two hosts", public: sayHost, close: true}
	errHostAbsent = &Refusal{status: http.StatusBadRequest, reason: "no host", public: sayHost}
	errMisdirect  = &Refusal{
		status: http.StatusMisdirectedRequest, reason: "host differs from TLS server name",
		public: "This connection was opened for another host.",
	}
	errMethodUnknown = badRequest("unknown method")
	errMethodTunnel  = &Refusal{status: http.StatusMethodNotAllowed, reason: "CONNECT", public: sayMethod, allow: standardMethods, close: true}
	errMethodTrace   = &Refusal{status: http.StatusMethodNotAllowed, reason: "TRACE", public: sayMethod, allow: standardMethods, close: true}
	errVersion       = &Refusal{
		status: http.StatusHTTPVersionNotSupported, reason: "unknown HTTP version",
		public: "This version of HTTP is not supported.", close: true,
	}
	errNoRoute    = &Refusal{status: http.StatusNotFound, reason: "no route", public: "There is nothing at this address."}
	errConditions = &Refusal{status: http.StatusNotFound, reason: "no route here whose conditions hold", public: "There is nothing at this address."}
	errRivals     = badAddress("conditions of two routes hold, and neither is more specific")
)

// Refusals of header fields and framing (RFC 9110, section 5; RFC 9112, section 6).
var (
	errFieldName  = badFraming("header name is not a token")
	errFieldValue = badFraming("control or non-ASCII byte in header value")
	errFieldBlank = badFraming("header value with blanks at its ends")
	errFieldsMany = &Refusal{
		status: http.StatusRequestHeaderFieldsTooLarge, reason: "more than 256 header fields", public: "This request has too many header fields.",
	}
	errFieldLong = &Refusal{
		status: http.StatusRequestHeaderFieldsTooLarge, reason: "header is too long for an expression", public: "A header field of this request is too long.",
	}
	errFieldTwice     = badRequest("single-valued header sent twice")
	errFieldAlias     = badFraming("framing header in another spelling")
	errLength         = badFraming("Content-Length differs from the body")
	errTransferCoding = badFraming("transfer coding is not exactly chunked")
	errExpect         = &Refusal{status: http.StatusExpectationFailed, reason: "unknown expectation", public: "This expectation cannot be met."}
	errUpgrade        = &Refusal{status: http.StatusBadRequest, reason: "unknown upgrade", public: sayUpgrade}
	errUpgradeForm    = &Refusal{status: http.StatusBadRequest, reason: "WebSocket upgrade that is not a plain GET", public: sayUpgrade}
	errMaxForwards    = badRequest("invalid Max-Forwards")
	errForwardedLong  = badRequest("more than 30 addresses in X-Forwarded-For")
	errCookieBytes    = badRequest("cookie is not UTF-8")
)

// errNoGeneration answers requests that come before the first Swap.
var errNoGeneration = &Refusal{
	status: http.StatusServiceUnavailable, reason: "no generation", public: "This service is starting. Please try again in a moment.",
}
