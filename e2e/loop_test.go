package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A leakyJar loses the cookies of one host.
type leakyJar struct {
	http.CookieJar
	host string
}

func (j leakyJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	if u.Host != j.host {
		j.CookieJar.SetCookies(u, cookies)
	}
}

// TestABrowserThatKeepsNoCookie would be sent to and fro for ever.
func TestABrowserThatKeepsNoCookie(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	b := s.browser()
	b.client.Jar = leakyJar{b.client.Jar, s.host}
	resp, page := b.signIn(s.base+"/reports?x=1", "alice")
	id := s.deniedID(t, resp, page, http.StatusBadRequest)
	if !strings.Contains(page, "did not send our cookie back") || !strings.Contains(page, "/oauth2/sign_in?rd=%2Freports%3Fx%3D1") {
		t.Errorf("want why, and a way to try again:\n%s", page)
	}
	if denied, _ := s.eventWithID(id)["denied"].(string); !strings.HasPrefix(denied, "AuthCookieNotReturned") {
		t.Errorf("event: denied %q, want AuthCookieNotReturned", denied)
	}
	// The pool knows who it is by now: nothing but a page of ours ends this.
	if resp, page := b.follow(s.base + "/reports"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("again: got %s, want 400\n%s", resp.Status, page)
	}
	if got := s.pool.calls(t, "token"); got != 0 {
		t.Errorf("codes redeemed: got %d, want 0", got)
	}
}

// TestAnOutageLongerThanTheSession ends with 503 for everybody, and with a login when it is over.
func TestAnOutageLongerThanTheSession(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{pool: shortLived, upstream: startEcho(t), login: "  session: {timeout: 15s}\n"})
	cookies := s.signIn("alice", "/").cookies(s.base)
	end := time.Now().Add(16 * time.Second)
	s.pool.faults(t, `{"endpoints": {"token": {"reset": true}, "jwks": {"reset": true}, "discovery": {"reset": true}}}`)
	expire(t)
	c := newClient(t, s.addr, true)
	if resp, body := fetch(t, c, s.base+"/page", cookies, navigating()...); resp.StatusCode != http.StatusOK {
		t.Errorf("while the session is valid: got %s, want 200\n%s", resp.Status, body)
	}
	until(t, end)
	s.clients(t, func(t *testing.T, c *http.Client) {
		for _, headers := range [][]string{navigating(), {"Sec-Fetch-Mode", "cors"}} {
			resp, body := fetch(t, c, s.base+"/page", cookies, headers...)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Location") != "" {
				t.Errorf("%v: got %s, Retry-After %q, to %q; want 503\n%s", headers, resp.Status,
					resp.Header.Get("Retry-After"), resp.Header.Get("Location"), body)
			}
		}
	})
	s.pool.faults(t, `{}`)
	deadline := time.Now().Add(ioTimeout)
	for {
		resp, _ := fetch(t, c, s.base+"/page", cookies, navigating()...)
		if resp.StatusCode == http.StatusFound && strings.HasPrefix(resp.Header.Get("Location"), s.pool.url) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the provider is back and nobody can sign in: %s", resp.Status)
		}
		until(t, time.Now().Add(100*time.Millisecond))
	}
}
