package devpool

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// challengeTTL is the life of a Session, Cognito's default AuthSessionValidity.
const challengeTTL = 3 * time.Minute

// srpTimeLayout is that of TIMESTAMP: Tue Nov 3 09:05:07 UTC 2026.
const srpTimeLayout = "Mon Jan 2 15:04:05 MST 2006"

// A challenge is a sign-in that waits for its next answer.
type challenge struct {
	kind     string
	client   *Client
	username string
	srp      *srpServer // of PASSWORD_VERIFIER
	public   string     // SRP_A
	block    []byte
	expires  time.Time
}

// apiState is what the API remembers beside the store. It is guarded by the pool's lock.
type apiState struct {
	secrets    map[string][]string // by client, where they have been changed
	challenges map[hashed]*challenge
	codes      map[string]string // by user name
	context    string
}

func newAPIState() apiState {
	return apiState{secrets: map[string][]string{}, challenges: map[hashed]*challenge{}, codes: map[string]string{}}
}

func (p *Pool) apiInitiateAuth(c *apiCall) (object, error) {
	return p.apiAuth(c, map[string]string{"USER_PASSWORD_AUTH": "password", "USER_SRP_AUTH": "srp", "REFRESH_TOKEN_AUTH": "refresh", "REFRESH_TOKEN": "refresh"})
}

func (p *Pool) apiAdminInitiateAuth(c *apiCall) (object, error) {
	if err := p.apiAdmin(c); err != nil {
		return nil, err
	}
	return p.apiAuth(c, map[string]string{"ADMIN_USER_PASSWORD_AUTH": "password", "USER_SRP_AUTH": "srp", "REFRESH_TOKEN_AUTH": "refresh", "REFRESH_TOKEN": "refresh"})
}

// apiAdmin checks what only the Admin operations have.
func (p *Pool) apiAdmin(c *apiCall) error {
	if err := p.verifySignature(c.request, c.body); err != nil {
		return err
	}
	if c.text("UserPoolId") != p.opts.PoolID {
		return apiRefuse("ResourceNotFoundException", "User pool "+c.text("UserPoolId")+" does not exist.")
	}
	if c.members["UserContextData"] != nil {
		return apiRefuse("SerializationException", "")
	}
	var context struct {
		IpAddress, ServerName, ServerPath string
		HttpHeaders                       []struct {
			Name  string `json:"headerName"`
			Value string `json:"headerValue"`
		}
	}
	err := json.Unmarshal(c.members["ContextData"], &context)
	if err != nil || context.IpAddress == "" || context.ServerName == "" || context.ServerPath == "" || context.HttpHeaders == nil {
		return apiRefuse("InvalidParameterException", "ContextData lacks a required member")
	}
	return nil
}

func (p *Pool) apiAuth(c *apiCall, flows map[string]string) (object, error) {
	params := c.inside("AuthParameters")
	flow := flows[c.text("AuthFlow")]
	switch flow {
	case "":
		return nil, apiRefuse("InvalidParameterException", "Initiate Auth method not supported.")
	case "refresh":
		return p.apiRefresh(c.client, params)
	}
	typed := params["USERNAME"]
	if typed == "" {
		return nil, apiRefuse("InvalidParameterException", "Missing required parameter USERNAME")
	}
	if err := p.proven(c.client, params["SECRET_HASH"], false, typed); err != nil {
		return nil, err
	}
	user, ok := p.userNamed(typed)
	if !ok {
		return nil, errAPIPassword
	}
	if flow == "srp" {
		return p.apiStartSRP(c.client, user, params["SRP_A"])
	}
	if !equal(user.Password, params["PASSWORD"]) {
		return nil, errAPIPassword
	}
	return p.apiSignedIn(c.client, user)
}

// userNamed finds somebody by their user name, or by their e-mail address where that is verified.
func (p *Pool) userNamed(name string) (User, bool) {
	if u, ok := p.user(name); ok {
		return u, true
	}
	users := p.listUsers()
	i := slices.IndexFunc(users, func(u User) bool { return u.EmailVerified && strings.EqualFold(u.Email, name) })
	if i < 0 {
		return User{}, false
	}
	return users[i], true
}

func (p *Pool) poolName() string {
	_, name, _ := strings.Cut(p.opts.PoolID, "_")
	return name
}

func (p *Pool) apiStartSRP(c *Client, u User, public string) (object, error) {
	salt := hmac.New(sha256.New, p.csrfKey)
	salt.Write([]byte("salt of " + u.Username))
	ch := &challenge{
		kind: "PASSWORD_VERIFIER", client: c, username: u.Username, public: public, block: p.random(64),
		srp: newSRP(p.poolName(), u.Username, u.Password, salt.Sum(nil)[:16], p.random(32)),
	}
	return p.apiChallenge(ch, object{
		{"SALT", hexOf(ch.srp.salt)},
		{"SECRET_BLOCK", base64.StdEncoding.EncodeToString(ch.block)},
		{"SRP_B", hexOf(ch.srp.public)},
		{"USERNAME", u.Username},
		{"USER_ID_FOR_SRP", u.Username},
	}), nil
}

// apiChallenge asks for more, under a Session that is good for one answer.
func (p *Pool) apiChallenge(ch *challenge, params object) object {
	session := base64.RawURLEncoding.EncodeToString(p.random(48))
	now := p.opts.Now()
	ch.expires = now.Add(challengeTTL)
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, old := range p.apiState.challenges {
		if !now.Before(old.expires) {
			delete(p.apiState.challenges, k)
		}
	}
	p.apiState.challenges[hash(session)] = ch
	return object{{"ChallengeName", ch.kind}, {"ChallengeParameters", params}, {"Session", session}}
}

