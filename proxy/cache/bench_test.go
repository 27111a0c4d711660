package cache

import (
	"net/http"
	"testing"
)

// A nullWriter takes an answer and keeps only its header.
type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) WriteHeader(int)             {}
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }

// warm returns a handler that has kept an answer, and the request that it answers.
func warm(t testing.TB, c *Cache) (http.Handler, *http.Request) {
	h := c.Handler(Config{}, Options{Policy: "p"}, says("hello", "Cache-Control: max-age=600", "Content-Type: text/plain", `ETag: "a"`, "Vary: Accept-Encoding"))
	r := mustRequest(t)
	r.Header.Set("Accept-Encoding", "gzip")
	h.ServeHTTP(&nullWriter{http.Header{}}, r)
	return h, r
}

func BenchmarkHit(b *testing.B) {
	c := New(StoreConfig{})
	defer c.Close()
	h, r := warm(b, c)
	w := &nullWriter{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}
