package certs

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// challengePath is where an ACME server asks for a token (RFC 8555 section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// HTTPChallenge answers ACME's HTTP-01 challenges for managed hosts and gives every other request to next.
// While ACME is configured, nothing else below /.well-known/acme-challenge/ is passed on: it is 404.
func (m *Manager) HTTPChallenge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := m.view(hostOnly(r.Host))
		token, ok := strings.CutPrefix(r.URL.Path, challengePath)
		if v.acme == nil || !ok {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet || !validToken(token) || !v.managed || !v.acme.issuer.HandleHTTPChallenge(w, r) {
			refuse(w, http.StatusNotFound, "no such challenge")
		}
	})
}

// validToken admits the base64url alphabet only (RFC 8555 section 8.1), so that no token is a path.
func validToken(token string) bool {
	const longest = 256 // tokens have 128 bits at least; those of Let's Encrypt have 43 characters
	if token == "" || len(token) > longest {
		return false
	}
	for _, c := range []byte(token) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// RedirectHandler is all of what the port for plain HTTP serves: ACME challenges, and for GET and HEAD on a
// host that is known a permanent redirect to the same resource over https. Other methods are refused with 403,
// not redirected: what they carry has been sent in the clear, and a client that is redirected never learns.
// Other hosts are answered 421.
func (m *Manager) RedirectHandler() http.Handler {
	return m.HTTPChallenge(http.HandlerFunc(m.redirect))
}

func (m *Manager) redirect(w http.ResponseWriter, r *http.Request) {
	host := hostOnly(r.Host)
	switch {
	case !m.knows(host):
		refuse(w, http.StatusMisdirectedRequest, "no such host here")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusForbidden, "use https")
		return
	}
	w.Header().Set("Location", "https://"+bracketed(host)+m.publicPort(r.Host)+resource(r))
	refuse(w, http.StatusMovedPermanently, "use https")
}

// publicPort is ":" and the port for a redirect of what came to hostport, or "" for 443. A client that named
// the very port that listens reaches the port of HTTPS as well. Any other came through a mapping of ports, of
// which nothing is known: 443 is at its other end.
func (m *Manager) publicPort(hostport string) string {
	if p := m.opts.PublicPort; p != 0 && p != 443 {
		return ":" + strconv.Itoa(p)
	}
	_, came, _ := net.SplitHostPort(hostport)
	_, plain, _ := net.SplitHostPort(m.opts.HTTP)
	_, secure, _ := net.SplitHostPort(m.opts.HTTPS)
	if came == "" || came == "80" || came != plain || secure == "" || secure == "443" {
		return ""
	}
	return ":" + secure
}

// knows reports whether there is, or may be, a certificate for host.
func (m *Manager) knows(host string) bool {
	v := m.view(host)
	return v.known || v.files.covers(host) || v.local != nil && (isLocalhost(host) || host == "127.0.0.1" || host == "::1")
}

// resource is the target of r without scheme and host; it begins with a slash.
func resource(r *http.Request) string {
	uri := r.URL.EscapedPath()
	if !strings.HasPrefix(uri, "/") {
		uri = "/" + uri
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		uri += "?" + r.URL.RawQuery
	}
	return uri
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// refuse answers with a short text. The port for plain HTTP has no other answers.
func refuse(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
