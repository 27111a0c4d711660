package waf

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

// A ruleFile is one file of rules.
type ruleFile struct{ name, text string }

// A source is where the rules of an engine come from: the Core Rule Set, and what the operator has beside it.
type source struct {
	lists  fs.FS      // where @pmFromFile finds its lists
	crs    []ruleFile // in the order in which they run
	setup  []ruleFile // settings of the set
	before []ruleFile // rules of the operator's, before the set's
	own    []ruleFile // and after them
}

// embedded is the set that is built in.
var embedded = sync.OnceValues(func() (*source, error) {
	lists, err := fs.Sub(coreruleset.FS, crsDir)
	if err != nil {
		return nil, fmt.Errorf("core rule set: %w", err)
	}
	s := &source{lists: lists}
	names, err := fs.Glob(lists, "*.conf")
	if err != nil {
		return nil, fmt.Errorf("core rule set: %w", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(lists, name)
		if err != nil {
			return nil, fmt.Errorf("core rule set: %w", err)
		}
		s.crs = append(s.crs, ruleFile{name, string(text)})
	}
	s.crs = inOrder(s.crs)
	return s, nil
})

// inOrder are the files of a set that are used, in the order in which they run. 905 is left out: it switches the set off
// for whoever comes from a loopback address with a certain User-Agent. 980 only sums up for a log.
func inOrder(files []ruleFile) []ruleFile {
	files = slices.DeleteFunc(files, func(f ruleFile) bool {
		n := fileNumber(f.name)
		return n == "905" || n == "980" || !strings.HasPrefix(f.name, "REQUEST-") && !strings.HasPrefix(f.name, "RESPONSE-95")
	})
	sort.Slice(files, func(i, j int) bool { return files[i].name < files[j].name })
	return files
}

// requests are the files of the set that read requests, answers those that read answers.
func (s *source) requests() []ruleFile {
	return slices.DeleteFunc(slices.Clone(s.crs), func(f ruleFile) bool { return !strings.HasPrefix(f.name, "REQUEST-") })
}

func (s *source) answers() []ruleFile {
	return slices.DeleteFunc(slices.Clone(s.crs), func(f ruleFile) bool { return !strings.HasPrefix(f.name, "RESPONSE-") })
}

// source is that of c. The error has every problem of the directory.
func (c Config) source() (*source, error) {
	if c.RulesDir == "" {
		return embedded()
	}
	return readRulesDir(c.RulesDir, false)
}

// hash writes the content of every rule file and list to w, so that no two sets write the same.
func (s *source) hash(w io.Writer) {
	put := func(name, text string) {
		fmt.Fprintf(w, "%q %d\n", name, len(text))
		_, _ = io.WriteString(w, text) // quoted it would take 20 ms of a start
	}
	for _, list := range [][]ruleFile{s.crs, s.setup, s.before, s.own} {
		for _, f := range list {
			put(f.name, f.text)
		}
		fmt.Fprintln(w)
	}
	lists, _ := fs.Glob(s.lists, "*.data") // only a malformed pattern fails
	for _, name := range lists {
		b, _ := fs.ReadFile(s.lists, name)
		put(name, string(b))
	}
	own, _ := fs.Glob(ownRules, "rules/*.conf")
	for _, name := range own {
		b, _ := ownRules.ReadFile(name)
		put(name, string(b))
	}
}

// known is every detection rule of every level and group, by id.
func (s *source) known() map[int]crsRule {
	known := map[int]crsRule{}
	add := func(rules []crsRule) {
		for _, r := range rules {
			if r.finds() && !leftOut(r.id) {
				known[r.id] = r
			}
		}
	}
	for _, f := range s.crs {
		add(parseRules(fileNumber(f.name), f.text))
	}
	for _, name := range []string{"base.conf", "gatehouse.conf"} {
		text, _ := ownRules.ReadFile("rules/" + name)
		add(parseRules("", string(text)))
	}
	for _, f := range slices.Concat(s.before, s.own) {
		add(operatorRules(f.text))
	}
	return known
}

// knownRules are those of the set that is built in. Nobody changes them.
var knownRules = sync.OnceValue(func() map[int]crsRule {
	s, err := embedded()
	if err != nil {
		return nil
	}
	return s.known()
})

// known are the rules that exclusions of c can be about; nil if the directory of rules cannot be used, which is told by
// itself.
func (c Config) known() map[int]crsRule {
	if c.RulesDir == "" {
		return knownRules()
	}
	s, err := c.source()
	if err != nil {
		return nil
	}
	return s.known()
}

// A memory is a directory that was read, so that what is checked is what is used, and nothing outside it is ever opened.
type memory map[string][]byte

// Open implements fs.FS.
func (m memory) Open(name string) (fs.File, error) {
	text, ok := m[name]
	if !fs.ValidPath(name) || !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memoryFile{*bytes.NewReader(text), name}, nil
}

// Glob implements fs.GlobFS for patterns of one name, which is all that is asked.
func (m memory) Glob(pattern string) ([]string, error) {
	var out []string
	suffix := strings.TrimPrefix(pattern, "*")
	for name := range m {
		if strings.HasSuffix(name, suffix) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

type memoryFile struct {
	bytes.Reader
	name string
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *memoryFile) Close() error               { return nil }
func (f *memoryFile) Name() string               { return f.name }
func (f *memoryFile) Mode() fs.FileMode          { return 0o444 }
func (f *memoryFile) ModTime() time.Time         { return time.Time{} }
func (f *memoryFile) IsDir() bool                { return false }
func (f *memoryFile) Sys() any                   { return nil }
