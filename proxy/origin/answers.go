package origin

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxLocation is the longest address that a client is sent to, in bytes; ALB's bound, with its status.
	maxLocation = 8 << 10
	// maxBody bounds an answer that stands in the configuration, in bytes.
	maxBody = 64 << 10
)

// RedirectConfig sends clients elsewhere.
type RedirectConfig struct {
	// To is the address, such as "https://www.example.com/#{path}?#{query}", or without a host, "/new/#{path}". #{protocol},
	// #{host}, #{port}, #{path} and #{query} stand for those of the request, the path without its first slash and both as they
	// were sent, as in a redirect action of an ALB's listener rule. A "?" at the end goes when the query is empty. Required.
	To string `yaml:"to"`
	// Status is 301, 302, 303, 307 or 308; default 302. 307 and 308 keep the method and the body.
	Status int `yaml:"status"`
}

// Validate reports everything that is wrong with c.
func (c RedirectConfig) Validate(report func(field, msg string)) {
	if _, err := parseTemplate(c.To); err != nil {
		report("to", err.Error())
	}
	if !slices.Contains([]int{0, 301, 302, 303, 307, 308}, c.Status) {
		report("status", fmt.Sprintf("want 301, 302, 303, 307 or 308, got %d", c.Status))
	}
}

// Returns reports whether c sends a request back to where it came from, on a route that takes no prefix off.
func (c RedirectConfig) Returns() bool {
	to := strings.TrimSuffix(strings.TrimSuffix(c.To, "?#{query}"), "/#{path}")
	to = strings.Replace(to, "#{protocol}://", "https://", 1)
	return to != c.To && slices.Contains([]string{"", "https://#{host}", "https://#{host}:#{port}"}, to)
}

// A template is an address with placeholders: texts at even places and names of placeholders at odd ones.
type template []string

func parseTemplate(s string) (template, error) {
	if s == "" {
		return nil, errors.New("required: an address such as https://www.example.com/#{path}?#{query}")
	}
	if s[0] == '/' && !strings.HasPrefix(s, "//") {
		s = "https://#{host}:#{port}" + s
	}
	var t template
	for {
		text, rest, more := strings.Cut(s, "#{")
		t = append(t, text)
		if !more {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		switch {
		case !closed:
			return nil, fmt.Errorf("placeholder %q has no end: known are #{protocol}, #{host}, #{port}, #{path} and #{query}", "#{"+name)
		case !slices.Contains([]string{"protocol", "host", "port", "path", "query"}, name):
			return nil, fmt.Errorf("unknown placeholder %q: known are #{protocol}, #{host}, #{port}, #{path} and #{query}", "#{"+name+"}")
		}
		t = append(t, name)
		s = after
	}
	return t, t.check()
}

// check looks at the address that t gives for an ordinary request: its scheme, host and path must not depend on what a
// client sends as path or query.
func (t template) check() error {
	address := t.fill(map[string]string{"protocol": "https", "host": "h.example", "port": "8443", "path": "p", "query": "q"})
	u, err := url.Parse(address)
	switch {
	case err != nil || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("want an address such as https://www.example.com/#{path}?#{query}, encoded as it is sent")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New(`want https://, http:// or a path that begins with "/"`)
	case u.Host == "" || u.User != nil:
		return errors.New("want a host behind the scheme, and nothing else before the path")
	}
	other, err := url.Parse(t.fill(map[string]string{"protocol": "https", "host": "h.example", "port": "8443", "path": "@x.example/", "query": "@x.example/"}))
	if err != nil || other.Host != u.Host || other.User != nil || u.Path == "" && !strings.HasSuffix(address, u.Host) {
		return errors.New(`want a "/" behind the host: what a client sends must not become part of it`)
	}
	return nil
}

func (t template) fill(values map[string]string) string {
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			part = values[part]
		}
		b.WriteString(part)
	}
	return b.String()
}

// NewRedirect returns the handler of a RedirectConfig that Validate accepts. Opts.StripPrefix is taken off #{path}.
func NewRedirect(cfg RedirectConfig, opts Options) (http.Handler, error) {
	t, err := parseTemplate(cfg.To)
	if err != nil {
		return nil, err
	}
	status := cmp.Or(cfg.Status, http.StatusFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		location, err := t.location(r, opts)
		if err != nil {
			opts.Deny(w, r, err)
			return
		}
		w.Header().Set("Location", location)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(status)
	}), nil
}

func (t template) location(r *http.Request, opts Options) (string, error) {
	p, ok := below(r.URL.EscapedPath(), opts.StripPrefix)
	if !ok {
		return "", notFound("path is not below strip_prefix")
	}
	protocol, usual := "https", "443"
	if opts.Scheme != nil && opts.Scheme(r) == "http" {
		protocol = "http"
		if len(t) > 1 && t[0] == "" && t[1] == "protocol" { // the port goes with it
			usual = "80"
		}
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, usual
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	location := t.fill(map[string]string{
		"protocol": protocol, "host": host, "port": port, "path": strings.TrimLeft(p, "/"), "query": r.URL.RawQuery,
	})
	location = strings.TrimSuffix(location, "?")
	for scheme, own := range map[string]string{"https": "443", "http": "80"} {
		if rest, ok := strings.CutPrefix(location, scheme+"://"+host+":"+own+"/"); ok {
			location = scheme + "://" + host + "/" + rest
		}
	}
	if len(location) > maxLocation {
		return "", &refusal{http.StatusInsufficientStorage, "the address is too long to be sent to", ""}
	}
	return location, nil
}

// RespondConfig is an answer that stands in the configuration.
type RespondConfig struct {
	// Status is 200 to 299 or 400 to 599; default 200.
	Status int `yaml:"status"`
	// ContentType is that of Body; default "text/plain; charset=utf-8".
	ContentType string `yaml:"content_type"`
	// Body is the text of the answer, at most 64 KiB.
	Body string `yaml:"body"`
}

// Validate reports everything that is wrong with c.
func (c RespondConfig) Validate(report func(field, msg string)) {
	if s := c.Status; s != 0 && (s < 200 || s > 299) && (s < 400 || s > 599) {
		report("status", fmt.Sprintf("want a status from 200 to 299 or from 400 to 599, got %d; redirect sends elsewhere", s))
	}
	if c.Status == http.StatusNoContent && c.Body != "" {
		report("body", "204 has none (RFC 9110 section 15.3.5)")
	}
	if len(c.Body) > maxBody {
		report("body", fmt.Sprintf("want at most 64 KiB, got %d bytes; a directory in origins holds more", len(c.Body)))
	}
	if strings.ContainsFunc(c.ContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
		report("content_type", fmt.Sprintf("want a media type such as text/html; charset=utf-8, got %q", c.ContentType))
	}
}

// NewRespond returns the handler of a RespondConfig that Validate accepts. It answers every method.
func NewRespond(cfg RespondConfig) http.Handler {
	status := cmp.Or(cfg.Status, http.StatusOK)
	kind := cmp.Or(cfg.ContentType, "text/plain; charset=utf-8")
	body, length := []byte(cfg.Body), strconv.Itoa(len(cfg.Body))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusNoContent {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Length", length)
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead && len(body) > 0 {
			_, _ = w.Write(body) // the client has gone; there is nobody to tell
		}
	})
}
