package gate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// A rule is one rule as the engine has it: a directive with those chained to it. Other directives are
// rules without links, kept for their text.
type rule struct {
	id     int // 0 if it cannot be addressed
	phase  int // 0 if it is not known, or runs in every phase
	marker string
	plain  string // the text of another directive
	links  []link
}

// A link is one directive of a rule.
type link struct {
	name      string // SecRule or SecAction
	variables string // as written
	targets   []target
	op        operator
	actions   []action

	transforms []string // in lower case, without none
	multi      bool     // what each transformation makes is tested
	captures   bool
	sets       []setting
	effects    bool   // it does something else that others can see, other than to match
	disrupts   bool   // with more than pass
	skips      string // the marker behind which it goes on
}

// A target is a part of the request that a link reads.
type target struct {
	variable variables.RuleVariable
	count    bool
	key      string         // in lower case unless the variable tells cases apart; "" is everything
	pattern  *regexp.Regexp // of keys
	except   []exception
}

// An exception is a key that a target leaves out.
type exception struct {
	key     string // in lower case; "" is everything
	pattern *regexp.Regexp
}

func (x exception) covers(lowerKey string) bool {
	if x.pattern != nil {
		return x.pattern.MatchString(lowerKey)
	}
	return x.key == "" || x.key == lowerKey
}

type operator struct {
	negated bool
	name    string // without @, as written; "" if the directive has none
	arg     string
}

// An action is one entry of a directive's last argument.
type action struct {
	name  string // in lower case
	value string // without quotes around it
	text  string // as written
}

// A setting is a setvar of the collection TX.
type setting struct {
	key    template
	value  template
	remove bool
}

// read takes directives apart, one a line or with lines joined by a backslash. What it does not
// understand becomes a rule that nothing is assumed of.
func read(lines []string) ([]*rule, error) {
	var rules []*rule
	var open *rule // that expects a link
	for _, text := range lines {
		name, rest, _ := strings.Cut(text, " ")
		rest = strings.TrimSpace(rest)
		switch strings.ToLower(name) {
		case "secrule", "secaction":
		case "secmarker":
			rules = append(rules, &rule{plain: text, marker: unquote(rest)})
			continue
		default:
			rules = append(rules, &rule{plain: text})
			continue
		}
		l, err := readLink(name, rest)
		if err != nil {
			return nil, fmt.Errorf("%w in %s", err, excerpt(text))
		}
		if open == nil {
			open = &rule{phase: 2}
			if err := open.head(l); err != nil {
				return nil, fmt.Errorf("%w in %s", err, excerpt(text))
			}
			rules = append(rules, open)
		}
		open.links = append(open.links, l)
		if !l.has("chain") {
			open = nil
		}
	}
	if open != nil {
		return nil, fmt.Errorf("rule %d: the chain ends without its last rule", open.id)
	}
	return rules, nil
}

// nameSkips turns the action skip, which counts the rules that follow, into one that names the place. What is
// skipped is then the same whichever rules are left out.
func nameSkips(rules []*rule) []*rule {
	for i := 0; i < len(rules); i++ {
		r := rules[i]
		if len(r.links) == 0 || !r.links[0].has("skip") {
			continue
		}
		l := &r.links[0]
		for k, a := range l.actions {
			n, err := strconv.Atoi(a.value)
			if a.name != "skip" || err != nil || n < 1 || l.has("skipafter") {
				continue
			}
			end := i + 1
			for ; end < len(rules) && n > 0; end++ {
				if next := rules[end]; next.marker != "" || len(next.links) > 0 && next.phase == r.phase {
					n--
				}
			}
			marker := "GATEHOUSE-SKIP-" + strconv.Itoa(r.id)
			l.actions[k] = action{name: "skipafter", value: marker, text: "skipAfter:" + marker}
			rules = slices.Insert(rules, end, &rule{plain: "SecMarker " + marker, marker: marker})
		}
		l.sort()
	}
	return rules
}

