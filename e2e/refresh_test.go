package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// shortLived makes access tokens that run out in a second, the shortest life that a token endpoint can
// say (RFC 6749 section 5.1 has whole seconds).
var shortLived = []string{"--access-ttl=1s"}

// expire waits until every access token that has been issued so far has run out.
func expire(t *testing.T) {
	t.Helper()
	until(t, time.Unix(time.Now().Unix()+2, 0))
}

// A reply is what one of several parallel requests got.
type reply struct {
	status  int
	body    string
	cookies int
	err     error
}

// parallel sends n requests at once and returns what each got.
func parallel(n int, ask func(i int) (*http.Response, string, error)) []reply {
	replies := make([]reply, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			resp, body, err := ask(i)
			if err != nil {
				replies[i] = reply{err: err}
				return
			}
			replies[i] = reply{resp.StatusCode, body, len(resp.Header.Values("Set-Cookie")), nil}
		})
	}
	close(begin)
	all.Wait()
	return replies
}

// ask returns a function for parallel that gets address with these cookies.
func ask(t *testing.T, c *http.Client, address, cookies string) func(int) (*http.Response, string, error) {
	return func(int) (*http.Response, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("Cookie", cookies)
		return roundTrip(c, req)
	}
}

func TestParallelRequestsRefreshOnce(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"with a lasting refresh token":  shortLived,
		"with a rotating refresh token": append([]string{"--rotate"}, shortLived...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, siteSpec{pool: flags, upstream: startEcho(t)})
			s.clients(t, func(t *testing.T, c *http.Client) {
				cookies := s.signIn("alice", "/").cookies(s.base)
				expire(t)
				before := s.pool.calls(t, "token:refresh_token")
				for i, r := range parallel(50, ask(t, c, s.base+"/page", cookies)) {
					if r.err != nil || r.status != http.StatusOK || !strings.Contains(r.body, aliceSub) {
						t.Errorf("request %d: got %d %q %v, want 200 and alice's page", i, r.status, r.body, r.err)
					}
				}
				if got := s.pool.calls(t, "token:refresh_token") - before; got != 1 {
					t.Errorf("calls to the token endpoint: got %d, want 1", got)
				}
			})
		})
	}
}

func TestARefreshedSessionLivesOn(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{pool: append([]string{"--rotate"}, shortLived...), upstream: startEcho(t)})
	b := s.signIn("alice", "/")
	for range 3 {
		expire(t)
		before := b.cookies(s.base)
		resp, page := b.open(s.base + "/again")
		if resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != aliceSub {
			t.Fatalf("after the access token ran out: got %s, want 200 and alice's page\n%s", resp.Status, page)
		}
		if b.cookies(s.base) == before {
			t.Error("the session cookie was not renewed")
		}
	}
}

func TestInvalidGrantEndsTheSessionWithoutALoop(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{pool: shortLived, upstream: startEcho(t)})
	s.clients(t, func(t *testing.T, c *http.Client) {
		cookies := s.signIn("alice", "/").cookies(s.base)
		s.pool.faults(t, `{"invalid_grant": true}`)
		expire(t)
		before := s.pool.calls(t, "token:refresh_token")

		resp, _ := fetch(t, c, s.base+"/page", cookies, navigating()...)
		if got, want := resp.Header.Get("Location"), s.pool.url+"/oauth2/authorize?"; resp.StatusCode != http.StatusFound || !strings.HasPrefix(got, want) {
			t.Errorf("navigation: got %s to %q, want 302 to the pool", resp.Status, got)
		}
		left := cookiesAfter(cookies, resp)
		if strings.Contains(left, sessionCookie) {
			t.Error("the answer leaves a session cookie")
		}
		// Whoever keeps the old cookie asks the provider no more, and scripts are not redirected.
		for range 5 {
			if resp, body := fetch(t, c, s.base+"/page", cookies, "Sec-Fetch-Mode", "cors"); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("script: got %s, want 401\n%s", resp.Status, body)
			}
		}
		if got := s.pool.calls(t, "token:refresh_token") - before; got != 1 {
			t.Errorf("calls to the token endpoint: got %d, want 1", got)
		}
		s.pool.faults(t, `{}`)
		if resp, _ := fetch(t, c, s.base+"/page", left, navigating()...); resp.StatusCode != http.StatusFound {
			t.Errorf("next navigation: got %s, want 302", resp.Status)
		}
	})
}

