package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The way through the program to a bucket and back: who the client is stays here, and the event has what S3 said.
func TestARouteToABucket(t *testing.T) {
	t.Parallel()
	var seen []http.Header
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header)
		if r.RequestURI != "/assets/site/a%20b.txt" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "content")
	}))
	t.Cleanup(s3.Close)
	var events bytes.Buffer
	h := serveFile(t, fmt.Sprintf(`origins:
  assets: {s3: {bucket: assets, region: eu-west-1, prefix: site, endpoint: %q, credentials: keys, access_key_id: AKIAEXAMPLE, secret_access_key: not-a-real-one}}
routes:
  - {match: app.test/static/*, to: assets, require: nothing, strip_prefix: /static}
`, s3.URL), newObserver(&events))
	for target, want := range map[string]string{
		"/static/a%20b.txt?list-type=2": "200 content",
		"/static/none":                  "404",
		"/static/a%20b.txt/../x":        "400",
		"/static/%2e%2e/other":          "400",
	} {
		r := httptest.NewRequest("GET", "https://app.test"+target, nil)
		r.Header.Set("Authorization", "Bearer of-the-client")
		r.Header.Set("Cookie", "session=of-the-client")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := fmt.Sprint(w.Code)
		if w.Code == http.StatusOK {
			got += " " + w.Body.String()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
	if len(seen) == 0 {
		t.Fatal("S3 was not asked")
	}
	for _, header := range seen {
		if text := fmt.Sprint(header); strings.Contains(text, "of-the-client") || !strings.HasPrefix(header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/") {
			t.Errorf("S3 was told %s", text)
		}
	}
	upstreams := map[string]string{}
	for line := range strings.Lines(events.String()) {
		var event struct {
			Path, Denied string
			Upstream     struct{ Name, Address string }
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		upstreams[event.Path] = strings.TrimSpace(event.Upstream.Name + " " + event.Upstream.Address + " " + event.Denied)
	}
	address := strings.TrimPrefix(s3.URL, "http://")
	if got, want := upstreams["/static/a%20b.txt"], "assets "+address; got != want {
		t.Errorf("event: got %q, want %q", got, want)
	}
	if got, want := upstreams["/static/none"], "assets "+address+" origin: s3: 403 AccessDenied"; got != want {
		t.Errorf("event: got %q, want %q", got, want)
	}
	if strings.Contains(events.String(), "not-a-real-one") || strings.Contains(events.String(), "of-the-client") {
		t.Error("an event has a secret")
	}
}
