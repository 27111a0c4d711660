// Package gate proves of most rules that they cannot match a request, so that they need not run.
package gate
