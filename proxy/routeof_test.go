package proxy

import (
	"net/http"
	"strings"
	"testing"
)

func TestRouteOf(t *testing.T) {
	t.Parallel()
	none := http.NotFoundHandler()
	g, err := NewGeneration("g", []Route{
		{Name: "search", Match: Match{Hosts: []string{"app.test"}, Path: "/search/*", Methods: []string{"GET"}}, Handler: none},
		{Name: "app", Match: Match{Hosts: []string{"app.test"}}, Handler: none},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, host, path, want, refused string }{
		{"GET", "app.test", "/search/x", "search", ""},
		{"HEAD", "APP.test", "/search", "search", ""},
		{"POST", "app.test", "/search", "", "method"},
		{"GET", "app.test", "/searching", "app", ""},
		{"GET", "app.test", "/a%20b", "app", ""},
		{"GET", "app.test", "/a%2fb", "", "slash"},
		{"GET", "other.test", "/", "", "no route"},
		{"GET", "app.test", "", "", "path"},
	} {
		got, err := g.RouteOf(tt.method, tt.host, tt.path)
		if got != tt.want || (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s %s%s: got %q, %v, want %q, %q", tt.method, tt.host, tt.path, got, err, tt.want, tt.refused)
		}
	}
}
