package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gatehouse/proxy/ratelimit"
	"gatehouse/waf/acl"
	"gatehouse/waf/ipset"
)

// aclTexts takes one text or a list of texts, and numbers, which those of autonomous systems are.
func (d *decoder) aclTexts(n *node, path string) acl.Texts {
	items, places := []*node{n}, []string{path}
	if n.kind == kindList {
		items, places = n.items, nil
		for i := range n.items {
			places = append(places, fmt.Sprintf("%s[%d]", path, i))
		}
	} else {
		d.src.places[path+"[0]"] = place{n.pos, path}
	}
	out := acl.Texts{}
	for i, item := range items {
		d.mark(item, places[i], places[i])
		if item.kind == kindNumber {
			out = append(out, item.text)
			continue
		}
		if s, ok := d.text(item, places[i]); ok {
			out = append(out, s)
			if n.kind != kindList {
				d.aliasRef(path+"[0]", path)
			}
		}
	}
	return out
}

// texted fills the struct v from a mapping, or its field key from what else stands there: one text or a list.
func (d *decoder) texted(n *node, v reflect.Value, path, key string) {
	if n.kind == kindMap {
		d.structure(n, v, path)
		return
	}
	at := join(path, key)
	texts := reflect.ValueOf(d.aclTexts(n, path))
	for i := range texts.Len() {
		item := fmt.Sprintf("[%d]", i)
		d.src.places[at+item] = d.src.places[path+item]
		d.aliasRef(at+item, path+item)
	}
	d.src.places[at] = place{n.pos, path}
	field := v.Field(fieldNames(v.Type())[key])
	field.Set(texts.Convert(field.Type()))
}

// resources are what rules can name, as far as the file says: the sets have nothing in them yet.
func (c *Config) resources() acl.Resources {
	res := acl.Resources{
		Addresses: map[string]*ipset.Set{}, Countries: c.Geo.Country != "", Systems: c.Geo.ASN != "", Patterns: &acl.Patterns{},
	}
	for name := range c.IPSets {
		res.Addresses[name] = &ipset.Set{}
	}
	return res
}

// checkACL validates the rules at the top, and those of each route together with them.
func (c *Config) checkACL(d *decoder) {
	for name, set := range c.IPSets {
		d.section("ip_sets."+name, set)
	}
	d.section("acl", c.ACL)
	d.section("challenge", c.Challenge)
	if c.Challenges() && len(c.Secret) < MinSecret {
		d.fault("secret", "required: the action challenge, and labels of tokens, need a secret that the keys of tokens are derived from")
	}
	res := c.resources()
	acl.ValidateRules(c.ACL, acl.RouteConfig{}, res, func(field, msg string) { d.fault("acl."+field, msg) })
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		d.section(path+".acl", r.ACL)
		if len(r.ACL.Rules) == 0 {
			continue
		}
		acl.ValidateRules(c.ACL, r.ACL, res, func(field, msg string) {
			if own, ok := strings.CutPrefix(field, "route."); ok {
				d.fault(path+".acl."+own, msg)
			} else if field == "rules" { // what is wrong with all of them together
				d.fault(path+".acl.rules", msg)
			}
		})
	}
}

// Challenges reports whether a rule or a limit asks for a proof of work, or a rule for whether there is one.
func (c *Config) Challenges() bool {
	for _, limit := range c.Limits {
		if limit.Action == ratelimit.ActionChallenge {
			return true
		}
	}
	return acl.UsesTokens(c.ACL.Rules) || slices.ContainsFunc(c.Routes, func(r Route) bool { return acl.UsesTokens(r.ACL.Rules) })
}

// lintACL tells of rules that do nothing, and of sets that no rule names.
func (c *Config) lintACL(say func(path, format string, args ...any)) {
	said := map[string]bool{}
	once := func(path, msg string) {
		if !said[path+msg] {
			said[path+msg] = true
			say(path, "%s", msg)
		}
	}
	res := c.resources()
	res.Addresses = nil // what stands in them is not known
	top := res
	for _, r := range c.Routes { // a rule at the top may look for what one of a route's has put
		labels, inspects := acl.Puts(r.ACL.Rules)
		top.Labels, top.Inspects = append(top.Labels, labels...), top.Inspects || inspects
	}
	acl.Lint(c.ACL, acl.RouteConfig{}, top, func(field, msg string) { once("acl."+field, msg) })
	used := acl.Names{}
	used.Add(c.ACL.Rules)
	for i, r := range c.Routes {
		used.Add(r.ACL.Rules)
		if len(r.ACL.Rules) == 0 && r.ACL.Default == "" {
			continue
		}
		acl.Lint(c.ACL, r.ACL, res, func(field, msg string) {
			if own, ok := strings.CutPrefix(field, "route."); ok {
				once(fmt.Sprintf("routes[%d].acl.%s", i, own), msg)
			} else if field == "default" && r.ACL.Default != "" {
				once(fmt.Sprintf("routes[%d].acl.default", i), msg)
			}
		})
	}
	for section, names := range map[string][]string{
		"ip_sets": keys(c.IPSets), "acl.pattern_sets": keys(c.ACL.PatternSets), "acl.answers": keys(c.ACL.Answers),
	} {
		for _, name := range names {
			if !slices.Contains(used[section], name) {
				say(section+"."+name, "no rule names this")
			}
		}
	}
}

// acceptedByACL is accepted for what rules are made of.
func acceptedByACL(t reflect.Type, key string) []string {
	switch reflect.Zero(t).Interface().(type) {
	case acl.Config, acl.RouteConfig:
		switch key {
		case "mode":
			return []string{acl.ModeBlock, acl.ModeCount, acl.ModeOff}
		case "default":
			return []string{acl.DefaultAllow, acl.DefaultBlock}
		}
	case acl.Rule:
		if key == "action" {
			return acl.Actions()
		}
	case acl.Match:
		switch key {
		case "sqli":
			return []string{"low", "high"}
		case "scope":
			return []string{"keys", "values", "all"}
		case "invalid":
			return []string{"match", "no_match", "text"}
		case "oversize":
			return []string{"continue", "match", "no_match"}
		}
	case acl.Source:
		switch key {
		case "invalid":
			return []string{"match", "no_match"}
		case "position":
			return []string{"first", "last", "any"}
		}
	case acl.Body:
		if key == "content_type" {
			return []string{"text", "html", "json"}
		}
	}
	return nil
}
