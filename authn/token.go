package authn

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	// maxToken bounds a token before anything reads it.
	maxToken = 16 << 10
	// skew is how far our clock and the provider's may differ.
	skew = 30 * time.Second
	// maxSubject is the length that OpenID Connect Core 1.0 section 2 allows for sub.
	maxSubject = 255
	// maxACR bounds the name of an authentication context class.
	maxACR = 128
)

// claims is the payload of a token whose signature, issuer and times are right.
type claims struct {
	header  header
	raw     []byte
	members object
	subject string
	expires time.Time
	issued  time.Time
}

// verify checks what ID tokens and access tokens have in common, and is stricter than go-oidc,
// which accepts a missing or empty sub, a missing iat, control bytes in sub, empty crit, line
// breaks in the middle, the JSON serialisation, and lets "SUB" override "sub".
func (c *connection) verify(ctx context.Context, issuer, raw string, now time.Time) (*claims, error) {
	head, err := splitToken(raw)
	if err != nil {
		return nil, err
	}
	fetches := c.keys.fetches.Load()
	if _, err := c.verifier.Verify(ctx, raw); err != nil {
		plain := fmt.Errorf("%s", clip(err.Error(), 300))
		if _, ok := errors.AsType[*oidc.TokenExpiredError](err); ok { // it looks at the signature first
			return nil, expiredError(raw, now, plain)
		}
		if doubt := c.keys.doubt(ctx, raw, fetches); doubt != nil { // which go-oidc does not hand on
			return nil, doubt
		}
		return nil, plain
	}
	// From here on the signature is known to be right; what is read is what was signed.
	payload, err := decodeSegment(strings.Split(raw, ".")[1])
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	cl, err := parseClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	cl.header = head
	if iss, ok := cl.members.text("iss"); !ok || iss != issuer {
		return nil, fmt.Errorf("iss: want %q, got %s", issuer, clip(string(cl.members["iss"]), 200))
	}
	return cl, cl.checkTimes(now)
}

// splitToken refuses whatever is not a compact JWS in canonical base64url (RFC 7515 section 7.1).
func splitToken(raw string) (header, error) {
	if len(raw) > maxToken {
		return header{}, fmt.Errorf("want at most %d bytes, got %d", maxToken, len(raw))
	}
	if n := strings.Count(raw, "."); n != 2 {
		return header{}, fmt.Errorf("want a signed token of 3 parts, got %d", n+1)
	}
	for part := range strings.SplitSeq(raw, ".") {
		if part == "" {
			return header{}, errors.New("a part of the token is empty")
		}
		if _, err := decodeSegment(part); err != nil {
			return header{}, err
		}
	}
	return parseHeader(raw)
}

// parseClaims reads a payload strictly.
func parseClaims(payload []byte) (*claims, error) {
	members, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	c := &claims{raw: payload, members: members}
	if c.subject, err = subject(members); err != nil {
		return nil, err
	}
	exp, ok := members.seconds("exp")
	if !ok {
		return nil, errors.New("exp: want a time")
	}
	iat, ok := members.seconds("iat")
	if !ok {
		return nil, errors.New("iat: want a time")
	}
	c.expires, c.issued = time.Unix(exp, 0), time.Unix(iat, 0)
	if members.has("nbf") {
		if _, ok := members.seconds("nbf"); !ok {
			return nil, errors.New("nbf: want a time")
		}
	}
	return c, nil
}

// subject returns sub. It ends up in a header of the upstream's request, so it may hold no control
// character; U+FFFD stands for what could not be decoded, and two such names would look the same.
func subject(members object) (string, error) {
	sub, ok := members.text("sub")
	switch {
	case !ok || sub == "":
		return "", errors.New("sub: want a text that is not empty")
	case len(sub) > maxSubject:
		return "", fmt.Errorf("sub: want at most %d bytes, got %d", maxSubject, len(sub))
	}
	for _, r := range sub {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || r == '\u2028' || r == '\u2029' {
			return "", errors.New("sub: control character")
		}
	}
	return sub, nil
}

// expiredError adds to why a token has expired how long ago it was issued, when it says.
func expiredError(raw string, now time.Time, plain error) error {
	payload, err := decodeSegment(strings.Split(raw, ".")[1])
	if err != nil {
		return plain
	}
	cl, err := parseClaims(payload)
	if err != nil || now.Sub(cl.issued).Abs() <= skew {
		return plain
	}
	return &clockError{ahead: now.Sub(cl.issued), err: plain}
}

