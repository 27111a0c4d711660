package challenge

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

const testSecret = "0123456789abcdef0123456789abcdef"

// newTest returns a challenger whose clock can be set.
func newTest(t testing.TB, cfg Config, secret string) (*Challenger, *time.Time) {
	t.Helper()
	now := noon
	c, err := New(cfg, []byte(secret), Options{
		Deny: func(w http.ResponseWriter, _ *http.Request, err error) {
			var with interface{ HTTPStatus() int }
			if !errors.As(err, &with) {
				t.Errorf("%v has no status", err)
			}
			http.Error(w, err.Error(), with.HTTPStatus())
		},
		ClientIP: func(r *http.Request) netip.Addr { return netip.MustParseAddrPort(r.RemoteAddr).Addr() },
		Cookies:  (*http.Request).Cookies, RequestID: func(*http.Request) string { return "1d" },
		Navigates: func(r *http.Request) bool { return r.Header.Get("Accept") == "text/html" },
		Now:       func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, &now
}

// A person is a client with a browser.
type person struct{ host, addr, agent, cookie string }

var alice = person{host: "app.test", addr: "192.0.2.1", agent: "Mozilla/5.0"}

func (p person) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "https://"+p.host+path, strings.NewReader(body))
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(p.addr), 4711).String()
	r.Header.Set("User-Agent", p.agent)
	if p.cookie != "" {
		r.Header.Set("Cookie", p.cookie)
	}
	return r
}

// work does what the page's script does.
func work(seed string, difficulty int) []uint64 {
	sum := sha256.Sum256([]byte(seed))
	numbers := make([]uint64, puzzles)
	for i := range numbers {
		for {
			piece := sha256.Sum256(fmt.Appendf(nil, "%x.%d.%d", sum[:16], i, numbers[i]))
			if bits.LeadingZeros64(binary.BigEndian.Uint64(piece[:])) >= difficulty-puzzleBits {
				break
			}
			numbers[i]++
		}
	}
	return numbers
}

var seedOnPage = regexp.MustCompile(`data-seed="([^"]+)" data-bits="(\d+)"`)

// seed opens a page and returns the seed on it.
func (p person) seed(t testing.TB, c *Challenger) (seed string, difficulty int) {
	t.Helper()
	w, r := httptest.NewRecorder(), p.request("GET", "/", "")
	r.Header.Set("Accept", "text/html")
	c.Challenge(w, r, nil)
	found := seedOnPage.FindStringSubmatch(w.Body.String())
	if w.Code != 202 || w.Header().Get("X-Amzn-Waf-Action") != "challenge" || found == nil {
		t.Fatalf("got %d %v\n%s", w.Code, w.Header(), w.Body)
	}
	bits, err := strconv.Atoi(found[2])
	if err != nil {
		t.Fatal(err)
	}
	return found[1], bits + puzzleBits
}

func solution(seed string, numbers []uint64) string {
	text, _ := json.Marshal(map[string]any{"seed": seed, "numbers": numbers})
	return string(text)
}

// send sends work and returns the status and the token's cookie.
func (p person) send(c *Challenger, body string) (status int, cookie string) {
	w, r := httptest.NewRecorder(), p.request("POST", Path, body)
	r.Header.Set("Content-Type", "application/json")
	c.ServeHTTP(w, r)
	cookie, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return w.Code, cookie
}

func (p person) with(cookie string) person { p.cookie = cookie; return p }

func TestWorkGivesAToken(t *testing.T) {
	t.Parallel()
	c, now := newTest(t, Config{Difficulty: 10}, testSecret)
	if got := c.Check(alice.request("GET", "/", "")); got != Absent {
		t.Errorf("without a token: got %s", got)
	}
	seed, difficulty := alice.seed(t, c)
	status, cookie := alice.send(c, solution(seed, work(seed, difficulty)))
	if status != http.StatusNoContent || cookie == "" {
		t.Fatalf("work: got %d %q", status, cookie)
	}
	check := func(p person, want string) {
		t.Helper()
		if got := c.Check(p.with(cookie).request("GET", "/", "")); got != want {
			t.Errorf("%+v: got %s, want %s", p, got, want)
		}
	}
	check(alice, Accepted)
	check(person{"APP.test", alice.addr, alice.agent, ""}, Accepted)
	check(person{alice.host, "::ffff:192.0.2.1", alice.agent, ""}, Accepted)
	check(person{"other.test", alice.addr, alice.agent, ""}, DomainMismatch)
	check(person{alice.host, "192.0.2.2", alice.agent, ""}, Invalid)
	check(person{alice.host, alice.addr, "curl/8", ""}, Invalid)
	other, _ := newTest(t, Config{}, strings.ToUpper(testSecret))
	if got := other.Check(alice.with(cookie).request("GET", "/", "")); got != Invalid {
		t.Errorf("with another secret: got %s", got)
	}
	fleet, _ := newTest(t, Config{Difficulty: 20}, testSecret)
	if got := fleet.Check(alice.with(cookie).request("GET", "/", "")); got != Accepted {
		t.Errorf("at another instance: got %s", got)
	}
	if got := c.Check(alice.with(CookieName+"=x; "+cookie).request("GET", "/", "")); got != Accepted {
		t.Errorf("behind a token that is none: got %s", got)
	}
	*now = noon.Add(299 * time.Second)
	check(alice, Accepted)
	*now = noon.Add(300 * time.Second)
	check(alice, Expired)
}

