package cognitoapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
)

// Members whose meaning depends on their exact letters. A request that has one in other letters has two readings.
var (
	guardedMembers = []string{
		"ClientId", "Username", "SecretHash", "ClientSecret", "AuthFlow", "AuthParameters", "ChallengeName", "ChallengeResponses",
		"UserContextData", "ContextData", "UserPoolId",
	}
	guardedParameters = []string{"USERNAME", "SECRET_HASH", "REFRESH_TOKEN"}
)

// maxField bounds a header field of the viewer's that is told to the pool.
const maxField = 1024

// A viewer is who a request comes from, as far as the pool is told.
type viewer struct {
	addr       netip.Addr
	host, path string
	header     http.Header
}

// A call is a request to the pool that lacks only the proof of a secret.
type call struct {
	operation string // as the pool gets it
	admin     bool   // to be signed
	client    *client
	proof     proof
	username  string // what the hash is over; "" where the secret itself is the proof
	members   object
	inner     object // of AuthParameters or ChallengeResponses, which hold the proof
	innerName string
}

// decide returns the call that a request of the client becomes. It changes nothing but what it returns.
func (p *Proxy) decide(target string, body []byte, v viewer) (*call, *Error) {
	name, ok := strings.CutPrefix(target, targetPrefix)
	if !ok || !p.operations[name] {
		return nil, refuse(typeUnknown, "The operation is unknown or not available here.")
	}
	members, err := parse(body)
	if err != nil {
		return nil, refuse(typeSerializing, "The request is not accepted: %w.", err)
	}
	c := &call{operation: name, proof: operations[name], members: members}
	if other := members.otherCase(guardedMembers); other != "" {
		return nil, refuse(typeInvalid, "A member must be written %s.", other)
	}
	for _, ours := range [...]string{"SecretHash", "ClientSecret", "UserPoolId", "ContextData"} {
		if members.has(ours) {
			return nil, refuse(typeInvalid, "%s is not the client's to send.", ours)
		}
	}
	if c.proof != proofNone {
		if e := p.prove(c); e != nil {
			return nil, e
		}
	}
	return c, p.context(c, v)
}

// prove finds the client and the name that the proof is over.
func (p *Proxy) prove(c *call) *Error {
	id, _ := c.members.text("ClientId")
	if c.client = p.clients[id]; c.client == nil {
		return refuse(typeNoResource, "User pool client does not exist.")
	}
	switch c.proof {
	case proofTop:
		return c.named(c.members, "Username")
	case proofAuth:
		return p.proveAuth(c)
	case proofChallenge:
		name, _ := c.members.text("ChallengeName")
		if name == "" || strings.HasPrefix(name, "ADMIN_") {
			return refuse(typeInvalid, "ChallengeName is missing or not available here.")
		}
		if e := c.open("ChallengeResponses"); e != nil {
			return e
		}
		return c.named(c.inner, "USERNAME")
	}
	return nil
}

func (p *Proxy) proveAuth(c *call) *Error {
	flow, _ := c.members.text("AuthFlow")
	if !p.flows[flow] {
		return refuse(typeInvalid, "AuthFlow is missing or not available here.")
	}
	if e := c.open("AuthParameters"); e != nil {
		return e
	}
	if !refreshes(flow) {
		return c.named(c.inner, "USERNAME")
	}
	// The request says nobody's name, and the pool takes the secret itself here. A name that a client adds would not
	// change that, so there is none.
	if _, ok := c.inner.text("REFRESH_TOKEN"); !ok || c.inner.has("USERNAME") {
		return refuse(typeInvalid, "AuthParameters must have a REFRESH_TOKEN and no USERNAME.")
	}
	return nil
}

// open reads the member that holds the proof.
func (c *call) open(name string) *Error {
	inner, err := members(c.members[name])
	if err != nil {
		return refuse(typeInvalid, "%s is missing or no object.", name)
	}
	if other := inner.otherCase(guardedParameters); other != "" {
		return refuse(typeInvalid, "A parameter must be written %s.", other)
	}
	if inner.has("SECRET_HASH") {
		return refuse(typeInvalid, "SECRET_HASH is not the client's to send.")
	}
	c.inner, c.innerName = inner, name
	return nil
}

