package waf

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/suggest"
)

// A target is what an exclusion leaves out of a rule's sight: variables of the engine, with a key or with all there is.
type target struct {
	variables []string
	key       string // "" is everything; in slashes a regular expression of keys in lower case
}

// keyedTargets are the kinds of targets that have a name behind a dot.
func keyedTargets() []string { return []string{"cookie", "form", "header", "json", "query"} }

// keyedTarget says which of the engine's variables one kind of target stands for, with a name behind a dot. A value
// and its name go together: the exclusion is about what has exactly that name.
func keyedTarget(kind string) []string {
	switch kind {
	case "query":
		return []string{"ARGS_GET", "ARGS_GET_NAMES"}
	case "form", "json":
		return []string{"ARGS_POST", "ARGS_POST_NAMES"}
	case "header":
		return []string{"REQUEST_HEADERS", "REQUEST_HEADERS_NAMES"}
	case "cookie":
		return []string{"REQUEST_COOKIES", "REQUEST_COOKIES_NAMES"}
	}
	return nil
}

// wholeTargets are those without a name.
func wholeTargets() []string { return []string{"body", "files", "path", "query", "uri"} }

// wholeTarget says which of the engine's variables one of those stands for.
func wholeTarget(name string) []string {
	switch name {
	case "body":
		return []string{"REQUEST_BODY", "ARGS_POST", "ARGS_POST_NAMES", "XML", "FILES", "FILES_NAMES", "MULTIPART_PART_HEADERS", "MULTIPART_FILENAME", "MULTIPART_NAME"}
	case "uri": // some rules read the target of the request as a whole, with the query
		return []string{"REQUEST_URI", "REQUEST_URI_RAW", "REQUEST_LINE"}
	case "path":
		return []string{"REQUEST_FILENAME", "REQUEST_BASENAME"}
	case "query":
		return []string{"ARGS_GET", "ARGS_GET_NAMES", "QUERY_STRING"}
	case "files":
		return []string{"FILES", "FILES_NAMES", "FILES_SIZES", "FILES_COMBINED_SIZE", "MULTIPART_PART_HEADERS", "MULTIPART_FILENAME", "MULTIPART_NAME"}
	}
	return nil
}

const wantTarget = "want query.NAME, form.NAME, json.PATH, header.NAME, cookie.NAME, body, files, path, query or uri"

// targetName is what a name in a target may look like. Blanks, quotes, |, / and , mean something to
// the rule language and so cannot be named.
var targetName = regexp.MustCompile(`^[A-Za-z0-9_.$@~+:\[\]*-]{1,200}$`)

// parseTarget reads an Exclusion's Target, which is not "".
func parseTarget(s string) (target, error) {
	if vars := wholeTarget(s); vars != nil {
		return target{variables: vars}, nil
	}
	kind, name, ok := strings.Cut(s, ".")
	vars := keyedTarget(kind)
	if !ok || vars == nil {
		return target{}, fmt.Errorf("unknown target %q%s (%s)", s, meantTarget(s), wantTarget)
	}
	if !targetName.MatchString(name) {
		return target{}, fmt.Errorf("name %q in the target cannot be excluded (want letters, digits and _.$@~+:[]*-)", name)
	}
	if kind == "json" {
		name = "json." + name
	}
	if strings.Contains(name, "*") {
		name = globKey(name, kind == "json")
	}
	return target{vars, name}, nil
}

// meantTarget is what somebody probably meant who wrote s, as the end of a message. The engine's variables are known from its logs,
// and from files of ModSecurity.
func meantTarget(s string) string {
	kind, name, _ := strings.Cut(s, ".")
	if variable, key, ok := strings.Cut(s, ":"); ok && strings.ToUpper(variable) == variable {
		kind, name = variable, key
	}
	kinds := []string{kind}
	switch strings.ToUpper(kind) {
	case "ARG", "ARGS":
		kinds = []string{"query", "form"}
	case "ARGS_GET":
		kinds = []string{"query"}
	case "ARGS_POST":
		kinds = []string{"form"}
	case "REQUEST_HEADERS":
		kinds = []string{"header"}
	case "REQUEST_COOKIES":
		kinds = []string{"cookie"}
	}
	for i, k := range kinds {
		k = suggest.Nearest(k, keyedTargets())
		if k == "" {
			return suggest.DidYouMean(s, wholeTargets())
		}
		kinds[i] = fmt.Sprintf("%q", k+"."+cmp.Or(name, "NAME"))
	}
	return ": did you mean " + strings.Join(kinds, " or ") + "?"
}

