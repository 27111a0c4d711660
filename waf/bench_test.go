package waf

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// workloads are the requests that the cost of the engine is judged by. ../docs/waf-engine.md has their
// figures; e2e/bench plays the same kinds against nginx with libmodsecurity.
func workloads() map[string]sample {
	words := strings.Fields(`account order summary monthly customer billing shipping address product blue green quantity total amount
		invoice date number street town region country phone mobile email contact message hello thanks regards please find attached report`)
	text := func(seed, n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(words[(seed*7+i*13)%len(words)])
		}
		return b.String()
	}
	static := map[string]string{
		"Accept-Language": "en-US,en;q=0.5", "Accept-Encoding": "gzip, deflate, br, zstd", "Referer": "https://app.example.com/orders?page=2",
		"Sec-Fetch-Dest": "style", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-origin", "Priority": "u=2",
		"If-None-Match": `"65f0-61a2b3c4"`, "Cache-Control": "max-age=0",
	}
	big := map[string]string{}
	for name, value := range static {
		big[name] = value
	}
	for i := range 8 {
		big[fmt.Sprintf("X-App-Trace-%d", i)] = fmt.Sprintf("%032x", i*7919)
	}
	var cookies, query []string
	for i := range 20 {
		cookies = append(cookies, fmt.Sprintf("pref%d=%s", i, strings.Repeat(fmt.Sprintf("%016x", i*104729+13), 12)))
		query = append(query, fmt.Sprintf("field%d=%s", i, strings.ReplaceAll(text(i, 4), " ", "+")))
	}
	big["Cookie"] = strings.Join(cookies, "; ")
	var form, items []string
	for i, name := range []string{"name", "street", "city", "zip", "country", "phone", "mail", "subject", "message", "terms"} {
		form = append(form, name+"="+strings.ReplaceAll(text(i, 28), " ", "+"))
	}
	for i := range 100 {
		items = append(items, fmt.Sprintf(`{"id":%d,"name":"%s","price":%d.95,"tags":["%s","%s"]}`, i, text(i, 3), i*3, text(i, 1), text(i+5, 1)))
	}
	return map[string]sample{
		"SmallGet":  {target: "/index.html?page=2"},
		"StaticGet": {target: "/assets/app.9f8e7d.css", header: static},
		"BigGet":    {target: "/search?" + strings.Join(query, "&"), header: big},
		"Form2K":    {header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: strings.Join(form, "&")},
		"JSON10K":   {header: map[string]string{"Content-Type": "application/json"}, body: `{"items":[` + strings.Join(items, ",") + `]}`},
	}
}

func benchmark(b *testing.B, e *Engine, s sample) {
	h := e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r := s.request()
		for name, values := range browser() {
			r.Header[name] = values
		}
		h.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		b.Fatalf("got %d, want 200", w.Code)
	}
}

// BenchmarkInspect is one request of each workload: by Coraza alone, with our operator in the place of @rx,
// and with the gate before all that.
func BenchmarkInspect(b *testing.B) {
	for _, variant := range []struct {
		name string
		how  variant
	}{{"stock", variant{arrange: stock}}, {"rx", variant{arrange: matchers}}, {"gate", variant{}}} {
		e := newTestEngineAs(b, Config{}, Options{Deny: denyPlain}, variant.how)
		for _, name := range []string{"SmallGet", "StaticGet", "BigGet", "Form2K", "JSON10K"} {
			b.Run(variant.name+"/"+name, func(b *testing.B) { benchmark(b, e, workloads()[name]) })
		}
	}
}

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
