package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const edgeARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/edge/50dc6c495c0c9188"

// A verification is one call of AWS's verifier in Node.
type verification struct {
	Token  string `json:"token"`
	Keys   string `json:"keys"`
	ALB    string `json:"alb"`
	Issuer string `json:"issuer"`
	Client string `json:"client"`
	At     int64  `json:"at"` // Unix time on the verifier's clock; 0 is the real one
}

type verdict struct {
	OK      bool           `json:"ok"`
	Payload map[string]any `json:"payload"`
	Error   string         `json:"error"`
}

// verify asks AWS's own library.
func (v verification) verify(t *testing.T, env ...string) verdict {
	t.Helper()
	if _, err := os.Stat("testdata/verifier/node_modules/aws-jwt-verify"); err != nil {
		t.Fatalf("the verifier is not installed (%v): run ./.ci/test, or npm ci --prefix e2e/testdata/verifier --ignore-scripts", err)
	}
	input, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "node", "testdata/verifier/verify.mjs")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node, which ./.ci/test installs: %v\n%s", err, stderr.String())
	}
	var got verdict
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("verifier: %v\n%s", err, out)
	}
	return got
}

// segment decodes one part of a token, padded or not.
func segment(t *testing.T, token string, i int) (fields map[string]any) {
	t.Helper()
	raw, err := decodeSegment(token, i)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func decodeSegment(token string, i int) ([]byte, error) {
	parts := strings.Split(token, ".")
	if i >= len(parts) {
		return nil, fmt.Errorf("want a token, got %d parts", len(parts))
	}
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[i], "="))
}

func TestAWSVerifierAcceptsTheAssertion(t *testing.T) {
	t.Parallel()
	for _, padding := range []string{"padded", "unpadded"} {
		t.Run(padding, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, siteSpec{
				host: "localhost", listen: `, keys: "127.0.0.1:0"`, sockets: []string{"keys"},
				top: "assertion: {signer: \"" + edgeARN + "\", padding: " + padding + "}",
			})
			token := s.assertion(t)
			if got, want := strings.HasSuffix(token, "="), padding == "padded"; got != want {
				t.Errorf("token ends in padding: got %v, want %v", got, want)
			}
			s.testVerifier(t, token)
		})
	}
}

// assertion signs alice in and returns the token that the upstream got.
func (s *site) assertion(t *testing.T) string {
	t.Helper()
	s.signIn("alice", "/")
	for _, seen := range s.backend.drain() {
		if v := seen.values("x-amzn-oidc-data"); len(v) == 1 {
			return v[0]
		}
	}
	t.Fatal("the upstream got no assertion")
	return ""
}

func (s *site) testVerifier(t *testing.T, token string) {
	t.Helper()
	expires, ok := segment(t, token, 0)["exp"].(float64)
	if !ok {
		t.Fatal("the assertion's header has no exp")
	}
	issued := int64(expires) - 120
	if age := time.Now().Unix() - issued; age < 0 || age > 30 {
		t.Errorf("age of the assertion: got %d s, want 0 to 30", age)
	}
	good := verification{
		Token: token, Keys: "http://" + s.addrs["keys"], ALB: edgeARN, Issuer: s.pool.url + "/" + poolID, Client: clientID,
	}
	overTLS := good
	_, port, _ := strings.Cut(s.addr, ":")
	overTLS.Keys = "https://localhost:" + port + "/.gatehouse/keys"
	roots := "NODE_EXTRA_CA_CERTS=" + filepath.Join(s.state, "local-ca", "root.pem")

	for _, v := range []verification{good, overTLS} {
		got := v.verify(t, roots)
		if !got.OK || got.Payload["sub"] != aliceSub {
			t.Errorf("keys at %s: got %+v, want alice's claims", v.Keys, got)
		}
	}
	for name, tt := range map[string]struct {
		change func(*verification)
		want   string // the error's class; "" is accepted
	}{
		"after 119 s":            {func(v *verification) { v.At = issued + 119 }, ""},
		"after 121 s":            {func(v *verification) { v.At = issued + 121 }, "JwtExpiredError"},
		"of another signer":      {func(v *verification) { v.ALB = strings.Replace(edgeARN, "edge", "else", 1) }, "AlbJwtInvalidSignerError"},
		"of another client":      {func(v *verification) { v.Client = "another" }, "AlbJwtInvalidClientIdError"},
		"of another issuer":      {func(v *verification) { v.Issuer += "x" }, "JwtInvalidIssuerError"},
		"with a changed payload": {func(v *verification) { v.Token = withPayload(t, token, "sub", bobSub) }, "JwtInvalidSignatureError"},
	} {
		t.Run(name, func(t *testing.T) {
			v := good
			tt.change(&v)
			got := v.verify(t)
			class, _, _ := strings.Cut(got.Error, ":")
			if got.OK != (tt.want == "") || class != tt.want {
				t.Errorf("got %+v, want error class %q", got, tt.want)
			}
		})
	}
}

// withPayload returns token with one claim changed and the old signature.
func withPayload(t *testing.T, token, claim string, value any) string {
	t.Helper()
	claims := segment(t, token, 1)
	claims[claim] = value
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	encoding := base64.URLEncoding
	if !strings.Contains(token, "=") {
		encoding = base64.RawURLEncoding
	}
	parts[1] = encoding.EncodeToString(raw)
	return strings.Join(parts, ".")
}

// The people of the development pool.
const (
	aliceSub = "a11ce0de-5bd2-4363-9134-0ce990b8c873"
	bobSub   = "b0bb0b0b-1f6e-4c55-8d21-6f3f0a7d2c10"
)
