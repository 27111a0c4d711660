package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A store is a real redis-server that keeps nothing on disk.
type store struct {
	t      *testing.T
	socket string
	cmd    *exec.Cmd
}

func startStore(t *testing.T) *store {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // short: a socket's path is limited to 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &store{t: t, socket: filepath.Join(dir, "s")}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *store) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.socket))
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

const storeAnswers = "fleet: the store answers"

// startFleet starts three instances with one store and one pool, and waits until each has the store.
func startFleet(t *testing.T, spec siteSpec) (*store, [3]*site) {
	t.Helper()
	st := startStore(t)
	spec.top += fmt.Sprintf("fleet: {store: \"unix://%s\"}\n", st.socket)
	spec.upstream = cmp.Or(spec.upstream, startEcho(t))
	var fleet [3]*site
	fleet[0] = startSite(t, spec)
	for i := range fleet[1:] {
		s := newSite(t, spec)
		s.pool = fleet[0].pool
		s.write(s.fileText(spec, s.pool.login()))
		s.run(spec)
		fleet[i+1] = s
	}
	for _, s := range fleet {
		s.message(storeAnswers, 0)
	}
	return st, fleet
}

// gone waits until an instance refuses the cookies.
func (s *site) gone(t *testing.T, c *http.Client, cookies string) {
	t.Helper()
	over := func() bool {
		resp, _ := fetch(t, c, s.base+"/page", cookies, navigating()...)
		return resp.StatusCode == http.StatusFound
	}
	for deadline := time.Now().Add(startTimeout); !over(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: the session is not over", s.addr)
		}
	}
}

// spread sends n requests at once, to the instances in turn.
func spread(t *testing.T, fleet [3]*site, n int, cookies string) []reply {
	t.Helper()
	var asks [3]func(int) (*http.Response, string, error)
	for i, s := range fleet {
		asks[i] = ask(t, newClient(t, s.addr, i%2 == 1), s.base+"/page", cookies)
	}
	return parallel(n, func(i int) (*http.Response, string, error) { return asks[i%3](i) })
}

func TestAFleetRefreshesOnce(t *testing.T) {
	t.Parallel()
	_, fleet := startFleet(t, siteSpec{pool: append([]string{"--rotate"}, shortLived...)})
	pool := fleet[0].pool
	cookies := fleet[0].signIn("alice", "/").cookies(fleet[0].base)
	expire(t)
	before := pool.calls(t, "token:refresh_token")
	for i, r := range spread(t, fleet, 50, cookies) {
		if r.err != nil || r.status != http.StatusOK || !strings.Contains(r.body, aliceSub) || r.cookies == 0 {
			t.Errorf("request %d: got %d, %d cookies, %q %v, want 200 and alice's page with a new session", i, r.status, r.cookies, r.body, r.err)
		}
	}
	if got := pool.calls(t, "token:refresh_token") - before; got != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", got)
	}
}

// A login that the provider no longer stands by is asked about once.
func TestAFleetIsRefusedOnce(t *testing.T) {
	t.Parallel()
	_, fleet := startFleet(t, siteSpec{pool: shortLived})
	pool := fleet[0].pool
	cookies := fleet[0].signIn("alice", "/").cookies(fleet[0].base)
	pool.faults(t, `{"invalid_grant": true}`)
	expire(t)
	before := pool.calls(t, "token:refresh_token")
	for _, s := range fleet {
		resp, _ := fetch(t, newClient(t, s.addr, true), s.base+"/page", cookies, navigating()...)
		if resp.StatusCode != http.StatusFound || strings.Contains(cookiesAfter(cookies, resp), sessionCookie) {
			t.Errorf("got %s, want 302 and no session", resp.Status)
		}
	}
	if got := pool.calls(t, "token:refresh_token") - before; got != 1 {
		t.Errorf("calls to the token endpoint: got %d, want 1", got)
	}
}

