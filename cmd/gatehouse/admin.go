package main

import (
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"gatehouse/internal/tuning"
	"gatehouse/proxy/cache"
)

// adminOptions is what the admin listener shows. It is for operators and their tools only.
type adminOptions struct {
	metrics http.Handler
	samples *tuning.Samples
	// caches are those of the current generation.
	caches func() []*cache.Cache
	// ready returns nil, or why this instance should get no requests.
	ready func() error
	// notes are lines for the readiness answer that do not make the instance unready.
	notes func() []string
	// token returns what is wanted as a bearer token; "" for nothing, which is for loopback only.
	token func() string
}

// newAdmin answers /healthz, /readyz, /metrics, /samples and /cache/purge, and nothing else.
func newAdmin(opts adminOptions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := opts.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
		for _, note := range opts.notes() {
			fmt.Fprintln(w, note)
		}
	})
	mux.Handle("GET /metrics", opts.metrics)
	samples := serveSamples(opts.samples)
	mux.Handle("GET /samples", samples)
	mux.Handle("GET /samples/{id}", samples)
	mux.Handle("POST /cache/purge", servePurge(opts.caches))
	return guardAdmin(mux, opts.token)
}

// guardAdmin refuses what a web page in the operator's browser could send (CSRF, DNS rebinding), and
// requests without the token where there is one.
func guardAdmin(next http.Handler, token func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		if err := checkAdmin(r, token()); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkAdmin decides whether the admin listener answers r.
func checkAdmin(r *http.Request, token string) error {
	if len(r.Header["Origin"]) > 0 {
		return fmt.Errorf("requests from web pages are not answered here")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		return fmt.Errorf("requests from web pages are not answered here")
	}
	if token != "" {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			return fmt.Errorf("this listener wants the admin token: Authorization: Bearer TOKEN")
		}
		return nil
	}
	if !isLoopbackHost(r.Host) {
		return fmt.Errorf("host: want localhost or a loopback address")
	}
	return nil
}

// isLoopbackHost keeps a name that an attacker's DNS points at 127.0.0.1 from being taken for ours.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