func (c *claims) checkTimes(now time.Time) error {
	if now.After(c.expires.Add(skew)) {
		return fmt.Errorf("expired at %s", c.expires.UTC().Format(time.RFC3339))
	}
	if c.issued.After(now.Add(skew)) {
		return &clockError{
			ahead: now.Sub(c.issued),
			err:   fmt.Errorf("issued in the future, at %s", c.issued.UTC().Format(time.RFC3339)),
		}
	}
	if nbf, ok := c.members.seconds("nbf"); ok && time.Unix(nbf, 0).After(now.Add(skew)) {
		return errors.New("not valid yet")
	}
	return nil
}

// idToken is what a login takes from an ID token.
type idToken struct {
	*claims
	username string
	authTime time.Time
	dated    bool // authTime is auth_time, and not iat for want of it
	acr      string
	groups   []string
	hasGroup bool // the groups claim is there, even if it is empty
}

// verifyIDToken checks an ID token as OpenID Connect Core 1.0 section 3.1.3.7 asks. nonce is "" for
// a token that came with a refresh (section 12.2).
func (p *Provider) verifyIDToken(ctx context.Context, c *connection, raw, nonce, accessToken string) (*idToken, error) {
	cl, err := c.verify(ctx, p.set.issuer, raw, p.now())
	if err != nil {
		return nil, err
	}
	if t := cl.header.typ; t != "" && t != "jwt" {
		return nil, fmt.Errorf("typ: %q is not an ID token", clip(t, 40))
	}
	if err := cl.checkAudience(p.set.clientID); err != nil {
		return nil, err
	}
	if err := cl.checkNonce(nonce); err != nil {
		return nil, err
	}
	if err := cl.checkAccessTokenHash(accessToken); err != nil {
		return nil, err
	}
	if use, _ := cl.members.text("token_use"); p.set.cognito && use != "id" {
		return nil, fmt.Errorf(`token_use: want "id", got %q`, clip(use, 40))
	}
	if cl.members.has("events") {
		return nil, errors.New("a logout token is not an ID token")
	}
	return p.idToken(cl)
}

func (p *Provider) idToken(cl *claims) (*idToken, error) {
	t := &idToken{claims: cl}
	var err error
	if t.groups, err = cl.members.list(p.set.groupsClaim); err != nil {
		return nil, err
	}
	t.hasGroup = cl.members.has(p.set.groupsClaim)
	name := "preferred_username"
	if p.set.cognito {
		name = "cognito:username"
	}
	t.username, _ = cl.members.text(name)
	t.authTime, t.dated = cl.authenticated()
	t.acr = cl.acr()
	return t, nil
}

// authenticated returns when the person last proved who they are. A token that does not say so was
// issued then at the earliest; stated is false.
func (c *claims) authenticated() (at time.Time, stated bool) {
	if at, ok := c.members.seconds("auth_time"); ok {
		return time.Unix(at, 0), true
	}
	return c.issued, false
}

// acr returns the authentication context class, or "" for one that is absent or longer than any rule
// could name.
func (c *claims) acr() string {
	acr, _ := c.members.text("acr")
	if len(acr) > maxACR {
		return ""
	}
	return acr
}

// checkAudience wants us in aud, and us alone unless azp says that the token was made for us.
func (c *claims) checkAudience(clientID string) error {
	aud, err := c.members.list("aud")
	if err != nil {
		return err
	}
	if !slices.Contains(aud, clientID) {
		return fmt.Errorf("aud: want %q, got %q", clientID, clip(strings.Join(aud, " "), 200))
	}
	azp, ok := c.members.text("azp")
	switch {
	case c.members.has("azp") && (!ok || azp != clientID):
		return fmt.Errorf("azp: want %q, got %q", clientID, clip(azp, 100))
	case len(aud) > 1 && !ok:
		return errors.New("aud: several, and no azp")
	}
	return nil
}

func (c *claims) checkNonce(want string) error {
	if want == "" {
		return nil
	}
	got, ok := c.members.text("nonce")
	if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return errors.New("nonce: not that of this login")
	}
	return nil
}

// checkAccessTokenHash checks at_hash where it is present; in the code flow it may be absent
// (OpenID Connect Core 1.0 section 3.1.3.8).
func (c *claims) checkAccessTokenHash(accessToken string) error {
	if !c.members.has("at_hash") {
		return nil
	}
	var sum []byte
	switch {
	case strings.HasSuffix(c.header.alg, "384"):
		s := sha512.Sum384([]byte(accessToken))
		sum = s[:]
	case strings.HasSuffix(c.header.alg, "512"), c.header.alg == "EdDSA":
		s := sha512.Sum512([]byte(accessToken))
		sum = s[:]
	default:
		s := sha256.Sum256([]byte(accessToken))
		sum = s[:]
	}
	got, ok := c.members.text("at_hash")
	want := base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return errors.New("at_hash: not that of the access token")
	}
	return nil
}
