package waf

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatehouse/waf/payload"
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

// A reading is what is made of a body because of its type.
type reading int

const (
	asText   reading = iota // text, or JSON or XML where it begins so
	asForm                  // application/x-www-form-urlencoded
	asParts                 // multipart/form-data
	asJSON                  // one JSON document
	asLines                 // JSON documents, each in a line, or behind a record separator (RFC 7464)
	asXML                   // XML
	asBinary                // not inspected if its bytes are no text either
)

// readings are the types that requests may have, and how they are read. ../docs/waf.md says why they are these: everything
// that browsers, mobile applications and API clients send by themselves. Others are refused by rule 920420: whoever parses
// them, it is not a reader that we know.
var readings = map[mediaType]reading{
	"application/x-www-form-urlencoded":   asForm,
	"multipart/form-data":                 asParts,
	"application/json":                    asJSON,
	"text/json":                           asJSON,
	"application/x-json":                  asJSON,
	"application/csp-report":              asJSON,
	"application/x-amz-json-1.0":          asJSON,
	"application/x-amz-json-1.1":          asJSON,
	"text/x-json":                         asJSON,
	"application/ndjson":                  asLines,
	"application/x-ndjson":                asLines,
	"application/jsonl":                   asLines,
	"application/x-jsonlines":             asLines,
	"application/json-lines":              asLines,
	"application/json-seq":                asLines,
	"application/xml":                     asXML,
	"text/xml":                            asXML,
	"text/plain":                          asText,
	"text/csv":                            asText,
	"text/tab-separated-values":           asText,
	"text/calendar":                       asText,
	"text/vcard":                          asText,
	"text/markdown":                       asText,
	"text/x-markdown":                     asText,
	"text/ping":                           asText,
	"application/graphql":                 asText,
	"application/yaml":                    asText,
	"application/x-yaml":                  asText,
	"text/yaml":                           asText,
	"text/x-yaml":                         asText,
	"application/toml":                    asText,
	"application/jwt":                     asText,
	"application/jose":                    asText,
	"application/csv":                     asText,
	"application/x-pem-file":              asText,
	"application/grpc-web-text":           asText,
	"application/grpc-web-text+proto":     asText,
	"application/octet-stream":            asBinary,
	"application/pdf":                     asBinary,
	"application/zip":                     asBinary,
	"application/x-zip-compressed":        asBinary,
	"application/gzip":                    asBinary,
	"application/x-gzip":                  asBinary,
	"application/x-tar":                   asBinary,
	"application/x-7z-compressed":         asBinary,
	"application/x-bzip2":                 asBinary,
	"application/x-xz":                    asBinary,
	"application/zstd":                    asBinary,
	"application/vnd.rar":                 asBinary,
	"application/x-rar-compressed":        asBinary,
	"application/java-archive":            asBinary,
	"application/wasm":                    asBinary,
	"application/epub+zip":                asBinary,
	"application/protobuf":                asBinary,
	"application/x-protobuf":              asBinary,
	"application/vnd.google.protobuf":     asBinary,
	"application/cbor":                    asBinary,
	"application/msgpack":                 asBinary,
	"application/x-msgpack":               asBinary,
	"application/vnd.msgpack":             asBinary,
	"application/grpc":                    asBinary,
	"application/grpc+proto":              asBinary,
	"application/grpc-web":                asBinary,
	"application/grpc-web+proto":          asBinary,
	"application/connect+proto":           asBinary,
	"application/avro":                    asBinary,
	"application/vnd.apache.parquet":      asBinary,
	"application/vnd.apache.arrow.stream": asBinary,
	"application/dns-message":             asBinary,
	"application/ocsp-request":            asBinary,
	"application/timestamp-query":         asBinary,
	"application/pkcs10":                  asBinary,
	"application/pkix-cert":               asBinary,
	"application/rtf":                     asBinary,
	"application/msword":                  asBinary,
	"application/vnd.ms-excel":            asBinary,
	"application/vnd.ms-powerpoint":       asBinary,
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document":   asBinary,
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":         asBinary,
	"application/vnd.openxmlformats-officedocument.presentationml.presentation": asBinary,
	"application/vnd.oasis.opendocument.text":                                   asBinary,
	"application/vnd.oasis.opendocument.spreadsheet":                            asBinary,
	"application/vnd.oasis.opendocument.presentation":                           asBinary,
}

// reading is how a body of the type is read.
func (m mediaType) reading() reading {
	r, _ := m.read()
	return r
}

