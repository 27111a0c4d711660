package waf

import (
	"bytes"
	"net/http"
	"testing"
)

// answerLoads are the answers that the cost of inspection is judged by.
func answerLoads(b *testing.B) map[string][]byte {
	b.Helper()
	// Every rule has something to find in it, or nearly: the first of the set's own leaks, again and again.
	bodies := bytes.Join(answerBodies(b)[:len(answerSuite(b))], []byte("\n"))
	hostile := bytes.Repeat(bodies, defaultResponseLimit/len(bodies)+1)[:defaultResponseLimit]
	return map[string][]byte{"HTML48K": []byte(page(48 << 10)), "HTML128K": []byte(page(defaultResponseLimit)), "Leaks128K": hostile}
}

// BenchmarkAnswers is one answer through the connector: untouched, inspected by Coraza alone, with our operator in the
// place of @rx, and with the gate before all that.
func BenchmarkAnswers(b *testing.B) {
	groups := []string{"php", responseGroup}
	loads := answerLoads(b)
	for _, v := range []struct {
		name   string
		groups []string
		how    variant
	}{
		{"off", groups[:1], variant{}},
		{"stock", groups, variant{arrange: stock}},
		{"rx", groups, variant{arrange: matchers}},
		{"gate", groups, variant{}},
	} {
		e := newTestEngineAs(b, Config{Groups: v.groups}, Options{Deny: func(http.ResponseWriter, *http.Request, error) {}}, v.how)
		for _, name := range []string{"HTML48K", "HTML48K.gz", "HTML128K", "Leaks128K"} {
			body, coding := loads[name], ""
			if body == nil {
				body, coding = pack(b, "gzip", string(loads["HTML48K"])), "gzip"
			}
			b.Run(v.name+"/"+name, func(b *testing.B) {
				next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header()["Content-Type"] = []string{"text/html"}
					if coding != "" {
						w.Header()["Content-Encoding"] = []string{coding}
					}
					for rest := body; len(rest) > 0; {
						n := min(len(rest), 16<<10)
						_, _ = w.Write(rest[:n])
						rest = rest[n:]
					}
				})
				r := sample{}.request()
				w := &discarder{header: http.Header{}}
				b.ReportAllocs()
				for b.Loop() {
					clear(w.header)
					if e.answers == nil {
						next.ServeHTTP(w, r)
					} else {
						e.answers.serve(w, r, next)
					}
				}
			})
		}
	}
}

// A discarder is a ResponseWriter that counts.
type discarder struct {
	header http.Header
	n      int
}

func (d *discarder) Header() http.Header { return d.header }

func (d *discarder) WriteHeader(int) {}

func (d *discarder) Write(p []byte) (int, error) {
	d.n += len(p)
	return len(p), nil
}
