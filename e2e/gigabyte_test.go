//go:build !race

package e2e

import (
	"net/http"
	"testing"
)

// TestAGigabyteInConstantMemory uploads it to a route that inspects the head alone, and to one that inspects a part.
func TestAGigabyteInConstantMemory(t *testing.T) {
	t.Parallel()
	const size = 1 << 30
	s := startSite(t, siteSpec{upstream: startEcho(t), routes: bodyRoutes})
	for _, tt := range []struct {
		path string
		h2   bool
		size int64 // announced, or -1
	}{{"/upload/x", true, -1}, {"/partial/x", false, -1}} {
		c := newClient(t, s.addr, tt.h2)
		c.Timeout = 0
		before := s.memory(t)
		resp, body := s.upload(t, c, tt.path, size, tt.size)
		if resp.StatusCode != http.StatusOK || readEcho(t, body).Bytes != size {
			t.Fatalf("%s: got %s, want 200 and all of it\n%s", tt.path, resp.Status, body)
		}
		grown := s.memory(t) - before
		t.Logf("%s %s, length %d: %d MiB resident, grown by %d KiB", resp.Proto, tt.path, tt.size, s.memory(t)>>20, grown>>10)
		if grown > 32<<20 {
			t.Errorf("%s %s: the process grew by %d MiB, want the upload streamed", resp.Proto, tt.path, grown>>20)
		}
	}
}
