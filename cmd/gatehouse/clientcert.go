package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/clientcert"
)

// takeClients builds what asks clients for certificates. A trust store that has changed is another policy, whose certificates are
// held against it with the next request of each connection; revocation lists are read again by themselves.
func (a *assembler) takeClients() error {
	if len(a.cfg.ClientCertificates) == 0 {
		return nil
	}
	var policies []*clientcert.Policy
	var errs []error
	for i, cfg := range a.cfg.ClientCertificates {
		policy, err := a.parts.clients.take(
			digest(cfg, cfg.CA...), a.prev.clients,
			func() (*clientcert.Policy, error) { return clientcert.NewPolicy(cfg, a.observer.certificateFailed) }, nil,
		)
		if err != nil {
			errs = append(errs, at(fmt.Sprintf("client_certificates[%d]", i), err))
			continue
		}
		policies = append(policies, policy)
	}
	a.clients = clientcert.NewSet(policies...)
	return errors.Join(errs...)
}

// connection decides whether a connection may carry requests for a host.
func (a *assembler) connection(conn *tls.ConnectionState, host string) (*proxy.CertificateRecord, error) {
	cert, err := a.clients.Check(conn, host, time.Now())
	if err != nil || cert == nil || !cert.Verified {
		return nil, err
	}
	return &proxy.CertificateRecord{Subject: cert.Subject, Issuer: cert.Issuer, Serial: cert.Serial, Names: cert.Names}, nil
}

// named returns the guard for the names that a route lets in, or none.
func (a *assembler) named(rt *configs.Route) []func(http.Handler) http.Handler {
	if len(rt.ClientCertificate) == 0 {
		return nil
	}
	names := func(r *http.Request) []string {
		if cert := proxy.EventFrom(r.Context()).Certificate; cert != nil {
			return cert.Names
		}
		return nil
	}
	return []func(http.Handler) http.Handler{clientcert.Require(slices.Clone(rt.ClientCertificate), names, proxy.Deny)}
}

// certified tells the upstream of the client's certificate, beside what tell says. A certificate that has been revoked since the
// request came in keeps it from being sent.
func (a *assembler) certified(tell func(in *http.Request, out http.Header) error) func(in *http.Request, out http.Header) error {
	if a.clients == nil {
		return tell
	}
	return func(in *http.Request, out http.Header) error {
		if forCache(in) { // who asked was let in before, and the upstream is told of nobody
			return tell(in, out)
		}
		cert, err := a.clients.Check(in.TLS, proxy.EventFrom(in.Context()).Host, time.Now())
		if err != nil {
			return err
		}
		if cert != nil {
			cert.Set(out)
		}
		return tell(in, out)
	}
}
