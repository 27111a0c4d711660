package waf

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The names of the body processors, as the rules know them.
const (
	processorForm      = "URLENCODED"
	processorMultipart = "MULTIPART"
	processorJSON      = "JSON"
	processorXML       = "XML"
)

// A mediaType is a request's first Content-Type without its parameters, in lower case; "" if there is
// none.
type mediaType string

// mediaTypeOf reads the first Content-Type only, as applications do; a second one is refused by rule
// 920620.
func mediaTypeOf(h http.Header) mediaType {
	name, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return mediaType(strings.ToLower(strings.TrimSpace(name)))
}

// processor is the body processor that the type calls for by itself; "" if the body decides.
func (m mediaType) processor() string {
	switch m {
	case "application/x-www-form-urlencoded":
		return processorForm
	case "multipart/form-data":
		return processorMultipart
	case "application/json", "text/json", "application/x-json", "application/csp-report",
		"application/ndjson", "application/x-ndjson", "application/jsonl",
		"application/x-amz-json-1.0", "application/x-amz-json-1.1": // AWS's APIs
		return processorJSON
	case "application/xml", "text/xml":
		return processorXML
	}
	switch {
	case strings.HasSuffix(string(m), "+json"):
		return processorJSON
	case strings.HasSuffix(string(m), "+xml"):
		return processorXML
	}
	return ""
}

// lines reports whether the type is a list of JSON documents, one in each line.
func (m mediaType) lines() bool {
	return m == "application/ndjson" || m == "application/x-ndjson" || m == "application/jsonl"
}

// grpc reports whether the type is gRPC over HTTP/2, whose messages come one by one for as long as the
// call lasts.
func (m mediaType) grpc() bool {
	return m == "application/grpc" || strings.HasPrefix(string(m), "application/grpc+")
}

// binary reports whether bodies of the type are expected to be other than text. Whether one is, its
// bytes say.
func (m mediaType) binary() bool {
	switch m {
	case "application/octet-stream", "application/pdf", "application/zip", "application/gzip",
		"application/x-gzip", "application/protobuf", "application/x-protobuf", "application/cbor",
		"application/msgpack", "application/x-msgpack", "application/grpc-web", "application/grpc-web+proto":
		return true
	}
	for _, prefix := range []string{"image/", "audio/", "video/", "font/", "model/", "application/grpc"} {
		if strings.HasPrefix(string(m), prefix) {
			return true
		}
	}
	return false
}

// sniffJSON finds the JSON that an application would read from b whatever its type says: the objects
// and arrays at its beginning, as one document. Whole says that there is nothing else in b.
func sniffJSON(b []byte) (doc []byte, whole bool) {
	b = bytes.TrimPrefix(b, utf8BOM())
	if !beginsJSON(b) {
		return nil, false
	}
	if json.Valid(b) {
		return b, true
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	for {
		var value json.RawMessage
		err := dec.Decode(&value)
		if err != nil {
			if doc != nil {
				doc = append(doc, ']')
			}
			return doc, doc != nil && err == io.EOF
		}
		if doc == nil {
			doc = append(make([]byte, 0, len(b)+2), '[')
		} else {
			doc = append(doc, ',')
		}
		doc = append(doc, value...)
	}
}

// beginsJSON reports that b begins as an object or array does.
func beginsJSON(b []byte) bool {
	text := bytes.TrimLeft(bytes.TrimPrefix(b, utf8BOM()), " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

// utf8BOM is the mark that some writers put in front of UTF-8.
func utf8BOM() []byte { return []byte("\ufeff") }

// looksXML reports whether b begins as an XML document that says so.
func looksXML(b []byte) bool {
	b = bytes.TrimPrefix(b, utf8BOM())
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("<?xml"))
}

// A shape is what is known of an XML document before it is inspected.
type shape struct {
	whole   bool // it has its end
	tooMany bool // it has more texts and attributes than are inspected, or many times as many elements
	tooDeep bool
	tokens  int
}

// elementsPerValue is how many elements there may be for each value: those without one cost as much.
const elementsPerValue = 4

// shapeOfXML reads a document as Coraza's reader does, which takes what there is and so never sees a value that is
// left open; a forgiving application might. It stops where there is too much.
func shapeOfXML(b []byte, values, depth int) (s shape) {
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.Strict = false
	dec.AutoClose = xml.HTMLAutoClose
	dec.Entity = xml.HTMLEntity
	level, found := 0, 0
	for {
		token, err := dec.Token()
		if err != nil {
			s.whole = err == io.EOF
			return s
		}
		s.tokens++
		switch t := token.(type) {
		case xml.StartElement:
			level++
			found += len(t.Attr)
			s.tokens += len(t.Attr)
		case xml.EndElement:
			level--
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				found++
			}
		}
		if found > values || s.tokens > 2*elementsPerValue*values {
			s.tooMany = true
			return s
		}
		if level > depth {
			s.tooDeep = true
			return s
		}
	}
}

// depthOf is how deep brackets and braces are nested outside the strings of JSON.
func depthOf(b []byte) (deepest int) {
	level := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			level++
			deepest = max(deepest, level)
		case '}', ']':
			level--
		}
	}
	return deepest
}

