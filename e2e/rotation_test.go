package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A verifierStream is AWS's verifier in a process that lives as long as an application does.
type verifierStream struct {
	in  *json.Encoder
	out *json.Decoder
}

func startVerifier(t *testing.T) *verifierStream {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "testdata/verifier/stream.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("node, which ./.ci/test installs: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("verifier: %v", err)
		}
	})
	return &verifierStream{json.NewEncoder(in), json.NewDecoder(out)}
}

func (v *verifierStream) verify(what verification) error {
	if err := v.in.Encode(what); err != nil {
		return err
	}
	var got verdict
	if err := v.out.Decode(&got); err != nil {
		return err
	}
	if !got.OK {
		return fmt.Errorf("refused: %s", got.Error)
	}
	return nil
}

// newKey makes a key with the program and returns its PEM and its id.
func newKey(t *testing.T) (pem, kid string) {
	t.Helper()
	got := runToEnd(t, "", nil, "keys", "new")
	if got.code != 0 {
		t.Fatalf("keys new: %+v", got)
	}
	return got.stdout, strings.TrimSpace(got.stderr)
}

// replace puts content in the place of file as a whole.
func replace(t *testing.T, file, content string) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "whole")
	if err := os.WriteFile(whole, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(whole, file); err != nil {
		t.Fatal(err)
	}
}

// echoed asks the site as the browser and returns what its upstream, an echo, was sent.
func (s *site) echoed(c *http.Client, cookies, path string) (seen echo, err error) {
	req, err := http.NewRequest(http.MethodGet, s.base+path, nil)
	if err != nil {
		return seen, err
	}
	req.Header.Set("Cookie", cookies)
	resp, err := c.Do(req)
	if err != nil {
		return seen, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return seen, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return seen, json.NewDecoder(resp.Body).Decode(&seen)
}

// An application verifies what it gets, and fetches keys as it meets them, while the keys are replaced under it:
// the new one is published, then signs, then the old one goes.
func TestAWSVerifierAcceptsTheAssertionAcrossARotation(t *testing.T) {
	t.Parallel()
	onePEM, one := newKey(t)
	twoPEM, two := newKey(t)
	file := filepath.Join(t.TempDir(), "keys.pem")
	replace(t, file, onePEM)
	s := startSite(t, siteSpec{
		listen: `, keys: "127.0.0.1:0"`, sockets: []string{"keys"}, upstream: startEcho(t), args: []string{"--watch"},
		top: fmt.Sprintf("assertion: {signer: %q, keys: [%q]}", edgeARN, file),
	})
	verifier, c := startVerifier(t), newClient(t, s.addr, true)
	cookies := s.signIn("alice", "/").cookies(s.base)

	ctx, cancel := context.WithCancel(t.Context())
	verified, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- s.verifyOnAndOn(ctx, verifier, c, cookies, verified)
	}()
	signs := func(kid string) { // until what is verified is signed with kid
		t.Helper()
		for got := ""; got != kid; {
			select {
			case got = <-verified:
			case err := <-ended:
				t.Fatalf("waiting for a token of %s: %v", kid, err)
			}
		}
	}
	signs(one)
	for _, phase := range []struct {
		content string
		signs   string
		kids    []string
	}{
		{onePEM + twoPEM, one, []string{one, two}},
		{twoPEM + onePEM, two, []string{two, one}},
		{twoPEM, two, []string{two}},
	} {
		n := s.messages(reloaded)
		replace(t, file, phase.content)
		s.message(reloaded, n)
		if got := s.publishedKeys(t); !slices.Equal(got, phase.kids) {
			t.Errorf("published keys: got %v, want %v", got, phase.kids)
		}
		for range 3 {
			signs(phase.signs)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("verifying on and on: %v", err)
	}
	s.testKeyAnswers(t, c, one, two)

	n := s.messages(refusedReload)
	replace(t, file, "-----BEGIN PRIVATE KEY-----\n")
	if problems, _ := s.message(refusedReload, n)["problems"].(string); !strings.Contains(problems, "assertion") {
		t.Errorf("a broken key file: got %q, want a problem of the assertion", problems)
	}
	if got := s.publishedKeys(t); !slices.Equal(got, []string{two}) {
		t.Errorf("keys after a broken file: got %v, want those from before", got)
	}
}

// kidOf returns the key that a token says it is signed with.
func kidOf(token string) (kid string, err error) {
	var header struct {
		KID string `json:"kid"`
	}
	raw, err := decodeSegment(token, 0)
	if err != nil {
		return "", err
	}
	return header.KID, json.Unmarshal(raw, &header)
}

// verifyOnAndOn sends requests and has their tokens verified, until ctx ends or one is refused.
func (s *site) verifyOnAndOn(ctx context.Context, v *verifierStream, c *http.Client, cookies string, verified chan<- string) error {
	for ctx.Err() == nil {
		seen, err := s.echoed(c, cookies, "/")
		if err != nil {
			return err
		}
		token := seen.Header.Get("X-Amzn-Oidc-Data")
		err = v.verify(verification{
			Token: token, Keys: "http://" + s.addrs["keys"], ALB: edgeARN, Issuer: s.pool.url + "/" + poolID, Client: clientID,
		})
		if err != nil {
			return err
		}
		kid, err := kidOf(token)
		if err != nil {
			return err
		}
		select {
		case verified <- kid:
		default: // nobody waits for one more
		}
	}
	return nil
}

// publishedKeys are the kids of the key set, as the keys listener has them.
func (s *site) publishedKeys(t *testing.T) (kids []string) {
	t.Helper()
	resp, err := direct(t).Get("http://" + s.addrs["keys"] + "/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set struct{ Keys []struct{ KID string } }
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		kids = append(kids, key.KID)
	}
	return kids
}

// testKeyAnswers asks for a key that is gone and one that is there, on the front door and on the listener for keys.
func (s *site) testKeyAnswers(t *testing.T, c *http.Client, gone, there string) {
	t.Helper()
	for _, from := range []struct {
		client *http.Client
		base   string
	}{{c, s.base + "/.gatehouse/keys"}, {direct(t), "http://" + s.addrs["keys"]}} {
		ask := func(method, kid, match string) (*http.Response, string) {
			t.Helper()
			req, err := http.NewRequest(method, from.base+"/"+kid, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("If-None-Match", match)
			resp, err := from.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp, string(body)
		}
		if resp, _ := ask(http.MethodGet, gone, `""`); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s, the old key: got %s %q, want 404 that nobody keeps", from.base, resp.Status, resp.Header.Get("Cache-Control"))
		}
		resp, pem := ask(http.MethodGet, there, `""`)
		if resp.StatusCode != http.StatusOK || !strings.HasPrefix(pem, "-----BEGIN PUBLIC KEY-----\n") || resp.Header.Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("%s, the new key: got %s %q %q", from.base, resp.Status, resp.Header.Get("Cache-Control"), pem)
		}
		if head, body := ask(http.MethodHead, there, `""`); head.StatusCode != http.StatusOK || body != "" || head.ContentLength != int64(len(pem)) {
			t.Errorf("%s, HEAD: got %s, %d bytes of %d", from.base, head.Status, len(body), head.ContentLength)
		}
		if again, _ := ask(http.MethodGet, there, resp.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s, once more: got %s, want 304", from.base, again.Status)
		}
	}
}

