// Package challenge asks browsers for a proof of work, and knows those that have given one by a token that no server has to
// remember.
package challenge
