package waf

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// form2K is a form of 2 kB in ten fields.
func form2K() sample {
	var b strings.Builder
	for _, name := range []string{"name", "street", "city", "zip", "country", "phone", "mail", "subject", "message", "terms"} {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(name + "=" + strings.Repeat("plain+words+of+text+", 10)[:195])
	}
	return sample{header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: b.String()}
}

func benchmark(b *testing.B, s sample) {
	e := newTestEngine(b, Config{}, "")
	h := e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r := s.request()
		h.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		b.Fatalf("got %d, want 200", w.Code)
	}
}

func BenchmarkSmallGet(b *testing.B) { benchmark(b, sample{target: "/index.html?page=2"}) }

func BenchmarkForm2K(b *testing.B) { benchmark(b, form2K()) }

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		e, err := New(Config{}, Options{Deny: denyPlain})
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
