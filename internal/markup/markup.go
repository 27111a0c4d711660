package markup

import (
	"embed"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
)

// A constant is a text that stands in the source of the program: another package can pass an untyped constant,
// and nothing else.
type constant string

// HTML is finished markup. Its zero value is none.
type HTML struct{ text string }

// String is what is sent.
func (h HTML) String() string { return h.text }

// An Attribute of an element. Its zero value is none.
type Attribute struct{ text string }

// A Part stands in an element: HTML or an Attribute.
type Part interface{ part() }

func (HTML) part()      {}
func (Attribute) part() {}

// Raw is a fragment as it stands in the program.
func Raw(fragment constant) HTML { return HTML{string(fragment)} }

// Text is what a person reads. It cannot become markup.
func Text(s string) HTML { return HTML{html.EscapeString(s)} }

// Style is a style element with a file that is built into the program. A hash of the file is the hash that a
// Content-Security-Policy names. It panics if the file is not there, or would end the element.
func Style(files embed.FS, name constant) HTML {
	css, err := files.ReadFile(string(name))
	if err != nil {
		panic(fmt.Sprintf("markup: %v", err))
	}
	if strings.Contains(string(css), "</") {
		panic(fmt.Sprintf("markup: %s would end its element", name))
	}
	return HTML{"<style>" + string(css) + "</style>"}
}

// InlineScript is a script element with a file that is built into the program, whose hash a Content-Security-Policy names. It
// panics if the file is not there, or has what ends the element or changes how it is read.
func InlineScript(files embed.FS, name constant) HTML {
	js, err := files.ReadFile(string(name))
	if err != nil {
		panic(fmt.Sprintf("markup: %v", err))
	}
	if lower := strings.ToLower(string(js)); strings.Contains(lower, "</script") || strings.Contains(lower, "<!--") {
		panic(fmt.Sprintf("markup: %s would end its element", name))
	}
	return HTML{"<script>" + string(js) + "</script>"}
}

// Attr is an attribute with a value. A value that is an address (href, action) is written by URL. It panics for names
// whose values browsers run or parse further: those belong into Raw. With an empty value it is a switch, such as required.
func Attr(name constant, value string) Attribute {
	switch {
	case strings.HasPrefix(string(name), "on"), slices.Contains(parsed(), string(name)):
		panic(fmt.Sprintf("markup: the value of %s is parsed further: only Raw may have it", name))
	case slices.Contains(addresses(), string(name)):
		value = URL(value)
	}
	if value == "" { // means the same
		return Attribute{" " + string(name)}
	}
	return Attribute{" " + string(name) + `="` + html.EscapeString(value) + `"`}
}

// parsed are the attributes whose values have a syntax of their own that escaping does not protect.
func parsed() []string {
	return []string{"style", "srcdoc", "srcset", "imagesrcset", "ping", "http-equiv"}
}

// addresses are the attributes that lead somewhere.
func addresses() []string {
	return []string{"href", "src", "action", "formaction", "cite", "data", "poster", "background", "manifest", "xlink:href"}
}

// URL is an address that a link may lead to, and "#" in place of any that is neither relative nor of http or
// https: javascript: would run.
func URL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return "#"
	}
	return address
}

// Script is a script of the same origin, and nothing if path is not a path there.
func Script(path string, attributes ...Attribute) HTML {
	if !local(path) {
		return HTML{}
	}
	tag := `<script src="` + html.EscapeString(path) + `"`
	for _, a := range attributes {
		tag += a.text
	}
	return HTML{tag + "></script>"}
}

// Refresh sends the browser on to a page of the same origin at once, and nowhere if path is not a path there.
func Refresh(path string) HTML {
	if !local(path) {
		return HTML{}
	}
	return HTML{`<meta http-equiv="refresh" content="0; url=` + html.EscapeString(path) + `">`}
}

// local tells a path from an address of another origin, as browsers do: they read a backslash as a slash and
// leave out tabs and line breaks.
func local(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && !strings.ContainsAny(path, "\\\t\r\n")
}

// Element is an element with attributes, which stand first, and content. It panics for elements whose content is
// not HTML: those belong into Raw and Style.
func Element(name constant, parts ...Part) HTML {
	if slices.Contains([]string{"script", "style", "iframe", "noscript", "plaintext", "xmp"}, string(name)) {
		panic(fmt.Sprintf("markup: what stands in %s is not HTML", name))
	}
	var open, content strings.Builder
	for _, part := range parts {
		switch part := part.(type) {
		case Attribute:
			open.WriteString(part.text)
		case HTML:
			content.WriteString(part.text)
		}
	}
	start := "<" + string(name) + open.String() + ">"
	if slices.Contains([]string{"input", "br", "img", "meta", "link", "hr"}, string(name)) {
		return HTML{start}
	}
	return HTML{start + content.String() + "</" + string(name) + ">"}
}

// Join is one after the other.
func Join(list ...HTML) HTML {
	var b strings.Builder
	for _, h := range list {
		b.WriteString(h.text)
	}
	return HTML{b.String()}
}

// If is the part where ok says so, and otherwise none.
func If[P Part](ok bool, part P) P {
	if !ok {
		var none P
		return none
	}
	return part
}

// Each is what show makes of every element of list.
func Each[T any](list []T, show func(T) HTML) HTML {
	all := make([]HTML, len(list))
	for i, element := range list {
		all[i] = show(element)
	}
	return Join(all...)
}
