package payload

import (
	"context"
	"errors"
	"net/http"
	"os"
)

// statusClientGone is the status of a request whose client went away. Nobody is there to see it; it keeps such requests apart from
// refusals.
const statusClientGone = 499

// ReadFailure says why a request whose body could not be read is refused, and with what status: that of err itself if it has one.
// The context is the request's.
func ReadFailure(ctx context.Context, err error) (reason string, status int) {
	const unread = "request body could not be read"
	var own interface{ HTTPStatus() int }
	switch {
	case errors.As(err, &own):
		if s := own.HTTPStatus(); s >= 400 && s < 600 {
			return unread, s
		}
	case errors.As(err, new(*http.MaxBytesError)):
		return unread, http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return unread, http.StatusRequestTimeout
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return "client went away while sending the body", statusClientGone
	}
	return unread, http.StatusBadRequest
}
