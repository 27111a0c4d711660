package wire

import (
	"fmt"
	"strings"
	"testing"
)

// scan uses what it can of b: the first n bytes are good, and the skip bytes behind them are to be dropped.
func (f *framer) scan(b []byte) (n, skip int, err *Error) {
	for n < len(b) {
		before := f.state
		m, skip, err := f.step(b[n:])
		n += m
		if err != nil || skip > 0 || m == 0 && f.state == before {
			return n, skip, err
		}
	}
	return n, 0, nil
}

// play gives stream to a framer in steps of at most step bytes and returns what it released. With ended it
// tells whether the stream stopped at a boundary between requests.
func play(stream string, step int) (released string, ended bool, err *Error) {
	f := framer{maxHead: defaultMaxHeaderBytes}
	var out strings.Builder
	var pending []byte
	for len(stream) > 0 || len(pending) > 0 {
		k := min(step, len(stream))
		pending = append(pending, stream[:k]...)
		stream = stream[k:]
		for {
			n, skip, err := f.scan(pending)
			out.Write(pending[:n])
			pending = pending[n+skip:]
			if err != nil {
				return out.String(), false, err
			}
			if skip == 0 {
				break
			}
		}
		if k == 0 {
			break
		}
	}
	return out.String(), f.state == inHead && len(pending) == 0, nil
}

// both plays stream at once and byte by byte, which must not differ.
func both(t *testing.T, stream string) (released string, ended bool, err *Error) {
	t.Helper()
	released, ended, err = play(stream, len(stream))
	r1, e1, err1 := play(stream, 1)
	if r1 != released && err == nil || e1 != ended || (err1 == nil) != (err == nil) {
		t.Errorf("byte by byte: released %q, ended %v, error %v; want %q, %v, %v", r1, e1, err1, released, ended, err)
	}
	return released, ended, err
}

const (
	get  = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	post = "POST / HTTP/1.1\r\nHost: a.test\r\n"
)

func TestFramerReleases(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"a request":                        get,
		"two requests":                     get + get,
		"an HTTP/1.0 request without Host": "GET / HTTP/1.0\r\n\r\n",
		"a body by length":                 post + "Content-Length: 5\r\n\r\nhello" + get,
		"a length of zero":                 post + "Content-Length: 0\r\n\r\n" + get,
		"a length with leading zeros":      post + "Content-Length: 0005\r\n\r\nhello" + get,
		"blanks around a length":           post + "Content-Length: \t 5 \t\r\n\r\nhello" + get,
		"a chunked body":                   post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n" + get,
		"Chunked in capitals":              post + "transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n" + get,
		"a chunk with leading zeros":       post + "Transfer-Encoding: chunked\r\n\r\n0000000000000001\r\nx\r\n000\r\n\r\n" + get,
		"chunk extensions":                 post + "Transfer-Encoding: chunked\r\n\r\n1;a;b=c;d=\"e\\\"; f\"\r\nx\r\n0;z\r\n\r\n" + get,
		"trailers":                         post + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\nX-More:\r\n\r\n" + get,
		"CRLF as data":                     post + "Content-Length: 4\r\n\r\n\r\n\r\n" + get,
		"a request as data":                post + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(get)) + get + get,
		"obs-text in a value":              "GET / HTTP/1.1\r\nHost: a.test\r\nX: caf\xe9\r\n\r\n",
		"every tchar in a name":            "GET / HTTP/1.1\r\nHost: a.test\r\n!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n",
		"an empty value":                   "GET / HTTP/1.1\r\nHost: a.test\r\nX:\r\n\r\n",
		"an absolute target":               "GET http://a.test:8080/x?y HTTP/1.1\r\nX: y\r\nHost: A.test:8080\r\n\r\n",
		"an absolute target and no Host":   "GET http://a.test/ HTTP/1.0\r\n\r\n" + get,
		"an absolute target without path":  "GET HTTPS://a.test?y HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"OPTIONS *":                        "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"an IPv6 Host":                     "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n",
		"escapes":                          "GET /%2e%C3%A9?%zz HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"names near the framing fields":    "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Language: en\r\nAccept-Encoding: gzip\r\nTE: trailers\r\n\r\n",
		"Expect":                           post + "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
		"odd Expect on HTTP/1.0":           "POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 1\r\n\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			released, ended, err := both(t, stream)
			if released != stream || !ended || err != nil {
				t.Errorf("released %q, ended %v, error %v; want all of it, true, nil", released, ended, err)
			}
		})
	}
}

