package gate

import (
	"regexp"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// text is what is left of the rules for the engine.
func (b *builder) text() string {
	var out strings.Builder
	for _, r := range b.rules {
		if len(r.links) == 0 {
			out.WriteString(r.plain)
			out.WriteByte('\n')
			continue
		}
		captures := b.opts.KeepLogs || b.foreign || r.usesCaptures()
		for i := range r.links {
			b.write(&out, &r.links[i], captures)
		}
	}
	return out.String()
}

var capturedMacro = regexp.MustCompile(`(?i)%\{tx\.\d+\}`)

// usesCaptures reports that what an operator captures is used by the rule itself, other than in a log.
func (r *rule) usesCaptures() bool {
	for i := range r.links {
		l := &r.links[i]
		for _, t := range l.targets {
			if t.variable == variables.TX && t.findsCaptures() {
				return true
			}
		}
		if capturedMacro.MatchString(l.op.arg) {
			return true
		}
		for _, a := range l.actions {
			if a.name != "logdata" && capturedMacro.MatchString(a.value) {
				return true
			}
		}
	}
	return false
}

func (b *builder) write(out *strings.Builder, l *link, captures bool) {
	out.WriteString(l.name)
	if len(l.targets) > 0 || l.op.name != "" {
		out.WriteByte(' ')
		out.WriteString(l.variables)
		out.WriteString(` "`)
		out.WriteString(strings.ReplaceAll(b.operator(l), `"`, `\"`))
		out.WriteByte('"')
	}
	var actions []string
	own := b.begins(l)
	for i, a := range l.actions {
		if i == own {
			actions = append(actions, "t:"+b.opts.Apart[b.apart%len(b.opts.Apart)])
			b.apart++
		}
		if a.name == "logdata" && !b.opts.KeepLogs || a.name == "capture" && !captures {
			continue
		}
		actions = append(actions, a.text)
	}
	if len(actions) > 0 {
		out.WriteString(` "`)
		out.WriteString(strings.Join(actions, ","))
		out.WriteByte('"')
	}
	out.WriteByte('\n')
}

// begins is where among its actions the transformations of a link begin, or -1 if it has none that the engine
// would keep.
func (b *builder) begins(l *link) int {
	at := -1
	if len(b.opts.Apart) == 0 || l.multi {
		return at
	}
	for i, a := range l.actions {
		switch {
		case a.name != "t":
		case a.value == "none":
			at = -1
		case at < 0:
			at = i
		}
	}
	return at
}

// operator is written as the engine is to read it.
func (b *builder) operator(l *link) string {
	name, arg := l.op.name, l.op.arg
	if strings.EqualFold(name, "rx") && b.opts.Matcher != "" {
		if _, err := b.patterns.Rx(arg); err == nil && !OverBytes(RxFlags+arg) {
			name = b.opts.Matcher
		}
	}
	switch {
	case strings.EqualFold(name, "detectSQLi") && b.opts.SQLi != "":
		name = b.opts.SQLi
	case strings.EqualFold(name, "detectXSS") && b.opts.XSS != "":
		name = b.opts.XSS
	}
	if filled, ok := b.argument(l); ok && filled == strings.TrimSpace(filled) && filled != "" {
		arg = filled
	}
	text := "@" + name
	if arg != "" {
		text += " " + arg
	}
	if l.op.negated {
		text = "!" + text
	}
	return text
}
