package cognitoapi

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	good := Config{UserPool: "eu-west-1_AbC123", Clients: []ClientConfig{{ID: "abc", Secret: "a-secret-of-cognito"}}}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string // "field: part of the message"; "" is accepted
	}{
		"the least":               {func(*Config) {}, ""},
		"no pool":                 {func(c *Config) { c.UserPool = "" }, "user_pool: want a pool id"},
		"no region":               {func(c *Config) { c.UserPool = "x_y" }, "region: want a region"},
		"a development pool":      {func(c *Config) { c.Endpoint = "http://127.0.0.1:8444" }, ""},
		"the network, in clear":   {func(c *Config) { c.Endpoint = "http://10.0.0.1" }, "endpoint: want https"},
		"a path":                  {func(c *Config) { c.Endpoint = "https://x.example/api" }, "endpoint: want https://HOST without a path"},
		"no client":               {func(c *Config) { c.Clients = nil }, "clients: required"},
		"an odd id":               {func(c *Config) { c.Clients[0].ID = "a b" }, "clients[0].id: want"},
		"no secret":               {func(c *Config) { c.Clients[0].Secret = "" }, "clients[0].secret: required"},
		"a short secret":          {func(c *Config) { c.Clients[0].Secret = "s" }, "clients[0].secret: too short"},
		"a short former secret":   {func(c *Config) { c.Clients[0].PreviousSecret = "s" }, "clients[0].previous_secret: too short"},
		"one secret twice":        {func(c *Config) { c.Clients[0].PreviousSecret = "a-secret-of-cognito" }, "clients[0].previous_secret: is the same"},
		"one client twice":        {func(c *Config) { c.Clients = append(c.Clients, c.Clients[0]) }, "clients[1].id: is named twice"},
		"an unknown operation":    {func(c *Config) { c.Operations = []string{"AdminGetUser"} }, "operations[0]: want one of"},
		"an operation twice":      {func(c *Config) { c.Operations = []string{"GetUser", "GetUser"} }, "operations[1]: is named twice"},
		"no operation":            {func(c *Config) { c.Operations = []string{} }, "operations: the list is empty"},
		"an unknown flow":         {func(c *Config) { c.AuthFlows = []string{"ADMIN_USER_PASSWORD_AUTH"} }, "auth_flows[0]: want one of"},
		"an origin":               {func(c *Config) { c.Origins = []string{"https://app.example.com"} }, ""},
		"an origin with a slash":  {func(c *Config) { c.Origins = []string{"https://app.example.com/"} }, "origins[0]: want an origin"},
		"any origin":              {func(c *Config) { c.Origins = []string{"*"} }, "origins[0]: want an origin"},
		"a role":                  {func(c *Config) { c.Admin = &AdminConfig{Credentials: "role"} }, ""},
		"a role with keys":        {func(c *Config) { c.Admin = &AdminConfig{Credentials: "role", AccessKeyID: "k"} }, `admin.credentials: want "keys"`},
		"keys without an id":      {func(c *Config) { c.Admin = &AdminConfig{Credentials: "keys", SecretAccessKey: "s"} }, "admin.access_key_id: required"},
		"keys without a secret":   {func(c *Config) { c.Admin = &AdminConfig{Credentials: "keys", AccessKeyID: "k"} }, "admin.secret_access_key: required"},
		"credentials from nobody": {func(c *Config) { c.Admin = &AdminConfig{} }, `admin.credentials: want "role" or "keys"`},
	} {
		c := good
		c.Clients = []ClientConfig{good.Clients[0]}
		tt.change(&c)
		var got []string
		c.Validate(func(field, msg string) { got = append(got, field+": "+msg) })
		if said := strings.Join(got, "\n"); !strings.HasPrefix(said, tt.want) || len(got) > 1 || (tt.want == "") != (said == "") {
			t.Errorf("%s: got %q, want one about %q", name, got, tt.want)
		}
	}
}

func TestTheEndpointIsTheRegions(t *testing.T) {
	t.Parallel()
	for pool, want := range map[string]string{
		"eu-west-1_AbC123":  "https://cognito-idp.eu-west-1.amazonaws.com",
		"cn-north-1_AbC123": "https://cognito-idp.cn-north-1.amazonaws.com.cn",
	} {
		if got := (Config{UserPool: pool}).endpoint(); got != want {
			t.Errorf("%s: got %s, want %s", pool, got, want)
		}
	}
}
