package authn

import (
	"net/http"
	"net/url"
	"strings"
)

// navigation says whether a person is waiting for a page. Only then is a redirect to the provider
// of any use, and only then is a login begun. Browsers say so themselves (Fetch Metadata); for
// others it is a GET that wants HTML.
func navigation(r *http.Request) bool {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !get && r.Method != http.MethodPost || webSocket(r) {
		return false
	}
	if ahead(r) || r.Header.Get("X-Requested-With") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return get && r.Header.Get("Sec-Fetch-Site") == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// ahead says whether a browser loads the address before anybody has asked for it, by prefetching or
// prerendering, which look like navigations but for this.
func ahead(r *http.Request) bool { return strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") }

func webSocket(r *http.Request) bool {
	for _, v := range r.Header["Upgrade"] {
		if len(v) >= len("websocket") && strings.Contains(strings.ToLower(v), "websocket") {
			return true
		}
	}
	return false
}

// crossOrigin says whether a page of another site opened this WebSocket. Browsers send cookies with
// it and apply no CORS, so nobody else would notice. A client that sends no Origin is no browser.
func crossOrigin(r *http.Request, host string) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return false
	}
	if len(origins) > 1 {
		return true
	}
	u, err := url.Parse(origins[0])
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return true
	}
	return canonicalHost(u.Host) != host || (r.TLS != nil && u.Scheme != "https")
}

// pageOf returns the page to come back to after a login that a script has to ask for: the page that
// the script runs in when it is known, else the address itself.
func pageOf(r *http.Request, host string) string {
	if u, err := url.Parse(r.Header.Get("Referer")); err == nil && u.Host != "" && canonicalHost(u.Host) == host {
		back := u.EscapedPath()
		if u.RawQuery != "" {
			back += "?" + u.RawQuery
		}
		return SafeReturn(back)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return SafeReturn(ownReturn(r))
	}
	return "/"
}
