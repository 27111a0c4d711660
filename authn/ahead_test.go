package authn

import (
	"strings"
	"testing"
)

// Browsers load links ahead of a click, as navigations. Nobody has signed in or out by that.
func TestLoadingAheadChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	b := s.login("alice")
	for _, path := range []string{"/oauth2/sign_out", "/oauth2/sign_in?rd=/page"} {
		for _, purpose := range []string{"prefetch", "prefetch;prerender", "prefetch;anonymous-client-ip"} {
			a := b.visit(path, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin", "Sec-Purpose", purpose)
			if a.status != 503 || len(a.cookies) != 0 {
				t.Errorf("%s with %s: got %d and %d cookies, want 503 and none", path, purpose, a.status, len(a.cookies))
			}
		}
	}
	if a := b.visit("/page"); a.status != 200 || !strings.HasPrefix(a.body, "alice") || len(s.logouts) != 0 {
		t.Errorf("afterwards: got %d %q and %d sign-outs, want alice still signed in", a.status, a.body, len(s.logouts))
	}
}
