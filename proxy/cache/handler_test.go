package cache

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestWhatIsFreshIsServedWithoutAskingAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{}, says("hello", "Cache-Control: max-age=60", "X-App: yes", "Content-Type: text/plain"))
		s.wants("first", s.do("GET /a?x=1"), 200, "hello", "Miss", 1)
		s.wait(30 * time.Second)
		got := s.do("GET /a?x=1")
		s.wants("second", got, 200, "hello", "Hit", 1)
		for key, want := range map[string]string{
			"Age": "30", "X-App": "yes", "Content-Length": "5", "Content-Type": "text/plain", "Cache-Control": "max-age=60",
			"Cache-Status": "gatehouse; hit; ttl=30", "Date": date(0),
		} {
			if got.header.Get(key) != want {
				t.Errorf("%s: got %q, want %q", key, got.header.Get(key), want)
			}
		}
		if res := s.lastResult(); res.Verdict != VerdictHit || res.Age != 30*time.Second {
			t.Errorf("the event says %+v", res)
		}
		s.wants("another query", s.do("GET /a?x=2"), 200, "hello", "Miss", 2)
		s.wants("another path", s.do("GET /A?x=1"), 200, "hello", "Miss", 3)
		s.wait(30 * time.Second)
		s.wants("too old", s.do("GET /a?x=1"), 200, "hello", "Miss", 4)
		s.wants("HEAD", s.do("HEAD /a?x=1"), 200, "", "Hit", 4)
	})
}

func TestSomeThingsAreNeverKept(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg  Config
		ask  string
		with []string
		app  http.HandlerFunc
		who  bool
	}{
		"a cookie":              {ask: "GET /", app: says("x", "Cache-Control: max-age=60", "Set-Cookie: session=1")},
		"what is private":       {ask: "GET /", app: says("x", "Cache-Control: private, max-age=60")},
		"what a POST is told":   {ask: "POST /", app: says("x", "Cache-Control: max-age=60")},
		"a part":                {ask: "GET /", with: []string{"Range: bytes=0-0"}, app: says("x", "Cache-Control: max-age=60")},
		"what somebody is told": {ask: "GET /", app: says("x", "Cache-Control: public, max-age=60"), who: true},
		"an answer to Authorization": {
			ask: "GET /", with: []string{"Authorization: Basic eDp5"}, app: says("x", "Cache-Control: max-age=60"),
		},
		"Vary: *": {ask: "GET /", app: says("x", "Cache-Control: max-age=60", "Vary: *")},
		"events":  {ask: "GET /", app: says("x", "Cache-Control: max-age=60", "Content-Type: text/event-stream")},
		"too long a body": {ask: "GET /", app: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", strconv.Itoa(9<<20))
			_, _ = w.Write(make([]byte, 9<<20))
		}},
		"a body of the wrong length": {ask: "GET /", app: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
		}},
		"an answer that breaks off": {ask: "GET /", app: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "half of")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, proto string) {
				s := newSite(t, proto, StoreConfig{}, tt.cfg, tt.app)
				s.who.Store(tt.who)
				for n := range int64(3) {
					if resp, err := s.try(t.Context(), tt.ask, tt.with...); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						if resp.Header.Get("Age") != "" {
							t.Error("comes from the cache")
						}
					}
					if got := s.seen.Load(); got < n+1 {
						t.Fatalf("the application has had %d requests, want %d", got, n+1)
					}
				}
				if n := s.cache.Stats().Objects; n != 0 {
					t.Errorf("%d objects are kept", n)
				}
			})
		})
	}
}

func TestAGetWithABodyGoesRoundTheCache(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.Copy(w, r.Body)
		})
		s.wants("without one", s.do("GET /"), 200, "", "Miss", 1)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+"/", strings.NewReader("poison"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); string(body) != "poison" {
			t.Errorf("got %q, which is not what it asked for", body)
		}
		s.wants("what others get", s.do("GET /"), 200, "", "Hit", 2)
	})
}

