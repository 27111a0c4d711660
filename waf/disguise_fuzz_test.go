package waf

import (
	"encoding/json"
	"mime"
	"reflect"
	"strings"
	"testing"
)

// What is inspected in the place of a document must say the same but for pictures.
func FuzzWithoutImages(f *testing.F) {
	f.Add(`{"a":"data:image/png;base64,iVBORw0KGgoAAA=="}`)
	f.Add(`["data:image\/jpeg;base64,\/9j\/4AA", "x:\"data:image/png;base64,iVBORw0KGgo\""]`)
	f.Add(`{"data:image/gif;base64,R0lGOD":[ "data:image/gif;base64,R0lGOD" ],"b,":"data:image/webp;base64,UklGR<"}`)
	f.Fuzz(func(t *testing.T, doc string) {
		out := string(withoutImages([]byte(doc)))
		if len(out) > len(doc) {
			t.Errorf("%d bytes became %d", len(doc), len(out))
		}
		var before, after any
		if json.Unmarshal([]byte(doc), &before) != nil {
			return
		}
		if err := json.Unmarshal([]byte(out), &after); err != nil {
			t.Fatalf("%q became %q: %v", doc, out, err)
		}
		if strings.Count(doc, "data:image") == strings.Count(strings.ReplaceAll(doc, `"data:image`, ""), "data:image") && !reflect.DeepEqual(before, after) {
			t.Errorf("%q became %q, and there is no picture in it", doc, out)
		}
		// Beyond data URLs not a byte may be missing.
		if want, got := pictureless(before), pictureless(after); !reflect.DeepEqual(got, want) {
			t.Errorf("%q became %q", doc, out)
		}
	})
}

// pictureless is a value whose texts that begin as pictures do, and are of the signs of one, are all alike.
func pictureless(v any) any {
	switch v := v.(type) {
	case string:
		if rest, ok := strings.CutPrefix(v, "data:image"); ok && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=;,:") == "" {
			return "data:image"
		}
		return v
	case []any:
		for i := range v {
			v[i] = pictureless(v[i])
		}
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[pictureless(k).(string)] = pictureless(item)
		}
		if len(out) < len(v) {
			return "several pictures for names"
		}
		return out
	}
	return v
}

// Whatever comes, what is found in bytes has a name and a value.
func FuzzFieldsIn(f *testing.F) {
	f.Add([]byte("\x00a=12345678&b=\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fieldsIn(b, func(name, value string) {
			if name == "" || value == "" {
				t.Errorf("%q has %q = %q", b, name, value)
			}
		})
	})
}

// What is called plain must be read alike by the standard library.
func FuzzPlainType(f *testing.F) {
	f.Add(`application/ld+json; profile="https://www.w3.org/ns/a b"`)
	f.Add("text/plain;a=1;b=;c")
	f.Add("a/b;charset=utf-8; charset*0=x")
	f.Fuzz(func(t *testing.T, s string) {
		if !plainType(s) {
			return
		}
		kind, params, err := mime.ParseMediaType(s)
		if err != nil {
			t.Fatalf("%q is plain, and %v", s, err)
		}
		if kind != string(mediaTypeOf(map[string][]string{"Content-Type": {s}})) {
			t.Errorf("%q is %q to one and %q to the other", s, kind, mediaTypeOf(map[string][]string{"Content-Type": {s}}))
		}
		for name, value := range params {
			if strings.ContainsAny(value, "%{}$'<>();|`\\") || name == "" {
				t.Errorf("%q: %s is %q", s, name, value)
			}
		}
	})
}
