package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A client that reads slowly what was fetched for it alone takes memory until it has it, and that is counted.
func TestSlowReadersAreCounted(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 100<<10)
	c := New(StoreConfig{Memory: "1MiB"})
	t.Cleanup(func() { _ = c.Close() })
	h := c.Handler(Config{}, Options{Deny: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) }},
		says(body, "Cache-Control: max-age=60"))
	held := func() int64 {
		return c.flying.Load()
	}
	ended := make(chan struct{}, 100)
	var slow []*slowClient
	for i := range 20 {
		w := &slowClient{header: http.Header{}, goOn: make(chan struct{}), reached: make(chan struct{}, 1000)}
		slow = append(slow, w)
		r := request0(t.Context(), fmt.Sprintf("https://app.example.com/%d", i))
		go func() {
			defer func() { ended <- struct{}{} }()
			h.ServeHTTP(w, r)
			if w.took != len(body) {
				t.Errorf("client %d got %d bytes, want %d", i, w.took, len(body))
			}
		}()
		select {
		case <-w.reached:
		case <-ended:
			t.Fatalf("client %d was sent nothing", i)
		}
	}
	eventually(t, "the fetches are over", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for f := range c.all {
			f.mu.Lock()
			is := f.phase >= phasePassing
			f.mu.Unlock()
			if !is {
				return false
			}
		}
		return true
	})
	if n := held(); n < 200<<10 || n > 256<<10 {
		t.Errorf("%d bytes are counted, want nearly the quarter of the memory", n)
	}
	for _, w := range slow {
		close(w.goOn)
	}
	for range slow {
		<-ended
	}
	eventually(t, "all is given back", func() bool { return held() == 0 })
}

func request0(ctx context.Context, address string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		panic(err)
	}
	r.Body = http.NoBody
	return r
}

// A slowClient takes nothing before it is told to.
type slowClient struct {
	header  http.Header
	took    int
	goOn    chan struct{}
	reached chan struct{}
}

func (c *slowClient) Header() http.Header { return c.header }
func (c *slowClient) WriteHeader(int)     {}
func (c *slowClient) Write(p []byte) (int, error) {
	c.reached <- struct{}{}
	<-c.goOn
	c.took += len(p)
	return len(p), nil
}

func TestWhatIsSentAndNotKeptIsCounted(t *testing.T) {
	t.Parallel()
	s := newStore(1 << 20)
	never := thing("never", 1000)
	s.use(never)
	if n := s.stats().Bytes; n != never.size {
		t.Errorf("sent, and never kept: %d bytes, want %d", n, never.size)
	}
	s.done(never)
	gone := thing("gone", 1000)
	s.put(gone)
	s.removeKey(gone.key)
	s.use(gone) // found before it was removed
	s.use(gone)
	s.done(gone)
	s.done(gone)
	if n := s.stats().Bytes; n != 0 {
		t.Errorf("nothing is kept or sent: %d bytes", n)
	}
}

// A client that has left before the answer began has none kept that nobody has given.
func TestNobodyIsServedAnAnswerThatNeverCame(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, proto string) {
		asked, ended := make(chan struct{}, 1), make(chan struct{}, 1)
		first := true
		s := newSite(t, proto, StoreConfig{}, Config{TTL: "1h"}, func(w http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				asked <- struct{}{}
				<-r.Context().Done()
				ended <- struct{}{}
				return // as what has nobody left to answer
			}
			_, _ = io.WriteString(w, "whole")
		})
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			if resp, err := s.try(ctx, "GET /"); err == nil {
				resp.Body.Close()
			}
		}()
		<-asked
		leave()
		<-ended
		eventually(t, "the fetch is over", func() bool {
			s.cache.mu.Lock()
			defer s.cache.mu.Unlock()
			return len(s.cache.all) == 0
		})
		if n := s.cache.Stats().Objects; n != 0 {
			t.Errorf("%d answers are kept", n)
		}
		s.wants("the next", s.do("GET /"), 200, "whole", "Miss", 2)
	})
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// All who wait for a body that is too long to keep get it at the pace of the slowest, but not at that of one that takes nothing.
func TestASlowClientHoldsUpOthersForAWhileOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const pieces, piece = 40, 64 << 10
		c := New(StoreConfig{Memory: "1MiB"}) // 128 KiB of it for one answer
		joined := make(chan struct{})
		h := c.Handler(Config{}, Options{Deny: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) }},
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				<-joined
				w.Header().Set("Cache-Control", "max-age=60")
				for range pieces {
					if _, err := w.Write(make([]byte, piece)); err != nil {
						return
					}
				}
			}))
		ask := func(w *slowClient) chan any {
			ended := make(chan any, 1)
			go func() {
				defer func() { ended <- recover() }()
				h.ServeHTTP(w, request0(t.Context(), "https://app.example.com/"))
			}()
			synctest.Wait()
			return ended
		}
		slow := &slowClient{header: http.Header{}, goOn: make(chan struct{}), reached: make(chan struct{}, 1000)}
		fast := &slowClient{header: http.Header{}, goOn: closed(), reached: make(chan struct{}, 1000)}
		one, other := ask(slow), ask(fast)
		start := time.Now()
		close(joined)
		if v := <-other; v != nil || fast.took != pieces*piece {
			t.Errorf("the other got %d bytes, %v, want %d", fast.took, v, pieces*piece)
		}
		if waited := time.Since(start); waited > 2*maxWait {
			t.Errorf("the other waited for %s", waited)
		}
		close(slow.goOn)
		if v := <-one; v != http.ErrAbortHandler || slow.took == pieces*piece {
			t.Errorf("the slow one got %d bytes and %v, want to be cut off", slow.took, v)
		}
		_ = c.Close()
		if n := c.flying.Load(); n != 0 {
			t.Errorf("%d bytes are on their way", n)
		}
	})
}