func TestAProviderThatFailsWhileRefreshing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]string{
		"answers 500":           `{"endpoints": {"token": {"status": 500}}}`,
		"closes the connection": `{"endpoints": {"token": {"reset": true}}}`,
		"answers without end":   `{"endpoints": {"token": {"huge": true}}}`,
		"does not answer":       `{"endpoints": {"token": {"delay": "1h"}}}`,
	} {
		for _, refuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, refuse %v", name, refuse), func(t *testing.T) {
				t.Parallel()
				testFailingRefresh(t, fault, refuse)
			})
		}
	}
}

func testFailingRefresh(t *testing.T, fault string, refuse bool) {
	spec := siteSpec{pool: shortLived, upstream: startEcho(t)}
	want := http.StatusOK
	if refuse {
		spec.login, want = "  session: {on_provider_down: refuse}\n", http.StatusServiceUnavailable
	}
	s := startSite(t, spec)
	c := newClient(t, s.addr, true)
	cookies := s.signIn("alice", "/").cookies(s.base)
	s.pool.faults(t, fault)
	expire(t)
	before := s.pool.calls(t, "token")
	started := time.Now()
	for i, r := range parallel(20, ask(t, c, s.base+"/page", cookies)) {
		if r.err != nil || r.status != want || r.cookies != 0 {
			t.Errorf("request %d: got %d with %d cookies (%v), want %d and the session left alone", i, r.status, r.cookies, r.err, want)
		}
	}
	if took := time.Since(started); took > 20*time.Second { // the call's own bound is 5 s
		t.Errorf("20 requests took %v, want them bounded by one call", took)
	}
	if got := s.pool.calls(t, "token") - before; got > 2 {
		t.Errorf("calls to the token endpoint: got %d, want one, and one more after the pause at most", got)
	}
	resp, body := fetch(t, c, s.base+"/page", cookies, navigating()...)
	if resp.StatusCode != want || (resp.Header.Get("Retry-After") == "") == refuse {
		t.Errorf("navigation: got %s, Retry-After %q, want %d\n%s", resp.Status, resp.Header.Get("Retry-After"), want, body)
	}
	// The session was kept: when the provider is back it is renewed.
	s.pool.faults(t, `{}`)
	for resp.StatusCode != http.StatusOK || resp.Header.Get("Set-Cookie") == "" {
		if time.Since(started) > ioTimeout {
			t.Fatalf("the provider is back and the session is not renewed: %s", resp.Status)
		}
		until(t, time.Now().Add(100*time.Millisecond))
		resp, body = fetch(t, c, s.base+"/page", cookies)
	}
	if readEcho(t, body).Subject != aliceSub {
		t.Errorf("after the outage: got %s, want alice", body)
	}
}

// TestNobodyGetsAnothersIdentity is attack case O49, with sessions that are due at the same time.
func TestNobodyGetsAnothersIdentity(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{pool: append([]string{"--rotate"}, shortLived...), upstream: startEcho(t)})
	people := []struct{ user, sub string }{{"alice", aliceSub}, {"bob", bobSub}}
	s.clients(t, func(t *testing.T, c *http.Client) {
		var cookies []string
		for _, p := range people {
			cookies = append(cookies, s.signIn(p.user, "/").cookies(s.base))
		}
		const rounds = 1000
		expire(t)
		replies := parallel(20, func(i int) (resp *http.Response, body string, err error) {
			who := i % len(people)
			for range rounds / 20 * len(people) {
				resp, body, err = ask(t, c, s.base+"/page", cookies[who])(i)
				if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(body, people[who].sub) {
					return resp, body, cmp.Or(err, fmt.Errorf("%s got another page: %s", people[who].user, body))
				}
			}
			return resp, body, nil
		})
		for _, r := range replies {
			if r.err != nil {
				t.Error(r.err)
			}
		}
	})
}

const (
	sessionCookie = "__Host-gatehouse-0"
	loginCookie   = "__Host-gatehouse-login"
)

// cookiesAfter is the Cookie header of a browser that had cookies and then got resp.
func cookiesAfter(cookies string, resp *http.Response) string {
	set := map[string]*http.Cookie{}
	for _, c := range resp.Cookies() {
		set[c.Name] = c
	}
	var left []string
	for part := range strings.SplitSeq(cookies, "; ") {
		name, _, _ := strings.Cut(part, "=")
		if set[name] == nil {
			left = append(left, part)
		}
	}
	for _, c := range set {
		if c.MaxAge >= 0 && c.Value != "" {
			left = append(left, c.Name+"="+c.Value)
		}
	}
	return strings.Join(left, "; ")
}