// globKey turns a name with * into the rule language's regular expression for keys. In a JSON path a *
// does not go over a dot.
func globKey(name string, path bool) string {
	star := ".*"
	if path {
		star = "[^.]*"
	}
	parts := strings.Split(name, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(strings.ToLower(p)) // the engine compares with the key in lower case
	}
	return "/^" + strings.Join(parts, star) + "$/"
}

// negated is t as the list of variables for an update of a rule's targets.
func (t target) negated() string {
	out := make([]string, len(t.variables))
	for i, v := range t.variables {
		out[i] = "!" + v
		if t.key != "" {
			out[i] += ":" + t.key
		}
	}
	return strings.Join(out, "|")
}

// covers reports whether t is where something was found. Names are compared as the engine does, in lower case.
func (t target) covers(variable, key string) bool {
	if !slices.Contains(t.variables, variable) {
		return false
	}
	switch {
	case t.key == "":
		return true
	case strings.HasPrefix(t.key, "/"):
		glob, err := regexp.Compile(strings.Trim(t.key, "/"))
		return err == nil && glob.MatchString(strings.ToLower(key))
	default:
		return strings.EqualFold(t.key, key)
	}
}

// A sight is one variable that a rule reads, with the key that it is limited to.
type sight struct {
	variable, key string
	not           bool // it is left out
}

// readings are the variables of a rule's first directive, which is the one whose targets can be changed.
func (r crsRule) readings() []sight {
	first, _, _ := strings.Cut(r.text, "\n")
	rest, ok := strings.CutPrefix(first, "SecRule ")
	if !ok {
		return nil
	}
	vars, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	var out []sight
	for _, v := range splitVariables(vars) {
		name, not := strings.CutPrefix(v, "!")
		name, key, _ := strings.Cut(strings.TrimPrefix(name, "&"), ":")
		out = append(out, sight{strings.ToUpper(name), strings.Trim(key, "'"), not})
	}
	return out
}

// reads reports whether a rule reads something of t that can be left out.
func (r crsRule) reads(t target) bool {
	found := false
	for _, x := range r.readings() {
		if !slices.Contains(t.variables, x.variable) {
			continue
		}
		switch {
		case x.not && (x.key == "" || strings.EqualFold(x.key, t.key)):
			return false // it is left out already
		case x.not:
		case t.key == "", x.key == "", strings.HasPrefix(x.key, "/"), x.variable == "XML":
			found = true
		default:
			found = found || t.covers(x.variable, x.key)
		}
	}
	return found
}

// readable names what a rule reads as targets of exclusions.
func (r crsRule) readable() []string {
	var out []string
	say := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, x := range r.readings() {
		if x.not {
			continue
		}
		for _, kind := range keyedTargets() {
			switch {
			case !slices.Contains(keyedTarget(kind), x.variable):
			case x.key == "" || strings.HasPrefix(x.key, "/"):
				say(kind + ".NAME")
			case kind == "json":
				if path, ok := strings.CutPrefix(strings.ToLower(x.key), "json."); ok {
					say("json." + path)
				}
			default:
				say(kind + "." + x.key)
			}
		}
		for _, name := range wholeTargets() {
			if slices.Contains(wholeTarget(name), x.variable) {
				say(name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// misses says that none of rules reads what the target s names, and what they read.
func misses(s string, rules []crsRule) string {
	var accepted, similar []string
	_, name, _ := strings.Cut(s, ".")
	for _, r := range rules {
		for _, one := range r.readable() {
			if !slices.Contains(accepted, one) {
				accepted = append(accepted, one)
				similar = append(similar, strings.Replace(one, "NAME", name, 1))
			}
		}
	}
	who := "no rule that this is about reads"
	if len(rules) == 1 {
		who = fmt.Sprintf("rule %d does not read", rules[0].id)
	}
	if len(accepted) == 0 {
		return fmt.Sprintf("%s %s, nor anything else that can be named (leave the target out)", who, s)
	}
	slices.Sort(accepted)
	return fmt.Sprintf("%s %s%s (want one of %s)", who, s, suggest.DidYouMean(s, similar), strings.Join(accepted, ", "))
}
