package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"gatehouse/authn"
)

// now is the time of the tests, in Unix seconds.
const now = 1_800_000_000

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, Options{Now: func() time.Time { return time.Unix(now, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "state", "revocations") }

// record is a revocation with this key that matters for so many seconds more.
func record(key byte, left int64) authn.Revocation {
	return authn.Revocation{Key: authn.RevocationKey{key}, Before: math.MaxInt64, Until: now + left}
}

func keep(t *testing.T, f *File, records ...authn.Revocation) {
	t.Helper()
	for _, r := range records {
		if err := f.Append(r); err != nil {
			t.Fatal(err)
		}
	}
}

// kept is what a process finds that opens the file anew.
func kept(t *testing.T, path string) (records []authn.Revocation) {
	t.Helper()
	if err := open(t, path).Load(func(r authn.Revocation) { records = append(records, r) }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(records, func(a, b authn.Revocation) int { return cmp.Compare(a.Key[0], b.Key[0]) })
	return records
}

func wantKept(t *testing.T, path string, want ...authn.Revocation) {
	t.Helper()
	if diff := gocmp.Diff(want, kept(t, path)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, how(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRevocationsOutlastTheProcess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := open(t, path) // and never closed: a process that is killed
	keep(t, f, record(1, 100), authn.Revocation{Key: authn.RevocationKey{2}, Before: now * 1e9, Until: now + 50})
	wantKept(t, path, record(1, 100), authn.Revocation{Key: authn.RevocationKey{2}, Before: now * 1e9, Until: now + 50})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v %v, want readable for its owner alone", info.Mode(), err)
	}
}

func TestWhatHasRunOutIsForgotten(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	keep(t, open(t, path), record(1, 0), record(2, 1), record(3, -5))
	wantKept(t, path, record(2, 1))
	if b, err := os.ReadFile(path); err != nil || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("file: got %q %v, want its header and one record", b, err)
	}
}

func TestTheLaterOfTwoRevocationsCounts(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	early := authn.Revocation{Key: authn.RevocationKey{1}, Before: 5, Until: now + 70}
	late := authn.Revocation{Key: authn.RevocationKey{1}, Before: 9, Until: now + 60}
	keep(t, open(t, path), early, late)
	wantKept(t, path, authn.Revocation{Key: authn.RevocationKey{1}, Before: 9, Until: now + 70})
}

// TestALineThatWasNotFinished is what a loss of power leaves: a part of the last record, or zeros.
func TestALineThatWasNotFinished(t *testing.T) {
	t.Parallel()
	for cut := 1; cut <= lineSize; cut++ {
		path := newPath(t)
		keep(t, open(t, path), record(1, 100), record(2, 100))
		change(t, path, func(b []byte) []byte { return b[:len(b)-cut] })
		want := []authn.Revocation{record(1, 100)}
		if cut == 1 { // only its end is missing
			want = append(want, record(2, 100))
		}
		f := open(t, path)
		if f.Damaged() != 0 {
			t.Errorf("cut by %d: %d damaged lines, want none: an unfinished one at the end is none", cut, f.Damaged())
		}
		keep(t, f, record(3, 100))
		wantKept(t, path, append(want, record(3, 100))...)
	}
}

func TestDamageTakesOnlyItsOwnLine(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func([]byte) []byte{
		"a digit":          func(line []byte) []byte { line[40] ^= 1; return line },
		"a digit of a sum": func(line []byte) []byte { line[lineSize-1] ^= 1; return line },
		"zeros":            func(line []byte) []byte { return make([]byte, len(line)) },
		"cut":              func(line []byte) []byte { return line[:20] },
		"upper case":       func(line []byte) []byte { return bytes.ToUpper(line) },
	} {
		path := newPath(t)
		odd := authn.Revocation{Key: authn.RevocationKey{2, 0xab, 0xcd, 0xef}, Before: math.MaxInt64, Until: now + 100}
		keep(t, open(t, path), record(1, 100), odd, record(3, 100))
		change(t, path, func(b []byte) []byte {
			lines := bytes.Split(b, []byte("\n"))
			lines[2] = how(lines[2])
			return bytes.Join(lines, []byte("\n"))
		})
		if got := open(t, path).Damaged(); got != 1 {
			t.Errorf("%s: %d damaged lines, want 1", name, got)
		}
		wantKept(t, path, record(1, 100), record(3, 100))
	}
}

func TestAFileThatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another's":       "hello\n",
		"a later version": "gatehouse revocations 2\n",
		"half a header":   header[:10],
	} {
		path := filepath.Join(t.TempDir(), "revocations")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		if !errors.Is(err, errFormat) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want errFormat with the path", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s: the file was changed to %q (%v)", name, b, err)
		}
	}
}

func TestAFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	blocked := filepath.Join(t.TempDir(), "blocked")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(blocked, "revocations"), Options{}); err == nil || !strings.Contains(err.Error(), blocked) {
		t.Errorf("below a file: got %v, want an error with the path", err)
	}
	dir := t.TempDir()
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a directory in its place: got no error")
	}
}

// TestWhatTheDiskRefusedIsWrittenLater puts a directory in the file's place and takes it away again.
func TestWhatTheDiskRefusedIsWrittenLater(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := open(t, path)
	keep(t, f, record(1, 100))
	aside := path + ".aside"
	if err := errors.Join(os.Rename(path, aside), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := f.Append(record(2, 100)); err == nil {
		t.Fatal("no error although there is no file to write to")
	}
	if err := errors.Join(os.Remove(path), os.Rename(aside, path)); err != nil {
		t.Fatal(err)
	}
	keep(t, f, record(3, 100))
	wantKept(t, path, record(1, 100), record(2, 100), record(3, 100))
}

func TestAFileThatWasRemovedIsMadeAgain(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := open(t, path)
	keep(t, f, record(1, 100))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	keep(t, f, record(2, 100))
	wantKept(t, path, record(2, 100))
}

// TestTwoProcessesWithOneFile is a restart that overlaps: the old process ends sessions after the new
// one has compacted the file.
func TestTwoProcessesWithOneFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	old := open(t, path)
	keep(t, old, record(1, 100))
	fresh := open(t, path)
	keep(t, old, record(2, 100))
	keep(t, fresh, record(3, 100))
	wantKept(t, path, record(1, 100), record(2, 100), record(3, 100))
}

func TestAFileThatHasGrownIsCompacted(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := open(t, path)
	f.lines = slack // as many lines as may be for none that matter
	keep(t, f, record(1, 100))
	if f.lines != 1 || f.live != 1 {
		t.Errorf("got %d lines, of which %d matter; want 1 and 1", f.lines, f.live)
	}
	keep(t, f, record(2, 100))
	wantKept(t, path, record(1, 100), record(2, 100))
}

func TestTooManyRecords(t *testing.T) {
	t.Parallel()
	f := open(t, newPath(t))
	var many []authn.Revocation
	for i := range maxRecords + 10 {
		r := record(0, int64(1+i))
		r.Key = authn.RevocationKey{byte(i), byte(i >> 8), byte(i >> 16)}
		many = append(many, r)
	}
	list := f.current(many)
	if len(list) != maxRecords || slices.ContainsFunc(list, func(r authn.Revocation) bool { return r.Until <= now+10 }) {
		t.Errorf("got %d, want the %d that matter longest", len(list), maxRecords)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := open(t, path)
	var wg sync.WaitGroup
	for i := range byte(20) {
		wg.Go(func() {
			if err := f.Append(record(i, 100)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(kept(t, path)); got != 20 {
		t.Errorf("kept: got %d, want 20", got)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	f := open(t, newPath(t))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Append(record(1, 100)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("appending: got %v, want %v", err, os.ErrClosed)
	}
}

// FuzzParse wants no more than that whatever is read survives being written, and that damage in front
// costs a record only its own line.
func FuzzParse(f *testing.F) {
	whole := appendRecord([]byte(header), record(1, 100))
	f.Add(whole)
	f.Add(appendRecord(whole, record(2, 7)))
	f.Add(whole[:len(whole)-9])
	f.Add([]byte(header))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err != nil {
			return
		}
		again := []byte(header)
		for _, r := range c.records {
			again = appendRecord(again, r)
		}
		d, err := parse(again)
		if err != nil || d.damaged != 0 || d.torn || !slices.Equal(c.records, d.records) {
			t.Fatalf("what was read does not survive being written: %v", err)
		}
		if len(b) == 0 {
			return
		}
		e, err := parse(appendRecord(append(slices.Clone(b), '\n'), record(9, 9)))
		if err != nil || len(e.records) == 0 || e.records[len(e.records)-1] != record(9, 9) {
			t.Fatalf("a record behind damage is lost: %v", err)
		}
	})
}
