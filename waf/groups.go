package waf

import (
	"fmt"
	"slices"
	"strings"
)

// A group is a part of the Core Rule Set under the name that the AWS managed rule groups have made
// usual. Protocol errors and the refusals of unreadable bodies belong to every engine.
type group struct {
	name string
	// files are the first three digits of the rule files, which are also those of the rule ids.
	files []string
	// platform keeps, of file 932, only the rules about it and those about both; "" keeps all.
	platform string
}

// groups lists every group, in the order in which they are named to people.
func groups() []group {
	return []group{
		{name: "core", files: []string{"911", "913", "920", "921", "922", "930", "931", "941", "943"}},
		{name: "known-bad-inputs", files: []string{"921", "934", "944"}},
		{name: "sqli", files: []string{"942"}},
		{name: "linux", files: []string{"930", "932"}, platform: "unix"},
		{name: "posix", files: []string{"932"}, platform: "unix"},
		{name: "windows", files: []string{"932"}, platform: "windows"},
		{name: "php", files: []string{"933"}},
	}
}

// responseGroup is the AWS-like name of the rules that read answers. They are not built in: answers
// stream past the engine untouched.
const responseGroup = "leakages"

func groupNames() []string {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	return names
}

// checkGroup says what is wrong with a group's name, or nothing.
func checkGroup(name string) string {
	names := groupNames()
	if slices.Contains(names, name) {
		return ""
	}
	accepted := strings.Join(names, ", ")
	if name == responseGroup {
		return fmt.Sprintf("group %q inspects answers, which are passed on untouched (want any of %s)", name, accepted)
	}
	return fmt.Sprintf("unknown group %q (want any of %s)", name, accepted)
}

// has reports whether a rule of the Core Rule Set belongs to g.
func (g group) has(r crsRule) bool {
	if !slices.Contains(g.files, r.file) {
		return false
	}
	// Rules of file 932 that name no single platform, or both, belong to each.
	return g.platform == "" || r.file != "932" || r.platform == "" || r.platform == g.platform
}
