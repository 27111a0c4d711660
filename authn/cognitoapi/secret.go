package cognitoapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"sync/atomic"
)

// SecretHash is the proof that a user pool wants of an app client that has a secret.
// https://docs.aws.amazon.com/cognito/latest/developerguide/signing-up-users-in-your-app.html#cognito-user-pools-computing-secret-hash
func SecretHash(secret, clientID, username string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(username))
	mac.Write([]byte(clientID))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// A client is an app client with one secret or two. It is safe for concurrent use.
type client struct {
	id      string
	secrets []string
	works   atomic.Int32 // index of the secret that the pool took last
}

func newClient(cfg ClientConfig) *client {
	c := &client{id: cfg.ID, secrets: []string{cfg.Secret}}
	if cfg.PreviousSecret != "" {
		c.secrets = append(c.secrets, cfg.PreviousSecret)
	}
	return c
}

// order returns the secret to try first, and the other, "" where there is none. took remembers that the other works.
func (c *client) order() (first, other string, took func()) {
	i := c.works.Load()
	if len(c.secrets) == 1 {
		return c.secrets[0], "", func() {}
	}
	return c.secrets[i], c.secrets[1-i], func() { c.works.CompareAndSwap(i, 1-i) }
}
