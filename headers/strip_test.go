package headers

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func newTestAssertion(t testing.TB, cfg AssertionConfig) *Assertion {
	t.Helper()
	a, err := NewAssertion(cfg, []byte(strings.Repeat("secret of the tests. ", 3)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newTestStripper(t testing.TB, cfg AssertionConfig, routes ...RouteAssertionConfig) func(http.Header) {
	t.Helper()
	strip, err := NewStripper(cfg, routes...)
	if err != nil {
		t.Fatal(err)
	}
	return strip
}

var protectedNames = [...]string{
	"X-Amzn-Oidc-Data", "X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Anything",
	"X-Amzn-Mtls-Clientcert", "X-Amzn-Mtls-Clientcert-Subject", "X-Amzn-Tls-Version", "X-Amzn-Waf-Verdict",
	"X-Employee-Kiss", // a mapped claim, with the letters that Unicode folds to: s, k, i
	"X-Auth-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Gateway-Identity", "Remote-User",
	"X-Auth-Request-Email", "Ssl-Client-Verify", "X-Ssl-Client-Cert", "X-Client-Cert", "X-Arr-Clientcert", "X-Forwarded-Client-Cert",
	"X-Remote-User", "X-Middleware-Subrequest", "X-Middleware-Subrequest-Id",
	"Oidc-Claim-Sub", "Oidc-Access-Token", "Oidc-Id-Token-Payload", "Shib-Session-Id", "X-Webauth-User", "X-Webauth-Role",
	"X-Credential-Username", "X-Appengine-User-Email", "X-Jwt-Assertion", "X-Userinfo",
}

// spellings returns names that some application or server between takes for name.
func spellings(name string) []string {
	replace := func(old, new string) string { return strings.ReplaceAll(name, old, new) }
	first := strings.Replace(name, "-", "_", 1)
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name), first, strings.ToLower(first),
		replace("-", "_"), replace("-", "."), replace("-", "~"), replace("-", "!"), replace("-", "|"), replace("-", " "),
		name + " ", " " + name, name + "\t", name + "\x00", "\ufeff" + name, name + "\u200b", name + "\r",
		replace("s", "ſ"), replace("k", "\u212a"), replace("ss", "ß"), replace("i", "ı"), replace("i", "\u0130"),
		replace("O", "Ó"), replace("-", "‐"), replace("-", "\xad"),
	}
}

func TestStripDeletesEverySpelling(t *testing.T) {
	t.Parallel()
	strip := newTestStripper(t, AssertionConfig{Claims: map[string]string{"custom:kiss": "x-employee-kiss"}})
	for _, name := range protectedNames {
		for _, spelling := range spellings(name) {
			// A spelling without a letter of the class is the plain name again, or for "Ó" and the
			// like a name that is only malformed: both have to go.
			h := http.Header{spelling: {"forged"}, "Accept": {"*/*"}}
			strip(h)
			if len(h) != 1 || h["Accept"] == nil {
				t.Errorf("Strip left %q", h)
			}
		}
	}
}

func TestStripLeavesHonestHeaders(t *testing.T) {
	t.Parallel()
	strip := newTestStripper(t, AssertionConfig{
		Claims: map[string]string{"email": "X-Mail"},
		Pass:   []string{"X-Auth-User", "x_auth_request_redirect"},
	})
	honest := []string{
		"Accept", "Authorization", "Cookie", "Content-Type", "Cf-Ray", "Remote", "Remote-Users", "X-Amzn-Trace-Id", "X-Amz-Date",
		"X-Amzn-Oidc", "Xamzn-Oidc-Data", "X-Amzn-Oidcdata", "X--Amzn-Oidc-Data", "-X-Amzn-Oidc-Data", "X-Mail-2", "X-Mai", "Y-Mail",
		"X-Requested-With", "X-Csrf-Token", "X-User-Id", "X-Auth-Token", "X-Forwarded-For", "Sec-Fetch-Mode", "X_Custom", "x.custom",
		"X-Auth-User", "X_auth_user", "X-Auth-Request-Redirect",
	}
	h := make(http.Header)
	for _, name := range honest {
		h[name] = []string{"1"}
	}
	strip(h)
	for _, name := range honest {
		if h[name] == nil {
			t.Errorf("Strip deleted %q", name)
		}
	}
}

func browserHeader() http.Header {
	return http.Header{
		"Accept": {"text/html"}, "Accept-Encoding": {"gzip, br"}, "Accept-Language": {"en"}, "Cache-Control": {"no-cache"},
		"Cookie": {"a=1"}, "Sec-Ch-Ua": {"x"}, "Sec-Ch-Ua-Mobile": {"?0"}, "Sec-Ch-Ua-Platform": {"Linux"}, "Sec-Fetch-Dest": {"document"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-User": {"?1"}, "Upgrade-Insecure-Requests": {"1"},
		"User-Agent": {"x"}, "X-Requested-With": {"XMLHttpRequest"}, "X-Amzn-Trace-Id": {"Root=1"},
	}
}

func TestStripAllocatesNothing(t *testing.T) {
	strip := newTestStripper(t, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}})
	h := browserHeader()
	if got := testing.AllocsPerRun(100, func() { strip(h) }); got != 0 {
		t.Errorf("Strip allocates %v times, want 0", got)
	}
}

func BenchmarkStrip(b *testing.B) {
	strip := newTestStripper(b, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}})
	h := browserHeader()
	b.ReportAllocs()
	for b.Loop() {
		strip(h)
	}
}

// cgiName is the independent reading: what Apache makes of a header's name.
func cgiName(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

func FuzzStrip(f *testing.F) {
	for _, name := range protectedNames {
		for _, spelling := range spellings(name) {
			f.Add(spelling)
		}
	}
	f.Add("")
	strip := newTestStripper(f, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}})
	f.Fuzz(func(t *testing.T, name string) {
		h := http.Header{name: {"forged"}}
		strip(h)
		for left := range h {
			for _, reading := range []string{cgiName(left), cgiName(strings.ToUpper(left)), cgiName(strings.TrimSpace(left))} {
				own := slices.ContainsFunc(ownPrefixes[:], func(prefix string) bool { return strings.HasPrefix(reading, prefix) })
				if own || reading == "x_mail" || isForeignIdentity(reading) {
					t.Errorf("%q is left, and reads as %q", left, reading)
				}
			}
		}
	})
}
