package compress

import (
	"compress/gzip"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	// minSize and maxSize bound what is worth it, in bytes, as with CloudFront: less than fits into a packet gains nothing, and
	// more than 10 MB is seldom text.
	minSize = 1000
	maxSize = 10_000_000
	// maxEncoders bounds how many answers are compressed at a time. Each has an encoder of some 800 KB for as long as it takes,
	// and a client that reads slowly, or a stream, makes it take long. One answer more is sent as it is.
	maxEncoders = 128
	// gzipLevel is where each further one costs more time than it saves bytes, for pages and JSON.
	gzipLevel = 5
)

// An encoder compresses what is written to it.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// A coding is a content coding with what encodes it. alias is another name of it.
type coding struct {
	name, alias string
	encoder     func() encoder
}

// codings are those that can be had, the best first.
func codings() []coding {
	return []coding{
		{"gzip", "x-gzip", func() encoder {
			w, _ := gzip.NewWriterLevel(io.Discard, gzipLevel) // the level is one
			return w
		}},
	}
}

// A Compressor has the encoders of a process. It is safe for concurrent use.
type Compressor struct {
	codings []coding
	places  chan struct{}
	idle    map[string]*sync.Pool
}

// NewCompressor returns one without encoders, which are made when they are needed.
func NewCompressor() *Compressor {
	c := &Compressor{codings: codings(), places: make(chan struct{}, maxEncoders), idle: map[string]*sync.Pool{}}
	for _, coding := range c.codings {
		c.idle[coding.name] = &sync.Pool{New: func() any { return coding.encoder() }}
	}
	return c
}

// take returns an encoder for w, or nil if there are too many in use.
func (c *Compressor) take(name string, w io.Writer) encoder {
	select {
	case c.places <- struct{}{}:
	default:
		return nil
	}
	e := c.idle[name].Get().(encoder)
	e.Reset(w)
	return e
}

func (c *Compressor) giveBack(name string, e encoder) {
	e.Reset(io.Discard)
	c.idle[name].Put(e)
	<-c.places
}

// Options are the surroundings of a route.
type Options struct {
	// Types are media types that are compressed beside the usual ones.
	Types []string
	// OnCompress is told of each answer that is compressed. It may be nil.
	OnCompress func(ctx context.Context, coding string)
}

// Wrap compresses the answers of next where the client takes that and they gain by it: 200, 403 and 404 with a text of 1 KB at least
// that is not encoded and may be transformed. A handler that flushes has what it wrote sent. Everything else passes as it is, 206 and
// upgrades included.
func (c *Compressor) Wrap(opts Options) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := &answer{ResponseWriter: w, c: c, opts: &opts, r: r, method: r.Method, asked: r.Header["If-None-Match"]}
			if !hasDirective(r.Header["Cache-Control"], "no-transform") {
				a.coding = negotiate(r.Header["Accept-Encoding"], c.codings)
				a.may = true
			}
			whole := false
			defer func() { a.end(whole) }()
			next.ServeHTTP(a, withStrong(r))
			whole = true
		})
	}
}

// withStrong returns r asking for entity tags as the application gave them too, beside those that were weakened: not every application
// compares them weakly, as it should (RFC 9110 section 13.1.2).
func withStrong(r *http.Request) *http.Request {
	asked := strings.Join(r.Header["If-None-Match"], ", ")
	var strong strings.Builder
	for rest := asked; rest != ""; {
		tag, after, ok := nextTag(rest)
		if !ok {
			return r // no list of tags
		}
		if tag[0] == 'W' {
			strong.WriteString(", " + tag[len("W/"):])
		}
		rest = after
	}
	if strong.Len() == 0 {
		return r
	}
	r2 := *r
	r2.Header = maps.Clone(r.Header)
	r2.Header["If-None-Match"] = []string{asked + strong.String()}
	return &r2
}

// nextTag takes an entity tag off a list of them (RFC 9110 section 8.8.3).
func nextTag(list string) (tag, rest string, ok bool) {
	begin := 0
	if strings.HasPrefix(list, "W/") {
		begin = len("W/")
	}
	if begin == len(list) || list[begin] != '"' {
		return "", "", false
	}
	end := strings.IndexByte(list[begin+1:], '"')
	if end < 0 {
		return "", "", false
	}
	end += begin + 2
	rest = strings.TrimLeft(list[end:], " \t")
	if rest != "" && rest[0] != ',' {
		return "", "", false
	}
	return list[:end], strings.TrimLeft(rest, ", \t"), true
}

// hasDirective reports whether a list has a directive without an argument.
func hasDirective(fields []string, name string) bool {
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), name) {
				return true
			}
		}
	}
	return false
}

// compressible reports whether a Content-Type is that of what gets smaller.
func (o *Options) compressible(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	kind, _, _ := strings.Cut(contentType[0], ";")
	kind = strings.ToLower(strings.Trim(kind, " \t"))
	if slices.Contains(o.Types, kind) {
		return true
	}
	if kind == "text/event-stream" { // an encoder each, for hours
		return false
	}
	top, sub, _ := strings.Cut(kind, "/")
	switch {
	case top == "text", strings.HasSuffix(sub, "+json"), strings.HasSuffix(sub, "+xml"):
		return true
	}
	switch kind {
	case "application/json", "application/xml", "application/javascript", "application/x-javascript", "application/ecmascript", "application/wasm",
		"application/x-ndjson", "application/rtf", "application/vnd.ms-fontobject", "application/x-font-ttf", "application/x-font-opentype",
		"font/ttf", "font/otf", "font/eot", "font/opentype":
		return true
	}
	return false
}
