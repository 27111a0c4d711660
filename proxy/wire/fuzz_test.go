package wire

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// streams are what fuzzing starts from.
func streams() []string {
	return []string{
		get, get + get, post + "Content-Length: 5\r\n\r\nhello" + get,
		post + "Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n" + get,
		"\r\n" + get, "GET http://[::1]:1/%41?b HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nraw", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nraw",
	}
}

// FuzzFramer holds the framer to one reading: what it releases, http.ReadRequest reads as the same number of
// requests, without an error and without a byte left over.
func FuzzFramer(f *testing.F) {
	for _, s := range streams() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		var want []string
		fr := framer{maxHead: defaultMaxHeaderBytes}
		released := release(&fr, stream, func(head string) { want = append(want, firstLine(head)) })
		r := bufio.NewReader(strings.NewReader(released))
		var got []string
		for {
			if _, err := r.Peek(1); err != nil {
				break
			}
			req, err := http.ReadRequest(r)
			if err != nil {
				t.Fatalf("%q: ReadRequest: %v", released, err)
			}
			got = append(got, req.Method+" "+req.RequestURI+" "+req.Proto)
			if _, err := io.Copy(io.Discard, req.Body); err != nil && !fr.inBody() {
				t.Fatalf("%q: body: %v", released, err)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q: net/http read %q, the framer %q", released, got, want)
		}
	})
}

// release reads stream one unit at a time and reports each head.
func release(f *framer, stream string, onHead func(string)) string {
	var out strings.Builder
	start := 0
	pending := []byte(nil)
	for i := 0; i <= len(stream); i++ {
		before := f.state
		n, skip, err := f.scan(pending)
		out.Write(pending[:n])
		if n > 0 && before == inHead {
			onHead(out.String()[start:])
		}
		pending = pending[n+skip:]
		if f.state == inHead {
			start = out.Len()
		}
		if err != nil || i == len(stream) {
			break
		}
		pending = append(pending, stream[i])
	}
	return out.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line
}
