package configs

import (
	"errors"
	"strings"
	"testing"
)

// TestHostileFilesEndInOneProblem: whatever is thrown at the parser, it answers, and soon: these
// took minutes or the stack before they were bounded.
func TestHostileFilesEndInOneProblem(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"brackets":        {strings.Repeat("[", maxFile/16), "nested too deep"},
		"braces":          {strings.Repeat("{a: ", maxFile/16), "nested too deep"},
		"dashes":          {strings.Repeat("- ", maxFile/16), "nested too deep"},
		"question marks":  {strings.Repeat("? ", maxFile/16), "nested too deep"},
		"keys":            {strings.Repeat("a: b\n", maxEntries+1), "too long"},
		"keys below keys": {strings.Repeat("a:\n ", maxEntries+2), "too long"},
		"a flow mapping":  {"{" + strings.Repeat("a: b, ", maxEntries+1) + "}", "too long"},
		"open references": {strings.Repeat("${", maxFile/16), "want a mapping"},
		"one word":        {strings.Repeat("x", maxFile/16), "want a mapping"},
		"too much":        {strings.Repeat("x", maxFile+1), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := loadText(t, tt.text)
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("got %d Problems (%T), want 1", len(problems), err)
			}
			if !strings.Contains(problems[0].Msg, tt.want) {
				t.Errorf("got %q, want %q in it", problems[0].Msg, tt.want)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("the Problem has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "routes:\n"+strings.Repeat("  - {x: 1}\n", maxProblems))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != maxProblems {
		t.Errorf("got %d Problems, want %d", len(problems), maxProblems)
	}
}
