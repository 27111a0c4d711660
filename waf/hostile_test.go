package waf

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostileSize is about the default limit of every type.
const hostileSize = 128<<10 - 64

// fill repeats unit up to n bytes.
func fill(unit string, n int) string {
	return strings.Repeat(unit, n/len(unit)+1)[:n]
}

// times joins what f makes of 0 to n-1.
func times(n int, sep string, f func(i int) string) string {
	out := make([]string, n)
	for i := range out {
		out[i] = f(i)
	}
	return strings.Join(out, sep)
}

const (
	typeForm = "application/x-www-form-urlencoded"
	typeJSON = "application/json"
	typeXML  = "application/xml"
	typeText = "text/plain"
)

func typed(contentType, body string) sample {
	return sample{header: map[string]string{"Content-Type": contentType}, body: body}
}

// sqlish is text of which many rules think that something may be in it.
const sqlish = `1' or 1=1 -- /* select x from y where */ $(cat /etc/passwd) <a onx=1> ${jndi:ldap} ../../`

// hostileBodies are requests that are made to cost as much as possible.
func hostileBodies() map[string]sample {
	all := fixedBodies()
	for name, jumbled := range jumbledBodies() {
		all[name] = jumbled(0)
	}
	return all
}

// fixedBodies are those that cost the same each time.
func fixedBodies() map[string]sample {
	return map[string]sample{
		"json 999 numbers in 2 kB": typed(typeJSON, "["+times(999, ",", func(int) string { return "1" })+"]"),
		"json 999 members":         typed(typeJSON, "{"+times(999, ",", func(i int) string { return fmt.Sprintf(`"a%d":"b%d"`, i, i) })+"}"),
		"json long name over 999 values": typed(typeJSON, `{"`+fill("longname", 30<<10)+`":[`+
			times(999, ",", func(int) string { return "1" })+`]}`),
		"json 64 deep":          typed(typeJSON, strings.Repeat(`{"a":`, 63)+`"`+fill("x", 250<<10)+`"`+strings.Repeat("}", 63)),
		"json 250 kB of text":   typed(typeJSON, `{"a":"`+fill("lorem ipsum dolor sit amet ", 250<<10)+`"}`),
		"json 1 MB of escapes":  typed(typeJSON, `{"a":"`+fill(`\u0027\\x41`, 250<<10)+`"}`),
		"json 400 sqlish":       typed(typeJSON, "["+times(400, ",", func(i int) string { return fmt.Sprintf(`"%s %d"`, sqlish, i) })+"]"),
		"json attack in 900":    typed(typeJSON, "["+times(900, ",", func(i int) string { return fmt.Sprintf(`"<script>alert(%d)</script>' union select 1"`, i) })+"]"),
		"form one field":        typed(typeForm, "a="+fill("x", hostileSize)),
		"form one field text":   typed(typeForm, "a="+fill("lorem+ipsum+dolor+", hostileSize)),
		"form quotes":           typed(typeForm, "a="+fill("'", hostileSize)),
		"form backslashes":      typed(typeForm, "a="+fill(`\`, hostileSize)),
		"form percent u":        typed(typeForm, "a="+fill(`%25u0041`, hostileSize)),
		"form percent 2525":     typed(typeForm, "a="+fill(`%252525`, hostileSize)),
		"form entities":         typed(typeForm, "a="+fill(`%26%23x41;`, hostileSize)),
		"form comment openers":  typed(typeForm, "a="+fill(`/*`, hostileSize)),
		"form sql comments":     typed(typeForm, "a="+fill(`/*!`, hostileSize)),
		"form quotes at random": typed(typeForm, "a="+fill(randomQuotes(), hostileSize)),
		"form parens":           typed(typeForm, "a="+fill(`(`, hostileSize)),
		"form angle":            typed(typeForm, "a="+fill(`<a `, hostileSize)),
		"form select":           typed(typeForm, "a="+fill(`select+`, hostileSize)),
		"form dotdot":           typed(typeForm, "a="+fill(`../`, hostileSize)),
		"form sqlish 1000": typed(typeForm, times(999, "&", func(i int) string {
			return fmt.Sprintf("a%d=%s", i, strings.NewReplacer(" ", "+", "=", "%3d").Replace(sqlish))
		})),
		"form invalid utf8": typed(typeForm, "a="+fill("%ff%fe%c0", hostileSize)),
		"form same name":    typed(typeForm, times(999, "&", func(int) string { return "a=" + sqlish[:20] })),
		"form brackets":     typed(typeForm, times(999, "&", func(i int) string { return "a" + strings.Repeat("[b]", 100) + fmt.Sprint(i) + "=c" })),
		"form base64":       typed(typeForm, "a="+fill(base64.StdEncoding.EncodeToString([]byte(sqlish)), hostileSize)),
		"multipart 1000 fields": typed(multipartType, multipartBody(strings.Split(times(999, "\x00", func(i int) string {
			return fmt.Sprintf("Content-Disposition: form-data; name=\"a%d\"\r\n\r\n%s", i, sqlish)
		}), "\x00")...)),
		"multipart 1000 files": typed(multipartType, multipartBody(strings.Split(times(999, "\x00", func(i int) string {
			return fmt.Sprintf("Content-Disposition: form-data; name=\"a%d\"; filename=\"%s%d.txt\"\r\nContent-Type: text/plain\r\n\r\nx", i, fill("n", 500), i)
		}), "\x00")...)),
		"multipart part headers": typed(multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"\r\n"+
			times(15_000, "\r\n", func(i int) string { return fmt.Sprintf("X-%d: b", i) })+"\r\n\r\nx")),
		"multipart names in pieces": typed(multipartType, multipartBody("Content-Disposition: form-data; name=\"a\""+
			times(15_000, "", func(i int) string { return fmt.Sprintf("; filename*%d=b", i) })+"\r\n\r\nx")),
		"xml 100000 elements":  typed(typeXML, "<a>"+strings.Repeat("<b>c</b>", 14_000)+"</a>"),
		"xml 50000 attributes": typed(typeXML, "<a "+times(12_000, " ", func(i int) string { return fmt.Sprintf(`b%d="c"`, i) })+"/>"),
		"xml deep":             typed(typeXML, strings.Repeat("<a>", 40_000)),
		"xml sqlish":           typed(typeXML, "<a>"+strings.Repeat("<b>1' or 1=1 -- select</b>", 1000)+"</a>"),
		"xml namespaces":       typed(typeXML, strings.Repeat(`<a xmlns:b="c">`, 60_000)),
		"xml unclosed ends":    typed(typeXML, strings.Repeat("<a>", 18_000)+strings.Repeat("</b>", 18_000)),
		"text":                 typed(typeText, fill("lorem ipsum dolor sit amet ", hostileSize)),
		"text sqlish":          typed(typeText, fill(sqlish+"\n", hostileSize)),
		"text json stream":     typed(typeText, strings.Repeat(`{"a":1}`, 18_000)),
		"text ampersands":      typed(typeText, strings.Repeat("a&", 60_000)),
		"octet sqlish":         typed("application/octet-stream", fill(sqlish+"\n", hostileSize)),
		"headers 60 kB sqlish": {header: map[string]string{"X-A": fill(sqlish, 15<<10), "Cookie": "a=" + fill(sqlish, 15<<10), "Referer": fill(sqlish, 15<<10), "User-Agent": fill(sqlish, 15<<10)}},
		"cookies 10000":        {header: map[string]string{"Cookie": times(7000, "; ", func(i int) string { return fmt.Sprintf("c%d=1", i) })}},
		"headers many":         manyHeaders(1000),
		"query 1000":           {target: "/x?" + times(999, "&", func(i int) string { return fmt.Sprintf("a%d=%%27or+1%%3d1--", i) })},
		"query sqlish":         {target: "/x?a=" + strings.NewReplacer(" ", "+", "=", "%3d", "#", "%23").Replace(fill(sqlish, 60<<10))},
		"path 60 kB":           {target: "/" + fill("a/../%2e%2e/", 60<<10)},
	}
}

// jumbledBodies are those that cost most the first time, when the states that they visit are made. Each round is another
// one that nobody has sent.
func jumbledBodies() map[string]func(round uint64) sample {
	plain := strings.NewReplacer("\x00", "", "\t", "", "\n", "", ";", ",")
	form := strings.NewReplacer("&", "%26", "+", "%2b", "=", "%3d", "\x00", "")
	query := strings.NewReplacer("&", "%26", "+", "%2b", "=", "%3d", "\x00", "", "#", "%23", " ", "+", "\t", "%09", "\n", "%0a")
	markup := strings.NewReplacer("<", "&lt;", "&", "&amp;")
	// values is n of them with size bytes in all.
	values := func(round uint64, n, size int, sep string, f func(i int, text string) string) string {
		return times(n, sep, func(i int) string { return f(i, jumble(1000*round+uint64(i), size/n)) })
	}
	field := func(i int, text string) string { return fmt.Sprintf("a%d=%s", i, form.Replace(text)) }
	part := func(i int, text string) string {
		return fmt.Sprintf("Content-Disposition: form-data; name=\"a%d\"\r\n\r\n%s", i, text)
	}
	return map[string]func(uint64) sample{
		"text jumble":        func(round uint64) sample { return typed(typeText, jumble(round, hostileSize)) },
		"form jumble":        func(round uint64) sample { return typed(typeForm, values(round, 1, 80<<10, "&", field)) },
		"form jumble in 900": func(round uint64) sample { return typed(typeForm, values(round, 900, 80<<10, "&", field)) },
		"form jumbled names": func(round uint64) sample {
			return typed(typeForm, values(round, 400, 80<<10, "&", func(_ int, text string) string { return form.Replace(text) + "=1" }))
		},
		"json jumble in 900": func(round uint64) sample {
			return typed(typeJSON, "["+values(round, 900, 150<<10, ",", func(_ int, text string) string { return fmt.Sprintf("%q", strings.ToValidUTF8(text, "")) })+"]")
		},
		"multipart jumble in 900": func(round uint64) sample {
			return typed(multipartType, multipartBody(strings.Split(values(round, 900, 60<<10, "\x01", part), "\x01")...))
		},
		"multipart doubled quotes in 8": func(round uint64) sample {
			pieces := []string{"<![CDATA[", "{", "\t", "''", "{{", "@", "\x00", "]]>"}
			return typed(multipartType, multipartBody(strings.Split(times(8, "\x01", func(i int) string {
				return part(i, mixed(rand.New(rand.NewPCG(round, uint64(i))), pieces, 15<<10))
			}), "\x01")...))
		},
		"multipart jumble in 100": func(round uint64) sample {
			return typed(multipartType, multipartBody(strings.Split(values(round, 100, 60<<10, "\x01", part), "\x01")...))
		},
		"xml jumble in 400": func(round uint64) sample {
			return typed(typeXML, "<a>"+values(round, 400, 80<<10, "", func(_ int, text string) string {
				return "<b>" + markup.Replace(strings.ToValidUTF8(text, "")) + "</b>"
			})+"</a>")
		},
		"cookies jumble in 900": func(round uint64) sample {
			return sample{header: map[string]string{"Cookie": values(round, 900, 40<<10, "; ", func(i int, text string) string {
				return fmt.Sprintf("c%d=%s", i, plain.Replace(text))
			})}}
		},
		"headers jumble": func(round uint64) sample {
			header := map[string]string{}
			for i := range 100 {
				header[fmt.Sprintf("X-%d", i)] = plain.Replace(jumble(1000*round+uint64(i), 500))
			}
			return sample{header: header}
		},
		"query jumble in 900": func(round uint64) sample {
			return sample{target: "/x?" + values(round, 900, 40<<10, "&", func(i int, text string) string { return fmt.Sprintf("a%d=%s", i, query.Replace(text)) })}
		},
		"form base64 at random": func(round uint64) sample { return typed(typeForm, "a="+randomBase64(round, hostileSize)) },
	}
}

// mixed is n bytes of pieces.
func mixed(r *rand.Rand, pieces []string, n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()[:n]
}

// randomBase64 is n bytes of what has no order at all.
func randomBase64(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return strings.ReplaceAll(base64.StdEncoding.EncodeToString(b)[:n], "+", "%2b")[:n]
}

// jumble is n bytes of pieces of attacks in no order: states that were never made, and tokens of every sort.
func jumble(seed uint64, n int) string {
	pieces := strings.Fields(`' " < > <a = & ; , ( ) /* */ -- # / ../ . % %25 %u0041 &lt; \\u0041 $( { } [ ] @ ~ + * :: ? select union or and
		1 0x1 a É script javascript: onx= system( php:// ${jndi: cat /etc/ sleep( where from null user in( not like int x' q' <!-- --> '' ""
		'a' 1, a.b http:// base64 QUJD .php cmd powershell java. org.apache #{ {{ <?php bash wget ;ls && || =a`)
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(pieces[r.IntN(len(pieces))])
		if r.IntN(3) == 0 {
			b.WriteByte(" \t\n"[r.IntN(3)])
		}
	}
	return b.String()[:n]
}

// randomQuotes is doubled quotes between which no two stretches are alike.
func randomQuotes() string {
	return times(60_000, "", func(i int) string { return fmt.Sprintf("''%x", i*2654435761%4096) })
}

// ordinaryBodies are as long as the hostile ones, or as long as people send them.
func ordinaryBodies() map[string]sample {
	prose := "The quick brown fox, it's said, jumps over the lazy dog (twice). "
	return map[string]sample{
		"form article": typed(typeForm, "title=News&text="+fill(strings.NewReplacer(" ", "+", "'", "%27", ",", "%2C").Replace(prose), 60<<10)),
		"json document": typed(typeJSON, `{"items":[`+times(190, ",", func(i int) string {
			return fmt.Sprintf(`{"id":%d,"name":"Item %d","price":"%d.95","tags":["a","b"]}`, i, i, i)
		})+`]}`),
		"json photo":     typed(typeJSON, `{"photo":"`+strings.ReplaceAll(randomBase64(77, 20<<10), "%2b", "+")+`"}`),
		"json article":   typed(typeJSON, `{"title":"News","text":"`+fill(prose, 60<<10)+`"}`),
		"xml document":   typed(typeXML, "<list>"+times(400, "", func(i int) string { return fmt.Sprintf(`<item id="%d">Item %d of the list</item>`, i, i) })+"</list>"),
		"text article":   typed(typeText, fill(prose+"\n", 80<<10)),
		"multipart file": typed(multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\nb", "Content-Disposition: form-data; name=\"f\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"+fill("\xff\xd8\x00\x01\x02", 900<<10))),
	}
}

func manyHeaders(n int) sample {
	h := map[string]string{}
	for i := range n {
		h[fmt.Sprintf("X-H-%d", i)] = "1' or 1=1 -- select " + fmt.Sprint(i)
	}
	return sample{header: h}
}

// allocatedBy is how many bytes f allocates.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakOf is how far the heap grows while f runs.
func peakOf(f func()) uint64 {
	runtime.GC()
	read := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	base, peak := read(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				peak = max(peak, read())
			}
		}
	}()
	f()
	close(stop)
	<-done
	return max(peak, base) - base
}

// BenchmarkHostile is the cost of each hostile body, and of ordinary ones.
func BenchmarkHostile(b *testing.B) {
	e := newTestEngineAs(b, Config{}, Options{Deny: denyPlain}, variant{})
	h := e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	all := jumbledBodies()
	for name, s := range fixedBodies() {
		all[name] = func(uint64) sample { return s }
	}
	for name, s := range ordinaryBodies() {
		all["ordinary "+name] = func(uint64) sample { return s }
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		round := uint64(0)
		b.Run(name, func(b *testing.B) {
			var w *httptest.ResponseRecorder
			var spent time.Duration
			run := func() {
				b.StopTimer()
				round++
				r := all[name](round).request()
				w = httptest.NewRecorder()
				b.StartTimer()
				before := cpuTime()
				h.ServeHTTP(w, r)
				spent += cpuTime() - before
			}
			peak := peakOf(run)
			spent = 0
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
			b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(peak)/1e6, "peak-MB")
			b.ReportMetric(float64(w.Code), "status")
		})
	}
}
