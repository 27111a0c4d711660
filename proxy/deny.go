package proxy

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Page is how refusals look in a browser. The zero Page is complete.
type Page struct {
	Name    string // the service, in the title; "Gatehouse" if empty
	Contact string // a sentence of plain text below the page, such as whom to write to; a general one if empty
}

// Deny answers a request with the status and sentence of err: a page for a navigation, a status of gRPC with HTTP's 200 for a
// call of gRPC over HTTP/2, otherwise JSON with the members error, status and request_id. It records Event.Denied, never shows err's own text, and sets Cache-Control: no-store.
//
// The status is err's HTTPStatus() int if that is between 400 and 599, else 500. An error in the chain may have more to say:
// Public() string is the sentence for the client, Header(http.Header) adds headers such as Retry-After or WWW-Authenticate,
// Fields() map[string]string adds members to the JSON, CloseConnection() bool ends an HTTP/1 connection, Action() (label, href
// string) is a link on the page, shown when href is a path on this host, GRPCCode() int is the code for gRPC. Headers that the handler set before stay, except those
// that describe a body.
//
// If the head is already out, Deny records err and panics with http.ErrAbortHandler, so that a cut answer does not look whole.
func Deny(w http.ResponseWriter, r *http.Request, err error) {
	status := StatusOf(err)
	event := EventFrom(r.Context())
	x := event.exchange
	event.deny(err)
	page := Page{}
	if x != nil {
		if x.rec.conn != nil {
			return // hijacked: there is no answer to write
		}
		if x.rec.wrote {
			panic(http.ErrAbortHandler)
		}
		page = x.gen.opts.Page
		x.local = true
		if closes(err) {
			x.closing = true
		}
	}
	say := sentence(err, status)
	h := w.Header()
	denyHeaders(h, err)
	if speaksGRPC(r) {
		code := grpcCode(err, status)
		event.GRPC = strconv.Itoa(code)
		denyGRPC(w, code, say, event.ID)
		return
	}
	var answer []byte
	if Navigates(r) {
		h["Content-Type"] = []string{"text/html; charset=utf-8"}
		h["Content-Security-Policy"] = []string{pageCSP}
		answer = renderPage(page, status, say, action(err), event.ID, time.Now())
	} else {
		h["Content-Type"] = []string{"application/json"}
		h["Content-Security-Policy"] = []string{"default-src 'none'; frame-ancestors 'none'"}
		answer = renderJSON(err, status, say, event.ID)
	}
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(answer) // the client may have left; there is nobody to tell
	}
}

// denyHeaders deletes what an earlier writer said about its body and sets what every refusal has.
func denyHeaders(h http.Header, err error) {
	for _, name := range [...]string{
		"Content-Length", "Content-Encoding", "Content-Range", "Content-Disposition", "Etag", "Last-Modified", "Expires",
		"Accept-Ranges", "Transfer-Encoding", "Trailer", "Age", "Content-Language",
	} {
		delete(h, name)
	}
	if f, ok := errors.AsType[interface {
		error
		Header(h http.Header)
	}](err); ok {
		f.Header(h)
	}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
}

// StatusOf returns the status that answers err, where the answer is not gRPC's.
func StatusOf(err error) int {
	if s, ok := errors.AsType[interface {
		error
		HTTPStatus() int
	}](err); ok {
		if n := s.HTTPStatus(); n >= 400 && n <= 599 {
			return n
		}
	}
	return http.StatusInternalServerError
}

// closes reports whether err ends the connection.
func closes(err error) bool {
	c, ok := errors.AsType[interface {
		error
		CloseConnection() bool
	}](err)
	return ok && c.CloseConnection()
}

// sentence returns what the client is told.
func sentence(err error, status int) string {
	if p, ok := errors.AsType[interface {
		error
		Public() string
	}](err); ok {
		if s := p.Public(); s != "" {
			return s
		}
	}
	switch status {
	case http.StatusUnauthorized:
		return "Please sign in to see this."
	case http.StatusForbidden:
		return "This request was not allowed."
	case http.StatusNotFound:
		return "There is nothing at this address."
	case http.StatusRequestEntityTooLarge:
		return "What was sent is larger than is accepted here."
	case http.StatusTooManyRequests:
		return "Too many requests. Please wait a moment and try again."
	case http.StatusBadGateway:
		return "The application behind this page did not answer properly. Please try again in a moment."
	case http.StatusServiceUnavailable:
		return "This service is not available right now. Please try again in a moment."
	case http.StatusGatewayTimeout:
		return "The application behind this page took too long to answer. Please try again in a moment."
	}
	if status < 500 {
		return "This request could not be accepted."
	}
	return "Something went wrong on our side."
}

// A link is what a person may do about a refusal. The zero link is none.
type link struct{ label, href string }

// action returns the link that err offers, if it leads to a path on this host.
func action(err error) link {
	a, ok := errors.AsType[interface {
		error
		Action() (label, href string)
	}](err)
	if !ok {
		return link{}
	}
	label, href := a.Action()
	if label == "" || !isLocalPath(href) {
		return link{}
	}
	return link{label, href}
}

