package origin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRedirect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		to, strip, host, target string
		want                    string
	}{
		{"https://www.example.com/#{path}?#{query}", "", "example.com", "/a%2Fb/c?x=1&y=%20", "https://www.example.com/a%2Fb/c?x=1&y=%20"},
		{"https://www.example.com/#{path}?#{query}", "", "example.com", "/", "https://www.example.com/"},
		{"https://www.example.com", "", "example.com", "/a?b", "https://www.example.com"},
		{"/new/#{path}", "", "example.com", "/a", "https://example.com/new/a"},
		{"/new/#{path}", "", "example.com:8443", "/a", "https://example.com:8443/new/a"},
		{"/new/#{path}", "", "[2001:db8::1]:8443", "/a", "https://[2001:db8::1]:8443/new/a"},
		{"/new/#{path}", "/old", "example.com", "/old/a", "https://example.com/new/a"},
		{"https://www.#{host}/#{path}", "", "example.com:8443", "/a", "https://www.example.com/a"},
		{"https://example.com/?from=#{path}", "", "example.com", "/a", "https://example.com/?from=a"},
		// The scheme's own port goes, and nothing else that looks like it.
		{"https://#{host}:#{port}/#{path}", "", "example.com", "/a", "https://example.com/a"},
		{"http://#{host}:#{port}/#{path}", "", "example.com", "/a", "http://example.com:443/a"},
		{"https://www.example.com/#{path}", "", "example.com", "/to:https://example.com:443/a", "https://www.example.com/to:https://example.com:443/a"},
		{"#{protocol}://www.#{host}/#{path}", "", "example.com:8443", "/a", "http://www.example.com/a"},
		{"#{protocol}://#{host}:#{port}/new/#{path}", "", "example.com", "/a", "http://example.com/new/a"},
		{"#{protocol}://#{host}:#{port}/new/#{path}", "", "example.com:81", "/a", "http://example.com:81/new/a"},
		{"https://www.example.com/#{protocol}/#{path}", "", "example.com", "/a", "https://www.example.com/http/a"},
		// What a client sends leads nowhere else.
		{"/#{path}?q=#{query}", "", "example.com", "//evil.example/", "https://example.com/evil.example/?q="},
		{"https://www.example.com/#{path}", "", "example.com", "/@evil.example", "https://www.example.com/@evil.example"},
	} {
		http := func(*http.Request) string { return "http" } // as a trusted proxy says
		h, err := NewRedirect(RedirectConfig{To: tt.to, Status: 308}, Options{Deny: deny, StripPrefix: tt.strip, Scheme: http})
		if err != nil {
			t.Errorf("%s: %v", tt.to, err)
			continue
		}
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
		r.Host = tt.host
		path, query, _ := strings.Cut(tt.target, "?")
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = strings.NewReplacer("%2F", "/").Replace(path), path, query
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); w.Code != 308 || got != tt.want {
			t.Errorf("%s of %s: got %d %q, want %q", tt.to, tt.target, w.Code, got, tt.want)
		}
	}
}

func TestRedirectTooFar(t *testing.T) {
	t.Parallel()
	h, err := NewRedirect(RedirectConfig{To: "https://www.example.com/?#{query}"}, Options{Deny: deny})
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/?"+strings.Repeat("x", maxLocation), nil)
	h.ServeHTTP(w, r)
	if w.Code != 507 || w.Header().Get("Location") != "" {
		t.Errorf("got %d", w.Code)
	}
}

func TestValidateRedirect(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		"":                                     "required",
		"https://www.example.com/#{pfad}":      `unknown placeholder "#{pfad}": known are`,
		"https://www.example.com/#{path":       `placeholder "#{path" has no end`,
		"https://www.example.com#{path}":       `want a "/" behind the host`,
		"https://#{query}/":                    `want a "/" behind the host`,
		"https://#{path}.example.com/":         `want a "/" behind the host`,
		"//evil.example/":                      "want https://",
		"javascript:alert(1)":                  "want https://",
		"www.example.com/":                     "want https://",
		"https://user@www.example.com/":        "want a host",
		"https://www.example.com/a b":          "encoded",
		"https://www.example.com/\r\nX: y":     "encoded",
		"https://www.example.com/#{path}?a=#b": "",
		"http://#{host}:8080/#{path}":          "",
	} {
		var got []string
		RedirectConfig{To: to}.Validate(func(field, msg string) { got = append(got, field+": "+msg) })
		if s := strings.Join(got, "\n"); want == "" && s != "" || !strings.Contains(s, want) {
			t.Errorf("%q: got %q, want %q", to, s, want)
		}
	}
	var got string
	RedirectConfig{To: "https://www.example.com/", Status: 200}.Validate(func(field, _ string) { got += field })
	if got != "status" {
		t.Errorf("status 200: got %q", got)
	}
}

func TestRedirectReturns(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]bool{
		"https://#{host}/#{path}?#{query}": true, "https://#{host}:#{port}/#{path}": true, "/#{path}?#{query}": true, "/#{path}": true,
		"/": false, "": false, "/new/#{path}": false, "https://www.#{host}/#{path}": false, "http://#{host}/#{path}": false,
	} {
		if got := (RedirectConfig{To: to}).Returns(); got != want {
			t.Errorf("%q: got %t, want %t", to, got, want)
		}
	}
}

func TestRespond(t *testing.T) {
	t.Parallel()
	h := NewRespond(RespondConfig{Status: 410, Body: "gone"})
	for method, want := range map[string]string{"GET": "gone", "POST": "gone", "HEAD": ""} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/", nil))
		if w.Code != 410 || w.Body.String() != want || w.Header().Get("Content-Length") != "4" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: got %d %q %v", method, w.Code, w.Body, w.Header())
		}
	}
	w := httptest.NewRecorder()
	NewRespond(RespondConfig{Status: 204}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if w.Code != 204 || len(w.Header()) != 0 {
		t.Errorf("204: got %d %v", w.Code, w.Header())
	}
}

func TestValidateRespond(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg    RespondConfig
		fields string
	}{
		"nothing":            {RespondConfig{}, ""},
		"a redirect":         {RespondConfig{Status: 302}, "status"},
		"an interim answer":  {RespondConfig{Status: 103}, "status"},
		"204 with a body":    {RespondConfig{Status: 204, Body: "x"}, "body"},
		"a long body":        {RespondConfig{Body: strings.Repeat("x", maxBody+1)}, "body"},
		"a split media type": {RespondConfig{ContentType: "text/html\nX: y"}, "content_type"},
	} {
		var fields []string
		tt.cfg.Validate(func(field, _ string) { fields = append(fields, field) })
		if got := strings.Join(fields, " "); got != tt.fields {
			t.Errorf("%s: got problems at %q, want %q", name, got, tt.fields)
		}
	}
}
