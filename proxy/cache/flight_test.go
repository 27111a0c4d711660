package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// waiting is how many clients wait for fetches that others may join.
func (s *site) waiting() (n int) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	for _, f := range s.cache.flights {
		f.mu.Lock()
		n += len(f.readers)
		f.mu.Unlock()
	}
	return n
}

func TestManyRequestsAreOneFetch(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		answer := make(chan struct{})
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			<-answer
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "once")
		})
		const clients = 40
		var all sync.WaitGroup
		var hits atomic.Int64
		for range clients {
			all.Go(func() {
				got := s.do("GET /")
				if got.status != 200 || got.body != "once" || got.err != nil {
					t.Errorf("got %d %q %v", got.status, got.body, got.err)
				}
				if strings.Contains(got.header.Get("Cache-Status"), "collapsed") {
					hits.Add(1)
				}
			})
		}
		eventually(t, "all wait", func() bool { return s.waiting() == clients })
		close(answer)
		all.Wait()
		if n := s.seen.Load(); n != 1 || hits.Load() != clients-1 {
			t.Errorf("%d fetches and %d collapsed, want 1 and %d", n, hits.Load(), clients-1)
		}
	})
}

func TestALeaderThatLeavesTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		answer := make(chan struct{})
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-answer:
			case <-r.Context().Done():
			}
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "whole")
		})
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			resp, err := s.try(ctx, "GET /")
			if err == nil {
				resp.Body.Close()
			}
			gone <- err
		}()
		eventually(t, "the leader waits", func() bool { return s.waiting() == 1 })
		got := make(chan reply, 1)
		go func() { got <- s.do("GET /") }()
		eventually(t, "another waits", func() bool { return s.waiting() == 2 })
		leave()
		if err := <-gone; err == nil {
			t.Error("the leader has an answer")
		}
		eventually(t, "the leader is gone", func() bool { return s.waiting() == 1 })
		close(answer)
		s.wants("the other", <-got, 200, "whole", "Hit", 1)
	})
}

func TestAFetchThatNobodyWaitsForEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		ended := make(chan struct{})
		s := newSite(t, proto, StoreConfig{}, Config{}, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(ended)
		})
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			if resp, err := s.try(ctx, "GET /"); err == nil {
				resp.Body.Close()
			}
		}()
		eventually(t, "it waits", func() bool { return s.waiting() == 1 })
		leave()
		<-ended
	})
}

func TestWhoWaitsForWhatCannotBeKeptGoesAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		begin, end := make(chan struct{}), make(chan struct{})
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
			<-begin
			w.Header().Set("Cache-Control", "no-store")
			_, _ = io.WriteString(w, r.Header.Get("X-Who"))
			_ = http.NewResponseController(w).Flush()
			if r.Header.Get("X-Who") == "leader" {
				<-end // it is still being answered
			}
		})
		leader := make(chan reply, 1)
		go func() { leader <- s.do("GET /", "X-Who: leader") }()
		eventually(t, "the leader waits", func() bool { return s.waiting() == 1 })
		others := make(chan reply, 10)
		for range cap(others) {
			go func() { others <- s.do("GET /", "X-Who: other") }()
		}
		eventually(t, "all wait", func() bool { return s.waiting() == 1+cap(others) })
		close(begin)
		for range cap(others) {
			if got := <-others; got.body != "other" || got.err != nil {
				t.Errorf("another got %q %v", got.body, got.err)
			}
		}
		close(end)
		s.wants("the leader", <-leader, 200, "leader", "Miss", int64(1+cap(others)))
		s.do("GET /", "X-Who: other")
		if !s.cache.marked(target{"https", strings.TrimPrefix(s.server.URL, "https://"), "/", ""}.key()) {
			t.Error("it is not known that requests for this need not wait for each other")
		}
	})
}

func TestWhoWaitsGetsBytesAsTheyCome(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		begin, more := make(chan struct{}), make(chan struct{})
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			<-begin
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "first ")
			_ = http.NewResponseController(w).Flush()
			<-more
			_, _ = io.WriteString(w, "second")
		})
		var all sync.WaitGroup
		read := make(chan struct{}, 3)
		for range 3 {
			all.Go(func() {
				resp, err := s.try(t.Context(), "GET /")
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				first := make([]byte, 6)
				if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first " {
					t.Errorf("got %q %v", first, err)
				}
				read <- struct{}{}
				rest, err := io.ReadAll(resp.Body)
				if err != nil || string(rest) != "second" {
					t.Errorf("then got %q %v", rest, err)
				}
			})
		}
		eventually(t, "all wait", func() bool { return s.waiting() == 3 })
		close(begin)
		for range 3 {
			<-read
		}
		// One that comes now gets what has come so far as well.
		all.Go(func() {
			if got := s.do("GET /"); got.body != "first second" || got.err != nil {
				t.Errorf("the last got %q %v", got.body, got.err)
			}
		})
		eventually(t, "four wait", func() bool { return s.waiting() == 4 })
		close(more)
		all.Wait()
		s.wants("later", s.do("GET /"), 200, "first second", "Hit", 1)
	})
}

func TestASlowLeaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		body := strings.Repeat("x", 6<<20) // more than sockets and windows hold
		s := newSite(t, proto, StoreConfig{}, Config{}, says(body, "Cache-Control: max-age=60"))
		leader, err := s.try(t.Context(), "GET /") // which does not read
		if err != nil {
			t.Fatal(err)
		}
		defer leader.Body.Close()
		if got := s.do("GET /"); got.body != body || got.err != nil {
			t.Errorf("another got %d bytes, %v", len(got.body), got.err)
		}
		if rest, err := io.ReadAll(leader.Body); err != nil || string(rest) != body {
			t.Errorf("the leader got %d bytes, %v", len(rest), err)
		}
		if n := s.seen.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestWhatBreaksOffIsWholeForNobody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		begin, brk := make(chan struct{}), make(chan struct{})
		s := newSite(t, proto, StoreConfig{}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			<-begin
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-brk
			panic(http.ErrAbortHandler)
		})
		var all sync.WaitGroup
		read := make(chan struct{}, 5)
		for range 5 {
			all.Go(func() {
				resp, err := s.try(t.Context(), "GET /")
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				half := make([]byte, 4)
				_, _ = io.ReadFull(resp.Body, half)
				read <- struct{}{}
				if _, err := io.ReadAll(resp.Body); err == nil {
					t.Error("it looks whole")
				}
			})
		}
		eventually(t, "all wait", func() bool { return s.waiting() == 5 })
		close(begin)
		for range 5 {
			<-read
		}
		close(brk)
		all.Wait()
		if n := s.cache.Stats().Objects; n != 0 {
			t.Errorf("%d objects are kept", n)
		}
	})
}

// A body of unknown length that turns out too long is streamed to those who have begun, in little memory.
func TestABodyThatIsTooLongStreams(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		const pieces, piece = 100, 64 << 10 // 6.4 MB, of which 128 KiB could be kept
		s := newSite(t, proto, StoreConfig{Memory: "1MiB"}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			part := bytes.Repeat([]byte("y"), piece)
			for range pieces {
				if _, err := w.Write(part); err != nil {
					panic(http.ErrAbortHandler)
				}
			}
		})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				resp, err := s.try(t.Context(), "GET /")
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if n, err := io.Copy(io.Discard, resp.Body); n != pieces*piece || err != nil {
					t.Errorf("got %d bytes, %v", n, err)
				}
			})
		}
		all.Wait()
		eventually(t, "nothing is on its way", func() bool {
			s.cache.mu.Lock()
			defer s.cache.mu.Unlock()
			return s.cache.flying.Load() == 0 && len(s.cache.all) == 0
		})
		if stats := s.cache.Stats(); stats.Objects != 0 || len(s.cache.flights) != 0 {
			t.Errorf("left: %+v and %d flights", stats, len(s.cache.flights))
		}
	})
}

func TestAClientThatStopsReadingWhatIsTooLongEndsTheFetchWhenItLeaves(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		ended := make(chan struct{})
		s := newSite(t, proto, StoreConfig{Memory: "1MiB"}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			w.Header().Set("Cache-Control", "max-age=60")
			part := make([]byte, 64<<10)
			for {
				if _, err := w.Write(part); err != nil {
					panic(http.ErrAbortHandler)
				}
			}
		})
		ctx, leave := context.WithCancel(t.Context())
		resp, err := s.try(ctx, "GET /")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<20)
		leave()
		resp.Body.Close()
		<-ended
	})
}

func TestAPurgeIsNotUndoneByWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	begin := make(chan struct{})
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			<-begin
		}
		w.Header().Set("Cache-Control", "max-age=60")
	})
	got := make(chan reply, 1)
	go func() { got <- s.do("GET /") }()
	eventually(t, "it waits", func() bool { return s.waiting() == 1 })
	s.do("POST /") // changes what the fetch has read already
	close(begin)
	s.wants("the answer", <-got, 200, "", "Miss", 2)
	if n := s.cache.Stats().Objects; n != 0 {
		t.Errorf("%d objects are kept", n)
	}
}

func TestAPanicOfAHandlerIsItsClients(t *testing.T) {
	t.Parallel()
	c := New(StoreConfig{})
	defer c.Close()
	h := c.Handler(Config{}, Options{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("mistake") }))
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "mistake") || !strings.Contains(fmt.Sprint(v), "flight_test.go") {
			t.Errorf("got %.200v, want the mistake and where it is", v)
		}
	}()
	h.ServeHTTP(nil, mustRequest(t))
}

func mustRequest(t testing.TB) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://app.example.com/a/b?c=d", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCloseWaitsForWhatIsFetchedInTheBackground(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{}, 1)
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{StaleWhileRevalidate: "1h"}, func(w http.ResponseWriter, r *http.Request) {
		select {
		case hang <- struct{}{}:
		default:
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Cache-Control", "max-age=60")
	})
	s.do("GET /")
	s.wait(2 * time.Minute)
	s.do("GET /")
	eventually(t, "the application hangs", func() bool { return s.seen.Load() == 2 })
	if err := s.cache.Close(); err != nil {
		t.Fatal(err)
	}
	s.wants("after that", s.do("GET /"), 200, "", "Hit", 2)
}

// What is asked about may be evicted or purged at that moment.
func TestRevalidationBesidePurges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			return
		}
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=1000")
		w.Header().Set("Etag", `"a"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "x")
	})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 50 {
				if i == 0 {
					s.do("POST /")
				} else if got := s.do("GET /"); got.status != 200 || got.body != "x" {
					t.Errorf("got %d %q", got.status, got.body)
				}
				s.wait(time.Second)
			}
		})
	}
	all.Wait()
}
