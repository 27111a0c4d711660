// Package cognitoapi is a proxy of a user pool's API that adds what only the owner of an app client's secret can.
//
// Browsers and mobile applications call the pool through a [Proxy] as if their app client had no secret. The Proxy reads each
// request once and strictly, lets only the operations through that it is told to, and writes a request of its own to the pool
// with the SECRET_HASH in the place where the operation has it. Whoever calls the pool directly lacks the secret and gets
// nowhere. Nothing that came from the client is passed on unread, and of what the pool answers only the JSON and its request id
// are handed back.
package cognitoapi
