package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"gatehouse/proxy"
)

// What is detached from a request knows the client's address and nothing of who it is, and goes on without it.
func TestADetachedRequestIsNobodys(t *testing.T) {
	t.Parallel()
	type guardKey struct{}
	var outer, inner *http.Request
	g, err := proxy.NewGeneration("g", []proxy.Route{{Name: "r", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event := proxy.EventFrom(r.Context())
		event.Subject, event.Session, event.Certificate = "alice", "s", &proxy.CertificateRecord{}
		event.Note("login", "pass")
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
		outer = r.WithContext(context.WithValue(r.Context(), guardKey{}, "alice"))
		inner = proxy.Detached(outer)
		other := proxy.EventFrom(inner.Context())
		if other == event || other.Subject != "" || other.Session != "" || other.Certificate != nil || len(other.Verdicts()) != 0 {
			t.Errorf("the other event is %+v", other)
		}
		if inner.Context().Value(guardKey{}) != nil || len(inner.TLS.PeerCertificates) != 0 || len(r.TLS.PeerCertificates) != 1 {
			t.Error("it knows what guards knew, or they do not any more")
		}
		if proxy.ClientIP(inner) != proxy.ClientIP(r) || !proxy.ClientIP(inner).IsValid() || proxy.RequestID(inner) != proxy.RequestID(r) || len(proxy.OwnCookies(inner)) != 0 {
			t.Error("it does not know where it comes from")
		}
		other.Upstream.Name = "u"
		other.Note("upstream", "no_response")
		proxy.Fetched(r, inner)
		if event.Upstream.Name != "u" || len(event.Verdicts()) != 2 {
			t.Errorf("what came of it is not in %+v", event)
		}
		w.WriteHeader(http.StatusNoContent)
	})}}, proxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var gateway proxy.Gateway
	gateway.Swap(g)
	ctx, leave := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://app.example.com/", nil)
	gateway.ServeHTTP(httptest.NewRecorder(), r)
	leave()
	if outer == nil || outer.Context().Err() == nil || inner.Context().Err() != nil {
		t.Error("it ends with its client")
	}
	if plain := proxy.Detached(r); plain.Context().Err() != nil {
		t.Error("outside of a Gateway it ends with its client")
	}
}
