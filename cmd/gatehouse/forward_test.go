package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"gatehouse/configs"
	"gatehouse/proxy"
)

// told serves a file, whose %s is the upstream that answers, and returns what that is told of one request.
func told(t *testing.T, text string, r *http.Request) (status int, seen http.Header) {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		seen.Set("Path", r.RequestURI)
	}))
	defer up.Close()
	w := httptest.NewRecorder()
	serveFile(t, fmt.Sprintf(text, up.URL), newObserver(io.Discard)).ServeHTTP(w, r)
	return w.Code, seen
}

func serveFile(t *testing.T, text string, obs *observer) http.Handler {
	t.Helper()
	text = "listen: {https: \":443\"}\ntls: {local: true}\nwaf: off\n" + text
	cfg, err := configs.Load(fstest.MapFS{"gatehouse.yaml": {Data: []byte(text)}}, "gatehouse.yaml", configs.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := assemble(cfg, nil, obs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.parts.release)
	gateway := new(proxy.Gateway)
	gateway.Swap(a.generation)
	return gateway
}

const throughText = `trusted_proxies: [192.0.2.0/24]
upstreams: {seen: %q}
routes:
  - {match: app.test/*, to: seen, require: nothing}
`

// A proxy in front that ends TLS knows the scheme; anybody else who says so is not believed.
func TestTheUpstreamIsToldTheClientsScheme(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, peer, url, says string
		scheme, port          string
	}{
		{"a client", "198.51.100.1:1", "https://app.test/", "", "https", "443"},
		{"a client that lies", "198.51.100.1:1", "https://app.test/", "http", "https", "443"},
		{"a proxy that ended TLS", "192.0.2.1:1", "http://app.test/", "https", "https", "443"},
		{"a proxy that ended none", "192.0.2.1:1", "https://app.test/", "http", "http", "80"},
		{"a proxy that says nothing", "192.0.2.1:1", "https://app.test/", "", "https", "443"},
	} {
		r := httptest.NewRequest("GET", tt.url, nil)
		r.RemoteAddr = tt.peer
		if tt.says != "" {
			r.Header.Set("X-Forwarded-Proto", tt.says)
		}
		status, seen := told(t, throughText, r)
		got := []string{fmt.Sprint(status), seen.Get("X-Forwarded-Proto"), seen.Get("X-Forwarded-Port")}
		if diff := cmp.Diff(got, []string{"200", tt.scheme, tt.port}); diff != "" {
			t.Errorf("%s (-got +want)\n%s", tt.name, diff)
		}
	}
}

func TestAdmitNamesWhatAnUpstreamTellsApart(t *testing.T) {
	t.Parallel()
	const text = `upstreams: {seen: %%q}
routes:
  - {match: app.test/admin/*, to: seen, require: nothing}
  - {match: app.test/*, to: seen, require: nothing, admit: {%s}}
`
	for _, tt := range []struct {
		admit, path string
		want        int
	}{
		{"", "/Admin/x", 400},
		{"letter_case: true", "/Admin/x", 200},
		{"", "/%2561dmin/x", 400},
		{"double_encoding: true", "/%2561dmin/x", 200},
		{"letter_case: true", "/%2561dmin/x", 400},
		{"double_encoding: true", "/Admin/x", 400},
	} {
		status, seen := told(t, fmt.Sprintf(text, tt.admit), httptest.NewRequest("GET", "https://app.test"+tt.path, nil))
		if status != tt.want {
			t.Errorf("%s with %q: got %d, want %d", tt.path, tt.admit, status, tt.want)
		}
		if status == http.StatusOK && seen.Get("Path") != tt.path {
			t.Errorf("%s with %q: forwarded %s", tt.path, tt.admit, seen.Get("Path"))
		}
	}
}

// An application behind an ALB signs its user out by expiring the session's cookie; it can do nothing else to it.
func TestCookiesOfOursFromAnUpstreamAreNoted(t *testing.T) {
	t.Parallel()
	var setting string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", setting)
	}))
	defer up.Close()
	var out bytes.Buffer
	h := serveFile(t, fmt.Sprintf(`login: {oidc: {issuer: "https://login.test", client_id: c, client_secret: 0123456789abcdef0123456789abcdef}, session: {cookie: sid}}
upstreams: {app: %q}
routes: [{match: app.test/*, to: app, require: optional}]
`, up.URL), newObserver(&out))
	for _, tt := range []struct{ name, setting, note, answer string }{
		{"another cookie", "theme=dark", "", "theme=dark"},
		{"ours, expired", "sid-0=; Max-Age=-1; Path=/", "expired", "sid-0=; Max-Age=-1; Path=/"},
		{"ours, set", "sid-0=forged; Path=/", "dropped", ""},
	} {
		setting = tt.setting
		out.Reset()
		w := ask(h, "GET", "https://app.test/")
		var record struct{ Guards struct{ Cookie string } }
		if err := json.Unmarshal(out.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
		if record.Guards.Cookie != tt.note || w.Header().Get("Set-Cookie") != tt.answer {
			t.Errorf("%s: got the note %q and Set-Cookie %q, want %q and %q", tt.name, record.Guards.Cookie, w.Header().Get("Set-Cookie"), tt.note, tt.answer)
		}
	}
}
