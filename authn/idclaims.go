package authn

import "encoding/json"

// asserted returns the claims that a session keeps and the assertion signs: the userinfo answer, or
// the ID token's claims when the operator wants those or the provider has no userinfo. It is nil
// when a refresh brought none of them, and the claims stay as they were.
func (p *Provider) asserted(c *connection, t *tokens, userinfo []byte) []byte {
	switch {
	case !p.idTokenClaims && c.userinfo != "":
		return userinfo
	case t.id == nil:
		return nil
	default:
		return personClaims(t.id.raw)
	}
}

// aboutToken says whether a claim of an ID token is about that token, and not about the person and
// how they signed in. Left in the assertion it would be taken for a claim of the assertion: a
// verifier would refuse the second use of a jti, or an iat of hours ago, and take a token_use or an
// aud at its word. What ties the token to one login (nonce, the hashes) is of no use to anybody else.
func aboutToken(name string) bool {
	switch name {
	case "iss", "aud", "azp", "exp", "iat", "nbf", "jti", "token_use", // registered, and Cognito's
		"nonce", "at_hash", "c_hash", "s_hash", // OpenID Connect Core 1.0 sections 2 and 3.3, FAPI
		"origin_jti", "event_id": // Cognito
		return true
	}
	return false
}

// personClaims returns a payload without the members that are aboutToken; the others keep their bytes
// and their order. The payload has passed parseObject; of anything else it returns nil.
func personClaims(payload []byte) []byte {
	if _, err := parseObject(payload); err != nil {
		return nil
	}
	p := &jsonScanner{b: payload}
	p.space()
	p.i++ // {
	out := []byte{'{'}
	for p.space(); p.peek() != '}'; p.space() {
		if p.peek() == ',' {
			p.i++
			p.space()
		}
		start := p.i
		var name string
		if json.Unmarshal(p.string(), &name) != nil {
			return nil
		}
		p.space()
		p.i++ // :
		p.space()
		if p.value() != nil {
			return nil
		}
		if aboutToken(name) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, payload[start:p.i]...)
	}
	return append(out, '}')
}
