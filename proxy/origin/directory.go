package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// Options are the surroundings of a handler. Deny is required, and Navigates for a Directory or a Bucket.
type Options struct {
	// Deny answers a request with the status and sentence of an error.
	Deny func(w http.ResponseWriter, r *http.Request, err error)
	// Navigates reports whether a person will see the answer.
	Navigates func(*http.Request) bool
	// StripPrefix is a path prefix that is taken off on a segment boundary.
	StripPrefix string
	// OnFetch is told what a request had of its bucket, once. It may be nil.
	OnFetch func(ctx context.Context, f Fetch)
	// Scheme is what the client used, "https" or "http", where a proxy in front ended its TLS; default https.
	Scheme func(*http.Request) string
}

// A Directory answers requests with the files below a directory. It opens the directory anew for each request, so that a
// link can be turned to another. It is safe for concurrent use.
type Directory struct{ cfg Config }

// NewDirectory returns the files of a Config that Validate accepts. It is an error when the directory, or a file that cfg
// names, is not there now.
func NewDirectory(cfg Config) (*Directory, error) {
	if err := cfg.look(); err != nil {
		return nil, err
	}
	cfg.Index = cmp.Or(cfg.Index, defaultIndex)
	cfg.CacheControl = cmp.Or(cfg.CacheControl, defaultCacheControl)
	return &Directory{cfg}, nil
}

// Handler returns what answers the requests of a route. Their URL.Path is taken as it is: decoded, and in one spelling.
func (d *Directory) Handler(opts Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := d.serve(w, r, opts); err != nil {
			opts.Deny(w, r, err)
		}
	})
}

// A refusal is why a request gets no file.
type refusal struct {
	status int
	reason string
	public string
}

func (e *refusal) Error() string   { return "origin: " + e.reason }
func (e *refusal) HTTPStatus() int { return e.status }
func (e *refusal) Public() string  { return e.public }

// Header adds Allow to a 405 (RFC 9110 section 15.5.6).
func (e *refusal) Header(h http.Header) {
	if e.status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD")
	}
}

func notFound(reason string) *refusal {
	return &refusal{http.StatusNotFound, reason, "There is nothing at this address."}
}

func (d *Directory) serve(w http.ResponseWriter, r *http.Request, opts Options) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &refusal{http.StatusMethodNotAllowed, "files are read with GET and HEAD", "This method is not allowed here."}
	}
	root, err := os.OpenRoot(d.cfg.Directory)
	if err != nil {
		return &refusal{http.StatusServiceUnavailable, "the directory cannot be opened", ""}
	}
	defer root.Close()
	asked, ok := below(r.URL.Path, opts.StripPrefix)
	if !ok {
		return notFound("path is not below strip_prefix")
	}
	f, redirect, err := d.find(root, asked)
	if redirect {
		return seeDirectory(w, r)
	}
	if err != nil {
		return d.instead(w, r, root, asked, opts.Navigates, err)
	}
	defer f.Close()
	return d.send(w, r, root, f, http.StatusOK)
}