func TestWhatIsNotInTheKeyIsNotTold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{Key: KeyConfig{
			Query: "except", QueryNames: []string{"utm_source"}, Cookies: []string{"theme"}, Headers: []string{"X-Country"},
		}}, says("x", "Cache-Control: max-age=60"))
		s.do("GET /a?b=1&utm_source=2&utm%5Fsource=3&c=4", "Cookie: session=secret; theme=dark", "X-Country: FR", "X-Other: y")
		got := s.app()
		if got.URL.RawQuery != "b=1&c=4" || got.RequestURI != "/a?b=1&c=4" {
			t.Errorf("query: got %q and %q", got.URL.RawQuery, got.RequestURI)
		}
		if got.Header.Get("Cookie") != "theme=dark" || got.Header.Get("X-Country") != "FR" || got.Header.Get("X-Other") != "y" {
			t.Errorf("the application was told %v", got.Header)
		}
		s.wants("the same", s.do("GET /a?b=1&c=4&utm_source=9", "Cookie: theme=dark", "X-Country: FR"), 200, "x", "Hit", 1)
		s.wants("another cookie", s.do("GET /a?b=1&c=4", "Cookie: theme=light", "X-Country: FR"), 200, "x", "Miss", 2)
		s.wants("another header", s.do("GET /a?b=1&c=4", "Cookie: theme=dark", "X-Country: DE"), 200, "x", "Miss", 3)
		s.wants("another order", s.do("GET /a?c=4&b=1", "Cookie: theme=dark", "X-Country: FR"), 200, "x", "Miss", 4)
	})
}

func TestWithUnkeyedDropTheUpstreamGetsNothingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{Unkeyed: UnkeyedDrop, Key: KeyConfig{Headers: []string{"X-Country"}}}, says("x", "Cache-Control: max-age=60"))
	s.do("GET /", "X-Country: FR", "X-Poison: y", "Authorization: Basic eDp5", "Accept-Encoding: br;q=0.5, gzip, x", "Referer: z")
	for key, want := range map[string]string{
		"X-Country": "FR", "X-Poison": "", "Authorization": "", "Accept-Encoding": "gzip, br", "Referer": "", "User-Agent": "",
	} {
		if got := s.app().Header.Get(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	s.wants("somebody else", s.do("GET /", "X-Country: FR"), 200, "x", "Hit", 1)
}

func TestAnswersForEverybodyAreAskedForByNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{SharedByEveryone: true}, says("x", "Cache-Control: max-age=60"))
	s.who.Store(true)
	s.do("GET /", "Authorization: Bearer secret", "Cookie: a=b")
	if h := s.app().Header; h.Get("Authorization") != "" || h.Get("Cookie") != "" {
		t.Errorf("the application was told %v", h)
	}
	s.wants("somebody else", s.do("GET /", "Authorization: Bearer other"), 200, "x", "Hit", 1)
}

func TestVariantsAreToldApart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Vary", "Accept-Language")
			_, _ = io.WriteString(w, r.Header.Get("Accept-Language"))
		})
		s.wants("en", s.do("GET /", "Accept-Language: en"), 200, "en", "Miss", 1)
		s.wants("de", s.do("GET /", "Accept-Language: de"), 200, "de", "Miss", 2)
		s.wants("none", s.do("GET /"), 200, "", "Miss", 3)
		s.wants("en again", s.do("GET /", "Accept-Language: EN"), 200, "en", "Hit", 3)
		s.wants("none again", s.do("GET /"), 200, "", "Hit", 3)
		for i := range 3 * maxVariants {
			s.do("GET /", fmt.Sprintf("Accept-Language: x%d", i))
		}
		if n := s.cache.Stats().Objects; n != maxVariants {
			t.Errorf("%d variants are kept, want %d", n, maxVariants)
		}
	})
}

func TestACodedAnswerIsNotForEverybodyEvenIfItDoesNotSaySo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "gzipped")
			return
		}
		_, _ = io.WriteString(w, "plain")
	})
	s.wants("gzip", s.do("GET /", "Accept-Encoding: gzip"), 200, "gzipped", "Miss", 1)
	s.wants("a client without", s.do("GET /"), 200, "plain", "Miss", 2)
}

