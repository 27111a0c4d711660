package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ports are those of a plain and a TLS listener that are up.
type ports struct{ http, https net.Listener }

func (p ports) number(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

func TestACME(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"HTTP-01", "TLS-ALPN-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			// certmagic knows active challenges by name for the whole process: no two tests share one.
			domain := strings.ToLower(challenge) + ".example.test"
			app, www := "app."+domain, "www."+domain
			p := ports{listen(t), listen(t)}
			peb := newPebble(t, p.number(p.http), p.number(p.https))
			dir := t.TempDir()
			rec := newRecorder()
			opts := rec.options()
			if challenge == "HTTP-01" {
				opts.HTTP = p.http.Addr().String()
			} else {
				opts.HTTPS = p.https.Addr().String()
			}
			cfg := Config{ACME: &ACME{Email: "ops@example.test", CA: peb.url, CARoots: peb.roots, Hosts: []string{www}}}
			var m *Manager
			opts.OnObtained = func(host string, _ bool) {
				if got := chosen(t, m, host, time.Now()); got != host {
					t.Errorf("%s: told that it was obtained while %s is served", host, got)
				}
				rec.obtained <- host
			}
			m = newManager(t, cfg, dir, opts)
			serveTLS(t, p.https, m.TLSConfig)
			srv := &http.Server{Handler: m.RedirectHandler(), ReadHeaderTimeout: time.Second}
			go func() { _ = srv.Serve(p.http) }()
			t.Cleanup(func() { _ = srv.Close() })

			if err := m.Manage(t.Context(), []string{app}); err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{wait(t, rec.obtained): true, wait(t, rec.obtained): true}
			if diff := cmp.Diff(got, map[string]bool{app: true, www: true}); diff != "" {
				t.Errorf("obtained (-got +want):\n%s", diff)
			}
			for _, name := range []string{app, www} {
				dial(t, p.https, name, peb.issued)
			}
			if got := chosen(t, m, "evil.test", time.Now()); got != "none" {
				t.Errorf("evil.test: got %s, want none", got)
			}
			if got := chosen(t, m, "", time.Now()); got != app {
				t.Errorf("no name: got %s, want %s", got, app)
			}

			orders := peb.orders.Load()
			m2 := newManager(t, cfg, dir, opts)
			if err := m2.Manage(t.Context(), []string{app}); err != nil {
				t.Fatal(err)
			}
			if got := chosen(t, m2, app, time.Now()); got != app { // no handshake fails after a restart
				t.Errorf("served when Manage has returned after a restart: got %s, want %s", got, app)
			}
			if got := peb.orders.Load(); got != orders {
				t.Errorf("%d orders after a restart, want %d as before", got, orders)
			}

			if err := m.Manage(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if got := chosen(t, m, app, time.Now()); got != "none" {
				t.Errorf("a host that is not managed any more: got %s, want none", got)
			}
			if errs := rec.reported(); len(errs) > 0 {
				t.Errorf("reported %v, want nothing", errs)
			}
		})
	}
}

// A certificate that became due while the process was down is renewed at once, not at the next maintenance.
func TestACMERenewsAtTheStart(t *testing.T) {
	t.Parallel()
	p := ports{listen(t), listen(t)}
	peb := newPebble(t, p.number(p.http), p.number(p.https))
	dir, renewals := t.TempDir(), make(chan bool, 16)
	cfg := Config{ACME: &ACME{CA: peb.url, CARoots: peb.roots}}
	opts := Options{HTTP: p.http.Addr().String(), OnObtained: func(_ string, renewed bool) { renewals <- renewed }}
	var m *Manager
	var mu sync.Mutex
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := m.RedirectHandler()
		mu.Unlock()
		h.ServeHTTP(w, r)
	})}
	go func() { _ = srv.Serve(p.http) }()
	t.Cleanup(func() { _ = srv.Close() })
	for _, want := range []bool{false, true} {
		mu.Lock()
		m = newManager(t, cfg, dir, opts)
		mu.Unlock()
		if want {
			m.acme.magic.DisableARI, m.acme.magic.RenewalWindowRatio = true, 1 // every certificate is due
		}
		if err := m.Manage(t.Context(), []string{"renews.example.test"}); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-renewals:
			if got != want {
				t.Errorf("obtained as a renewal: %v, want %v", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing obtained within 30 s")
		}
		if got := chosen(t, m, "renews.example.test", time.Now()); got != "renews.example.test" {
			t.Errorf("got %s, want what was obtained, or what it replaces", got)
		}
		m.Close()
	}
}

func wait(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("nothing obtained within 30 s")
		return ""
	}
}

// dial shows that the certificate which is served is one of an authority's.
func dial(t *testing.T, ln net.Listener, name string, roots *x509.CertPool) {
	t.Helper()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	_ = c.Close()
}

func TestACMEReportsFailures(t *testing.T) {
	t.Parallel()
	front := listen(t)
	closed := listen(t)
	_ = closed.Close()
	p := ports{http: front, https: closed}
	peb := newPebble(t, p.number(closed), p.number(closed)) // nobody answers where pebble asks
	reported := make(chan error, 16)
	m := newManager(t, Config{ACME: &ACME{CA: peb.url, CARoots: peb.roots}}, t.TempDir(), Options{
		HTTP: front.Addr().String(),
		OnError: func(err error) {
			select {
			case reported <- err:
			default:
			}
		},
	})
	if err := m.Manage(t.Context(), []string{"fails.example.test"}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-reported:
		if !strings.Contains(err.Error(), "fails.example.test") || !strings.Contains(err.Error(), "urn:ietf:params:acme:error:connection") {
			t.Errorf("reported %v, want the host and the CA's reason", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("no failure reported within 30 s")
	}
}

// Going from a staging authority to another is a reload. Nobody may be without a certificate meanwhile, and
// not when the new authority does not answer either.
func TestAnotherAuthorityTakesOverWhenItHasGivenACertificate(t *testing.T) {
	t.Parallel()
	const host = "moved.example.test"
	p := ports{listen(t), listen(t)}
	first, second := newPebble(t, p.number(p.http), p.number(p.https)), newPebble(t, p.number(p.http), p.number(p.https))
	rec := newRecorder()
	opts := rec.options()
	opts.HTTPS = p.https.Addr().String()
	opts.OnObtained = func(host string, _ bool) { rec.obtained <- host }
	m := newManager(t, Config{ACME: &ACME{CA: first.url, CARoots: first.roots}}, t.TempDir(), opts)
	serveTLS(t, p.https, m.TLSConfig)
	if err := m.Manage(t.Context(), []string{host}); err != nil {
		t.Fatal(err)
	}
	wait(t, rec.obtained)
	dial(t, p.https, host, first.issued)

	silent := listen(t) // accepts, never answers
	for _, acme := range []*ACME{{CA: "https://" + silent.Addr().String() + "/dir"}, {CA: second.url, CARoots: second.roots}} {
		if err := m.Reconfigure(Config{ACME: acme}); err != nil {
			t.Fatal(err)
		}
		if got := chosen(t, m, host, time.Now()); got != host {
			t.Fatalf("served after the reload to %s: got %s, want %s", acme.CA, got, host)
		}
		if err := m.Manage(t.Context(), []string{host}); err != nil {
			t.Fatal(err)
		}
		if got := chosen(t, m, host, time.Now()); got != host {
			t.Fatalf("served while %s is asked: got %s, want %s", acme.CA, got, host)
		}
	}
	wait(t, rec.obtained)
	m.work.Wait() // the first authority's is taken out of service behind that
	dial(t, p.https, host, second.issued)
}
