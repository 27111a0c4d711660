package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// usageWidth is how wide help is printed, in columns.
const usageWidth = 80

// A command is what one command line starts.
type command struct {
	name, help string // the name of one in a group is two words
	action     action
}

// An action has its flags in itself.
type action interface {
	// flags binds the flags. What they do not say comes from env.
	flags(set *pflag.FlagSet, env *environment)
	Run(ctx context.Context, env *environment) error
}

// An operand is an argument that is no flag, for actions that want one.
type operand struct {
	name string // as help has it
	to   *string
}

// operandOf is what the action wants beside its flags; nil for nothing.
func operandOf(a action) *operand {
	if v, ok := a.(interface{ operand() *operand }); ok {
		return v.operand()
	}
	return nil
}

// errHelp is the answer to --help: what was asked for is printed, and nothing more is to do.
var errHelp = errors.New("help")

// parse finds the command that args name and binds its flags. What is wrong is said in one line, which
// names what was probably meant.
func parse(list []command, args []string, env *environment) (action, error) {
	if args[0] == "help" {
		args = append(slices.Clip(args[1:]), "--help")
	}
	var words []string // of the command
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			break
		}
		words = append(words, arg)
		if i := slices.IndexFunc(list, func(c command) bool { return c.name == strings.Join(words, " ") }); i >= 0 {
			return list[i].parse(args[len(words):], env)
		}
		if len(inGroup(list, words)) == 0 {
			known := next(list, words[:len(words)-1])
			return nil, fmt.Errorf("unexpected argument %s%s", arg, alike(arg, known))
		}
	}
	if len(words) == len(args) {
		return nil, fmt.Errorf("expected one of %s", quoted(next(list, words)))
	}
	switch flag := args[len(words)]; {
	case flag == "-h" || flag == "--help":
		writeUsage(env.stdout, inGroup(list, words), words)
		return nil, errHelp
	case flag == "--version":
		return nil, fmt.Errorf("unknown flag %s, did you mean %q?", flag, "version")
	default:
		return nil, fmt.Errorf("unknown flag %s: the command comes first, one of %s", flag, quoted(next(list, words)))
	}
}

// inGroup lists the commands whose names begin with words.
func inGroup(list []command, words []string) (found []command) {
	for _, c := range list {
		name := strings.Fields(c.name)
		if len(name) >= len(words) && slices.Equal(name[:len(words)], words) {
			found = append(found, c)
		}
	}
	return found
}

// next lists the words that can follow words.
func next(list []command, words []string) (found []string) {
	for _, c := range inGroup(list, words) {
		if word := strings.Fields(c.name)[len(words)]; !slices.Contains(found, word) {
			found = append(found, word)
		}
	}
	return found
}

// parse binds args to the command's flags.
func (c command) parse(args []string, env *environment) (action, error) {
	set := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	set.SortFlags = false
	help := set.BoolP("help", "h", false, "Show this help.")
	c.action.flags(set, env)
	err := set.Parse(args)
	wanted := operandOf(c.action)
	switch {
	case *help:
		usage := c.name
		if wanted != nil {
			usage += " " + wanted.name
		}
		fmt.Fprintf(env.stdout, "Usage: gatehouse %s [flags]\n\n%s\n\nFlags:\n", usage, c.help)
		writeRows(env.stdout, flagRows(set))
		return nil, errHelp
	case err != nil:
		return nil, explain(err, set)
	case wanted != nil && set.NArg() == 1:
		*wanted.to = set.Arg(0)
	case wanted != nil && set.NArg() == 0:
		return nil, fmt.Errorf("%s: want %s", c.name, wanted.name)
	case wanted != nil:
		return nil, fmt.Errorf("%s: want one %s, got %s", c.name, wanted.name, quoted(set.Args()))
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %s%s", set.Arg(0), meant(set))
	}
	if v, ok := c.action.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return c.action, nil
}

// explain words the parser's errors as the rest of the program does.
func explain(err error, set *pflag.FlagSet) error {
	var known []string
	set.VisitAll(func(f *pflag.Flag) {
		known = append(known, "--"+f.Name)
		if f.Shorthand != "" {
			known = append(known, "-"+f.Shorthand)
		}
	})
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if e.GetSpecifiedShortnames() != "" {
			flag := "-" + e.GetSpecifiedName()
			short := slices.DeleteFunc(known, func(name string) bool { return strings.HasPrefix(name, "--") })
			return fmt.Errorf("unknown flag %s, want one of %s", flag, quoted(short))
		}
		flag := "--" + e.GetSpecifiedName()
		return fmt.Errorf("unknown flag %s%s", flag, alike(flag, known))
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("--%s: want a value, got none", e.GetFlag().Name)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("--%s: want a %s, got %q", e.GetFlag().Name, e.GetFlag().Value.Type(), e.GetValue())
	}
	return err
}

// meant is what people write who know other programs, and what it is here.
func meant(set *pflag.FlagSet) string {
	if config := set.Lookup("config"); config != nil && !config.Changed && set.NArg() == 1 {
		return fmt.Sprintf(", did you mean %q?", "-c "+set.Arg(0))
	}
	return ""
}

// alike names the one of known that was probably meant.
func alike(word string, known []string) string {
	const most = 2 // wrong letters
	best, least := "", most+1
	for _, name := range known {
		if d := distance(word, name); d < least && 2*d <= len(name)+1 {
			best, least = name, d
		}
	}
	if best == "" {
		return ", want one of " + quoted(known)
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// distance counts the letters to put in, leave out or change that make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// quoted lists words for a message.
func quoted(words []string) string {
	return `"` + strings.Join(words, `", "`) + `"`
}

// writeUsage prints what the program, or a group of its commands, can do.
func writeUsage(w io.Writer, list []command, words []string) {
	name := strings.Join(append([]string{"gatehouse"}, words...), " ")
	fmt.Fprintf(w, "Usage: %s <command>\n\n", name)
	if len(words) == 0 {
		fmt.Fprint(w, "A front door for private web applications: TLS, WAF, limits, sign-in and signed\nidentity in one process.\n\n")
	}
	fmt.Fprintln(w, "Commands:")
	rows := make([][2]string, len(list))
	for i, c := range list {
		rows[i] = [2]string{c.name, c.help}
	}
	writeRows(w, rows)
	fmt.Fprintln(w, "\nRun \"gatehouse <command> --help\" for its flags.")
}

// flagRows are the flags and what each is for. (pflag's own list ends every switch in "[=true|false]".)
func flagRows(set *pflag.FlagSet) (rows [][2]string) {
	set.VisitAll(func(f *pflag.Flag) {
		value, text := pflag.UnquoteUsage(f)
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		if f.NoOptDefVal == "" { // it wants a value
			name += "=" + value
			if f.DefValue != "" && f.DefValue != "[]" {
				text += " Default: " + f.DefValue + "."
			}
		}
		rows = append(rows, [2]string{name, text})
	})
	return rows
}

// writeRows prints names and, beside them, texts that wrap at the width of the help.
func writeRows(w io.Writer, rows [][2]string) {
	indent := 0
	for _, row := range rows {
		indent = max(indent, len("  ")+len(row[0])+len("   "))
	}
	for _, row := range rows {
		line := fmt.Sprintf("%-*s", indent, "  "+row[0])
		for i, word := range strings.Fields(row[1]) {
			switch {
			case i == 0:
			case len(line)+len(" ")+len(word) > usageWidth:
				fmt.Fprintln(w, line)
				line = strings.Repeat(" ", indent)
			default:
				line += " "
			}
			line += word
		}
		fmt.Fprintln(w, line)
	}
}
