package waf

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	crstests "github.com/corazawaf/coraza-coreruleset/v4/tests"
	"github.com/goccy/go-yaml"
)

// suiteRequests are the requests of the set's own tests as they go over the wire, without those for answers.
var suiteRequests = sync.OnceValues(func() ([][]byte, error) {
	files, err := fs.Glob(crstests.FS, "REQUEST-*/*.yaml")
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, name := range files {
		b, err := fs.ReadFile(crstests.FS, name)
		if err != nil {
			return nil, err
		}
		var f ftwFile
		if err := yaml.Unmarshal(b, &f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, test := range f.Tests {
			for _, stage := range test.Stages {
				out = append(out, stage.Input.request())
			}
		}
	}
	return out, nil
})

// readRequest is the request as a server hands it to a handler, or nil if it never would.
func readRequest(raw []byte) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return nil
	}
	r.RemoteAddr = "192.0.2.1:4711"
	return r
}

// payloads are the texts in the suite's requests: names and values, decoded.
var payloads = sync.OnceValue(func() []string {
	requests, err := suiteRequests()
	if err != nil {
		panic(err)
	}
	seen := map[string]bool{}
	var out []string
	add := func(s string) {
		if s != "" && len(s) < 600 && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, raw := range requests {
		head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			add(value)
			if strings.EqualFold(name, "Cookie") {
				for c := range strings.SplitSeq(value, "; ") {
					add(c)
				}
			}
		}
		line, _, _ := strings.Cut(head, "\r\n")
		add(line)
		path, query, _ := strings.Cut(line, "?")
		add(path)
		add(body)
		for pair := range strings.SplitSeq(query+"&"+body, "&") {
			name, value, _ := strings.Cut(pair, "=")
			add(name)
			add(value)
			add(unescape(name))
			add(unescape(value))
		}
	}
	slices.Sort(out)
	return out
})

// A generator makes requests of the suite's payloads, written in all ways that somebody might decode.
type generator struct {
	*rand.Rand
	payloads []string
}

// generate is the n-th request of a series, or nil.
func generate(series, n uint64) *http.Request {
	g := generator{rand.New(rand.NewPCG(series, n)), payloads()}
	return readRequest(g.request())
}

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

func (g generator) odds(percent int) bool { return g.IntN(100) < percent }

