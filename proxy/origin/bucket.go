package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/internal/awssign"
)

const (
	// bucketConnect and bucketWait bound dialling, and the wait for the head of an answer and between two reads of its body. They are
	// CloudFront's for an origin.
	bucketConnect = 10 * time.Second
	bucketWait    = 30 * time.Second
	// bucketIdle is how many unused connections are kept.
	bucketIdle = 256
	// maxFault bounds what is read of S3's account of an error, in bytes.
	maxFault = 4 << 10
	// maxKey is the longest key that an object of S3's can have, in bytes
	// (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
	maxKey = 1024
	// statusClientGone is nginx's code for a client that left; nobody receives it, the Event does.
	statusClientGone = 499
	// noBody is the SHA-256 of nothing.
	noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// A Bucket answers requests with the objects of a bucket. Close it when nothing uses it any more. It is safe for concurrent use.
type Bucket struct {
	cfg    Config
	base   *url.URL
	signer *awssign.Signer
	client *http.Transport
	wait   time.Duration
	now    func() time.Time
}

// A Fetch is what one request had of its bucket.
type Fetch struct {
	Address   string
	FirstByte time.Duration // of the last attempt, signing included
	Attempts  int           // requests to the bucket
}

// NewBucket returns the objects of a Config that Validate accepts and that has an S3. env looks an environment variable up, which says
// where the credentials of a role are. The bucket is asked for nothing yet.
func NewBucket(cfg Config, env func(string) (string, bool)) (*Bucket, error) {
	base, err := cfg.S3.base()
	if err != nil {
		return nil, err
	}
	signer, err := awssign.New(cfg.S3.keys(), "s3", cfg.S3.Region, env)
	if err != nil {
		return nil, err
	}
	trust, err := cfg.S3.tls()
	if err != nil {
		return nil, err
	}
	cfg.Index = cmp.Or(cfg.Index, defaultIndex)
	return &Bucket{
		cfg: cfg, base: base, signer: signer, wait: bucketWait, now: time.Now,
		client: &http.Transport{ // it follows no redirect, and knows no proxy
			DialContext: (&net.Dialer{Timeout: bucketConnect}).DialContext, TLSClientConfig: trust, TLSHandshakeTimeout: bucketConnect,
			ResponseHeaderTimeout: bucketWait, IdleConnTimeout: 20 * time.Second, MaxIdleConnsPerHost: bucketIdle,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
	}, nil
}

// Close closes the unused connections.
func (b *Bucket) Close() { b.client.CloseIdleConnections() }

// Handler returns what answers the requests of a route. Their URL.Path is taken as it is: decoded, and in one spelling.
func (b *Bucket) Handler(opts Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := &fetch{b: b, w: w, r: r, opts: &opts}
		f.Address = b.base.Host
		if opts.OnFetch != nil {
			defer func() { opts.OnFetch(r.Context(), f.Fetch) }()
		}
		if err := f.serve(); err != nil {
			opts.Deny(w, r, err)
		}
	})
}

// A fetch is one request.
type fetch struct {
	Fetch
	b    *Bucket
	w    http.ResponseWriter
	r    *http.Request
	opts *Options
}

func (f *fetch) serve() error {
	if f.r.Method != http.MethodGet && f.r.Method != http.MethodHead {
		return &refusal{http.StatusMethodNotAllowed, "objects are read with GET and HEAD", "This method is not allowed here."}
	}
	asked, ok := below(f.r.URL.Path, f.opts.StripPrefix)
	if !ok {
		return notFound("path is not below strip_prefix")
	}
	name, ok := fileName(asked)
	if !ok {
		return f.instead(asked, notFound("no such name"))
	}
	if strings.HasSuffix(asked, "/") {
		name = path.Join(name, f.b.cfg.Index)
	}
	err := f.send(name, http.StatusOK, f.conditions(true), "")
	if !isMissing(err) {
		return err
	}
	if !strings.HasSuffix(asked, "/") && !strings.Contains(path.Base(name), ".") && f.is(path.Join(name, f.b.cfg.Index)) {
		return seeDirectory(f.w, f.r)
	}
	return f.instead(asked, err)
}

