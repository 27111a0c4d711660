package authn

import (
	"strings"
	"testing"

	"gatehouse/authn/identity"
)

func TestEmailDomain(t *testing.T) {
	t.Parallel()
	exact, below := Rule{EmailDomains: []string{"Example.com"}}, Rule{EmailDomains: []string{"*.example.com"}}
	for _, tt := range []struct {
		email        string
		exact, below bool
	}{
		{"a@example.com", true, false},
		{"a@EXAMPLE.com", true, false},
		{"a+b.c%d'e@example.com", true, false},
		{"jürgen@example.com", true, false},
		{"a@mail.example.com", false, true},
		{"a@a.b.Example.COM", false, true},

		{"a@evil-example.com", false, false},
		{"a@evilexample.com", false, false},
		{"a@example.com.evil.com", false, false},
		{"a@example.com@evil.com", false, false},
		{"a@evil.com@example.com", false, false},
		{`"a@evil.com"@example.com`, false, false},
		{`a"@example.com`, false, false},
		{"a@[example.com]", false, false},
		{"a@example.com(evil.com)", false, false},
		{"<a@example.com>", false, false},
		{"b <a@evil.com>, c@example.com", false, false},
		{"a,b@example.com", false, false},
		{"a@evil.com,b@example.com", false, false},
		{"a b@example.com", false, false},
		{" a@example.com", false, false},
		{"a@example.com ", false, false},
		{"a@ example.com", false, false},
		{"a@example.com\n", false, false},
		{"a\x00@example.com", false, false},
		{"a\u200b@example.com", false, false},
		{"a\u00a0@example.com", false, false},
		{"a\u202e@example.com", false, false},
		{"a\xff@example.com", false, false},
		{"a@example.com.", false, false},
		{"a@.example.com", false, false},
		{"a@mail..example.com", false, false},
		{"a@-.example.com", false, false},
		{"a@-x.example.com", false, false},
		{"a@\u212aexample.com", false, false}, // the Kelvin sign, which folds into a k
		{"a@exampl\u0435.com", false, false},  // a Cyrillic letter
		{"a@example\u3002com", false, false},  // an ideographic full stop
		{"a@\uff45xample.com", false, false},  // a full-width letter
		{"a@xn--exmple-cua.com", false, false},
		{"a@example%2ecom", false, false},
		{"a@com", false, false},
		{"@example.com", false, false},
		{"example.com", false, false},
		{"a@", false, false},
		{"", false, false},
		{strings.Repeat("a", maxEmail) + "@example.com", false, false},
		{"a@" + strings.Repeat("a", 64) + ".example.com", false, false},
	} {
		id := &identity.Identity{Email: tt.email, EmailVerified: true}
		for rule, want := range map[*Rule]bool{&exact: tt.exact, &below: tt.below} {
			if got := mustCompile(t, *rule).lacks(id) == nil; got != want {
				t.Errorf("%q for %q: got %t, want %t", tt.email, rule.EmailDomains, got, want)
			}
		}
	}
}

func mustCompile(t testing.TB, r Rule) *conditions {
	t.Helper()
	c, err := r.compile()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEmailDomainWantsAVerifiedAddress(t *testing.T) {
	t.Parallel()
	c := mustCompile(t, Rule{EmailDomains: []string{"example.com"}})
	l := c.lacks(&identity.Identity{Email: "ceo@example.com"})
	if l == nil || !l.unproved {
		t.Errorf("an address that nobody has verified: got %+v", l)
	}
	// That one's domain would do is told only to who has it.
	if l := c.lacks(&identity.Identity{Email: "ceo@example.org"}); l == nil || l.unproved {
		t.Errorf("an address elsewhere that nobody has verified: got %+v", l)
	}
}

// FuzzEmailDomain looks for an address that a rule takes and that mail would bring elsewhere.
func FuzzEmailDomain(f *testing.F) {
	for _, s := range []string{"a@example.com", "a@b@example.com", `"@"@example.com`, "a@EXAMPLE.COM", "a@\u212aexample.com", "a@x.example.com", "a@.example.com"} {
		f.Add(s)
	}
	exact, below := mustCompile(f, Rule{EmailDomains: []string{"example.com"}}), mustCompile(f, Rule{EmailDomains: []string{"*.example.com"}})
	f.Fuzz(func(t *testing.T, email string) {
		id := &identity.Identity{Email: email, EmailVerified: true}
		isExact, isBelow := exact.lacks(id) == nil, below.lacks(id) == nil
		if !isExact && !isBelow {
			return
		}
		if isExact && isBelow {
			t.Fatalf("%q is the domain and below it", email)
		}
		at := strings.LastIndexByte(email, '@')
		if at < 1 || strings.Count(email, "@") != 1 || strings.ContainsAny(email, " \t\r\n\x00\"<>(),;:\\[]") {
			t.Fatalf("taken: %q", email)
		}
		domain := email[at+1:]
		for i := range len(domain) {
			if domain[i] >= 0x80 || domain[i] <= ' ' {
				t.Fatalf("taken, with a domain that is not plain: %q", email)
			}
		}
		if isExact && !strings.EqualFold(domain, "example.com") {
			t.Fatalf("taken as example.com: %q", email)
		}
		if isBelow && (!strings.EqualFold(domain[max(0, len(domain)-len(".example.com")):], ".example.com") || strings.Contains(domain, "..") || domain[0] == '.') {
			t.Fatalf("taken as below example.com: %q", email)
		}
		id.EmailVerified = false
		if exact.lacks(id) == nil || below.lacks(id) == nil {
			t.Fatalf("taken although nobody has verified it: %q", email)
		}
	})
}
