package devpool

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
)

const (
	// minPassword is the length that Cognito's default policy wants. The made-up users of the pool have shorter ones.
	minPassword = 8
	// maxUsers bounds how many people may sign themselves up.
	maxUsers = 10_000
)

func checkPassword(password string) error {
	if len(password) < minPassword {
		return apiRefuse("InvalidPasswordException", "Password did not conform with policy: Password not long enough")
	}
	return nil
}

func (p *Pool) apiSignUp(c *apiCall) (object, error) {
	name := c.text("Username")
	if err := p.proven(c.client, c.text("SecretHash"), false, name); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, apiRefuse("InvalidParameterException", "Username is required")
	}
	if err := checkPassword(c.text("Password")); err != nil {
		return nil, err
	}
	if _, taken := p.user(name); taken {
		return nil, apiRefuse("UsernameExistsException", "User already exists")
	}
	if len(p.listUsers()) >= maxUsers {
		return nil, apiRefuse("LimitExceededException", "The pool is full")
	}
	u := User{Username: name, Password: c.text("Password"), Unconfirmed: true}
	var attributes []struct{ Name, Value string }
	if raw, ok := c.members["UserAttributes"]; ok && json.Unmarshal(raw, &attributes) != nil {
		return nil, apiRefuse("SerializationException", "")
	}
	for _, a := range attributes {
		switch custom, is := strings.CutPrefix(a.Name, "custom:"); {
		case a.Name == "email":
			u.Email = a.Value
		case a.Name == "name":
			u.Name = a.Value
		case is:
			if u.Custom == nil {
				u.Custom = map[string]string{}
			}
			u.Custom[custom] = a.Value
		}
	}
	p.PutUser(u)
	u, _ = p.user(name) // with its sub
	return object{{"CodeDeliveryDetails", p.sendCode(u)}, {"UserConfirmed", false}, {"UserSub", u.Sub}}, nil
}

// sendCode makes a code, which nobody is sent: [Pool.Code] has it.
func (p *Pool) sendCode(u User) object {
	n := new(big.Int).SetBytes(p.random(8))
	code := fmt.Sprintf("%06d", n.Mod(n, big.NewInt(1_000_000)).Int64())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apiState.codes[u.Username] = code
	return object{{"AttributeName", "email"}, {"DeliveryMedium", "EMAIL"}, {"Destination", masked(u.Email)}}
}

// masked shows an address as Cognito does: a***@e***.
func masked(email string) string {
	name, domain, _ := strings.Cut(email, "@")
	return name[:min(1, len(name))] + "***@" + domain[:min(1, len(domain))] + "***"
}

// Code returns the code that a user would have been sent last, or "".
func (p *Pool) Code(username string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.apiState.codes[username]
}

func (p *Pool) serveCodes(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	body, err := json.Marshal(p.apiState.codes)
	p.mu.Unlock()
	if err != nil {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, json.RawMessage(body))
}

// spendCode reports whether this is the code that the user was sent. It is then gone.
func (p *Pool) spendCode(username, code string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent := p.apiState.codes[username]; sent == "" || !equal(sent, code) {
		return false
	}
	delete(p.apiState.codes, username)
	return true
}

// account returns whom an operation with a Username is about, after its proof.
func (p *Pool) account(c *apiCall) (User, error) {
	if err := p.proven(c.client, c.text("SecretHash"), false, c.text("Username")); err != nil {
		return User{}, err
	}
	u, ok := p.userNamed(c.text("Username"))
	if !ok {
		return User{}, apiRefuse("UserNotFoundException", "Username/client id combination not found.")
	}
	return u, nil
}

func (p *Pool) apiConfirmSignUp(c *apiCall) (object, error) {
	u, err := p.account(c)
	switch {
	case err != nil:
		return nil, err
	case !u.Unconfirmed:
		return nil, apiRefuse("NotAuthorizedException", "User cannot be confirmed. Current status is CONFIRMED")
	case !p.spendCode(u.Username, c.text("ConfirmationCode")):
		return nil, errAPICode
	}
	u.Unconfirmed, u.EmailVerified = false, u.Email != ""
	p.PutUser(u)
	return object{}, nil
}

func (p *Pool) apiResend(c *apiCall) (object, error) {
	u, err := p.account(c)
	switch {
	case err != nil:
		return nil, err
	case !u.Unconfirmed:
		return nil, apiRefuse("InvalidParameterException", "User is already confirmed.")
	}
	return object{{"CodeDeliveryDetails", p.sendCode(u)}}, nil
}

func (p *Pool) apiForgotPassword(c *apiCall) (object, error) {
	u, err := p.account(c)
	switch {
	case err != nil:
		return nil, err
	case !u.EmailVerified:
		return nil, apiRefuse("InvalidParameterException", "Cannot reset password for the user as there is no registered/verified email or phone_number")
	}
	return object{{"CodeDeliveryDetails", p.sendCode(u)}}, nil
}

func (p *Pool) apiConfirmForgotPassword(c *apiCall) (object, error) {
	u, err := p.account(c)
	if err != nil {
		return nil, err
	}
	if err := checkPassword(c.text("Password")); err != nil {
		return nil, err
	}
	if !p.spendCode(u.Username, c.text("ConfirmationCode")) {
		return nil, errAPICode
	}
	u.Password, u.NewPasswordRequired = c.text("Password"), false
	p.PutUser(u)
	return object{}, nil
}

// bearer returns whose access token an operation has.
func (p *Pool) bearer(c *apiCall) (User, *grant, error) {
	p.mu.Lock()
	at := p.store.access[hash(c.text("AccessToken"))]
	known := at != nil && p.opts.Now().Before(at.expires) && slices.Contains(at.grant.scopes, apiScope)
	revoked := known && at.grant.revoked
	p.mu.Unlock()
	switch {
	case revoked:
		return User{}, nil, errAPIRevoked
	case !known:
		return User{}, nil, errAPIToken
	}
	u, ok := p.user(at.grant.username)
	if !ok {
		return User{}, nil, apiRefuse("UserNotFoundException", "User does not exist.")
	}
	return u, at.grant, nil
}

func (p *Pool) apiGetUser(c *apiCall) (object, error) {
	u, g, err := p.bearer(c)
	if err != nil {
		return nil, err
	}
	list := []object{{{"Name", "sub"}, {"Value", u.Sub}}}
	for _, a := range attributes(g, u, true) {
		list = append(list, object{{"Name", a.name}, {"Value", a.value}})
	}
	return object{{"UserAttributes", list}, {"Username", u.Username}}, nil
}

func (p *Pool) apiChangePassword(c *apiCall) (object, error) {
	u, _, err := p.bearer(c)
	switch {
	case err != nil:
		return nil, err
	case !equal(u.Password, c.text("PreviousPassword")):
		return nil, errAPIPassword
	}
	if err := checkPassword(c.text("ProposedPassword")); err != nil {
		return nil, err
	}
	u.Password = c.text("ProposedPassword")
	p.PutUser(u)
	return object{}, nil
}

func (p *Pool) apiGlobalSignOut(c *apiCall) (object, error) {
	u, _, err := p.bearer(c)
	if err != nil {
		return nil, err
	}
	p.SignOutEverywhere(u.Username)
	return object{}, nil
}

func (p *Pool) apiRevokeToken(c *apiCall) (object, error) {
	if err := p.proven(c.client, c.text("ClientSecret"), true); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if rt := p.store.refresh[hash(c.text("Token"))]; rt != nil && rt.grant.client == c.client {
		rt.grant.revoked = true
	}
	return object{}, nil
}