// instead answers a request for what is no object.
func (f *fetch) instead(asked string, err error) error {
	cfg := &f.b.cfg
	switch {
	case cfg.Fallback != "" && f.opts.Navigates(f.r) && !strings.Contains(path.Base(asked), "."):
		if got := f.send(cfg.Fallback, http.StatusOK, f.conditions(false), defaultCacheControl); !isMissing(got) {
			return got
		}
	case cfg.NotFound != "":
		if got := f.send(cfg.NotFound, http.StatusNotFound, nil, defaultCacheControl); !isMissing(got) {
			return got
		}
	}
	return err
}

// isMissing reports whether an object is not there.
func isMissing(err error) bool {
	var e *refusal
	return errors.As(err, &e) && e.status == http.StatusNotFound
}

// conditions are the fields of the client's that S3 gets: nothing of who it is. Those behind the first two are about the object that was
// asked for. What is not one line of printable ASCII would be signed as one text and read as another, and is left out.
func (f *fetch) conditions(all bool) http.Header {
	names := []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "Range", "If-Range"}
	if !all {
		names = names[:2]
	}
	h := http.Header{}
	for _, name := range names {
		if v := f.r.Header[name]; len(v) == 1 && !strings.ContainsFunc(v[0], func(r rune) bool { return r < ' ' || r > '~' }) {
			h[name] = v
		}
	}
	if len(h["If-Range"]) != len(f.r.Header["If-Range"]) { // without it, a range may be one of another object
		delete(h, "Range")
	}
	return h
}

// send answers with an object. cacheControl replaces what it says of caches, unless it is empty.
func (f *fetch) send(name string, status int, fields http.Header, cacheControl string) error {
	resp, stop, err := f.get(f.r.Method, name, fields)
	if err != nil {
		return err
	}
	defer stop()
	h := f.w.Header()
	// Nothing else of S3's: not its ids, not what the object's owner wrote for other readers.
	for _, field := range [...]string{
		"Content-Type", "Content-Length", "Content-Range", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control",
		"Expires", "Etag", "Last-Modified", "Accept-Ranges",
	} {
		if v, ok := resp.Header[field]; ok {
			h[field] = v
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or the server would guess one
	}
	switch {
	case cacheControl != "":
		h["Cache-Control"] = []string{cacheControl}
		delete(h, "Expires")
	case len(h["Cache-Control"]) == 0 && len(h["Expires"]) == 0:
		h["Cache-Control"] = []string{cmp.Or(f.b.cfg.CacheControl, defaultCacheControl)}
	}
	if status != http.StatusOK { // a page about the request is nobody's representation
		for _, field := range [...]string{"Etag", "Last-Modified", "Accept-Ranges"} {
			delete(h, field)
		}
	} else {
		status = resp.StatusCode
	}
	f.w.WriteHeader(status)
	if f.r.Method == http.MethodHead {
		return nil
	}
	_, err = io.Copy(f.w, resp.Body)
	return cut(err)
}

// is reports whether there is an object.
func (f *fetch) is(name string) bool {
	_, stop, err := f.get(http.MethodHead, name, nil)
	if err != nil {
		return false
	}
	stop()
	return true
}

// get asks for an object, twice if S3 says that it cannot answer now. The error is a *refusal. stop ends what is read of the answer.
func (f *fetch) get(method, name string, fields http.Header) (resp *http.Response, stop func(), err error) {
	key := path.Join(f.b.cfg.S3.Prefix, name)
	if len(key) > maxKey || !utf8.ValidString(key) {
		return nil, nil, notFound("no object can have this key")
	}
	ctx, cancel := context.WithCancel(f.r.Context())
	for attempt := 1; ; attempt++ {
		start := time.Now()
		resp, err = f.ask(ctx, method, key, fields)
		if f.FirstByte = 0; err == nil {
			f.FirstByte = time.Since(start)
		}
		if err != nil || resp.StatusCode != http.StatusInternalServerError && resp.StatusCode != http.StatusServiceUnavailable || attempt == 2 {
			break
		}
		resp.Body.Close()
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	stalled := time.AfterFunc(f.b.wait, cancel)
	resp.Body = &paced{resp.Body, stalled, f.b.wait}
	stop = func() { stalled.Stop(); cancel(); resp.Body.Close() }
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified:
		return resp, stop, nil
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		status := resp.StatusCode
		size := resp.Header.Get("Content-Range")
		stop()
		return nil, nil, &unmet{refusal{status, "condition of the request", ""}, size}
	default:
		err := f.fault(resp)
		stop()
		return nil, nil, err
	}
}

// ask is one request to the bucket.
func (f *fetch) ask(ctx context.Context, method, key string, fields http.Header) (*http.Response, error) {
	f.Attempts++
	u := *f.b.base
	u.Path += "/" + key
	u.RawPath = escapeKey(u.Path)
	req, err := http.NewRequestWithContext(ctx, method, "/", nil)
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "request: " + err.Error(), ""}
	}
	req.URL, req.Host = &u, u.Host
	if fields != nil {
		req.Header = fields.Clone()
	}
	req.Header.Set("User-Agent", "gatehouse")
	req.Header.Set("X-Amz-Content-Sha256", noBody)
	if err := f.b.signer.Sign(ctx, req, noBody, f.b.now()); err != nil {
		return nil, failed(ctx, "aws credentials", err)
	}
	resp, err := f.b.client.RoundTrip(req)
	if err != nil {
		return nil, failed(ctx, "s3", err)
	}
	return resp, nil
}

