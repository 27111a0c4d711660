// Package certs obtains, loads and renews the certificates that the TLS listeners serve.
//
// A Manager has up to three sources: certificate files, a local authority for development, and ACME through
// certmagic. It binds no port: the ACME challenges are answered by the listeners that serve TLSConfig and
// HTTPChallenge.
package certs