func excerpt(text string) string {
	const most = 160
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// head reads from the first link what holds for the rule.
func (r *rule) head(l link) error {
	for _, a := range l.actions {
		switch a.name {
		case "id":
			id, err := strconv.Atoi(a.value)
			if err != nil {
				return fmt.Errorf("id %q is no number", a.value)
			}
			r.id = id
		case "phase":
			r.phase = 0
			switch a.value {
			case "1":
				r.phase = 1
			case "2", "request":
				r.phase = 2
			case "3", "4", "5", "response", "logging":
				r.phase = 3 // not before the request is through
			}
		}
	}
	return nil
}

func (l *link) has(name string) bool {
	for _, a := range l.actions {
		if a.name == name {
			return true
		}
	}
	return false
}

func readLink(name, rest string) (link, error) {
	l := link{name: name}
	actions := ""
	if strings.EqualFold(name, "SecAction") {
		actions = unquote(rest)
	} else {
		vars, rest, ok := strings.Cut(rest, " ")
		if !ok {
			return l, errors.New("no operator")
		}
		op, rest, err := cutQuoted(strings.TrimLeft(rest, " "))
		if err != nil {
			return l, err
		}
		l.variables = vars
		if l.targets, err = readTargets(vars); err != nil {
			return l, err
		}
		l.op = readOperator(strings.ReplaceAll(op, `\"`, `"`))
		rest = strings.TrimSpace(rest)
		if rest != "" {
			if len(rest) < 2 || rest[0] != '"' || rest[len(rest)-1] != '"' {
				return l, errors.New("no quotes around the actions")
			}
			actions = unquote(rest)
		}
	}
	if actions != "" {
		l.actions = readActions(actions)
	}
	l.sort()
	return l, nil
}

// cutQuoted cuts a text in double quotes off s. A quote behind an odd number of backslashes is part of it.
func cutQuoted(s string) (inside, rest string, err error) {
	if s == "" || s[0] != '"' {
		return "", "", errors.New("no quotes around the operator")
	}
	slashes := 0
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			slashes++
			continue
		case s[i] == '"' && slashes%2 == 0:
			return s[1:i], s[i+1:], nil
		}
		slashes = 0
	}
	return "", "", errors.New("no quote at the end of the operator")
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func readOperator(s string) operator {
	o := operator{name: "rx", arg: s}
	if rest, ok := strings.CutPrefix(s, "!"); ok {
		o.negated, o.arg = true, rest
		s = rest
	}
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		o.name, o.arg, _ = strings.Cut(rest, " ")
	}
	o.arg = strings.TrimSpace(o.arg)
	return o
}

// readTargets reads the list of variables.
func readTargets(s string) ([]target, error) { return addTargets(nil, s) }