// isLocalPath reports whether every browser reads href as a path on the page's own host. Browsers take a backslash for a
// slash and drop tabs and line breaks (https://url.spec.whatwg.org/#url-parsing), so either could make it another host.
func isLocalPath(href string) bool {
	if !strings.HasPrefix(href, "/") || strings.HasPrefix(href, "//") {
		return false
	}
	for _, c := range []byte(href) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// Navigates reports whether a person will see the answer: a browser's navigation by Sec-Fetch-Mode, or, from clients that do
// not send it, a request that accepts HTML. Scripts and WebSockets never navigate.
func Navigates(r *http.Request) bool {
	if r.Header.Get("Upgrade") != "" || strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest") {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return containsToken(r.Header["Accept"], "text/html")
}

// renderJSON returns the answer for programs.
func renderJSON(err error, status int, say, id string) []byte {
	members := map[string]any{}
	if f, ok := errors.AsType[interface {
		error
		Fields() map[string]string
	}](err); ok {
		for k, v := range f.Fields() {
			members[k] = v
		}
	}
	members["error"] = say
	members["status"] = status
	members["request_id"] = id
	b, merr := json.Marshal(members)
	if merr != nil { // strings and numbers always marshal
		return []byte("{}\n")
	}
	return append(b, '\n')
}

// pageStyle is the page's only style. pageCSP holds its hash; a test keeps them equal.
const pageStyle = `:root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--ink:#1b2430;--soft:#5b6675;--line:#dfe3e8;--accent:#1f5eff;--on:#fff}
@media(prefers-color-scheme:dark){:root{--bg:#0f141b;--card:#181f29;--ink:#e8edf3;--soft:#9aa7b6;--line:#2a3441;--accent:#7aa2ff;--on:#0f141b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--bg);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:31rem;padding:2.25rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;box-shadow:0 1px 2px rgba(0,0,0,.04),0 12px 32px rgba(0,0,0,.06)}
svg{display:block;width:2.5rem;height:2.5rem;color:var(--accent);margin-bottom:1.25rem}
h1{margin:0 0 .5rem;font-size:1.4rem;line-height:1.25}
h1 span{margin-right:.6rem;color:var(--soft);font-weight:400}
p{margin:0 0 1rem;color:var(--soft);overflow-wrap:anywhere}
a{display:inline-block;margin:.25rem 0 .5rem;padding:.65rem 1.25rem;border-radius:.6rem;background:var(--accent);color:var(--on);font-weight:600;text-decoration:none}
a:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:1.5rem 0 0;padding-top:1.25rem;border-top:1px solid var(--line);font-size:.8rem;color:var(--soft)}
dd{margin:0;font-family:ui-monospace,monospace;overflow-wrap:anywhere}
footer{margin-top:1rem;font-size:.8rem;color:var(--soft)}`

// pageMark is the gatehouse of Gatehouse.
const pageMark = `<svg viewBox="0 0 40 40" fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" ` +
	`stroke-linejoin="round" aria-hidden="true"><path d="M5 36V18L20 5l15 13v18"/><path d="M14 36V24a6 6 0 0 1 12 0v12"/><path d="M3 36h34"/></svg>`

// pageCSP lets the page do nothing but show its style.
const pageCSP = "default-src 'none'; style-src 'sha256-Uj0t1vLm9hNtPzNE8zTVw3XnjxeqbBWzquxCVKl6E+0='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contact returns what a person can do who thinks that a refusal is wrong.
func contact(page Page) string {
	if page.Contact != "" {
		return page.Contact
	}
	return "If this seems wrong, tell whoever runs this site, with what is written here."
}

// renderPage returns the answer for people: no scripts, nothing loaded, readable by screen readers, light or dark.
func renderPage(page Page, status int, say string, do link, id string, now time.Time) []byte {
	name := page.Name
	if name == "" {
		name = "Gatehouse"
	}
	title := http.StatusText(status)
	if title == "" {
		title = "Error"
	}
	code := strconv.Itoa(status)
	stamp := now.UTC().Format(time.RFC3339)
	var b strings.Builder
	b.Grow(3 << 10)
	for _, s := range [...]string{
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"robots\" content=\"noindex\">\n",
		"<title>", code, " ", html.EscapeString(title), " · ", html.EscapeString(name), "</title>\n<style>", pageStyle, "</style>\n</head>\n",
		"<body>\n<main>\n", pageMark, "\n<h1><span>", code, "</span>", html.EscapeString(title), "</h1>\n<p>", html.EscapeString(say), "</p>\n",
	} {
		b.WriteString(s)
	}
	if do.href != "" {
		b.WriteString("<a href=\"" + html.EscapeString(do.href) + "\">" + html.EscapeString(do.label) + "</a>\n")
	}
	b.WriteString("<dl>\n")
	if id != "" {
		b.WriteString("<dt>Request</dt><dd>" + html.EscapeString(id) + "</dd>\n")
	}
	b.WriteString("<dt>Time</dt><dd><time datetime=\"" + stamp + "\">" + stamp + "</time></dd>\n</dl>\n")
	b.WriteString("<footer>" + html.EscapeString(contact(page)) + "</footer>\n")
	b.WriteString("</main>\n</body>\n</html>\n")
	return []byte(b.String())
}
