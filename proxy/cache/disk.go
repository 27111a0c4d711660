package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// fileMagic begins a file. Another version of its form has another.
	fileMagic = "gatehouse cache 1\n"
	// maxFiles bounds the files, of which a little is kept in memory.
	maxFiles = 1 << 16
	// blockSize is what file systems round sizes up to.
	blockSize = 4 << 10
	// newPrefix begins the names of files that are not whole yet.
	newPrefix = "new-"
	// pauseAfter is how long nothing is written after that has failed: a disk that is full stays so for a while.
	pauseAfter = 10 * time.Second
)

// A disk keeps objects in files, which outlive the process. It is asked for what is not in memory, and forgets the oldest first;
// one that was used since it came gets a second turn. A file that is not what was written is none. It is safe for concurrent use.
type disk struct {
	dir    string
	limit  int64
	now    func() time.Time
	failed func(error) // may be nil

	mu    sync.Mutex
	files map[resourceKey][]*file // newest first
	order []*file                 // oldest first; nil where one has gone
	bytes int64
	count int
	until time.Time // when something may be written again
}

// A file is what is known of one without reading it.
type file struct {
	key   resourceKey
	name  string
	about *object // without header and body
	size  int64
	used  bool
	at    int // in order
}

// A fileHead is the head of a file. What may not be text is in bytes.
type fileHead struct {
	Scheme, Host, Path, Query string
	Policy                    string
	Names                     []string
	Values                    [][]byte
	Status                    int
	Header                    map[string][][]byte
	Tags                      [][]byte

	Lifetime, Age, While, IfError time.Duration
	Got                           time.Time
	Revalidate, MustRevalidate    bool
}

func newDisk(dir string, limit int64, now func() time.Time, failed func(error)) *disk {
	return &disk{dir: dir, limit: limit, now: now, failed: failed, files: make(map[resourceKey][]*file)}
}

// fileName is the same for objects that take each other's place. It says nothing of what is in the file.
func (o *object) fileName() string {
	h := sha256.New()
	h.Write(o.key[:])
	for _, list := range [...][]string{{o.policy}, o.names, o.values} {
		for _, s := range list {
			fmt.Fprintf(h, "%d:%s", len(s), s)
		}
		h.Write([]byte{0})
	}
	name := hex.EncodeToString(h.Sum(nil))
	return filepath.Join(name[:2], name)
}

// encode is the content of an object's file.
func (o *object) encode() ([]byte, error) {
	head := fileHead{
		Scheme: o.target.scheme, Host: o.target.host, Path: o.target.path, Query: o.target.query,
		Policy: o.policy, Names: o.names, Values: inBytes(o.values), Status: o.status, Header: map[string][][]byte{}, Tags: inBytes(o.tags),
		Lifetime: o.terms.lifetime, Age: o.terms.age, While: o.terms.while, IfError: o.terms.ifError,
		Got: o.terms.got, Revalidate: o.terms.revalidate, MustRevalidate: o.terms.mustRevalidate,
	}
	for key, values := range o.header {
		head.Header[key] = inBytes(values)
	}
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	content := make([]byte, 0, len(fileMagic)+sha256.Size+4+len(text)+len(o.body))
	content = append(content, fileMagic...)
	content = append(content, make([]byte, sha256.Size)...)
	content = binary.BigEndian.AppendUint32(content, uint32(len(text)))
	content = append(append(content, text...), o.body...)
	sum := sha256.Sum256(content[len(fileMagic)+sha256.Size:])
	copy(content[len(fileMagic):], sum[:])
	return content, nil
}

func inBytes(list []string) (out [][]byte) {
	for _, s := range list {
		out = append(out, []byte(s))
	}
	return out
}

func inText(list [][]byte) (out []string) {
	for _, b := range list {
		out = append(out, string(b))
	}
	return out
}

var errFile = errors.New("cache: the file is not what was written")