func TestIPv6AddressesCountByNetwork(t *testing.T) {
	t.Parallel()
	c, _ := newTest(t, Config{Difficulty: 8}, testSecret)
	p := person{"app.test", "2001:db8:0:1::1", "x", ""}
	seed, difficulty := p.seed(t, c)
	_, cookie := p.send(c, solution(seed, work(seed, difficulty)))
	for addr, want := range map[string]string{"2001:db8:0:1:ffff::9": Accepted, "2001:db8:0:2::1": Invalid} {
		if got := c.Check(person{p.host, addr, p.agent, cookie}.request("GET", "/", "")); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

// What an attacker sends as work gives no token.
func TestWorkThatIsNone(t *testing.T) {
	t.Parallel()
	c, now := newTest(t, Config{Difficulty: 12}, testSecret)
	seed, difficulty := alice.seed(t, c)
	numbers := work(seed, difficulty)
	wrong := append([]uint64{numbers[0] + 1}, numbers[1:]...)
	for solved(seed, difficulty, wrong) {
		wrong[0]++
	}
	_, token := alice.send(c, solution(seed, numbers))
	easy := forge(t, seed, func(b []byte) { b[1] = 0 })
	for name, tt := range map[string]struct {
		who    person
		body   string
		status int
	}{
		"not solved":         {alice, solution(seed, wrong), 403},
		"no numbers":         {alice, solution(seed, nil), 403},
		"too few":            {alice, solution(seed, numbers[1:]), 403},
		"too many":           {alice, solution(seed, append(numbers[:16:16], 0)), 403},
		"a seed made easy":   {alice, solution(easy, work(easy, 0)), 403},
		"a token for a seed": {alice, solution(strings.TrimPrefix(token, CookieName+"="), numbers), 403},
		"another address":    {person{alice.host, "192.0.2.9", alice.agent, ""}, solution(seed, numbers), 403},
		"another host":       {person{"other.test", alice.addr, alice.agent, ""}, solution(seed, numbers), 403},
		"another browser":    {person{alice.host, alice.addr, "x", ""}, solution(seed, numbers), 403},
		"too long":           {alice, solution(seed, numbers) + strings.Repeat(" ", 8<<10), 400},
		"a long seed":        {alice, solution(strings.Repeat("a", 3000), numbers), 403},
		"negative numbers":   {alice, `{"seed":"` + seed + `","numbers":[-1]}`, 400},
		"not JSON":           {alice, "seed=" + seed, 400},
		"nothing":            {alice, "", 400},
	} {
		if status, cookie := tt.who.send(c, tt.body); status != tt.status || cookie != "" {
			t.Errorf("%s: got %d %q, want %d and no token", name, status, cookie, tt.status)
		}
	}
	w, r := httptest.NewRecorder(), alice.request("POST", Path, solution(seed, numbers))
	r.Header.Set("Content-Type", "text/plain") // what a page of another site can send
	if c.ServeHTTP(w, r); w.Code != http.StatusUnsupportedMediaType || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a form of another site: got %d %v", w.Code, w.Header())
	}
	if got := c.Check(alice.with(CookieName+"="+seed).request("GET", "/", "")); got != Invalid {
		t.Errorf("a seed for a token: got %s", got)
	}
	*now = noon.Add(seedLife)
	if status, cookie := alice.send(c, solution(seed, numbers)); status != 403 || cookie != "" {
		t.Errorf("a seed that is too old: got %d %q", status, cookie)
	}
}

// forge changes a sealed text.
func forge(t testing.TB, text string, change func([]byte)) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Each bit of a token counts.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	c, _ := newTest(t, Config{}, testSecret)
	who := client{alice.host, netip.MustParseAddr(alice.addr), alice.agent}
	token := c.sealer.seal(kindToken, 18, noon.Add(time.Minute), who)
	if got, _ := c.sealer.open(kindToken, token, who, noon); got != Accepted {
		t.Fatalf("got %s", got)
	}
	for i := range sealedSize * 8 {
		forged := forge(t, token, func(b []byte) { b[i/8] ^= 1 << (i % 8) })
		if got, _ := c.sealer.open(kindToken, forged, who, noon); got != Invalid {
			t.Errorf("bit %d: got %s", i, got)
		}
	}
	for _, text := range []string{"", "x", token[1:], token + "A", token + "=", strings.Repeat("A", len(token)), strings.Repeat("A", 1<<20), token[:len(token)-1] + "!"} {
		if got, _ := c.sealer.open(kindToken, text, who, noon); got != Invalid {
			t.Errorf("%.80q: got %s", text, got)
		}
	}
}

