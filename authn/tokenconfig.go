package authn

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4"
)

// TokensConfig says whose bearer tokens routes with `require: token` take beside the login's own.
type TokensConfig struct {
	// Issuers are those who issue tokens, by the names that routes have for them; 20 at most. The
	// login's own is named "login" and is configured there.
	Issuers map[string]TokenIssuerConfig `yaml:"issuers"`
}

// TokenIssuerConfig says what tokens of one issuer must be like. Of audience, client_ids and claims
// one is required: the signature alone does not say that a token was made for us.
type TokenIssuerConfig struct {
	// Issuer is who issues the tokens, exactly as they say in "iss". Required.
	Issuer string `yaml:"issuer"`
	// JWKSURI is where the issuer's keys are; default what the document at
	// ISSUER/.well-known/openid-configuration says.
	JWKSURI string `yaml:"jwks_uri"`
	// Audience is required of tokens: one of these must be in "aud". A Cognito access token that has
	// no "aud" is taken for its client_id where client_ids are set.
	Audience []string `yaml:"audience"`
	// ClientIDs is required of tokens: "client_id" must be one of these, as with Cognito.
	ClientIDs []string `yaml:"client_ids"`
	// Claims are further claims that tokens must have, all of them; 10 at most.
	Claims []ClaimConfig `yaml:"claims"`
	// Algorithms may sign tokens, such as RS256 and ES256; default what discovery announces, and RS256
	// with jwks_uri. Secrets (HS256) and "none" cannot.
	Algorithms []string `yaml:"algorithms"`
	// GroupsClaim names the claim that holds groups; default cognito:groups in tokens of Cognito, else groups.
	GroupsClaim string `yaml:"groups_claim"`
	// CA is a PEM file of roots for the issuer's endpoints; default the system's.
	CA string `yaml:"ca"`
	// InsecureAnyAudience takes every token of this issuer, whomever it was made for, where neither
	// audience, client_ids nor claims say more.
	InsecureAnyAudience bool `yaml:"insecure_any_audience"`
}

// ClaimConfig is one claim that tokens must have.
type ClaimConfig struct {
	// Name is the claim's. Required.
	Name string `yaml:"name"`
	// Format is how the claim holds its values, in the words of ALB's jwt-validation: "single-string"
	// is the one value, "string-array" is a list that has one of the values, and
	// "space-separated-values" is a text that has all of them. Default: a text that is one of the
	// values or a list that has one.
	Format string `yaml:"format"`
	// Values are what is taken; 10 at most. Required.
	Values []string `yaml:"values"`
}

// Formats of a claim.
const (
	FormatString = "single-string"
	FormatArray  = "string-array"
	FormatSpaces = "space-separated-values"
)

const (
	maxIssuers     = 20
	maxClaims      = 10  // as ALB has it
	maxClaimValues = 10  // as ALB has it
	maxIssuerName  = 256 // as ALB has it
)

// Validate reports everything that is wrong with the section. It reads no file and does no network.
func (c TokensConfig) Validate(report func(field, msg string)) {
	if len(c.Issuers) > maxIssuers {
		report("issuers", fmt.Sprintf("want at most %d, got %d", maxIssuers, len(c.Issuers)))
	}
	seen := map[string]string{}
	names := make([]string, 0, len(c.Issuers))
	for name := range c.Issuers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		issuer, field := c.Issuers[name], "issuers."+name
		if name == LoginIssuer {
			report(field, `"login" is the name of the login's own tokens: want another`)
		}
		issuer.resolve(func(f, msg string) { report(join(field, f), msg) })
		same := SameIssuer(issuer.Issuer)
		if other, twice := seen[same]; twice && same != "" {
			report(field+".issuer", fmt.Sprintf("is that of %s already: one issuer has one entry, with all its audiences", other))
		}
		seen[same] = name
	}
}

// LoginIssuer is the name that routes have for the tokens of the login's own providers.
const LoginIssuer = "login"

// SameIssuer returns what two spellings of one issuer have in common. Tokens are compared exactly;
// this only finds entries that were meant to be one.
func SameIssuer(issuer string) string {
	scheme, rest, ok := strings.Cut(issuer, "://")
	if !ok {
		return strings.TrimSuffix(issuer, "/")
	}
	host, path, _ := strings.Cut(rest, "/")
	return strings.ToLower(scheme+"://"+host) + "/" + strings.TrimSuffix(path, "/")
}

// Issuer returns the issuer of the provider's tokens; "" where the configuration does not say.
func (c ProviderConfig) Issuer() string {
	var s settings
	silent := func(string, string) {} // what is wrong with it is told elsewhere
	switch {
	case c.Cognito != nil:
		c.Cognito.resolve(&s, silent)
	case c.OIDC != nil:
		s.issuer = c.OIDC.Issuer
	}
	return s.issuer
}

