package devpool

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tokens is the answer of the token endpoint, in Cognito's order.
type tokens struct {
	ID        string `json:"id_token,omitempty"`
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token,omitempty"`
	ExpiresIn int64  `json:"expires_in"`
	Type      string `json:"token_type"`
}

// issue makes the tokens of a grant: an access token always, an ID token when a person granted the
// scope openid. The nonce belongs to the first ID token only.
func (p *Pool) issue(g *grant, first bool) (*tokens, error) {
	faults, keys, now := p.currentFaults(), p.keyring(), p.opts.Now()
	user, ok := p.user(g.username)
	if g.username != "" && !ok {
		return nil, refuse(errInvalidGrant)
	}
	access, err := keys.access.sign(p.accessClaims(g, user, now).override(faults.AccessClaims))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.store.sweep(now)
	p.store.access[hash(access)] = &accessToken{grant: g, expires: now.Add(p.opts.AccessTTL)}
	p.mu.Unlock()
	t := &tokens{Access: access, ExpiresIn: int64(p.opts.AccessTTL / time.Second), Type: "Bearer"}
	if g.username == "" || !g.api && !slices.Contains(g.scopes, "openid") {
		return t, nil
	}
	claims := p.idClaims(g, user, now).with("at_hash", leftHash(access))
	if first && g.nonce != "" {
		claims = claims.with("nonce", g.nonce)
	}
	t.ID, err = faults.signID(keys, claims)
	return t, err
}

// leftHash is at_hash: the left half of the digest of the access token (OpenID Connect Core section
// 3.1.3.6).
func leftHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func (p *Pool) idClaims(g *grant, u User, now time.Time) object {
	claims := object{{"at_hash", ""}, {"sub", u.Sub}}
	if len(u.Groups) > 0 {
		claims = claims.with("cognito:groups", u.Groups)
	}
	claims = append(
		claims,
		member{"iss", p.issuer},
		member{"cognito:username", u.Username},
		member{"origin_jti", g.originJTI},
		member{"aud", g.client.ID},
		member{"event_id", g.eventID},
		member{"token_use", "id"},
		member{"auth_time", g.authTime.Unix()},
		member{"exp", now.Add(p.opts.AccessTTL).Unix()},
		member{"iat", now.Unix()},
		member{"jti", p.uuid()},
	)
	return append(claims, attributes(g, u, false)...)
}

// accessClaims are those of a person's access token, or of a machine's when the grant has no user.
func (p *Pool) accessClaims(g *grant, u User, now time.Time) object {
	sub := u.Sub
	if g.username == "" {
		sub = g.client.ID
	}
	claims := object{{"sub", sub}}
	if len(u.Groups) > 0 {
		claims = claims.with("cognito:groups", u.Groups)
	}
	claims = append(claims, member{"iss", p.issuer}, member{"version", 2}, member{"client_id", g.client.ID})
	if g.resource != "" {
		claims = claims.with("aud", g.resource)
	}
	if g.username != "" {
		claims = append(claims, member{"origin_jti", g.originJTI}, member{"event_id", g.eventID})
	}
	claims = append(
		claims,
		member{"token_use", "access"},
		member{"scope", strings.Join(g.scopes, " ")},
		member{"auth_time", g.authTime.Unix()},
		member{"exp", now.Add(p.opts.AccessTTL).Unix()},
		member{"iat", now.Unix()},
		member{"jti", p.uuid()},
	)
	if g.username != "" {
		claims = claims.with("username", u.Username)
	}
	return claims
}

// attributes are what the scopes and the client's read permissions show of a user. Booleans are
// booleans in ID tokens and strings in userInfo. The scope openid alone shows everything.
func attributes(g *grant, u User, stringly bool) object {
	has := func(scope string) bool { return slices.Contains(g.scopes, scope) }
	all := !has("email") && !has("phone") && !has("profile")
	var o object
	add := func(name string, value any) {
		if g.client.reads(name) {
			o = append(o, member{name, value})
		}
	}
	if (all || has("email")) && u.Email != "" {
		var verified any = u.EmailVerified
		if stringly {
			verified = strconv.FormatBool(u.EmailVerified)
		}
		add("email_verified", verified)
		add("email", u.Email)
	}
	if all || has("profile") {
		if u.Name != "" {
			add("name", u.Name)
		}
		for _, name := range slices.Sorted(maps.Keys(u.Custom)) {
			add("custom:"+name, u.Custom[name])
		}
	}
	return o
}
