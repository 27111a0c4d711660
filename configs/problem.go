package configs

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode"
)

// A Problem is one thing that is wrong with the configuration file, and where. A lint is a Problem
// too: one that does not keep the file from being used.
type Problem struct {
	File string // as it was given to Load
	Line int    // from 1; 0 when the Problem is about the file as a whole
	Col  int    // from 1, counted in characters, not bytes
	Path string // such as "routes[1].require"; empty at the top
	Msg  string // what is wrong, and what would be accepted
	// Source is the line of the file that is meant, with the values of secrets masked.
	Source string
}

// maxShown is how much of a source line is printed: a terminal's width less the margin.
const maxShown = 100

// Error returns "file:line:col: path: message" and below it the source line with a caret. It
// implements error, so that a single Problem can be wrapped.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Msg)
	if p.Line > 0 && p.Source != "" {
		line, caret := excerpt(p.Source, p.Col)
		fmt.Fprintf(&b, "\n    %s\n    %s^", line, caret)
	}
	return b.String()
}

// excerpt returns the part of line around column col, fit for a terminal, and the blanks that put a
// caret under the column.
func excerpt(line string, col int) (shown, blanks string) {
	runes := []rune(line)
	at := min(max(col-1, 0), len(runes))
	start := 0
	if len(runes) > maxShown && at > maxShown*3/4 {
		start = at - maxShown*3/4
	}
	end := min(len(runes), start+maxShown)
	window := slices.Clone(runes[start:end])
	if start > 0 {
		window[0] = '…'
	}
	if end < len(runes) {
		window[len(window)-1] = '…'
	}
	for i, r := range window {
		if !unicode.IsPrint(r) && r != '\t' {
			window[i] = unicode.ReplacementChar
		}
	}
	var pad strings.Builder
	for _, r := range window[:min(at-start, len(window))] {
		if r == '\t' {
			pad.WriteByte('\t')
		} else {
			pad.WriteByte(' ')
		}
	}
	return string(window), pad.String()
}

// Problems is everything that is wrong with a file, in the order of its lines. It is the error that
// Load returns, and it is never empty then.
type Problems []Problem

// Error returns all Problems, one below the other.
func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap lets errors.As find a single Problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// Sorted orders problems by place and drops what was said twice.
func (ps Problems) Sorted() Problems {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Path, b.Path)) < 0
	})
	return slices.Compact(ps)
}
