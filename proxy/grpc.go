package proxy

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Codes of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html) that refusals have.
const (
	grpcCanceled          = 1
	grpcUnknown           = 2
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
)

// speaksGRPC reports whether the client understands a refusal as gRPC has them alone. There is no gRPC in HTTP/1.1, gRPC-Web
// is another protocol, and every call says "te: trailers" (PROTOCOL-HTTP2.md), which who only borrows the media type leaves out.
func speaksGRPC(r *http.Request) bool {
	if r.ProtoMajor < 2 || r.Method != http.MethodPost || len(r.Header["Content-Type"]) != 1 || !slices.Equal(r.Header["Te"], []string{"trailers"}) {
		return false
	}
	media, _, _ := strings.Cut(r.Header["Content-Type"][0], ";")
	media = strings.ToLower(strings.Trim(media, " \t"))
	return media == "application/grpc" || strings.HasPrefix(media, "application/grpc+")
}

// denyGRPC answers with a status of gRPC and no message, in one block of fields (PROTOCOL-HTTP2.md, Trailers-Only). An ALB
// sends the HTTP status beside it; but a client must take any status but 200 for an answer of somebody who does not speak
// gRPC, and then reads neither code nor message.
func denyGRPC(w http.ResponseWriter, code int, say, id string) {
	h := w.Header()
	h["Content-Type"] = []string{"application/grpc"}
	h["Grpc-Status"] = []string{strconv.Itoa(code)}
	if id != "" {
		say += " (request " + id + ")"
	}
	h["Grpc-Message"] = []string{grpcMessage(say)}
	w.WriteHeader(http.StatusOK)
}

// grpcCode is the code of a refusal: what the error says itself, or what gRPC has for the HTTP status
// (http-grpc-status-mapping.md); where that has nothing, what a server of gRPC would say.
func grpcCode(err error, status int) int {
	if c, ok := errors.AsType[interface {
		error
		GRPCCode() int
	}](err); ok {
		if n := c.GRPCCode(); n > 0 && n <= grpcUnauthenticated {
			return n
		}
	}
	switch status {
	case http.StatusBadRequest, http.StatusInternalServerError:
		return grpcInternal
	case http.StatusUnauthorized:
		return grpcUnauthenticated
	case http.StatusForbidden:
		return grpcPermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return grpcUnimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return grpcUnavailable
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return grpcResourceExhausted
	case statusClientGone:
		return grpcCanceled
	}
	return grpcUnknown
}

// grpcMessage encodes a status message (PROTOCOL-HTTP2.md, Percent-Encoded).
func grpcMessage(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
