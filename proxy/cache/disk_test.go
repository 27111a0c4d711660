package cache

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// filesIn returns the files below a directory that are whole.
func filesIn(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), "new-") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// diskSite is a site whose cache has files in dir.
func diskSite(t *testing.T, dir string, cfg Config, app http.HandlerFunc) *site {
	t.Helper()
	s := newSite(t, "HTTP/1.1", StoreConfig{Disk: &DiskConfig{Directory: dir, Size: "10MiB"}}, cfg, app)
	s.cache.Start(func(err error) { t.Error(err) })
	return s
}

func TestFilesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	app := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "max-age=60")
		h.Set("Vary", "Accept-Language")
		h.Set("X-Odd", "caf\xe9")
		h.Set("Cache-Tag", "red")
		_, _ = io.WriteString(w, "hello "+r.Header.Get("Accept-Language"))
	}
	host := "Host: app.example.com"
	first := diskSite(t, dir, Config{}, app)
	first.wants("first", first.do("GET /secret-path?x=1", host, "Accept-Language: en"), 200, "hello en", "Miss", 1)
	first.do("GET /secret-path?x=1", host, "Accept-Language: de")
	if err := first.cache.Close(); err != nil {
		t.Fatal(err)
	}
	paths := filesIn(t, dir)
	if len(paths) != 2 {
		t.Fatalf("%d files, want 2: %q", len(paths), paths)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want -rw-------", path, info.Mode(), err)
		}
		if strings.Contains(path, "secret") {
			t.Errorf("%s says what is in it", path)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v %v, want drwx------", info.Mode(), err)
	}

	second := diskSite(t, dir, Config{}, app)
	second.wait(10 * time.Second)
	got := second.do("GET /secret-path?x=1", host, "Accept-Language: en")
	second.wants("after a restart", got, 200, "hello en", "Hit", 0)
	if got.header.Get("Age") != "10" || got.header.Get("X-Odd") != "caf\xe9" {
		t.Errorf("got %v", got.header)
	}
	second.wants("another variant", second.do("GET /secret-path?x=1", host, "Accept-Language: de"), 200, "hello de", "Hit", 0)
	second.wants("a third", second.do("GET /secret-path?x=1", host, "Accept-Language: fr"), 200, "hello fr", "Miss", 1)
	second.wait(time.Minute)
	second.wants("too old", second.do("GET /secret-path?x=1", host, "Accept-Language: en"), 200, "hello en", "Miss", 2)
	if n, err := second.cache.Purge(Purge{Tags: []string{"red"}}); err != nil || n != 3 {
		t.Errorf("purged %d, %v, want 3", n, err)
	}
	eventually(t, "no file is left", func() bool { return len(filesIn(t, dir)) == 0 }) // one may be being written
}

func TestAFileThatIsNotWhatWasWrittenIsAMiss(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(content []byte) []byte{
		"a bit of the body": func(c []byte) []byte { c[len(c)-1] ^= 1; return c },
		"a bit of the head": func(c []byte) []byte { c[len(fileMagic)+60] ^= 1; return c },
		"a bit of the sum":  func(c []byte) []byte { c[len(fileMagic)] ^= 1; return c },
		"its start":         func(c []byte) []byte { c[0] ^= 1; return c },
		"the length":        func(c []byte) []byte { c[len(fileMagic)+32] = 255; return c },
		"its end is gone":   func(c []byte) []byte { return c[:len(c)-1] },
		"half of it":        func(c []byte) []byte { return c[:len(c)/2] },
		"all of it":         func([]byte) []byte { return nil },
		"more than there was": func(c []byte) []byte {
			return append(c, 'x')
		},
	} {
		for _, restarted := range []bool{false, true} {
			dir := t.TempDir()
			s := diskSite(t, dir, Config{}, says("hello", "Cache-Control: max-age=60"))
			s.do("GET /", "Host: app.example.com")
			eventually(t, "it is written", func() bool { return len(filesIn(t, dir)) == 1 })
			path := filesIn(t, dir)[0]
			if restarted {
				_ = s.cache.Close()
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(content), 0o600); err != nil {
				t.Fatal(err)
			}
			n := int64(1)
			if restarted {
				s = diskSite(t, dir, Config{}, says("hello", "Cache-Control: max-age=60"))
				n = 0
			}
			s.cache.store.removeIf(func(*object) bool { return true })
			s.wants(name, s.do("GET /", "Host: app.example.com"), 200, "hello", "Miss", n+1)
			s.wants(name+", and then", s.do("GET /", "Host: app.example.com"), 200, "hello", "Hit", n+1)
		}
	}
}

