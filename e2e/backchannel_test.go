package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestBackchannelLogout signs out at the provider, which tells us by itself: with the session of its own
// that ends, or with the person alone.
func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	for _, client := range []string{"sid", "sub"} {
		// One after another: the provider knows the address of one gateway.
		t.Run(client, func(t *testing.T) {
			s := startClientSite(t, p, client, "client_secret_basic")
			p.tellsGateway(t, s.addr)
			b, _ := s.signInAt(p, "alice", "/")
			first := b.cookies(s.base)
			// A second session here, of the same at the provider: what another program of this person may hold.
			b.forget(s.base)
			resp, page := p.travel(b, s.base+"/", "nobody", "")
			if resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "alice" {
				t.Fatalf("second sign-in: got %s, want alice\n%s", resp.Status, page)
			}
			second := b.cookies(s.base)
			elsewhere, _ := s.signInAt(p, "alice", "/")
			bob, _ := s.signInAt(p, "bob", "/")
			told := p.calls(t, "backchannel.success")

			resp, page = b.open(p.url + "/session/end")
			b.follow(b.submit(resp, page, url.Values{"logout": {"yes"}}))
			if got := p.calls(t, "backchannel.success") - told; got != 1 {
				t.Errorf("logout tokens that were taken: got %d, want 1", got)
			}
			s.clients(t, func(t *testing.T, c *http.Client) {
				s.testSignedOut(t, c, first)
				s.testSignedOut(t, c, second)
			})
			want := http.StatusOK // the other browser has a session of its own at the provider
			if client == "sub" {
				want = http.StatusFound
			}
			if resp, _ := elsewhere.open(s.base + "/page"); resp.StatusCode != want {
				t.Errorf("alice elsewhere: got %s, want %d", resp.Status, want)
			}
			if resp, _ := bob.open(s.base + "/page"); resp.StatusCode != http.StatusOK {
				t.Errorf("bob: got %s, want 200", resp.Status)
			}
			if _, again := s.signInAt(p, "alice", "/again"); again.Subject != "alice" {
				t.Errorf("signing in afterwards: got %q, want alice", again.Subject)
			}
		})
	}
}

// tellsGateway has the provider's logout tokens go to the gateway at addr.
func (p *provider) tellsGateway(t *testing.T, addr string) {
	t.Helper()
	_, port, _ := strings.Cut(addr, ":")
	resp, err := direct(t).Get(p.url + "/_gateway?port=" + port)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// forget takes the session at address out of the browser.
func (b *browser) forget(address string) {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		b.client.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Path: "/", Secure: true, MaxAge: -1}})
	}
}
