package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kill ends the program as the kernel does that has no memory left.
func (p *program) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.done
}

// TestASignOutOutlastsTheProcess kills the front door right after somebody has signed out. Their access
// token is good for an hour, so nothing but the file in the state directory can refuse the old cookie.
func TestASignOutOutlastsTheProcess(t *testing.T) {
	t.Parallel()
	spec := siteSpec{upstream: startEcho(t)}
	s := startSite(t, spec)
	old, other := s.signIn("alice", "/").cookies(s.base), s.signIn("alice", "/").cookies(s.base)
	if resp, _ := fetch(t, newClient(t, s.addr, false), s.base+"/oauth2/sign_out", old, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	s.kill()
	s.run(spec)
	s.clients(t, func(t *testing.T, c *http.Client) {
		s.testSignedOut(t, c, old)
		if resp, body := fetch(t, c, s.base+"/page", other); resp.StatusCode != http.StatusOK {
			t.Errorf("another session of hers: got %s, want 200\n%s", resp.Status, body)
		}
	})
}

// TestAStateDirectoryThatKeepsNothing puts something else in the place of the file: at the start that is
// a problem, and while the program runs people can sign out all the same.
func TestAStateDirectoryThatKeepsNothing(t *testing.T) {
	t.Parallel()
	spec := siteSpec{upstream: startEcho(t)}
	s := startSite(t, spec)
	old := s.signIn("alice", "/").cookies(s.base)
	file := filepath.Join(s.state, "revocations")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, s.addr, true)
	if resp, _ := fetch(t, c, s.base+"/oauth2/sign_out", old, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	s.testSignedOut(t, c, old)
	s.message("revocation not kept", 0)
	if got := s.metric(`gatehouse_login_events_total{event="revocation lost"}`); got != "1" {
		t.Errorf("metric: got %s, want 1", got)
	}
	s.kill()
	end := runToEnd(t, t.TempDir(), []string{"CLIENT_SECRET=" + clientSecret, "STATE_DIRECTORY=" + s.state}, "run", "-c", s.file)
	if end.code == 0 || !strings.Contains(end.stderr, "state_dir: ") || !strings.Contains(end.stderr, file) {
		t.Errorf("at the start: got exit code %d and\n%s\nwant a problem of state_dir with the file", end.code, end.stderr)
	}
}