// issuerSettings is what tokens of one issuer must be like, parsed.
type issuerSettings struct {
	issuer      string
	jwks        string // "" asks discovery
	ca          string
	cognito     bool   // always Cognito's: RS256, and token_use says what a token is for
	clientID    string // whose a token is that does not say
	clients     []string
	audience    []string
	anyAudience bool
	claims      []ClaimConfig
	groupsClaim string // "" goes by the token
	algorithms  []jose.SignatureAlgorithm
}

// knownAlgorithms are those that may sign anything here: the asymmetric ones.
func knownAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

func (c TokenIssuerConfig) resolve(report func(field, msg string)) issuerSettings {
	s := issuerSettings{
		issuer: c.Issuer, jwks: c.JWKSURI, ca: c.CA, clients: c.ClientIDs, audience: c.Audience,
		anyAudience: c.InsecureAnyAudience, claims: c.Claims, groupsClaim: c.GroupsClaim,
		cognito: strings.HasPrefix(c.Issuer, "https://cognito-idp.") || strings.HasPrefix(c.Issuer, "https://issuer-cognito-idp."),
	}
	c.checkIssuer(report)
	notEmpty(report, "audience", c.Audience)
	notEmpty(report, "client_ids", c.ClientIDs)
	c.checkClaims(report)
	restricted := len(c.Audience)+len(c.ClientIDs)+len(c.Claims) > 0
	switch {
	case !restricted && !c.InsecureAnyAudience:
		report("", `want audience, client_ids or claims: without any, tokens that were made for others are taken (insecure_any_audience: true takes them)`)
	case restricted && c.InsecureAnyAudience:
		report("insecure_any_audience", "says nothing beside audience, client_ids or claims")
	}
	for i, name := range c.Algorithms {
		alg := jose.SignatureAlgorithm(name)
		if !slices.Contains(knownAlgorithms(), alg) {
			report(fmt.Sprintf("algorithms[%d]", i), fmt.Sprintf("want one of %s, got %q", strings.Join(algNames(knownAlgorithms()), ", "), clip(name, 40)))
		}
		s.algorithms = append(s.algorithms, alg)
	}
	return s
}

func (c TokenIssuerConfig) checkIssuer(report func(field, msg string)) {
	switch {
	case c.Issuer == "":
		report("issuer", "missing")
	case len(c.Issuer) > maxIssuerName || strings.ContainsFunc(c.Issuer, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		report("issuer", fmt.Sprintf("want at most %d characters without blanks, got %q", maxIssuerName, clip(c.Issuer, 300)))
	case c.JWKSURI == "": // an address; otherwise a name is enough (RFC 7519 section 4.1.1)
		if u, err := secureURL(c.Issuer); err != nil {
			report("issuer", err.Error()+"; one that is not the address of a discovery document needs jwks_uri")
		} else if u.RawQuery != "" {
			report("issuer", "want no query (OpenID Connect Discovery 1.0 section 3)")
		}
	}
	if c.JWKSURI != "" {
		if _, err := secureURL(c.JWKSURI); err != nil {
			report("jwks_uri", err.Error())
		}
	}
}

func (c TokenIssuerConfig) checkClaims(report func(field, msg string)) {
	if len(c.Claims) > maxClaims {
		report("claims", fmt.Sprintf("want at most %d, got %d", maxClaims, len(c.Claims)))
	}
	for i, claim := range c.Claims {
		field := fmt.Sprintf("claims[%d]", i)
		switch claim.Name {
		case "":
			report(field+".name", "missing")
		case "exp", "iss", "nbf", "iat":
			report(field+".name", claim.Name+" is always looked at")
		}
		switch claim.Format {
		case "", FormatArray, FormatSpaces:
		case FormatString:
			if len(claim.Values) > 1 {
				report(field+".values", fmt.Sprintf("want one value with %s, got %d", FormatString, len(claim.Values)))
			}
		default:
			report(field+".format", fmt.Sprintf("want %s, %s or %s, got %q", FormatString, FormatArray, FormatSpaces, claim.Format))
		}
		if n := len(claim.Values); n == 0 || n > maxClaimValues {
			report(field+".values", fmt.Sprintf("want 1 to %d values, got %d", maxClaimValues, n))
		}
		notEmpty(report, field+".values", claim.Values)
	}
}

// check says what is wrong with the claim of a token.
func (c ClaimConfig) check(cl *claims) error {
	if !cl.members.has(c.Name) {
		return fault(faultMissing, "%s: missing", clip(c.Name, 60))
	}
	text, isText := cl.members.text(c.Name)
	list, err := cl.members.list(c.Name)
	if err != nil || c.Format == FormatArray && isText || (c.Format == FormatString || c.Format == FormatSpaces) && !isText {
		return fault(faultForm, "%s: not of the form that is wanted", clip(c.Name, 60))
	}
	ok := intersects(list, c.Values)
	if c.Format == FormatSpaces {
		ok = containsAll(strings.Fields(text), c.Values)
	}
	if !ok {
		return fault(faultValue, "%s: want %q, got %q", clip(c.Name, 60), c.Values, clip(strings.Join(list, " "), 200))
	}
	return nil
}
