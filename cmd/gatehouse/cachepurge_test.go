package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/internal/tuning"
	"gatehouse/proxy/cache"
)

// What an operator purges is fetched anew, and the rest is not.
func TestPurgeByTheAdminListener(t *testing.T) {
	t.Parallel()
	c := cache.New(cache.StoreConfig{})
	defer c.Close()
	asked := map[string]int{}
	site := c.Handler(cache.Config{TTL: "1h"}, cache.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		w.Header().Set("Surrogate-Key", "page")
		w.WriteHeader(http.StatusOK)
	}))
	visit := func(path string) int {
		r := httptest.NewRequest(http.MethodGet, "https://app.example.com"+path, nil)
		site.ServeHTTP(httptest.NewRecorder(), r)
		return asked[path]
	}
	admin := httptest.NewServer(newAdmin(adminOptions{
		metrics: http.NotFoundHandler(), samples: tuning.NewSamples(1, 1), token: func() string { return adminToken },
		caches: func() []*cache.Cache { return []*cache.Cache{c} },
	}))
	defer admin.Close()
	run := func(args ...string) (string, int) {
		var out, errs strings.Builder
		env := &environment{stdout: &out, stderr: &errs, getenv: func(key string) (string, bool) { return adminToken, key == "GATEHOUSE_ADMIN_TOKEN" }}
		code := execute(t.Context(), append([]string{"cache", "purge", "--admin", strings.TrimPrefix(admin.URL, "http://")}, args...), env)
		return out.String() + errs.String(), code
	}
	for _, tt := range []struct {
		args []string
		want string
		code int
		anew bool // /a
	}{
		{[]string{"--url", "https://app.example.com/a"}, "{\"purged\":1}\n", 0, true},
		{[]string{"--url", "https://app.example.com/c"}, "{\"purged\":0}\n", 0, false},
		{[]string{"--prefix", "https://app.example.com/"}, "{\"purged\":2}\n", 0, true},
		{[]string{"--tag", "page", "--host", "elsewhere.example"}, "{\"purged\":2}\n", 0, true},
		{[]string{"--all"}, "{\"purged\":2}\n", 0, true},
		{nil, "names nothing", exitProblems, false},
		{[]string{"--url", "/a"}, "want an address", exitProblems, false},
		{[]string{"--all", "--token", "wrong"}, "wants the admin token", exitFailed, false},
	} {
		visit("/b")
		before := visit("/a")
		said, code := run(tt.args...)
		if !strings.Contains(said, tt.want) || code != tt.code {
			t.Errorf("%q: got %d %q, want %d %q", tt.args, code, said, tt.code, tt.want)
		}
		if anew := visit("/a") > before; anew != tt.anew {
			t.Errorf("%q: fetched anew: %t, want %t", tt.args, anew, tt.anew)
		}
	}
	for _, body := range []string{"", "{}", `{"all": 1}`, `{"everything": true}`, `{"urls": ["/a"]}`, `{"tags": "a"}`, strings.Repeat(" ", maxPurge) + `{"all":true}`} {
		r := httptest.NewRequest(http.MethodPost, "/cache/purge", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+adminToken)
		w := httptest.NewRecorder()
		newAdmin(adminOptions{metrics: http.NotFoundHandler(), samples: tuning.NewSamples(1, 1), token: func() string { return adminToken }}).ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%.40q: got %d, want 400", body, w.Code)
		}
	}
}
