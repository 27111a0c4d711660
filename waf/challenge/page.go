package challenge

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"strconv"

	"gatehouse/internal/markup"
)

//go:embed page/page.css page/solve.js
var pageFiles embed.FS

// pagePolicy lets the page run its own script, show its own style and send the work, and nothing else.
func pagePolicy() string {
	hash := func(name string) string {
		content, _ := pageFiles.ReadFile(name) // it is built in
		sum := sha256.Sum256(content)
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; script-src " + hash("page/solve.js") + "; style-src " + hash("page/page.css") +
		"; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}

// pageMark is the gatehouse of Gatehouse.
const pageMark = `<svg viewBox="0 0 40 40" fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" ` +
	`stroke-linejoin="round" aria-hidden="true"><path d="M5 36V18L20 5l15 13v18"/><path d="M14 36V24a6 6 0 0 1 12 0v12"/><path d="M3 36h34"/></svg>`

// page is what a person sees while the browser works. form says that what they sent is to be sent again.
func page(seed string, difficulty int, form bool, requestID string) string {
	sent := "no"
	if form {
		sent = "yes"
	}
	attr := markup.Attr
	return "<!DOCTYPE html>\n" + markup.Element(
		"html", attr("lang", "en"),
		markup.Element(
			"head",
			markup.Element("meta", attr("charset", "utf-8")),
			markup.Element("meta", attr("name", "viewport"), attr("content", "width=device-width, initial-scale=1")),
			markup.Element("meta", attr("name", "robots"), attr("content", "noindex")),
			markup.Element("title", markup.Text("One moment")),
			markup.Style(pageFiles, "page/page.css"),
		),
		markup.Element(
			"body",
			markup.Element(
				"main",
				attr("data-seed", seed), attr("data-bits", strconv.Itoa(difficulty-puzzleBits)), attr("data-pieces", strconv.Itoa(puzzles)),
				attr("data-to", Path), attr("data-form", sent),
				attr("data-last", "Nearly there …"),
				attr("data-ready", "Thank you. What you sent has not been taken yet: please go back and send it once more."),
				attr("data-failed", "This did not work. Cookies must be allowed for this site; then please try again."),
				attr("data-retry", "Try again"),
				markup.Raw(pageMark),
				markup.Element("h1", markup.Text("One moment")),
				markup.Element("p", attr("id", "state"), attr("role", "status"), markup.Text("Your browser is doing a short calculation, which keeps automated traffic away. The page then opens by itself.")),
				markup.Element("progress", attr("max", strconv.Itoa(puzzles)), attr("value", "0"), attr("aria-label", "Calculation")),
				markup.Raw(`<noscript><p>This site needs JavaScript for a moment: please allow it and load the page again.</p></noscript>`),
				markup.Element("button", attr("type", "button"), attr("hidden", ""), markup.Text("Back to the form")),
				markup.If(requestID != "", markup.Element("dl", markup.Element("dt", markup.Text("Request")), markup.Element("dd", markup.Text(requestID)))),
			),
			markup.InlineScript(pageFiles, "page/solve.js"),
		),
	).String()
}
