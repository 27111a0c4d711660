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

// responseGroup is the AWS-like name of the rules that read answers. It runs only where it is named.
const responseGroup = "leakages"

// allGroups is groups and the one that reads answers.
func allGroups() []group {
	return append(groups(), group{name: responseGroup, files: []string{"950", "951", "952", "953", "954", "955", "956"}})
}

// groupNames names the groups that read requests.
func groupNames() []string {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	return names
}

func isRequestGroup(name string) bool { return slices.Contains(groupNames(), name) }

// checkGroup says what is wrong with a group's name, or nothing.
func checkGroup(name string) string {
	names := append(groupNames(), responseGroup)
	if slices.Contains(names, name) {
		return ""
	}
	return fmt.Sprintf("unknown group %q (want any of %s)", name, strings.Join(names, ", "))
}

// has reports whether a rule of the Core Rule Set belongs to g.
func (g group) has(r crsRule) bool {
	if !slices.Contains(g.files, r.file) {
		return false
	}
	// Rules of file 932 that name no single platform, or both, belong to each.
	return g.platform == "" || r.file != "932" || r.platform == "" || r.platform == g.platform
}
