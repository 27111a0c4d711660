// Package suggest finds the word that somebody probably meant to write.
package suggest

import (
	"fmt"
	"strings"
)

// Nearest returns the entry of accepted that got was probably meant to be, or "". At most a third
// of the characters may differ, so that a suggestion is never a guess.
func Nearest(got string, accepted []string) string {
	got = Canonical(got)
	best, bestDistance := "", len(got)/3+1
	for _, want := range accepted {
		d := distance(got, Canonical(want))
		if d < bestDistance || (d == 0 && best == "") {
			best, bestDistance = want, d
		}
	}
	return best
}

// Canonical makes spellings equal that people take for each other.
func Canonical(s string) string {
	if len(s) > 64 {
		s = s[:64] // bounds distance, which is quadratic
	}
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours between a
// and b (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(y)]
}

// DidYouMean returns `: did you mean "x"?` when one of accepted is near got, else "".
func DidYouMean(got string, accepted []string) string {
	if best := Nearest(got, accepted); best != "" {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	return ""
}