func TestFilesAreBoundedAndTheUsedOnesStay(t *testing.T) {
	t.Parallel()
	d := newDisk(t.TempDir(), 1<<20, time.Now, func(err error) { t.Error(err) })
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	has := func(path string) bool {
		o := thing(path, 0)
		return d.find("p", &request{policy: Config{}.compile(1), r: &http.Request{}, target: o.target, key: o.key}) != nil
	}
	d.write(thing("used", 50<<10))
	for i := range 100 {
		if !has("used") {
			t.Fatalf("what is used is gone after %d others", i)
		}
		d.write(thing(strconv.Itoa(i), 50<<10))
	}
	if d.bytes > d.limit || d.count != len(filesIn(t, d.dir)) {
		t.Errorf("%d bytes in %d files, and there are %d", d.bytes, d.count, len(filesIn(t, d.dir)))
	}
	if has("0") || !has("99") {
		t.Error("the newest went, or the oldest stayed")
	}
	d.write(thing("99", 10))
	if n := d.removeIf(func(f *file) bool { return true }); n == 0 || d.bytes != 0 || d.count != 0 || len(d.files) != 0 {
		t.Errorf("removed %d, left %d bytes, %d files", n, d.bytes, d.count)
	}
}

func TestADiskThatFailsIsDoneWithout(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	var failures atomic.Int64
	s := newSite(t, "HTTP/1.1", StoreConfig{Disk: &DiskConfig{Directory: dir, Size: "10MiB"}}, Config{}, says("hello", "Cache-Control: max-age=60"))
	s.cache.Start(func(error) { failures.Add(1) })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range int64(5) {
		path := "GET /" + strconv.FormatInt(i, 10)
		s.wants("first", s.do(path), 200, "hello", "Miss", i+1)
		s.wants("second", s.do(path), 200, "hello", "Hit", i+1)
	}
	eventually(t, "it is told", func() bool { return failures.Load() == 1 })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.wait(pauseAfter)
	s.do("GET /again")
	eventually(t, "it is written again", func() bool {
		info, err := os.Stat(dir)
		return err == nil && info.IsDir() && len(filesIn(t, dir)) == 1
	})
	if failures.Load() != 1 {
		t.Errorf("told %d times", failures.Load())
	}
}

func TestFilesOfOneAddressAreBounded(t *testing.T) {
	t.Parallel()
	d := newDisk(t.TempDir(), 10<<20, time.Now, func(err error) { t.Error(err) })
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxVariants {
		o := thing("a", 10)
		o.names, o.values = []string{"Accept-Language"}, []string{strconv.Itoa(i)}
		d.write(o.finish())
	}
	if n := len(d.files[thing("a", 10).key]); n != maxVariants || n != len(filesIn(t, d.dir)) {
		t.Errorf("%d variants in %d files, want %d", n, len(filesIn(t, d.dir)), maxVariants)
	}
}

func TestFilesOfOthersStayAndOthersMayNotWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "odd [x] name")
	theirs, broken := filepath.Join(dir, "ab", "thesis.txt"), filepath.Join(dir, "ab", strings.Repeat("ab", 32))
	for _, path := range []string{theirs, broken} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "ab", strings.Repeat("cd", 32))
	if err := os.Symlink(theirs, link); err != nil {
		t.Fatal(err)
	}
	s := diskSite(t, dir, Config{}, says("x", "Cache-Control: max-age=60"))
	if paths := filesIn(t, dir); len(paths) != 1 || paths[0] != theirs {
		t.Errorf("left: %q, want %q alone", paths, theirs)
	}
	s.do("GET /", "Host: app.example.com")
	if err := s.cache.Close(); err != nil {
		t.Fatal(err)
	}
	after := diskSite(t, dir, Config{}, says("x", "Cache-Control: max-age=60"))
	after.wants("after a restart", after.do("GET /", "Host: app.example.com"), 200, "x", "Hit", 0)

	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil { //nolint:gosec // what is refused
		t.Fatal(err)
	}
	failures := 0
	s = newSite(t, "HTTP/1.1", StoreConfig{Disk: &DiskConfig{Directory: open, Size: "10MiB"}}, Config{}, says("x", "Cache-Control: max-age=60"))
	s.cache.Start(func(error) { failures++ })
	s.do("GET /")
	if err := s.cache.Close(); err != nil {
		t.Fatal(err)
	}
	if left := filesIn(t, open); failures != 1 || len(left) != 0 {
		t.Errorf("where others may write: %d failures and the files %q", failures, left)
	}
}

func FuzzFile(f *testing.F) {
	content, err := thing("/a", 10).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(fileMagic))
	f.Fuzz(func(t *testing.T, content []byte) {
		o, err := decode(content)
		if err != nil {
			if !errors.Is(err, errFile) {
				t.Error(err)
			}
			return
		}
		if again, err := o.encode(); err != nil {
			t.Error(err)
		} else if other, err := decode(again); err != nil || other.fileName() != o.fileName() {
			t.Errorf("what is read cannot be written: %v", err)
		}
	})
}
