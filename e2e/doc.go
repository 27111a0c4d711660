// Package e2e tests the whole program from outside: real processes, real sockets, a real browser.
package e2e
