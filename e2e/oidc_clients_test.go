package e2e

import (
	"net/http"
	"regexp"
	"testing"
	"time"
)

// TestOtherKindsOfClients signs in, renews and signs out as clients that authenticate, name people or get
// userinfo in other ways than by default.
func TestOtherKindsOfClients(t *testing.T) {
	t.Parallel()
	const ttl = 3
	p := startProvider(t, ttl)
	for client, tt := range map[string]struct {
		method  string
		subject string // a pattern
	}{
		"public":   {"none", `^alice$`},
		"post":     {"client_secret_post", `^alice$`},
		"pairwise": {"client_secret_basic", `^[0-9a-f]{64}$`},
		"userinfo": {"client_secret_basic", `^alice$`},
	} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			s := startClientSite(t, p, client, tt.method)
			b, seen := s.signInAt(p, "alice", "/reports")
			if !regexp.MustCompile(tt.subject).MatchString(seen.Subject) {
				t.Errorf("subject: got %q, want %s", seen.Subject, tt.subject)
			}
			claims := segment(t, seen.Header.Get("X-Amzn-Oidc-Data"), 1)
			if claims["sub"] != seen.Subject || claims["email"] != "alice@example.com" {
				t.Errorf("claims: got %v, want those of %s", claims, seen.Subject)
			}
			until(t, time.Now().Add((ttl+1)*time.Second))
			before := b.cookies(s.base)
			resp, page := b.open(s.base + "/admin/x")
			if resp.StatusCode != http.StatusOK || b.cookies(s.base) == before {
				t.Fatalf("after the access token ran out: got %s, want 200 and a renewed session\n%s", resp.Status, page)
			}
			again := readEcho(t, page)
			if again.Subject != seen.Subject || again.Header.Get("X-Amzn-Oidc-Accesstoken") == seen.Header.Get("X-Amzn-Oidc-Accesstoken") {
				t.Errorf("after the access token ran out: got %s, want %s with a new one", again.Subject, seen.Subject)
			}
			old := b.cookies(s.base)
			resp, page = b.open(s.base + "/oauth2/sign_out")
			if to := mustURL(t, resp.Header.Get("Location")); resp.StatusCode != http.StatusFound || to.Path != "/session/end" {
				t.Errorf("sign-out: got %s to %s, want the provider\n%s", resp.Status, to, page)
			}
			s.testSignedOut(t, newClient(t, s.addr, true), old)
		})
	}
	t.Cleanup(func() {
		if calls := callsOf(t, p.url); calls["grant.error"]+calls["revocation.error"] != 0 || calls["/token/revocation"] < 4 {
			t.Errorf("calls: got %v, want every session's refresh token revoked and nothing refused", calls)
		}
	})
}

// startClientSite starts a site that signs in as one client of p.
func startClientSite(t *testing.T, p *provider, client, method string) *site {
	t.Helper()
	spec := siteSpec{
		upstream: startEcho(t), env: []string{"CLIENT_SECRET=" + oidcSecret}, top: "secret: ${env:CLIENT_SECRET}",
		routes: "  - {match: " + appHost + "/admin/*, to: u, require: {groups: [admins]}, waf: off}\n" +
			"  - {match: " + appHost + ", to: u, require: signed-in, waf: off}\n",
	}
	s := newSite(t, spec)
	s.pool = &pool{url: p.url}
	login := p.login("gatehouse-" + client)
	if method == "none" {
		login = regexp.MustCompile(`(?m)^ *client_secret: .*\n`).ReplaceAllString(login, "")
	}
	login = regexp.MustCompile(`(?m)^( *)client_id: .*\n`).ReplaceAllString(login, "${0}${1}auth_method: "+method+"\n")
	s.write(s.fileText(spec, login))
	s.run(spec)
	s.message("provider reached", 0)
	return s
}
