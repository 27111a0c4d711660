package cache

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// head makes an answer of a status and lines such as "Cache-Control: max-age=60" that came at now.
func head(t *testing.T, now time.Time, status int, lines ...string) answer {
	t.Helper()
	h := http.Header{}
	for _, line := range lines {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("%q is no line of a header", line)
		}
		h.Add(key, value)
	}
	return answer{status: status, header: h, asked: now, got: now}
}

var epoch = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func date(d time.Duration) string { return epoch.Add(d).Format(http.TimeFormat) }

func TestWhatMayBeKeptAndForHowLong(t *testing.T) {
	t.Parallel()
	byDefault, hour := Config{}, Config{TTL: "1h"}
	for name, tt := range map[string]struct {
		cfg    Config
		status int
		lines  []string
		want   time.Duration
		why    string
	}{
		"nothing is said": {byDefault, 200, nil, 0, "stale"},
		"nothing is said, but there is a validator": {byDefault, 200, []string{`ETag: "a"`}, 0, ""},
		"nothing is said, and the route has a TTL":  {hour, 200, nil, time.Hour, ""},
		"max-age":                                      {hour, 200, []string{"Cache-Control: max-age=60"}, time.Minute, ""},
		"s-maxage before max-age":                      {byDefault, 200, []string{"Cache-Control: max-age=60, s-maxage=5"}, 5 * time.Second, ""},
		"max-age before Expires":                       {byDefault, 200, []string{"Cache-Control: max-age=60", "Expires: 0"}, time.Minute, ""},
		"Expires":                                      {byDefault, 200, []string{"Date: " + date(0), "Expires: " + date(time.Hour)}, time.Hour, ""},
		"Expires is about Date":                        {byDefault, 200, []string{"Date: " + date(-time.Hour), "Expires: " + date(time.Hour)}, 2 * time.Hour, ""},
		"Expires that cannot be read":                  {hour, 200, []string{"Expires: 0"}, 0, "stale"},
		"an age over the lifetime":                     {byDefault, 200, []string{"Cache-Control: max-age=60", "Age: 61"}, 0, "stale"},
		"CDN-Cache-Control before everything":          {byDefault, 200, []string{"CDN-Cache-Control: max-age=60", "Cache-Control: no-store"}, time.Minute, ""},
		"CDN-Cache-Control that forbids":               {byDefault, 200, []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=60"}, 0, "no-store"},
		"CDN-Cache-Control that is broken":             {byDefault, 200, []string{`CDN-Cache-Control: max-age="60"`, "Cache-Control: no-store"}, 0, "no-store"},
		"no-store":                                     {hour, 200, []string{"Cache-Control: no-store, max-age=60"}, 0, "no-store"},
		"private":                                      {hour, 200, []string{"Cache-Control: private, max-age=60"}, 0, "private"},
		"private for some fields":                      {hour, 200, []string{`Cache-Control: private="x-a", max-age=60`}, time.Minute, ""},
		"must-understand, which is":                    {byDefault, 200, []string{"Cache-Control: no-store, must-understand, max-age=60"}, time.Minute, ""},
		"must-understand, which is not":                {byDefault, 299, []string{"Cache-Control: must-understand, max-age=60"}, 0, "must-understand"},
		"no-cache with a validator":                    {hour, 200, []string{"Cache-Control: no-cache", `ETag: "a"`}, time.Hour, ""},
		"a cookie":                                     {hour, 200, []string{"Set-Cookie: a=b"}, 0, "set-cookie"},
		"a cookie that is stripped":                    {Config{TTL: "1h", SetCookie: SetCookieStrip}, 200, []string{"Set-Cookie: a=b"}, time.Hour, ""},
		"Vary: *":                                      {hour, 200, []string{"Vary: *"}, 0, "vary"},
		"a part":                                       {hour, 206, nil, 0, "status"},
		"not modified":                                 {hour, 304, nil, 0, "status"},
		"no range":                                     {hour, 416, []string{"Cache-Control: max-age=60"}, 0, "status"},
		"a status over 599":                            {hour, 999, []string{"Cache-Control: max-age=60"}, 0, "status"},
		"a status that nobody knows":                   {hour, 299, nil, 0, "status"},
		"a status that nobody knows, with a freshness": {hour, 299, []string{"Cache-Control: max-age=60"}, time.Minute, ""},
		"an error":                                     {hour, 503, nil, 0, "status"},
		"an error that says how long":                  {hour, 503, []string{"Cache-Control: max-age=60"}, time.Minute, ""},
		"an error on a route that says how long":       {Config{ErrorTTL: "10s"}, 503, nil, 10 * time.Second, ""},
		"no right":                                     {Config{ErrorTTL: "10s", TTL: "1h"}, 403, nil, 0, "status"},
		"a redirect":                                   {hour, 302, nil, time.Hour, ""},
		"a redirect without a TTL":                     {byDefault, 302, []string{`ETag: "a"`}, 0, "status"},
		"events":                                       {hour, 200, []string{"Content-Type: text/event-stream; charset=utf-8"}, 0, "stream"},
		"a call":                                       {hour, 200, []string{"Content-Type: application/grpc+proto"}, 0, "stream"},
		"trailers":                                     {hour, 200, []string{"Trailer: X-Sum"}, 0, "trailers"},
		"at least":                                     {Config{MinTTL: "1m"}, 200, []string{"Cache-Control: max-age=5"}, time.Minute, ""},
		"at least, but not what may not be kept":       {Config{MinTTL: "1m"}, 200, []string{"Cache-Control: no-store"}, 0, "no-store"},
		"at most":                                      {Config{MaxTTL: "1m"}, 200, []string{"Cache-Control: max-age=500"}, time.Minute, ""},
		"a tenth of the time since it was modified":     {Config{Heuristic: true}, 200, []string{"Date: " + date(0), "Last-Modified: " + date(-10*time.Hour)}, time.Hour, ""},
		"which is a day at most":                        {Config{Heuristic: true}, 200, []string{"Last-Modified: " + date(-10000*time.Hour)}, 24 * time.Hour, ""},
		"and nothing if that was never asked for":       {byDefault, 200, []string{"Last-Modified: " + date(-10*time.Hour)}, 0, ""},
		"and nothing for what cannot be kept otherwise": {Config{Heuristic: true}, 403, []string{"Last-Modified: " + date(-10*time.Hour)}, 0, "status"},
	} {
		got, why := tt.cfg.compile(1 << 20).store(head(t, epoch, tt.status, tt.lines...))
		if got.lifetime != tt.want || why != tt.why {
			t.Errorf("%s: got %v and %q, want %v and %q", name, got.lifetime, why, tt.want, tt.why)
		}
	}
}

// RFC 9111 section 3.5.
func TestAnswersToAuthorizationNeedPermission(t *testing.T) {
	t.Parallel()
	for control, want := range map[string]string{
		"max-age=60": "authorization", "public, max-age=60": "", "s-maxage=60": "", "must-revalidate, max-age=60": "",
		"proxy-revalidate, max-age=60": "authorization", "": "authorization",
	} {
		a := head(t, epoch, 200, "Cache-Control: "+control)
		a.authorized = true
		if _, why := (Config{TTL: "1h"}).compile(1 << 20).store(a); why != want {
			t.Errorf("%s: got %q, want %q", control, why, want)
		}
	}
}

// The table of TTLs in CloudFront's developer guide, "Managing how long content stays in the cache (expiration)", and the lists in
// "How CloudFront caches HTTP 4xx and 5xx status codes from your origin".
func TestCloudFrontsTTLs(t *testing.T) {
	t.Parallel()
	zero := Config{Rules: RulesCloudFront, MinTTL: "0s", TTL: "100s", MaxTTL: "1000s"}
	least := Config{Rules: RulesCloudFront, MinTTL: "50s", TTL: "100s", MaxTTL: "1000s"}
	low := Config{Rules: RulesCloudFront, MinTTL: "200s", TTL: "200s", MaxTTL: "1000s"}
	disabled := Config{Rules: RulesCloudFront, MinTTL: "0s", TTL: "0s", MaxTTL: "0s"}
	no := absent
	for _, tt := range []struct {
		name   string
		cfg    Config
		status int
		line   string
		want   int // seconds
	}{
		{"max-age", zero, 200, "Cache-Control: max-age=30", 30},
		{"max-age over the maximum", zero, 200, "Cache-Control: max-age=3000", 1000},
		{"max-age under the minimum", least, 200, "Cache-Control: max-age=30", 50},
		{"s-maxage", zero, 200, "Cache-Control: max-age=30, s-maxage=60", 60},
		{"nothing", zero, 200, "X: y", 100},
		{"nothing, over the default", low, 200, "X: y", 200},
		{"Expires", zero, 200, "Expires: " + date(30*time.Second), 30},
		{"Expires over the maximum", zero, 200, "Expires: " + date(time.Hour), 1000},
		{"Expires under the minimum", least, 200, "Expires: " + date(30*time.Second), 50},
		{"no-store", zero, 200, "Cache-Control: no-store", no},
		{"no-cache", zero, 200, "Cache-Control: no-cache", no},
		{"private", zero, 200, "Cache-Control: private", no},
		{"no-store, with a minimum", least, 200, "Cache-Control: no-store", 50},
		{"no-cache, with a minimum", least, 200, "Cache-Control: no-cache", 50},
		{"private, with a minimum", least, 200, "Cache-Control: private, max-age=300", 50},
		{"404", zero, 404, "X: y", 10},
		{"404 that says how long", zero, 404, "Cache-Control: max-age=30", 30},
		{"404 that says less", zero, 404, "Cache-Control: max-age=3", 10},
		{"404 over the maximum", zero, 404, "Cache-Control: max-age=3000", 1000},
		{"404 with no-store", zero, 404, "Cache-Control: no-store", no},
		{"500", zero, 500, "X: y", 10},
		{"503 with no-store, which does not count", zero, 503, "Cache-Control: no-store", 10},
		{"403", zero, 403, "X: y", no},
		{"403 that says how long", zero, 403, "Cache-Control: max-age=30", 30},
		{"416", zero, 416, "Cache-Control: max-age=30", no},
		{"401", zero, 401, "Cache-Control: max-age=30", no},
		{"CachingDisabled", disabled, 200, "Cache-Control: max-age=30", no},
		{"CachingDisabled, and an error", disabled, 404, "X: y", no},
	} {
		got, why := tt.cfg.compile(1 << 20).store(head(t, epoch, tt.status, tt.line))
		if (why == "") != (tt.want != no) || why == "" && got.lifetime != seconds(int64(tt.want)) {
			t.Errorf("%s: got %v and %q, want %d s", tt.name, got.lifetime, why, tt.want)
		}
	}
}

func TestWhatMayBeDoneWithWhatIsKept(t *testing.T) {
	t.Parallel()
	obey := Config{ObeyClients: true}
	for name, tt := range map[string]struct {
		cfg   Config
		line  string
		asks  string
		after time.Duration
		want  use
	}{
		"fresh":                          {Config{}, "max-age=60", "", 59 * time.Second, useFresh},
		"too old":                        {Config{}, "max-age=60", "", time.Minute, useRevalidate},
		"no-cache":                       {Config{}, "no-cache, max-age=60", "", 0, useRevalidate},
		"too old, in the window":         {Config{}, "max-age=60, stale-while-revalidate=10", "", 69 * time.Second, useStale},
		"too old, after the window":      {Config{}, "max-age=60, stale-while-revalidate=10", "", 70 * time.Second, useRevalidate},
		"in the route's window":          {Config{StaleWhileRevalidate: "10s"}, "max-age=60", "", 69 * time.Second, useStale},
		"must-revalidate has no window":  {Config{StaleWhileRevalidate: "10s"}, "max-age=60, must-revalidate", "", 61 * time.Second, useRevalidate},
		"s-maxage has none either":       {Config{StaleWhileRevalidate: "10s"}, "s-maxage=60", "", 61 * time.Second, useRevalidate},
		"a client asks for a new one":    {Config{}, "max-age=60", "no-cache, max-age=0", 1, useFresh},
		"and is obeyed":                  {obey, "max-age=60", "no-cache", 1, useRevalidate},
		"a client asks for a young one":  {obey, "max-age=60", "max-age=5", 6 * time.Second, useRevalidate},
		"for one that stays fresh":       {obey, "max-age=60", "min-fresh=30", 31 * time.Second, useRevalidate},
		"which it does":                  {obey, "max-age=60", "min-fresh=30", 29 * time.Second, useFresh},
		"for one that may be old":        {obey, "max-age=60", "max-stale", time.Hour, useFresh},
		"for one that may be a bit old":  {obey, "max-age=60", "max-stale=5", 66 * time.Second, useRevalidate},
		"but the upstream forbids that":  {obey, "max-age=60, must-revalidate", "max-stale", time.Hour, useRevalidate},
		"the clock has been set back":    {Config{}, "max-age=60", "", -time.Hour, useFresh},
		"no-cache is not for max-stale ": {obey, "no-cache", "max-stale", 0, useRevalidate},
	} {
		p := tt.cfg.compile(1 << 20)
		kept, why := p.store(head(t, epoch, 200, `ETag: "a"`, "Cache-Control: "+tt.line))
		if why != "" {
			t.Fatalf("%s: not kept: %s", name, why)
		}
		if got := p.use(kept, parseDirectives([]string{tt.asks}), epoch.Add(tt.after)); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

// RFC 9111 section 4.2.3.
func TestAgeBeginsWithWhatWasSpentOnTheWay(t *testing.T) {
	t.Parallel()
	a := head(t, epoch, 200, "Age: 10", "Date: "+date(-12*time.Second))
	if got := initialAge(a); got != 12*time.Second {
		t.Errorf("by Date got %v, want 12s", got)
	}
	a.asked = epoch.Add(-5 * time.Second)
	if got := initialAge(a); got != 15*time.Second {
		t.Errorf("by Age and the time it took got %v, want 15s", got)
	}
	a.header.Set("Date", date(time.Hour))
	a.header.Set("Age", strconv.Itoa(1<<40))
	if got := initialAge(a); got != seconds(maxDelta)+5*time.Second {
		t.Errorf("an age beyond all bounds: got %v", got)
	}
}

// RFC 9111 section 3.2.
func TestA304ChangesWhatIsKeptButNotTheBody(t *testing.T) {
	t.Parallel()
	kept := http.Header{"Content-Length": {"5"}, "Content-Type": {"text/plain"}, "X-A": {"old"}, "X-B": {"old"}}
	got := freshened(kept, http.Header{
		"Content-Length": {"9"}, "Content-Type": {"text/html"}, "Content-Encoding": {"gzip"}, "X-A": {"new"}, "Connection": {"x"},
	}, nil)
	want := map[string]string{"Content-Length": "5", "Content-Type": "text/plain", "X-A": "new", "X-B": "old"}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for key, value := range want {
		if got.Get(key) != value {
			t.Errorf("%s: got %q, want %q", key, got.Get(key), value)
		}
	}
	if kept.Get("X-A") != "old" {
		t.Error("what others are being sent has changed")
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"":                   {TTL: "1h", MinTTL: "0s", Key: KeyConfig{Query: "only", QueryNames: []string{"q"}, Headers: []string{"accept-language"}, Cookies: []string{"*"}}},
		"ttl":                {TTL: "soon"},
		"min_ttl":            {MinTTL: "2h", MaxTTL: "1h"},
		"stale_if_error":     {StaleIfError: "-1s"},
		"rules":              {Rules: "varnish"},
		"set_cookie":         {SetCookie: "keep"},
		"key.query":          {Key: KeyConfig{Query: "some"}},
		"key.query_names":    {Key: KeyConfig{Query: "only"}},
		"key.query_names[0]": {Key: KeyConfig{Query: "except", QueryNames: []string{""}}},
		"key.headers[0]":     {Key: KeyConfig{Headers: []string{"Range"}}},
		"key.cookies[0]":     {Key: KeyConfig{Cookies: []string{"a b"}}},
		"key.cookies":        {Key: KeyConfig{Cookies: []string{"*", "a"}}},
	} {
		var got []string
		cfg.Validate(func(field, _ string) { got = append(got, field) })
		if strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for want, cfg := range map[string]StoreConfig{
		"": {}, "memory": {Memory: "64MB"}, "max_object": {MaxObject: "60MiB"},
	} {
		var got []string
		cfg.Validate(func(field, _ string) { got = append(got, field) })
		if strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStrippedCookiesAreInNoAnswer(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{
		{SetCookie: SetCookieStrip, TTL: "1h"},
		{SetCookie: SetCookieStrip, MinTTL: "1m", Rules: RulesCloudFront},
	} {
		for _, says := range []string{"", "private", "no-store", `no-cache="x-other"`} {
			a := answer{status: 200, header: http.Header{"Set-Cookie": {"session=alice"}}, asked: epoch, got: epoch}
			if says != "" {
				a.header["Cache-Control"] = []string{says}
			}
			p := cfg.compile(1 << 20)
			terms, why := p.store(a)
			if why != "" {
				continue
			}
			if kept := keptHeader(a.header, terms.without); len(kept["Set-Cookie"]) > 0 {
				t.Errorf("%+v: %q keeps %q", cfg, says, kept["Set-Cookie"])
			}
		}
	}
}
