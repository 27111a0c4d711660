package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An ordinary is a request that must not be refused, or one of which it is said why it is.
type ordinary struct {
	file, name string
	line       string // method and target
	header     []field
	body       string
	blocked    []int  // the status, or each of several; none if it passes
	why        string // it is blocked
	passes     string // what of waf on a route lets it pass
}

// TestOrdinaryRequests sends what ordinary people and programs send, under the default configuration. testdata/ordinary/README.md
// says what it is made of.
func TestOrdinaryRequests(t *testing.T) {
	t.Parallel()
	all := ordinaryRequests(t)
	if len(all) < 300 {
		t.Errorf("requests: got %d, want 300 at least", len(all))
	}
	var routes strings.Builder
	for i, o := range all {
		if o.passes != "" {
			fmt.Fprintf(&routes, "  - {match: case-%d.example.test, to: u, require: nothing, waf: %s}\n", i, o.passes)
		}
	}
	routes.WriteString("  - {match: app.example.test, to: u, require: nothing}\n  - {match: login.example.test, to: u, require: signed-in}\n")
	s := startSite(t, siteSpec{routes: routes.String()})
	blocked := 0
	for i, o := range all {
		if o.blocked != nil {
			blocked++
		}
		t.Run(o.file+": "+o.name, func(t *testing.T) {
			s.assertOrdinary(t, o, appHost, o.blocked)
			if o.passes != "" {
				s.assertOrdinary(t, o, fmt.Sprintf("case-%d.example.test", i), nil)
			}
		})
	}
	t.Logf("%d requests, %d of them blocked", len(all), blocked)
}

// assertOrdinary wants o to pass as it was sent, or to be refused with this status, in each of three ways.
func (s *site) assertOrdinary(t *testing.T, o ordinary, host string, refusal []int) {
	t.Helper()
	s.threeWays(t, o.raw(host), func(way string, got answer) {
		seen := s.backend.drain()
		switch {
		case refusal != nil:
			if !slices.Contains(refusal, got.status) || len(seen) > 0 {
				t.Errorf("%s: got %d and %d requests upstream, want %v (%s)", way, got.status, len(seen), refusal, o.why)
			}
			if way == "HTTP/1.1" {
				s.assertArgued(t, o, got)
			}
		case got.status != 200:
			event := s.eventWithID(got.header.Get("X-Request-Id"))
			matches, _ := json.Marshal(event["waf"])
			t.Errorf("%s: got %d, want 200: %v %s", way, got.status, event["denied"], matches)
		case len(seen) != 1 || seen[0].body != o.body:
			t.Errorf("%s: the upstream saw %.200q, want the request as it was sent", way, seen)
		}
	})
}

// assertArgued wants the rules that o is said to be refused by to have matched.
func (s *site) assertArgued(t *testing.T, o ordinary, got answer) {
	t.Helper()
	list, _, _ := strings.Cut(o.why, ":")
	record, _ := s.eventWithID(got.header.Get("X-Request-Id"))["waf"].(map[string]any)
	matched := fmt.Sprint(record["rules"])
	for id := range strings.FieldsSeq(list) {
		if id != "none" && got.status != 413 && !strings.Contains(matched, id) {
			t.Errorf("rules: got %s, want %s", matched, id)
		}
	}
}

// raw is the request in HTTP/1.1.
func (o ordinary) raw(host string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: %s\r\n", o.line, host)
	for _, f := range o.header {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
	if method, _, _ := strings.Cut(o.line, " "); o.body != "" || method == "POST" || method == "PUT" || method == "PATCH" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(o.body))
	}
	return b.String() + "\r\n" + o.body
}

// ordinaryRequests reads testdata/ordinary.
func ordinaryRequests(t *testing.T) (all []ordinary) {
	t.Helper()
	files, err := filepath.Glob("testdata/ordinary/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases := strings.Split("\n"+string(text), "\n== ")
		for _, c := range cases[1:] {
			o, err := parseOrdinary(c)
			if err != nil {
				t.Fatalf("%s: %s: %v", file, o.name, err)
			}
			o.file = strings.TrimSuffix(filepath.Base(file), ".txt")
			all = append(all, o)
		}
	}
	return all
}

