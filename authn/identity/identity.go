// Package identity holds who is making a request, once somebody has verified it.
package identity

import (
	"context"
	"time"
)

// An Identity is a verified login or a verified bearer token. It is immutable: callers must not
// change the slices it holds. The zero value is nobody.
type Identity struct {
	Issuer   string // the provider's issuer URL, exactly as configured
	ClientID string // the OAuth client that the login or token belongs to
	Subject  string // the provider's stable name of the person or machine ("sub")
	Username string // Cognito's user name, or preferred_username elsewhere; may be empty
	Email    string

	// EmailVerified says whether the provider vouches for Email. A rule on e-mail must require it.
	EmailVerified bool

	Groups []string // cognito:groups, or the claim the operator named
	Scopes []string // scopes of the access token

	AuthTime time.Time // when the person last proved who they are
	Expires  time.Time // when this identity stops being valid

	// AuthTimeStated says that AuthTime is the provider's word. Otherwise it is when the token was
	// issued, which may be long after.
	AuthTimeStated bool
	ACR            string // how they proved it ("acr"); may be empty

	// SessionID names the session in logs and caches. It opens nothing by itself. It is empty for
	// bearer tokens.
	SessionID string

	// AccessToken is the provider's token as it was issued. It is a secret: never log it.
	AccessToken string

	// Claims is the provider's userinfo answer (for bearer tokens, the token's payload): one JSON
	// object, byte for byte as it was received. The assertion signs it unchanged.
	Claims []byte
}

type contextKey struct{}

// NewContext returns a copy of ctx that carries id.
func NewContext(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext returns the identity of the request, or nil when nobody is signed in.
func FromContext(ctx context.Context) *Identity {
	id, _ := ctx.Value(contextKey{}).(*Identity)
	return id
}
