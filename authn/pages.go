package authn

import (
	"io"
	"net/http"
	"strconv"

	"gatehouse/internal/markup"
)

// pageStyle is the whole style of our pages. PageStyleHash changes with it; a test holds them
// together.
const pageStyle = `:root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--ink:#1b2430;--soft:#5b6675;--line:#dfe3e8;--accent:#1f5eff;--on:#fff}` +
	`@media(prefers-color-scheme:dark){:root{--bg:#0f141b;--card:#181f29;--ink:#e8edf3;--soft:#9aa7b6;--line:#2a3441;--accent:#7aa2ff;--on:#0f141b}}` +
	`*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--bg);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}` +
	`main{width:100%;max-width:27rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:2.25rem;box-shadow:0 1px 2px rgba(0,0,0,.04),0 12px 32px rgba(0,0,0,.06)}` +
	`svg{display:block;width:2.5rem;height:2.5rem;color:var(--accent);margin-bottom:1.25rem}h1{font-size:1.4rem;line-height:1.25;margin:0 0 .5rem}p{margin:0 0 1rem;color:var(--soft)}` +
	`blockquote{margin:0 0 1rem;padding:.6rem 1rem;border-left:3px solid var(--line);color:var(--soft);overflow-wrap:anywhere}` +
	`a.button{display:inline-block;margin-top:.5rem;padding:.65rem 1.25rem;border-radius:.6rem;background:var(--accent);color:var(--on);font-weight:600;text-decoration:none}` +
	`a.button:focus-visible{outline:3px solid var(--accent);outline-offset:3px}a.quiet{margin-left:1rem;color:var(--soft)}p.quiets{display:flex;flex-wrap:wrap;gap:.5rem 1.25rem;margin:1rem 0 0}p.quiets a{margin:0}` +
	`ul{list-style:none;margin:0;padding:0}li a.button{display:block;text-align:center;margin-bottom:.25rem;overflow-wrap:anywhere}nav+a.quiet{display:block;margin:1rem 0 0;text-align:center}` +
	`footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--line);font-size:.8rem;color:var(--soft);overflow-wrap:anywhere}`

// PageStyleHash is the CSP source of the inline style of the pages that this package answers with.
const PageStyleHash = "'sha256-kFNNWSFzh5JawNdMXq77wuzVcuSGjJRqA6HEq9YvRKs='"

// scriptCSP is PageCSP for the pages that have the session's script.
const scriptCSP = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src " + PageStyleHash +
	"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// PageCSP is the Content-Security-Policy that they are sent with: no script, nothing from elsewhere.
const PageCSP = "default-src 'none'; style-src " + PageStyleHash + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page is what a person reads. All of it is escaped.
type page struct {
	Title                 string
	Text                  []string
	Quote                 string
	Label, Href           string
	OtherLabel, OtherHref string
	QuietLabel, QuietHref string
	Choices               []choice
	Refresh               string
	Reason, RequestID     string
	Script                string // its address
	Done                  bool   // the script closes the window
}

// choice is one of several links that are worth the same.
type choice struct{ Label, Href string }

// html is the page as it is sent.
func (p page) html() markup.HTML {
	link := func(class, href, label string) markup.HTML {
		return markup.If(href != "", markup.Element("a", markup.Attr("class", class), markup.Attr("href", href), markup.Text(label)))
	}
	paragraph := func(text string) markup.HTML { return markup.Element("p", markup.Text(text)) }
	return markup.Join(
		markup.Raw(pageHead),
		markup.If(p.Refresh != "", markup.Refresh(p.Refresh)),
		markup.Element("title", markup.Text(p.Title)),
		markup.Raw("<style>"+pageStyle+"</style>"),
		markup.If(p.Script != "", markup.Script(p.Script, markup.Attr("defer", ""), markup.If(p.Done, markup.Attr("data-done", "")))),
		markup.Raw(pageBody),
		markup.Element("h1", markup.Text(p.Title)),
		markup.Each(p.Text, paragraph),
		markup.If(p.Quote != "", markup.Join(
			markup.Raw("\n<p>The sign-in service said:</p>\n"),
			markup.Element("blockquote", markup.Text(p.Quote)),
		)),
		markup.If(len(p.Choices) > 0, markup.Element(
			"nav", markup.Attr("aria-label", "Ways to sign in"),
			markup.Element("ul", markup.Each(p.Choices, func(c choice) markup.HTML {
				return markup.Element("li", link("button", c.Href, c.Label))
			})),
		)),
		link("button", p.Href, p.Label),
		p.quiets(link("quiet", p.OtherHref, p.OtherLabel), link("quiet", p.QuietHref, p.QuietLabel)),
		markup.If(p.Reason != "" || p.RequestID != "", markup.Element(
			"footer",
			markup.If(p.Reason != "", markup.Text("Reason: "+p.Reason)),
			markup.If(p.Reason != "" && p.RequestID != "", markup.Raw("<br>")),
			markup.If(p.RequestID != "", markup.Text("Request: "+p.RequestID)),
		)),
		markup.Raw("\n</main>\n</body>\n</html>\n"),
	)
}

// quiets are the links beside the button. Two of them have a line of their own, so that none breaks.
func (p page) quiets(other, quiet markup.HTML) markup.HTML {
	if p.OtherHref == "" || p.QuietHref == "" {
		return markup.Join(other, quiet)
	}
	return markup.Element("p", markup.Attr("class", "quiets"), other, quiet)
}

const (
	pageHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
`
	pageBody = `
</head>
<body>
<main>
<svg viewBox="0 0 40 40" fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M5 36V18L20 5l15 13v18"/><path d="M14 36V24a6 6 0 0 1 12 0v12"/><path d="M3 36h34"/></svg>
`
)

// write answers with the page. It names no one and may not be stored.
func (p page) write(w http.ResponseWriter, r *http.Request, status int) {
	text := p.html().String()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", PageCSP)
	if p.Script != "" {
		h.Set("Content-Security-Policy", scriptCSP)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // signing out looks at it in browsers without Fetch Metadata
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, text)
	}
}
