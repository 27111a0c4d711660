package suggest

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"encoded_slash", "semicolon", "host", "https", "http"}
	for got, want := range map[string]string{
		"encoded-slash": "encoded_slash", "EncodedSlash": "encoded_slash", "semicolin": "semicolon",
		"hots": "host", "htps": "https", "ht": "", "unrelated": "", "": "",
		strings.Repeat("x", 10000): "",
	} {
		if n := Nearest(got, words); n != want {
			t.Errorf("%.20s: got %q, want %q", got, n, want)
		}
	}
}