func (c *call) named(o object, member string) *Error {
	var ok bool
	if c.username, ok = o.text(member); !ok {
		return refuse(typeInvalid, "Missing required parameter %s", member)
	}
	return nil
}

// context says where the viewer is: in the place that the operation has for it, and in no other. What the client says of its
// address is taken out, because the pool believes it of who knows the secret.
func (p *Proxy) context(c *call, v viewer) *Error {
	var told object
	if c.members.has("UserContextData") {
		var err error
		if told, err = members(c.members["UserContextData"]); err != nil {
			return refuse(typeInvalid, "UserContextData is no object.")
		}
		if other := told.otherCase([]string{"IpAddress", "EncodedData"}); other != "" {
			return refuse(typeInvalid, "A member must be written %s.", other)
		}
	}
	switch {
	case c.proof == proofNone || c.proof == proofClear:
		delete(c.members, "UserContextData") // no such operation has it
		return nil
	case p.admin && (c.operation == initiateAuth || c.operation == answerChallenge):
		return p.elevate(c, v, told)
	}
	if told == nil && !p.propagate {
		return nil
	}
	if told == nil {
		told = object{}
	}
	delete(told, "IpAddress")
	if p.propagate {
		if !v.addr.IsValid() {
			return fail(http.StatusInternalServerError, "the viewer has no address to propagate")
		}
		told.set("IpAddress", v.addr.String())
	}
	c.members["UserContextData"] = told.encode()
	return nil
}

// elevate makes the call one of the Admin variant.
func (p *Proxy) elevate(c *call, v viewer, told object) *Error {
	if !v.addr.IsValid() {
		return fail(http.StatusInternalServerError, "the viewer has no address to tell the pool")
	}
	context := object{"HttpHeaders": viewerHeaders(v.header)}
	context.set("IpAddress", v.addr.String())
	context.set("ServerName", v.host)
	context.set("ServerPath", v.path)
	if told.has("EncodedData") {
		if data, ok := told.text("EncodedData"); ok {
			context.set("EncodedData", data)
		} else {
			return refuse(typeInvalid, "EncodedData is no text.")
		}
	}
	delete(c.members, "UserContextData")
	c.members["ContextData"] = context.encode()
	c.members.set("UserPoolId", p.userPool)
	if flow, _ := c.members.text("AuthFlow"); flow == "USER_PASSWORD_AUTH" {
		c.members.set("AuthFlow", "ADMIN_USER_PASSWORD_AUTH")
	}
	c.operation, c.admin = "Admin"+c.operation, true
	return nil
}

// viewerHeaders are the header fields that tell devices apart, in the API's shape. Cookies and credentials are not among them.
func viewerHeaders(h http.Header) json.RawMessage {
	type field struct {
		Name  string `json:"headerName"`
		Value string `json:"headerValue"`
	}
	fields := []field{}
	for _, name := range [...]string{"User-Agent", "Accept-Language", "Origin"} {
		if value := h.Get(name); value != "" && len(value) <= maxField {
			fields = append(fields, field{name, strings.ToValidUTF8(value, "?")})
		}
	}
	raw, err := json.Marshal(fields)
	if err != nil { // a list of strings always marshals
		return json.RawMessage(`[]`)
	}
	return raw
}

// body is what is sent with this secret as the proof. It may be called again with another.
func (c *call) body(secret string) []byte {
	switch c.proof {
	case proofTop:
		c.members.set("SecretHash", c.hash(secret))
	case proofClear:
		c.members.set("ClientSecret", secret)
	case proofAuth, proofChallenge:
		c.inner.set("SECRET_HASH", c.hash(secret))
		c.members[c.innerName] = c.inner.encode()
	}
	return c.members.encode()
}

// hash is the proof, or the secret where the request has no name to make one over.
func (c *call) hash(secret string) string {
	if c.username == "" {
		return secret
	}
	return SecretHash(secret, c.client.id, c.username)
}
