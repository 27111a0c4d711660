package main

import (
	"unicode/utf8"

	"gatehouse/internal/markup"
)

// html is a whole page around its content.
func (p demoPage) html(content markup.HTML) markup.HTML {
	link := func(path, label string) markup.HTML {
		return markup.Element("a", markup.Attr("href", path), markup.If(p.Path == path, markup.Attr("aria-current", "page")), markup.Text(label))
	}
	session := markup.Raw(`<a class="button small" href="/app">Sign in</a>`)
	if p.ID != nil {
		session = markup.Join(markup.Element("span", markup.Text(p.ID.Who())), markup.Raw(` <a href="/oauth2/sign_out">Sign out</a>`))
	}
	origin := markup.Raw("This request has no id: it did not come through the gateway.")
	if p.RequestID != "" {
		origin = markup.Join(markup.Raw("Request "), demoCode(p.RequestID))
	}
	return markup.Join(
		markup.Raw(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
`),
		markup.Element("title", markup.Text(p.Title+" · Gatehouse demo app")),
		markup.Raw(`
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/demo.css">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<div class="bar">
<a class="brand" href="/"><img src="/static/icon.svg" alt="" width="28" height="28">Gatehouse <span>demo app</span></a>
<nav aria-label="Pages">
`),
		link("/app", "App"), markup.Raw("\n"), link("/admin", "Admin"), markup.Raw("\n"), link("/app/live", "Live"), markup.Raw("\n"), link("/public", "Public"),
		markup.Raw("\n</nav>\n"),
		markup.Element("p", markup.Attr("class", "session"), session),
		markup.Raw("\n</div>\n</header>\n"),
		markup.Element(
			"main", markup.Attr("id", "main"),
			markup.If(p.Problem != "", markup.Element(
				"p", markup.Attr("class", "problem"), markup.Attr("role", "alert"),
				markup.Raw("<strong>The assertion was not believed.</strong> "), markup.Text(p.Problem),
			)),
			markup.Raw("\n"), content, markup.Raw("\n"),
		),
		markup.Element("footer", markup.Element("p", origin)),
		markup.Raw("\n</body>\n</html>\n"),
	)
}

func demoCard(content ...markup.HTML) markup.HTML {
	return markup.Element("section", markup.Attr("class", "card"), markup.Join(content...))
}

func demoLead(content ...markup.HTML) markup.HTML {
	return markup.Element("p", markup.Attr("class", "lead"), markup.Join(content...))
}

func demoCode(text string) markup.HTML { return markup.Element("code", markup.Text(text)) }

// demoRows is a table of names and values.
func demoRows(pairs []demoPair) markup.HTML {
	return markup.Element(
		"div", markup.Attr("class", "scroll"),
		markup.Element("table", markup.Element("tbody", markup.Each(pairs, func(pair demoPair) markup.HTML {
			return markup.Element(
				"tr", markup.Element("th", markup.Attr("scope", "row"), markup.Text(pair.Name)), markup.Element("td", demoCode(pair.Value)),
			)
		}))),
	)
}

// demoChips are groups, or the text for none.
func demoChips(groups []string, none markup.HTML) markup.HTML {
	if len(groups) == 0 {
		return none
	}
	return markup.Each(groups, func(group string) markup.HTML {
		return markup.Join(markup.Element("span", markup.Attr("class", "chip"), markup.Text(group)), markup.Raw(" "))
	})
}

func demoHome(demoPage) markup.HTML {
	return markup.Raw(`<section class="hero">
<h1>This app has no login of its own</h1>
<p class="lead">Gatehouse stands in front of it: it ends TLS, filters attacks, signs people in and tells the app who they are in a signed header. Try each layer.</p>
</section>
<ul class="tries">
<li><a href="/app">Sign in</a><code>/app</code>
<p>You are sent to the user pool and back. The app verifies the signature and shows what it knows of you.</p></li>
<li><a href="/admin">Open the admin page</a><code>/admin</code>
<p>bob is in the group admins and gets in. alice and carol get 403.</p></li>
<li><a href="/?id=1%27%20OR%201=1--">Try an attack</a><code>/?id=1' OR 1=1--</code>
<p>The WAF answers 403 with a request id. <code>gatehouse why</code> with that id says which rule it was.</p></li>
<li><a href="/api/hello">Call the API</a><code>/api/hello</code>
<p>With an access token as bearer, JSON that says who you are. Without one, 401 in JSON instead of a redirect.</p></li>
<li><a href="/app/live">Keep a connection open</a><code>/app/live</code>
<p>Server-sent events and a WebSocket, through every layer.</p></li>
<li><a href="/public">Read without signing in</a><code>/public</code>
<p>A route that asks nothing of anyone. Identity headers that a client makes up do not arrive.</p></li>
</ul>`)
}

func demoAdmin(p demoPage) markup.HTML {
	return demoCard(
		markup.Raw("<h1>Admins only</h1>\n"),
		demoLead(markup.Text(p.ID.Who()), markup.Raw(" may be here, because the gateway requires a group on this route and found it in the verified login. This app did not have to ask.")),
		markup.Element("p", markup.Raw("Groups: "), demoChips(p.ID.Groups, markup.Raw("none that this app can see"))),
	)
}

func demoIdentified(p demoPage) markup.HTML {
	return markup.Join(
		p.ID.html(),
		demoCard(markup.Raw(`<h2>Signed claims</h2>
<p class="note">The payload of <code>x-amzn-oidc-data</code>.</p>
`), demoRows(p.ID.Claims)),
		demoCard(markup.Raw(`<h2>Signed by</h2>
<p class="note">The header of <code>x-amzn-oidc-data</code>. The app fetched the public key by its <code>kid</code>.</p>
`), demoRows(p.ID.Header)),
		markup.Raw(`
<section class="card">
<h2>Send a form</h2>
<p class="note">The WAF reads bodies too. <code>&lt;script&gt;alert(1)&lt;/script&gt;</code> does not get here.</p>
<form class="inline" method="post" action="/app/echo">
<label for="message">Message</label>
<input id="message" name="message" value="Hello from behind the gate" autocomplete="off">
<button>Send</button>
</form>
</section>
`),
		demoCard(markup.Raw(`<h2>Headers this app received</h2>
<p class="note">Of tokens and cookies only the beginning is shown.</p>
`), demoRows(p.Headers)),
	)
}

// html is the card with who is there.
func (id *demoIdentity) html() markup.HTML {
	row := func(name, key string, value ...markup.HTML) markup.HTML {
		return markup.Element("div", markup.Element("dt", markup.Text(name)), markup.Element("dd", markup.Attr("id", key), markup.Join(value...)))
	}
	orNone := func(text string) markup.HTML {
		if text == "" {
			text = "none"
		}
		return markup.Text(text)
	}
	groups := "Groups"
	if len(id.Groups) > 0 && !id.GroupsSigned {
		groups = "Groups, as the access token says"
	}
	_, letter := utf8.DecodeRuneInString(id.Who())
	return markup.Element(
		"section", markup.Attr("class", "card identity"),
		markup.Element("span", markup.Attr("class", "initial"), markup.Attr("aria-hidden", "true"), markup.Text(id.Who()[:letter])),
		markup.Element(
			"div", markup.Element("h1", markup.Text(id.Who())),
			markup.Raw(`<p class="verified"><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M3 8.5l3.2 3.2L13 5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg> Signature verified by this app</p>`),
		),
		markup.Element(
			"dl",
			row("User name", "username", orNone(id.Username)),
			row("E-mail", "email", orNone(id.Email), markup.If(id.Email != "" && !id.EmailVerified, markup.Raw(` <span class="chip warn">not verified</span>`))),
			row(groups, "groups", demoChips(id.Groups, markup.Raw("none"))),
			row("Subject", "subject", demoCode(id.Subject)),
			row("Assertion good until", "expires", markup.Text(id.Expires.Format("15:04:05 MST"))),
		),
	)
}

func demoEcho(p demoPage) markup.HTML {
	received := demoRows(p.Form)
	if len(p.Form) == 0 {
		received = markup.Raw(`<p class="lead">An empty form.</p>`)
	}
	return demoCard(markup.Raw("<h1>What the app received</h1>\n"), received, markup.Raw(`<p><a href="/app">Back</a></p>`))
}

func demoLive(demoPage) markup.HTML {
	return markup.Raw(`<section class="card">
<h1>Live connections</h1>
<p class="lead">Both pass every layer of the gateway once, when they open.</p>
<p class="problem" id="session-over" role="alert" hidden>Your session has ended. <button id="sign-in">Sign in again</button></p>
<h2>Server-sent events</h2>
<p class="note"><code>GET /app/events</code>, one event a second. <span id="events-state" role="status">Connecting…</span></p>
<ol id="events" class="log" aria-label="Events"></ol>
</section>
<section class="card">
<h2>WebSocket</h2>
<p class="note"><code>/ws</code> answers each message with itself. <span id="socket-state" role="status">Connecting…</span></p>
<form class="inline" id="socket-form">
<label for="socket-text">Message</label>
<input id="socket-text" value="Hello, socket" autocomplete="off">
<button>Send</button>
</form>
<ol id="socket" class="log" aria-label="Messages"></ol>
<noscript><p class="problem">This page needs JavaScript; the others do not.</p></noscript>
</section>
<script src="/oauth2/session.js" defer></script>
<script src="/static/demo.js" defer></script>`)
}

func demoMissing(p demoPage) markup.HTML {
	return demoCard(
		markup.Raw("<h1>No such page</h1>\n"),
		demoLead(markup.Raw("The gateway passed the request on, but the app has nothing at "), demoCode(p.Path), markup.Raw(".")),
		markup.Raw(`<p><a href="/">To the start</a></p>`),
	)
}

func demoPublic(p demoPage) markup.HTML {
	known := markup.Raw("Nobody had to sign in for this page, and the app does not know who you are.")
	if p.ID != nil {
		known = markup.Join(markup.Raw("The gateway let everyone in here and said all the same that you are "), markup.Text(p.ID.Who()), markup.Raw("."))
	}
	return markup.Join(
		demoCard(
			markup.Raw("<h1>Public page</h1>\n"), demoLead(known),
			markup.Raw("<p>Make up an identity and see that it does not arrive:</p>\n"),
			markup.Element("pre", demoCode("curl -k -H 'x-amzn-oidc-identity: admin' https://"+p.Host+"/public")),
		),
		demoCard(markup.Raw("<h2>Headers this app received</h2>\n"), demoRows(p.Headers)),
	)
}

func demoRefused(demoPage) markup.HTML {
	return markup.Raw(`<section class="card">
<h1>Not signed in</h1>
<p class="lead">The gateway should have asked you to. Either its route for this page lets everyone in, or this request went around it.</p>
</section>`)
}
