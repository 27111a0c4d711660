package markup

import (
	"embed"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

//go:embed testdata
var files embed.FS

func TestMarkup(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		got  HTML
		want string
	}{
		"text":                    {Text(`<b>"a" & 'b'</b>`), "&lt;b&gt;&#34;a&#34; &amp; &#39;b&#39;&lt;/b&gt;"},
		"an attribute":            {Element("p", Attr("title", `" onclick="x`), Text("a")), `<p title="&#34; onclick=&#34;x">a</p>`},
		"attributes come first":   {Element("p", Text("a"), Attr("id", "x")), `<p id="x">a</p>`},
		"no content and no end":   {Element("input", Attr("value", "a")), `<input value="a">`},
		"a link":                  {Element("a", Attr("href", "/x?a=1&b=2"), Text("x")), `<a href="/x?a=1&amp;b=2">x</a>`},
		"a link elsewhere":        {Element("a", Attr("href", "https://example.com/")), `<a href="https://example.com/"></a>`},
		"a script in a link":      {Element("a", Attr("href", "JavaScript:alert(1)")), `<a href="#"></a>`},
		"a script behind a tab":   {Element("a", Attr("href", "java\tscript:alert(1)")), `<a href="#"></a>`},
		"a script behind a space": {Element("a", Attr("href", " javascript:alert(1)")), `<a href="#"></a>`},
		"a script behind a NUL":   {Element("a", Attr("href", "\x01javascript:alert(1)")), `<a href="#"></a>`},
		"a script in a form":      {Element("form", Attr("action", "javascript:alert(1)")), `<form action="#"></form>`},
		"data in a link":          {Element("a", Attr("href", "data:text/html,x")), `<a href="#"></a>`},
		"what is not there":       {Element("p", If(false, Attr("id", "x")), If(false, Text("x"))), "<p></p>"},
		"what is there":           {Element("p", If(true, Attr("id", "x")), If(true, Text("y"))), `<p id="x">y</p>`},
		"a list":                  {Each([]string{"<", ">"}, func(s string) HTML { return Element("li", Text(s)) }), "<li>&lt;</li><li>&gt;</li>"},
		"one after the other":     {Join(Raw("<!doctype html>"), Text("a"), HTML{}), "<!doctype html>a"},
		"a style":                 {Style(files, "testdata/good.css"), "<style>p{margin:0}\n</style>"},
		"a script":                {Script("/a.js?b&c", Attr("defer", "")), `<script src="/a.js?b&amp;c" defer></script>`},
		"a script from elsewhere": {Join(Script("https://example.com/a.js"), Script("//example.com/a.js"), Script(`/\\example.com/a.js`)), ""},
		"on to a page":            {Refresh("/a?b=';url=https://x"), `<meta http-equiv="refresh" content="0; url=/a?b=&#39;;url=https://x">`},
		"on to elsewhere":         {Join(Refresh("https://example.com/"), Refresh("//example.com"), Refresh(`/\example.com`), Refresh("/\t/example.com"), Refresh(`'/a`)), ""},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", name, tt.got, tt.want)
		}
	}
}

func TestWhatEscapingDoesNotProtectPanics(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(){
		"an event handler":    func() { Attr("onclick", "x") },
		"a style":             func() { Attr("style", "x") },
		"a document":          func() { Attr("srcdoc", "x") },
		"a script":            func() { Element("script", Text("x")) },
		"a style sheet":       func() { Element("style", Text("x")) },
		"no such file":        func() { Style(files, "testdata/no-such.css") },
		"a file that ends it": func() { Style(files, "testdata/ends.css") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("got markup, want a panic")
				}
			}()
			make()
		})
	}
}

// FuzzElement: a parser of HTML finds the text and the values again, and nothing else.
func FuzzElement(f *testing.F) {
	for _, s := range []string{"", "a", `"><script>`, "</p>", "<!--", "&amp;", "&", "javascript:x", "//example.com", "\x00", "\xff", "a b", "?a=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		page := Element("p", Attr("title", s), Element("a", Attr("class", "x"), Attr("href", s), Text(s)))
		doc, err := html.ParseFragment(strings.NewReader(page.String()), &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body})
		if err != nil {
			t.Fatal(err)
		}
		var shape []string
		var walk func(*html.Node)
		walk = func(n *html.Node) {
			if n.Type != html.TextNode {
				shape = append(shape, n.Data)
				for _, a := range n.Attr {
					shape = append(shape, a.Key)
					if value := strings.ToLower(strings.TrimLeft(a.Val, "\x00\t\n\f\r ")); a.Key == "href" && strings.HasPrefix(value, "javascript:") {
						t.Errorf("%q: the link runs %q", s, a.Val)
					}
				}
			}
			for child := range n.ChildNodes() {
				walk(child)
			}
		}
		for _, n := range doc {
			walk(n)
		}
		if got, want := strings.Join(shape, " "), "p title a class href"; got != want {
			t.Errorf("%q: got %q, want %q, of %s", s, got, want, page)
		}
	})
}
