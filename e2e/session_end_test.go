package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// lastingSocket opens a WebSocket that the application answers, and returns what tells how it ends.
func (s *site) lastingSocket(t *testing.T, cookies string) (ends <-chan error) {
	t.Helper()
	c := newClient(t, s.addr, false)
	c.Timeout = 0 // it would end the connection
	conn, _, err := s.dialSocket(t.Context(), c, "/ws", cookies, s.base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(context.WithoutCancel(t.Context()))
		ended <- err
	}()
	return ended
}

// wantClosed waits for a WebSocket to be closed by 1008, as attack case O61 has it.
func wantClosed(t *testing.T, name string, ends <-chan error) {
	t.Helper()
	select {
	case err := <-ends:
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation {
			t.Errorf("%s: got %v, want close code 1008", name, err)
		}
	case <-time.After(ioTimeout):
		t.Errorf("%s: is still open", name)
	}
}

// TestWebSocketsEndWithTheirSession opens three for alice in two sessions, and one for bob.
func TestWebSocketsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startSocketEcho(t)})
	signIn := func(user string) string {
		b := s.browser()
		b.signIn(s.base+"/", user) // the upstream answers 426 to a page; the session is what counts
		return b.cookies(s.base)
	}
	first, second, bob := signIn("alice"), signIn("alice"), signIn("bob")
	one, two, other, bobs := s.lastingSocket(t, first), s.lastingSocket(t, first), s.lastingSocket(t, second), s.lastingSocket(t, bob)

	c := newClient(t, s.addr, true) // another connection, and another protocol
	if resp, _ := fetch(t, c, s.base+"/oauth2/sign_out", first, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	wantClosed(t, "alice's first", one)
	wantClosed(t, "alice's second", two)
	event := s.event(func(e map[string]any) bool { return e["upgraded"] == true })
	if guards, _ := event["guards"].(map[string]any); guards["upstream"] != "ended" {
		t.Errorf("event: got %v, want its end told", event)
	}

	third := signIn("alice")
	last := s.lastingSocket(t, third)
	req, err := http.NewRequest(http.MethodPost, s.base+"/oauth2/sign_out", strings.NewReader("everywhere=1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Cookie": third,
		"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	} {
		req.Header.Set(name, value)
	}
	if resp, body := send(t, c, req); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out everywhere: got %s, want 303\n%s", resp.Status, body)
	}
	wantClosed(t, "alice's of another session", other)
	wantClosed(t, "alice's of this session", last)
	s.testSignedOut(t, c, second)
	s.event(func(e map[string]any) bool {
		guards, _ := e["guards"].(map[string]any)
		return guards["login"] == "signed out everywhere"
	})
	select {
	case err := <-bobs:
		t.Errorf("bob's was closed: %v", err)
	default:
	}
	if resp, body := fetch(t, c, s.base+"/oauth2/sign_out", bob, navigating()...); resp.StatusCode != http.StatusFound {
		t.Errorf("bob's sign-out: got %s, want 302\n%s", resp.Status, body)
	}
	wantClosed(t, "bob's", bobs)
}

func TestStreamsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: first\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(up.Close)
	s := startSite(t, siteSpec{upstream: up.URL})
	s.clients(t, func(t *testing.T, c *http.Client) {
		cookies := s.signIn("alice", "/").cookies(s.base)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookies)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, len("data: first\n\n"))); err != nil {
			t.Fatal(err)
		}
		if resp, _ := fetch(t, newClient(t, s.addr, false), s.base+"/oauth2/sign_out", cookies, navigating()...); resp.StatusCode != http.StatusFound {
			t.Fatalf("sign-out: got %s, want 302", resp.Status)
		}
		if rest, err := io.ReadAll(resp.Body); err == nil || len(rest) > 0 {
			t.Errorf("the stream: got %q, %v; want it broken off", rest, err)
		}
		s.event(func(e map[string]any) bool {
			guards, _ := e["guards"].(map[string]any)
			return e["id"] == resp.Header.Get("X-Request-Id") && guards["upstream"] == "ended"
		})
	})
}

// TestAFrameOfTheProvider asks for the page of front-channel logout: the provider alone may frame it.
func TestAFrameOfTheProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t, 600)
	s := startOIDCSite(t, p, "RS256")
	s.clients(t, func(t *testing.T, c *http.Client) {
		query := url.Values{"iss": {p.url}, "sid": {"unknown"}}
		resp, body := fetch(t, c, s.base+"/oauth2/frontchannel_logout?"+query.Encode(), "", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate")
		csp := resp.Header.Get("Content-Security-Policy")
		if resp.StatusCode != http.StatusOK || len(resp.Header["Content-Security-Policy"]) != 1 ||
			!strings.HasSuffix(csp, "frame-ancestors "+p.url) || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %s %v, want 200 that %s may frame\n%s", resp.Status, resp.Header, p.url, body)
		}
	})
}
