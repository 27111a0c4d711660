package clientcert

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Set is the policies of all hosts. It is immutable and safe for concurrent use; the nil Set asks nobody.
type Set struct{ byHost map[string]*Policy }

// NewSet returns the policies by their hosts.
func NewSet(policies ...*Policy) *Set {
	s := &Set{map[string]*Policy{}}
	for _, p := range policies {
		for _, host := range p.hosts {
			s.byHost[host] = p
		}
	}
	return s
}

// find returns the policy for a host: that of its name, else that of the longest pattern. A pattern takes every name below it, as
// those of routes do, so that no route's host is without.
func (s *Set) find(host string) *Policy {
	if s == nil {
		return nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if p := s.byHost[host]; p != nil {
		return p
	}
	for rest, more := host, true; more; {
		if _, rest, more = strings.Cut(rest, "."); more {
			if p := s.byHost["*."+rest]; p != nil {
				return p
			}
		}
	}
	return s.byHost["*"]
}

// Configure returns what the handshake with a client that asks for a host is done with, nil for base.
func (s *Set) Configure(host string, base *tls.Config) *tls.Config {
	if p := s.find(host); p != nil {
		return p.configure(base)
	}
	return nil
}

// Check decides whether a connection may carry requests for a host, which need not be the one that it was opened for, nor s what
// it was opened with; "" is the one that it was opened for. It returns nil for hosts whose clients are not asked, and for those who need not answer. The error is a
// *Refusal or a *Misdirected.
func (s *Set) Check(conn *tls.ConnectionState, host string, now time.Time) (*Certificate, error) {
	if host == "" && conn != nil {
		host = conn.ServerName
	}
	p := s.find(host)
	switch {
	case p == nil:
		return nil, nil
	case conn == nil && p.verifies():
		return nil, &Misdirected{}
	case conn == nil:
		return nil, nil
	}
	return p.check(conn.PeerCertificates, now)
}

// Require lets in who has a verified certificate with one of names. of tells what is known of the request's, nil for nothing.
func Require(names []string, of func(*http.Request) []string, deny func(http.ResponseWriter, *http.Request, error)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := checkNames(names, of(r)); err != nil {
				deny(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func checkNames(wanted, has []string) error {
	if slices.ContainsFunc(has, func(name string) bool { return slices.Contains(wanted, name) }) {
		return nil
	}
	return &NameError{}
}
