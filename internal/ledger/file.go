package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"gatehouse/authn"
)

const (
	// maxRecords is how many revocations outlast a compaction: as many as authn keeps in memory.
	maxRecords = 1 << 17
	// maxFile bounds what is read, generously above what slack lets a file grow to.
	maxFile = 64 << 20
	// slack is how many lines a file may have beyond twice those that matter before it is compacted.
	slack = 1024
	// maxUnwritten bounds what waits for a disk that fails, in bytes.
	maxUnwritten = 1 << 20
)

// Options are the surroundings of a File. The zero value is fine.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// A File is an [authn.Ledger] on disk. It is safe for concurrent use by one process; a second process
// with the same file adds to it too, and learns of what the first has added when it starts.
type File struct {
	path string
	now  func() time.Time

	mu        sync.Mutex
	file      *os.File
	lines     int    // in the file
	live      int    // of them, as many mattered at the last compaction
	unwritten []byte // records that the disk did not take, to be tried again with the next
	torn      bool   // the file may end within a line
	damaged   int
}

// Open opens the file, or makes it, and forgets what has run out. The error names the file.
func Open(path string, opts Options) (*File, error) {
	f := &File{path: path, now: opts.Now}
	if f.now == nil {
		f.now = time.Now
	}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("revocations: %w", err)
	}
	return f, nil
}

func (f *File) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	c, err := f.read()
	if err != nil {
		return err
	}
	f.damaged = c.damaged
	return f.compact(c)
}

// Damaged returns how many lines could not be read when the file was opened.
func (f *File) Damaged() int { return f.damaged }

// Load calls take with every record that still matters.
func (f *File) Load(take func(authn.Revocation)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.read()
	if err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	for _, r := range f.current(c.records) {
		take(r)
	}
	return nil
}

// Append writes a record and waits until the disk has it. What could not be written is tried again
// with the next record.
func (f *File) Append(r authn.Revocation) error { return f.AppendAll([]authn.Revocation{r}) }

// AppendAll is Append for several at once, for which it waits no longer than for one.
func (f *File) AppendAll(list []authn.Revocation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b []byte
	for _, r := range list {
		b = appendRecord(b, r)
	}
	if err := f.append(b); err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	if f.lines <= 2*f.live+slack {
		return nil
	}
	c, err := f.read()
	if err == nil {
		err = f.compact(c)
	}
	if err != nil { // the records are written all the same
		return fmt.Errorf("revocations: compacting: %w", err)
	}
	return nil
}

func (f *File) append(record []byte) error {
	b := slices.Concat(f.unwritten, record)
	if err := f.write(b); err != nil {
		if len(b) <= maxUnwritten {
			f.unwritten = b
		}
		return err
	}
	f.lines += len(b) / (lineSize + 1)
	f.unwritten = nil
	return nil
}

func (f *File) write(b []byte) error {
	if err := f.follow(); err != nil {
		return err
	}
	if f.torn {
		b = append([]byte("\n"), b...)
	}
	f.torn = true
	if _, err := f.file.Write(b); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.torn = false
	return nil
}

// follow opens the file again when another one has its name: somebody has removed it, or another
// process has compacted it.
func (f *File) follow() error {
	if f.file == nil {
		return os.ErrClosed
	}
	there, err := os.Stat(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		ours, err := f.file.Stat()
		if err != nil {
			return err
		}
		if os.SameFile(there, ours) {
			return nil
		}
	}
	c, err := f.read()
	if err != nil {
		return err
	}
	return f.compact(c)
}

// read returns what the file holds; one that is not there holds nothing.
func (f *File) read() (content, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, nil
	}
	if err != nil {
		return content{}, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return content{}, err
	}
	if len(b) > maxFile {
		return content{}, fmt.Errorf("%s: want at most %d bytes", f.path, maxFile)
	}
	c, err := parse(b)
	if err != nil {
		return content{}, fmt.Errorf("%s: %w", f.path, err)
	}
	return c, nil
}

// current returns the records that still matter, one for each key, those that matter longest first
// where there are too many.
func (f *File) current(records []authn.Revocation) []authn.Revocation {
	now := f.now().Unix()
	at := make(map[authn.RevocationKey]int, len(records))
	var list []authn.Revocation
	for _, r := range records {
		i, known := at[r.Key]
		switch {
		case r.Until <= now:
		case known:
			list[i].Before = max(list[i].Before, r.Before)
			list[i].Until = max(list[i].Until, r.Until)
		default:
			at[r.Key] = len(list)
			list = append(list, r)
		}
	}
	if len(list) > maxRecords {
		sort.Slice(list, func(i, j int) bool { return list[i].Until > list[j].Until })
		list = list[:maxRecords]
	}
	return list
}

// compact puts a file with what matters of c in the place of the old one, at once or not at all, and
// goes on with that.
func (f *File) compact(c content) error {
	list := f.current(c.records)
	b := []byte(header)
	for _, r := range list {
		b = appendRecord(b, r)
	}
	// Whatever is written later comes behind, whoever else writes too.
	next, err := os.OpenFile(f.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(b)
	if err == nil {
		err = next.Sync()
	}
	if err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err != nil {
		return errors.Join(err, next.Close())
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.lines, f.live, f.torn = next, len(list), len(list), false
	return syncDir(filepath.Dir(f.path))
}

// syncDir makes a rename outlast a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close closes the file. Appending fails from then on.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
