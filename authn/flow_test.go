package authn

import (
	"context"
	"io"
	"net/url"
	"strings"
	"testing"
)

type context_ = context.Context

func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name    string
		options []stackOption
	}{
		{"Cognito", nil},
		{"OpenID", []stackOption{withOIDC}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, kind.options...)
			b := s.browser()
			first := b.visit("/reports/1?x=2&y=%20")
			if first.status != 302 {
				t.Fatalf("status: got %d, want 302", first.status)
			}
			u, err := url.Parse(first.location)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for p := range strings.SplitSeq(u.RawQuery, "&") {
				name, _, _ := strings.Cut(p, "=")
				names = append(names, name)
			}
			got := strings.Join(names, " ")
			want := "client_id redirect_uri response_type scope state nonce code_challenge code_challenge_method"
			if got != want {
				t.Errorf("parameters: got %q, want %q", got, want)
			}
			if q := u.Query(); q.Get("redirect_uri") != s.gw.URL+"/oauth2/idpresponse" || q.Get("code_challenge_method") != "S256" ||
				!strings.Contains(u.RawQuery, "scope=openid%20email%20profile") {
				t.Errorf("parameters: got %q", u.RawQuery)
			}
			back := b.visit(b.visit(first.location).location)
			if back.status != 302 || back.location != "/reports/1?x=2&y=%20" {
				t.Fatalf("callback: got %d to %q: %s", back.status, back.location, back.body)
			}
			if a := b.visit(back.location); a.status != 200 || a.body != "alice" {
				t.Errorf("application: got %d %q, want 200 alice", a.status, a.body)
			}
			for _, c := range back.cookies {
				if strings.HasSuffix(c.Name, "-login") && c.MaxAge != 60 {
					t.Errorf("the login cookie: got Max-Age %d, want that the login is remembered for a minute", c.MaxAge)
				}
			}
			if jar := s.sessions.pending(canonicalHost(mustURL(t, s.gw.URL).Host), b.own()); !jar.opened || len(jar.logins) > 0 {
				t.Errorf("got %d logins under way after the login, want none", len(jar.logins))
			}
		})
	}
}
