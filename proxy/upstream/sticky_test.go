package upstream

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

const stickySecret = "0123456789abcdef0123456789abcdef"

// A site is an application on several endpoints, each of which answers with its number.
type site struct {
	p      *Pool
	sticky *Sticky
	h      http.Handler
}

func newSite(t *testing.T, cfg StickyConfig, n int, answer func(w http.ResponseWriter, r *http.Request)) *site {
	t.Helper()
	s := &site{}
	var urls []string
	for i := range n {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if answer != nil {
				answer(w, r)
			}
			fmt.Fprint(w, i)
		}))
		t.Cleanup(up.Close)
		urls = append(urls, up.URL)
	}
	var err error
	if s.p, err = NewPool("app", endpoints(urls...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.p.Close() })
	if s.sticky, err = NewSticky("app", cfg, []byte(stickySecret)); err != nil {
		t.Fatal(err)
	}
	s.h = s.p.Handler(Options{Deny: deny, Sticky: s.sticky, Cookies: (*http.Request).Cookies})
	return s
}

// ask sends a request with these cookies and returns who answered, and the cookie that came back; nil if none did.
func (s *site) ask(t *testing.T, cookies ...*http.Cookie) (who string, got *http.Cookie) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "https://app.test/", nil)
	for _, c := range cookies {
		if c != nil {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.Name == s.sticky.cookie {
			if got != nil {
				t.Errorf("two cookies: %v and %v", got, c)
			}
			got = c
		}
	}
	return w.Body.String(), got
}

func TestClientsStayWhereTheyWere(t *testing.T) {
	t.Parallel()
	s := newSite(t, StickyConfig{}, 3, nil)
	seen := map[string]bool{}
	for range 3 {
		home, cookie := s.ask(t)
		seen[home] = true
		if cookie == nil {
			t.Fatal("no cookie")
		}
		if cookie.Name != "gatehouse-sticky-app" || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 86400 || !cookie.Secure ||
			!cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("got %v", cookie)
		}
		values := map[string]bool{cookie.Value: true}
		for range 5 {
			var who string
			if who, cookie = s.ask(t, cookie); who != home {
				t.Errorf("was at %s, came to %s", home, who)
			}
			values[cookie.Value] = true
		}
		if len(values) != 6 {
			t.Errorf("six answers had %d different cookies: nobody is to see who shares an endpoint", len(values))
		}
	}
	if len(seen) != 3 {
		t.Errorf("three clients came to %d of 3 endpoints", len(seen))
	}
}

func TestAttributesOfStickyCookies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg    StickyConfig
		scheme string
		want   string
	}{
		{StickyConfig{}, "http", "gatehouse-sticky-app=V; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		{StickyConfig{Cookie: "AWSALB", Duration: "168h", SameSite: "strict"}, "https", "AWSALB=V; Path=/; Max-Age=604800; HttpOnly; SameSite=Strict; Secure"},
		{StickyConfig{Duration: "1s", SameSite: "none"}, "https", "gatehouse-sticky-app=V; Path=/; Max-Age=1; HttpOnly; SameSite=None; Secure"},
		{StickyConfig{SameSite: "none"}, "http", "gatehouse-sticky-app=V; Path=/; Max-Age=86400; HttpOnly"},
	} {
		s := newSite(t, tt.cfg, 1, nil)
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", tt.scheme+"://app.test/", nil))
		line := w.Header().Get("Set-Cookie")
		_, value, _ := strings.Cut(line, "=")
		value, _, _ = strings.Cut(value, ";")
		if got := strings.Replace(line, value, "V", 1); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		if _, ok := s.sticky.open(value); !ok {
			t.Errorf("%s does not open", value)
		}
	}
}

func TestForgedStickyCookiesBindNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, StickyConfig{}, 4, nil)
	_, good := s.ask(t)
	raw, err := base64.RawURLEncoding.DecodeString(good.Value)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSticky("other", StickyConfig{}, []byte(stickySecret))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewSticky("app", StickyConfig{}, []byte("another secret of thirty-two bytes"))
	if err != nil {
		t.Fatal(err)
	}
	ep := s.p.plan.Load().all[0].endpoint
	forged := map[string]string{
		"empty": "", "short": good.Value[:len(good.Value)-1], "long": good.Value + "A", "no base64": strings.Repeat("!", len(good.Value)),
		"an address in clear": ep.name, "the hash in clear": strconv.FormatUint(ep.hash, 16),
		"the cookie of another upstream": other.seal(ep.hash), "sealed with another secret": stranger.seal(ep.hash),
		"padded": good.Value[:len(good.Value)-1] + "=",
	}
	for i := range raw {
		changed := append([]byte(nil), raw...)
		changed[i] ^= 1
		forged[fmt.Sprintf("bit in byte %d", i)] = base64.RawURLEncoding.EncodeToString(changed)
	}
	for name, value := range forged {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		if s.sticky.Holds(r, []*http.Cookie{{Name: good.Name, Value: value}}) {
			t.Errorf("%s: is taken for good", name)
		}
		if _, cookie := s.ask(t, &http.Cookie{Name: good.Name, Value: value}); cookie == nil {
			t.Errorf("%s: want a new cookie", name)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	if !s.sticky.Holds(r, []*http.Cookie{{Name: good.Name, Value: "x"}, good}) {
		t.Error("a good one beside a forged one: want it taken")
	}
}

func TestAStickyCookieExpires(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSite(t, StickyConfig{Duration: "10m"}, 1, nil)
	s.sticky.now = c.read
	_, cookie := s.ask(t)
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	holds := func() bool { return s.sticky.Holds(r, []*http.Cookie{cookie}) }
	c.pass(10*time.Minute - time.Second)
	if !holds() {
		t.Error("before its time is over: want it good, whatever the browser says")
	}
	_, cookie = s.ask(t, cookie)
	c.pass(10*time.Minute - time.Second)
	if !holds() {
		t.Error("each request begins the time again")
	}
	c.pass(time.Second)
	if holds() {
		t.Error("after it: want it void")
	}
}

func TestAnEndpointThatIsUnwellLosesItsClients(t *testing.T) {
	t.Parallel()
	s := newSite(t, StickyConfig{}, 2, nil)
	home, cookie := s.ask(t)
	at, err := strconv.Atoi(home)
	if err != nil {
		t.Fatal(err)
	}
	ep := s.p.plan.Load().all[at].endpoint
	ep.unwell.Store(true)
	s.p.replan()
	who, moved := s.ask(t, cookie)
	if who == home {
		t.Fatalf("came to %s, which is unwell", who)
	}
	ep.unwell.Store(false)
	s.p.replan()
	for range 3 {
		if again, _ := s.ask(t, moved); again != who {
			t.Errorf("bound again to %s, came to %s", who, again)
		}
	}
	if n := s.p.Stats().Rebound; n != 1 {
		t.Errorf("rebound: got %d, want 1", n)
	}
}

// Who is bound elsewhere is not sent to find out whether an endpoint is well again, unless nobody else comes.
func TestBoundClientsTryNoEndpointsOut(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{}, &now, 1, 1)
	all := p.plan.Load().all
	p.broke(all[0].endpoint, &Error{Reason: ReasonRefused})
	x := &exchange{bound: all[1].hash}
	for _, tt := range []struct {
		pass time.Duration
		want *endpoint
	}{{avoidFor, all[1].endpoint}, {maxEject - time.Second, all[1].endpoint}, {time.Second, all[0].endpoint}} {
		now = now.Add(tt.pass)
		r := p.rotation(now, nil, x)
		if ep, _ := r.next(); ep != tt.want {
			t.Errorf("after %s more: got %s, want %s", tt.pass, ep.name, tt.want.name)
		}
	}
}

