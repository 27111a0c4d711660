package devpool

import "net/http"

// discovery is Cognito's document, member for member. There is no code_challenge_methods_supported
// in it although S256 is supported, nor grant_types_supported.
type discovery struct {
	Authorization    string   `json:"authorization_endpoint"`
	EndSession       string   `json:"end_session_endpoint"`
	IDTokenAlgs      []string `json:"id_token_signing_alg_values_supported"`
	Issuer           string   `json:"issuer"`
	JWKS             string   `json:"jwks_uri"`
	ResponseTypes    []string `json:"response_types_supported"`
	Revocation       string   `json:"revocation_endpoint"`
	Scopes           []string `json:"scopes_supported"`
	SubjectTypes     []string `json:"subject_types_supported"`
	Token            string   `json:"token_endpoint"`
	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	UserInfo         string   `json:"userinfo_endpoint"`
}

func (p *Pool) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	base := p.opts.BaseURL
	writeJSON(w, http.StatusOK, discovery{
		Authorization:    base + "/oauth2/authorize",
		EndSession:       base + "/logout",
		IDTokenAlgs:      []string{"RS256"},
		Issuer:           p.issuer,
		JWKS:             p.issuer + "/.well-known/jwks.json",
		ResponseTypes:    []string{"code", "token"},
		Revocation:       base + "/oauth2/revoke",
		Scopes:           []string{"openid", "email", "phone", "profile"},
		SubjectTypes:     []string{"public"},
		Token:            base + "/oauth2/token",
		TokenAuthMethods: []string{"client_secret_basic", "client_secret_post"},
		UserInfo:         base + "/oauth2/userInfo",
	})
}
