package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTakeCookies(t *testing.T) {
	t.Parallel()
	own := func(name string) bool { return strings.HasPrefix(strings.ToLower(name), "gw") }
	tests := []struct {
		name  string
		lines []string
		kept  string
		taken string
	}{
		{"none", nil, "", ""},
		{"nothing of ours stays byte for byte", []string{`a="x y";b=1 ;; c`}, `a="x y";b=1 ;; c`, ""},
		{"several headers become one", []string{"a=1", "b=2"}, "a=1; b=2", ""},
		{"ours in the middle", []string{"a=1; gw=A==; b=2"}, "a=1; b=2", "gw=A=="},
		{"duplicates in order", []string{"gw=1; GW=2", "a=3; gw=4"}, "a=3", "gw=1 GW=2 gw=4"},
		{"blanks around", []string{" gw\t= v ;a=1"}, "a=1", "gw=v"},
		{"without value", []string{"gw; gw0="}, "", "gw= gw0="},
		{"a value that looks like ours", []string{"a=gw=1"}, "a=gw=1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			if tt.lines != nil {
				h["Cookie"] = tt.lines
			}
			var taken []string
			for _, c := range takeCookies(h, own) {
				taken = append(taken, c.Name+"="+c.Value)
			}
			if got := strings.Join(taken, " "); got != tt.taken {
				t.Errorf("taken: got %q, want %q", got, tt.taken)
			}
			if got := strings.Join(h["Cookie"], "|"); got != tt.kept {
				t.Errorf("kept: got %q, want %q", got, tt.kept)
			}
		})
	}
}

func FuzzTakeCookies(f *testing.F) {
	f.Add("a=1; gw=2", "gw")
	f.Fuzz(func(t *testing.T, a, b string) {
		own := func(name string) bool { return name == "gw" }
		h := http.Header{"Cookie": {a, b}}
		crumbs := strings.Count(a, ";") + strings.Count(b, ";") + 2
		taken := takeCookies(h, own)
		if again := takeCookies(h, own); again != nil {
			t.Fatalf("%q, %q: %v was left behind in %q", a, b, again, h["Cookie"])
		}
		if left := h.Get("Cookie"); len(taken) > crumbs || left != "" && len(taken)+strings.Count(left, ";")+1 > crumbs {
			t.Fatalf("%q, %q: more cookies after than before", a, b)
		}
	})
}

// A shared cache may store an answer with Set-Cookie (RFC 9111 section 7.3), and would then give one person's session to all.
func TestAnswersWithCookiesOfTheGatewayAreNotCacheable(t *testing.T) {
	t.Parallel()
	caching := map[string]string{
		"Cache-Control": "public, max-age=3600", "Expires": "Thu, 01 Jan 2037 00:00:00 GMT", "Cdn-Cache-Control": "max-age=60",
		"Cloudflare-Cdn-Cache-Control": "max-age=60", "Surrogate-Control": "max-age=60", "X-Accel-Expires": "60",
	}
	tests := []struct {
		name, cookie string
		private      bool
	}{
		{"the application's", "lang=de; Path=/", false},
		{"ours", "__Host-gw-0=secret; Path=/; Secure", true},
		{"ours, ending", "__Host-gw-0=; Path=/; Max-Age=0", true},
		{"ours, of nobody", "__Host-gw-public=x; Path=/", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			gw := newGateway(t, Options{
				OwnCookie:    func(name string) bool { return strings.HasPrefix(name, "__Host-gw") },
				PublicCookie: func(name string) bool { return name == "__Host-gw-public" },
			},
				Route{
					Name: "app", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						w.Header()["Set-Cookie"] = []string{"theme=dark", tt.cookie}
					}),
					// An operator's own policy does not undo it.
					Response: func(h http.Header) {
						for name, value := range caching {
							h.Set(name, value)
						}
					},
				})
			w := httptest.NewRecorder()
			gw.ServeHTTP(w, httptest.NewRequest("GET", "/app.js", nil))
			for name, value := range caching {
				switch {
				case tt.private && name == "Cache-Control":
					value = "no-store"
				case tt.private:
					value = ""
				}
				if got := w.Result().Header.Get(name); got != value {
					t.Errorf("%s: got %q, want %q", name, got, value)
				}
			}
		})
	}
}