// Attack case X13, and the claims of the ID token.
func TestRoutesSayWhoTheirAssertionIsFor(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{
		upstream: startEcho(t),
		top:      "assertion: {claims_from: id_token, claims: {email: X-Mail}}",
		routes: fmt.Sprintf(`
  - {match: %[1]s/orders/*, to: u, require: signed-in, waf: off, assertion: {audience: orders, padding: unpadded, claims: {"cognito:username": X-Name}}}
  - {match: %[1]s/wiki/*, to: u, require: signed-in, waf: off, assertion: {audience: wiki, access_token: omit}}
  - {match: %[1]s, to: u, require: signed-in, waf: off}
`, appHost),
	})
	c, cookies := newClient(t, s.addr, true), s.signIn("alice", "/").cookies(s.base)
	for _, tt := range []struct {
		path, audience, name string
		padded, accessToken  bool
	}{
		{"/orders/1", "orders", "alice", false, true},
		{"/wiki/1", "wiki", "", true, false},
		{"/", "", "", true, true},
	} {
		for range 2 { // signed, and remembered
			seen, err := s.echoed(c, cookies+"; a=1", tt.path)
			if err != nil {
				t.Fatal(err)
			}
			token := seen.Header.Get("X-Amzn-Oidc-Data")
			claims := segment(t, token, 1)
			if got, _ := claims["aud"].(string); got != tt.audience {
				t.Errorf("%s: aud: got %v, want %q", tt.path, claims["aud"], tt.audience)
			}
			if got := strings.HasSuffix(token, "="); got != tt.padded {
				t.Errorf("%s: padded: got %v, want %v", tt.path, got, tt.padded)
			}
			if got := seen.Header.Get("X-Amzn-Oidc-Accesstoken") != ""; got != tt.accessToken {
				t.Errorf("%s: has the access token: got %v, want %v", tt.path, got, tt.accessToken)
			}
			if seen.Header.Get("X-Name") != tt.name || seen.Header.Get("X-Mail") != "alice@example.com" {
				t.Errorf("%s: mapped claims: got %q and %q, want %q and alice's address", tt.path, seen.Header["X-Name"], seen.Header["X-Mail"], tt.name)
			}
			// The ID token's claims, and nothing of what it says about itself.
			if claims["cognito:username"] != "alice" || claims["email_verified"] != true || claims["sub"] != aliceSub {
				t.Errorf("%s: claims: got %v, want those of the ID token", tt.path, claims)
			}
			for _, name := range []string{"nonce", "token_use", "at_hash", "iat", "jti", "origin_jti"} {
				if claims[name] != nil {
					t.Errorf("%s: the ID token's %s is among the claims", tt.path, name)
				}
			}
		}
	}
	// A header that one route maps a claim to is for no client to send, on any.
	req, err := http.NewRequest(http.MethodGet, s.base+"/wiki/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookies)
	req.Header.Set("X-Name", "mallory")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var seen echo
	if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil {
		t.Fatal(err)
	}
	if got := seen.Header["X-Name"]; got != nil {
		t.Errorf("a forged header: got %q at the upstream, want none", got)
	}
}
