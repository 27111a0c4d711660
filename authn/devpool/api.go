package devpool

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// EndpointAPI is the pool's API, for [Pool.Calls] and [Faults]. Its calls are also counted by operation, as
// "api:InitiateAuth".
const EndpointAPI = "api"

const (
	apiPrefix    = "AWSCognitoIdentityProviderService."
	apiMediaType = "application/x-amz-json-1.1"
	// apiScope is the one scope of tokens that the API gives out.
	apiScope = "aws.cognito.signin.user.admin"
	// maxAPIBody bounds a request of the API, in bytes.
	maxAPIBody = 128 << 10
)

// An apiError is a refusal of the API.
type apiError struct{ kind, message string }

func (e *apiError) Error() string { return e.kind + ": " + e.message }

func apiRefuse(kind, message string) error { return &apiError{kind, message} }

var (
	errAPIPassword  = &apiError{"NotAuthorizedException", "Incorrect username or password."}
	errAPIToken     = &apiError{"NotAuthorizedException", "Invalid Access Token"}
	errAPIRevoked   = &apiError{"NotAuthorizedException", "Access Token has been revoked"}
	errAPIRefresh   = &apiError{"NotAuthorizedException", "Invalid Refresh Token"}
	errAPISession   = &apiError{"NotAuthorizedException", "Invalid session for the user."}
	errAPICode      = &apiError{"CodeMismatchException", "Invalid verification code provided, please try again."}
	errAPIConfirmed = &apiError{"UserNotConfirmedException", "User is not confirmed."}
)

// An apiCall is a request of the API. Members are found by their exact names.
type apiCall struct {
	operation string
	members   map[string]json.RawMessage
	client    *Client
	request   *http.Request
	body      []byte
}

// text returns a member that is a string, else "".
func (c *apiCall) text(name string) string { return textOf(c.members[name]) }

// inside returns the members of one that is an object; they are strings.
func (c *apiCall) inside(name string) map[string]string {
	var raw map[string]json.RawMessage
	if json.Unmarshal(c.members[name], &raw) != nil {
		return nil
	}
	values := make(map[string]string, len(raw))
	for k, v := range raw {
		values[k] = textOf(v)
	}
	return values
}

func textOf(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// apiOperation serves one operation. named operations have a ClientId.
type apiOperation struct {
	named bool
	serve func(*Pool, *apiCall) (object, error)
}

func apiOperations() map[string]apiOperation {
	return map[string]apiOperation{
		"SignUp":                      {true, (*Pool).apiSignUp},
		"ConfirmSignUp":               {true, (*Pool).apiConfirmSignUp},
		"ResendConfirmationCode":      {true, (*Pool).apiResend},
		"ForgotPassword":              {true, (*Pool).apiForgotPassword},
		"ConfirmForgotPassword":       {true, (*Pool).apiConfirmForgotPassword},
		"InitiateAuth":                {true, (*Pool).apiInitiateAuth},
		"RespondToAuthChallenge":      {true, (*Pool).apiRespond},
		"AdminInitiateAuth":           {true, (*Pool).apiAdminInitiateAuth},
		"AdminRespondToAuthChallenge": {true, (*Pool).apiAdminRespond},
		"RevokeToken":                 {true, (*Pool).apiRevokeToken},
		"GetTokensFromRefreshToken":   {true, (*Pool).apiTokensFromRefresh},
		"GetUser":                     {false, (*Pool).apiGetUser},
		"ChangePassword":              {false, (*Pool).apiChangePassword},
		"GlobalSignOut":               {false, (*Pool).apiGlobalSignOut},
	}
}

func (p *Pool) serveAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amzn-Requestid", p.uuid())
	out, err := p.api(r)
	if err != nil {
		e, ok := errors.AsType[*apiError](err)
		if !ok {
			e = &apiError{"InternalErrorException", "Internal error"}
		}
		w.Header().Set("X-Amzn-Errortype", e.kind+":")
		writeAPI(w, http.StatusBadRequest, object{{"__type", e.kind}, {"message", e.message}})
		return
	}
	writeAPI(w, http.StatusOK, out)
}

func writeAPI(w http.ResponseWriter, status int, o object) {
	body, err := json.Marshal(o)
	if err != nil {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", apiMediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (p *Pool) api(r *http.Request) (object, error) {
	name, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), apiPrefix)
	operation, ok := apiOperations()[name]
	if !ok || r.Header.Get("Content-Type") != apiMediaType {
		return nil, apiRefuse("UnknownOperationException", "")
	}
	p.count(EndpointAPI + ":" + name)
	c := &apiCall{operation: name, request: r}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, maxAPIBody)); err != nil || json.Unmarshal(c.body, &c.members) != nil {
		return nil, apiRefuse("SerializationException", "Start of structure or map found where not expected.")
	}
	p.remember(c)
	if operation.named {
		id := c.text("ClientId")
		if c.client = p.clients[id]; c.client == nil {
			return nil, apiRefuse("ResourceNotFoundException", "User pool client "+id+" does not exist.")
		}
	}
	return operation.serve(p, c)
}

// remember keeps what the pool was told of the viewer, for [Pool.APIContext].
func (p *Pool) remember(c *apiCall) {
	for _, name := range [...]string{"ContextData", "UserContextData"} {
		if raw, ok := c.members[name]; ok {
			p.mu.Lock()
			p.apiState.context = string(raw)
			p.mu.Unlock()
		}
	}
}

// APIContext returns the last ContextData or UserContextData that the API was sent, as JSON.
func (p *Pool) APIContext() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.apiState.context
}

// SetSecrets gives a client other secrets: one, or two that are both taken.
func (p *Pool) SetSecrets(clientID string, secrets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apiState.secrets[clientID] = slices.Clone(secrets)
}

// secretsOf returns the live secrets of a client, none for a public one.
func (p *Pool) secretsOf(c *Client) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if secrets, ok := p.apiState.secrets[c.ID]; ok {
		return secrets
	}
	if c.Secret == "" {
		return nil
	}
	return []string{c.Secret}
}

// takesSecret reports whether this is one of a client's secrets, or the nothing that a public one has.
func (p *Pool) takesSecret(c *Client, secret string) bool {
	secrets := p.secretsOf(c)
	if len(secrets) == 0 {
		return secret == ""
	}
	return slices.ContainsFunc(secrets, func(s string) bool { return equal(s, secret) })
}

// proven checks a SECRET_HASH over one of the names. clear takes the secret itself too.
func (p *Pool) proven(c *Client, got string, clear bool, names ...string) error {
	secrets := p.secretsOf(c)
	switch {
	case len(secrets) == 0 && got == "":
		return nil
	case len(secrets) > 0 && got == "":
		return apiRefuse("NotAuthorizedException", "Client "+c.ID+" is configured for secret but secret was not received")
	}
	for _, secret := range secrets {
		if clear && equal(secret, got) {
			return nil
		}
		for _, name := range names {
			if equal(secretHash(secret, c.ID, name), got) {
				return nil
			}
		}
	}
	return apiRefuse("NotAuthorizedException", "Unable to verify secret hash for client "+c.ID)
}

func secretHash(secret, clientID, name string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(name + clientID))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