func TestFramerDropsOneEmptyLine(t *testing.T) {
	t.Parallel()
	released, ended, err := both(t, "\r\n"+get+"\r\n"+get)
	if released != get+get || !ended || err != nil {
		t.Errorf("released %q, ended %v, error %v; want the two requests", released, ended, err)
	}
}

func TestFramerHoldsBytesBehindAnUpgrade(t *testing.T) {
	t.Parallel()
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nok",
		"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
	} {
		released, ended, err := both(t, head+get)
		if released != head || ended || err != nil {
			t.Errorf("%q: released %q, ended %v, error %v; want only the request", head, released, ended, err)
		}
	}
}

func TestFramerRefusesHeads(t *testing.T) {
	t.Parallel()
	line := func(s string) string { return s + "\r\nHost: a.test\r\n\r\n" }
	field := func(s string) string { return "GET / HTTP/1.1\r\nHost: a.test\r\n" + s + "\r\n\r\n" }
	host := func(s string) string { return "GET / HTTP/1.1\r\nHost: " + s + "\r\n\r\n" }
	type c struct {
		stream string
		want   *Error
	}
	cases := []c{
		{"GET / HTTP/1.1\nHost: a.test\n\n", errBareLF},
		{"GET / HTTP/1.1\r\nHost: a.test\n\r\n", errBareLF},
		{"GET / HTTP/1.1\r\nHost: a.test\r\n\n", errBareLF},
		{"\n" + get, errLeadingBytes},
		{"\r\n\r\n" + get, errLeadingBytes},
		{"\r\r\n" + get, errLeadingBytes},
		{" " + get, errLeadingBytes},
		{"\x16\x03\x01\x02\x00\x01", errLeadingBytes},
		{line("GET  / HTTP/1.1"), errTargetByte},
		{line("GET /  HTTP/1.1"), errTargetByte},
		{line("GET / HTTP/1.1 "), errRequestLine},
		{line("GET\t/\tHTTP/1.1"), errRequestLine},
		{line("GET /"), errRequestLine},
		{line("GET"), errRequestLine},
		{line("GET HTTP/1.1"), errRequestLine},
		{line("GET  HTTP/1.1"), errRequestLine},
		{line("GET / http/1.1"), errRequestLine},
		{line("GET / HTTP/1.1x"), errRequestLine},
		{line("GET / HTTP/01.1"), errRequestLine},
		{line("GET / XTTP/1.1"), errRequestLine},
		{line("GET / HTTP/1.2"), errVersion},
		{line("GET / HTTP/0.9"), errVersion},
		{line("PRI * HTTP/2.0"), errVersion},
		{line("G@T / HTTP/1.1"), errMethod},
		{line("G\x00T / HTTP/1.1"), errMethod},
		{line("GET /a\x00b HTTP/1.1"), errTargetByte},
		{line("GET /a\tb HTTP/1.1"), errTargetByte},
		{line("GET /a b HTTP/1.1"), errTargetByte},
		{line("GET /a\rb HTTP/1.1"), errTargetByte},
		{line("GET /\x7f HTTP/1.1"), errTargetByte},
		{line("GET /\xc3\xa9 HTTP/1.1"), errTargetByte},
		{line("GET /%zz HTTP/1.1"), errTargetEscape},
		{line("GET /%4 HTTP/1.1"), errTargetEscape},
		{line("GET http://a.test/%4 HTTP/1.1"), errTargetEscape},
		{line("GET * HTTP/1.1"), errTargetForm},
		{line("GET a.test:80 HTTP/1.1"), errTargetForm},
		{line("GET admin HTTP/1.1"), errTargetForm},
		{line("GET ftp://a.test/ HTTP/1.1"), errTargetForm},
		{line("GET http:///x HTTP/1.1"), errTargetForm},
		{line("GET http://u:p@a.test/ HTTP/1.1"), errTargetForm},
		{line("GET http://a.test:8x/ HTTP/1.1"), errTargetForm},
		{line("CONNECT /x HTTP/1.1"), errTargetForm},
		{line("CONNECT a.test HTTP/1.1"), errTargetForm},
		{line("CONNECT a.test: HTTP/1.1"), errTargetForm},
		{"GET / HTTP/1.1\r\n\r\n", errNoHost},
		{field("Host: a.test"), errManyHosts},
		{line("GET http://b.test/ HTTP/1.1"), errTwoHosts},
		{line("GET http://a.test:443/ HTTP/1.1"), errTwoHosts},
		{line("GET https://a.test. HTTP/1.1"), errTwoHosts},
		{line("OPTIONS http://a.test:80 HTTP/1.1"), errTwoHosts},
		{"GET http://a.test/ HTTP/1.0\r\nHost: a\r\n\r\n", errTwoHosts},
		{"GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n", errTwoHosts},
		{"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", errManyHosts},
		{field(" folded: x"), errFold},
		{field("X: a\r\n b"), errFold},
		{"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", errFold},
		{field("X : a"), errFieldName},
		{field("X\t: a"), errFieldName},
		{field(": a"), errFieldName},
		{field("no colon"), errFieldName},
		{field("X\xff: a"), errFieldName},
		{field("X(y): a"), errFieldName},
		{field("X: a\x00"), errFieldValue},
		{field("X: 0123456789\x01abcdefghijk"), errFieldValue},
		{field("X: a\rb"), errFieldValue},
		{field("X: a\r"), errFieldValue},
		{field("X: 12345678\x7f"), errFieldValue},
		{field("Content-Length: 1\r\nContent-Length: 1"), errManyLengths},
		{field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), errManyCodings},
		{field("Transfer-Encoding: chunked\r\nContent-Length: 1"), errBothFramings},
		{field("Content-Length: 0\r\nTransfer-Encoding: chunked"), errBothFramings},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errCodingOn10},
		{field("Expect: 100-continue, x"), errExpect},
		{field("Expect: y 100-continue"), errExpect},
		{field("Trailer: X, Content-Length"), errTrailerField},
		{field("Trailer: X, Y Z"), errTrailerField},
		{field(strings.Repeat("X: y\r\n", maxFields) + "X: y"), errTooManyFields},
		{"GET /" + strings.Repeat("a", maxRequestLine) + " HTTP/1.1\r\n", errLineTooLong},
		{"GET /" + strings.Repeat("a", maxRequestLine), errLineTooLong},
		{field("X: " + strings.Repeat("a", defaultMaxHeaderBytes)), errHeadTooLong},
		{"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", defaultMaxHeaderBytes), errHeadTooLong},
	}
	for _, v := range []string{
		"", "+1", "-1", "1 1", "1,1", "1;", "0x1", "1e1", "1.0", "\"1\"", "１", "9223372036854775808", strings.Repeat("9", 30),
	} {
		cases = append(cases, c{field("Content-Length: " + v), errLength})
	}
	for _, v := range []string{"gzip, chunked", "gzip,\tCHUNKED", "chunked, chunked", ",chunked"} {
		cases = append(cases, c{field("Transfer-Encoding: " + v), errCoding})
	}
	for _, v := range []string{
		"", "identity", "gzip", "chunked, gzip", "chunked,", "chunked;q=1", "\"chunked\"", "chunked identity", "xchunked", "chunke", "chunkedx",
	} {
		cases = append(cases, c{field("Transfer-Encoding: " + v), errLastCoding})
	}
	for _, joint := range []string{"_", ".", "", "--", "'", "~-", "1"} {
		cases = append(
			cases,
			c{field("Transfer" + joint + "Encoding: chunked"), errLookAlike},
			c{field("content" + joint + "LENGTH: 1"), errLookAlike},
			c{field("!Content-Length" + joint + ": 1"), errLookAlike},
		)
	}
	for _, v := range []string{
		"", "a/b", "a b", "a,b", "a@b", "a:b", "a:", "a:99999", "a:123456", ":80", "[::1", "[::1]x", "[1.2.3.4]",
		"[fe80::1%25eth0]", "[]", "a\\b", "a?b", "a#b", "a%41", "<a>", "\xc3\xa9.test", strings.Repeat("a", 260),
	} {
		cases = append(cases, c{host(v), errHost})
	}
	for _, tt := range cases {
		t.Run(tt.want.Reason, func(t *testing.T) {
			t.Parallel()
			released, _, err := both(t, get+tt.stream)
			if err != tt.want {
				t.Errorf("%.80q: error %v, want %v", tt.stream, err, tt.want)
			}
			if released != get {
				t.Errorf("%.80q: released %.80q, want the request before it", tt.stream, released)
			}
		})
	}
}