// decodeHead reads the head of a file's content, of which the rest may be missing.
func decodeHead(content []byte) (o *object, rest []byte, err error) {
	after, ok := bytes.CutPrefix(content, []byte(fileMagic))
	if !ok || len(after) < sha256.Size+4 {
		return nil, nil, errFile
	}
	after = after[sha256.Size:]
	n := binary.BigEndian.Uint32(after)
	if after = after[4:]; uint64(n) > uint64(len(after)) {
		return nil, nil, errFile
	}
	var head fileHead
	if err := json.Unmarshal(after[:n], &head); err != nil || len(head.Names) != len(head.Values) {
		return nil, nil, errFile
	}
	o = &object{
		target: target{head.Scheme, head.Host, head.Path, head.Query}, policy: head.Policy, names: head.Names, values: inText(head.Values),
		status: head.Status, header: make(http.Header, len(head.Header)), tags: inText(head.Tags),
		terms: terms{
			lifetime: head.Lifetime, age: head.Age, while: head.While, ifError: head.IfError, got: head.Got,
			revalidate: head.Revalidate, mustRevalidate: head.MustRevalidate,
		},
	}
	for key, values := range head.Header {
		list := inText(values)
		o.header[key] = list[:len(list):len(list)]
	}
	return o, after[n:], nil
}

// decode reads a file's content.
func decode(content []byte) (*object, error) {
	o, body, err := decodeHead(content)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content[len(fileMagic)+sha256.Size:])
	if !bytes.Equal(sum[:], content[len(fileMagic):len(fileMagic)+sha256.Size]) {
		return nil, errFile
	}
	o.body = slices.Clone(body)
	return o.finish(), nil
}

// start reads what is in the directory. What has a name as if it were a file of ours, and is none or broken, is deleted. It fails, and
// nothing is read or written, where others may write: whoever can put a file there says what everybody is answered.
func (d *disk) start() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	found, err := d.scan()
	if err != nil {
		d.mu.Lock()
		d.until = d.now().Add(maxDuration)
		d.mu.Unlock()
		return err
	}
	slices.SortFunc(found, func(a, b *file) int { return a.about.terms.got.Compare(b.about.terms.got) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range found {
		d.addLocked(f)
	}
	return nil
}

// scan finds the files.
func (d *disk) scan() (found []*file, err error) {
	info, err := os.Stat(d.dir)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("cache: others may write to %s: want one that only this user can write to, such as a new one below it, got mode %#o", d.dir, mode)
	}
	shards, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	for _, shard := range shards {
		if len(shard.Name()) != 2 || !isHex(shard.Name()) || !shard.IsDir() {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(d.dir, shard.Name()))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			name := filepath.Join(shard.Name(), entry.Name())
			whole := len(entry.Name()) == 2*sha256.Size && isHex(entry.Name())
			if !whole && !strings.HasPrefix(entry.Name(), newPrefix) {
				continue // somebody else's
			}
			f, err := (*file)(nil), errFile
			if whole && entry.Type().IsRegular() {
				f, err = readFile(d.dir, name)
			}
			if err != nil {
				_ = os.Remove(filepath.Join(d.dir, name)) // it is a miss
				continue
			}
			found = append(found, f)
		}
	}
	return found, nil
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// readFile reads what has to be known of a file.
func readFile(dir, name string) (*file, error) {
	in, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	start := make([]byte, len(fileMagic)+sha256.Size+4)
	if _, err := io.ReadFull(in, start); err != nil {
		return nil, errFile
	}
	length := binary.BigEndian.Uint32(start[len(start)-4:])
	if length > maxFileHead {
		return nil, errFile
	}
	start = append(start, make([]byte, length)...)
	if _, err := io.ReadFull(in, start[len(start)-int(length):]); err != nil {
		return nil, errFile
	}
	o, _, err := decodeHead(start)
	if err != nil {
		return nil, err
	}
	o.finish()
	if name != o.fileName() {
		return nil, errFile
	}
	return newFile(o, name, info.Size()), nil
}

// maxFileHead is more than the head of a file is: a head of an answer is 64 KiB at most, and base64 makes a third more of it.
const maxFileHead = 256 << 10

func newFile(o *object, name string, size int64) *file {
	about := &object{key: o.key, target: o.target, policy: o.policy, names: o.names, values: o.values, tags: o.tags, terms: terms{got: o.terms.got}}
	return &file{key: o.key, name: name, about: about, size: (size + blockSize - 1) / blockSize * blockSize}
}

// write keeps an object in a file, in the place of one that it replaces.
func (d *disk) write(o *object) {
	name := o.fileName()
	err := d.writeFile(o, name)
	if err == nil {
		return
	}
	d.remove(o) // which would come back otherwise
	if !errors.Is(err, errPaused) && d.failed != nil {
		d.failed(err)
	}
}

