package authn

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/identity"
)

func TestWhatASignInLacks(t *testing.T) {
	t.Parallel()
	now := newClock().now()
	ago := func(d time.Duration) *identity.Identity {
		return &identity.Identity{ACR: "loa:2", AuthTime: now.Add(-d), AuthTimeStated: true}
	}
	unstated := ago(0)
	unstated.AuthTimeStated = false
	for name, tt := range map[string]struct {
		want StepUp
		id   *identity.Identity
		out  string
	}{
		"nothing asked":                        {StepUp{}, unstated, ""},
		"a prompt asks no session":             {StepUp{Prompt: "login"}, unstated, ""},
		"acr is named":                         {StepUp{ACR: []string{"loa:3", "loa:2"}}, ago(time.Hour), ""},
		"acr is another":                       {StepUp{ACR: []string{"loa:3"}}, ago(0), "acr"},
		"acr is not said":                      {StepUp{ACR: []string{"loa:3"}}, &identity.Identity{}, "acr"},
		"recent":                               {StepUp{MaxAge: time.Hour}, ago(time.Hour), ""},
		"recent by a clock that is 29 s ahead": {StepUp{MaxAge: time.Hour}, ago(time.Hour + skew - time.Second), ""},
		"too long ago":                         {StepUp{MaxAge: time.Hour}, ago(time.Hour + skew + time.Second), "max_age"},
		"a time that nobody vouches for":       {StepUp{MaxAge: time.Hour}, unstated, "auth_time"},
		"both":                                 {StepUp{MaxAge: time.Hour, ACR: []string{"loa:2"}}, ago(0), ""},
	} {
		if got := tt.want.lacks(tt.id, now); got != tt.out {
			t.Errorf("%s: lacks %q, want %q", name, got, tt.out)
		}
	}
}

// stepped is a stack with a route that asks for a recent and a strong sign-in.
func stepped(t *testing.T, options ...stackOption) *stack {
	t.Helper()
	s := newStack(t, append([]stackOption{withConfig(func(c *Config) { c.Tokens.Audience = []string{"https://api.example.com"} })}, options...)...)
	want := StepUp{MaxAge: 10 * time.Minute}
	if !s.pool {
		want.ACR = []string{"loa:3", "loa:2"}
	}
	mux := http.NewServeMux()
	mux.Handle("/", s.handler())
	mux.Handle("/pay/", s.gate(Rule{StepUp: want}).Wrap(http.HandlerFunc(app)))
	mux.Handle("/token/", s.gate(Rule{Mode: ModeToken, StepUp: want}).Wrap(http.HandlerFunc(app)))
	s.gw.Config.Handler = mux
	return s
}

// proves makes the provider say this of those who sign in from now on; nil leaves a claim out.
func (s *stack) proves(acr, authTime any) {
	s.set(func() {
		s.idClaims = func(c object2) {
			c["acr"], c["auth_time"] = acr, authTime
			for _, name := range []string{"acr", "auth_time"} {
				if c[name] == nil {
					delete(c, name)
				}
			}
		}
	})
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	s := stepped(t, withOIDC)
	s.proves("loa:1", s.clock.now().Unix())
	b := s.login("alice")
	old := b.own()
	first := b.visit("/pay/x?y=1")
	q := mustURL(t, first.location).Query()
	if first.status != 302 || q.Get("acr_values") != "loa:3 loa:2" || q.Get("max_age") != "600" || q.Has("prompt") {
		t.Fatalf("too weak: got %d to %q", first.status, first.location)
	}
	if a := b.visit("/start"); a.body != "alice" {
		t.Errorf("meanwhile on other routes: got %d %q", a.status, a.body)
	}
	s.proves("loa:2", s.clock.now().Unix())
	if a := b.follow(first.location); a.status != 200 || a.body != "alice" {
		t.Fatalf("after the step-up: got %d %q", a.status, a.body)
	}
	if b.own()[0].Value == old[0].Value {
		t.Error("the session did not change")
	}
	thief := s.browser()
	thief.Jar.SetCookies(mustURL(t, s.gw.URL), old)
	if a := thief.visit("/start"); a.status != 302 {
		t.Errorf("the session from before: got %d, want it to be over", a.status)
	}
	s.clock.advance(11 * time.Minute)
	again := b.visit("/pay/x")
	if again.status != 302 || mustURL(t, again.location).Query().Get("max_age") != "600" {
		t.Errorf("too long ago: got %d to %q", again.status, again.location)
	}
	s.proves("loa:2", s.clock.now().Unix())
	if a := b.follow(again.location); a.body != "alice" {
		t.Errorf("after the second: got %d %q", a.status, a.body)
	}
}

