package waf

import (
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"
)

// inUnits writes s in units of so many bytes, behind a mark if one is given.
func inUnits(s string, width int, order binary.AppendByteOrder, mark bool) string {
	if mark {
		s = "\ufeff" + s
	}
	var out []byte
	if width == 4 {
		for _, r := range s {
			out = order.AppendUint32(out, uint32(r))
		}
		return string(out)
	}
	for _, u := range utf16.Encode([]rune(s)) {
		out = order.AppendUint16(out, u)
	}
	return string(out)
}

// A type that makes a body uninspected must not be a way past the rules for what applications read all the same.
func TestBodiesInDisguise(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	const hidden = `1\u0027 \u0055NION \u0053ELECT password FROM users-- -`
	xmlHidden := "<r><a>1&#39; &#85;NION &#83;ELECT password FROM users-- -</a></r>"
	type body struct{ name, kind, attack, like string }
	tests := []body{
		{"form behind a NUL", "application/octet-stream", "\x00a&id=" + escaped(union), "\x00a&id=an ordinary sentence of text"},
		{"form behind bytes that are no text", "image/png", "\x89PNG\r\n\x1a\n\x00&id=" + escaped(union) + "&z=\xff", "\x89PNG\r\n\x1a\n\x00&id=1&z=\xff"},
		{"form with odd bytes in its value", "application/zip", "PK\x03\x04&id=\xff" + union, "PK\x03\x04&id=\xffabc"},
		{"xml in a form's type", "application/x-www-form-urlencoded", `<?xml version="1.0"?>` + xmlHidden, "<p>a & b = c"},
		{"xml in a form's type without its declaration", "application/x-www-form-urlencoded", xmlHidden, "<b>It is 3 < 4 & 5 > 4"},
		{"xml as text without its declaration", "text/plain", xmlHidden, "<p>An ordinary line<br>and <i>another</i>"},
		{"xml as bytes", "application/octet-stream", xmlHidden, "<r><a>ordinary</a></r>"},
		{"json as xml", "text/xml", `{"id":"` + hidden + `"}`, "<r/>"},
		{"json behind record separators", "application/json-seq", "\x1e{\"a\":1}\n\x1e{\"id\":\"" + hidden + "\"}\n", "\x1e{\"a\":1}\n\x1e{\"id\":2}\n"},
		{"json in an unlisted syntax", "application/vnd.shop+json-seq", "\x1e{\"id\":\"" + hidden + "\"}\n", "\x1e{\"id\":2}\n"},
	}
	for _, width := range []int{2, 4} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			for _, mark := range []bool{false, true} {
				tests = append(tests, body{
					"json in wide units", "application/octet-stream",
					inUnits(`{"id":"`+hidden+`"}`, width, order, mark), inUnits(`{"id":"größer 𝄞"}`, width, order, mark),
				}, body{
					"xml in wide units", "application/octet-stream",
					inUnits(xmlHidden, width, order, mark), inUnits(`<a>größer</a>`, width, order, mark),
				})
			}
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := e.check(sample{header: map[string]string{"Content-Type": tt.kind}, body: tt.attack}.request())
			defer v.body.release()
			if got := verdictOf(v); got != http.StatusForbidden && got != http.StatusBadRequest {
				t.Errorf("attack %q: got %d, want a refusal", tt.attack, got)
			}
			v = e.check(sample{header: map[string]string{"Content-Type": tt.kind}, body: tt.like}.request())
			defer v.body.release()
			if got := verdictOf(v); got != http.StatusOK {
				t.Errorf("its like %q: got %d, want 200 (%v %+v)", tt.like, got, v.err, v.result.Matches)
			}
		})
	}
}

func TestTypesThatAreAllowed(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	bodies := map[reading]string{
		asText: "some words", asForm: "a=b", asJSON: `{"a":1}`, asLines: `{"a":1}`, asXML: "<a>b</a>", asBinary: "\x01\x00\xff",
		asParts: multipartBody("Content-Disposition: form-data; name=\"a\"\r\n\r\nx"),
	}
	types := map[string]int{
		"application/vnd.api+json": 200, "application/fhir+xml": 200, "application/senml+cbor": 200, "application/x.shop+proto": 200,
		"application/offset+octet-stream": 200, "application/vnd.oai.openapi+yaml": 200, "image/svg+xml": 200, "image/heic": 200,
		"video/mp4": 200, "audio/mpeg": 200, "font/woff2": 200, "model/gltf+json": 200, "model/gltf-binary": 200,
		"text/html": 403, "text/javascript": 403, "application/x-php": 403, "application/x-java-serialized-object": 403,
		"multipart/mixed; boundary=XyZ": 403, "application/json/x": 403, "json": 403, "application/x-www-form-urlencoded,text/plain": 403,
		"image/png+php": 200, "application/+json": 200, "+json": 403, "application/vnd.x +json": 403, "application/vnd.x/y+json": 403,
	}
	for m := range readings {
		types[string(m)] = 200
	}
	for name, want := range types {
		for _, spelling := range []string{name, strings.ToUpper(name), name + "; charset=UTF-8"} {
			m := mediaTypeOf(http.Header{"Content-Type": {spelling}})
			if m.reading() == asParts {
				spelling = multipartType
			}
			if m.grpc() {
				continue // only in HTTP/2, as it streams
			}
			v := e.check(sample{header: map[string]string{"Content-Type": spelling}, body: bodies[m.reading()]}.request())
			v.body.release()
			if got := verdictOf(v); got != want {
				t.Errorf("%s: got %d, want %d (%v %+v)", spelling, got, want, v.err, v.result.Matches)
			}
		}
	}
}
