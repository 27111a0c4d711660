package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// aclHostile has rules that clients have reasons to evade.
const aclHostile = `
acl:
  rules:
    - {name: role, when: {json: {pointers: [/role], is: admin}}, action: block, respond: {status: 409}}
    - {name: words, when: {body: {contains: FORBIDDEN}}, action: block, respond: {status: 409}}
    - {name: tenant, when: {header: {x-tenant: {contains: evil}}}, action: block, respond: {status: 409}}
    - {name: cookie, when: {cookie: {role: {is: admin}}}, action: block, respond: {status: 409}}
    - {name: large, when: {path: {starts_with: /stream/}, body: {size: ">100KiB"}}, action: block, respond: {status: 409}}
    - {name: groups, when: {not: {path: {starts_with: /skipped/}}}, action: inspect}
    - {name: sql, when: {label: 942100}, action: block, respond: {status: 409}}
`

const aclHostileRoutes = `
  - {match: ` + appHost + `/count/*, to: u, require: nothing, waf: {mode: count, limits: {values: 1000}}, acl: block}
  - {match: ` + appHost + `/off/*, to: u, require: nothing, waf: off}
  - {match: ` + appHost + `/stream/*, to: u, require: nothing, waf: {body: headers}}
  - {match: ` + appHost + `, to: u, require: nothing}
`

// What a rule finds it finds in whatever form a client sends it, over both versions of HTTP and with chunked bodies.
func TestWebACLIsNotEvaded(t *testing.T) {
	t.Parallel()
	s := startOpen(t, siteSpec{upstream: startEcho(t), routes: aclHostileRoutes, top: aclHostile})
	sql := "id=1%27%20OR%20%271%27=%271"
	var noise strings.Builder
	for i := range 70 {
		fmt.Fprintf(&noise, "a%d=%%3Cscript%%3E/etc/passwd&", i)
	}
	jsonType, bytesType := []string{"Content-Type", "application/json"}, []string{"Content-Type", "application/octet-stream"}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, tt := range []asked{
		{name: "a label", path: "/count/x?" + sql},
		{name: "a label behind many others", path: "/count/x?" + noise.String() + sql},
		{name: "a label behind many others of a body", path: "/count/x", body: noise.String() + sql, fields: form},
		{name: "json", path: "/off/x", body: `{"role":"admin"}`, fields: jsonType},
		{name: "json behind a mark", path: "/off/x", body: "\ufeff" + `{"role":"admin"}`, fields: jsonType},
		{name: "json behind a mark that the engine passes", path: "/x", body: "\ufeff" + `{"role":"admin"}`, fields: jsonType},
		{name: "json in UTF-16", path: "/off/x", body: "\xff\xfe" + strings.Join(strings.Split(`{"role":"admin"}`, ""), "\x00") + "\x00", fields: jsonType},
		{name: "json in a sequence", path: "/x", body: "\x1e" + `{"role":"admin"}` + "\n", fields: []string{"Content-Type", "application/json-seq"}},
		{name: "json behind what is deep", path: "/off/x", body: `{"a":` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + `,"role":"admin"}`, fields: jsonType},
		{name: "a cookie", path: "/x", fields: []string{"Cookie", "role=admin"}},
		{name: "a cookie with blanks", path: "/x", fields: []string{"Cookie", "a=b; role =admin"}},
		{name: "a cookie with more blanks", path: "/x", fields: []string{"Cookie", "a=b;\trole\t= admin"}},
		{name: "a body that is large", path: "/stream/x", body: strings.Repeat("\x00", 200<<10), fields: bytesType},
	} {
		s.evades(t, tt)
	}
}

// Who calls a body gRPC so that it is not read gets no further, wherever the rule groups do not inspect; and gRPC passes.
func TestWebACLTakesNothingElseForGRPC(t *testing.T) {
	t.Parallel()
	s := startOpen(t, siteSpec{upstream: startEcho(t), routes: aclHostileRoutes, top: aclHostile})
	for _, tt := range []struct {
		path, body string
		old, h2    int // in HTTP/1.1 and HTTP/2
	}{
		{"/x", `{"role":"admin"}`, http.StatusConflict, http.StatusBadRequest},
		{"/off/x", `{"role":"admin"}`, http.StatusConflict, http.StatusBadRequest},
		{"/skipped/x", "FORBIDDEN", http.StatusConflict, http.StatusBadRequest},
		{"/off/x", "\x00\x00\x00\x00\x02hi", http.StatusOK, http.StatusOK},
	} {
		for _, kind := range []string{"application/grpc", "application/grpc+json"} {
			s.clients(t, func(t *testing.T, c *http.Client) {
				req := asked{path: tt.path, body: tt.body, fields: []string{"Content-Type", kind}}.request(t, s.base)
				resp, body := send(t, c, req)
				want := tt.old
				if resp.ProtoMajor == 2 {
					want = tt.h2
				}
				if resp.StatusCode != want {
					t.Errorf("%s %q as %s: got %s %s %.100q, want %d", tt.path, tt.body, kind, resp.Proto, resp.Status, body, want)
				}
				if want != http.StatusBadRequest {
					return
				}
				// The upstream has no part in it.
				var refusal struct {
					ID string `json:"request_id"`
				}
				if err := json.Unmarshal([]byte(body), &refusal); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				event := s.program.eventWithID(refusal.ID)
				if guards, _ := event["guards"].(map[string]any); guards["upstream"] != nil {
					t.Errorf("%s %q: the event blames the upstream: %v", tt.path, tt.body, guards)
				}
			})
		}
	}
}

// An application that takes X_Tenant for X-Tenant gets none that a rule has not looked at.
func TestWebACLPassesNoOtherSpelling(t *testing.T) {
	t.Parallel()
	s := startOpen(t, siteSpec{upstream: startEcho(t), routes: aclHostileRoutes, top: aclHostile})
	s.evades(t, asked{name: "a header", path: "/x", fields: []string{"X-Tenant", "evil"}})
	s.clients(t, func(t *testing.T, c *http.Client) {
		_, body := send(t, c, asked{path: "/x", fields: []string{"X_Tenant", "evil", "X.Tenant", "evil", "X-Tenant", "good", "X_Other", "yes"}}.request(t, s.base))
		var got []string
		for name, values := range readEcho(t, body).Header {
			if strings.HasPrefix(strings.ToLower(name), "x") && (slices.Contains(values, "evil") || slices.Contains(values, "good") || slices.Contains(values, "yes")) {
				got = append(got, strings.ToLower(name)+"="+strings.Join(values, ","))
			}
		}
		slices.Sort(got)
		if want := []string{"x-tenant=good", "x_other=yes"}; !slices.Equal(got, want) {
			t.Errorf("the upstream got %q, want %q", got, want)
		}
	})
}

// evades sends a request in every form and wants it to be refused by a rule of the file.
func (s *site) evades(t *testing.T, tt asked) {
	t.Helper()
	s.clients(t, func(t *testing.T, c *http.Client) {
		for _, chunked := range []bool{false, true} {
			if chunked && tt.body == "" {
				continue
			}
			req := tt.request(t, s.base)
			if chunked {
				req.ContentLength = -1
			}
			if resp, body := send(t, c, req); resp.StatusCode != http.StatusConflict {
				t.Errorf("%s (%s, chunked: %t): got %s %.200q, want 409", tt.name, resp.Proto, chunked, resp.Status, body)
			}
		}
	})
}
