package devpool_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/authn/devpool"
)

// apiPool is a pool with a client that has a secret, a public one, and somebody who needs another password.
func apiPool(t *testing.T) *devpool.Pool {
	t.Helper()
	p, err := devpool.New(devpool.Options{
		BaseURL: "http://localhost:8444",
		Clients: []devpool.Client{{ID: "djc98u3jiedmi283eu928", Secret: "abcdef01234567890"}, {ID: "public"}},
		Users: []devpool.User{
			{Username: "alice", Password: "alice", Email: "alice@example.com", EmailVerified: true},
			{Username: "new", Password: "new", NewPasswordRequired: true},
			{Username: "waiting", Password: "waiting", Unconfirmed: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// apiCall returns the status and the answer of a call; an error is "TYPE: message".
func apiCall(t *testing.T, p *devpool.Pool, operation, body string) (map[string]any, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v\n%s", operation, err, w.Body)
	}
	if w.Code == http.StatusOK {
		return got, ""
	}
	return got, fmt.Sprintf("%v: %v", got["__type"], got["message"])
}

// TestTheAPIWantsTheProofOfASecret has the hash of alice at this client from a published vector.
func TestTheAPIWantsTheProofOfASecret(t *testing.T) {
	t.Parallel()
	p := apiPool(t)
	const id, hash = "djc98u3jiedmi283eu928", "VbZB/jmJy2KXzFaBHZWkmme9gEGnQWA9X8Jd5WgA4mA="
	for name, tt := range map[string]struct{ client, user, hash, want string }{
		"with its hash":               {id, "alice", hash, ""},
		"without a hash":              {id, "alice", "", "NotAuthorizedException: Client " + id + " is configured for secret but secret was not received"},
		"with another hash":           {id, "alice", "x" + hash[1:], "NotAuthorizedException: Unable to verify secret hash for client " + id},
		"with the hash of another":    {id, "waiting", hash, "NotAuthorizedException: Unable to verify secret hash for client " + id},
		"with the secret itself":      {id, "alice", "abcdef01234567890", "NotAuthorizedException: Unable to verify secret hash for client " + id},
		"a public client":             {"public", "alice", "", ""},
		"a public client with a hash": {"public", "alice", hash, "NotAuthorizedException: Unable to verify secret hash for client public"},
		"an unknown client":           {"other", "alice", "", "ResourceNotFoundException: User pool client other does not exist."},
		"nobody":                      {"public", "nobody", "", "NotAuthorizedException: Incorrect username or password."},
		"somebody unconfirmed":        {"public", "waiting", "", "UserNotConfirmedException: User is not confirmed."},
	} {
		params := fmt.Sprintf(`{"USERNAME":%q,"PASSWORD":%q,"SECRET_HASH":%q}`, tt.user, tt.user, tt.hash)
		if tt.hash == "" {
			params = fmt.Sprintf(`{"USERNAME":%q,"PASSWORD":%q}`, tt.user, tt.user)
		}
		_, got := apiCall(t, p, "InitiateAuth", fmt.Sprintf(`{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":%q,"AuthParameters":%s}`, tt.client, params))
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestTheAPIAsksForANewPassword(t *testing.T) {
	t.Parallel()
	p := apiPool(t)
	asked, refused := apiCall(t, p, "InitiateAuth", `{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"public","AuthParameters":{"USERNAME":"new","PASSWORD":"new"}}`)
	if refused != "" || asked["ChallengeName"] != "NEW_PASSWORD_REQUIRED" {
		t.Fatalf("got %v %s, want a challenge", asked, refused)
	}
	answer := fmt.Sprintf(`{"ChallengeName":"NEW_PASSWORD_REQUIRED","ClientId":"public","Session":%q,"ChallengeResponses":{"USERNAME":"new","NEW_PASSWORD":"a-longer-one"}}`, asked["Session"])
	done, refused := apiCall(t, p, "RespondToAuthChallenge", answer)
	result, _ := done["AuthenticationResult"].(map[string]any)
	if refused != "" || result["TokenType"] != "Bearer" || result["IdToken"] == "" {
		t.Fatalf("got %v %s, want tokens", done, refused)
	}
	if _, refused = apiCall(t, p, "RespondToAuthChallenge", answer); refused != "NotAuthorizedException: Invalid session for the user." {
		t.Errorf("the same answer again: got %q, want the session to be spent", refused)
	}
	if _, refused = apiCall(t, p, "InitiateAuth", `{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"public","AuthParameters":{"USERNAME":"new","PASSWORD":"a-longer-one"}}`); refused != "" {
		t.Errorf("with the new password: got %q, want tokens", refused)
	}
}

func TestTheAdminOperationsWantASignature(t *testing.T) {
	t.Parallel()
	_, got := apiCall(t, apiPool(t), "AdminInitiateAuth", `{"ClientId":"public"}`)
	if want := "MissingAuthenticationTokenException: Missing Authentication Token"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