func TestAStepUpThatTheProviderDoesNotConfirm(t *testing.T) {
	t.Parallel()
	now := newClock().now().Unix()
	for name, claims := range map[string][2]any{
		"another acr":           {"loa:1", now},
		"no acr":                {nil, now},
		"an acr that is a list": {[]string{"loa:2"}, now},
		"too long ago":          {"loa:2", now - 631},
		"no auth_time":          {"loa:2", nil},
		"auth_time as text":     {"loa:2", "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stepped(t, withOIDC)
			s.proves("loa:1", now)
			b := s.login("alice")
			begun := b.visit("/pay/x")
			s.proves(claims[0], claims[1])
			a := b.visit(b.visit(begun.location).location)
			if a.status != http.StatusForbidden || a.location != "" || s.lastError(t).Reason != ReasonStepUp {
				t.Fatalf("got %d to %q: %s", a.status, a.location, a.body)
			}
			retry := links(a.body)["Try again"]
			if !strings.Contains(retry, "acr_values=loa%3A3%20loa%3A2") || !strings.Contains(retry, "max_age=600") {
				t.Errorf("try again: got %q", retry)
			}
			if a := b.visit("/start"); a.body != "alice" {
				t.Errorf("the session from before: got %d %q, want it to go on", a.status, a.body)
			}
			s.proves("loa:3", now)
			if a := b.follow(retry); a.body != "alice" {
				t.Errorf("another try: got %d %q", a.status, a.body)
			}
		})
	}
}

// TestAFirstLoginHasToLiveUpToItToo begins on the route that asks, without a session.
func TestAFirstLoginHasToLiveUpToItToo(t *testing.T) {
	t.Parallel()
	s := stepped(t, withOIDC)
	s.proves("loa:1", s.clock.now().Unix())
	b := s.browser()
	if a := b.follow("/pay/x"); a.status != http.StatusForbidden {
		t.Errorf("got %d %q, want 403", a.status, a.body)
	}
	if a := b.visit("/start"); a.status != 302 {
		t.Errorf("signed in all the same: got %d", a.status)
	}
}