// below is the path that is left of p without a prefix.
func below(p, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(p, strings.TrimSuffix(prefix, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return cmp.Or(rest, "/"), true
}

// A file is one that is open, with the name that it has below the root.
type file struct {
	*os.File
	name string
	info fs.FileInfo
}

// find opens the file that a path stands for. redirect says that it stands for a directory and lacks the slash at its end,
// without which the page's relative links would lead elsewhere.
func (d *Directory) find(root *os.Root, asked string) (_ *file, redirect bool, err error) {
	name, ok := fileName(asked)
	if !ok {
		return nil, false, fs.ErrNotExist
	}
	slash := strings.HasSuffix(asked, "/")
	if slash {
		name = path.Join(name, d.cfg.Index)
	}
	f, err := open(root, name)
	if err != nil || slash || !f.info.IsDir() {
		if err == nil && !f.info.Mode().IsRegular() {
			f.Close()
			return nil, false, fs.ErrNotExist
		}
		return f, false, err
	}
	f.Close()
	f, err = open(root, path.Join(name, d.cfg.Index))
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	if !f.info.Mode().IsRegular() {
		return nil, false, fs.ErrNotExist
	}
	return nil, true, nil
}

// fileName is the name below the root that a path stands for; "." for "/". It is false for what is never served.
func fileName(p string) (string, bool) {
	name := strings.Trim(p, "/")
	if name == "" {
		return ".", true
	}
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return "", false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if hidden(segment) {
			return "", false
		}
	}
	return name, true
}

// hidden reports whether a name is one that people keep from being seen: .git, .env, .htpasswd. RFC 8615 has the exception.
func hidden(segment string) bool {
	return strings.HasPrefix(segment, ".") && segment != ".well-known"
}

// open opens what name is, without waiting for the other end of a pipe.
func open(root *os.Root, name string) (*file, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{f, name, info}, nil
}

// seeDirectory sends the client to the same path with a slash at its end. It is relative, so that it leads to no other host,
// and begins with "./" for segments with a colon.
func seeDirectory(w http.ResponseWriter, r *http.Request) error {
	escaped := r.URL.EscapedPath()
	to := "./" + escaped[strings.LastIndexByte(escaped, '/')+1:] + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusMovedPermanently)
	return nil
}

// instead answers a request for what is no file.
func (d *Directory) instead(w http.ResponseWriter, r *http.Request, root *os.Root, asked string, navigates func(*http.Request) bool, err error) error {
	name, status := d.cfg.NotFound, http.StatusNotFound
	if d.cfg.Fallback != "" && navigates(r) && !strings.Contains(path.Base(asked), ".") {
		name, status = d.cfg.Fallback, http.StatusOK
	}
	if name == "" {
		return notFound(reasonOf(err))
	}
	f, err := open(root, name)
	if err != nil {
		return notFound(reasonOf(err))
	}
	defer f.Close()
	if !f.info.Mode().IsRegular() {
		return notFound("no regular file")
	}
	return d.send(w, r, root, f, status)
}

// reasonOf says what became of an attempt to open a file, without its name, which the client chose.
func reasonOf(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return "no such file"
}

// send answers with a file, or with the compressed one beside it.
func (d *Directory) send(w http.ResponseWriter, r *http.Request, root *os.Root, f *file, status int) error {
	kind := contentType(f.name)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", d.cfg.CacheControl)
	if status != http.StatusOK || strings.HasPrefix(kind, "text/html") {
		h.Set("Cache-Control", defaultCacheControl)
	}
	coding := ""
	if compressible(kind) {
		h.Add("Vary", "Accept-Encoding")
		if smaller, c := compressed(root, f, r.Header.Values("Accept-Encoding")); smaller != nil {
			defer smaller.Close()
			f, coding = smaller, c
			h.Set("Content-Encoding", coding)
			h.Set("Content-Length", strconv.FormatInt(f.info.Size(), 10)) // ServeContent leaves it out beside a coding
		}
	}
	if status != http.StatusOK { // a page about the request is nobody's representation: no ranges, no conditions
		h.Set("Content-Length", strconv.FormatInt(f.info.Size(), 10))
		w.WriteHeader(status)
		if r.Method == http.MethodHead {
			return nil
		}
		_, err := io.CopyN(w, f, f.info.Size())
		return cut(err)
	}
	// A file that is changed within the resolution of its time keeps its size only by chance.
	h.Set("ETag", fmt.Sprintf(`"%x-%x%s"`, f.info.ModTime().UnixNano(), f.info.Size(), coding))
	http.ServeContent(w, r, f.name, f.info.ModTime(), f)
	return nil
}

// cut ends an answer that has begun and cannot be finished, so that it does not look whole.
func cut(err error) error {
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}
