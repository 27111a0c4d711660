package upstream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Codes of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
const (
	grpcDeadlineExceeded = 4 // the call took longer than its client allows
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// errDeadline ends a call of which the client's time is over.
var errDeadline = errors.New("the call's grpc-timeout is over")

// deadline has a call of gRPC end when the client's time is over, which the upstream is told of too. The client may be
// behind a proxy that does not know of it, and the upstream may not heed it.
func (x *exchange) deadline() error {
	v, ok := x.r.Header["Grpc-Timeout"]
	if !ok || x.r.ProtoMajor < 2 || !isGRPC(x.r.Header["Content-Type"]) {
		return nil
	}
	if len(v) != 1 {
		return badRequest("grpc-timeout: want one")
	}
	d, err := parseGRPCTimeout(v[0])
	if err != nil {
		return err
	}
	x.ctx, x.endDeadline = context.WithTimeoutCause(x.ctx, d, errDeadline)
	return nil
}

// isGRPC reports whether a Content-Type is that of gRPC, which is not that of gRPC-Web.
func isGRPC(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	media, _, _ := strings.Cut(contentType[0], ";")
	media = strings.ToLower(trim(media))
	return media == "application/grpc" || strings.HasPrefix(media, "application/grpc+")
}

// parseGRPCTimeout reads one to eight digits and a unit (PROTOCOL-HTTP2.md, Timeout). Hours are bounded by what fits.
func parseGRPCTimeout(s string) (time.Duration, error) {
	bad := badRequest("grpc-timeout: want up to eight digits and one of H, M, S, m, u and n")
	if len(s) < 2 || len(s) > 9 {
		return 0, bad
	}
	unit, ok := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}[s[len(s)-1]]
	if !ok {
		return 0, bad
	}
	n := time.Duration(0)
	for _, c := range []byte(s[:len(s)-1]) {
		if c < '0' || c > '9' {
			return 0, bad
		}
		n = n*10 + time.Duration(c-'0')
	}
	if n > maxGRPCTimeout/unit {
		return maxGRPCTimeout, nil
	}
	return n * unit, nil
}

// maxGRPCTimeout is longer than any call lasts, and far from what a duration cannot hold.
const maxGRPCTimeout = 10_000 * time.Hour

// grpcStatus is the status that an answer of gRPC says, in its trailer section or in a head without anything behind it.
func grpcStatus(fields http.Header) string {
	v := fields["Grpc-Status"]
	if len(v) != 1 || len(v[0]) == 0 || len(v[0]) > 3 || strings.Trim(v[0], "0123456789") != "" {
		return ""
	}
	return v[0]
}

// endGRPC ends an answer of gRPC that breaks off with the status that says so, and reports whether it could. The client
// would else make INTERNAL of a reset stream, which says that the call must not be tried again.
func (x *exchange) endGRPC(err error) bool {
	if !x.wrote || x.r.ProtoMajor < 2 || x.hd.status != http.StatusOK || x.hd.kind != bodyUntilEOF || !isGRPC(x.w.Header()["Content-Type"]) {
		return false
	}
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	code := grpcUnavailable
	switch e.Reason {
	case ReasonDeadline:
		code = grpcDeadlineExceeded
	case ReasonEnded:
		code = grpcUnauthenticated
	case ReasonTruncated, ReasonTimeout, ReasonMalformed, ReasonNoResponse, ReasonDeregistered:
	default:
		return false
	}
	x.result.GRPC = strconv.Itoa(code)
	x.w.Header()[http.TrailerPrefix+"Grpc-Status"] = []string{x.result.GRPC}
	x.w.Header()[http.TrailerPrefix+"Grpc-Message"] = []string{string(e.Reason)}
	return true
}