// read also says whether the type may be sent: it is listed, or it is of a kind or has a syntax (RFC 6839) that is.
func (m mediaType) read() (r reading, allowed bool) {
	if r, ok := readings[m]; ok {
		return r, true
	}
	kind, name, _ := strings.Cut(string(m), "/")
	named := isToken(name)
	_, syntax, _ := cutLast(name, "+")
	switch {
	case syntax == "json":
		return asJSON, named
	case syntax == "json-seq":
		return asLines, named
	case syntax == "xml":
		return asXML, named
	case syntax == "yaml":
		return asText, named
	case slices.Contains([]string{"image", "audio", "video", "font", "model"}, kind),
		slices.Contains([]string{"cbor", "cbor-seq", "msgpack", "proto", "protobuf", "zip", "gzip", "octet-stream"}, syntax):
		return asBinary, named
	case strings.HasPrefix(string(m), "application/grpc"):
		return asBinary, false
	}
	return asText, false
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// allowedTypes is the directive that tells rule 920420 the types that are listed by name.
func allowedTypes() string {
	names := slices.Sorted(maps.Keys(readings))
	var b strings.Builder
	for _, name := range names {
		b.WriteString("|" + string(name) + "| ")
	}
	return `SecAction "id:899200,phase:1,pass,t:none,nolog,setvar:'tx.allowed_request_content_type=` + strings.TrimSuffix(b.String(), " ") + "'\"\n"
}

// processor is the body processor that the type calls for by itself; "" if the body decides.
func (m mediaType) processor() string {
	switch m.reading() {
	case asForm:
		return processorForm
	case asParts:
		return processorMultipart
	case asJSON, asLines:
		return processorJSON
	case asXML:
		return processorXML
	}
	return ""
}

// lines reports whether the type is a list of JSON documents.
func (m mediaType) lines() bool { return m.reading() == asLines }

// grpc reports whether the type is gRPC over HTTP/2.
func (m mediaType) grpc() bool { return payload.IsGRPC(string(m)) }

// binary reports whether bodies of the type are expected to be other than text. Whether one is, its
// bytes say.
func (m mediaType) binary() bool { return m.reading() == asBinary }

// sniffJSON finds the JSON that an application would read from b whatever its type says: the objects
// and arrays at its beginning, as one document. Whole says that there is nothing else in b.
func sniffJSON(b []byte) (doc []byte, whole bool) {
	b = bytes.TrimPrefix(b, payload.BOM())
	if !payload.BeginsJSON(b) {
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

// looksXML reports whether b begins as an XML document that says so.
func looksXML(b []byte) bool {
	b = bytes.TrimPrefix(b, payload.BOM())
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("<?xml"))
}

// A field of a form has a name like this; values of fewer bytes of text in a row are left alone, since anything has those.
const (
	longestFieldName = 64
	shortestText     = 8
)

// fieldsIn finds what a reader of forms that minds neither the type nor odd bytes would find in b, which is no text: names
// of the usual kind with values in which there is text, of which the rest is left out.
func fieldsIn(b []byte, yield func(name, value string)) {
	for pair := range bytes.SplitSeq(b, []byte("&")) {
		before, value, ok := bytes.Cut(pair, []byte("="))
		if !ok {
			continue
		}
		name := fieldName(before)
		if name == "" {
			continue
		}
		if text := textIn(value); text != "" {
			yield(name, unescape(text))
		}
	}
}

// textIn is what of b is text for long enough.
func textIn(b []byte) string {
	var out []byte
	from := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && (b[i] >= ' ' && b[i] < 0x7f || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
			continue
		}
		if i-from >= shortestText {
			out = append(append(out, b[from:i]...), ' ')
		}
		from = i + 1
	}
	return string(bytes.TrimSuffix(out, []byte(" ")))
}

// fieldName is the name of a field at the end of b; "" if there is none.
func fieldName(b []byte) string {
	from := max(0, len(b)-longestFieldName)
	i := len(b)
	for i > from && (isAlnum(b[i-1]) || bytes.IndexByte([]byte("_-.[]%"), b[i-1]) >= 0) {
		i--
	}
	return unescape(string(b[i:]))
}

// A shape is what is known of an XML document before it is inspected.
type shape struct {
	whole   bool // it has its end
	broken  bool // it cannot be read, whatever comes
	tooMany bool // it has more texts and attributes than are inspected, or many times as many elements
	tooDeep bool
	tokens  int
	// What the rules read: the values of attributes, and the texts.
	attributes, texts []string
}

// elementsPerValue is how many elements there may be for each value: those without one cost as much.
const elementsPerValue = 4

// shapeOfXML reads a document. Coraza's own reader takes what there is, so that it never sees a value that is left open,
// which a forgiving application might; and it closes elements that need no end in HTML, so that it cannot read XML-RPC
// (param) and RSS (link). It stops where there is too much.
func shapeOfXML(b []byte, values, depth int) (s shape) {
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.Strict = false
	dec.Entity = xml.HTMLEntity
	level := 0
	for {
		token, err := dec.Token()
		if err != nil {
			syntax, _ := errors.AsType[*xml.SyntaxError](err)
			s.whole = err == io.EOF
			s.broken = !s.whole && (syntax == nil || syntax.Msg != "unexpected EOF")
			return s
		}
		s.tokens++
		switch t := token.(type) {
		case xml.StartElement:
			level++
			s.tokens += len(t.Attr)
			for _, a := range t.Attr {
				s.attributes = append(s.attributes, a.Value)
			}
		case xml.EndElement:
			level--
		case xml.ProcInst:
			// Whoever writes the document to a file may have one that runs (<?php); whoever reads it may obey.
			if t.Target != "xml" {
				s.texts = append(s.texts, strings.TrimPrefix("<?"+t.Target+" ", "<?xml-stylesheet ")+string(t.Inst))
			}
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" {
				s.texts = append(s.texts, text)
			}
		}
		if len(s.attributes)+len(s.texts) > values || s.tokens > 2*elementsPerValue*values {
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
	for line := range bytes.FieldsFuncSeq(b, func(r rune) bool { return r == '\n' || r == '\x1e' }) {
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
		case len(name) > longestName:
			yield("", unescape(name))
			yield("", unescape(value))
		default:
			yield(unescape(name), unescape(value))
		}
	}
}

// longestName is how long names may be in texts: what is longer is a sentence.
const longestName = 100

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
