package configs

import (
	"fmt"
	"slices"
	"strings"
)

// oneOf writes the accepted values as people say them: "a", "b" or "c".
func oneOf(accepted []string) string {
	quoted := make([]string, len(accepted))
	for i, a := range accepted {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// maxListed is how many names a message lists.
const maxListed = 30

// listed writes names as a list; "none" when there are none.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Sorted(slices.Values(names))
	if len(names) > maxListed {
		return strings.Join(names[:maxListed], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
