package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// A tree is the repository, or a small one that a test made up.
type tree struct {
	module string
	set    *token.FileSet
	files  []*source
	texts  map[string][]byte // every file that is not binary, by path
}

// A source is one Go file.
type source struct {
	path, dir string
	test      bool
	syntax    *ast.File
}

// A rule returns what breaks it, each as "place: what".
type rule func(t *tree) []string

// load reads a tree. It leaves out what git ignores and parses no Go below testdata.
func load(fsys fs.FS) (*tree, error) {
	t := &tree{set: token.NewFileSet(), texts: make(map[string][]byte)}
	ignored, err := ignorePatterns(fsys)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".git" || ignored(name, entry.IsDir()):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || !entry.Type().IsRegular():
			return nil
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(content, 0) < 0 {
			t.texts[name] = content
		}
		if !strings.HasSuffix(name, ".go") || slices.Contains(strings.Split(name, "/"), "testdata") {
			return nil
		}
		syntax, err := parser.ParseFile(t.set, name, content, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		t.files = append(t.files, &source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), syntax})
		return nil
	})
	if err != nil {
		return nil, err
	}
	module := regexp.MustCompile(`(?m)^module (\S+)$`).FindSubmatch(t.texts["go.mod"])
	if module == nil {
		return nil, fmt.Errorf("go.mod: names no module")
	}
	t.module = string(module[1])
	return t, nil
}

// ignorePatterns reads the few forms that our .gitignore uses: "/name", "/dir/", "dir/" and "*.ext".
func ignorePatterns(fsys fs.FS) (func(name string, dir bool) bool, error) {
	content, err := fs.ReadFile(fsys, ".gitignore")
	if err != nil {
		return nil, err
	}
	patterns := strings.Fields(string(content))
	return func(name string, dir bool) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			pattern, dirOnly := strings.CutSuffix(pattern, "/")
			if dirOnly && !dir {
				return false
			}
			if top, ok := strings.CutPrefix(pattern, "/"); ok {
				return name == top
			}
			match, err := path.Match(pattern, path.Base(name))
			return err == nil && match
		})
	}, nil
}

// at returns where a node is.
func (t *tree) at(node ast.Node) string {
	position := t.set.Position(node.Pos())
	return position.Filename + ":" + strconv.Itoa(position.Line)
}

// imports returns the path of an import.
func imports(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil { // the parser has read it
		panic(err)
	}
	return name
}

// rules are all the rules, by the name of the subtest that runs each.
func rules() map[string]rule {
	return map[string]rule{
		"imports between our packages follow the arrows": checkArrows,
		"third-party packages stay at home":              checkHomes,
		"every package has one doc comment":              checkPackageDocs,
		"no init functions":                              checkInit,
		"no package-level mutable state":                 checkState,
		"nothing forbidden is called":                    checkCalls,
		"tests wait for what they want to see":           checkTestCalls,
		"goroutines and response writers have one owner": checkOwners,
		"functions and files stay small":                 checkSizes,
		"the top level is the layout":                    checkLayout,
		"no file names a machine":                        checkMachines,
		"nothing is left to do":                          checkTodo,
	}
}

func TestRepository(t *testing.T) {
	t.Parallel()
	repository, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(repository.files) < 10 || repository.module != "gatehouse" {
		t.Fatalf("found %d Go files of module %s: this is not the repository", len(repository.files), repository.module)
	}
	for name, check := range rules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, finding := range check(repository) {
				t.Error(finding)
			}
		})
	}
}

// small makes a tree of files, with a go.mod and a .gitignore beside them.
func small(t *testing.T, files map[string]string) *tree {
	t.Helper()
	fsys := fstest.MapFS{
		"go.mod":     {Data: []byte("module gatehouse\n\ngo 1.26\n")},
		".gitignore": {Data: []byte("/gatehouse\n/dist/\nnode_modules/\n*.prof\n")},
	}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	made, err := load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A sample is a tree of one file, and what a rule must say of it: "" for nothing.
type sample struct{ path, content, want string }

func runSamples(t *testing.T, check rule, samples map[string]sample) {
	t.Helper()
	for name, s := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := check(small(t, map[string]string{s.path: s.content}))
			switch {
			case s.want == "" && len(found) > 0:
				t.Errorf("found %q, want nothing", found)
			case s.want != "" && (len(found) != 1 || !strings.Contains(found[0], s.want) || !strings.HasPrefix(found[0], s.path)):
				t.Errorf("found %q, want one about %q at %s", found, s.want, s.path)
			}
		})
	}
}

func TestLoadLeavesOutWhatGitIgnores(t *testing.T) {
	t.Parallel()
	made := small(t, map[string]string{
		"a/a.go": "package a", "gatehouse": "x", "dist/x.go": "not Go", "e2e/node_modules/y.go": "not Go", "cpu.prof": "x",
		".git/config": "x", "a/testdata/z.go": "not Go", "cmd/gatehouse/main.go": "package main", "binary": "a\x00b",
	})
	var got []string
	for name := range made.texts {
		got = append(got, name)
	}
	slices.Sort(got)
	want := []string{".gitignore", "a/a.go", "a/testdata/z.go", "cmd/gatehouse/main.go", "go.mod"}
	if !slices.Equal(got, want) || len(made.files) != 2 {
		t.Errorf("loaded %q and parsed %d, want %q and 2", got, len(made.files), want)
	}
}
