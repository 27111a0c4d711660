package authn

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/identity"
)

func person() *identity.Identity {
	return &identity.Identity{
		Issuer: "https://issuer.test", ClientID: "client1", Subject: "sub-1", Username: "alice",
		Email: "alice@example.com", EmailVerified: true, Groups: []string{"users", "staff"}, Scopes: []string{"openid", "orders.read"},
		AuthTime: time.Unix(1_700_000_000, 0), AuthTimeStated: true,
		Claims: []byte(`{"sub":"sub-1","department":"sales","level":5,"big":9007199254740993,"half":0.5,"staff":true,"stringly":"true",
			"roles":["a","b",7,false,null,["c"],{"d":1}],"none":null,"nested":{"x":["y"],"n":{"m":1}},"empty":[],"escaped":"s\u0061les","custom:plan":"gold"}`),
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	claim := func(name string, values ...string) Rule { return Rule{Claims: map[string][]string{name: values}} }
	for name, tt := range map[string]struct {
		rule Rule
		want bool
	}{
		"nothing":                         {Rule{}, true},
		"a group":                         {Rule{Groups: []string{"x", "staff"}}, true},
		"another group":                   {Rule{Groups: []string{"staf", "Staff"}}, false},
		"scopes":                          {Rule{Scopes: []string{"orders.read", "openid"}}, true},
		"one scope too many":              {Rule{Scopes: []string{"orders.read", "orders.write"}}, false},
		"a claim":                         {claim("department", "support", "sales"), true},
		"a claim with escapes":            {claim("escaped", "sales"), true},
		"a claim with a colon":            {claim("custom:plan", "gold"), true},
		"another value":                   {claim("department", "support", "sale"), false},
		"another case":                    {claim("department", "Sales"), false},
		"another name":                    {claim("Department", "sales"), false},
		"a claim that is not there":       {claim("team", "sales", "", "null", "<nil>"), false},
		"a number":                        {claim("level", "5"), true},
		"a number written otherwise":      {claim("level", "5.0", "05", "+5"), false},
		"a large number":                  {claim("big", "9007199254740993"), true},
		"its neighbour":                   {claim("big", "9007199254740992"), false},
		"a boolean":                       {claim("staff", "true"), true},
		"the other boolean":               {claim("staff", "false", "1", "True"), false},
		"a boolean as Cognito writes it":  {claim("stringly", "true"), true},
		"null":                            {claim("none", "null", ""), false},
		"a member of a list":              {claim("roles", "b"), true},
		"a number in a list":              {claim("roles", "7"), true},
		"a boolean in a list":             {claim("roles", "false"), true},
		"null in a list":                  {claim("roles", "null"), false},
		"a list in a list":                {claim("roles", "c", `["c"]`), false},
		"an object in a list":             {claim("roles", "d", `{"d":1}`), false},
		"the list itself":                 {claim("roles", "a,b", `["a","b"]`), false},
		"an empty list":                   {claim("empty", ""), false},
		"an object":                       {claim("nested", "x", "y"), false},
		"two claims":                      {Rule{Claims: map[string][]string{"department": {"sales"}, "level": {"5", "6"}}}, true},
		"one claim of two":                {Rule{Claims: map[string][]string{"department": {"sales"}, "level": {"6"}}}, false},
		"all of it":                       {Rule{Groups: []string{"staff"}, Scopes: []string{"openid"}, EmailDomains: []string{"example.com"}, Claims: claim("level", "5").Claims}, true},
		"all of it but the group":         {Rule{Groups: []string{"x"}, Scopes: []string{"openid"}, EmailDomains: []string{"example.com"}, Claims: claim("level", "5").Claims}, false},
		"all of it but the e-mail domain": {Rule{Groups: []string{"staff"}, EmailDomains: []string{"example.org"}, Claims: claim("level", "5").Claims}, false},
		"all of it but the claim":         {Rule{Groups: []string{"staff"}, EmailDomains: []string{"example.com"}, Claims: claim("level", "4").Claims}, false},
		"one of two e-mail domains":       {Rule{EmailDomains: []string{"example.org", "example.com"}}, true},
	} {
		if got := mustCompile(t, tt.rule).lacks(person()); (got == nil) != tt.want {
			t.Errorf("%s: got %+v, want pass %t", name, got, tt.want)
		}
	}
	for name, claims := range map[string]string{
		"no claims": "", "no object": `["department"]`, "twice": `{"department":"sales","department":"x"}`, "cut": `{"department":"sales"`,
	} {
		id := person()
		id.Claims = []byte(claims)
		if mustCompile(t, claim("department", "sales")).lacks(id) == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

func TestRuleValidatesItsConditions(t *testing.T) {
	t.Parallel()
	for field, rule := range map[string]Rule{
		"":                 {Mode: ModeAllow, Expr: "true"},
		"claims":           {Claims: map[string][]string{"": {"x"}}},
		"claims.a":         {Claims: map[string][]string{"a": nil}},
		"email_domains[1]": {EmailDomains: []string{"example.com", "com"}},
		"expr":             {Expr: "identity.nobody == 'x'"},
	} {
		var got []string
		rule.Validate(func(field, _ string) { got = append(got, field) })
		if len(got) != 1 || got[0] != field {
			t.Errorf("got %q, want %q", got, field)
		}
	}
}

func TestGateWithABrokenRuleLetsNobodyPass(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	r := httptest.NewRequest("GET", s.gw.URL+"/x", nil)
	for _, c := range s.login("alice").own() {
		r.AddCookie(c)
	}
	for _, rule := range []Rule{
		{Expr: "true ||"},
		{Expr: "'text'"},
		{EmailDomains: []string{"*"}},
		{Claims: map[string][]string{"sub": nil}},
		{Mode: ModeAllow, Expr: "true"},
	} {
		d, err := s.gate(rule).Check(r)
		if e, ok := err.(*Error); !ok || d.Identity != nil || e.HTTPStatus() != 500 {
			t.Errorf("%+v: got %v", rule, err)
		}
	}
}

// TestEmailOfALogin is attack case O33: what the provider says of the address, in every form that
// providers have for it, decides.
func TestEmailOfALogin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		verified any // nil: not said
		want     bool
	}{
		"true": {true, true}, "Cognito's true": {"true", true},
		"false": {false, false}, "Cognito's false": {"false", false}, "not said": {nil, false},
		"1": {1, false}, "True": {"True", false}, "a list": {[]bool{true}, false}, "an object": {object2{"a": true}, false}, "blank": {"", false},
	} {
		for _, pool := range []bool{true, false} {
			s := newStack(t, func(s *stack) { s.op.pool = pool })
			say := func(c object2) {
				c["email"] = "ceo@example.com"
				if delete(c, "email_verified"); tt.verified != nil {
					c["email_verified"] = tt.verified
				}
			}
			s.set(func() { s.idClaims = say; say(s.userinfo) })
			r := httptest.NewRequest("GET", s.gw.URL+"/board", nil)
			for _, c := range s.login("ceo").own() {
				r.AddCookie(c)
			}
			_, err := s.gate(Rule{EmailDomains: []string{"example.com"}}).Check(r)
			if tt.want {
				if err != nil {
					t.Errorf("%s, Cognito %t: got %v, want pass", name, pool, err)
				}
				continue
			}
			if e, ok := err.(*Error); !ok || e.HTTPStatus() != 403 || e.Reason != ReasonEmailNotVerified {
				t.Errorf("%s, Cognito %t: got %v, want %s", name, pool, err, ReasonEmailNotVerified)
			}
		}
	}
}

func TestBearerRefusalsOfConditions(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	raw := s.access("alice", func(c object2) {
		c["email"], c["email_verified"], c["tier"] = "alice@example.com", false, "gold"
	})
	for name, tt := range map[string]struct {
		rule      Rule
		reason    string // "" passes
		challenge string
	}{
		"claim":           {Rule{Claims: map[string][]string{"tier": {"gold"}}}, "", ""},
		"expression":      {Rule{Expr: "identity.claims.tier == 'gold' && 'orders.read' in identity.scopes"}, "", ""},
		"scope":           {Rule{Scopes: []string{"orders.write"}}, ReasonScope, `Bearer error="insufficient_scope", scope="orders.write"`},
		"scope and group": {Rule{Scopes: []string{"orders.write"}, Groups: []string{"admins"}}, ReasonScope, `Bearer error="insufficient_scope", scope="orders.write"`},
		"group":           {Rule{Groups: []string{"admins"}}, ReasonForbidden, `Bearer realm="gatehouse"`},
		"another claim":   {Rule{Claims: map[string][]string{"tier": {"silver"}}}, ReasonForbidden, `Bearer realm="gatehouse"`},
		"e-mail":          {Rule{EmailDomains: []string{"example.com"}}, ReasonEmailNotVerified, `Bearer realm="gatehouse"`},
		"expression, not": {Rule{Expr: "identity.claims.tier == 'silver'"}, ReasonForbidden, `Bearer realm="gatehouse"`},
	} {
		rule := tt.rule
		rule.Mode = ModeToken
		r := httptest.NewRequest("GET", s.gw.URL+"/api", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		d, err := s.gate(rule).Check(r)
		if tt.reason == "" {
			if err != nil || d.Identity == nil {
				t.Errorf("%s: got %v, want pass", name, err)
			}
			continue
		}
		e, ok := err.(*Error)
		if !ok || d.Identity != nil || e.HTTPStatus() != 403 || e.Reason != tt.reason || e.Challenge != tt.challenge {
			t.Errorf("%s: got %v %+v, want %s %q", name, err, e, tt.reason, tt.challenge)
			continue
		}
		if _, href := e.Action(); href != "" || e.Account() != "alice@example.com" || e.Fields()["reason"] != tt.reason || strings.Contains(e.Error(), raw) {
			t.Errorf("%s: got %q %v, want the account and no way to sign out", name, e.Account(), e.Fields())
		}
	}
}
