package payload

import (
	"testing"
	"unicode/utf8"
)

func FuzzInUTF8(f *testing.F) {
	f.Add([]byte("\xff\xfe{\x00\"\x00a\x00"))
	f.Add([]byte("\x00\x00\x00<\x00\x00\x00a"))
	f.Add([]byte("\x00{\xd8\x34\xdd\x1e\xd8\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		out := InUTF8(b)
		if string(b) != before {
			t.Error("the body itself was changed")
		}
		if string(out) != before && (!utf8.Valid(out) || !BeginsJSON(out) && !BeginsXML(out)) {
			t.Errorf("%q became %q", before, out)
		}
	})
}
