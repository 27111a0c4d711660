package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/suggest"
)

// maxSecretFile bounds what ${file:…} reads: the largest secret is a chain of PEM keys.
const maxSecretFile = 64 << 10

// An expander resolves references. It remembers every value that it resolved, because none of
// them may be printed.
type expander struct {
	env      func(string) (string, bool)
	readFile func(string) ([]byte, error)
	resolved map[string]string // value → reference, or the mask of a secret that stands in the file
	literal  []string          // the paths of secrets that stand in the file
	files    []string          // the absolute paths of what was read
}

// newExpander fills in what opts leaves out. dir is where relative files are, inside fsys.
func newExpander(fsys fs.FS, name string, opts LoadOptions) *expander {
	e := &expander{env: opts.Env, readFile: opts.ReadFile, resolved: map[string]string{}}
	if e.env == nil {
		e.env = os.LookupEnv
	}
	read := e.readFile
	if read == nil {
		read = readSecretFile
	}
	e.readFile = func(file string) ([]byte, error) {
		if !filepath.IsAbs(file) && opts.Dir != "" {
			file = filepath.Join(opts.Dir, file)
		}
		if filepath.IsAbs(file) {
			e.files = append(e.files, file)
			return read(file)
		}
		return fs.ReadFile(fsys, path.Join(path.Dir(name), filepath.ToSlash(file)))
	}
	return e
}

func readSecretFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(io.LimitReader(f, maxSecretFile+1))
}

// A refError is a reference that cannot be resolved. at is its offset in the text.
type refError struct {
	at  int
	msg string
}

// expand replaces every reference in s. It reports every one that fails, never a value.
func (e *expander) expand(s string) (string, []refError) {
	var b strings.Builder
	var errs []refError
	for at := 0; at < len(s); {
		i := strings.Index(s[at:], "${")
		if i < 0 {
			b.WriteString(s[at:])
			break
		}
		if i > 0 && s[at+i-1] == '$' { // "$${" is a literal "${"
			b.WriteString(s[at:at+i-1] + "${")
			at += i + 2
			continue
		}
		b.WriteString(s[at : at+i])
		at += i
		end := referenceEnd(s[at:])
		if end < 0 {
			errs = append(errs, refError{at, `the reference that starts here has no "}", or blanks or quotes in it; a literal "${" is written "$${"`})
			break
		}
		value, err := e.resolve(s[at : at+end])
		if err != nil {
			errs = append(errs, refError{at, err.Error()})
		}
		b.WriteString(value)
		at += end
	}
	return b.String(), errs
}

// resolve returns the value of one reference, "${scheme:name}". The name may itself hold references.
func (e *expander) resolve(ref string) (string, error) {
	scheme, name, ok := strings.Cut(ref[2:len(ref)-1], ":")
	if !ok || name == "" {
		return "", fmt.Errorf("%s: want ${env:NAME} or ${file:/path}", ref)
	}
	name, errs := e.expand(name)
	if len(errs) > 0 {
		return "", errors.New(errs[0].msg)
	}
	var value string
	var err error
	switch scheme {
	case "env":
		value, err = e.fromEnv(name)
	case "file":
		value, err = e.fromFile(name)
	case "aws-secretsmanager", "aws-ssm":
		err = fmt.Errorf("%s is not available in this version: want ${env:NAME} or ${file:/path}", scheme)
	default:
		err = fmt.Errorf("unknown scheme %q: want ${env:NAME} or ${file:/path}%s", scheme, suggest.DidYouMean(scheme, []string{"env", "file"}))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	e.resolved[value] = ref
	return value, nil
}

func (e *expander) fromEnv(name string) (string, error) {
	value, ok := e.env(name)
	switch {
	case !ok:
		return "", errors.New("the environment variable is not set")
	case value == "":
		return "", errors.New("the environment variable is empty")
	}
	return value, nil
}

// fromFile reads the file without its last line break, which editors and `echo` add.
func (e *expander) fromFile(name string) (string, error) {
	data, err := e.readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("the file does not exist")
	case errors.Is(err, fs.ErrPermission):
		return "", errors.New("the file cannot be read: permission denied")
	case err != nil:
		return "", fmt.Errorf("the file cannot be read: %w", plainCause(err))
	case len(data) > maxSecretFile:
		return "", fmt.Errorf("the file is too large: want at most %d bytes", maxSecretFile)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", errors.New("the file is empty")
	}
	return value, nil
}

// plainCause takes the operation and the path off a file error: the reference names the path already.
func plainCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// minScrubbed is the length from which a resolved value is replaced in messages. A shorter one is
// no secret, and replacing it would tear words apart.
const minScrubbed = 4

// scrub replaces, in text meant for people, every resolved value by its reference.
func (e *expander) scrub(s string) string {
	return e.replace(s, func(string) bool { return true })
}

// scrubLiterals replaces the secrets that stand in the file, for its own lines.
func (e *expander) scrubLiterals(s string) string {
	return e.replace(s, func(ref string) bool { return ref == masked })
}

func (e *expander) replace(s string, which func(ref string) bool) string {
	values := slices.Collect(maps.Keys(e.resolved))
	slices.SortFunc(values, func(a, b string) int { // a value may hold another
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for _, value := range values {
		if len(value) < minScrubbed {
			break
		}
		if !which(e.resolved[value]) {
			continue
		}
		quoted := strconv.Quote(value)
		s = strings.ReplaceAll(s, value, e.resolved[value])
		s = strings.ReplaceAll(s, quoted[1:len(quoted)-1], e.resolved[value])
	}
	return s
}
