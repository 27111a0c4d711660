// Package authn signs people in through Amazon Cognito or an OpenID provider and decides who may pass.
//
// A [Provider] speaks to the identity provider, [Sessions] keeps logins in encrypted cookies, a
// [Gate] stands in front of a route, and [Endpoints] are the pages of signing in and out. The
// package starts no goroutine, logs nothing and holds no global state; what happened is told by
// returned errors and by optional hooks. Tokens, codes, cookie values and secrets never appear in
// an error.
package authn