func parseOrdinary(text string) (o ordinary, err error) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimRight(head, "\n"), "\n")
	if len(lines) < 2 {
		return o, fmt.Errorf("want a name and a request, got %q", head)
	}
	o.name = lines[0]
	seed := fnv.New64a()
	seed.Write([]byte(o.name))
	g := filler{rand.New(rand.NewPCG(seed.Sum64(), 1)), "form"}
	o.line = g.fill(lines[1])
	kind := ""
	var common []field
	for _, line := range lines[2:] {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "@blocked":
			list, why, _ := strings.Cut(rest, " ")
			o.why = why
			for text := range strings.SplitSeq(list, ",") {
				status, err := strconv.Atoi(text)
				if err != nil || why == "" {
					return o, fmt.Errorf("want statuses and why, got %q", line)
				}
				o.blocked = append(o.blocked, status)
			}
		case word == "@passes":
			o.passes = rest
		case word == "@form", word == "@json", word == "@multipart":
			kind = word[1:]
			common = append(common, field{"Content-Type", contentTypes[kind]})
		case strings.HasPrefix(word, "@"):
			if clients[word[1:]] == nil {
				return o, fmt.Errorf("nobody is called %s", word)
			}
			common = append(common, clients[word[1:]]...)
		default:
			name, value, ok := strings.Cut(line, ": ")
			if !ok {
				return o, fmt.Errorf("want a header field, got %q", line)
			}
			o.header = append(o.header, field{name, (&filler{g.Rand, "plain"}).fill(value)})
		}
	}
	for _, f := range common {
		if !slices.ContainsFunc(o.header, func(own field) bool { return strings.EqualFold(own.name, f.name) }) {
			o.header = append(o.header, f)
		}
	}
	g.context = kind
	o.body = g.fill(strings.TrimRight(body, "\n"))
	if kind == "multipart" {
		o.body = partsOf(body, g)
	}
	return o, nil
}

// partsOf writes the parts of a form, of which each begins with its header; lines of "--" lie between them.
func partsOf(text string, g filler) string {
	var b strings.Builder
	for part := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n--\n") {
		head, content, _ := strings.Cut(part, "\n\n")
		content = strings.TrimSuffix(content, "\n")
		if !strings.Contains(head, "filename=") {
			content = strings.ReplaceAll(content, "\n", "\r\n") // as browsers send fields
		}
		b.WriteString("--" + boundary + "\r\n" + strings.ReplaceAll(strings.TrimLeft(head, "\n"), "\n", "\r\n") + "\r\n\r\n" + g.fill(content) + "\r\n")
	}
	return b.String() + "--" + boundary + "--\r\n"
}

const boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"

var contentTypes = map[string]string{
	"form": "application/x-www-form-urlencoded", "json": "application/json", "multipart": "multipart/form-data; boundary=" + boundary,
}

