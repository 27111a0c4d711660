package waf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/suggest"
)

// A preset is what one kind of application needs and the default does not give: exclusions, and limits where none
// are said. docs/waf.md argues for each.
type preset struct {
	name      string
	exclude   []Exclusion
	limits    Limits
	bodyLimit string
}

// atEach is the same rules at several targets.
func atEach(rules []int, targets ...string) (list []Exclusion) {
	for _, target := range targets {
		for _, rule := range rules {
			list = append(list, Exclusion{Rule: rule, Target: target})
		}
	}
	return list
}

func presets() []preset {
	return []preset{
		{
			// The document is the application's own; what people enter comes in variables, which stay inspected. A
			// selection reads as commands (932235), a union of types as SQL (942190), $name as MongoDB (942290).
			name:    "graphql",
			exclude: atEach([]int{932235, 942190, 942290}, "json.query", "json.*.query", "query.query", "form.query"),
		},
		{
			// OData's $filter and its like read as MongoDB (942290) and their functions as SQL's (942151).
			name:    "json-api",
			exclude: slices.Concat(atEach([]int{942290}, "query.$*"), atEach([]int{942151}, "query.$filter", "query.$apply")),
			limits:  Limits{JSON: "512KiB", Values: 4000, Work: "100ms"},
		},
		{
			// Files come in parts (920450). Their contents are not inspected; names and fields are.
			name:      "uploads",
			exclude:   atEach([]int{920450}, "header.Content-Range"),
			bodyLimit: "16MiB",
			limits:    Limits{Form: "128KiB", JSON: "256KiB", XML: "128KiB", Multipart: "128KiB", Text: "128KiB", Other: "128KiB"},
		},
		{
			// What editors write is markup, which WordPress cleans for whoever may not write it, and its comments of blocks
			// read as a command of Windows (932370). Comments of visitors have other names and stay inspected.
			name: "wordpress",
			exclude: slices.Concat(
				atEach([]int{932370}, editorFields()...),
				taggedAtEach("attack-xss", editorFields()...),
			),
		},
	}
}

// editorFields are where the editors of WordPress send what was written: the one of blocks, several at once, and the old one.
func editorFields() []string {
	return []string{"json.content", "json.excerpt", "json.requests.*.body.content", "form.content", "form.excerpt"}
}

func taggedAtEach(tag string, targets ...string) (list []Exclusion) {
	for _, target := range targets {
		list = append(list, Exclusion{Tag: tag, Target: target})
	}
	return list
}

// PresetNames names every preset.
func PresetNames() []string {
	var names []string
	for _, p := range presets() {
		names = append(names, p.name)
	}
	return names
}

func (c Config) validatePresets(report func(field, msg string)) {
	for i, name := range c.Presets {
		if !slices.Contains(PresetNames(), name) {
			report(fmt.Sprintf("presets[%d]", i), fmt.Sprintf("unknown preset %q%s (want any of %s)", name, suggest.DidYouMean(name, PresetNames()), strings.Join(PresetNames(), ", ")))
		}
	}
}

// withPresets is c with what its presets say written out. What c says itself has the last word.
func (c Config) withPresets() Config {
	for _, p := range presets() {
		if !slices.Contains(c.Presets, p.name) {
			continue
		}
		c.Exclude = slices.Concat(c.Exclude, p.exclude)
		if c.BodyLimit != "" {
			continue // one limit for all types
		}
		c.Limits.Form = cmp.Or(c.Limits.Form, p.limits.Form)
		c.Limits.JSON = cmp.Or(c.Limits.JSON, p.limits.JSON)
		c.Limits.XML = cmp.Or(c.Limits.XML, p.limits.XML)
		c.Limits.Multipart = cmp.Or(c.Limits.Multipart, p.limits.Multipart)
		c.Limits.Text = cmp.Or(c.Limits.Text, p.limits.Text)
		c.Limits.Other = cmp.Or(c.Limits.Other, p.limits.Other)
		c.Limits.Values = cmp.Or(c.Limits.Values, p.limits.Values)
		c.Limits.Work = cmp.Or(c.Limits.Work, p.limits.Work)
	}
	for _, p := range presets() {
		if slices.Contains(c.Presets, p.name) {
			c.BodyLimit = cmp.Or(c.BodyLimit, p.bodyLimit)
		}
	}
	c.Presets = slices.Sorted(slices.Values(c.Presets))
	c.Presets = slices.Compact(c.Presets)
	return c
}
