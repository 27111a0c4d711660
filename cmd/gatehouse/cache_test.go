package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// Whether a page of an application that routes in the browser is meant depends on who asks: what a script is told, a person is not.
func TestTheCacheTellsNavigationsFromOtherRequests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("the application"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, unkeyed := range []string{"send", "drop"} {
		h := serveFile(t, fmt.Sprintf(`origins: {site: {directory: %s, fallback: index.html}}
routes: [{match: app.test/*, to: site, require: nothing, cache: {rules: cloudfront, min_ttl: 1h, error_ttl: 1h, unkeyed: %s}}]
`, dir, unkeyed), newObserver(&bytes.Buffer{}))
		for range 2 {
			for mode, want := range map[string]int{"navigate": 200, "cors": 404} {
				r := httptest.NewRequest(http.MethodGet, "https://app.test/orders/17", nil)
				r.Header.Set("Sec-Fetch-Mode", mode)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != want {
					t.Errorf("unkeyed: %s, Sec-Fetch-Mode: %s: got %d, want %d", unkeyed, mode, w.Code, want)
				}
			}
		}
	}
}
