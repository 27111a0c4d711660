package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func styleHash(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// sealedSession is a session of ordinary size and the cookies that carry it.
func sealedSession(t testing.TB, host string) (*Provider, *Sessions, []*http.Cookie) {
	t.Helper()
	p, err := NewProvider(Config{Cognito: &CognitoConfig{
		UserPool: testPool, Domain: "auth", ClientID: testClient, ClientSecret: testSecret,
	}}, ProviderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSessions(SessionConfig{}, []byte(strings.Repeat("k", 32)), SessionsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	sess := &session{
		subject: "alice", email: "alice@example.com", groups: []string{"users"}, scopes: []string{"openid"},
		start: now, end: now + 3600, renewed: now, expires: now + 3600,
		access: noise(1100), refresh: noise(1700), claims: []byte(`{"sub":"alice","email":"alice@example.com"}`),
	}
	lines, err := s.write(p, host, sess.finish(p))
	if err != nil {
		t.Fatal(err)
	}
	var cookies []*http.Cookie
	for _, line := range lines {
		if c, err := http.ParseSetCookie(line); err == nil && c.MaxAge > 0 {
			cookies = append(cookies, c)
		}
	}
	return p, s, cookies
}

func BenchmarkCheck(b *testing.B) {
	p, s, cookies := sealedSession(b, "app.example.test")
	g := NewGate(Providers{p}, s, Rule{}, GateOptions{Cookies: func(*http.Request) []*http.Cookie { return cookies }})
	r := httptest.NewRequest("GET", "https://app.example.test/", nil)
	check := func(b *testing.B) {
		if d, err := g.Check(r); err != nil || d.Identity == nil {
			b.Fatal(err)
		}
	}
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(b)
		}
	})
	b.Run("warm in parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				check(b)
			}
		})
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			clear(s.opened.young)
			check(b)
		}
	})
}

func FuzzSessionCookie(f *testing.F) {
	const host = "app.example.test"
	p, s, cookies := sealedSession(f, host)
	good := cookies[0].Value
	f.Add(good, "")
	f.Add(good[:len(good)-1], good)
	f.Add("1abcdefgh1", "1abcdefgh2")
	f.Fuzz(func(t *testing.T, v0, v1 string) {
		list := []*http.Cookie{{Name: "__Host-gatehouse-0", Value: v0}, {Name: "__Host-gatehouse-1", Value: v1}}
		sess, err := s.read(Providers{p}, host, list, time.Now())
		if (sess != nil) == (err != nil) && (v0 != "" || v1 != "") {
			t.Fatalf("session %v and error %v", sess, err)
		}
		// Fuzzing processes have the same key, so the seed may be another one's session of alice.
		if sess != nil && (sess.subject != "alice" || v1 != "") {
			t.Fatal("a session that was not made here")
		}
	})
}

func FuzzSessionContent(f *testing.F) {
	sess := &session{subject: "alice", groups: []string{"a", "b"}, claims: []byte("{}"), verified: true, end: 5, dated: true, acr: "loa:2"}
	f.Add(sess.append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSession(b)
		if err != nil {
			return
		}
		again, err := parseSession(s.append(nil))
		if err != nil || again.subject != s.subject || len(again.groups) != len(s.groups) || again.end != s.end ||
			again.acr != s.acr || again.dated != s.dated || again.verified != s.verified {
			t.Fatalf("does not survive being written: %v", err)
		}
	})
}

func FuzzPendingCookie(f *testing.F) {
	l := newPendingLogin(&Provider{}, time.Unix(1, 0), "/page", StepUp{})
	c := loginCookie{logins: pendingLogins{l, l}, trail: trail{rounds: 2, since: 1}}
	f.Add(c.append(nil))
	f.Add([]byte{pendingVersion, 0, 0, 0})
	f.Add([]byte{pendingVersion, 0, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parsePending(b)
		if err != nil {
			return
		}
		if len(c.logins) > maxPending {
			t.Fatalf("logins: got %d, want at most %d", len(c.logins), maxPending)
		}
		again, err := parsePending(c.append(nil))
		if err != nil || len(again.logins) != len(c.logins) || again.trail != c.trail {
			t.Fatalf("does not survive being written: %v", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s, err := newSealer([][]byte{[]byte(strings.Repeat("k", 32))})
	if err != nil {
		f.Fatal(err)
	}
	v, err := s.seal("name", []byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(v)
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		b, err := s.open("name", value)
		if err == nil && string(b) != "content" {
			t.Fatalf("opened what was not sealed: %q", b)
		}
	})
}