// each writes some of the bytes of s in another way.
func (g generator) each(s string, percent int, write func(b byte) string) string {
	var b strings.Builder
	for i := range len(s) {
		if g.odds(percent) {
			b.WriteString(write(s[i]))
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// encodings are ways to write a text.
func (g generator) encodings() []func(string) string {
	often := pick(g, 10, 40, 100)
	format := func(f string) func(string) string {
		return func(s string) string {
			return g.each(s, often, func(b byte) string { return fmt.Sprintf(f, b) })
		}
	}
	between := func(what ...string) func(string) string {
		return func(s string) string {
			return g.each(s, 20, func(b byte) string { return pick(g, what...) + string([]byte{b}) })
		}
	}
	return []func(string) string{
		func(s string) string { return s },
		format("%%%02x"), format("%%25%02X"), format("%%u00%02x"), format("%%U00%02X"),
		format("&#%d;"), format("&#x%x"), format("&#0000%d;"),
		format(`\u00%02x`), format(`\x%02x`), format(`\X%02X`), format(`\u{%x}`), format(`\%o`), format(`\%03o`), format(`\%x `), format(`\0000%02x`), format(`\%c`),
		func(s string) string { // full-width forms, as %uXXXX, in UTF-8, in JavaScript and in CSS
			f := pick(g, "%%uff%02x", "%%uFF%02X", "full", `\uff%02x`, `\u{ff%02x}`, `\ff%02x `)
			return g.each(s, often, func(b byte) string {
				switch {
				case b <= 0x20 || b >= 0x7f:
					return string([]byte{b})
				case f == "full":
					return string(rune(0xff00 + int(b) - 0x20))
				}
				return fmt.Sprintf(f, b-0x20)
			})
		},
		func(s string) string { // best fit
			return g.each(s, 10, func(byte) string { return fmt.Sprintf("%%u%04x", g.IntN(0x10000)) })
		},
		func(s string) string { // overlong and cut UTF-8
			return g.each(s, 10, func(b byte) string {
				return pick(g, string([]byte{0xc0 | b>>6, 0x80 | b&0x3f}), "\xe2\x80", "\xff", "\xa0", "\x85", "\u00a0", "\u0085", "\u2028", "\u017f", "\u212a", "\u0130")
			})
		},
		html.EscapeString, url.QueryEscape,
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		func(s string) string { return fmt.Sprintf("%x", s) },
		strings.ToUpper, strings.ToLower,
		between("\x00", "%00"), between("/**/", "/* */", "/*!", "*/", "-- ", "#", "<!--", "-->"),
		between("\t", "\n", "\r\n", "\v", "\f", "  ", "+", "%20", "%0a"), between(`"`, `'`, `\`, "^", ",", ";"),
		between("/./", "//", "/../", `\`, "../", ":", ". ", "a/../"), between("&amp;", "&lt", "&quot;", "&nLt;", "&#0", "&"),
		func(s string) string { return strings.Repeat(s+" ", 1+g.IntN(8)) },
		func(s string) string {
			return strings.Repeat(pick(g, "a", "1", "%", "(", " ", "\\", "é"), pick(g, 10, 100, 100, 2000)) + s
		},
	}
}

// text is a value.
func (g generator) text() string {
	var b strings.Builder
	for range 1 + g.IntN(3) {
		s := pick(g, g.payloads...)
		if g.odds(30) {
			s = s[g.IntN(len(s)):]
		}
		b.WriteString(s)
		b.WriteString(pick(g, "", "", " ", "'", "\"", ";", "=", "&", "<", ">", "(", ")", "|", "`", "\n", "\x00", "%", "\\", ".", "/", "é", "\xff"))
	}
	s := b.String()
	for range g.IntN(4) {
		s = pick(g, g.encodings()...)(s)
		if len(s) > 2500 {
			s = s[:2500]
		}
	}
	return s
}

// word is a value of an ordinary request.
func (g generator) word() string {
	return pick(g, "", "1", "hello", "a b c", "2024-01-02", "x@example.com", "O'Brien", "https://app.example.test/x?y=z", "é", "42%")
}

func (g generator) value() string {
	if g.odds(40) {
		return g.word()
	}
	return g.text()
}

// name is one of those that exclusions name, in some spelling, or a text.
func (g generator) name() string {
	if g.odds(10) {
		return g.text()
	}
	return pick(g, "id", "ID", "Id", "idx", "q", "x", "filter[name]", "json.a.b", "a.b", "__utmz", "sid", "SID", "password", "", "a", "b", "X-A")
}

// pairs is a query or a form.
func (g generator) pairs() string {
	var b strings.Builder
	for i := range g.IntN(6) {
		if i > 0 {
			b.WriteByte('&')
		}
		escape := url.QueryEscape
		if g.odds(30) {
			escape = func(s string) string { return escapeRaw(s, "&=+#% ") }
		}
		b.WriteString(escape(g.name()))
		if g.odds(95) {
			b.WriteByte('=')
		}
		b.WriteString(escape(g.value()))
	}
	return b.String()
}

// escapeRaw escapes what cannot stand in a request line, and some of what may not.
func escapeRaw(s, also string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] == 0x7f || strings.IndexByte(also, s[i]) >= 0 {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// field takes out of s what cannot stand in a header field.
func field(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}

func (g generator) json(depth int) any {
	switch g.IntN(6 - min(depth, 3)) {
	case 5:
		m := map[string]any{}
		for range g.IntN(4) {
			m[g.name()] = g.json(depth + 1)
		}
		return m
	case 4:
		var l []any
		for range g.IntN(4) {
			l = append(l, g.json(depth+1))
		}
		return l
	case 3:
		return pick[any](g, nil, true, 1.5, -1, "x")
	default:
		return g.value()
	}
}

func (g generator) xml() string {
	escape := func(s string) string { return pick(g, html.EscapeString(s), "<![CDATA["+s+"]]>", s) }
	return `<?xml version="1.0"?>` + pick(g, "", `<!DOCTYPE a [<!ENTITY b "c">]>`) +
		fmt.Sprintf(`<a b="%s"><c>%s</c><d e='%s'/>%s</a>`, html.EscapeString(g.value()), escape(g.value()), html.EscapeString(g.value()), escape(g.value()))
}

func (g generator) multipart() string {
	quoted := func(s string) string { return strings.NewReplacer(`"`, "%22", "\r", "", "\n", "").Replace(s) }
	var parts []string
	for range 1 + g.IntN(3) {
		head := `Content-Disposition: form-data; name="` + quoted(g.name()) + `"`
		if g.odds(30) {
			head += `; filename="` + quoted(g.value()) + `"`
		}
		if g.odds(30) {
			head += "\r\nContent-Type: " + pick(g, "text/plain", "text/plain; charset=utf-7", "image/png", field(g.value()))
		}
		parts = append(parts, head+"\r\n\r\n"+g.value())
	}
	return multipartBody(parts...)
}

// body is a body and the type that it is said to have.
func (g generator) body() (contentType, body string) {
	switch g.IntN(8) {
	case 0, 1:
		return pick(g, "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"), g.pairs()
	case 2, 3:
		b, err := json.Marshal(g.json(0))
		if err != nil {
			return "", ""
		}
		return pick(g, "application/json", "application/json", "application/vnd.x+json", "text/plain", "application/x-www-form-urlencoded", ""), string(b)
	case 4:
		return pick(g, "text/xml", "application/xml", "application/soap+xml", ""), g.xml()
	case 5:
		return multipartType, g.multipart()
	default:
		return pick(g, "", "text/plain", "application/octet-stream", "image/png", "application/graphql", "application/ndjson", field(g.text())), g.value()
	}
}

// request is a request as it goes over the wire.
func (g generator) request() []byte {
	contentType, body := "", ""
	method := pick(g, "GET", "GET", "HEAD", "DELETE", "OPTIONS", "PURGE")
	if g.odds(55) {
		method = pick(g, "POST", "POST", "PUT", "PATCH", "GET")
		contentType, body = g.body()
	}
	target := pick(g, "/", "/index.html", "/app/x", "/a/b.php/c", "/"+escapeRaw(g.value(), "?# "), "//x/"+escapeRaw(g.text(), "?#"))
	if g.odds(60) {
		target += "?" + g.pairs()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\n", method, target, pick(g, 1, 1, 1, 0))
	fmt.Fprintf(&b, "Host: %s\r\n", pick(g, "app.example.test", "app.example.test", "192.0.2.7", "localhost:8080"))
	fmt.Fprintf(&b, "User-Agent: %s\r\n", pick(g, browser().Get("User-Agent"), browser().Get("User-Agent"), field(g.value())))
	if g.odds(90) {
		fmt.Fprintf(&b, "Accept: %s\r\n", pick(g, "*/*", "text/html", field(g.value())))
	}
	for range g.IntN(4) {
		name := pick(g, "X-A", "x-a", "X-B", "Referer", "Range", "Accept-Language", "Accept-Encoding", "X-Forwarded-For", "Content-Encoding", "If-None-Match", "Origin", "Connection")
		fmt.Fprintf(&b, "%s: %s\r\n", name, pick(g, field(g.value()), "gzip, br", "bytes=0-5,5-9"))
	}
	for range pick(g, 0, 0, 1, 1, 2) {
		var cookies []string
		for range 1 + g.IntN(4) {
			cookies = append(cookies, field(strings.NewReplacer(";", "%3b").Replace(g.name()+"="+g.value())))
		}
		fmt.Fprintf(&b, "Cookie: %s\r\n", strings.Join(cookies, "; "))
	}
	if contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", contentType)
	}
	switch {
	case body == "":
		b.WriteString("\r\n")
	case g.odds(30):
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n%x\r\n%s\r\n0\r\nX-Late: %s\r\n\r\n", len(body), body, field(g.value()))
	default:
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	}
	return b.Bytes()
}

func TestGeneratedRequestsAreMostlyRequests(t *testing.T) {
	t.Parallel()
	good, bodies := 0, 0
	for n := range uint64(500) {
		if r := generate(1, n); r != nil {
			good++
			if r.ContentLength != 0 {
				bodies++
			}
		}
	}
	if good < 400 || bodies < 150 {
		t.Errorf("of 500: got %d requests, %d with a body, want most and a third", good, bodies)
	}
}