func TestConditionsAreJudgedByWhatIsKept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{}, says("hello", "Cache-Control: max-age=60", `ETag: "a"`, "Last-Modified: "+date(-time.Hour), "X-A: b"))
		s.wants("before anything is kept", s.do("GET /", `If-None-Match: "a"`), 304, "", "Miss", 1)
		if h := s.app().Header; h.Get("If-None-Match") != "" {
			t.Error("the application judges the client's condition, and there is nothing to keep")
		}
		got := s.do("GET /", `If-None-Match: "x", W/"a"`)
		s.wants("the same tag", got, 304, "", "Hit", 1)
		if got.header.Get("Etag") != `"a"` || got.header.Get("X-A") != "b" || got.header.Get("Content-Length") != "" {
			t.Errorf("got %v", got.header)
		}
		s.wants("another tag", s.do("GET /", `If-None-Match: "b"`, "If-Modified-Since: "+date(0)), 200, "hello", "Hit", 1)
		s.wants("not modified since", s.do("GET /", "If-Modified-Since: "+date(-time.Hour)), 304, "", "Hit", 1)
		s.wants("modified since", s.do("GET /", "If-Modified-Since: "+date(-2*time.Hour)), 200, "hello", "Hit", 1)
	})
}

func TestPartsAreServedFromWhatIsKeptWhole(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{}, says("0123456789", "Cache-Control: max-age=60", `ETag: "a"`))
		s.do("GET /")
		got := s.do("GET /", "Range: bytes=2-4")
		s.wants("a part", got, 206, "234", "Hit", 1)
		if r := got.header.Get("Content-Range"); r != "bytes 2-4/10" {
			t.Errorf("Content-Range: %q", r)
		}
		s.wants("the end", s.do("GET /", "Range: bytes=-1"), 206, "9", "Hit", 1)
		s.wants("on a condition that holds", s.do("GET /", "Range: bytes=0-0", `If-Range: "a"`), 206, "0", "Hit", 1)
		s.wants("on one that does not", s.do("GET /", "Range: bytes=0-0", `If-Range: "b"`), 200, "0123456789", "Hit", 1)
		s.wants("what is no range", s.do("GET /", "Range: lines=1"), 416, "invalid range\n", "", 1)
		if got := s.do("GET /", "Range: bytes=20-"); got.status != 416 || got.header.Get("Content-Range") != "bytes */10" {
			t.Errorf("beyond the end: got %d and %q", got.status, got.header.Get("Content-Range"))
		}
		if got := s.do("GET /", "Range: bytes=0-1,8-"); got.status != 206 || !strings.HasPrefix(got.header.Get("Content-Type"), "multipart/byteranges") {
			t.Errorf("two parts: got %d and %q", got.status, got.header.Get("Content-Type"))
		}
		s.wants("every byte many times", s.do("GET /", "Range: bytes="+strings.Repeat("0-,", 100)+"0-"), 200, "0123456789", "Hit", 1)
	})
}

func TestWhatIsTooOldIsAskedAbout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		version := "1"
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
			tag := strconv.Quote(version)
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Etag", tag)
			w.Header().Set("X-Time", strconv.Itoa(len(r.Header)))
			if r.Header.Get("If-None-Match") == tag {
				w.Header().Set("X-Fresh", "yes")
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = io.WriteString(w, "version "+version)
		})
		s.do("GET /")
		s.wait(time.Minute)
		got := s.do("GET /")
		s.wants("still good", got, 200, "version 1", "RefreshHit", 2)
		if got.header.Get("X-Fresh") != "yes" || got.header.Get("Content-Length") != "9" {
			t.Errorf("got %v", got.header)
		}
		s.wants("fresh again", s.do("GET /"), 200, "version 1", "Hit", 2)
		version = "2"
		s.wait(time.Minute)
		s.wants("not good any more", s.do("GET /", `If-None-Match: "1"`), 200, "version 2", "Miss", 3)
		s.wants("the new one", s.do("GET /"), 200, "version 2", "Hit", 3)
		s.wait(time.Minute)
		s.wants("a client that has it", s.do("GET /", `If-None-Match: "2"`), 304, "", "RefreshHit", 4)
		s.wait(time.Minute)
		s.wants("HEAD", s.do("HEAD /"), 200, "", "RefreshHit", 5)
		s.wait(time.Minute)
		s.wants("a part", s.do("GET /", "Range: bytes=-1"), 206, "2", "RefreshHit", 6)
	})
}

