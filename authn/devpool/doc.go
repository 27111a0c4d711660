// Package devpool is a user pool with Amazon Cognito's shapes, for development and tests.
//
// A [Pool] is an [http.Handler] that serves what a pool and its domain serve: discovery and keys
// under /POOLID/.well-known, and /oauth2/authorize, /login, /oauth2/token, /oauth2/userInfo,
// /oauth2/revoke and /logout. POST / is the pool's API, with sign-up, sign-in by password and by SRP, refresh, forgotten
// passwords and sign-out, and the Admin variant of sign-in. Where Cognito surprises, the pool surprises in the same way: claims of
// userInfo are strings, access tokens have no audience, ID and access tokens are signed by different
// keys whose ids contain "+", "/" and "=", a wrong redirect_uri is an unauthorized_client, and the
// WWW-Authenticate of userInfo has no scheme.
//
// The pool can misbehave on request, see [Faults]. It keeps everything in memory. It shows its
// users' passwords to whoever asks and must never be reachable by anyone but its developer.
package devpool
