package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// startStream is an upstream that sends one event, and the second only after more is closed.
func startStream(t *testing.T, more <-chan struct{}) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: first\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
		io.WriteString(w, "data: second\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL
}