func TestA304AboutSomethingElseIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if r.Header.Get("If-None-Match") != "" {
			w.Header().Set("Etag", `"other"`)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Etag", `"a"`)
		_, _ = io.WriteString(w, "x")
	})
	s.do("GET /")
	s.wait(time.Minute)
	s.wants("asked again without a condition", s.do("GET /"), 200, "x", "Miss", 3)
}

func TestAnAnswerThatMayNotBeKeptTakesThePlaceOfOneThatWas(t *testing.T) {
	t.Parallel()
	control := "max-age=60, stale-if-error=600"
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", control)
		_, _ = io.WriteString(w, "x")
	})
	s.do("GET /")
	s.wait(time.Minute)
	control = "no-store"
	s.wants("the new one", s.do("GET /"), 200, "x", "Miss", 2)
	if n := s.cache.Stats().Objects; n != 0 {
		t.Errorf("%d objects are kept", n)
	}
}

func TestWhatIsTooOldIsServedWhileANewOneIsFetched(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		version := make(chan string, 10)
		s := newSite(t, proto, StoreConfig{}, Config{StaleWhileRevalidate: "30s"}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, <-version)
		})
		version <- "1"
		s.do("GET /")
		s.wait(70 * time.Second)
		for range 5 { // while the application hangs
			got := s.do("GET /", "Cookie: secret=1")
			if got.body != "1" || got.header.Get("X-Cache") != "Hit from gatehouse" || got.header.Get("Age") != "70" {
				t.Fatalf("got %q and %v", got.body, got.header)
			}
		}
		version <- "2"
		eventually(t, "the new one is kept", func() bool { return s.do("GET /").body == "2" })
		s.wants("all in all", s.do("GET /"), 200, "2", "Hit", 2)
		if s.app().Header.Get("Cookie") != "" {
			t.Error("the application was told of a cookie")
		}
	})
}

func TestWhatIsTooOldIsServedWhenTheUpstreamFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		var fail http.HandlerFunc
		s := newSite(t, proto, StoreConfig{}, Config{StaleIfError: "10m"}, func(w http.ResponseWriter, r *http.Request) {
			if fail != nil {
				fail(w, r)
				return
			}
			w.Header().Set("Cache-Control", "max-age=60"+r.URL.RawQuery)
			_, _ = io.WriteString(w, "good")
		})
		s.do("GET /")
		s.do("GET /?,must-revalidate")
		s.do("GET /?,stale-if-error=5")
		s.wait(2 * time.Minute)
		n := int64(3)
		for name, how := range map[string]http.HandlerFunc{
			"no answer":         func(w http.ResponseWriter, _ *http.Request) { Fail(w, io.ErrUnexpectedEOF) },
			"an error":          func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusServiceUnavailable) },
			"an answer cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			fail = how
			n++
			got := s.do("GET /")
			s.wants(name, got, 200, "good", "Hit", n)
			if got.header.Get("Age") != "120" {
				t.Errorf("%s: Age: got %q", name, got.header.Get("Age"))
			}
			for _, query := range []string{",must-revalidate", ",stale-if-error=5"} {
				n++
				if got := s.do("GET /?" + query); got.status < 500 {
					t.Errorf("%s: %s: got %d", name, query, got.status)
				}
			}
		}
		fail = func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }
		if got := s.do("GET /"); got.status != 404 {
			t.Errorf("an answer that is no failure: got %d", got.status)
		}
		s.wait(time.Hour)
	})
}

