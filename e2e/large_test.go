package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// shardsOf are the session's shards in a Cookie header, in order.
func shardsOf(cookies string) (shards []string) {
	for part := range strings.SplitSeq(cookies, "; ") {
		if name, _, _ := strings.Cut(part, "="); strings.HasPrefix(name, "__Host-gatehouse-") && name != "__Host-gatehouse-login" {
			shards = append(shards, part)
		}
	}
	slices.Sort(shards)
	return shards
}

func valueOf(shard string) string { _, v, _ := strings.Cut(shard, "="); return v }

// TestALargeSession has a login of more than 9 KB, which is several cookies.
func TestALargeSession(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	b, seen := s.signInAt(p, "many-200", "/")
	if roles, _ := segment(t, seen.Header.Get("X-Amzn-Oidc-Data"), 1)["roles"].([]any); len(roles) != 200 {
		t.Errorf("upstream: got %d roles, want 200", len(roles))
	}
	shards := shardsOf(b.cookies(s.base))
	all := strings.Join(shards, "; ")
	if len(shards) < 3 || len(all) < 9_000 || len(all) > 4*4096 {
		t.Fatalf("session: %d shards of %d bytes, want more than 9 KB in three or four", len(shards), len(all))
	}
	for _, shard := range shards {
		if len(shard)+len("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax") > 4096 {
			t.Errorf("a shard of %d bytes: browsers take 4096 with the attributes", len(shard))
		}
	}
	other, _ := s.signInAt(p, "many-201", "/")
	theirs := shardsOf(other.cookies(s.base))
	again, _ := s.signInAt(p, "many-200", "/")
	renewed := shardsOf(again.cookies(s.base))

	last := len(shards) - 1
	broken := map[string][]string{
		"the first shard of another":             slices.Concat(theirs[:1], shards[1:]),
		"the last shard of another":              slices.Concat(shards[:last], theirs[last:]),
		"a shard of another session of the same": slices.Concat(shards[:1], renewed[1:2], shards[2:]),
		"two shards swapped":                     swap(shards, 0, 1),
		"the last two shards swapped":            swap(shards, last-1, last),
		"one shard in the place of all":          replaceAll(shards, valueOf(shards[0])),
		"the last shard short of a byte":         slices.Concat(shards[:last], []string{shards[last][:len(shards[last])-1]}),
		"the first shard cut in its head":        slices.Concat([]string{shards[0][:len("__Host-gatehouse-0=")+4]}, shards[1:]),
		"a shard emptied":                        slices.Concat(shards[:1], []string{"__Host-gatehouse-1="}, shards[2:]),
		"a shard twice":                          slices.Concat(shards, shards[1:2]),
		"a shard too many":                       append(slices.Clone(shards), "__Host-gatehouse-3="+valueOf(theirs[1])),
		"a shard longer than we write them":      slices.Concat([]string{shards[0] + strings.Repeat("A", 4000)}, shards[1:]),
	}
	for i := range shards {
		broken["without shard "+string(rune('0'+i))] = slices.Delete(slices.Clone(shards), i, i+1)
	}
	s.clients(t, func(t *testing.T, c *http.Client) {
		for range 2 { // opened, and remembered as opened
			if resp, page := fetch(t, c, s.base+"/page", all); resp.StatusCode != http.StatusOK || readEcho(t, page).Subject != "many-200" {
				t.Errorf("all shards: got %s, want 200 and their page\n%s", resp.Status, page)
			}
		}
		reversed := slices.Clone(shards)
		slices.Reverse(reversed)
		if resp, page := fetch(t, c, s.base+"/page", "a=1; "+strings.Join(reversed, "; b=2; ")); resp.StatusCode != http.StatusOK ||
			readEcho(t, page).Header.Get("Cookie") != "a=1; b=2"+strings.Repeat("; b=2", len(shards)-2) {
			t.Errorf("in another order among others: got %s, want 200 and the others alone passed on\n%s", resp.Status, page)
		}
		for name, cookies := range broken {
			t.Run(name, func(t *testing.T) { s.testBroken(t, c, strings.Join(cookies, "; ")) })
		}
	})

	// HTTP/2 lets a client send each cookie in a field of its own (RFC 9113 section 8.2.3).
	fields := []field{{":method", "GET"}, {":scheme", "https"}, {":authority", s.host}, {":path", "/page"}}
	for _, shard := range shards {
		fields = append(fields, field{"cookie", shard})
	}
	if got := sendH2(t, s.addr, s.host, fields, ""); got.status != http.StatusOK {
		t.Errorf("a field for each cookie: got %d, want 200\n%s", got.status, got.body)
	}
}

