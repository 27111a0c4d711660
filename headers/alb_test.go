package headers

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/identity"
)

// What an Application Load Balancer sends for a userinfo answer, member for member: the answer in its order,
// then exp and iss; strings stay strings and what is nested stays nested.
func TestPayloadsAreALBs(t *testing.T) {
	t.Parallel()
	const (
		issuer = "https://cognito-idp.us-west-2.amazonaws.com/us-west-2_EXAMPLE"
		client = "1example23456789"
		signer = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/edge/50dc6c495c0c9188"
		sub    = "21f782e8-6bd2-4363-9134-0ce990b8c873"
		ends   = `,"exp":1566480176,"iss":"` + issuer + `"}`
	)
	a := newTestAssertion(t, AssertionConfig{Signer: signer})
	key := signingKeyOf(t, a)
	wantHeader := fmt.Sprintf(`{"typ":"JWT","kid":"%s","alg":"ES256","iss":"%s","client":"%s","signer":"%s","exp":1566480176}`, key.kid, issuer, client, signer)
	for name, claims := range map[string]string{
		"as captured": `{"sub":"` + sub + `","email_verified":"false","given_name":"Jane","email":"jane@example.com",` +
			`"custom:groups":"[Default, group1]","username":"jane"}`,
		"strings that look like others": `{"sub":"` + sub + `","email_verified":"true","custom:n":"007","custom:null":"null","updated_at":"1566480000"}`,
		"other types stay what they are": `{"sub":"` + sub + `","email_verified":true,"n":1.50,"big":12345678901234567890,"e":1e2,"null":null,"list":["a",["b"],{}],` +
			`"address":{"country":"NL","exp":1,"iss":"theirs"}}`,
		"beyond ASCII, spelt either way": `{"sub":"` + sub + `","name":"Zoë 漢字 👩‍🚀","nickname":"Zo\u00eb","x":"\ud83d\udc69"}`,
		"what HTML would escape":         `{"sub":"` + sub + `","name":"<a href=\"/x?y=1&z\">","path":"\/a","quote":"\u0022"}`,
		"line breaks and other controls": `{"sub":"` + sub + `","zoneinfo":"a\r\nX-Admin: 1\u0000"}`,
		"sub last":                       `{"email":"jane@example.com","sub":"` + sub + `"}`,
		"sub alone":                      `{"sub":"` + sub + `"}`,
		"as much as ALB takes":           `{"sub":"` + sub + `","profile":"` + strings.Repeat("x", 11<<10-60) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := &identity.Identity{Issuer: issuer, ClientID: client, Subject: sub, SessionID: name, Claims: []byte(claims), AccessToken: "eyJ.at.x-_"}
			h := make(http.Header)
			if err := a.Set(h, id, time.Unix(1566480056, 0)); err != nil {
				t.Fatal(err)
			}
			token := h.Get(dataHeader)
			header, payload := verify(t, &key.private.PublicKey, token)
			if header != wantHeader {
				t.Errorf("header\n got %s\nwant %s", header, wantHeader)
			}
			if want := strings.TrimSuffix(claims, "}") + ends; payload != want {
				t.Errorf("payload\n got %s\nwant %s", payload, want)
			}
			if len(h) != 3 || h.Get(identityHeader) != sub || h.Get(accessTokenHeader) != "eyJ.at.x-_" || !isVisible(token) {
				t.Errorf("headers %q, want three, of visible ASCII", h)
			}
			parts := strings.Split(token, ".")
			for i, part := range parts {
				if len(part)%4 != 0 {
					t.Errorf("part %d has %d characters, want it padded", i, len(part))
				}
			}
			if len(parts[2]) != 88 || !strings.HasSuffix(parts[2], "==") {
				t.Errorf("signature %q, want 86 characters and two of padding", parts[2])
			}
			// AWS's own sample in Python decodes the header with the standard alphabet.
			if decoded, err := base64.StdEncoding.DecodeString(parts[0]); err != nil || string(decoded) != header {
				t.Errorf("the header with the standard alphabet: %q, %v", decoded, err)
			}
		})
	}
}

func TestClaimsAreBounded(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	for size, ok := range map[int]bool{maxClaims: true, maxClaims + 1: false} {
		const frame = `{"sub":"alice-sub","x":""}`
		id := alice()
		id.Claims = []byte(strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1))
		if err := a.Set(make(http.Header), id, noon); (err == nil) != ok {
			t.Errorf("%d bytes of claims: %v, want them signed: %v", len(id.Claims), err, ok)
		}
	}
}