// addTargets adds to out what the list names, and takes from it what the list excludes.
func addTargets(out []target, s string) ([]target, error) {
	out = slices.Clone(out)
	for _, part := range splitTargets(s) {
		count := strings.HasPrefix(part, "&")
		negated := strings.HasPrefix(part, "!")
		name, key, selected := strings.Cut(strings.TrimLeft(part, "&!"), ":")
		v, err := variables.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		if strings.HasPrefix(key, "'") || strings.Contains(part, "&!") || strings.Contains(part, "!&") {
			return nil, fmt.Errorf("variable %s is written in an unusual way", part)
		}
		pattern, err := keyPattern(v, key)
		if err != nil {
			return nil, err
		}
		if negated {
			x := exception{key: strings.ToLower(key), pattern: pattern}
			if selected && key == "" {
				return nil, fmt.Errorf("variable %s has no key", part)
			}
			for i := range out {
				if out[i].variable == v {
					out[i].except = append(slices.Clip(out[i].except), x)
				}
			}
			continue
		}
		t := target{variable: v, count: count, pattern: pattern}
		if pattern == nil {
			t.key = key
			if !tellsCases(v) {
				t.key = strings.ToLower(key)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// keyPattern is the regular expression that key is, if it is one. The engine puts those of variables
// that do not tell cases apart in lower case, escapes and all.
func keyPattern(v variables.RuleVariable, key string) (*regexp.Regexp, error) {
	if len(key) < 2 || key[0] != '/' || v == variables.XML || v == variables.RequestXML || v == variables.JSON {
		return nil, nil //nolint:nilnil // there is none
	}
	if key[len(key)-1] != '/' {
		return nil, fmt.Errorf("key %s has no end", key)
	}
	expr := key[1 : len(key)-1]
	if !tellsCases(v) {
		expr = strings.ToLower(expr)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	return re, nil
}

func tellsCases(v variables.RuleVariable) bool {
	switch v {
	case variables.Args, variables.ArgsNames, variables.ArgsGet, variables.ArgsPost, variables.ArgsGetNames, variables.ArgsPostNames:
		return true
	}
	return false
}

// splitTargets splits at bars, but not inside a regular expression.
func splitTargets(s string) []string {
	var out []string
	start, inside := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '/' && i > 0 && s[i-1] == ':' && !inside && !strings.HasPrefix(strings.TrimLeft(s[start:], "&!"), "XML:"):
			inside = true
		case s[i] == '/' && inside && s[i-1] != '\\':
			inside = false
		case s[i] == '|' && !inside:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// readActions splits at commas that are not in single quotes. A character behind a backslash means
// nothing.
func readActions(s string) []action {
	var out []action
	start, colon, quoted := 0, -1, false
	add := func(end int) {
		text := s[start:end]
		name, value := text, ""
		if colon >= 0 {
			name, value = s[start:colon], s[colon+1:end]
		}
		out = append(out, action{
			name:  strings.ToLower(strings.TrimSpace(name)),
			value: unquote(strings.TrimSpace(value)),
			text:  strings.TrimSpace(text),
		})
		start, colon = end+1, -1
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case s[i-1] == '\\':
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == ':' && colon < 0:
			colon = i
		case c == ',':
			add(i)
		}
	}
	add(len(s))
	return out
}

// harmlessActions are actions that change nothing that a rule could see.
var harmlessActions = map[string]bool{
	"id": true, "phase": true, "msg": true, "logdata": true, "tag": true, "ver": true, "rev": true, "severity": true,
	"maturity": true, "accuracy": true, "chain": true, "log": true, "nolog": true, "auditlog": true, "noauditlog": true,
	"status": true, "pass": true, "capture": true, "t": true, "multimatch": true,
}

// sort puts the actions where they belong.
func (l *link) sort() {
	l.transforms, l.sets, l.skips = nil, nil, ""
	l.multi, l.captures, l.effects, l.disrupts = false, false, false, false
	for _, a := range l.actions {
		switch a.name {
		case "block", "deny", "drop", "redirect", "allow":
			l.disrupts = true
		case "capture":
			l.captures = true
		case "multimatch":
			l.multi = true
		case "t":
			if a.value == "none" { // in another spelling it is a transformation that does nothing
				l.transforms = nil
			} else {
				l.transforms = append(l.transforms, strings.ToLower(a.value))
			}
		case "skipafter":
			l.skips = a.value
		case "setvar":
			s, ok := readSetting(a.value)
			if !ok {
				l.effects = true
			}
			l.sets = append(l.sets, s)
		default:
			l.effects = l.effects || !harmlessActions[a.name]
		}
	}
}

func readSetting(s string) (setting, bool) {
	s, remove := strings.CutPrefix(s, "!")
	key, value, _ := strings.Cut(s, "=")
	collection, name, ok := strings.Cut(key, ".")
	if !ok || !strings.EqualFold(collection, "tx") {
		return setting{}, false
	}
	return setting{key: readTemplate(name), value: readTemplate(value), remove: remove}, true
}

// A template is a text with parts to be filled in, written %{collection.key}.
type template []piece

type piece struct {
	text  string // as it is, or the name of the macro
	macro bool
	tx    string // the key, in lower case, if the macro is of the collection TX
}

func readTemplate(s string) template {
	var out template
	for s != "" {
		before, after, found := strings.Cut(s, "%{")
		if before != "" {
			out = append(out, piece{text: before})
		}
		if !found {
			break
		}
		name, rest, _ := strings.Cut(after, "}")
		p := piece{text: name, macro: true}
		if collection, key, ok := strings.Cut(name, "."); ok && strings.EqualFold(collection, "tx") {
			p.tx = strings.ToLower(key)
		}
		out = append(out, p)
		s = rest
	}
	return out
}

// constant is the text of a template without macros.
func (t template) constant() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && !t[0].macro:
		return t[0].text, true
	}
	return "", false
}

// captured is the number that a key of TX is, if it is one that operators set.
func captured(key string) (int, bool) {
	n, err := strconv.Atoi(key)
	return n, err == nil && n >= 0 && n <= 10
}
