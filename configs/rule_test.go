package configs

import (
	"strings"
	"testing"
	"testing/fstest"
)

// A scope with a blank in it is in no token: the route would let nobody pass.
func TestScopesAreSingleWords(t *testing.T) {
	t.Parallel()
	file := `
listen: {https: ":443"}
tls: {local: true}
login: {cognito: {region: eu-west-1, user_pool: eu-west-1_A, domain: d, client_id: a, client_secret: "${env:S}"}}
upstreams: {app: http://10.0.1.10:8080}
routes:
  - {match: a.example.com, to: app, require: {token: {scopes: orders.read orders.write}}}
`
	_, err := Load(fstest.MapFS{"g.yaml": {Data: []byte(file)}}, "g.yaml", LoadOptions{
		Env: func(string) (string, bool) { return strings.Repeat("s", 40), true },
	})
	if want := "g.yaml:7:63: routes[0].require.token.scopes"; err == nil || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), "one scope without blanks") {
		t.Errorf("got %v, want a problem at %s", err, want)
	}
}
