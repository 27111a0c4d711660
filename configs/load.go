package configs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// LoadOptions is what a configuration may draw on beside its own file. The zero value is the
// process's environment and the operating system's files.
type LoadOptions struct {
	// Env looks an environment variable up; default os.LookupEnv.
	Env func(name string) (string, bool)
	// ReadFile reads what ${file:…} names; default: regular files of the operating system.
	ReadFile func(name string) ([]byte, error)
	// Dir is the directory that relative files are taken from, references and certificates alike.
	// Without it, references are read beside the configuration file in its file system, and the
	// other files are left relative.
	Dir string
}

// loaded is what Load knows of the file beside the configuration that it makes of it.
type loaded struct {
	src   *source
	refs  map[string]string
	lints Problems
}

// LoadFile is Load for a file of the operating system: relative files are taken from its directory.
func LoadFile(name string, opts LoadOptions) (*Config, error) {
	dir, base := filepath.Split(name)
	if dir == "" {
		dir = "."
	}
	if opts.Dir == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("finding the directory of %s: %w", name, err)
		}
		opts.Dir = abs
	}
	return load(os.DirFS(dir), base, name, opts)
}

// Load reads the configuration file name of fsys. Its error is Problems: all that is wrong, each
// with its place, in the order of the file. It touches no network, writes nothing, and reads only
// the file itself and what its references name.
func Load(fsys fs.FS, name string, opts LoadOptions) (*Config, error) {
	return load(fsys, name, name, opts)
}

func load(fsys fs.FS, name, shown string, opts LoadOptions) (*Config, error) {
	src := &source{name: shown, places: map[string]place{}, expand: newExpander(fsys, name, opts)}
	text, err := readBounded(fsys, name)
	if err != nil {
		return nil, Problems{{File: shown, Msg: err.Error()}}
	}
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	src.masked = maskLines(strings.Split(text, "\n"))

	d := &decoder{src: src, reported: map[string]bool{}, refs: map[string]string{}, bare: map[string]*node{}}
	top := (&tree{report: d.report}).parse(text)
	if top == nil {
		return nil, d.problems.Sorted()
	}
	c := &Config{}
	d.value(top, reflect.ValueOf(c).Elem(), "")
	if top.kind == kindMap {
		if opts.Dir != "" {
			c.resolveFiles(opts.Dir)
		}
		c.check(d)
	}
	d.reportBare()
	if len(d.problems) > 0 {
		return nil, d.problems.Sorted()
	}
	c.setDefaults(d)
	c.loaded = &loaded{src: src, refs: d.refs}
	c.loaded.lints = lint(c, d)
	return c, nil
}

// readBounded reads the file, which must not be larger than maxFile.
func readBounded(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", plainCause(err))
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", plainCause(err))
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("too large: want at most %d bytes", maxFile)
	}
	return string(data), nil
}
