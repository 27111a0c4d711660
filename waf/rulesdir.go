package waf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Bounds of a directory of rules. The Core Rule Set has some 60 files and 2 MB.
const (
	maxRuleFiles     = 500
	maxRuleFile      = 4 << 20
	maxRuleBytes     = 32 << 20
	maxRulesProblems = 50
)

// A RulesProblem is one thing that is wrong with a directory of rules.
type RulesProblem struct {
	File      string // within the directory; "" for the directory itself
	Line      int    // 0 for the file as a whole
	Directive string // what is wrong there, such as SecRuleEngine or a rule's id
	Msg       string
}

// Error implements error.
func (p RulesProblem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Directive != "" {
		b.WriteString(p.Directive + ": ")
	}
	return b.String() + p.Msg
}

// rulesProblems are all that is wrong with a directory.
type rulesProblems []RulesProblem

func (list rulesProblems) Error() string {
	errs := make([]error, len(list))
	for i, p := range list {
		errs[i] = p
	}
	return errors.Join(errs...).Error()
}

// readRulesDir reads a directory of rules and of lists. It follows no link out of the directory, and waits for nothing.
// With compiles, every rule is compiled too. The error is rulesProblems.
func readRulesDir(dir string, compiles bool) (*source, error) {
	files, problems := snapshot(dir)
	s := &source{lists: lists(files)}
	whole := slices.ContainsFunc(files, func(f ruleFile) bool { return path.Base(f.name) == "REQUEST-901-INITIALIZATION.conf" })
	for _, f := range files {
		base := path.Base(f.name)
		switch {
		case !strings.HasSuffix(base, ".conf"):
		case base == "crs-setup.conf":
			s.setup = append(s.setup, f)
		case strings.HasPrefix(base, "REQUEST-900-") || strings.HasPrefix(base, "before-"):
			s.before = append(s.before, f)
		case strings.HasPrefix(base, "RESPONSE-999-"), strings.HasPrefix(base, "REQUEST-999-") && !whole:
			s.own = append(s.own, f)
		case whole && (strings.HasPrefix(base, "REQUEST-9") || strings.HasPrefix(base, "RESPONSE-9")):
			s.crs = append(s.crs, ruleFile{base, f.text})
		default:
			s.own = append(s.own, f)
		}
	}
	if whole {
		s.crs = inOrder(s.crs)
		problems = append(problems, missingFiles(s.crs)...)
	} else if built, err := embedded(); err == nil {
		s.crs = built.crs
		s.lists = overlay{s.lists, built.lists}
	}
	if len(files) > 0 && len(s.crs)+len(s.own)+len(s.before)+len(s.setup) == 0 || len(files) == 0 && len(problems) == 0 {
		problems = append(problems, RulesProblem{Msg: "has no .conf file (want the files of a Core Rule Set, or rules of your own)"})
	}
	if len(problems) == 0 {
		problems = append(problems, s.check(whole, compiles)...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// missingFiles tells of files without which a set does not decide anything.
func missingFiles(crs []ruleFile) (problems rulesProblems) {
	for _, number := range []string{"901", "949"} {
		if !slices.ContainsFunc(crs, func(f ruleFile) bool { return fileNumber(f.name) == number }) {
			problems = append(problems, RulesProblem{Msg: fmt.Sprintf("has a part of a Core Rule Set: there is no REQUEST-%s-*.conf (want the whole set, or none of it)", number)})
		}
	}
	return problems
}

// lists are the lists among files, by their last name, under which rules name them.
func lists(files []ruleFile) memory {
	m := memory{}
	for _, f := range files {
		if !strings.HasSuffix(f.name, ".conf") {
			m[f.name] = []byte(f.text)
			m[path.Base(f.name)] = []byte(f.text)
		}
	}
	return m
}

// An overlay finds what the first of two directories does not have in the second.
type overlay struct{ over, under fs.FS }

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	f, err := o.over.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return o.under.Open(name)
	}
	return f, err
}

// Glob implements fs.GlobFS.
func (o overlay) Glob(pattern string) ([]string, error) {
	a, err := fs.Glob(o.over, pattern)
	if err != nil {
		return nil, err
	}
	b, err := fs.Glob(o.under, pattern)
	all := append(a, b...)
	slices.Sort(all)
	return slices.Compact(all), err
}

// RuleFiles names what a reload of a directory of rules depends on: the directory itself with a slash behind it, and those
// of the directories in it that are read.
func RuleFiles(dir string) []string {
	return []string{path.Clean(dir) + "/", path.Join(dir, "rules") + "/"}
}

// snapshot reads the .conf and .data files of dir and of dir/rules.
func snapshot(dir string) (files []ruleFile, problems rulesProblems) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() { // opening a pipe would wait for who writes
		return nil, rulesProblems{{Msg: notFolder(info)}}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, rulesProblems{{Msg: "cannot be read: " + plainError(err)}}
	}
	defer root.Close()
	total := 0
	for _, sub := range []string{".", "rules"} {
		if info, err := root.Stat(sub); err == nil && !info.IsDir() {
			problems = append(problems, RulesProblem{File: sub, Msg: notFolder(info)})
			continue
		}
		entries, err := fs.ReadDir(root.FS(), sub)
		if errors.Is(err, fs.ErrNotExist) && sub != "." {
			continue
		}
		if err != nil {
			problems = append(problems, RulesProblem{File: sub, Msg: "cannot be read: " + plainError(err)})
			continue
		}
		for _, entry := range entries {
			name := path.Join(sub, entry.Name())
			ext := path.Ext(name)
			if ext != ".conf" && ext != ".data" || strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			if len(files) == maxRuleFiles {
				return nil, append(problems, RulesProblem{Msg: fmt.Sprintf("has more than %d files of rules and lists", maxRuleFiles)})
			}
			text, err := readRuleFile(root, name)
			if total += len(text); err == nil && total > maxRuleBytes {
				err = fmt.Errorf("with this file it is more than %d MiB", maxRuleBytes>>20)
			}
			if err != nil {
				problems = append(problems, RulesProblem{File: name, Msg: plainError(err)})
				continue
			}
			files = append(files, ruleFile{name, text})
		}
	}
	return files, problems
}

// notFolder says what is in the place of a directory.
func notFolder(info fs.FileInfo) string {
	if info.Mode().IsRegular() {
		return "is no directory but a file"
	}
	return fmt.Sprintf("is no directory but %s", info.Mode().Type())
}

// readRuleFile reads a regular file within root. It opens without waiting, because a pipe never has an end.
func readRuleFile(root *os.Root, name string) (string, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("is no regular file but %s", info.Mode().Type())
	case info.Size() > maxRuleFile:
		return "", fmt.Errorf("has %d bytes (want at most %d MiB)", info.Size(), maxRuleFile>>20)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRuleFile+1))
	if err == nil && len(text) > maxRuleFile {
		err = fmt.Errorf("has more than %d MiB", maxRuleFile>>20)
	}
	if err == nil && strings.ContainsRune(string(text), 0) {
		err = errors.New("has a NUL byte: it is no text")
	}
	return string(text), err
}

// plainError is an error without what the file system calls the operation.
func plainError(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