func TestFramerRefusesBodies(t *testing.T) {
	t.Parallel()
	const head = post + "Transfer-Encoding: chunked\r\n\r\n"
	big := strings.Repeat("x", maxTrailer)
	for _, tt := range []struct {
		body, released string
		want           *Error
	}{
		{"\r\n", "", errChunkSize},
		{"x\r\n", "", errChunkSize},
		{"-1\r\n", "", errChunkSize},
		{"+1\r\n", "", errChunkSize},
		{"0x1\r\n", "", errChunkSize},
		{" 1\r\n", "", errChunkSize},
		{"1 \r\nx\r\n", "", errChunkSize},
		{"1\t\r\nx\r\n", "", errChunkSize},
		{"1\r\r\nx\r\n", "", errChunkSize},
		{"1 ;a\r\nx\r\n", "", errChunkSize},
		{"1_0\r\n", "", errChunkSize},
		{"8000000000000000\r\n", "", errChunkSize},
		{"00000000000000001\r\nx\r\n", "", errChunkSize},
		{"1\nx\r\n", "", errBareLF},
		{"1;\r\nx\r\n", "", errChunkExtension},
		{"1; a\r\nx\r\n", "", errChunkExtension},
		{"1;a=\r\nx\r\n", "", errChunkExtension},
		{"1;a=b c\r\nx\r\n", "", errChunkExtension},
		{"1;a=\"b\r\nx\r\n", "", errChunkExtension},
		{"1;a=\"b\\\r\nx\r\n", "", errChunkExtension},
		{"1;a=\"\x00\"\r\nx\r\n", "", errChunkExtension},
		{"1;a\rb\r\nx\r\n", "", errChunkExtension},
		{"1;a\nx\r\n", "", errBareLF},
		{"1;" + strings.Repeat("a", maxChunkLine) + "\r\nx\r\n", "", errChunkExtension},
		{"1\r\nxy\r\n", "1\r\nx", errChunkEnd},
		{"1\r\nx\n", "1\r\nx", errChunkEnd},
		{"1\r\nx\rz", "1\r\nx", errChunkEnd},
		{"1\r\nx0\r\n\r\n", "1\r\nx", errChunkEnd},
		{"0\r\nX : 1\r\n\r\n", "", errFieldName},
		{"0\r\n X: 1\r\n\r\n", "", errFold},
		{"0\r\nX: \x00\r\n\r\n", "", errFieldValue},
		{"0\r\nX: 1\n\r\n", "", errBareLF},
		{"0\r\nGET / HTTP/1.1\r\n\r\n", "", errFieldName},
		{"0\r\nContent-Length: 1\r\n\r\n", "", errTrailerMayNot},
		{"0\r\nTransfer_Encoding: chunked\r\n\r\n", "", errTrailerMayNot},
		{"0\r\nHost: b.test\r\n\r\n", "", errTrailerMayNot},
		{"0\r\nAUTHORIZATION: x\r\n\r\n", "", errTrailerMayNot},
		{"0\r\nX-Amzn-Oidc-Identity: x\r\n\r\n", "", errTrailerMayNot},
		{"0\r\nX: " + big + "\r\n\r\n", "", errTrailerTooLong},
	} {
		t.Run(tt.want.Reason, func(t *testing.T) {
			t.Parallel()
			released, _, err := both(t, head+tt.body)
			if err != tt.want || released != head+tt.released {
				t.Errorf("%.60q: released %q, error %v; want %q, %v", tt.body, released, err, head+tt.released, tt.want)
			}
		})
	}
}