func TestAFleetSignsOut(t *testing.T) {
	t.Parallel()
	spec := siteSpec{}
	st, fleet := startFleet(t, spec)
	a, b, c := fleet[0], fleet[1], fleet[2]
	old, other := a.signIn("alice", "/").cookies(a.base), a.signIn("bob", "/").cookies(a.base)
	client := func(s *site) *http.Client { return newClient(t, s.addr, false) }
	for _, s := range fleet {
		if resp, _ := fetch(t, client(s), s.base+"/page", old); resp.StatusCode != http.StatusOK {
			t.Fatalf("before: got %s, want 200", resp.Status)
		}
	}
	if resp, _ := fetch(t, client(a), a.base+"/oauth2/sign_out", old, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	b.gone(t, client(b), old)
	c.gone(t, client(c), old)

	// The store is gone, and one instance is killed: what it learned is its own by now.
	st.kill()
	b.kill()
	b.run(spec)
	b.testSignedOut(t, client(b), old)
	for _, s := range fleet {
		if resp, _ := fetch(t, client(s), s.base+"/page", other); resp.StatusCode != http.StatusOK {
			t.Errorf("another's session: got %s, want 200", resp.Status)
		}
	}
}

func TestAFleetSignsOutEverywhere(t *testing.T) {
	t.Parallel()
	_, fleet := startFleet(t, siteSpec{})
	a, b, c := fleet[0], fleet[1], fleet[2]
	here, there, bob := a.signIn("alice", "/").cookies(a.base), b.signIn("alice", "/").cookies(b.base), a.signIn("bob", "/").cookies(a.base)
	client := func(s *site) *http.Client { return newClient(t, s.addr, true) }
	req, err := http.NewRequest(http.MethodPost, a.base+"/oauth2/sign_out", strings.NewReader("everywhere=1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Cookie": here,
		"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	} {
		req.Header.Set(name, value)
	}
	if resp, body := send(t, client(a), req); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out everywhere: got %s, want 303\n%s", resp.Status, body)
	}
	for _, s := range []*site{b, c} {
		s.gone(t, client(s), there)
		if resp, _ := fetch(t, client(s), s.base+"/page", bob); resp.StatusCode != http.StatusOK {
			t.Errorf("bob: got %s, want 200", resp.Status)
		}
	}
}

// The provider tells one instance that somebody has signed out, and does not know of the other.
func TestAFleetHearsOfALogout(t *testing.T) {
	t.Parallel()
	p, st := startProvider(t, 600), startStore(t)
	var fleet [2]*site
	for i := range fleet {
		spec := siteSpec{
			upstream: startEcho(t), env: []string{"CLIENT_SECRET=" + oidcSecret},
			top: fmt.Sprintf("secret: ${env:CLIENT_SECRET}\nfleet: {store: \"unix://%s\"}\n", st.socket),
		}
		s := newSite(t, spec)
		s.pool = &pool{url: p.url}
		s.write(s.fileText(spec, p.login("gatehouse-sid")))
		s.run(spec)
		s.message("provider reached", 0)
		s.message(storeAnswers, 0)
		fleet[i] = s
	}
	told, other := fleet[0], fleet[1]
	p.tellsGateway(t, told.addr)
	alice, _ := told.signInAt(p, "alice", "/")
	bob, _ := told.signInAt(p, "bob", "/")
	old, stays := alice.cookies(told.base), bob.cookies(told.base)
	c := newClient(t, other.addr, true)
	if resp, _ := fetch(t, c, other.base+"/page", old); resp.StatusCode != http.StatusOK {
		t.Fatalf("before: got %s, want 200", resp.Status)
	}
	resp, page := alice.open(p.url + "/session/end")
	alice.follow(alice.submit(resp, page, url.Values{"logout": {"yes"}}))
	other.gone(t, c, old)
	if resp, _ := fetch(t, c, other.base+"/page", stays); resp.StatusCode != http.StatusOK {
		t.Errorf("bob: got %s, want 200", resp.Status)
	}
}

// The store dies while requests with an access token that has run out come in. Nobody notices, nobody who
// has signed out comes back, and what happened meanwhile is known everywhere once it is there again.
func TestAFleetWithoutItsStore(t *testing.T) {
	t.Parallel()
	st, fleet := startFleet(t, siteSpec{pool: shortLived})
	a, b, c := fleet[0], fleet[1], fleet[2]
	alice, carol := a.signIn("alice", "/").cookies(a.base), a.signIn("alice", "/").cookies(a.base)
	client := func(s *site) *http.Client { return newClient(t, s.addr, true) }
	fetch(t, client(a), a.base+"/oauth2/sign_out", carol, navigating()...)
	b.gone(t, client(b), carol)
	c.gone(t, client(c), carol)
	expire(t)
	var killed sync.WaitGroup
	killed.Go(st.kill)
	for i, r := range spread(t, fleet, 50, alice) {
		if r.err != nil || r.status != http.StatusOK || !strings.Contains(r.body, aliceSub) {
			t.Errorf("request %d: got %d %q %v, want 200 and alice's page", i, r.status, r.body, r.err)
		}
	}
	killed.Wait()
	for _, s := range fleet {
		s.message("fleet: the store does not answer, this instance works alone until it does", 0)
		if got := s.metric("gatehouse_fleet_up"); got != "0" {
			t.Errorf("gatehouse_fleet_up: got %q, want 0", got)
		}
		s.testSignedOut(t, client(s), carol)
	}
	st.start() // with nothing in it
	for _, s := range fleet {
		s.message(storeAnswers, 1)
		s.testSignedOut(t, client(s), carol)
		if got := s.metric("gatehouse_fleet_up"); got != "1" {
			t.Errorf("gatehouse_fleet_up: got %q, want 1", got)
		}
	}
}

// Who signs out while the store is down is signed out where they did, and everywhere once it is back. Their
// access token is good for an hour, so nothing else can refuse the old cookie.
func TestAFleetCatchesUp(t *testing.T) {
	t.Parallel()
	st, fleet := startFleet(t, siteSpec{})
	a, b := fleet[0], fleet[1]
	old := a.signIn("alice", "/").cookies(a.base)
	client := func(s *site) *http.Client { return newClient(t, s.addr, true) }
	st.kill()
	if resp, _ := fetch(t, client(a), a.base+"/oauth2/sign_out", old, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	a.testSignedOut(t, client(a), old)
	if resp, _ := fetch(t, client(b), b.base+"/page", old); resp.StatusCode != http.StatusOK {
		t.Fatalf("at another instance: got %s, want 200", resp.Status)
	}
	st.start()
	for _, s := range fleet {
		s.gone(t, client(s), old)
	}
}

// Another store is another fleet: a reload does not change it halfway.
func TestAReloadDoesNotChangeTheFleet(t *testing.T) {
	t.Parallel()
	_, fleet := startFleet(t, siteSpec{})
	s := fleet[0]
	s.write(strings.Replace(s.text, "fleet: {", "fleet: {prefix: another, ", 1))
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	e := s.message("reload refused, the running configuration stays", 0)
	if problems, _ := e["problems"].(string); !strings.Contains(problems, "fleet: changing it needs a restart") {
		t.Errorf("got %q, want a problem of fleet", problems)
	}
}