// apiSignedIn is the end of a sign-in, or the last challenge before it.
func (p *Pool) apiSignedIn(c *Client, u User) (object, error) {
	if u.Unconfirmed {
		return nil, errAPIConfirmed
	}
	if u.NewPasswordRequired {
		return p.apiChallenge(&challenge{kind: "NEW_PASSWORD_REQUIRED", client: c, username: u.Username}, object{
			{"USER_ID_FOR_SRP", u.Username}, {"requiredAttributes", "[]"}, {"userAttributes", `{"email":"` + u.Email + `"}`},
		}), nil
	}
	g := &grant{
		client: c, username: u.Username, scopes: []string{apiScope}, authTime: p.opts.Now(),
		originJTI: p.uuid(), eventID: p.uuid(), api: true,
	}
	t, err := p.issue(g, true)
	if err != nil {
		return nil, err
	}
	t.Refresh = p.newRefreshToken(g, p.opts.Now().Add(p.opts.RefreshTTL))
	return apiResult(t), nil
}

// apiResult is the answer that holds tokens.
func apiResult(t *tokens) object {
	result := object{{"AccessToken", t.Access}, {"ExpiresIn", t.ExpiresIn}, {"IdToken", t.ID}}
	if t.Refresh != "" {
		result = result.with("RefreshToken", t.Refresh)
	}
	return object{{"AuthenticationResult", result.with("TokenType", t.Type)}, {"ChallengeParameters", object{}}}
}

func (p *Pool) apiAdminRespond(c *apiCall) (object, error) {
	if err := p.apiAdmin(c); err != nil {
		return nil, err
	}
	return p.apiRespond(c)
}

func (p *Pool) apiRespond(c *apiCall) (object, error) {
	answers := c.inside("ChallengeResponses")
	if err := p.proven(c.client, answers["SECRET_HASH"], false, answers["USERNAME"]); err != nil {
		return nil, err
	}
	key := hash(c.text("Session"))
	p.mu.Lock()
	ch := p.apiState.challenges[key]
	delete(p.apiState.challenges, key)
	p.mu.Unlock()
	if ch == nil || ch.client != c.client || ch.kind != c.text("ChallengeName") || !p.opts.Now().Before(ch.expires) {
		return nil, errAPISession
	}
	u, ok := p.user(ch.username)
	if !ok || answers["USERNAME"] != u.Username { // the pool's name for the user, and not the alias that was typed
		return nil, errAPIPassword
	}
	if ch.kind == "PASSWORD_VERIFIER" {
		if !p.srpAnswered(ch, answers) {
			return nil, errAPIPassword
		}
		return p.apiSignedIn(c.client, u)
	}
	if err := checkPassword(answers["NEW_PASSWORD"]); err != nil {
		return nil, err
	}
	u.Password, u.NewPasswordRequired = answers["NEW_PASSWORD"], false
	p.PutUser(u)
	return p.apiSignedIn(c.client, u)
}

// srpAnswered reports whether the client has proved that it knows the password.
func (p *Pool) srpAnswered(ch *challenge, answers map[string]string) bool {
	at, err := time.Parse(srpTimeLayout, answers["TIMESTAMP"])
	if err != nil || p.opts.Now().Sub(at).Abs() > challengeTTL {
		return false
	}
	block, err := base64.StdEncoding.DecodeString(answers["PASSWORD_CLAIM_SECRET_BLOCK"])
	if err != nil || !hmac.Equal(block, ch.block) {
		return false
	}
	key, err := ch.srp.key(ch.public)
	if err != nil {
		return false
	}
	got, err := base64.StdEncoding.DecodeString(answers["PASSWORD_CLAIM_SIGNATURE"])
	return err == nil && hmac.Equal(got, srpProof(key, p.poolName(), ch.username, block, answers["TIMESTAMP"]))
}

// apiRefresh takes, as the proof, a hash over the user's name or sub, or the secret itself.
func (p *Pool) apiRefresh(c *Client, params map[string]string) (object, error) {
	if p.opts.RotateRefresh {
		return nil, apiRefuse("UnsupportedTokenTypeException", "Refresh token rotation is enabled for this client.")
	}
	p.mu.Lock()
	var names []string
	if rt := p.store.refresh[hash(params["REFRESH_TOKEN"])]; rt != nil {
		names = []string{rt.grant.username, p.users[rt.grant.username].Sub}
	}
	p.mu.Unlock()
	if err := p.proven(c, params["SECRET_HASH"], true, names...); err != nil {
		return nil, err
	}
	return p.apiSpend(c, params["REFRESH_TOKEN"])
}

func (p *Pool) apiTokensFromRefresh(c *apiCall) (object, error) {
	if err := p.proven(c.client, c.text("ClientSecret"), true); err != nil {
		return nil, err
	}
	return p.apiSpend(c.client, c.text("RefreshToken"))
}

func (p *Pool) apiSpend(c *Client, token string) (object, error) {
	g, expires, err := p.spendRefresh(c, token)
	if err != nil {
		return nil, errAPIRefresh
	}
	t, err := p.issue(g, false)
	if err != nil {
		return nil, errAPIRefresh
	}
	if p.opts.RotateRefresh {
		t.Refresh = p.newRefreshToken(g, expires)
	}
	return apiResult(t), nil
}