func TestWhatChangesSomethingMakesWhatIsKeptInvalid(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		s := newSite(t, proto, StoreConfig{}, Config{Key: KeyConfig{Query: "only", QueryNames: []string{"id"}}}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
				w.Header().Set("Location", r.URL.Query().Get("at"))
				w.WriteHeader(status)
			}
		})
		has := func(path string) bool { return s.do("GET "+path).header.Get("Age") != "" }
		for _, tt := range []struct {
			change, about string
			stays         bool
		}{
			{"POST /a?id=1&status=200", "/a?id=1", false},
			{"PUT /a?id=1&status=204", "/a?id=1", false},
			{"DELETE /a?id=1&status=303", "/a?id=1", false},
			{"POST /a?id=1&status=500", "/a?id=1", true},
			{"POST /a?id=1&status=403", "/a?id=1", true},
			{"POST /a?id=2&status=200", "/a?id=1", true},
			{"POST /b?status=201&at=/a%3Fid=1", "/a?id=1", false},
			{"POST /b?status=201&at=a%3Fid=1", "/a?id=1", false},
			{"POST /b?status=201&at=https://elsewhere.example/a%3Fid=1", "/a?id=1", true},
			{"OPTIONS /a?id=1&status=200", "/a?id=1", true},
		} {
			has(tt.about)
			if !has(tt.about) {
				t.Fatalf("%s is not kept", tt.about)
			}
			s.do(tt.change)
			if got := has(tt.about); got != tt.stays {
				t.Errorf("%s: %s is kept: %t, want %t", tt.change, tt.about, got, tt.stays)
			}
		}
	})
}

func TestOnlyIfCached(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, says("x", "Cache-Control: max-age=60"))
	s.wants("nothing is kept", s.do("GET /", "Cache-Control: only-if-cached"), 504, "denied\n", "Error", 0)
	s.do("GET /")
	s.wants("something is", s.do("GET /", "Cache-Control: only-if-cached"), 200, "x", "Hit", 1)
}

func TestAnErrorIsMarkedAsOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{ErrorTTL: "10s"}, func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) })
	s.wants("first", s.do("GET /"), 404, "404 page not found\n", "Error", 1)
	s.wants("second", s.do("GET /"), 404, "404 page not found\n", "Error", 1)
	s.wait(10 * time.Second)
	s.wants("later", s.do("GET /"), 404, "404 page not found\n", "Error", 2)
}

func TestFieldsForOneClientAreNotGivenToOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{SetCookie: SetCookieStrip}, says("x",
		`Cache-Control: max-age=60, private="x-user"`, "X-User: alice", "Set-Cookie: a=b", "Surrogate-Key: k", "X-All: y", "Keep-Alive: 5"))
	if got := s.do("GET /"); got.header.Get("X-User") != "alice" {
		t.Errorf("whom it is for got %v", got.header)
	}
	got := s.do("GET /")
	s.wants("somebody else", got, 200, "x", "Hit", 1)
	for _, key := range []string{"X-User", "Set-Cookie", "Surrogate-Key", "Keep-Alive"} {
		if got.header.Get(key) != "" {
			t.Errorf("%s: %q", key, got.header.Get(key))
		}
	}
	if got.header.Get("X-All") != "y" {
		t.Errorf("got %v", got.header)
	}
}

func TestARouteDoesNotServeWhatAnotherHasKept(t *testing.T) {
	t.Parallel()
	c := New(StoreConfig{})
	defer c.Close()
	route := func(policy, body string) *site {
		s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, nil)
		s.server.Config.Handler = c.Handler(Config{TTL: "1h"}, Options{Policy: policy}, says(body))
		return s
	}
	one, other := route("one", "1"), route("other", "2")
	ask := func(s *site) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "app.example.com"
		resp, err := s.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	if got := ask(one) + ask(other) + ask(one); got != "121" {
		t.Errorf("got %s, want 121", got)
	}
}

func TestWhatDependsOnWhoAsksIsNotKept(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"X-Forwarded-For", "x-request-id", "X-Amzn-Trace-Id", "Traceparent",
	} {
		each(t, func(t *testing.T, proto string) {
			s := newSite(t, proto, StoreConfig{}, Config{}, says("for one", "Cache-Control: max-age=60", "Vary: Accept, "+name))
			s.wants("first", s.do("GET /"), 200, "for one", "Miss", 1)
			s.wants("second", s.do("GET /"), 200, "for one", "Miss", 2)
		})
	}
}
