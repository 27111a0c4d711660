package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"gatehouse/authn/identity"
)

// Bounds of the caches of verified bearer tokens, in bytes of token and claims: of a login's own, and
// of each further issuer.
const (
	maxTokens       = 32 << 20
	maxIssuerTokens = 8 << 20
)

// A TokenIssuer verifies the access tokens of one issuer, with the keys, algorithms and audience of that
// one alone. It is safe for concurrent use.
type TokenIssuer struct {
	set    issuerSettings
	client *http.Client
	now    func() time.Time
	keys   atomic.Pointer[keySet] // nil until the issuer has been reached
	tokens *cache[tokenKey, verifiedToken]
}

// A tokenKey names a verified token. What one issuer has vouched for is never found for another, nor
// what was taken under other rules (attack case O48).
type tokenKey struct {
	issuer  string
	dialect dialect
	sum     [sha256.Size]byte
}

// A verifiedToken is good while its keys are those that verified it.
type verifiedToken struct {
	id         *identity.Identity
	keys       *keySet
	generation uint64
}

// NewTokenIssuer returns an issuer that has not been reached. It reads the CA file, if there is one, and
// does no network.
func NewTokenIssuer(cfg TokenIssuerConfig, opts ProviderOptions) (*TokenIssuer, error) {
	set, err := check(cfg.resolve)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	roots := opts.Roots
	if set.ca != "" {
		if roots, err = loadRoots(set.ca); err != nil {
			return nil, fmt.Errorf("tokens: %w", err)
		}
	}
	if opts.Timeout <= 0 {
		opts.Timeout = callTimeout
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return newTokenIssuer(set, newClient(roots, opts.Timeout), opts.Now, maxIssuerTokens), nil
}

func newTokenIssuer(set issuerSettings, client *http.Client, now func() time.Time, limit int) *TokenIssuer {
	return &TokenIssuer{set: set, client: client, now: now, tokens: newCache[tokenKey, verifiedToken](limit)}
}

// Issuer returns the issuer as configured, which is also what every token must say.
func (t *TokenIssuer) Issuer() string { return t.set.issuer }

// Ready says whether the issuer's keys are here.
func (t *TokenIssuer) Ready() bool { return t.keys.Load() != nil }

// Close closes connections that are idle. The issuer stays usable.
func (t *TokenIssuer) Close() { t.client.CloseIdleConnections() }

// Connect reads where the issuer's keys are, unless that is configured, and the keys. On failure
// everything stays as it was.
func (t *TokenIssuer) Connect(ctx context.Context) error {
	keys, err := t.discover(oidc.ClientContext(ctx, t.client))
	if err == nil {
		err = keys.first(ctx)
	}
	if err != nil {
		return fmt.Errorf("issuer of tokens %s: %w", t.set.issuer, err)
	}
	t.keys.Store(keys)
	return nil
}

// discover needs no more of a discovery document than the issuer and the keys: who only issues tokens
// has nothing else in it.
func (t *TokenIssuer) discover(ctx context.Context) (*keySet, error) {
	m := metadata{JWKS: t.set.jwks}
	if m.JWKS == "" {
		op, err := oidc.NewProvider(ctx, t.set.issuer)
		if err != nil {
			return nil, discoveryError(t.set.issuer, err)
		}
		if err := op.Claims(&m); err != nil {
			return nil, discoveryError(t.set.issuer, err)
		}
		if _, err := secureURL(m.JWKS); err != nil {
			return nil, fmt.Errorf("discovery: jwks_uri: %w", err)
		}
	}
	algs := t.set.algorithms
	if algs == nil {
		algs = announcedAlgorithms(t.set.cognito, m.Algorithms)
	}
	return &keySet{url: m.JWKS, client: t.client, now: t.now, algs: algs}, nil
}

// discoveryError is short although what go-oidc says may quote the whole answer.
func discoveryError(issuer string, err error) error {
	var mismatch *oidc.IssuerMismatchError
	if errors.As(err, &mismatch) {
		return fmt.Errorf("discovery: issuer: want %q, got %q", issuer, clip(mismatch.Discovered, 200))
	}
	return fmt.Errorf("discovery: %s", clip(err.Error(), 300))
}

// announcedAlgorithms pins what may sign: RS256 for Cognito, otherwise what discovery announces of the
// asymmetric ones. Never "none" and never HS*, whatever is announced.
func announcedAlgorithms(cognito bool, announced []string) []jose.SignatureAlgorithm {
	var algs []jose.SignatureAlgorithm
	for _, alg := range knownAlgorithms() {
		if !cognito && slices.Contains(announced, string(alg)) {
			algs = append(algs, alg)
		}
	}
	if len(algs) == 0 {
		algs = []jose.SignatureAlgorithm{jose.RS256}
	}
	return algs
}

// remembered returns the identity of a token that has been verified before, or nil. A token is
// forgotten when it expires, and verified anew when the issuer's keys have changed since.
func (t *TokenIssuer) remembered(ctx context.Context, key tokenKey) *identity.Identity {
	key.issuer = t.set.issuer
	e, ok := t.tokens.get(key)
	if !ok || !t.now().Before(e.id.Expires) || e.keys != t.keys.Load() || !e.keys.confirm(ctx, e.generation) {
		return nil
	}
	return e.id
}

// verify returns the identity that a token proves, and remembers it. The token has maxToken bytes at most.
func (t *TokenIssuer) verify(ctx context.Context, raw string, key tokenKey) (*identity.Identity, error) {
	keys := t.keys.Load()
	if keys == nil {
		return nil, ErrProviderUnavailable
	}
	generation := keys.generation.Load() // before they are used: should they change meanwhile, the next one looks again
	id, err := t.check(ctx, keys, raw, key.dialect, t.now())
	if err != nil {
		return nil, err
	}
	key.issuer = t.set.issuer
	t.tokens.put(key, verifiedToken{id, keys, generation}, len(raw)+len(id.Claims)+512)
	return id, nil
}

// check does what costs nothing first: of a token that says itself that it is none of ours no key is
// looked for.
func (t *TokenIssuer) check(ctx context.Context, keys *keySet, raw string, d dialect, now time.Time) (*identity.Identity, error) {
	head, payload, err := readToken(raw)
	if err != nil {
		return nil, fault(faultMalformed, "%w", err)
	}
	if !d.takesAlgorithm(head.alg) || !slices.Contains(keys.algs, jose.SignatureAlgorithm(head.alg)) {
		return nil, fault(faultSignature, "alg: %q is not taken here", clip(head.alg, 20))
	}
	cl, err := d.parseClaims(payload)
	if err != nil {
		return nil, err
	}
	cl.header = head
	if iss, _ := cl.members.text("iss"); iss != t.set.issuer {
		return nil, fault(faultIssuer, "iss: want %q, got %s", t.set.issuer, clip(string(cl.members["iss"]), 200))
	}
	if err := d.checkTimes(cl, now); err != nil {
		return nil, err
	}
	if _, err := keys.VerifySignature(ctx, raw); err != nil {
		var away *keysError
		if errors.As(err, &away) || ctx.Err() != nil {
			return nil, err
		}
		return nil, fault(faultSignature, "%w", err)
	}
	if err := t.checkFor(cl, d); err != nil {
		return nil, err
	}
	return t.identity(cl, raw, d)
}

// readToken takes a compact JWS apart; what it returns is not verified.
func readToken(raw string) (header, []byte, error) {
	head, err := splitToken(raw)
	if err != nil {
		return header{}, nil, err
	}
	payload, err := decodeSegment(payloadSegment(raw))
	return head, payload, err
}