func TestChallengesByKindOfRequest(t *testing.T) {
	t.Parallel()
	c, _ := newTest(t, Config{}, testSecret)
	limited := &Refused{"limited", http.StatusTooManyRequests}
	for name, tt := range map[string]struct {
		method, header, value string
		instead               error
		status                int
		kind                  string
		says                  string
	}{
		"a page":           {"GET", "Accept", "text/html", nil, 202, "text/html; charset=utf-8", `data-form="no"`},
		"a form":           {"POST", "Accept", "text/html", nil, 202, "text/html; charset=utf-8", `data-form="yes"`},
		"a script":         {"GET", "Accept", "*/*", nil, 202, "application/json", `"action":"challenge"`},
		"a head":           {"HEAD", "Accept", "text/html", nil, 202, "text/html; charset=utf-8", ""},
		"a WebSocket":      {"GET", "Upgrade", "websocket", nil, 403, "text/plain; charset=utf-8", "cannot be asked"},
		"gRPC":             {"POST", "Content-Type", "application/grpc+proto", nil, 403, "text/plain; charset=utf-8", "cannot be asked"},
		"gRPC over limits": {"POST", "Content-Type", "application/grpc", limited, 429, "text/plain; charset=utf-8", "limited"},
	} {
		w, r := httptest.NewRecorder(), alice.request(tt.method, "/x", "")
		r.Header.Set(tt.header, tt.value)
		c.Challenge(w, r, tt.instead)
		body := w.Body.String()
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.kind || !strings.Contains(body, tt.says) || tt.method == "HEAD" && body != "" {
			t.Errorf("%s: got %d %v %.200s, want %d %s", name, w.Code, w.Header(), body, tt.status, tt.says)
		}
		if asks := w.Header().Get("X-Amzn-Waf-Action") == "challenge"; asks != (tt.status == 202) || asks && w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %v", name, w.Header())
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg    Config
		fields string
	}{
		{Config{}, ""},
		{Config{8, "1m"}, ""},
		{Config{26, "24h"}, ""},
		{Config{7, "59s"}, "difficulty immunity"},
		{Config{27, "25h"}, "difficulty immunity"},
		{Config{-1, "x"}, "difficulty immunity"},
	} {
		var got []string
		tt.cfg.Validate(func(field, _ string) { got = append(got, field) })
		if strings.Join(got, " ") != tt.fields {
			t.Errorf("%+v: got %v, want %s", tt.cfg, got, tt.fields)
		}
		if _, err := New(tt.cfg, []byte(testSecret), Options{}); (err != nil) != (tt.fields != "") {
			t.Errorf("%+v: New says %v", tt.cfg, err)
		}
	}
	if _, err := New(Config{}, []byte("short"), Options{}); err == nil {
		t.Error("a short secret is taken")
	}
}

// FuzzOpen: nothing but what was sealed opens, and nothing panics.
func FuzzOpen(f *testing.F) {
	c, _ := newTest(f, Config{}, testSecret)
	who := client{alice.host, netip.MustParseAddr(alice.addr), alice.agent}
	f.Add(c.sealer.seal(kindSeed, 18, noon.Add(time.Minute), who), "app.test", "x")
	f.Add(strings.Repeat("A", 67), "", "")
	f.Fuzz(func(t *testing.T, text, host, agent string) {
		if state, _ := c.sealer.open(kindToken, text, client{host, who.addr, agent}, noon); state != Invalid {
			t.Errorf("%q opens for %q: %s", text, host, state)
		}
	})
}

// FuzzWork: whatever is sent as work, a token is given for what was sealed alone.
func FuzzWork(f *testing.F) {
	c, _ := newTest(f, Config{Difficulty: 8}, testSecret)
	f.Add(`{"seed":"x","numbers":[1,2]}`)
	f.Add(`{"seed":"` + strings.Repeat("A", 67) + `","numbers":[18446744073709551615]}`)
	f.Fuzz(func(t *testing.T, body string) {
		if status, cookie := alice.send(c, body); status != 400 && status != 403 || cookie != "" {
			t.Errorf("%q: got %d %q", body, status, cookie)
		}
	})
}

// Checking a token and checking work cost a server some microseconds.
func BenchmarkCheck(b *testing.B) {
	c, _ := newTest(b, Config{}, testSecret)
	who := client{alice.host, netip.MustParseAddr(alice.addr), alice.agent}
	r := alice.with(CookieName+"="+c.sealer.seal(kindToken, 18, noon.Add(time.Minute), who)).request("GET", "/", "")
	b.ReportAllocs()
	for b.Loop() {
		if c.Check(r) != Accepted {
			b.Fatal("not accepted")
		}
	}
}

func BenchmarkWork(b *testing.B) {
	numbers := make([]uint64, puzzles)
	b.ReportAllocs()
	for b.Loop() {
		solved("seed", 0, numbers)
	}
}