// failed says what it means that no answer came.
func failed(ctx context.Context, what string, err error) *refusal {
	switch {
	case ctx.Err() != nil:
		return &refusal{statusClientGone, "the client has left", ""}
	case isTimeout(err):
		return &refusal{http.StatusGatewayTimeout, what + ": " + err.Error(), ""}
	}
	return &refusal{http.StatusBadGateway, what + ": " + err.Error(), ""}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// escapeKey writes a path as S3 signs it: every byte but unreserved ones and slashes is encoded
// (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, UriEncode).
func escapeKey(p string) string {
	var b strings.Builder
	for i := range len(p) {
		switch c := p[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// fault says what an error of S3's is for the client. Without s3:ListBucket, S3 says AccessDenied of what is not there, and of what may not be
// read whatever else is allowed: to a client both are not there. An answer to HEAD does not say more than 403.
func (f *fetch) fault(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxFault))
	_, code, _ := strings.Cut(string(text), "<Code>")
	code, _, _ = strings.Cut(code, "</Code>")
	if len(code) > 64 || strings.ContainsFunc(code, func(r rune) bool { return (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') }) {
		code = ""
	}
	reason := fmt.Sprintf("s3: %d %s", resp.StatusCode, code)
	switch {
	case resp.StatusCode == http.StatusNotFound && code != "NoSuchBucket", resp.StatusCode == http.StatusForbidden && (code == "AccessDenied" || code == "" && resp.Request.Method == http.MethodHead):
		return notFound(strings.TrimSpace(reason))
	case resp.StatusCode == http.StatusServiceUnavailable:
		return &refusal{http.StatusServiceUnavailable, reason, ""}
	}
	return &refusal{http.StatusBadGateway, reason, ""}
}

// An unmet is a condition or a range of the client's that the object does not meet.
type unmet struct {
	refusal
	size string // Content-Range of a 416
}

// Header adds the length of the object to a 416 (RFC 9110 section 14.4).
func (e *unmet) Header(h http.Header) {
	if e.size != "" {
		h.Set("Content-Range", e.size)
	}
}

// A paced body is given up when nothing of it comes for too long.
type paced struct {
	io.ReadCloser
	stalled *time.Timer
	wait    time.Duration
}

func (p *paced) Read(b []byte) (int, error) {
	p.stalled.Reset(p.wait)
	n, err := p.ReadCloser.Read(b)
	p.stalled.Stop()
	return n, err
}
