//go:build !race

package waf

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// allocated is what f allocates in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What an answer takes is bounded by the limit, however long it is and however much its coding promises.
func TestAllocsOfAnswers(t *testing.T) {
	// Not parallel: the figures are the process's.
	const limit = defaultResponseLimit
	e := newTestEngine(t, Config{Groups: []string{"php", responseGroup}}, "")
	answer := func(coding, body string, size int) uint64 {
		chunk := make([]byte, 32<<10)
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{"text/plain"}
			if coding != "" {
				w.Header()["Content-Encoding"] = []string{coding}
				_, _ = io.WriteString(w, body)
				return
			}
			for sent := 0; sent < size; sent += len(chunk) {
				_, _ = w.Write(chunk)
			}
		})
		run := func() {
			w := &discarder{header: http.Header{}}
			e.answers.serve(w, sample{}.request(), h)
			if want := max(size, len(body)); w.n != want {
				t.Errorf("got %d bytes, want %d", w.n, want)
			}
		}
		least := allocated(run)
		for range 9 { // a collection empties the pools
			least = min(least, allocated(run))
		}
		return least
	}
	const slack = 64 << 10
	for name, c := range map[string]struct {
		coding, body string
		size         int
		most         uint64
	}{
		"a page":              {size: 64 << 10, most: 64<<10 + slack},
		"a download":          {size: 64 << 20, most: limit + slack},
		"a decompressor bomb": {coding: "gzip", body: string(pack(t, "gzip", strings.Repeat("\x00", 64<<20))), most: 2*limit + slack},
	} {
		if got := answer(c.coding, c.body, c.size); got > c.most {
			t.Errorf("%s: got %d bytes, want at most %d", name, got, c.most)
		}
	}
}

// Where answers are not inspected, the engine adds nothing to what the handler does with its writer.
func TestAllocsOfAnswersThatPass(t *testing.T) {
	// Not parallel: the figures are the process's.
	r := sample{}.request()
	w := &discarder{header: http.Header{}}
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	per := func(cfg Config) float64 {
		e := newTestEngine(t, cfg, "")
		wrapped := e.Wrap(next)
		checked := testing.AllocsPerRun(100, func() {
			v := e.check(r)
			v.body.release()
		})
		return testing.AllocsPerRun(100, func() { wrapped.ServeHTTP(w, r) }) - checked
	}
	if got := per(Config{}); got > 0 {
		t.Errorf("allocations of Wrap beside those of the inspection: got %v, want none", got)
	}
}
