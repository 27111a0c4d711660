package authn

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kept returns the session that the browser holds.
func (s *stack) kept(b *browser) *session {
	s.t.Helper()
	sess, err := s.sessions.read(s.providers(), canonicalHost(mustURL(s.t, s.gw.URL).Host), b.own(), s.clock.now())
	if err != nil || sess == nil {
		s.t.Fatalf("session %v, %v", sess, err)
	}
	return sess
}

func TestClaimsOfTheIDTokenByChoice(t *testing.T) {
	t.Parallel()
	for _, fromIDToken := range []bool{false, true} {
		s := newStack(t, func(s *stack) { s.idTokenClaims = fromIDToken })
		s.set(func() {
			s.rotate = true
			s.idClaims = func(c map[string]any) { c["department"], c["jti"], c["email"] = "sales", "1", nil }
			s.userinfo = map[string]any{"email_verified": "true", "given_name": "Alice"}
		})
		b := s.login("alice")
		check := func(when, department string) {
			t.Helper()
			sess := s.kept(b)
			var claims map[string]any
			if err := json.Unmarshal(sess.identity.Claims, &claims); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"sub": "alice", "email": "alice@example.com", "email_verified": "true", "given_name": "Alice"}
			if fromIDToken {
				want = map[string]any{
					"sub": "alice", "department": department, "email": nil, "email_verified": true, "auth_time": float64(s.clock.now().Unix()),
					"cognito:username": "alice", "cognito:groups": []any{"users"}, "groups": []any{"users"},
				}
			}
			if diff := cmp.Diff(claims, want); diff != "" {
				t.Errorf("%s, from the ID token %v: claims (-got +want):\n%s", when, fromIDToken, diff)
			}
			// Who may come in does not hang on where the claims are from.
			if sess.email != "alice@example.com" || !sess.verified || sess.username != "alice" || len(sess.groups) != 1 {
				t.Errorf("%s, from the ID token %v: %q %v %q %q", when, fromIDToken, sess.email, sess.verified, sess.username, sess.groups)
			}
		}
		s.set(func() { s.groups = []string{"users"} })
		b = s.login("alice")
		check("after signing in", "sales")
		s.set(func() {
			s.idClaims = func(c map[string]any) { c["department"], c["email"] = "support", nil }
		})
		s.clock.advance(time.Hour)
		if a := b.visit("/page"); a.status != 200 {
			t.Fatalf("refresh: %d", a.status)
		}
		check("after a refresh", "support")
	}
}

// Who could keep what their claims allowed them once by making the next ones too large would not be
// demoted until the session ends.
func TestClaimsThatAreTooLargeKeepNoOlderOnes(t *testing.T) {
	t.Parallel()
	rule := Rule{Claims: map[string][]string{"role": {"admin"}}}
	for name, tt := range map[string]struct {
		set    stackOption
		change func(s *stack, role, note string)
	}{
		"userinfo": {func(*stack) {}, func(s *stack, role, note string) {
			s.userinfo = map[string]any{"role": role, "note": note}
		}},
		"userinfo that is not read to its end": {func(*stack) {}, func(s *stack, role, note string) {
			s.userinfo = map[string]any{"role": role, "note": strings.Repeat(note, 200)}
		}},
		"ID token": {func(s *stack) { s.idTokenClaims = true }, func(s *stack, role, note string) {
			s.idClaims = func(c map[string]any) { c["role"], c["note"] = role, note }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, tt.set)
			s.set(func() {
				s.rotate = true
				tt.change(s, "admin", "")
			})
			b := s.login("alice")
			if d, err := s.gate(rule).Check(b.request()); err != nil || d.Identity == nil {
				t.Fatalf("an admin: %v, %v", d, err)
			}
			s.set(func() { tt.change(s, "nobody", noise(maxForwarded)) })
			s.clock.advance(2 * time.Hour)
			if d, err := s.gate(rule).Check(b.request()); err == nil || d.Identity != nil {
				t.Errorf("whoever was one: let in %t, %v", d.Identity != nil, err)
			}
			if a := b.follow("/page"); a.status != 500 || s.lastReason() != ReasonTooLarge {
				t.Errorf("a login with too much: %d %s", a.status, s.lastReason())
			}
		})
	}
}

func TestPersonClaims(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`{}`:                       `{}`,
		`{"sub":"a"}`:              `{"sub":"a"}`,
		`{"iss":"i","sub":"a"}`:    `{"sub":"a"}`,
		`{"sub":"a","aud":["x"]}`:  `{"sub":"a"}`,
		`{"\u0061ud":"x","b":"é"}`: `{"b":"é"}`,
		" { \"sub\" : \"a\" ,\n\"exp\": 1, \"x\" : {\"aud\": [1, \"}\"]} } ":      `{"sub" : "a","x" : {"aud": [1, "}"]}}`,
		`{"AUD":"x","nonce":"n","at_hash":"h","acr":"1","amr":["otp"],"sid":"s"}`: `{"AUD":"x","acr":"1","amr":["otp"],"sid":"s"}`,
		`{"a":1,"a":2}`: ``,
		`[1]`:           ``,
		`{"a":`:         ``,
	} {
		if got := string(personClaims([]byte(payload))); got != want {
			t.Errorf("personClaims(%s) = %s, want %s", payload, got, want)
		}
	}
}

func FuzzPersonClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"a","aud":["x"],"n":{"exp":1}}`))
	f.Add([]byte(` { "iss" : "\"}" , "x" : [ ] } `))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := personClaims(payload)
		want, err := parseObject(payload)
		if err != nil {
			if got != nil {
				t.Errorf("%s of %q, which is refused: %v", got, payload, err)
			}
			return
		}
		maps.DeleteFunc(want, func(name string, _ json.RawMessage) bool { return aboutToken(name) })
		have, err := parseObject(got)
		if err != nil {
			t.Fatalf("%s of %q: %v", got, payload, err)
		}
		if diff := cmp.Diff(have, want); diff != "" {
			t.Errorf("claims of %q (-got +want):\n%s", payload, diff)
		}
	})
}
