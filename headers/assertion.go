package headers

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
	"unique"

	"gatehouse/authn/identity"
)

// The header names of an Application Load Balancer, as net/http spells them.
const (
	dataHeader        = "X-Amzn-Oidc-Data"
	identityHeader    = "X-Amzn-Oidc-Identity"
	accessTokenHeader = "X-Amzn-Oidc-Accesstoken"
)

// maxSubject is the length that OpenID Connect Core, section 2, allows a subject.
const maxSubject = 255

// An Assertion tells upstreams who is calling, in the signed and plain headers of an Application
// Load Balancer. It is safe for concurrent use.
type Assertion struct {
	signer          string
	unverifiedEmail bool
	source          KeySource
	signatures      *signatures
	now             func() time.Time // of the key endpoint

	// What a route may say, and all of it in one comparable value.
	encoding  *base64.Encoding
	audience  string
	sendToken bool
	claims    []claimHeader
	profile   unique.Handle[string]
}

// A claimHeader is one entry of AssertionConfig.Claims.
type claimHeader struct {
	claim, header string // header in canonical spelling
}

// A field is one header with its values. The slice is shared by the requests of a session; appending
// to it copies.
type field struct {
	name   string
	values []string
}

// NewAssertion reads the keys of cfg, or derives them from secret (of 32 bytes at least) when cfg
// names none: instances that share the secret then share the keys.
func NewAssertion(cfg AssertionConfig, secret []byte) (*Assertion, error) {
	if err := problems("assertion", cfg.Validate); err != nil {
		return nil, err
	}
	source, err := newKeySource(cfg, secret)
	if err != nil {
		return nil, fmt.Errorf("assertion: %w", err)
	}
	return NewAssertionFrom(cfg, source)
}

// NewAssertionFrom is NewAssertion with keys from elsewhere. What cfg says of keys counts for nothing.
func NewAssertionFrom(cfg AssertionConfig, source KeySource) (*Assertion, error) {
	if err := problems("assertion", cfg.Validate); err != nil {
		return nil, err
	}
	a := &Assertion{
		signer:          cmp.Or(cfg.Signer, defaultSigner),
		unverifiedEmail: cfg.InsecureUnverifiedEmail,
		source:          source,
		signatures:      newSignatures(maxSignatures),
		now:             time.Now,
	}
	return a.Route(cfg.Route())
}

// Route returns the assertion of a route. cfg is the whole of it: what it leaves out has its default,
// whatever a says. Keys, and the bound on what is remembered, are shared with a; a signature is not,
// unless two routes say the same.
func (a *Assertion) Route(cfg RouteAssertionConfig) (*Assertion, error) {
	if err := problems("assertion", cfg.Validate); err != nil {
		return nil, err
	}
	route := *a
	route.encoding = base64Encoding(cfg.Padding)
	route.audience = cfg.Audience
	route.sendToken = cfg.AccessToken != accessTokenOmit
	route.claims = nil
	for _, claim := range slices.Sorted(maps.Keys(cfg.Claims)) {
		route.claims = append(route.claims, claimHeader{claim, http.CanonicalHeaderKey(cfg.Claims[claim])})
	}
	route.profile = unique.Make(fmt.Sprintf("%q %t %t %q", route.audience, route.encoding == base64.URLEncoding, route.sendToken, route.claims))
	return &route, nil
}

// KeysAt returns the keys that are published at now.
func (a *Assertion) KeysAt(now time.Time) (*KeySet, error) {
	return a.source.KeysAt(now)
}

// Set writes the identity into the headers of a request to an upstream, as its last word: after
// hop-by-hop headers have been removed, so that no Connection header can take it out again. With a
// nil identity it only deletes. On an error nothing of the identity is in h and the request must
// not be sent.
//
// The values are shared between requests and must not be changed in place.
func (a *Assertion) Set(h http.Header, id *identity.Identity, now time.Time) error {
	a.clear(h)
	if id == nil {
		return nil
	}
	entry := a.signatures.get(a.profile, id, now)
	entry.once.Do(func() { entry.fields, entry.err = a.fields(entry.id, entry.at) })
	if entry.err != nil {
		a.signatures.forget(entry)
		return fmt.Errorf("identity cannot be asserted: %w", entry.err)
	}
	for _, f := range entry.fields {
		h[f.name] = f.values
	}
	return nil
}

func (a *Assertion) clear(h http.Header) {
	delete(h, dataHeader)
	delete(h, identityHeader)
	delete(h, accessTokenHeader)
	for _, c := range a.claims {
		delete(h, c.header)
	}
}

// fields makes every header for the identity, or none.
func (a *Assertion) fields(id *identity.Identity, now time.Time) ([]field, error) {
	if err := checkSubjectName(id.Subject); err != nil {
		return nil, err
	}
	members, err := parseMembers(id.Claims)
	if err != nil {
		return nil, err
	}
	if err := checkSubject(members, id.Subject); err != nil {
		return nil, err
	}
	token, err := a.token(id, members, now)
	if err != nil {
		return nil, err
	}
	fields := []field{newField(dataHeader, token), newField(identityHeader, id.Subject)}
	if a.sendToken && id.AccessToken != "" {
		if !isVisible(id.AccessToken) {
			return nil, errors.New("access token: want visible ASCII, got other bytes")
		}
		fields = append(fields, newField(accessTokenHeader, id.AccessToken))
	}
	for _, c := range a.claims {
		if c.claim == "email" && !id.EmailVerified && !a.unverifiedEmail {
			continue
		}
		value, err := claimValue(c.claim, members, id)
		if err != nil {
			return nil, err
		}
		if value != "" {
			fields = append(fields, newField(c.header, value))
		}
	}
	return fields, nil
}

func newField(name, value string) field {
	return field{name: name, values: []string{value}}
}

// checkSubjectName refuses a subject that a plain header cannot carry. OpenID Connect allows 255
// ASCII characters; encoding others would make a name that no application knows.
func checkSubjectName(subject string) error {
	if subject == "" || len(subject) > maxSubject || !isFieldValue(subject) {
		return fmt.Errorf("subject: want 1 to %d printable ASCII characters without blanks at the ends", maxSubject)
	}
	return nil
}

// isVisible reports whether s is of visible ASCII characters only, as an access token is (RFC 6749,
// appendix A.12).
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
