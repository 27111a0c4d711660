package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, from the directory that tests run in.
const root = ".."

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeShowsTheProductionFile holds the README's file equal to the example that configs loads in its tests.
func TestReadmeShowsTheProductionFile(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile(filepath.Join(root, "configs", "examples", "production.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if block := "```yaml\n" + string(want) + "```\n"; !strings.Contains(readme(t), block) {
		t.Errorf("the README does not have this block:\n%s", block)
	}
}

func TestReadmeListsTheCommands(t *testing.T) {
	t.Parallel()
	help := runToEnd(t, t.TempDir(), nil, "--help")
	_, list, found := strings.Cut(help.stdout, "\nCommands:\n")
	if help.code != 0 || !found {
		t.Fatalf("--help: exit %d\n%s%s", help.code, help.stdout, help.stderr)
	}
	want := firstOf(regexp.MustCompile(`(?m)^  ([a-z]+)\b`).FindAllStringSubmatch(list, -1))
	_, table, _ := strings.Cut(readme(t), "\n## Commands\n")
	table, _, _ = strings.Cut(table, "\n## ")
	got := firstOf(regexp.MustCompile("(?m)^\\| `gatehouse ([a-z]+)").FindAllStringSubmatch(table, -1))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("commands: got %v, want those of --help, %v", got, want)
	}
}

func TestReadmeLinksToWhatThereIs(t *testing.T) {
	t.Parallel()
	links := firstOf(regexp.MustCompile(`(?:\]\(|src="|srcset=")([^)"#]+)`).FindAllStringSubmatch(readme(t), -1))
	if len(links) < 10 {
		t.Fatalf("want the README's links, got %v", links)
	}
	for _, link := range links {
		if strings.Contains(link, "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(link))); err != nil {
			t.Error(err)
		}
	}
}

func firstOf(matches [][]string) (groups []string) {
	for _, m := range matches {
		groups = append(groups, m[1])
	}
	return groups
}