// clients are the header fields that each sends by itself.
var clients = map[string][]field{
	"chrome": {
		{"User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"},
		{"Accept-Language", "en-GB,en;q=0.9,de;q=0.8"},
		{"Accept-Encoding", "gzip, deflate, br, zstd"},
		{"Sec-CH-UA", `"Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"`},
		{"Sec-CH-UA-Mobile", "?0"},
		{"Sec-CH-UA-Platform", `"Windows"`},
		{"Sec-Fetch-Site", "same-origin"},
		{"Upgrade-Insecure-Requests", "1"},
	},
	"firefox": {
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{"Accept-Language", "en-GB,en;q=0.5"},
		{"Accept-Encoding", "gzip, deflate, br, zstd"},
		{"TE", "trailers"},
	},
	"safari": {
		{"User-Agent", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{"Accept-Language", "en-GB,en;q=0.9"},
	},
	"iphone": {
		{"User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{"Accept-Language", "en-GB"},
	},
	"android": {
		{"User-Agent", "Mozilla/5.0 (Linux; Android 14; SM-G991B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/131.0.0.0 Mobile Safari/537.36"},
		{"Accept", "*/*"},
		{"X-Requested-With", "com.example.app"},
	},
	"xhr": {
		{"User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"},
		{"Accept", "application/json, text/plain, */*"},
		{"Origin", "https://app.example.test"},
		{"Referer", "https://app.example.test/app?tab=1&q=O%27Brien"},
		{"X-Requested-With", "XMLHttpRequest"},
		{"Sec-Fetch-Mode", "cors"},
		{"Sec-Fetch-Site", "same-origin"},
	},
}

// A filler puts made-up content in the place of {{KIND N}}. It is the same in every run.
type filler struct {
	*rand.Rand
	context string // how text is written: "form", "json" or as it is
}

var fillers = regexp.MustCompile(`\{\{(base64|base64url|base64form|hex|alnum|bytes|jpeg|png|zip|gzip|pdf|wasm|letter|jwt|rs|protobuf)(?: (\d+))?\}\}`)

func (g *filler) fill(text string) string {
	return fillers.ReplaceAllStringFunc(text, func(place string) string {
		m := fillers.FindStringSubmatch(place)
		n, _ := strconv.Atoi(m[2])
		return g.make(m[1], n)
	})
}

func (g *filler) make(kind string, n int) string {
	switch kind {
	case "base64":
		return base64.StdEncoding.EncodeToString(g.bytes(n * 3 / 4))
	case "base64url":
		return base64.RawURLEncoding.EncodeToString(g.bytes(n * 3 / 4))
	case "base64form":
		return url.QueryEscape(base64.StdEncoding.EncodeToString(g.bytes(n * 3 / 4)))
	case "hex":
		return hex.EncodeToString(g.bytes(n / 2))
	case "alnum":
		return strings.NewReplacer("-", "x", "_", "Y").Replace(base64.RawURLEncoding.EncodeToString(g.bytes(n)))[:n]
	case "jwt":
		return "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjE3In0." + base64.RawURLEncoding.EncodeToString(
			[]byte(`{"iss":"https://idp.example.com/","sub":"`+g.make("alnum", 12)+`","name":"Conan O'Brien","scope":"openid email","exp":1764265023}`)) + "." + g.make("base64url", 342)
	case "rs":
		return "\x1e"
	case "protobuf":
		return "\x0a\x0eConan O'Brien!\x12\x13conan@example.com\x00\x01\x1a\x04\x08\x96\x01\x10\x22\x07a=b&c=d\x2a\x02\xff\xfe"
	case "letter":
		return g.letter(n)
	}
	return signatures[kind][0] + string(g.bytes(n)) + signatures[kind][1]
}

// signatures are what files of a kind begin and end with.
var signatures = map[string][2]string{
	"bytes": {},
	"jpeg":  {"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00H\x00H\x00\x00", "\xff\xd9"},
	"png":   {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x10\x08\x06\x00\x00\x00", "\x00\x00\x00\x00IEND\xaeB`\x82"},
	"zip":   {"PK\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00!\x00[Content_Types].xml", "PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00"},
	"gzip":  {"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03backup.tar\x00", ""},
	"pdf":   {"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<</Type/Catalog/Pages 2 0 R/OpenAction[3 0 R/Fit]>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n4 0 obj\n<</Type/Annot/A<</S/URI/URI(https://example.com/?a=1&page=The%20Annual%20Report)>>>>\nendobj\n5 0 obj\n<</Filter/FlateDecode>>stream\n", "\nendstream\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n"},
	"wasm":  {"\x00asm\x01\x00\x00\x00\x01\x05\x01`\x00\x01\x7f", ""},
}

func (g *filler) bytes(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteByte(byte(g.IntN(256)))
	}
	return b.Bytes()
}

// letter is so many bytes of prose.
func (g *filler) letter(n int) string {
	sentences := []string{
		"It's been a while since we've heard from O'Brien.", "The union of both clubs was, in the end, selected by the members; nobody was against it.",
		"Don't forget to update the table -- and drop me a line!", "She said: \"Where is it? Under the stairs, or in the hall?\"",
		"From 9 to 5 (Monday–Friday) we're here; otherwise call +43 1 234 56 78.", "Is 2 + 2 = 4? Of course; and a < b implies b > a.",
		"Visit https://www.example.com/a?b=c&d=e#f for more.", "Das Wetter war schön, und die Straße trocken.", "50% of the time it works every time…",
		"He'd insert the key, then order by phone.", "Cats & dogs; “quotes” and ‘quotes’.", "Let's have a look at the group by the window, having had lunch.",
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(sentences[g.IntN(len(sentences))])
		if g.IntN(6) == 0 {
			b.WriteString("\n\n")
		} else {
			b.WriteString(" ")
		}
	}
	switch g.context {
	case "form":
		return url.QueryEscape(b.String())
	case "json":
		text, _ := json.Marshal(b.String())
		return string(text[1 : len(text)-1])
	}
	return b.String()
}
