package archtest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// layout is what may stand at the top level.
func layout() (dirs, files []string) {
	return []string{".ci", ".github", "authn", "cmd", "configs", "docs", "e2e", "headers", "internal", "proxy", "waf"},
		[]string{
			".dockerignore", ".editorconfig", ".gitattributes", ".gitignore", ".golangci.yml",
			"CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "NOTICE", "README.md", "SECURITY.md", "go.mod", "go.sum",
		}
}

// checkLayout reports what stands beside the layout.
func checkLayout(t *tree) (found []string) {
	dirs, files := layout()
	seen := make(map[string]bool)
	for name := range t.texts {
		top, _, below := strings.Cut(name, "/")
		if seen[top] {
			continue
		}
		seen[top] = true
		switch {
		case below && !slices.Contains(dirs, top):
			found = append(found, top+"/: a folder outside the layout; rooms are below "+strings.Join(dirs[2:], ", "))
		case !below && !slices.Contains(files, top):
			found = append(found, top+": a file outside the layout")
		}
	}
	slices.Sort(found)
	return found
}

// machines are what only one machine knows: its folders and where it fetches packages. They are
// written in halves, because this file is searched too.
func machines() []string {
	return []string{"/wo" + "rk/", "/ro" + "ot/", "/fa" + "rm/", "proxy.gol" + "ang.org", "registry.np" + "mjs", "deb.deb" + "ian.org"}
}

// checkMachines reports files that name a machine.
func checkMachines(t *tree) []string {
	return search(t, machines(), func(string) bool { return true }, "names a machine or a registry")
}

// checkTodo reports work that a comment puts off.
func checkTodo(t *tree) []string {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X:"}
	return search(t, marks, func(name string) bool { return strings.HasSuffix(name, ".go") }, "do it, or write an issue")
}

func search(t *tree, needles []string, within func(name string) bool, why string) (found []string) {
	for _, name := range slices.Sorted(maps.Keys(t.texts)) {
		if !within(name) {
			continue
		}
		number := 0
		for line := range bytes.Lines(t.texts[name]) {
			number++
			for _, needle := range needles {
				if bytes.Contains(line, []byte(needle)) {
					found = append(found, fmt.Sprintf("%s:%d: %s: %s", name, number, needle, why))
				}
			}
		}
	}
	return found
}

func TestCheckLayout(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"util/a.md":          "util/: a folder",
		".cache/x":           ".cache/: a folder",
		"NOTES.md":           "NOTES.md: a file",
		"waf.go":             "waf.go: a file",
		"proxy/cache/a.md":   "",
		"README.md":          "",
		"gatehouse":          "", // git ignores the binary
		".github/x/ci.yml":   "",
		"docs/adr/0001-a.md": "",
	} {
		found := checkLayout(small(t, map[string]string{name: "package x"}))
		if got := strings.Join(found, "\n"); (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
	}
}

func TestCheckMachines(t *testing.T) {
	t.Parallel()
	samples := map[string]sample{"a path of ours": {"docs/a.md", "/etc/gatehouse/gatehouse.yaml and /workspace", ""}}
	for _, needle := range machines() {
		samples["in a document: "+needle] = sample{"docs/a.md", "one\ntwo " + needle + "x", needle}
		samples["in test data: "+needle] = sample{"e2e/testdata/a.txt", "see " + needle, needle}
	}
	runSamples(t, checkMachines, samples)
}

func TestCheckTodo(t *testing.T) {
	t.Parallel()
	runSamples(t, checkTodo, map[string]sample{
		"later":         {"waf/a.go", "package waf\n// TO" + "DO: later", "do it"},
		"fix":           {"waf/a_test.go", "package waf // FIX" + "ME", "do it"},
		"in a document": {"docs/a.md", "TO" + "DO", ""},
		"a context":     {"waf/a.go", "package waf\nvar ctx = context.TO" + "DO()", "do it"},
	})
}