// wholeRunes is b without the beginning of a character at its end.
func wholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// isBinary reports whether b is something other than text in UTF-8. Text in UTF-16 is binary too; the
// types for which that matters never come here.
func isBinary(b []byte) bool {
	return bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b)
}

// joinLines turns a list of JSON documents into one array.
func joinLines(b []byte) []byte {
	out := make([]byte, 0, len(b)+2)
	out = append(out, '[')
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, line...)
	}
	return append(out, ']')
}

// isCutJSON reports whether nothing but its end is missing from the JSON document b.
func isCutJSON(b []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(b))
	for {
		_, err := dec.Token()
		if err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		}
	}
}

// harmlessType is a document type that is harmless: it has no internal subset, and what it refers to is the W3C's.
var harmlessType = regexp.MustCompile(`(?i)^<!DOCTYPE\s+[\w:.-]+(?:\s+PUBLIC\s+"-//W3C//[^"]*"\s+"https?://www\.w3\.org/[^"]*")?\s*>$`)

const (
	maxDocTypes   = 8       // a document has one
	maxTypeLength = 1 << 10 // those of the W3C are a fifth as long
)

// definesDocType reports whether an XML document brings a document type of its own.
func definesDocType(b []byte) bool {
	for n := 0; ; b = b[2:] {
		i := bytes.Index(b, []byte("<!"))
		if i < 0 {
			return false
		}
		b = b[i:]
		if !hasFoldPrefix(b[2:], "DOCTYPE") && !hasFoldPrefix(b[2:], "ENTITY") {
			continue
		}
		n++
		end := bytes.IndexByte(b[:min(len(b), maxTypeLength)], '>')
		if n > maxDocTypes || end < 0 || !harmlessType.Match(b[:end+1]) {
			return true
		}
	}
}

func hasFoldPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && strings.EqualFold(string(b[:len(prefix)]), prefix)
}

// formPairs splits a form as applications do. A name or value whose escapes are broken is taken as it
// is.
func formPairs(b string, yield func(name, value string)) {
	for pair := range strings.SplitSeq(b, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		yield(unescape(name), unescape(value))
	}
}

// textPairs is formPairs for text that was not sent as a form. Should an application read it as one all
// the same, it finds every name and value here; but text without "=" names nothing, and a form has its
// line breaks escaped, so what stands before "=" with a bare one is prose. Both are inspected as values:
// the rules about names take any line break for a split header, and names are kept in the Event, where
// the text of a body has no place.
func textPairs(b string, yield func(name, value string)) {
	for pair := range strings.SplitSeq(b, "&") {
		name, value, assigns := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case !assigns:
			yield("", unescape(pair))
		case strings.ContainsAny(name, "\r\n"):
			yield("", unescape(name)+"="+unescape(value))
		default:
			yield(unescape(name), unescape(value))
		}
	}
}

func unescape(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

// decodeForm is unescape for the rules: it decodes what it can and leaves the rest as it is.
func decodeForm(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case b == '+':
			b = ' '
		case b == '%' && i+2 < len(s):
			if decoded, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = byte(decoded)
				i += 2
			}
		}
		out = append(out, b)
	}
	return string(out)
}