func TestFramerBoundsChunkOverhead(t *testing.T) {
	t.Parallel()
	const head = post + "Transfer-Encoding: chunked\r\n\r\n"
	single := head + strings.Repeat("1\r\nx\r\n", 100_000) + "0\r\n\r\n"
	if _, ended, err := play(single, 4096); !ended || err != nil {
		t.Errorf("chunks of one byte: ended %v, error %v; want true, nil", ended, err)
	}
	padded := head + strings.Repeat("1;"+strings.Repeat("a", 100)+"\r\nx\r\n", 200) + "0\r\n\r\n"
	if _, _, err := play(padded, 4096); err != errChunkOverhead {
		t.Errorf("chunks with long extensions: error %v, want %v", err, errChunkOverhead)
	}
}

// head500 is what a browser sends, 500 bytes of it.
var head500 = func() string {
	s := "GET /app/index.html?tab=1 HTTP/1.1\r\nHost: app.example.test\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nCookie: s="
	return s + strings.Repeat("c", 500-4-len(s)) + "\r\n\r\n"
}()

func TestFramerDoesNotAllocate(t *testing.T) {
	head, f := []byte(head500), framer{maxHead: defaultMaxHeaderBytes}
	if got := testing.AllocsPerRun(100, func() {
		if n, _, err := f.scan(head); n != len(head) || err != nil {
			t.Fatal(n, err)
		}
	}); got != 0 {
		t.Errorf("%v allocations a request, want 0", got)
	}
}

func BenchmarkFramer(b *testing.B) {
	head, f := []byte(head500), framer{maxHead: defaultMaxHeaderBytes}
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		if n, _, err := f.scan(head); n != len(head) || err != nil {
			b.Fatal(n, err)
		}
	}
}