var errPaused = errors.New("cache: nothing is written for a while")

func (d *disk) writeFile(o *object, name string) error {
	d.mu.Lock()
	paused := d.now().Before(d.until)
	d.mu.Unlock()
	if paused {
		return errPaused
	}
	content, err := o.encode()
	if err != nil {
		return err
	}
	if int64(len(content)) > d.limit/2 {
		return errPaused
	}
	path := filepath.Join(d.dir, name)
	if err = writeWhole(path, content); err != nil {
		d.mu.Lock()
		d.until = d.now().Add(pauseAfter)
		d.mu.Unlock()
		return err
	}
	f := newFile(o, name, int64(len(content)))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, old := range d.files[o.key] {
		if old.name == name {
			d.dropLocked(old) // its file has been replaced
			break
		}
	}
	d.addLocked(f)
	return nil
}

// writeWhole writes a file that is whole as soon as it has its name.
func writeWhole(path string, content []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(path), newPrefix+"*") // which only the owner may read
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	if _, err := out.Write(content); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}

func (d *disk) addLocked(f *file) {
	if list := d.files[f.key]; len(list) >= maxVariants { // as in memory: each request looks at all of them
		oldest := list[len(list)-1]
		d.dropLocked(oldest)
		_ = os.Remove(filepath.Join(d.dir, oldest.name))
	}
	d.files[f.key] = append([]*file{f}, d.files[f.key]...)
	f.at = len(d.order)
	d.order = append(d.order, f)
	d.bytes += f.size
	d.count++
	for next := 0; (d.bytes > d.limit || d.count > maxFiles) && next < len(d.order); next++ {
		switch old := d.order[next]; {
		case old == nil:
		case old.used:
			old.used = false
			d.order[next] = nil
			old.at = len(d.order)
			d.order = append(d.order, old)
		default:
			d.dropLocked(old)
			_ = os.Remove(filepath.Join(d.dir, old.name))
		}
	}
	if len(d.order) > 2*d.count+64 {
		d.order = slices.DeleteFunc(d.order, func(f *file) bool { return f == nil })
		for i, f := range d.order {
			f.at = i
		}
	}
}

// dropLocked forgets a file.
func (d *disk) dropLocked(f *file) {
	left := slices.DeleteFunc(slices.Clone(d.files[f.key]), func(other *file) bool { return other == f })
	if len(left) == 0 {
		delete(d.files, f.key)
	} else {
		d.files[f.key] = left
	}
	d.order[f.at] = nil
	d.bytes -= f.size
	d.count--
}

// has reports whether something is kept of a target.
func (d *disk) has(key resourceKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.files[key]) > 0
}

// holds reports whether an object has a file.
func (d *disk) holds(o *object) bool {
	name := o.fileName()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.files[o.key], func(f *file) bool { return f.name == name })
}

// find returns what is kept for a request, or nil.
func (d *disk) find(policy string, q *request) *object {
	d.mu.Lock()
	list := d.files[q.key]
	d.mu.Unlock()
	for _, f := range list {
		if !f.about.answers(policy, q) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(d.dir, f.name))
		var o *object
		if err == nil {
			o, err = decode(content)
		}
		if err != nil || o.key != q.key || !o.answers(policy, q) {
			d.remove(f.about) // a file that is not what was written is a miss
			continue
		}
		d.mu.Lock()
		f.used = true
		d.mu.Unlock()
		return o
	}
	return nil
}

// removeIf deletes files, and returns how many. Those that come while it works may stay, and nobody waits while it matches.
func (d *disk) removeIf(match func(f *file) bool) (n int) {
	d.mu.Lock()
	all := slices.Clone(d.order)
	d.mu.Unlock()
	for _, f := range all {
		if f != nil && match(f) {
			d.remove(f.about)
			n++
		}
	}
	return n
}

// removeKey deletes what is kept of a target.
func (d *disk) removeKey(key resourceKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files[key] {
		d.dropLocked(f)
		_ = os.Remove(filepath.Join(d.dir, f.name))
	}
}

// remove deletes the file of an object.
func (d *disk) remove(o *object) {
	name := o.fileName()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files[o.key] {
		if f.name == name {
			d.dropLocked(f)
			_ = os.Remove(filepath.Join(d.dir, name))
			return
		}
	}
}
