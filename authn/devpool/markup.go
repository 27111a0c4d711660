package devpool

import (
	"strings"

	"gatehouse/internal/markup"
)

// shown is a page that can be written.
type shown interface {
	title() string
	wide() bool
	main() markup.HTML
}

// html is a whole page.
func (ps *pages) html(p shown) markup.HTML {
	return markup.Join(
		markup.Raw(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
`),
		markup.Element("title", markup.Text(p.title()+" · development pool")),
		ps.style,
		markup.Raw(`
</head>
<body>
<p class="banner">Development pool: its users and their passwords are public.</p>
`),
		markup.Element("main", markup.If(p.wide(), markup.Attr("class", "wide")), p.main()),
		markup.Raw("\n</body>\n</html>\n"),
	)
}

// mark is the sign above a heading.
func mark() markup.HTML {
	return markup.Raw(`<svg class="mark" viewBox="0 0 44 44" aria-hidden="true">
<rect class="tile" width="44" height="44" rx="11"/>
<path class="shape" d="M13 33V19a9 9 0 0 1 18 0v14M10 33h24M22 10v23M17.5 22v11M26.5 22v11"/>
</svg>
`)
}

func card(content ...markup.HTML) markup.HTML {
	return markup.Element("div", markup.Attr("class", "card"), markup.Join(content...))
}

func heading(text string) markup.HTML { return markup.Element("h1", markup.Text(text)) }

func lead(text string) markup.HTML {
	return markup.Element("p", markup.Attr("class", "lead"), markup.Text(text))
}

func code(text string) markup.HTML { return markup.Element("code", markup.Text(text)) }

// entry is a name and what it is of a list of definitions.
func entry(name string, value markup.HTML) markup.HTML {
	return markup.Join(markup.Element("dt", markup.Text(name)), markup.Element("dd", value))
}

// addresses is a list of URLs.
func addresses(list []string) markup.HTML {
	if len(list) == 0 {
		return markup.Raw("<ul><li>none</li></ul>")
	}
	return markup.Element("ul", markup.Each(list, func(address string) markup.HTML {
		return markup.Element("li", code(address))
	}))
}

func (p loginPage) title() string { return "Sign in" }
func (p loginPage) wide() bool    { return false }

func (p loginPage) main() markup.HTML {
	return markup.Join(
		card(
			mark(),
			heading("Sign in"),
			markup.Element("p", markup.Attr("class", "lead"), markup.Text("to continue to "), markup.Element("strong", markup.Text(p.Client))),
			markup.If(p.Problem != "", markup.Element("p", markup.Attr("class", "problem"), markup.Attr("role", "alert"), markup.Text(p.Problem))),
			markup.If(p.Current != "", markup.Join(
				p.form("again", markup.Element(
					"button", markup.Attr("name", "continue"), markup.Attr("value", "1"), markup.Text("Continue as "+p.Current),
				)),
				markup.Raw(`<div class="divider">or as somebody else</div>`),
			)),
			p.form("", p.fields()),
			markup.If(len(p.Users) > 0, markup.Join(
				markup.Raw(`<div class="divider">or with one click</div>`),
				markup.Element("ul", markup.Attr("class", "people"), markup.Each(p.Users, p.person)),
			)),
		),
		markup.Element("p", markup.Attr("class", "foot"), markup.Text("User pool "), code(p.PoolID)),
	)
}

// form is a form that is posted back.
func (p loginPage) form(class string, content markup.HTML) markup.HTML {
	return markup.Element(
		"form", markup.If(class != "", markup.Attr("class", class)), markup.Attr("method", "post"), markup.Attr("action", p.Action),
		hidden("_csrf", p.CSRF), content,
	)
}

// hidden is a field that nobody sees. Its name is one of the pool's.
func hidden(name, value string) markup.HTML {
	return markup.Element("input", markup.Attr("type", "hidden"), markup.Attr("name", name), markup.Attr("value", value))
}

// fields ask for a name and a password. The first that is empty has the focus.
func (p loginPage) fields() markup.HTML {
	return markup.Join(
		markup.Raw(`<label for="username">User name</label>`),
		markup.Element(
			"input", markup.Attr("id", "username"), markup.Attr("name", "username"), markup.Attr("value", p.Hint),
			markup.Attr("autocomplete", "username"), markup.Attr("autocapitalize", "none"), markup.Attr("spellcheck", "false"),
			markup.Attr("required", ""), markup.If(p.Hint == "", markup.Attr("autofocus", "")),
		),
		markup.Raw(`<label for="password">Password</label>`),
		markup.Element(
			"input", markup.Attr("id", "password"), markup.Attr("name", "password"), markup.Attr("type", "password"),
			markup.Attr("autocomplete", "current-password"), markup.Attr("required", ""), markup.If(p.Hint != "", markup.Attr("autofocus", "")),
		),
		markup.Raw(`<button>Sign in</button>`),
	)
}

// person is a user who signs in with one click.
func (p loginPage) person(u User) markup.HTML {
	groups := strings.Join(u.Groups, ", ")
	if groups == "" {
		groups = "no group"
	}
	if !u.EmailVerified {
		groups += " · e-mail not verified"
	}
	return markup.Element("li", p.form("", markup.Join(
		hidden("username", u.Username), hidden("password", u.Password),
		markup.Element(
			"button", markup.Attr("class", "person"), markup.Attr("aria-label", "Sign in as "+u.Username),
			markup.Element("span", markup.Attr("class", "initial"), markup.Attr("aria-hidden", "true"), markup.Text(initial(u.Username))),
			markup.Element(
				"span", markup.Attr("class", "who"),
				markup.Element("b", markup.Text(u.Username)), markup.Raw("\n"), markup.Element("small", markup.Text(groups)),
			),
			markup.Element("span", markup.Attr("class", "secret"), markup.Text("password "), code(u.Password)),
		),
	)))
}

func (p errorPage) title() string { return p.Title }
func (p errorPage) wide() bool    { return false }

func (p errorPage) main() markup.HTML {
	return card(
		mark(), heading(p.Title), lead(p.Text),
		markup.If(p.Got != "" || len(p.Allowed) > 0, markup.Element(
			"dl",
			markup.If(p.Got != "", entry("Asked for", code(p.Got))),
			markup.If(len(p.Allowed) > 0, entry("Allowed", addresses(p.Allowed))),
		)),
	)
}

func (p homePage) title() string { return p.PoolID }
func (p homePage) wide() bool    { return true }

func (p homePage) main() markup.HTML {
	return markup.Join(
		card(
			mark(), heading(p.PoolID), lead("A user pool with Amazon Cognito's shapes. Everything in it lives until the process ends."),
			markup.Element(
				"dl", entry("Issuer", code(p.Issuer)),
				markup.Each(p.Endpoints, func(e [2]string) markup.HTML { return entry(e[0], code(e[1])) }),
			),
		),
		card(
			markup.Raw(`<h2>Users</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">User name</th><th scope="col">Password</th><th scope="col">Groups</th><th scope="col">E-mail</th></tr></thead>
`),
			markup.Element("tbody", markup.Each(p.Users, userRow)),
			markup.Raw("</table></div>"),
		),
		card(markup.Raw("<h2>Clients</h2>"), markup.Each(p.Clients, clientEntry)),
		markup.If(p.Control, markup.Raw(`<p class="foot">Faults: <code>POST /_faults</code> · counters: <a href="/_calls">/_calls</a></p>`)),
	)
}

// userRow is a user in the table of the home page.
func userRow(u User) markup.HTML {
	cell := func(content markup.HTML) markup.HTML { return markup.Element("td", content) }
	groups, email := strings.Join(u.Groups, ", "), u.Email
	if groups == "" {
		groups = "none"
	}
	if !u.EmailVerified {
		email += " (not verified)"
	}
	return markup.Element(
		"tr", cell(markup.Element("b", markup.Text(u.Username))), cell(code(u.Password)),
		cell(markup.Text(groups)), cell(markup.Text(email)),
	)
}

// clientEntry is a client on the home page.
func clientEntry(c Client) markup.HTML {
	kind := "public"
	if c.Secret != "" {
		kind = "confidential"
	}
	return markup.Element(
		"dl", entry(c.Name, markup.Join(code(c.ID), markup.Text(" · "+kind))),
		entry("Callback URLs", addresses(c.CallbackURLs)), entry("Sign-out URLs", addresses(c.LogoutURLs)),
	)
}
