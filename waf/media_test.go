package waf

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestMediaTypeDecidesTheProcessor(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"application/x-www-form-urlencoded":     processorForm,
		"multipart/form-data; boundary=x":       processorMultipart,
		"application/json":                      processorJSON,
		"\u00a0Application/JSON ;charset=utf-8": processorJSON,
		"application/problem+json":              processorJSON,
		"application/x-ndjson":                  processorJSON,
		"application/x-amz-json-1.1":            processorJSON,
		"text/xml; charset=utf-8":               processorXML,
		"application/atom+xml":                  processorXML,
		"text/plain":                            "",
		"application/octet-stream":              "",
		"application/jsonx":                     "",
		"":                                      "",
	} {
		h := http.Header{"Content-Type": {value, "text/plain"}}
		if got := mediaTypeOf(h).processor(); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestDefinesDocType(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]bool{
		`<a/>`:                false,
		`<!DOCTYPE html><a/>`: false,
		`<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg/>`: false,
		`<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://192.0.2.1/x.dtd"><svg/>`:                           true,
		`<!DOCTYPE a SYSTEM "http://192.0.2.1/x.dtd"><a/>`:                                                         true,
		`<!doctype a [<!ELEMENT a ANY>]><a/>`:                                                                      true,
		`<!DOCTYPE a [` + "\n" + `<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><a/>`:                             true,
		`<!ENTITY x "y">`: true,
		`<!DOCTYPE`:       true,
	} {
		if got := definesDocType([]byte(doc)); got != want {
			t.Errorf("%s: got %v, want %v", doc, got, want)
		}
	}
}

func TestIsCutJSON(t *testing.T) {
	t.Parallel()
	const doc = `{"a":[1,2.5,{"b":"cä\u00e9"}],"d":null}`
	for n := range len(doc) {
		if !isCutJSON([]byte(doc[:n])) {
			t.Errorf("%q: got broken, want cut", doc[:n])
		}
	}
	for _, bad := range []string{`{"a":1}}`, `{a`, `[1,,`, `{"a" 1`, `nul!`} {
		if isCutJSON([]byte(bad)) {
			t.Errorf("%q: got cut, want broken", bad)
		}
	}
}

func TestJoinLines(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                         "[]",
		"{\"a\":1}\r\n\r\n[2]\n":   `[{"a":1},[2]]`,
		strings.Repeat("1\n", 3):   "[1,1,1]",
		"\n\n \"two\nlines\" no\n": "[\"two,lines\" no]",
	} {
		if got := string(joinLines([]byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTextPairsTakesOnlyNamesForNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][][2]string{
		"":                       nil,
		"a secret":               {{"", "a secret"}},
		"100% safe":              {{"", "100% safe"}},
		"a=1&b=%27&&c":           {{"a", "1"}, {"b", "'"}, {"", "c"}},
		"one\ntwo":               {{"", "one\ntwo"}},
		"one\r\nid=%27":          {{"", "one\r\nid='"}},
		"100%\nid=%27":           {{"", "100%\nid='"}},
		"a%0d%0ab=1":             {{"a\r\nb", "1"}},
		"x = y\n& <b class=z>\n": {{"x ", " y\n"}, {" <b class", "z>\n"}},
	} {
		var got [][2]string
		textPairs(text, func(name, value string) { got = append(got, [2]string{name, value}) })
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
