package headers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatehouse/authn/identity"
)

// assertionLife is how long an assertion is good for: ALB's 120 seconds, which is what verifiers
// and the clocks of applications are used to.
const assertionLife = 120 * time.Second

// token returns the x-amzn-oidc-data value for the identity at now: a JWT of ES256 in the shape
// that an Application Load Balancer sends, down to the order of its members.
func (a *Assertion) token(id *identity.Identity, members []member, now time.Time) (string, error) {
	if id.Issuer == "" || id.ClientID == "" {
		return "", errors.New("want an issuer and a client, got an empty one")
	}
	set, err := a.source.KeysAt(now)
	if err != nil {
		return "", err
	}
	key := set.keys[0]
	exp := strconv.FormatInt(now.Add(assertionLife).Unix(), 10)

	var head bytes.Buffer
	fmt.Fprintf(&head, `{"typ":"JWT","kid":"%s","alg":"ES256","iss":%s,"client":%s,"signer":%s,"exp":%s}`,
		key.kid, quote(id.Issuer), quote(id.ClientID), quote(a.signer), exp)

	size := a.encoding.EncodedLen(head.Len()) + a.encoding.EncodedLen(len(id.Claims)+len(id.Issuer)+len(a.audience)+72) + 2 + 88
	jwt := a.encoding.AppendEncode(make([]byte, 0, size), head.Bytes())
	jwt = append(jwt, '.')
	jwt = a.encoding.AppendEncode(jwt, payload(members, id.Issuer, a.audience, exp))
	signature, err := key.sign(jwt)
	if err != nil {
		return "", err
	}
	jwt = append(jwt, '.')
	return string(a.encoding.AppendEncode(jwt, signature[:])), nil
}

// payload returns the claims as they were received, followed by our exp and iss, and by aud where the
// file names an audience. Members of theirs with those names are left out: with both, it is up to the
// reader which one counts, and for whom a token is made is for the file to say, not for the provider.
func payload(members []member, issuer, audience, exp string) []byte {
	var object bytes.Buffer
	object.WriteByte('{')
	for _, m := range members {
		if m.name == "exp" || m.name == "iss" || m.name == "aud" {
			continue
		}
		object.Write(m.text)
		object.WriteByte(',')
	}
	fmt.Fprintf(&object, `"exp":%s,"iss":%s`, exp, quote(issuer))
	if audience != "" {
		fmt.Fprintf(&object, `,"aud":%s`, quote(audience))
	}
	object.WriteByte('}')
	return object.Bytes()
}

// quote returns s as a JSON string, with no more escapes than JSON asks for.
func quote(s string) string {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil { // a string always encodes
		return `""`
	}
	return string(bytes.TrimSuffix(quoted.Bytes(), []byte("\n")))
}

// base64Encoding returns the alphabet of RFC 7515 with ALB's padding, or without.
func base64Encoding(padding string) *base64.Encoding {
	if padding == paddingUnpadded {
		return base64.RawURLEncoding
	}
	return base64.URLEncoding
}