func TestApplicationCookies(t *testing.T) {
	t.Parallel()
	said := ""
	s := newSite(t, StickyConfig{AppCookie: "SID"}, 2, func(w http.ResponseWriter, _ *http.Request) {
		if said != "" {
			w.Header().Add("Set-Cookie", "other=1")
			w.Header().Add("Set-Cookie", said)
		}
	})
	sid := &http.Cookie{Name: "SID", Value: "1"}
	if _, cookie := s.ask(t); cookie != nil {
		t.Errorf("the application has set none: got %v", cookie)
	}
	said = "SID=1; Path=/"
	home, cookie := s.ask(t)
	if cookie == nil {
		t.Fatal("the application has set one: want one too")
	}
	said = ""
	for range 3 {
		who, again := s.ask(t, sid, cookie)
		if who != home || again == nil {
			t.Errorf("with both: was at %s, came to %s (%v)", home, who, again)
		}
	}
	seen := map[string]bool{}
	for range 4 {
		who, again := s.ask(t, cookie)
		if seen[who] = true; again != nil {
			t.Errorf("without the application's: got %v", again)
		}
	}
	if len(seen) != 2 {
		t.Error("without the application's cookie: want nobody bound")
	}
	for _, said = range []string{"SID=; Max-Age=0", "SID=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"} {
		if _, again := s.ask(t, sid, cookie); again == nil || again.MaxAge >= 0 || again.Value != "" {
			t.Errorf("%s: got %v, want ours deleted too", said, again)
		}
	}
}

// A cache between must not bind everybody to one endpoint.
func TestAnswersForEverybodyHaveNoStickyCookie(t *testing.T) {
	t.Parallel()
	said := ""
	s := newSite(t, StickyConfig{}, 1, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", said) })
	for value, want := range map[string]bool{
		"no-store": true, "private, max-age=60": true, "max-age=60": true, "public, max-age=60": false, "max-age=0, S-Maxage=5": false,
	} {
		said = value
		if _, cookie := s.ask(t); (cookie != nil) != want {
			t.Errorf("%s: got %v", value, cookie)
		}
	}
}

// The endpoint that a client is bound to on another pool is none of this one's, but for the failover's while it has the requests.
func TestStickyFailover(t *testing.T) {
	t.Parallel()
	s := newSite(t, StickyConfig{}, 2, nil)
	spare := newSite(t, StickyConfig{}, 3, nil)
	main := newSite(t, StickyConfig{}, 2, nil)
	for _, m := range main.p.plan.Load().all {
		m.unwell.Store(true)
	}
	main.p.replan()
	s.p, s.h = main.p, main.p.Handler(Options{Deny: deny, Sticky: s.sticky, Cookies: (*http.Request).Cookies, Failover: spare.p})
	home, cookie := s.ask(t)
	for range 4 {
		var who string
		if who, cookie = s.ask(t, cookie); who != home {
			t.Errorf("while it lasts: was at %s of the other upstream, came to %s", home, who)
		}
	}
}

func TestValidateSticky(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg   StickyConfig
		field string
	}{
		{StickyConfig{}, ""},
		{StickyConfig{Cookie: "AWSALB", Duration: "604800s", SameSite: "none", AppCookie: "JSESSIONID"}, ""},
		{StickyConfig{Cookie: "a b"}, "sticky.cookie"},
		{StickyConfig{Cookie: "__Host-x"}, "sticky.cookie"},
		{StickyConfig{AppCookie: "a;b"}, "sticky.app_cookie"},
		{StickyConfig{Cookie: "a", AppCookie: "a"}, "sticky.app_cookie"},
		{StickyConfig{Duration: "604801s"}, "sticky.duration"},
		{StickyConfig{Duration: "0s"}, "sticky.duration"},
		{StickyConfig{SameSite: "Lax"}, "sticky.same_site"},
	} {
		var got []string
		Config{Endpoints: []string{"http://a"}, Sticky: &tt.cfg}.Validate(func(field, _ string) { got = append(got, field) })
		if strings.Join(got, " ") != tt.field {
			t.Errorf("%+v: got problems at %q, want %q", tt.cfg, got, tt.field)
		}
	}
	if _, err := NewSticky("x", StickyConfig{}, []byte("short")); err == nil {
		t.Error("a short secret: want an error")
	}
}

func FuzzStickyCookie(f *testing.F) {
	s, err := NewSticky("app", StickyConfig{}, []byte(stickySecret))
	if err != nil {
		f.Fatal(err)
	}
	good := s.seal(1)
	for _, seed := range []string{"", good[1:], strings.Repeat("A", len(good)), good[:len(good)-1] + "B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if _, ok := s.open(value); ok {
			t.Errorf("%q opens, although nobody has sealed it", value)
		}
	})
}
