package devpool

import (
	"net/http"
	"net/url"
)

// serveLogout ends the pool's own session and nothing else: tokens live on. With logout_uri it goes
// there; with redirect_uri and response_type it shows the login page again. logout_uri wins.
func (p *Pool) serveLogout(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	c := p.clients[query.Get("client_id")]
	if err != nil || c == nil {
		p.showProblem(w, http.StatusBadRequest, "The sign-out request names no client of this pool.")
		return
	}
	if target := query.Get("logout_uri"); query.Has("logout_uri") {
		if !p.allowed(c.LogoutURLs, target) || len(query["logout_uri"]) != 1 {
			p.showProblem(w, http.StatusBadRequest, "The sign-out URL "+target+" is not one of the client's.")
			return
		}
		p.endSession(w, r)
		redirect(w, target)
		return
	}
	req, err := p.parseAuthorize(query)
	if err != nil {
		p.failAuthorize(w, r, req, err)
		return
	}
	p.endSession(w, r)
	redirect(w, "/login?"+r.URL.RawQuery)
}
