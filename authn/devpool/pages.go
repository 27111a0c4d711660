package devpool

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/internal/markup"
)

//go:embed pages/pool.css
var styleFile embed.FS

// pages are the pool's pages. Each carries its style sheet in itself, allowed by its hash; nothing
// is loaded from anywhere and nothing needs a script.
type pages struct {
	style  markup.HTML
	policy string // Content-Security-Policy up to the value of form-action
}

func newPages() (*pages, error) {
	css, err := styleFile.ReadFile("pages/pool.css")
	if err != nil {
		return nil, fmt.Errorf("devpool: read the style sheet: %w", err)
	}
	sum := sha256.Sum256(css)
	return &pages{
		style: markup.Style(styleFile, "pages/pool.css"),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action",
	}, nil
}

// initial returns the first letter of a name.
func initial(name string) string {
	_, n := utf8.DecodeRuneInString(name)
	return name[:n]
}

// loginPage is what the login page shows.
type loginPage struct {
	Client, PoolID string
	Action         string // where the forms are posted
	CSRF           string
	Hint           string // login_hint
	Problem        string
	Current        string // who is signed in at the pool already
	Users          []User
}

// errorPage is what an error page shows.
type errorPage struct {
	Title, Text string
	Got         string
	Allowed     []string
}

// homePage is what the home page shows.
type homePage struct {
	PoolID, Issuer string
	Control        bool
	Clients        []Client
	Users          []User
	Endpoints      [][2]string
}

// write answers a page. Chromium applies form-action to the redirects that follow a form too, so
// the place where the login page ends, target, must be named in the policy.
func (ps *pages) write(w http.ResponseWriter, status int, p shown, target string) {
	body := ps.html(p).String()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", ps.policy+formTargets(target))
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// formTargets returns the value of form-action for a form whose last redirect goes to target.
func formTargets(target string) string {
	u, err := url.Parse(target)
	switch {
	case target == "":
		return " 'none'"
	case err != nil || strings.ContainsAny(u.Host, "; ,"):
		return " 'self'"
	case u.Scheme == "http" || u.Scheme == "https":
		return " 'self' " + u.Scheme + "://" + u.Host
	}
	return " 'self' " + u.Scheme + ":"
}

// showProblem answers an error page with one sentence.
func (p *Pool) showProblem(w http.ResponseWriter, status int, text string) {
	p.pages.write(w, status, errorPage{Title: "Something went wrong", Text: text}, "")
}

// serveError is where a wrong client or redirect URI ends.
func (p *Pool) serveError(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page := errorPage{Title: "An error was encountered with the requested page", Text: "The request could not be understood."}
	if q.Get("error") == "redirect_mismatch" {
		page.Title, page.Got = "redirect_mismatch", q.Get("redirect_uri")
		if c := p.clients[q.Get("client_id")]; c == nil {
			page.Text = "There is no client " + q.Get("client_id") + " in this pool."
		} else {
			page.Text = "The callback URL is not one of the client's. It is compared letter by letter: scheme, host, port, path and slashes count."
			page.Allowed = p.shownURLs(c.CallbackURLs)
		}
	}
	p.pages.write(w, http.StatusBadRequest, page, "")
}

func (p *Pool) serveNotFound(w http.ResponseWriter, _ *http.Request) {
	p.showProblem(w, http.StatusNotFound, "There is no such page here.")
}

// serveHome tells a developer what this pool is.
func (p *Pool) serveHome(w http.ResponseWriter, _ *http.Request) {
	page := homePage{
		PoolID: p.opts.PoolID, Issuer: p.issuer, Control: p.opts.Control, Users: p.listUsers(),
		Endpoints: [][2]string{
			{"Discovery", p.issuer + "/.well-known/openid-configuration"},
			{"Keys", p.issuer + "/.well-known/jwks.json"},
			{"Authorize", p.opts.BaseURL + "/oauth2/authorize"},
			{"Token", p.opts.BaseURL + "/oauth2/token"},
			{"User info", p.opts.BaseURL + "/oauth2/userInfo"},
			{"Revoke", p.opts.BaseURL + "/oauth2/revoke"},
			{"Sign out", p.opts.BaseURL + "/logout"},
		},
	}
	for _, c := range p.opts.Clients {
		shown := *p.clients[c.ID]
		shown.CallbackURLs, shown.LogoutURLs = p.shownURLs(shown.CallbackURLs), p.shownURLs(shown.LogoutURLs)
		page.Clients = append(page.Clients, shown)
	}
	p.pages.write(w, http.StatusOK, page, "")
}

// shownURLs is a client's list as a page shows it.
func (p *Pool) shownURLs(list []string) []string {
	if p.opts.InsecureAnyLocalhost {
		return append(slices.Clip(list), "https://localhost:PORT/…")
	}
	return list
}