func TestScriptsLearnOfAStepUp(t *testing.T) {
	t.Parallel()
	s := stepped(t, withOIDC)
	s.proves("loa:1", s.clock.now().Unix())
	b := s.login("alice")
	a := b.visit("/pay/x", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin", "Referer", s.gw.URL+"/start")
	var answer struct {
		Error    string `json:"error"`
		LoginURL string `json:"login_url"`
	}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil || a.status != http.StatusUnauthorized ||
		answer.Error != "insufficient_user_authentication" {
		t.Fatalf("got %d %s (%v)", a.status, a.body, err)
	}
	begun := b.visit(answer.LoginURL)
	if q := mustURL(t, begun.location).Query(); q.Get("acr_values") != "loa:3 loa:2" || q.Get("max_age") != "600" {
		t.Errorf("login_url %s leads to %q", answer.LoginURL, begun.location)
	}
	if a := b.visit("/start"); a.body != "alice" {
		t.Errorf("meanwhile: got %d %q, want the session to go on", a.status, a.body)
	}
	s.proves("loa:2", s.clock.now().Unix())
	b.follow(begun.location)
	if a := b.visit("/pay/x", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"); a.body != "alice" {
		t.Errorf("afterwards: got %d %q", a.status, a.body)
	}
}

// TestARefreshIsNoStepUp has a provider that says of every refresh that it is a sign-in.
func TestARefreshIsNoStepUp(t *testing.T) {
	t.Parallel()
	s := stepped(t, withOIDC)
	s.proves("loa:2", s.clock.now().Unix())
	b := s.browser()
	if a := b.follow("/pay/x"); a.body != "alice" {
		t.Fatalf("login: got %d %q", a.status, a.body)
	}
	s.clock.advance(2 * time.Hour)
	s.proves("loa:3", s.clock.now().Unix())
	if a := b.visit("/start"); a.body != "alice" || len(s.refreshed) != 1 || s.refreshed[0].Err != nil {
		t.Fatalf("refresh: got %d %q, %v", a.status, a.body, s.refreshed)
	}
	if a := b.visit("/pay/x"); a.status != 302 {
		t.Errorf("got %d %q, want the person to be asked again", a.status, a.body)
	}
}

func TestCognitoIsAskedByPrompt(t *testing.T) {
	t.Parallel()
	s := stepped(t)
	b := s.login("alice")
	s.clock.advance(11 * time.Minute)
	a := b.visit("/pay/x")
	if q := mustURL(t, a.location).Query(); q.Get("prompt") != "login" || q.Has("max_age") {
		t.Fatalf("got %d to %q", a.status, a.location)
	}
	if a := b.follow(a.location); a.body != "alice" {
		t.Errorf("afterwards: got %d %q", a.status, a.body)
	}
}

func TestTokensForAStepUp(t *testing.T) {
	t.Parallel()
	s := stepped(t, withOIDC)
	now := s.clock.now().Unix()
	for name, tt := range map[string]struct {
		acr, at any
		want    int
	}{
		"good":         {"loa:3", now - 600, 200},
		"too weak":     {"loa:1", now, 401},
		"no acr":       {nil, now, 401},
		"too long ago": {"loa:3", now - 631, 401},
		"no auth_time": {"loa:3", nil, 401},
	} {
		token := s.access("alice", func(c object2) {
			if tt.acr != nil {
				c["acr"] = tt.acr
			}
			if tt.at != nil {
				c["auth_time"] = tt.at
			}
		})
		a := s.browser().visit("/token/x", "Authorization", "Bearer "+token)
		if a.status != tt.want {
			t.Errorf("%s: got %d, want %d", name, a.status, tt.want)
		}
		const challenge = `Bearer error="insufficient_user_authentication", ` +
			`error_description="the access token was issued for a sign-in that is too old or too weak", acr_values="loa:3 loa:2", max_age="600"`
		if got := a.header.Get("WWW-Authenticate"); tt.want == 401 && got != challenge {
			t.Errorf("%s: WWW-Authenticate %q, want %q", name, got, challenge)
		}
	}
}

// Not parallel: it counts allocations.
func TestStepUpsAndSeveralProvidersAllocateNothing(t *testing.T) {
	s, _ := newPair(t)
	b := s.browser()
	b.follow("/staff/x")
	cookies := b.own()
	opts := GateOptions{Cookies: func(*http.Request) []*http.Cookie { return cookies }}
	r := httptest.NewRequest("GET", s.gw.URL+"/app", nil)
	for name, rule := range map[string]Rule{
		"by host": {StepUp: StepUp{MaxAge: time.Hour}},
		"by name": {Providers: []string{"staff"}, StepUp: StepUp{MaxAge: time.Hour}},
	} {
		g := NewGate(s.providers(), s.sessions, rule, opts)
		if allocs := testing.AllocsPerRun(1000, func() {
			if d, err := g.Check(r); err != nil || d.Identity == nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("%s: Check allocates %v times, want 0", name, allocs)
		}
	}
}
