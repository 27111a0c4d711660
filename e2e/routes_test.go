package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Routes with conditions, in their order, and what the upstream is sent: the whole way, with the event of each request.
func TestRoutes(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/next")
		w.Header().Set("X-Saw", r.Host+" "+r.RequestURI+" "+r.Header.Get("X-Forwarded-Host")+" "+r.Header.Get("X-Forwarded-Prefix"))
	}))
	t.Cleanup(app.Close)
	file := writeFile(t, "gatehouse.yaml", `
listen: {https: ":443", admin: off}
tls: {local: true}
state_dir: `+t.TempDir()+`
waf: off
upstreams: {app: `+app.URL+`}
routes:
  - {name: plain, match: localhost, to: app, require: nothing}
  - {name: beta, match: {host: localhost, headers: {X-Beta: "y*"}}, to: app, require: nothing}
  - {name: v2, match: {host: localhost, path: /api/*, query: {v: 2}}, to: app, require: nothing}
  - {name: v1, match: {host: localhost, path: /api/*}, to: app, require: nothing}
  - {name: elsewhere, match: {host: localhost, path: /in/*, source: 192.0.2.0/24}, to: app, require: nothing}
  - {name: item, match: {host: localhost, path: "~^/item/[0-9]+$"}, to: app, require: nothing, rewrite: {url: {regex: "^/item/([0-9]+)", replace: "/item?id=$1"}, host: {regex: ".*", replace: internal.test}}}
  - {name: broken, match: localhost/broken/*, to: app, require: nothing, rewrite: {path: {regex: "^/broken", replace: ""}}}
  - {name: shop, match: localhost/shop/*, to: app, require: nothing, strip_prefix: /shop, restore_prefix: true}
  - {name: styles, match: {path: "*.css", methods: GET}, priority: 1, to: app, require: nothing}
  - {name: moved, match: localhost/old/*, redirect: "#{protocol}://#{host}:#{port}/new/#{path}?#{query}", require: nothing}
`)
	p := start(t, []string{"run", "-c", file}, "https")
	for _, h2 := range []bool{false, true} {
		c := newClient(t, p.addrs["https"], h2)
		for _, tt := range []struct {
			target, header, route string
			status                int
			saw, location         string
		}{
			{"/", "", "plain", 200, "localhost / localhost", "/next"},
			{"/", "X-Beta: Yes", "beta", 200, "localhost / localhost", "/next"},
			{"/api/a?v=2", "", "v2", 200, "localhost /api/a?v=2 localhost", "/next"},
			{"/api/a?v=3", "", "v1", 200, "localhost /api/a?v=3 localhost", "/next"},
			{"/in/a", "X-Forwarded-For: 192.0.2.1", "", 404, "", ""},
			{"/item/7", "", "item", 200, "internal.test /item?id=7 localhost", "/next"},
			{"/broken/a", "", "broken", 200, "localhost /a localhost", "/next"},
			{"/broken", "", "broken", 500, "", ""},
			{"/shop/a", "X-Forwarded-Prefix: /evil", "shop", 200, "localhost /a localhost /shop", "/shop/next"},
			{"/api/a.css?v=2", "", "styles", 200, "localhost /api/a.css?v=2 localhost", "/next"},
			{"/old/a%20b?x=1", "", "moved", 302, "", "https://localhost/new/old/a%20b?x=1"},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost"+tt.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				r.Header.Set(name, value)
			}
			const mark = "routes test"
			r.Header.Set("User-Agent", mark+tt.target+tt.header+r.Proto)
			resp, _ := send(t, c, r)
			if resp.StatusCode != tt.status || resp.Header.Get("X-Saw") != tt.saw || resp.Header.Get("Location") != tt.location {
				t.Errorf("HTTP/%d %s %s: got %d, the upstream saw %q, to %q; want %d, %q, %q",
					resp.ProtoMajor, tt.target, tt.header, resp.StatusCode, resp.Header.Get("X-Saw"), resp.Header.Get("Location"), tt.status, tt.saw, tt.location)
			}
			event := p.event(func(e map[string]any) bool { return e["agent"] == r.UserAgent() && e["proto"] == resp.Proto })
			if got, _ := event["route"].(string); got != tt.route {
				t.Errorf("%s: the event names the route %q, want %q", tt.target, got, tt.route)
			}
			denied, _ := event["denied"].(string)
			if want := map[int]string{404: "no route here whose conditions hold", 500: "rewrite: the path can be read in more than one way"}[tt.status]; !strings.HasSuffix(denied, want) {
				t.Errorf("%s: the event says %q, want %q", tt.target, denied, want)
			}
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
