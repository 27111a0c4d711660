// Package ledger keeps revocations of sessions in a file, so that who has signed out stays signed out
// after a restart.
package ledger
