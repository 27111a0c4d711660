package headers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssertionConfigValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  AssertionConfig
		want []string // fields
	}{
		"zero":                 {AssertionConfig{}, nil},
		"signer":               {AssertionConfig{Signer: "arn:aws-us-gov:elasticloadbalancing:us-gov-west-1:123456789012:loadbalancer/app/a/b"}, nil},
		"not a load balancer":  {AssertionConfig{Signer: "arn:aws:s3:::bucket"}, []string{"signer"}},
		"signer with a line":   {AssertionConfig{Signer: defaultSigner + "\nx"}, []string{"signer"}},
		"padding":              {AssertionConfig{Padding: "yes"}, []string{"padding"}},
		"rotate":               {AssertionConfig{Rotate: "24h"}, nil},
		"rotate each hour":     {AssertionConfig{Rotate: "1h"}, []string{"rotate"}},
		"rotate never":         {AssertionConfig{Rotate: "8785h"}, []string{"rotate"}},
		"rotate, half seconds": {AssertionConfig{Rotate: "24h0.5s"}, []string{"rotate"}},
		"rotate days":          {AssertionConfig{Rotate: "30d"}, []string{"rotate"}},
		"rotate files":         {AssertionConfig{Rotate: "24h", Keys: []string{"a.pem"}}, []string{"rotate"}},
		"source":               {AssertionConfig{Source: "keys"}, []string{"source"}},
		"source and files":     {AssertionConfig{Source: "fleet", Keys: []string{"a.pem"}}, []string{"source"}},
		"rotate instances":     {AssertionConfig{Source: "instance", Rotate: "24h"}, []string{"rotate"}},
		"ID token":             {AssertionConfig{ClaimsFrom: "id_token"}, nil},
		"claims from":          {AssertionConfig{ClaimsFrom: "access_token"}, []string{"claims_from"}},
		"audience":             {AssertionConfig{Audience: "two words"}, []string{"audience"}},
		"long audience":        {AssertionConfig{Audience: strings.Repeat("a", 256)}, []string{"audience"}},
		"access token":         {AssertionConfig{AccessToken: "no"}, []string{"access_token"}},
		"inline key":           {AssertionConfig{Keys: []string{"file.pem", "", "-----BEGIN X"}}, []string{"keys[1]", "keys[2]"}},
		"no such header name":  {AssertionConfig{Claims: map[string]string{"a": "", "b": "X_B", "c": "X.C", "d": "X D", "e": "-X", "f": "É"}}, []string{"claims.a", "claims.b", "claims.c", "claims.d", "claims.e", "claims.f"}},
		"ours":                 {AssertionConfig{Claims: map[string]string{"a": "X-Amzn-Oidc-Data", "b": "x-amzn-anything"}}, []string{"claims.a", "claims.b"}},
		"HTTP's":               {AssertionConfig{Claims: map[string]string{"a": "Host", "b": "authorization", "c": "X-Forwarded-For", "d": "Content-Length"}}, []string{"claims.a", "claims.b", "claims.c", "claims.d"}},
		"one header twice":     {AssertionConfig{Claims: map[string]string{"a": "X-A", "b": "x-a"}}, []string{"claims.b"}},
		"no claim":             {AssertionConfig{Claims: map[string]string{"": "X-A"}}, []string{"claims"}},
		"of other gateways":    {AssertionConfig{Claims: map[string]string{"email": "X-Forwarded-Email"}, Pass: []string{"X-Auth-User"}}, nil},
		"pass":                 {AssertionConfig{Pass: []string{"X-Amzn-Oidc-Data", "X-Whatever", ""}}, []string{"pass[0]", "pass[1]", "pass[2]"}},
		"pass what is mapped":  {AssertionConfig{Claims: map[string]string{"email": "X-Forwarded-Email"}, Pass: []string{"x_forwarded_email"}}, []string{"claims.email"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(fieldsOf(tt.cfg.Validate), tt.want); diff != "" {
				t.Errorf("fields (-got +want):\n%s", diff)
			}
			if tt.want == nil {
				return
			}
			if _, err := NewAssertion(tt.cfg, []byte(strings.Repeat("s", 32))); err == nil {
				t.Error("NewAssertion takes what Validate reports")
			}
		})
	}
}