func swap(shards []string, i, j int) []string {
	out := replaceAll(shards, "")
	for k, shard := range shards {
		switch k {
		case i:
			shard = shards[j]
		case j:
			shard = shards[i]
		}
		out[k] += valueOf(shard)
	}
	return out
}

// replaceAll gives every shard this value.
func replaceAll(shards []string, value string) []string {
	out := make([]string, len(shards))
	for i, shard := range shards {
		name, _, _ := strings.Cut(shard, "=")
		out[i] = name + "=" + value
	}
	return out
}

// testBroken wants somebody with these cookies to be signed out, and their cookies gone.
func (s *site) testBroken(t *testing.T, c *http.Client, cookies string) {
	t.Helper()
	resp, page := fetch(t, c, s.base+"/page", cookies, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin")
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(page, "login_url") {
		t.Errorf("script: got %s, want 401\n%s", resp.Status, page)
	}
	resp, page = fetch(t, c, s.base+"/page", cookies, navigating()...)
	if resp.StatusCode != http.StatusFound || !strings.HasPrefix(resp.Header.Get("Location"), s.pool.url) {
		t.Errorf("navigation: got %s to %q, want 302 to the provider\n%s", resp.Status, resp.Header.Get("Location"), page)
	}
	if left := shardsOf(cookiesAfter(cookies, resp)); len(left) != 0 {
		t.Errorf("shards left after the answer: %.60q", left)
	}
}

// TestALostShard is what a person sees of it: a sign-in, and then their page.
func TestALostShard(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	b, _ := s.signInAt(p, "many-200", "/")
	u, err := url.Parse(s.base)
	if err != nil {
		t.Fatal(err)
	}
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-gatehouse-1", Path: "/", Secure: true, MaxAge: -1}})
	before := shardsOf(b.cookies(s.base))
	resp, page := p.travel(b, s.base+"/reports", "many-200", "")
	if resp.StatusCode != http.StatusOK || readEcho(t, page).Path != "/reports" {
		t.Errorf("got %s of %s, want the page that was asked for\n%s", resp.Status, resp.Request.URL, page)
	}
	for _, shard := range shardsOf(b.cookies(s.base)) {
		if slices.Contains(before, shard) {
			t.Errorf("a shard of the old session is still there: %.40s", shard)
		}
	}
}

// TestASessionBeyondTheLimit has an account with more data than four cookies hold.
func TestASessionBeyondTheLimit(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	b := s.browser()
	resp, page := p.travel(b, s.base+"/", "many-400", "")
	id := s.deniedID(t, resp, page, http.StatusInternalServerError)
	if !strings.Contains(page, "more data than this site can take") || !strings.Contains(page, "AuthUserinfoResponseSizeExceeded") {
		t.Errorf("the page does not say what is wrong:\n%s", page)
	}
	if got := b.cookies(s.base); strings.Contains(got, "__Host-gatehouse") {
		t.Errorf("cookies: got %q, want none of ours", got)
	}
	if event := s.eventWithID(id); event["denied"] == nil {
		t.Errorf("event: got %v, want why", event)
	}
	if _, seen := s.signInAt(p, "alice", "/"); seen.Subject != "alice" {
		t.Errorf("somebody else: got %q, want alice", seen.Subject)
	}
}
