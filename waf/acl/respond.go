package acl

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

const (
	maxHeaders = 10      // of one answer or rule, as AWS
	maxBody    = 4 << 10 // the same
	maxBodies  = 50 << 10
)

// statuses are those that an answer may have, as AWS WAF has them.
var statuses = [...]int{
	200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 414, 415, 416,
	421, 429, 500, 501, 502, 503, 504, 505,
}

// respond compiles the answer of a rule.
func (c *compiler) respond(path string, r Rule) *response {
	if r.Respond == nil {
		return nil
	}
	if r.Action != ActionBlock {
		c.report(path, "is the answer of a rule that blocks")
	}
	out := &response{status: cmp.Or(r.Respond.Status, http.StatusForbidden)}
	if !slices.Contains(statuses[:], out.status) {
		c.report(path+".status", fmt.Sprintf("want one of %s, got %d", strings.Trim(fmt.Sprint(statuses), "[]"), out.status))
	}
	if len(r.Respond.Headers) > maxHeaders {
		c.report(path+".headers", fmt.Sprintf("want at most %d headers, got %d", maxHeaders, len(r.Respond.Headers)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Respond.Headers)) {
		value := r.Respond.Headers[name]
		switch canonical := http.CanonicalHeaderKey(name); {
		case !isToken(name):
			c.report(path+".headers", fmt.Sprintf("%q is no name of a header", name))
		case slices.Contains([]string{"Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Keep-Alive", "Te"}, canonical):
			c.report(path+".headers."+name, "is about the connection, and not to be set")
		case canonical == "Content-Type":
			c.report(path+".headers."+name, "comes from content_type of the body that is named")
		case !isFieldValue(value):
			c.report(path+".headers."+name, "want a value of printable ASCII characters, at most 255")
		default:
			if slices.ContainsFunc(out.headers, func(h header) bool { return h.name == canonical }) {
				c.report(path+".headers."+name, "is named twice")
			}
			out.headers = append(out.headers, header{canonical, value})
		}
	}
	if name := r.Respond.Body; name != "" {
		body, ok := c.top.Answers[name]
		if !ok {
			c.report(path+".body", fmt.Sprintf("no answer is named %q (acl.answers: %s)", name, strings.Join(slices.Sorted(maps.Keys(c.top.Answers)), ", ")))
		}
		out.body, out.kind = body.Content, contentTypes[cmp.Or(body.ContentType, "text")]
	}
	return out
}

// contentTypes are the Content-Type of bodies.
var contentTypes = map[string]string{
	"text": "text/plain; charset=utf-8", "html": "text/html; charset=utf-8", "json": "application/json",
}

// validateAnswers reports what is wrong with the bodies of answers.
func (c Config) validateAnswers(report func(field, msg string)) {
	total := 0
	for _, name := range slices.Sorted(maps.Keys(c.Answers)) {
		body, path := c.Answers[name], "answers."+name
		if _, ok := contentTypes[cmp.Or(body.ContentType, "text")]; !ok {
			report(path+".content_type", fmt.Sprintf("want text, html or json, got %q", body.ContentType))
		}
		switch {
		case body.Content == "":
			report(path+".content", "required: what the answer says")
		case len(body.Content) > maxBody:
			report(path+".content", fmt.Sprintf("want at most %d bytes, got %d", maxBody, len(body.Content)))
		}
		total += len(body.Content)
	}
	if total > maxBodies {
		report("answers", fmt.Sprintf("want at most %d bytes in all, got %d", maxBodies, total))
	}
}
