package cognitoapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testClient = "1example23456789"
	testSecret = "a-secret-of-an-app-client"
)

func testProxy(t testing.TB, change func(*Config)) *Proxy {
	t.Helper()
	cfg := Config{UserPool: "eu-west-1_AbC123", Clients: []ClientConfig{{ID: testClient, Secret: testSecret}}}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testViewer() viewer {
	return viewer{netip.MustParseAddr("203.0.113.7"), "app.example.com", "/cognito", http.Header{"User-Agent": {"a browser"}, "Cookie": {"a=b"}}}
}

// TestTheProofIsWhereTheOperationHasIt follows the table of operations. HASH(x) stands for the hash over x.
func TestTheProofIsWhereTheOperationHasIt(t *testing.T) {
	t.Parallel()
	p := testProxy(t, nil)
	for operation, tt := range map[string]struct{ in, want string }{
		"SignUp":                 {`{"ClientId":"ID","Username":"a","Password":"p"}`, `{"ClientId":"ID","Password":"p","SecretHash":"HASH(a)","Username":"a"}`},
		"ConfirmSignUp":          {`{"ClientId":"ID","Username":"a","ConfirmationCode":"1"}`, `{"ClientId":"ID","ConfirmationCode":"1","SecretHash":"HASH(a)","Username":"a"}`},
		"ResendConfirmationCode": {`{"ClientId":"ID","Username":"a"}`, `{"ClientId":"ID","SecretHash":"HASH(a)","Username":"a"}`},
		"ForgotPassword":         {`{"ClientId":"ID","Username":"a"}`, `{"ClientId":"ID","SecretHash":"HASH(a)","Username":"a"}`},
		"ConfirmForgotPassword":  {`{"ClientId":"ID","Username":"a","Password":"p"}`, `{"ClientId":"ID","Password":"p","SecretHash":"HASH(a)","Username":"a"}`},
		"InitiateAuth": {
			`{"AuthFlow":"USER_SRP_AUTH","ClientId":"ID","AuthParameters":{"USERNAME":"\u0061","SRP_A":"2"},"ClientMetadata":{"n":1.50}}`,
			`{"AuthFlow":"USER_SRP_AUTH","AuthParameters":{"SECRET_HASH":"HASH(a)","SRP_A":"2","USERNAME":"\u0061"},"ClientId":"ID","ClientMetadata":{"n":1.50}}`,
		},
		"RespondToAuthChallenge": {
			`{"ChallengeName":"PASSWORD_VERIFIER","ClientId":"ID","Session":"s","ChallengeResponses":{"USERNAME":"a"}}`,
			`{"ChallengeName":"PASSWORD_VERIFIER","ChallengeResponses":{"SECRET_HASH":"HASH(a)","USERNAME":"a"},"ClientId":"ID","Session":"s"}`,
		},
		"RevokeToken":               {`{"ClientId":"ID","Token":"t"}`, `{"ClientId":"ID","ClientSecret":"` + testSecret + `","Token":"t"}`},
		"GetTokensFromRefreshToken": {`{"ClientId":"ID","RefreshToken":"t"}`, `{"ClientId":"ID","ClientSecret":"` + testSecret + `","RefreshToken":"t"}`},
		"GetUser":                   {`{"AccessToken":"t"}`, `{"AccessToken":"t"}`},
		"AssociateSoftwareToken":    {`{"Session":"s"}`, `{"Session":"s"}`},
	} {
		fill := strings.NewReplacer(`"ID"`, `"`+testClient+`"`, "HASH(a)", SecretHash(testSecret, testClient, "a"))
		c, refused := p.decide(targetPrefix+operation, []byte(fill.Replace(tt.in)), testViewer())
		if refused != nil {
			t.Errorf("%s: %v", operation, refused)
			continue
		}
		if diff := cmp.Diff(fill.Replace(tt.want), string(c.body(testSecret))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", operation, diff)
		}
		if c.admin || c.operation != operation {
			t.Errorf("%s: became %s, admin %v", operation, c.operation, c.admin)
		}
	}
}

func TestARefreshHasTheSecretItself(t *testing.T) {
	t.Parallel()
	for _, flow := range []string{"REFRESH_TOKEN_AUTH", "REFRESH_TOKEN"} {
		in := `{"AuthFlow":"` + flow + `","ClientId":"` + testClient + `","AuthParameters":{"REFRESH_TOKEN":"t"}}`
		c, refused := testProxy(t, nil).decide(targetPrefix+"InitiateAuth", []byte(in), testViewer())
		if refused != nil {
			t.Fatal(refused)
		}
		want := `{"AuthFlow":"` + flow + `","AuthParameters":{"REFRESH_TOKEN":"t","SECRET_HASH":"` + testSecret + `"},"ClientId":"` + testClient + `"}`
		if got := string(c.body(testSecret)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestTheAdminVariantOfEachFlow(t *testing.T) {
	t.Parallel()
	p := testProxy(t, func(c *Config) {
		c.Admin = &AdminConfig{Credentials: CredentialsKeys, AccessKeyID: "k", SecretAccessKey: "s"}
	})
	for flow, want := range map[string]string{
		"USER_PASSWORD_AUTH": "ADMIN_USER_PASSWORD_AUTH", "USER_SRP_AUTH": "USER_SRP_AUTH", "CUSTOM_AUTH": "CUSTOM_AUTH", "USER_AUTH": "USER_AUTH",
	} {
		in := `{"AuthFlow":"` + flow + `","ClientId":"` + testClient + `","AuthParameters":{"USERNAME":"a"},"UserContextData":{"EncodedData":"e"}}`
		c, refused := p.decide(targetPrefix+"InitiateAuth", []byte(in), testViewer())
		if refused != nil {
			t.Fatal(refused)
		}
		want := `{"AuthFlow":"` + want + `","AuthParameters":{"SECRET_HASH":"` + SecretHash(testSecret, testClient, "a") + `","USERNAME":"a"},"ClientId":"` + testClient +
			`","ContextData":{"EncodedData":"e","HttpHeaders":[{"headerName":"User-Agent","headerValue":"a browser"}],"IpAddress":"203.0.113.7",` +
			`"ServerName":"app.example.com","ServerPath":"/cognito"},"UserPoolId":"eu-west-1_AbC123"}`
		if got := string(c.body(testSecret)); got != want || c.operation != "AdminInitiateAuth" || !c.admin {
			t.Errorf("%s: got %s %s, want %s", flow, c.operation, got, want)
		}
	}
	if _, refused := p.decide(targetPrefix+"SignUp", []byte(`{"ClientId":"`+testClient+`","Username":"a"}`), viewer{}); refused != nil {
		t.Errorf("SignUp has no Admin variant for public clients: got %v, want it unchanged", refused)
	}
	in := []byte(`{"AuthFlow":"USER_AUTH","ClientId":"` + testClient + `","AuthParameters":{"USERNAME":"a"}}`)
	if _, refused := p.decide(targetPrefix+"InitiateAuth", in, viewer{}); refused == nil || refused.Type != typeInternal {
		t.Errorf("a viewer without an address: got %v, want a failure", refused)
	}
}

func TestHostileRequestsAreRefused(t *testing.T) {
	t.Parallel()
	p := testProxy(t, func(c *Config) { c.AuthFlows = []string{"USER_SRP_AUTH", "REFRESH_TOKEN_AUTH"} })
	const id = `"ClientId":"` + testClient + `"`
	srp := func(params string) string {
		return `{"AuthFlow":"USER_SRP_AUTH",` + id + `,"AuthParameters":` + params + `}`
	}
	for name, tt := range map[string]struct{ target, body, want string }{
		"an unknown operation":          {targetPrefix + "Nothing", `{}`, typeUnknown},
		"an operation in odd case":      {targetPrefix + "signup", `{}`, typeUnknown},
		"a target in odd case":          {strings.ToLower(targetPrefix) + "SignUp", `{}`, typeUnknown},
		"an operation of another API":   {"AWSCognitoIdentityService.GetId", `{}`, typeUnknown},
		"an Admin operation":            {targetPrefix + "AdminInitiateAuth", srp(`{"USERNAME":"a"}`), typeUnknown},
		"an operation with a blank":     {targetPrefix + "SignUp ", `{}`, typeUnknown},
		"nothing":                       {targetPrefix + "GetUser", ``, typeSerializing},
		"no object":                     {targetPrefix + "GetUser", `[]`, typeSerializing},
		"null":                          {targetPrefix + "GetUser", `null`, typeSerializing},
		"two objects":                   {targetPrefix + "GetUser", `{}{}`, typeSerializing},
		"broken JSON":                   {targetPrefix + "GetUser", `{"a":}`, typeSerializing},
		"invalid UTF-8":                 {targetPrefix + "GetUser", "{\"a\":\"\xff\"}", typeSerializing},
		"half a surrogate pair":         {targetPrefix + "SignUp", `{` + id + `,"Username":"\ud83d"}`, typeSerializing},
		"two high surrogates":           {targetPrefix + "SignUp", `{` + id + `,"Username":"\ud83d\ud83d"}`, typeSerializing},
		"a low surrogate":               {targetPrefix + "SignUp", `{` + id + `,"Username":"\udc00a"}`, typeSerializing},
		"a member twice":                {targetPrefix + "SignUp", `{` + id + `,"Username":"a","Username":"b"}`, typeSerializing},
		"a member twice, once escaped":  {targetPrefix + "SignUp", `{` + id + `,"Username":"a","Usernam\u0065":"b"}`, typeSerializing},
		"a parameter twice":             {targetPrefix + "InitiateAuth", srp(`{"USERNAME":"a","USERNAME":"b"}`), typeSerializing},
		"a member twice, further in":    {targetPrefix + "SignUp", `{` + id + `,"Username":"a","UserAttributes":[{"Name":"a","Name":"b"}]}`, typeSerializing},
		"deep nesting":                  {targetPrefix + "GetUser", `{"a":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, typeSerializing},
		"very deep nesting":             {targetPrefix + "GetUser", strings.Repeat("[", 60000), typeSerializing},
		"another client":                {targetPrefix + "SignUp", `{"ClientId":"another","Username":"a"}`, typeNoResource},
		"no client":                     {targetPrefix + "SignUp", `{"Username":"a"}`, typeNoResource},
		"a client that is no text":      {targetPrefix + "SignUp", `{"ClientId":["` + testClient + `"],"Username":"a"}`, typeNoResource},
		"the client in other case":      {targetPrefix + "SignUp", `{` + id + `,"clientId":"another","Username":"a"}`, typeInvalid},
		"the user name in other case":   {targetPrefix + "SignUp", `{` + id + `,"Username":"a","username":"b"}`, typeInvalid},
		"a Kelvin sign for a k":         {targetPrefix + "InitiateAuth", srp(`{"USERNAME":"a","REFRESH_TO\u212aEN":"b"}`), typeInvalid},
		"no user name":                  {targetPrefix + "SignUp", `{` + id + `}`, typeInvalid},
		"an empty user name":            {targetPrefix + "SignUp", `{` + id + `,"Username":""}`, typeInvalid},
		"a user name that is no text":   {targetPrefix + "InitiateAuth", srp(`{"USERNAME":{"a":"b"}}`), typeInvalid},
		"a hash of its own":             {targetPrefix + "SignUp", `{` + id + `,"Username":"a","SecretHash":"x"}`, typeInvalid},
		"a hash of its own, null":       {targetPrefix + "SignUp", `{` + id + `,"Username":"a","SecretHash":null}`, typeInvalid},
		"a hash among the parameters":   {targetPrefix + "InitiateAuth", srp(`{"USERNAME":"a","SECRET_HASH":"x"}`), typeInvalid},
		"a hash in other case":          {targetPrefix + "InitiateAuth", srp(`{"USERNAME":"a","Secret_Hash":"x"}`), typeInvalid},
		"a hash among the answers":      {targetPrefix + "RespondToAuthChallenge", `{"ChallengeName":"SMS_MFA",` + id + `,"ChallengeResponses":{"USERNAME":"a","SECRET_HASH":"x"}}`, typeInvalid},
		"a secret of its own":           {targetPrefix + "RevokeToken", `{` + id + `,"Token":"t","ClientSecret":"x"}`, typeInvalid},
		"a pool of its own":             {targetPrefix + "InitiateAuth", `{"UserPoolId":"x",` + srp(`{"USERNAME":"a"}`)[1:], typeInvalid},
		"a context of its own":          {targetPrefix + "InitiateAuth", `{"ContextData":{},` + srp(`{"USERNAME":"a"}`)[1:], typeInvalid},
		"a viewer that is no object":    {targetPrefix + "InitiateAuth", `{"UserContextData":"x",` + srp(`{"USERNAME":"a"}`)[1:], typeInvalid},
		"an address in other case":      {targetPrefix + "InitiateAuth", `{"UserContextData":{"ipaddress":"x"},` + srp(`{"USERNAME":"a"}`)[1:], typeInvalid},
		"no flow":                       {targetPrefix + "InitiateAuth", `{` + id + `,"AuthParameters":{"USERNAME":"a"}}`, typeInvalid},
		"a flow of the Admin variant":   {targetPrefix + "InitiateAuth", `{"AuthFlow":"ADMIN_NO_SRP_AUTH",` + id + `,"AuthParameters":{"USERNAME":"a"}}`, typeInvalid},
		"a flow that is not let in":     {targetPrefix + "InitiateAuth", `{"AuthFlow":"USER_PASSWORD_AUTH",` + id + `,"AuthParameters":{"USERNAME":"a"}}`, typeInvalid},
		"no parameters":                 {targetPrefix + "InitiateAuth", `{"AuthFlow":"USER_SRP_AUTH",` + id + `}`, typeInvalid},
		"parameters that are null":      {targetPrefix + "InitiateAuth", srp(`null`), typeInvalid},
		"a refresh without a token":     {targetPrefix + "InitiateAuth", `{"AuthFlow":"REFRESH_TOKEN_AUTH",` + id + `,"AuthParameters":{}}`, typeInvalid},
		"a refresh of a named user":     {targetPrefix + "InitiateAuth", `{"AuthFlow":"REFRESH_TOKEN_AUTH",` + id + `,"AuthParameters":{"REFRESH_TOKEN":"t","USERNAME":"a"}}`, typeInvalid},
		"an answer to no challenge":     {targetPrefix + "RespondToAuthChallenge", `{` + id + `,"ChallengeResponses":{"USERNAME":"a"}}`, typeInvalid},
		"an answer to an Admin's":       {targetPrefix + "RespondToAuthChallenge", `{"ChallengeName":"ADMIN_NO_SRP_AUTH",` + id + `,"ChallengeResponses":{"USERNAME":"a"}}`, typeInvalid},
		"an answer of nobody":           {targetPrefix + "RespondToAuthChallenge", `{"ChallengeName":"SMS_MFA",` + id + `,"ChallengeResponses":{}}`, typeInvalid},
		"an answer without the answers": {targetPrefix + "RespondToAuthChallenge", `{"ChallengeName":"SMS_MFA",` + id + `}`, typeInvalid},
	} {
		if _, refused := p.decide(tt.target, []byte(tt.body), testViewer()); refused == nil || refused.Type != tt.want {
			t.Errorf("%s: got %v, want %s", name, refused, tt.want)
		}
	}
}

// FuzzDecide holds what is sent to the pool to one reading of what came: the proof is over the very name that is sent beside it.
func FuzzDecide(f *testing.F) {
	f.Add("SignUp", `{"ClientId":"`+testClient+`","Username":"a\u00e9\ud83d\ude00"}`)
	f.Add("InitiateAuth", `{"AuthFlow":"USER_AUTH","ClientId":"`+testClient+`","AuthParameters":{"USERNAME":"a"},"UserContextData":{"IpAddress":"x"}}`)
	f.Add("InitiateAuth", `{"AuthFlow":"REFRESH_TOKEN","ClientId":"`+testClient+`","AuthParameters":{"REFRESH_TOKEN":"a"}}`)
	f.Add("RespondToAuthChallenge", `{"ChallengeName":"A","ClientId":"`+testClient+`","ChallengeResponses":{"USERNAME":"\"\\/"}}`)
	f.Add("GetUser", `{"a":[{"b":1e400}],"a\"":null}`)
	plain := testProxy(f, nil)
	admin := testProxy(f, func(c *Config) {
		c.Admin = &AdminConfig{Credentials: CredentialsKeys, AccessKeyID: "k", SecretAccessKey: "s"}
	})
	f.Fuzz(func(t *testing.T, operation, body string) {
		for _, p := range []*Proxy{plain, admin} {
			c, refused := p.decide(targetPrefix+operation, []byte(body), testViewer())
			if refused != nil {
				continue
			}
			c.body("another") // a retry replaces the proof
			checkSent(t, c, c.body(testSecret))
		}
	})
}

func checkSent(t *testing.T, c *call, sent []byte) {
	t.Helper()
	o, err := parse(sent)
	if err != nil {
		t.Fatalf("what is sent has two readings: %v\n%s", err, sent)
	}
	if strings.Contains(string(o["UserContextData"]), `"IpAddress"`) {
		t.Fatalf("the client's own address is sent: %s", sent)
	}
	proved, name, place := o, "Username", "SecretHash"
	switch c.proof {
	case proofNone:
		if strings.Contains(string(sent), testSecret) {
			t.Fatalf("the secret is sent where nothing wants it: %s", sent)
		}
		return
	case proofClear:
		if got, _ := o.text("ClientSecret"); got != testSecret {
			t.Fatalf("ClientSecret: got %q", got)
		}
		return
	case proofAuth, proofChallenge:
		name, place = "USERNAME", "SECRET_HASH"
		if err := json.Unmarshal(o[c.innerName], &proved); err != nil {
			t.Fatal(err)
		}
	}
	username, _ := proved.text(name)
	want := testSecret
	if username != "" {
		want = SecretHash(testSecret, testClient, username)
	}
	if got, _ := proved.text(place); got != want {
		t.Fatalf("proof: got %q, want %q for %q", got, want, username)
	}
}
